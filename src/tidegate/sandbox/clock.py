"""The sandbox's clock: real time with an offset, or one that stands still until it is moved."""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Stripe's time as the sandbox believes it to be; every `created` and every `Date` header comes from here."""

    def __init__(self, at: float | None = None, *, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._stopped_at = at
        self.offset = 0.0

    def time(self) -> float:
        """Unix seconds with a fraction."""
        return self._source() + self.offset if self._stopped_at is None else self._stopped_at

    def now(self) -> int:
        """Whole unix seconds."""
        return int(self.time())

    @property
    def manual(self) -> bool:
        """Does it stand still until somebody moves it?"""
        return self._stopped_at is not None

    def stop(self, at: float | None = None) -> None:
        """Stand still, at `at` or now."""
        self._stopped_at = self.time() if at is None else at

    def start(self) -> None:
        """Run again, from where it stood."""
        if self._stopped_at is not None:
            self.offset, self._stopped_at = self._stopped_at - self._source(), None

    def advance(self, seconds: float) -> None:
        """Move on (or back) by some seconds."""
        if self._stopped_at is None:
            self.offset += seconds
        else:
            self._stopped_at += seconds
