"""Sign in with Stripe: Connect's OAuth, from the address that a person is sent to, to a key of their account.

A code is good once: an answer that got lost is not asked for again, since a second use takes back what the first
gave. https://docs.stripe.com/connect/oauth-reference
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp
import msgspec

import tidegate
from tidegate import errors
from tidegate.stripe import client, keys

BASE = "https://connect.stripe.com"
TIMEOUT = 30.0
"""Seconds for one request."""
Scope = Literal["read_only", "read_write"]


@dataclass(frozen=True, slots=True)
class Grant:
    """What somebody agreed to: a key of their account."""

    account: str
    access_token: str = field(repr=False)
    scope: Scope
    live: bool


def base(api_base: str) -> str:
    """Where people sign in: Stripe has a host of its own for that, any other address serves both."""
    return BASE if api_base.rstrip("/") == client.API_BASE else api_base.rstrip("/")


def address(client_id: str, back: str, state: str, scope: Scope, *, at: str = BASE) -> str:
    """Where to send a person; they come back to `back` with `state`, and a code or an error."""
    asked = {
        "response_type": "code",
        "client_id": client_id,
        "scope": scope,
        "state": state,
        "redirect_uri": back,
        "stripe_landing": "login",
    }
    return f"{at}/oauth/authorize?{urllib.parse.urlencode(asked)}"


async def exchange(client_secret: str, code: str, *, at: str = BASE) -> Grant:
    """The key that a code stands for; raises Unauthorized, InvalidRequest or Unreachable."""
    told = await _ask(f"{at}/oauth/token", client_secret, {"grant_type": "authorization_code", "code": code})
    try:
        return Grant(told["stripe_user_id"], told["access_token"], told["scope"], bool(told["livemode"]))
    except KeyError as missing:
        raise errors.BadPage(f"Stripe's answer to the sign-in has no {missing}; sign in again.") from None


async def disconnect(client_id: str, client_secret: str, account: str, *, at: str = BASE) -> bool:
    """Take back what an account agreed to; False where it was not connected any more.

    Raises Unauthorized for a key that is wrong, and Unreachable.
    """
    asked = {"client_id": client_id, "stripe_user_id": account}
    try:
        await _ask(f"{at}/oauth/deauthorize", client_secret, asked)
    except errors.InvalidRequest as error:
        if error.code == "invalid_client" and account in str(error):
            return False
        raise
    return True


async def _ask(url: str, client_secret: str, asked: dict[str, str]) -> dict[str, Any]:
    secret = keys.checked(client_secret)
    host = urllib.parse.urlsplit(url).netloc
    headers = {"Authorization": f"Bearer {secret}", "User-Agent": f"Tidegate/{tidegate.__version__}"}
    timeout = aiohttp.ClientTimeout(TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(
                timeout=timeout, headers=headers, cookie_jar=aiohttp.DummyCookieJar(), proxy=client.proxy(url)
            ) as session,
            session.post(url, data=asked, allow_redirects=False) as answer,
        ):
            status, body = answer.status, await answer.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise errors.Unreachable(
            f"{host} did not answer the sign-in ({type(error).__name__}); check the network, and sign in again."
        ) from None
    try:
        told = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        told = {}
    if status == 200 and told:
        return told
    raise _refused(status, told, keys.masked(secret))


def _refused(status: int, told: dict[str, Any], shown: str) -> errors.TidegateError:
    """What Stripe's refusal means; OAuth's errors are words with a sentence, those of the key are Stripe's own."""
    if status == 401 and isinstance(told.get("error"), dict):
        return errors.Unauthorized(
            f"Stripe rejected the platform's key {shown}; set `client_secret` to a secret key of the platform.",
            status=status,
        )
    word = told.get("error")
    if not isinstance(word, str):
        return errors.ServerFault(
            f"Stripe failed with status {status} on the sign-in; see https://status.stripe.com, and sign in again.",
            status=status,
        )
    said = keys.scrubbed(str(told.get("error_description", ""))).rstrip(".") or word
    return errors.InvalidRequest(
        f"Stripe refused the sign-in ({word}): {said}; sign in again.", status=status, code=word
    )
