"""How far a push is, for a person, on stderr: one live line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tidegate.cli import output, progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from tidegate.push import apply, plan


class Meter:
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
        self.console = console or output.console(stderr=True)
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal if live is None else live
        self._clock = clock
        self._planned, self._limit = 0, limit
        self._tally: apply.Tally | None = None
        self._samples: deque[tuple[float, int]] = deque()
        self._picture: Live | None = None
        self._ended = threading.Event()
        self._beat: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._beat is not None:
            self._beat.join()
        if self._picture is not None:
            self._picture.stop()
            self._picture = None

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
        if not self.live:
            self._beat = threading.Thread(target=self._beats, name="progress", daemon=True)
            self._beat.start()
            return
        from rich.live import Live

        self._picture = Live(
            console=self.console,
            get_renderable=self._text,
            refresh_per_second=progress.FRAMES,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=True,
        )
        self._picture.start()

    def _text(self) -> Text:
        from rich.text import Text

        return Text(self.line(), no_wrap=True, overflow="ellipsis")

    def _beats(self) -> None:
        while not self._ended.wait(progress.HEARTBEAT):
            output.say(self.line())
