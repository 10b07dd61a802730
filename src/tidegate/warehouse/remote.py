"""A warehouse that is reached by SQL over a wire: what all of them share.

A load goes three steps: read what it meets, decide beside the warehouse (`desk`), change. The change of all tables
and of the state is one transaction, where the warehouse has one; an adapter says how to speak, how to get rows in
fast, and what its errors mean.

The same load again leaves the same tables, so a load that lost its connection is simply done again, also where
nobody can say whether it was committed.
"""

from __future__ import annotations

import abc
import contextlib
import datetime as dt
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, TypeVar

import pyarrow as pa

from tidegate import errors
from tidegate.warehouse import (
    base,
    ddl,
    desk,
    ledger,
    lookup,
    own,
    remote_script,
    scripts,
    sql,
    staging,
    wire,
)

T = TypeVar("T")


class Remote(wire.Wire, abc.ABC):
    """A schema of a warehouse that is reached by SQL, with all that a `base.Warehouse` does."""

    whole: ClassVar[bool] = True
    """See `base.Warehouse`."""

    def check(self) -> list[base.Check]:
        """Reach, sign in, list, read, write; the first step that fails is the last."""
        return self.checked(self.steps())

    def checked(self, steps: base.Steps) -> list[base.Check]:
        """What came of steps as `steps` has them; the first that fails is the last."""
        return base.checked(steps, self._explained)

    def steps(self) -> base.Steps:
        """The steps of `check`, in their order; each says what it found, or raises."""
        return (
            ("reach", self.reach),
            ("sign in", self._check_sign_in),
            ("list", self._check_list),
            ("read", self._check_read),
            ("write", self._check_write),
        )

    def prepare(self, tables: Sequence[base.Table]) -> None:
        """Create tables, add columns, widen types, and keep the views of `<schema>_live` in step."""
        for table in tables:
            staging.check_name(table)

        def evolve() -> None:
            with self.evolving():
                there = self._ready()
                views = self._views()
                for table in tables:
                    self._evolve(table, list(table.schema), there, views)

        self._do(evolve)

    def claim(self, writer: str, tables: Sequence[str]) -> base.Fence:
        """Raise the token of every table, and note who holds it."""

        def take() -> dict[str, int]:
            with self.evolving():
                self._ready()
            with self.transaction():
                # Two that claim at once, where nothing keeps them apart, must not end with the same token.
                step = 1 if self.alone else random.randrange(1, 2**31)
                tokens, state = ledger.raised(self._tokens(), writer, tables, step)
                self._put(state)
            return tokens

        return base.Fence(writer, self._do(take))

    def load(
        self,
        loads: Sequence[base.Load],
        state: Mapping[str, str | None],
        fence: base.Fence | None = None,
    ) -> list[base.Loaded]:
        """Merge rows and write state in one transaction."""
        staged = staging.checked(loads, state)
        return self._do(lambda: self._load(staged, state, fence))

    def _load(
        self, staged: Sequence[staging.Staged], state: Mapping[str, str | None], fence: base.Fence | None
    ) -> list[base.Loaded]:
        there = self._there()
        if fence is not None and base.STATE in there:
            self._hold(fence)  # who was shut out makes no tables either
        if base.STATE not in there or any(_lacks(one, there) for one in staged):
            with self.evolving():
                there, views = self._ready(), self._views()
                for one in staged:
                    for table, fields in _wanted(one, there):
                        self._evolve(table, fields, there, views)
        if self.alone:
            with self.transaction():
                self._hold(fence)
                done, changes = self._decided(staged, there)
                self.commit(changes, state)
        else:
            done, changes = self._decided(staged, there)
            with self.uploaded(changes) as near, self.transaction():
                self._hold(fence)
                self.commit(near, state)
        self._filled |= {change.table for change in changes if change.rows.num_rows}
        return done

    @contextlib.contextmanager
    def uploaded(self, changes: Sequence[desk.Change]) -> Iterator[Sequence[desk.Change]]:
        """Bring the rows of changes near, before the transaction that applies them; nothing, unless overridden."""
        yield changes

    def commit(self, changes: Sequence[desk.Change], state: Mapping[str, str | None]) -> None:
        """Apply changes and write state; runs inside of `transaction`."""
        for change in changes:
            self.change(change)
        self._put(state)

    def change(self, change: desk.Change) -> None:
        """Remove keys and add rows; of a warehouse without transactions, in one step."""
        if change.gone.num_rows:
            self.remove(change.table, change.gone)
        if change.rows.num_rows:
            self.append(change.table, change.rows)

    def remove(self, table: str, keys: pa.Table) -> None:
        """Remove all rows under keys."""
        with self.shown(keys) as (source, parameters):
            same = self._same(keys.column_names)
            self.execute(f"DELETE FROM {self.name(table)} AS t USING {source} AS k WHERE {same}", parameters)

    def find(self, table: base.Table, keys: pa.Table, columns: Sequence[str] = ()) -> pa.Table:
        """What is stored or buried under keys."""
        return self.find_all([base.Wanted(table, keys, columns)])[0]

    def find_all(self, wanted: Sequence[base.Wanted]) -> list[pa.Table]:
        """The same for several tables."""
        return self._do(lambda: self.found(wanted))

    def found(self, wanted: Sequence[base.Wanted]) -> list[pa.Table]:
        """The same, once connected."""
        there = self._there()
        if base.STATE not in there:
            return [lookup.nothing(each.table, each.columns) for each in wanted]
        return desk.found(wanted, there, self._buried(), self)

    def state(self, *prefixes: str) -> dict[str, str]:
        """The committed state under any of `prefixes`."""

        def state() -> dict[str, str]:
            if base.STATE not in self._there():
                return {}
            chosen = prefixes or ("",)
            where = " OR ".join(
                f"{self.beginning(self.column('key'), len(p))} = {self._parameter(i)}"
                for i, p in enumerate(chosen)
            )
            rows = self._rows(
                f"SELECT {self.column('key')}, {self.column('value')} FROM {self.name(base.STATE)} WHERE {where}",
                chosen,
            )
            return {key: value for key, value in sorted(rows) if not key.startswith(base.FENCE)}

        return self._do(state)

    def columns(self, table: str) -> dict[str, str]:
        """Column names and native types of a table."""

        def columns() -> dict[str, str]:
            found = self.existing(self.schema)
            named = {name.lower(): name for name in sorted(found, key=lambda name: name == name.lower())}
            return found.get(named.get(table.lower(), table), {})

        return self._do(columns)

    def read(self, text: str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """Stream the rows of a query in Tidegate's own SQL (see `sql`)."""
        return self.read_with({}, text, parameters)

    def read_with(
        self, native: Mapping[str, str], text: str, parameters: Sequence[object] = ()
    ) -> Iterator[pa.RecordBatch]:
        """As `read`; some names in the query stand for SQL of the warehouse's own, such as a pushed filter."""
        names, told = sql.columns(text), sql.translated(text, self.dialect)
        for name, condition in native.items():
            told = told.replace(sql.quoted(self.dialect, name), condition)
        reader = self._reader()
        try:
            with reader._explained():
                reader.connect()
                for batch in reader.fetch(told, parameters, stream=True):
                    yield batch.rename_columns(list(names)) if "*" not in names else batch
        except BaseException:
            reader.disconnect()
            raise
        finally:
            self._keep(reader)

    def asked(
        self, text: str, parameters: Sequence[object] = (), *, before: Sequence[str] = ()
    ) -> Iterator[pa.RecordBatch]:
        """Stream the rows of a user's query in the warehouse's own SQL, once the statements `before` have run."""
        with self._explained():
            self.connect()
            for statement in before:
                self.execute(statement)
            yield from self.ask(text, parameters)

    def scripted(self, work: Callable[[scripts.Script], T]) -> T:
        """Do work inside the warehouse."""

        def do() -> T:
            with self.evolving():
                self._ready()
            return work(remote_script.Script(self))

        return self._do(do)

    def stored(self, table: str, columns: Sequence[str], by: pa.Table) -> pa.Table:
        """The stored rows that share values with a row of `by`; see `desk.Reader`."""
        there = self._tables[table]
        kinds = {column: there[column] for column in columns}
        wanted = pa.schema([pa.field(column, ddl.ARROW[kind]) for column, kind in kinds.items()])
        if not by.num_rows or not self._is_filled(table):
            return wanted.empty_table()
        chosen = ", ".join(
            f"{self.as_read(f't.{self.column(column)}', kind)} AS {self.column(column)}"
            for column, kind in kinds.items()
        )
        with self.shown(by) as (source, parameters):
            same = self._same(by.column_names)
            text = f"SELECT {chosen} FROM {self.name(table)} AS t JOIN {source} AS k ON {same}"
            batches = [batch.rename_columns(list(columns)) for batch in self.fetch(text, parameters)]
        return pa.Table.from_batches(batches).cast(wanted)

    # Tables

    def _ready(self) -> dict[str, ddl.Columns]:
        """The tables, once the schema and Tidegate's own tables are there."""
        there = self._there()
        if base.STATE not in there or base.TOMBSTONES not in there:
            self.create_schema(self.schema)
            for name, (columns, key) in own.TABLES.items():
                if name not in there:
                    self.create(name, columns, key)
            there = self._there()
        return there

    def _evolve(
        self,
        table: base.Table,
        fields: Sequence[pa.Field],
        there: dict[str, ddl.Columns],
        views: dict[str, ddl.Columns],
    ) -> None:
        """Create or widen a table, noting its columns in `there`; its view follows."""
        lower = table.name.lower()
        known = there.get(lower)
        columns, steps = ddl.planned(
            self.schema, table, fields, known, lambda column: self.beyond_double(lower, column)
        )
        has_view = table.schema.get_field_index("_deleted_at") >= 0
        if has_view and lower in views and any(isinstance(step, ddl.Widen) for step in steps):
            self.hide_live(lower)
        for step in steps:
            if isinstance(step, ddl.Create):
                self._spelled[lower] = table.name
                self.create(table.name, step.columns, table.key)
            elif isinstance(step, ddl.Add):
                self.add(lower, step.column, step.kind)
            else:
                self.widen(lower, step.column, step.there, step.kind)
        there[lower] = columns
        if has_view and (steps or lower not in views):
            if not views:
                self.create_schema(self.live)
            self.show_live(lower)
            views[lower] = columns

    # Rows

    def _decided(
        self, staged: Sequence[staging.Staged], there: dict[str, ddl.Columns]
    ) -> tuple[list[base.Loaded], list[desk.Change]]:
        return desk.decided(staged, there, self._buried() if staged else set(), self)

    def _buried(self) -> set[str]:
        """The tables that have graves."""
        column = self.column("table_name")
        return {
            table for (table,) in self._rows(f"SELECT DISTINCT {column} FROM {self.name(base.TOMBSTONES)}")
        }

    def _is_filled(self, table: str) -> bool:
        """Does a table hold a row? What a table once held is asked for by its keys."""
        if table not in self._filled and self._rows(self.any_row(table)):
            self._filled.add(table)
        return table in self._filled

    # State

    def _put(self, state: Mapping[str, str | None]) -> None:
        """Write texts under their keys, None removes."""
        if not state:
            return
        kept = {key: value for key, value in state.items() if value is not None}
        now = pa.scalar(dt.datetime.now(dt.UTC), ddl.ARROW[own.TIME])
        rows = pa.table(
            {
                "key": pa.array(kept, pa.string()),
                "value": pa.array(kept.values(), pa.string()),
                "updated_at": pa.repeat(now, len(kept)),
            }
        )
        keys = pa.table({"key": pa.array(state, pa.string())})
        self.change(desk.Change(base.STATE, keys, rows))

    def _hold(self, fence: base.Fence | None) -> None:
        if fence is not None:
            ledger.hold(fence, self._tokens(), f"the schema {self.schema} of {self.where()}")

    def _tokens(self) -> dict[str, tuple[int, str]]:
        key = self.column("key")
        rows = self._rows(
            f"SELECT {key}, {self.column('value')} FROM {self.name(base.STATE)} "
            f"WHERE {self.beginning(key, len(base.FENCE))} = {self._parameter(0)}",
            [base.FENCE],
        )
        return ledger.tokens(rows)

    # Checks

    def _check_sign_in(self) -> str:
        self.connect()
        return f"signed in to {self.where()}"

    def _check_list(self) -> str:
        tables = self.existing(self.schema)
        return f"{len(tables)} tables in the schema {self.schema}"

    def _check_read(self) -> str:
        if base.STATE not in self._there():
            return "nothing to read yet"
        return f"{len(self.state())} entries of state"

    def _check_write(self) -> str:
        name = f"_tidegate_check_{random.randrange(16**8):08x}"
        self.create_schema(self.schema)
        self.create(name, own.STATE, ("key",))
        try:
            self.append(name, pa.table({"key": ["a"], "value": ["b"]}))
            found = self._rows(f"SELECT {self.column('key')}, {self.column('value')} FROM {self.name(name)}")
            if found != [("a", "b")]:
                raise errors.WarehouseError(f"a scratch table of {self.where()} did not keep its row")
        finally:
            self.drop(name)
        self.create_schema(self.live)
        return f"a scratch table was written in {self.schema} and dropped again"


def _lacks(one: staging.Staged, there: Mapping[str, ddl.Columns]) -> bool:
    return any(
        ddl.lacks(table, fields, there.get(table.name.lower())) for table, fields in _wanted(one, there)
    )


def _wanted(
    one: staging.Staged, there: Mapping[str, ddl.Columns]
) -> Iterator[tuple[base.Table, list[pa.Field]]]:
    """The tables of a load, and the columns that it needs of them."""
    table = one.load.table
    yield table, ddl.fields_of(one.load, there.get(table.name.lower()))
    if one.load.history is not None:
        yield one.load.history, list(one.load.history.schema)
