"""Paths into JSON, what a condition sees of a value there, and the literals that it is compared with."""

from __future__ import annotations

import calendar
import datetime as dt
import decimal
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import errors
from tidegate.config import conditions
from tidegate.shape import values

D = decimal.Decimal
NOW = dt.datetime(2024, 3, 31, 14, 30, 0, 5, tzinfo=dt.UTC)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
DAY = 86_400_000_000
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
        (r'{"\u0061":{"b":1},"a":{"b":2}}', ("a", "b"), "2"),
        ('{"a":{"b":1},"a":{}}', ("a", "b"), None),
        (r'{"a\u0000":1}', ("a\0",), "1"),
        (r'{"\ud800":1}', ("\ud800",), "1"),
        ('{"":1}', ("",), "1"),
        ('{"a": [ 1 , {"b" : 2} ] }', ("a", "1", "b"), "2"),
        (r'{"a":"\ud800"}', ("a",), r'"\ud800"'),
        ("no json", ("a",), None),
        ('{"a":', ("a",), None),
        ("", ("a",), None),
    ],
)
def test_a_path_leads_into_json(document: str, steps: tuple[str, ...], raw: str | None) -> None:
    found = values.finder(steps)(document.encode())

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
        ('"1e999"', "1e999", (MOST, MOST), None, None),
        ('"1e1000"', "1e1000", None, None, None),
        ('"+5."', "+5.", (D(5), D(5)), None, 5_000_000),
        ('"\u00a05"', "\u00a05", None, None, None),
        ("1e999999", "1e999999", (MOST, MOST), None, None),
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


def test_text_of_more_than_a_hundred_characters_is_no_number() -> None:
    """So that every warehouse can compute with what is one; JSON's own numbers may be as long as they like."""
    for digits, is_number in ((100, True), (101, False)):
        written = "9" * digits
        assert (values.bounds(json.dumps(written).encode()) == (MOST, MOST)) == is_number
        assert values.bounds(written.encode()) == (MOST, MOST)


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_bounds_are_around_a_number(number: decimal.Decimal) -> None:
    found = values.bounds(str(number).encode())

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
    assert values.moment(literal, NOW) == values.Span(str(first), str(last))


@pytest.mark.parametrize("literal", [True, "soon", "", "2024-13-01", "12:00", 10**30])
def test_what_is_no_time(literal: bool | int | str) -> None:
    with pytest.raises(errors.ConfigError, match="must be a date"):
        values.moment(literal, NOW)


@pytest.mark.parametrize(
    ("words", "first", "last"),
    [
        ("now", "2024-03-31T14:30:00.000005", None),
        ("2 hours ago", "2024-03-31T12:30:00.000005", None),
        ("in 90 minutes", "2024-03-31T16:00:00.000005", None),
        ("36 hours ago", "2024-03-30T02:30:00.000005", None),
        ("today", "2024-03-31", "2024-03-31"),
        ("yesterday", "2024-03-30", "2024-03-30"),
        ("tomorrow", "2024-04-01", "2024-04-01"),
        ("30 days ago", "2024-03-01", "2024-03-01"),
        ("1 day ago", "2024-03-30", "2024-03-30"),
        ("0 days ago", "2024-03-31", "2024-03-31"),
        ("in 3 days", "2024-04-03", "2024-04-03"),
        ("2 weeks ago", "2024-03-17", "2024-03-17"),
        ("1 month ago", "2024-02-29", "2024-02-29"),
        ("13 months ago", "2023-02-28", "2023-02-28"),
        ("in 1 month", "2024-04-30", "2024-04-30"),
        ("in 2 months", "2024-05-31", "2024-05-31"),
        ("3 months ago", "2023-12-31", "2023-12-31"),
        ("1 year ago", "2023-03-31", "2023-03-31"),
        ("  In  1  Year ", "2025-03-31", "2025-03-31"),
    ],
)
def test_a_time_that_counts_from_now(words: str, first: str, last: str | None) -> None:
    """Days are whole, in UTC; a month leads to the same day, or to its last where there is none such."""
    start = (dt.datetime.fromisoformat(first).replace(tzinfo=dt.UTC) - EPOCH) // dt.timedelta(microseconds=1)
    end = start if last is None else start + DAY - 1

    assert values.moment(words, NOW) == values.Span(str(start), str(end))


def test_now_may_be_told_in_any_zone() -> None:
    tokyo = NOW.astimezone(dt.timezone(dt.timedelta(hours=10)))

    assert tokyo.day == 1
    assert values.moment("today", tokyo) == values.moment("2024-03-31", NOW)


@pytest.mark.parametrize(
    "words", ["999999 years ago", "in 999999 months", "in 999999 weeks", "2025 years ago"]
)
def test_a_time_beyond_all_calendars(words: str) -> None:
    with pytest.raises(errors.ConfigError, match="before the year 1 or after the year 9999; count fewer"):
        values.moment(words, NOW)


@given(st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)), st.integers(-1_000, 1_000))
def test_months_keep_the_day_where_they_can(moment: dt.datetime, count: int) -> None:
    words = f"in {count} months" if count >= 0 else f"{-count} months ago"

    span = values.moment(words, moment.replace(tzinfo=dt.UTC))

    day = EPOCH + dt.timedelta(microseconds=int(span.first))
    assert int(span.last) - int(span.first) == DAY - 1
    assert (day.year * 12 + day.month) - (moment.year * 12 + moment.month) == count
    assert day.day == min(moment.day, calendar.monthrange(day.year, day.month)[1])


@pytest.mark.parametrize(
    "text",
    ["", "ago", "30 days", "days ago", "-3 days ago", "1.5 days ago", "in days", "todays", "3 fortnights ago",
     "1000000 days ago", "٣ days ago", "30 days ago!", "last week", "in 3 days ago"],
)  # fmt: skip
def test_words_that_count_from_nothing(text: str) -> None:
    assert conditions.relative(text) is None


@pytest.mark.parametrize(
    ("first", "last", "backwards"),
    [
        ("30 days ago", "today", False), ("today", "30 days ago", True), ("1 month ago", "30 days ago", False),
        ("30 days ago", "1 month ago", True), ("now", "now", False), ("12 months ago", "1 year ago", False),
        ("48 hours ago", "1 day ago", False), ("in 1 hour", "now", True),
    ],
)  # fmt: skip
def test_which_of_two_times_comes_first(first: str, last: str, backwards: bool) -> None:
    told = conditions.relative(first), conditions.relative(last)

    assert told[0] is not None
    assert told[1] is not None
    assert values.is_backwards(*told) is backwards
