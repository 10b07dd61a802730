"""What is believed of a payload: each rule by itself, told by whether the object is asked for by its id."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import double
import ledger
import pytest
from following import follow, gone, ids, one, rows
from pulling import Stripe

from tidegate.pull import scope

PRODUCTS, CUSTOMERS, INVOICES = "/v1/products", "/v1/customers", "/v1/invoices"

Act = Callable[[ledger.Ledger], object]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "w.duckdb"


def told(made: ledger.Ledger, file: Path, *streams: str, act: Act, **options: Any) -> list[str]:
    """Pull, let something happen, pull; what was asked for besides the events."""
    with double.serving(made) as url:
        follow(Stripe(url), file, *streams, **options)
        made.later()
        act(made)
        made.later()
        made.requests.clear()
        follow(Stripe(url), file, *streams, **options)
    return [each.partition("?")[0] for each in made.requests if not each.startswith("/v1/events")]


def product(**more: Any) -> ledger.Ledger:
    """A shop with one product."""
    made = ledger.Ledger(PRODUCTS)
    made.put(PRODUCTS, "prod_1", name="Tea", **more)
    return made


def update(made: ledger.Ledger, **tell: Any) -> None:
    """The product changes, and an event says so."""
    made.tell("product.updated", made.put(PRODUCTS, "prod_1", name="Coffee"), {"name": "Tea"}, **tell)


READ = [f"{PRODUCTS}/prod_1"]


# Version and second


def test_a_payload_at_our_version_that_is_younger_than_the_row_is_believed(file: Path) -> None:
    assert told(product(), file, "products", act=update) == []
    row = one(file, "products", "prod_1")
    assert (row["name"], row["_version"]) == ("Coffee", ledger.NOW + 10)


def test_a_payload_at_another_version_is_not(file: Path) -> None:
    assert told(product(), file, "products", act=lambda made: update(made, version=ledger.OLD)) == READ
    assert one(file, "products", "prod_1")["name"] == "Coffee"


def test_a_payload_without_a_version_is_not(file: Path) -> None:
    def act(made: ledger.Ledger) -> None:
        update(made)
        made.events[0]["api_version"] = None

    assert told(product(), file, "products", act=act) == READ


def test_a_payload_of_the_second_in_which_the_row_was_read_is_not(file: Path) -> None:
    """Which of both is younger cannot be known."""
    made = product()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        version = one(file, "products", "prod_1")["_version"]
        made.later()
        update(made, at=version)
        made.requests.clear()
        follow(Stripe(url), file, "products")
    assert made.asked_for(READ[0])
    assert one(file, "products", "prod_1")["name"] == "Coffee"


def test_a_payload_of_a_second_in_which_a_payload_was_believed_is_not(file: Path) -> None:
    """The second event became visible later."""
    made = product()

    def act(made: ledger.Ledger) -> None:
        update(made)
        last = {**made.put(PRODUCTS, "prod_1", name="Cocoa")}
        made.tell("product.updated", last, {"name": "Coffee"}, late=15)

    assert told(made, file, "products", act=act) == []
    assert one(file, "products", "prod_1")["name"] == "Coffee"
    made.later()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
    assert made.asked_for(READ[0])
    assert one(file, "products", "prod_1")["name"] == "Cocoa"


def test_of_two_payloads_of_one_second_none_is_and_the_row_is_read_once(file: Path) -> None:
    def act(made: ledger.Ledger) -> None:
        update(made)
        update(made)

    assert told(product(), file, "products", act=act) == READ


def test_of_many_payloads_in_seconds_of_their_own_the_last_one_is(file: Path) -> None:
    def act(made: ledger.Ledger) -> None:
        for name in ("Coffee", "Cocoa", "Milk"):
            made.later(1)
            made.tell("product.updated", made.put(PRODUCTS, "prod_1", name=name), {"name": "?"})

    assert told(product(), file, "products", act=act) == []
    assert one(file, "products", "prod_1")["name"] == "Milk"


def test_what_is_older_than_the_row_is_no_news_at_all(file: Path) -> None:
    made = product()
    made.tell(
        "product.updated", {"id": "prod_1", "object": "product", "name": "Water"}, {}, at=ledger.NOW - 60
    )
    assert told(made, file, "products", act=lambda _: None) == []
    assert one(file, "products", "prod_1")["name"] == "Tea"


# New and gone


def test_a_new_row_is_believed(file: Path) -> None:
    def act(made: ledger.Ledger) -> None:
        made.put(PRODUCTS, "prod_2", "product.created", name="Cake")

    assert told(product(), file, "products", act=act) == []
    assert ids(file, "products") == ["prod_1", "prod_2"]


def test_a_deletion_needs_no_reading(file: Path) -> None:
    assert (
        told(product(), file, "products", act=lambda m: m.remove(PRODUCTS, "prod_1", "product.deleted")) == []
    )
    row = one(file, "products", "prod_1")
    assert (row["_deleted_at"] is not None, row["_version"], row["name"]) == (True, ledger.NOW + 10, "Tea")


def test_a_deletion_and_a_creation_in_one_second_are_read(file: Path) -> None:
    """A product may be made again under the id that it was given."""

    def act(made: ledger.Ledger) -> None:
        made.remove(PRODUCTS, "prod_1", "product.deleted")
        made.put(PRODUCTS, "prod_1", "product.created", name="Made again")

    assert told(product(), file, "products", act=act) == READ
    assert one(file, "products", "prod_1")["name"] == "Made again"
    assert gone(file, "products") == []


def test_made_again_a_second_later_it_is_there(file: Path) -> None:
    def act(made: ledger.Ledger) -> None:
        made.remove(PRODUCTS, "prod_1", "product.deleted")
        made.later(1)
        made.put(PRODUCTS, "prod_1", "product.created", name="Made again")

    assert told(product(), file, "products", act=act) == []
    assert one(file, "products", "prod_1")["name"] == "Made again"
    assert gone(file, "products") == []


# Nested lists


def invoice(count: int, *, more: bool = False) -> dict[str, Any]:
    """The lines of an invoice as it shows them."""
    lines = [{"id": f"il_{n}", "object": "line_item", "amount": n} for n in range(count)]
    return {"object": "list", "data": lines, "has_more": more, "url": f"{INVOICES}/in_1/lines"}


def billed(count: int) -> ledger.Ledger:
    """A ledger with one invoice."""
    made = ledger.Ledger(INVOICES, f"{INVOICES}/in_1/lines")
    made.put(INVOICES, "in_1", lines=invoice(count), number="A-1")
    return made


LINES = ("invoices", "invoice_line_items")


def lines(file: Path) -> list[str]:
    return [row["id"] for row in rows(file, "invoice_line_items", "_deleted_at is null")]


def test_a_payload_that_holds_a_whole_list_brings_it_and_takes_what_it_lacks(file: Path) -> None:
    def act(made: ledger.Ledger) -> None:
        made.put(INVOICES, "in_1", "invoice.updated", lines=invoice(2))

    assert told(billed(3), file, *LINES, act=act) == []
    assert lines(file) == ["il_0", "il_1"]
    assert gone(file, "invoice_line_items") == ["il_2"]


def test_a_payload_whose_list_is_cut_is_not_believed(file: Path) -> None:
    made = billed(3)

    def act(made: ledger.Ledger) -> None:
        cut = {**made.objects[INVOICES]["in_1"], "lines": invoice(2, more=True), "number": "A-2"}
        made.put(INVOICES, "in_1", number="A-2")
        made.tell("invoice.updated", cut, {"number": "A-1"})

    assert told(made, file, *LINES, act=act) == [f"{INVOICES}/in_1"]
    assert lines(file) == ["il_0", "il_1", "il_2"]


def test_a_payload_whose_list_is_absent_is_not_believed(file: Path) -> None:
    made = billed(3)

    def act(made: ledger.Ledger) -> None:
        bare = {**made.put(INVOICES, "in_1", number="A-2")}
        del bare["lines"]
        made.tell("invoice.updated", bare, {"number": "A-1"})

    assert told(made, file, *LINES, act=act) == [f"{INVOICES}/in_1"]
    assert lines(file) == ["il_0", "il_1", "il_2"]


def test_a_cut_list_that_nobody_follows_does_not_matter(file: Path) -> None:
    def act(made: ledger.Ledger) -> None:
        made.put(INVOICES, "in_1", "invoice.updated", lines=invoice(2, more=True), number="A-2")

    assert told(billed(3), file, "invoices", act=act) == []
    assert one(file, "invoices", "in_1")["number"] == "A-2"


# What only comes when asked for


def customer() -> ledger.Ledger:
    """A customer with tax, which a payload never has."""
    made = ledger.Ledger(CUSTOMERS)
    made.put(CUSTOMERS, "cus_1", name="Ada", address=None, tax={"location": None})
    return made


def change(values: dict[str, Any], *, says: bool = True) -> Act:
    """The customer changes; the event may not say what did."""

    def act(made: ledger.Ledger) -> None:
        before = {name: made.objects[CUSTOMERS]["cus_1"].get(name) for name in values}
        after = {**made.put(CUSTOMERS, "cus_1", **values)}
        del after["tax"]
        made.tell("customer.updated", after, before if says else None)

    return act


ASKED = [f"{CUSTOMERS}/cus_1"]


def test_a_change_that_cannot_touch_what_a_payload_lacks_is_believed_and_the_column_stays(file: Path) -> None:
    assert told(customer(), file, "customers", act=change({"name": "Grace"})) == []
    row = one(file, "customers", "cus_1")
    assert (row["name"], row["tax"]) == ("Grace", '{"location":null}')


def test_a_change_that_may_touch_it_is_read(file: Path) -> None:
    moved = change({"address": {"country": "FR"}, "tax": {"location": {"country": "FR"}}})
    assert told(customer(), file, "customers", act=moved) == ASKED
    assert one(file, "customers", "cus_1")["tax"] == '{"location":{"country":"FR"}}'


def test_a_change_of_which_the_event_says_nothing_is_read(file: Path) -> None:
    assert told(customer(), file, "customers", act=change({"name": "Grace"}, says=False)) == ASKED


def test_a_column_that_nobody_wants_need_not_be_asked_for(file: Path) -> None:
    choices = {"customers": scope.Choice(columns=frozenset({"name", "address"}))}
    moved = change({"address": {"country": "FR"}})
    assert told(customer(), file, "customers", act=moved, choices=choices) == []
    assert one(file, "customers", "cus_1")["address"] == '{"country":"FR"}'


def test_a_new_row_that_lacks_it_is_read(file: Path) -> None:
    def act(made: ledger.Ledger) -> None:
        new = made.put(CUSTOMERS, "cus_2", name="Alan", tax={"location": None})
        made.tell("customer.created", {name: value for name, value in new.items() if name != "tax"})

    assert told(customer(), file, "customers", act=act) == [f"{CUSTOMERS}/cus_2"]
    assert one(file, "customers", "cus_2")["tax"] == '{"location":null}'


# Relatives


def test_a_touched_relative_is_read(file: Path) -> None:
    made = ledger.Ledger("/v1/charges", "/v1/refunds")
    made.put("/v1/charges", "ch_1", amount_refunded=0)

    def act(made: ledger.Ledger) -> None:
        made.put("/v1/charges", "ch_1", amount_refunded=100)
        made.put("/v1/refunds", "re_1", "refund.created", charge="ch_1", amount=100)

    assert told(made, file, "charges", "refunds", act=act) == ["/v1/charges/ch_1"]
    assert one(file, "charges", "ch_1")["amount_refunded"] == 100
    assert ids(file, "refunds") == ["re_1"]


def test_a_relative_that_is_told_itself_a_second_later_is_not_read(file: Path) -> None:
    made = ledger.Ledger("/v1/charges", "/v1/refunds")
    made.put("/v1/charges", "ch_1", amount_refunded=0)

    def act(made: ledger.Ledger) -> None:
        made.put("/v1/refunds", "re_1", "refund.created", charge="ch_1", amount=100)
        made.later(1)
        made.put("/v1/charges", "ch_1", "charge.refunded", amount_refunded=100)

    assert told(made, file, "charges", "refunds", act=act) == []
    assert one(file, "charges", "ch_1")["amount_refunded"] == 100


def test_a_relative_whose_stream_is_not_pulled_is_not_asked_for(file: Path) -> None:
    made = ledger.Ledger("/v1/refunds")

    def act(made: ledger.Ledger) -> None:
        made.put("/v1/refunds", "re_1", "refund.created", charge="ch_1", amount=100)

    assert told(made, file, "refunds", act=act) == []


def test_children_of_a_parent_that_is_gone_are_not_brought_back_by_late_events(file: Path) -> None:
    made = ledger.Ledger(CUSTOMERS, f"{CUSTOMERS}/cus_1/tax_ids")
    empty = {"object": "list", "data": [], "has_more": False, "url": "/"}
    tax = {"id": "txi_1", "object": "tax_id", "customer": "cus_1", "created": 1}
    made.put(CUSTOMERS, "cus_1", name="Ada", tax_ids={**empty, "data": [tax]})

    def act(made: ledger.Ledger) -> None:
        made.remove(CUSTOMERS, "cus_1", "customer.deleted")
        made.later(1)
        made.tell("customer.tax_id.updated", tax, {"verification": None})

    told(made, file, "customers", "customer_tax_ids", act=act)
    assert gone(file, "customers") == ["cus_1"]
    assert gone(file, "customer_tax_ids") == ["txi_1"]
