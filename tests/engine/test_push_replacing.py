"""What never changes at Stripe: held until a person decides, or replaced by a new object, killed anywhere."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from following import Merchant
from pushed_objects import Wares

from tidegate import errors, sandbox
from tidegate.push import steps
from tidegate.store import operations
from tidegate.stripe import attempts

PRICES = (
    "object: price, match: {lookup_key: sku}, on_immutable: replace, "
    "fields: {unit_amount: cents, currency: currency, product: product, nickname: title}"
)


@pytest.fixture(scope="module")
def shop() -> Iterator[Merchant]:
    with sandbox.process(objects=30) as url:
        yield Merchant(url)


@pytest.fixture
def wares(shop: Merchant, tmp_path: Path) -> Wares:
    return Wares(shop, tmp_path, PRICES)


@pytest.fixture
def product(shop: Merchant) -> str:
    return str(shop.make("/v1/products", name="Gold")["id"])


def row(product: str, cents: int, title: str = "Gold", currency: str = "EUR") -> dict[str, object]:
    return {
        "sku": f"gold-{product}",
        "cents": cents,
        "currency": currency,
        "product": product,
        "title": title,
    }


def prices(shop: Merchant, product: str) -> list[dict[str, Any]]:
    """The prices of a product, the cheapest first; amount, whether it is active, and its lookup key."""
    found = [line["object"] for line in shop.truth("prices") if line["object"]["product"] == product]
    return [
        {name: each[name] for name in ("unit_amount", "active", "lookup_key")}
        for each in sorted(found, key=lambda each: int(each["unit_amount"]))
    ]


def test_a_new_price_takes_over_the_key_and_the_old_one_is_archived(wares: Wares, product: str) -> None:
    assert wares.run(row(product, 1000)).counted() == {"created": 1}
    [old] = [
        line["object"]["id"] for line in wares.shop.truth("prices") if line["object"]["product"] == product
    ]
    planned = wares.plan(row(product, 1200))
    assert planned.counted() == {"updated": 1}
    assert planned.entries["1"].action == "replace"
    assert planned.changes() == {"unit_amount": ("1000", "1200")}
    assert planned.text() == (
        f"unit_amount of a price never changes: a new one is created, and {old} is archived. Where it is the "
        "default_price of its product, the new one becomes that."
    )
    assert wares.run().counted() == {"updated": 1}
    assert prices(wares.shop, product) == [
        {"unit_amount": 1000, "active": False, "lookup_key": None},
        {"unit_amount": 1200, "active": True, "lookup_key": f"gold-{product}"},
    ]
    wares.quiet()
    assert any(
        each.startswith("linked") and each.endswith(f"in the place of {old}") for each in wares.history()
    )


def test_everything_else_of_the_old_price_is_of_the_new_one(wares: Wares, product: str) -> None:
    old = wares.shop.make(
        "/v1/prices",
        product=product,
        currency="eur",
        unit_amount=1000,
        lookup_key=f"gold-{product}",
        nickname="Gold",
        tax_behavior="inclusive",
        metadata={"theirs": "kept"},
        recurring={"interval": "month", "interval_count": 3},
        currency_options={"usd": {"unit_amount": 1100}},
    )
    wares.run(row(product, 1200, "Platinum"))
    [new] = [
        line["object"]
        for line in wares.shop.truth("prices")
        if line["object"]["product"] == product and line["object"]["id"] != old["id"]
    ]
    assert (new["unit_amount"], new["nickname"], new["tax_behavior"]) == (1200, "Platinum", "inclusive")
    assert (new["recurring"]["interval"], new["recurring"]["interval_count"]) == ("month", 3)
    assert new["metadata"]["theirs"] == "kept"
    options = wares.shop.get(f"/v1/prices/{new['id']}", expand=["currency_options"])["currency_options"]
    assert options["usd"]["unit_amount"] == 1100


def test_a_price_with_tiers_in_another_currency_is_left_to_a_person(wares: Wares, product: str) -> None:
    old = wares.shop.make(
        "/v1/prices",
        product=product,
        currency="eur",
        unit_amount=1000,
        lookup_key=f"gold-{product}",
        currency_options={
            "usd": {"tiers": [{"up_to": 5, "unit_amount": 1100}, {"up_to": "inf", "unit_amount": 900}]}
        },
    )
    planned = wares.plan(row(product, 1200))
    assert planned.counted() == {"invalid": 1}
    assert planned.text() == (
        f"{old['id']} has currency_options.usd.tiers, which a new one would lack; replace it in Stripe's dashboard."
    )


def test_the_default_price_of_a_product_is_changed_first(wares: Wares, product: str) -> None:
    """Stripe archives no default price: https://github.com/stripe/stripe-python/issues/658."""
    wares.run(row(product, 1000))
    [old] = [
        line["object"]["id"] for line in wares.shop.truth("prices") if line["object"]["product"] == product
    ]
    wares.shop.make(f"/v1/products/{product}", default_price=old)
    assert wares.run(row(product, 1200)).counted() == {"updated": 1}
    assert [each["active"] for each in prices(wares.shop, product)] == [False, True]
    default = wares.truth("products", product)["default_price"]
    assert wares.truth("prices", default)["unit_amount"] == 1200
    wares.quiet()


@pytest.mark.parametrize("nth", [1, 2, 3, 5, 7, 8])
def test_killed_anywhere_there_is_one_new_price_and_the_old_one_is_archived(
    wares: Wares, product: str, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    class Killed(BaseException):
        pass

    number = itertools.count(1)

    def reached(name: str) -> None:
        if name in ("intent committed", "answered", "acknowledged") and next(number) == nth:
            raise Killed(name)

    wares.run(row(product, 1000))
    [old] = [
        line["object"]["id"] for line in wares.shop.truth("prices") if line["object"]["product"] == product
    ]
    wares.shop.make(f"/v1/products/{product}", default_price=old)
    monkeypatch.setattr(steps, "listener", reached)
    with pytest.raises(BaseExceptionGroup) as killed:
        wares.run(row(product, 1200))
    assert killed.group_contains(Killed)
    monkeypatch.setattr(steps, "listener", lambda _: None)
    wares.aged(100)  # nobody waits until Stripe is surely no longer at work on it
    wares.run()
    assert prices(wares.shop, product) == [
        {"unit_amount": 1000, "active": False, "lookup_key": None},
        {"unit_amount": 1200, "active": True, "lookup_key": f"gold-{product}"},
    ]
    wares.quiet()


def test_what_happened_a_day_ago_is_found_out_and_the_rest_is_done(
    wares: Wares, product: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new price was made, and its process was gone before it heard of it; Stripe has forgotten the key."""

    class Killed(BaseException):
        pass

    def reached(name: str) -> None:
        if name == "answered":
            raise Killed

    wares.run(row(product, 1000))
    monkeypatch.setattr(steps, "listener", reached)
    with pytest.raises(BaseExceptionGroup):
        wares.run(row(product, 1200))
    monkeypatch.setattr(steps, "listener", lambda _: None)
    wares.shop.later(25 * 3600)
    wares.aged(25 * 3600)
    wares.run()
    assert prices(wares.shop, product) == [
        {"unit_amount": 1000, "active": False, "lookup_key": None},
        {"unit_amount": 1200, "active": True, "lookup_key": f"gold-{product}"},
    ]
    with wares.store() as store:
        actions = [each.action for each in operations.listed(store, push="wares", limit=None)]
    assert actions == ["create", "replace", "retire"]


def test_an_old_price_that_cannot_be_archived_now_is_said_and_archived_by_the_next_run(
    wares: Wares, product: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.01)
    wares.run(row(product, 1000))
    wares.shop.faults({"kind": "unavailable", "method": "POST", "path": "/v1/prices/price_*"})
    told = wares.run(row(product, 1200))
    wares.shop.faults()
    assert (told.result.status, told.counted()) == ("partial", {"updated": 1})
    [why] = told.result.why
    assert "was replaced, and is still there: " in why
    assert [each["active"] for each in prices(wares.shop, product)] == [True, True]
    wares.aged(100)
    wares.run()
    assert [each["active"] for each in prices(wares.shop, product)] == [False, True]
    wares.quiet()


class TestHeld:
    """By default nobody's price is replaced without a person."""

    @pytest.fixture
    def held(self, wares: Wares, product: str) -> Wares:
        wares.configure(PRICES.replace("on_immutable: replace, ", ""))
        wares.run(row(product, 1000))
        assert wares.run(row(product, 1200, "Platinum")).counted() == {"held": 1}
        return wares

    def test_the_row_waits_and_says_what_may_be_chosen(self, held: Wares, product: str) -> None:
        hold = held.hold()
        assert hold is not None
        assert (hold.kind, hold.field, hold.candidates) == ("immutable", "unit_amount", ("replace", "stripe"))
        assert hold.text.startswith("unit_amount of a price never changes; choose `replace`")
        assert [each["unit_amount"] for each in prices(held.shop, product)] == [1000]

    def test_a_person_has_it_replaced(self, held: Wares, product: str) -> None:
        held.choose("1", "replace")
        assert held.run().counted() == {"updated": 1}
        assert [(each["unit_amount"], each["active"]) for each in prices(held.shop, product)] == [
            (1000, False),
            (1200, True),
        ]
        held.quiet()
        assert held.hold() is None

    def test_or_leaves_it_as_it_is_and_has_the_rest_written(self, held: Wares, product: str) -> None:
        held.choose("1", "stripe")
        assert held.run().counted() == {"updated": 1}
        [only] = [
            line["object"] for line in held.shop.truth("prices") if line["object"]["product"] == product
        ]
        assert (only["unit_amount"], only["nickname"]) == (1000, "Platinum")
        held.quiet()
        assert held.run(row(product, 1300)).counted() == {"held": 1}, (
            "It is asked again when it changes again."
        )


@pytest.mark.parametrize(
    ("push", "first", "then", "field"),
    [
        (
            "object: coupon, match: {id: code}, fields: {percent_off: off, duration: {value: once}}",
            {"code": "WINTER", "off": 10},
            {"code": "WINTER", "off": 15},
            "percent_off",
        ),
        (
            "object: promotion_code, match: {code: code}, "
            "fields: {promotion.type: {value: coupon}, promotion.coupon: coupon, max_redemptions: times}",
            {"code": "SNOW", "coupon": "base", "times": 5},
            {"code": "SNOW", "coupon": "base", "times": 6},
            "max_redemptions",
        ),
    ],
)
def test_what_nothing_takes_the_place_of_is_held(
    wares: Wares, push: str, first: dict[str, object], then: dict[str, object], field: str
) -> None:
    if first.get("coupon") is not None:
        wares.shop.make("/v1/coupons", id="base", percent_off=5, duration="once")
    wares.configure(push)
    assert wares.run(first).counted() == {"created": 1}
    told = wares.run(then)
    assert told.counted() == {"held": 1}
    assert told.text().endswith("correct the row, or choose `stripe` to leave the object as it is.")
    assert (told.entries["1"].field, told.entries["1"].candidates) == (field, ("stripe",))
    wares.choose("1", "stripe")
    assert wares.run().counted() == {"unchanged": 1}
    wares.quiet()


def test_a_tax_rate_is_replaced(wares: Wares) -> None:
    wares.configure(
        "object: tax_rate, match: {metadata.region: region}, on_immutable: replace, "
        "fields: {display_name: name, percentage: percent, inclusive: {value: false}}"
    )
    wares.run({"region": "DE", "name": "VAT", "percent": 19.0})
    assert wares.run({"region": "DE", "name": "VAT", "percent": 20.5}).counted() == {"updated": 1}
    mine = [
        line["object"]
        for line in wares.shop.truth("tax_rates")
        if line["object"]["metadata"].get("region") == "DE"
    ]
    assert {each["percentage"]: each["active"] for each in mine} == {19.0: False, 20.5: True}
    wares.quiet()


def test_a_tax_id_is_replaced_by_deleting_the_old_one_last(wares: Wares) -> None:
    customer = wares.shop.make("/v1/customers", email="vat@example.com")["id"]
    wares.configure(
        "object: tax_id, match: {value: vat}, on_immutable: replace, "
        "fields: {customer: customer, type: {value: eu_vat}, value: vat}"
    )
    assert wares.run({"vat": "DE123456789", "customer": customer}).counted() == {"created": 1}
    assert wares.run({"vat": "DE123456780", "customer": customer}).counted() == {"updated": 1}
    values = [each["value"] for each in wares.shop.get(f"/v1/customers/{customer}/tax_ids")["data"]]
    assert values == ["DE123456780"]
    wares.quiet()


def test_what_was_only_said_when_it_was_created_is_not_looked_for_afterwards(wares: Wares) -> None:
    """A price that somebody made does not show under which name its product was created."""
    wares.configure(
        "object: price, match: {lookup_key: sku}, fields: {product_data.name: title, unit_amount: cents, "
        "currency: {value: usd}}"
    )
    product = wares.shop.make("/v1/products", name="Theirs")["id"]
    wares.shop.make("/v1/prices", product=product, currency="usd", unit_amount=5, lookup_key="theirs")
    told = wares.run({"sku": "theirs", "title": "Ours", "cents": 5})
    assert told.counted() == {"unchanged": 1}
    wares.quiet()


class TestALookupKeyThatSomebodyMoved:
    """The row's price has no key any more, and another has it: nobody knows which of them the row means."""

    @pytest.fixture
    def theirs(self, wares: Wares, product: str) -> str:
        wares.run(row(product, 1000))
        key = f"gold-{product}"
        values: dict[str, Any] = {
            "product": product,
            "currency": "eur",
            "unit_amount": 900,
            "lookup_key": key,
        }
        return str(wares.shop.make("/v1/prices", **values, transfer_lookup_key="true")["id"])

    def test_a_person_is_asked(self, wares: Wares, product: str, theirs: str) -> None:
        told = wares.run(row(product, 1200))
        assert told.counted() == {"held": 1}
        assert told.text().startswith("The lookup_key is another one's")
        assert theirs in told.entries["1"].candidates
        assert [each["unit_amount"] for each in prices(wares.shop, product)] == [900, 1000]

    def test_the_row_is_the_price_that_is_chosen(self, wares: Wares, product: str, theirs: str) -> None:
        wares.run(row(product, 1200))
        wares.choose("1", theirs)
        assert wares.run().counted() == {"updated": 1}
        assert [(each["unit_amount"], each["lookup_key"]) for each in prices(wares.shop, product)] == [
            (900, None),
            (1000, None),
            (1200, f"gold-{product}"),
        ]
        wares.quiet()


@pytest.mark.parametrize(
    ("push", "sentence"),
    [
        (
            "object: coupon, match: {id: id}, fields: {name: id}, on_immutable: replace",
            "on_immutable: a coupon cannot be replaced; write hold",
        ),
        (
            "object: subscription, match: {id: id}, fields: {description: id}, behavior: create_only",
            "behavior: a subscription is never created; write update_only",
        ),
        (
            "object: meter_event, match: {identifier: id}, fields: {event_name: id}, behavior: update_only",
            "behavior: a meter_event never changes; write create_only",
        ),
        (
            "object: tax_id, match: {value: id}, fields: {customer: id, type: id}, on_missing: clear",
            "on_missing: a tax_id never changes, so it is not cleared",
        ),
        (
            "object: product, match: {id: id}, fields: {name: id}, on_missing: {flag: created}",
            "on_missing.flag: created of a product is set by Stripe alone",
        ),
        (
            "object: charge, match: {id: id}, fields: {description: id}",
            "description of a charge is not written: only metadata of it is written",
        ),
    ],
)
def test_what_an_object_cannot_do_is_said_before_anything_is_asked(
    wares: Wares, push: str, sentence: str
) -> None:
    wares.configure(push)
    with pytest.raises(errors.ConfigError) as refused:
        wares.run({"x": 1})
    assert sentence in str(refused.value)


def test_the_ledger_has_the_replacement_and_what_followed(wares: Wares, product: str) -> None:
    wares.run(row(product, 1000))
    wares.run(row(product, 1200))
    with wares.store() as store:
        done = operations.listed(store, push="wares", limit=None)
    _, replaced, retired = done
    assert (replaced.action, retired.action) == ("replace", "retire")
    assert replaced.before == {"id": retired.target, "product": product, "unit_amount": "1000"}
    assert (retired.before, json.dumps(retired.after)) == ({"active": "true"}, '{"active": false}')
