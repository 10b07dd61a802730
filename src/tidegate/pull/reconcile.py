"""What events do not tell is listed again in its turn: young rows often, old ones rarely, those beyond never.

A list that can be cut by creation time is read in bands of age; others are read whole, so seldom that all turns
together take little of the budget. When each list had its turn stands under `turns/<account>` and is committed with
what the turn brought.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tidegate import catalog
from tidegate.pull import backfill, plan, reading, relist, settling, sweep
from tidegate.warehouse import base

MINUTE, HOUR, DAY = 60, 3_600, 86_400


@dataclass(frozen=True, slots=True)
class Band:
    """Rows up to an age in seconds are listed again after so many seconds."""

    age: int
    every: int


BANDS = (
    Band(HOUR, 5 * MINUTE),
    Band(DAY, HOUR),
    Band(7 * DAY, 6 * HOUR),
    Band(30 * DAY, DAY),
    Band(90 * DAY, 3 * DAY),
    Band(600 * DAY, 14 * DAY),
)
"""The turn of a band takes the younger ones along, so that no row falls between two turns as it ages."""
SHORTEST = 15 * MINUTE
"""Seconds between two readings of a whole list, at the least."""
PAUSE = 36
"""Seconds of pause for each request that a whole list takes: about 1 % of a budget of a few requests a second."""
LONGEST = DAY
"""Seconds between two readings of a whole list, at the most."""
LONGEST_PER_PARENT = 14 * DAY
"""The same of lists that take a request per parent: with a million customers, one request a second at this."""
PAGE = 100
EVENTS = MINUTE
"""Seconds in which an event becomes visible and is applied, while cycles follow one another."""

ALL = "all"
"""The reach of a reading of the whole list; other reaches are whole hours, as text."""
SILENT = frozenset({"some", "none"})


class Turns(msgspec.Struct, omit_defaults=True):
    """What the last pull went by, and when what was listed; kept under `turns/<account>`."""

    followed: bool = True
    """Could events be read?"""
    lookback: int = 7 * DAY
    lookbacks: dict[str, int] = {}
    """Those of single streams."""
    listed: dict[str, dict[str, int]] = {}
    """By stream: how far back -> Stripe's clock when everything up to that age was listed, unix seconds."""
    counts: dict[str, int] = {}
    """Rows of the streams that were read whole, as of `counted`."""
    counted: int = 0
    settle: int = 0
    """When to look for rows that should have settled, unix seconds."""

    def of(self, stream: str) -> int:
        """The lookback of a stream, in seconds."""
        return self.lookbacks.get(stream, self.lookback)

    def last(self, stream: str, age: int | None) -> int:
        """When everything up to an age (None: the whole list) was last listed again; 0 when never."""
        turns = self.listed.get(stream, {})
        return max((at for reach, at in turns.items() if _reaches(reach, age)), default=0)

    def note(self, stream: str, entry: relist.Entry) -> None:
        """A list was read again: all of it, or everything younger than a moment."""
        if entry.high is not None or (entry.low is not None and entry.low > entry.since):
            return  # it says nothing of the newest rows
        reach = ALL if entry.low is None else str((entry.since - entry.low) // HOUR)
        turns = self.listed.get(stream, {})
        turns[reach] = max(entry.since, turns.get(reach, 0))
        self.listed[stream] = {
            reach: at for reach, at in turns.items() if at >= self._latest_beyond(turns, reach)
        }

    @staticmethod
    def _latest_beyond(turns: Mapping[str, int], reach: str) -> int:
        """When a reading that reached further took place; an earlier one of less reach tells nothing."""
        age = None if reach == ALL else int(reach) * HOUR
        return max((at for other, at in turns.items() if other != reach and _reaches(other, age)), default=0)


def _reaches(reach: str, age: int | None) -> bool:
    return reach == ALL or (age is not None and int(reach) * HOUR >= age)


def key(account: str) -> str:
    """Where the turns of an account stand in the state."""
    return f"turns/{account}"


def turns(saved: Mapping[str, str], account: str) -> Turns:
    """Read them from the state."""
    try:
        return msgspec.json.decode(saved.get(key(account), "{}"), type=Turns)
    except msgspec.DecodeError:
        return Turns()


def begun(saved: Mapping[str, str], account: str, walks: Iterable[plan.Walk]) -> dict[str, int]:
    """By stream, when its first complete reading began: that was its first turn."""
    found: dict[str, int] = {}
    for walk in walks:
        progress = backfill.progress(saved.get(backfill.key(account, walk), ""))
        for name in walk.kept:
            if progress is not None and progress.done and name in progress.carries:
                found[name] = min(found.get(name, progress.since), progress.since)
    return found


def listed(saved: dict[str, str], account: str) -> Callable[[str, relist.Entry, dict[str, str | None]], None]:
    """For `Reading.done`: notes each turn, in `saved` and in the state that is committed with what it brought."""

    def done(name: str, entry: relist.Entry, state: dict[str, str | None]) -> None:
        now = turns(saved, account)
        now.note(name, entry)
        state[key(account)] = saved[key(account)] = msgspec.json.encode(now).decode()

    return done


async def due(
    shared: reading.Reading,
    wanted: plan.Plan,
    saved: dict[str, str],
    entries: relist.Entries,
    *,
    now: int,
    followed: bool,
    lookback: int,
    given: bool,
    lookbacks: Mapping[str, int] | None = None,
    stirred: bool = False,
) -> None:
    """Add to `entries` every list whose turn it is, and have rows read again that should have settled.

    `followed`: events can be read. `given`: the user asked for this lookback, so that everything within it is due
    in each pull, as it is where events cannot be read; but in a pull that goes on for ever, only in its turns.
    `lookbacks` are those of single streams. `stirred`: something happened since the last pull, so that there may be
    new rows of which no event tells; a pull that does not go on for ever looks for them. Nothing is due of a stream
    that was not read whole yet. `saved`, the account's state, is kept current. Raises Unauthorized, Unreachable,
    RateLimited and WarehouseError.
    """
    known = turns(saved, shared.account)
    before = msgspec.json.encode(known)
    known.followed, known.lookback, known.lookbacks = followed, lookback, dict(lookbacks or {})
    starts = begun(saved, shared.account, wanted.walks)
    for name in shared.accept & set(starts):
        if sweep.key(shared.account, name) in saved:
            relist.add(entries, [name], relist.Entry(now, "its rows that are not listed any more may go"))
    eager = (given or not followed) and not shared.patient
    ways = _ways(wanted)
    if _asks_for_counts(ways, known, starts, now, 0 if eager and not followed else SHORTEST):
        counts = await sizes(shared)
        known.counts, known.counted = {name: counts[name] for name in starts if name in counts}, now
    stirred = stirred and not shared.patient
    for name, entry in demanded(
        wanted, known, starts, now, eager=eager, given=given and eager, stirred=stirred
    ).items():
        relist.add(entries, [name], entry)
    if starts and not now < known.settle <= now + settling.LATEST:
        known.settle = await settling.settle(shared, wanted, now)
    if msgspec.json.encode(known) != before:
        saved[key(shared.account)] = msgspec.json.encode(known).decode()
        shared.sink.add([], state={key(shared.account): saved[key(shared.account)]})


def demanded(
    wanted: plan.Plan,
    known: Turns,
    starts: Mapping[str, int],
    now: int,
    *,
    eager: bool = False,
    given: bool = False,
    stirred: bool = False,
) -> relist.Entries:
    """The streams whose turn it is, with what is to be listed of them; `starts` are their first readings.

    `eager`: everything within the lookback is due. `given`: also of streams of which events tell everything.
    `stirred`: so are new rows that no event tells of.
    """
    found: relist.Entries = {}
    why = "not every change of it has an event" if known.followed else "events cannot be read"
    for stream, walks in _ways(wanted):
        if stream.name not in starts:
            continue
        start = starts[stream.name]
        told = told_of(stream, known.followed, known.counts)
        shortest = 0 if eager and not known.followed else SHORTEST
        if is_listed_whole(walks, told, known.followed):
            last = max(start, known.last(stream.name, None))
            if now - last >= period(walks, known.counts, shortest):
                found[stream.name] = relist.Entry(now, f"its turn, for {why}", regular=True)
                continue
        if all(walk.sliced for walk in walks):
            chosen = bands(stream, told, known.of(stream.name), given=given)
            begun = now if told.whole else start
            latest = stirred and told.created in SILENT
            low = _low(chosen, known, stream.name, begun, now, eager, latest=latest)
            if low is not None:
                found[stream.name] = relist.Entry(now, f"its turn, for {why}", low=low, regular=True)
    return found


def _ways(wanted: plan.Plan) -> list[tuple[catalog.Stream, list[plan.Walk]]]:
    """Every stream with the lists that bring it."""
    ways: dict[str, list[plan.Walk]] = {stream.name: [] for stream in wanted.streams}
    for walk in wanted.walks:
        for name in walk.kept:
            ways[name].append(walk)
    return [(stream, ways[stream.name]) for stream in wanted.streams if ways[stream.name]]


def _asks_for_counts(
    ways: Sequence[tuple[catalog.Stream, Sequence[plan.Walk]]],
    known: Turns,
    starts: Mapping[str, int],
    now: int,
    shortest: int,
) -> bool:
    """Does what is due hang on how many rows are stored, and are they to be counted anew?"""
    if 0 <= now - known.counted < HOUR and set(starts) <= set(known.counts):
        return False
    for stream, walks in ways:
        if stream.name not in starts:
            continue
        told = told_of(stream, known.followed, known.counts)
        if is_listed_whole(walks, told, known.followed):
            last, pause = known.last(stream.name, None), shortest
        else:
            last, pause = known.last(stream.name, 0), BANDS[0].every
            if all(origin.told is None for origin in stream.origins):
                continue
        if now - max(starts[stream.name], last) >= pause:
            return True
    return False


def told_of(stream: catalog.Stream, followed: bool, counts: Mapping[str, int]) -> catalog.Told:
    """What events tell of a stream here: nothing where they cannot be read, but for what cannot happen at all.

    Of a list that tells less than the stream's others only where somebody else's rows are in it.
    """
    told = stream.told
    for origin in stream.origins:
        if origin.told is not None and counts.get(origin.parents[0].stream, 0) > 1:
            told = origin.told
    if followed:
        return told
    return catalog.Told(
        "none",
        "never" if told.updated == "never" else "none",
        "never" if told.deleted == "never" else "none",
        told.silent,
    )


def is_listed_whole(walks: Sequence[plan.Walk], told: catalog.Told, followed: bool) -> bool:
    """Does a stream have to be read whole: since it cannot be cut, or no event tells of any deletion?"""
    if told.whole:
        return False
    return not all(walk.sliced for walk in walks) or (not followed and told.deleted != "never")


def bands(stream: catalog.Stream, told: catalog.Told, lookback: int, *, given: bool = False) -> list[Band]:
    """The bands of age in which a list that can be cut is read again, youngest first.

    Where only new rows are silent, and rows that settle, the youngest is enough. With no lookback at all, what was
    created since the last turn is left.
    """
    updated = "never" if stream.settles is not None else told.updated
    youngest = Band(min(HOUR, lookback // HOUR * HOUR), BANDS[0].every)
    if not given and not SILENT & {updated, told.deleted}:
        return [youngest] if told.created in SILENT else []
    below = (0, *(band.age for band in BANDS))
    found = [
        Band(min(band.age, lookback // HOUR * HOUR), band.every)
        for under, band in zip(below, BANDS, strict=False)
        if lookback >= under + HOUR
    ]
    return found or ([youngest] if told.created in SILENT else [])


def _low(
    chosen: Sequence[Band],
    known: Turns,
    stream: str,
    start: int,
    now: int,
    eager: bool,
    *,
    latest: bool = False,
) -> int | None:
    """Since when rows are to be listed again; None when no band has its turn. With `latest` the youngest has.

    A band reaches back to where its last turn was, less its age: whatever was young enough then, and may have
    changed since, is read once more, however long nobody pulled.
    """
    lows = []
    youngest = 0
    for band in chosen:
        last = max(start, known.last(stream, band.age))
        youngest = youngest or last
        if youngest - last > 2 * band.every:
            lows.append(now - band.age)  # it was not within the lookback so far
        elif eager or (latest and band == chosen[0]) or now - last >= band.every:
            lows.append(min(now, last) - band.age)
    return min(lows, default=None)


def period(walks: Sequence[plan.Walk], counts: Mapping[str, int], shortest: int = SHORTEST) -> int:
    """Seconds between two readings of whole lists: the longer the more requests they take."""
    longest = LONGEST_PER_PARENT if any(walk.node.origin.parents for walk in walks) else LONGEST
    costs = [requests(walk, counts) for walk in walks]
    known = [cost for cost in costs if cost is not None]
    return longest if len(known) < len(costs) else min(longest, max(shortest, sum(known) * PAUSE))


def requests(walk: plan.Walk, counts: Mapping[str, int]) -> int | None:
    """About how many requests a whole list takes, going by what is stored; None when that does not tell."""
    parents = {parent.stream for parent in walk.node.origin.parents}
    if not parents:
        rows = max(counts.get(name, 0) for name in (walk.node.stream.name, *walk.kept))
        return 1 + rows // PAGE
    if not parents <= set(counts):
        return None
    return max(1, math.prod(counts[name] for name in parents))


async def sizes(shared: reading.Reading) -> dict[str, int]:
    """The stored rows of every stream of the account, tombstones included, by one query."""
    tables = {name: target.table.name for name, target in shared.targets.items()}
    if shared.warehouse is None or not tables:
        return {}
    return await asyncio.to_thread(_sizes, shared.warehouse, shared.account, tables)


def _sizes(warehouse: base.Warehouse, account: str, tables: Mapping[str, str]) -> dict[str, int]:
    schema = base.quoted(warehouse.schema)
    selects = [
        f"select ? as stream, count(*) as stored from {schema}.{base.quoted(table)} where _account_id = ?"
        for table in tables.values()
    ]
    parameters = tuple(itertools.chain.from_iterable((name, account) for name in tables))
    batches = warehouse.read(" union all ".join(selects), parameters)
    return {row["stream"]: row["stored"] for batch in batches for row in batch.to_pylist()}


def staleness(
    stream: catalog.Stream, *, followed: bool, lookback: int, counts: Mapping[str, int]
) -> tuple[int | None, str]:
    """Seconds within which every change of a stream is noticed, while pulls follow one another, and so in words.

    None where some changes never are: those of rows that are older than the lookback.
    """
    told = told_of(stream, followed, counts)
    if told.whole:
        return EVENTS, "events, seconds"
    walks = _walks(stream.name)
    if is_listed_whole(walks, told, followed):
        every = period(walks, counts)
        return every, f"listed whole every {span(every)}"
    chosen = bands(stream, told, lookback)
    bound: int | None = BANDS[0].every
    words = [f"new rows every {span(BANDS[0].every)}"] if told.created in SILENT else []
    if stream.settles is not None:
        bound = settling.LATE
        words.append(f"{' or '.join(stream.settles.open)} ones within {span(bound)} of settling late")
    elif told.updated in SILENT or told.deleted in SILENT:
        bound = None
        aged = [f"{span(band.every)} up to {span(band.age)} old" for band in chosen if band.age]
        words.append(
            f"changes every {', '.join([*aged, 'then unbounded'])}" if aged else "changes: unbounded"
        )
    return bound, "; ".join(words)


@functools.cache
def _walks(name: str) -> tuple[plan.Walk, ...]:
    """The lists that bring a stream of the catalog."""
    return tuple(walk for walk in plan.plan(catalog.load().streams, [name]).walks if name in walk.kept)


def span(seconds: int) -> str:
    """Seconds in the largest unit that leaves no rest worth telling: `5 min`, `6 h`, `7 d`."""
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= 2 * size or (seconds >= size and seconds % size == 0):
            return f"{round(seconds / size)} {unit}"
    return f"{seconds} s"
