"""Random conditions on random rows, against the same conditions in plain Python."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import operator
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate import config
from tidegate.shape import filters

CALM = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FILTER: pydantic.TypeAdapter[config.Filter] = pydantic.TypeAdapter(config.Filter)
JSON = {b"tidegate": b"json"}
D = decimal.Decimal
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "is": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
TEXT: dict[str, Callable[[str, str], bool]] = {
    **ORDER,
    "contains": operator.contains,
    "starts with": str.startswith,
    "ends with": str.endswith,
}


def is_short(number: float) -> bool:
    """Has it no more places than a literal may have?"""
    exponent = D(repr(number)).normalize().as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -12


# A small alphabet and few numbers, so that values are often equal, or nearly.
WORDS = st.text("aAb%_'\"\\é日\U0001f600\0", max_size=3)
INTEGERS = st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1)
DECIMALS = (
    st.decimals(-2, 2, places=12) | st.decimals(-(10**24), 10**24, places=12) | st.integers(-3, 3).map(D)
)
FLOATS = st.sampled_from([0.1, 0.3, 0.30000000000000004, 1e-12, -0.0, 2.5]) | st.floats(
    -(10.0**24), 10.0**24
).map(lambda number: round(number, 12))
SECONDS = st.integers(-3, 3) | st.integers(-(10**9), 4 * 10**9)


def column(values: Sequence[Any], kind: pa.DataType) -> pa.Table:
    return pa.table({"v": pa.array(values, kind)})


def inside(values: Sequence[Any]) -> pa.Table:
    """Values under `metadata.v` as they are written; None is a missing key."""
    documents = ["{}" if value is None else '{"v":' + value + "}" for value in values]
    field = pa.field("metadata", pa.string(), metadata=JSON)
    return pa.table([pa.array(documents, pa.string())], schema=pa.schema([field]))


def asked(rows: pa.Table, op: str, value: object, **more: object) -> list[bool]:
    field = "v" if "v" in rows.schema.names else "metadata.v"
    condition = FILTER.validate_python({"field": field, "op": op, "value": value, **more})
    found: list[bool] = filters.compile(condition, rows.schema).matches(rows).to_pylist()
    return found


def check(
    rows: pa.Table,
    seen: Sequence[Any],
    literals: Sequence[Any],
    meant: Sequence[Any],
    ops: Any,
    **more: object,
) -> None:
    """Every operator on rows, of which Python sees `seen`; `meant` is what it sees of the literals."""
    for op, holds in ops.items():
        expected = [value is not None and bool(holds(value, meant[0])) for value in seen]
        assert asked(rows, op, literals[0], **more) == expected, op
        negative = {"is": "is not", "contains": "does not contain"}.get(op)
        if negative:
            assert asked(rows, negative, literals[0], **more) == [not each for each in expected], negative
    expected = [value is not None and value in meant for value in seen]
    assert asked(rows, "is one of", list(literals), **more) == expected
    assert asked(rows, "is not one of", list(literals), **more) == [not each for each in expected]
    (low, first), (high, last) = sorted(zip(meant, literals, strict=True), key=lambda pair: pair[0])[
        :: len(meant) - 1
    ]
    expected = [value is not None and bool(low <= value <= high) for value in seen]
    assert asked(rows, "is between", [first, last], **more) == expected
    assert asked(rows, "is not between", [first, last], **more) == [not each for each in expected]


@CALM
@given(st.lists(WORDS | st.none(), max_size=6), st.lists(WORDS, min_size=2, max_size=3))
def test_text(values: list[str | None], literals: list[str]) -> None:
    check(column(values, pa.string()), values, literals, literals, TEXT)
    check(inside([None if v is None else json.dumps(v) for v in values]), values, literals, literals, TEXT)


@CALM
@given(st.lists(WORDS | st.none(), max_size=6), st.lists(WORDS, min_size=2, max_size=3))
def test_text_without_regard_to_case(values: list[str | None], literals: list[str]) -> None:
    seen = [None if value is None else value.lower() for value in values]
    meant = [literal.lower() for literal in literals]
    check(column(values, pa.string()), seen, literals, meant, TEXT, ignore_case=True)


@CALM
@given(st.lists(INTEGERS | st.none(), max_size=6), st.lists(INTEGERS | DECIMALS, min_size=2, max_size=3))
def test_integers(values: list[int | None], literals: list[int | D]) -> None:
    written = [str(literal) for literal in literals]
    check(column(values, pa.int64()), values, written, literals, ORDER)


@CALM
@given(st.lists(DECIMALS | st.none(), max_size=6), st.lists(DECIMALS, min_size=2, max_size=3))
def test_decimals(values: list[D | None], literals: list[D]) -> None:
    check(column(values, pa.decimal128(38, 12)), values, [str(each) for each in literals], literals, ORDER)


@CALM
@given(st.lists(FLOATS | st.none(), max_size=6), st.lists(FLOATS, min_size=2, max_size=3))
def test_doubles(values: list[float | None], literals: list[float]) -> None:
    exact = [literal for literal in literals if is_short(literal)]
    if len(exact) > 1:
        check(column(values, pa.float64()), values, exact, exact, ORDER)


@CALM
@given(
    st.lists(
        st.decimals(allow_nan=False, allow_infinity=False, min_value=-1000, max_value=1000) | DECIMALS,
        max_size=6,
    ),
    st.booleans(),
    st.lists(FLOATS.filter(is_short), min_size=2, max_size=3),
)
def test_numbers_inside_json_are_compared_to_the_last_digit(
    values: list[D], quoted: bool, literals: list[float]
) -> None:
    written = [str(value) for value in values]
    rows = inside([json.dumps(text) if quoted else text for text in written])
    check(rows, values, literals, [D(repr(literal)) for literal in literals], ORDER)


@CALM
@given(st.lists(SECONDS | st.none(), max_size=6), st.lists(SECONDS, min_size=2, max_size=3), st.booleans())
def test_times(values: list[int | None], literals: list[int], iso: bool) -> None:
    times = [None if value is None else EPOCH + dt.timedelta(seconds=value) for value in values]
    written = [(EPOCH + dt.timedelta(seconds=each)).isoformat() if iso else each for each in literals]
    check(column(times, pa.timestamp("us", "UTC")), values, written, literals, ORDER)
    dates = {"is before": "<", "is on or before": "<=", "is after": ">", "is on or after": ">="}
    rows = inside([None if value is None else json.dumps(value) for value in values])
    for op, sign in dates.items():
        expected = [value is not None and ORDER[sign](value, literals[0]) for value in values]
        assert asked(rows, op, written[0]) == expected


TREES: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.builds(
        lambda field, op, value: {"field": field, "op": op, "value": value},
        st.sampled_from(["a", "b"]),
        st.sampled_from(["is", "is not", "<", ">="]),
        st.integers(0, 2),
    ),
    lambda inner: st.builds(
        lambda name, parts: {name: parts},
        st.sampled_from(["all", "any"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=8,
)


def satisfied(tree: dict[str, Any], row: dict[str, int | None]) -> bool:
    if "all" in tree:
        return all(satisfied(part, row) for part in tree["all"])
    if "any" in tree:
        return any(satisfied(part, row) for part in tree["any"])
    value = row[tree["field"]]
    if tree["op"] == "is not":
        return value != tree["value"]
    return value is not None and ORDER[tree["op"]](value, tree["value"])


@CALM
@given(TREES)
def test_trees(tree: dict[str, Any]) -> None:
    every = [{"a": a, "b": b} for a in (None, 0, 1, 2) for b in (None, 0, 1, 2)]
    rows = pa.Table.from_pylist(every, pa.schema([("a", pa.int64()), ("b", pa.int64())]))

    found = filters.compile(FILTER.validate_python(tree), rows.schema).matches(rows)

    assert found.to_pylist() == [satisfied(tree, row) for row in every]


@pytest.mark.parametrize("op", list(filters.NEGATIVE))
def test_a_negative_condition_is_the_other_turned_round(op: str) -> None:
    rows = inside(['"a"', '""', "5", "true", "null", "[]", '["a"]', "{}", None])
    value: dict[str, object] = {"is one of": ["a", 5], "is between": ["a", "b"]}
    positive = filters.NEGATIVE[op]
    unary = positive in ("exists", "is null", "is empty")
    given_value = None if unary else value.get(positive, "a")

    turned = [not each for each in asked(rows, positive, given_value)]

    assert asked(rows, op, given_value) == turned
