"""Rules of invoices: drafts, finalized, paid, void."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidegate.sandbox import customers, forms, invoice_lines, objects, paying, refusals, writes


def draft(
    call: writes.Call,
    subscription: objects.Object,
    lines: Sequence[forms.Tree],
    reason: str = "subscription_create",
) -> objects.Object:
    """A subscription's invoice: created with its lines and the pending items, then finalized."""
    owner = call.get("customers", subscription["customer"])
    invoice = writes.blank(call, call.book.stream("invoices"))
    invoice.update(_fresh(call, owner, subscription["currency"], reason, subscription))
    invoice["customer"] = owner["id"]
    call.book.put("invoices", invoice)
    for line in lines:
        invoice_lines.add(call, invoice["id"], line)
    invoice_lines.take_pending(call, invoice, subscription["id"])
    call.announce("invoice.created", "invoices", invoice["id"])
    return finalize(call, call.get("invoices", invoice["id"]))


def finalize(call: writes.Call, invoice: objects.Object) -> objects.Object:
    """A draft becomes open and gets its number; one that asks for nothing is paid at once."""
    now = call.now()
    owner = call.get("customers", invoice["customer"])
    sequence = owner["next_invoice_sequence"] or 1
    # customer.updated: "Occurs whenever any property of a customer changes."
    call.change("customers", owner["id"], {"next_invoice_sequence": sequence + 1}, "customer.updated")
    link = f"https://invoice.stripe.com/i/{call.book.account}/test_{call.names.word(40)}"
    values: dict[str, Any] = {
        "effective_at": now,
        "ending_balance": 0,
        "hosted_invoice_url": link + "?s=ap",
        "invoice_pdf": link + "/pdf?s=ap",
        "number": f"{owner['invoice_prefix'] or 'SANDBOX'}-{sequence:04d}",
        "starting_balance": 0,
        "status": "open",
        "status_transitions": {**invoice["status_transitions"], "finalized_at": now},
    }
    call.book.put("invoices", {**invoice, **values})
    call.announce("invoice.finalized", "invoices", invoice["id"])
    stored = call.get("invoices", invoice["id"])
    return stored if stored["amount_remaining"] else _paid(call, stored)


def settle(call: writes.Call, invoice: objects.Object) -> objects.Object:
    """An invoice of which nothing remains to be paid is paid."""
    return _paid(call, invoice)


def pay(call: writes.Call, invoice: objects.Object, method: Any = None) -> objects.Object:
    """Collect: a payment intent, its charge, the invoice payment, and the invoice paid; refused when declined."""
    given = str(method or invoice.get("default_payment_method") or "pm_card_visa")
    intent = writes.blank(call, call.book.stream("payment_intents"))
    intent.update(
        amount=invoice["amount_remaining"],
        capture_method="automatic",
        client_secret=f"{intent['id']}_secret_{call.names.word(25)}",
        confirmation_method="automatic",
        currency=invoice["currency"],
        customer=invoice["customer"],
        description=f"Payment for invoice {invoice['number']}",
        payment_method=paying.test_method(call, given),
        payment_method_types=["card"],
        status="requires_confirmation",
    )
    call.book.put("payment_intents", intent)
    call.announce("payment_intent.created", "payment_intents", intent["id"])
    try:
        paying.confirm(call, intent, {})
    except refusals.Refusal:
        values = {"attempted": True, "attempt_count": invoice["attempt_count"] + 1}
        call.change("invoices", invoice["id"], values, "invoice.updated", "invoice.payment_failed")
        raise
    values = {
        "amount_paid": intent["amount"],
        "amount_requested": intent["amount"],
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
        "status": "paid",
        "status_transitions": {"canceled_at": None, "paid_at": call.now()},
    }
    call.add("invoice_payments", values, event="invoice_payment.paid")
    return _paid(call, call.get("invoices", invoice["id"]))


def _new_invoice(call: writes.Call, invoice: objects.Object, given: forms.Tree) -> None:
    if not given.get("customer") and not given.get("subscription"):
        raise refusals.missing_parameter("customer")
    subscription = None
    if given.get("subscription"):
        subscription = call.get("subscriptions", given["subscription"], "subscription")
        invoice["customer"] = invoice["customer"] or subscription["customer"]
    owner = call.get("customers", invoice["customer"], "customer")
    default = (subscription or {}).get("currency") or owner.get("currency") or "usd"
    currency = customers.currency(given.get("currency") or default)
    invoice.update(_fresh(call, owner, currency, "manual", subscription))
    invoice.update(
        auto_advance=given.get("auto_advance", False),
        collection_method=given.get("collection_method") or "charge_automatically",
    )
    if given.get("days_until_due"):
        invoice["due_date"] = call.now() + given["days_until_due"] * 86400


# "Once an invoice is finalized, monetary values, as well as collection_method, become uneditable.": what is
# left beside metadata tells how it is collected. https://docs.stripe.com/api/invoices/update
AFTER_DRAFT = frozenset(
    {"auto_advance", "default_payment_method", "default_source", "metadata", "payment_settings"}
)


def _changed_invoice(call: writes.Call, invoice: objects.Object, given: forms.Tree) -> None:
    if invoice["status"] != "draft" and (late := sorted(given.keys() - AFTER_DRAFT)):
        # https://github.com/stripe/stripe-php/issues/1105
        raise refusals.not_allowed(
            "Finalized invoices can't be updated in this way", code="invoice_not_editable", param=late[0]
        )
    if given.get("days_until_due") is not None:
        if invoice["collection_method"] != "send_invoice":
            raise refusals.not_allowed(
                "You can only set days_until_due on invoices with collection_method set to send_invoice.",
                param="days_until_due",
            )
        invoice["due_date"] = call.now() + given["days_until_due"] * 86400


def _made_invoice(call: writes.Call, invoice: objects.Object, given: forms.Tree) -> None:
    if given.get("pending_invoice_items_behavior") == "include":
        invoice_lines.take_pending(call, invoice, given.get("subscription"))


def _fresh(
    call: writes.Call, owner: objects.Object, currency: str, reason: str, subscription: objects.Object | None
) -> objects.Object:
    now = call.now()
    parent = None
    if subscription:
        details = {"metadata": {}, "subscription": subscription["id"]}
        parent = {"quote_details": None, "subscription_details": details, "type": "subscription_details"}
    return {
        "account_country": "US",
        "attempted": False,
        "auto_advance": True,
        "billing_reason": reason,
        "collection_method": (subscription or {}).get("collection_method") or "charge_automatically",
        "currency": currency,
        "customer_address": owner.get("address"),
        "customer_email": owner.get("email"),
        "customer_name": owner.get("name"),
        "customer_phone": owner.get("phone"),
        "customer_shipping": owner.get("shipping"),
        "customer_tax_exempt": owner.get("tax_exempt"),
        "customer_tax_ids": [],
        "issuer": {"type": "self"},
        "parent": parent,
        "period_end": now,
        "period_start": now,
        "status": "draft",
        "status_transitions": dict.fromkeys(
            ("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")
        ),
        "total_discount_amounts": [],
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
    }


@writes.action("POST", "/v1/invoices/{invoice}/add_lines", "invoices")
def _add_lines(call: writes.Call, invoice: objects.Object, params: forms.Tree) -> objects.Object:
    invoice_lines.must_be_draft(invoice)
    now = call.now()
    lines = params.get("lines")
    if not isinstance(lines, list) or not lines:
        raise refusals.missing_parameter("lines")
    for i, given in enumerate(lines):
        values: forms.Tree = {
            "amount": forms.integer(f"lines[{i}][amount]", given.get("amount", "0")),
            "currency": invoice["currency"],
            "description": given.get("description"),
            "metadata": forms.merge_metadata({}, given.get("metadata") or {}),
            "period": {"start": now, "end": now},
            "quantity": forms.integer(f"lines[{i}][quantity]", given.get("quantity", "1")),
        }
        invoice_lines.add(call, invoice["id"], values)
    invoice_lines.tell_total(call, invoice)
    return call.get("invoices", invoice["id"])


@writes.action("POST", "/v1/invoices/{invoice}/remove_lines", "invoices")
def _remove_lines(call: writes.Call, invoice: objects.Object, params: forms.Tree) -> objects.Object:
    invoice_lines.must_be_draft(invoice)
    for i, given in enumerate(params.get("lines") or []):
        call.get("invoice_line_items", str(given.get("id")), f"lines[{i}][id]")
        invoice_lines.drop(call, invoice["id"], given["id"])
    invoice_lines.tell_total(call, invoice)
    return call.get("invoices", invoice["id"])


@writes.action("POST", "/v1/invoices/{invoice}/finalize", "invoices")
def _finalize(call: writes.Call, invoice: objects.Object, _: forms.Tree) -> objects.Object:
    invoice_lines.must_be_draft(invoice)
    return finalize(call, invoice)


@writes.action("POST", "/v1/invoices/{invoice}/pay", "invoices")
def _pay(call: writes.Call, invoice: objects.Object, params: forms.Tree) -> objects.Object:
    if invoice["status"] == "draft":
        invoice = finalize(call, invoice)
    if invoice["status"] == "paid":
        raise refusals.not_allowed("Invoice is already paid", code="invoice_already_paid")
    if invoice["status"] not in ("open", "uncollectible"):
        raise refusals.not_allowed(f"You can't pay an invoice whose status is {invoice['status']}.")
    if params.get("paid_out_of_band") == "true":
        return _paid(call, invoice)
    return pay(call, invoice, params.get("payment_method") or params.get("source"))


def _paid(call: writes.Call, invoice: objects.Object) -> objects.Object:
    types = ("invoice.updated", "invoice.paid", "invoice.payment_succeeded")
    values = {
        "amount_paid": invoice["amount_due"],
        "amount_remaining": 0,
        "attempt_count": invoice["attempt_count"] + 1,
        "attempted": True,
        "status": "paid",
        "status_transitions": {**invoice["status_transitions"], "paid_at": call.now()},
    }
    paid = call.change("invoices", invoice["id"], values, *types)
    id = ((invoice.get("parent") or {}).get("subscription_details") or {}).get("subscription")
    subscription = call.book.get("subscriptions", id) if id else None
    if subscription and subscription["status"] in ("incomplete", "past_due", "unpaid"):
        call.change(
            "subscriptions", subscription["id"], {"status": "active"}, "customer.subscription.updated"
        )
    return paid


@writes.action("POST", "/v1/invoices/{invoice}/void", "invoices")
def _void(call: writes.Call, invoice: objects.Object, _: forms.Tree) -> objects.Object:
    if invoice["status"] not in ("open", "uncollectible"):
        raise refusals.not_allowed(f"You can only void unpaid invoices, but this one is {invoice['status']}.")
    return _close(call, invoice, "void", "voided_at", "invoice.voided")


@writes.action("POST", "/v1/invoices/{invoice}/mark_uncollectible", "invoices")
def _give_up(call: writes.Call, invoice: objects.Object, _: forms.Tree) -> objects.Object:
    if invoice["status"] != "open":
        raise refusals.not_allowed(
            f"You can only give up open invoices, but this one is {invoice['status']}."
        )
    return _close(call, invoice, "uncollectible", "marked_uncollectible_at", "invoice.marked_uncollectible")


def _close(call: writes.Call, invoice: objects.Object, status: str, moment: str, type: str) -> objects.Object:
    transitions = {**invoice["status_transitions"], moment: call.now()}
    values = {"status": status, "status_transitions": transitions}
    return call.change("invoices", invoice["id"], values, "invoice.updated", type)


@writes.action("POST", "/v1/invoices/{invoice}/send", "invoices")
def _send(call: writes.Call, invoice: objects.Object, _: forms.Tree) -> objects.Object:
    if invoice["status"] == "draft":
        finalize(call, invoice)
    call.announce("invoice.sent", "invoices", invoice["id"])
    return call.get("invoices", invoice["id"])


def _before_invoice_goes(call: writes.Call, invoice: objects.Object) -> None:
    if invoice["status"] != "draft" or invoice["parent"]:
        raise refusals.not_allowed(
            "You can only delete draft invoices that belong to no subscription; void this one instead."
        )
    for ref in list(call.book.pointing("invoice_items", "invoice", invoice["id"])):
        item = call.book.show("invoice_items", ref)
        call.book.put("invoice_items", {**item, "invoice": None})


writes.BEFORE_CREATE |= {"invoices": _new_invoice}
writes.AFTER_CREATE |= {"invoices": _made_invoice}
writes.BEFORE_UPDATE |= {"invoices": _changed_invoice}
writes.BEFORE_DELETE |= {"invoices": _before_invoice_goes}
