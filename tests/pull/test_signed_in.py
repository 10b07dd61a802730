"""A connection that signed in with Stripe pulls its account, until it is taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulling
import pytest
from agreeing import agreed

from tidegate import config, errors, sandbox
from tidegate.pull import settings
from tidegate.stripe import signing

APP = {"client_id": "ca_rockets", "client_secret": "sk_test_platform1234"}
BACK = "https://tidegate.test/back"


@pytest.fixture(scope="module")
def stripe() -> Iterator[pulling.Stripe]:
    with sandbox.process(objects=200, accounts=2) as url:
        yield pulling.Stripe(url)


def connection(url: str, **oauth: Any) -> config.Connection:
    return config.Connection.model_validate(
        {"oauth": {**APP, **oauth}, "api_base": url, "rate_limit": "off", "budget": 1.0}
    )


def test_its_key_reads_its_own_account_and_nothing_once_it_is_disconnected(
    stripe: pulling.Stripe, tmp_path: Path
) -> None:
    account = stripe.truth("accounts")[0]["object"]["id"]
    back = agreed(signing.address(APP["client_id"], BACK, "x", "read_only", at=stripe.url), account)
    grant = asyncio.run(signing.exchange(APP["client_secret"], back["code"], at=stripe.url))
    source = settings.source(connection(stripe.url, account=account, access_token=grant.access_token))
    result = pulling.pull(stripe, tmp_path / "w.duckdb", "customers", key=source.api_key)
    assert result.exit_code == 0
    assert {
        row["_account_id"] for row in pulling.query(tmp_path / "w.duckdb", "SELECT * FROM stripe.customers")
    } == {account}

    assert asyncio.run(signing.disconnect(APP["client_id"], APP["client_secret"], account, at=stripe.url))
    result = pulling.pull(stripe, tmp_path / "w.duckdb", "customers", key=source.api_key)
    assert result.exit_code == 1
    assert "was disconnected or does not exist; connect it again" in str(result.end)
    assert grant.access_token not in str(result.end)


def test_before_anybody_signed_in_it_says_where_to_do_so() -> None:
    with pytest.raises(
        errors.ConfigError, match="nobody has signed in yet; do so with `tidegate account sign-in`"
    ):
        settings.source(connection("https://api.stripe.com"))


def test_a_key_and_a_sign_in_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="give either `api_key` or `oauth`"):
        config.Connection.model_validate({"api_key": "sk_test_1", "oauth": APP})
