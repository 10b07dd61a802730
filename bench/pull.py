"""A pull into DuckDB against its goals: `./dev bench pull [limits] [several] [requests] [cpu] [memory]`.

The sandbox runs in a process of its own, and every pull in another, so that time, CPU and memory are the pull's
alone. Rates are rows per second from the first request to the last commit, at budget 1. The sandbox counts rate
limits strictly: of no second it lets through more than the limit, so more than 100 % cannot be.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import report

from tidegate import catalog, sandbox
from tidegate.pull import plan

TIDEGATE = str(Path(sys.executable).with_name("tidegate"))
KEY = "sk_live_bench"
"""A live key, so that the client takes the live limits for granted."""
LATENCY_MS = 150
ROWS = 100_000
ONE_LIST, ACCOUNT = 2_500, 10_000
"""Rows a second that Stripe's limits allow: 25 and 100 requests of 100."""
SEVERAL = {
    "charges": 120_000,
    "payment_intents": 120_000,
    "invoice_items": 120_000,
    "refunds": 120_000,
    "payouts": 120_000,
    "disputes": 120_000,
}
BUSINESS = 200_000
LARGE = 1_000_000
CPU_ROUNDS = 2
INSTALLED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""An installed package keeps its bytecode; a checkout that may not would compile itself in every process."""
HELP_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Pulled:
    """What `tidegate pull` took: `seconds` of the pull alone, `cpu` and `rss` (bytes) of the whole process."""

    seconds: float
    requests: int
    rate_limited: int
    rows: dict[str, int]
    cpu: float
    rss: int

    @property
    def total(self) -> int:
        """Rows of all streams."""
        return sum(self.rows.values())

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.total / self.seconds


def pulled(url: str, file: Path, streams: Sequence[str] = ("*",), *, limit: str | None = None) -> Pulled:
    """Run `tidegate pull` and measure its process; `limit` as in `--rate-limit`."""
    command = [
        TIDEGATE,
        "pull",
        "--api-key",
        KEY,
        "--api-base",
        url,
        "--to",
        f"duckdb:///{file}",
        "--budget",
        "1",
    ]
    command += ["--streams", ",".join(streams), "--json", *(["--rate-limit", limit] if limit else [])]
    return measured(command)


def measured(command: Sequence[str]) -> Pulled:
    """Run a `tidegate pull ... --json` and measure its process."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, env=INSTALLED)
        assert process.stdout is not None
        with process.stdout as out:
            shown = out.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{said.read()[-2000:]}tidegate pull ended with {process.returncode}.")
    found = json.loads(shown.splitlines()[-1])
    return Pulled(
        found["duration_s"],
        found["requests"],
        found["rate_limited"],
        {each["stream"]: each["read"] for each in found["streams"]},
        used.ru_utime + used.ru_stime,
        used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    )


def stats(url: str) -> dict[str, Any]:
    """What the sandbox counted."""
    with urllib.request.urlopen(f"{url}/_sandbox/stats") as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def limits(folder: Path, _: int) -> list[report.Line]:
    """One stream at its endpoint's limit, for three distributions over time."""
    lines = []
    for shape, meaning in (
        ("even", "evenly spread"),
        ("skewed", "half of them in 1 % of the time"),
        ("bursts", "50 a second, then nothing"),
    ):
        with sandbox.process(
            only=["charges"],
            objects=ROWS,
            shape=shape,
            limits="live",
            latency_ms=LATENCY_MS,
            keys={KEY: None},
        ) as url:
            found = pulled(url, folder / f"{shape}.duckdb", ["charges"])
        lines += _rate(f"one stream, {meaning}", found, ONE_LIST)
    return lines


def several(folder: Path, _: int) -> list[report.Line]:
    """Several streams at the account's limit."""
    with sandbox.process(counts=SEVERAL, limits="live", latency_ms=LATENCY_MS, keys={KEY: None}) as url:
        found = pulled(url, folder / "several.duckdb", list(SEVERAL))
    return _rate(f"{len(SEVERAL)} streams", found, ACCOUNT)


def _rate(what: str, found: Pulled, most: int) -> list[report.Line]:
    share = found.rate / most
    allowed = 1.05 * found.total / 100 + len(found.rows)
    seen = f"{found.total:,} rows in {found.seconds:.1f} s, {found.rate:,.0f} a second, 429: {found.rate_limited}"
    return [
        report.Line(f"{what}: share of {most:,} rows/s", f"{share:.1%}", ">= 95 %", share >= 0.95, seen),
        _requests(f"{what}: requests", found.requests, allowed),
    ]


def _requests(what: str, requests: int, allowed: float, note: str = "") -> report.Line:
    return report.Line(what, f"{requests:,}", f"<= {allowed:,.0f}", requests <= allowed, note)


def requests(folder: Path, _: int) -> list[report.Line]:
    """A whole business: requests of the first pull, and of a second one after nothing changed."""
    file = folder / "business.duckdb"
    with sandbox.process(objects=BUSINESS, keys={KEY: None}) as url:
        first = pulled(url, file, limit="off")
        asked: dict[str, int] = stats(url)["endpoints"]
        again = pulled(url, file, limit="off")
    known = catalog.load().streams
    wanted = plan.plan(known, ["*"])
    riders = {name for walk in wanted.walks for name in _below(walk.node)}
    rest = sum(
        asked.get(f"GET {url}", 0) for url in {url for walk in wanted.walks for url in _nested(walk.node)}
    )
    parents = sum(_parents(file, walk.node.origin) for walk in wanted.walks if walk.node.origin.parents)
    listed = sum(count for name, count in first.rows.items() if name not in riders)
    allowed = 1.05 * listed / 100 + len(first.rows) + parents
    return [
        _requests(
            "a whole business: requests",
            first.requests - rest,
            allowed,
            f"{listed:,} listed rows, {len(first.rows)} streams, {parents:,} parents to ask one by one",
        ),
        report.Line(
            "beside them, for the rest of nested lists",
            f"{rest:,}",
            note=f"elements 11 and on; nested lists bring {first.total - listed:,} rows in all",
        ),
        report.Line(
            "all of it",
            f"{first.requests:,}",
            note=f"{first.total:,} rows in {first.seconds:.1f} s without limits, {first.cpu:.1f} CPU-s",
        ),
        report.Line(
            "a second pull, nothing changed",
            f"{again.requests:,}",
            "<= 2",
            again.requests <= 2,
        ),
    ]


def _below(node: plan.Node) -> list[str]:
    """The streams that ride along in the rows of a list."""
    return [name for branch in node.branches for child in branch.nodes for name in child.streams()]


def _nested(node: plan.Node) -> list[str]:
    """The lists that go on where a nested list was cut, as the sandbox counts them."""
    found = [branch.nested.url.partition("?")[0] for branch in node.branches]
    return found + [url for branch in node.branches for child in branch.nodes for url in _nested(child)]


def _parents(file: Path, origin: catalog.Origin) -> int:
    """How often a list per parent has to be asked at the least."""
    from tidegate.warehouse import base, duckdb

    product = 1
    groups: dict[str, list[catalog.Parent]] = {}
    for parent in origin.parents:
        groups.setdefault(parent.stream, []).append(parent)
    for stream, wanted in groups.items():
        some = (
            " and ".join(f"{base.quoted(each.where)} is not null" for each in wanted if each.where) or "true"
        )
        query = f"select count(distinct id) as n from stripe.{base.quoted(stream)} where {some}"
        (batch,) = duckdb.DuckDB(file).read(query)
        product *= int(batch.column(0)[0].as_py())
    return product


def cpu(folder: Path, _: int) -> list[report.Line]:
    """CPU of a pull of charges without limits; the sandbox must be faster."""
    with sandbox.process(only=["charges"], objects=ROWS, keys={KEY: None}) as url:
        runs = [pulled(url, folder / f"cpu{i}.duckdb", ["charges"], limit="off") for i in range(CPU_ROUNDS)]
        nothing = pulled(url, folder / "nothing.duckdb", ["payouts"], limit="off")
    best = min(runs, key=lambda run: run.cpu)
    took = best.cpu * 100_000 / best.total
    served = _served()
    pages = best.total / 100 / best.seconds
    quick = _help()
    return [
        report.Line(
            "CPU of 100,000 charges into DuckDB",
            f"{took:.2f} CPU-s",
            "<= 5",
            took <= 5,
            f"the whole process, {nothing.cpu:.2f} of it to start and to end; {best.rate:,.0f} rows/s",
        ),
        report.Line(
            "pages a second of the sandbox alone",
            f"{served:,.0f}",
            ">= 800",
            served >= 800,
            f"this pull took {pages:,.0f}",
        ),
        report.Line("tidegate --help, median", f"{quick * 1000:.0f} ms", "<= 200", quick <= 0.2),
    ]


def _served() -> float:
    """Pages of 100 charges a second, from the benchmark of the sandbox."""
    command = [sys.executable, str(Path(__file__).with_name("sandbox.py")), "--seconds", "2"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return max(float(found.replace(",", "")) for found in re.findall(r"([\d,]+) pages/s", shown))


def _help() -> float:
    """Seconds until `tidegate --help` has ended, the median of several."""
    took = []
    for _ in range(HELP_ROUNDS):
        begin = time.perf_counter()
        subprocess.run([TIDEGATE, "--help"], stdout=subprocess.DEVNULL, check=True)
        took.append(time.perf_counter() - begin)
    return statistics.median(took)


def memory(folder: Path, rows: int) -> list[report.Line]:
    """Peak memory of small and large pulls alike."""
    lines = []
    for count in (ROWS, rows):
        with sandbox.process(only=["charges"], objects=count, keys={KEY: None}) as url:
            found = pulled(url, folder / "memory.duckdb", ["charges"], limit="off")
        size = (folder / "memory.duckdb").stat().st_size
        (folder / "memory.duckdb").unlink()
        megabytes = found.rss / 1e6
        each = found.cpu * 100_000 / found.total
        note = f"{found.seconds:.0f} s, {each:.1f} CPU-s per 100,000, file {size / 1e6:,.0f} MB"
        lines.append(
            report.Line(
                f"peak memory, {found.total:,} charges",
                f"{megabytes:,.0f} MB",
                "<= 400",
                megabytes <= 400,
                note,
            )
        )
    return lines


SECTIONS = {
    "limits": ("One stream at 25 requests/s, 150 ms", limits),
    "several": ("Several streams at 100 requests/s, 150 ms", several),
    "requests": ("Requests", requests),
    "cpu": ("CPU", cpu),
    "memory": ("Memory", memory),
}


if __name__ == "__main__":
    report.measure(
        __doc__, SECTIONS, sys.argv[1:], option="--rows", size=LARGE, what="charges of the large memory test"
    )
