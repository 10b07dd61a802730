"""Work tables of one resolution: made, filled from queries, dropped; what a killed one left goes first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from tidegate.warehouse import own, scripts

NUMBER, TEXT, TIME = "BIGINT", "VARCHAR", own.TIME


class Space:
    """Work tables under a prefix, called by short names."""

    def __init__(self, script: scripts.Script, prefix: str) -> None:
        self.script, self._prefix = script, prefix
        self._named: dict[str, str] = {}

    def __getitem__(self, table: str) -> str:
        """A table's name for statements."""
        return self._named[table]

    def make(self, table: str, columns: Mapping[str, str], key: Sequence[str]) -> str:
        """An empty table under a name that is free."""
        self._named[table] = self.script.work(f"{self._prefix}{table}", columns, key)
        return self._named[table]

    def fill(self, table: str, columns: Mapping[str, str], key: Sequence[str], query: str) -> str:
        """A table with the rows of a query, whose columns come in the same order."""
        name = self.make(table, columns, key)
        self.script.execute(f"INSERT INTO {name} ({', '.join(columns)}) {query}")
        return name

    def put(self, table: str, rows: pa.Table, columns: Mapping[str, str], key: Sequence[str]) -> str:
        """A table with rows from here."""
        name = self.make(table, columns, key)
        if rows.num_rows:
            self.script.append(name, rows)
        return name

    def drop(self, *tables: str) -> None:
        """Drop tables that are needed no more."""
        for table in tables:
            self.script.drop(f"{self._prefix}{table}")
            del self._named[table]

    def count(self, table: str) -> int:
        """Rows of a table."""
        return number(self.script, f"SELECT count(*) AS n FROM {self[table]}")

    def sweep(self) -> None:
        """Drop all tables under the prefix."""
        for name in self.script.works(self._prefix):
            self.script.drop(name)
        self._named.clear()


@contextlib.contextmanager
def opened(script: scripts.Script, prefix: str) -> Iterator[Space]:
    """A space without tables, which are gone when the block ends well; else the next one drops them."""
    space = Space(script, prefix)
    space.sweep()
    yield space
    space.sweep()


def number(script: scripts.Script, query: str) -> int:
    """The one number that a query finds; none is 0."""
    ((found,),) = script.rows(query)
    return int(found or 0)
