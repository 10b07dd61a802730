"""A first push at Stripe's limits, and a second with nothing to do: `python bench/push_first.py [--rows N]`.

Rows of a Parquet file become customers of the sandbox, which refuses what is beyond its limits; each push is a
process of its own. The rate is that of the writes alone, from the first to the last, and beside it stands what an
endpoint allows. `--limit` is that of an endpoint (the account has four times as much); `off` shows what one process
can do at all. Afterwards every row must be one customer, and the second push must ask nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import duckdb
import rich.console
import rich.table

from tidegate import config, sandbox
from tidegate.engine import preparing, pushes
from tidegate.push import apply
from tidegate.store import database, runs

ROWS = 5_000
"""Of the usual run, which takes three and a half minutes; 100,000 take 68."""
LIMIT = "25"
GOAL = 0.95
"""Of what the endpoint allows."""
NAME = "people"


def main() -> None:
    """Make the rows, push them twice into a sandbox, show what it took, and count what is there."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=ROWS)
    options.add_argument("--limit", default=LIMIT, help="requests a second of one endpoint, or off")
    options.add_argument("--latency-ms", type=float, default=150.0, help="what Stripe takes for an answer")
    options.add_argument("--database", default="", help="the ledger; a SQLite file by default")
    options.add_argument("--profile", type=Path, help="a file for cProfile's account of the first push")
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.folder:
        print(json.dumps(measured(chosen.folder, chosen.profile)))
        return
    limits = "off" if chosen.limit == "off" else f"{4 * float(chosen.limit):g}/{chosen.limit}"
    with tempfile.TemporaryDirectory() as folder, stripe(limits, chosen.latency_ms) as url:
        write(Path(folder), url, chosen.rows, limits, chosen.database)
        found = []
        for number in (1, 2):
            profile = ["--profile", str(chosen.profile)] if chosen.profile and number == 1 else []
            words = [sys.executable, __file__, "--folder", folder, *profile]
            control(url, "clock", {"advance": 10})  # events can be read by now
            control(url, "stats/reset", {})
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
            asked = control(url, "stats")
            found.append(json.loads(done.stdout.splitlines()[-1]) | {"asked": asked})
        show(found, chosen.limit)
        check(url, chosen.rows)


@contextlib.contextmanager
def stripe(limits: str, latency_ms: float) -> Any:
    """A sandbox with a few customers of its own."""
    with sandbox.process(objects=100, limits=limits, latency_ms=latency_ms, jitter_ms=latency_ms / 3) as url:
        yield url


def write(folder: Path, url: str, rows: int, limits: str, ledger: str) -> None:
    """The rows and the configuration."""
    made = (
        "SELECT i AS id, 'user' || i || '@bench.test' AS email, 'First' || i % 1000 AS first, "
        "'Last' || i AS last, ['free', 'pro', 'team'][1 + i % 3] AS plan, "
        f"CAST(i % 100000 / 100 AS DECIMAL(12, 2)) AS ltv FROM range({rows}) AS t (i)"
    )
    with duckdb.connect() as engine:
        engine.execute(f"COPY ({made}) TO '{folder}/rows.parquet'")
    stored = ledger or f"sqlite:///{folder}/tidegate.db"
    (folder / "tidegate.yaml").write_text(
        f"""
database: "{stored}"
stripe: {{acme: {{api_key: sk_test_sandbox, api_base: "{url}", rate_limit: "{limits}", budget: 1.0}}}}
models: {{{NAME}: {{file: "{folder}/rows.parquet", key: id}}}}
pushes:
  {NAME}:
    {{model: {NAME}, to: acme, object: customer, match: {{email: email}}, fields: {{
      name: {{template: "{{first}} {{last}}"}}, metadata.plan: plan, metadata.ltv: ltv, metadata.id: id}}}}
"""
    )


def measured(folder: Path, profile: Path | None) -> dict[str, float]:
    """One push in this process: its counts and what it took."""
    file = config.load(folder / "tidegate.yaml")
    first, last, shown = 0.0, 0.0, 0.0

    def progress(tally: apply.Tally) -> None:
        nonlocal first, last, shown
        last = time.monotonic()
        first = first or last
        if last - shown > 10:
            shown = last
            rate = tally.created / max(last - first, 0.001)
            print(f"{tally.created:,} created, {rate:.2f}/s", file=sys.stderr, flush=True)

    began = time.monotonic()
    with contextlib.closing(database.open_database(file.database.get_secret_value())) as store:
        going = pushes.run(
            preparing.job(file, NAME),
            store,
            folder / "state",
            runs.new_id(),
            pushes.Wish(write=True),
            progress=progress,
        )
        if profile is None:
            result = asyncio.run(going)
        else:
            import cProfile

            profiler = cProfile.Profile()
            result = profiler.runcall(asyncio.run, going)
            profiler.dump_stats(profile)
    ended = time.monotonic()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "created": result.counts.created,
        "unchanged": result.counts.unchanged,
        "source": result.counts.source,
        "writing": ended - first if first else 0.0,
        "seconds": ended - began,
        "cpu": used.ru_utime + used.ru_stime,
        "rss": used.ru_maxrss / 1024,
    }


def control(url: str, name: str, body: object = None) -> Any:
    """Ask the sandbox's own address."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/_sandbox/{name}", data), timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def show(found: list[dict[str, Any]], limit: str) -> None:
    """What both pushes took, and the goal."""
    table = rich.table.Table(
        "push", "created", "unchanged", "requests", "429", "s", "CPU s", "peak RSS MB", "rows/s"
    )
    for name, each in zip(("first", "second"), found, strict=True):
        rate = each["created"] / each["writing"] if each["writing"] else 0.0
        asked = each["asked"]
        table.add_row(
            name,
            f"{each['created']:,}",
            f"{each['unchanged']:,}",
            f"{asked['requests']:,}",
            f"{sum(asked['rate_limited'].values()):,}",
            f"{each['seconds']:.1f}",
            f"{each['cpu']:.1f}",
            f"{each['rss']:.0f}",
            f"{rate:.2f}" if rate else "",
        )
    rich.console.Console(width=120).print(table)
    if limit != "off":
        share = found[0]["created"] / found[0]["writing"] / float(limit)
        print(f"{share:.1%} of an endpoint's {limit}/s; goal: {GOAL:.0%}, and no request by the second push")


def check(url: str, rows: int) -> None:
    """Raises AssertionError unless every row is one customer."""
    seen = collections.Counter[str]()
    with urllib.request.urlopen(f"{url}/_sandbox/truth/customers", timeout=600) as lines:
        for line in lines:
            seen[json.loads(line)["object"].get("email") or ""] += 1
    ours = {email: times for email, times in seen.items() if email.endswith("@bench.test")}
    assert len(ours) == rows, f"{len(ours):,} of {rows:,} rows are customers."
    assert set(ours.values()) == {1}, "A row is several customers."
    print(f"{rows:,} rows, {rows:,} customers, each once")


if __name__ == "__main__":
    main()
