"""kill -9 at random moments of a pull: the next one goes on, and in the end nothing is lost, doubled or read twice.

Fifty kills in five chains; every pull is the real command in a process of its own, only that it commits more
often, so that a kill finds it at any point: starting, making tables, reading, committing, ending. The moments
come from a seed that a failure names; `TIDEGATE_SEED` tries others.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import warm
from pulling import KEY, Stripe, query, tables

from tidegate import catalog, sandbox
from tidegate.pull import backfill, plan, slices
from tidegate.warehouse import duckdb

SEED = int(os.environ.get("TIDEGATE_SEED", "1"))
CHAINS, KILLS = 5, 10
STREAMS = (
    "charges",
    "customers",
    "customer_balance_transactions",
    "customer_tax_ids",
    "invoices",
    "invoice_line_items",
    "payment_methods",
    "setup_attempts",
    "setup_intents",
    "subscriptions",
    "subscription_items",
)
"""Lists cut by time and lists read by cursor, nested lists in the answer and beyond it, one request per parent."""

ALONE = ("charges", "payment_methods", "setup_intents")
"""Of these, rows arrive only with their list's own progress, so every row is read exactly once."""

PER_PARENT = ("customer_balance_transactions", "setup_attempts")
"""Their progress is the last parent that is done, in the order of ids."""

WALKS = plan.plan(catalog.load().streams, STREAMS).walks

PULL = """
import sys
from tidegate import cli
from tidegate.pull import load
load.ROWS, load.SECONDS, load.FIRST = 400, 0.1, 0.1
sys.exit(cli.main())
"""


@dataclass(frozen=True)
class Pulled:
    tables: dict[str, list[str]]
    requests: int
    rows: dict[str, int]


@pytest.fixture(scope="module")
def stripe() -> Iterator[Stripe]:
    with sandbox.process(objects=5_000, latency_ms=8) as url:
        yield Stripe(url)


@pytest.fixture(scope="module")
def undisturbed(stripe: Stripe, tmp_path_factory: pytest.TempPathFactory) -> Pulled:
    """What an undisturbed pull brings."""
    file = tmp_path_factory.mktemp("kill") / "undisturbed.duckdb"
    result = finish(started(stripe, file))
    return Pulled(
        tables(file), result["requests"], {each["stream"]: each["read"] for each in result["streams"]}
    )


def started(stripe: Stripe, file: Path) -> warm.Process:
    """Begin a pull in a process of its own."""
    stripe.control("stats/reset", {})
    words = [
        "pull",
        "--api-key",
        KEY,
        "--api-base",
        stripe.url,
        "--to",
        f"duckdb:///{file}",
        "--rate-limit",
        "off",
    ]
    words += ["--streams", ",".join(STREAMS), "--json"]
    return warm.started(PULL, *words, stdout=True, stderr=True, text=True)


def finish(process: warm.Process) -> dict[str, Any]:
    """Let a pull come to its end, which must be a good one."""
    out, said = process.communicate()
    assert process.returncode == 0, said
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    assert found["status"] == "ok"
    return found


def kill(process: warm.Process, stripe: Stripe, requests: int, delay: float) -> bool:
    """kill -9 some time after so many requests; False when the pull had come to its end before."""
    while process.poll() is None and stripe.requests() < requests:
        time.sleep(0.005)
    time.sleep(delay)
    alive = process.poll() is None
    process.kill()
    _, said = process.communicate()
    assert alive or process.returncode == 0, said
    return alive


@dataclass(frozen=True)
class Standing:
    """What a file holds: rows by stream, how far every walk has come, and whether the pull had ended."""

    rows: dict[str, int] = field(default_factory=dict)
    marks: dict[str, backfill.Progress] = field(default_factory=dict)
    ended: bool = False


def standing(file: Path) -> Standing:
    """Read it from the file, as the next pull would find it."""
    warehouse = duckdb.DuckDB(file)
    try:
        saved = warehouse.state("backfill/")
        there = STREAMS if saved else ()
    finally:
        warehouse.close()
    counts = " union all ".join(
        f"select '{name}' as name, count(*) as n from stripe.{name}" for name in there
    )
    rows = {row["name"]: row["n"] for row in query(file, counts)} if there else {}
    marks = {key.split("/")[2]: backfill.progress(text) for key, text in saved.items()}
    # One that carries nothing says only that its list was not read yet.
    known = {name: mark for name, mark in marks.items() if mark is not None and mark.carries}
    return Standing(rows, known, len(known) == len(WALKS) and all(mark.done for mark in known.values()))


def went_on(before: Standing, now: Standing) -> None:
    """Rows only ever came, and every walk's progress only ever moved on."""
    assert all(now.rows[name] >= count for name, count in before.rows.items())
    for name, old in before.marks.items():
        new = now.marks[name]
        assert (new.since, new.start) == (old.since, old.start), f"{name} began anew"
        assert new.done or not old.done, f"{name} was done"
        if name in PER_PARENT:
            assert new.done or new.after >= old.after, f"{name} went back to an earlier parent"
        for part in new.open:
            assert any(inside(part, earlier) for earlier in old.open), f"{name} would read {part} once more"


def inside(part: slices.Saved, whole: slices.Saved) -> bool:
    """Is all that is unread of a slice also unread of the other?"""
    (low, top), (bottom, highest) = unread(part), unread(whole)
    return low >= bottom and top <= highest


def unread(part: slices.Saved) -> tuple[float, float]:
    low, high, _, edge = part
    top = high if edge is None else edge
    return (-math.inf if low is None else low, math.inf if top is None else top)


def pull_to_the_end(stripe: Stripe, file: Path, before: Standing, undisturbed: Pulled) -> None:
    """Let the pull go on from where the kills left it."""
    result = finish(started(stripe, file))
    streams = {each["stream"]: each for each in result["streams"]}
    for name, mark in before.marks.items():
        assert not mark.done or streams[name]["requests"] == 0, f"{name} was done and is read again"
    for name in ALONE:
        assert streams[name]["read"] == undisturbed.rows[name] - before.rows.get(name, 0), name
    if any(before.rows.values()):
        assert result["requests"] < undisturbed.requests


@pytest.mark.parametrize("chain", range(CHAINS))
def test_a_pull_that_is_killed_again_and_again(
    chain: int, stripe: Stripe, undisturbed: Pulled, tmp_path: Path
) -> None:
    chance = random.Random(f"{SEED} {chain}")
    kills = 0
    while kills < KILLS:
        file = tmp_path / f"{kills}.duckdb"
        now = Standing()
        ended = False
        while kills < KILLS and not ended:
            far = chance.choice((0.02, 0.15, 0.3, 1.0)) * undisturbed.requests
            requests, delay = chance.randint(0, round(far)), chance.uniform(0, 0.2)
            print(f"seed {SEED}, chain {chain}, {file.name}: after {requests} requests and {delay:.3f} s")
            kills += kill(started(stripe, file), stripe, requests, delay)
            before, now = now, standing(file)
            went_on(before, now)
            ended = now.ended
        if not ended:
            pull_to_the_end(stripe, file, now, undisturbed)
        assert tables(file) == undisturbed.tables
