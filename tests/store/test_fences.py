"""One process writes for a push at a time; whoever had it before can do nothing more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tidegate import errors
from tidegate.store import database, fences

Opened = Callable[[], database.Database]


def check(store: database.Database, fence: fences.Fence, *, lasting: bool = False) -> None:
    store.transact(lambda session: fences.check(session, fence, lasting=lasting))


def test_who_comes_second_waits_until_the_first_leaves(store: database.Database) -> None:
    first = fences.take(store, "accounts", "one", 60.0)
    assert first == fences.Fence("accounts", 1, "one")
    assert fences.take(store, "accounts", "two", 60.0) is None
    assert fences.holder(store, "accounts") == "one"
    fences.leave(store, first)
    assert fences.holder(store, "accounts") == ""
    assert fences.take(store, "accounts", "two", 60.0) == fences.Fence("accounts", 2, "two")


def test_who_keeps_it_keeps_the_number(store: database.Database) -> None:
    first = fences.take(store, "accounts", "one", 60.0)
    assert first is not None
    assert fences.keep(store, first, 120.0)
    assert 100 < fences.left(store, first) <= 120
    assert fences.take(store, "accounts", "one", 60.0) == first
    assert 0 < fences.left(store, first) <= 60


def test_who_slept_until_it_ran_out_gets_another_number(store: database.Database) -> None:
    first = fences.take(store, "accounts", "one", 60.0)
    assert first is not None
    store.execute("UPDATE fences SET until = until - 61")
    assert fences.left(store, first) == 0
    assert not fences.keep(store, first, 60.0)
    check(store, first)  # nobody else came: what was done may be recorded
    with pytest.raises(fences.Outdated, match="ran out; it stops, and the next run goes on"):
        check(store, first, lasting=True)
    again = fences.take(store, "accounts", "one", 60.0)
    assert again == fences.Fence("accounts", 2, "one")
    with pytest.raises(fences.Outdated, match="Another process writes for accounts now"):
        check(store, first)
    check(store, again, lasting=True)


def test_the_first_of_two_is_outdated_and_leaves_nothing_open_for_others(store: database.Database) -> None:
    first = fences.take(store, "accounts", "one", 60.0)
    assert first is not None
    store.execute("UPDATE fences SET until = 0")
    second = fences.take(store, "accounts", "two", 60.0)
    assert second is not None
    assert not fences.keep(store, first, 60.0)
    fences.leave(store, first)  # not its own any more
    assert fences.holder(store, "accounts") == "two"
    check(store, second, lasting=True)


def test_pushes_have_numbers_of_their_own(store: database.Database) -> None:
    for _ in range(3):
        taken = fences.take(store, "accounts", "one", 60.0)
        assert taken is not None
        fences.leave(store, taken)
    assert fences.take(store, "products", "two", 60.0) == fences.Fence("products", 1, "two")
    assert fences.take(store, "accounts", "two", 60.0) == fences.Fence("accounts", 4, "two")


def test_after_the_clock_was_set_back_nobodys_time_is_longer(store: database.Database) -> None:
    fences.take(store, "accounts", "one", 60.0)
    store.execute("UPDATE fences SET until = until + 86400")
    assert fences.take(store, "accounts", "two", 60.0) is None
    store.execute("UPDATE fences SET until = until - 61")
    assert fences.take(store, "accounts", "two", 60.0) is not None


def test_a_push_writes_to_the_account_it_wrote_to_first(store: database.Database) -> None:
    taken = fences.take(store, "accounts", "one", 60.0)
    assert taken is not None

    def bind(account: str, livemode: bool) -> None:
        store.transact(lambda session: fences.bind(session, taken, account, livemode))

    assert fences.place(store, "accounts") is None
    bind("acct_1", False)
    bind("acct_1", False)
    assert fences.place(store, "accounts") == ("acct_1", False)
    with pytest.raises(
        errors.StoreError, match="accounts writes to acct_1 in test mode, and this key is of acct_2"
    ):
        bind("acct_2", False)
    with pytest.raises(errors.StoreError, match="acct_1 in live mode; use that account's key"):
        bind("acct_1", True)


def test_a_push_that_nobody_took_has_no_writer(store: database.Database) -> None:
    stranger = fences.Fence("accounts", 1, "one")
    with pytest.raises(fences.Outdated):
        check(store, stranger)
    assert fences.left(store, stranger) == 0
    assert fences.holder(store, "accounts") == ""


def test_of_two_processes_one_gets_it(opened: Opened) -> None:
    first, second = opened(), opened()
    taken = [fences.take(store, "accounts", f"{n}", 60.0) for n, store in enumerate((first, second, first))]
    assert [each is not None for each in taken] == [True, False, False]
