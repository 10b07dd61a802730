"""MotherDuck: DuckDB as a service, reached by DuckDB itself, which fetches the extension it needs for that.

All of a load is one transaction. Two that meet do not wait for each other there: who comes second is refused and
tries again, so that every transaction first changes one row that all of them change.

The tests run it over a file of DuckDB, the same engine at another address; it was never run against the service.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, TypeVar

import duckdb
import pyarrow as pa

from tidegate import errors
from tidegate.config import warehouses as kinds
from tidegate.warehouse import base, ddl, remote, sql

BATCH = 10_000
"""Rows per batch of a query."""

LOCK = base.FENCE + "*"
"""The row of the state that every transaction changes."""

T = TypeVar("T")

_numbers = itertools.count(1)
_REFUSED = re.compile(r"token|unauthenticated|unauthorized|not signed in|jwt", re.I)
_OFFLINE = re.compile(r"connect|timed? ?out|unavailable|network|resolve|reset|lease|http", re.I)
_RACE = re.compile(r"conflict|outdated|transaction context|write-write|already exists", re.I)
_ABSENT = re.compile(r"no database|database.+(does not exist|not found)", re.I)


class MotherDuck(remote.Remote):
    """A schema of a MotherDuck database."""

    kind = "motherduck"
    dialect = sql.Dialect("duckdb")
    types: ClassVar = {kind: kind for kind in ddl.OURS}

    def __init__(self, address: str, token: str | None, schema: str, *, wait: float = 60.0) -> None:
        super().__init__(schema, wait=wait)
        self._address, self._token = address, token
        self._connection: duckdb.DuckDBPyConnection | None = None

    def where(self) -> str:
        """The database."""
        return self._address.partition("?")[0]

    def reach(self) -> str:
        """DuckDB knows only reaching and signing in at once."""
        self.connect()
        return f"{self.where()} answers"

    def connect(self) -> None:
        """Sign in."""
        if self._connection is None:
            self._connection = self._opening()

    def _opening(self) -> duckdb.DuckDBPyConnection:
        config: dict[str, str | bool | int | float | list[str]] = {"python_enable_replacements": False}
        if self._address.startswith("md:"):
            config |= {"custom_user_agent": "tidegate"}
            if self._token is not None:
                config |= {"motherduck_token": self._token}
        connection = duckdb.connect(self._address, config=config)
        connection.execute("SET TimeZone = 'UTC'")
        return connection

    def disconnect(self) -> None:
        """Drop the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(duckdb.Error):
                connection.close()

    def interrupt(self) -> None:
        """End the statement that runs."""
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(duckdb.Error):
                connection.interrupt()

    def explain(self, error: Exception) -> errors.TidegateError | None:
        """What an error of DuckDB means; its text may quote rows, so it passes only where it cannot."""
        if not isinstance(error, duckdb.Error):
            return None
        text, where = str(error), self.where()
        if isinstance(error, duckdb.TransactionException) or _RACE.search(text):
            return errors.WarehouseBusy(f"Somebody else is writing to {where}; run this again.")
        if "ownload" in text and "extension" in text:
            return errors.WarehouseError(
                "DuckDB could not fetch its extension for MotherDuck from extensions.duckdb.org; allow this "
                "machine to reach it, or run `INSTALL motherduck` in DuckDB once."
            )
        if isinstance(error, duckdb.CatalogException | duckdb.BinderException | duckdb.ParserException):
            if _ABSENT.search(text):
                return errors.ConfigError(
                    f"There is no {where}; run `CREATE DATABASE` there, or name another."
                )
            # These quote names and SQL, never rows.
            told = " ".join(text.split("\n\n", maxsplit=1)[0].split()).rstrip(".")
            return errors.WarehouseError(f"{where} refused a statement: {told}.")
        if _REFUSED.search(text):
            return errors.ConfigError(
                f"{where} refused the token; make one in MotherDuck's settings and give it as `token`, or in the "
                "environment as MOTHERDUCK_TOKEN."
            )
        if isinstance(error, duckdb.PermissionException) and "by configuration" in text:
            return errors.ConfigError(
                f"A model reads the tables of {where}, and neither files nor addresses beside them; leave out the "
                "function that does."
            )
        if isinstance(error, duckdb.PermissionException) or "read-only" in text:
            return errors.WarehouseError(f"{where} may only be read; give a read/write token of its owner.")
        if isinstance(error, duckdb.ConversionException | duckdb.InvalidInputException):
            return errors.WarehouseError(
                f"A value does not fit the type of its column in {where}; change the column's type back, or drop "
                "the table and pull it again."
            )
        if isinstance(error, duckdb.IOException | duckdb.HTTPException | duckdb.ConnectionException):
            if _OFFLINE.search(text):
                return errors.WarehouseUnreachable(f"{where} cannot be reached; look at the network.")
            return errors.WarehouseUnreachable(f"{where} could not be opened; look at its address.")
        name = type(error).__name__.removesuffix("Exception").removesuffix("Error") or "internal"
        return errors.WarehouseError(f"{where} failed with an error of the kind {name!r}; run this again.")

    def execute(self, text: str, parameters: Sequence[object] = ()) -> None:
        """Run a statement."""
        self._open().execute(text, list(parameters))

    def fetch(
        self, text: str, parameters: Sequence[object] = (), *, stream: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query; all at once, unless `stream`, since a connection has one result at a time."""
        relation = self._open().sql(text, params=list(parameters))
        if relation is None:
            raise errors.WarehouseError("A query is asked for here; this statement returns no rows.")
        if not stream:
            found = _plain(relation.to_arrow_table())
            yield from found.to_batches() or _none(found.schema)
            return
        reader = relation.to_arrow_reader(BATCH)
        empty = True
        for batch in reader:
            empty = False
            yield from _plain(pa.Table.from_batches([batch])).to_batches()
        if empty:
            yield from _none(_plain(reader.schema.empty_table()).schema)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction that fails where another one of the schema is under way."""
        connection, name = self._open(), self.name(base.STATE)
        connection.execute("BEGIN TRANSACTION")
        try:
            if base.STATE in self._tables:
                connection.execute(f"UPDATE {name} SET updated_at = now() WHERE key = ?", [LOCK])
                if connection.fetchone() == (0,):
                    connection.execute(f"INSERT INTO {name} VALUES (?, '0 -', now())", [LOCK])
            yield
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(duckdb.Error):
                connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def evolving(self) -> Iterator[None]:
        """Tables change in a transaction, too."""
        connection = self._open()
        connection.execute("BEGIN TRANSACTION")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(duckdb.Error):
                connection.execute("ROLLBACK")
            raise

    def existing(self, schema: str) -> dict[str, ddl.Columns]:
        """Every table and view of a schema with its columns."""
        rows = (
            self._open()
            .execute(
                "SELECT table_name, column_name, data_type FROM duckdb_columns() "
                "WHERE database_name = current_database() AND schema_name = ? AND NOT internal "
                "ORDER BY table_oid, column_index",
                [schema],
            )
            .fetchall()
        )
        tables: dict[str, ddl.Columns] = {}
        for table, column, kind in rows:
            tables.setdefault(table, {})[column] = kind
        return tables

    def widen(self, table: str, column: str, there: str, kind: str) -> None:
        """Change a column's type in place."""
        name = self.column(column)
        using = ddl.convert(name, there, kind)
        self.execute(f"ALTER TABLE {self.name(table)} ALTER COLUMN {name} TYPE {kind} USING {using}")

    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows straight from Arrow."""
        columns = ", ".join(map(self.column, rows.column_names))
        with self.shown(rows) as (source, _):
            self.execute(f"INSERT INTO {self.name(table)} ({columns}) SELECT {columns} FROM {source}")

    @contextlib.contextmanager
    def shown(self, rows: pa.Table) -> Iterator[tuple[str, Sequence[object]]]:
        """Rows as a view of the connection's own."""
        connection, name = self._open(), f"_tidegate_rows_{next(_numbers)}"
        connection.register(name, rows)
        try:
            yield name, ()
        finally:
            with contextlib.suppress(duckdb.Error):
                connection.unregister(name)

    def _open(self) -> duckdb.DuckDBPyConnection:
        self.connect()
        assert self._connection is not None, "It was just opened."
        return self._connection


class Rehearsal(MotherDuck):
    """The same over a file, which one process at a time may have open: never for longer than a call.

    All of this process share one opened file, the last one out closes it: DuckDB refuses a file that is opened by
    one thread while another one closes it.
    """

    _guard: ClassVar[threading.Lock] = threading.Lock()
    _opened: ClassVar[dict[str, tuple[duckdb.DuckDBPyConnection, int]]] = {}
    """The opened file of each address, and how many use it."""

    def connect(self) -> None:
        """Open the file, or join those who have."""
        with self._guard:
            if self._connection is None:
                opened, users = self._opened.get(self._address, (None, 0))
                opened = opened or self._opening()
                self._opened[self._address] = (opened, users + 1)
                self._connection = opened.cursor()
                self._connection.execute("SET TimeZone = 'UTC'")

    def disconnect(self) -> None:
        """Let go of the file."""
        with self._guard:
            if self._connection is None:
                return
            super().disconnect()
            opened, users = self._opened.pop(self._address)
            if users > 1:
                self._opened[self._address] = (opened, users - 1)
            else:
                opened.close()

    def _do(self, work: Callable[[], T]) -> T:
        try:
            return super()._do(work)
        finally:
            self.disconnect()

    def read(self, text: str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """Stream the rows of a query, and let go of the file."""
        try:
            yield from super().read(text, parameters)
        finally:
            self.close()


def open_warehouse(target: kinds.MotherDuck, *, wait: float = 60.0) -> MotherDuck:
    """The warehouse that a configuration describes; nothing is opened yet."""
    made = MotherDuck if target.address.startswith("md:") else Rehearsal
    return made(target.address, target.secret, target.schema_name, wait=wait)


def _plain(rows: pa.Table) -> pa.Table:
    """JSON as the text that it is."""
    plain = [
        field.type.storage_type if isinstance(field.type, pa.BaseExtensionType) else field.type
        for field in rows.schema
    ]
    if plain == rows.schema.types:
        return rows
    return rows.cast(pa.schema(list(zip(rows.column_names, plain, strict=True))))


def _none(schema: pa.Schema) -> list[pa.RecordBatch]:
    return [pa.RecordBatch.from_pylist([], schema=schema)]
