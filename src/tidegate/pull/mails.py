"""What Stripe delivers while a pull is under way, handed over wherever the pull can take it between two commits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence


class Mail:
    """Events that Stripe delivers while a pull is under way, by account, until they are applied."""

    def __init__(self) -> None:
        self._bodies: dict[str, Sequence[bytes]] = {}
        self._changed = asyncio.Event()

    def put(self, delivered: Mapping[str, Sequence[bytes]]) -> None:
        """Have it applied wherever the pull can do so between two commits."""
        self._bodies |= delivered

    def of(self, account: str) -> Sequence[bytes]:
        """What waits for an account."""
        return self._bodies.get(account, ())

    def everything(self) -> Mapping[str, Sequence[bytes]]:
        """What waits."""
        return dict(self._bodies)

    def heard(self, *accounts: str) -> None:
        """What waited for these is committed."""
        for account in accounts:
            self._bodies.pop(account, None)
        self._changed.set()

    async def empty(self) -> None:
        """Wait until everything is committed."""
        while self._bodies:
            self._changed.clear()
            await self._changed.wait()

    def clear(self) -> None:
        """Take back what was not applied."""
        self._bodies.clear()
        self._changed.set()
