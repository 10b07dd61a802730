"""Answers of Elasticsearch's SQL as Arrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from tidegate import errors
from tidegate.sources import arrow, base
from tidegate.warehouse import base as warehouses

TYPES: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("long", "integer", "short", "byte"), pa.int64()),
    **dict.fromkeys(("double", "float", "half_float", "scaled_float"), pa.float64()),
    "unsigned_long": pa.uint64(),
    "boolean": pa.bool_(),
    "datetime": pa.timestamp("us", "UTC"),
    "date": pa.date32(),
}
"""https://www.elastic.co/guide/en/elasticsearch/reference/current/sql-data-types.html; all others are text."""

NESTED = ("object", "nested", "geo_shape", "geo_point")


def schema(columns: Sequence[Mapping[str, str]]) -> pa.Schema:
    """The columns of an answer; raises ConfigError for two of one name."""
    base.distinct([one["name"] for one in columns])
    return pa.schema([_field(one["name"], one["type"]) for one in columns])


def batch(schema: pa.Schema, rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    """Rows of an answer; raises WarehouseError, naming the column, for what its type does not hold."""
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = []
    for field, found in zip(schema, columns, strict=True):
        try:
            if pa.types.is_timestamp(field.type):
                arrays.append(pa.array(found, pa.string()).cast(field.type))
            elif pa.types.is_date(field.type):
                arrays.append(pa.array([v and v[:10] for v in found], pa.string()).cast(field.type))
            elif pa.types.is_floating(field.type):
                arrays.append(pa.array([v if v is None else float(v) for v in found], field.type))
            elif pa.types.is_string(field.type):
                told = [v if v is None or isinstance(v, str) else arrow.encoded(v) for v in found]
                arrays.append(pa.array(told, field.type))
            else:
                arrays.append(pa.array(found, field.type))
        except (pa.ArrowInvalid, TypeError, ValueError):
            # Without the cause: its text quotes the value.
            raise errors.WarehouseError(
                f"The column {field.name} does not hold what Elasticsearch said of it ({field.type}); cast it."
            ) from None
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _field(name: str, kind: str) -> pa.Field:
    is_json = kind in NESTED
    return pa.field(name, TYPES.get(kind, pa.string()), metadata=warehouses.JSON if is_json else None)
