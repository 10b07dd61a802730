"""The audit log as pages: who changed what, and each change with what was before and after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fastapi
from starlette import requests, responses

from tidegate.engine import differences, editing
from tidegate.engine import place as places
from tidegate.server import asking, problems
from tidegate.server import desk as desks
from tidegate.store import trail
from tidegate.web import addresses, frame, tables

CHANGES = "/settings/changes"
SHOWN = 50
"""Lines of a page."""
FIELDS = 3
"""Fields of a change that its line names."""
SINCE = {"24h": 86_400.0, "7d": 7 * 86_400.0, "30d": 30 * 86_400.0}
COLUMNS = (
    tables.Column("what", "What"),
    tables.Column("action", "Action"),
    tables.Column("fields", "Fields", wide=True),
    tables.Column("who", "Who"),
    tables.Column("via", "Via", hide=True),
    tables.Column("at", "When", align="right"),
)
VIAS = {"session": "Browser", "token": "API token", "cli": "Command line"}


def router(at: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, store = fastapi.APIRouter(), at.place.store

    @made.get(CHANGES)
    def listed(request: requests.Request, asker: asking.Admin) -> responses.Response:
        asked = tables.asked(request, filters=("action", "what", "who", "since"))
        wanted: dict[str, Any] = {name: value for name, value in asked.filters.items() if name != "since"}
        back = SINCE.get(asked.filters["since"])
        since = None if back is None else store.now() - back
        if asked.format == "csv":
            return tables.csv(
                request,
                "changes",
                ("number", "at", "who", "via", "action", "what", "field", "before", "after"),
                _lines(trail.each(store, **wanted, since=since, search=asked.search)),
            )
        before = int(asked.after) if asked.after.isascii() and asked.after.isdigit() else None
        found = trail.listed(
            store,
            **wanted,
            since=since,
            search=asked.search,
            before=_bounded(before),
            limit=SHOWN + 1,
        )
        page = found[:SHOWN]
        table = tables.Table(
            "changes",
            COLUMNS,
            [_row(each) for each in page],
            next=str(page[-1].number) if len(found) > SHOWN else None,
            asked=asked,
            empty=tables.Empty("Nothing was changed yet.", "Whatever somebody changes here leaves a line."),
            filters=[
                tables.Choice(
                    "action",
                    "Action",
                    [(each, each.replace("_", " ").capitalize()) for each in trail.actions(store)],
                ),
                tables.Choice("since", "Since", [("24h", "24 hours"), ("7d", "7 days"), ("30d", "30 days")]),
            ],
            caption="Changes",
        )
        return frame.page(request, asker, "changes.html", table=table)

    @made.get(CHANGES + "/{number}")
    def one(request: requests.Request, asker: asking.Admin, number: int) -> responses.Response:
        found = trail.get(store, number) if 0 < number < 2**63 else None
        if found is None:
            raise problems.Problem(404, "There is no such change; lines are kept for two years.")
        told = differences.between(found.before, found.after)
        return frame.page(
            request,
            asker,
            "change.html",
            line=found,
            fields=[(each.field, each.before, each.after) for each in told],
            via=VIAS.get(found.via, found.via),
            back=CHANGES,
            page=_page(at.place, found.what),
        )

    return made


def _bounded(number: int | None) -> int | None:
    return None if number is None else min(number, 2**63 - 1)


def _page(place: places.Place, what: str) -> str:
    """The page of what was changed, where it is there still."""
    if what in place.flows:
        return addresses.flow(what)
    kind, _, name = what.partition(".")
    return addresses.part(kind, name) if editing.get(place, kind, name) is not None else ""


def _row(line: trail.Line) -> tables.Row:
    names = [each.field for each in differences.between(line.before, line.after) if each.field]
    more = len(names) - FIELDS
    told = ", ".join(names[:FIELDS]) + (f" and {more} more" if more > 0 else "")
    cells = {
        "what": line.what,
        "action": line.action.replace("_", " ").capitalize(),
        "fields": told,
        "who": line.who,
        "via": VIAS.get(line.via, line.via),
        "at": frame.parts().when(line.at),
    }
    return tables.Row(cells, href=f"{CHANGES}/{line.number}")


def _lines(found: Iterator[trail.Line]) -> Iterator[tuple[object, ...]]:
    """A line of CSV for each field that was changed."""
    for line in found:
        head = (line.number, frame.iso(line.at), line.who, line.via, line.action, line.what)
        for each in differences.between(line.before, line.after) or [differences.Difference("", None, None)]:
            yield (*head, each.field, each.before, each.after)
