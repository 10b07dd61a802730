"""Prorations: what a change of a subscription's items amid a period gives back and charges.

`create_prorations`, which is what happens unless `proration_behavior` says otherwise, leaves invoice items for the
next invoice; `always_invoice` bills them at once; `none` does nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.sandbox import invoice_lines, invoices, objects, writes

Items = Mapping[str, objects.Object]
"""A subscription's items by id."""


def settle(
    call: writes.Call,
    subscription: objects.Object,
    before: Items,
    after: Items,
    behavior: str,
    at: int | None,
) -> objects.Object | None:
    """Write the invoice items that a change of items leaves; the invoice, where they are billed at once."""
    if behavior == "none" or subscription["status"] not in ("active", "past_due", "unpaid"):
        return None
    moment = call.now() if at is None else at
    made = 0
    for id in [*before, *(id for id in after if id not in before)]:
        was, is_now = before.get(id), after.get(id)
        if was is not None and is_now is not None and _worth(was) == _worth(is_now):
            continue
        if was is not None:
            made += _charge(call, subscription, was, -1, moment)
        if is_now is not None:
            made += _charge(call, subscription, is_now, 1, moment)
    if not made or behavior != "always_invoice":
        return None
    invoice = invoices.draft(call, subscription, [], "subscription_update")
    if invoice["status"] == "open" and subscription["collection_method"] == "charge_automatically":
        return invoices.pay(call, invoice)
    return invoice


def _worth(item: objects.Object) -> tuple[str, int]:
    return item["price"]["id"], item.get("quantity") or 0


def _charge(
    call: writes.Call, subscription: objects.Object, item: objects.Object, sign: int, moment: int
) -> int:
    """An invoice item for the part of an item's period that is left; 1 when there is anything to charge."""
    price, quantity = item["price"], item.get("quantity") or 0
    start, end = item["current_period_start"], item["current_period_end"]
    if (price.get("recurring") or {}).get("usage_type") == "metered" or not start < end:
        return 0
    part = min(max((end - moment) / (end - start), 0), 1)
    amount = sign * round(invoice_lines.amount(price, quantity) * part)
    what = "Unused time on" if sign < 0 else "Remaining time on"
    details = {"subscription": subscription["id"], "subscription_item": item["id"]}
    values = {
        "amount": amount,
        "currency": price["currency"],
        "customer": subscription["customer"],
        "date": call.now(),
        "description": f"{what} {quantity} × {price.get('nickname') or price['product']}",
        "discountable": False,
        "discounts": [],
        "parent": {"subscription_details": details, "type": "subscription_details"},
        "period": {"start": moment, "end": end},
        "pricing": invoice_lines.pricing(price),
        "proration": True,
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "tax_rates": [],
    }
    call.add("invoice_items", values, event="invoiceitem.created")
    return 1
