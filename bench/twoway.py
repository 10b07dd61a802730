"""Does a pull and a push on the same field ever loop? `./dev bench twoway [--cycles N] [--seed S] [--verbose]`.

Names of customers are edited at random: at Stripe, in the warehouse, on both sides, before a pull and between it
and the push. Each cycle is a true one, of a pull into DuckDB, a plan and its writes to the sandbox, and after each
one Stripe, the ledger and the inbox must be what the owner's rule says, told by other code. Every 25 cycles nobody
edits any more: a few cycles later nothing may be written, and all in all no more than was edited. Then a model that
never settles must be stopped. What it plays is `tests/support/both_ways.py`.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import report

from tidegate import sandbox

SUPPORT = Path(__file__).parent.parent / "tests" / "support"
CYCLES, BETWEEN = 1_000, 25
CUSTOMERS = 6
MOST = 15
"""Writes of one row that goes round, all in all."""


def support(name: str) -> Any:
    """A part of the tests."""
    if str(SUPPORT) not in sys.path:
        sys.path.insert(0, str(SUPPORT))
    return importlib.import_module(name)


def lively(folder: Path, number: int, seed: int, verbose: bool) -> list[report.Line]:
    """So many cycles of a flow that comes to rest."""
    both, following = support("both_ways"), support("following")
    longest, rests, begun, spent = 0, 0, time.perf_counter(), time.process_time()
    with sandbox.process(objects=20) as url:
        cycles = both.Cycles(both.Flow(folder, following.Merchant(url)), random.Random(seed))
        cycles.begin(CUSTOMERS)
        while cycles.count < number:
            for _ in range(BETWEEN):
                cycles.cycle()
            longest, rests = max(longest, cycles.rest()), rests + 1
            if verbose:
                print(f"{cycles.count} cycles, {cycles.edits} edits, {cycles.writes} writes", flush=True)
        took, cpu = (time.perf_counter() - begun) / cycles.count, (time.process_time() - spent) / cycles.count
        return [
            report.Line(
                "cycles of pull, plan and write", f"{cycles.count:,}", f"{CYCLES:,}", cycles.count >= CYCLES
            ),
            report.Line("edits and decisions", f"{cycles.edits:,}"),
            report.Line(
                "writes", f"{cycles.writes:,}", f"<= {cycles.edits:,}", cycles.writes <= cycles.edits
            ),
            report.Line(
                "cycles with a write until it was quiet", f"{longest} at most", note=f"{rests} times"
            ),
            report.Line("a cycle", f"{took:.2f} s", note=f"{cpu:.2f} s of CPU, without the sandbox"),
        ]


def endless(folder: Path, number: int) -> list[report.Line]:
    """The same with a model that never settles."""
    both, following = support("both_ways"), support("following")
    with sandbox.process(objects=20) as url:
        flow = both.Flow(folder, following.Merchant(url))
        [id] = flow.begin(1)
        flow.configure(both.ECHO, owner="warehouse")
        flow.shop.counted()
        for _ in range(number):
            flow.rest(60)
            flow.pull()
            flow.push()
        writes, hold = flow.writes(), flow.hold(id)
    stopped = hold is not None and hold.kind == "looping"
    return [
        report.Line("cycles of a model that never settles", f"{number}"),
        report.Line("writes of it", f"{writes}", f"<= {MOST}", writes <= MOST),
        report.Line("held in the end", "yes" if stopped else "no", "yes", stopped),
    ]


def main() -> None:
    """Live through all cycles; ends with an assertion where something is not as it should be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cycles", type=int, default=CYCLES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="say how far it is")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines = lively(Path(folder), given.cycles, given.seed, given.verbose)
    with tempfile.TemporaryDirectory() as folder:
        lines += endless(Path(folder), max(20, given.cycles // 20))
    report.show("two ways", lines)
    sys.exit(0 if all(each.ok is not False for each in lines) else 1)


if __name__ == "__main__":
    main()
