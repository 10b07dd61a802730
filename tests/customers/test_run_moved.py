"""Filters whose answer changes while the rows do not: the warehouse says for which rows it may, and only they come.

Whatever it says, the model is the one of a run that reads every row.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import random
import types
from pathlib import Path
from typing import Any

import piped
import piping_child
import pytest
import servers
from piped import person

from tidegate.customers import changes, run

DAY = dt.timedelta(days=1)
RECENT: dict[str, Any] = {"field": "created", "op": "is after", "value": "30 days ago"}
OLD: dict[str, Any] = {"field": "created", "op": "is before", "value": "60 days ago"}
PRO: dict[str, Any] = {"field": "metadata.plan", "op": "is", "value": "pro"}
RENEWED: dict[str, Any] = {"field": "metadata.renewal", "op": "is before", "value": "in 2 weeks"}
"""A time inside JSON, of which no warehouse can say anything."""
PEOPLE, STEPS = 30, 3
KINDS = changes.KINDS
TABLES = {
    "records": "SELECT record, customer_id, email, name, _version, CASE WHEN _deleted_at IS NULL THEN 0 ELSE 1 END "
    "AS gone FROM tidegate.customer_profiles_records",
    "progress": "SELECT source_id, _version, outcome, shape FROM tidegate.customer_profiles_progress",
    "profiles": "SELECT profile_id, customer_id, email, name, sources FROM tidegate.customer_profiles "
    "WHERE _deleted_at IS NULL",
}


class Clock:
    """The moment of all runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
        moment = types.SimpleNamespace(now=lambda _: self.now)
        monkeypatch.setattr(run, "dt", types.SimpleNamespace(datetime=moment, UTC=dt.UTC))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def opened(folder: Path, kind: str) -> contextlib.closing[piping_child.Place]:
    folder.mkdir()
    url = servers.new_postgres() if kind == "postgres" else f"duckdb:///{folder}/w.duckdb"
    return contextlib.closing(piping_child.Place(folder, url))


def state(place: piped.Place) -> dict[str, set[tuple[Any, ...]]]:
    return {
        name: {tuple(row.values()) for batch in place.target.read(query) for row in batch.to_pylist()}
        for name, query in TABLES.items()
    }


def drawn(chance: random.Random, count: int, now: dt.datetime) -> list[dict[str, Any]]:
    """Some people who come or change."""
    return [
        person(
            number,
            name=chance.choice(["Ann", "Bob"]),
            created=now - chance.randrange(100) * DAY,
            metadata={
                "plan": chance.choice(["pro", "free"]),
                "renewal": (now + chance.randrange(-30, 30) * DAY).isoformat(),
            },
        )
        for number in chance.sample(range(PEOPLE), count)
    ]


@pytest.mark.parametrize(
    ("kind", "beside", "tree"),
    [
        ("duckdb", True, {"any": [RECENT, {"all": [PRO, OLD]}]}),
        ("duckdb", False, {"all": [RECENT, {"any": [PRO, RENEWED]}]}),
        ("postgres", True, {"all": [RECENT, {"any": [PRO, RENEWED]}]}),
        ("postgres", False, {"any": [RECENT, {"all": [PRO, OLD]}]}),
    ],
)
def test_what_the_warehouse_leaves_out_is_missed_by_nobody(
    tmp_path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    tree: dict[str, Any],
    kind: str,
    beside: bool,
) -> None:
    chance = random.Random(f"moved {kind} {beside}")
    came: list[list[run.Funnel]] = [[], []]
    with opened(tmp_path / "asked", kind) as asked, opened(tmp_path / "whole", kind) as whole:
        for step in range(STEPS):
            people = drawn(chance, PEOPLE if step == 0 else 4, clock.now)
            found = []
            for place, kinds, funnels in ((asked, KINDS, came[0]), (whole, (), came[1])):
                place.pulled(*people)
                monkeypatch.setattr(changes, "KINDS", kinds)
                job = dataclasses.replace(place.job(filter=tree), beside=beside)
                funnels.append(place.run(job, approve=True).funnel)
                found.append(state(place))
            assert found[0] == found[1]
            clock.now += 9 * DAY
    assert {funnel.read for funnel in came[1]} == {PEOPLE}
    assert came[0][0].read == PEOPLE
    assert all(funnel.read < PEOPLE for funnel in came[0][1:])
    assert [funnel.removed for funnel in came[0]] == [funnel.removed for funnel in came[1]]
    assert sum(funnel.removed for funnel in came[0])


def test_rows_that_are_filtered_out_for_good_are_not_read_again(tmp_path: Path, clock: Clock) -> None:
    with opened(tmp_path / "one", "duckdb") as place:
        place.pulled(*(person(n, created=clock.now - n * DAY) for n in range(0, 100, 10)))
        reads = []
        for _ in range(5):
            funnel = place.run(place.job(filter=RECENT), approve=True).funnel
            reads.append((funnel.read, funnel.filtered, funnel.matched, funnel.removed))
            clock.now += 10 * DAY
    assert reads == [(10, 7, 3, 0), (3, 1, 2, 1), (2, 1, 1, 1), (1, 1, 0, 1), (0, 0, 0, 0)]


def test_rows_that_a_filter_comes_to_mean_are_read_though_they_did_not_change(
    tmp_path: Path, clock: Clock
) -> None:
    with opened(tmp_path / "one", "duckdb") as place:
        place.pulled(*(person(n, created=clock.now - n * DAY) for n in (10, 50, 55)))
        reads = []
        for _ in range(3):
            funnel = place.run(place.job(filter=OLD), approve=True).funnel
            reads.append((funnel.read, funnel.matched, funnel.written))
            clock.now += 7 * DAY
    assert reads == [(3, 0, 0), (1, 1, 1), (2, 2, 1)]


def test_a_filter_of_which_the_warehouse_can_say_nothing_is_asked_of_all_rows(tmp_path: Path) -> None:
    with opened(tmp_path / "one", "duckdb") as place:
        place.pulled(person(0), person(1))
        for _ in range(2):
            assert place.run(place.job(filter=RENEWED)).funnel.read == 2
        assert place.run(place.job(filter=RECENT), full=True).funnel.read == 2
        assert place.run(place.job(filter=RECENT), full=True).funnel.read == 2
