"""DuckDB's columns: which type an Arrow field becomes, how two types meet, and the DDL that gets a table there.

A column only ever widens. The order is BIGINT < DECIMAL(38,12), BIGINT < DOUBLE, every scalar but text < JSON,
and everything < VARCHAR, so that two types always have one that holds the values of both exactly. A type that is
none of ours (somebody altered the table) is left alone and written with a cast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from tidegate import errors
from tidegate.warehouse import base

Columns = dict[str, str]
"""Column name -> DuckDB type, in the table's order."""

OURS = ("BOOLEAN", "BIGINT", "DOUBLE", "DECIMAL(38,12)", "TIMESTAMP WITH TIME ZONE", "JSON", "VARCHAR")

EXACT_IN_DOUBLE = 2**53
"""Integers beyond this have no exact DOUBLE."""

ARROW: dict[str, pa.DataType] = {
    "BOOLEAN": pa.bool_(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "DECIMAL(38,12)": pa.decimal128(38, 12),
    "TIMESTAMP WITH TIME ZONE": pa.timestamp("us", "UTC"),
    "JSON": pa.string(),
    "VARCHAR": pa.string(),
}
"""The Arrow type of what a column of ours holds; JSON is text."""


def literal(text: str) -> str:
    """A text as an SQL string, for statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"


def is_json(field: pa.Field) -> bool:
    """Does the field hold JSON text?"""
    return bool(field.metadata) and field.metadata.get(b"tidegate") == b"json"


def sql_type(field: pa.Field) -> str:
    """The DuckDB type of an Arrow field; raises WarehouseError for a type that rows never have."""
    kind = field.type
    if is_json(field):
        return "JSON"
    if pa.types.is_boolean(kind):
        return "BOOLEAN"
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return "BIGINT"
    if pa.types.is_floating(kind):
        return "DOUBLE"
    if pa.types.is_decimal128(kind) and kind.scale <= 12 and kind.precision - kind.scale <= 26:
        return "DECIMAL(38,12)"
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return "TIMESTAMP WITH TIME ZONE"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return "VARCHAR"
    raise errors.WarehouseError(
        f"Column {field.name} has the Arrow type {kind}, which no table of Tidegate holds; "
        "give it as text, a number, a boolean, a timestamp with time zone or JSON."
    )


def widest(there: str, wanted: str) -> str:
    """The narrowest type that holds the values of both; a type that is not ours stays as it is."""
    if there == wanted or there not in OURS:
        return there
    pair = {there, wanted}
    if "VARCHAR" in pair:
        return "VARCHAR"
    if "JSON" in pair:
        return "JSON"
    if pair == {"BIGINT", "DECIMAL(38,12)"}:
        return "DECIMAL(38,12)"
    if pair == {"BIGINT", "DOUBLE"}:
        return "DOUBLE"
    return "VARCHAR"


def convert(expression: str, there: str, to: str, *, checked: bool = False) -> str:
    """SQL that turns a value of type `there` into `to` without losing any of it.

    `checked`: text for a JSON column is JSON already, to be parsed once more, instead of a value to be quoted.
    """
    if there == to:
        return expression
    if to == "JSON" and not (checked and there == "VARCHAR"):
        return f"to_json({expression})"
    return f"CAST({expression} AS {to})"


def existing(connection: duckdb.DuckDBPyConnection, database: str, schema: str) -> dict[str, Columns]:
    """Every table of a schema with its columns, keyed by the name in lower case (DuckDB ignores case)."""
    rows = connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = ? AND schema_name = ? AND NOT internal ORDER BY table_oid, column_index",
        [database, schema],
    ).fetchall()
    tables: dict[str, Columns] = {}
    for table, column, kind in rows:
        tables.setdefault(table.lower(), {})[column] = kind
    return tables


@dataclass(frozen=True, slots=True)
class Create:
    """Make the table."""

    columns: Columns


@dataclass(frozen=True, slots=True)
class Add:
    """Add a column."""

    column: str
    kind: str


@dataclass(frozen=True, slots=True)
class Widen:
    """Give a column, which has the type `there`, a wider one."""

    column: str
    there: str
    kind: str


def planned(
    schema: str,
    table: base.Table,
    fields: Sequence[pa.Field],
    there: Columns | None,
    beyond_double: Callable[[str], bool],
) -> tuple[Columns, list[Create | Add | Widen]]:
    """What makes a table take `fields`, and the columns that it has then; types are DuckDB's.

    `there` are its columns now, None when it does not exist. `beyond_double` tells of a column of integers whether
    it holds one that has no exact DOUBLE.
    """
    wanted = _distinct(table.name, fields)
    if there is None:
        created = {field.name: sql_type(field) for field in wanted.values()}
        return created, [Create(created)]
    types = {column.lower(): kind for column, kind in there.items()}
    foreign = [column for column in table.key if column.lower() not in types]
    if foreign:
        raise errors.ConfigError(
            f"{schema}.{table.name} exists but is no table of Tidegate (it has no column {foreign[0]}); "
            "rename it, or give the stream another table name."
        )
    result, steps = dict(there), list[Create | Add | Widen]()
    names = {column.lower(): column for column in there}
    for lower, field in wanted.items():
        kind = sql_type(field)
        if lower not in types:
            steps.append(Add(field.name, kind))
            result[field.name] = kind
            continue
        target = widest(types[lower], kind)
        if target == "DOUBLE" and types[lower] == "BIGINT" and beyond_double(names[lower]):
            target = "VARCHAR"
        if target != types[lower]:
            steps.append(Widen(names[lower], types[lower], target))
            result[names[lower]] = target
    return result, steps


def lacks(table: base.Table, fields: Sequence[pa.Field], there: Columns | None) -> bool:
    """Must the table change before it takes `fields`?"""
    return bool(planned("", table, fields, there, lambda _: False)[1])


def evolve(
    connection: duckdb.DuckDBPyConnection,
    database: str,
    schema: str,
    table: base.Table,
    fields: Sequence[pa.Field],
    there: Columns | None,
) -> Columns:
    """Create a table or widen it until it takes `fields`; returns the columns it then has.

    `there` are its columns now, None when it does not exist. Runs inside the caller's transaction.
    """
    name = f"{base.quoted(database)}.{base.quoted(schema)}.{base.quoted(table.name)}"
    columns, steps = planned(
        schema, table, fields, there, lambda column: _beyond_double(connection, name, column)
    )
    for step in steps:
        if isinstance(step, Create):
            definitions = ", ".join(
                _definition(column, kind, key=column == table.key[-1])
                for column, kind in step.columns.items()
            )
            connection.execute(f"CREATE TABLE {name} ({definitions})")
        elif isinstance(step, Add):
            connection.execute(f"ALTER TABLE {name} ADD COLUMN {_definition(step.column, step.kind)}")
        else:
            column = base.quoted(step.column)
            using = convert(column, step.there, step.kind)
            connection.execute(f"ALTER TABLE {name} ALTER COLUMN {column} TYPE {step.kind} USING {using}")
    return columns


def fields_of(load: base.Load, there: Columns | None) -> list[pa.Field]:
    """The columns that a load needs: the table's and the rows' own, integers too big for a DOUBLE as text.

    Plain text for a column that the table declares as JSON is taken for JSON (and checked when it is written).
    """
    fields = {field.name.lower(): field for field in load.table.schema}
    result = list(load.table.schema)
    types = {column.lower(): kind for column, kind in (there or {}).items()}
    for field in load.rows.schema:
        known = fields.get(field.name.lower())
        text = known is not None and {sql_type(known), sql_type(field)} == {"JSON", "VARCHAR"}
        if known is None or not (text or pa.types.is_null(field.type)):
            result.append(field)
        if types.get(field.name.lower()) == "DOUBLE" and pa.types.is_integer(field.type):
            ends = pc.min_max(load.rows.column(field.name)).as_py()
            if any(end is not None and abs(end) > EXACT_IN_DOUBLE for end in ends.values()):
                result.append(pa.field(field.name, pa.string()))
    return result


def _distinct(table: str, fields: Sequence[pa.Field]) -> dict[str, pa.Field]:
    """Fields by lower-case name; two of one name meet in their widest type, two that differ in case cannot."""
    result: dict[str, pa.Field] = {}
    for field in fields:
        lower = field.name.lower()
        known = result.get(lower)
        if known is not None and known.name != field.name:
            raise errors.WarehouseError(
                f"Table {table} would have the columns {known.name} and {field.name}, which DuckDB takes for one; "
                "exclude one of them."
            )
        if known is None:
            result[lower] = field
        else:
            kind = widest(sql_type(known), sql_type(field))
            result[lower] = pa.field(field.name, ARROW[kind], metadata=base.JSON if kind == "JSON" else None)
    return result


def _definition(name: str, kind: str, *, key: bool = False) -> str:
    # JSON is three quarters of a row; zstd makes it a tenth for a third of the CPU that DuckDB's own choice takes.
    # Every merge reads all keys, and no two are alike: left as they are, 2 million read in 50 ms instead of 150.
    compression = "zstd" if kind == "JSON" else "uncompressed" if key and kind == "VARCHAR" else ""
    return f"{base.quoted(name)} {kind}" + (f" USING COMPRESSION {compression}" if compression else "")


def _beyond_double(connection: duckdb.DuckDBPyConnection, table: str, column: str) -> bool:
    rows = connection.execute(
        f"SELECT max(abs({base.quoted(column)}::HUGEINT)) > {EXACT_IN_DOUBLE} FROM {table}"
    ).fetchall()
    return bool(rows[0][0])
