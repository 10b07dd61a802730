"""Values to the types of the customer model: one set of rules for columns, JSON, SQL, constants and functions.

A value either becomes exactly what it says, or is `Unfit`; nothing is rounded, cut or made null. Null stays null.

| to | from |
|---|---|
| string | text; numbers, without exponent and trailing zeros; true and false; dates and times in ISO 8601, UTC |
| integer | whole numbers of 64 bits; text of digits; times that are whole unix seconds |
| number | numbers, and text that is one, which a double shows as they are written |
| decimal | numbers, and text that is one, of 26 digits before the point and 12 after it; times as unix seconds |
| boolean | true and false; text that says so |
| timestamp | times; ISO 8601 text, without a zone in UTC; unix seconds, as text of nine or ten digits; dates |
| date | dates; the day in UTC of all that is a time |
| json | everything; text becomes JSON text |
| object | objects; members are converted by their own types |
| array | lists; elements are converted by the type of the array's items |
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
import math
import re
from collections.abc import Callable
from typing import Any

import msgspec

from tidegate.config import pipelines
from tidegate.shape import targets, values

Converter = Callable[[Any], object]
"""Turns one value, not None, into another; raises Unfit."""

_FAR = 400
"""Digits of the longest number that is written out; a double has at most 324."""

_LONGEST = 10**_FAR
_EXACT = decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
_STEP = decimal.Decimal(1).scaleb(-values.PLACES)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}", re.ASCII)
_NUMERAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,6})?", re.ASCII)
_SECONDS = re.compile(r"[0-9]{9,10}(\.[0-9]{1,6})?", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:[.,]([0-9]+))? ?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?",
    re.ASCII | re.IGNORECASE,
)


def one(value: object, target: targets.Target) -> object:
    """A Python value as the column of a type has it, JSON as text; raises Unfit."""
    return None if value is None else converter(target)(value)


@functools.cache
def converter(target: targets.Target, strict: bool = False) -> Converter:
    """What turns one value, not None, into one of the column's; raises Unfit.

    `strict`: an object with a key that its type does not have is unfit; the key is left out otherwise.
    """
    if target.type not in targets.DOCUMENTS:
        return _SCALARS[target.type]
    inner = _inside(target, strict)

    def written(value: object) -> str:
        try:
            return _JSON.encode(inner(value)).decode()
        except RecursionError:
            pass
        deep = targets.Unfit("something that is nested too deep")
        deep.wanted = targets.WANTS[target.type]
        raise deep

    return written


def _telling(type: pipelines.PropertyType, convert: Converter) -> Converter:
    """The same, but what is unfit says what was wanted."""

    def told(value: Any) -> object:
        try:
            return convert(value)
        except targets.Unfit as reason:
            reason.wanted = reason.wanted or targets.WANTS[type]
            raise

    return told


def _inside(target: targets.Target, strict: bool) -> Converter:
    """What turns a value into one that stands in JSON."""
    if target.type == "object":
        members = {name: _inside(each, strict) for name, each in target.members}
        return _telling("object", functools.partial(_object, members, strict))
    if target.type == "array":
        return _telling(
            "array", functools.partial(_array, _inside(target.items or targets.Target("json"), strict))
        )
    if target.type == "decimal":
        return _telling("decimal", lambda value: decimal.Decimal(_shown(_decimal(value))))
    if target.type == "timestamp":
        return _telling("timestamp", lambda value: _string(_timestamp(value)))
    return _SCALARS[target.type]


def _object(members: dict[str, Converter], strict: bool, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise targets.Unfit(targets.held(value))
    if not members:
        return _json_object(value)
    if strict:
        for key in value:
            if key not in members:
                raise targets.Unfit("", lacks=targets.key_named(key, tuple(members)))
    made: dict[str, object] = {}
    for name, convert in members.items():
        held = value.get(name)
        made[name] = None if held is None else _at(name, convert, held)
    return made


def _array(convert: Converter, value: object) -> list[object]:
    if not isinstance(value, list):
        raise targets.Unfit(targets.held(value))
    return [None if each is None else _at(str(n), convert, each) for n, each in enumerate(value)]


def _at(step: str, convert: Converter, value: object) -> object:
    """A value inside another; what is unfit says where it stands."""
    try:
        return convert(value)
    except targets.Unfit as reason:
        reason.path = (step, *reason.path)
        raise


def _string(value: object) -> str:
    if isinstance(value, str):
        return values.clean(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    number = _number(value)
    if number is not None:
        return _shown(number)
    if isinstance(value, dt.datetime):
        return _utc(value).isoformat().replace("+00:00", "Z")
    if isinstance(value, dt.date):
        return value.isoformat()
    raise targets.Unfit(targets.held(value))


def _integer(value: object) -> int:
    if isinstance(value, str):
        number: int | decimal.Decimal | None = (
            int(value) if _INTEGER.fullmatch(value := value.strip()) else None
        )
    else:
        number = _seconds(value) if isinstance(value, dt.datetime) else _number(value)
    if number is None:
        raise targets.Unfit(targets.misread(value))
    if isinstance(number, decimal.Decimal):
        if number and number.adjusted() > 20:
            raise targets.Unfit("a number of more than 64 bits")
        if number != number.to_integral_value():
            raise targets.Unfit(
                "a time with a part of a second"
                if isinstance(value, dt.datetime)
                else "a number with a fraction"
            )
        number = int(number)
    if not -(2**63) <= number < 2**63:
        raise targets.Unfit("a number of more than 64 bits")
    return number


def _float(value: object) -> float:
    number = _numeral(value)
    if isinstance(value, float):
        return value
    try:
        made = float(number)
        exact = math.isfinite(made) and decimal.Decimal(repr(made)) == number
    except OverflowError:
        exact = False
    if not exact:
        raise targets.Unfit("one of more digits than a binary number keeps; a decimal may keep them")
    return made


def _decimal(value: object) -> decimal.Decimal:
    number: int | decimal.Decimal
    number = _seconds(value) if isinstance(value, dt.datetime) else _numeral(value)
    if isinstance(number, int) and not -(10**targets.DIGITS) < number < 10**targets.DIGITS:
        raise targets.Unfit(f"one of more than {targets.DIGITS} digits before the point")
    exact = decimal.Decimal(number)
    if exact and exact.adjusted() >= targets.DIGITS:
        raise targets.Unfit(f"one of more than {targets.DIGITS} digits before the point")
    made = exact.quantize(_STEP, context=_EXACT)
    if made != exact:
        raise targets.Unfit(f"one of more than {values.PLACES} digits after the point")
    return made


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    found = {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise targets.Unfit(targets.misread(value))
    return found


def _timestamp(value: object) -> dt.datetime:
    if isinstance(value, dt.datetime):
        return _utc(value)
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    number: int | decimal.Decimal | None
    if isinstance(value, str):
        written = value.strip()
        if not _SECONDS.fullmatch(written):
            return _read(written)
        number = decimal.Decimal(written)
    else:
        number = _number(value)
    if number is None:
        raise targets.Unfit(targets.held(value))
    if not -(10**12) < number < 10**12:
        raise targets.Unfit("a number that is no time, in unix seconds, of the years 1 to 9999")
    micros = decimal.Decimal(number).scaleb(6, _EXACT)
    if micros != micros.to_integral_value():
        raise targets.Unfit("a time of more than six places")
    try:
        return _EPOCH + dt.timedelta(microseconds=int(micros))
    except OverflowError:
        raise targets.Unfit("a number that is no time, in unix seconds, of the years 1 to 9999") from None


def _read(text: str) -> dt.datetime:
    """A time in ISO 8601; without a zone it is in UTC, and without a time it is the day's beginning."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise targets.Unfit("text that is none")
    day, clock, fraction, zone = found.groups()
    if fraction and fraction[6:].strip("0"):
        raise targets.Unfit("a time of more than six places")
    try:
        when = dt.datetime.fromisoformat(
            f"{day}T{clock or '00:00'}{'.' + fraction[:6].ljust(6, '0') if fraction else ''}"
            f"{(zone or '+00:00').upper()}"
        )
    except ValueError:
        raise targets.Unfit("text that is none") from None
    return _utc(when)


def _date(value: object) -> str:
    if isinstance(value, str) and _DAY.fullmatch(value := value.strip()):
        try:
            return dt.date.fromisoformat(value).isoformat()
        except ValueError:
            raise targets.Unfit("text that is none") from None
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value.isoformat()
    return _timestamp(value).date().isoformat()


def _json(value: object) -> object:
    if isinstance(value, dict):
        return _json_object(value)
    if isinstance(value, list):
        return _array(_SCALARS["json"], value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str | dt.date):
        return _string(value)
    number = _number(value)
    if number is None:
        raise targets.Unfit(targets.held(value))
    return value


def _json_object(value: dict[object, object]) -> dict[str, object]:
    made: dict[str, object] = {}
    for key, held in value.items():
        if not isinstance(key, str):
            raise targets.Unfit(f"an object with a key that is {targets.held(key)}")
        made[values.clean(key)] = _at(key, _SCALARS["json"], held)
    return made


_RULES: dict[pipelines.PropertyType, Converter] = {
    "string": _string,
    "integer": _integer,
    "number": _float,
    "decimal": _decimal,
    "boolean": _boolean,
    "timestamp": _timestamp,
    "date": _date,
    "json": _json,
}
_SCALARS = {type: _telling(type, convert) for type, convert in _RULES.items()}


def _number(value: object) -> int | decimal.Decimal | None:
    """A number exactly; None for what is none; raises Unfit for one that nothing here can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float | decimal.Decimal):
        return None
    if isinstance(value, int):
        if not -_LONGEST < value < _LONGEST:
            raise targets.Unfit(f"a number of more than {_FAR} digits")
        return value
    if isinstance(value, float):
        value = decimal.Decimal(repr(value))
    if not value.is_finite():
        raise targets.Unfit("one that is infinite or not a number (NaN)")
    if value and not -_FAR < value.adjusted() < _FAR:
        raise targets.Unfit(f"a number of more than {_FAR} digits")
    return value or 0


def _numeral(value: object) -> int | decimal.Decimal:
    """A number, also one that stands in text."""
    if isinstance(value, str):
        if not _NUMERAL.fullmatch(value := value.strip()):
            raise targets.Unfit("text that is none")
        value = decimal.Decimal(value)
    number = _number(value)
    if number is None:
        raise targets.Unfit(targets.held(value))
    return number


def _shown(number: int | decimal.Decimal) -> str:
    shown = format(number, "d" if isinstance(number, int) else "f")
    if "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    return "0" if shown == "-0" else shown


def _utc(when: dt.datetime) -> dt.datetime:
    if when.tzinfo is None:
        return when.replace(tzinfo=dt.UTC)
    try:
        return when.astimezone(dt.UTC)
    except OverflowError:
        raise targets.Unfit("a time outside of the years 1 to 9999") from None


def _seconds(when: dt.datetime) -> decimal.Decimal:
    return decimal.Decimal((_utc(when) - _EPOCH) // _MICROSECOND).scaleb(-6, _EXACT)


_JSON = msgspec.json.Encoder(decimal_format="number")
