"""What a cycle costs, in which order an account is brought up to date, and what makes it list something again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import double
import duckdb as library
import ledger
import pytest
import scripted
from following import Merchant, agrees, follow, gone, ids, one
from pulling import Stripe, pull

from tidegate import sandbox
from tidegate.pull import report, scope
from tidegate.stripe import attempts
from tidegate.warehouse import duckdb

PRODUCTS = "/v1/products"
SHOP = (
    "customers",
    "products",
    "prices",
    "subscriptions",
    "subscription_items",
    "invoices",
    "charges",
    "refunds",
)


@pytest.fixture(scope="module")
def running() -> Iterator[Merchant]:
    with sandbox.process(objects=10) as url:
        yield Merchant(url)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "w.duckdb"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.02)


class Notes(report.Silent):
    """Keeps what is worth a line."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


# What a cycle costs


def opened(running: Merchant, objects: int, **counts: int) -> Merchant:
    """A business of some size, anew, or with so many objects of a kind."""
    running.control("reset", {"objects": objects, "seed": 5, "counts": counts or None})
    running.later()
    return running


def test_a_cycle_in_which_nothing_changed_takes_one_request_for_all_streams(
    running: Merchant, file: Path
) -> None:
    shop = opened(running, 300)
    follow(shop, file)
    shop.later()
    follow(shop, file)
    shop.later()
    shop.counted()
    result = follow(shop, file)
    assert shop.counted() == {"GET /v1/events": 1}
    assert result.tally.requests == 1


def test_120_changed_customers_are_told_by_their_payloads(running: Merchant, file: Path) -> None:
    shop = opened(running, 0, customers=300, products=10, prices=10, subscriptions=10)
    customers = shop.ids("customers")[:120]
    follow(shop, file, *SHOP)
    shop.later()
    for id in customers:
        shop.make(f"/v1/customers/{id}", name="Ada")
    shop.later()
    shop.counted()
    result = follow(shop, file, *SHOP)
    assert sum(shop.counted().values()) == result.tally.requests <= 6
    agrees(shop, file, *SHOP)


def test_120_changed_customers_of_an_older_version_are_read_once_each(running: Merchant, file: Path) -> None:
    shop = opened(running, 0, customers=300, products=10, prices=10, subscriptions=10)
    customers = shop.ids("customers")[:120]
    shop.control("version", {"version": "2022-08-01"})
    follow(shop, file, *SHOP)
    shop.later()
    for id in customers:
        shop.make(f"/v1/customers/{id}", name="Ada")
        shop.make(f"/v1/customers/{id}", phone="7")
    shop.later()
    shop.counted()
    result = follow(shop, file, *SHOP)
    assert 120 < result.tally.requests <= 130
    assert sum(shop.counted().values()) == result.tally.requests
    agrees(shop, file, "customers")


def test_120_new_customers_are_read_from_the_top_of_their_list(running: Merchant, file: Path) -> None:
    shop = opened(running, 1_000)
    follow(shop, file, *SHOP)
    shop.later()
    for n in range(120):
        shop.make("/v1/customers", name=f"Ada {n}")
    shop.later()
    shop.counted()
    result = follow(shop, file, *SHOP)
    assert sum(shop.counted().values()) == result.tally.requests <= 6
    agrees(shop, file, "customers")


def test_no_request_of_the_tail_grows_with_the_size_of_a_table(running: Merchant, tmp_path: Path) -> None:
    counted = []
    for objects in (300, 1_500):
        shop, file = opened(running, objects), tmp_path / f"{objects}.duckdb"
        shop.control("version", {"version": "2022-08-01"})
        follow(shop, file, *SHOP)
        shop.later()
        with shop.second():  # what is created and deleted in one second is read, in two it is not
            shop.make(f"/v1/charges/{shop.ids('charges')[0]}", description="A cup")
            shop.make(f"/v1/invoices/{shop.ids('invoices')[0]}", metadata={"thanks": "yes"})
            paid = shop.make(
                "/v1/payment_intents", amount=500, currency="usd", confirm=True, payment_method="pm_card_visa"
            )
            shop.make("/v1/refunds", payment_intent=paid["id"])
            doomed = [shop.make("/v1/customers", name=f"Ada {n}")["id"] for n in range(5)]
            shop.delete(f"/v1/customers/{doomed[0]}")
        shop.later()
        shop.counted()
        follow(shop, file, *SHOP)
        counted.append(shop.counted())
        agrees(shop, file, *SHOP)
    assert counted[0] == counted[1]


# In which order


def state(file: Path, prefix: str = "") -> dict[str, str]:
    warehouse = duckdb.DuckDB(file)
    try:
        return warehouse.state(prefix)
    finally:
        warehouse.close()


def test_the_place_in_the_events_is_noted_before_anything_is_listed(file: Path) -> None:
    """A pull that ends with its first list has noted it; the rows that came later are no newer."""
    shop = ledger.Ledger(PRODUCTS)
    shop.put(PRODUCTS, "prod_1", name="Tea")
    shop.during(PRODUCTS, lambda: shop.later(30))
    with double.serving(shop) as url:
        follow(Stripe(url), file, "products")
    paths = [each.partition("?")[0] for each in shop.requests]
    assert paths.index("/v1/events") < paths.index(PRODUCTS)
    assert int(state(file)["tail/acct_1"]) <= ledger.NOW


def test_a_first_pull_whose_list_fails_keeps_its_place_in_the_events(file: Path) -> None:
    shop = ledger.Ledger(PRODUCTS)
    shop.put(PRODUCTS, "prod_1", name="Tea")
    shop.instead[PRODUCTS] = scripted.BROKEN
    with double.serving(shop) as url:
        assert pull(Stripe(url), file, "products").exit_code != 0
        place = int(state(file)["tail/acct_1"])
        shop.instead.clear()
        shop.later(3_000)
        follow(Stripe(url), file, "products")
    assert ledger.NOW - 10 < place <= ledger.NOW
    assert ids(file, "products") == ["prod_1"]


# What is listed again


def again(shop: ledger.Ledger, file: Path, **options: object) -> list[str]:
    """Pull, much later than a change that no event tells any more; what is noted."""
    notes = Notes()
    shop.later()
    with double.serving(shop) as url:
        follow(Stripe(url), file, "products", screen=notes, **options)
    return notes.said


@pytest.fixture
def shop(file: Path) -> ledger.Ledger:
    """Two products, pulled; since then one changed and one went without a word."""
    made = ledger.Ledger(PRODUCTS)
    for id in ("prod_1", "prod_2", "prod_3", "prod_4", "prod_5", "prod_6"):
        made.put(PRODUCTS, id, name="Tea")
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
    made.later()
    made.put(PRODUCTS, "prod_1", name="Coffee")
    made.remove(PRODUCTS, "prod_2")
    return made


def repaired(file: Path) -> bool:
    """Does the table have what changed without a word?"""
    return one(file, "products", "prod_1")["name"] == "Coffee" and gone(file, "products") == ["prod_2"]


def test_what_no_event_tells_of_a_stream_that_events_tell_stays_unseen(
    shop: ledger.Ledger, file: Path
) -> None:
    """Which is why the ways to find it out all the same are tested here."""
    assert again(shop, file) == []
    assert not repaired(file)


def test_a_lost_place_in_the_events_is_said_and_everything_stored_is_listed_again(
    shop: ledger.Ledger, file: Path
) -> None:
    warehouse = duckdb.DuckDB(file)
    warehouse.load([], {"tail/acct_1": None})
    warehouse.close()
    (note,) = again(shop, file)
    assert note.startswith("acct_1: the place in the events was lost; listing again")
    assert repaired(file)


def test_a_place_that_is_still_to_come_is_another_stripe_s(shop: ledger.Ledger, file: Path) -> None:
    warehouse = duckdb.DuckDB(file)
    warehouse.load([], {"tail/acct_1": str(shop.now + 86_400)})
    warehouse.close()
    (note,) = again(shop, file)
    assert "is still to come at this Stripe" in note
    assert repaired(file)


def test_a_full_refresh_finds_what_changed_and_what_went(shop: ledger.Ledger, file: Path) -> None:
    again(shop, file, full_refresh=True)
    assert repaired(file)


def test_a_stream_that_is_to_be_read_whole_each_time_is(shop: ledger.Ledger, file: Path) -> None:
    again(shop, file, choices={"products": scope.Choice(refresh=True)})
    assert repaired(file)


def test_another_choice_of_columns_fills_the_new_ones(shop: ledger.Ledger, file: Path) -> None:
    again(shop, file, choices={"products": scope.Choice(columns=frozenset({"id", "name"}))})
    assert one(file, "products", "prod_1")["name"] == "Coffee"


def test_a_table_that_was_dropped_comes_back_whole(shop: ledger.Ledger, file: Path) -> None:
    with library.connect(str(file)) as connection:
        connection.execute("drop table stripe.products")
    again(shop, file)
    assert ids(file, "products") == sorted(shop.objects[PRODUCTS])


def test_a_warehouse_restored_from_last_week_is_followed_from_there(
    running: Merchant, tmp_path: Path
) -> None:
    shop, file, backup = opened(running, 250), tmp_path / "w.duckdb", tmp_path / "backup.duckdb"
    follow(shop, file, *SHOP)
    shutil.copyfile(file, backup)
    for seed in (1, 2):
        shop.later(3 * 86_400)
        shop.control("traffic", {"seed": seed, "steps": 25, "tick": 0.5, "only_evented": True})
        shop.later()
        follow(shop, file, *SHOP)
    shutil.copyfile(backup, file)
    follow(shop, file, *SHOP)
    agrees(shop, file, *SHOP)


def test_a_gap_that_is_being_repaired_when_the_list_fails_is_repaired_next_time(
    shop: ledger.Ledger, file: Path
) -> None:
    shop.later(40 * 86_400)
    shop.instead[PRODUCTS] = scripted.BROKEN
    with double.serving(shop) as url:
        assert pull(Stripe(url), file, "products").exit_code != 0
        assert not repaired(file)
        shop.instead.clear()
        shop.later()
        follow(Stripe(url), file, "products")
    assert repaired(file)
    assert "relist/acct_1" not in state(file)
