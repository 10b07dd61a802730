"""Models: which there are, their rows and columns, whether their key is one, and the form that writes one."""

from __future__ import annotations

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
from tidegate.views import models as views
from tidegate.web import configured, frame, tables

PATH = "/models"
ADD = f"{PATH}/-/add"
HEADINGS = ("name", "source", "kind", "query", "key", "pushes")
KINDS = {"sql": "SQL", "table": "Table", "index": "Index", "sheet": "Sheet", "file": "File"}
UNREAD = (errors.ConfigError, errors.WarehouseError)
"""What keeps a model from being read, which its page says."""
INPUTS = ("warehouse", "sql", "table", "index", "sheet", "range", "file")


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(PATH)
    def listed(request: requests.Request, asker: asking.Reader) -> responses.Response:
        asked = tables.asked(request, filters=("kind",))
        wanted = asked.search.lower()
        found = [
            each
            for each in views.listed(place)
            if wanted in f"{each.name} {each.where} {each.text}".lower()
            and asked.filters["kind"] in ("", each.way)
        ]
        if asked.format == "csv":
            return tables.csv(request, "models", HEADINGS, (_line(each) for each in found))
        table = tables.Table(
            "models",
            (
                tables.Column("name", "Model"),
                tables.Column("source", "Read from"),
                tables.Column("kind", "Kind"),
                tables.Column("text", "What", wide=True, hide=True),
                tables.Column("key", "Key"),
                tables.Column("pushes", "Sent by", hide=True),
            ),
            [_row(each) for each in found],
            len(found),
            asked=asked,
            empty=tables.Empty(
                "No model yet.",
                "A model is what can be sent to Stripe: the rows of a query, a table or a file, each with a key.",
                *(("Add a model", ADD) if asker.may("write") else ()),
            ),
            filters=(tables.Choice("kind", "Kind", list(KINDS.items())),),
            caption="Models",
        )
        return frame.page(request, asker, "models.html", table=table)

    @made.get(ADD)
    def fresh(request: requests.Request, asker: asking.Editor) -> responses.Response:
        first = next(iter(place.file.warehouses), "")
        return _form(request, asker, place, "", {"warehouse": first, "way": "sql"}, None)

    @made.post(ADD)
    def add(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        name = configured.text(sent, "_name").strip()
        return _keep(request, asker, place, name, sent, None)

    @made.post(f"{PATH}/-/look")
    def look_draft(
        request: requests.Request, asker: asking.Editor, sent: configured.Sent
    ) -> responses.Response:
        name = configured.text(sent, "_name").strip() or "draft"

        def work() -> dict[str, Any]:
            found = views.look_draft(place, name, _body(sent, {}), admin=asker.may("admin"))
            return {"looked": found, "name": name}

        return configured.tried(request, asker, "model_looked.html", "part_model_rows.html", work)

    @made.get(f"{PATH}/{{name}}")
    def one(request: requests.Request, asker: asking.Reader, name: str) -> responses.Response:
        return _one(request, asker, place, name)

    @made.post(f"{PATH}/{{name}}/look")
    def look(request: requests.Request, asker: asking.Operator, name: str) -> responses.Response:
        try:
            return _one(request, asker, place, name, looked=views.look(place, name))
        except UNREAD as error:
            return _one(request, asker, place, name, said=error)

    @made.post(f"{PATH}/{{name}}/key")
    def key(request: requests.Request, asker: asking.Operator, name: str) -> responses.Response:
        try:
            return _one(request, asker, place, name, checked=views.check_key(place, name))
        except UNREAD as error:
            return _one(request, asker, place, name, said=error)

    @made.get(f"{PATH}/{{name}}/look")
    @made.get(f"{PATH}/{{name}}/key")
    def again(request: requests.Request, asker: asking.Reader, name: str) -> responses.Response:
        """Whoever comes back to what was shown once, by a bookmark or after signing in, finds the model."""
        del asker
        return frame.done(request, f"{PATH}/{views.one(place, name).name}")

    @made.get(f"{PATH}/{{name}}/edit")
    def edit(request: requests.Request, asker: asking.Editor, name: str) -> responses.Response:
        views.one(place, name)
        part = configured.written(place, "models", name)
        return _form(request, asker, place, name, _shown(part.body if part else {}), part)

    @made.post(f"{PATH}/{{name}}/edit")
    def change(
        request: requests.Request, asker: asking.Editor, name: str, sent: configured.Sent
    ) -> responses.Response:
        views.one(place, name)
        part = configured.written(place, "models", name)
        configured.changeable(part)
        return _keep(request, asker, place, name, sent, part)

    @made.post(f"{PATH}/{{name}}/remove")
    def remove(
        request: requests.Request, asker: asking.Editor, name: str, sent: configured.Sent
    ) -> responses.Response:
        views.one(place, name)
        onward = PATH, f"{name} is removed; what it reads stays."
        return configured.removed(request, asker, place, "models", name, sent, onward)

    return made


def _one(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    name: str,
    *,
    looked: views.Look | None = None,
    checked: views.KeyCheck | None = None,
    said: errors.TidegateError | None = None,
) -> responses.Response:
    found, part = views.one(place, name), configured.written(place, "models", name)
    where = frame.link(f"/warehouses/{found.where}", found.where) if found.where else "a file on this machine"
    facts = [
        ("Read from", where),
        ("Kind", KINDS[found.way]),
        ("Key", " and ".join(found.model.keys)),
        ("What", "" if found.way == "sql" else found.text),
    ]
    return frame.page(
        request,
        asker,
        "model.html",
        found=found,
        part=part,
        locked=configured.locked(part),
        status=422 if said is not None else 200,
        looked=looked,
        checked=checked,
        said="" if said is None else str(said),
        facts=[(label, value) for label, value in facts if value],
    )


def _keep(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    name: str,
    sent: datastructures.FormData,
    part: editing.Object | None,
) -> responses.Response:
    try:
        body = _body(sent, part.body if part else {})
        if part is None and name in place.file.models:
            raise errors.ConfigError(f"there is a model {name} already; give another name")
        configured.change(place, asker, "models", name, body, configured.version(sent) if part else None)
    except configured.REFUSED as error:
        return _form(request, asker, place, name, configured.texts(sent), part, error)
    return frame.done(request, f"{PATH}/{name}", f"{name} is kept.")


def _form(
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
        "model_form.html",
        part,
        error,
        (*INPUTS, "key"),
        name=name,
        shown=shown,
        warehouses=list(place.file.warehouses),
        kinds=list(KINDS.items()),
    )


def _body(sent: datastructures.FormData, before: Mapping[str, Any]) -> dict[str, Any]:
    """What the form says, over what it does not have: one way of reading, and nothing of the others."""
    way = configured.text(sent, "way")
    if way not in KINDS:
        raise errors.ConfigError(f"choose how it is read: {', '.join(KINDS.values())}")
    body = {name: value for name, value in before.items() if name not in INPUTS}
    if way != "index":
        body = {name: value for name, value in body.items() if name not in ("query", "fields")}
    wanted = {way, *(("warehouse",) if way != "file" else ()), *(("range",) if way == "sheet" else ())}
    for name in INPUTS:
        if name in wanted and (text := configured.text(sent, name).strip()):
            body[name] = text
    columns = [each.strip() for each in configured.text(sent, "key").split(",") if each.strip()]
    body.pop("key", None)
    if columns:
        body["key"] = columns[0] if len(columns) == 1 else columns
    return body


def _shown(body: Mapping[str, Any]) -> dict[str, str]:
    """What the inputs of a body hold."""
    shown = {name: str(body.get(name) or "") for name in INPUTS}
    key = body.get("key", "")
    shown["key"] = key if isinstance(key, str) else ", ".join(key)
    shown["way"] = next((each for each in KINDS if body.get(each) is not None), "sql")
    shown["more"] = json.dumps({name: body[name] for name in ("query", "fields") if body.get(name)})
    return shown


def _row(each: views.Model) -> tables.Row:
    return tables.Row(
        {
            "name": each.name,
            "source": each.where or "a file",
            "kind": KINDS[each.way],
            "text": each.text if len(each.text) <= 120 else f"{each.text[:119]}…",
            "key": " and ".join(each.model.keys),
            "pushes": ", ".join(each.pushes),
        },
        f"{PATH}/{each.name}",
    )


def _line(each: views.Model) -> tuple[str, ...]:
    return each.name, each.where, each.way, each.text, ",".join(each.model.keys), ",".join(each.pushes)
