"""What Stripe delivered, for one flow: taken from the metadata database as it comes, each once.

Deliveries that come together are heard together; a flow that lags takes them by the hundreds. After a restart,
those of the last minute are heard again, which changes nothing.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Mapping, Sequence

from tidegate.store import database, deliveries

PROVED = 60.0
"""Seconds between two pulls of a flow to which Stripe delivers: they only prove that nothing was missed."""
POLLED = 1.0
"""Seconds between two looks for deliveries that another process received."""
GATHERED = 0.05
"""Seconds for which deliveries that come together are waited for."""
MOST = 500
"""Deliveries that are heard at once."""
MARKED = 5.0
"""Seconds between two marks of how far a flow has heard."""


class Arrivals:
    """Tells those who wait in this process, in whatever thread, that something was delivered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: set[Callable[[], None]] = set()

    def listen(self, listener: Callable[[], None]) -> None:
        """Have a function called, from any thread, whenever something came."""
        with self._lock:
            self._listeners.add(listener)

    def leave(self, listener: Callable[[], None]) -> None:
        """Have it called no more."""
        with self._lock:
            self._listeners.discard(listener)

    def tell(self) -> None:
        """Something came."""
        with self._lock:
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener()


class Deliveries:
    """A `pull.continuous.Feed` of what was delivered for a connection; used on one event loop."""

    def __init__(
        self, store: database.Database, flow: str, connection: str, arrivals: Arrivals | None = None
    ) -> None:
        self._store, self._flow, self._connection = store, flow, connection
        self._arrivals = arrivals or Arrivals()
        self._mark: int | None = None
        self._marked_at = 0.0
        self._heard: set[int] = set()
        self._taken: list[int] = []

    async def take(self, seconds: float) -> Mapping[str, Sequence[bytes]]:
        """What was delivered and is not heard yet, by account; waits so long for something."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        came = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(came.set)

        self._arrivals.listen(wake)
        try:
            while True:
                mark, new = await asyncio.to_thread(self._look, frozenset(self._heard))
                if self._mark is not None and mark < self._mark:
                    self._heard.clear()  # somebody had them replayed
                    self._mark = mark
                    continue
                self._mark, self._taken = mark, [each.number for each in new]
                if new or loop.time() >= end:
                    return _by_account(new)
                came.clear()
                left = min(POLLED, max(0.0, end - loop.time()))
                try:
                    async with asyncio.timeout(left):
                        await came.wait()
                    await asyncio.sleep(GATHERED)
                except TimeoutError:
                    continue
        finally:
            self._arrivals.leave(wake)

    async def pause(self) -> float | None:
        """Seconds until the next pull, where events are delivered."""
        return PROVED if await asyncio.to_thread(is_delivered, self._store, self._connection) else None

    async def done(self) -> None:
        """What was taken last is committed."""
        self._heard.update(self._taken)
        self._taken = []
        now = asyncio.get_running_loop().time()
        if self._heard and now - self._marked_at >= MARKED:
            self._marked_at = now
            newest, known = max(self._heard), self._mark or 0
            self._mark = await asyncio.to_thread(
                deliveries.mark, self._store, self._flow, self._connection, newest, known
            )
            if self._mark < known:
                self._heard.clear()  # somebody had them replayed since they were taken
            self._heard = {number for number in self._heard if number > self._mark}

    def _look(self, heard: Collection[int]) -> tuple[int, list[deliveries.Delivery]]:
        """Where to begin, and what is new from there; it changes nothing, since whoever waits may be cancelled."""
        mark = deliveries.begin(self._store, self._flow, self._connection)
        return mark, deliveries.after(self._store, self._connection, mark, heard, MOST)


def _by_account(new: Sequence[deliveries.Delivery]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for each in new:
        found.setdefault(each.account, []).append(each.payload.encode())
    return found


def is_delivered(store: database.Database, connection: str) -> bool:
    """Does Stripe deliver the events of a connection, as far as is known?"""
    row = store.one(
        "SELECT 1 AS one FROM endpoints WHERE connection = :connection "
        "UNION ALL SELECT 1 AS one FROM deliveries WHERE connection = :connection LIMIT 1",
        {"connection": connection},
    )
    return row is not None
