"""What a key may read, found out with one small request per list."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tidegate import catalog, errors
from tidegate.pull import accounts, plan, report, scope, walks
from tidegate.stripe import client, pages

NOBODY = "id_0000000000000000"
"""A parent that no account has: asking for its children tells whether the key may ask."""

UNKNOWN = ("not_found", "account_invalid")
"""Codes of a v2 object and of a connected account that does not exist."""


@dataclass(frozen=True, slots=True)
class Access:
    """Whether one stream can be read, and which permission it needs."""

    stream: str
    permission: str
    status: report.Status
    error: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Whose key it is, and what it can read."""

    account: str
    mode: str
    access: tuple[Access, ...]
    untold: str = ""
    """Why events cannot be read, so that changes are only seen by listing again; nothing when they can."""


async def check(source: scope.Source, options: scope.Options) -> Found:
    """Ask every chosen list of the first account for one row; raises Unauthorized, Unreachable or ConfigError."""
    wanted = plan.plan(catalog.load().streams, options.streams)
    async with scope.connect(source) as stripe:
        account, one = await accounts.first(stripe, source, wanted)
        answers = await asyncio.gather(*(_walk(one, walk) for walk in wanted.walks))
        untold = await _untold(one)
    found: dict[str, Access] = {}
    for access in (each for answer in answers for each in answer):
        known = found.get(access.stream, access)
        found[access.stream] = max(known, access, key=_weight)
    ordered = tuple(found[stream.name] for stream in wanted.streams if stream.name in found)
    return Found(account, client.mode(source.api_key), ordered, untold)


async def _untold(stripe: client.Client) -> str:
    """Why events cannot be read, or nothing."""
    try:
        await ask(stripe, catalog.load().streams["events"].origins[0])
    except (errors.PermissionMissing, errors.NotEnabled) as error:
        return str(error)
    return ""


async def ask(stripe: client.Client, origin: catalog.Origin, expand: tuple[str, ...] = ()) -> None:
    """One row of a list, or of an unknown parent's; raises what Stripe says against it."""
    fixed = {parent.param: NOBODY for parent in origin.parents}
    query = {name: value for name, value in fixed.items() if "{" + name + "}" not in origin.path}
    params = {**pages.list_params(origin, limit=1, expand=expand), **query}
    try:
        await stripe.get(pages.path(origin.path, fixed), params, endpoint=origin.path)
    except errors.StripeError as error:
        answered = isinstance(error, errors.Missing | errors.InvalidRequest) or error.code in UNKNOWN
        if not (origin.parents and answered):
            raise


def _weight(access: Access) -> int:
    """Of a stream with several lists, one that the account does not have counts least, a refusal most."""
    return {"not_enabled": 0, "ok": 1}.get(access.status, 2)


async def _walk(stripe: client.Client, walk: plan.Walk) -> list[Access]:
    """The access to a walk's streams; nested lists that the key may not see are told apart."""
    found: list[Access] = []
    expand = tuple(walk.node.expand())
    while True:
        names = {node.stream.name: node.stream.permission for node in _nodes(walk.node) if node.kept}
        try:
            await ask(stripe, walk.node.origin, expand)
            return found + [Access(name, permission, "ok") for name, permission in names.items()]
        except (errors.Unauthorized, errors.Unreachable):
            raise
        except errors.TidegateError as error:
            named = getattr(error, "permission", "")
            less = plan.without(walk, named) if isinstance(error, errors.PermissionMissing) else None
            if less is None and expand and walks.refuses_expand(error, walk):
                expand = ()
                continue
            kept = set(less.node.streams()) if less is not None else set()
            found += [
                Access(name, permission, walks.status(error), str(error))
                for name, permission in names.items()
                if name not in kept
            ]
            if less is None or not kept:
                return found
            walk, expand = less, tuple(less.node.expand())


def _nodes(node: plan.Node) -> list[plan.Node]:
    return [node, *(below for branch in node.branches for child in branch.nodes for below in _nodes(child))]
