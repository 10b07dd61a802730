"""Snowflake, over its own connector.

Tables and columns have the names that unquoted SQL finds: lower case here is upper case there. What a load decides
is brought near before its transaction: few rows travel as one JSON parameter, more as a Parquet file that is put to
the stage of a table of its own and copied into it, because DDL would commit a transaction. The transaction itself
begins with the lock on one row of `_tidegate_state`, so that of two writers the second sees what the first did.

Never run against Snowflake itself: the tests drive its connector against fakesnow, see docs/warehouse-snowflake.md.
"""

from __future__ import annotations

import contextlib
import math
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import pyarrow as pa
import snowflake.connector
from snowflake.connector import cursor as cursors
from snowflake.connector import errors as driver

from tidegate import errors
from tidegate.adapters import snowflake_rows, snowflake_wire
from tidegate.config import warehouses as kinds
from tidegate.warehouse import base, ddl, desk, own, remote, sql, wire

INLINE = 512 * 1024
"""Bytes of rows that travel with the statement; more go through a file."""

LOAD = "_tidegate_load_"
"""What the names of tables begin with that hold rows near, between upload and commit; seconds since 1970 follow."""

LEFT_BEHIND = 6 * 3600
"""Seconds after which such a table must be that of a load that was killed."""

LOCK = (base.FENCE, "0 lock")
"""The row of the state that every transaction changes first; the fence of no table."""

WIDER = "_tidegate_wider_"
"""What the names of columns begin with that are about to take the place of narrower ones."""


@dataclass(frozen=True, slots=True)
class Near(desk.Change):
    """A change whose keys or rows stand in tables of their own; no name where they travel with the statement."""

    gone_at: str = ""
    rows_at: str = ""


class Snowflake(remote.Remote):
    """A schema of a Snowflake database; `address` are parameters of the connector."""

    kind = "snowflake"
    alone: ClassVar[bool] = False
    dialect = snowflake_rows.DIALECT
    types: ClassVar = snowflake_rows.TYPES

    def __init__(self, address: dict[str, Any], schema: str, *, wait: float = 60.0) -> None:
        super().__init__(schema, wait=wait)
        self._address = address
        self._host = snowflake_wire.host(address)
        self._connection: snowflake.connector.SnowflakeConnection | None = None
        self._statement = ""
        """The last statement, without its parameters."""
        self._is_inside = False
        """Does a transaction run, which a change of tables would commit?"""
        self._old: list[str] = []
        """Tables that loads left behind, as far as they were seen."""
        self._wider: set[tuple[str, str]] = set()
        """Columns, by their table, that were about to be widened."""

    def where(self) -> str:
        """The database and the account."""
        return snowflake_wire.where(self._address)

    def reach(self) -> str:
        """Open a connection to the account's host."""
        return wire.reached(self._host, int(self._address.get("port", 443)))

    def connect(self) -> None:
        """Sign in, and see that the database is there."""
        if self._connection is not None and not self._connection.is_closed():
            return
        self._statement = ""
        patience = max(5, math.ceil(self.wait))
        self._connection = snowflake.connector.connect(
            **self._address,
            paramstyle="qmark",
            arrow_number_to_decimal=True,
            application="Tidegate",
            login_timeout=min(60, patience),
            network_timeout=max(60, patience),
            platform_detection_timeout_seconds=0.0,
            session_parameters=snowflake_wire.SESSION,
        )
        if not self._connection.database:
            name, role = self._address["database"], self._role()
            self.disconnect()
            raise errors.ConfigError(
                f"{self._host} has no database {name} that this user may see; check the name, or run "
                f"GRANT USAGE ON DATABASE {name} TO ROLE {role}."
            )

    def disconnect(self) -> None:
        """Drop the connection, and its open transaction with it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                # Trying again would take minutes where nobody answers.
                connection.close(retry=False)

    def another(self) -> Self:
        """One of us with no connection yet, and so in no transaction."""
        made = super().another()
        made._is_inside = False
        return made

    def explain(self, error: Exception) -> errors.TidegateError | None:
        """What an error of the connector means; its own text may quote values, so only names in it pass."""
        is_live = sql.quoted(self.dialect, self.live) in self._statement
        schema = self.live if is_live else self.schema
        return snowflake_wire.meaning(
            error, snowflake_wire.Place(self._address, self._role(), schema, self._statement)
        )

    def execute(self, text: str, parameters: Sequence[object] = ()) -> None:
        """Run a statement."""
        self._changed(text, parameters)

    def fetch(
        self, text: str, parameters: Sequence[object] = (), *, stream: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query; the connector brings them chunk by chunk in any case."""
        del stream
        with self._ran(text, parameters) as cursor:
            yield from snowflake_rows.batches(cursor, snowflake_rows.stored)

    def ask(self, text: str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """The rows of a user's query, numbers with all of their digits."""
        with self._ran(text, parameters) as cursor:
            yield from snowflake_rows.batches(cursor, snowflake_rows.asked)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction that holds the lock on the state from its beginning; others wait for it."""
        try:
            if not self._begun():
                self._is_inside = False
                self.execute("ROLLBACK")
                self._lay_lock()
                self._begun()
            yield
            self.execute("COMMIT")
        except BaseException as error:
            # Who lost the session would sign in again to say that.
            if not snowflake_wire.is_lost(error):
                self._tidy("ROLLBACK")
            raise
        finally:
            self._is_inside = False

    def existing(self, schema: str) -> dict[str, ddl.Columns]:
        """Every table and view of a schema with its columns, but for those on their way."""
        rows = self._rows(
            "SELECT table_name, column_name, data_type, numeric_precision, numeric_scale "
            f"FROM {self._database()}.information_schema.columns WHERE table_schema = ? "
            "ORDER BY table_name, ordinal_position",
            [snowflake_rows.folded(schema)],
        )
        tables: dict[str, ddl.Columns] = {}
        for table, column, kind, precision, scale in rows:
            native = f"NUMBER({precision},{scale})" if kind == "NUMBER" else kind
            tables.setdefault(snowflake_rows.unfolded(table), {})[snowflake_rows.unfolded(column)] = native
        if schema != self.schema:
            return tables
        self._old = [name for name in tables if _is_left_behind(name)]
        self._wider = {
            (table, column.removeprefix(WIDER))
            for table, columns in tables.items()
            for column in columns
            if column.startswith(WIDER)
        }
        return {
            table: {column: kind for column, kind in columns.items() if not column.startswith(WIDER)}
            for table, columns in tables.items()
            if not table.startswith(LOAD)
        }

    def canonical(self, native: str) -> str:
        """The type of ours; whole numbers of every size count as BIGINT."""
        return snowflake_rows.canonical(native)

    def name(self, table: str, schema: str = "") -> str:
        """A table with its database, so that it does not matter which the session uses."""
        return f"{self._database()}.{super().name(table, schema)}"

    def create_schema(self, schema: str) -> None:
        """Make a schema, where there is none; only then the right to make one is needed."""
        found = self._rows(
            f"SELECT schema_name FROM {self._database()}.information_schema.schemata WHERE schema_name = ?",
            [snowflake_rows.folded(schema)],
        )
        if not found:
            self.execute(f"CREATE SCHEMA IF NOT EXISTS {self._database()}.{sql.quoted(self.dialect, schema)}")

    def create(self, table: str, columns: ddl.Columns, key: Sequence[str]) -> None:
        """Make a table, where there is none; that of the state with the row that transactions lock."""
        super().create(table, columns, key)
        if table == base.STATE:
            self._lay_lock()

    def show_live(self, table: str) -> None:
        """Make the view of a table without its tombstones anew, for all who could read the old one."""
        self.execute(
            f"CREATE OR REPLACE VIEW {self.name(table, self.live)} COPY GRANTS AS SELECT * FROM {self.name(table)} "
            f"WHERE {self.column('_deleted_at')} IS NULL"
        )

    def add(self, table: str, column: str, kind: str) -> None:
        """Add a column, or finish widening it where that was killed before its last step."""
        if (self._spelled.get(table, table), column) in self._wider:
            self._rename(table, WIDER + column, column)
            raise errors.WarehouseBusy(f"{column} of {table} in {self.where()} was just being widened.")
        super().add(table, column, kind)

    def widen(self, table: str, column: str, there: str, kind: str) -> None:
        """Fill a wider column, which then takes the place of the narrow one; see `add` for a kill between.

        https://docs.snowflake.com/en/sql-reference/sql/alter-table-column changes no type in place.
        """
        name, wider, full = self.column(column), self.column(WIDER + column), self.name(table)
        if (self._spelled.get(table, table), column) in self._wider:
            self.execute(f"ALTER TABLE {full} DROP COLUMN {wider}")
        self.execute(f"ALTER TABLE {full} ADD COLUMN {wider} {self.types[kind]}")
        self.execute(
            f"UPDATE {full} SET {wider} = {snowflake_rows.widened(name, there, kind)} WHERE {name} IS NOT NULL"
        )
        self.execute(f"ALTER TABLE {full} DROP COLUMN {name}")
        self._rename(table, WIDER + column, column)

    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows that travel with the statement."""
        if _is_much(rows) and rows.num_rows > 1:
            half = rows.num_rows // 2
            self.append(table, rows.slice(0, half))
            self.append(table, rows.slice(half))
            return
        kinds = self._kinds(table, rows)
        source = snowflake_rows.inline(rows.column_names, kinds)
        self._insert(table, rows, source, [snowflake_rows.spelled(rows, kinds)])

    @contextlib.contextmanager
    def shown(self, rows: pa.Table) -> Iterator[tuple[str, Sequence[object]]]:
        """Rows as a JSON parameter that the query unfolds, or, of many, as a table of their own."""
        kinds = [ddl.sql_type(field) for field in rows.schema]
        if _is_much(rows) and not self._is_inside:
            with self._standing(rows, kinds) as table:
                yield f"({snowflake_rows.chosen(table, rows.column_names, kinds)})", []
        else:
            source = snowflake_rows.inline(rows.column_names, kinds)
            yield f"({source})", [snowflake_rows.spelled(rows, kinds)]

    @contextlib.contextmanager
    def uploaded(self, changes: Sequence[desk.Change]) -> Iterator[Sequence[desk.Change]]:
        """Bring what is too much for a statement into tables of its own, which go when the block ends."""
        with contextlib.ExitStack() as stack:
            near: list[desk.Change] = []
            for change in changes:
                gone = rows = ""
                if _is_much(change.gone):
                    kinds = [ddl.sql_type(field) for field in change.gone.schema]
                    gone = stack.enter_context(self._standing(change.gone, kinds))
                if _is_much(change.rows):
                    kinds = self._kinds(change.table, change.rows)
                    rows = stack.enter_context(self._standing(change.rows, kinds))
                near.append(Near(change.table, change.gone, change.rows, gone, rows))
            yield near

    def change(self, change: desk.Change) -> None:
        """Remove keys and add rows, from where they stand."""
        near = change if isinstance(change, Near) else Near(change.table, change.gone, change.rows)
        if near.gone_at:
            names = near.gone.column_names
            kinds = [ddl.sql_type(field) for field in near.gone.schema]
            source = snowflake_rows.chosen(near.gone_at, names, kinds)
            self.execute(
                f"DELETE FROM {self.name(near.table)} AS t USING ({source}) AS k WHERE {self._same(names)}"
            )
        elif near.gone.num_rows:
            self.remove(near.table, near.gone)
        if near.rows_at:
            kinds = self._kinds(near.table, near.rows)
            source = snowflake_rows.chosen(near.rows_at, near.rows.column_names, kinds)
            self._insert(near.table, near.rows, source)
        elif near.rows.num_rows:
            self.append(near.table, near.rows)

    # Statements

    @contextlib.contextmanager
    def _ran(self, text: str, parameters: Sequence[object] = ()) -> Iterator[cursors.SnowflakeCursor]:
        if not self._is_inside:
            self.connect()
        connection = self._connection
        if connection is None or connection.is_closed():
            raise errors.WarehouseUnreachable(f"The session with {self.where()} ended within a transaction.")
        self._statement = text
        with connection.cursor() as cursor:
            cursor.execute(text, list(parameters) or None)
            yield cursor

    def _tidy(self, text: str) -> None:
        """Run a statement that may fail unheard; what failed before it is still told as it was."""
        before = self._statement
        with contextlib.suppress(driver.Error, errors.WarehouseUnreachable, *snowflake_wire.BROKEN):
            self.execute(text)
        self._statement = before

    def _changed(self, text: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement and count the rows that it changed."""
        with self._ran(text, parameters) as cursor:
            return cursor.rowcount or 0

    def _begun(self) -> bool:
        """Begin a transaction; was there a row to lock? An update locks, and sees what was committed."""
        key, value = self.column("key"), self.column("value")
        self.execute("BEGIN")
        self._is_inside = True
        return bool(
            self._changed(
                f"UPDATE {self.name(base.STATE)} SET {value} = {value} WHERE {key} = {ddl.literal(LOCK[0])}"
            )
        )

    def _lay_lock(self) -> None:
        key, value = LOCK
        self.append(base.STATE, pa.table({"key": [key], "value": [value]}))

    def _insert(self, table: str, rows: pa.Table, source: str, parameters: Sequence[object] = ()) -> None:
        names = ", ".join(map(self.column, rows.column_names))
        self.execute(f"INSERT INTO {self.name(table)} ({names}) {source}", parameters)

    def _rename(self, table: str, column: str, to: str) -> None:
        self.execute(
            f"ALTER TABLE {self.name(table)} RENAME COLUMN {self.column(column)} TO {self.column(to)}"
        )

    # Rows on their way

    def _kinds(self, table: str, rows: pa.Table) -> list[str]:
        """The types of ours that columns of rows have in their table."""
        if table == base.STATE:
            return [own.STATE[column] for column in rows.column_names]
        there = {name.lower(): kind for name, kind in self._tables.get(table.lower(), {}).items()}
        return [there.get(column.lower(), "VARCHAR") for column in rows.column_names]

    @contextlib.contextmanager
    def _standing(self, rows: pa.Table, kinds: Sequence[str]) -> Iterator[str]:
        """A table that holds rows, JSON as text, while the block runs; its stage goes with it."""
        for old in self._old:
            self.execute(f"DROP TABLE IF EXISTS {self.name(old)}")
        self._old = []
        plain = f"{LOAD}{int(time.time())}_{random.randrange(16**8):08x}"
        name = self.name(plain)
        native = [self.types["VARCHAR" if kind == "JSON" else kind] for kind in kinds]
        columns = ", ".join(f"C{i} {kind}" for i, kind in enumerate(native))
        self.execute(f"CREATE TRANSIENT TABLE {name} ({columns})")
        try:
            schema = sql.quoted(self.dialect, self.schema)
            stage = f"@{self._database()}.{schema}.%{snowflake_rows.folded(plain)}"
            with tempfile.TemporaryDirectory(prefix="tidegate-") as folder:
                path = Path(folder, "rows.parquet")
                snowflake_rows.write(rows, kinds, path)
                self.execute(f"PUT {ddl.literal('file://' + path.as_posix())} {stage} AUTO_COMPRESS = FALSE")
            self.execute(
                f"COPY INTO {name} FROM {stage} FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE "
                "NULL_IF = ()) MATCH_BY_COLUMN_NAME = CASE_SENSITIVE"
            )
            yield name
        except BaseException as error:
            if not snowflake_wire.is_lost(error):  # else a later load finds the table
                self._tidy(f"DROP TABLE IF EXISTS {name}")
            raise
        self._tidy(f"DROP TABLE IF EXISTS {name}")

    # Words

    def _database(self) -> str:
        return sql.quoted(self.dialect, str(self._address["database"]))

    def _role(self) -> str:
        current = self._connection.role if self._connection is not None else None
        return str(current or self._address.get("role") or "PUBLIC")


def open_warehouse(target: kinds.Snowflake, *, wait: float = 60.0) -> Snowflake:
    """The warehouse that a configuration describes; nothing is opened yet."""
    return Snowflake(snowflake_wire.address(target), target.schema_name, wait=wait)


def _is_much(rows: pa.Table) -> bool:
    return bool(rows.nbytes > INLINE)


def _is_left_behind(name: str) -> bool:
    """Is a table one that a load brought rows near in, so long ago that nobody waits for it?"""
    since = name.removeprefix(LOAD).partition("_")[0]
    return name.startswith(LOAD) and since.isdigit() and int(since) < time.time() - LEFT_BEHIND
