"""Rules of the price list: products, prices, tax rates, coupons and promotion codes."""

from __future__ import annotations

import re
import string

from tidegate.sandbox import customers, forms, objects, refusals, writes

_CODE = re.compile(r"[A-Za-z0-9-]+\Z")


def _new_product(call: writes.Call, product: objects.Object, given: forms.Tree) -> None:
    product.update(
        active=given.get("active", True),
        images=given.get("images") or [],
        marketing_features=given.get("marketing_features") or [],
        type=given.get("type") or "service",
        updated=call.now(),
    )
    if data := given.get("default_price_data"):
        customers.currency(data["currency"])
        _check_amounts(data, "default_price_data")


def _changed_product(call: writes.Call, product: objects.Object, given: forms.Tree) -> None:
    if not given.get("default_price"):
        return
    price = call.get("prices", given["default_price"], "default_price")
    if price["product"] != product["id"]:
        raise refusals.not_allowed(
            f"The price `{price['id']}` does not belong to this product, so it cannot be its default price.",
            param="default_price",
        )
    if not price["active"]:
        raise refusals.not_allowed(
            f"The price `{price['id']}` is inactive, so it cannot be a default price.", param="default_price"
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
    price["currency"] = customers.currency(given["currency"])
    _check_amounts(given, "")
    product, data = given.get("product"), given.get("product_data")
    if not product and not data:
        raise refusals.not_allowed(
            "You must provide one of `product` or `product_data`.", code="parameter_missing", param="product"
        )
    if product and data:
        raise refusals.not_allowed(
            "You may only specify one of these parameters: product, product_data.", param="product_data"
        )
    scheme = given.get("billing_scheme") or ("tiered" if given.get("tiers") else "per_unit")
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
    price["product"] = add_product(call, data)["id"] if data else product


def _check_amounts(given: forms.Tree, inside: str) -> None:
    """A price has exactly one of the amounts that it may have, and none below zero."""
    amounts = given.keys() & {"unit_amount", "unit_amount_decimal"}
    name = f"{inside}[unit_amount]" if inside else "unit_amount"
    if len(amounts) > 1:
        raise refusals.not_allowed(
            "You may only specify one of these parameters: unit_amount, unit_amount_decimal.", param=name
        )
    tiered = given.get("billing_scheme") == "tiered" or given.get("tiers")
    if not amounts and not given.get("custom_unit_amount") and not tiered:
        raise refusals.not_allowed(
            "Prices require an `unit_amount` or `unit_amount_decimal` parameter to be set.",
            code="parameter_missing",
            param=name,
        )
    if isinstance(amount := given.get("unit_amount"), int):
        forms.integer(name, amount, 0)


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
    stored = call.get("prices", price["id"])
    # "Once specified as either inclusive or exclusive, it cannot be changed." https://docs.stripe.com/api/prices/update
    if "tax_behavior" in given and stored["tax_behavior"] not in ("unspecified", given["tax_behavior"], None):
        raise refusals.not_allowed(
            "You cannot change the tax behavior of a price once it is set.", param="tax_behavior"
        )
    owner = call.book.get("products", price["product"])
    if (
        given.get("active") is False
        and stored["active"]
        and (owner or {}).get("default_price") == price["id"]
    ):
        raise refusals.not_allowed(
            "This price cannot be archived because it is the default price of its product.", param="active"
        )
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


def _new_coupon(call: writes.Call, coupon: objects.Object, given: forms.Tree) -> None:
    if ("percent_off" in given) == ("amount_off" in given):
        raise refusals.not_allowed(
            "You must pass exactly one of percent_off or amount_off.", code="parameter_missing"
        )
    if "amount_off" in given:
        if "currency" not in given:
            raise refusals.missing_parameter("currency")
        forms.integer("amount_off", given["amount_off"], 1)
        coupon["currency"] = customers.currency(given["currency"])
    elif not 0 < given["percent_off"] <= 100:
        raise refusals.invalid("percent_off", "Invalid percent_off: must be greater than 0 and at most 100")
    if "max_redemptions" in given:
        forms.integer("max_redemptions", given["max_redemptions"], 1)
    if "redeem_by" in given and given["redeem_by"] <= call.now():
        raise refusals.invalid(
            "redeem_by", "Invalid timestamp: must be an integer Unix timestamp in the future."
        )
    duration = given.get("duration") or "once"
    if duration == "repeating" and "duration_in_months" not in given:
        raise refusals.missing_parameter("duration_in_months")
    coupon.update(duration=duration, times_redeemed=0, valid=True)


def _new_tax_rate(_: writes.Call, rate: objects.Object, given: forms.Tree) -> None:
    # "Defaults to true." https://docs.stripe.com/api/tax_rates/create#create_tax_rate-active
    rate["active"] = given.get("active", True)


def _new_promotion_code(call: writes.Call, code: objects.Object, given: forms.Tree) -> None:
    promotion = given["promotion"]
    if not isinstance(promotion, dict) or not promotion.get("coupon"):
        raise refusals.missing_parameter("promotion[coupon]")
    call.get("coupons", promotion["coupon"], "promotion[coupon]")
    word = given.get("code") or call.names.word(8, string.ascii_uppercase + string.digits)
    # "Valid characters are lower case letters (a-z), upper case letters (A-Z), digits (0-9), and dashes (-)."
    # https://docs.stripe.com/api/promotion_codes/create
    if not _CODE.match(word):
        raise refusals.invalid(
            "code", "Promotion codes can only contain letters, digits and dashes; please choose another code."
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
    _refuse_doubled(call, code)


def _changed_promotion_code(call: writes.Call, code: objects.Object, given: forms.Tree) -> None:
    if given.get("active"):
        _refuse_doubled(call, code)


def _refuse_doubled(call: writes.Call, code: objects.Object) -> None:
    """One word stands for one code among the active ones that a customer can use, whatever its case.

    https://docs.stripe.com/api/promotion_codes/object: "Regardless of case, this code must be unique across all
    active promotion codes for a specific customer."
    """
    word, owner = code["code"], code.get("customer")
    spelled = {word, word.upper(), word.lower()} if code["active"] else ()
    for ref in [ref for one in spelled for ref in call.book.spelled("promotion_codes", "code", one)]:
        other = call.book.show("promotion_codes", ref)
        if other["id"] == code["id"] or not other["active"]:
            continue
        if owner is None or other.get("customer") in (owner, None):
            raise refusals.not_allowed(
                f"An active promotion code with `code: {word}` already exists.",
                code="resource_already_exists",
                param="code",
            )


writes.BEFORE_CREATE |= {
    "products": _new_product,
    "prices": _new_price,
    "coupons": _new_coupon,
    "promotion_codes": _new_promotion_code,
    "tax_rates": _new_tax_rate,
}
writes.AFTER_CREATE |= {"products": _made_product, "prices": _made_price}
writes.BEFORE_UPDATE |= {
    "products": _changed_product,
    "prices": _changed_price,
    "promotion_codes": _changed_promotion_code,
}
writes.BEFORE_DELETE |= {"products": _before_product_goes}
