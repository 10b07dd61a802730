"""Rows that are no more: marked as deleted or removed, their keys buried where nothing else remembers them.

`mark` names the rows, `sweep` names those that a parent still has, `drop` forgets rows altogether. Marked rows are
updated in place: only three small columns are written anew, instead of all the JSON beside them.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tidegate.warehouse import base, gate, history, staging, tombstones

MET = "_tidegate_met"
ID = "_tidegate_id"


def mark(place: staging.Place, staged: staging.Staged) -> base.Loaded:
    """Mark the stored rows of the keys that pass the gate, and bury the others; `hard` removes and buries all."""
    table, read = staged.load.table, staged.rows.num_rows
    if not read:
        return base.Loaded(table.name, 0, 0, 0, 0)
    passed = gate.passed(place, staged)
    updated = _apply(place, staged, passed)
    return base.Loaded(table.name, read, 0, updated, read - passed.rows.num_rows)


def sweep(place: staging.Place, staged: staging.Staged) -> base.Loaded:
    """Delete what the parents of a load do not have any more."""
    table, read = staged.load.table, staged.rows.num_rows
    if not read:
        return base.Loaded(table.name, 0, 0, 0, 0)
    swept = _swept(place, staged)
    rows = swept.select([*staged.types, staging.ROW])
    stored = pa.table(
        {
            "row": rows[staging.ROW],
            "id": swept[ID],
            "stale": pa.repeat(False, rows.num_rows),
            "same": pa.repeat(False, rows.num_rows),
            "deleted_at": pa.nulls(rows.num_rows, gate.MET.field("deleted_at").type),
        },
        schema=gate.MET,
    )
    types = place.types(table)
    found = staging.Staged(staged.load, {column: types[column.lower()] for column in staged.types}, rows)
    updated = _apply(place, found, gate.Passed(rows, stored, gate.MET.empty_table()))
    return base.Loaded(table.name, read, 0, updated, 0)


def drop(place: staging.Place, staged: staging.Staged) -> base.Loaded:
    """Remove rows by their keys, whatever their version; graves stay as they are."""
    table, read = staged.load.table, staged.rows.num_rows
    if not read:
        return base.Loaded(table.name, 0, 0, 0, 0)
    types = place.types(table)
    given = ", ".join(f"{staged.value(column, types)} AS {base.quoted(column)}" for column in table.key)
    same = " AND ".join(f"t.{base.quoted(column)} = s.{base.quoted(column)}" for column in table.key)
    live = "t._deleted_at IS NULL" if "_deleted_at" in types else "true"
    with place.shown(staging.STAGE, staged.rows):
        found = place.query(
            f"SELECT DISTINCT t.rowid AS id, {live} AS live FROM {place.name(table.name)} AS t "
            f"JOIN (SELECT {given} FROM {staging.STAGE}) AS s ON {same}"
        )
    place.delete(table.name, found["id"])
    return base.Loaded(table.name, read, 0, found.filter(found["live"]).num_rows, 0)


def _swept(place: staging.Place, staged: staging.Staged) -> pa.Table:
    """The live rows that the sweeps of a load do not name, with their sweep's time; ID is their row id.

    A parent may be swept more than once; the newest sweep that a row falls to is the one that counts.
    """
    table = staged.load.table
    types = place.types(table)
    version = base.quoted(table.version)
    given = ", ".join(f"{staged.value(column, types)} AS {base.quoted(column)}" for column in staged.types)
    scope = ["_account_id", "_parent_id", table.version]
    own = [base.quoted(column) for column in staged.types]
    told = [base.quoted(c) for c in staged.types if c in (*scope, "_deleted_at", "_synced_at")]
    columns = ", ".join(f"s.{column}" if column in told else f"t.{column}" for column in own)
    same = " AND ".join(
        f"n.{base.quoted(column)} = t.{base.quoted(column)}"
        for column in dict.fromkeys([*table.key, "_account_id", "_parent_id"])
    )
    with place.shown(staging.STAGE, staged.rows):
        return place.query(
            f"WITH named AS MATERIALIZED (SELECT {given} FROM {staging.STAGE}), "
            f"sweeps AS (SELECT _account_id, _parent_id, {version}, min(_deleted_at) AS _deleted_at, "
            f"max(_synced_at) AS _synced_at FROM named GROUP BY ALL), "
            f"swept AS (SELECT t.rowid AS {ID}, {columns} FROM {place.name(table.name)} AS t "
            f"JOIN sweeps AS s ON t._account_id = s._account_id AND t._parent_id = s._parent_id "
            f"AND t._deleted_at IS NULL AND (t.{version} IS NULL OR t.{version} < s.{version}) "
            f"WHERE NOT EXISTS (SELECT 1 FROM named AS n WHERE {same} AND n.{version} = s.{version})) "
            f"SELECT *, row_number() OVER () AS {staging.ROW} FROM swept "
            f"QUALIFY row_number() OVER (PARTITION BY {ID} ORDER BY {version} DESC) = 1"
        )


def _apply(place: staging.Place, staged: staging.Staged, passed: gate.Passed) -> int:
    """Delete what passed, in the table and in its history; says how many live rows that were."""
    stored, load = passed.stored, staged.load
    alive = pc.unique(stored.filter(pc.is_null(stored["deleted_at"]))["row"])
    if load.hard:
        place.delete(load.table.name, stored["id"])
        _bury(place, staged, passed, passed.rows)
    else:
        _mark(place, staged, stored, passed.rows)
        known = pc.is_in(passed.rows[staging.ROW], value_set=stored["row"])
        _bury(place, staged, passed, passed.rows.filter(pc.invert(known)))
    if load.history is not None:
        # Also of rows that are known to be gone: a version may begin after the deletion that was seen first.
        history.end(place, staged, load.history, passed.rows)
    return len(alive)


def _mark(place: staging.Place, staged: staging.Staged, stored: pa.Table, rows: pa.Table) -> None:
    """Give stored rows a version and a `_deleted_at`, which only ever becomes earlier."""
    # What is deleted in the same version already stays untouched.
    stored = stored.filter(pc.or_(pc.is_null(stored["deleted_at"]), pc.invert(stored["same"])))
    if not stored.num_rows:
        return
    types = place.types(staged.load.table)
    version = staged.load.table.version
    given = ", ".join(
        f"{staged.value(column, types)} AS {base.quoted(column)}"
        for column in (version, "_deleted_at", "_synced_at")
    )
    with place.shown(staging.STAGE, rows), place.shown(MET, stored):
        place.session.connection.execute(
            f"UPDATE {place.name(staged.load.table.name)} AS t "
            f"SET {base.quoted(version)} = s.{base.quoted(version)}, "
            "_deleted_at = least(s._deleted_at, t._deleted_at), _synced_at = s._synced_at "
            f"FROM (SELECT m.id, {given} FROM {MET} AS m JOIN {staging.STAGE} ON m.row = {staging.ROW}) AS s "
            f"WHERE t.rowid = s.id"
        )


def _bury(place: staging.Place, staged: staging.Staged, passed: gate.Passed, rows: pa.Table) -> None:
    """Bury the keys of rows; their older graves go, and the earliest time of a deletion stays."""
    if not rows.num_rows:
        return
    types = place.types(staged.load.table)
    key = tombstones.key(_values(staged, types, staged.load.table.key))
    version, deleted, synced = _values(
        staged, types, (staged.load.table.version, "_deleted_at", "_synced_at")
    )
    met = pa.concat_tables([passed.stored, passed.buried]).select(["row", "deleted_at"])
    with place.shown(staging.STAGE, rows), place.shown(MET, met):
        graves = place.query(
            f"SELECT {key} AS key, {version} AS version, "
            f"CASE WHEN _deleted_at IS NOT NULL THEN least({deleted}, m._since) END AS deleted_at, "
            f"{synced} AS synced_at FROM {staging.STAGE} LEFT JOIN "
            f"(SELECT row AS _row, min(deleted_at) AS _since FROM {MET} GROUP BY row) AS m ON _row = {staging.ROW}"
        )
    place.delete(base.TOMBSTONES, passed.buried["id"])
    tombstones.bury(place, staged.load.table, graves.cast(tombstones.GRAVES))


def _values(staged: staging.Staged, types: dict[str, str], columns: Sequence[str]) -> list[str]:
    return [staged.value(column, types) for column in columns]
