"""Streams: what each pull takes and how it stands, a stream with its accounts, columns and newest rows."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterator, Mapping
from typing import Any

import fastapi
from starlette import requests, responses

from tidegate import errors
from tidegate.engine import place as places
from tidegate.engine import schedules
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import flows as known_flows
from tidegate.views import standing, stored
from tidegate.views import streams as views
from tidegate.web import configured, frame, prose, standings, tables

PATH = "/streams"
SIZE = 100
"""Rows on a page."""
NEWEST = 10
"""Rows of a preview."""
STRIPE = "stripe"
"""What an address says that wants rows as Stripe has them, rather than the warehouse."""
CELL = 60
"""Characters of a value that a preview shows."""
HEADINGS = (
    "pull", "stream", "table", "taken", "state", "age_s", "bound_s", "rows", "deleted", "accounts", "permission",
    "error",
)  # fmt: skip
SORTS = ("name", "rows", "age", "state")
TAKEN = {"yes": True, "no": False}


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(PATH)
    def listed(request: requests.Request, asker: asking.Reader) -> responses.Response:
        return _listed(request, asker, place, "")

    @made.get(f"{PATH}/{{pull}}")
    def of_pull(request: requests.Request, asker: asking.Reader, pull: str) -> responses.Response:
        return _listed(request, asker, place, pull)

    @made.get(f"{PATH}/{{pull}}/{{stream}}")
    def one(request: requests.Request, asker: asking.Reader, pull: str, stream: str) -> responses.Response:
        line, found = views.one(place, pull, stream)
        asked = tables.asked(request, filters=("state",))
        wanted = [
            each
            for each in found
            if asked.search.lower() in each.stood.account.lower()
            and asked.filters["state"] in ("", each.state)
        ]
        if asked.format == "csv":
            lines = (_account_line(each) for each in wanted)
            headings = ("account", "state", "age_s", "bound_s", "rows", "deleted", "as_of", "error")
            return tables.csv(request, f"{pull}-{stream}", headings, lines)
        start = (asked.page - 1) * SIZE
        table = tables.Table(
            "accounts",
            ACCOUNTS,
            [_account(pull, each) for each in wanted[start : start + SIZE]],
            len(wanted),
            None,
            asked,
            tables.Empty("Nothing of this stream was pulled yet.", "It comes with the next run of its pull."),
            [tables.Choice("state", "State", standings.options())],
            caption="Accounts, the worst first",
            pages=-(-len(wanted) // SIZE),
        )
        return frame.page(request, asker, "stream.html", **_about(place, line, found), tab="", table=table)

    @made.post(f"{PATH}/{{pull}}/{{stream}}/accept-deletes")
    def accept(
        request: requests.Request, asker: asking.Operator, pull: str, stream: str, sent: configured.Sent
    ) -> responses.Response:
        views.one(place, pull, stream)
        configured.typed(sent, stream)
        back = f"{PATH}/{pull}/{stream}"
        flow = known_flows.one(place, f"pull:{pull}")
        if flow.continuous and flow.running is not None:
            said = (
                f"{flow.name} pulls all the time: cancel this run first, then accept the deletes of {stream}."
            )
            return frame.done(request, f"/runs/{flow.running.id}", said, "warn")
        try:
            call = known_flows.ask(place, asker, f"pull:{pull}", accept_deletes=[stream], cause="manual")
        except errors.StoreConflict as error:
            return frame.done(request, back, str(error), "warn")
        if call.waits:
            said = f"The next run of pull:{pull}, right after this one, marks them as deleted."
            return frame.done(request, back, said)
        said = f"This run marks the rows of {stream} as deleted that Stripe lists no more."
        return frame.done(request, f"/runs/{call.run.id}", said)

    @made.get(f"{PATH}/{{pull}}/{{stream}}/columns")
    def columns(
        request: requests.Request, asker: asking.Reader, pull: str, stream: str
    ) -> responses.Response:
        line, found = views.one(place, pull, stream)
        asked = tables.asked(request)
        of = views.named(stream)
        known = views.columns(of, derived=views.derived(place.file, of, pull))
        wanted = [
            each
            for each in known
            if asked.search.lower() in f"{each['name']} {each['type']} {each['doc']}".lower()
        ]
        if asked.format == "csv":
            lines = ((each["name"], each["type"], _kept(line, each["name"]), each["doc"]) for each in wanted)
            return tables.csv(request, f"{stream}-columns", ("name", "type", "kept", "doc"), lines)
        rows = [
            tables.Row(
                {
                    "name": each["name"],
                    "type": each["type"],
                    "kept": _kept(line, each["name"]),
                    "doc": each["doc"],
                },
                kind="off" if _kept(line, each["name"]) == "left out" else "",
            )
            for each in wanted
        ]
        table = tables.Table("columns", COLUMNS, rows, len(rows), None, asked, caption="Columns")
        return frame.page(
            request, asker, "stream.html", **_about(place, line, found), tab="columns", table=table
        )

    @made.get(f"{PATH}/{{pull}}/{{stream}}/rows")
    def newest(
        request: requests.Request, asker: asking.Operator, pull: str, stream: str
    ) -> responses.Response:
        line, found = views.one(place, pull, stream)
        asked, of = tables.asked(request), place.file.pulls[pull]
        rows, wrong, where = list[dict[str, Any]](), "", STRIPE
        if asked.kept.get("of") != STRIPE:
            try:
                rows, where = stored.newest(place, pull, stream, NEWEST), of.warehouse
            except (errors.WarehouseError, errors.ConfigError) as error:
                wrong, where = str(error), of.warehouse
        if not rows and not wrong:
            rows, where = views.newest(place, stream, of.connection, NEWEST), STRIPE
        names = views.telling(rows) if rows else []
        table = tables.Table(
            "newest",
            [tables.Column(name, name, align="right" if _numeric(rows, name) else "left") for name in names],
            [tables.Row({name: _cell(row[name]) for name in names}) for row in rows],
            None,
            None,
            asked,
            tables.Empty("The warehouse could not be read." if wrong else "Stripe has none of these yet."),
            searchable=False,
            csv=False,
            caption=f"The newest rows, as {'Stripe has them' if where == STRIPE else f'they stand in {where}'}",
        )
        return frame.page(
            request,
            asker,
            "stream.html",
            **_about(place, line, found),
            tab="rows",
            table=table,
            wrong=wrong,
            at_stripe=where == STRIPE,
        )

    return made


def _listed(
    request: requests.Request, asker: asking.Asker, place: places.Place, pull: str
) -> responses.Response:
    asked = tables.asked(request, filters=("pull", "taken", "state"), sorts=SORTS)
    only = pull or asked.filters["pull"]
    only = only if only in place.file.pulls or pull else ""
    taken, state = TAKEN.get(asked.filters["taken"]), asked.filters["state"]
    wanted: dict[str, Any] = {
        "pull": only,
        "search": asked.search,
        "taken": taken,
        "state": state,
        "sort": asked.sort,
    }
    if asked.format == "csv":
        return tables.csv(request, "streams", HEADINGS, _lines(place, wanted))
    found = views.listed(place, **wanted, after=(asked.page - 1) * SIZE, limit=SIZE)
    choices = [
        tables.Choice("taken", "Chosen", (("yes", "Yes"), ("no", "Left out"))),
        tables.Choice("state", "State", standings.options()),
    ]
    pulls = list(place.file.pulls)
    if not pull and len(pulls) > 1:
        choices.insert(0, tables.Choice("pull", "Pull", [(name, name) for name in pulls]))
    empty = tables.Empty(
        "No stream is pulled yet.",
        "A pull brings streams of one Stripe account into one warehouse.",
        *(("Add a pull", f"{PATH}/-/add") if asker.may("write") else ()),
    )
    table = tables.Table(
        "streams",
        [each for each in LINES if each.name != "pull" or (not pull and len(pulls) > 1)],
        [_row(each) for each in found.items],
        found.total,
        None,
        asked,
        empty,
        choices,
        caption="Streams",
        pages=-(-found.total // SIZE),
    )
    part = configured.written(place, "pulls", pull) if pull else None
    return frame.page(
        request,
        asker,
        "streams.html",
        table=table,
        pull=pull,
        pulls=pulls,
        pulls_tabs=[(name, f"{PATH}/{name}", False) for name in pulls],
        about=place.file.pulls.get(pull),
        flow=known_flows.one(place, f"pull:{pull}") if pull in place.file.pulls else None,
        schedule=_schedule(place, pull),
        locked=configured.locked(part),
    )


def _schedule(place: places.Place, pull: str) -> str:
    return schedules.words(place.file.pulls[pull].schedule) if pull in place.file.pulls else ""


def _about(place: places.Place, line: views.Line, found: list[standing.Table]) -> dict[str, Any]:
    """What every page of a stream says; `found` are its tables, the worst first."""
    about, held = place.file.pulls[line.pull], [each for each in found if each.stood.held]
    schema = place.file.warehouses[about.warehouse].schema_name
    return {
        "held": [(each.stood.account, each.stood.held) for each in held],
        "shows": found[0].stood.staleness if found else "",
        "noticed": bool(found) and found[0].stood.staleness_s is not None,
        "table_name": f"{schema}.{line.table}" if schema else line.table,
        "flow": known_flows.one(place, f"pull:{line.pull}"),
        "line": line,
        "stream": views.described(views.named(line.stream)),
        "chip": standings.chip(line.state),
        "about": about,
        "locked": configured.locked(configured.written(place, "pulls", line.pull)),
    }


LINES = (
    tables.Column("name", "Stream", sort=True),
    tables.Column("pull", "Pull"),
    tables.Column("state", "State", sort=True),
    tables.Column("age", "Age of the data", sort=True, hint="Against what it may be"),
    tables.Column("rows", "Rows", sort=True, align="right"),
    tables.Column("accounts", "Accounts", align="right", hide=True),
    tables.Column("how", "How", hide=True),
    tables.Column("columns", "Columns", align="right", hide=True),
)
ACCOUNTS = (
    tables.Column("account", "Account"),
    tables.Column("state", "State"),
    tables.Column("age", "Age of the data"),
    tables.Column("rows", "Rows", align="right"),
    tables.Column("deleted", "Deleted", align="right", hide=True),
    tables.Column("as_of", "As of", align="right", hide=True),
    tables.Column("error", "What is wrong", wide=True),
)
COLUMNS = (
    tables.Column("name", "Column"),
    tables.Column("type", "Type"),
    tables.Column("kept", "Kept"),
    tables.Column("doc", "What it is", wide=True),
)


def _row(line: views.Line) -> tables.Row:
    how = [] if line.options.mode == "incremental" else ["whole each time"]
    how += ["history"] if line.options.history else []
    how += ["deletes rows"] if line.options.deletes == "hard" else []
    how += ["filtered"] if line.options.where is not None else []
    how += [f"{line.hashed} hashed"] if line.hashed else []
    return tables.Row(
        {
            "name": line.stream,
            "pull": line.pull,
            "state": standings.chip(line.state) if line.taken else frame.parts().chip("off", "Left out"),
            "age": standings.freshness(line.age, line.bound) if line.state else "",
            "rows": line.rows if line.state else None,
            "accounts": line.accounts or None,
            "how": ", ".join(how),
            "columns": line.columns if line.columns == line.of else f"{line.columns} of {line.of}",
        },
        f"{PATH}/{line.pull}/{line.stream}",
        kind="" if line.taken else "off",
    )


def _account(pull: str, table: standing.Table) -> tables.Row:
    stood = table.stood
    return tables.Row(
        {
            "account": stood.account,
            "state": standings.chip(table.state),
            "age": standings.freshness(table.age, table.bound),
            "rows": stood.rows,
            "deleted": stood.deleted or None,
            "as_of": standings.when(None if stood.as_of is None else stood.as_of.timestamp()),
            "error": prose.cell(stood.error or stood.held or stood.listing or "", flow=f"pull:{pull}"),
        }
    )


def _account_line(table: standing.Table) -> tuple[Any, ...]:
    stood = table.stood
    as_of = None if stood.as_of is None else stood.as_of.isoformat()
    return (
        stood.account,
        table.state,
        table.age,
        table.bound,
        stood.rows,
        stood.deleted,
        as_of,
        stood.error or stood.held or stood.listing or "",
    )


def _lines(place: places.Place, wanted: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for each in views.listed(place, **wanted, limit=1_000_000).items:
        yield (
            each.pull, each.stream, each.table, each.taken, each.state, each.age, each.bound, each.rows,
            each.deleted, each.accounts, each.permission, each.error,
        )  # fmt: skip


def _kept(line: views.Line, column: str) -> str:
    """What becomes of a column; those that begin with `_` are ours and always there."""
    options = line.options
    if column.startswith("_"):
        return "always"
    if column in options.derive:
        return "left out" if column in options.excluded else "derived"
    if column in options.excluded or (options.only is not None and column not in options.only):
        return "always" if column == "id" else "left out"
    return "hashed" if column in options.hashed else "kept"


def _numeric(rows: list[dict[str, object]], name: str) -> bool:
    return all(isinstance(row[name], int | float | decimal.Decimal | None) for row in rows)


def _cell(value: object) -> Any:
    """A value of a row of Stripe's, short enough for a table."""
    match value:
        case None | bool() | int() | float():
            return value
        case dt.datetime():
            return standings.when(value.timestamp())
    text = str(value)
    return text if len(text) <= CELL else text[: CELL - 1] + "…"
