"""Webhooks: every event is posted to the endpoints that ask for its type, signed as Stripe signs, and retried."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import hmac
import logging
from collections.abc import Callable, Coroutine, Sequence

import aiohttp
import msgspec

from tidegate.sandbox import clock as clocks
from tidegate.sandbox import objects, versions

RETRIES = (1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0)
"""Seconds before each further attempt; Stripe goes on for up to three days."""

log = logging.getLogger(__name__)


def signature(secret: str, payload: bytes, when: int) -> str:
    """The `Stripe-Signature` header: `t=...,v1=...`, HMAC-SHA256 over `t.payload`."""
    digest = hmac.new(secret.encode(), b"%d.%b" % (when, payload), hashlib.sha256).hexdigest()
    return f"t={when},v1={digest}"


class Postman:
    """Delivers events to the endpoints that were created through the API, each in its own task."""

    def __init__(
        self,
        clock: clocks.Clock,
        current: str,
        platform: Callable[[], objects.Book],
        retries: Sequence[float] = RETRIES,
    ) -> None:
        self.retries = tuple(retries)
        self.delivered = 0
        self.failed = 0
        self.secrets: dict[str, str] = {}
        """Signing secrets by endpoint; an endpoint shows its own only at creation."""
        self.connect: set[str] = set()
        """Endpoints that hear connected accounts instead of their own."""
        self._clock = clock
        self._current = current
        self._platform = platform
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def deliver(self, book: objects.Book, event: objects.Object, obj: objects.Object) -> int:
        """Post the event to whoever wants it; how many do. `obj` is what it is about, at the current version."""
        wanting = 0
        for id, secret in self.secrets.items():
            endpoint, connect = self._endpoint(id, book)
            if endpoint is None or endpoint.get("status") == "disabled":
                continue
            wanted = endpoint["enabled_events"]
            if "*" not in wanted and event["type"] not in wanted:
                continue
            shown = dict(event)
            if connect:
                shown["account"] = book.account
            if version := endpoint.get("api_version"):
                shown["api_version"] = version
                rendered = versions.render(book, copy.deepcopy(obj), version, self._current)
                shown["data"] = {**event["data"], "object": rendered}
            wanting += 1
            shown["pending_webhooks"] = 1
            payload = msgspec.json.format(msgspec.json.encode(shown), indent=2)
            self._start(self._post(endpoint["url"], secret, payload, book, event["id"]))
        return wanting

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Stop all deliveries."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _endpoint(self, id: str, book: objects.Book) -> tuple[objects.Object | None, bool]:
        """The endpoint if it hears this account: its own events, or with `connect` those of connected ones."""
        if id not in self.connect:
            return book.get("webhook_endpoints", id), False
        platform = self._platform()
        return (None if book is platform else platform.get("webhook_endpoints", id)), True

    def _start(self, delivery: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(delivery)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _post(self, url: str, secret: str, payload: bytes, book: objects.Book, id: str) -> None:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=30)
            self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        for wait in (*self.retries, None):
            headers = {
                "Content-Type": "application/json; charset=utf-8",
                "Stripe-Signature": signature(secret, payload, self._clock.now()),
                "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            }
            try:
                async with self._session.post(url, data=payload, headers=headers) as answer:
                    accepted = answer.status // 100 == 2
            except (aiohttp.ClientError, TimeoutError):
                accepted = False
            if accepted:
                self.delivered += 1
                stored = book.get("events", id)
                if stored is not None:
                    stored["pending_webhooks"] -= 1
                    book.put("events", stored)
                return
            if wait is not None:
                await asyncio.sleep(wait)
        self.failed += 1
        log.warning("Gave up on event %s: its endpoint never answered with 2xx.", id)
