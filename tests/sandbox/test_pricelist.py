"""Products, prices, tax rates, coupons and promotion codes, written with the official SDK."""

from __future__ import annotations

from typing import Any

import pytest
import stripe as sdk

from .conftest import NOW, Stripe, client


@pytest.fixture
def api(stripe: Stripe) -> sdk.StripeClient:
    return client(stripe)


def price(api: sdk.StripeClient, **more: Any) -> sdk.Price:
    given: Any = {"currency": "usd", "unit_amount": 900, "product_data": {"name": "Tea"}, **more}
    return api.v1.prices.create(given)


def code_of(error: pytest.ExceptionInfo[sdk.StripeError]) -> tuple[str | None, str | None]:
    return error.value.code, getattr(error.value, "param", None)


def test_a_product_takes_the_id_it_is_given_and_no_other_may_have_it(api: sdk.StripeClient) -> None:
    made = api.v1.products.create({"id": "tea-1", "name": "Tea"})
    with pytest.raises(sdk.InvalidRequestError, match=r"^.*Product already exists\.$") as refused:
        api.v1.products.create({"id": "tea-1", "name": "Other"})

    assert (made.id, code_of(refused)) == ("tea-1", ("resource_already_exists", "id"))
    assert api.v1.products.retrieve("tea-1").name == "Tea"
    api.v1.products.delete("tea-1")
    assert api.v1.products.create({"id": "tea-1", "name": "Again"}).name == "Again"
    with pytest.raises(sdk.InvalidRequestError, match="Invalid id"):
        api.v1.products.create({"id": "a/b", "name": "Tea"})


def test_a_product_is_archived_by_active_and_its_event_says_when_it_was_updated(
    stripe: Stripe, api: sdk.StripeClient
) -> None:
    made = api.v1.products.create({"name": "Tea"})
    stripe.clock.advance(10)

    assert api.v1.products.update(made.id, {"active": False}).active is False
    (event,) = stripe.events(type="product.updated")
    assert event["data"]["previous_attributes"] == {"active": True, "updated": NOW + 60}


def test_a_default_price_is_an_active_one_of_the_product(api: sdk.StripeClient) -> None:
    own, other = price(api), price(api)
    product = str(own.product)

    assert api.v1.products.update(product, {"default_price": own.id}).default_price == own.id
    with pytest.raises(sdk.InvalidRequestError, match="does not belong to this product"):
        api.v1.products.update(product, {"default_price": other.id})
    with pytest.raises(sdk.InvalidRequestError, match="default price of its product"):
        api.v1.prices.update(own.id, {"active": False})


def test_nothing_of_a_product_is_made_when_its_price_is_wrong(stripe: Stripe) -> None:
    data = {"currency": "xxx", "unit_amount": 5}
    assert stripe.post("/v1/products", {"name": "Tea", "default_price_data": data}).status == 400
    assert stripe.events() == []


def test_the_amount_of_a_price_is_no_parameter_of_its_update(api: sdk.StripeClient) -> None:
    made = price(api)
    given: Any = {"unit_amount": 1000}
    with pytest.raises(sdk.InvalidRequestError) as refused:
        api.v1.prices.update(made.id, given)

    assert code_of(refused) == ("parameter_unknown", "unit_amount")
    assert api.v1.prices.update(made.id, {"active": False, "nickname": "old"}).unit_amount == 900


def test_a_lookup_key_is_one_prices_until_it_is_transferred(stripe: Stripe, api: sdk.StripeClient) -> None:
    old = price(api, lookup_key="gold")
    with pytest.raises(sdk.InvalidRequestError) as refused:
        price(api, lookup_key="gold")
    assert code_of(refused) == ("resource_already_exists", "lookup_key")

    new = price(
        api, unit_amount=1000, lookup_key="gold", transfer_lookup_key=True, product_data={"name": "x"}
    )
    assert api.v1.prices.retrieve(old.id).lookup_key is None
    assert [one.id for one in api.v1.prices.list({"lookup_keys": ["gold"]}).data] == [new.id]
    moved = next(event for event in stripe.events(type="price.updated"))
    assert moved["data"]["previous_attributes"] == {"lookup_key": "gold"}


def test_a_refused_price_leaves_no_product_behind(stripe: Stripe) -> None:
    stripe.make("/v1/prices", currency="usd", unit_amount=1, product_data={"name": "x"}, lookup_key="gold")
    before = len(stripe.events())
    taken = {"currency": "usd", "unit_amount": 1, "product_data": {"name": "y"}, "lookup_key": "gold"}

    assert stripe.post("/v1/prices", taken).status == 400
    assert len(stripe.events()) == before


def test_a_tax_behavior_is_set_once(api: sdk.StripeClient) -> None:
    made = price(api)

    assert api.v1.prices.update(made.id, {"tax_behavior": "inclusive"}).tax_behavior == "inclusive"
    with pytest.raises(sdk.InvalidRequestError, match="cannot change the tax behavior"):
        api.v1.prices.update(made.id, {"tax_behavior": "exclusive"})


def test_of_a_coupon_only_its_name_and_metadata_change(api: sdk.StripeClient) -> None:
    made = api.v1.coupons.create({"id": "SUMMER", "percent_off": 20, "name": "Summer"})
    changed = api.v1.coupons.update("SUMMER", {"name": "Summer '26", "metadata": {"a": "1"}})
    given: Any = {"percent_off": 30}
    with pytest.raises(sdk.InvalidRequestError) as unknown:
        api.v1.coupons.update("SUMMER", given)
    with pytest.raises(sdk.InvalidRequestError) as taken:
        api.v1.coupons.create({"id": "SUMMER", "percent_off": 5})

    assert (made.percent_off, changed.percent_off, changed.name) == (20, 20, "Summer '26")
    assert code_of(unknown) == ("parameter_unknown", "percent_off")
    assert code_of(taken) == ("resource_already_exists", "id")
    with pytest.raises(sdk.InvalidRequestError, match="at most 40 characters"):
        api.v1.coupons.update("SUMMER", {"name": "x" * 41})


def promotion(api: sdk.StripeClient, code: str, **more: Any) -> sdk.PromotionCode:
    given: Any = {"promotion": {"type": "coupon", "coupon": "SUMMER"}, "code": code, **more}
    return api.v1.promotion_codes.create(given)


def test_a_code_is_unique_among_the_active_ones_of_a_customer(api: sdk.StripeClient) -> None:
    api.v1.coupons.create({"id": "SUMMER", "percent_off": 20})
    ada, bea = (api.v1.customers.create({"name": name}).id for name in ("Ada", "Bea"))
    first = promotion(api, "HELLO", customer=ada)

    assert promotion(api, "HELLO", customer=bea).code == "HELLO"
    for more in ({"customer": ada}, {}):
        with pytest.raises(sdk.InvalidRequestError, match="already exists") as refused:
            promotion(api, "hello", **more)
        assert code_of(refused) == ("resource_already_exists", "code")

    api.v1.promotion_codes.update(first.id, {"active": False})
    second = promotion(api, "Hello", customer=ada)
    with pytest.raises(sdk.InvalidRequestError, match="already exists"):
        api.v1.promotion_codes.update(first.id, {"active": True})
    api.v1.promotion_codes.update(second.id, {"active": False})
    assert api.v1.promotion_codes.update(first.id, {"active": True}).active is True


def test_of_a_promotion_code_only_a_few_things_change(api: sdk.StripeClient) -> None:
    api.v1.coupons.create({"id": "SUMMER", "percent_off": 20})
    made = promotion(api, "HELLO")
    for given in ({"code": "BYE"}, {"max_redemptions": 5}):
        unknown: Any = given
        with pytest.raises(sdk.InvalidRequestError) as refused:
            api.v1.promotion_codes.update(made.id, unknown)
        assert code_of(refused) == ("parameter_unknown", next(iter(given)))
    with pytest.raises(sdk.InvalidRequestError, match="letters, digits and dashes"):
        promotion(api, "not this")
    assert api.v1.promotion_codes.update(made.id, {"metadata": {"a": "1"}}).metadata["a"] == "1"


def test_a_tax_rate_is_active_unless_it_is_said_otherwise(api: sdk.StripeClient) -> None:
    given: Any = {"display_name": "VAT", "inclusive": False, "percentage": 19}
    assert api.v1.tax_rates.create(given).active is True
    assert api.v1.tax_rates.create({**given, "active": False}).active is False
