"""Runs as people look for them."""

from __future__ import annotations

import pytest
import running

from tidegate.store import database, history, runs


def ids(found: list[runs.Run]) -> list[str]:
    return [run.id for run in found]


def test_each_condition_narrows_and_all_hold_together(store: database.Database) -> None:
    old = running.ended(store, "pull:a", ago=1000.0, error="100% of it!")
    failed = running.ended(store, "push:a", "failed", ago=500.0)
    queued = runs.queue(store, runs.new_id(), "pipeline:b_c", "schedule")

    def found(**only: object) -> list[str]:
        wanted = history.Filter(**only)  # type: ignore[arg-type]  # by name
        listed = ids(history.page(store, wanted, limit=10))
        assert history.counted(store, wanted) == len(listed)
        return listed

    assert found() == [queued.id, failed.id, old.id]
    assert found(flow="pull:a") == [old.id]
    assert found(kind="push") == [failed.id]
    assert found(kind="pipeline") == [queued.id]
    assert found(states=("failed", "ok")) == [failed.id, old.id]
    assert found(states=("running",)) == []
    assert found(causes=("schedule", "api")) == [queued.id]
    assert found(since=old.queued_at + 1.0) == [queued.id, failed.id]
    assert found(until=failed.queued_at) == [old.id]
    assert found(search="PIPE") == [queued.id]
    assert found(search="100%") == found(search="it!") == [old.id]
    assert found(search="b_c") == [queued.id]
    assert found(search="bxc") == []
    assert found(search=failed.id[:10]) == [failed.id]
    assert found(search=failed.id[4:]) == [], "ids are found by how they begin"
    assert found(kind="pull", states=("failed",)) == []


def test_pages_follow_each_other_also_within_one_moment(store: database.Database) -> None:
    for _ in range(7):
        running.ended(store)
    store.execute("UPDATE runs SET queued_at = round(queued_at)")
    only, found, after = history.Filter(), list[runs.Run](), None
    while page := history.page(store, only, limit=3, after=after):
        found += page
        after = (page[-1].queued_at, page[-1].id)
    assert len(set(ids(found))) == 7
    assert found == sorted(found, key=lambda run: (run.queued_at, run.id), reverse=True)


def test_what_is_no_state_or_cause_is_a_mistake(store: database.Database) -> None:
    for only in (history.Filter(states=("well",)), history.Filter(causes=("'",))):
        with pytest.raises(AssertionError):
            history.page(store, only, limit=1)


def test_the_last_run_of_a_flow_and_those_that_go_on(store: database.Database) -> None:
    fine = running.ended(store, "pull:a", ago=10.0)
    failed = running.ended(store, "pull:a", "failed")
    begun = running.begun(store, "pull:a")
    queued = runs.queue(store, runs.new_id(), "pull:b", "manual")

    def work(session: database.Session) -> list[object]:
        return [
            history.last(session, "pull:a"),
            history.last(session, "pull:a", "ok"),
            history.last(session, "pull:b"),
            {run.id for run in history.going(session)},
        ]

    last, good, none, going = store.transact(work)
    assert (last, good, none) == (failed, fine, None)
    assert going == {begun.id, queued.id}
