"""Events: what every change writes, when it can be seen, and what stays silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tidegate.sandbox import events, world

from .conftest import NOW, Stripe

DAY = 86_400


def types(found: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in found]


def test_a_new_object_is_announced_whole(stripe: Stripe) -> None:
    made = stripe.post("/v1/customers", {"name": "Ada"}, headers={"Idempotency-Key": "k1"})
    (event,) = stripe.events()

    assert event["type"] == "customer.created"
    assert event["data"] == {"object": made.json}
    assert event["created"] == NOW + 60
    assert event["api_version"] == stripe.made.facts.api_version
    assert event["request"] == {"id": made.headers["Request-Id"], "idempotency_key": "k1"}
    assert stripe.get(f"/v1/events/{event['id']}").json == event


def test_an_update_says_what_was_before(stripe: Stripe) -> None:
    made = stripe.make("/v1/customers", name="Ada", metadata={"a": "1", "b": "2"})["id"]
    stripe.make(f"/v1/customers/{made}", name="Eve", metadata={"a": "", "c": "3"})
    event = stripe.events()[-1]

    assert event["type"] == "customer.updated"
    assert event["data"]["object"]["name"] == "Eve"
    assert event["data"]["previous_attributes"] == {"name": "Ada", "metadata": {"a": "1", "c": None}}


def test_an_update_that_changes_nothing_says_nothing(stripe: Stripe) -> None:
    made = stripe.make("/v1/customers", name="Ada")["id"]
    stripe.make(f"/v1/customers/{made}", name="Ada")

    assert types(stripe.events()) == ["customer.created"]


def test_a_deletion_shows_the_object_as_it_was(stripe: Stripe) -> None:
    made = stripe.make("/v1/products", name="Tea")
    stripe.delete(f"/v1/products/{made['id']}")
    event = stripe.events()[-1]

    assert event["type"] == "product.deleted"
    assert event["data"]["object"] == made


def test_events_of_one_second_share_their_created(stripe: Stripe) -> None:
    price = stripe.make(
        "/v1/prices",
        currency="usd",
        unit_amount=900,
        recurring={"interval": "month"},
        product_data={"name": "Tea"},
    )
    customer = stripe.make("/v1/customers")
    stripe.clock.advance(10)
    stripe.make("/v1/subscriptions", customer=customer["id"], items=[{"price": price["id"]}])
    burst = [event for event in stripe.events() if event["created"] == NOW + 70]

    assert {
        "customer.subscription.created",
        "invoice.created",
        "invoice.finalized",
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice_payment.paid",
        "invoice.paid",
    } <= set(types(burst))


@pytest.mark.parametrize(
    ("stream", "values"),
    [
        ("balance_transactions", {"status": "available"}),
        ("payment_intents", {"metadata": {"a": "1"}}),
        ("checkout_sessions", {"metadata": {"a": "1"}}),
    ],
)
def test_silent_changes_are_seen_by_reading_only(stripe: Stripe, stream: str, values: dict[str, Any]) -> None:
    id = stripe.truth(stream)[0]["object"]["id"]

    stripe.control("mutate", {"stream": stream, "id": id, "values": values})

    assert stripe.events() == []
    changed = next(line["object"] for line in stripe.truth(stream) if line["object"]["id"] == id)
    assert {name: changed[name] for name in values} == values


def test_what_has_no_event_type_is_silent_when_written(stripe: Stripe) -> None:
    intent = stripe.make("/v1/payment_intents", amount=500, currency="usd")["id"]
    stripe.make(f"/v1/payment_intents/{intent}", metadata={"a": "1"})
    stripe.make("/v1/shipping_rates", display_name="Post")

    assert types(stripe.events()) == ["payment_intent.created"]


def test_an_event_can_be_late(stripe: Stripe) -> None:
    stripe.control("delays", {"events": 30})
    stripe.make("/v1/customers")
    stripe.control("delays", {"events": 0})
    stripe.clock.advance(5)
    stripe.make("/v1/products", name="Tea")

    assert types(stripe.events()) == ["product.created"]
    stripe.clock.advance(25)
    seen = stripe.events()
    assert types(seen) == ["customer.created", "product.created"]
    assert seen[0]["created"] < seen[1]["created"]


def test_a_late_event_is_not_had_by_id_either(start: Callable[..., Stripe]) -> None:
    stripe = start(event_delay=30)
    stripe.make("/v1/customers")
    id = stripe.truth("events")[0]["object"]["id"]

    assert stripe.get(f"/v1/events/{id}").status == 404
    stripe.clock.advance(31)
    assert stripe.get(f"/v1/events/{id}").status == 200


def test_every_event_can_be_late_by_a_time_of_its_own(start: Callable[..., Stripe]) -> None:
    stripe = start()
    stripe.control("delays", {"events": 60, "spread": True})
    for n in range(40):
        stripe.make("/v1/products", name=str(n))
    seen = []
    for _ in range(4):
        seen.append([event["data"]["object"]["name"] for event in stripe.events()])
        stripe.clock.advance(20)

    assert seen[0] == []
    assert 0 < len(seen[1]) < len(seen[2]) < len(seen[3]) == 40
    assert seen[1] != [str(n) for n in range(len(seen[1]))]


def test_the_order_within_one_second_says_nothing(start: Callable[..., Stripe]) -> None:
    def listed() -> list[list[str]]:
        stripe = start(shuffle=True)
        for second in range(3):
            for n in range(12):
                stripe.make("/v1/products", name=f"{second}/{n}")
            stripe.clock.advance(1)
        found = [event["data"]["object"]["name"] for event in stripe.events(limit=5)]
        return [found[:12], found[12:24], found[24:]]

    seconds = listed()
    for second, names in enumerate(seconds):
        assert sorted(names) == sorted(f"{second}/{n}" for n in range(12))
        assert names != [f"{second}/{n}" for n in range(12)]
    assert listed() == seconds


def test_pages_run_both_ways_and_spans_are_half_open(start: Callable[..., Stripe]) -> None:
    stripe = start(shuffle=True)
    for _ in range(9):
        stripe.make("/v1/products", name="Tea")
        stripe.clock.advance(0.5)
    ids = [event["id"] for event in stripe.walk("/v1/events", created={"gt": NOW})]
    back = stripe.get("/v1/events", {"ending_before": ids[5], "limit": 3})

    assert (back.ids, back.json["has_more"]) == (ids[2:5], True)
    inside = stripe.get("/v1/events", {"created": {"gte": NOW + 61, "lt": NOW + 63}})
    assert {event["created"] for event in inside.json["data"]} == {NOW + 61, NOW + 62}
    assert inside.ids == [id for id in ids if id in set(inside.ids)]


def test_generated_events_were_made_at_the_default_version_of_their_time(
    start: Callable[..., Stripe],
) -> None:
    stripe = start(api_version="2024-06-20")
    stripe.control("version", {"version": "2025-09-30.clover"})
    stripe.make("/v1/customers")
    found = stripe.walk("/v1/events")
    invoice = next(event for event in found if event["type"] == "invoice.created")

    assert found[0]["api_version"] == "2025-09-30.clover"
    assert {event["api_version"] for event in found[1:]} == {"2024-06-20"}
    assert "subscription" in invoice["data"]["object"]
    assert "parent" not in invoice["data"]["object"]
    assert stripe.get(f"/v1/events/{invoice['id']}").json == invoice
    assert [line["object"] for line in stripe.truth("events")] == found


def test_a_payload_lacks_what_is_absent_unless_expanded(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers", source="tok_visa")["id"]
    stripe.make(f"/v1/customers/{customer}", name="Ada", expand=["sources", "tax_ids"])
    payload = stripe.events()[-1]["data"]["object"]

    assert payload["name"] == "Ada"
    assert not {"sources", "subscriptions", "tax_ids", "tax", "cash_balance"} & payload.keys()


def test_events_are_kept_thirty_days(stripe: Stripe) -> None:
    stripe.make("/v1/customers")
    id = stripe.events()[0]["id"]
    stripe.clock.advance(30 * DAY)
    assert stripe.get(f"/v1/events/{id}").status == 200
    stripe.clock.advance(1)

    assert stripe.get(f"/v1/events/{id}").status == 404
    assert stripe.get("/v1/events").ids == []
    assert stripe.get("/v1/events", {"starting_after": id}).error["code"] == "resource_missing"


def test_the_generated_business_has_its_own_events(stripe: Stripe) -> None:
    found = stripe.walk("/v1/events")

    assert found
    assert all(NOW + 60 - 30 * DAY <= event["created"] <= NOW for event in found)


def test_types_filter(stripe: Stripe) -> None:
    made = stripe.make("/v1/customers")["id"]
    stripe.make(f"/v1/customers/{made}", name="Ada")
    stripe.make("/v1/products", name="Tea")

    assert types(stripe.events(types=["customer.updated", "product.created"])) == [
        "customer.updated",
        "product.created",
    ]
    assert types(stripe.events(type="customer.*")) == ["customer.created", "customer.updated"]
    assert types(stripe.events(type="product.created")) == ["product.created"]
    assert stripe.get("/v1/events", {"types": ["customer.updated"] * 21}).status == 400


def test_connected_accounts_have_events_of_their_own(stripe: Stripe) -> None:
    connected = stripe.get("/v1/accounts").ids[0]
    stripe.post("/v1/customers", headers={"Stripe-Account": connected})
    theirs = stripe.get("/v1/events", {"created": {"gt": NOW}}, headers={"Stripe-Account": connected})

    assert stripe.events() == []
    assert types(theirs.json["data"]) == ["customer.created"]


def test_nested_lists_of_a_payload_are_cut_and_nothing_is_expanded(start: Callable[..., Stripe]) -> None:
    stripe = start(world.build(objects=3_000, now=NOW))
    invoice = next(one for one in stripe.walk("/v1/invoices") if one["lines"]["has_more"])
    stripe.make(f"/v1/invoices/{invoice['id']}", metadata={"a": "1"}, expand=["customer"])
    payload = stripe.events()[-1]["data"]["object"]

    assert len(payload["lines"]["data"]) == 10
    assert payload["lines"]["has_more"] is True
    assert isinstance(payload["customer"], str)


def test_changes_compare_deeply() -> None:
    before = {"a": 1, "hash": {"x": 1, "y": 2}, "list": [1], "same": {"z": 0}}
    after = {"a": 1, "hash": {"x": 1, "y": 3}, "list": [1, 2], "same": {"z": 0}, "new": True}

    assert events.changes(before, after) == {"hash": {"y": 2}, "list": [1], "new": None}
