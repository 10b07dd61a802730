"""Azure Synapse, dedicated SQL pools: SQL Server's words with other tables, over the same driver.

Nothing enforces keys there, and tables change outside of transactions only. A writer holds the pool's lock of the
table of the state, by a deletion that deletes nothing; what a load does is one transaction all the same. While
tables change, a transaction of another session holds the lock. Tables are spread by their `id` and kept as heaps,
since columnstores hold no NVARCHAR(MAX). Never run against the real thing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import ClassVar

from tidegate.adapters import sqlserver, sqlserver_wire
from tidegate.config import warehouses
from tidegate.warehouse import base, ddl

WIDER = "_tidegate_wider"
"""How the name of a table ends that is about to take another's place."""

FORMER = "_tidegate_former"
"""How the name of a table ends that lost its place."""


class Synapse(sqlserver.SQLServer):
    """A schema of a dedicated SQL pool."""

    kind: ClassVar[str] = "synapse"

    settings: ClassVar[str] = "SET NOCOUNT ON; SET XACT_ABORT ON"
    """A pool knows neither lock timeouts nor levels of isolation beside its own."""

    def lock(self) -> None:
        """Delete no row of the state, which keeps all others from deleting one until the transaction ends."""
        # Two that INSERT or UPDATE may do so at once, on the appliance at least that pools come from.
        # https://learn.microsoft.com/en-us/sql/analytics-platform-system/locking-behavior
        self.execute(f"DELETE FROM {self.name(base.STATE)} WHERE {self.column('key')} = ''")

    @contextlib.contextmanager
    def evolving(self) -> Iterator[None]:
        """Each step stands for itself; the lock is held beside, since a pool changes no tables in a transaction.

        Else a load of somebody else could commit rows between a table's copy and its taking the table's place.
        """
        if base.STATE not in self._there():
            yield
            return
        keeper = self.another()
        try:
            keeper.execute("BEGIN TRANSACTION")
            keeper.lock()
            yield
        finally:
            keeper.disconnect()

    def create(self, table: str, columns: ddl.Columns, key: Sequence[str]) -> None:
        """Make a table, spread by its key."""
        told = ", ".join(self.defined(column, kind, key) for column, kind in columns.items())
        by = next((column for column in key if column == "id"), key[-1] if key else "key")
        self.execute(f"CREATE TABLE {self.name(table)} ({told}) {self._kept(by)}")

    def drop_if_there(self, table: str) -> None:
        """Drop a table, where there is one; a pool's DROP TABLE does not look for itself."""
        # https://learn.microsoft.com/en-us/sql/t-sql/statements/drop-table-transact-sql
        at = self.name(table)
        self.execute(f"IF OBJECT_ID(N{ddl.literal(at)}) IS NOT NULL DROP TABLE {at}")

    def stage(self, name: str, columns: ddl.Columns) -> str:
        """SQL that makes a table for rows on their way."""
        return f"{super().stage(name, columns)} WITH (DISTRIBUTION = ROUND_ROBIN, HEAP)"

    def widen(self, table: str, column: str, there: str, kind: str) -> None:
        """Write the table anew with a column of another type, and let it take the old one's place.

        Killed between the two names: `_ready` finds the new one, and ends it.
        """
        name = self._spelled.get(table.lower(), table)
        wider = self.name(name + WIDER)
        self.drop_if_there(name + WIDER)
        native = self.types[kind]
        plain, _, collation = native.partition(" COLLATE ")
        columns = self.existing(self.schema)[name]
        told = []
        for each in columns:
            quoted = self.column(each)
            if each.lower() == column.lower():
                text = sqlserver_wire.as_text(quoted, there, kind) or quoted
                text = f"CAST({text} AS {plain})" + (f" COLLATE {collation}" if collation else "")
                told.append(f"{text} AS {quoted}")
            else:
                told.append(quoted)
        spread = self._spread(name)
        self.execute(
            f"CREATE TABLE {wider} {self._kept(spread)} AS SELECT {', '.join(told)} FROM {self.name(name)}"
        )
        self.execute(f"RENAME OBJECT {self.name(name)} TO {self.column(name + FORMER)}")
        self.execute(f"RENAME OBJECT {wider} TO {self.column(name)}")
        self.drop_if_there(name + FORMER)

    def show_live(self, table: str) -> None:
        """Make the view of a table without its tombstones, anew."""
        view = self.name(table, self.live)
        self.hide_live(table)
        self.execute(
            f"CREATE VIEW {view} AS SELECT * FROM {self.name(table)} WHERE {self.column('_deleted_at')} IS NULL"
        )

    def existing(self, schema: str) -> dict[str, ddl.Columns]:
        """Every table and view of a schema with its columns, but for those that a widening left."""
        found = super().existing(schema)
        return {name: columns for name, columns in found.items() if not name.endswith((WIDER, FORMER))}

    def _ready(self) -> dict[str, ddl.Columns]:
        """The tables; a widening that was killed is ended first, or undone.

        A table that is about to take another's place may be somebody's who is at it: its next widening drops it.
        """
        found = set(super().existing(self.schema))
        for former in (name for name in found if name.endswith(FORMER)):
            name = former.removesuffix(FORMER)
            if name in found:
                self.drop_if_there(former)
                continue
            is_made = name + WIDER in found
            self.execute(
                f"RENAME OBJECT {self.name(name + WIDER if is_made else former)} TO {self.column(name)}"
            )
            if is_made:
                self.drop_if_there(former)
        return super()._ready()

    def _spread(self, table: str) -> str:
        """The column by which a table is spread."""
        rows = self._rows(
            "SELECT c.name AS name FROM sys.pdw_column_distribution_properties AS d "
            "JOIN sys.columns AS c ON c.object_id = d.object_id AND c.column_id = d.column_id "
            "JOIN sys.objects AS o ON o.object_id = d.object_id "
            "JOIN sys.schemas AS s ON s.schema_id = o.schema_id "
            "WHERE d.distribution_ordinal = 1 AND s.name = ? AND o.name = ?",
            [self.schema, table],
        )
        return str(rows[0][0]) if rows else ""

    def _kept(self, by: str) -> str:
        spread = f"HASH({self.column(by)})" if by else "ROUND_ROBIN"
        return f"WITH (DISTRIBUTION = {spread}, HEAP)"


def open_warehouse(target: warehouses.Synapse, *, wait: float = 60.0) -> Synapse:
    """The warehouse that a configuration describes; nothing is opened yet."""
    return Synapse(sqlserver_wire.address(target), target.schema_name, wait=wait)
