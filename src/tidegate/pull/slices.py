"""Cutting a list by creation time while it is being read, so that one stream fills the whole budget.

A list answers newest first, 100 at a time, and each page's cursor is known only once the page before it has
come: one reader is bound by latency. So the span is held as half-open, second-exact slices `[low, high)`; each is
read from its newest end, and whoever has nothing to read takes the older part of the slice that seems to hold
the most. How much it holds is only a guess from the density seen so far, so every cut is paid from an allowance
that keeps the requests near one per 100 rows, whatever the distribution.

Everything here is plain state without clocks or requests: what is read is told by `advance`, what is left is
`snapshot`, and the slices of a snapshot together always cover all that has not been read.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Saved = tuple[int | None, int | None, str | None, int | None]
"""A slice as kept between runs: low, high, cursor, creation time of the cursor."""
PAGE = 100
ALLOWANCE = 0.04
"""Requests beyond one per page that cutting may cost, as a share of the pages."""
TRUST = 4.0
"""An estimate counts as at most this many times the pages already read."""
WORTH = 2.5
"""A slice is cut only where both parts are expected to hold this many pages."""
EAGER = 2
"""No cut before this many pages: a list of two is read without a wasted request."""
EARLIEST = 1_293_840_000
"""2011-01-01: Stripe has no object older than its launch; only used for guesses, never as a bound."""


@dataclass(slots=True, eq=False)
class Slice:
    """The unread part of `[low, high)`; None is an open end. `after` is the cursor, `edge` its creation time."""

    low: int | None = None
    high: int | None = None
    after: str | None = None
    edge: int | None = None
    density: float = 0.0
    ordered: bool = True
    rewound: int = 0
    """How often it was begun again at the same place."""
    busy: bool = field(default=False, compare=False)

    def top(self, newest: int) -> int:
        """Where reading goes on, downwards."""
        if self.edge is not None:
            return self.edge
        return newest if self.high is None else self.high


class Slices:
    """All slices of one list, and the rules for taking, cutting and finishing them."""

    def __init__(
        self, low: int | None = None, newest: int = 0, anchor: int = EARLIEST, high: int | None = None
    ) -> None:
        self.open: list[Slice] = [Slice(low=low, high=high)]
        self.newest = newest
        self.anchor = anchor
        self.requests = 0
        self.rows = 0

    @classmethod
    def restored(cls, saved: Iterable[Saved], newest: int = 0, anchor: int = EARLIEST) -> Slices:
        """Go on from a `snapshot`."""
        slices = cls(newest=newest, anchor=anchor)
        slices.open = [Slice(low, high, after, edge) for low, high, after, edge in saved]
        return slices

    def snapshot(self) -> tuple[Saved, ...]:
        """What is left to read: low, high, cursor and its creation time; empty when all is read."""
        return tuple((part.low, part.high, part.after, part.edge) for part in self.open)

    @property
    def done(self) -> bool:
        """Has every slice been read to its end?"""
        return not self.open

    def estimate(self) -> int:
        """A guess at the rows still unread."""
        return int(sum(self._expected(part) for part in self.open))

    def take(self) -> Slice | None:
        """A slice to read from now on: an idle one, or the older part of the fullest; None when not worth it."""
        idle = [part for part in self.open if not part.busy]
        chosen = max(idle, key=lambda part: part.top(self.newest)) if idle else self._cut()
        if chosen is not None:
            chosen.busy = True
        return chosen

    def release(self, part: Slice) -> None:
        """Stop reading a slice without finishing it."""
        part.busy = False

    def belongs(self, part: Slice, created: Sequence[int]) -> list[int]:
        """Which rows of a page are the slice's own; the others were cut off it while the page was coming."""
        low = part.low
        return [i for i, when in enumerate(created) if low is None or when >= low]

    def advance(self, part: Slice, created: Sequence[int], last_id: str | None, has_more: bool) -> None:
        """Note that a page's rows are safe; the slice leaves `open` when it is read to its end."""
        self.requests += 1
        kept = len(self.belongs(part, created))
        self.rows += kept
        steps = created if part.edge is None else [part.edge, *created]
        part.ordered = part.ordered and all(a >= b for a, b in itertools.pairwise(steps))
        if not created or not has_more or (part.ordered and kept < len(created)):
            self.open.remove(part)
            if part.low is None:
                self.anchor = max(self.anchor, created[-1] if created else part.top(self.newest))
            return
        self.newest = max(self.newest, created[0])
        oldest = min(created)
        part.density = len(created) / max(1, part.top(created[0]) - oldest)
        part.after, part.edge = last_id, oldest

    def rewind(self, part: Slice) -> None:
        """The cursor object is gone: read again from its whole second, never skip."""
        high = part.edge + 1 if part.edge is not None and part.ordered else part.high
        part.rewound = part.rewound + 1 if high == part.high else 0
        part.high = high
        part.after = part.edge = None

    def _bottom(self, part: Slice) -> int:
        return min(self.anchor, part.top(self.newest)) if part.low is None else part.low

    def _expected(self, part: Slice) -> float:
        return part.density * max(0, part.top(self.newest) - self._bottom(part))

    def _cut(self) -> Slice | None:
        """Take the older half of the fullest slice, when the allowance covers one more partly filled page."""
        fullest = max(self.open, key=self._expected, default=None)
        if fullest is None or fullest.after is None:
            return None
        read = self.rows / PAGE
        if read < EAGER or self._expected(fullest) < 2 * WORTH * PAGE:
            return None
        ahead = min(sum(map(self._expected, self.open)) / PAGE, TRUST * read)
        wasted = self.requests - read
        if wasted + 0.5 * (len(self.open) + 1) > 1 + ALLOWANCE * (read + ahead):
            return None
        top, bottom = fullest.top(self.newest), self._bottom(fullest)
        reach = PAGE * max(2 * WORTH, TRUST * read / len(self.open)) / fullest.density
        middle = max((top + bottom) // 2, int(top - reach))
        if not bottom < middle < top:
            return None
        older = Slice(low=fullest.low, high=middle, density=fullest.density)
        fullest.low = middle
        self.open.append(older)
        return older
