"""Deleted objects, asked for by id: the four that answer `deleted: true`, and all others, which are not there."""

from __future__ import annotations

import pytest

from .conftest import NOW, Stripe


@pytest.mark.parametrize(
    ("path", "object"),
    [
        ("/v1/customers", "customer"),
        ("/v1/terminal/locations", "terminal.location"),
        ("/v1/terminal/readers", "terminal.reader"),
        ("/v1/terminal/configurations", "terminal.configuration"),
    ],
)
def test_some_answer_that_they_were_deleted(stripe: Stripe, path: str, object: str) -> None:
    id = stripe.get(path).ids[0]
    stripe.delete(f"{path}/{id}")

    answer = stripe.get(f"{path}/{id}")
    assert (answer.status, answer.json) == (200, {"id": id, "object": object, "deleted": True})
    assert id not in stripe.get(path, {"limit": 100}).ids
    assert stripe.post(f"{path}/{id}", {"metadata": {"a": "1"}}).status == 404


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/v1/products", {"name": "Tea"}),
        ("/v1/coupons", {"percent_off": 10}),
        ("/v1/plans", {"amount": 5, "currency": "usd", "interval": "month", "product": {"name": "Tea"}}),
        ("/v1/radar/value_lists", {"alias": "a", "name": "A"}),
        ("/v1/tax_ids", {"type": "eu_vat", "value": "DE123456789"}),
        ("/v1/webhook_endpoints", {"url": "https://example.com", "enabled_events": ["*"]}),
    ],
)
def test_others_are_not_there(stripe: Stripe, path: str, given: dict[str, object]) -> None:
    id = stripe.make(path, **given)["id"]
    assert stripe.delete(f"{path}/{id}").json["deleted"] is True

    answer = stripe.get(f"{path}/{id}")
    assert (answer.status, answer.error["code"]) == (404, "resource_missing")


def test_a_draft_invoice_and_its_items(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers")["id"]
    invoice = stripe.make("/v1/invoices", customer=customer, currency="usd")["id"]
    item = stripe.make("/v1/invoiceitems", customer=customer, amount=500, currency="usd")["id"]
    stripe.make(f"/v1/invoices/{invoice}/add_lines", lines=[{"amount": 100}])
    stripe.delete(f"/v1/invoices/{invoice}")
    stripe.delete(f"/v1/invoiceitems/{item}")

    for path in (f"/v1/invoices/{invoice}", f"/v1/invoices/{invoice}/lines", f"/v1/invoiceitems/{item}"):
        assert (stripe.get(path).status, stripe.get(path).error["code"]) == (404, "resource_missing")


def test_what_lay_below_a_deleted_customer_is_gone_too(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers")["id"]
    below = f"/v1/customers/{customer}"
    card = stripe.make(f"{below}/sources", source="tok_visa")["id"]
    tax = stripe.make(f"{below}/tax_ids", type="eu_vat", value="DE123456789")["id"]
    method = stripe.make("/v1/payment_methods/pm_card_visa/attach", customer=customer)["id"]
    stripe.make(below, invoice_settings={"default_payment_method": method})
    stripe.delete(below)

    for path in (f"{below}/sources/{card}", f"{below}/tax_ids/{tax}", f"{below}/payment_methods/{method}"):
        assert stripe.get(path).status == 404
    for path in (f"{below}/sources", f"{below}/tax_ids", f"{below}/payment_methods"):
        assert stripe.get(path).status == 404
    assert stripe.get(f"/v1/payment_methods/{method}").json["customer"] is None
    (detached,) = stripe.events(type="payment_method.detached")
    assert detached["data"]["previous_attributes"] == {"customer": customer}


def test_a_generated_customer_takes_its_means_of_payment_along(stripe: Stripe) -> None:
    for customer in stripe.walk("/v1/customers"):
        below = f"/v1/customers/{customer['id']}"
        cards = stripe.get(f"{below}/sources", {"object": "card"}).ids
        methods = stripe.get(f"{below}/payment_methods").ids
        if cards and methods:
            break
    stripe.delete(below)

    assert stripe.get(f"{below}/sources/{cards[0]}").status == 404
    assert {stripe.get(f"/v1/payment_methods/{one}").json["customer"] for one in methods} == {None}


def test_a_card_that_was_the_default_hands_over(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers")["id"]
    first = stripe.make(f"/v1/customers/{customer}/sources", source="tok_visa")["id"]
    second = stripe.make(f"/v1/customers/{customer}/sources", source="tok_visa")["id"]
    assert stripe.get(f"/v1/customers/{customer}").json["default_source"] == first
    stripe.delete(f"/v1/customers/{customer}/sources/{first}")

    assert stripe.get(f"/v1/customers/{customer}").json["default_source"] == second
    assert stripe.get(f"/v1/customers/{customer}/sources/{first}").status == 404
    last = stripe.events(type="customer.updated")[-1]
    assert last["data"]["previous_attributes"] == {"default_source": first}


def test_a_plan_takes_its_price_along_and_its_product_may_go_then(stripe: Stripe) -> None:
    given = {"amount": 500, "currency": "usd", "interval": "month", "product": {"name": "Tea"}}
    plan = stripe.make("/v1/plans", **given)
    price = stripe.get(f"/v1/prices/{plan['id']}").json
    assert (price["unit_amount"], price["recurring"]["interval"]) == (500, "month")
    assert stripe.delete(f"/v1/products/{plan['product']}").status == 400
    stripe.delete(f"/v1/plans/{plan['id']}")

    assert stripe.get(f"/v1/prices/{plan['id']}").status == 404
    assert stripe.delete(f"/v1/products/{plan['product']}").status == 200
    assert [event["type"] for event in stripe.events()][-3:] == [
        "price.deleted",
        "plan.deleted",
        "product.deleted",
    ]


def test_a_generated_id_that_is_taken_again_is_new(stripe: Stripe) -> None:
    """It stands where its new creation puts it, not where the old one stood."""
    old = stripe.walk("/v1/coupons")[-1]
    stripe.delete(f"/v1/coupons/{old['id']}")
    made = stripe.make("/v1/coupons", id=old["id"], percent_off=50)

    assert made["created"] == NOW + 60 > old["created"]
    assert stripe.get("/v1/coupons").ids[0] == old["id"]
    assert [one["id"] for one in stripe.walk("/v1/coupons", limit=2)].count(old["id"]) == 1
    assert stripe.get("/v1/coupons", {"created": {"gte": NOW}}).ids == [old["id"]]
    stripe.delete(f"/v1/coupons/{old['id']}")
    assert old["id"] not in [one["id"] for one in stripe.walk("/v1/coupons")]


def test_a_product_that_is_made_again_has_none_of_the_old_features(stripe: Stripe) -> None:
    feature = stripe.make("/v1/entitlements/features", name="F", lookup_key="f")["id"]
    stripe.make("/v1/products", id="tea", name="Tea")
    stripe.make("/v1/products/tea/features", entitlement_feature=feature)
    stripe.delete("/v1/products/tea")
    stripe.make("/v1/products", id="tea", name="Tea again")

    assert stripe.get("/v1/products/tea/features").ids == []


def test_expansions_reach_several_levels_and_what_was_deleted(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers")["id"]
    given = {"amount": 900, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True}
    intent = stripe.make("/v1/payment_intents", customer=customer, **given)["id"]
    stripe.delete(f"/v1/customers/{customer}")
    paths = ["customer", "latest_charge.balance_transaction", "latest_charge.refunds"]
    shown = stripe.get(f"/v1/payment_intents/{intent}", {"expand": paths}).json

    assert shown["customer"] == {"id": customer, "object": "customer", "deleted": True}
    assert shown["latest_charge"]["balance_transaction"]["net"] == 900 - 56
    assert shown["latest_charge"]["refunds"]["data"] == []
