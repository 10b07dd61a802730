"""Warehouses: which there are, a form for each type, and ordered checks that say how to mend what fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import fastapi
from starlette import datastructures, requests, responses

from tidegate import errors
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import forms
from tidegate.views import warehouses as views
from tidegate.web import configured, frame, standings, tables

PATH = "/warehouses"
ADD = f"{PATH}/-/add"
HEADINGS = ("name", "type", "where", "schema", "rows", "tables", "bytes", "flows")


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(PATH)
    def listed(request: requests.Request, asker: asking.Reader) -> responses.Response:
        asked = tables.asked(request, filters=("type",))
        found = [each for each in views.listed(place) if _wanted(each, asked)]
        if asked.format == "csv":
            return tables.csv(request, "warehouses", HEADINGS, _lines(found))
        return frame.page(request, asker, "warehouses.html", table=_table(found, asked))

    @made.get(ADD)
    def fresh(request: requests.Request, asker: asking.Editor, type: str = "") -> responses.Response:
        known = views.kinds()
        if type not in known:
            return frame.page(request, asker, "warehouse_kinds.html", kinds=list(known.values()))
        return _form(request, asker, "", known[type], configured.filled(known[type].fields, {}), None)

    @made.post(ADD)
    def add(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        name = configured.text(sent, "_name").strip()
        return _keep(request, asker, place, name, _kind(configured.text(sent, "_type")), sent, None)

    @made.post(f"{PATH}/-/check")
    def check_draft(
        request: requests.Request, asker: asking.Editor, sent: configured.Sent
    ) -> responses.Response:
        name, kind = configured.text(sent, "_name").strip(), _kind(configured.text(sent, "_type"))
        known = configured.written(place, "warehouses", name) if name else None
        body = _read(kind, configured.texts(sent), configured.body(place, known))

        def work() -> dict[str, Any]:
            return {"steps": views.check_draft(place, name or "new", body, admin=asker.may("admin"))}

        return configured.tried(request, asker, "warehouse_checked.html", "part_steps.html", work)

    @made.get(f"{PATH}/{{name}}")
    def one(request: requests.Request, asker: asking.Reader, name: str) -> responses.Response:
        return _one(request, asker, place, name)

    @made.post(f"{PATH}/{{name}}/check")
    def check(request: requests.Request, asker: asking.Operator, name: str) -> responses.Response:
        return _one(request, asker, place, name, views.check(place, name))

    @made.get(f"{PATH}/{{name}}/edit")
    def edit(request: requests.Request, asker: asking.Editor, name: str) -> responses.Response:
        kind = _kind(views.one(place, name).type)
        known = configured.written(place, "warehouses", name)
        form = configured.filled(kind.fields, configured.body(place, known))
        return _form(request, asker, name, kind, form, known)

    @made.post(f"{PATH}/{{name}}/edit")
    def change(
        request: requests.Request, asker: asking.Editor, name: str, sent: configured.Sent
    ) -> responses.Response:
        kind = _kind(views.one(place, name).type)
        known = configured.written(place, "warehouses", name)
        configured.changeable(known)
        return _keep(request, asker, place, name, kind, sent, known)

    @made.post(f"{PATH}/{{name}}/remove")
    def remove(
        request: requests.Request, asker: asking.Editor, name: str, sent: configured.Sent
    ) -> responses.Response:
        name, onward = (
            views.one(place, name).name,
            (PATH, f"{name} is removed; its tables stay where they are."),
        )
        return configured.removed(request, asker, place, "warehouses", name, sent, onward)

    return made


def _one(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    name: str,
    steps: list[views.Step] | None = None,
) -> responses.Response:
    found, part = views.one(place, name), configured.written(place, "warehouses", name)
    return frame.page(
        request,
        asker,
        "warehouse.html",
        found=found,
        size=standings.size(found.size.bytes),
        steps=steps,
        part=part,
        locked=configured.locked(part),
    )


def _keep(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    name: str,
    kind: views.Kind,
    sent: datastructures.FormData,
    known: editing.Object | None,
) -> responses.Response:
    """Keep what a form says and check it; the form again, where it is no warehouse."""
    given, before = configured.texts(sent), configured.body(place, known)
    body = _read(kind, given, before)
    seen = None if known is None else configured.version(sent)
    try:
        configured.change(place, asker, "warehouses", name, body, seen)
    except configured.REFUSED as error:
        form = configured.refused(kind.fields, given, before, error)
        return _form(request, asker, name, kind, form, known)
    steps = views.check(place, name)
    wrong = next((each for each in steps if each.ok is False), None)
    if wrong is not None:
        said = f"{name} is kept, and does not work yet: {wrong.name}: {wrong.detail}"
        return frame.done(request, f"{PATH}/{name}", said, "warn")
    return frame.done(request, f"{PATH}/{name}", f"{name} is kept, and works.")


def _read(kind: views.Kind, given: Mapping[str, str], before: Mapping[str, Any]) -> dict[str, Any]:
    """What a form says, as a body; the type is written down unless a URL says it already."""
    return {"type": kind.type, **forms.body(kind.fields, given, before)}


def _form(
    request: requests.Request,
    asker: asking.Asker,
    name: str,
    kind: views.Kind,
    form: configured.Filled,
    known: editing.Object | None,
) -> responses.Response:
    return frame.page(
        request,
        asker,
        "warehouse_form.html",
        status=form.status,
        name=name,
        kind=kind,
        form=form,
        known=known,
        locked=configured.locked(known),
    )


def _kind(name: str) -> views.Kind:
    known = views.kinds()
    if name not in known:
        raise errors.ConfigError(
            f"There is no type of warehouse called {name!r}; there are {', '.join(known)}."
        )
    return known[name]


def _wanted(found: views.Warehouse, asked: tables.Asked) -> bool:
    kind = asked.filters["type"]
    words = f"{found.name} {found.type} {found.where} {found.schema}".lower()
    return (not kind or found.type == kind) and asked.search.lower() in words


def _lines(found: list[views.Warehouse]) -> Iterator[tuple[Any, ...]]:
    for each in found:
        size = each.size
        yield (
            each.name,
            each.type,
            each.where,
            each.schema,
            size.rows,
            size.tables,
            size.bytes,
            " ".join(each.flows),
        )


def _table(found: list[views.Warehouse], asked: tables.Asked) -> tables.Table:
    rows = [
        tables.Row(
            {
                "name": each.name,
                "type": each.type,
                "where": each.where,
                "schema": each.schema,
                "rows": each.size.rows,
                "size": standings.size(each.size.bytes),
                "flows": len(each.flows),
            },
            f"{PATH}/{each.name}",
        )
        for each in found
    ]
    columns = (
        tables.Column("name", "Name"),
        tables.Column("type", "Type"),
        tables.Column("where", "Where", wide=True),
        tables.Column("schema", "Schema", hide=True),
        tables.Column("rows", "Rows", align="right"),
        tables.Column("size", "Size", align="right", hide=True),
        tables.Column("flows", "Flows", align="right", hide=True),
    )
    empty = tables.Empty(
        "No warehouse yet.",
        "Add one: a DuckDB file needs nothing more than its name.",
        "Add a warehouse",
        ADD,
    )
    kinds = [(name, each.label) for name, each in views.kinds().items()]
    return tables.Table(
        "warehouses",
        columns,
        rows,
        len(rows),
        None,
        asked,
        empty,
        [tables.Choice("type", "Type", kinds)],
        caption="Warehouses",
    )
