"""Schedules that are edited while flows run, and configurations of which two versions are in use for a while."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import stepping
from flowing import KEY
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from tidegate import config
from tidegate.config import chains
from tidegate.engine import flows, scheduler
from tidegate.engine import place as places
from tidegate.store import database, runs, ticks

A, B = FLOWS = ("pull:a", "pull:b")
AWAY = "away"
"""The flow is not in the configuration."""
WRITTEN: dict[str, Any] = {
    "manual": "manual",
    "often": "every 10m",
    "hourly": "every 1h",
    "anchored": {"every": "6h", "anchor": "02:00", "timezone": "America/New_York"},
    "nightly": {"cron": "30 2 * * *"},
    "nightly elsewhere": {"cron": "30 2 * * *", "timezone": "Asia/Tokyo"},
    "quarters": {"cron": "*/15 * * * *"},
    "continuous": "continuous",
}
CLOCKED = frozenset(WRITTEN) - {"manual", "continuous"}
"""Schedules that a clock drives."""


@functools.cache
def written(a: str, b: str) -> config.Config:
    """A configuration with these schedules of its two flows; `after` is after the other one."""
    pulls: dict[str, Any] = {
        name.partition(":")[2]: {
            "from": "acme",
            "to": "one",
            "streams": {"customers": {}},
            "schedule": {"after": "a"} if chosen == "after" else WRITTEN[chosen],
        }
        for name, chosen in ((A, a), (B, b))
        if chosen != AWAY
    }
    return config.Config.model_validate(
        {
            "stripe": {"acme": {"api_key": KEY}},
            "warehouses": {"one": {"type": "duckdb", "path": "one.duckdb"}},
            "pulls": pulls,
        }
    )


VERSIONS = st.tuples(st.sampled_from([*WRITTEN, AWAY]), st.sampled_from([*WRITTEN, "after", AWAY])).filter(
    lambda chosen: chosen[1] != "after" or chosen[0] not in ("continuous", AWAY)
)


class Rollout(RuleBasedStateMachine):
    """Two schedulers, each with the configuration that it was started with last, and workers."""

    stores: list[database.Database]
    mine = Bundle("mine")
    """Runs that a worker has begun, and believes to be its own."""

    def __init__(self) -> None:
        super().__init__()
        for table in ("ticks", "runs", "leases"):
            self.stores[0].execute(f"DELETE FROM {table}")
        self.owed: dict[str, set[str]] = {}
        """By flow that is due, the runs that had begun before it was."""
        self.allowed = dict.fromkeys(FLOWS, 0)
        """By flow, how often there was a reason for a run."""
        self.counted: set[tuple[str, float]] = set()
        """The ticks that were such a reason."""
        self.ended: set[str] = set()
        self.version = ("often", "manual")
        """The file that was read last; its schedules count."""
        self.files = [self.version, self.version]
        self.clocks: list[scheduler.Scheduler] = []
        for store in self.stores:
            self.clocks.append(scheduler.Scheduler(places.Place(written(*self.version), store)))
            self.clocks[-1].begin()

    def chosen(self, flow: str) -> str:
        return self.version[FLOWS.index(flow)]

    def began(self, flow: str) -> set[str]:
        rows = self.stores[0].execute(
            "SELECT id FROM runs WHERE flow = :flow AND started_at IS NOT NULL", {"flow": flow}
        )
        return {row["id"] for row in rows}

    def count_ticks(self) -> None:
        """Whatever is due is a reason for a run, and each of its flows is to have one."""
        for tick in ticks.due(self.stores[0])[0]:
            if (tick.flow, tick.at) not in self.counted:
                self.counted.add((tick.flow, tick.at))
                self.allowed[tick.flow] += 1
            self.owed.setdefault(tick.flow, self.began(tick.flow))

    def pay(self) -> None:
        self.owed = {flow: before for flow, before in self.owed.items() if self.began(flow) <= before}

    @rule(version=VERSIONS, who=st.integers(0, 1))
    def one_is_started_with_an_edited_file(self, version: tuple[str, str], who: int) -> None:
        """The other one still has the file that it was started with."""
        self.count_ticks()
        before, self.version = self.version, version
        self.files[who] = version
        self.clocks[who] = scheduler.Scheduler(places.Place(written(*version), self.stores[who]))
        self.clocks[who].begin()
        for flow, was in zip(FLOWS, before, strict=True):
            if self.chosen(flow) not in CLOCKED:
                self.owed.pop(flow, None)  # nobody wants it by the clock any more
            if self.chosen(flow) == "continuous" != was:
                self.allowed[flow] += 1

    @rule(who=st.integers(0, 1))
    def one_is_started_with_the_newest_file(self, who: int) -> None:
        self.one_is_started_with_an_edited_file(self.version, who)

    @rule(who=st.integers(0, 1))
    def one_is_started_again_with_the_file_it_had(self, who: int) -> None:
        self.one_is_started_with_an_edited_file(self.files[who], who)

    @rule(who=st.integers(0, 1))
    def one_looks(self, who: int) -> None:
        self.count_ticks()
        before = {run.id for run in runs.listed(self.stores[0], states=runs.ALIVE)}
        self.clocks[who].turn()
        self.count_ticks()
        for run in map(functools.partial(runs.get, self.stores[0]), before):
            if run.state == "interrupted":
                self.over(run)
        self.pay()

    @rule(seconds=st.sampled_from([30, 61, 600, 3_700, 30_000, 100_000]))
    def time_passes(self, seconds: int) -> None:
        self.stores[0].execute(
            "UPDATE ticks SET since = since - :s, next_at = next_at - :s, fired_at = fired_at - :s, "
            "retry_at = retry_at - :s",
            {"s": seconds},
        )
        self.stores[0].execute(
            "UPDATE runs SET queued_at = queued_at - :s, started_at = started_at - :s, "
            "seen_at = seen_at - :s, finished_at = finished_at - :s",
            {"s": seconds},
        )
        self.counted = {(flow, at - seconds) for flow, at in self.counted}
        self.count_ticks()

    @rule(flow=st.sampled_from(FLOWS))
    def a_person_starts(self, flow: str) -> None:
        if runs.alive(self.stores[0], flow) is None:
            runs.queue(self.stores[0], runs.new_id(), flow, "manual")
            self.allowed[flow] += 1

    @rule(target=mine)
    def a_worker_begins(self) -> object:
        queued = runs.listed(self.stores[0], states=("queued",))
        if not queued:
            return multiple()
        run = runs.begin(self.stores[0], queued[-1].id, "w")
        assert run is not None
        self.pay()
        return run

    @rule(run=consumes(mine), state=st.sampled_from(["ok", "failed", "interrupted", "killed"]))
    def a_worker_ends(self, run: runs.Run, state: Any) -> None:
        if state == "killed":
            return  # nobody hears of it again, until it is found to be silent
        store = self.stores[0]
        then = chains.downstream(written(*self.version)).get(run.flow, ()) if state == "ok" else ()
        if state == "failed":
            ticks.fail(store, run.flow, True)
        if state == "ok":
            ticks.well(store, run.flow)
        if runs.end(store, run.id, "w", state, then=then):
            self.over(run)
            for flow in then:
                self.allowed[flow] += 1

    def over(self, run: runs.Run) -> None:
        """One that failed, was interrupted or was continuous is begun again."""
        if run.id not in self.ended:
            self.ended.add(run.id)
            self.allowed[run.flow] += 1

    @invariant()
    def every_flow_has_one_run_at_most(self) -> None:
        rows = self.stores[0].execute(
            "SELECT flow FROM runs WHERE state IN ('queued', 'running') GROUP BY flow HAVING count(*) > 1"
        )
        assert rows == []

    @invariant()
    def no_flow_has_more_runs_than_there_were_reasons(self) -> None:
        self.count_ticks()
        rows = self.stores[0].execute("SELECT flow, count(*) AS n FROM runs GROUP BY flow")
        assert all(row["n"] <= self.allowed[row["flow"]] for row in rows), (rows, self.allowed)

    def teardown(self) -> None:
        """One is left, of whichever file, and who was killed falls silent: then all that was due is done."""
        self.count_ticks()
        self.stores[0].execute("UPDATE leases SET until = until - 61")
        self.version = self.files[0]
        for flow in FLOWS:
            self.allowed[flow] += self.chosen(flow) == "continuous"
        self.one_looks(0)
        self.owed = {flow: before for flow, before in self.owed.items() if self.chosen(flow) in CLOCKED}
        known = written(*self.version).pulls
        for _ in range(20):
            self.stores[0].execute("UPDATE runs SET seen_at = seen_at - 1000")
            self.one_looks(0)
            for run in stepping.do_queued(self.stores[0], lambda _: self.pay()):
                self.over(run)
            if not self.owed and not ticks.waiting(self.stores[0]):
                break
        assert self.owed == {}, "a tick was lost"
        wanted = {f"pull:{name}": flows.text(pull.schedule) for name, pull in known.items()}
        rows = self.stores[0].execute("SELECT flow, schedule, next_at FROM ticks")
        assert {row["flow"]: row["schedule"] for row in rows} == wanted
        clocked = {row["flow"] for row in rows if row["next_at"] is not None}
        assert clocked == {flow for flow in FLOWS if self.chosen(flow) in CLOCKED}


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_any_order_of_edits(kind: str, tmp_path: Path) -> None:
    with stepping.opened(kind, tmp_path, 2) as stores:
        stepping.any_order(Rollout, stores, 60)
