"""API versions: which exist, how an object looked at an older one, and what a request may say there.

An object is made at the catalog's version; for an older one, later changes are undone, newest first. Each
change is one of Stripe's documented breaking ones (https://docs.stripe.com/changelog).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tidegate.sandbox import forms, nesting, objects

RELEASES = (
    "2015-10-16",
    "2016-07-06",
    "2017-08-15",
    "2018-11-08",
    "2019-02-19",
    "2019-05-16",
    "2019-10-17",
    "2019-12-03",
    "2020-03-02",
    "2020-08-27",
    "2022-08-01",
    "2022-11-15",
    "2023-08-16",
    "2023-10-16",
    "2024-04-10",
    "2024-06-20",
    "2024-09-30.acacia",
    "2024-10-28.acacia",
    "2024-11-20.acacia",
    "2024-12-18.acacia",
    "2025-01-27.acacia",
    "2025-02-24.acacia",
    "2025-03-31.basil",
    "2025-04-30.basil",
    "2025-05-28.basil",
    "2025-06-30.basil",
    "2025-07-30.basil",
    "2025-08-27.basil",
    "2025-09-30.clover",
    "2025-10-29.clover",
    "2025-11-17.clover",
    "2025-12-15.clover",
)

_SHAPE = re.compile(r"\d{4}-\d{2}-\d{2}(\.[a-z]+)?\Z")

Undo = Callable[[objects.Book, objects.Object], None]


def known(version: str, current: str) -> bool:
    """Was there such a version? Those between the last listed and the current one are known by their form only."""
    if version in RELEASES or version == current:
        return True
    return bool(_SHAPE.match(version)) and "." in version and RELEASES[-1] < version < current


def render(book: objects.Book, value: Any, version: str, current: str) -> Any:
    """An answer as the version showed it (changed in place); at the current one nothing changes."""
    if version >= current:
        return value
    undone = [(kind, undo) for since, kind, undo in CHANGES if version < since]
    return _undo(book, value, undone) if undone else value


def reworded(stream: str, params: forms.Tree, version: str) -> forms.Tree:
    """What a write of an older version says, in the words of the current one."""
    now = dict(params)
    for since, name, former, current in FORMER:
        if stream == name and former in now and version < since:
            now[current] = now.pop(former)
    return now


def _undo(book: objects.Book, value: Any, undone: list[tuple[str, Undo]]) -> Any:
    if isinstance(value, list):
        for one in value:
            _undo(book, one, undone)
    elif isinstance(value, dict):
        kind = value.get("object")
        for wanted, undo in undone:
            if wanted == kind and "id" in value:
                undo(book, value)
        for one in value.values():
            if isinstance(one, (dict, list)):
                _undo(book, one, undone)
    return value


def _discount_coupon(book: objects.Book, discount: objects.Object) -> None:
    source = discount.pop("source", None) or {}
    coupon = source.get("coupon")
    discount["coupon"] = book.get("coupons", coupon) if isinstance(coupon, str) else coupon


def _subscription_period(_: objects.Book, subscription: objects.Object) -> None:
    items = subscription.get("items", {}).get("data", [])
    for name in ("current_period_start", "current_period_end"):
        subscription[name] = items[0].get(name) if items else subscription.get("start_date")
    subscription.pop("billing_mode", None)


def _item_period(_: objects.Book, item: objects.Object) -> None:
    item.pop("current_period_start", None)
    item.pop("current_period_end", None)


def _invoice_links(book: objects.Book, invoice: objects.Object) -> None:
    parent = invoice.pop("parent", None) or {}
    invoice["subscription"] = (parent.get("subscription_details") or {}).get("subscription")
    invoice["paid"] = invoice.get("status") == "paid"
    taxes = invoice.pop("total_taxes", None) or []
    invoice["tax"] = sum(tax.get("amount", 0) for tax in taxes) if taxes else None
    payment = _payment_of(book, invoice["id"])
    invoice["payment_intent"] = payment
    intent = book.get("payment_intents", payment) if payment else None
    invoice["charge"] = intent.get("latest_charge") if intent else None
    invoice.pop("confirmation_secret", None)


def _line_price(book: objects.Book, line: objects.Object) -> None:
    pricing = line.pop("pricing", None) or {}
    price = (pricing.get("price_details") or {}).get("price")
    line["price"] = book.get("prices", price) if isinstance(price, str) else price
    parent = line.pop("parent", None) or {}
    details = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    line["type"] = "subscription" if "subscription_item" in details else "invoiceitem"
    line["subscription_item"] = details.get("subscription_item")
    line["invoice_item"] = details.get("invoice_item")
    line["proration"] = bool(details.get("proration"))
    line.pop("taxes", None)


def _charge_invoice(book: objects.Book, charge: objects.Object) -> None:
    intent = charge.get("payment_intent")
    charge["invoice"] = _invoice_of(book, intent) if isinstance(intent, str) else None


def _intent_invoice(book: objects.Book, intent: objects.Object) -> None:
    intent["invoice"] = _invoice_of(book, intent["id"])


def _charge_refunds(book: objects.Book, charge: objects.Object) -> None:
    _embed(book, charge, "charges")


def _intent_charges(book: objects.Book, intent: objects.Object) -> None:
    charge = intent.get("latest_charge")
    found = book.get("charges", charge) if isinstance(charge, str) else None
    intent["charges"] = {
        "object": "list",
        "data": [found] if found else [],
        "has_more": False,
        "url": f"/v1/charges?payment_intent={intent['id']}",
    }


def _customer_lists(book: objects.Book, customer: objects.Object) -> None:
    _embed(book, customer, "customers")


def _embed(book: objects.Book, obj: objects.Object, stream: str) -> None:
    for nested in book.stream(stream).nested:
        if nested.path not in obj and not obj.get("deleted"):
            obj[nested.path] = nesting.nested_list(book, stream, obj["id"], nested)


def _payment_of(book: objects.Book, invoice: str) -> str | None:
    for ref in book.pointing("invoice_payments", "invoice", invoice):
        intent = book.show("invoice_payments", ref)["payment"].get("payment_intent")
        if isinstance(intent, str):
            return intent
    return None


def _invoice_of(book: objects.Book, intent: str) -> str | None:
    """The invoice that an intent paid, among its customer's; a guest's payment has none."""
    customer = (book.get("payment_intents", intent) or {}).get("customer")
    if not customer:
        return None
    refs = book.pointing("invoices", "customer", customer)
    return next(
        (id for id in (book.id("invoices", ref) for ref in refs) if _payment_of(book, id) == intent), None
    )


# Until this version a parameter had the first name; as of it Stripe takes the second alone:
# https://docs.stripe.com/changelog/endive/2026-09-30/removes-the-payment-method-types-parameter-from-payment-intents-and-setup-intents
FORMER: tuple[tuple[str, str, str, str], ...] = tuple(
    ("2026-09-30.endive", stream, "payment_method_types", "allowed_payment_method_types")
    for stream in ("payment_intents", "setup_intents", "checkout_sessions")
)

# Since this version the object is as the catalog says; the function shows it as before. Newest first.
CHANGES: tuple[tuple[str, str, Undo], ...] = (
    ("2025-09-30.clover", "discount", _discount_coupon),
    ("2025-03-31.basil", "subscription", _subscription_period),
    ("2025-03-31.basil", "subscription_item", _item_period),
    ("2025-03-31.basil", "invoice", _invoice_links),
    ("2025-03-31.basil", "line_item", _line_price),
    ("2025-03-31.basil", "charge", _charge_invoice),
    ("2025-03-31.basil", "payment_intent", _intent_invoice),
    ("2022-11-15", "charge", _charge_refunds),
    ("2022-11-15", "payment_intent", _intent_charges),
    ("2020-08-27", "customer", _customer_lists),
)
