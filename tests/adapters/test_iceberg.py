"""What is special to Iceberg: a snapshot per table, a state that says which count, and pyiceberg reading it."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path

import loads
import pyarrow as pa
import pyiceberg.exceptions
import pyiceberg.table
import pytest
from pyiceberg.catalog import sql

from tidegate import errors
from tidegate import warehouse as warehouses
from tidegate.adapters import iceberg, storage
from tidegate.config import warehouses as kinds
from tidegate.warehouse import base, desk


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[iceberg.Iceberg]:
    """A lake in `tmp_path`."""
    opened = new(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[sql.SqlCatalog]:
    """The catalog in the lake's folder, as somebody else opens it."""
    (tmp_path / "lake").mkdir()
    opened = sql.SqlCatalog("tidegate", uri=f"sqlite:///{tmp_path}/lake/catalog.db")
    yield opened
    opened.close()


def new(tmp_path: Path) -> iceberg.Iceberg:
    return iceberg.Iceberg(storage.Local(str(tmp_path / "lake")), "stripe", None, None, wait=0.0)


def table(catalog: sql.SqlCatalog, name: str = "items") -> pyiceberg.table.Table:
    return catalog.load_table(("stripe", name))


def rows(catalog: sql.SqlCatalog) -> list[tuple[str, str]]:
    found = table(catalog).scan().to_arrow()
    return sorted(zip(found["id"].to_pylist(), found["name"].to_pylist(), strict=True))


def half_a_load(warehouse: iceberg.Iceberg, *given: loads.Row) -> None:
    """Commit the rows of a load, and not its state."""

    class Killed(Exception):
        """What a kill would be."""

    class Dying(dict[str, str | None]):
        def items(self) -> object:  # type: ignore[override]  # it never returns
            raise Killed

    with pytest.raises(Killed):
        warehouse.load([loads.load(*given)], Dying(cursor="half"))


def test_pyiceberg_reads_what_was_written(warehouse: iceberg.Iceberg, catalog: sql.SqlCatalog) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x", notes='{"n": 9007199254740993}'))], {})
    warehouse.load([loads.load(loads.row("a", 2, "y", notes="[]"), loads.row("b", 2, "z"))], {})
    found = table(catalog)
    assert rows(catalog) == [("a", "y"), ("b", "z")]
    assert found.scan(row_filter="id == 'a'", selected_fields=("name",)).to_arrow().to_pylist() == [
        {"name": "y"}
    ]
    types = {field.name: str(field.field_type) for field in found.schema().fields}
    assert (types["notes"], types["_synced_at"], types["_version"]) == ("string", "timestamptz", "long")
    assert warehouse.columns("items") == types


def test_an_upsert_is_one_snapshot(warehouse: iceberg.Iceberg, catalog: sql.SqlCatalog) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"), loads.row("b", 1, "x"))], {})
    before = len(table(catalog).snapshots())
    warehouse.load([loads.load(loads.row("a", 2, "y"), loads.row("c", 2, "y")), loads.drop("b")], {})
    assert len(table(catalog).snapshots()) == before + 1
    assert rows(catalog) == [("a", "y"), ("c", "y")]


def test_the_statistics_of_files_let_readers_leave_them_out(
    warehouse: iceberg.Iceberg, catalog: sql.SqlCatalog
) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"), loads.row("b", 1, "x"))], {})
    assert list(table(catalog).scan(row_filter="id == 'zebra'").plan_files()) == []
    assert list(table(catalog).scan(row_filter="_version > 1").plan_files()) == []
    assert len(list(table(catalog).scan(row_filter="_version > 0").plan_files())) == 1


def test_half_a_load_does_not_count_and_the_next_takes_it_back(
    warehouse: iceberg.Iceberg, catalog: sql.SqlCatalog, tmp_path: Path
) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
    half_a_load(warehouse, loads.row("a", 2, "half"), loads.row("b", 2, "half"))
    assert rows(catalog) == [("a", "half"), ("b", "half")]
    other = new(tmp_path)
    assert loads.items(other) == [("a", "x", 1, None)]
    assert other.state() == {"cursor": "1"}
    other.load([loads.load(loads.row("c", 2, "y"))], {"cursor": "2"})
    assert loads.items(other) == [("a", "x", 1, None), ("c", "y", 2, None)]
    assert rows(catalog) == [("a", "x"), ("c", "y")]
    half_a_load(other, loads.row("d", 3, "half"))
    half_a_load(other, loads.row("d", 3, "half"))
    assert loads.items(other) == [("a", "x", 1, None), ("c", "y", 2, None)]
    other.close()


def test_half_of_the_first_load_does_not_count_either(
    warehouse: iceberg.Iceberg, catalog: sql.SqlCatalog, tmp_path: Path
) -> None:
    half_a_load(warehouse, loads.row("a", 1, "half"))
    half_a_load(warehouse, loads.row("a", 1, "half"))
    other = new(tmp_path)
    assert loads.items(other) == []
    other.load([loads.load(loads.row("b", 1, "y"))], {})
    assert rows(catalog) == [("b", "y")]
    other.close()


def test_a_commit_on_a_table_that_changed_is_refused(
    warehouse: iceberg.Iceberg, catalog: sql.SqlCatalog
) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
    warehouse.refresh()
    seen = warehouse.table("items")
    assert seen is not None
    table(catalog).append(table(catalog).scan().to_arrow())
    keys = pa.table({"_account_id": ["acct_1"], "id": ["a"]})
    with pytest.raises(pyiceberg.exceptions.CommitFailedException):
        warehouse.apply(seen, desk.Change("items", keys, keys.slice(0, 0)), "load")
    assert rows(catalog) == [("a", "x"), ("a", "x")]


def test_old_snapshots_and_files_are_forgotten(
    warehouse: iceberg.Iceberg, catalog: sql.SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iceberg, "SNAPSHOTS", 3)
    monkeypatch.setattr(iceberg, "GRACE", dt.timedelta(0))
    monkeypatch.setattr(iceberg, "LEFTOVER", dt.timedelta(0))
    for version in range(8):
        warehouse.load([loads.load(loads.row("a", version, f"v{version}"))], {})
    assert len(table(catalog).snapshots()) <= 4
    assert rows(catalog) == [("a", "v7")]
    data = tmp_path / "lake/stripe/items/data"
    assert len(os.listdir(data)) <= 4
    assert loads.items(warehouse) == [("a", "v7", 7, None)]


def test_what_a_killed_load_is_taken_back_to_is_not_forgotten(
    warehouse: iceberg.Iceberg, catalog: sql.SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iceberg, "SNAPSHOTS", 1)
    monkeypatch.setattr(iceberg, "GRACE", dt.timedelta(0))
    monkeypatch.setattr(iceberg, "LEFTOVER", dt.timedelta(0))
    for version in range(4):
        warehouse.load([loads.load(loads.row("a", version, f"v{version}"))], {})
    half_a_load(warehouse, loads.row("a", 9, "half"))
    assert rows(catalog) == [("a", "half")]
    other = new(tmp_path)
    assert loads.items(other) == [("a", "v3", 3, None)]
    other.load([loads.load(loads.row("b", 5, "y"))], {})
    assert rows(catalog) == [("a", "v3"), ("b", "y")]
    other.close()


def test_an_expired_snapshot_before_half_a_load_is_one_sentence(
    warehouse: iceberg.Iceberg, catalog: sql.SqlCatalog
) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
    half_a_load(warehouse, loads.row("a", 2, "half"))
    table(catalog).maintenance.expire_snapshots().older_than(dt.datetime.now(dt.UTC)).commit()
    with pytest.raises(errors.WarehouseCorrupt, match="pull it again"):
        loads.items(warehouse)


def test_a_wider_column_is_one_commit(warehouse: iceberg.Iceberg, catalog: sql.SqlCatalog) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
    wider = pa.table({"_account_id": ["acct_1"], "id": ["b"], "_version": [2.5], "name": ["y"]})
    warehouse.load([base.Load(loads.ITEMS, wider)], {})
    found = table(catalog).scan().to_arrow().select(["id", "_version"]).to_pylist()
    assert sorted((each["id"], each["_version"]) for each in found) == [("a", 1.0), ("b", 2.5)]


def test_a_bucket_needs_a_catalog_elsewhere() -> None:
    target = kinds.Iceberg.model_validate({"type": "iceberg", "path": "s3://lake/x"})
    with pytest.raises(errors.ConfigError, match="need a `catalog`"):
        warehouses.open_warehouse(target)


def test_a_damaged_catalog_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake/catalog.db").write_text("no database " * 100)
    opened = new(tmp_path)
    with pytest.raises(errors.WarehouseCorrupt, match="catalog"):
        opened.load([loads.load(loads.row("a", 1))], {})
    assert [check.ok for check in opened.check()] == [True, False]
    opened.close()


def test_a_rest_catalog_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    away = iceberg.Iceberg(
        storage.Local(str(tmp_path / "lake")), "stripe", "http://127.0.0.1:1", "hunter2", wait=0.0
    )
    with pytest.raises(errors.WarehouseUnreachable, match="catalog") as raised:
        away.load([loads.load(loads.row("a", 1))], {})
    assert "hunter2" not in str(raised.value)
    away.close()
