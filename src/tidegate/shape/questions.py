"""What a condition means, before anybody answers it: fields are found, literals read, relative dates counted.

The process's own DuckDB (`filters`) and the warehouses (`pushdown`) both answer these questions, so that a filter
has one meaning wherever it is asked. A question is about one facet of a field and is true or not; where the field
has no such facet (it is null, missing, or text that is no number) it is not.
"""

from __future__ import annotations

import datetime as dt
import decimal
import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import pyarrow as pa

from tidegate import config, errors
from tidegate.config import conditions
from tidegate.shape import stage, values

Kind = Literal["text", "integer", "decimal", "double", "boolean", "time", "json"]
Facet = Literal["state", "text", "number", "instant", "truth", "items"]
"""One way to look at a field: how much is there, as text, number, time or boolean, or the elements of a list."""
Ask = Literal[
    "in",
    "<",
    "<=",
    ">",
    ">=",
    "between",
    "contains",
    "starts with",
    "ends with",
    "exists",
    "is null",
    "is empty",
]
Given = str | bool | values.Span
"""A literal of a question: text, a boolean, or a number or time."""

NEGATIVE: dict[str, str] = {
    "is not": "is",
    "is not one of": "is one of",
    "is not between": "is between",
    "does not contain": "contains",
    "is not empty": "is empty",
    "is not null": "is null",
    "does not exist": "exists",
}
"""Operators that hold exactly where another does not."""

_ORDER: dict[str, Ask] = {
    "is before": "<", "is on or before": "<=", "is after": ">", "is on or after": ">=",
    "<": "<", "<=": "<=", ">": ">", ">=": ">=", "is between": "between", "is": "in", "is one of": "in",
}  # fmt: skip
_NAMED: dict[Kind, str] = {
    "text": "text",
    "integer": "whole numbers",
    "decimal": "numbers",
    "double": "numbers",
    "boolean": "true and false",
    "time": "times",
    "json": "objects",
}
_FACETS: dict[Kind, tuple[Facet, ...]] = {
    "text": ("text", "instant", "state"),
    "integer": ("number", "instant", "state"),
    "decimal": ("number", "state"),
    "double": ("number", "state"),
    "boolean": ("truth", "state"),
    "time": ("instant", "state"),
    "json": ("text", "number", "instant", "truth", "items", "state"),
}
_KINDS: tuple[tuple[Callable[[pa.DataType], bool], Kind], ...] = (
    (pa.types.is_string, "text"),
    (pa.types.is_large_string, "text"),
    (pa.types.is_integer, "integer"),
    (pa.types.is_decimal, "decimal"),
    (pa.types.is_floating, "double"),
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_timestamp, "time"),
)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one facet of a field.

    `in` asks for any of the literals, `between` for two and all in the middle. With `ignore_case` the literals are
    in lower case, as the field's text is to be.
    """

    column: str
    steps: tuple[str, ...]
    kind: Kind
    facet: Facet
    ask: Ask
    given: tuple[Given, ...] = ()
    ignore_case: bool = False

    @property
    def words(self) -> list[str]:
        """The literals of a question about text or elements."""
        return cast("list[str]", list(self.given))

    @property
    def spans(self) -> list[values.Span]:
        """The literals of a question about a number or a time."""
        return cast("list[values.Span]", list(self.given))


@dataclass(frozen=True, slots=True)
class Asked:
    """A condition: it holds where any of the questions does, or with `negated` where none does."""

    questions: tuple[Question, ...]
    negated: bool


def asked(condition: conditions.Condition, schema: pa.Schema, now: dt.datetime) -> Asked:
    """What a condition asks of rows of a schema at a moment.

    Raises ConfigError in one sentence for a field that is not there, with the nearest name, an operator that does
    not suit the field, and a value that does not fit. Values are never repeated: they may come from a secret.
    """
    column, steps = found(condition.field, schema)
    kind = kind_of(schema.field(column))
    if steps and kind != "json":
        raise errors.ConfigError(
            f"the filter names {condition.field}, but {column} holds {_NAMED[kind]} and has nothing inside it"
        )
    op = NEGATIVE.get(condition.op, condition.op)
    try:
        meant = _meant(_Positive(column, steps, kind, op, condition.value, condition.ignore_case, now))
        for question in meant:
            if question.facet not in _FACETS[kind]:
                raise errors.ConfigError(f"it holds {_NAMED[kind]}")
    except errors.ConfigError as reason:
        raise errors.ConfigError(
            f"the filter cannot ask `{condition.op}` of {condition.field}: {reason}"
        ) from None
    return Asked(tuple(meant), condition.op in NEGATIVE)


def moves(filter: config.Filter, schema: pa.Schema | None = None) -> bool:
    """Does the answer to a filter change with time, because it counts from the moment of a run?

    Words like `today` are a time only where the operator or the field is of time. Without a schema nobody knows the
    fields, and every such word counts.
    """
    if isinstance(filter, conditions.All):
        return any(moves(part, schema) for part in filter.all)
    if isinstance(filter, conditions.AnyOf):
        return any(moves(part, schema) for part in filter.any)
    if not any(values.relative(literal) for literal in _literals(filter.value)):
        return False
    op = NEGATIVE.get(filter.op, filter.op)
    if op in conditions.DATES or op not in _ORDER:
        return op in conditions.DATES
    return schema is None or kind_of(schema.field(found(filter.field, schema)[0])) == "time"


def found(field: str, schema: pa.Schema) -> tuple[str, tuple[str, ...]]:
    """The column of a field and the path inside it; raises ConfigError."""
    if field in schema.names:
        return field, ()
    try:
        column, *steps = values.path(field)
    except ValueError as reason:
        raise errors.ConfigError(
            f"the filter names {field}, which is no field: {reason}; put dots between names, and quotes around "
            "one that has dots itself"
        ) from None
    if column in schema.names:
        return column, tuple(steps)
    near = difflib.get_close_matches(column, schema.names, n=1)
    hint = f"did you mean {'.'.join([near[0], *steps])}?" if near else "check how it is written."
    raise errors.ConfigError(f"the filter names {field}, which is not there; {hint}")


def kind_of(field: pa.Field) -> Kind:
    """What a column holds; raises ConfigError for what no table of Tidegate has."""
    if (field.metadata or {}).get(b"tidegate") == b"json":
        return "json"
    for holds, kind in _KINDS:
        if holds(field.type):
            return kind
    raise errors.ConfigError(
        f"the column {field.name} has the type {field.type}, which no filter can look at"
    )


@dataclass(frozen=True, slots=True)
class _Positive:
    """A condition on a field that was found, without its negation."""

    column: str
    steps: tuple[str, ...]
    kind: Kind
    op: str
    value: object
    ignore_case: bool
    now: dt.datetime

    def of(self, facet: Facet, ask: Ask, given: Sequence[Given] = ()) -> Question:
        """A question about the field."""
        folded = self.ignore_case and facet in ("text", "items")
        return Question(self.column, self.steps, self.kind, facet, ask, tuple(given), folded)


def _meant(asked: _Positive) -> list[Question]:
    """The questions of which one must be answered with yes."""
    match asked.op:
        case "exists" | "is null" | "is empty":
            return [asked.of("state", cast("Ask", asked.op))]
        case "is true" | "is false":
            return [asked.of("truth", "in", [asked.op == "is true"])]
        case "contains" | "starts with" | "ends with":
            if asked.kind == "text" and not isinstance(asked.value, str):
                raise errors.ConfigError("the value must be text; put it in quotes")
            word, ask = _word(asked, asked.value), cast("Ask", asked.op)
            parts = [asked.of("text", ask, [word])]
            if asked.kind == "json" and ask == "contains":
                parts.append(asked.of("items", ask, [word]))
            return parts
    literals = _literals(asked.value)
    pairs = [(_facet(asked, literal), literal) for literal in literals]
    facets = list(dict.fromkeys(facet for facet, _ in pairs))
    ask = _ORDER[asked.op]
    if ask == "between" and len(facets) > 1:
        raise errors.ConfigError("both values must be of one kind")
    meant = [
        asked.of(facet, ask, [_given(asked, facet, each) for other, each in pairs if other == facet])
        for facet in facets
    ]
    if ask == "between" and _is_backwards(meant[0], literals):
        raise errors.ConfigError("the lower value must come first")
    return meant


def _literals(value: object) -> list[conditions.Scalar]:
    return cast("list[conditions.Scalar]", list(value) if isinstance(value, tuple) else [value])


def _facet(asked: _Positive, literal: object) -> Facet:
    """As what a field and a literal are compared."""
    if asked.op in conditions.DATES or asked.kind == "time":
        return "instant"
    if asked.kind == "boolean" or (asked.kind == "json" and isinstance(literal, bool)):
        if not isinstance(literal, bool):
            raise errors.ConfigError("the value must be true or false")
        if asked.op not in ("is", "is one of"):
            raise errors.ConfigError("true and false have no order")
        return "truth"
    if asked.kind == "text" and not isinstance(literal, str):
        raise errors.ConfigError("it holds text, so the value must be text; put it in quotes")
    if asked.kind == "text" or (asked.kind == "json" and isinstance(literal, str)):
        return "text"
    return "number"


def _given(asked: _Positive, facet: Facet, literal: conditions.Scalar) -> Given:
    if facet == "truth":
        return bool(literal)
    if facet == "text":
        return _word(asked, literal)
    if facet == "number":
        return values.number(literal)
    told = values.relative(literal)
    if told is not None and not told.is_day and asked.op in ("is", "is one of"):
        raise errors.ConfigError(
            "no row is from that very moment; ask `is after` or `is before`, or name a day: `today`, `3 days ago`"
        )
    return values.moment(literal, asked.now)


def _is_backwards(question: Question, literals: Sequence[conditions.Scalar]) -> bool:
    """Can nothing lie between the two literals, at no time?"""
    if question.facet == "text":
        return question.words[0] > question.words[1]
    told = [values.relative(literal) for literal in literals]
    if question.facet == "instant" and any(told):
        first, last = told
        return first is not None and last is not None and values.is_backwards(first, last)
    return decimal.Decimal(question.spans[0].first) > decimal.Decimal(question.spans[1].last)


def _word(asked: _Positive, literal: object) -> str:
    word = values.word(cast("conditions.Scalar", literal))
    return stage.lowered(word) if asked.ignore_case else word
