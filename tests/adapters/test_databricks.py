"""What is special to Databricks: one MERGE per table, files in a volume, names, grants, what its driver says."""

from __future__ import annotations

import datetime as dt
import http.server
import os
import re
import sys
import threading
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import databricks_api
import databricks_sql
import loads
import pyarrow as pa
import pytest
import servers
from databricks import sql as driver

from tidegate import config, errors, sources
from tidegate import warehouse as warehouses
from tidegate.adapters import databricks, databricks_words
from tidegate.sources import base as base_sources
from tidegate.warehouse import base, desk


@pytest.fixture
def workspace() -> Iterator[databricks_api.Workspace]:
    """The stand-in."""
    yield servers.databricks()
    servers.databricks().faults.clear()
    servers.databricks().canceled.clear()


@pytest.fixture
def url() -> str:
    """A SQL warehouse that nobody used before."""
    return servers.new_databricks()


@pytest.fixture
def warehouse(url: str) -> Iterator[databricks.Databricks]:
    """The warehouse behind `url`."""
    opened = warehouses.open_url(url)
    assert isinstance(opened, databricks.Databricks)
    yield opened
    opened.close()


def fault(match: str, text: str = "", code: str = "BAD_REQUEST", status: int = 200, cut: str = "") -> None:
    """Let a later request fail."""
    servers.databricks().faults.append(databricks_api.Fault(match, code, text, status, cut))


def files(workspace: databricks_api.Workspace) -> list[str]:
    """The files of the newest SQL warehouse's volumes."""
    return [str(path) for path in list(workspace.computes.values())[-1].folder.rglob("*.parquet")]


def many(count: int, version: int = 1) -> base.Load:
    """Rows that are too many for a parameter."""
    rows = pa.table(
        {
            "_account_id": pa.repeat(pa.scalar("acct_1"), count),
            "id": pa.array([f"id_{n:06}" for n in range(count)]),
            "name": pa.array([f"name of {n}\0" for n in range(count)]),
            "_version": pa.repeat(pa.scalar(version), count),
        }
    )
    return base.Load(loads.ITEMS, rows)


def test_a_table_has_the_types_of_databricks(warehouse: databricks.Databricks) -> None:
    fields = [
        pa.field("id", pa.string()),
        pa.field("flag", pa.bool_()),
        pa.field("n", pa.int64()),
        pa.field("x", pa.float64()),
        pa.field("exact", pa.decimal128(38, 12)),
        pa.field("at", loads.TIME),
        pa.field("doc", pa.string(), metadata=base.JSON),
    ]
    warehouse.prepare([base.Table("things", pa.schema(fields), ("id",), "")])
    assert warehouse.columns("things") == {
        "id": "STRING",
        "flag": "BOOLEAN",
        "n": "BIGINT",
        "x": "DOUBLE",
        "exact": "DECIMAL(38,12)",
        "at": "TIMESTAMP",
        "doc": "STRING COMMENT 'JSON'",
    }


def test_a_load_is_one_merge_per_table_and_the_state_is_last(
    warehouse: databricks.Databricks, workspace: databricks_api.Workspace
) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {"n": "1"})
    before = len(workspace.ran)
    warehouse.load([loads.load(loads.row("a", 2), loads.row("b", 2))], {"n": "2"})
    merges = [" ".join(each.split()[:3]) for each in workspace.ran[before:] if not each.startswith("SELECT")]
    assert merges == ["MERGE INTO `stripe`.`items`", "MERGE INTO `stripe`.`_tidegate_state`"]


def test_many_rows_go_by_a_file_that_is_gone_afterwards(
    warehouse: databricks.Databricks, workspace: databricks_api.Workspace
) -> None:
    assert warehouse.load([many(20_000)], {})[0].inserted == 20_000
    assert warehouse.load([many(20_000, version=2)], {})[0].updated == 20_000
    found = loads.found(
        warehouse, "SELECT count(*) AS n, count(DISTINCT name) AS names, min(_version) AS v FROM stripe.items"
    )
    assert found == [(20_000, 20_000, 2)]
    assert any("parquet.`/Volumes/main/stripe/tidegate_stage/" in each for each in workspace.ran)
    assert files(workspace) == []


def test_files_of_killed_loads_are_swept_and_those_of_others_are_not(
    warehouse: databricks.Databricks, workspace: databricks_api.Workspace, url: str
) -> None:
    warehouse.load([many(20_000)], {})
    folder = next(list(workspace.computes.values())[-1].folder.rglob("tidegate_stage"))
    old, fresh = folder / "old.parquet", folder / "fresh.parquet"
    for path in (old, fresh):
        path.write_bytes(b"left behind")
    yesterday = (dt.datetime.now(dt.UTC) - dt.timedelta(days=1)).timestamp()
    os.utime(old, (yesterday, yesterday))
    again = warehouses.open_url(url)
    again.load([many(20_000, version=2)], {})
    again.close()
    assert files(workspace) == [str(fresh)]


def test_a_statement_that_went_on_after_its_connection_was_lost_doubles_nothing(
    warehouse: databricks.Databricks,
) -> None:
    fault("MERGE INTO .*items", cut="after")
    fault("MERGE INTO .*_tidegate_state", cut="after")
    done = warehouse.load([loads.load(loads.row("a", 1, "x"), loads.row("b", 1, "y"))], {"n": "1"})
    assert done[0].read == 2
    assert loads.items(warehouse) == [("a", "x", 1, None), ("b", "y", 1, None)]
    assert warehouse.state() == {"n": "1"}


@pytest.mark.parametrize("cut", ["before", "after"])
@pytest.mark.parametrize("what", ["MERGE INTO .*items", "SELECT .*items", "PUT /Volumes"])
def test_a_connection_that_is_cut_in_a_load_doubles_and_loses_nothing(
    warehouse: databricks.Databricks, cut: str, what: str
) -> None:
    warehouse.load([loads.load(loads.row("id_000000", 0, "x"))], {"n": "1"})
    fault(what, cut=cut)
    assert warehouse.load([many(5_000)], {"n": "2"})[0].read == 5_000
    found = loads.found(warehouse, "SELECT count(*) AS n, count(DISTINCT id) AS ids FROM stripe.items")
    assert found == [(5_000, 5_000)]
    assert warehouse.state() == {"n": "2"}


def test_a_statement_is_waited_for_however_often_nobody_answers(
    warehouse: databricks.Databricks, workspace: databricks_api.Workspace
) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {})
    before = len(workspace.ran)
    fault("GET /api/2.0/sql/statements/", cut="before")
    fault("GET /api/2.0/sql/statements/", "Upstream is gone", status=502)
    assert warehouse.load([loads.load(loads.row("a", 2))], {"n": "2"})[0].updated == 1
    merges = [each.split()[2] for each in workspace.ran[before:] if each.startswith("MERGE")]
    assert merges == ["`stripe`.`items`", "`stripe`.`_tidegate_state`"]
    assert workspace.canceled == []
    assert workspace.faults == []


def test_a_merge_that_gets_its_turn_after_a_later_claim_does_nothing(
    warehouse: databricks.Databricks, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sent it had looked at his claim, slept, and was overtaken."""
    warehouse.prepare([loads.ITEMS])
    first, commit = warehouse.claim("one", ["items", "others"]), warehouse.commit
    warehouse.load([loads.load(loads.row("a", 0, "first"))], {"n": "0"}, first)
    other = warehouses.open_url(url)

    def overtaken(changes: Sequence[desk.Change], state: Mapping[str, str | None]) -> None:
        second = other.claim("two", ["items"])
        other.load([loads.load(loads.row("a", 2, "new"), loads.row("b", 2, "new"))], {"n": "2"}, second)
        other.load([loads.drop("b")], {"n": "3"}, second)
        commit(changes, state)

    monkeypatch.setattr(warehouse, "commit", overtaken)
    with pytest.raises(errors.Fenced, match="taken over by two"):
        warehouse.load([loads.load(loads.row("a", 1, "old"), loads.row("b", 1, "old"))], {"n": "1"}, first)
    assert loads.items(other) == [("a", "new", 2, None)]
    assert other.state() == {"n": "3"}
    other.close()


def test_a_chunk_that_nobody_told_of_is_missed(
    warehouse: databricks.Databricks, workspace: databricks_api.Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.load([many(25_000)], {})
    links = workspace.links

    def fewer(number: str, index: int, count: int, total: int) -> dict[str, Any]:
        return links(number, index, min(count, 2), total)

    monkeypatch.setattr(workspace, "links", fewer)
    with pytest.raises(errors.WarehouseUnreachable):
        loads.items(warehouse)


def test_a_schema_in_which_different_keys_are_equal_is_refused(
    warehouse: databricks.Databricks, workspace: databricks_api.Workspace
) -> None:
    connection = list(workspace.computes.values())[-1].connection
    [view] = [each for each in databricks_sql.PREPARED if "unity_columns" in each]
    told = "coalesce(map"
    connection.execute(
        view.replace("CREATE", "CREATE OR REPLACE").replace(told, "'string collate UTF8_LCASE' || " + told)
    )
    with pytest.raises(errors.ConfigError, match="run ALTER SCHEMA `stripe` DEFAULT COLLATION UTF8_BINARY"):
        warehouse.load([loads.load(loads.row("a", 1))], {})


def test_an_address_shows_no_token(warehouse: databricks.Databricks) -> None:
    assert "dapi" not in repr(warehouse._address)


def test_a_chunk_that_breaks_off_is_read_again(
    warehouse: databricks.Databricks, workspace: databricks_api.Workspace
) -> None:
    warehouse.load([many(100)], {"n": "1"})
    fault("GET /cloud/", cut="middle")
    assert warehouse.state() == {"n": "1"}
    fault("GET /cloud/", cut="middle")
    with pytest.raises(errors.WarehouseUnreachable, match="No answer from Databricks"):
        loads.items(warehouse)
    assert workspace.faults == []


def test_names_that_unity_catalog_forbids_are_written_otherwise(
    warehouse: databricks.Databricks, workspace: databricks_api.Workspace
) -> None:
    table = base.Table("a b.c/d%", pa.schema([("id", pa.string()), ("x.y", pa.int64())]), ("id",), "")
    warehouse.load([base.Load(table, pa.table({"id": ["1"], "x.y": [1]}))], {})
    assert loads.found(warehouse, 'SELECT id, "x.y" FROM stripe."a b.c/d%"') == [("1", 1)]
    count = 20_000  # by a file
    rows = pa.table({"id": [f"id {n:030}" for n in range(count)], "x.y": range(count)})
    warehouse.load([base.Load(table, rows)], {})
    assert loads.found(warehouse, 'SELECT max("x.y") AS m FROM stripe."a b.c/d%"') == [(count - 1,)]
    assert list(warehouse.columns("a b.c/d%")) == ["id", "x.y"]
    assert any("`a%20b%2ec%2fd%25`" in each for each in workspace.ran)
    assert databricks_words.unfolded(databricks_words.folded("a b.c/d%20")) == "a b.c/d%20"


def test_tables_are_serializable(
    warehouse: databricks.Databricks, workspace: databricks_api.Workspace
) -> None:
    """Else two statements that add the same key at the same moment would both be let through."""
    before = len(workspace.ran)
    warehouse.load([loads.load(loads.row("a", 1))], {"n": "1"})
    made = [each for each in workspace.ran[before:] if each.startswith("CREATE TABLE")]
    assert len(made) == 3
    assert all("'delta.isolationLevel' = 'Serializable'" in each for each in made)


@pytest.mark.parametrize("kind", ["text", "json"])
def test_a_moment_that_becomes_text_is_the_same_moment(warehouse: databricks.Databricks, kind: str) -> None:
    field = pa.field("v", pa.string(), metadata=base.JSON if kind == "json" else None)
    table = base.Table("things", pa.schema([pa.field("id", pa.string())]), ("id",), "")
    moments = [dt.datetime(2026, 1, 2, 10, 20, 30, each, dt.UTC) for each in (0, 500_000, 123_456)]
    moments += [dt.datetime(2026, 3, 8, 2, 30, tzinfo=dt.UTC)]  # New York's clocks skip that
    moments += [dt.datetime(1899, 12, 31, 23, 59, 59, 999_999, dt.UTC), None]
    ids = list("abcdef")
    warehouse.load([base.Load(table, pa.table({"id": ids, "v": pa.array(moments, loads.TIME)}))], {})
    wider = pa.schema([pa.field("id", pa.string()), field])
    warehouse.load([base.Load(table, pa.table({"id": ["g"], "v": ["1"]}, schema=wider))], {})
    found = [text for _, text in loads.found(warehouse, "SELECT id, v FROM stripe.things ORDER BY id")]
    quote = '"' if kind == "json" else ""
    assert found == [
        f"{quote}2026-01-02 10:20:30+00{quote}",
        f"{quote}2026-01-02 10:20:30.5+00{quote}",
        f"{quote}2026-01-02 10:20:30.123456+00{quote}",
        f"{quote}2026-03-08 02:30:00+00{quote}",
        f"{quote}1899-12-31 23:59:59.999999+00{quote}",
        None,
        "1",
    ]


def test_widening_keeps_what_is_json(warehouse: databricks.Databricks) -> None:
    rows = pa.table({"_account_id": ["a"], "id": ["x"], "_version": [1], "notes": ['{"a": 1}'], "extra": [1]})
    warehouse.load([base.Load(loads.ITEMS, rows)], {})
    wider = rows.set_column(4, "extra", pa.array([Decimal("0.5")], pa.decimal128(38, 12)))
    warehouse.load([base.Load(loads.ITEMS, wider.set_column(1, "id", [["y"]]))], {})
    found = warehouse.columns("items")
    assert (found["notes"], found["extra"]) == ("STRING COMMENT 'JSON'", "DECIMAL(38,12)")
    assert loads.found(warehouse, "SELECT id, extra FROM stripe.items ORDER BY id") == [
        ("x", Decimal(1)),
        ("y", Decimal("0.5")),
    ]


# Trouble


@pytest.mark.parametrize(
    ("change", "step", "says"),
    [
        (("127.0.0.1:PORT", "127.0.0.1:1"), "reach", r"Nothing answers at 127\.0\.0\.1:1 .*firewall"),
        (("dapi-writer", "dapi-wr0ng"), "sign in", r"refused the sign-in; check the token"),
        (("/main?", "/nowhere?"), "sign in", r"has no catalog nowhere; check `catalog`"),
        (("warehouses/w", "warehouses/x"), "sign in", r"has no such SQL warehouse; check `http_path`"),
        (("dapi-writer", "dapi-reader"), "write", r"run GRANT CREATE SCHEMA ON CATALOG `main` TO"),
    ],
)
def test_check_says_what_is_wrong(url: str, change: tuple[str, str], step: str, says: str) -> None:
    port = str(urllib.parse.urlsplit(url).port)
    opened = warehouses.open_url(url.replace(change[0].replace("PORT", port), change[1]), wait=0.1)
    last = opened.check()[-1]
    opened.close()
    assert (last.name, last.ok) == (step, False)
    assert re.search(says, last.detail), last.detail
    assert "dapi" not in last.detail


def test_who_may_make_no_schemas_writes_into_those_that_are_there(
    warehouse: databricks.Databricks, url: str
) -> None:
    loader = warehouses.open_url(url.replace("dapi-writer", "dapi-loader"))
    assert loader.check()[-1].detail.endswith(
        "forbids it; run GRANT CREATE SCHEMA ON CATALOG `main` TO the token's owner."
    )
    warehouse.prepare([loads.ITEMS])
    assert [each.ok for each in loader.check()] == [True] * 5
    assert loader.load([many(5_000)], {"n": "1"})[0].inserted == 5_000
    loader.close()


@pytest.mark.parametrize("says", [b"", b"<html>Welcome</html>", b"[]"])
def test_what_is_no_workspace_is_told_so(says: bytes) -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200 if says else 302)
            self.send_header("Content-Length", str(len(says)))
            self.end_headers()
            self.wfile.write(says)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        path = "/sql/1.0/warehouses/w"
        opened = warehouses.open_url(
            f"databricks://token:dapi-writer@127.0.0.1:{server.server_port}/main?http_path={path}&secure=false"
        )
        last = opened.check()[-1]
        opened.close()
        server.shutdown()
    assert (last.name, last.ok) == ("sign in", False)
    assert last.detail.endswith("is no Databricks workspace; check `host`.")


def test_who_listens_but_speaks_no_tls_is_told_so(url: str) -> None:
    opened = warehouses.open_url(url.replace("&secure=false", ""), wait=0.1)
    last = opened.check()[-1]
    opened.close()
    assert (last.name, last.ok) == ("sign in", False)
    assert re.search(r"certificate|TLS", last.detail), last.detail


@pytest.mark.parametrize(
    ("match", "text", "says"),
    [
        (
            "MERGE INTO .*items",
            "[INSUFFICIENT_PERMISSIONS] PERMISSION_DENIED: User does not have MODIFY on Table 'main.stripe.items'.",
            r"run GRANT MODIFY ON TABLE `main`\.`stripe`\.`items` TO the token's owner\.$",
        ),
        (
            "PUT /Volumes",
            "User does not have WRITE VOLUME on Volume 'main.stripe.tidegate_stage'.",
            r"run GRANT WRITE VOLUME ON VOLUME `main`\.`stripe`\.`tidegate_stage` TO",
        ),
        (
            "information_schema",
            "PERMISSION_DENIED: User does not have USE SCHEMA on Schema 'main.stripe'.",
            r"run GRANT USE SCHEMA ON SCHEMA `main`\.`stripe` TO",
        ),
    ],
)
def test_a_missing_grant_is_named(warehouse: databricks.Databricks, match: str, text: str, says: str) -> None:
    warehouse.prepare([loads.ITEMS])
    fault(match, text, "PERMISSION_DENIED", 403 if match.startswith("PUT") else 200)
    with pytest.raises(errors.WarehouseError, match=says):
        warehouse.load([many(5_000)], {"n": "1"})
    assert loads.items(warehouse) == []
    assert warehouse.state() == {}


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("RESOURCE_EXHAUSTED: quota of 'jenny@example.com'", errors.WarehouseFull, "has no room left"),
        (
            "[CAST_INVALID_INPUT] The value 'jenny@example.com'",
            errors.WarehouseError,
            r"\(CAST_INVALID_INPUT\)",
        ),
    ],
)
def test_a_refusal_is_one_sentence_without_values(
    warehouse: databricks.Databricks, text: str, kind: type[Exception], says: str
) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {"n": "1"})
    fault("MERGE INTO .*items", text)
    with pytest.raises(kind, match=says) as caught:
        warehouse.load([loads.load(loads.row("a", 2, "jenny@example.com"))], {"n": "2"})
    assert "jenny" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert loads.items(warehouse) == [("a", None, 1, None)]
    assert warehouse.state() == {"n": "1"}


@pytest.mark.parametrize(
    ("text", "status"),
    [("[DELTA_CONCURRENT_APPEND] Files were added", 200), ("Too many requests", 429), ("Starting", 503)],
)
def test_what_passes_is_tried_again(warehouse: databricks.Databricks, text: str, status: int) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {})
    fault("MERGE INTO .*items", text, status=status)
    assert warehouse.load([loads.load(loads.row("a", 2))], {})[0].updated == 1
    assert loads.items(warehouse) == [("a", None, 2, None)]


def test_an_address_without_a_sql_warehouse_is_refused() -> None:
    with pytest.raises(errors.ConfigError, match="http_path"):
        warehouses.open_url("databricks://token:x@dbc-1.cloud.databricks.com/main")


def test_what_the_url_says_is_said_once() -> None:
    told = {
        "url": "databricks://token:x@dbc-1.cloud.databricks.com/main",
        "http_path": "/sql/1.0/warehouses/w",
    }
    with pytest.raises(ValueError, match="`url` already says the http_path"):
        config.Databricks.model_validate(told)


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for module in ("databricks", "databricks_wire"):
        monkeypatch.delitem(sys.modules, f"tidegate.adapters.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "urllib3", None)
    with pytest.raises(errors.ConfigError, match=r"pip install 'tidegate\[databricks\]'"):
        warehouses.open_url(url)


def test_a_configuration_opens_it(url: str) -> None:
    told = urllib.parse.urlsplit(url)
    target = config.Databricks(
        host=f"http://127.0.0.1:{told.port}",
        http_path=urllib.parse.parse_qs(told.query)["http_path"][0],
        token="dapi-writer",
    )
    opened = warehouses.open_warehouse(target)
    assert [each.ok for each in opened.check()] == [True] * 5
    opened.close()


# As a source of models


def test_a_query_of_the_users_has_the_types_of_databricks(url: str) -> None:
    source = sources.open_source(config.warehouse(url, "stripe"))
    text = (
        "SELECT CAST(1.5 AS DECIMAL(10, 2)) AS price, array(1, 2) AS list, DATE '2026-01-02' AS day, "
        "CAST(18446744073709551617 AS DECIMAL(38, 0)) AS big, named_struct('a', 1) AS doc"
    )
    [batch] = source.read(base_sources.Query(sql=text))
    source.close()
    assert batch.to_pylist() == [
        {
            "price": Decimal("1.50"),
            "list": "[1,2]",
            "day": dt.date(2026, 1, 2),
            "big": Decimal(18446744073709551617),
            "doc": '{"a":1}',
        }
    ]


def test_a_query_that_takes_too_long_is_cancelled(url: str, workspace: databricks_api.Workspace) -> None:
    source = sources.open_source(config.warehouse(url, "stripe"), timeout=0.3)
    source._warehouse.connect()  # type: ignore[attr-defined]  # so that only the query takes its time
    slow = (
        "SELECT count(*) AS n FROM range(100000) AS a CROSS JOIN range(100000) AS b "
        "WHERE a.range * b.range % 7 = 3"
    )
    with pytest.raises(errors.WarehouseError, match=r"ran longer than 0.3 s and was stopped"):
        list(source.read(base_sources.Query(sql=slow)))
    assert len(workspace.canceled) == 1
    source.close()


# The stand-in


@pytest.mark.filterwarnings("default")
def test_the_official_driver_reads_what_we_wrote(warehouse: databricks.Databricks, url: str) -> None:
    """So that the stand-in speaks as the service does, and not only as we do."""
    warehouse.load([many(25_000)], {})
    told = urllib.parse.urlsplit(url)
    with (
        driver.connect(
            server_hostname="http://127.0.0.1",
            _port=told.port,
            http_path=urllib.parse.parse_qs(told.query)["http_path"][0],
            access_token="dapi-writer",
            use_sea=True,
            enable_telemetry=False,
            enable_query_result_lz4_compression=False,
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT id, name, _version FROM stripe.items ORDER BY id")
        rows = cursor.fetchall_arrow()
        assert rows.num_rows == 25_000
        assert rows.slice(24_999).to_pylist() == [
            {"id": "id_024999", "name": "name of 24999\0", "_version": 1}
        ]
        with pytest.raises(driver.Error, match="TABLE_OR_VIEW_NOT_FOUND"):
            cursor.execute("SELECT * FROM stripe.nowhere")
