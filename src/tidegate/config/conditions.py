"""Which rows are meant: conditions on its fields, and trees of `all` and `any` over them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

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

Operator = Literal[
    "is", "is not", "is one of", "is not one of", "<", "<=", ">", ">=", "is between", "is not between",
    "contains", "does not contain", "starts with", "ends with",
    "is before", "is on or before", "is after", "is on or after",
    "is true", "is false", "is empty", "is not empty", "is null", "is not null", "exists", "does not exist",
]  # fmt: skip
"""What a condition can ask."""
Scalar = bool | int | float | str
"""What a field is compared with."""


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
        return self


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
