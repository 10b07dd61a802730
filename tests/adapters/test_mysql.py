"""What is special to MySQL: collations, uploads, grants, TLS, and a server that goes away. On a real MariaDB."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import loads
import mariadbd
import pyarrow as pa
import pymysql
import pytest
import servers
from hypothesis import given
from hypothesis import strategies as st

from tidegate import errors
from tidegate import warehouse as warehouses
from tidegate.adapters import mysql, mysql_ddl, mysql_server, mysql_session, mysql_wire
from tidegate.config import warehouses as kinds
from tidegate.warehouse import base

SECRET = "row value that is nobody's business"


@pytest.fixture
def warehouse() -> Iterator[mysql.MySQL]:
    """An empty MariaDB."""
    opened = warehouses.open_url(servers.new_mariadb())
    assert isinstance(opened, mysql.MySQL)
    yield opened
    opened.close()


def run(statement: str) -> list[tuple[Any, ...]]:
    """A statement of the administrator's."""
    return servers.mariadb().run(statement)


# Tables


def test_types_and_keys(warehouse: mysql.MySQL) -> None:
    every = pa.schema(
        [
            pa.field("id", pa.string()),
            pa.field("n", pa.int64()),
            pa.field("x", pa.float64()),
            pa.field("exact", pa.decimal128(38, 12)),
            pa.field("yes", pa.bool_()),
            pa.field("at", loads.TIME),
            pa.field("doc", pa.string(), metadata=base.JSON),
            pa.field("text", pa.string()),
        ]
    )
    warehouse.prepare([base.Table("every", every, ("id",), ""), loads.ITEMS])
    assert warehouse.columns("every") == {
        "id": "varchar(768)",
        "n": "bigint(20)",
        "x": "double",
        "exact": "decimal(38,12)",
        "yes": "tinyint(1)",
        "at": "datetime(6)",
        "doc": "json",
        "text": "longtext",
    }
    collations = run(
        "SELECT DISTINCT collation_name FROM information_schema.columns WHERE table_schema = 'stripe' "
        "AND column_name NOT IN ('doc', 'notes') AND collation_name IS NOT NULL"
    )
    assert collations == [("utf8mb4_nopad_bin",)]
    keys = run(
        "SELECT column_name FROM information_schema.statistics WHERE table_schema = 'stripe' "
        "AND table_name = 'items' AND index_name = 'PRIMARY' ORDER BY seq_in_index"
    )
    assert keys == [("_account_id",), ("id",)]


def test_what_is_no_json_is_refused_by_the_column(warehouse: mysql.MySQL) -> None:
    warehouse.load([loads.load(loads.row("a", 1, notes='{"a": 1}'))], {})
    with pytest.raises(pymysql.err.OperationalError, match="CONSTRAINT"):
        run("INSERT INTO stripe.items (_account_id, id, notes) VALUES ('a', 'b', '{')")
    assert run("SELECT JSON_VALUE(notes, '$.a') FROM stripe.items") == [("1",)]


def test_keys_differ_by_case_accents_and_trailing_spaces(warehouse: mysql.MySQL) -> None:
    ids = ["a", "A", "a ", "á", "a\t", "a  "]
    warehouse.load([loads.load(*(loads.row(id, 1, id) for id in ids))], {})
    warehouse.load([loads.load(loads.row("a ", 2, "changed"))], {})
    assert {id: name for id, name, _, _ in loads.items(warehouse)} == {
        **{id: id for id in ids},
        "a ": "changed",
    }
    warehouse.load([loads.drop("A")], {})
    assert "A" not in {id for id, *_ in loads.items(warehouse)}
    assert len(loads.items(warehouse)) == 5


def test_moments_are_stored_in_utc(warehouse: mysql.MySQL) -> None:
    """The server's own zone is another one (see mariadbd)."""
    warehouse.load([loads.load(loads.dead("a", 1_700_000_000))], {})
    assert run("SELECT CAST(_deleted_at AS CHAR) FROM stripe.items") == [("2023-11-14 22:13:20.000000",)]
    assert run("SELECT @@system_time_zone <> @@time_zone, @@time_zone") == [(1, "+05:30")]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_every_name_is_found_again(name: str) -> None:
    folded = mysql_ddl.folded(name)
    assert mysql_ddl.unfolded(folded) == name
    assert not folded.endswith(" ")
    assert all("\0" < character <= "\uffff" for character in folded)


def test_a_table_of_a_name_that_is_too_long(warehouse: mysql.MySQL) -> None:
    with pytest.raises(errors.WarehouseError, match=r"takes no such name: .*'t+'; give another one, of 64"):
        warehouse.prepare([base.Table("t" * 65, loads.ITEMS.schema)])


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        (pa.field("v", pa.bool_()), True, "true"),
        (pa.field("v", loads.TIME), loads.at(0), "1970-01-01 00:00:00+00"),
        (pa.field("v", loads.TIME), loads.at(0).replace(microsecond=120), "1970-01-01 00:00:00.00012+00"),
    ],
)
@pytest.mark.parametrize("to_json", [False, True])
def test_widening_that_was_killed_is_done_again(
    warehouse: mysql.MySQL, field: pa.Field, value: object, text: str, to_json: bool
) -> None:
    id, then = pa.field("id", pa.string()), pa.field("after", pa.int64())
    narrow = base.Table("things", pa.schema([id, field, then]), ("id",), "")
    wider = pa.field("v", pa.string(), metadata=base.JSON if to_json else None)
    wide = base.Table("things", pa.schema([id, wider, then]), ("id",), "")
    rows = [{"id": "a", "v": value}, {"id": "b", "v": None}]
    warehouse.load([base.Load(narrow, pa.Table.from_pylist(rows, schema=narrow.schema))], {})
    run(f"ALTER TABLE stripe.things ADD COLUMN {mysql_ddl.WIDENING} int AFTER v")
    warehouse.prepare([wide])
    assert list(warehouse.columns("things")) == ["id", "v", "after"]
    told = text if not to_json or text == "true" else f'"{text}"'
    assert loads.found(warehouse, "SELECT id, v FROM stripe.things ORDER BY id") == [("a", told), ("b", None)]


def test_a_key_becomes_text_and_stays_the_key(warehouse: mysql.MySQL) -> None:
    number, deleted = pa.field("id", pa.int64()), pa.field("_deleted_at", loads.TIME)
    name, version = pa.field("name", pa.string()), pa.field("_version", pa.int64())
    for field, key in ((number, 1), (pa.field("id", pa.string()), "1 ")):
        table = base.Table("things", pa.schema([field, name, version, deleted]), ("id",))
        row = {"id": key, "name": f"{key!r}", "_version": 1, "_deleted_at": None}
        warehouse.load([base.Load(table, pa.Table.from_pylist([row], schema=table.schema))], {})
    assert warehouse.columns("things")["id"] == "varchar(768)"
    assert run("SELECT id, name FROM stripe_live.things ORDER BY id") == [("1", "1"), ("1 ", "'1 '")]
    run("INSERT INTO stripe.things (id) VALUES ('2')")
    with pytest.raises(pymysql.err.IntegrityError, match="Duplicate entry"):
        run("INSERT INTO stripe.things (id) VALUES ('2')")


def test_live_views_hide_tombstones(warehouse: mysql.MySQL) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"), loads.dead("b", 1))], {})
    assert run("SELECT id FROM stripe_live.items") == [("a",)]


# Uploads


def test_uploads_go_by_load_data(warehouse: mysql.MySQL) -> None:
    before = dict(run("SHOW GLOBAL STATUS LIKE 'Com_load'"))
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
    assert int(dict(run("SHOW GLOBAL STATUS LIKE 'Com_load'"))["Com_load"]) > int(before["Com_load"])


def test_a_server_without_local_infile_gets_inserts(
    warehouse: mysql.MySQL, caplog: pytest.LogCaptureFixture
) -> None:
    texts = ["", "it's", 'say "hi"', "a\\b\\", "tab\tnew\nline\r\0nul", "🐟", "NULL", "\\N", "x" * 3_000_000]
    warehouse.load([loads.load(loads.row("old", 1, "by file"))], {})
    run("SET GLOBAL local_infile = 0")
    try:
        with caplog.at_level(logging.WARNING, logger="tidegate"):
            rows = [loads.row(f"{i}", 1, text, notes='{"a": "\\u0000"}') for i, text in enumerate(texts)]
            warehouse.load([loads.load(*rows, loads.row("none", None))], {"a": "b"})
            warehouse.load([loads.load(loads.row("old", 2, "by hand"))], {})
            assert "by INSERT, since local_infile is off" in warehouse.check()[-1].detail
    finally:
        run("SET GLOBAL local_infile = 1")
    assert {id: name for id, name, _, _ in loads.items(warehouse)} == {
        **{f"{i}": text for i, text in enumerate(texts)},
        "none": None,
        "old": "by hand",
    }
    said = [record for record in caplog.records if "LOAD DATA LOCAL" in record.getMessage()]
    assert len(said) == 1


def test_inserts_write_what_uploads_write(warehouse: mysql.MySQL) -> None:
    columns: dict[str, tuple[pa.DataType, list[Any]]] = {
        "id": (pa.string(), ["a", "b", "c"]),
        "n": (pa.int64(), [2**63 - 1, -(2**63), None]),
        "x": (pa.float64(), [0.1 + 0.2, -1.7976931348623157e308, 5e-324]),
        "exact": (
            pa.decimal128(38, 12),
            [Decimal("99999999999999999999999999.999999999999"), Decimal(0), None],
        ),
        "yes": (pa.bool_(), [True, False, None]),
        "at": (loads.TIME, [loads.at(0).replace(microsecond=1), loads.at(4_000_000_000), None]),
        "doc": (pa.string(), ['{"a": "\\u0000"}', "9007199254740993", "null"]),
        "text": (pa.string(), ["'; DROP TABLE x; --", "\\'\0\t\r\n\x1a\"", "NULL"]),
    }
    schema = pa.schema(
        [
            pa.field(name, kind, metadata=base.JSON if name == "doc" else None)
            for name, (kind, _) in columns.items()
        ]
    )
    rows = pa.table([pa.array(values, kind) for kind, values in columns.values()], schema=schema)
    warehouse.load([base.Load(base.Table("uploaded", schema, ("id",), ""), rows)], {})
    run("SET GLOBAL local_infile = 0")
    try:
        warehouse.close()
        warehouse.load([base.Load(base.Table("inserted", schema, ("id",), ""), rows)], {})
        assert not warehouse._takes_files
    finally:
        run("SET GLOBAL local_infile = 1")
    for table in ("uploaded", "inserted"):
        assert loads.found(warehouse, f"SELECT * FROM stripe.{table} ORDER BY id") == [
            tuple(row.values()) for row in rows.to_pylist()
        ]


def test_a_server_that_asks_for_a_file_of_this_machine_gets_none(tmp_path: Path) -> None:
    """A statement makes the server ask for one, as a server that was taken over would at any statement."""
    file = tmp_path / "private"
    file.write_text("private\n")
    servers.new_mariadb()
    run("CREATE DATABASE stripe")
    run("CREATE TABLE stripe.stolen (text text)")
    address = mysql_server.address(
        kinds.MySQL.model_validate({"type": "mysql", "url": servers.mariadb().url()})
    )
    connection = mysql_wire.Connection(**address.sign_in)
    connection.sign_in(address.connect())
    with pytest.raises(pymysql.err.OperationalError, match="asked for a file"):
        connection.query(f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE stripe.stolen")
    assert not connection.open
    assert run("SELECT * FROM stripe.stolen") == []


def test_an_upload_gets_what_was_given_whatever_file_the_server_asks_for(tmp_path: Path) -> None:
    file = tmp_path / "private"
    file.write_text("private\n")
    servers.new_mariadb()
    run("CREATE DATABASE stripe")
    run("CREATE TABLE stripe.t (text text)")
    address = mysql_server.address(
        kinds.MySQL.model_validate({"type": "mysql", "url": servers.mariadb().url()})
    )
    connection = mysql_wire.Connection(**address.sign_in)
    connection.sign_in(address.connect())
    text = f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE stripe.t"
    assert connection.send(text, [memoryview(b"mine\n")]) == (1, 0)
    connection.drop()
    assert run("SELECT * FROM stripe.t") == [("mine",)]


@pytest.mark.parametrize("takes_files", [0, 1])
@pytest.mark.parametrize(
    ("row", "says"),
    [
        (loads.row("i" * 385, 1, SECRET), "refused a value: Data .* for column 'id' at row 2; nothing"),
        (loads.row("b", 1, SECRET, x=float("nan")), "cannot hold a value of `stripe`.`items`.`x` at row 2;"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_cut(
    warehouse: mysql.MySQL, row: loads.Row, says: str, takes_files: int
) -> None:
    table = base.Table("items", loads.ITEMS.schema.append(pa.field("x", pa.float64())))
    run(f"SET GLOBAL local_infile = {takes_files}")
    try:
        warehouse.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
        rows = pa.Table.from_pylist([loads.row("a", 2, "y"), row], schema=table.schema)
        with pytest.raises(errors.WarehouseError, match=says) as raised:
            warehouse.load([base.Load(table, rows)], {"cursor": "2"})
    finally:
        run("SET GLOBAL local_infile = 1")
    assert SECRET not in str(raised.value)
    assert "iii" not in str(raised.value)
    assert loads.items(warehouse) == [("a", "x", 1, None)]
    assert warehouse.state() == {"cursor": "1"}


# Trouble in the midst of a load


class Trap(dict[str, str | None]):
    """State that does something, once, when it is about to be written."""

    def __init__(self, spring: Any, **state: str) -> None:
        super().__init__(**state)
        self.spring = spring

    def items(self) -> Any:
        spring, self.spring = self.spring, None
        if spring is not None:
            spring()
        return super().items()


def kill_connections() -> None:
    """End every connection of Tidegate's user."""
    for number, user, *_ in run("SHOW PROCESSLIST"):
        if user == "tidegate":
            run(f"KILL {number}")


def restart() -> None:
    """A power cut, and the server comes back."""
    servers.mariadb().kill()
    servers.mariadb().start()


def test_a_connection_that_is_cut_is_opened_again(warehouse: mysql.MySQL) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
    trap = Trap(kill_connections, cursor="2")
    assert warehouse.load([loads.load(loads.row("a", 2, "y"), loads.row("b", 1))], trap) == [
        base.Loaded("items", 2, 1, 1, 0)
    ]
    assert trap.spring is None
    assert loads.items(warehouse) == [("a", "y", 2, None), ("b", None, 1, None)]
    assert warehouse.state() == {"cursor": "2"}


def test_a_transaction_never_goes_on_over_another_connection(
    warehouse: mysql.MySQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the connection is looked after before each statement, as after a long time of thinking."""
    monkeypatch.setattr(mysql, "STALE", -1.0)
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
    warehouse.wait = 0.0
    trap = Trap(kill_connections, cursor="2")
    with pytest.raises(errors.WarehouseUnreachable):
        warehouse.load([loads.load(loads.row("a", 2, "y"))], trap)
    assert trap.spring is None
    assert loads.items(warehouse) == [("a", "x", 1, None)]
    assert warehouse.state() == {"cursor": "1"}


def test_a_server_that_crashes_and_comes_back(warehouse: mysql.MySQL) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
    run("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
    warehouse.load([loads.load(loads.row("a", 2, "y"))], {"cursor": "2"})
    trap = Trap(restart, cursor="3")
    assert warehouse.load([loads.load(loads.row("a", 3, "z"), loads.row("b", 1))], trap) == [
        base.Loaded("items", 2, 1, 1, 0)
    ]
    assert loads.items(warehouse) == [("a", "z", 3, None), ("b", None, 1, None)]
    assert warehouse.state() == {"cursor": "3"}


def test_a_server_that_stays_away_is_said_in_one_sentence(warehouse: mysql.MySQL) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
    warehouse.wait = 0.0
    with pytest.raises(
        errors.WarehouseUnreachable, match=r"The connection to 127.0.0.1:\d+ broke\.|ended the connection"
    ):
        warehouse.load([loads.load(loads.row("a", 2, SECRET))], Trap(kill_connections, cursor="2"))
    assert loads.items(warehouse) == [("a", "x", 1, None)]


@pytest.mark.parametrize(("count", "length"), [(30_000, 1_000), (5_000, 6_000)])
def test_a_disk_that_is_full(count: int, length: int) -> None:
    """First for the temporary table of the keys, then for the table."""
    server = mariadbd.MariaDB()
    try:
        opened = warehouses.open_url(server.url(), wait=0.0)
        opened.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
        rows = loads.load(*(loads.row(f"b{i}", 1, (SECRET * 200)[:length]) for i in range(count)))
        server.limit(24 * 1024 * 1024)
        with pytest.raises(
            errors.WarehouseFull, match="is full, or its quota; nothing of this load was"
        ) as raised:
            opened.load([rows], {"cursor": "2"})
        assert SECRET not in str(raised.value)
        assert loads.items(opened) == [("a", "x", 1, None)]
        assert opened.state() == {"cursor": "1"}
        server.limit()
        assert opened.load([rows], {"cursor": "2"}) == [base.Loaded("items", count, count, 0, 0)]
        assert opened.state() == {"cursor": "2"}
        opened.close()
    finally:
        server.remove()


def test_somebody_else_who_loads_is_waited_for(
    warehouse: mysql.MySQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql_session, "PATIENCE", 1)
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
    other = warehouses.open_url(servers.mariadb().url(), wait=0.0)
    assert isinstance(other, mysql.MySQL)
    other.connect()
    with other.evolving():
        warehouse.wait = 0.0
        with pytest.raises(errors.WarehouseBusy, match="Somebody else has been loading into stripe"):
            warehouse.load([loads.load(loads.row("a", 2, "y"))], {})
    other.close()
    warehouse.load([loads.load(loads.row("a", 3, "z"))], {})
    assert loads.items(warehouse) == [("a", "z", 3, None)]


def test_rows_that_somebody_locks_are_tried_again(
    warehouse: mysql.MySQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mysql_session, "PATIENCE", 1)
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
    warehouse.close()
    with contextlib.closing(pymysql.connect(unix_socket=servers.mariadb().socket, user="root")) as other:
        other.query("BEGIN")
        other.query("SELECT * FROM stripe.items FOR UPDATE")
        warehouse.wait = 0.0
        with pytest.raises(errors.WarehouseBusy, match="Somebody else changed the same rows"):
            warehouse.load([loads.load(loads.row("a", 2, "y"))], {})
        release = threading.Timer(0.5, other.rollback)
        warehouse.wait = 60.0
        release.start()
        warehouse.load([loads.load(loads.row("a", 3, "z"))], {})
        release.join()
    assert loads.items(warehouse) == [("a", "z", 3, None)]


def test_nothing_of_a_load_stays_behind(warehouse: mysql.MySQL) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {"cursor": "1"})
    warehouse.load([loads.load(loads.row("a", 2, "y"))], Trap(kill_connections, cursor="2"))
    names = {
        name
        for (name,) in run("SELECT table_name FROM information_schema.tables WHERE table_schema = 'stripe'")
    }
    assert names == {"items", base.STATE, base.TOMBSTONES}


# Reading


def test_rows_are_read_while_others_are_loaded(warehouse: mysql.MySQL) -> None:
    warehouse.load([loads.load(*(loads.row(f"{i:05}", 1, "x") for i in range(25_000)))], {})
    seen = 0
    for number, batch in enumerate(warehouse.read("SELECT id FROM stripe.items")):
        seen += batch.num_rows
        warehouse.load([loads.load(loads.row("00000", 2 + number, "y"))], {})
    assert seen == 25_000
    assert number > 0


def test_reading_changes_nothing(warehouse: mysql.MySQL) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "x"))], {})
    with pytest.raises(errors.WarehouseError, match="only lets itself be read"):
        list(warehouse.asked("DELETE FROM stripe.items"))
    assert loads.items(warehouse) == [("a", "x", 1, None)]


def test_a_query_is_ended_by_another_thread(warehouse: mysql.MySQL) -> None:
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            list(warehouse.asked("SELECT SLEEP(600)"))
        except errors.TidegateError as error:
            raised.append(error)

    def sleeping() -> bool:
        return any("SLEEP(600)" in str(info) for *_, info, _ in run("SHOW PROCESSLIST"))

    thread = threading.Thread(target=wait)
    thread.start()
    mariadbd.until(sleeping, "the query does not run")
    warehouse.interrupt()
    thread.join(60)
    assert not thread.is_alive()
    assert isinstance(raised[0], errors.WarehouseUnreachable)
    mariadbd.until(lambda: not sleeping(), "the query still runs")
