"""What a function over each customer costs: `python bench/functions.py [--rows 100000]`.

Customers of 27 fields, with an address, metadata, a decimal and two times, go through a function that builds eight
properties, in Python and in JavaScript. The CPU of Tidegate and of the function's process count together. Then how
long it takes until the process is there, and one record with a process of its own.
"""

from __future__ import annotations

import argparse
import datetime as dt
import decimal
import gc
import resource
import time
from collections.abc import Callable
from typing import Any

import rich.console
import rich.table

from tidegate.shape import answers, functions

GOAL = 50_000
"""Rows per second of CPU, of both processes together."""
STARTS = {"python": 150, "javascript": 250}
"""Milliseconds until a function is loaded."""
CODE = {
    "python": functions.Code(
        "python",
        """
def transform(customer):
    address = customer["address"] or {}
    first, _, last = customer["name"].partition(" ")
    return {
        "customer_id": customer["id"],
        "email": customer["email"].strip().lower(),
        "first_name": first,
        "last_name": last,
        "country": address.get("country"),
        "plan": customer["metadata"].get("plan", "free"),
        "since": customer["created"],
        "value": customer["lifetime_value"],
    }
""",
        "bench.py",
    ),
    "javascript": functions.Code(
        "javascript",
        """
const transform = (customer) => {
  const [first, last] = customer.name.split(" ");
  return {
    customer_id: customer.id,
    email: customer.email.trim().toLowerCase(),
    first_name: first,
    last_name: last,
    country: customer.address?.country,
    plan: customer.metadata.plan ?? "free",
    since: customer.created,
    value: customer.lifetime_value,
  };
};
""",
        "bench.js",
    ),
}


def main() -> None:
    """Measure both languages, print what they cost beside the goals."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=100_000)
    rows = options.parse_args().rows
    table = rich.table.Table(
        f"{rows:,} rows", "Tidegate us", "function us", "rows/s of CPU", "s", "start ms", "one record ms"
    )
    for name, code in CODE.items():
        started = min(start(code) for _ in range(5))
        single = min(start(code, customer(1)) for _ in range(5))
        own, other, seconds = measure(code, rows)
        table.add_row(
            name,
            f"{own / rows * 1e6:.1f}",
            f"{other / rows * 1e6:.1f}",
            f"{rows / (own + other):,.0f}",
            f"{seconds:.1f}",
            f"{started:.0f}",
            f"{single:.0f}",
        )
    rich.console.Console().print(table)
    print(f"goals: {GOAL:,} rows/s of CPU; start in {STARTS['python']} and {STARTS['javascript']} ms")


def measure(code: functions.Code, rows: int) -> tuple[float, float, float]:
    """CPU seconds of Tidegate and of the function's process, and seconds, without those of starting."""
    customers = [customer(n) for n in range(rows)]
    gc.freeze()
    idle = children(code, lambda _: None)
    spent: list[float] = []

    def use(run: functions.Run) -> None:
        own, began = time.process_time(), time.monotonic()
        for outcome in run.records(customers):
            assert isinstance(outcome, answers.Made), outcome
        spent.extend((time.process_time() - own, time.monotonic() - began))

    other = children(code, use) - idle
    own, seconds = spent
    return own, other, seconds


def children(code: functions.Code, use: Callable[[functions.Run], None]) -> float:
    """CPU seconds of a function's process, from its start to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with functions.opened(code) as run:
        use(run)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def start(code: functions.Code, record: dict[str, Any] | None = None) -> float:
    """Milliseconds until a function is loaded, and has answered one record if there is one."""
    began = time.monotonic()
    with functions.opened(code) as run:
        if record is not None:
            run.one(record)
        return (time.monotonic() - began) * 1000


def customer(n: int) -> dict[str, Any]:
    """One customer as a pipeline hands it over."""
    return {
        "id": f"cus_{n:014}",
        "object": "customer",
        "address": {
            "city": "Berlin", "country": "DE", "line1": f"Street {n}", "line2": None, "postal_code": "10115",
            "state": None,
        },
        "balance": -n,
        "created": dt.datetime.fromtimestamp(1_600_000_000 + n, dt.UTC),
        "currency": "eur",
        "default_source": None,
        "delinquent": n % 7 == 0,
        "description": f"Customer number {n}",
        "discount": None,
        "email": f" User{n}@Example.com",
        "invoice_prefix": f"{n:08X}",
        "invoice_settings": {
            "custom_fields": None, "default_payment_method": f"pm_{n}", "footer": None, "rendering_options": None,
        },
        "livemode": True,
        "metadata": {"plan": ("pro", "team")[n % 2], "crm_id": str(n), "seats": "12"},
        "name": f"Jenny Rosen{n}",
        "next_invoice_sequence": n % 50,
        "phone": f"+49 30 {n:07}",
        "preferred_locales": ["de", "en"],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
        "lifetime_value": decimal.Decimal(n).scaleb(-2),
        "score": n / 7,
        "updated": dt.datetime.fromtimestamp(1_700_000_000 + n, dt.UTC),
        "account": "acct_1",
        "region": None,
    }  # fmt: skip


if __name__ == "__main__":
    main()
