"""What may stay of a row when its customer is forgotten: numbers, times, references, Stripe's own words."""

from __future__ import annotations

import json
from typing import Any

import persons
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import catalog
from tidegate.privacy import forget, personal

STREAMS = catalog.load().streams


def cleaned(stream: str, **values: object) -> dict[str, Any]:
    """One object after it was cleaned, without what is NULL."""
    (row,) = personal.clean(STREAMS[stream], persons.rows(stream, [{"id": "x_1AbC", **values}])).to_pylist()
    return {name: value for name, value in row.items() if value is not None and not name.startswith("_")}


def test_of_a_charge_the_money_stays_and_the_person_goes() -> None:
    assert cleaned(
        "charges",
        amount=1999,
        currency="eur",
        customer="cus_1AbC",
        payment_method="pm_1AbC",
        status="succeeded",
        paid=True,
        created=1_700_000_000,
        failure_code="card_declined",
        failure_message="Jane's card was declined.",
        description="For Jane",
        receipt_email="jane@example.com",
        statement_descriptor="JANE DOE",
        metadata={"who": "Jane", "age": "36"},
        billing_details={"name": "Jane", "address": {"city": "Bonn"}},
    ) | {"created": "checked below"} == {
        "id": "x_1AbC",
        "amount": 1999,
        "currency": "eur",
        "customer": "cus_1AbC",
        "payment_method": "pm_1AbC",
        "status": "succeeded",
        "paid": True,
        "created": "checked below",
        "failure_code": "card_declined",
        "billing_details": '{"name":null,"address":{"city":null}}',
    }


def test_a_customer_becomes_a_tombstone() -> None:
    (row,) = personal.clean(
        STREAMS["customers"], persons.rows("customers", persons.world("ada")["customers"])
    ).to_pylist()
    left = {name: value for name, value in row.items() if value is not None}
    assert left.pop("_synced_at")
    assert int(left.pop("_deleted_at").timestamp()) == 100
    assert left == {"_account_id": "acct_1", "id": "cus_ada", "_version": 100}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"amount": 9007199254740993, "rate": 1.10}, '{"amount":9007199254740993,"rate":1.1}'),
        ({"customer": "cus_1AbC", "name": "Jane"}, '{"customer":"cus_1AbC","name":null}'),
        ({"discounts": ["di_1AbC", "Jane"]}, '{"discounts":["di_1AbC",null]}'),
        (
            {"latest_charge": "ch_1AbC", "client_reference_id": "user_1AbC"},
            '{"latest_charge":"ch_1AbC","client_reference_id":null}',
        ),
        ({"client_secret": "pi_1_secret_1"}, '{"client_secret":null}'),
        ({"type": "card", "status": "Jane Doe"}, '{"type":"card","status":null}'),
        ({"unit_amount_decimal": "10.5"}, '{"unit_amount_decimal":"10.5"}'),
        (
            {"dob": {"day": 1, "year": 1815}, "exp_year": 2031, "ip": 1, "metadata": {"a": 1}},
            '{"dob":null,"exp_year":null,"ip":null,"metadata":null}',
        ),
        ({"Jane Doe": 1, "jane@example.com": 2, "ok": 3}, '{"ok":3}'),
        (
            {"created": "2026-01-01T10:00:00.123Z", "born": "1815-12-10"},
            '{"created":"2026-01-01T10:00:00.123Z","born":null}',
        ),
        ([True, None, "Jane", [{"email": "j@x"}]], '[true,null,null,[{"email":null}]]'),
        ("Jane", "null"),
        (42, "42"),
    ],
)
def test_json_is_cleaned_down_to_the_bottom(before: object, after: str) -> None:
    assert personal.json(json.dumps(before)) == after


@pytest.mark.parametrize("text", ["Jane Doe", "{", '{"a": Jane}', '{"a": "\ud800"}', "[" * 5_000, ""])
def test_what_is_no_json_is_not_kept(text: str) -> None:
    assert personal.json(text) is None


def test_a_number_keeps_every_digit() -> None:
    assert (
        personal.json('{"price": 1.10, "big": 18446744073709551617}')
        == '{"price":1.10,"big":18446744073709551617}'
    )


SECRET = "Jane Doe, 12 Main St"
NAMES = st.sampled_from(
    ["name", "type", "status", "customer", "id", "items", "amount_decimal", "created", "x", SECRET]
)
TREES = st.recursive(
    st.sampled_from([SECRET, 1, 2.5, True, None, "cus_1AbC"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


@given(TREES)
def test_no_text_of_a_person_survives_anywhere_in_json(tree: object) -> None:
    found = personal.json(json.dumps(tree))
    assert found is not None
    assert "Jane" not in found
    assert personal.json(found) == found


@pytest.mark.parametrize("name", sorted(STREAMS))
def test_in_no_stream_does_any_column_keep_a_persons_text(name: str) -> None:
    """Every text and JSON column is filled with somebody's words, in every stream that may be a customer's."""
    stream = STREAMS[name]
    filled = {
        field.name: SECRET if field.type == "string" else {"inner": [SECRET], "metadata": {"a": SECRET}}
        for field in stream.fields
        if field.type in ("string", "json") and field.name != "id"
    }
    rows = persons.rows(name, [{**filled, "id": "x_1AbC", "unheard_of": SECRET}])
    assert "Jane" in json.dumps(rows.to_pylist(), default=str)
    assert "Jane" not in json.dumps(personal.clean(stream, rows).to_pylist(), default=str)


def test_a_hashed_column_goes_too_but_a_hashed_reference_stays() -> None:
    rows = persons.rows("charges", [{"id": "ch_1", "customer": "cus_1", "receipt_email": "x", "amount": 5}])
    for name in ("customer", "receipt_email", "amount"):
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, pa.field(name, pa.string()), pa.array([forget.digest("x")]))
    (row,) = personal.clean(STREAMS["charges"], rows).to_pylist()
    assert (row["customer"], row["receipt_email"], row["amount"]) == (forget.digest("x"), None, None)


def test_versions_that_differ_in_what_stays_keep_different_hashes() -> None:
    objects = [
        {"id": "ch_1", "amount": 1, "description": "Jane"},
        {"id": "ch_1", "amount": 1, "description": "Jane Doe"},
        {"id": "ch_1", "amount": 2, "description": "Jane"},
        {"id": "ch_1", "amount": 3},
    ]
    rows = persons.rows("charges", objects)
    rows = rows.append_column("_row_hash", pa.array(["a", "b", "c", "d"]))
    first, second, third, fourth = personal.clean(STREAMS["charges"], rows)["_row_hash"].to_pylist()
    assert first == second != third
    assert "a" not in (first, third)
    assert fourth == "d", "nothing was personal in it"
