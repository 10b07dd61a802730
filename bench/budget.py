"""One rate budget for several processes against a strict server: `./dev bench budget [seconds] [--store STORE]`.

The sandbox counts over a sliding second, 100 requests for the account and 25 for each endpoint, and answers 429
beyond. Processes that want more than there is share one account, through a SQLite file and through Postgres.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import importlib
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import report

from tidegate import catalog, sandbox
from tidegate.pull import scope
from tidegate.store import database
from tidegate.stripe import pace, purse

for room in ("support", "fakes"):
    sys.path.append(str(Path(__file__).parents[1] / "tests" / room))

KEY = "sk_live_bench_budget_0001"
MANY = ("customers", "charges", "invoices", "refunds", "events", "payouts", "products", "prices")
WALKS = 12
"""Requests that each process has under way for each endpoint: more than it is ever allowed."""
WARM = 4.0
"""Seconds until all have joined."""
_all: list[threading.Barrier] = []
GOAL_SUM, GOAL_APART, GOAL_ALONE, GOAL_EXCHANGES = 0.95, 0.10, 0.98, 2.0
GOAL_REFUSED, GOAL_REFUSED_ALL = 0.001, 0.005
"""Of the requests; the second at budget 1, where nothing is left for those that arrive unevenly."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a process does, and in which part of the time it counts."""

    base: str
    store: str
    budget: float
    paths: tuple[str, ...]
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Done:
    """What it got."""

    served: int
    limited: int
    exchanges: float
    """Transactions per second."""


def work(job: Job) -> Done:
    """Ask as often as the pace lets us, and count between the two times."""
    store = database.open_database(job.store, wait=5.0) if job.store else None
    shared = purse.Purse(store) if store is not None else None
    source = scope.Source(KEY, api_base=job.base, account_id="acct_bench", budget=job.budget, purse=shared)
    counts: collections.Counter[str] = collections.Counter()

    async def main() -> None:
        async with scope.connect(source) as stripe:

            async def walk(path: str) -> None:
                while time.monotonic() < job.until:
                    await stripe.get(f"/v1/{path}", {"limit": 1})
                    counts["served"] += job.since <= time.monotonic() < job.until

            async def edges() -> None:
                await asyncio.sleep(max(0.0, job.since - time.monotonic()))
                before = stripe.tally.rate_limited, shared.exchanges if shared else 0
                await asyncio.sleep(max(0.0, job.until - time.monotonic()))
                counts["limited"] = stripe.tally.rate_limited - before[0]
                counts["exchanges"] = (shared.exchanges if shared else 0) - before[1]

            await asyncio.gather(edges(), *(walk(path) for path in job.paths for _ in range(WALKS)))

    asyncio.run(main())
    if shared is not None and store is not None:
        shared.close()
        store.close()
    return Done(counts["served"], counts["limited"], counts["exchanges"] / (job.until - job.since))


def together(
    base: str, store: str, seconds: float, processes: int, budget: float, paths: tuple[str, ...]
) -> list[Done]:
    """So many processes at the same time."""
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(processes, initializer=begin, initargs=[spawn.Barrier(processes)]) as pool:
        pool.map(meet, [None] * processes, chunksize=1)  # all have started
        since = time.monotonic() + WARM
        job = Job(base, store, budget, paths, since, since + seconds)
        return pool.map(work, [job] * processes, chunksize=1)


def begin(barrier: threading.Barrier) -> None:
    """In each process, before its first job."""
    _all.append(barrier)


def meet(_: None) -> None:
    """Wait for the other processes."""
    _all[0].wait()


@contextlib.contextmanager
def stores(wanted: str) -> Iterator[tuple[str, str]]:
    """A name, and the URL of an empty metadata database."""
    if wanted == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield "SQLite", f"sqlite:///{folder}/tidegate.db"
    else:
        servers: Any = importlib.import_module("servers")  # of the tests
        yield "Postgres", servers.new_postgres()


def shared(
    base: str, store: str, seconds: float, budget: float, paths: tuple[str, ...], most: float
) -> list[report.Line]:
    """Four processes that want all there is."""
    done = together(base, store, seconds, 4, budget, paths)
    total, limited = sum(each.served for each in done), sum(each.limited for each in done)
    rate, allowed = total / seconds, most * min(budget, 1 / 1.01)
    apart = max(abs(each.served - total / 4) for each in done) / (total / 4)
    often = max(each.exchanges for each in done)
    refused = GOAL_REFUSED if budget < 1 else GOAL_REFUSED_ALL
    what = f"4 processes, {len(paths)} endpoint{'s' if len(paths) > 1 else ''}, budget {budget:g}"
    each = ", ".join(f"{one.served / seconds:.1f}" for one in done)
    return [
        report.Line(
            f"{what}: requests/s",
            f"{rate:.1f} of {allowed:.1f} = {rate / allowed:.1%}",
            f">= {GOAL_SUM:.0%}",
            rate >= GOAL_SUM * allowed,
            each,
        ),
        report.Line(
            "  refused (429)",
            f"{limited} = {limited / total:.2%}",
            f"<= {refused:.1%}",
            limited <= refused * total,
        ),
        report.Line(
            "  apart from an equal part", f"{apart:.1%}", f"<= {GOAL_APART:.0%}", apart <= GOAL_APART
        ),
        report.Line(
            "  transactions/s of a process",
            f"{often:.2f}",
            f"<= {GOAL_EXCHANGES:g}",
            often <= GOAL_EXCHANGES,
            "4 statements each",
        ),
    ]


def alone(base: str, store: str, seconds: float) -> list[report.Line]:
    """One process, with and without a purse."""
    plain = together(base, "", seconds, 1, 0.8, MANY)[0].served / seconds
    [done] = together(base, store, seconds, 1, 0.8, MANY)
    rate = done.served / seconds
    return [
        report.Line(
            "1 process: requests/s",
            f"{rate:.1f} of {plain:.1f} = {rate / plain:.1%}",
            f">= {GOAL_ALONE:.0%}",
            rate >= GOAL_ALONE * plain,
            "of one without a purse",
        ),
        report.Line(
            "  transactions/s",
            f"{done.exchanges:.2f}",
            f"<= {GOAL_EXCHANGES:g}",
            done.exchanges <= GOAL_EXCHANGES,
        ),
    ]


def abreast(url: str, seconds: float, count: int = 64) -> list[report.Line]:
    """One process that reads many accounts side by side; each answer takes 150 ms."""
    store = database.open_database(url, wait=5.0)
    own = purse.Purse(store)
    sent: collections.Counter[int] = collections.Counter()

    async def walk(number: int, pacer: pace.Pace, path: str, until: float) -> None:
        while time.monotonic() < until:
            async with pacer.slot(f"GET /v1/{path}"):
                await asyncio.sleep(0.15)
                sent[number] += 1

    async def run() -> float:
        before, until = own.exchanges, time.monotonic() + seconds
        paces = [own.pace(f"bench/live/acct_{number}", pace.limits_for("live")) for number in range(count)]
        await asyncio.gather(
            *(walk(number, each, path, until) for number, each in enumerate(paces) for path in MANY[:4])
        )
        return (own.exchanges - before) / seconds

    cpu = time.process_time()
    often = asyncio.run(run())
    cpu = time.process_time() - cpu
    own.close()
    store.close()
    return [
        report.Line(
            f"1 process, {count} accounts, 4 endpoints each: transactions/s",
            f"{often:.2f}",
            f"<= {GOAL_EXCHANGES:g}",
            often <= GOAL_EXCHANGES,
            f"{sum(sent.values()) / seconds:.0f} requests/s, {1e6 * cpu / sum(sent.values()):.0f} us CPU each",
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seconds", nargs="?", type=float, default=20.0, help="how long each is measured")
    parser.add_argument("--store", choices=("sqlite", "postgres"), action="append")
    given = parser.parse_args()
    catalog.load()
    with sandbox.process(objects=2_000, limits="live", keys={KEY: None}) as base:
        for name in given.store or ("sqlite", "postgres"):
            with stores(name) as (title, store):
                lines = alone(base, store, given.seconds) + abreast(store, given.seconds)
                lines += shared(base, store, given.seconds, 0.8, MANY, 100.0)
                lines += shared(base, store, given.seconds, 0.8, MANY[:1], 25.0)
                lines += shared(base, store, given.seconds, 1.0, MANY, 100.0)
                report.show(f"One budget through {title}", lines)


if __name__ == "__main__":
    main()
