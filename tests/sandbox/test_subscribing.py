"""Subscriptions and their items."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from tidegate.sandbox import subscribing

from .conftest import NOW, Stripe


def moment(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp())


def monthly(stripe: Stripe, amount: int = 900) -> str:
    made = stripe.make(
        "/v1/prices",
        currency="usd",
        unit_amount=amount,
        recurring={"interval": "month"},
        product_data={"name": "Tea"},
    )
    return str(made["id"])


def subscribe(stripe: Stripe, *prices: str, **more: Any) -> dict[str, Any]:
    customer = stripe.make("/v1/customers")["id"]
    items = [{"price": price, "quantity": 2} for price in prices]
    return stripe.make("/v1/subscriptions", customer=customer, items=items, **more)


def types(stripe: Stripe) -> list[str]:
    return [event["type"] for event in stripe.events()]


@pytest.mark.parametrize(
    ("start", "recurring", "end"),
    [
        ("2026-01-31", {"interval": "month"}, "2026-02-28"),
        ("2024-01-31", {"interval": "month"}, "2024-02-29"),
        ("2026-11-15", {"interval": "month", "interval_count": 3}, "2027-02-15"),
        ("2024-02-29", {"interval": "year"}, "2025-02-28"),
        ("2026-12-31", {"interval": "week", "interval_count": 2}, "2027-01-14"),
        ("2026-12-31", {"interval": "day"}, "2027-01-01"),
    ],
)
def test_a_period_ends_on_the_same_day_or_the_months_last(
    start: str, recurring: dict[str, Any], end: str
) -> None:
    assert subscribing.period_end(moment(start), recurring) == moment(end)


def test_a_new_subscription_is_active_and_its_first_invoice_paid(stripe: Stripe) -> None:
    price = monthly(stripe)
    made = subscribe(stripe, price)
    invoice = stripe.get(f"/v1/invoices/{made['latest_invoice']}", {"expand": ["payments"]}).json
    item = made["items"]["data"][0]

    assert (made["status"], item["price"]["id"], item["quantity"]) == ("active", price, 2)
    assert item["current_period_end"] > item["current_period_start"] == NOW + 60
    assert (invoice["status"], invoice["total"], invoice["amount_paid"]) == ("paid", 1800, 1800)
    assert invoice["parent"]["subscription_details"]["subscription"] == made["id"]
    assert invoice["lines"]["data"][0]["pricing"]["price_details"]["price"] == price
    intent = invoice["payments"]["data"][0]["payment"]["payment_intent"]
    assert stripe.get(f"/v1/payment_intents/{intent}").json["status"] == "succeeded"


def test_a_trial_costs_nothing_yet(stripe: Stripe) -> None:
    made = subscribe(stripe, monthly(stripe), trial_period_days=14)

    assert (made["status"], made["trial_end"]) == ("trialing", NOW + 60 + 14 * 86_400)
    assert stripe.get(f"/v1/invoices/{made['latest_invoice']}").json["total"] == 0
    ended = stripe.make(f"/v1/subscriptions/{made['id']}", trial_end="now")
    assert ended["status"] == "active"


def test_an_incomplete_subscription_becomes_active_when_paid(stripe: Stripe) -> None:
    made = subscribe(stripe, monthly(stripe), payment_behavior="default_incomplete")
    assert made["status"] == "incomplete"
    stripe.make(f"/v1/invoices/{made['latest_invoice']}/pay")

    assert stripe.get(f"/v1/subscriptions/{made['id']}").json["status"] == "active"
    assert types(stripe)[-1] == "customer.subscription.updated"


def test_twelve_items_are_all_had_and_one_can_go(stripe: Stripe) -> None:
    made = subscribe(stripe, *(monthly(stripe, 100 + i) for i in range(12)))
    assert (len(made["items"]["data"]), made["items"]["has_more"]) == (10, True)
    everything = stripe.walk(made["items"]["url"])
    assert len(everything) == 12
    gone = everything[11]["id"]

    assert stripe.delete(f"/v1/subscription_items/{gone}").json["deleted"] is True

    left = stripe.walk("/v1/subscription_items", subscription=made["id"])
    assert [one["id"] for one in left] == [one["id"] for one in everything[:11]]
    assert stripe.get(f"/v1/subscription_items/{gone}").status == 404
    assert types(stripe)[-1] == "customer.subscription.updated"


def test_items_change_through_their_subscription(stripe: Stripe) -> None:
    first, second = monthly(stripe), monthly(stripe, 500)
    made = subscribe(stripe, first)
    item = made["items"]["data"][0]["id"]

    changed = stripe.make(
        f"/v1/subscriptions/{made['id']}", items=[{"id": item, "quantity": 5}, {"price": second}]
    )

    assert [(one["price"]["id"], one["quantity"]) for one in changed["items"]["data"]] == [
        (first, 5),
        (second, 1),
    ]
    event = stripe.events()[-1]
    assert types(stripe).count("customer.subscription.updated") == 1
    assert event["data"]["previous_attributes"]["items"]["data"][0]["quantity"] == 2
    only = stripe.make(f"/v1/subscriptions/{made['id']}", items=[{"id": item, "deleted": True}])
    assert [one["price"]["id"] for one in only["items"]["data"]] == [second]


def test_the_last_item_cannot_go(stripe: Stripe) -> None:
    made = subscribe(stripe, monthly(stripe))
    item = made["items"]["data"][0]["id"]

    assert stripe.delete(f"/v1/subscription_items/{item}").status == 400
    refused = stripe.post(f"/v1/subscriptions/{made['id']}", {"items": [{"id": item, "deleted": True}]})
    assert refused.status == 400
    assert stripe.get(f"/v1/subscription_items/{item}").status == 200


def test_items_are_added_and_changed_by_themselves(stripe: Stripe) -> None:
    made = subscribe(stripe, monthly(stripe))
    added = stripe.make(
        "/v1/subscription_items", subscription=made["id"], price=monthly(stripe, 50), quantity=3
    )
    changed = stripe.make(f"/v1/subscription_items/{added['id']}", quantity=4)

    assert (added["quantity"], changed["quantity"]) == (3, 4)
    shown = stripe.get(f"/v1/subscriptions/{made['id']}").json["items"]["data"]
    assert [one["quantity"] for one in shown] == [2, 4]
    told = [type for type in types(stripe) if type != "invoiceitem.created"]
    assert told[-2:] == ["customer.subscription.updated"] * 2


def test_a_canceled_subscription_stays_under_status_all(stripe: Stripe) -> None:
    made = subscribe(stripe, monthly(stripe))["id"]
    canceled = stripe.delete(f"/v1/subscriptions/{made}", {"cancellation_details": {"comment": "bye"}}).json

    assert (canceled["status"], canceled["ended_at"]) == ("canceled", NOW + 60)
    assert canceled["cancellation_details"]["comment"] == "bye"
    assert made not in stripe.get("/v1/subscriptions", {"limit": 100}).ids
    assert made in stripe.get("/v1/subscriptions", {"limit": 100, "status": "all"}).ids
    assert types(stripe)[-1] == "customer.subscription.deleted"
    assert stripe.delete(f"/v1/subscriptions/{made}").status == 404
    assert (
        stripe.post(f"/v1/subscriptions/{made}", {"description": "x"}).error["code"]
        == "subscription_canceled"
    )
    assert stripe.make(f"/v1/subscriptions/{made}", metadata={"a": "1"})["metadata"] == {"a": "1"}


def test_cancel_at_period_end_and_back(stripe: Stripe) -> None:
    made = subscribe(stripe, monthly(stripe))
    ending = stripe.make(f"/v1/subscriptions/{made['id']}", cancel_at_period_end=True)
    back = stripe.make(f"/v1/subscriptions/{made['id']}", cancel_at_period_end=False)

    assert ending["cancel_at"] == made["items"]["data"][0]["current_period_end"]
    assert (back["cancel_at"], back["canceled_at"], back["status"]) == (None, None, "active")


def test_a_discount_redeems_its_coupon(stripe: Stripe) -> None:
    stripe.make("/v1/coupons", id="SPRING", percent_off=10)
    code = stripe.make("/v1/promotion_codes", promotion={"type": "coupon", "coupon": "SPRING"})["id"]
    made = subscribe(stripe, monthly(stripe), discounts=[{"promotion_code": code}])

    assert made["discounts"][0].startswith("di_")
    assert stripe.get("/v1/coupons/SPRING").json["times_redeemed"] == 1
    assert "customer.discount.created" in types(stripe)


def test_a_base_subscription_can_be_canceled(stripe: Stripe) -> None:
    base = stripe.get("/v1/subscriptions").json["data"][0]
    canceled = stripe.delete(f"/v1/subscriptions/{base['id']}").json

    assert canceled["status"] == "canceled"
    assert canceled["items"] == base["items"]


@pytest.mark.parametrize("missing", ["customer", "items"])
def test_what_a_subscription_needs(stripe: Stripe, missing: str) -> None:
    given = {"customer": stripe.make("/v1/customers")["id"], "items": [{"price": monthly(stripe)}]}
    given.pop(missing)

    answer = stripe.post("/v1/subscriptions", given)

    assert (answer.error["code"], answer.error["param"]) == ("parameter_missing", missing)


def test_a_one_time_price_is_no_subscription(stripe: Stripe) -> None:
    once = stripe.make("/v1/prices", currency="usd", unit_amount=5, product_data={"name": "Cup"})["id"]
    customer = stripe.make("/v1/customers")["id"]

    answer = stripe.post("/v1/subscriptions", {"customer": customer, "items": [{"price": once}]})

    assert answer.status == 400
    assert "type=recurring" in answer.error["message"]
