"""What a condition sees: values inside JSON by a path, in the way that it asks for, and the literals of conditions.

Numbers and times are compared exactly. A number is a pair of bounds, which are equal unless it has more places than
a column of decimals; a literal is a span with both ends included, which is one point unless it is a day.
"""

from __future__ import annotations

import datetime as dt
import decimal
import re
from dataclasses import dataclass

from tidegate import errors
from tidegate.config import conditions
from tidegate.rows import text

MISSING, NULL, EMPTY, FULL = range(4)
"""How much is there: no such key; null; an empty text, list or object; anything else."""

PLACES = 12
DIGITS = 25
"""Digits that a literal may have before the point, one less than a column: every larger number stays larger."""

Bounds = tuple[decimal.Decimal, decimal.Decimal]

_WIDE = decimal.Context(prec=60)
_MOST = decimal.Decimal("9" * (DIGITS + 1) + "." + "9" * PLACES)
_STEP = decimal.Decimal(1).scaleb(-PLACES)
_NUMERAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,6})?", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_NAME = re.compile(r'"((?:[^"]|"")*)"(?:\.|\Z)|([^".][^.]*)(?:\.|\Z)', re.DOTALL)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_REST_OF_DAY = 86_400_000_000 - 1
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
    """The value at a path inside a JSON document, as written; None when there is none.

    A number leads into a list. Of equal keys the last counts.
    """
    found: bytes | None = document
    try:
        for step in steps:
            if found is not None and found.startswith(b"{"):
                found = text.members(found).get(step)
            elif found is not None and found.startswith(b"[") and step.isascii() and step.isdecimal():
                elements = text.elements(found)
                found = elements[int(step)] if len(step) < 10 and int(step) < len(elements) else None
            else:
                return None
    except ValueError:
        return None
    return found


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
    written = shown(raw)
    return None if written is None else _bounds(written.strip())


def truth(raw: bytes) -> bool | None:
    """A boolean, also one that stands in text."""
    return {"true": True, "false": False}.get((shown(raw) or "").strip().lower())


def instant(raw: bytes) -> int | None:
    """Microseconds since 1970 of unix seconds or ISO 8601 text, which without a zone is UTC."""
    written = shown(raw)
    return None if written is None else moment_in(written)


def items(raw: bytes) -> list[str] | None:
    """The elements of a list as text, without those that are null, lists or objects; None for anything else."""
    if raw[:1] != b"[":
        return None
    try:
        return [each for each in map(shown, text.elements(raw)) if each is not None]
    except ValueError:
        return None


def moment_in(written: str) -> int | None:
    """As `instant`, of text."""
    written = written.strip()
    if _NUMERAL.fullmatch(written):
        micros = decimal.Decimal(written).scaleb(6, _WIDE)
        return (
            None if micros and micros.adjusted() > 17 else int(micros.to_integral_value(decimal.ROUND_FLOOR))
        )
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
    found = None if isinstance(value, bool) else _bounds(word(value).strip())
    if found is None:
        raise errors.ConfigError("the value must be a number")
    if found[0] != found[1] or found[0].adjusted() >= DIGITS:
        raise errors.ConfigError(
            f"the value may have {DIGITS} digits before the point and {PLACES} after it, not more"
        )
    exact = format(found[0], "f")
    return Span(exact, exact)


def moment(value: conditions.Scalar) -> Span:
    """A literal as a time, of a date the whole day; raises ConfigError with the reason why it is none."""
    written = "" if isinstance(value, bool) else word(value).strip()
    found = moment_in(written)
    if found is None:
        raise errors.ConfigError(
            "the value must be a date (2024-01-31), a time (2024-01-31T12:00:00Z) or unix seconds"
        )
    return Span(str(found), str(found + _REST_OF_DAY if _DAY.fullmatch(written) else found))


def _bounds(written: str) -> Bounds | None:
    """The two nearest decimals that a column can hold around a numeral; None for text that is none."""
    if not _NUMERAL.fullmatch(written):
        return None
    exact = decimal.Decimal(written)
    if exact and exact.adjusted() > DIGITS:
        edge = _MOST.copy_sign(exact)
        return edge, edge
    low = exact.quantize(_STEP, decimal.ROUND_FLOOR, _WIDE)
    if low == exact:
        return low, low
    return max(low, _MOST.copy_negate()), min(_WIDE.add(low, _STEP), _MOST)
