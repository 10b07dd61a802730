"""`tidegate pull` beside whatever else runs flows: it is a run as well, and gives way to the others."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import servers
import stalled
from flowing import KEY, PATIENCE, until, written
from following import Merchant, ids
from pulling import query

from tidegate import sandbox
from tidegate.store import database, logs, notices, reports, runs, ticks

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
STALLED = (sys.executable, str(Path(stalled.__file__)))
ONCE = "  once: {from: acme, to: one, streams: {customers: {}, coupons: {}}}"
OTHER = "  other: {from: acme, to: two, streams: {coupons: {}}}"
ENDLESS = ONCE.replace("from:", "schedule: continuous, from:")


@pytest.fixture(scope="module")
def running() -> Iterator[Merchant]:
    with sandbox.process(objects=30) as url:
        yield Merchant(url)


@pytest.fixture
def shop(running: Merchant) -> Merchant:
    running.control("reset", {"objects": 30})
    return running


@pytest.fixture
def store(tmp_path: Path) -> Iterator[database.Database]:
    """The metadata database of the configuration in this folder."""
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as opened:
        yield opened


def checked(said: str) -> str:
    """What a command said: never the key, and never a traceback."""
    assert KEY[8:] not in said
    assert "Traceback" not in said
    assert "internal error" not in said
    return said


def tidegate(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in a folder."""
    done = subprocess.run(
        [TIDEGATE, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    checked(done.stdout + done.stderr)
    return done


@contextlib.contextmanager
def begun(folder: Path, *words: str, program: Sequence[str] = (TIDEGATE,)) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on; what it says goes to said.txt."""
    with (folder / "said.txt").open("w") as said:
        process = subprocess.Popen(
            [*program, *words], cwd=folder, stdout=subprocess.DEVNULL, stderr=said, text=True
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
    checked((folder / "said.txt").read_text())


@contextlib.contextmanager
def elsewhere(store: database.Database, flow: str = "pull:once") -> Iterator[runs.Run]:
    """Somebody else runs a flow, and says so all the time."""
    run = runs.queue(store, runs.new_id(), flow, "schedule")
    assert runs.begin(store, run.id, "far:1:a") is not None
    ended = threading.Event()

    def live() -> None:
        with contextlib.closing(database.open_database(f"sqlite:///{store.place}")) as own:
            while not ended.wait(0.2):
                runs.beat(own, run.id, "far:1:a", {})

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield run
    finally:
        ended.set()
        thread.join()


def silent(store: database.Database, seconds: float) -> None:
    """Nobody has heard of any run for so long."""
    store.execute("UPDATE runs SET seen_at = seen_at - :seconds", {"seconds": seconds})


@pytest.fixture
def slow() -> Iterator[Merchant]:
    """A Stripe whose answers take so long that no pull comes to its end."""
    with sandbox.process(objects=30, latency_ms=30_000) as url:
        yield Merchant(url)


def under_way(store: database.Database) -> runs.Run:
    """The run that somebody is doing, once they have said so."""

    def said() -> runs.Run | None:
        run = runs.alive(store, "pull:once")
        return run if run is not None and run.progress else None

    found: runs.Run = until(said)
    return found


def states(store: database.Database, flow: str = "pull:once") -> list[tuple[str, str]]:
    """Why its runs began and how they stand, oldest first."""
    return [(run.cause, run.state) for run in reversed(runs.listed(store, flow=flow))]


def test_a_pull_makes_no_metadata_database(shop: Merchant, tmp_path: Path) -> None:
    written(tmp_path, shop.url, ONCE)
    assert tidegate(tmp_path, "pull").returncode == 0
    assert (tmp_path / "one.duckdb").exists()
    assert not list(tmp_path.glob("tidegate.db*"))


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_pull_is_a_run_where_there_is_one(kind: str, shop: Merchant, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tidegate.db" if kind == "sqlite" else servers.new_postgres()
    written(tmp_path, shop.url, ONCE, url)
    with contextlib.closing(database.open_database(url)) as store:
        done = tidegate(tmp_path, "pull", "--json", "--full-refresh", "--accept-deletes", "coupons")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        [run] = runs.listed(store)
        assert run.id == told["run_id"]
        assert (run.flow, run.cause, run.state, run.error) == ("pull:once", "manual", "ok", "")
        assert run.options == {"full_refresh": True, "accept_deletes": ["coupons"]}
        assert run.totals["requests"] == told["requests"]
        assert run.totals["written"] == sum(each["written"] for each in told["streams"])
        tables = {table["stream"]: table["written"] for table in reports.read(store, run.id)}
        assert tables == {each["stream"]: each["written"] for each in told["streams"]}
        assert tables["customers"] == len(shop.ids("customers"))
        texts = [line.text for line in logs.read(store, run.id)[0]]
        assert any("GET /v1/customers" in text for text in texts), texts
        assert texts[-1] == "ok"
        noted = query(tmp_path / "one.duckdb", "select distinct run_id from stripe._tidegate_runs")
        assert noted == [{"run_id": run.id}]
        at = store.execute("SELECT stream FROM positions ORDER BY stream")
        assert [row["stream"] for row in at] == ["coupons", "customers"]


def test_what_a_pull_mends_is_alerted_no_more(
    shop: Merchant, tmp_path: Path, store: database.Database
) -> None:
    written(tmp_path, shop.url, ONCE)
    assert tidegate(tmp_path, "pull").returncode == 0
    held = notices.Matter("pull:once/held/acct_1/coupons", "held", "pull:once", "rows are held")
    notices.settle(store, "pull:once", [held])
    assert tidegate(tmp_path, "pull").returncode == 0
    assert notices.listed(store) == []


def test_what_others_run_is_left_to_them(shop: Merchant, tmp_path: Path, store: database.Database) -> None:
    written(tmp_path, shop.url, ONCE)
    shop.control("stats/reset", {})
    with elsewhere(store) as run:
        for words in (["pull"], ["pull", "--watch"]):
            done = tidegate(tmp_path, *words)
            assert done.returncode == 3
            assert done.stderr == (
                f"tidegate: pull:once is just being run on far ({run.id}); `tidegate logs -f {run.id}` shows it, "
                f"`tidegate cancel {run.id}` ends it.\n"
            )
        told = json.loads(tidegate(tmp_path, "pull", "--json").stdout)
        assert (told["run_id"], told["status"]) == (None, "failed")
        assert run.id in told["error"]
    assert states(store) == [("schedule", "running")]
    assert shop.control("stats")["requests"] == 0
    assert not (tmp_path / "one.duckdb").exists()


def test_other_pulls_go_on(shop: Merchant, tmp_path: Path, store: database.Database) -> None:
    written(tmp_path, shop.url, f"{ONCE}\n{OTHER}")
    with elsewhere(store):
        assert tidegate(tmp_path, "pull").returncode == 3
    assert states(store, "pull:other") == [("manual", "ok")]
    assert ids(tmp_path / "two.duckdb", "coupons") == sorted(shop.ids("coupons"))


def test_a_run_whose_process_is_gone_keeps_nobody_out(
    shop: Merchant, tmp_path: Path, store: database.Database
) -> None:
    written(tmp_path, shop.url, ONCE)
    run = runs.queue(store, runs.new_id(), "pull:once", "schedule")
    runs.begin(store, run.id, "gone:1:a")
    silent(store, 59.0)
    done = tidegate(tmp_path, "pull")
    assert done.returncode == 0, done.stderr
    assert states(store) == [("schedule", "interrupted"), ("manual", "ok")]


def test_a_run_that_only_waits_is_done_by_the_pull(
    shop: Merchant, tmp_path: Path, store: database.Database
) -> None:
    written(tmp_path, shop.url, ONCE)
    waits = runs.queue(store, runs.new_id(), "pull:once", "schedule")
    assert tidegate(tmp_path, "pull").returncode == 0
    assert states(store) == [("schedule", "cancelled"), ("manual", "ok")]
    done = runs.listed(store, states=("ok",))[0]
    assert runs.get(store, waits.id).error == f"`tidegate pull` does it instead, as {done.id}."


def test_a_run_that_waits_to_do_more_keeps_it_out(
    shop: Merchant, tmp_path: Path, store: database.Database
) -> None:
    written(tmp_path, shop.url, ONCE)
    waits = runs.queue(store, runs.new_id(), "pull:once", "manual", options={"full_refresh": True})
    store.execute("UPDATE runs SET queued_at = queued_at - 600")
    done = tidegate(tmp_path, "pull")
    assert done.returncode == 3
    assert f"pull:once is about to be run ({waits.id})" in done.stderr
    assert tidegate(tmp_path, "pull", "--full-refresh").returncode == 0


def test_a_pull_that_fails_is_a_run_that_failed(tmp_path: Path, store: database.Database) -> None:
    written(tmp_path, "http://127.0.0.1:1", ONCE)
    done = tidegate(tmp_path, "pull")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    [run] = runs.listed(store)
    assert (run.state, f"tidegate: {run.error}") == ("failed", line)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_pull_that_is_stopped_is_cancelled_and_not_begun_again(
    number: signal.Signals, slow: Merchant, tmp_path: Path, store: database.Database
) -> None:
    ticks.sync(store, {"pull:once": '"manual"'}, lambda *_: None)
    written(tmp_path, slow.url, ONCE)
    with begun(tmp_path, "pull") as process:
        run = under_way(store)
        process.send_signal(number)
        assert process.wait(PATIENCE) == 130
    assert "interrupted; what was committed is safe" in (tmp_path / "said.txt").read_text()
    assert runs.get(store, run.id).state == "cancelled"
    assert ticks.waiting(store) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("words", [["pull"], ["pull", "--watch"]], ids=["once", "watching"])
def test_what_a_pull_had_done_until_it_was_stopped_is_reported(
    number: signal.Signals, words: list[str], shop: Merchant, tmp_path: Path, store: database.Database
) -> None:
    shop.control("reset", {"counts": {"customers": 3_000}, "only": ["customers"]})
    file = tmp_path / "one.duckdb"
    written(tmp_path, shop.url, ONCE)
    with begun(tmp_path, *words, program=STALLED) as process:
        run = under_way(store)
        until(lambda: any(each["written"] for each in reports.read(store, run.id)))
        process.send_signal(number)
        process.wait(PATIENCE)
    stored = len(ids(file, "customers"))
    assert 0 < stored < 3_000
    [told] = [each["written"] for each in reports.read(store, run.id) if each["written"]]
    beside = query(file, "select run_id, rows_written as n from stripe._tidegate_runs where rows_written > 0")
    if number == signal.SIGKILL:
        assert told <= stored
        assert beside == []
    else:
        assert told == runs.get(store, run.id).totals["written"] == stored
        assert beside == [{"run_id": run.id, "n": stored}]


def test_a_pull_that_is_killed_is_interrupted_after_a_minute(
    slow: Merchant, tmp_path: Path, store: database.Database
) -> None:
    written(tmp_path, slow.url, ONCE)
    with begun(tmp_path, "pull") as process:
        under_way(store)
        process.kill()
        process.wait()
    assert states(store) == [("manual", "running")]
    silent(store, 61.0)
    slow.control("latency", {"ms": 0})
    assert tidegate(tmp_path, "pull").returncode == 0
    assert states(store) == [("manual", "interrupted"), ("manual", "ok")]
    assert ids(tmp_path / "one.duckdb", "customers") == sorted(slow.ids("customers"))


def test_a_pull_can_be_cancelled_as_any_run(slow: Merchant, tmp_path: Path, store: database.Database) -> None:
    written(tmp_path, slow.url, ONCE)
    with begun(tmp_path, "pull") as process:
        run = under_way(store)
        assert tidegate(tmp_path, "cancel", "last").returncode == 0
        assert process.wait(PATIENCE) == 1
    said = (tmp_path / "said.txt").read_text()
    assert f"tidegate: {run.id} was cancelled; what was committed is safe" in said
    assert states(store) == [("manual", "cancelled")]


def test_watching_is_one_run(shop: Merchant, tmp_path: Path, store: database.Database) -> None:
    written(tmp_path, shop.url, ONCE)
    with begun(tmp_path, "pull", "--watch", "--every", "0.2") as process:
        run = until(lambda: runs.alive(store, "pull:once"))
        until(lambda: (tmp_path / "one.duckdb").exists() and _there(tmp_path))
        made = shop.make("/v1/customers", name="Ada")["id"]
        shop.later()
        until(lambda: made in _there(tmp_path))
        assert tidegate(tmp_path, "pull").returncode == 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    ended = runs.get(store, run.id)
    assert (ended.cause, ended.state) == ("manual", "cancelled")
    told = [line.text for line in logs.read(store, run.id)[0] if line.stream == "customers"]
    assert sum(int(text.partition(" ")[0]) for text in told if text.endswith(" written")) == len(
        shop.ids("customers")
    )
    tables = {table["stream"]: table["written"] for table in reports.read(store, run.id)}
    assert tables["customers"] == len(shop.ids("customers"))
    assert ended.totals["written"] == sum(tables.values())


def _there(folder: Path) -> list[str]:
    made = query(folder / "one.duckdb", "select 1 from duckdb_tables() where table_name = 'customers'")
    return ids(folder / "one.duckdb", "customers") if made else []


@pytest.mark.parametrize("broken", ["away", "no database"])
def test_a_metadata_database_that_cannot_be_used_is_a_line(
    broken: str, shop: Merchant, tmp_path: Path
) -> None:
    (tmp_path / "notes.db").write_text("my notes\n" * 1000)
    url = "postgresql://nobody@127.0.0.1:1/none" if broken == "away" else "sqlite:///notes.db"
    written(tmp_path, shop.url, ONCE, url)
    done = tidegate(tmp_path, "pull")
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stderr.splitlines() if "not noted" in line]
    assert line.endswith("The pull goes on and is not noted as a run.")
    assert ids(tmp_path / "one.duckdb", "customers") == sorted(shop.ids("customers"))


def test_beside_a_continuous_run_it_gives_way_and_when_that_is_cancelled_it_pulls(
    shop: Merchant, tmp_path: Path
) -> None:
    written(tmp_path, shop.url, ENDLESS)
    with begun(tmp_path, "run", "--port", "0"):
        until(lambda: (tmp_path / "tidegate.db").exists() and (tmp_path / "one.duckdb").exists())
        with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store:
            [first] = until(lambda: runs.listed(store, states=("running",)))
            assert tidegate(tmp_path, "pull").returncode == 3
            assert runs.alive(store, "pull:once") == runs.get(store, first.id), "it goes on"
            assert tidegate(tmp_path, "cancel", first.id).returncode == 0
            until(lambda: runs.alive(store, "pull:once") is None)
            done = tidegate(tmp_path, "pull", "--full-refresh")
            assert done.returncode == 0, done.stderr
            until(lambda: len(runs.listed(store)) == 3)
            assert states(store)[:2] == [("continuous", "cancelled"), ("manual", "ok")]
            until(lambda: states(store)[2] == ("continuous", "running"))
