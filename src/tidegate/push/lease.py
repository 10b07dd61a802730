"""The right to write for a push, kept while it goes on, and the checks before every socket write.

The database says who may write (`store.fences`) and how old an operation is (`store.ledger.sending`); this room
carries that up to the moment in which bytes go out, without asking again: seconds are counted from before the
question, by a clock that goes on while the machine sleeps, and by the wall clock where that went further. So a
process that was stopped, or a laptop that slept, finds its time run out. A machine whose clocks both stood still (a
virtual one that was paused and not told) does not notice by itself, nor does a process that is stopped between the
last check and the bytes, with nothing but a system call left; after hours its connection is closed by then.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tidegate import errors
from tidegate.push import steps
from tidegate.store import database, fences, notes, operations

SECONDS = 60.0
"""For how long a push is taken at a time; whoever was killed keeps others out for so long."""
MARGIN = 0.2
"""The part of it that is not used: clocks differ in speed, and bytes take their time."""
YOUNG = operations.OLDEST
"""Seconds after its intent in which an operation may be sent."""

log = logging.getLogger(__name__)


def _steady() -> Callable[[], float]:
    if sys.platform == "darwin":
        # There time.monotonic stands still while the machine sleeps, and this one goes on.
        return functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic if boottime is None else functools.partial(time.clock_gettime, boottime)


@dataclass(frozen=True, slots=True)
class Clocks:
    """A clock that never goes back, also counting while the machine sleeps, and the one on the wall."""

    steady: Callable[[], float] = field(default_factory=_steady)
    wall: Callable[[], float] = time.time

    def since(self) -> Since:
        """Count from now on."""
        return Since(self, self.steady(), self.wall())


@dataclass(frozen=True, slots=True)
class Since:
    """A moment, and how long ago it is at most."""

    clocks: Clocks
    steady: float
    wall: float

    def seconds(self) -> float:
        """By the clock that went further; one that was set back does not count."""
        return max(self.clocks.steady() - self.steady, self.clocks.wall() - self.wall)


@dataclass(frozen=True, slots=True)
class Age:
    """How old an operation is: what the database said, and what passed since it was asked."""

    operation: str
    seconds: float
    since: Since
    oldest: float = YOUNG

    def young(self) -> None:
        """Raises TooOld when it may not be sent any more."""
        age = self.seconds + self.since.seconds()
        if age >= self.oldest:
            raise operations.TooOld(
                f"{self.operation} was planned {age / 3600:.1f} hours ago and may not be sent any more; the next "
                "run finds out what became of it."
            )


class Lease:
    """A fence that is ours; may be asked by any thread."""

    def __init__(self, store: database.Database, fence: fences.Fence, since: Since, seconds: float) -> None:
        self.store, self.fence, self._seconds = store, fence, seconds
        self._since = since
        self._over = ""

    @property
    def clocks(self) -> Clocks:
        """By which it is counted."""
        return self._since.clocks

    def mine(self) -> None:
        """Raises Outdated unless the push is surely ours at this moment; asks nobody, so it costs nothing."""
        if not self._over and self._since.seconds() < self._seconds * (1 - MARGIN):
            return
        raise fences.Outdated(
            self._over
            or f"Nobody could be asked for {self._seconds:.0f} seconds whether {self.fence.push} is still this "
            "process's to write for; it stops sending until that is known, or the next run goes on."
        )

    def renew(self) -> bool:
        """Have it for longer; False once it is somebody else's or ran out, which is for ever."""
        since = self.clocks.since()
        if self._over:
            return False
        if fences.keep(self.store, self.fence, self._seconds):
            self._since = since
        else:
            self._over = (
                f"The time in which this process may write for {self.fence.push} ran out, or another took it over; "
                "it stops, and the next run goes on."
            )
        return not self._over

    def end(self) -> None:
        """Nothing may be sent under it any more; others may take the push at once."""
        self._over = self._over or f"This run of {self.fence.push} is over; start another."
        fences.leave(self.store, self.fence)


@contextlib.contextmanager
def held(
    store: database.Database, push: str, *, seconds: float = SECONDS, clocks: Clocks | None = None
) -> Iterator[Lease | None]:
    """Write for a push as long as the block lasts; None where somebody else does.

    A thread of its own keeps it, so that it lasts also while a long query is computed. When the database cannot be
    asked in time, `mine` refuses, and allows again once it could be and nobody else had come.
    """
    since = (clocks or Clocks()).since()
    fence = fences.take(store, push, notes.new_id("writer"), seconds)
    if fence is None:
        yield None
        return
    lease, ended = Lease(store, fence, since, seconds), threading.Event()
    keeper = threading.Thread(
        target=_keep, args=(lease, ended, seconds / 4), name=f"keeps {push}", daemon=True
    )
    keeper.start()
    try:
        steps.reached("fence taken")
        yield lease
    finally:
        ended.set()
        keeper.join()
        with contextlib.suppress(errors.StoreError):  # then it runs out by itself
            lease.end()


def _keep(lease: Lease, ended: threading.Event, pause: float) -> None:
    while not ended.wait(pause):
        try:
            if not lease.renew():
                return
        except errors.StoreError as error:
            log.warning("the right to write for %s could not be renewed: %s", lease.fence.push, error)
