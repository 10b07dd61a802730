"""The tables that may hold something of a customer, as they stand in a warehouse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from tidegate import catalog
from tidegate.privacy import ownership
from tidegate.rows import columns
from tidegate.warehouse import base

HISTORY = "_history"
"""What the name of a history ends with."""

NAMED = 500
"""Ids that one condition names, and half of what one query does."""

TOGETHER = 6
"""Tables that one query looks through: DuckDB keeps blocks of all of them in memory at once."""


@dataclass(frozen=True, slots=True)
class Place:
    """A table that may hold something of a customer."""

    stream: catalog.Stream
    name: str
    columns: tuple[str, ...]
    history: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """What identifies a row."""
        return ("_account_id", *self.stream.key, *(("_valid_from",) if self.history else ()))


def places(warehouse: base.Warehouse, tables: Mapping[str, Sequence[str]]) -> list[Place]:
    """Those that are there, customers first: they say who else they are."""
    batches = warehouse.read(
        "select table_name, column_name from information_schema.columns where lower(table_schema) = ?",
        (warehouse.schema.lower(),),
    )
    there: dict[str, list[str]] = {}
    for batch in batches:
        for row in batch.to_pylist():
            there.setdefault(row["table_name"].lower(), []).append(row["column_name"])
    found = []
    for stream in catalog.load().streams.values():
        mine = stream.name in {ownership.CUSTOMERS, *ownership.tied()} or ownership.ties(stream.name)
        if not mine and not ownership.is_event(stream):
            continue
        pairs = [(each, suffix) for each in tables.get(stream.name, ()) for suffix in ("", HISTORY)]
        for name, suffix in ((each + suffix, suffix) for each, suffix in pairs):
            names = there.get(name.lower(), [])
            if {"_account_id", *stream.key} <= set(names):
                found.append(Place(stream, name, tuple(names), bool(suffix)))
    return sorted(found, key=lambda place: place.stream.name != ownership.CUSTOMERS)


def union(
    warehouse: base.Warehouse, selects: Iterable[tuple[str, Sequence[str]]]
) -> Iterator[list[dict[str, str]]]:
    """The rows of many small queries with the same columns, asked together as far as their parameters allow.

    What one query found is whole before it is handed out, so that the warehouse is free to be written.
    """
    together: list[str] = []
    given: list[str] = []
    for sql, values in (*selects, ("", ())):
        full = len(together) == TOGETHER or len(given) + len(values) > 2 * NAMED
        if together and (full or not sql):
            found = warehouse.read(" union all ".join(together), given)
            yield [row for batch in found for row in batch.to_pylist()]
            together, given = [], []
        together.append(sql)
        given += values


def condition(pairs: Sequence[tuple[str, str]]) -> tuple[str, list[str]]:
    """SQL for "one of these columns has one of these values", with its parameters."""
    by_column: dict[str, list[str]] = {}
    for column, value in pairs:
        by_column.setdefault(column, []).append(value)
    parts = [
        f"{base.quoted(column)} in ({', '.join('?' * len(values))})" for column, values in by_column.items()
    ]
    return "(" + " or ".join(parts) + ")", [value for values in by_column.values() for value in values]


def read(
    warehouse: base.Warehouse,
    place: Place,
    names: Iterable[str],
    account: str | None = None,
    pairs: Sequence[tuple[str, str]] = (),
) -> Iterator[pa.Table]:
    """Rows of a table as Arrow has them in Tidegate, whatever the warehouse makes of them.

    All of them, or those of an account, of these those that have one of some values in its column.
    """
    listed = list(dict.fromkeys(["_account_id", *names]))
    chosen = ", ".join(base.quoted(name) for name in listed)
    conditions, given = (["_account_id = ?"], [account]) if account is not None else ([], [])
    if pairs:
        where, values = condition(pairs)
        conditions, given = [*conditions, where], [*given, *values]
    filtered = f" where {' and '.join(conditions)}" if conditions else ""
    types = {each.name: columns.TYPES[each.type] for each in place.stream.fields}
    types |= dict.fromkeys(("_synced_at", "_deleted_at", "_valid_from", "_valid_to"), columns.INSTANT)
    types["_version"] = pa.int64()
    json = {each.name for each in place.stream.fields if each.type == "json"} | {"_extra"}
    schema = None
    for batch in warehouse.read(f"select {chosen} from {table(warehouse, place)}{filtered}", given):
        arrays = [
            _plain(column, types.get(name, pa.string()))
            for name, column in zip(listed, batch.columns, strict=True)
        ]
        schema = pa.schema(
            [
                pa.field(name, array.type, metadata=columns.JSON if name in json else None)
                for name, array in zip(listed, arrays, strict=True)
            ]
        )
        yield pa.Table.from_arrays(arrays, schema=schema)
    if schema is None:
        fields = [pa.field(name, types.get(name, pa.string())) for name in listed]
        yield pa.schema(fields).empty_table()


def _plain(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    """A column as its type in the catalog; one that is kept as text, hashed or widened, stays text."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    if pa.types.is_string(column.type) or column.type == wanted:
        return column
    try:
        return column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return column


def table(warehouse: base.Warehouse, place: Place) -> str:
    """The table's name in a query."""
    return f"{base.quoted(warehouse.schema)}.{base.quoted(place.name)}"
