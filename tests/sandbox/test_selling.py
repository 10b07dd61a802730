"""Checkout sessions, quotes, credit notes and top-ups: what is agreed, taken back and brought in."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.sandbox import outside

from .conftest import NOW, Stripe


def types(stripe: Stripe) -> list[str]:
    return [event["type"] for event in stripe.events()]


def price(stripe: Stripe, *, recurring: bool = False) -> str:
    interval = {"recurring": {"interval": "month"}} if recurring else {}
    product = {"product_data": {"name": "Tea"}}
    return str(stripe.make("/v1/prices", currency="usd", unit_amount=900, **product, **interval)["id"])


def session(stripe: Stripe, items: int = 2, **more: Any) -> dict[str, Any]:
    lines = [{"price": price(stripe), "quantity": n + 1} for n in range(items)]
    return stripe.make("/v1/checkout/sessions", mode="payment", line_items=lines, **more)


def test_a_checkout_session_is_opened_in_silence(stripe: Stripe) -> None:
    made = session(stripe, 12)
    more = stripe.get(f"/v1/checkout/sessions/{made['id']}", {"expand": ["line_items"]}).json["line_items"]
    items = stripe.walk(f"/v1/checkout/sessions/{made['id']}/line_items")

    assert (made["status"], made["payment_status"], made["amount_total"]) == ("open", "unpaid", 900 * 78)
    assert "line_items" not in made
    assert [item["quantity"] for item in items] == [*range(1, 13)]
    assert (more["data"], more["has_more"]) == (items[:10], True)
    assert not [type for type in types(stripe) if type.startswith("checkout.")]


def test_somebody_pays_at_the_checkout(stripe: Stripe) -> None:
    made = session(stripe, 1)
    outside.complete_session(stripe.made.call(), made)
    done = stripe.get(f"/v1/checkout/sessions/{made['id']}", {"expand": ["payment_intent", "customer"]}).json

    assert (done["status"], done["payment_status"], done["payment_intent"]["status"]) == (
        "complete",
        "paid",
        "succeeded",
    )
    assert done["payment_intent"]["customer"] == done["customer"]["id"]
    assert types(stripe)[-5:] == [
        "customer.created",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]


def test_a_session_expires_once(stripe: Stripe) -> None:
    id = session(stripe)["id"]

    assert stripe.make(f"/v1/checkout/sessions/{id}/expire")["status"] == "expired"
    assert stripe.post(f"/v1/checkout/sessions/{id}/expire").status == 400
    assert types(stripe)[-1] == "checkout.session.expired"


def test_a_quote_becomes_a_subscription(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers")["id"]
    lines = [{"price": price(stripe, recurring=True), "quantity": 2}]
    id = stripe.make("/v1/quotes", customer=customer, line_items=lines)["id"]
    stripe.make(f"/v1/quotes/{id}/finalize")
    done = stripe.make(f"/v1/quotes/{id}/accept")

    assert (done["status"], done["amount_total"]) == ("accepted", 1800)
    subscription = stripe.get(f"/v1/subscriptions/{done['subscription']}").json
    assert subscription["items"]["data"][0]["quantity"] == 2
    assert subscription["latest_invoice"] == done["invoice"]
    assert {"quote.created", "quote.finalized", "quote.accepted"} <= set(types(stripe))


def test_a_quote_becomes_an_invoice(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers")["id"]
    id = stripe.make("/v1/quotes", customer=customer, line_items=[{"price": price(stripe)}])["id"]
    assert stripe.post(f"/v1/quotes/{id}/accept").status == 400
    stripe.make(f"/v1/quotes/{id}/finalize")
    done = stripe.make(f"/v1/quotes/{id}/accept")

    invoice = stripe.get(f"/v1/invoices/{done['invoice']}").json
    assert (invoice["status"], invoice["total"], done["subscription"]) == ("draft", 900, None)


def test_a_draft_quote_is_changed_in_silence(stripe: Stripe) -> None:
    id = stripe.make("/v1/quotes", line_items=[{"price": price(stripe)}])["id"]
    before = stripe.walk(f"/v1/quotes/{id}/line_items")
    changed = stripe.make(f"/v1/quotes/{id}", line_items=[{"price": price(stripe), "quantity": 3}])
    after = stripe.walk(f"/v1/quotes/{id}/line_items")

    assert changed["amount_total"] == 2700
    assert [len(before), len(after)] == [1, 1]
    assert before[0]["id"] != after[0]["id"]
    assert [type for type in types(stripe) if type.startswith("quote.")] == ["quote.created"]
    assert stripe.make(f"/v1/quotes/{id}/cancel")["status"] == "canceled"
    assert stripe.post(f"/v1/quotes/{id}", {"description": "x"}).status == 400


def owed(stripe: Stripe) -> dict[str, Any]:
    customer = stripe.make("/v1/customers")["id"]
    invoice = stripe.make("/v1/invoices", customer=customer, currency="usd")["id"]
    stripe.make(f"/v1/invoices/{invoice}/add_lines", lines=[{"amount": 1000}])
    return stripe.make(f"/v1/invoices/{invoice}/finalize")


def test_a_credit_note_on_an_open_invoice(stripe: Stripe) -> None:
    invoice = owed(stripe)
    note = stripe.make("/v1/credit_notes", invoice=invoice["id"], amount=400)
    left = stripe.get(f"/v1/invoices/{invoice['id']}").json

    assert (note["type"], note["amount"], note["lines"]["data"][0]["amount"]) == ("pre_payment", 400, 400)
    assert (left["amount_remaining"], left["pre_payment_credit_notes_amount"]) == (600, 400)
    assert types(stripe)[-2:] == ["credit_note.created", "invoice.updated"]
    assert stripe.post("/v1/credit_notes", {"invoice": invoice["id"], "amount": 601}).status == 400

    stripe.make(f"/v1/credit_notes/{note['id']}/void")
    assert stripe.get(f"/v1/invoices/{invoice['id']}").json["amount_remaining"] == 1000
    assert types(stripe)[-2:] == ["credit_note.voided", "invoice.updated"]


def test_a_credit_note_over_everything_pays_the_invoice(stripe: Stripe) -> None:
    invoice = owed(stripe)
    stripe.make("/v1/credit_notes", invoice=invoice["id"], amount=1000)

    assert stripe.get(f"/v1/invoices/{invoice['id']}").json["status"] == "paid"


def test_a_credit_note_on_a_paid_invoice_may_go_to_the_customers_balance(stripe: Stripe) -> None:
    invoice = owed(stripe)
    stripe.make(f"/v1/invoices/{invoice['id']}/pay")
    lines = [{"type": "custom_line_item", "description": "sorry", "amount": 300}]
    note = stripe.make("/v1/credit_notes", invoice=invoice["id"], lines=lines, credit_amount=300)
    customer = stripe.get(f"/v1/customers/{invoice['customer']}").json
    (moved,) = stripe.walk(f"/v1/customers/{invoice['customer']}/balance_transactions")

    assert (note["type"], customer["balance"]) == ("post_payment", -300)
    assert (moved["id"], moved["ending_balance"]) == (note["customer_balance_transaction"], -300)
    paid = stripe.get(f"/v1/invoices/{invoice['id']}").json
    assert paid["post_payment_credit_notes_amount"] == 300


def test_a_topup_arrives_or_is_canceled(stripe: Stripe) -> None:
    made = stripe.make("/v1/topups", amount=5000, currency="usd")
    outside.top_up(stripe.made.call(), made)
    other = stripe.make("/v1/topups", amount=100, currency="usd")["id"]
    stripe.make(f"/v1/topups/{other}", description="silent")
    stripe.make(f"/v1/topups/{other}/cancel")
    done = stripe.get(f"/v1/topups/{made['id']}", {"expand": ["balance_transaction"]}).json

    assert (done["status"], done["balance_transaction"]["net"]) == ("succeeded", 5000)
    assert types(stripe) == ["topup.created", "topup.succeeded", "topup.created", "topup.canceled"]


@pytest.mark.parametrize(("won", "status"), [(True, "won"), (False, "lost")])
def test_the_bank_decides_a_dispute(stripe: Stripe, won: bool, status: str) -> None:
    stripe.make("/v1/charges", amount=2000, currency="usd", source="tok_createDispute")
    (dispute,) = stripe.get("/v1/disputes", {"created": {"gt": NOW}}).json["data"]
    outside.decide_dispute(stripe.made.call(), dispute, won=won)
    after = stripe.get(f"/v1/disputes/{dispute['id']}").json

    assert after["status"] == status
    assert sum(one["net"] for one in after["balance_transactions"]) == (0 if won else -3500)
    assert ("charge.dispute.funds_reinstated" in types(stripe)) is won


def test_payouts_arrive_or_come_back(stripe: Stripe) -> None:
    call = stripe.made.call()
    paid, failed = (stripe.make("/v1/payouts", amount=700, currency="usd") for _ in range(2))
    outside.pay_out(call, paid)
    outside.fail_payout(call, failed)
    after = stripe.get(f"/v1/payouts/{failed['id']}", {"expand": ["failure_balance_transaction"]}).json

    assert stripe.get(f"/v1/payouts/{paid['id']}").json["status"] == "paid"
    assert (after["status"], after["failure_balance_transaction"]["net"]) == ("failed", 700)
    assert types(stripe)[2:] == ["payout.updated", "payout.paid", "payout.failed"]


def test_a_refund_fails_and_the_charge_changes_without_an_event_of_its_own(stripe: Stripe) -> None:
    charge = stripe.make("/v1/charges", amount=2000, currency="usd", source="tok_visa")["id"]
    refund = stripe.make("/v1/refunds", charge=charge)
    outside.fail_refund(stripe.made.call(), refund)
    after = stripe.get(f"/v1/charges/{charge}").json

    assert (after["amount_refunded"], after["refunded"]) == (0, False)
    assert stripe.get(f"/v1/refunds/{refund['id']}").json["status"] == "failed"
    assert types(stripe)[-3:] == ["refund.updated", "charge.refund.updated", "refund.failed"]
