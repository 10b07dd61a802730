"""Sign in with Stripe: the official SDK, a browser's requests, and everything that OAuth refuses."""

from __future__ import annotations

import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

import pytest
import stripe as sdk
from agreeing import agreed

from .conftest import KEY, Stripe

APP = "ca_rockets"
BACK = "https://tidegate.test/accounts/signed-in"


def agree(stripe: Stripe, account: str, answer: str = "connect", **asked: str) -> dict[str, str]:
    """What a person comes back with who chose an account on Stripe's page."""
    asked = {"response_type": "code", "client_id": APP, "redirect_uri": BACK, "state": "s & t", **asked}
    return agreed(f"{stripe.url}/oauth/authorize?{urllib.parse.urlencode(asked)}", account, answer)


@pytest.fixture
def account(stripe: Stripe) -> str:
    return stripe.get("/v1/accounts").ids[0]


@pytest.fixture
def platform(stripe: Stripe, monkeypatch: pytest.MonkeyPatch) -> type[sdk.OAuth]:
    """The SDK as a platform uses it."""
    monkeypatch.setattr(sdk, "connect_api_base", stripe.url)
    monkeypatch.setattr(sdk, "api_key", KEY)
    monkeypatch.setattr(sdk, "client_id", APP)
    return sdk.OAuth


def test_the_page_shows_the_accounts_and_carries_what_was_asked(stripe: Stripe, account: str) -> None:
    asked = {"response_type": "code", "client_id": APP, "redirect_uri": BACK, "state": '"><script>'}
    page = stripe.get("/oauth/authorize?" + urllib.parse.urlencode(asked)).body.decode()
    assert f"<option>{account}</option>" in page
    assert "wants to read the data" in page
    assert re.search(r'name="state" value="&quot;&gt;&lt;script&gt;"', page)


def test_a_code_becomes_a_key_of_the_account(stripe: Stripe, platform: type[sdk.OAuth], account: str) -> None:
    back = agree(stripe, account, scope="read_write")
    assert back == {"state": "s & t", "scope": "read_write", "code": back["code"]}
    token = platform.token(grant_type="authorization_code", code=back["code"])
    assert (token.stripe_user_id, token.scope, token.livemode) == (account, "read_write", False)
    assert stripe.get("/v1/account", key=token.access_token).json["id"] == account
    own = stripe.get("/v1/customers", headers={"Stripe-Account": account}).ids
    assert stripe.get("/v1/customers", key=token.access_token).ids == own
    assert stripe.ask("POST", "/v1/customers", {"name": "Ann"}, key=token.access_token).status == 200


def test_a_token_for_reading_writes_nothing(stripe: Stripe, platform: type[sdk.OAuth], account: str) -> None:
    token = platform.token(grant_type="authorization_code", code=agree(stripe, account)["code"])
    assert token.scope == "read_only"
    assert stripe.get("/v1/charges", key=token.access_token).status == 200
    assert stripe.ask("POST", "/v1/customers", {"name": "Ann"}, key=token.access_token).status == 403


def test_a_token_is_for_its_account_alone(stripe: Stripe, platform: type[sdk.OAuth]) -> None:
    mine, other = stripe.get("/v1/accounts").ids[:2]
    token = platform.token(grant_type="authorization_code", code=agree(stripe, mine)["code"])
    answer = stripe.get("/v1/customers", key=token.access_token, headers={"Stripe-Account": other})
    assert (answer.status, answer.error["code"]) == (403, "account_invalid")


def test_who_says_no_comes_back_without_a_code(stripe: Stripe, account: str) -> None:
    assert agree(stripe, account, "cancel") == {
        "state": "s & t",
        "error": "access_denied",
        "error_description": "The user denied your request",
    }


def test_a_second_use_of_a_code_takes_back_the_first(
    stripe: Stripe, platform: type[sdk.OAuth], account: str
) -> None:
    code = agree(stripe, account)["code"]
    token = platform.token(grant_type="authorization_code", code=code)
    with pytest.raises(sdk.oauth_error.InvalidGrantError, match="already been used"):
        platform.token(grant_type="authorization_code", code=code)
    assert stripe.get("/v1/account", key=token.access_token).status == 401


def test_a_code_lasts_five_minutes(stripe: Stripe, platform: type[sdk.OAuth], account: str) -> None:
    code = agree(stripe, account)["code"]
    stripe.control("clock", {"advance": 301})
    with pytest.raises(sdk.oauth_error.InvalidGrantError, match="expired"):
        platform.token(grant_type="authorization_code", code=code)


def test_a_refresh_token_gives_another_key_of_no_more_scope(
    stripe: Stripe, platform: type[sdk.OAuth], account: str
) -> None:
    token = platform.token(grant_type="authorization_code", code=agree(stripe, account)["code"])
    again = platform.token(grant_type="refresh_token", refresh_token=token.refresh_token)
    assert again.access_token != token.access_token
    assert stripe.get("/v1/account", key=again.access_token).json["id"] == account
    with pytest.raises(sdk.oauth_error.InvalidScopeError):
        platform.token(grant_type="refresh_token", refresh_token=token.refresh_token, scope="read_write")


def test_an_account_that_is_disconnected_ends_its_keys(
    stripe: Stripe, platform: type[sdk.OAuth], account: str
) -> None:
    token = platform.token(grant_type="authorization_code", code=agree(stripe, account)["code"])
    assert platform.deauthorize(stripe_user_id=account).stripe_user_id == account
    answer = stripe.get("/v1/customers", key=token.access_token)
    assert (answer.status, answer.error["code"]) == (403, "account_invalid")
    with pytest.raises(sdk.oauth_error.InvalidClientError, match="not connected"):
        platform.deauthorize(stripe_user_id=account)
    with pytest.raises(sdk.oauth_error.InvalidGrantError):
        platform.token(grant_type="refresh_token", refresh_token=token.refresh_token)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"client_id": "ca_other"}, "invalid_client"),
        ({"redirect_uri": "https://elsewhere.test"}, "invalid_redirect_uri"),
        ({"scope": "everything"}, "invalid_scope"),
        ({"response_type": "token"}, "unsupported_response_type"),
    ],
)
def test_what_is_asked_wrongly_is_told_and_nobody_is_sent_anywhere(
    stripe: Stripe, asked: dict[str, str], error: str
) -> None:
    stripe.control("oauth", {"client_id": APP, "redirect_uris": [BACK]})
    asked = {"response_type": "code", "client_id": APP, "redirect_uri": BACK, **asked}
    answer = stripe.get("/oauth/authorize?" + urllib.parse.urlencode(asked))
    assert (answer.status, answer.json["error"]) == (400, error)


@pytest.mark.parametrize(
    ("asked", "error", "status"),
    [
        ({"grant_type": "authorization_code", "code": "ac_nobody"}, "invalid_grant", 400),
        ({"grant_type": "password"}, "unsupported_grant_type", 400),
    ],
)
def test_what_is_exchanged_wrongly_is_refused(
    stripe: Stripe, asked: dict[str, str], error: str, status: int
) -> None:
    answer = stripe.ask("POST", "/oauth/token", asked)
    assert (answer.status, answer.json["error"]) == (status, error)


def test_only_a_platforms_secret_key_exchanges(start: Callable[..., Stripe]) -> None:
    stripe = start()
    stripe.control("keys", {"key": "rk_test_reads", "scopes": ["rak_customer_read"]})
    wrong = {"grant_type": "authorization_code", "code": "ac_1"}
    assert stripe.ask("POST", "/oauth/token", wrong, key="sk_live_wrong123456").status == 401
    assert stripe.ask("POST", "/oauth/token", wrong, key="rk_test_reads").json["error"] == "invalid_client"
    told = stripe.ask("POST", "/oauth/token", {**wrong, "client_secret": KEY}, headers={"Authorization": ""})
    assert told.json["error"] == "invalid_grant"
