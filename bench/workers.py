"""What more workers bring, and survive: `./dev bench workers [chaos] [--accounts N] [--latency S]`.

One pull of many connected accounts of a Stripe that is some way away, by one worker and by four, each with one
slice in hand, over one Postgres. Nothing is said of what a machine can do: the workers wait for answers.

`chaos`: the same by four workers on two machines, undisturbed and then disturbed: one worker is killed, one sleeps
for twice its lease, Postgres crashes and is started again, and the second machine is cut off for longer than its
lease. Who slept goes on when another one has its slice. The second machine is a network namespace, where this
process may make one, else another folder.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import importlib
import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pull
import report

from tidegate import sandbox
from tidegate.engine import spread

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "tests" / each) for each in ("support", "fakes")]
servers: Any = importlib.import_module("servers")  # of the tests
clusters: Any = importlib.import_module("clusters")
machines: Any = importlib.import_module("machines")
networks: Any = importlib.import_module("networks")

ACCOUNTS, LATENCY = 2000, 0.5
GOAL = 3.5
STREAMS = ("customers", "charges", "products")
PATIENCE = 1200.0
SERVE = (
    "import json, sys; from tidegate import sandbox; "
    "sandbox.main(sys.argv[1], 0, sandbox.Options(**json.loads(sys.argv[2])))"
)


def written(folder: Path, count: int, url: str, warehouse: str, database: str) -> list[Path]:
    """Folders of so many machines."""
    return [
        machines.written(folder / str(n), url, warehouse, database, key=pull.KEY, streams=STREAMS)
        for n in range(count)
    ]


def ended(folder: Path) -> dict[str, Any]:
    """The run, once it has ended well."""
    run: dict[str, Any] = machines.ended(folder, PATIENCE)
    if run["state"] != "ok":
        raise SystemExit(f"the pull ended {run['state']}: {run['error']}")
    return run


def control(url: str, name: str, body: object | None = None) -> Any:
    """Call the sandbox's control API; without a body, ask."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/_sandbox/{name}", data=data)) as answer:
        return json.loads(answer.read())


# How much faster


def pulled(url: str, workers: int) -> tuple[float, dict[str, Any]]:
    """Seconds that a pull of all accounts took, and its totals."""
    with tempfile.TemporaryDirectory() as name:
        warehouse, database = servers.new_postgres(), servers.new_postgres()
        homes = written(Path(name), workers, url, warehouse, database)
        with machines.working(homes):
            machines.command(homes[0], "start", "all")
            run = ended(homes[0])
        return run["finished_at"] - run["started_at"], run["totals"]


def faster(accounts: int, latency: float) -> None:
    """Measure and print."""
    with sandbox.process(objects=4 * accounts, accounts=accounts, keys={pull.KEY: None}) as url:
        control(url, "latency", {"ms": 1000 * latency})
        one, totals = pulled(url, 1)
        four, _ = pulled(url, 4)
    note = f"{accounts:,} accounts, {totals['requests']:,} requests, {latency:g} s each"
    lines = [
        report.Line("one worker", f"{one:.1f} s", "", None, note),
        report.Line("four workers", f"{four:.1f} s", "", None, ""),
        report.Line("how much faster", f"{one / four:.2f} x", f">= {GOAL}", one / four >= GOAL, ""),
    ]
    report.show("Workers", lines)


# Chaos


@dataclass(frozen=True, slots=True)
class Scene:
    """Two machines with a Postgres and a Stripe that both reach; `network` joins them, if there is one."""

    url: str
    cluster: Any
    address: str
    network: Any

    def start(self) -> None:
        """Start Postgres, for both machines."""
        options = (
            f"-p {self.cluster.port} -c listen_addresses={self.address} -c unix_socket_directories='' "
            "-c fsync=off -c max_connections=100"
        )
        data, log = str(self.cluster.folder / "data"), str(self.cluster.folder / "server.log")
        self.cluster.run("pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start")

    def new(self, name: str) -> str:
        """A database that nobody used before."""
        self.ask(self.at("postgres"), f"CREATE DATABASE {name}")
        return self.at(name)

    def at(self, name: str) -> str:
        """How to sign in to a database."""
        found: str = self.cluster.url(name)
        return found.replace("127.0.0.1", self.address)

    def ask(self, url: str, text: str) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        with psycopg.connect(url, autocommit=True) as connection:
            done = connection.execute(text)
            return done.fetchall() if done.description else []


@contextlib.contextmanager
def scene(accounts: int) -> Iterator[Scene]:
    """Everything that the workers need, gone when the block ends."""
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(networks.second())
        address = network.address if network else "127.0.0.1"
        cluster = stack.enter_context(clusters.postgres())
        cluster.stop()
        with (cluster.folder / "data" / "pg_hba.conf").open("a") as file:
            file.write(f"host all all {address}/24 scram-sha-256\n")
        options = {"objects": 4 * accounts, "accounts": accounts, "keys": {pull.KEY: None}}
        served = subprocess.Popen(
            [sys.executable, "-c", SERVE, address, json.dumps(options)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert served.stdout is not None, "it is a pipe"
            found = Scene(served.stdout.readline().partition(" ")[0].strip(), cluster, address, network)
            found.start()
            yield found
        finally:
            served.kill()
            served.communicate()


@dataclass(frozen=True, slots=True)
class Came:
    """What a pull came to; `wrong` are the tables that are not as Stripe is."""

    seconds: float
    requests: int
    runs: int
    slices: int
    retaken: int
    undone: int
    refused: int
    left: int
    wrong: tuple[str, ...]
    rows: int


def shared(scene: Scene, name: str, latency: float, disturb: Callable[..., None] | None) -> Came:
    """A pull by two workers on each machine, that is perhaps disturbed."""
    warehouse, database = scene.new(f"{name}_warehouse"), scene.new(f"{name}_metadata")
    here = [machines.TIDEGATE]
    there = [*(scene.network.there if scene.network else ()), machines.TIDEGATE]
    control(scene.url, "latency", {"ms": 1000 * latency})
    control(scene.url, "stats/reset", {})
    with tempfile.TemporaryDirectory() as folder:
        homes = written(Path(folder), 4, scene.url, warehouse, database)
        with machines.working(homes, [here, here, there, there]) as processes:
            machines.command(homes[0], "start", "all")
            begun = time.monotonic()
            if disturb is not None:
                disturb(scene, database, processes)
            ended(homes[0])
            seconds = time.monotonic() - begun
        refused = sum(len(machines.said(each, "A commit of slice")) for each in homes)
        left = sum(len(machines.said(each, "is not this worker's any more")) for each in homes)
    requests = control(scene.url, "stats")["requests"]
    [(runs,)] = scene.ask(database, "SELECT count(*) FROM runs")
    [(slices, retaken, undone)] = scene.ask(
        database,
        "SELECT count(*), count(*) FILTER (WHERE attempts > 1), count(*) FILTER (WHERE state <> 'done') "
        "FROM slices WHERE run = (SELECT id FROM runs WHERE state = 'ok')",
    )
    wrong, rows = compared(scene, warehouse)
    return Came(seconds, requests, runs, slices, retaken, undone, refused, left, wrong, rows)


def compared(scene: Scene, warehouse: str) -> tuple[tuple[str, ...], int]:
    """The tables whose rows are not those of each account, once each; and how many rows there are."""
    control(scene.url, "latency", {"ms": 0})
    own = control(scene.url, "health")["account"]

    def truth(name: str, account: str) -> list[str]:
        whose = "" if account == own else account
        with urllib.request.urlopen(f"{scene.url}/_sandbox/truth/{name}?account={whose}") as answer:
            return [json.loads(line)["object"]["id"] for line in answer]

    accounts = [own, *truth("accounts", "")]
    wrong, total = [], 0
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for name in STREAMS:
            found = pool.map(truth, [name] * len(accounts), accounts)
            expected = collections.Counter(
                (account, each) for account, ids in zip(accounts, found, strict=True) for each in ids
            )
            rows = scene.ask(
                warehouse, f'SELECT _account_id, id FROM stripe."{name}" WHERE _deleted_at IS NULL'
            )
            total += len(rows)
            if collections.Counter(rows) != expected:
                wrong.append(name)
    return tuple(wrong), total


def trouble(scene: Scene, database: str, processes: list[subprocess.Popen[bytes]]) -> None:
    """Kill one worker, stop another, crash Postgres, cut off a machine; and undo it, but for the first.

    The one that was stopped goes on when another one has its slice.
    """

    def busy() -> dict[int, int]:
        rows = scene.ask(database, "SELECT worker, number FROM slices WHERE state = 'running'")
        return {int(worker.split(":")[1]): number for worker, number in rows}

    started = "SELECT count(DISTINCT worker) FROM slices WHERE state = 'done'"
    machines.until(lambda: scene.ask(database, started) == [(len(processes),)])
    time.sleep(1)  # so that they are in the midst of the next one
    mine = machines.until(lambda: found if len(found := busy()) == len(processes) else None)
    [(leader,)] = scene.ask(database, "SELECT worker FROM runs WHERE state = 'running'")
    lead = int(leader.split(":")[1])
    here, there = ([each for each in some if each.pid != lead] for some in (processes[:2], processes[2:]))
    killed, sleeper = there[0], here[-1]
    killed.kill()
    sleeper.send_signal(signal.SIGSTOP)
    awake = time.monotonic() + 2 * spread.SILENT
    time.sleep(3)
    scene.cluster.stop()
    scene.start()
    time.sleep(3)
    if scene.network:
        scene.network.cut()
        time.sleep(1.4 * spread.SILENT)
        scene.network.mend()
    again = f"SELECT 1 FROM slices WHERE number = {mine[sleeper.pid]} AND attempts > 1"
    machines.until(lambda: time.monotonic() > awake and scene.ask(database, again))
    sleeper.send_signal(signal.SIGCONT)


def chaos(accounts: int, latency: float) -> None:
    """Do it twice and print."""
    with scene(accounts) as made:
        quiet = shared(made, "quiet", latency, None)
        loud = shared(made, "loud", latency, trouble)
    second = "a network namespace" if made.network else "a folder: no network namespace could be made"
    note = f"{accounts:,} accounts, {quiet.requests:,} requests, {latency:g} s each; the second machine is {second}"
    exact = not loud.wrong and not quiet.wrong
    lines = [
        report.Line("undisturbed", f"{quiet.seconds:.1f} s", "", None, note),
        report.Line(
            "disturbed", f"{loud.seconds:.1f} s", "", None, f"in {loud.runs} run{'s'[: loud.runs > 1]}"
        ),
        report.Line("slices", f"{loud.slices}", "", None, f"{loud.retaken} of them taken again"),
        report.Line("slices not done", f"{loud.undone}", "0", loud.undone == 0, ""),
        report.Line("commits refused", f"{loud.refused}", "", None, f"{loud.left} slices left to others"),
        report.Line(
            "tables that differ", f"{len(loud.wrong)}", "0", exact, f"{loud.rows:,} rows by account and id"
        ),
        report.Line(
            "requests beyond", f"{loud.requests - quiet.requests:,}", "", None, "those of the undisturbed"
        ),
    ]
    report.show("Workers that are killed, stopped and cut off", lines)


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=["faster", "chaos"], default="faster")
    parser.add_argument("--accounts", type=int, default=ACCOUNTS)
    parser.add_argument("--latency", type=float, default=LATENCY)
    given = parser.parse_args(words)
    (chaos if given.what == "chaos" else faster)(given.accounts, given.latency)


if __name__ == "__main__":
    main(sys.argv[1:])
