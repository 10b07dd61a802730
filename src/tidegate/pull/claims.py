"""The beginning of a pull in the warehouse: its tables are made, and it becomes their one writer.

A table that an earlier pull made and that is not there any more was dropped: what it held must be listed again. So
must that of one which holds rows of which no state tells. Making it anew hides that, so that it is counted before;
each account lists the stream again whose count is another than the one it knows.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping

from tidegate import errors
from tidegate.pull import load, report
from tidegate.warehouse import base

MADE = "tables/made"
"""State key of the names of all tables that pulls made."""
LOST = "tables/lost"
"""State key of the names of tables that were dropped, or whose state was: each as often as it happened."""


def claim(
    warehouse: base.Warehouse, run_id: str, streams: Mapping[str, load.Target], sources: Iterable[str] = ()
) -> tuple[base.Fence, dict[str, int]]:
    """Make the tables and become their one writer; also says how often streams have lost their tables, if ever.

    Whoever pulls other streams with the same key, or of the same account, meanwhile would overwrite how far the
    events were followed and what is to be listed again; so of each of `sources` there is one writer, too.

    Killed anywhere and called again, it tells of the same streams.
    """
    names = {table.name for target in streams.values() for table in _of(target)}
    saved, there = warehouse.state(MADE, LOST), _tables(warehouse)
    made, lost = set(_names(saved, MADE)), _names(saved, LOST)
    gone = {name for name in names & made if name.lower() not in there}
    gone |= {name for name in names - made if name.lower() in there and _has_rows(warehouse, name)}
    if gone:
        lost = sorted([*lost, *gone])
        warehouse.load([], {LOST: "\n".join(lost)})
    tables = [target.table for target in streams.values()]
    histories = [target.shape.history for target in streams.values()]
    warehouse.prepare([*tables, *(table for table in histories if table is not None), report.RUNS])
    places = [f"{base.STATE}/{source}" for source in sources]
    fence = warehouse.claim(run_id, [*(table.name for table in tables), *places])
    if not names <= made:
        warehouse.load([], {MADE: "\n".join(sorted(made | names))}, fence)
    times = collections.Counter(lost)
    counts = {name: sum(times[table.name] for table in _of(each)) for name, each in streams.items()}
    return fence, {name: count for name, count in counts.items() if count}


def join(warehouse: base.Warehouse, writer: str, fence: base.Fence, accounts: Iterable[str]) -> base.Fence:
    """Become the one writer of some accounts' rows among those who write under one claim.

    Whoever had them before, a process that was stopped and wakes up again, can commit nothing more.
    """
    mine = warehouse.claim(writer, [f"{base.STATE}/{account}" for account in accounts])
    return base.Fence(writer, {**fence.tokens, **mine.tokens})


def holds(warehouse: base.Warehouse, streams: Iterable[load.Target]) -> bool:
    """Are all tables of a claim still there?"""
    return {table.name.lower() for target in streams for table in _of(target)} <= _tables(warehouse)


def _of(target: load.Target) -> list[base.Table]:
    """The tables of a stream."""
    return [target.table] if target.shape.history is None else [target.table, target.shape.history]


def _tables(warehouse: base.Warehouse) -> set[str]:
    """The names of all tables there are, in lower case."""
    batches = warehouse.read(
        "select lower(table_name) as name from information_schema.tables where lower(table_schema) = ?",
        (warehouse.schema.lower(),),
    )
    try:
        return {row["name"] for batch in batches for row in batch.to_pylist()}
    except errors.ConfigError:
        return set()  # nobody ever pulled into it


def _has_rows(warehouse: base.Warehouse, name: str) -> bool:
    table = f"{base.quoted(warehouse.schema)}.{base.quoted(name)}"
    return any(batch.num_rows for batch in warehouse.read(f"select 1 as one from {table} limit 1"))


def _names(saved: Mapping[str, str], key: str) -> list[str]:
    return list(filter(None, saved.get(key, "").split("\n")))
