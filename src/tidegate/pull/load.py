"""From pages in memory to committed rows: gathers what the walks bring and commits it with their progress.

Rows and the marks that say how far a walk has come are cut together and committed in one transaction, so a kill
costs at most the one batch that was not committed yet, and a mark never runs ahead of its rows.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tidegate import catalog
from tidegate.pull import report
from tidegate.rows import decode
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
    table: base.Table
    outcome: report.Outcome


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of one answer on their way to a table; `weight` is their size in bytes."""

    target: Target
    part: decode.Part
    weight: int


@dataclass(slots=True)
class _Batch:
    pieces: list[Piece] = field(default_factory=list)
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

    def __init__(self, warehouse: base.Warehouse, fence: base.Fence | None = None) -> None:
        self._warehouse = warehouse
        self._fence = fence
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

    def add(self, pieces: Sequence[Piece], key: str = "", mark: Mark | None = None) -> None:
        """Take rows, and with them the progress of the walk `key`; never waits."""
        if self._error is not None:
            raise self._error
        batch = self._batch
        if not batch.since:
            batch.since = asyncio.get_running_loop().time()
        for piece in pieces:
            piece.target.outcome.read += len(piece.part.rows)
            batch.rows += len(piece.part.rows)
            batch.weight += piece.weight
            batch.pieces.append(piece)
        if mark is not None:
            batch.marks[key] = mark
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
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                continue

    def _full(self, batch: _Batch) -> bool:
        return batch.rows >= ROWS or batch.weight >= BYTES or bool(batch.waiting)

    def _commit(self, pieces: list[Piece], state: dict[str, str | None]) -> None:
        now = dt.datetime.now(dt.UTC)
        groups: dict[Target, list[decode.Part]] = {}
        for piece in pieces:
            groups.setdefault(piece.target, []).append(piece.part)
        pieces.clear()
        loads = []
        targets = list(groups)
        for target in targets:
            rows = decode.arrow(target.decoder, groups.pop(target), account=target.account, synced_at=now)
            loads.append(base.Load(target.table, rows))
        done = spool.load(self._warehouse, loads, state, self._fence)
        if done is None:  # somebody holds the warehouse: the rows wait on disk, safe
            self.waiting += 1
            for target, each in zip(targets, loads, strict=True):
                target.outcome.written += each.rows.num_rows
            return
        for target, loaded in zip(targets, done, strict=True):
            target.outcome.written += loaded.inserted + loaded.updated


def _wake(batch: _Batch) -> None:
    for waiting in batch.waiting:
        if not waiting.done():
            waiting.set_result(None)
