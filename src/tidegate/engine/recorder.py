"""What a run shows while it runs: its progress, its lines and what each table got, gathered here and then written.

Kept small however long a run is: progress is a row per stream, the loading report one per stream and account; of a
line that comes again and again the first ones of an hour are kept, and then how many there were; and changes are
told at most twice a minute for each stream and account.
"""

from __future__ import annotations

import collections
import dataclasses
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tidegate.pull import report
from tidegate.store import database, logs, reports, runs
from tidegate.stripe import client

OFTEN = 200
"""Lines of one kind (their level, stream and beginning) that are kept of an hour."""
BEGINNING = 40
HOUR = 3_600.0
KINDS = 2_000
"""Kinds that are counted at the same time."""
WAITING = 20_000
"""Lines that wait in memory for the metadata database; while it is away, the rest is counted."""
REPORTED = 30.0
"""Seconds between two writings of what the tables of a run without end got so far."""
TOLD = 30.0
"""Seconds between two lines of what changed in one stream of one account."""
OFTENEST = 1.0
"""Seconds between two looks for what is to be told, however often something changes."""
UNREAD = "not read to its end yet"
"""What is said of a stream while the first pull of a run reads it, and stays when the process is killed."""
FIGURES = (
    "source",
    "created",
    "updated",
    "removed",
    "unchanged",
    "filtered",
    "unmatched",
    "held",
    "quarantined",
    "invalid",
    "failed",
    "unknown",
    "left",
)
"""What the report of a push counts: where each row of the source went, and objects that were removed."""

Key = tuple[str, str]
"""A stream and an account."""

_NUMBER = re.compile(r"\d[\d,.]*")


@dataclass(slots=True)
class Progress:
    """How far one stream is, over all accounts."""

    rows: int = 0
    requests: int = 0
    estimate: int | None = None
    begun: int = 0
    ended: int = 0
    status: str = "running"


@dataclass(slots=True)
class Changes:
    """What changed in one stream of one account since it was told last."""

    written: int = 0
    deleted: int = 0
    told_at: float = -TOLD

    def __str__(self) -> str:
        parts = ((self.written, "written"), (self.deleted, "deleted"))
        return ", ".join(f"{count:,} {what}" for count, what in parts if count)


class Recorder:
    """A `pull.report.Screen` that remembers for the store; used by one thread."""

    def __init__(self, store: database.Database, run: runs.Run, worker: str) -> None:
        self._store, self._run, self._worker = store, run, f"{worker}/{run.attempts}"
        self._offset = store.now() - time.monotonic()
        self._streams: dict[str, Progress] = {}
        self._lines: list[logs.Line] = []
        self._written = 0
        self._kinds: collections.Counter[tuple[str, str, str]] = collections.Counter()
        self._kinds_since = time.monotonic()
        self._missing = 0
        self._rate = (0.0, 0.0)
        self._phase = ""
        self._news = report.News()
        self._changes: dict[Key, Changes] = {}
        self._sums: dict[Key, report.Outcome] = {}
        self._doing: dict[Key, report.Outcome] = {}
        self._doing_rows = (0, 0)
        self._unwritten: set[Key] = set()
        self._reported_at = self._told_at = time.monotonic()
        self._written_rows = self._deleted_rows = 0
        self._pushed: Mapping[str, Any] = {}
        self._refused = 0

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
        now = time.monotonic()
        if now - self._kinds_since >= HOUR or len(self._kinds) >= KINDS:
            self._count(now)
        kind = (level, stream, _NUMBER.sub("#", text[:BEGINNING]))
        self._kinds[kind] += 1
        if self._kinds[kind] <= OFTEN:
            self._add(now, level, text, stream, account)

    def _add(self, now: float, level: str, text: str, stream: str = "", account: str = "") -> None:
        if len(self._lines) < WAITING:
            self._lines.append(logs.Line(self._offset + now, level, text, stream, account))
        else:
            self._missing += 1

    def _count(self, now: float) -> None:
        """Say of what came too often how often it came, and count anew."""
        for (level, stream, beginning), count in self._kinds.items():
            if count > OFTEN:
                self._add(now, level, f"{count - OFTEN:,} more lines like: {beginning}...", stream)
        self._kinds.clear()
        self._kinds_since = now

    def saw(self, result: report.Result) -> None:
        """One of the pulls of a run without end is done: count what it did, and tell what is new."""
        self.under_way(())  # first: whoever looks meanwhile, from another thread, sees nothing twice
        for each in result.outcomes:
            key = (each.stream, each.account)
            if each.told:
                self._sums[key] = each.total or each
                self._unwritten.add(key)
            if each.written or each.deleted:
                found = self._changes.setdefault(key, Changes())
                found.written += each.written
                found.deleted += each.deleted
                self._written_rows += each.written
                self._deleted_rows += each.deleted
        for each in self._news.of(result.outcomes):
            if each.error:
                self.say(each.error, level="warning", stream=each.stream, account=each.account)
        if result.end is not None:
            self.say(str(result.end), level="error")
        if time.monotonic() - self._told_at >= OFTENEST:
            self.tell()

    def under_way(self, outcomes: Iterable[report.Outcome]) -> None:
        """What the pull under way has done so far, in the place of what it had before; a `pull.doing.Watcher`.

        Where it is stopped, that stays the run's report.
        """
        sums: dict[Key, report.Outcome] = {}
        written = deleted = 0
        for each in outcomes:
            if not each.told:
                continue
            key = (each.stream, each.account)
            written += each.written
            deleted += each.deleted
            known, before = sums.get(key) or self._sums.get(key), self._doing.get(key)
            found = (each.total or each) if each.run is not None else _with(known, each)
            if key in sums or (found is not before and found != before):
                self._unwritten.add(key)
            sums[key] = found
        self._doing, self._doing_rows = sums, (written, deleted)

    def pushed(self, table: Mapping[str, Any]) -> None:
        """What a push has done so far, as a row of its report; where it is stopped, that stays."""
        self._pushed = table

    def tell(self, *, all_of_it: bool = False) -> None:
        """Say what changed, of each stream and account in its time."""
        self._told_at = now = time.monotonic()
        for key, found in list(self._changes.items()):
            if now - found.told_at < TOLD and not all_of_it:
                continue
            if text := str(found):
                self._add(now, "info", text, *key)
                found.written, found.deleted, found.told_at = 0, 0, now
            else:
                del self._changes[key]

    def happened(self, what: client.Happening) -> None:
        """What was asked of Stripe, and what it answered, in a line per endpoint."""
        line = report.line(what)
        self._refused += what.count if what.kind == "limited" else 0
        self.say(line.text, level=line.level, stream=line.stream, account=line.account)

    def phase(self, text: str) -> None:
        """What is being done now."""
        self._phase = text

    def progress(self) -> dict[str, Any]:
        """How far it is, for the store."""
        done = sum(each.rows for each in self._streams.values())
        return {
            **(self._changed() if self._sums or self._doing else {}),
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
        if time.monotonic() - self._reported_at >= REPORTED:
            self.report()
        return runs.beat(self._store, self._run.id, self._run.worker, self.progress())

    def flush(self) -> None:
        """Write the lines."""
        lines = tuple(self._lines)
        logs.write(self._store, self._run.id, self._worker, self._written, lines)
        del self._lines[: len(lines)]  # only now: what could not be written is written the next time
        self._written += len(lines)
        if self._missing:
            missing, self._missing = self._missing, 0
            self._add(time.monotonic(), "warning", f"{missing:,} lines are missing: nobody could take them.")

    def report(self) -> None:
        """Write what the tables got so far, where that is more than before."""
        self._reported_at = time.monotonic()
        keys = list(self._unwritten)
        self._unwritten.difference_update(keys)
        try:
            found = (self._doing.get(key) or self._sums.get(key) for key in keys)
            told = [each.as_json() for each in found if each is not None]
            reports.keep(self._store, self._run.id, [*told, *([self._pushed] if self._pushed else [])])
        except BaseException:
            self._unwritten.update(keys)
            raise

    def close(self) -> None:
        """Write what is left."""
        self.tell(all_of_it=True)
        self._count(time.monotonic())
        self.flush()
        if self._lines:  # how many are missing
            self.flush()
        self.report()

    def totals(self) -> dict[str, int]:
        """What a run came to of which there is no result, since it has no end or did not come to it."""
        if self._pushed:
            return {**written(self._pushed), "rate_limited": self._refused}
        found = list({**self._sums, **self._doing}.values())
        if not found:
            return {}
        return {
            "requests": sum(each.requests for each in self._streams.values()),
            "read": sum(each.read for each in found),
            **self._changed(),
            "streams": len({each.stream for each in found}),
            "accounts": len({each.account for each in found}),
        }

    def _changed(self) -> dict[str, int]:
        """Rows that were written and deleted, also by the pull under way."""
        written, deleted = self._doing_rows
        return {"written": self._written_rows + written, "deleted": self._deleted_rows + deleted}


def _with(known: report.Outcome | None, each: report.Outcome) -> report.Total:
    """What was known and what came since, which goes on; nobody knows yet how it ends."""
    found = report.Total(each.stream, each.account)
    if known is not None:
        found.add(known)
    found.add(each)
    if each.status == "ok" and not each.done:
        found.status, found.error = ("partial", UNREAD) if known is None else (known.status, known.error)
    return found


def tables(outcomes: Iterable[Any]) -> list[dict[str, Any]]:
    """The loading report of a run, from its outcomes or those of its last pull."""
    return [(outcome.total or outcome).as_json() for outcome in outcomes if outcome.told]


def written(table: Mapping[str, Any]) -> dict[str, int]:
    """What the row of a push's report comes to, in the words of all runs and in its own."""
    changed = {"read": table["source"], "written": table["created"] + table["updated"] + table["removed"]}
    own = {name: table[name] for name in FIGURES}
    return {**changed, "requests": table["requests"], **own, "streams": 1, "accounts": 1}
