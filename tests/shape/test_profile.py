"""The customer model's properties and columns, what no table can have, and rows made of a function's results."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from typing import Any

import pyarrow as pa
import pytest

from tidegate import catalog, config, errors
from tidegate.shape import profile, targets, values
from tidegate.warehouse import ddl

D = decimal.Decimal
NOON = dt.datetime(2024, 1, 31, 12, tzinfo=dt.UTC)


def model(properties: dict[str, Any], **more: Any) -> profile.Profile:
    """A model as the file has it."""
    told = {"warehouse": "local", "properties": properties, **more}
    return profile.of(config.CustomerModel.model_validate(told))


EVERY = model(
    {
        "customer_id": "string",
        "seats": "integer",
        "score": "number",
        "ltv": "decimal",
        "active": "boolean",
        "born": "date",
        "seen": "timestamp",
        "extra": "json",
        "address": {"type": "object", "properties": {"city": "string", "since": "date"}},
        "tags": {"type": "array", "items": "string"},
    }
)


def test_properties_become_columns_in_their_order() -> None:
    assert EVERY.names[0] == "customer_id"
    assert [(field.name, ddl.sql_type(field)) for field in EVERY.schema] == [
        ("customer_id", "VARCHAR"),
        ("seats", "BIGINT"),
        ("score", "DOUBLE"),
        ("ltv", "DECIMAL(38,12)"),
        ("active", "BOOLEAN"),
        ("born", "VARCHAR"),
        ("seen", "TIMESTAMP WITH TIME ZONE"),
        ("extra", "JSON"),
        ("address", "JSON"),
        ("tags", "JSON"),
    ]


def test_the_default_model_stands_in_stripes_customer() -> None:
    fields = {field.name: field.type for field in catalog.load().streams["customers"].fields}
    usual = profile.of()
    assert usual.identifiers == ("customer_id", "email", "phone")
    for each in usual.properties:
        assert each.source is not None
        column, *steps = values.path(each.source)
        kind = fields[column]
        if steps or each.target.type in targets.DOCUMENTS:
            assert kind == "json"
        else:
            assert kind.replace("id", "string") == each.target.type
    assert profile.of(config.CustomerModel(warehouse="local")) == usual


def test_a_property_of_a_known_name_has_a_known_source() -> None:
    found = {each.name: each.source for each in model({"email": "string", "nick": "string"}).properties}
    assert found == {"email": "email", "nick": None}


def test_identifiers_are_the_usual_ones_that_are_there_unless_they_are_told() -> None:
    assert model({"email": "string", "customer_id": "string"}).identifiers == ("customer_id", "email")
    assert model({"email": "string", "vat": "string"}, identifiers=["vat"]).identifiers == ("vat",)


@pytest.mark.parametrize(
    ("properties", "more", "said"),
    [
        (
            {"Email": "string"},
            {},
            "The customer model cannot have the property Email: a name is in lower case; write email.",
        ),
        ({"email": "string", "EMAIL": "string"}, {}, "EMAIL: email differs from it in case alone"),
        (
            {"1st": "string"},
            {},
            "1st: a name has letters, digits and underscores, at most 63, and no digit first",
        ),
        ({"full name": "string"}, {}, "full name: a name has letters, digits and underscores"),
        ({"größe": "string"}, {}, "größe: a name has letters, digits and underscores"),
        ({"e" * 64: "string"}, {}, "a name has letters, digits and underscores, at most 63"),
        (
            {"_version": "string"},
            {},
            "_version: names with an underscore first are Tidegate's own; leave it out.",
        ),
        (
            {"profile_id": "string"},
            {},
            "profile_id: the tables of the model have a column of that name already",
        ),
        (
            {"email": {"type": "string", "properties": {"a": "string"}}},
            {},
            "The property email of the customer model is a string with properties; only an object has them.",
        ),
        (
            {"a": {"type": "object", "properties": {"b": {"type": "json", "items": "string"}}}},
            {},
            "The property a.b of the customer model is a json with items; only an array has them.",
        ),
        (
            {"email": "string"},
            {"identifiers": ["e_mail"]},
            "names an identifier that is no property of it: e_mail; did you mean email?",
        ),
        (
            {"email": "string", "tags": "array"},
            {"identifiers": ["email", "tags"]},
            "by tags, which has the type array; take a property that tells customers apart, such as a string.",
        ),
        (
            {"live": "boolean"},
            {"identifiers": ["live"]},
            "identified by live, which has the type boolean; take a",
        ),
        ({"nick": "string"}, {}, "has nothing that identifies a customer; name its properties that do under"),
        (
            {"email": "string"},
            {"identifiers": ["email", "email"]},
            "names an identifier twice; name each once.",
        ),
    ],
)
def test_what_no_model_can_be(properties: dict[str, Any], more: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        model(properties, **more)
    assert said in str(caught.value)
    assert str(caught.value).endswith((".", "?"))


def test_records_become_rows() -> None:
    typed = EVERY.typed(
        [
            {
                "customer_id": "cus_1",
                "seats": D(3),
                "score": 0.5,
                "ltv": 0.1,
                "active": "true",
                "born": dt.date(1990, 2, 28),
                "seen": NOON,
                "extra": {"when": NOON, "n": D("1.50")},
                "address": {"city": "Bonn"},
                "tags": ["a", 7],
            },
            {},
        ]
    )
    assert typed.failed == ()
    assert typed.kept.to_pylist() == [True, True]
    assert typed.rows.schema.equals(EVERY.schema, check_metadata=True)
    first, second = typed.rows.to_pylist()
    assert first == {
        "customer_id": "cus_1",
        "seats": 3,
        "score": 0.5,
        "ltv": D("0.1"),
        "active": True,
        "born": "1990-02-28",
        "seen": NOON,
        "extra": '{"when":"2024-01-31T12:00:00Z","n":1.50}',
        "address": '{"city":"Bonn","since":null}',
        "tags": '["a","7"]',
    }
    assert set(second.values()) == {None}


def test_a_record_fails_alone_and_for_everything_that_is_wrong() -> None:
    typed = EVERY.typed(
        [
            {"seats": 1},
            {"tags": ["a", ["secret"]], "seats": "secret", "adress": {}},
            {"seats": 2},
            {7: "secret", "address": {"zip": "secret"}},
        ]
    )
    assert typed.rows.column("seats").to_pylist() == [1, 2]
    assert typed.kept.to_pylist() == [True, False, True, False]
    assert [(failure.row, failure.property, failure.why) for failure in typed.failed] == [
        (1, "adress", "the model has no property adress; did you mean address?"),
        (1, "seats", "the property seats wants a whole number; the function gives text that is none"),
        (1, "tags", "the property tags.1 wants text; the function gives a list"),
        (3, "", "the model has no property named by a whole number; write it as text"),
        (3, "address", "the property address has no key zip; it has city, since"),
    ]
    assert not any("secret" in failure.why for failure in typed.failed)


def test_keys_that_look_like_data_are_not_told() -> None:
    for key in ("jane@example.com", "", "+49 170 1234567", "x" * 64, "4111111111111111"):
        [failure] = EVERY.typed([{key: 1}]).failed
        assert (failure.property, failure.why) == (
            "",
            "the model has no property named like that; letters, digits and underscores make a name",
        )


def test_no_records_are_no_rows() -> None:
    typed = EVERY.typed([])
    assert (typed.rows.num_rows, len(typed.kept), typed.failed) == (0, 0, ())
    assert typed.rows.schema.equals(EVERY.schema)
    assert EVERY.typed([{"seats": "x"}]).rows.num_rows == 0


def test_what_is_json_is_valid_json() -> None:
    given = [{"extra": "text"}, {"extra": [1e21, 2**70, "\ud800"]}, {"extra": {"": None}}]
    found = EVERY.typed(given).rows.column("extra").to_pylist()
    assert list(map(json.loads, found)) == ["text", [1e21, 2**70, "\ufffd"], {"": None}]


def test_the_columns_go_into_a_table_of_arrow() -> None:
    rows = EVERY.typed([{"customer_id": "cus_1"}]).rows
    assert pa.concat_tables([rows, EVERY.typed([]).rows]).num_rows == 1
