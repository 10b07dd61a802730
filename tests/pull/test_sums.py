"""Pulls that follow one another under one run leave their sums beside the data."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import servers

from tidegate import warehouse as warehouses
from tidegate.pull import report
from tidegate.warehouse import base

ONE, BEGAN = "acct_1", dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
FIELDS = "stream, status, rows_written, rows_deleted, requests, from_version, to_version"


@pytest.fixture(params=["duckdb", "postgres"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[base.Warehouse]:
    url = f"duckdb:///{tmp_path}/w.duckdb" if request.param == "duckdb" else servers.new_postgres()
    opened = warehouses.open_url(url)
    opened.prepare([report.RUNS])
    yield opened
    opened.close()


def outcome(
    stream: str, written: int = 0, *, deleted: int = 0, at: int = 0, requests: int = 0
) -> report.Outcome:
    found = report.Outcome(stream, ONE, read=written, deleted=deleted)
    found.wrote(written, 0, 0)
    found.tally.requests = requests
    if at:
        found.spans(at, at)
    return found


def noted(warehouse: base.Warehouse, run_id: str = "run_1") -> list[tuple[Any, ...]]:
    found = warehouse.read(
        f"select {FIELDS} from stripe._tidegate_runs where run_id = '{run_id}' order by stream"
    )
    return [tuple(row.values()) for batch in found for row in batch.to_pylist()]


def test_each_pull_of_a_run_adds_to_its_rows(warehouse: base.Warehouse) -> None:
    news = report.News()
    first = [outcome("charges", 7, at=90, requests=1), outcome("customers", 40, at=100, requests=2)]
    news.of(first)
    report.note(warehouse, "run_1", BEGAN, first)
    for pulled in (
        [outcome("charges", requests=1), outcome("customers", 2, deleted=1, at=150, requests=1)],
        [outcome("charges", requests=1), outcome("customers", requests=1)],
        [outcome("charges", 1, at=160, requests=1), outcome("customers")],
    ):
        report.note(warehouse, "run_1", BEGAN + dt.timedelta(hours=1), news.of(pulled))
    assert noted(warehouse) == [
        ("charges", "ok", 8, 0, 4, 90, 160),
        ("customers", "ok", 42, 1, 3, 100, 150),
    ]
    began = warehouse.read("select distinct started_at from stripe._tidegate_runs")
    assert [row["started_at"] for batch in began for row in batch.to_pylist()] == [BEGAN]


def test_what_was_heard_between_two_pulls_is_noted_with_the_next(warehouse: base.Warehouse) -> None:
    news = report.News()
    first = [outcome("charges", 7, at=90), outcome("customers", 40, at=100)]
    news.of(first)
    report.note(warehouse, "run_1", BEGAN, first)
    for at in (110, 120, 130):
        [heard] = news.of([outcome("charges"), outcome("customers", 1, at=at)])
        assert heard.stream == "customers"
    silent = news.of([outcome("charges"), outcome("customers")])
    assert [(each.stream, each.written) for each in silent] == [("customers", 0)]
    report.note(warehouse, "run_1", BEGAN, silent)
    assert noted(warehouse) == [("charges", "ok", 7, 0, 0, 90, 90), ("customers", "ok", 43, 0, 0, 100, 130)]
    assert news.of([outcome("charges"), outcome("customers")]) == []


def test_pulls_that_are_runs_of_their_own_are_noted_one_by_one(warehouse: base.Warehouse) -> None:
    news = report.News()
    first = [outcome("charges", requests=1), outcome("customers", 40, at=100, requests=1)]
    news.of(first)
    report.note(warehouse, "run_1", BEGAN, first)
    for number, written in ((2, 3), (3, 5)):
        found = news.of([outcome("charges", requests=1), outcome("customers", written, at=200, requests=1)])
        report.note(warehouse, f"run_{number}", BEGAN, found)
        assert noted(warehouse, f"run_{number}") == [("customers", "ok", written, 0, 1, 200, 200)]
    assert news.of([outcome("charges"), outcome("customers")]) == []


def test_a_stream_that_went_wrong_is_noted_with_all_it_got(warehouse: base.Warehouse) -> None:
    news = report.News()
    first = [outcome("customers", 40, at=100)]
    news.of(first)
    report.note(warehouse, "run_1", BEGAN, first)
    wrong = outcome("customers")
    wrong.fail("partial", "it may be behind")
    report.note(warehouse, "run_1", BEGAN, news.of([wrong]))
    assert noted(warehouse) == [("customers", "partial", 40, 0, 0, 100, 100)]
    report.note(warehouse, "run_1", BEGAN, news.of([outcome("customers")]))
    assert noted(warehouse) == [("customers", "ok", 40, 0, 0, 100, 100)]


def test_who_else_looks_for_news_counts_nothing_twice() -> None:
    own, shown = report.News(), report.News()
    for _ in range(3):
        pulled = [outcome("customers", 5, at=100)]
        own.of(pulled)
        assert len(shown.of(pulled)) == 1
    assert pulled[0].total is not None
    assert pulled[0].total.written == 15
