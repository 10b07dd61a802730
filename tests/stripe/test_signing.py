"""Signing in as Tidegate does it: codes for keys, and a sentence for whatever goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator

import pytest
from agreeing import agreed
from aiohttp import web
from following import Merchant

from tidegate import errors, sandbox
from tidegate.stripe import signing

SECRET = "sk_test_platform1234"
BACK = "http://127.0.0.1:8484/accounts/signed-in"


@pytest.fixture(scope="module")
def running() -> Iterator[Merchant]:
    with sandbox.process(objects=30, accounts=2) as url:
        yield Merchant(url)


@contextlib.asynccontextmanager
async def answering(status: int, text: str) -> AsyncIterator[str]:
    """A Stripe that says one thing."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status, text=text)

    server = web.ServerRunner(web.Server(answer))
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    try:
        yield "http://{}:{}".format(*server.addresses[0])
    finally:
        await server.cleanup()


def test_people_sign_in_at_stripes_own_host_and_at_any_other_where_the_api_is() -> None:
    assert signing.base("https://api.stripe.com") == "https://connect.stripe.com"
    assert signing.base("http://127.0.0.1:12111/") == "http://127.0.0.1:12111"


def test_the_address_says_who_asks_for_what_and_where_to_come_back() -> None:
    address = signing.address("ca_1", BACK, "a+b", "read_only")
    assert address.startswith("https://connect.stripe.com/oauth/authorize?")
    asked = dict(urllib.parse.parse_qsl(address.partition("?")[2]))
    assert asked == {
        "response_type": "code",
        "client_id": "ca_1",
        "scope": "read_only",
        "state": "a+b",
        "redirect_uri": BACK,
        "stripe_landing": "login",
    }


def test_there_and_back(running: Merchant) -> None:
    account = _accounts(running)[0]
    address = signing.address("ca_1", BACK, "here", "read_only", at=running.url)
    back = agreed(address, account)
    assert back["state"] == "here"
    grant = asyncio.run(signing.exchange(SECRET, back["code"], at=running.url))
    assert (grant.account, grant.scope, grant.live) == (account, "read_only", False)
    assert grant.access_token not in repr(grant)
    with pytest.raises(
        errors.InvalidRequest, match=r"refused the sign-in \(invalid_grant\).*; sign in again"
    ):
        asyncio.run(signing.exchange(SECRET, back["code"], at=running.url))
    assert asyncio.run(signing.disconnect("ca_1", SECRET, account, at=running.url))
    assert not asyncio.run(signing.disconnect("ca_1", SECRET, account, at=running.url))


def _accounts(shop: Merchant) -> list[str]:
    asked = urllib.request.Request(f"{shop.url}/v1/accounts", headers={"Authorization": f"Bearer {SECRET}"})
    with urllib.request.urlopen(asked) as answer:
        return [one["id"] for one in json.load(answer)["data"]]


def test_a_wrong_key_of_the_platform_is_said_without_it(running: Merchant) -> None:
    with pytest.raises(errors.Unauthorized, match="platform's key sk_live_…cdef") as raised:
        asyncio.run(signing.exchange("sk_live_90abcdef90abcdef", "ac_1", at=running.url))
    assert "90abcdef90" not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "text", "kind", "said"),
    [
        (502, "<html>bad gateway</html>", errors.ServerFault, "status 502"),
        (200, "{}", errors.ServerFault, "status 200"),
        (200, '{"access_token": "sk_test_x"}', errors.BadPage, "has no 'stripe_user_id'"),
        (400, '{"error": "invalid_grant"}', errors.InvalidRequest, "invalid_grant"),
    ],
)
def test_an_answer_that_is_none_is_said(
    status: int, text: str, kind: type[errors.TidegateError], said: str
) -> None:
    async def asked() -> None:
        async with answering(status, text) as url:
            await signing.exchange(SECRET, "ac_1", at=url)

    with pytest.raises(kind, match=said):
        asyncio.run(asked())


def test_nobody_there_is_said() -> None:
    with pytest.raises(errors.Unreachable, match=r"127\.0\.0\.1:1 did not answer the sign-in"):
        asyncio.run(signing.exchange(SECRET, "ac_1", at="http://127.0.0.1:1"))
