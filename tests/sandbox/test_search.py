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


def test_a_search_still_sees_what_was_changed_or_deleted_a_moment_ago(start: Callable[..., Stripe]) -> None:
    stripe = start()
    changed, gone = (
        stripe.make("/v1/customers", email=f"{name}@example.com")["id"] for name in ("ada", "bea")
    )
    stripe.control("delays", {"search": 60})
    stripe.clock.advance(60)
    stripe.make(f"/v1/customers/{changed}", email="new@example.com")
    stripe.clock.advance(30)
    stripe.make(f"/v1/customers/{changed}", name="Ada")
    stripe.delete(f"/v1/customers/{gone}")

    def found(email: str) -> list[tuple[str, str, str | None]]:
        answer = stripe.get("/v1/customers/search", {"query": f"email:'{email}'"})
        return [(one["id"], one["email"], one["name"]) for one in answer.json["data"]]

    assert found("ada@example.com") == [(changed, "ada@example.com", None)]
    assert found("new@example.com") == []
    assert found("bea@example.com") == [(gone, "bea@example.com", None)]
    stripe.clock.advance(30)
    assert found("new@example.com") == [(changed, "new@example.com", None)]
    stripe.clock.advance(30)
    assert found("new@example.com") == [(changed, "new@example.com", "Ada")]
    assert found("ada@example.com") == found("bea@example.com") == []


def test_a_delay_that_begins_later_hides_what_is_new_already(stripe: Stripe) -> None:
    stripe.make("/v1/customers", email="ada@example.com")
    query = {"query": "email:'ada@example.com'"}
    assert len(stripe.get("/v1/customers/search", query).ids) == 1

    stripe.control("delays", {"search": 60})
    assert stripe.get("/v1/customers/search", query).ids == []


@pytest.mark.parametrize("field", ["email", "name"])
def test_a_generated_object_is_found_in_any_case(stripe: Stripe, field: str) -> None:
    one = next(
        customer for customer in stripe.walk("/v1/customers") if customer["email"] and customer["name"]
    )

    for text in (one[field], one[field].upper(), one[field].lower()):
        query = f"{field}:'{text}'".replace("O'", "O\\'")
        assert one["id"] in stripe.get("/v1/customers/search", {"query": query, "limit": 100}).ids


def test_a_list_sees_what_a_search_does_not_yet(start: Callable[..., Stripe]) -> None:
    stripe = start(search_delay=60)
    made = stripe.make("/v1/customers", email="ada@example.com")["id"]

    assert stripe.get("/v1/customers", {"email": "ada@example.com"}).ids == [made]


def test_what_is_stale_stands_where_it_was_created(start: Callable[..., Stripe]) -> None:
    stripe = start()
    made = []
    for _ in range(4):
        stripe.clock.advance(1)
        made.append(stripe.make("/v1/customers", name="Searched Forever")["id"])
    stripe.control("delays", {"search": 60})
    stripe.clock.advance(60)
    stripe.make(f"/v1/customers/{made[1]}", name="Other")
    stripe.clock.advance(30)
    stripe.make("/v1/customers", name="Searched Forever")

    assert stripe.get("/v1/customers/search", {"query": "name:'searched forever'"}).ids == made[::-1]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("customers", "address.city:'London'"),
        ("customers", "description:'x'"),
        ("products", "created>0"),
        ("subscriptions", "customer:'cus_1'"),
    ],
)
def test_a_field_that_is_not_searchable_is_refused(stripe: Stripe, path: str, query: str) -> None:
    answer = stripe.get(f"/v1/{path}/search", {"query": query})

    assert answer.status == 400
    assert "unsupported search field" in answer.error["message"]


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
