"""A table that somebody dropped comes back whole, wherever the pull that notices it is cut short."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb as engine
import pytest
from following import Merchant, agrees, follow, ids
from pulling import pull, query

from tidegate import errors, sandbox
from tidegate.pull import scope
from tidegate.stripe import client
from tidegate.warehouse import duckdb

STREAMS = ("customers", "products", "invoices", "invoice_line_items")


@pytest.fixture(scope="module")
def shop() -> Iterator[Merchant]:
    with sandbox.process(objects=400, seed=5) as url:
        yield Merchant(url)


@pytest.fixture
def file(shop: Merchant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The business, pulled a moment ago."""
    monkeypatch.setattr(client, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(client, "LONGEST_WAIT", 0.02)
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
    assert query(file, "select value from stripe._tidegate_state where key = 'tables/lost'") == []


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
