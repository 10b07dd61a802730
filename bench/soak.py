"""Whether anything grows that should not: `./dev bench soak [--minutes 30] [--rate 50] [--new 0.04]`.

A business changes all the time: customers, products, coupons and prices come, change and go. `tidegate run`, a
process of its own, follows it for ever; of customers and products Stripe delivers the events, the rest is found by
polling. A second flow runs every ten seconds, so that there are runs to be forgotten. What the metadata database
keeps for weeks it keeps here for a sixth of the time, so that one sees it go; and the events of as much time, at
the most of the usual ten minutes, are looked at again and again.

Every few seconds: memory, open files and threads of the process, sizes of both databases, rows of the metadata.
The slope of the memory is the least squares' of the second half. `--samples FILE` keeps all of it as JSON lines;
with `TIDEGATE_SOAK_TRACE=1` the process says each minute which lines of code hold what they did not hold before.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import functools
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import duckdb
import psutil
import psycopg
import report
import workers

from tidegate import sandbox

MINUTES, RATE = 30.0, 50.0
NEW, FEWEST = 0.04, 200
"""The share of changes that make an object, and how many objects of each kind there are at least."""
GOAL = 20.0
"""Megabytes an hour."""
OBJECTS = 2_000
KEY = "sk_test_soak12345678"
"""What the sandbox does happens in test mode."""
DELIVERED = ("customer", "product")
KINDS = ("customers", "products", "coupons", "prices")
TABLES = ("runs", "run_tables", "run_lines", "deliveries", "positions", "ticks", "alerts", "leases", "shares")
TRACE = "TIDEGATE_SOAK_TRACE"


@dataclass(frozen=True, slots=True)
class Sample:
    """The process and its databases at a moment; sizes in bytes, `live` is what the business has now."""

    at: float
    rss: int
    files: int
    threads: int
    metadata: int
    warehouse: int
    live: int
    made: int
    rows: dict[str, int]


@dataclass
class Business:
    """What the merchant does, and what there is because of it."""

    url: str
    new: float
    """The share of the changes that make an object; half as many delete one."""
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    ids: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    made: int = 0
    done: int = 0
    failed: int = 0

    @property
    def live(self) -> int:
        """Objects that are there."""
        return sum(map(len, self.ids.values()))

    async def live_on(self, rate: float, seconds: float) -> None:
        """So many changes a second, for so long, however slow any of them is."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        headers = {"Authorization": f"Bearer {KEY}"}
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(self.url, headers=headers, connector=connector) as session,
            asyncio.TaskGroup() as group,
        ):
            for number in range(int(rate * seconds)):
                await asyncio.sleep(max(0.0, begun + number / rate - loop.time()))
                group.create_task(self._change(session, number))

    async def _change(self, session: aiohttp.ClientSession, number: int) -> None:
        kind = self.chance.choices(KINDS, (5, 2, 2, 1))[0]
        ids, what = self.ids[kind], self.chance.random()
        if len(ids) < FEWEST or what < self.new or (kind == "prices" and not self.ids["products"]):
            found = await self._ask(session, "POST", f"/v1/{kind}", self._new(kind, number))
            if found:
                ids.append(found["id"])
                self.made += 1
        elif what < 1 - self.new / 2 or kind == "prices":
            some = {"metadata[turn]": str(number)}
            await self._ask(session, "POST", f"/v1/{kind}/{self.chance.choice(ids)}", some)
        else:
            index = self.chance.randrange(len(ids))
            ids[index], ids[-1] = ids[-1], ids[index]
            gone = ids.pop()
            if not await self._ask(session, "DELETE", f"/v1/{kind}/{gone}", {}):
                ids.append(gone)  # a product with prices stays

    def _new(self, kind: str, number: int) -> dict[str, str]:
        if kind == "customers":
            return {"name": f"Person {number}", "email": f"{number}@example.com", "description": "x" * 200}
        if kind == "products":
            return {"name": f"Thing {number}", "description": "y" * 200}
        if kind == "coupons":
            return {"percent_off": "10", "duration": "once", "name": f"Ten {number}"}
        product = self.chance.choice(self.ids["products"]) if self.ids["products"] else ""
        return {"unit_amount": "1000", "currency": "eur", "product": product}

    async def _ask(self, session: aiohttp.ClientSession, method: str, path: str, form: dict[str, str]) -> Any:
        async with session.request(method, path, data=form) as answer:
            found = await answer.json()
            if answer.status == 200:
                self.done += 1
                return found
            self.failed += 1
            return None


def written(folder: Path, url: str, secret: str, to: str) -> tuple[str, str]:
    """The configuration; the addresses of the metadata and of the warehouse."""
    if to == "postgres":
        metadata, warehouse = workers.servers.new_postgres(), workers.servers.new_postgres()
        target = f'{{type: postgres, url: "{warehouse}"}}'
    else:
        metadata, warehouse = f"sqlite:///{folder}/tidegate.db", str(folder / "soak.duckdb")
        target = f"{{type: duckdb, path: {warehouse}}}"
    streams = ", ".join(f"{kind}: {{}}" for kind in KINDS)
    (folder / "tidegate.yaml").write_text(
        f'stripe: {{acme: {{api_key: {KEY}, api_base: "{url}", rate_limit: "off", '
        f"webhook_secret: {secret}}}}}\n"
        f"warehouses: {{live: {target}, small: {{type: duckdb, path: {folder}/small.duckdb}}}}\n"
        "pulls:\n"
        f"  live: {{from: acme, to: live, schedule: continuous, streams: {{{streams}}}}}\n"
        "  small: {from: acme, to: small, schedule: every 10s, streams: {plans: {}}}\n"
        f'database: "{metadata}"\n'
    )
    return metadata, warehouse


def enabled(url: str, port: int) -> str:
    """Have the sandbox deliver some events; the signing secret."""
    types = [f"{each}.{what}" for each in DELIVERED for what in ("created", "updated", "deleted")]
    form = "&".join(
        [f"url=http://127.0.0.1:{port}/webhooks/stripe/acme", *(f"enabled_events[]={each}" for each in types)]
    )
    headers = {"Authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(f"{url}/v1/webhook_endpoints", data=form.encode(), headers=headers)
    with urllib.request.urlopen(request) as answer:
        return str(json.loads(answer.read())["secret"])


@contextlib.contextmanager
def engine(folder: Path, port: int, kept: float) -> Iterator[psutil.Process]:
    """`tidegate run`, which keeps for `kept` seconds what it otherwise keeps for days."""
    words = [sys.executable, __file__, "--serve", str(kept), "run", "--port", str(port), "--log", "text"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, cwd=folder, stderr=log, stdout=log)
        try:
            yield psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def serve(kept: float, words: Sequence[str]) -> None:
    """`tidegate`, in this process."""
    from tidegate import cli
    from tidegate.engine import scheduler
    from tidegate.pull import tail
    from tidegate.store import retention

    retention.clean = functools.partial(retention.clean, kept_runs=kept, kept_deliveries=kept)
    scheduler.PRUNED = kept / 4
    tail.OVERLAP = min(tail.OVERLAP, int(kept))
    if os.environ.get(TRACE):
        threading.Thread(target=trace, daemon=True).start()
    sys.argv = ["tidegate", *words]
    sys.exit(cli.main())


def trace() -> None:
    """Say each minute what is held since the second one."""
    import gc
    import tracemalloc
    from collections import Counter

    time.sleep(60)
    tracemalloc.start(8)
    time.sleep(60)
    gc.collect()
    before, kinds = tracemalloc.take_snapshot(), Counter(type(each).__name__ for each in gc.get_objects())
    while True:
        time.sleep(60)
        gc.collect()
        now = tracemalloc.take_snapshot()
        print("== held since the second minute", file=sys.stderr)
        for each in now.compare_to(before, "traceback")[:12]:
            places = [f"{Path(at.filename).name}:{at.lineno}" for at in reversed(list(each.traceback))]
            print(f"{each.size_diff / 1e3:8.0f} kB {each.count_diff:7} {' < '.join(places)}", file=sys.stderr)
        more = Counter(type(each).__name__ for each in gc.get_objects())
        more.subtract(kinds)
        print("   objects", more.most_common(12), file=sys.stderr, flush=True)


def counted(metadata: str) -> dict[str, int]:
    """The rows of each table of the metadata database."""
    text = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in TABLES)
    return {name: int(count) for name, count in asked(metadata, text)}


def asked(metadata: str, text: str) -> list[tuple[Any, ...]]:
    """What a statement gives on the metadata database."""
    if metadata.startswith("sqlite"):
        address = f"file:{metadata.removeprefix('sqlite:///')}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=30)) as database:
            return database.execute(text).fetchall()
    with psycopg.connect(metadata) as other:
        return other.execute(text.encode()).fetchall()


def size(address: str) -> int:
    """The bytes of a database: the file with its log, or what Postgres says."""
    if address.startswith("postgres"):
        return int(asked(address, "SELECT pg_database_size(current_database())")[0][0])
    path = address.removeprefix("sqlite:///")
    return sum(os.path.getsize(each) for each in (path, f"{path}-wal", f"{path}.wal") if os.path.exists(each))


def sample(process: psutil.Process, business: Business, metadata: str, warehouse: str, at: float) -> Sample:
    """What it is now."""
    return Sample(
        at,
        process.memory_info().rss,
        process.num_fds(),
        process.num_threads(),
        size(metadata),
        size(warehouse),
        business.live,
        business.made,
        counted(metadata),
    )


async def watched(
    process: psutil.Process, business: Business, where: tuple[str, str], rate: float, seconds: float, out: Any
) -> list[Sample]:
    """The samples of a load, one every ten seconds or so."""
    begun, found = time.monotonic(), list[Sample]()
    load = asyncio.create_task(business.live_on(rate, seconds))
    while not load.done():
        await asyncio.wait({load}, timeout=min(10.0, seconds / 30))
        found.append(await asyncio.to_thread(sample, process, business, *where, time.monotonic() - begun))
        if out is not None:
            print(json.dumps(dataclasses.asdict(found[-1])), file=out, flush=True)
    await load
    return found


def slope(pairs: Sequence[tuple[float, float]]) -> float:
    """Least squares: how much the second grows with one of the first."""
    x, y = sum(a for a, _ in pairs) / len(pairs), sum(b for _, b in pairs) / len(pairs)
    over = sum((a - x) * (b - y) for a, b in pairs)
    return over / (sum((a - x) ** 2 for a, _ in pairs) or 1.0)


def beyond(metadata: str, kept: float) -> int:
    """Rows that should have gone: a cleaning and a minute may pass."""
    now = "unixepoch('subsec')" if metadata.startswith("sqlite") else "extract(epoch FROM now())"
    until = f"{now} - {kept * 1.25 + 60}"
    text = (
        f"SELECT (SELECT count(*) FROM runs WHERE finished_at < {until} AND queued_at < "
        "(SELECT max(queued_at) FROM runs AS newer WHERE newer.flow = runs.flow)) + "
        f"(SELECT count(*) FROM deliveries WHERE received_at < {until}) + "
        "(SELECT count(*) FROM run_lines WHERE run NOT IN (SELECT id FROM runs)) + "
        "(SELECT count(*) FROM run_tables WHERE run NOT IN (SELECT id FROM runs))"
    )
    return int(asked(metadata, text)[0][0])


def stored(warehouse: str) -> tuple[int, int]:
    """Rows that live, and all of them, when nobody else has the file."""
    text = " UNION ALL ".join(
        f"SELECT count(*) FILTER (WHERE _deleted_at IS NULL), count(*) FROM stripe.{kind}" for kind in KINDS
    )
    if warehouse.startswith("postgres"):
        rows = asked(warehouse, text)
    else:
        with duckdb.connect(warehouse, read_only=True) as database:
            rows = database.execute(text).fetchall()
    return sum(row[0] for row in rows), sum(row[1] for row in rows)


def there(url: str) -> int:
    """Objects that the sandbox has."""
    total = 0
    for kind in KINDS:
        with urllib.request.urlopen(f"{url}/_sandbox/truth/{kind}") as answer:
            total += sum(1 for _ in answer)
    return total


def lines(found: Sequence[Sample], kept: float, metadata: str) -> list[report.Line]:
    """What the samples say."""
    second = [each for each in found if each.at >= found[-1].at / 2]
    warm = next(each for each in found if each.at >= min(120.0, found[-1].at / 4))
    last = found[-1]
    grown = slope([(each.at / 3600, each.rss / 1e6) for each in second])
    new = slope([(each.at / 3600, float(each.made)) for each in second])
    ways = slope([(each.at / 3600, each.metadata / 1e6) for each in second])
    left = beyond(metadata, kept)
    per = (last.warehouse - warm.warehouse) / max(1, last.made - warm.made)
    rows = ", ".join(f"{name} {last.rows[name]:,}" for name in TABLES if last.rows[name])
    before = ", ".join(f"{name} {second[0].rows[name]:,}" for name in TABLES if second[0].rows[name])
    files, threads = (sorted(getattr(each, name) for each in second) for name in ("files", "threads"))
    return [
        report.Line("memory, warmed up", f"{warm.rss / 1e6:,.1f} MB", note=f"after {warm.at:.0f} s"),
        report.Line("memory, at the end", f"{last.rss / 1e6:,.1f} MB", note=f"after {last.at:.0f} s"),
        report.Line(
            "memory, second half",
            f"{grown:+,.1f} MB/h",
            f"< {GOAL:g}",
            grown < GOAL,
            f"{new:,.0f} rows/h came meanwhile",
        ),
        report.Line("metadata, second half", f"{ways:+,.1f} MB/h", note=f"{last.metadata / 1e6:,.1f} MB"),
        report.Line(
            "metadata rows beyond retention", f"{left}", "0", left == 0, f"all is kept for {kept:.0f} s"
        ),
        report.Line("metadata rows, in the middle", "", note=before),
        report.Line("metadata rows, at the end", "", note=rows),
        report.Line(
            "warehouse", f"{last.warehouse / 1e6:,.1f} MB", note=f"{per:,.0f} bytes more per row that came"
        ),
        report.Line("open files, second half", f"{files[0]} to {files[-1]}"),
        report.Line("threads, second half", f"{threads[0]} to {threads[-1]}"),
    ]


def main(words: Sequence[str]) -> None:
    """Load, watch, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--rate", type=float, default=RATE, help=f"changes a second ({RATE:g})")
    parser.add_argument("--new", type=float, default=NEW, help=f"share of them that make an object ({NEW:g})")
    parser.add_argument("--to", choices=("duckdb", "postgres"), default="duckdb")
    parser.add_argument("--samples", type=Path, help="a file for the samples")
    parser.add_argument("--log", type=Path, help="a file for the log of the process")
    if words[:1] == ["--serve"]:
        serve(float(words[1]), words[2:])
    given = parser.parse_args(words)
    seconds = 60 * given.minutes
    kept = max(30.0, seconds / 6)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        out = None if given.samples is None else stack.enter_context(given.samples.open("w"))
        url = stack.enter_context(sandbox.process(objects=OBJECTS, keys={KEY: None}))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        where = written(folder, url, enabled(url, port), given.to)
        business = Business(url, given.new)
        try:
            with engine(folder, port, kept) as process:
                while not counted_runs(where[0]):
                    time.sleep(0.5)
                found = asyncio.run(watched(process, business, where, given.rate, seconds, out))
                told = lines(found, kept, where[0])
                time.sleep(70)  # what was not delivered is found by then
        finally:
            if given.log is not None:
                given.log.write_bytes((folder / "log").read_bytes())
        live, rows = stored(where[1])
        told += [
            report.Line("changes", f"{business.done:,}", note=f"{business.failed:,} refused"),
            report.Line(
                "rows that live in the warehouse",
                f"{live:,}",
                f"{there(url):,}",
                live == there(url),
                f"{rows:,} with those that were deleted",
            ),
        ]
    report.show(f"{given.minutes:g} minutes, {given.rate:g} changes a second, into {given.to}", told)


def counted_runs(metadata: str) -> int:
    """Runs that there are, once there is a database."""
    with contextlib.suppress(sqlite3.Error, psycopg.Error):
        return counted(metadata)["runs"]
    return 0


if __name__ == "__main__":
    main(sys.argv[1:])
