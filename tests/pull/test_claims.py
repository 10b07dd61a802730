"""A table that somebody dropped comes back whole, wherever the pull that notices it is cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import double
import duckdb as engine
import ledger
import pytest
from following import Merchant, agrees, follow, ids
from pulling import Stripe, pull, query

from tidegate import errors, sandbox
from tidegate.pull import events, report, run, scope
from tidegate.stripe import attempts
from tidegate.warehouse import duckdb

STREAMS = ("customers", "products", "invoices", "invoice_line_items")


@pytest.fixture(scope="module")
def shop() -> Iterator[Merchant]:
    with sandbox.process(objects=400, seed=5) as url:
        yield Merchant(url)


@pytest.fixture
def file(shop: Merchant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The business, pulled a moment ago."""
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.02)
    shop.later()
    follow(shop, tmp_path / "w.duckdb", *STREAMS)
    return tmp_path / "w.duckdb"


def drop(file: Path, table: str) -> None:
    """Somebody drops a table, and its view with it."""
    with engine.connect(str(file)) as connection:
        connection.execute(f"drop view stripe_live.{table}; drop table stripe.{table}")


def test_it_is_read_again_by_the_next_pull(shop: Merchant, file: Path) -> None:
    drop(file, "products")
    follow(shop, file, *STREAMS)
    agrees(shop, file, *STREAMS)


def test_nothing_is_read_again_when_nothing_was_dropped(shop: Merchant, file: Path) -> None:
    shop.counted()
    follow(shop, file, *STREAMS)
    assert shop.counted() == {"GET /v1/events": 1}


def test_a_pull_that_could_not_reach_stripe_made_the_table_and_hides_nothing(
    shop: Merchant, file: Path
) -> None:
    """The table is there again, and empty, before Stripe is asked for anything."""
    drop(file, "products")
    shop.faults({"kind": "reset"})
    result = pull(shop, file, *STREAMS)
    shop.faults()
    assert isinstance(result.end, errors.Unreachable)
    assert ids(file, "products") == []
    follow(shop, file, *STREAMS)
    agrees(shop, file, *STREAMS)
    shop.counted()
    follow(shop, file, *STREAMS)
    assert shop.counted() == {"GET /v1/events": 1}


def test_a_table_that_is_dropped_again_before_it_was_filled(shop: Merchant, file: Path) -> None:
    drop(file, "invoice_line_items")
    shop.faults({"kind": "reset"})
    pull(shop, file, *STREAMS)
    drop(file, "invoice_line_items")
    pull(shop, file, *STREAMS)
    shop.faults()
    follow(shop, file, *STREAMS)
    agrees(shop, file, *STREAMS)


def test_a_pull_of_other_streams_leaves_the_note_to_the_one_that_has_it(shop: Merchant, file: Path) -> None:
    drop(file, "products")
    shop.faults({"kind": "reset"})
    pull(shop, file, *STREAMS)
    shop.faults()
    follow(shop, file, "customers")
    assert ids(file, "products") == []
    follow(shop, file, *STREAMS)
    agrees(shop, file, *STREAMS)


def test_a_stream_that_is_new_has_lost_nothing(shop: Merchant, file: Path) -> None:
    """It goes on where its first reading was cut short, and does not begin anew."""
    shop.faults({"kind": "error", "path": "/v1/coupons"})
    pull(shop, file, *STREAMS, "coupons")
    shop.faults()
    assert query(file, "select value from stripe._tidegate_state where key = 'tables/lost'") == []
    follow(shop, file, *STREAMS, "coupons")
    assert ids(file, "coupons") == sorted(shop.ids("coupons"))


def test_another_name_for_a_table_is_another_table(shop: Merchant, file: Path) -> None:
    choices = {"products": scope.Choice(table="goods")}
    follow(shop, file, *STREAMS, choices=choices)
    assert ids(file, "goods") == sorted(shop.ids("products"))
    warehouse = duckdb.DuckDB(file)
    assert set(warehouse.state("tables/made")["tables/made"].split()) == {*STREAMS, "goods"}
    warehouse.close()


# Noticed by another than the one that lost


COUPONS, PRODUCTS = "/v1/coupons", "/v1/products"


@pytest.fixture
def small() -> ledger.Ledger:
    """Two products and a coupon."""
    made = ledger.Ledger(PRODUCTS, COUPONS)
    for n in (1, 2):
        made.put(PRODUCTS, f"prod_{n}", name="Tea")
    made.put(COUPONS, "c1")
    return made


def test_an_account_that_the_next_pull_leaves_out_lists_again_when_it_is_back(
    small: ledger.Ledger, tmp_path: Path
) -> None:
    file, both = tmp_path / "w.duckdb", {"accounts": ("acct_1", "acct_2")}
    with double.serving(small) as url:
        follow(Stripe(url), file, "products", source=both)
        drop(file, "products")
        for source in ({"accounts": ("acct_1",)}, both):
            small.later()
            follow(Stripe(url), file, "products", source=source)
    stored = query(
        file, "select _account_id as a, count(*) as n from stripe.products group by all order by all"
    )
    assert stored == [{"a": "acct_1", "n": 2}, {"a": "acct_2", "n": 2}]


def test_a_table_that_is_dropped_while_pulls_follow_one_another(
    small: ledger.Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event would make it anew, with a single row in it."""
    monkeypatch.setattr(events, "LAG", -60)  # at once, since a clock that jumps is not believed
    file = tmp_path / "w.duckdb"

    async def watch(source: scope.Source, warehouse: duckdb.DuckDB) -> None:
        async with scope.connect(source) as stripe:
            options = scope.Options(streams=("products",))
            watched = run.Pull(source, warehouse, options, report.Silent(), stripe, patient=True)
            assert (await watched.once()).status == "ok"
            warehouse.close()
            drop(file, "products")
            small.put(PRODUCTS, "prod_1", "product.updated", name="Coffee")
            assert (await watched.once()).status == "ok"
        warehouse.close()

    with double.serving(small) as url:
        asyncio.run(watch(Stripe(url).source(), duckdb.DuckDB(file)))
    assert ids(file, "products") == ["prod_1", "prod_2"]


def test_a_history_that_was_dropped_begins_anew(small: ledger.Ledger, tmp_path: Path) -> None:
    file, kept = tmp_path / "w.duckdb", {"products": scope.Choice(history=True)}
    with double.serving(small) as url:
        follow(Stripe(url), file, "products", choices=kept)
        with engine.connect(str(file)) as connection:
            connection.execute("drop table stripe.products_history")
        small.later()
        follow(Stripe(url), file, "products", choices=kept)
    assert [row["id"] for row in query(file, "select id from stripe.products_history order by 1")] == [
        "prod_1",
        "prod_2",
    ]


def test_state_that_was_dropped_leaves_no_row_that_went_meanwhile(
    small: ledger.Ledger, tmp_path: Path
) -> None:
    file = tmp_path / "w.duckdb"
    with double.serving(small) as url:
        follow(Stripe(url), file, "products")
        with engine.connect(str(file)) as connection:
            connection.execute("drop table stripe._tidegate_state")
        small.remove(PRODUCTS, "prod_2")
        small.later()
        follow(Stripe(url), file, "products")
    assert ids(file, "products") == ["prod_1"]


def test_two_keys_of_one_account_pull_one_after_the_other(small: ledger.Ledger, tmp_path: Path) -> None:
    """How far its events were followed is one place for both, whatever they pull."""
    file, second = tmp_path / "w.duckdb", list[report.Result]()
    with double.serving(small) as url:

        async def other() -> None:
            pulled = await asyncio.to_thread(pull, Stripe(url), file, "coupons", key="sk_test_another")
            second.append(pulled)

        small.during(PRODUCTS, other)
        first = pull(Stripe(url), file, "products")
    assert (type(first.end), second[0].status) == (errors.Fenced, "ok")
    assert first.exit_code == 3, "held by somebody else"
    assert second[0].run_id in str(first.end)
    assert "wait until the other is done" in str(first.end)
