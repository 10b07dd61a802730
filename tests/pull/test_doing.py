"""What a pull has done so far, and what is left of it when it is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tidegate import warehouse as warehouses
from tidegate.pull import doing, report
from tidegate.warehouse import base

ONE = "acct_1"


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[base.Warehouse]:
    opened = warehouses.open_url(f"duckdb:///{tmp_path}/w.duckdb")
    opened.prepare([report.RUNS])
    yield opened
    opened.close()


def outcome(stream: str, written: int = 0, *, done: bool = True) -> report.Outcome:
    found = report.Outcome(stream, ONE, read=written, done=done)
    found.wrote(written, 0, 0)
    return found


def pulled(of: doing.Doing, *outcomes: report.Outcome) -> None:
    """A pull that came to its end."""
    of.begin()
    of.add(outcomes)
    of.count(outcomes)
    of.first = False
    of.end()


def noted(warehouse: base.Warehouse) -> list[tuple[Any, ...]]:
    found = warehouse.read(
        "select run_id, stream, status, rows_written from stripe._tidegate_runs order by all"
    )
    return [tuple(row.values()) for batch in found for row in batch.to_pylist()]


def test_what_is_under_way_can_be_seen_until_it_is_over() -> None:
    mine = doing.Doing("run_1")
    mine.begin()
    customers = outcome("customers", 5, done=False)
    mine.add([customers, outcome("coupons", done=False)])
    assert mine.so_far() == [customers]
    customers.wrote(2, 0, 0)
    assert [each.written for each in mine.so_far()] == [7]
    mine.end()
    assert mine.so_far() == []


def test_a_first_pull_that_is_stopped_is_left_with_what_it_had(warehouse: base.Warehouse) -> None:
    mine = doing.Doing("run_1")
    mine.begin()
    mine.add([outcome("charges", 7), outcome("coupons", done=False), outcome("customers", 5, done=False)])
    stopped = mine.stop()
    assert {(each.stream, each.error) for each in stopped} == {
        ("charges", ""),
        ("coupons", doing.STOPPED),
        ("customers", doing.STOPPED),
    }
    mine.leave(warehouse)
    assert noted(warehouse) == [
        ("run_1", "charges", "ok", 7),
        ("run_1", "coupons", "partial", 0),
        ("run_1", "customers", "partial", 5),
    ]


def test_a_later_pull_that_is_stopped_adds_to_those_before(warehouse: base.Warehouse) -> None:
    mine = doing.Doing("run_1")
    pulled(mine, outcome("charges", 7), outcome("customers", 40))
    mine.begin()
    mine.add([outcome("charges", done=False), outcome("customers", 2, done=False)])
    [stopped] = mine.stop()
    assert stopped.total is not None
    assert (stopped.status, stopped.written, stopped.total.written) == ("ok", 2, 42)
    mine.leave(warehouse)
    assert noted(warehouse) == [("run_1", "charges", "ok", 7), ("run_1", "customers", "ok", 42)]


def test_where_each_pull_is_a_run_only_the_news_of_the_last_one_are_left(warehouse: base.Warehouse) -> None:
    mine, first = doing.Doing(), [outcome("charges", 7), outcome("customers", 40)]
    pulled(mine, *first)
    before = mine.run_id
    report.note(warehouse, before, mine.started, first)
    mine.begin()
    quiet = outcome("charges", done=False)
    quiet.tally.requests = 1
    mine.add([quiet, outcome("customers", 2, done=False)])
    mine.stop()
    mine.leave(warehouse)
    assert sorted(noted(warehouse)) == sorted(
        [
            (before, "charges", "ok", 7),
            (before, "customers", "ok", 40),
            (mine.run_id, "customers", "ok", 2),
        ]
    )


def test_what_stands_beside_the_data_is_not_left_again(
    warehouse: base.Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = doing.Doing("run_1")
    charges = outcome("charges", 7)
    pulled(mine, charges)
    report.note(warehouse, "run_1", mine.started, [charges])
    again: list[object] = []
    monkeypatch.setattr(report, "note", lambda *given: again.append(given))
    mine.leave(warehouse)
    assert again == []


def test_of_very_many_only_those_are_kept_that_tell_something() -> None:
    mine = doing.Doing("run_1")
    mine.begin()
    for number in range(100):
        mine.add([outcome(f"stream_{number}_{each}", each == 0) for each in range(100)])
    assert len(mine.so_far()) == 100
    assert len(mine._outcomes) < 4 * doing.MANY
