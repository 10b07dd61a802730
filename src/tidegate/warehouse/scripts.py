"""Statements of ours that run inside a warehouse, next to its rows: for what would not fit into this process.

They are written once, in DuckDB's dialect (see `sql`), over tables that `Script.name` and `Script.work` name. A
statement that all warehouses understand has no literal of a time, compares no text by its order, and opens no work
table that it also fills.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import pyarrow as pa

from tidegate.warehouse import base

T = TypeVar("T")


class Script(Protocol):
    """A warehouse that is being worked in; from one thread, until the work returns."""

    def name(self, table: str) -> str:
        """A table of the warehouse's schema, as a statement names it; it need not exist."""
        ...

    def has(self, table: str) -> bool:
        """Is there such a table in the schema?"""
        ...

    def create(self, table: base.Table) -> None:
        """Make a table of the schema, where there is none."""
        ...

    def work(self, table: str, columns: Mapping[str, str], key: Sequence[str], /) -> str:
        """Make a work table, which must not exist, and return its name for statements.

        `columns` have types of `ddl.OURS`; no two rows may have the same `key`, by which they are found fast where
        the warehouse has indexes.
        """
        ...

    def works(self, prefix: str) -> list[str]:
        """The work tables whose names begin so, also those that a process left when it was killed."""
        ...

    def drop(self, table: str) -> None:
        """Drop a work table, which must exist."""
        ...

    def append(self, name: str, rows: pa.Table) -> None:
        """Add rows to a table, by its name for statements."""
        ...

    def execute(self, text: str) -> None:
        """Run a statement; outside of `transaction` it is committed by itself."""
        ...

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        """The rows of a query that has few."""
        ...

    def find_all(self, wanted: Sequence[base.Wanted]) -> list[pa.Table]:
        """What is stored or buried under keys; see `Warehouse.find`."""
        ...

    def transaction(self, fence: base.Fence | None = None) -> contextlib.AbstractContextManager[None]:
        """All changes to rows in the block are committed, or none, where the warehouse has transactions.

        Tables are made and dropped outside of it: many warehouses commit whenever one is. Raises Fenced when the
        fence no longer holds.
        """
        ...

    def put(self, state: Mapping[str, str | None]) -> None:
        """Write state as `Warehouse.load` does; inside of `transaction`, it is committed with the rows."""
        ...


@runtime_checkable
class Scripted(Protocol):
    """A warehouse that can be worked in."""

    def scripted(self, work: Callable[[Script], T]) -> T:
        """Do work inside the warehouse; where its connection is lost the whole work is done again.

        A DuckDB file is held until the work is done. Raises ConfigError where a warehouse cannot do such work.
        """
        ...
