"""Processes that are killed or stopped anywhere, a server that goes away: nothing lost, nothing twice."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import clusters
import halting
import psycopg
import pytest

from tidegate import errors
from tidegate.store import database, deliveries, logs, runs, ticks

Opened = Callable[[], database.Database]
FLOWS = tuple(f"pull:{n}" for n in range(4))

ENGINE = """
import sys
from tidegate.store import database, logs, runs, ticks

url, worker = sys.argv[1:]
store = database.open_database(url)
pace = lambda flow, schedule, after, since: after + 0.01
while True:
    for tick in ticks.due(store)[0]:
        ticks.fire(store, tick, runs.new_id(), pace)
    for flow in ticks.waiting(store):
        ticks.release(store, flow, runs.new_id())
    for queued in runs.listed(store, states=("queued",)):
        if (run := runs.begin(store, queued.id, worker)) is None:
            continue
        print("began", run.id, flush=True)
        logs.write(store, run.id, worker, 0, [logs.Line(0.0, "info", "hello")])
        if runs.beat(store, run.id, worker, {"rows": 1}) and runs.end(store, run.id, worker, "ok"):
            print("ended", run.id, flush=True)
"""
"""A scheduler and a worker, as fast as it can."""

SLEEPER = """
import sys
from tidegate.store import database, runs

store = database.open_database(sys.argv[1])
assert runs.begin(store, "run_1", "sleeper")
print("began", flush=True)
sys.stdin.read()
print(runs.beat(store, "run_1", "sleeper", {}), runs.end(store, "run_1", "sleeper", "ok"), flush=True)
"""

KEEPER = """
import sys
from tidegate.store import database, deliveries

store = database.open_database(sys.argv[1])
for n in range(10**9):
    deliveries.keep(store, [deliveries.Delivery("acme", "", f"{sys.argv[2]}-{n}", "t", n, "{}")])
    print(n, flush=True)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[clusters.Cluster]:
    with clusters.postgres() as running:
        yield running


@contextlib.contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program, killed when the block ends."""
    command = [sys.executable, "-c", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()
            assert started.stdout is not None
            started.stdout.read()


def read(started: subprocess.Popen[str], count: int) -> list[str]:
    """So many lines of what a process says."""
    assert started.stdout is not None
    return [started.stdout.readline().strip() for _ in range(count)]


def rest(started: subprocess.Popen[str]) -> list[str]:
    """What it said until it was killed."""
    started.kill()
    assert started.stdout is not None
    return [line.strip() for line in started.stdout.read().split("\n")[:-1]]


def known(store: database.Database) -> None:
    ticks.sync(store, dict.fromkeys(FLOWS, "often"), lambda _, __, after, ___: after + 0.01)


def assert_in_order(store: database.Database, said: list[str]) -> None:
    """What was told has happened; no run of a flow began before the one before it had ended."""
    states = {row["id"]: row["state"] for row in store.execute("SELECT id, state FROM runs")}
    for line in said:
        word, _, run_id = line.partition(" ")
        assert states[run_id] in (("ok",) if word == "ended" else ("ok", "running", "interrupted"))
    began = [line for line in said if line.startswith("began")]
    assert len(began) == len(set(began)), "a run began twice"
    for flow in FLOWS:
        rows = store.execute(
            "SELECT queued_at, finished_at FROM runs WHERE flow = :flow ORDER BY queued_at", {"flow": flow}
        )
        for row, after in itertools.pairwise(rows):
            assert row["finished_at"] is not None
            assert row["finished_at"] <= after["queued_at"]


def test_workers_killed_at_random_moments(url: str, opened: Opened) -> None:
    rng = random.Random(7)
    store = opened()
    known(store)
    said: list[str] = []
    for turn in range(6):
        with process(ENGINE, url, f"a{turn}") as first, process(ENGINE, url, f"b{turn}") as second:
            said += read(first, rng.randint(1, 40))
            first.kill()
            said += read(second, rng.randint(1, 40))
            said += rest(first) + rest(second)
        lost = [run.id for run in runs.listed(store, states=("running",))]
        store.execute("UPDATE runs SET seen_at = seen_at - 100 WHERE state = 'running'")
        assert {run.id for run in runs.interrupt(store, 60.0)} == set(lost)
        assert runs.listed(store, states=("running",)) == []
        queued = runs.listed(store, states=("queued",))
        due = {*ticks.waiting(store), *(run.flow for run in queued), *(t.flow for t in ticks.due(store)[0])}
        assert {
            store.execute("SELECT flow FROM runs WHERE id = :id", {"id": each})[0]["flow"] for each in lost
        } <= due
        assert_in_order(store, said)
    assert len([line for line in said if line.startswith("ended")]) > 20


def test_two_processes_share_one_database_and_both_get_their_turn(url: str, opened: Opened) -> None:
    store = opened()
    known(store)
    with process(ENGINE, url, "a") as first, process(ENGINE, url, "b") as second:
        said = []
        for _ in range(5):
            said += read(first, 6) + read(second, 6)
        store.execute("UPDATE ticks SET next_at = NULL")
        said += rest(first) + rest(second)
    assert_in_order(store, said)
    for worker in ("a", "b"):
        assert store.one(
            "SELECT 1 AS one FROM runs WHERE worker = :worker AND state = 'ok'", {"worker": worker}
        )


def test_what_a_killed_receiver_told_is_kept(url: str, opened: Opened) -> None:
    told: set[str] = set()
    for turn in range(3):
        with process(KEEPER, url, f"{turn}") as keeper:
            lines = read(keeper, 20 + 7 * turn)
            told |= {f"{turn}-{n}" for n in lines + rest(keeper)}
    found = [each.event for each in deliveries.after(opened(), "acme", 0, limit=10**6)]
    assert told <= set(found)
    assert len(found) == len(set(found))


class TestAServerThatGoesAway:
    @pytest.fixture
    def place(self, cluster: clusters.Cluster, request: pytest.FixtureRequest) -> str:
        name = f"d{abs(hash(request.node.name)):x}"
        with psycopg.connect(cluster.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return cluster.url(name)

    def test_restarted_while_two_work_nothing_is_lost_and_nothing_twice(
        self, cluster: clusters.Cluster, place: str
    ) -> None:
        with contextlib.closing(database.open_database(place)) as store:
            known(store)
            with process(ENGINE, place, "a") as first, process(ENGINE, place, "b") as second:
                said = read(first, 10) + read(second, 10)
                for _ in range(3):
                    cluster.stop()
                    cluster.start()
                    said += read(first, 10) + read(second, 10)  # both go on by themselves
                store.execute("UPDATE ticks SET next_at = NULL")
                said += rest(first) + rest(second)
            assert_in_order(store, said)

    @pytest.mark.parametrize("answer", [False, True], ids=["lost", "unanswered"])
    def test_cut_at_any_statement_everything_is_done_once(
        self, cluster: clusters.Cluster, place: str, answer: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """COMMIT too: who lost its answer cannot know whether the work is there, and does it again."""
        monkeypatch.setattr(database, "FIRST_PAUSE", 0.001)
        with contextlib.closing(database.open_database(place)) as watcher:
            piece, cut = 0, clusters.Cut(0)
            while piece < 10 or cut.happened:
                for table in ("ticks", "runs", "deliveries", "leases"):
                    watcher.execute(f"DELETE FROM {table}")
                cut = clusters.Cut(piece, answer=answer)
                port = cluster.port
                with clusters.wire(port, [cut]) as wire:
                    self.work(place.replace(f":{port}/", f":{wire}/"))
                found = watcher.execute("SELECT id, state, attempts, options FROM runs ORDER BY id")
                assert [(row["id"], row["state"], row["attempts"]) for row in found] == [
                    ("run_1", "ok", 1),
                    ("run_2", "interrupted", 1),
                    ("run_3", "cancelled", 0),
                ]
                assert found[2]["options"] == '{"full_refresh":true}'
                [tick] = watcher.execute("SELECT waiting, options, failures, next_at FROM ticks")
                assert (tick["waiting"], tick["options"], tick["failures"]) == ("", "{}", 1)
                assert len(deliveries.after(watcher, "acme", 0)) == 2
                assert [line.text for line in logs.read(watcher, "run_1")[0]] == ["one", "two"]
                piece += 1
        assert piece > 60  # statements are there

    def work(self, url: str) -> None:
        """Two runs of a flow, and a third that is cancelled."""

        def hourly(_: str, __: str, after: float, ___: float) -> float:
            return after + 3600

        with contextlib.closing(database.open_database(url)) as store:
            ticks.sync(store, {"pull:a": "hourly"}, hourly)
            store.execute("UPDATE ticks SET next_at = 1")
            for tick in ticks.due(store)[0]:
                ticks.fire(store, tick, "run_1", hourly)
            runs.begin(store, "run_1", "w")
            logs.write(store, "run_1", "w", 0, [logs.Line(1.0, "info", "one"), logs.Line(2.0, "info", "two")])
            runs.beat(store, "run_1", "w", {"rows": 1})
            deliveries.keep(store, [deliveries.Delivery("acme", "", f"{n}", "t", n, "{}") for n in range(2)])
            assert runs.end(store, "run_1", "w", "ok", then=["pull:a"])
            store.execute("UPDATE ticks SET waiting = ''")
            runs.queue(store, "run_2", "pull:a", "manual", options={"full_refresh": True})
            runs.begin(store, "run_2", "w")
            ticks.fail(store, "pull:a", True)
            assert runs.end(store, "run_2", "w", "interrupted")
            assert ticks.release(store, "pull:a", "run_3") is not None
            runs.cancel(store, "run_3", "me")

    def test_a_process_that_is_stopped_inside_a_transaction_holds_nobody_up(
        self, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database, "HELD", 1)
        monkeypatch.setattr(database, "QUEUED", 1)
        with (
            contextlib.closing(database.open_database(place)) as sleeper,
            contextlib.closing(database.open_database(place)) as other,
        ):
            runs.queue(sleeper, "run_1", "pull:a", "manual")
            turns: list[int] = []
            asleep, wake = threading.Event(), threading.Event()

            def work(session: database.Session) -> None:
                turns.append(1)
                session.execute("UPDATE runs SET error = 'asleep' WHERE id = 'run_1'")
                asleep.set()
                if len(turns) == 1:
                    wake.wait()
                session.execute("UPDATE runs SET error = 'awake' WHERE id = 'run_1'")

            thread = threading.Thread(target=sleeper.transact, args=[work])
            thread.start()
            asleep.wait()
            found = runs.begin(other, "run_1", "w")  # waits until the sleeper's transaction is ended
            assert found is not None
            assert found.error == ""
            wake.set()
            thread.join()
            assert len(turns) == 2  # all of it was done again
            assert runs.get(other, "run_1").error == "awake"

    def test_a_pool_that_gives_every_transaction_another_session(
        self, cluster: clusters.Cluster, place: str
    ) -> None:
        with clusters.pgbouncer(cluster, 2) as port:
            url = place.replace(f":{cluster.port}/", f":{port}/")
            with (
                contextlib.closing(database.open_database(url)) as first,
                contextlib.closing(database.open_database(url)) as second,
            ):
                known(first)
                for n in range(12):  # often enough for a statement to be prepared
                    store = (first, second)[n % 2]
                    run = runs.queue(store, runs.new_id(), "pull:a", "manual")
                    assert runs.begin(store, run.id, "w") is not None
                    assert runs.end(store, run.id, "w", "ok")
                assert len(runs.listed(second)) == 12

    def test_a_server_without_a_free_connection_is_waited_for(
        self, cluster: clusters.Cluster, place: str
    ) -> None:
        with psycopg.connect(cluster.url(), autocommit=True) as admin:
            admin.execute("CREATE ROLE one LOGIN PASSWORD 'secret' CONNECTION LIMIT 1")
            name = place.rpartition("/")[2]
            admin.execute(f"ALTER DATABASE {name} OWNER TO one")
        url = place.replace("postgres:secret", "one:secret")
        with contextlib.closing(database.open_database(url)) as only:
            with pytest.raises(errors.StoreUnreachable, match="has no connection left; raise its max_conn"):
                database.open_database(url, wait=0.1)
            assert only.now() > 0
        database.open_database(url).close()


def test_a_stopped_process_that_wakes_finds_its_run_taken(url: str, opened: Opened) -> None:
    store = opened()
    known(store)
    runs.queue(store, "run_1", "pull:0", "manual")
    with process(SLEEPER, url) as sleeper:
        assert read(sleeper, 1) == ["began"]
        halting.halt(sleeper.pid)
        os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED)
        store.execute("UPDATE runs SET seen_at = seen_at - 100")
        assert [run.id for run in runs.interrupt(store, 60.0)] == ["run_1"]
        assert ticks.release(store, "pull:0", "run_2") is not None
        assert runs.begin(store, "run_2", "other") is not None
        sleeper.send_signal(signal.SIGCONT)
        assert sleeper.stdin is not None
        sleeper.stdin.close()
        assert read(sleeper, 1) == ["None False"]
    assert runs.get(store, "run_1").state == "interrupted"
    assert runs.get(store, "run_2").state == "running"


def test_a_path_is_shared_whatever_the_folder_of_the_process(tmp_path: Path) -> None:
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/t.db")) as store:
        known(store)
        with process(ENGINE, f"sqlite:///{tmp_path}/t.db", "a") as other:
            assert read(other, 1)[0].startswith("began")
        assert runs.listed(store)
