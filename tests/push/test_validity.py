"""What Stripe would refuse is found before it is asked, and said in a sentence that holds nobody's data."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.catalog import writes
from tidegate.push import forms, steps, validity, values

OF = writes.load()
SHIPPING = {"shipping.name": "Jane", "shipping.address.line1": "Weg 1"}
ITEM = {"customer": "cus_1", "amount": "500", "metadata.ext": "7"}


def found(name: str, action: validity.Action, fields: dict[str, Any], existing: Any = None) -> dict[str, str]:
    """The sentence of each field that has a problem."""
    problems = validity.check(OF[name], action, fields, existing)
    assert problems == sorted(problems)
    return {each.field: each.sentence for each in problems}


# Rows that Stripe takes.


@pytest.mark.parametrize(
    ("name", "action", "fields"),
    [
        ("customer", "create", {}),
        ("customer", "create", {"email": "jane@example.com", "metadata.plan": "pro", **SHIPPING}),
        ("customer", "update", {"email": "", "phone": "", "metadata.plan": "", "metadata": None}),
        ("customer", "update", {"address.city": "Bonn", "address.line2": ""}),
        ("customer", "update", {"address": "", "shipping": "", "tax_exempt": "reverse"}),
        ("customer", "update", {"metadata": ""}),
        ("customer", "create", {"metadata": '{"plan": "pro", "n": 1}', "preferred_locales": ["de"]}),
        ("customer", "create", {"tax_id_data": '[{"type": "eu_vat", "value": "DE123456789"}]'}),
        ("product", "create", {"id": "tea", "name": "Tea", "shippable": "true"}),
        (
            "product",
            "create",
            {"name": "Tea", "default_price_data.currency": "eur", "images": '["https://a.b/c"]'},
        ),
        (
            "price",
            "create",
            {"currency": "eur", "unit_amount": "1000", "product": "tea", "lookup_key": "tea"},
        ),
        ("price", "create", {"currency": "eur", "unit_amount_decimal": "0.5", "product_data.name": "Tea"}),
        (
            "price",
            "create",
            {
                "currency": "eur",
                "product": "tea",
                "billing_scheme": "tiered",
                "tiers_mode": "graduated",
                "tiers": '[{"up_to": 10, "unit_amount": 5}, {"up_to": "inf", "unit_amount": 4}]',
            },
        ),
        ("price", "update", {"active": "false", "nickname": ""}),
        ("price", "update", {"currency_options.usd.unit_amount": "1100"}),
        ("coupon", "create", {"id": "SUMMER", "percent_off": "12.5"}),
        ("coupon", "create", {"amount_off": "500", "currency": "EUR", "redeem_by": "1893456000"}),
        ("coupon", "update", {"name": "Summer", "currency_options.usd.amount_off": "600"}),
        (
            "promotion_code",
            "create",
            {"promotion.type": "coupon", "promotion.coupon": "SUMMER", "code": "TEA-25"},
        ),
        ("subscription", "update", {"cancel_at_period_end": "true", "proration_behavior": "none"}),
        ("subscription", "update", {"items": '[{"id": "si_1", "quantity": 3}]', "trial_end": "now"}),
        ("subscription", "update", {"cancel_at": "", "cancel_at_period_end": True}),
        ("invoice_item", "create", ITEM),
        (
            "invoice",
            "create",
            {"customer": "cus_1", "collection_method": "send_invoice", "days_until_due": "30"},
        ),
        ("invoice", "update", {"footer": "", "number": "A-1", "metadata.ext": "7"}),
        ("tax_id", "create", {"customer": "cus_1", "type": "eu_vat", "value": "DE123456789"}),
        ("meter_event", "create", {"event_name": "calls", "identifier": "7", "payload.value": "3"}),
        ("tax_rate", "create", {"display_name": "USt", "inclusive": "false", "percentage": "19"}),
        ("charge", "update", {"metadata.order": "7"}),
        ("payout", "update", {"metadata.batch": ""}),
    ],
)
def test_rows_that_stripe_takes(name: str, action: validity.Action, fields: dict[str, Any]) -> None:
    assert found(name, action, fields) == {}


# Rows that it does not take, each with the sentence that a person sees.


@pytest.mark.parametrize(
    ("name", "action", "fields", "field", "sentence"),
    [
        (
            "customer",
            "update",
            {"emial": "x"},
            "emial",
            "A customer has no field emial that could be written; did you mean email?",
        ),
        (
            "customer",
            "create",
            {"created": "1"},
            "created",
            "created of a customer is set by Stripe alone and cannot be written.",
        ),
        (
            "customer",
            "update",
            {"balance": "500"},
            "balance",
            "balance of a customer is not written: it is an absolute amount",
        ),
        (
            "customer",
            "update",
            {"tax_id_data": "[]"},
            "tax_id_data",
            "tax_id_data can be set only while a customer is created, and never changes after that.",
        ),
        (
            "customer",
            "create",
            {"default_source": "card_1"},
            "default_source",
            "default_source cannot be set while a customer is created, only afterwards.",
        ),
        (
            "customer",
            "create",
            {"email": "jane"},
            "email",
            "email must be an e-mail address like jane@example.com.",
        ),
        ("customer", "create", {"email": "a b@example.com"}, "email", "email must be an e-mail address"),
        (
            "customer",
            "create",
            {"phone": "1" * 21},
            "phone",
            "phone is longer than the 20 characters that Stripe takes.",
        ),
        (
            "customer",
            "create",
            {"name": "Ja\0ne"},
            "name",
            "name holds a NUL character, which Stripe refuses.",
        ),
        (
            "customer",
            "create",
            {"name": "Ja\ud800ne"},
            "name",
            "name holds half a character, which cannot be sent as UTF-8.",
        ),
        (
            "customer",
            "create",
            {"tax_exempt": "maybe"},
            "tax_exempt",
            "tax_exempt must be exempt, none or reverse.",
        ),
        (
            "customer",
            "create",
            {"tax.validate_location": "auto"},
            "tax.validate_location",
            "tax.validate_location must be deferred or immediately.",
        ),
        (
            "customer",
            "update",
            {"invoice_prefix": ""},
            "invoice_prefix",
            "invoice_prefix cannot be empty; give a value, or leave it out.",
        ),
        (
            "customer",
            "update",
            {"next_invoice_sequence": "0"},
            "next_invoice_sequence",
            "next_invoice_sequence must be a whole number above 0.",
        ),
        (
            "customer",
            "update",
            {"next_invoice_sequence": "7.0"},
            "next_invoice_sequence",
            "next_invoice_sequence must be a whole number above 0.",
        ),
        (
            "customer",
            "create",
            {"shipping.phone": "1"},
            "shipping.name",
            "shipping is never sent without shipping.name; map it too.",
        ),
        (
            "customer",
            "create",
            {"shipping.name": "J"},
            "shipping.address",
            "shipping is never sent without shipping.address; map it too.",
        ),
        (
            "customer",
            "update",
            {**SHIPPING, "shipping.name": ""},
            "shipping.name",
            "shipping.name cannot be empty; give a value, or leave it out.",
        ),
        (
            "customer",
            "update",
            {"address": "", "address.city": "X"},
            "address.city",
            "address.city is given beside address as a whole; map only one of them.",
        ),
        (
            "customer",
            "update",
            {"address": '{"city": "X"}'},
            "address",
            "address is written by its members; map address.NAME instead.",
        ),
        (
            "customer",
            "create",
            {"preferred_locales": "de"},
            "preferred_locales",
            "preferred_locales must be a list; this is no such JSON.",
        ),
        (
            "customer",
            "create",
            {"preferred_locales": "[]"},
            "preferred_locales",
            "preferred_locales is an empty list, which a form cannot say; leave it out, or give an empty",
        ),
        (
            "customer",
            "create",
            {"preferred_locales": '["de", null]'},
            "preferred_locales",
            "preferred_locales.1 must not be null.",
        ),
        (
            "customer",
            "create",
            {"tax_id_data": '[{"type": "eu_vat"}]'},
            "tax_id_data",
            "tax_id_data.0 needs its value.",
        ),
        (
            "customer",
            "create",
            {"tax_id_data": '[{"type": "xx", "value": "1"}]'},
            "tax_id_data",
            "tax_id_data.0.type must be one of the 135 values that Stripe lists",
        ),
        (
            "customer",
            "create",
            {"tax_id_data": '[{"type": "eu_vat", "value": "1", "land": "DE"}]'},
            "tax_id_data",
            "tax_id_data.0 has no field land that could be written.",
        ),
        (
            "customer",
            "create",
            {"metadata.a[b]": "1"},
            "metadata.a[b]",
            "metadata.a[b] cannot be sent: a key is not empty and holds no square brackets.",
        ),
        (
            "customer",
            "create",
            {"metadata." + "k" * 41: "1"},
            "metadata." + "k" * 41,
            "a key of metadata has at most 40 characters.",
        ),
        (
            "customer",
            "create",
            {"metadata.note": "x" * 501},
            "metadata.note",
            "metadata.note is longer than the 500 characters that Stripe takes.",
        ),
        ("customer", "create", {"metadata": '{"a[": "1"}'}, "metadata", "metadata.a[ cannot be sent"),
        ("product", "create", {"description": "Tea"}, "name", "A product needs name."),
        ("product", "update", {"name": ""}, "name", "name cannot be empty"),
        (
            "product",
            "update",
            {"images": str([f"https://a.b/{n}" for n in range(9)]).replace("'", '"')},
            "images",
            "images takes up to 8 elements.",
        ),
        ("product", "update", {"shippable": "yes"}, "shippable", "shippable must be true or false."),
        (
            "product",
            "update",
            {"statement_descriptor": "12345"},
            "statement_descriptor",
            "statement_descriptor must be text with at least one letter",
        ),
        (
            "product",
            "create",
            {"name": "T", "package_dimensions.height": "1e3"},
            "package_dimensions.height",
            "package_dimensions.height must be a number without an exponent.",
        ),
        (
            "product",
            "create",
            {"name": "T", "package_dimensions.height": "1"},
            "package_dimensions.width",
            "package_dimensions is never sent without package_dimensions.width",
        ),
        (
            "product",
            "create",
            {"name": "T", "default_price_data.unit_amount": "5"},
            "default_price_data.currency",
            "default_price_data is never sent without default_price_data.currency; map it too.",
        ),
        (
            "price",
            "update",
            {"unit_amount": "5"},
            "unit_amount",
            "unit_amount can be set only while a price is created, and never changes after that.",
        ),
        (
            "price",
            "create",
            {"currency": "eur", "product": "p"},
            "unit_amount",
            "One of unit_amount, unit_amount_decimal and custom_unit_amount is required",
        ),
        (
            "price",
            "create",
            {"currency": "eur", "product": "p", "unit_amount": "5", "unit_amount_decimal": "5"},
            "unit_amount",
            "Only one of unit_amount and unit_amount_decimal can be set.",
        ),
        (
            "price",
            "create",
            {"currency": "eur", "unit_amount": "5"},
            "product",
            "A price is made for one product",
        ),
        (
            "price",
            "create",
            {"currency": "euro", "product": "p", "unit_amount": "5"},
            "currency",
            "currency must be a three-letter currency code like eur.",
        ),
        (
            "price",
            "create",
            {"currency": "eur", "product": "p", "unit_amount": "-5"},
            "unit_amount",
            "unit_amount must be a whole number of at least 0.",
        ),
        (
            "price",
            "create",
            {"currency": "eur", "product": "p", "unit_amount_decimal": "0.0000000000001"},
            "unit_amount_decimal",
            "unit_amount_decimal must be a number with up to 12 decimal places",
        ),
        (
            "price",
            "create",
            {"currency": "eur", "product": "p", "billing_scheme": "tiered"},
            "tiers",
            "With billing_scheme tiered both tiers and tiers_mode are required.",
        ),
        (
            "coupon",
            "update",
            {"percent_off": "5"},
            "percent_off",
            "percent_off can be set only while a coupon is created, and never changes after that.",
        ),
        (
            "coupon",
            "create",
            {"percent_off": "120"},
            "percent_off",
            "percent_off must be a number without an exponent above 0 and up to 100.",
        ),
        (
            "coupon",
            "create",
            {"percent_off": "5", "amount_off": "5", "currency": "eur"},
            "amount_off",
            "A coupon takes off either amount_off or percent_off.",
        ),
        ("coupon", "create", {"amount_off": "5"}, "currency", "amount_off needs its currency."),
        (
            "coupon",
            "create",
            {"percent_off": "5", "duration": "repeating"},
            "duration_in_months",
            "A repeating coupon needs duration_in_months.",
        ),
        (
            "coupon",
            "create",
            {"percent_off": "5", "redeem_by": "2030-01-01"},
            "redeem_by",
            "redeem_by must be a time in unix seconds.",
        ),
        (
            "promotion_code",
            "create",
            {"promotion.type": "coupon"},
            "promotion.coupon",
            "A promotion of type coupon names its coupon.",
        ),
        ("promotion_code", "create", {"code": "TEA"}, "promotion", "A promotion_code needs promotion."),
        (
            "promotion_code",
            "update",
            {"code": "TEA"},
            "code",
            "code can be set only while a promotion_code is created",
        ),
        (
            "subscription",
            "create",
            {"description": "x"},
            "description",
            "A subscription is never created by a push; only updated.",
        ),
        ("subscription", "update", {"items": '[{"price": "price_1"}]'}, "items", "items.0 needs its id."),
        (
            "subscription",
            "update",
            {"add_invoice_items": "[]"},
            "add_invoice_items",
            "every update would bill the items anew",
        ),
        (
            "subscription",
            "update",
            {"trial_end": "later"},
            "trial_end",
            "trial_end must be a time in unix seconds, or now.",
        ),
        (
            "invoice_item",
            "create",
            {**ITEM, "pricing.price": "price_1"},
            "amount",
            "An invoice item has one price",
        ),
        ("invoice_item", "create", {"amount": "5"}, "customer", "An invoice item bills somebody"),
        (
            "invoice_item",
            "create",
            {**ITEM, "period.start": "1"},
            "period.end",
            "period is never sent without period.end; map it too.",
        ),
        ("invoice", "create", {"description": "x"}, "customer", "An invoice bills somebody"),
        (
            "invoice",
            "create",
            {"customer": "cus_1", "due_date": "1893456000"},
            "due_date",
            "only for invoices whose collection_method is send_invoice.",
        ),
        ("tax_id", "create", {"type": "eu_vat", "value": "1"}, "customer", "A tax_id needs customer."),
        ("tax_id", "update", {"value": "1"}, "value", "A tax_id is never updated by a push; only created."),
        (
            "meter_event",
            "create",
            {"event_name": "calls", "payload.value": "1"},
            "identifier",
            "A meter_event needs identifier.",
        ),
        (
            "tax_rate",
            "create",
            {"display_name": "x", "inclusive": "true", "percentage": "101"},
            "percentage",
            "percentage must be a number without an exponent of at least 0 and up to 100.",
        ),
        (
            "charge",
            "update",
            {"description": "x"},
            "description",
            "description of a charge is not written: only metadata of it is written.",
        ),
    ],
)
def test_rows_that_stripe_does_not_take(
    name: str, action: validity.Action, fields: dict[str, Any], field: str, sentence: str
) -> None:
    problems = found(name, action, fields)
    assert sentence in problems.get(field, ""), problems


# What the object has already.


def test_metadata_counts_the_keys_that_the_object_has_and_keeps() -> None:
    existing = {"metadata": {f"k{n}": "x" for n in range(49)}}
    assert found("customer", "update", {"metadata.new": "1"}, existing) == {}
    assert found("customer", "update", {"metadata.k1": "1", "metadata.new": "1"}, existing) == {}
    two = {"metadata.a": "1", "metadata.b": "2"}
    assert "more than the 50 keys" in found("customer", "update", two, existing)["metadata"]
    assert found("customer", "update", {**two, "metadata.k0": ""}, existing) == {}
    assert found("customer", "update", {"metadata": ""}, existing) == {}
    assert (
        "more than the 50 keys"
        in found("customer", "update", {"metadata": '{"a": "1", "b": "2"}'}, existing)["metadata"]
    )
    assert "metadata" in found("customer", "create", {f"metadata.k{n}": "1" for n in range(51)})


def test_what_a_whole_hash_has_already_need_not_be_given_again() -> None:
    has = {"shipping": {"name": "Jane", "address": {"line1": "Weg 1", "city": None}, "phone": None}}
    assert found("customer", "update", {"shipping.address.city": "Bonn"}, has) == {}
    assert set(found("customer", "update", {"shipping.address.city": "Bonn"}, {"shipping": None})) == {
        "shipping.name"
    }
    assert found("customer", "update", {"shipping.address.city": "Bonn"}) == {}, "not known yet"


def test_a_required_member_of_any_other_hash_is_sent_every_time() -> None:
    has = {"automatic_tax": {"enabled": True, "liability": None}}
    fields = {"automatic_tax.liability.type": "self"}
    assert set(found("subscription", "update", fields, has)) == {"automatic_tax.enabled"}


def test_rules_look_at_the_object_too() -> None:
    automatic = {"collection_method": "charge_automatically"}
    assert "due_date" in found("invoice", "update", {"due_date": "1893456000"}, automatic)
    assert found("invoice", "update", {"due_date": "1893456000"}, {"collection_method": "send_invoice"}) == {}
    sent = {"due_date": "1893456000", "collection_method": "send_invoice"}
    assert found("invoice", "update", sent, automatic) == {}


# Before it is known whether a row creates or updates.


def test_any_finds_only_what_both_would_refuse() -> None:
    assert found("price", "any", {"unit_amount": "5"}) == {}
    assert found("customer", "any", {"default_source": "card_1", "test_clock": "clock_1"}) == {}
    assert found("customer", "any", {"shipping.phone": "1", "tax.validate_location": "auto"}) == {}
    assert set(found("customer", "any", {"balance": "1", "emial": "x", "phone": "1" * 21})) == {
        "balance",
        "emial",
        "phone",
    }
    assert set(found("customer", "any", {"tax.validate_location": "never"})) == {"tax.validate_location"}


# Any rows.

WORDS = [
    "x",
    "1",
    "0",
    "-1",
    "1.5",
    "true",
    "now",
    "none",
    "eur",
    "coupon",
    "repeating",
    "tiered",
    "send_invoice",
    "jane@example.com",
]
JSON = [
    "[]",
    '["a"]',
    '[{"id": "1"}]',
    '[{"up_to": "inf"}]',
    "[{}]",
    '[{"coupon": null}]',
    "{}",
    '{"a": "b"}',
]
CELLS = st.sampled_from(["", *WORDS, *JSON, "\0", "y" * 600])


@st.composite
def rows(draw: st.DrawFn) -> tuple[writes.Object, validity.Action, dict[str, str | None]]:
    of = draw(st.sampled_from(list(OF.values())))
    paths = st.sampled_from(
        [*of.fields, "metadata.plan", "metadata.a[b", "currency_options.eur.unit_amount", "nothing"]
    )
    names = draw(st.lists(paths, min_size=1, max_size=8, unique=True))
    return (
        of,
        draw(st.sampled_from(["create", "update", "any"])),
        {path: draw(st.none() | CELLS) for path in names},
    )


@given(made=rows())
@settings(deadline=None, max_examples=600)
def test_what_has_no_problem_can_be_sent(
    made: tuple[writes.Object, validity.Action, dict[str, str | None]],
) -> None:
    of, action, fields = made
    if not validity.check(of, action, fields):
        body = forms.encode(forms.tree(of, fields))
        maps = {path for path, each in of.fields.items() if each.kind == "map"}
        silent = {path for path in maps if fields.get(path) == "{}"}
        silent |= {path for path, each in of.fields.items() if each.in_path}
        said = {path for path, value in fields.items() if value is not None}
        assert bool(body) == bool(said - silent)


# Nobody's data.


@given(value=st.text(min_size=1, max_size=30).map(lambda text: f"Zx{text}9Q"), data=st.data())
@settings(deadline=None, max_examples=300)
def test_no_sentence_holds_the_value(value: str, data: st.DataObject) -> None:
    of = data.draw(st.sampled_from(list(OF.values())))
    path = data.draw(st.sampled_from(list(of.fields)))
    for sentence in (problem.sentence for problem in validity.check(of, "any", {path: value})):
        assert value not in sentence
        assert sentence.endswith(".")


def test_every_kind_of_field_is_checked() -> None:
    kinds = {each.kind for of in OF.values() for each in of.fields.values()}
    assert kinds - {"list", "map", "hash"} <= set(values._CHECKS)


# The places where a test can stop a push.


def test_steps_are_heard_and_nobody_listens_outside_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    steps.reached("intent committed")
    monkeypatch.setattr(steps, "listener", heard.append)
    steps.reached("before the socket write")
    assert heard == ["before the socket write"]
    assert "listener: Callable[[str], None] | None = None" in inspect.getsource(steps)
