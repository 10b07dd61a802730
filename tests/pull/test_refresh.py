"""Objects read again: by id, from the top of their list, with their parent; and what is kept of those that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import double
import ledger
import pytest
import scripted
from aiohttp import web
from pulling import KEY

from tidegate import catalog, errors
from tidegate.pull import load, plan, refresh, scope
from tidegate.stripe import attempts

PRODUCTS, CUSTOMERS, INVOICES = "/v1/products", "/v1/customers", "/v1/invoices"
STREAMS = catalog.load().streams
NOW = ledger.NOW


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.02)


class Unexpanding(ledger.Ledger):
    """It refuses to expand anything."""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if "expand[]" not in request.query:
            return await super().answer(request)
        self.requests.append(request.path_qs)
        return web.json_response(scripted.refusal("Bad expand 'cash_balance'"), status=400)


def read(
    made: ledger.Ledger, streams: Sequence[str], dirty: Sequence[refresh.Dirty], **options: Any
) -> tuple[scripted.Added, list[refresh.Failed]]:
    """Read dirty objects again; what came, and what failed."""
    sink = scripted.Added()

    async def go(url: str) -> list[refresh.Failed]:
        wanted = plan.plan(STREAMS, streams)
        chosen = scope.Options(streams=streams, **options)
        targets = {each.name: scope.target(each, "acct_1", chosen) for each in wanted.streams}
        async with scope.connect(scope.Source(KEY, url, rate_limit="off", budget=1.0)) as stripe:
            shared = scope.shared(
                stripe, targets, sink, account="acct_1", starts=scope.starts(chosen, targets)
            )
            return await refresh.refresh(shared, refresh.ways(wanted), dirty)

    with double.serving(made) as url:
        return sink, asyncio.run(go(url))


def gone(sink: scripted.Added, stream: str) -> list[tuple[str, ...]]:
    """The keys of a stream that are said to be no more."""
    return [
        key
        for each in sink.cargo
        if isinstance(each, load.Gone) and each.target.stream.name == stream
        for key in each.keys
    ]


def swept(sink: scripted.Added, stream: str) -> dict[str, list[str]]:
    """By parent, the rows of a stream that are said to be all it has."""
    return {
        each.parent_id: list(each.ids)
        for each in sink.cargo
        if isinstance(each, load.Swept) and each.target.stream.name == stream
    }


def shop(count: int = 3) -> ledger.Ledger:
    """Products, the newest last."""
    made = ledger.Ledger(PRODUCTS)
    for n in range(count):
        made.put(PRODUCTS, f"prod_{n}", name=f"Tea {n}", created=NOW - 1_000 + n)
    return made


def product(n: int, **more: Any) -> refresh.Dirty:
    return refresh.Dirty("products", f"prod_{n}", NOW - 10, **more)


# Once


def test_an_object_that_several_rows_need_is_read_once() -> None:
    """Of two readings the earlier could be told later, and bring back what was gone at the other."""
    made = ledger.Ledger(INVOICES)
    line = {"id": "il_1", "object": "line_item", "amount": 1}
    listed = {"object": "list", "data": [line], "has_more": False, "url": f"{INVOICES}/in_1/lines"}
    made.put(INVOICES, "in_1", lines=listed)
    dirty = [refresh.Dirty("invoice_line_items", f"il_{n}", NOW - 10, "in_1", "invoice") for n in (1, 2)]
    dirty.append(refresh.Dirty("invoices", "in_1", NOW - 10))
    sink, failed = read(made, ["invoices", "invoice_line_items"], dirty)
    assert (made.requests, failed) == ([f"{INVOICES}/in_1"], [])
    assert swept(sink, "invoice_line_items") == {"in_1": ["il_1"]}


def test_what_cannot_be_read_is_told_of_everything_that_needs_it() -> None:
    made = ledger.Ledger(INVOICES)
    made.instead[f"{INVOICES}/in_1"] = 500, scripted.refusal("no")
    dirty = [refresh.Dirty("invoice_line_items", f"il_{n}", NOW - 10, "in_1", "invoice") for n in (1, 2)]
    _, failed = read(made, ["invoices", "invoice_line_items"], dirty)
    assert [each.dirty.id for each in failed] == ["il_1", "il_2"]


# By id


def test_an_object_is_read_without_expand_where_that_is_refused() -> None:
    """Stand-ins for Stripe know fewer fields than it has."""
    made = Unexpanding(CUSTOMERS, f"{CUSTOMERS}/cus_1/sources", f"{CUSTOMERS}/cus_1/tax_ids")
    made.put(CUSTOMERS, "cus_1", email="a@example.com")
    sink, failed = read(made, ["customers"], [refresh.Dirty("customers", "cus_1", NOW - 10)])
    assert (sink.ids("customers"), failed) == (["cus_1"], [])
    asked = [request for request in made.requests if request.startswith(f"{CUSTOMERS}/cus_1?")]
    assert len(asked) == 1
    assert made.requests.count(f"{CUSTOMERS}/cus_1") == 1


def test_a_stored_object_is_read_by_its_id() -> None:
    made = shop()
    sink, failed = read(made, ["products"], [product(1)])
    assert (sink.ids("products"), failed) == (["prod_1"], [])
    assert made.requests == ["/v1/products/prod_1"]


def test_the_row_is_as_old_as_its_request() -> None:
    """Whatever happens before the answer arrives."""
    made = shop()
    made.during("/v1/products/prod_1", lambda: made.later(60))
    sink, _ = read(made, ["products"], [product(0), product(1)])
    versions = {each.part.version for each in sink.cargo if isinstance(each, load.Piece)}
    assert max(versions) <= NOW


def test_an_object_that_is_not_there_is_gone_since_before_it_was_asked_for() -> None:
    made = shop()
    sink, failed = read(made, ["products"], [product(7)])
    assert failed == []
    assert gone(sink, "products") == [("prod_7",)]
    (each,) = [each for each in sink.cargo if isinstance(each, load.Gone)]
    assert each.version <= NOW


def test_a_stub_of_a_deleted_object_is_gone_too() -> None:
    made = ledger.Ledger(CUSTOMERS)
    made.instead[f"{CUSTOMERS}/cus_1"] = {"id": "cus_1", "object": "customer", "deleted": True}
    sink, _ = read(made, ["customers"], [refresh.Dirty("customers", "cus_1", NOW)])
    assert gone(sink, "customers") == [("cus_1",)]
    assert sink.ids("customers") == []


def test_with_a_parent_that_is_gone_go_its_children() -> None:
    made = ledger.Ledger(INVOICES)
    sink, _ = read(made, ["invoices", "invoice_line_items"], [refresh.Dirty("invoices", "in_1", NOW)])
    assert gone(sink, "invoices") == [("in_1",)]
    assert swept(sink, "invoice_line_items") == {"in_1": []}


def test_a_parent_brings_all_its_children_and_says_that_these_are_all() -> None:
    lines = scripted.rows("il", 130, object="line_item")
    made = ledger.Ledger(INVOICES, f"{INVOICES}/in_1/lines")
    made.objects[f"{INVOICES}/in_1/lines"] = {each["id"]: each for each in lines}
    head = {"object": "list", "data": lines[:10], "has_more": True, "url": f"{INVOICES}/in_1/lines"}
    made.put(INVOICES, "in_1", lines=head)
    sink, _ = read(made, ["invoices", "invoice_line_items"], [refresh.Dirty("invoices", "in_1", NOW)])
    assert sorted(sink.ids("invoice_line_items")) == sorted(each["id"] for each in lines)
    assert sorted(swept(sink, "invoice_line_items")["in_1"]) == sorted(each["id"] for each in lines)


def test_what_only_comes_when_asked_for_is_asked_for() -> None:
    made = ledger.Ledger(CUSTOMERS)
    made.put(CUSTOMERS, "cus_1")
    read(made, ["customers"], [refresh.Dirty("customers", "cus_1", NOW)])
    assert "expand[]=tax" in made.requests[0].replace("%5B", "[").replace("%5D", "]")


# From the list


def test_several_new_objects_are_read_from_the_span_in_which_they_were_created() -> None:
    made = shop(50)
    sink, _ = read(made, ["products"], [product(n, new=True, created=NOW - 1_000 + n) for n in range(10, 40)])
    assert set(sink.ids("products")) == {f"prod_{n}" for n in range(10, 40)}
    (request,) = made.requests
    assert f"created[gte]={NOW - 990}" in request
    assert f"created[lt]={NOW - 960}" in request


def test_a_single_new_object_is_read_by_its_id() -> None:
    made = shop()
    read(made, ["products"], [product(1, new=True, created=NOW - 999)])
    assert made.requests == ["/v1/products/prod_1"]


def test_what_the_list_does_not_show_is_asked_for_by_id() -> None:
    """Some lists hide objects, and one may have been deleted meanwhile."""
    made = shop()
    hidden = made.objects[PRODUCTS]["prod_1"]
    made.instead[f"{PRODUCTS}/prod_1"] = hidden
    del made.objects[PRODUCTS]["prod_1"]
    sink, _ = read(made, ["products"], [product(n, new=True, created=NOW - 1_000 + n) for n in range(3)])
    assert sorted(sink.ids("products")) == ["prod_0", "prod_1", "prod_2"]


def test_a_list_never_costs_more_than_asking_for_each() -> None:
    """Two objects, and between them a thousand others."""
    made = shop(1_000)
    dirty = [product(0, new=True, created=NOW - 1_000), product(999, new=True, created=NOW - 1)]
    sink, _ = read(made, ["products"], dirty)
    assert {"prod_0", "prod_999"} <= set(sink.ids("products"))
    assert len(made.requests) <= 3


@pytest.mark.parametrize(
    "answer",
    [
        scripted.BROKEN,
        (400, scripted.refusal("No.", "parameter_invalid")),
        (403, scripted.refusal("The key needs 'rak_x' on account 'acct_1'.")),
        {"object": "list", "data": 7, "has_more": False},
    ],
    ids=["broken", "refused", "forbidden", "no list"],
)
def test_where_the_list_is_refused_each_is_asked_for_by_id(answer: scripted.Answer) -> None:
    made = shop()
    made.instead[PRODUCTS] = answer
    sink, failed = read(made, ["products"], [product(n, new=True, created=NOW - 1_000 + n) for n in range(3)])
    assert (sorted(sink.ids("products")), failed) == (["prod_0", "prod_1", "prod_2"], [])


# Lists under parents


def test_a_whole_list_under_a_parent_is_read_and_says_that_it_is_all() -> None:
    path = f"{CUSTOMERS}/cus_1/balance_transactions"
    made = ledger.Ledger(CUSTOMERS)
    moves = scripted.rows("cbtxn", 130, object="customer_balance_transaction")
    made.objects[path] = {each["id"]: each for each in moves}
    dirty = refresh.Dirty("customer_balance_transactions", refresh.LIST + "cus_1", NOW)
    sink, failed = read(made, ["customers", "customer_balance_transactions"], [dirty])
    assert failed == []
    assert sorted(sink.ids("customer_balance_transactions")) == sorted(each["id"] for each in moves)
    assert sorted(swept(sink, "customer_balance_transactions")["cus_1"]) == sorted(made.objects[path])


def test_a_child_without_a_route_of_its_own_comes_with_its_parent() -> None:
    lines = scripted.rows("il", 3, object="line_item")
    made = ledger.Ledger(INVOICES)
    made.put(INVOICES, "in_1", lines={"object": "list", "data": lines, "has_more": False, "url": "/"})
    assert not STREAMS["invoice_line_items"].retrieve
    dirty = refresh.Dirty("invoice_line_items", "il_0001", NOW, parent="in_1", parent_type="invoice")
    sink, _ = read(made, ["invoices", "invoice_line_items"], [dirty])
    assert sorted(sink.ids("invoice_line_items")) == ["il_0000", "il_0001", "il_0002"]


def test_a_card_is_read_where_its_owner_has_it() -> None:
    made = ledger.Ledger(f"{CUSTOMERS}/cus_1/sources", "/v1/accounts/acct_9/external_accounts")
    made.objects[f"{CUSTOMERS}/cus_1/sources"] = {"card_1": {"id": "card_1", "object": "card"}}
    made.objects["/v1/accounts/acct_9/external_accounts"] = {"card_2": {"id": "card_2", "object": "card"}}
    sink, _ = read(
        made,
        ["cards"],
        [
            refresh.Dirty("cards", "card_1", NOW, parent="cus_1", parent_type="customer"),
            refresh.Dirty("cards", "card_2", NOW, parent="acct_9", parent_type="account"),
        ],
    )
    assert sorted(sink.ids("cards")) == ["card_1", "card_2"]


# What fails


def test_one_that_cannot_be_read_stops_no_other() -> None:
    made = shop()
    made.instead = {
        f"{PRODUCTS}/prod_0": scripted.BROKEN,
        f"{PRODUCTS}/prod_1": (403, scripted.refusal("The key needs 'rak_product_read' on account 'a'.")),
    }
    sink, failed = read(made, ["products"], [product(n) for n in range(3)])
    assert sink.ids("products") == ["prod_2"]
    assert {each.dirty.id: type(each.error) for each in failed} == {
        "prod_0": errors.ServerFault,
        "prod_1": errors.PermissionMissing,
    }


def test_an_answer_that_is_no_object_is_a_failure_not_a_deletion() -> None:
    made = shop()
    made.instead[f"{PRODUCTS}/prod_0"] = {"object": "list", "data": []}
    sink, failed = read(made, ["products"], [product(0)])
    assert gone(sink, "products") == []
    assert [type(each.error) for each in failed] == [errors.BadPage]


def test_a_rejected_key_ends_everything() -> None:
    made = shop()
    made.instead[f"{PRODUCTS}/prod_0"] = (401, scripted.refusal("Invalid API Key provided: sk_test_*"))
    with pytest.raises(errors.Unauthorized):
        read(made, ["products"], [product(n) for n in range(3)])


def test_a_stream_that_is_not_pulled_is_not_asked_for() -> None:
    made = shop()
    sink, failed = read(made, ["customers"], [product(0)])
    assert (made.requests, sink.cargo, failed) == ([], [], [])


# What is kept


def test_what_failed_waits_twice_as_long_each_time_up_to_an_hour() -> None:
    dirty, waits = product(0), []
    for _ in range(14):
        text = refresh.again(dirty, "broken", NOW)
        (dirty,) = refresh.saved({refresh.key("acct_1", dirty): text}, "acct_1")
        waits.append(dirty.after - NOW)
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600, 3600]
    assert (dirty.attempts, dirty.reason, dirty.id) == (14, "broken", "prod_0")


def test_what_cannot_be_read_of_the_state_is_left_out() -> None:
    good = refresh.again(product(0), "broken", NOW)
    state = {
        "dirty/acct_1/products/prod_0": good,
        "dirty/acct_1/products/prod_1": "{",
        "dirty/acct_10/products/prod_0": good,
        "tail/acct_1": "7",
    }
    assert [each.id for each in refresh.saved(state, "acct_1")] == ["prod_0"]
