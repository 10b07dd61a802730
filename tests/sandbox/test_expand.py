"""`expand[]`: references, lists that are absent unless asked for, four levels, and what cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.sandbox import world

from .conftest import NOW, Stripe


@pytest.fixture(scope="module")
def stripe() -> Any:
    one = Stripe(world.build(objects=4_000, accounts=2, now=NOW))
    yield one
    one.close()


def get(stripe: Stripe, path: str, *expand: str) -> Any:
    answer = stripe.get(path, {"expand": list(expand)})
    assert answer.status == 200, answer.body
    return answer.json


def paid(stripe: Stripe) -> dict[str, Any]:
    """A charge with a customer and a payment intent."""
    return next(one for one in stripe.walk("/v1/charges") if one["customer"] and one["payment_intent"])


def test_a_reference_becomes_its_object(stripe: Stripe) -> None:
    charge = paid(stripe)
    expanded = get(stripe, f"/v1/charges/{charge['id']}", "customer")

    assert expanded["customer"] == stripe.get(f"/v1/customers/{charge['customer']}").json
    assert {**expanded, "customer": charge["customer"]} == charge


def test_in_a_list_the_path_begins_with_data(stripe: Stripe) -> None:
    customer = paid(stripe)["customer"]
    page = get(stripe, f"/v1/charges?customer={customer}", "data.customer")

    assert {one["customer"]["id"] for one in page["data"]} == {customer}
    refused = stripe.get("/v1/charges", {"expand": ["customer"]})
    assert refused.status == 400
    assert refused.error["message"] == (
        "This property cannot be expanded (customer). You may want to try expanding 'data.customer' instead."
    )


def test_references_of_references(stripe: Stripe) -> None:
    charge = paid(stripe)
    expanded = get(stripe, f"/v1/charges/{charge['id']}", "payment_intent.customer", "balance_transaction")

    assert expanded["payment_intent"]["customer"]["object"] == "customer"
    assert expanded["payment_intent"]["id"] == charge["payment_intent"]
    assert expanded["balance_transaction"]["source"] == charge["id"]


def test_four_levels_and_not_five(stripe: Stripe) -> None:
    charge = paid(stripe)
    path = "payment_intent.latest_charge.payment_intent.customer"
    expanded = get(stripe, f"/v1/charges/{charge['id']}", path)

    innermost = expanded["payment_intent"]["latest_charge"]["payment_intent"]["customer"]
    assert innermost["id"] == charge["customer"]
    refused = stripe.get(f"/v1/charges/{charge['id']}", {"expand": [path + ".sources"]})
    assert refused.status == 400
    assert "more than 4 levels" in refused.error["message"]


@pytest.mark.parametrize(
    ("path", "nested"),
    [
        ("/v1/customers", "sources"),
        ("/v1/customers", "tax_ids"),
        ("/v1/customers", "subscriptions"),
        ("/v1/charges", "refunds"),
        ("/v1/checkout/sessions", "line_items"),
        ("/v1/payment_links", "line_items"),
        ("/v1/quotes", "line_items"),
        ("/v1/invoices", "payments"),
    ],
)
def test_lists_that_are_absent_unless_expanded(stripe: Stripe, path: str, nested: str) -> None:
    plain = stripe.walk(path)
    expanded = stripe.walk(path, expand=[f"data.{nested}"])

    assert all(nested not in one for one in plain)
    assert [{name: value for name, value in one.items() if name != nested} for one in expanded] == plain
    assert any(one[nested]["data"] for one in expanded)
    for one in sorted(expanded, key=lambda one: -len(one[nested]["data"]))[:3]:
        everything = stripe.walk(one[nested]["url"])
        assert one[nested]["data"] == everything[:10]
        assert one[nested]["has_more"] == (len(everything) > 10)


def test_fields_that_are_absent_unless_expanded(stripe: Stripe) -> None:
    tiered = [
        one for one in stripe.walk("/v1/prices", expand=["data.tiers"]) if one["billing_scheme"] == "tiered"
    ]

    assert tiered
    assert all(one["tiers"] for one in tiered)
    assert "tiers" not in stripe.get(f"/v1/prices/{tiered[0]['id']}").json
    assert get(stripe, f"/v1/prices/{tiered[0]['id']}", "tiers")["tiers"] == tiered[0]["tiers"]


def test_references_inside_a_nested_list(stripe: Stripe) -> None:
    charge = next(one for one in stripe.walk("/v1/charges") if one["amount_refunded"])
    expanded = get(stripe, f"/v1/charges/{charge['id']}", "refunds.data.balance_transaction")

    for refund in expanded["refunds"]["data"]:
        assert refund["balance_transaction"]["source"] == refund["id"]


def test_references_inside_nested_hashes(stripe: Stripe) -> None:
    invoice = next(one for one in stripe.walk("/v1/invoices") if one["parent"])
    expanded = get(stripe, f"/v1/invoices/{invoice['id']}", "parent.subscription_details.subscription")

    assert expanded["parent"]["subscription_details"]["subscription"]["object"] == "subscription"


def test_a_null_stays_null(stripe: Stripe) -> None:
    guest = next(one for one in stripe.walk("/v1/charges") if one["customer"] is None)

    assert get(stripe, f"/v1/charges/{guest['id']}", "customer.default_source")["customer"] is None


@pytest.mark.parametrize("wrong", ["amount", "nothing", "email.x"])
def test_what_cannot_be_expanded_is_refused(stripe: Stripe, wrong: str) -> None:
    answer = stripe.get("/v1/charges", {"expand": [f"data.{wrong}"]})

    assert answer.status == 400
    assert answer.error["message"].startswith("This property cannot be expanded")


def test_a_deleted_customer_expands_to_what_is_left(stripe: Stripe) -> None:
    made = stripe.make("/v1/customers")["id"]
    intent = stripe.make("/v1/payment_intents", amount=500, currency="usd", customer=made)["id"]
    stripe.delete(f"/v1/customers/{made}")

    expanded = get(stripe, f"/v1/payment_intents/{intent}", "customer")

    assert expanded["customer"] == {"id": made, "object": "customer", "deleted": True}


def test_an_answer_to_a_write_expands_too(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers", name="Ada")
    intent = stripe.make(
        "/v1/payment_intents", amount=500, currency="usd", customer=customer["id"], expand=["customer"]
    )

    assert intent["customer"]["name"] == "Ada"


def test_a_wrong_expansion_makes_nothing(stripe: Stripe) -> None:
    before = stripe.get("/v1/customers").ids

    assert stripe.post("/v1/customers", {"expand": ["nothing"]}).status == 400
    assert stripe.get("/v1/customers").ids == before
