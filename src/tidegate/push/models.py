"""A model's rows, taken once and whole: the snapshot that a planning works with, and a look at the first few.

A snapshot is the table `source` of a workbook, each row with its canonical key. Rows whose key is not usable
stand in it with the reason, and keys that came more than once in `doubled`: no row of those is ever sent, as nobody
knows which of them is meant.
"""

from __future__ import annotations

import contextlib
import difflib
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from tidegate import errors
from tidegate.push import canonical, steps, workbook
from tidegate.sources import base
from tidegate.warehouse import faults

ROW, KEY, WHY = "_tidegate_row", "_tidegate_key", "_tidegate_why"
"""Columns of `source` beside those of the model: the row's number, its key, and why it has none."""

RESERVED = "_tidegate_"

LONGEST = 500
"""Characters of a key: the objects made for a row carry it in a metadata value.
https://docs.stripe.com/metadata#data"""

REASONS = {
    "null": "a column of the key is null",
    "blank": "a column of the key is blank",
    "number": "a column of the key is not a number, or infinite",
    "nul": "a column of the key holds a NUL character",
    "long": f"the key has more than {LONGEST} characters",
}
"""Why a row has no usable key."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a model answered.

    `rows` are all that came, `invalid` those without a usable key by reason (see `REASONS`), `doubled` those whose
    key came more than once. `kinds` are the columns with their DuckDB types, or JSON, or NUMERAL. `taken_at` is in
    unix seconds, by the caller's clock, from before the query was sent.
    """

    rows: int
    columns: pa.Schema
    key: tuple[str, ...]
    taken_at: float
    invalid: Mapping[str, int]
    doubled: int
    kinds: Mapping[str, str]

    def column(self, name: str) -> str:
        """The column of a name, whose case counts only where it must; raises ConfigError when there is none."""
        return named(name, list(self.kinds))


@dataclass(frozen=True, slots=True)
class Preview:
    """The first rows of a model; `keys` beside them, None where a row has none that is usable."""

    rows: pa.Table
    keys: tuple[str | None, ...]
    invalid: Mapping[str, int]
    doubled: tuple[str, ...]


def snapshot(
    source: base.Source,
    query: base.Query | str,
    key: Sequence[str],
    book: workbook.Workbook,
    *,
    clock: Callable[[], float] = time.time,
) -> Snapshot:
    """Take all rows of one query into a workbook, or none.

    In one transaction: a query that fails midway, and a process that is killed, leave nothing. Memory is bounded.
    Raises ConfigError for a key that is no column, and what the source raises.
    """
    taken_at = clock()
    with book.transaction():
        found = _take(source.read(query), tuple(key), book)
        book.execute(
            f"CREATE TABLE doubled AS SELECT {KEY} AS key, count(*) AS rows FROM source WHERE {WHY} IS NULL "
            "GROUP BY ALL HAVING count(*) > 1"
        )
        steps.reached("snapshot taken")
    doubled = book.count("SELECT coalesce(sum(rows), 0)::BIGINT FROM doubled")
    return Snapshot(found.rows, found.columns, found.key, taken_at, found.invalid, doubled, found.kinds)


def doubles(book: workbook.Workbook, limit: int = 20) -> tuple[tuple[str, ...], int]:
    """The first keys of a snapshot that came more than once, in their order, and how many there are."""
    keys = book.rows(f"SELECT key FROM doubled ORDER BY key LIMIT {limit}")
    return tuple(str(key) for (key,) in keys), book.count("SELECT count(*) FROM doubled")


def preview(
    source: base.Source, query: base.Query | str, limit: int = 20, *, key: Sequence[str] = ()
) -> Preview:
    """The first rows of a query and, where `key` says its columns, their keys; the query is ended then."""
    taken: list[pa.RecordBatch] = []
    with contextlib.closing(_generator(source.read(query))) as batches:
        for batch in batches:
            taken.append(batch.slice(0, limit - sum(map(len, taken))))
            if sum(map(len, taken)) >= limit:
                break
    rows = pa.Table.from_batches(taken)
    if not key:
        return Preview(rows, (None,) * len(rows), {}, ())
    with workbook.in_memory() as book:
        found = _take(iter(taken), tuple(key), book)
        keys = book.rows(f"SELECT {KEY} FROM source ORDER BY {ROW}")
        doubled = book.rows(
            f"SELECT {KEY} FROM source WHERE {WHY} IS NULL GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL"
        )
    shown = tuple(None if one is None else str(one) for (one,) in keys)
    return Preview(rows, shown, found.invalid, tuple(str(one) for (one,) in doubled))


def named(name: str, columns: Sequence[str]) -> str:
    """The column of a name, whose case counts only where it must; raises ConfigError with the reason."""
    if name in columns:
        return name
    same = [column for column in columns if column.lower() == name.lower()]
    if same:
        return same[0]
    near = difflib.get_close_matches(name, columns, n=1)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(columns[:10])}."
    raise errors.ConfigError(f"the model has no column {name}; {hint}")


@dataclass(frozen=True, slots=True)
class _Taken:
    rows: int
    columns: pa.Schema
    key: tuple[str, ...]
    invalid: Mapping[str, int]
    kinds: Mapping[str, str]


def _take(batches: Iterator[pa.RecordBatch], key: tuple[str, ...], book: workbook.Workbook) -> _Taken:
    """Make the table `source` of all batches."""
    rows, schema = 0, pa.schema([])
    kinds: dict[str, str] = {}
    projections: tuple[str, ...] = ()
    with contextlib.closing(_generator(batches)) as each:
        for batch in each:
            some = _takeable(batch, rows)
            if not kinds:
                schema = batch.schema
                _check_columns(schema.names)
                try:
                    key = tuple(named(name, schema.names) for name in key)
                except errors.ConfigError as error:
                    raise errors.ConfigError(f"The key of a model names its columns, but {error}") from None
                kinds = _kinds(book.relation(some), schema)
                projections = _keyed(key, kinds)
                with faults.explained(book.path):
                    book.relation(some, *projections).limit(0).create("source")
            book.insert("source", some, *projections)
            rows += len(batch)
    found = book.rows(f"SELECT {WHY}, count(*) FROM source WHERE {WHY} IS NOT NULL GROUP BY ALL ORDER BY ALL")
    return _Taken(rows, schema, key, {str(why): int(str(count)) for why, count in found}, kinds)


def _generator(batches: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch, None, None]:
    """The same batches, as something that can be closed."""
    try:
        yield from batches
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()


def _takeable(batch: pa.RecordBatch, rows: int) -> pa.RecordBatch:
    """A batch with the numbers of its rows, `rows` being those before it, and without types that DuckDB has not.

    Longer decimals become text, half floats floats.
    """
    arrays = [
        column.cast(pa.string())
        if pa.types.is_decimal256(column.type)
        else column.cast(pa.float32())
        if pa.types.is_float16(column.type)
        else column
        for column in batch.columns
    ]
    numbers = pa.array(range(rows + 1, rows + len(batch) + 1), pa.int64())
    return pa.RecordBatch.from_arrays([numbers, *arrays], names=[ROW, *batch.schema.names])


def _check_columns(names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise errors.ConfigError(
                f"The model returns the columns {other} and {name}, which differ in their case alone; give each a "
                "name of its own with AS."
            )
        if name.lower().startswith(RESERVED):
            raise errors.ConfigError(
                f"The model returns a column {name}; names that begin with {RESERVED} are taken, so give it "
                "another with AS."
            )


def _kinds(rows: duckdb.DuckDBPyRelation, schema: pa.Schema) -> dict[str, str]:
    types = dict(zip(rows.columns, map(str, rows.types), strict=True))
    return {
        field.name: "JSON"
        if (field.metadata or {}).get(b"tidegate") == b"json"
        else canonical.NUMERAL
        if pa.types.is_decimal256(field.type)
        else types[field.name]
        for field in schema
    }


def _keyed(key: Sequence[str], kinds: Mapping[str, str]) -> tuple[str, ...]:
    """The projections that add key and reason to rows."""
    texts = [canonical.text(workbook.quoted(name), kinds[name]) for name in key]
    parts = [f"{RESERVED}{n}" for n in range(len(key))]
    keyed = parts[0] if len(parts) == 1 else f"CAST(to_json([{', '.join(parts)}]) AS VARCHAR)"
    why = (
        f"CASE WHEN {_any(parts, '{} IS NULL')} THEN 'null' WHEN {_any(parts, 'tidegate_blank({})')} THEN 'blank' "
        f"WHEN {_any(parts, f'{{}} = {canonical.NOT_FINITE}')} THEN 'number' "
        f"WHEN {_any(parts, f'contains({{}}, {canonical.NUL})')} THEN 'nul' "
        f"WHEN length({keyed}) > {LONGEST} THEN 'long' END"
    )
    shown = ", ".join(f"{text} AS {part}" for text, part in zip(texts, parts, strict=True))
    hidden = ", ".join(parts)
    return (
        f"{shown}, *",
        f"{keyed} AS {KEY}, {why} AS {WHY}, *",
        f"* EXCLUDE ({hidden}) REPLACE (CASE WHEN {WHY} IS NULL THEN {KEY} END AS {KEY})",
    )


def _any(parts: Sequence[str], condition: str) -> str:
    return "(" + " OR ".join(condition.format(part) for part in parts) + ")"
