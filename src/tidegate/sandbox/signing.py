"""Connect's OAuth: `/oauth/authorize`, `/oauth/token`, `/oauth/deauthorize`; Stripe has a host of its own for them.

https://docs.stripe.com/connect/oauth-reference. A code is good once, for five minutes; a second use takes back what
the first gave. A token is a key of the account that signed in, `read_only` or `read_write`, until the account is
disconnected.
"""

from __future__ import annotations

import html
import itertools
import secrets
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from tidegate.sandbox import forms, keys, refusals

if TYPE_CHECKING:
    from tidegate.sandbox import server

LASTS = 300.0
"""Seconds in which a code must be used."""
SCOPES = ("read_only", "read_write")
SHOWN = 50
"""Accounts that somebody may choose from."""
_PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Connect to {name}</title></head><body>
<h1>{name} wants to {does} the data of your Stripe account</h1>
<form method="post">{hidden}
<label>Account <select name="account">{accounts}</select></label>
<button name="answer" value="connect">Connect my Stripe account</button>
<button name="answer" value="cancel">Cancel</button>
</form></body></html>"""


class Refused(Exception):
    """An answer of OAuth that is no success: an error's name, and a sentence for developers."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error, self.description, self.status = error, description, status


@dataclass(slots=True)
class Code:
    """What somebody agreed to, until it is exchanged."""

    account: str
    client_id: str
    scope: str
    live: bool
    at: float
    used: bool = False
    tokens: list[str] = field(default_factory=list)
    """The access tokens that came of it."""


class Grants:
    """Who signed in with what: the applications of the platform, codes and tokens."""

    def __init__(self) -> None:
        self.applications: dict[str, tuple[str, ...]] = {}
        """Client id -> the addresses that it may send people back to; none registered: any is right."""
        self.codes: dict[str, Code] = {}
        self.refresh: dict[str, Code] = {}

    def register(self, client_id: str, redirect_uris: tuple[str, ...]) -> None:
        """Make an application known; from then on unknown ones are refused."""
        self.applications[client_id] = redirect_uris

    def checked(self, client_id: str, redirect_uri: str | None = None) -> str:
        """Where people are sent back to; refuses an unknown application, or an address that is not its own."""
        if not client_id.startswith("ca_") or (self.applications and client_id not in self.applications):
            raise Refused(
                "invalid_client", f"No application matches the supplied client identifier: {client_id}"
            )
        known = self.applications.get(client_id, ())
        if redirect_uri is None:
            return known[0] if known else ""
        if known and redirect_uri not in known:
            said = "Invalid redirect URI '{}'. Ensure this uri exactly matches one of the uris specified in your "
            raise Refused("invalid_redirect_uri", said.format(redirect_uri) + "application settings.")
        return redirect_uri


async def handle(sandbox: server.Sandbox, request: web.BaseRequest) -> web.StreamResponse | None:
    """Answer a request to one of the routes; None where it is none."""
    answer = ROUTES.get((request.method, request.path))
    if answer is None:
        return None
    given = forms.parse_form(request.rel_url.raw_query_string)
    if request.can_read_body:
        given |= forms.parse_form((await request.read()).decode("utf-8", "replace"))
    try:
        return answer(sandbox, request, given)
    except Refused as refused:
        told = {"error": refused.error, "error_description": refused.description}
        return _json(told, refused.status)
    except refusals.Refusal as refusal:
        return web.Response(
            body=refusal.body("v1", sandbox.names.make("request")),
            status=refusal.status,
            content_type="application/json",
        )


def _asked(sandbox: server.Sandbox, given: Mapping[str, Any]) -> tuple[str, str]:
    """Where to send somebody back to, and what for."""
    address = sandbox.grants.checked(str(given.get("client_id", "")), given.get("redirect_uri"))
    if given.get("response_type") != "code":
        raise Refused("unsupported_response_type", "The response_type must be 'code'.")
    scope = str(given.get("scope", "read_only"))
    if scope not in SCOPES:
        raise Refused("invalid_scope", f"Invalid scope provided: {scope}")
    if not address:
        raise Refused("invalid_redirect_uri", "No redirect URI is set in your application settings.")
    return address, scope


def _authorize(sandbox: server.Sandbox, _: web.BaseRequest, given: Mapping[str, Any]) -> web.StreamResponse:
    """The page on which somebody chooses an account, and agrees or not."""
    _asked(sandbox, given)
    book = sandbox.platform
    names = [
        book.id("accounts", ref)
        for ref in itertools.islice(book.descending("accounts", None, None, None), SHOWN)
    ]
    does = "read" if given.get("scope", "read_only") == "read_only" else "read and write"
    page = _PAGE.format(
        name="Rocket Rides",
        does=does,
        hidden="".join(
            f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(str(value))}">'
            for name, value in given.items()
        ),
        accounts="".join(f"<option>{html.escape(name)}</option>" for name in names),
    )
    return web.Response(text=page, content_type="text/html")


def _agreed(sandbox: server.Sandbox, _: web.BaseRequest, given: Mapping[str, Any]) -> web.StreamResponse:
    """Send somebody back, with a code or without one."""
    address, scope = _asked(sandbox, given)
    answer = {"state": str(given["state"])} if given.get("state") else {}
    if given.get("answer") != "connect":
        answer |= {"error": "access_denied", "error_description": "The user denied your request"}
    else:
        account = str(given.get("account", ""))
        if account == sandbox.platform.account or not sandbox.has_account(account):
            raise refusals.missing("account", account)
        code = f"ac_{secrets.token_urlsafe(24)}"
        client = str(given["client_id"])
        live = given.get("livemode") == "true"
        sandbox.grants.codes[code] = Code(account, client, scope, live, sandbox.clock.time())
        answer |= {"scope": scope, "code": code}
    mark = "&" if "?" in address else "?"
    return web.Response(status=302, headers={"Location": f"{address}{mark}{urllib.parse.urlencode(answer)}"})


def _token(sandbox: server.Sandbox, request: web.BaseRequest, given: Mapping[str, Any]) -> web.StreamResponse:
    """A token for a code, or another one for a refresh token."""
    key = _platform(sandbox, request, given)
    kind = given.get("grant_type")
    if kind == "authorization_code":
        return _json(_issued(sandbox, _exchanged(sandbox, str(given.get("code", ""))), key))
    if kind == "refresh_token":
        found = sandbox.grants.refresh.get(str(given.get("refresh_token", "")))
        if found is None or not sandbox.has_account(found.account):
            raise Refused("invalid_grant", "This refresh token does not exist, or has been revoked.")
        scope = str(given.get("scope", found.scope))
        if scope not in SCOPES or (scope == "read_write" and found.scope == "read_only"):
            raise Refused("invalid_scope", f"Requested scope is greater than the scope granted: {scope}")
        return _json(_issued(sandbox, found, key, scope))
    raise Refused("unsupported_grant_type", f"Unsupported grant type: {kind}")


def _deauthorize(
    sandbox: server.Sandbox, request: web.BaseRequest, given: Mapping[str, Any]
) -> web.StreamResponse:
    """Disconnect an account; all its tokens end."""
    _platform(sandbox, request, given)
    client, account = str(given.get("client_id", "")), str(given.get("stripe_user_id", ""))
    sandbox.grants.checked(client)
    if not account or account == sandbox.platform.account or not sandbox.has_account(account):
        said = (
            f"This application is not connected to stripe account {account}, or that account does not exist."
        )
        raise Refused("invalid_client", said, 401)
    sandbox.disconnect(account)
    return _json({"stripe_user_id": account})


def _platform(sandbox: server.Sandbox, request: web.BaseRequest, given: Mapping[str, Any]) -> keys.Key:
    """The platform's secret key, in the header or as `client_secret`."""
    header = request.headers.get("Authorization")
    key = sandbox.keys.authenticate(header or f"Bearer {given.get('client_secret', '')}")
    if key.account or key.scopes is not None:
        raise Refused("invalid_client", "The API key provided is not a secret key of a platform.", 401)
    return key


def _exchanged(sandbox: server.Sandbox, code: str) -> Code:
    found = sandbox.grants.codes.get(code)
    if found is None:
        raise Refused("invalid_grant", f"Authorization code does not exist: {code}")
    if found.used:
        for token in found.tokens:
            sandbox.keys.revoke(token)
        said = "This authorization code has already been used. All tokens issued with this code have been revoked."
        raise Refused("invalid_grant", said)
    if sandbox.clock.time() > found.at + LASTS:
        raise Refused("invalid_grant", f"Authorization code expired: {code}")
    found.used = True
    return found


def _issued(sandbox: server.Sandbox, code: Code, key: keys.Key, scope: str = "") -> Mapping[str, Any]:
    """A new key of the account, in the mode of the key that asked."""
    scope, mode = scope or code.scope, "live" if key.live else "test"
    made = sandbox.keys.register(f"sk_{mode}_{secrets.token_hex(16)}")
    made.account, made.reads = code.account, scope == "read_only"
    refresh = f"rt_{secrets.token_urlsafe(24)}"
    sandbox.grants.refresh[refresh] = code
    code.tokens.append(made.secret)
    return {
        "access_token": made.secret,
        "livemode": key.live,
        "refresh_token": refresh,
        "token_type": "bearer",
        "stripe_publishable_key": f"pk_{mode}_{secrets.token_hex(12)}",
        "stripe_user_id": code.account,
        "scope": scope,
    }


def _json(told: Mapping[str, Any], status: int = 200) -> web.Response:
    headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
    body = msgspec.json.encode(told)
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


Answer = Callable[["server.Sandbox", web.BaseRequest, Mapping[str, Any]], web.StreamResponse]
ROUTES: Mapping[tuple[str, str], Answer] = {
    ("GET", "/oauth/authorize"): _authorize,
    ("POST", "/oauth/authorize"): _agreed,
    ("POST", "/oauth/token"): _token,
    ("POST", "/oauth/deauthorize"): _deauthorize,
}
