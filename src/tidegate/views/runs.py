"""Runs: what ran and runs, how far each is, its log and its loading report, ending one."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from tidegate import errors, views
from tidegate.engine import place as places
from tidegate.store import calls, database, history, logs, reports, runs, trail

Kind = Literal["plain", "good", "warn", "bad"]
_Number = Annotated[int, msgspec.Meta(ge=-1, le=2**31 - 1)]
SUMMED = 2_000
"""Tables of a loading report that are summed up; of more the totals are shown."""
NEWS = 200
"""Lines that are told at once to those who follow a run."""
LAST = "last"
"""Names the newest run, where a person says which one is meant."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some runs, newest first; `next` is the place of the last one where there are more."""

    runs: tuple[runs.Run, ...]
    next: history.Place | None


@dataclass(frozen=True, slots=True)
class Lines:
    """Some lines of a log in their order; `place` is for whoever asks for the next ones, where there are `more`."""

    lines: tuple[logs.Line, ...]
    place: str
    more: bool


@dataclass(frozen=True, slots=True)
class Stream:
    """How far one stream of a run is, over all accounts; `estimate` is a guess at its rows."""

    name: str
    rows: int
    requests: int
    estimate: int | None
    begun: int
    """Accounts of which its reading began."""
    ended: int
    status: str

    @property
    def share(self) -> float | None:
        """How much of it is done, 0 to 1; None where nobody knows."""
        if self.status != "running" or (self.begun and self.ended >= self.begun):
            return 1.0
        return min(0.99, self.rows / self.estimate) if self.estimate else None


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a funnel: where so many rows went."""

    label: str
    rows: int
    kind: Kind = "plain"


@dataclass(frozen=True, slots=True)
class Whole:
    """A run with what its loading report comes to, as of `at`."""

    run: runs.Run
    counts: reports.Counts
    funnel: tuple[Bar, ...]
    at: float


def page(
    place: places.Place, only: history.Filter, *, limit: int, after: history.Place | None = None
) -> Page:
    """Runs of a filter, newest first; those that are queued meanwhile move nothing."""
    found = history.page(place.store, only, limit=limit + 1, after=after)
    shown = found[:limit]
    last = (shown[-1].queued_at, shown[-1].id) if len(found) > limit else None
    return Page(tuple(shown), last)


def each(place: places.Place, only: history.Filter, size: int = 500) -> Iterator[runs.Run]:
    """All runs of a filter, newest first, page by page."""
    after: history.Place | None = None
    while True:
        some = page(place, only, limit=size, after=after)
        yield from some.runs
        after = some.next
        if after is None:
            return


def get(place: places.Place, run_id: str) -> runs.Run:
    """A run by its whole id; raises Unknown."""
    found = calls.run(place.store, run_id) if run_id.isascii() and run_id.isprintable() else None
    if found is None:
        raise views.Unknown("There is no run with this id.")
    return found


def meant(store: database.Database, name: str) -> runs.Run:
    """A run by its id or the beginning of it, as people name it; `last` is the newest. Raises ConfigError."""
    if name != LAST:
        return runs.get(store, name)
    newest = runs.listed(store, limit=1)
    if not newest:
        raise views.Unknown("there are no runs yet; `tidegate run` schedules them")
    return newest[0]


def cancel(place: places.Place, who: views.Who, run: runs.Run) -> runs.Run:
    """End a queued run, have a running one end; what it committed stays. Raises Refused for one that has ended."""
    if not run.alive:
        raise views.Refused(f"{run.id} has ended already: {run.state}.")
    try:
        by = "the command line" if who.via == "cli" else who.name
        line = trail.Note(who.name, "cancel", run.flow, after={"run": run.id}, via=who.via)
        return runs.cancel(place.store, run.id, by, line)
    except errors.ConfigError as ended:  # meanwhile
        raise views.Refused(str(ended)) from None


def lines(
    store: database.Database, run_id: str, *, after: str = "", limit: int, levels: Sequence[str] = ()
) -> Lines:
    """The next lines of a run after a place, or its first ones; raises ConfigError for what is no place."""
    found, seen = logs.read(store, run_id, seen=_seen(after), limit=limit, levels=levels)
    more = len(found) == limit and bool(logs.read(store, run_id, seen=seen, limit=1, levels=levels)[0])
    return Lines(tuple(found), _place(seen), more)


def news(
    store: database.Database, run_id: str, after: str = "", limit: int = NEWS
) -> tuple[runs.Run, list[tuple[str, logs.Line]]]:
    """A run as it is now, and its next lines after a place, each with its own; raises ConfigError.

    The run is read first: of one that has ended all lines are there.
    """
    run = runs.get(store, run_id)
    found = logs.numbered(store, run_id, seen=_seen(after), limit=limit)
    return run, [(_place(seen), line) for line, seen in found]


def tail(
    store: database.Database, run_id: str, *, before: str = "", limit: int, levels: Sequence[str] = ()
) -> Lines:
    """The last lines of a run, or the last ones before a place; likewise."""
    found, first = logs.tail(store, run_id, before=_seen(before), limit=limit, levels=levels)
    more = len(found) == limit and bool(logs.tail(store, run_id, before=first, limit=1, levels=levels)[0])
    return Lines(tuple(found), _place(first), more)


def streams(run: runs.Run) -> list[Stream]:
    """How far each stream of a run is, those that go on first."""
    told = run.progress.get("streams", {})
    found = [
        Stream(
            name,
            int(each.get("rows", 0)),
            int(each.get("requests", 0)),
            each.get("estimate"),
            int(each.get("begun", 0)),
            int(each.get("ended", 0)),
            str(each.get("status", "")),
        )
        for name, each in told.items()
    ]
    return sorted(found, key=lambda each: (each.share == 1.0, each.name))


def rows(run: runs.Run) -> int | None:
    """Rows that a run wrote so far; None where it said nothing of them."""
    so_far = run.progress.get("written", run.progress.get("rows"))
    found = run.totals.get("written", so_far)
    return found if isinstance(found, int) else None


def took(run: runs.Run, now: float) -> float | None:
    """Seconds that a run took, or has taken until now; None where it has not begun."""
    return None if run.started_at is None else max(0.0, (run.finished_at or now) - run.started_at)


_PUSHED: tuple[tuple[str, str, Kind], ...] = (
    ("filtered", "Left out by the filter", "plain"),
    ("unchanged", "As Stripe has them", "plain"),
    ("created", "Created", "good"),
    ("updated", "Updated", "good"),
    ("unmatched", "Without an object", "warn"),
    ("held", "Held", "warn"),
    ("left", "Not written yet", "warn"),
    ("quarantined", "In quarantine", "bad"),
    ("invalid", "Not valid", "bad"),
    ("failed", "Refused by Stripe", "bad"),
    ("unknown", "Unknown what became of them", "bad"),
)
_PIPED: tuple[tuple[str, str, Kind], ...] = (
    ("filtered", "Left out by the filter", "plain"),
    ("failed", "Could not be shaped", "bad"),
    ("written", "Written", "good"),
    ("unchanged", "Unchanged", "plain"),
)
_PULLED: tuple[tuple[str, str, Kind], ...] = (
    ("inserted", "New", "good"),
    ("updated", "Changed", "good"),
    ("unchanged", "Unchanged", "plain"),
    ("deleted", "Deleted", "warn"),
)


def whole(store: database.Database, run: runs.Run) -> Whole:
    """A run with what its loading report comes to."""
    counts = reports.count(store, run.id)
    tables = reports.page(store, run.id, limit=SUMMED) if counts.tables <= SUMMED else []
    return Whole(run, counts, tuple(funnel(run, tables)), store.now())


def funnel(run: runs.Run, tables: Sequence[Mapping[str, Any]]) -> list[Bar]:
    """Where the rows of a run went, by its loading report; by its totals where none of that is given.

    The first bar is what came in; of a push and of a pipeline it is the sum of the others.
    """
    kind = run.flow.partition(":")[0]
    source, bars = {"push": ("source", _PUSHED), "pipeline": ("read", _PIPED)}.get(kind, ("read", _PULLED))
    told = tables or [run.totals]

    def total(name: str) -> int:
        return sum(int(each.get(name) or 0) for each in told)

    if not any(source in each for each in told):
        return []
    came = Bar("Rows of the model" if kind == "push" else "Read", total(source))
    return [came, *(Bar(label, total(name), colour) for name, label, colour in bars if total(name))]


def _place(seen: Mapping[str, int]) -> str:
    """Where lines begin or end, as text that nobody needs to read."""
    return (
        urlsafe_b64encode(msgspec.json.encode(dict(sorted(seen.items())))).decode().rstrip("=")
        if seen
        else ""
    )


def _seen(place: str) -> dict[str, int]:
    if not place:
        return {}
    try:
        text = place.encode("ascii")
        return msgspec.json.decode(urlsafe_b64decode(text + b"=" * (-len(text) % 4)), type=dict[str, _Number])
    except (UnicodeError, binascii.Error, msgspec.DecodeError):
        raise errors.ConfigError(
            "This is no place in a log; give what an answer about the log said."
        ) from None
