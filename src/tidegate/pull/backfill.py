"""Reading lists to their end: by slices of creation time, by cursor, or once per parent.

Every walk hands its pages to the loader together with a mark that says what is still unread; rows of nested lists
that need further requests go ahead of that mark. Killed anywhere, a walk goes on from its last mark and at worst
reads again what was not committed.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tidegate import errors
from tidegate.pull import load, parents, plan, reading, slices, unpacking
from tidegate.rows import decode
from tidegate.stripe import pages

FRESH = 29 * 86_400
"""Seconds for which what was read before a walk was cut short is not read again: what was created or changed since
is told by events, which Stripe keeps for 30 days, or is listed again in its turn."""
FEW = 4
"""Pages of one list, read one after the other, from which on it is worth a note."""
READERS = 12
"""Readers of one sliced list at the most; no more are hired than the budget keeps busy."""


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a walk has come, kept in the warehouse's state under `backfill/<account>/<walk>`."""

    carries: tuple[str, ...]
    since: int = 0
    """The Stripe clock before the walk's first request, unix seconds."""
    start: int | None = None
    """Only objects created from here on are read."""
    end: int | None = None
    """Only objects created before this are read."""
    done: bool = False
    open: tuple[slices.Saved, ...] = ()
    """What a sliced walk has not read yet."""
    after: str = ""
    """The cursor of a plain walk (of a v2 walk: the next page's URL), or the last finished parent."""
    order: tuple[str, ...] = ()
    """Parent streams that are taken from the warehouse, by id; others come in the order of their lists."""


def key(account: str, walk: plan.Walk, *, again: bool = False) -> str:
    """Where a walk's progress stands in the state; a list that is read once more has a place of its own."""
    return f"{'again' if again else 'backfill'}/{account}/{walk.name}"


BEGUN = msgspec.json.encode(Progress(())).decode()
"""The mark of a walk of which nothing was read, though events may have brought rows of its streams."""


def start(starts: Mapping[str, int | None], walk: plan.Walk) -> int | None:
    """From when on objects are read; None for all, and where Stripe cannot filter.

    The earliest that any stream of the walk asks for. Of lists per parent it is the start of the parents and of
    the span asked for.
    """
    origin = walk.node.origin
    if not (walk.sliced or origin.parents):
        return None
    names = [*walk.node.streams(), *(parent.stream for parent in origin.parents)]
    found = [starts[name] for name in names if name in starts]
    return min((each for each in found if each is not None), default=None) if None not in found else None


def progress(saved: str) -> Progress | None:
    """Read a mark; None for one that this version cannot read."""
    try:
        return msgspec.json.decode(saved, type=Progress)
    except msgspec.DecodeError:
        return None


@dataclass(frozen=True, slots=True)
class Job:
    """One list to be read: from when to when, and not to be found done before `since`."""

    walk: plan.Walk
    start: int | None = None
    end: int | None = None
    since: int = 0
    again: bool = False
    """Rows of it are stored already, so that what is there no more can be told."""
    order: tuple[str, ...] = ()
    apart: bool = False
    """Its progress has a place of its own, so that the stream stays complete meanwhile."""

    def unfinished(self, saved: str | None, now: int) -> Progress | None:
        """The progress to go on from, or None when the walk must begin anew.

        It must when it was finished or was begun too early, when it now carries a stream that its earlier part did
        not, when another span is asked for, when its parents come in another order, or when the events since have
        left Stripe: what was created since stands before the place where it stopped.
        """
        found = progress(saved) if saved is not None else None
        if found is None or found.done or found.since < self.since or found.order != self.order:
            return None
        if (found.start, found.end) != (self.start, self.end) or not -5 < now - found.since < FRESH:
            return None  # a beginning that is still to come was noted about another Stripe
        return found if set(self.walk.node.streams()) <= set(found.carries) else None

    def finished(self, saved: str | None) -> bool:
        """Was the whole walk done, and not before `since`?

        A walk that once began earlier than is now asked for has all of it.
        """
        found = progress(saved) if saved is not None else None
        if found is None or not found.done or found.since < self.since or found.end != self.end:
            return False
        covers = found.start is None or (self.start is not None and found.start <= self.start)
        return covers and set(self.walk.node.streams()) <= set(found.carries)


async def read(trip: reading.Trip, job: Job, saved: Progress | None) -> None:
    """Read one list to its end and mark it done.

    Raises what Stripe answered when it cannot be read to its end; what was read before stays.
    """
    now = saved or Progress(
        carries=tuple(trip.walk.node.streams()),
        since=trip.reading.client.clock.now(),
        start=job.start,
        end=job.end,
        order=job.order,
    )
    trip.reading.client.clock.assure(now.since)
    if trip.walk.node.stream.own and trip.walk.node.kept:
        await _own(trip)
    if trip.walk.node.origin.parents:
        await parents.read(trip, now.after, lambda after: _mark(trip, now, after=after))
    elif trip.walk.sliced:
        await _by_slice(trip, now)
    else:
        await _by_cursor(trip, now)
    trip.add([], lambda: _mark(trip, now, done=True))


def _mark(trip: reading.Trip, now: Progress, **changes: object) -> str:
    """Progress as text; what is done is so but for nested lists that had to be left out."""
    found = msgspec.structs.replace(now, **changes)
    if found.done:
        whole = tuple(name for name in now.carries if name not in trip.missing)
        found = msgspec.structs.replace(found, carries=whole, open=(), after="")
    return msgspec.json.encode(found).decode()


async def _own(trip: reading.Trip) -> None:
    """The row that no list holds: the platform's own account."""
    stream = trip.walk.node.stream
    with trip.reading.flight():
        try:
            answer = await trip.get(stream.own, {}, stream.own)
        except (errors.PermissionMissing, errors.NotEnabled) as error:
            trip.reading.screen.note(f"{stream.name}: without the account's own row; {error}")
            return
        rows = trip.reading.decoder(stream).objects([answer.body])
        trip.add(await unpacking.pieces(trip, trip.walk.node, rows, answer.version, len(answer.body)))


async def _by_cursor(trip: reading.Trip, now: Progress, slow: str = "") -> None:
    """One page after the other; an unpaged list is one page. `slow` says why, once it costs something."""
    count = 0
    node, pages_left = trip.walk.node, reading.listing(trip, trip.walk.node, now.after)
    while True:
        with trip.reading.flight():
            if (found := await anext(pages_left, None)) is None:
                return
            page, answer = found
            count += 1
            if slow and count == FEW and page.has_more:
                trip.reading.screen.note(slow)
            after = page.next_url if node.stream.api == "v2" else page.rows.last_id
            done = not (page.has_more and node.origin.paged)
            rows = await unpacking.pieces(trip, node, page.rows, answer.version, len(answer.body))
            trip.add(rows, functools.partial(_mark, trip, now, after=after or "", open=(), done=done))


async def _by_slice(trip: reading.Trip, now: Progress) -> None:
    """Several readers over slices of creation time; one by cursor where the filter is not honoured."""
    clock = trip.reading.client.clock.now()
    if now.open:
        cut = slices.Slices.restored(now.open, newest=clock)
    else:
        cut = slices.Slices(low=now.start, high=now.end, newest=clock)
    try:
        await _readers(trip, cut, lambda: _mark(trip, now, open=cut.snapshot(), done=cut.done))
    except* _Unfiltered:
        trip.twice.set()
        await _by_cursor(
            trip,
            now,
            f"{trip.walk.name}: Stripe did not apply the filter by creation time; reading the list whole.",
        )


class _Unfiltered(Exception):
    """A list answered with rows outside of the span that was asked for."""


async def _readers(trip: reading.Trip, cut: slices.Slices, mark: load.Mark) -> None:
    """Read all slices, by as many readers as the budget keeps busy and never by none."""
    pace, endpoint = trip.reading.client.pace, f"GET {trip.walk.node.origin.path}"
    async with asyncio.TaskGroup() as group:
        running = 0

        def hire() -> None:
            """One more reader; one at a time, since each changes how busy the budget is."""
            nonlocal running
            wanted = not running or (running < READERS and not pace.waiting(endpoint))
            if wanted and (part := cut.take()) is not None:
                running += 1
                group.create_task(one(part))

        async def one(part: slices.Slice) -> None:
            nonlocal running
            while part in cut.open:
                with trip.reading.flight():
                    await _page(trip, cut, part, mark)
                hire()
            running -= 1
            hire()

        hire()
    assert cut.done, f"{trip.walk.name} was left before its end"


async def _page(trip: reading.Trip, cut: slices.Slices, part: slices.Slice, mark: load.Mark) -> None:
    """Read the next page of one slice."""
    node = trip.walk.node
    params = pages.list_params(
        node.origin,
        after=part.after,
        limit=node.origin.max_limit,
        gte=part.low,
        lt=part.high,
        expand=trip.expand(node),
    )
    low, high, cursor = part.low, part.high, part.after
    try:
        answer = await trip.get(node.origin.path, params, node.origin.path)
    except errors.Missing:
        if cursor is None:
            raise
        if part.rewound >= reading.RESTARTS:
            raise reading.lost(node.origin.path) from None
        cut.rewind(part)
        trip.twice.set()
        return
    page = trip.reading.decoder(node.stream).page(answer.body)
    created = _created(page.rows, node.stream.created_field, low, high)
    if page.has_more and page.rows.last_id in {None, cursor}:
        raise reading.stuck(node.origin.path)
    own = cut.belongs(part, created)
    rows = page.rows if len(own) == len(created) else page.rows.take(own)
    found = await unpacking.pieces(trip, node, rows, answer.version, len(answer.body))
    cut.advance(part, created, page.rows.last_id, page.has_more)
    trip.add(found, mark)
    trip.reading.screen.advanced(node.stream.name, estimate=cut.estimate())


def _created(rows: decode.Rows, field: str, low: int | None, high: int | None) -> Sequence[int]:
    """When each row was created, by the field that the list's filter goes by."""
    times = rows.created if field == "created" else rows.values(field)
    created = [when for when in times if isinstance(when, int)]
    within = all((low is None or when >= low) and (high is None or when < high) for when in created)
    if len(created) < len(rows) or not within:
        raise _Unfiltered
    return created
