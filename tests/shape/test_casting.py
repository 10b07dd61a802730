"""Whole columns: the same as value by value, whatever they are made of."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from typing import Any

import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from tidegate.shape import casting, conversions, targets
from tidegate.shape.targets import Target

JSON = {b"tidegate": b"json"}
D = decimal.Decimal
COLUMNS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): st.text(max_size=5)
    | st.sampled_from(["7", "1.5", "true", "2024-01-31", "1706702400", "1e3"]),
    pa.large_string(): st.text(max_size=5),
    pa.int8(): st.integers(-(2**7), 2**7 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1) | st.integers(-(2**31), 2**31),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float64(): st.floats() | st.integers(-(2**40), 2**40).map(float),
    pa.decimal128(38, 12): st.decimals(-(10**25), 10**25, places=12),
    pa.decimal128(20, 2): st.decimals(-(10**17), 10**17, places=2),
    pa.decimal128(38, 0): st.integers(-(10**37), 10**37).map(D),
    pa.bool_(): st.booleans(),
    pa.timestamp("us", "UTC"): st.datetimes(dt.datetime(1, 1, 1)),
    pa.timestamp("us"): st.datetimes(dt.datetime(1, 1, 1)),
    pa.timestamp("s", "UTC"): st.datetimes(dt.datetime(1, 1, 1)).map(
        lambda when: when.replace(microsecond=0)
    ),
    pa.date32(): st.dates(),
    pa.null(): st.none(),
}


def outcome(value: object, target: Target) -> tuple[object, str]:
    """What becomes of one value, or why it does not."""
    try:
        return conversions.one(value, target), ""
    except targets.Unfit as reason:
        return None, reason.sentence("x", "it is")


def outcomes(found: casting.Converted) -> list[tuple[object, str]]:
    """What became of every value of a column."""
    return [
        (value, found.unfit[row].sentence("x", "it is") if row in found.unfit else "")
        for row, value in enumerate(found.values.to_pylist())
    ]


@pytest.mark.parametrize("kind", COLUMNS, ids=str)
@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(data=st.data(), type=st.sampled_from(sorted(targets.ARROW)))
def test_a_column_becomes_what_its_values_become(kind: pa.DataType, data: st.DataObject, type: Any) -> None:
    values = data.draw(st.lists(st.none() | COLUMNS[kind], min_size=1, max_size=6))
    column = pa.chunked_array([pa.array(values[:2], kind), pa.array(values[2:], kind)])
    found = casting.column(column, pa.field("x", kind), Target(type))
    assert found.values.type == targets.ARROW[type]
    assert outcomes(found) == [outcome(value, Target(type)) for value in values]


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4) | st.sampled_from(["7", "true", "2024-01-31"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
SHAPES = [
    *(Target(each) for each in targets.ARROW),
    Target("object", (("a", Target("integer")), ("b", Target("decimal")))),
    Target("array", items=Target("string")),
]


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(values=st.lists(DOCUMENTS, min_size=1, max_size=5), target=st.sampled_from(SHAPES))
def test_json_becomes_what_its_values_become(values: list[Any], target: Target) -> None:
    def read(shown: tuple[object, str]) -> tuple[object, str]:
        value, said = shown
        is_document = target.type in targets.DOCUMENTS and value is not None
        return (json.loads(str(value)), said) if is_document else shown

    column = pa.array([json.dumps(value) for value in values])
    found = casting.column(column, pa.field("x", pa.string(), metadata=JSON), target)
    assert list(map(read, outcomes(found))) == [read(outcome(value, target)) for value in values]


def strings(*raws: bytes | None) -> list[object]:
    return list(casting.documents(raws, Target("string")).values.to_pylist())


def test_numbers_in_json_are_exact() -> None:
    raws = [b"0.1", b"12345678901234567890.123456789012", b"1E2", b'"0.30"', b"null", None]
    found = casting.documents(raws, Target("decimal"))
    assert found.values.to_pylist() == [
        D("0.1"), D("12345678901234567890.123456789012"), D(100), D("0.30"), None, None,
    ]  # fmt: skip
    assert strings(b"123456789012345678901234567890", b"1.50") == ["123456789012345678901234567890", "1.5"]


def test_json_that_is_not_looked_into_stays_as_it_was_written() -> None:
    raws = [b'{"a": 1.50,"a":"\\ud800"}', None, b"null", b"{}"]
    for type in ("json", "object"):
        found = casting.documents(raws, Target(type))  # type: ignore[arg-type]
        assert found.values.to_pylist() == ['{"a": 1.50,"a":"\\ud800"}', None, None, "{}"]


def test_half_a_surrogate_is_shown_as_a_replacement() -> None:
    assert strings(b'"a"', b'"\\ud800b"', b"7") == ["a", "\ufffdb", "7"]


@pytest.mark.parametrize("raw", [b"{", b"NaN", b"1,2", b'"a', b"[" * 100_000, b"9" * 5000])
def test_what_is_no_json_is_unfit_in_its_row_alone(raw: bytes) -> None:
    found = casting.documents([b'"a"', raw, b'"b"'], Target("string"), checked=False)
    assert found.values.to_pylist() == ["a", None, "b"]
    assert found.unfit[1].sentence("x", "its SQL gives") == (
        "the property x wants text; its SQL gives JSON that cannot be read"
    )


def test_one_document_is_never_two() -> None:
    for target in (Target("integer"), Target("string")):
        found = casting.documents([b'"1","2"', b'"3"'], target, checked=False)
        assert (found.values[1].as_py(), list(found.unfit)) == (conversions.one("3", target), [0])


def test_objects_that_are_checked_are_read_where_they_may_be_wrong() -> None:
    found = casting.documents([b'{"f":NaN}', b'{"f":1}'], Target("json"), checked=False)
    assert (found.values.to_pylist(), list(found.unfit)) == ([None, '{"f":1}'], [0])


@pytest.mark.parametrize("type", ["timestamp", "date", "string", "integer"])
def test_times_that_python_cannot_show_are_unfit(type: Any) -> None:
    column = pa.array([2**62, 0, None], pa.int64()).cast(pa.timestamp("us", "UTC"))
    found = casting.column(column, pa.field("x", column.type), Target(type))
    assert "a time outside of the years 1 to 9999" in found.unfit[0].sentence("x", "its SQL gives")
    assert set(found.unfit) == {0}


def test_days_that_python_cannot_show_are_unfit() -> None:
    column = pa.array([2**30, 0], pa.int32()).cast(pa.date32())
    found = casting.column(column, pa.field("x", column.type), Target("date"))
    assert (found.values.to_pylist(), list(found.unfit)) == ([None, "1970-01-01"], [0])
