"""Cases that a table must hold, one named test each: a merchant acts in the sandbox, and pulls follow.

Where the very order of events matters it is `ledger`, which is told them one by one.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import double
import ledger
import pytest
from following import Merchant, agrees, follow, gone, ids, live, one, rows
from pulling import Stripe, pull, query

from tidegate import catalog, sandbox
from tidegate.pull import report, run, scope
from tidegate.stripe import attempts
from tidegate.warehouse import duckdb

KNOWN = catalog.load().streams
PRODUCTS = "/v1/products"
BILLING = (
    "customers",
    "products",
    "prices",
    "subscriptions",
    "subscription_items",
    "invoices",
    "invoice_line_items",
    "charges",
    "refunds",
)


@pytest.fixture(scope="module")
def running() -> Iterator[Merchant]:
    with sandbox.process(objects=10) as url:
        yield Merchant(url)


@pytest.fixture
def shop(running: Merchant) -> Merchant:
    """A small business, made anew for each test; its last objects are ten seconds old."""
    running.control("reset", {"objects": 250, "seed": 5})
    running.later()
    return running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "w.duckdb"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.02)


class At(report.Silent):
    """Does something when so many requests of a stream have been answered."""

    def __init__(self, stream: str, requests: int, act: Callable[[], object]) -> None:
        self.stream, self.left, self.act = stream, requests, act

    def advanced(self, stream: str, *, requests: int = 0, **_: int | None) -> None:
        if requests and stream == self.stream:
            self.left -= requests
            if self.left == 0:
                self.act()


def of(result: report.Result, stream: str) -> report.Outcome:
    """How a stream fared."""
    return next(each for each in result.outcomes if each.stream == stream)


# Children


def draft(shop: Merchant, lines: int) -> str:
    """A draft invoice with so many lines."""
    customer = shop.make("/v1/customers", name="Ada")["id"]
    invoice = shop.make("/v1/invoices", customer=customer)["id"]
    for part in range(0, lines, 50):
        some = [{"amount": 100 + n, "description": f"cup {n}"} for n in range(part, min(part + 50, lines))]
        shop.make(f"/v1/invoices/{invoice}/add_lines", lines=some)
    return str(invoice)


def children(file: Path, table: str, parent: str) -> list[str]:
    """The ids of a parent's rows that are not deleted."""
    return [row["id"] for row in rows(file, table, f"_parent_id = '{parent}' and _deleted_at is null")]


@pytest.mark.parametrize("count", [11, 101, 250])
def test_an_invoice_with_many_lines_of_which_one_is_removed(count: int, shop: Merchant, file: Path) -> None:
    streams = ("invoices", "invoice_line_items")
    invoice = draft(shop, count)
    shop.later()
    follow(shop, file, *streams)
    lines = children(file, "invoice_line_items", invoice)
    assert len(lines) == count

    shop.make(f"/v1/invoices/{invoice}/remove_lines", lines=[{"id": lines[count // 2], "behavior": "delete"}])
    shop.later()
    follow(shop, file, *streams)
    assert gone(file, "invoice_line_items") == [lines[count // 2]]
    assert len(children(file, "invoice_line_items", invoice)) == count - 1
    agrees(shop, file, *streams)


def test_a_subscription_with_twelve_items_of_which_one_is_removed_and_then_it_is_canceled(
    shop: Merchant, file: Path
) -> None:
    product = shop.make("/v1/products", name="Tea")["id"]
    prices = [
        shop.make(
            "/v1/prices",
            currency="usd",
            unit_amount=100 + n,
            recurring={"interval": "month"},
            product=product,
        )["id"]
        for n in range(12)
    ]
    customer = shop.make("/v1/customers", name="Ada")["id"]
    made = shop.make("/v1/subscriptions", customer=customer, items=[{"price": each} for each in prices])["id"]
    shop.later()
    follow(shop, file, *BILLING)
    items = children(file, "subscription_items", made)
    assert len(items) == 12

    shop.delete(f"/v1/subscription_items/{items[4]}")
    shop.later()
    follow(shop, file, *BILLING)
    assert gone(file, "subscription_items") == [items[4]]
    assert children(file, "subscription_items", made) == [id for id in items if id != items[4]]

    shop.delete(f"/v1/subscriptions/{made}")
    shop.later()
    follow(shop, file, *BILLING)
    assert one(file, "subscriptions", made)["status"] == "canceled"
    agrees(shop, file, *BILLING)


# Order


def histories() -> Iterator[tuple[str, tuple[str, ...]]]:
    """What may happen to one product within a second, and what is true in the end: its name, or gone."""
    yield "Third", ("updated First", "updated Second", "updated Third")
    yield "Third", ("created First", "updated Second", "updated Third")
    yield "", ("created First", "updated Second", "deleted")
    yield "", ("updated First", "updated Second", "deleted")
    yield "Third", ("updated First", "deleted", "created Third")


def test_three_events_in_one_second_in_every_order_in_which_they_may_be_seen(file: Path) -> None:
    """In every permutation of the list, and each of them, or any two, visible a minute late."""
    shop = ledger.Ledger(PRODUCTS)
    truth: dict[str, str] = {}
    after: list[Callable[[], object]] = []
    lateness = [late for late in itertools.product((0, 60), repeat=3) if late != (60, 60, 60)]
    for n, ((name, happened), order, late) in enumerate(
        itertools.product(histories(), itertools.permutations(range(3)), lateness)
    ):
        id = f"prod_{n:04d}"
        truth[id] = name
        if not happened[0].startswith("created"):
            shop.put(PRODUCTS, id, name="Before")
        after.append(functools.partial(shop.put, PRODUCTS, id, name=name))
        for i in order:
            kind, _, called = happened[i].partition(" ")
            seen = {"id": id, "object": "product", "created": shop.now, "name": called}
            after.append(functools.partial(shop.tell, f"product.{kind}", seen, {}, late=late[i]))
        if not name:
            after.append(functools.partial(shop.remove, PRODUCTS, id))
    with double.serving(shop) as url:
        follow(Stripe(url), file, "products")
        shop.later()
        for act in after:
            act()
        for wait in (10, 60, 10):
            shop.later(wait)
            follow(Stripe(url), file, "products")
    found = {row["id"]: row["name"] for row in rows(file, "products", "_deleted_at is null")}
    assert found == {id: name for id, name in truth.items() if name}
    assert not set(gone(file, "products")) & set(found)


@pytest.mark.parametrize("version", [ledger.VERSION, ledger.OLD])
def test_product_updated_arriving_after_product_deleted(version: str, file: Path) -> None:
    shop = ledger.Ledger(PRODUCTS)
    tea = shop.put(PRODUCTS, "prod_1", name="Tea")
    with double.serving(shop) as url:
        follow(Stripe(url), file, "products")
        shop.later()
        shop.tell("product.updated", {**tea, "name": "Coffee"}, {"name": "Tea"}, late=40, version=version)
        shop.later(2)
        shop.remove(PRODUCTS, "prod_1", "product.deleted")
        for wait in (10, 40, 10):
            shop.later(wait)
            follow(Stripe(url), file, "products")
            assert (ids(file, "products"), gone(file, "products")) == ([], ["prod_1"])


@pytest.mark.parametrize("spread", [False, True])
def test_events_that_become_visible_thirty_seconds_late(spread: bool, shop: Merchant, file: Path) -> None:
    follow(shop, file, *BILLING)
    shop.control("delays", {"events": 30, "spread": spread})
    customer, *_ = shop.ids("customers")
    shop.later()
    shop.make(f"/v1/customers/{customer}", name="Ada")
    made = shop.make("/v1/products", name="Tea")["id"]
    for _ in range(4):
        shop.later(12)
        follow(shop, file, *BILLING)
    assert one(file, "customers", customer)["name"] == "Ada"
    assert made in ids(file, "products")
    agrees(shop, file, *BILLING)


# Interruptions


def test_cut_short_at_the_first_slice_and_resumed(shop: Merchant, file: Path) -> None:
    """Whole tables of the real kill -9 are in `test_kill`."""
    shop.control("reset", {"counts": {"charges": 1_200, "customers": 20}})
    shop.later()

    async def cut(warehouse: duckdb.DuckDB) -> None:
        options = scope.Options(streams=("charges",))
        screen = At("charges", 1, lambda: None)
        work = asyncio.create_task(run.pull(shop.source(), warehouse, options, screen))
        screen.act = work.cancel
        with pytest.raises(asyncio.CancelledError):
            await work

    warehouse = duckdb.DuckDB(file)
    asyncio.run(cut(warehouse))
    warehouse.close()
    there = ids(file, "charges")
    assert 0 < len(there) < 1_200
    shop.later()
    shop.make(f"/v1/charges/{there[0]}", description="Since the interruption")
    shop.later()
    (outcome,) = follow(shop, file, "charges").outcomes
    assert outcome.read <= 1_200 - len(there) + 1
    assert one(file, "charges", there[0])["description"] == "Since the interruption"
    agrees(shop, file, "charges")


def test_idle_for_a_month_with_creations_updates_and_deletions_inside(shop: Merchant, file: Path) -> None:
    doomed = [shop.make("/v1/customers", name="Ada")["id"], shop.make("/v1/products", name="Tea")["id"]]
    subscription = next(
        line["object"]["id"] for line in shop.truth("subscriptions") if line["object"]["status"] == "active"
    )
    shop.later()
    follow(shop, file, *BILLING)
    shop.later()
    shop.delete(f"/v1/customers/{doomed[0]}")
    shop.delete(f"/v1/products/{doomed[1]}")
    shop.delete(f"/v1/subscriptions/{subscription}")
    shop.make(f"/v1/customers/{shop.ids('customers')[0]}", name="Grace")
    shop.later(31 * 86_400)
    made = [shop.make("/v1/customers", name="Alan")["id"] for _ in range(3)]
    shop.delete(f"/v1/customers/{made.pop()}")
    shop.later()
    follow(shop, file, *BILLING)
    assert gone(file, "customers") == [doomed[0]]
    assert gone(file, "products") == [doomed[1]]
    assert set(made) <= set(ids(file, "customers"))
    assert one(file, "subscriptions", subscription)["status"] == "canceled"
    agrees(shop, file, *BILLING)


# Versions


@pytest.mark.parametrize("version", ["2015-10-16", "2024-06-20"])
def test_an_account_on_an_older_api_version(version: str, shop: Merchant, file: Path) -> None:
    """Its payloads lack what later versions have, and have what they lack."""
    shop.control("reset", {"objects": 250, "seed": 5, "api_version": version})
    shop.later()
    follow(shop, file, *BILLING)
    shop.control("traffic", {"seed": 3, "steps": 40, "tick": 0.5, "only_evented": True})
    shop.later()
    follow(shop, file, *BILLING)
    agrees(shop, file, *BILLING)


# Permissions


SCOPED = ("customers", "products", "prices", "charges", "refunds")
SCOPES = [*sorted({KNOWN[name].permission for name in SCOPED}), "rak_event_read"]
KEY = "rk_test_some1234567890"


@pytest.fixture
def restricted(shop: Merchant) -> Merchant:
    """The shop, with a key that may read five streams and the events."""
    shop.control("keys", {"key": KEY, "scopes": SCOPES})
    return shop


def change(shop: Merchant) -> dict[str, str]:
    """A change of everything that the restricted key may read; the id that came new."""
    shop.make(f"/v1/customers/{shop.ids('customers')[0]}", name="Ada")
    shop.make(f"/v1/products/{shop.ids('products')[0]}", name="Tea")
    shop.make(f"/v1/charges/{shop.ids('charges')[0]}", description="A cup")
    made = shop.make("/v1/customers", name="Grace")["id"]
    product = shop.make("/v1/products", name="Cake")["id"]
    shop.delete(f"/v1/products/{product}")
    shop.later()
    return {"customers": made}


def test_a_key_that_lacks_one_scope_reads_the_rest_and_says_what_is_missing(
    restricted: Merchant, file: Path
) -> None:
    restricted.control("keys/drop", {"key": KEY, "scope": KNOWN["charges"].permission})
    result = pull(restricted, file, *SCOPED, key=KEY)
    assert result.exit_code == 3
    assert of(result, "charges").status == "no_permission"
    assert KNOWN["charges"].permission in of(result, "charges").error
    assert {each.status for each in result.outcomes if each.stream not in ("charges", "refunds")} == {"ok"}
    change(restricted)
    pull(restricted, file, *SCOPED, key=KEY)
    agrees(restricted, file, "customers", "products", "prices")


@pytest.mark.parametrize("lost", ["customers", "products", "charges"])
def test_a_scope_that_is_lost_and_comes_back_leaves_no_hole(
    lost: str, restricted: Merchant, file: Path
) -> None:
    """What changed meanwhile has long left the overlap."""
    scope = {"key": KEY, "scope": KNOWN[lost].permission}
    follow(restricted, file, *SCOPED, key=KEY)
    restricted.later()
    restricted.control("version", {"version": "2022-08-01"})  # so that every change must be read
    restricted.control("keys/drop", scope)
    made = change(restricted)
    for wait in (10, 2_000):
        result = pull(restricted, file, *SCOPED, key=KEY)
        assert of(result, lost).status == "no_permission"
        assert result.exit_code == 3
        restricted.later(wait)
    restricted.control("keys/grant", scope)
    follow(restricted, file, *SCOPED, key=KEY)
    assert made["customers"] in ids(file, "customers")
    agrees(restricted, file, *SCOPED)


def test_a_scope_that_is_lost_in_the_middle_of_the_first_pull(restricted: Merchant, file: Path) -> None:
    restricted.control("reset", {"counts": {"customers": 900, "products": 20, "prices": 20, "charges": 50}})
    restricted.control("keys", {"key": KEY, "scopes": SCOPES})
    restricted.later()
    scope = {"key": KEY, "scope": KNOWN["customers"].permission}
    drop = At("customers", 1, lambda: restricted.control("keys/drop", scope))
    first = pull(restricted, file, *SCOPED, key=KEY, screen=drop)
    assert of(first, "customers").status == "no_permission"
    assert KNOWN["customers"].permission in of(first, "customers").error
    assert len(ids(file, "customers")) < 900
    change(restricted)
    restricted.control("keys/grant", scope)
    restricted.later(2_000)
    follow(restricted, file, *SCOPED, key=KEY)
    agrees(restricted, file, *SCOPED)


def test_without_the_permission_for_events_and_after_it_came_back(restricted: Merchant, file: Path) -> None:
    """Deletions too: what a whole list no longer has is gone."""
    doomed = restricted.make("/v1/customers", name="Gone soon")["id"]
    follow(restricted, file, *SCOPED, key=KEY)
    scope = {"key": KEY, "scope": "rak_event_read"}
    restricted.control("keys/drop", scope)
    restricted.later()
    restricted.delete(f"/v1/customers/{doomed}")
    made = change(restricted)
    restricted.later(86_400)
    pull(restricted, file, *SCOPED, key=KEY)
    assert made["customers"] in ids(file, "customers")
    assert gone(file, "customers") == [doomed]
    change(restricted)
    restricted.control("keys/grant", scope)
    follow(restricted, file, *SCOPED, key=KEY)
    agrees(restricted, file, *SCOPED)


# Limits


def test_a_storm_of_429_delays_and_loses_nothing(shop: Merchant, file: Path) -> None:
    follow(shop, file, *BILLING)
    shop.later()
    shop.control("version", {"version": "2022-08-01"})
    shop.control("traffic", {"seed": 4, "steps": 40, "tick": 0.5, "only_evented": True})
    shop.later()
    shop.faults(
        {"kind": "storm", "seconds": 0.5, "skip": 1, "times": 1}, {"kind": "limit", "probability": 0.1}
    )
    result = follow(shop, file, *BILLING)
    shop.faults()
    assert result.tally.rate_limited > 0
    agrees(shop, file, *BILLING)


# What no event tells


def test_metadata_of_a_payment_intent_is_edited(shop: Merchant, file: Path) -> None:
    """There is no `payment_intent.updated`."""
    intent = shop.make("/v1/payment_intents", amount=500, currency="usd")["id"]
    shop.later()
    follow(shop, file, "payment_intents")
    shop.make(f"/v1/payment_intents/{intent}", metadata={"order": "7"})
    shop.later(400)
    follow(shop, file, "payment_intents")
    assert one(file, "payment_intents", intent)["metadata"] == '{"order":"7"}'


def test_a_balance_transaction_settles(shop: Merchant, file: Path) -> None:
    """Days later, in silence, and whatever the lookback."""
    streams = ("balance_transactions", "charges")
    paid = shop.make(
        "/v1/payment_intents", amount=500, currency="usd", confirm=True, payment_method="pm_card_visa"
    )
    shop.later()
    follow(shop, file, *streams, lookback=0)
    moved = one(file, "charges", paid["latest_charge"])["balance_transaction"]
    assert one(file, "balance_transactions", moved)["status"] == "pending"
    shop.later(20 * 86_400)
    follow(shop, file, *streams, lookback=0)
    assert query(file, "select distinct status from stripe.balance_transactions") == [{"status": "available"}]
    agrees(shop, file, *streams)


def test_an_open_checkout_session_is_followed_until_it_ends(shop: Merchant, file: Path) -> None:
    streams = ("checkout_sessions", "checkout_sessions_line_items")
    follow(shop, file, *streams)
    shop.later()
    session = shop.make(
        "/v1/checkout/sessions",
        mode="payment",
        success_url="https://example.com",
        line_items=[
            {
                "price_data": {"currency": "usd", "unit_amount": 900, "product_data": {"name": "Tea"}},
                "quantity": 2,
            }
        ],
    )["id"]
    shop.later(400)
    follow(shop, file, *streams)
    assert one(file, "checkout_sessions", session)["status"] == "open"
    shop.make(f"/v1/checkout/sessions/{session}", metadata={"table": "4"})
    shop.later(400)
    follow(shop, file, *streams)
    assert one(file, "checkout_sessions", session)["metadata"] == '{"table":"4"}'
    shop.make(f"/v1/checkout/sessions/{session}/expire")
    shop.later()
    follow(shop, file, *streams)
    assert one(file, "checkout_sessions", session)["status"] == "expired"
    agrees(shop, file, *streams)


def test_a_promotion_code_is_deactivated(shop: Merchant, file: Path) -> None:
    code = next(
        line["object"]["id"] for line in shop.truth("promotion_codes") if line["object"]["active"] is True
    )
    follow(shop, file, "promotion_codes", "coupons")
    shop.later()
    shop.make(f"/v1/promotion_codes/{code}", active=False)
    shop.later()
    follow(shop, file, "promotion_codes", "coupons")
    assert one(file, "promotion_codes", code)["active"] is False
    agrees(shop, file, "promotion_codes", "coupons")


# Accounts


def test_two_hundred_connected_accounts(running: Merchant, file: Path) -> None:
    """A cycle in which nothing changed asks each of them once."""
    running.control("reset", {"objects": 20, "accounts": 200, "account_objects": 12})
    running.later()
    streams, options = ("customers", "products"), {"source": {"accounts": "all"}}
    follow(running, file, *streams, **options)
    accounts = running.ids("accounts")
    assert len(accounts) == 200
    running.later()
    running.counted()
    follow(running, file, *streams, **options)
    assert running.counted() == {"GET /v1/events": 201, "GET /v1/accounts": 2}

    changed = {
        account: running.make("/v1/customers", account=account, name="Ada")["id"]
        for account in accounts[::20]
    }
    running.later()
    follow(running, file, *streams, **options)
    found = query(file, "select _account_id as a, id from stripe.customers where name = 'Ada'")
    assert {row["a"]: row["id"] for row in found} == changed
    counted = query(file, "select count(distinct _account_id) as n from stripe.customers")
    assert counted == [{"n": 201}]


def test_an_account_that_is_cut_off_keeps_its_rows_and_goes_on_when_it_comes_back(
    running: Merchant, file: Path
) -> None:
    running.control("reset", {"objects": 20, "accounts": 3, "account_objects": 30})
    running.later()
    options: dict[str, Any] = {"source": {"accounts": "all"}}
    follow(running, file, "customers", **options)
    account, *_ = running.ids("accounts")
    mine = rows(file, "customers", f"_account_id = '{account}'")
    assert mine
    running.later()
    running.control("accounts/disconnect", {"account": account})
    follow(running, file, "customers", **options)
    assert rows(file, "customers", f"_account_id = '{account}'") == mine
    running.control("accounts/connect", {"account": account})
    made = running.make("/v1/customers", account=account, name="Ada")["id"]
    running.later()
    follow(running, file, "customers", **options)
    assert one(file, "customers", made)["_account_id"] == account


# Starts


@pytest.mark.parametrize("before", ["include", "exclude"])
@pytest.mark.parametrize("version", [ledger.VERSION, ledger.OLD], ids=["payload", "read again"])
def test_objects_older_than_the_start_that_receive_events(version: str, before: Any, file: Path) -> None:
    shop = ledger.Ledger(PRODUCTS)
    start = shop.now - 1_000
    shop.put(PRODUCTS, "prod_old", name="Tea", created=start - 5_000)
    shop.put(PRODUCTS, "prod_older", name="Cake", created=start - 9_000)
    shop.put(PRODUCTS, "prod_new", name="Scones", created=start)
    options = {"start": start, "before_start": before}
    with double.serving(shop) as url:
        follow(Stripe(url), file, "products", **options)
        assert ids(file, "products") == ["prod_new"]
        for id in ("prod_old", "prod_new"):
            shop.later()
            told = shop.put(PRODUCTS, id, name="Coffee")
            shop.tell("product.updated", told, {"name": "Tea"}, version=version)
        shop.later()
        follow(Stripe(url), file, "products", **options)
    kept = ["prod_new", "prod_old"] if before == "include" else ["prod_new"]
    assert ids(file, "products") == kept
    assert {row["name"] for row in live(file, "products")["products"]} == {"Coffee"}
