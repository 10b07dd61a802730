"""Rules of customers: e-mail, sources, balance, tax ids; and of webhook endpoints."""

from __future__ import annotations

import re
import string
from typing import Any

from tidegate.sandbox import forms, objects, paying, refusals, writes

_CODES = """
aed aud bgn bhd brl cad chf clp cny cop czk dkk egp eur gbp hkd huf idr ils inr isk jod jpy kes krw kwd mad mxn myr
ngn nok nzd omr pen php pkr pln qar ron rsd sar sek sgd thb tnd try twd uah ugx usd uyu vnd xaf xof zar
"""
CURRENCIES = frozenset(_CODES.split())

EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+\Z")
"""What Stripe takes for an e-mail; not what the standard does."""

# The forms that https://docs.stripe.com/billing/customer/tax-ids gives; other types take anything.
TAX_IDS = {
    "au_abn": re.compile(r"\d{11}\Z"),
    "br_cnpj": re.compile(r"\d{2}\.?\d{3}\.?\d{3}/?\d{4}-?\d{2}\Z"),
    "ch_vat": re.compile(r"CHE-?\d{3}\.?\d{3}\.?\d{3} ?(MWST|TVA|IVA)?\Z"),
    "eu_vat": re.compile(r"[A-Z]{2}[0-9A-Z+*]{8,12}\Z"),
    "gb_vat": re.compile(r"(GB|XI)?(\d{9}|\d{12})\Z"),
    "in_gst": re.compile(r"\d{2}[A-Z0-9]{13}\Z"),
    "no_vat": re.compile(r"\d{9}MVA\Z"),
    "us_ein": re.compile(r"\d{2}-?\d{7}\Z"),
}
VERIFIED = frozenset({"au_abn", "eu_vat", "gb_vat"})
"""Types that Stripe asks the authorities about: https://docs.stripe.com/invoicing/customer/tax-ids#validation"""


def currency(given: Any) -> str:
    """A currency code in lower case; refused when there is no such currency."""
    code = str(given).lower()
    if code not in CURRENCIES:
        raise refusals.invalid(
            "currency",
            f"Invalid currency: {code[:10]}. Stripe currently supports these "
            f"currencies: {', '.join(sorted(CURRENCIES))}",
        )
    return code


def _check_email(email: str | None) -> None:
    if email is not None and not EMAIL.match(email):
        raise refusals.invalid("email", f"Invalid email address: {email}", "email_invalid")


def _check_tax_id(kind: str, value: str, inside: str = "") -> None:
    name = f"{inside}[value]" if inside else "value"
    if (form := TAX_IDS.get(kind)) is not None and not form.match(value):
        raise refusals.invalid(name, f"Invalid value for {kind}.", "tax_id_invalid")


def _new_customer(call: writes.Call, customer: objects.Object, given: forms.Tree) -> None:
    # All of it is looked at before any of it is made.
    _check_email(given.get("email"))
    for i, one in enumerate(given.get("tax_id_data") or []):
        _check_tax_id(one["type"], one["value"], f"tax_id_data[{i}]")
    if source := given.get("source"):
        _source_kind(source)
    if method := given.get("payment_method"):
        call.get("payment_methods", paying.test_method(call, method), "payment_method")
    customer.update(
        balance=given.get("balance") or 0,
        delinquent=False,
        invoice_prefix=given.get("invoice_prefix")
        or call.names.word(8, string.ascii_uppercase + string.digits),
        next_invoice_sequence=given.get("next_invoice_sequence") or 1,
        preferred_locales=given.get("preferred_locales") or [],
        tax_exempt=given.get("tax_exempt") or "none",
    )


def _made_customer(call: writes.Call, customer: objects.Object, given: forms.Tree) -> None:
    id = customer["id"]
    if source := given.get("source"):
        add_source(call, id, source)
    if method := given.get("payment_method"):
        held = call.get("payment_methods", paying.test_method(call, method), "payment_method")
        paying.attach(call, held, id)
    for one in given.get("tax_id_data") or []:
        values = {"customer": id, "type": one["type"], "value": one["value"], **_owned(one["type"], id)}
        call.add("customer_tax_ids", values, id, "customer.tax_id.created")


def add_source(call: writes.Call, customer: str, source: Any) -> objects.Object:
    """A card or a bank account for a customer, out of a test token."""
    if _source_kind(source) == "bank_account":
        values: forms.Tree = {
            "country": "US",
            "currency": "usd",
            "bank_name": "STRIPE TEST BANK",
            "last4": "6789",
        }
        stream, family = "bank_accounts", {"status": "new", "account_holder_type": "individual"}
    else:
        values = {"brand": "Visa", "country": "US", "exp_month": 12, "exp_year": 2034, "last4": "4242"}
        stream, family = "cards", {"funding": "credit"}
    made = call.add(stream, {**values, **family, "customer": customer}, customer, "customer.source.created")
    owner = call.get("customers", customer)
    if owner["default_source"] is None:
        call.change("customers", customer, {"default_source": made["id"]}, "customer.updated")
    return made


def _source_kind(source: Any) -> str:
    if str(source).startswith(("btok_", "ba_")):
        return "bank_account"
    if str(source).startswith(("tok_", "card_")):
        return "card"
    raise refusals.missing("token", str(source), "source", status=400, stored=True)


def _changed_customer(call: writes.Call, customer: objects.Object, given: forms.Tree) -> None:
    _check_email(given.get("email"))
    if method := (given.get("invoice_settings") or {}).get("default_payment_method"):
        held = call.book.get("payment_methods", method)
        if held is None or held.get("customer") != customer["id"]:
            raise refusals.not_allowed(
                f"The customer does not have a payment method with the ID {method}. The payment method must be "
                "attached to the customer.",
                code="resource_missing",
                param="invoice_settings[default_payment_method]",
            )
    customer["tax_exempt"] = customer["tax_exempt"] or "none"
    customer["preferred_locales"] = customer["preferred_locales"] or []
    if given.get("default_source"):
        for stream in ("cards", "bank_accounts", "sources"):
            if call.book.exists(stream, given["default_source"]):
                return
        raise refusals.missing("source", given["default_source"], "default_source", status=400, stored=True)


def _before_customer_goes(call: writes.Call, customer: objects.Object) -> None:
    for ref in list(call.book.pointing("subscriptions", "customer", customer["id"])):
        subscription = call.book.show("subscriptions", ref)
        if subscription["status"] not in ("canceled", "incomplete_expired"):
            writes.DELETES["subscriptions"](call, subscription, {})
    for ref in list(call.book.pointing("payment_methods", "customer", customer["id"])):
        paying.detach(call, call.book.show("payment_methods", ref))


def _leave_default(call: writes.Call, source: objects.Object) -> None:
    """A customer whose default source goes takes another one, if there is any."""
    owner = call.book.get("customers", source["customer"]) if source.get("customer") else None
    if owner is None or owner["default_source"] != source["id"]:
        return
    others = (
        call.book.id(stream, ref)
        for stream in ("cards", "bank_accounts", "sources")
        for ref in call.book.children(stream, "customers", owner["id"])
    )
    other = next((id for id in others if id != source["id"]), None)
    call.change("customers", owner["id"], {"default_source": other}, "customer.updated")


def credit(call: writes.Call, customer: str, values: forms.Tree) -> objects.Object:
    """A customer balance transaction, which moves the customer's balance."""
    owner = call.get("customers", customer)
    ending = owner["balance"] + values["amount"]
    own = {"customer": customer, "currency": owner["currency"] or "usd", "ending_balance": ending}
    made = call.add("customer_balance_transactions", {**own, **values}, customer)
    _made_balance(call, made, {})
    return made


def _new_balance(call: writes.Call, moved: objects.Object, given: forms.Tree) -> None:
    owner = call.get("customers", moved["customer"])
    moved.update(
        currency=currency(given["currency"]),
        ending_balance=owner["balance"] + given["amount"],
        type="adjustment",
    )


def _made_balance(call: writes.Call, moved: objects.Object, _: forms.Tree) -> None:
    values = {"balance": moved["ending_balance"], "currency": moved["currency"]}
    call.change("customers", moved["customer"], values, "customer.updated")


def _new_tax_id(_: writes.Call, tax: objects.Object, given: forms.Tree) -> None:
    _check_tax_id(given["type"], given["value"])
    owner = tax.get("customer") or (given.get("owner") or {}).get("customer")
    tax.update(_owned(given["type"], owner))


def _owned(kind: str, owner: str | None) -> objects.Object:
    """What a tax id is besides its type and value; the authorities answer some time later."""
    status = "pending" if kind in VERIFIED else "unavailable"
    return {
        "country": None if kind == "eu_oss_vat" else kind[:2].upper(),
        "owner": {"type": "customer" if owner else "self", "customer": owner},
        "verification": {"status": status, "verified_address": None, "verified_name": None},
    }


def _new_webhook(call: writes.Call, endpoint: objects.Object, given: forms.Tree) -> None:
    _check_types(call, endpoint["enabled_events"])
    secret = "whsec_" + call.names.word(32)
    call.secrets[endpoint["id"]] = secret
    if given.get("connect"):
        call.connect.add(endpoint["id"])
    endpoint.update(status="enabled", api_version=given.get("api_version"), secret=None)


def _changed_webhook(call: writes.Call, endpoint: objects.Object, given: forms.Tree) -> None:
    _check_types(call, endpoint["enabled_events"])
    if "disabled" in given:
        endpoint["status"] = "disabled" if given["disabled"] else "enabled"


def _check_types(call: writes.Call, types: Any) -> None:
    if not isinstance(types, list) or not types:
        raise refusals.invalid("enabled_events", "Invalid array")
    for i, type in enumerate(types):
        if type != "*" and type not in call.book.facts.event_types:
            raise refusals.invalid(f"enabled_events[{i}]", "Invalid enabled_events: no such event type.")


def _before_webhook_goes(call: writes.Call, endpoint: objects.Object) -> None:
    call.secrets.pop(endpoint["id"], None)
    call.connect.discard(endpoint["id"])


writes.BEFORE_CREATE |= {
    "customers": _new_customer,
    "customer_balance_transactions": _new_balance,
    "customer_tax_ids": _new_tax_id,
    "tax_ids": _new_tax_id,
    "webhook_endpoints": _new_webhook,
}
writes.AFTER_CREATE |= {
    "customers": _made_customer,
    "customer_balance_transactions": _made_balance,
}
writes.BEFORE_UPDATE |= {
    "customers": _changed_customer,
    "webhook_endpoints": _changed_webhook,
}
writes.BEFORE_DELETE |= {
    "customers": _before_customer_goes,
    "bank_accounts": _leave_default,
    "cards": _leave_default,
    "sources": _leave_default,
    "webhook_endpoints": _before_webhook_goes,
}
