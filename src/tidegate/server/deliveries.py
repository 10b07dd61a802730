"""The route that Stripe posts events to: who signed is known before anything is read, what is answered 200 is kept.

Deliveries that come together share one transaction, so that the disk is waited for once. A delivery that cannot be
kept now is answered 503, and Stripe sends it again for three days. A stranger learns nothing from any answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Literal

import fastapi
import msgspec
from starlette import requests

from tidegate import config, errors
from tidegate.engine import consents, endpoints, feed, traffic
from tidegate.store import database, deliveries
from tidegate.stripe import keys, webhooks

LARGEST = 4 * 2**20
"""Bytes of one delivery; Stripe's largest known events are far below a megabyte."""
MOST_BYTES = 64 * 2**20
"""Bytes of all deliveries under way; beyond, they are to come again later."""
READ = 10.0
"""Seconds within which a delivery's body must have come."""
ANSWERED = 8.0
"""Seconds within which it is kept, or else told to come again."""
WAIT = 5.0
"""Seconds for which this route's metadata database is waited for; others are more patient."""
GATHERED = 0.02
"""Seconds for which deliveries that come together are waited for: each transaction costs as much as ten of them."""
TOGETHER = 500
"""Deliveries that are kept in one transaction."""
FRESH = 60.0
"""Seconds after which the secrets of a connection are read again."""
AGAIN = 1.0
"""Seconds between two readings of them because of a signature that none of them made."""
LOGGED = 60.0
"""Seconds between two lines about the same trouble."""
RETRY_AFTER = "10"

log = logging.getLogger(__name__)


Word = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,255}$")]


class Event(msgspec.Struct):
    """What is read of an event; the rest is kept as it came."""

    id: Word
    type: Word
    created: Annotated[int, msgspec.Meta(ge=0, lt=2**40)]
    object: Literal["event"]
    livemode: bool = False
    account: Word | None = None
    context: Word | None = None


class Keeper:
    """Keeps deliveries in the metadata database, all that wait in one transaction; used on one event loop."""

    def __init__(self, store: database.Database, arrivals: feed.Arrivals) -> None:
        self._store, self._arrivals = store, arrivals
        self._waiting: list[tuple[deliveries.Delivery, asyncio.Future[None]]] = []
        self._came = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Keeper:
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None, "It was entered."
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def keep(self, delivery: deliveries.Delivery) -> None:
        """Returns once it is durable; raises StoreError, or TimeoutError where that takes too long."""
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((delivery, kept))
        self._came.set()
        async with asyncio.timeout(ANSWERED):
            await kept

    async def _work(self) -> None:
        while True:
            await self._came.wait()
            await asyncio.sleep(GATHERED)
            self._came.clear()
            # Whoever was told to come again meanwhile does so.
            waiting = [each for each in self._waiting if not each[1].done()]
            batch, self._waiting = waiting[:TOGETHER], waiting[TOGETHER:]
            if self._waiting:
                self._came.set()
            if not batch:
                continue
            try:
                new = await asyncio.to_thread(deliveries.keep, self._store, [each for each, _ in batch])
            except Exception as error:
                for _, kept in batch:
                    if not kept.done():
                        kept.set_exception(error)
                continue
            for _, kept in batch:
                if not kept.done():
                    kept.set_result(None)
            if new:
                self._arrivals.tell()


class Door:
    """What is known of one connection: which events it wants, and who may have signed them."""

    def __init__(self, file: config.Config, store: database.Database, name: str) -> None:
        self.file, self._store, self._name = file, store, name
        found = file.stripe[name]
        key = found.api_key or (found.oauth.client_secret if found.oauth is not None else None)
        text = "" if key is None else key.get_secret_value()
        self._live = keys.mode(text) == "live"
        self._organisation = keys.is_organisation(text)
        self._accounts = found.accounts
        self._secrets: tuple[str, ...] = ()
        self._read_at: float | None = None
        self._reading: asyncio.Task[errors.TidegateError | None] | None = None

    async def check(self, header: str | None, body: bytes) -> None:
        """Raise Refused unless Stripe signed the body for this connection, StoreError where that is not known."""
        now = time.time()
        if self._read_at is None:
            await self._read()
        elif time.monotonic() - self._read_at >= FRESH:
            self._begin()  # what is known holds until it is read
        try:
            webhooks.verify(header, body, self._secrets, now)
        except webhooks.Refused as refused:
            # The secret may have been made a moment ago, by another process.
            late = self._read_at is not None and time.monotonic() - self._read_at >= AGAIN
            if refused.reason != "no match" or not late:
                raise
            await self._read()
            webhooks.verify(header, body, self._secrets, now)

    def account(self, event: Event) -> str | None:
        """The account that an event is filed under, empty for the key's own; None where nobody wants it.

        Endpoints of live mode also hear of test mode in connected accounts (https://docs.stripe.com/connect/webhooks).
        """
        if event.livemode != self._live:
            return None
        account = event.account or ""
        if not account and self._organisation:
            account = (event.context or "").rpartition("/")[2]
        if self._accounts == "own":
            return None if account else ""
        if self._accounts == "all":
            return account
        chosen = {path.rpartition("/")[2] for path in self._accounts}
        return account if account in chosen else None

    async def _read(self) -> None:
        """Read the secrets, or wait until they are read; raises what went wrong where none are known."""
        async with asyncio.timeout(ANSWERED):
            error = await asyncio.shield(self._begin())
        if error is not None and not self._secrets:
            self._read_at = None
            raise error

    def _begin(self) -> asyncio.Task[errors.TidegateError | None]:
        """One reading at a time, however many wait for it."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._look())
        return self._reading

    async def _look(self) -> errors.TidegateError | None:
        try:
            self._secrets = await asyncio.to_thread(endpoints.secrets, self.file, self._store, self._name)
        except errors.TidegateError as error:
            return error
        else:
            return None
        finally:
            self._read_at, self._reading = time.monotonic(), None


class Receiver:
    """Answers deliveries; entered while they are served."""

    def __init__(
        self, now: Callable[[], config.Config], store: database.Database, arrivals: feed.Arrivals
    ) -> None:
        """`now` answers with the configuration as it is then."""
        self._now, self._store = now, store
        self._doors: dict[str, Door] = {}
        self._keeper = Keeper(store, arrivals)
        self._bytes = 0
        self._told: dict[tuple[str, str], float] = {}

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Keep what comes, for so long."""
        async with self._keeper:
            yield

    async def receive(self, name: str, request: requests.Request) -> fastapi.Response:
        """One delivery."""
        door = self._door(name)
        if door is None:
            return fastapi.responses.JSONResponse({"detail": "Not Found"}, status_code=404)
        header = request.headers.get("stripe-signature")
        try:
            webhooks.signed(header, time.time())
            with self._room(request) as take:
                body = await _body(request, take)
                await door.check(header, body)
                return await self._keep(door, name, body)
        except webhooks.Refused as refused:
            self._say(name, refused.reason, str(refused))
            return fastapi.Response(status_code=400)
        except _TooLarge:
            return fastapi.Response(status_code=413)
        except requests.ClientDisconnect:
            return fastapi.Response(status_code=400)
        except _Full:
            return _later()
        except errors.ConfigError as error:
            self._say(name, "configuration", str(error))
            return _later()
        except (errors.StoreError, TimeoutError) as error:
            said = str(error) or "The metadata database is slow."
            self._say(name, "store", f"{said} What Stripe delivers is to come again.")
            return _later()

    def _door(self, name: str) -> Door | None:
        """The door of a connection, another one when the configuration says something else of it; None for none."""
        file, known = self._now(), self._doors.get(name)
        if known is not None and known.file is file:
            return known
        if name not in file.stripe:
            self._doors.pop(name, None)
            return None
        if known is not None and known.file.stripe[name] == file.stripe[name]:
            known.file = file
        else:
            self._doors[name] = Door(file, self._store, name)
        return self._doors[name]

    async def _keep(self, door: Door, name: str, body: bytes) -> fastapi.Response:
        """Keep a delivery that Stripe has signed."""
        event = _event(body)
        if event is None:
            # Answered like this, the endpoint shows as failing in Stripe's dashboard, where it was made.
            self._say(
                name, "no event", "A delivery is no snapshot event; give the endpoint that payload style."
            )
            return fastapi.Response(status_code=400)
        if event.type == traffic.TEST:
            async with asyncio.timeout(ANSWERED):
                await asyncio.to_thread(self._store.now)
            return fastapi.Response(status_code=200)
        if event.type == consents.EVENT:
            async with asyncio.timeout(ANSWERED):
                await asyncio.to_thread(consents.withdrawn, door.file, self._store, body)
        account = door.account(event)
        if account is not None:
            await self._keeper.keep(
                deliveries.Delivery(name, account, event.id, event.type, event.created, body.decode())
            )
        return fastapi.Response(status_code=200)

    @contextlib.contextmanager
    def _room(self, request: requests.Request) -> Iterator[Callable[[int], None]]:
        """Room for a body; what it takes of it is given back at the end."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if taken + size > LARGEST:
                raise _TooLarge
            if self._bytes + size > MOST_BYTES:
                raise _Full
            taken += size
            self._bytes += size

        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced[:12]) > LARGEST:
            raise _TooLarge
        try:
            yield take
        finally:
            self._bytes -= taken

    def _say(self, name: str, what: str, text: str) -> None:
        """A line in the log, not more than one a minute of a kind."""
        now = time.monotonic()
        if now - self._told.get((name, what), -LOGGED) >= LOGGED:
            self._told[name, what] = now
            log.warning("webhooks of %s: %s", name, text)


class _TooLarge(Exception):
    """A body beyond LARGEST."""


class _Full(Exception):
    """All bodies under way are beyond MOST_BYTES."""


async def _body(request: requests.Request, take: Callable[[int], None]) -> bytes:
    parts = []
    async with asyncio.timeout(READ):
        async for part in request.stream():
            take(len(part))
            parts.append(part)
    return b"".join(parts)


def _event(body: bytes) -> Event | None:
    """The event in a body; None where there is none, or none that a database takes as text."""
    try:
        body.decode()
        return None if b"\0" in body else msgspec.json.decode(body, type=Event)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _later() -> fastapi.Response:
    return fastapi.Response(status_code=503, headers={"Retry-After": RETRY_AFTER})
