"""Balance transactions settle by the clock alone, and the balance follows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tidegate.sandbox import world

from .conftest import NOW, Stripe

DAY = 86_400


def statuses(stripe: Stripe) -> dict[str, str]:
    return {one["id"]: one["status"] for one in stripe.walk("/v1/balance_transactions")}


def test_generated_ones_settle_when_the_clock_passes_their_time(start: Callable[..., Stripe]) -> None:
    stripe = start(world.build(objects=4_000, only=("charges", "balance_transactions"), now=NOW))
    before = statuses(stripe)
    pending = {id for id, status in before.items() if status == "pending"}
    assert 0 < len(pending) < len(before) / 10
    stripe.clock.advance(2 * DAY)

    assert set(statuses(stripe).values()) == {"available"}
    assert statuses(stripe).keys() == before.keys()
    assert not [event for event in stripe.events() if "balance" in event["type"]]
    for id in pending:
        assert stripe.get(f"/v1/balance_transactions/{id}").json["status"] == "available"


def test_one_that_is_made_settles_to_the_second(stripe: Stripe) -> None:
    stripe.make("/v1/charges", amount=1000, currency="usd", source="tok_visa")
    id = stripe.get("/v1/balance_transactions").ids[0]
    stripe.clock.advance(2 * DAY - 1)
    assert stripe.get(f"/v1/balance_transactions/{id}").json["status"] == "pending"
    stripe.clock.advance(1)

    assert stripe.get(f"/v1/balance_transactions/{id}").json["status"] == "available"


def test_a_world_knows_what_its_ledger_comes_to(start: Callable[..., Stripe]) -> None:
    for only in (None, ("balance_transactions",), ("balance_transactions", "charges")):
        made = world.build(objects=3_000, only=only, now=NOW)
        stripe = start(made)
        sums: Counter[tuple[str, str]] = Counter()
        for moved in stripe.walk("/v1/balance_transactions"):
            sums[moved["status"], moved["currency"]] += moved["net"]
        assert dict(made.ledger()) == sums
        shown = stripe.get("/v1/balance").json
        for side in ("available", "pending"):
            assert {one["currency"]: one["amount"] for one in shown[side]} == {
                currency: sums[side, currency] for currency in {currency for _, currency in sums}
            }


def test_money_that_settled_unseen_is_settled_when_it_is_seen(stripe: Stripe) -> None:
    connected = stripe.get("/v1/accounts").ids[0]
    theirs = {"Stripe-Account": connected}
    made = {"amount": 1000, "currency": "usd", "source": "tok_visa"}
    assert stripe.post("/v1/charges", made, headers=theirs).status == 200
    stripe.clock.advance(40 * DAY)

    shown = stripe.get("/v1/balance", headers=theirs).json
    assert {one["amount"] for one in shown["pending"]} == {0}
    listed = stripe.get("/v1/balance_transactions", {"limit": 100}, headers=theirs).json["data"]
    assert {one["status"] for one in listed} == {"available"}
