"""Whose objects these are: the id of the account behind a key, even one that may read almost nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Protocol

import msgspec

from tidegate import catalog, errors
from tidegate.pull import plan, reading
from tidegate.stripe import client, pages

ASKED = 5
"""Lists asked for a hint before the user is asked."""

TELLING = ("hosted_invoice_url", "invoice_pdf", "pdf")
"""Addresses of an account's own documents, https://invoice.stripe.com/i/acct_.../...: a field `account` is no
hint, since on events and application fees it names a connected account."""

UNNAMED = "acct_unnamed"
"""The account of a stand-in for Stripe that has no `/v1/account`."""


class Identity(Protocol):
    """What is known of an account before anything was read."""

    @property
    def api_base(self) -> str:
        """Where requests go."""

    @property
    def account_id(self) -> str | None:
        """What the user says the account is."""


class _Named(msgspec.Struct):
    id: str = ""
    hosted_invoice_url: str | None = None
    invoice_pdf: str | None = None
    pdf: str | None = None


class _Listed(msgspec.Struct):
    data: list[_Named]
    has_more: bool = False


async def identify(stripe: client.Client, source: Identity, nodes: Iterable[plan.Node]) -> str:
    """The account's id: from `/v1/account`, else from a refusal's text, else from a listed object.

    Raises Unauthorized or Unreachable when the key or the host is wrong, ServerFault or RateLimited when Stripe
    cannot say now, ConfigError when nothing tells.
    """
    told = await _told(stripe, "/v1/account", {})
    if told is None and source.account_id is None:
        lists = [n for n in nodes if not n.origin.parents and n.stream.api == "v1"]
        lists.sort(key=lambda node: not any(field.name in TELLING for field in node.stream.fields))
        told = await _hinted(stripe, lists[:ASKED])
    told = told or source.account_id
    if told is None and not source.api_base.rstrip("/").endswith("stripe.com"):
        return UNNAMED
    if told is None:
        raise errors.ConfigError(
            "This key may not read which account it belongs to, and nothing it can read tells; give the id "
            "as `account_id: acct_...` under the connection, or as --account-id acct_... (in Stripe's "
            "dashboard: Settings, Account details)."
        )
    return told


async def _hinted(stripe: client.Client, nodes: Iterable[plan.Node]) -> str | None:
    """What the newest object of some list tells; a list that fails now is only a reason when no other tells."""
    passing: errors.StripeError | None = None
    for node in nodes:
        try:
            told = await _told(stripe, node.origin.path, pages.list_params(node.origin, limit=1))
        except (errors.RateLimited, errors.ServerFault) as error:
            passing = error
        else:
            if told is not None:
                return told
    if passing is not None:
        raise passing
    return None


async def connected(stripe: client.Client) -> AsyncIterator[str]:
    """The ids of all connected accounts, page by page, each once.

    Between two pages lies the pull of a hundred accounts: when the last of them was disconnected meanwhile, the
    list is read from the top again.
    """
    origin = catalog.load().streams["accounts"].origins[0]
    after: str | None = None
    seen: set[str] = set()
    while True:
        try:
            answer = await stripe.get(origin.path, pages.list_params(origin, after=after))
        except errors.Missing:
            if after is None:
                raise
            after = None
            continue
        try:
            page = msgspec.json.decode(answer.body, type=_Listed)
        except msgspec.DecodeError as error:
            raise errors.BadPage(
                f"GET {origin.path} did not answer with a list of accounts: {error}"
            ) from None
        for row in page.data:
            if row.id not in seen:
                seen.add(row.id)
                yield row.id
        if not page.has_more:
            return
        if not page.data or page.data[-1].id == after:
            raise reading.stuck(origin.path)
        after = page.data[-1].id


async def given(listed: Iterable[str]) -> AsyncIterator[str]:
    """The accounts of a list."""
    for account in listed:
        yield account


async def _told(stripe: client.Client, path: str, params: pages.Params) -> str | None:
    try:
        answer = await stripe.get(path, params)
    except (errors.RateLimited, errors.ServerFault, errors.Unauthorized, errors.Unreachable):
        raise  # what passes says nothing about whose key it is
    except errors.StripeError as error:
        return client.account_in(str(error))
    try:
        if path == "/v1/account":
            return msgspec.json.decode(answer.body, type=_Named).id or None
        rows = msgspec.json.decode(answer.body, type=_Listed).data
    except msgspec.DecodeError:
        return None
    told = (client.account_in(getattr(row, name) or "") for row in rows for name in TELLING)
    return next(filter(None, told), None)
