"""What a pull would cost, told from a few requests per list."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import double
import pytest
import scripted
from pulling import KEY, Stripe

from tidegate import catalog, errors
from tidegate.pull import estimate, permissions, scope

STREAMS = catalog.load().streams
NOW = 1_795_000_000
YEARS = 3 * 365 * 86_400


def forecast(
    url: str, *streams: str, key: str = KEY, start: int | None = None, **more: Any
) -> estimate.Forecast:
    source = scope.Source(key, url, **{"rate_limit": "off", **more})
    return asyncio.run(estimate.forecast(source, scope.Options(streams=streams, start=start)))


def of(found: estimate.Forecast) -> dict[str, estimate.Estimate]:
    return {each.stream: each for each in found.estimates}


def counted(found: estimate.Forecast) -> dict[str, tuple[int, int, bool]]:
    """Rows, requests, and whether that is exact."""
    return {each.stream: (each.rows, each.requests, each.exact) for each in found.estimates}


def payouts(times: list[int]) -> list[dict[str, Any]]:
    times = sorted(times, reverse=True)
    return [{"id": f"po_{n:06d}", "object": "payout", "created": when} for n, when in enumerate(times)]


def listing(objects: list[dict[str, Any]]) -> scripted.Route:
    return lambda query: scripted.listed(objects, query)


# Lists


@pytest.mark.parametrize("rows", [0, 1, 100])
def test_what_ends_on_its_first_page_is_counted(rows: int) -> None:
    script = scripted.Script(routes={"/v1/payouts": listing(payouts(list(range(rows))))})
    with double.serving(script) as url:
        found = forecast(url, "payouts")
    assert counted(found) == {"payouts": (rows, 1, True)}
    assert len(script.asked_for("/v1/payouts")) <= 2  # one of them to find out whose it is


def even(n: int) -> list[int]:
    return [NOW - i * YEARS // n for i in range(n)]


def growing(n: int) -> list[int]:
    """Twice as many every year."""
    dice = random.Random(1)
    return [NOW - int(YEARS * min(1.0, dice.expovariate(2.5))) for _ in range(n)]


def crowded(n: int) -> list[int]:
    """Half the rows in the last hundredth of the span."""
    dice = random.Random(2)
    return [NOW - dice.randrange(YEARS // 100 if i % 2 else YEARS) for i in range(n)]


@pytest.mark.parametrize("rows", [1_000, 20_000])
@pytest.mark.parametrize("shape", [even, growing, crowded])
def test_a_long_list_is_guessed_within_a_factor_of_two(shape: Any, rows: int) -> None:
    script = scripted.Script(routes={"/v1/payouts": listing(payouts(shape(rows)))})
    with double.serving(script) as url:
        found = of(forecast(url, "payouts"))["payouts"]
    assert rows / 2 <= found.rows <= rows * 2
    assert found.requests == -(-found.rows // 100)
    assert not found.exact
    assert len(script.asked_for("/v1/payouts")) <= estimate.PROBES + 1  # one to find out whose it is


def test_the_field_that_the_filter_goes_by_is_the_one_that_is_looked_at() -> None:
    """Invoice items are filtered by `created` and have a `date` instead."""
    items = [{"id": f"ii_{n:05d}", "object": "invoiceitem", "date": NOW - n * 1000} for n in range(5_000)]

    def answer(query: scripted.Query) -> scripted.Answer:
        high = int(query.get("created[lt]", 1 << 40))
        return scripted.listed([each for each in items if each["date"] < high], {"limit": query["limit"]})

    with double.serving(scripted.Script(routes={"/v1/invoiceitems": answer})) as url:
        found = of(forecast(url, "invoice_items"))["invoice_items"]
    assert 2_500 <= found.rows <= 10_000


def test_a_long_list_without_filter_is_at_least_what_was_seen() -> None:
    quotes = scripted.rows("qt", 350, object="quote")
    with double.serving(scripted.Script(routes={"/v1/quotes": listing(quotes)})) as url:
        assert counted(forecast(url, "quotes")) == {"quotes": (200, 2, False)}


def test_only_what_a_start_date_leaves_is_counted() -> None:
    script = scripted.Script(routes={"/v1/payouts": listing(payouts(even(20_000)))})
    with double.serving(script) as url:
        assert counted(forecast(url, "payouts", start=NOW - YEARS // 400 + 1)) == {"payouts": (50, 1, True)}
        source = scope.Source(KEY, url, rate_limit="off")
        choices = {"payouts": scope.Choice(start=NOW - YEARS // 400 + 1)}
        own = asyncio.run(estimate.forecast(source, scope.Options(("payouts",), choices=choices)))
    assert counted(own) == {"payouts": (50, 1, True)}


# Children


def test_nested_lists_are_counted_in_their_parents(business: Stripe) -> None:
    found = of(forecast(business.url, "transfers", "transfer_reversals"))
    rows = [line["object"] for line in business.truth("transfers")]
    assert found["transfers"].rows == len(rows)
    longer = sum(each["reversals"]["has_more"] for each in rows)
    assert found["transfer_reversals"].requests == longer
    assert found["transfer_reversals"].exact is (longer == 0)
    shown = sum(len(each["reversals"]["data"]) for each in rows)
    assert found["transfer_reversals"].rows == shown


def test_lists_that_are_only_told_when_asked_for_are_asked_for(business: Stripe) -> None:
    found = of(forecast(business.url, "customers", "customer_tax_ids", "cards"))
    for stream in ("customer_tax_ids", "cards"):
        truth = len(business.truth(stream))
        assert truth / 2 <= found[stream].rows <= truth * 2, stream


def test_children_per_parent_cost_one_request_each(business: Stripe) -> None:
    parents = len(business.truth("customers"))
    found = of(forecast(business.url, "customers", "customer_balance_transactions"))
    assert parents / 2 <= found["customer_balance_transactions"].requests <= parents * 2
    assert found["customer_balance_transactions"].requests == found["customers"].rows


def test_parents_that_cannot_have_children_cost_nothing() -> None:
    intents = [
        {"id": f"seti_{n}", "created": NOW, "latest_attempt": "setatt_1" if n % 4 == 0 else None}
        for n in range(20)
    ]
    attempts = scripted.rows("setatt", 2, object="setup_attempt")
    script = scripted.Script(
        routes={"/v1/setup_intents": listing(intents), "/v1/setup_attempts": listing(attempts)}
    )
    with double.serving(script) as url:
        found = forecast(url, "setup_attempts")
    assert counted(found) == {"setup_attempts": (10, 5, True)}
    assert len(script.asked_for("/v1/setup_attempts")) <= estimate.SAMPLE


def test_children_of_two_values_of_one_parent(business: Stripe) -> None:
    stream = "financial_connections_account_owners"
    found = of(forecast(business.url, stream))[stream]
    truth = len(business.truth(stream))
    assert truth / 2 <= found.rows <= truth * 2


def test_pairs_of_parents_cost_one_request_each() -> None:
    script = scripted.Script(
        routes={
            "/v1/billing/meters": listing(scripted.rows("mtr", 3)),
            "/v1/customers": listing(scripted.rows("cus", 40)),
            f"/v1/billing/meters/{permissions.NOBODY}/event_summaries": lambda _: scripted.MISSING,
        }
    )
    with double.serving(script) as url:
        found = forecast(url, "billing_meter_event_summaries")
    assert counted(found) == {"billing_meter_event_summaries": (0, 120, False)}


def test_a_list_without_parents_costs_nothing_and_tells_the_permission_all_the_same() -> None:
    lacking = (403, scripted.refusal("The key needs 'rak_setup_attempt_read' on account 'acct_1'."))
    script = scripted.Script(
        routes={"/v1/setup_intents": listing([]), "/v1/setup_attempts": lambda _: lacking}
    )
    with double.serving(script) as url:
        found = of(forecast(url, "setup_attempts"))["setup_attempts"]
    assert (found.status, found.rows, found.requests) == ("no_permission", 0, 0)


def test_a_stream_from_two_lists_is_counted_in_both() -> None:
    def answer(query: scripted.Query) -> scripted.Answer:
        count = 1 if query.get("closed") == "true" else 4
        objects = [{"id": f"acct_{count}_{n}", "object": "v2.core.account"} for n in range(count)]
        return {"data": objects, "next_page_url": None}

    with double.serving(scripted.Script(routes={"/v2/core/accounts": answer})) as url:
        assert counted(forecast(url, "v2_core_accounts")) == {"v2_core_accounts": (5, 2, True)}


# What the key may not see


def test_a_missing_permission_is_told_and_nothing_is_counted(business: Stripe) -> None:
    key = "rk_test_estimated1234567"
    business.control("keys", {"key": key, "scopes": ["rak_customer_read"]})
    found = of(forecast(business.url, "customers", "charges", "setup_attempts", key=key))
    assert found["customers"].status == "ok"
    assert found["customers"].rows > 0
    for name in ("charges", "setup_attempts"):
        assert (found[name].status, found[name].rows, found[name].requests) == ("no_permission", 0, 0)
        assert "rak_" in found[name].error


def test_a_nested_list_without_permission_does_not_hide_its_parent(business: Stripe) -> None:
    lacking = STREAMS["checkout_sessions_line_items"].permission
    key = "rk_test_sessions123456789"
    own = STREAMS["checkout_sessions"].permission
    business.control("keys", {"key": key, "scopes": [own]})
    found = of(forecast(business.url, "checkout_sessions", "checkout_sessions_line_items", key=key))
    assert found["checkout_sessions"].status == "ok"
    assert found["checkout_sessions_line_items"].status == ("ok" if lacking == own else "no_permission")


def test_a_wrong_key_ends_it(business: Stripe) -> None:
    with pytest.raises(errors.Unauthorized):
        forecast(business.url, "charges", key="sk_live_nobody1234567890")


# The whole


def test_the_time_is_what_the_limits_allow() -> None:
    """500 requests to one list at 10 a second take longer than 900 to all at 100."""
    routes: Mapping[str, scripted.Route] = {
        "/v1/payouts": listing(payouts(even(5_000))),
        "/v1/topups": listing(payouts(even(100))),
    }
    with double.serving(scripted.Script(routes=routes)) as url:
        found = forecast(url, "payouts", "topups", rate_limit="100/10", budget=0.5)
        off = forecast(url, "payouts", "topups")
    busiest = max(each.requests for each in found.estimates)
    assert found.requests == busiest + 1
    assert found.seconds == pytest.approx(busiest / (10 * 0.5))
    assert off.seconds == 0
    assert found.rows == sum(each.rows for each in found.estimates)
    assert found.as_json()["spent"] == found.spent > 0


def test_a_small_business_is_guessed_in_few_requests(business: Stripe) -> None:
    """Every stream of a whole business, at a fraction of what reading it costs."""
    business.control("stats/reset", {})
    found = forecast(business.url, "*")
    assert found.spent == business.requests()
    assert {each.status for each in found.estimates} == {"ok"}
    for each in found.estimates:
        if each.exact:
            truth = len(business.truth(each.stream)) + (each.stream == "accounts")
            assert each.rows in {truth, truth - 1}, each
