"""Whether members could sign in by the OpenID provider, tried before one does; nobody is signed in.

What it publishes, its keys, the client and its secret, and the address to which it sends browsers back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp

from tidegate import config
from tidegate.server import oidc, problems
from tidegate.warehouse import base

CODE = "tidegate-check"
"""A code that no provider has given."""


def steps(client: config.OpenID, origin: str) -> list[base.Check]:
    """What came of each step; the first that fails is the last. `origin` is this server as browsers know it."""
    return asyncio.run(_steps(client, origin + oidc.BACK))


async def _steps(client: config.OpenID, back: str) -> list[base.Check]:
    providers = oidc.Providers()
    work: tuple[tuple[str, Callable[[], Awaitable[str]]], ...] = (
        ("issuer", lambda: _issuer(providers, client)),
        ("keys", lambda: _keys(providers, client)),
        ("redirect address", lambda: _redirect(providers, client, back)),
        ("client", lambda: _client(providers, client, back)),
    )
    done: list[base.Check] = []
    for name, step in work:
        try:
            done.append(base.Check(name, True, await step()))
        except problems.Problem as problem:
            done.append(base.Check(name, False, problem.detail))
            break
    return done


async def _issuer(providers: oidc.Providers, client: config.OpenID) -> str:
    await providers.metadata(client)
    return f"{client.issuer} publishes where to sign in"


async def _keys(providers: oidc.Providers, client: config.OpenID) -> str:
    found = await providers.keys(client)
    if not found.keys:
        raise problems.Problem(
            502, "The sign-in provider publishes no key that a signature can be checked with."
        )
    return f"{len(found.keys)} published"


async def _redirect(providers: oidc.Providers, client: config.OpenID, back: str) -> str:
    """Begin a sign-in as a browser does; a provider that does not know the address says so at once."""
    trip = await providers.leave(client, back)
    try:
        async with (
            asyncio.timeout(oidc.PATIENCE),
            aiohttp.ClientSession(trust_env=True) as session,
            session.get(trip.url, allow_redirects=False) as answer,
        ):
            status = answer.status
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        raise problems.Problem(503, "The sign-in provider's page cannot be reached; try again.") from None
    if status >= 400:
        raise problems.Problem(
            502,
            f"The sign-in provider answers {status} to this client; register {back} there as its redirect address, "
            "and check `client_id`.",
        )
    return f"{back} is to be registered there"


async def _client(providers: oidc.Providers, client: config.OpenID, back: str) -> str:
    """Present a code that is none: who is refused for that alone has the right secret."""
    try:
        await providers.arrive(client, back, CODE, "x" * 43, "", client.issuer)
    except oidc.Stale:
        return f"{client.client_id} and its secret are known there"
    raise problems.Problem(502, "The sign-in provider takes any code; it cannot be relied on.")
