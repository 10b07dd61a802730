"""ClickHouse's types: what its names mean, and how values in Arrow become those that Tidegate knows."""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Callable, Mapping

import pyarrow as pa

from tidegate.warehouse import base

JSON = " COMMENT 'JSON'"
"""What the type of a column that holds JSON ends with."""

ENTRY = re.compile(r"'((?:[^'\\]|\\.)*)' = (-?\d+)")
"""One name of an Enum, with its number."""


def bare(native: str) -> str:
    """A type without what says that it may be NULL, and that it is JSON."""
    kind = native.removesuffix(JSON)
    for wrapper in ("LowCardinality(", "Nullable("):
        if kind.startswith(wrapper):
            kind = kind[len(wrapper) : -1]
    return kind


def text(column: str, native: str, quoted: bool) -> str:
    """SQL for the text of a value, as DuckDB writes it."""
    kind = bare(native)
    if kind.startswith("DateTime64"):
        moment = f"formatDateTime({column}, '%Y-%m-%d %H:%i:%S.%f', 'UTC')"
        found = f"concat(replaceRegexpOne({moment}, '[.]?0+$', ''), '+00')"
        return f"concat('\"', {found}, '\"')" if quoted else found
    if kind.startswith("Decimal"):
        return f"toDecimalString({column}, 12)"
    return f"toString({column})"


def common(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch in the types of `ddl.ARROW`, where it has them."""
    arrays = []
    for column in batch.columns:
        kind = column.type
        if pa.types.is_integer(kind):
            kind = pa.int64()
        elif pa.types.is_floating(kind):
            kind = pa.float64()
        elif pa.types.is_binary(kind):
            kind = pa.string()
        elif pa.types.is_timestamp(kind) and kind.tz is not None:
            kind = pa.timestamp("us", "UTC")
        elif pa.types.is_decimal128(kind) and kind.scale <= 12:
            kind = pa.decimal128(38, 12)
        arrays.append(column if kind == column.type else column.cast(kind))
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def meant(batch: pa.RecordBatch, kinds: Mapping[str, str]) -> pa.RecordBatch:
    """A batch of a user's query with what Arrow has no type for as text, and moments as moments.

    `kinds` are ClickHouse's types of the columns.
    """
    arrays, fields = [], []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        kind = bare(kinds[name])
        arrays.append(_meant(column, kind))
        is_json = kind == "JSON" or kind.startswith("JSON(")
        fields.append(pa.field(name, arrays[-1].type, metadata=base.JSON if is_json else None))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _meant(column: pa.Array, kind: str) -> pa.Array:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if kind.partition("(")[0] == "DateTime" and pa.types.is_integer(column.type):
        return column.cast(pa.int64()).cast(pa.timestamp("s", "UTC"))
    if kind == "Date" and pa.types.is_integer(column.type):
        return column.cast(pa.int32()).cast(pa.date32())
    if kind.startswith("Enum") and pa.types.is_integer(column.type):
        names = {int(number): _unescaped(name) for name, number in ENTRY.findall(kind)}
        return _told(column, names.__getitem__)
    if kind.startswith("FixedString") and not pa.types.is_string(column.type):
        return column.cast(pa.binary()).cast(pa.string())
    speak = _SPOKEN.get(kind)
    if speak is not None and not pa.types.is_string(column.type):
        return _told(column, speak)
    return column


def _told(column: pa.Array, speak: Callable[..., str]) -> pa.Array:
    return pa.array([None if v is None else speak(v) for v in column.to_pylist()], pa.string())


def _whole(signed: bool) -> Callable[[bytes], str]:
    return lambda value: str(int.from_bytes(value, "little", signed=signed))


_SPOKEN: dict[str, Callable[..., str]] = {
    "UUID": lambda value: str(uuid.UUID(bytes=value)),
    "IPv4": lambda value: str(ipaddress.IPv4Address(value)),
    "IPv6": lambda value: str(ipaddress.IPv6Address(value)),
    "Int128": _whole(True),
    "Int256": _whole(True),
    "UInt128": _whole(False),
    "UInt256": _whole(False),
}


def _unescaped(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name)
