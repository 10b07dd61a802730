"""Rules of what is agreed before it is paid: checkout sessions, quotes, plans, and credit notes after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidegate.sandbox import (
    customers,
    forms,
    invoice_lines,
    invoices,
    objects,
    paying,
    pricelist,
    refusals,
    writes,
)

DAY = 86_400


def items_of(call: writes.Call, stream: str, parent: str) -> list[objects.Object]:
    """The items of a checkout session or a quote."""
    above = call.book.stream(stream).parent
    return [call.book.show(stream, ref) for ref in call.book.children(stream, above, parent)]


def _add_items(call: writes.Call, stream: str, parent: str, given: Sequence[forms.Tree]) -> objects.Object:
    """Make items of prices; their currency and what they come to."""
    subtotal, currency = 0, "usd"
    # They are shown as they were given, and a stored list begins with the newest.
    for i, one in reversed(list(enumerate(given))):
        if data := one.get("price_data"):
            price = pricelist.add_price(call, data)
        else:
            price = call.get("prices", one.get("price") or "", f"line_items[{i}][price]")
        quantity = int(one.get("quantity") or 1)
        amount, currency = invoice_lines.amount(price, quantity), price["currency"]
        subtotal += amount
        values = {
            "amount_subtotal": amount,
            "amount_total": amount,
            "currency": currency,
            "description": price["nickname"] or str(price["product"]),
            "discounts": [],
            "price": price,
            "quantity": quantity,
            "taxes": [],
        }
        call.add(stream, values, parent)
    return {"amount_subtotal": subtotal, "amount_total": subtotal, "currency": currency}


def _new_session(call: writes.Call, session: objects.Object, given: forms.Tree) -> None:
    mode, items = given.get("mode") or "payment", given.get("line_items")
    if mode != "setup" and not (isinstance(items, list) and items):
        raise refusals.missing_parameter("line_items")
    session.update(
        custom_fields=[],
        expires_at=given.get("expires_at") or call.now() + DAY,
        mode=mode,
        payment_method_types=["card"],
        payment_status="no_payment_required" if mode == "setup" else "unpaid",
        shipping_options=[],
        status="open",
        url=f"https://checkout.stripe.com/c/pay/{session['id']}#fid",
    )
    if isinstance(items, list):
        session.update(_add_items(call, "checkout_sessions_line_items", session["id"], items))
    session["total_details"] = {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0}


@writes.action("POST", "/v1/checkout/sessions/{session}/expire", "checkout_sessions")
def _expire_session(call: writes.Call, session: objects.Object, _: forms.Tree) -> objects.Object:
    if session["status"] != "open":
        raise refusals.not_allowed(
            f'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session\'s status is '
            f"{session['status']}."
        )
    values = {"status": "expired", "url": None}
    return call.change("checkout_sessions", session["id"], values, "checkout.session.expired")


def _new_quote(call: writes.Call, quote: objects.Object, given: forms.Tree) -> None:
    quote.update(
        amount_subtotal=0,
        amount_total=0,
        collection_method=given.get("collection_method") or "charge_automatically",
        discounts=[],
        expires_at=given.get("expires_at") or call.now() + 30 * DAY,
        status="draft",
    )
    _price_quote(call, quote, given)


def _changed_quote(call: writes.Call, quote: objects.Object, given: forms.Tree) -> None:
    if quote["status"] != "draft" and given.keys() - {"metadata", "expires_at"}:
        raise refusals.not_allowed("You can only update a quote that is a draft.")
    if "line_items" in given:
        for item in items_of(call, "quote_line_items", quote["id"]):
            tombstone = {"id": item["id"], "object": "item", "deleted": True}
            call.book.remove("quote_line_items", item["id"], tombstone, quote["id"])
        _price_quote(call, quote, given)


def _price_quote(call: writes.Call, quote: objects.Object, given: forms.Tree) -> None:
    if isinstance(items := given.get("line_items"), list):
        quote.update(_add_items(call, "quote_line_items", quote["id"], items))


def _step(quote: objects.Object, allowed: str, verb: str, moment: str, now: int) -> objects.Object:
    if quote["status"] not in allowed.split():
        raise refusals.not_allowed(f"You cannot {verb} a quote whose status is {quote['status']}.")
    return {"status_transitions": {**quote["status_transitions"], moment: now}}


@writes.action("POST", "/v1/quotes/{quote}/finalize", "quotes")
def _finalize_quote(call: writes.Call, quote: objects.Object, _: forms.Tree) -> objects.Object:
    values = _step(quote, "draft", "finalize", "finalized_at", call.now())
    values |= {"status": "open", "number": f"QT-{call.names.word(8).upper()}-0001-1"}
    return call.change("quotes", quote["id"], values, "quote.finalized")


@writes.action("POST", "/v1/quotes/{quote}/cancel", "quotes")
def _cancel_quote(call: writes.Call, quote: objects.Object, _: forms.Tree) -> objects.Object:
    values = _step(quote, "draft open", "cancel", "canceled_at", call.now())
    return call.change("quotes", quote["id"], {**values, "status": "canceled"}, "quote.canceled")


@writes.action("POST", "/v1/quotes/{quote}/accept", "quotes")
def _accept_quote(call: writes.Call, quote: objects.Object, _: forms.Tree) -> objects.Object:
    """What recurs becomes a subscription; what does not, a draft invoice."""
    values = _step(quote, "open", "accept", "accepted_at", call.now())
    if not quote["customer"]:
        raise refusals.not_allowed("A quote without a customer cannot be accepted.")
    items = items_of(call, "quote_line_items", quote["id"])
    recurring = [item for item in items if item["price"]["type"] == "recurring"]
    if recurring:
        prices = {
            f"items[{i}][{name}]": str(value)
            for i, item in enumerate(recurring)
            for name, value in (("price", item["price"]["id"]), ("quantity", item["quantity"]))
        }
        values["subscription"] = _create(call, "subscriptions", {"customer": quote["customer"], **prices})
        values["invoice"] = call.get("subscriptions", values["subscription"])["latest_invoice"]
    elif items:
        given = {"customer": quote["customer"], "currency": quote["currency"]}
        values["invoice"] = _create(call, "invoices", given)
        for item in items:
            line = {"invoice": values["invoice"], "pricing[price]": item["price"]["id"]}
            _create(call, "invoice_items", {**line, "quantity": str(item["quantity"])})
    return call.change("quotes", quote["id"], {**values, "status": "accepted"}, "quote.accepted")


def _create(call: writes.Call, stream: str, given: dict[str, str]) -> str:
    described = call.book.stream(stream)
    assert described.create is not None, "it can be created"
    params = forms.parse_form(forms.encode_form(given))
    return writes.create(call, described, described.create, {}, params)[1]


def _new_plan(call: writes.Call, plan: objects.Object, given: forms.Tree) -> None:
    product = given.get("product")
    if isinstance(product, dict):
        product = pricelist.add_product(call, product)["id"]
    elif product:
        call.get("products", product, "product")
    else:
        raise refusals.missing_parameter("product")
    decimal = given.get("amount_decimal") or (str(given["amount"]) if "amount" in given else None)
    plan.update(
        active=given.get("active", True),
        amount=int(decimal) if decimal and decimal.isdigit() else None,
        amount_decimal=decimal,
        billing_scheme=given.get("billing_scheme") or "per_unit",
        currency=customers.currency(given["currency"]),
        interval_count=given.get("interval_count") or 1,
        product=product,
        usage_type=given.get("usage_type") or "licensed",
    )


def _made_plan(call: writes.Call, plan: objects.Object, _: forms.Tree) -> None:
    """A plan is a recurring price under its old name."""
    if call.book.exists("prices", plan["id"]):
        return
    price = writes.blank(call, call.book.stream("prices"))
    recurring = {name: plan[name] for name in ("interval", "interval_count", "usage_type")}
    price.update(
        id=plan["id"],
        active=plan["active"],
        billing_scheme=plan["billing_scheme"],
        currency=plan["currency"],
        metadata=plan["metadata"],
        nickname=plan["nickname"],
        product=plan["product"],
        recurring={**recurring, "meter": None, "trial_period_days": plan["trial_period_days"]},
        tax_behavior="unspecified",
        type="recurring",
        unit_amount=plan["amount"],
        unit_amount_decimal=plan["amount_decimal"],
    )
    call.book.put("prices", price)
    call.announce("price.created", "prices", price["id"])


def _changed_plan(call: writes.Call, plan: objects.Object, _: forms.Tree) -> None:
    if call.book.exists("prices", plan["id"]):
        values = {name: plan[name] for name in ("active", "metadata", "nickname")}
        call.change("prices", plan["id"], values, "price.updated")


def _before_plan_goes(call: writes.Call, plan: objects.Object) -> None:
    price = call.book.get("prices", plan["id"])
    if price is not None:
        call.book.remove("prices", plan["id"], {"id": plan["id"], "object": "price", "deleted": True})
        call.tell("price.deleted", price)


def _new_note(call: writes.Call, note: objects.Object, given: forms.Tree) -> None:
    invoice = call.get("invoices", given["invoice"], "invoice")
    if invoice["status"] not in ("open", "paid", "uncollectible"):
        raise refusals.not_allowed(
            f"Credit notes can only be created for finalized invoices, but this one is {invoice['status']}."
        )
    lines = given.get("lines")
    lines = lines if isinstance(lines, list) else []
    amounts = [forms.integer(f"lines[{i}][amount]", one.get("amount")) for i, one in enumerate(lines)]
    amount = given.get("amount") or sum(amounts)
    before = invoice["pre_payment_credit_notes_amount"] + invoice["post_payment_credit_notes_amount"]
    if not 0 < amount <= invoice["total"] - before:
        raise refusals.not_allowed(
            f"The sum of credit amounts ({amount}) must be positive and at most what is left of the invoice "
            f"({invoice['total'] - before}).",
            param="amount",
        )
    paid = invoice["status"] == "paid"
    note.update(
        amount=amount,
        currency=invoice["currency"],
        customer=invoice["customer"],
        discount_amounts=[],
        effective_at=given.get("effective_at") or call.now(),
        number=f"{invoice['number']}-CN-{call.names.word(4)}",
        pdf=f"https://pay.stripe.com/credit_notes/{note['id']}/pdf",
        post_payment_amount=amount if paid else 0,
        pre_payment_amount=0 if paid else amount,
        pretax_credit_amounts=[],
        refunds=[],
        status="issued",
        subtotal=amount,
        subtotal_excluding_tax=amount,
        total=amount,
        total_excluding_tax=amount,
        total_taxes=[],
        type="post_payment" if paid else "pre_payment",
    )
    for one, part in zip(lines or [{}], amounts or [amount], strict=True):
        values: dict[str, Any] = {
            "amount": part,
            "description": one.get("description"),
            "discount_amounts": [],
            "invoice_line_item": one.get("invoice_line_item"),
            "pretax_credit_amounts": [],
            "quantity": 1,
            "tax_rates": [],
            "type": one.get("type") or "custom_line_item",
            "unit_amount": part,
            "unit_amount_decimal": str(part),
        }
        call.add("credit_note_line_items", values, note["id"])
    if credit := given.get("credit_amount"):
        moved = {"amount": -credit, "credit_note": note["id"], "type": "credit_note"}
        note["customer_balance_transaction"] = customers.credit(call, invoice["customer"], moved)["id"]


def _made_note(call: writes.Call, note: objects.Object, _: forms.Tree) -> None:
    _apply(call, note, 1)


@writes.action("POST", "/v1/credit_notes/{id}/void", "credit_notes")
def _void_note(call: writes.Call, note: objects.Object, _: forms.Tree) -> objects.Object:
    invoice = call.get("invoices", note["invoice"])
    if note["status"] == "void" or invoice["status"] != "open":
        raise refusals.not_allowed("Only an issued credit note of an open invoice can be voided.")
    voided = call.change(
        "credit_notes", note["id"], {"status": "void", "voided_at": call.now()}, "credit_note.voided"
    )
    _apply(call, note, -1)
    return voided


def _apply(call: writes.Call, note: objects.Object, times: int) -> None:
    """Count a credit note on its invoice, or take it off again."""
    invoice = call.get("invoices", note["invoice"])
    name = "post_payment_credit_notes_amount" if note["type"] == "post_payment" else ""
    values = {name: invoice[name] + times * note["amount"]} if name else {
        "amount_due": invoice["amount_due"] - times * note["amount"],
        "amount_remaining": invoice["amount_remaining"] - times * note["amount"],
        "pre_payment_credit_notes_amount": invoice["pre_payment_credit_notes_amount"] + times * note["amount"],
    }  # fmt: skip
    changed = call.change("invoices", invoice["id"], values, "invoice.updated")
    if times > 0 and changed["status"] == "open" and changed["amount_remaining"] == 0:
        invoices.settle(call, changed)


def _new_topup(call: writes.Call, topup: objects.Object, given: forms.Tree) -> None:
    paying.positive(topup["amount"])
    topup.update(
        currency=customers.currency(given["currency"]),
        expected_availability_date=call.now() + 5 * DAY,
        source=None,
        status="pending",
    )


@writes.action("POST", "/v1/topups/{topup}/cancel", "topups")
def _cancel_topup(call: writes.Call, topup: objects.Object, _: forms.Tree) -> objects.Object:
    if topup["status"] != "pending":
        raise refusals.not_allowed("Only pending top-ups can be canceled.")
    return call.change("topups", topup["id"], {"status": "canceled"}, "topup.canceled")


writes.BEFORE_CREATE |= {
    "checkout_sessions": _new_session,
    "credit_notes": _new_note,
    "plans": _new_plan,
    "quotes": _new_quote,
    "topups": _new_topup,
}
writes.AFTER_CREATE |= {"credit_notes": _made_note, "plans": _made_plan}
writes.BEFORE_UPDATE |= {"plans": _changed_plan, "quotes": _changed_quote}
writes.BEFORE_DELETE |= {"plans": _before_plan_goes}
