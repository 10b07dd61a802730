"""What a pull tells: the outcome of each stream, the result of the run, and the rows that they leave behind."""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import pyarrow as pa

from tidegate import catalog, errors
from tidegate.stripe import client, happenings
from tidegate.warehouse import base, spool

Status = Literal["ok", "partial", "no_permission", "not_enabled", "failed"]

_VARYING = re.compile(r"req_\w+|\d+")
"""What differs between two errors that say the same: request ids, counts, times."""


class Screen(Protocol):
    """Whoever watches a pull: a terminal, a log, a test. Called often, from the event loop; must not block."""

    def started(self, stream: str, account: str) -> None:
        """Reading of a stream began."""

    def advanced(self, stream: str, *, rows: int = 0, requests: int = 0, estimate: int | None = None) -> None:
        """More rows came with more requests; `estimate` is a guess at the rows still to come."""

    def finished(self, stream: str, status: str, error: str) -> None:
        """A stream ended, well or badly."""

    def budget(self, used: float, limit: float) -> None:
        """Requests per second in use, and allowed."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class Silent:
    """A screen that shows nothing."""

    def started(self, stream: str, account: str) -> None: ...
    def advanced(
        self, stream: str, *, rows: int = 0, requests: int = 0, estimate: int | None = None
    ) -> None: ...
    def finished(self, stream: str, status: str, error: str) -> None: ...
    def budget(self, used: float, limit: float) -> None: ...
    def note(self, text: str) -> None: ...


@dataclass(slots=True)
class Run:
    """The first run of those whose pulls follow one another, as it was noted beside the data."""

    run_id: str = ""
    started_at: dt.datetime | None = None


@dataclass(slots=True)
class Outcome:
    """How one stream of one account fared; counts grow while it runs.

    `read` counts rows that came from Stripe, `written` those that changed the warehouse: `inserted` and `updated`
    ones. What is read and neither written nor `unchanged` is deleted, or is nothing that `where` lets in.
    """

    stream: str
    account: str
    status: Status = "ok"
    read: int = 0
    written: int = 0
    deleted: int = 0
    error: str = ""
    tally: client.Tally = field(default_factory=client.Tally)
    lists: int = 1
    """How many lists its rows come from, less those that the account turned out not to have."""
    done: bool = False
    inserted: int = 0
    """Rows that were not there; also what waits on disk for a warehouse that somebody else holds."""
    updated: int = 0
    unchanged: int = 0
    """Rows as old as what is stored, or older, and those that were read again within seconds."""
    versions: int = 0
    """Versions that a history gained."""
    bytes: int = 0
    """Size of the answers that held its rows, unpacked; one with rows of several streams counts for each."""
    from_version: int | None = None
    """The first `_version` that was written, deletions included, in unix seconds; None where nothing was."""
    to_version: int | None = None
    """The last one."""
    total: Total | None = field(default=None, repr=False, compare=False)
    """What the run did to it so far, where it is not its first pull."""
    run: Run | None = field(default=None, repr=False, compare=False)
    """The run that pulls again and again, of which it is."""
    noted: bool = field(default=False, repr=False, compare=False)
    """Was it left beside the data?"""

    def wrote(self, inserted: int, updated: int, unchanged: int) -> None:
        """Count rows that went to the table."""
        self.inserted += inserted
        self.updated += updated
        self.written += inserted + updated
        self.unchanged += unchanged

    def spans(self, first: int, last: int) -> None:
        """Note versions that were written."""
        self.from_version = first if self.from_version is None else min(first, self.from_version)
        self.to_version = last if self.to_version is None else max(last, self.to_version)

    @property
    def told(self) -> bool:
        """Is there anything to tell of it: rows, or something that went wrong?"""
        busy = self.read or self.written or self.deleted or self.tally.requests
        return bool(busy) or self.status not in ("ok", "not_enabled")

    def fail(self, status: Status, error: str) -> None:
        """Note what went wrong; the first reason stays.

        A product that the account does not have is told only when none of the lists is there.
        """
        if status == "not_enabled" and self.lists > 1:
            self.lists -= 1
        elif self.status == "ok":
            self.status, self.error = status, error

    def as_json(self) -> dict[str, object]:
        """The stream's part of `--json`."""
        return {
            "stream": self.stream,
            "account": self.account,
            "status": self.status,
            "read": self.read,
            "written": self.written,
            "inserted": self.inserted,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "deleted": self.deleted,
            "versions": self.versions,
            "bytes": self.bytes,
            "from_version": self.from_version,
            "to_version": self.to_version,
            "requests": self.tally.requests,
            "error": self.error or None,
        }


@dataclass(slots=True)
class Total(Outcome):
    """The sum of what the pulls of a run did to one stream of one account; its status is the last one's."""

    def add(self, other: Outcome) -> None:
        """Count what one more pull did."""
        self.status, self.error = other.status, other.error
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.tally.add(other.tally)
        if other.from_version is not None and other.to_version is not None:
            self.spans(other.from_version, other.to_version)
        self.noted = self.noted and not (other.written or other.deleted)


_SUMMED = ("read", "written", "deleted", "inserted", "updated", "unchanged", "versions", "bytes")


class News:
    """Knows what earlier pulls had to say, and so what is new about the next.

    It also sums up what each stream of each account got: from the second pull on that is the outcomes' `total`.
    """

    def __init__(self) -> None:
        self._wrong: dict[tuple[str, str], str] = {}
        self._sums: dict[tuple[str, str], Outcome] = {}
        self._run = Run()

    def of(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Those with rows that changed, and those that fare otherwise than the last time.

        Also those of which something changed before, and was not left beside the data yet.
        """
        found = []
        for each in outcomes:
            key, before = (each.account, each.stream), self._wrong.get((each.account, each.stream), "")
            quiet = each.status in ("ok", "not_enabled")
            now = "" if quiet else f"{each.status} {_VARYING.sub('', each.error)}"
            if now:
                self._wrong[key] = now
            elif before:
                del self._wrong[key]
            is_news = bool(each.written or each.deleted) or now != before
            if self._sum(key, each, is_news) or is_news:
                found.append(each)
        return found

    def sums(self) -> list[Outcome]:
        """What each stream of each account got so far."""
        return list(self._sums.values())

    def _sum(self, key: tuple[str, str], each: Outcome, is_news: bool) -> bool:
        """Count an outcome; says whether there are changes that were not noted."""
        known = self._sums.get(key)
        if each.run is not None:
            return False  # somebody else's news have counted it
        if known is None:
            if each.told:
                self._sums[key] = each
                each.run = self._run
            return False
        left = not known.noted and bool(known.written or known.deleted)
        if is_news or left or each.told:
            if not isinstance(known, Total):
                total = Total(each.stream, each.account, run=self._run)
                total.add(known)
                total.noted = known.noted
                self._sums[key] = known = total
            known.add(each)
            each.total, each.run = known, self._run
        return left


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run; `status` is `ok`, `partial` or `failed`, with exit codes 0, 3 and 1.

    `end` is what stopped it before all streams were tried, and then says the exit code.
    """

    run_id: str
    started_at: dt.datetime
    finished_at: dt.datetime
    status: Literal["ok", "partial", "failed"]
    outcomes: tuple[Outcome, ...]
    tally: client.Tally
    end: errors.TidegateError | None = None

    @property
    def exit_code(self) -> int:
        """What the process ends with."""
        if self.end is not None:
            return self.end.exit_code
        return {"ok": 0, "failed": 1, "partial": 3}[self.status]

    def as_json(self) -> dict[str, object]:
        """The object that `--json` prints last."""
        return {
            "run_id": self.run_id,
            "status": self.status,
            "requests": self.tally.requests,
            "retries": self.tally.retries,
            "rate_limited": self.tally.rate_limited,
            "duration_s": round((self.finished_at - self.started_at).total_seconds(), 3),
            "error": None if self.end is None else str(self.end),
            "streams": [outcome.as_json() for outcome in self.outcomes],
        }


def nothing(error: errors.TidegateError) -> dict[str, object]:
    """What `--json` prints of a run that could not begin."""
    return {
        "run_id": None,
        "status": "failed",
        "requests": 0,
        "retries": 0,
        "rate_limited": 0,
        "duration_s": 0.0,
        "error": str(error),
        "streams": [],
    }


def judge(outcomes: Sequence[Outcome], named: frozenset[str]) -> Literal["ok", "partial", "failed"]:
    """The run's status from its streams'.

    A product that the account does not have is no fault, unless its stream was asked for by name.
    """
    missing = [o for o in outcomes if o.status == "not_enabled" and o.stream not in named]
    counted = [o for o in outcomes if o not in missing]
    if not counted:
        return "failed" if outcomes else "ok"
    if all(o.status == "ok" for o in counted):
        return "ok"
    good = any(o.status in ("ok", "partial") for o in counted)
    return "partial" if good else "failed"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a run's log; stream and account are empty where it is not of one alone."""

    text: str
    level: Literal["info", "warning"]
    stream: str
    account: str


def line(happening: client.Happening) -> Line:
    """What requests came to, as a line of the extraction log: no id and no value of a query is in it.

    A warning is what leaves something unread: a missing permission, a request that was given up, a slow answer.
    Limits and attempts that are made again are how Stripe is talked with, and 404 is said of what was deleted.
    """
    grave = happening.kind == "slow" or (happening.kind == "refused" and happening.status != 404)
    path = happening.endpoint.partition(" ")[2]
    return Line(
        happenings.words(happening),
        "warning" if grave else "info",
        _streams().get(path, ""),
        happening.account,
    )


@functools.cache
def _streams() -> dict[str, str]:
    """The stream that an endpoint's rows go to, where that is one."""
    known = catalog.load()
    by_id = {stream.retrieve: stream.name for stream in known.streams.values() if stream.retrieve}
    return by_id | {each.path: each.streams[0] for each in known.endpoints if len(each.streams) == 1}


_TIME = pa.timestamp("us", tz="UTC")

RUNS = base.Table(
    "_tidegate_runs",
    pa.schema(
        [
            pa.field("run_id", pa.string()),
            pa.field("account", pa.string()),
            pa.field("stream", pa.string()),
            pa.field("status", pa.string()),
            pa.field("rows_read", pa.int64()),
            pa.field("rows_written", pa.int64()),
            pa.field("rows_deleted", pa.int64()),
            pa.field("requests", pa.int64()),
            pa.field("error", pa.string()),
            pa.field("started_at", _TIME),
            pa.field("finished_at", _TIME),
            pa.field("rows_inserted", pa.int64()),
            pa.field("rows_updated", pa.int64()),
            pa.field("rows_unchanged", pa.int64()),
            pa.field("versions", pa.int64()),
            pa.field("bytes", pa.int64()),
            pa.field("from_version", pa.int64()),
            pa.field("to_version", pa.int64()),
        ]
    ),
    key=("run_id", "account", "stream"),
    version="",
)
"""One row per run and stream, beside the data; the columns that came later stand at the end."""


def rows(run_id: str, started: dt.datetime, finished: dt.datetime, outcomes: Sequence[Outcome]) -> pa.Table:
    """Outcomes as rows of `RUNS`."""
    records = [
        {
            "run_id": run_id,
            "account": outcome.account,
            "stream": outcome.stream,
            "status": outcome.status,
            "rows_read": outcome.read,
            "rows_written": outcome.written,
            "rows_deleted": outcome.deleted,
            "requests": outcome.tally.requests,
            "error": outcome.error or None,
            "started_at": started,
            "finished_at": finished,
            "rows_inserted": outcome.inserted,
            "rows_updated": outcome.updated,
            "rows_unchanged": outcome.unchanged,
            "versions": outcome.versions,
            "bytes": outcome.bytes,
            "from_version": outcome.from_version,
            "to_version": outcome.to_version,
        }
        for outcome in outcomes
    ]
    return pa.Table.from_pylist(records, schema=RUNS.schema)


def note(warehouse: base.Warehouse, run_id: str, started: dt.datetime, outcomes: Sequence[Outcome]) -> None:
    """Leave the outcomes beside the data; they wait on disk while somebody else holds the warehouse.

    Of a run that pulls again and again the sums are left, in the place of those that it left before.
    """
    now, pulled, summed, since = dt.datetime.now(dt.UTC), list[Outcome](), list[Outcome](), started
    for each in outcomes:
        if each.run is not None and each.run.started_at is None:
            each.run.run_id, each.run.started_at = run_id, started
        if each.total is None or each.run is None or each.run.run_id != run_id:
            pulled.append(each)
        else:
            summed.append(each.total)
            since = each.run.started_at or started
    table = pa.concat_tables([rows(run_id, started, now, pulled), rows(run_id, since, now, summed)])
    spool.load(warehouse, [base.Load(RUNS, table)], {})
    for each in outcomes:
        each.noted = True
        if each.total is not None:
            each.total.noted = True
