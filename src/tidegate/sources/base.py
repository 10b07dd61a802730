"""The seam between models and what they are read from: a database, an index, a sheet.

Rows leave as Arrow. JSON, and whatever Arrow would nest, is text with the field metadata `warehouse.base.JSON`;
binary values are hexadecimal text; everything else has the type that the source gives it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from tidegate import config, errors
from tidegate.warehouse import base

BATCH = 10_000
"""Rows per batch, at most."""


@dataclass(frozen=True, slots=True)
class Query:
    """What to read: one of `sql`, `table`, `index`, `sheet`, `file`, and what belongs to it; see `config.Model`."""

    sql: str | None = None
    table: str | None = None
    index: str | None = None
    query: Mapping[str, Any] | None = None
    fields: Sequence[str] = ()
    sheet: str | None = None
    range: str | None = None
    file: str | None = None


class Source(Protocol):
    """Where models are read from. All calls block; call them from one thread at a time, and end one read before
    the next begins.

    Nothing is ever written: what a query would change is refused, with a sentence that says so. A source that makes
    the caller wait longer than its timeout, for the first rows or for more, is stopped with WarehouseError.
    """

    kind: str

    def check(self) -> list[base.Check]:
        """Reach, sign in, list, read; never raises. The first step that fails is the last."""
        ...

    def tables(self) -> list[str]:
        """What can be read, each as `table` of a query takes it."""
        ...

    def columns(self, query: Query | str) -> pa.Schema:
        """What the rows of a query will look like, without reading them, where the source can tell."""
        ...

    def read(self, query: Query | str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """Stream the rows of a query, given as text if it is SQL, in bounded memory.

        All batches have one schema, and there is one at least, so that no rows have their columns, too. Closing the
        iterator ends the query. Rows that came before an error are not all rows: throw them away. Raises
        ConfigError for a query that the source cannot have, WarehouseError and its kinds else.
        """
        ...

    def close(self) -> None:
        """Let go of everything; idempotent."""
        ...


def asked(model: config.Model) -> Query:
    """What a model of the configuration asks for."""
    return Query(
        sql=model.sql,
        table=model.table,
        index=model.index,
        query=model.query,
        fields=model.fields,
        sheet=model.sheet,
        range=model.range,
        file=model.file,
    )


def query_of(query: Query | str) -> Query:
    """A query, of which SQL may be given as text; raises ConfigError unless it asks for one thing."""
    query = Query(sql=query) if isinstance(query, str) else query
    if len(_ways(query)) != 1:
        raise errors.ConfigError(
            "A model reads one thing: give one of `sql`, `table`, `index`, `sheet` and `file`."
        )
    return query


def _ways(query: Query) -> list[str]:
    return [name for name in ("sql", "table", "index", "sheet", "file") if getattr(query, name) is not None]


def only(query: Query | str, kind: str, *ways: str) -> Query:
    """A query that says what it wants in one of these ways; raises ConfigError for another way."""
    query = query_of(query)
    [way] = _ways(query)
    if way not in ways:
        known = " or ".join(f"`{one}`" for one in ways)
        raise errors.ConfigError(f"A model on {kind} is written with {known}, not with `{way}`.")
    return query


def distinct(names: Sequence[str]) -> None:
    """Raises ConfigError when a column's name occurs twice, or a column has none."""
    for name, times in Counter(names).items():
        if times > 1:
            raise errors.ConfigError(
                f"The query returns {times} columns of the name {name}; give each a name of its own with AS."
            )
        if not name:
            raise errors.ConfigError("The query returns a column without a name; give it one with AS.")
