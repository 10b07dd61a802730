"""Every generated object has its catalogued fields and no others, of fitting types; and the SDK reads it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from decimal import Decimal
from importlib import resources
from typing import Any

import pytest
import stripe

from tidegate import catalog
from tidegate.sandbox import shapes, templates, world

NOW = 1_795_000_000
STREAMS = catalog.load().streams
WORLD = world.build(seed=2, objects=20_000, accounts=5, now=NOW)


def rows(stream: str, most: int = 400) -> Iterator[tuple[int, int | None]]:
    described = STREAMS[stream]
    if not described.parent:
        yield from ((row, None) for row in range(min(most, WORLD.count(stream))))
        return
    parents = [row if above is None else above * 1024 + row for row, above in rows(described.parent)]
    yield from itertools.islice(
        ((row, parent) for parent in parents for row in range(WORLD.count(stream, parent))), most
    )


def fits(field: catalog.Field, api: str, value: Any) -> bool:
    """Is this a value of the field's type?"""
    if value is None:
        return field.nullable
    match field.type:
        case "integer":
            return type(value) is int
        case "timestamp":
            return isinstance(value, str) and value.endswith("Z") if api == "v2" else type(value) is int
        case "number":
            return type(value) in (int, float)
        case "boolean":
            return type(value) is bool
        case "decimal":
            return isinstance(value, str) and Decimal(value).is_finite()
        case "id":
            return isinstance(value, str) and value != ""
        case "json":
            return isinstance(value, dict | list)
        case "string":
            return isinstance(value, str) and (not field.values or value in field.values)


@pytest.mark.parametrize("stream", sorted(STREAMS))
def test_objects_have_the_catalogued_fields_of_fitting_types(stream: str):
    described = STREAMS[stream]
    fields = {field.name: field for field in described.fields}
    unless_expanded = {nested.path.partition(".")[0] for nested in described.nested if not nested.embedded}
    unless_expanded |= {*described.expand}
    every = frozenset([nested.path for nested in described.nested] + [*described.expand])
    seen = 0
    for row, parent in rows(stream):
        for expand in (frozenset[str](), every):
            shown = json.loads(WORLD.render(stream, row, parent, expand))
            assert shown.keys() <= fields.keys()
            assert shown.get("object", described.object) == described.object
            wrong = {
                name: value for name, value in shown.items() if not fits(fields[name], described.api, value)
            }
            assert wrong == {}
            absent = fields.keys() - shown.keys() - (unless_expanded if not expand else set())
            assert all(fields[name].nullable for name in absent), absent
            seen += 1
    assert seen


@pytest.mark.parametrize("stream", sorted(STREAMS))
def test_the_official_sdk_reads_what_is_rendered(stream: str):
    for row, parent in rows(stream, 20):
        shown = json.loads(WORLD.render(stream, row, parent))
        read = stripe.StripeObject.construct_from(shown, "sk_test_1")
        # The SDK makes `Decimal` of decimal strings.
        assert json.loads(json.dumps(read.to_dict(), default=str)) == shown


def test_the_sdk_knows_the_classes_of_the_core():
    kinds = {
        "charges": stripe.Charge,
        "customers": stripe.Customer,
        "invoices": stripe.Invoice,
        "payment_intents": stripe.PaymentIntent,
        "subscriptions": stripe.Subscription,
        "events": stripe.Event,
    }
    for stream, kind in kinds.items():
        read = kind.construct_from(json.loads(WORLD.render(stream, 1)), "sk_test_1")
        assert isinstance(read, kind)
        assert read.id == WORLD.id(stream, 1)
    charge = stripe.Charge.construct_from(json.loads(WORLD.render("charges", 1)), "sk_test_1")
    assert charge.payment_method_details is not None
    assert charge.payment_method_details.card is not None
    assert len(charge.payment_method_details.card.last4 or "") == 4


def test_fields_that_moved_at_the_pinned_version_are_gone():
    gone = {
        "charges": {"invoice"},
        "payment_intents": {"invoice", "charges"},
        "invoices": {"subscription", "charge", "payment_intent", "paid", "tax"},
        "subscriptions": {"current_period_start", "current_period_end", "discount", "plan"},
        "coupons": {"coupon"},
        "promotion_codes": {"coupon"},
    }
    for stream, names in gone.items():
        assert not names & json.loads(WORLD.render(stream, 0)).keys()
    line = json.loads(WORLD.render("invoice_line_items", 0, 0))
    assert not {"price", "plan", "proration", "subscription_item"} & line.keys()


def test_a_charge_is_as_long_as_a_real_one():
    sizes = [len(WORLD.render("charges", row)) for row in range(500)]
    assert 2_000 <= sum(sizes) / len(sizes) <= 2_600


def test_text_is_compact_and_utf8():
    for stream in ("charges", "customers", "invoices", "products"):
        text = WORLD.render(stream, 3).decode("utf8")
        assert templates.escaped(text) == json.dumps(json.loads(text), separators=(",", ":"))
    names = b"".join(WORLD.render("customers", row) for row in range(50))
    assert not names.isascii()


@pytest.mark.parametrize("type_field", [("payment_methods", "type"), ("customer_payment_methods", "type")])
def test_a_payment_method_has_the_hash_of_its_own_type_only(type_field: tuple[str, str]):
    stream, name = type_field
    types = next(field.values for field in STREAMS[stream].fields if field.name == name)
    kinds = set()
    for row, parent in rows(stream):
        shown = json.loads(WORLD.render(stream, row, parent))
        assert shown.keys() & set(types) == {shown["type"]}
        kinds.add(shown["type"])
    assert kinds == {"card", "us_bank_account", "sepa_debit", "link"}


def test_secrets_are_not_listed():
    assert "secret" not in json.loads(WORLD.render("webhook_endpoints", 0))
    assert not {"number", "cvc"} & json.loads(WORLD.render("issuing_cards", 0)).keys()


def test_the_committed_shapes_are_those_of_the_installed_package():
    committed = resources.files("tidegate.sandbox").joinpath("shapes.json").read_bytes()
    assert shapes.derive() == committed, "write them anew: shapes.write()"


def test_shapes_tell_what_the_catalog_does_not():
    card = shapes.shape("charge")["?payment_method_details"]["?card"]
    assert card["?last4"] == "s"
    assert card["exp_month"] == "i"
    assert shapes.shape("price")["?tiers"] == [
        {
            "?flat_amount": "i",
            "?flat_amount_decimal": "d",
            "?unit_amount": "i",
            "?unit_amount_decimal": "d",
            "?up_to": "i",
        }
    ]
    assert shapes.shape("invoice")["status_transitions"]["?paid_at"] == "t"
    assert shapes.shape("v2.core.event_destination")["created"] == "T"
    assert shapes.shape("nothing.like_this") == {}
