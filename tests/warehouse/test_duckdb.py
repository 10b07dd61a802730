"""What is DuckDB's own: the file and its lock, the views, bad files, full disks, SQL that must not reach out."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import loads
import pyarrow as pa
import pytest

from tidegate import errors
from tidegate.warehouse import base
from tidegate.warehouse.duckdb import DuckDB

THINGS = base.Table(
    "things",
    pa.schema([("id", pa.string()), ("n", pa.int64()), ("_deleted_at", pa.timestamp("us", "UTC"))]),
    key=("id",),
    version="",
)

HOLDER = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "warehouse.duckdb"


@pytest.fixture
def warehouse(path: Path) -> Iterator[DuckDB]:
    opened = DuckDB(path, wait=10)
    yield opened
    opened.close()


def things(*rows: tuple[str, int], table: base.Table = THINGS) -> base.Load:
    return base.Load(
        table, pa.table({"id": [r[0] for r in rows], "n": pa.array([r[1] for r in rows], pa.int64())})
    )


def query(warehouse: DuckDB, sql: str, *parameters: object) -> list[dict[str, object]]:
    return [row for batch in warehouse.read(sql, parameters) for row in batch.to_pylist()]


def as_anyone(path: Path, sql: str) -> list[tuple[object, ...]]:
    """What a person sees who opens the file with DuckDB as it comes."""
    with duckdb.connect(str(path)) as connection:
        return connection.execute(sql).fetchall()


@contextlib.contextmanager
def held(path: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process has the file open until it is told to stop, or the block ends."""
    command = [sys.executable, "-c", HOLDER, str(path), *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            let_go(process)


def let_go(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None and not process.stdin.closed:
        process.stdin.close()
    process.wait(60)


# The lock


def test_between_calls_anybody_may_open_the_file(warehouse: DuckDB, path: Path) -> None:
    for n in range(3):
        warehouse.load([things(("a", n))], {"n": str(n)})
        with held(path):
            pass
        assert query(warehouse, "SELECT n FROM stripe.things") == [{"n": n}]
        with held(path):
            pass
        assert warehouse.state() == {"n": str(n)}
        with held(path):
            pass


def test_busy_names_the_holder_and_no_secret_of_it(warehouse: DuckDB, path: Path) -> None:
    warehouse.load([things(("a", 1))], {})
    impatient = DuckDB(path, wait=0.2)
    with held(path, "--api-key", "sk_live_secret") as process:
        for call in (
            lambda: impatient.load([things(("a", 2))], {}),
            impatient.state,
            lambda: impatient.prepare([THINGS]),
        ):
            with pytest.raises(
                errors.WarehouseBusy, match=rf"held by process {process.pid} \(python"
            ) as raised:
                call()
            assert raised.value.exit_code == 3
            assert "secret" not in str(raised.value)
        [reach] = impatient.check()
        assert not reach.ok
        assert str(process.pid) in reach.detail
    impatient.load([things(("a", 3))], {})
    assert query(warehouse, "SELECT n FROM stripe.things") == [{"n": 3}]
    impatient.close()


def test_waiting_ends_when_the_holder_lets_go(warehouse: DuckDB, path: Path) -> None:
    warehouse.load([things(("a", 1))], {})
    with held(path) as process:
        done: list[base.Loaded] = []
        waiting = threading.Thread(target=lambda: done.extend(warehouse.load([things(("a", 2))], {})))
        waiting.start()
        time.sleep(0.3)
        assert not done
        let_go(process)
        waiting.join(60)
    assert done == [base.Loaded("things", 1, 0, 1, 0)]


def test_threads_take_turns(path: Path) -> None:
    def run(thread: int) -> None:
        mine = DuckDB(path)
        for n in range(10):
            mine.load([things((f"{thread}-{n}", n), ("shared", n))], {f"t{thread}": str(n)})
        mine.close()

    threads = [threading.Thread(target=run, args=[thread]) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    warehouse = DuckDB(path)
    assert query(warehouse, "SELECT count(*) AS n FROM stripe.things") == [{"n": 41}]
    assert warehouse.state() == {f"t{thread}": "9" for thread in range(4)}
    warehouse.close()


def test_a_thread_that_still_reads_is_told_so(warehouse: DuckDB) -> None:
    warehouse.load([things(("a", 1), ("b", 2))], {})
    reading = warehouse.read("SELECT * FROM stripe.things")
    next(reading)
    with pytest.raises(errors.WarehouseBusy, match="still being read by this same thread"):
        warehouse.load([things(("a", 2))], {})
    warehouse.close()
    reading.close()
    warehouse.load([things(("a", 2))], {})


def test_the_same_process_with_its_own_connection_is_named(warehouse: DuckDB, path: Path) -> None:
    warehouse.load([things(("a", 1))], {})
    with duckdb.connect(str(path)), pytest.raises(errors.WarehouseBusy, match="this same process"):
        warehouse.load([things(("a", 2))], {}, wait=0.1)
    warehouse.load([things(("a", 3))], {})


def test_readers_do_not_shut_each_other_out(warehouse: DuckDB, path: Path) -> None:
    warehouse.load([things(("a", 1))], {"k": "v"})
    reader = HOLDER.replace("sys.argv[1]", "sys.argv[1], read_only=True")
    with subprocess.Popen(
        [sys.executable, "-c", reader, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert query(warehouse, "SELECT n FROM stripe.things") == [{"n": 1}]
        assert warehouse.state() == {"k": "v"}
        let_go(other)


# Tables as DuckDB shows them


def test_types(warehouse: DuckDB) -> None:
    fields = [
        pa.field("id", pa.string()),
        pa.field("amount", pa.int64()),
        pa.field("small", pa.int32()),
        pa.field("rate", pa.float64()),
        pa.field("exact", pa.decimal128(38, 12)),
        pa.field("paid", pa.bool_()),
        pa.field("created", pa.timestamp("us", "UTC")),
        pa.field("metadata", pa.string(), metadata=base.JSON),
        pa.field("large", pa.large_string()),
    ]
    warehouse.prepare([base.Table("t", pa.schema(fields), ("id",), "")])
    assert warehouse.columns("t") == {
        "id": "VARCHAR",
        "amount": "BIGINT",
        "small": "BIGINT",
        "rate": "DOUBLE",
        "exact": "DECIMAL(38,12)",
        "paid": "BOOLEAN",
        "created": "TIMESTAMP WITH TIME ZONE",
        "metadata": "JSON",
        "large": "VARCHAR",
    }


def test_json_is_json_to_sql(warehouse: DuckDB) -> None:
    table = base.Table(
        "t", pa.schema([("id", pa.string()), pa.field("j", pa.string(), metadata=base.JSON)]), ("id",), ""
    )
    warehouse.load(
        [base.Load(table, pa.table({"id": ["a"], "j": ['{"plan": {"name": "pro"}}']}, table.schema))], {}
    )
    assert query(warehouse, "SELECT j->>'$.plan.name' AS plan FROM stripe.t") == [{"plan": "pro"}]


def test_plain_text_for_a_json_column_is_checked(warehouse: DuckDB) -> None:
    table = base.Table(
        "t", pa.schema([("id", pa.string()), pa.field("j", pa.string(), metadata=base.JSON)]), ("id",), ""
    )
    warehouse.load([base.Load(table, pa.table({"id": ["a"], "j": ["[1]"]}))], {})
    with pytest.raises(errors.WarehouseError) as raised:
        warehouse.load([base.Load(table, pa.table({"id": ["b"], "j": ["jenny@example.com"]}))], {})
    assert "jenny" not in str(raised.value)
    assert "Transaction" not in str(raised.value)
    assert query(warehouse, "SELECT id, j FROM stripe.t") == [{"id": "a", "j": "[1]"}]


def test_names_differ_by_more_than_case(warehouse: DuckDB) -> None:
    with pytest.raises(errors.WarehouseError, match="columns id and Id"):
        warehouse.prepare(
            [base.Table("t", pa.schema([("id", pa.string()), ("Id", pa.string())]), ("id",), "")]
        )
    warehouse.load([things(("a", 1))], {})
    upper = base.Table("THINGS", pa.schema([("ID", pa.string()), ("N", pa.int64())]), ("ID",), "")
    warehouse.load([base.Load(upper, pa.table({"ID": ["a"], "N": [2]}))], {})
    assert query(warehouse, "SELECT id, n FROM stripe.things") == [{"id": "a", "n": 2}]


def test_the_live_view_has_no_tombstones_and_follows_new_columns(warehouse: DuckDB, path: Path) -> None:
    deleted = pa.table({"id": ["b"], "n": [2], "_deleted_at": pa.array([0], pa.timestamp("us", "UTC"))})
    warehouse.load([things(("a", 1)), base.Load(THINGS, deleted)], {})
    assert as_anyone(path, "SELECT id FROM stripe_live.things") == [("a",)]
    warehouse.load([base.Load(THINGS, pa.table({"id": ["c"], "late": ["x"]}))], {})
    assert as_anyone(path, "SELECT id, late FROM stripe_live.things ORDER BY id") == [("a", None), ("c", "x")]


def test_a_table_without_tombstones_has_no_live_view(warehouse: DuckDB, path: Path) -> None:
    warehouse.prepare([base.Table("plain", pa.schema([("id", pa.string())]), ("id",), "")])
    assert as_anyone(path, "SELECT count(*) FROM duckdb_views() WHERE schema_name = 'stripe_live'") == [(0,)]


@pytest.mark.parametrize(
    "theirs", ["VIEW stripe_live.things AS SELECT 42 AS answer", "TABLE stripe_live.things (x INT)"]
)
def test_a_view_of_somebody_else_is_kept_and_named(warehouse: DuckDB, path: Path, theirs: str) -> None:
    as_anyone(path, f"CREATE SCHEMA stripe_live; CREATE {theirs}")
    before = as_anyone(path, "FROM stripe_live.things")
    with pytest.raises(errors.ConfigError, match=r"stripe_live\.things is not a view of Tidegate"):
        warehouse.prepare([THINGS])
    warehouse.load([things(("a", 1))], {})
    assert as_anyone(path, "FROM stripe_live.things") == before


def test_a_view_that_was_dropped_comes_back(warehouse: DuckDB, path: Path) -> None:
    warehouse.prepare([THINGS])
    as_anyone(path, "DROP SCHEMA stripe_live CASCADE")
    warehouse.prepare([THINGS])
    assert as_anyone(path, "FROM stripe_live.things") == []


def test_a_table_of_somebody_else_is_not_touched(warehouse: DuckDB, path: Path) -> None:
    as_anyone(path, "CREATE SCHEMA stripe; CREATE TABLE stripe.things (mine INT)")
    for call in (lambda: warehouse.prepare([THINGS]), lambda: warehouse.load([things(("a", 1))], {})):
        with pytest.raises(errors.ConfigError, match="no table of Tidegate"):
            call()
    assert as_anyone(path, "DESCRIBE stripe.things")[0][0] == "mine"


def test_a_column_of_somebody_else_stays_until_the_row_is_updated(warehouse: DuckDB, path: Path) -> None:
    warehouse.load([things(("a", 1), ("b", 1))], {})
    as_anyone(
        path, "ALTER TABLE stripe.things ADD COLUMN note DATE; UPDATE stripe.things SET note = '2026-01-01'"
    )
    warehouse.load([things(("b", 2), ("c", 2))], {})
    assert query(warehouse, "SELECT id, n, note IS NULL AS lost FROM stripe.things ORDER BY id") == [
        {"id": "a", "n": 1, "lost": False},
        {"id": "b", "n": 2, "lost": True},
        {"id": "c", "n": 2, "lost": True},
    ]


def test_rows_that_somebody_doubled_become_one_again(warehouse: DuckDB, path: Path) -> None:
    warehouse.load([things(("a", 1))], {})
    as_anyone(path, "INSERT INTO stripe.things FROM stripe.things")
    assert warehouse.load([things(("a", 2))], {}) == [base.Loaded("things", 1, 0, 1, 0)]
    assert query(warehouse, "SELECT id, n FROM stripe.things") == [{"id": "a", "n": 2}]


def test_rows_that_somebody_doubled_are_all_marked_removed_and_kept_as_one(
    warehouse: DuckDB, path: Path
) -> None:
    warehouse.load([loads.load(*(loads.row(id, 1, id.upper(), notes="[1]") for id in "abcd"))], {})
    warehouse.load([loads.versions(("a", 1, "x"))], {})
    as_anyone(path, "INSERT INTO stripe.items FROM stripe.items")
    as_anyone(path, "INSERT INTO stripe.items_history FROM stripe.items_history")
    calls = [
        loads.mark(loads.dead("a", 5)),
        loads.mark(loads.dead("b", 5), hard=True),
        loads.load(loads.row("c", 5, "kept"), mode="keep", lacks=["notes"]),
        loads.drop("d"),
    ]
    assert [done.updated for done in warehouse.load(calls, {})] == [1, 1, 1, 2]
    warehouse.load([loads.versions(("a", 5, "y"))], {})
    assert loads.items(warehouse) == [("a", "A", 5, 5), ("a", "A", 5, 5), ("c", "kept", 5, None)]
    assert query(warehouse, "SELECT notes FROM stripe.items WHERE id = 'c'") == [{"notes": "[1]"}]
    assert loads.history(warehouse) == [("a", "x", 1, 5), ("a", "y", 5, None)]
    keys = pa.table({"_account_id": ["acct_1"], "id": ["a"]})
    assert warehouse.find(loads.ITEMS, keys).num_rows == 1


def test_burials_are_a_table_that_appears_with_the_first_of_them(warehouse: DuckDB, path: Path) -> None:
    warehouse.load([loads.load(loads.row("a", 1)), loads.mark(loads.dead("a", 5))], {})
    assert warehouse.columns(base.TOMBSTONES) == {}
    warehouse.load([loads.mark(loads.dead("b", 5))], {})
    assert as_anyone(path, "SELECT table_name, key, _version FROM stripe._tidegate_tombstones") == [
        ("items", '["acct_1","b"]', 5)
    ]
    assert as_anyone(path, "SELECT id FROM stripe_live.items") == []
    views = "SELECT view_name FROM duckdb_views() WHERE schema_name = 'stripe_live'"
    assert as_anyone(path, views) == [("items",)]


def test_a_column_of_somebody_else_outlives_a_mark_and_a_kept_row(warehouse: DuckDB, path: Path) -> None:
    warehouse.load([loads.load(loads.row("a", 1), loads.row("b", 1))], {})
    as_anyone(
        path, "ALTER TABLE stripe.items ADD COLUMN mine DATE; UPDATE stripe.items SET mine = '2026-01-01'"
    )
    warehouse.load(
        [loads.mark(loads.dead("a", 5)), loads.load(loads.row("b", 5), mode="keep", lacks=["notes"])], {}
    )
    found = query(warehouse, "SELECT id, mine::VARCHAR AS mine FROM stripe.items ORDER BY id")
    assert [(row["id"], row["mine"]) for row in found] == [("a", "2026-01-01"), ("b", "2026-01-01")]


def test_another_schema_of_the_same_file(path: Path) -> None:
    first, second = DuckDB(path), DuckDB(path, 'other "one"')
    first.load([things(("a", 1))], {"k": "1"})
    second.load([things(("b", 2))], {"k": "2"})
    assert (first.state(), second.state()) == ({"k": "1"}, {"k": "2"})
    assert query(second, 'SELECT id FROM "other ""one"""."things"') == [{"id": "b"}]
    first.close()
    second.close()


# Paths


@pytest.mark.parametrize(
    "name", ["stripe.duckdb", "memory.duckdb", "temp.db", "my.data.db", "it's; here.duckdb", "ü 🐟"]
)
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    warehouse = DuckDB(tmp_path / name)
    warehouse.load([things(("a", 1))], {"k": "v"})
    assert query(warehouse, "SELECT id FROM stripe.things") == [{"id": "a"}]
    assert query(warehouse, "SELECT id FROM stripe_live.things") == [{"id": "a"}]
    assert warehouse.state() == {"k": "v"}
    warehouse.close()
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_check_says_when_the_file_is_named_like_the_schema(tmp_path: Path) -> None:
    warehouse = DuckDB(tmp_path / "stripe.duckdb")
    warehouse.prepare([THINGS])
    assert "stripe.stripe.TABLE" in warehouse.check()[0].detail
    warehouse.close()


@pytest.mark.parametrize("schema", ["tidegate", "stripe"])
@pytest.mark.parametrize("name", ["tidegate.duckdb", "stripe.duckdb"])
def test_a_file_may_have_the_name_of_any_schema(name: str, schema: str, tmp_path: Path) -> None:
    table = base.Table("t", pa.schema([pa.field("id", pa.string())]), ("id",), "")
    warehouse = DuckDB(tmp_path / name, schema)
    warehouse.prepare([table])
    warehouse.load([base.Load(table, pa.table({"id": ["x"]}))], {})
    assert warehouse.find(table, pa.table({"id": ["x"]}))["id"].to_pylist() == ["x"]
    warehouse.close()


def test_the_file_may_be_renamed(warehouse: DuckDB, path: Path, tmp_path: Path) -> None:
    warehouse.load([things(("a", 1))], {})
    path.rename(tmp_path / "renamed.duckdb")
    assert as_anyone(tmp_path / "renamed.duckdb", "SELECT id FROM stripe_live.things") == [("a",)]


def test_a_link_leads_to_the_file(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.duckdb"
    link.symlink_to(path)
    for place, n in ((path, 1), (link, 2)):
        warehouse = DuckDB(place)
        warehouse.load([things(("a", n))], {})
        warehouse.close()
    assert as_anyone(path, "SELECT n FROM stripe.things") == [(2,)]


def bad_paths(folder: Path) -> dict[str, tuple[Path, type[errors.TidegateError], str]]:
    """A path for everything that can be wrong with one."""
    (folder / "text.duckdb").write_text("hello, I am no database\n" * 1000)
    (folder / "empty.duckdb").touch()
    with contextlib.closing(sqlite3.connect(folder / "sqlite.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.commit()
    as_anyone(folder / "good.duckdb", "CREATE TABLE t AS SELECT md5(i::VARCHAR) AS x FROM range(100000) r(i)")
    good = (folder / "good.duckdb").read_bytes()
    (folder / "cut.duckdb").write_bytes(good[:9000])
    (folder / "header.duckdb").write_bytes(good[:4096] + b"w" * 8192 + good[12288:])
    return {
        "directory": (folder, errors.ConfigError, "is a directory"),
        "no folder": (
            folder / "no" / "w.duckdb",
            errors.ConfigError,
            f"directory {folder / 'no'} does not exist",
        ),
        "a file for a folder": (folder / "empty.duckdb" / "w.duckdb", errors.ConfigError, "does not exist"),
        "text": (folder / "text.duckdb", errors.WarehouseCorrupt, "is no DuckDB file"),
        "empty": (folder / "empty.duckdb", errors.WarehouseCorrupt, "is no DuckDB file"),
        "sqlite": (folder / "sqlite.db", errors.WarehouseCorrupt, "is no DuckDB file"),
        "cut short": (folder / "cut.duckdb", errors.WarehouseCorrupt, "is damaged"),
        "broken header": (folder / "header.duckdb", errors.WarehouseCorrupt, "is damaged"),
        "read-only place": (Path("/sys/w.duckdb"), errors.ConfigError, "may not write|read-only file system"),
    }


WRONG = (
    "directory",
    "no folder",
    "a file for a folder",
    "text",
    "empty",
    "sqlite",
    "cut short",
    "broken header",
    "read-only place",
)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_bad_path_is_one_sentence_and_nothing_is_touched(tmp_path: Path, wrong: str) -> None:
    path, error, says = bad_paths(tmp_path)[wrong]
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    warehouse = DuckDB(path)
    with pytest.raises(error, match=says) as raised:
        warehouse.load([things(("a", 1))], {})
    assert str(path) in str(raised.value) or str(path.parent) in str(raised.value)
    assert str(raised.value).endswith(".")
    assert [check.ok for check in warehouse.check()][-1] is False
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    warehouse.close()


def test_a_file_of_a_newer_duckdb_asks_for_an_upgrade(path: Path) -> None:
    as_anyone(path, "CREATE TABLE t (x INT)")
    content = bytearray(path.read_bytes())
    content[12:20] = (9_999_999).to_bytes(8, "little")  # the version, after an 8-byte checksum and "DUCK"
    path.write_bytes(content)
    with pytest.raises(duckdb.Error) as raised:
        duckdb.connect(str(path))
    checksum = re.search(r"computed checksum (\d+)", str(raised.value))
    assert checksum is not None
    content[:8] = int(checksum[1]).to_bytes(8, "little")
    path.write_bytes(content)
    warehouse = DuckDB(path)
    with pytest.raises(errors.WarehouseCorrupt, match=r"newer DuckDB than .*upgrade"):
        warehouse.load([things(("a", 1))], {})
    assert path.read_bytes() == content
    warehouse.close()


def test_reading_before_the_first_pull(warehouse: DuckDB, path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="does not exist yet; pull into it first"):
        query(warehouse, "SELECT 1")
    assert all(check.ok for check in warehouse.check())
    assert list(path.parent.iterdir()) == []


def test_what_killed_processes_left_is_removed(warehouse: DuckDB, tmp_path: Path) -> None:
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    pid = int(gone.stdout)
    # In a container the next process may well have the same number.
    for whose in (f"{pid}", f"{pid}-0123abcd", f"{os.getpid()}-0123abcd"):
        spilled = tmp_path / f"warehouse.duckdb.{whose}.tmp"
        spilled.mkdir()
        (spilled / "duckdb_temp_storage-0.tmp").write_bytes(b"x")
    (tmp_path / f"warehouse.duckdb.{pid}-ab12.new").write_bytes(b"x")
    (tmp_path / "warehouse.duckdb.notes.tmp").write_bytes(b"mine")
    warehouse.prepare([THINGS])
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "warehouse.duckdb",
        "warehouse.duckdb.notes.tmp",
    ]


def test_spilling_happens_beside_the_file_and_leaves_nothing(path: Path) -> None:
    warehouse = DuckDB(path, memory_limit=60_000_000)
    warehouse.load([things(("a", 1))], {})
    sql = "SELECT md5(i::VARCHAR) AS h, i FROM range(2000000) r(i) ORDER BY h"
    seen, spilled = 0, False
    for batch in warehouse.read(sql):
        seen += batch.num_rows
        spilled = spilled or any(file.name.endswith(".tmp") for file in path.parent.iterdir())
    assert seen == 2_000_000
    assert spilled
    assert [file.name for file in path.parent.iterdir()] == ["warehouse.duckdb"]
    warehouse.close()


# Disks


FULL = """
import resource, sys
import pyarrow as pa
from tidegate import errors
from tidegate.warehouse import base
from tidegate.warehouse.duckdb import DuckDB
warehouse = DuckDB(sys.argv[1])
table = base.Table("things", pa.schema([("id", pa.string()), ("n", pa.int64())]), ("id",), "")
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
n = 0
try:
    while n < 1000:
        ids = [f"{n}-{i}-{hash((n, i))}" for i in range(int(sys.argv[2]))]
        warehouse.load([base.Load(table, pa.table({"id": ids, "n": [n] * len(ids)}))], {"n": str(n)})
        n += 1
except errors.WarehouseFull as error:
    print(n, error)
"""


def fill(path: Path, rows: int, limit: int) -> str:
    command = [sys.executable, "-c", FULL, str(path), str(rows), str(limit)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("rows", "limit"), [(50, 1_200_000), (20_000, 4_000_000)])
def test_a_full_disk_costs_nothing_that_was_committed(path: Path, rows: int, limit: int) -> None:
    loads, _, says = fill(path, rows, limit).partition(" ")
    assert f"The disk (or quota) under {path} is full" in says
    warehouse = DuckDB(path)
    assert int(loads) > 0
    committed = int(warehouse.state()["n"]) + 1
    assert committed in (int(loads), int(loads) + 1)
    assert query(warehouse, "SELECT count(*) AS n FROM stripe.things") == [{"n": committed * rows}]
    warehouse.load([things(("more", 1))], {})
    warehouse.close()


def test_no_room_to_make_the_file(path: Path) -> None:
    assert fill(path, 10, 4096).startswith("0 The disk (or quota)")
    assert list(path.parent.iterdir()) == []


# SQL of the user's


@pytest.mark.parametrize(
    "sql",
    [
        "FROM read_csv('/etc/passwd')",
        "FROM read_text('{path}')",
        "FROM glob('/etc/*')",
        "COPY (SELECT 1) TO '/tmp/tidegate-must-not-exist.csv'",
        "COPY (SELECT 1) TO '{path}'",
        "ATTACH '{path}.other' AS other",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "SELECT * FROM outside_variable",
        "DELETE FROM stripe.things",
        "DROP TABLE stripe.things",
        "CREATE TABLE stripe.more (x INT)",
    ],
)
def test_a_query_reaches_nothing_but_the_tables(warehouse: DuckDB, path: Path, sql: str) -> None:
    outside_variable = pa.table({"x": [1]})
    warehouse.load([things(("a", outside_variable.num_rows))], {})
    with pytest.raises(errors.TidegateError):
        query(warehouse, sql.format(path=path))
    assert query(warehouse, "SELECT id, n FROM stripe.things") == [{"id": "a", "n": 1}]
    assert [file.name for file in path.parent.iterdir()] == ["warehouse.duckdb"]


def test_our_own_statements_reach_nothing_else_either(warehouse: DuckDB, path: Path) -> None:
    warehouse.load([things(("a", 1))], {})
    engine = warehouse._file._engine
    assert engine is not None
    for sql in (
        "FROM read_csv('/etc/passwd')",
        f"ATTACH '{path}.other'",
        "SET enable_external_access = true",
    ):
        with pytest.raises(duckdb.Error):
            engine.execute(sql)


def test_a_failing_query_repeats_no_value(warehouse: DuckDB) -> None:
    warehouse.load([things(("jenny@example.com", 1))], {})
    with pytest.raises(errors.WarehouseError) as raised:
        query(warehouse, "SELECT id::BIGINT FROM stripe.things")
    assert "jenny" not in str(raised.value)
    assert "Transaction" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_read_only_place_can_be_read(warehouse: DuckDB, path: Path) -> None:
    warehouse.load([things(("a", 1))], {"k": "v"})
    path.chmod(0o444)
    assert query(warehouse, "SELECT n FROM stripe.things") == [{"n": 1}]
    assert warehouse.state() == {"k": "v"}


def test_a_log_that_a_killed_writer_left_is_read(path: Path) -> None:
    warehouse = DuckDB(path)
    warehouse.load([things(("a", 1))], {})
    left = (
        "import duckdb, os, sys; connection = duckdb.connect(sys.argv[1]); "
        "connection.execute(\"INSERT INTO stripe.things (id, n) VALUES ('b', 2)\"); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", left, path], check=False)
    assert os.path.exists(f"{path}.wal")
    assert query(warehouse, "SELECT count(*) AS n FROM stripe.things") == [{"n": 2}]
    warehouse.load([things(("c", 3))], {})
    assert query(warehouse, "SELECT count(*) AS n FROM stripe.things") == [{"n": 3}]
    warehouse.close()


def test_updates_all_over_a_large_table_get_the_memory_they_need(path: Path) -> None:
    """Deletes in every one of 100 row groups hold 25 MB; the warehouse may take 20."""
    as_anyone(
        path,
        "CREATE SCHEMA stripe; CREATE TABLE stripe.things (id VARCHAR, n BIGINT, _deleted_at TIMESTAMPTZ)",
    )
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{path}' AS w (ROW_GROUP_SIZE 10240)")
        connection.execute("INSERT INTO w.stripe.things SELECT i::VARCHAR, i, NULL FROM range(1024000) r(i)")
    warehouse = DuckDB(path, memory_limit=20_000_000)
    changed = [(str(i), -1) for i in range(0, 1_024_000, 10_000)]
    assert warehouse.load([things(*changed)], {}) == [base.Loaded("things", 103, 0, 103, 0)]
    assert query(warehouse, "SELECT count(*) AS n FROM stripe.things WHERE n = -1") == [{"n": 103}]
    warehouse.close()


def test_a_call_that_needs_more_memory_than_it_was_given_is_tried_again_with_more(path: Path) -> None:
    warehouse = DuckDB(path, memory_limit=3_000_000)
    text = os.urandom(1024).hex()
    table = base.Table("wide", pa.schema([("id", pa.string()), ("text", pa.string())]), ("id",), "")
    ids = [str(i) for i in range(3000)]
    warehouse.load([base.Load(table, pa.table({"id": ids, "text": [text + id for id in ids]}))], {"k": "v"})
    assert warehouse.state() == {"k": "v"}
    assert DuckDB(path).columns("wide") == {"id": "VARCHAR", "text": "VARCHAR"}
    warehouse.close()


def test_memory_stays_bounded(path: Path) -> None:
    """Twice 160 MB pass through 60 MB of memory; the second time the process hardly grows."""
    warehouse = DuckDB(path, memory_limit=60_000_000)
    table = base.Table("wide", pa.schema([("id", pa.string()), ("text", pa.string())]), ("id",), "")
    text = os.urandom(1024).hex()

    def run(start: int) -> None:
        for n in range(start, start + 8):
            ids = [f"{n}-{i}" for i in range(10_000)]
            warehouse.load([base.Load(table, pa.table({"id": ids, "text": [f"{i}{text}" for i in ids]}))], {})

    run(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(8)
    assert query(warehouse, "SELECT count(*) AS n FROM stripe.wide") == [{"n": 160_000}]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 120 * 1024
    warehouse.close()
