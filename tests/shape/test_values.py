"""Paths into JSON, what a condition sees of a value there, and the literals that it is compared with."""

from __future__ import annotations

import decimal
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import errors
from tidegate.shape import values

D = decimal.Decimal
MOST = D("9" * 26 + "." + "9" * 12)
LEAST = MOST.copy_negate()


@pytest.mark.parametrize(
    ("field", "steps"),
    [
        ("amount", ("amount",)),
        ("address.country", ("address", "country")),
        ("metadata.plan", ("metadata", "plan")),
        ("metadata", ("metadata",)),
        ("metadata.order.id", ("metadata", "order.id")),
        ('metadata."order.id"', ("metadata", "order.id")),
        ('metadata."a""b"', ("metadata", 'a"b')),
        ('metadata.a"b', ("metadata", 'a"b')),
        ("metadata.a..b.", ("metadata", "a..b.")),
        ("metadata. ", ("metadata", " ")),
        ("parent.subscription_details.metadata.a.b", ("parent", "subscription_details", "metadata", "a.b")),
        ("items.data.0.price.id", ("items", "data", "0", "price", "id")),
        ('"a.b".c', ("a.b", "c")),
        ('a."".b', ("a", "", "b")),
        ("größe.日本", ("größe", "日本")),
    ],
)
def test_a_path_has_steps(field: str, steps: tuple[str, ...]) -> None:
    assert values.path(field) == steps


@pytest.mark.parametrize(
    "field", ["", ".", ".a", "a.", "a..b", 'a."b', '"a"b', '"a".', "metadata.", 'metadata."a']
)
def test_what_is_no_path(field: str) -> None:
    with pytest.raises(ValueError, match="name"):
        values.path(field)


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_every_name_can_be_written(names: list[str]) -> None:
    field = ".".join('"' + name.replace('"', '""') + '"' for name in names)

    assert values.path(field) == tuple(names)


@pytest.mark.parametrize(
    ("document", "steps", "raw"),
    [
        ('{"a":{"b":1.10}}', ("a", "b"), "1.10"),
        ('{"a":1}', (), '{"a":1}'),
        ('{"a":1}', ("b",), None),
        ('{"a":null}', ("a",), "null"),
        ('{"a":null}', ("a", "b"), None),
        ('{"a":"text"}', ("a", "b"), None),
        ('{"a":[10,20]}', ("a", "1"), "20"),
        ('{"a":[10,20]}', ("a", "2"), None),
        ('{"a":[10,20]}', ("a", "-1"), None),
        ('{"a":[10,20]}', ("a", "9" * 5_000), None),
        ('{"0":5}', ("0",), "5"),
        ('{"a":1,"a":2}', ("a",), "2"),
        (r'{"a\"b":1}', ('a"b',), "1"),
        (r'{"a":"\ud800"}', ("a",), r'"\ud800"'),
        ("no json", ("a",), None),
        ('{"a":', ("a",), None),
        ("", ("a",), None),
    ],
)
def test_a_path_leads_into_json(document: str, steps: tuple[str, ...], raw: str | None) -> None:
    found = values.inside(document.encode(), steps)

    assert found == (None if raw is None else raw.encode())


@pytest.mark.parametrize(
    ("raw", "state"),
    [
        ("null", values.NULL),
        ('""', values.EMPTY),
        ("[]", values.EMPTY),
        ("{ }", values.EMPTY),
        ('" "', values.FULL),
        ("0", values.FULL),
        ("false", values.FULL),
        ("[null]", values.FULL),
        ('{"a":null}', values.FULL),
    ],
)
def test_how_much_is_there(raw: str, state: int) -> None:
    assert values.state(raw.encode()) == state


@pytest.mark.parametrize(
    ("raw", "text", "bounds", "truth", "instant"),
    [
        ("5", "5", (D(5), D(5)), None, 5_000_000),
        ("-1.50", "-1.50", (D("-1.5"), D("-1.5")), None, -1_500_000),
        ("18446744073709551617", "18446744073709551617", (D(2**64 + 1), D(2**64 + 1)), None, None),
        ("1e400", "1e400", (MOST, MOST), None, None),
        ("-99999999999999999999999999.9999999999995",) * 2 + ((LEAST, LEAST), None, None),
        ("-1e400", "-1e400", (LEAST, LEAST), None, None),
        ("0.0000000000005", "0.0000000000005", (D(0), D("1E-12")), None, 0),
        ("-0.0000000000005", "-0.0000000000005", (D("-1E-12"), D(0)), None, -1),
        ('"250"', "250", (D(250), D(250)), None, 250_000_000),
        ('" 2.5 "', " 2.5 ", (D("2.5"), D("2.5")), None, 2_500_000),
        ('"٣"', "٣", None, None, None),
        ('"1_000"', "1_000", None, None, None),
        ('"NaN"', "NaN", None, None, None),
        ("true", "true", None, True, None),
        ('"False"', "False", None, False, None),
        ('"yes"', "yes", None, None, None),
        ('"2024-01-31"', "2024-01-31", None, None, 1_706_659_200_000_000),
        ('"2024-01-31T01:00:00+01:00"', "2024-01-31T01:00:00+01:00", None, None, 1_706_659_200_000_000),
        ('"2024-01-31T00:00:00.25Z"', "2024-01-31T00:00:00.25Z", None, None, 1_706_659_200_250_000),
        ('"2024-02-31"', "2024-02-31", None, None, None),
        ('"0001-01-01T00:00:00+14:00"', "0001-01-01T00:00:00+14:00", None, None, None),
        ("null", None, None, None, None),
        ('{"a":1}', None, None, None, None),
        ("[1]", None, None, None, None),
        (r'"a\ud800"', "a\ufffd", None, None, None),
    ],
)
def test_a_value_looked_at_in_every_way(
    raw: str, text: str | None, bounds: values.Bounds | None, truth: bool | None, instant: int | None
) -> None:
    assert values.shown(raw.encode()) == text
    assert values.bounds(raw.encode()) == bounds
    assert values.truth(raw.encode()) is truth
    assert values.instant(raw.encode()) == instant


def test_the_elements_of_a_list() -> None:
    assert values.items(b'["a", 1.0, true, null, {"a":1}, []]') == ["a", "1.0", "true"]
    assert values.items(b'{"a":1}') is None
    assert values.items(b'"a"') is None
    assert values.items(b"[1,") is None


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_bounds_are_around_a_number(number: decimal.Decimal) -> None:
    found = values.bounds(json.dumps(str(number)).encode())

    assert found is not None
    low, high = found
    if number.copy_abs() < MOST:
        assert low <= number <= high
        assert (low == high) == (low == number)
        assert high - low <= D("1E-12")
    else:
        assert low == high == MOST.copy_sign(number)


@pytest.mark.parametrize(
    ("literal", "exact"),
    [(5, "5"), (0.1, "0.1"), ("1.10", "1.1"), (1e3, "1000"), ("-0", "0"), (10**24, "1E24"), (1e-12, "1E-12")],
)  # fmt: skip
def test_a_literal_number(literal: float | str, exact: str) -> None:
    span = values.number(literal)

    assert span.first == span.last
    assert D(span.first) == D(exact)


@pytest.mark.parametrize("literal", [True, "pro", "", "1,000", float("inf"), float("nan"), "0x10"])
def test_what_is_no_number(literal: bool | float | str) -> None:
    with pytest.raises(errors.ConfigError, match="must be a number"):
        values.number(literal)


@pytest.mark.parametrize("literal", ["0.0000000000001", 10**25, 1e30, "-1e25"])
def test_a_literal_that_no_column_holds_exactly(literal: float | str) -> None:
    with pytest.raises(errors.ConfigError, match="25 digits before the point and 12 after"):
        values.number(literal)


@pytest.mark.parametrize(
    ("literal", "first", "last"),
    [
        ("1970-01-02", 86_400_000_000, 172_799_999_999),
        ("1970-01-02T00:00:00Z", 86_400_000_000, 86_400_000_000),
        ("1970-01-02 01:00+01:00", 86_400_000_000, 86_400_000_000),
        (86_400, 86_400_000_000, 86_400_000_000),
        ("86400.5", 86_400_500_000, 86_400_500_000),
        (-1, -1_000_000, -1_000_000),
    ],
)
def test_a_literal_time(literal: int | str, first: int, last: int) -> None:
    assert values.moment(literal) == values.Span(str(first), str(last))


@pytest.mark.parametrize("literal", [True, "soon", "", "2024-13-01", "12:00", 10**30])
def test_what_is_no_time(literal: bool | int | str) -> None:
    with pytest.raises(errors.ConfigError, match="must be a date"):
        values.moment(literal)
