"""What merchants and customers agree on in `traffic`: subscriptions, invoices, credit notes, checkouts, quotes."""

from __future__ import annotations

from tidegate.sandbox import habits, objects, outside
from tidegate.sandbox.traffic import Fits, Life, habit


def _subscribe(life: Life, items: int, **more: object) -> objects.Object:
    prices = [{"price": habits.price(life)["id"], "quantity": 1 + i % 3} for i in range(items)]
    given = {"customer": _free(life)["id"]}
    if life.only_evented:
        given["default_payment_method"] = habits.card(life)
    return life.post("/v1/subscriptions", items=prices, **given, **more)


def _free(life: Life) -> objects.Object:
    """Some customer; without pending invoice items where only events count, for they are billed in silence."""
    found = life.some("customers", lambda one: not life.only_evented or not _waiting(life, one["id"]))
    return found or life.post("/v1/customers", name=life.word())


def _waiting(life: Life, customer: str) -> bool:
    refs = life.book.pointing("invoice_items", "customer", customer)
    return any(life.book.show("invoice_items", ref)["invoice"] is None for ref in refs)


def _subscription(life: Life) -> objects.Object:
    return life.some("subscriptions", _running) or _subscribe(life, 2)


def _running(one: objects.Object) -> bool:
    return one["status"] not in ("canceled", "incomplete_expired")


@habit("subscriptions.create", 2)
def _create_subscription(life: Life) -> None:
    _subscribe(life, life.chance.randrange(1, 4))


@habit("subscriptions.create_many")
def _create_many(life: Life) -> None:
    _subscribe(life, life.chance.randrange(12, 15))


@habit("subscriptions.redeem", silent=True)
def _redeem(life: Life) -> None:
    """No event tells how often a coupon was redeemed."""
    _subscribe(life, 1, discounts=[{"coupon": habits.coupon(life)["id"]}])


@habit("subscriptions.update", 2)
def _update_subscription(life: Life) -> None:
    life.post(f"/v1/subscriptions/{_subscription(life)['id']}", metadata=life.metadata())


@habit("subscriptions.add_item", 2)
def _add_item(life: Life) -> None:
    items = [{"price": habits.price(life)["id"], "quantity": 2}]
    life.post(f"/v1/subscriptions/{_subscription(life)['id']}", items=items)


@habit("subscriptions.change_item", 2)
def _change_item(life: Life) -> None:
    item = life.chance.choice(life.children("subscription_items", _subscription(life)["id"]))
    life.post(f"/v1/subscription_items/{item['id']}", quantity=item["quantity"] + 1)


@habit("subscriptions.remove_item", 2)
def _remove_item(life: Life) -> None:
    found = life.some("subscriptions", lambda one: _running(one) and len(one["items"]["data"]) > 1)
    id = (found or _subscribe(life, 3))["id"]
    life.delete(f"/v1/subscription_items/{life.chance.choice(life.children('subscription_items', id))['id']}")


@habit("subscriptions.cancel", 2)
def _cancel_subscription(life: Life) -> None:
    life.delete(f"/v1/subscriptions/{_subscription(life)['id']}")


@habit("subscriptions.burst")
def _burst_of_subscription(life: Life) -> None:
    """Twelve items, one removed, one added, then canceled: all at once."""
    id = _subscribe(life, 12)["id"]
    gone = life.chance.choice(life.children("subscription_items", id))["id"]
    life.post(
        f"/v1/subscriptions/{id}", items=[{"id": gone, "deleted": True}, {"price": habits.price(life)["id"]}]
    )
    life.delete(f"/v1/subscriptions/{id}")


def _draft(life: Life, lines: int) -> objects.Object:
    id = life.post("/v1/invoices", customer=habits.customer(life)["id"])["id"]
    given = [{"amount": life.amount(), "description": life.word()} for _ in range(lines)]
    return life.post(f"/v1/invoices/{id}/add_lines", lines=given)


def _some_invoice(life: Life, fits: Fits) -> objects.Object | None:
    """Of a customer who is still there: nobody else's can be finalized or paid."""
    return life.some(
        "invoices", lambda one: fits(one) and life.book.exists("customers", str(one["customer"]))
    )


def _drafted(life: Life) -> objects.Object:
    found = _some_invoice(
        life, lambda one: one["status"] == "draft" and not one["parent"] and one["lines"]["data"]
    )
    return found or _draft(life, 3)


def _owed(life: Life) -> objects.Object:
    found = _some_invoice(life, lambda one: one["status"] == "open" and one["amount_remaining"] > 0)
    return found or life.post(f"/v1/invoices/{_draft(life, 2)['id']}/finalize")


@habit("invoices.draft", 3)
def _draft_invoice(life: Life) -> None:
    _draft(life, life.chance.randrange(1, 31))


@habit("invoices.long")
def _draft_long(life: Life) -> None:
    _draft(life, 120)


@habit("invoices.update")
def _update_invoice(life: Life) -> None:
    life.post(f"/v1/invoices/{_drafted(life)['id']}", metadata=life.metadata(), description=life.word())


@habit("invoices.remove_line", 2)
def _remove_line(life: Life) -> None:
    id = _drafted(life)["id"]
    line = life.chance.choice(life.children("invoice_line_items", id))
    life.post(f"/v1/invoices/{id}/remove_lines", lines=[{"id": line["id"], "behavior": "delete"}])


@habit("invoices.add_lines")
def _add_lines(life: Life) -> None:
    lines = [{"amount": life.amount()} for _ in range(11)]
    life.post(f"/v1/invoices/{_drafted(life)['id']}/add_lines", lines=lines)


@habit("invoices.finalize", 2)
def _finalize(life: Life) -> None:
    life.post(f"/v1/invoices/{_drafted(life)['id']}/finalize")


@habit("invoices.pay", 2)
def _pay(life: Life) -> None:
    life.post(f"/v1/invoices/{_owed(life)['id']}/pay", payment_method=habits.card(life))


@habit("invoices.pay_elsewhere")
def _pay_elsewhere(life: Life) -> None:
    life.post(f"/v1/invoices/{_owed(life)['id']}/pay", paid_out_of_band=True)


@habit("invoices.decline")
def _decline_invoice(life: Life) -> None:
    life.post(
        f"/v1/invoices/{_owed(life)['id']}/pay",
        payment_method=habits.card(life, "pm_card_visa_chargeDeclined"),
    )


@habit("invoices.void")
def _void(life: Life) -> None:
    life.post(f"/v1/invoices/{_owed(life)['id']}/void")


@habit("invoices.give_up")
def _give_up(life: Life) -> None:
    life.post(f"/v1/invoices/{_owed(life)['id']}/mark_uncollectible")


@habit("invoices.delete", 2)
def _delete_invoice(life: Life) -> None:
    """Its invoice items wait again, of which no event tells."""
    draft = _draft(life, 2) if life.only_evented else _drafted(life)
    life.delete(f"/v1/invoices/{draft['id']}")


@habit("invoices.burst")
def _burst_of_invoice(life: Life) -> None:
    """Created, finalized and paid, all at once."""
    id = _draft(life, 11)["id"]
    life.post(f"/v1/invoices/{id}/finalize")
    life.post(f"/v1/invoices/{id}/pay", payment_method=habits.card(life))


@habit("credit_notes.create", 2)
def _create_note(life: Life) -> None:
    _note(life)


def _note(life: Life) -> objects.Object:
    owed = life.post(f"/v1/invoices/{_draft(life, 2)['id']}/finalize")
    amount = life.chance.randrange(1, owed["total"])
    return life.post("/v1/credit_notes", invoice=owed["id"], amount=amount)


@habit("credit_notes.refund")
def _note_on_paid(life: Life) -> None:
    paid = life.post(f"/v1/invoices/{_owed(life)['id']}/pay", payment_method=habits.card(life))
    left = paid["total"] - paid["pre_payment_credit_notes_amount"] - paid["post_payment_credit_notes_amount"]
    part = life.chance.randrange(1, left + 1)
    lines = [{"type": "custom_line_item", "description": life.word(), "amount": part}]
    life.post("/v1/credit_notes", invoice=paid["id"], lines=lines, credit_amount=part)


@habit("credit_notes.update")
def _update_note(life: Life) -> None:
    life.post(f"/v1/credit_notes/{(life.some('credit_notes') or _note(life))['id']}", memo=life.word())


@habit("credit_notes.void")
def _void_note(life: Life) -> None:
    life.post(f"/v1/credit_notes/{_note(life)['id']}/void")


def _item(life: Life, **more: object) -> objects.Object:
    given = {"customer": habits.customer(life)["id"], "currency": "usd", **more}
    return life.post("/v1/invoiceitems", amount=life.amount(), **given)


def _pending(life: Life) -> objects.Object:
    return life.some("invoice_items", lambda one: one["invoice"] is None) or _item(life)


@habit("invoice_items.create", 2)
def _create_item(life: Life) -> None:
    _item(life)


@habit("invoice_items.add")
def _add_to_draft(life: Life) -> None:
    draft = _drafted(life)
    _item(life, customer=draft["customer"], currency=draft["currency"], invoice=draft["id"])


@habit("invoice_items.update", silent=True)
def _update_item(life: Life) -> None:
    life.post(f"/v1/invoiceitems/{_pending(life)['id']}", description=life.word(), amount=life.amount())


@habit("invoice_items.delete")
def _delete_item(life: Life) -> None:
    life.delete(f"/v1/invoiceitems/{_pending(life)['id']}")


def _session(life: Life, items: int = 2) -> objects.Object:
    lines = [{"price": habits.price(life, recurring=False)["id"], "quantity": 1} for _ in range(items)]
    return life.post(
        "/v1/checkout/sessions", mode="payment", success_url="https://example.com", line_items=lines
    )


def _opened(life: Life) -> objects.Object:
    return life.some("checkout_sessions", lambda one: one["status"] == "open") or _session(life)


@habit("checkout.open", 2, silent=True)
def _open_session(life: Life) -> None:
    """There is no event for a session that was opened."""
    _session(life, life.chance.choice((1, 2, 12)))


@habit("checkout.complete", 2, silent=True)
def _complete(life: Life) -> None:
    outside.complete_session(life.call(), _opened(life))


@habit("checkout.expire", silent=True)
def _expire(life: Life) -> None:
    life.post(f"/v1/checkout/sessions/{_opened(life)['id']}/expire")


@habit("checkout.buy", 2)
def _buy(life: Life) -> None:
    """Opened and completed."""
    outside.complete_session(life.call(), _session(life), habits.card(life))


@habit("checkout.edit", silent=True)
def _edit_session(life: Life) -> None:
    life.post(f"/v1/checkout/sessions/{_opened(life)['id']}", metadata=life.metadata())


def _quote(life: Life, items: int = 2) -> objects.Object:
    # A subscription that comes of it is charged to a test card, which becomes a payment method in silence.
    recurring = life.chance.random() < 0.5 and not life.only_evented
    lines = [{"price": habits.price(life, recurring=recurring)["id"], "quantity": 1} for _ in range(items)]
    return life.post("/v1/quotes", customer=habits.customer(life)["id"], line_items=lines)


@habit("quotes.draft", 2)
def _draft_quote(life: Life) -> None:
    _quote(life, life.chance.choice((1, 2, 12)))


@habit("quotes.finalize")
def _finalize_quote(life: Life) -> None:
    life.post(f"/v1/quotes/{_quote(life)['id']}/finalize")


@habit("quotes.accept")
def _accept_quote(life: Life) -> None:
    id = _quote(life)["id"]
    life.post(f"/v1/quotes/{id}/finalize")
    life.post(f"/v1/quotes/{id}/accept")


@habit("quotes.cancel")
def _cancel_quote(life: Life) -> None:
    life.post(f"/v1/quotes/{_quote(life)['id']}/cancel")


@habit("quotes.edit", silent=True)
def _edit_quote(life: Life) -> None:
    lines = [{"price": habits.price(life)["id"], "quantity": 3}]
    life.post(f"/v1/quotes/{_quote(life)['id']}", description=life.word(), line_items=lines)
