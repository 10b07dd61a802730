"""Rows on their way into DuckDB: checked for what their load's mode needs, and readable without a copy.

`Place` is one schema of the open file while a transaction runs, with what is known of its tables.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from tidegate import errors
from tidegate.warehouse import base, ddl, duckdb_file

ROW = "_tidegate_row"
"""The column that numbers the rows of a load, in their order."""

FEW = 200
"""Row ids that are told as they are: to show them as a table takes longer."""
STAGE = "_tidegate_stage"
DOOMED = "_tidegate_doomed"

NEEDED: dict[base.Mode, tuple[str, ...]] = {
    "replace": (),
    "keep": (),
    "mark": ("_deleted_at", "_synced_at"),
    "sweep": ("_account_id", "_parent_id", "_deleted_at", "_synced_at"),
    "history": ("_valid_from", "_row_hash"),
    "drop": (),
}
"""What a mode reads of its rows, besides the key and the version."""


@dataclass(frozen=True, slots=True)
class Place:
    """A schema of the open file: its tables with their columns, by name in lower case; which have burials."""

    session: duckdb_file.Session
    schema: str
    there: dict[str, ddl.Columns]
    buried: set[str]

    def name(self, table: str) -> str:
        """A table as SQL names it."""
        return ".".join(base.quoted(part) for part in (self.session.database, self.schema, table))

    def types(self, table: base.Table) -> dict[str, str]:
        """The types of a table's columns, by name in lower case."""
        return {column.lower(): kind for column, kind in self.there[table.name.lower()].items()}

    @contextlib.contextmanager
    def shown(self, name: str, rows: pa.Table) -> Iterator[None]:
        """Let SQL see an Arrow table under a name while the block runs."""
        self.session.connection.register(name, rows)
        try:
            yield
        except BaseException:
            # In a transaction that failed this fails too, which must not hide why.
            with contextlib.suppress(duckdb.Error):
                self.session.connection.unregister(name)
            raise
        self.session.connection.unregister(name)

    def query(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> pa.Table:
        """The rows of a query."""
        # Not by `execute`, whose result the connection would keep, and with it the lock on the file.
        relation = self.session.connection.sql(sql, params=parameters or None)
        assert relation is not None, "A query has rows."
        return relation.to_arrow_table()

    def delete(self, table: str, ids: pa.ChunkedArray) -> None:
        """Remove rows by their row ids."""
        if not len(ids):
            return
        self.session.room(len(pc.unique(pc.divide(ids, duckdb_file.ROW_GROUP))))
        if len(ids) <= FEW:
            told = ", ".join(map(str, ids.to_pylist()))
            self.session.connection.execute(f"DELETE FROM {self.name(table)} WHERE rowid IN ({told})")
            return
        with self.shown(DOOMED, pa.table({"id": ids})):
            self.session.connection.execute(
                f"DELETE FROM {self.name(table)} WHERE rowid IN (SELECT id FROM {DOOMED})"
            )


@dataclass(frozen=True, slots=True)
class Staged:
    """Rows that may be loaded: key complete, column types known, JSON marked as such."""

    load: base.Load
    types: ddl.Columns
    rows: pa.Table

    def value(self, column: str, types: dict[str, str]) -> str:
        """SQL for a column of the rows in the table's type."""
        return ddl.convert(
            base.quoted(column),
            self.types[column],
            types[column.lower()],
            checked=_declared(self.load.table, column),
        )


RESERVED = (base.STATE, base.TOMBSTONES)
"""Tables that Tidegate keeps for itself."""


def check_name(table: base.Table) -> None:
    """Raises ConfigError for a name that no table may have."""
    if table.name.lower() in RESERVED or not table.name:
        raise errors.ConfigError(
            f"A table cannot have the name {table.name!r}, which Tidegate keeps for itself; choose another."
        )


def checked(loads: Sequence[base.Load], state: Mapping[str, str | None]) -> list[Staged]:
    """Everything of a call of `load`, checked; raises ConfigError and WarehouseError."""
    for key in state:
        if key.startswith(base.FENCE):
            raise errors.WarehouseError(f"State keys under {base.FENCE} belong to claim(); {key} is refused.")
    for load in loads:
        check_name(load.table)
        if load.history is not None:
            check_name(load.history)
    return [stage(load) for load in loads]


def stage(load: base.Load) -> Staged:
    """Check a load and make its rows readable to DuckDB without a copy; raises WarehouseError."""
    table, rows = load.table, load.rows
    if not table.key:
        raise errors.WarehouseError(
            f"Table {table.name} has no key, so its rows cannot be merged; name its key columns."
        )
    for column in needed(load):
        if rows.schema.get_field_index(column) < 0:
            raise errors.WarehouseError(
                f"Rows for table {table.name} came without the column {column}, which says which row is which; "
                "nothing was written."
            )
    for column in _complete(load):
        nulls = rows.column(column).null_count
        if nulls:
            raise errors.WarehouseError(
                f"{nulls} of {rows.num_rows} rows for table {table.name} have no {column}, which is part of its "
                "key; nothing was written."
            )
    _check_mode(load)
    if load.mode in ("mark", "sweep", "drop"):
        rows = rows.select(needed(load))
    types = {field.name: ddl.sql_type(field) for field in rows.schema}
    arrays = [_readable(field, rows.column(i)) for i, field in enumerate(rows.schema)]
    names = [*rows.schema.names, ROW]
    return Staged(load, types, pa.table([*arrays, pa.arange(0, rows.num_rows)], names=names))


def needed(load: base.Load) -> list[str]:
    """The columns that decide what becomes of a row."""
    table = load.table
    version = [table.version] if table.version and load.mode not in ("history", "drop") else []
    return list(dict.fromkeys([*table.key, *version, *NEEDED[load.mode]]))


def _complete(load: base.Load) -> list[str]:
    """The columns in which every row must have a value."""
    if load.mode != "sweep":
        return list(load.table.key)
    return list(dict.fromkeys([*load.table.key[:-1], "_account_id", "_parent_id"]))


def _check_mode(load: base.Load) -> None:
    """Refuse deletions that the gate could not tell from others, and histories without a time."""
    table = load.table
    if load.mode == "history" and table.key[-1] != "_valid_from":
        raise errors.WarehouseError(
            f"Table {table.name} is no history: its key ends with {table.key[-1]} instead of _valid_from."
        )
    if load.mode not in ("mark", "sweep"):
        return
    version = table.version and load.rows.schema.field(table.version).type
    if not table.version or not pa.types.is_integer(version):
        raise errors.WarehouseError(
            f"Table {table.name} has no version in whole seconds, without which a deletion cannot be told from an "
            "older row; nothing was written."
        )
    required = [table.version] if load.hard else [table.version, "_deleted_at"]
    for column in required:
        if load.rows.column(column).null_count:
            raise errors.WarehouseError(
                f"Deletions for table {table.name} came without a {column}; nothing was written."
            )


def _declared(table: base.Table, column: str) -> bool:
    index = table.schema.get_field_index(column)
    return index >= 0 and ddl.is_json(table.schema.field(index))


def _readable(field: pa.Field, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """JSON text as Arrow's JSON type: DuckDB then takes it as it is, instead of parsing every value again."""
    if not ddl.is_json(field):
        return column
    kind = pa.json_(field.type)
    chunks = [pa.ExtensionArray.from_storage(kind, _paired(chunk)) for chunk in column.chunks]
    return pa.chunked_array(chunks, type=kind)


_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}|.)",
    re.DOTALL,
)


def _paired(chunk: pa.Array) -> pa.Array:
    """JSON whose half surrogates became U+FFFD: valid JSON may have them, every query of DuckDB fails on one."""
    _, offsets, data = chunk.buffers()
    if offsets is None or data is None:
        return chunk
    ends = memoryview(offsets).cast("q" if pa.types.is_large_string(chunk.type) else "i")
    start, end = ends[chunk.offset], ends[chunk.offset + len(chunk)]
    text = data.slice(start, end - start).to_pybytes()
    # Looking for one character takes a tenth of looking for three.
    if b"\\" not in text or (b"\\ud" not in text and b"\\uD" not in text):
        return chunk
    return pa.array([v if v is None else _ESCAPE.sub(_whole, v) for v in chunk.to_pylist()], chunk.type)


def _whole(escape: re.Match[str]) -> str:
    found = escape.group()
    return "\\ufffd" if len(found) == 6 and found[2] in "dD" else found
