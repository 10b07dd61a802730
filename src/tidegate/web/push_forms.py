"""Forms of syncs to Stripe: the wizard, its recap, and what is changed of one later."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import fastapi
from starlette import datastructures, requests, responses

from tidegate import errors
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import models, pushes
from tidegate.web import configured, frame, pulls, push_tables, standings
from tidegate.web import pushes as pages

PATH = push_tables.PATH
ADD = f"{PATH}/-/add"
SCHEDULES = ("manual", "every 15m", "every 1h", "every 24h")
"""What is offered; anything that the configuration takes can be typed."""
OPTIONS = (
    {
        "name": "null",
        "label": "Null and empty",
        "choices": [["", "leave the field"], ["clear", "clear the field"]],
    },
    {
        "name": "owner",
        "label": "Whose value counts",
        "choices": [
            ["", "the model's"],
            ["stripe", "Stripe's; only new objects get it"],
            ["if_empty", "the model's, where Stripe has nothing"],
            ["three_way", "whoever's changed; both: hold"],
        ],
    },
)
CASES = ({"name": "case", "label": "Case", "choices": [["", "as usual"], "exact", "ignore"]},)
NATURAL = ("email", "lookup_key", "code")
"""What a row is matched by where its model has a column of that name and nobody says otherwise."""
GUARD = ("max_creates", "max_changed", "max_removed", "rows_down")
TEXTS = ("model", "to", "account", "object", "behavior", "on_many", "on_immutable", "proration")
DEFAULTS = {"behavior": "update_or_create", "on_many": "hold", "on_immutable": "hold", "proration": "none"}


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes, before those of `pushes`: `-` is the name of no sync."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(ADD)
    def fresh(
        request: requests.Request, asker: asking.Editor, model: str = "", to: str = "", object: str = ""
    ) -> responses.Response:
        file = place.file
        if model not in file.models or to not in file.stripe or not pushes.matches(object):
            return frame.page(
                request,
                asker,
                "sync_begin.html",
                models=list(file.models),
                connections=list(file.stripe),
                objects=[name for name, _ in pushes.objects()],
                shown={"model": model, "to": to, "object": object or "customer"},
            )
        first = next((each for each in pushes.matches(object) if each in NATURAL), "")
        columns = {name for name, _ in _columns(place, model)}
        match = {first: first} if first in columns else {}
        shown = {
            "model": model,
            "to": to,
            "object": object,
            "match": json.dumps(match) if match else "",
            "schedule": "manual",
            "on_missing": "nothing",
            **DEFAULTS,
        }
        return _form(request, asker, place, "", shown, None)

    @made.post(ADD)
    def add(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        name = configured.text(sent, "_name").strip()
        try:
            body = _body(sent, {})
            if name in place.file.pushes:
                raise errors.ConfigError(f"there is a sync {name} already; give another name")
            push = pushes.draft(place, name, body, admin=asker.may("admin"))
            if configured.text(sent, "_back") == "yes":
                return _form(request, asker, place, name, configured.texts(sent), None)
            if configured.text(sent, "_sure") != "yes":
                return frame.page(
                    request,
                    asker,
                    "sync_recap.html",
                    name=name,
                    sentence=pushes.recap(place, name, push),
                    sent=[
                        pair
                        for pair in configured.texts(sent).items()
                        if pair[0] not in ("_csrf", "_sure", "_back")
                    ],
                )
            configured.change(place, asker, "pushes", name, body, None)
        except configured.REFUSED as error:
            return _form(request, asker, place, name, configured.texts(sent), None, error)
        return frame.done(
            request, f"{PATH}/{name}/plan", f"{name} is kept. Make a plan to see what it would write."
        )

    @made.post(f"{PATH}/{{push}}/form")
    def form(
        request: requests.Request, asker: asking.Editor, push: str, sent: configured.Sent
    ) -> responses.Response:
        """The form as it is typed, with the columns of the model and the fields of the object that it names."""
        if push == "-":
            return _form(
                request, asker, place, configured.text(sent, "_name").strip(), configured.texts(sent), None
            )
        pushes.named(place, push)
        part = configured.written(place, "pushes", push)
        return _form(request, asker, place, push, configured.texts(sent), part)

    @made.get(f"{PATH}/{{push}}/edit")
    def edit(request: requests.Request, asker: asking.Editor, push: str) -> responses.Response:
        pushes.named(place, push)
        part = configured.written(place, "pushes", push)
        return _form(request, asker, place, push, _shown(part.body if part else {}), part)

    @made.post(f"{PATH}/{{push}}/edit")
    def change(
        request: requests.Request, asker: asking.Editor, push: str, sent: configured.Sent
    ) -> responses.Response:
        pushes.named(place, push)
        part = configured.written(place, "pushes", push)
        configured.changeable(part)
        try:
            body = _body(sent, part.body if part else {})
            pushes.draft(place, push, body, admin=asker.may("admin"))
            configured.change(place, asker, "pushes", push, body, configured.version(sent))
        except configured.REFUSED as error:
            return _form(request, asker, place, push, configured.texts(sent), part, error)
        return frame.done(request, f"{PATH}/{push}", f"{push} is changed; its next run goes by it.")

    @made.get(f"{PATH}/{{push}}/schedule")
    def schedule(request: requests.Request, asker: asking.Reader, push: str) -> responses.Response:
        return _schedule(request, asker, place, push)

    @made.post(f"{PATH}/{{push}}/schedule")
    def reschedule(
        request: requests.Request, asker: asking.Editor, push: str, sent: configured.Sent
    ) -> responses.Response:
        pushes.named(place, push)
        part = configured.written(place, "pushes", push)
        configured.changeable(part)
        typed = configured.text(sent, "schedule").strip()
        try:
            body = {**(part.body if part else {}), "schedule": pulls.schedule(typed) or "manual"}
            pushes.draft(place, push, body, admin=asker.may("admin"))
            configured.change(place, asker, "pushes", push, body, configured.version(sent))
        except configured.REFUSED as error:
            return _schedule(request, asker, place, push, typed, error)
        return frame.done(request, f"{PATH}/{push}/schedule", f"{push} runs by its new schedule.")

    @made.post(f"{PATH}/{{push}}/remove")
    def remove(
        request: requests.Request, asker: asking.Editor, push: str, sent: configured.Sent
    ) -> responses.Response:
        pushes.named(place, push)
        onward = PATH, f"{push} is removed; what it wrote stays at Stripe."
        return configured.removed(request, asker, place, "pushes", push, sent, onward)

    return made


def _schedule(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    push: str,
    typed: str | None = None,
    error: errors.TidegateError | None = None,
) -> responses.Response:
    sync = pushes.one(place, push)
    told = pages.about(place, asker, sync, "/schedule")
    body = told["part"].body if told["part"] is not None else {}
    shown = _written(body.get("schedule", "manual")) if typed is None else typed
    stale = isinstance(error, errors.StoreStale)
    told["part"] = configured.stood(told["part"], error)
    stands = sync.standing
    facts = [
        ("When", stands.schedule),
        ("Next run", standings.upcoming(stands.next_at, sync.push.schedule)),
        ("Due because of", stands.waiting),
    ]
    return frame.page(
        request,
        asker,
        "sync_schedule.html",
        status=configured.status(error),
        **told,
        shown=shown,
        error="" if error is None or stale else str(error),
        said=str(error) if stale else "",
        schedules=SCHEDULES,
        facts=[(label, value) for label, value in facts if value != ""],
    )


def _form(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    name: str,
    shown: Mapping[str, str],
    part: editing.Object | None,
    error: errors.TidegateError | None = None,
) -> responses.Response:
    object = shown.get("object", "")
    known = pushes.matches(object)
    return configured.form(
        request,
        asker,
        "sync_form.html",
        part,
        error,
        (*TEXTS, "schedule"),
        name=name,
        shown=shown,
        models=list(place.file.models),
        connections=list(place.file.stripe),
        objects=[each for each, _ in pushes.objects()],
        note=dict(pushes.objects()).get(object, ""),
        targets=pushes.targets(object) if known else [],
        matches=known,
        columns=_columns(place, shown.get("model", "")),
        match=configured.tree(shown.get("match", "")),
        fields=configured.tree(shown.get("fields", "")),
        filter=configured.tree(shown.get("filter", "")),
        options=OPTIONS,
        cases=CASES,
        guard=GUARD,
        schedules=SCHEDULES,
    )


def _columns(place: places.Place, model: str) -> list[tuple[str, str]]:
    """The columns of a model; none where it cannot be read now, so that they are typed."""
    with contextlib.suppress(errors.TidegateError):
        return models.columns(place, model)
    return []


def _body(sent: datastructures.FormData, before: Mapping[str, Any]) -> dict[str, Any]:
    """What the form says, over what it does not have; raises ConfigError."""
    body: dict[str, Any] = dict(before)
    for name in TEXTS:
        value = configured.text(sent, name).strip()
        if not value or (DEFAULTS.get(name) == value and name not in before):
            body.pop(name, None)
        else:
            body[name] = value
    for name in ("match", "fields", "filter"):
        if found := configured.document(sent, name):
            body[name] = found
        else:
            body.pop(name, None)
    if "fields" not in body:
        raise errors.ConfigError("Choose one field of Stripe at least that the rows are written to.")
    missing = configured.text(sent, "on_missing") or "nothing"
    flag = configured.text(sent, "flag").strip()
    body["on_missing"] = {"flag": flag} if missing == "flag" and flag else missing
    if body["on_missing"] == "nothing" and "on_missing" not in before:
        del body["on_missing"]
    guard = {**dict(before.get("guard") or {})}
    for name in GUARD:
        text = configured.text(sent, f"guard.{name}").strip()
        guard.pop(name, None)
        if text:
            guard[name] = int(text) if text.isascii() and text.isdecimal() else text
    body.pop("guard", None)
    if guard:
        body["guard"] = guard
    schedule = configured.text(sent, "schedule").strip()
    body.pop("schedule", None)
    if schedule and schedule != "manual":
        body["schedule"] = pulls.schedule(schedule)
    return body


def _shown(body: Mapping[str, Any]) -> dict[str, str]:
    """What the inputs of a body hold."""
    shown = {name: str(body.get(name) or DEFAULTS.get(name, "")) for name in TEXTS}
    for name in ("match", "fields", "filter"):
        shown[name] = json.dumps(body[name]) if body.get(name) else ""
    missing = body.get("on_missing", "nothing")
    shown["on_missing"] = "flag" if isinstance(missing, Mapping) else str(missing)
    shown["flag"] = str(missing["flag"]) if isinstance(missing, Mapping) else ""
    guard = body.get("guard") or {}
    shown |= {f"guard.{name}": str(guard[name]) for name in GUARD if guard.get(name) is not None}
    shown["schedule"] = _written(body.get("schedule", "manual"))
    return shown


def _written(schedule: object) -> str:
    return schedule if isinstance(schedule, str) else json.dumps(schedule)
