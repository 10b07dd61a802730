"""The version gate: which rows of a load may change the table, by what is stored and what is buried.

An older row never passes. Of equal versions a deletion beats a live row; else the later one wins, unless the load
is strict. A row that left its table without being deleted counts as a live row of its version.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tidegate.warehouse import base, staging, tombstones

MET = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.int64()),
        ("stale", pa.bool_()),
        ("same", pa.bool_()),
        ("deleted_at", pa.timestamp("us", "UTC")),
    ]
)
"""What rows of a load meet: `row` (of the load), `id` (the row id of what is stored or buried), whether the row is
`stale` or of the `same` version, and since when what it meets is deleted."""


@dataclass(frozen=True, slots=True)
class Passed:
    """The rows that pass, and what they meet in the table and among the graves, as MET."""

    rows: pa.Table
    stored: pa.Table
    buried: pa.Table


def passed(place: staging.Place, staged: staging.Staged) -> Passed:
    """Hold the rows of a load against each other, the table and the graves."""
    rows = _newest(place, staged)
    table = staged.load.table
    name = place.name(table.name)
    stored = buried = MET.empty_table()
    if place.session.connection.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchall():
        stored = _stored(place, staged, rows)
    if may_be_buried(place, table):
        buried = _buried(place, staged, rows)
    stale = pa.chunked_array([*_stale(stored).chunks, *_stale(buried).chunks], pa.int64())
    if len(stale):
        rows = _without(rows, staging.ROW, stale)
        stored, buried = _without(stored, "row", stale), _without(buried, "row", stale)
    return Passed(rows, stored, buried)


def _newest(place: staging.Place, staged: staging.Staged) -> pa.Table:
    """Of the rows that share a key, the newest version; of equal versions a tombstone, else the later row."""
    table, rows = staged.load.table, staged.rows
    distinct = rows.select(table.key).group_by(list(table.key), use_threads=False).aggregate([])
    if distinct.num_rows == rows.num_rows:
        return rows
    keys = ", ".join(base.quoted(column) for column in table.key)
    order = [f"{base.quoted(table.version)} DESC NULLS LAST"] if table.version else []
    if table.version and "_deleted_at" in staged.types:
        order.append("_deleted_at IS NULL")
    order.append(f"{staging.ROW} DESC")
    with place.shown(staging.STAGE, rows.select([*_deciding(staged), staging.ROW])):
        winners = place.query(
            f"SELECT {staging.ROW} FROM {staging.STAGE} "
            f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {', '.join(order)}) = 1"
        )
    return rows.filter(pc.is_in(rows[staging.ROW], value_set=winners[staging.ROW].combine_chunks()))


def _stored(place: staging.Place, staged: staging.Staged, rows: pa.Table) -> pa.Table:
    """The stored rows that share a key with a row of the load."""
    table = staged.load.table
    types = place.types(table)
    given = ", ".join(f"{staged.value(c, types)} AS {base.quoted(c)}" for c in _deciding(staged))
    same = " AND ".join(f"t.{base.quoted(column)} = s.{base.quoted(column)}" for column in table.key)
    marked = "_deleted_at" in types
    since = "CAST(t._deleted_at AS TIMESTAMPTZ)" if marked else "NULL::TIMESTAMPTZ"
    verdict = _verdict(staged, "t._deleted_at IS NOT NULL" if marked else "false")
    with place.shown(staging.STAGE, rows.select([*_deciding(staged), staging.ROW])):
        return place.query(
            f"SELECT s.{staging.ROW} AS row, t.rowid AS id, {verdict}, {since} AS deleted_at "
            f"FROM {place.name(table.name)} AS t "
            f"JOIN (SELECT {given}, {staging.ROW} FROM {staging.STAGE}) AS s ON {same}"
        ).cast(MET)


def _buried(place: staging.Place, staged: staging.Staged, rows: pa.Table) -> pa.Table:
    """The graves of the keys of a load."""
    table = staged.load.table
    types = place.types(table)
    key = tombstones.key(staged.value(column, types) for column in table.key)
    version = base.quoted(table.version)
    deleted = staged.value("_deleted_at", types) if "_deleted_at" in staged.types else "NULL::TIMESTAMPTZ"
    given = f"{staged.value(table.version, types)} AS {version}, {deleted} AS _deleted_at, {staging.ROW}"
    verdict = _verdict(staged, "t._deleted_at IS NOT NULL")
    with place.shown(staging.STAGE, rows.select([*_deciding(staged), staging.ROW])):
        return place.query(
            f"SELECT s.{staging.ROW} AS row, t.id AS id, {verdict}, t._deleted_at AS deleted_at "
            f"FROM (SELECT rowid AS id, key, _version AS {version}, _deleted_at "
            f"FROM {place.name(base.TOMBSTONES)} WHERE table_name = ?) AS t "
            f"JOIN (SELECT {key} AS key, {given} FROM {staging.STAGE}) AS s ON t.key = s.key",
            [table.name.lower()],
        ).cast(MET)


def _verdict(staged: staging.Staged, dead: str) -> str:
    """SQL for `stale` and `same`, where `t` is what a row `s` meets; `dead` tells whether that is deleted."""
    if not staged.load.table.version:
        return "false AS stale, false AS same"
    version = base.quoted(staged.load.table.version)
    older = f"(t.{version} IS NOT NULL AND (s.{version} IS NULL OR s.{version} < t.{version}))"
    same = f"s.{version} IS NOT DISTINCT FROM t.{version}"
    live = "s._deleted_at IS NULL" if "_deleted_at" in staged.types else "true"
    loses = f"({live} OR {dead})" if staged.load.strict else f"({live} AND {dead})"
    return f"{older} OR ({same} AND {loses}) AS stale, {same} AS same"


def may_be_buried(place: staging.Place, table: base.Table) -> bool:
    """A grave's version is a whole number, so tables with other versions have none."""
    if table.name.lower() not in place.buried or not table.version:
        return False
    return place.types(table)[table.version.lower()] == "BIGINT"


def _deciding(staged: staging.Staged) -> list[str]:
    table = staged.load.table
    deleted = ["_deleted_at"] if "_deleted_at" in staged.types else []
    return list(dict.fromkeys([*table.key, *([table.version] if table.version else []), *deleted]))


def _stale(met: pa.Table) -> pa.ChunkedArray:
    return met.filter(met["stale"])["row"]


def _without(rows: pa.Table, column: str, numbers: pa.ChunkedArray) -> pa.Table:
    return rows.filter(pc.invert(pc.is_in(rows[column], value_set=numbers)))
