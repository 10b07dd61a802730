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
    carried, kept = _carried(place, staged, passed.stored)
    place.delete(table.name, passed.stored["id"])
    place.delete(base.TOMBSTONES, passed.buried["id"])
    if passed.rows.num_rows:
        _insert(place, staged, passed.rows, carried, kept)
    fresh = passed.rows.num_rows
    return base.Loaded(table.name, read, fresh - updated, updated, read - fresh)


def _insert(
    place: staging.Place, staged: staging.Staged, rows: pa.Table, carried: list[str], kept: pa.Table
) -> None:
    types = place.types(staged.load.table)
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


def _carried(place: staging.Place, staged: staging.Staged, stored: pa.Table) -> tuple[list[str], pa.Table]:
    """The columns that stay, and their values by row of the load.

    `_deleted_at` never stays: rows that say nothing of it are live.
    """
    table = staged.load.table
    given = {column.lower() for column in staged.types} | {"_deleted_at"}
    columns = [column for column in place.there[table.name.lower()] if column.lower() not in given]
    if staged.load.mode != "keep" or not columns or not stored.num_rows:
        return [], stored.select(["row"])
    # Of rows that somebody doubled, one.
    ids = stored.group_by("row").aggregate([("id", "max")])
    names = ", ".join(f"t.{base.quoted(column)}" for column in columns)
    with place.shown(CARRIED, ids):
        kept = place.query(
            f"SELECT h.row AS {staging.ROW}, {names} FROM {place.name(table.name)} AS t "
            f"JOIN {CARRIED} AS h ON t.rowid = h.id_max"
        )
    return columns, kept
