"""Rules of payments: intents, charges, payment methods, setup intents, and the balance transactions they leave.

Test payment methods work as at Stripe: `pm_card_visa` and `tok_visa` succeed, `..._chargeDeclined` is declined
(402), `..._createDispute` succeeds and is disputed.
"""

from __future__ import annotations

from typing import Any

from tidegate.sandbox import forms, objects, refusals, writes

DAY = 86400
SETTLES = 2 * DAY
"""Until a balance transaction is available; it moves without an event."""
# https://docs.stripe.com/testing
CARDS = {
    "amex": ("amex", "0005"),
    "diners": ("diners", "0004"),
    "discover": ("discover", "1117"),
    "jcb": ("jcb", "0505"),
    "mastercard": ("mastercard", "4444"),
    "unionpay": ("unionpay", "0005"),
    "visa_debit": ("visa", "5556"),
}
"""Brand and last digits of the test cards that are no plain Visa."""


def fee(amount: int) -> int:
    """2.9 % and 30 cents."""
    return round(amount * 0.029) + 30


def move(
    call: writes.Call,
    source: str,
    amount: int,
    currency: str,
    type: str,
    *,
    cost: int = 0,
    category: str = "",
) -> str:
    """A balance transaction; its id. Silent, as at Stripe."""
    now = call.now()
    detail = {
        "amount": cost,
        "application": None,
        "currency": currency,
        "description": "Stripe processing fees",
        "type": "stripe_fee",
    }
    made = call.add(
        "balance_transactions",
        {
            "amount": amount,
            "available_on": now + SETTLES,
            "balance_type": "payments",
            "created": now,
            "currency": currency,
            "fee": cost,
            "fee_details": [detail] if cost else [],
            "net": amount - cost,
            "reporting_category": category or type,
            "source": source,
            "status": "pending",
            "type": type,
        },
    )
    id: str = made["id"]
    return id


def charge(
    call: writes.Call,
    amount: int,
    currency: str,
    method: str,
    *,
    customer: str | None = None,
    intent: str | None = None,
    capture: bool = True,
    more: forms.Tree | None = None,
) -> objects.Object:
    """Charge a payment method: a succeeded or a failed charge, announced, and disputed where the method says so."""
    obj = writes.blank(call, call.book.stream("charges"))
    obj.update(amount=amount, currency=currency, customer=customer, payment_intent=intent, **(more or {}))
    if method.startswith(("pm_", "card_", "src_")):
        obj["payment_method"] = method
    _settle(call, obj, method, capture)
    call.book.put("charges", obj)
    call.announce(writes.created_type(call.book.stream("charges"), obj), "charges", obj["id"])
    if _disputed(method) and obj["paid"]:
        _dispute(call, obj)
    return obj


def test_method(call: writes.Call, given: str) -> str:
    """The payment method that a parameter names; test names make a new one that behaves as its name says.

    A new one belongs to no customer until it is attached. https://docs.stripe.com/api/payment_methods/attach
    """
    if call.book.exists("payment_methods", given) or given.startswith(("card_", "src_", "ba_")):
        return given
    if not names_test_card(given):
        raise refusals.missing("PaymentMethod", given, "payment_method", status=400, stored=True)
    made = writes.blank(call, call.book.stream("payment_methods"))
    if _declined(given) or _disputed(given):
        made["id"] += "_" + given.rpartition("_")[2]
    brand, last4 = CARDS.get(given.removeprefix("pm_card_").removeprefix("tok_"), ("visa", "4242"))
    made.update(
        type="card",
        card={**_card_details()["card"], "brand": brand, "last4": last4, "network": brand},
    )
    call.book.put("payment_methods", made)
    id: str = made["id"]
    return id


def names_test_card(given: str) -> bool:
    """Is it one of the names, such as `pm_card_visa`, that stand for a new payment method wherever one is asked?"""
    return given.startswith(("pm_card_", "tok_"))


def _declined(method: str) -> bool:
    return "declined" in method.lower()


def _disputed(method: str) -> bool:
    return "dispute" in method.lower()


def _card_details() -> dict[str, Any]:
    card = {
        "brand": "visa",
        "country": "US",
        "exp_month": 12,
        "exp_year": 2034,
        "funding": "credit",
        "last4": "4242",
        "network": "visa",
    }
    return {"card": card, "type": "card"}


def _settle(call: writes.Call, obj: objects.Object, method: str, capture: bool) -> None:
    """What the bank says, written into a charge."""
    declined = _declined(method)
    captured = capture and not declined
    obj.update(
        amount_captured=obj["amount"] if captured else 0,
        captured=captured,
        failure_code="card_declined" if declined else None,
        failure_message="Your card was declined." if declined else None,
        outcome={
            "network_status": "declined_by_network" if declined else "approved_by_network",
            "reason": "generic_decline" if declined else None,
            "risk_level": "normal",
            "seller_message": "The bank returned the decline code `generic_decline`."
            if declined
            else "Payment complete.",
            "type": "issuer_declined" if declined else "authorized",
        },
        paid=not declined,
        payment_method_details=_card_details(),
        status="failed" if declined else "succeeded",
    )
    if captured:
        cost = fee(obj["amount"])
        obj["balance_transaction"] = move(
            call, obj["id"], obj["amount"], obj["currency"], "charge", cost=cost
        )


def _dispute(call: writes.Call, of: objects.Object) -> None:
    dispute = writes.blank(call, call.book.stream("disputes"))
    moved = move(
        call, dispute["id"], -of["amount"], of["currency"], "adjustment", cost=1500, category="dispute"
    )
    dispute.update(
        amount=of["amount"],
        balance_transactions=[call.book.get("balance_transactions", moved)],
        charge=of["id"],
        currency=of["currency"],
        evidence_details={
            "due_by": call.now() + 7 * DAY,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        is_charge_refundable=False,
        payment_intent=of["payment_intent"],
        reason="fraudulent",
        status="needs_response",
    )
    call.book.put("disputes", dispute)
    call.announce("charge.dispute.created", "disputes", dispute["id"])
    call.announce("charge.dispute.funds_withdrawn", "disputes", dispute["id"])
    # The charge changes without an event of its own.
    call.change("charges", of["id"], {"disputed": True})


def _new_intent(call: writes.Call, intent: objects.Object, given: forms.Tree) -> None:
    positive(intent["amount"])
    intent.update(
        currency=intent["currency"].lower(),
        capture_method=given.get("capture_method") or "automatic",
        confirmation_method=given.get("confirmation_method") or "automatic",
        client_secret=f"{intent['id']}_secret_{call.names.word(25)}",
        payment_method_types=["card"],
        status="requires_payment_method",
    )
    if method := given.get("payment_method"):
        intent["payment_method"] = test_method(call, method)
        intent["status"] = "requires_confirmation"


def _made_intent(call: writes.Call, intent: objects.Object, given: forms.Tree) -> None:
    if given.get("confirm"):
        confirm(call, intent, {})


ANY_TIME = frozenset({"description", "metadata", "receipt_email", "shipping"})
"""Of a payment intent: what may change when it is over."""


def _changed_intent(call: writes.Call, intent: objects.Object, given: forms.Tree) -> None:
    late = sorted(given.keys() - ANY_TIME)
    if intent["status"] in ("succeeded", "canceled", "processing") and late:
        raise refusals.not_allowed(
            f"This PaymentIntent's {late[0]} could not be updated because it has a status of {intent['status']}. "
            f"You may only update the {late[0]} of a PaymentIntent with one of the following statuses: "
            "requires_payment_method, requires_confirmation, requires_action.",
            code="payment_intent_unexpected_state",
            param=late[0],
        )
    if method := given.get("payment_method"):
        intent["payment_method"] = test_method(call, method)
        if intent["status"] == "requires_payment_method":
            intent["status"] = "requires_confirmation"


@writes.action("POST", "/v1/payment_intents/{intent}/confirm", "payment_intents")
def confirm(call: writes.Call, intent: objects.Object, params: forms.Tree) -> objects.Object:
    """Confirm: the charge is made, and captured unless `capture_method` is manual; refused when declined."""
    if intent["status"] in ("succeeded", "canceled", "requires_capture"):
        raise unexpected("PaymentIntent", intent, "confirm")
    if method := params.get("payment_method"):
        intent["payment_method"] = test_method(call, str(method))
    if not intent["payment_method"]:
        raise refusals.not_allowed(
            "You cannot confirm this PaymentIntent because it's missing a payment method. Update the PaymentIntent "
            "with a payment method and then confirm it again.",
            code="payment_intent_unexpected_state",
        )
    manual = intent["capture_method"] == "manual"
    made = charge(
        call,
        intent["amount"],
        intent["currency"],
        intent["payment_method"],
        customer=intent["customer"],
        intent=intent["id"],
        capture=not manual,
        more={"description": intent["description"], "metadata": intent["metadata"] or {}},
    )
    done = {**intent, "latest_charge": made["id"]}
    if made["status"] == "failed":
        problem = {"type": "card_error", "code": "card_declined", "message": made["failure_message"]}
        done.update(status="requires_payment_method", last_payment_error=problem, payment_method=None)
        call.book.put("payment_intents", done)
        call.announce("payment_intent.payment_failed", "payment_intents", intent["id"])
        raise refusals.declined(made["id"], done)
    done.update(
        amount_capturable=intent["amount"] if manual else 0,
        amount_received=0 if manual else intent["amount"],
        status="requires_capture" if manual else "succeeded",
    )
    call.book.put("payment_intents", done)
    type = "payment_intent.amount_capturable_updated" if manual else "payment_intent.succeeded"
    call.announce(type, "payment_intents", intent["id"])
    return done


@writes.action("POST", "/v1/payment_intents/{intent}/capture", "payment_intents")
def _capture_intent(call: writes.Call, intent: objects.Object, params: forms.Tree) -> objects.Object:
    if intent["status"] != "requires_capture":
        raise unexpected("PaymentIntent", intent, "capture")
    asked = params.get("amount_to_capture", intent["amount"])
    amount = forms.integer("amount_to_capture", asked, 1, intent["amount"])
    _capture(call, call.get("charges", intent["latest_charge"]), amount)
    values = {"status": "succeeded", "amount_capturable": 0, "amount_received": amount}
    return call.change("payment_intents", intent["id"], values, "payment_intent.succeeded")


@writes.action("POST", "/v1/payment_intents/{intent}/cancel", "payment_intents")
def _cancel_intent(call: writes.Call, intent: objects.Object, params: forms.Tree) -> objects.Object:
    if intent["status"] in ("succeeded", "canceled"):
        raise unexpected("PaymentIntent", intent, "cancel")
    values = {
        "status": "canceled",
        "canceled_at": call.now(),
        "cancellation_reason": params.get("cancellation_reason"),
        "amount_capturable": 0,
    }
    return call.change("payment_intents", intent["id"], values, "payment_intent.canceled")


@writes.action("POST", "/v1/charges/{charge}/capture", "charges")
def _capture_charge(call: writes.Call, of: objects.Object, params: forms.Tree) -> objects.Object:
    if of["captured"]:
        raise refusals.not_allowed(
            f"Charge {of['id']} has already been captured.", code="charge_already_captured"
        )
    return _capture(call, of, forms.integer("amount", params.get("amount", of["amount"]), 1, of["amount"]))


def _capture(call: writes.Call, of: objects.Object, amount: int) -> objects.Object:
    moved = move(call, of["id"], amount, of["currency"], "charge", cost=fee(amount))
    values = {"captured": True, "amount_captured": amount, "balance_transaction": moved}
    return call.change("charges", of["id"], values, "charge.captured")


def _new_charge(call: writes.Call, obj: objects.Object, given: forms.Tree) -> None:
    for name in ("amount", "currency"):
        if name not in given:
            raise refusals.missing_parameter(name)
    positive(obj["amount"])
    method = str(given.get("source") or obj["customer"] or "")
    if not method:
        raise refusals.not_allowed(
            "Must provide source or customer.", code="parameter_missing", param="source"
        )
    obj.update(currency=obj["currency"].lower(), source=None)
    _settle(call, obj, method, given.get("capture", True))


def _made_charge(call: writes.Call, obj: objects.Object, given: forms.Tree) -> None:
    if obj["status"] == "failed":
        raise refusals.declined(obj["id"], None)
    if _disputed(str(given.get("source", ""))):
        _dispute(call, obj)


@writes.action("POST", "/v1/payment_methods/{payment_method}/attach", "payment_methods")
def _attach(call: writes.Call, method: objects.Object, params: forms.Tree) -> objects.Object:
    if "customer" not in params:
        raise refusals.missing_parameter("customer")
    return attach(call, method, call.get("customers", str(params["customer"]), "customer")["id"])


def attach(call: writes.Call, method: objects.Object, customer: str) -> objects.Object:
    """Give a payment method to a customer."""
    attached = {**method, "customer": customer}
    call.book.put("payment_methods", attached)
    call.book.put("customer_payment_methods", attached, customer)
    call.announce("payment_method.attached", "payment_methods", method["id"])
    return attached


@writes.action("POST", "/v1/payment_methods/{payment_method}/detach", "payment_methods")
def _detach(call: writes.Call, method: objects.Object, _: forms.Tree) -> objects.Object:
    if not method.get("customer"):
        raise refusals.not_allowed("The payment method you provided is not attached to a customer.")
    return detach(call, method)


def detach(call: writes.Call, method: objects.Object) -> objects.Object:
    """Take a payment method from its customer, also as the default for invoices."""
    id, owner = method["id"], method["customer"]
    customer = call.book.get("customers", owner)
    settings = (customer or {}).get("invoice_settings") or {}
    if settings.get("default_payment_method") == id:
        values = {"invoice_settings": {**settings, "default_payment_method": None}}
        call.change("customers", owner, values, "customer.updated")
    if call.book.exists("customer_payment_methods", id):
        tombstone = {"id": id, "object": "payment_method", "deleted": True}
        call.book.remove("customer_payment_methods", id, tombstone, owner)
    return call.change("payment_methods", id, {"customer": None}, "payment_method.detached")


def _changed_method(call: writes.Call, method: objects.Object, _: forms.Tree) -> None:
    """The same object stands among its customer's payment methods."""
    if call.book.exists("customer_payment_methods", method["id"]):
        call.book.put("customer_payment_methods", method, method["customer"])


def renew_card(call: writes.Call, method: objects.Object) -> None:
    """The bank sent the customer a new card, and told Stripe."""
    card = {**method["card"], "exp_year": method["card"]["exp_year"] + 3}
    changed = call.change(
        "payment_methods", method["id"], {"card": card}, "payment_method.automatically_updated"
    )
    _changed_method(call, changed, {})


def _new_setup(call: writes.Call, intent: objects.Object, given: forms.Tree) -> None:
    method = given.get("payment_method")
    intent.update(
        client_secret=f"{intent['id']}_secret_{call.names.word(25)}",
        payment_method=test_method(call, method) if method else None,
        payment_method_types=["card"],
        status="requires_confirmation" if method else "requires_payment_method",
        usage=given.get("usage") or "off_session",
    )


def _made_setup(call: writes.Call, intent: objects.Object, given: forms.Tree) -> None:
    if given.get("confirm"):
        _confirm_setup(call, intent, {})


@writes.action("POST", "/v1/setup_intents/{intent}/confirm", "setup_intents")
def _confirm_setup(call: writes.Call, intent: objects.Object, params: forms.Tree) -> objects.Object:
    if intent["status"] in ("succeeded", "canceled"):
        raise unexpected("SetupIntent", intent, "confirm")
    method = params.get("payment_method") or intent["payment_method"]
    if not method:
        raise refusals.not_allowed(
            "You cannot confirm this SetupIntent because it's missing a payment method."
        )
    used = test_method(call, str(method))
    tried = {
        "customer": intent["customer"],
        "payment_method": used,
        "payment_method_details": {"card": {}, "type": "card"},
        "setup_intent": intent["id"],
        "status": "succeeded",
        "usage": intent["usage"],
    }
    attempt = call.add("setup_attempts", tried, intent["id"])
    held = call.book.get("payment_methods", used)
    if held is not None and intent["customer"] and not held.get("customer"):
        attach(call, held, intent["customer"])
    values = {"status": "succeeded", "payment_method": used, "latest_attempt": attempt["id"]}
    return call.change("setup_intents", intent["id"], values, "setup_intent.succeeded")


@writes.action("POST", "/v1/setup_intents/{intent}/cancel", "setup_intents")
def _cancel_setup(call: writes.Call, intent: objects.Object, _: forms.Tree) -> objects.Object:
    if intent["status"] in ("succeeded", "canceled"):
        raise unexpected("SetupIntent", intent, "cancel")
    return call.change("setup_intents", intent["id"], {"status": "canceled"}, "setup_intent.canceled")


def positive(amount: int) -> None:
    """Refuse an amount that is none."""
    if amount < 1:
        raise refusals.invalid(
            "amount", "This value must be greater than or equal to 1.", "parameter_invalid_integer"
        )


def unexpected(what: str, obj: objects.Object, verb: str) -> refusals.Refusal:
    """The object is past that."""
    code = (
        "".join("_" + one.lower() if one.isupper() else one for one in what).strip("_") + "_unexpected_state"
    )
    return refusals.not_allowed(
        f"You cannot {verb} this {what} because it has a status of {obj['status']}.", code=code
    )


writes.BEFORE_CREATE |= {"payment_intents": _new_intent, "charges": _new_charge, "setup_intents": _new_setup}
writes.AFTER_CREATE |= {
    "payment_intents": _made_intent,
    "charges": _made_charge,
    "setup_intents": _made_setup,
}
writes.BEFORE_UPDATE |= {"payment_intents": _changed_intent}
writes.AFTER_UPDATE |= {"payment_methods": _changed_method}
