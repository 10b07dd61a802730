"""Invoices: items, drafts and their lines, finalized, paid, void."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.sandbox import world

from .conftest import NOW, Stripe


def types(stripe: Stripe) -> list[str]:
    return [event["type"] for event in stripe.events()]


def customer(stripe: Stripe) -> str:
    return str(stripe.make("/v1/customers", name="Ada", email="ada@example.com")["id"])


def draft(stripe: Stripe, *amounts: int) -> dict[str, Any]:
    """A draft invoice with a line for every amount."""
    owner = customer(stripe)
    invoice = stripe.make("/v1/invoices", customer=owner)
    for amount in amounts:
        stripe.make("/v1/invoiceitems", customer=owner, amount=amount, currency="usd", invoice=invoice["id"])
    return stripe.get(f"/v1/invoices/{invoice['id']}").json  # type: ignore[no-any-return]  # JSON


def test_a_draft_sums_up_its_lines(stripe: Stripe) -> None:
    invoice = draft(stripe, 500, 300)

    assert (invoice["status"], invoice["total"], invoice["amount_due"]) == ("draft", 800, 800)
    assert sorted(line["amount"] for line in invoice["lines"]["data"]) == [300, 500]
    assert invoice["customer_email"] == "ada@example.com"
    assert types(stripe)[-2:] == ["invoiceitem.created", "invoice.updated"]


def test_pending_items_wait_for_an_invoice(stripe: Stripe) -> None:
    owner = customer(stripe)
    item = stripe.make("/v1/invoiceitems", customer=owner, amount=500, currency="usd")
    assert item["invoice"] is None

    without = stripe.make("/v1/invoices", customer=owner)
    taken = stripe.make("/v1/invoices", customer=owner, pending_invoice_items_behavior="include")

    assert (without["total"], taken["total"]) == (0, 500)
    assert stripe.get(f"/v1/invoiceitems/{item['id']}").json["invoice"] == taken["id"]


def test_two_hundred_and_fifty_lines_then_one_removed(stripe: Stripe) -> None:
    invoice = draft(stripe)
    for part in range(5):
        lines = [{"amount": 100 + part * 50 + i, "description": f"line {part * 50 + i}"} for i in range(50)]
        stripe.make(f"/v1/invoices/{invoice['id']}/add_lines", lines=lines)
    path = f"/v1/invoices/{invoice['id']}/lines"
    everything = stripe.walk(path)
    assert len({one["id"] for one in everything}) == 250
    assert stripe.get(f"/v1/invoices/{invoice['id']}").json["total"] == sum(range(100, 350))

    gone = everything[120]
    stripe.make(
        f"/v1/invoices/{invoice['id']}/remove_lines", lines=[{"id": gone["id"], "behavior": "delete"}]
    )

    left = stripe.walk(path)
    assert [one["id"] for one in left] == [one["id"] for one in everything if one["id"] != gone["id"]]
    after = stripe.get(f"/v1/invoices/{invoice['id']}").json
    assert after["total"] == sum(range(100, 350)) - gone["amount"]
    assert after["lines"]["data"] == left[:10]


def test_an_item_changes_and_goes_with_its_line(stripe: Stripe) -> None:
    invoice = draft(stripe, 500)
    item = stripe.get("/v1/invoiceitems", {"invoice": invoice["id"]}).ids[0]
    stripe.make(f"/v1/invoiceitems/{item}", amount=700)
    assert stripe.get(f"/v1/invoices/{invoice['id']}").json["total"] == 700
    # Stripe has no invoiceitem.updated.
    assert types(stripe)[-1] == "invoice.updated"

    stripe.delete(f"/v1/invoiceitems/{item}")

    after = stripe.get(f"/v1/invoices/{invoice['id']}").json
    assert (after["total"], after["lines"]["data"]) == (0, [])
    assert types(stripe)[-2:] == ["invoice.updated", "invoiceitem.deleted"]


def test_from_draft_to_paid(stripe: Stripe) -> None:
    invoice = draft(stripe, 500)
    opened = stripe.make(f"/v1/invoices/{invoice['id']}/finalize")
    paid = stripe.make(f"/v1/invoices/{invoice['id']}/pay", expand=["payments"])

    assert (opened["status"], opened["amount_remaining"]) == ("open", 500)
    assert opened["number"].endswith("-0001")
    assert opened["status_transitions"]["finalized_at"] == NOW + 60
    assert (paid["status"], paid["amount_paid"], paid["amount_remaining"]) == ("paid", 500, 0)
    payment = paid["payments"]["data"][0]
    assert (payment["status"], payment["amount_paid"], payment["invoice"]) == ("paid", 500, invoice["id"])
    intent = stripe.get(f"/v1/payment_intents/{payment['payment']['payment_intent']}").json
    assert stripe.get(f"/v1/charges/{intent['latest_charge']}").json["amount"] == 500
    assert stripe.post(f"/v1/invoices/{invoice['id']}/pay").error["code"] == "invoice_already_paid"
    assert types(stripe)[-3:] == ["invoice.updated", "invoice.paid", "invoice.payment_succeeded"]


def test_an_invoice_over_nothing_is_paid_when_finalized(stripe: Stripe) -> None:
    assert stripe.make(f"/v1/invoices/{draft(stripe)['id']}/finalize")["status"] == "paid"


def test_an_invoice_that_is_declined_stays_open(stripe: Stripe) -> None:
    invoice = draft(stripe, 500)["id"]
    answer = stripe.post(f"/v1/invoices/{invoice}/pay", {"payment_method": "pm_card_chargeDeclined"})

    assert answer.status == 402
    after = stripe.get(f"/v1/invoices/{invoice}").json
    assert (after["status"], after["attempt_count"]) == ("open", 1)
    assert types(stripe)[-1] == "invoice.payment_failed"


@pytest.mark.parametrize(
    ("verb", "status", "event"),
    [
        ("void", "void", "invoice.voided"),
        ("mark_uncollectible", "uncollectible", "invoice.marked_uncollectible"),
    ],
)
def test_an_open_invoice_can_be_given_up(stripe: Stripe, verb: str, status: str, event: str) -> None:
    invoice = draft(stripe, 500)["id"]
    assert stripe.post(f"/v1/invoices/{invoice}/{verb}").status == 400
    stripe.make(f"/v1/invoices/{invoice}/finalize")

    assert stripe.make(f"/v1/invoices/{invoice}/{verb}")["status"] == status
    assert types(stripe)[-1] == event


def test_only_a_draft_is_edited_or_deleted(stripe: Stripe) -> None:
    invoice = draft(stripe, 500)
    item = stripe.get("/v1/invoiceitems", {"invoice": invoice["id"]}).ids[0]
    stripe.make(f"/v1/invoices/{invoice['id']}/finalize")
    given = {"customer": invoice["customer"], "amount": 1, "currency": "usd", "invoice": invoice["id"]}

    assert stripe.post("/v1/invoiceitems", given).error["code"] == "invoice_not_editable"
    assert stripe.post(f"/v1/invoiceitems/{item}", {"amount": 1}).error["code"] == "invoice_not_editable"
    assert stripe.delete(f"/v1/invoices/{invoice['id']}").status == 400


def test_a_deleted_draft_frees_its_items(stripe: Stripe) -> None:
    invoice = draft(stripe, 500)["id"]
    item = stripe.get("/v1/invoiceitems", {"invoice": invoice}).ids[0]
    stripe.delete(f"/v1/invoices/{invoice}")

    assert stripe.get(f"/v1/invoices/{invoice}").status == 404
    assert stripe.get(f"/v1/invoiceitems/{item}").json["invoice"] is None
    assert types(stripe)[-1] == "invoice.deleted"


def test_a_base_invoice_shows_its_change_and_all_its_lines(stripe: Stripe) -> None:
    base = max(stripe.walk("/v1/invoices"), key=lambda one: one["lines"]["has_more"])
    after = stripe.make(f"/v1/invoices/{base['id']}", metadata={"a": "1"})

    assert after == {**base, "metadata": {**base["metadata"], "a": "1"}}


def test_invoices_of_a_subscription(stripe: Stripe) -> None:
    price = stripe.make(
        "/v1/prices",
        currency="usd",
        unit_amount=5,
        recurring={"interval": "month"},
        product_data={"name": "x"},
    )["id"]
    owner = customer(stripe)
    stripe.make("/v1/invoiceitems", customer=owner, amount=70, currency="usd")
    made = stripe.make("/v1/subscriptions", customer=owner, items=[{"price": price}])
    found = stripe.get("/v1/invoices", {"subscription": made["id"]}).json["data"]

    assert [one["total"] for one in found] == [75]
    assert stripe.make("/v1/invoices", subscription=made["id"])["customer"] == owner


def test_worlds_without_a_business_can_invoice_too() -> None:
    stripe = Stripe(world.build(counts={}, accounts=0, now=NOW))
    try:
        assert stripe.make(f"/v1/invoices/{draft(stripe, 500)['id']}/pay")["status"] == "paid"
    finally:
        stripe.close()
