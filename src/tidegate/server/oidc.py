"""OpenID Connect: sends a browser to the provider, and reads from what it brings back who signed in there.

The authorization code flow with PKCE, `state` and `nonce` (OpenID Connect Core 1.0, 3.1; RFC 7636; RFC 9700). An id
token is believed when one of the provider's published keys signed it, for this client and this journey, and not
otherwise; nothing that a provider says of people is written to a log.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from joserfc import errors as signature_errors
from joserfc import jwk, jwt
from starlette import concurrency

from tidegate import config
from tidegate.server import problems

BACK = "/sign-in/oidc/back"
"""Where a provider sends browsers back to."""
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "Ed25519", "EdDSA"),
)
"""What a token may be signed with: pairs of keys, of which the provider alone has the private one."""
FRESH = 3600.0
"""Seconds for which what a provider publishes about itself is taken as known."""
AGAIN = 30.0
"""Seconds between two looks for a key that a token names and the provider did not publish before."""
LARGEST = 2**20
"""Bytes of an answer."""
PATIENCE = 10.0
"""Seconds for an answer."""
SKEW = 60.0
"""Seconds by which the provider's clock may differ."""


class Refusal(problems.Problem):
    """What the provider says is not believed, or it cannot be asked."""


class Stale(Refusal):
    """The provider does not know the code (any more)."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a provider publishes about itself."""

    authorization: str
    token: str
    keys: str
    basic: bool
    """Does it take the client's secret as a password?"""
    names_itself: bool
    """Does it say with every answer who it is?"""


@dataclass(frozen=True, slots=True)
class Trip:
    """A journey to the provider: where the browser goes, and what must come back."""

    url: str
    state: str
    nonce: str
    verifier: str


@dataclass(slots=True)
class _Known:
    """What is known of one provider, and since when."""

    metadata: Metadata | None = None
    at: float = 0.0
    keys: jwk.KeySet | None = None
    keys_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Providers:
    """Remembers what providers publish; used on one event loop."""

    clock: Callable[[], float] = time.time
    _known: dict[str, _Known] = field(default_factory=dict)

    async def leave(self, client: config.OpenID, back: str) -> Trip:
        """Begin a journey that ends at the address `back` of this server; raises Refusal."""
        metadata = await self.metadata(client)
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
        query = {
            "response_type": "code",
            "client_id": client.client_id,
            "redirect_uri": back,
            "scope": " ".join(client.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
        }
        glue = "&" if "?" in metadata.authorization else "?"
        return Trip(metadata.authorization + glue + urllib.parse.urlencode(query), state, nonce, verifier)

    async def arrive(
        self, client: config.OpenID, back: str, code: str, verifier: str, nonce: str, issuer: str | None
    ) -> Mapping[str, Any]:
        """What the provider says of who has come back with a code; raises Refusal."""
        metadata = await self.metadata(client)
        if (issuer is not None or metadata.names_itself) and issuer != client.issuer:
            raise Refusal(400, "The answer came from another provider; sign in once more.")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back,
            "client_id": client.client_id,
            "code_verifier": verifier,
        }
        headers = {"Accept": "application/json"}
        secret = client.client_secret.get_secret_value()
        if metadata.basic:
            pair = f"{urllib.parse.quote_plus(client.client_id)}:{urllib.parse.quote_plus(secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form["client_secret"] = secret
        told = await _asked(metadata.token, form, headers)
        token = told.get("id_token")
        if not isinstance(token, str):
            raise Refusal(502, "The sign-in provider gave no id token; does it know this client for OpenID?")
        return await self.read(client, token, nonce)

    async def read(self, client: config.OpenID, token: str, nonce: str) -> Mapping[str, Any]:
        """What an id token says that the provider signed, for this client and this journey; raises Refusal."""
        known = self._known.setdefault(client.issuer, _Known())
        claims = None
        if known.keys is not None and self.clock() - known.keys_at < FRESH:
            claims = await concurrency.run_in_threadpool(_opened, token, known.keys)
        if claims is None and self.clock() - known.keys_at >= (AGAIN if known.keys is not None else 0.0):
            known.keys, known.keys_at = await self.keys(client), self.clock()
            claims = await concurrency.run_in_threadpool(_opened, token, known.keys)
        if claims is None:
            raise Refusal(401, "The provider's token is not signed with one of its keys; sign in once more.")
        _believe(claims, client, nonce, self.clock())
        return claims

    async def keys(self, client: config.OpenID) -> jwk.KeySet:
        """The keys that the provider publishes now; raises Refusal."""
        return _usable(await _asked((await self.metadata(client)).keys))

    async def metadata(self, client: config.OpenID) -> Metadata:
        """What the provider publishes about itself; raises Refusal."""
        known = self._known.setdefault(client.issuer, _Known())
        if known.metadata is None or self.clock() - known.at >= FRESH:
            told = await _asked(client.issuer.rstrip("/") + "/.well-known/openid-configuration")
            if told.get("issuer") != client.issuer:
                raise Refusal(
                    502,
                    "The sign-in provider calls itself by another name than `issuer` in tidegate.yaml; write it "
                    "exactly as the provider does.",
                )
            known.metadata, known.at = _published(told, client.issuer), self.clock()
        return known.metadata


def _published(told: Mapping[str, Any], issuer: str) -> Metadata:
    endpoints = []
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        url = told.get(name)
        if not isinstance(url, str) or not url.startswith(issuer.partition("://")[0] + "://"):
            raise Refusal(502, f"The sign-in provider publishes no {name} that can be used.")
        endpoints.append(url)
    ways = told.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    named = told.get("authorization_response_iss_parameter_supported")
    return Metadata(endpoints[0], endpoints[1], endpoints[2], "client_secret_basic" in ways, named is True)


async def _asked(
    url: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> Mapping[str, Any]:
    """An object of JSON that the provider answers; raises Refusal."""
    method = "GET" if form is None else "POST"
    try:
        async with (
            asyncio.timeout(PATIENCE),
            aiohttp.ClientSession(trust_env=True) as session,
            session.request(method, url, data=form, headers=headers, allow_redirects=form is None) as answer,
        ):
            body = await answer.content.read(LARGEST + 1)
            while len(body) <= LARGEST and not answer.content.at_eof():
                body += await answer.content.read(LARGEST + 1 - len(body))
            status = answer.status
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        raise Refusal(503, "The sign-in provider cannot be reached now; try again.") from None
    try:
        told = json.loads(body) if len(body) <= LARGEST else None
    except (ValueError, RecursionError):
        told = None
    if status == 400 and isinstance(told, dict) and told.get("error") == "invalid_grant":
        raise Stale(401, "The sign-in took too long, or was used before; sign in once more.")
    if status != 200 or not isinstance(told, dict):
        raise Refusal(
            502,
            f"The sign-in provider answered with {status}; its log, and `oidc` in tidegate.yaml, may say why.",
        )
    return told


def _usable(published: Mapping[str, Any]) -> jwk.KeySet:
    """The published keys that signatures can be checked with; those of kinds that nobody knows are left out."""
    keys: list[Any] = []
    listed = published.get("keys")
    for each in listed if isinstance(listed, list) else ():
        if (
            not isinstance(each, dict)
            or each.get("kty") not in ("RSA", "EC", "OKP")
            or each.get("use") == "enc"
        ):
            continue
        try:
            keys.append(jwk.import_key(each))
        except (signature_errors.JoseError, ValueError, TypeError):
            continue
    return jwk.KeySet(keys)


def _opened(token: str, keys: jwk.KeySet) -> dict[str, Any] | None:
    """What stands in a token that one of the keys signed; None for every other."""
    try:
        return dict(jwt.decode(token, keys, algorithms=list(ALGORITHMS)).claims)
    except (signature_errors.JoseError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _believe(claims: Mapping[str, Any], client: config.OpenID, nonce: str, now: float) -> None:
    """Raises Refusal for a token that was made by another, for another, for another journey, or too long ago."""
    audience = claims.get("aud")
    several = audience if isinstance(audience, list) else [audience]
    expires, issued, begins = claims.get("exp"), claims.get("iat"), claims.get("nbf", 0)
    shown = claims.get("nonce")
    wrong = ""
    if claims.get("iss") != client.issuer:
        wrong = "was made by another provider"
    elif client.client_id not in several or (
        (len(several) > 1 or "azp" in claims) and claims.get("azp") != client.client_id
    ):
        wrong = "was made for another client"
    elif not isinstance(expires, int | float) or expires <= now - SKEW:
        wrong = "has expired, or the clocks differ"
    elif any(not isinstance(each, int | float) or each > now + SKEW for each in (issued, begins)):
        wrong = "is of a time to come, so the clocks differ"
    elif not isinstance(shown, str) or not secrets.compare_digest(shown.encode(), nonce.encode()):
        wrong = "belongs to another sign-in"
    elif not isinstance(claims.get("sub"), str) or not claims["sub"]:
        wrong = "does not say whom it is for"
    if wrong:
        raise Refusal(401, f"The provider's token {wrong}; sign in once more.")
