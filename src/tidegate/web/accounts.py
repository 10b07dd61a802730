"""Stripe accounts: connections by key, what each key may do, the accounts connected to them, and their webhooks."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import fastapi
from starlette import datastructures, requests, responses

from tidegate import config, errors
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import accounts as views
from tidegate.views import forms
from tidegate.web import configured, frame, standings, tables

PATH = "/accounts"
ADD = f"{PATH}/-/add"
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
HEADINGS = ("name", "mode", "key", "accounts", "known", "webhook_endpoints", "flows")


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
            return tables.csv(request, "accounts", HEADINGS, _lines(found))
        return frame.page(request, asker, "accounts.html", table=_table(found, asked))

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
        before = _body(place, known)
        body = forms.body(_fields(before), configured.texts(sent), before)
        htmx = request.headers.get("hx-request") == "true"
        try:
            found = views.try_draft(place, name or "new", body, admin=asker.may("admin"))
        except errors.TidegateError as error:
            if not htmx or isinstance(error, errors.StoreError):
                raise
            return frame.partial(request, asker, "part_said.html", kind="bad", text=str(error))
        if not htmx:
            return frame.page(request, asker, "stripe_tested.html", tested=found)
        return frame.partial(request, asker, "part_tested.html", tested=found)

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
        body = _body(place, found)
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
        configured.typed(sent, name)
        found = configured.written(place, "stripe", views.one(place, name).name)
        configured.changeable(found)
        configured.change(place, asker, "stripe", name, None, configured.version(sent))
        return frame.done(
            request, PATH, f"{name} is removed; what was pulled over it stays in its warehouses."
        )

    @made.get(f"{PATH}/{{name}}/connected")
    def connected(request: requests.Request, asker: asking.Reader, name: str) -> responses.Response:
        account, asked = views.one(place, name), tables.asked(request)
        if asked.format == "csv":
            headings = ("account", "streams", "refused", "failed")
            return tables.csv(request, f"{name}-accounts", headings, _everyone(place, name, asked.search))
        found = views.connected(place, name, search=asked.search, after=asked.after, limit=SIZE)
        return frame.page(
            request,
            asker,
            "stripe_connected.html",
            account=account,
            tab="connected",
            table=_connected(found, asked),
        )

    @made.get(f"{PATH}/{{name}}/at-stripe")
    def at_stripe(request: requests.Request, asker: asking.Operator, name: str) -> responses.Response:
        account, asked = views.one(place, name), tables.asked(request)
        found = views.at_stripe(place, name, search=asked.search, after=asked.after, limit=SIZE)
        return frame.page(
            request,
            asker,
            "stripe_connected.html",
            account=account,
            tab="at-stripe",
            table=_at_stripe(found, asked),
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
            found=views.webhooks(place, name, ask=ask == "yes" and asker.may("run")),
            asked=ask == "yes",
            url=_own(request, desk),
        )

    @made.post(f"{PATH}/{{name}}/webhooks")
    def enable(
        request: requests.Request, asker: asking.Editor, name: str, sent: configured.Sent
    ) -> responses.Response:
        rotate = configured.text(sent, "rotate") == "on"
        done = views.enable_webhooks(place, asker, name, configured.text(sent, "url"), rotate=rotate)
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
        gone = views.disable_webhooks(place, asker, name)
        said = f"{gone} {'endpoint is' if gone == 1 else 'endpoints are'} gone; events are read as before."
        return frame.done(request, f"{PATH}/{name}/webhooks", said)

    @made.post(f"{PATH}/{{name}}/webhooks/replay")
    def replay(
        request: requests.Request, asker: asking.Operator, name: str, sent: configured.Sent
    ) -> responses.Response:
        seconds = views.since(configured.text(sent, "since").strip())
        found = views.replay_webhooks(place, asker, name, seconds)
        said = ", ".join(f"{flow} hears {count:,} events again" for flow, count in found.items())
        return frame.done(request, f"{PATH}/{name}/webhooks", f"{said or 'No flow listens'}.")

    @made.post(f"{PATH}/{{name}}/webhooks/test")
    def prove(request: requests.Request, asker: asking.Editor, name: str) -> responses.Response:
        target = views.prove_webhooks(place, asker, name)
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
    given, before = configured.texts(sent), _body(place, known)
    body = forms.body(_fields(before), given, before)
    seen = None if known is None else configured.version(sent)
    try:
        _, found = views.keep(place, asker, name, body, seen, admin=asker.may("admin"))
    except errors.TidegateError as error:
        if isinstance(error, errors.StoreError) and not isinstance(error, errors.StoreConflict):
            raise
        form = configured.refused(_fields(before), given, before, error)
        return _form(request, asker, name, form, known, status=422)
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
    *,
    status: int = 200,
) -> responses.Response:
    first = configured.Filled(
        [each for each in form.fields if each.name in FIRST], form.shown, form.wrong, form.said
    )
    rest = configured.Filled([each for each in form.fields if each.name not in FIRST], form.shown, form.wrong)
    return frame.page(
        request,
        asker,
        "stripe_form.html",
        status=status,
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


def _body(place: places.Place, known: editing.Object | None) -> Mapping[str, Any]:
    return {} if known is None else editing.shown(place, known)


def _own(request: requests.Request, desk: desks.Desk) -> str:
    """Where this server is reached, as far as it knows."""
    return desk.site.public_url or f"{request.url.scheme}://{request.url.netloc}"


def _wanted(account: views.Account, asked: tables.Asked) -> bool:
    mode = asked.filters["mode"]
    words = f"{account.name} {account.account_id} {account.api_base}".lower()
    return (not mode or account.mode == mode) and asked.search.lower() in words


def _lines(found: list[views.Account]) -> Iterator[tuple[Any, ...]]:
    for each in found:
        yield each.name, each.mode, each.key, each.whose, each.known, each.endpoints, " ".join(each.flows)


def _table(found: list[views.Account], asked: tables.Asked) -> tables.Table:
    parts = frame.parts()
    rows = [
        tables.Row(
            {
                "name": each.name,
                "mode": parts.mode(each.mode.upper()),
                "key": parts.secret(each.last4) if each.key else "nobody has signed in",
                "accounts": each.whose,
                "known": each.known,
                "refused": parts.chip("warn", f"{each.refused:,} streams") if each.refused else "",
                "webhooks": each.endpoints or None,
                "flows": len(each.flows),
            },
            f"{PATH}/{each.name}",
        )
        for each in found
    ]
    columns = (
        tables.Column("name", "Name"),
        tables.Column("mode", "Mode"),
        tables.Column("key", "Key"),
        tables.Column(
            "accounts", "Accounts", hint="Whose data is pulled: the key's own, or connected accounts' too"
        ),
        tables.Column("known", "Pulled", align="right", hint="Accounts of which something was pulled"),
        tables.Column("refused", "Lacks permission"),
        tables.Column("webhooks", "Webhooks", align="right", hide=True),
        tables.Column("flows", "Flows", align="right", hide=True),
    )
    empty = tables.Empty(
        "No Stripe account yet.",
        "Add one by a restricted key; it is tried at once, and kept encrypted.",
        "Add an account",
        ADD,
    )
    filters = [tables.Choice("mode", "Mode", (("test", "Test"), ("live", "Live")))]
    return tables.Table(
        "accounts", columns, rows, len(rows), None, asked, empty, filters, caption="Connections to Stripe"
    )


def _connected(found: views.Several, asked: tables.Asked) -> tables.Table:
    parts = frame.parts()
    rows = [
        tables.Row(
            {
                "account": each.account,
                "streams": each.streams,
                "failed": parts.chip("failed", f"{each.failed:,}") if each.failed else "",
                "refused": parts.chip("warn", f"{each.refused:,}") if each.refused else "",
                "noted": standings.when(each.noted_at),
            }
        )
        for each in found.items
    ]
    columns = (
        tables.Column("account", "Account"),
        tables.Column("streams", "Streams", align="right"),
        tables.Column("failed", "Failed"),
        tables.Column("refused", "Lacks permission"),
        tables.Column("noted", "Oldest change", align="right", hide=True),
    )
    empty = tables.Empty(
        "Nothing was pulled over this connection yet.",
        "Choose streams to pull.",
        "Choose streams",
        "/streams",
    )
    return tables.Table(
        "connected", columns, rows, found.total, found.next, asked, empty, caption="Accounts that were pulled"
    )


def _at_stripe(found: views.Listed, asked: tables.Asked) -> tables.Table:
    parts = frame.parts()
    rows = [
        tables.Row(
            {
                "account": each.account,
                "name": each.name,
                "country": each.country,
                "enabled": parts.chip("ok", "Charges") if each.enabled else parts.chip("off", "No charges"),
                "created": standings.when(each.created),
            }
        )
        for each in found.items
    ]
    columns = (
        tables.Column("account", "Account"),
        tables.Column("name", "Business", wide=True),
        tables.Column("country", "Country", hide=True),
        tables.Column("enabled", "May take"),
        tables.Column("created", "Made", align="right", hide=True),
    )
    empty = tables.Empty("Stripe knows no connected account of this key.")
    return tables.Table(
        "at-stripe",
        columns,
        rows,
        None,
        found.next,
        asked,
        empty,
        csv=False,
        caption="Connected accounts at Stripe",
    )


def _everyone(place: places.Place, name: str, search: str) -> Iterator[tuple[Any, ...]]:
    after: str | None = ""
    while after is not None:
        found = views.connected(place, name, search=search, after=after, limit=1000)
        for each in found.items:
            yield each.account, each.streams, each.refused, each.failed
        after = found.next
