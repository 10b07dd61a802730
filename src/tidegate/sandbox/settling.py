"""Money that settles: balance transactions become available when the clock passes `available_on`, without an event.

The balance is what the balance transactions come to, by status and currency, always.
"""

from __future__ import annotations

import heapq
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidegate.sandbox import objects

DAY = 86_400
STREAM = "balance_transactions"

Sums = Counter[tuple[str, str]]
"""Net amounts by (status, currency)."""


class Settling:
    """The pending balance transactions of one account, the next to settle first."""

    def __init__(self, book: objects.Book) -> None:
        self._book = book
        self._pending: list[tuple[int, str]] = []
        # The generated ones settle at midnight: before the first one, none of them has to be looked at.
        self._midnight = (book.world.now // DAY + 1) * DAY
        self._awaited = False
        self._world: Sums | None = None

    def expect(self, moved: dict[str, Any]) -> None:
        """A balance transaction was written; if it is pending, it will settle."""
        if moved["status"] == "pending":
            heapq.heappush(self._pending, (moved["available_on"], moved["id"]))

    def settle(self) -> None:
        """Let everything settle whose time has come."""
        book, now = self._book, self._book.clock.now()
        if not self._awaited and now >= self._midnight:
            self._awaited = True
            pending = book.world.bisect(STREAM, self._midnight - 2 * DAY)
            for ordinal in range(pending, book.world.count(STREAM)):
                self.expect(book.decoded(STREAM, ordinal))
        while self._pending and self._pending[0][0] <= now:
            at, id = heapq.heappop(self._pending)
            moved = book.get(STREAM, id)
            if moved is not None and moved["status"] == "pending":
                book.put(STREAM, {**moved, "status": "available"}, at=at)

    def balance(self) -> Sums:
        """The net amounts of all balance transactions; the world's are summed once."""
        book = self._book
        if self._world is None:
            self._world = Counter(book.world.ledger())
        sums = Counter(self._world)
        if book.touched(STREAM):
            shelf = book.shelf(STREAM)
            for moved in shelf.objects.values():
                sums[moved["status"], moved["currency"]] += moved["net"]
            for _, ordinal in shelf.base:
                before = book.decoded(STREAM, ordinal)
                sums[before["status"], before["currency"]] -= before["net"]
        return sums
