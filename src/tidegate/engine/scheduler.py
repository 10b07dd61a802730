"""The scheduler: whatever is due is queued, once, however many schedulers look.

It does nothing itself and remembers nothing: every step is a compare and set in the metadata database, so that it
may be killed anywhere, run twice, or not run for a year. Ticks that were missed meanwhile are one. Flows whose key
Stripe refuses rest: see `refusals`.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Mapping, Sequence

from tidegate import errors
from tidegate.engine import flows, refusals
from tidegate.engine import place as places
from tidegate.store import leases, retention, runs, ticks

log = logging.getLogger(__name__)

LONGEST = 5.0
"""Seconds between two looks, at the most: another process may have edited something."""
SHORTEST = 0.05
COUNTED = 60.0
"""Seconds after which the schedules of a file count no more, when no scheduler that has it is left."""
PRUNED = 600.0
"""Seconds between two cleanings of the metadata database."""
STOPPED = 43_200.0
"""Seconds for which a continuous flow rests whose run was cancelled, unless somebody starts it."""
RESTED = (5.0, 15.0, 60.0, 300.0, 900.0)
"""Seconds before a continuous flow that ended by itself is begun again: the first time, the second, and so on."""


class Scheduler:
    """Looks at what is due; one per process, any number of processes."""

    def __init__(self, place: places.Place) -> None:
        self._place = place
        self._flows = place.flows
        self._wanted = {name: flows.text(flow.schedule) for name, flow in self._flows.items()}
        self._file = _digest(self._wanted)
        self._begun = False
        self._since = 0.0
        self._pruned_at = time.monotonic()

    def begin(self) -> None:
        """Make known which flows there are, and when they are due, whatever another file says."""
        store = self._place.store
        leases.leave(store, "schedules", leases.holder(store, "schedules"))
        self._keep()
        self._begun = False  # the first look says it again: another one may have begun between these steps
        self._since = store.now()

    def _keep(self) -> None:
        """Have the schedules of this file count, unless those of another one do that some scheduler still has."""
        store = self._place.store
        held = self._begun and leases.holder(store, "schedules") == self._file
        if leases.take(store, "schedules", self._file, COUNTED) and not held:
            ticks.sync(store, self._wanted, flows.clock(self._flows))
        self._begun = True

    def _renew(self) -> None:
        """Have another configuration count, where there is one now."""
        known = self._place.flows
        if known == self._flows:
            return
        self._flows = known
        self._wanted = {name: flows.text(flow.schedule) for name, flow in known.items()}
        self._file = _digest(self._wanted)
        self.begin()

    def turn(self) -> float:
        """One look; returns the seconds until the next one."""
        self._place.look()
        self._renew()
        store, known = self._place.store, self._flows
        self._keep()
        for lost in runs.interrupt(store, places.SILENT):
            log.warning("%s of %s was interrupted: %s", lost.id, lost.flow, lost.error)
        late, pause = ticks.due(store)
        resting = refusals.resting(self._place.file, store)
        for tick in late:
            if tick.flow not in resting:
                ticks.fire(store, tick, runs.new_id(), flows.clock(known))
        for name in ticks.waiting(store):
            if name in known and not known[name].continuous and name not in resting:
                ticks.release(store, name, runs.new_id())
        for flow in known.values():
            if flow.continuous and flow.name not in resting:
                pause = min(pause, self._keep_up(flow))
        if time.monotonic() - self._pruned_at > PRUNED:
            self._pruned_at = time.monotonic()
            retention.clean(store)
        return max(SHORTEST, min(pause, LONGEST))

    def _keep_up(self, flow: flows.Flow) -> float:
        """Have a continuous flow run; returns the seconds until it may begin."""
        store = self._place.store
        if runs.alive(store, flow.name) is not None:
            return LONGEST
        wait = _rest(runs.listed(store, flow=flow.name, limit=len(RESTED)), store.now(), self._since)
        if wait > 0:
            return wait
        with contextlib.suppress(errors.StoreConflict):  # another scheduler did
            runs.queue(store, runs.new_id(), flow.name, "continuous")
        return LONGEST


def stopped_until(last: runs.Run) -> float | None:
    """When a continuous flow is begun again whose last run was this one, if that was cancelled; in unix seconds."""
    if last.cause != "continuous" or last.state != "cancelled" or last.finished_at is None:
        return None
    return last.finished_at + STOPPED


def _digest(wanted: Mapping[str, str]) -> str:
    return hashlib.sha256(repr(sorted(wanted.items())).encode()).hexdigest()


def _rest(last: Sequence[runs.Run], now: float, since: float) -> float:
    """The seconds that a continuous flow still rests, after its last runs, newest first.

    What failed before `since`, when this scheduler began, counts no more: it may be mended. One that was cancelled
    stays so until somebody starts it again, or for half a day. What somebody did by hand in between says nothing of
    it, however that ended.
    """
    if not last or last[0].finished_at is None or last[0].cause != "continuous":
        return 0.0
    if (until := stopped_until(last[0])) is not None:
        return until - now
    ended = now - last[0].finished_at
    failures = 0
    for each in last:
        if each.state != "failed" or each.cause != "continuous" or (each.finished_at or 0.0) < since:
            break
        failures += 1
    return RESTED[failures - 1] - ended if failures else 0.0
