"""What more workers bring: `./dev bench workers [--accounts N] [--latency S]`.

One pull of many connected accounts of a Stripe that is some way away, by one worker and by four, each with one
slice in hand, over one Postgres. Nothing is said of what a machine can do: the workers wait for answers.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pull
import report

from tidegate import sandbox

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "tests" / each) for each in ("support", "fakes")]
servers: Any = importlib.import_module("servers")  # of the tests

ACCOUNTS, LATENCY = 600, 0.3
GOAL = 3.5
TIDEGATE = str(Path(sys.executable).parent / "tidegate")


@contextlib.contextmanager
def machines(folder: Path, count: int) -> Iterator[None]:
    """So many processes, the first of which schedules."""
    started = []
    try:
        for number in range(count):
            words = ["run", "--port", "0"] if number == 0 else ["worker"]
            started.append(
                subprocess.Popen([TIDEGATE, *words, "--at-once", "1"], cwd=folder, stderr=subprocess.DEVNULL)
            )
        time.sleep(5)  # all of them wait for work
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def command(folder: Path, *words: str) -> Any:
    """What a command prints with --json."""
    done = subprocess.run([TIDEGATE, *words, "--json"], cwd=folder, capture_output=True, check=True)
    return json.loads(done.stdout)


def pulled(url: str, workers: int) -> tuple[float, dict[str, Any]]:
    """Seconds that a pull of all accounts took, and its totals."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tidegate.yaml").write_text(
            f'stripe: {{acme: {{api_key: {pull.KEY}, api_base: "{url}", accounts: all, rate_limit: "off"}}}}\n'
            f'warehouses: {{prod: {{type: postgres, url: "{servers.new_postgres()}"}}}}\n'
            "pulls: {all: {from: acme, to: prod, streams: {customers: {}, charges: {}, products: {}}}}\n"
            f'database: "{servers.new_postgres()}"\n'
        )
        with machines(folder, workers):
            command(folder, "start", "all")
            while True:
                run = command(folder, "runs")["runs"][0]
                if run["state"] not in ("queued", "running"):
                    break
                time.sleep(0.5)
        if run["state"] != "ok":
            raise SystemExit(f"the pull ended {run['state']}: {run['error']}")
        return run["finished_at"] - run["started_at"], run["totals"]


def main(words: Sequence[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=ACCOUNTS)
    parser.add_argument("--latency", type=float, default=LATENCY)
    given = parser.parse_args(words)
    with sandbox.process(objects=4 * given.accounts, accounts=given.accounts, keys={pull.KEY: None}) as url:
        body = json.dumps({"seconds": given.latency}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{url}/_sandbox/latency", data=body)).read()
        one, totals = pulled(url, 1)
        four, _ = pulled(url, 4)
    note = f"{given.accounts:,} accounts, {totals['requests']:,} requests, {given.latency:g} s each"
    lines = [
        report.Line("one worker", f"{one:.1f} s", "", None, note),
        report.Line("four workers", f"{four:.1f} s", "", None, ""),
        report.Line("how much faster", f"{one / four:.2f} x", f">= {GOAL}", one / four >= GOAL, ""),
    ]
    report.show("Workers", lines)


if __name__ == "__main__":
    main(sys.argv[1:])
