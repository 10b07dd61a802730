"""Runs: all of them in a table, and one with what it does while it does it, its loading report and its log."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import fastapi
from fastapi import Form
from starlette import concurrency, requests, responses

from tidegate import errors
from tidegate.api import base, streaming
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.store import history, logs, reports
from tidegate.store import runs as stored
from tidegate.views import flows
from tidegate.views import runs as views
from tidegate.web import frame, run_tables, tables

SIZE = 50
"""Runs, or tables of a report, on a page."""
LINES = 200
"""Lines of a log on a page."""
LAST = 20
"""Lines, and tables, that stand beside the progress of a run."""
NAMED = 200
"""Flows that a filter names; of more one is found by searching."""
SINCE = {"1h": 3_600.0, "24h": 86_400.0, "7d": 7 * 86_400.0, "30d": 30 * 86_400.0}
FILTERS = ("state", "kind", "cause", "flow", "since")
LIVE = "/runs/-/live"
TURNS = 3
"""Turns after which how far runs are is shown again, where nothing begins or ends."""
LEVELS = {"": (), "warnings": ("warning", "error"), "errors": ("error",)}
"""Which lines of a log are shown."""
KINDS = {"pull": "Pulls", "pipeline": "Pipelines", "push": "Syncs to Stripe"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A run as its page shows it while it goes on."""

    whole: views.Whole
    lines: tuple[logs.Line, ...]
    tables: tuple[Mapping[str, Any], ...]
    known: bool
    """Does the configuration still have its flow?"""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get("/runs")
    def listed(request: requests.Request, asker: asking.Reader) -> responses.Response:
        asked = tables.asked(request, filters=FILTERS)
        if asked.format == "csv":
            return tables.csv(
                request, "runs", run_tables.HEADINGS, run_tables.rows(place, _filter(place, asked))
            )
        table = _table(place, asked)
        return frame.page(request, asker, "runs.html", table=table, flows=list(place.flows))

    @made.get(LIVE)
    async def changes(request: requests.Request, asker: asking.Reader) -> responses.Response:
        asked = dataclasses.replace(tables.asked(request, filters=FILTERS), path="/runs")
        return streaming.response(request, _changes(request, asker, place, asked))

    @made.post("/runs")
    def start(
        request: requests.Request,
        asker: asking.Operator,
        flow: Annotated[str, Form()],
        full_refresh: Annotated[str, Form()] = "",
    ) -> responses.Response:
        try:
            run = flows.begin(place, asker, flow, full_refresh=full_refresh == "on")
        except errors.StoreConflict:
            if (there := flows.one(place, flow).running) is None:
                raise
            said = f"{there.flow} has a run already, which is this one; nothing more was begun."
            return frame.done(request, f"/runs/{there.id}", said, "warn")
        return frame.done(request, f"/runs/{run.id}", f"{run.flow} is queued.")

    @made.get("/runs/{run}")
    def one(request: requests.Request, asker: asking.Reader, run: str) -> responses.Response:
        found = _picture(place, views.get(place, run))
        return frame.page(request, asker, "run.html", tab="", **_told(place, found))

    @made.get("/runs/{run}/live")
    async def live(request: requests.Request, asker: asking.Reader, run: str) -> responses.Response:
        it = await concurrency.run_in_threadpool(views.get, place, run)
        return streaming.response(request, _events(request, asker, place, it.id))

    @made.get("/runs/{run}/report")
    def report(request: requests.Request, asker: asking.Reader, run: str) -> responses.Response:
        it = views.get(place, run)
        asked = tables.asked(request, filters=("account", "wrong"))
        only: dict[str, Any] = {
            "stream": asked.search,
            "account": asked.filters["account"],
            "wrong": asked.filters["wrong"] == "yes",
        }
        if asked.format == "csv":
            figures = run_tables.figures(it, reports.page(place.store, it.id, limit=1))
            headings = ["stream", "account", "status", *(name for name, _ in figures), "error"]
            lines = run_tables.report_rows(place, it.id, headings, **only)
            return tables.csv(request, f"{it.id}-report", headings, lines)
        after = base.Asked(SIZE, asked.after or None).place(str, str)
        found = reports.page(place.store, it.id, limit=SIZE + 1, after=after, **only)
        more = len(found) > SIZE
        last = found[SIZE - 1] if more else None
        table = run_tables.report(
            it,
            found[:SIZE],
            asked,
            None if last is None else base.cursor(last["stream"], last["account"]),
            pages=run_tables.stream_pages(place, it.flow),
        )
        return frame.page(
            request,
            asker,
            "run_report.html",
            tab="report",
            whole=views.whole(place.store, it),
            run=it,
            table=table,
            page=run_tables.flow_page(place, it.flow),
        )

    @made.get("/runs/{run}/log")
    def log(
        request: requests.Request,
        asker: asking.Reader,
        run: str,
        before: str = "",
        level: str = "",
        format: str = "",
    ) -> responses.Response:
        it = views.get(place, run)
        shown = level if level in LEVELS else ""
        if format == "csv":
            headings = ("at", "level", "stream", "account", "text")
            return tables.csv(
                request, f"{it.id}-log", headings, run_tables.lines(place, it.id, LEVELS[shown])
            )
        found = views.tail(place.store, it.id, before=before, limit=LINES, levels=LEVELS[shown])
        whole = views.whole(place.store, it)
        return frame.page(
            request,
            asker,
            "run_log.html",
            tab="log",
            whole=whole,
            run=it,
            lines=found,
            several=_several(found.lines),
            level=shown,
            before=before,
            linked=run_tables.linker(place, it),
            page=run_tables.flow_page(place, it.flow),
        )

    @made.post("/runs/{run}/cancel")
    def cancel(request: requests.Request, asker: asking.Operator, run: str) -> responses.Response:
        found = views.cancel(place, asker, views.get(place, run))
        said = "It ends within seconds; what it committed stays." if found.alive else "The run is cancelled."
        return frame.done(request, f"/runs/{found.id}", said)

    @made.post("/runs/{run}/retry")
    def retry(request: requests.Request, asker: asking.Operator, run: str) -> responses.Response:
        again = flows.again(place, asker, views.get(place, run))
        return frame.done(request, f"/runs/{again.id}", f"{again.flow} is queued once more.")

    return made


def _table(place: places.Place, asked: tables.Asked, *, again: bool = False) -> tables.Table:
    """The runs that an address asks for; `again`: for a page that has them already, and counts nothing."""
    only, now = _filter(place, asked), place.store.now()
    found = views.page(place, only, limit=SIZE, after=base.Asked(SIZE, asked.after or None).place(float, str))
    # Later pages stand still, and so does what a search through all runs found.
    live = not asked.after and not asked.search
    return tables.Table(
        "runs",
        run_tables.COLUMNS,
        [run_tables.row(each, now) for each in found.runs],
        None if again or (live and found.next is None) else _total(place, only, asked, found),
        None if found.next is None else base.cursor(*found.next),
        asked,
        tables.Empty(
            "Nothing ran yet.",
            "A flow runs by its schedule, or when you start it. Choose streams to pull to have the first one.",
            "Choose streams",
            "/streams",
        ),
        _choices(place),
        caption="Runs, the newest first",
        live=dataclasses.replace(asked, path=LIVE).url() if live else "",
    )


async def _changes(
    request: requests.Request, asker: asking.Asker, place: places.Place, asked: tables.Asked
) -> AsyncGenerator[bytes]:
    """The rows of the table whenever they are others; all who look at the same table share each look."""
    hub, shown, seen, turns = streaming.follower(request), "", None, 0

    def render() -> str:
        return frame.fragment(request, asker, "part_rows.html", table=_table(place, asked, again=True))

    while True:
        try:
            pulse = await hub.ask("runs", lambda: history.pulse(place.store))
            _, going = pulse
            turns += 1
            if pulse != seen or (going and turns % TURNS == 0):
                html = await hub.ask(("runs", asked.url()), render)
                seen = pulse
                if html != shown:
                    shown = html
                    yield streaming.event("html", html)
        except errors.StoreError:
            pass  # it is away, and looked for in the next turn
        yield b""


def _filter(place: places.Place, asked: tables.Asked) -> history.Filter:
    """What the address of the table asks for; what makes no sense there is as if it were not there."""
    state, kind, cause, since = (asked.filters[name] for name in ("state", "kind", "cause", "since"))
    states: tuple[str, ...] = ()
    if state in stored.STATES:
        states = (state,)
    elif state == "wrong":
        states = ("partial", "failed", "interrupted")
    elif state == "going":
        states = stored.ALIVE
    return history.Filter(
        asked.filters["flow"] or None,
        kind if kind in KINDS else None,
        states,
        (cause,) if cause in run_tables.CAUSES else (),
        place.store.now() - SINCE[since] if since in SINCE else None,
        search=asked.search,
    )


def _choices(place: places.Place) -> list[tables.Choice]:
    states = [("going", "Going on"), ("wrong", "Not well")]
    states += run_tables.STATES
    since = [("1h", "The last hour"), ("24h", "24 hours"), ("7d", "7 days"), ("30d", "30 days")]
    found = [
        tables.Choice("state", "State", states),
        tables.Choice("kind", "Kind", list(KINDS.items())),
        tables.Choice("cause", "Why", list(run_tables.CAUSES.items())),
        tables.Choice("since", "Since", since),
    ]
    names = list(place.flows)
    if len(names) <= NAMED:
        found.insert(0, tables.Choice("flow", "Flow", [(name, name) for name in names]))
    return found


def _picture(place: places.Place, run: stored.Run) -> Picture:
    """What the page of a run shows, asked at once."""
    store = place.store
    lines = views.tail(store, run.id, limit=LAST).lines
    # Those that did not end well first.
    found = reports.page(store, run.id, limit=LAST, wrong=True)
    if len(found) < LAST:
        names = {(each["stream"], each["account"]) for each in found}
        more = reports.page(store, run.id, limit=LAST)
        found += [each for each in more if (each["stream"], each["account"]) not in names][
            : LAST - len(found)
        ]
    return Picture(views.whole(store, run), lines, tuple(found), run.flow in place.flows)


def _told(place: places.Place, found: Picture) -> dict[str, Any]:
    """What the templates of a run's page need."""
    run = found.whole.run
    pages, asked = run_tables.stream_pages(place, run.flow), tables.Asked(f"/runs/{run.id}/report")
    table = run_tables.report(run, found.tables, asked, None, plain=True, pages=pages)
    return {
        "run": run,
        "whole": found.whole,
        "lines": found.lines,
        "table": table,
        "streams": views.streams(run) if run.alive else [],
        "facts": run_tables.facts(run, found.whole.at),
        "several": _several(found.lines),
        "known": found.known,
        "page": run_tables.flow_page(place, run.flow),
        "pages": pages,
        "linked": run_tables.linker(place, run),
        "funnel": [
            (each.label, each.rows, "" if each.kind == "plain" else each.kind) for each in found.whole.funnel
        ],
    }


async def _events(
    request: requests.Request, asker: asking.Asker, place: places.Place, run_id: str
) -> AsyncGenerator[bytes]:
    """The page of a run whenever it looks otherwise, until the run has ended."""
    hub, shown = streaming.follower(request), ""

    def look() -> Picture:
        return _picture(place, views.get(place, run_id))

    while True:
        try:
            found = await hub.ask(("picture", run_id), look)
        except errors.StoreError:
            yield b""  # it is away, and looked for in the next turn
            continue
        render = functools.partial(frame.fragment, request, asker, "part_run.html", **_told(place, found))
        html = await concurrency.run_in_threadpool(render)
        if not found.whole.run.alive:
            yield streaming.event("end", html)
            return
        if html != shown:
            shown = html
            yield streaming.event("html", html)
        yield b""


def _total(place: places.Place, only: history.Filter, asked: tables.Asked, found: views.Page) -> int | None:
    """How many runs there are; None where all would have to be looked at for it."""
    if found.next is None and not asked.after:
        return len(found.runs)
    return None if only.search else history.counted(place.store, only)


def _several(lines: Sequence[logs.Line]) -> bool:
    """Are lines of several accounts? Then each says which."""
    return len({line.account for line in lines if line.account}) > 1
