"""Search: the query language, pages, and an index that lags behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tidegate.sandbox import limits, refusals, search, world

from .conftest import NOW, Stripe

ADA = {
    "id": "cus_1",
    "email": "Ada@Example.com",
    "name": "Ada O'Hara",
    "phone": None,
    "created": 1_700_000_000,
    "livemode": False,
    "metadata": {"plan": "pro", "a b": "it's"},
    "address": {"city": "London"},
}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("email:'ada@example.com'", True),
        ('email:"ada@example.com"', True),
        ("email:'other@example.com'", False),
        ("-email:'other@example.com'", True),
        ("name~'o\\'ha'", True),
        ("name~'zzz'", False),
        ("metadata['plan']:'pro'", True),
        ("metadata['plan']:'free'", False),
        ("metadata['a b']:'it\\'s'", True),
        ("metadata['missing']:null", True),
        ("-metadata['plan']:null", True),
        ("phone:null", True),
        ("created>1699999999", True),
        ("created>=1700000001", False),
        ("created<=1700000000 AND created>=1700000000", True),
        ("livemode:false", True),
        ("address.city:'london'", True),
        ("email:'x' OR metadata['plan']:'pro'", True),
        ("email:'x' AND metadata['plan']:'pro'", False),
        ("email:'ada@example.com' metadata['plan']:'pro'", True),
    ],
)
def test_a_query_matches_or_not(query: str, found: bool) -> None:
    assert search.parse(query).matches(ADA) is found


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "parse your search query"),
        ("email", "parse your search query"),
        ("email:'open", "parse your search query"),
        ("a:'1' AND b:'2' OR c:'3'", "cannot mix AND and OR"),
        ("name~'ab'", "at least 3 characters"),
        ("email['x']:'1'", "unsupported search field"),
        (" AND ".join("a:'1'" for _ in range(11)), "up to 10 clauses"),
    ],
)
def test_a_query_with_a_mistake_is_refused(query: str, reason: str) -> None:
    with pytest.raises(refusals.Refusal, match=reason):
        search.parse(query)


def test_results_page_by_token(start: Callable[..., Stripe]) -> None:
    stripe = start(world.build(objects=3_000, now=NOW))
    expected = [one["id"] for one in stripe.walk("/v1/charges") if one["currency"] == "eur"]
    found: list[str] = []
    params: dict[str, Any] = {"query": "currency:'eur'", "limit": 7}
    while True:
        answer = stripe.get("/v1/charges/search", params)
        assert answer.json["object"] == "search_result"
        found += answer.ids
        if not answer.json["has_more"]:
            break
        params["page"] = answer.json["next_page"]

    assert found == expected
    assert answer.json["next_page"] is None


def test_the_count_is_told_when_it_is_asked_for(stripe: Stripe) -> None:
    total = len(stripe.walk("/v1/customers"))
    answer = stripe.get("/v1/customers/search", {"query": "created>0", "limit": 3, "expand": ["total_count"]})

    assert answer.json["total_count"] == total
    assert len(answer.ids) == 3


def test_results_expand(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers", email="ada@example.com")["id"]
    intent = stripe.make(
        "/v1/payment_intents", amount=500, currency="usd", customer=customer, metadata={"k": "v"}
    )
    answer = stripe.get(
        "/v1/payment_intents/search", {"query": "metadata['k']:'v'", "expand": ["data.customer"]}
    )

    assert answer.ids == [intent["id"]]
    assert answer.json["data"][0]["customer"]["email"] == "ada@example.com"


def test_the_index_lags_behind(start: Callable[..., Stripe]) -> None:
    stripe = start(search_delay=60)
    made = stripe.make("/v1/customers", email="ada@example.com")["id"]
    query = {"query": "email:'ada@example.com'"}

    assert stripe.get("/v1/customers/search", query).ids == []
    stripe.clock.advance(60)
    assert stripe.get("/v1/customers/search", query).ids == [made]


def test_a_deleted_customer_is_not_found(stripe: Stripe) -> None:
    made = stripe.make("/v1/customers", email="ada@example.com")["id"]
    stripe.delete(f"/v1/customers/{made}")

    assert stripe.get("/v1/customers/search", {"query": "email:'ada@example.com'"}).ids == []


def test_a_changed_base_object_is_found_under_its_new_value(stripe: Stripe) -> None:
    base = stripe.get("/v1/customers").ids[-1]
    stripe.make(f"/v1/customers/{base}", email="new@example.com")

    assert stripe.get("/v1/customers/search", {"query": "email:'new@example.com'"}).ids == [base]


def test_search_has_a_limit_of_its_own(start: Callable[..., Stripe]) -> None:
    stripe = start(limit=limits.Limits(search=0.001))
    query = {"query": "created>0"}

    assert [stripe.get("/v1/customers/search", query).status for _ in range(2)] == [200, 429]
    assert stripe.get("/v1/customers").status == 200


def test_a_query_is_required(stripe: Stripe) -> None:
    assert stripe.get("/v1/customers/search").error["code"] == "parameter_missing"
    assert stripe.get("/v1/customers/search", {"query": "a:'1'", "page": "!"}).status == 400
