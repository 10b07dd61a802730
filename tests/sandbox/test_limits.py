"""Rate limits: a strict sliding second per account and per endpoint, concurrency, storms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.sandbox import limits, refusals


class Watch:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def gate(text: str = "off", **more: object) -> tuple[limits.Gate, Watch]:
    watch = Watch()
    limit = limits.Limits(**more) if more else limits.parse(text)  # type: ignore[arg-type]  # fields by name
    return limits.Gate(limit, now=watch), watch


def knock(door: limits.Gate, endpoint: str = "GET /v1/charges", account: str = "acct_1", **more: bool) -> str:
    """Enter and leave at once: `in`, or the limiter that refused."""
    try:
        door.enter(account, endpoint, **more)
    except refusals.Refusal as refusal:
        return refusal.headers["Stripe-Rate-Limited-Reason"]
    door.leave(account, endpoint)
    return "in"


def test_live_lets_25_per_second_into_one_endpoint() -> None:
    door, watch = gate("live")

    assert [knock(door) for _ in range(26)] == ["in"] * 25 + ["endpoint-rate"]
    watch.now += 1.0
    assert knock(door) == "in"


def test_live_lets_100_per_second_into_one_account() -> None:
    door, _ = gate("live")
    knocks = [knock(door, f"GET /v1/{i % 5}") for i in range(101)]

    assert knocks == ["in"] * 100 + ["global-rate"]
    assert knock(door, account="acct_2") == "in"


def test_search_and_files_have_limits_of_their_own() -> None:
    door, _ = gate("live")

    assert [knock(door, "GET /v1/customers/search", search=True) for _ in range(21)][-1] == "endpoint-rate"
    assert [knock(door, "POST /v1/files", files=True) for _ in range(21)][-1] == "endpoint-rate"
    assert knock(door) == "in"


def test_a_refused_request_counts_for_nothing() -> None:
    door, watch = gate("2/2")
    knocks = []
    for _ in range(20):
        knocks.append(knock(door))
        watch.now += 0.25

    assert knocks.count("in") == 10


def test_fractions_of_a_request_per_second() -> None:
    door, watch = gate("0.5/0.5")

    assert knock(door) == "in"
    watch.now += 1.9
    assert knock(door) == "global-rate"
    watch.now += 0.1
    assert knock(door) == "in"


@given(st.lists(st.floats(0, 0.3), min_size=1, max_size=200), st.integers(1, 30))
def test_no_second_ever_lets_more_than_the_limit_in(waits: list[float], rate: int) -> None:
    door, watch = gate(f"{rate}/{rate}")
    entered = []
    for wait in waits:
        watch.now += wait
        if knock(door) == "in":
            entered.append(watch.now)

    for moment in entered:
        assert sum(moment <= other < moment + 1.0 - 1e-9 for other in entered) <= rate


def test_concurrency_is_bounded_per_account_and_per_endpoint() -> None:
    door, _ = gate(concurrency=3, endpoint_concurrency=2)
    door.enter("acct_1", "a")
    door.enter("acct_1", "a")

    assert knock(door, "a") == "endpoint-concurrency"
    door.enter("acct_1", "b")
    assert knock(door, "c") == "global-concurrency"
    door.leave("acct_1", "b")
    assert knock(door, "c") == "in"


def test_a_storm_refuses_everything_for_its_time() -> None:
    door, watch = gate()
    door.storm(2.0)

    assert knock(door) == "global-rate"
    watch.now += 2.0
    assert knock(door) == "in"


def test_a_storm_can_hit_one_endpoint_only() -> None:
    door, _ = gate()
    door.storm(5.0, reason="endpoint-rate", endpoint="GET /v1/charges")

    assert knock(door) == "endpoint-rate"
    assert knock(door, "GET /v1/customers") == "in"


def test_a_storm_says_when_to_come_back_if_told_to() -> None:
    door, _ = gate()
    door.storm(5.0, retry_after=7)

    with pytest.raises(refusals.Refusal) as caught:
        door.enter("acct_1", "a")
    assert caught.value.headers["Retry-After"] == "7"


def test_retry_after_is_sent_only_where_it_is_wanted() -> None:
    for wanted in (True, False):
        door, _ = gate(per_account=1.0, retry_after=wanted)
        door.enter("acct_1", "a")
        with pytest.raises(refusals.Refusal) as caught:
            door.enter("acct_1", "a")
        assert ("Retry-After" in caught.value.headers) is wanted


@pytest.mark.parametrize("text", ["fast", "1/x", "0/1", "-1", ""])
def test_limits_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="limits"):
        limits.parse(text)
