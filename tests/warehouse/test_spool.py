"""Loads that wait on disk while somebody else holds the warehouse: none lost, none twice, none out of order."""

from __future__ import annotations

import base64
import hashlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import loads
import pyarrow as pa
import pytest

from tidegate import errors
from tidegate.warehouse import base, spool
from tidegate.warehouse.duckdb import DuckDB

ROWS = base.Table(
    "rows",
    pa.schema([("id", pa.string()), ("n", pa.int64()), pa.field("doc", pa.string(), metadata=base.JSON)]),
    key=("id",),
    version="n",
)


def batch(n: int, *ids: str) -> base.Load:
    rows = {
        "id": list(ids or (f"{n}",)),
        "n": [n] * (len(ids) or 1),
        "doc": [f'{{"n": {n}}}'] * (len(ids) or 1),
    }
    return base.Load(ROWS, pa.table(rows, schema=ROWS.schema))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "warehouse.duckdb"


@pytest.fixture
def warehouse(path: Path) -> Iterator[DuckDB]:
    opened = DuckDB(path, wait=10)
    yield opened
    opened.close()


@pytest.fixture
def held(warehouse: DuckDB, path: Path) -> Iterator[Callable[[], None]]:
    """Somebody has the file open; call it to make them let go."""
    warehouse.prepare([ROWS])
    code = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()

        def let_go() -> None:
            if process.stdin is not None and not process.stdin.closed:
                process.stdin.close()
            process.wait(60)

        yield let_go
        let_go()


def found(warehouse: DuckDB) -> dict[str, int]:
    rows = [row for some in warehouse.read("SELECT id, n FROM stripe.rows") for row in some.to_pylist()]
    assert len(rows) == len({row["id"] for row in rows})
    return {row["id"]: row["n"] for row in rows}


def test_what_cannot_be_loaded_waits_and_is_applied_in_order(
    warehouse: DuckDB, held: Callable[[], None]
) -> None:
    for n in range(5):
        assert spool.load(warehouse, [batch(n, "hot", str(n))], {"n": str(n)}, patience=0.1) is None
    assert warehouse.spooled() == 5
    with pytest.raises(errors.WarehouseBusy, match="held by process"):
        spool.settle(warehouse, wait=0.1)
    assert warehouse.spooled() == 5
    held()
    assert spool.settle(warehouse) == 5
    assert found(warehouse) == {"hot": 4, **{str(n): n for n in range(5)}}
    assert warehouse.state() == {"n": "4"}
    assert not warehouse.path.endswith(".spool")
    assert not Path(f"{warehouse.path}.spool").exists()


def test_a_load_comes_after_all_that_waits(warehouse: DuckDB, held: Callable[[], None]) -> None:
    spool.load(warehouse, [batch(1, "hot")], {"n": "1"}, patience=0.0)
    held()
    assert spool.load(warehouse, [batch(1, "hot", "new")], {"n": "2"}) == [base.Loaded("rows", 2, 1, 1, 0)]
    assert warehouse.state() == {"n": "2"}
    assert warehouse.spooled() == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda warehouse: warehouse.state(),
        lambda warehouse: warehouse.columns("rows"),
        lambda warehouse: warehouse.prepare([ROWS]),
        lambda warehouse: warehouse.claim("next run", ["rows"]),
        lambda warehouse: list(warehouse.read("SELECT 1")),
    ],
    ids=["state", "columns", "prepare", "claim", "read"],
)
def test_the_next_run_finds_what_the_last_one_left(
    warehouse: DuckDB, path: Path, call: Callable[[DuckDB], object]
) -> None:
    fence = warehouse.claim("last run", ["rows"])
    warehouse.spool([batch(1)], {"n": "1"}, fence)
    following = DuckDB(path)
    call(following)
    assert following.spooled() == 0
    assert following.state() == {"n": "1"}
    assert found(following) == {"1": 1}
    following.close()


def test_what_an_overtaken_writer_set_aside_is_dropped(warehouse: DuckDB, path: Path) -> None:
    sleeper = warehouse.claim("run 1", ["rows"])
    other = DuckDB(path)
    fence = other.claim("run 2", ["rows"])
    other.load([batch(2, "a")], {"n": "2"}, fence)
    warehouse.spool([batch(3, "a", "b")], {"n": "3"}, sleeper)
    other.load([batch(4, "c")], {}, fence)
    assert (found(other), other.state(), other.spooled()) == ({"a": 2, "c": 4}, {"n": "2"}, 0)
    with pytest.raises(errors.Fenced):
        warehouse.load([batch(5, "a")], {"n": "5"}, sleeper)
    other.close()


def test_a_load_is_read_back_as_it_was(tmp_path: Path) -> None:
    waiting = spool.Spool(tmp_path / "w.spool")
    fence = base.Fence('run "1"', {"rows": 7})
    waiting.append([batch(1, "a", "b"), batch(2)], {"set": "ünï\0", "gone": None}, fence)
    waiting.append([], {"only": "state"})
    first, second = waiting.entries()
    assert [load.table for load in first.loads] == [ROWS, ROWS]
    assert [load.rows for load in first.loads] == [batch(1, "a", "b").rows, batch(2).rows]
    assert first.loads[0].rows.schema.field("doc").metadata == base.JSON
    assert (first.state, first.fence) == ({"set": "ünï\0", "gone": None}, fence)
    assert (second.loads, second.state, second.fence) == ([], {"only": "state"}, None)
    assert oct(first.path.stat().st_mode)[-3:] == "600"
    assert oct(waiting.folder.stat().st_mode)[-3:] == "700"


def test_what_a_load_is_to_do_waits_with_it(tmp_path: Path) -> None:
    waiting = spool.Spool(tmp_path / "w.spool")
    given = [
        loads.load(loads.row("a", 1), mode="keep", strict=True),
        loads.mark(loads.dead("a", 5), hard=True, history=loads.HISTORY),
        loads.sweep("p", 5, "a"),
        loads.versions(("a", 1, "x")),
        loads.drop("a"),
    ]
    waiting.append(given, {})
    [entry] = waiting.entries()
    assert entry.loads == given


def test_deletions_that_wait_are_applied_as_such(warehouse: DuckDB, held: Callable[[], None]) -> None:
    for call in (
        [loads.load(loads.row("a", 1, "Ann"), loads.row("b", 1)), loads.versions(("a", 1, "x"))],
        [loads.mark(loads.dead("a", 5), history=loads.HISTORY), loads.sweep("p", 6, hard=True)],
        [loads.load(loads.row("b", 6, "too late"))],
    ):
        assert spool.load(warehouse, call, {}, patience=0.0) is None
    held()
    assert loads.items(warehouse) == [("a", "Ann", 5, 5)]
    assert loads.graves(warehouse) == [('["acct_1","b"]', 6, 6)]
    assert loads.history(warehouse) == [("a", "x", 1, 5)]


FORMER = (
    '{"tables":[{"name":"rows","schema":"%s","key":["id"],"version":"n","size":%d}],'
    '"state":{"n":"1"},"writer":null,"tokens":{}}'
)


def test_what_the_last_release_set_aside_is_still_loaded(warehouse: DuckDB, path: Path) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, ROWS.schema) as writer:
        writer.write_table(batch(1, "a", "b").rows)
    body = sink.getvalue().to_pybytes()
    schema = base64.b64encode(ROWS.schema.serialize().to_pybytes()).decode()
    header = (FORMER % (schema, len(body))).encode()
    content = b"TIDESPOOL1\n" + len(header).to_bytes(8, "little") + header + body
    folder = Path(f"{path}.spool")
    folder.mkdir()
    (folder / "000000000001.load").write_bytes(content + hashlib.sha256(content).digest())
    assert warehouse.settle() == 1
    assert (found(warehouse), warehouse.state()) == ({"a": 1, "b": 1}, {"n": "1"})


def test_a_load_of_a_format_to_come_is_refused(warehouse: DuckDB, path: Path) -> None:
    warehouse.spool([batch(1)], {"n": "1"})
    [waiting] = Path(f"{path}.spool").iterdir()
    content = waiting.read_bytes()[:-32].replace(b"TIDESPOOL2", b"TIDESPOOL9", 1)
    waiting.write_bytes(content + hashlib.sha256(content).digest())
    with pytest.raises(errors.WarehouseCorrupt, match=r"is damaged, or of a newer version"):
        warehouse.settle()


def test_a_damaged_load_is_named_and_nothing_after_it_is_applied(warehouse: DuckDB) -> None:
    for n in range(3):
        warehouse.spool([batch(n)], {"n": str(n)})
    damaged = sorted(Path(f"{warehouse.path}.spool").iterdir())[1]
    content = bytearray(damaged.read_bytes())
    content[-100] ^= 1
    damaged.write_bytes(content)
    for _ in range(2):
        with pytest.raises(errors.WarehouseCorrupt, match=f"{damaged.name}.*is damaged.*move the folder"):
            warehouse.settle()
    damaged.parent.rename(damaged.parent.with_suffix(".away"))
    assert warehouse.state() == {"n": "0"}


def test_two_processes_may_append_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "w.spool"
    children = [subprocess.Popen([sys.executable, "-c", APPENDING, folder, name, "25"]) for name in "ab"]
    assert [child.wait(60) for child in children] == [0, 0]
    waiting = spool.Spool(folder)
    writers = [next(iter(entry.state.items())) for entry in waiting.entries()]
    assert [n for name, n in writers if name == "a"] == [str(n) for n in range(25)]
    assert [n for name, n in writers if name == "b"] == [str(n) for n in range(25)]
    assert len(writers) == 50


def test_loads_that_one_appends_while_another_applies(tmp_path: Path, path: Path) -> None:
    warehouse = DuckDB(path)
    folder = Path(f"{path}.spool")
    with subprocess.Popen([sys.executable, "-c", APPENDING, folder, "n", "40"]) as child:
        while child.poll() is None:
            warehouse.settle()
    assert child.returncode == 0
    warehouse.settle()
    assert warehouse.state() == {"n": "39"}
    assert found(warehouse) == {f"n{n}": n for n in range(40)}
    warehouse.close()
    assert [file.name for file in tmp_path.iterdir()] == ["warehouse.duckdb"]


FULL = """
import resource, sys
import pyarrow as pa
from tidegate import errors
from tidegate.warehouse import base, spool
table = base.Table("rows", pa.schema([("id", pa.string())]), ("id",), "")
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
waiting = spool.Spool(sys.argv[1])
waiting.append([base.Load(table, pa.table({"id": ["small"]}))], {"n": "0"})
try:
    waiting.append([base.Load(table, pa.table({"id": [str(hash((i, "x"))) for i in range(9999)]}))], {"n": "1"})
except errors.WarehouseFull as error:
    print(error)
"""


def test_a_full_disk_leaves_what_was_set_aside_before(tmp_path: Path) -> None:
    folder = tmp_path / "w.spool"
    child = subprocess.run([sys.executable, "-c", FULL, folder], capture_output=True, text=True, check=True)
    assert child.stdout.startswith(f"The disk (or quota) under {folder} is full")
    assert [entry.state for entry in spool.Spool(folder).entries()] == [{"n": "0"}]
    assert len(list(folder.iterdir())) == 1


APPENDING = """
import sys
import pyarrow as pa
from tidegate.warehouse import base, spool
table = base.Table("rows", pa.schema([("id", pa.string()), ("n", pa.int64())]), ("id",), "n")
waiting = spool.Spool(sys.argv[1])
for n in range(int(sys.argv[3])):
    rows = pa.table({"id": [f"{sys.argv[2]}{n}"], "n": [n]})
    waiting.append([base.Load(table, rows)], {sys.argv[2]: str(n)})
"""

KILLED = """
import sys
import pyarrow as pa
from tidegate.warehouse import base
from tidegate.warehouse.duckdb import DuckDB
table = base.Table("rows", pa.schema([("id", pa.string()), ("n", pa.int64())]), ("id",), "n")
warehouse = DuckDB(sys.argv[1])
n = int(warehouse.state().get("n", "-1"))
print("ready", flush=True)
while True:
    for _ in range(5):
        n += 1
        rows = pa.table({"id": [f"{n}-{i}" for i in range(100)] + ["hot"], "n": [n] * 101})
        warehouse.spool([base.Load(table, rows)], {"n": str(n)})
        print(n, flush=True)
    warehouse.settle()
"""


@pytest.mark.parametrize("seed", range(4))
def test_killed_while_setting_aside_or_applying(path: Path, seed: int) -> None:
    """Everything that `spool` returned for is there after a kill at any moment, once and in order."""
    rng, reached = random.Random(seed), -1
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            promised = [int(child.stdout.readline()) for _ in range(rng.randrange(12))]
            time.sleep(rng.uniform(0, 0.1))
            child.kill()
            promised += [int(line) for line in child.stdout.read().split(b"\n")[:-1]]
        assert child.returncode == -signal.SIGKILL
        warehouse = DuckDB(path)
        now = int(warehouse.state().get("n", "-1"))
        assert now >= max([reached, *promised])
        if now >= 0:
            assert found(warehouse) == {
                "hot": now,
                **{f"{n}-{i}": n for n in range(now + 1) for i in range(100)},
            }
        warehouse.close()
        reached = now
    assert reached >= 0
    left = {file.name for file in path.parent.iterdir()} - {"warehouse.duckdb"}
    assert not any(name.endswith(".load") for name in left)
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("SELECT max(n) FROM stripe.rows").fetchall() == [(reached,)]


class Server:
    """A warehouse that nobody can lock: it has no spool."""

    def __init__(self) -> None:
        self.loads: list[object] = []

    def load(self, loads: object, state: object, fence: object = None) -> list[base.Loaded]:
        self.loads.append((loads, state, fence))
        return []


def test_a_warehouse_without_a_spool_is_loaded_directly() -> None:
    server = Server()
    assert spool.load(server, [], {"n": "1"}) == []  # type: ignore[arg-type]
    assert spool.settle(server) == 0  # type: ignore[arg-type]
    assert server.loads == [([], {"n": "1"}, None)]
