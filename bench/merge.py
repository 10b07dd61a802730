"""What the merge into DuckDB costs: `python bench/merge.py [--rows 2000000] [--load 10000] [--keep FILE]`.

Loads that many charges from nothing, load by load as a pull does, then changes 10,000 rows of the full table: the
newest, and scattered ones, of which it then carries a JSON column over, looks some up, marks them as deleted, and
removes them. The charges are made by a second process, so that CPU and memory shown here are the
warehouse's alone (with Python and pyarrow, which alone take about 75 MB). Their ids are random, which is the worst
case: nothing about a row tells where it lies. Ends with small loads into sixty tables at once.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import random
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

from tidegate import catalog
from tidegate.warehouse import base
from tidegate.warehouse import duckdb as adapter

CHANGED = 10_000
TABLES = 60
TYPES = {
    "boolean": pa.bool_(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "decimal": pa.decimal128(38, 12),
    "timestamp": pa.timestamp("us", "UTC"),
}
DOCUMENTS: dict[str, object] = {
    "billing_details": {
        "address": {"city": "Berlin", "country": "DE", "line1": "@@", "postal_code": "10115", "state": None},
        "email": "@@@example.com",
        "name": "Jenny @@",
        "phone": None,
    },
    "metadata": {"order": "@@", "channel": "web"},
    "outcome": {
        "network_status": "approved_by_network",
        "reason": None,
        "risk_level": "normal",
        "risk_score": 12,
        "seller_message": "Payment complete.",
        "type": "authorized",
    },
    "payment_method_details": {
        "card": {
            "amount_authorized": 2000,
            "authorization_code": None,
            "brand": "visa",
            "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
            "country": "US",
            "exp_month": 8,
            "exp_year": 2030,
            "extended_authorization": {"status": "disabled"},
            "fingerprint": "@@",
            "funding": "credit",
            "incremental_authorization": {"status": "unavailable"},
            "installments": None,
            "last4": "4242",
            "mandate": None,
            "multicapture": {"status": "unavailable"},
            "network": "visa",
            "network_token": {"used": False},
            "network_transaction_id": "@@",
            "overcapture": {"maximum_amount_capturable": 2000, "status": "unavailable"},
            "regulated_status": "unregulated",
            "three_d_secure": {
                "authentication_flow": None,
                "electronic_commerce_indicator": None,
                "result": None,
                "result_reason": None,
                "transaction_id": None,
                "version": None,
            },
            "wallet": {"dynamic_last4": None, "type": "link"},
        },
        "type": "card",
    },
    "refunds": {"data": [], "has_more": False, "object": "list", "url": "/v1/charges/ch_3@@/refunds"},
    "fraud_details": {},
}
TEXTS = {
    "id": "'ch_3' || h[:24]",
    "object": "'charge'",
    "currency": "CASE WHEN i % 3 = 0 THEN 'eur' ELSE 'usd' END",
    "status": "'succeeded'",
    "description": "'Order ' || i",
    "calculated_statement_descriptor": "'TIDEGATE'",
    "balance_transaction": "'txn_3' || md5(h)[:24]",
    "customer": "'cus_' || md5((i % 50000)::VARCHAR)[:14]",
    "payment_intent": "'pi_3' || md5(h || 'p')[:24]",
    "payment_method": "'pm_1' || md5(h || 'm')[:24]",
    "receipt_url": "'https://pay.stripe.com/receipts/payment/CAca' || h || md5(h || 'r') || md5(h || 's')",
}


def schema() -> pa.Schema:
    """The table of charges as the catalog wants it."""
    fields = [pa.field("_account_id", pa.string())]
    for field in catalog.load().streams["charges"].fields:
        kind = TYPES.get(field.type, pa.string())
        fields.append(pa.field(field.name, kind, metadata=base.JSON if field.type == "json" else None))
    fields.append(pa.field("_version", TYPES["integer"]))
    fields += [pa.field(name, TYPES["timestamp"]) for name in ("_synced_at", "_deleted_at")]
    return pa.schema([*fields, pa.field("_extra", pa.string(), metadata=base.JSON)])


def statement(numbers: str, version: str) -> str:
    """SQL that makes the charges of `numbers`, a query with a column i."""
    columns = []
    for field in schema():
        if field.name in DOCUMENTS:
            text = json.dumps(DOCUMENTS[field.name], separators=(",", ":")).replace("'", "''")
            value = "'" + text.replace("@@", "' || h[:24] || '") + "'"
        elif field.name in TEXTS:
            value = TEXTS[field.name]
        elif field.name == "_account_id":
            value = "'acct_1PgafmB7WZ01zgkW'"
        elif field.name == "created":
            value = "to_timestamp(1600000000 + i * 3)"
        elif field.name == "_version":
            value = f"epoch(TIMESTAMPTZ '{version}')::BIGINT"
        elif field.name == "_synced_at":
            value = f"TIMESTAMPTZ '{version}'"
        elif field.type == pa.int64():
            value = "(hash(i) % 100000)::BIGINT"
        elif field.type == pa.bool_():
            value = "hash(i) % 7 = 0"
        else:
            value = "NULL"
        columns.append(f'{value} AS "{field.name}"')
    return f"SELECT {', '.join(columns)} FROM (SELECT i, md5(i::VARCHAR) AS h FROM ({numbers}))"


def make(rows: int, load: int) -> None:
    """The second process: all charges, then the newest, then scattered ones, as Arrow on standard output."""
    wanted = schema()
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    scattered = random.Random(7).sample(range(rows), min(CHANGED, rows))
    with pa.ipc.new_stream(sys.stdout.buffer, wanted) as writer:

        def send(numbers: str, version: str) -> None:
            made = connection.sql(statement(numbers, version)).to_arrow_table()
            writer.write_table(made.cast(wanted).combine_chunks())

        for start in range(0, rows, load):
            send(f"SELECT unnest(range({start}, {min(start + load, rows)})) AS i", "2026-01-01")
        send(f"SELECT unnest(range({max(rows - CHANGED, 0)}, {rows})) AS i", "2026-02-01")
        send(f"SELECT unnest({scattered}) AS i", "2026-03-01")


def made(rows: int, load: int) -> Iterator[pa.Table]:
    """The loads that the second process makes."""
    command = [sys.executable, __file__, "--make", "--rows", str(rows), "--load", str(load)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with pa.ipc.open_stream(process.stdout) as stream:
            for batch in stream:
                yield pa.Table.from_batches([batch])


def afterwards(
    warehouse: adapter.DuckDB, table: base.Table, rows: pa.Table
) -> Iterator[tuple[str, float, float]]:
    """What else is done with scattered rows of the full table, and the CPU and wall seconds it takes."""
    at = rows.schema.get_field_index("_version")
    later = [rows.set_column(at, "_version", pa.array([2_000_000_000 + n] * len(rows))) for n in range(4)]
    gone = pa.array([dt.datetime.now(dt.UTC)] * len(rows), TYPES["timestamp"])
    slim = [
        some.select([*table.key, "_version", "_synced_at"]).append_column("_deleted_at", gone)
        for some in later
    ]
    keys = rows.select(table.key)
    count = f"{len(rows):,} scattered"
    yield (
        count + " kept a column",
        *timed(warehouse, base.Load(table, later[0].drop_columns(["refunds"]), "keep")),
    )
    cpu, wall = time.process_time(), time.perf_counter()
    found = warehouse.find(table, keys, ["status", "metadata"])
    assert found.num_rows == len(rows), "Every row is found."
    yield count + " found", time.process_time() - cpu, time.perf_counter() - wall
    yield count + " marked", *timed(warehouse, base.Load(table, slim[1], "mark"))
    yield count + " marked again", *timed(warehouse, base.Load(table, slim[1], "mark"))
    yield count + " removed and buried", *timed(warehouse, base.Load(table, slim[2], "mark", hard=True))
    yield count + " came back", *timed(warehouse, base.Load(table, later[3]))


def timed(warehouse: adapter.DuckDB, load: base.Load) -> tuple[float, float]:
    """The CPU and wall seconds that a load takes."""
    cpu, wall = time.process_time(), time.perf_counter()
    warehouse.load([load], {})
    return time.process_time() - cpu, time.perf_counter() - wall


def peak() -> int:
    """The most memory this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 1_000_000


def measure(rows: int, load: int, path: Path) -> rich.table.Table:
    """Run it all, and lay out what it cost."""
    table = base.Table("charges", schema())
    warehouse = adapter.DuckDB(path)
    warehouse.prepare([table])
    spent, first, seen = 0.0, 0.0, 0
    filled = 0
    few = last = table.schema.empty_table()
    changes: list[tuple[base.Loaded, float, float]] = []
    for batch in made(rows, load):
        cpu, wall = time.process_time(), time.perf_counter()
        (done,) = warehouse.load([base.Load(table, batch)], {"backfill/charges": str(seen)})
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        if seen < rows:
            seen += done.inserted
            spent += cpu
            first = seen / spent if seen <= 100_000 else first
            filled = peak()
        else:
            changes.append((done, cpu, wall))
        few = few if few.num_rows else batch.slice(0, CHANGED // TABLES)
        last = batch
    recent, scattered = changes
    changed = peak()
    megabytes = path.stat().st_size / 1e6
    further = list(afterwards(warehouse, table, last))
    marked = peak()

    shown = rich.table.Table("what", "measured", "goal", title=f"{rows:,} charges in loads of {load:,}")
    shown.add_row("first load, first 100,000 rows", f"{first:,.0f} rows/CPU-s", ">= 50,000")
    shown.add_row("first load, all rows", f"{seen / spent:,.0f} rows/CPU-s", "")
    for name, (done, cpu, wall) in (("newest", recent), ("scattered", scattered)):
        shown.add_row(
            f"{done.updated:,} changed rows, {name}", f"{cpu:.2f} CPU-s, {wall:.2f} s", "<= 1.5 CPU-s"
        )
    for name, cpu, wall in further:
        goal = "<= 1.5 CPU-s" if name.endswith("marked") else ""
        shown.add_row(name, f"{cpu:.2f} CPU-s, {wall:.2f} s", goal)
    shown.add_row("peak memory of the first load, Python included", f"{filled:,} MB", "<= 400 MB")
    shown.add_row("peak memory with the changes", f"{changed:,} MB", "")
    shown.add_row("peak memory with marks and removals", f"{marked:,} MB", "")
    shown.add_row("file", f"{megabytes:,.0f} MB, {megabytes * 1e6 / rows:,.0f} bytes/row", "")

    several = [base.Table(f"small_{i}", table.schema) for i in range(TABLES)]
    warehouse.prepare(several)
    cpu = time.process_time()
    warehouse.load([base.Load(one, few) for one in several], {"k": "v"})
    cpu = time.process_time() - cpu
    rate = f"{TABLES * few.num_rows / cpu:,.0f} rows/CPU-s"
    shown.add_row(f"one load of {TABLES} x {few.num_rows} rows", f"{rate}, {cpu:.2f} CPU-s", "")
    cpu = time.process_time()
    warehouse.load([base.Load(one, few.slice(0, 2)) for one in several[:10]], {"k": "v"})
    cpu = time.process_time() - cpu
    shown.add_row("one load of 10 x 2 changed rows", f"{cpu:.3f} CPU-s", "")
    warehouse.close()
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--load", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="a new file to leave the warehouse in")
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.make:
        make(asked.rows, asked.load)
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("TIDEGATE_BENCH_DIR")) as folder:
        path = asked.keep or Path(folder, "merge.duckdb")
        rich.console.Console().print(measure(asked.rows, asked.load, path))


if __name__ == "__main__":
    main()
