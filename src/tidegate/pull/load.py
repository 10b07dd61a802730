"""From pages in memory to committed rows: gathers what the walks bring and commits it with their progress.

Rows and the marks that say how far a walk has come are cut together and committed in one transaction, so a kill
costs at most the one batch that was not committed yet, and a mark never runs ahead of its rows.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import datetime as dt
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from tidegate import catalog, errors
from tidegate.privacy import forget
from tidegate.pull import report, shaping
from tidegate.rows import arrow, decode
from tidegate.warehouse import base, spool

ROWS = 8_000
BYTES = 32 * 1024 * 1024
SECONDS = 4.0
FIRST = 1.0
"""The first commit comes early: somebody is watching."""

Mark = Callable[[], str | None]
"""Renders a walk's progress as text when a batch is cut; None removes it."""


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Where rows of one stream and account go."""

    stream: catalog.Stream
    account: str
    decoder: decode.Decoder
    shape: shaping.Shape
    outcome: report.Outcome

    @property
    def table(self) -> base.Table:
        """The table as the warehouse has it."""
        return self.shape.table


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of one answer on their way to a table; `weight` is their size in bytes.

    `carried` are columns that this answer does not tell, so that what is stored stays. `payload`: the rows come
    out of events, and never replace what was read in the very second. `past`: versions that are over, for the
    history only.
    """

    target: Target
    part: arrow.Part
    weight: int
    carried: frozenset[str] = frozenset()
    payload: bool = False
    past: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """Rows that are no more since `version`, by the values of their key behind `_account_id`."""

    target: Target
    keys: Sequence[tuple[str, ...]]
    version: int


@dataclass(frozen=True, slots=True)
class Swept:
    """All rows that one parent had at `version`, by their ids; what else is stored of it is gone."""

    target: Target
    parent_id: str
    ids: Sequence[str]
    version: int


Cargo = Piece | Gone | Swept


@dataclass(slots=True)
class _Batch:
    pieces: list[Cargo] = field(default_factory=list)
    marks: dict[str, Mark] = field(default_factory=dict)
    rows: int = 0
    weight: int = 0
    since: float = 0.0
    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    """Who waits for this batch to be committed, and cannot wait for it to fill up."""


class Loader:
    """Commits batches from a thread of its own, one at a time, while reading goes on.

    `add` takes rows and a mark together or not at all; what was added before is always committed before or
    with what was added later. After an error every further call raises it.
    """

    def __init__(
        self,
        warehouse: base.Warehouse,
        fence: base.Fence | None = None,
        scrubbers: Mapping[str, forget.Scrubber] = MappingProxyType({}),
    ) -> None:
        self._warehouse = warehouse
        self._fence = fence
        self._scrubbers = scrubbers
        self._batch = _Batch()
        self._changed = asyncio.Event()
        self._space = asyncio.Event()
        self._space.set()
        self._closing = False
        self._error: BaseException | None = None
        self._commits = 0
        self.waiting = 0
        """Batches that were set aside on disk since somebody else held the warehouse."""
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "load")
        self._task = asyncio.create_task(self._run())

    def add(
        self,
        pieces: Sequence[Cargo],
        key: str = "",
        mark: Mark | None = None,
        *,
        state: Mapping[str, str | None] | None = None,
    ) -> None:
        """Take rows, and with them the progress of the walk `key` and other state; never waits."""
        if self._error is not None:
            raise self._error
        batch = self._batch
        if not batch.since:
            batch.since = asyncio.get_running_loop().time()
        for piece in pieces:
            batch.pieces.append(piece)
            batch.rows += 1
            if isinstance(piece, Piece):
                outcome, count = piece.target.outcome, len(piece.part.rows)
                outcome.read += count
                outcome.bytes += piece.weight
                if piece.past:
                    outcome.unchanged += count
                batch.rows += count - 1
                batch.weight += piece.weight
        if mark is not None:
            batch.marks[key] = mark
        for name, text in (state or {}).items():
            batch.marks[name] = functools.partial(_same, text)
        if self._full(batch):
            self._space.clear()
        self._changed.set()

    async def room(self) -> None:
        """Wait until the loader has caught up; keeps memory flat."""
        await self._space.wait()
        if self._error is not None:
            raise self._error

    async def flush(self) -> None:
        """Wait until everything that was added is committed."""
        if self._error is None:
            committed = asyncio.get_running_loop().create_future()
            self._batch.since = self._batch.since or asyncio.get_running_loop().time()
            self._batch.waiting.append(committed)
            self._changed.set()
            await committed
        if self._error is not None:
            raise self._error

    async def finish(self) -> None:
        """Commit everything that was added, then stop; idempotent."""
        self._closing = True
        self._changed.set()
        try:
            await asyncio.shield(self._task)
            if self.waiting and self._error is None:
                await asyncio.get_running_loop().run_in_executor(self._thread, spool.settle, self._warehouse)
        finally:
            self._thread.shutdown(wait=True)
        if self._error is not None:
            raise self._error

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        batch = self._batch
        try:
            while await self._due():
                batch, self._batch = self._batch, _Batch()
                state = {key: mark() for key, mark in batch.marks.items()}
                self._space.set()
                await loop.run_in_executor(self._thread, self._commit, batch.pieces, state)
                self._commits += 1
                _wake(batch)
        except BaseException as error:
            self._error = error
            self._space.set()
            _wake(batch)
            _wake(self._batch)
            if isinstance(error, asyncio.CancelledError):
                raise

    async def _due(self) -> bool:
        """Wait for a batch worth committing; False when closing and nothing is left."""
        loop = asyncio.get_running_loop()
        while True:
            batch = self._batch
            if self._closing or self._full(batch):
                return bool(batch.since)
            self._changed.clear()
            patience = SECONDS if self._commits else FIRST
            left = batch.since + patience - loop.time() if batch.since else None
            if left is not None and left <= 0:
                return True
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _full(self, batch: _Batch) -> bool:
        return batch.rows >= ROWS or batch.weight >= BYTES or bool(batch.waiting)

    def _commit(self, pieces: list[Cargo], state: dict[str, str | None]) -> None:
        now = dt.datetime.now(dt.UTC)
        orders = _orders(pieces, now, self._scrubbers)
        pieces.clear()
        for scrubber in self._scrubbers.values():
            state |= scrubber.marks()
        try:
            done = spool.load(self._warehouse, [order.load for order in orders], state, self._fence)
        except errors.WarehouseError as error:
            if not isinstance(error, errors.Fenced):
                self._recount(orders, now)
            raise
        if done is None:  # somebody holds the warehouse: the rows wait on disk, safe
            self.waiting += 1
        for i, order in enumerate(orders):
            order.count(None if done is None else done[i])

    def _recount(self, orders: Sequence[_Order], now: dt.datetime) -> None:
        """Count what was committed though the warehouse then refused: a disk may fill up after the commit.

        Rows of a batch bear its moment. A warehouse that does not even answer leaves them uncounted.
        """
        schema = base.quoted(self._warehouse.schema)
        tables = {
            (target.table.name, target.account): target
            for order in orders
            if order.load.mode in ("replace", "keep")
            for target, _ in order.owners
            if order.load.table.name == target.table.name
        }
        for (name, account), target in tables.items():
            sql = f"select count(*) as n from {schema}.{base.quoted(name)} where _account_id = ? and _synced_at = ?"
            with contextlib.suppress(errors.TidegateError):
                for batch in self._warehouse.read(sql, (account, now)):
                    for row in batch.to_pylist():
                        target.outcome.wrote(row["n"], 0, 0)


@dataclass(frozen=True, slots=True)
class _Order:
    """A load, and whose rows it holds: how many of each account's."""

    load: base.Load
    owners: Sequence[tuple[Target, int]]

    def count(self, done: base.Loaded | None) -> None:
        """Add what was done to the outcomes; what waits on disk counts as inserted, and deletions there not yet."""
        place = 0
        for target, rows in self.owners:
            mine, place = self.load.rows.slice(place, rows), place + rows
            done = self._counted(target.outcome, mine, done)

    def _counted(
        self, outcome: report.Outcome, mine: pa.Table, done: base.Loaded | None
    ) -> base.Loaded | None:
        """Count one account's rows; returns what is left for the others.

        Of several accounts' rows only the sums are known: when they did not all fare alike, the first ones are
        taken for inserted and the last ones for those that changed nothing.
        """
        rows = mine.num_rows
        if done is None:
            inserted, updated = (0 if self.load.mode in ("mark", "sweep") else rows), 0
        elif len(self.owners) == 1:
            inserted, updated = done.inserted, done.updated
        else:
            inserted = min(rows, done.inserted)
            updated = min(rows - inserted, done.updated)
            done = dataclasses.replace(
                done, inserted=done.inserted - inserted, updated=done.updated - updated
            )
        if self.load.mode in ("replace", "keep"):
            outcome.wrote(inserted, updated, rows - inserted - updated)
        elif self.load.mode == "history":
            outcome.versions += inserted
        elif self.load.mode in ("mark", "sweep"):
            outcome.deleted += updated
        if (inserted or updated) and "_version" in mine.column_names:
            span = pc.min_max(mine["_version"])
            outcome.spans(span["min"].as_py(), span["max"].as_py())
        return done


def _orders(
    pieces: Sequence[Cargo], now: dt.datetime, scrubbers: Mapping[str, forget.Scrubber]
) -> list[_Order]:
    """What the warehouse is to do, rank by rank; rows of one table are one load, whatever their accounts.

    The order only matters between equal versions: first what was read, then payloads, which give way to it, then
    deletions, which win.
    """
    groups: dict[tuple[int, frozenset[str]], dict[Target, list[Cargo]]] = {}
    for piece in pieces:
        groups.setdefault(_rank(piece), {}).setdefault(piece.target, []).append(piece)
    orders: list[_Order] = []
    for rank in sorted(groups, key=lambda rank: rank[0]):
        found = [
            (target, load)
            for target, mine in groups[rank].items()
            for load in _loads(target, mine, now, scrubbers.get(target.account))
            if load.rows.num_rows
        ]
        orders += _joined(found)
    return orders


def _joined(found: Sequence[tuple[Target, base.Load]]) -> list[_Order]:
    """Rows for one table, of several accounts, as one load: each costs a look through the table."""
    alike: dict[tuple[object, ...], list[tuple[Target, base.Load]]] = {}
    orders: list[_Order] = []
    for target, load in found:
        if load.mode in ("replace", "keep", "history"):
            columns = tuple(load.rows.schema.names)  # a forgotten customer's tombstone has few
            alike.setdefault((load.table.name, load.mode, load.strict, columns), []).append((target, load))
        else:
            orders.append(_Order(load, ((target, load.rows.num_rows),)))
    joined = []
    for group in alike.values():
        first = group[0][1]
        rows = first.rows if len(group) == 1 else pa.concat_tables([load.rows for _, load in group])
        owners = [(target, load.rows.num_rows) for target, load in group]
        joined.append(_Order(dataclasses.replace(first, rows=rows), owners))
    return joined + orders


def _rank(piece: Cargo) -> tuple[int, frozenset[str]]:
    """Pieces of one rank go together; a lower rank comes first."""
    if isinstance(piece, Piece):
        return (0, frozenset()) if piece.past else (1 + piece.payload, piece.carried)
    return (3 if isinstance(piece, Gone) else 4, frozenset())


def _loads(
    target: Target, pieces: Sequence[Cargo], now: dt.datetime, scrubber: forget.Scrubber | None
) -> list[base.Load]:
    shape, account = target.shape, target.account
    gone = [(piece.version, key) for piece in pieces if isinstance(piece, Gone) for key in piece.keys]
    if gone:
        return shaping.gone(shape, account, gone, now)
    swept = [(p.parent_id, p.ids, p.version) for p in pieces if isinstance(p, Swept)]
    if swept:
        return shaping.swept(shape, account, swept, now)
    told = [piece for piece in pieces if isinstance(piece, Piece)]
    if not told:
        return []
    rows = arrow.table(target.decoder, [piece.part for piece in told], account=account, synced_at=now)
    if told[0].past:
        loads = shaping.past(shape, rows)
    else:
        loads = shaping.rows(shape, rows, carried=told[0].carried, payload=told[0].payload)
    return loads if scrubber is None else scrubber.loads(target.stream, loads, hard=shape.hard)


def _same(text: str | None) -> str | None:
    return text


def _wake(batch: _Batch) -> None:
    for waiting in batch.waiting:
        if not waiting.done():
            waiting.set_result(None)
