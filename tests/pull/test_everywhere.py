"""A pull and the three that follow it, into every warehouse: the same tables as in DuckDB, field by field."""

from __future__ import annotations

import asyncio
import datetime as dt
import fcntl
import functools
import json
import os
import pickle
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import fleet
import pyarrow as pa
import pytest
from following import Merchant

from tidegate import catalog, sandbox
from tidegate import warehouse as warehouses
from tidegate.config import conditions
from tidegate.pull import report, run, scope
from tidegate.stripe import clock
from tidegate.warehouse import base

STREAMS = (
    "customers",
    "cards",
    "customer_tax_ids",
    "customer_balance_transactions",
    "products",
    "prices",
    "coupons",
    "charges",
    "refunds",
    "payment_intents",
    "payouts",
    "balance_transactions",
    "subscriptions",
    "subscription_items",
    "invoices",
    "invoice_line_items",
    "invoice_items",
    "events",
)
CHOICES = {
    "customers": scope.Choice(history=True),
    "coupons": scope.Choice(hard=True),
    "products": scope.Choice(hashed=frozenset({"name"}), table="Goods"),
    "charges": scope.Choice(
        where=conditions.Condition.model_validate({"field": "amount", "op": ">=", "value": 1000})
    ),
}
DAY = 86_400
NOW = 1_790_000_000
Tables = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="session")
def shop() -> Iterator[Merchant]:
    with sandbox.process(objects=10) as url:
        yield Merchant(url)


def pulled(shop: Merchant, warehouse: base.Warehouse) -> None:
    """A pull at the very second at which Stripe's clock stands."""
    options = scope.Options(streams=STREAMS, choices=CHOICES)
    standing = functools.partial(clock.Clock, lambda: 0.0)
    with mock.patch.object(clock, "Clock", standing):
        result = asyncio.run(run.pull(shop.source(), warehouse, options, report.Silent()))
    assert result.end is None, result.end
    assert [(each.stream, each.error) for each in result.outcomes if each.error] == []


@functools.cache
def tables() -> dict[str, tuple[tuple[str, ...], frozenset[str]]]:
    """The key and the JSON columns of every table, by name."""
    known = catalog.load().streams
    found = {}
    for name in STREAMS:
        target = scope.target(known[name], "", scope.Options(choices=CHOICES))
        for table in filter(None, (target.table, target.shape.history)):
            fields = [field for field in table.schema if (field.metadata or {}).get(b"tidegate") == b"json"]
            found[table.name] = table.key, frozenset(field.name for field in fields)
    return found


def contents(warehouse: base.Warehouse) -> Tables:
    """Every row of every table, in the order of their keys, without what differs from pull to pull."""
    found: Tables = {}
    for name, (_, documents) in tables().items():
        sql = f"select * from {base.quoted(warehouse.schema)}.{base.quoted(name)}"
        rows = [row for batch in warehouse.read(sql) for row in pa.Table.from_batches([batch]).to_pylist()]
        for row in rows:
            del row["_synced_at"]
            for column, value in row.items():
                row[column] = plain(
                    json.loads(value, parse_float=Decimal) if column in documents and value else value,
                    warehouse.nul,
                )
        found[name] = in_the_order(name, rows)
    return found


def in_the_order(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A table's rows in the order of its key."""
    key, _ = tables()[name]
    return sorted(rows, key=lambda row: [str(row[column]) for column in key])


def plain(value: Any, nul: str) -> Any:
    """A value, whatever type of moment or number a driver has for it, and what a NUL becomes in the other one."""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC)
    if isinstance(value, str):
        return value.replace("\0", nul)
    if isinstance(value, list):
        return [plain(each, nul) for each in value]
    if isinstance(value, dict):
        return {plain(name, nul): plain(each, nul) for name, each in value.items()}
    return value


def cycles(shop: Merchant, warehouse: base.Warehouse) -> Iterator[Tables]:
    """What a warehouse holds after a pull and after three more, while the business goes on.

    It changes and deletes, and lets a month go by in the end; it is the same business each time, to the second.
    """
    shop.control("reset", {"objects": 350, "seed": 11, "record": True, "now": NOW, "clock": NOW})
    for cycle, pause in enumerate((60, 60, 3_600, 40 * DAY)):
        if cycle:
            shop.control("traffic", {"seed": cycle, "steps": 25, "tick": 1.0})
        shop.later(pause)
        pulled(shop, warehouse)
        yield contents(warehouse)


@pytest.fixture(scope="session")
def reference(shop: Merchant, tmp_path_factory: pytest.TempPathFactory) -> list[Tables]:
    """What DuckDB holds; found out once, however many processes share the tests."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    kept = folder / "everywhere.pickle"
    with (folder / "everywhere.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            here = warehouses.open_url(f"duckdb:///{tmp_path_factory.mktemp('reference')}/reference.duckdb")
            try:
                found = list(cycles(shop, here))
            finally:
                here.close()
            kept.write_bytes(pickle.dumps(found))
    told: list[Tables] = pickle.loads(kept.read_bytes())
    return told


@pytest.mark.parametrize("adapter", [name for name in fleet.NAMES if name != "duckdb"])
def test_a_pull_and_three_more_leave_the_same_tables(
    adapter: str, shop: Merchant, reference: list[Tables], tmp_path: Path
) -> None:
    there = warehouses.open_url(fleet.url(adapter, tmp_path, 0))
    try:
        for cycle, (found, expected) in enumerate(zip(cycles(shop, there), reference, strict=True)):
            for name in expected:
                assert found[name] == in_the_order(name, plain(expected[name], there.nul)), (cycle, name)
        assert sum(map(len, expected.values())) > 350
        assert any(row["_deleted_at"] for row in expected["customers"]), "somebody was deleted"
        assert len(expected["customers_history"]) > len(expected["customers"]), "somebody was changed"
        live = f"select count(*) as n from {base.quoted(there.schema + '_live')}.{base.quoted('customers')}"
        counted = [row["n"] for batch in there.read(live) for row in batch.to_pylist()]
        assert counted == [sum(row["_deleted_at"] is None for row in expected["customers"])]
    finally:
        there.close()
