"""One rate budget for all workers: a process asks the metadata database for what its paces may spend.

A process has one purse. Each of its paces asks it for shares of its account's budget and of its endpoints'; one
thread asks the database for all of them at once, so no event loop ever waits for it. What Stripe refuses to one,
the others hear. What a pace does with its shares, and without any, is told in `shares`.
"""

from __future__ import annotations

import hashlib
import logging
import random
import threading
import time
import urllib.parse
from collections.abc import Callable, Sequence
from typing import TypeVar

from tidegate import errors
from tidegate.store import database, grants
from tidegate.stripe import keys, limiters, pace, shares

TOGETHER = 100
"""Accounts of one transaction."""

T = TypeVar("T")

log = logging.getLogger(__name__)


def account_name(api_base: str, api_key: str, account: str = "") -> str:
    """What the budget of an account is called; of the key, where its account is not known yet.

    The key itself cannot be told from its name.
    """
    host = urllib.parse.urlsplit(api_base).netloc.rpartition("@")[2] or "stripe"
    fingerprint = hashlib.sha256(b"tidegate budget " + api_key.strip().encode()).hexdigest()[:16]
    return f"{host}/{keys.mode(api_key.strip())}/{account.rpartition('/')[2] or f'key-{fingerprint}'}"


class Purse:
    """What a process has of all budgets; may be used by the event loops of several threads.

    `store` should be a connection of its own, which waits for a lost database for a few seconds only. Closing the
    purse gives back what is left, and leaves the store open.
    """

    def __init__(self, store: database.Database) -> None:
        self._store = store
        self._said: list[shares.Said] = []
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._lost = False
        self.phase = random.uniform(0.0, shares.PERIOD)
        self.exchanges = 0
        """Transactions so far."""

    def pace(
        self, account: str, limits: pace.Limits, budget: float = 0.8, max_in_flight: int = 100
    ) -> pace.Pace:
        """A pace that spends of the account's budget; a plain one where there are no limits."""
        if limits.per_account is None and limits.per_endpoint is None:
            return pace.Pace(limits, budget, max_in_flight)
        return shares.Shared(self, account, limits, budget, max_in_flight)

    def say(self, said: shares.Said) -> None:
        """Hand it to the thread; the pace hears the answer on its own loop."""
        with self._news:
            if self._closing:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="tidegate-budget", daemon=True)
                self._thread.start()
            self._said.append(said)
            self._news.notify()

    def close(self) -> None:
        """Say what is still to be said, and end; idempotent."""
        with self._news:
            self._closing = True
            self._news.notify()
        if self._thread is not None:
            self._thread.join()

    def lost(self) -> None:
        """Say once that the database cannot be reached."""
        if not self._lost:
            self._lost = True
            log.warning(
                "%s does not renew the shared rate budget; requests go on at a quarter of their rate, for ten"
                " minutes at most.",
                self._store.place,
            )

    def found(self) -> None:
        """Say once that it is back."""
        if self._lost:
            self._lost = False
            log.warning("%s renews the shared rate budget again.", self._store.place)

    @property
    def place(self) -> str:
        """The database, in a sentence."""
        return self._store.place

    def _serve(self) -> None:
        tidied = limiters.NEVER
        while True:
            with self._news:
                while not self._said and not self._closing:
                    self._news.wait()
                said, self._said = self._said, []
            if not said:
                return
            if time.monotonic() >= tidied + grants.FORGOTTEN:
                tidied = time.monotonic()
                self._safely(lambda: grants.prune(self._store))
            while said:
                some, said = said[:TOGETHER], said[TOGETHER:]
                self._exchange(some)

    def _exchange(self, said: Sequence[shares.Said]) -> None:
        left = {each.pace.holder: number for number, each in enumerate(said) if each.leaves}
        stays = [number >= left.get(each.pace.holder, 0) for number, each in enumerate(said)]
        asks = {
            (ask.name, ask.holder): ask
            for each, stay in zip(said, stays, strict=True)
            if stay
            for ask in each.asks
        }
        exchange = grants.Exchange(
            list(asks.values()),
            [refusal for each in said for refusal in each.refusals],
            [returned for each in said for returned in each.returned],
        )
        self.exchanges += 1
        granted = self._safely(lambda: grants.renew(self._store, exchange))
        for each, stay in zip(said, stays, strict=True):
            mine = None
            if granted is not None and stay:
                mine = {ask.endpoint: granted[ask.name, ask.holder] for ask in each.asks}
            try:
                each.loop.call_soon_threadsafe(each.pace.heard, each, mine)
            except RuntimeError:  # its loop has ended meanwhile: nobody uses the share
                if not each.leaves:
                    with self._news:
                        self._said.append(each.pace.leaving(each.loop, each.at))

    @staticmethod
    def _safely(work: Callable[[], T]) -> T | None:
        try:
            return work()
        except errors.TidegateError as error:
            log.debug("The shared budget was not renewed: %s", error)
        except Exception:
            log.exception("The shared budget was not renewed.")
        return None
