"""ClickHouse 24 and newer, over HTTP and clickhouse-connect.

ClickHouse has no transactions, but an INSERT of one block is all there or not at all. So a table is made of two
things: a ReplacingMergeTree in the database `<schema>_parts`, into which every change is one INSERT (rows, and
marks in place of rows that go, each numbered higher than any before), and a view of its name in the database
`<schema>`, which reads it with FINAL. Whoever reads the view reads exact rows; nobody has to think of FINAL.

State is written last: a kill between leaves rows that the state does not tell of, which the next load finds and
writes again. A load takes its number from the server's clock before it looks at its fence. So what is still on its
way when a later writer has the tables, be it from one that was shut out or by a request that nobody waits for any
more, counts for less than whatever the later one wrote. The driver may repeat a request whose answer was lost: the
same rows under the same number. No number comes twice, so that a replicated table, which drops blocks that it has
seen, never takes a row that came back for one that is there already. What was replaced or removed stays in old
parts on disk until ClickHouse merges them.

JSON is text: ClickHouse's own JSON type takes objects alone, and has numbers as Int64 or Float64, which loses
digits.

Run against ClickHouse's engine (chdb 26.9) behind an HTTP door of our own; never against a server of several
replicas, nor against ClickHouse Cloud.
"""

from __future__ import annotations

import contextlib
import io
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa
from clickhouse_connect.driver import external

from tidegate import config, errors
from tidegate.adapters import clickhouse_settings, clickhouse_types, clickhouse_wire
from tidegate.warehouse import base, ddl, desk, remote, sql, staging, wire

NUMBER, GONE = "_tidegate_number", "_tidegate_gone"
"""The columns of a table's parts that say which of several rows of a key counts, and whether it is there at all."""

PARTS = "_parts"


class ClickHouse(remote.Remote):
    """A database of a ClickHouse server, with its companions `<schema>_parts` and `<schema>_live`."""

    kind = "clickhouse"
    dialect = sql.Dialect("clickhouse", clickhouse_wire.PARAMETER)
    types: ClassVar = {
        "BOOLEAN": "Nullable(Bool)",
        "BIGINT": "Nullable(Int64)",
        "DOUBLE": "Nullable(Float64)",
        "DECIMAL(38,12)": "Nullable(Decimal(38, 12))",
        "TIMESTAMP WITH TIME ZONE": "Nullable(DateTime64(6, 'UTC'))",
        "JSON": "Nullable(String) COMMENT 'JSON'",
        "VARCHAR": "Nullable(String)",
    }
    alone: ClassVar[bool] = False
    whole: ClassVar[bool] = False

    def __init__(self, address: clickhouse_wire.Address, schema: str, *, wait: float = 60.0) -> None:
        super().__init__(schema, wait=wait)
        self.parts = f"{schema}{PARTS}"
        self._address = address
        self._number: int | None = None
        """The number of the load that is being written."""
        self._connection: clickhouse_wire.Connection | None = None

    def where(self) -> str:
        """The host."""
        return f"ClickHouse on {self._address.host}"

    def reach(self) -> str:
        """Open a connection to the server's port."""
        return wire.reached(self._address.host, self._address.port)

    def connect(self) -> None:
        """Sign in."""
        if self._connection is None:
            self._connection = clickhouse_wire.Connection(self._address)

    def disconnect(self) -> None:
        """Drop the connections."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def interrupt(self) -> None:
        """Cut the connections; the server ends a query whose caller is gone."""
        connection = self._connection
        if connection is not None:
            connection.cut()

    def explain(self, error: Exception) -> errors.TidegateError | None:
        """What an error of the driver means."""
        return clickhouse_wire.explained(error, self._address)

    def execute(self, text: str, parameters: Sequence[object] = ()) -> None:
        """Run a statement."""
        told = clickhouse_wire.typed(text, parameters)
        self._open().client.command(
            told, clickhouse_wire.bound(parameters), settings=clickhouse_settings.CHANGING
        )

    def fetch(
        self, text: str, parameters: Sequence[object] = (), *, stream: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query, as the server sends them."""
        settings = clickhouse_settings.READING
        if stream:
            settings = settings | self._open().allowed(clickhouse_settings.STREAMING)
        for batch in self._answer(text, parameters, settings):
            yield clickhouse_types.common(batch)

    def ask(self, text: str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """The rows of a user's query, with the settings of the user."""
        connection = self._open()
        for name in connection.fixed(clickhouse_settings.WHOLE):
            raise errors.ConfigError(
                f"{self.where()} cuts this user's answers short where they pass a limit; set {name} = 'throw' "
                "in the user's profile."
            )
        settings = connection.allowed(clickhouse_settings.ARROW | clickhouse_settings.STREAMING)
        # Arrow has numbers for moments, addresses and names of an Enum.
        described = self._answer(
            f"DESCRIBE TABLE (\n{text}\n)", parameters, connection.allowed(clickhouse_settings.ARROW)
        )
        kinds = {row["name"]: row["type"] for batch in described for row in batch.to_pylist()}
        for batch in self._answer(text, parameters, settings):
            yield clickhouse_types.meant(batch, kinds)

    def _answer(
        self,
        text: str,
        parameters: Sequence[object],
        settings: dict[str, Any],
        beside: external.ExternalData | None = None,
    ) -> Iterator[pa.RecordBatch]:
        answer = self._open().client.raw_stream(
            clickhouse_wire.typed(text, parameters),
            clickhouse_wire.bound(parameters),
            settings=settings,
            fmt="ArrowStream",
            external_data=beside,
        )
        assert isinstance(answer, io.IOBase), "Only the client for asyncio answers otherwise."
        with contextlib.closing(answer), pa.ipc.open_stream(answer) as batches:
            batch = None
            for batch in batches:
                yield batch
            if batch is None:
                yield pa.RecordBatch.from_pylist([], schema=batches.schema)

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """There are none; every change is one INSERT."""
        return contextlib.nullcontext()

    def existing(self, schema: str) -> dict[str, ddl.Columns]:
        """Every table and view of a schema with its columns; JSON is what the parts say is JSON."""
        rows = self._rows(
            "SELECT v.table, v.name, v.type, p.comment FROM system.columns AS v "
            "LEFT JOIN (SELECT table, name, comment FROM system.columns WHERE database = {p1:Tidegate}) AS p "
            "ON p.table = v.table AND p.name = v.name "
            "WHERE v.database = {p0:Tidegate} ORDER BY v.table, v.position",
            [schema, self.parts],
        )
        tables: dict[str, ddl.Columns] = {}
        for table, column, kind, comment in rows:
            told = clickhouse_types.JSON if comment == "JSON" else ""
            tables.setdefault(table, {})[column] = kind + told
        return tables

    def canonical(self, native: str) -> str:
        """The type of ours; whether it may be NULL is no matter."""
        if native.endswith(clickhouse_types.JSON):
            return "JSON"
        bare = clickhouse_types.bare(native)
        known = {clickhouse_types.bare(kind): ours for ours, kind in self.types.items() if ours != "JSON"}
        return known.get(bare, "VARCHAR")

    def create_schema(self, schema: str) -> None:
        """Make a database, and for the tables' own the one that holds their parts."""
        for name in (schema, self.parts) if schema == self.schema else (schema,):
            self.execute(f"CREATE DATABASE IF NOT EXISTS {sql.quoted(self.dialect, name)}")

    def create(self, table: str, columns: ddl.Columns, key: Sequence[str]) -> None:
        """Make the parts and the view of a table; half of it may be there already."""
        order = [*key] or ["table_name", "key", "_version", "_deleted_at"]
        plain = {*key} or {"table_name", "key"}
        told = {
            column: clickhouse_types.bare(self.types[kind]) if column in plain else self.types[kind]
            for column, kind in columns.items()
        }
        self._spelled[table.lower()] = table
        self._create_parts(self._parts(table), told, order)
        missing = told.keys() - self._described(table).keys()
        for column in (column for column in told if column in missing):
            self.execute(f"ALTER TABLE {self._parts(table)} ADD COLUMN {self.column(column)} {told[column]}")
        self._show(table)

    def add(self, table: str, column: str, kind: str) -> None:
        """Add a column to the parts, then to the view."""
        self.execute(
            f"ALTER TABLE {self._parts(table)} ADD COLUMN IF NOT EXISTS {self.column(column)} {self.types[kind]}"
        )
        self._show(table)

    def widen(self, table: str, column: str, there: str, kind: str) -> None:
        """Change a column's type in the parts, then in the view; of a key's column, by writing all anew."""
        target = self.types[kind]
        key = self._sorted(table)
        if column in key:
            self._rewrite(table, {column: clickhouse_types.bare(target)}, key)
        elif kind in ("JSON", "VARCHAR") and there == "TIMESTAMP WITH TIME ZONE":
            self._rewrite(table, {column: target}, key, quoted=kind == "JSON")
        elif kind == "VARCHAR" and there == "DECIMAL(38,12)":
            self._rewrite(table, {column: target}, key)
        elif there == "JSON":
            self.execute(f"ALTER TABLE {self._parts(table)} COMMENT COLUMN {self.column(column)} ''")
        else:
            self.execute(f"ALTER TABLE {self._parts(table)} MODIFY COLUMN {self.column(column)} {target}")
        self._show(table)

    def drop(self, table: str) -> None:
        """Drop a table's view, then its parts."""
        self.execute(f"DROP VIEW IF EXISTS {self.name(table)}")
        self.execute(f"DROP TABLE IF EXISTS {self._parts(table)} SYNC")

    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows in one INSERT."""
        self.change(desk.Change(table, pa.table({}), rows))

    def remove(self, table: str, keys: pa.Table) -> None:
        """Mark all rows under keys as gone."""
        self.change(desk.Change(table, keys, pa.table({})))

    def change(self, change: desk.Change) -> None:
        """Marks and rows in one INSERT: a row's number is higher than its own mark's."""
        gone, rows = change.gone, change.rows
        if change.table == base.TOMBSTONES and gone.num_rows:
            # Several rows may have one key there, and their parts are told apart by more than it.
            gone = self.stored(change.table, ["table_name", "key", "_version", "_deleted_at"], gone)
        if not gone.num_rows and not rows.num_rows:
            return
        number = self._number or self._next([change.table])
        both = [
            part.append_column(NUMBER, pa.repeat(pa.scalar(n, pa.uint64()), part.num_rows)).append_column(
                GONE, pa.repeat(pa.scalar(is_gone, pa.uint8()), part.num_rows)
            )
            for n, is_gone, part in ((number, 1, gone), (number + 1, 0, rows))
            if part.num_rows
        ]
        block = pa.concat_tables(both, promote_options="default")
        if rows.num_rows:
            block = block.select([*rows.column_names, NUMBER, GONE])
        buffer = io.BytesIO()
        with pa.ipc.new_stream(buffer, block.schema) as writer:
            writer.write_table(block.combine_chunks())
        columns = ", ".join(map(self.column, block.column_names))
        self._open().client.raw_insert(
            f"{self._parts(change.table)} ({columns})",
            insert_block=buffer.getvalue(),
            fmt="ArrowStream",
            settings=clickhouse_settings.WRITING,
        )

    @contextlib.contextmanager
    def uploaded(self, changes: Sequence[desk.Change]) -> Iterator[Sequence[desk.Change]]:
        """Give the load its number, before its fence is looked at."""
        self._number = self._next([*(change.table for change in changes), base.STATE])
        try:
            yield changes
        finally:
            self._number = None

    def _next(self, tables: Sequence[str]) -> int:
        """A number beyond all that the tables hold, and all that the server gave unless its clock was set back."""
        name, now = self.column(NUMBER), self.column("now")
        every = " UNION ALL ".join(f"SELECT max({name}) AS {name} FROM {self._parts(t)}" for t in tables)
        [(last, clock)] = self._rows(
            f"SELECT max({name}) AS {name}, toUnixTimestamp64Micro(now64(6)) AS {now} FROM ({every})"
        )
        return int(max((last or 0) + 1, clock))

    def _load(
        self, staged: Sequence[staging.Staged], state: Mapping[str, str | None], fence: base.Fence | None
    ) -> list[base.Loaded]:
        done = super()._load(staged, state, fence)
        self._hold(fence)  # what was written after a later claim counts for nothing
        return done

    def stored(self, table: str, columns: Sequence[str], by: pa.Table) -> pa.Table:
        """The stored rows that share values with a row of `by`, found by the order of the parts."""
        there = self._tables[table]
        wanted = pa.schema([pa.field(column, ddl.ARROW[there[column]]) for column in columns])
        if not by.num_rows or not self._is_filled(table):
            return wanted.empty_table()
        chosen = ", ".join(map(self.column, columns))
        keys = ", ".join(map(self.column, by.column_names))
        with self.shown(by) as (source, _):
            same = f"({keys}) IN (SELECT {keys} FROM {source})"
            text = f"SELECT {chosen} FROM {self._parts(table)} FINAL WHERE {same}"
            batches = list(
                map(
                    clickhouse_types.common, self._answer(text, (), clickhouse_settings.READING, self._beside)
                )
            )
        return pa.Table.from_batches([batch.rename_columns(list(columns)) for batch in batches]).cast(wanted)

    @contextlib.contextmanager
    def shown(self, rows: pa.Table) -> Iterator[tuple[str, Sequence[object]]]:
        """Rows as a table that comes with the query."""
        buffer = io.BytesIO()
        with pa.ipc.new_stream(buffer, rows.schema) as writer:
            writer.write_table(rows.combine_chunks())
        structure = [
            f"{self.column(field.name)} {clickhouse_types.bare(self.types[ddl.sql_type(field)])}"
            for field in rows.schema
        ]
        self._beside = external.ExternalData(
            file_name="_tidegate_shown", data=buffer.getvalue(), fmt="ArrowStream", structure=structure
        )
        try:
            yield "_tidegate_shown", ()
        finally:
            self._beside = None

    _beside: external.ExternalData | None = None

    # Parts

    def _parts(self, table: str) -> str:
        return self.name(table, self.parts)

    def _create_parts(self, name: str, columns: ddl.Columns, order: Sequence[str]) -> None:
        told = ", ".join(f"{self.column(column)} {kind}" for column, kind in columns.items())
        engines = self._rows("SELECT engine FROM system.databases WHERE name = {p0:Tidegate}", [self.parts])
        # Else each replica would keep the rows that it was sent, and no others.
        # https://clickhouse.com/docs/engines/database-engines/replicated
        engine = "ReplicatedReplacingMergeTree" if ("Replicated",) in engines else "ReplacingMergeTree"
        self.execute(
            f"CREATE TABLE IF NOT EXISTS {name} ({told}, "
            f"{self.column(NUMBER)} UInt64 CODEC(Delta, ZSTD), {self.column(GONE)} UInt8) "
            f"ENGINE = {engine}({self.column(NUMBER)}, {self.column(GONE)}) "
            f"ORDER BY ({', '.join(map(self.column, order))}) SETTINGS allow_nullable_key = 1"
        )

    def _described(self, table: str) -> ddl.Columns:
        """The columns of a table's parts with their native types, our own two left out."""
        rows = self._rows(
            "SELECT name, type, comment FROM system.columns "
            "WHERE database = {p0:Tidegate} AND table = {p1:Tidegate} ORDER BY position",
            [self.parts, self._spelled.get(table.lower(), table)],
        )
        return {
            name: kind + (clickhouse_types.JSON if comment == "JSON" else "")
            for name, kind, comment in rows
            if name not in (NUMBER, GONE)
        }

    def _sorted(self, table: str) -> list[str]:
        rows = self._rows(
            "SELECT name FROM system.columns WHERE database = {p0:Tidegate} AND table = {p1:Tidegate} "
            "AND is_in_sorting_key ORDER BY position",
            [self.parts, self._spelled.get(table.lower(), table)],
        )
        return [name for (name,) in rows]

    def _show(self, table: str) -> None:
        """Make the view that is the table, anew."""
        columns = ", ".join(map(self.column, self._described(table)))
        self.execute(
            f"CREATE OR REPLACE VIEW {self.name(table)} AS SELECT {columns} FROM {self._parts(table)} FINAL"
        )

    def _rewrite(self, table: str, kinds: ddl.Columns, key: Sequence[str], *, quoted: bool = False) -> None:
        """Write all parts anew with other types of some columns, and put them in the old ones' place at once.

        What somebody else wrote meanwhile is brought over afterwards, marks and all.
        """
        name = self._spelled.get(table.lower(), table)
        told = self._rows("SELECT name FROM system.tables WHERE database = {p0:Tidegate}", [self.parts])
        for (left,) in told:
            if re.fullmatch(re.escape(name) + "~[0-9a-f]{8}", left):
                self.execute(f"DROP TABLE IF EXISTS {self.name(left, self.parts)} SYNC")
        fresh = self.name(f"{name}~{random.randrange(16**8):08x}", self.parts)
        columns = self._described(table)
        [(last,)] = self._rows(f"SELECT max({self.column(NUMBER)}) AS last FROM {self._parts(table)}")
        self._create_parts(fresh, columns | kinds, key)
        names = ", ".join(map(self.column, columns))
        values = ", ".join(
            clickhouse_types.text(self.column(c), columns[c], quoted)
            if c in kinds and "String" in kinds[c]
            else self.column(c)
            for c in columns
        )
        own = f"{self.column(NUMBER)}, {self.column(GONE)}"
        copied = f"({names}, {own}) SELECT {values}, {own} FROM"
        self.execute(f"INSERT INTO {fresh} {copied} {self._parts(table)} FINAL")
        self.execute(f"EXCHANGE TABLES {fresh} AND {self._parts(table)}")
        there = self._described(table)
        if any(there[column] != kind for column, kind in kinds.items()):
            # A driver that repeats a request whose answer was lost has changed them back.
            raise errors.WarehouseBusy(f"Somebody else changed {table} of {self.where()} at the same moment.")
        self.execute(
            f"INSERT INTO {self._parts(table)} {copied} {fresh} WHERE {self.column(NUMBER)} > {last or 0}"
        )
        self.execute(f"DROP TABLE {fresh} SYNC")

    def _open(self) -> clickhouse_wire.Connection:
        self.connect()
        assert self._connection is not None, "It was just opened."
        return self._connection


def open_warehouse(target: config.ClickHouse, *, wait: float = 60.0) -> ClickHouse:
    """The warehouse that a configuration describes; nothing is opened yet."""
    return ClickHouse(clickhouse_wire.address(target), target.schema_name, wait=wait)
