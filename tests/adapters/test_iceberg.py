"""What is special to Iceberg: a snapshot per table, a state that says which count, and pyiceberg reading it."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import sys
from collections.abc import ItemsView, Iterator
from pathlib import Path

import loads
import pyarrow as pa
import pyiceberg.exceptions
import pyiceberg.table
import pytest
import servers
from pyiceberg import manifest, typedef
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


def test_a_table_gets_columns_after_a_killed_load(warehouse: iceberg.Iceberg, tmp_path: Path) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
    half_a_load(warehouse, loads.row("a", 2, "half"))
    other = new(tmp_path)
    more = base.Table("items", loads.ITEMS.schema.append(pa.field("more", pa.int64())))
    other.prepare([more])
    assert loads.items(other) == [("a", "x", 1, None)]
    other.load([base.Load(more, pa.Table.from_pylist([loads.row("b", 2, "y", more=7)], more.schema))], {})
    assert loads.found(other, "SELECT id, more FROM stripe.items ORDER BY id") == [("a", None), ("b", 7)]
    other.close()


@pytest.mark.parametrize("is_first", [False, True])
def test_a_load_that_was_taken_back_while_it_was_finished_counts(
    warehouse: iceberg.Iceberg, catalog: sql.SqlCatalog, tmp_path: Path, is_first: bool
) -> None:
    other = new(tmp_path)
    more = base.Table("items", loads.ITEMS.schema.append(pa.field("more", pa.int64())))

    class Meanwhile(dict[str, str | None]):
        """A state before which somebody else gets at the table."""

        def items(self) -> ItemsView[str, str | None]:
            other.prepare([more])
            return super().items()

    if not is_first:
        warehouse.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
    warehouse.load([loads.load(loads.row("b", 2, "y"))], Meanwhile(cursor="2"))
    assert warehouse.state() == {"cursor": "2"}
    assert loads.items(warehouse) == [("a", "x", 1, None), ("b", "y", 2, None)][is_first:]
    other.load([loads.load(loads.row("c", 3, "z"))], {"cursor": "3"})
    assert (
        loads.items(warehouse) == [("a", "x", 1, None), ("b", "y", 2, None), ("c", "z", 3, None)][is_first:]
    )
    assert rows(catalog) == [("a", "x"), ("b", "y"), ("c", "z")][is_first:]
    other.close()


def test_a_table_that_others_set_back_is_set_forward_again(
    warehouse: iceberg.Iceberg, catalog: sql.SqlCatalog
) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
    before = table(catalog).current_snapshot()
    assert before is not None
    warehouse.load([loads.load(loads.row("b", 2, "y"))], {"cursor": "2"})
    table(catalog).manage_snapshots().rollback_to_snapshot(before.snapshot_id).commit()
    assert loads.items(warehouse) == [("a", "x", 1, None), ("b", "y", 2, None)]
    warehouse.load([loads.load(loads.row("c", 3, "z"))], {"cursor": "3"})
    assert rows(catalog) == [("a", "x"), ("b", "y"), ("c", "z")]


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


@pytest.mark.parametrize("spelled", ["file:{}", "file://{}"])
def test_files_that_others_wrote_are_read_and_stay(
    warehouse: iceberg.Iceberg,
    catalog: sql.SqlCatalog,
    monkeypatch: pytest.MonkeyPatch,
    spelled: str,
) -> None:
    monkeypatch.setattr(iceberg, "SNAPSHOTS", 1)
    monkeypatch.setattr(iceberg, "LEFTOVER", dt.timedelta(0))
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
    opened = table(catalog)
    [task] = opened.scan().plan_files()
    theirs = Path(task.file.file_path.removeprefix("file://")).with_name("part-0.parquet")
    shutil.copy(task.file.file_path.removeprefix("file://"), theirs)
    moved = manifest.DataFile.from_args(
        content=manifest.DataFileContent.DATA,
        file_path=spelled.format(theirs),
        file_format=manifest.FileFormat.PARQUET,
        partition=typedef.Record(),
        record_count=task.file.record_count,
        file_size_in_bytes=task.file.file_size_in_bytes,
        spec_id=0,
    )
    with opened.transaction() as transaction, transaction.update_snapshot().overwrite() as update:
        update.delete_data_file(task.file)
        update.append_data_file(moved)
    for number in range(3):
        warehouse.load([loads.load(loads.row(f"b{number}", 1, "y" * 10))], {})
    assert theirs.exists()
    assert [id for id, *_ in loads.items(warehouse)] == ["a", "b0", "b1", "b2"]


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


def test_a_catalog_whose_driver_is_missing_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "MySQLdb", None)
    opened = iceberg.Iceberg(
        storage.Local(str(tmp_path / "lake")), "stripe", "mysql://me:hunter2@db/lake", None, wait=0.0
    )
    with pytest.raises(errors.ConfigError, match="MySQLdb") as raised:
        opened.load([loads.load(loads.row("a", 1))], {})
    assert "hunter2" not in str(raised.value)


def test_a_catalog_in_postgres_holds_the_same(tmp_path: Path) -> None:
    url = servers.new_postgres().replace("postgresql://", "postgresql+psycopg://")
    place = storage.Local(str(tmp_path / "lake"))
    opened, other = (iceberg.Iceberg(place, "stripe", url, None) for _ in range(2))
    fence = opened.claim("one", ["items"])
    opened.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"}, fence)
    half_a_load(opened, loads.row("a", 2, "half"))
    other.claim("two", ["items"])
    other.load([loads.load(loads.row("b", 2, "y"))], {"cursor": "2"})
    with pytest.raises(errors.Fenced, match="two"):
        opened.load([loads.load(loads.row("a", 3))], {}, fence)
    assert loads.items(opened) == [("a", "x", 1, None), ("b", "y", 2, None)]
    assert opened.state() == {"cursor": "2"}
    opened.close()
    other.close()


def test_a_commit_that_a_catalog_says_nothing_of_is_tried_again(warehouse: iceberg.Iceberg) -> None:
    found = warehouse.explain(pyiceberg.exceptions.CommitStateUnknownException("jenny@example.com"))
    assert isinstance(found, errors.WarehouseUnreachable)
    assert "jenny" not in str(found)


def test_a_rest_catalog_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    away = iceberg.Iceberg(
        storage.Local(str(tmp_path / "lake")), "stripe", "http://127.0.0.1:1", "hunter2", wait=0.0
    )
    with pytest.raises(errors.WarehouseUnreachable, match="catalog") as raised:
        away.load([loads.load(loads.row("a", 1))], {})
    assert "hunter2" not in str(raised.value)
    away.close()
