"""SQL Server 2016 and newer, and Azure SQL, over Microsoft's mssql-python.

A lock of the schema (sp_getapplock) keeps two writers from deciding at the same time. Rows go in within the
transaction that removes what they replace and that writes the state: few as JSON documents that OPENJSON unfolds,
many by bulk copy. The driver copies over a connection of its own, so those rows land in a table beside, from which
the transaction takes them; what a killed load leaves there the next load drops.

Text is NVARCHAR in a binary collation, so that keys differ here where they differ in Stripe. JSON is NVARCHAR(MAX)
too, which keeps every digit and is there in all versions, unlike the type `json`; its collation, an older binary
one, is what tells it from text.

Never run against the real thing, only against a server that speaks TDS over DuckDB.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

import mssql_python
import pyarrow as pa

from tidegate import errors
from tidegate.adapters import sqlserver_wire, sqlserver_words
from tidegate.config import warehouses
from tidegate.warehouse import ddl, desk, remote, sql, wire

FEW = 3_000
"""Rows that are not worth a bulk copy, which takes a sign-in and a table."""

BYTES = 16 * 1024 * 1024
"""Of rows that are not worth a bulk copy, at most."""

TIMEOUT = 600
"""Seconds after which a bulk copy is given up."""

PATIENCE = 60_000
"""Milliseconds for which a writer waits until another is done."""

STAGE = "_tidegate_stage_"
"""How the name of a table begins that holds rows on their way."""

KEYS = "_tidegate_keys"
"""What a statement calls the keys that it is given; no table of a user's has this name."""

BINARY = "Latin1_General_100_BIN2"
"""Compares code units, and so do keys."""

JSON_BINARY = "Latin1_General_BIN2"
"""Marks columns of JSON."""

TEXTS = ("VARCHAR", "JSON")
"""Types of ours that are text there."""

KEY = f"NVARCHAR(450) COLLATE {BINARY}"
"""Text in keys: 900 bytes, the most that a clustered index holds."""


class SQLServer(remote.Remote):
    """A schema of a SQL Server database."""

    kind: ClassVar[str] = "sqlserver"
    dialect = sql.Dialect("tsql", "?", finish=sqlserver_words.spoken)
    types: ClassVar[Mapping[str, str]] = {
        "BOOLEAN": "BIT",
        "BIGINT": "BIGINT",
        "DOUBLE": "FLOAT",
        "DECIMAL(38,12)": "DECIMAL(38,12)",
        "TIMESTAMP WITH TIME ZONE": "DATETIMEOFFSET(6)",
        "JSON": f"NVARCHAR(MAX) COLLATE {JSON_BINARY}",
        "VARCHAR": f"NVARCHAR(MAX) COLLATE {BINARY}",
    }
    settings: ClassVar[str] = (
        "SET NOCOUNT ON; SET XACT_ABORT ON; SET LOCK_TIMEOUT 60000; SET LANGUAGE us_english; "
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
    )
    """What every session says first."""

    def __init__(self, address: sqlserver_wire.Address, schema: str, *, wait: float = 60.0) -> None:
        super().__init__(schema, wait=wait)
        self._address = address
        self._connection: mssql_python.Connection | None = None
        self._running: mssql_python.Cursor | None = None
        self._is_stopped = False
        self._staged: dict[str, str] = {}
        """Where the rows of a change wait, by the name of the table they belong to."""
        self._left: set[str] = set()
        """Tables for rows on their way that were seen before there was any of ours."""

    def where(self) -> str:
        """The database and the host."""
        return f"{self._address.database} on {self._address.host}"

    def reach(self) -> str:
        """Open a connection to the server's port."""
        return wire.reached(self._address.host, self._address.port)

    def connect(self) -> None:
        """Sign in."""
        if self._connection is None:
            self._connection = self._signed_in()

    def disconnect(self) -> None:
        """Drop the connection."""
        connection, self._connection, self._running = self._connection, None, None
        self._is_stopped = False
        if connection is not None:
            with contextlib.suppress(mssql_python.Error, RuntimeError):
                connection.close()

    def interrupt(self) -> None:
        """Cancel the statement that runs, and tell the server."""
        running, self._is_stopped = self._running, self._connection is not None
        if running is not None:
            # The driver offers no other way to stop what has no rows yet, and to close what runs would crash.
            with contextlib.suppress(Exception):
                running.hstmt._cancel()  # type: ignore[union-attr]  # None raises, too

    def explain(self, error: Exception) -> errors.TidegateError | None:
        """What an error of the driver means; its own text may quote values, so only names pass."""
        return sqlserver_wire.meaning(error, self.where(), self.schema, self._address.user or "this user")

    def execute(self, text: str, parameters: Sequence[object] = ()) -> None:
        """Run a statement."""
        with self._cursor() as cursor:
            _run(cursor, text, parameters)

    def fetch(
        self, text: str, parameters: Sequence[object] = (), *, stream: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query, which the server sends as they are asked for."""
        del stream  # whichever it is
        with self._cursor() as cursor:
            _run(cursor, text, parameters)
            self._go_on()
            for batch in sqlserver_wire.batches(cursor):
                self._go_on()
                yield batch

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction that holds the schema's lock."""
        self._staged = {}
        self.execute("BEGIN TRANSACTION")
        try:
            self.lock()
            yield
            self.execute("COMMIT TRANSACTION")
        except BaseException:
            with contextlib.suppress(mssql_python.Error, RuntimeError):
                self.execute("IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION")
                self._sweep(self._staged.values())
            raise
        # Whoever had a table before the schema was locked for us is done with it, one way or the other.
        with contextlib.suppress(mssql_python.Error, RuntimeError):
            self._sweep({*self._staged.values(), *self._left})

    def lock(self) -> None:
        """Wait until no other writer holds the schema; the transaction's end lets go of it."""
        [(held,)] = self._rows(
            "DECLARE @held INT = 0; EXEC @held = sp_getapplock @Resource = ?, @LockMode = 'Exclusive', "
            f"@LockOwner = 'Transaction', @LockTimeout = {PATIENCE}; SELECT @held AS [held]",
            [f"tidegate/{self.schema.lower()}"],  # locks tell letters from capitals, schemas need not
        )
        if held < 0:
            raise errors.WarehouseBusy(
                f"Somebody else writes to the schema {self.schema} of {self.where()} all the time; wait until that "
                "is done."
            )

    def evolving(self) -> contextlib.AbstractContextManager[None]:
        """Tables change in a transaction, too."""
        return self.transaction()

    def existing(self, schema: str) -> dict[str, ddl.Columns]:
        """Every table and view of a schema with its columns, but for rows on their way."""
        rows = self._rows(
            "SELECT o.name AS object_name, c.name AS column_name, t.name AS type_name, c.max_length AS size, "
            "c.precision AS digits, c.scale AS places, c.collation_name AS collation_name FROM sys.objects AS o "
            "JOIN sys.schemas AS s ON s.schema_id = o.schema_id "
            "LEFT JOIN sys.columns AS c ON c.object_id = o.object_id "
            "LEFT JOIN sys.types AS t ON t.user_type_id = c.user_type_id "
            "WHERE s.name = ? AND o.type IN ('U', 'V') ORDER BY o.object_id, c.column_id",
            [schema],
        )
        tables: dict[str, ddl.Columns] = {}
        left = set()
        for table, column, *kind in rows:
            if table.startswith(STAGE):
                left.add(table)
                continue
            columns = tables.setdefault(table, {})
            if column is not None:
                columns[column] = sqlserver_wire.native(*kind)
        if schema == self.schema:
            self._left = left
        return tables

    def create_schema(self, schema: str) -> None:
        """Make a schema, where there is none."""
        if not self._rows("SELECT s.name AS name FROM sys.schemas AS s WHERE s.name = ?", [schema]):
            self.execute(f"CREATE SCHEMA {self.column(schema)}")

    def create(self, table: str, columns: ddl.Columns, key: Sequence[str]) -> None:
        """Make a table, with its key."""
        told = [self.defined(column, kind, key) for column, kind in columns.items()]
        if key:
            told.append(f"PRIMARY KEY CLUSTERED ({', '.join(map(self.column, key))})")
        self.execute(f"CREATE TABLE {self.name(table)} ({', '.join(told)})")
        if not key:
            self.execute(
                f"CREATE INDEX {self.column(f'{table}_key')} ON {self.name(table)} "
                f"({self.column('table_name')}, {self.column('key')})"
            )

    def defined(self, column: str, kind: str, key: Sequence[str]) -> str:
        """A column as a table's definition has it."""
        is_key = column.lower() in {each.lower() for each in key}
        is_short = kind == "VARCHAR" and (is_key or (not key and column in desk.GRAVES))
        return f"{self.column(column)} {KEY if is_short else self.types[kind]} {'NOT NULL' if is_key else 'NULL'}"

    def drop_if_there(self, table: str) -> None:
        """Drop a table, where there is one."""
        self.execute(f"DROP TABLE IF EXISTS {self.name(table)}")

    def add(self, table: str, column: str, kind: str) -> None:
        """Add a column."""
        self.execute(f"ALTER TABLE {self.name(table)} ADD {self.column(column)} {self.types[kind]} NULL")

    def widen(self, table: str, column: str, there: str, kind: str) -> None:
        """Change a column's type in place; what would lose digits on the way waits in a column beside."""
        name, beside = self.column(column), self.column(f"_tidegate_{column}"[:128])
        at, native = self.name(table), self.types[kind]
        text = sqlserver_wire.as_text(name, there, kind)
        if text is None:
            self.execute(f"ALTER TABLE {at} ALTER COLUMN {name} {native} NULL")
            return
        self.execute(f"ALTER TABLE {at} ADD {beside} {native} NULL")
        self.execute(f"UPDATE {at} SET {beside} = {text}")
        self.execute(f"UPDATE {at} SET {name} = NULL")
        self.execute(f"ALTER TABLE {at} ALTER COLUMN {name} {native} NULL")
        self.execute(f"UPDATE {at} SET {name} = {beside}")
        self.execute(f"ALTER TABLE {at} DROP COLUMN {beside}")

    def show_live(self, table: str) -> None:
        """Make the view of a table without its tombstones, anew."""
        self.execute(
            f"CREATE OR ALTER VIEW {self.name(table, self.live)} AS SELECT * FROM {self.name(table)} "
            f"WHERE {self.column('_deleted_at')} IS NULL"
        )

    def any_row(self, table: str) -> str:
        """SQL for one row of a table, if it has any."""
        return f"SELECT TOP (1) 1 AS {self.column('one')} FROM {self.name(table)}"

    def beginning(self, column: str, length: int) -> str:
        """SQL for the first characters of a text."""
        return f"LEFT({column}, {length})"

    # Rows

    def commit(self, changes: Sequence[desk.Change], state: Mapping[str, str | None]) -> None:
        """Apply changes and write state; what is copied in bulk comes near before any row is locked."""
        for change in changes:
            is_many = change.rows.num_rows > FEW or change.rows.nbytes > BYTES
            if is_many and self._address.authentication != sqlserver_wire.UNCOPIED:
                self._stage(change.table, change.rows)
        super().commit(changes, state)

    def remove(self, table: str, keys: pa.Table) -> None:
        """Remove all rows under keys, and none under one that differs by blanks at its end alone."""
        at = self.name(table)
        pairs = [(f"{KEYS}.{name}", f"{at}.{name}") for name in map(self.column, keys.column_names)]
        told = [f"{given} = {there}" for given, there in pairs]
        for (given, there), field in zip(pairs, keys.schema, strict=True):
            if ddl.sql_type(field) in TEXTS:
                told.append(f"DATALENGTH({given}) = DATALENGTH({there})")
        same = " AND ".join(told)
        for some in sqlserver_wire.pieces(keys):
            with self.shown(some) as (source, parameters):
                self.execute(f"DELETE {at} FROM {at} JOIN {source} AS {KEYS} ON {same}", parameters)

    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows, from where they wait or as documents."""
        columns = ", ".join(map(self.column, rows.column_names))
        stage = self._staged.get(table)
        if stage is not None:
            self.execute(
                f"INSERT INTO {self.name(table)} ({columns}) SELECT {columns} FROM {self.name(stage)}"
            )
            return
        for some in sqlserver_wire.pieces(rows):
            kinds = [self.types[ddl.sql_type(field)].partition(" COLLATE")[0] for field in some.schema]
            self.execute(
                f"INSERT INTO {self.name(table)} ({columns}) "
                f"SELECT {columns} FROM {self._unfolded(some.column_names, kinds)} AS r",
                [sqlserver_wire.document(some)],
            )

    @contextlib.contextmanager
    def shown(self, rows: pa.Table) -> Iterator[tuple[str, Sequence[object]]]:
        """Keys as a JSON document that the query unfolds; their text of a length that an index can be asked for."""
        ours = [ddl.sql_type(field) for field in rows.schema]
        texts = [kind in TEXTS for kind in ours]
        kinds = [
            "NVARCHAR(4000)" if is_text else self.types[kind]
            for kind, is_text in zip(ours, texts, strict=True)
        ]
        values = ", ".join(
            f"{self.column(name)} COLLATE {BINARY} AS {self.column(name)}" if is_text else self.column(name)
            for name, is_text in zip(rows.column_names, texts, strict=True)
        )
        source = self._unfolded(rows.column_names, kinds)
        yield f"(SELECT {values} FROM {source} AS r)", [sqlserver_wire.document(rows)]

    def _unfolded(self, names: Sequence[str], kinds: Sequence[str]) -> str:
        told = ", ".join(
            f"{self.column(name)} {kind} '$[{i}]'"
            for i, (name, kind) in enumerate(zip(names, kinds, strict=True))
        )
        return f"OPENJSON(?) WITH ({told})"

    # Bulk copies

    def _stage(self, table: str, rows: pa.Table) -> None:
        """Copy rows into a table beside."""
        sqlserver_wire.check_finite(rows)
        stage = f"{STAGE}{random.randrange(16**12):012x}"
        kinds = {name.lower(): kind for name, kind in self._tables[table.lower()].items()}
        columns = {name: kinds[name.lower()] for name in rows.column_names}
        wanted = pa.schema([pa.field(name, ddl.ARROW[kind]) for name, kind in columns.items()])
        with (
            contextlib.closing(self._signed_in()) as connection,
            contextlib.closing(connection.cursor()) as cursor,
        ):
            cursor.execute(self.stage(stage, columns))
            self._staged[table] = stage
            cursor.bulkcopy_arrow(
                self.name(stage),
                rows.cast(wanted),
                timeout=TIMEOUT,
                column_mappings=rows.column_names,
                table_lock=True,
            )

    def stage(self, name: str, columns: ddl.Columns) -> str:
        """SQL that makes a table for rows on their way."""
        told = ", ".join(f"{self.column(column)} {self.types[kind]} NULL" for column, kind in columns.items())
        return f"CREATE TABLE {self.name(name)} ({told})"

    def _sweep(self, stages: Iterable[str]) -> None:
        """Drop tables for rows on their way."""
        for name in stages:
            self.drop_if_there(name)

    # Connections

    def _signed_in(self) -> mssql_python.Connection:
        self.reach()  # the driver goes on trying for 15 s where nothing listens
        mssql_python.pooling(enabled=False)  # a pooled connection may be dead, and says so too late
        connection = mssql_python.connect(self._address.words(), autocommit=True, timeout=0)
        try:
            with contextlib.closing(connection.cursor()) as cursor:
                cursor.execute(self.settings)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[mssql_python.Cursor]:
        self.connect()
        assert self._connection is not None, "It was just opened."
        with contextlib.closing(self._connection.cursor()) as cursor:
            self._running = cursor
            try:
                self._go_on()
                yield cursor
                self._go_on()
            finally:
                self._running = None

    def _go_on(self) -> None:
        """Raise if somebody interrupted, of which the driver says nothing where a statement has no rows."""
        if self._is_stopped:
            self._is_stopped = False
            raise errors.WarehouseError(f"A statement was stopped on {self.where()}.")


def open_warehouse(target: warehouses.SQLServer, *, wait: float = 60.0) -> SQLServer:
    """The warehouse that a configuration describes; nothing is opened yet."""
    return SQLServer(sqlserver_wire.address(target), target.schema_name, wait=wait)


def _run(cursor: mssql_python.Cursor, text: str, parameters: Sequence[object]) -> None:
    cursor.execute(text, *([list(parameters)] if parameters else []))
