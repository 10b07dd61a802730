"""A file of rows beside the configuration: CSV, Parquet, or JSON lines, read by a DuckDB that opens no other file.

Values of a CSV file are text as they are written, so that `007` stays `007`; an empty cell is null, and `""` is
empty text. A column of JSON lines has the type that all of its values have: whole numbers, numbers, booleans, text;
else it is JSON where one of them is an object or a list, and text where not. Text is never taken for a date.
"""

from __future__ import annotations

import contextlib
import csv
import os
import re
import uuid
from collections.abc import Generator, Iterator, Sequence
from pathlib import PurePath

import duckdb
import pyarrow as pa

from tidegate import errors, temporary
from tidegate.sources import arrow, base
from tidegate.warehouse import base as warehouses
from tidegate.warehouse import ddl, faults

MEMORY = 256 * 1024 * 1024
"""Bytes that reading may take; more goes to disk."""

AS_TEXT = ("INTERVAL", "TIME WITH TIME ZONE", "BIT", "BIGNUM", "HUGEINT", "UHUGEINT", "UUID")
"""Types that Arrow has not, or not whole."""

WHOLE = frozenset(("BIGINT", "UBIGINT"))
"""What DuckDB calls whole numbers in JSON, the latter those that are not negative."""

EXACT, LARGE = 2**53, 2**63 - 1
"""The largest whole numbers up to which a double has all of them, and that a BIGINT has."""

_QUOTED = re.compile(r'"[^"]*"')
_LINE = re.compile(r"[Ll]ine:? (\d+)")


class File:
    """One file; it is opened only while it is read."""

    kind = "file"

    def __init__(self, path: str) -> None:
        self.path = path
        self._ending = PurePath(path).suffix.lower()

    def check(self) -> list[warehouses.Check]:
        """Reach, and read."""
        try:
            self._look()
            names = self.columns(base.Query(file=self.path)).names
        except errors.TidegateError as error:
            return [warehouses.Check("reach", False, str(error))]
        return [
            warehouses.Check("reach", True, f"{self.path} can be read"),
            warehouses.Check("read", True, f"it has {len(names)} columns"),
        ]

    def tables(self) -> list[str]:
        """None: a file is its only table."""
        return []

    def columns(self, query: base.Query | str) -> pa.Schema:
        """The columns of the file."""
        base.only(query, self.kind, "file")
        with self._opened() as (engine, shown):
            return self._empty(engine, shown).schema

    def read(self, query: base.Query | str, parameters: Sequence[object] = ()) -> Iterator[pa.RecordBatch]:
        """Stream the rows of the file; it takes no parameters."""
        base.only(query, self.kind, "file")
        assert not parameters, "A file is read whole."

        def rows() -> Iterator[pa.RecordBatch]:
            has_come = False
            with self._opened() as (engine, shown):
                for batch in self._batches(engine, shown):
                    has_come = True
                    yield batch
                if not has_come:
                    yield self._empty(engine, shown)

        return rows()

    def close(self) -> None:
        """Nothing is held between two calls."""

    def _look(self) -> None:
        if not os.path.isfile(self.path):
            raise errors.ConfigError(
                f"There is no file {self.path}; `file` of a model counts from the folder of the configuration."
            )
        if set("*?[") & set(self.path):
            raise errors.ConfigError(
                f"The path {self.path} has *, ? or [ in it, which stand for other characters; rename it."
            )
        if not os.access(self.path, os.R_OK):
            raise errors.ConfigError(
                f"The file {self.path} cannot be read by this user; change its permissions."
            )

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
        """A DuckDB that can open this file alone, and the query that shows its rows."""
        self._look()
        engine = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": f"{MEMORY}B",
                "threads": 2,
                "temp_directory": str(temporary.spilling() / uuid.uuid4().hex),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
            },
        )
        try:
            engine.execute("SET GLOBAL TimeZone = 'UTC'")
            engine.execute(f"SET allowed_paths = [{ddl.literal(self.path)}]")
            engine.execute("SET enable_external_access = false")
            engine.execute("SET lock_configuration = true")
            with self._explained():
                shown = self._shown(engine)
            yield engine, shown
        finally:
            engine.close()

    def _shown(self, engine: duckdb.DuckDBPyConnection) -> str:
        path = ddl.literal(self.path)
        if self._ending == ".csv":
            if not os.path.getsize(self.path):
                raise errors.ConfigError(f"The file {self.path} is empty; its first line names the columns.")
            return self._csv(path)
        if self._ending == ".parquet":
            found = engine.execute(f"DESCRIBE FROM read_parquet({path})").fetchall()
            return f"SELECT {_spelled([row[:2] for row in found])} FROM read_parquet({path})"
        return f"SELECT {', '.join(self._fields(engine, path))} FROM read_ndjson_objects({path})"

    def _csv(self, path: str) -> str:
        """Every column as text, parted by what parts the names in the first line."""
        try:
            # Bytes that are no UTF-8 matter here in the names alone: DuckDB finds the others, and their line.
            with open(self.path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
                line = _QUOTED.sub("", file.readline(csv.field_size_limit()))
                part = max(",;\t|", key=line.count)
                file.seek(0)
                names = next(csv.reader(file, delimiter=part, strict=True))
            "".join(names).encode()
        except (csv.Error, UnicodeError):
            raise errors.ConfigError(
                f"The first line of {self.path} is no CSV in UTF-8; it names the columns, with commas between."
            ) from None
        base.distinct(names)
        columns = ", ".join(f"{warehouses.quoted(name)}: 'VARCHAR'" for name in names)
        return (
            f"FROM read_csv({path}, auto_detect = false, header = true, columns = {{{columns}}}, "
            f"delim = {ddl.literal(part)}, quote = '\"', escape = '\"', allow_quoted_nulls = false, "
            "nullstr = '')"
        )

    def _fields(self, engine: duckdb.DuckDBPyConnection, path: str) -> list[str]:
        """An expression for every name in the JSON lines, in the order in which they come."""
        ((others,),) = engine.execute(
            f"SELECT count(*) FROM read_ndjson_objects({path}) WHERE json_type(json) <> 'OBJECT'"
        ).fetchall()
        if others:
            raise errors.ConfigError(
                f'The file {self.path} has {others} lines that are no object; write {{"id": 1, ...}} in each.'
            )
        found = engine.execute(
            "SELECT each.key, list_sort(list(DISTINCT each.type) FILTER (each.type <> 'NULL')), "
            f"coalesce(max(coalesce(abs(TRY_CAST(each.value AS HUGEINT)), {2**127 - 1})) "
            # What is beyond 64 bits counts as a DOUBLE, although it is kept as it is written.
            "FILTER (regexp_full_match(CAST(each.value AS VARCHAR), '-?[0-9]+')), 0) "
            f"FROM read_ndjson_objects({path}) AS line, json_each(line.json) AS each "
            "GROUP BY each.key ORDER BY min(each.id), each.key"
        ).fetchall()
        if not found:
            raise errors.ConfigError(f"The file {self.path} has no objects, and therefore no columns.")
        return [_field(name, frozenset(kinds or ()), largest) for name, kinds, largest in found]

    def _empty(self, engine: duckdb.DuckDBPyConnection, shown: str) -> pa.RecordBatch:
        """No rows, with their columns."""
        nothing = f"SELECT q.* FROM (SELECT 1) LEFT JOIN (FROM (\n{shown}\n) LIMIT 0) AS q ON true"
        [batch] = self._batches(engine, nothing, shown)
        return batch.slice(0, 0)

    def _batches(
        self, engine: duckdb.DuckDBPyConnection, text: str, shown: str | None = None
    ) -> Iterator[pa.RecordBatch]:
        with self._explained():
            kinds = engine.execute(f"DESCRIBE {shown or text}").fetchall()
            json = frozenset(row[0] for row in kinds if row[1] == "JSON")

        def rows() -> Generator[pa.RecordBatch, None, None]:
            with self._explained():
                yield from engine.sql(text).to_arrow_reader(base.BATCH)

        yield from arrow.common(rows(), json)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.InvalidInputException, OSError) as error:
            if isinstance(error, OSError) and "Invalid Input Error" not in str(error):
                raise faults.explain(error, self.path) from None
            # DuckDB quotes the line that it does not understand, through Arrow as an OSError.
            line = _LINE.search(str(error))
            where = f" (line {line[1]})" if line else ""
            raise errors.ConfigError(
                f"The file {self.path} is no {self._ending[1:]} that can be read{where}; mend it, nothing of it "
                "was taken."
            ) from None
        except duckdb.Error as error:
            raise faults.explain(error, self.path) from None


def _spelled(columns: Sequence[tuple[str, str]]) -> str:
    return ", ".join(
        f"CAST({warehouses.quoted(name)} AS VARCHAR) AS {warehouses.quoted(name)}"
        if kind in AS_TEXT
        else warehouses.quoted(name)
        for name, kind in columns
    )


def _field(name: str, kinds: frozenset[str], largest: int) -> str:
    """An expression for one name in JSON lines whose values are of these kinds."""
    at = ddl.literal('$."' + name.replace('"', '\\"') + '"')
    if {"OBJECT", "ARRAY"} & kinds:
        return f"CAST(json_extract(json, {at}) AS JSON) AS {warehouses.quoted(name)}"
    if not kinds or not kinds <= WHOLE | {"DOUBLE", "BOOLEAN"} or {"BOOLEAN"} < kinds:
        type = "VARCHAR"
    elif kinds <= WHOLE:
        type = "BIGINT" if largest <= LARGE else "UBIGINT" if kinds == {"UBIGINT"} else "VARCHAR"
    elif kinds == {"BOOLEAN"}:
        type = "BOOLEAN"
    else:
        type = "DOUBLE" if largest <= EXACT else "VARCHAR"
    return f"CAST(json_extract_string(json, {at}) AS {type}) AS {warehouses.quoted(name)}"
