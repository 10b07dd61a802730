"""The merge into a DuckDB table: rows that pass the gate replace the stored ones.

The table has no primary key: deleting the stored rows by row id and inserting the new ones costs an eighth of
MERGE when the rows lie scattered (10,000 into 10 million: 1.2 CPU-seconds against 8.9). Everything here runs
inside the caller's transaction, after `ddl.evolve`.
"""

from __future__ import annotations

import contextlib

import pyarrow as pa
import pyarrow.compute as pc

from tidegate.warehouse import base, gate, staging

CARRIED = "_tidegate_carried"


def merge(place: staging.Place, staged: staging.Staged) -> base.Loaded:
    """Insert rows, or replace the stored ones; `keep` lets columns that the rows lack stay."""
    table, read = staged.load.table, staged.rows.num_rows
    if not read:
        return base.Loaded(table.name, 0, 0, 0, 0)
    passed = gate.passed(place, staged)
    updated = len(pc.unique(passed.stored["row"]))
    others = kept(place, staged, passed.stored)
    place.delete(table.name, passed.stored["id"])
    place.delete(base.TOMBSTONES, passed.buried["id"])
    if passed.rows.num_rows:
        _insert(place, staged, passed.rows, others)
    fresh = passed.rows.num_rows
    return base.Loaded(table.name, read, fresh - updated, updated, read - fresh)


def _insert(place: staging.Place, staged: staging.Staged, rows: pa.Table, kept: pa.Table) -> None:
    types = place.types(staged.load.table)
    carried = [column for column in kept.column_names if column != staging.ROW]
    columns = [base.quoted(column) for column in (*staged.types, *carried)]
    values = [staged.value(column, types) for column in staged.types]
    values += [f"k.{base.quoted(column)}" for column in carried]
    source = staging.STAGE
    with contextlib.ExitStack() as shown:
        shown.enter_context(place.shown(staging.STAGE, rows))
        if carried:
            shown.enter_context(place.shown(CARRIED, kept))
            source += f" LEFT JOIN {CARRIED} AS k ON k.{staging.ROW} = {staging.STAGE}.{staging.ROW}"
        place.session.connection.execute(
            f"INSERT INTO {place.name(staged.load.table.name)} ({', '.join(columns)}) "
            f"SELECT {', '.join(values)} FROM {source}"
        )


def carried(place: staging.Place, staged: staging.Staged) -> list[str]:
    """The columns that stay as they are.

    `_deleted_at` never stays: rows that say nothing of it are live.
    """
    if staged.load.mode != "keep":
        return []
    given = {column.lower() for column in staged.types} | {"_deleted_at"}
    return [column for column in place.there[staged.load.table.name.lower()] if column.lower() not in given]


def kept(place: staging.Place, staged: staging.Staged, stored: pa.Table) -> pa.Table:
    """The values of the columns that stay, by row of the load; with no such column, and for no row, nothing."""
    columns = carried(place, staged)
    if not columns or not stored.num_rows:
        return pa.table({staging.ROW: pa.array([], pa.int64())})
    # Of rows that somebody doubled, one.
    ids = stored.group_by("row").aggregate([("id", "max")])
    names = ", ".join(f"t.{base.quoted(column)}" for column in columns)
    with place.shown(CARRIED, ids):
        return place.query(
            f"SELECT h.row AS {staging.ROW}, {names} FROM {place.name(staged.load.table.name)} AS t "
            f"JOIN {CARRIED} AS h ON t.rowid = h.id_max"
        )
