"""The official SDK, pointed at the sandbox, sees a Stripe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import stripe as sdk

from tidegate.sandbox import faults, world

from .conftest import NOW, Stripe

KEY = "sk_test_sdk0000000"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Stripe]:
    one = Stripe(world.build(objects=3_000, accounts=2, now=NOW))
    yield one
    one.close()


def client(stripe: Stripe, key: str = KEY, **options: Any) -> sdk.StripeClient:
    return sdk.StripeClient(key, base_addresses={"api": stripe.url}, **options)


@pytest.fixture
def api(sandbox: Stripe) -> sdk.StripeClient:
    return client(sandbox)


def test_auto_paging_walks_the_whole_list(sandbox: Stripe, api: sdk.StripeClient) -> None:
    found = [one.id for one in api.v1.charges.list({"limit": 50}).auto_paging_iter()]

    assert found == [line["object"]["id"] for line in sandbox.truth("charges")]


def test_auto_paging_goes_backwards(sandbox: Stripe, api: sdk.StripeClient) -> None:
    truth = [line["object"]["id"] for line in sandbox.truth("charges")]
    page = api.v1.charges.list({"limit": 10, "ending_before": truth[25]})

    assert [one.id for one in page.auto_paging_iter()] == truth[24::-1]


def test_nested_lists_page_on_by_their_url(sandbox: Stripe, api: sdk.StripeClient) -> None:
    truth: dict[str, list[str]] = {}
    for line in sandbox.truth("invoice_line_items"):
        truth.setdefault(line["parent"], []).append(line["object"]["id"])
    longest = max(truth, key=lambda parent: len(truth[parent]))

    invoice = api.v1.invoices.retrieve(longest)

    assert len(truth[longest]) > 10
    assert [one.id for one in invoice.lines.auto_paging_iter()] == truth[longest]


def test_v2_lists_page_on_by_their_url(sandbox: Stripe, api: sdk.StripeClient) -> None:
    found = [one.id for one in api.v2.core.event_destinations.list({"limit": 1}).auto_paging_iter()]

    assert found == [line["object"]["id"] for line in sandbox.truth("v2_core_event_destinations")]


def test_create_retrieve_update_delete(api: sdk.StripeClient) -> None:
    made = api.v1.customers.create({"name": "Zoë", "metadata": {"plan": "pro"}, "address": {"city": "Köln"}})
    changed = api.v1.customers.update(made.id, {"metadata": {"plan": "", "seats": "3"}})
    gone = api.v1.customers.delete(made.id)

    assert (made.name, made.address.city) == ("Zoë", "Köln")  # type: ignore[union-attr]  # an address was given
    assert changed.metadata is not None
    assert changed.metadata.to_dict() == {"seats": "3"}
    assert gone.deleted is True
    assert api.v1.customers.retrieve(made.id).deleted is True


def test_expand(api: sdk.StripeClient) -> None:
    customer = api.v1.customers.create({"email": "ada@example.com"})
    intent = api.v1.payment_intents.create(
        {"amount": 500, "currency": "eur", "customer": customer.id, "expand": ["customer"]}
    )

    assert isinstance(intent.customer, sdk.Customer)
    assert intent.customer.email == "ada@example.com"


def test_search(api: sdk.StripeClient) -> None:
    made = api.v1.products.create({"name": "Tea", "metadata": {"sku": "T-1"}})

    found = api.v1.products.search({"query": "metadata['sku']:'T-1'"})

    assert [one.id for one in found.auto_paging_iter()] == [made.id]


def test_a_subscription_from_price_to_payment(api: sdk.StripeClient) -> None:
    price = api.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 900,
            "recurring": {"interval": "month"},
            "product_data": {"name": "Tea"},
        }
    )
    customer = api.v1.customers.create({})
    made = api.v1.subscriptions.create(
        {"customer": customer.id, "items": [{"price": price.id}], "expand": ["latest_invoice.payments"]}
    )

    assert made.status == "active"
    assert isinstance(made.latest_invoice, sdk.Invoice)
    assert made.latest_invoice.status == "paid"
    assert api.v1.subscriptions.cancel(made.id).status == "canceled"


def test_idempotency_keys(api: sdk.StripeClient) -> None:
    options: sdk.RequestOptions = {"idempotency_key": "sdk-1"}
    first = api.v1.customers.create({"name": "Ada"}, options)
    second = api.v1.customers.create({"name": "Ada"}, options)

    assert first.id == second.id
    assert second.last_response.headers["idempotent-replayed"] == "true"  # type: ignore[union-attr]  # it was asked
    with pytest.raises(sdk.IdempotencyError):
        api.v1.customers.create({"name": "Bob"}, options)


def test_connected_accounts(sandbox: Stripe, api: sdk.StripeClient) -> None:
    account = api.v1.accounts.list().data[0].id
    theirs = api.v1.charges.list({"limit": 100}, {"stripe_account": account})

    assert [one.id for one in theirs.data] == [
        line["object"]["id"] for line in sandbox.truth("charges", account)
    ]
    assert api.v1.accounts.retrieve_current({}, {"stripe_account": account}).id == account


def test_errors_become_the_sdks_own(sandbox: Stripe, api: sdk.StripeClient) -> None:
    sandbox.control("keys", {"key": "rk_test_nothing000", "scopes": []})
    cases: list[tuple[type[sdk.StripeError], Callable[[], object]]] = [
        (sdk.InvalidRequestError, lambda: api.v1.customers.retrieve("cus_nothing")),
        (sdk.InvalidRequestError, lambda: api.v1.customers.list({"limit": 500})),
        (sdk.AuthenticationError, client(sandbox, "sk_live_wrong00000").v1.customers.list),
        (sdk.PermissionError, client(sandbox, "rk_test_nothing000").v1.customers.list),
        (sdk.PermissionError, lambda: api.v1.customers.list({}, {"stripe_account": "acct_strange"})),
        (
            sdk.CardError,
            lambda: api.v1.charges.create({"amount": 50, "currency": "usd", "source": "tok_chargeDeclined"}),
        ),
    ]
    for expected, act in cases:
        with pytest.raises(expected) as caught:
            act()
        assert (caught.value.request_id or "").startswith("req_")


def test_a_missing_object_carries_code_and_param(api: sdk.StripeClient) -> None:
    with pytest.raises(sdk.InvalidRequestError) as caught:
        api.v1.customers.retrieve("cus_nothing")

    assert (caught.value.http_status, caught.value.code, caught.value.param) == (
        404,
        "resource_missing",
        "customer",
    )
    assert caught.value.user_message == "No such customer: 'cus_nothing'"


def test_limits_and_faults_become_the_sdks_own(start: Callable[..., Stripe]) -> None:
    stripe = start(fault=(faults.Fault("limit", times=1), faults.Fault("error", times=1, skip=1)))
    api = client(stripe, max_network_retries=0)

    with pytest.raises(sdk.RateLimitError):
        api.v1.customers.list()
    with pytest.raises(sdk.APIError):
        api.v1.customers.list()


def test_the_sdk_retries_a_reset_and_writes_once(start: Callable[..., Stripe]) -> None:
    stripe = start(fault=(faults.Fault("reset", times=1, when="after", method="POST"),))
    api = client(stripe, max_network_retries=2)

    made = api.v1.customers.create({"name": "Ada"})

    assert [one["id"] for one in stripe.walk("/v1/customers", created={"gt": NOW})] == [made.id]


def test_events_decode(api: sdk.StripeClient) -> None:
    made = api.v1.products.create({"name": "Tea"})
    event = next(iter(api.v1.events.list({"type": "product.created"}).auto_paging_iter()))

    assert event.data.object["id"] == made.id


@pytest.mark.parametrize(
    "stream", ["customers", "invoices", "subscriptions", "refunds", "payouts", "disputes"]
)
def test_typed_lists_decode(sandbox: Stripe, api: sdk.StripeClient, stream: str) -> None:
    found = [one.id for one in getattr(api.v1, stream).list({"limit": 100}).auto_paging_iter()]

    everything = [line["object"] for line in sandbox.truth(stream)]
    assert found == [
        one["id"] for one in everything if stream != "subscriptions" or one["status"] != "canceled"
    ]
