"""Pulls: made, their streams chosen, and each stream's columns, mode, history, deletes and filter set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import fastapi
import pydantic
import yaml
from starlette import datastructures, requests, responses

from tidegate import catalog, config, errors
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.rows import decode
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import stream_options
from tidegate.views import streams as views
from tidegate.web import configured, frame

PATH = "/streams"
ADD = f"{PATH}/-/add"
KEEP, HASH, EXCLUDE = "keep", "hash", "exclude"
SCHEDULES = ("continuous", "every 15m", "every 1h", "every 6h", "manual")
"""What is offered; anything that the configuration takes can be typed."""
RETENTION = ("events", "history", "deleted", "runs")
INPUTS = ("from", "to", "schedule", "lookback", *(f"retention.{name}" for name in RETENTION))
STREAM = ("table", "mode", "deletes", "lookback", "start_date")
"""Inputs of the form of a pull, and of that of a stream, that say themselves what is wrong with them."""
TYPES = {"VARCHAR": "string", "BIGINT": "integer", "BOOLEAN": "boolean", "JSON": "object", "DOUBLE": "number"}


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(ADD)
    def fresh(request: requests.Request, asker: asking.Editor) -> responses.Response:
        return _pull_form(request, asker, place, "", _defaults(place.file), None)

    @made.post(ADD)
    def add(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        name = configured.text(sent, "_name").strip()
        body = _pull_body(sent, {})
        if configured.text(sent, "streams") == "some":
            body["streams"] = {}
        try:
            configured.change(place, asker, "pulls", name, body, None)
        except configured.REFUSED as error:
            return _pull_form(request, asker, place, name, configured.texts(sent), None, error)
        if not body.get("streams", True):
            return frame.done(request, f"{PATH}/{name}/-/choose", f"{name} is kept; choose its streams.")
        return frame.done(request, f"{PATH}/{name}", f"{name} is kept.")

    @made.get(f"{PATH}/{{pull}}/-/settings")
    def settings(request: requests.Request, asker: asking.Editor, pull: str) -> responses.Response:
        part = _part(place, pull)
        return _pull_form(request, asker, place, pull, _of_body(part.body), part)

    @made.post(f"{PATH}/{{pull}}/-/settings")
    def change(
        request: requests.Request, asker: asking.Editor, pull: str, sent: configured.Sent
    ) -> responses.Response:
        part = _part(place, pull)
        configured.changeable(part)
        try:
            body = _pull_body(sent, part.body)
            configured.change(place, asker, "pulls", pull, body, configured.version(sent))
        except configured.REFUSED as error:
            return _pull_form(request, asker, place, pull, configured.texts(sent), part, error)
        return frame.done(request, f"{PATH}/{pull}", f"{pull} is changed; its next run goes by it.")

    @made.post(f"{PATH}/{{pull}}/-/remove")
    def remove(
        request: requests.Request, asker: asking.Editor, pull: str, sent: configured.Sent
    ) -> responses.Response:
        onward = PATH, f"{pull} is removed; what it pulled stays in its warehouse."
        return configured.removed(request, asker, place, "pulls", _part(place, pull).name, sent, onward)

    @made.get(f"{PATH}/{{pull}}/-/choose")
    def choose(request: requests.Request, asker: asking.Editor, pull: str) -> responses.Response:
        return _choose(request, asker, place, _part(place, pull))

    @made.post(f"{PATH}/{{pull}}/-/choose")
    def chosen(
        request: requests.Request, asker: asking.Editor, pull: str, sent: configured.Sent
    ) -> responses.Response:
        part = _part(place, pull)
        configured.changeable(part)
        taken = {str(each) for each in sent.getlist("take")}
        known = catalog.load().streams
        now = place.file.pulls[pull]
        moved = {
            name: name in taken
            for name, each in known.items()
            if (name in taken) != now.takes(name, default=each.default)
        }
        try:
            configured.change(
                place,
                asker,
                "pulls",
                pull,
                stream_options.with_choice(part.body, moved),
                configured.version(sent),
            )
        except configured.REFUSED as error:
            return _choose(request, asker, place, part, taken, error)
        count = len(taken & known.keys())
        return frame.done(
            request, f"{PATH}/{pull}", f"{pull} takes {count:,} {'stream' if count == 1 else 'streams'} now."
        )

    @made.get(f"{PATH}/{{pull}}/{{stream}}/edit")
    def edit(request: requests.Request, asker: asking.Editor, pull: str, stream: str) -> responses.Response:
        line, _ = views.one(place, pull, stream)
        shown = {**_of_options(line.options), "enabled": "on" if line.taken else ""}
        return _stream_form(request, asker, line, shown, _part(place, pull))

    @made.post(f"{PATH}/{{pull}}/{{stream}}/edit")
    def keep(
        request: requests.Request, asker: asking.Editor, pull: str, stream: str, sent: configured.Sent
    ) -> responses.Response:
        line, _ = views.one(place, pull, stream)
        part = _part(place, pull)
        configured.changeable(part)
        try:
            wanted = _options(sent, line)
            folder = place.folder.absolute().parent
            own = stream_options.own_options(part.body, stream, wanted, folder=folder)
            own.pop("enabled", None)
            body = stream_options.with_options(part.body, stream, own or None)
            body = stream_options.with_choice(body, {stream: wanted["enabled"]})
            stream_options.check(body, pull, stream, folder=folder)
            configured.change(place, asker, "pulls", pull, body, configured.version(sent))
        except configured.REFUSED as error:
            return _stream_form(request, asker, line, configured.texts(sent), part, error)
        return frame.done(
            request, f"{PATH}/{pull}/{stream}", f"{stream} is changed; its next run goes by it."
        )

    return made


def _part(place: places.Place, pull: str) -> editing.Object:
    """A pull as it is written; raises Unknown."""
    return configured.part(place, "pulls", views.pull_named(place, pull))


def _defaults(file: config.Config) -> dict[str, str]:
    """What a new pull has: the first connection and warehouse, and all the streams."""
    return {
        "from": next(iter(file.stripe), ""),
        "to": next(iter(file.warehouses), ""),
        "schedule": "continuous",
        "lookback": "7d",
        "streams": "all",
    }


def _pull_form(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    name: str,
    shown: Mapping[str, str],
    part: editing.Object | None,
    error: errors.TidegateError | None = None,
) -> responses.Response:
    return configured.form(
        request,
        asker,
        "pull_form.html",
        part,
        error,
        INPUTS,
        name=name,
        shown=shown,
        connections=list(place.file.stripe),
        warehouses=list(place.file.warehouses),
        schedules=SCHEDULES,
    )


def _pull_body(sent: datastructures.FormData, before: Mapping[str, Any]) -> dict[str, Any]:
    """What the form of a pull says, over what it does not have; empty inputs are left out."""
    given: dict[str, Any] = {name: configured.text(sent, name).strip() for name in ("from", "to", "lookback")}
    given["schedule"] = schedule(configured.text(sent, "schedule"))
    retention = dict(before.get("retention") or {})
    for name in RETENTION:
        text = configured.text(sent, f"retention.{name}").strip()
        retention = {
            **{key: value for key, value in retention.items() if key != name},
            **({name: text} if text else {}),
        }
    given["retention"] = retention
    kept = {key: value for key, value in before.items() if key not in given}
    return {**kept, **{key: value for key, value in given.items() if value not in ("", {})}}


def schedule(text: str) -> Any:
    """A schedule as it is typed: words, five fields of cron, or a mapping as in the file; raises ConfigError."""
    text = " ".join(text.split())
    if text.startswith("{"):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError:
            raise errors.ConfigError(
                'schedule: write it like {cron: "0 6 * * *", timezone: UTC} or {every: 6h, anchor: "02:00"}'
            ) from None
    if len(text.split()) == 5 and text[:1] in "0123456789*":
        return {"cron": text}
    return text


def _of_body(body: Mapping[str, Any]) -> dict[str, str]:
    """What the inputs of a pull's form hold."""
    said = body.get("schedule", "manual")
    if isinstance(said, Mapping):
        said = yaml.safe_dump(dict(said), default_flow_style=True, width=10_000).strip()
    retention = body.get("retention") or {}
    return {
        "from": str(body.get("from", "")),
        "to": str(body.get("to", "")),
        "lookback": str(body.get("lookback", "")),
        "schedule": str(said),
        **{f"retention.{name}": str(value) for name, value in retention.items()},
    }


def _choose(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    part: editing.Object,
    taken: set[str] | None = None,
    error: errors.TidegateError | None = None,
) -> responses.Response:
    pull = place.file.pulls[part.name]
    known = sorted(catalog.load().streams.values(), key=lambda each: each.name)
    chosen = {each.name for each in known if pull.takes(each.name, default=each.default)}
    groups: dict[str, list[catalog.Stream]] = {}
    for each in known:
        parts = each.path.strip("/").split("/")
        groups.setdefault(parts[1] if len(parts) > 2 and parts[1] in _PRODUCTS else "", []).append(each)
    return configured.form(
        request,
        asker,
        "streams_choose.html",
        part,
        error,
        (),
        pull=part.name,
        groups=sorted(groups.items()),
        taken=chosen if taken is None else taken,
    )


_PRODUCTS = (
    "billing", "checkout", "climate", "core", "entitlements", "financial_connections", "forwarding", "identity",
    "issuing", "radar", "reporting", "sigma", "tax", "terminal", "treasury",
)  # fmt: skip
"""The products whose streams stand together."""


def _of_options(options: config.StreamOptions) -> dict[str, str]:
    """What the inputs of a stream's form hold, but for its columns."""
    days = None if options.lookback is None else options.lookback.days
    return {
        "table": options.table or "",
        "mode": options.mode,
        "deletes": options.deletes,
        "history": "on" if options.history else "",
        "lookback": "" if days is None else f"{days}d",
        "start_date": "" if options.start_date is None else options.start_date.isoformat(),
        "where": "" if options.where is None else json.dumps(_of_model(options.where)),
        "derive": json.dumps({name: _of_model(each) for name, each in options.derive.items()}),
        "new": "out" if options.only is not None else "in",
    }


def _of_model(found: pydantic.BaseModel) -> Any:
    """A filter, or a derived column, as one would write it."""
    return found.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _options(sent: datastructures.FormData, line: views.Line) -> dict[str, Any]:
    """What the form of a stream says, every setting of it; raises ConfigError for what is no JSON."""
    treated = {
        field.name: configured.text(sent, f"column:{field.name}") or KEEP
        for field in decode.fields(views.named(line.stream))
    }
    # What is said of derived columns has no input here, and stays.
    hashed = sorted(line.options.hashed - treated.keys())
    left = sorted(line.options.excluded - treated.keys())
    hashed += [name for name, each in treated.items() if each == HASH]
    kept = [name for name, each in treated.items() if each != EXCLUDE]
    only = configured.text(sent, "new") == "out"
    if not only:
        left += [name for name, each in treated.items() if each == EXCLUDE]
    condition, derived = configured.document(sent, "where"), configured.document(sent, "derive")
    text = {name: configured.text(sent, name).strip() or None for name in ("table", "lookback", "start_date")}
    return {
        "enabled": configured.text(sent, "enabled") == "on",
        "columns": kept if only else {},
        "exclude": left,
        "hash": hashed,
        "derive": derived or {},
        "where": condition or None,
        "history": configured.text(sent, "history") == "on",
        "deletes": configured.text(sent, "deletes") or "soft",
        "mode": configured.text(sent, "mode") or "incremental",
        **text,
    }


def _stream_form(
    request: requests.Request,
    asker: asking.Asker,
    line: views.Line,
    shown: Mapping[str, str],
    part: editing.Object,
    error: errors.TidegateError | None = None,
) -> responses.Response:
    options = line.options
    columns = [
        (
            each["name"],
            each["type"],
            each["doc"],
            shown.get(f"column:{each['name']}") or _treatment(options, each["name"]),
        )
        for each in views.columns(views.named(line.stream))
        if not each["name"].startswith("_")
    ]
    return configured.form(
        request,
        asker,
        "stream_form.html",
        part,
        error,
        STREAM,
        below=f"streams.{line.stream}.",
        line=line,
        shown=shown,
        columns=columns,
        fields=[(name, _type(kind)) for name, kind, _, _ in columns],
        where=configured.tree(shown.get("where", "")),
        derived=configured.tree(shown.get("derive", "")),
    )


def _treatment(options: config.StreamOptions, column: str) -> str:
    if column in options.excluded or (options.only is not None and column not in options.only):
        return KEEP if column == "id" else EXCLUDE
    return HASH if column in options.hashed else KEEP


def _type(kind: str) -> str:
    """A type of DuckDB in the words of filters."""
    if kind.startswith("TIMESTAMP"):
        return "timestamp"
    return TYPES.get(kind, "number" if kind.startswith("DECIMAL") else "string")
