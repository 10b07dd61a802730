"""What happens at Stripe without a request of the merchant: customers pay, banks decide, money arrives.

Each function changes objects and writes the events that Stripe writes, like the rules of the API do.
"""

from __future__ import annotations

from tidegate.sandbox import objects, paying, writes


def complete_session(call: writes.Call, session: objects.Object, card: str = "pm_card_visa") -> None:
    """Somebody pays at the checkout with a card: a customer, the payment, and the session complete."""
    customer = session["customer"]
    if customer is None:
        described = call.book.stream("customers")
        assert described.create is not None, "customers can be created"
        shopper = {"email": session["customer_email"] or "shopper@example.com", "name": "Jenny Rosen"}
        customer = writes.create(call, described, described.create, {}, shopper)[1]
    values: objects.Object = {"customer": customer, "status": "complete", "url": None}
    if session["mode"] == "payment" and session["amount_total"]:
        values |= {"payment_intent": _pay(call, session, customer, card), "payment_status": "paid"}
    call.change("checkout_sessions", session["id"], values, "checkout.session.completed")


def _pay(call: writes.Call, session: objects.Object, customer: str, card: str) -> str:
    intent = writes.blank(call, call.book.stream("payment_intents"))
    id: str = intent["id"]
    intent.update(
        amount=session["amount_total"],
        capture_method="automatic",
        client_secret=f"{id}_secret_{call.names.word(25)}",
        confirmation_method="automatic",
        currency=session["currency"],
        customer=customer,
        payment_method=paying.test_method(call, card),
        payment_method_types=["card"],
        status="requires_confirmation",
    )
    call.book.put("payment_intents", intent)
    call.announce("payment_intent.created", "payment_intents", id)
    paying.confirm(call, intent, {})
    return id


def decide_dispute(call: writes.Call, dispute: objects.Object, *, won: bool) -> None:
    """The bank decides; the money of a dispute that was won comes back."""
    id, moved = dispute["id"], dispute["balance_transactions"]
    if not won:
        call.change("disputes", id, {"status": "lost"}, "charge.dispute.closed")
        return
    back = paying.move(
        call,
        id,
        dispute["amount"],
        dispute["currency"],
        "adjustment",
        cost=-1500,
        category="dispute_reversal",
    )
    values = {"status": "won", "balance_transactions": [*moved, call.get("balance_transactions", back)]}
    call.change("disputes", id, values, "charge.dispute.closed", "charge.dispute.funds_reinstated")


def warn_of_fraud(call: writes.Call, charge: objects.Object) -> None:
    """The card's issuer suspects a charge."""
    values = {
        "actionable": True,
        "charge": charge["id"],
        "fraud_type": "made_with_stolen_card",
        "payment_intent": charge["payment_intent"],
    }
    call.add("radar_early_fraud_warnings", values, event="radar.early_fraud_warning.created")


def verify_tax_id(call: writes.Call, tax: objects.Object, *, valid: bool) -> None:
    """The authorities know a tax id, or do not."""
    verification = {
        "status": "verified" if valid else "unverified",
        "verified_address": "123 TEST STREET" if valid else None,
        "verified_name": "TEST" if valid else None,
    }
    call.change("customer_tax_ids", tax["id"], {"verification": verification}, "customer.tax_id.updated")


def pay_out(call: writes.Call, payout: objects.Object) -> None:
    """The money of a payout arrived."""
    call.change("payouts", payout["id"], {"status": "paid"}, "payout.updated", "payout.paid")


def fail_payout(call: writes.Call, payout: objects.Object) -> None:
    """The bank sent the money back."""
    back = paying.move(call, payout["id"], payout["amount"], payout["currency"], "payout_failure")
    values = {
        "failure_balance_transaction": back,
        "failure_code": "account_closed",
        "failure_message": "The bank account has been closed.",
        "status": "failed",
    }
    call.change("payouts", payout["id"], values, "payout.failed")


def top_up(call: writes.Call, topup: objects.Object) -> None:
    """The money of a top-up arrived."""
    moved = paying.move(call, topup["id"], topup["amount"], topup["currency"], "topup")
    values = {"balance_transaction": moved, "status": "succeeded"}
    call.change("topups", topup["id"], values, "topup.succeeded")


def fail_refund(call: writes.Call, refund: objects.Object) -> None:
    """The customer's bank did not take a refund: the money comes back, and the charge is less refunded."""
    back = paying.move(call, refund["id"], refund["amount"], refund["currency"], "refund_failure")
    values = {
        "failure_balance_transaction": back,
        "failure_reason": "expired_or_canceled_card",
        "status": "failed",
    }
    call.change("refunds", refund["id"], values, "refund.updated", "charge.refund.updated", "refund.failed")
    of = call.get("charges", refund["charge"])
    total = of["amount_refunded"] - refund["amount"]
    # The charge changes without an event of its own.
    call.change("charges", of["id"], {"amount_refunded": total, "refunded": False})
