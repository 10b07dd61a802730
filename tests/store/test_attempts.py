"""Attempts to sign in: counted before they are made, in buckets that leak and that a restart does not empty."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tidegate.store import attempts, database

ANN, HERE = attempts.Bucket("name:ann", 3, 30.0), attempts.Bucket("address:192.0.2.1", 5, 10.0)


def later(store: database.Database, seconds: float) -> None:
    store.execute("UPDATE sign_in_attempts SET at = at - :ago", {"ago": seconds})


def test_so_many_at_once_and_then_one_in_a_while(store: database.Database) -> None:
    assert [attempts.take(store, [ANN]) for _ in range(3)] == [0, 0, 0]
    wait = attempts.take(store, [ANN])
    assert 29 < wait <= 30
    later(store, 30)
    assert attempts.take(store, [ANN]) == 0
    assert attempts.take(store, [ANN]) > 29
    later(store, 1000)
    assert [attempts.take(store, [ANN]) for _ in range(3)] == [0, 0, 0]


def test_who_is_refused_is_not_counted(store: database.Database) -> None:
    for _ in range(3):
        attempts.take(store, [ANN, HERE])
    for _ in range(20):
        assert attempts.take(store, [ANN, HERE]) > 0
    assert [attempts.take(store, [HERE]) for _ in range(2)] == [0, 0]
    assert attempts.take(store, [HERE]) > 0


def test_the_fuller_bucket_says_how_long(store: database.Database) -> None:
    for _ in range(3):
        attempts.take(store, [ANN])
    for _ in range(5):
        attempts.take(store, [HERE])
    assert 29 < attempts.take(store, [HERE, ANN]) <= 30


def test_a_right_one_counts_no_longer(store: database.Database) -> None:
    for _ in range(20):
        assert attempts.take(store, [ANN, HERE]) == 0
        attempts.right(store, [ANN, HERE])


def test_many_side_by_side_are_many(opened: Callable[[], database.Database]) -> None:
    ready, found = threading.Barrier(8), []

    def work() -> None:
        own = opened()
        ready.wait()
        found.append(attempts.take(own, [HERE, ANN]))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(found)[:3] == [0, 0, 0]
    assert min(sorted(found)[3:]) > 0


def test_it_is_remembered_by_the_next_process_and_forgotten_after_a_day(
    opened: Callable[[], database.Database],
) -> None:
    store = opened()
    for _ in range(4):
        attempts.take(store, [ANN])
    assert attempts.take(opened(), [ANN]) > 0
    later(store, attempts.OVER + 1)
    attempts.take(store, [HERE])
    assert [row["bucket"] for row in store.execute("SELECT bucket FROM sign_in_attempts")] == [HERE.digest]
