"""What people decide about customers: merged, taken away, split off, and withdrawn."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, get_args

import fastapi
from starlette import datastructures, requests, responses

from tidegate import config
from tidegate.server import asking, problems
from tidegate.server import desk as desks
from tidegate.views import customers as views
from tidegate.views import saying
from tidegate.web import configured, customers, frame, standings, tables

DECISIONS = (
    tables.Column("what", "Decision", wide=True),
    tables.Column("note", "Note", wide=True),
    tables.Column("state", "State"),
    tables.Column("at", "When", align="right"),
    tables.Column("act", "", align="right"),
)


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(f"{customers.PATH}/-/decisions")
    def decisions(
        request: requests.Request, asker: asking.Reader, warehouse: customers.Warehouse = ""
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
            lines = ([customers.told(getattr(each, name)) for name in headings] for each in every)
            return tables.csv(request, "decisions", headings, lines)
        start = (asked.page - 1) * customers.SIZE
        cell: Any = frame.environment().get_template("part_customer_cells.html").module
        edits = asker.may("write")
        table = tables.Table(
            "decisions",
            DECISIONS,
            [
                tables.Row(
                    {
                        "what": saying.sentence(each),
                        "note": each.note,
                        "state": cell.state(each),
                        "at": standings.when(each.decided_at.timestamp()),
                        "act": each.decision if edits and each.withdrawn_at is None else "",
                    }
                )
                for each in every[start : start + customers.SIZE]
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
            pages=-(-len(every) // customers.SIZE),
        )
        return frame.page(request, asker, "customers_decisions.html", of=of, table=_acting(table, of))

    @made.post(f"{customers.PATH}/-/decide")
    def decide(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        of = views.model(place, configured.text(sent, "warehouse"))
        named = configured.text(sent, "action")
        action: views.Action | None = next((each for each in get_args(views.Action) if each == named), None)
        if action is None:
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
                question=views.question(place, of, action, one, other, records),
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
            action,
            one,
            other,
            records,
            note=note,
            now=now,
        )
        return frame.done(request, _back(sent), _said("Noted.", found), "warn" if found.waits else "ok")

    @made.post(f"{customers.PATH}/-/withdraw")
    def withdraw(
        request: requests.Request, asker: asking.Editor, sent: configured.Sent
    ) -> responses.Response:
        of = views.model(place, configured.text(sent, "warehouse"))
        now = configured.text(sent, "now") == "on"
        found = views.withdraw(place, asker, of, configured.text(sent, "decision"), now=now)
        return frame.done(request, _back(sent), _said("Withdrawn.", found), "warn" if found.waits else "ok")

    return made


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


def _back(sent: datastructures.FormData) -> str:
    """Where somebody decided: the page of a customer, or that of the decisions."""
    found = configured.text(sent, "back")
    return found if found.startswith(f"{customers.PATH}/") else f"{customers.PATH}/-/decisions"


def _said(first: str, found: views.Decided) -> str:
    if found.resolved is not None:
        return f"{first} It shows in the profiles now."
    return f"{first} {found.waits or 'It shows after the next run of a pipeline.'}"
