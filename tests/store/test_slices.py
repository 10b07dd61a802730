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


class TestOneThatTakesItsWorkersWithIt:
    def lost(self, store: database.Database, run: str, times: int) -> slices.Slice:
        """Workers take what there is and fall silent; who takes it after them."""
        for number in range(times):
            taken(store, run, f"lost{number}")
            passed(store, SILENT + 1)
        return taken(store, run)

    def known(self, store: database.Database, run: str) -> list[tuple[str, str, int]]:
        rows = store.execute(
            "SELECT accounts, state, lost FROM slices WHERE run = :run ORDER BY number", {"run": run}
        )
        return [(row["accounts"], row["state"], row["lost"]) for row in rows]

    def test_the_workers_that_were_lost_with_it_are_counted_and_no_other_attempts(
        self, store: database.Database, run: str
    ) -> None:
        slices.add(store, run, 0, ["acct_1"])
        assert slices.end(store, taken(store, run), "queued", {})
        passed(store, slices.LONGEST_WAIT)
        mine = self.lost(store, run, 3)
        assert (mine.attempts, mine.lost) == (5, 3)
        assert slices.end(store, mine, "queued", {})
        passed(store, slices.LONGEST_WAIT)
        assert taken(store, run).lost == 3

    def test_it_is_taken_after_those_that_harmed_nobody(self, store: database.Database, run: str) -> None:
        slices.add(store, run, 0, ["acct_0"])
        taken(store, run, "lost")
        for number in (1, 2):
            slices.add(store, run, number, [f"acct_{number}"])
        passed(store, SILENT + 1)
        assert [taken(store, run).number for _ in range(3)] == [1, 2, 0]

    def test_it_is_cut_into_its_accounts_which_count_on(self, store: database.Database, run: str) -> None:
        slices.add(store, run, 7, ["acct_1", "acct_2"])
        mine = self.lost(store, run, 2)
        for _ in range(2):  # the second time, it changes nothing
            assert slices.cut(store, mine)
        assert self.known(store, run) == [
            ("acct_1 acct_2", "done", 2),
            ("acct_1", "queued", 2),
            ("acct_2", "queued", 2),
        ]
        assert taken(store, run, "a").lost == 2
        assert slices.counts(store, run) == {"done": 1, "queued": 1, "running": 1}

    def test_who_has_lost_it_cuts_nothing(self, store: database.Database, run: str) -> None:
        slices.add(store, run, 0, ["acct_1", "acct_2"])
        first = taken(store, run, "first")
        passed(store, SILENT + 1)
        second = taken(store, run, "second")
        assert not slices.cut(store, first)
        assert slices.end(store, second, "done", {"requests": 1})
        assert self.known(store, run) == [("acct_1 acct_2", "done", 1)]

    def test_a_worker_does_one_such_at_a_time_and_others_beside_it(
        self, store: database.Database, run: str
    ) -> None:
        slices.add(store, run, 0, ["acct_1", "acct_2"])
        assert slices.cut(store, self.lost(store, run, 2))
        slices.add(store, run, 1, ["acct_3"])
        slices.add(store, run, 2, ["acct_4"])
        assert [taken(store, run, "a").accounts for _ in range(3)] == [("acct_3",), ("acct_4",), ("acct_1",)]
        assert slices.take(store, run, "a", SILENT) is None
        assert taken(store, run, "b").accounts == ("acct_2",)

    def test_who_must_not_be_lost_leaves_it_to_others_for_a_while(
        self, store: database.Database, run: str
    ) -> None:
        slices.add(store, run, 0, ["acct_1", "acct_2"])
        taken(store, run, "lost")
        passed(store, SILENT + 1)
        assert slices.take(store, run, "leader", SILENT, patience=SILENT) is None
        passed(store, SILENT)
        mine = slices.take(store, run, "leader", SILENT, patience=SILENT)
        assert mine is not None
        assert slices.cut(store, mine)
        assert slices.take(store, run, "leader", SILENT, patience=SILENT) is None
        passed(store, SILENT + 1)
        assert slices.take(store, run, "leader", SILENT, patience=SILENT) is not None


class TestOneThatTakesTheRunWithIt:
    """The worker that leads the run was lost with a slice: so the run was interrupted, and another one begins."""

    def next_run(self, store: database.Database, before: str, state: runs.State, silent: float) -> str:
        """The next run of the flow, after one whose worker was silent for so long when it ended."""
        passed(store, silent)
        assert runs.end(store, before, "leader", state)
        store.execute("UPDATE runs SET queued_at = queued_at - 60 WHERE id = :id", {"id": before})
        name = f"run_{before.rpartition('_')[2]}1"
        runs.queue(store, name, "pull:a", "retry")
        assert runs.begin(store, name, "leader") is not None
        return name

    def test_the_next_run_goes_on_counting(self, store: database.Database, run: str) -> None:
        for lost in range(4):
            slices.add(store, run, 0, ["acct_0"])
            slices.add(store, run, 1, ["acct_1", f"acct_new{lost}"])
            found = [taken(store, run, "leader") for _ in range(2)]
            assert {each.number: each.lost for each in found} == {0: 0, 1: lost}
            [good] = [each for each in found if each.number == 0]
            assert slices.end(store, good, "done", {})
            run = self.next_run(store, run, "interrupted", 60.0)

    def test_what_was_cut_counts_by_account(self, store: database.Database, run: str) -> None:
        slices.add(store, run, 0, ["acct_1", "acct_2"])
        for number in range(2):
            taken(store, run, f"lost{number}")
            passed(store, SILENT + 1)
        assert slices.cut(store, taken(store, run))
        assert taken(store, run, "leader").accounts == ("acct_1",)
        run = self.next_run(store, run, "interrupted", 60.0)
        slices.add(store, run, 0, ["acct_1", "acct_2"])
        mine = taken(store, run)
        assert mine.lost == 3
        assert slices.cut(store, mine)
        rows = store.execute(
            "SELECT accounts, lost FROM slices WHERE run = :run AND number > 0", {"run": run}
        )
        assert {row["accounts"]: row["lost"] for row in rows} == {"acct_1": 3, "acct_2": 2}

    @pytest.mark.parametrize(("state", "silent"), [("partial", 60.0), ("interrupted", 0.5)])
    def test_after_one_that_ended_or_whose_workers_live_it_begins_anew(
        self, store: database.Database, run: str, state: runs.State, silent: float
    ) -> None:
        slices.add(store, run, 0, ["acct_1"])
        taken(store, run, "w")
        run = self.next_run(store, run, state, silent)
        slices.add(store, run, 0, ["acct_1"])
        assert taken(store, run).lost == 0
