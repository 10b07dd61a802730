"""Every database as a source: what was pulled into it can be read by SQL of its own, and nothing can be changed."""

from __future__ import annotations

import datetime as dt
import json

import loads
import pyarrow as pa
import pytest

from tidegate import errors
from tidegate.sources import base
from tidegate.warehouse import base as warehouses

ITEMS = "SELECT id, name, notes, _version, _synced_at, _deleted_at FROM stripe.items ORDER BY id"


def rows(source: base.Source, query: base.Query | str) -> pa.Table:
    return pa.Table.from_batches(list(source.read(query)))


def said(source: base.Source, query: base.Query | str) -> str:
    with pytest.raises(errors.TidegateError) as caught:
        rows(source, query)
    return str(caught.value)


def test_models_read_what_was_pulled(source: base.Source) -> None:
    found = rows(source, ITEMS)
    assert found.column_names == ["id", "name", "notes", "_version", "_synced_at", "_deleted_at"]
    notes = [one and json.loads(one) for one in found["notes"].to_pylist()]
    assert notes == [{"n": 2**53 + 1}, None, None]
    assert found.schema.field("_synced_at").type == pa.timestamp("us", "UTC")
    synced = loads.SYNCED.astimezone(dt.UTC)
    assert [tuple(row.values()) for row in found.drop_columns(["notes"]).to_pylist()] == [
        ("a", "ü😀", 1, synced, None),
        ("b", None, 2, synced, None),
        ("c", 'it\'s 100% "c"', 3, synced, None),
    ]


def test_columns_are_told_without_rows(source: base.Source) -> None:
    assert source.columns(ITEMS).equals(rows(source, ITEMS).schema, check_metadata=True)


def test_no_rows_have_their_columns(source: base.Source) -> None:
    found = rows(source, "SELECT id, notes, _version FROM stripe.items WHERE id = 'nobody'")
    assert found.num_rows == 0
    assert found.schema.equals(
        source.columns("SELECT id, notes, _version FROM stripe.items"), check_metadata=True
    )


def test_tables_are_listed_as_models_name_them(source: base.Source) -> None:
    names = source.tables()
    assert names == sorted(names)
    [items] = [name for name in names if name.lower() == "stripe.items"]
    found = rows(source, base.Query(table=items))
    assert sorted(found[found.column_names.index("id")].to_pylist()) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM stripe.items",
        "UPDATE stripe.items SET name = 'x'",
        "DROP TABLE stripe.items",
        "CREATE TABLE stripe.more AS SELECT * FROM stripe.items",
        "SELECT * INTO stripe.more FROM stripe.items",
        "WITH gone AS (DELETE FROM stripe.items RETURNING id) SELECT * FROM gone",
    ],
)
def test_models_change_nothing(source: base.Source, text: str) -> None:
    assert "A model only reads, and this SQL would do something else (" in said(source, text)


def test_a_model_is_one_query(source: base.Source) -> None:
    assert "this SQL has several statements" in said(source, "SELECT 1 AS a; DROP TABLE stripe.items")
    assert rows(source, "SELECT 1 AS one ;\n").to_pylist() == [{"one": 1}]


def test_names_must_be_distinct(source: base.Source) -> None:
    message = said(source, "SELECT id AS x, name AS x FROM stripe.items")
    assert "returns 2 columns of the name x" in message or source.kind == "clickhouse"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id FROM stripe.geheim_nope WHERE name = 'geheim'",
        "SELECT nope FROM stripe.items WHERE name = 'geheim'",
        "SELECT id FROM stripe.items WHERE name = 'geheim' AND",
    ],
)
def test_mistakes_are_told_in_one_sentence_without_values(source: base.Source, text: str) -> None:
    message = said(source, text)
    assert "\n" not in message
    assert "'geheim'" not in message
    assert rows(source, "SELECT 1 AS one").to_pylist() == [{"one": 1}]


def test_closing_ends_a_query_and_the_next_one_goes(source: base.Source) -> None:
    for _ in range(2):
        batches = source.read(ITEMS)
        assert next(batches).num_columns == 6
        batches.close()  # type: ignore[attr-defined]  # it is a generator
    assert rows(source, "SELECT id FROM stripe.items").num_rows == 3


def test_check_goes_step_by_step(source: base.Source) -> None:
    steps = source.check()
    assert all(step.ok for step in steps), steps
    assert [step.name for step in steps if step.name != "sign in"] == ["reach", "list", "read"]
    assert "write" not in {step.name for step in steps}


def test_only_sql_and_tables_are_read(source: base.Source) -> None:
    with pytest.raises(errors.ConfigError, match="is written with `sql` or `table`, not with `index`"):
        source.read(base.Query(index="customers"))
    with pytest.raises(errors.ConfigError, match="is no name of a table"):
        source.read(base.Query(table="items; DROP TABLE items"))


TELLING = ("duckdb", "parquet", "delta", "iceberg", "postgres", "snowflake", "bigquery")
"""Databases that have a type for JSON, and drivers that tell it apart."""


def test_json_is_text_and_marked(source: base.Source) -> None:
    field = source.columns(ITEMS).field("notes")
    assert field.type == pa.string()
    assert field.metadata == warehouses.JSON or source.kind not in TELLING
