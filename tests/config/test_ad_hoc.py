"""The configuration that flags make, for a pull without a file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tidegate import config, errors

COLUMNS = {"charges": ["id"], "customers": ["id", "email"]}


def make(**flags: Any) -> config.Config:
    return config.ad_hoc(
        **{"api_key": "sk_test_geheim", "to": "duckdb:///w.duckdb", "columns": COLUMNS, **flags}
    )


def refused(**flags: Any) -> str:
    with pytest.raises(errors.ConfigError) as caught:
        make(**flags)
    assert "geheim" not in str(caught.value)
    return str(caught.value)


def test_key_and_warehouse_are_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = make()
    assert found.stripe["stripe"].budget == 0.8
    warehouse = found.warehouses["warehouse"]
    assert isinstance(warehouse, config.DuckDB)
    assert warehouse.file == str(tmp_path / "w.duckdb")
    assert found.pulls["pull"].takes("charges")
    assert found.pulls["pull"].lookback == timedelta(days=7)


def test_every_flag_lands_where_the_file_would_have_it() -> None:
    found = make(
        api_base="http://127.0.0.1:12111",
        schema="raw",
        streams=["charges"],
        accounts=["acct_1"],
        account_id="acct_2",
        start_date="2024-01-01",
        lookback="3d",
        budget=1,
        rate_limit="off",
        full_refresh=True,
    )
    connection, pull = found.stripe["stripe"], found.pulls["pull"]
    assert connection.api_base == "http://127.0.0.1:12111"
    assert connection.accounts == ("acct_1",)
    assert connection.account_id == "acct_2"
    assert connection.start_date == datetime(2024, 1, 1, tzinfo=UTC)
    assert (connection.budget, str(connection.rate_limit)) == (1.0, "off")
    assert found.warehouses["warehouse"].schema_name == "raw"
    assert pull.lookback == timedelta(days=3)
    assert [name for name in COLUMNS if pull.takes(name)] == ["charges"]
    assert pull.options("charges").mode == "full_refresh"


@pytest.mark.parametrize(
    ("to", "kind"),
    [("w.duckdb", config.DuckDB), ("x/w.db", config.DuckDB), ("postgresql://u:geheim@h/d", config.Postgres)],
)
def test_a_warehouse_is_a_file_or_a_url(to: str, kind: type) -> None:
    assert type(make(to=to).warehouses["warehouse"]) is kind


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"to": "warehouse"}, "--to: write duckdb:///FILE"),
        ({"to": "oracle://u:geheim@h"}, "--to: write duckdb:///FILE"),
        ({"to": "duckdb://w"}, "--to: write duckdb:///FILE"),
        ({"to": "duckdb:///:memory:"}, "--to: a database in memory is gone"),
        ({"api_key": " "}, "--api-key: this is empty"),
        ({"api_base": "localhost"}, "--api-base: write a URL"),
        ({"lookback": "601d"}, "--lookback: a lookback is at most 600d"),
        ({"start_date": "yesterday"}, "--start-date: write a date"),
        ({"budget": 2}, "--budget: must be less than or equal to 1"),
        ({"rate_limit": "x"}, "--rate-limit: write requests a second"),
        ({"streams": ["charge"]}, "--streams: Stripe has no such stream; did you mean 'charges'?"),
        ({"accounts": ["me"]}, "--account: must be an account id"),
        ({"account_id": "me"}, "--account-id: must be an account id"),
    ],
)
def test_a_mistake_names_its_flag(flags: dict[str, Any], says: str) -> None:
    assert says in refused(**flags)


def test_all_mistakes_are_told_at_once() -> None:
    assert len(refused(budget=0, lookback="x", streams=["nope"]).splitlines()) == 3
