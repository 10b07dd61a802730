"""Loads of a small table with everything that the gate looks at, and what a warehouse then holds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import pyarrow as pa

from tidegate.warehouse import base

TIME = pa.timestamp("us", "UTC")
SYNCED = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)

ITEMS = base.Table(
    "items",
    pa.schema(
        [
            pa.field("_account_id", pa.string()),
            pa.field("_parent_id", pa.string()),
            pa.field("id", pa.string()),
            pa.field("name", pa.string()),
            pa.field("notes", pa.string(), metadata=base.JSON),
            pa.field("_version", pa.int64()),
            pa.field("_synced_at", TIME),
            pa.field("_deleted_at", TIME),
        ]
    ),
)
HISTORY = base.Table(
    "items_history",
    pa.schema(
        [
            pa.field("_account_id", pa.string()),
            pa.field("id", pa.string()),
            pa.field("name", pa.string()),
            pa.field("_version", pa.int64()),
            pa.field("_valid_from", TIME),
            pa.field("_valid_to", TIME),
            pa.field("_row_hash", pa.string()),
        ]
    ),
    key=("_account_id", "id", "_valid_from"),
    version="",
)

Row = dict[str, object]


def at(second: int) -> dt.datetime:
    """The moment of a version."""
    return dt.datetime.fromtimestamp(second, dt.UTC)


def row(id: str, version: int | None, name: str | None = None, **values: object) -> Row:
    """A live row of ITEMS; `_parent_id` is "p" unless it is given."""
    return {
        "_account_id": "acct_1",
        "_parent_id": "p",
        "id": id,
        "name": name,
        "_version": version,
        "_synced_at": SYNCED,
        **values,
    }


def dead(id: str, version: int, deleted: int | None = None, **values: object) -> Row:
    """A row that is deleted, since its version unless `deleted` says when."""
    return row(id, version, None, _deleted_at=at(version if deleted is None else deleted), **values)


def left(id: str, version: int) -> Row:
    """A row that does not belong into the table any more, without being deleted."""
    return row(id, version, _deleted_at=None)


def load(
    *rows: Row, mode: base.Mode = "replace", strict: bool = False, lacks: Iterable[str] = ()
) -> base.Load:
    """Whole rows; `lacks` are columns that they do not have."""
    table = pa.Table.from_pylist(list(rows), schema=ITEMS.schema)
    return base.Load(ITEMS, table.drop_columns(list(lacks)), mode, strict)


def mark(
    *rows: Row, hard: bool = False, strict: bool = False, history: base.Table | None = None
) -> base.Load:
    """Deletions."""
    table = pa.Table.from_pylist(list(rows), schema=ITEMS.schema)
    slim = table.select(["_account_id", "id", "_version", "_synced_at", "_deleted_at"])
    return base.Load(ITEMS, slim, "mark", strict, hard, history)


def sweep(
    parent: str,
    version: int,
    *ids: str,
    account: str = "acct_1",
    hard: bool = False,
    history: base.Table | None = None,
) -> base.Load:
    """All children that a parent has."""
    rows = [dead(id, version, _parent_id=parent, _account_id=account) for id in ids or [""]]
    table = pa.Table.from_pylist([each | {"id": each["id"] or None} for each in rows], schema=ITEMS.schema)
    slim = table.select(["_account_id", "_parent_id", "id", "_version", "_synced_at", "_deleted_at"])
    return base.Load(ITEMS, slim, "sweep", hard=hard, history=history)


def drop(*ids: str) -> base.Load:
    """Rows to be forgotten."""
    return base.Load(ITEMS, pa.table({"_account_id": ["acct_1"] * len(ids), "id": list(ids)}), "drop")


def versions(*given: tuple[str, int, str], strict: bool = False, seen: int | None = None) -> base.Load:
    """Versions for HISTORY: id, since when, and what the row was."""
    rows = [
        {
            "_account_id": "acct_1",
            "id": id,
            "name": name,
            "_version": second if seen is None else seen,
            "_valid_from": at(second),
            "_row_hash": f"hash of {name}",
        }
        for id, second, name in given
    ]
    return base.Load(HISTORY, pa.Table.from_pylist(rows, schema=HISTORY.schema), "history", strict)


def found(warehouse: base.Warehouse, sql: str) -> list[tuple[object, ...]]:
    """The rows of a query over the schema `stripe`."""
    return [tuple(each.values()) for batch in warehouse.read(sql) for each in batch.to_pylist()]


def seconds(moment: object) -> int | None:
    """A moment as the version it belongs to."""
    return None if moment is None else int(moment.timestamp())  # type: ignore[attr-defined]  # a datetime


def items(warehouse: base.Warehouse) -> list[tuple[object, ...]]:
    """id, name, version and the second of deletion of every row, by id."""
    sql = "SELECT id, name, _version, _deleted_at FROM stripe.items ORDER BY id, _version"
    return [(id, name, version, seconds(deleted)) for id, name, version, deleted in found(warehouse, sql)]


def graves(warehouse: base.Warehouse, table: str = "items") -> list[tuple[object, ...]]:
    """Key, version and the second of deletion of every buried row of a table."""
    if not warehouse.columns(base.TOMBSTONES):
        return []
    columns = "key, _version, _deleted_at"
    sql = f"SELECT {columns} FROM stripe.{base.TOMBSTONES} WHERE table_name = '{table}' ORDER BY {columns}"
    return [(key, version, seconds(deleted)) for key, version, deleted in found(warehouse, sql)]


def history(warehouse: base.Warehouse) -> list[tuple[object, ...]]:
    """id, name, first and last second of every version, in order."""
    sql = "SELECT id, name, _valid_from, _valid_to FROM stripe.items_history ORDER BY id, _valid_from"
    return [(id, name, seconds(since), seconds(until)) for id, name, since, until in found(warehouse, sql)]
