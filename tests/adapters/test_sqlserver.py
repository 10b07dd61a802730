"""What is SQL Server's own: bulk copies, sessions that end, full disks, missing rights, signing in, values."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal

import loads
import mssql_python
import ports
import pyarrow as pa
import pytest
import servers
import tds
import tds_wire

from tidegate import adapters, config, errors
from tidegate import warehouse as warehouses
from tidegate.adapters import sqlserver, sqlserver_wire
from tidegate.warehouse import base, sql

N = sqlserver.FEW + 500
"""Rows that are copied in bulk."""

SUPPORT = [path for path in sys.path if path.endswith("support")]
"""Where children find what tests share."""


@pytest.fixture(params=["sqlserver", "synapse"])
def new(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Makes URLs of databases that nobody used before, of either kind."""
    return servers.new_sqlserver if request.param == "sqlserver" else servers.new_synapse


@pytest.fixture
def url(new: Callable[[], str]) -> str:
    return new()


@pytest.fixture
def warehouse(url: str) -> Iterator[sqlserver.SQLServer]:
    found = opened(url)
    yield found
    found.close()


def opened(url: str, wait: float = 60.0) -> sqlserver.SQLServer:
    found = warehouses.open_url(url, wait=wait)
    assert isinstance(found, sqlserver.SQLServer)
    return found


def run(url: str, *statements: str) -> None:
    warehouse = opened(url)
    for statement in statements:
        warehouse.execute(statement)
    warehouse.close()


def port_of(url: str) -> int:
    return int(url.partition("127.0.0.1:")[2].partition("/")[0])


def many(version: int, name: str, n: int = N) -> base.Load:
    return loads.load(*(loads.row(f"i{i}", version, name, notes='{"n": 1.10}') for i in range(n)))


def assert_whole(url: str, version: int, n: int = N) -> None:
    warehouse = opened(url)
    columns = "count(*) AS n, count(DISTINCT id) AS ids, min(_version) AS a, max(_version) AS b"
    assert loads.found(warehouse, f"SELECT {columns} FROM stripe.items") == [(n, n, version, version)]
    assert warehouse.state() == {"n": str(version)}
    warehouse.close()


def stages(warehouse: sqlserver.SQLServer) -> list[str]:
    """The tables for rows on their way that are there."""
    text = "SELECT o.name AS name FROM sys.objects AS o WHERE o.name LIKE '[_]tidegate[_]stage%'"
    return [name for (name,) in warehouse._rows(text.replace("[_]", "_"))]


@contextlib.contextmanager
def wire(port: int, cuts: Sequence[int]) -> Iterator[int]:
    """As `clusters.wire`, in a process of its own: the driver may hold the interpreter while it waits."""
    code = (
        "import sys\nsys.path[:0] = sys.argv[3:]\nimport clusters\n"
        "with clusters.wire(int(sys.argv[1]), eval(sys.argv[2])) as port:\n"
        "    print(port, flush=True)\n    sys.stdin.read()\n"
    )
    words = [sys.executable, "-c", code, str(port), repr(list(cuts)), *SUPPORT]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.communicate()


class During(dict[str, str]):
    """State that does something when it is written, which is inside of the transaction."""

    def __init__(self, state: Mapping[str, str], act: Callable[[], None]) -> None:
        super().__init__(state)
        self._acts = [act]

    def items(self):  # type: ignore[no-untyped-def,override]  # as dict's
        if self._acts:
            self._acts.pop()()
        return super().items()


# Rows on their way


def test_rows_that_are_copied_in_bulk_are_the_same(warehouse: sqlserver.SQLServer) -> None:
    texts = [None, "", "ünïcödé 🐟 名前", "nul\0inside", "x" * 10_000, "'; DROP TABLE x; --"]
    documents = [None, "null", "{}", '{"big": 9007199254740993, "price": 1.10}', '"a\\u0000b"', "[]"]
    rows = pa.table(
        {
            "id": [f"i{i}" for i in range(N)],
            "name": [texts[i % 6] for i in range(N)],
            "notes": pa.array([documents[i % 6] for i in range(N)], pa.string()),
            "big": pa.array(
                [[None, 0, -1, 2**53 + 1, 2**63 - 1, -(2**63)][i % 6] for i in range(N)], pa.int64()
            ),
            "rate": [[None, 0.1, 1e308, -2.5, 0.0, 1 / 3][i % 6] for i in range(N)],
            "exact": pa.array(
                [
                    [None, Decimal("-12345678901234567890.123456789012"), Decimal("0.1")][i % 3]
                    for i in range(N)
                ],
                pa.decimal128(38, 12),
            ),
            "paid": [[None, True, False][i % 3] for i in range(N)],
            "at": pa.array([[None, loads.at(-(10**9)), loads.SYNCED][i % 3] for i in range(N)], loads.TIME),
        }
    )
    schema = rows.schema.set(2, rows.schema.field("notes").with_metadata(base.JSON))
    rows = rows.cast(schema)
    wide, narrow = base.Table("wide", schema, ("id",), ""), base.Table("narrow", schema, ("id",), "")
    warehouse.load([base.Load(wide, rows)], {})
    assert stages(warehouse) == []
    for start in range(0, N, 1_000):
        warehouse.load([base.Load(narrow, rows.slice(start, 1_000))], {})
    told = {}
    for name in ("wide", "narrow"):
        batches = list(warehouse.read(f"SELECT * FROM stripe.{name} ORDER BY id"))
        told[name] = pa.Table.from_batches(batches).to_pylist()
    expected = rows.sort_by("id").to_pylist()
    assert told["wide"] == expected
    assert told["narrow"] == expected


KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[2:]
import loads
from tidegate import warehouse as warehouses
class Trap(dict):
    def items(self):
        os.kill(os.getpid(), signal.SIGKILL)
opened = warehouses.open_url(sys.argv[1])
opened.load([loads.load(*(loads.row(f"i{i}", 2, "new") for i in range(3_500)))], Trap(n="2"))
"""


def test_what_a_killed_load_leaves_is_swept_by_the_next(url: str, warehouse: sqlserver.SQLServer) -> None:
    warehouse.load([many(1, "old")], {"n": "1"})
    child = subprocess.run([sys.executable, "-c", KILLED, url, *SUPPORT], check=False)
    assert child.returncode == -signal.SIGKILL
    assert_whole(url, 1)
    assert len(stages(warehouse)) == 1
    assert "items" in warehouse.existing("stripe")
    warehouse.load([], {"n": "1"})
    assert stages(warehouse) == []
    warehouse.load([many(3, "again")], {"n": "3"})
    assert stages(warehouse) == []
    assert_whole(url, 3)


def test_two_writers_lose_nothing(url: str) -> None:
    opened(url).prepare([loads.ITEMS])
    troubles: list[BaseException] = []

    def write(letter: str) -> None:
        warehouse = opened(url)
        try:
            for version in range(5):
                rows = [loads.row(f"{letter}{n}", version, letter) for n in range(3)]
                warehouse.load(
                    [loads.load(*rows, loads.row("both", version, letter))], {letter: str(version)}
                )
        except BaseException as error:
            troubles.append(error)
        finally:
            warehouse.close()

    threads = [threading.Thread(target=write, args=[letter]) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    warehouse = opened(url)
    assert [(id, version) for id, _, version, _ in loads.items(warehouse)] == [
        *((f"{letter}{n}", 4) for letter in "ab" for n in range(3)),
        ("both", 4),
    ]
    assert warehouse.state() == {"a": "4", "b": "4"}
    warehouse.close()


def test_a_writer_that_waits_too_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    url = servers.new_sqlserver()
    first, second = opened(url), opened(url, wait=0)
    first.load([loads.load(loads.row("a", 1))], {})
    monkeypatch.setattr(sqlserver, "PATIENCE", 50)
    with (
        first.transaction(),
        pytest.raises(errors.WarehouseBusy, match="Somebody else writes to the schema stripe"),
    ):
        second.load([loads.load(loads.row("a", 2))], {})
    second.load([loads.load(loads.row("a", 3))], {})
    assert [version for _, _, version, _ in loads.items(second)] == [3]
    first.close()
    second.close()


def test_a_schema_has_one_lock_however_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(servers.new_sqlserver())
    second = sqlserver.SQLServer(first._address, "Stripe", wait=0)
    first.load([loads.load(loads.row("a", 1))], {})
    monkeypatch.setattr(sqlserver, "PATIENCE", 50)
    with first.transaction(), pytest.raises(errors.WarehouseBusy):
        second.load([loads.load(loads.row("a", 2))], {})
    first.close()
    second.close()


def test_who_signs_in_as_no_bulk_copy_can_loads_as_many_rows(
    url: str, warehouse: sqlserver.SQLServer
) -> None:
    warehouse.load([many(1, "old")], {"n": "1"})
    # The session stands; only a bulk copy would sign in again.
    warehouse._address = dataclasses.replace(
        warehouse._address, authentication="ActiveDirectoryPassword", trust=True
    )
    warehouse.load([many(2, "new")], {"n": "2"})
    assert_whole(url, 2)


@pytest.mark.parametrize("name", ["k", "r", "t", "items]", "OpenJson"])
def test_only_the_named_rows_go_from_a_table_of_any_name(warehouse: sqlserver.SQLServer, name: str) -> None:
    table = base.Table(name, loads.ITEMS.schema)
    rows = loads.load(loads.row("a", 1), loads.row("b", 1), loads.row("c", 1)).rows
    warehouse.load([base.Load(table, rows)], {})
    warehouse.load([base.Load(table, rows.slice(1, 1).select(["_account_id", "id"]), "drop")], {})
    found = loads.found(warehouse, f"SELECT id FROM stripe.{base.quoted(name)} ORDER BY id")
    assert found == [("a",), ("c",)]


def test_documents_are_of_a_fair_size() -> None:
    rows = pa.table(
        {"id": [str(n) for n in range(12_000)], "text": ["x" * (n // 1000 * 100) for n in range(12_000)]}
    )
    parts = list(sqlserver_wire.pieces(rows))
    assert pa.concat_tables(parts) == rows
    assert max(part.num_rows for part in parts) <= sqlserver_wire.DOCUMENT
    assert max(part.nbytes for part in parts) <= sqlserver_wire.BYTES
    huge = pa.table({"id": ["a", "b"], "text": ["x" * (5 * 1024 * 1024)] * 2})
    assert [part["id"].to_pylist() for part in sqlserver_wire.pieces(huge)] == [["a"], ["b"]]
    assert list(sqlserver_wire.pieces(rows.slice(0, 0))) == []


def test_batches_of_big_rows_have_few_of_them(warehouse: sqlserver.SQLServer) -> None:
    n = 500
    rows = pa.table({"id": [f"i{i:03}" for i in range(n)], "text": ["x" * 100_000] * n})
    warehouse.load([base.Load(base.Table("things", rows.schema, ("id",), ""), rows)], {})
    batches = list(warehouse.read("SELECT id, text FROM stripe.things ORDER BY id"))
    assert pa.Table.from_batches(batches) == rows
    assert max(batch.nbytes for batch in batches) <= sqlserver_wire.HELD
    small = list(warehouse.read("SELECT id FROM stripe.things"))
    assert [batch.num_rows for batch in small] == [sqlserver_wire.FIRST, n - sqlserver_wire.FIRST]


# Trouble


@pytest.mark.parametrize("bulk", [False, True])
def test_a_session_that_is_ended_within_a_load(url: str, warehouse: sqlserver.SQLServer, bulk: bool) -> None:
    n = N if bulk else 500
    warehouse.load([many(1, "old", n)], {"n": "1"})

    def end() -> None:
        [(number,)] = warehouse._rows("SELECT @@SPID AS number")
        run(url, f"KILL {number}")

    [done] = warehouse.load([many(2, "new", n)], During({"n": "2"}, end))
    assert (done.updated, done.inserted) == (n, 0)
    assert_whole(url, 2, n)
    assert stages(warehouse) == []


def test_the_answer_to_any_statement_of_a_load_may_be_lost(
    url: str, warehouse: sqlserver.SQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also that to COMMIT, after which nobody knows whether the load is there."""
    warehouse.load([many(1, "old", 5)], {"n": "1"})
    plain, told = warehouse.execute, list[str]()
    left = [0]

    def execute(text: str, parameters: Sequence[object] = ()) -> None:
        plain(text, parameters)
        told.append(text)
        left[0] -= 1
        if left[0] == 0:
            warehouse.disconnect()
            raise errors.WarehouseUnreachable("The answer was lost.")

    monkeypatch.setattr(warehouse, "execute", execute)
    warehouse.load([many(2, "new", 5)], {"n": "2"})
    statements = len(told)
    assert told[-1] == "COMMIT TRANSACTION"
    for at in range(1, statements + 1):
        left[0], version = at, 2 + at
        warehouse.load([many(version, "newer", 5)], {"n": str(version)})
        assert left[0] < 0
        assert_whole(url, version, 5)


@pytest.mark.parametrize("after", [0, 200, 2_000, 6_000, 50_000, 150_000])
def test_a_connection_that_is_cut(url: str, after: int) -> None:
    before = opened(url)
    before.load([many(1, "old")], {"n": "1"})
    before.close()
    with wire(port_of(url), [after] * 6) as port:
        warehouse = opened(url.replace(str(port_of(url)), str(port)))
        warehouse.load([many(2, "new" * 20)], {"n": "2"})
        warehouse.close()
    assert_whole(url, 2)


def test_a_server_that_stays_away_is_told_of() -> None:
    warehouse = opened(f"mssql://sa:secret@127.0.0.1:{ports.free()}/x", wait=0.2)
    with pytest.raises(
        errors.WarehouseUnreachable, match=r"Nothing answers at 127\.0\.0\.1:\d+ \(Connection refused\)"
    ) as told:
        warehouse.state()
    assert "secret" not in str(told.value)
    assert [(check.name, check.ok) for check in warehouse.check()] == [("reach", False)]


@pytest.mark.parametrize("bulk", [False, True])
def test_a_full_disk_changes_nothing(url: str, warehouse: sqlserver.SQLServer, bulk: bool) -> None:
    n = N if bulk else 500
    warehouse.load([many(1, "old", n)], {"n": "1"})
    run(url, "ALTER DATABASE CURRENT MODIFY (MAXSIZE = 1 KB)")
    with pytest.raises(errors.WarehouseFull, match=r"disk of w\d+ on 127\.0\.0\.1 is full") as told:
        warehouse.load([many(2, "Secret Name", n)], {"n": "2"})
    assert "Secret" not in str(told.value)
    assert_whole(url, 1, n)
    run(url, "ALTER DATABASE CURRENT MODIFY (MAXSIZE = UNLIMITED)")
    warehouse.load([many(3, "again", n)], {"n": "3"})
    assert_whole(url, 3, n)
    assert stages(warehouse) == []


def test_a_database_that_only_reads(url: str, warehouse: sqlserver.SQLServer) -> None:
    warehouse.load([many(1, "old", 5)], {"n": "1"})
    run(url, "ALTER DATABASE CURRENT SET READ_ONLY")
    with pytest.raises(errors.WarehouseError, match="give the address of the primary"):
        warehouse.load([many(2, "new", 5)], {"n": "2"})
    assert_whole(url, 1, 5)


def test_a_database_that_is_kept_as_it_was_long_ago(url: str, warehouse: sqlserver.SQLServer) -> None:
    run(url, "ALTER DATABASE CURRENT SET COMPATIBILITY_LEVEL = 120")
    with pytest.raises(errors.ConfigError, match="SET COMPATIBILITY_LEVEL = 130"):
        warehouse.load([many(1, "new", 5)], {"n": "1"})


def test_a_statement_that_is_interrupted_ends(warehouse: sqlserver.SQLServer) -> None:
    troubles: list[errors.TidegateError] = []

    def wait() -> None:
        try:
            list(warehouse.asked("SELECT 1 AS one", before=["WAITFOR DELAY '01:00:00'"]))
        except errors.TidegateError as error:
            troubles.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while waiting.is_alive():
        warehouse.interrupt()
        waiting.join(0.05)
    assert [str(error) for error in troubles] == [f"A statement was stopped on {warehouse.where()}."]
    assert loads.found(warehouse, "SELECT 1 AS one") == [(1,)]


# Rights


def user(url: str, *grants: str) -> str:
    """The URL of a user with nothing but what is granted here."""
    name = url.rpartition("/")[2].partition("?")[0] + "_user"
    run(
        url,
        f"CREATE LOGIN {name} WITH PASSWORD = 'pw-1'",
        f"CREATE USER {name} FOR LOGIN {name}",
        *(f"{grant} TO {name}" for grant in grants),
    )
    return url.replace("sa:Sa-Pass-1", f"{name}:pw-1")


SELECT = "GRANT SELECT ON SCHEMA::stripe"
CHANGE = "GRANT SELECT, INSERT, UPDATE, DELETE ON SCHEMA::stripe"
DEFINE = ("GRANT CREATE TABLE, CREATE VIEW", "GRANT ALTER ON SCHEMA::stripe")
LIVE = "GRANT ALTER, SELECT ON SCHEMA::stripe_live"


@pytest.mark.parametrize(
    ("given", "lacks", "told"),
    [
        ([], "rows", "GRANT CREATE TABLE TO"),
        (DEFINE[:1], "rows", "GRANT ALTER ON SCHEMA::[stripe] TO"),
        ([SELECT], "rows", "GRANT DELETE ON SCHEMA::[stripe] TO"),
        (["GRANT SELECT, DELETE ON SCHEMA::stripe"], "rows", "GRANT INSERT ON SCHEMA::[stripe] TO"),
        (["GRANT SELECT, INSERT ON SCHEMA::stripe"], "rows", "GRANT DELETE ON SCHEMA::[stripe] TO"),
        (["GRANT INSERT, UPDATE, DELETE ON SCHEMA::stripe"], "rows", "GRANT SELECT ON SCHEMA::[stripe] TO"),
        ([CHANGE], "column", "GRANT ALTER ON SCHEMA::[stripe] TO"),
        ([CHANGE], "table", "GRANT CREATE TABLE TO"),
        ([CHANGE, DEFINE[0]], "table", "GRANT ALTER ON SCHEMA::[stripe] TO"),
        ([CHANGE, *DEFINE], "table", "GRANT ALTER ON SCHEMA::[stripe_live] TO"),
    ],
)
def test_a_right_that_is_missing_is_named(given: list[str], lacks: str, told: str) -> None:
    url = servers.new_sqlserver()
    owner = opened(url)
    owner.load([loads.load(loads.row("a", 1, "Ann"))], {"n": "1"})
    warehouse = opened(user(url, *given))
    load = loads.load(loads.row("a", 2, "Secret Name"))
    if lacks == "column":
        load = base.Load(load.table, load.rows.append_column("surprise", pa.array([7])))
    elif lacks == "table":
        load = base.Load(base.Table("others", load.table.schema), load.rows)
    with pytest.raises(errors.WarehouseError) as refused:
        warehouse.load([load], {"n": "2"})
    warehouse.close()
    assert f"run {told} [w" in str(refused.value)
    assert "Secret Name" not in str(refused.value)
    assert loads.items(owner) == [("a", "Ann", 1, None)]
    assert owner.state() == {"n": "1"}
    owner.close()


def test_what_the_page_says_is_enough(url: str) -> None:
    """Each half of it: with schemas of one's own, and with those that somebody else made."""
    alone = opened(user(url, "GRANT CREATE SCHEMA, CREATE TABLE, CREATE VIEW"))
    alone.load([many(1, "Ann")], {"n": "1"})
    assert [check.name for check in alone.check() if not check.ok] == []
    alone.close()
    assert_whole(url, 1)


def test_what_the_page_says_is_enough_for_schemas_of_somebody_else(new: Callable[[], str]) -> None:
    url = new()
    run(url, "CREATE SCHEMA stripe", "CREATE SCHEMA stripe_live")
    granted = ("GRANT CREATE TABLE, CREATE VIEW", f"{CHANGE.replace('GRANT', 'GRANT ALTER,')}", LIVE)
    warehouse = opened(user(url, *granted))
    warehouse.load([many(1, "Ann")], {"n": "1"})
    assert [check.name for check in warehouse.check() if not check.ok] == []
    warehouse.close()
    assert_whole(url, 1)


def test_the_steps_of_a_check_name_what_is_missing() -> None:
    url = servers.new_sqlserver()
    lacking = user(url)
    warehouse = opened(lacking)
    name = lacking.partition("://")[2].partition(":")[0]
    for right in ("CREATE SCHEMA", "CREATE TABLE"):
        checks = warehouse.check()
        assert [check.name for check in checks] == ["reach", "sign in", "list", "read", "write"]
        assert [check.ok for check in checks] == [True, True, True, True, False]
        assert f"run GRANT {right} TO [{name}]; there" in checks[-1].detail
        run(url, f"GRANT {right} TO {name}")
    assert all(check.ok for check in warehouse.check())
    warehouse.close()


# Signing in


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"password": "wrong"}, "refused the sign-in of sa; check the user, the password and the database"),
        (
            {"user": "stranger"},
            "refused the sign-in of stranger; check the user, the password and the database",
        ),
        (
            {"database": "nowhere"},
            "nowhere on 127.0.0.1 refused the sign-in of sa; check the user, the password and the",
        ),
        ({"trust_server_certificate": False}, "The certificate of master on 127.0.0.1 is not trusted here"),
    ],
)
def test_a_sign_in_that_fails_says_why(change: dict[str, object], says: str) -> None:
    given = {
        "host": "127.0.0.1",
        "port": servers.tds(),
        "user": "sa",
        "password": "Sa-Pass-1",
        "database": "master",
        "trust_server_certificate": True,
    }
    kind = warehouses_config("sqlserver", given | change)
    warehouse = warehouses.open_warehouse(kind, wait=5)
    with pytest.raises(errors.ConfigError) as told:
        warehouse.state()
    assert says in str(told.value)
    assert "Sa-Pass-1" not in str(told.value)
    assert [(check.name, check.ok) for check in warehouse.check()] == [("reach", True), ("sign in", False)]
    warehouse.close()


def warehouses_config(kind: str, given: Mapping[str, object]) -> config.Warehouse:
    from tidegate.config import warehouses as kinds

    model = {"sqlserver": kinds.SQLServer, "synapse": kinds.Synapse}[kind]
    return model.model_validate({"type": kind, **given})


@pytest.mark.parametrize("encrypt", ["yes", "no"])
def test_a_connection_with_tls_and_without(encrypt: str) -> None:
    warehouse = opened(f"{servers.new_sqlserver()}&encrypt={encrypt}")
    warehouse.load([many(1, "Ann")], {"n": "1"})
    assert warehouse.state() == {"n": "1"}
    warehouse.close()


def test_a_password_may_hold_anything() -> None:
    url = servers.new_sqlserver()
    password = "p;w}d{=%&?@/#"
    run(url, f"CREATE LOGIN odd WITH PASSWORD = '{password}'", "CREATE USER odd FOR LOGIN odd")
    given = {"host": "127.0.0.1", "port": port_of(url), "user": "odd", "password": password}
    name = url.rpartition("/")[2].partition("?")[0]
    target = warehouses_config("sqlserver", given | {"database": name, "trust_server_certificate": True})
    warehouse = warehouses.open_warehouse(target)
    assert warehouse.state() == {}
    warehouse.close()
    assert password not in repr(sqlserver_wire.address(target))  # type: ignore[arg-type]  # it is one of SQL Server


@pytest.mark.parametrize(
    "url",
    [
        "mssql://sa:se#cret@host/db",
        "mssql://sa:se/cret@host/db",
        "mssql://sa:secret@host",
        "synapse://host/db?cret=1",
    ],
)
def test_a_url_that_cannot_be_read_keeps_its_password(url: str) -> None:
    with pytest.raises(errors.ConfigError, match="read") as told:
        warehouses.open_url(url)
    assert "se" + "cret" not in str(told.value)
    assert "#cret" not in str(told.value)


def test_an_identity_that_is_missing_is_named() -> None:
    """There is none on this machine, and the driver says so at once."""
    given = {
        "host": "127.0.0.1",
        "port": servers.tds(),
        "database": "master",
        "trust_server_certificate": True,
    }
    target = warehouses_config("sqlserver", given | {"authentication": "ActiveDirectoryMSI"})
    warehouse = warehouses.open_warehouse(target)
    checks = warehouse.check()
    assert [(check.name, check.ok) for check in checks] == [("reach", True), ("sign in", False)]
    assert checks[-1].detail.startswith("Microsoft Entra ID gave no token for master on 127.0.0.1; check")
    warehouse.close()


SAID: list[tuple[str, type[errors.TidegateError], str]] = [
    (
        "Database 'w' on server 's' is not currently available. Please retry the connection later.",
        errors.WarehouseUnreachable,
        "takes no work at the moment",
    ),
    (
        "The service has encountered an error processing your request. Please try again. Error code 4815.",
        errors.WarehouseUnreachable,
        "takes no work at the moment",
    ),
    (
        "The service is currently busy. Retry the request after 10 seconds. Incident ID: 1. Code: 2",
        errors.WarehouseUnreachable,
        "takes no work at the moment",
    ),
    (
        "Resource ID : 1. The request limit for the database is 60 and has been reached. See 'http://go' for help.",
        errors.WarehouseUnreachable,
        "takes no work at the moment",
    ),
    (
        "Resource ID: 1. The request minimum guarantee is 0, maximum limit is 60 and the current usage for the "
        "database is 61. However, the server is currently too busy to support requests greater than 60.",
        errors.WarehouseUnreachable,
        "takes no work at the moment",
    ),
    (
        "Login failed for user 'me'. Reason: Server is in script upgrade mode. Only administrator can connect.",
        errors.WarehouseUnreachable,
        "takes no work at the moment",
    ),
    (
        "The SQL pool is warming up. Please try again.",
        errors.WarehouseUnreachable,
        "takes no work at the moment",
    ),
    (
        "Cannot continue the execution because the session is in the kill state.",
        errors.WarehouseUnreachable,
        "takes no work at the moment",
    ),
    (
        "Can not connect to the SQL pool since it is paused. Please resume the SQL pool and try again.",
        errors.WarehouseUnreachable,
        "is paused; resume it",
    ),
    (
        "Transaction (Process ID 52) was deadlocked on lock resources with another process and has been chosen as "
        "the deadlock victim. Rerun the transaction.",
        errors.WarehouseBusy,
        "Somebody else changed",
    ),
    (
        "The target database ('w') is in an availability group and is currently accessible for connections when "
        "the application intent is set to read only.",
        errors.WarehouseError,
        "give the address of the primary",
    ),
    (
        "Failed to authenticate the user 'me' in Active Directory. AADSTS7000215: Invalid client secret provided.",
        errors.ConfigError,
        "Microsoft Entra ID refused me",
    ),
]
"""What servers say of themselves, and what becomes of it."""


@pytest.mark.parametrize(("said", "kind", "told"), SAID)
def test_what_a_server_says_of_itself_is_understood(
    said: str, kind: type[errors.TidegateError], told: str
) -> None:
    error = mssql_python.OperationalError("Operation failed", said)
    found = sqlserver_wire.meaning(error, "w on host", "stripe", "me")
    assert type(found) is kind
    assert told in str(found)


def test_a_library_that_is_missing_is_named() -> None:
    error = RuntimeError("Failed to load the driver. Please verify that the driver exists.")
    told = sqlserver_wire.meaning(error, "w on host", "stripe", "me")
    assert "apt-get install libltdl7" in str(told)
    assert sqlserver_wire.meaning(ValueError("of ours"), "w on host", "stripe", "me") is None


def test_a_column_that_the_driver_cannot_read_is_named() -> None:
    error = RuntimeError(
        "Unsupported data type for Arrow batch fetch for column - v, Type - -150, column ID - 1"
    )
    told = sqlserver_wire.meaning(error, "w on host", "stripe", "me")
    assert isinstance(told, errors.WarehouseError)
    assert str(told).startswith(
        "The column v of the query on w on host has a type that the driver cannot read"
    )


@pytest.mark.parametrize("kind", ["sqlserver", "synapse"])
def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    target = warehouses_config(kind, {"host": "h", "database": "d", "user": "me", "password": "hunter2"})
    for name in ("sqlserver", "synapse", "sqlserver_wire"):
        monkeypatch.delitem(sys.modules, f"tidegate.adapters.{name}", raising=False)
        monkeypatch.delattr(adapters, name, raising=False)
    monkeypatch.setitem(sys.modules, "mssql_python", None)
    with pytest.raises(errors.ConfigError, match=rf"pip install 'tidegate\[{kind}\]'"):
        warehouses.open_warehouse(target)


# Values


def test_columns_are_of_the_types_that_the_page_says(warehouse: sqlserver.SQLServer) -> None:
    schema = loads.ITEMS.schema
    for name, kind in (("rate", pa.float64()), ("exact", pa.decimal128(38, 12)), ("paid", pa.bool_())):
        schema = schema.append(pa.field(name, kind))
    warehouse.prepare([base.Table("items", schema)])
    assert warehouse.columns("items") == {
        "_account_id": "nvarchar(450) collate Latin1_General_100_BIN2",
        "_parent_id": "nvarchar(max) collate Latin1_General_100_BIN2",
        "id": "nvarchar(450) collate Latin1_General_100_BIN2",
        "name": "nvarchar(max) collate Latin1_General_100_BIN2",
        "notes": "nvarchar(max) collate Latin1_General_BIN2",
        "_version": "bigint",
        "_synced_at": "datetimeoffset(6)",
        "_deleted_at": "datetimeoffset(6)",
        "rate": "float",
        "exact": "decimal(38,12)",
        "paid": "bit",
    }


def test_what_is_asked_in_our_words_is_understood(warehouse: sqlserver.SQLServer) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "名前 🐟"), loads.row("b", 2), loads.row("c", 3))], {})
    assert loads.found(warehouse, "SELECT id FROM stripe.items WHERE name = '名前 🐟'") == [("a",)]
    assert loads.found(warehouse, "SELECT id FROM stripe.items ORDER BY _version DESC LIMIT 1") == [("c",)]
    assert loads.found(warehouse, "SELECT count(*) - count(name) AS n FROM stripe.items WHERE (1 = 1)") == [
        (2,)
    ]
    sooner = (
        "SELECT least(_version, 2, CASE WHEN name IS NOT NULL THEN 0 END) AS n FROM stripe.items ORDER BY id"
    )
    assert loads.found(warehouse, sooner) == [(0,), (2,), (2,)]
    nested = "SELECT greatest(least(_version, 2), 2) AS n FROM stripe.items ORDER BY id"
    assert loads.found(warehouse, nested) == [(2,), (2,), (2,)]
    later = "SELECT greatest(_version, 2) AS n FROM stripe.items ORDER BY id"
    assert loads.found(warehouse, later) == [(2,), (2,), (3,)]
    hours = (
        "SELECT cast(floor(extract(epoch from _synced_at) / 3600) AS bigint) * 3600 AS hour FROM stripe.items"
    )
    assert loads.found(warehouse, hours) == [(int(loads.SYNCED.timestamp()),)] * 3
    columns = "select lower(column_name) as col from information_schema.columns where lower(table_schema) = ?"
    found = [row["col"] for batch in warehouse.read(columns, ["stripe"]) for row in batch.to_pylist()]
    assert {"notes", "_deleted_at"} < set(found)


def test_the_names_of_the_catalog_are_in_capitals() -> None:
    text = "select lower(table_name) as name from information_schema.tables where lower(table_schema) = ?"
    assert sql.translated(text, sqlserver.SQLServer.dialect) == (
        "SELECT LOWER([TABLE_NAME]) AS [name] FROM [INFORMATION_SCHEMA].[TABLES] WHERE LOWER([TABLE_SCHEMA]) = ?"
    )


def test_a_number_that_becomes_text_keeps_its_digits(warehouse: sqlserver.SQLServer) -> None:
    numbers = [0.1, 1 / 3, 1e308, sys.float_info.max, -sys.float_info.max, 5e-324, -2.5, 123456789.125, None]
    rows = pa.table({"id": [str(i) for i in range(len(numbers))], "v": pa.array(numbers, pa.float64())})
    warehouse.load([base.Load(base.Table("things", rows.schema, ("id",), ""), rows)], {})
    texts = pa.schema([("id", pa.string()), ("v", pa.string())])
    warehouse.prepare([base.Table("things", texts, ("id",), "")])
    found = [text for _, text in loads.found(warehouse, "SELECT id, v FROM stripe.things ORDER BY id")]
    assert [text if text is None else float(str(text)) for text in found] == numbers
    assert found[:1] == ["0.1"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("n", [1, N])
def test_a_number_that_is_none_names_its_column(warehouse: sqlserver.SQLServer, value: float, n: int) -> None:
    rows = pa.table({"id": [str(i) for i in range(n)], "rate": [value] * n})
    with pytest.raises(errors.WarehouseError, match="The column rate holds infinity or NaN"):
        warehouse.load([base.Load(base.Table("things", rows.schema, ("id",), ""), rows)], {"n": "1"})
    assert warehouse.state() == {}


def test_a_key_that_is_too_long_is_refused_without_being_told(warehouse: sqlserver.SQLServer) -> None:
    warehouse.load([loads.load(loads.row("a", 1))], {"n": "1"})
    with pytest.raises(errors.WarehouseError, match="no room for a text of the column id") as told:
        warehouse.load([loads.load(loads.row("secret" * 100, 1))], {"n": "2"})
    assert "secret" not in str(told.value)
    assert warehouse.state() == {"n": "1"}


def test_keys_stand_there_once() -> None:
    url = servers.new_sqlserver()
    warehouse = opened(url)
    warehouse.load([loads.load(loads.row("a", 1, "Secret"))], {"n": "1"})
    with pytest.raises(errors.WarehouseError, match="refused a value") as told, warehouse._explained():
        warehouse.execute("INSERT INTO stripe.items SELECT * FROM stripe.items")
    assert "Secret" not in str(told.value)
    warehouse.close()


def test_the_stand_in_hears_what_came_together_with_a_statement() -> None:
    """Inside of TLS both are read at once; who does not look there waits until the statement ends by itself."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    told, heard = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(heard, told)
    here, there = socket.socketpair()
    with here, there:
        wire = tds_wire.Wire(here)
        wire._tls = tds_wire.context().wrap_bio(wire._in, wire._out, server_side=True)
        for _ in range(3):
            for side, out, into in ((client, told, wire._in), (wire._tls, wire._out, heard)):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
                into.write(out.read())
        for kind in (tds.BATCH, tds.ATTEND):
            client.write(struct.pack(">BBHHBB", kind, 1, 8, 0, 1, 0))
        there.sendall(told.read())
        assert wire.message() == (tds.BATCH, b"")
        assert not wire.is_quiet(0)
        assert wire.message() == (tds.ATTEND, b"")
        assert wire.is_quiet(0)
