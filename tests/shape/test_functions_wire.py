"""What goes through the pipe comes out as it was, and what comes back is read as if somebody had made it up."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.shape import frames, functions, wire
from tidegate.shape.answers import Made
from tidegate.shape.functions import Code

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
KEYS = TEXTS | st.sampled_from(["__proto__", "constructor", "toJSON", "then", "length", "~t"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**53 - 2, 2**53 + 2)
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.sampled_from(["~t", "~d", "~n", "~i", "~f", "~l", "~"])
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.datetimes(timezones=st.just(dt.UTC))
    | st.dates()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
RECORDS = st.dictionaries(KEYS, VALUES, max_size=6)


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[str, functions.Run]]:
    """One run for each language, of a function that hands its record back."""
    with (
        functions.opened(Code("python", "def transform(customer): return customer")) as python,
        functions.opened(Code("javascript", "const transform = (customer) => customer;")) as javascript,
    ):
        yield {"python": python, "javascript": javascript}


def kinds(value: Any) -> Any:
    """The value with the type of each part beside it."""
    if isinstance(value, dict):
        return {key: kinds(each) for key, each in value.items()}
    if isinstance(value, list):
        return [kinds(each) for each in value]
    return type(value), str(value)


@given(record=RECORDS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_python_gives_back_what_it_was_given(runs: dict[str, functions.Run], record: dict[str, Any]) -> None:
    outcome = runs["python"].one(record)
    assert isinstance(outcome, Made)
    assert kinds(outcome.record) == kinds(record)


@given(record=RECORDS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_javascript_gives_back_what_it_was_given(
    runs: dict[str, functions.Run], record: dict[str, Any]
) -> None:
    outcome = runs["javascript"].one(record)
    assert isinstance(outcome, Made)
    assert outcome.record == record
    decimals = [str(each) for each in record.values() if isinstance(each, Decimal)]
    assert [str(each) for each in outcome.record.values() if isinstance(each, Decimal)] == decimals


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["~t", "~n", "~i"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(body=st.binary(max_size=40) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=400, deadline=None)
def test_an_answer_is_understood_or_refused_and_nothing_else(body: bytes) -> None:
    try:
        found = wire.results(body)
    except ValueError:
        return
    for each in found:
        assert each is None or isinstance(each, dict | wire.Fault)


@pytest.mark.parametrize(
    "body",
    [
        b"{}", b"[1]", b'["x"]', b"[[]]", b'[["why","safe",1]]', b'[["why","safe",1,2]]', b'[{"a":["~t"]}]',
        b'[{"a":["~t",1,2,3]}]', b'[{"a":["~t",1e400,0]}]', b'[{"a":["~t","1",0]}]', b'[{"a":["~t",1e18,0]}]',
        b'[{"a":["~d","x"]}]', b'[{"a":["~n","NaN"]}]', b'[{"a":["~n","x"]}]', b'[{"a":["~i","1.5"]}]',
        b'[{"a":["~i","' + b"9" * 5000 + b'"]}]', b'[{"a":["~f","nan"]}]', b'[{"a":["~l",1]}]', b"[" * 100_000,
        b'[{"a":' * 5000, b"[1e999]", b"\xff",
    ],
)  # fmt: skip
def test_an_answer_that_no_process_writes_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        wire.results(body)


@given(text=st.text(max_size=20), number=st.integers(0, 2**40))
def test_what_is_said_is_heard(text: str, number: int) -> None:
    assert frames.said(frames.saying(text, number)) == (text, number)


def test_nonsense_is_not_heard() -> None:
    for body in (b"", b"[]", b'["a","b"]', b"[" * 100_000):
        with pytest.raises(ValueError):
            frames.said(body)
