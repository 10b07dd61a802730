"""Rules of what stands on an invoice: its lines, and the invoice items that become lines."""

from __future__ import annotations

from tidegate.sandbox import customers, events, forms, objects, refusals, writes


def amount(price: objects.Object, quantity: int) -> int:
    """What so many of a price cost; tiered prices cost nothing here."""
    decimal = price.get("unit_amount_decimal")
    return round(float(decimal) * quantity) if decimal is not None else 0


def pricing(price: objects.Object) -> objects.Object:
    """A price as an invoice line shows it."""
    return {
        "price_details": {"price": price["id"], "product": price["product"]},
        "type": "price_details",
        "unit_amount_decimal": price["unit_amount_decimal"],
    }


def add(call: writes.Call, invoice: str, values: forms.Tree) -> None:
    """Put a line on an invoice."""
    empty: forms.Tree = {"discount_amounts": [], "discounts": [], "pretax_credit_amounts": [], "taxes": []}
    line = {**empty, "discountable": True, "invoice": invoice, "subtotal": values["amount"], **values}
    call.add("invoice_line_items", line, parent=invoice)
    sum_up(call, invoice)


def drop(call: writes.Call, invoice: str, id: str) -> None:
    """Take a line from an invoice."""
    call.book.remove("invoice_line_items", id, {"id": id, "object": "line_item", "deleted": True}, invoice)
    sum_up(call, invoice)


def of(call: writes.Call, invoice: str) -> list[objects.Object]:
    """All lines of an invoice."""
    refs = call.book.children("invoice_line_items", "invoices", invoice)
    return [call.book.show("invoice_line_items", ref) for ref in refs]


def _of_item(call: writes.Call, item: objects.Object) -> list[objects.Object]:
    """The lines that an invoice item became."""
    lines = of(call, item["invoice"])
    details = [(line, (line.get("parent") or {}).get("invoice_item_details") or {}) for line in lines]
    return [line for line, detail in details if detail.get("invoice_item") == item["id"]]


def sum_up(call: writes.Call, id: str) -> None:
    """Sum the lines up again; the amounts follow from them."""
    invoice = call.get("invoices", id)
    total = sum(line["amount"] for line in of(call, id))
    due = max(0, total)
    invoice.update(
        amount_due=due,
        amount_remaining=due - invoice["amount_paid"],
        subtotal=total,
        subtotal_excluding_tax=total,
        total=total,
        total_excluding_tax=total,
    )
    call.book.put("invoices", invoice)


def tell_total(call: writes.Call, before: objects.Object) -> None:
    """Announce what became of an invoice whose lines changed."""
    after = call.get("invoices", before["id"])
    previous = events.changes(before, after)
    if previous:
        call.announce("invoice.updated", "invoices", before["id"], previous)


def take_pending(call: writes.Call, invoice: objects.Object, subscription: str | None) -> None:
    """Move a customer's pending invoice items onto an invoice."""
    for ref in list(call.book.pointing("invoice_items", "customer", invoice["customer"])):
        item = call.book.show("invoice_items", ref)
        parent = (item.get("parent") or {}).get("subscription_details") or {}
        fits = parent.get("subscription") in (None, subscription)
        if item["invoice"] is None and fits and item["currency"] == invoice["currency"]:
            call.book.put("invoice_items", {**item, "invoice": invoice["id"]})
            add(call, invoice["id"], _item_line(item))


def _item_line(item: objects.Object) -> forms.Tree:
    details = {
        "invoice_item": item["id"],
        "proration": item["proration"],
        "proration_details": {"credited_items": None},
        "subscription": None,
    }
    parent = {
        "invoice_item_details": details,
        "subscription_item_details": None,
        "type": "invoice_item_details",
    }
    kept = {
        name: item[name] for name in ("amount", "currency", "description", "period", "pricing", "quantity")
    }
    return {**kept, "metadata": item["metadata"] or {}, "parent": parent}


def _new_item(call: writes.Call, item: objects.Object, given: forms.Tree) -> None:
    if given.get("invoice"):
        invoice = call.get("invoices", given["invoice"], "invoice")
        must_be_draft(invoice)
        item["customer"] = item["customer"] or invoice["customer"]
    if not item["customer"]:
        raise refusals.missing_parameter("customer")
    quantity = given.get("quantity") or 1
    if price_id := (given.get("pricing") or {}).get("price"):
        price = call.get("prices", price_id, "pricing[price]")
        item.update(amount=amount(price, quantity), currency=price["currency"], pricing=pricing(price))
    elif "amount" not in given:
        raise refusals.not_allowed(
            "You must pass one of `amount`, `pricing` or `price_data`.",
            code="parameter_missing",
            param="amount",
        )
    now = call.now()
    item.update(
        currency=customers.currency(given.get("currency") or item["currency"] or "usd"),
        date=now,
        discountable=given.get("discountable", item["amount"] > 0),
        discounts=[],
        parent=None,
        period=given.get("period") or {"start": now, "end": now},
        proration=False,
        quantity=quantity,
        quantity_decimal=str(quantity),
        tax_rates=[],
    )
    if given.get("subscription"):
        call.get("subscriptions", given["subscription"], "subscription")
        details = {"subscription": given["subscription"], "subscription_item": None}
        item["parent"] = {"subscription_details": details, "type": "subscription_details"}


def _made_item(call: writes.Call, item: objects.Object, _: forms.Tree) -> None:
    if item["invoice"]:
        before = call.get("invoices", item["invoice"])
        add(call, item["invoice"], _item_line(item))
        tell_total(call, before)


def _changed_item(call: writes.Call, item: objects.Object, given: forms.Tree) -> None:
    before = call.get("invoices", item["invoice"]) if item["invoice"] else None
    if before is not None and given.keys() - {"metadata"}:
        must_be_draft(before)
    if price_id := (given.get("pricing") or {}).get("price"):
        item["pricing"] = pricing(call.get("prices", price_id, "pricing[price]"))
    if "amount" not in given and given.keys() & {"pricing", "quantity", "unit_amount_decimal"}:
        unit = given.get("unit_amount_decimal") or (item["pricing"] or {}).get("unit_amount_decimal")
        if unit is not None:
            item["amount"] = amount({"unit_amount_decimal": unit}, item["quantity"])
    item["quantity_decimal"] = str(item["quantity"])
    if before is None:
        return
    values = {name: item[name] for name in ("amount", "description", "metadata", "quantity", "period")}
    for line in _of_item(call, item):
        call.book.put("invoice_line_items", {**line, **values, "subtotal": item["amount"]})
    sum_up(call, item["invoice"])
    tell_total(call, before)


def _before_item_goes(call: writes.Call, item: objects.Object) -> None:
    if not item["invoice"]:
        return
    before = call.get("invoices", item["invoice"])
    must_be_draft(before)
    for line in _of_item(call, item):
        drop(call, item["invoice"], line["id"])
    tell_total(call, before)


def must_be_draft(invoice: objects.Object) -> None:
    """Refuse what is done to drafts only."""
    if invoice["status"] != "draft":
        raise refusals.not_allowed(
            f"Invoice {invoice['id']} is not a draft: its status is {invoice['status']}, so it can't be changed.",
            code="invoice_not_editable",
        )


writes.BEFORE_CREATE |= {"invoice_items": _new_item}
writes.AFTER_CREATE |= {"invoice_items": _made_item}
writes.BEFORE_UPDATE |= {"invoice_items": _changed_item}
writes.BEFORE_DELETE |= {"invoice_items": _before_item_goes}
