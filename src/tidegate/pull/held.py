"""What a warehouse holds of Stripe: rows per table, how far each stream has been read, the last runs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tidegate import catalog
from tidegate.pull import backfill, report
from tidegate.warehouse import base


@dataclass(frozen=True, slots=True)
class Held:
    """One stream of one account as it stands in the warehouse.

    `complete` says whether its last reading came to its end, that of every list of it; `as_of` is the Stripe
    clock before that reading began: everything that existed then is there.
    """

    account: str
    stream: str
    rows: int
    deleted: int
    complete: bool
    as_of: dt.datetime | None
    status: str
    error: str

    def as_json(self) -> dict[str, object]:
        """One element of `status --json`."""
        return {
            "account": self.account,
            "stream": self.stream,
            "rows": self.rows,
            "deleted": self.deleted,
            "complete": self.complete,
            "as_of": None if self.as_of is None else self.as_of.isoformat(),
            "status": self.status,
            "error": self.error or None,
        }


def held(warehouse: base.Warehouse, tables: dict[str, str]) -> list[Held]:
    """Every stream that was ever read into the warehouse; `tables` are table names by stream."""
    marks = _marks(warehouse)
    last = {(account, stream): rest for account, stream, *rest in _runs(warehouse)}
    names = sorted({stream for _, stream in [*marks, *last]})
    counts = _counts(warehouse, {name: tables.get(name, name) for name in names}) if names else {}
    found = []
    for account, stream in sorted({*marks, *last}):
        rows, deleted = counts.get((account, stream), (0, 0))
        done, since = marks.get((account, stream), (False, 0))
        status, error = last.get((account, stream), ("unfinished", ""))
        complete = done and status in ("ok", "unfinished")  # a list that never answered has no mark to tell
        as_of = dt.datetime.fromtimestamp(since, dt.UTC) if since and complete else None
        found.append(Held(account, stream, rows, deleted, complete, as_of, status, error or ""))
    return found


def _marks(warehouse: base.Warehouse) -> dict[tuple[str, str], tuple[bool, int]]:
    """By account and stream: is its last reading complete, and when did it begin?"""
    known = catalog.load().streams
    found: dict[tuple[str, str], tuple[bool, int]] = {}
    for key, saved in warehouse.state("backfill/").items():
        progress = backfill.progress(saved)
        _, account, _ = key.split("/", 2)
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
