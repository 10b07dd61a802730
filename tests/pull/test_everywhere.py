"""A pull and the three that follow it, into every warehouse: the same tables as in DuckDB, field by field."""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import json
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


@pytest.fixture(scope="module")
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


def tables() -> Iterator[tuple[str, tuple[str, ...], frozenset[str]]]:
    """The name, the key and the JSON columns of every table."""
    known = catalog.load().streams
    for name in STREAMS:
        target = scope.target(known[name], "", scope.Options(choices=CHOICES))
        for table in filter(None, (target.table, target.shape.history)):
            fields = [field for field in table.schema if (field.metadata or {}).get(b"tidegate") == b"json"]
            yield table.name, table.key, frozenset(field.name for field in fields)


def contents(warehouse: base.Warehouse, nul: str) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, in the order of their keys, without what differs from pull to pull."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, key, documents in tables():
        sql = f"select * from {base.quoted(warehouse.schema)}.{base.quoted(name)}"
        rows = [row for batch in warehouse.read(sql) for row in pa.Table.from_batches([batch]).to_pylist()]
        for row in rows:
            del row["_synced_at"]
            for column, value in row.items():
                row[column] = plain(
                    json.loads(value, parse_float=Decimal) if column in documents and value else value, nul
                )
        found[name] = sorted(rows, key=lambda row: [str(row[column]) for column in key])
    return found


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


@pytest.mark.parametrize("adapter", [name for name in fleet.NAMES if name != "duckdb"])
def test_a_pull_and_three_more_leave_the_same_tables(adapter: str, shop: Merchant, tmp_path: Path) -> None:
    """While the business goes on: changes, deletions, and in the end a month without any pull."""
    shop.control("reset", {"objects": 350, "seed": 11, "record": True})
    shop.control("clock", {"stop": True})
    there = warehouses.open_url(fleet.url(adapter, tmp_path, 0))
    here = warehouses.open_url(f"duckdb:///{tmp_path}/reference.duckdb")
    try:
        for cycle, pause in enumerate((60, 60, 3_600, 40 * DAY)):
            if cycle:
                shop.control("traffic", {"seed": cycle, "steps": 25, "tick": 1.0})
            shop.later(pause)
            pulled(shop, there)
            pulled(shop, here)
            found, expected = contents(there, there.nul), contents(here, there.nul)
            for name in expected:
                assert found[name] == expected[name], (cycle, name)
        assert sum(map(len, expected.values())) > 350
        assert any(row["_deleted_at"] for row in expected["customers"]), "somebody was deleted"
        assert len(expected["customers_history"]) > len(expected["customers"]), "somebody was changed"
        live = f"select count(*) as n from {base.quoted(there.schema + '_live')}.{base.quoted('customers')}"
        counted = [row["n"] for batch in there.read(live) for row in batch.to_pylist()]
        assert counted == [sum(row["_deleted_at"] is None for row in expected["customers"])]
    finally:
        there.close()
        here.close()
