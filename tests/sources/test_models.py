"""From a model in `tidegate.yaml` to what a source is asked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tidegate import config, errors, sources
from tidegate.config import warehouses
from tidegate.sources import base

HEAD = "warehouses: {local: {type: duckdb, path: w.duckdb}}\nmodels: {m: {warehouse: local, key: id, "


def model(folder: Path, text: str) -> config.Model:
    """The model of a file that says `text` of it."""
    file = folder / "tidegate.yaml"
    file.write_text(f"{HEAD}{text}}}}}\n")
    return config.load(file).models["m"]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("sql: 'select 1 as id'", base.Query(sql="select 1 as id")),
        ("table: analytics.accounts", base.Query(table="analytics.accounts")),
        (
            "index: 'customers-*', query: {term: {plan: pro}}, fields: [id, 'tags:json']",
            base.Query(index="customers-*", query={"term": {"plan": "pro"}}, fields=("id", "tags:json")),
        ),
        ("sheet: Customers, range: 'A3:F'", base.Query(sheet="Customers", range="A3:F")),
    ],
)
def test_models_ask_for_one_thing(tmp_path: Path, text: str, query: base.Query) -> None:
    assert sources.base.asked(model(tmp_path, text)) == query


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sql: 'select 1', table: t", "`sql` and `table` exclude each other; give one of them"),
        ("table: t, index: i", "`table` and `index` exclude each other; give one of them"),
        ("sql: 'select 1', query: {match_all: {}}", "`query` and `fields` belong to `index`"),
        ("index: i, range: 'A1:B2'", "`range` belongs to `sheet`"),
        ("fields: [id]", "give either `sql` or `table`"),
    ],
)
def test_models_that_contradict_themselves_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        model(tmp_path, text)


@pytest.mark.parametrize("query", [base.Query(), base.Query(sql="select 1", table="t")])
def test_a_query_asks_for_one_thing(query: base.Query) -> None:
    with pytest.raises(errors.ConfigError, match="A model reads one thing"):
        base.query_of(query)


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("google.auth", "tidegate.sources.sheets"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "google.auth", None)
    target = warehouses.GoogleSheets.model_validate({"spreadsheet": "x", "credentials": "{}"})
    with pytest.raises(errors.ConfigError, match=r"run `pip install 'tidegate\[google-sheets\]'`"):
        sources.open_source(target)


def test_what_can_only_be_read_is_told_where_a_pull_wants_it() -> None:
    target = warehouses.Elasticsearch.model_validate({"url": "https://localhost:9200"})
    with pytest.raises(errors.ConfigError, match="elasticsearch can be read by models, but not pulled into"):
        sources.warehouse.open_warehouse(target)
