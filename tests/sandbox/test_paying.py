"""Money: intents, charges, refunds, disputes, payouts, transfers, and the balance transactions they leave."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.sandbox import paying

from .conftest import NOW, Stripe


def types(stripe: Stripe) -> list[str]:
    return [event["type"] for event in stripe.events()]


def pay(stripe: Stripe, method: str = "pm_card_visa", **more: Any) -> dict[str, Any]:
    given = {"amount": 1000, "currency": "usd", "payment_method": method, "confirm": True, **more}
    return stripe.make("/v1/payment_intents", **given)


def charge_of(stripe: Stripe, intent: dict[str, Any]) -> dict[str, Any]:
    return stripe.get(f"/v1/charges/{intent['latest_charge']}").json  # type: ignore[no-any-return]  # JSON


def test_a_confirmed_intent_leaves_a_charge_and_a_balance_transaction(stripe: Stripe) -> None:
    intent = pay(stripe)
    charge = charge_of(stripe, intent)
    moved = stripe.get(f"/v1/balance_transactions/{charge['balance_transaction']}").json

    assert (intent["status"], intent["amount_received"]) == ("succeeded", 1000)
    assert (charge["status"], charge["captured"], charge["payment_intent"]) == (
        "succeeded",
        True,
        intent["id"],
    )
    assert (moved["amount"], moved["fee"], moved["net"], moved["source"]) == (1000, 59, 941, charge["id"])
    assert (moved["status"], moved["available_on"]) == ("pending", NOW + 60 + paying.SETTLES)
    assert types(stripe) == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]


def test_an_intent_step_by_step(stripe: Stripe) -> None:
    made = stripe.make("/v1/payment_intents", amount=1000, currency="USD", capture_method="manual")
    chosen = stripe.make(f"/v1/payment_intents/{made['id']}", payment_method="pm_card_visa")
    confirmed = stripe.make(f"/v1/payment_intents/{made['id']}/confirm")
    captured = stripe.make(f"/v1/payment_intents/{made['id']}/capture", amount_to_capture=700)

    assert [one["status"] for one in (made, chosen, confirmed, captured)] == [
        "requires_payment_method",
        "requires_confirmation",
        "requires_capture",
        "succeeded",
    ]
    assert made["currency"] == "usd"
    assert (confirmed["amount_capturable"], captured["amount_received"]) == (1000, 700)
    assert charge_of(stripe, captured)["amount_captured"] == 700
    assert types(stripe) == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
        "charge.captured",
        "payment_intent.succeeded",
    ]


def test_a_declined_card_is_402_and_leaves_a_failed_charge(stripe: Stripe) -> None:
    answer = stripe.post(
        "/v1/payment_intents",
        {"amount": 1000, "currency": "usd", "payment_method": "pm_card_chargeDeclined", "confirm": True},
    )

    assert (answer.status, answer.error["type"], answer.error["code"]) == (402, "card_error", "card_declined")
    assert answer.error["payment_intent"]["status"] == "requires_payment_method"
    charge = stripe.get(f"/v1/charges/{answer.error['charge']}").json
    assert (charge["status"], charge["balance_transaction"]) == ("failed", None)
    assert types(stripe) == ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"]


def test_an_intent_is_canceled_once(stripe: Stripe) -> None:
    made = stripe.make("/v1/payment_intents", amount=1000, currency="usd")["id"]
    canceled = stripe.make(f"/v1/payment_intents/{made}/cancel", cancellation_reason="duplicate")

    assert (canceled["status"], canceled["cancellation_reason"]) == ("canceled", "duplicate")
    again = stripe.post(f"/v1/payment_intents/{made}/cancel")
    assert again.error["code"] == "payment_intent_unexpected_state"


def test_an_intent_without_a_method_cannot_be_confirmed(stripe: Stripe) -> None:
    made = stripe.make("/v1/payment_intents", amount=1000, currency="usd")["id"]

    assert stripe.post(f"/v1/payment_intents/{made}/confirm").status == 400
    assert stripe.post("/v1/payment_intents", {"amount": 0, "currency": "usd"}).status == 400


def test_refunds_change_their_charge(stripe: Stripe) -> None:
    intent = pay(stripe)
    part = stripe.make("/v1/refunds", payment_intent=intent["id"], amount=300)
    rest = stripe.make("/v1/refunds", charge=intent["latest_charge"])
    charge = stripe.get(f"/v1/charges/{intent['latest_charge']}", {"expand": ["refunds"]}).json

    assert (part["amount"], rest["amount"]) == (300, 700)
    assert (charge["amount_refunded"], charge["refunded"]) == (1000, True)
    assert [one["id"] for one in charge["refunds"]["data"]] == [rest["id"], part["id"]]
    assert stripe.get(f"/v1/balance_transactions/{part['balance_transaction']}").json["amount"] == -300
    assert types(stripe)[-4:] == ["refund.created", "charge.refunded"] * 2
    again = stripe.post("/v1/refunds", {"charge": charge["id"]})
    assert again.error["code"] == "charge_already_refunded"


def test_a_refund_is_no_larger_than_what_is_left(stripe: Stripe) -> None:
    charge = pay(stripe)["latest_charge"]

    assert stripe.post("/v1/refunds", {"charge": charge, "amount": 1001}).error["code"] == "amount_too_large"
    assert stripe.post("/v1/refunds").error["code"] == "parameter_missing"
    assert stripe.post("/v1/refunds", {"charge": "ch_nothing"}).error["code"] == "resource_missing"


def test_a_base_charge_can_be_refunded(stripe: Stripe) -> None:
    base = next(
        one
        for one in stripe.walk("/v1/charges")
        if one["captured"] and not one["amount_refunded"] and one["paid"]
    )
    refund = stripe.make("/v1/refunds", charge=base["id"], amount=1)

    after = stripe.get(f"/v1/charges/{base['id']}", {"expand": ["refunds"]}).json
    assert after["amount_refunded"] == 1
    assert [one["id"] for one in after["refunds"]["data"]] == [refund["id"]]


def test_a_dispute_marks_its_charge_silently(stripe: Stripe) -> None:
    intent = pay(stripe, "pm_card_createDispute")
    dispute = stripe.get("/v1/disputes", {"charge": intent["latest_charge"]}).json["data"][0]

    assert (dispute["amount"], dispute["status"]) == (1000, "needs_response")
    assert charge_of(stripe, intent)["disputed"] is True
    assert "charge.dispute.created" in types(stripe)
    assert "charge.updated" not in types(stripe)
    answered = stripe.make(f"/v1/disputes/{dispute['id']}", evidence={"product_description": "tea"})
    assert (answered["status"], answered["evidence_details"]["has_evidence"]) == ("under_review", True)
    assert stripe.make(f"/v1/disputes/{dispute['id']}/close")["status"] == "lost"
    assert types(stripe)[-2:] == ["charge.dispute.updated", "charge.dispute.closed"]


def test_a_charge_of_a_token(stripe: Stripe) -> None:
    charge = stripe.make("/v1/charges", amount=500, currency="usd", source="tok_visa", capture=False)
    captured = stripe.make(f"/v1/charges/{charge['id']}/capture", amount=400)

    assert (charge["captured"], charge["balance_transaction"]) == (False, None)
    assert (captured["captured"], captured["amount_captured"]) == (True, 400)
    declined = stripe.post("/v1/charges", {"amount": 500, "currency": "usd", "source": "tok_chargeDeclined"})
    assert declined.status == 402


def test_payouts_and_transfers_move_the_balance(stripe: Stripe) -> None:
    account = stripe.get("/v1/accounts").ids[0]
    payout = stripe.make("/v1/payouts", amount=500, currency="usd")
    transfer = stripe.make("/v1/transfers", amount=300, currency="usd", destination=account)
    canceled = stripe.make(f"/v1/payouts/{payout['id']}/cancel")

    amounts = {
        one["type"]: one["amount"]
        for one in stripe.walk("/v1/balance_transactions", created={"gt": NOW})
        if one["source"] in (payout["id"], transfer["id"])
    }
    assert amounts == {"payout": -500, "transfer": -300, "payout_cancel": 500}
    assert canceled["status"] == "canceled"
    assert types(stripe) == ["payout.created", "transfer.created", "payout.canceled"]


def test_reversals_are_children_of_their_transfer(stripe: Stripe) -> None:
    account = stripe.get("/v1/accounts").ids[0]
    transfer = stripe.make("/v1/transfers", amount=300, currency="usd", destination=account)["id"]
    path = f"/v1/transfers/{transfer}/reversals"
    first, second = stripe.make(path, amount=100), stripe.make(path)

    assert (first["transfer"], second["amount"]) == (transfer, 200)
    after = stripe.get(f"/v1/transfers/{transfer}").json
    assert (after["amount_reversed"], after["reversed"]) == (300, True)
    assert [one["id"] for one in after["reversals"]["data"]] == [second["id"], first["id"]]
    assert stripe.post(path).status == 400


def test_payment_methods_are_attached_and_detached(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers")["id"]
    method = stripe.make("/v1/payment_methods", type="card")["id"]
    attached = stripe.make(f"/v1/payment_methods/{method}/attach", customer=customer)

    assert attached["customer"] == customer
    assert stripe.get(f"/v1/customers/{customer}/payment_methods").ids == [method]
    assert stripe.make(f"/v1/payment_methods/{method}/detach")["customer"] is None
    assert stripe.get(f"/v1/customers/{customer}/payment_methods").ids == []
    assert types(stripe)[-2:] == ["payment_method.attached", "payment_method.detached"]


def test_test_cards_become_payment_methods_when_they_are_attached(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers")["id"]
    visa = stripe.make("/v1/payment_methods/pm_card_visa/attach", customer=customer)
    amex = stripe.make("/v1/payment_methods/pm_card_amex/attach", customer=customer)

    assert visa["id"].startswith("pm_1")
    assert (visa["customer"], visa["card"]["brand"], visa["card"]["last4"]) == (customer, "visa", "4242")
    assert (amex["card"]["brand"], amex["card"]["last4"]) == ("amex", "0005")
    assert stripe.get(f"/v1/customers/{customer}/payment_methods").ids == [amex["id"], visa["id"]]
    assert stripe.get(f"/v1/payment_methods/{visa['id']}").json == visa
    assert types(stripe)[-2:] == ["payment_method.attached", "payment_method.attached"]
    assert stripe.post("/v1/payment_methods/pm_nobody/attach", {"customer": customer}).status == 404


def test_a_customer_may_begin_with_a_test_card(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers", payment_method="pm_card_mastercard")["id"]
    (method,) = stripe.get(f"/v1/customers/{customer}/payment_methods").json["data"]

    assert (method["card"]["brand"], method["customer"]) == ("mastercard", customer)


def test_setup_intents(stripe: Stripe) -> None:
    made = stripe.make("/v1/setup_intents", payment_method="pm_card_visa", confirm=True)
    other = stripe.make("/v1/setup_intents")["id"]

    assert made["status"] == "succeeded"
    assert stripe.make(f"/v1/setup_intents/{other}/cancel")["status"] == "canceled"
    assert types(stripe) == [
        "setup_intent.created",
        "setup_intent.succeeded",
        "setup_intent.created",
        "setup_intent.canceled",
    ]


def test_the_balance_is_the_sum_of_its_transactions(stripe: Stripe) -> None:
    def balance(side: str) -> dict[str, int]:
        return {one["currency"]: one["amount"] for one in stripe.get("/v1/balance").json[side]}

    before, pending = balance("available"), balance("pending")
    pay(stripe)

    assert balance("pending")["usd"] == pending["usd"] + 941
    assert balance("available") == before
    stripe.clock.advance(paying.SETTLES)
    assert set(balance("pending").values()) == {0}
    assert balance("available")["usd"] == before["usd"] + pending["usd"] + 941


@pytest.mark.parametrize("id", ["pm_nothing", "nonsense"])
def test_a_payment_method_that_is_none_is_refused(stripe: Stripe, id: str) -> None:
    answer = stripe.post("/v1/payment_intents", {"amount": 500, "currency": "usd", "payment_method": id})

    assert (answer.status, answer.error["message"]) == (400, f"No such PaymentMethod: '{id}'")
