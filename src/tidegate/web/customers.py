"""Customers: profiles of the model, one with all that belongs to it, what people decide, and the rules."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, get_args

import fastapi
import markupsafe
import msgspec
from fastapi import Query
from starlette import datastructures, requests, responses

from tidegate import catalog, config, errors
from tidegate.engine import place as places
from tidegate.server import asking, problems
from tidegate.server import desk as desks
from tidegate.stripe import keys
from tidegate.views import Unknown, records, saying
from tidegate.views import customers as views
from tidegate.web import configured, frame, standings, tables

if TYPE_CHECKING:
    from tidegate.customers import finding

PATH = "/customers"
SIZE = 50
"""Customers, or decisions, on a page."""
HEADS = {"name": "Name", "email": "E-mail", "phone": "Phone", "customer_id": "Customer ID"}
DECISIONS = (
    tables.Column("what", "Decision", wide=True),
    tables.Column("note", "Note", wide=True),
    tables.Column("state", "State"),
    tables.Column("at", "When", align="right"),
    tables.Column("act", "", align="right"),
)
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

    @made.get(f"{PATH}/-/decisions")
    def decisions(
        request: requests.Request, asker: asking.Reader, warehouse: Warehouse = ""
    ) -> responses.Response:
        of = views.model(place, warehouse)
        asked = tables.asked(request, filters=("state",))
        state = asked.filters["state"]
        every = [
            each
            for each in views.decided(place, of, withdrawn=state in ("withdrawn", "all"))
            if state != "withdrawn" or each.withdrawn_at is not None
            if asked.search.lower() in f"{saying.sentence(each)} {each.note} {each.decision}".lower()
        ]
        if asked.format == "csv":
            headings = [field.name for field in dataclasses.fields(every[0])] if every else ["decision"]
            lines = ([told(getattr(each, name)) for name in headings] for each in every)
            return tables.csv(request, "decisions", headings, lines)
        start = (asked.page - 1) * SIZE
        cell = frame.environment().get_template("part_customer_cells.html").module
        edits = asker.may("write")
        table = tables.Table(
            "decisions",
            DECISIONS,
            [
                tables.Row(
                    {
                        "what": saying.sentence(each),
                        "note": each.note,
                        "state": cell.state(each),  # type: ignore[attr-defined]
                        "at": standings.when(each.decided_at.timestamp()),
                        "act": each.decision if edits and each.withdrawn_at is None else "",
                    }
                )
                for each in every[start : start + SIZE]
            ],
            len(every),
            None,
            asked,
            tables.Empty("Nothing was decided by hand.", "Merge or split customers on the page of one."),
            [
                tables.Choice(
                    "state", "State", [("withdrawn", "Withdrawn"), ("all", "In force and withdrawn")]
                )
            ],
            caption="Decisions, the newest first",
            pages=-(-len(every) // SIZE),
        )
        return frame.page(request, asker, "customers_decisions.html", of=of, table=_acting(table, of))

    @made.post(f"{PATH}/-/decide")
    def decide(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        of = views.model(place, configured.text(sent, "warehouse"))
        action = configured.text(sent, "action")
        if action not in get_args(views.Action):
            raise problems.Problem(422, "Say what to do: merge, apart or split.")
        one, other = (configured.text(sent, name).strip() for name in ("one", "other"))
        records = [str(each) for each in sent.getlist("records")]
        if action == "split" and not records:
            raise problems.Problem(422, "Choose the records that are somebody else's; nothing was decided.")
        if action != "split" and not other:
            raise problems.Problem(422, "Say the other one, by the id of a profile or of a record.")
        note, now = configured.text(sent, "note").strip()[:1000], configured.text(sent, "now") == "on"
        if configured.text(sent, "sure") != "on":
            return frame.page(
                request,
                asker,
                "customers_decide.html",
                of=of,
                action=action,
                question=views.question(place, of, action, one, other, records),  # type: ignore[arg-type]
                sent={
                    "one": one,
                    "other": other,
                    "note": note,
                    "now": "on" if now else "",
                    "back": _back(sent),
                },
                records=records,
            )
        found = views.decide(
            place,
            asker,
            of,
            action,  # type: ignore[arg-type]
            one,
            other,
            records,
            note=note,
            now=now,
        )
        return frame.done(request, _back(sent), _said("Noted.", found), "warn" if found.waits else "ok")

    @made.post(f"{PATH}/-/withdraw")
    def withdraw(
        request: requests.Request, asker: asking.Editor, sent: configured.Sent
    ) -> responses.Response:
        of = views.model(place, configured.text(sent, "warehouse"))
        now = configured.text(sent, "now") == "on"
        found = views.withdraw(place, asker, of, configured.text(sent, "decision"), now=now)
        return frame.done(request, _back(sent), _said("Withdrawn.", found), "warn" if found.waits else "ok")

    @made.get(f"{PATH}/-/rules")
    def rules(
        request: requests.Request, asker: asking.Reader, warehouse: Warehouse = ""
    ) -> responses.Response:
        of = views.model(place, warehouse)
        return _rules(request, asker, place, of, list(of.identifiers), str(of.max_cluster))

    @made.post(f"{PATH}/-/rules")
    def keep(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        of = views.model(place, configured.text(sent, "warehouse"))
        configured.changeable(configured.written(place, views.KIND, ""))
        identifiers, most = _wanted(sent)
        try:
            views.keep_rules(
                place, asker, of, identifiers, _most(most), configured.version(sent), admin=asker.may("admin")
            )
        except (errors.ConfigError, errors.StoreConflict) as error:
            return _rules(request, asker, place, of, identifiers, most, error)
        return frame.done(
            request, f"{PATH}/-/rules", "The rules are kept; the next run of a pipeline goes by them."
        )

    @made.post(f"{PATH}/-/preview")
    def preview(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        of = views.model(place, configured.text(sent, "warehouse"))
        identifiers, most = _wanted(sent)
        found = views.previewed(place, of, identifiers, _most(most))
        return frame.placed(
            request,
            asker,
            "part_customers_preview.html",
            lambda html: _rules(request, asker, place, of, identifiers, most, preview=html),
            found=found,
            identifiers=identifiers,
            most=_most(most),
            few=saying.few,
            held=[saying.held(each) for each in found.held],
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


def _acting(table: tables.Table, of: config.CustomerModel) -> tables.Table:
    """The same with the forms of its rows, which are made while the page is."""
    cell: Any = frame.environment().get_template("part_customer_cells.html").module
    rows = [
        dataclasses.replace(
            row,
            cells={
                **row.cells,
                "act": frame.Later(functools.partial(cell.withdraw, row.cells["act"], of.warehouse))
                if row.cells["act"]
                else " ",
            },
        )
        for row in table.rows
    ]
    return dataclasses.replace(table, rows=rows)


def _wanted(sent: datastructures.FormData) -> tuple[list[str], str]:
    """The rules that a form holds: identifiers in their order, and how many records a customer may have."""
    text = configured.text(sent, "identifiers").replace(",", " ")
    return text.split(), configured.text(sent, "max_cluster").strip()


def _most(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else 0


def _rules(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    of: config.CustomerModel,
    identifiers: list[str],
    most: str,
    error: errors.TidegateError | None = None,
    preview: str = "",
) -> responses.Response:
    from tidegate.shape import profile

    part = configured.written(place, views.KIND, "")
    return frame.page(
        request,
        asker,
        "customers_rules.html",
        status=configured.status(error),
        of=of,
        part=part,
        locked=configured.locked(part),
        identifiers=identifiers,
        most=most,
        names=profile.of(of).names,
        said="" if error is None else str(error),
        preview=preview,
    )


def _back(sent: datastructures.FormData) -> str:
    """Where somebody decided: the page of a customer, or that of the decisions."""
    found = configured.text(sent, "back")
    return found if found.startswith(f"{PATH}/") else f"{PATH}/-/decisions"


def _said(first: str, found: views.Decided) -> str:
    if found.resolved is not None:
        return f"{first} It shows in the profiles now."
    return f"{first} {found.waits or 'It shows after the next run of a pipeline.'}"
