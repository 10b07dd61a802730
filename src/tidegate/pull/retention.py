"""How long a warehouse keeps what is over: events, closed versions, deleted rows, runs.

Once a day rows that are too old are removed, in batches, each a transaction of its own. That it was done is noted
last: killed on the way, the next pull goes on with what is left. What a deleted row leaves behind is its burial, so
that nothing older brings it back.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from tidegate import config, errors
from tidegate.pull import report
from tidegate.warehouse import base

STATE = "retention/last/"
"""State keys that say when which limits were last applied, unix seconds."""

DAY = 86_400
FORGET = 30 * DAY
"""After this long the note about limits that nobody applies any more goes."""

BATCH = 10_000
"""Rows that are removed at once."""

EVENTS = "events"


class Stored(Protocol):
    """Where a stream's rows and their versions are."""

    @property
    def table(self) -> base.Table:
        """The table."""

    @property
    def history(self) -> base.Table | None:
        """Its history, where one is kept."""


@dataclass(frozen=True, slots=True)
class _Task:
    """Rows of one table that go when `column` is older than `age`; `buried` when their keys stay known."""

    table: base.Table
    column: str
    age: dt.timedelta
    buried: bool = False


def prune(
    warehouse: base.Warehouse,
    fence: base.Fence | None,
    shapes: Mapping[str, Stored],
    keep: config.Retention,
    now: dt.datetime,
) -> dict[str, int]:
    """Remove what is older than `keep` says, at most once a day; rows removed, by table.

    `shapes` are the streams' tables by stream. Limits that were changed are applied at once.
    """
    tasks = list(_tasks(shapes, keep))
    last = warehouse.state(STATE)
    key = STATE + _digest(tasks)
    if not tasks or int(now.timestamp()) - int(last.get(key, "0")) < DAY:
        return {}
    removed: dict[str, int] = {}
    for task in tasks:
        if count := _remove(warehouse, fence, task, now):
            removed[task.table.name] = removed.get(task.table.name, 0) + count
    notes: dict[str, str | None] = {
        each: None for each, when in last.items() if int(now.timestamp()) - int(when) > FORGET
    }
    warehouse.load([], {**notes, key: str(int(now.timestamp()))}, fence)
    return removed


def _tasks(shapes: Mapping[str, Stored], keep: config.Retention) -> Iterator[_Task]:
    if keep.events is not None and EVENTS in shapes:
        yield _Task(shapes[EVENTS].table, "created", keep.events)
    for shape in shapes.values():
        if keep.history is not None and shape.history is not None:
            yield _Task(shape.history, "_valid_to", keep.history)
        if keep.deleted is not None:
            yield _Task(shape.table, "_deleted_at", keep.deleted, buried=True)
    if keep.runs is not None:
        yield _Task(report.RUNS, "finished_at", keep.runs)


def _digest(tasks: list[_Task]) -> str:
    """What is asked for, so that pulls into one warehouse don't take each other's day."""
    told = sorted(f"{task.table.name} {task.column} {task.age.days}" for task in tasks)
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def _remove(warehouse: base.Warehouse, fence: base.Fence | None, task: _Task, now: dt.datetime) -> int:
    """Remove the old rows of one table, batch by batch."""
    table = task.table
    there = {name.lower() for name in warehouse.columns(table.name)}
    if not {task.column, *table.key} <= there:
        return 0  # no such table yet, or one that was pulled without the column
    names = [*table.key, *((table.version, "_deleted_at") if task.buried else ())]
    chosen = ", ".join(base.quoted(name) for name in names)
    name = f"{base.quoted(warehouse.schema)}.{base.quoted(table.name)}"
    sql = f"select {chosen} from {name} where {base.quoted(task.column)} < ? limit {BATCH}"
    removed = 0
    before: pa.Table | None = None
    while True:
        rows = _rows(warehouse, sql, now - task.age, table, names)
        if not rows.num_rows:
            return removed
        if before is not None and rows.equals(before):
            raise errors.WarehouseError(
                f"{warehouse.schema}.{table.name} still has the rows that were removed for their age; look whether "
                "somebody else writes the table."
            )
        if task.buried:
            marks = rows.append_column(
                pa.field("_synced_at", _TIME), pa.repeat(pa.scalar(now, _TIME), rows.num_rows)
            )
            load = base.Load(table, marks, "mark", hard=True)
        else:
            load = base.Load(table, rows, "drop")
        warehouse.load([load], {}, fence)
        removed += rows.num_rows
        before = rows


_TIME = pa.timestamp("us", "UTC")


def _rows(
    warehouse: base.Warehouse, sql: str, than: dt.datetime, table: base.Table, names: list[str]
) -> pa.Table:
    """Keys of rows, typed as the table has them."""
    schema = pa.schema([table.schema.field(name) for name in names])
    batches = []
    for batch in warehouse.read(sql, [than]):
        columns = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
        batches.append(pa.RecordBatch.from_arrays(columns, schema=schema))
    return pa.Table.from_batches(batches, schema)
