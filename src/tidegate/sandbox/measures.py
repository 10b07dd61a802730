"""What a sandbox counts, and how long it takes to answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Stats:
    """What was asked since the start or the last reset."""

    requests: Counter[str] = field(default_factory=Counter)
    """By "METHOD template"."""
    statuses: Counter[int] = field(default_factory=Counter)
    limited: Counter[str] = field(default_factory=Counter)
    """429 by the limiter's name."""
    by_account: Counter[str] = field(default_factory=Counter)
    under_way: Counter[str] = field(default_factory=Counter)
    """Admitted and not yet answered, by "METHOD template"."""
    running: int = 0
    max_running: int = 0
    bytes: int = 0

    def reset(self) -> None:
        """Begin to count anew; what is under way goes on."""
        self.requests, self.statuses, self.limited, self.by_account = (
            Counter(),
            Counter(),
            Counter(),
            Counter(),
        )
        self.max_running, self.bytes = self.running, 0


@dataclass
class Latency:
    """How long answers take: half of it before the request is evaluated, half after."""

    ms: float = 0.0
    jitter_ms: float = 0.0
