"""Which rows are meant: conditions on its fields, and trees of `all` and `any` over them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args

import pydantic
from pydantic import Discriminator, Field, Tag

from tidegate.config import values

UNARY = frozenset(
    ("is true", "is false", "is empty", "is not empty", "is null", "is not null", "exists", "does not exist")
)
"""Operators without a value."""
LISTS = frozenset(("is one of", "is not one of"))
"""Operators with a list of values."""
RANGES = frozenset(("is between", "is not between"))
"""Operators with two values, both inclusive."""
DATES = frozenset(("is before", "is on or before", "is after", "is on or after"))
"""Operators that compare times, whatever the field holds."""

Operator = Literal[
    "is", "is not", "is one of", "is not one of", "<", "<=", ">", ">=", "is between", "is not between",
    "contains", "does not contain", "starts with", "ends with",
    "is before", "is on or before", "is after", "is on or after",
    "is true", "is false", "is empty", "is not empty", "is null", "is not null", "exists", "does not exist",
]  # fmt: skip
"""What a condition can ask."""
Scalar = bool | int | float | str
"""What a field is compared with."""
Unit = Literal["minute", "hour", "day", "week", "month", "year"]

_UNITS = "|".join(get_args(Unit))
_RELATIVE = re.compile(
    rf"(?P<ago>[0-9]{{1,6}})\s+(?P<past>{_UNITS})s?\s+ago|in\s+(?P<ahead>[0-9]{{1,6}})\s+(?P<future>{_UNITS})s?",
    re.ASCII,
)
_NAMED: dict[str, tuple[int, Unit]] = {
    "now": (0, "minute"),
    "yesterday": (-1, "day"),
    "today": (0, "day"),
    "tomorrow": (1, "day"),
}
_DATED = re.compile(r"[+-]?\.?[0-9][0-9TtZzWwEe:.,+ -]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Relative:
    """A time told from the moment of a run: `count` units after it, or before it when negative."""

    count: int
    unit: Unit

    @property
    def is_day(self) -> bool:
        """Is it a whole day in UTC? Minutes and hours lead to a moment."""
        return self.unit not in ("minute", "hour")


def relative(text: str) -> Relative | None:
    """What `30 days ago`, `in 3 hours`, `today`, `yesterday`, `tomorrow` or `now` says; None for any other text."""
    words = text.strip().lower()
    if words in _NAMED:
        return Relative(*_NAMED[words])
    found = _RELATIVE.fullmatch(words)
    if found is None:
        return None
    if found["ago"]:
        return Relative(-int(found["ago"]), _unit(found["past"]))
    return Relative(int(found["ahead"]), _unit(found["future"]))


def _unit(word: str) -> Unit:
    return next(unit for unit in get_args(Unit) if unit == word)


def _filter_kind(value: Any) -> str | None:
    if isinstance(value, dict):
        return "<all>" if "all" in value else "<any>" if "any" in value else "<condition>"
    if isinstance(value, Condition):
        return "<condition>"
    return "<all>" if isinstance(value, All) else "<any>" if isinstance(value, AnyOf) else None


class Condition(values.Base):
    """One question about one field: `{field: address.country, op: is one of, value: [DE, FR]}`."""

    field: values.Text
    """The field, dotted into objects and metadata: `metadata.plan`."""
    op: Operator
    """What to ask: `is`, `is one of`, `>=`, `is between`, `contains`, `is before`, `exists`, ..."""
    value: Scalar | tuple[Scalar, ...] | None = None
    """What to compare with: a list for `is one of`, two values for `is between`, none for `exists`."""
    ignore_case: bool = False
    """Compare text without regard to upper and lower case."""

    @pydantic.model_validator(mode="after")
    def _value_fits(self) -> Self:
        listed = isinstance(self.value, tuple)
        if self.op in UNARY:
            if self.value is not None:
                raise ValueError(f"`{self.op}` takes no value")
        elif self.value is None:
            raise ValueError(f"`{self.op}` needs a value; to ask for null write `is null`")
        elif self.op in LISTS and not (listed and self.value):
            raise ValueError(f"`{self.op}` needs a list of values")
        elif self.op in RANGES and not (isinstance(self.value, tuple) and len(self.value) == 2):
            raise ValueError(f"`{self.op}` needs two values: [lowest, highest]")
        elif self.op not in LISTS | RANGES and listed:
            raise ValueError(f"`{self.op}` needs one value, not a list")
        elif self.op in DATES and not _is_time(self.value):
            raise ValueError(
                f"`{self.op}` needs a date (2024-01-31), a time (2024-01-31T12:00:00Z), unix seconds, or words "
                "like `30 days ago`, `in 3 days`, `today` or `now`"
            )
        return self


def _is_time(value: object) -> bool:
    """Can it be a time, from the looks of it?"""
    if isinstance(value, str):
        return relative(value) is not None or _DATED.fullmatch(value.strip()) is not None
    return not isinstance(value, bool)


class All(values.Base):
    """Every part must hold."""

    all: Annotated[tuple[Filter, ...], Field(min_length=1)]
    """Conditions or groups that must all hold."""


class AnyOf(values.Base):
    """One part must hold."""

    any: Annotated[tuple[Filter, ...], Field(min_length=1)]
    """Conditions or groups of which one must hold."""


Filter = Annotated[
    Annotated[All, Tag("<all>")] | Annotated[AnyOf, Tag("<any>")] | Annotated[Condition, Tag("<condition>")],
    Discriminator(_filter_kind),
]
"""A condition, or a tree of `all` and `any` over conditions."""
