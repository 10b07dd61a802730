"""What merchants do about customers and the price list in `traffic`: people, means of payment, products, prices."""

from __future__ import annotations

from tidegate.sandbox import objects, paying
from tidegate.sandbox.traffic import Life, habit


def customer(life: Life) -> objects.Object:
    """Some customer, a new one when there is none."""
    return life.some("customers") or life.post("/v1/customers", name=life.word())


def card(life: Life, name: str = "pm_card_visa") -> str:
    """A card to pay with. A test card becomes a payment method in silence, so it is attached where that matters."""
    if not life.only_evented:
        return name
    owner = customer(life)["id"]
    id: str = life.post(f"/v1/payment_methods/{name}/attach", customer=owner)["id"]
    return id


def _attached(life: Life) -> objects.Object:
    found = life.some("payment_methods", lambda one: one["customer"])
    return found or life.post("/v1/payment_methods/pm_card_visa/attach", customer=customer(life)["id"])


def price(life: Life, *, recurring: bool = True) -> objects.Object:
    """Some price that can be sold."""
    kind = "recurring" if recurring else "one_time"
    return life.some(
        "prices", lambda one: one["type"] == kind and one["billing_scheme"] == "per_unit"
    ) or new_price(life, recurring=recurring)


def new_price(life: Life, *, recurring: bool, **more: object) -> objects.Object:
    """A new price of a new product, or of the one that is given."""
    given = more or {"product_data": {"name": life.word()}}
    interval = {"recurring": {"interval": "month"}} if recurring else {}
    return life.post("/v1/prices", currency="usd", unit_amount=life.amount(), **interval, **given)


@habit("customers.create", 3)
def _create_customer(life: Life) -> None:
    life.post("/v1/customers", name=life.word(), email="ada@example.com", metadata=life.metadata())


@habit("customers.update", 4)
def _update_customer(life: Life) -> None:
    life.post(f"/v1/customers/{customer(life)['id']}", name=life.word(), metadata=life.metadata())


@habit("customers.delete", 2)
def _delete_customer(life: Life) -> bool:
    found = life.some("customers")
    if found is None:
        return False
    life.delete(f"/v1/customers/{found['id']}")
    return True


@habit("customers.burst")
def _burst_of_customer(life: Life) -> None:
    id = customer(life)["id"]
    for _ in range(3):
        life.post(f"/v1/customers/{id}", description=life.word())


@habit("customers.come_and_go")
def _come_and_go(life: Life) -> None:
    id = life.post("/v1/customers", name=life.word())["id"]
    life.post(f"/v1/customers/{id}", name=life.word())
    life.delete(f"/v1/customers/{id}")


@habit("balances.move")
def _move_balance(life: Life) -> None:
    owner = customer(life)
    amount = life.chance.randrange(-500, 500)
    given = {"amount": amount or 1, "currency": owner["currency"] or "usd"}
    life.post(f"/v1/customers/{owner['id']}/balance_transactions", **given)


@habit("balances.edit", silent=True)
def _edit_balance(life: Life) -> bool:
    found = life.with_child("customer_balance_transactions", "customers")
    if found is None:
        return False
    path = f"/v1/customers/{found[0]['id']}/balance_transactions/{found[1]['id']}"
    life.post(path, metadata=life.metadata())
    return True


@habit("sources.add", 2)
def _add_source(life: Life) -> None:
    token = life.chance.choice(("tok_visa", "tok_visa", "btok_us_verified"))
    life.post(f"/v1/customers/{customer(life)['id']}/sources", source=token)


def _card(life: Life) -> str:
    found = life.with_child("cards", "customers")
    if found is None:
        owner = customer(life)
        found = owner, life.post(f"/v1/customers/{owner['id']}/sources", source="tok_visa")
    return f"/v1/customers/{found[0]['id']}/sources/{found[1]['id']}"


@habit("sources.update")
def _update_source(life: Life) -> None:
    life.post(_card(life), name=life.word())


@habit("sources.remove")
def _remove_source(life: Life) -> None:
    life.delete(_card(life))


@habit("tax_ids.add")
def _add_tax_id(life: Life) -> None:
    _tax_id(life)


def _tax_id(life: Life) -> tuple[objects.Object, objects.Object]:
    owner, number = customer(life), f"DE{life.chance.randrange(10**9):09d}"
    return owner, life.post(f"/v1/customers/{owner['id']}/tax_ids", type="eu_vat", value=number)


@habit("tax_ids.remove")
def _remove_tax_id(life: Life) -> None:
    owner, tax = life.with_child("customer_tax_ids", "customers") or _tax_id(life)
    life.delete(f"/v1/customers/{owner['id']}/tax_ids/{tax['id']}")


@habit("payment_methods.attach", 2)
def _attach(life: Life) -> None:
    card = life.chance.choice(("pm_card_visa", "pm_card_mastercard", "pm_card_amex"))
    life.post(f"/v1/payment_methods/{card}/attach", customer=customer(life)["id"])


@habit("payment_methods.detach")
def _detach(life: Life) -> None:
    life.post(f"/v1/payment_methods/{_attached(life)['id']}/detach")


@habit("payment_methods.update")
def _update_method(life: Life) -> None:
    life.post(f"/v1/payment_methods/{_attached(life)['id']}", metadata=life.metadata())


@habit("payment_methods.renew")
def _renew(life: Life) -> bool:
    found = life.some("payment_methods", lambda one: one["type"] == "card" and one["customer"])
    if found is None:
        return False
    paying.renew_card(life.call(), found)
    return True


@habit("setup_intents.create", 2)
def _create_setup(life: Life) -> None:
    life.post("/v1/setup_intents", customer=customer(life)["id"])


@habit("setup_intents.confirm")
def _confirm_setup(life: Life) -> None:
    id = _open_setup(life)["id"]
    life.post(f"/v1/setup_intents/{id}/confirm", payment_method=card(life))


@habit("setup_intents.cancel")
def _cancel_setup(life: Life) -> None:
    life.post(f"/v1/setup_intents/{_open_setup(life)['id']}/cancel")


@habit("setup_intents.edit", silent=True)
def _edit_setup(life: Life) -> None:
    life.post(f"/v1/setup_intents/{_open_setup(life)['id']}", metadata=life.metadata())


def _open_setup(life: Life) -> objects.Object:
    found = life.some("setup_intents", lambda one: one["status"] not in ("succeeded", "canceled"))
    return found or life.post("/v1/setup_intents")


@habit("products.create", 2)
def _create_product(life: Life) -> None:
    life.post("/v1/products", name=life.word())


@habit("products.update", 2)
def _update_product(life: Life) -> None:
    life.post(f"/v1/products/{_product(life)['id']}", name=life.word(), metadata=life.metadata())


@habit("products.delete")
def _delete_product(life: Life) -> None:
    life.delete(f"/v1/products/{life.post('/v1/products', name=life.word())['id']}")


@habit("products.again")
def _product_again(life: Life) -> None:
    """A chosen id is given up and taken again."""
    id = f"chosen_{life.chance.randrange(3)}"
    if life.book.exists("products", id):
        life.delete(f"/v1/products/{id}")
    life.post("/v1/products", id=id, name=life.word())


@habit("products.burst")
def _burst_of_product(life: Life) -> None:
    id = life.post("/v1/products", name=life.word())["id"]
    life.post(f"/v1/products/{id}", name=life.word())
    life.post(f"/v1/products/{id}", active=False)


@habit("products.add_feature", silent=True)
def _add_feature(life: Life) -> None:
    _feature(life)


def _feature(life: Life) -> tuple[objects.Object, objects.Object]:
    key = f"feature-{life.chance.randrange(10**9)}"
    feature = life.post("/v1/entitlements/features", name=life.word(), lookup_key=key)
    product = _product(life)
    return product, life.post(f"/v1/products/{product['id']}/features", entitlement_feature=feature["id"])


@habit("products.remove_feature", silent=True)
def _remove_feature(life: Life) -> None:
    product, feature = life.with_child("product_features", "products") or _feature(life)
    life.delete(f"/v1/products/{product['id']}/features/{feature['id']}")


def _product(life: Life) -> objects.Object:
    return life.some("products") or life.post("/v1/products", name=life.word())


@habit("prices.create", 2)
def _create_price(life: Life) -> None:
    new_price(life, recurring=life.chance.random() < 0.7, product=_product(life)["id"])


@habit("prices.update")
def _update_price(life: Life) -> None:
    life.post(f"/v1/prices/{price(life)['id']}", nickname=life.word())


def _plan(life: Life, id: str = "") -> objects.Object:
    chosen = {"id": id} if id else {}
    given = {
        "amount": life.amount(),
        "currency": "usd",
        "interval": "month",
        "product": {"name": life.word()},
    }
    return life.post("/v1/plans", **given, **chosen)


@habit("plans.create")
def _create_plan(life: Life) -> None:
    _plan(life)


@habit("plans.update")
def _update_plan(life: Life) -> None:
    life.post(f"/v1/plans/{(life.some('plans') or _plan(life))['id']}", nickname=life.word())


@habit("plans.delete")
def _delete_plan(life: Life) -> None:
    life.delete(f"/v1/plans/{_plan(life)['id']}")


@habit("plans.again")
def _plan_again(life: Life) -> None:
    id = f"gold_{life.chance.randrange(2)}"
    if life.book.exists("plans", id):
        life.delete(f"/v1/plans/{id}")
    _plan(life, id)


@habit("coupons.create", 2)
def _create_coupon(life: Life) -> None:
    life.post("/v1/coupons", percent_off=life.chance.randrange(5, 100), duration="once")


@habit("coupons.update")
def _update_coupon(life: Life) -> None:
    life.post(f"/v1/coupons/{coupon(life)['id']}", metadata=life.metadata())


@habit("coupons.delete")
def _delete_coupon(life: Life) -> None:
    life.delete(f"/v1/coupons/{coupon(life)['id']}")


@habit("coupons.again", 2)
def _coupon_again(life: Life) -> None:
    id = life.chance.choice(("SPRING", "SUMMER"))
    if life.book.exists("coupons", id):
        life.delete(f"/v1/coupons/{id}")
    life.post("/v1/coupons", id=id, percent_off=life.chance.randrange(5, 100), duration="forever")


@habit("coupons.burst")
def _burst_of_coupon(life: Life) -> None:
    """Created, deleted and created again, all at once."""
    id = f"FLASH{life.chance.randrange(3)}"
    if life.book.exists("coupons", id):
        life.delete(f"/v1/coupons/{id}")
    for off in (10, 20):
        life.post("/v1/coupons", id=id, percent_off=off, duration="once")
        if off == 10:
            life.delete(f"/v1/coupons/{id}")


def coupon(life: Life) -> objects.Object:
    """Some coupon."""
    return life.some("coupons") or life.post("/v1/coupons", percent_off=25, duration="once")


@habit("promotion_codes.create")
def _create_code(life: Life) -> None:
    life.post("/v1/promotion_codes", promotion={"type": "coupon", "coupon": coupon(life)["id"]})


@habit("promotion_codes.update")
def _update_code(life: Life) -> None:
    found = life.some("promotion_codes", lambda one: one["active"]) or life.post(
        "/v1/promotion_codes", promotion={"type": "coupon", "coupon": coupon(life)["id"]}
    )
    life.post(f"/v1/promotion_codes/{found['id']}", active=False)


@habit("tax_rates.create")
def _create_rate(life: Life) -> None:
    life.post("/v1/tax_rates", display_name="VAT", inclusive=False, percentage=life.chance.randrange(1, 30))


@habit("tax_rates.update")
def _update_rate(life: Life) -> bool:
    found = life.some("tax_rates")
    if found is None:
        return False
    life.post(f"/v1/tax_rates/{found['id']}", description=life.word())
    return True


@habit("accounts.add_person")
def _add_person(life: Life) -> bool:
    account = life.some("accounts")
    if account is None:
        return False
    life.post(f"/v1/accounts/{account['id']}/persons", first_name=life.word(), last_name="Rosen")
    return True


@habit("accounts.update_person")
def _update_person(life: Life) -> bool:
    found = life.with_child("account_persons", "accounts")
    if found is None:
        return False
    life.post(f"/v1/accounts/{found[0]['id']}/persons/{found[1]['id']}", last_name=life.word())
    return True


@habit("accounts.remove_person")
def _remove_person(life: Life) -> bool:
    found = life.with_child("account_persons", "accounts")
    if found is None:
        return False
    life.delete(f"/v1/accounts/{found[0]['id']}/persons/{found[1]['id']}")
    return True


@habit("radar.create", silent=True)
def _create_list(life: Life) -> None:
    alias = f"list_{life.chance.randrange(10**9)}"
    life.post("/v1/radar/value_lists", alias=alias, name=life.word(), item_type="email")


@habit("radar.update", silent=True)
def _update_list(life: Life) -> bool:
    found = life.some("radar_value_lists")
    if found is None:
        return False
    life.post(f"/v1/radar/value_lists/{found['id']}", name=life.word())
    return True


@habit("radar.add_item", 2, silent=True)
def _add_item(life: Life) -> bool:
    found = life.some("radar_value_lists")
    if found is None:
        return False
    value = f"{life.chance.randrange(10**6)}@example.com"
    life.post("/v1/radar/value_list_items", value_list=found["id"], value=value)
    return True


@habit("radar.remove_item", silent=True)
def _remove_item(life: Life) -> bool:
    found = life.with_child("radar_value_list_items", "radar_value_lists")
    if found is None:
        return False
    life.delete(f"/v1/radar/value_list_items/{found[1]['id']}")
    return True


@habit("radar.delete", silent=True)
def _delete_list(life: Life) -> bool:
    found = life.some("radar_value_lists")
    if found is None:
        return False
    life.delete(f"/v1/radar/value_lists/{found['id']}")
    return True


@habit("file_links.create", silent=True)
def _create_link(life: Life) -> bool:
    found = life.some("files")
    if found is None:
        return False
    life.post("/v1/file_links", file=found["id"])
    return True


@habit("file_links.update", silent=True)
def _update_link(life: Life) -> bool:
    found = life.some("file_links")
    if found is None:
        return False
    life.post(f"/v1/file_links/{found['id']}", metadata=life.metadata())
    return True


@habit("shipping_rates.create", silent=True)
def _create_shipping(life: Life) -> None:
    fixed = {"amount": life.amount(), "currency": "usd"}
    life.post("/v1/shipping_rates", display_name=life.word(), type="fixed_amount", fixed_amount=fixed)


@habit("shipping_rates.update", silent=True)
def _update_shipping(life: Life) -> bool:
    found = life.some("shipping_rates")
    if found is None:
        return False
    life.post(f"/v1/shipping_rates/{found['id']}", active=life.chance.random() < 0.5)
    return True


@habit("terminal.create", silent=True)
def _create_location(life: Life) -> None:
    address = {"line1": "510 Townsend St", "city": "San Francisco", "country": "US", "postal_code": "94103"}
    life.post("/v1/terminal/locations", display_name=life.word(), address=address)


@habit("terminal.delete", silent=True)
def _delete_location(life: Life) -> bool:
    found = life.some("terminal_locations")
    if found is None:
        return False
    life.delete(f"/v1/terminal/locations/{found['id']}")
    return True


@habit("webhooks.create", silent=True)
def _create_webhook(life: Life) -> None:
    life.post("/v1/webhook_endpoints", url="https://example.com/hook", enabled_events=["account.updated"])


@habit("webhooks.delete", silent=True)
def _delete_webhook(life: Life) -> bool:
    found = life.some("webhook_endpoints")
    if found is None:
        return False
    life.delete(f"/v1/webhook_endpoints/{found['id']}")
    return True
