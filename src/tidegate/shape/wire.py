"""Records on their way to the process of a function, and what became of them on their way back, as bytes.

Records reach Python as msgpack and JavaScript as JSON, because that is what each reads fastest. Results come back
as JSON from both. What JSON has no word for stands in a list that says what it is:

    ["~t", 1700000000000, 0]   a time: milliseconds since 1970, and the microseconds beyond them
    ["~d", "2024-01-31"]       a date
    ["~n", "19.50"]            a decimal
    ["~i", "9007199254740993"] an integer that a double would round
    ["~f", 1e21]               a double; one that JSON cannot write is text, like "nan"
    ["~l", ["~t", 1]]          a list that only looks like one of these

A result is an object, null when the record was left out, or a list when it failed. Only Tidegate's side is trusted:
whatever comes back is read as if somebody had made it up.
"""

from __future__ import annotations

import datetime as dt
import re
import types
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

LARGEST_RESULT = 16 << 20
"""Bytes of one result, as JSON."""
DEEPEST = 100
"""Lists and objects inside each other, in a record and in a result."""
EXACT = 2**53 - 1
"""Integers up to here are doubles, too, and no other integer is the same double."""

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_SURROGATE = re.compile("[\ud800-\udfff]")
_MARKS = frozenset(("~t", "~d", "~n", "~i", "~f", "~l"))
_DECIMAL, _DATE, _INTEGER = 1, 2, 3
"""Types of msgpack's extensions."""

_to_msgpack = msgspec.msgpack.Encoder()
_to_json = msgspec.json.Encoder()
_from_json = msgspec.json.Decoder()


class Unfit(Exception):
    """A value that no property can hold: where it is in the result, what it is, what to do."""

    def __init__(self, path: Sequence[str | int], what: str) -> None:
        place = f"the property {'.'.join(str(step)[:80] for step in path)[:400]}" if path else "the result"
        super().__init__(f"{place} {what}")


class TooDeep(Exception):
    """A record that is nested far deeper than any function is given."""

    def __init__(self) -> None:
        super().__init__(f"the record is nested more than {DEEPEST} levels deep, which no function is given")


class Fault(NamedTuple):
    """How a record failed, as the process tells it."""

    why: str
    safe: str
    line: int | None
    kind: str


def for_python(record: dict[str, Any]) -> bytes:
    """A record as Python reads it, see `python_batch`; raises TypeError for a value that no function is given.

    Raises TooDeep for a record whose depth Python cannot follow; those that `DEEPEST` allows it always can.
    """
    return _encoded(record, _to_msgpack.encode, _MSGPACK)


def for_javascript(record: dict[str, Any]) -> bytes:
    """A record as JavaScript reads it, see `javascript_batch`; raises TypeError and TooDeep as `for_python`."""
    return _encoded(record, _to_json.encode, _JSON)


def python_batch(records: Sequence[bytes]) -> bytes:
    """Many records in one message."""
    return b"".join((b"\xdd", len(records).to_bytes(4, "big"), *records))


def javascript_batch(records: Sequence[bytes]) -> bytes:
    """Many records in one message."""
    return b"[" + b",".join(records) + b"]"


def result(value: Any) -> bytes:
    """What a function in Python made of a record; raises Unfit for what no property can hold."""
    if value is None:
        return b"null"
    if not isinstance(value, dict):
        if isinstance(value, types.CoroutineType):
            value.close()
            raise Unfit((), "is a coroutine; write `def transform` without `async`")
        raise Unfit((), f"is {_an(value)}; return a dict of properties, or None to leave the record out")
    try:
        encoded = _to_json.encode(_held(value, 0) if type(value) is dict else _explained(value, (), ()))
    except (_NoWord, KeyError, UnicodeEncodeError, RecursionError):
        # Only now: this one keeps the path, which takes longer.
        encoded = _to_json.encode(_explained(value, (), ()))
    if len(encoded) > LARGEST_RESULT:
        raise Unfit((), f"is larger than {LARGEST_RESULT >> 20} MB")
    return encoded


def fault(fault: Fault) -> bytes:
    """A failed record, for `results`."""
    return _to_json.encode([cleaned(part) if isinstance(part, str) else part for part in fault])


def results(body: bytes | memoryview) -> list[dict[str, Any] | Fault | None]:
    """The results of a frame; raises ValueError when it is not what a process writes."""
    try:
        found = _from_json.decode(body)
        if type(found) is not list:
            raise ValueError("no list")
        return [_answer(each) for each in found]
    except (msgspec.MsgspecError, ArithmeticError, RecursionError, TypeError) as reason:
        raise ValueError(type(reason).__name__) from None


def cleaned(text: str) -> str:
    """The text with U+FFFD for half surrogates, which UTF-8 has no word for."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def batch(body: bytes) -> list[dict[str, Any]]:
    """The records of `python_batch`."""
    found: list[dict[str, Any]] = _from_msgpack.decode(body)
    return found


class _NoWord(Exception):
    """A value that no property can hold, or one that needs another look."""


_Makers = dict[type, Callable[[Any], Any] | None]
"""How values of each type are written; None for those that stay as they are."""


def _encoded(record: dict[str, Any], encode: Callable[[Any], bytes], makers: _Makers) -> bytes:
    try:
        return encode(_mapped(record, makers))
    except UnicodeEncodeError:
        return encode(_mapped(_well_formed(record), makers))
    except KeyError as unknown:
        kind: type = unknown.args[0]
        raise TypeError(
            f"a record holds a value of type {kind.__name__}, which no function is given"
        ) from None
    except RecursionError:
        raise TooDeep from None


def _mapped(record: dict[str, Any], makers: _Makers) -> dict[str, Any]:
    """An object with its values written; itself when all stay as they are."""
    made = None
    for key, each in record.items():
        if (make := makers[type(each)]) is not None and (new := make(each)) is not each:
            if made is None:
                made = record.copy()
            made[key] = new
    return record if made is None else made


def _listed(values: list[Any], makers: _Makers) -> list[Any]:
    """A list with its values written."""
    return [each if (make := makers[type(each)]) is None else make(each) for each in values]


def _well_formed(value: Any) -> Any:
    """The value with all of its texts cleaned."""
    if isinstance(value, dict):
        return {cleaned(key): _well_formed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_well_formed(each) for each in value]
    return cleaned(value) if isinstance(value, str) else value


def _extended_int(value: int) -> Any:
    return msgspec.msgpack.Ext(_INTEGER, b"%x" % value) if value.bit_length() > 63 else value


_MSGPACK: _Makers = {
    **dict.fromkeys((str, bool, type(None), float, dt.datetime)),
    int: _extended_int,
    Decimal: lambda value: msgspec.msgpack.Ext(_DECIMAL, str(value).encode()),
    dt.date: lambda value: msgspec.msgpack.Ext(_DATE, value.isoformat().encode()),
    dict: lambda value: _mapped(value, _MSGPACK),
    list: lambda value: _listed(value, _MSGPACK),
}


def _unboxed(kind: int, body: memoryview) -> Any:
    text = str(body, "ascii")
    if kind == _DECIMAL:
        return Decimal(text)
    return dt.date.fromisoformat(text) if kind == _DATE else int(text, 16)


_from_msgpack = msgspec.msgpack.Decoder(ext_hook=_unboxed)


def _time(value: dt.datetime) -> list[Any]:
    since = value - EPOCH
    micros = since.microseconds
    return ["~t", since.days * 86_400_000 + since.seconds * 1000 + micros // 1000, micros % 1000]


def _marked_list(values: list[Any]) -> list[Any]:
    """A list that is taken for nothing else."""
    return ["~l", values] if values and type(values[0]) is str and values[0] in _MARKS else values


_JSON: _Makers = {
    **dict.fromkeys((str, bool, type(None))),
    int: lambda value: value if -EXACT <= value <= EXACT else ["~i", str(value)],
    float: lambda value: value if value - value == 0 else ["~f", str(value)],
    Decimal: lambda value: ["~n", str(value)],
    dt.datetime: _time,
    dt.date: lambda value: ["~d", value.isoformat()],
    dict: lambda value: _mapped(value, _JSON),
    list: lambda value: _marked_list(_listed(value, _JSON)),
}


def _held(value: Any, depth: int) -> Any:
    """A part of a result in JSON, if it is of the usual types; raises KeyError or _NoWord if not."""
    if depth > DEEPEST:
        raise _NoWord
    if type(value) is list:
        return _marked_list([each if type(each) is str else _held(each, depth + 1) for each in value])
    if type(value) is not dict:
        make = _RESULT[type(value)]
        return value if make is None else make(value)
    made = None
    for key, each in value.items():
        if type(key) is not str:
            raise _NoWord
        kind = type(each)
        new = (
            _held(each, depth + 1)
            if (make := _RESULT[kind]) is _held
            else each
            if make is None
            else make(each)
        )
        if new is not each:
            if made is None:
                made = dict(value)
            made[key] = new
    return value if made is None else made


def _only(holds: Callable[[Any], bool], make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Write a value for which something holds."""

    def written(value: Any) -> Any:
        if not holds(value):
            raise _NoWord
        return make(value)

    return written


_RESULT: dict[type, Callable[..., Any] | None] = {
    **dict.fromkeys((str, bool, type(None))),
    int: _only(lambda value: -EXACT <= value <= EXACT, lambda value: value),
    float: _only(lambda value: value - value == 0, lambda value: value),
    Decimal: _only(Decimal.is_finite, _JSON[Decimal]),  # type: ignore[arg-type]
    dt.datetime: _only(lambda value: value.tzinfo is dt.UTC, _time),
    dt.date: _JSON[dt.date],
    dict: _held,
    list: _held,
}


def _explained(value: Any, path: tuple[str | int, ...], around: tuple[int, ...]) -> Any:
    """As `_held`, also of types that are nearly the usual ones; raises Unfit for the first that is not."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return cleaned(str.__str__(value))
    if isinstance(value, int):
        try:
            return value if -EXACT <= (value := int(value)) <= EXACT else ["~i", str(value)]
        except ValueError:
            raise Unfit(path, "is a whole number of more than 4,300 digits; return text") from None
    if isinstance(value, float):
        if value - value != 0:
            raise Unfit(path, "is not a number (NaN) or infinite; return None")
        return float(value)
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise Unfit(path, "is not a number (NaN) or infinite; return None")
        return ["~n", str(Decimal(value))]
    if isinstance(value, dt.datetime):
        return _time(_utc(value, path))
    if isinstance(value, dt.date):
        return ["~d", dt.date(value.year, value.month, value.day).isoformat()]
    if isinstance(value, dict | list | tuple):
        if id(value) in around:
            raise Unfit(path, "contains itself; return a copy of the part that is needed")
        if len(around) > DEEPEST:
            raise Unfit(path[:3], f"is nested more than {DEEPEST} levels deep")
        around = (*around, id(value))
    if isinstance(value, dict):
        return {_key(key, path): _explained(each, (*path, key), around) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return _marked_list([_explained(each, (*path, n), around) for n, each in enumerate(value)])
    hint = "a list" if isinstance(value, set | frozenset) else "text, a number, a list or a dict"
    raise Unfit(path, f"is {_an(value)}; return {hint}")


def _key(key: Any, path: tuple[str | int, ...]) -> str:
    if isinstance(key, str):
        return cleaned(str.__str__(key))
    raise Unfit(path, f"has a key that is {_an(key)}; keys must be text")


def _utc(value: dt.datetime, path: tuple[str | int, ...]) -> dt.datetime:
    """The time in UTC; one without a zone is taken as UTC."""
    try:
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)
    except OverflowError:
        raise Unfit(path, "is a time outside the years 1 to 9999") from None


def _an(value: Any) -> str:
    """The type of a value, with its article."""
    name = type(value).__name__
    name = name[:60] if name.isidentifier() else "object"
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _answer(found: Any) -> dict[str, Any] | Fault | None:
    """One result, as Tidegate takes it."""
    if found is None:
        return None
    if type(found) is dict:
        made: dict[str, Any] = _plain(found)
        return made
    return msgspec.convert(found, Fault)


def _plain(value: Any) -> Any:
    """A value without marks, changed in place."""
    if type(value) is dict:
        for key, each in value.items():
            if type(each) is dict or type(each) is list:
                value[key] = _plain(each)
        return value
    if value and type(value[0]) is str and value[0] in _MARKS:
        return _marked(*value)
    return [_plain(each) if type(each) is dict or type(each) is list else each for each in value]


def _marked(mark: str, held: Any, beyond: Any = None) -> Any:
    if mark == "~t":
        return EPOCH + dt.timedelta(0, 0, beyond, held)
    if mark == "~d":
        return dt.date.fromisoformat(held)
    if mark == "~i":
        return int(held)
    if mark == "~n" and (found := Decimal(held)).is_finite():
        return found
    if mark == "~l" and type(held) is list:
        return [_plain(each) if type(each) is dict or type(each) is list else each for each in held]
    if mark == "~f" and (type(held) is float or type(held) is int):
        return float(held)
    raise ValueError("an unknown mark")
