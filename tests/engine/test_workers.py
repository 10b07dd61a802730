"""Workers on several machines: one is killed, one sleeps, the databases restart; and the tables are exact."""

from __future__ import annotations

import collections
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clusters
import psycopg
import pytest
import servers
from flowing import KEY
from following import Merchant

from tidegate import sandbox
from tidegate.engine import spread
from tidegate.store import database, runs, slices

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
PATIENCE = 240.0
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


def home(folder: Path, url: str, warehouse: str, database: str) -> Path:
    """A machine's folder with the configuration that all of them have."""
    folder.mkdir(exist_ok=True)
    chosen = ", ".join(f"{name}: {{}}" for name in STREAMS)
    (folder / "tidegate.yaml").write_text(
        f'stripe: {{acme: {{api_key: {KEY}, api_base: "{url}", accounts: all, rate_limit: "off"}}}}\n'
        f'warehouses: {{prod: {{type: postgres, url: "{warehouse}"}}}}\n'
        f"pulls: {{all: {{from: acme, to: prod, streams: {{{chosen}}}}}}}\n"
        f'database: "{database}"\n'
    )
    return folder


@contextlib.contextmanager
def machines(homes: list[Path]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """One that schedules and works, and others that work; what they log goes to their homes."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number, folder in enumerate(homes):
            words = ["worker" if number else "run", "--at-once", "1", *(() if number else ("--port", "0"))]
            with (folder / "err").open("ab") as log:
                started.append(subprocess.Popen([TIDEGATE, *words], cwd=folder, stderr=log))
        for folder in homes:  # all of them wait for work
            until(lambda folder=folder: "serving" in said(folder) or "working on" in said(folder))
        yield started
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()


def tidegate(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [TIDEGATE, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def until(true: Any) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < deadline, f"it did not happen: {true.__code__.co_names}"
        time.sleep(0.1)
    return found


def said(folder: Path) -> str:
    return (folder / "err").read_text()


def last(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tidegate(folder, "runs", "--json"))["runs"][0]
    return found


def agrees(platform: Merchant, warehouse: str) -> None:
    """Every row of every account is there, once."""
    with psycopg.connect(warehouse) as connection:
        for name in STREAMS:
            expected = collections.Counter(
                line["object"]["id"]
                for account in everybody(platform)
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


def test_several_machines_share_one_run(platform: Merchant, warehouse: str, tmp_path: Path) -> None:
    url = servers.new_postgres()
    platform.control("latency", {"ms": 200})
    homes = [home(tmp_path / f"m{n}", platform.url, warehouse, url) for n in range(3)]
    with machines(homes) as processes:
        tidegate(homes[0], "start", "all")
        until(lambda: last(homes[0])["state"] not in runs.ALIVE)
        assert last(homes[0])["state"] == "ok", last(homes[0])["error"]
        for process in processes:
            process.terminate()
        assert [process.wait(PATIENCE) for process in processes] == [0, 0, 0]
    platform.control("latency", {"ms": 0})
    agrees(platform, warehouse)
    with psycopg.connect(url) as connection:
        found = connection.execute("select worker, state from slices").fetchall()
        assert {state for _, state in found} == {"done"}
        assert len({worker for worker, _ in found}) > 1
        [(jobs,)] = connection.execute("select count(*) from procrastinate_jobs").fetchall()
        assert jobs == 0
    report = last(homes[0])["totals"]
    assert report["accounts"] == ACCOUNTS + 1
    for folder in homes:
        assert KEY[8:] not in said(folder)


def test_one_is_killed_one_sleeps_and_the_databases_restart(
    platform: Merchant, both: tuple[clusters.Cluster, clusters.Cluster], tmp_path: Path
) -> None:
    """The sleeper wakes up when its slice is another's for long, and can commit nothing."""
    url, warehouse = (each.url() for each in both)
    platform.control("latency", {"ms": 600})
    homes = [home(tmp_path / f"m{n}", platform.url, warehouse, url) for n in range(4)]
    store = database.open_database(url)
    with machines(homes) as processes:
        tidegate(homes[0], "start", "all")
        mine = until(lambda: _workers(store, 4))
        [begun] = runs.listed(store, states=("running",))
        others = [process for process in processes if mine[process.pid] != begun.worker]
        sleeper, killed = others[:2]  # the one that leads goes on
        killed.kill()
        sleeper.send_signal(signal.SIGSTOP)
        for each in both:
            restart(each)
        until(lambda: _retaken(store))
        time.sleep(spread.SILENT)
        sleeper.send_signal(signal.SIGCONT)
        until(lambda: last(homes[0])["state"] not in runs.ALIVE)
        run = last(homes[0])
        assert run["state"] == "ok", (run["error"], [said(f)[-800:] for f in homes])
        assert set(slices.counts(store, run["id"])) == {"done"}
        assert _accounts(store, run["id"]) == sorted(everybody(platform))
    store.close()
    platform.control("latency", {"ms": 0})
    agrees(platform, warehouse)


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
