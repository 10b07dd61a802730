"""How BigQuery's tables change while others work on them, and what datasets of somebody else's do to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import bigqueries
import bigquery_engine as engine
import loads
import pyarrow as pa
import pytest
import servers
from bigquery_values import Refused
from google.api_core import exceptions

from tidegate import errors
from tidegate import warehouse as warehouses
from tidegate.adapters import bigquery
from tidegate.warehouse import base

BEYOND = 2**53 + 1
"""An integer that no double holds."""


@pytest.fixture
def service() -> Iterator[engine.Service]:
    """The stand-in, which behaves again afterwards."""
    found, _ = servers.bigquery()
    yield found
    found.behave()


@pytest.fixture
def url(service: engine.Service) -> str:
    """A project that nobody used before."""
    service.queries.clear()
    service.loads.clear()
    return servers.new_bigquery()


@pytest.fixture
def warehouse(url: str) -> Iterator[bigquery.BigQuery]:
    """The warehouse behind `url`."""
    opened = warehouses.open_url(url)
    assert isinstance(opened, bigquery.BigQuery)
    yield opened
    opened.close()


@pytest.fixture
def other(url: str) -> Iterator[base.Warehouse]:
    """Another writer, who does not wait for anybody."""
    opened = warehouses.open_url(url, wait=0)
    yield opened
    opened.close()


def item(id: str, version: int = 1, json: bool = False, **columns: object) -> base.Load:
    """A row of the table `items` with columns that the table may not have yet."""
    rows = pa.table({"_account_id": ["acct_1"], "id": [id], "_version": [version]})
    for name, value in columns.items():
        column = pa.array([value])
        field = pa.field(name, column.type, metadata=base.JSON if json else None)
        rows = rows.append_column(field, column)
    return base.Load(loads.ITEMS, rows)


def once(
    monkeypatch: pytest.MonkeyPatch, warehouse: bigquery.BigQuery, method: str, work: Callable[[], object]
) -> None:
    """Let somebody else work after the first call of a method of `warehouse`."""
    found = getattr(bigquery.BigQuery, method)
    times: list[int] = []

    def overtaken(self: bigquery.BigQuery, *given: object) -> object:
        result = found(self, *given)
        if self is warehouse and not times:
            times.append(1)
            work()
        return result

    monkeypatch.setattr(bigquery.BigQuery, method, overtaken)


# Widening


def test_nobody_commits_while_a_table_is_made_anew(
    warehouse: bigquery.BigQuery, other: base.Warehouse, service: engine.Service
) -> None:
    """A commit after its rows were read would be lost with the table that they were read from."""
    warehouse.load([item("a", v=7)], {})
    refused: list[str] = []

    def commit() -> None:
        try:
            other.load([item("b", v=8)], {"other": "1"})
        except errors.WarehouseBusy as error:
            refused.append(str(error))

    service.meanwhile = commit
    warehouse.load([item("c", v="x")], {"mine": "1"})
    assert ["gives columns of BigQuery's project" in each for each in refused] == [True]
    other.load([item("b", v=8)], {"other": "1"})
    found = loads.found(warehouse, "SELECT id, v FROM stripe.items ORDER BY id")
    assert found == [("a", "7"), ("b", "8"), ("c", "x")]
    assert warehouse.state() == {"mine": "1", "other": "1"}


def test_who_decided_before_a_table_was_made_anew_decides_again(
    warehouse: bigquery.BigQuery, other: base.Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.load([item("a", v=7)], {})
    once(monkeypatch, warehouse, "_there", lambda: other.load([item("b", v="x")], {}))
    warehouse.load([item("c", v=9)], {})
    found = loads.found(warehouse, "SELECT id, v FROM stripe.items ORDER BY id")
    assert found == [("a", "7"), ("b", "x"), ("c", "9")]


def test_two_writers_who_widen_the_same_column_convert_it_once(
    warehouse: bigquery.BigQuery, other: base.Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text that is taken for a number still would become JSON with quotes around it."""
    warehouse.load([item("a", v=7)], {})
    wide = base.Table("items", loads.ITEMS.schema.append(pa.field("v", pa.string())))
    document = base.Table("items", loads.ITEMS.schema.append(pa.field("v", pa.string(), metadata=base.JSON)))
    once(monkeypatch, warehouse, "_ready", lambda: other.prepare([wide]))
    warehouse.prepare([document])
    assert warehouse.columns("items")["v"] == "STRING"
    assert loads.found(warehouse, "SELECT v FROM stripe.items") == [("7",)]


def test_integers_that_come_while_a_column_becomes_a_double_keep_their_digits(
    warehouse: bigquery.BigQuery, other: base.Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.load([item("a", v=7)], {})
    once(monkeypatch, warehouse, "beyond_double", lambda: other.load([item("b", v=BEYOND)], {}))
    warehouse.load([item("c", v=0.5)], {})
    found = loads.found(warehouse, "SELECT id, v FROM stripe.items ORDER BY id")
    assert found == [("a", "7"), ("b", str(BEYOND)), ("c", "0.5")]


@pytest.mark.parametrize(
    "trouble", [Refused(503, "backendError", "Error encountered during execution."), ConnectionAbortedError()]
)
def test_a_script_that_breaks_while_a_table_is_made_anew_keeps_nobody_out(
    warehouse: bigquery.BigQuery, service: engine.Service, trouble: Exception
) -> None:
    """Its job is over, and says so."""
    warehouse.load([item("a", v=7)], {})

    def fail() -> None:
        raise Refused(503, "backendError", "Error encountered during execution.")

    if isinstance(trouble, Refused):
        service.meanwhile = fail
    else:
        service.faults.append(engine.Fault("CREATE OR REPLACE", after=True))
    warehouse.load([item("b", v="x")], {})
    assert service.meanwhile is None
    assert service.faults == []
    found = loads.found(warehouse, "SELECT id, v FROM stripe.items ORDER BY id")
    assert found == [("a", "7"), ("b", "x")]


def test_who_changes_tables_is_waited_for_until_the_job_is_over(
    warehouse: bigquery.BigQuery, other: base.Warehouse, service: engine.Service, url: str
) -> None:
    warehouse.load([item("a")], {})
    service.endless.append("SELECT 'for ever'")
    with bigqueries.client(url) as opened:
        job = opened.query("SELECT 'for ever' AS x")
        lock = f"UPDATE stripe._tidegate_state SET value = '5 {job.job_id} US' WHERE key = 'fence/'"
        opened.query_and_wait(lock)
        with pytest.raises(errors.WarehouseBusy, match=f"The job {job.job_id} gives columns .* wider types"):
            other.load([item("b")], {})
        assert loads.found(other, "SELECT id FROM stripe.items") == [("a",)]
        service.forbidden.add("bigquery.jobs.get")
        with pytest.raises(
            errors.WarehouseError, match=r"jobs\.get is missing.*roles/bigquery\.resourceViewer"
        ):
            other.load([item("b")], {})
        service.forbidden.clear()
        job.cancel()
    other.load([item("b")], {})
    assert loads.found(warehouse, "SELECT id FROM stripe.items ORDER BY id") == [("a",), ("b",)]


def test_a_column_may_be_added_and_become_wider_at_once(warehouse: bigquery.BigQuery) -> None:
    """Of a table that has no view, whose making would come between."""
    table = base.Table("things", pa.schema([pa.field("id", pa.string())]), ("id",), "")
    warehouse.load([base.Load(table, pa.table({"id": ["a"]}))], {})
    values = {"b": 1, "c": 0.5, "d": "x"}
    warehouse.load(
        [base.Load(table, pa.table({"id": [id], "v": [value]})) for id, value in values.items()], {}
    )
    found = loads.found(warehouse, "SELECT id, v FROM stripe.things ORDER BY id")
    assert found == [("a", None), ("b", "1"), ("c", "0.5"), ("d", "x")]


def test_columns_become_wider_together(warehouse: bigquery.BigQuery, service: engine.Service) -> None:
    """To make a table anew is billed for all of it, and BigQuery takes five changes of a table in ten seconds."""
    warehouse.load([item("a", **{f"c{n}": n for n in range(8)}, x=1)], {})
    warehouse.load([item("b", **{f"c{n}": "x" for n in range(8)}, x=0.5)], {})
    replaced = [each for each in service.queries if "CREATE OR REPLACE TABLE" in each]
    assert len(replaced) == 1
    found = loads.found(warehouse, "SELECT id, c0, c7, x FROM stripe.items ORDER BY id")
    assert found == [("a", "0", "7", 1.0), ("b", "x", "x", 0.5)]


def test_a_table_that_is_made_anew_is_clustered_as_before(warehouse: bigquery.BigQuery, url: str) -> None:
    """BigQuery replaces no table by one that is clustered otherwise; that of a history is, by three columns."""
    warehouse.load([loads.versions(("a", 1, "x"))], {})
    wider = loads.HISTORY.schema.set(3, pa.field("_version", pa.string()))
    warehouse.prepare([base.Table("items_history", wider, loads.HISTORY.key, "")])
    assert warehouse.columns("items_history")["_version"] == "STRING"
    text = (
        "SELECT column_name FROM stripe.INFORMATION_SCHEMA.COLUMNS WHERE table_name = 'items_history' "
        "AND clustering_ordinal_position IS NOT NULL ORDER BY clustering_ordinal_position"
    )
    assert bigqueries.asked(url, text) == [("_account_id",), ("id",), ("_valid_from",)]
    assert loads.history(warehouse) == [("a", "x", 1, None)]


def test_the_stand_in_replaces_tables_as_bigquery_does(warehouse: bigquery.BigQuery, url: str) -> None:
    warehouse.prepare([loads.ITEMS])
    with pytest.raises(exceptions.BadRequest, match="different partitioning spec"):
        bigqueries.asked(url, "CREATE OR REPLACE TABLE stripe.items (id STRING) CLUSTER BY id AS SELECT 'a'")


# Adding


def test_a_column_that_somebody_else_adds_as_another_type_is_met_again(
    warehouse: bigquery.BigQuery, other: base.Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text in a column of JSON would be read as a document."""
    warehouse.load([item("a")], {})
    theirs = base.Table("items", loads.ITEMS.schema.append(pa.field("v", pa.string(), metadata=base.JSON)))
    once(monkeypatch, warehouse, "_there", lambda: other.prepare([theirs]))
    warehouse.load([item("b", v=" 1 ")], {})
    assert warehouse.columns("items")["v"] == "STRING"
    assert loads.found(warehouse, "SELECT v FROM stripe.items WHERE id = 'b'") == [(" 1 ",)]


# Datasets of somebody else's


@pytest.mark.parametrize("size", [1, 2_000_000])
def test_ids_that_differ_in_case_are_two_also_where_the_dataset_ignores_case(
    warehouse: bigquery.BigQuery, service: engine.Service, url: str, size: int
) -> None:
    """Also those that come by a stage table, as texts that are too long for a request do."""
    bigqueries.asked(url, "CREATE SCHEMA stripe DEFAULT COLLATE 'und:ci'")
    text = "x" * size
    for version in (1, 2):
        assert warehouse.load([item("cus_a", version, name=text)], {})[0].stale == 0
        assert warehouse.load([item("cus_A", version, name=text)], {})[0].stale == 0
        found = loads.found(warehouse, "SELECT id, _version, length(name) AS n FROM stripe.items")
        assert sorted(found) == [("cus_A", version, size), ("cus_a", version, size)]
    assert len(service.loads) == (0 if size == 1 else 4)


@pytest.mark.parametrize("name", ["x_0xffffff_", "x_0xd800_", "x_0x61_", "_0x2E_"])
def test_a_name_that_somebody_else_gave_stays_as_it_is(
    warehouse: bigquery.BigQuery, url: str, name: str
) -> None:
    warehouse.prepare([loads.ITEMS])
    bigqueries.asked(url, f"CREATE TABLE stripe.`{name}` (`{name}` STRING)")
    assert warehouse.columns(name) == {name: "STRING"}


def test_a_stage_table_that_somebody_drops_is_filled_again(
    warehouse: bigquery.BigQuery, service: engine.Service, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """As the sweep of a machine does whose clock is wrong."""
    rows = pa.table(
        {
            "_account_id": ["acct_1"] * 10_000,
            "id": [f"id_{n}" for n in range(10_000)],
            "_version": [1] * 10_000,
            "name": ["name" * 30] * 10_000,
        }
    )
    warehouse.prepare([loads.ITEMS])
    times: list[int] = []
    commit = bigquery.BigQuery.commit

    def dropped(self: bigquery.BigQuery, *given: object) -> None:
        if not times:
            times.append(1)
            project = url.removeprefix("bigquery://").partition("?")[0]
            service.drop_table(project, "stripe", service.loads[-1])
        commit(self, *given)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(bigquery.BigQuery, "commit", dropped)
    warehouse.load([base.Load(loads.ITEMS, rows)], {})
    assert times == [1]
    assert loads.found(warehouse, "SELECT count(*) AS n FROM stripe.items") == [(10_000,)]


def test_moments_that_become_text_are_in_utc(warehouse: bigquery.BigQuery, service: engine.Service) -> None:
    """BigQuery says them in the default time zone of the project else."""
    warehouse.load([item("a", at=loads.SYNCED)], {})
    warehouse.load([item("b", at="later")], {})
    [text] = [each for each in service.queries if "CREATE OR REPLACE TABLE" in each]
    assert "STRING(`at`, 'UTC') AS `at`" in text
    found = loads.found(warehouse, "SELECT v.at FROM stripe.items AS v ORDER BY id")
    assert found == [("2026-01-01 00:00:00+00",), ("later",)]
