"""DuckDB: one file, no server.

When somebody else holds the file, a call waits and then raises WarehouseBusy with the holder's name; loads can wait
on disk instead (`spool`).

A column that somebody added to one of our tables stays, but a row that is updated is replaced whole: keep columns
of your own in a table of your own and join.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa

from tidegate import errors
from tidegate.warehouse import (
    base,
    ddl,
    duckdb_file,
    duckdb_script,
    faults,
    files,
    ledger,
    lookup,
    modes,
    scripts,
    spool,
    staging,
    tombstones,
)

T = TypeVar("T")

log = logging.getLogger(__name__)

BATCH = 10_000
"""Rows per batch of `read`."""


class DuckDB:
    """A schema of a DuckDB file; the file is made by the first `prepare`, `claim` or `load`.

    `wait` is how many seconds a call waits for the file while somebody else holds it. `memory_limit` is what DuckDB
    may take, in bytes; deletes in many places of a large table take more while they last.
    """

    kind = "duckdb"
    nul = "\0"
    whole = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        schema: str = "stripe",
        *,
        wait: float = 60.0,
        memory_limit: int = 96 * 1024 * 1024,
        threads: int = 1,
    ) -> None:
        self.schema = schema
        self.live = f"{schema}_live"
        self.wait = wait
        self._file = duckdb_file.File(
            path,
            reserved=(self.schema.lower(), self.live.lower()),
            wait=wait,
            memory_limit=memory_limit,
            threads=threads,
        )
        self.path = self._file.path
        self._spool = spool.Spool(f"{self.path}.spool")
        self._lent: duckdb.DuckDBPyConnection | None = None

    def check(self) -> list[base.Check]:
        """Reach the file, read it, write a scratch table; the first step that fails is the last."""
        steps = (("reach", self._check_reach), ("read", self._check_read), ("write", self._check_write))
        return base.checked(steps)

    def prepare(self, tables: Sequence[base.Table]) -> None:
        """Create tables, add columns, widen types, and keep the views of `stripe_live` in step."""
        for table in tables:
            staging.check_name(table)

        def evolve(session: duckdb_file.Session) -> None:
            self._replay(session)
            with duckdb_file.transaction(session):
                there = self._ready(session)
                views = self._views(session)
                for table in tables:
                    self._evolve(session, table, list(table.schema), there, views)
                    lower, mark = table.name.lower(), self._mark(table.name)
                    if views.get(lower, mark) != mark:
                        raise errors.ConfigError(
                            f"{self.live}.{table.name} is not a view of Tidegate's; rename it, or give the stream "
                            "another table name."
                        )
                    if lower not in views:
                        self._show_live(session, table)

        self._file.write(evolve)

    def claim(self, writer: str, tables: Sequence[str]) -> base.Fence:
        """Raise the token of every table by one, and note who holds it."""

        def take(session: duckdb_file.Session) -> dict[str, int]:
            self._replay(session)
            with duckdb_file.transaction(session):
                self._ready(session)
                return ledger.claim(session.connection, self._name(session, base.STATE), writer, tables)

        return base.Fence(writer, self._file.write(take))

    def load(
        self,
        loads: Sequence[base.Load],
        state: Mapping[str, str | None],
        fence: base.Fence | None = None,
        *,
        wait: float | None = None,
    ) -> list[base.Loaded]:
        """Merge rows and write state in one transaction, after every load that waits in the spool."""
        staged = staging.checked(loads, state)

        def commit(session: duckdb_file.Session) -> list[base.Loaded]:
            self._replay(session)
            return self._commit(session, staged, state, fence)

        return self._file.write(commit, wait)

    def spool(
        self,
        loads: Sequence[base.Load],
        state: Mapping[str, str | None],
        fence: base.Fence | None = None,
    ) -> None:
        """Set a load aside in `<file>.spool`, durably; the next call that opens the file applies it first."""
        staging.checked(loads, state)
        self._spool.append(loads, state, fence)

    def spooled(self) -> int:
        """How many loads wait on disk."""
        return len(self._spool)

    def settle(self, wait: float | None = None) -> int:
        """Apply every load that waits on disk."""
        if not self.spooled():
            return 0
        return self._file.write(self._replay, wait)

    def find(self, table: base.Table, keys: pa.Table, columns: Sequence[str] = ()) -> pa.Table:
        """What is stored or buried under keys, what waits in the spool included."""
        return self.find_all([base.Wanted(table, keys, columns)])[0]

    def find_all(self, wanted: Sequence[base.Wanted]) -> list[pa.Table]:
        """The same for several tables."""
        self.settle()
        if not self._file.exists():
            return [lookup.nothing(each.table, each.columns) for each in wanted]
        with self._file.reading() as session:
            return self._find(session, wanted)

    def state(self, *prefixes: str) -> dict[str, str]:
        """The committed state under any of `prefixes`, what waits in the spool included."""
        self.settle()
        if not self._file.exists():
            return {}
        with self._file.reading() as session:
            there = ddl.existing(session.connection, session.database, self.schema)
            if base.STATE not in there:
                return {}
            return ledger.read(session.connection, self._name(session, base.STATE), prefixes)

    def columns(self, table: str) -> dict[str, str]:
        """Column names and DuckDB types of a table."""
        self.settle()
        if not self._file.exists():
            return {}
        with self._file.reading() as session:
            tables = ddl.existing(session.connection, session.database, self.schema)
        return tables.get(table.lower(), {})

    def read(self, sql: str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """Stream the rows of a query; the file is held from the first batch until the last, or `close()`."""
        self.settle()
        if not self._file.exists():
            raise errors.ConfigError(f"{self.path} does not exist yet; pull into it first.")
        with self._file.lent() as engine:
            self._lent = engine
            with faults.explained(self.path):
                relation = engine.sql(sql, params=list(parameters))
                if relation is None:
                    raise errors.ConfigError("The statement returns no rows; write a SELECT.")
                batches = relation.to_arrow_reader(BATCH)
                del relation
            try:
                while True:
                    with faults.explained(self.path):
                        batch = next(batches, None)
                    if batch is None:
                        break
                    yield batch
            finally:
                self._lent = None
                # The lock on the file lives as long as the last result.
                batches.close()
                del batches

    def scripted(self, work: Callable[[scripts.Script], T]) -> T:
        """Do work inside the file, after every load that waits in the spool."""

        def do(session: duckdb_file.Session) -> T:
            self._replay(session)
            with duckdb_file.transaction(session):
                self._ready(session)
            where = f"the schema {self.schema} of {self.path}"
            return work(
                duckdb_script.Script(session, self.schema, where, lambda some: self._find(session, some))
            )

        return self._file.write(do)

    def interrupt(self) -> None:
        """End the query that another thread reads, so that it raises there; nothing, where none runs."""
        engine = self._lent
        if engine is not None:
            engine.interrupt()

    def close(self) -> None:
        """Let go of the engine; the file is not held between calls anyway."""
        self._file.close()

    # Inside a session.

    def _replay(self, session: duckdb_file.Session) -> int:
        """Apply what waits in the spool; loads of a writer that was shut out are dropped."""
        applied = 0
        for entry in self._spool.entries():
            try:
                self._commit(session, staging.checked(entry.loads, entry.state), entry.state, entry.fence)
                applied += 1
            except errors.Fenced as error:
                log.warning("%s: dropped a load that waited on disk: %s", self.path, error)
            self._spool.drop(entry)
        return applied

    def _commit(
        self,
        session: duckdb_file.Session,
        staged: Sequence[staging.Staged],
        state: Mapping[str, str | None],
        fence: base.Fence | None,
    ) -> list[base.Loaded]:
        with duckdb_file.transaction(session):
            there = self._ready(session)
            if fence is not None:
                where = f"the schema {self.schema} of {self.path}"
                ledger.hold(fence, ledger.held(session.connection, self._name(session, base.STATE)), where)
            for one in staged:
                known = there.get(one.load.table.name.lower())
                self._evolve(session, one.load.table, ddl.fields_of(one.load, known), there, None)
                if one.load.history is not None:
                    self._evolve(session, one.load.history, list(one.load.history.schema), there, None)
            place = self._place(session, there)
            done = [modes.apply(place, one) for one in staged]
            ledger.put(session.connection, self._name(session, base.STATE), state)
        return done

    def _find(self, session: duckdb_file.Session, wanted: Sequence[base.Wanted]) -> list[pa.Table]:
        place = self._place(session, ddl.existing(session.connection, session.database, self.schema))
        return [lookup.find(place, each.table, each.keys, each.columns) for each in wanted]

    def _place(self, session: duckdb_file.Session, there: dict[str, ddl.Columns]) -> staging.Place:
        buried = set()
        if base.TOMBSTONES in there:
            buried = tombstones.tables(session.connection, self._name(session, base.TOMBSTONES))
        return staging.Place(session, self.schema, there, buried)

    def _ready(self, session: duckdb_file.Session) -> dict[str, ddl.Columns]:
        """Every table with its columns, once the schema and the table for state are there."""
        there = ddl.existing(session.connection, session.database, self.schema)
        if base.STATE not in there:
            schema = f"{base.quoted(session.database)}.{base.quoted(self.schema)}"
            session.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            session.connection.execute(f"CREATE TABLE {self._name(session, base.STATE)} {ledger.DEFINITION}")
        return there

    def _evolve(
        self,
        session: duckdb_file.Session,
        table: base.Table,
        fields: Sequence[pa.Field],
        there: dict[str, ddl.Columns],
        views: dict[str, str] | None,
    ) -> None:
        """Create or widen a table, noting its columns in `there`; its view follows."""
        lower = table.name.lower()
        known = there.get(lower)
        there[lower] = ddl.evolve(session.connection, session.database, self.schema, table, fields, known)
        if there[lower] == known:
            return
        views = self._views(session) if views is None else views
        if views.get(lower, self._mark(table.name)) == self._mark(table.name):
            self._show_live(session, table)
            views[lower] = self._mark(table.name)

    def _show_live(self, session: duckdb_file.Session, table: base.Table) -> None:
        """One view per table without its tombstones."""
        if table.schema.get_field_index("_deleted_at") < 0:
            return
        schema = f"{base.quoted(session.database)}.{base.quoted(self.live)}"
        view = f"{schema}.{base.quoted(table.name)}"
        session.connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        session.connection.execute(
            f"CREATE OR REPLACE VIEW {view} AS SELECT * FROM {self._name(session, table.name)} "
            "WHERE _deleted_at IS NULL"
        )
        session.connection.execute(f"COMMENT ON VIEW {view} IS {ddl.literal(self._mark(table.name))}")

    def _views(self, session: duckdb_file.Session) -> dict[str, str]:
        """What stands in the schema of views, by name in lower case, with its comment."""
        rows = session.connection.execute(
            "SELECT view_name, comment FROM duckdb_views() WHERE database_name = $1 AND schema_name = $2 "
            "UNION ALL SELECT table_name, '' FROM duckdb_tables() WHERE database_name = $1 AND schema_name = $2",
            [session.database, self.live],
        ).fetchall()
        return {str(name).lower(): comment or "" for name, comment in rows}

    def _mark(self, table: str) -> str:
        """The comment that tells our view from somebody else's."""
        return f"Tidegate: the rows of {self.schema}.{table.lower()} that are not deleted"

    def _name(self, session: duckdb_file.Session, table: str) -> str:
        return ".".join(base.quoted(part) for part in (session.database, self.schema, table))

    def _check_reach(self) -> str:
        self._file.look()
        if not self._file.exists():
            return f"{self.path} does not exist yet; the first pull creates it"
        with self._file.reading():
            opens = f"{self.path} opens"
        if self._file.ambiguous:
            return f"{opens}; as it has a schema's name, query it as {self._file.stem}.{self.schema}.TABLE"
        return opens

    def _check_read(self) -> str:
        if not self._file.exists():
            return "nothing to read yet"
        with self._file.reading() as session:
            tables = ddl.existing(session.connection, session.database, self.schema)
        return f"{len(tables)} tables in the schema {self.schema}"

    def _check_write(self) -> str:
        if not self._file.exists():
            scratch = f"{self.path}.{os.getpid()}.check"
            try:
                self._file.create(scratch)
            finally:
                files.remove(Path(scratch))
            return "a scratch file was written and removed"
        with self._file.writing() as session, duckdb_file.transaction(session):
            name = f"{base.quoted(session.database)}.main._tidegate_check"
            session.connection.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT 42 AS answer")
            session.connection.execute(f"DROP TABLE {name}")
        return "a scratch table was written and dropped"
