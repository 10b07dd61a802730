"""Idempotency keys: the ledger alone, then over HTTP."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable

import pytest

from tidegate.sandbox import faults, idempotency, refusals

from .conftest import KEY, Stripe

DAY = 24 * 3600
ANSWER = idempotency.Answer(200, b"{}", "req_1")


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def test_the_ledger_replays_what_was_finished() -> None:
    ledger = idempotency.Ledger()

    assert ledger.begin("acct_1", "k", "POST /v1/x", "print", 0) is None
    ledger.finish("acct_1", "k", ANSWER)
    assert ledger.begin("acct_1", "k", "POST /v1/x", "print", 10) == ANSWER


def test_keys_of_two_accounts_do_not_meet() -> None:
    ledger = idempotency.Ledger()
    ledger.begin("acct_1", "k", "POST /v1/x", "print", 0)

    assert ledger.begin("acct_2", "k", "POST /v1/x", "other", 0) is None


def test_a_key_is_forgotten_after_a_day() -> None:
    ledger = idempotency.Ledger()
    ledger.begin("acct_1", "k", "POST /v1/x", "print", 0)
    ledger.finish("acct_1", "k", ANSWER)

    assert ledger.prune(DAY - 1) == 0
    assert ledger.begin("acct_1", "k", "POST /v1/x", "other", DAY) is None
    assert ledger.prune(3 * DAY) == 0  # It is in flight.
    ledger.finish("acct_1", "k", ANSWER)
    assert ledger.prune(3 * DAY) == 1
    assert len(ledger) == 0


def test_a_key_is_at_most_255_characters() -> None:
    with pytest.raises(refusals.Refusal, match="at most 255"):
        idempotency.Ledger().begin("acct_1", "k" * 256, "POST /v1/x", "print", 0)


def test_the_second_post_with_a_key_is_a_replay(stripe: Stripe) -> None:
    first = stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1"))
    second = stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1"))

    assert second.json == first.json
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.headers["Idempotency-Key"] == "k1"
    assert second.headers["Original-Request"] == first.headers["Request-Id"] != second.headers["Request-Id"]
    assert len(stripe.walk("/v1/customers", created={"gt": stripe.made.world.now})) == 1


def test_one_key_for_two_requests_is_refused(stripe: Stripe) -> None:
    stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1"))

    for path, params in (("/v1/customers", {"name": "Bob"}), ("/v1/products", {"name": "Ada"})):
        answer = stripe.post(path, params, headers=keyed("k1"))
        assert (answer.status, answer.error["type"]) == (400, "idempotency_error")


def test_a_stored_500_is_replayed_and_its_effect_stays(start: Callable[..., Stripe]) -> None:
    stripe = start(fault=(faults.Fault("error", times=1, when="after", method="POST"),))

    first = stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1"))
    second = stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1"))

    assert (first.status, second.status) == (500, 500)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.headers["Stripe-Should-Retry"] == "false"
    assert second.error["type"] == "api_error"
    assert [one["name"] for one in stripe.walk("/v1/customers", created={"gt": stripe.made.world.now})] == [
        "Ada"
    ]


def test_a_500_before_the_effect_leaves_nothing(start: Callable[..., Stripe]) -> None:
    stripe = start(fault=(faults.Fault("error", times=1, method="POST"),))

    assert stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1")).status == 500
    assert stripe.walk("/v1/customers", created={"gt": stripe.made.world.now}) == []
    assert stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k2")).status == 200


def test_a_failed_validation_is_not_kept(stripe: Stripe) -> None:
    wrong = stripe.post("/v1/products", {"nme": "x"}, headers=keyed("k1"))
    right = stripe.post("/v1/products", {"name": "x"}, headers=keyed("k1"))

    assert (wrong.status, right.status) == (400, 200)


def test_a_business_refusal_is_kept(stripe: Stripe) -> None:
    stripe.make("/v1/products", name="x", id="one")
    first = stripe.post("/v1/products", {"name": "x", "id": "one"}, headers=keyed("k1"))
    stripe.delete("/v1/products/one")
    second = stripe.post("/v1/products", {"name": "x", "id": "one"}, headers=keyed("k1"))

    assert first.error["code"] == second.error["code"] == "resource_already_exists"


def test_a_429_is_not_kept(start: Callable[..., Stripe]) -> None:
    stripe = start(fault=(faults.Fault("limit", times=1),))

    assert stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1")).status == 429
    assert stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1")).status == 200


def test_a_key_in_flight_answers_409(start: Callable[..., Stripe]) -> None:
    stripe = start(fault=(faults.Fault("slow", times=1, seconds=3600),))
    connection = http.client.HTTPConnection(stripe.url.removeprefix("http://"))
    sent = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/v1/customers", b"name=Ada", sent | keyed("k1"))
    while not len(stripe.made.ledger):
        time.sleep(0.01)

    second = stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1"))
    connection.close()

    assert (second.status, second.error["code"]) == (409, "idempotency_key_in_use")


def test_gets_and_deletes_pay_no_heed_to_keys(stripe: Stripe) -> None:
    made = stripe.make("/v1/customers")["id"]

    for answer in (
        stripe.get("/v1/customers", headers=keyed("k1")),
        stripe.delete(f"/v1/customers/{made}", headers=keyed("k1")),
    ):
        assert answer.status == 200
        assert "Idempotency-Key" not in answer.headers


def test_test_and_live_mode_have_keys_of_their_own(stripe: Stripe) -> None:
    stripe.control("keys", {"key": "sk_live_registered"})
    first = stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1"))
    live = stripe.post("/v1/customers", {"name": "Bea"}, headers=keyed("k1"), key="sk_live_registered")

    assert (first.status, live.status) == (200, 200)
    assert first.json["id"] != live.json["id"]
    assert len(stripe.writes(idempotency_key="k1")) == 2


def test_a_connected_account_has_keys_of_its_own(stripe: Stripe) -> None:
    account = stripe.made.world.accounts[0]
    there = keyed("k1") | {"Stripe-Account": account}
    stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1"))

    assert stripe.post("/v1/customers", {"name": "Bea"}, headers=there).status == 200
    assert [one["account"] for one in stripe.writes()] == [stripe.made.platform.account, account]


def test_the_same_key_acts_again_after_a_day_of_the_sandboxs_clock(stripe: Stripe) -> None:
    first = stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1"))
    stripe.clock.advance(DAY - 1)
    replay = stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1"))
    stripe.clock.advance(1)
    again = stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1"))

    assert replay.body == first.body
    assert "Idempotent-Replayed" not in again.headers
    assert again.json["id"] != first.json["id"]


@pytest.mark.parametrize(
    ("asked", "pruned", "acts"),
    [
        ({}, 0, False),
        ({"older": 0}, 2, True),
        ({"older": 0, "key": "k1"}, 1, True),
        ({"key": "k2"}, 0, False),
    ],
)
def test_keys_are_pruned_on_demand(
    stripe: Stripe, asked: dict[str, float | str], pruned: int, acts: bool
) -> None:
    for key in ("k1", "k2"):
        stripe.post("/v1/customers", {"name": key}, headers=keyed(key))

    assert stripe.control("prune", asked) == {"pruned": pruned}
    again = stripe.post("/v1/customers", {"name": "k1"}, headers=keyed("k1"))
    assert ("Idempotent-Replayed" not in again.headers) is acts


def test_a_500_without_an_effect_is_kept_and_replayed(start: Callable[..., Stripe]) -> None:
    stripe = start(fault=(faults.Fault("error", times=1, method="POST"),))
    answers = [stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1")) for _ in range(3)]

    assert [answer.status for answer in answers] == [500, 500, 500]
    assert len({answer.body for answer in answers}) == 1
    assert [answer.headers.get("Idempotent-Replayed") for answer in answers] == [None, "true", "true"]
    assert stripe.writes() == []


def test_an_effect_whose_connection_broke_is_replayed(start: Callable[..., Stripe]) -> None:
    stripe = start(fault=(faults.Fault("reset", times=1, when="after", method="POST"),))
    with pytest.raises(ConnectionResetError):
        stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1"))
    replay = stripe.post("/v1/customers", {"name": "Ada"}, headers=keyed("k1"))

    assert replay.headers["Idempotent-Replayed"] == "true"
    assert [one["id"] for one in stripe.writes()] == [replay.json["id"]]


def test_what_is_missing_is_kept_for_the_endpoint_began(stripe: Stripe) -> None:
    first = stripe.post("/v1/products/tea", {"name": "Tea"}, headers=keyed("k1"))
    stripe.make("/v1/products", id="tea", name="Tea")
    second = stripe.post("/v1/products/tea", {"name": "Tea"}, headers=keyed("k1"))

    assert (first.status, second.status) == (404, 404)
    assert second.headers["Idempotent-Replayed"] == "true"


def test_neither_401_nor_403_is_kept(stripe: Stripe) -> None:
    stripe.control("keys", {"key": "rk_test_writer", "scopes": []})
    assert stripe.post("/v1/customers", headers=keyed("k1"), key="sk_live_nobody").status == 401
    assert stripe.post("/v1/customers", headers=keyed("k1"), key="rk_test_writer").status == 403
    stripe.control("keys/grant", {"key": "rk_test_writer", "scope": "rak_customer_write"})

    assert stripe.post("/v1/customers", headers=keyed("k1"), key="rk_test_writer").status == 200


def test_the_order_of_parameters_makes_no_other_request(stripe: Stripe) -> None:
    first = stripe.post("/v1/customers", {"name": "Ada", "phone": "1"}, headers=keyed("k1"))
    second = stripe.post("/v1/customers", {"phone": "1", "name": "Ada"}, headers=keyed("k1"))

    assert second.body == first.body


def test_a_client_that_gave_up_is_not_asked_whether_it_still_wants_it(start: Callable[..., Stripe]) -> None:
    stripe = start(fault=(faults.Fault("slow", times=1, seconds=0.2, method="POST"),))
    connection = http.client.HTTPConnection(stripe.url.removeprefix("http://"))
    sent = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/v1/customers", b"name=Ada", sent | keyed("k1"))
    while not len(stripe.made.ledger):
        time.sleep(0.01)
    connection.close()
    while not stripe.writes():
        time.sleep(0.01)

    assert [one["params"] for one in stripe.writes()] == [{"name": "Ada"}]
