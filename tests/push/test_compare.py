"""What a row says against what Stripe has: nothing is sent for what is equal, and others' edits are safe."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.catalog import writes
from tidegate.push import compare, forms

CUSTOMER = writes.load()["customer"]
ADDRESS = {
    "city": "Bonn",
    "country": "DE",
    "line1": "Weg 1",
    "line2": None,
    "postal_code": "53111",
    "state": None,
}
JANE: dict[str, Any] = {
    "id": "cus_1",
    "object": "customer",
    "name": "Jane",
    "email": "jane@example.com",
    "phone": None,
    "description": "",
    "address": ADDRESS,
    "shipping": None,
    "preferred_locales": ["de", "en"],
    "invoice_settings": {
        "default_payment_method": {"id": "pm_1", "object": "payment_method"},
        "footer": None,
    },
    "metadata": {"plan": "pro", "a.b": "dots"},
    "next_invoice_sequence": 7,
}


def changes(wanted: dict[str, str | None], **more: Any) -> dict[str, tuple[str | None, str]]:
    """What an update of Jane has to say: before and after, by field."""
    found = compare.compare(CUSTOMER, wanted, JANE, more.pop("owners", {}), **more)
    assert not found.conflicts
    return {path: (each.before, each.after) for path, each in found.changes.items()}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "Jane"),
        ("phone", ""),  # to clear what is empty
        ("description", ""),
        ("metadata.plan", "pro"),
        ("metadata.a.b", "dots"),
        ("metadata.none", ""),
        ("next_invoice_sequence", "7.0"),
        ("invoice_settings.default_payment_method", "pm_1"),  # expanded in the answer
        ("preferred_locales", '["de","en"]'),
        ("address.city", "Bonn"),
        ("address.line2", ""),
        ("shipping.name", ""),
    ],
)
def test_what_is_equal_is_not_sent(path: str, value: str) -> None:
    assert changes({path: value}) == {}


@pytest.mark.parametrize(
    ("path", "value", "before"),
    [
        ("name", "Joan", "Jane"),
        ("name", "", "Jane"),
        ("phone", "1", None),
        ("metadata.plan", "Pro", "pro"),
        ("metadata.plan", "", "pro"),
        ("metadata.new", "1", None),
        ("preferred_locales", '["en","de"]', '["de","en"]'),
        ("preferred_locales", '["de"]', '["de","en"]'),
        ("shipping.name", "Jane", None),
        ("next_invoice_sequence", "8", "7"),
    ],
)
def test_what_differs_is_sent(path: str, value: str, before: str | None) -> None:
    assert changes({path: value}) == {path: (before, value)}


def test_null_leaves() -> None:
    assert changes({"name": None, "metadata.plan": None}) == {}


def test_what_stripe_does_not_show_is_sent_when_it_changed_here() -> None:
    wanted: dict[str, str | None] = {"tax.validate_location": "immediately"}
    assert changes(wanted) == {"tax.validate_location": (None, "immediately")}
    assert changes(wanted, acknowledged={"tax.validate_location": "deferred"}) != {}
    assert changes(wanted, acknowledged=wanted) == {}


class TestOwners:
    def test_stripe_is_never_written_over(self) -> None:
        wanted: dict[str, str | None] = {"name": "Joan", "phone": "1"}
        assert changes(wanted, owners={"name": "stripe", "phone": "stripe"}) == {}

    def test_if_empty_fills_gaps(self) -> None:
        owners = dict.fromkeys(("name", "phone", "description", "metadata.new"), "if_empty")
        wanted: dict[str, str | None] = {
            "name": "Joan",
            "phone": "1",
            "description": "d",
            "metadata.new": "n",
        }
        assert changes(wanted, owners=owners) == {
            "phone": (None, "1"),
            "description": (None, "d"),
            "metadata.new": (None, "n"),
        }

    @pytest.mark.parametrize(
        ("here", "there", "acknowledged", "result"),
        [
            ("new", "old", "old", "new"),  # it changed here
            ("old", "theirs", "old", "leave"),  # it changed there
            ("new", "theirs", "old", "conflict"),
            ("new", "new", "old", "leave"),  # both to the same
            ("new", None, "old", "conflict"),  # emptied there, changed here
            ("old", None, "old", "leave"),  # emptied there
            ("", "old", "old", ""),
            ("", "theirs", "old", "conflict"),
            ("new", "theirs", None, "conflict"),  # never sent: nobody knows who changed it
            ("new", None, None, "new"),
        ],
    )
    def test_three_way(self, here: str, there: str | None, acknowledged: str | None, result: str) -> None:
        known = None if acknowledged is None else {"name": acknowledged}
        live = {**JANE, "name": there}
        found = compare.compare(CUSTOMER, {"name": here}, live, {"name": "three_way"}, known)
        if result == "conflict":
            assert found.conflicts == ("name",)
            assert not found.changes
        else:
            assert not found.conflicts
            expected = {} if result == "leave" else {"name": compare.Change(there, result)}
            assert found.changes == expected


class TestHashesThatAreReplacedWhole:
    def sent(self, wanted: dict[str, str | None], live: dict[str, Any] = JANE) -> dict[str, Any]:
        found = compare.compare(CUSTOMER, wanted, live, {})
        return forms.tree(CUSTOMER, compare.sent(CUSTOMER, found.changes, live))

    def test_the_rest_is_sent_along(self) -> None:
        assert self.sent({"address.city": "Köln"}) == {
            "address": {"city": "Köln", "country": "DE", "line1": "Weg 1", "postal_code": "53111"}
        }

    def test_a_part_is_cleared_by_leaving_it_out(self) -> None:
        assert self.sent({"address.postal_code": ""}) == {
            "address": {"city": "Bonn", "country": "DE", "line1": "Weg 1"}
        }

    def test_all_of_it_is_cleared(self) -> None:
        every: dict[str, str | None] = {f"address.{name}": "" for name in ADDRESS}
        assert self.sent(every) == {"address": ""}
        assert self.sent({"address": ""}) == {"address": ""}

    def test_deeper_hashes_too(self) -> None:
        shipping = {"name": "Jane", "phone": None, "address": ADDRESS}
        assert self.sent({"shipping.phone": "1"}, {**JANE, "shipping": shipping}) == {
            "shipping": {
                "name": "Jane",
                "phone": "1",
                "address": {"city": "Bonn", "country": "DE", "line1": "Weg 1", "postal_code": "53111"},
            }
        }

    def test_what_is_beside_it_is_not(self) -> None:
        assert self.sent({"name": "Joan"}) == {"name": "Joan"}


def test_members_that_a_hash_may_not_lack_are_sent_along() -> None:
    invoice = writes.load()["invoice"]
    live = {"automatic_tax": {"enabled": True, "liability": None}, "metadata": {}}
    changed = {"automatic_tax.liability.type": compare.Change(None, "self")}
    assert compare.sent(invoice, changed, live)["automatic_tax.enabled"] == "true"


def test_a_create_says_what_has_a_value() -> None:
    wanted: dict[str, str | None] = {
        "name": "Jane",
        "phone": "",
        "description": None,
        "metadata.plan": "pro",
        "default_source": "card_1",
    }
    assert compare.created(CUSTOMER, wanted) == {"name": "Jane", "metadata.plan": "pro"}


class TestLists:
    def same(self, wanted: object, there: object, kind: str = "list") -> bool:
        field = writes.Field(path="x", kind=kind, of="hash")  # type: ignore[arg-type]  # a parameter of the test
        return compare.same(field, json.dumps(wanted), json.dumps(there))

    def test_elements_have_what_is_wanted_of_them(self) -> None:
        there = [{"id": "si_1", "price": {"id": "price_1", "object": "price"}, "quantity": 2}]
        assert self.same([{"price": "price_1", "quantity": "2"}], there)
        assert not self.same([{"price": "price_2"}], there)
        assert not self.same([{"price": "price_1"}, {"price": "price_3"}], there)

    def test_elements_with_ids_say_nothing_of_others(self) -> None:
        there = [{"id": "si_1", "quantity": 2}, {"id": "si_2", "quantity": 3}]
        assert self.same([{"id": "si_2", "quantity": 3}], there)
        assert not self.same([{"id": "si_2", "quantity": 4}], there)
        assert not self.same([{"id": "si_3", "quantity": 4}], there)

    def test_maps_may_hold_more(self) -> None:
        assert self.same({"a": "1"}, {"a": "1", "b": "2"}, "map")
        assert not self.same({"a": "2"}, {"a": "1", "b": "2"}, "map")


TEXTS = st.one_of(st.none(), st.sampled_from(["", "a", "b"]))


@given(st.dictionaries(st.sampled_from(["name", "phone", "metadata.x", "address.city"]), TEXTS))
def test_what_was_written_is_equal_afterwards(wanted: dict[str, str | None]) -> None:
    """Applying the changes leaves nothing to change."""
    live: dict[str, Any] = json.loads(json.dumps(JANE))
    for path, change in compare.compare(CUSTOMER, wanted, live, {}).changes.items():
        *above, last = path.split(".")
        inner = live
        for step in above:
            inner = inner[step]
        inner[last] = change.after or None
    assert compare.compare(CUSTOMER, wanted, live, {}).changes == {}


class TestReplacements:
    PRICE = writes.load()["price"]
    OLD: Mapping[str, Any] = {
        "id": "price_1",
        "active": True,
        "currency": "eur",
        "currency_options": {
            "eur": {"unit_amount": 1000, "unit_amount_decimal": "1000"},
            "usd": {"unit_amount": None, "unit_amount_decimal": "1100.5", "tax_behavior": "exclusive"},
        },
        "lookup_key": None,
        "metadata": {"tidegate_op": "op_1", "theirs": "x", "dots.in": "y"},
        "nickname": None,
        "product": {"id": "prod_1", "object": "product"},
        "recurring": {"interval": "month", "interval_count": 1, "meter": None},
        "unit_amount": 1000,
        "unit_amount_decimal": "1000",
    }

    def fields(self, changes: dict[str, str], old: Mapping[str, Any] = OLD) -> dict[str, str]:
        told = {path: compare.Change(None, value) for path, value in changes.items()}
        return compare.replacement(self.PRICE, told, old)

    def test_the_new_one_has_all_of_the_old_one_but_the_changes(self) -> None:
        assert self.fields({"unit_amount": "1200"}) == {
            "active": "true",
            "currency": "eur",
            "currency_options.usd.tax_behavior": "exclusive",
            "currency_options.usd.unit_amount_decimal": "1100.5",
            "metadata.dots.in": "y",
            "metadata.theirs": "x",
            "product": "prod_1",
            "recurring.interval": "month",
            "recurring.interval_count": "1",
            "unit_amount": "1200",
        }

    def test_one_amount_is_said_in_one_way(self) -> None:
        found = self.fields({"unit_amount_decimal": "0.5"})
        assert (found.get("unit_amount"), found["unit_amount_decimal"]) == (None, "0.5")

    def test_it_takes_over_the_key(self) -> None:
        found = self.fields({"unit_amount": "1200"}, {**self.OLD, "lookup_key": "gold"})
        assert (found["lookup_key"], found["transfer_lookup_key"]) == ("gold", "true")

    def test_what_is_emptied_is_left_out(self) -> None:
        assert "nickname" not in self.fields({"nickname": ""}, {**self.OLD, "nickname": "Gold"})


def test_what_acts_only_when_an_object_is_created_is_not_looked_for_in_others() -> None:
    price = writes.load()["price"]
    live = {"id": "price_1", "metadata": {}}
    wanted: dict[str, str | None] = {"product_data.name": "Gold"}
    assert not compare.compare(price, wanted, live, {}).changes
    assert not compare.compare(price, wanted, live, {}, {"product_data.name": "Gold"}).changes
    assert compare.compare(price, wanted, live, {}, {"product_data.name": "Silver"}).changes


def test_a_list_of_stripes_is_what_is_in_it() -> None:
    assert compare.text({"object": "list", "data": ["de", "en"]}) == compare.text(["de", "en"])
    assert compare.text({"object": "list", "id": "li_1"}) == "li_1"


@pytest.mark.parametrize(
    ("changed", "left"),
    [
        ({"unit_amount": "1200"}, {"unit_amount": "1200"}),
        ({"unit_amount_decimal": "1200.5"}, {"unit_amount_decimal": "1200.5"}),
        ({"nickname": "New"}, {"unit_amount": "1000"}),
    ],
)
def test_a_price_that_takes_the_place_of_another_has_its_amount_in_one_spelling(
    changed: dict[str, str], left: dict[str, str]
) -> None:
    live = {"id": "price_1", "object": "price", "unit_amount": 1000, "unit_amount_decimal": "1000"}
    wanted = {path: compare.Change(None, value) for path, value in changed.items()}
    made = compare.replacement(writes.load()["price"], wanted, live)
    assert {path: value for path, value in made.items() if path.startswith("unit_amount")} == left
