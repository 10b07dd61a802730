"""What shaping rows costs: `python bench/mapping.py [--rows 200000]`.

Customers as a pull stores them become rows of a customer model, in batches as a pipeline makes them: once by a
mapping of twelve properties, of which four are paths into JSON and two are SQL, and once by none, which fills the
model that ships. One row in a thousand fails. Then the same records, as dicts, are typed as a function's results.

Last, pages of charges are pulled into a DuckDB file, all but the requests: decoded, shaped and merged, with three
derived columns and without, in turns. The CPU of the process that computes SQL is counted in; its start, which is
needed once and not for each pull of a server, is shown by itself.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import random
import resource
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import decode as charges
import psutil
import pyarrow as pa
import rich.console
import rich.table

from tidegate import catalog, config
from tidegate.config import pipelines
from tidegate.pull import derived, load, scope, shaping
from tidegate.rows import arrow
from tidegate.shape import mapping, profile
from tidegate.warehouse import duckdb

GOAL = 100_000
"""Rows a second of one core, of the mapping of twelve properties."""
BATCH = 10_000
DERIVED_GOAL = 1.3
"""The CPU of a pull with three derived columns, as a share of that of one without."""
DERIVED = {
    "net": {"sql": "amount - amount_refunded"},
    "mail": {"from": "billing_details.email"},
    "origin": {"value": "web"},
}
PAGES = 400
ROUNDS = 4
JSON = {b"tidegate": b"json"}
MODEL = config.CustomerModel.model_validate(
    {
        "warehouse": "local",
        "properties": {
            "customer_id": "string",
            "name": "string",
            "email": "string",
            "phone": "string",
            "balance": "integer",
            "delinquent": "boolean",
            "city": "string",
            "country": "string",
            "plan": "string",
            "seats": "integer",
            "created": "timestamp",
            "domain": "string",
        },
    }
)
MAP = {
    "customer_id": "id",
    "email": "email",
    "phone": "phone",
    "balance": "balance",
    "delinquent": "delinquent",
    "created": "created",
    "city": "address.city",
    "country": "address.country",
    "plan": "metadata.plan",
    "seats": "metadata.seats",
    "name": {"sql": "trim(name)"},
    "domain": {"sql": "lower(split_part(email, '@', 2))"},
}


def main() -> None:
    """Make the customers, shape them in each way, show how fast that was."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=200_000)
    rows = options.parse_args().rows
    batches = [customers(first, min(BATCH, rows - first)) for first in range(0, rows, BATCH)]
    schema = batches[0].schema
    told = {name: pipelines.MapValue.model_validate(pipelines.origin(each)) for name, each in MAP.items()}
    mapped = mapping.compile(told, profile.of(MODEL), schema, named="pipeline bench")
    usual = mapping.compile({}, profile.of(), schema, named="pipeline bench")
    records = [usual.apply(batch).rows.to_pylist() for batch in batches]
    for each in (record for some in records for record in some):
        for name in ("address", "shipping", "metadata", "preferred_locales"):
            each[name] = json.loads(each[name]) if each[name] else None
    table = rich.table.Table(f"{rows:,} rows", "properties", "failed", "CPU s", "rows/s of a core")
    fast = 0.0
    for name, properties, shaped in (
        ("four paths, two SQL", len(MAP), lambda n: mapped.apply(batches[n])),
        ("no mapping", len(profile.DEFAULT), lambda n: usual.apply(batches[n])),
        ("results of a function", len(profile.DEFAULT), lambda n: profile.of().typed(records[n])),
    ):
        failed, seconds = measured(shaped, len(batches))
        fast = fast or rows / seconds
        table.add_row(name, str(properties), f"{failed:,}", f"{seconds:.2f}", f"{rows / seconds:,.0f}")
    rich.console.Console().print(table)
    print(f"goal: {GOAL:,} rows/s of a core by four paths and two SQL; it is {fast:,.0f}")
    with_columns, without, start = pulled()
    print(
        f"a pull of {PAGES * 100:,} charges: {without:.2f} CPU s, with three derived columns {with_columns:.2f}, "
        f"and {start:.2f} once\n"
        f"goal: at most {DERIVED_GOAL} times as much; it is {with_columns / without:.2f}"
    )


def measured(shaped: Callable[[int], profile.Typed], batches: int) -> tuple[int, float]:
    """Rows that failed, and CPU seconds."""
    shaped(0)
    start = _cpu()
    failed = 0
    for n in range(batches):
        typed = shaped(n)
        failed += len(typed.kept) - typed.rows.num_rows
    return failed, _cpu() - start


def pulled() -> tuple[float, float, float]:
    """CPU seconds of a pull with derived columns, of one without, and of a process started for SQL.

    The best of some rounds of each.
    """
    rng = random.Random(1)
    pages = []
    for first in range(1_600_000_000, 1_600_000_000 + PAGES * 100, 100):
        data = [charges.charge(rng, first + n) for n in range(100)]
        listed = {"object": "list", "has_more": True, "url": "/v1/charges", "data": data}
        pages.append(json.dumps(listed).encode())
    told = {name: config.Derived.model_validate(each) for name, each in DERIVED.items()}
    rounds = [(_pulled(pages, told), _pulled(pages, {}), _pulled([], told)) for _ in range(ROUNDS)]
    whole, without, start = map(min, zip(*rounds, strict=True))
    return whole - start, without, start


def _pulled(pages: Sequence[bytes], derive: Mapping[str, config.Derived]) -> float:
    """CPU seconds of one pull into a new file."""
    stream = catalog.load().streams["charges"]
    options = scope.Options(choices={"charges": scope.Choice(derive=derive)})
    with tempfile.TemporaryDirectory() as folder:
        warehouse = duckdb.DuckDB(Path(folder) / "w.duckdb")
        target = scope.target(stream, "acct_1", options)
        start = _cpu()
        for first in range(0, len(pages), load.ROWS // 100):
            some = pages[first : first + load.ROWS // 100]
            parts = [arrow.Part(target.decoder.page(page).rows, 1_700_000_000) for page in some]
            now = dt.datetime.now(dt.UTC)
            table = arrow.table(target.decoder, parts, account="acct_1", synced_at=now)
            loads = shaping.rows(target.shape, table, carried=frozenset(), payload=False)
            warehouse.load(loads, {})
        derived._engine().close()  # so that its CPU is told
        spent = _cpu() - start
        warehouse.close()
    assert target.shape.derived.notes() == [], "Every value can be made."
    return spent


def _cpu() -> float:
    """CPU seconds of this process, of those that it has ended, and of those that it has."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    there = [each.cpu_times() for each in psutil.Process().children()]
    return sum(each.ru_utime + each.ru_stime for each in used) + sum(
        each.user + each.system for each in there
    )


def customers(first: int, count: int) -> pa.Table:
    """Customers as they stand in a table, one in a thousand with seats that are no number."""
    numbers = range(first, first + count)
    addresses = [
        json.dumps(
            {
                "city": f"City {n % 500}",
                "country": ("DE", "FR", "US")[n % 3],
                "line1": f"{n % 99} Main Street",
                "line2": None,
                "postal_code": f"{n % 90_000 + 10_000}",
                "state": None,
            },
            separators=(",", ":"),
        )
        for n in numbers
    ]
    metadata = [
        json.dumps(
            {"plan": ("pro", "team", "free")[n % 3], "seats": "many" if n % 1000 == 7 else str(n % 40)},
            separators=(",", ":"),
        )
        for n in numbers
    ]
    empty = pa.nulls(count, pa.string())
    columns: dict[str, tuple[pa.Array, bool]] = {
        "id": (pa.array([f"cus_{n:014}" for n in numbers]), False),
        "name": (pa.array([f" Jane Doe {n}" for n in numbers]), False),
        "email": (pa.array([f"jane.{n}@Example{n % 900}.com" for n in numbers]), False),
        "phone": (pa.array([None if n % 3 else f"+49170{n:07}" for n in numbers], pa.string()), False),
        "description": (empty, False),
        "address": (pa.array(addresses), True),
        "shipping": (empty, True),
        "currency": (pa.array(["eur"] * count), False),
        "balance": (pa.array([n % 7 * -100 for n in numbers], pa.int64()), False),
        "delinquent": (pa.array([n % 50 == 0 for n in numbers]), False),
        "tax_exempt": (pa.array(["none"] * count), False),
        "preferred_locales": (pa.array(['["de-DE"]'] * count), True),
        "invoice_prefix": (pa.array([f"{n:08X}" for n in numbers]), False),
        "default_source": (empty, False),
        "invoice_settings": (pa.array([f'{{"default_payment_method":"pm_{n}"}}' for n in numbers]), True),
        "metadata": (pa.array(metadata), True),
        "created": (pa.array([1_600_000_000 + n for n in numbers], pa.timestamp("s", "UTC")), False),
        "livemode": (pa.array([True] * count), False),
    }
    columns["created"] = (columns["created"][0].cast(pa.timestamp("us", "UTC")), False)
    fields = [
        pa.field(name, array.type, metadata=JSON if is_json else None)
        for name, (array, is_json) in columns.items()
    ]
    return pa.table([array for array, _ in columns.values()], schema=pa.schema(fields))


if __name__ == "__main__":
    main()
