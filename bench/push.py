"""What finding out costs that nothing changed: `python bench/push.py [--rows 1000000]`.

Rows of a Parquet file, ten columns of every kind, are taken into a snapshot, mapped to fields of a customer and
compared with what was acknowledged, which comes as Arrow batches; then the same with one row in a hundred changed,
with all rows new, and with an edited mapping. Each part shows the CPU and memory of a process of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import rich.console
import rich.table

from tidegate import config
from tidegate.catalog import writes
from tidegate.push import diff, mapping, models, workbook
from tidegate.sources import base, files

GOAL = 20.0
"""CPU seconds for a million unchanged rows."""
PARTS = ("unchanged", "1 % changed", "all new", "mapping edited")
FIELDS = {
    "email": "email",
    "name": {"template": "{first} {last}"},
    "phone": {"from": "phone", "null": "clear"},
    "description": {"sql": "upper(note)"},
    "metadata.plan": "plan",
    "metadata.ltv": "ltv",
    "metadata.score": "score",
    "metadata.active": "active",
    "metadata.since": "since",
    "metadata.seen": "seen",
}


def main() -> None:
    """Make the rows, run every part in a process of its own, show what they say."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--part", choices=("make", *PARTS), help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.part == "make":
        make(chosen.folder, chosen.rows)
        return
    if chosen.part:
        measure(chosen.folder, chosen.part)
        return
    table = rich.table.Table(
        f"{chosen.rows:,} rows", "changed", "new", "renewed", "CPU s", "s", "peak RSS MB"
    )
    with tempfile.TemporaryDirectory() as folder:
        for part in ("make", *PARTS):
            # A process of its own from the beginning: the peak memory of a parent counts for its children, too.
            done = subprocess.run(
                [sys.executable, __file__, "--part", part, "--folder", folder, "--rows", str(chosen.rows)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            if part in PARTS:
                table.add_row(part, *done.stdout.split())
    rich.console.Console().print(table)
    print(f"goal: {GOAL:g} CPU s for 1,000,000 unchanged rows")


def make(folder: Path, rows: int) -> None:
    """The rows, with one in a hundred of another plan beside them, and what was acknowledged of them."""
    made = (
        "SELECT i AS id, 'user' || i || '@example.com' AS email, 'First' || i % 1000 AS first, "
        "'Last' || i AS last, CASE WHEN i % 3 = 0 THEN '+49' || i END AS phone, 'note ' || i AS note, "
        "['free', 'pro', 'team'][1 + i % 3] AS plan, CAST(i % 100000 / 100 AS DECIMAL(12, 2)) AS ltv, "
        "i / 7.0 AS score, i % 2 = 0 AS active, DATE '2020-01-01' + CAST(i % 1000 AS INTEGER) AS since, "
        f"TIMESTAMPTZ '2024-01-01 00:00:00+00' + to_seconds(i) AS seen FROM range({rows}) AS t (i)"
    )
    engine = duckdb.connect()
    engine.execute(f"COPY ({made}) TO '{folder}/rows.parquet'")
    changed = "CASE WHEN id % 100 = 0 THEN plan || '+' ELSE plan END AS plan"
    engine.execute(f"COPY (SELECT * REPLACE ({changed}) FROM ({made})) TO '{folder}/changed.parquet'")
    engine.close()
    push = configured(FIELDS)
    with workbook.opened(folder, "bench", "making") as book:
        taken = snapshot(book, folder / "rows.parquet")
        wanted = mapping.map_rows(book, taken, "bench", push, writes.load()["customer"])
        diff.diff(book, taken, wanted, [])
        with pa.ipc.new_stream(folder / "acknowledged.arrow", diff.ACKNOWLEDGED) as writer:
            for batch in diff.changed(book, wanted):
                writer.write_batch(batch.select(diff.ACKNOWLEDGED.names))


def measure(folder: Path, part: str) -> None:
    """One part: its counts, CPU seconds, seconds and peak memory, on one line."""
    push = configured({**FIELDS, "metadata.by": {"value": "bench"}} if part == "mapping edited" else FIELDS)
    of = writes.load()["customer"]
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    with workbook.opened(folder, "bench", f"run{os.getpid()}") as book:
        taken = snapshot(book, folder / ("changed.parquet" if part == "1 % changed" else "rows.parquet"))
        wanted = mapping.map_rows(book, taken, "bench", push, of)
        known = iter(()) if part == "all new" else acknowledged(folder)
        counts = diff.diff(book, taken, wanted, known)
        for batches in (diff.changed(book, wanted), diff.renewed(book, wanted)):
            for _ in batches:
                pass
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    told = (counts.changed, counts.new, counts.renewed)
    print(*told, f"{cpu:.1f}", f"{time.monotonic() - began:.1f}", f"{after.ru_maxrss / 1024:.0f}")


def configured(fields: object) -> config.Push:
    """A push of these fields."""
    return config.Push.model_validate(
        {"model": "m", "to": "acme", "object": "customer", "match": {"email": "email"}, "fields": fields}
    )


def snapshot(book: workbook.Workbook, path: Path) -> models.Snapshot:
    """All rows of a file."""
    return models.snapshot(files.File(str(path)), base.Query(file=str(path)), ("id",), book)


def acknowledged(folder: Path) -> Iterator[pa.RecordBatch]:
    """What was acknowledged, in batches."""
    with open(folder / "acknowledged.arrow", "rb") as file, pa.ipc.open_stream(file) as batches:
        yield from batches


if __name__ == "__main__":
    main()
