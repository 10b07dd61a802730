"""Whole columns to the types of the customer model: what is alike all through goes as a whole, the rest one by one.

Both ways follow the rules of `conversions`, and give the same.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.config import pipelines
from tidegate.shape import conversions, targets
from tidegate.warehouse import ddl

Column: TypeAlias = "pa.Array | pa.ChunkedArray"

_NONE = type(None)
_class: Callable[[object], type] = type
_PLAIN: dict[pipelines.PropertyType, type] = {"string": str, "integer": int, "number": float, "boolean": bool}
_OPENS: dict[pipelines.PropertyType, bytes] = {"object": b"{", "array": b"["}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_OUTSIDE = targets.Beyond("a time outside of the years 1 to 9999")
_UNREADABLE = targets.Beyond("JSON that cannot be read")
_SECOND = 1_000_000
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
"""The first and the last second of the years 1 to 9999."""

_MODERN = -30_610_224_000 * _SECOND
"""The year 1000 in microseconds: Arrow writes earlier years with fewer than four digits."""

_EXACT_IN_DOUBLE = 2**53
_DOCUMENTS = msgspec.json.Decoder(float_hook=decimal.Decimal)
_TEXTS = msgspec.json.Decoder(list[str | None])


@dataclass(frozen=True, slots=True)
class Converted:
    """A column, null where the value does not fit, and by row why."""

    values: Column
    unfit: dict[int, targets.Unfit]


def objects(given: Sequence[object], target: targets.Target, *, strict: bool = False) -> Converted:
    """Python values as a column.

    They, and what is inside them, are None, bool, int, float, str, Decimal, datetime (without a zone in UTC), date,
    list and dict; anything else is unfit. `strict`: so is an object with a key that its type does not have, which
    is left out otherwise.
    """
    plain = _plain(given, target.type)
    if plain is not None:
        return Converted(plain, {})
    convert = conversions.converter(target, strict)
    made: list[object] = []
    unfit: dict[int, targets.Unfit] = {}
    for row, value in enumerate(given):
        if value is not None:
            try:
                value = convert(value)
            except targets.Unfit as reason:
                unfit[row], value = reason, None
        made.append(value)
    return Converted(pa.array(made, targets.ARROW[target.type]), unfit)


def column(given: Column, of: pa.Field, target: targets.Target) -> Converted:
    """A column of any type that rows have, or that SQL gives, as a column of the target's."""
    if ddl.is_json(of):
        return documents(given.cast(pa.binary()).to_pylist(), target)
    whole = _WHOLE.get(target.type)
    found = None if whole is None else whole(given)
    return objects(python(given), target) if found is None else Converted(found, {})


def documents(raws: Sequence[bytes | None], target: targets.Target, *, checked: bool = True) -> Converted:
    """JSON values as they are written, None where there is none, as a column.

    `checked`: they are known to be JSON, and stay as they are written where the target is any JSON.
    """
    present = [None if raw is None or raw == b"null" else raw for raw in raws]
    if checked and target.type in targets.DOCUMENTS and not target.members and target.items is None:
        opens = _OPENS.get(target.type, b"")
        if all(raw is None or raw.startswith(opens) for raw in present):
            return Converted(pa.array(present, pa.binary()).cast(pa.string()), {})
    joined = b"[" + b",".join([raw or b"null" for raw in present]) + b"]"
    try:
        decoded: Sequence[object] = (_TEXTS if target.type == "string" else _DOCUMENTS).decode(joined)
    except (msgspec.DecodeError, RecursionError):  # not all are text, or one is not what msgspec reads
        decoded = ()
    if len(decoded) != len(present):
        decoded = [None if raw is None else value(raw) for raw in present]
    return objects(decoded, target)


def value(raw: bytes) -> object:
    """A JSON value with exact numbers; the standard library reads halves of surrogates, which msgspec does not."""
    try:
        return _DOCUMENTS.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        try:
            return json.loads(raw, parse_float=decimal.Decimal, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return _UNREADABLE


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")


def _plain(given: Sequence[object], type: pipelines.PropertyType) -> pa.Array | None:
    """The column of values that are what it wants already; None where one has to be looked at."""
    known = _PLAIN.get(type)
    if known is None or not set(map(_class, given)) <= {known, _NONE}:
        return None
    try:
        made = pa.array(given, targets.ARROW[type])
    except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError):
        return None
    return made if known is not float or _finite(made) else None


def _finite(numbers: Column) -> bool:
    return pc.all(pc.is_finite(numbers)).as_py() is not False


def python(given: Column) -> list[Any]:
    """A column's values as Python has them, JSON as text; what Python has no word for becomes Beyond."""
    kind = given.type
    if pa.types.is_timestamp(kind):
        return [
            None if n is None else _moment(n)
            for n in given.cast(pa.timestamp("us", kind.tz)).cast(pa.int64()).to_pylist()
        ]
    if pa.types.is_date32(kind):
        return [None if n is None else _day(n) for n in given.cast(pa.int32()).to_pylist()]
    found: list[Any] = given.to_pylist()
    return found


def _moment(micros: int) -> object:
    try:
        return _EPOCH + dt.timedelta(microseconds=micros)
    except OverflowError:
        return _OUTSIDE


def _day(since: int) -> object:
    try:
        return dt.date.fromordinal(_EPOCH_DAY + since)
    except (ValueError, OverflowError):
        return _OUTSIDE


def _text(given: Column) -> Column | None:
    kind = given.type
    is_alike = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if is_alike or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return given.cast(pa.string())
    return None


def _integer(given: Column) -> Column | None:
    if not pa.types.is_integer(given.type) or given.type == pa.uint64():
        return None
    return given.cast(pa.int64())


def _number(given: Column) -> Column | None:
    if pa.types.is_floating(given.type):
        return given.cast(pa.float64()) if _finite(given) else None
    whole = _integer(given)
    return (
        whole.cast(pa.float64())
        if whole is not None and _within(whole, -_EXACT_IN_DOUBLE, _EXACT_IN_DOUBLE)
        else None
    )


def _decimal(given: Column) -> Column | None:
    kind = given.type
    fits = pa.types.is_decimal128(kind) and kind.scale <= 12 and kind.precision - kind.scale <= targets.DIGITS
    if fits or (pa.types.is_integer(kind) and kind != pa.uint64()):
        return given.cast(targets.ARROW["decimal"])
    return None


def _boolean(given: Column) -> Column | None:
    return given if pa.types.is_boolean(given.type) else None


def _timestamp(given: Column) -> Column | None:
    kind = given.type
    if pa.types.is_timestamp(kind) and kind.unit == "us":
        held = _within(given.cast(pa.int64()), _FIRST * _SECOND, _LAST * _SECOND + _SECOND - 1)
        return given.cast(targets.ARROW["timestamp"]) if held else None
    seconds = _integer(given)
    if seconds is None or not _within(seconds, _FIRST, _LAST):
        return None
    return seconds.cast(pa.timestamp("s", "UTC")).cast(targets.ARROW["timestamp"])


def _date(given: Column) -> Column | None:
    when = None if pa.types.is_integer(given.type) else _timestamp(given)
    if when is None or not _within(when.cast(pa.int64()), _MODERN, _LAST * _SECOND):
        return None
    return pc.strftime(when, "%Y-%m-%d")


def _within(numbers: Column, least: int, most: int) -> bool:
    found = pc.min_max(numbers).as_py()
    return found["min"] is None or (least <= found["min"] and found["max"] <= most)


_WHOLE: dict[pipelines.PropertyType, Callable[[Column], Column | None]] = {
    "string": _text,
    "integer": _integer,
    "number": _number,
    "decimal": _decimal,
    "boolean": _boolean,
    "timestamp": _timestamp,
    "date": _date,
}
"""How a column becomes another as a whole; None where its values must be looked at one by one."""
