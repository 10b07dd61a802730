"""Rules of customers and the price list: sources and balance, products, prices, coupons, webhook endpoints."""

from __future__ import annotations

import string
from typing import Any

from tidegate.sandbox import forms, objects, paying, refusals, writes

_CODES = """
aed aud bgn bhd brl cad chf clp cny cop czk dkk egp eur gbp hkd huf idr ils inr isk jod jpy kes krw kwd mad mxn myr
ngn nok nzd omr pen php pkr pln qar ron rsd sar sek sgd thb tnd try twd uah ugx usd uyu vnd xaf xof zar
"""
CURRENCIES = frozenset(_CODES.split())


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


def _new_customer(call: writes.Call, customer: objects.Object, given: forms.Tree) -> None:
    customer.update(
        balance=given.get("balance") or 0,
        delinquent=False,
        invoice_prefix=given.get("invoice_prefix")
        or call.names.word(8, string.ascii_uppercase + string.digits),
        next_invoice_sequence=given.get("next_invoice_sequence") or 1,
        preferred_locales=given.get("preferred_locales") or [],
        tax_exempt=given.get("tax_exempt") or "none",
    )
    if "@" not in (given.get("email") or "@"):
        raise refusals.invalid("email", "Invalid email address.", "email_invalid")


def _made_customer(call: writes.Call, customer: objects.Object, given: forms.Tree) -> None:
    id = customer["id"]
    if source := given.get("source"):
        add_source(call, id, source)
    if method := given.get("payment_method"):
        held = call.get("payment_methods", paying.test_method(call, method), "payment_method")
        paying.attach(call, held, id)
    for one in given.get("tax_id_data") or []:
        values = {"customer": id, "type": one.get("type"), "value": one.get("value")}
        call.add("customer_tax_ids", values, id, "customer.tax_id.created")


def add_source(call: writes.Call, customer: str, source: Any) -> objects.Object:
    """A card or a bank account for a customer, out of a test token."""
    if str(source).startswith(("btok_", "ba_")):
        values: forms.Tree = {
            "country": "US",
            "currency": "usd",
            "bank_name": "STRIPE TEST BANK",
            "last4": "6789",
        }
        stream, family = "bank_accounts", {"status": "new", "account_holder_type": "individual"}
    elif str(source).startswith(("tok_", "card_")):
        values = {"brand": "Visa", "country": "US", "exp_month": 12, "exp_year": 2034, "last4": "4242"}
        stream, family = "cards", {"funding": "credit"}
    else:
        raise refusals.missing("token", str(source), "source", status=400, stored=True)
    made = call.add(stream, {**values, **family, "customer": customer}, customer, "customer.source.created")
    owner = call.get("customers", customer)
    if owner["default_source"] is None:
        call.change("customers", customer, {"default_source": made["id"]}, "customer.updated")
    return made


def _changed_customer(call: writes.Call, customer: objects.Object, given: forms.Tree) -> None:
    if given.get("default_source"):
        for stream in ("cards", "bank_accounts", "sources"):
            if call.book.exists(stream, given["default_source"]):
                return
        raise refusals.missing("source", given["default_source"], "default_source", status=400, stored=True)
    if "@" not in (customer.get("email") or "@"):
        raise refusals.invalid("email", "Invalid email address.", "email_invalid")


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
    tax.update(
        country=str(given["type"])[:2].upper(),
        owner={"type": "customer" if tax.get("customer") else "self", "customer": tax.get("customer")},
        verification={"status": "pending", "verified_address": None, "verified_name": None},
    )


def _new_product(call: writes.Call, product: objects.Object, given: forms.Tree) -> None:
    product.update(
        active=given.get("active", True),
        images=given.get("images") or [],
        marketing_features=given.get("marketing_features") or [],
        type=given.get("type") or "service",
        updated=call.now(),
    )


def _made_product(call: writes.Call, product: objects.Object, given: forms.Tree) -> None:
    if data := given.get("default_price_data"):
        price = add_price(call, {**data, "product": product["id"]})
        call.change("products", product["id"], {"default_price": price["id"]}, "product.updated")


def _before_product_goes(call: writes.Call, product: objects.Object) -> None:
    if next(call.book.pointing("prices", "product", product["id"]), None) is not None:
        raise refusals.not_allowed(
            "This product cannot be deleted because it has one or more user-created prices."
        )


def add_price(call: writes.Call, given: forms.Tree) -> objects.Object:
    """A price out of `price_data`; recurring ones are plans as well, as at Stripe."""
    price = writes.blank(call, call.book.stream("prices"))
    price.update({name: value for name, value in given.items() if name in price and name != "metadata"})
    _new_price(call, price, given)
    call.book.put("prices", price)
    call.announce("price.created", "prices", price["id"])
    _made_price(call, price, given)
    return price


def _new_price(call: writes.Call, price: objects.Object, given: forms.Tree) -> None:
    price["currency"] = currency(given["currency"])
    product = given.get("product")
    if data := given.get("product_data"):
        product = add_product(call, data)["id"]
    if not product:
        raise refusals.not_allowed(
            "You must provide one of `product` or `product_data`.", code="parameter_missing", param="product"
        )
    price["product"] = product
    scheme = given.get("billing_scheme") or ("tiered" if given.get("tiers") else "per_unit")
    custom = given.get("custom_unit_amount")
    if scheme == "per_unit" and not custom and not given.keys() & {"unit_amount", "unit_amount_decimal"}:
        raise refusals.not_allowed(
            "Prices require an `unit_amount` or `unit_amount_decimal` parameter to be set.",
            code="parameter_missing",
            param="unit_amount",
        )
    amount = given.get("unit_amount")
    decimal = given.get("unit_amount_decimal") or (None if amount is None else str(amount))
    recurring = given.get("recurring")
    if recurring is not None and not recurring.get("interval"):
        raise refusals.missing_parameter("recurring[interval]")
    price.update(
        active=given.get("active", True),
        billing_scheme=scheme,
        recurring=None
        if recurring is None
        else {
            "interval": recurring["interval"],
            "interval_count": int(recurring.get("interval_count") or 1),
            "meter": recurring.get("meter"),
            "trial_period_days": recurring.get("trial_period_days"),
            "usage_type": recurring.get("usage_type") or "licensed",
        },
        tax_behavior=given.get("tax_behavior") or "unspecified",
        type="one_time" if recurring is None else "recurring",
        unit_amount=int(decimal) if decimal and decimal.lstrip("-").isdigit() else amount,
        unit_amount_decimal=decimal,
    )
    _lookup_key(call, price, given)


def _made_price(call: writes.Call, price: objects.Object, _: forms.Tree) -> None:
    recurring = price["recurring"]
    if recurring is None or call.book.exists("plans", price["id"]):
        return
    plan = writes.blank(call, call.book.stream("plans"))
    plan.update(
        id=price["id"],
        active=price["active"],
        amount=price["unit_amount"],
        amount_decimal=price["unit_amount_decimal"],
        billing_scheme=price["billing_scheme"],
        currency=price["currency"],
        interval=recurring["interval"],
        interval_count=recurring["interval_count"],
        metadata=price["metadata"],
        nickname=price["nickname"],
        product=price["product"],
        usage_type=recurring["usage_type"],
    )
    call.book.put("plans", plan)
    call.announce("plan.created", "plans", plan["id"])


def _changed_price(call: writes.Call, price: objects.Object, given: forms.Tree) -> None:
    _lookup_key(call, price, given)
    if call.book.exists("plans", price["id"]):
        values = {name: price[name] for name in ("active", "metadata", "nickname")}
        call.change("plans", price["id"], values, "plan.updated")


def _lookup_key(call: writes.Call, price: objects.Object, given: forms.Tree) -> None:
    """A lookup key is unique; `transfer_lookup_key` takes it from the price that has it."""
    key = given.get("lookup_key")
    if not key:
        return
    for ref in call.book.pointing("prices", "lookup_key", key):
        other = call.book.show("prices", ref)
        if other["id"] == price["id"]:
            continue
        if not given.get("transfer_lookup_key"):
            raise refusals.not_allowed(
                f"A price (`{other['id']}`) already uses that lookup key.",
                code="resource_already_exists",
                param="lookup_key",
            )
        call.change("prices", other["id"], {"lookup_key": None}, "price.updated")


def add_product(call: writes.Call, data: forms.Tree) -> objects.Object:
    """A product out of `product_data`."""
    return call.add("products", _product_values(call, data), event="product.created")


def _product_values(call: writes.Call, data: forms.Tree) -> forms.Tree:
    if not data.get("name"):
        raise refusals.missing_parameter("product_data[name]")
    return {
        "name": data["name"],
        "active": True,
        "type": "service",
        "updated": call.now(),
        "images": [],
        "marketing_features": [],
        "metadata": forms.merge_metadata({}, data.get("metadata") or {}),
    }


def _new_coupon(_: writes.Call, coupon: objects.Object, given: forms.Tree) -> None:
    if ("percent_off" in given) == ("amount_off" in given):
        raise refusals.not_allowed(
            "You must pass exactly one of percent_off or amount_off.", code="parameter_missing"
        )
    if "amount_off" in given and "currency" not in given:
        raise refusals.missing_parameter("currency")
    duration = given.get("duration") or "once"
    if duration == "repeating" and "duration_in_months" not in given:
        raise refusals.missing_parameter("duration_in_months")
    coupon.update(duration=duration, times_redeemed=0, valid=True)


def _new_promotion_code(call: writes.Call, code: objects.Object, given: forms.Tree) -> None:
    promotion = given["promotion"]
    if not isinstance(promotion, dict) or not promotion.get("coupon"):
        raise refusals.missing_parameter("promotion[coupon]")
    call.get("coupons", promotion["coupon"], "promotion[coupon]")
    word = given.get("code") or call.names.word(8, string.ascii_uppercase + string.digits)
    for ref in call.book.pointing("promotion_codes", "code", word):
        if call.book.show("promotion_codes", ref)["active"]:
            raise refusals.not_allowed(
                f"An active promotion code with `code: {word}` already exists.",
                code="resource_already_exists",
                param="code",
            )
    code.update(
        active=given.get("active", True),
        code=word,
        promotion={"type": "coupon", "coupon": promotion["coupon"]},
        restrictions={
            "first_time_transaction": False,
            "minimum_amount": None,
            "minimum_amount_currency": None,
        }
        | (given.get("restrictions") or {}),
        times_redeemed=0,
    )


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
    "products": _new_product,
    "prices": _new_price,
    "coupons": _new_coupon,
    "promotion_codes": _new_promotion_code,
    "webhook_endpoints": _new_webhook,
}
writes.AFTER_CREATE |= {
    "customers": _made_customer,
    "customer_balance_transactions": _made_balance,
    "products": _made_product,
    "prices": _made_price,
}
writes.BEFORE_UPDATE |= {
    "customers": _changed_customer,
    "prices": _changed_price,
    "webhook_endpoints": _changed_webhook,
}
writes.BEFORE_DELETE |= {
    "customers": _before_customer_goes,
    "bank_accounts": _leave_default,
    "cards": _leave_default,
    "products": _before_product_goes,
    "sources": _leave_default,
    "webhook_endpoints": _before_webhook_goes,
}
