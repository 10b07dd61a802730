"""Plans of pushes: kept whole, approved once, and gone when they are over."""

from __future__ import annotations

import json

import pytest

from tidegate import errors
from tidegate.store import database, plans, runs, trail

PUSH = "accounts"


def made(store: database.Database, plan_id: str = "plan_1", rows: int = 3) -> plans.Plan:
    plans.begin(store, plan_id, PUSH, "push", {"repair": False}, "ann")
    entries = ((("create", "held")[n % 2], f"k{n}", json.dumps({"key": f"k{n}"})) for n in range(rows))
    digest = plans.add(store, plan_id, entries)
    assert plans.keep(store, plan_id, {"counts": {"created": rows}}, digest)
    found = plans.get(store, plan_id)
    assert found is not None
    return found


def approve(store: database.Database, found: plans.Plan, run_id: str = "run_1", digest: str = "") -> runs.Run:
    return plans.approve(
        store, found.id, digest or found.digest, run_id, {"plan": found.id}, who="ann", via="session"
    )


def test_a_plan_is_kept_as_it_was_made(store: database.Database) -> None:
    found = made(store, rows=1_200)
    assert (found.state, found.wish, found.body) == (
        "planned",
        {"repair": False},
        {"counts": {"created": 1_200}},
    )
    assert plans.waiting(store) == [found]
    assert [json.loads(each)["key"] for each in plans.whole(store, found)] == [f"k{n}" for n in range(1_200)]
    page = plans.rows(store, found.id, verdicts=("held",), limit=2)
    assert [number for number, _ in page] == [2, 4]
    assert [number for number, _ in plans.rows(store, found.id, verdicts=("held",), after=4, limit=1)] == [6]
    assert [number for number, _ in plans.rows(store, found.id, search="k119", limit=50)] == [
        120,
        *range(1_191, 1_201),
    ]


def test_another_plan_takes_the_place_of_one_that_nobody_approved(store: database.Database) -> None:
    first = made(store)
    second = made(store, "plan_2")
    assert plans.get(store, first.id) is None
    assert plans.rows(store, first.id) == []
    assert plans.latest(store, PUSH) == second


def test_one_is_made_at_a_time_and_none_while_one_is_done(store: database.Database) -> None:
    plans.begin(store, "plan_0", "others", "push", {}, "ann")
    plans.begin(store, "plan_1", PUSH, "push", {}, "ann")
    with pytest.raises(errors.StoreConflict, match="is being made already"):
        plans.begin(store, "plan_2", PUSH, "push", {}, "bob")
    assert plans.beat(store, "plan_1", "reading the model")
    plans.fail(store, "plan_1", "The file is away.")
    assert not plans.beat(store, "plan_1", "")
    approve(store, made(store, "plan_3"))
    with pytest.raises(errors.StoreConflict, match="is being done already"):
        plans.begin(store, "plan_4", PUSH, "push", {}, "bob")


def test_an_approval_is_one_run_and_one_line_of_the_audit_log(store: database.Database) -> None:
    found = made(store)
    with pytest.raises(errors.StoreConflict, match="not the plan that you were shown"):
        approve(store, found, digest="other")
    run = approve(store, found)
    assert approve(store, found) == run
    assert (run.flow, run.options, run.cause) == ("push:accounts", {"plan": found.id}, "manual")
    with pytest.raises(errors.StoreConflict, match="approved already by ann"):
        approve(store, found, "run_2")
    assert len(runs.listed(store)) == 1
    assert [each.action for each in trail.listed(store)] == ["approve"]


def test_a_discard_is_noted_with_it_and_not_where_somebody_approved_meanwhile(
    store: database.Database,
) -> None:
    line = trail.Note("bob", "discard", f"push:{PUSH}")
    found = made(store)
    plans.discard(store, found.id, line)
    assert plans.get(store, found.id) is None
    assert [each.action for each in trail.listed(store)] == ["discard"]
    other = made(store, "plan_2")
    approve(store, other)
    with pytest.raises(errors.StoreConflict, match="approved already"):
        plans.discard(store, other.id, trail.Note("bob", "discard", f"push:{PUSH}"))
    assert [each.action for each in trail.listed(store)] == ["approve", "discard"]


def test_a_flow_that_runs_keeps_a_plan_from_being_done(store: database.Database) -> None:
    found = made(store)
    runs.queue(store, "run_0", "push:accounts", "manual")
    with pytest.raises(errors.StoreConflict, match="has a run already"):
        approve(store, found)
    assert plans.get(store, found.id) == found
    assert trail.listed(store) == []


def test_a_plan_is_taken_up_until_it_is_done(store: database.Database) -> None:
    found = made(store)
    assert plans.taken_up(store, found.id, "run_1") is None, "nobody approved it"
    approve(store, found)
    assert plans.taken_up(store, found.id, "run_2") is not None
    plans.applied(store, found.id)
    assert plans.taken_up(store, found.id, "run_3") is None
    after = plans.get(store, found.id)
    assert after is not None
    assert (after.state, after.run) == ("applied", "run_2")


def test_of_an_interrupted_run_the_approval_stays_and_can_be_given_again(store: database.Database) -> None:
    found = made(store)
    approve(store, found)
    store.execute("UPDATE runs SET state = 'interrupted' WHERE id = 'run_1'")
    latest = plans.latest(store, PUSH)
    assert latest is not None
    assert latest.state == "approved"
    assert approve(store, found, "run_2").id == "run_2"


def test_rows_that_are_not_those_that_were_approved_are_not_given(store: database.Database) -> None:
    found = made(store)
    store.execute("DELETE FROM plan_rows WHERE number = 2")
    with pytest.raises(errors.StoreError, match="not whole any more"):
        plans.whole(store, found)


def test_a_forgotten_row_takes_its_plan_with_it_unless_that_is_being_done(store: database.Database) -> None:
    found = made(store)
    store.transact(lambda session: plans.forget(session, PUSH, "k9"))
    assert plans.get(store, found.id) is not None
    store.transact(lambda session: plans.forget(session, PUSH, "k1"))
    assert plans.get(store, found.id) is None
    assert store.execute("SELECT * FROM plan_rows") == []
    approve(store, made(store, "plan_2"))
    store.transact(lambda session: plans.forget(session, PUSH, "k1"))
    assert plans.get(store, "plan_2") is not None


def test_old_plans_go_but_not_one_that_is_being_done(store: database.Database) -> None:
    made(store)
    plans.add(store, "plan_0", [("create", "k", "{}")])  # of a plan that was discarded meanwhile
    assert plans.prune(store) == 0
    assert [row["plan"] for row in store.execute("SELECT DISTINCT plan FROM plan_rows")] == ["plan_1"]
    store.execute("UPDATE plans SET planned_at = 0, begun_at = 0")
    assert plans.prune(store) == 1
    approve(store, made(store, "plan_2"))
    store.execute("UPDATE plans SET planned_at = 0, begun_at = 0")
    assert plans.prune(store) == 0
