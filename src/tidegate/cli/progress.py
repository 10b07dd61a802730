"""What a person sees while a pull runs: a live table on a terminal, plain lines elsewhere.

The engine calls `started`, `advanced`, `finished`, `budget` and `note` on a `Screen`, often and from its
event loop; each call only counts. Everything goes to stderr; stdout is left to results.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from tidegate.cli import drawing, output

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from tidegate.pull import report

_QUIET = ("ok", "not_enabled")
MENTIONED = 6
"""Streams named in the line of one of many pulls, at the most."""
MOMENT = 1.0
"""Seconds that a stream is read before one of many pulls shows it."""
NARROW = 90
"""Columns under which the live table leaves out the rows a second, so that names and numbers are whole."""
WINDOW = 10.0
"""Seconds over which rows a second are counted."""

_WORDS = {
    "ok": "done",
    "partial": "partial",
    "no_permission": "no permission",
    "not_enabled": "not enabled",
    "failed": "failed",
}
_STYLES = {"ok": "green", "not_enabled": "dim", "failed": "red", "running": "cyan"}


def summary(result: report.Result) -> None:
    """The finished run on stdout: a row for each stream that has something to say, then the totals."""
    from rich import box, table, text

    several = len({outcome.account for outcome in result.outcomes}) > 1
    gone = any(each.deleted for each in result.outcomes)
    said = [each for each in result.outcomes if each.read or each.deleted or each.status not in _QUIET]
    said.sort(key=lambda one: (one.status == "ok", -one.read, one.stream))

    def drawn(errors: bool) -> table.Table:
        grid = table.Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for heading in ("stream", *(("account",) if several else ())):
            grid.add_column(heading, overflow="fold")
        for heading in ("read", "written", *(("deleted",) if gone else ()), "requests"):
            grid.add_column(heading, justify="right", no_wrap=True)
        grid.add_column("status", no_wrap=True)
        for each in said:
            grid.add_row(
                text.Text(each.stream),
                *((text.Text(each.account),) if several else ()),
                f"{each.read:,}",
                f"{each.written:,}",
                *((f"{each.deleted:,}",) if gone else ()),
                f"{each.tally.requests:,}",
                text.Text(_outcome(each, errors), _STYLES.get(each.status, "yellow")),
            )
        return grid

    out = output.console()
    if said:
        whose = {f"{each.stream} of {each.account}" if several else each.stream: each for each in said}
        wrong = {name: _outcome(each, True) for name, each in whose.items() if each.error}
        output.draw(out, drawn, wrong)
    empty = sum(not each.read and each.status == "ok" for each in result.outcomes)
    absent = sum(each.status == "not_enabled" for each in result.outcomes)
    read = sum(each.read for each in result.outcomes)
    written = sum(each.written for each in result.outcomes)
    seconds = (result.finished_at - result.started_at).total_seconds()
    parts = [
        f"{result.status}: {read:,} rows read, {written:,} written in {duration(seconds)}",
        f"{output.counted(result.tally.requests, 'request')}, {result.tally.retries:,} retries",
        *((f"{_streams(empty)} without news",) if empty else ()),
        *((f"{absent} not enabled in this account",) if absent else ()),
    ]
    out.print("; ".join(parts), soft_wrap=True)


def _outcome(each: report.Outcome, error: bool) -> str:
    """How a stream ended, with or without its error."""
    words = _WORDS.get(each.status, each.status)
    return f"{words}: {output.redacted(each.error)}" if error and each.error else words


class Ticker:
    """Tells pull after pull in a line each, and nothing where there is no news; `news` knows what was told."""

    def __init__(self, news: report.News) -> None:
        self.news = news
        self.end = ""

    def line(self, result: report.Result) -> str:
        """`12:03:05 customers 2, charges 1 written; 1 deleted; 3 requests`; empty without news.

        What ended a pull is told once, until it is another reason, and so is that it is over.
        """
        end = "" if result.end is None else output.redacted(str(result.end))
        before, self.end = self.end, end
        news = [each for each in self.news.of(result.outcomes) if not end or each.written or each.deleted]
        if not news and end == before:
            return ""
        written = sorted((each for each in news if each.written), key=lambda one: (-one.written, one.stream))
        parts = [f"{each.stream} {each.written:,}" for each in written]
        listed = ", ".join(parts)
        if len(parts) > MENTIONED:
            listed = f"{sum(each.written for each in written):,} rows in {len(parts)} tables"
        deleted = sum(each.deleted for each in news)
        wrong = [each for each in news if each.status not in _QUIET]
        well = [each.stream for each in news if each.status in _QUIET and not (each.written or each.deleted)]
        said = [
            *((f"{listed} written",) if parts else ()),
            *((f"{deleted:,} deleted",) if deleted else ()),
            *(
                f"{each.stream}: {_WORDS[each.status]}: {output.redacted(each.error).rstrip('.')}"
                for each in wrong[:3]
            ),
            *((f"{len(wrong) - 3} more with trouble, see `tidegate status`",) if len(wrong) > 3 else ()),
            *((end.rstrip("."), "trying again") if end and end != before else ()),
            *(("going on",) if before and not end else ()),
            *((f"{', '.join(well[:3])} well again",) if well and not before else ()),
            output.counted(result.tally.requests, "request"),
        ]
        return f"{result.finished_at.astimezone():%H:%M:%S} {'; '.join(said)}"


def _streams(number: int) -> str:
    return f"{number} stream" if number == 1 else f"{number} streams"


def duration(span: float) -> str:
    """`4.2 s`, `3 min 05 s`, `2 h 40 min`."""
    whole = int(span)
    if span < 10:
        return f"{span:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@dataclass
class Line:
    """One stream as it is shown."""

    stream: str
    begun: float
    rows: int = 0
    requests: int = 0
    left: int | None = None
    """A guess at the rows still to come; None where nobody can know."""
    status: str = ""
    error: str = ""
    ended: float | None = None
    samples: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, rows: int, requests: int, left: int | None, now: float) -> None:
        """Count what came."""
        self.rows += rows
        self.requests += requests
        self.left = max(left, 0) if left is not None else self.left and max(self.left - rows, 0)
        if not self.samples:
            self.samples.append((self.begun, 0))
        self.samples.append((now, self.rows))
        while len(self.samples) > 2 and self.samples[1][0] <= now - WINDOW:
            self.samples.popleft()

    def rate(self, now: float) -> float:
        """Rows a second: lately while it runs, on the whole when it has ended."""
        if self.ended is not None or not self.samples:
            span, rows = (self.ended or now) - self.begun, self.rows
        else:
            then, before = self.samples[0]
            span, rows = now - then, self.rows - before
        return rows / span if span > 0 else 0.0


class Screen(drawing.Drawing):
    """Shows a pull while it runs; a context manager.

    `live` is decided by the terminal when it is not given; `clock` gives seconds.
    """

    def __init__(
        self,
        *,
        live: bool | None = None,
        quiet: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self.console = console or output.console(stderr=True)
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal if live is None else live
        self.quiet = quiet
        self.clock = clock
        self.begun = clock()
        self.lines: dict[str, Line] = {}
        self.accounts: set[str] = set()
        self.used = 0.0
        self.limit = 0.0
        self.told = self.begun
        self.calm, self.well = False, True
        self.pulls = 0
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        self.begun = self.told = self.clock()
        if self.live and not self.quiet:
            self.draw(self.console, self.table, above=False)
        elif not self.quiet:
            self.beat(self._heartbeat)
        return self

    def started(self, stream: str, account: str) -> None:
        """Reading of a stream began; for a further account of a stream, its line goes on."""
        with self._lock:
            if stream in self.lines:
                self.lines[stream].ended = None
                self.lines[stream].status = ""
            else:
                self.lines[stream] = Line(stream, self.clock())
            new = account not in self.accounts
            self.accounts.add(account)
        if new and account:
            self._print(f"reading {account}")

    def advanced(self, stream: str, *, rows: int = 0, requests: int = 0, estimate: int | None = None) -> None:
        """More rows came with more requests; `estimate` is a guess at the rows still to come."""
        with self._lock:
            now = self.clock()
            # What is read beside the streams that were asked for is no stream that runs.
            line = self.lines.setdefault(stream, Line(stream, now, ended=now))
            line.add(rows, requests, estimate, now)

    def finished(self, stream: str, status: str, error: str) -> None:
        """A stream ended, well or badly."""
        with self._lock:
            now = self.clock()
            line = self.lines.setdefault(stream, Line(stream, now))
            line.status, line.error, line.ended, line.left = status, error, now, 0
            seconds = now - line.begun
            text = (
                f"{stream}: {_WORDS.get(status, status)}, {output.counted(line.rows, 'row')}, "
                f"{output.counted(line.requests, 'request')}, {duration(seconds)}"
            )
        if (
            line.rows or status != "ok"
        ) and not self.calm:  # a line for each of the many empty lists would hide the others
            self._print(text + (f": {error}" if error else ""))

    def budget(self, used: float, limit: float) -> None:
        """Requests per second in use, and allowed."""
        with self._lock:
            self.used, self.limit = used, limit

    def rest(self, *, well: bool = True) -> None:
        """One of many pulls is over: what it showed goes, and from now on only what takes long is shown."""
        with self._lock:
            self.lines.clear()
            self.calm, self.well = True, well
            self.pulls += 1
            self.begun = self.clock()

    def note(self, text: str) -> None:
        """Something worth a line; on a terminal it stays above the table."""
        if self._picture is not None:
            self.console.print(f"tidegate: {output.redacted(text)}")
        elif not self.quiet:
            output.say(text)

    def heartbeat(self) -> str:
        """The line that says that all is going on."""
        with self._lock:
            now = self.clock()
            running = [line for line in self.lines.values() if line.ended is None]
            rows = sum(line.rows for line in self.lines.values())
            return (
                f"{_streams(len(running))} running, {len(self.lines) - len(running)} done, {rows:,} rows, "
                f"{self._rate(now):,.0f} rows/s, "
                + "".join(f"{part}, " for part in [self._share()] if part)
                + duration(now - self.begun)
            )

    def table(self) -> RenderableType:
        """The live table: what runs comes first, then what failed, then what is done, as many as fit."""
        from rich import box, table, text

        with self._lock:
            now = self.clock()
            if self.calm and not self._busy(now):
                state = "watching" if self.well else "trying again"
                return text.Text(f"{state}; {self.pulls:,} pulls so far, Ctrl-C ends it", "dim")
            room = max(self.console.height - 5, 1)
            ranked = sorted(self.lines.values(), key=_rank)
            grid = table.Table(
                box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold", show_footer=True
            )
            running = sum(line.ended is None for line in ranked)
            total = sum(line.rows for line in ranked)
            more = len(ranked) - room
            foot = f"{running} running, {len(ranked) - running} done" + (
                f", {more} not shown" if more > 0 else ""
            )
            left = _left(ranked, now)
            rates = self.console.width >= NARROW
            # Numbers are never cut: names, and the words of a status, share the room that is left.
            shared = self.console.width - (6 + 8 + 11 + 4 * 3 + (9 if rates else 0))
            names = min(max(len(foot), *(len(line.stream) for line in ranked[:room]), 0), max(shared - 13, 8))
            widths = {"stream": names, "status": max(shared - names, 8)}
            for heading, footer in (
                ("stream", foot),
                ("rows", f"{total:,}"),
                *((("rows/s", f"{self._rate(now):,.0f}"),) if rates else ()),
                ("requests", f"{sum(line.requests for line in ranked):,}"),
                ("left", left),
                ("status", self._share()),
            ):
                numeric = heading not in ("stream", "status")
                grid.add_column(
                    heading,
                    footer=footer,
                    justify="right" if numeric else "left",
                    no_wrap=True,
                    max_width=widths.get(heading),
                )
            for line in ranked[:room]:
                status = line.status or "running"
                words = _WORDS.get(status, status)
                grid.add_row(
                    text.Text(line.stream),
                    f"{line.rows:,}",
                    *((f"{line.rate(now):,.0f}",) if rates else ()),
                    f"{line.requests:,}",
                    _left([line], now),
                    text.Text(
                        f"{words}: {line.error}" if line.error else words, _STYLES.get(status, "yellow")
                    ),
                )
            return grid

    def _busy(self, now: float) -> bool:
        """Does something run for longer than a moment?"""
        return any(line.ended is None and now - line.begun > MOMENT for line in self.lines.values())

    def _rate(self, now: float) -> float:
        return sum(line.rate(now) for line in self.lines.values() if line.ended is None)

    def _share(self) -> str:
        """The share of the budget in use; nothing where there is no limit."""
        return f"{self.used / self.limit:.0%} of budget" if 0 < self.limit < math.inf else ""

    def _print(self, text: str) -> None:
        if self._picture is None and not self.quiet and not self.live:
            output.say(text)

    def _heartbeat(self) -> None:
        if not self.calm or self._busy(self.clock()):
            output.say(self.heartbeat())


def _rank(line: Line) -> tuple[int, float]:
    if line.ended is None:
        return (0, line.begun)
    return (2 if line.status == "ok" else 1, -line.ended)


def _left(lines: list[Line], now: float) -> str:
    """The time that the running streams still need side by side, where it can be told."""
    needs = []
    for line in lines:
        rate = line.rate(now)
        if line.ended is None and line.left is not None and rate > 0:
            needs.append(line.left / rate)
    return duration(max(needs)) if needs else ""
