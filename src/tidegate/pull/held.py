"""What a warehouse holds of Stripe: rows per table, how far and fresh each stream is, how the last run ended."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tidegate import catalog
from tidegate.pull import (
    acting,
    backfill,
    reconcile,
    refresh,
    relist,
    report,
    scope,
    settings,
    sweep,
    tail,
)
from tidegate.warehouse import base

KEYS = "key/"
"""Of the state that says whose a key is."""
PREFIXES = ("backfill/", "dirty/", "held/", "relist/", "tail/", "turns/")


@dataclass(frozen=True, slots=True)
class Held:
    """One stream of one account as it stands in the warehouse.

    `complete` says whether its first reading came to its end, that of every list of it; everything that existed at
    `as_of`, on Stripe's clock, is there. Every change is noticed within `staleness_s` seconds while pulls follow
    one another, None being unbounded; `staleness` says it in words.
    """

    account: str
    stream: str
    rows: int
    deleted: int
    complete: bool
    as_of: dt.datetime | None
    status: str
    error: str
    staleness_s: int | None = None
    staleness: str = ""
    held: str = ""
    """Which rows are no longer listed and were kept, and what to do."""
    listing: str = ""
    """Why it is to be listed again; empty when it is not."""
    waiting: int = 0
    """Objects that are known to have changed and are still to be read."""
    unread: int = 0
    """Those of them that could not be read so far."""

    def as_json(self) -> dict[str, object]:
        """One element of `status --json`."""
        found: dict[str, object] = dataclasses.asdict(self)
        found["as_of"] = None if self.as_of is None else self.as_of.isoformat()
        for name in ("error", "held", "listing"):
            found[name] = found[name] or None
        return found


def of_pull(warehouse: base.Warehouse, job: settings.Job) -> list[Held]:
    """What `held` tells of the streams that a pull takes, and of the accounts that it reads.

    Other pulls may bring other streams, and those of other accounts, into the same tables.
    """
    wanted = frozenset(job.options.streams)
    found = [each for each in held(warehouse, job.tables) if each.stream in wanted]
    keys = warehouse.state(KEYS)
    mine, others = _accounts(job.source, keys), [_accounts(each, keys) for each in job.beside]
    if mine is not None:
        return [each for each in found if each.account in mine]
    theirs = frozenset[str]().union(*(each for each in others if each is not None))
    return [each for each in found if each.account not in theirs]


def _accounts(source: scope.Source, keys: Mapping[str, str]) -> frozenset[str] | None:
    """The accounts whose objects come from a source; None where nobody can tell without asking Stripe."""
    if source.accounts == "all":
        return None
    if source.accounts == "own":
        own = source.account_id or keys.get(f"{KEYS}{acting.mark(source)}")
        return frozenset((own,)) if own else None
    return frozenset(path.rpartition("/")[2] for path in source.accounts)


def held(warehouse: base.Warehouse, tables: dict[str, str]) -> list[Held]:
    """Every stream that was ever read into the warehouse, and what the last pull had not begun with yet.

    `tables` are table names by stream.
    """
    saved = warehouse.state(*PREFIXES)
    marks = _marks(saved)
    last = {(account, stream): rest for account, stream, *rest in _runs(warehouse)}
    found = sorted({*marks, *last, *_wanted(warehouse, marks, tables)})
    names = sorted({stream for _, stream in found})
    counts = _counts(warehouse, {name: tables.get(name, name) for name in names}) if names else {}
    states, sizes = _by_account(saved), _sizes(counts)
    accounts = {
        account: _Account.read(account, states.get(account, {}), sizes.get(account, {}))
        for account, _ in found
    }
    return [
        accounts[account].held(
            stream,
            counts.get((account, stream), (0, 0)),
            marks.get((account, stream), (False, 0)),
            last.get((account, stream), ["unfinished" if (account, stream) in marks else "not_begun", ""]),
        )
        for account, stream in found
    ]


@dataclass(frozen=True, slots=True)
class _Account:
    """What the state says of one account."""

    name: str
    saved: Mapping[str, str]
    turns: reconcile.Turns
    place: int
    """How far the events were followed."""
    entries: relist.Entries
    waiting: Mapping[str, int]
    unread: Mapping[str, int]
    rows: Mapping[str, int]

    @classmethod
    def read(cls, account: str, saved: Mapping[str, str], rows: Mapping[str, int]) -> _Account:
        """Gather it."""
        dirty = list(refresh.saved(saved, account))
        return cls(
            account,
            saved,
            reconcile.turns(saved, account),
            tail.place(saved, account) or 0,
            relist.entries(saved.get(relist.key(account))),
            collections.Counter(each.stream for each in dirty),
            collections.Counter(each.stream for each in dirty if each.attempts),
            rows,
        )

    def held(self, name: str, counts: tuple[int, int], mark: tuple[bool, int], last: list[str]) -> Held:
        """One stream of it; `mark` says whether it was read whole, and since when."""
        status, error = last
        complete = mark[0] and status in (
            "ok",
            "unfinished",
        )  # a list that never answered has no mark to tell
        stream = catalog.load().streams.get(name)
        bound, words = (None, "") if stream is None else self._staleness(stream)
        since = 0 if stream is None or not complete else self._as_of(stream, mark[1])
        kept = sweep.held(self.saved.get(sweep.key(self.name, name), ""))
        return Held(
            self.name,
            name,
            *counts,
            complete,
            dt.datetime.fromtimestamp(since, dt.UTC) if since else None,
            status,
            error or "",
            bound,
            words,
            kept.why if kept is not None else "",
            self.entries[name].reason if name in self.entries else "",
            self.waiting.get(name, 0),
            self.unread.get(name, 0),
        )

    def _staleness(self, stream: catalog.Stream) -> tuple[int | None, str]:
        return reconcile.staleness(
            stream, followed=self.turns.followed, lookback=self.turns.of(stream.name), counts=self.rows
        )

    def _as_of(self, stream: catalog.Stream, since: int) -> int:
        """When everything was surely there: as far as events tell of new rows, or as a list was read last."""
        listed = max(since, self.turns.last(stream.name, 0))
        entry = self.entries.get(stream.name)
        if stream.told.created != "all" or not self.turns.followed or (entry and not entry.regular):
            return listed
        return max(listed, self.place)


def _by_account(saved: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The state of each account."""
    found: dict[str, dict[str, str]] = {}
    for key, text in saved.items():
        found.setdefault(key.split("/", 2)[1], {})[key] = text
    return found


def _sizes(counts: Mapping[tuple[str, str], tuple[int, int]]) -> dict[str, dict[str, int]]:
    """All rows by stream, of each account."""
    found: dict[str, dict[str, int]] = {}
    for (account, stream), (live, gone) in counts.items():
        found.setdefault(account, {})[stream] = live + gone
    return found


def _wanted(
    warehouse: base.Warehouse, marks: Iterable[tuple[str, str]], tables: Mapping[str, str]
) -> set[tuple[str, str]]:
    """By account, the streams of the last pull of it: it claimed their tables together with the account."""
    accounts = {account for account, _ in marks}
    if not accounts:
        return set()
    name = f"{base.quoted(warehouse.schema)}.{base.quoted(base.STATE)}"
    batches = warehouse.read(f"select key, value from {name} where key like ?", (f"{base.FENCE}%",))
    rows = (row for batch in batches for row in batch.to_pylist())
    claims = {row["key"].removeprefix(base.FENCE): row["value"].partition(" ")[2] for row in rows}
    return {
        (account, stream)
        for account in accounts
        if (writer := claims.get(f"{base.STATE}/{account}"))
        for stream in catalog.load().streams
        if claims.get(tables.get(stream, stream)) == writer
    }


def _marks(state: Mapping[str, str]) -> dict[tuple[str, str], tuple[bool, int]]:
    """By account and stream: is its first reading complete, and when did it begin?"""
    known = catalog.load().streams
    found: dict[tuple[str, str], tuple[bool, int]] = {}
    for key, saved in state.items():
        kind, account, *_ = key.split("/", 2)
        progress = backfill.progress(saved) if kind == "backfill" else None
        for stream in progress.carries if progress is not None else ():
            if stream in known and progress is not None:
                done, since = found.get((account, stream), (True, progress.since))
                found[account, stream] = (done and progress.done, min(since, progress.since))
    return found


def _runs(warehouse: base.Warehouse) -> Iterator[tuple[str, str, str, str]]:
    """The last outcome of every account and stream."""
    if not warehouse.columns(report.RUNS.name):
        return
    table = f"{base.quoted(warehouse.schema)}.{report.RUNS.name}"
    batches = warehouse.read(
        f"select account, stream, status, error from {table} as r where not exists (select 1 from {table} as s "
        "where s.account = r.account and s.stream = r.stream and (s.started_at > r.started_at "
        "or (s.started_at = r.started_at and s.run_id > r.run_id)))"
    )
    for batch in batches:
        for row in batch.to_pylist():
            yield row["account"], row["stream"], row["status"], row["error"]


def _counts(warehouse: base.Warehouse, tables: Mapping[str, str]) -> dict[tuple[str, str], tuple[int, int]]:
    """By account and stream: live and deleted rows, of all tables that are there in one query."""
    batches = warehouse.read(
        "select lower(table_name) as name from information_schema.tables where lower(table_schema) = ?",
        (warehouse.schema.lower(),),
    )
    there = {row["name"] for batch in batches for row in batch.to_pylist()}
    named = {stream: table for stream, table in tables.items() if table.lower() in there}
    selects = [
        "select ? as stream, _account_id as account, count(*) - count(_deleted_at) as live, "
        f"count(_deleted_at) as gone from {base.quoted(warehouse.schema)}.{base.quoted(table)} group by _account_id"
        for table in named.values()
    ]
    found = warehouse.read(" union all ".join(selects), tuple(named)) if selects else []
    rows = (row for batch in found for row in batch.to_pylist())
    return {(row["account"], row["stream"]): (row["live"], row["gone"]) for row in rows}
