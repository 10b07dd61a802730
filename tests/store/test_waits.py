"""Long waits are told by every process, and forgotten with it."""

from __future__ import annotations

from tidegate.store import database, waits


def later(store: database.Database, seconds: float) -> None:
    """So much time passes."""
    store.execute("UPDATE waits SET at = at - :seconds", {"seconds": seconds})


def test_of_several_processes_the_longest_wait_counts(store: database.Database) -> None:
    waits.note(store, "one", {"acct_1": 310.0, "acct_2": 400.0})
    waits.note(store, "two", {"acct_1": 500.0})
    assert waits.known(store) == {"acct_1": 500.0, "acct_2": 400.0}
    waits.note(store, "two", {})
    waits.note(store, "one", {"acct_1": 320.0})
    assert waits.known(store) == {"acct_1": 320.0}


def test_what_a_process_that_is_gone_told_is_forgotten(store: database.Database) -> None:
    waits.note(store, "gone", {"acct_1": 310.0})
    later(store, waits.FRESH + 1)
    assert waits.known(store) == {}
    waits.note(store, "other", {})
    assert store.execute("SELECT holder FROM waits") == []
