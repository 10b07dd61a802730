"""API versions: the account's own shapes its events, the request's its answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tidegate.sandbox import versions, world

from .conftest import NOW, Stripe

OLD = "2020-03-02"
BEFORE_BASIL = "2025-02-24.acacia"


@pytest.fixture
def stripe(start: Callable[..., Stripe]) -> Stripe:
    return start(world.build(objects=3_000, now=NOW))


def at(stripe: Stripe, version: str, path: str, **params: Any) -> Any:
    answer = stripe.get(path, params, headers={"Stripe-Version": version})
    assert answer.status == 200, answer.body
    return answer.json


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("2020-08-27", True),
        ("2025-03-31.basil", True),
        ("2026-10-28.endive", True),
        ("2026-01-28.clover", True),
        ("2026-12-01.later", False),
        ("2020-08-28", False),
        ("latest", False),
    ],
)
def test_which_versions_there_were(version: str, known: bool) -> None:
    assert versions.known(version, "2026-10-28.endive") is known


def test_an_old_subscription_has_its_own_period(stripe: Stripe) -> None:
    now = stripe.get("/v1/subscriptions", {"limit": 1}).json["data"][0]
    old = at(stripe, BEFORE_BASIL, f"/v1/subscriptions/{now['id']}")
    item = now["items"]["data"][0]

    assert "current_period_end" not in now
    assert old["current_period_end"] == item["current_period_end"]
    assert all("current_period_end" not in one for one in old["items"]["data"])


def test_an_old_invoice_names_subscription_charge_and_intent(stripe: Stripe) -> None:
    now = next(one for one in stripe.walk("/v1/invoices") if one["status"] == "paid" and one["parent"])
    old = at(stripe, BEFORE_BASIL, f"/v1/invoices/{now['id']}")

    assert old["subscription"] == now["parent"]["subscription_details"]["subscription"]
    assert old["paid"] is True
    assert "parent" not in old
    charge = stripe.get(f"/v1/charges/{old['charge']}").json
    assert charge["payment_intent"] == old["payment_intent"]
    assert at(stripe, BEFORE_BASIL, f"/v1/charges/{old['charge']}")["invoice"] == now["id"]
    assert old["lines"]["data"][0]["price"]["object"] == "price"


def test_old_objects_embed_what_is_expanded_today(stripe: Stripe) -> None:
    charge = next(one["id"] for one in stripe.walk("/v1/charges") if one["amount_refunded"])
    customer = stripe.get("/v1/customers", {"limit": 1}).ids[0]

    assert at(stripe, OLD, f"/v1/charges/{charge}")["refunds"]["data"]
    assert "refunds" not in at(stripe, "2022-11-15", f"/v1/charges/{charge}")
    assert {"sources", "subscriptions", "tax_ids"} <= set(at(stripe, OLD, f"/v1/customers/{customer}"))


def test_lists_are_shown_at_the_version_too(stripe: Stripe) -> None:
    page = at(stripe, BEFORE_BASIL, "/v1/subscriptions", limit=3)

    assert all("current_period_end" in one for one in page["data"])


def test_events_are_made_at_the_accounts_version_whatever_the_request_says(
    start: Callable[..., Stripe],
) -> None:
    stripe = start(world.build(objects=3_000, now=NOW), api_version=OLD)
    charge = next(one["id"] for one in stripe.walk("/v1/charges") if one["amount_refunded"])
    current = stripe.made.facts.api_version

    stripe.post(f"/v1/charges/{charge}", {"metadata": {"a": "1"}}, headers={"Stripe-Version": current})
    found = at(stripe, current, "/v1/events", created={"gt": NOW})["data"]

    assert [event["type"] for event in found] == ["charge.updated"]
    assert found[0]["api_version"] == OLD
    assert found[0]["data"]["object"]["refunds"]["data"]


def test_without_a_header_the_accounts_version_answers(stripe: Stripe) -> None:
    connected = stripe.get("/v1/accounts").ids[0]
    stripe.control("version", {"version": BEFORE_BASIL, "account": connected})

    theirs = stripe.get("/v1/subscriptions", headers={"Stripe-Account": connected})
    ours = stripe.get("/v1/subscriptions")

    assert theirs.headers["Stripe-Version"] == BEFORE_BASIL
    assert all("current_period_end" in one for one in theirs.json["data"])
    assert not any("current_period_end" in one for one in ours.json["data"])


def test_a_discount_named_its_coupon_itself() -> None:
    stripe = Stripe(world.build(counts={}, accounts=0, now=NOW), api_version=BEFORE_BASIL)
    try:
        stripe.make("/v1/coupons", id="SPRING", percent_off=10)
        price = stripe.make(
            "/v1/prices",
            currency="usd",
            unit_amount=5,
            recurring={"interval": "day"},
            product_data={"name": "x"},
        )["id"]
        customer = stripe.make("/v1/customers")["id"]
        given = {"customer": customer, "items": [{"price": price}], "discounts": [{"coupon": "SPRING"}]}
        stripe.make("/v1/subscriptions", **given)
        (event,) = stripe.events(type="customer.discount.created")
    finally:
        stripe.close()

    assert event["data"]["object"]["coupon"]["percent_off"] == 10
    assert "source" not in event["data"]["object"]


# What a request may say


@pytest.mark.parametrize("version", ["2024-06-20", "2025-12-15.clover", "2026-08-26.dahlia"])
def test_a_parameter_that_is_gone_today_is_taken_at_an_older_version(stripe: Stripe, version: str) -> None:
    asked = {"amount": 2000, "currency": "usd", "payment_method_types": ["card"]}
    older = stripe.post("/v1/payment_intents", asked, headers={"Stripe-Version": version})
    assert (older.status, older.json["payment_method_types"]) == (200, ["card"])


def test_a_parameter_that_is_gone_is_unknown_today(stripe: Stripe) -> None:
    asked = {"amount": 2000, "currency": "usd", "payment_method_types": ["card"]}
    today = stripe.post("/v1/payment_intents", asked)
    assert (today.status, today.json["error"]["param"]) == (400, "payment_method_types")
