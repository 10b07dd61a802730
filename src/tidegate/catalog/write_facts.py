"""What can be written, as far as the `stripe` package does not say it; the rest is derived in `build_writes.py`.

Every fact has the address where Stripe says so. A fact about a field that the package does not have makes the build
fail, and so does one that says what the package says already.
"""

from __future__ import annotations

from tidegate.catalog import stated, write_facts_billing, write_facts_customers, write_facts_products


def _only_metadata(path: str, object: str, stream: str) -> stated.Facts:
    return stated.Facts(
        path=path,
        actions=("update",),
        keys=("id", "metadata"),
        object=object,
        stream=stream,
        docs=stated.API + path.removeprefix("/v1/"),
        only=("metadata",),
        note="Only `metadata` is written.",
    )


OBJECTS: dict[str, stated.Facts] = {
    "customer": write_facts_customers.CUSTOMER,
    "product": write_facts_products.PRODUCT,
    "price": write_facts_products.PRICE,
    "coupon": write_facts_products.COUPON,
    "promotion_code": write_facts_products.PROMOTION_CODE,
    "subscription": write_facts_billing.SUBSCRIPTION,
    "invoice_item": write_facts_billing.INVOICE_ITEM,
    "invoice": write_facts_billing.INVOICE,
    "tax_id": write_facts_customers.TAX_ID,
    "meter_event": write_facts_billing.METER_EVENT,
    "tax_rate": write_facts_products.TAX_RATE,
    "payment_intent": _only_metadata("/v1/payment_intents", "payment_intent", "payment_intents"),
    "charge": _only_metadata("/v1/charges", "charge", "charges"),
    "refund": _only_metadata("/v1/refunds", "refund", "refunds"),
    "dispute": _only_metadata("/v1/disputes", "dispute", "disputes"),
    "payout": _only_metadata("/v1/payouts", "payout", "payouts"),
}
