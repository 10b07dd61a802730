"""Each kind of object and each behaviour that it has, from the configuration to what Stripe has then.

Every example ends with a second run, which finds nothing to write.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from following import Merchant
from pushed_objects import Wares

from tidegate import errors, sandbox
from tidegate.store import operations
from tidegate.stripe import attempts


@pytest.fixture(scope="module")
def shop() -> Iterator[Merchant]:
    with sandbox.process(objects=300) as url:
        yield Merchant(url)


@pytest.fixture
def wares(shop: Merchant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wares:
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.01)
    return Wares(shop, tmp_path, "")


def has(wares: Wares, stream: str, **values: Any) -> list[dict[str, Any]]:
    """The living objects of a stream that have these values; `metadata` only as far as it is named."""
    found = []
    for line in wares.shop.truth(stream):
        each = line["object"]
        wanted = {**values, "metadata": {**each.get("metadata", {}), **values.get("metadata", {})}}
        if "metadata" not in each:
            del wanted["metadata"]
        if not each.get("deleted") and all(each[name] == value for name, value in wanted.items()):
            found.append(each)
    return found


def bodies(wares: Wares) -> list[str]:
    """The bodies of all requests that were sent."""
    with wares.store() as store:
        return [each.body for each in operations.listed(store, push="wares", limit=None)]


class TestCustomers:
    FIELDS = "fields: {name: name, metadata.plan: plan, address.city: city}"

    def test_found_by_e_mail_or_created(self, wares: Wares) -> None:
        wares.configure(f"object: customer, match: {{email: mail}}, {self.FIELDS}")
        theirs = wares.shop.make(
            "/v1/customers",
            email="One@cust.test",
            address={"line1": "Weg 1", "city": "Bonn"},
            metadata={"x": "y"},
        )
        rows: list[dict[str, object]] = [
            {"mail": "one@cust.test", "name": "One", "plan": "pro", "city": "Köln"},
            {"mail": "two@cust.test", "name": "Two", "plan": None, "city": "Ulm"},
        ]
        assert wares.run(*rows).counted() == {"created": 1, "updated": 1}
        one = wares.truth("customers", theirs["id"])
        assert (one["email"], one["name"], one["metadata"]) == (
            "One@cust.test",
            "One",
            {"x": "y", "plan": "pro"},
        )
        assert (one["address"]["line1"], one["address"]["city"]) == ("Weg 1", "Köln")
        [two] = has(wares, "customers", email="two@cust.test")
        assert (two["name"], two["address"]["city"], sorted(two["metadata"])) == (
            "Two",
            "Ulm",
            ["tidegate_op"],
        )
        wares.quiet(2)

    def test_found_by_an_id_of_ones_own(self, wares: Wares) -> None:
        wares.configure("object: customer, match: {metadata.crm: key}, fields: {name: name}")
        assert wares.run({"key": "crm-1", "name": "Ann"}).counted() == {"created": 1}
        [ann] = has(wares, "customers", metadata={"crm": "crm-1"})
        assert wares.run({"key": "crm-1", "name": "Anna"}).counted() == {"updated": 1}
        assert wares.truth("customers", ann["id"])["name"] == "Anna"
        wares.quiet()

    def test_found_by_their_own_ids_and_never_created(self, wares: Wares) -> None:
        wares.configure("object: customer, behavior: update_only, match: {id: cus}, fields: {name: name}")
        known = wares.shop.make("/v1/customers", name="Old")["id"]
        told = wares.run({"cus": known, "name": "New"}, {"cus": "cus_nobody", "name": "Nobody"})
        assert told.counted() == {"updated": 1, "unmatched": 1}
        assert wares.truth("customers", known)["name"] == "New"
        wares.quiet(unchanged=1, unmatched=1)

    def test_created_only(self, wares: Wares) -> None:
        wares.configure("object: customer, behavior: create_only, match: {email: mail}, fields: {name: name}")
        known = wares.shop.make("/v1/customers", email="known@only.test", name="Known")["id"]
        rows = [{"mail": "known@only.test", "name": "Other"}, {"mail": "new@only.test", "name": "New"}]
        assert wares.run(*rows).counted() == {"created": 1, "unmatched": 1}
        rows[1]["name"] = "Newer"
        assert wares.run(*rows).counted() == {"unmatched": 2}, "What it created it does not change either."
        assert wares.truth("customers", known)["name"] == "Known"
        assert len(has(wares, "customers", email="new@only.test", name="New")) == 1
        wares.quiet(unmatched=2)

    def test_found_by_several_keys_that_must_agree_all(self, wares: Wares) -> None:
        wares.configure(
            "object: customer, match: {metadata.tenant: tenant, metadata.user: user}, fields: {name: name}"
        )
        others = [
            wares.shop.make("/v1/customers", metadata={"tenant": "eu", "user": "8"})["id"],
            wares.shop.make("/v1/customers", metadata={"tenant": "us", "user": "7"})["id"],
        ]
        rows = [{"tenant": "eu", "user": 7, "name": "Seven"}, {"tenant": "eu", "user": 8, "name": "Eight"}]
        assert wares.run(*rows).counted() == {"created": 1, "updated": 1}
        [seven] = has(wares, "customers", metadata={"tenant": "eu", "user": "7"})
        assert seven["id"] not in others
        assert [wares.truth("customers", id)["name"] for id in others] == ["Eight", None]
        wares.quiet(2)

    def test_of_rows_whose_key_is_several_columns(self, wares: Wares) -> None:
        wares.key = "[tenant, id]"
        wares.configure("object: customer, match: {email: mail}, fields: {name: name}")
        rows = [
            {"id": "1", "tenant": each, "mail": f"{each}@keys.test", "name": each} for each in ("eu", "us")
        ]
        told = wares.run(*rows)
        assert (told.counted(), list(told.entries)) == ({"created": 2}, ['["eu","1"]', '["us","1"]'])
        rows[0]["name"] = "EU"
        assert list(wares.run(*rows).entries) == ['["eu","1"]']
        assert [has(wares, "customers", email=row["mail"])[0]["name"] for row in rows] == ["EU", "us"]
        wares.quiet(2)

    def test_null_clears_what_can_be_cleared_and_nothing_beside_it(self, wares: Wares) -> None:
        paths = ("name", "phone", "description", "email", "address.line1", "shipping.phone")
        fields = ", ".join(f"{path}: {{from: f{n}, null: clear}}" for n, path in enumerate(paths))
        wares.configure(f"object: customer, match: {{id: cus}}, fields: {{{fields}}}")
        whole: dict[str, Any] = {
            "name": "Jane",
            "phone": "1",
            "description": "d",
            "email": "jane@clear.test",
            "address": {"line1": "Weg 1", "city": "Bonn"},
            "shipping": {"name": "Jane", "phone": "2", "address": {"line1": "Weg 2"}},
        }
        values = {f"f{n}": v for n, v in enumerate(("Jane", "1", "d", "jane@clear.test", "Weg 1", "2"))}
        known = [wares.shop.make("/v1/customers", **whole)["id"] for _ in paths]
        before = [wares.truth("customers", id) for id in known]
        rows = [{"cus": id, **values, f"f{n}": None} for n, id in enumerate(known)]
        assert wares.run(*rows).counted() == {"updated": len(paths)}
        for path, old in zip(paths, before, strict=True):
            after = wares.truth("customers", old["id"])
            *above, last = path.split(".")
            old, now = (
                functools.reduce(lambda found, step: found[step], above, each) for each in (old, after)
            )
            assert now == {**old, last: None}
        wares.quiet(len(paths))

    def test_hashed_and_composed_and_constant(self, wares: Wares) -> None:
        wares.configure(
            "object: customer, match: {metadata.key: key}, fields: {"
            'name: {template: "{first} {last}"}, metadata.mail: {from: mail, hash: true}, '
            'metadata.tier: {sql: "upper(tier)"}, metadata.source: {value: warehouse}, '
            "preferred_locales: locales}"
        )
        row = {
            "key": "k1",
            "first": "Ada",
            "last": "Li",
            "mail": "a@b.cc",
            "tier": "gold",
            "locales": ["de", "en"],
        }
        wares.run(row)
        [found] = has(wares, "customers", metadata={"key": "k1"})
        assert found["name"] == "Ada Li"
        assert found["preferred_locales"] == ["de", "en"]
        assert {name: found["metadata"][name] for name in ("tier", "source", "mail")} == {
            "tier": "GOLD",
            "source": "warehouse",
            "mail": "a8c4271ffca17a5708183b3b9507f7e1e386ba08108353a556d1e1c91c68ed6f",
        }
        wares.quiet()

    def test_each_owner(self, wares: Wares) -> None:
        wares.configure(
            "object: customer, match: {email: mail}, fields: {name: {from: v, owner: stripe}, "
            "phone: {from: v, owner: if_empty}, description: {from: v, owner: three_way}, metadata.v: v}"
        )
        rows = [{"mail": "there@own.test", "v": "1"}, {"mail": "new@own.test", "v": "1"}]
        there = wares.shop.make("/v1/customers", email="there@own.test", name="Theirs")["id"]
        wares.run(*rows)
        new = has(wares, "customers", email="new@own.test")[0]["id"]

        def shown(id: str) -> tuple[str, ...]:
            each = wares.truth("customers", id)
            return each["name"], each["phone"], each["description"], each["metadata"]["v"]

        assert (shown(there), shown(new)) == (("Theirs", "1", "1", "1"), ("1", "1", "1", "1"))
        wares.quiet(2)
        rows = [{**row, "v": "2"} for row in rows]
        wares.run(*rows)
        assert (shown(there), shown(new)) == (("Theirs", "1", "2", "2"), ("1", "1", "2", "2"))
        wares.quiet(2)

    @pytest.mark.parametrize(("side", "value"), [("warehouse", "Ours"), ("stripe", "Theirs")])
    def test_changed_on_both_sides_a_person_says_whose_value_counts(
        self, wares: Wares, side: str, value: str
    ) -> None:
        wares.configure(
            "object: customer, match: {metadata.key: key}, fields: {name: {from: name, owner: three_way}}"
        )
        key = f"both-{side}"
        wares.run({"key": key, "name": "Old"})
        [found] = has(wares, "customers", metadata={"key": key})
        wares.shop.make(f"/v1/customers/{found['id']}", name="Theirs")
        assert wares.run({"key": key, "name": "Ours"}).counted() == {"held": 1}
        wares.choose("1", side)
        wares.run()
        assert wares.truth("customers", found["id"])["name"] == value
        wares.quiet()

    def test_metadata_is_merged_and_counted(self, wares: Wares) -> None:
        wares.configure("object: customer, match: {id: cus}, fields: {metadata.a: v, metadata.b: v}")
        fits = wares.shop.make("/v1/customers", metadata={f"k{n}": "v" for n in range(48)})["id"]
        full = wares.shop.make("/v1/customers", metadata={f"k{n}": "v" for n in range(49)})["id"]
        told = wares.run({"cus": fits, "v": "1"}, {"cus": full, "v": "1"})
        assert told.counted() == {"updated": 1, "invalid": 1}
        assert "more than the 50 keys" in told.text("2")
        assert len(wares.truth("customers", fits)["metadata"]) == 50
        wares.quiet(unchanged=1, invalid=1)


def test_the_ledger_keeps_what_there_was_as_far_as_stripe_shows_it(wares: Wares) -> None:
    """Empty is None; what an answer does not show is not there at all."""
    wares.configure(
        "object: customer, match: {id: cus}, fields: {name: name, phone: phone, metadata.plan: plan, "
        "tax.validate_location: {value: deferred}}"
    )
    known = wares.shop.make("/v1/customers", name="Old")["id"]
    wares.run({"cus": known, "name": "New", "phone": "1", "plan": "pro"})
    with wares.store() as store:
        [done] = operations.listed(store, push="wares", limit=None)
    assert "tax[validate_location]=deferred" in done.body
    assert done.before == {"name": "Old", "phone": None, "metadata.plan": None}


class TestMirrors:
    """What becomes of objects whose rows are gone: of those alone that the push knows, once a person approves."""

    ROWS = ({"key": "stays", "v": "1"}, {"key": "goes", "v": "1"})

    def gone(self, wares: Wares, push: str, **more: object) -> dict[str, Any]:
        """Two rows are pushed and the second goes; what there is of its object before and after."""
        tag = re.sub(r"\W|_", "-", wares.folder.name)
        rows = [{**row, **more, "key": f"{tag}-{row['key']}"[-60:]} for row in self.ROWS]
        wares.configure(push)
        assert wares.run(*rows).counted() == {"created": 2}
        done = wares.run(rows[0], approve=True)
        assert done.counted() == {"unchanged": 1, "removed": 1}
        target = done.entries["2"].target
        wares.quiet()
        found = [line["object"] for line in wares.shop.truth(self.stream) if line["object"]["id"] == target]
        alive = [each for each in found if not each.get("deleted")]
        return {"object": alive[0] if alive else None, "text": done.entries["2"].text}

    stream = "customers"

    def test_clear_empties_the_fields_that_were_sent(self, wares: Wares) -> None:
        found = self.gone(
            wares,
            "object: customer, behavior: mirror, on_missing: clear, match: {metadata.key: key}, "
            "fields: {name: v, metadata.v: v}",
        )["object"]
        assert (found["name"], sorted(found["metadata"])) == (None, ["key", "tidegate_op"])

    def test_flag_marks(self, wares: Wares) -> None:
        found = self.gone(
            wares,
            "object: customer, behavior: mirror, on_missing: {flag: metadata.gone}, match: {metadata.key: key}, "
            "fields: {name: v}",
        )["object"]
        assert (found["name"], found["metadata"]["gone"]) == ("1", "true")

    def test_delete_says_what_goes_along(self, wares: Wares) -> None:
        found = self.gone(
            wares,
            "object: customer, behavior: mirror, on_missing: delete, match: {metadata.key: key}, fields: {name: v}",
        )
        assert found == {
            "object": None,
            "text": "Deleting a customer cannot be undone, and cancels its subscriptions at once.",
        }

    @pytest.mark.parametrize(
        ("stream", "object", "key", "fields"),
        [
            ("products", "product", "id", "name: v"),
            (
                "promotion_codes",
                "promotion_code",
                "code",
                "promotion.type: {value: coupon}, promotion.coupon: coupon",
            ),
            (
                "tax_rates",
                "tax_rate",
                "metadata.key",
                "display_name: v, percentage: {value: 7}, inclusive: {value: true}",
            ),
            ("prices", "price", "lookup_key", "unit_amount: v, currency: {value: usd}, product: product"),
        ],
    )
    def test_archive(self, wares: Wares, stream: str, object: str, key: str, fields: str) -> None:
        self.stream = stream
        coupon = wares.shop.make("/v1/coupons", percent_off=5, duration="once")["id"]
        product = wares.shop.make("/v1/products", name="P")["id"]
        usual = f"behavior: mirror, on_missing: archive, match: {{{key}: key}}"
        push = f"object: {object}, {usual}, fields: {{{fields}}}"
        found = self.gone(wares, push, coupon=coupon, product=product)
        assert found["object"]["active"] is False

    def test_deletes_are_refused_until_a_person_approves_or_the_guard_allows_them(self, wares: Wares) -> None:
        wares.configure(
            "object: coupon, behavior: mirror, on_missing: delete, match: {id: key}, "
            "guard: {max_removed: 1, rows_down: 60%}, fields: {percent_off: {value: 5}, duration: {value: once}}"
        )
        wares.run({"key": "G1"}, {"key": "G2"}, {"key": "G3"}, {"key": "G4"}, {"key": "G5"})
        held = wares.run({"key": "G1"}, {"key": "G2"}, {"key": "G3"})
        assert (held.result.status, held.counted()) == ("held", {"unchanged": 3, "removed": 2})
        [guard] = held.result.made.guards
        assert guard.startswith(
            "2 objects whose rows are gone would be cleared, flagged, archived or deleted; 1 "
        )
        assert len([each for each in has(wares, "coupons") if each["id"].startswith("G")]) == 5
        wares.run({"key": "G1"}, {"key": "G2"}, {"key": "G3"}, {"key": "G4"})
        assert wares.run({"key": "G1"}, {"key": "G2"}, {"key": "G3"}).counted() == {
            "unchanged": 3,
            "removed": 1,
        }
        assert {each["id"] for each in has(wares, "coupons") if each["id"].startswith("G")} == {
            "G1",
            "G2",
            "G3",
        }
        wares.quiet(3)

    @pytest.mark.parametrize(
        ("stream", "object", "key", "fields", "effect"),
        [
            ("products", "product", "id", "name: v", "A product can be deleted only while it has no prices"),
            (
                "coupons",
                "coupon",
                "id",
                "percent_off: {value: 5}, duration: {value: once}",
                "Customers who have redeemed it keep their discount",
            ),
            (
                "invoice_items",
                "invoice_item",
                "metadata.key",
                "customer: customer, amount: v, currency: {value: usd}",
                "An invoice item can be deleted only while it is on no invoice",
            ),
            ("invoices", "invoice", "metadata.key", "customer: customer, description: v", "Only a draft can"),
        ],
    )
    def test_delete(self, wares: Wares, stream: str, object: str, key: str, fields: str, effect: str) -> None:
        self.stream = stream
        customer = wares.shop.make("/v1/customers")["id"]
        usual = f"behavior: mirror, on_missing: delete, match: {{{key}: key}}"
        found = self.gone(wares, f"object: {object}, {usual}, fields: {{{fields}}}", customer=customer)
        assert found["object"] is None
        assert found["text"].startswith(effect)

    def test_a_tax_id_goes_from_its_customer(self, wares: Wares) -> None:
        customer = wares.shop.make("/v1/customers")["id"]
        wares.configure(
            "object: tax_id, behavior: mirror, on_missing: delete, match: {value: vat}, "
            "guard: {max_removed: 1, rows_down: 60%}, "
            "fields: {customer: customer, type: {value: eu_vat}}"
        )
        rows = [{"vat": f"DE12345678{n}", "customer": customer} for n in range(2)]
        assert wares.run(*rows).counted() == {"created": 2}
        assert wares.run(rows[0]).counted() == {"unchanged": 1, "removed": 1}
        [left] = wares.shop.get(f"/v1/customers/{customer}/tax_ids")["data"]
        assert left["value"] == "DE123456780"
        wares.quiet()

    def test_what_stripe_does_not_remove_stays_and_is_said(self, wares: Wares) -> None:
        customer = wares.shop.make("/v1/customers")["id"]
        wares.configure(
            "object: invoice, behavior: mirror, on_missing: delete, match: {metadata.key: key}, "
            "guard: {max_removed: 1, rows_down: 60%}, fields: {customer: customer}"
        )
        wares.run({"key": "final-1", "customer": customer}, {"key": "final-2", "customer": customer})
        [final] = has(wares, "invoices", metadata={"key": "final-2"})
        wares.shop.make(f"/v1/invoices/{final['id']}/finalize")
        told = wares.run({"key": "final-1", "customer": customer})
        assert (told.result.status, told.counted()) == ("failed", {"unchanged": 1})
        [why] = told.result.why
        assert why.startswith("Stripe refused to delete")
        assert wares.truth("invoices", final["id"])["status"] == "paid"


class TestSubscriptions:
    """Only updated; items are named by their ids, since Stripe adds what comes without one."""

    ITEMS = "items: {sql: \"json_array(json_object('id', item, 'quantity', seats))\"}"

    def subscribed(self, wares: Wares) -> dict[str, Any]:
        customer = wares.shop.make("/v1/customers", source="tok_visa")["id"]
        product = wares.shop.make("/v1/products", name="Seats")["id"]
        price = wares.shop.make(
            "/v1/prices", product=product, currency="usd", unit_amount=500, recurring={"interval": "month"}
        )["id"]
        items = [{"price": price, "quantity": 1}]
        found: dict[str, Any] = wares.shop.make(
            "/v1/subscriptions", customer=customer, items=items, metadata={"crm": customer}
        )
        return found

    def test_items_and_metadata_are_updated_without_proration(self, wares: Wares) -> None:
        wares.configure(
            "object: subscription, behavior: update_only, match: {id: sub}, "
            f"fields: {{metadata.seats: seats, {self.ITEMS}}}"
        )
        sub = self.subscribed(wares)
        [item] = sub["items"]["data"]
        row = {"sub": sub["id"], "item": item["id"], "seats": 3}
        assert wares.run(row).counted() == {"updated": 1}
        [after] = wares.shop.get(f"/v1/subscriptions/{sub['id']}")["items"]["data"]
        assert (after["id"], after["quantity"]) == (item["id"], 3)
        assert "proration_behavior=none" in bodies(wares)[0]
        assert not wares.shop.get("/v1/invoiceitems", customer=sub["customer"])["data"], (
            "Nothing is prorated."
        )
        wares.quiet()
        assert wares.run({**row, "seats": 4}).changes()["metadata.seats"] == ("3", "4")
        wares.quiet()

    def test_proration_by_choice(self, wares: Wares) -> None:
        wares.configure(
            "object: subscription, match: {metadata.crm: crm}, proration: always_invoice, "
            "fields: {description: text, cancel_at_period_end: {value: true}}"
        )
        sub = self.subscribed(wares)
        assert wares.run({"crm": sub["customer"], "text": "by the year"}).counted() == {"updated": 1}
        assert "proration_behavior=always_invoice" in bodies(wares)[0]
        after = wares.truth("subscriptions", sub["id"])
        assert (after["description"], after["cancel_at_period_end"]) == ("by the year", True)
        wares.quiet()

    def test_items_without_ids_are_never_added(self, wares: Wares) -> None:
        sub = self.subscribed(wares)
        wares.configure(
            "object: subscription, match: {id: sub}, "
            "fields: {items: {sql: \"json_array(json_object('quantity', 2))\"}}"
        )
        told = wares.run({"sub": sub["id"]})
        assert (told.counted(), told.text()) == ({"invalid": 1}, "items.0 needs its id.")

    def test_who_has_none_is_unmatched(self, wares: Wares) -> None:
        wares.configure("object: subscription, match: {metadata.crm: crm}, fields: {description: crm}")
        assert wares.run({"crm": "nobody"}).counted() == {"unmatched": 1}


class TestMoney:
    """What somebody is billed for is created once, and never a second time."""

    def test_an_invoice_item(self, wares: Wares) -> None:
        customer = wares.shop.make("/v1/customers")["id"]
        wares.configure(
            "object: invoice_item, match: {metadata.order: key}, "
            "fields: {customer: customer, amount: cents, currency: {value: usd}, description: text}"
        )
        row = {"key": "o-1", "customer": customer, "cents": 500, "text": "Setup"}
        assert wares.run(row).counted() == {"created": 1}
        wares.quiet()
        told = wares.run({**row, "cents": 700})
        assert (told.counted(), told.text()) == ({"unmatched": 1}, "It was billed; it is written once.")
        [item] = has(wares, "invoice_items", customer=customer)
        assert (item["amount"], item["description"]) == (500, "Setup")

    def test_is_found_by_a_key_of_metadata_alone(self, wares: Wares) -> None:
        wares.configure("object: invoice_item, match: {id: id}, fields: {amount: id}")
        with pytest.raises(
            errors.ConfigError, match=r"no invoice_item is found by id; match metadata\.<key>"
        ):
            wares.run({"id": "1"})

    def test_a_meter_event_is_what_was_acknowledged_of_it(self, wares: Wares) -> None:
        """Stripe has no list of them, and knows an identifier for a day."""
        customer = wares.shop.make("/v1/customers")["id"]
        sums = {"formula": "sum"}
        wares.shop.make(
            "/v1/billing/meters", display_name="Calls", event_name="calls", default_aggregation=sums
        )
        wares.configure(
            "object: meter_event, behavior: create_only, match: {identifier: key}, "
            "fields: {event_name: {value: calls}, payload.value: value, payload.stripe_customer_id: customer}"
        )
        rows = [{"key": f"use-{n}", "value": n, "customer": customer} for n in (1, 2)]
        assert wares.run(*rows).counted() == {"created": 2}
        wares.quiet(2)
        wares.shop.later(30 * 3600)
        wares.quiet(2)
        told = wares.run({**rows[0], "value": 9}, rows[1])
        assert told.counted() == {"unchanged": 1, "unmatched": 1}
        assert sum(body.startswith("event_name=calls") for body in bodies(wares)) == 2


class TestInvoices:
    PUSH = (
        "object: invoice, match: {metadata.order: key}, "
        "fields: {customer: customer, description: text, metadata.note: note}"
    )

    def test_a_draft_is_created_and_changed(self, wares: Wares) -> None:
        wares.configure(self.PUSH)
        row = {
            "key": "in-1",
            "customer": wares.shop.make("/v1/customers")["id"],
            "text": "Draft",
            "note": "a",
        }
        assert wares.run(row).counted() == {"created": 1}
        [made] = has(wares, "invoices", metadata={"order": "in-1"})
        assert (made["status"], made["description"]) == ("draft", "Draft")
        assert wares.run({**row, "text": "Better"}).counted() == {"updated": 1}
        assert wares.truth("invoices", made["id"])["description"] == "Better"
        wares.quiet()

    def test_a_finalized_one_takes_metadata_and_refuses_the_rest(self, wares: Wares) -> None:
        wares.configure(self.PUSH)
        row = {
            "key": "in-2",
            "customer": wares.shop.make("/v1/customers")["id"],
            "text": "Draft",
            "note": "a",
        }
        wares.run(row)
        [made] = has(wares, "invoices", metadata={"order": "in-2"})
        wares.shop.make(f"/v1/invoices/{made['id']}/finalize")
        assert wares.run({**row, "note": "b"}).counted() == {"updated": 1}
        told = wares.run({**row, "note": "b", "text": "Late"})
        assert told.counted() == {"quarantined": 1}
        hold = wares.hold()
        assert hold is not None
        assert (hold.kind, hold.code, hold.field) == ("refused", "invoice_not_editable", "description")
        after = wares.truth("invoices", made["id"])
        assert (after["description"], after["metadata"]["note"]) == ("Draft", "b")


class TestTheRest:
    def test_a_product_has_the_id_that_the_row_says(self, wares: Wares) -> None:
        wares.configure(
            "object: product, match: {id: sku}, fields: {name: name, description: {from: text, null: clear}, "
            "default_price_data.currency: {value: eur}, default_price_data.unit_amount: cents}"
        )
        row = {"sku": "sku-basic", "name": "Basic", "text": "For one", "cents": 900}
        assert wares.run(row).counted() == {"created": 1}
        wares.quiet()
        assert wares.run({**row, "name": "Basic 2", "text": None}).changes() == {
            "name": ("Basic", "Basic 2"),
            "description": ("For one", ""),
        }
        after = wares.truth("products", "sku-basic")
        assert (after["name"], after["description"]) == ("Basic 2", None)
        assert wares.truth("prices", after["default_price"])["unit_amount"] == 900
        wares.quiet()
        told = wares.run({**row, "name": "Basic 2", "text": None, "cents": 950})
        assert (told.counted(), told.entries["1"].field) == ({"held": 1}, "default_price_data.unit_amount")

    def test_a_product_that_is_there_is_adopted(self, wares: Wares) -> None:
        wares.configure("object: product, match: {id: sku}, fields: {name: name}")

        def somebody() -> None:
            wares.shop.make("/v1/products", id="sku-late", name="Theirs")

        told = wares.run({"sku": "sku-late", "name": "Ours"}, seen=somebody)
        assert told.counted() == {"held": 1}
        assert wares.run().counted() == {"updated": 1}
        assert wares.truth("products", "sku-late")["name"] == "Ours"
        wares.quiet()

    def test_a_coupon(self, wares: Wares) -> None:
        wares.configure(
            "object: coupon, match: {id: code}, fields: {amount_off: off, currency: {value: EUR}, "
            "duration: {value: once}, name: name}"
        )
        assert wares.run({"code": "TEN", "off": 1000, "name": "Ten"}).counted() == {"created": 1}
        assert wares.run({"code": "TEN", "off": 1000, "name": "Ten off"}).counted() == {"updated": 1}
        found = wares.truth("coupons", "TEN")
        assert (found["amount_off"], found["currency"], found["name"]) == (1000, "eur", "Ten off")
        wares.quiet()

    def test_a_promotion_code(self, wares: Wares) -> None:
        coupon = wares.shop.make("/v1/coupons", percent_off=5, duration="once")["id"]
        wares.configure(
            "object: promotion_code, match: {code: code}, fields: {promotion.type: {value: coupon}, "
            "promotion.coupon: coupon, active: active}"
        )
        row = {"code": "AUTUMN", "coupon": coupon, "active": True}
        assert wares.run(row).counted() == {"created": 1}
        assert wares.run({**row, "active": False}).counted() == {"updated": 1}
        [found] = has(wares, "promotion_codes", code="AUTUMN")
        assert found["active"] is False
        wares.quiet()

    def test_a_promotion_code_is_the_same_in_any_case(self, wares: Wares) -> None:
        coupon = wares.shop.make("/v1/coupons", percent_off=5, duration="once")["id"]
        promotion = {"type": "coupon", "coupon": coupon}
        theirs = wares.shop.make("/v1/promotion_codes", code="HARVEST", promotion=promotion)["id"]
        wares.configure("object: promotion_code, match: {code: code}, fields: {code: code, metadata.x: x}")
        assert wares.run({"code": "harvest", "x": "1"}).counted() == {"updated": 1}
        assert wares.truth("promotion_codes", theirs)["metadata"]["x"] == "1"
        wares.quiet()

    def test_a_tax_id_belongs_to_its_customer(self, wares: Wares) -> None:
        customer = wares.shop.make("/v1/customers")["id"]
        wares.configure(
            "object: tax_id, match: {value: vat}, fields: {customer: customer, type: {value: eu_vat}}"
        )
        row = {"vat": "FR12345678901", "customer": customer}
        assert wares.run(row).counted() == {"created": 1}
        [found] = wares.shop.get(f"/v1/customers/{customer}/tax_ids")["data"]
        assert (found["type"], found["value"]) == ("eu_vat", "FR12345678901")
        wares.quiet()

    @pytest.mark.parametrize(
        ("object", "stream"),
        [
            ("payment_intent", "payment_intents"),
            ("charge", "charges"),
            ("refund", "refunds"),
            ("dispute", "disputes"),
            ("payout", "payouts"),
        ],
    )
    def test_metadata_of_what_was_paid(self, wares: Wares, object: str, stream: str) -> None:
        wares.configure(f"object: {object}, match: {{id: paid}}, fields: {{metadata.crm: crm}}")
        paid = wares.shop.ids(stream)[0]
        before = wares.truth(stream, paid)
        assert wares.run({"paid": paid, "crm": "a"}).counted() == {"updated": 1}
        after = wares.truth(stream, paid)
        assert after == {**before, "metadata": {**before["metadata"], "crm": "a"}}
        wares.quiet()
        wares.configure(f"object: {object}, match: {{id: paid}}, fields: {{amount: crm}}")
        with pytest.raises(errors.ConfigError, match=f"amount of a {object} is"):
            wares.run()
