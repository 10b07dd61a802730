"""Which value becomes what of every type, and what is said of one that does not fit."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from tidegate.shape import conversions, targets
from tidegate.shape.targets import Target

D = decimal.Decimal
NOON = dt.datetime(2024, 1, 31, 12, tzinfo=dt.UTC)
DAY = dt.date(2024, 1, 31)
BERLIN = dt.timezone(dt.timedelta(hours=1))


def one(type: Any, value: object, **more: Any) -> object:
    return conversions.one(value, Target(type, **more))


def why(type: Any, value: object, **more: Any) -> str:
    """What is said of a value that does not fit the property x."""
    with pytest.raises(targets.Unfit) as caught:
        one(type, value, **more)
    return caught.value.sentence("x", "the field holds")


@pytest.mark.parametrize(
    ("type", "value", "expected"),
    [
        ("string", "  as it is ", "  as it is "),
        ("string", "", ""),
        ("string", 7, "7"),
        ("string", 10**30, "1" + "0" * 30),
        ("string", D("1.500"), "1.5"),
        ("string", D("1E+3"), "1000"),
        ("string", D("-0.0"), "0"),
        ("string", 1e21, "1" + "0" * 21),
        ("string", 0.1, "0.1"),
        ("string", True, "true"),
        ("string", NOON, "2024-01-31T12:00:00Z"),
        ("string", NOON.replace(microsecond=250_000), "2024-01-31T12:00:00.250000Z"),
        ("string", NOON.astimezone(BERLIN), "2024-01-31T12:00:00Z"),
        ("string", DAY, "2024-01-31"),
        ("string", "half \ud800", "half \ufffd"),
        ("integer", 7, 7),
        ("integer", 7.0, 7),
        ("integer", D("7.00"), 7),
        ("integer", D("1E3"), 1000),
        ("integer", " -007 ", -7),
        ("integer", "+7", 7),
        ("integer", 2**63 - 1, 2**63 - 1),
        ("integer", str(-(2**63)), -(2**63)),
        ("integer", NOON, 1_706_702_400),
        ("number", 0.1, 0.1),
        ("number", 7, 7.0),
        ("number", D("0.1"), 0.1),
        ("number", "1e3", 1000.0),
        ("number", " .5 ", 0.5),
        ("number", 2**53, float(2**53)),
        ("decimal", 7, D(7)),
        ("decimal", 0.1, D("0.1")),
        ("decimal", "12345678901234567890123456.123456789012", D("12345678901234567890123456.123456789012")),
        ("decimal", "1e-12", D("1e-12")),
        ("decimal", NOON.replace(microsecond=1), D("1706702400.000001")),
        ("boolean", True, True),
        ("boolean", " True ", True),
        ("boolean", "false", False),
        ("timestamp", NOON, NOON),
        ("timestamp", NOON.replace(tzinfo=None), NOON),
        ("timestamp", NOON.astimezone(BERLIN), NOON),
        ("timestamp", DAY, NOON.replace(hour=0)),
        ("timestamp", 1_706_702_400, NOON),
        ("timestamp", -1, dt.datetime(1969, 12, 31, 23, 59, 59, tzinfo=dt.UTC)),
        ("timestamp", D("1706702400.25"), NOON.replace(microsecond=250_000)),
        ("timestamp", 1706702400.25, NOON.replace(microsecond=250_000)),
        ("timestamp", "1706702400", NOON),
        ("timestamp", "1706702400.25", NOON.replace(microsecond=250_000)),
        ("timestamp", "2024-01-31", NOON.replace(hour=0)),
        ("timestamp", "2024-01-31T12:00:00Z", NOON),
        ("timestamp", "2024-01-31t12:00:00z", NOON),
        ("timestamp", "2024-01-31 12:00", NOON),
        ("timestamp", "2024-01-31 12:00:00+00", NOON),
        ("timestamp", "2024-01-31T13:00:00.5+01:00", NOON.replace(microsecond=500_000)),
        ("timestamp", "2024-01-31T12:00:00,123456000Z", NOON.replace(microsecond=123_456)),
        ("date", DAY, "2024-01-31"),
        ("date", " 2024-02-29 ", "2024-02-29"),
        ("date", NOON, "2024-01-31"),
        ("date", dt.datetime(2024, 2, 1, 0, 30, tzinfo=BERLIN), "2024-01-31"),
        ("date", "2024-02-01T00:30:00+01:00", "2024-01-31"),
        ("date", 1_706_702_400, "2024-01-31"),
        ("date", dt.date(33, 4, 3), "0033-04-03"),
        ("json", "text", '"text"'),
        ("json", '{"a":1}', '"{\\"a\\":1}"'),
        ("json", 2**70, str(2**70)),
        ("json", D("1.50"), "1.50"),
        ("json", NOON, '"2024-01-31T12:00:00Z"'),
        ("json", {"a": [DAY, None, True, {}]}, '{"a":["2024-01-31",null,true,{}]}'),
        ("object", {"any": {"thing": 1}}, '{"any":{"thing":1}}'),
        ("array", ["a", 1, None, [2]], '["a",1,null,[2]]'),
    ],
)
def test_what_fits(type: str, value: object, expected: object) -> None:
    found = one(type, value)
    assert (found, found.__class__) == (expected, expected.__class__)


@pytest.mark.parametrize(
    ("type", "value", "said"),
    [
        ("string", {"a": 1}, "wants text; the field holds an object"),
        ("string", ["a"], "wants text; the field holds a list"),
        ("string", b"a", "wants text; the field holds a value of the type bytes"),
        ("string", math.nan, "wants text; the field holds one that is infinite or not a number (NaN)"),
        ("string", D("1e1000"), "wants text; the field holds a number of more than 400 digits"),
        ("string", -(10**1000), "wants text; the field holds a number of more than 400 digits"),
        ("integer", "", "wants a whole number; the field holds text that is none"),
        ("integer", "1e3", "wants a whole number; the field holds text that is none"),
        ("integer", "7.0", "wants a whole number; the field holds text that is none"),
        ("integer", "1,000", "wants a whole number; the field holds text that is none"),
        ("integer", "٧", "wants a whole number; the field holds text that is none"),
        ("integer", "1" * 5000, "wants a whole number; the field holds text that is none"),
        ("integer", True, "wants a whole number; the field holds true or false"),
        ("integer", 7.5, "wants a whole number; the field holds a number with a fraction"),
        ("integer", 2**63, "wants a whole number; the field holds a number of more than 64 bits"),
        ("integer", D("1e300"), "wants a whole number; the field holds a number of more than 64 bits"),
        ("integer", math.inf, "the field holds one that is infinite or not a number (NaN)"),
        ("integer", DAY, "wants a whole number; the field holds a date"),
        ("integer", NOON.replace(microsecond=1), "the field holds a time with a part of a second"),
        ("number", "NaN", "wants a number; the field holds text that is none"),
        ("number", "inf", "wants a number; the field holds text that is none"),
        ("number", math.nan, "wants a number; the field holds one that is infinite or not a number (NaN)"),
        ("number", False, "wants a number; the field holds true or false"),
        ("number", NOON, "wants a number; the field holds a time"),
        ("number", "1e400", "wants a number; the field holds a number of more than 400 digits"),
        ("number", 2**53 + 1, "holds one of more digits than a binary number keeps; a decimal may keep them"),
        ("number", D("0.12345678901234567890"), "one of more digits than a binary number keeps"),
        ("number", D("1e309"), "one of more digits than a binary number keeps"),
        ("decimal", "1e26", "the field holds one of more than 26 digits before the point"),
        ("decimal", 10**26, "the field holds one of more than 26 digits before the point"),
        ("decimal", D("1e-13"), "the field holds one of more than 12 digits after the point"),
        ("decimal", 1e-13, "the field holds one of more than 12 digits after the point"),
        ("decimal", D("Infinity"), "holds one that is infinite or not a number (NaN)"),
        ("decimal", "0x10", "wants a decimal number; the field holds text that is none"),
        ("boolean", 1, "wants true or false; the field holds a whole number"),
        ("boolean", "yes", "wants true or false; the field holds text that is none"),
        ("boolean", "1", "wants true or false; the field holds text that is none"),
        ("timestamp", "soon", "wants a time; the field holds text that is none"),
        ("timestamp", "20240131", "wants a time; the field holds text that is none"),
        ("timestamp", "2024", "wants a time; the field holds text that is none"),
        ("timestamp", "1706702400000", "wants a time; the field holds text that is none"),
        ("timestamp", "2024-02-30", "wants a time; the field holds text that is none"),
        ("timestamp", "2024-01-31T24:30:00", "wants a time; the field holds text that is none"),
        ("timestamp", "31.01.2024", "wants a time; the field holds text that is none"),
        ("timestamp", "0001-01-01T00:00:00+01:00", "the field holds a time outside of the years 1 to 9999"),
        ("timestamp", "2024-01-31T12:00:00.1234567Z", "the field holds a time of more than six places"),
        ("timestamp", D("0.0000001"), "the field holds a time of more than six places"),
        ("timestamp", 1_706_702_400_000, "holds a number that is no time, in unix seconds, of the years 1 to 9999"),
        ("timestamp", 10**11 * 4, "holds a number that is no time, in unix seconds, of the years 1 to 9999"),
        ("timestamp", True, "wants a time; the field holds true or false"),
        ("date", "2023-02-29", "wants a date; the field holds text that is none"),
        ("date", "yesterday", "wants a date; the field holds text that is none"),
        ("date", [], "wants a date; the field holds a list"),
        ("json", {"a": [math.nan]}, "x.a.0 wants a value that JSON has; the field holds one that is"),
        ("json", {"a": {1, 2}}, "x.a wants a value that JSON has; the field holds a value of the type set"),
        ("json", {1: 2}, "the field holds an object with a key that is a whole number"),
        ("object", "{}", "wants an object; the field holds text"),
        ("object", [], "wants an object; the field holds a list"),
        ("array", "a,b", "wants a list; the field holds text"),
        ("array", {}, "wants a list; the field holds an object"),
    ],
)  # fmt: skip
def test_what_does_not_fit(type: str, value: object, said: str) -> None:
    sentence = why(type, value)
    assert sentence.startswith("the property x")
    assert said in sentence


@pytest.mark.parametrize("type", targets.ARROW)
def test_null_stays_null(type: str) -> None:
    assert one(type, None) is None


ADDRESS = (
    ("city", Target("string")),
    ("since", Target("timestamp")),
    ("rate", Target("decimal")),
    ("flats", Target("array", items=Target("integer"))),
)


def test_the_inside_of_an_object_is_converted_too() -> None:
    given = {"city": 7, "since": 1_706_702_400, "rate": "1.50", "flats": ["1", None, 2.0], "zip": "left out"}
    assert one("object", given, members=ADDRESS) == (
        '{"city":"7","since":"2024-01-31T12:00:00Z","rate":1.5,"flats":[1,null,2]}'
    )
    assert one("object", {}, members=ADDRESS) == '{"city":null,"since":null,"rate":null,"flats":null}'


def test_what_does_not_fit_inside_says_where_it_stands() -> None:
    assert why("object", {"flats": [1, "secret"]}, members=ADDRESS) == (
        "the property x.flats.1 wants a whole number; the field holds text that is none"
    )
    assert why("array", [[1], "secret"], items=Target("array")) == (
        "the property x.1 wants a list; the field holds text"
    )


def test_strictly_an_object_has_no_other_keys() -> None:
    convert = conversions.converter(Target("object", ADDRESS), True)
    for key, said in (
        ("ctiy", "the property x has no key ctiy; did you mean city?"),
        ("zip", "the property x has no key zip; it has city, since, rate, flats"),
        (7, "the property x has no key named by a whole number; write it as text"),
    ):
        with pytest.raises(targets.Unfit) as caught:
            convert({"city": "Bonn", key: 1})
        assert caught.value.sentence("x", "the function gives") == said


def test_what_is_nested_too_deep_or_in_a_circle_does_not_fit() -> None:
    deep: list[Any] = []
    deep.append(deep)
    assert why("json", deep) == (
        "the property x wants a value that JSON has; the field holds something that is nested too deep"
    )
    assert "nested too deep" in why("array", deep)


TIMES = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30)).map(
    lambda when: when.replace(tzinfo=dt.UTC)
)
DECIMALS = st.decimals(-(10**25), 10**25, places=12)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("there", "back", "values"),
    [
        ("string", "integer", INTEGERS),
        ("string", "number", FLOATS),
        ("string", "decimal", DECIMALS),
        ("string", "boolean", st.booleans()),
        ("string", "timestamp", TIMES),
        ("decimal", "timestamp", TIMES),
        ("decimal", "integer", INTEGERS),
        ("integer", "timestamp", TIMES.map(lambda when: when.replace(microsecond=0))),
        ("number", "integer", st.integers(-(2**53), 2**53)),
        ("timestamp", "date", st.dates(dt.date(1, 1, 2), dt.date(9999, 12, 30)).map(dt.date.isoformat)),
    ],
)
@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(data=st.data())
def test_there_and_back_is_the_same(there: Any, back: Any, values: Any, data: st.DataObject) -> None:
    value = data.draw(values)
    assert one(back, one(there, value)) == value


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.decimals() | st.text() | TIMES | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(value=ANYTHING, type=st.sampled_from(sorted(targets.ARROW)))
def test_a_value_becomes_one_of_the_type_or_is_unfit(value: object, type: Any) -> None:
    classes = {"integer": int, "number": float, "decimal": D, "boolean": bool, "timestamp": dt.datetime}
    try:
        found = one(type, value)
    except targets.Unfit as reason:
        said = reason.sentence("x", "it is")
        found = None
    else:
        said = ""
    assert (found is None) == (value is None or bool(said))
    if said:
        assert f" wants {targets.WANTS[type]}; it is " in said or reason_is_inside(said)
    elif type in targets.DOCUMENTS and found is not None:
        json.loads(str(found), parse_constant=pytest.fail)
    elif found is not None:
        assert found.__class__ is classes.get(type, str)
        assert one(type, found) == found


def reason_is_inside(said: str) -> bool:
    """Is it about something inside a list or an object?"""
    return said.startswith("the property x.") and " wants a value that JSON has; it is " in said
