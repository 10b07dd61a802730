"""Interleavings that once lost, kept or repeated something: other choices, kills, refusals, late answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import double
import ledger
import pytest
import scripted
from aiohttp import web
from following import follow, gone, ids, one
from pulling import Stripe, pull, query

from tidegate import catalog, errors
from tidegate.pull import continuous, events, relist, report, scope
from tidegate.stripe import attempts
from tidegate.warehouse import duckdb

PRODUCTS, CUSTOMERS, COUPONS = "/v1/products", "/v1/customers", "/v1/coupons"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "w.duckdb"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.02)


def state(file: Path, prefix: str = "") -> dict[str, str]:
    warehouse = duckdb.DuckDB(file)
    try:
        return warehouse.state(prefix)
    finally:
        warehouse.close()


def shop() -> ledger.Ledger:
    """Two products and two coupons."""
    made = ledger.Ledger(PRODUCTS, COUPONS)
    for n in (1, 2):
        made.put(PRODUCTS, f"prod_{n}", name="Tea")
        made.put(COUPONS, f"c{n}", name="Tea")
    return made


# Streams that come and go


def test_a_stream_that_was_left_out_for_a_while_misses_nothing(file: Path) -> None:
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products", "coupons")
        made.later()
        made.put(PRODUCTS, "prod_1", "product.updated", name="Coffee")
        made.remove(PRODUCTS, "prod_2", "product.deleted")
        made.put(PRODUCTS, "prod_3", "product.created", name="Milk")
        made.later(5_000)
        follow(Stripe(url), file, "coupons")
        made.later(5_000)
        follow(Stripe(url), file, "products", "coupons")
    assert one(file, "products", "prod_1")["name"] == "Coffee"
    assert ids(file, "products") == ["prod_1", "prod_3"]
    assert gone(file, "products") == ["prod_2"]


def test_two_pulls_of_one_account_take_nothing_from_each_other(file: Path) -> None:
    made = shop()
    with double.serving(made) as url:
        for n in range(4):
            made.put(PRODUCTS, "prod_1", "product.updated", name=f"Tea {n}")
            made.put(COUPONS, "c1", "coupon.updated", name=f"Tea {n}")
            made.later(2_000)
            follow(Stripe(url), file, "coupons")
            follow(Stripe(url), file, "products")
    assert one(file, "products", "prod_1")["name"] == "Tea 3"
    assert one(file, "coupons", "c1")["name"] == "Tea 3"
    assert len(made.asked_for(PRODUCTS)) == 1


def test_what_could_not_be_read_waits_for_its_stream_to_be_pulled_again(file: Path) -> None:
    made = shop()
    first = f"{PRODUCTS}/prod_1"
    with double.serving(made) as url:
        follow(Stripe(url), file, "products", "coupons")
        made.later()
        made.tell("product.updated", made.put(PRODUCTS, "prod_1", name="Coffee"), {}, version=ledger.OLD)
        made.instead[first] = scripted.BROKEN
        made.later()
        assert pull(Stripe(url), file, "products", "coupons").status == "partial"
        made.instead.clear()
        made.later(2_000)
        follow(Stripe(url), file, "coupons")
        made.later(2_000)
        follow(Stripe(url), file, "products", "coupons")
    assert one(file, "products", "prod_1")["name"] == "Coffee"
    assert not state(file, "dirty/")


# What a stream is wanted as


PULL = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from pulling import Stripe, pull, query
from tidegate.pull import continuous, scope
columns = frozenset(["name", "description", "active", "metadata", "images", "url", "type"])
choice = scope.Choice(columns=columns, hashed=frozenset(["name", "description", "url"]))
print(pull(Stripe(sys.argv[2]), Path(sys.argv[3]), "products", choices={"products": choice}).status)
"""


def test_the_same_choice_of_columns_is_the_same_in_every_process(file: Path) -> None:
    """Python orders a set of texts otherwise in each process; nothing is listed again for that."""
    made = shop()
    with double.serving(made) as url:
        for seed in (1, 2, 3):
            done = subprocess.run(
                [sys.executable, "-c", PULL, str(Path(double.__file__).parent), url, str(file)],
                env=os.environ | {"PYTHONHASHSEED": str(seed)},
                capture_output=True,
                text=True,
                check=True,
            )
            assert done.stdout == "ok\n"
            made.later()
    assert len(made.asked_for(PRODUCTS)) == 1


def test_another_api_version_shows_rows_anew(file: Path) -> None:
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        made.put(PRODUCTS, "prod_1", name="as the new version shows it")
        follow(Stripe(url), file, "products", source={"api_version": "2027-01-01.new"})
    assert one(file, "products", "prod_1")["name"] == "as the new version shows it"


# A poisoned object


def test_an_object_that_cannot_be_read_does_not_keep_its_stream_from_its_turns(file: Path) -> None:
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "coupons")
        made.later()
        made.tell("coupon.updated", made.put(COUPONS, "c1", name="Coffee"), {}, version=ledger.OLD)
        made.instead[f"{COUPONS}/c1"] = scripted.BROKEN
        for n in range(3):
            made.put(COUPONS, "c2", times_redeemed=n)
            made.later(86_400)
            assert pull(Stripe(url), file, "coupons").status == "partial"
            assert one(file, "coupons", "c2")["times_redeemed"] == n
    assert "relist/acct_1" not in state(file)


# Events that cannot be read


def test_a_first_pull_reads_its_lists_though_the_events_fail(file: Path) -> None:
    made = shop()
    made.instead["/v1/events"] = scripted.BROKEN
    with double.serving(made) as url:
        result = pull(Stripe(url), file, "products")
        assert ids(file, "products") == ["prod_1", "prod_2"]
        assert (result.end, result.status) == (None, "partial")
        made.later()
        made.put(PRODUCTS, "prod_1", "product.updated", name="Coffee")
        made.instead.clear()
        made.later()
        follow(Stripe(url), file, "products")
    assert one(file, "products", "prod_1")["name"] == "Coffee"


def test_an_event_with_half_an_emoji_is_heard(file: Path) -> None:
    """JSON allows a lone surrogate, and a text that was cut may have one."""
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        made.put(PRODUCTS, "prod_1", "product.updated", name="Coffee \ud83d", active=False)
        made.later()
        follow(Stripe(url), file, "products")
    assert one(file, "products", "prod_1")["active"] is False


# Children


CASH = "/v1/customers/{}/cash_balance_transactions"


def test_a_child_of_a_parent_that_was_not_known_when_its_list_was_read_is_not_taken_for_read(
    file: Path,
) -> None:
    """Lists of children are read parent by parent: of one whose events came late nothing was read."""
    made = ledger.Ledger(CUSTOMERS, CASH.format("cus_1"), CASH.format("cus_2"))
    made.put(CUSTOMERS, "cus_1")
    with double.serving(made) as url:
        follow(Stripe(url), file, "customers")
        made.later(100)
        made.tell("customer.created", made.put(CUSTOMERS, "cus_2"), late=60)
        paid = {"id": "ccsbtxn_2", "object": "customer_cash_balance_transaction", "customer": "cus_2"}
        paid |= {"created": made.now, "net_amount": 7}
        made.objects[CASH.format("cus_2")]["ccsbtxn_2"] = paid
        made.tell("customer_cash_balance_transaction.created", paid, late=60)
        made.later(10)
        streams = ("customers", "customer_cash_balance_transactions")
        follow(Stripe(url), file, *streams)
        made.later(100)
        follow(Stripe(url), file, *streams)
    assert ids(file, "customers") == ["cus_1", "cus_2"]
    assert ids(file, "customer_cash_balance_transactions") == ["ccsbtxn_2"]


class Strict(ledger.Ledger):
    """Refuses whoever asks for the sources of customers, as Stripe does to a key that may not read them."""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if "sources" not in request.path_qs:
            return await super().answer(request)
        self.requests.append(request.path_qs)
        permission = catalog.load().streams["cards"].permission
        said = f"Having the '{permission}' permission would allow this request to continue."
        return web.json_response(scripted.refusal(said), status=403)


def test_a_parents_list_is_not_read_anew_in_every_pull_since_a_child_may_not_be_read(file: Path) -> None:
    made, streams = Strict(CUSTOMERS), ("customers", "cards")
    made.put(CUSTOMERS, "cus_1")
    with double.serving(made) as url:
        assert pull(Stripe(url), file, *streams).status == "partial"
        made.requests.clear()
        for _ in range(3):
            made.later()
            assert pull(Stripe(url), file, *streams).status == "partial"
    assert len(made.asked_for(CUSTOMERS)) == 3  # each refused
    assert all("sources" in each for each in made.asked_for(CUSTOMERS))

    allowed = ledger.Ledger(CUSTOMERS)
    allowed.now = made.now + 10
    card = {"id": "card_1", "object": "card", "customer": "cus_1"}
    allowed.put(CUSTOMERS, "cus_1", sources={"object": "list", "data": [card], "has_more": False})
    with double.serving(allowed) as url:
        follow(Stripe(url), file, *streams)
    assert ids(file, "cards") == ["card_1"]


def test_a_parents_list_is_not_read_anew_in_every_pull_since_this_stripe_has_no_list_of_a_child(
    file: Path,
) -> None:
    made = ledger.Ledger(CUSTOMERS)
    for n in range(5):
        made.put(CUSTOMERS, f"cus_{n}")
    with double.serving(made) as url:
        pull(Stripe(url), file, "*")
        made.requests.clear()
        for _ in range(3):
            made.later()
            pull(Stripe(url), file, "*")
    assert ids(file, "customers") == [f"cus_{n}" for n in range(5)]
    assert len(made.asked_for(CUSTOMERS)) == 0, made.requests


# Refused


def test_a_list_that_was_not_there_is_asked_for_again_as_soon_as_it_is_named(file: Path) -> None:
    made = ledger.Ledger(PRODUCTS)
    made.put(PRODUCTS, "prod_1")
    with double.serving(made) as url:
        pull(Stripe(url), file, "products", "coup*")
        made.later()
        made.objects[COUPONS] = {}
        made.put(COUPONS, "c1")
        follow(Stripe(url), file, "products", "coupons")
    assert ids(file, "coupons") == ["c1"]


def test_a_change_while_a_stream_that_could_not_be_read_for_a_while_is_listed_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its list is long, events are looked at meanwhile; what was listed before such an event does not count."""
    made = ledger.Ledger(PRODUCTS)
    for n in range(250):
        made.put(PRODUCTS, f"prod_{n:03d}", name="Tea", created=ledger.NOW - 10_000 + n)
    denied = (403, scripted.refusal("Having the 'rak_product_read' permission would help."))

    def edit() -> None:
        made.put(PRODUCTS, "prod_249", "product.updated", name="Coffee")

    async def act(url: str) -> None:
        source = Stripe(url).source()
        told: list[report.Result] = []
        options = scope.Options(streams=("products",))
        warehouse = duckdb.DuckDB(file)
        watching = asyncio.create_task(
            continuous.watch(source, warehouse, options, report.Silent(), every=0.02, told=told.append)
        )
        for _ in range(500):
            await asyncio.sleep(0.02)
            if len(told) > 2 and told[-1].status == "ok":
                break
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        warehouse.close()

    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        made.tell("product.updated", made.put(PRODUCTS, "prod_000", name="Milk"), {}, version=ledger.OLD)
        made.instead[f"{PRODUCTS}/prod_000"] = made.instead[PRODUCTS] = denied
        made.later()
        pull(Stripe(url), file, "products")
        assert relist.entries(state(file)["relist/acct_1"])["products"].reason == relist.DENIED
        made.instead.clear()
        made.later()

        async def change() -> None:
            edit()
            with contextlib.suppress(TimeoutError):  # nobody asks while the page is on its way
                async with asyncio.timeout(0.5):
                    await made.asked_again("/v1/events", 3)

        made.during(PRODUCTS, lambda: None, change)
        monkeypatch.setattr(events, "LAG", -5)
        made.requests.clear()
        asyncio.run(act(url))
        assert len(made.asked_for(PRODUCTS)) < 10
        assert not [each for each in made.requests if each.startswith(f"{PRODUCTS}/prod_1")]
        monkeypatch.undo()
        made.later()
        follow(Stripe(url), file, "products")
    assert one(file, "products", "prod_249")["name"] == "Coffee"
    assert one(file, "products", "prod_000")["name"] == "Milk"


# Late answers


INVOICES = "/v1/invoices"


def invoice(id: str, *lines: str, more: bool = False, **values: Any) -> dict[str, Any]:
    """An invoice with lines, as its list shows it."""
    data = [{"id": line, "object": "line_item", "invoice": id, "amount": 1} for line in lines]
    url = f"{INVOICES}/{id}/lines"
    listed = {"object": "list", "data": data, "has_more": more, "url": url}
    return {"customer": "cus_1", "lines": listed, **values}


def test_a_page_that_arrives_late_brings_no_line_back_that_was_removed_since(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first list is slow, and the events tell of the removal before its rows are there."""
    monkeypatch.setattr(events, "LAG", -5)  # at once, since a clock that jumps is not believed
    made = ledger.Ledger(INVOICES)
    made.put(INVOICES, "in_1", **invoice("in_1", "il_1", "il_2"))

    async def remove() -> None:
        made.later(1)
        made.put(INVOICES, "in_1", "invoice.updated", **invoice("in_1", "il_1", amount_due=1))
        with contextlib.suppress(TimeoutError):  # nobody asks while the page is on its way
            async with asyncio.timeout(0.5):
                await made.asked_again("/v1/events", 3)

    made.during(INVOICES, remove)
    with double.serving(made) as url:
        watch(Stripe(url), file, "invoices", "invoice_line_items")
    assert one(file, "invoices", "in_1")["amount_due"] == 1
    assert ids(file, "invoice_line_items") == ["il_1"]


def test_a_list_that_is_read_first_after_its_events_tells_what_went_in_between(file: Path) -> None:
    """The events of a stream that is new to the pull have its rows read, lines and all, before its list is."""
    made = shop()
    made.objects[INVOICES] = {}
    made.put(INVOICES, "in_1", **invoice("in_1", "il_1", "il_2"))
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        made.tell("invoice.updated", made.objects[INVOICES]["in_1"], {}, version=ledger.OLD)
        made.later()

        def remove() -> None:
            made.later(1)
            made.put(INVOICES, "in_1", "invoice.updated", **invoice("in_1", "il_1"))
            made.later(1)

        made.during(f"{INVOICES}/in_1", remove)
        follow(Stripe(url), file, "products", "invoices", "invoice_line_items")
        made.later()
        follow(Stripe(url), file, "products", "invoices", "invoice_line_items")
    assert ids(file, "invoice_line_items") == ["il_1"]


def watch(stripe: Stripe, file: Path, *streams: str, pulls: int = 2) -> None:
    """Some pulls of a watch, which looks at the events all the time while it lists."""

    async def go() -> None:
        done, told = asyncio.Event(), list[report.Result]()

        def tell(result: report.Result) -> None:
            told.append(result)
            if len(told) >= pulls:
                done.set()

        warehouse = duckdb.DuckDB(file)
        options = scope.Options(streams=streams)
        watching = asyncio.create_task(
            continuous.watch(stripe.source(), warehouse, options, report.Silent(), every=0.02, told=tell)
        )
        async with asyncio.timeout(60):
            await done.wait()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        warehouse.close()

    asyncio.run(go())


def test_a_place_that_was_lost_while_a_stream_was_left_out_is_lost_for_that_one_too(file: Path) -> None:
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products", "coupons")
        made.put(PRODUCTS, "prod_1", name="Coffee")
        warehouse = duckdb.DuckDB(file)
        warehouse.load([], {"tail/acct_1": None})
        warehouse.close()
        for streams in (["coupons"], ["coupons"], ["products", "coupons"]):
            made.later(2_000)
            follow(Stripe(url), file, *streams)
    assert one(file, "products", "prod_1")["name"] == "Coffee"


def test_a_stream_that_was_left_out_for_longer_than_events_are_kept_is_listed_again(file: Path) -> None:
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products", "coupons")
        made.put(PRODUCTS, "prod_1", name="Coffee")
        made.remove(PRODUCTS, "prod_2")
        for _ in range(2):
            made.later(20 * 86_400)
            follow(Stripe(url), file, "coupons")
        made.requests.clear()
        follow(Stripe(url), file, "products", "coupons")
        assert one(file, "products", "prod_1")["name"] == "Coffee"
        assert gone(file, "products") == ["prod_2"]
        assert not made.asked_for(COUPONS)
        assert not state(file, "absent/")


def test_two_pulls_of_one_key_at_a_time_are_one_too_many(file: Path) -> None:
    """Also of other streams: how far the events were followed is one place for all."""
    made = shop()
    second: list[report.Result] = []
    with double.serving(made) as url:

        async def other() -> None:
            second.append(await asyncio.to_thread(pull, Stripe(url), file, "coupons"))

        made.during(PRODUCTS, other)
        first = pull(Stripe(url), file, "products")
        assert (type(first.end), second[0].status) == (errors.Fenced, "ok")
        made.later()
        follow(Stripe(url), file, "products")
    assert ids(file, "products") == ["prod_1", "prod_2"]
    assert ids(file, "coupons") == ["c1", "c2"]


# Histories


def test_a_history_that_is_kept_again_ends_what_was_deleted_meanwhile(file: Path) -> None:
    made, kept = shop(), {"products": scope.Choice(history=True)}
    with double.serving(made) as url:
        follow(Stripe(url), file, "products", choices=kept)
        made.later()
        made.remove(PRODUCTS, "prod_2", "product.deleted")
        made.put(PRODUCTS, "prod_1", "product.updated", name="Coffee")
        made.later()
        follow(Stripe(url), file, "products")
        made.later()
        follow(Stripe(url), file, "products", choices=kept)
    past = query(
        file,
        "select id, name, epoch(_valid_to)::bigint as until from stripe.products_history order by id, _valid_from",
    )
    told = [(row["id"], row["name"], row["until"]) for row in past]
    assert told == [
        ("prod_1", "Tea", ledger.NOW + 30),  # when it was seen to be another
        ("prod_1", "Coffee", None),
        ("prod_2", "Tea", ledger.NOW + 10),
    ]


# Choices that change, and change back


@pytest.mark.parametrize("hard", [True, False])
def test_deletes_that_are_hard_soft_and_hard_again(hard: bool, file: Path) -> None:
    made = shop()
    first, second = {"products": scope.Choice(hard=hard)}, {"products": scope.Choice(hard=not hard)}
    with double.serving(made) as url:
        follow(Stripe(url), file, "products", choices=first)
        made.later()
        made.remove(PRODUCTS, "prod_2", "product.deleted")
        for choices in (first, second):
            made.later()
            follow(Stripe(url), file, "products", choices=choices)
            assert ids(file, "products") == ["prod_1"]
        made.later()
        made.put(PRODUCTS, "prod_2", "product.created", name="Tea again")
        made.later()
        follow(Stripe(url), file, "products", choices=first)
    assert ids(file, "products") == ["prod_1", "prod_2"]


def test_a_table_that_is_renamed_and_renamed_back(file: Path) -> None:
    made, renamed = shop(), {"products": scope.Choice(table="goods")}
    made.put(PRODUCTS, "prod_3", name="Tea")
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        made.later()
        follow(Stripe(url), file, "products", choices=renamed)
        assert ids(file, "goods") == ["prod_1", "prod_2", "prod_3"]
        made.later()
        made.remove(PRODUCTS, "prod_2", "product.deleted")
        made.put(PRODUCTS, "prod_1", "product.updated", name="Coffee")
        made.later()
        follow(Stripe(url), file, "products", choices=renamed)
        made.later()
        follow(Stripe(url), file, "products")
    assert ids(file, "products") == ["prod_1", "prod_3"]
    assert one(file, "products", "prod_1")["name"] == "Coffee"


@pytest.mark.parametrize("before", ["include", "exclude"])
def test_a_start_that_moves_later_earlier_and_away(before: Any, file: Path) -> None:
    made = ledger.Ledger(PRODUCTS)
    for n in range(10):
        made.put(PRODUCTS, f"prod_{n}", name="Tea", created=ledger.NOW - 1_000 + n)
    with double.serving(made) as url:

        def since(start: int | None) -> None:
            follow(Stripe(url), file, "products", start=start, before_start=before)
            made.later()

        since(ledger.NOW - 995)
        assert len(ids(file, "products")) == 5
        made.put(PRODUCTS, "prod_1", "product.updated", name="Coffee")
        made.put(PRODUCTS, "prod_8", "product.updated", name="Coffee")
        made.later()
        since(ledger.NOW - 993)
        made.remove(PRODUCTS, "prod_2", "product.deleted")
        made.later()
        since(ledger.NOW - 998)
        since(None)
    assert ids(file, "products") == [f"prod_{n}" for n in range(10) if n != 2]
    assert {one(file, "products", f"prod_{n}")["name"] for n in (1, 8)} == {"Coffee"}


def test_rows_from_before_the_start_are_repaired_after_a_gap_too(file: Path) -> None:
    """No list of them is asked for, so each is read by itself."""
    made, start = ledger.Ledger(PRODUCTS), ledger.NOW - 10
    for n in range(3):
        made.put(PRODUCTS, f"prod_{n}", name="Tea", created=ledger.NOW - 1_000 + n)
    made.put(PRODUCTS, "prod_9", name="Tea")
    with double.serving(made) as url:
        follow(Stripe(url), file, "products", start=start)
        for n in (1, 2):
            made.put(PRODUCTS, f"prod_{n}", "product.updated", name="Coffee")
        made.later()
        follow(Stripe(url), file, "products", start=start)
        assert ids(file, "products") == ["prod_1", "prod_2", "prod_9"]
        made.put(PRODUCTS, "prod_1", name="Milk")
        made.remove(PRODUCTS, "prod_2")
        made.later(40 * 86_400)
        follow(Stripe(url), file, "products", start=start)
    assert ids(file, "products") == ["prod_1", "prod_9"]
    assert one(file, "products", "prod_1")["name"] == "Milk"


@pytest.mark.parametrize("retry", [False, True])
def test_a_key_of_the_other_mode_deletes_nothing(retry: bool, file: Path) -> None:
    """Live and test mode share the account's id; what only the other one has is answered with a 404."""
    made = shop()
    with double.serving(made) as url:
        follow(Stripe(url), file, "products")
        if retry:
            made.tell("product.updated", made.objects[PRODUCTS]["prod_1"], {}, version=ledger.OLD)
        for n in (1, 2):
            del made.objects[PRODUCTS][f"prod_{n}"]
            said = f"No such product: 'prod_{n}'; a similar object exists in live mode."
            error = {
                "type": "invalid_request_error",
                "code": "resource_missing",
                "param": "id",
                "message": said,
            }
            made.instead[f"{PRODUCTS}/prod_{n}"] = (404, {"error": error})
        made.put(PRODUCTS, "prod_3", "product.created")
        made.later()
        result = pull(Stripe(url), file, "products", full_refresh=True)
    assert result.status == ("partial" if retry else "ok")
    assert ids(file, "products") == ["prod_1", "prod_2", "prod_3"]


def test_a_parent_and_its_children_that_are_pulled_in_turns(file: Path) -> None:
    made = ledger.Ledger(INVOICES)
    made.put(INVOICES, "in_1", **invoice("in_1", "il_1", "il_2"))
    with double.serving(made) as url:

        def follows(*streams: str) -> None:
            made.later()
            follow(Stripe(url), file, *streams)

        follows("invoices")
        follows("invoice_line_items")
        assert ids(file, "invoice_line_items") == ["il_1", "il_2"]
        made.put(INVOICES, "in_1", "invoice.updated", **invoice("in_1", "il_1", amount_due=1))
        follows("invoice_line_items")
        assert ids(file, "invoice_line_items") == ["il_1"]
        follows("invoices", "invoice_line_items")
        assert one(file, "invoices", "in_1")["amount_due"] == 1
        made.remove(INVOICES, "in_1", "invoice.deleted")
        follows("invoice_line_items")
        assert ids(file, "invoice_line_items") == []
        follows("invoices")
    assert ids(file, "invoices") == []
