"""Customers: profiles of the model, one with all that belongs to it, and why two are one or are not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import fastapi
import markupsafe
import msgspec
from fastapi import Query
from starlette import requests, responses

from tidegate import catalog, config
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.stripe import keys
from tidegate.views import Unknown, records, saying
from tidegate.views import customers as views
from tidegate.web import frame, standings, tables

if TYPE_CHECKING:
    from tidegate.customers import finding

PATH = "/customers"
SIZE = 50
"""Customers, or decisions, on a page."""
HEADS = {"name": "Name", "email": "E-mail", "phone": "Phone", "customer_id": "Customer ID"}
Warehouse = Annotated[str, Query(max_length=63)]
Asked = Annotated[str, Query(max_length=400)]


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(PATH)
    def listed(
        request: requests.Request, asker: asking.Reader, warehouse: Warehouse = ""
    ) -> responses.Response:
        asked = tables.asked(request)
        if not views.models(place):
            return frame.page(request, asker, "customers.html", of=None, models=[], table=None, empty=True)
        of = views.model(place, warehouse)
        if asked.format == "csv":
            found = views.each(place, of, asked.search)
            return tables.csv(
                request, "customers", ("profile", *_names(of), "records", "accounts"), _lines(of, found)
            )
        after = asked.after[: tables.LONGEST]
        page = views.search(place, of, asked.search, limit=SIZE, after=after)
        names = _names(of)
        rows = [
            tables.Row(
                {
                    "customer": _title(each.known) or each.profile,
                    **{name: told(each.known.get(name)) for name in names},
                    "records": each.sources,
                    "accounts": each.accounts,
                    "changed": standings.when(
                        None if each.updated_at is None else each.updated_at.timestamp()
                    ),
                },
                _href(each.profile, of, warehouse),
            )
            for each in page.customers
        ]
        table = tables.Table(
            "customers",
            [
                tables.Column("customer", "Customer"),
                *(
                    tables.Column(name, HEADS[name], hide=name in ("phone", "customer_id"))
                    for name in names
                    if name != "name"
                ),
                tables.Column("records", "Records", align="right"),
                tables.Column("accounts", "Accounts", align="right", hide=True),
                tables.Column("changed", "Changed", align="right", hide=True),
            ],
            rows,
            None if asked.search else views.known(place, of),
            page.after,
            asked,
            tables.Empty(
                "The model has no customers yet.",
                "A run of a pipeline brings them.",
                "Pipelines",
                "/pipelines",
            ),
            caption="Customers",
        )
        several = views.models(place)
        return frame.page(
            request,
            asker,
            "customers.html",
            of=of,
            models=several if len(several) > 1 else [],
            table=table,
            empty=False,
        )

    @made.get(f"{PATH}/-/why")
    def why(
        request: requests.Request,
        asker: asking.Reader,
        one: Asked = "",
        other: Asked = "",
        warehouse: Warehouse = "",
    ) -> responses.Response:
        of = views.model(place, warehouse)
        answer, said = None, ""
        if one.strip() and other.strip():
            try:
                answer = views.explained(place, of, one.strip(), other.strip())
            except Unknown as error:
                said = str(error)
        return frame.page(
            request,
            asker,
            "customers_why.html",
            of=of,
            one=one,
            other=other,
            answer=answer,
            said=said,
            steps=[] if answer is None else [saying.step(each, answer.decisions) for each in answer.path],
            reasons=[]
            if answer is None
            else [saying.reason(each, answer.decisions) for each in answer.reasons],
        )

    @made.get(f"{PATH}/{{asked:path}}")
    def one(
        request: requests.Request, asker: asking.Reader, asked: str, warehouse: Warehouse = ""
    ) -> responses.Response:
        of = views.model(place, warehouse)
        found = views.get(place, of, asked)
        return frame.page(
            request,
            asker,
            "customer.html",
            of=of,
            customer=found,
            title=_title(found.properties) or found.profile,
            attributes=views.attributes(found),
            events=[(each.at, each.title, each.text, each.kind) for each in views.timeline(found)],
            uses=saying.USES,
            sentence=saying.sentence,
            shown=shown,
            outside=lambda record: _outside(place, record),
        )

    return made


def told(value: object) -> Any:
    """A value as people read it on one line."""
    match value:
        case dict() | list():
            return msgspec.json.encode(value, enc_hook=str, order="deterministic").decode()
        case dt.datetime() | dt.date():
            return value.isoformat()
        case None | bool() | int() | float() | str():
            return value
    return str(value)


def shown(value: object) -> Any:
    """A value as the page of a customer has it: moments in the reader's zone, documents a line for a field."""
    if isinstance(value, dt.datetime):
        return frame.parts().when(value.timestamp())
    if isinstance(value, dict | list) and value:
        text = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode()
        return markupsafe.Markup("<pre>{}</pre>").format(text)
    return told(value)


def _outside(place: places.Place, record: finding.Record) -> str | None:
    """Where Stripe's dashboard shows what a record was made of; None where nobody can tell."""
    pipeline = place.file.pipelines.get(record.pipeline)
    connection = None if pipeline is None else place.file.stripe.get(pipeline.connection)
    stream = None if pipeline is None else catalog.load().streams.get(pipeline.stream)
    if connection is None or stream is None or connection.api_key is None:
        return None
    live = keys.mode(connection.api_key.get_secret_value()) == "live"
    return records.shown(stream.object, record.source_id, record.account, live)


def _names(of: config.CustomerModel) -> list[str]:
    """Properties by which people call customers, where the model has them."""
    from tidegate.customers import finding
    from tidegate.shape import profile

    known = profile.of(of).names
    return [name for name in finding.NAMING if name in known]


def _lines(of: config.CustomerModel, found: Iterator[Any]) -> Iterator[tuple[Any, ...]]:
    names = _names(of)
    for each in found:
        yield (each.profile, *(told(each.known.get(name)) for name in names), each.sources, each.accounts)


def _href(profile: str, of: config.CustomerModel, warehouse: str) -> str:
    return f"{PATH}/{profile}" + (f"?warehouse={of.warehouse}" if warehouse else "")


def _title(properties: Any) -> str:
    return next((str(properties[name]) for name in HEADS if properties.get(name)), "")
