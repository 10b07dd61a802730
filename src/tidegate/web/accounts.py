"""Stripe accounts: connections by key, what each key may do, the accounts connected to them, and their webhooks."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import fastapi
from starlette import datastructures, requests, responses

from tidegate import config, errors
from tidegate.engine import editing, refusals
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import account_webhooks, connected_accounts, forms
from tidegate.views import accounts as views
from tidegate.web import account_tables, configured, frame, tables

PATH = account_tables.PATH
ADD = account_tables.ADD
SIZE = 50
"""Accounts on a page."""
FIELDS = tuple(
    dataclasses.replace(each, required=True, hint="A restricted key, or a secret one. It is kept encrypted.")
    if each.name == "api_key"
    else each
    for each in forms.fields(config.Connection, without=("oauth",))
)
FIRST = ("api_key", "accounts", "start_date")
"""Inputs that stand at the top of the form; the others are folded away."""


@dataclass(slots=True)
class Tried:
    """What came of the last trial of each key, in this process; a key that was changed since has none."""

    found: dict[str, tuple[str, float, views.Tested]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, place: places.Place, name: str, tested: views.Tested) -> None:
        """Remember it."""
        with self.lock:
            self.found[name] = (tested.key, place.store.now(), tested)

    def of(self, account: views.Account) -> tuple[float, views.Tested] | None:
        """When a connection's key was tried, and what came of it."""
        with self.lock:
            known = self.found.get(account.name)
        return None if known is None or known[0] != account.key else known[1:]


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place, tried = fastapi.APIRouter(include_in_schema=False), desk.place, Tried()

    @made.get(PATH)
    def listed(request: requests.Request, asker: asking.Reader) -> responses.Response:
        asked = tables.asked(request, filters=("mode",))
        found = [each for each in views.listed(place) if _wanted(each, asked)]
        if asked.format == "csv":
            return tables.csv(request, "accounts", account_tables.HEADINGS, account_tables.lines(found))
        return frame.page(request, asker, "accounts.html", table=account_tables.table(found, asked))

    @made.get(ADD)
    def fresh(request: requests.Request, asker: asking.Editor) -> responses.Response:
        return _form(request, asker, "", configured.filled(FIELDS, {}), None)

    @made.post(ADD)
    def add(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        return _keep(request, asker, place, tried, configured.text(sent, "_name").strip(), sent, None)

    @made.post(f"{PATH}/-/test")
    def test(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        name = configured.text(sent, "_name").strip()
        known = configured.written(place, "stripe", name) if name else None
        before = configured.body(place, known)
        body = forms.body(_fields(before), configured.texts(sent), before)

        def work() -> dict[str, Any]:
            return {"tested": views.try_draft(place, name or "new", body, admin=asker.may("admin"))}

        return configured.tried(request, asker, "stripe_tested.html", "part_tested.html", work)

    @made.get(f"{PATH}/{{name}}")
    def one(request: requests.Request, asker: asking.Reader, name: str) -> responses.Response:
        found = views.one(place, name)
        return frame.page(
            request,
            asker,
            "stripe_account.html",
            account=found,
            tab="",
            tried=tried.of(found),
            only=_only(place, found),
            refused=refusals.why(place.file, place.store, name),
            part=configured.written(place, "stripe", name),
            locked=configured.locked(configured.written(place, "stripe", name)),
        )

    @made.post(f"{PATH}/{{name}}/test")
    def try_key(request: requests.Request, asker: asking.Operator, name: str) -> responses.Response:
        del asker
        tried.note(place, name, views.try_key(place, name))
        return frame.done(request, f"{PATH}/{name}", "The key works; what it may do stands below.")

    @made.get(f"{PATH}/{{name}}/edit")
    def edit(request: requests.Request, asker: asking.Editor, name: str) -> responses.Response:
        found = configured.written(place, "stripe", views.one(place, name).name)
        body = configured.body(place, found)
        return _form(request, asker, name, configured.filled(_fields(body), body), found)

    @made.post(f"{PATH}/{{name}}/edit")
    def change(
        request: requests.Request, asker: asking.Editor, name: str, sent: configured.Sent
    ) -> responses.Response:
        found = configured.written(place, "stripe", views.one(place, name).name)
        configured.changeable(found)
        return _keep(request, asker, place, tried, name, sent, found)

    @made.post(f"{PATH}/{{name}}/remove")
    def remove(
        request: requests.Request, asker: asking.Editor, name: str, sent: configured.Sent
    ) -> responses.Response:
        onward = PATH, f"{name} is removed; what was pulled over it stays in its warehouses."
        return configured.removed(request, asker, place, "stripe", views.one(place, name).name, sent, onward)

    @made.get(f"{PATH}/{{name}}/connected")
    def connected(request: requests.Request, asker: asking.Reader, name: str) -> responses.Response:
        account, asked = views.one(place, name), tables.asked(request)
        if asked.format == "csv":
            headings = ("account", "streams", "refused", "failed")
            return tables.csv(
                request, f"{name}-accounts", headings, account_tables.everyone(place, name, asked.search)
            )
        found = connected_accounts.connected(place, name, search=asked.search, after=asked.after, limit=SIZE)
        return frame.page(
            request,
            asker,
            "stripe_connected.html",
            account=account,
            tab="connected",
            table=account_tables.connected(found, asked),
        )

    @made.get(f"{PATH}/{{name}}/at-stripe")
    def at_stripe(request: requests.Request, asker: asking.Operator, name: str) -> responses.Response:
        account, asked = views.one(place, name), tables.asked(request)
        found = connected_accounts.at_stripe(place, name, search=asked.search, after=asked.after, limit=SIZE)
        return frame.page(
            request,
            asker,
            "stripe_connected.html",
            account=account,
            tab="at-stripe",
            table=account_tables.at_stripe(found, asked),
        )

    @made.get(f"{PATH}/{{name}}/webhooks")
    def webhooks(
        request: requests.Request, asker: asking.Reader, name: str, ask: str = ""
    ) -> responses.Response:
        return frame.page(
            request,
            asker,
            "stripe_webhooks.html",
            account=views.one(place, name),
            tab="webhooks",
            found=account_webhooks.webhooks(place, name, ask=ask == "yes" and asker.may("run")),
            asked=ask == "yes",
            url=_own(request, desk),
        )

    @made.post(f"{PATH}/{{name}}/webhooks")
    def enable(
        request: requests.Request, asker: asking.Editor, name: str, sent: configured.Sent
    ) -> responses.Response:
        rotate = configured.text(sent, "rotate") == "on"
        done = account_webhooks.enable_webhooks(
            place, asker, name, configured.text(sent, "url"), rotate=rotate
        )
        types = sum(each.types for each in done)
        said = (
            f"Stripe delivers {types:,} event types to {done[0].url} now."
            if done
            else "Nothing was to be done."
        )
        return frame.done(request, f"{PATH}/{name}/webhooks", said)

    @made.post(f"{PATH}/{{name}}/webhooks/disable")
    def disable(
        request: requests.Request, asker: asking.Editor, name: str, sent: configured.Sent
    ) -> responses.Response:
        configured.typed(sent, name)
        gone = account_webhooks.disable_webhooks(place, asker, name)
        said = f"{gone} {'endpoint is' if gone == 1 else 'endpoints are'} gone; events are read as before."
        return frame.done(request, f"{PATH}/{name}/webhooks", said)

    @made.post(f"{PATH}/{{name}}/webhooks/replay")
    def replay(
        request: requests.Request, asker: asking.Operator, name: str, sent: configured.Sent
    ) -> responses.Response:
        seconds = account_webhooks.since(configured.text(sent, "since").strip())
        found = account_webhooks.replay_webhooks(place, asker, name, seconds)
        said = ", ".join(f"{flow} hears {count:,} events again" for flow, count in found.items())
        return frame.done(request, f"{PATH}/{name}/webhooks", f"{said or 'No flow listens'}.")

    @made.post(f"{PATH}/{{name}}/webhooks/test")
    def prove(request: requests.Request, asker: asking.Editor, name: str) -> responses.Response:
        target = account_webhooks.prove_webhooks(place, asker, name)
        return frame.done(
            request, f"{PATH}/{name}/webhooks", f"{target} took a signed event, and would have kept it."
        )

    return made


def _keep(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    tried: Tried,
    name: str,
    sent: datastructures.FormData,
    known: editing.Object | None,
) -> responses.Response:
    """Try what a form says and keep it; the form again, where it cannot be."""
    given, before = configured.texts(sent), configured.body(place, known)
    body = forms.body(_fields(before), given, before)
    seen = None if known is None else configured.version(sent)
    try:
        _, found = views.keep(place, asker, name, body, seen, admin=asker.may("admin"))
    except errors.TidegateError as error:
        if isinstance(error, errors.StoreError) and not isinstance(error, errors.StoreConflict):
            raise
        form = configured.refused(_fields(before), given, before, error)
        return _form(request, asker, name, form, known)
    tried.note(place, name, found)
    lacks = f" It lacks {len(found.missing)} permissions; see below." if found.missing else ""
    return frame.done(
        request, f"{PATH}/{name}", f"The key works, and {name} is kept.{lacks}", "warn" if lacks else "ok"
    )


def _form(
    request: requests.Request,
    asker: asking.Asker,
    name: str,
    form: configured.Filled,
    known: editing.Object | None,
) -> responses.Response:
    first = dataclasses.replace(form, fields=[each for each in form.fields if each.name in FIRST])
    rest = configured.Filled([each for each in form.fields if each.name not in FIRST], form.shown, form.wrong)
    return frame.page(
        request,
        asker,
        "stripe_form.html",
        status=form.status,
        name=name,
        first=first,
        rest=rest,
        known=known,
        locked=configured.locked(known),
        links=(views.reading_link(live=False), views.reading_link(live=True)),
    )


def _fields(before: Mapping[str, Any]) -> tuple[forms.Field, ...]:
    """The inputs for a connection; one that signs in with Stripe has no key to be typed."""
    return tuple(each for each in FIELDS if each.name != "api_key") if "oauth" in before else FIELDS


def _only(place: places.Place, account: views.Account) -> str:
    """The one account that was pulled over a connection of its own account; empty where that tells nothing."""
    if account.whose != "own" or account.known != 1:
        return ""
    found = connected_accounts.connected(place, account.name, limit=1).items
    return found[0].account if found else ""


def _own(request: requests.Request, desk: desks.Desk) -> str:
    """Where Stripe reaches this server, as far as it knows; empty where that is no address for it."""
    known = desk.site.public_url or f"{request.url.scheme}://{request.url.netloc}"
    return known if known.startswith("https://") else ""


def _wanted(account: views.Account, asked: tables.Asked) -> bool:
    mode = asked.filters["mode"]
    words = f"{account.name} {account.account_id} {account.api_base}".lower()
    return (not mode or account.mode == mode) and asked.search.lower() in words
