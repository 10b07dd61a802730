"""Ids of objects made through the API: Stripe's prefix and 14 to 24 characters, never one twice."""

from __future__ import annotations

import random

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

PREFIXES = {
    "account": "acct",
    "balance_transaction": "txn",
    "bank_account": "ba",
    "billing.meter": "mtr",
    "card": "card",
    "charge": "ch",
    "checkout.session": "cs_test",
    "credit_note": "cn",
    "customer": "cus",
    "customer_balance_transaction": "cbtxn",
    "discount": "di",
    "dispute": "du",
    "event": "evt",
    "fee_refund": "fr",
    "file": "file",
    "file_link": "link",
    "invoice": "in",
    "invoice_payment": "inpay",
    "invoiceitem": "ii",
    "item": "li",
    "line_item": "il",
    "payment_intent": "pi",
    "payment_link": "plink",
    "payment_method": "pm",
    "payout": "po",
    "person": "person",
    "plan": "plan",
    "price": "price",
    "product": "prod",
    "promotion_code": "promo",
    "quote": "qt",
    "radar.value_list": "rsl",
    "radar.value_list_item": "rsli",
    "refund": "re",
    "request": "req",
    "review": "prv",
    "setup_attempt": "setatt",
    "setup_intent": "seti",
    "shipping_rate": "shr",
    "source": "src",
    "subscription": "sub",
    "subscription_item": "si",
    "subscription_schedule": "sub_sched",
    "tax_id": "txi",
    "tax_rate": "txr",
    "test_helpers.test_clock": "clock",
    "topup": "tu",
    "transfer": "tr",
    "transfer_reversal": "trr",
    "v2.core.account": "acct",
    "webhook_endpoint": "we",
}

SHORT = frozenset({"account", "customer", "product", "request", "subscription_item"})


class Names:
    """Makes ids, the same ones by the same seed and order."""

    def __init__(self, seed: int = 1) -> None:
        self._chance = random.Random(f"ids {seed}")

    def make(self, object: str) -> str:
        """A new id for an object; objects without a usual prefix get their initials."""
        if object == "coupon":
            return self.word(8)
        prefix = PREFIXES.get(object) or "".join(part[0] for part in object.replace(".", "_").split("_"))
        return f"{prefix}_{self.word(14)}" if object in SHORT else f"{prefix}_1{self.word(23)}"

    def word(self, length: int, alphabet: str = ALPHABET) -> str:
        """Random characters."""
        return "".join(self._chance.choices(alphabet, k=length))
