"""Plans that are approved: done exactly, once, also where whoever does them is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pushed_people as people
import pytest
import writing_back
from following import Merchant

from tidegate import errors, sandbox
from tidegate.engine import approvals
from tidegate.engine import place as places
from tidegate.store import database, fences, plans, records, runs

PUSH = writing_back.NAME
SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture(scope="module")
def stripe() -> Iterator[str]:
    with sandbox.process(objects=30) as url:
        yield url


@pytest.fixture
def some(tmp_path: Path) -> list[dict[str, str]]:
    number = abs(hash(tmp_path)) % 10**9
    return [people.person(number + n) for n in range(3)]


@pytest.fixture
def place(stripe: str, tmp_path: Path, some: list[dict[str, str]]) -> Iterator[places.Place]:
    with writing_back.place(tmp_path, stripe, some) as found:
        yield found


def planned(place: places.Place, **wish: int) -> plans.Plan:
    approvals.make(place, "ann", PUSH, "push", wish)
    return writing_back.planned(place)


def approve(place: places.Place, found: plans.Plan, run_id: str = "") -> runs.Run:
    return plans.approve(
        place.store,
        found.id,
        found.digest,
        run_id or runs.new_id(),
        approvals.options(found),
        who="ann",
        via="session",
    )


def made_of(stripe: str, some: list[dict[str, str]]) -> int:
    """Customers that these people have at Stripe."""
    shop = Merchant(stripe)
    return sum(len(shop.get("/v1/customers", email=each["email"])["data"]) for each in some)


def test_approving_again_with_the_same_run_is_the_same_approval(place: places.Place) -> None:
    found, run_id = planned(place), runs.new_id()
    assert approve(place, found, run_id) == approve(place, found, run_id)
    with pytest.raises(errors.StoreConflict, match="approved already by ann"):
        approve(place, found)


def test_a_plan_whose_rows_were_altered_is_not_done(
    place: places.Place, stripe: str, some: list[dict[str, str]]
) -> None:
    found = planned(place)
    place.store.execute("UPDATE plan_rows SET entry = replace(entry, 'pro', 'free')")
    approve(place, found)
    run = writing_back.ran(place)
    assert run.state == "failed"
    assert "is not whole any more" in run.error
    assert made_of(stripe, some) == 0


def test_a_plan_whose_run_was_cancelled_makes_room_for_another(place: places.Place) -> None:
    run = approve(place, planned(place))
    with pytest.raises(errors.StoreConflict, match="is being done already"):
        approvals.make(place, "ann", PUSH, "push", {})
    runs.cancel(place.store, run.id, "ann")
    assert planned(place).state == "planned"


def test_a_plan_whose_maker_is_gone_has_failed(place: places.Place) -> None:
    plans.begin(place.store, "plan_1", PUSH, "push", {}, "ann")
    with pytest.raises(errors.StoreConflict, match="is being made already"):
        approvals.make(place, "ann", PUSH, "push", {})
    place.store.execute("UPDATE plans SET seen_at = seen_at - 100")
    found = plans.latest(place.store, PUSH)
    assert found is not None
    assert (found.state, found.error) == ("failed", "The process that made it is gone; make a new one.")


def test_a_run_that_comes_after_the_plan_was_done_does_nothing(
    place: places.Place, stripe: str, some: list[dict[str, str]], tmp_path: Path
) -> None:
    found = planned(place)
    approve(place, found)
    writing_back.ran(place)
    people.rows(tmp_path, [*some, people.person(int(some[0]["id"]) + 7)])
    runs.queue(place.store, runs.new_id(), f"push:{PUSH}", "retry", options=approvals.options(found))
    run = writing_back.ran(place)
    assert (run.state, made_of(stripe, some)) == ("cancelled", 3)
    assert "is done already" in run.error


CHILD = """
import itertools, os, signal, sys, contextlib
from pathlib import Path
import seen, writing_back
from tidegate.push import steps
from tidegate.store import database
number = itertools.count(1)
def reached(name):
    if next(number) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
vars(steps)["listener"] = reached
with seen.place(Path(sys.argv[1]) / "tidegate.yaml") as place:
    writing_back.ran(place)
print("to its end", flush=True)
"""


@pytest.mark.parametrize("step", [1, 3, 5, 8, 11])
def test_killed_at_any_step_the_plan_is_done_once(
    place: places.Place, stripe: str, some: list[dict[str, str]], tmp_path: Path, step: int
) -> None:
    found = planned(place)
    people.rows(tmp_path, [*some, people.person(int(some[0]["id"]) + 7)])  # which nobody approved
    done_through_a_kill(place, tmp_path, found, step)
    after = plans.get(place.store, found.id)
    assert after is not None
    assert after.state == "applied"
    assert made_of(stripe, some) == 3
    assert made_of(stripe, [people.person(int(some[0]["id"]) + 7)]) == 0


@pytest.mark.parametrize("step", [14, 18, 21, 23, 26])
def test_killed_at_any_step_no_more_rows_are_written_than_the_limit_of_the_plan(
    place: places.Place, stripe: str, some: list[dict[str, str]], tmp_path: Path, step: int
) -> None:
    found = planned(place, limit=2)
    done_through_a_kill(place, tmp_path, found, step)
    assert made_of(stripe, some) == 2


def test_what_an_older_process_still_writes_counts_for_the_limit(
    place: places.Place, stripe: str, some: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    approve(place, planned(place, limit=2))
    assert fences.take(place.store, PUSH, "older", 2) is not None
    asked: list[str] = []

    def written(store: database.Database, push: str, at: float) -> int:
        asked.append(fences.holder(store, push))
        return records.written_since(store, push, at) + 1  # by the older one, at its last moment

    monkeypatch.setattr(approvals, "records", mock.Mock(written_since=written))
    writing_back.ran(place)
    assert asked == [""], "it is counted when nobody else writes any more"
    assert made_of(stripe, some) == 1


def done_through_a_kill(place: places.Place, folder: Path, found: plans.Plan, step: int) -> None:
    """Have a plan done whose first run is killed at a step, if it has so many, and by whom comes after it."""
    first = approve(place, found)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), str(step)],
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (-9, 0), done.stderr
    if done.returncode:
        place.store.execute("UPDATE runs SET seen_at = seen_at - 100 WHERE id = :id", {"id": first.id})
        place.store.execute("UPDATE fences SET until = 0")
        runs.interrupt(place.store, places.SILENT)
        assert writing_back.due(place).options == approvals.options(found)
        writing_back.ran(place)


def test_a_plan_that_is_discarded_while_it_is_made_ends(
    place: places.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "BEAT", 0.01)
    begun = plans.begin(place.store, "plan_1", PUSH, "push", {}, "ann")
    plans.discard(place.store, begun.id)
    approvals._make(place, begun)
    assert plans.latest(place.store, PUSH) is None
    assert place.store.execute("SELECT * FROM plan_rows") == []
