"""What is too old goes, once a day, in batches; what a deleted row leaves behind still keeps older states out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import persons
import pyarrow as pa
import pytest

from tidegate import config, errors
from tidegate.pull import report, retention
from tidegate.warehouse import base, duckdb

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
TIME = pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class Shape:
    """A table and its history."""

    table: base.Table
    history: base.Table | None = None


def shape(stream: str, *, history: bool = False) -> Shape:
    schema = persons.rows(stream, [{"id": "x"}]).schema
    key = ("_account_id", "id")
    past = [pa.field("_valid_from", TIME), pa.field("_valid_to", TIME), pa.field("_row_hash", pa.string())]
    kept = [field for field in schema if field.name != "_deleted_at"]
    table = base.Table(f"{stream}_history", pa.schema([*kept, *past]), (*key, "_valid_from"), "")
    return Shape(base.Table(stream, schema, key), table if history else None)


EVENTS, CHARGES = shape("events"), shape("charges", history=True)
SHAPES = {"events": EVENTS, "charges": CHARGES}


def keep(**ages: int | None) -> config.Retention:
    return config.Retention.model_validate(
        {name: age if age is None else f"{age}d" for name, age in {"runs": None, **ages}.items()}
    )


@pytest.fixture
def warehouse(tmp_path: Path) -> duckdb.DuckDB:
    made = duckdb.DuckDB(tmp_path / "w.duckdb", wait=5)
    made.prepare([EVENTS.table, CHARGES.table, CHARGES.history or CHARGES.table, report.RUNS])
    return made


def events(warehouse: base.Warehouse, *ages: int) -> None:
    """One event of each age in days."""
    objects = [{"id": f"evt_{age:03}", "created": int((NOW - age * DAY).timestamp())} for age in ages]
    warehouse.load([persons.load("events", objects)], {})


def ids(warehouse: base.Warehouse, table: str) -> list[str]:
    return [row["id"] for row in persons.table(warehouse, table)]


def prune(warehouse: base.Warehouse, now: dt.datetime = NOW, **ages: int | None) -> dict[str, int]:
    return retention.prune(warehouse, None, SHAPES, keep(**ages), now)


def test_old_events_go(warehouse: duckdb.DuckDB) -> None:
    events(warehouse, 1, 40, 399, 400, 401, 900)
    assert prune(warehouse, events=400) == {"events": 2}
    assert ids(warehouse, "events") == ["evt_001", "evt_040", "evt_399", "evt_400"]


def test_without_limits_nothing_goes_and_nothing_is_noted(warehouse: duckdb.DuckDB) -> None:
    events(warehouse, 5_000)
    assert prune(warehouse) == {}
    assert ids(warehouse, "events") == ["evt_5000"]
    assert warehouse.state("retention/") == {}


def test_once_a_day_is_enough_unless_the_limits_change(warehouse: duckdb.DuckDB) -> None:
    assert prune(warehouse, events=400) == {}
    events(warehouse, 100, 500)
    assert prune(warehouse, NOW + DAY / 2, events=400) == {}
    assert prune(warehouse, NOW + DAY / 2, events=90) == {"events": 2}
    events(warehouse, 500)
    assert prune(warehouse, NOW + DAY, events=400) == {"events": 1}


def test_notes_about_limits_of_old_go(warehouse: duckdb.DuckDB) -> None:
    prune(warehouse, events=400)
    prune(warehouse, NOW + 20 * DAY, events=90)
    assert len(warehouse.state("retention/last/")) == 2
    prune(warehouse, NOW + 40 * DAY, events=90)
    assert len(warehouse.state("retention/last/")) == 1


def test_a_deleted_row_goes_and_nothing_older_brings_it_back(warehouse: duckdb.DuckDB) -> None:
    version = int((NOW - 100 * DAY).timestamp())
    for id, gone in (("ch_old", 95), ("ch_new", 10)):
        warehouse.load([persons.load("charges", [{"id": id, "amount": 1}], version)], {})
        marks = {
            "_account_id": ["acct_1"],
            "id": [id],
            "_version": [int((NOW - gone * DAY).timestamp())],
            "_deleted_at": pa.array([NOW - gone * DAY], TIME),
            "_synced_at": pa.array([NOW], TIME),
        }
        warehouse.load([base.Load(CHARGES.table, pa.table(marks), "mark")], {})
    warehouse.load([persons.load("charges", [{"id": "ch_live", "amount": 1}], version)], {})
    assert prune(warehouse, deleted=90) == {"charges": 1}
    assert ids(warehouse, "charges") == ["ch_live", "ch_new"]
    old = int((NOW - 96 * DAY).timestamp())
    warehouse.load([persons.load("charges", [{"id": "ch_old", "amount": 1}], old)], {})
    assert ids(warehouse, "charges") == ["ch_live", "ch_new"]
    key = pa.table({"_account_id": ["acct_1"], "id": ["ch_old"]})
    (grave,) = warehouse.find(CHARGES.table, key).to_pylist()
    assert (grave["_stored"], grave["_deleted_at"]) == (False, NOW - 95 * DAY)


def test_versions_that_ended_long_ago_go_and_the_open_one_stays(warehouse: duckdb.DuckDB) -> None:
    assert CHARGES.history is not None
    spans: list[tuple[int, int | None]] = [(1000, 800), (800, 100), (100, 5), (5, None)]
    rows = [
        {"_account_id": "acct_1", "id": "ch_1", "_valid_from": NOW - since * DAY, "_row_hash": str(since)}
        | {"_valid_to": None if until is None else NOW - until * DAY}
        for since, until in spans
    ]
    table = base.Table("charges_history", CHARGES.history.schema, CHARGES.history.key, "")
    warehouse.load([base.Load(table, pa.Table.from_pylist(rows, table.schema))], {})
    assert prune(warehouse, history=90) == {"charges_history": 2}
    left = [row["_row_hash"] for row in persons.table(warehouse, "charges_history")]
    assert sorted(left) == ["100", "5"]


def test_runs_are_kept_for_a_year_unless_something_else_is_said(warehouse: duckdb.DuckDB) -> None:
    for run, age in (("run_a", 400), ("run_b", 10)):
        outcome = report.Outcome("charges", "acct_1")
        rows = report.rows(run, NOW - age * DAY, NOW - age * DAY, [outcome])
        warehouse.load([base.Load(report.RUNS, rows)], {})
    assert retention.prune(warehouse, None, SHAPES, config.Retention(), NOW) == {"_tidegate_runs": 1}
    left = [
        row["run_id"]
        for batch in warehouse.read("select run_id from stripe._tidegate_runs")
        for row in batch.to_pylist()
    ]
    assert left == ["run_b"]


def test_a_table_that_is_not_there_or_lacks_the_column_is_passed_over(tmp_path: Path) -> None:
    warehouse = duckdb.DuckDB(tmp_path / "w.duckdb")
    rows = persons.rows("events", [{"id": "evt_1", "created": 5}]).drop_columns(["created"])
    warehouse.load([base.Load(base.Table("events", rows.schema), rows)], {})
    assert prune(warehouse, events=90, history=90, deleted=90, runs=90) == {}
    assert ids(warehouse, "events") == ["evt_1"]


class Killed(Exception):
    """The process ends here."""


def test_killed_between_batches_the_next_pull_goes_on(
    warehouse: duckdb.DuckDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    events(warehouse, *range(500, 510))
    write = warehouse.load
    left = 2

    def mortal(loads: Sequence[base.Load], *rest: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return write(loads, *rest)

    monkeypatch.setattr(warehouse, "load", mortal)
    with pytest.raises(Killed):
        prune(warehouse, events=400)
    monkeypatch.setattr(warehouse, "load", write)
    assert len(ids(warehouse, "events")) == 4
    assert prune(warehouse, events=400) == {"events": 4}
    assert ids(warehouse, "events") == []


def test_who_was_shut_out_removes_nothing(warehouse: duckdb.DuckDB) -> None:
    events(warehouse, 500)
    fence = warehouse.claim("run_1", ["events"])
    warehouse.claim("run_2", ["events"])
    with pytest.raises(errors.Fenced):
        retention.prune(warehouse, fence, SHAPES, keep(events=400), NOW)
    assert ids(warehouse, "events") == ["evt_500"]


def test_a_table_that_keeps_its_rows_is_said_and_not_asked_for_ever(
    warehouse: duckdb.DuckDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    events(warehouse, 500)
    monkeypatch.setattr(warehouse, "load", lambda *_: [])
    with pytest.raises(errors.WarehouseError, match=r"stripe\.events still has the rows"):
        prune(warehouse, events=400)
