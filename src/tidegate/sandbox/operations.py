"""What a matched request does: one function for each kind of route, over one account's objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from tidegate import catalog
from tidegate.sandbox import (
    customers,
    events,
    expand,
    forms,
    invoice_lines,
    invoices,
    lists,
    metering,
    objects,
    paying,
    pricelist,
    refunding,
    refusals,
    routes,
    search,
    selling,
    subscribing,
    writes,
)

RULES = (customers, invoice_lines, invoices, paying, pricelist, refunding, selling, subscribing)
"""Rooms that register their rules in `writes` when they are imported."""


@dataclass(frozen=True)
class Request:
    """A request after its key, account, version and route are known."""

    route: routes.Route
    arguments: Mapping[str, str]
    path: str
    params: forms.Tree
    call: writes.Call
    key: str = ""
    """As errors show it."""

    @property
    def named(self) -> str:
        """The id in the path; empty where there is none."""
        return list(self.arguments.values())[-1] if self.arguments else ""

    @property
    def book(self) -> objects.Book:
        """The objects of the account."""
        return self.call.book


def perform(request: Request) -> bytes:
    """Execute; the body of the answer."""
    match request.route.kind:
        case "list":
            return _list(request)
        case "retrieve":
            return _retrieve(request)
        case "own":
            return msgspec.json.encode(own_account(request.call))
        case "search":
            return _search(request)
        case "create":
            return _create(request)
        case "update":
            return _update(request)
        case "delete":
            return _delete(request)
        case "action":
            return _act(request)
        case "meter":
            return msgspec.json.encode(metering.record(request.call, request.params))
    return balance(request.book, live=request.call.live)


def own_account(call: writes.Call) -> objects.Object:
    """The account that is asked about itself."""
    book = call.book
    if book.exists("accounts", book.account) and (ref := book.locate("accounts", book.account)):
        return book.show("accounts", ref)
    obj = writes.blank(call, book.stream("accounts"))
    obj.update(
        id=book.account,
        business_type="company",
        charges_enabled=True,
        country="US",
        default_currency="usd",
        details_submitted=True,
        payouts_enabled=True,
        type="standard",
        created=book.world.created("customers", 0) if book.world.count("customers") else book.clock.now(),
    )
    return obj


def balance(book: objects.Book, *, live: bool = False) -> bytes:
    """What all balance transactions come to, by status and currency."""
    sums = book.settling.balance()
    currencies = sorted({currency for _, currency in sums}) or ["usd"]
    sides = {
        side: [
            {
                "amount": sums[side, currency],
                "currency": currency,
                "source_types": {"card": sums[side, currency]},
            }
            for currency in currencies
        ]
        for side in ("available", "pending")
    }
    return msgspec.json.encode({"object": "balance", "livemode": live, **sides})


def _list(request: Request) -> bytes:
    listing = request.route.listing
    assert listing is not None, "list routes carry their listing"
    book = request.book
    if request.route.stream.name != "events":
        return lists.page(book, listing, request.arguments, request.params, request.path)
    journal = request.call.journal
    visible = journal.visible(book)
    for param in ("starting_after", "ending_before"):
        event = book.get("events", str(request.params.get(param, "")))
        if event is not None and not journal.is_visible(book, event):
            raise refusals.missing("event", event["id"], param, status=400)
    oldest = book.clock.now() - events.KEPT
    return lists.page(book, listing, request.arguments, request.params, request.path, visible, oldest)


def _retrieve(request: Request) -> bytes:
    stream, id, parent = _named(request, lingering=True)
    book = request.book
    if not book.exists(stream.name, id, parent):
        return msgspec.json.encode(book.tombstone(stream.name, id))
    if stream.name == "events" and not request.call.journal.is_visible(book, book.get("events", id) or {}):
        raise refusals.missing("event", id)
    forms.refuse_unknown(request.params, ("expand", "ownership", "include"))
    return _render(request, stream, id, parent)


def _render(request: Request, stream: catalog.Stream, id: str, parent: str = "") -> bytes:
    wanted = forms.strings("expand", request.params["expand"]) if "expand" in request.params else []
    own, deep = expand.split(stream, wanted)
    ref = request.book.locate(stream.name, id, parent)
    assert ref is not None, "only what exists is rendered"
    if not deep:
        return request.book.render(stream.name, ref, own)
    return msgspec.json.encode(expand.apply(request.book, request.book.show(stream.name, ref, own), deep))


def _search(request: Request) -> bytes:
    return search.page(request.book, request.route.stream, request.params, request.path)


def _create(request: Request) -> bytes:
    call, route, params = request.call, request.route, request.params
    assert route.write is not None, "create routes carry their parameters"
    if route.template == "/v1/customers/{customer}/sources":
        typed = forms.check(route.write, params)
        customer = call.get("customers", request.arguments["customer"], "customer", status=404)
        made = customers.add_source(call, customer["id"], typed["source"])
        return msgspec.json.encode(made)
    _check_expand(request)
    name, id, parent = writes.create(call, route.stream, route.write, request.arguments, params)
    body = _render(request, call.book.stream(name), id, parent)
    if name != "webhook_endpoints":
        return body
    return msgspec.json.encode({**msgspec.json.decode(body), "secret": call.secrets[id]})


def _update(request: Request) -> bytes:
    stream, id, parent = _named(request)
    write = stream.update
    assert write is not None, "update routes carry their parameters"
    _check_expand(request)
    writes.update(request.call, stream, write, id, parent, request.params)
    return _render(request, stream, id, parent)


def _check_expand(request: Request) -> None:
    """Refuse an expansion that cannot be before anything is done."""
    if "expand" in request.params:
        expand.split(request.route.stream, forms.strings("expand", request.params["expand"]))


def _delete(request: Request) -> bytes:
    stream, id, parent = _named(request)
    write = stream.delete
    assert write is not None, "delete routes carry their parameters"
    params = {name: value for name, value in request.params.items() if name != "expand"}
    answer = writes.delete(request.call, stream, write, id, parent, params)
    if request.book.exists(stream.name, id, parent):
        return _render(request, stream, id, parent)
    return msgspec.json.encode(answer)


def _act(request: Request) -> bytes:
    name, function = writes.ACTIONS[request.route.method, request.route.template]
    id = next(iter(request.arguments.values()))
    stream = request.book.stream(name)
    if name == "payment_methods" and paying.names_test_card(id):
        id = paying.test_method(request.call, id)
    obj = request.call.get(name, id, "id", status=404)
    params = {key: value for key, value in request.params.items() if key != "expand"}
    function(request.call, obj, params)
    return _render(request, stream, id)


def _named(request: Request, *, lingering: bool = False) -> tuple[catalog.Stream, str, str]:
    """Stream, id and parent's id of the object the path names; refused when it is not there."""
    values = list(request.arguments.values())
    id, parent = values[-1], values[0] if len(values) > 1 else ""
    book = request.book
    for stream in request.route.streams:
        if book.exists(stream.name, id, parent):
            above = book.parent_of(stream.name, id)
            if not parent or above in ("", parent) or "_parent_id" in stream.key:
                return stream, id, parent
        if lingering and stream.name in writes.LINGERING and book.tombstone(stream.name, id):
            return stream, id, parent
    if request.route.template == "/v1/accounts/{account}":
        raise refusals.no_account(request.key, id)
    noun = lists.noun(request.route.stream)
    # The endpoint has begun to execute when it looks for its object, so a key keeps the answer.
    raise refusals.missing(noun, id, list(request.arguments)[-1], stored=request.route.method == "POST")
