"""Two schedulers and three workers in any order of their steps: what must hold, holds after each."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
import stepping
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from tidegate import errors
from tidegate.store import database, runs, ticks

FLOWS = ("pull:a", "pull:b", "pipeline:c")
AFTER = {"pull:a": ("pipeline:c",)}
SILENT = 60.0
SCHEDULERS, WORKERS = st.integers(0, 1), st.integers(0, 2)


def following(flow: str, schedule: str, after: float, since: float) -> float | None:
    """Every ten minutes, or never."""
    del flow
    return None if schedule == "manual" else since + (int((after - since) // 600) + 1) * 600


class Engine(RuleBasedStateMachine):
    """What schedulers and workers do, beside what they were told."""

    stores: list[database.Database]
    seen = Bundle("seen")
    """Ticks that a scheduler saw and comes back to later, when another one may have been there; and when it saw."""
    mine = Bundle("mine")
    """Runs that a worker has begun, and believes to be its own."""

    def __init__(self) -> None:
        super().__init__()
        for table in ("ticks", "runs"):
            self.stores[0].execute(f"DELETE FROM {table}")
        self.numbers = itertools.count(1)
        self.passed = 0
        self.fired: set[tuple[str, float]] = set()
        self.owed: dict[str, set[str]] = {flow: set() for flow in FLOWS}
        """By flow, the runs that were there when it became due and had no run of its own since."""
        self.ended: dict[str, str] = {}
        wanted = {"pull:a": "600", "pull:b": "600", "pipeline:c": "manual"}
        ticks.sync(self.stores[0], wanted, following)

    def new_id(self) -> str:
        return f"run_{next(self.numbers):04x}"

    def became_due(self, flow: str) -> None:
        self.owed[flow] = self.began_ever(flow)

    def began_ever(self, flow: str) -> set[str]:
        rows = self.stores[0].execute(
            "SELECT id FROM runs WHERE flow = :flow AND started_at IS NOT NULL", {"flow": flow}
        )
        return {row["id"] for row in rows} | {"nothing"}

    @rule(target=seen, seconds=st.sampled_from([30, 61, 600, 3000]), who=SCHEDULERS)
    def time_passes_and_a_scheduler_looks(self, seconds: int, who: int) -> object:
        self.passed += seconds
        self.stores[0].execute(
            "UPDATE ticks SET since = since - :s, next_at = next_at - :s, fired_at = fired_at - :s, "
            "retry_at = retry_at - :s",
            {"s": seconds},
        )
        self.stores[0].execute("UPDATE runs SET seen_at = seen_at - :s", {"s": seconds})
        shifted = {(flow, at - seconds) for flow, at in self.fired}
        self.fired = shifted
        for tick in ticks.due(self.stores[0])[0]:
            if not self.owed[tick.flow]:
                self.became_due(tick.flow)
        return multiple(*((who, self.passed, tick) for tick in ticks.due(self.stores[who])[0]))

    @rule(tick=seen)
    def a_scheduler_fires_what_it_saw(self, tick: tuple[int, int, ticks.Tick]) -> None:
        who, then, what = tick
        ago = self.passed - then
        what = dataclasses.replace(what, at=what.at - ago, since=what.since - ago)
        run = ticks.fire(self.stores[who], what, self.new_id(), following)
        if run is not None:
            assert (what.flow, what.at) not in self.fired, "a tick fired twice"
            self.fired.add((what.flow, what.at))

    @rule(who=SCHEDULERS)
    def a_scheduler_releases(self, who: int) -> None:
        for flow in ticks.waiting(self.stores[who]):
            assert ticks.release(self.stores[who], flow, self.new_id()) is not None

    @rule(who=SCHEDULERS)
    def a_scheduler_interrupts(self, who: int) -> None:
        for run in runs.interrupt(self.stores[who], SILENT):
            self.over(run.id, run.state)
            if run.state == "interrupted":
                self.became_due(run.flow)

    @rule(flow=st.sampled_from(FLOWS))
    def a_person_starts(self, flow: str) -> None:
        there = runs.alive(self.stores[0], flow)
        try:
            runs.queue(self.stores[0], self.new_id(), flow, "manual")
            assert there is None
        except errors.StoreConflict:
            assert there is not None

    @rule(flow=st.sampled_from(FLOWS))
    def a_person_cancels(self, flow: str) -> None:
        run = runs.alive(self.stores[0], flow)
        if run is not None:
            found = runs.cancel(self.stores[0], run.id, "me")
            if not found.alive:
                self.over(run.id, "cancelled")
            self.owed[flow] = set()  # whoever cancels has what was due not done

    @rule(target=mine, who=WORKERS)
    def a_worker_begins(self, who: int) -> object:
        queued = runs.listed(self.stores[who], states=("queued",))
        if not queued:
            return multiple()
        run = runs.begin(self.stores[who], queued[-1].id, f"w{who}")
        assert run is not None
        self.pay(run)
        return (who, run)

    def pay(self, run: runs.Run) -> None:
        """A run that has begun is that of a flow that was due before."""
        if self.owed[run.flow] and run.id not in self.owed[run.flow]:
            self.owed[run.flow] = set()

    @rule(run=mine)
    def a_worker_beats(self, run: tuple[int, runs.Run]) -> None:
        who, what = run
        seen = runs.beat(self.stores[who], what.id, f"w{who}", {})
        assert (seen is None) == (what.id in self.ended)

    @rule(run=consumes(mine), state=st.sampled_from(["ok", "partial", "failed", "interrupted", "killed"]))
    def a_worker_ends(self, run: tuple[int, runs.Run], state: runs.State) -> None:
        who, what = run
        store = self.stores[who]
        if state not in runs.STATES:
            return  # it was killed: nobody hears of it again
        if state == "failed":
            ticks.fail(store, what.flow, True)
        then = AFTER.get(what.flow, ()) if state == "ok" else ()
        mine = runs.end(store, what.id, f"w{who}", state, then=then)
        if what.id in self.ended:
            assert mine == (self.ended[what.id] == state)
            return
        assert mine
        self.over(what.id, state)
        if state == "interrupted" and not runs.get(store, what.id).cancelled_by:
            self.became_due(what.flow)
        for flow in then:
            self.became_due(flow)

    def over(self, run_id: str, state: str) -> None:
        assert run_id not in self.ended, "it ended twice"
        self.ended[run_id] = state

    @invariant()
    def every_flow_has_one_run_at_most(self) -> None:
        rows = self.stores[0].execute(
            "SELECT flow, count(*) AS n FROM runs WHERE state IN ('queued', 'running') GROUP BY flow"
        )
        assert all(row["n"] == 1 for row in rows)

    @invariant()
    def whatever_ended_stays_as_it_ended(self) -> None:
        states = {row["id"]: row["state"] for row in self.stores[0].execute("SELECT id, state FROM runs")}
        assert {name: states[name] for name in self.ended} == self.ended

    def teardown(self) -> None:
        """Everybody who was killed falls silent, the others go on: then nothing is left that was due."""
        store = self.stores[0]
        for _ in range(20):
            store.execute("UPDATE runs SET seen_at = seen_at - 1000")
            runs.interrupt(store, SILENT)
            for tick in ticks.due(store)[0]:
                ticks.fire(store, tick, self.new_id(), following)
            for flow in ticks.waiting(store):
                ticks.release(store, flow, self.new_id())
            if not stepping.do_queued(store, self.pay, lambda flow: AFTER.get(flow, ())):
                break
        assert runs.listed(store, states=runs.ALIVE) == []
        assert ticks.waiting(store) == []
        assert self.owed == {flow: set() for flow in FLOWS}, "a tick was lost"


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_any_order_of_steps(kind: str, tmp_path: Path) -> None:
    with stepping.opened(kind, tmp_path, 3) as stores:
        stepping.any_order(Engine, stores, 50)
