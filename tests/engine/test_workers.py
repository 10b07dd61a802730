"""Workers on several machines: one is killed, one sleeps, the databases restart; and the tables are exact.

One account is too much for any of them: the others are pulled, and the run tells of it.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import datetime as dt
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import clusters
import halting
import machines
import procrastinate
import psycopg
import pydantic
import pytest
import servers
from flowing import KEY
from following import Merchant

from tidegate import config, sandbox
from tidegate.engine import flows, spread, workers
from tidegate.engine import place as places
from tidegate.pull import report
from tidegate.store import database, logs, reports, runs, slices
from tidegate.stripe import client

Homes = Callable[[int, str, str], list[Path]]
ACCOUNTS = 150
STREAMS = ("customers", "products", "charges")


@pytest.fixture(scope="module")
def platform() -> Iterator[Merchant]:
    """A platform with connected accounts, some way away."""
    with sandbox.process(objects=4 * ACCOUNTS, accounts=ACCOUNTS) as url:
        yield Merchant(url)


@pytest.fixture
def both() -> Iterator[tuple[clusters.Cluster, clusters.Cluster]]:
    """A server for the metadata, and one for the warehouse."""
    with clusters.postgres() as metadata, clusters.postgres() as warehouse:
        for each in (metadata, warehouse):
            restart(each)
        yield metadata, warehouse


def restart(cluster: clusters.Cluster) -> None:
    """Crash, and start again with room for the connections of all machines."""
    cluster.stop()
    options = (
        f"-p {cluster.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' "
        "-c fsync=off -c max_connections=80"
    )
    data, log = str(cluster.folder / "data"), str(cluster.folder / "server.log")
    cluster.run("pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start")


@pytest.fixture
def warehouse() -> str:
    return servers.new_postgres()


@pytest.fixture
def homes(platform: Merchant, tmp_path: Path) -> Homes:
    """So many machines, with the URLs of a warehouse and of the metadata."""

    def made(count: int, warehouse: str, url: str) -> list[Path]:
        return [
            machines.written(tmp_path / f"m{n}", platform.url, warehouse, url, key=KEY, streams=STREAMS)
            for n in range(count)
        ]

    return made


def agrees(platform: Merchant, warehouse: str, but: str = "") -> None:
    """Every row of every account but one is there, once, and nothing else."""
    with psycopg.connect(warehouse) as connection:
        for name in STREAMS:
            expected = collections.Counter(
                line["object"]["id"]
                for account in everybody(platform)
                if account != but
                for line in truth(platform, name, account)
            )
            rows = connection.execute(f'select id from stripe."{name}" where _deleted_at is null').fetchall()
            assert collections.Counter(row[0] for row in rows) == expected, name


def everybody(platform: Merchant) -> list[str]:
    own = str(platform.control("health")["account"])
    return [own, *platform.ids("accounts")]


def truth(platform: Merchant, name: str, account: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    more: dict[str, Any] = {}
    while True:
        page = platform.ask("GET", f"/v1/{name}", {"limit": 100, **more}, account=account)
        found += [{"object": each} for each in page["data"]]
        if not page["has_more"]:
            return found
        more = {"starting_after": page["data"][-1]["id"]}


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 100, 128, 129, 151, 289, 600, 2001])
def test_accounts_are_cut_into_slices_that_are_small_at_both_ends(count: int) -> None:
    found, rest = list[int](), 0
    for _ in range(count):
        rest += 1
        while size := spread.due(len(found), rest):
            found, rest = [*found, size], rest - size
    assert rest < spread.SLICE + spread.KEPT
    found += [len(last) for last in spread.small(["acct"] * rest)]
    assert sum(found) == count
    assert all(0 < size <= spread.SLICE for size in found)
    ends = spread.FIRST + spread.KEPT // spread.SMALL
    assert all(size <= spread.SMALL for size in (*found[: spread.FIRST], *found[-spread.FIRST :]))
    assert len(found) <= ends + -(-count // spread.SLICE)


@pytest.mark.parametrize(
    ("others", "status"), [({"status": "ok"}, "partial"), ({"status": "failed"}, "failed"), ({}, "failed")]
)
def test_accounts_with_nothing_new_count_as_pulled(others: dict[str, Any], status: str) -> None:
    left_out = report.Outcome("charges", "acct_1", "failed", error="acct_1 was not pulled").as_json()
    parts = [others, {"status": "failed", "streams": [left_out]}]
    found = spread.gathered("run_1", dt.datetime.now(dt.UTC), parts, frozenset())
    assert (found.status, found.end) == (status, None)
    assert [(each.account, each.status) for each in found.outcomes] == [("acct_1", "failed")]


def test_several_machines_share_one_run(platform: Merchant, warehouse: str, homes: Homes) -> None:
    url = servers.new_postgres()
    platform.control("latency", {"ms": 200})
    folders = homes(3, warehouse, url)
    with machines.working(folders) as processes:
        machines.command(folders[0], "start", "all")
        run = machines.ended(folders[0])
        assert run["state"] == "ok", run["error"]
        for process in processes:
            process.terminate()
        assert [process.wait(machines.PATIENCE) for process in processes] == [0, 0, 0]
    platform.control("latency", {"ms": 0})
    agrees(platform, warehouse)
    with psycopg.connect(url) as connection:
        found = connection.execute("select worker, state from slices").fetchall()
        assert {state for _, state in found} == {"done"}
        assert len({worker for worker, _ in found}) > 1
        [(jobs,)] = connection.execute("select count(*) from procrastinate_jobs").fetchall()
        assert jobs == 0
    assert run["totals"]["accounts"] == ACCOUNTS + 1
    assert [machines.said(folder, KEY[8:]) for folder in folders] == [[], [], []]


def test_one_is_killed_one_sleeps_and_the_databases_restart(
    platform: Merchant, both: tuple[clusters.Cluster, clusters.Cluster], homes: Homes
) -> None:
    """The sleeper wakes up when its slice is another's for long, and can commit nothing."""
    url, warehouse = (each.url() for each in both)
    platform.control("latency", {"ms": 600})
    folders = homes(4, warehouse, url)
    store = database.open_database(url)
    with machines.working(folders) as processes:
        machines.command(folders[0], "start", "all")
        mine = machines.until(lambda: _workers(store, 4))
        [begun] = runs.listed(store, states=("running",))
        others = [process for process in processes if mine[process.pid] != begun.worker]
        sleeper, killed = others[:2]  # the one that leads goes on
        killed.kill()
        halting.halt(sleeper.pid)
        for each in both:
            restart(each)
        machines.until(lambda: _retaken(store))
        time.sleep(spread.SILENT)
        sleeper.send_signal(signal.SIGCONT)
        run = machines.ended(folders[0])
        assert run["state"] == "ok", run["error"]
        assert set(slices.counts(store, run["id"])) == {"done"}
        assert _accounts(store, run["id"]) == sorted(everybody(platform))
    store.close()
    platform.control("latency", {"ms": 0})
    agrees(platform, warehouse)


def test_an_account_that_takes_every_worker_with_it_is_left_out_and_the_others_are_pulled(
    platform: Merchant, warehouse: str, homes: Homes, tmp_path: Path
) -> None:
    url, chosen = servers.new_postgres(), tmp_path / "chosen"
    folders = homes(3, warehouse, url)
    doomed = [sys.executable, str(Path(machines.__file__).with_name("doomed.py")), str(chosen)]
    store = database.open_database(url)
    killed = list[int]()
    with machines.working(folders, [doomed] * 3) as processes:
        machines.command(folders[0], "start", "all")

        def over() -> runs.Run | None:
            """The run that ended, while whatever watches over the machines starts again what was killed."""
            for number, process in enumerate(processes):
                if process.poll() is not None:
                    killed.append(process.returncode)
                    processes[number] = machines.start(folders[number], leads=not number, program=doomed)
            newest = runs.listed(store, limit=1)[0]
            return None if newest.alive or newest.state == "interrupted" else newest

        run = machines.until(over)
        poison = chosen.read_text()
        assert set(killed) == {-signal.SIGKILL}
        assert len(killed) >= slices.LOST
        assert run.state == "partial", run.error
        assert (
            f": {poison} was not pulled: {slices.LOST} workers disappeared while they pulled it;" in run.error
        )
        tables = reports.read(store, run.id)
        wrong = [each for each in tables if each["status"] != "ok"]
        assert {each["account"] for each in wrong} == {poison}
        assert {each["stream"] for each in wrong} == set(STREAMS)
        told = [line.text for line in logs.read(store, run.id)[0] if poison in line.text]
        assert any("it is left out of this run" in text for text in told)
    agrees(platform, warehouse, but=poison)

    with machines.working(folders):  # the workers have more memory now
        machines.command(folders[0], "start", "all")
        assert machines.ended(folders[0])["state"] == "ok"
    store.close()
    agrees(platform, warehouse)


@pytest.fixture
def place(tmp_path: Path, platform: Merchant, warehouse: str) -> Iterator[places.Place]:
    """A process that works on a new Postgres."""
    url = servers.new_postgres()
    folder = machines.written(tmp_path / "m", platform.url, warehouse, url, key=KEY, streams=STREAMS)
    with contextlib.closing(database.open_database(url)) as store:
        yield places.Place(config.load(folder / "tidegate.yaml"), store)


def test_a_run_that_was_deferred_twice_is_done_once(
    place: places.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who schedules may have seen it queued just before a worker began it, and defers it once more."""
    job = workers.application(place).tasks["run"]
    queued = runs.queue(place.store, runs.new_id(), "pull:all", "manual")
    done: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def perform(_: places.Place, begun: runs.Run) -> None:
            done.append(begun.id)
            if len(done) == 1:  # meanwhile, its second job comes
                asyncio.run_coroutine_threadsafe(job(run_id=begun.id), loop).result()

        monkeypatch.setattr(workers, "_alone", perform)
        await job(run_id=queued.id)

    asyncio.run(main())
    assert done == [queued.id]


def test_what_has_a_job_is_given_no_other_and_none_is_tried(place: places.Place) -> None:
    workers.prepare(place)
    store, conninfo = place.store, place.file.database.get_secret_value()
    spread_one = runs.queue(store, runs.new_id(), "pull:all", "manual")
    assert runs.begin(store, spread_one.id, "w") is not None
    for number in range(5):
        slices.add(store, spread_one.id, number, [f"acct_{number}"])
    runs.queue(store, runs.new_id(), "pull:other", "manual")
    with procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=conninfo)).open() as app:
        assert workers.defer(app, place) == 6
        [made] = store.execute("SELECT last_value AS jobs FROM procrastinate_jobs_id_seq")
        assert workers.defer(app, place) == 0
        assert store.execute("SELECT last_value AS jobs FROM procrastinate_jobs_id_seq") == [made]
        store.execute("DELETE FROM procrastinate_jobs WHERE queueing_lock LIKE 'slice/%/3'")  # it was done
        assert workers.defer(app, place) == 1


def _workers(store: database.Database, least: int) -> dict[int, str]:
    """The processes that have a slice in hand, if there are so many."""
    rows = store.execute("SELECT worker FROM slices WHERE state = 'running'")
    found = {int(row["worker"].split(":")[1]): row["worker"] for row in rows}
    return found if len(found) >= least else {}


def _accounts(store: database.Database, run_id: str) -> list[str]:
    """The accounts of all slices."""
    rows = store.execute("SELECT accounts FROM slices WHERE run = :run", {"run": run_id})
    return sorted(account for row in rows for account in row["accounts"].split())


def _retaken(store: database.Database) -> bool:
    """Was a slice taken by a second worker?"""
    return bool(store.execute("SELECT 1 AS one FROM slices WHERE attempts > 1"))


def test_who_has_another_configuration_takes_no_part(
    placed: Callable[[str], places.Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or its part would be read with another key, or written to another place."""
    pull = "  all: {{from: acme, to: one, streams: {{customers: {}}}}}"
    began = placed(pull.format("{}"))
    queued = runs.queue(began.store, runs.new_id(), "pull:all", "manual")
    begun = runs.begin(began.store, queued.id, "leader")
    assert begun is not None
    runs.claimed(began.store, begun.id, "leader", {"digest": flows.digest(began.file, "pull:all")})
    slices.add(began.store, begun.id, 0, ["acct_1"])
    taken: list[str] = []

    async def part(place: places.Place, *_: Any) -> report.Result:
        taken.append(place.worker)
        now = dt.datetime.now(dt.UTC)
        return report.Result(begun.id, now, now, "ok", (), client.Tally(), None)

    monkeypatch.setattr(spread, "_part", part)
    other = placed(pull.format("{hash: [email]}"))
    for _ in range(2):
        assert not asyncio.run(spread.once(other, begun.id))
    assert slices.counts(began.store, begun.id) == {"queued": 1}
    [line], _ = logs.read(began.store, begun.id)
    assert line.text == (
        f"{other.worker} has another configuration of pull:all than this run began with, and takes no part."
    )
    same = placed(pull.format("{}"))
    assert asyncio.run(spread.once(same, begun.id))
    assert taken == [same.worker]


@pytest.mark.parametrize(
    ("more", "is_same"),
    [
        ("", True),
        (", schedule: every 1h", True),
        (", lookback: 2d", False),
        (", streams: {customers: {exclude: [phone]}}", False),
    ],
)
def test_a_definition_in_short_is_of_what_is_read_and_written(
    placed: Callable[[str], places.Place], more: str, is_same: bool
) -> None:
    one, two = (placed(f"  all: {{from: acme, to: one{each}}}").file for each in ("", more))
    assert (flows.digest(one, "pull:all") == flows.digest(two, "pull:all")) is is_same
    connection = one.stripe["acme"].model_copy(update={"api_key": pydantic.SecretStr("sk_test_another")})
    rolled = one.model_copy(update={"stripe": {"acme": connection}})
    assert flows.digest(rolled, "pull:all") != flows.digest(one, "pull:all")
