"""Every operator on every type of field, what null and missing mean, and what a filter refuses."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydantic
import pytest

from tidegate import config, errors
from tidegate.config import document
from tidegate.shape import filters, stage

JSON = {b"tidegate": b"json"}
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("name", pa.string()),
        pa.field("amount", pa.int64()),
        pa.field("rate", pa.decimal128(38, 12)),
        pa.field("percent", pa.float64()),
        pa.field("live", pa.bool_()),
        pa.field("created", pa.timestamp("us", "UTC")),
        pa.field("address", pa.string(), metadata=JSON),
        pa.field("metadata", pa.string(), metadata=JSON),
    ]
)
FILTER: pydantic.TypeAdapter[config.Filter] = pydantic.TypeAdapter(config.Filter)


def table(*rows: dict[str, Any]) -> pa.Table:
    """Rows by column, what is not said is NULL; objects become JSON text, texts are taken as JSON."""
    shown = [
        {
            name: json.dumps(value) if isinstance(value, dict | list) else value
            for name, value in {"id": f"th_{n}", **row}.items()
        }
        for n, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(shown, SCHEMA)


def holds(tree: dict[str, Any], *rows: dict[str, Any], now: dt.datetime | None = None) -> list[bool]:
    """For each row whether a filter, as the file has it, holds."""
    found = filters.compile(FILTER.validate_python(tree), SCHEMA, now).matches(table(*rows))
    assert found.type == pa.bool_()
    assert found.null_count == 0
    answer: list[bool] = found.to_pylist()
    return answer


def where(field: str, op: str, value: object = None, **more: object) -> dict[str, Any]:
    """One condition."""
    return {"field": field, "op": op, **({} if value is None else {"value": value}), **more}


def day(number: int, hour: int = 0) -> dt.datetime:
    return dt.datetime(2024, 3, number, hour, tzinfo=dt.UTC)


LATE = dt.datetime(2024, 3, 10, 23, 59, 59, 999_999, tzinfo=dt.UTC)
D = decimal.Decimal
YES, NO = True, False


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [
        ("is", "pro", [YES, NO, NO, NO]),
        ("is not", "pro", [NO, YES, YES, YES]),
        ("is one of", ["pro", ""], [YES, NO, YES, NO]),
        ("is not one of", ["pro", ""], [NO, YES, NO, YES]),
        ("<", "Pro", [NO, NO, YES, NO]),
        ("<=", "Pro", [NO, YES, YES, NO]),
        (">", "Pro", [YES, NO, NO, NO]),
        (">=", "Pro", [YES, YES, NO, NO]),
        ("is between", ["Pro", "pro"], [YES, YES, NO, NO]),
        ("is not between", ["Pro", "pro"], [NO, NO, YES, YES]),
        ("contains", "ro", [YES, YES, NO, NO]),
        ("contains", "", [YES, YES, YES, NO]),
        ("does not contain", "ro", [NO, NO, YES, YES]),
        ("starts with", "p", [YES, NO, NO, NO]),
        ("ends with", "o", [YES, YES, NO, NO]),
        ("is empty", None, [NO, NO, YES, YES]),
        ("is not empty", None, [YES, YES, NO, NO]),
        ("is null", None, [NO, NO, NO, YES]),
        ("is not null", None, [YES, YES, YES, NO]),
        ("exists", None, [YES, YES, YES, NO]),
        ("does not exist", None, [NO, NO, NO, YES]),
    ],
)
def test_text(op: str, value: object, expected: list[bool]) -> None:
    rows = [{"name": "pro"}, {"name": "Pro"}, {"name": ""}, {"name": None}]
    assert holds(where("name", op, value), *rows) == expected


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [
        ("is", "ÉCLAIR", [YES, YES, NO]),
        ("is not", "éclair", [NO, NO, YES]),
        ("is one of", ["x", "ÉCLAIR"], [YES, YES, NO]),
        (">=", "ÉCLAIR", [YES, YES, NO]),
        ("is between", ["É", "ÉD"], [YES, YES, NO]),
        ("contains", "CLAI", [YES, YES, NO]),
        ("starts with", "é", [YES, YES, NO]),
        ("ends with", "r", [YES, YES, NO]),
    ],
)
def test_text_without_regard_to_case(op: str, value: object, expected: list[bool]) -> None:
    rows = [{"name": "éclair"}, {"name": "Éclair"}, {"name": None}]
    assert holds(where("name", op, value, ignore_case=True), *rows) == expected
    inside = [{"metadata": {"k": row["name"]} if row["name"] else {}} for row in rows]
    assert holds(where("metadata.k", op, value, ignore_case=True), *inside) == expected


@pytest.mark.parametrize(
    "text", ["100%", "a_c", "it's", '"', "\\", "$1", "'; DROP TABLE x; --", "a\0b", "日本"]
)
def test_a_literal_is_never_a_pattern_nor_sql(text: str) -> None:
    rows = [{"name": text}, {"name": "abc"}, {"name": "1000"}]
    for op in ("is", "contains", "starts with", "ends with"):
        assert holds(where("name", op, text), *rows) == [YES, NO, NO]
    assert holds(where("name", "is one of", [text, "x"]), *rows) == [YES, NO, NO]
    field = 'metadata."' + text.replace('"', '""') + '"'
    assert holds(where(field, "is", text), {"metadata": {text: text}}, {"metadata": {}}) == [YES, NO]


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [
        ("is", 5, [YES, NO, NO]),
        ("is", 5.0, [YES, NO, NO]),
        ("is", "5", [YES, NO, NO]),
        ("is not", 5, [NO, YES, YES]),
        ("is one of", [5, "-3", 2.5], [YES, YES, NO]),
        ("is not one of", [5, 7], [NO, YES, YES]),
        ("<", 5, [NO, YES, NO]),
        ("<=", 4.9, [NO, YES, NO]),
        (">", -3, [YES, NO, NO]),
        (">=", -3, [YES, YES, NO]),
        ("is between", [-3, 5], [YES, YES, NO]),
        ("is not between", [-3, 4], [YES, NO, YES]),
        ("is empty", None, [NO, NO, YES]),
        ("is not empty", None, [YES, YES, NO]),
        ("is null", None, [NO, NO, YES]),
        ("exists", None, [YES, YES, NO]),
        ("does not exist", None, [NO, NO, YES]),
    ],
)
@pytest.mark.parametrize("field", ["amount", "rate", "percent", "metadata.n", "address.n"])
def test_numbers_of_every_type(field: str, op: str, value: object, expected: list[bool]) -> None:
    """In metadata numbers are text, in other objects they are numbers."""
    rows: dict[str, list[dict[str, Any]]] = {
        "amount": [{"amount": 5}, {"amount": -3}, {}],
        "rate": [{"rate": D("5.0")}, {"rate": D(-3)}, {}],
        "percent": [{"percent": 5.0}, {"percent": -3.0}, {}],
        "metadata.n": [{"metadata": {"n": "5"}}, {"metadata": {"n": "-3.0"}}, {"metadata": {}}],
        "address.n": [{"address": {"n": 5}}, {"address": {"n": -3.0}}, {}],
    }
    if field == "metadata.n" and isinstance(value, str):
        value = float(value)  # text is compared with text there
    if field.endswith(".n") and isinstance(value, list):
        value = [float(each) for each in value]
    assert holds(where(field, op, value), *rows[field]) == expected


def test_big_integers_and_small_decimals_stay_exact() -> None:
    big = 9_007_199_254_740_993  # no double is this number
    rows: list[dict[str, Any]] = [{"amount": big}, {"amount": big - 1}]
    assert holds(where("amount", "is", big), *rows) == [YES, NO]
    assert holds(where("amount", ">", big - 1), *rows) == [YES, NO]
    rows = [{"rate": D("0.000000000001")}, {"rate": D("0.000000000002")}]
    assert holds(where("rate", "is", "0.000000000001"), *rows) == [YES, NO]
    rows = [{"address": '{"n":18446744073709551617}'}, {"address": '{"n":18446744073709551616}'}]
    assert holds(where("address.n", "is", 2**64 + 1), *rows) == [YES, NO]
    rows = [{"address": '{"n":0.30000000000000004}'}, {"address": '{"n":0.3}'}, {"address": '{"n":0.29}'}]
    assert holds(where("address.n", "is", 0.3), *rows) == [NO, YES, NO]
    assert holds(where("address.n", "<=", 0.3), *rows) == [NO, YES, YES]
    assert holds(where("address.n", ">", 0.3), *rows) == [YES, NO, NO]
    rows = [{"address": '{"n":1e400}'}, {"address": '{"n":-1e400}'}]
    assert holds(where("address.n", ">", 10**24), *rows) == [YES, NO]
    assert holds(where("address.n", "is", 10**24), *rows) == [NO, NO]


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [
        ("is true", None, [YES, NO, NO]),
        ("is false", None, [NO, YES, NO]),
        ("is", True, [YES, NO, NO]),
        ("is not", True, [NO, YES, YES]),
        ("is one of", [True, False], [YES, YES, NO]),
        ("is not one of", [False], [YES, NO, YES]),
        ("is empty", None, [NO, NO, YES]),
        ("is null", None, [NO, NO, YES]),
    ],
)
def test_booleans(op: str, value: object, expected: list[bool]) -> None:
    """Metadata has no booleans but their names."""
    assert holds(where("live", op, value), {"live": True}, {"live": False}, {}) == expected
    inside: list[dict[str, Any]] = [
        {"metadata": {"b": "True"}},
        {"metadata": {"b": "false"}},
        {"metadata": {}},
    ]
    assert holds(where("metadata.b", op, value), *inside) == expected
    inside = [{"address": {"b": True}}, {"address": {"b": False}}, {"address": {}}]
    assert holds(where("address.b", op, value), *inside) == expected


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [
        ("is before", "2024-03-10", [YES, NO, NO, NO, NO]),
        ("is on or before", "2024-03-10", [YES, YES, YES, NO, NO]),
        ("is after", "2024-03-10", [NO, NO, NO, YES, NO]),
        ("is on or after", "2024-03-10", [NO, YES, YES, YES, NO]),
        ("is", "2024-03-10", [NO, YES, YES, NO, NO]),
        ("is not", "2024-03-10", [YES, NO, NO, YES, YES]),
        ("is between", ["2024-03-09", "2024-03-10"], [YES, YES, YES, NO, NO]),
        ("is not between", ["2024-03-09", "2024-03-10"], [NO, NO, NO, YES, YES]),
        ("is one of", ["2024-03-09", "2024-03-11T00:00:00Z"], [YES, NO, NO, YES, NO]),
        ("is not one of", ["2024-03-09"], [NO, YES, YES, YES, YES]),
        ("is before", "2024-03-10T00:00:00Z", [YES, NO, NO, NO, NO]),
        ("is on or before", "2024-03-10T01:00:00+01:00", [YES, YES, NO, NO, NO]),
        (">", 1_710_028_800, [NO, NO, YES, YES, NO]),
        (">=", 1_710_028_800, [NO, YES, YES, YES, NO]),
        ("<", "1710028800", [YES, NO, NO, NO, NO]),
        ("<=", 1_710_028_800, [YES, YES, NO, NO, NO]),
        ("is", 1_710_028_800, [NO, YES, NO, NO, NO]),
        ("is null", None, [NO, NO, NO, NO, YES]),
        ("is not empty", None, [YES, YES, YES, YES, NO]),
    ],
)
def test_times(op: str, value: object, expected: list[bool]) -> None:
    """A date means the whole day, in UTC."""
    times = [day(9, 23), day(10), LATE, day(11), None]
    assert holds(where("created", op, value), *({"created": time} for time in times)) == expected


@pytest.mark.parametrize("field", ["amount", "name", "metadata.t", "address.t"])
def test_unix_seconds_and_iso_text_are_times_where_a_date_is_asked_for(field: str) -> None:
    rows: dict[str, list[dict[str, Any]]] = {
        "amount": [{"amount": 1_710_028_799}, {"amount": 1_710_028_800}, {"amount": 2**63 - 1}, {}],
        "name": [
            {"name": "2024-03-09T23:59:59Z"},
            {"name": "2024-03-10"},
            {"name": "2024-03-11"},
            {"name": "x"},
        ],
        "metadata.t": [{"metadata": {"t": t}} for t in ("1710028799", "2024-03-10", "2024-03-11", "soon")],
        "address.t": [{"address": {"t": t}} for t in (1_710_028_799, 1_710_028_800.5, "2024-03-11", None)],
    }
    assert holds(where(field, "is before", "2024-03-10"), *rows[field]) == [YES, NO, NO, NO]
    assert holds(where(field, "is on or before", "2024-03-10"), *rows[field]) == [YES, YES, NO, NO]
    assert holds(where(field, "is after", "2024-03-10"), *rows[field]) == [NO, NO, YES, NO]
    assert holds(where(field, "is on or after", "2024-03-10"), *rows[field]) == [NO, YES, YES, NO]


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [
        ("is on or after", "2 days ago", [NO, YES, YES, YES, NO]),
        ("is after", "2 days ago", [NO, NO, YES, YES, NO]),
        ("is before", "2 days ago", [YES, NO, NO, NO, NO]),
        ("is on or before", "2 days ago", [YES, YES, NO, NO, NO]),
        ("is", "today", [NO, NO, YES, NO, NO]),
        ("is not", "today", [YES, YES, NO, YES, YES]),
        ("is one of", ["2 days ago", "tomorrow"], [NO, YES, NO, YES, NO]),
        ("is between", ["yesterday", "in 1 week"], [NO, NO, YES, YES, NO]),
        ("is not between", ["2024-03-08", "now"], [YES, NO, NO, YES, YES]),
        ("<", "now", [YES, YES, YES, NO, NO]),
        ("is after", "now", [NO, NO, NO, YES, NO]),
        ("is after", "25 hours ago", [NO, NO, YES, YES, NO]),
        ("is before", "in 1440 minutes", [YES, YES, YES, YES, NO]),
    ],
)
def test_times_that_count_from_the_moment_of_a_run(op: str, value: object, expected: list[bool]) -> None:
    times = [day(7, 23), day(8, 23), day(10), day(11, 11), None]
    told = [{"created": time} for time in times]
    assert holds(where("created", op, value), *told, now=day(10, 12)) == expected


def test_words_are_times_only_where_the_field_or_the_operator_is_of_time() -> None:
    rows: list[dict[str, Any]] = [{"name": "today", "metadata": {"k": "today"}}, {"name": "2024-03-10"}]
    assert holds(where("name", "is", "today"), *rows, now=day(10)) == [YES, NO]
    assert holds(where("metadata.k", "is one of", ["today"]), *rows, now=day(10)) == [YES, NO]
    assert holds(where("name", "is between", ["today", "yesterday"]), *rows, now=day(10)) == [YES, NO]
    assert holds(where("name", "is on or after", "today"), *rows, now=day(10)) == [NO, YES]
    assert holds(where("metadata.k", "is before", "tomorrow"), *rows, now=day(10)) == [NO, NO]


def test_two_times_of_which_one_moves_may_pass_each_other() -> None:
    """In March a month ago is later than 30 days ago: no row then, and no error."""
    row = {"created": dt.datetime(2024, 2, 14, 12, tzinfo=dt.UTC)}
    both = where("created", "is between", ["1 month ago", "30 days ago"])
    assert holds(both, row, now=dt.datetime(2024, 3, 15, tzinfo=dt.UTC)) == [NO]
    assert holds(both, row, now=dt.datetime(2024, 3, 14, tzinfo=dt.UTC)) == [NO]
    row_of_april = {"created": dt.datetime(2024, 4, 15, 12, tzinfo=dt.UTC)}
    assert holds(both, row_of_april, now=dt.datetime(2024, 5, 15, tzinfo=dt.UTC)) == [YES]
    assert holds(where("created", "is between", ["2024-02-01", "30 days ago"]), row, now=day(30)) == [YES]
    assert holds(where("created", "is between", ["2024-03-01", "30 days ago"]), row, now=day(15)) == [NO]


def test_without_a_moment_times_count_from_now() -> None:
    now = dt.datetime.now(dt.UTC)
    rows = table({"created": now - dt.timedelta(hours=1)}, {"created": now + dt.timedelta(hours=1)})
    predicate = filters.compile(FILTER.validate_python(where("created", "is after", "now")), SCHEMA)
    assert predicate.matches(rows).to_pylist() == [NO, YES]


@pytest.mark.parametrize(
    ("tree", "moves", "may_move"),
    [
        (where("created", "is on or after", "30 days ago"), YES, YES),
        (where("created", "is", "today"), YES, YES),
        (where("created", "is not one of", ["2024-01-01", "today"]), YES, YES),
        (where("created", "is", "2024-01-01"), NO, NO),
        (where("name", "is before", "now"), YES, YES),
        (where("name", "is", "today"), NO, YES),
        (where("name", "contains", "today"), NO, NO),
        (where("metadata.k", "is between", ["today", "tomorrow"]), NO, YES),
        ({"all": [where("amount", "is", 1), {"any": [where("created", ">", "now")]}]}, YES, YES),
        ({"any": [where("amount", "is", 1), where("name", "is null")]}, NO, NO),
    ],
)
def test_whether_an_answer_changes_with_time(tree: dict[str, Any], moves: bool, may_move: bool) -> None:
    """Without a schema every word that may be a time is taken for one."""
    assert filters.moves(FILTER.validate_python(tree), SCHEMA) is moves
    assert filters.moves(FILTER.validate_python(tree)) is may_move


@pytest.mark.parametrize(
    ("op", "missing", "null", "empty", "full"),
    [
        ("exists", NO, YES, YES, YES),
        ("does not exist", YES, NO, NO, NO),
        ("is null", YES, YES, NO, NO),
        ("is not null", NO, NO, YES, YES),
        ("is empty", YES, YES, YES, NO),
        ("is not empty", NO, NO, NO, YES),
    ],
)
@pytest.mark.parametrize(
    ("empty_value", "value"), [("", "x"), ([], [None]), ({}, {"a": 1}), ("", 0), ("", False)]
)
def test_missing_null_and_empty_are_told_apart(
    op: str, missing: bool, null: bool, empty: bool, full: bool, empty_value: object, value: object
) -> None:
    rows = [{"address": each} for each in ({}, {"k": None}, {"k": empty_value}, {"k": value})]
    assert holds(where("address.k", op), *rows) == [missing, null, empty, full]
    # A column that is NULL has nothing inside it either.
    assert holds(where("address.k", op), {"address": None}) == [missing]


@pytest.mark.parametrize(
    ("op", "value"),
    [
        ("is not", True), ("is not", "pro"), ("is not", 5), ("is not one of", ["pro"]), ("is not between", [1, 2]),
        ("does not contain", "x"), ("does not exist", None),
    ],
)  # fmt: skip
def test_what_is_missing_satisfies_every_negative_condition(op: str, value: object) -> None:
    rows: list[dict[str, Any]] = [{"metadata": {}}, {"metadata": None}]
    assert holds(where("metadata.internal", op, value), *rows) == [YES, YES]


@pytest.mark.parametrize(
    ("op", "value"),
    [
        ("is", True), ("is", "pro"), ("is", 5), ("is one of", ["pro", 5, True]), ("is between", [1, 2]), ("<", "x"),
        (">=", 0), ("contains", ""), ("starts with", ""), ("ends with", ""), ("is before", "2024-01-01"),
        ("is on or after", 0), ("is true", None), ("is false", None), ("exists", None),
    ],
)  # fmt: skip
def test_what_is_missing_satisfies_no_other_condition(op: str, value: object) -> None:
    rows: list[dict[str, Any]] = [{"metadata": {}}, {"metadata": None}, {"address": {"internal": None}}]
    assert holds(where("metadata.internal", op, value), *rows) == [NO, NO, NO]
    if op != "exists":
        assert holds(where("address.internal", op, value), *rows) == [NO, NO, NO]


def test_inside_json_the_literal_says_how_to_compare() -> None:
    rows: list[dict[str, Any]] = [
        {"address": {"k": k}} for k in ("10", 10, "9", "pro", True, "true", [10], None)
    ]
    assert holds(where("address.k", "is", 10), *rows) == [YES, YES, NO, NO, NO, NO, NO, NO]
    assert holds(where("address.k", "is", "10"), *rows) == [YES, YES, NO, NO, NO, NO, NO, NO]
    assert holds(where("address.k", "<", 10), *rows) == [NO, NO, YES, NO, NO, NO, NO, NO]
    assert holds(where("address.k", "<", "9"), *rows) == [YES, YES, NO, NO, NO, NO, NO, NO]
    assert holds(where("address.k", "is", True), *rows) == [NO, NO, NO, NO, YES, YES, NO, NO]
    mixed = ["pro", 10, True]
    assert holds(where("address.k", "is one of", mixed), *rows) == [YES, YES, NO, YES, YES, YES, NO, NO]
    assert holds(where("address.k", "is not one of", mixed), *rows) == [NO, NO, YES, NO, NO, NO, YES, YES]


def test_a_list_contains_a_value_and_text_contains_text() -> None:
    rows: list[dict[str, Any]] = [
        {"address": {"k": k}} for k in (["de", "FR", 5, True, None], "a de b", {"de": 1}, [])
    ]
    assert holds(where("address.k", "contains", "de"), *rows) == [YES, YES, NO, NO]
    assert holds(where("address.k", "contains", "d"), *rows) == [NO, YES, NO, NO]
    assert holds(where("address.k", "does not contain", "de"), *rows) == [NO, NO, YES, YES]
    assert holds(where("address.k", "contains", "fr", ignore_case=True), *rows) == [YES, NO, NO, NO]
    assert holds(where("address.k", "contains", 5), *rows) == [YES, NO, NO, NO]
    assert holds(where("address.k", "contains", True), *rows) == [YES, NO, NO, NO]
    assert holds(where("address.k.1", "is", "FR"), *rows) == [YES, NO, NO, NO]
    assert holds(where("address.k", "starts with", "a"), *rows) == [NO, YES, NO, NO]


def test_a_metadata_key_may_have_dots() -> None:
    rows: list[dict[str, Any]] = [{"metadata": {"order.id": "7"}}, {"metadata": {"order": {"id": "7"}}}]
    assert holds(where("metadata.order.id", "is", 7), *rows) == [YES, NO]
    assert holds(where('metadata."order.id"', "is", 7), *rows) == [YES, NO]
    rows = [{"address": {"order.id": "7"}}, {"address": {"order": {"id": "7"}}}]
    assert holds(where("address.order.id", "is", 7), *rows) == [NO, YES]
    assert holds(where('address."order.id"', "is", 7), *rows) == [YES, NO]


def test_half_a_surrogate_breaks_nothing() -> None:
    rows: list[dict[str, Any]] = [{"metadata": r'{"k":"a\ud800"}'}, {"metadata": '{"k":"b"}'}]
    assert holds(where("metadata.k", "starts with", "a"), *rows) == [YES, NO]
    assert holds(where("metadata.k", "is", "a\ud800"), *rows) == [YES, NO]
    assert holds(where("metadata.k", "contains", "b"), *rows) == [NO, YES]


def test_groups() -> None:
    rows: list[dict[str, Any]] = [
        {"amount": 1, "live": True},
        {"amount": 1, "live": False},
        {"amount": 2},
        {},
    ]
    one, live = where("amount", "is", 1), where("live", "is true")
    assert holds({"all": [one, live]}, *rows) == [YES, NO, NO, NO]
    assert holds({"any": [one, live]}, *rows) == [YES, YES, NO, NO]
    other = where("amount", "is not", 1)
    assert holds({"any": [{"all": [one, live]}, {"all": [other]}]}, *rows) == [YES, NO, YES, YES]
    assert holds({"all": [{"any": [one, other]}, other]}, *rows) == [NO, NO, YES, YES]


def test_many_conditions_and_long_lists() -> None:
    many = [where("amount", "is", n) for n in range(300)]
    assert holds({"any": many}, {"amount": 299}, {"amount": 300}) == [YES, NO]
    assert holds(where("amount", "is one of", list(range(5_000))), {"amount": 4_999}, {}) == [YES, NO]
    names = [str(n) for n in range(5_000)]
    assert holds(where("name", "is one of", names), {"name": "4999"}, {"name": "x"}) == [YES, NO]


def test_a_predicate_says_what_it_needs_and_works_on_a_part_of_the_columns() -> None:
    tree = {
        "all": [where("metadata.plan", "is", "pro"), where("metadata.n", ">", 1), where("amount", "is", 1)]
    }
    predicate = filters.compile(FILTER.validate_python(tree), SCHEMA)
    assert predicate.columns == {"metadata", "amount"}
    rows = table({"metadata": {"plan": "pro", "n": "2"}, "amount": 1}).select(["amount", "metadata"])
    assert predicate.matches(rows).to_pylist() == [YES]


def test_no_rows_and_rows_in_many_batches() -> None:
    predicate = filters.compile(FILTER.validate_python(where("amount", ">=", 5_000)), SCHEMA)
    assert predicate.matches(table()).to_pylist() == []
    parts = [pa.table({"amount": pa.arange(n, n + 700)}) for n in range(0, 9_800, 700)]
    found = predicate.matches(pa.concat_tables([*parts, pa.table({"amount": pa.array([], pa.int64())})]))
    assert found.to_pylist() == [n >= 5_000 for n in range(9_800)]


def test_several_threads_may_ask_at_once() -> None:
    rows = table(*({"amount": n} for n in range(100)))
    wrong: list[int] = []

    def ask(number: int) -> None:
        predicate = filters.compile(FILTER.validate_python(where("amount", "is", number)), SCHEMA)
        for _ in range(10):
            if predicate.matches(rows).to_pylist() != [n == number for n in range(100)]:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_engine_reaches_no_file_and_cannot_be_unlocked(tmp_path: Any) -> None:
    file = tmp_path / "x.csv"
    file.write_text("secret\n")
    with stage.engine().cursor() as session:
        for statement in (
            f"SELECT * FROM read_csv('{file}')",
            f"COPY (SELECT 1) TO '{tmp_path / 'y.csv'}'",
            f"ATTACH '{tmp_path / 'z.duckdb'}'",
            "INSTALL httpfs",
        ):
            with pytest.raises(Exception, match="disabled by configuration"):
                session.execute(statement)
        with pytest.raises(Exception, match="has been locked"):
            session.execute("SET enable_external_access = true")
    assert list(tmp_path.iterdir()) == [file]


# What is refused


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        (where("nmae", "is", "x"), "the filter names nmae, which is not there; did you mean name?"),
        (where("metdata.plan", "is", "x"), "names metdata.plan, which is not there; did you mean metadata.plan?"),
        (where("zzz", "is", "x"), "the filter names zzz, which is not there; check how it is written."),
        (where("a..b", "is", "x"), "names a..b, which is no field: no name at character 3; put dots between names"),
        (where("created.year", "is", 5), "names created.year, but created holds times and has nothing inside it"),
        (where("name.first", "is", "x"), "but name holds text and has nothing inside it"),
        (where("amount", "is", "many"), "cannot ask `is` of amount: the value must be a number"),
        (where("amount", "is", True), "cannot ask `is` of amount: the value must be a number"),
        (where("amount", "contains", "1"), "cannot ask `contains` of amount: it holds whole numbers"),
        (where("amount", "is true"), "cannot ask `is true` of amount: it holds whole numbers"),
        (where("rate", "is before", "2024-01-01"), "cannot ask `is before` of rate: it holds numbers"),
        (where("rate", "is", "0.0000000000001"), "25 digits before the point and 12 after it, not more"),
        (where("percent", "starts with", "1"), "cannot ask `starts with` of percent: it holds numbers"),
        (where("name", "is", 5), "it holds text, so the value must be text; put it in quotes"),
        (where("name", "is one of", ["a", 5]), "the value must be text; put it in quotes"),
        (where("name", "contains", 5), "the value must be text; put it in quotes"),
        (where("name", "is false"), "cannot ask `is false` of name: it holds text"),
        (where("live", "is", "yes"), "cannot ask `is` of live: the value must be true or false"),
        (where("live", ">", True), "cannot ask `>` of live: true and false have no order"),
        (where("live", "is not between", [True, False]), "true and false have no order"),
        (where("live", "is after", "2024-01-01"), "cannot ask `is after` of live: it holds true and false"),
        (where("created", "is", "soon"), "cannot ask `is` of created: the value must be a date (2024-01-31)"),
        (where("created", "<", True), "cannot ask `<` of created: the value must be a date (2024-01-31), a time"),
        (where("created", "is", "now"), "created: no row is from that very moment; ask `is after` or `is before`"),
        (where("created", "is one of", ["today", "2 hours ago"]), "or name a day: `today`, `3 days ago`"),
        (where("created", "is between", ["today", "30 days ago"]), "of created: the lower value must come first"),
        (where("created", "<", "9999 years ago"), "of created: the value lies before the year 1 or after the year"),
        (where("amount", "is", "today"), "cannot ask `is` of amount: the value must be a number"),
        (where("created", "contains", "2024"), "cannot ask `contains` of created: it holds times"),
        (where("amount", "is between", [5, 1]), "of amount: the lower value must come first"),
        (where("created", "is between", ["2024-02-01", "2024-01-01"]), "the lower value must come first"),
        (where("name", "is not between", ["b", "a"]), "the lower value must come first"),
        (where("metadata.k", "is between", [1, "b"]), "both values must be of one kind"),
        (where("metadata.k", "is before", "2024-13-01"), "ask `is before` of metadata.k: the value must be a date"),
        (where("metadata.k", "<", True), "cannot ask `<` of metadata.k: true and false have no order"),
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_asked_is_told_in_one_sentence(condition: dict[str, Any], says: str) -> None:
    for tree in (condition, {"all": [where("amount", "is", 1), {"any": [condition]}]}):
        with pytest.raises(errors.ConfigError) as caught:
            filters.compile(FILTER.validate_python(tree), SCHEMA)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["amount", "created", "live"])
def test_a_value_is_never_repeated_in_an_error(field: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        filters.compile(FILTER.validate_python(where(field, "is", "sk_live_hidden")), SCHEMA)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["soon", "30 dayz ago", "last week", "in three days", True, "", "12 o'clock"]
)
@pytest.mark.parametrize("op", ["is before", "is on or before", "is after", "is on or after"])
def test_the_file_itself_refuses_what_is_no_time(op: str, value: object) -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        FILTER.validate_python(where("metadata.k", op, value))
    (told,) = caught.value.errors()
    assert f"`{op}` needs a date (2024-01-31), a time (2024-01-31T12:00:00Z), unix seconds" in told["msg"]
    assert "`30 days ago`, `in 3 days`, `today` or `now`" in told["msg"]


def test_a_column_of_a_strange_type() -> None:
    schema = pa.schema([pa.field("a", pa.list_(pa.int64()))])
    with pytest.raises(errors.ConfigError, match="the column a has the type list"):
        filters.compile(FILTER.validate_python(where("a", "is null")), schema)


def test_the_examples_of_the_page_on_filters_can_be_asked() -> None:
    page = (Path(__file__).parents[2] / "docs" / "filters.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    customers = pa.schema([*SCHEMA, pa.field("delinquent", pa.bool_())])
    assert len(examples) == 3
    for example in examples:
        written: Any = document.parse(example, "filters.md").data
        filters.compile(FILTER.validate_python(written["filter"]), customers)


@pytest.mark.parametrize("levels", [1_000, 100_000])
@pytest.mark.parametrize(("opens", "closes"), [("[", "]"), ('{"a":', "}")])
def test_what_is_nested_deep_is_walked_like_anything_else(levels: int, opens: str, closes: str) -> None:
    far = opens * levels + "1" + closes * levels
    given = pa.table([["a"], [f'{{"plan":"pro","far":{far},"list":["x",{far}]}}']], names=["id", "metadata"])
    schema = pa.schema([SCHEMA.field("id"), SCHEMA.field("metadata")])
    rows = given.cast(schema)
    for field, op, value, held in (
        ("metadata.plan", "is", "pro", True),
        ("metadata.far", "exists", None, True),
        ("metadata.far", "is empty", None, False),
        ("metadata.far", "is", "pro", False),
        ("metadata.list", "contains", "x", True),
        ("metadata.list", "contains", "y", False),
        ("metadata.none", "exists", None, False),
    ):
        predicate = filters.compile(FILTER.validate_python(where(field, op, value)), schema)
        assert predicate.matches(rows).to_pylist() == [held], (field, op)
    path = ".".join(["address.a", *["a"] * 999])
    if opens == "[":
        path = ".".join(["address.a", *["0"] * 998])
    nested = {"address": json.loads('{"a":' + opens * 900 + "1" + closes * 900 + "}")}
    assert holds(where(path, "exists"), nested) == [False]
    assert holds(where("address.a", "exists"), nested) == [True]
