"""Rows of any driver in the types that all sources have in common."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import math
from collections.abc import Generator

import msgspec
import pyarrow as pa

from tidegate.sources import base
from tidegate.warehouse import base as warehouses

_encoder = msgspec.json.Encoder(decimal_format="number")


def common(
    batches: Generator[pa.RecordBatch, None, None], json: frozenset[str] = frozenset()
) -> Generator[pa.RecordBatch, None, None]:
    """The same rows, each batch in the schema of the first; `json` names columns of text that are JSON.

    Raises ConfigError when a column's name occurs twice.
    """
    schema: pa.Schema | None = None
    with contextlib.closing(batches):
        for batch in batches:
            if schema is None:
                base.distinct(batch.schema.names)
            arrays, fields = [], []
            for field, column in zip(batch.schema, batch.columns, strict=True):
                found, is_json = _plain(column)
                marked = is_json or field.name in json or (field.metadata or {}).get(b"tidegate") == b"json"
                arrays.append(found)
                fields.append(pa.field(field.name, found.type, metadata=warehouses.JSON if marked else None))
            if schema is None:
                schema = pa.schema(fields)
            arrays = [
                array if array.type == field.type else array.cast(field.type)
                for array, field in zip(arrays, schema, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def encoded(value: object) -> str:
    """A value as JSON; decimals keep all digits, and what JSON has no number for becomes text."""
    return _encoder.encode(_speakable(value)).decode()


def _plain(column: pa.Array) -> tuple[pa.Array, bool]:
    """A column without nesting, and whether it is JSON now."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(column.storage)
    if pa.types.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    if pa.types.is_map(kind):
        maps = ({_key(key): one for key, one in v} if v is not None else None for v in column.to_pylist())
        return pa.array([None if v is None else encoded(v) for v in maps], pa.string()), True
    if pa.types.is_nested(kind):
        return pa.array([None if v is None else encoded(v) for v in column.to_pylist()], pa.string()), True
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.array([None if v is None else v.hex() for v in column.to_pylist()], pa.string()), False
    if pa.types.is_large_string(kind) or pa.types.is_null(kind) or kind == pa.string_view():
        return column.cast(pa.string()), False
    if pa.types.is_time(kind):
        told = column.cast(pa.string()).to_pylist()  # Python's own times end with microseconds
        return pa.array([None if v is None else _time(v) for v in told], pa.string()), False
    if pa.types.is_duration(kind) or pa.types.is_interval(kind):
        return pa.array([None if v is None else _spelled(v) for v in column.to_pylist()], pa.string()), False
    if pa.types.is_timestamp(kind) and kind.tz is not None and kind.tz != "UTC":
        return column.cast(pa.timestamp(kind.unit, "UTC")), False
    return column, False


def _time(text: str) -> str:
    """A time of day as Arrow spells it, with a part of the second only where there is one: 6 digits, or up to 9."""
    whole, _, part = text.partition(".")
    part = part.rstrip("0")
    return f"{whole}.{part.ljust(6, '0')}" if part else whole


def _speakable(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _speakable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_speakable(one) for one in value]
    if isinstance(value, tuple):  # an entry of a map
        return [_speakable(one) for one in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float | decimal.Decimal) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | decimal.Decimal | str):
        return value
    return _spelled(value)


def _key(value: object) -> str:
    return value if isinstance(value, str) else encoded(value).strip('"')


def _spelled(value: object) -> str:
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value)
