"""What one answer carries: nested lists cut off, left out, null, mixed, and nested once more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import double
import pytest
import scripted
from pulling import Stripe, pull, query

from tidegate import catalog, errors
from tidegate.pull import load, plan, reading, unpacking

STREAMS = catalog.load().streams
INVOICES = scripted.walk("invoices", "invoice_line_items")
CUSTOMERS = scripted.walk("customers", "bank_accounts", "cards", "customer_tax_ids")
LINES = scripted.rows("il", 250, object="line_item")


def invoice(id: str = "in_1", **more: Any) -> dict[str, Any]:
    return {"id": id, "object": "invoice", "created": 1_700_000_000, **more}


def customer(id: str = "cus_1", **more: Any) -> dict[str, Any]:
    empty = {"object": "list", "data": [], "has_more": False, "url": "/"}
    lists = {"sources": empty, "tax_ids": empty}
    return {"id": id, "object": "customer", "created": 1_700_000_000, **lists, **more}


def nested(objects: list[Any], *, more: bool, url: str = "/v1/invoices/in_1/lines") -> dict[str, Any]:
    return {"object": "list", "data": objects, "has_more": more, "url": url}


def read(
    walk: plan.Walk, row: Mapping[str, Any], routes: Mapping[str, scripted.Route] = {}
) -> tuple[scripted.Added, scripted.Script]:
    """Read a page of one row; what came of it, and what was asked for."""
    path = walk.node.origin.path
    script = scripted.Script(routes={path: lambda q: scripted.listed([row], q), **routes})
    sink = scripted.Added()

    async def page(trip: reading.Trip) -> None:
        async for found, answer in reading.listing(trip, trip.walk.node):
            trip.add(await unpacking.pieces(trip, trip.walk.node, found.rows, answer.version, 1))

    with double.serving(script) as url:
        scripted.walked(url, walk, sink, page)
    return sink, script


def lines(query: scripted.Query) -> scripted.Answer:
    return scripted.listed(LINES, query, "/v1/invoices/in_1/lines")


ALL = sorted(each["id"] for each in LINES)


def test_a_nested_list_that_is_whole_costs_no_request() -> None:
    sink, script = read(INVOICES, invoice(lines=nested(LINES[:3], more=False)))
    assert sink.ids("invoice_line_items") == [each["id"] for each in LINES[:3]]
    assert len(script.requests) == 1


def test_a_nested_list_is_read_to_its_end_before_its_parent_arrives() -> None:
    row = invoice(lines=nested(LINES[:10], more=True))
    sink, script = read(INVOICES, row, {"/v1/invoices/in_1/lines": lines})
    assert sorted(sink.ids("invoice_line_items")) == ALL
    assert script.asked_for("/v1/invoices/in_1/lines") == [
        "/v1/invoices/in_1/lines?limit=100&starting_after=il_0240",
        "/v1/invoices/in_1/lines?limit=100&starting_after=il_0140",
        "/v1/invoices/in_1/lines?limit=100&starting_after=il_0040",
    ]
    assert "invoices" in sink.batches[-1][0]


def test_a_nested_list_that_is_left_out_is_fetched() -> None:
    sink, _ = read(INVOICES, invoice(), {"/v1/invoices/in_1/lines": lines})
    assert sorted(sink.ids("invoice_line_items")) == ALL


def test_a_nested_list_that_is_null_is_none() -> None:
    sink, script = read(INVOICES, invoice(lines=None))
    assert sink.ids("invoice_line_items") == []
    assert len(script.requests) == 1


def test_a_bare_array_is_a_whole_list() -> None:
    sink, script = read(INVOICES, invoice(lines=LINES[:3]))
    assert len(sink.ids("invoice_line_items")) == 3
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/v1/invoices/in_1/lines",
        "https://api.stripe.com/v1/invoices/in_1/lines",
        "/v1/lines",
        "/in_1/more",
    ],
    ids=["none", "Stripe's", "with a host", "of no parent", "of no API"],
)
def test_a_list_goes_on_at_its_own_address_or_else_at_the_documented_one(url: str) -> None:
    """An address that does not name the parent would bring the children of others."""
    row = invoice(lines=nested(LINES[:10], more=True, url=url))
    sink, _ = read(INVOICES, row, {"/v1/invoices/in_1/lines": lines})
    assert sorted(sink.ids("invoice_line_items")) == ALL


def test_an_address_with_a_query_is_asked_with_it() -> None:
    items = scripted.rows("si", 30, object="subscription_item")
    walk = scripted.walk("subscriptions", "subscription_items")
    row = {
        "id": "sub_1",
        "object": "subscription",
        "created": 1,
        "items": nested(items[:10], more=True, url=""),
    }
    route = {"/v1/subscription_items": lambda q: scripted.listed(items, q)}
    sink, script = read(walk, row, route)
    assert len(sink.ids("subscription_items")) == 30
    assert script.asked_for("/v1/subscription_items") == [
        "/v1/subscription_items?subscription=sub_1&limit=100&starting_after=si_0020"
    ]


def test_ids_may_hold_anything() -> None:
    """Customers that were imported long ago keep the ids of another system."""
    taxes = scripted.rows("txi", 3, object="tax_id")
    seen: list[str] = []

    class Any_(scripted.Script):
        async def answer(self, request: Any) -> Any:
            seen.append(request.raw_path)
            return await super().answer(request)

    row = customer("a/b ?#%", tax_ids=nested(taxes[:1], more=True, url=""))
    script = Any_(
        routes={
            "/v1/customers": lambda q: scripted.listed([row], q),
            "/v1/customers/a/b ?#%/tax_ids": lambda q: scripted.listed(taxes, q),
        }
    )
    sink = scripted.Added()

    async def page(trip: reading.Trip) -> None:
        async for found, answer in reading.listing(trip, trip.walk.node):
            trip.add(await unpacking.pieces(trip, trip.walk.node, found.rows, answer.version, 1))

    with double.serving(script) as url:
        scripted.walked(url, scripted.walk("customers", "customer_tax_ids"), sink, page)
    assert len(sink.ids("customer_tax_ids")) == 3
    assert seen[-1].startswith("/v1/customers/a%2Fb%20%3F%23%25/tax_ids?")


def test_a_mixed_list_is_split_by_object_over_all_its_pages() -> None:
    kinds = ("card", "bank_account", "source")
    sources = [
        {"id": f"src_{n:03d}", "object": kinds[n % 3], "created": 1_700_000_000} for n in range(150, 0, -1)
    ]
    row = customer(sources=nested(sources[:10], more=True, url="/v1/customers/cus_1/sources"))
    sink, _ = read(CUSTOMERS, row, {"/v1/customers/cus_1/sources": lambda q: scripted.listed(sources, q)})
    for stream, kind in (("cards", "card"), ("bank_accounts", "bank_account")):
        assert sorted(sink.ids(stream)) == sorted(each["id"] for each in sources if each["object"] == kind)


def test_a_kind_that_nobody_knew_lands_with_the_other_sources_and_in_no_wrong_table() -> None:
    stranger = {"id": "ali_1", "object": "alipay_account", "created": 1_700_000_000, "fingerprint": "f"}
    card = {"id": "card_1", "object": "card"}
    walk = scripted.walk("customers", "cards", "sources")
    sink, _ = read(walk, customer(sources=nested([stranger, card], more=False)), {})
    assert (sink.ids("sources"), sink.ids("cards")) == (["ali_1"], ["card_1"])


def test_a_list_inside_a_nested_list_is_read_to_its_end_too() -> None:
    """No catalogued list is nested twice; one that Stripe adds tomorrow is read like any other."""
    customers, subscriptions = STREAMS["customers"], STREAMS["subscriptions"]
    (branch,) = scripted.walk("subscriptions", "subscription_items").node.branches
    middle = plan.Node(subscriptions, subscriptions.origins[0], kept=False, branches=(branch,))
    outer = next(each for each in customers.nested if each.path == "subscriptions")
    top = plan.Node(customers, customers.origins[0], kept=False, branches=(plan.Branch(outer, (middle,)),))
    items = scripted.rows("si", 25, object="subscription_item")
    subscription = {"id": "sub_1", "created": 1, "items": nested(items[:10], more=True, url="")}
    row = customer(subscriptions=nested([], more=True, url=""))
    sink, _ = read(
        plan.Walk(top),
        row,
        {
            "/v1/subscriptions": lambda q: scripted.listed([subscription], q),
            "/v1/subscription_items": lambda q: scripted.listed(items, q),
        },
    )
    assert sorted(sink.ids("subscription_items")) == sorted(each["id"] for each in items)
    assert list(top.expand()) == ["data.subscriptions"]


def test_a_parent_that_is_deleted_meanwhile_keeps_what_was_shown_of_it() -> None:
    row = invoice(lines=nested(LINES[:10], more=True))
    sink, _ = read(INVOICES, row, {"/v1/invoices/in_1/lines": lambda _: scripted.MISSING})
    assert len(sink.ids("invoice_line_items")) == 10


def test_a_line_that_is_deleted_while_it_is_the_cursor_begins_its_list_anew() -> None:
    gone: set[str] = set()

    def answer(query: scripted.Query) -> scripted.Answer:
        after = query.get("starting_after", "")
        if after == "il_0140":
            gone.add(after)
        if after in gone:
            return scripted.CURSOR_GONE
        return scripted.listed([each for each in LINES if each["id"] not in gone], query)

    row = invoice(lines=nested(LINES[:10], more=True))
    sink, _ = read(INVOICES, row, {"/v1/invoices/in_1/lines": answer})
    assert gone
    assert set(sink.ids("invoice_line_items")) == set(ALL)


def fails(route: scripted.Route, **more: Any) -> str:
    """What is said of an invoice whose lines go wrong."""
    row = invoice(lines=nested(LINES[:10], more=True), **more)
    with pytest.raises(errors.TidegateError) as caught:
        read(INVOICES, row, {"/v1/invoices/in_1/lines": route})
    return str(caught.value)


def test_lines_that_vanish_for_ever_are_told_not_left_out() -> None:
    said = fails(lambda q: scripted.CURSOR_GONE if "starting_after" in q else lines(q))
    assert said.startswith("GET /v1/invoices/in_1/lines was begun again 10 times")


@pytest.mark.parametrize("data", [LINES[5:10], []], ids=["the same again", "nothing"])
def test_a_nested_list_that_claims_more_and_does_not_move_is_told(data: list[Any]) -> None:
    said = fails(lambda _: nested(data, more=True))
    assert said.startswith("GET /v1/invoices/in_1/lines says that more follows")


def test_a_nested_list_whose_rest_is_not_served_makes_its_stream_partial(tmp_path: Path) -> None:
    """Ten lines of 250 are no whole table, whoever asked for it; the invoices are whole."""
    rows = [invoice(f"in_{n}", lines=nested(LINES[:10], more=True, url="")) for n in range(3)]
    script = scripted.Script(routes={"/v1/invoices": lambda q: scripted.listed(rows, q)})
    with double.serving(script) as url:
        result = pull(Stripe(url), tmp_path / "w.duckdb")
    told = {each.stream: each for each in result.outcomes}
    assert told["invoices"].status == "ok"
    assert told["invoice_line_items"].status == "partial"
    assert result.exit_code == 3
    assert len([each for each in script.requests if each.startswith("/v1/invoices/")]) == 1
    assert query(tmp_path / "w.duckdb", "select count(*) as n from stripe.invoices") == [{"n": 3}]


# Pages


def test_a_resumed_list_whose_cursor_stripe_no_longer_takes_is_read_from_the_top() -> None:
    """The address of a next page, as v2 gives it, is not for ever."""
    stream = STREAMS["v2_core_event_destinations"]
    expired = (400, scripted.refusal("The page token is not valid.", "invalid_page_token"))
    objects = [{"id": f"ed_{n}", "object": stream.object} for n in range(4)]

    def answer(query: scripted.Query) -> scripted.Answer:
        if query.get("page") == "old":
            return expired
        if query.get("page") == "two":
            return {"data": objects[2:], "next_page_url": None}
        return {"data": objects[:2], "next_page_url": f"{stream.path}?page=two"}

    script = scripted.Script(routes={stream.path: answer})
    ids: list[str] = []

    async def go(trip: reading.Trip) -> None:
        async for page, _ in reading.listing(trip, trip.walk.node, f"{stream.path}?page=old"):
            ids.extend(page.rows.ids)

    with double.serving(script) as url:
        scripted.walked(url, scripted.walk(stream.name), scripted.Added(), go)
    assert ids == ["ed_0", "ed_1", "ed_2", "ed_3"]


def test_a_list_that_refuses_in_the_middle_is_not_begun_again() -> None:
    quotes = scripted.rows("qt", 300, object="quote")
    refused = (400, scripted.refusal("Something about this request.", "parameter_invalid"))
    script = scripted.Script(
        routes={
            "/v1/quotes": lambda q: (
                refused if q.get("starting_after") == "qt_0100" else scripted.listed(quotes, q)
            )
        }
    )

    async def go(trip: reading.Trip) -> None:
        async for _ in reading.listing(trip, trip.walk.node):
            await asyncio.sleep(0)

    with double.serving(script) as url, pytest.raises(errors.InvalidRequest):
        scripted.walked(url, scripted.walk("quotes"), scripted.Added(), go)
    assert len(script.asked_for("/v1/quotes")) == 3


def test_a_list_that_takes_no_cursor_is_one_page_whatever_it_says() -> None:
    types = [{"id": f"type.{n}", "object": "reporting.report_type"} for n in range(3)]
    page = {"object": "list", "data": types, "has_more": True, "url": "/v1/reporting/report_types"}
    script = scripted.Script(routes={"/v1/reporting/report_types": lambda _: page})
    ids: list[str] = []

    async def go(trip: reading.Trip) -> None:
        async for found, _ in reading.listing(trip, trip.walk.node):
            ids.extend(found.rows.ids)

    with double.serving(script) as url:
        scripted.walked(url, scripted.walk("reporting_report_types"), scripted.Added(), go)
    assert ids == ["type.0", "type.1", "type.2"]
    assert script.requests == ["/v1/reporting/report_types"]


def test_every_list_that_rides_along_has_an_address_of_its_own() -> None:
    """Else the rest of a list that Stripe cut off could not be had."""
    walks = plan.plan(STREAMS, list(STREAMS)).walks
    branches = [branch for walk in walks for branch in walk.node.branches]
    assert len(branches) > 10
    assert all("{" in branch.nested.url for branch in branches)


# What may be stored already


@pytest.mark.parametrize("known", ["told", "twice", ""])
def test_a_first_reading_tells_what_went_only_where_something_may_be_there(known: str) -> None:
    """Of an object that an event had read before, and of one that comes a second time."""
    script = scripted.Script(
        routes={"/v1/invoices": lambda q: scripted.listed([invoice(lines=nested(LINES[:1], more=False))], q)}
    )
    sink = scripted.Added()

    async def page(trip: reading.Trip) -> None:
        trip.reading.told.update(["in_1"] if known == "told" else ["in_2"])
        if known == "twice":
            trip.twice.set()
        async for found, answer in reading.listing(trip, trip.walk.node):
            trip.add(await unpacking.pieces(trip, trip.walk.node, found.rows, answer.version, 1))

    with double.serving(script) as url:
        scripted.walked(url, INVOICES, sink, page)
    swept = [(each.parent_id, list(each.ids)) for each in sink.cargo if isinstance(each, load.Swept)]
    assert swept == ([("in_1", [LINES[0]["id"]])] if known else [])


def test_a_list_that_is_begun_again_may_bring_rows_twice() -> None:
    rows = scripted.rows("cus", 150, object="customer")
    lost = iter([scripted.MISSING])

    def listed(query: scripted.Query) -> scripted.Answer:
        return ("starting_after" in query and next(lost, None)) or scripted.listed(rows, query)

    script = scripted.Script(routes={"/v1/customers": listed})
    twice: list[bool] = []

    async def page(trip: reading.Trip) -> None:
        async for _ in reading.listing(trip, trip.walk.node):
            twice.append(trip.twice.is_set())

    with double.serving(script) as url:
        scripted.walked(url, scripted.walk("customers"), scripted.Added(), page)
    assert twice == [False, True, True]


def test_what_a_younger_reading_tells_waits_for_the_pages_that_were_asked_for_before() -> None:
    """Such a page may have a child that is gone since, and would bring it back after the sweep."""
    sink = scripted.Added()
    gone: list[load.Cargo] = []
    order: list[str] = []

    async def act(trip: reading.Trip) -> None:
        aside = reading.Aside(trip.reading)
        gone.append(unpacking.swept(trip, trip.walk.node.branches[0].nodes[0], "in_1", (), 2))
        with trip.reading.flight():
            aside.add(gone, state={"tail": "2"})
            passing = asyncio.create_task(aside.settle())
            await asyncio.sleep(0)
            order.append(f"{len(sink.cargo)} before the page came")
        with trip.reading.flight():  # asked for since: it knows better
            await passing
            order.append(f"{len(sink.cargo)} after it")

    with double.serving(scripted.Script()) as url:
        scripted.walked(url, INVOICES, sink, act)
    assert order == ["0 before the page came", "1 after it"]
    assert (sink.cargo, sink.state) == (gone, {"tail": "2"})


def test_much_that_waits_goes_on_before_more_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "ROWS", 1)
    script = scripted.Script(routes={"/v1/customers": lambda q: scripted.listed([customer()], q)})
    sink = scripted.Added()

    async def act(trip: reading.Trip) -> None:
        aside = reading.Aside(trip.reading)
        async for found, answer in reading.listing(trip, trip.walk.node):
            aside.add(await unpacking.pieces(trip, trip.walk.node, found.rows, answer.version, 1))
        assert sink.cargo == []
        await aside.room()

    with double.serving(script) as url:
        scripted.walked(url, CUSTOMERS, sink, act)
    assert sink.ids("customers") == ["cus_1"]
