"""The platform and its connected accounts: whose objects a request is about, with little room for many of them."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable

from tidegate import catalog
from tidegate.sandbox import clock as clocks
from tidegate.sandbox import objects
from tidegate.sandbox import world as worlds

MOST_BOOKS = 100
"""So many connected accounts are kept whole; of the others only what was written to them."""


class Accounts:
    """The books of all accounts."""

    def __init__(
        self,
        world: worlds.World,
        clock: clocks.Clock,
        facts: catalog.Catalog,
        *,
        record: bool = False,
        shuffle: bool = False,
        lag: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.world = world
        self._open = functools.partial(
            objects.Book, clock=clock, facts=facts, record=record, shuffle=shuffle, lag=lag
        )
        self.platform = self._open(world, world.account)
        self._awake: dict[str, objects.Book] = {}
        """Of connected accounts, the last asked for at the end."""
        self._asleep: dict[str, objects.Book] = {}
        """What was written to the others, without their worlds."""
        self._put_away = 0

    def has(self, account: str) -> bool:
        """Is it the platform or connected to it?"""
        return account == self.platform.account or self.platform.exists("accounts", account)

    def book(self, account: str = "") -> objects.Book:
        """The objects of the platform, or of a connected account, settled up to now."""
        book = self._book(account)
        book.settling.settle()
        return book

    def _book(self, account: str) -> objects.Book:
        if not account or account == self.platform.account:
            return self.platform
        book = self._awake.pop(account, None)
        if book is None:
            book = self._asleep.pop(account, None)
            if book is None:
                book = self._open(self._world_of(account), account)
            else:
                book.world = self._world_of(account)
        self._awake[account] = book
        if len(self._awake) > MOST_BOOKS:
            self._put_one_away()
        return book

    def _put_one_away(self) -> None:
        account = next(iter(self._awake))
        book = self._awake.pop(account)
        if book.changed:
            # A world is rebuilt in a millisecond, and takes a hundred times the room of what was written.
            book.world = self._nothing
            self._asleep[account] = book
        self._put_away += 1
        if self._put_away % MOST_BOOKS == 0:
            gc.collect()  # Worlds are full of cycles, and a sandbox's process collects them seldom.

    def _world_of(self, account: str) -> worlds.World:
        return self.world.for_account(account) if self.world.find("accounts", account) else self._nothing

    @functools.cached_property
    def _nothing(self) -> worlds.World:
        return worlds.build(accounts=0, counts={}, now=self.world.now)
