"""Pulls of a local Stripe with derived columns: tables, histories, other definitions, and what the log says."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb as engine
import pytest
import servers
from following import Merchant, follow
from pulling import pull, query

from tidegate import config, sandbox
from tidegate import warehouse as warehouses
from tidegate.audit import proof
from tidegate.pull import report, run, scope
from tidegate.warehouse import duckdb


@pytest.fixture(scope="module")
def running() -> Iterator[Merchant]:
    with sandbox.process(objects=10) as url:
        yield Merchant(url)


@pytest.fixture
def shop(running: Merchant) -> Merchant:
    running.control("reset", {"counts": {"customers": 30, "charges": 40}, "seed": 5})
    running.later()
    return running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "w.duckdb"


class Log(report.Silent):
    """Keeps what a pull notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def derived(**columns: Any) -> dict[str, config.Derived]:
    return {name: config.Derived.model_validate(each) for name, each in columns.items()}


NET = {"sql": "amount - amount_refunded"}


def charges(shop: Merchant, file: Path, derive: dict[str, config.Derived], **options: Any) -> Log:
    """One pull of charges."""
    log = Log()
    choice = scope.Choice(derive=derive, **options)
    follow(shop, file, "charges", screen=log, choices={"charges": choice})
    return log


def stored(file: Path, columns: str, table: str = "stripe.charges") -> list[dict[str, Any]]:
    return query(file, f"select {columns} from {table} order by all")


def test_rows_of_lists_and_of_events_have_them(shop: Merchant, file: Path) -> None:
    derive = derived(net=NET, country={"from": "billing_details.address.country"}, origin={"value": "web"})
    charges(shop, file, derive)
    shop.make("/v1/charges", amount=4200, currency="eur", source="tok_visa")
    shop.later()
    charges(shop, file, derive)

    wrong = (
        "net is distinct from amount - amount_refunded or origin is distinct from 'web' "
        "or country is distinct from billing_details->>'$.address.country'"
    )
    (count,) = stored(
        file, f"count(*) as n, count(*) filter ({wrong}) as wrong, count(*) filter (net = 4200) > 0 as new"
    )
    assert count == {"n": 41, "wrong": 0, "new": True}
    (live,) = stored(file, "sum(net) - sum(amount - amount_refunded) as off", "stripe_live.charges")
    assert live == {"off": 0}


def test_another_definition_is_used_for_all_rows_at_the_next_pull(shop: Merchant, file: Path) -> None:
    """Also where a column is new, and where nothing at all changed in Stripe."""
    charges(shop, file, {})
    log = charges(shop, file, derived(net=NET))
    assert [line for line in log.lines if "charges: other columns" in line and "listing again" in line]
    assert stored(file, "count(*) - count(net) as n") == [{"n": 0}]

    charges(shop, file, derived(net={"sql": "(amount - amount_refunded) * 2"}))
    assert stored(file, "distinct net = (amount - amount_refunded) * 2 as same") == [{"same": True}]

    shop.later()
    shop.counted()
    log = charges(shop, file, derived(net={"sql": "(amount - amount_refunded) * 2"}))
    assert log.lines == []
    assert "GET /v1/charges" not in shop.counted()


def test_a_column_that_is_not_derived_any_more_does_not_keep_old_values(shop: Merchant, file: Path) -> None:
    charges(shop, file, derived(net=NET))
    charges(shop, file, {})
    assert stored(file, "count(net) as n") == [{"n": 0}]


def test_a_type_that_is_wider_widens_the_column(shop: Merchant, file: Path) -> None:
    charges(shop, file, derived(net=NET))
    charges(shop, file, derived(net={"sql": "amount / 8"}))
    assert stored(file, "distinct typeof(net) as type, net = amount / 8 as same") == [
        {"type": "DOUBLE", "same": True}
    ]


def test_a_history_has_a_version_for_each_derived_value(shop: Merchant, file: Path) -> None:
    derive = derived(shade={"from": "metadata.shade"})
    id = shop.ids("charges")[0]
    charges(shop, file, derive, columns=frozenset({"id"}), history=True)
    for shade in ("blue", "blue", "green"):
        shop.later()
        shop.make(f"/v1/charges/{id}", metadata={"shade": shade, "beside": shade})
        shop.later()
        charges(shop, file, derive, columns=frozenset({"id"}), history=True)

    found = query(file, f"select shade from stripe.charges_history where id = '{id}' order by _valid_from")
    assert [row["shade"] for row in found] == [None, "blue", "green"]


def test_what_cannot_be_made_is_in_the_log_once_and_fails_nothing(shop: Merchant, file: Path) -> None:
    derive = derived(big={"sql": "CAST(currency AS INTEGER)"})
    log = Log()
    choice = scope.Choice(derive=derive)
    result = pull(shop, file, "charges", screen=log, choices={"charges": choice})

    assert result.status == "ok"
    assert log.lines == [
        "charges: big is NULL in 40 rows: its SQL fails on this row; TRY(...) around it gives null instead."
    ]
    assert stored(file, "count(*) as n, count(big) as big") == [{"n": 40, "big": 0}]


def test_a_full_refresh_and_deleted_rows(shop: Merchant, file: Path) -> None:
    derive = derived(domain={"sql": "split_part(email, '@', 2)"})
    choice = scope.Choice(derive=derive, hard=True)
    follow(shop, file, "customers", choices={"customers": choice})
    gone = shop.ids("customers")[0]
    shop.delete(f"/v1/customers/{gone}")
    shop.later()
    follow(shop, file, "customers", choices={"customers": choice})
    follow(shop, file, "customers", choices={"customers": choice}, full_refresh=True)

    found = query(
        file,
        "select count(*) as n, count(*) filter (domain is distinct from split_part(email, '@', 2)) as wrong "
        "from stripe.customers",
    )
    assert found == [{"n": 29, "wrong": 0}]


def test_an_audit_knows_them_and_mends_them(shop: Merchant, file: Path) -> None:
    derive = derived(net=NET, country={"from": "billing_details.address.country"})
    charges(shop, file, derive)
    options = scope.Options(streams=("charges",), choices={"charges": scope.Choice(derive=derive)})

    def audited(*, repair: bool = False) -> dict[str, int]:
        warehouse = duckdb.DuckDB(file)
        try:
            found = asyncio.run(
                proof.audit(shop.source(), warehouse, options, report.Silent(), repair=repair)
            )
        finally:
            warehouse.close()
        [mine] = [each for each in found.streams if each.stream == "charges"]
        return {kind: mine.total(kind) for kind in ("missing", "extra", "stale")}

    nothing = {"missing": 0, "extra": 0, "stale": 0}
    assert audited() == nothing
    with engine.connect(file) as connection:
        connection.execute(
            "update stripe.charges set net = net + 1 where id in (select max(id) from stripe.charges)"
        )
    assert audited(repair=True) == {**nothing, "stale": 1}
    assert audited() == nothing
    assert stored(file, "distinct net = amount - amount_refunded as same") == [{"same": True}]


TYPES = {
    "a_text": "currency",
    "a_number": {"sql": "amount / 8"},
    "a_whole": NET,
    "a_decimal": {"sql": "CAST(amount AS DECIMAL(18, 2)) / 100", "type": "decimal"},
    "a_flag": {"sql": "amount > 1000"},
    "a_day": {"from": "created", "type": "date"},
    "a_time": {"sql": "created + INTERVAL 1 DAY"},
    "a_document": {"sql": "{'amount': amount, 'tags': [currency]}"},
    "an_absence": {"from": "metadata.nothing", "type": "integer"},
}


@pytest.mark.parametrize("kind", ["duckdb", "postgres", "mariadb"])
def test_every_type_in_a_warehouse_of_its_own(shop: Merchant, tmp_path: Path, kind: str) -> None:
    url = {
        "duckdb": lambda: f"duckdb:///{tmp_path}/w.duckdb",
        "postgres": servers.new_postgres,
        "mariadb": servers.new_mariadb,
    }[kind]()
    warehouse = warehouses.open_warehouse(config.warehouse(url, "stripe"))
    told = {name: {"from": each} if isinstance(each, str) else each for name, each in TYPES.items()}
    options = scope.Options(
        streams=("charges",), choices={"charges": scope.Choice(derive=derived(**told), history=True)}
    )
    try:
        for _ in range(2):
            result = asyncio.run(run.pull(shop.source(), warehouse, options, report.Silent()))
            assert result.status == "ok"
        sql = 'select {} from stripe."charges" where _deleted_at is null'
        names = ", ".join(f'"{name}"' for name in ("amount", "currency", "created", *TYPES))
        batches = warehouse.read(sql.format(names.replace('"', "") if kind == "mariadb" else names))
        rows = [row for batch in batches for row in batch.to_pylist()]
    finally:
        warehouse.close()
    assert len(rows) == 40
    for row in rows:
        amount = row["amount"]
        assert row["a_text"] == row["currency"]
        assert row["a_number"] == amount / 8
        assert row["a_whole"] <= amount
        assert row["a_decimal"] == decimal.Decimal(amount) / 100
        assert bool(row["a_flag"]) == (amount > 1000)
        assert row["a_day"] == f"{row['created']:%Y-%m-%d}"
        assert row["a_time"] - row["created"] == dt.timedelta(days=1)
        assert json.loads(row["a_document"]) == {"amount": amount, "tags": [row["currency"]]}
        assert row["an_absence"] is None
