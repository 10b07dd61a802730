"""What users' queries return from Postgres, as Arrow that loses nothing.

Numbers with a scale become decimals of that scale; numbers without one (`numeric`, and every `sum` of big integers)
have no type in Arrow that holds them all and come as text. JSON, arrays and all other types come as text, too.
"""

from __future__ import annotations

import decimal
from collections.abc import Sequence
from typing import Any

import msgspec
import psycopg
import pyarrow as pa

from tidegate import errors
from tidegate.warehouse import base

AS_TEXT = ("json", "jsonb", "interval", "date", "timestamp", "timestamptz", "time", "timetz", "money")
"""Types that are taken as the server spells them."""

KINDS: dict[int, pa.DataType] = {
    16: pa.bool_(),
    20: pa.int64(),
    21: pa.int64(),
    23: pa.int64(),
    26: pa.int64(),
    700: pa.float64(),
    701: pa.float64(),
    1082: pa.date32(),
    1114: pa.timestamp("us"),
    1184: pa.timestamp("us", "UTC"),
}
"""Arrow types by numbers of pg_type."""

NUMERIC = 1700
JSON = (114, 3802)

_encoder = msgspec.json.Encoder(decimal_format="number")


def schema(description: Sequence[psycopg.Column]) -> pa.Schema:
    """The columns of a cursor; JSON, arrays included, by its metadata."""
    return pa.schema([_field(column) for column in description])


def batch(schema: pa.Schema, rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    """Rows of a cursor; raises WarehouseError, naming the column, for times and numbers that Arrow has not."""
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.RecordBatch.from_arrays(
        [_array(field, values) for field, values in zip(schema, columns, strict=True)], schema=schema
    )


def _field(column: psycopg.Column) -> pa.Field:
    if column.type_code == NUMERIC:
        precision, scale = column.precision, column.scale
        if precision is None or scale is None or not 0 <= scale <= precision <= 76:
            return pa.field(column.name, pa.string())
        make = pa.decimal128 if precision <= 38 else pa.decimal256
        return pa.field(column.name, make(precision, scale))
    if column.type_code in JSON or _is_array(column.type_code):
        return pa.field(column.name, pa.string(), metadata=base.JSON)
    return pa.field(column.name, KINDS.get(column.type_code, pa.string()))


def _is_array(number: int) -> bool:
    known = psycopg.adapters.types.get(number)
    return known is not None and known.array_oid == number and known.oid != number


def _array(field: pa.Field, values: Sequence[Any]) -> pa.Array:
    kind = field.type
    try:
        if pa.types.is_temporal(kind):
            return pa.array(values, pa.string()).cast(kind)
        if pa.types.is_string(kind):
            return pa.array([v if v is None or isinstance(v, str) else _text(v) for v in values], kind)
        return pa.array(values, kind)
    except pa.ArrowInvalid:
        # Without the cause: its text quotes the value.
        raise errors.WarehouseError(
            f"The column {field.name} holds what no {kind} can hold (infinity, NaN, or a year outside of 1 to "
            "9999); cast it to text in the query, or leave such rows out."
        ) from None


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, list):
        return _encoder.encode(_plain(value)).decode()
    return str(value)


def _plain(value: object) -> object:
    """The elements of an array as JSON can say them."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, decimal.Decimal) and not value.is_finite():
        return str(value)
    if value is None or isinstance(value, bool | int | float | decimal.Decimal | str):
        return value
    return _text(value)
