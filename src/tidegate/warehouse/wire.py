"""How a warehouse that is reached by SQL over a wire is spoken to.

An adapter says how to sign in, how to run statements, how to get rows in fast, and what its errors mean. What it
leaves unsaid is said here, in SQL that most warehouses understand.
"""

from __future__ import annotations

import abc
import contextlib
import copy
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

import duckdb
import pyarrow as pa

from tidegate import errors
from tidegate.warehouse import ddl, faults, patience, sql

T = TypeVar("T")


class Wire(abc.ABC):
    """A schema of a warehouse that is reached by SQL; one connection, opened when it is needed.

    `wait` is how many seconds a call goes on trying while the warehouse cannot be reached.
    """

    kind: ClassVar[str]
    dialect: ClassVar[sql.Dialect]
    types: ClassVar[Mapping[str, str]]
    """The warehouse's type for each of ours (`ddl.OURS`)."""
    nul: ClassVar[str] = "\0"
    """What a NUL character in a text becomes, where the warehouse cannot hold one."""
    alone: ClassVar[bool] = True
    """Does `transaction` keep other writers of the schema out from its beginning, and may it read and upload?

    Else what a load meets is read before the transaction, and the fence alone tells whether it still holds.
    """

    limit: float | None = None
    """How many seconds the server shall give a user's query, where its session cannot be told (`asked`)."""

    def __init__(self, schema: str, *, wait: float = 60.0) -> None:
        self.schema, self.wait = schema, wait
        self.live = f"{schema}_live"
        self._connection: Any = None
        self._lock = threading.RLock()
        self._readers: list[Self] = []
        self._filled: set[str] = set()
        self._spelled: dict[str, str] = {}
        """Tables by their names in lower case, as the warehouse spells them."""
        self._tables: dict[str, ddl.Columns] = {}
        """The tables as they were last asked for, in our types."""

    # What an adapter says

    @abc.abstractmethod
    def connect(self) -> None:
        """Sign in, where no connection stands; raises ConfigError, WarehouseError, WarehouseUnreachable."""

    @abc.abstractmethod
    def disconnect(self) -> None:
        """Drop the connection, whatever state it is in; never raises."""

    @abc.abstractmethod
    def reach(self) -> str:
        """Find out whether there is anything to sign in to, and say so; raises as `connect` does."""

    @abc.abstractmethod
    def explain(self, error: Exception) -> errors.TidegateError | None:
        """The error of ours that says what an error of the driver means, None where it is none of the driver's.

        Its text holds no row's values and no password. A connection that was lost is WarehouseUnreachable.
        """

    @abc.abstractmethod
    def execute(self, text: str, parameters: Sequence[object] = ()) -> None:
        """Run a statement in the warehouse's own words."""

    @abc.abstractmethod
    def fetch(
        self, text: str, parameters: Sequence[object] = (), *, stream: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a query in the warehouse's own words, in the types of `ddl.ARROW` where it has them.

        JSON is text. `stream`: in bounded memory, read only, and for as long as the caller takes. At least one
        batch, so that an empty result has its columns too.
        """

    @abc.abstractmethod
    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """All of the block is committed, or nothing, where the warehouse can do that; see `alone`."""

    @abc.abstractmethod
    def existing(self, schema: str) -> dict[str, ddl.Columns]:
        """Every table and view of a schema by name, with its columns in their order and native types."""

    @abc.abstractmethod
    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows by the fastest way there is; `rows` as in `desk.Change`."""

    @abc.abstractmethod
    def shown(self, rows: pa.Table) -> contextlib.AbstractContextManager[tuple[str, Sequence[object]]]:
        """Let SQL see rows while the block runs: what to write after FROM, before its alias, and its parameters."""

    def ask(self, text: str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """The rows of a user's query, as `fetch` streams them, in types that lose nothing of what it returns.

        JSON has the field metadata `base.JSON`; a number without a fixed scale may come as text.
        """
        return self.fetch(text, parameters, stream=True)

    def interrupt(self) -> None:
        """End the statement that another thread waits for, so that it raises there; never raises."""
        self.disconnect()

    def evolving(self) -> contextlib.AbstractContextManager[None]:
        """Wraps what makes and changes tables; a transaction, where tables can be changed in one."""
        return contextlib.nullcontext()

    def canonical(self, native: str) -> str:
        """The type of ours that holds what a column of a native type holds; text for all that is none of ours."""
        return {kind.upper(): ours for ours, kind in self.types.items()}.get(native.upper(), "VARCHAR")

    def as_read(self, column: str, _: str) -> str:
        """SQL that reads a column, whose SQL and type of ours are given, so that `fetch` may answer with it."""
        return column

    def beginning(self, column: str, length: int) -> str:
        """SQL for the first characters of a text."""
        return f"substr({column}, 1, {length})"

    # Names

    def name(self, table: str, schema: str = "") -> str:
        """A table as the warehouse's SQL names it."""
        return sql.quoted(self.dialect, schema or self.schema, self._spelled.get(table.lower(), table))

    def column(self, name: str) -> str:
        """A column as the warehouse's SQL names it."""
        return sql.quoted(self.dialect, name)

    def _same(self, columns: Sequence[str]) -> str:
        return " AND ".join(f"t.{self.column(column)} = k.{self.column(column)}" for column in columns)

    def _parameter(self, number: int) -> str:
        return self.dialect.parameter.format(number)

    # Tables

    def _there(self) -> dict[str, ddl.Columns]:
        """The tables of the schema, in our types."""
        found = self.existing(self.schema)
        self._spelled = {}
        for name in sorted(found, key=lambda name: name == name.lower()):
            self._spelled[name.lower()] = name
        self._tables = {
            lower: {column: self.canonical(kind) for column, kind in found[name].items()}
            for lower, name in self._spelled.items()
        }
        return self._tables

    def _views(self) -> dict[str, ddl.Columns]:
        return {name.lower(): columns for name, columns in self.existing(self.live).items()}

    def create_schema(self, schema: str) -> None:
        """Make a schema, where there is none."""
        self.execute(f"CREATE SCHEMA IF NOT EXISTS {sql.quoted(self.dialect, schema)}")

    def create(self, table: str, columns: ddl.Columns, _: Sequence[str]) -> None:
        """Make a table, where there is none."""
        told = ", ".join(f"{self.column(column)} {self.types[kind]}" for column, kind in columns.items())
        self.execute(f"CREATE TABLE IF NOT EXISTS {self.name(table)} ({told})")

    def drop(self, table: str) -> None:
        """Drop a table of Tidegate's own."""
        self.execute(f"DROP TABLE {self.name(table)}")

    def add(self, table: str, column: str, kind: str) -> None:
        """Add a column."""
        self.execute(f"ALTER TABLE {self.name(table)} ADD COLUMN {self.column(column)} {self.types[kind]}")

    @abc.abstractmethod
    def widen(self, table: str, column: str, there: str, kind: str) -> None:
        """Give a column a wider type; nothing of what it holds is lost."""

    def beyond_double(self, table: str, column: str) -> bool:
        """Does a column of integers hold one that has no exact double?"""
        name = self.column(column)
        ends = f"min({name}) AS {self.column('least')}, max({name}) AS {self.column('most')}"
        rows = self._rows(f"SELECT {ends} FROM {self.name(table)}")
        return any(end is not None and abs(int(end)) > ddl.EXACT_IN_DOUBLE for end in rows[0])

    def show_live(self, table: str) -> None:
        """Make the view of a table without its tombstones, anew."""
        view = self.name(table, self.live)
        self.execute(
            f"CREATE OR REPLACE VIEW {view} AS SELECT * FROM {self.name(table)} "
            f"WHERE {self.column('_deleted_at')} IS NULL"
        )

    def hide_live(self, table: str) -> None:
        """Drop the view of a table, which is about to change."""
        self.execute(f"DROP VIEW IF EXISTS {self.name(table, self.live)}")

    def any_row(self, table: str) -> str:
        """SQL for one row of a table, if it has any."""
        return f"SELECT 1 AS {self.column('one')} FROM {self.name(table)} LIMIT 1"

    def _rows(self, text: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        found = pa.Table.from_batches(list(self.fetch(text, parameters)))
        return list(zip(*(column.to_pylist() for column in found.columns), strict=True))

    def where(self) -> str:
        """The warehouse in a few words, without secrets."""
        return f"the {self.kind} warehouse"

    def another(self) -> Self:
        """One of us with no connection yet; `_connection` is the one thing that two of us do not share."""
        made = copy.copy(self)
        made._connection = None
        made._lock, made._readers = threading.RLock(), []
        return made

    def _reader(self) -> Self:
        """One of us with a connection of its own, so that rows can be read while others are loaded."""
        with self._lock:
            return self._readers.pop() if self._readers else self.another()

    def _keep(self, reader: Self) -> None:
        with self._lock:
            self._readers.append(reader)

    def close(self) -> None:
        """Let go of the connections."""
        with self._lock:
            for reader in self._readers:
                reader.disconnect()
            self._readers.clear()
            self.disconnect()

    # Trouble

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the driver raises inside into an error of ours."""
        try:
            yield
        except errors.TidegateError:
            raise
        except Exception as error:
            told = self.explain(error)
            if told is None and isinstance(error, duckdb.Error):  # of `desk`, which decides in memory
                told = faults.explain(error, self.where())
            if told is None:
                raise
            self.disconnect()
            # Without the cause: its text may quote rows.
            raise told from None

    def _do(self, work: Callable[[], T]) -> T:
        """Do something that may be done again, until it is done or the warehouse was out of reach too long."""

        def once() -> T:
            try:
                with self._lock, self._explained():
                    self.connect()
                    return work()
            except (errors.WarehouseUnreachable, errors.WarehouseBusy):
                raise
            except BaseException:
                self.disconnect()
                raise

        return patience.patiently(once, self.wait, 0.1)


def reached(host: str, port: int, timeout: float = 10.0) -> str:
    """Open a connection to a port and say so; raises WarehouseUnreachable."""
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise errors.WarehouseUnreachable(
            f"Nothing answers at {host}:{port} ({why}); check the address, the firewall and that it runs."
        ) from None
    return f"{host}:{port} answers"
