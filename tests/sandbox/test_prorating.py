"""Prorations: what changing a subscription amid its period charges and gives back."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import NOW, Stripe

HALF = 15 * 86_400


def subscribed(stripe: Stripe, **more: Any) -> dict[str, Any]:
    """A subscription to 2 × 10.00 for 30 days, of which half are over."""
    stripe.make("/v1/customers", name="Ada")
    customer = stripe.get("/v1/customers", {"limit": 1}).ids[0]
    monthly = price(stripe, 1000)
    made = stripe.make(
        "/v1/subscriptions", customer=customer, items=[{"price": monthly, "quantity": 2}], **more
    )
    stripe.clock.advance(HALF)
    return made


def price(stripe: Stripe, amount: int) -> str:
    recurring = {"interval": "day", "interval_count": 30}
    given = {
        "currency": "usd",
        "unit_amount": amount,
        "product_data": {"name": "Tea"},
        "recurring": recurring,
    }
    return str(stripe.make("/v1/prices", **given)["id"])


def pending(stripe: Stripe, made: dict[str, Any]) -> list[tuple[int, bool]]:
    items = stripe.walk("/v1/invoiceitems", customer=made["customer"])
    return sorted((item["amount"], item["proration"]) for item in items)


def test_another_quantity_is_prorated_unless_it_is_said_not_to_be(stripe: Stripe) -> None:
    made = subscribed(stripe)
    item, path = made["items"]["data"][0]["id"], f"/v1/subscriptions/{made['id']}"

    stripe.make(path, items=[{"id": item, "quantity": 3}], proration_behavior="none")
    assert pending(stripe, made) == []
    stripe.make(path, items=[{"id": item, "quantity": 5}])
    assert pending(stripe, made) == [(-1500, True), (2500, True)]


def test_an_item_without_an_id_is_added_and_charged(stripe: Stripe) -> None:
    made = subscribed(stripe)
    dearer = price(stripe, 4000)

    changed = stripe.make(f"/v1/subscriptions/{made['id']}", items=[{"price": dearer}])

    assert [one["quantity"] for one in changed["items"]["data"]] == [2, 1]
    assert pending(stripe, made) == [(4000, True)]


def test_an_item_that_goes_is_given_back(stripe: Stripe) -> None:
    made = subscribed(stripe)
    item, other = made["items"]["data"][0]["id"], price(stripe, 500)
    stripe.make(
        f"/v1/subscriptions/{made['id']}",
        items=[{"id": item, "deleted": True}, {"price": other}],
    )

    assert pending(stripe, made) == [(-1000, True), (500, True)]


def test_always_invoice_bills_at_once(stripe: Stripe) -> None:
    made = subscribed(stripe)
    item = made["items"]["data"][0]["id"]
    given = {"items": [{"id": item, "quantity": 4}], "proration_behavior": "always_invoice"}
    changed = stripe.make(f"/v1/subscriptions/{made['id']}", **given)

    invoice = stripe.get(f"/v1/invoices/{changed['latest_invoice']}").json
    assert changed["latest_invoice"] != made["latest_invoice"]
    assert (invoice["status"], invoice["total"], invoice["billing_reason"]) == (
        "paid",
        1000,
        "subscription_update",
    )


def test_a_moment_of_its_own_may_be_prorated_from(stripe: Stripe) -> None:
    made = subscribed(stripe)
    item = made["items"]["data"][0]["id"]
    stripe.make(f"/v1/subscription_items/{item}", quantity=1, proration_date=NOW + 60 + HALF + HALF // 3 * 2)

    assert pending(stripe, made) == [(-333, True), (167, True)]


def test_metadata_is_no_reason_to_prorate(stripe: Stripe) -> None:
    made = subscribed(stripe)
    item = made["items"]["data"][0]["id"]
    stripe.make(f"/v1/subscriptions/{made['id']}", metadata={"a": "1"}, items=[{"id": item, "quantity": 2}])

    assert pending(stripe, made) == []
    (event,) = stripe.events(type="customer.subscription.updated")
    assert event["data"]["previous_attributes"] == {"metadata": {"a": None}}


def test_a_trial_is_not_prorated(stripe: Stripe) -> None:
    made = subscribed(stripe, trial_period_days=20)
    stripe.make(f"/v1/subscriptions/{made['id']}", items=[{"price": price(stripe, 100)}])

    assert pending(stripe, made) == []


def test_a_wrong_item_changes_nothing_of_the_others(stripe: Stripe) -> None:
    made = subscribed(stripe)
    item, path = made["items"]["data"][0]["id"], f"/v1/subscriptions/{made['id']}"
    before = stripe.get(path).body
    for wrong in ({"id": "si_nobody", "quantity": 1}, {"price": "price_nobody"}, {"id": item, "price": "x"}):
        answer = stripe.post(path, {"items": [{"price": price(stripe, 1)}, wrong]})
        assert (answer.status, answer.error["code"]) == (400, "resource_missing")

    assert stripe.get(path).body == before


@pytest.mark.parametrize(
    ("given", "ends"),
    [
        ({"cancel_at": NOW + 60 + 20 * 86_400}, NOW + 60 + 20 * 86_400),
        ({"cancel_at": "max_period_end"}, NOW + 60 + 30 * 86_400),
        ({"cancel_at_period_end": True}, NOW + 60 + 30 * 86_400),
    ],
)
def test_an_end_is_planned_and_taken_back(stripe: Stripe, given: dict[str, Any], ends: int) -> None:
    made = subscribed(stripe)
    path = f"/v1/subscriptions/{made['id']}"
    planned = stripe.make(path, **given)
    assert (planned["cancel_at"], planned["canceled_at"]) == (ends, NOW + 60 + HALF)
    assert planned["cancel_at_period_end"] is given.get("cancel_at_period_end", False)
    assert planned["cancellation_details"]["reason"] == "cancellation_requested"

    back = {"cancel_at": ""} if "cancel_at" in given else {"cancel_at_period_end": False}
    kept = stripe.make(path, **back)
    assert (kept["cancel_at"], kept["canceled_at"], kept["status"]) == (None, None, "active")
    assert kept["cancellation_details"]["reason"] is None


def test_an_end_is_said_in_one_way_and_not_over(stripe: Stripe) -> None:
    path = f"/v1/subscriptions/{subscribed(stripe)['id']}"

    assert stripe.post(path, {"cancel_at": NOW + 10**8, "cancel_at_period_end": True}).status == 400
    assert stripe.post(path, {"cancel_at": NOW}).error["param"] == "cancel_at"
