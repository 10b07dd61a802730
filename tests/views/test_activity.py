"""Rows per hour: every row counts once, in the hours in which it changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import seen
import servers
from hypothesis import given
from hypothesis import strategies as st

from tidegate import errors
from tidegate.engine import place as places
from tidegate.store import logs
from tidegate.views import activity


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[places.Place]:
    url = "" if request.param == "sqlite" else servers.new_postgres()
    with seen.place(seen.written(tmp_path), url) as found:
        yield found


def test_what_runs_changed_is_counted_by_pulls_and_pushes(place: places.Place) -> None:
    seen.ran(place, "pull:everything", began=7_200, written=100, deleted=20, read=500)
    seen.ran(place, "push:people", began=7_200, written=30)
    seen.ran(place, "push:people", began=7_300, state="failed", written=0)
    found = activity.hours(place)
    assert (sum(found.pulled), sum(found.pushed)) == (120, 30)
    assert (sum(found.runs), sum(found.failed)) == (3, 1)
    assert len(found.starts) == 48
    assert found.starts[-1] <= place.store.now() < found.starts[-1] + 3_600


def test_a_long_run_counts_in_all_its_hours(place: places.Place) -> None:
    seen.ran(place, "pull:everything", began=10 * 3_600, took=10 * 3_600, written=10_000)
    found = activity.hours(place, 24)
    busy = [rows for rows in found.pulled if rows]
    assert sum(found.pulled) == pytest.approx(10_000, abs=10)
    assert len(busy) in (10, 11)
    assert max(busy) <= 1_001


def test_a_run_that_goes_on_counts_with_what_it_has_done(place: places.Place) -> None:
    seen.ran(
        place, "pull:everything", state="running", began=60, took=None, progress={"written": 7, "deleted": 1}
    )
    assert sum(activity.hours(place).pulled) == 8


def test_a_continuous_run_counts_by_what_it_said(place: places.Place) -> None:
    run = seen.ran(
        place, "pull:everything", state="running", cause="continuous", began=900_000, took=None,
        progress={"written": 1_000_000},
    )  # fmt: skip
    now = place.store.now()
    lines = [
        logs.Line(now - 500_000, "info", "9 written", "charges", "acct_1"),
        logs.Line(now - 7_200, "info", "1,234 written, 5 deleted", "charges", "acct_1"),
        logs.Line(now - 7_100, "info", "2 deleted", "charges", "acct_1"),
        logs.Line(now - 7_000, "info", "the notes were written down", "", ""),
        logs.Line(now - 7_000, "warning", "3 written", "charges", "acct_1"),
    ]
    logs.write(place.store, run, "w/1", 0, lines)
    assert sum(activity.hours(place).pulled) == 1_241


def test_what_is_older_counts_no_more(place: places.Place) -> None:
    seen.ran(place, "pull:everything", began=3 * 86_400, written=100)
    assert sum(activity.hours(place).pulled) == 0
    assert sum(activity.hours(place, 96).pulled) == 100


@pytest.mark.parametrize("count", [0, -1, 337])
def test_there_is_an_end_to_hours(place: places.Place, count: int) -> None:
    with pytest.raises(errors.ConfigError, match="ask for 1 to 336"):
        activity.hours(place, count)


@given(
    rows=st.integers(0, 10**9),
    low=st.floats(0, 48 * 3_600, allow_nan=False),
    took=st.floats(0, 48 * 3_600, allow_nan=False),
)
def test_no_row_is_lost_and_none_is_made(rows: int, low: float, took: float) -> None:
    sums = activity._Sums(0, [0.0] * 96)
    sums.changed(rows, low, min(low + took, 96 * 3_600 - 1), sums.pulled)
    assert sum(sums.pulled) == pytest.approx(rows)
    assert all(each >= 0 for each in sums.pulled)
