"""The overview: how everything is in a sentence, and then what stands behind it."""

from __future__ import annotations

import urllib.parse
from collections.abc import AsyncGenerator

import fastapi
from starlette import requests, responses

from tidegate import errors
from tidegate.api import streaming
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.store import history
from tidegate.views import issues as inbox
from tidegate.views import overview as views
from tidegate.views import standing, summary
from tidegate.web import addresses, frame, standings, tables

KINDS: dict[summary.Health, str] = {"ok": "ok", "warn": "warn", "failed": "bad", "off": "info"}
"""How the sentence is shown."""
TURNS = 15
"""Turns after which the sentence is looked for again, where no run begins or ends: rows may be decided on."""
NOTHING = tables.Empty("Nothing was pulled yet.", "Choose the streams to pull.", "Choose streams", "/streams")
SHOWN = 10
"""Streams whose age is shown."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get("/")
    def look(request: requests.Request, asker: asking.Reader) -> responses.Response:
        found = views.look(place)
        return frame.page(
            request,
            asker,
            "overview.html",
            found=found,
            chip=standings.chip,
            labels=standings.LABELS,
            kind=KINDS[found.health],
            fresh=_freshness(found),
            flows=_flows(found),
            budgets=_budgets(found),
            warehouses=_warehouses(found),
            leads=leads,
            steps=_steps(found, place.file.stripe, place.file.warehouses),
        )

    @made.get("/overview/live")
    async def live(request: requests.Request, asker: asking.Reader) -> responses.Response:
        return streaming.response(request, _events(request, asker, place))

    @made.post("/overview/refresh")
    def refresh(request: requests.Request, asker: asking.Operator) -> responses.Response:
        del asker
        found = views.refresh(place)
        wrong = [each for each in found if each.error]
        if wrong:
            return frame.done(request, "/", " ".join(f"{each.pull}: {each.error}" for each in wrong), "warn")
        count = len(found)
        return frame.done(
            request, "/", f"Looked into the {'warehouse' if count == 1 else f'warehouses of {count} pulls'}."
        )

    return made


async def _events(
    request: requests.Request, asker: asking.Asker, place: places.Place
) -> AsyncGenerator[bytes]:
    """The sentence whenever it is another one: looked for when a run begins or ends, and every so often."""
    hub, shown, seen, turns = streaming.follower(request), "", None, 0

    def render() -> str:
        health, sentence = summary.health(place)
        return frame.fragment(request, asker, "part_health.html", kind=KINDS[health], sentence=sentence)

    while True:
        try:
            pulse = await hub.ask("runs", lambda: history.pulse(place.store))
            if pulse != seen or turns % TURNS == 0:
                html = await hub.ask("health", render)
                seen, turns = pulse, 0
                if html != shown:
                    shown = html
                    yield streaming.event("html", html)
            turns += 1
        except errors.StoreError:
            pass  # it is away, and looked for in the next turn
        yield b""


def leads(issue: summary.Issue) -> str:
    """Where the things of one kind that need a person stand, as many as the overview counts."""
    if issue.kind.startswith("held:"):
        asked = {"kind": issue.kind.removeprefix("held:"), "state": "held"}
    elif issue.kind == "quarantine":
        asked = {"kind": inbox.FAILED}
    elif issue.kind in (inbox.APPROVAL, "unknown"):
        asked = {"kind": issue.kind}
    elif issue.kind == "held":  # rows that pushes hold are told by the row
        return "/settings/alerts?" + urllib.parse.urlencode({"kind": issue.kind, "search": "pull:"})
    else:
        return "/settings/alerts?" + urllib.parse.urlencode({"kind": issue.kind})
    return "/issues?" + urllib.parse.urlencode(asked)


def stream_url(table: standing.Table) -> str:
    """The page of a stream of a pull."""
    return f"/streams/{table.flow.partition(':')[2]}/{table.stood.stream}"


def run_url(run: str) -> str:
    """The page of a run."""
    return f"/runs/{run}"


def _freshness(found: views.Overview) -> tables.Table:
    several = len({each.stood.account for each in found.freshness}) > 1
    pulls = len({each.flow for each in found.freshness}) > 1
    columns = [tables.Column("stream", "Stream")]
    columns += [tables.Column("flow", "Pull", hide=True)] if pulls else []
    columns += [tables.Column("account", "Account", hide=True)] if several else []
    columns += [
        tables.Column("state", "State"),
        tables.Column("age", "Age of the data"),
        tables.Column("rows", "Rows", align="right"),
    ]
    rows = [
        tables.Row(
            {
                "stream": each.stood.stream,
                "flow": addresses.flow_link(each.flow, each.flow.partition(":")[2]),
                "account": each.stood.account,
                "state": standings.chip(each.state),
                "age": standings.freshness(each.age, each.bound),
                "rows": each.stood.rows,
            },
            stream_url(each),
        )
        for each in found.freshness[:SHOWN]
    ]
    return tables.Table(
        "freshness",
        columns,
        rows,
        empty=_none_yet(found),
        searchable=False,
        csv=False,
        caption="Streams, the worst first",
    )


def _none_yet(found: views.Overview) -> tables.Empty:
    """What stands where no stream is known to be fresh or not."""
    pulling = next((each.running for each in found.running if each.name.startswith("pull:")), None)
    if pulling is None:
        return NOTHING
    text = "How old each stream is stands here once it was read."
    return tables.Empty("The first rows are being pulled.", text, "Follow the run", run_url(pulling.id))


def _flows(found: views.Overview) -> tables.Table:
    """What runs now, then what comes next."""
    parts = frame.parts()
    rows = [
        tables.Row(
            {
                "flow": each.name,
                "state": parts.chip(each.running.state),
                "when": "now",
                "schedule": each.schedule,
            },
            run_url(each.running.id),
        )
        for each in found.running
        if each.running is not None
    ]
    going = {each.name for each in found.running}
    rows += [
        tables.Row(
            {
                "flow": each.name,
                "state": standings.chip(each.state),
                "when": "rests until Stripe takes the key"
                if each.resting
                else "as soon as it can"
                if each.waiting
                else standings.when(each.next_at),
                "schedule": each.schedule,
            },
            f"/accounts/{each.connection}"
            if each.resting
            else "/runs?" + urllib.parse.urlencode({"flow": each.name}),
        )
        for each in found.coming
        if each.name not in going
    ]
    columns = (
        tables.Column("flow", "Flow"),
        tables.Column("state", "State"),
        tables.Column("when", "Runs"),
        tables.Column("schedule", "Schedule", hide=True),
    )
    empty = tables.Empty("Nothing runs by itself.", "Flows without a schedule run when somebody starts them.")
    return tables.Table(
        "next", columns, rows, empty=empty, searchable=False, csv=False, caption="What runs now, and next"
    )


def _budgets(found: views.Overview) -> tables.Table:
    parts = frame.parts()
    rows = []
    for each in found.budgets:
        state = (
            parts.chip("warn", "Paused")
            if each.paused
            else parts.chip("warn", "Slowed")
            if each.factor < 1
            else ""
        )
        used = f"{each.used:,.1f}"
        rows.append(
            tables.Row(
                {
                    "connection": f"{each.connection} {each.account}".strip(),
                    "used": used if each.limit is None else f"{used} of {each.limit:,.1f}",
                    "free": "no limit" if each.free is None else f"{each.free:,.1f}",
                    "state": state,
                },
                f"/accounts/{each.connection}",
            )
        )
    columns = (
        tables.Column("connection", "Account"),
        tables.Column("used", "Used", align="right", hint="Requests a second"),
        tables.Column("free", "Free", align="right", hint="Requests a second"),
        tables.Column("state", "State"),
    )
    empty = tables.Empty(
        "No connection yet.", "Add a Stripe account first.", "Add an account", "/accounts/-/add"
    )
    return tables.Table(
        "budgets",
        columns,
        rows,
        empty=empty,
        searchable=False,
        csv=False,
        caption="Requests a second, by account",
    )


def _warehouses(found: views.Overview) -> tables.Table:
    rows = [
        tables.Row(
            {
                "name": each.warehouse,
                "type": each.type,
                "rows": each.rows,
                "tables": each.tables or None,
                "bytes": standings.size(each.bytes),
                "noted": standings.when(each.noted_at),
            },
            f"/warehouses/{each.warehouse}",
        )
        for each in found.warehouses
    ]
    columns = (
        tables.Column("name", "Warehouse"),
        tables.Column("type", "Type", hide=True),
        tables.Column("rows", "Rows", align="right"),
        tables.Column("tables", "Tables", align="right", hide=True),
        tables.Column("bytes", "Size", align="right"),
        tables.Column("noted", "As of", align="right", hide=True),
    )
    empty = tables.Empty("No warehouse yet.", "", "Add a warehouse", "/warehouses/-/add")
    return tables.Table(
        "warehouses",
        columns,
        rows,
        empty=empty,
        searchable=False,
        csv=False,
        caption="Warehouses and their sizes",
    )


def _steps(found: views.Overview, stripe: object, warehouses: object) -> list[tuple[str, str, bool]]:
    """The first steps, with where each is done and whether it is; none once something runs."""
    if found.flows:
        return []
    return [
        ("Connect a Stripe account", "/accounts/-/add", bool(stripe)),
        ("Add a warehouse", "/warehouses/-/add", bool(warehouses)),
        ("Choose streams to pull", "/streams/-/add", False),
    ]
