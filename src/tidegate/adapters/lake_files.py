"""Parquet files that are never changed: reading some of their rows, and putting others in the place of a few.

An upsert writes the files anew that hold a touched key, and no others. Small files are written together once there
are many, so that the files of a table stay few and the rows that are written again and again stay bounded.
"""

from __future__ import annotations

import contextlib
import math
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from tidegate.adapters import storage
from tidegate.warehouse import base, ddl

TARGET = 32 * 1024 * 1024
"""Bytes that a file should have; larger ones make each change of few rows slower, smaller ones each reading."""

TARGET_ROWS = 250_000
"""The same in rows, where these are few bytes."""

SMALL = 0.25
"""Files with less than this part of what a file should have are small."""

MANY = 8
"""So many small files are written together."""

PACKED = 5
"""How many times smaller rows are in a file than in Arrow, about."""

ROW_GROUP = 20_480
"""Rows per row group: what is held in memory while a file is written."""

PACKING = "COMPRESSION zstd, COMPRESSION_LEVEL 1, DICTIONARY_SIZE_LIMIT 2000"
"""How values are packed: half of the time that DuckDB's own choice takes, for files of the same size."""

ROWS, GONE = "_tidegate_rows", "_tidegate_gone"

_FRESH = re.compile(r"/(_tidegate_check_)?[0-9a-f]{32}\.parquet$")


@dataclass(frozen=True, slots=True)
class File:
    """A file of a table; of one that was just written, `ends` is what DuckDB says of its columns' values."""

    path: str
    rows: int
    bytes: int
    ends: Mapping[str, Mapping[str, str]] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it stands at one moment.

    `columns` are in our types, `native` in those of the format; `at` tells this moment from others. `ids` are the
    numbers that columns have in the files, where they go by numbers. `is_text`: JSON lies in the files as text.
    """

    name: str
    columns: ddl.Columns
    native: dict[str, str]
    files: tuple[File, ...]
    at: str
    ids: dict[str, int] | None = None
    is_text: bool = False

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(file.rows for file in self.files)


def source(
    table: Table, paths: Sequence[str] | None = None, *, as_text: bool = False, place: bool = False
) -> str:
    """SQL for the rows of some files, of all by default; columns that a file lacks are NULL.

    `as_text`: JSON as it lies there. `place`: with the column `filename`.
    """
    chosen = [file.path for file in table.files] if paths is None else list(paths)
    kinds = {
        column: "VARCHAR" if kind == "JSON" and (as_text or table.is_text) else kind
        for column, kind in table.columns.items()
    }
    if not chosen:
        empty = ", ".join(f"CAST(NULL AS {kind}) AS {base.quoted(name)}" for name, kind in kinds.items())
        return f"(SELECT {empty} WHERE false)"
    fields = []
    for name, kind in kinds.items():
        key = ddl.literal(name) if table.ids is None else str(table.ids[name])
        fields.append(
            f"{key}: {{'name': {ddl.literal(name)}, 'type': {ddl.literal(kind)}, 'default_value': NULL}}"
        )
    listed = ", ".join(map(ddl.literal, chosen))
    also = ", filename = '_tidegate_file'" if place else ""
    return f"read_parquet([{listed}], schema = MAP {{{', '.join(fields)}}}{also})"


def shown(table: Table) -> str:
    """SQL for all rows, JSON as DuckDB's type."""
    if not table.is_text or "JSON" not in table.columns.values():
        return f"SELECT * FROM {source(table)}"
    told = ", ".join(
        f"CAST({base.quoted(name)} AS JSON) AS {base.quoted(name)}" if kind == "JSON" else base.quoted(name)
        for name, kind in table.columns.items()
    )
    return f"SELECT {told} FROM {source(table)}"


def widened(before: Table, after: Table, paths: Sequence[str] | None = None) -> str:
    """SQL for rows as a table with more and wider columns has them."""
    told = []
    for name, kind in after.columns.items():
        value = f"CAST(NULL AS {kind})"
        if name in before.columns:
            value = ddl.convert(base.quoted(name), before.columns[name], kind)
        if kind == "JSON" and after.is_text:
            value = f"CAST({value} AS VARCHAR)"
        told.append(f"{value} AS {base.quoted(name)}")
    return f"SELECT {', '.join(told)} FROM {source(before, paths)}"


def stored(engine: duckdb.DuckDBPyConnection, table: Table, columns: Sequence[str], by: pa.Table) -> pa.Table:
    """The rows that share values with a row of `by`; see `desk.Reader`."""
    wanted = pa.schema([pa.field(column, ddl.ARROW[table.columns[column]]) for column in columns])
    if not by.num_rows or not table.rows:
        return wanted.empty_table()
    names = ", ".join(f"t.{base.quoted(column)}" for column in columns)
    same = " AND ".join(f"t.{base.quoted(c)} = k.{base.quoted(c)}" for c in by.column_names)
    engine.register(GONE, by)
    try:
        found = engine.sql(
            f"SELECT {names} FROM {source(table, as_text=True)} AS t SEMI JOIN {GONE} AS k ON {same}"
        ).to_arrow_table()
    finally:
        engine.unregister(GONE)
    return found.cast(wanted)


def touched(engine: duckdb.DuckDBPyConnection, table: Table, gone: pa.Table) -> set[str]:
    """The files that hold a row under one of the keys."""
    if not gone.num_rows or not table.rows:
        return set()
    same = " AND ".join(f"t.{base.quoted(c)} = k.{base.quoted(c)}" for c in gone.column_names)
    engine.register(GONE, gone)
    try:
        found = engine.sql(
            f"SELECT DISTINCT t._tidegate_file FROM {source(table, as_text=True, place=True)} AS t "
            f"SEMI JOIN {GONE} AS k ON {same}"
        ).fetchall()
    finally:
        engine.unregister(GONE)
    return {path for (path,) in found}


@dataclass(frozen=True, slots=True)
class Step:
    """A file to be written: rows of files, and a part of the rows that come."""

    of: tuple[File, ...]
    rows: pa.Table | None


def full(rows: int, size: int) -> float:
    """How full a file is, 1 being what it should have; one without rows is empty, whatever its footer takes."""
    return 0.0 if not rows else max(rows / TARGET_ROWS, size / TARGET)


def planned(table: Table, hit: set[str], rows: pa.Table) -> list[Step]:
    """How the rows of the touched files, of small ones where there are many, and those that come become files."""
    small = [file for file in table.files if file.path not in hit and full(file.rows, file.bytes) < SMALL]
    if len(small) + 1 < MANY:
        small = [file for file in small if not file.rows]
    chosen = {file.path for file in small} | hit
    bins: list[list[File]] = []
    filled = 0.0
    for file in table.files:
        if file.path in chosen:
            part = full(file.rows, file.bytes)
            if not bins or filled + part > 1:
                bins.append([])
                filled = 0.0
            bins[-1].append(file)
            filled += part
    steps = [Step(tuple(each), None) for each in bins]
    if not rows.num_rows:
        return steps
    part = full(rows.num_rows, rows.nbytes // PACKED)
    if steps and filled + part <= 1:
        return [*steps[:-1], Step(steps[-1].of, rows)]
    length = -(-rows.num_rows // math.ceil(part))
    return [*steps, *(Step((), rows.slice(i, length)) for i in range(0, rows.num_rows, length))]


def written(
    engine: duckdb.DuckDBPyConnection,
    table: Table,
    steps: Sequence[Step],
    gone: pa.Table,
    folder: str,
    drafts: list[str],
) -> Iterator[File]:
    """Write the files of a plan, without rows under the keys `gone`; a file that would be empty is left out."""
    names = ", ".join(base.quoted(column) for column in table.columns)
    for step in steps:
        parts = []
        try:
            if step.of:
                keep = ""
                if gone.num_rows:
                    engine.register(GONE, gone)
                    same = " AND ".join(f"t.{base.quoted(c)} = k.{base.quoted(c)}" for c in gone.column_names)
                    keep = f" AS t ANTI JOIN {GONE} AS k ON {same}"
                parts.append(f"SELECT {names} FROM {source(table, [file.path for file in step.of])}{keep}")
            if step.rows is not None:
                engine.register(ROWS, _whole(table, step.rows))
                parts.append(f"SELECT {names} FROM {ROWS}")
            file = copied(engine, table, " UNION ALL ".join(parts), draft(folder, drafts))
        finally:
            for name in (GONE, ROWS):
                engine.unregister(name)
        if file is not None:
            yield file


def copied(engine: duckdb.DuckDBPyConnection, table: Table, query: str, path: str) -> File | None:
    """Write the rows of a query into a file; None where there are none."""
    file = save(engine, query, path, table.ids)
    return file if file.rows else None


def save(engine: duckdb.DuckDBPyConnection, query: str, path: str, ids: dict[str, int] | None = None) -> File:
    """Write the rows of a query into a file, if there are none, too."""
    numbers = ""
    if ids is not None:
        told = ", ".join(f"{base.quoted(name)}: {number}" for name, number in ids.items())
        numbers = f", FIELD_IDS {{{told}}}"
    done = engine.execute(
        f"COPY ({query}) TO {ddl.literal(path)} "
        f"(FORMAT parquet, {PACKING}, ROW_GROUP_SIZE {ROW_GROUP}, RETURN_STATS true{numbers})"
    )
    names = [column[0] for column in done.description or []]
    found = [dict(zip(names, row, strict=True)) for row in done.fetchall()]
    rows, size = (sum(int(each[name]) for each in found) for name in ("count", "file_size_bytes"))
    told = found[0]["column_statistics"] if len(found) == 1 else {}
    # It writes names as in SQL.
    return File(path, rows, size, {name[1:-1].replace('""', '"'): ends for name, ends in told.items()})


def fresh() -> str:
    """The name of a file that nobody has."""
    return f"{uuid.uuid4().hex}.parquet"


def draft(folder: str, drafts: list[str]) -> str:
    """The path of a file to be written, noted among the drafts."""
    drafts.append(f"{folder}/{fresh()}")
    return drafts[-1]


@contextlib.contextmanager
def drafts(place: storage.Storage) -> Iterator[list[str]]:
    """Where a block notes the files that it writes: they are removed if it fails.

    What a kill leaves is swept later.
    """
    noted: list[str] = []
    try:
        yield noted
    except Exception:
        with contextlib.suppress(Exception):  # what the block raised says more
            place.remove(noted)
        raise


def is_ours(path: str) -> bool:
    """Does a file have a name that `fresh` gave, so that nobody else put it there?"""
    return _FRESH.search(path) is not None


def _whole(table: Table, rows: pa.Table) -> pa.Table:
    """Rows with all columns of their table, JSON as Arrow's type, which DuckDB takes without parsing it again."""
    given = {name.lower(): rows.column(name) for name in rows.column_names}
    arrays = []
    for column, kind in table.columns.items():
        values = given.get(column.lower())
        if values is None:
            values = pa.nulls(rows.num_rows, ddl.ARROW[kind])
        if kind == "JSON" and not table.is_text:
            json = pa.json_(pa.string())
            chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
            values = pa.chunked_array(
                [pa.ExtensionArray.from_storage(json, chunk.cast(pa.string())) for chunk in chunks], json
            )
        arrays.append(values)
    return pa.table(arrays, names=list(table.columns))
