"""Where tables stand: their age against what it may be, by what the metadata database knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import seen
import servers

from tidegate.engine import place as places
from tidegate.store import positions
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
