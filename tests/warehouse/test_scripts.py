"""Working inside a warehouse: one script of ours, the same in every one that can be worked in."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import fleet
import pyarrow as pa
import pytest

from tidegate import errors
from tidegate import warehouse as warehouses
from tidegate.warehouse import base, ddl, own, scripts

WORK = "_tidegate_script_"
NOTES = base.Table(
    "notes",
    pa.schema([("id", pa.string()), ("amount", pa.int64()), ("at", pa.timestamp("us", "UTC"))]),
    ("id",),
)
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)
UNFIT = ("clickhouse", *fleet.LAKES)


@pytest.fixture(params=[name for name in fleet.NAMES if name not in UNFIT])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[base.Warehouse]:
    opened = warehouses.open_url(fleet.url(request.param, tmp_path, 1))
    yield opened
    opened.close()


def scripted(warehouse: base.Warehouse) -> scripts.Scripted:
    assert isinstance(warehouse, scripts.Scripted)
    return warehouse


def notes(*rows: tuple[str, int | None]) -> pa.Table:
    made = [{"id": name, "amount": amount, "at": NOW} for name, amount in rows]
    return pa.Table.from_pylist(made, NOTES.schema)


def amounts(script: scripts.Script) -> list[tuple[object, ...]]:
    return sorted(script.rows(f"SELECT id, amount FROM {script.name(NOTES.name)}"))


def test_statements_work_over_tables_and_work_tables(warehouse: base.Warehouse) -> None:
    texts = [("it's", 2), ('"\\', 3), ("\u00e9\u1f98b", 4), ("IT'S", None)]

    def work(script: scripts.Script) -> list[tuple[object, ...]]:
        assert not script.has(NOTES.name)
        script.create(NOTES)
        script.create(NOTES)
        assert script.has(NOTES.name)
        script.append(script.name(NOTES.name), notes(*texts))
        sums = script.work(f"{WORK}sums", {"id": "VARCHAR", "total": "BIGINT", "at": own.TIME}, ("id",))
        script.execute(
            f"INSERT INTO {sums} (id, total) SELECT id, amount * 10 AS total "
            f"FROM {script.name(NOTES.name)} WHERE amount IS NOT NULL"
        )
        assert script.works(WORK) == [f"{WORK}sums"]
        found = script.rows(f"SELECT id, total FROM {sums}")
        script.drop(f"{WORK}sums")
        assert script.works(WORK) == []
        return sorted(found)

    assert scripted(warehouse).scripted(work) == sorted((name, n * 10) for name, n in texts if n)
    assert scripted(warehouse).scripted(amounts) == sorted(texts)
    assert set(warehouse.columns(NOTES.name)) == {"id", "amount", "at"}


def test_what_stands_in_a_literal_is_meant_word_for_word(warehouse: base.Warehouse) -> None:
    texts = ["50 %", "?", "{}", "\u00e9\u1f98b"]
    if warehouse.kind != "redshift":  # whose stand-in, unlike it, takes no \ for an escape
        texts += ["it's", "back\\slash"]
    for text in texts:
        query = f"SELECT {ddl.literal(text)} AS said, count(*) AS n FROM (SELECT 1 AS one) AS q"
        assert scripted(warehouse).scripted(lambda script, query=query: script.rows(query)) == [(text, 1)]


def test_a_load_takes_over_a_table_that_a_script_made(warehouse: base.Warehouse) -> None:
    table = base.Table(
        "kept",
        pa.schema(
            [("id", pa.string()), ("_version", pa.int64()), ("_deleted_at", pa.timestamp("us", "UTC"))]
        ),
        ("id",),
    )
    scripted(warehouse).scripted(lambda script: script.create(table))
    row = pa.Table.from_pylist([{"id": "a", "_version": 1, "_deleted_at": None}], table.schema)
    warehouse.load([base.Load(table, row)], {})
    found = scripted(warehouse).scripted(lambda script: script.rows(f"SELECT id FROM {script.name('kept')}"))
    assert found == [("a",)]


def test_a_transaction_that_fails_changes_nothing_and_state_goes_with_the_rows(
    warehouse: base.Warehouse,
) -> None:
    def work(script: scripts.Script, *, fails: bool) -> None:
        name = script.name(NOTES.name)
        with script.transaction():
            script.execute(f"DELETE FROM {name} WHERE id = 'a'")
            script.append(name, notes(("b", 2)))
            script.put({"step": "2"})
            if fails:
                raise LookupError

    scripted(warehouse).scripted(lambda script: script.create(NOTES))
    scripted(warehouse).scripted(lambda script: script.append(script.name(NOTES.name), notes(("a", 1))))
    if warehouse.whole:
        with pytest.raises(LookupError):
            scripted(warehouse).scripted(lambda script: work(script, fails=True))
        assert scripted(warehouse).scripted(amounts) == [("a", 1)]
        assert warehouse.state() == {}
    scripted(warehouse).scripted(lambda script: work(script, fails=False))
    assert scripted(warehouse).scripted(amounts) == [("b", 2)]
    assert warehouse.state() == {"step": "2"}


def test_rows_are_found_by_their_keys_where_they_were_just_written(warehouse: base.Warehouse) -> None:
    keys = pa.table({"id": ["b", "nobody", "it's"]})
    wanted = [base.Wanted(NOTES, keys, ["amount"]), base.Wanted(elsewhere(), keys, [])]

    def work(script: scripts.Script) -> list[pa.Table]:
        script.create(NOTES)
        with script.transaction():
            script.append(script.name(NOTES.name), notes(("a", 1), ("b", None), ("it's", 3)))
        return script.find_all(wanted)

    found, nothing = scripted(warehouse).scripted(work)
    assert found.select(["id", "amount", "_stored"]).to_pylist() == [
        {"id": "b", "amount": None, "_stored": True},
        {"id": "it's", "amount": 3, "_stored": True},
    ]
    assert nothing.num_rows == 0
    assert warehouse.find_all(wanted) == [found, nothing]


def elsewhere() -> base.Table:
    return base.Table("elsewhere", NOTES.schema, ("id",))


def test_who_was_shut_out_changes_nothing(warehouse: base.Warehouse) -> None:
    def work(script: scripts.Script) -> None:
        with script.transaction(fence):
            script.append(script.name(NOTES.name), notes(("a", 1)))

    scripted(warehouse).scripted(lambda script: script.create(NOTES))
    fence = warehouse.claim("first", [NOTES.name])
    scripted(warehouse).scripted(work)
    warehouse.claim("second", [NOTES.name])
    with pytest.raises(errors.Fenced, match="taken over by second"):
        scripted(warehouse).scripted(work)
    assert scripted(warehouse).scripted(amounts) == [("a", 1)]


def test_a_refused_statement_is_an_error_of_ours_and_tells_no_value(warehouse: base.Warehouse) -> None:
    with pytest.raises(errors.WarehouseError) as caught:
        scripted(warehouse).scripted(
            lambda script: script.execute("DELETE FROM nowhere WHERE id = 'jenny@x'")
        )
    assert "jenny" not in str(caught.value)


def test_what_waits_in_a_spool_is_applied_before_a_script(tmp_path: Path) -> None:
    warehouse = warehouses.open_url(f"duckdb:///{tmp_path}/w.duckdb")
    assert isinstance(warehouse, base.Spooling)
    schema = pa.schema([("id", pa.string()), ("_version", pa.int64())])
    table = base.Table("spooled", schema, ("id",))
    warehouse.spool([base.Load(table, pa.Table.from_pylist([{"id": "a", "_version": 1}], schema))], {})
    found = scripted(warehouse).scripted(
        lambda script: script.rows(f"SELECT id FROM {script.name('spooled')}")
    )
    assert found == [("a",)]
    warehouse.close()


def test_work_tables_make_a_duckdb_file_no_larger(tmp_path: Path) -> None:
    warehouse = warehouses.open_url(f"duckdb:///{tmp_path}/w.duckdb")

    def work(script: scripts.Script) -> None:
        many = script.work(f"{WORK}many", {"n": "BIGINT"}, ("n",))
        script.execute(f"INSERT INTO {many} (n) SELECT range AS n FROM range(1000000)")

    scripted(warehouse).scripted(lambda script: script.create(NOTES))
    before = (tmp_path / "w.duckdb").stat().st_size
    scripted(warehouse).scripted(work)
    assert (tmp_path / "w.duckdb").stat().st_size <= before + 4096 * 256
    warehouse.close()


def test_a_warehouse_that_changes_no_rows_in_place_says_so(tmp_path: Path) -> None:
    warehouse = warehouses.open_url(fleet.url("clickhouse", tmp_path, 1))
    with pytest.raises(
        errors.ConfigError, match=r"ClickHouse has no transactions .* choose another warehouse"
    ):
        scripted(warehouse).scripted(lambda script: script.has("notes"))
    warehouse.close()


@pytest.mark.parametrize("adapter", fleet.LAKES)
def test_a_lake_cannot_be_worked_in(adapter: str, tmp_path: Path) -> None:
    warehouse = warehouses.open_url(fleet.url(adapter, tmp_path, 1))
    assert not isinstance(warehouse, scripts.Scripted)
    warehouse.close()
