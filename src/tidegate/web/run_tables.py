"""How runs are shown: in a list, the facts of one, its loading report, and ids that lead to Stripe's dashboard."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import markupsafe

from tidegate.engine import place as places
from tidegate.store import history, reports
from tidegate.store import runs as stored
from tidegate.stripe import keys
from tidegate.views import runs as views
from tidegate.web import addresses, frame, prose, tables

CAUSES = {
    "schedule": "Schedule",
    "manual": "By hand",
    "api": "API",
    "trigger": "Trigger",
    "after": "After another flow",
    "retry": "Run again",
    "continuous": "Continuous",
}
"""Why a run began, in words."""
STATES = [(each, "OK" if each == "ok" else each.capitalize()) for each in stored.STATES]
"""The states of a run, for a choice."""
DASHBOARD = "https://dashboard.stripe.com"
COLUMNS = (
    tables.Column("flow", "Flow"),
    tables.Column("state", "State"),
    tables.Column("cause", "Why", hide=True),
    tables.Column("began", "Began"),
    tables.Column("took", "Took", align="right"),
    tables.Column("rows", "Rows", align="right"),
    tables.Column("error", "What went wrong", wide=True),
)
HEADINGS = ("run", "flow", "state", "cause", "queued_at", "began_at", "ended_at", "took_s", "rows", "error")
"""What a file of runs has."""
PULLED = (
    ("read", "Read"),
    ("inserted", "New"),
    ("updated", "Changed"),
    ("deleted", "Deleted"),
    ("unchanged", "Unchanged"),
    ("bytes", "Size"),
)
PIPED = (
    ("read", "Read"),
    ("filtered", "Filtered"),
    ("failed", "Failed"),
    ("written", "Written"),
    ("unchanged", "Unchanged"),
    ("removed", "Removed"),
    ("profiles", "Customers"),
)
PUSHED = (
    ("source", "Rows"),
    ("created", "Created"),
    ("updated", "Updated"),
    ("removed", "Removed"),
    ("unchanged", "Unchanged"),
    ("held", "Held"),
    ("failed", "Failed"),
    ("requests", "Requests"),
)
WORDS = {"not_enabled": "Not in this account", "no_permission": "No permission"}

Linked = Callable[[str], markupsafe.Markup]


def row(run: stored.Run, now: float) -> tables.Row:
    """A run in the table of all."""
    ui = frame.parts()
    took = views.took(run, now)
    return tables.Row(
        {
            "flow": run.flow,
            "state": ui.chip(run.state),
            "cause": CAUSES[run.cause],
            "began": ui.when(run.started_at or run.queued_at),
            "took": None if took is None else ui.duration(took),
            "rows": views.rows(run),
            "error": prose.cell(run.error, flow=run.flow),
        },
        f"/runs/{run.id}",
        run.id,
        "bad" if run.state == "failed" else "warn" if run.state in ("partial", "interrupted") else "",
    )


def rows(place: places.Place, only: history.Filter) -> Iterator[tuple[Any, ...]]:
    """Runs for a file."""
    now = place.store.now()
    for run in views.each(place, only):
        moments = (run.queued_at, run.started_at, run.finished_at)
        times = [None if at is None else frame.iso(at) for at in moments]
        took = views.took(run, now)
        seconds = None if took is None else round(took, 3)
        yield run.id, run.flow, run.state, run.cause, *times, seconds, views.rows(run), run.error


def facts(run: stored.Run, now: float) -> list[tuple[str, Any]]:
    """What is known of a run, label by label."""
    ui = frame.parts()
    ending = run.alive and run.cancelled_by
    requests = run.totals.get("requests", run.progress.get("requests"))
    found = [
        ("State", ui.chip("running", "Ending") if ending else ui.chip(run.state)),
        ("Why", CAUSES[run.cause]),
        ("Asked for", ui.when(run.queued_at)),
        ("Began", ui.when(run.started_at, "not yet")),
        ("Ended", ui.when(run.finished_at, "not yet")),
        ("Took", ui.duration(views.took(run, now))),
        ("Rows written", frame.number(views.rows(run))),
        ("Requests", frame.number(requests)),
    ]
    more = {"Made again": run.totals.get("retries"), "Rate limited": run.totals.get("rate_limited")}
    found += [(label, frame.number(count)) for label, count in more.items() if count is not None]
    if run.attempts > 1:
        found.append(("Begun by workers", frame.number(run.attempts)))
    if run.options.get("full_refresh"):
        found.append(("With", "full refresh"))
    if run.cancelled_by:
        found.append(("Cancelled by", run.cancelled_by))
    return found


def report(
    run: stored.Run,
    found: Sequence[Mapping[str, Any]],
    asked: tables.Asked,
    after: str | None,
    *,
    plain: bool = False,
    pages: str = "",
) -> tables.Table:
    """A loading report as a table: the figures that its kind has, and columns only where they say something.

    `plain` has no search, and fewer of them; each stream leads to its page below `pages`.
    """
    ui = frame.parts()
    known = figures(run, found)
    whose = len({each["account"] for each in found}) > 1 or not plain
    wrong = any(each.get("error") for each in found)
    spans = not plain and any(each.get("from_version") is not None for each in found)
    columns = [
        tables.Column("stream", "Stream"),
        *((tables.Column("account", "Account", hide=True),) if whose else ()),
        tables.Column("status", "State"),
        *((tables.Column("error", "What went wrong", wide=True),) if wrong else ()),
        *(tables.Column(name, label, align="right") for name, label in known),
        *((tables.Column("span", "From – to"),) if spans else ()),
    ]
    return tables.Table(
        "report",
        columns,
        [
            tables.Row(
                _cells(each, known, ui, run.flow),
                f"{pages}/{each['stream']}" if pages else "",
                kind=_kind(each["status"]),
            )
            for each in found
        ],
        next=after,
        asked=asked,
        empty=tables.Empty(
            "No table got anything yet." if run.alive else "No table got anything.",
            "What each table got is written every half minute, and at the end." if run.alive else "",
        ),
        filters=() if plain else (tables.Choice("wrong", "State", [("yes", "Not well")]),),
        searchable=not plain,
        csv=not plain,
        caption="What each table got",
    )


def flow_page(place: places.Place, flow: str) -> str:
    """The page of a run's flow; empty where the configuration does not have it any more."""
    return addresses.flow(flow) if flow in place.flows else ""


def stream_pages(place: places.Place, flow: str) -> str:
    """Below what the pages of a run's streams are; empty of what is no pull, or is there no more."""
    return flow_page(place, flow) if flow.startswith("pull:") else ""


def figures(run: stored.Run, found: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The figures that a report has, by their names, and what they are called."""
    known = {"push": PUSHED, "pipeline": PIPED}.get(run.flow.partition(":")[0], PULLED)
    return [(name, label) for name, label in known if not found or any(name in each for each in found)]


def report_rows(
    place: places.Place,
    run_id: str,
    names: Sequence[str],
    *,
    stream: str = "",
    account: str = "",
    wrong: bool = False,
) -> Iterator[list[Any]]:
    """A loading report for a file, of what `reports.page` finds."""
    of = functools.partial(
        reports.page, place.store, run_id, limit=500, stream=stream, account=account, wrong=wrong
    )
    after = None
    while found := of(after=after):
        yield from ([each.get(name) for name in names] for each in found)
        after = (found[-1]["stream"], found[-1]["account"])


def lines(place: places.Place, run_id: str, levels: Sequence[str] = ()) -> Iterator[tuple[Any, ...]]:
    """A log for a file, or its lines of these levels."""
    after, more = "", True
    while more:
        found = views.lines(place.store, run_id, after=after, limit=1_000, levels=levels)
        for line in found.lines:
            yield frame.iso(line.at), line.level, line.stream, line.account, line.text
        after, more = found.place, found.more


def size(count: int) -> str:
    """Bytes as people say them: `12.4 MB`."""
    if count < 1_000:
        return f"{count} B"
    amount = float(count)
    for unit in ("kB", "MB", "GB"):
        amount /= 1_000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1_000:.1f} TB"


def linker(place: places.Place, run: stored.Run) -> Linked:
    """Makes a text's commands lead to pages, and its request ids to what Stripe shows of them."""
    return linker_of(place, run.flow)


def linker_of(place: places.Place, name: str) -> Linked:
    """The same of a flow by its name."""
    flow = place.flows.get(name)
    connection = None if flow is None else place.file.stripe.get(flow.connection)
    key = None if connection is None else connection.api_key
    live = key is not None and keys.mode(key.get_secret_value()) == "live"
    where = f"{DASHBOARD}/logs/" if live else f"{DASHBOARD}/test/logs/"
    return prose.shower(requests=where, flow=name)


def _cells(each: Mapping[str, Any], known: Sequence[tuple[str, str]], ui: Any, flow: str) -> dict[str, Any]:
    cells = {name: each.get(name) for name, _ in known}
    if cells.get("bytes") is not None:
        cells["bytes"] = size(int(cells["bytes"] or 0))
    first, last = each.get("from_version"), each.get("to_version")
    span = None if first is None else ui.when(first) + markupsafe.Markup(" – ") + ui.when(last)
    tone = {"no_permission": "failed", "not_enabled": "off"}.get(each["status"], each["status"])
    return {
        "stream": each["stream"],
        "account": each["account"],
        "status": ui.chip(tone, WORDS.get(each["status"], "")),
        **cells,
        "span": span,
        "error": prose.cell(each.get("error") or "", flow=flow),
    }


def _kind(status: str) -> Any:
    return {"failed": "bad", "no_permission": "bad", "partial": "warn"}.get(status, "")
