"""Tables as files in a folder or a bucket: what Parquet, Delta Lake and Iceberg share.

There is no server, so a load is decided beside the tables (`desk`), as for every warehouse, and lands as files.
Queries run on a DuckDB in memory, which sees each table as it stood at one moment.
"""

from __future__ import annotations

import abc
import contextlib
import datetime as dt
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import duckdb
import pyarrow as pa

from tidegate import errors
from tidegate.adapters import lake_check, lake_engine, lake_files, storage
from tidegate.warehouse import base, ddl, desk, ledger, own, patience, staging

T = TypeVar("T")

BATCH = 10_000
"""Rows per batch of `read`."""

OWN_STATE = "_tidegate/"
"""State keys of the lake's own, which `state` does not show."""

Texts = dict[str, tuple[str, dt.datetime]]
"""State: the text under each key, and since when."""


def rows_of(texts: Texts) -> pa.Table:
    """State as rows of its table."""
    return pa.table(
        {
            "key": pa.array(texts, pa.string()),
            "value": pa.array([value for value, _ in texts.values()], pa.string()),
            "updated_at": pa.array([since for _, since in texts.values()], pa.timestamp("us", "UTC")),
        }
    )


@dataclass(frozen=True, slots=True)
class Evolution:
    """A table that comes to be (`before` is None), or gets more columns and wider ones."""

    name: str
    before: ddl.Columns | None
    after: ddl.Columns


class Lake(abc.ABC):
    """A schema of a lake; `wait` is how many seconds a call goes on trying while others are in its way."""

    kind: ClassVar[str]
    nul = "\0"
    whole = True
    conditions: ClassVar[tuple[str, ...]] = ()
    """What the storage must be able to make a write depend on, in the order of trying."""

    def __init__(self, place: storage.Storage, schema: str, *, wait: float = 60.0) -> None:
        self.schema, self.wait = schema, wait
        self.live = f"{schema}_live"
        self.storage = place
        self.root = f"{place.root}/{storage.encoded(schema)}"
        self._engine: duckdb.DuckDBPyConnection | None = None
        self._lent: list[duckdb.DuckDBPyConnection] = []
        self._lock = threading.RLock()
        self._signed = ""
        self._buried: tuple[str, set[str]] = ("", set())

    # What a format says

    @abc.abstractmethod
    def refresh(self) -> None:
        """See the tables as they are now; every call begins with it."""

    @abc.abstractmethod
    def names(self) -> list[str]:
        """The names of all tables in lower case."""

    @abc.abstractmethod
    def table(self, name: str) -> lake_files.Table | None:
        """A table by its name in lower case, as far as loads that were finished go."""

    @abc.abstractmethod
    def texts(self) -> Texts:
        """The whole state, the lake's own included."""

    @abc.abstractmethod
    def evolve(self, evolutions: Sequence[Evolution]) -> None:
        """Create tables, add and widen columns."""

    @abc.abstractmethod
    def commit(
        self, changes: Sequence[desk.Change], state: Mapping[str, str | None], fence: base.Fence | None
    ) -> None:
        """Apply changes and write state, unless somebody else was quicker: then WarehouseBusy, or Fenced."""

    def settle(self, names: Sequence[str]) -> None:
        """Take back what a killed load left in tables, which are about to be loaded."""
        del names

    def sweep(self, names: Sequence[str]) -> None:
        """Remove files that nobody needs any more."""
        del names

    def explain(self, error: Exception) -> errors.TidegateError | None:
        """The error of ours that says what an error of the format's library means; None where it is not its own."""
        del error
        return None

    @abc.abstractmethod
    def forget(self) -> None:
        """Let go of all that is kept of the tables."""

    # What all of them do

    def check(self) -> list[base.Check]:
        """Reach the folder, read its tables, write a scratch file; the first step that fails is the last."""
        steps = (
            ("reach", self.storage.look),
            ("read", self._tables_there),
            ("write", lambda: lake_check.write(self.storage, self.root, self.conditions)),
        )
        with self._lock:
            return base.checked(steps, self._explained)

    def _tables_there(self) -> str:
        self.refresh()
        return f"{len(self.names())} tables in the schema {self.schema}"

    def prepare(self, tables: Sequence[base.Table]) -> None:
        """Create tables, add columns, widen types."""
        for table in tables:
            staging.check_name(table)
        self._do(lambda: self._evolve([(table, list(table.schema)) for table in tables]))

    def claim(self, writer: str, tables: Sequence[str]) -> base.Fence:
        """Raise the token of every table by one, and note who holds it."""

        def take() -> dict[str, int]:
            self._evolve([])
            tokens, state = ledger.raised(self._tokens(), writer, tables)
            self.commit([], state, None)
            self.sweep([table.lower() for table in tables])
            return tokens

        return base.Fence(writer, self._do(take))

    def load(
        self,
        loads: Sequence[base.Load],
        state: Mapping[str, str | None],
        fence: base.Fence | None = None,
    ) -> list[base.Loaded]:
        """Merge rows and write state."""
        staged = staging.checked(loads, state)
        return self._do(lambda: self._load(staged, state, fence))

    def _load(
        self, staged: Sequence[staging.Staged], state: Mapping[str, str | None], fence: base.Fence | None
    ) -> list[base.Loaded]:
        self.hold(fence)  # who was shut out makes no tables either
        wanted = [pair for one in staged for pair in self._wanted(one)]
        self._evolve(wanted)
        names = list(dict.fromkeys(table.name.lower() for table, _ in wanted))
        self.settle([*names, base.TOMBSTONES])
        there = {name: table.columns for name in [*names, base.TOMBSTONES] if (table := self.table(name))}
        there[base.STATE] = own.STATE
        buried = self._with_graves() if staged else set()
        done, changes = desk.decided(staged, there, buried, self)
        if changes or state:
            self.commit(changes, state, fence)
        return done

    def find(self, table: base.Table, keys: pa.Table, columns: Sequence[str] = ()) -> pa.Table:
        """What is stored or buried under keys."""
        return self.find_all([base.Wanted(table, keys, columns)])[0]

    def find_all(self, wanted: Sequence[base.Wanted]) -> list[pa.Table]:
        """The same for several tables."""

        def find() -> list[pa.Table]:
            names = [each.table.name.lower() for each in wanted]
            there = {name: known.columns for name in names if (known := self.table(name)) is not None}
            return desk.found(wanted, {**there, base.TOMBSTONES: own.GRAVES}, self._with_graves(), self)

        return self._do(find)

    def state(self, *prefixes: str) -> dict[str, str]:
        """The committed state under any of `prefixes`."""
        found = self._do(self.texts)
        return {
            key: value
            for key, (value, _) in sorted(found.items())
            if not key.startswith((base.FENCE, OWN_STATE)) and key.startswith(prefixes or ("",))
        }

    def columns(self, table: str) -> dict[str, str]:
        """Column names and types of a table."""
        found = self._do(lambda: self.table(table.lower()))
        return dict(found.native) if found is not None else {}

    def read(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """Stream the rows of a query; it sees the tables as they were when it began."""
        engine = lake_engine.opened(self.storage)
        self._lent.append(engine)
        try:
            with self._explained():
                self._do(lambda: self._show(engine, sql))
                relation = engine.sql(sql, params=list(parameters))
                if relation is None:
                    raise errors.ConfigError("The statement returns no rows; write a SELECT.")
                batches = relation.to_arrow_reader(BATCH)
                del relation
            while True:
                with self._explained():
                    batch = next(batches, None)
                if batch is None:
                    break
                yield batch
        finally:
            self._lent.remove(engine)
            engine.close()

    def interrupt(self) -> None:
        """End the queries that other threads read, so that they raise there; nothing, where none runs."""
        for engine in list(self._lent):
            engine.interrupt()

    def close(self) -> None:
        """Let go of everything, but for what is being read."""
        with self._lock:
            engine, self._engine = self._engine, None
            if engine is not None:
                engine.close()
            self.forget()

    # Reading

    def stored(self, table: str, columns: Sequence[str], by: pa.Table) -> pa.Table:
        """The stored rows that share values with a row of `by`; see `desk.Reader`."""
        found = self.table(table)
        assert found is not None, "It was there a moment ago."
        return lake_files.stored(self.own_engine(), found, columns, by)

    def own_engine(self) -> duckdb.DuckDBPyConnection:
        """The DuckDB of our own statements, which lives on."""
        if self._engine is None:
            self._engine = lake_engine.opened(self.storage)
            # It takes every table for one row, and would hold it in memory to look for a few keys in it.
            self._engine.execute("SET disabled_optimizers = 'build_side_probe_side'")
        return self._engine

    def _show(self, engine: duckdb.DuckDBPyConnection, sql: str) -> None:
        """Make views of the tables that a query names, and let it open no other files."""
        names = self.names()
        if not names:
            raise errors.ConfigError(f"{self.where()} does not exist yet; pull into it first.")
        found = [table for name in lake_engine.named(sql, names) if (table := self.table(name)) is not None]
        lake_engine.show(engine, self.schema, self.live, found, OWN_STATE)

    def _with_graves(self) -> set[str]:
        """The tables that have graves."""
        graves = self.table(base.TOMBSTONES)
        if graves is None or not graves.rows:
            return set()
        if self._buried[0] != graves.at:
            found = self.own_engine().execute(f"SELECT DISTINCT table_name FROM {lake_files.source(graves)}")
            self._buried = (graves.at, {name for (name,) in found.fetchall()})
        return self._buried[1]

    def read_texts(self, table: lake_files.Table) -> Texts:
        """The rows of the state's table."""
        text = f"SELECT key, value, updated_at FROM {lake_files.source(table)}"
        found = self.own_engine().sql(text).to_arrow_table()
        keys, values, times = (column.to_pylist() for column in found.columns)
        return dict(zip(keys, zip(values, times, strict=True), strict=True))

    # Tables

    def _evolve(self, wanted: Sequence[tuple[base.Table, list[pa.Field]]]) -> None:
        """Create or widen tables until they take their fields."""
        first: dict[str, ddl.Columns | None] = {}
        after: dict[str, ddl.Columns] = {}
        spelled: dict[str, str] = {}
        for name, (columns, _) in own.TABLES.items():
            if self.table(name) is None:
                first[name], after[name], spelled[name] = None, columns, name
        for table, fields in wanted:
            lower = table.name.lower()
            if lower not in first:
                known = self.table(lower)
                first[lower] = known.columns if known is not None else None
                spelled[lower] = known.name if known is not None else table.name
            columns, _ = ddl.planned(
                self.schema,
                table,
                fields,
                after.get(lower, first[lower]),
                lambda column, lower=lower: self._beyond_double(lower, column),  # type: ignore[misc]  # typed by planned
            )
            after[lower] = columns
        evolutions = [
            Evolution(spelled[name], first[name], columns)
            for name, columns in after.items()
            if first[name] != columns
        ]
        if evolutions:
            self.evolve(evolutions)

    def _wanted(self, one: staging.Staged) -> Iterator[tuple[base.Table, list[pa.Field]]]:
        """The tables of a load, and the columns that it needs of them."""
        table = one.load.table
        known = self.table(table.name.lower())
        yield table, ddl.fields_of(one.load, known.columns if known is not None else None)
        if one.load.history is not None:
            yield one.load.history, list(one.load.history.schema)

    def _beyond_double(self, name: str, column: str) -> bool:
        """Does a column of integers hold one that has no exact double?"""
        table = self.table(name)
        if table is None or not table.rows:
            return False
        quoted = base.quoted(column)
        [(least, most)] = (
            self.own_engine()
            .execute(f"SELECT min({quoted}), max({quoted}) FROM {lake_files.source(table)}")
            .fetchall()
        )
        return any(end is not None and abs(end) > ddl.EXACT_IN_DOUBLE for end in (least, most))

    # State

    def hold(self, fence: base.Fence | None) -> None:
        """Raise Fenced unless the fence still holds."""
        if fence is not None:
            ledger.hold(fence, self._tokens(), f"the schema {self.schema} of {self.where()}")

    def _tokens(self) -> dict[str, tuple[int, str]]:
        return ledger.tokens(
            (key, value) for key, (value, _) in self.texts().items() if key.startswith(base.FENCE)
        )

    def changed(self, *states: Mapping[str, str | None]) -> Texts:
        """The whole state once texts are written under their keys; None removes."""
        texts, now = dict(self.texts()), dt.datetime.now(dt.UTC)
        for key, value in (pair for state in states for pair in state.items()):
            texts.pop(key, None)
            if value is not None:
                texts[key] = (value, now)
        return texts

    def where(self) -> str:
        """The lake in a few words."""
        return self.storage.root

    # Trouble

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the storage, the format's library and DuckDB raise inside into an error of ours."""
        try:
            yield
        except errors.TidegateError:
            raise
        except Exception as error:
            told = lake_check.told(error, self.where(), self.explain)
            if told is None:
                raise
            # Without the cause: its text may quote rows.
            raise told from None

    def _do(self, work: Callable[[], T]) -> T:
        """Do something that may be done again, until it is done or others were in the way too long."""

        def once() -> T:
            try:
                with self._lock, self._explained():
                    self._sign()
                    self.refresh()
                    return work()
            except BaseException:
                self.close()
                raise

        return patience.patiently(once, self.wait, 0.02)

    def _sign(self) -> None:
        """Open everything anew once the key is another; those of roles live for an hour."""
        signed = self.storage.signed()
        if signed != self._signed:
            self.close()
            self._signed = signed
