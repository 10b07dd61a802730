"""What was deleted and when, and what an object looked like second by second."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tidegate.sandbox import history

from .conftest import NOW, Stripe


def lines(stripe: Stripe, path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stripe.get(f"/_sandbox/{path}").body.splitlines()]


def test_the_truth_knows_what_was_deleted_and_when(stripe: Stripe) -> None:
    coupon = stripe.get("/v1/coupons").json["data"][0]
    stripe.clock.advance(5)
    stripe.delete(f"/v1/coupons/{coupon['id']}")
    found = {line["object"]["id"]: line for line in lines(stripe, "truth/coupons?deleted=1")}

    assert found[coupon["id"]] == {"parent": None, "object": coupon, "deleted_at": NOW + 65}
    assert {line["deleted_at"] for id, line in found.items() if id != coupon["id"]} == {None}
    assert coupon["id"] not in {line["object"]["id"] for line in stripe.truth("coupons")}


def test_children_go_with_their_parent(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers")["id"]
    kept = stripe.make(f"/v1/customers/{customer}/tax_ids", type="eu_vat", value="DE123456789")["id"]
    removed = stripe.make(f"/v1/customers/{customer}/tax_ids", type="eu_vat", value="DE987654321")["id"]
    stripe.delete(f"/v1/customers/{customer}/tax_ids/{removed}")
    stripe.clock.advance(7)
    stripe.delete(f"/v1/customers/{customer}")
    gone = {
        line["object"]["id"]: (line["parent"], line["deleted_at"])
        for line in lines(stripe, "truth/customer_tax_ids?deleted=1")
        if line["deleted_at"]
    }

    assert gone == {removed: (customer, NOW + 60), kept: (customer, NOW + 67)}


def test_what_was_created_again_is_not_deleted(stripe: Stripe) -> None:
    stripe.make("/v1/coupons", id="SPRING", percent_off=10)
    stripe.delete("/v1/coupons/SPRING")
    stripe.make("/v1/coupons", id="SPRING", percent_off=20)
    (found,) = [line for line in lines(stripe, "truth/coupons?deleted=1") if line["object"]["id"] == "SPRING"]

    assert (found["deleted_at"], found["object"]["percent_off"]) == (None, 20)


def test_the_history_has_the_last_state_of_every_second(start: Callable[..., Stripe]) -> None:
    stripe = start(record=True)
    id = stripe.get("/v1/customers").ids[0]
    before = stripe.get(f"/v1/customers/{id}").json
    for name in ("first", "second"):
        stripe.make(f"/v1/customers/{id}", name=name)
    stripe.clock.advance(3)
    stripe.make(f"/v1/customers/{id}", name="third")
    stripe.clock.advance(1)
    stripe.delete(f"/v1/customers/{id}")
    found = [line for line in lines(stripe, "history/customers") if line["id"] == id]

    assert found[0] == {"parent": None, "id": id, "at": None, "object": before}
    assert [(line["at"], line["object"] and line["object"]["name"]) for line in found[1:]] == [
        (NOW + 60, "second"),
        (NOW + 63, "third"),
        (NOW + 64, None),
    ]


def test_what_came_and_went_within_a_second_left_nothing(start: Callable[..., Stripe]) -> None:
    stripe = start(record=True)
    made = stripe.make("/v1/customers")["id"]
    stripe.delete(f"/v1/customers/{made}")

    assert made not in {line["id"] for line in lines(stripe, "history/customers")}


def test_money_that_settles_does_so_in_its_own_second(start: Callable[..., Stripe]) -> None:
    stripe = start(record=True)
    intent = {"amount": 1000, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True}
    stripe.make("/v1/payment_intents", **intent)
    moved = stripe.get("/v1/balance_transactions").json["data"][0]
    stripe.clock.advance(10 * 86_400)
    found = [line for line in lines(stripe, "history/balance_transactions") if line["id"] == moved["id"]]

    assert [(line["at"], line["object"]["status"]) for line in found] == [
        (NOW + 60, "pending"),
        (moved["available_on"], "available"),
    ]


def test_nothing_is_recorded_unasked(stripe: Stripe) -> None:
    stripe.make("/v1/customers")

    answer = stripe.get("/_sandbox/history/customers")
    assert answer.status == 400
    assert "record" in answer.error["message"]


def test_a_second_is_open_until_the_next_begins() -> None:
    state: dict[str, Any] = {}
    kept = history.History(lambda _: dict(state) if state else None)
    key = history.Key("customers", "", "cus_1")
    kept.touch(key, 1)
    state["n"] = 1
    assert [(entry.at, entry.object) for _, entry in kept.of("customers")] == [(1, {"n": 1})]
    kept.touch(key, 1)
    state["n"] = 2
    kept.touch(key, 2)
    state.clear()

    assert [(entry.at, entry.object) for _, entry in kept.of("customers")] == [(1, {"n": 2}), (2, None)]
