"""How far a push is, for a person, on stderr: one live line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from tidegate.cli import drawing, output, progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from tidegate.push import apply, plan


class Meter(drawing.Drawing):
    """An `engine.pushing.Screen`; a context manager. `live` is the terminal's, where it is not given.

    What is said meanwhile on stderr stands above the live line.
    """

    def __init__(
        self,
        *,
        live: bool | None = None,
        limit: int | None = None,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.console = console or output.console(stderr=True)
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal if live is None else live
        self._clock = clock
        self._planned, self._limit = 0, limit
        self._tally: apply.Tally | None = None
        self._samples: deque[tuple[float, int]] = deque()

    def phase(self, text: str) -> None:
        """What is being done now."""
        output.say(text)

    def planned(self, made: plan.Plan) -> None:
        """What is to be written is known."""
        writes = made.counts.created + made.counts.updated + made.counts.removed
        self._planned = writes if self._limit is None else min(writes, self._limit)

    def wrote(self, tally: apply.Tally) -> None:
        """So much of it is done; from the first time on, it is shown."""
        if self._tally is None and self._planned:
            self._tally = tally
            self._samples.append((self._clock(), 0))
            self._begin()

    def line(self) -> str:
        """`writing: 1,204 of 30,000, 24/s, 20 min 00 s left; 3 failed`."""
        done, now = self._done(), self._clock()
        self._samples.append((now, done))
        while len(self._samples) > 2 and self._samples[1][0] <= now - progress.WINDOW:
            self._samples.popleft()
        then, before = self._samples[0]
        rate = (done - before) / (now - then) if now > then else 0.0
        left = (
            f", {progress.duration((self._planned - done) / rate)} left"
            if rate and done < self._planned
            else ""
        )
        return f"writing: {done:,} of {self._planned:,}, {rate:,.0f}/s{left}{self._wrong()}"

    def _done(self) -> int:
        """Writes of which it is known how they ended."""
        tally = self._tally
        if tally is None:
            return 0
        well = tally.created + tally.updated + tally.removed + tally.equal
        return well + tally.held + tally.quarantined + tally.failed + tally.unknown + tally.not_removed

    def _wrong(self) -> str:
        tally = self._tally
        if tally is None:
            return ""
        figures = {
            "held": tally.held,
            "in quarantine": tally.quarantined,
            "failed": tally.failed,
            "unknown": tally.unknown,
        }
        parts = ", ".join(f"{number:,} {what}" for what, number in figures.items() if number)
        return f"; {parts}" if parts else ""

    def _begin(self) -> None:
        if self.live:
            self.draw(self.console, self._text, above=True)
        else:
            self.beat(lambda: output.say(self.line()))

    def _text(self) -> Text:
        from rich.text import Text

        return Text(self.line(), no_wrap=True, overflow="ellipsis")
