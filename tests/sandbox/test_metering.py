"""Meter events: taken once each, apart from all other limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import stripe as sdk

from tidegate.sandbox import limits

from .conftest import NOW, Stripe, client

DAY = 86_400


@pytest.fixture
def api(stripe: Stripe) -> sdk.StripeClient:
    """A client of a business with a meter."""
    made = client(stripe)
    made.v1.billing.meters.create(
        {"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
    )
    return made


def send(api: sdk.StripeClient, identifier: str = "", **more: Any) -> sdk.billing.MeterEvent:
    given: Any = {"event_name": "calls", "payload": {"stripe_customer_id": "cus_1", "value": "5"}, **more}
    return api.v1.billing.meter_events.create({**given, "identifier": identifier} if identifier else given)


def taken(stripe: Stripe) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stripe.get("/_sandbox/meter_events").body.splitlines()]


def test_an_event_is_taken_and_answered(stripe: Stripe, api: sdk.StripeClient) -> None:
    customer = stripe.make("/v1/customers")["id"]
    made = send(api, "one", payload={"stripe_customer_id": customer, "value": "7"})

    assert (made.object, made.identifier, made.timestamp) == ("billing.meter_event", "one", NOW + 60)
    assert [(one["identifier"], one["counted"]) for one in taken(stripe)] == [("one", True)]
    assert [one["id"] for one in stripe.writes(op="meter")] == ["one"]


def test_an_identifier_is_taken_for_a_day(stripe: Stripe, api: sdk.StripeClient) -> None:
    send(api, "one")
    stripe.clock.advance(DAY - 1)
    with pytest.raises(sdk.InvalidRequestError, match="already exists with identifier one") as refused:
        send(api, "one")
    stripe.clock.advance(1)
    send(api, "one")

    assert refused.value.http_status == 400
    assert len(taken(stripe)) == 2


def test_without_an_identifier_every_event_is_another(stripe: Stripe, api: sdk.StripeClient) -> None:
    assert send(api).identifier != send(api).identifier
    assert len(taken(stripe)) == 2


@pytest.mark.parametrize("value", [{"stripe_customer_id": "cus_nobody", "value": "5"}, {"value": "5"}])
def test_what_cannot_be_counted_is_taken_all_the_same(
    stripe: Stripe, api: sdk.StripeClient, value: dict[str, str]
) -> None:
    send(api, "one", payload=value)

    assert [one["counted"] for one in taken(stripe)] == [False]


def test_name_and_moment_are_looked_at_at_once(stripe: Stripe, api: sdk.StripeClient) -> None:
    with pytest.raises(sdk.InvalidRequestError, match="No active meter found"):
        send(api, event_name="nothing")
    for moment in (NOW + 60 - 36 * DAY, NOW + 60 + 301):
        with pytest.raises(sdk.InvalidRequestError, match="within the past 35 days"):
            send(api, timestamp=moment)
    with pytest.raises(sdk.InvalidRequestError, match="at most 100 characters"):
        send(api, "x" * 101)
    assert taken(stripe) == []


def test_they_have_a_limit_of_their_own(start: Callable[..., Stripe]) -> None:
    """One in 1,000 seconds, so that no machine is too slow for the test."""
    stripe = start(limit=limits.Limits(meter_events=0.001))
    stripe.make(
        "/v1/billing/meters", display_name="Calls", event_name="calls", default_aggregation={"formula": "sum"}
    )
    sent = {"event_name": "calls", "payload": {"stripe_customer_id": "cus_1", "value": "1"}}

    assert [stripe.post("/v1/billing/meter_events", sent).status for _ in range(2)] == [200, 429]
    assert stripe.stats()["rate_limited"] == {"resource-specific": 1}
    assert stripe.post("/v1/customers").status == 200


def test_they_are_no_part_of_the_accounts_limit(start: Callable[..., Stripe]) -> None:
    stripe = start()
    stripe.make(
        "/v1/billing/meters", display_name="Calls", event_name="calls", default_aggregation={"formula": "sum"}
    )
    stripe.control("limits", {"per_account": 0.001, "per_endpoint": 0.001})
    sent = {"event_name": "calls", "payload": {"stripe_customer_id": "cus_1", "value": "1"}}

    assert [stripe.post("/v1/billing/meter_events", sent).status for _ in range(5)] == [200] * 5
    assert [stripe.post("/v1/customers").status for _ in range(2)] == [200, 429]
