"""Connected accounts: many of them, taken away and given back, and keys of organisations."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tidegate.sandbox import accounts, serving, world

from .conftest import KEY, NOW, Stripe

ORG = "sk_org_test_1234567890"


def as_account(account: str) -> dict[str, str]:
    return {"Stripe-Account": account}


def test_an_account_that_is_disconnected_refuses_and_vanishes(stripe: Stripe) -> None:
    first, second = stripe.get("/v1/accounts").ids
    made = stripe.post("/v1/customers", {"name": "Ada"}, headers=as_account(first)).json
    stripe.control("accounts/disconnect", {"account": first})

    answer = stripe.get("/v1/customers", headers=as_account(first))
    assert (answer.status, answer.error["code"]) == (403, "account_invalid")
    assert KEY not in answer.error["message"]
    assert stripe.get(f"/v1/accounts/{first}").error["code"] == "account_invalid"
    assert stripe.get(f"/v1/accounts/{first}/persons").status == 404
    assert stripe.get("/v1/accounts").ids == [second]
    assert stripe.get("/v1/customers", headers=as_account(second)).status == 200

    stripe.control("accounts/connect", {"account": first})
    assert stripe.get("/v1/accounts").ids == [first, second]
    assert stripe.get("/v1/customers", headers=as_account(first)).json["data"][0] == made
    assert stripe.get(f"/v1/accounts/{first}/persons").status == 200


def test_an_account_made_through_the_api_goes_and_comes_too(stripe: Stripe) -> None:
    made = stripe.make("/v1/accounts", type="standard")["id"]
    before = stripe.get("/v1/accounts").ids
    stripe.control("accounts/disconnect", {"account": made})
    assert stripe.get("/v1/accounts").ids == [id for id in before if id != made]
    stripe.control("accounts/connect", {"account": made})

    assert stripe.get("/v1/accounts").ids == before


def test_the_truth_of_the_accounts_says_who_left(stripe: Stripe) -> None:
    first = stripe.get("/v1/accounts").ids[0]
    stripe.clock.advance(4)
    stripe.control("accounts/disconnect", {"account": first})
    lines = stripe.get("/_sandbox/truth/accounts?deleted=1").body.splitlines()

    assert {one["object"]["id"]: one["deleted_at"] for one in map(json.loads, lines)}[first] == NOW + 64


def test_each_account_has_its_own_limits(start: Callable[..., Stripe]) -> None:
    stripe = start()
    first, second = stripe.get("/v1/accounts").ids
    stripe.control("limits", {"per_account": 0.001})

    for account in (first, second):
        assert [stripe.get("/v1/prices", headers=as_account(account)).status for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(
    ("headers", "missing"),
    [
        ({"Stripe-Version": "2025-09-30.clover"}, "Stripe-Context"),
        ({"Stripe-Account": "acct_1", "Stripe-Version": "2025-09-30.clover"}, "Stripe-Context"),
        ({"Stripe-Context": "acct_1"}, "Stripe-Version"),
    ],
)
def test_an_organisations_key_must_say_whom_it_asks_and_how(
    stripe: Stripe, headers: dict[str, str], missing: str
) -> None:
    """https://docs.stripe.com/keys/organization-api-keys"""
    answer = stripe.get("/v1/customers", key=ORG, headers=headers)

    assert answer.status == 400
    assert missing in answer.error["message"]


def test_an_organisations_key_reaches_its_accounts_by_their_path(stripe: Stripe) -> None:
    platform, (connected, member) = stripe.made.world.account, stripe.get("/v1/accounts").ids
    stripe.control("keys", {"key": ORG, "accounts": [member]})

    def ask(context: str) -> Any:
        headers = {"Stripe-Context": context, "Stripe-Version": stripe.made.facts.api_version}
        return stripe.get("/v1/customers", key=ORG, headers=headers)

    assert ask(platform).ids == stripe.get("/v1/customers").ids
    assert ask(f"{platform}/{connected}").headers["Stripe-Account"] == connected
    assert ask(member).ids == stripe.get("/v1/customers", headers=as_account(member)).ids
    assert ask(connected).error["code"] == "account_invalid"
    assert ask("acct_unknown").error["message"].startswith("The provided key 'sk_org_test_******7890'")


def test_two_headers_that_disagree_are_refused(stripe: Stripe) -> None:
    first, second = stripe.get("/v1/accounts").ids

    both = {"Stripe-Account": first, "Stripe-Context": second}
    assert stripe.get("/v1/customers", headers=both).status == 400
    assert stripe.get("/v1/customers", headers={**both, "Stripe-Context": first}).status == 200


def test_what_was_written_to_many_accounts_is_kept(start: Callable[..., Stripe]) -> None:
    """More accounts than are kept whole."""
    many = accounts.MOST_BOOKS + 20
    stripe = start(world.build(objects=500, accounts=many, account_objects=12, now=NOW))
    ids = [one["id"] for one in stripe.walk("/v1/accounts")]
    listed = {one: stripe.get("/v1/customers", headers=as_account(one)).ids for one in ids[:2]}
    for account in ids:
        assert stripe.post("/v1/customers", {"name": account}, headers=as_account(account)).status == 200

    assert len(ids) == many
    for account in ids:
        newest = stripe.get("/v1/customers", headers=as_account(account)).json["data"][0]
        assert newest["name"] == account
    for account, before in listed.items():
        assert stripe.get("/v1/customers", headers=as_account(account)).ids[1:] == before


def test_five_thousand_accounts_take_little_room() -> None:
    """A request to each of 600 of them, over what is kept whole."""
    with serving.process(objects=1_000, accounts=5_000, account_objects=12) as url:
        process = next(one for one in psutil.Process().children() if "tidegate.sandbox" in one.cmdline())
        connection = http.client.HTTPConnection(url.removeprefix("http://"))

        def ask(method: str, path: str, account: str = "") -> Any:
            headers = {"Authorization": f"Bearer {KEY}", **(as_account(account) if account else {})}
            connection.request(method, path, None, headers)
            return json.loads(connection.getresponse().read())

        found: list[str] = []
        while True:
            after = f"&starting_after={found[-1]}" if found else ""
            page = ask("GET", f"/v1/accounts?limit=100{after}")
            found += [one["id"] for one in page["data"]]
            if not page["has_more"]:
                break
        for account in found[:600]:
            ask("POST", "/v1/customers", account)
            assert len(ask("GET", "/v1/events?limit=1", account)["data"]) == 1
        room = process.memory_info().rss
        connection.close()

    assert len(set(found)) == 5_000
    assert room < 400e6
