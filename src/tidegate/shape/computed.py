"""What SQL expressions give for the rows of a table: all of them in one pass of DuckDB, in UTC.

Where an expression fails on a row it gives null, and the row is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from tidegate import errors
from tidegate.shape import documents, expressions
from tidegate.warehouse import base, ddl

if TYPE_CHECKING:
    import duckdb

_ROW = "record"
"""What an expression may call its row."""

_KEPT = frozenset((
    "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "DOUBLE", "VARCHAR",
    "DATE", "JSON",
))  # fmt: skip
"""DuckDB's types whose values are taken as they are, beside its decimals."""

_WORDS = {
    "FLOAT": "CAST(CAST({} AS VARCHAR) AS DOUBLE)",
    "UBIGINT": "CAST({} AS DECIMAL(38, 0))",
    "HUGEINT": "CAST({} AS DECIMAL(38, 0))",
    "UHUGEINT": "CAST({} AS DECIMAL(38, 0))",
    "BIGNUM": "CAST({} AS DECIMAL(38, 0))",
}
"""How a DuckDB type that Arrow or Python has no exact word for becomes one that it has."""


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression that was checked, with the columns that it may name; `is_json`: it gives JSON."""

    sql: str
    is_json: bool
    columns: frozenset[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What an expression gives for each row, null where it fails, and the rows on which it does."""

    values: pa.ChunkedArray
    failed: list[int]


def expression(text: str, schema: pa.Schema) -> Expression:
    """Make an expression ready for rows of a schema; raises ConfigError, as the rest of a sentence."""
    with expressions.engine().cursor() as session:
        expressions.check(session, text)
        named = expressions.names(session, text)
        used = [name for name in schema.names if name.lower() in named or _ROW in named]
        seen = [schema.field(name) for name in used or schema.names[:1]]
        session.register("given", pa.schema(seen).empty_table())
        kind = expressions.kind(session, text, _rows(seen))
        sql = _shown(f"(\n{text}\n)", kind)
        expressions.kind(session, f"TRY({sql})", _rows(seen))
    return Expression(
        sql, kind == "JSON" or sql.startswith("to_json("), frozenset(field.name for field in seen)
    )


def answers(asked: Sequence[Expression], schema: pa.Schema, table: pa.Table) -> list[Answer]:
    """What each expression gives for the rows of a table that has the columns of the schema."""
    if not asked:
        return []
    seen = [field for field in schema if any(field.name in each.columns for each in asked)]
    columns = {field.name: table.column(field.name) for field in seen}
    rows = pa.table(
        {field.name: _readable(columns[field.name], is_json=ddl.is_json(field)) for field in seen}
    )
    with expressions.engine().cursor() as session:
        answered = _asked(session, asked, seen, rows)
        if answered is not None:
            found = [answered.column(n) for n in range(len(asked))]
        else:  # what TRY does not catch fails a whole query: each by itself, as far as it goes
            found = [pa.chunked_array(_one_by_one(session, each, seen, rows)) for each in asked]
    return [
        Answer(pc.struct_field(each, 0), pc.indices_nonzero(each.is_null()).to_pylist()) for each in found
    ]


def _readable(column: pa.ChunkedArray, *, is_json: bool) -> pa.ChunkedArray:
    return documents.mended(column) if is_json else column


def _shown(sql: str, kind: str) -> str:
    """What an expression gives, as Arrow has it exactly; raises ConfigError, as the rest of a sentence."""
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION", "VARIANT")):
        return f"to_json({sql})"
    if kind in _KEPT or kind.startswith("DECIMAL"):
        return sql
    if kind in _WORDS:
        return _WORDS[kind].format(sql)
    if kind.startswith("TIMESTAMP"):
        return f"CAST({sql} AS TIMESTAMP WITH TIME ZONE)"
    if kind in ("BLOB", "GEOMETRY"):
        raise errors.ConfigError("its SQL gives bytes; make them text, such as by hex(...)")
    return f"CAST({sql} AS VARCHAR)"


def _rows(seen: Sequence[pa.Field]) -> str:
    """The rows that an expression sees: JSON is JSON, everything else as it is."""
    shown = ", ".join(
        f"CAST({name} AS JSON) AS {name}" if ddl.is_json(field) else name
        for field in seen
        for name in [base.quoted(field.name)]
    )
    return f"(SELECT {shown} FROM given) AS {_ROW}"


def _asked(
    session: duckdb.DuckDBPyConnection, asked: Sequence[Expression], seen: Sequence[pa.Field], rows: pa.Table
) -> pa.Table | None:
    """For each row what each expression gives, in a struct that is null where it fails; None where all fails."""
    import duckdb

    shown = ", ".join(f"TRY(struct_pack(v := {each.sql})) AS a{n}" for n, each in enumerate(asked))
    session.register("given", rows)
    try:
        return session.sql(f"SELECT {shown} FROM {_rows(seen)}").to_arrow_table()
    except duckdb.Error:
        return None


def _one_by_one(
    session: duckdb.DuckDBPyConnection, asked: Expression, seen: Sequence[pa.Field], rows: pa.Table
) -> list[pa.Array]:
    """What an expression gives for rows that do not go together: halves, down to the rows that fail."""
    answered = _asked(session, [asked], seen, rows)
    if answered is not None:
        found: list[pa.Array] = answered.column(0).chunks
        return found
    if rows.num_rows == 1:
        empty = _asked(session, [asked], seen, rows.slice(0, 0))
        kind = pa.struct([("v", pa.null())]) if empty is None else empty.column(0).type
        return [pa.nulls(1, kind)]
    half = rows.num_rows // 2
    return [
        chunk
        for part in (rows.slice(0, half), rows.slice(half))
        for chunk in _one_by_one(session, asked, seen, part)
    ]
