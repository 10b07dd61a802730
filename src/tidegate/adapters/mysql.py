"""MySQL 8 and MariaDB, over pymysql.

Rows go in by LOAD DATA LOCAL, in the transaction that removes what they replace and that writes the state; a named
lock of the server's (GET_LOCK) keeps two writers of a schema from deciding at the same time. Servers that forbid
LOCAL get INSERTs of many rows instead. The schema is a database of its own.

Tables are changed outside of transactions, since every such statement commits: a kill there leaves a prefix of the
changes, and the next call makes the others. Texts compare byte by byte, trailing spaces included. MariaDB keeps
JSON as the text it was; MySQL keeps it parsed, with numbers beyond 64 bits as doubles.

Run against MariaDB; never against MySQL itself, nor a managed service.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pymysql

from tidegate import errors
from tidegate.adapters import mysql_ddl, mysql_server, mysql_session, mysql_wire, tunnel
from tidegate.config import warehouses as kinds
from tidegate.warehouse import base, ddl, own, remote, sql

log = logging.getLogger(__name__)

PARAMETER = mysql_wire.PARAMETER

STALE = 30.0
"""Seconds without a statement after which a connection is asked whether it still stands."""


class MySQL(remote.Remote):
    """A database of a MySQL or MariaDB server."""

    kind = "mysql"
    dialect = sql.Dialect("mysql", PARAMETER, mysql_ddl.folded)
    types: ClassVar = mysql_ddl.TYPES

    def __init__(self, server: mysql_session.Server, schema: str, *, wait: float = 60.0) -> None:
        super().__init__(schema, wait=wait)
        self._server, self._told = server, mysql_session.Told()
        self._connection: mysql_wire.Connection | None = None
        self._used = 0.0
        """When the connection was last used."""
        self._takes_files = True
        self._keys: dict[str, set[str]] = {}
        """The columns of each table's primary key."""
        self._numbers = itertools.count(1)

    def where(self) -> str:
        """The host and its port."""
        return self._server.where()

    # Connections

    def reach(self) -> str:
        """Open a connection, through the tunnel where there is one, and wait for the server's greeting."""
        return self._server.reach()

    def connect(self) -> None:
        """Sign in; never while a transaction needs the connection that it began on."""
        connection = self._connection
        if connection is not None and connection.is_held:
            return
        if connection is not None and connection.open:
            if time.monotonic() - self._used < STALE:
                return
            with contextlib.suppress(pymysql.err.MySQLError):
                connection.ping(reconnect=False)
                self._used = time.monotonic()
                return
        self.disconnect()
        self._connection, self._told = self._server.signed_in()
        self._used = time.monotonic()

    def disconnect(self) -> None:
        """Drop the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.drop()

    def interrupt(self) -> None:
        """End the statement that another thread waits for, here and on the server; never raises."""
        connection = self._connection
        if connection is None:
            return
        with contextlib.suppress(Exception):
            number = connection.thread_id()
            connection.cut()
            other, _ = self._server.signed_in()
            with contextlib.closing(other):
                other.query(f"KILL QUERY {number}")

    def close(self) -> None:
        """Let go of the connections and of the tunnel."""
        super().close()
        self._server.close()

    def explain(self, error: Exception) -> errors.TidegateError | None:
        """What an error of pymysql means; its own text may quote values, so only chosen words pass."""
        return self._server.meaning(error, self.schema, self._told.account)

    def _open(self) -> mysql_wire.Connection:
        self.connect()
        assert self._connection is not None, "It was just opened."
        self._used = time.monotonic()
        return self._connection

    # Statements

    def execute(self, text: str, parameters: Sequence[object] = ()) -> None:
        """Run a statement."""
        self._open().query(mysql_wire.filled(text, parameters))

    def fetch(
        self, text: str, parameters: Sequence[object] = (), *, stream: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query; `stream` in a transaction that only reads, and nothing else meanwhile."""
        connection, query = self._open(), mysql_wire.filled(text, parameters)
        if not stream:
            yield from connection.rows(query, stream=False)
            return
        connection.query("START TRANSACTION READ ONLY")
        try:
            yield from connection.rows(query, stream=True)
        finally:
            if connection.open:
                with contextlib.suppress(pymysql.err.MySQLError):
                    connection.query("COMMIT")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction, while the schema's lock is held."""
        with self.evolving():
            connection = self._open()
            connection.query("START TRANSACTION")
            try:
                yield
            except Exception:
                if connection.open:
                    with contextlib.suppress(pymysql.err.MySQLError):
                        connection.query("ROLLBACK")
                raise
            except BaseException:
                # Stopped in the midst of a packet, it could not even be told to roll back.
                self.disconnect()
                raise
            connection.query("COMMIT")

    @contextlib.contextmanager
    def evolving(self) -> Iterator[None]:
        """Hold the schema's lock, which the server lets go of with the connection."""
        name = ddl.literal("tidegate/" + hashlib.sha1(self.schema.encode()).hexdigest())
        connection = self._open()
        [(taken,)] = connection.answer(f"SELECT GET_LOCK({name}, {mysql_session.PATIENCE})")
        if taken != "1":
            raise errors.WarehouseBusy(
                f"Somebody else has been loading into {self.schema} on {self.where()} for longer than a minute."
            )
        connection.is_held = True
        try:
            yield
        finally:
            connection.is_held = False
            if connection.open:
                with contextlib.suppress(pymysql.err.MySQLError):
                    connection.query(f"DO RELEASE_LOCK({name})")

    # Tables

    def existing(self, schema: str) -> dict[str, ddl.Columns]:
        """Every table and view of a schema with its columns."""
        where = [mysql_ddl.folded(schema)]
        rows = self._rows(
            "SELECT table_name AS t, column_name AS c, column_type AS k, column_key AS i FROM "
            f"information_schema.columns WHERE table_schema = {PARAMETER} ORDER BY table_name, ordinal_position",
            where,
        )
        checked = set[tuple[str, str]]()
        if self._told.is_mariadb and any(kind == "longtext" for _, _, kind, _ in rows):
            checks = self._rows(
                "SELECT table_name AS t, check_clause AS c FROM information_schema.check_constraints "
                f"WHERE constraint_schema = {PARAMETER}",
                where,
            )
            checked = {(table, clause) for table, clause in checks}
        found, keys = mysql_ddl.tables(rows, checked)
        if schema == self.schema:  # views are named as their tables, and have no keys
            self._keys = keys
        return found

    def canonical(self, native: str) -> str:
        """The type of ours that holds what a column of a native type holds."""
        # MariaDB, and MySQL before 8.0.19, tell how wide an integer would be shown.
        return super().canonical("bigint" if native.lower().startswith("bigint(") else native)

    def create_schema(self, schema: str) -> None:
        """Make a database, where there is none."""
        name = mysql_ddl.folded(schema)
        if self._rows(
            f"SELECT schema_name AS n FROM information_schema.schemata WHERE schema_name = {PARAMETER}",
            [name],
        ):
            return
        with self._granted("CREATE", schema):
            self.execute(
                f"CREATE DATABASE IF NOT EXISTS {sql.quoted(self.dialect, schema)} "
                f"CHARACTER SET utf8mb4 COLLATE {self._told.collation}"
            )

    def create(self, table: str, columns: ddl.Columns, key: Sequence[str]) -> None:
        """Make a table, with an index of its key."""
        told = [
            f"{self.column(c)} {self._native(kind, len(key) if c in key else 0)}"
            for c, kind in columns.items()
        ]
        if key:
            told.append(f"PRIMARY KEY ({', '.join(map(self.column, key))})")
        elif table == base.TOMBSTONES:
            told.append(f"KEY `key` ({self.column('table_name')}(64), {self.column('key')}(640))")
        self.execute(mysql_ddl.created(f"TABLE IF NOT EXISTS {self.name(table)}", told, self._told.collation))

    def add(self, table: str, column: str, kind: str) -> None:
        """Add a column."""
        self.execute(f"ALTER TABLE {self.name(table)} ADD COLUMN {self.column(column)} {self._native(kind)}")

    def widen(self, table: str, column: str, there: str, kind: str) -> None:
        """Change a column's type in place, or by a copy where MySQL would write its values in another way.

        Killed before the copy takes the column's place: the copy stays under a name of its own, and the next call
        makes it anew.
        """
        name, old, new = self.name(table), self.column(column), self.column(mysql_ddl.WIDENING)
        key = self._keys.get(table.lower(), set())
        native = self._native(kind, len(key) if column in key else 0)
        value = mysql_ddl.widened(old, there, kind)
        if value is None:
            self.execute(f"ALTER TABLE {name} MODIFY COLUMN {old} {native}")
            return
        if column in key:
            raise errors.ConfigError(
                f"The key column {column} of {self.schema}.{table} cannot become text in place; give the stream "
                "another table name."
            )
        if mysql_ddl.WIDENING in self.existing(self.schema)[self._spelled.get(table.lower(), table)]:
            self.execute(f"ALTER TABLE {name} DROP COLUMN {new}")
        self.execute(f"ALTER TABLE {name} ADD COLUMN {new} {native} AFTER {old}")
        self.execute(f"UPDATE {name} SET {new} = {value} WHERE {old} IS NOT NULL")
        self.execute(f"ALTER TABLE {name} DROP COLUMN {old}, CHANGE COLUMN {new} {old} {native}")

    def _native(self, kind: str, parts: int = 0) -> str:
        return mysql_ddl.native(kind, self._told.collation, parts)

    # Rows

    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows by LOAD DATA LOCAL, or by INSERT where the server forbids that."""
        self._append(self.name(table), rows)

    def remove(self, table: str, keys: pa.Table) -> None:
        """Remove all rows under keys."""
        with self.shown(keys) as (source, _):
            # Of a database that is not the session's own, no alias can be deleted from.
            name, columns = self.name(table), [self.column(column) for column in keys.column_names]
            same = " AND ".join(f"{name}.{column} = k.{column}" for column in columns)
            self.execute(f"DELETE FROM {name} USING {source} AS k STRAIGHT_JOIN {name} ON {same}")

    def stored(self, table: str, columns: Sequence[str], by: pa.Table) -> pa.Table:
        """The stored rows that share values with a row of `by`; see `desk.Reader`."""
        there = self._tables[table]
        wanted = pa.schema([pa.field(column, ddl.ARROW[there[column]]) for column in columns])
        if not by.num_rows or not self._is_filled(table):
            return wanted.empty_table()
        # The optimizer knows nothing of rows that just came in, so it is told where to begin: with them, where an
        # index leads to each, else with the table.
        is_indexed = table == base.TOMBSTONES or set(by.column_names) <= self._keys.get(table, set())
        chosen = ", ".join(f"t.{self.column(column)}" for column in columns)
        with self.shown(by) as (source, _):
            sides = [f"{source} AS k", f"{self.name(table)} AS t"]
            joined = " STRAIGHT_JOIN ".join(sides if is_indexed else reversed(sides))
            text = f"SELECT {chosen} FROM {joined} ON {self._same(by.column_names)}"
            found = [batch.rename_columns(list(columns)) for batch in self.fetch(text)]
        return pa.Table.from_batches(found).cast(wanted)

    @contextlib.contextmanager
    def shown(self, rows: pa.Table) -> Iterator[tuple[str, Sequence[object]]]:
        """Rows as a temporary table with an index."""
        name = sql.quoted(self.dialect, self.schema, f"_tidegate_shown_{next(self._numbers)}")
        length = mysql_ddl.longest(rows.num_columns)
        told, index = [], []
        for column in rows.column_names:
            kind, quoted = ddl.sql_type(rows.schema.field(column)), self.column(column)
            longest = pc.max(pc.utf8_length(rows.column(column))).as_py() if kind == "VARCHAR" else 0
            is_short = (longest or 0) <= length
            told.append(f"{quoted} {self._native(kind, rows.num_columns if is_short else 0)}")
            index.append(quoted if is_short else f"{quoted}({length})")
        told.append(f"KEY ({', '.join(index)})")
        with self._granted("CREATE TEMPORARY TABLES", self.schema):
            self.execute(mysql_ddl.created(f"TEMPORARY TABLE {name}", told, self._told.collation))
        try:
            self._append(name, rows)
            yield name, ()
        finally:
            if self._connection is not None and self._connection.open:
                with contextlib.suppress(pymysql.err.MySQLError):
                    self.execute(f"DROP TEMPORARY TABLE IF EXISTS {name}")

    def _append(self, name: str, rows: pa.Table) -> None:
        columns = ", ".join(map(self.column, rows.column_names))
        connection = self._open()
        if not self._told.takes_files:
            self._give_up_files()
        if self._takes_files:
            try:
                connection.upload(name, columns, rows)
                return
            except pymysql.err.MySQLError as error:
                if error.args[0] not in mysql_server.NO_FILES or not connection.open:
                    raise
                self._give_up_files()
        connection.insert(name, columns, rows, self._told.packet // 2)

    def _give_up_files(self) -> None:
        if self._takes_files:
            log.warning(
                "%s forbids LOAD DATA LOCAL, so rows go in by INSERT; `SET GLOBAL local_infile = 1` is faster.",
                self.where(),
            )
        self._takes_files = False

    # Checks

    def steps(self) -> base.Steps:
        """As everywhere, but writing tries all that loads do, so that each privilege that is missing is named."""
        return (*super().steps()[:-1], ("write", self._try_all))

    def _try_all(self) -> str:
        self.create_schema(self.schema)
        self.create_schema(self.live)
        table, view = "_tidegate_check", f"{sql.quoted(self.dialect, self.live, '_tidegate_check')}"
        with self.evolving():
            self.execute(f"DROP TABLE IF EXISTS {self.name(table)}")
            self.create(table, own.STATE, ("key",))
            try:
                self.add(table, "_deleted_at", own.TIME)
                self.append(table, pa.table({"key": ["a", "b"], "value": ["b", "c"]}))
                self.remove(table, pa.table({"key": ["b"]}))
                with self._granted("CREATE VIEW, DROP, SELECT", self.live):
                    self.show_live(table)
                    found = self._rows(f"SELECT {self.column('key')}, value FROM {view}")
                    self.hide_live(table)
                if found != [("a", "b")]:
                    raise errors.WarehouseError(f"A scratch table of {self.where()} did not keep its row.")
                self.execute(f"UPDATE {self.name(table)} SET value = {PARAMETER}", ["d"])
            finally:
                self.execute(f"DROP TABLE {self.name(table)}")
        by = "LOAD DATA LOCAL" if self._takes_files else "INSERT, since local_infile is off"
        return f"a scratch table was written in {self.schema} by {by} and dropped again"

    @contextlib.contextmanager
    def _granted(self, privileges: str, schema: str) -> Iterator[None]:
        """Say what to grant when the server refuses what runs inside."""
        try:
            yield
        except pymysql.err.MySQLError as error:
            if error.args[0] in mysql_server.DENIED:
                raise mysql_server.missing(
                    privileges, mysql_ddl.folded(schema), self._told.account, self.where()
                ) from None
            raise


def open_warehouse(target: kinds.MySQL, *, wait: float = 60.0) -> MySQL:
    """The warehouse that a configuration describes; nothing is opened yet."""
    address = mysql_server.address(target)
    through = None
    if target.ssh is not None:
        if address.path:
            raise errors.ConfigError("A socket of this machine is not reached through `ssh`; give a host.")
        through = tunnel.Tunnel(target.ssh, address.host, address.port)
    return MySQL(mysql_session.Server(address, through), target.schema_name, wait=wait)
