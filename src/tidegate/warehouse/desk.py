"""Loads decided beside the warehouse, so that every warehouse decides alike.

The rows that a load meets are read from the warehouse and laid on a DuckDB in memory. There the load is applied by
the very code that applies it to a DuckDB file, and what differs afterwards is what the warehouse has to change:
keys that go, whole rows that come. A load that only replaces rows takes a shorter way: of what it meets just the
versions are read, and its rows never leave Arrow.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from tidegate import temporary
from tidegate.warehouse import base, ddl, duckdb_file, gate, lookup, merge, modes, staging, tombstones

BEFORE = "_tidegate_before"
SIDE = "_tidegate_side"
SCHEMA = "main"
MEMORY = 512 * 1024 * 1024
"""Bytes that decisions may take; more goes to disk."""

GRAVES = ("table_name", "key")
"""The key of `_tidegate_tombstones`; of a history's, several rows may have it."""


_numbers = itertools.count(1)


class Reader(Protocol):
    """The warehouse, as far as decisions need it."""

    def stored(self, table: str, columns: Sequence[str], by: pa.Table) -> pa.Table:
        """The rows whose values in the columns of `by` are those of one of its rows, none of which are NULL.

        In the types of `ddl.ARROW`, JSON as text; each row once, in no order.
        """
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one table: all rows under the keys `gone` go, `rows` come; in one step, where there is one.

    Columns that `rows` lack become NULL. `rows` are in the types of `ddl.ARROW`, JSON as text.
    """

    table: str
    gone: pa.Table
    rows: pa.Table


def decided(
    staged: Sequence[staging.Staged],
    there: dict[str, ddl.Columns],
    buried: set[str],
    reader: Reader,
) -> tuple[list[base.Loaded], list[Change]]:
    """What a call of `load` comes to: a result for each load, and at most one change for each table.

    `there` are the tables as they are once they can take the loads, in DuckDB's types; `buried` are the names of
    those that have graves.
    """
    named = {name for one in staged for name in _tables(one)}
    with _opened(there, buried) as desk:
        apart = {name for name in named if _are_apart(desk, [one for one in staged if name in _tables(one)])}
        done = {
            number: _replaced(desk, one, reader)
            for number, one in enumerate(staged)
            if apart.issuperset(_tables(one))
        }
        changes = _joined([change for _, change in done.values() if change is not None])
        longer = {number: one for number, one in enumerate(staged) if number not in done}
        if longer:
            _lay(desk, list(longer.values()), reader)
            done |= {number: (modes.apply(desk, one), None) for number, one in longer.items()}
            keys = {_lower(table): table.key for one in longer.values() for table in _both(one)}
            changes += [change for name, key in keys.items() for change in _changed(desk, name, key)]
        if longer or not buried.isdisjoint(named):  # else no grave was laid, and none goes
            changes += _changed(desk, base.TOMBSTONES, GRAVES)
        return [done[number][0] for number in range(len(staged))], changes


def found(
    wanted: Sequence[base.Wanted], there: dict[str, ddl.Columns], buried: set[str], reader: Reader
) -> list[pa.Table]:
    """What is stored or buried under keys of some tables; see `Warehouse.find_all`."""
    with _opened(there, buried) as desk:
        return [_found(desk, each, reader) for each in wanted]


def _found(desk: _Desk, wanted: base.Wanted, reader: Reader) -> pa.Table:
    table, name = wanted.table, _lower(wanted.table)
    if name not in desk.there:
        return lookup.nothing(table, wanted.columns)
    lower = {
        column.lower() for column in (*table.key, table.version, "_deleted_at", *wanted.columns) if column
    }
    rows = _typed(desk, wanted.keys.select(list(table.key)), table, table.key)
    chosen = [column for column in desk.there[name] if column.lower() in lower]
    stored = reader.stored(name, chosen, rows)
    if not stored.num_rows and name not in desk.buried:
        return lookup.nothing(table, wanted.columns, desk.types(table))
    _create(desk, name, chosen)
    _insert(desk, name, stored, table.key)
    _exhume(desk, table, rows, table.key, reader)
    return lookup.find(desk, table, wanted.keys, wanted.columns)


class _Desk(staging.Place):
    """A place in memory."""

    def __enter__(self) -> _Desk:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(duckdb.Error):
            self.session.connection.execute(f"DETACH {self.session.database}")
        self.session.connection.close()


@functools.cache
def _duckdb() -> duckdb.DuckDBPyConnection:
    """The DuckDB in which every desk is a database of its own: to open another takes 30 times as long.

    What has no room in memory goes to the system's temporary files, not into whatever folder this runs in.
    """
    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{MEMORY}B",
            "threads": 1,
            "temp_directory": str(temporary.spilling() / uuid.uuid4().hex),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
        },
    )
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    return connection


def _opened(there: dict[str, ddl.Columns], buried: set[str]) -> _Desk:
    connection, database = _duckdb().cursor(), f"desk{next(_numbers)}"
    connection.execute(f"ATTACH ':memory:' AS {database}")
    session = duckdb_file.Session(connection, database, MEMORY)
    desk = _Desk(session, SCHEMA, {name: dict(columns) for name, columns in there.items()}, set(buried))
    _create(desk, base.TOMBSTONES)
    desk.session.connection.execute(
        f"CREATE TABLE {_before(desk, base.TOMBSTONES)} AS FROM {desk.name(base.TOMBSTONES)}"
    )
    return desk


def _lower(table: base.Table) -> str:
    return table.name.lower()


def _both(one: staging.Staged) -> list[base.Table]:
    return [one.load.table] if one.load.history is None else [one.load.table, one.load.history]


def _tables(one: staging.Staged) -> list[str]:
    return [_lower(table) for table in _both(one)]


# The short way


def _are_apart(desk: _Desk, loads: Sequence[staging.Staged]) -> bool:
    """Do loads only replace rows of a table, and each its own ones?"""
    if any(one.load.mode not in ("replace", "keep") or one.load.history is not None for one in loads):
        return False
    if len(loads) == 1:
        return True
    table = loads[0].load.table
    keys = [_typed(desk, one.rows, table, table.key, one) for one in loads if one.rows.num_rows]
    every = _union(keys)
    return every is None or every.num_rows == sum(part.num_rows for part in keys)


def _joined(changes: Sequence[Change]) -> list[Change]:
    """One change for each table."""
    by_table: dict[str, list[Change]] = {}
    for change in changes:
        by_table.setdefault(change.table, []).append(change)
    return [
        Change(
            table,
            pa.concat_tables([part.gone for part in parts]),
            pa.concat_tables([part.rows for part in parts], promote_options="default"),
        )
        for table, parts in by_table.items()
    ]


def _replaced(desk: _Desk, one: staging.Staged, reader: Reader) -> tuple[base.Loaded, Change | None]:
    """A load that replaces rows, whose table is in no other load."""
    table, read = one.load.table, one.rows.num_rows
    if not read:
        return base.Loaded(table.name, 0, 0, 0, 0), None
    name = _lower(table)
    keys = _typed(desk, one.rows, table, table.key, one)
    deciding = [*table.key, *([table.version] if table.version else []), *merge.carried(desk, one)]
    deciding += ["_deleted_at"] if "_deleted_at" in desk.types(table) else []
    spelled = {column.lower(): column for column in desk.there[name]}
    chosen = list(dict.fromkeys(spelled[column.lower()] for column in deciding))
    _create(desk, name, chosen)
    _insert(desk, name, reader.stored(name, chosen, keys), table.key)
    _exhume(desk, table, keys, table.key, reader)
    passed = gate.passed(desk, one)
    updated = len(pc.unique(passed.stored["row"]))
    kept = merge.kept(desk, one, passed.stored)
    with desk.shown(staging.STAGE, passed.stored.select(["id"])):
        names = ", ".join(f"t.{base.quoted(column)}" for column in table.key)
        gone = desk.query(
            f"SELECT DISTINCT {names} FROM {desk.name(name)} AS t JOIN {staging.STAGE} AS s ON t.rowid = s.id"
        )
    desk.delete(base.TOMBSTONES, passed.buried["id"])
    rows = _typed(desk, passed.rows, table, tuple(one.types), one, distinct=False)
    if kept.num_columns > 1:
        met = pc.index_in(passed.rows[staging.ROW], value_set=kept[staging.ROW].combine_chunks())
        rows = _beside(rows, _plain(kept.drop_columns([staging.ROW]).take(met)))
    fresh = rows.num_rows
    return base.Loaded(table.name, read, fresh - updated, updated, read - fresh), Change(name, gone, rows)


def _beside(rows: pa.Table, others: pa.Table) -> pa.Table:
    for column in others.column_names:
        rows = rows.append_column(column, others.column(column))
    return rows


# The long way


def _lay(desk: _Desk, staged: Sequence[staging.Staged], reader: Reader) -> None:
    """Lay all that the loads may meet on the desk."""
    tables = {_lower(one.load.table): one.load.table for one in staged if one.load.mode != "history"}
    histories = {_lower(one.load.table): one.load.table for one in staged if one.load.mode == "history"}
    histories |= {
        _lower(one.load.history): one.load.history for one in staged if one.load.history is not None
    }
    for name, table in tables.items():
        _create(desk, name)
        mine = [one for one in staged if _lower(one.load.table) == name and one.rows.num_rows]
        columns = _columns(desk, table, mine)
        keys = [_typed(desk, one.rows, table, table.key, one) for one in mine]
        parents = [
            _typed(desk, one.rows, table, ("_account_id", "_parent_id"), one)
            for one in mine
            if one.load.mode == "sweep"
        ]
        for by in (_union(keys), _union(parents)):
            if by is not None:
                _insert(desk, name, reader.stored(name, columns, by), table.key)
        swept = [desk.query(f"SELECT DISTINCT {_names(table.key)} FROM {desk.name(name)}")] if parents else []
        by = _union([*keys, *swept])
        if by is not None:
            _exhume(desk, table, by, table.key, reader)
    for name, table in histories.items():
        _create(desk, name)
        prefix = table.key[:-1]
        mine = [one for one in staged if name in _tables(one) and one.rows.num_rows]
        keys = [_typed(desk, one.rows, one.load.table, prefix, one) for one in mine]
        keys += [
            desk.query(f"SELECT DISTINCT {_names(prefix)} FROM {desk.name(one.load.table.name)}")
            for one in mine
            if one.load.mode == "sweep"
        ]
        by = _union(keys)
        if by is not None:
            _insert(desk, name, reader.stored(name, list(desk.there[name]), by), table.key)
            _exhume(desk, table, by, prefix, reader)
    for name in (*tables, *histories):
        desk.session.connection.execute(
            f"CREATE TABLE {_before(desk, name)} AS SELECT * FROM {desk.name(name)}"
        )


def _columns(desk: _Desk, table: base.Table, mine: Sequence[staging.Staged]) -> list[str]:
    """What of the stored rows is needed: all of them where a row may stay with some of its columns changed."""
    if any(
        one.load.mode == "keep" or (one.load.mode in ("mark", "sweep") and not one.load.hard) for one in mine
    ):
        return list(desk.there[_lower(table)])
    few = {*table.key, table.version, "_deleted_at", "_account_id", "_parent_id"}
    return [column for column in desk.there[_lower(table)] if column.lower() in few]


def _union(parts: Sequence[pa.Table]) -> pa.Table | None:
    rows = [part for part in parts if part.num_rows]
    if not rows:
        return None
    every = pa.concat_tables(rows)
    return every if len(rows) == 1 else every.group_by(every.column_names, use_threads=False).aggregate([])


def _exhume(desk: _Desk, table: base.Table, rows: pa.Table, key: Sequence[str], reader: Reader) -> None:
    """Lay the graves of keys on the desk, also among what was there before; each table's only once."""
    if _lower(table) not in desk.buried:
        return
    with desk.shown(staging.STAGE, rows):
        text = tombstones.key(base.quoted(column) for column in key)
        by = desk.query(
            f"SELECT DISTINCT {ddl.literal(_lower(table))} AS table_name, {text} AS key FROM {staging.STAGE}"
        )
    graves = reader.stored(base.TOMBSTONES, list(desk.there[base.TOMBSTONES]), by)
    _insert(desk, base.TOMBSTONES, graves, None)
    with desk.shown(staging.STAGE, graves):
        desk.session.connection.execute(
            f"INSERT INTO {_before(desk, base.TOMBSTONES)} BY NAME FROM {staging.STAGE}"
        )


def _changed(desk: _Desk, name: str, key: Sequence[str]) -> list[Change]:
    """The difference between a table and what was laid."""
    found = desk.query(
        "SELECT count(*) AS n FROM duckdb_tables() WHERE database_name = ? AND table_name = ?",
        [desk.session.database, BEFORE + name],
    )
    if not found["n"][0].as_py():
        return []
    before, after, names = _before(desk, name), desk.name(name), _names(key)
    desk.session.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE _tidegate_changed AS SELECT DISTINCT {names} FROM ("
        f"SELECT * EXCLUDE ({SIDE}), sum({SIDE}) AS {SIDE} FROM (SELECT *, 1 AS {SIDE} FROM {before} "
        f"UNION ALL SELECT *, -1 FROM {after}) GROUP BY ALL) WHERE {SIDE} <> 0"
    )
    gone = desk.query(f"SELECT DISTINCT {names} FROM {before} SEMI JOIN _tidegate_changed USING ({names})")
    rows = desk.query(f"SELECT * FROM {after} SEMI JOIN _tidegate_changed USING ({names})")
    return [Change(name, _plain(gone), _plain(rows))] if gone.num_rows or rows.num_rows else []


# Tables of the desk


def _before(desk: _Desk, name: str) -> str:
    return desk.name(BEFORE + name)


def _names(columns: Sequence[str]) -> str:
    return ", ".join(map(base.quoted, columns))


def _create(desk: _Desk, name: str, chosen: Sequence[str] = ()) -> None:
    """Make a table, of all its columns or some."""
    kinds = desk.there[name]
    columns = ", ".join(f"{base.quoted(column)} {kinds[column]}" for column in chosen or kinds)
    desk.session.connection.execute(f"CREATE OR REPLACE TABLE {desk.name(name)} ({columns})")


def _insert(desk: _Desk, name: str, rows: pa.Table, key: Sequence[str] | None) -> None:
    """Lay rows of the warehouse, but for those under a key that lies there already."""
    if not rows.num_rows:
        return
    types = {column.lower(): kind for column, kind in desk.there[name].items()}
    names = _names(rows.column_names)
    values = ", ".join(
        f"CAST({base.quoted(c)} AS {types[c.lower()]}) AS {base.quoted(c)}" for c in rows.column_names
    )
    fresh = f" ANTI JOIN {desk.name(name)} AS t USING ({_names(key)})" if key is not None else ""
    chosen = f"SELECT {names} FROM (SELECT {values} FROM {staging.STAGE}){fresh}"
    with desk.shown(staging.STAGE, rows):
        desk.session.connection.execute(f"INSERT INTO {desk.name(name)} ({names}) {chosen}")


def _typed(
    desk: _Desk,
    rows: pa.Table,
    table: base.Table,
    columns: Sequence[str],
    one: staging.Staged | None = None,
    *,
    distinct: bool = True,
) -> pa.Table:
    """Columns of rows in the types of their table; `distinct`: each combination once, and none with a NULL."""
    types = desk.types(table)
    kinds = one.types if one is not None else {field.name: ddl.sql_type(field) for field in rows.schema}
    same = [column for column in columns if kinds[column] == types[column.lower()]]
    result = {column: rows.column(column) for column in same}
    if len(same) < len(columns):
        others = [column for column in columns if column not in result]
        values = (
            one.value(c, types)
            if one is not None
            else ddl.convert(base.quoted(c), kinds[c], types[c.lower()])
            for c in others
        )
        told = ", ".join(f"{value} AS {base.quoted(c)}" for value, c in zip(values, others, strict=True))
        with desk.shown(staging.STAGE, rows):
            made = desk.query(f"SELECT {told} FROM {staging.STAGE}")
        result |= {column: made.column(column) for column in others}
    found = _plain(pa.table({column: result[column] for column in columns}))
    if not distinct:
        return found
    found = found.group_by(list(columns), use_threads=False).aggregate([])
    return found.drop_null()


def _plain(rows: pa.Table) -> pa.Table:
    """Rows in the types of `ddl.ARROW`: JSON as text, no dictionaries and views."""
    arrays = []
    for column in rows.columns:
        if isinstance(column.type, pa.BaseExtensionType):
            chunks = [chunk.storage for chunk in column.chunks]
            column = pa.chunked_array(chunks, type=column.type.storage_type)
        if (
            pa.types.is_large_string(column.type)
            or pa.types.is_string_view(column.type)
            or pa.types.is_null(column.type)
        ):
            column = column.cast(pa.string())
        arrays.append(column)
    return pa.table(arrays, names=rows.column_names)
