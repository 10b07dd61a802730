"""One limit: how many requests a second, and how many at a time, and what a refusal changes of that.

A limiter has no clock of its own: it is told what was granted, answered and refused, each with its moment, and
says when the next grant may come. Whose turn it then is, `pace` knows.
"""

from __future__ import annotations

import asyncio
import collections
import math
import random

MARGIN = 0.01
"""What is left of a limit even at budget 1, because requests don't arrive as evenly as they are sent."""
CATCH_UP = 0.1
"""Seconds of grants that may be made up at once after the event loop was busy."""
FLOOR = 0.04
"""The part of its rate that a limiter always keeps."""
STRAY, STRAY_CUT, STRAY_PAUSE = 0.01, 0.003, 0.02
"""A refusal among more than a hundred answers is bad luck on the way, not a limit that was set too high."""
LEAST_CUT, LARGEST_CUT = 0.03, 0.5
FEW = 8
"""So many answers count as given before the first: one refusal out of one says little."""
RISE, CAREFUL_RISE = 0.10, 0.0025
"""Per second; the careful one close to where Stripe refused less than `MEMORY` seconds ago."""
CAREFUL_STEP = 0.2
"""What a round of answers adds to the requests at a time, instead of 1, for as long."""
MEMORY = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
LONGEST_ORDER = 60.0
"""`Retry-After` beyond this many seconds is taken for this many."""
NEVER = -math.inf


class Limiter:
    """One limit: so many requests per second, and so many at a time. All times are the event loop's."""

    __slots__ = (
        "allowed",
        "answered_at",
        "answers",
        "cap",
        "ceiling",
        "cut_at",
        "factor",
        "granted",
        "in_flight",
        "log",
        "max_in_flight",
        "name",
        "next_at",
        "parked",
        "paused_until",
        "queued",
        "refusals",
        "risen_at",
        "streak",
        "used",
        "waiters",
    )

    def __init__(self, limit: float | None, budget: float, max_in_flight: int, name: str = "") -> None:
        self.name = name
        self.used = 0
        self.allowed = None if limit is None else min(limit * budget, limit / (1 + MARGIN))
        self.granted = self.allowed or 0.0
        """What of the allowed rate may be used now: all of it, unless it is shared."""
        self.log: collections.deque[float] = collections.deque(maxlen=math.ceil(self.allowed or 1) + 1)
        self.next_at = self.paused_until = self.cut_at = self.answered_at = NEVER
        self.factor = self.ceiling = 1.0
        self.risen_at = 0.0
        self.answers = self.refusals = 0.0
        self.streak = self.in_flight = 0
        self.max_in_flight = max_in_flight
        self.cap = float(max_in_flight)
        self.waiters: collections.deque[asyncio.Future[float]] = collections.deque()
        self.queued = self.parked = False

    def ready_at(self) -> float:
        """The earliest moment of the next grant as far as the rate goes."""
        at = max(self.next_at, self.paused_until)
        if self.allowed is not None:
            rate = self.granted * self.factor
            if not rate:
                return math.inf
            count = math.ceil(rate)
            if len(self.log) >= count:
                at = max(at, self.log[-count] + count / rate)
        return at

    def has_room(self) -> bool:
        """Are fewer requests under way than may be?"""
        return self.in_flight < max(1, int(self.cap))

    def grant(self, now: float) -> None:
        """Count one request as sent."""
        self.in_flight += 1
        self.used += 1
        if self.allowed is None:
            return
        if self.factor < 1.0:
            self._rise(now)
        self.next_at = max(self.next_at, now - CATCH_UP) + 1 / (self.granted * self.factor)
        self.log.append(now)

    def sent(self, granted_at: float, now: float) -> None:
        """Count a grant as of now, when it was really used."""
        if granted_at in self.log:
            self.log.remove(granted_at)
            self.log.append(now)

    def answered(self, now: float, sent_at: float) -> None:
        """Count one answer that was no refusal."""
        self.answers += 1
        self.answered_at = now
        if sent_at >= self.cut_at:
            self.streak = 0
        if self.cap < self.max_in_flight:
            step = CAREFUL_STEP if now - self.cut_at < MEMORY else 1.0
            self.cap = min(self.max_in_flight, self.cap + step / self.cap)

    def refused(self, now: float, sent_at: float, retry_after: float | None, concurrency: bool) -> None:
        """Slow down; what was sent before the last refusal came says nothing new."""
        if retry_after is not None:
            self.paused_until = max(self.paused_until, now + min(retry_after, LONGEST_ORDER))
        if sent_at < self.cut_at:
            return
        self.refusals += 1
        share = self.refusals / (self.refusals + self.answers + FEW)
        stray = share < STRAY and not self.streak
        if concurrency:
            self.cap = max(1.0, min(self.cap, self.in_flight) * 0.7)
        else:
            if share < 0.2:
                self.ceiling = self.factor
            cut = STRAY_CUT if stray else min(max(share, LEAST_CUT), LARGEST_CUT)
            self.factor = max(FLOOR, self.factor * (1 - cut))
        pause = STRAY_PAUSE if stray else min(LONGEST_PAUSE, FIRST_PAUSE * 2**self.streak)
        self.paused_until = max(self.paused_until, now + pause * random.uniform(0.5, 1.0))
        self.streak = min(self.streak + 1, 16)
        self.answers /= 2
        self.refusals /= 2
        self.cut_at = self.risen_at = now

    def regrant(self, rate: float, now: float) -> None:
        """From now on so much of the allowed rate may be used."""
        if not self.granted:
            self.next_at = now  # nothing is made up of the time without any
        elif rate > self.granted:
            self.next_at = min(self.next_at, now + 1 / (rate * self.factor))
        self.granted = rate

    def heard(self, now: float, pause: float, factor: float) -> None:
        """Somebody else with the same budget was refused: slow down as they did."""
        self.paused_until = max(self.paused_until, now + pause)
        if factor < self.factor:
            self.factor = factor
            self.cut_at = self.risen_at = now

    def idle(self, now: float) -> bool:
        """Is there nothing to remember?"""
        return not (self.in_flight or self.waiters) and self.factor >= 1.0 and self.ready_at() <= now

    def _rise(self, now: float) -> None:
        careful = now - self.cut_at < MEMORY and self.factor >= self.ceiling * (1 - LEAST_CUT)
        rise = CAREFUL_RISE if careful else RISE
        self.factor = min(1.0, self.factor + rise * max(0.0, min(1.0, now - self.risen_at)))
        self.risen_at = now
