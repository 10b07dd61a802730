"""What other tools get wrong, one named test each: the order of things that breaks a naive connector.

Each test says what Stripe does and when, pulls, and looks at the rows. Where the order of single answers matters it
is `ledger`, elsewhere the sandbox; `agrees` compares with a pull into an empty warehouse.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path

import double
import ledger
import pytest
import scripted
from following import Merchant, agrees, follow, gone, ids, one, rows
from pulling import Stripe, pull, query

from tidegate import sandbox
from tidegate.pull import accounts, backfill, continuous, events, report, scope, tail
from tidegate.stripe import attempts, client, pace
from tidegate.warehouse import duckdb

PRODUCTS = "/v1/products"


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


class Notes(report.Silent):
    """Keeps what is worth a line."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


class Faltering(ledger.Ledger):
    """A list of 450 products that refuses to go on after some pages."""

    def __init__(self, refusal: scripted.Answer, pages: int) -> None:
        super().__init__(PRODUCTS)
        self.refusal, self.pages = refusal, pages
        for n in range(450):
            self.now = ledger.NOW - 450 + n
            self.put(PRODUCTS, f"prod_{n:04d}", name=f"Tea {n}")
        self.now = ledger.NOW

    def _evaluate(self, path: str, query: scripted.Query) -> scripted.Answer:
        if path == PRODUCTS:
            self.pages -= 1
            if self.pages < 0:
                return self.refusal
        return super()._evaluate(path, query)


REFUSALS = {
    "400": (400, scripted.refusal("Something about this request.", "parameter_invalid")),
    "403": (403, scripted.refusal("The key needs 'rak_product_read' on account 'acct_1'.")),
    "404": (404, scripted.refusal("Unrecognized request URL (GET: /v1/products).")),
    "500": scripted.BROKEN,
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_01_a_list_that_is_refused_in_the_middle_is_not_taken_for_read(
    refusal: scripted.Answer, file: Path
) -> None:
    shop = Faltering(refusal, pages=2)
    with double.serving(shop) as url:
        result = pull(Stripe(url), file, "products")
        (outcome,) = result.outcomes
        assert result.exit_code != 0
        assert outcome.status in ("partial", "failed", "no_permission", "not_enabled")
        assert outcome.error
        assert 0 < len(ids(file, "products")) < 450

        shop.pages = 1_000
        shop.later(1_000)
        follow(Stripe(url), file, "products")
    assert ids(file, "products") == [f"prod_{n:04d}" for n in range(450)]


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_01_an_object_that_is_refused_is_not_stepped_over_by_the_tail(
    refusal: scripted.Answer, file: Path
) -> None:
    """Its event is long out of the overlap when it can be read again."""
    shop = ledger.Ledger(PRODUCTS)
    shop.put(PRODUCTS, "prod_1", name="Tea")
    with double.serving(shop) as url:
        follow(Stripe(url), file, "products")
        shop.later()
        shop.tell("product.updated", shop.put(PRODUCTS, "prod_1", name="Coffee"), {}, version=ledger.OLD)
        shop.later()
        shop.instead = {f"{PRODUCTS}/prod_1": refusal, PRODUCTS: refusal}
        result = pull(Stripe(url), file, "products")
        assert result.exit_code != 0
        assert result.outcomes[0].error
        assert one(file, "products", "prod_1")["name"] == "Tea"

        shop.instead.clear()
        shop.later(tail.OVERLAP * 2)
        follow(Stripe(url), file, "products")
    assert one(file, "products", "prod_1")["name"] == "Coffee"


def test_02_an_interrupted_first_load_is_read_to_its_end_and_what_changed_meanwhile_too(file: Path) -> None:
    shop = Faltering(scripted.BROKEN, pages=2)
    with double.serving(shop) as url:
        assert pull(Stripe(url), file, "products").exit_code != 0
        read = ids(file, "products")
        shop.pages = 1_000
        shop.later()
        shop.put(PRODUCTS, read[0], "product.updated", name="Of the part that was read")
        shop.put(PRODUCTS, "prod_0001", "product.updated", name="Of the part that was not")
        shop.put(PRODUCTS, "prod_new", "product.created", name="New")
        shop.remove(PRODUCTS, read[-1], "product.deleted")
        shop.later()
        follow(Stripe(url), file, "products")
    assert ids(file, "products") == sorted(shop.objects[PRODUCTS])
    names = {row["id"]: row["name"] for row in rows(file, "products")}
    assert names[read[0]] == "Of the part that was read"
    assert names["prod_0001"] == "Of the part that was not"
    assert gone(file, "products") == [read[-1]]


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


def test_03_a_month_without_a_pull_is_said_and_made_good(shop: Merchant, file: Path) -> None:
    follow(shop, file, *BILLING)
    shop.later()
    customer, *_ = shop.ids("customers")
    shop.make(f"/v1/customers/{customer}", name="Early in the gap")
    shop.later(31 * 86_400)
    product, *_ = shop.ids("products")
    shop.make(f"/v1/products/{product}", name="Late in the gap")
    made = shop.make("/v1/customers", name="New")["id"]
    shop.later()
    notes = Notes()
    follow(shop, file, *BILLING, screen=notes)
    assert any("31 days ago, and Stripe keeps events for 30" in said for said in notes.said)
    assert one(file, "customers", customer)["name"] == "Early in the gap"
    assert one(file, "products", product)["name"] == "Late in the gap"
    assert made in ids(file, "customers")
    agrees(shop, file, *BILLING)


def test_04_of_two_updates_in_one_second_neither_is_dropped_and_the_last_one_stays(
    shop: Merchant, file: Path
) -> None:
    follow(shop, file, "customers")
    shop.later()
    customer, *_ = shop.ids("customers")
    with shop.second():
        shop.make(f"/v1/customers/{customer}", name="First", phone="1")
        shop.make(f"/v1/customers/{customer}", name="Second")
    shop.later()
    follow(shop, file, "customers")
    row = one(file, "customers", customer)
    assert (row["name"], row["phone"]) == ("Second", "1")


@pytest.mark.parametrize("hard", [False, True], ids=["marked", "removed"])
def test_05_an_update_that_arrives_after_the_deletion_resurrects_nothing(hard: bool, file: Path) -> None:
    shop = ledger.Ledger(PRODUCTS)
    tea = shop.put(PRODUCTS, "prod_1", name="Tea")
    options = {"choices": {"products": scope.Choice(hard=hard)}}
    with double.serving(shop) as url:
        follow(Stripe(url), file, "products", **options)
        shop.later()
        shop.tell("product.updated", {**tea, "name": "Coffee"}, {"name": "Tea"}, late=60)
        shop.later(3)
        shop.remove(PRODUCTS, "prod_1", "product.deleted")
        shop.later()
        follow(Stripe(url), file, "products", **options)
        assert ids(file, "products") == []
        shop.later(60)
        follow(Stripe(url), file, "products", **options)
    assert ids(file, "products") == []
    assert gone(file, "products") == ([] if hard else ["prod_1"])


def test_06_payloads_of_an_older_version_take_nothing_away(shop: Merchant, file: Path) -> None:
    """At that version an invoice had no `parent`, a charge had an `invoice`, a subscription its own period."""
    follow(shop, file, *BILLING)
    shop.control("version", {"version": "2022-08-01"})
    shop.later()
    for stream, values in (
        ("customers", {"name": "Ada"}),
        ("charges", {"description": "A cup"}),
        ("subscriptions", {"metadata": {"plan": "gold"}}),
        ("invoices", {"metadata": {"thanks": "yes"}}),
    ):
        shop.make(f"/v1/{stream}/{shop.ids(stream)[0]}", **values)
    shop.later()
    follow(shop, file, *BILLING)
    assert one(file, "customers", shop.ids("customers")[0])["name"] == "Ada"
    agrees(shop, file, *BILLING)


def test_06_payloads_of_our_version_keep_what_only_comes_when_asked_for(shop: Merchant, file: Path) -> None:
    follow(shop, file, "customers", "prices", "coupons")
    shop.later()
    price = shop.ids("prices")[0]
    shop.make(f"/v1/customers/{shop.ids('customers')[0]}", name="Ada")
    shop.make(f"/v1/prices/{price}", nickname="Dear")
    shop.make(f"/v1/coupons/{shop.ids('coupons')[0]}", name="Spring")
    shop.later()
    follow(shop, file, "customers", "prices", "coupons")
    assert one(file, "prices", price)["nickname"] == "Dear"
    assert query(file, "select count(*) as n from stripe.customers where tax is null") == [{"n": 0}]
    agrees(shop, file, "customers", "prices", "coupons")


def subscribe(shop: Merchant, items: int) -> str:
    """A subscription with so many items."""
    prices = [
        shop.make(
            "/v1/prices",
            currency="usd",
            unit_amount=100 + n,
            recurring={"interval": "month"},
            product_data={"name": "Tea"},
        )["id"]
        for n in range(items)
    ]
    customer = shop.make("/v1/customers", name="Ada")["id"]
    made = shop.make("/v1/subscriptions", customer=customer, items=[{"price": each} for each in prices])
    return str(made["id"])


def items(file: Path, subscription: str) -> list[str]:
    """The items of a subscription that are not deleted."""
    where = f"_parent_id = '{subscription}' and _deleted_at is null"
    return [row["id"] for row in rows(file, "subscription_items", where)]


def test_07_an_event_that_shows_ten_of_twelve_items_deletes_none(shop: Merchant, file: Path) -> None:
    subscription = subscribe(shop, 12)
    follow(shop, file, *BILLING)
    shop.later()
    shop.make(f"/v1/subscriptions/{subscription}", metadata={"plan": "gold"})
    shop.later()
    follow(shop, file, *BILLING)
    assert len(items(file, subscription)) == 12
    assert gone(file, "subscription_items") == []
    agrees(shop, file, *BILLING)


@pytest.mark.parametrize("count", [2, 12])
def test_08_an_item_that_was_removed_goes(count: int, shop: Merchant, file: Path) -> None:
    subscription = subscribe(shop, count)
    follow(shop, file, *BILLING)
    removed = items(file, subscription)[-1]
    shop.later()
    shop.delete(f"/v1/subscription_items/{removed}")
    shop.later()
    follow(shop, file, *BILLING)
    assert gone(file, "subscription_items") == [removed]
    assert len(items(file, subscription)) == count - 1
    agrees(shop, file, *BILLING)


@pytest.mark.parametrize("seconds", [0, 1, 30])
def test_09_what_changes_between_the_first_reading_and_the_first_events_is_not_lost(
    seconds: int, file: Path
) -> None:
    shop = ledger.Ledger(PRODUCTS)
    shop.put(PRODUCTS, "prod_1", name="Tea")
    shop.put(PRODUCTS, "prod_2", name="Cake")

    def change() -> None:
        shop.later(seconds)
        shop.put(PRODUCTS, "prod_1", "product.updated", name="Coffee")
        shop.remove(PRODUCTS, "prod_2", "product.deleted")
        shop.put(PRODUCTS, "prod_3", "product.created", name="Scones")

    shop.during(PRODUCTS, change)
    with double.serving(shop) as url:
        follow(Stripe(url), file, "products")
        shop.later()
        follow(Stripe(url), file, "products")
    assert ids(file, "products") == ["prod_1", "prod_3"]
    assert one(file, "products", "prod_1")["name"] == "Coffee"


def test_10_canceled_subscriptions_are_there_and_stay(shop: Merchant, file: Path) -> None:
    before, after = subscribe(shop, 1), subscribe(shop, 1)
    shop.delete(f"/v1/subscriptions/{before}")
    shop.later()
    follow(shop, file, "subscriptions")
    shop.delete(f"/v1/subscriptions/{after}")
    shop.later()
    follow(shop, file, "subscriptions")
    assert [one(file, "subscriptions", id)["status"] for id in (before, after)] == ["canceled", "canceled"]
    assert ids(file, "subscriptions") == sorted(shop.ids("subscriptions"))


def test_11_every_object_lands_in_the_table_of_its_kind(shop: Merchant, file: Path) -> None:
    streams = ("charges", "refunds", "cards", "bank_accounts", "sources")
    follow(shop, file, *streams)
    shop.later()
    customer = shop.ids("customers")[0]
    intent = shop.make(
        "/v1/payment_intents", amount=500, currency="usd", confirm=True, payment_method="pm_card_visa"
    )
    refund = shop.make("/v1/refunds", payment_intent=intent["id"], amount=100)["id"]
    edit = {"values": {"metadata": {"why": "cold"}}, "event": "charge.refund.updated"}
    shop.control("mutate", {"stream": "refunds", "id": refund, **edit})
    shop.make(f"/v1/customers/{customer}/sources", source="tok_visa")
    shop.make(f"/v1/customers/{customer}/sources", source="btok_us_verified")
    shop.later()
    follow(shop, file, *streams)
    for name in streams:
        assert ids(file, name) == sorted(shop.ids(name)), name
        assert {row["object"] for row in rows(file, name)} <= {name.removesuffix("s")}
    assert one(file, "refunds", refund)["metadata"] == '{"why":"cold"}'


def test_12_what_changes_without_an_event_is_seen_in_its_turn(shop: Merchant, file: Path) -> None:
    streams = ("payment_intents", "checkout_sessions", "balance_transactions", "promotion_codes")
    intent = shop.make("/v1/payment_intents", amount=500, currency="usd")["id"]
    follow(shop, file, *streams)
    shop.later()
    shop.make(f"/v1/payment_intents/{intent}", metadata={"order": "7"})
    shop.later(600)
    follow(shop, file, *streams)
    assert one(file, "payment_intents", intent)["metadata"] == '{"order":"7"}'
    agrees(shop, file, *streams)


def test_13_a_restricted_test_key_has_the_limits_of_a_sandbox() -> None:
    for key in ("rk_test_1234567890", "sk_test_1234567890"):
        assert pace.limits_for(client.mode(key)).per_account == 25
    for key in ("rk_live_1234567890", "sk_live_1234567890"):
        assert pace.limits_for(client.mode(key)).per_account == 100


def test_13_a_storm_of_429_is_no_finished_run_and_moves_no_cursor(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = functools.partial(client.Client, rate_limit_patience=0.1)
    monkeypatch.setattr(client, "Client", impatient)
    shop = ledger.Ledger(PRODUCTS)
    shop.put(PRODUCTS, "prod_1", name="Tea")
    refused = (429, scripted.refusal("Too many requests.", "rate_limit"))
    with double.serving(shop) as url:
        follow(Stripe(url), file, "products")
        before = state(file, "tail/")
        shop.later()
        shop.put(PRODUCTS, "prod_1", "product.updated", name="Coffee")
        shop.later()
        shop.instead["/v1/events"] = refused
        result = pull(Stripe(url), file, "products")
        assert (result.status, result.exit_code) == ("failed", 1)
        assert result.tally.rate_limited > 0
        assert state(file, "tail/") == before

        shop.instead.clear()
        shop.later(tail.OVERLAP * 2)
        follow(Stripe(url), file, "products")
    assert one(file, "products", "prod_1")["name"] == "Coffee"


def state(file: Path, prefix: str) -> dict[str, str]:
    warehouse = duckdb.DuckDB(file)
    try:
        return warehouse.state(prefix)
    finally:
        warehouse.close()


def test_14_the_charge_after_a_refund_and_a_dispute_is_not_stale(shop: Merchant, file: Path) -> None:
    streams = ("charges", "refunds", "disputes", "payment_intents", "balance_transactions")
    paid = [
        shop.make("/v1/payment_intents", amount=500, currency="usd", confirm=True, payment_method=method)
        for method in ("pm_card_visa", "pm_card_visa")
    ]
    follow(shop, file, *streams)
    shop.later()
    shop.make("/v1/refunds", payment_intent=paid[0]["id"], amount=100)
    disputed = shop.make(
        "/v1/payment_intents",
        amount=700,
        currency="usd",
        confirm=True,
        payment_method="pm_card_createDispute",
    )
    shop.later()
    follow(shop, file, *streams)
    assert one(file, "charges", paid[0]["latest_charge"])["amount_refunded"] == 100
    assert one(file, "charges", disputed["latest_charge"])["disputed"]
    agrees(shop, file, *streams)


def test_15_a_backfill_that_broke_off_does_not_begin_at_zero(file: Path) -> None:
    shop = Faltering(scripted.BROKEN, pages=4)
    with double.serving(shop) as url:
        pull(Stripe(url), file, "products")
        there = len(ids(file, "products"))
        assert there >= 200
        shop.pages = 1_000
        shop.requests.clear()
        (outcome,) = follow(Stripe(url), file, "products").outcomes
    assert outcome.read == 450 - there
    assert len(shop.asked_for(PRODUCTS)) <= -(-(450 - there) // 100) + 1
    assert ids(file, "products") == [f"prod_{n:04d}" for n in range(450)]


def test_16_one_pull_follows_all_connected_accounts(running: Merchant, file: Path) -> None:
    """More than are held in memory at a time."""
    running.control("reset", {"objects": 40, "accounts": accounts.CHUNK + 6, "account_objects": 15})
    running.later()
    options = {"source": {"accounts": "all"}}
    streams = ("customers", "products")
    follow(running, file, *streams, **options)
    connected = running.ids("accounts")
    running.later()
    names = {account: f"Of {account}" for account in (connected[0], connected[-1])}
    for account, name in names.items():
        running.make("/v1/customers", account=account, name=name)
    running.later()
    follow(running, file, *streams, **options)
    found = query(file, "select _account_id as a, name from stripe.customers where starts_with(name, 'Of ')")
    assert {row["a"]: row["name"] for row in found} == names
    counted = query(file, "select count(distinct _account_id) as n from stripe.customers")
    assert counted == [{"n": len(connected) + 1}]


def test_17_a_deletion_inside_of_a_gap_is_found(shop: Merchant, file: Path) -> None:
    """Its event is long gone; only what is no longer listed tells."""
    doomed = shop.make("/v1/customers", name="Ada")["id"]
    kept = shop.make("/v1/customers", name="Grace")["id"]
    shop.later()
    follow(shop, file, *BILLING)
    shop.later()
    shop.delete(f"/v1/customers/{doomed}")
    shop.later(45 * 86_400)
    follow(shop, file, *BILLING)
    assert gone(file, "customers") == [doomed]
    assert kept in ids(file, "customers")
    agrees(shop, file, *BILLING)


def test_18_a_row_that_is_created_while_its_list_is_read_again_is_not_swept(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list was evaluated before it came, and answers after it."""
    monkeypatch.setattr(events, "LAG", -5)  # at once, since a clock that jumps is not believed
    shop = ledger.Ledger(PRODUCTS)
    for n in range(20):
        shop.put(PRODUCTS, f"prod_{n}", name="Tea")
    shop.later()

    async def create() -> None:
        """Answer the list only once the events of the new row could have been read and committed."""
        shop.put(PRODUCTS, "prod_new", "product.created", name="Scones")
        with contextlib.suppress(TimeoutError):  # events are not told while an older page is on its way
            async with asyncio.timeout(0.5):
                await shop.asked_again("/v1/events", 2)

    with double.serving(shop) as url:
        follow(Stripe(url), file, "products")
        shop.later()
        shop.remove(PRODUCTS, "prod_7")
        shop.during(PRODUCTS, create)
        watch_once(Stripe(url), file, scope.Options(streams=("products",), full_refresh=True))
    assert "prod_new" in ids(file, "products")
    assert gone(file, "products") == ["prod_7"]
    assert shop.asked_for(f"{PRODUCTS}/prod_7")
    assert not shop.asked_for(f"{PRODUCTS}/prod_new")  # it never was a candidate


def watch_once(stripe: Stripe, file: Path, options: scope.Options) -> None:
    """One pull of a watch, which looks at the events all the time while it lists."""

    async def go() -> None:
        done = asyncio.Event()
        warehouse = duckdb.DuckDB(file)
        watching = asyncio.create_task(
            continuous.watch(
                stripe.source(),
                warehouse,
                options,
                report.Silent(),
                every=0.02,
                told=lambda _: done.set(),
            )
        )
        async with asyncio.timeout(60):
            await done.wait()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        warehouse.close()

    asyncio.run(go())


@pytest.mark.parametrize("pinned", [True, False], ids=["trusted payload", "older version"])
@pytest.mark.parametrize("seconds", [0, 1, 5])
def test_19_a_reading_that_was_evaluated_before_an_edit_and_answered_after_it_hides_nothing(
    seconds: int, pinned: bool, file: Path
) -> None:
    shop = ledger.Ledger(PRODUCTS)
    shop.put(PRODUCTS, "prod_1", name="Tea")
    version = ledger.VERSION if pinned else ledger.OLD

    def edit() -> None:
        shop.later(seconds)
        shop.tell(
            "product.updated", shop.put(PRODUCTS, "prod_1", name="Cocoa"), {"name": "Coffee"}, version=version
        )

    with double.serving(shop) as url:
        follow(Stripe(url), file, "products")
        shop.later()
        shop.tell(
            "product.updated",
            shop.put(PRODUCTS, "prod_1", name="Coffee"),
            {"name": "Tea"},
            version=ledger.OLD,
        )
        shop.later()
        shop.during(f"{PRODUCTS}/prod_1", edit)
        follow(Stripe(url), file, "products")
        row = one(file, "products", "prod_1")
        assert row["name"] == "Coffee"
        assert row["_version"] < shop.now - seconds + 1
        shop.later()
        follow(Stripe(url), file, "products")
    assert one(file, "products", "prod_1")["name"] == "Cocoa"


def test_every_one_of_the_nineteen_has_a_test() -> None:
    numbers = {name[5:7] for name in globals() if name.startswith("test_") and name[5:7].isdigit()}
    assert numbers == {f"{n:02d}" for n in range(1, 20)}
    assert backfill.FRESH <= tail.GAP  # a walk goes on only as long as events tell what it has passed
