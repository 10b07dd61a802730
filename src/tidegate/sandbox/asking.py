"""A request on its way into the sandbox: whose it is, what it says, and whether it may come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from tidegate.sandbox import forms, keys, limits, refusals, routes, versions

if TYPE_CHECKING:
    from tidegate.sandbox import server


@dataclass
class Asked:
    """A request on its way: what is known about it so far."""

    id: str
    method: str
    path: str
    api: refusals.Api
    headers: dict[str, str]
    key: str = ""
    """As errors show it."""
    endpoint: str = ""
    account: str = ""
    live: bool = False
    """With a live key?"""
    gate: limits.Gate | None = None
    """That let it in, and waits for it to leave."""


def admit(
    sandbox: server.Sandbox, request: web.BaseRequest, asked: Asked
) -> tuple[routes.Route, dict[str, str], str]:
    """Key, account, version, route, permission and limits."""
    headers = request.headers
    key = sandbox.keys.authenticate(headers.get("Authorization"))
    asked.key = keys.masked(key.secret)
    asked.live = key.live
    account = _scope(sandbox, key, headers)
    if account:
        asked.headers["Stripe-Account"] = account
    asked.account = account or sandbox.platform.account
    version = headers.get("Stripe-Version") or sandbox.journal.version_of(asked.account)
    if not versions.known(version, sandbox.facts.api_version):
        raise refusals.unknown_version(version[:40])
    asked.headers["Stripe-Version"] = version
    matched = sandbox.routes.match(asked.method, asked.path)
    if matched is None:
        raise refusals.unknown_url(asked.method, asked.path)
    route, arguments = matched
    asked.endpoint = route.endpoint
    permission = route.permission
    if route.kind == "own" and key.scopes is not None and not key.may("rak_accounts_kyc_basic_read"):
        permission = "rak_accounts_kyc_basic_read"
    if not key.may(permission):
        raise refusals.no_permission(asked.key, asked.account, permission)
    sandbox.gate.enter(
        asked.account,
        asked.endpoint,
        search=route.kind == "search",
        files=route.template.startswith("/v1/files"),
        meter=route.kind == "meter",
    )
    asked.gate = sandbox.gate
    sandbox.stats.under_way[asked.endpoint] += 1
    return route, arguments, version


def _scope(sandbox: server.Sandbox, key: keys.Key, headers: Mapping[str, str]) -> str:
    """The account that is asked; empty for the key's own. https://docs.stripe.com/context"""
    named, context = headers.get("Stripe-Account", ""), headers.get("Stripe-Context", "")
    path = [part for part in context.split("/") if part.startswith("acct_")]
    if key.organisation:
        if not path:
            raise refusals.no_context()
        if "Stripe-Version" not in headers:
            raise refusals.no_version()
        if path[0] != sandbox.platform.account and path[0] not in key.members:
            raise refusals.no_account(keys.masked(key.secret), path[0])
    if named and path and named != path[-1]:
        raise refusals.two_accounts()
    account = path[-1] if path else named or key.account
    if account and (not sandbox.has_account(account) or (key.account and account != key.account)):
        raise refusals.no_account(keys.masked(key.secret), account)
    return account


async def params(request: web.BaseRequest, asked: Asked) -> forms.Tree:
    """What a request says, in its query and its body."""
    given = forms.parse_form(request.rel_url.raw_query_string)
    if not request.can_read_body:
        return given
    kind = request.content_type
    if kind == "multipart/form-data":
        for name, value in (await request.post()).items():
            given[name] = value if isinstance(value, str) else getattr(value, "filename", "file")
        return given
    body = await request.read()
    if asked.api == "v2" or kind == "application/json":
        try:
            told = msgspec.json.decode(body) if body else {}
        except msgspec.DecodeError:
            raise refusals.invalid("", "Invalid request: the body is not JSON.") from None
        return {**given, **told} if isinstance(told, dict) else given
    return {**given, **forms.parse_form(body.decode("utf-8", "replace"))}
