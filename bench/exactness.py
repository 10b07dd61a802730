"""Is every table exact whatever happens? `./dev bench exactness [--seeds N] [--from SEED] [--verbose]`.

Each seed is a small business and the wishes of one user, living through random traffic, late events, lost
permissions, faults, kills, gaps and pulls in the middle of it all; once quiet has returned, every table must equal
what Stripe has, field by field. A seed is the same interleaving each time: a failure prints how to repeat it, and
as few steps as still go wrong. The machine itself is `tests/support/model.py`.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import multiprocessing
import os
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import report

SUPPORT = Path(__file__).parent.parent / "tests" / "support"
SEEDS = 1_000


@dataclass(frozen=True, slots=True)
class Found:
    """What one seed came to; `seconds` of CPU."""

    seed: int
    wrong: list[str]
    seconds: float
    steps: collections.Counter[str] = field(default_factory=collections.Counter)


def machine() -> Any:
    """The model, which is part of the tests."""
    if str(SUPPORT) not in sys.path:
        sys.path.insert(0, str(SUPPORT))
    return importlib.import_module("model")


def judge(seed: int) -> Found:
    """Live through one seed."""
    model = machine()
    choices = model.chosen(seed)
    steps = model.script(choices)
    begun = time.process_time()
    try:
        wrong = model.outcome(choices, steps)
    except Exception:
        wrong = [f"the case itself ended: {traceback.format_exc()}"]
    counted = collections.Counter(name for name, _ in steps)
    return Found(seed, wrong, time.process_time() - begun, counted)


def explain(found: Found) -> None:
    """Say how to repeat a failure, with as few steps as still go wrong."""
    model = machine()
    choices = model.chosen(found.seed)
    print(f"seed {found.seed}: ./dev bench exactness --from {found.seed} --seeds 1 --verbose")
    print("  " + model.described(choices).replace("\n", "\n  "))
    for sentence in found.wrong:
        print(f"  - {sentence}")
    print("  as few steps as still go wrong:")
    for name, given in model.least(choices, model.script(choices)):
        print(f"    {name} {given}")


def main() -> None:
    """Judge many seeds, several at a time; ends with 1 when a table differed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--from", type=int, default=1, dest="first", metavar="SEED")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--verbose", action="store_true", help="explain failures: needs many runs of the seed"
    )
    given = parser.parse_args()
    begun, failed, spent = time.perf_counter(), [], 0.0
    steps: collections.Counter[str] = collections.Counter()
    seeds = range(given.first, given.first + given.seeds)
    with multiprocessing.get_context("spawn").Pool(
        min(given.workers, given.seeds), maxtasksperchild=50
    ) as pool:
        for done, found in enumerate(pool.imap_unordered(judge, seeds), 1):
            spent += found.seconds
            steps += found.steps
            if found.wrong:
                failed.append(found)
                print(f"seed {found.seed} differs: {found.wrong[0]}", flush=True)
            if done % 100 == 0:
                print(f"{done} seeds, {len(failed)} differ, {time.perf_counter() - begun:.0f} s", flush=True)
    if given.verbose:
        for found in sorted(failed, key=lambda each: each.seed):
            explain(found)
    did = ", ".join(f"{count} {name}" for name, count in steps.most_common())
    report.show(
        "exactness",
        [
            report.Line("seeds judged", f"{given.seeds:,}", f">= {SEEDS:,}", given.seeds >= SEEDS, did),
            report.Line("seeds with a difference", f"{len(failed)}", "0", not failed),
            report.Line("CPU for a seed", f"{spent / given.seeds:.2f} s"),
            report.Line("all of it", f"{time.perf_counter() - begun:.0f} s", note=f"{given.workers} workers"),
        ],
    )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
