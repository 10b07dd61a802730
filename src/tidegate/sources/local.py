"""DuckDB files, and lake files, which DuckDB reads.

A DuckDB file is held for as long as a query is read, and nobody else can write into it meanwhile: take the rows
away quickly, or read a copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from tidegate import errors
from tidegate.sources import arrow, base, guard, patience
from tidegate.warehouse import base as warehouses

AS_TEXT = ("INTERVAL", "TIME WITH TIME ZONE", "BIT", "BIGNUM", "HUGEINT", "UHUGEINT")
"""Types that Arrow has not, or not whole; big sums (`sum` of integers is a HUGEINT) come as their digits."""


class Readable(warehouses.Warehouse, Protocol):
    """A warehouse whose queries DuckDB answers, in this process."""

    def interrupt(self) -> None:
        """End the query that another thread reads, so that it raises there; nothing, where none runs."""
        ...


class Local:
    """A DuckDB file, or a folder of tables, read only; `where` is how messages call it."""

    def __init__(self, warehouse: Readable, where: str, *, timeout: float) -> None:
        self.kind = warehouse.kind
        self._warehouse, self._where, self._timeout = warehouse, where, timeout

    def check(self) -> list[warehouses.Check]:
        """Reach, and list."""
        found = [step for step in self._warehouse.check() if step.name == "reach"]
        if not all(step.ok for step in found):
            return found
        for name, step in (("list", self._check_list), ("read", self._check_read)):
            try:
                found.append(warehouses.Check(name, True, step()))
            except errors.TidegateError as error:
                return [*found, warehouses.Check(name, False, str(error))]
        return found

    def tables(self) -> list[str]:
        """Tables and views."""
        text = (
            "SELECT table_schema AS a, table_name AS b FROM information_schema.tables "
            "WHERE table_catalog NOT IN ('system', 'temp') ORDER BY ALL"
        )
        rows = (row for batch in self._rows(text) for row in batch.to_pylist())
        return [guard.spelled([row["a"], row["b"]], "duckdb", "a") for row in rows]

    def columns(self, query: base.Query | str) -> pa.Schema:
        """The columns of a query, which is planned and not run."""
        text = self._text(query)
        kinds = self._kinds(text, ())
        return self._empty(_shown(text, kinds), (), _json(kinds)).schema

    def read(self, query: base.Query | str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """Stream the rows of a query."""
        text = self._text(query)

        def rows() -> Iterator[pa.RecordBatch]:
            kinds = self._kinds(text, parameters)
            shown, json, has_come = _shown(text, kinds), _json(kinds), False
            for batch in self._rows(shown, parameters, json):
                has_come = True
                yield batch
            if not has_come:
                yield self._empty(shown, parameters, json)

        return rows()

    def close(self) -> None:
        """Let go of the engine."""
        self._warehouse.close()

    def _text(self, query: base.Query | str) -> str:
        query = base.only(query, self.kind, "sql", "table")
        if query.table is not None:
            return guard.table(query.table, "duckdb")
        assert query.sql is not None, "One of both is given."
        return guard.one_query(query.sql, "duckdb")

    def _kinds(self, text: str, parameters: Sequence[object]) -> list[tuple[str, str]]:
        """The columns of a query with DuckDB's types."""
        rows = pa.Table.from_batches(list(self._rows(f"DESCRIBE {text}", parameters))).to_pylist()
        base.distinct([row["column_name"] for row in rows])
        return [(row["column_name"], row["column_type"]) for row in rows]

    def _empty(self, text: str, parameters: Sequence[object], json: frozenset[str]) -> pa.RecordBatch:
        """No rows of a query, with its columns: a row of NULLs has them where no row would have none."""
        nothing = f"SELECT q.* FROM (SELECT 1) LEFT JOIN (FROM (\n{text}\n) LIMIT 0) AS q ON true"
        [batch] = self._rows(nothing, parameters, json)
        return batch.slice(0, 0)

    def _rows(
        self, text: str, parameters: Sequence[object] = (), json: frozenset[str] = frozenset()
    ) -> Iterator[pa.RecordBatch]:
        batches = arrow.common(
            patience.bounded(
                self._warehouse.read(text, parameters),
                self._timeout,
                self._warehouse.interrupt,
                self._where,
            ),
            json,
        )
        try:
            yield from batches
        except errors.WarehouseError as error:
            if "'Permission'" not in str(error).replace(self._where, ""):
                raise
            raise errors.ConfigError(
                f"A model reads the tables of {self._where}, and neither files nor addresses beside them; "
                "leave out the function that does."
            ) from None

    def _check_list(self) -> str:
        return f"{len(self.tables())} tables and views can be seen"

    def _check_read(self) -> str:
        for _ in self._rows("SELECT 1 AS one"):
            pass
        return "a query was answered"


def _json(kinds: Sequence[tuple[str, str]]) -> frozenset[str]:
    return frozenset(name for name, kind in kinds if kind == "JSON")


def _shown(text: str, kinds: Sequence[tuple[str, str]]) -> str:
    """The query with columns as text whose types Arrow has not."""
    if not any(kind in AS_TEXT for _, kind in kinds):
        return text
    shown = (
        f"CAST(#{i} AS VARCHAR) AS {warehouses.quoted(name)}" if kind in AS_TEXT else f"#{i}"
        for i, (name, kind) in enumerate(kinds, 1)
    )
    return f"SELECT {', '.join(shown)} FROM (\n{text}\n)"
