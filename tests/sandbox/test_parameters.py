"""Parameters below the top level: what is known, what it may hold, and what a refusal says."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from tidegate.sandbox import parameters

from .conftest import Stripe


def test_the_committed_file_is_what_the_package_says() -> None:
    committed = pathlib.Path(parameters.__file__).with_suffix(".json").read_bytes()

    assert committed == parameters.derive()


def test_a_hash_becomes_typed_values() -> None:
    given = {"recurring": {"interval": "month", "interval_count": "3"}, "tiers": [{"up_to": "inf"}]}

    assert parameters.fit("/v1/prices", "recurring", given["recurring"]) == {
        "interval": "month",
        "interval_count": 3,
    }
    assert parameters.fit("/v1/prices", "tiers", given["tiers"]) == [{"up_to": "inf"}]
    assert parameters.fit("/v1/prices", "nickname", "as it came") == "as it came"


@pytest.mark.parametrize(
    ("path", "given", "code", "param"),
    [
        ("customers", {"address": {"planet": "x"}}, "parameter_unknown", "address[planet]"),
        ("customers", {"address": "x"}, None, "address"),
        ("customers", {"address": {"line1": {"a": "b"}}}, None, "address[line1]"),
        ("customers", {"address": {"country": "USA"}}, None, "address[country]"),
        ("customers", {"shipping": {"name": "Ada"}}, "parameter_missing", "shipping[address]"),
        ("customers", {"shipping": {"address": {"line1": "x"}}}, "parameter_missing", "shipping[name]"),
        (
            "customers",
            {"shipping": {"name": "", "address": {"line1": "x"}}},
            "parameter_invalid_empty",
            "shipping[name]",
        ),
        ("customers", {"preferred_locales": "de"}, None, "preferred_locales"),
        ("customers", {"balance": "much"}, "parameter_invalid_integer", "balance"),
        ("customers", {"tax_exempt": "perhaps"}, None, "tax_exempt"),
        ("customers", {"name": ""}, "parameter_invalid_empty", "name"),
        ("customers", {"nmae": "x"}, "parameter_unknown", "nmae"),
        ("customers", {"default_source": "card_1"}, "parameter_unknown", "default_source"),
        ("customers", {"email": "ada@"}, "email_invalid", "email"),
        ("customers", {"email": "a b@example.com"}, "email_invalid", "email"),
        ("customers", {"email": "ada@example"}, "email_invalid", "email"),
        (
            "customers",
            {"tax_id_data": [{"type": "eu_vat", "value": "1"}]},
            "tax_id_invalid",
            "tax_id_data[0][value]",
        ),
        ("products", {"name": "Tea", "images": ["a"], "shippable": "maybe"}, None, "shippable"),
        ("coupons", {"percent_off": "101"}, None, "percent_off"),
        ("coupons", {"amount_off": "0", "currency": "usd"}, "parameter_invalid_integer", "amount_off"),
        ("coupons", {"percent_off": "10", "redeem_by": "5"}, None, "redeem_by"),
        (
            "prices",
            {
                "currency": "usd",
                "unit_amount": "1",
                "product_data": {"name": "x"},
                "recurring": {"interval": "eon"},
            },
            None,
            "recurring[interval]",
        ),
        (
            "prices",
            {"currency": "usd", "unit_amount": "-1", "product_data": {"name": "x"}},
            "parameter_invalid_integer",
            "unit_amount",
        ),
        ("tax_rates", {"display_name": "VAT", "inclusive": "true", "percentage": "x"}, None, "percentage"),
        ("tax_rates", {"display_name": "VAT", "percentage": "5"}, "parameter_missing", "inclusive"),
    ],
)
def test_a_wrong_parameter_is_named_and_nothing_is_made(
    stripe: Stripe, path: str, given: dict[str, Any], code: str | None, param: str
) -> None:
    answer = stripe.post(f"/v1/{path}", given)

    assert (answer.status, answer.error.get("code"), answer.error.get("param")) == (400, code, param)
    assert answer.error["type"] == "invalid_request_error"
    assert stripe.writes() == []
    assert stripe.events() == []


@pytest.mark.parametrize(
    ("path", "name", "most"),
    [
        ("customers", "phone", 20),
        ("customers", "name", 256),
        ("customers", "description", 5000),
        ("tax_rates", "display_name", 50),
    ],
)
def test_a_string_has_its_longest_length(stripe: Stripe, path: str, name: str, most: int) -> None:
    rate = {"inclusive": "true", "percentage": "19"} if path == "tax_rates" else {}
    fits = stripe.post(f"/v1/{path}", {**rate, name: "0123456789" * 500 if most == 5000 else "x" * most})
    answer = stripe.post(f"/v1/{path}", {**rate, name: "x" * (most + 1)})

    assert fits.status == 200
    assert (
        answer.error["message"]
        == f"Invalid string: {'x' * 10}...{'x' * 10}; must be at most {most} characters"
    )
    assert answer.error["param"] == name


def test_metadata_is_merged_by_key_cleared_by_an_empty_string_and_limited(stripe: Stripe) -> None:
    made = stripe.make("/v1/customers", metadata={"plan": "pro", "7": "a number", "note": "x"})
    path = f"/v1/customers/{made['id']}"
    assert made["metadata"] == {"plan": "pro", "7": "a number", "note": "x"}

    merged = stripe.make(path, metadata={"plan": "free", "note": ""})["metadata"]
    assert merged == {"plan": "free", "7": "a number"}
    fifty = stripe.make(path, metadata={f"k{i}": "v" for i in range(48)})["metadata"]
    over = stripe.post(path, {"metadata": {"one": "more"}})
    assert (len(fifty), over.status) == (50, 400)
    assert over.error["message"] == "Metadata can have up to 50 keys, this would be 51."
    exchanged = stripe.make(path, metadata={"k0": "", "one": "more"})["metadata"]
    assert len(exchanged) == 50
    assert stripe.make(path, metadata="")["metadata"] == {}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"metadata": {"k" * 41: "v"}}, f"metadata[{'k' * 41}]"),
        ({"metadata": {"k": "v" * 501}}, "metadata[k]"),
        ({"metadata": {"a[b]": "v"}}, "metadata[a[b]]"),
        ({"metadata": {"a": {"b": "v"}}}, "metadata[a]"),
        ({"metadata[]": "v"}, "metadata"),
        ({"metadata": "v"}, "metadata"),
    ],
)
def test_metadata_keys_and_values_are_short_and_flat(
    stripe: Stripe, body: dict[str, Any], param: str
) -> None:
    answer = stripe.post("/v1/customers", body)

    assert (answer.status, answer.error["param"]) == (400, param)


def test_metadata_within_a_hash_has_the_same_limits(stripe: Stripe) -> None:
    data = {"name": "Tea", "metadata": {"k" * 41: "v"}}
    answer = stripe.post("/v1/prices", {"currency": "usd", "unit_amount": 1, "product_data": data})

    assert (answer.status, stripe.events()) == (400, [])


def test_address_and_shipping_are_replaced_whole(stripe: Stripe) -> None:
    first = {"line1": "1 High St", "city": "London", "country": "GB"}
    made = stripe.make(
        "/v1/customers", address=first, shipping={"name": "Ada", "phone": "1", "address": first}
    )
    path = f"/v1/customers/{made['id']}"
    empty = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
    assert made["address"] == {**empty, **first}

    changed = stripe.make(
        path, address={"city": "Paris"}, shipping={"name": "Ada", "address": {"line1": "2"}}
    )
    assert changed["address"] == {**empty, "city": "Paris"}
    assert changed["shipping"] == {"name": "Ada", "phone": None, "address": {**empty, "line1": "2"}}
    cleared = stripe.make(path, address="", shipping="")
    assert (cleared["address"], cleared["shipping"]) == (None, None)


def test_only_text_and_what_says_so_is_unset_by_an_empty_string(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers", name="Ada", tax_exempt="exempt", preferred_locales=["de"])["id"]
    product = stripe.make("/v1/products", name="Tea", description="green")["id"]

    cleared = stripe.make(f"/v1/customers/{customer}", name="", tax_exempt="")
    assert (cleared["name"], cleared["tax_exempt"]) == (None, "none")
    assert stripe.make(f"/v1/products/{product}", description="")["description"] is None
    for path, name in (
        (f"/v1/customers/{customer}", "balance"),
        (f"/v1/customers/{customer}", "default_source"),
        (f"/v1/products/{product}", "name"),
        (f"/v1/products/{product}", "active"),
    ):
        assert stripe.post(path, {name: ""}).error["code"] == "parameter_invalid_empty"
