"""What one pace spends of a budget that all workers share: it asks for shares, spends them and gives them back.

Shares are asked for a second before they are needed; what asks the database for them is a `Bank`. A pace that does
not send for a while gives its shares back.

Where the database cannot be reached, a pace goes on with a quarter of what it had when its share ends: the others
may have taken it over by then, so all together send at most 1.25 of the budget, which at the default of 0.8 is what
Stripe allows. After ten minutes of that, and after one without any share at all, requests fail.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tidegate import errors
from tidegate.store import grants
from tidegate.stripe import limiters, pace

PERIOD = 1.0
"""Seconds between two renewals."""
HURRY, SOON = 0.25, 0.05
"""Seconds between two, while requests wait for a share that others have to lower first, or that was never asked."""
IDLE = 3.0
"""Seconds without a request after which a share is given back."""
BUSY, AHEAD = 0.9, 4 / 3
"""Who uses this part of its share wants all there is; who uses less, so many times what it used."""
SLACK = 0.1
"""Seconds of waiting that are no want."""
BRIDGE = 0.04
"""The part of its limit at which an endpoint begins, before anything is granted."""
ALONE = 0.25
"""What is left of a share that cannot be renewed."""
ENDURED = 600.0
"""Seconds for which a pace goes on so."""
PATIENCE = 60.0
"""Seconds for which the first share is waited for."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one pace says to the database; `leaves` when it gives back all that it has."""

    pace: Shared
    account: str
    loop: asyncio.AbstractEventLoop
    at: float
    asks: Sequence[grants.Ask] = ()
    refusals: Sequence[grants.Refusal] = ()
    returned: Sequence[tuple[str, str, str | None]] = ()
    leaves: bool = False


class Bank(Protocol):
    """Takes what the paces of a process say to the database, and has each hear the answer on its own loop."""

    phase: float
    """When within a period its paces ask, so that they ask together."""

    @property
    def place(self) -> str:
        """The database, in a sentence."""

    def say(self, said: Said) -> None:
        """Hand it on; `Shared.heard` gets the answer."""

    def lost(self) -> None:
        """The database has not answered for a while."""

    def found(self) -> None:
        """It has answered."""


class Shared(pace.Pace):
    """The budget of one account, shared with everybody who uses the same metadata database.

    Between two answers of the database it is a pace like any other, with a smaller rate.
    """

    def __init__(
        self, bank: Bank, account: str, limits: pace.Limits, budget: float, max_in_flight: int
    ) -> None:
        super().__init__(limits, budget, max_in_flight)
        self.holder = secrets.token_hex(8)
        self._bank, self._name = bank, account
        self._awake = self._asking = False
        self._until = limiters.NEVER
        """When what was granted ends; for ever once that has come."""
        self._held: dict[str, _Use] = {}
        self._refusals: dict[str, grants.Refusal] = {}
        self._used_at = self._asked_at = self._pressed_at = self._woke_at = self._lapsed_at = limiters.NEVER
        self._turns: asyncio.TimerHandle | None = None
        self.account.granted = 0.0

    def belongs_to(self, account: str) -> None:
        """Say whose budget it is, once that is known."""
        name = f"{self._name.rpartition('/')[0]}/{account}"
        if name == self._name:
            return
        if not self._awake or self._loop is None:
            self._name = name
            return
        self._bank.say(self.leaving(self._loop, self._loop.time()))
        self._name = name
        self._ask(self._loop.time())

    def close(self) -> None:
        """Give back all that is held; the next request asks anew."""
        if self._awake and self._loop is not None:
            self._rest(self._loop.time())

    def leaving(self, loop: asyncio.AbstractEventLoop, at: float) -> Said:
        """What gives back all that is held of the account."""
        return Said(self, self._name, loop, at, returned=[(self._name, self.holder, None)], leaves=True)

    def heard(self, said: Said, shares: dict[str, grants.Share] | None) -> None:
        """The database answered, or did not: None."""
        if said.leaves or not self._awake or self._loop is None or said.account != self._name:
            return
        self._asking = False
        now = self._loop.time()
        if any(refusal.pause > HURRY for refusal in self._refusals.values()):
            self._turn_within(SOON, now)
        if shares is None:
            return
        if now >= said.at + grants.TERM:
            return self._turn_within(0.0, now)
        self._bank.found()
        self._until, self._lapsed_at = said.at + grants.TERM, limiters.NEVER
        for endpoint, share in shares.items():
            use = self._held.get(endpoint)
            if use is None:
                continue
            use.limiter.regrant(share.rate, now)
            use.due = share.due
            factor = 1.0 if share.refused == use.refused else share.factor
            use.refused = share.refused
            use.limiter.heard(now, share.pause, factor)
        if self._queue:
            waiting = [lane for _, _, lane in self._queue]
            self._queue = [(max(lane.ready_at(), now), next(self._turn), lane) for lane in waiting]
            heapq.heapify(self._queue)
            self._pump()

    async def _enter(self, lane: limiters.Limiter, again: bool) -> float:
        loop = self._loop = asyncio.get_running_loop()
        now = self._used_at = loop.time()
        if not self._awake:
            self._awake = True
            self._woke_at = now
            self._turn_within(0.0, now)  # once the tasks that are ready now have asked, too
        elif now >= self._until:
            self._lapse(now)
        return await super()._enter(lane, again)

    def _pump(self) -> None:
        assert self._loop is not None, "Only a waiter of a running loop is ever queued."
        now = self._loop.time()
        if now >= self._until:
            self._lapse(now)
        super()._pump()
        if self._queue and not self._asking and now - self._pressed_at >= HURRY:
            self._press(now)

    def _lane(self, endpoint: str) -> limiters.Limiter:
        known = self._lanes.get(endpoint)
        lane = super()._lane(endpoint)
        if self._lanes.get(endpoint) is not known and lane.allowed is not None:
            self._held.pop(endpoint, None)
            lane.granted = lane.allowed * BRIDGE
        return lane

    def _refused(self, limiter: limiters.Limiter) -> None:
        assert self._loop is not None, "Only what was sent is refused."
        now = self._loop.time()
        pause = max(0.0, limiter.paused_until - now)
        endpoint = "" if limiter is self.account else limiter.name
        self._refusals[endpoint] = grants.Refusal(self._name, endpoint, pause, limiter.factor)
        if pause > HURRY:
            self._turn_within(SOON, now)

    def _press(self, now: float) -> None:
        """Ask before the time where requests wait only because a share is small."""
        soon = math.inf
        for limiter in (self.account, *(lane for _, _, lane in self._queue[:16])):
            if self._short(limiter, now):
                use = self._held.get("" if limiter is self.account else limiter.name)
                if use is None or not use.wants_all:
                    soon = SOON
                elif use.due > limiter.granted * 1.01:
                    soon = min(soon, HURRY)
        if soon < math.inf:
            self._pressed_at = now
            self._turn_within(soon, now)

    def _short(self, limiter: limiters.Limiter, now: float) -> bool:
        """Does a request wait for longer than a moment, only because the share is small?"""
        if limiter.allowed is None or limiter.granted >= limiter.allowed or not limiter.has_room():
            return False
        ready = limiter.ready_at()
        if ready <= now or limiter.paused_until > now:
            return False
        if limiter is not self.account and self._queue and self._queue[0][0] <= self.account.ready_at():
            return False  # all wait for the account
        if limiter is self.account:
            waiting = sum(len(lane.waiters) for at, _, lane in self._queue if at <= now)
        else:
            waiting = len(limiter.waiters)
        if not limiter.granted:  # nothing was answered yet
            return waiting > limiter.allowed * SLACK
        return waiting > 0 and (ready > now + SLACK or waiting > limiter.granted * SLACK)

    def _turn_within(self, seconds: float, now: float) -> None:
        """Ask so soon after the last time, if that is earlier than it would be otherwise."""
        at = max(now, self._asked_at + seconds)
        if self._awake and not self._asking and (self._turns is None or self._turns.when() > at):
            self._turn_at(at)

    def _turn_at(self, at: float) -> None:
        assert self._loop is not None, "It is awake."
        if self._turns is not None:
            self._turns.cancel()
        self._turns = self._loop.call_at(at, self._renew)

    def _renew(self) -> None:
        """Once a period, with all others of this process at the same time: ask for the next shares, or rest."""
        assert self._loop is not None, "It is awake."
        self._turns = None
        now = self._loop.time()
        if self.account.in_flight or any(lane.waiters for lane in self._lanes.values()):
            self._used_at = now
        if now - self._used_at >= IDLE:
            return self._rest(now)
        if now >= self._until:
            self._lapse(now)
        if self._lapsed_at != limiters.NEVER and now - self._lapsed_at >= PERIOD:
            self._bank.lost()
        since, most = self._woke_at, PATIENCE
        if self._until != limiters.NEVER:
            since, most = self._lapsed_at, ENDURED
        if since != limiters.NEVER and now - since >= most:
            return self._give_up(now)
        if not self._asking:
            self._ask(now)
        phase = self._bank.phase
        self._turn_at(phase + (math.floor((now - phase) / PERIOD + 0.5) + 1) * PERIOD)

    def _ask(self, now: float) -> None:
        """Say what is wanted, what was refused, and which endpoints were left alone."""
        assert self._loop is not None, "It is awake."
        asks, returned = [], []
        for endpoint, limiter in (("", self.account), *self._lanes.items()):
            if limiter.allowed is None:
                continue
            use, short = self._held.get(endpoint), self._short(limiter, now)
            if use is None:
                if endpoint and not short and limiter.used + len(limiter.waiters) < 2:
                    continue  # one request alone is worth no row
                use = self._held[endpoint] = _Use(limiter, now)
            if endpoint and use.quiet(now) >= IDLE:
                del self._held[endpoint]
                limiter.used = 0
                limiter.regrant(limiter.allowed * BRIDGE, now)
                returned.append((self._name, self.holder, endpoint))
                continue
            wanted = use.wanted(now, short)
            asks.append(grants.Ask(self._name, endpoint, self.holder, limiter.allowed, wanted))
        refusals, self._refusals = list(self._refusals.values()), {}
        self._asking, self._asked_at = True, now
        self._bank.say(Said(self, self._name, self._loop, now, asks, refusals, returned))

    def _lapse(self, now: float) -> None:
        """What was granted has ended: some of it is left, until the database answers."""
        if self._until == limiters.NEVER:
            return
        self._until, self._lapsed_at = math.inf, now
        for limiter in (self.account, *self._lanes.values()):
            if limiter.allowed is not None:
                limiter.regrant(limiter.granted * ALONE, now)
        self._turn_within(0.0, now)

    def _rest(self, now: float) -> None:
        assert self._loop is not None, "It is awake."
        self._awake = self._asking = False
        if self._turns is not None:
            self._turns.cancel()
            self._turns = None
        self._until = self._lapsed_at = limiters.NEVER
        self._held.clear()
        self.account.granted = 0.0
        for lane in self._lanes.values():
            if lane.allowed is not None:
                lane.used = 0
                lane.regrant(lane.allowed * BRIDGE, now)
        self._bank.say(self.leaving(self._loop, now))

    def _give_up(self, now: float) -> None:
        """Whoever waits hears that there is no budget."""
        self._rest(now)
        self._queue.clear()
        for lane in self._lanes.values():
            lane.queued = False
            while lane.waiters:
                waiter = lane.waiters.popleft()
                if not waiter.done():
                    waiter.set_exception(
                        errors.StoreUnreachable(
                            f"The rate budget that all workers share cannot be asked for: {self._bank.place} "
                            "does not answer; look at the server and the network, then run this again."
                        )
                    )


class _Use:
    """How much of a budget a pace uses, and so wants."""

    __slots__ = ("_at", "_last", "_seen", "_wanted", "due", "limiter", "refused")

    def __init__(self, limiter: limiters.Limiter, now: float) -> None:
        self.limiter = limiter
        self.refused = self.due = 0.0
        self._seen, self._at, self._last = limiter.used, now, now
        self._wanted = 0.0

    def quiet(self, now: float) -> float:
        """Seconds since there was something to send."""
        if self.limiter.used != self._seen or self.limiter.waiters or self.limiter.in_flight:
            self._last = now
        return now - self._last

    @property
    def wants_all(self) -> bool:
        """Has it asked for all there is?"""
        return self._wanted >= (self.limiter.allowed or 0.0)

    def wanted(self, now: float, short: bool) -> float:
        """Requests per second: all there are, or a little more than it uses."""
        limiter, took = self.limiter, now - self._at
        allowed = limiter.allowed or 0.0
        if took >= PERIOD / 2:
            rate = (limiter.used - self._seen) / took
            busy = rate - 1 / took >= BUSY * limiter.granted
            self._wanted = allowed if busy else min(allowed, rate * AHEAD + 1.0)
            self._seen, self._at = limiter.used, now
        if short:
            self._wanted = allowed
        return self._wanted
