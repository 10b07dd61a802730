"""What expressions give for rows: exact values, the rows on which they fail, and what they need of a table."""

from __future__ import annotations

import datetime as dt
import decimal
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


def answered(sql: str, table: pa.Table) -> tuple[list[Any], list[int]]:
    """The values of one expression, and the rows on which it fails."""
    [answer] = computed.answers([computed.expression(sql, SCHEMA)], SCHEMA, table)
    return answer.values.to_pylist(), answer.failed


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
def test_every_type_has_its_values_in_arrow(sql: str, value: object) -> None:
    given = rows(id=[7], seen=[dt.datetime(2024, 7, 1, tzinfo=dt.UTC)], doc=['{"n":1.50}'])
    assert answered(sql, given) == ([value], [])


def test_a_row_on_which_an_expression_fails_is_told() -> None:
    given = rows(id=[0, 1, 2, 3], note=["7", "secret", None, "9"])
    assert answered("note::INTEGER", given) == ([7, None, None, 9], [1])
    assert answered("7 // id", given) == ([None, 7, 3, 2], [0])
    assert answered("TRY(note::INTEGER)", given) == ([7, None, None, 9], [])


def test_documents_that_are_none_fail_alone() -> None:
    given = rows(id=list(range(9)), doc=['{"n":1}'] * 4 + ["{"] + ['{"n":2}'] * 3 + [None])
    assert answered("(doc->>'n')::INTEGER + id", given) == ([1, 2, 3, 4, None, 7, 8, 9, None], [4])
    asked = [computed.expression(sql, SCHEMA) for sql in ("id", "doc->>'n'")]
    assert [answer.failed for answer in computed.answers(asked, SCHEMA, given)] == [[], [4]]
    broken = rows(doc=["{", "}"])
    assert answered("(doc->>'n')::INTEGER", broken) == ([None, None], [0, 1])


def test_an_expression_needs_the_columns_that_it_names() -> None:
    assert computed.expression("upper(Note) || (doc->>'id')", SCHEMA).columns == {"note", "doc"}
    assert computed.expression("record", SCHEMA).columns == set(SCHEMA.names)
    asked = [computed.expression("id + 1", SCHEMA), computed.expression("'x'", SCHEMA)]
    found = computed.answers(asked, SCHEMA, pa.table({"id": [1, 2]}))
    assert [answer.values.to_pylist() for answer in found] == [[2, 3], ["x", "x"]]


def test_names_of_columns_may_be_anything() -> None:
    schema = pa.schema([pa.field('odd "name"', pa.string()), pa.field("select", pa.int64())])
    asked = computed.expression('"odd ""name""" || "select"', schema)
    [answer] = computed.answers([asked], schema, pa.table({'odd "name"': ["a"], "select": [1]}))
    assert answer.values.to_pylist() == ["a1"]


def test_no_rows_and_no_expressions() -> None:
    assert answered("id", rows(id=[])) == ([], [])
    assert computed.answers([], SCHEMA, rows(id=[1])) == []


def test_bytes_are_refused() -> None:
    with pytest.raises(
        errors.ConfigError, match=r"its SQL gives bytes; make them text, such as by hex\(\.\.\.\)"
    ):
        computed.expression("note::BLOB", SCHEMA)
