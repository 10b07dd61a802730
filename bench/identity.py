"""What it costs to find out who is one customer: `python bench/identity.py [--identifiers 1000000]`.

Records of two pipelines with 2.5 identifiers each on average, of customers with some four records each, phone
numbers that hundreds share, and chains of 80 in which each record is linked to the next by a value of its own, are
written into a DuckDB file as a run writes them. Then all are resolved for the first time, all again, one in a
hundred after they changed, and other rules are previewed; each part shows the CPU and memory of a process of its
own.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import rich.console
import rich.table

from tidegate.customers import identity, preview
from tidegate.customers.names import Names
from tidegate.customers.rules import Rules
from tidegate.warehouse import base, duckdb, scripts

GOAL = 60.0
"""CPU seconds for a million identifiers."""
PARTS = ("make", "all, first time", "all, unchanged", "1 % changed", "preview")
RULES = Rules(("customer_id", "email", "phone"))
NAMES = Names()
CHAIN = 80
"""Records in a chain."""


def main() -> None:
    """Make the records, run every part in a process of its own, show what they say."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--identifiers", type=int, default=1_000_000)
    options.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.part:
        measure(chosen.folder, chosen.part, chosen.identifiers)
        return
    table = rich.table.Table(
        f"{chosen.identifiers:,} identifiers", "records", "profiles", "looked at", "CPU s", "s", "peak RSS MB"
    )
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            # A process of its own from the beginning: the peak memory of a parent counts for its children, too.
            command = [sys.executable, __file__, "--part", part, "--folder", folder]
            command += ["--identifiers", str(chosen.identifiers)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            table.add_row(part, *done.stdout.split())
        size = sum(file.stat().st_size for file in Path(folder).iterdir() if file.is_file())
    rich.console.Console().print(table)
    print(f"DuckDB as a run opens it: 96 MiB, one thread; the file is {size / 2**20:.0f} MiB")
    print(f"goal: {GOAL:g} CPU s for 1,000,000 identifiers, the first time")


def measure(folder: Path, part: str, identifiers: int) -> None:
    """Do one part, and print what it cost."""
    warehouse = duckdb.DuckDB(folder / "bench.duckdb", "tidegate")
    random = np.random.default_rng(7)
    records = int(identifiers / 2.5)
    changed: pa.Table | None = None
    if part == "make":
        load(warehouse, random, np.arange(records), records, 1)
    elif part == "1 % changed":
        some = np.sort(random.choice(records, records // 100, replace=False))
        changed = load(warehouse, np.random.default_rng(8), some, records, 2)
    cpu, clock = time.process_time(), time.monotonic()
    told = ("-", "-", "-")
    if part == "preview":
        seen = warehouse.scripted(
            lambda script: preview.preview(script, NAMES, Rules(("email", "phone"), 50))
        )
        told = (f"{seen.records:,}", f"{seen.profiles:,}", f"{seen.records:,}")
    elif part != "make":
        found = warehouse.scripted(_resolving(changed))
        told = (f"{found.records:,}", f"{found.profiles:,}", f"{found.looked:,}")
    cpu, clock = time.process_time() - cpu, time.monotonic() - clock
    warehouse.close()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(*told, f"{cpu:.1f}", f"{clock:.1f}", f"{usage.ru_maxrss / 1024:.0f}")
    sys.stdout.flush()
    os._exit(0)


def _resolving(changed: pa.Table | None) -> Callable[[scripts.Script], identity.Resolved]:
    now = dt.datetime.now(dt.UTC)
    return lambda script: identity.resolve(script, NAMES, RULES, changed, now)


def load(
    warehouse: duckdb.DuckDB, random: np.random.Generator, numbers: np.ndarray, records: int, version: int
) -> pa.Table:
    """Write records with their identifiers, and return their keys."""
    people = records // 2
    person = random.integers(0, people, records)[numbers]
    keys = np.array([f"p{n % 2}/acct_{n % 7}/cus_{n:014d}" for n in numbers])
    phone = np.where(random.random(len(numbers)) < 0.01, -1 - person % 5, person)
    link = numbers // CHAIN * CHAIN + np.minimum(numbers % CHAIN + 1, CHAIN - 1)
    given: list[tuple[str, int, np.ndarray, np.ndarray]] = [
        ("customer_id", 0, np.arange(len(numbers)), np.char.add("ext_", (person // 2).astype(str))),
        ("email", 0, np.arange(len(numbers)), np.char.add(person.astype(str), "@customers.example.com")),
        ("phone", 0, np.arange(0, len(numbers), 2), np.char.add("+49", phone[::2].astype(str))),
    ]
    chained = np.flatnonzero(numbers % (CHAIN * 20) < CHAIN)
    given += [
        ("phone", 1, chained, np.char.add("+1", numbers[chained].astype(str))),
        ("phone", 2, chained, np.char.add("+1", link[chained].astype(str))),
    ]
    now = pa.scalar(dt.datetime.now(dt.UTC), pa.timestamp("us", "UTC"))
    books = {"_version": pa.scalar(version, pa.int64()), "_deleted_at": None, "_synced_at": now}
    rows = {"record": pa.array(keys), "pipeline": "p", "account": "a", "id": pa.array(keys)}
    loads = [base.Load(NAMES.records(), _table(rows | books, NAMES.records(), len(keys)))]
    for kind, number, whose, values in given:
        rows = {"record": pa.array(keys[whose]), "kind": kind, "number": number, "value": pa.array(values)}
        loads.append(base.Load(NAMES.identifiers, _table(rows | books, NAMES.identifiers, len(whose))))
    for one in loads:
        for start in range(0, one.rows.num_rows, 50_000):
            warehouse.load([base.Load(one.table, one.rows.slice(start, 50_000))], {})
    return pa.table({"record": pa.array(keys)})


def _table(columns: dict[str, object], table: base.Table, rows: int) -> pa.Table:
    made = {
        field.name: value
        if isinstance(value := columns[field.name], pa.Array)
        else pa.repeat(value if isinstance(value, pa.Scalar) else pa.scalar(value, field.type), rows)
        for field in table.schema
    }
    return pa.table(made).cast(table.schema)


if __name__ == "__main__":
    main()
