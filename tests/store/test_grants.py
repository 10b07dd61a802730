"""Shares of a rate budget: never more than there is, in equal parts, and back to the others when they end."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.store import database, grants

Opened = Callable[[], database.Database]

ACCOUNT = "api.stripe.com/live/acct_1"
CHARGES = "GET /v1/charges"
RATE = 80.0


def renew(
    store: database.Database,
    holder: str,
    wanted: float = RATE,
    *,
    account: str = ACCOUNT,
    endpoint: str = "",
    refusals: Sequence[grants.Refusal] = (),
) -> grants.Share:
    ask = grants.Ask(account, endpoint, holder, RATE, wanted)
    [share] = grants.renew(store, grants.Exchange([ask], refusals)).values()
    return share


def leave(store: database.Database, holder: str, endpoint: str | None = None) -> None:
    grants.renew(store, grants.Exchange(returned=[(ACCOUNT, holder, endpoint)]))


def passes(store: database.Database, seconds: float) -> None:
    """Time passes for what stands in the database; below zero, its clock is set back."""
    store.execute("UPDATE shares SET until = until - :s", {"s": seconds})
    store.execute(
        "UPDATE budgets SET paused_until = paused_until - :s, refused_at = refused_at - :s, "
        "touched_at = touched_at - :s",
        {"s": seconds},
    )


def rounds(store: database.Database, wishes: dict[str, float], count: int = 3) -> dict[str, float]:
    """What everybody has after all have renewed so many times."""
    for _ in range(count):
        for holder, wanted in wishes.items():
            renew(store, holder, wanted)
    return grants.held(store, ACCOUNT)


def test_who_is_alone_has_all_whatever_it_wants(store: database.Database) -> None:
    assert renew(store, "a", 3.0) == grants.Share(RATE, RATE)
    assert grants.held(store, ACCOUNT) == {"a": RATE}


def test_who_wants_all_there_is_gets_an_equal_part(store: database.Database) -> None:
    assert rounds(store, dict.fromkeys("abcd", RATE)) == pytest.approx(dict.fromkeys("abcd", 20.0))


def test_who_wants_little_gets_it_and_the_others_the_rest(store: database.Database) -> None:
    assert rounds(store, {"a": 10.0, "b": RATE, "c": RATE}) == pytest.approx(
        {"a": 10.0, "b": 35.0, "c": 35.0}
    )


def test_where_all_get_what_they_want_the_rest_is_there_for_each(store: database.Database) -> None:
    assert rounds(store, {"a": 10.0, "b": 30.0}) == pytest.approx({"a": 30.0, "b": 50.0})


def test_who_joins_has_a_little_at_once_and_its_part_when_the_others_have_renewed(
    store: database.Database,
) -> None:
    renew(store, "a")
    first = renew(store, "b")
    assert first.rate == pytest.approx(RATE * grants.LEAST)
    assert first.due == 40.0
    assert renew(store, "a").rate == 40.0
    assert renew(store, "b").rate == 40.0


def test_many_who_join_at_once_stay_within_what_is_allowed_beyond(store: database.Database) -> None:
    renew(store, "first")
    for number in range(40):
        renew(store, f"{number}")
    assert sum(grants.held(store, ACCOUNT).values()) == pytest.approx(RATE * (1 + grants.OVER))


def test_each_account_and_each_endpoint_has_a_budget_of_its_own(store: database.Database) -> None:
    for account, endpoint in itertools.product((ACCOUNT, ACCOUNT + "1"), ("", CHARGES, "GET /v1/refunds")):
        assert renew(store, "a", account=account, endpoint=endpoint).rate == RATE


def test_what_is_given_back_is_there_for_the_others(store: database.Database) -> None:
    for endpoint in ("", CHARGES, "GET /v1/refunds"):
        renew(store, "a", endpoint=endpoint)
    leave(store, "a", CHARGES)
    assert grants.held(store, ACCOUNT, CHARGES) == {}
    assert grants.held(store, ACCOUNT) == {"a": RATE}
    leave(store, "a")
    leave(store, "a")
    assert store.execute("SELECT * FROM shares") == []
    assert renew(store, "b").rate == RATE


def test_saying_it_again_changes_nothing(store: database.Database) -> None:
    refused = [grants.Refusal(ACCOUNT, "", 5.0, 0.5)]
    renew(store, "b")
    first = renew(store, "a", refusals=refused)
    again = renew(store, "a", refusals=refused)
    assert (again.rate, again.due, again.factor) == (first.rate, first.due, first.factor)
    assert again.pause == pytest.approx(5.0, abs=0.01)


TAKER = """
import sys, time
from tidegate.store import database, grants
store = database.open_database(sys.argv[1])
ask = grants.Ask(sys.argv[2], "", "lost", 80.0, 80.0)
print(grants.renew(store, grants.Exchange([ask]))[ask.name, "lost"].rate, flush=True)
time.sleep(600)
"""


def test_the_share_of_a_process_that_was_killed_ends_by_itself(store: database.Database, url: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", TAKER, url, ACCOUNT],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout is not None
    assert float(child.stdout.readline()) == RATE
    child.send_signal(signal.SIGKILL)
    child.stdout.close()
    child.wait()
    assert grants.held(store, ACCOUNT) == {"lost": RATE}
    passes(store, grants.TERM)
    assert renew(store, "b").rate == RATE
    assert grants.held(store, ACCOUNT) == {"b": RATE}


def test_a_clock_that_is_set_back_holds_no_share_for_long(store: database.Database) -> None:
    renew(store, "lost")
    passes(store, -86_400)
    assert renew(store, "b").rate < RATE
    passes(store, grants.TERM)
    assert renew(store, "b").rate == RATE


def test_after_a_clock_that_was_set_forward_all_have_their_part_again(store: database.Database) -> None:
    rounds(store, {"a": RATE, "b": RATE})
    passes(store, 86_400)
    assert rounds(store, {"a": RATE, "b": RATE}, 2) == pytest.approx({"a": 40.0, "b": 40.0})


def test_what_stripe_refuses_to_one_all_hear(store: database.Database) -> None:
    renew(store, "a", refusals=[grants.Refusal(ACCOUNT, CHARGES, 7.0, 0.5)])
    heard = renew(store, "b", endpoint=CHARGES)
    assert (heard.factor, heard.refused > 0) == (0.5, True)
    assert heard.pause == pytest.approx(7.0, abs=1.0)
    assert renew(store, "b").pause == 0.0
    assert renew(store, "b", endpoint="GET /v1/refunds").factor == 1.0


def test_a_longer_pause_is_not_cut_short_and_one_refusal_is_told_from_the_next(
    store: database.Database,
) -> None:
    renew(store, "a", refusals=[grants.Refusal(ACCOUNT, "", 50.0, 0.5)])
    first = renew(store, "b")
    passes(store, 1.0)
    renew(store, "a", refusals=[grants.Refusal(ACCOUNT, "", 0.1, 0.4)])
    second = renew(store, "b")
    assert second.pause > 45.0
    assert second.factor == 0.4
    assert second.refused != first.refused


def test_a_refusal_is_forgotten(store: database.Database) -> None:
    renew(store, "a", refusals=[grants.Refusal(ACCOUNT, "", 3.0, 0.5)])
    passes(store, grants.MEMORY + 1)
    assert renew(store, "b").factor == 1.0


def test_an_absurd_pause_is_cut_and_a_clock_set_back_prolongs_none(store: database.Database) -> None:
    renew(store, "a", refusals=[grants.Refusal(ACCOUNT, "", 86_400.0)])
    assert 50.0 < renew(store, "a").pause <= grants.LONGEST_PAUSE
    passes(store, -3600)
    assert renew(store, "a").pause == 0.0
    renew(store, "a", refusals=[grants.Refusal(ACCOUNT, "", 2.0)])
    assert renew(store, "a").pause <= 2.0


def test_accounts_that_nobody_sends_to_any_more_are_forgotten(store: database.Database) -> None:
    renew(store, "a", refusals=[grants.Refusal(ACCOUNT, CHARGES, 1.0, 0.5)])
    grants.prune(store)
    assert grants.held(store, ACCOUNT) == {"a": RATE}
    passes(store, grants.FORGOTTEN + grants.TERM + 1)
    grants.prune(store)
    assert store.execute("SELECT name FROM shares") + store.execute("SELECT name FROM budgets") == []


def test_a_hundred_accounts_and_their_endpoints_in_one_go(store: database.Database) -> None:
    asks = [
        grants.Ask(f"api.stripe.com/live/acct_{number}", endpoint, "a", RATE, 1.0)
        for number in range(100)
        for endpoint in ("", CHARGES, "GET /v1/refunds")
    ]
    shares = grants.renew(store, grants.Exchange(asks))
    assert len(shares) == 300
    assert {share.rate for share in shares.values()} == {RATE}
    grants.renew(store, grants.Exchange(returned=[(ask.account, "a", None) for ask in asks]))
    assert store.execute("SELECT * FROM shares") == []


def test_many_connections_at_once_never_hold_more_than_there_is(opened: Opened) -> None:
    accounts = [f"api.stripe.com/live/acct_{number}" for number in range(4)]
    most: list[float] = []
    failed: list[BaseException] = []

    def send(number: int) -> None:
        try:
            own = opened()
            for turn in range(15):
                order = accounts[turn % 4 :] + accounts[: turn % 4] if number % 2 else accounts[::-1]
                asks = [grants.Ask(account, "", f"{number}", RATE, RATE) for account in order]
                grants.renew(own, grants.Exchange(asks))
                most.extend(sum(grants.held(own, account).values()) for account in accounts)
                if turn % 5 == 4:
                    grants.renew(own, grants.Exchange(returned=[(accounts[turn % 4], f"{number}", None)]))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=send, args=[number]) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(most) == 5 * 15 * 4
    assert max(most) <= RATE * (1 + grants.OVER) * 1.0001


wishes = st.floats(0.0, 200.0)


@given(st.floats(0.1, 500.0), wishes, st.lists(st.tuples(wishes, wishes), max_size=8))
def test_a_part_is_never_more_than_the_others_leave(
    rate: float, wanted: float, others: list[tuple[float, float]]
) -> None:
    given, due = grants.fair(rate, wanted, others)
    held = sum(each for each, _ in others)
    assert 0.0 <= given <= due + 1e-9
    assert due <= rate * (1 + 1e-9)
    assert given + held <= max(held, rate * (1 + grants.OVER)) + 1e-6
    if held <= rate * 0.9:
        assert given + held <= rate + 1e-6


@given(st.floats(1.0, 500.0), st.lists(wishes, min_size=1, max_size=8))
def test_parts_that_are_due_are_all_there_is_and_nobody_gets_less_than_who_wants_no_more(
    rate: float, wanted: list[float]
) -> None:
    due = [
        grants.fair(rate, wish, [(0.0, other) for place, other in enumerate(wanted) if place != number])[1]
        for number, wish in enumerate(wanted)
    ]
    assert sum(due) == pytest.approx(rate)
    least = min(part for part, wish in zip(due, wanted, strict=True) if wish == max(wanted))
    assert all(part <= least + 1e-6 for part in due)
    assert all(part >= min(wish, rate / len(wanted)) - 1e-6 for part, wish in zip(due, wanted, strict=True))


step = st.one_of(
    st.tuples(st.just("renew"), st.sampled_from("abcde"), wishes),
    st.tuples(st.just("leave"), st.sampled_from("abcde"), st.just(0.0)),
    st.tuples(st.just("passes"), st.just(""), st.floats(0.0, 6.0)),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(step, max_size=25))
def test_over_any_time_no_more_is_granted_than_the_budget(
    store: database.Database, steps: list[tuple[str, str, float]]
) -> None:
    """Each holder spends at its rate until its share ends or is renewed, and some never come back."""
    account = f"api.stripe.com/live/{uuid.uuid4().hex}"
    spent = elapsed = 0.0
    for what, holder, number in steps:
        if what == "renew":
            renew(store, holder, number, account=account)
        elif what == "leave":
            grants.renew(store, grants.Exchange(returned=[(account, holder, None)]))
        else:
            spent += sum(grants.held(store, account).values()) * number
            elapsed += number
            passes(store, number)
        assert sum(grants.held(store, account).values()) <= RATE * (1 + grants.OVER) * 1.0001
    assert spent <= RATE * (1 + grants.OVER) * elapsed * 1.0001
