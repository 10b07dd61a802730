"""The model's types as columns, and the words for what is not there or does not fit."""

from __future__ import annotations

import datetime as dt
import decimal

import pytest

from tidegate.shape import targets
from tidegate.warehouse import ddl


@pytest.mark.parametrize(
    ("type", "column"),
    [
        ("string", "VARCHAR"),
        ("integer", "BIGINT"),
        ("number", "DOUBLE"),
        ("decimal", "DECIMAL(38,12)"),
        ("boolean", "BOOLEAN"),
        ("date", "VARCHAR"),
        ("timestamp", "TIMESTAMP WITH TIME ZONE"),
        ("json", "JSON"),
        ("object", "JSON"),
        ("array", "JSON"),
    ],
)
def test_every_type_is_a_column_that_warehouses_have(type: str, column: str) -> None:
    field = targets.Target(type).field("x")  # type: ignore[arg-type]
    assert (field.name, ddl.sql_type(field)) == ("x", column)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("zpi", "zpi; did you mean zip?"),
        ("phone", "phone; it has zip, city"),
        (7, "named by a whole number; write it as text"),
        ("jane@example.com", "named like that; letters, digits and underscores make a name"),
    ],
)
def test_a_key_that_is_not_there(key: object, said: str) -> None:
    assert targets.key_named(key, ("zip", "city")) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "true or false"),
        (7, "a whole number"),
        (decimal.Decimal("7.5"), "a number"),
        ("text", "text"),
        (dt.datetime(2024, 1, 31), "a time"),
        (dt.date(2024, 1, 31), "a date"),
        ([], "a list"),
        ({}, "an object"),
        ({1}, "a value of the type set"),
        (targets.Beyond("a time outside of time"), "a time outside of time"),
    ],
)
def test_values_in_words(value: object, said: str) -> None:
    assert targets.held(value) == said
    assert targets.misread(value) == ("text that is none" if value == "text" else said)


def test_a_sentence_has_one_end() -> None:
    assert [targets.ended(text) for text in ("so", "so.", "so?")] == ["so.", "so.", "so?"]
