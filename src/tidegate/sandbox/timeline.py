"""When generated objects were created: a monotone function of the ordinal, even or not, with shared seconds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

Spread = Literal["even", "skewed", "bursts"]

DAY = 86_400
SPAN = 730 * DAY
BURST = 50
"""So many objects share a second in `bursts`."""

DENSE_FROM, DENSE_TO = 70, 71
"""Per cent of the span in which `skewed` puts half its rows."""


def moments(count: int, now: int, spread: Spread = "even", salt: int = 0) -> Callable[[int], int]:
    """Ordinal -> unix seconds within the span that ends at `now`; four in 32 neighbours share their second."""
    start, whole = now - SPAN, count << 16
    # The same fraction in small integers, which are divided faster.
    shared = math.gcd(SPAN, whole)
    times, parts = SPAN // shared, whole // shared

    def even(ordinal: int) -> int:
        if ordinal & 31 < 4:
            ordinal &= ~3
        return start + ((ordinal << 16) + ((ordinal * 0x9E3779B1 + salt) & 0xFFFF)) * times // parts

    def skewed(ordinal: int) -> int:
        place = (ordinal << 16) + ((ordinal * 0x9E3779B1 + salt) & 0xFFFF)
        if place * 4 < whole:
            return start + place * 4 * (SPAN * DENSE_FROM // 100) // whole
        if place * 4 < whole * 3:
            width = SPAN * (DENSE_TO - DENSE_FROM) // 100
            return start + SPAN * DENSE_FROM // 100 + (place * 4 - whole) * width // (whole * 2)
        width = SPAN - SPAN * DENSE_TO // 100
        return start + SPAN * DENSE_TO // 100 + (place * 4 - whole * 3) * width // whole

    def bursts(ordinal: int) -> int:
        return start + (ordinal - ordinal % BURST) * SPAN // max(count, 1)

    if spread == "skewed":
        return skewed
    return bursts if spread == "bursts" else even
