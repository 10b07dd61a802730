"""Lists that need a parent's id: one request per parent at the least, many parents side by side.

The parents come from the warehouse, where their own stream has just been loaded whole; where that stream is not
part of the pull, or comes without a column that is needed, from reading its list and keeping nothing but the ids.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass

from tidegate import catalog, errors
from tidegate.pull import load, plan, reading, report, shaping, slices, unpacking
from tidegate.rows import decode
from tidegate.stripe import client
from tidegate.warehouse import base

CHUNK = 500
"""Parents taken from the warehouse at a time."""
ABREAST = 32
"""Parents whose children are read side by side."""
SPARED = 10
"""Parents whose list may be refused before the whole walk ends there."""
DAY = 86_400

Wanted = tuple[catalog.Parent, ...]
"""What a list takes from the rows of one stream."""


@dataclass(frozen=True, slots=True)
class Parent:
    """One row that a list hangs on, or a pair of rows, and what they fill into the request."""

    id: str
    values: Mapping[str, str]
    place: str
    """Where it stands among all: its id, or both of a pair."""


async def read(trip: reading.Trip, after: str, mark: Callable[[str], str]) -> None:
    """Read the children of every parent behind `after`, in the order of the parents.

    `mark` renders the progress once all parents up to a place are done. A parent whose list is refused stops
    neither the others nor goes under: its error is raised in the end, and the progress stays before it.
    """
    refused: list[errors.TidegateError] = []

    async def children(parent: Parent) -> None:
        try:
            with trip.reading.flight():
                await _children(trip, parent)
        except (
            errors.BadPage,
            errors.InvalidRequest,
            errors.NotEnabled,
            errors.PermissionMissing,
            errors.ServerFault,
        ) as error:
            refused.append(error)
            if len(refused) > SPARED:
                raise

    async with contextlib.aclosing(_abreast(_families(trip, after), children)) as done:
        async for parent in done:
            if not refused:
                trip.add([], functools.partial(mark, parent.place))
    if refused:
        raise refused[0]


async def one(trip: reading.Trip, parent: Parent) -> None:
    """Read the children of one parent."""
    await _children(trip, parent)


async def some(trip: reading.Trip, most: int, enough: Callable[[], bool]) -> None:
    """Read the children of the newest parents, one after the other and `most` at the most, until `enough`."""
    left = most
    async for parent in _families(trip, ""):
        await _children(trip, parent)
        left -= 1
        if enough() or not left:
            return


def order(shared: reading.Reading, walk: plan.Walk) -> tuple[str, ...]:
    """The parent streams whose rows are taken from the warehouse, in the order of their ids."""
    return tuple(wanted[0].stream for wanted in _groups(walk.node.origin) if _is_stored(shared, wanted))


def _groups(origin: catalog.Origin) -> list[Wanted]:
    """The origin's parents by stream: two fields of one row belong together."""
    groups: dict[str, list[catalog.Parent]] = {}
    for parent in origin.parents:
        groups.setdefault(parent.stream, []).append(parent)
    return [tuple(group) for group in groups.values()]


async def _families(trip: reading.Trip, after: str) -> AsyncIterator[Parent]:
    """Every parent behind `after`; for a list that hangs on rows of two streams, every pair."""
    first, *others = _groups(trip.walk.node.origin)
    if not others:
        async for parent in _feed(trip, first, after):
            yield parent
        return
    begun, _, last = after.partition(" ")
    if begun:
        one = Parent(begun, {parent.param: begun for parent in first}, begun)
        async for other in _feed(trip, others[0], last):
            yield _pair(one, other)
    async for one in _feed(trip, first, begun):
        async for other in _feed(trip, others[0], ""):
            yield _pair(one, other)


def _pair(one: Parent, other: Parent) -> Parent:
    return Parent(one.id, {**one.values, **other.values}, f"{one.id} {other.id}")


async def _children(trip: reading.Trip, parent: Parent) -> None:
    """All rows of one parent; one that was deleted meanwhile has none."""
    node = trip.walk.node
    owner = unpacking.Owner(parent.id, trip.reading.streams[node.origin.parents[0].stream].object)
    values = {**parent.values, **(_window(trip, node.origin) if node.origin.window else {})}
    began = trip.reading.client.clock.now()
    ids: list[str] = []
    try:
        async for page, answer in reading.listing(trip, node, fixed=values):
            rows = page.rows.only(node.origin.objects) if node.origin.objects else page.rows
            ids += rows.ids
            trip.add(await unpacking.pieces(trip, node, rows, answer.version, len(answer.body), owner))
    except errors.StripeError as error:
        if not _is_gone(trip, parent, error):
            raise
        if isinstance(error, errors.Missing) and reading.is_elsewhere(error):
            return
    # Of a pair of parents, or of a span of time, the list is never all that one parent has.
    sweeps = trip.sweeping(parent.id).sweeps
    if sweeps and node.kept and not node.origin.window and len(_groups(node.origin)) == 1:
        trip.add([unpacking.swept(trip, node, parent.id, ids, began)])


def _is_gone(trip: reading.Trip, parent: Parent, error: errors.StripeError) -> bool:
    """Does Stripe say that the parent is no more, or is a connected account that was cut off meanwhile?"""
    if error.code == "account_invalid":
        return client.account_in(str(error)) == parent.id != trip.reading.account
    lacking = error.status == 404 and error.code == "not_found"  # v2 has one code for objects and routes
    return isinstance(error, errors.Missing) or (lacking and trip.walk.node.stream.api == "v2")


def _window(trip: reading.Trip, origin: catalog.Origin) -> dict[str, str]:
    """From the start of the pull, or of Stripe, to the last midnight: whole days, UTC."""
    first, last = origin.window
    start = trip.reading.starts.get(trip.walk.node.stream.name) or slices.EARLIEST
    now = trip.reading.client.clock.now()
    return {first: str(start - start % DAY), last: str(now - now % DAY)}


def _is_stored(shared: reading.Reading, wanted: Wanted) -> bool:
    """Does the pull itself bring the parents, all of them, with all that is needed of them?"""
    target = shared.targets.get(wanted[0].stream)
    needed = {name for parent in wanted for name in (parent.field, parent.where) if name}
    if shared.warehouse is None or target is None or target.shape.where is not None:
        return False
    return needed <= target.shape.readable


async def _feed(trip: reading.Trip, wanted: Wanted, after: str) -> AsyncIterator[Parent]:
    """The parents of one stream behind `after`."""
    warehouse = trip.reading.warehouse
    if warehouse is None or not _is_stored(trip.reading, wanted):
        async for rows in _listed(trip, trip.reading.streams[wanted[0].stream], after):
            for parent in _picked(rows, wanted):
                yield parent
        return
    target = trip.reading.targets[wanted[0].stream]
    while True:
        found = await asyncio.to_thread(_stored, warehouse, trip.reading.account, target, wanted, after)
        for parent in found:
            after = parent.id
            yield parent
        if len(found) < CHUNK:
            return


def _stored(
    warehouse: base.Warehouse, account: str, target: load.Target, wanted: Wanted, after: str
) -> list[Parent]:
    """The next live parents in the order of their ids."""
    conditions = "".join(f" and {base.quoted(p.where)} is not null" for p in wanted if p.where)
    columns = ", ".join(base.quoted(p.field) for p in wanted)
    table = f"{base.quoted(warehouse.schema)}.{base.quoted(target.table.name)}"
    batches = warehouse.read(
        f"select distinct id, {columns} from {table} where _account_id = ? and id > ? and _deleted_at is null"
        f"{conditions} order by id limit {CHUNK}",
        (account, after),
    )
    found = []
    for batch in batches:
        ids, *values = (column.to_pylist() for column in batch.columns)
        for row_id, *row in zip(ids, *values, strict=True):
            filled = {p.param: str(v) for p, v in zip(wanted, row, strict=True)}
            found.append(Parent(row_id, filled, row_id))
    return found


async def _listed(trip: reading.Trip, stream: catalog.Stream, after: str) -> AsyncIterator[decode.Rows]:
    """A stream's rows from its list, behind `after` where it has a single list that takes an id for a cursor."""
    resumable = len(stream.origins) == 1 and stream.api == "v1"
    for walk in plan.plan(trip.reading.streams, [stream.name]).walks:
        if walk.node.stream == stream:
            node = dataclasses.replace(walk.node, kept=False)
            async for page, _ in reading.listing(trip, node, after if resumable else ""):
                yield page.rows
        else:
            async for page, answer in reading.listing(trip, walk.node):
                basket = reading.Basket()
                inside = _inside(trip, stream, walk, basket)
                pieces = await unpacking.pieces(inside, walk.node, page.rows, answer.version, 0)
                for piece in [*basket.pieces, *pieces]:
                    if isinstance(piece, load.Piece):
                        yield piece.part.rows


def _picked(rows: decode.Rows, wanted: Wanted) -> Iterator[Parent]:
    """What is needed of a page of parents, without those that cannot have children."""
    values = [rows.values(parent.field) for parent in wanted]
    needed = [rows.values(parent.where) for parent in wanted if parent.where]
    for i, row_id in enumerate(rows.ids):
        if all(column[i] is not None for column in needed):
            filled = {p.param: str(column[i]) for p, column in zip(wanted, values, strict=True)}
            yield Parent(row_id, filled, row_id)


def _inside(trip: reading.Trip, stream: catalog.Stream, walk: plan.Walk, sink: reading.Sink) -> reading.Trip:
    """The trip through another list, to keep the rows of one stream that are nested there."""
    decoder = trip.reading.decoder(stream)
    shape = shaping.shape(stream, decoder)
    target = load.Target(stream, trip.reading.account, decoder, shape, report.Outcome(stream.name, ""))
    shared = dataclasses.replace(
        trip.reading, sink=sink, targets={stream.name: target}, screen=report.Silent()
    )
    return dataclasses.replace(trip, reading=shared, walk=walk)


async def _abreast(
    feed: AsyncIterator[Parent], work: Callable[[Parent], Coroutine[None, None, None]]
) -> AsyncGenerator[Parent, None]:
    """Work on several parents at a time; yields each once it and all before it are done."""
    waiting: collections.deque[tuple[Parent, asyncio.Task[None]]] = collections.deque()
    try:
        async for parent in feed:
            waiting.append((parent, asyncio.create_task(work(parent))))
            while len(waiting) >= ABREAST or (waiting and waiting[0][1].done()):
                await waiting[0][1]
                yield waiting.popleft()[0]
        while waiting:
            await waiting[0][1]
            yield waiting.popleft()[0]
    finally:
        for _, task in waiting:
            task.cancel()
        await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)
