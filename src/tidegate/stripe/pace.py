"""The rate budget of one Stripe account: who may send next, and when.

Every request passes one limiter of the account and one of its endpoint. A limiter spaces its grants evenly,
and never lets more than its limit into any second, so that a server that counts strictly has nothing to
refuse. What is refused all the same lowers the limiter that Stripe names, and time raises it again. Endpoints
that wait are served in the order in which they became ready, so one at its own limit stops no other.
"""

from __future__ import annotations

import asyncio
import collections
import heapq
import itertools
import math
import re
import threading
import time
import weakref
from dataclasses import dataclass
from types import TracebackType

from tidegate import errors
from tidegate.stripe import keys, limiters

LATE = 0.001
"""Seconds between a grant and its use that are worth a correction."""
LANES = 1000
"""Endpoints kept in memory; idle ones beyond this are forgotten."""

_paces: weakref.WeakSet[Pace] = weakref.WeakSet()
_known = threading.Lock()


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests per second that Stripe allows; None is no limit."""

    per_account: float | None
    per_endpoint: float | None
    search: float | None = 20.0
    files: float | None = 20.0


def limits_for(mode: keys.Mode, rate_limit: str | None = None) -> Limits:
    """Stripe's default limits of the mode, or those of `rate_limit`: `100/25` (account/endpoint) or `off`.

    Source: https://docs.stripe.com/rate-limits
    """
    if rate_limit is None:
        return Limits(100.0, 25.0) if mode == "live" else Limits(25.0, 25.0)
    text = rate_limit.strip().lower()
    if text == "off":
        return Limits(None, None, None, None)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)", text)
    if match is None or float(match[1]) <= 0 or float(match[2]) <= 0:
        raise errors.ConfigError(
            f"The rate limit {rate_limit!r} is not understood; write requests per second for the account and"
            " for each endpoint, like 100/25, or off."
        )
    per_account, per_endpoint = float(match[1]), float(match[2])
    return Limits(per_account, per_endpoint, min(20.0, per_endpoint), min(20.0, per_endpoint))


def waits() -> dict[str, float]:
    """By account, for how many seconds the request of this process has waited that has waited longest.

    Of all event loops; may be called by any thread.
    """
    with _known:
        paces = list(_paces)
    found: dict[str, float] = {}
    for each in paces:
        if each.whose and (seconds := each.waited()):
            found[each.whose] = max(seconds, found.get(each.whose, 0.0))
    return found


def template(path: str) -> str:
    """The path with its ids taken out, as Stripe pools them: `/v1/charges/ch_1` is `/v1/charges/{}`."""
    version, *segments = path.lstrip("/").split("/")
    return "/".join(
        ["", version, *("{}" if re.search(r"[^a-z_]", segment) else segment for segment in segments)]
    )


class Slot:
    """Leave to send one request; entered when it may be sent, left when its answer is read."""

    __slots__ = ("_again", "_counted_at", "_lane", "_pace", "_refused", "sent_at")

    def __init__(self, pace: Pace, lane: limiters.Limiter, again: bool) -> None:
        self._pace = pace
        self._lane = lane
        self._again = again
        self._refused = False
        self._counted_at = self.sent_at = limiters.NEVER

    def limited(self, reason: str = "", retry_after: float | None = None) -> None:
        """Stripe answered 429: `Stripe-Rate-Limited-Reason`, and `Retry-After` in seconds."""
        self._refused = True
        limiter = self._pace.account if reason.startswith("global") else self._lane
        now = asyncio.get_running_loop().time()
        limiter.refused(now, self.sent_at, retry_after, concurrency=reason.endswith("concurrency"))
        self._pace._refused(limiter)

    def now(self) -> None:
        """The request goes out only now, since something had to be done first: it counts as of now."""
        moment = asyncio.get_running_loop().time()
        if moment - self.sent_at > LATE:
            self._pace.account.sent(self._counted_at, moment)
            self._lane.sent(self._counted_at, moment)
            self._counted_at = self.sent_at = moment

    async def __aenter__(self) -> Slot:
        self._counted_at = await self._pace._enter(self._lane, self._again)
        self.sent_at = asyncio.get_running_loop().time()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._refused and kind is None:
            now = asyncio.get_running_loop().time()
            self._pace.account.answered(now, self.sent_at)
            self._lane.answered(now, self.sent_at)
        self._pace._leave(self._lane)


class Pace:
    """The budget of one account, shared by everything that talks to it on one event loop.

        async with pace.slot("GET /v1/charges") as slot:
            ...  # send; slot.limited(reason, retry_after) when the answer is 429

    Cancelling a waiter gives its place back.
    """

    def __init__(self, limits: Limits, budget: float = 0.8, max_in_flight: int = 100) -> None:
        if not 0 < budget <= 1:
            raise errors.ConfigError(f"The budget {budget:g} is no share of Stripe's limits; use 0.01 to 1.")
        self.limits = limits
        self.budget = budget
        self.whose = ""
        """The account, for whoever asks how long requests wait."""
        self.reads = 0
        """GET requests so far: what Stripe counts against the monthly read allocation."""
        self.account = limiters.Limiter(limits.per_account, budget, max_in_flight)
        self._max_in_flight = max_in_flight
        self._lanes: dict[str, limiters.Limiter] = {}
        self._queue: list[tuple[float, int, limiters.Limiter]] = []
        self._turn = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seconds: collections.deque[list[int]] = collections.deque(maxlen=6)
        self._waits: dict[asyncio.Future[float], float] = {}
        with _known:
            _paces.add(self)

    def slot(self, endpoint: str, *, again: bool = False) -> Slot:
        """A slot for `GET /v1/invoices/{invoice}/lines`; `again` puts a refused request before its peers."""
        return Slot(self, self._lane(endpoint), again)

    def answered_at(self, endpoint: str) -> float:
        """When (event loop time) the endpoint last answered other than 429."""
        return self._lane(endpoint).answered_at

    def waiting(self, endpoint: str) -> bool:
        """Does a request to the endpoint wait for its turn? More askers would not make it faster then."""
        return bool(self._lane(endpoint).waiters)

    def waited(self) -> float:
        """Seconds for which the request has waited that has waited longest; 0 where none waits."""
        since = list(self._waits.values())[:1]  # they stand in the order in which they came
        return max(0.0, time.monotonic() - since[0]) if since else 0.0

    def rate(self) -> float:
        """Requests per second over the last few whole seconds."""
        if self._loop is None:
            return 0.0
        second = int(self._loop.time())
        return sum(count for at, count in self._seconds if second - 5 <= at < second) / 5

    def share(self) -> float:
        """The used part of the account's budget over the last few seconds; 0 when there is no limit."""
        return self.rate() / self.account.allowed if self.account.allowed else 0.0

    def belongs_to(self, account: str) -> None:
        """Say whose budget it is, once that is known; only one that is shared minds."""

    def close(self) -> None:
        """Nobody sends any more; only a budget that is shared minds."""

    def _refused(self, limiter: limiters.Limiter) -> None:
        """Stripe refused a request; others could hear of it here."""

    def _lane(self, endpoint: str) -> limiters.Limiter:
        lane = self._lanes.get(endpoint)
        if lane is None:
            if len(self._lanes) >= LANES and self._loop is not None:
                now = self._loop.time()
                self._lanes = {name: lane for name, lane in self._lanes.items() if not lane.idle(now)}
            limit = self.limits.per_endpoint
            if endpoint.endswith("/search"):
                limit = self.limits.search
            elif "/v1/files" in endpoint:
                limit = self.limits.files
            lane = self._lanes[endpoint] = limiters.Limiter(limit, self.budget, self._max_in_flight, endpoint)
        return lane

    async def _enter(self, lane: limiters.Limiter, again: bool) -> float:
        """Wait for a turn; returns the moment as of which it counts."""
        loop = self._loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._queue and not lane.waiters and self._free(self.account, now) and self._free(lane, now):
            self._grant(lane, now)
            return now
        waiter: asyncio.Future[float] = loop.create_future()
        (lane.waiters.appendleft if again else lane.waiters.append)(waiter)
        if not lane.queued and not lane.parked:
            self._enqueue(lane)
            self._pump()
        self._waits[waiter] = time.monotonic()
        try:
            granted_at = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._leave(lane)
            raise
        finally:
            del self._waits[waiter]
        now = loop.time()
        if now - granted_at <= LATE:
            return granted_at
        self.account.sent(granted_at, now)
        lane.sent(granted_at, now)
        return now

    def _leave(self, lane: limiters.Limiter) -> None:
        self.account.in_flight -= 1
        lane.in_flight -= 1
        if lane.parked:
            lane.parked = False
            self._enqueue(lane)
        if self._queue:
            self._pump()

    @staticmethod
    def _free(limiter: limiters.Limiter, now: float) -> bool:
        return limiter.has_room() and limiter.ready_at() <= now

    def _grant(self, lane: limiters.Limiter, now: float) -> None:
        self.account.grant(now)
        lane.grant(now)
        second = int(now)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0])
        self._seconds[-1][1] += 1

    def _enqueue(self, lane: limiters.Limiter) -> None:
        assert self._loop is not None, "Only a waiter of a running loop is ever queued."
        lane.queued = True
        # Not before now: an endpoint without a limit must not stand before those that have one.
        heapq.heappush(self._queue, (max(lane.ready_at(), self._loop.time()), next(self._turn), lane))

    def _pump(self) -> None:
        assert self._loop is not None, "Only a waiter of a running loop is ever queued."
        now = self._loop.time()
        while self._queue and self.account.has_room():
            at = max(self.account.ready_at(), self._queue[0][0])
            if at > now:
                if at < math.inf:
                    self._wake(at)
                return
            lane = heapq.heappop(self._queue)[2]
            lane.queued = False
            while lane.waiters and lane.waiters[0].done():
                lane.waiters.popleft()
            if not lane.waiters:
                continue
            if not lane.has_room():
                lane.parked = True
            elif lane.ready_at() > now:
                self._enqueue(lane)
            else:
                self._grant(lane, now)
                lane.waiters.popleft().set_result(now)
                if lane.waiters:
                    self._enqueue(lane)

    def _wake(self, at: float) -> None:
        assert self._loop is not None, "Only a waiter of a running loop is ever queued."
        if self._timer is not None:
            if self._timer.when() <= at and not self._timer.cancelled():
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._pump()
