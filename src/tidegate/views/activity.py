"""Rows per hour: how much changed when, by what the metadata database knows of runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from tidegate import errors
from tidegate.engine import place as places
from tidegate.store import database

HOUR = 3_600
MOST = 14 * 24
"""Hours that can be asked for."""
LONGEST = 7 * 86_400.0
"""Seconds that a run with an end may have taken to be counted."""

_WRITTEN = re.compile(r"([\d,]+) (?:written|deleted)")
"""What `engine.recorder` says of changes: `1,234 written, 5 deleted`."""


@dataclass(frozen=True, slots=True)
class Hours:
    """Rows that changed, hour by hour: `starts` are unix seconds, the last hour goes on."""

    starts: tuple[int, ...]
    pulled: tuple[int, ...]
    """Rows written to warehouses, and deleted there."""
    pushed: tuple[int, ...]
    """Objects written at Stripe."""
    runs: tuple[int, ...]
    """Runs that ended."""
    failed: tuple[int, ...]
    """Those of them that failed, or were interrupted."""


class _Figures(msgspec.Struct):
    """What totals and progress of a run tell of it."""

    written: int = 0
    deleted: int = 0


@dataclass(slots=True)
class _Sums:
    """Figures by the hour, counted from `first`."""

    first: int
    pulled: list[float]
    pushed: list[float] = field(init=False)
    runs: list[int] = field(init=False)
    failed: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.pushed = [0.0] * len(self.pulled)
        self.runs, self.failed = [0] * len(self.pulled), [0] * len(self.pulled)

    def hour(self, moment: float) -> int | None:
        """The number of the hour that a moment lies in."""
        number = int((moment - self.first) // HOUR)
        return number if 0 <= number < len(self.pulled) else None

    def ended(self, at: float, state: str) -> None:
        """A run ended."""
        if (number := self.hour(at)) is not None:
            self.runs[number] += 1
            self.failed[number] += state in ("failed", "interrupted")

    def changed(self, rows: int, low: float, high: float, into: list[float]) -> None:
        """So many rows changed between two moments, evenly."""
        if high - low < 1.0:
            if (number := self.hour(high)) is not None:
                into[number] += rows
            return
        first = max(0, int((low - self.first) // HOUR))
        for number in range(first, len(into)):
            start = self.first + number * HOUR
            if start >= high:
                return
            into[number] += rows * (min(high, start + HOUR) - max(low, start)) / (high - low)


def hours(place: places.Place, count: int = 48) -> Hours:
    """The last `count` hours, 1 to 336, the one that goes on among them.

    What a run changed counts evenly in the hours that it took, of a continuous run when it said so.
    Raises ConfigError for another count.
    """
    if not 1 <= count <= MOST:
        raise errors.ConfigError(f"{count} hours cannot be shown; ask for 1 to {MOST}.")
    store = place.store
    now = store.now()
    sums = _Sums(int(now // HOUR - count + 1) * HOUR, [0.0] * count)
    _runs(store, sums, now)
    for at, text in _lines(store, sums.first):
        rows = sum(int(figure.replace(",", "")) for figure in _WRITTEN.findall(text))
        sums.changed(rows, at, at, sums.pulled)
    return Hours(
        tuple(sums.first + number * HOUR for number in range(count)),
        tuple(round(each) for each in sums.pulled),
        tuple(round(each) for each in sums.pushed),
        tuple(sums.runs),
        tuple(sums.failed),
    )


def _runs(store: database.Database, sums: _Sums, now: float) -> None:
    """Count the runs that have an end, and those of them that are under way."""
    decoder = msgspec.json.Decoder(_Figures)
    rows = store.tuples(
        "SELECT flow, state, cause, started_at, finished_at, totals FROM runs "
        "WHERE queued_at > :before AND finished_at >= :since UNION ALL "
        "SELECT flow, state, cause, started_at, finished_at, progress FROM runs "
        "WHERE state IN ('queued', 'running') AND started_at IS NOT NULL",
        {"since": float(sums.first), "before": sums.first - LONGEST},
    )
    for flow, state, cause, started, finished, text in rows:
        if finished is not None:
            sums.ended(float(finished), state)
        if cause == "continuous" or (started is None and finished is None):
            continue
        figures = decoder.decode(text)
        begun, ended = float(started or finished), float(finished or now)
        into = sums.pushed if flow.startswith("push:") else sums.pulled
        sums.changed(figures.written + figures.deleted, min(begun, ended), ended, into)


def _lines(store: database.Database, since: int) -> Iterator[tuple[float, str]]:
    """What continuous runs said of changes, and when."""
    rows = store.tuples(
        "SELECT at, text FROM run_lines WHERE run IN (SELECT id FROM runs WHERE cause = 'continuous' AND "
        "state IN ('queued', 'running') UNION ALL SELECT id FROM runs WHERE cause = 'continuous' "
        "AND state NOT IN ('queued', 'running') AND finished_at >= :since) "
        "AND at >= :since AND level = 'info' AND stream <> '' "
        "AND (text LIKE '% written%' OR text LIKE '% deleted')",
        {"since": float(since)},
    )
    for at, text in rows:
        yield float(at), text
