"""Runs: one at a time for each flow, from queued to ended, whoever asks how often."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable

import pytest

from tidegate import errors
from tidegate.store import database, logs, runs, ticks

Opened = Callable[[], database.Database]
FLOW = "pull:a"


def begun(store: database.Database, flow: str = FLOW, worker: str = "w", **options: object) -> runs.Run:
    """A run that a worker has begun."""
    run = runs.queue(store, runs.new_id(), flow, "manual", options=options)
    found = runs.begin(store, run.id, worker)
    assert found is not None
    return found


def ended(store: database.Database, flow: str = FLOW, state: runs.State = "ok") -> runs.Run:
    """A run that has ended."""
    run = begun(store, flow)
    assert runs.end(store, run.id, "w", state)
    return runs.get(store, run.id)


def silent(store: database.Database, run: runs.Run, seconds: float = 100.0) -> None:
    """Let so much time pass since its worker was heard."""
    store.execute(
        "UPDATE runs SET seen_at = seen_at - :seconds WHERE id = :id", {"id": run.id, "seconds": seconds}
    )


def known(store: database.Database, *flows: str) -> None:
    """Flows without a clock."""
    ticks.sync(store, dict.fromkeys(flows, "manual"), lambda *_: None)


class TestFromQueuedToEnded:
    def test_a_run_goes_its_way(self, store: database.Database) -> None:
        run = runs.queue(store, "run_1", FLOW, "manual", options={"full_refresh": True})
        assert (run.id, run.flow, run.state, run.cause) == ("run_1", FLOW, "queued", "manual")
        assert run.options == {"full_refresh": True}
        assert run.due_at == pytest.approx(run.queued_at, abs=1.0)

        begun = runs.begin(store, "run_1", "w")
        assert begun is not None
        assert (begun.state, begun.worker, begun.attempts) == ("running", "w", 1)

        seen = runs.beat(store, "run_1", "w", {"rows": 7})
        assert seen is not None
        assert seen.progress == {"rows": 7}

        assert runs.end(store, "run_1", "w", "partial", totals={"read": 9}, error="charges: no permission")
        found = runs.get(store, "run_1")
        assert (found.state, found.error, found.totals) == ("partial", "charges: no permission", {"read": 9})
        assert not found.alive
        assert found.queued_at <= (found.started_at or 0) <= (found.seen_at or 0) <= (found.finished_at or 0)

    def test_a_flow_has_one_run_at_a_time(self, store: database.Database) -> None:
        run = begun(store)
        with pytest.raises(errors.StoreConflict, match=f"pull:a has a run already \\({run.id}\\); wait"):
            runs.queue(store, runs.new_id(), FLOW, "manual")
        runs.queue(store, runs.new_id(), "pull:b", "manual")
        runs.end(store, run.id, "w", "ok")
        assert runs.alive(store, FLOW) is None
        assert runs.queue(store, "next", FLOW, "manual").state == "queued"

    def test_of_many_who_queue_at_once_one_does(self, opened: Opened) -> None:
        stores = [opened() for _ in range(6)]

        def queue(store: database.Database) -> bool:
            try:
                runs.queue(store, runs.new_id(), FLOW, "manual")
            except errors.StoreConflict:
                return False
            return True

        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(queue, stores)) == 1

    def test_of_many_who_begin_it_at_once_one_has_it(self, opened: Opened) -> None:
        stores = [opened() for _ in range(6)]
        run = runs.queue(stores[0], runs.new_id(), FLOW, "manual")

        def begin(numbered: tuple[int, database.Database]) -> runs.Run | None:
            return runs.begin(numbered[1], run.id, f"w{numbered[0]}")

        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            [found] = [each for each in pool.map(begin, enumerate(stores)) if each is not None]
        assert runs.get(stores[0], run.id).worker == found.worker

    def test_whatever_is_said_twice_counts_once(self, store: database.Database) -> None:
        known(store, FLOW, "pull:b")
        for _ in range(2):
            assert runs.queue(store, "run_1", FLOW, "manual").state == "queued"
        first, again = runs.begin(store, "run_1", "w"), runs.begin(store, "run_1", "w")
        assert first is not None
        assert again is not None
        assert (first.attempts, again.attempts) == (1, 1)
        assert first.started_at == again.started_at
        assert runs.end(store, "run_1", "w", "ok", then=["pull:b"])
        once = runs.get(store, "run_1")
        next_one = ticks.release(store, "pull:b", "run_2")
        assert next_one is not None
        assert next_one.cause == "after"
        runs.cancel(store, "run_2", "me")
        assert runs.end(store, "run_1", "w", "ok", then=["pull:b"])
        assert runs.get(store, "run_1") == once
        assert ticks.waiting(store) == []
        assert runs.cancel(store, "run_2", "me").state == "cancelled"

    def test_who_has_lost_it_is_told_so(self, store: database.Database) -> None:
        run = begun(store, worker="first")
        assert runs.beat(store, run.id, "second", {}) is None
        assert not runs.end(store, run.id, "second", "ok")
        assert runs.begin(store, run.id, "second") is None
        assert runs.get(store, run.id).state == "running"

    def test_texts_hold_anything_and_stay_small(self, store: database.Database) -> None:
        run = begun(store, note="a\0b")
        runs.beat(store, run.id, "w", {"phase": "a\0\U0001f600"})
        logs.write(store, run.id, "w", 0, [logs.Line(1.0, "info", "nul \0, half \ud83d, whole \U0001f600")])
        runs.end(store, run.id, "w", "failed", error="\0" + "x" * 100_000)
        found = runs.get(store, run.id)
        assert found.options == {"note": "a\0b"}
        assert found.progress == {"phase": "a\0\U0001f600"}
        assert (found.error[0], len(found.error)) == ("\ufffd", logs.LONGEST)
        [line] = logs.read(store, run.id)[0]
        assert line.text == "nul \ufffd, half ?, whole \U0001f600"


class TestCancelled:
    def test_one_that_is_queued_ends_at_once(self, store: database.Database) -> None:
        runs.queue(store, "run_1", FLOW, "manual")
        found = runs.cancel(store, "run_1", "ann")
        assert (found.state, found.cancelled_by) == ("cancelled", "ann")
        assert found.finished_at is not None
        assert runs.begin(store, "run_1", "w") is None

    def test_one_that_runs_is_asked_to(self, store: database.Database) -> None:
        run = begun(store)
        assert runs.cancel(store, run.id, "ann").state == "running"
        seen = runs.beat(store, run.id, "w", {})
        assert seen is not None
        assert seen.cancelled_by == "ann"

    def test_one_that_has_ended_stays_as_it_is(self, store: database.Database) -> None:
        run = ended(store)
        with pytest.raises(errors.ConfigError, match=f"{run.id} has ended already: ok"):
            runs.cancel(store, run.id, "ann")
        with pytest.raises(errors.ConfigError, match="There is no run run_x"):
            runs.cancel(store, "run_x", "ann")

    def test_one_whose_worker_is_gone_too_is_not_begun_again(self, store: database.Database) -> None:
        known(store, FLOW)
        run = begun(store)
        runs.cancel(store, run.id, "ann")
        silent(store, run)
        [found] = runs.interrupt(store, 60.0)
        assert (found.state, found.error) == (
            "cancelled",
            "The process that ran it is gone; what it committed stays.",
        )
        assert ticks.waiting(store) == []


class TestInterrupted:
    def test_a_run_of_a_silent_worker_ends_and_its_flow_goes_on_with_the_same_options(
        self, store: database.Database
    ) -> None:
        known(store, FLOW)
        run = begun(store, full_refresh=True)
        assert runs.interrupt(store, 60.0) == []
        silent(store, run)
        [found] = runs.interrupt(store, 60.0)
        assert (found.id, found.state) == (run.id, "interrupted")
        assert "the next run goes on from there" in found.error
        assert runs.interrupt(store, 60.0) == []

        assert ticks.waiting(store) == [FLOW]
        again = ticks.release(store, FLOW, "run_2")
        assert again is not None
        assert (again.cause, again.options) == ("retry", {"full_refresh": True})
        assert ticks.waiting(store) == []
        runs.begin(store, "run_2", "w")
        runs.end(store, "run_2", "w", "ok")
        assert ticks.release(store, FLOW, "run_3") is None

    def test_the_worker_hears_of_it_when_it_wakes(self, store: database.Database) -> None:
        known(store, FLOW)
        run = begun(store, worker="sleeper")
        silent(store, run)
        runs.interrupt(store, 60.0)
        assert runs.beat(store, run.id, "sleeper", {"rows": 1}) is None
        assert not runs.end(store, run.id, "sleeper", "ok", then=[FLOW])
        assert runs.get(store, run.id).state == "interrupted"

        ticks.release(store, FLOW, "run_2")
        runs.begin(store, "run_2", "w")
        runs.end(store, run.id, "sleeper", "interrupted")
        runs.end(store, "run_2", "w", "ok")
        assert ticks.waiting(store) == []  # what the sleeper says has nobody run again

    def test_one_that_ends_so_by_itself_goes_on_too(self, store: database.Database) -> None:
        known(store, FLOW, "pull:b")
        run, other = begun(store, full_refresh=True), begun(store, "pull:b")
        runs.cancel(store, other.id, "ann")
        assert runs.end(store, run.id, "w", "interrupted", error="It was stopped with its process.")
        assert runs.end(store, other.id, "w", "interrupted")
        assert ticks.waiting(store) == [FLOW]
        again = ticks.release(store, FLOW, "run_2")
        assert again is not None
        assert again.options == {"full_refresh": True}

    def test_a_continuous_one_is_left_to_who_keeps_it_up(self, store: database.Database) -> None:
        known(store, FLOW)
        runs.queue(store, "run_1", FLOW, "continuous")
        run = runs.begin(store, "run_1", "w")
        assert run is not None
        silent(store, run)
        assert len(runs.interrupt(store, 60.0)) == 1
        assert ticks.waiting(store) == []

    def test_a_flow_that_nobody_schedules_does_not_go_on(self, store: database.Database) -> None:
        run = begun(store, "pull:unknown")
        silent(store, run)
        assert len(runs.interrupt(store, 60.0)) == 1
        assert ticks.waiting(store) == []

    def test_after_the_clock_was_set_back_everybody_has_their_time_again(
        self, store: database.Database
    ) -> None:
        run = begun(store)
        silent(store, run, -86_400.0)  # seen tomorrow, the clock says
        assert runs.interrupt(store, 60.0) == []
        assert (runs.get(store, run.id).seen_at or 0.0) <= store.now()
        silent(store, run)
        assert len(runs.interrupt(store, 60.0)) == 1

    def test_of_two_who_find_it_one_tells(self, opened: Opened) -> None:
        stores = [opened() for _ in range(4)]
        known(stores[0], FLOW)
        silent(stores[0], begun(stores[0]))
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda store: runs.interrupt(store, 60.0), stores))
        assert sum(map(len, found)) == 1


class TestListed:
    def test_newest_first_page_by_page(self, store: database.Database) -> None:
        made = [ended(store, f"pull:{n % 2}") for n in range(7)]
        store.execute("UPDATE runs SET queued_at = round(queued_at)")  # so that some are of the same moment
        first = runs.listed(store, limit=3)
        second = runs.listed(store, limit=3, before=first[-1])
        third = runs.listed(store, limit=3, before=second[-1])
        pages = [*first, *second, *third]
        assert len(pages) == 7
        assert {each.id for each in pages} == {each.id for each in made}
        assert pages == sorted(pages, key=lambda each: (each.queued_at, each.id), reverse=True)

    def test_of_a_flow_or_in_some_states(self, store: database.Database) -> None:
        failed, fine = ended(store, state="failed"), ended(store)
        other = ended(store, "pull:b", "partial")
        queued = runs.queue(store, runs.new_id(), FLOW, "manual")

        def ids(found: list[runs.Run]) -> list[str]:
            return [each.id for each in found]

        assert ids(runs.listed(store, flow=FLOW)) == [queued.id, fine.id, failed.id]
        assert ids(runs.listed(store, states=("failed", "partial"))) == [other.id, failed.id]
        assert ids(runs.listed(store, states=("failed", "partial"), limit=1)) == [other.id]
        assert ids(runs.listed(store, states=("queued", "running"))) == [queued.id]
        assert ids(runs.listed(store, flow="pull:b", states=("failed",))) == []

    def test_a_run_is_found_by_the_beginning_of_its_id(self, store: database.Database) -> None:
        for name in ("run_ab12", "run_ab9f", "run_cafe"):
            runs.queue(store, name, f"pull:{name}", "manual")
        assert runs.get(store, "run_c").id == "run_cafe"
        assert runs.get(store, "run_ab9").id == "run_ab9f"
        with pytest.raises(errors.ConfigError, match="Several runs begin with run_ab; give more"):
            runs.get(store, "run_ab")
        with pytest.raises(errors.ConfigError, match="There is no run run_b"):
            runs.get(store, "run_b")
        runs.queue(store, "run_ca", "pull:short", "manual")
        assert runs.get(store, "run_ca").id == "run_ca"
