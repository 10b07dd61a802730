"""Statements of ours inside a warehouse that is reached over a wire; see `scripts`.

Work tables are real ones, in the schema of the rows: few warehouses can read a temporary table twice in a query.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from tidegate import errors
from tidegate.warehouse import base, ddl, sql

if TYPE_CHECKING:
    from tidegate.warehouse import remote


UNFIT = {"clickhouse": "ClickHouse has no transactions and changes no rows in place"}
"""Warehouses whose rows no statement of ours can change, and why."""


class Script:
    """A warehouse in which statements of ours run, as its dialect says them; its tables were just listed."""

    def __init__(self, warehouse: remote.Remote) -> None:
        if warehouse.kind in UNFIT:
            raise errors.ConfigError(
                f"{UNFIT[warehouse.kind]}, so {warehouse.where()} cannot hold the customer model; choose another "
                "warehouse for it under `customer_model`."
            )
        self._remote = warehouse
        self._stored: dict[str, str] = {}
        """Tables by their names for statements."""

    def name(self, table: str) -> str:
        """A table of the schema."""
        name = f"{base.quoted(self._remote.schema)}.{base.quoted(table)}"
        self._stored[name] = table
        return name

    def has(self, table: str) -> bool:
        """Is there such a table?"""
        return table.lower() in self._remote._tables

    def create(self, table: base.Table) -> None:
        """Make a table, where there is none."""
        if not self.has(table.name):
            self._create(table.name, {field.name: ddl.sql_type(field) for field in table.schema}, table.key)

    def work(self, table: str, columns: Mapping[str, str], key: Sequence[str], /) -> str:
        """Make a table beside the rows, with an index of its key where the warehouse has indexes."""
        self._create(table, dict(columns), key)
        return self.name(table)

    def works(self, prefix: str) -> list[str]:
        """The tables whose names begin so."""
        return [table for table in self._remote._tables if table.startswith(prefix.lower())]

    def drop(self, table: str) -> None:
        """Drop a table."""
        self._remote.drop(table)
        self._remote._tables.pop(table.lower(), None)
        self._remote._spelled.pop(table.lower(), None)

    def append(self, name: str, rows: pa.Table) -> None:
        """Add rows."""
        self._remote.append(self._stored[name], rows)

    def execute(self, text: str) -> None:
        """Run a statement."""
        self._remote.execute(sql.translated(text, self._remote.dialect))

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return self._remote._rows(sql.translated(text, self._remote.dialect))

    def find_all(self, wanted: Sequence[base.Wanted]) -> list[pa.Table]:
        """What is stored or buried under keys."""
        return self._remote.found(wanted)

    @contextlib.contextmanager
    def transaction(self, fence: base.Fence | None = None) -> Iterator[None]:
        """All of the block is committed, or nothing, where the warehouse can do that."""
        with self._remote.transaction():
            self._remote._hold(fence)
            yield

    def put(self, state: Mapping[str, str | None]) -> None:
        """Write state."""
        self._remote._put(state)

    def _create(self, table: str, columns: ddl.Columns, key: Sequence[str]) -> None:
        with self._remote.evolving():
            self._remote._spelled[table.lower()] = table
            self._remote.create(table, columns, key)
            self._remote._tables[table.lower()] = columns
