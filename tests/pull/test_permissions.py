"""What a key may read, found out with one small request per list."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import double
import pytest
import scripted
from pulling import KEY, Stripe

from tidegate import catalog, errors, sandbox
from tidegate.pull import permissions, scope

STREAMS = catalog.load().streams
NO_CONNECT = (400, scripted.refusal("You can only list accounts if you have signed up for Connect."))


@pytest.fixture(scope="module")
def platform() -> Iterator[Stripe]:
    """A platform with two connected accounts."""
    with sandbox.process(objects=1_000, accounts=2) as url:
        yield Stripe(url)


def check(url: str, *streams: str, key: str = KEY, **more: object) -> permissions.Found:
    source = scope.Source(key, url, rate_limit="off", **more)  # type: ignore[arg-type]  # a few fields of it
    return asyncio.run(permissions.check(source, scope.Options(streams=streams)))


def access(found: permissions.Found) -> dict[str, str]:
    return {each.stream: each.status for each in found.access}


def test_an_unrestricted_key_may_read_everything_at_one_request_per_list(business: Stripe) -> None:
    business.control("stats/reset", {})
    found = check(business.url, "*")
    assert set(access(found).values()) == {"ok"}
    assert set(access(found)) == {name for name, stream in STREAMS.items() if stream.default}
    assert (found.account, found.mode) == (business.control("health")["account"], "test")
    assert business.requests() < len(found.access)


def test_a_restricted_key_is_told_what_each_stream_needs(business: Stripe) -> None:
    key = "rk_test_checked123456789"
    business.control("keys", {"key": key, "scopes": ["rak_customer_read"]})
    found = check(business.url, "customers", "charges", "setup_attempts", "customer_payment_methods", key=key)
    told = {each.stream: each for each in found.access}
    assert told["customers"].status == "ok"
    for name in ("charges", "setup_attempts"):
        assert told[name].status == "no_permission"
        assert told[name].permission == STREAMS[name].permission
        assert told[name].permission in told[name].error


def test_nested_lists_are_told_apart_from_their_parents(business: Stripe) -> None:
    """Stripe refuses the whole list when it is asked to show what the key may not see."""
    key = "rk_test_invoicesonly12345"
    streams = ("checkout_sessions", "checkout_sessions_line_items", "subscriptions", "subscription_items")
    scopes = {STREAMS[name].permission for name in streams} - {
        STREAMS["checkout_sessions_line_items"].permission
    }
    business.control("keys", {"key": key, "scopes": sorted(scopes)})
    told = access(check(business.url, *streams, key=key))
    assert told["subscriptions"] == told["subscription_items"] == "ok"
    same = STREAMS["checkout_sessions"].permission == STREAMS["checkout_sessions_line_items"].permission
    assert told["checkout_sessions"] == ("no_permission" if same else "ok")
    assert told["checkout_sessions_line_items"] == "no_permission"


def test_a_stream_from_two_lists_of_which_the_account_has_one() -> None:
    script = scripted.Script(
        lists={"/v1/customers": double.customers(1)}, routes={"/v1/accounts": lambda _: NO_CONNECT}
    )
    with double.serving(script) as url:
        assert access(check(url, "cards", "accounts")) == {"accounts": "not_enabled", "cards": "ok"}


def test_a_list_that_may_not_be_expanded_is_readable_all_the_same() -> None:
    with double.serving(double.Double({"/v1/customers": double.customers(1)}, expands=False)) as url:
        assert access(check(url, "customers")) == {"customers": "ok"}


@pytest.mark.parametrize(
    "answer",
    [
        scripted.MISSING,
        (400, scripted.refusal("No such setup intent.")),
        (404, scripted.refusal("Account not found.", "not_found")),
        (403, scripted.refusal("No access to account 'x'.", "account_invalid")),
    ],
    ids=["missing", "refused", "v2", "connected account"],
)
def test_that_nobody_has_such_a_parent_says_that_the_key_may_ask(answer: scripted.Answer) -> None:
    script = scripted.Script(
        routes={
            "/v1/setup_attempts": lambda _: answer,
            f"/v1/accounts/{permissions.NOBODY}/persons": lambda _: answer,
            f"/v2/core/accounts/{permissions.NOBODY}/persons": lambda _: answer,
        }
    )
    streams = ("setup_attempts", "account_persons", "v2_core_account_persons")
    with double.serving(script) as url:
        assert access(check(url, *streams)) == dict.fromkeys(sorted(streams), "ok")


def test_the_first_account_of_a_list_is_asked(platform: Stripe) -> None:
    some = tuple(line["object"]["id"] for line in platform.truth("accounts"))
    assert check(platform.url, "charges", accounts=some).account == some[0]
    with pytest.raises(errors.Unauthorized, match="may not act for the account acct_gone"):
        check(platform.url, "charges", accounts=("acct_gone", *some))


def test_a_wrong_key_ends_it(business: Stripe) -> None:
    with pytest.raises(errors.Unauthorized):
        check(business.url, "charges", "payouts", key="sk_live_nobody1234567890")
