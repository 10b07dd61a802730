"""Keys over HTTP: who is let in, what a restricted key may read, which account answers, at which version."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from tidegate.sandbox import accounts, keys, world

from .conftest import KEY, NOW, Stripe

RESTRICTED = "rk_test_abcdefgh1234"


def test_any_test_key_is_let_in(stripe: Stripe) -> None:
    assert stripe.get("/v1/customers", key="sk_test_anything").status == 200


def test_basic_auth_has_the_key_as_its_user(stripe: Stripe) -> None:
    basic = "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()

    assert stripe.get("/v1/customers", headers={"Authorization": basic}).status == 200


def test_a_key_nobody_made_is_refused_and_masked(stripe: Stripe) -> None:
    answer = stripe.get("/v1/customers", key="sk_live_1234567890abcd")

    assert answer.status == 401
    assert answer.error["message"] == "Invalid API Key provided: sk_live_**********abcd"
    assert answer.error["type"] == "invalid_request_error"


@pytest.mark.parametrize("header", ["", "Bearer", "Basic !!!", "Digest x"])
def test_no_key_is_refused(stripe: Stripe, header: str) -> None:
    answer = stripe.get("/v1/customers", headers={"Authorization": header})

    assert answer.status == 401
    assert answer.error["message"].startswith("You did not provide an API key.")


def test_a_publishable_key_is_refused(stripe: Stripe) -> None:
    assert stripe.get("/v1/customers", key="pk_test_x").error["code"] == "secret_key_required"


def test_a_closed_ring_knows_registered_keys_only(start: Callable[..., Stripe]) -> None:
    stripe = start(open_keys=False)
    stripe.control("keys", {"key": "sk_live_registered"})

    assert stripe.get("/v1/customers").status == 401
    assert stripe.get("/v1/customers", key="sk_live_registered").status == 200


def test_a_revoked_key_is_expired(stripe: Stripe) -> None:
    assert stripe.get("/v1/customers").status == 200
    stripe.control("keys/revoke", {"key": KEY})
    answer = stripe.get("/v1/customers")

    assert (answer.status, answer.error["code"]) == (401, "api_key_expired")
    assert KEY not in answer.error["message"]


def test_a_restricted_key_is_told_the_permission_it_lacks(stripe: Stripe) -> None:
    stripe.control("keys", {"key": RESTRICTED, "scopes": ["rak_customer_read"]})

    assert stripe.get("/v1/customers", key=RESTRICTED).status == 200
    answer = stripe.get("/v1/charges", key=RESTRICTED)
    account = stripe.made.world.account
    assert answer.status == 403
    assert answer.error["message"] == (
        f"The provided key 'rk_test_********1234' does not have the required permissions for this endpoint on "
        f"account '{account}'. Having the 'rak_charge_read' permission would allow this request to continue."
    )


def test_reading_is_not_writing_and_writing_is_reading(stripe: Stripe) -> None:
    stripe.control("keys", {"key": "rk_test_reader00", "scopes": ["rak_customer_read"]})
    stripe.control("keys", {"key": "rk_test_writer00", "scopes": ["rak_customer_write"]})

    refused = stripe.post("/v1/customers", key="rk_test_reader00")
    assert refused.status == 403
    assert "'rak_customer_write'" in refused.error["message"]
    assert stripe.post("/v1/customers", key="rk_test_writer00").status == 200
    assert stripe.get("/v1/customers", key="rk_test_writer00").status == 200


def test_a_restricted_key_is_not_told_its_account(stripe: Stripe) -> None:
    stripe.control("keys", {"key": RESTRICTED, "scopes": ["rak_customer_read", "rak_account_read"]})

    assert stripe.get("/v1/account", key=RESTRICTED).status == 403
    assert stripe.get("/v1/account").json["id"] == stripe.made.world.account


def test_a_scope_can_be_lost_while_running(stripe: Stripe) -> None:
    stripe.control("keys", {"key": RESTRICTED, "scopes": ["rak_customer_read", "rak_charge_write"]})
    assert stripe.get("/v1/charges", key=RESTRICTED).status == 200

    stripe.control("keys/drop", {"key": RESTRICTED, "scope": "rak_charge_read"})

    assert stripe.get("/v1/charges", key=RESTRICTED).status == 403
    assert stripe.get("/v1/customers", key=RESTRICTED).status == 200


def test_a_lost_scope_can_be_given_back(stripe: Stripe) -> None:
    stripe.control("keys", {"key": RESTRICTED, "scopes": ["rak_charge_write"]})
    stripe.control("keys/drop", {"key": RESTRICTED, "scope": "rak_charge_read"})
    assert stripe.get("/v1/charges", key=RESTRICTED).status == 403

    stripe.control("keys/grant", {"key": RESTRICTED, "scope": "rak_charge_read"})
    assert stripe.get("/v1/charges", key=RESTRICTED).status == 200
    charge = {"amount": 500, "currency": "usd", "source": "tok_visa"}
    assert stripe.post("/v1/charges", charge, key=RESTRICTED).status == 200


def test_events_need_a_permission_of_their_own(stripe: Stripe) -> None:
    stripe.control("keys", {"key": RESTRICTED, "scopes": ["rak_customer_read"]})
    event = stripe.get("/v1/events").ids[0]

    for path in ("/v1/events", f"/v1/events/{event}"):
        refused = stripe.get(path, key=RESTRICTED)
        assert refused.status == 403
        assert "'rak_event_read'" in refused.error["message"]
    stripe.control("keys/grant", {"key": RESTRICTED, "scope": "rak_event_read"})
    assert stripe.get("/v1/events", key=RESTRICTED).status == 200
    assert stripe.get("/v1/charges", key=RESTRICTED).status == 403


def test_a_connected_account_answers_with_its_own_objects(stripe: Stripe) -> None:
    connected = stripe.get("/v1/accounts").ids[0]

    theirs = stripe.get("/v1/customers", headers={"Stripe-Account": connected})
    context = stripe.get("/v1/customers", headers={"Stripe-Context": f"org_1/{connected}"})

    assert theirs.headers["Stripe-Account"] == connected
    assert theirs.ids == context.ids
    assert not set(theirs.ids) & set(stripe.get("/v1/customers").ids)
    assert stripe.get("/v1/account", headers={"Stripe-Account": connected}).json["id"] == connected


def test_what_is_written_to_one_account_stays_there(stripe: Stripe) -> None:
    connected = stripe.get("/v1/accounts").ids[0]
    made = stripe.post("/v1/customers", headers={"Stripe-Account": connected}).json["id"]

    assert stripe.get(f"/v1/customers/{made}", headers={"Stripe-Account": connected}).status == 200
    assert stripe.get(f"/v1/customers/{made}").status == 404


def test_of_many_accounts_only_the_written_ones_are_remembered(
    start: Callable[..., Stripe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "MOST_BOOKS", 5)
    stripe = start(world.build(objects=1_000, accounts=30, now=NOW))
    ids = stripe.get("/v1/accounts", {"limit": 100}).ids
    made = stripe.post("/v1/customers", headers={"Stripe-Account": ids[0]}).json["id"]

    for account in ids:
        assert stripe.get("/v1/charges", headers={"Stripe-Account": account}).status == 200

    assert len(stripe.made.accounts._awake) == 5
    assert [*stripe.made.accounts._asleep] == [ids[0]]
    assert stripe.get(f"/v1/customers/{made}", headers={"Stripe-Account": ids[0]}).status == 200


def test_a_created_account_is_connected_and_empty(stripe: Stripe) -> None:
    made = stripe.make("/v1/accounts", type="custom", country="US")["id"]

    answer = stripe.get("/v1/customers", headers={"Stripe-Account": made})

    assert answer.json == {"object": "list", "data": [], "has_more": False, "url": "/v1/customers"}


def test_a_strange_account_is_refused(stripe: Stripe) -> None:
    answer = stripe.get("/v1/customers", headers={"Stripe-Account": "acct_strange"})

    assert (answer.status, answer.error["code"]) == (403, "account_invalid")
    assert "acct_strange" in answer.error["message"]
    assert KEY not in answer.error["message"]


def test_a_version_that_never_was_is_refused(stripe: Stripe) -> None:
    for version in ("2099-01-01", "newest", "2025-01-01"):
        assert stripe.get("/v1/customers", headers={"Stripe-Version": version}).status == 400
    for version in ("2020-08-27", "2025-03-31.basil", stripe.made.facts.api_version):
        answer = stripe.get("/v1/customers", headers={"Stripe-Version": version})
        assert (answer.status, answer.headers["Stripe-Version"]) == (200, version)


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("sk_test_1234567890", "sk_test_******7890"),
        ("rk_live_abcdefghijkl", "rk_live_********ijkl"),
        ("sk_test_short", "sk_test_*****"),
        ("nonsense", "********"),
    ],
)
def test_masked_keys_show_the_prefix_and_four_characters(secret: str, shown: str) -> None:
    assert keys.masked(secret) == shown


def test_a_key_with_customers_write_and_balance_read_does_these_and_nothing_else(stripe: Stripe) -> None:
    key = "rk_test_pusher0000"
    stripe.control("keys", {"key": key, "scopes": ["rak_customer_write", "rak_balance_read"]})
    made = stripe.post("/v1/customers", {"email": "ada@example.com"}, key=key).json["id"]

    for method, path in (
        ("GET", "/v1/balance"),
        ("GET", f"/v1/customers/{made}"),
        ("GET", "/v1/customers?email=ada@example.com"),
        ("GET", "/v1/customers/search?query=email:'ada@example.com'"),
        ("POST", f"/v1/customers/{made}"),
        ("POST", f"/v1/customers/{made}/tax_ids"),
        ("DELETE", f"/v1/customers/{made}"),
    ):
        given = {"type": "eu_vat", "value": "DE123456789"} if path.endswith("tax_ids") else {}
        assert stripe.ask(method, path, given, key=key).status == 200, path
    for method, path, permission in (
        ("POST", "/v1/products", "rak_product_write"),
        ("POST", "/v1/prices", "rak_plan_write"),
        ("POST", "/v1/coupons", "rak_coupon_write"),
        ("POST", "/v1/promotion_codes", "rak_promotion_code_write"),
        ("POST", "/v1/invoiceitems", "rak_invoice_write"),
        ("POST", "/v1/billing/meter_events", "rak_billing_meter_event_write"),
        ("GET", "/v1/events", "rak_event_read"),
        ("GET", "/v1/products", "rak_product_read"),
    ):
        answer = stripe.ask(method, path, key=key)
        assert answer.status == 403, path
        assert f"Having the '{permission}' permission" in answer.error["message"]


def test_read_does_not_include_write(stripe: Stripe) -> None:
    key = "rk_test_reader0000"
    stripe.control("keys", {"key": key, "scopes": ["rak_customer_read"]})

    assert stripe.get("/v1/customers", key=key).status == 200
    assert stripe.post("/v1/customers", key=key).status == 403
    assert stripe.get("/v1/balance", key=key).status == 403
