"""What expressions give for rows: exact values, the rows on which they fail, and what they need of a table."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from tidegate import errors
from tidegate.shape import computed

JSON = {b"tidegate": b"json"}
D = decimal.Decimal
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("note", pa.string()),
        pa.field("seen", pa.timestamp("us", "UTC")),
        pa.field("doc", pa.string(), metadata=JSON),
    ]
)


def rows(**columns: list[Any]) -> pa.Table:
    """Rows of some columns; the others are null."""
    count = len(next(iter(columns.values())))
    return pa.table(
        [pa.array(columns.get(field.name, [None] * count), field.type) for field in SCHEMA], schema=SCHEMA
    )


@pytest.fixture(scope="module")
def engine() -> Iterator[computed.Engine]:
    with computed.Engine("pipeline eu") as engine:
        yield engine


def answered(engine: computed.Engine, sql: str, table: pa.Table) -> tuple[list[Any], list[int]]:
    """The values of one expression, and the rows on which it fails."""
    [answer] = engine.answers([engine.expression(sql, SCHEMA, "it")], table, SCHEMA)
    assert set(answer.failed.values()) <= {computed.FAILS}
    return answer.values.to_pylist(), list(answer.failed)


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("id", 7),
        ("id::TINYINT", 7),
        ("id::UBIGINT", D(7)),
        ("'170141183460469231731687303715884105727'::HUGEINT // 100", D((2**127 - 1) // 100)),
        ("0.1::FLOAT", 0.1),
        ("0.1::DOUBLE", 0.1),
        ("0.10::DECIMAL(4, 2)", D("0.10")),
        ("seen", dt.datetime(2024, 7, 1, tzinfo=dt.UTC)),
        ("seen::TIMESTAMP", dt.datetime(2024, 7, 1, tzinfo=dt.UTC)),
        ("seen::TIMESTAMP_S", dt.datetime(2024, 7, 1, tzinfo=dt.UTC)),
        ("seen::DATE", dt.date(2024, 7, 1)),
        ("TIME '12:00:00'", "12:00:00"),
        ("INTERVAL 1 DAY", "1 day"),
        ("'a'::ENUM('a', 'b')", "a"),
        ("doc", '{"n":1.50}'),
        ("doc->'n'", "1.5"),
        ("{'n': 0.1::DECIMAL(4, 2)}", '{"n":0.1}'),
        ("[1234567890123456.78::DECIMAL(18, 2)]", "[1234567890123456.78]"),
        ("record.id", 7),
        ("NULL", None),
    ],
)
def test_every_type_has_its_values_in_arrow(engine: computed.Engine, sql: str, value: object) -> None:
    given = rows(id=[7], seen=[dt.datetime(2024, 7, 1, tzinfo=dt.UTC)], doc=['{"n":1.50}'])
    assert answered(engine, sql, given) == ([value], [])


def test_a_row_on_which_an_expression_fails_is_told(engine: computed.Engine) -> None:
    given = rows(id=[0, 1, 2, 3], note=["7", "secret", None, "9"])
    assert answered(engine, "note::INTEGER", given) == ([7, None, None, 9], [1])
    assert answered(engine, "7 // id", given) == ([None, 7, 3, 2], [0])
    assert answered(engine, "TRY(note::INTEGER)", given) == ([7, None, None, 9], [])


def test_documents_that_are_none_fail_alone(engine: computed.Engine) -> None:
    given = rows(id=list(range(9)), doc=['{"n":1}'] * 4 + ["{"] + ['{"n":2}'] * 3 + [None])
    assert answered(engine, "(doc->>'n')::INTEGER + id", given) == ([1, 2, 3, 4, None, 7, 8, 9, None], [4])
    asked = [engine.expression(sql, SCHEMA, "it") for sql in ("id", "doc->>'n'")]
    assert [list(answer.failed) for answer in engine.answers(asked, given, SCHEMA)] == [[], [4]]
    broken = rows(doc=["{", "}"])
    assert answered(engine, "(doc->>'n')::INTEGER", broken) == ([None, None], [0, 1])


def test_an_expression_needs_the_columns_that_it_names(engine: computed.Engine) -> None:
    assert engine.expression("upper(Note) || (doc->>'id')", SCHEMA, "it").columns == {"note", "doc"}
    assert engine.expression("record", SCHEMA, "it").columns == set(SCHEMA.names)
    asked = [engine.expression("id + 1", SCHEMA, "it"), engine.expression("'x'", SCHEMA, "it")]
    found = engine.answers(asked, pa.table({"id": [1, 2]}), SCHEMA)
    assert [answer.values.to_pylist() for answer in found] == [[2, 3], ["x", "x"]]


def test_names_of_columns_may_be_anything(engine: computed.Engine) -> None:
    schema = pa.schema([pa.field('odd "name"', pa.string()), pa.field("select", pa.int64())])
    asked = engine.expression('"odd ""name""" || "select"', schema, "it")
    [answer] = engine.answers([asked], pa.table({'odd "name"': ["a"], "select": [1]}), schema)
    assert answer.values.to_pylist() == ["a1"]


def test_no_rows_and_no_expressions(engine: computed.Engine) -> None:
    assert answered(engine, "id", rows(id=[])) == ([], [])
    assert engine.answers([], rows(id=[1]), SCHEMA) == []


def test_bytes_are_refused(engine: computed.Engine) -> None:
    with pytest.raises(
        errors.ConfigError, match=r"its SQL gives bytes; make them text, such as by hex\(\.\.\.\)"
    ):
        engine.expression("note::BLOB", SCHEMA, "it")
