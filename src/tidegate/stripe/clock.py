"""Stripe's clock, read from the `Date` header of its answers and never ahead of it.

A `Date` is the server's second, floored, at some moment between sending and receiving. So `Date - received`
is a lower bound of the offset between the server's clock and ours, `Date + 1 - sent` an upper one; the
highest lower bound of the last minutes is the offset that `version` uses.
"""

from __future__ import annotations

import collections
import email.utils
import functools
import math
import time
from collections.abc import Callable

WINDOW = 300.0
"""Seconds that an answer's bound is kept."""
DRIFT = 5e-4
"""The most that two clocks part per second; NTP slews by at most 500 ppm."""
UNCERTAINTY = 2
"""Seconds that our own clock is held back while no answer carried a `Date`."""


def _steady() -> Callable[[], float]:
    # CLOCK_MONOTONIC stands still while a laptop sleeps, CLOCK_BOOTTIME does not.
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic if boottime is None else functools.partial(time.clock_gettime, boottime)


@functools.lru_cache(maxsize=4)
def seconds(date: str) -> int | None:
    """An HTTP date as unix seconds; None when it is none."""
    try:
        return int(email.utils.parsedate_to_datetime(date).timestamp())
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


class Clock:
    """The second it surely already is at Stripe.

    `version` and `now` never exceed the server's own second, whatever the latency, its jitter and our clock;
    after a few answers they are within two seconds of it (plus the fastest answer's way back).
    """

    def __init__(
        self, monotonic: Callable[[], float] | None = None, wall: Callable[[], float] = time.time
    ) -> None:
        self.monotonic = monotonic or _steady()
        self._wall = wall
        # Both hold (seen at, bound) and are sorted by bound, best first: the classic sliding maximum.
        self._lows: collections.deque[tuple[float, float]] = collections.deque()
        self._highs: collections.deque[tuple[float, float, float]] = collections.deque()
        self._told: collections.deque[tuple[float, int]] = collections.deque(maxlen=64)

    def observe(self, date: int, sent: float, received: float) -> None:
        """Learn from an answer: its `Date` in unix seconds, and when we sent and received (monotonic)."""
        low = date - received + DRIFT * received
        while self._lows and self._lows[-1][1] <= low:
            self._lows.pop()
        self._lows.append((received, low))
        high = date + 1 - sent - DRIFT * sent
        while self._highs and self._highs[-1][1] >= high:
            self._highs.pop()
        self._highs.append((received, high, low))
        while self._lows[0][0] < received - WINDOW:
            self._lows.popleft()
        while self._highs[0][0] < received - WINDOW:
            self._highs.popleft()

    def version(self, sent: float) -> int:
        """The unix second that had begun at Stripe when we sent at `sent` (monotonic), or an earlier one.

        Never earlier than what `now` said before that moment, also where the bounds became wider since.
        """
        told = next((second for at, second in reversed(self._told) if at <= sent), None)
        found = self._version(sent)
        return found if told is None else max(found, told)

    def now(self) -> int:
        """The unix second that has surely begun at Stripe."""
        at = self.monotonic()
        found = self.version(at)
        if self._lows and (not self._told or self._told[-1][1] < found):
            self._told.append((at, found))
        return found

    def assure(self, second: int) -> None:
        """Learn that a second has begun already, as somebody said who knew: an earlier run of ours."""
        self._told.append((self.monotonic(), max(second, self._told[-1][1] if self._told else second)))

    def _version(self, sent: float) -> int:
        if not self._lows:
            return math.floor(self._wall() - (self.monotonic() - sent)) - UNCERTAINTY
        present = self.monotonic()
        low = self._lows[0][1]
        high, slow = self._highs[0][1:]
        # One of several servers runs ahead of the others: go by the slowest of them.
        if low - DRIFT * present > high + DRIFT * present:
            low = slow
        return math.floor(sent + low - DRIFT * present)
