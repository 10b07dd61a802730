"""From a URL, a path or a configuration to a warehouse."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate import config, errors
from tidegate import warehouse as warehouses
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
        ("postgresql://me:hunter2@host/db", "no adapter for postgresql in this version"),
        ("snowflake://me:hunter2@account/db", "no adapter for snowflake in this version"),
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


def test_a_configured_warehouse_without_an_adapter() -> None:
    target = config.Postgres.model_validate({"type": "postgres", "url": "postgresql://me:hunter2@host/db"})
    with pytest.raises(errors.ConfigError, match="no adapter for postgres in this version") as raised:
        warehouses.open_warehouse(target)
    assert "hunter2" not in str(raised.value)


def test_duckdb_keeps_both_protocols(tmp_path: Path) -> None:
    warehouse: base.Warehouse = DuckDB(tmp_path / "w.duckdb")
    assert isinstance(warehouse, base.Spooling)
