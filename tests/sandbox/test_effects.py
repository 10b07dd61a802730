"""The list of effects: what a test asks to know that nothing happened twice."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Callable

import pytest

from tidegate.sandbox import faults

from .conftest import NOW, Stripe


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def test_every_write_is_listed_with_its_object_key_and_metadata(stripe: Stripe) -> None:
    made = stripe.post("/v1/customers", {"name": "Ada", "metadata": {"op": "1"}}, headers=keyed("k1"))
    id = made.json["id"]
    stripe.make(f"/v1/customers/{id}", name="Ada")
    stripe.make(f"/v1/customers/{id}", name="Bea")
    stripe.delete(f"/v1/customers/{id}")

    first, same, other, gone = stripe.writes(id=id)
    assert first == {
        "at": NOW + 60,
        "account": stripe.made.platform.account,
        "live": False,
        "op": "create",
        "method": "POST",
        "path": "/v1/customers",
        "stream": "customers",
        "object": "customer",
        "id": id,
        "changed": True,
        "metadata": {"op": "1"},
        "params": {"name": "Ada", "metadata": {"op": "1"}},
        "idempotency_key": "k1",
        "request_id": made.headers["Request-Id"],
    }
    assert [one["op"] for one in (same, other, gone)] == ["update", "update", "delete"]
    assert [one["changed"] for one in (same, other, gone)] == [False, True, True]


def test_refusals_reads_and_replays_have_no_effect(stripe: Stripe) -> None:
    stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1"))
    stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1"))
    stripe.post("/v1/customers", {"nmae": "Ada"})
    stripe.post("/v1/customers/cus_nobody", {"name": "Ada"})
    stripe.get("/v1/customers")

    assert [one["idempotency_key"] for one in stripe.writes()] == ["k1"]


@pytest.mark.parametrize("kind", ["error", "reset", "truncate", "unavailable"])
def test_an_effect_whose_answer_was_lost_is_listed(start: Callable[..., Stripe], kind: faults.Kind) -> None:
    stripe = start(fault=(faults.Fault(kind, times=1, when="after", method="POST"),))
    with contextlib.suppress(ConnectionError, http.client.IncompleteRead):
        assert stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1")).status >= 500

    assert [one["op"] for one in stripe.writes(idempotency_key="k1")] == ["create"]


def test_an_action_is_an_effect_on_its_object(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers")["id"]
    invoice = stripe.make("/v1/invoices", customer=customer)["id"]
    stripe.make(f"/v1/invoices/{invoice}/finalize")

    assert [(one["op"], one["id"]) for one in stripe.writes(stream="invoices")] == [
        ("create", invoice),
        ("action", invoice),
    ]


def test_doubles_are_keys_with_two_effects_and_values_with_two_objects(stripe: Stripe) -> None:
    account = stripe.made.platform.account
    first = stripe.post("/v1/customers", {"metadata": {"ext": "7"}}, headers=keyed("k1")).json["id"]
    second = stripe.post("/v1/customers", {"metadata": {"ext": "7"}}, headers=keyed("k2")).json["id"]
    stripe.make(f"/v1/customers/{first}", metadata={"ext": "7"})
    assert stripe.get("/_sandbox/writes/doubles", {"metadata": "ext"}).json == {
        "keys": {},
        "metadata": {"7": [first, second]},
    }

    stripe.clock.advance(25 * 3600)
    third = stripe.post("/v1/customers", {"metadata": {"ext": "8"}}, headers=keyed("k1")).json["id"]
    assert stripe.get("/_sandbox/writes/doubles").json == {
        "keys": {f"{account} k1": [first, third]},
        "metadata": {},
    }
    stripe.control("writes/reset")
    assert stripe.writes() == []
