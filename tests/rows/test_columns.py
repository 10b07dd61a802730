"""Each column type: what fits is exactly what was written, the rest is NULL and handed back."""

from __future__ import annotations

import datetime as dt
import decimal
import json

import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tidegate import catalog
from tidegate.rows import columns, layout

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""

UTC = dt.UTC
LARGEST = "99999999999999999999999999.999999999999"


def read(kind: catalog.FieldType, *raws: str) -> tuple[list[object], dict[int, bytes]]:
    made, misfits = columns.column(kind, [msgspec.Raw(raw.encode()) for raw in raws])
    made.validate(full=True)
    assert made.type == columns.TYPES[kind]
    return made.to_pylist(), misfits


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        ("string", '"a"', "a"),
        ("string", r'"\u00e9\n"', "é\n"),
        ("id", '"cus_1"', "cus_1"),
        ("id", '{"id":"cus_1","deleted":true}', "cus_1"),
        ("integer", "-0", 0),
        ("integer", "9223372036854775807", 2**63 - 1),
        ("boolean", "true", True),
        ("number", "3", 3.0),
        ("number", "0.1", 0.1),
        ("number", "1.10", 1.1),
        ("number", "9007199254740992", 2.0**53),
        ("decimal", '"1.10"', decimal.Decimal("1.1")),
        ("decimal", "0.5", decimal.Decimal("0.5")),
        ("decimal", '"1e3"', decimal.Decimal(1000)),
        ("decimal", f'"-{LARGEST}"', decimal.Decimal(f"-{LARGEST}")),
        ("decimal", '"0.1000000000000000"', decimal.Decimal("0.1")),
        ("timestamp", "0", dt.datetime(1970, 1, 1, tzinfo=UTC)),
        ("timestamp", "-1", dt.datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("timestamp", str(layout.LATEST), dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("timestamp", '"2024-02-29T12:00:00.123456000Z"', dt.datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)),
        ("timestamp", '"1969-12-31T23:00:00-01:30"', dt.datetime(1970, 1, 1, 0, 30, tzinfo=UTC)),
        ("json", '{"a":1.10}', '{"a":1.10}'),
        ("json", '"null"', '"null"'),
        ("json", "false", "false"),
    ],
)  # fmt: skip
def test_what_fits(kind: catalog.FieldType, raw: str, value: object) -> None:
    assert read(kind, raw, "null", "") == ([value, None, None], {})


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ("string", "1"),
        ("string", '{"a":1}'),
        ("string", "true"),
        ("id", "[]"),
        ("id", '{"id":null}'),
        ("id", '{"object":"customer"}'),
        ("integer", '"1"'),
        ("integer", "1.0"),
        ("integer", "true"),
        ("integer", "9223372036854775808"),
        ("boolean", "0"),
        ("boolean", "1"),
        ("boolean", '"true"'),
        ("number", '"1.5"'),
        ("number", "true"),
        ("number", "1e400"),
        ("number", "1e-400"),
        ("number", "1e99999999999999999999"),
        ("number", "1e-99999999999999999999"),
        ("number", "9007199254740993"),
        ("number", "0.1000000000000000055511151231257827"),
        ("decimal", '"1.1234567890123"'),
        ("decimal", '"100000000000000000000000000"'),
        ("decimal", '"1e999999999"'),
        ("decimal", '"1e-999999999"'),
        ("decimal", '""'),
        ("decimal", '"1_000"'),
        ("decimal", '"NaN"'),
        ("decimal", '"Infinity"'),
        ("decimal", '"١"'),
        ("decimal", "true"),
        ("timestamp", str(layout.LATEST + 1)),
        ("timestamp", str(layout.EARLIEST - 1)),
        ("timestamp", "1700000000.5"),
        ("timestamp", '"1700000000"'),
        ("timestamp", '"2024-01-01"'),
        ("timestamp", '"2024-01-01T00:00:00"'),
        ("timestamp", '"2024-01-01T00:00:00.1234567Z"'),
        ("timestamp", '"0001-01-01T00:00:00+02:00"'),
        ("timestamp", '"9999-12-31T23:59:59-02:00"'),
        ("timestamp", "true"),
    ],
)
def test_what_does_not_fit(kind: catalog.FieldType, raw: str) -> None:
    assert read(kind, "null", raw) == ([None, None], {1: raw.encode()})


def test_a_lone_surrogate_is_shown_replaced_and_handed_back() -> None:
    assert read("string", r'"a\ud800"', '"b"') == (["a\ufffd", "b"], {0: rb'"a\ud800"'})


def test_json_values_of_every_length_keep_their_borders() -> None:
    raws = ["{}", "null", '[1,"null"]', "", '"' + "x" * 5000 + '"', "0", "null", "[]"]

    assert read("json", *raws) == ([None if raw in ("null", "") else raw for raw in raws], {})


@pytest.mark.parametrize(
    ("kind", "typed", "raw", "values"),
    [
        ("string", ["a", None], '"b"', ["a", None, "b"]),
        ("integer", [1, None], "2", [1, None, 2]),
        ("boolean", [True, None], "false", [True, None, False]),
        ("decimal", ["1.5", None], "2", [decimal.Decimal("1.5"), None, decimal.Decimal(2)]),
        ("id", [layout.Ref("a"), "b"], '{"id":"c"}', ["a", "b", "c"]),
        ("timestamp", [1, None], "2", [dt.datetime.fromtimestamp(1, UTC), None, dt.datetime.fromtimestamp(2, UTC)]),
    ],
)  # fmt: skip
def test_typed_and_raw_values_in_one_column(
    kind: catalog.FieldType, typed: list[object], raw: str, values: list[object]
) -> None:
    made, misfits = columns.column(kind, [*typed, msgspec.Raw(raw.encode())])

    assert (made.to_pylist(), misfits) == (values, {})


def decimals() -> st.SearchStrategy[str]:
    digits = st.text("0123456789", min_size=1, max_size=30)
    exponent = st.one_of(st.just(""), st.integers(-40, 40).map(lambda n: f"e{n}"))
    fraction = st.one_of(st.just(""), digits.map(lambda text: "." + text))
    return st.builds(lambda *parts: "".join(parts), st.sampled_from(["", "-"]), digits, fraction, exponent)


@CALM
@example(["1.1e27"])
@example(["86134607119814575399296585778.565201652420"])
@given(st.lists(decimals(), min_size=1, max_size=4))
def test_decimals_are_exact_or_handed_back(texts: list[str]) -> None:
    """Together, as Arrow reads them, and one by one."""
    with decimal.localcontext(prec=200):
        for values in (texts, [msgspec.Raw(json.dumps(text).encode()) for text in texts]):
            made, misfits = columns.column("decimal", values)
            for row, (text, found) in enumerate(zip(texts, made.to_pylist(), strict=True)):
                exact = decimal.Decimal(text)
                fits = abs(exact) < 10**26 and exact == round(exact, 12)
                assert (row in misfits) is not fits
                assert found == (exact if fits else None)


@CALM
@given(st.lists(st.one_of(st.none(), st.integers(layout.EARLIEST, layout.LATEST)), min_size=1))
def test_seconds_become_instants(seconds: list[int | None]) -> None:
    made, misfits = columns.column("timestamp", seconds)

    epoch = dt.datetime(1970, 1, 1, tzinfo=UTC)
    assert made.to_pylist() == [None if s is None else epoch + dt.timedelta(seconds=s) for s in seconds]
    assert not misfits


@pytest.mark.parametrize(
    ("kind", "values", "texts"),
    [
        ("string", ["a", "", None, "é"], ["a", "", None, "é"]),
        ("json", ['{"a":1.10}', None], ['{"a":1.10}', None]),
        ("boolean", [True, False, None], ["true", "false", None]),
        ("integer", [0, -(2**63), None], ["0", "-9223372036854775808", None]),
        ("number", [0.1, -0.0, 1e21, 1e-7, 10.0], ["0.1", "0", "1" + "0" * 21, "0.0000001", "10"]),
        (
            "decimal",
            [decimal.Decimal("1E-12"), decimal.Decimal("1200"), decimal.Decimal("-0.50"), decimal.Decimal(LARGEST)],
            ["0.000000000001", "1200", "-0.5", LARGEST],
        ),
        ("timestamp", [dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), None], ["1700000000", None]),
        (
            "timestamp",
            [
                dt.datetime(2023, 11, 14, 22, 13, 20, 250_000, tzinfo=UTC),
                dt.datetime(1969, 12, 31, 23, 59, 58, 500_000, tzinfo=UTC),
            ],
            ["1700000000.25", "-1.5"],
        ),
        ("decimal", [None, None], [None, None]),
        ("string", [], []),
    ],
)  # fmt: skip
def test_every_value_has_one_text(
    kind: catalog.FieldType, values: list[object], texts: list[str | None]
) -> None:
    made = pa.chunked_array([pa.array(values, columns.TYPES[kind])])

    assert columns.texts(made).to_pylist() == texts


@CALM
@given(st.lists(st.decimals(-(10**20), 10**20, places=12) | st.none(), max_size=5), st.data())
def test_the_text_of_a_number_is_the_number(
    values: list[decimal.Decimal | None], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(values)))
    chunks = [pa.array(part, columns.DECIMAL) for part in (values[:cut], values[cut:])]

    texts = columns.texts(pa.chunked_array(chunks, columns.DECIMAL)).to_pylist()

    assert [None if text is None else decimal.Decimal(text) for text in texts] == values
    for text in texts:
        assert text is None or not (text.endswith(".") or "E" in text or text == "-0")
