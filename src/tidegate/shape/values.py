"""What a condition sees: values inside JSON by a path, in the way that it asks for, and the literals of conditions.

Numbers and times are compared exactly. A number is a pair of bounds, which are equal unless it has more places than
a column of decimals; a literal is a span with both ends included, which is one point unless it is a day. Times told
from the moment of a run (`30 days ago`) are days in UTC, but for minutes and hours.
"""

from __future__ import annotations

import calendar
import datetime as dt
import decimal
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate import errors
from tidegate.config import conditions
from tidegate.rows import text
from tidegate.shape import deep

MISSING, NULL, EMPTY, FULL = range(4)
"""How much is there: no such key; null; an empty text, list or object; anything else."""

PLACES = 12
DIGITS = 25
"""Digits that a literal may have before the point, one less than a column: every larger number stays larger."""
BLANKS = " \t\n\r\f\v"
"""What may stand around a number, a time or a boolean in text."""
NUMERAL = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?"
"""What text that is a number looks like, in the regular expressions of every warehouse."""
LONGEST = 100
"""Characters of text that is a number, at most: every warehouse can then compute with it."""

Bounds = tuple[decimal.Decimal, decimal.Decimal]

_WIDE = decimal.Context(prec=60)
_MOST = decimal.Decimal("9" * (DIGITS + 1) + "." + "9" * PLACES)
_STEP = decimal.Decimal(1).scaleb(-PLACES)
_IN_TEXT = re.compile(NUMERAL, re.ASCII)
_IN_JSON = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,6})?", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_NAME = re.compile(r'"((?:[^"]|"")*)"(?:\.|\Z)|([^".][^.]*)(?:\.|\Z)', re.DOTALL)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_REST_OF_DAY = 86_400_000_000 - 1
_MONTH = 30.44
"""Days of a month in the mean, which tell the order of two times that move."""
_NONE = msgspec.Raw(b"")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Span:
    """A literal number, or time in microseconds since 1970: exact text, from `first` to `last`."""

    first: str
    last: str


def path(field: str) -> tuple[str, ...]:
    """The steps of a dotted field; raises ValueError when it is not one.

    `"..."` around a step keeps its dots, with `""` for a quote in it. Metadata has no levels, so whatever stands
    behind `metadata.` is one key.
    """
    steps: list[str] = []
    at = 0
    while at < len(field):
        if steps and steps[-1] == "metadata" and field[at] != '"':
            return (*steps, field[at:])
        found = _NAME.match(field, at)
        if found is None:
            raise ValueError(f"no name at character {at + 1}")
        steps.append(found[2] if found[1] is None else found[1].replace('""', '"'))
        at = found.end()
    if not steps or field[-1] == ".":
        raise ValueError("a name is missing at its end")
    return tuple(steps)


def inside(document: bytes, steps: tuple[str, ...]) -> bytes | None:
    """The value at a path inside a JSON document; see `finder`."""
    return finder(steps)(document)


@functools.lru_cache(maxsize=256)
def finder(steps: tuple[str, ...]) -> Callable[[bytes], bytes | None]:
    """What finds the value at a path inside a JSON document, as written, or None where there is none.

    A number leads into a list. Of equal keys the last counts.
    """
    ways = [(_member(step), _element(step)) for step in steps]

    def find(document: bytes) -> bytes | None:
        found: bytes | None = document
        try:
            for member, element in ways:
                if found is None:
                    return None
                if found.startswith(b"{"):
                    found = member(found)
                else:
                    found = element(found) if found.startswith(b"[") else None
        except ValueError:
            return None
        return found

    return find


@functools.lru_cache(maxsize=256)
def _member(step: str) -> Callable[[bytes], bytes | None]:
    """What finds one member of an object; raises ValueError where that is no JSON."""
    try:
        # A decoder that knows one name passes over all others: five times as fast as one that keeps them.
        field = msgspec.field(name=step, default=_NONE)
        kind: Any = msgspec.defstruct("Member", [("found", msgspec.Raw, field)])
        decoder = msgspec.json.Decoder(kind)
    except ValueError:  # it takes no name with a quote, a backslash, a control character or half a surrogate
        return lambda raw: _members(raw).get(step)

    def member(raw: bytes) -> bytes | None:
        try:
            return bytes(decoder.decode(raw).found) or None
        except (msgspec.DecodeError, RecursionError):
            return _members(raw).get(step)

    return member


def _element(step: str) -> Callable[[bytes], bytes | None]:
    """What finds one element of a list."""
    if not (step.isascii() and step.isdecimal() and len(step) < 10):
        return lambda _: None
    number = int(step)

    def element(raw: bytes) -> bytes | None:
        elements = _elements(raw)
        return elements[number] if number < len(elements) else None

    return element


def _members(raw: bytes) -> dict[str, bytes]:
    """The members of an object, however deep it goes."""
    try:
        return text.members(raw)
    except RecursionError:
        return deep.members(raw)


def _elements(raw: bytes) -> list[bytes]:
    """The elements of a list, however deep it goes."""
    try:
        return text.elements(raw)
    except RecursionError:
        return deep.elements(raw)


def state(raw: bytes) -> int:
    """How much is there: one of NULL, EMPTY, FULL."""
    if raw == b"null":
        return NULL
    if raw[:1] in (b"[", b"{"):
        return FULL if raw[1:-1].strip() else EMPTY
    return EMPTY if raw == b'""' else FULL


def shown(raw: bytes) -> str | None:
    """Text as it is, numbers and booleans as they are written; None for null, lists and objects."""
    if raw[:1] in (b"{", b"[", b"n"):
        return None
    return clean(str(text.value(raw))) if raw[:1] == b'"' else raw.decode()


def bounds(raw: bytes) -> Bounds | None:
    """A number, also one that stands in text: metadata has nothing but text."""
    if raw[:1] != b'"':
        written = raw.decode()
        return _bounds(written) if _IN_JSON.fullmatch(written) else None
    return _bounds_in(str(shown(raw)))


def truth(raw: bytes) -> bool | None:
    """A boolean, also one that stands in text."""
    return {"true": True, "false": False}.get((shown(raw) or "").strip(BLANKS).lower())


def instant(raw: bytes) -> int | None:
    """Microseconds since 1970 of unix seconds or ISO 8601 text, which without a zone is UTC."""
    if raw[:1] != b'"':
        written = raw.decode()
        return _micros(written) if _IN_JSON.fullmatch(written) else None
    return moment_in(str(shown(raw)))


def items(raw: bytes) -> list[str] | None:
    """The elements of a list as text, without those that are null, lists or objects; None for anything else."""
    if raw[:1] != b"[":
        return None
    try:
        return [each for each in map(shown, _elements(raw)) if each is not None]
    except ValueError:
        return None


def moment_in(written: str) -> int | None:
    """As `instant`, of text."""
    written = written.strip(BLANKS)
    if _is_numeral(written):
        return _micros(written)
    try:
        when = dt.datetime.fromisoformat(written)
        when = when.replace(tzinfo=dt.UTC) if when.tzinfo is None else when.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None
    return (when - _EPOCH) // _MICROSECOND


def clean(value: str) -> str:
    """The text with U+FFFD for half surrogates, which no database takes."""
    return value if value.isascii() else _SURROGATE.sub("\ufffd", value)


def word(value: conditions.Scalar) -> str:
    """A literal as text."""
    return clean(value) if isinstance(value, str) else str(value).lower()


def number(value: conditions.Scalar) -> Span:
    """A literal as a number; raises ConfigError with the reason why it is none."""
    found = None if isinstance(value, bool) else _bounds_in(word(value))
    if found is None:
        raise errors.ConfigError("the value must be a number")
    if found[0] != found[1] or found[0].adjusted() >= DIGITS:
        raise errors.ConfigError(
            f"the value may have {DIGITS} digits before the point and {PLACES} after it, not more"
        )
    exact = format(found[0], "f")
    return Span(exact, exact)


def moment(value: conditions.Scalar, now: dt.datetime) -> Span:
    """A literal as a time, of a date the whole day; raises ConfigError with the reason why it is none.

    `now` is the moment from which `30 days ago` and its kind are counted.
    """
    told = relative(value)
    if told is not None:
        return _counted(told, now.astimezone(dt.UTC))
    written = "" if isinstance(value, bool) else word(value).strip(BLANKS)
    found = moment_in(written)
    if found is None:
        raise errors.ConfigError(
            "the value must be a date (2024-01-31), a time (2024-01-31T12:00:00Z), unix seconds, or words like "
            "`30 days ago`, `in 3 days`, `today` or `now`"
        )
    return Span(str(found), str(found + _REST_OF_DAY if _DAY.fullmatch(written) else found))


def relative(value: conditions.Scalar) -> conditions.Relative | None:
    """What a literal says that counts from the moment of a run; None for any other."""
    return conditions.relative(value) if isinstance(value, str) else None


def is_backwards(first: conditions.Relative, last: conditions.Relative) -> bool:
    """Does the first come after the last, with months of their mean length?"""
    days = {"minute": 1 / 1440, "hour": 1 / 24, "day": 1.0, "week": 7.0, "month": _MONTH, "year": 12 * _MONTH}
    return first.count * days[first.unit] > last.count * days[last.unit]


def _counted(told: conditions.Relative, now: dt.datetime) -> Span:
    """The moment, or the day, so many units from now.

    A month leads to the same day of another month, or to its last where that is shorter; a year is twelve months.
    """
    try:
        if not told.is_day:
            step = dt.timedelta(**{f"{told.unit}s": told.count})
            exact = str((now + step - _EPOCH) // _MICROSECOND)
            return Span(exact, exact)
        today = now.date()
        if told.unit in ("month", "year"):
            months = today.year * 12 + today.month - 1 + told.count * (12 if told.unit == "year" else 1)
            year, month = months // 12, months % 12 + 1
            day = today.replace(year, month, min(today.day, calendar.monthrange(year, month)[1]))
        else:
            day = today + dt.timedelta(days=told.count * (7 if told.unit == "week" else 1))
    except (ValueError, OverflowError):
        raise errors.ConfigError(
            "the value lies before the year 1 or after the year 9999; count fewer"
        ) from None
    start = (dt.datetime.combine(day, dt.time(), dt.UTC) - _EPOCH) // _MICROSECOND
    return Span(str(start), str(start + _REST_OF_DAY))


def _is_numeral(written: str) -> bool:
    return len(written) <= LONGEST and _IN_TEXT.fullmatch(written) is not None


def _bounds_in(written: str) -> Bounds | None:
    """As `_bounds`, of any text."""
    written = written.strip(BLANKS)
    return _bounds(written) if _is_numeral(written) else None


def _bounds(numeral: str) -> Bounds:
    """The two nearest decimals that a column can hold around a numeral."""
    exact = decimal.Decimal(numeral)
    if exact and exact.adjusted() > DIGITS:
        edge = _MOST.copy_sign(exact)
        return edge, edge
    low = exact.quantize(_STEP, decimal.ROUND_FLOOR, _WIDE)
    if low == exact:
        return low, low
    return max(low, _MOST.copy_negate()), min(_WIDE.add(low, _STEP), _MOST)


def _micros(numeral: str) -> int | None:
    """Unix seconds as microseconds; None beyond every date."""
    seconds = decimal.Decimal(numeral)
    if seconds and seconds.adjusted() > 11:
        return None
    return int(seconds.scaleb(6, _WIDE).to_integral_value(decimal.ROUND_FLOOR))
