"""Runs in this process: each in a thread with an event loop of its own, a few at a time.

For one process on one machine; the metadata database may be SQLite or Postgres.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Callable

from tidegate import errors
from tidegate.engine import place as places
from tidegate.engine import scheduler, work
from tidegate.store import runs

log = logging.getLogger(__name__)

SIZE = 4
"""Runs that happen at the same time, besides those that are continuous."""
LOOKED = 0.5
"""Seconds between two looks for runs that others have queued."""


class Pool:
    """Begins what is queued, and does it."""

    def __init__(
        self, place: places.Place, size: int = SIZE, done: Callable[[str], None] | None = None
    ) -> None:
        self._place, self._size = place, size
        self._threads: dict[str, tuple[threading.Thread, bool]] = {}
        self._done = done or (lambda _: None)

    def turn(self) -> int:
        """Begin what is queued, as far as there is room; returns how many runs are under way."""
        self._threads = {name: each for name, each in self._threads.items() if each[0].is_alive()}
        if self._place.stopping.is_set():
            return len(self._threads)
        for queued in reversed(runs.listed(self._place.store, states=("queued",), limit=100)):
            endless = queued.cause == "continuous"
            busy = sum(not each[1] for each in self._threads.values())
            if not endless and busy >= self._size:
                continue
            begun = runs.begin(self._place.store, queued.id, self._place.worker)
            if begun is not None:
                thread = threading.Thread(target=self._perform, args=[begun], name=begun.id, daemon=True)
                self._threads[begun.id] = (thread, endless)
                thread.start()
        return len(self._threads)

    def drain(self, seconds: float) -> int:
        """Have all runs commit what they have read, and end; returns how many did not in that time."""
        self._place.stopping.set()
        deadline = time.monotonic() + seconds
        for thread, _ in self._threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        return sum(thread.is_alive() for thread, _ in self._threads.values())

    def _perform(self, begun: runs.Run) -> None:
        log.info("%s of %s began", begun.id, begun.flow, extra={"run": begun.id})
        try:
            ending = asyncio.run(work.perform(self._place, begun))
            level = logging.WARNING if ending.state == "failed" else logging.INFO
            more = f": {ending.error}" if ending.error else ""
            log.log(
                level,
                "%s of %s ended %s%s",
                begun.id,
                begun.flow,
                ending.state,
                more,
                extra={"run": begun.id},
            )
        finally:
            self._done(begun.flow)


def serve(place: places.Place, *, size: int = SIZE) -> None:
    """Schedule and run in this thread until `place.stopping` is set, then drain."""
    # Rows come and go by the page and never form cycles: looking for garbage among them costs 6 % of a pull.
    gc.set_threshold(100_000, 50, 100)
    clock, pool = scheduler.Scheduler(place), Pool(place, size, lambda _: wake.set())
    wake = threading.Event()
    told = False
    begun = False
    due = 0.0
    while not place.stopping.is_set():
        try:
            if not begun:
                clock.begin()
                begun = True
            if time.monotonic() >= due or wake.is_set() or place.look():
                wake.clear()
                due = time.monotonic() + clock.turn()
            pool.turn()
            told = False
        except errors.StoreError as error:
            if not told:
                log.error("%s Runs under way go on; nothing new begins until it is back.", error)
            told = True
        place.stopping.wait(min(LOOKED, max(0.01, due - time.monotonic())))
    left = pool.drain(60.0)
    if left:
        log.error("%d runs did not end in time; what they committed stays.", left)
