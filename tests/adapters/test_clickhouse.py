"""What is special to ClickHouse: one INSERT per table, views that read exactly, grants, answers that break off."""

from __future__ import annotations

import datetime as dt
import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import clickhouse_connect
import loads
import pyarrow as pa
import pytest
import servers
from clickhouse_connect.driver import Client

from tidegate import config, errors, sources
from tidegate import warehouse as warehouses
from tidegate.adapters import clickhouse, clickhouse_wire
from tidegate.sources import base as base_sources
from tidegate.warehouse import base, desk


@pytest.fixture
def url() -> str:
    """An empty server."""
    return servers.new_clickhouse()


@pytest.fixture
def warehouse(url: str) -> Iterator[clickhouse.ClickHouse]:
    """The warehouse behind `url`."""
    opened = warehouses.open_url(url)
    assert isinstance(opened, clickhouse.ClickHouse)
    yield opened
    opened.close()


@pytest.fixture
def outside(url: str) -> Iterator[Client]:
    """Somebody else who looks at the server."""
    told = urllib.parse.urlsplit(url)
    with clickhouse_connect.get_client(
        host=told.hostname,
        port=told.port,
        username="tidegate",
        password="s3cret",
        autogenerate_session_id=False,
    ) as client:
        yield client


def door(url: str, path: str) -> str:
    return f"http://{urllib.parse.urlsplit(url).netloc.rpartition('@')[2]}{path}"


def fault(url: str, **told: object) -> None:
    """Let a later request fail."""
    request = urllib.request.Request(door(url, "/fault"), json.dumps(told).encode(), method="POST")
    with urllib.request.urlopen(request) as answer:
        answer.read()


def queries(url: str) -> list[str]:
    with urllib.request.urlopen(door(url, "/queries")) as answer:
        found: list[str] = json.load(answer)
    return found


def told(url: str) -> list[tuple[str, dict[str, str]]]:
    """The queries that ran, and what the caller set for each."""
    with urllib.request.urlopen(door(url, "/settings")) as answer:
        return list(zip(queries(url), json.load(answer), strict=True))


def moments(**values: int) -> base.Load:
    """Rows of a table `things` whose `v` is a moment."""
    table = base.Table("things", pa.schema([pa.field("id", pa.string())]), ("id",), "")
    found = pa.array([loads.at(second) for second in values.values()], loads.TIME)
    return base.Load(table, pa.table({"id": pa.array(values, pa.string()), "v": found}))


def texts(**values: str) -> base.Load:
    """Rows of the same table whose `v` is a text."""
    return base.Load(moments().table, pa.table({"id": list(values), "v": list(values.values())}))


def check(warehouse: base.Warehouse) -> base.Check:
    return warehouse.check()[-1]


def changed(url: str, **values: object) -> str:
    """The URL with another user, password, host or database."""
    told = urllib.parse.urlsplit(url)
    user, password = values.get("user", told.username), values.get("password", told.password)
    host, port = values.get("host", told.hostname), values.get("port", told.port)
    database = values.get("database", "default")
    return f"clickhouse://{user}:{password}@{host}:{port}/{database}?secure=false"


def test_a_table_is_a_view_over_parts_with_the_types_of_clickhouse(
    warehouse: clickhouse.ClickHouse, outside: Client
) -> None:
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
        "id": "String",
        "flag": "Nullable(Bool)",
        "n": "Nullable(Int64)",
        "x": "Nullable(Float64)",
        "exact": "Nullable(Decimal(38, 12))",
        "at": "Nullable(DateTime64(6, 'UTC'))",
        "doc": "Nullable(String) COMMENT 'JSON'",
    }
    engines = "SELECT database, engine FROM system.tables WHERE name = 'things' ORDER BY database"
    assert outside.query(engines).result_rows == [
        ("stripe", "View"),
        ("stripe_parts", "ReplacingMergeTree"),
    ]


def test_whoever_reads_a_table_reads_exact_rows_before_anything_is_merged(
    warehouse: clickhouse.ClickHouse, outside: Client
) -> None:
    for version in range(3):
        warehouse.load([loads.load(*(loads.row(id, version, f"v{version}") for id in "abc"))], {})
    warehouse.load([loads.mark(loads.dead("a", 5)), loads.drop("b")], {})
    outside.command("SYSTEM STOP MERGES stripe_parts.items")
    assert outside.query("SELECT id, name FROM stripe.items ORDER BY id").result_rows == [
        ("a", "v2"),
        ("c", "v2"),
    ]
    assert outside.query("SELECT id FROM stripe_live.items").result_rows == [("c",)]
    assert outside.query("SELECT count() FROM stripe_parts.items").result_rows[0][0] > 2


def test_a_dropped_row_is_on_no_disk_once_its_parts_are_merged(
    warehouse: clickhouse.ClickHouse, outside: Client
) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "Jenny Rosen"), loads.row("b", 1, "other"))], {})
    warehouse.load([loads.drop("a")], {})
    outside.command("OPTIMIZE TABLE stripe_parts.items FINAL")
    names = outside.query("SELECT name FROM stripe_parts.items WHERE name IS NOT NULL").result_rows
    assert names == [("other",)]


def test_a_load_is_one_insert_per_table_and_the_state_is_last(
    warehouse: clickhouse.ClickHouse, url: str
) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {"n": "1"})
    before = len(queries(url))
    warehouse.load([loads.load(loads.row("a", 2), loads.row("b", 2))], {"n": "2"})
    inserts = [each.split("(")[0] for each in queries(url)[before:] if each.startswith("INSERT")]
    assert inserts == [
        'INSERT INTO "stripe_parts"."items" ',
        'INSERT INTO "stripe_parts"."_tidegate_state" ',
    ]


def test_a_large_load_is_one_part(warehouse: clickhouse.ClickHouse, outside: Client) -> None:
    warehouse.prepare([loads.ITEMS])
    outside.command("SYSTEM STOP MERGES stripe_parts.items")
    count = 200_000
    rows = pa.table(
        {
            "_account_id": pa.repeat(pa.scalar("acct_1"), count),
            "id": pa.array([f"id_{n}" for n in range(count)]),
            "_version": pa.repeat(pa.scalar(1), count),
        }
    )
    assert warehouse.load([base.Load(loads.ITEMS, rows)], {})[0].inserted == count
    parts = "SELECT rows FROM system.parts WHERE database = 'stripe_parts' AND table = 'items' AND active"
    assert outside.query(parts).result_rows == [(count,)]


@pytest.mark.parametrize("kind", ["key", "time", "decimal"])
def test_what_clickhouse_cannot_alter_is_written_anew(warehouse: clickhouse.ClickHouse, kind: str) -> None:
    if kind == "key":
        first = base.Table("things", pa.schema([pa.field("id", pa.int64())]), ("id",), "")
        then = base.Table("things", pa.schema([pa.field("id", pa.string())]), ("id",), "")
        warehouse.load([base.Load(first, pa.table({"id": [1, 2]}))], {})
        warehouse.load([base.Load(then, pa.table({"id": ["2", "x"]}))], {})
        assert loads.found(warehouse, "SELECT id FROM stripe.things ORDER BY id") == [("1",), ("2",), ("x",)]
        return
    value = (
        pa.array([loads.at(1)], loads.TIME) if kind == "time" else pa.array([1]).cast(pa.decimal128(38, 12))
    )
    text = "1970-01-01 00:00:01+00" if kind == "time" else "1.000000000000"
    for rows in (pa.table({"id": ["a"], "v": value}), pa.table({"id": ["b"], "v": ["text"]})):
        table = base.Table("things", pa.schema([pa.field("id", pa.string())]), ("id",), "")
        warehouse.load([base.Load(table, rows)], {})
    assert loads.found(warehouse, "SELECT id, v FROM stripe.things ORDER BY id") == [
        ("a", text),
        ("b", "text"),
    ]


def test_a_table_that_was_half_made_is_finished(warehouse: clickhouse.ClickHouse, outside: Client) -> None:
    warehouse.prepare([])
    outside.command("CREATE DATABASE IF NOT EXISTS stripe_parts")
    outside.command(
        "CREATE TABLE stripe_parts.items (_account_id String, id String, _tidegate_number UInt64, "
        "_tidegate_gone UInt8) ENGINE = ReplacingMergeTree(_tidegate_number, _tidegate_gone) "
        "ORDER BY (_account_id, id) SETTINGS allow_nullable_key = 1"
    )
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
    assert loads.items(warehouse) == [("a", "x", 1, None)]


def test_what_somebody_wrote_while_a_table_was_written_anew_is_brought_over(
    warehouse: clickhouse.ClickHouse, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One who was not shut out yet; of what goes he leaves marks."""
    warehouse.load([moments(a=1, b=1)], {})
    other = warehouses.open_url(url)
    run = warehouse.execute

    def meanwhile(text: str, parameters: Sequence[object] = ()) -> None:
        if text.startswith("EXCHANGE"):
            other.load([moments(a=2, c=2)], {})
            other.load([base.Load(moments().table, pa.table({"id": ["b"]}), "drop")], {})
        run(text, parameters)

    monkeypatch.setattr(warehouse, "execute", meanwhile)
    warehouse.load([texts(d="text")], {})
    other.close()
    assert loads.found(warehouse, "SELECT id, v FROM stripe.things ORDER BY id") == [
        ("a", "1970-01-01 00:00:02+00"),
        ("c", "1970-01-01 00:00:02+00"),
        ("d", "text"),
    ]


def test_an_exchange_of_tables_that_a_driver_repeats_is_done_again(
    warehouse: clickhouse.ClickHouse, outside: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.load([moments(a=1)], {})
    run, repeated = warehouse.execute, ["once"]

    def twice(text: str, parameters: Sequence[object] = ()) -> None:
        run(text, parameters)
        if text.startswith("EXCHANGE") and repeated:
            repeated.pop()
            run(text, parameters)

    monkeypatch.setattr(warehouse, "execute", twice)
    warehouse.load([texts(b="text")], {})
    assert loads.found(warehouse, "SELECT id, v FROM stripe.things ORDER BY id") == [
        ("a", "1970-01-01 00:00:01+00"),
        ("b", "text"),
    ]
    left = "SELECT name FROM system.tables WHERE database = 'stripe_parts' AND name LIKE 'things%'"
    assert outside.query(left).result_rows == [("things",)]


# Several writers and replicas


def test_rows_of_one_who_was_shut_out_count_for_less_however_late_they_come(
    warehouse: clickhouse.ClickHouse, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He looked at his claim, slept, and was overtaken."""
    warehouse.prepare([loads.ITEMS])
    first, commit = warehouse.claim("one", ["items"]), warehouse.commit
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


def test_replicas_of_a_cluster_hold_the_same_rows(url: str) -> None:
    """Plain tables of a replicated database are there on every replica, but what is in them is not."""
    opened = warehouses.open_url(changed(url, user="cluster"))
    opened.load([loads.load(loads.row("a", 1))], {"n": "1"})
    opened.load([moments(a=1)], {})
    opened.load([texts(a="text")], {})
    assert loads.items(opened) == [("a", None, 1, None)]
    opened.close()
    made = [query for query in queries(url) if query.startswith("CREATE TABLE")][-5:]
    assert [re.findall(r"ENGINE = (\w+)", query) for query in made] == [["ReplicatedReplacingMergeTree"]] * 5
    writing = [settings for query, settings in told(url) if query.startswith("INSERT")][-6:]
    assert {(each["insert_quorum"], each["insert_quorum_parallel"]) for each in writing} == {("auto", "0")}


@pytest.mark.parametrize("user", ["limited", "cached"])
def test_a_profile_that_an_administrator_has_changed_changes_no_row(url: str, user: str) -> None:
    opened = warehouses.open_url(changed(url, user=user))
    for version in (1, 2):
        fence = opened.claim(f"writer {version}", ["items"])
        rows = [loads.row(id, version, f"v{version}") for id in "abcde"]
        opened.load([loads.load(*rows)], {"n": str(version)}, fence)
        assert opened.state() == {"n": str(version)}
        assert loads.items(opened) == [(id, f"v{version}", version, None) for id in "abcde"]
    opened.close()


def test_a_limit_of_a_profile_is_an_error_instead_of_a_part_of_the_rows(
    warehouse: clickhouse.ClickHouse, url: str, outside: Client
) -> None:
    opened = warehouses.open_url(changed(url, user="limited"))
    ids = [f"id_{n:05}" for n in range(5_000)]
    warehouse.load([loads.load(*(loads.row(id, 5, "new") for id in ids))], {"n": "5"})
    with pytest.raises(errors.WarehouseError, match="SET_SIZE_LIMIT_EXCEEDED"):
        opened.load([loads.load(*(loads.row(id, 4, "old") for id in ids))], {"n": "4"})
    with pytest.raises(errors.WarehouseError, match="raise max_result_rows"):
        loads.items(opened)
    opened.close()
    source = sources.open_source(config.warehouse(changed(url, user="limited"), "stripe"))
    with pytest.raises(errors.WarehouseError, match="raise max_result_rows"):
        list(source.read(base_sources.Query(sql="SELECT id FROM stripe.items")))
    source.close()
    old = "SELECT count(), uniqExact(id), countIf(name = 'old') FROM stripe.items"
    assert outside.query(old).result_rows == [(5_000, 5_000, 0)]


# Trouble


@pytest.mark.parametrize(
    ("change", "step", "says"),
    [
        ({"host": "127.0.0.1", "port": 1}, "reach", r"Nothing answers at 127\.0\.0\.1:1 .*firewall"),
        ({"password": "wr0ng"}, "sign in", r"refused the sign-in; check the user and the password"),
        ({"user": "nobody"}, "sign in", r"refused the sign-in; check the user and the password"),
        ({"database": "nowhere"}, "sign in", r"no such database \(nowhere\); check its name"),
        ({"user": "reader"}, "write", r"GRANT CREATE DATABASE ON stripe\.\* TO reader"),
    ],
)
def test_check_says_what_is_wrong(url: str, change: dict[str, Any], step: str, says: str) -> None:
    warehouse = warehouses.open_url(changed(url, **change), wait=0.1)
    last = check(warehouse)
    warehouse.close()
    assert (last.name, last.ok) == (step, False)
    assert re.search(says, last.detail), last.detail
    assert "s3cret" not in last.detail
    assert "wr0ng" not in last.detail


def test_a_missing_grant_is_named(warehouse: clickhouse.ClickHouse, url: str) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {})
    text = (
        "tidegate: Not enough privileges. To execute this query, it's necessary to have the grant "
        "INSERT(_account_id, id) ON stripe_parts.items. (ACCESS_DENIED)"
    )
    fault(url, match="INSERT INTO .*items", code=497, text=text)
    with pytest.raises(
        errors.WarehouseError, match=r"run GRANT INSERT ON stripe_parts\.items TO tidegate\.$"
    ):
        warehouse.load([loads.load(loads.row("a", 2))], {})
    assert loads.items(warehouse) == [("a", None, 1, None)]


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (243, errors.WarehouseFull, "disk of ClickHouse on .* is full"),
        (201, errors.WarehouseFull, "quota of this user"),
        (241, errors.WarehouseFull, "no memory left"),
        (452, errors.WarehouseError, "loosen the constraints of this user's profile"),
        (53, errors.WarehouseError, "refused a statement"),
    ],
)
def test_a_full_disk_is_one_sentence_without_values(
    warehouse: clickhouse.ClickHouse, url: str, code: int, kind: type[Exception], says: str
) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {"n": "1"})
    fault(url, match="INSERT INTO .*items", code=code, text="Cannot write 'jenny@example.com': no space left")
    with pytest.raises(kind, match=says) as caught:
        warehouse.load([loads.load(loads.row("a", 2, "jenny@example.com"))], {"n": "2"})
    assert "jenny" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert loads.items(warehouse) == [("a", None, 1, None)]
    assert warehouse.state() == {"n": "1"}


@pytest.mark.parametrize("code", [159, 202, 225, 236, 242, 252, 279, 285, 286, 289, 319, 473, 517, 999])
def test_what_passes_is_tried_again(warehouse: clickhouse.ClickHouse, url: str, code: int) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {})
    fault(url, match="INSERT INTO .*items", code=code, text="Not now")
    assert warehouse.load([loads.load(loads.row("a", 2))], {})[0].updated == 1
    assert loads.items(warehouse) == [("a", None, 2, None)]


@pytest.mark.parametrize("cut", ["before", "after"])
@pytest.mark.parametrize("what", ["INSERT INTO .*items", "INSERT INTO .*state", "SELECT .*FINAL"])
def test_a_connection_that_is_cut_in_a_load_doubles_and_loses_nothing(
    warehouse: clickhouse.ClickHouse, url: str, cut: str, what: str
) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {"n": "1"})
    fault(url, match=what, cut=cut)
    fault(url, match=what, cut=cut)
    done = warehouse.load([loads.load(loads.row("a", 2, "y"), loads.row("b", 2, "z"))], {"n": "2"})
    assert done[0].read == 2
    assert loads.items(warehouse) == [("a", "y", 2, None), ("b", "z", 2, None)]
    assert warehouse.state() == {"n": "2"}


def test_of_two_that_claim_at_once_only_one_may_write(url: str) -> None:
    """Both read the claims before either wrote its own."""
    one, two = warehouses.open_url(url), warehouses.open_url(url)
    assert isinstance(one, clickhouse.ClickHouse)
    one.prepare([loads.ITEMS])
    held = one._tokens()
    second = two.claim("two", ["items"])
    one._tokens = lambda: held  # type: ignore[method-assign]  # what was read too early
    first = one.claim("one", ["items"])
    del one._tokens
    one.load([loads.load(loads.row("a", 1))], {}, first)
    with pytest.raises(errors.Fenced, match="one"):
        two.load([loads.load(loads.row("a", 1))], {}, second)
    one.close()
    two.close()


# As a source of models


def test_a_query_of_the_users_has_the_types_of_clickhouse(url: str) -> None:
    source = sources.open_source(config.warehouse(url, "stripe"))
    text = """
        SELECT toDateTime('2026-01-02 03:04:05', 'Asia/Tokyo') AS at, toDate('2026-01-02') AS day,
            toDateTime64('2026-01-02 03:04:05.5', 3, 'UTC') AS exact_at, toFixedString('USD', 3) AS currency,
            CAST('it\\'s' AS Enum8('it\\'s' = 1, 'b' = 2)) AS named, toUInt64(18446744073709551615) AS big,
            toInt128(-5) AS bigger, CAST(1.5 AS Decimal(10, 2)) AS price, toIPv4('1.2.3.4') AS ip, [1, 2] AS list,
            toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0') AS uuid, toLowCardinality('x') AS few,
            CAST(NULL AS Nullable(DateTime)) AS never, CAST('{"a": 1}' AS JSON) AS doc -- as they come
        """
    [batch] = source.read(base_sources.Query(sql=text))
    source.close()
    assert batch.to_pylist() == [
        {
            "at": dt.datetime(2026, 1, 1, 18, 4, 5, tzinfo=dt.UTC),
            "day": dt.date(2026, 1, 2),
            "exact_at": dt.datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=dt.UTC),
            "currency": "USD",
            "named": "it's",
            "big": 2**64 - 1,
            "bigger": "-5",
            "price": Decimal("1.50"),
            "ip": "1.2.3.4",
            "list": "[1,2]",
            "uuid": "61f0c404-5cb3-11e7-907b-a6006ad3dba0",
            "few": "x",
            "never": None,
            "doc": '{"a":1}',
        }
    ]
    assert batch.schema.field("doc").metadata == base.JSON


@pytest.mark.parametrize("user", ["tidegate", "reader", "analyst", "viewer"])
def test_whoever_may_only_read_is_a_source(warehouse: clickhouse.ClickHouse, url: str, user: str) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
    source = sources.open_source(config.warehouse(changed(url, user=user), "stripe"))
    assert [each.ok for each in source.check()] == [True] * 4
    assert "stripe.items" in [name.replace('"', "").replace("`", "") for name in source.tables()]
    [batch] = source.read(base_sources.Query(sql="SELECT id, name FROM stripe.items"))
    assert batch.to_pylist() == [{"id": "a", "name": "x"}]
    source.close()


def test_a_profile_that_lets_nothing_be_changed_is_told_of(url: str) -> None:
    opened = warehouses.open_url(changed(url, user="viewer"), wait=0.1)
    last = check(opened)
    opened.close()
    assert last.ok is False
    assert last.detail.endswith("only lets itself be read; let this user change settings and write.")


def test_a_profile_that_cuts_answers_short_is_no_source(url: str) -> None:
    source = sources.open_source(config.warehouse(changed(url, user="capped"), "stripe"))
    with pytest.raises(errors.ConfigError, match="set result_overflow_mode = 'throw' in the user's profile"):
        list(source.read(base_sources.Query(sql="SELECT number FROM numbers(100000)")))
    source.close()


def test_a_query_that_takes_too_long_is_cut(url: str) -> None:
    source = sources.open_source(config.warehouse(url, "stripe"), timeout=0.3)
    source._warehouse.connect()  # type: ignore[attr-defined]  # so that only the query takes its time
    slow = "SELECT sleepEachRow(0.5) AS n FROM numbers(4) SETTINGS max_block_size = 1"
    with pytest.raises(errors.WarehouseError, match=r"ran longer than 0.3 s and was stopped"):
        list(source.read(base_sources.Query(sql=slow)))
    source.close()


# Addresses


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("clickhouse://u:p%40@h/db", clickhouse_wire.Address("h", 8443, "u", "p@", "db", True)),
        ("clickhouse://h:8123", clickhouse_wire.Address("h", 8123, "default", "", "default", False)),
        (
            "clickhouse://h:9000?secure=true",
            clickhouse_wire.Address("h", 9000, "default", "", "default", True),
        ),
        ("clickhouse://h?secure=false", clickhouse_wire.Address("h", 8123, "default", "", "default", False)),
    ],
)
def test_tls_is_spoken_unless_it_is_declined(url: str, expected: clickhouse_wire.Address) -> None:
    opened = warehouses.open_url(url)
    assert isinstance(opened, clickhouse.ClickHouse)
    assert opened._address == expected


def test_a_configuration_opens_it(url: str) -> None:
    told = urllib.parse.urlsplit(url)
    target = config.ClickHouse(
        host=told.hostname,
        port=told.port,
        user="tidegate",
        password="s3cret",
        database="default",
        secure=False,
    )
    opened = warehouses.open_warehouse(target)
    assert [each.ok for each in opened.check()] == [True] * 5
    opened.close()
