"""What the official SDK can write, and what it is refused, object by object."""

from __future__ import annotations

from typing import Any

import pytest
import stripe as sdk

from .conftest import NOW, Stripe, client


@pytest.fixture
def api(stripe: Stripe) -> sdk.StripeClient:
    return client(stripe)


def refused(error: pytest.ExceptionInfo[sdk.StripeError]) -> tuple[int | None, str | None, str | None]:
    return error.value.http_status, error.value.code, getattr(error.value, "param", None)


def test_an_email_is_listed_in_its_own_case_and_searched_in_any(api: sdk.StripeClient) -> None:
    first = api.v1.customers.create({"email": "Ada@example.com"}).id
    second = api.v1.customers.create({"email": "ada@example.com"}).id

    def listed(email: str) -> list[str]:
        return [one.id for one in api.v1.customers.list({"email": email}).data]

    assert (listed("Ada@example.com"), listed("ada@example.com")) == ([first], [second])
    assert listed("ADA@example.com") == []
    hits = api.v1.customers.search({"query": "email:'ADA@EXAMPLE.COM'"}).data
    assert [one.id for one in hits] == [second, first]


def test_a_changed_email_is_listed_under_the_new_one_only(stripe: Stripe, api: sdk.StripeClient) -> None:
    base = stripe.walk("/v1/customers")[3]
    api.v1.customers.update(base["id"], {"email": "new@example.com"})

    assert stripe.get("/v1/customers", {"email": "new@example.com"}).ids == [base["id"]]
    assert base["id"] not in stripe.get("/v1/customers", {"email": base["email"]}).ids
    api.v1.customers.delete(base["id"])
    assert stripe.get("/v1/customers", {"email": "new@example.com"}).ids == []


def test_a_customer_is_made_with_its_tax_ids_which_no_update_takes(api: sdk.StripeClient) -> None:
    made = api.v1.customers.create({"tax_id_data": [{"type": "us_ein", "value": "12-3456789"}]})
    found = api.v1.customers.tax_ids.list(made.id).data
    given: Any = {"tax_id_data": [{"type": "us_ein", "value": "12-3456789"}]}
    with pytest.raises(sdk.InvalidRequestError) as error:
        api.v1.customers.update(made.id, given)

    assert [(one.type, one.verification and one.verification.status) for one in found] == [
        ("us_ein", "unavailable")
    ]
    assert refused(error) == (400, "parameter_unknown", "tax_id_data")


@pytest.mark.parametrize(("valid", "status"), [(True, "verified"), (False, "unverified")])
def test_a_tax_id_is_verified_some_time_later(
    stripe: Stripe, api: sdk.StripeClient, valid: bool, status: str
) -> None:
    customer = api.v1.customers.create().id
    made = api.v1.customers.tax_ids.create(customer, {"type": "eu_vat", "value": "DE123456789"})
    assert made.verification is not None
    assert (made.country, made.verification.status) == ("EU", "pending")

    stripe.control("tax_ids/verify", {"id": made.id, "valid": valid})
    answered = api.v1.customers.tax_ids.retrieve(customer, made.id)
    assert answered.verification is not None
    assert answered.verification.status == status
    (event,) = stripe.events(type="customer.tax_id.updated")
    assert event["data"]["previous_attributes"]["verification"]["status"] == "pending"
    assert event["request"] == {"id": None, "idempotency_key": None}

    api.v1.customers.tax_ids.delete(customer, made.id)
    assert api.v1.customers.tax_ids.list(customer).data == []
    with pytest.raises(sdk.InvalidRequestError) as error:
        api.v1.customers.tax_ids.create(customer, {"type": "eu_vat", "value": "nonsense"})
    assert refused(error) == (400, "tax_id_invalid", "value")


def test_of_a_tax_rate_neither_percentage_nor_inclusive_changes(api: sdk.StripeClient) -> None:
    made = api.v1.tax_rates.create({"display_name": "VAT", "inclusive": True, "percentage": 19})
    changed = api.v1.tax_rates.update(made.id, {"display_name": "USt", "active": False})

    assert (changed.display_name, changed.active, changed.percentage) == ("USt", False, 19)
    for name, value in (("percentage", 7), ("inclusive", False)):
        given: Any = {name: value}
        with pytest.raises(sdk.InvalidRequestError) as error:
            api.v1.tax_rates.update(made.id, given)
        assert refused(error) == (400, "parameter_unknown", name)


@pytest.mark.parametrize(
    ("stream", "given"),
    [
        ("charges", {"amount": 5}),
        ("refunds", {"amount": 5}),
        ("refunds", {"reason": "fraudulent"}),
        ("disputes", {"amount": 5}),
        ("payouts", {"amount": 5}),
        ("payouts", {"description": "x"}),
    ],
)
def test_money_that_moved_takes_metadata_and_nothing_of_what_it_was(
    stripe: Stripe, stream: str, given: dict[str, Any]
) -> None:
    id = stripe.truth(stream)[0]["object"]["id"]
    answer = stripe.post(f"/v1/{stream}/{id}", given)

    assert (answer.status, answer.error["code"]) == (400, "parameter_unknown")
    assert answer.error["param"] == next(iter(given))
    assert stripe.make(f"/v1/{stream}/{id}", metadata={"seen": "1"})["metadata"]["seen"] == "1"


def test_a_payment_intent_that_succeeded_keeps_its_amount(api: sdk.StripeClient) -> None:
    made = api.v1.payment_intents.create({"amount": 500, "currency": "usd"})
    assert api.v1.payment_intents.update(made.id, {"amount": 600}).amount == 600
    api.v1.payment_intents.confirm(made.id, {"payment_method": "pm_card_visa"})

    with pytest.raises(sdk.InvalidRequestError, match="This PaymentIntent's amount could not be") as error:
        api.v1.payment_intents.update(made.id, {"amount": 700})
    assert refused(error) == (400, "payment_intent_unexpected_state", "amount")
    changed = api.v1.payment_intents.update(made.id, {"metadata": {"a": "1"}, "description": "x"})
    assert (changed.amount, changed.description) == (600, "x")


def test_an_invoice_is_edited_while_it_is_a_draft(api: sdk.StripeClient) -> None:
    customer = api.v1.customers.create().id
    made = api.v1.invoices.create(
        {"customer": customer, "collection_method": "send_invoice", "days_until_due": 5}
    )
    changed = api.v1.invoices.update(made.id, {"description": "Tea", "days_until_due": 10})
    assert (changed.description, changed.due_date) == ("Tea", NOW + 60 + 10 * 86_400)

    api.v1.invoice_items.create({"customer": customer, "invoice": made.id, "amount": 500, "currency": "usd"})
    api.v1.invoices.finalize_invoice(made.id)
    with pytest.raises(sdk.InvalidRequestError, match="Finalized invoices can't be updated") as error:
        api.v1.invoices.update(made.id, {"description": "Coffee", "metadata": {"a": "1"}})
    assert refused(error) == (400, "invoice_not_editable", "description")
    kept = api.v1.invoices.update(made.id, {"metadata": {"a": "1"}, "auto_advance": False})
    assert (kept.description, kept.metadata and kept.metadata["a"]) == ("Tea", "1")


def test_an_invoice_item_follows_its_price_and_quantity(api: sdk.StripeClient) -> None:
    customer = api.v1.customers.create().id
    price = api.v1.prices.create({"currency": "usd", "unit_amount": 250, "product_data": {"name": "Tea"}}).id
    made = api.v1.invoice_items.create({"customer": customer, "pricing": {"price": price}, "quantity": 2})
    changed = api.v1.invoice_items.update(made.id, {"quantity": 3})

    assert (made.amount, changed.amount, changed.quantity) == (500, 750, 3)
    api.v1.invoices.create({"customer": customer, "pending_invoice_items_behavior": "include"})
    invoice = api.v1.invoices.list({"customer": customer}).data[0]
    assert api.v1.invoice_items.update(made.id, {"amount": 100}).amount == 100
    assert api.v1.invoices.retrieve(invoice.id).total == 100
    api.v1.invoices.finalize_invoice(invoice.id)
    with pytest.raises(sdk.InvalidRequestError, match="not a draft"):
        api.v1.invoice_items.update(made.id, {"amount": 200})
    assert api.v1.invoice_items.update(made.id, {"metadata": {"a": "1"}}).amount == 100


def test_what_is_not_there_or_deleted_is_missing(api: sdk.StripeClient) -> None:
    gone = api.v1.customers.create().id
    api.v1.customers.delete(gone)
    for id in (gone, "cus_nobody"):
        with pytest.raises(sdk.InvalidRequestError, match=f"No such customer: '{id}'") as error:
            api.v1.customers.update(id, {"name": "x"})
        assert refused(error)[:2] == (404, "resource_missing")
    with pytest.raises(sdk.InvalidRequestError) as error:
        api.v1.subscriptions.create({"customer": gone, "items": [{"price": "price_1"}]})
    assert refused(error) == (400, "resource_missing", "customer")


def test_events_tell_which_request_and_key_made_them(stripe: Stripe, api: sdk.StripeClient) -> None:
    made = api.v1.customers.create({"name": "Ada"}, {"idempotency_key": "push/1"})
    changed = api.v1.customers.update(made.id, {"name": "Bea"}, {"idempotency_key": "push/2"})
    stripe.control(
        "mutate",
        {"stream": "customers", "id": made.id, "values": {"name": "Eve"}, "event": "customer.updated"},
    )
    asked = [one.last_response.request_id for one in (made, changed) if one.last_response]

    assert [event["request"] for event in stripe.events()] == [
        {"id": asked[0], "idempotency_key": "push/1"},
        {"id": asked[1], "idempotency_key": "push/2"},
        {"id": None, "idempotency_key": None},
    ]


def test_previous_attributes_are_what_changed_and_nothing_else(stripe: Stripe, api: sdk.StripeClient) -> None:
    made = api.v1.customers.create({"name": "Ada", "phone": "1", "metadata": {"a": "1", "b": "2"}}).id
    api.v1.customers.update(
        made, {"name": "Ada", "phone": "", "address": {"city": "Rome"}, "metadata": {"a": "", "c": "3"}}
    )
    api.v1.customers.update(made, {"address": {"city": "Paris"}})
    api.v1.customers.update(made, {"address": {"city": "Paris"}})

    first, second = stripe.events(type="customer.updated")
    assert first["data"]["previous_attributes"] == {
        "phone": "1",
        "address": None,
        "metadata": {"a": "1", "c": None},
    }
    assert second["data"]["previous_attributes"] == {"address": {"city": "Rome"}}


def test_an_item_of_its_own_tells_what_its_subscription_held(stripe: Stripe) -> None:
    customer = stripe.make("/v1/customers")["id"]
    given = {"currency": "usd", "unit_amount": 900, "product_data": {"name": "Tea"}}
    price = stripe.make("/v1/prices", **given, recurring={"interval": "month"})["id"]
    made = stripe.make("/v1/subscriptions", customer=customer, items=[{"price": price}])
    item = made["items"]["data"][0]
    stripe.make(f"/v1/subscription_items/{item['id']}", quantity=2, proration_behavior="none")
    stripe.make(f"/v1/subscription_items/{item['id']}", quantity=2)

    (event,) = stripe.events(type="customer.subscription.updated")
    assert event["data"]["previous_attributes"]["items"]["data"] == [item]
    assert event["data"]["object"]["items"]["data"][0]["quantity"] == 2


def test_a_live_key_writes_live_objects(stripe: Stripe) -> None:
    stripe.control("keys", {"key": "sk_live_registered"})
    live = client(stripe, "sk_live_registered")
    made = live.v1.customers.create({"name": "Ada"})

    assert (made.livemode, live.v1.balance.retrieve().livemode) == (True, True)
    assert client(stripe).v1.balance.retrieve().livemode is False
    assert [one["live"] for one in stripe.writes()] == [True]
    assert [event["livemode"] for event in stripe.events()] == [True]
