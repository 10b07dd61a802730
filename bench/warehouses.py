"""Pulls into warehouses over a wire, against their goals, and what each adapter passes: `./dev bench warehouses`.

The sandbox runs in a process of its own, every pull in another, and the server in its own, so that the CPU of the
client and of the server can be told apart.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matrix
import psutil
import pull
import report

from tidegate import sandbox

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "tests" / each) for each in ("support", "fakes")]

ROWS = 100_000
LARGE = 1_000_000
CPU_ROUNDS = 2
CLIENT, SERVER, MEMORY = 4.0, 5.0, 400.0
"""CPU seconds per 100,000 charges, and MB."""


def postgres(_: Path, rows: int) -> list[report.Line]:
    """Charges into a real Postgres: CPU on both sides, a pull in which nothing changed, memory."""
    servers: Any = importlib.import_module("servers")  # of the tests
    server = _postmaster(servers.postgres(), servers.HURRIED)
    lines = []
    with sandbox.process(only=["charges"], objects=ROWS, keys={pull.KEY: None}) as url:
        runs = []
        for _round in range(CPU_ROUNDS):
            target = servers.new_postgres()
            before = _spent(server)
            found = _pulled(url, target)
            runs.append((found, _spent(server) - before))
        before = _spent(server)
        again = _pulled(url, target)
        spent_again = _spent(server) - before
    client = min(found.cpu * 100_000 / found.total for found, _ in runs)
    spent = min(spent * 100_000 / found.total for found, spent in runs)
    best = max(found.rate for found, _ in runs)
    lines += [
        report.Line(
            "CPU of 100,000 charges into Postgres: client",
            f"{client:.2f} CPU-s",
            f"<= {CLIENT:g}",
            client <= CLIENT,
            f"the whole process; {best:,.0f} rows/s",
        ),
        report.Line("the same: server", f"{spent:.2f} CPU-s", f"<= {SERVER:g}", spent <= SERVER),
        report.Line(
            "a second pull, nothing changed",
            f"{again.cpu:.2f} + {spent_again:.2f} CPU-s",
            note=f"{again.requests} requests, {again.seconds:.2f} s",
        ),
    ]
    for count in sorted({ROWS, rows}):
        with sandbox.process(only=["charges"], objects=count, keys={pull.KEY: None}) as url:
            found = _pulled(url, servers.new_postgres())
        megabytes = found.rss / 1e6
        lines.append(
            report.Line(
                f"peak memory, {found.total:,} charges",
                f"{megabytes:,.0f} MB",
                f"<= {MEMORY:g}",
                megabytes <= MEMORY,
                f"{found.seconds:.0f} s, {found.cpu * 100_000 / found.total:.2f} CPU-s per 100,000",
            )
        )
    return lines


def _pulled(url: str, target: str) -> pull.Pulled:
    """Run `tidegate pull` of charges into a warehouse."""
    command = [pull.TIDEGATE, "pull", "--api-key", pull.KEY, "--api-base", url, "--to", target]
    return pull.measured([*command, "--budget", "1", "--streams", "charges", "--json", "--rate-limit", "off"])


def _postmaster(url: str, hurried: Sequence[str]) -> psutil.Process:
    """The server's first process, found by the file in its data folder; it syncs again as servers do."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        for name in hurried:
            connection.execute(f"ALTER SYSTEM RESET {name}")
        connection.execute("SELECT pg_reload_conf()")
        row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None, "A server has a data folder."
    return psutil.Process(int(Path(row[0], "postmaster.pid").read_text().split()[0]))


def _spent(server: psutil.Process) -> float:
    """CPU seconds of a server and of all processes that it has, or had."""
    taken = 0.0
    for process in [server, *server.children(recursive=True)]:
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        taken += used.user + used.system
        if process == server:
            taken += used.children_user + used.children_system
    return taken


def conformance(_: Path, __: int) -> list[report.Line]:
    """Which adapter passes which case."""
    return matrix.matrix()


SECTIONS = {"postgres": ("Postgres", postgres), "matrix": ("Adapters", conformance)}


if __name__ == "__main__":
    report.measure(
        __doc__, SECTIONS, sys.argv[1:], option="--rows", size=LARGE, what="charges of the large memory test"
    )
