"""Values of one field to one Arrow column; what does not fit comes back as it was written.

The fast way hands the whole list to Arrow. Where one value refuses, each is looked at by itself: it either
becomes exactly the value that was written, or NULL and a misfit, which the caller puts into `_extra`.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from tidegate import catalog
from tidegate.rows import layout, text

JSON = {b"tidegate": b"json"}
"""Field metadata of a string column that holds JSON."""

SECOND = pa.timestamp("s", "UTC")
INSTANT = pa.timestamp("us", "UTC")
DECIMAL = pa.decimal128(38, 12)

TYPES: dict[catalog.FieldType, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "decimal": DECIMAL,
    "boolean": pa.bool_(),
    "timestamp": INSTANT,
    "id": pa.string(),
    "json": pa.string(),
}

Misfits = dict[int, bytes]
"""Row number -> the value as it was written."""

_NULL = b"null"
_NULL_TEXT = pa.scalar("null")  # made once: a comparison with a Python string makes it again every time
_NO_TEXT = pa.scalar("")
_NUMBER = re.compile(rb"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,9})?", re.ASCII)
_SHORT = re.compile(r"-?[0-9]{1,14}(\.[0-9]{1,12})?", re.ASCII)
_LONG_FRACTION = re.compile(r"\.[0-9]{6}[0-9]*[1-9]")
_WHOLE = decimal.Context(prec=60)
_LAST_PLACE = decimal.Decimal("1e-12")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


class Misfit(Exception):
    """A value that its column cannot hold; `shown` is what the column can have of it."""

    def __init__(self, shown: object = None) -> None:
        super().__init__()
        self.shown = shown


def column(kind: catalog.FieldType, values: Sequence[object]) -> tuple[pa.Array, Misfits]:
    """The Arrow column of decoded values (None, Python scalars, Ref, or Raw where a value is as written)."""
    if kind == "json":
        return raw_column(cast(Sequence[msgspec.Raw], values)), {}
    try:
        if kind == "timestamp":
            return pa.array(values, SECOND).cast(INSTANT), {}
        if kind == "decimal":
            # Arrow 26 wraps around silently at 10**27 and beyond ("1.1e27"), so it sees short numerals only.
            if all(value is None or (isinstance(value, str) and _SHORT.fullmatch(value)) for value in values):
                return pa.array(values, pa.string()).cast(DECIMAL), {}
            return _one_by_one(kind, values)
        return pa.array(values, TYPES[kind]), {}
    except (pa.ArrowInvalid, TypeError):
        return _one_by_one(kind, values)


def raw_column(values: Sequence[msgspec.Raw]) -> pa.Array:
    """A string column of Raw values: one joined buffer and its offsets; `null` and absent are NULL.

    Raises ArrowInvalid when the values together are longer than 2 GiB.
    """
    count = len(values)
    lengths = list(map(len, values))
    joined = pa.py_buffer(b"".join(values))
    steps = pa.py_buffer(struct.pack(f"{count + 1}i", 0, *lengths))
    sizes = pa.Array.from_buffers(pa.int32(), count + 1, [None, steps])
    offsets = pc.cumulative_sum_checked(sizes).buffers()[1]
    present = pc.not_equal(pa.StringArray.from_buffers(count, offsets, joined), _NULL_TEXT)
    if 0 in lengths:
        present = pc.and_(
            present, pc.not_equal(pa.StringArray.from_buffers(count, offsets, joined), _NO_TEXT)
        )
    return pa.StringArray.from_buffers(count, offsets, joined, present.buffers()[1])


def seconds(value: object) -> int | None:
    """Unix seconds of a time that is an integer or, in v2, RFC 3339 text; None for anything else."""
    if isinstance(value, msgspec.Raw):
        try:
            return _instant(bytes(value)) // 1_000_000
        except (Misfit, ValueError):
            return None
    return value if isinstance(value, int) else None


def texts(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Every value as one text that depends on nothing but the value; NULL stays NULL.

    Text and JSON stay as they are, booleans are `true` and `false`, numbers are written out without exponent,
    trailing zeros or a plus sign (`12`, `-0.5`), times are unix seconds (`1700000000`, `1700000000.25`).
    """
    kind = values.type
    if pa.types.is_string(kind):
        return values
    if values.null_count == len(values):
        return pa.chunked_array([pa.nulls(len(values), pa.string())])
    if pa.types.is_timestamp(kind):
        micros = values.cast(pa.int64())
        whole = pc.divide(micros, 1_000_000)
        if pc.all(pc.equal(pc.multiply(whole, 1_000_000), micros)).as_py():
            return whole.cast(pa.string())
        return _written(micros, lambda value: decimal.Decimal(value).scaleb(-6, _WHOLE))
    if pa.types.is_decimal(kind):
        return _written(values, lambda value: value)
    if pa.types.is_floating(kind):
        return _written(values, lambda value: decimal.Decimal(repr(value)))
    return values.cast(pa.string())


def _written(values: pa.ChunkedArray, number: Callable[[Any], decimal.Decimal]) -> pa.ChunkedArray:
    found = [None if value is None else _plain(number(value)) for value in values.to_pylist()]
    return pa.chunked_array([pa.array(found, pa.string())])


def _plain(number: decimal.Decimal) -> str:
    shown = format(number, "f")
    if "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    return "0" if shown == "-0" else shown


def _one_by_one(kind: catalog.FieldType, values: Sequence[object]) -> tuple[pa.Array, Misfits]:
    read = _READ[kind]
    misfits: Misfits = {}
    settled: list[object] = []
    for row, value in enumerate(values):
        if isinstance(value, layout.Ref):
            value = value.id
        elif isinstance(value, msgspec.Raw):
            raw = bytes(value)
            try:
                value = None if raw in (b"", _NULL) else read(raw)
            except Misfit as misfit:
                misfits[row] = raw
                value = misfit.shown
        elif kind == "timestamp" and isinstance(value, int):
            value *= 1_000_000
        elif kind == "decimal" and isinstance(value, str):
            try:
                value = _exact(value)
            except Misfit:
                misfits[row] = msgspec.json.encode(value)
                value = None
        settled.append(value)
    return pa.array(settled, TYPES[kind]), misfits


def _string(raw: bytes) -> str:
    value = text.value(raw)
    if not isinstance(value, str):
        raise Misfit
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise Misfit(re.sub("[\ud800-\udfff]", "\ufffd", value))
    return value


def _id(raw: bytes) -> str:
    if raw.startswith(b"{"):
        try:
            return msgspec.json.decode(raw, type=layout.Ref).id
        except msgspec.DecodeError:
            raise Misfit from None
    return _string(raw)


def _integer(raw: bytes) -> int:
    try:
        return msgspec.json.decode(raw, type=layout.INTEGER)
    except msgspec.DecodeError:
        raise Misfit from None


def _boolean(raw: bytes) -> bool:
    if raw not in (b"true", b"false"):
        raise Misfit
    return raw == b"true"


def _number(raw: bytes) -> float:
    if not _NUMBER.fullmatch(raw):
        raise Misfit
    value = float(raw)
    try:
        exact = math.isfinite(value) and decimal.Decimal(repr(value)) == decimal.Decimal(raw.decode())
    except decimal.InvalidOperation:  # an exponent of more than 18 digits
        exact = False
    if not exact:
        raise Misfit
    return value


def _decimal(raw: bytes) -> decimal.Decimal:
    return _exact(raw.decode() if _NUMBER.fullmatch(raw) else _string(raw))


def _exact(value: str) -> decimal.Decimal:
    if not _DECIMAL.fullmatch(value):
        raise Misfit
    number = decimal.Decimal(value)
    if number and number.adjusted() >= 26:
        raise Misfit
    fixed = number.quantize(_LAST_PLACE, context=_WHOLE)
    if fixed != number:
        raise Misfit
    return fixed


def _instant(raw: bytes) -> int:
    """Microseconds since 1970."""
    if not raw.startswith(b'"'):
        try:
            return msgspec.json.decode(raw, type=layout.SECONDS) * 1_000_000
        except msgspec.DecodeError:
            raise Misfit from None
    try:
        when = msgspec.json.decode(raw, type=dt.datetime)
    except msgspec.DecodeError:
        raise Misfit from None
    if when.tzinfo is None or _LONG_FRACTION.search(raw.decode()):
        raise Misfit
    instant = (when - _EPOCH) // _MICROSECOND
    if not layout.EARLIEST <= instant // 1_000_000 <= layout.LATEST:
        raise Misfit
    return instant


_READ: dict[catalog.FieldType, Callable[[bytes], object]] = {
    "string": _string,
    "id": _id,
    "integer": _integer,
    "boolean": _boolean,
    "number": _number,
    "decimal": _decimal,
    "timestamp": _instant,
}
