"""For whom a pull acts: its accounts, and the clients that act for them, kept from pull to pull."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from tidegate.pull import accounts, cycle, plan, scope
from tidegate.stripe import client
from tidegate.warehouse import base

KEPT = 4 * accounts.CHUNK
"""Clients that are kept for the next time."""


def mark(source: scope.Source) -> str:
    """A short text that stands for a key and its Stripe: the state `key/MARK` is the account that the key is of."""
    return cycle.fingerprint((source.api_key, source.api_base))


class Acting:
    """The accounts of a pull; `own` is the key's own, once it is known, where that is one of them."""

    def __init__(
        self, source: scope.Source, stripe: client.Client, wanted: plan.Plan, warehouse: base.Warehouse
    ) -> None:
        self._source, self._stripe, self._wanted, self._warehouse = source, stripe, wanted, warehouse
        self._clients: dict[str, client.Client] = {}
        self.own = ""
        self.mark = mark(source)
        self.found: dict[str, str | None] = {}
        """The state by which the next pull knows whose the key is, where it did not yet."""

    async def each(self) -> AsyncIterator[tuple[str, client.Client]]:
        """Every account to pull; whose the key is is remembered from pull to pull, once it has pulled."""
        name = f"key/{self.mark}"
        known = (await asyncio.to_thread(self._warehouse.state, name)).get(name, "")
        if known and not await asyncio.to_thread(self._warehouse.state, f"tail/{known}"):
            known = ""
        async for account, one in accounts.each_account(self._stripe, self._source, self._wanted, known):
            if one is self._stripe:
                self.own = account
                if account != known:
                    self.found = {name: account}
            yield account, one

    async def client(self, path: str) -> client.Client:
        """The client that acts for an account, kept for the next time."""
        if self._source.accounts in ("own", "all") and not self.own:
            async for _ in self.each():
                break
        if path == self.own:
            return self._stripe
        if path not in self._clients:
            if len(self._clients) >= KEPT:
                self._clients.clear()
            self._clients[path] = accounts.acting(self._stripe, self._source, path)
        return self._clients[path]

    def reads(self, account: str) -> bool:
        """Is an account, or under no name the key's own, among those of this pull?"""
        chosen = self._source.accounts
        if not account:
            return chosen in ("own", "all") and bool(self.own)
        return chosen == "all" or any(
            account == path.rpartition("/")[2] for path in chosen if chosen != "own"
        )
