"""The types of the customer model: their columns and names, and what is said of a value that fits none of them."""

from __future__ import annotations

import datetime as dt
import decimal
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from tidegate.config import pipelines
from tidegate.shape import values
from tidegate.warehouse import base

ARROW: dict[pipelines.PropertyType, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "decimal": pa.decimal128(38, values.PLACES),
    "boolean": pa.bool_(),
    "date": pa.string(),  # no table of Tidegate has a type for days; as text they sort and compare as they should
    "timestamp": pa.timestamp("us", "UTC"),
    "json": pa.string(),
    "object": pa.string(),
    "array": pa.string(),
}
"""The Arrow type of a column; a date is text, `2024-01-31`."""

DOCUMENTS = frozenset(("json", "object", "array"))
"""Types whose columns hold JSON."""

WANTS: dict[pipelines.PropertyType, str] = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "decimal": "a decimal number",
    "boolean": "true or false",
    "date": "a date",
    "timestamp": "a time",
    "json": "a value that JSON has",
    "object": "an object",
    "array": "a list",
}
"""Types in words."""

DIGITS = 26
"""Digits that a decimal has before its point."""

_HELD: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number"),
    (decimal.Decimal, "a number"),
    (str, "text"),
    (dt.datetime, "a time"),
    (dt.date, "a date"),
    (list, "a list"),
    (dict, "an object"),
)
_NAME = re.compile(r"[^\W\d][\w -]{0,62}(\.[\w -]{1,63})*")


@dataclass(frozen=True, slots=True)
class Target:
    """A type; of an object with its members, where they are told, and of an array with what its elements are."""

    type: pipelines.PropertyType
    members: tuple[tuple[str, Target], ...] = ()
    items: Target | None = None

    def field(self, name: str) -> pa.Field:
        """The column of such a property."""
        return pa.field(name, ARROW[self.type], metadata=base.JSON if self.type in DOCUMENTS else None)


class Unfit(Exception):
    """A value that a type cannot hold; speaks of kinds and keys, never of the value itself.

    `lacks`: instead, the key that its type does not have.
    """

    def __init__(self, held: str, *, lacks: str = "") -> None:
        super().__init__()
        self.held = held
        self.lacks = lacks
        self.wanted = ""
        self.path: tuple[str, ...] = ()

    def sentence(self, name: str, origin: str) -> str:
        """Why a property cannot have it, without the full stop: `origin` is `the field holds`, `its SQL gives`."""
        where = ".".join((name, *self.path))
        if self.lacks:
            return f"the property {where} has no key {self.lacks}"
        return f"the property {where} wants {self.wanted}; {origin} {self.held}"


@dataclass(frozen=True, slots=True)
class Beyond:
    """Stands for a value that Python cannot show, and so no property can hold."""

    why: str


def key_named(key: object, known: Sequence[str]) -> str:
    """A key that is not there, with the nearest one: `zip; did you mean postal_code?`.

    What does not look like a name may be made of somebody's data, and is not shown.
    """
    if not isinstance(key, str):
        return f"named by {held(key)}; write it as text"
    if not is_name(key):
        return "named like that; letters, digits and underscores make a name"
    near = difflib.get_close_matches(key, known, n=1)
    return f"{key}; did you mean {near[0]}?" if near else f"{key}; it has {', '.join(known)}"


def ended(sentence: str) -> str:
    """A sentence with its full stop."""
    return sentence if sentence.endswith((".", "?")) else f"{sentence}."


def is_name(key: object) -> bool:
    """Does a key look like the name of a property?"""
    return isinstance(key, str) and _NAME.fullmatch(key) is not None


def held(value: object) -> str:
    """What a value is, in words."""
    if isinstance(value, Beyond):
        return value.why
    return next(
        (name for kind, name in _HELD if isinstance(value, kind)),
        f"a value of the type {type(value).__name__}",
    )


def misread(value: object) -> str:
    """What a value is where text would do, but not this one."""
    return "text that is none" if isinstance(value, str) else held(value)
