"""Runs that are asked for from outside: new, the queued one, or the one after that which is under way."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable

import pytest

from tidegate import errors
from tidegate.store import calls, database, runs, ticks

Opened = Callable[[], database.Database]
FLOW = "pull:a"
FULL = {"full_refresh": True}


@pytest.fixture(autouse=True)
def _known(store: database.Database) -> None:
    """A scheduler has made the flows known; none of them has a clock."""
    ticks.sync(store, {FLOW: "manual", "pull:b": "manual"}, lambda *_: None)


def released(store: database.Database) -> list[runs.Run]:
    """One look of a scheduler."""
    found = [ticks.release(store, flow, runs.new_id()) for flow in ticks.waiting(store)]
    return [run for run in found if run is not None]


def begun(store: database.Database, run: runs.Run) -> runs.Run:
    found = runs.begin(store, run.id, "w")
    assert found is not None
    return found


def test_a_flow_that_rests_gets_a_run(store: database.Database) -> None:
    call = calls.begin(store, FLOW, "trigger", options=FULL)
    assert (call.new, call.waits) == (True, False)
    assert (call.run.flow, call.run.state, call.run.cause, call.run.options) == (
        FLOW,
        "queued",
        "trigger",
        FULL,
    )


def test_the_queued_run_is_everybodys(store: database.Database) -> None:
    first = calls.begin(store, FLOW, "api").run
    again = calls.begin(store, FLOW, "trigger")
    assert (again.run, again.new, again.waits) == (first, False, False)
    assert [run.id for run in runs.listed(store)] == [first.id]


def test_the_queued_run_does_what_was_asked_too(store: database.Database) -> None:
    first = calls.begin(store, FLOW, "api").run
    assert calls.begin(store, FLOW, "api", options=FULL).run.id == first.id
    assert calls.begin(store, FLOW, "api").run.options == FULL, "who asks for less takes nothing away"
    assert begun(store, first).options == FULL


def test_while_it_runs_all_callers_share_the_run_after_it(store: database.Database) -> None:
    first = begun(store, calls.begin(store, FLOW, "api").run)
    for options in ({}, FULL, {}):
        call = calls.begin(store, FLOW, "api", options=options)
        assert (call.run.id, call.new, call.waits) == (first.id, False, True)
        assert calls.following(store, first) == (None, True)
    assert released(store) == [], "not before it has ended"
    assert runs.end(store, first.id, "w", "ok")
    [second] = released(store)
    assert second.options == FULL
    assert calls.following(store, first) == (second, False)
    assert calls.following(store, second) == (None, False)
    assert released(store) == []


@pytest.mark.parametrize("cause", ["api", "trigger"])
def test_what_waits_is_begun_as_it_was_asked_for(store: database.Database, cause: runs.Cause) -> None:
    """Also where the run that it waits for is interrupted, and is due again itself."""
    first = begun(store, calls.begin(store, FLOW, "api").run)
    calls.begin(store, FLOW, cause, options=FULL)
    store.execute("UPDATE runs SET seen_at = seen_at - 100")
    assert [run.id for run in runs.interrupt(store, 60)] == [first.id]
    [second] = released(store)
    assert (second.cause, second.options) == (cause, FULL)


def test_a_tick_that_waits_and_a_call_are_one_run(store: database.Database) -> None:
    first = begun(store, runs.queue(store, runs.new_id(), FLOW, "schedule"))
    store.execute("UPDATE ticks SET waiting = 'schedule' WHERE flow = :flow", {"flow": FLOW})
    assert calls.begin(store, FLOW, "api", options=FULL).waits
    assert runs.end(store, first.id, "w", "ok")
    [second] = released(store)
    assert (second.cause, second.options) == ("schedule", FULL)
    assert released(store) == []


def test_a_call_is_not_lost_with_the_run_before_it(store: database.Database) -> None:
    first = begun(store, calls.begin(store, FLOW, "api").run)
    assert calls.begin(store, FLOW, "api").waits
    store.execute("UPDATE runs SET seen_at = seen_at - 100 WHERE state = 'running'")
    assert [run.id for run in runs.interrupt(store, 60)] == [first.id]
    [second] = released(store)
    assert calls.following(store, first)[0] == second


def test_a_flow_that_goes_on_for_ever_needs_no_other_run(store: database.Database) -> None:
    run = calls.begin(store, FLOW, "continuous").run
    begun(store, run)
    call = calls.begin(store, FLOW, "continuous")
    assert (call.run.id, call.new, call.waits) == (run.id, False, False)
    with pytest.raises(errors.StoreConflict, match=rf"pull:a has a run already \({run.id}\)"):
        calls.begin(store, FLOW, "continuous", options=FULL)
    assert calls.following(store, run) == (None, False)


def test_before_a_scheduler_knows_the_flow_nothing_can_wait_for_it(store: database.Database) -> None:
    run = begun(store, calls.begin(store, "pull:new", "api").run)
    with pytest.raises(errors.StoreConflict, match=rf"pull:new has a run already \({run.id}\)"):
        calls.begin(store, "pull:new", "api")


def test_calls_of_many_while_runs_come_and_go_each_get_a_run_that_began_after_them(opened: Opened) -> None:
    """Nobody is told of a run that was under way already: it may have read before the call."""
    stores = [opened() for _ in range(4)]

    def work(store: database.Database) -> None:
        begun = next((run for run in runs.listed(store, states=("queued",)) if run.flow == FLOW), None)
        if begun is not None and runs.begin(store, begun.id, "w") is not None:
            runs.end(store, begun.id, "w", "ok")
        released(store)

    def ask(store: database.Database) -> None:
        for _ in range(15):
            before = store.now()
            call = calls.begin(store, FLOW, "api")
            run = call.run
            while call.waits and (found := calls.following(store, call.run)[0]) is None:
                work(store)
            if call.waits:
                assert found is not None
                run = found
            while runs.get(store, run.id).alive:
                work(store)
            assert (runs.get(store, run.id).started_at or 0) >= before

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, stores))
