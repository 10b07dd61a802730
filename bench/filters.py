"""What the filter of a stage costs: `python bench/filters.py [--rows 500000]`.

Customers with plain columns, an address and ten keys of metadata are asked in batches of 10,000, as pulls and
pipelines ask them; each line is rows per CPU second of one process, which uses one core. Then what a warehouse says
of the same filters, and how long it takes to say it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import decimal
import json
import time
from typing import Any

import pyarrow as pa
import pydantic
import rich.console
import rich.table

from tidegate import config
from tidegate.shape import filters, pushdown
from tidegate.warehouse import base, ddl, sql

PLAIN, PATHS = 500_000, 100_000
"""Rows per second and core: the goals."""
BATCH = 10_000
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("email", pa.string()),
        pa.field("balance", pa.int64()),
        pa.field("rate", pa.decimal128(38, 12)),
        pa.field("delinquent", pa.bool_()),
        pa.field("created", pa.timestamp("us", "UTC")),
        pa.field("address", pa.string(), metadata=base.JSON),
        pa.field("metadata", pa.string(), metadata=base.JSON),
    ]
)
FILTERS: list[tuple[str, int, dict[str, Any]]] = [
    ("one number", PLAIN, {"field": "balance", "op": ">=", "value": 5_000}),
    ("one text", PLAIN, {"field": "email", "op": "ends with", "value": "@example.com"}),
    ("the last 30 days", PLAIN, {"field": "created", "op": "is on or after", "value": "30 days ago"}),
    (
        "five plain columns",
        PLAIN,
        {
            "all": [
                {"field": "delinquent", "op": "is not", "value": True},
                {"field": "created", "op": "is between", "value": ["2025-06-01", "today"]},
                {
                    "any": [
                        {"field": "balance", "op": "is between", "value": [1_000, 9_000]},
                        {"field": "rate", "op": ">", "value": 0.5},
                        {"field": "email", "op": "contains", "value": "ANNA", "ignore_case": True},
                    ]
                },
            ]
        },
    ),
    ("one path, text", PATHS, {"field": "metadata.plan", "op": "is one of", "value": ["pro", "team"]}),
    ("one path, number", PATHS, {"field": "metadata.seats", "op": ">=", "value": 10}),
    ("one path, date", PATHS, {"field": "metadata.renewal", "op": "is before", "value": "in 3 months"}),
    (
        "three paths",
        PATHS,
        {
            "all": [
                {"field": "address.country", "op": "is one of", "value": ["DE", "FR", "AT"]},
                {"field": "metadata.plan", "op": "is not", "value": "free"},
                {"field": "metadata.internal", "op": "does not exist"},
            ]
        },
    ),
]


def main() -> None:
    """Make the rows, ask every filter, show what it took."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=500_000)
    chosen = options.parse_args()
    batches = [rows(start, min(BATCH, chosen.rows - start)) for start in range(0, chosen.rows, BATCH)]
    table = rich.table.Table(f"{chosen.rows:,} rows", "found", "rows/CPU s", "goal", "")
    adapter: pydantic.TypeAdapter[config.Filter] = pydantic.TypeAdapter(config.Filter)
    for name, goal, tree in FILTERS:
        predicate = filters.compile(adapter.validate_python(tree), SCHEMA, NOW)
        predicate.matches(batches[0])
        begun = time.process_time()
        found = sum(predicate.matches(batch).true_count for batch in batches)
        speed = chosen.rows / (time.process_time() - begun)
        table.add_row(name, f"{found:,}", f"{speed:,.0f}", f"{goal:,}", "ok" if speed >= goal else "too slow")
    console = rich.console.Console()
    console.print(table)
    columns = {field.name: ddl.sql_type(field) for field in SCHEMA}
    table = rich.table.Table("pushed down", "duckdb", "postgres", "mysql", "snowflake", "ms each")
    for name, _, tree in FILTERS:
        begun = time.process_time()
        said = [
            pushdown.split(adapter.validate_python(tree), columns, sql.Dialect(dialect), NOW)
            for dialect in ("duckdb", "postgres", "mysql", "snowflake")
        ]
        took = (time.process_time() - begun) * 1000 / len(said)
        table.add_row(name, *map(shown, said), f"{took:.1f}")
    console.print(table)


def shown(pushed: pushdown.Pushed) -> str:
    """How much of a filter SQL says."""
    return "exactly" if pushed.exact else "not at all" if pushed.sql == "1 = 1" else "in part"


def rows(start: int, count: int) -> pa.Table:
    """Customers, each a little different."""
    made = []
    for n in range(start, start + count):
        metadata = {f"key_{k}": f"value {n * k}" for k in range(7)}
        metadata |= {
            "plan": ("free", "pro", "team")[n % 3],
            "seats": str(n % 40),
            "renewal": f"2026-0{n % 9 + 1}-15",
        }
        made.append(
            {
                "id": f"cus_{n:012}",
                "email": f"anna.{n}@{'example.com' if n % 2 else 'example.org'}",
                "balance": n % 10_000,
                "rate": decimal.Decimal(n % 100) / 100,
                "delinquent": n % 7 == 0,
                "created": NOW - dt.timedelta(hours=n % 20_000),
                "address": json.dumps(
                    {"city": "Lübeck", "country": ("DE", "US", "FR")[n % 3], "line1": f"Weg {n}"}
                ),
                "metadata": json.dumps(metadata, separators=(",", ":")),
            }
        )
    return pa.Table.from_pylist(made, SCHEMA)


if __name__ == "__main__":
    main()
