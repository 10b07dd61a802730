"""kill -9 at random moments of pulls that follow a living business: nothing is lost, and nothing comes back.

Fifty kills in five chains. Between two pulls the business goes on, and the clock may jump: hours, so that lists
without events take their turn and are swept; a month, so that events are lost and everything is listed again. Every
pull is the real command in a process of its own that commits more often. The moments come from a seed that a
failure names; `TIDEGATE_SEED` tries others.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import warm
from pulling import KEY, Stripe, query

from tidegate import sandbox

SEED = int(os.environ.get("TIDEGATE_SEED", "1"))
CHAINS, KILLS = 5, 10
STREAMS = (
    "charges",
    "coupons",
    "customers",
    "customer_balance_transactions",
    "customer_tax_ids",
    "invoice_items",
    "invoices",
    "invoice_line_items",
    "payment_methods",
    "products",
    "radar_value_lists",
    "refunds",
    "subscriptions",
    "subscription_items",
)
"""Rows with and without deletes, nested lists, lists per parent, and lists that no event tells of."""

PULL = """
import sys
from tidegate import cli
from tidegate.pull import load
load.ROWS, load.SECONDS, load.FIRST = 40, 0.02, 0.02
sys.exit(cli.main())
"""


@pytest.fixture(scope="module")
def stripe() -> Iterator[Stripe]:
    with sandbox.process(objects=1_200, latency_ms=6) as url:
        yield Stripe(url)


def started(stripe: Stripe, file: Path) -> warm.Process:
    """Begin a pull in a process of its own."""
    words = ["--api-key", KEY, "--api-base", stripe.url, "--to", f"duckdb:///{file}", "--rate-limit", "off"]
    words += ["--streams", ",".join(STREAMS), "--json"]
    return warm.started(PULL, "pull", *words, stdout=True, stderr=True, text=True)


def finish(process: warm.Process) -> None:
    """Let a pull come to its end, which must be a good one."""
    out, said = process.communicate()
    assert process.returncode == 0, said + out
    assert json.loads(out.splitlines()[-1])["status"] == "ok"


def kill(process: warm.Process, stripe: Stripe, requests: int, delay: float) -> bool:
    """kill -9 some time after so many more requests; False when the pull had come to its end before."""
    goal = stripe.requests() + requests
    while process.poll() is None and stripe.requests() < goal:
        time.sleep(0.005)
    time.sleep(delay)
    alive = process.poll() is None
    process.kill()
    _, said = process.communicate()
    assert alive or process.returncode == 0, said
    return alive


def live(file: Path) -> dict[str, dict[str, str]]:
    """Every stream's live rows by id, without what differs from pull to pull."""
    texts = (
        f"select '{name}' as name, id, t::json as row from (select * exclude (_version, _synced_at{more(name)}) "
        f"from stripe.{name} where _deleted_at is null) t"
        for name in STREAMS
    )
    found: dict[str, dict[str, str]] = {name: {} for name in STREAMS}
    for row in query(file, " union all ".join(texts)):
        found[row["name"]][row["id"]] = row["row"]
    return found


def more(stream: str) -> str:
    """What changes in silence: a customer's next invoice number."""
    return ", next_invoice_sequence" if stream == "customers" else ""


def deleted(file: Path) -> dict[str, set[str]]:
    """The ids of every stream's tombstones."""
    texts = (
        f"select '{name}' as name, id from stripe.{name} where _deleted_at is not null" for name in STREAMS
    )
    found: dict[str, set[str]] = {name: set() for name in STREAMS}
    for row in query(file, " union all ".join(texts)):
        found[row["name"]].add(row["id"])
    return found


def go_on(stripe: Stripe, chance: random.Random) -> float:
    """Let the business live, and time pass; the seconds that the clock jumped."""
    stripe.control(
        "traffic",
        {
            "seed": chance.randrange(1 << 30),
            "steps": chance.choice((5, 20, 60)),
            "tick": chance.choice((0, 0.2, 3)),
            "only_evented": True,
        },
    )
    jump = chance.choice((8, 8, 400, 7_200, 90_000, 31 * 86_400))
    stripe.control("clock", {"advance": jump})
    return float(jump)


@pytest.mark.parametrize("chain", range(CHAINS))
def test_pulls_that_follow_and_are_killed_again_and_again(chain: int, stripe: Stripe, tmp_path: Path) -> None:
    chance = random.Random(f"{SEED} {chain}")
    file = tmp_path / "killed.duckdb"
    finish(started(stripe, file))
    kills = 0
    while kills < KILLS:
        jump = go_on(stripe, chance)
        requests, delay = chance.choice((0, 1, 2, 5, 20, 60)), chance.uniform(0, 0.08)
        print(
            f"seed {SEED}, chain {chain}: +{jump:.0f} s, killed after {requests} requests and {delay:.3f} s"
        )
        kills += kill(started(stripe, file), stripe, requests, delay)
    stripe.control("clock", {"advance": 2 * 86_400})
    finish(started(stripe, file))
    fresh = tmp_path / "fresh.duckdb"
    finish(started(stripe, fresh))

    found, truth, gone = live(file), live(fresh), deleted(file)
    for name in STREAMS:
        assert found[name] == truth[name], name
        removed = {
            line["object"]["id"] for line in stripe.truth(f"{name}?deleted=1") if line.get("deleted_at")
        }
        assert gone[name] <= removed, f"{name}: rows were taken for deleted that are not"
