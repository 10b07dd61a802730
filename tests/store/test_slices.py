"""Slices of a run: each is one worker's, until that falls silent."""

from __future__ import annotations

import concurrent.futures
import itertools
from collections.abc import Callable

import pytest

from tidegate.store import database, runs, slices

Opened = Callable[[], database.Database]
SILENT = 15.0


@pytest.fixture
def run(store: database.Database) -> str:
    """A run that is under way."""
    runs.queue(store, "run_1", "pull:a", "manual")
    assert runs.begin(store, "run_1", "leader") is not None
    return "run_1"


def taken(store: database.Database, run: str, worker: str = "w") -> slices.Slice:
    """A slice that there is to take."""
    found = slices.take(store, run, worker, SILENT)
    assert found is not None
    return found


def passed(store: database.Database, seconds: float) -> None:
    """Let time pass: everything that stands there was so much earlier. Negative: the clock was set back."""
    store.execute("UPDATE slices SET seen_at = seen_at - :s, not_before = not_before - :s", {"s": seconds})


def test_they_are_taken_in_their_order_and_each_once(store: database.Database, run: str) -> None:
    for number in range(3):
        slices.add(store, run, number, [f"acct_{number}", f"acct_1{number}"])
    slices.add(store, run, 0, ["acct_9"])  # again: it changes nothing
    found = [taken(store, run) for _ in range(3)]
    assert [(each.number, each.accounts, each.attempts) for each in found] == [
        (0, ("acct_0", "acct_10"), 1),
        (1, ("acct_1", "acct_11"), 1),
        (2, ("acct_2", "acct_12"), 1),
    ]
    assert slices.take(store, run, "w", SILENT) is None
    assert slices.open_runs(store, SILENT) == []
    for each in found:
        assert slices.end(store, each, "done", {"requests": each.number})
    assert slices.counts(store, run) == {"done": 3}
    assert slices.results(store, run) == [{"requests": 0}, {"requests": 1}, {"requests": 2}]


def test_of_many_who_take_at_once_each_has_its_own(
    opened: Opened, store: database.Database, run: str
) -> None:
    for number in range(40):
        slices.add(store, run, number, ["acct_1"])
    stores = [opened() for _ in range(4)]

    def all_of_them(store: database.Database) -> list[int]:
        found = []
        while (mine := slices.take(store, run, "w", SILENT)) is not None:
            found.append(mine.number)
        return found

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(all_of_them, stores))
    assert sorted(itertools.chain.from_iterable(found)) == list(range(40))


def test_whose_worker_fell_silent_is_anothers_and_the_first_is_not_heard(
    store: database.Database, run: str
) -> None:
    slices.add(store, run, 0, ["acct_1"])
    first = taken(store, run, "first")
    passed(store, SILENT - 1)
    assert slices.take(store, run, "second", SILENT) is None
    assert slices.beat(store, first)
    passed(store, SILENT + 1)
    assert slices.open_runs(store, SILENT) == [run]
    second = taken(store, run, "second")
    assert second.attempts == 2
    assert not slices.beat(store, first)
    assert not slices.end(store, first, "done", {"requests": 1})
    assert slices.end(store, second, "done", {"requests": 2})
    assert slices.results(store, run) == [{"requests": 2}]


def test_one_that_is_to_be_tried_again_waits_longer_each_time(store: database.Database, run: str) -> None:
    slices.add(store, run, 0, ["acct_1"])
    for wait in (2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
        assert slices.end(store, taken(store, run), "queued", {})
        passed(store, wait - 1)
        assert slices.take(store, run, "w", SILENT) is None
        passed(store, 1.01)


def test_of_a_run_that_is_over_or_cancelled_none_is_taken(store: database.Database, run: str) -> None:
    slices.add(store, run, 0, ["acct_1"])
    slices.add(store, run, 1, ["acct_2"])
    mine = taken(store, run)
    runs.cancel(store, run, "me")
    assert not slices.beat(store, mine)
    assert slices.take(store, run, "w", SILENT) is None
    assert slices.open_runs(store, SILENT) == []
    assert runs.end(store, run, "leader", "cancelled")
    assert slices.take(store, run, "w", SILENT) is None


class TestAClockThatIsSetBack:
    def test_a_dead_workers_slice_is_taken_soon(self, store: database.Database, run: str) -> None:
        slices.add(store, run, 0, ["acct_1"])
        dead = taken(store, run, "dead")
        passed(store, -86_400.0)
        assert slices.take(store, run, "w", SILENT) is None  # from now on it is silent
        passed(store, SILENT + 1)
        assert taken(store, run).attempts == 2
        assert not slices.beat(store, dead)

    def test_a_living_workers_slice_stays_its_own(self, store: database.Database, run: str) -> None:
        slices.add(store, run, 0, ["acct_1"])
        mine = taken(store, run)
        passed(store, -86_400.0)
        assert slices.take(store, run, "other", SILENT) is None
        assert slices.beat(store, mine)
        passed(store, SILENT - 1)
        assert slices.take(store, run, "other", SILENT) is None

    def test_one_that_is_to_be_tried_again_waits_no_longer_than_any(
        self, store: database.Database, run: str
    ) -> None:
        slices.add(store, run, 0, ["acct_1"])
        assert slices.end(store, taken(store, run), "queued", {})
        passed(store, -86_400.0)
        assert slices.take(store, run, "w", SILENT) is None
        passed(store, slices.LONGEST_WAIT + 1)
        assert taken(store, run).attempts == 2

    def test_who_schedules_sees_it_too(self, store: database.Database, run: str) -> None:
        slices.add(store, run, 0, ["acct_1"])
        taken(store, run, "dead")
        passed(store, -86_400.0)
        assert slices.open_runs(store, SILENT) == []
        passed(store, SILENT + 1)
        assert slices.open_runs(store, SILENT) == [run]
