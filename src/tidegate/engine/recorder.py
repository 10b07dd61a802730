"""What a run shows while it runs: its progress and its lines, gathered in memory and written every second.

Kept small however long a run is: progress is a row per stream, and of a line that comes again and again the first
ones are kept, and then how many there were.
"""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tidegate.pull import report
from tidegate.store import database, runs
from tidegate.stripe import client

OFTEN = 200
"""Lines of one kind (their level, stream and beginning) that are kept of a run."""
BEGINNING = 40


@dataclass(slots=True)
class Progress:
    """How far one stream is, over all accounts."""

    rows: int = 0
    requests: int = 0
    estimate: int | None = None
    begun: int = 0
    ended: int = 0
    status: str = "running"


class Recorder:
    """A `pull.report.Screen` that remembers for the store; used by one thread."""

    def __init__(self, store: database.Database, run: runs.Run, worker: str) -> None:
        self._store, self._run, self._worker = store, run, f"{worker}/{run.attempts}"
        self._offset = store.now() - time.monotonic()
        self._streams: dict[str, Progress] = {}
        self._lines: list[runs.Line] = []
        self._written = 0
        self._kinds: collections.Counter[tuple[str, str, str]] = collections.Counter()
        self._rate = (0.0, 0.0)
        self._phase = ""

    def started(self, stream: str, account: str) -> None:
        """Reading of a stream began."""
        del account
        self._streams.setdefault(stream, Progress()).begun += 1

    def advanced(self, stream: str, *, rows: int = 0, requests: int = 0, estimate: int | None = None) -> None:
        """More rows came with more requests."""
        found = self._streams.setdefault(stream, Progress())
        found.rows += rows
        found.requests += requests
        if estimate is not None:
            found.estimate = estimate

    def finished(self, stream: str, status: str, error: str) -> None:
        """A stream ended, well or badly."""
        found = self._streams.setdefault(stream, Progress())
        found.ended += 1
        found.status = status if found.status in ("running", "ok") else found.status
        if error and status != "not_enabled":
            self.say(error, level="warning", stream=stream)

    def budget(self, used: float, limit: float) -> None:
        """Requests per second in use, and allowed."""
        self._rate = (used, limit)

    def note(self, text: str) -> None:
        """Something worth a line."""
        self.say(text)

    def say(self, text: str, *, level: str = "info", stream: str = "", account: str = "") -> None:
        """Add a line."""
        kind = (level, stream, text[:BEGINNING])
        self._kinds[kind] += 1
        if self._kinds[kind] <= OFTEN:
            self._lines.append(runs.Line(self._offset + time.monotonic(), level, text, stream, account))

    def happened(self, what: client.Happening) -> None:
        """What was asked of Stripe, and what it answered, in a line per endpoint."""
        line = report.line(what)
        self.say(line.text, level=line.level, stream=line.stream, account=line.account)

    def phase(self, text: str) -> None:
        """What is being done now."""
        self._phase = text

    def progress(self) -> dict[str, Any]:
        """How far it is, for the store."""
        done = sum(each.rows for each in self._streams.values())
        return {
            "phase": self._phase,
            "rows": done,
            "requests": sum(each.requests for each in self._streams.values()),
            "rate": round(self._rate[0], 1),
            "limit": round(self._rate[1], 1),
            "streams": {name: dataclasses.asdict(each) for name, each in sorted(self._streams.items())},
        }

    def write(self) -> runs.Run | None:
        """Write the lines and say that the run lives; None where it is not this worker's any more."""
        self.flush()
        return runs.beat(self._store, self._run.id, self._run.worker, self.progress())

    def flush(self) -> None:
        """Write the lines."""
        lines = tuple(self._lines)
        runs.write(self._store, self._run.id, self._worker, self._written, lines)
        del self._lines[: len(lines)]  # only now: what could not be written is written the next time
        self._written += len(lines)

    def close(self) -> None:
        """Write what is left, and of what came too often how often it came."""
        for (level, stream, beginning), count in self._kinds.items():
            if count > OFTEN:
                more = f"{count - OFTEN:,} more lines like: {beginning}..."
                self._lines.append(runs.Line(self._offset + time.monotonic(), level, more, stream))
        self._kinds.clear()
        self.flush()


def tables(outcomes: Iterable[Any]) -> list[dict[str, Any]]:
    """The loading report of a run, from its outcomes."""
    return [outcome.as_json() for outcome in outcomes if outcome.told]
