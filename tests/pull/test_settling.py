"""Rows that settle without an event are followed until they have, for few requests and whatever the lookback."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from following import Merchant, agrees, follow, one
from pulling import KEY, query

from tidegate import catalog
from tidegate.pull import load, scope, settling, shaping
from tidegate.rows import arrow
from tidegate.warehouse import duckdb

HOUR, DAY = 3_600, 86_400
NOON = 1_699_963_200


@pytest.mark.parametrize(
    ("hours", "span"),
    [
        ([], None),
        ([(0, 1, 1)], None),  # one row by its id is as good as one list
        ([(0, 2, 2)], (0, HOUR)),
        ([(0, 40, 100)], (0, HOUR)),
        ([(0, 40, 4_000)], None),  # forty-one pages for forty rows
        ([(0, 40, 100), (HOUR, 0, 200), (2 * HOUR, 50, 100)], (0, 3 * HOUR)),
        ([(0, 3, 100), (HOUR, 0, 5_000), (2 * HOUR, 50, 100)], (2 * HOUR, 3 * HOUR)),
        ([(0, 50, 100), (HOUR, 0, 5_000), (2 * HOUR, 3, 100)], (0, HOUR)),
    ],
)
def test_a_list_is_read_where_it_costs_less_than_its_rows(
    hours: Sequence[tuple[int, int, int]], span: tuple[int, int] | None
) -> None:
    assert settling.densest(hours) == span


def store(file: Path, choice: scope.Choice, *rows: dict[str, Any], version: int) -> load.Target:
    """Balance transactions as they were read at a version."""
    options = scope.Options(choices={"balance_transactions": choice})
    target = scope.target(catalog.load().streams["balance_transactions"], "acct_1", options)
    read = target.decoder.objects([json.dumps(row).encode() for row in rows])
    part = arrow.Part(read, version)
    table = arrow.table(target.decoder, [part], account="acct_1", synced_at=dt.datetime.now(dt.UTC))
    warehouse = duckdb.DuckDB(file)
    warehouse.prepare([target.table])
    warehouse.load(shaping.rows(target.shape, table, carried=frozenset(), payload=False), {})
    warehouse.close()
    return target


def unsettled(file: Path, target: load.Target, now: int) -> list[settling.Unsettled]:
    """What is due at a moment."""

    async def go() -> list[settling.Unsettled]:
        warehouse = duckdb.DuckDB(file)
        loader = load.Loader(warehouse)
        source = scope.Source(KEY, "http://127.0.0.1:9", rate_limit="off", budget=1.0)
        async with scope.connect(source) as stripe:
            targets = {target.stream.name: target}
            shared = scope.shared(stripe, targets, loader, account="acct_1", warehouse=warehouse)
            found = await settling.unsettled(shared, now)
        await loader.finish()
        warehouse.close()
        return found

    return asyncio.run(go())


def pending(n: int, created: int, available: int, status: str = "pending") -> dict[str, Any]:
    return {"id": f"txn_{n:03d}", "created": created, "available_on": available, "status": status}


def test_a_row_is_due_once_its_time_has_come_then_hourly_and_before_it_daily(tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    target = store(file, scope.Choice(), pending(1, NOON - DAY, NOON), version=NOON - 3 * HOUR)

    def due(now: int) -> list[str]:
        return [row_id for each in unsettled(file, target, now) for row_id in each.ids]

    assert due(NOON - 1) == []
    assert due(NOON) == ["txn_001"]
    store(file, scope.Choice(), pending(1, NOON - DAY, NOON), version=NOON + 60)  # it is late
    assert due(NOON + 60 + HOUR - 1) == []
    assert due(NOON + 60 + HOUR) == ["txn_001"]
    store(file, scope.Choice(), pending(1, NOON - DAY, NOON, "available"), version=NOON + 2 * HOUR)
    assert due(NOON + 30 * DAY) == []
    store(file, scope.Choice(), pending(2, NOON, NOON + 60 * DAY), version=NOON)
    assert due(NOON + DAY - 1) == []
    assert due(NOON + DAY) == ["txn_002"]  # who knows, it may have settled early


def test_it_is_known_when_the_next_row_is_due(tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    target = store(file, scope.Choice(), pending(1, NOON, NOON, "available"), version=NOON)
    assert unsettled(file, target, NOON)[0].due is None
    store(file, scope.Choice(), pending(2, NOON, NOON + 600), pending(3, NOON, NOON + 700), version=NOON)
    assert unsettled(file, target, NOON + 1)[0].due == NOON + 600
    store(file, scope.Choice(), pending(2, NOON, NOON + 600), version=NOON + 601)
    assert unsettled(file, target, NOON + 650)[0].due == NOON + 700


def test_rows_that_lie_close_are_listed_and_the_others_are_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    close = [pending(n, NOON + n, NOON + DAY) for n in range(40)]
    settled = [pending(n, NOON + n, NOON, "available") for n in range(40, 90)]
    lone = pending(900, NOON - 20 * DAY, NOON + DAY)
    between = [pending(n, NOON - 10 * DAY, NOON, "available") for n in range(100, 400)]
    target = store(file, scope.Choice(), *close, *settled, lone, *between, version=NOON + 100)
    (found,) = unsettled(file, target, NOON + DAY)
    assert (found.span, found.ids) == ((NOON, NOON + HOUR), ("txn_900",))


def test_without_the_column_that_says_when_it_is_asked_daily(tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    choice = scope.Choice(columns=frozenset({"status"}))
    target = store(file, choice, pending(1, NOON, NOON), pending(2, NOON, NOON), version=NOON)
    assert unsettled(file, target, NOON + DAY - 1)[0].ids == ()
    assert unsettled(file, target, NOON + DAY)[0].ids == ("txn_001", "txn_002")


@pytest.mark.parametrize(
    "choice", [scope.Choice(columns=frozenset({"amount"})), scope.Choice(hashed=frozenset({"status"}))]
)
def test_without_the_state_nothing_can_be_followed(tmp_path: Path, choice: scope.Choice) -> None:
    file = tmp_path / "w.duckdb"
    target = store(file, choice, pending(1, NOON, NOON), version=NOON)
    assert unsettled(file, target, NOON + 30 * DAY) == []


@pytest.fixture
def merchant(start: Callable[..., Any]) -> Merchant:
    return Merchant(start(objects=300).url)


def test_a_balance_transaction_settles_whatever_the_lookback(merchant: Merchant, tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    given = {"amount": 2_000, "currency": "usd", "source": "tok_visa"}
    made = merchant.make("/v1/charges", **given)["balance_transaction"]
    follow(merchant, file, "balance_transactions", lookback=0)
    assert one(file, "balance_transactions", made)["status"] == "pending"
    merchant.later(9 * DAY)
    follow(merchant, file, "balance_transactions", lookback=0)
    assert one(file, "balance_transactions", made)["status"] == "available"
    agrees(merchant, file, "balance_transactions")


def test_many_settle_for_the_price_of_a_list(merchant: Merchant, tmp_path: Path) -> None:
    file = tmp_path / "w.duckdb"
    for _ in range(30):
        merchant.make("/v1/charges", amount=2_000, currency="usd", source="tok_visa")
    merchant.later(60)
    follow(merchant, file, "balance_transactions", lookback=0)
    merchant.later(9 * DAY)
    merchant.counted()
    follow(merchant, file, "balance_transactions", lookback=0)
    found = merchant.counted()
    assert found.pop("GET /v1/events") <= 2
    assert found["GET /v1/balance_transactions"] <= 2
    assert sum(found.values()) <= 5
    states = query(file, "select distinct status from stripe.balance_transactions")
    assert [each["status"] for each in states] == ["available"]
