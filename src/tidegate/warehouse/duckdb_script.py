"""Statements of ours inside a DuckDB file; see `scripts`.

Work tables are temporary: they grow no file, spill to disk beside it, and are gone with the process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tidegate.warehouse import base, ddl, duckdb_file, ledger, staging


class Script:
    """A session of the file in which statements of ours run.

    `where` is what a lost fence is told of, `find` finds rows by their keys in the session.
    """

    def __init__(
        self,
        session: duckdb_file.Session,
        schema: str,
        where: str,
        find: Callable[[Sequence[base.Wanted]], list[pa.Table]],
    ) -> None:
        self._session, self._schema, self._where, self._find = session, schema, where, find

    def name(self, table: str) -> str:
        """A table of the schema."""
        return ".".join(base.quoted(part) for part in (self._session.database, self._schema, table))

    def has(self, table: str) -> bool:
        """Is there such a table?"""
        return table.lower() in ddl.existing(self._session.connection, self._session.database, self._schema)

    def create(self, table: base.Table) -> None:
        """Make a table, where there is none."""
        if not self.has(table.name):
            fields = list(table.schema)
            ddl.evolve(self._session.connection, self._session.database, self._schema, table, fields, None)

    def work(self, table: str, columns: Mapping[str, str], _: Sequence[str], /) -> str:
        """Make a temporary table; DuckDB joins by hash, so the key needs no index."""
        told = ", ".join(f"{base.quoted(column)} {kind}" for column, kind in columns.items())
        self.execute(f"CREATE TEMP TABLE {_work(table)} ({told})")
        return _work(table)

    def works(self, prefix: str) -> list[str]:
        """The temporary tables whose names begin so; the engine outlives a call that failed."""
        found = self.rows(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'temp' "
            f"AND starts_with(table_name, {ddl.literal(prefix)})"
        )
        return [str(name) for (name,) in found]

    def drop(self, table: str) -> None:
        """Drop a temporary table."""
        self.execute(f"DROP TABLE {_work(table)}")

    def append(self, name: str, rows: pa.Table) -> None:
        """Add rows."""
        connection = self._session.connection
        connection.register(staging.STAGE, rows)
        try:
            columns = ", ".join(map(base.quoted, rows.column_names))
            connection.execute(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM {staging.STAGE}")
        finally:
            connection.unregister(staging.STAGE)

    def execute(self, text: str) -> None:
        """Run a statement."""
        self._session.connection.execute(text)

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        # Not by `execute`, whose result the connection would keep, and with it the lock on the file.
        relation = self._session.connection.sql(text)
        assert relation is not None, "A query has rows."
        return relation.fetchall()

    def find_all(self, wanted: Sequence[base.Wanted]) -> list[pa.Table]:
        """What is stored or buried under keys."""
        return self._find(wanted)

    @contextlib.contextmanager
    def transaction(self, fence: base.Fence | None = None) -> Iterator[None]:
        """All of the block is committed, or nothing."""
        with duckdb_file.transaction(self._session):
            if fence is not None:
                held = ledger.held(self._session.connection, self.name(base.STATE))
                ledger.hold(fence, held, self._where)
            yield

    def put(self, state: Mapping[str, str | None]) -> None:
        """Write state."""
        ledger.put(self._session.connection, self.name(base.STATE), state)


def _work(table: str) -> str:
    return f"temp.main.{base.quoted(table)}"
