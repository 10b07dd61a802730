"""Where tables stand: their age against what it may be, by what the metadata database knows."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import seen
import servers
from hypothesis import strategies

from tidegate.engine import place as places
from tidegate.store import database, positions
from tidegate.views import standing


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[places.Place]:
    url = "" if request.param == "sqlite" else servers.new_postgres()
    with seen.place(seen.written(tmp_path), url) as found:
        yield found


def states(place: places.Place) -> dict[str, str]:
    return {each.stood.stream: each.state for each in standing.tables(place)}


def test_a_table_is_fresh_while_its_staleness_and_its_schedule_explain_its_age(place: places.Place) -> None:
    seen.stands(place, "pull:everything", seen.table("charges", 600), seen.table("customers", 10 * 86_400))
    assert states(place) == {"charges": "fresh", "customers": "behind"}
    charges, _ = standing.tables(place)
    assert charges.bound == 2 * (60 + 900) + 3_600
    assert charges.age == pytest.approx(600, abs=30)


def test_what_the_configuration_allows_counts_more(tmp_path: Path) -> None:
    file = seen.written(
        tmp_path, more="alerts: {freshness: {charges: 5m, '*': 30d}, slack: {webhook: 'https://h/x'}}"
    )
    with seen.place(file) as place:
        seen.stands(
            place, "pull:everything", seen.table("charges", 600), seen.table("customers", 10 * 86_400)
        )
        assert states(place) == {"charges": "behind", "customers": "fresh"}


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ({"status": "failed", "error": "status 500"}, "failed"),
        ({"status": "no_permission"}, "failed"),
        ({"complete": False, "as_of": None, "status": "unfinished"}, "unfinished"),
        ({"status": "not_enabled", "complete": False, "as_of": None}, "fresh"),
        ({"staleness_s": None}, "unbounded"),
    ],
)
def test_the_other_states(place: places.Place, told: dict[str, object], state: str) -> None:
    seen.stands(place, "pull:everything", seen.table("charges", **told))
    assert states(place) == {"charges": state}


def test_the_worst_stands_first(place: places.Place) -> None:
    seen.stands(
        place,
        "pull:everything",
        seen.table("charges", 60),
        seen.table("customers", 20 * 86_400),
        seen.table("invoices", 10 * 86_400),
        seen.table("payouts", status="failed"),
    )
    worst = sorted(standing.tables(place), key=lambda each: each.badness)
    assert [each.stood.stream for each in worst] == ["payouts", "customers", "invoices", "charges"]


def test_a_continuous_flow_that_runs_is_as_old_as_it_was_when_it_noted_that(tmp_path: Path) -> None:
    file = seen.written(tmp_path)
    file.write_text(file.read_text().replace("every 15m", "continuous"))
    with seen.place(file) as place:
        seen.stands(place, "pull:everything", seen.table("charges", 30))
        place.store.execute("UPDATE positions SET at = at - 20")
        [idle] = standing.tables(place)
        seen.ran(place, "pull:everything", state="running", cause="continuous", took=None)
        [going] = standing.tables(place)
    assert (idle.age or 0) - (going.age or 0) == pytest.approx(20, abs=2)


def test_flows_that_are_gone_and_what_another_version_wrote_are_left_out(place: places.Place) -> None:
    seen.stands(place, "pull:gone", seen.table("charges"))
    positions.replace(
        place.store, "pull:everything", [positions.Position("charges", "acct_1", {"rows": "many"})]
    )
    assert standing.tables(place) == []


def test_one_account_or_one_stream_can_be_asked_for(place: places.Place) -> None:
    seen.stands(
        place,
        "pull:everything",
        *(seen.table(stream, account=account) for stream in ("charges", "payouts") for account in "ab"),
    )
    assert len(standing.tables(place, "pull:everything")) == 4
    assert {each.stood.account for each in standing.tables(place, stream="charges")} == {"a", "b"}
    assert [each.stood.stream for each in standing.tables(place, account="b")] == ["charges", "payouts"]


# --- counted by the database ---

MANY = """
alerts: {freshness: {payouts: 1h, "c*": 2h}, slack: {webhook: "https://h/x"}}
"""
TOLD = strategies.fixed_dictionaries(
    {
        "age": strategies.one_of(strategies.none(), strategies.floats(-60, 200_000)),
        "status": strategies.sampled_from(
            ["ok", "failed", "no_permission", "partial", "not_enabled", "unfinished", ""]
        ),
        "complete": strategies.booleans(),
        "staleness_s": strategies.one_of(strategies.none(), strategies.integers(0, 90_000)),
        "rows": strategies.integers(0, 2**40),
    }
)
TABLES = strategies.dictionaries(
    strategies.tuples(
        strategies.sampled_from(["pull:everything", "pull:always", "pull:seldom", "pull:gone"]),
        strategies.sampled_from(["charges", "invoices", "payouts"]),
        strategies.sampled_from(["acct_1", "acct_2", "acct_3"]),
    ),
    TOLD,
    max_size=12,
)


@pytest.fixture(params=["sqlite", "postgres"])
def several(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[places.Place]:
    """Three pulls: one by a schedule, one that goes on and on, one by hand."""
    file = seen.written(tmp_path, more=MANY)
    more = "  always: {from: acme, to: local, schedule: continuous}\n  seldom: {from: acme, to: local}\n"
    file.write_text(file.read_text().replace("schedule: every 15m}\n", "schedule: every 15m}\n" + more))
    url = "" if request.param == "sqlite" else servers.new_postgres()
    with seen.place(file, url) as found:
        yield found


def noted(place: places.Place, told: dict[tuple[str, str, str], dict[str, Any]]) -> None:
    """Note what is told of tables, and of no others."""
    for flow in ("pull:everything", "pull:always", "pull:seldom", "pull:gone"):
        tables = []
        for (of, stream, account), known in told.items():
            more = {name: value for name, value in known.items() if name != "age"}
            row = seen.table(stream, known["age"] or 0.0, account, deleted=1, **more)
            if of == flow:
                tables.append({**row, "as_of": None if known["age"] is None else row["as_of"]})
        seen.stands(place, flow, *tables)


@hypothesis.settings(max_examples=40, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(told=TABLES, going=strategies.booleans())
def test_the_database_counts_the_tables_as_they_are_one_by_one(
    several: places.Place, told: dict[tuple[str, str, str], dict[str, Any]], going: bool
) -> None:
    noted(several, told)
    several.store.execute("DELETE FROM runs")
    if going:
        seen.ran(several, "pull:always", state="running", cause="continuous", took=None)
    tables, groups = standing.tables(several), standing.grouped(several)
    assert collections.Counter(
        {(each.flow, each.stream, each.state): each.count for each in groups}
    ) == collections.Counter((each.flow, each.stood.stream, each.state) for each in tables)
    for group in groups:
        mine = [
            each
            for each in tables
            if (each.flow, each.stood.stream, each.state) == (group.flow, group.stream, group.state)
        ]
        moments = [each.stood.as_of.timestamp() for each in mine if each.stood.as_of is not None]
        ages = [each.age for each in mine if each.age is not None]
        assert (group.rows, group.deleted) == (
            sum(each.stood.rows for each in mine),
            sum(each.stood.deleted for each in mine),
        )
        assert group.as_of == pytest.approx(min(moments)) if moments else group.as_of is None
        assert group.age == pytest.approx(max(ages), abs=2) if ages else group.age is None
        assert group.badness[0] == min(each.badness[0] for each in mine)
        assert group.badness[1] == pytest.approx(min(each.badness[1] for each in mine), abs=0.01)
    wanted = sorted(tables, key=lambda each: each.badness)
    for limit in (1, 3, 20):
        assert bad(standing.worst(several, groups, limit)) == bad(wanted[:limit])
    for group, table in zip(groups, standing.worst_of_each(several, groups), strict=True):
        assert (table.flow, table.stood.stream, table.state) == (group.flow, group.stream, group.state)


def test_of_tables_that_differ_by_their_age_alone_each_is_among_the_worst_once(place: places.Place) -> None:
    ages = {"acct_1": 60, "acct_2": 20 * 86_400, "acct_3": 90, "acct_4": 10 * 86_400}
    seen.stands(
        place, "pull:everything", *(seen.table("charges", age, account) for account, age in ages.items())
    )
    groups = standing.grouped(place)
    assert [(each.state, each.count) for each in groups] == [("behind", 2), ("fresh", 2)]
    for limit, accounts in ((1, "2"), (3, "243"), (20, "2431")):
        found = standing.worst(place, groups, limit)
        assert "".join(each.stood.account[-1] for each in found) == accounts
    behind, fresh = standing.worst_of_each(place, groups)
    assert (behind.stood.account, fresh.stood.account) == ("acct_2", "acct_3")


def test_a_group_that_was_noted_anew_meanwhile_is_told_as_it_is_now(place: places.Place) -> None:
    seen.stands(place, "pull:everything", seen.table("charges", 20 * 86_400))
    groups = standing.grouped(place)
    seen.stands(place, "pull:everything", seen.table("charges", 60, status="failed"))
    assert [each.state for each in standing.worst_of_each(place, groups)] == ["failed"]


def bad(tables: Sequence[standing.Table]) -> list[tuple[int, float]]:
    """How bad they are, but for the moment that passed between two looks."""
    return [(each.badness[0], pytest.approx(each.badness[1], abs=0.01)) for each in tables]


def test_of_a_place_without_any_flow_nothing_is_counted(tmp_path: Path) -> None:
    file = seen.written(tmp_path)
    file.write_text("stripe: {}\n")
    with seen.place(file) as place:
        assert standing.grouped(place) == []
        assert standing.worst(place, [], 20) == []


def test_what_was_noted_before_there_were_columns_counts_as_it_did(place: places.Place) -> None:
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=dt.UTC)
    row = {**seen.table("charges", rows=7, deleted=2), "as_of": moment.isoformat()}
    unread = {**seen.table("invoices", status="failed", complete=False), "as_of": None, "staleness_s": None}
    seen.stands(place, "pull:everything", row, unread)
    before = standing.grouped(place)
    columns = "status = NULL, complete = 0, as_of = NULL, staleness = NULL, stored = 0, deleted = 0"
    place.store.execute(f"UPDATE positions SET {columns}")
    assert standing.grouped(place) == []
    [(_, text)] = [each for each in database.migrations() if each[0].endswith("_positions.sql")]
    [filling] = [each for each in database.statements(text) if each.startswith("UPDATE")]
    place.store.execute(filling)
    assert [flat(each) for each in standing.grouped(place)] == [flat(each) for each in before]


def flat(group: standing.Group) -> dict[str, Any]:
    """A group, but for the moments that pass and the fractions of a millisecond."""
    told = dataclasses.asdict(group)
    return {
        name: round(value, 2) if name == "as_of" and value else value
        for name, value in told.items()
        if name not in ("age", "bands")
    }
