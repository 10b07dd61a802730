"""Lists over HTTP: pages, cursors, filters, nested lists, v2, and the same truth through every door."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from tidegate import catalog
from tidegate.sandbox import world

from .conftest import NOW, Stripe

STREAMS = catalog.load().streams
TOP_LEVEL = sorted(
    name for name, one in STREAMS.items() if not one.parent and one.api == "v1" and one.origins[0].paged
)
V2 = sorted(name for name, one in STREAMS.items() if not one.parent and one.api == "v2")


@pytest.fixture(scope="module")
def stripe() -> Any:
    one = Stripe(world.build(objects=4_000, accounts=8, now=NOW))
    yield one
    one.close()


def ids(objects: list[dict[str, Any]]) -> list[str]:
    return [one["id"] for one in objects]


def test_a_list_is_an_object_of_its_own(stripe: Stripe) -> None:
    answer = stripe.get("/v1/customers", {"limit": 2})

    assert set(answer.json) == {"object", "data", "has_more", "url"}
    assert (answer.json["object"], answer.json["url"]) == ("list", "/v1/customers")
    assert answer.headers["Request-Id"].startswith("req_")
    assert answer.headers["Stripe-Version"] == stripe.made.facts.api_version


def test_ten_is_the_default_and_a_hundred_the_most(stripe: Stripe) -> None:
    assert len(stripe.get("/v1/charges").json["data"]) == 10
    assert len(stripe.get("/v1/charges", {"limit": 100}).json["data"]) == 100
    for limit, word in (("101", "less than or equal to 100"), ("0", "greater than or equal to 1")):
        answer = stripe.get("/v1/charges", {"limit": limit})
        assert (answer.status, answer.error["code"]) == (400, "parameter_invalid_integer")
        assert word in answer.error["message"]


@pytest.mark.parametrize("name", TOP_LEVEL)
def test_walking_a_list_gives_every_object_once_newest_first(stripe: Stripe, name: str) -> None:
    stream = STREAMS[name]
    params = dict(stream.origins[0].params)

    found = stripe.walk(stream.origins[0].path, **{"limit": 37, **params})

    assert len(ids(found)) == len(set(ids(found)))
    created = [one["created"] for one in found if isinstance(one.get("created"), int)]
    assert created == sorted(created, reverse=True)
    assert found == [line["object"] for line in stripe.truth(name)]
    assert found


@pytest.mark.parametrize("name", V2)
def test_v2_lists_page_by_url(stripe: Stripe, name: str) -> None:
    path = STREAMS[name].origins[0].path
    found: list[dict[str, Any]] = []
    url = f"{path}?limit=1"
    while url:
        answer = stripe.get(url)
        assert answer.status == 200, answer.body
        assert set(answer.json) == {"data", "next_page_url", "previous_page_url"}
        found += answer.json["data"]
        url = answer.json["next_page_url"]

    truth = [line["object"] for line in stripe.truth(name)]
    hidden = [one for one in truth if one.get("closed") or one.get("status") == "closed"]
    assert found == [one for one in truth if one not in hidden]
    assert found


def test_closed_v2_accounts_are_hidden_unless_asked_for(stripe: Stripe) -> None:
    accounts = [line["object"] for line in stripe.truth("v2_core_accounts")]
    shown = stripe.get("/v2/core/accounts", {"limit": 100}).ids
    closed = stripe.get("/v2/core/accounts", {"limit": 100, "closed": True}).ids

    assert closed == [one["id"] for one in accounts if one["closed"]]
    assert shown == [one["id"] for one in accounts if not one["closed"]]
    assert closed


def test_v2_goes_back_as_well(stripe: Stripe) -> None:
    first = stripe.get("/v2/money_management/transactions?limit=1")
    second = stripe.get(first.json["next_page_url"])
    back = stripe.get(second.json["previous_page_url"])

    assert first.json["previous_page_url"] is None
    assert back.ids == first.ids != second.ids
    assert "T" in first.json["data"][0]["created"]


def test_v2_errors_have_a_shape_of_their_own(stripe: Stripe) -> None:
    missing = stripe.get("/v2/core/accounts/acct_nothing")
    token = stripe.get("/v2/core/accounts?page=nonsense")

    assert (missing.status, missing.error["code"]) == (404, "resource_missing")
    assert token.status == 400
    assert "doc_url" not in missing.error


def test_a_page_before_a_cursor_is_newer(stripe: Stripe) -> None:
    all_of_them = ids(stripe.walk("/v1/customers"))

    answer = stripe.get("/v1/customers", {"ending_before": all_of_them[7], "limit": 3})

    assert answer.ids == all_of_them[4:7]
    assert answer.json["has_more"] is True
    assert (
        stripe.get("/v1/customers", {"ending_before": all_of_them[3], "limit": 3}).json["has_more"] is False
    )


def test_a_cursor_that_is_gone_is_refused(stripe: Stripe) -> None:
    made = stripe.make("/v1/customers")["id"]
    stripe.delete(f"/v1/customers/{made}")

    for cursor in (made, "cus_nothing"):
        answer = stripe.get("/v1/customers", {"starting_after": cursor})
        assert (answer.status, answer.error["code"]) == (400, "resource_missing")
        assert answer.error["message"] == f"No such customer: '{cursor}'"
        assert answer.error["param"] == "starting_after"


def test_two_cursors_are_refused(stripe: Stripe) -> None:
    both = stripe.get("/v1/customers").ids

    assert stripe.get("/v1/customers", {"starting_after": both[0], "ending_before": both[1]}).status == 400


def test_an_unknown_parameter_is_refused(stripe: Stripe) -> None:
    answer = stripe.get("/v1/customers", {"emial": "x"})

    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "parameter_unknown", "emial")
    assert answer.error["message"] == "Received unknown parameter: emial. Did you mean email?"


def test_created_bounds(stripe: Stripe) -> None:
    everyone = stripe.walk("/v1/charges")
    middle = everyone[len(everyone) // 2]["created"]
    for bound, keep in (
        ("gt", lambda at: at > middle),
        ("gte", lambda at: at >= middle),
        ("lt", lambda at: at < middle),
        ("lte", lambda at: at <= middle),
    ):
        found = stripe.walk("/v1/charges", created={bound: middle})
        assert ids(found) == [one["id"] for one in everyone if keep(one["created"])]
    assert ids(stripe.walk("/v1/charges", created=middle)) == [
        one["id"] for one in everyone if one["created"] == middle
    ]


def test_a_created_bound_that_is_none_is_refused(stripe: Stripe) -> None:
    assert stripe.get("/v1/charges", {"created": {"after": 1}}).status == 400
    assert stripe.get("/v1/charges", {"created": {"gte": "yesterday"}}).status == 400


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/charges", "customer"),
        ("/v1/charges", "payment_intent"),
        ("/v1/invoices", "status"),
        ("/v1/invoices", "customer"),
        ("/v1/prices", "product"),
        ("/v1/prices", "active"),
        ("/v1/refunds", "charge"),
        ("/v1/balance_transactions", "type"),
        ("/v1/balance_transactions", "source"),
        ("/v1/payouts", "status"),
        ("/v1/promotion_codes", "code"),
    ],
)
def test_equality_filters_select_what_a_scan_would(stripe: Stripe, path: str, field: str) -> None:
    everyone = stripe.walk(path)
    value = next(one[field] for one in everyone if one[field] is not None)

    found = stripe.walk(path, **{field: value})

    assert ids(found) == [one["id"] for one in everyone if one[field] == value]


def test_filters_without_a_field_of_their_name(stripe: Stripe) -> None:
    subscriptions = stripe.walk("/v1/subscriptions", status="all")
    price = subscriptions[0]["items"]["data"][0]["price"]["id"]
    invoices = stripe.walk("/v1/invoices")
    parented = next(one for one in invoices if one["parent"])
    subscription = parented["parent"]["subscription_details"]["subscription"]

    assert subscriptions[0]["id"] in ids(stripe.walk("/v1/subscriptions", status="all", price=price))
    assert parented["id"] in ids(stripe.walk("/v1/invoices", subscription=subscription))
    assert all(
        one["parent"]["subscription_details"]["subscription"] == subscription
        for one in stripe.walk("/v1/invoices", subscription=subscription)
    )


def test_canceled_subscriptions_are_hidden_unless_asked_for(stripe: Stripe) -> None:
    everyone = stripe.walk("/v1/subscriptions", status="all")
    canceled = {one["id"] for one in everyone if one["status"] == "canceled"}

    assert canceled
    assert not canceled & set(ids(stripe.walk("/v1/subscriptions")))
    assert set(ids(stripe.walk("/v1/subscriptions", status="canceled"))) == canceled
    assert ids(stripe.walk("/v1/subscriptions")) == [
        one["id"] for one in everyone if one["id"] not in canceled
    ]


def test_a_nested_list_is_cut_at_ten_and_goes_on_at_its_url(stripe: Stripe) -> None:
    invoice = max(stripe.walk("/v1/invoices"), key=lambda one: len(stripe.walk(one["lines"]["url"])))
    nested = invoice["lines"]

    everything = stripe.walk(nested["url"])

    assert len(nested["data"]) == 10
    assert nested["has_more"] is True
    assert everything[:10] == nested["data"]
    assert len(everything) > 11
    rest = stripe.get(nested["url"], {"starting_after": nested["data"][-1]["id"], "limit": 100})
    assert rest.ids == ids(everything)[10:110]


@pytest.mark.parametrize(
    "name",
    sorted(
        name
        for name, one in STREAMS.items()
        if one.parent and one.origins[0].kind == "by parent" and one.api == "v1"
    ),
)
def test_children_are_listed_parent_by_parent(stripe: Stripe, name: str) -> None:
    stream = STREAMS[name]
    truth = stripe.truth(name)
    assert truth
    by_parent: dict[str, list[str]] = {}
    for line in truth:
        by_parent.setdefault(line["parent"], []).append(line["object"]["id"])
    for parent, expected in list(by_parent.items())[:3]:
        origin = (
            stream.origins[-1]
            if parent.startswith("acct_") and len(stream.origins) > 1
            else stream.origins[0]
        )
        path, params = origin.path, dict(origin.params)
        for above in origin.parents:
            value = parent
            if above.field != "id":
                value = stripe.get(STREAMS[above.stream].retrieve.replace("{account}", parent)).json[
                    above.field
                ]
            if f"{{{above.param}}}" in path:
                path = path.replace(f"{{{above.param}}}", value)
            else:
                params[above.param] = value
        paging = {"limit": 100} if origin.max_limit else {}
        answer = stripe.get(path, {**params, **paging})
        assert answer.status == 200, answer.body
        assert [id for id in answer.ids if id in set(expected)] == expected[:100]


def test_a_mixed_list_holds_all_sources(stripe: Stripe) -> None:
    owner = next(
        line["parent"] for line in stripe.truth("bank_accounts") if line["parent"].startswith("cus_")
    )
    everything = stripe.get(f"/v1/customers/{owner}/sources", {"limit": 100})
    cards = stripe.get(f"/v1/customers/{owner}/sources", {"limit": 100, "object": "card"})

    kinds = {one["object"] for one in everything.json["data"]}
    assert "bank_account" in kinds
    assert {one["object"] for one in cards.json["data"]} <= {"card"}
    expanded = stripe.get(f"/v1/customers/{owner}", {"expand": ["sources"]}).json["sources"]
    assert ids(expanded["data"]) == everything.ids[:10]


def test_a_list_needs_its_parent(stripe: Stripe) -> None:
    missing = stripe.get("/v1/subscription_items")
    unknown = stripe.get("/v1/subscription_items", {"subscription": "sub_nothing"})
    in_path = stripe.get("/v1/invoices/in_nothing/lines")

    assert (missing.status, missing.error["code"]) == (400, "parameter_missing")
    assert (unknown.status, unknown.error["code"]) == (400, "resource_missing")
    assert (in_path.status, in_path.error["message"]) == (404, "No such invoice: 'in_nothing'")


def test_a_list_by_two_parents_and_a_window(stripe: Stripe) -> None:
    meter = stripe.get("/v1/billing/meters").ids[0]
    path = f"/v1/billing/meters/{meter}/event_summaries"
    window = {"start_time": 1_600_000_000, "end_time": NOW}
    customers = [one["id"] for one in stripe.walk("/v1/customers")]

    found = [id for owner in customers for id in stripe.get(path, {"customer": owner, **window}).ids]

    truth = stripe.truth("billing_meter_event_summaries")
    expected = [line["object"]["id"] for line in truth if line["parent"] == meter]
    assert sorted(found) == sorted(expected)
    assert found
    assert stripe.get(path, {"customer": customers[-1], "start_time": NOW, "end_time": NOW}).ids == []
    assert stripe.get(path, {"customer": customers[-1]}).error["code"] == "parameter_missing"
    assert stripe.get(path, window).error["param"] == "customer"


def test_a_list_without_cursor_answers_whole(stripe: Stripe) -> None:
    answer = stripe.get("/v1/reporting/report_types")

    assert answer.json["has_more"] is False
    assert len(answer.ids) == len(stripe.truth("reporting_report_types"))
    assert stripe.get("/v1/reporting/report_types", {"limit": 3}).error["code"] == "parameter_unknown"


def test_every_object_is_had_by_its_id(stripe: Stripe) -> None:
    for name in TOP_LEVEL:
        stream = STREAMS[name]
        if not stream.retrieve or name == "events":
            continue
        one = stripe.get(stream.origins[0].path, {**stream.origins[0].params, "limit": 1}).json["data"][0]
        path = stream.retrieve[: stream.retrieve.index("{")] + one["id"]
        assert json.loads(stripe.get(path).body) == one, name


def test_gzip_is_sent_to_those_who_accept_it(stripe: Stripe, start: Callable[..., Stripe]) -> None:
    plain = stripe.get("/v1/charges")
    packed = stripe.get("/v1/charges", headers={"Accept-Encoding": "gzip"})
    never = start(gzip=False).get("/v1/charges", headers={"Accept-Encoding": "gzip"})

    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert "Content-Encoding" not in never.headers


def test_an_unknown_url_is_said_to_be_unknown(stripe: Stripe) -> None:
    answer = stripe.get("/v1/nothing")

    assert answer.status == 404
    assert answer.error["message"].startswith("Unrecognized request URL (GET: /v1/nothing).")
