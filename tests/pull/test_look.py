"""The newest rows of a stream, as they would land in its table."""

from __future__ import annotations

import asyncio
import datetime as dt

import double
import pytest
import scripted
from pulling import KEY, Stripe

from tidegate import errors
from tidegate.pull import look, scope

NO_CONNECT = (400, scripted.refusal("You can only list accounts if you have signed up for Connect."))


def newest(url: str, stream: str, limit: int = 5, key: str = KEY) -> list[dict[str, object]]:
    return asyncio.run(look.newest(scope.Source(key, url, rate_limit="off"), stream, limit))


def ids(rows: list[dict[str, object]]) -> list[object]:
    return [row["id"] for row in rows]


def test_the_newest_rows_with_the_columns_of_their_table(business: Stripe) -> None:
    rows = newest(business.url, "charges", 3)
    truth = [line["object"] for line in business.truth("charges")]
    latest = sorted((each["created"] for each in truth), reverse=True)[:3]
    assert [row["created"] for row in rows] == [dt.datetime.fromtimestamp(when, dt.UTC) for when in latest]
    row = rows[0]
    assert row["_account_id"] == business.control("health")["account"]
    assert row["_deleted_at"] is None
    assert {"amount", "_extra", "_version", "_synced_at"} <= set(row)


def test_one_request_is_enough_for_a_list(business: Stripe) -> None:
    business.control("stats/reset", {})
    newest(business.url, "charges", 7)
    assert business.requests() == 2  # whose they are, and which


def test_children_that_ride_along_with_their_parents(business: Stripe) -> None:
    rows = newest(business.url, "invoice_line_items", 4)
    parents = {line["object"]["id"]: line["parent"] for line in business.truth("invoice_line_items")}
    assert len(rows) == 4
    assert [row["_parent_id"] for row in rows] == [parents[str(row["id"])] for row in rows]
    assert {row["_parent_type"] for row in rows} == {"invoice"}


def test_children_that_are_asked_for_parent_by_parent() -> None:
    asked: list[str] = []

    def balance(customer: str, query: scripted.Query) -> scripted.Answer:
        asked.append(customer)
        rows = scripted.rows(f"cbtxn_{customer}", 2, object="customer_balance_transaction")
        return scripted.listed(rows, query)

    customers = scripted.rows("cus", 100, object="customer")
    routes: dict[str, scripted.Route] = {
        f"/v1/customers/{each['id']}/balance_transactions": lambda q, id=each["id"]: balance(id, q)  # type: ignore[misc]  # mypy takes the default for an argument of Route
        for each in customers
    }
    routes["/v1/customers"] = lambda q: scripted.listed(customers, q)
    with double.serving(scripted.Script(routes=routes)) as url:
        rows = newest(url, "customer_balance_transactions", 5)
    assert len(rows) == 5
    assert asked == ["cus_0099", "cus_0098", "cus_0097"]


def test_parents_without_children_are_not_all_asked() -> None:
    """Of a million customers with no cash balance, only the newest few are worth a request."""
    customers = scripted.rows("cus", 300, object="customer")
    routes: dict[str, scripted.Route] = {
        f"/v1/customers/{each['id']}/cash_balance_transactions": lambda q: scripted.listed([], q)
        for each in customers
    }
    routes["/v1/customers"] = lambda q: scripted.listed(customers, q)
    script = scripted.Script(routes=routes)
    with double.serving(script) as url:
        assert newest(url, "customer_cash_balance_transactions") == []
    assert len([each for each in script.requests if "cash_balance_transactions" in each]) == look.PARENTS


def test_a_stream_from_two_lists_of_which_the_account_has_one() -> None:
    card = {"id": "card_1", "object": "card"}
    customer = {
        "id": "cus_1",
        "object": "customer",
        "created": 1_700_000_000,
        "sources": {"object": "list", "data": [card], "has_more": False, "url": "/"},
    }
    script = scripted.Script(
        routes={
            "/v1/customers": lambda q: scripted.listed([customer], q),
            "/v1/accounts": lambda _: NO_CONNECT,
        }
    )
    with double.serving(script) as url:
        assert ids(newest(url, "cards")) == ["card_1"]
        script.routes = {"/v1/accounts": lambda _: NO_CONNECT}
        with pytest.raises(errors.NotEnabled):
            newest(url, "cards")


@pytest.mark.parametrize(
    "stream", ["source_transactions", "financial_connections_account_owners", "reporting_report_types"]
)
def test_streams_that_come_in_odd_ways(stream: str, business: Stripe) -> None:
    rows = newest(business.url, stream, 3)
    assert rows
    assert set(ids(rows)) <= {line["object"]["id"] for line in business.truth(stream)}


def test_more_than_a_page_is_a_page(business: Stripe) -> None:
    assert len(newest(business.url, "charges", 1_000)) == 100


def chosen(url: str, stream: str, *wanted: str) -> list[object]:
    rows = asyncio.run(look.chosen(scope.Source(KEY, url, rate_limit="off"), stream, wanted)).to_pylist()
    return ids(rows)


def test_chosen_objects_come_in_the_order_in_which_they_are_asked_for(business: Stripe) -> None:
    wanted = [str(line["object"]["id"]) for line in business.truth("charges")][7:2:-2]
    assert chosen(business.url, "charges", *wanted) == wanted
    business.control("stats/reset", {})
    assert chosen(business.url, "charges", wanted[1]) == wanted[1:2]
    assert business.requests() == 2  # whose they are, and which


def test_an_object_that_is_not_there_is_told_by_its_id() -> None:
    def gone(_: scripted.Query) -> scripted.Answer:
        return 200, {"id": "cus_1", "object": "customer", "deleted": True}

    def missing(_: scripted.Query) -> scripted.Answer:
        return 404, {
            "error": {"type": "invalid_request_error", "code": "resource_missing", "message": "No such"}
        }

    routes: dict[str, scripted.Route] = {"/v1/customers/cus_1": gone, "/v1/customers/cus_2": missing}
    with double.serving(scripted.Script(routes=routes)) as url:
        with pytest.raises(
            errors.ConfigError, match="The object cus_1 of the stream customers is deleted at"
        ):
            chosen(url, "customers", "cus_1")
        with pytest.raises(errors.ConfigError, match="Stripe has no object cus_2 among the customers"):
            chosen(url, "customers", "cus_2")


def test_children_that_are_known_by_their_parents_only_are_not_chosen(business: Stripe) -> None:
    with pytest.raises(errors.ConfigError, match="cannot be read by their ids alone"):
        chosen(business.url, "customer_balance_transactions", "cbtxn_1")


def test_a_stream_that_stripe_does_not_have() -> None:
    with pytest.raises(errors.ConfigError, match="no stream 'charge'; did you mean 'charges'"):
        newest("http://127.0.0.1:1", "charge")


def test_a_stream_that_the_key_may_not_read(business: Stripe) -> None:
    key = "rk_test_looking12345678"
    business.control("keys", {"key": key, "scopes": ["rak_customer_read"]})
    with pytest.raises(errors.PermissionMissing, match="rak_charge_read"):
        newest(business.url, "charges", key=key)
