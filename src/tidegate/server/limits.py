"""How often one session or token may ask: a bucket for what reads and one for what changes something.

Kept in memory: to count in the metadata database would make a write of each read. So every process counts for
itself; what strangers try, signing in, is counted for all of them in `store/attempts`.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

ASKERS = 10_000
"""Sessions and tokens that are remembered; the one that asked longest ago is forgotten."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests at once, and so many more each second."""

    burst: float
    per_second: float


READS = Rate(600, 60)
WRITES = Rate(120, 10)


@dataclass(frozen=True, slots=True)
class Limits:
    """Counts the requests of each asker."""

    reads: Rate = READS
    writes: Rate = WRITES
    clock: Callable[[], float] = time.monotonic
    _levels: collections.OrderedDict[tuple[str, bool], tuple[float, float]] = field(
        default_factory=collections.OrderedDict
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, asker: str, *, writes: bool) -> float:
        """Count one request; the seconds to wait before it may be made, 0 where it may be made now."""
        rate = self.writes if writes else self.reads
        with self._lock:
            now = self.clock()
            level, at = self._levels.get((asker, writes), (0.0, now))
            level = max(0.0, level - (now - at) * rate.per_second)
            over = level + 1 - rate.burst
            if over > 0:
                return over / rate.per_second
            self._levels[asker, writes] = (level + 1, now)
            self._levels.move_to_end((asker, writes))
            while len(self._levels) > ASKERS:
                self._levels.popitem(last=False)
        return 0.0
