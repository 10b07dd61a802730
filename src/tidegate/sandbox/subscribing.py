"""Rules of subscriptions and their items: created, changed, canceled.

A new subscription invoices at once, and its events share one second: `customer.subscription.created`,
`invoice.created`, `invoice.finalized`, `payment_intent.succeeded`, `charge.succeeded`, `invoice.paid`, ...
"""

from __future__ import annotations

import calendar
import datetime

from tidegate.sandbox import forms, invoice_lines, invoices, objects, pricelist, prorating, refusals, writes

OVER = frozenset({"canceled", "incomplete_expired"})
LAST_ITEM = "A subscription must have at least one active plan. Please cancel the subscription instead."


def period_end(start: int, recurring: objects.Object | None) -> int:
    """When a billing period that begins at `start` ends."""
    interval = (recurring or {}).get("interval", "month")
    count = int((recurring or {}).get("interval_count") or 1)
    begin = datetime.datetime.fromtimestamp(start, datetime.UTC)
    if interval in ("day", "week"):
        days = count * (7 if interval == "week" else 1)
        return int((begin + datetime.timedelta(days=days)).timestamp())
    months = begin.year * 12 + begin.month - 1 + count * (12 if interval == "year" else 1)
    year, month = months // 12, months % 12 + 1
    day = min(begin.day, calendar.monthrange(year, month)[1])
    return int(begin.replace(year=year, month=month, day=day).timestamp())


def _new_subscription(call: writes.Call, subscription: objects.Object, given: forms.Tree) -> None:
    if not given.get("customer"):
        raise refusals.missing_parameter("customer")
    items = given.get("items")
    if not isinstance(items, list) or not items:
        raise refusals.missing_parameter("items")
    prices = [_price_of(call, item, f"items[{i}][price]") for i, item in enumerate(items)]
    _check_cancel(call, given)
    now = call.now()
    trial = given.get("trial_end")
    if given.get("trial_period_days"):
        trial = now + given["trial_period_days"] * 86400
    trialing = isinstance(trial, int) and trial > now
    incomplete = given.get("payment_behavior") == "default_incomplete"
    subscription.update(
        billing_cycle_anchor=now,
        cancel_at_period_end=given.get("cancel_at_period_end", False),
        collection_method=given.get("collection_method") or "charge_automatically",
        currency=prices[0]["currency"],
        start_date=given.get("backdate_start_date") or now,
        status="trialing" if trialing else "incomplete" if incomplete else "active",
        trial_end=trial if trialing else None,
        trial_start=now if trialing else None,
    )
    subscription["discounts"] = [_discount(call, one, subscription) for one in given.get("discounts") or []]
    for price, item in zip(prices, items, strict=True):
        _add_item(call, subscription["id"], price, item, trial if trialing else None)


def _made_subscription(call: writes.Call, subscription: objects.Object, given: forms.Tree) -> None:
    id = subscription["id"]
    items = [] if subscription["status"] == "trialing" else items_of(call, id)
    invoice = invoices.draft(call, subscription, [_line(item) for item in items])
    stored = call.get("subscriptions", id)
    call.book.put("subscriptions", {**stored, "latest_invoice": invoice["id"]})
    by_hand = subscription["collection_method"] == "send_invoice" or subscription["status"] == "incomplete"
    if invoice["status"] == "open" and not by_hand:
        invoices.pay(call, invoice, given.get("default_payment_method"))


def _changed_subscription(call: writes.Call, subscription: objects.Object, given: forms.Tree) -> None:
    id = subscription["id"]
    if subscription["status"] in OVER and given.keys() - {"metadata", "cancellation_details"}:
        raise refusals.not_allowed(
            "A canceled subscription can only update its cancellation_details and metadata.",
            code="subscription_canceled",
        )
    _check_cancel(call, given)
    before = items_of(call, id)
    _check_items(call, before, given.get("items") or [])
    for i, one in enumerate(given.get("discounts") or []):
        for name, stream in (("coupon", "coupons"), ("promotion_code", "promotion_codes")):
            if one.get(name):
                call.get(stream, one[name], f"discounts[{i}][{name}]")
    for i, item in enumerate(given.get("items") or []):
        if item.get("id") is None:
            _add_item(call, id, _price_of(call, item, f"items[{i}][price]"), item, None)
        elif item.get("deleted"):
            _drop_item(call, id, item["id"])
        else:
            _change_item(call, item["id"], item)
    after = items_of(call, id)
    _plan_end(call, subscription, after, given)
    if given.get("trial_end") == "now":
        subscription.update(trial_end=call.now(), status="active")
    elif isinstance(given.get("trial_end"), int) and given["trial_end"] > call.now():
        subscription["status"] = "trialing"
    if "discounts" in given:
        subscription["discounts"] = [_discount(call, one, subscription) for one in given["discounts"] or []]
    if before != after:
        subscription[writes.PREVIOUS] = {"items": _listed(before)}
        _settle(call, subscription, before, after, given)


def _settle(
    call: writes.Call,
    subscription: objects.Object,
    before: list[objects.Object],
    after: list[objects.Object],
    given: forms.Tree,
) -> None:
    invoice = prorating.settle(
        call,
        subscription,
        {item["id"]: item for item in before},
        {item["id"]: item for item in after},
        given.get("proration_behavior") or "create_prorations",
        given.get("proration_date"),
    )
    if invoice is not None:
        subscription["latest_invoice"] = invoice["id"]


def _listed(items: list[objects.Object]) -> objects.Object:
    return {"object": "list", "data": items[:10], "has_more": len(items) > 10}


def _check_cancel(call: writes.Call, given: forms.Tree) -> None:
    """`cancel_at` and `cancel_at_period_end` are two ways to say one thing, and the end is not over."""
    if given.get("cancel_at") and given.get("cancel_at_period_end"):
        raise refusals.not_allowed(
            "You may only specify one of these parameters: cancel_at, cancel_at_period_end.",
            param="cancel_at",
        )
    if isinstance(ends := given.get("cancel_at"), int) and ends <= call.now():
        raise refusals.invalid(
            "cancel_at", "Invalid timestamp: must be an integer Unix timestamp in the future."
        )


def _plan_end(
    call: writes.Call, subscription: objects.Object, items: list[objects.Object], given: forms.Tree
) -> None:
    """When a subscription will be canceled, as it was asked for."""
    ends: int | None
    if given.get("cancel_at_period_end"):
        ends = max(item["current_period_end"] for item in items)
    elif given.get("cancel_at"):
        word = given["cancel_at"]
        periods = [item["current_period_end"] for item in items]
        ends = {"min_period_end": min(periods), "max_period_end": max(periods)}.get(word, word)
        subscription["cancel_at_period_end"] = False
    elif given.get("cancel_at_period_end") is False or "cancel_at" in given:
        ends = None
        subscription["cancel_at_period_end"] = False
    else:
        return
    details = subscription.get("cancellation_details") or {"comment": None, "feedback": None}
    reason = "cancellation_requested" if ends else None
    subscription.update(
        cancel_at=ends,
        canceled_at=call.now() if ends else None,
        cancellation_details={**details, "reason": reason},
    )


def _check_items(call: writes.Call, before: list[objects.Object], items: list[forms.Tree]) -> None:
    """Refuse what cannot be done to the items, before any of it is done."""
    _refuse_last(before, items)
    known = {item["id"] for item in before}
    for i, item in enumerate(items):
        id = item.get("id")
        if id is not None and id not in known:
            raise refusals.missing("subscription_item", id, f"items[{i}][id]", status=400, stored=True)
        named = item.get("price") or item.get("plan")
        if not item.get("deleted") and not item.get("price_data") and (id is None or named):
            _price_of(call, item, f"items[{i}][price]")


def cancel(call: writes.Call, subscription: objects.Object, given: forms.Tree) -> objects.Object:
    """Cancel now: the subscription stays, canceled."""
    id = subscription["id"]
    if subscription["status"] in OVER:
        raise refusals.missing("subscription", id, "id", status=404, stored=True)
    details = {"comment": None, "feedback": None, "reason": "cancellation_requested"}
    values = {
        "status": "canceled",
        "canceled_at": call.now(),
        "ended_at": call.now(),
        "cancel_at_period_end": False,
        "cancellation_details": details | (given.get("cancellation_details") or {}),
    }
    call.change("subscriptions", id, values)
    call.announce("customer.subscription.deleted", "subscriptions", id)
    return call.get("subscriptions", id)


@writes.action("POST", "/v1/subscriptions/{subscription}/resume", "subscriptions")
def _resume(call: writes.Call, subscription: objects.Object, _: forms.Tree) -> objects.Object:
    if subscription["status"] != "paused":
        raise refusals.not_allowed("You can only resume a paused subscription.")
    return call.change(
        "subscriptions", subscription["id"], {"status": "active"}, "customer.subscription.resumed"
    )


def items_of(call: writes.Call, subscription: str) -> list[objects.Object]:
    """All items of a subscription."""
    refs = call.book.children("subscription_items", "subscriptions", subscription)
    return [call.book.show("subscription_items", ref) for ref in refs]


def _price_of(call: writes.Call, item: forms.Tree, param: str) -> objects.Object:
    if data := item.get("price_data"):
        return pricelist.add_price(call, data)
    id = item.get("price") or item.get("plan")
    if not id:
        raise refusals.missing_parameter(param)
    price = call.get("prices", id, param)
    if price["type"] != "recurring":
        raise refusals.not_allowed(
            f"The price specified is set to `type={price['type']}` but this field only accepts prices with "
            "`type=recurring`.",
            param=param,
        )
    return price


def _add_item(
    call: writes.Call, subscription: str, price: objects.Object, given: forms.Tree, end: int | None
) -> objects.Object:
    values = {
        **_priced(call, price),
        "discounts": [],
        "metadata": forms.merge_metadata({}, given.get("metadata") or {}),
        "quantity": int(given.get("quantity") or 1),
        "subscription": subscription,
        "tax_rates": [],
    }
    if end is not None:
        values["current_period_end"] = end
    return call.add("subscription_items", values, parent=subscription)


def _priced(call: writes.Call, price: objects.Object) -> objects.Object:
    now = call.now()
    return {
        "current_period_start": now,
        "current_period_end": period_end(now, price["recurring"]),
        "plan": call.book.get("plans", price["id"]),
        "price": price,
    }


def _change_item(call: writes.Call, id: str, given: forms.Tree) -> None:
    item = call.get("subscription_items", id, "items[0][id]")
    if given.get("price") or given.get("price_data") or given.get("plan"):
        item["price"] = _price_of(call, given, "price")
        item["plan"] = call.book.get("plans", item["price"]["id"])
    if given.get("quantity") is not None:
        item["quantity"] = int(given["quantity"])
    if "metadata" in given:
        item["metadata"] = forms.merge_metadata(item["metadata"], given["metadata"])
    call.book.put("subscription_items", item)


def _drop_item(call: writes.Call, subscription: str, id: str) -> None:
    call.get("subscription_items", id, "items[0][id]")
    tombstone = {"id": id, "object": "subscription_item", "deleted": True}
    call.book.remove("subscription_items", id, tombstone, subscription)


def _refuse_last(before: list[objects.Object], items: list[forms.Tree]) -> None:
    gone = {item.get("id") for item in items if item.get("deleted")}
    added = [item for item in items if item.get("id") is None]
    if before and not added and gone >= {item["id"] for item in before}:
        raise refusals.not_allowed(LAST_ITEM)


def _new_item(call: writes.Call, item: objects.Object, given: forms.Tree) -> None:
    before = items_of(call, item["subscription"])
    _check_items(call, before, [{name: given[name] for name in ("price", "plan") if name in given}])
    call.noted["items"] = before
    item.update(_priced(call, _price_of(call, given, "price")), discounts=[], tax_rates=[])
    item["quantity"] = given.get("quantity") or 1


def _changed_item(call: writes.Call, item: objects.Object, given: forms.Tree) -> None:
    call.noted["items"] = items_of(call, item["subscription"])
    if given.get("price") or given.get("price_data") or given.get("plan"):
        item["price"] = _price_of(call, given, "price")
        item["plan"] = call.book.get("plans", item["price"]["id"])


def _tell_items(call: writes.Call, item: objects.Object, given: forms.Tree) -> None:
    """An item has no event of its own; its subscription's says that something changed."""
    id = item["subscription"]
    before, after = call.noted.pop("items"), items_of(call, id)
    if before != after:
        subscription = call.get("subscriptions", id)
        _settle(call, subscription, before, after, given)
        call.book.put("subscriptions", subscription)
        call.announce("customer.subscription.updated", "subscriptions", id, {"items": _listed(before)})


def _delete_item(call: writes.Call, item: objects.Object, given: forms.Tree) -> objects.Object:
    call.noted["items"] = items_of(call, item["subscription"])
    _refuse_last(call.noted["items"], [{"id": item["id"], "deleted": True}])
    _drop_item(call, item["subscription"], item["id"])
    _tell_items(call, item, given)
    return {"id": item["id"], "object": "subscription_item", "deleted": True}


def _discount(call: writes.Call, given: forms.Tree, subscription: objects.Object) -> str:
    coupon = given.get("coupon")
    if code := given.get("promotion_code"):
        coupon = call.get("promotion_codes", code, "discounts[0][promotion_code]")["promotion"]["coupon"]
    found = call.get("coupons", str(coupon), "discounts[0][coupon]")
    call.change("coupons", found["id"], {"times_redeemed": found["times_redeemed"] + 1})
    id = call.names.make("discount")
    discount = {
        "id": id,
        "object": "discount",
        "checkout_session": None,
        "customer": subscription["customer"],
        "end": None,
        "invoice": None,
        "invoice_item": None,
        "promotion_code": given.get("promotion_code"),
        "source": {"coupon": found["id"], "type": "coupon"},
        "start": call.now(),
        "subscription": subscription["id"],
        "subscription_item": None,
    }
    call.tell("customer.discount.created", discount)
    return id


def _line(item: objects.Object) -> forms.Tree:
    price, quantity = item["price"], item["quantity"]
    details = {
        "invoice_item": None,
        "proration": False,
        "proration_details": {"credited_items": None},
        "subscription": item["subscription"],
        "subscription_item": item["id"],
    }
    return {
        "amount": invoice_lines.amount(price, quantity),
        "currency": price["currency"],
        "description": f"{quantity} × {price.get('nickname') or price['product']}",
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": details,
            "type": "subscription_item_details",
        },
        "period": {"start": item["current_period_start"], "end": item["current_period_end"]},
        "pricing": invoice_lines.pricing(price),
        "quantity": quantity,
        "subscription": item["subscription"],
    }


writes.BEFORE_CREATE |= {"subscriptions": _new_subscription, "subscription_items": _new_item}
writes.AFTER_CREATE |= {"subscriptions": _made_subscription, "subscription_items": _tell_items}
writes.BEFORE_UPDATE |= {"subscriptions": _changed_subscription, "subscription_items": _changed_item}
writes.AFTER_UPDATE |= {"subscription_items": _tell_items}
writes.DELETES |= {"subscriptions": cancel, "subscription_items": _delete_item}
