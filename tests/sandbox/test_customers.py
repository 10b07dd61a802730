"""Customers and the price list, as written through the API."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import NOW, Stripe


def types(stripe: Stripe) -> list[str]:
    return [event["type"] for event in stripe.events()]


def price(stripe: Stripe, **more: Any) -> dict[str, Any]:
    given = {"currency": "usd", "unit_amount": 900, "product_data": {"name": "Tea"}, **more}
    return stripe.make("/v1/prices", **given)


def test_a_customer_is_created_changed_and_deleted(stripe: Stripe) -> None:
    made = stripe.make("/v1/customers", name="Zoë", email="zoe@example.com", metadata={"plan": "pro"})
    changed = stripe.make(
        f"/v1/customers/{made['id']}", description="likes tea", metadata={"plan": "", "x": "1"}
    )
    gone = stripe.delete(f"/v1/customers/{made['id']}").json

    assert made["id"].startswith("cus_")
    assert (made["object"], made["created"], made["livemode"]) == ("customer", NOW + 60, False)
    assert changed == {**made, "description": "likes tea", "metadata": {"x": "1"}}
    assert gone == {"id": made["id"], "object": "customer", "deleted": True}
    assert types(stripe) == ["customer.created", "customer.updated", "customer.deleted"]


def test_a_deleted_customer_leaves_the_lists_and_answers_by_id(stripe: Stripe) -> None:
    base = stripe.get("/v1/customers").ids[0]
    stripe.delete(f"/v1/customers/{base}")

    assert base not in [one["id"] for one in stripe.walk("/v1/customers")]
    assert stripe.get(f"/v1/customers/{base}").json == {"id": base, "object": "customer", "deleted": True}
    assert stripe.post(f"/v1/customers/{base}", {"name": "x"}).status == 404
    assert stripe.get(f"/v1/customers/{base}/tax_ids").status == 404


def test_a_base_customer_keeps_its_place_when_changed(stripe: Stripe) -> None:
    before = [one["id"] for one in stripe.walk("/v1/customers")]
    stripe.make(f"/v1/customers/{before[3]}", name="Eve")
    after = stripe.walk("/v1/customers")

    assert [one["id"] for one in after] == before
    assert after[3]["name"] == "Eve"


def test_an_empty_string_unsets(stripe: Stripe) -> None:
    made = stripe.make("/v1/customers", name="Ada", phone="1", metadata={"a": "1"})["id"]
    cleared = stripe.make(f"/v1/customers/{made}", name="", phone="", metadata="")

    assert (cleared["name"], cleared["phone"], cleared["metadata"]) == (None, None, {})


def test_an_email_is_an_email(stripe: Stripe) -> None:
    assert stripe.post("/v1/customers", {"email": "nonsense"}).error["code"] == "email_invalid"


def test_a_default_payment_method_is_one_of_the_customers(stripe: Stripe) -> None:
    ada, bea = (stripe.make("/v1/customers")["id"] for _ in range(2))
    method = stripe.make("/v1/payment_methods/pm_card_visa/attach", customer=ada)["id"]
    given = {"invoice_settings": {"default_payment_method": method}}

    assert (
        stripe.make(f"/v1/customers/{ada}", **given)["invoice_settings"]["default_payment_method"] == method
    )
    answer = stripe.post(f"/v1/customers/{bea}", given)
    assert answer.error["param"] == "invoice_settings[default_payment_method]"


def test_an_expansion_that_cannot_be_changes_nothing(stripe: Stripe) -> None:
    made = stripe.make("/v1/customers", name="Ada")["id"]

    assert stripe.post(f"/v1/customers/{made}", {"name": "Bea", "expand": ["nothing"]}).status == 400
    assert stripe.get(f"/v1/customers/{made}").json["name"] == "Ada"


def test_deleting_a_customer_cancels_subscriptions(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers")["id"]
    stripe.make("/v1/payment_methods/pm_card_visa/attach", customer=customer)
    monthly = price(stripe, recurring={"interval": "month"})["id"]
    subscription = stripe.make("/v1/subscriptions", customer=customer, items=[{"price": monthly}])["id"]
    stripe.delete(f"/v1/customers/{customer}")

    assert stripe.get(f"/v1/subscriptions/{subscription}").json["status"] == "canceled"
    assert types(stripe)[-3:] == [
        "customer.subscription.deleted",
        "payment_method.detached",
        "customer.deleted",
    ]


def test_sources_are_cards_or_bank_accounts_by_their_token(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers")["id"]
    path = f"/v1/customers/{customer}/sources"
    card, bank = stripe.make(path, source="tok_visa"), stripe.make(path, source="btok_us_verified")

    assert (card["object"], bank["object"]) == ("card", "bank_account")
    assert set(stripe.get(path).ids) == {card["id"], bank["id"]}
    assert stripe.get(f"{path}/{card['id']}").json["customer"] == customer
    assert stripe.make(f"{path}/{bank['id']}", metadata={"a": "1"})["metadata"] == {"a": "1"}
    assert stripe.get(f"/v1/customers/{customer}").json["default_source"] == card["id"]
    stripe.delete(f"{path}/{card['id']}")
    assert stripe.get(path).ids == [bank["id"]]
    assert types(stripe).count("customer.source.created") == 2
    assert types(stripe)[-1] == "customer.source.deleted"


def test_tax_ids_belong_to_their_customer(stripe: Stripe) -> None:
    first, second = (stripe.make("/v1/customers")["id"] for _ in range(2))
    tax = stripe.make(f"/v1/customers/{first}/tax_ids", type="eu_vat", value="DE123456789")

    assert (tax["object"], tax["customer"], tax["country"]) == ("tax_id", first, "EU")
    assert stripe.get(f"/v1/customers/{first}/tax_ids").ids == [tax["id"]]
    assert stripe.get(f"/v1/customers/{second}/tax_ids").ids == []
    assert stripe.get(f"/v1/customers/{second}/tax_ids/{tax['id']}").status == 404
    assert stripe.get(f"/v1/customers/{first}", {"expand": ["tax_ids"]}).json["tax_ids"]["data"] == [tax]
    stripe.delete(f"/v1/customers/{first}/tax_ids/{tax['id']}")
    assert stripe.get(f"/v1/customers/{first}/tax_ids").ids == []


def test_balance_transactions_move_the_balance(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers", balance=100)["id"]
    path = f"/v1/customers/{customer}/balance_transactions"
    first = stripe.make(path, amount=-500, currency="usd")
    second = stripe.make(path, amount=50, currency="usd")

    assert (first["ending_balance"], second["ending_balance"]) == (-400, -350)
    assert stripe.get(f"/v1/customers/{customer}").json["balance"] == -350
    assert stripe.get(path).ids == [second["id"], first["id"]]


def test_products_take_the_id_they_are_given_once(stripe: Stripe) -> None:
    stripe.make("/v1/products", id="tea", name="Tea")
    again = stripe.post("/v1/products", {"id": "tea", "name": "Tea"})

    assert (again.status, again.error["code"]) == (400, "resource_already_exists")
    assert stripe.get("/v1/products/tea").json["name"] == "Tea"


def test_a_product_says_when_it_was_updated(stripe: Stripe) -> None:
    stripe.make("/v1/products", id="tea", name="Tea")
    stripe.clock.advance(100)
    assert stripe.make("/v1/products/tea", name="Green tea")["updated"] == NOW + 160


def test_a_product_with_prices_stays(stripe: Stripe) -> None:
    product = price(stripe)["product"]

    assert stripe.delete(f"/v1/products/{product}").status == 400


def test_a_deleted_product_is_gone(stripe: Stripe) -> None:
    stripe.make("/v1/products", id="tea", name="Tea")
    stripe.delete("/v1/products/tea")
    answer = stripe.get("/v1/products/tea")

    assert (answer.status, answer.error["message"]) == (404, "No such product: 'tea'")


def test_a_recurring_price_is_a_plan_too(stripe: Stripe) -> None:
    made = price(stripe, recurring={"interval": "month", "interval_count": 3})

    assert (made["type"], made["unit_amount_decimal"]) == ("recurring", "900")
    assert made["recurring"]["interval_count"] == 3
    assert stripe.get(f"/v1/plans/{made['id']}").json["amount"] == 900
    assert types(stripe) == ["product.created", "price.created", "plan.created"]


def test_a_price_may_cost_a_fraction_of_a_cent(stripe: Stripe) -> None:
    made = stripe.make(
        "/v1/prices", currency="usd", unit_amount_decimal="0.05", product_data={"name": "Call"}
    )

    assert (made["unit_amount"], made["unit_amount_decimal"]) == (None, "0.05")


def test_a_lookup_key_is_unique_and_can_be_transferred(stripe: Stripe) -> None:
    first = price(stripe, lookup_key="tea")
    refused = stripe.post(
        "/v1/prices", {"currency": "usd", "unit_amount": 1, "product": first["product"], "lookup_key": "tea"}
    )
    second = price(stripe, lookup_key="tea", transfer_lookup_key=True)

    assert refused.error["code"] == "resource_already_exists"
    assert stripe.get("/v1/prices", {"lookup_keys": ["tea"]}).ids == [second["id"]]
    assert stripe.get(f"/v1/prices/{first['id']}").json["lookup_key"] is None


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"unit_amount": 1}, "currency"),
        ({"currency": "usd", "unit_amount": 1}, "product"),
        ({"currency": "usd", "product_data": {"name": "x"}}, "unit_amount"),
        ({"currency": "xxx", "unit_amount": 1, "product_data": {"name": "x"}}, "currency"),
        ({"currency": "usd", "unit_amount": 1, "product": "prod_nothing"}, "product"),
        ({"currency": "usd", "unit_amount": "ten", "product_data": {"name": "x"}}, "unit_amount"),
    ],
)
def test_what_a_price_needs(stripe: Stripe, given: dict[str, Any], param: str) -> None:
    answer = stripe.post("/v1/prices", given)

    assert answer.status == 400
    assert answer.error["param"] == param


def test_coupons_and_promotion_codes(stripe: Stripe) -> None:
    coupon = stripe.make("/v1/coupons", id="SPRING", percent_off="12.5", duration="once")
    code = stripe.make("/v1/promotion_codes", promotion={"type": "coupon", "coupon": "SPRING"}, code="HELLO")
    twice = stripe.post(
        "/v1/promotion_codes", {"promotion": {"type": "coupon", "coupon": "SPRING"}, "code": "HELLO"}
    )

    assert (coupon["percent_off"], coupon["valid"]) == (12.5, True)
    assert (code["active"], code["promotion"]["coupon"]) == (True, "SPRING")
    assert twice.error["code"] == "resource_already_exists"
    off = stripe.make(f"/v1/promotion_codes/{code['id']}", active=False)
    assert off["active"] is False
    assert types(stripe) == ["coupon.created", "promotion_code.created", "promotion_code.updated"]
    assert stripe.delete("/v1/coupons/SPRING").json["deleted"] is True


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"percent_off": 10, "amount_off": 5},
        {"amount_off": 5},
        {"percent_off": 5, "duration": "repeating"},
    ],
)
def test_what_a_coupon_needs(stripe: Stripe, given: dict[str, Any]) -> None:
    assert stripe.post("/v1/coupons", given).error["code"] == "parameter_missing"


@pytest.mark.parametrize(
    ("path", "given", "changed"),
    [
        (
            "/v1/tax_rates",
            {"display_name": "VAT", "percentage": "19", "inclusive": "false"},
            {"description": "x"},
        ),
        ("/v1/shipping_rates", {"display_name": "Post"}, {"metadata": {"a": "1"}}),
        ("/v1/terminal/configurations", {}, {"name": "desk"}),
        ("/v1/radar/value_lists", {"alias": "bad", "name": "Bad"}, {"name": "Worse"}),
        ("/v1/entitlements/features", {"lookup_key": "sso", "name": "SSO"}, {"name": "Single sign-on"}),
        (
            "/v1/billing_portal/configurations",
            {"features": {"invoice_history": {"enabled": "true"}}},
            {"name": "x"},
        ),
    ],
)
def test_other_objects_are_written_by_the_catalogs_parameters(
    stripe: Stripe, path: str, given: dict[str, Any], changed: dict[str, Any]
) -> None:
    made = stripe.make(path, **given)
    after = stripe.make(f"{path}/{made['id']}", **changed)

    assert stripe.get(f"{path}/{made['id']}").json == after
    assert made["id"] in [one["id"] for one in stripe.walk(path)]
    assert {name: after[name] for name in changed} == changed


def test_a_v2_object_is_written_as_json(stripe: Stripe) -> None:
    sent = {"Content-Type": "application/json"}
    made = stripe.ask("POST", "/v2/core/accounts", headers=sent).json
    assert made["object"] == "v2.core.account"
    assert made["id"] in stripe.get("/v2/core/accounts", {"limit": 100}).ids
