"""The control API: what tests and benchmarks move and read, beside Stripe's own."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import NOW, Stripe


def test_stats_count_by_endpoint_and_status(stripe: Stripe) -> None:
    stripe.get("/v1/customers")
    stripe.get("/v1/customers/cus_nothing")
    stripe.get("/v1/nothing")
    stats = stripe.stats()

    assert stats["requests"] == 3
    assert stats["endpoints"] == {
        "GET /v1/customers": 1,
        "GET /v1/customers/{customer}": 1,
        "GET (no route)": 1,
    }
    assert stats["statuses"] == {"200": 1, "404": 2}
    assert stats["max_concurrency"] == 1
    stripe.control("stats/reset")
    assert stripe.stats()["requests"] == 0


def test_the_clock_moves_and_dates_follow(stripe: Stripe) -> None:
    assert stripe.get("/v1/customers").headers["Date"] == "Mon, 21 Sep 2026 14:14:20 GMT"
    assert stripe.control("clock", {"advance": 3600})["now"] == NOW + 3660
    assert stripe.make("/v1/customers")["created"] == NOW + 3660
    assert stripe.control("clock", {"at": NOW + 10})["now"] == NOW + 10
    assert stripe.control("clock", {"start": True})["stopped"] is False
    assert stripe.control("clock", {"stop": True})["stopped"] is True


def test_the_truth_is_every_object_with_its_parent(stripe: Stripe) -> None:
    made = stripe.make("/v1/customers")["id"]
    tax = stripe.make(f"/v1/customers/{made}/tax_ids", type="eu_vat", value="DE123456789")["id"]
    gone = stripe.get("/v1/customers").ids[1]
    stripe.delete(f"/v1/customers/{gone}")

    customers = [line["object"]["id"] for line in stripe.truth("customers")]
    assert customers == [one["id"] for one in stripe.walk("/v1/customers")]
    assert gone not in customers
    lines = [(line["parent"], line["object"]["id"]) for line in stripe.truth("customer_tax_ids")]
    assert (made, tax) in lines
    assert gone not in {parent for parent, _ in lines}


def test_the_truth_of_a_connected_account(stripe: Stripe) -> None:
    connected = stripe.get("/v1/accounts").ids[0]
    listed = stripe.get("/v1/charges", {"limit": 100}, headers={"Stripe-Account": connected}).ids

    assert [line["object"]["id"] for line in stripe.truth("charges", connected)] == listed
    assert listed


def test_a_mutation_can_be_announced_late_or_not_at_all(stripe: Stripe) -> None:
    id = stripe.get("/v1/customers").ids[0]
    stripe.control("mutate", {"stream": "customers", "id": id, "values": {"name": "Eve"}})
    assert stripe.get(f"/v1/customers/{id}").json["name"] == "Eve"
    assert stripe.events() == []

    given = {
        "stream": "customers",
        "id": id,
        "values": {"name": "Bob"},
        "event": "customer.updated",
        "delay": 30,
    }
    stripe.control("mutate", given)

    assert stripe.events() == []
    stripe.clock.advance(30)
    assert [event["data"]["previous_attributes"] for event in stripe.events()] == [{"name": "Eve"}]


def test_a_mutation_can_delete_and_create(stripe: Stripe) -> None:
    id = stripe.get("/v1/promotion_codes").ids[0]
    stripe.control("mutate", {"stream": "promotion_codes", "id": id, "delete": True})
    values = {"created": NOW - 500, "livemode": False}
    stripe.control("mutate", {"stream": "reviews", "id": "prv_made", "values": values})

    assert stripe.get(f"/v1/promotion_codes/{id}").status == 404
    assert "prv_made" in [one["id"] for one in stripe.walk("/v1/reviews")]
    assert stripe.events() == []


def test_limits_and_latency_can_be_changed_while_running(stripe: Stripe) -> None:
    stripe.control("limits", {"limits": "live"})
    assert stripe.made.gate.limits.per_endpoint == 25
    stripe.control("limits", {"per_account": 3.0, "retry_after": True})
    assert (stripe.made.gate.limits.per_account, stripe.made.gate.limits.retry_after) == (3.0, True)
    stripe.control("latency", {"ms": 5, "jitter_ms": 2})
    assert (stripe.made.latency.ms, stripe.made.latency.jitter_ms) == (5.0, 2.0)
    assert stripe.get("/v1/customers").status == 200


def test_old_idempotency_keys_are_pruned(stripe: Stripe) -> None:
    stripe.post("/v1/customers", headers={"Idempotency-Key": "k"})
    assert stripe.stats()["idempotency_keys"] == 1
    stripe.clock.advance(24 * 3600)

    assert stripe.control("prune") == {"pruned": 1}
    assert stripe.stats()["idempotency_keys"] == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("nothing", {}),
        ("limits", {"limits": "fast"}),
        ("limits", {"unknown": 1}),
        ("faults", {"faults": [{"kind": "earthquake"}]}),
        ("keys/revoke", {}),
        ("latency", {"seconds": 1}),
        ("keys/drop", {"key": "rk_test_unknown", "scope": "x"}),
        ("mutate", {"stream": "customers", "id": "cus_nothing", "delete": True}),
    ],
)
def test_a_mistaken_request_is_told_so(stripe: Stripe, path: str, body: dict[str, Any]) -> None:
    connection = http.client.HTTPConnection(stripe.url.removeprefix("http://"))
    connection.request("POST", f"/_sandbox/{path}", json.dumps(body))
    answer = connection.getresponse()
    told = json.loads(answer.read())
    connection.close()

    assert answer.status in (400, 404)
    assert told["error"]["message"]


def test_health_tells_the_account(start: Callable[..., Stripe]) -> None:
    stripe = start()

    assert stripe.get("/_sandbox/health").json == {
        "account": stripe.made.world.account,
        "now": NOW + 60,
        "version": stripe.made.facts.api_version,
    }
