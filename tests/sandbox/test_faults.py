"""Faults: drawn by chance or by script, and what a client sees of each."""

from __future__ import annotations

import email.utils
import http.client
import time
from collections.abc import Callable

import pytest

from tidegate.sandbox import faults

from .conftest import KEY, NOW, Stripe


def names(stripe: Stripe) -> list[str]:
    """The customers that were created during the test."""
    return [one["name"] for one in stripe.walk("/v1/customers", created={"gt": stripe.made.world.now})]


def draw(
    script: faults.Script, path: str = "/v1/charges", method: str = "GET", account: str = "acct_1"
) -> list[str]:
    return [fault.kind for fault in script.draw(method, path, f"{method} {path}", account)]


def test_a_fault_befalls_so_many_requests_after_so_many() -> None:
    script = faults.Script([faults.Fault("error", times=2, skip=1)])

    assert [draw(script) for _ in range(5)] == [[], ["error"], ["error"], [], []]


def test_a_fault_chooses_by_method_path_endpoint_and_account() -> None:
    script = faults.Script(
        [
            faults.Fault("error", method="POST"),
            faults.Fault("reset", path="/v1/invoices/*/lines"),
            faults.Fault("slow", path="GET /v1/charges"),
            faults.Fault("late", account="acct_2"),
        ]
    )

    assert draw(script) == ["slow"]
    assert draw(script, method="POST") == ["error"]
    assert draw(script, "/v1/invoices/in_1/lines") == ["reset"]
    assert draw(script, "/v1/x", account="acct_2") == ["late"]


def test_chance_is_the_same_for_the_same_seed() -> None:
    def drawn(seed: int) -> list[list[str]]:
        script = faults.Script([faults.Fault("error", probability=0.3)], seed)
        return [draw(script) for _ in range(200)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 30 <= sum(map(len, drawn(1))) <= 90


def test_a_500_reads_as_stripes(start: Callable[..., Stripe]) -> None:
    stripe = start(fault=(faults.Fault("error", times=1, retry=True),))
    answer = stripe.get("/v1/customers")

    assert answer.status == 500
    assert answer.error["type"] == "api_error"
    assert answer.headers["Request-Id"].startswith("req_")
    assert answer.headers["Stripe-Should-Retry"] == "true"
    assert stripe.get("/v1/customers").status == 200


def test_a_500_after_the_effect_has_taken_effect(start: Callable[..., Stripe]) -> None:
    stripe = start(fault=(faults.Fault("error", times=1, when="after"),))

    assert stripe.post("/v1/customers", {"name": "Ada"}).status == 500
    assert names(stripe) == ["Ada"]


@pytest.mark.parametrize(("when", "made"), [("before", []), ("after", ["Ada"])])
def test_a_reset_connection_says_nothing_of_the_effect(
    start: Callable[..., Stripe], when: str, made: list[str]
) -> None:
    stripe = start()
    stripe.control("faults", {"faults": [{"kind": "reset", "times": 1, "when": when}]})

    with pytest.raises(ConnectionResetError):
        stripe.post("/v1/customers", {"name": "Ada"})
    assert names(stripe) == made


def test_a_truncated_body_is_shorter_than_it_says(start: Callable[..., Stripe]) -> None:
    stripe = start(fault=(faults.Fault("truncate", times=1),))

    with pytest.raises(http.client.IncompleteRead):
        stripe.get("/v1/customers")
    assert stripe.get("/v1/customers").status == 200


def test_a_cut_body_is_as_long_as_it_says_and_no_json(start: Callable[..., Stripe]) -> None:
    stripe = start(fault=(faults.Fault("cut", times=1),))
    cut, whole = stripe.get("/v1/customers"), stripe.get("/v1/customers")

    assert int(cut.headers["Content-Length"]) == len(cut.body)
    assert cut.body == whole.body[: len(whole.body) // 2]


def test_html_and_a_proxys_503_carry_no_json(start: Callable[..., Stripe]) -> None:
    stripe = start(fault=(faults.Fault("html", times=1), faults.Fault("unavailable", times=1, skip=1)))
    page, proxy = stripe.get("/v1/customers"), stripe.get("/v1/customers")

    assert (page.status, page.headers["Content-Type"]) == (200, "text/html")
    assert proxy.status == 503
    assert "Request-Id" not in proxy.headers


@pytest.mark.parametrize(("when", "made"), [("before", []), ("after", ["Ada"])])
def test_a_proxys_503_says_nothing_of_the_effect(
    start: Callable[..., Stripe], when: str, made: list[str]
) -> None:
    stripe = start()
    stripe.control("faults", {"faults": [{"kind": "unavailable", "times": 1, "when": when}]})

    assert stripe.post("/v1/customers", {"name": "Ada"}).status == 503
    assert names(stripe) == made


def test_a_429_names_its_limiter(start: Callable[..., Stripe]) -> None:
    stripe = start(fault=(faults.Fault("limit", times=1, reason="global-concurrency"),))
    answer = stripe.get("/v1/customers")

    assert (answer.status, answer.error["code"]) == (429, "rate_limit")
    assert answer.headers["Stripe-Rate-Limited-Reason"] == "global-concurrency"
    assert stripe.stats()["rate_limited"] == {"global-concurrency": 1}


def test_a_locked_object_asks_for_a_retry(start: Callable[..., Stripe]) -> None:
    stripe = start(fault=(faults.Fault("lock", times=1),))
    answer = stripe.post("/v1/customers")

    assert (answer.status, answer.error["code"]) == (429, "lock_timeout")
    assert answer.headers["Stripe-Should-Retry"] == "true"


def test_two_writes_to_one_object_at_once_are_one_too_many(start: Callable[..., Stripe]) -> None:
    stripe = start()
    made, other = (stripe.make("/v1/customers", name="Ada")["id"] for _ in range(2))
    stripe.control("locks", {"on": True})
    slow = {"kind": "slow", "times": 2, "seconds": 3600, "path": f"/v1/customers/{made}", "method": "POST"}
    stripe.control("faults", {"faults": [slow]})
    connection = http.client.HTTPConnection(stripe.url.removeprefix("http://"))
    sent = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", f"/v1/customers/{made}", b"name=Bea", sent)
    while stripe.made.stats.under_way != {"POST /v1/customers/{customer}": 1}:
        time.sleep(0.01)

    second = stripe.post(f"/v1/customers/{made}", {"name": "Cleo"}, headers={"Idempotency-Key": "k1"})
    connection.close()

    assert (second.status, second.error["code"]) == (429, "lock_timeout")
    assert len(stripe.made.ledger) == 0
    assert stripe.post(f"/v1/customers/{other}", {"name": "Dora"}).status == 200
    assert stripe.get(f"/v1/customers/{made}").json["name"] == "Ada"


def test_a_storm_goes_on_for_its_time(start: Callable[..., Stripe]) -> None:
    stripe = start(fault=(faults.Fault("storm", times=1, seconds=3600),))

    assert [stripe.get("/v1/customers").status for _ in range(3)] == [429] * 3


def test_a_late_answer_shows_the_past(start: Callable[..., Stripe]) -> None:
    """Evaluated before an edit, sent after it: a client must not take it for the newer state."""
    stripe = start()
    made = stripe.make("/v1/customers", name="before")["id"]
    stripe.control("faults", {"faults": [{"kind": "late", "times": 1, "seconds": 1, "method": "GET"}]})
    connection = http.client.HTTPConnection(stripe.url.removeprefix("http://"))
    connection.request("GET", f"/v1/customers/{made}", headers={"Authorization": f"Bearer {KEY}"})
    while stripe.made.stats.under_way != {"GET /v1/customers/{customer}": 1}:
        time.sleep(0.001)

    stripe.make(f"/v1/customers/{made}", name="after")
    stripe.clock.advance(40)
    answer = connection.getresponse()
    late = answer.read()
    connection.close()

    assert b'"name":"before"' in late
    assert email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp() == NOW + 100
    assert stripe.get(f"/v1/customers/{made}").json["name"] == "after"


def test_a_list_can_be_late_by_chance(start: Callable[..., Stripe]) -> None:
    stripe = start()
    late = {"kind": "late", "path": "/v1/customers", "seconds": 0.01, "chance": 0.5}
    stripe.control("faults", {"faults": [late]})
    drawn = [draw(stripe.made.script, "/v1/customers") for _ in range(100)]

    assert 20 <= drawn.count(["late"]) <= 80
    assert draw(stripe.made.script, "/v1/charges") == []
    assert stripe.get("/v1/customers").status == 200


def test_limits_are_enforced_over_http(start: Callable[..., Stripe]) -> None:
    """One request in 1,000 seconds, so that no machine is too slow for the test; ids are one endpoint."""
    stripe = start()
    stripe.control("limits", {"per_endpoint": 0.001})

    assert [stripe.get("/v1/customers").status for _ in range(2)] == [200, 429]
    assert [stripe.get(f"/v1/customers/cus_{i}").status for i in range(2)] == [404, 429]
    assert stripe.stats()["rate_limited"] == {"endpoint-rate": 2}
    assert stripe.stats()["endpoints"] == {"GET /v1/customers": 2, "GET /v1/customers/{customer}": 2}
