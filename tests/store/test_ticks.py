"""Ticks: fired once, however many schedulers look; waiting, coalesced, tried again, never lost."""

from __future__ import annotations

import concurrent.futures
import itertools
from collections.abc import Callable

import pytest

from tidegate import errors
from tidegate.store import database, deliveries, positions, runs, ticks

Opened = Callable[[], database.Database]
FLOW = "pull:a"
DAY = 86_400.0


def following(flow: str, schedule: str, after: float, since: float) -> float | None:
    """A schedule is so many seconds, counted from the beginning; `manual` has no ticks, `?` is not known here."""
    del flow
    if schedule in ("manual", "?"):
        return None
    pace = float(schedule)
    return since + (int((after - since) // pace) + 1) * pace


def sync(store: database.Database, schedule: str = "3600", *flows: str) -> None:
    ticks.sync(store, dict.fromkeys(flows or (FLOW,), schedule), following)


def passed(store: database.Database, seconds: float) -> None:
    """Let time pass: everything that stands there was so much earlier. Negative: the clock was set back."""
    store.execute(
        "UPDATE ticks SET since = since - :s, next_at = next_at - :s, fired_at = fired_at - :s, "
        "retry_at = retry_at - :s",
        {"s": seconds},
    )


def fire(store: database.Database) -> list[runs.Run]:
    """One look of a scheduler, as far as clocks go."""
    found = [ticks.fire(store, tick, runs.new_id(), following) for tick in ticks.due(store)[0]]
    return [run for run in found if run is not None]


def done(store: database.Database, run: runs.Run, state: runs.State = "ok") -> None:
    assert runs.begin(store, run.id, "w") is not None
    assert runs.end(store, run.id, "w", state)


def next_at(store: database.Database, flow: str = FLOW) -> float:
    """The seconds until a flow's next tick."""
    found = ticks.upcoming(store)[flow]
    assert found is not None
    return found - store.now()


class TestSchedules:
    def test_a_flow_is_due_a_while_after_it_was_made_known(self, store: database.Database) -> None:
        sync(store)
        late, pause = ticks.due(store)
        assert late == []
        assert 3500 < pause <= 3600
        sync(store, "10")
        assert 0 < ticks.due(store)[1] <= 10
        passed(store, 11)
        [tick] = ticks.due(store)[0]
        assert (tick.flow, tick.schedule) == (FLOW, "10")

    def test_to_make_the_same_known_again_changes_nothing(self, store: database.Database) -> None:
        sync(store)
        passed(store, 1000)
        before = store.execute("SELECT * FROM ticks")
        sync(store)
        assert store.execute("SELECT * FROM ticks") == before

    def test_one_that_was_edited_counts_anew(self, store: database.Database) -> None:
        sync(store)
        passed(store, 5000)
        sync(store, "7200")
        assert 7100 < next_at(store) <= 7200
        assert ticks.due(store)[0] == []

    def test_a_tick_that_had_come_before_it_was_edited_has_its_run(self, store: database.Database) -> None:
        sync(store)
        passed(store, 5000)
        sync(store, "7200")
        assert ticks.waiting(store) == [FLOW]
        run = ticks.release(store, FLOW, "run_1")
        assert run is not None
        assert run.cause == "schedule"
        done(store, run)
        sync(store, "1800")
        assert ticks.waiting(store) == []

    def test_whose_clock_was_taken_away_is_not_due_for_what_it_had(self, store: database.Database) -> None:
        sync(store)
        passed(store, 5000)
        sync(store, "manual")
        assert ticks.waiting(store) == []
        sync(store, "3600")
        assert ticks.waiting(store) == []

    def test_without_a_clock_it_is_never_due(self, store: database.Database) -> None:
        sync(store, "manual")
        assert ticks.upcoming(store) == {FLOW: None}
        assert ticks.due(store) == ([], 3600.0)

    def test_one_that_is_gone_leaves_nothing_but_its_runs(self, store: database.Database) -> None:
        sync(store, "3600", "pull:a", "pull:b")
        for flow in ("pull:a", "pull:b"):
            positions.replace(store, flow, [positions.Position("charges", "acct_1", {"at": 1})])
            deliveries.begin(store, flow, "acme")
        sync(store, "3600", "pull:b")
        assert list(ticks.upcoming(store)) == ["pull:b"]
        assert positions.read(store, "pull:a") == []
        assert len(positions.read(store, "pull:b")) == 1
        assert deliveries.heard(store, "pull:a") is None
        assert deliveries.heard(store, "pull:b") == 0

    def test_of_many_who_make_it_known_at_once_one_counts(self, opened: Opened) -> None:
        stores = [opened() for _ in range(5)]
        flows = [f"pull:{n}" for n in range(20)]
        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            list(pool.map(lambda store: sync(store, "3600", *flows), stores))
        assert sorted(ticks.upcoming(stores[0])) == sorted(flows)


class TestFiring:
    def test_a_tick_becomes_a_run(self, store: database.Database) -> None:
        sync(store)
        passed(store, 3601)
        [tick] = ticks.due(store)[0]
        run = ticks.fire(store, tick, "run_1", following)
        assert run is not None
        assert (run.id, run.flow, run.state, run.cause, run.due_at) == (
            "run_1",
            FLOW,
            "queued",
            "schedule",
            tick.at,
        )
        assert ticks.due(store)[0] == []
        assert 3590 < next_at(store) < 3600

    def test_said_again_after_a_lost_connection_it_is_the_same_run(self, store: database.Database) -> None:
        sync(store)
        passed(store, 3601)
        [tick] = ticks.due(store)[0]
        assert ticks.fire(store, tick, "run_1", following) == ticks.fire(store, tick, "run_1", following)
        assert len(runs.listed(store)) == 1

    def test_of_many_schedulers_one_fires_it(self, opened: Opened) -> None:
        stores = [opened() for _ in range(6)]
        flows = [f"pull:{n}" for n in range(5)]
        sync(stores[0], "60", *flows)
        for turn in range(3):
            passed(stores[0], 61)
            late = ticks.due(stores[0])[0]
            assert len(late) == 5
            with concurrent.futures.ThreadPoolExecutor(6) as pool:
                fired = list(pool.map(fire, stores))
            assert sum(map(len, fired)) == 5, turn
            for run in itertools.chain.from_iterable(fired):
                done(stores[0], run)
        assert ticks.waiting(stores[0]) == []

    def test_ticks_that_were_missed_are_one(self, store: database.Database) -> None:
        sync(store)
        passed(store, 40 * DAY + 1)
        [run] = fire(store)
        assert fire(store) == []
        assert 3590 < next_at(store) < 3600
        done(store, run)
        assert ticks.waiting(store) == []

    def test_a_tick_waits_for_the_run_of_its_flow_and_so_do_all_that_follow(
        self, store: database.Database
    ) -> None:
        sync(store)
        run = runs.queue(store, "run_1", FLOW, "manual")
        for _ in range(3):
            passed(store, 3600)
            assert fire(store) == []
        assert ticks.waiting(store) == []
        done(store, run)
        assert ticks.waiting(store) == [FLOW]
        after = ticks.release(store, FLOW, "run_2")
        assert after is not None
        assert after.cause == "schedule"
        done(store, after)
        assert ticks.waiting(store) == []
        assert ticks.release(store, FLOW, "run_3") is None

    def test_of_many_schedulers_one_releases_what_waits(self, opened: Opened) -> None:
        stores = [opened() for _ in range(6)]
        sync(stores[0])

        def release(store: database.Database) -> runs.Run | None:
            found = ticks.release(store, FLOW, runs.new_id())
            if found is not None:
                done(store, found)  # at once, so that the next one finds no run in its way
            return found

        for _ in range(5):
            stores[0].execute("UPDATE ticks SET waiting = 'schedule'")
            with concurrent.futures.ThreadPoolExecutor(6) as pool:
                assert sum(each is not None for each in pool.map(release, stores)) == 1

    def test_released_again_after_a_lost_connection_it_is_the_same_run(
        self, store: database.Database
    ) -> None:
        sync(store)
        store.execute("UPDATE ticks SET waiting = 'schedule'")
        assert ticks.release(store, FLOW, "run_1") == ticks.release(store, FLOW, "run_1")
        assert len(runs.listed(store)) == 1

    def test_a_tick_of_a_schedule_that_was_edited_meanwhile_is_none(self, store: database.Database) -> None:
        sync(store)
        passed(store, 3601)
        [tick] = ticks.due(store)[0]
        sync(store, "7200")
        assert ticks.fire(store, tick, "run_1", following) is None
        assert runs.listed(store) == []

    def test_who_does_not_know_a_schedule_leaves_its_tick_to_who_does(self, store: database.Database) -> None:
        sync(store)
        passed(store, 3601)
        [tick] = ticks.due(store)[0]
        assert ticks.fire(store, tick, "run_1", lambda *_: None) is None
        assert ticks.due(store)[0] == [tick]
        assert len(fire(store)) == 1


class TestAClockThatIsSet:
    def test_back_by_less_than_two_ticks_are_apart_nothing_fires_twice(
        self, store: database.Database
    ) -> None:
        sync(store)
        passed(store, 3601)
        done(store, fire(store)[0])
        passed(store, -3000)
        assert fire(store) == []
        passed(store, 3000)
        assert fire(store) == []
        passed(store, 3600)
        assert len(fire(store)) == 1

    @pytest.mark.parametrize("fired", [False, True])
    def test_back_by_years_it_goes_on_in_the_ordinary_time(
        self, store: database.Database, fired: bool
    ) -> None:
        sync(store)
        if fired:
            passed(store, 3601)
            done(store, fire(store)[0])
        passed(store, -3650 * DAY)
        assert fire(store) == []
        assert 0 < next_at(store) <= 3600
        passed(store, 3601)
        assert len(fire(store)) == 1

    def test_ahead_by_years_it_fires_once(self, store: database.Database) -> None:
        sync(store)
        passed(store, 3650 * DAY)
        assert len(fire(store)) == 1
        assert 0 < next_at(store) <= 3600

    def test_back_between_two_looks_it_waits(self, store: database.Database) -> None:
        sync(store)
        passed(store, 3601)
        [tick] = ticks.due(store)[0]
        store.execute("UPDATE ticks SET next_at = next_at + 60")
        later = ticks.Tick(tick.flow, tick.schedule, tick.at + 60, tick.since)
        assert ticks.fire(store, later, "run_1", following) is None
        assert len(runs.listed(store)) == 0


class TestTryingAgain:
    def failed(self, store: database.Database, passing: bool = True) -> None:
        """A run of the flow fails."""
        [flow] = ticks.waiting(store)
        run = ticks.release(store, flow, runs.new_id())
        assert run is not None
        ticks.fail(store, flow, passing)
        done(store, run, "failed")

    def test_after_what_passes_after_a_minute_then_five_then_fifteen_then_an_hour(
        self, store: database.Database
    ) -> None:
        sync(store, "manual")
        store.execute("UPDATE ticks SET waiting = 'schedule'")
        for seconds in (60, 300, 900, 3600):
            self.failed(store)
            assert ticks.waiting(store) == []
            assert seconds - 30 < ticks.due(store)[1] <= seconds
            passed(store, seconds - 30)
            assert ticks.waiting(store) == []
            passed(store, 31)
            assert ticks.waiting(store) == [FLOW]
        self.failed(store)
        passed(store, DAY)
        assert ticks.waiting(store) == []  # the rest is its schedule's

    def test_it_is_a_retry(self, store: database.Database) -> None:
        sync(store, "manual")
        ticks.fail(store, FLOW, True)
        assert ticks.release(store, FLOW, "run_1") is None
        passed(store, 61)
        found = ticks.release(store, FLOW, "run_1")
        assert found is not None
        assert found.cause == "retry"
        assert ticks.release(store, FLOW, "run_1") == found
        done(store, found)
        assert ticks.waiting(store) == []

    def test_success_begins_the_count_anew(self, store: database.Database) -> None:
        sync(store, "manual")
        for _ in range(3):
            ticks.fail(store, FLOW, True)
        assert 800 < ticks.due(store)[1] <= 900
        ticks.well(store, FLOW)
        assert ticks.due(store)[1] == 3600.0
        ticks.fail(store, FLOW, True)
        assert 0 < ticks.due(store)[1] <= 60

    @pytest.mark.parametrize("state", ["ok", "failed"])
    def test_a_worker_that_lost_its_run_ends_no_other_runs_retry(
        self, store: database.Database, state: runs.State
    ) -> None:
        sync(store, "manual")
        lost = runs.begin(store, runs.queue(store, "run_1", FLOW, "manual").id, "sleeper")
        store.execute("UPDATE runs SET seen_at = seen_at - 100")
        assert [run.id for run in runs.interrupt(store, 60.0)] == ["run_1"]
        self.failed(store)
        if state == "ok":
            ticks.well(store, FLOW, lost)
        else:
            ticks.fail(store, FLOW, False, lost)
        passed(store, 61)
        assert ticks.waiting(store) == [FLOW]

    def test_a_worker_that_has_its_run_still_counts(self, store: database.Database) -> None:
        sync(store, "manual")
        mine = runs.begin(store, runs.queue(store, "run_1", FLOW, "manual").id, "w")
        ticks.fail(store, FLOW, True, mine)
        assert 0 < ticks.due(store)[1] <= 60
        ticks.well(store, FLOW, mine)
        assert ticks.due(store)[1] == 3600.0

    def test_what_does_not_pass_is_not_tried_again(self, store: database.Database) -> None:
        sync(store, "manual")
        ticks.fail(store, FLOW, True)
        ticks.fail(store, FLOW, False)
        passed(store, DAY)
        assert ticks.waiting(store) == []

    def test_its_ordinary_tick_stands_for_the_retry(self, store: database.Database) -> None:
        sync(store)
        ticks.fail(store, FLOW, True)
        passed(store, 3601)
        [run] = fire(store)
        done(store, run)
        assert ticks.waiting(store) == []

    def test_a_flow_that_nobody_schedules_is_not_tried_again(self, store: database.Database) -> None:
        ticks.fail(store, "pull:unknown", True)
        ticks.well(store, "pull:unknown")
        assert ticks.waiting(store) == []


class TestAfter:
    def test_who_follows_a_flow_is_due_when_that_ends(self, store: database.Database) -> None:
        sync(store, "manual", "pull:a", "pipeline:b", "push:c")
        run = runs.queue(store, "run_1", "pull:a", "manual")
        runs.begin(store, run.id, "w")
        runs.end(store, run.id, "w", "ok", then=["pipeline:b", "push:c"])
        assert ticks.waiting(store) == ["pipeline:b", "push:c"]
        found = ticks.release(store, "pipeline:b", "run_2")
        assert found is not None
        assert found.cause == "after"

    def test_what_ends_while_it_runs_has_it_run_once_more(self, store: database.Database) -> None:
        sync(store, "manual", "pull:a", "pipeline:b")
        busy = runs.queue(store, "run_b", "pipeline:b", "manual")
        for n in range(3):
            run = runs.queue(store, f"run_{n}", "pull:a", "manual")
            runs.begin(store, run.id, "w")
            runs.end(store, run.id, "w", "ok", then=["pipeline:b"])
        assert ticks.waiting(store) == []
        done(store, busy)
        assert ticks.waiting(store) == ["pipeline:b"]
        assert ticks.release(store, "pipeline:b", "run_4") is not None
        with pytest.raises(errors.StoreConflict, match="has a run already"):
            runs.queue(store, "run_5", "pipeline:b", "manual")
        assert ticks.release(store, "pipeline:b", "run_6") is None
