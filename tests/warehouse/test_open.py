"""From a URL, a path or a configuration to a warehouse."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tidegate import config, errors
from tidegate import warehouse as warehouses
from tidegate.config import warehouses as kinds
from tidegate.warehouse import base
from tidegate.warehouse.duckdb import DuckDB


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("duckdb:///relative.duckdb", "{here}/relative.duckdb"),
        ("duckdb:///in/a folder/w.db", "{here}/in/a folder/w.db"),
        ("duckdb:///in%20a%20folder.duckdb", "{here}/in a folder.duckdb"),
        ("duckdb:////srv/absolute.duckdb", "/srv/absolute.duckdb"),
        ("DuckDB:////srv/no-ending", "/srv/no-ending"),
        ("bare.duckdb", "{here}/bare.duckdb"),
        ("/srv/bare.db", "/srv/bare.db"),
    ],
)
def test_a_url_names_a_file(url: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    warehouse = warehouses.open_url(url, "other", wait=3.0)
    assert isinstance(warehouse, DuckDB)
    assert warehouse.path == file.format(here=tmp_path.resolve())
    assert (warehouse.kind, warehouse.schema, warehouse.wait) == ("duckdb", "other", 3.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("oracle://me:hunter2@host/db", "no warehouse of the kind oracle; write one of .*postgresql"),
        ("https://me:hunter2@host/db", "no warehouse of the kind https"),
        ("duckdb://relative.duckdb", "four slashes"),
        ("duckdb:///", "needs a file"),
        ("duckdb:///:memory:", "needs a file"),
        ("duckdb:///w.duckdb?password=hunter2", "takes no parameters"),
        ("warehouse.txt", "is no warehouse"),
        ("", "is no warehouse"),
    ],
)
def test_what_is_no_warehouse_is_said_without_secrets(url: str, says: str) -> None:
    with pytest.raises(errors.ConfigError, match=says) as raised:
        warehouses.open_url(url)
    assert "hunter2" not in str(raised.value)
    assert raised.value.exit_code == 2


def test_a_configured_warehouse(tmp_path: Path) -> None:
    target = config.DuckDB.model_validate(
        {"type": "duckdb", "path": str(tmp_path / "w.duckdb"), "schema": "raw"}
    )
    warehouse = warehouses.open_warehouse(target)
    assert isinstance(warehouse, DuckDB)
    assert (warehouse.path, warehouse.schema) == (str(tmp_path.resolve() / "w.duckdb"), "raw")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "postgresql://me:hunter2@db.example.com:5432/prod?sslmode=require",
            "postgresql://db.example.com:5432/prod",
        ),
        ("postgresql://me:hunter2@@db.example.com/prod", "postgresql://db.example.com/prod"),
        ("mysql://me:hunt/er2@db.example.com/prod", "mysql://db.example.com/prod"),
        ("postgresql:///prod?host=/tmp&password=hunter2", "postgresql:///prod"),
        ("duckdb:///w.duckdb", "duckdb:///w.duckdb"),
        ("w.duckdb", "w.duckdb"),
    ],
)
def test_a_url_is_shown_without_secrets(url: str, shown: str) -> None:
    assert warehouses.named(url) == shown
    assert "hunter2" not in shown


def test_a_source_of_models_alone_takes_no_rows() -> None:
    target = kinds.Elasticsearch.model_validate(
        {"type": "elasticsearch", "url": "https://me:hunter2@host:9200"}
    )
    with pytest.raises(errors.ConfigError, match="elasticsearch can be read by models, but") as raised:
        warehouses.open_warehouse(target)
    assert "hunter2" not in str(raised.value)


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    target = config.Postgres.model_validate({"type": "postgres", "url": "postgresql://me:hunter2@host/db"})
    monkeypatch.delitem(sys.modules, "tidegate.adapters.postgres", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(errors.ConfigError, match=r"pip install 'tidegate\[postgres\]'"):
        warehouses.open_warehouse(target)


def test_duckdb_keeps_both_protocols(tmp_path: Path) -> None:
    warehouse: base.Warehouse = DuckDB(tmp_path / "w.duckdb")
    assert isinstance(warehouse, base.Spooling)
