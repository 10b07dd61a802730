"""Whose objects these are: the account behind a key, even one that may read almost nothing, and connected ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping

import msgspec

from tidegate import catalog, errors
from tidegate.pull import plan, reading, scope
from tidegate.stripe import client, keys, pages

CHUNK = 64
"""Connected accounts whose state is read at a time."""

ASKED = 5
"""Lists asked for a hint before the user is asked."""

TELLING = ("hosted_invoice_url", "invoice_pdf", "pdf")
"""Addresses of an account's own documents, https://invoice.stripe.com/i/acct_.../...: a field `account` is no
hint, since on events and application fees it names a connected account."""

UNNAMED = "acct_unnamed"
"""The account of a stand-in for Stripe that has no `/v1/account`."""


class _Named(msgspec.Struct):
    id: str = ""
    hosted_invoice_url: str | None = None
    invoice_pdf: str | None = None
    pdf: str | None = None


class _Listed(msgspec.Struct):
    data: list[_Named]
    has_more: bool = False


async def first(stripe: client.Client, source: scope.Source, wanted: plan.Plan) -> tuple[str, client.Client]:
    """The first account that a pull would read, with a client that acts for it."""
    async for account, one in each_account(stripe, source, wanted):
        return account, one
    raise errors.ConfigError("The list `accounts` of the connection is empty; name one, or take it out.")


async def each_account(
    stripe: client.Client, source: scope.Source, wanted: plan.Plan, known: str = ""
) -> AsyncIterator[tuple[str, client.Client]]:
    """Every account to pull, with a client that acts for it; each has a budget of its own.

    `known` is the key's own account, where an earlier pull has found it out.
    """
    if source.accounts in ("own", "all") and keys.is_organisation(source.api_key):
        raise errors.ConfigError(
            "An organisation's key acts for one of its accounts at a time; list them under the connection: "
            "`accounts: [acct_...]`, and those connected to one of them as `acct_.../acct_...`."
        )
    if source.accounts in ("own", "all"):
        nodes = [walk.node for walk in wanted.walks]
        own = known or await identify(stripe, source, nodes)
        stripe.pace.belongs_to(own)
        stripe.pace.whose = own
        yield own, stripe
    if source.accounts == "own":
        return
    listed = connected(stripe) if source.accounts == "all" else given(source.accounts)
    async for account in listed:
        yield account.rpartition("/")[2], acting(stripe, source, account)


def acting(stripe: client.Client, source: scope.Source, account: str) -> client.Client:
    """A client that acts for an account, with a budget of its own."""
    return stripe.acting_for(account, scope.budget(source, account))


async def chunks(
    found: AsyncIterator[tuple[str, client.Client]],
) -> AsyncIterator[list[tuple[str, client.Client]]]:
    """Accounts by the chunk; the first comes alone, so that a wrong key is told before anything else."""
    chunk: list[tuple[str, client.Client]] = []
    most = 1
    try:
        async for each in found:
            chunk.append(each)
            if len(chunk) >= most:
                yield chunk
                chunk, most = [], CHUNK
    except errors.TidegateError:
        if chunk:
            yield chunk  # those that were listed before are read
        raise
    if chunk:
        yield chunk


def by_account(state: Mapping[str, str], chosen: set[str]) -> dict[str, dict[str, str]]:
    """The state of each account; a prefix may also have found that of others with a longer name."""
    found: dict[str, dict[str, str]] = {account: {} for account in chosen}
    for key, text in state.items():
        account = key.split("/", 2)[1]
        if account in found:
            found[account][key] = text
    return found


async def identify(stripe: client.Client, source: scope.Source, nodes: Iterable[plan.Node]) -> str:
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
