"""Who may ask: tokens as they are presented, and a limit for those that present wrong ones.

Nothing of a token is ever written anywhere, and which of unknown, revoked and expired it is, nobody is told.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import collections
import concurrent.futures
import ipaddress
import logging
import re
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from starlette import requests

from tidegate import errors
from tidegate.server import problems
from tidegate.store import database, tokens

T = TypeVar("T")

ANSWERED = 8.0
"""Seconds within which the metadata database must have done a piece of work."""
WAITING = 100
"""Pieces of work that wait for it, at the most; beyond, callers are to come again."""
BURST = 10
"""Wrong tokens that an address may present at once."""
EVERY = 6.0
"""Seconds after which it may present one more."""
ADDRESSES = 10_000
"""Addresses, and tokens, that are remembered."""

TOKEN = re.compile(rf"{tokens.PREFIX}[A-Za-z0-9_-]{{16,200}}")
REALM = 'Bearer realm="tidegate"'

log = logging.getLogger(__name__)


class Turns:
    """Has the metadata database do one piece of work after the other, off the event loop.

    In a thread of its own, so that however many ask here, nobody else's work waits for a thread.
    """

    def __init__(self, store: database.Database) -> None:
        self._store = store
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="calls")
        self._waiting = 0

    async def do(self, work: Callable[[database.Database], T]) -> T:
        """Do it; raises StoreError, or TimeoutError where that takes too long: it may be done all the same."""
        if self._waiting >= WAITING:
            raise errors.StoreUnreachable("Too many ask at once; try again.")
        self._waiting += 1
        try:
            async with asyncio.timeout(ANSWERED):
                return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._store)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Wait for what is being done; what has not begun is not done."""
        self._thread.shutdown(cancel_futures=True)


class Throttle:
    """So many failures of an address at once, then one in a while; a leaky bucket for each."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._levels: collections.OrderedDict[str, tuple[float, float]] = collections.OrderedDict()

    def wait(self, address: str) -> float:
        """The seconds until an address may try again; 0 where it may now.

        Those that try side by side all may: right ones among them are not to suffer.
        """
        return max(0.0, (self._level(address) + 1 - BURST) * EVERY)

    def fail(self, address: str) -> None:
        """An attempt has failed."""
        self._levels[address] = (min(BURST, self._level(address) + 1), self._clock())
        self._levels.move_to_end(address)
        while len(self._levels) > ADDRESSES:
            self._levels.popitem(last=False)

    def _level(self, address: str) -> float:
        level, at = self._levels.get(address, (0.0, 0.0))
        return max(0.0, level - (self._clock() - at) / EVERY)


class Watch:
    """Remembers which tokens were right, and which addresses present wrong ones; threads may share it."""

    def __init__(self, throttle: Throttle | None = None) -> None:
        self._throttle = throttle or Throttle()
        self._known: collections.OrderedDict[str, None] = collections.OrderedDict()
        """Digests of tokens that were right before: wrong ones from the same proxy do not keep them out."""
        self._lock = threading.Lock()

    def look(self, secret: str, asking: str) -> None:
        """Raises Problem for a token of an address that has presented too many wrong ones."""
        with self._lock:
            wait = 0.0 if tokens.digest(secret) in self._known else self._throttle.wait(asking)
        if wait:
            raise problems.Problem(
                429,
                "Too many wrong tokens came from this address; try again later.",
                {"Retry-After": str(int(wait) + 1)},
            )

    def note(self, secret: str, asking: str, *, right: bool) -> None:
        """What a token turned out to be."""
        known = tokens.digest(secret)
        with self._lock:
            if right:
                self._known[known] = None
                while len(self._known) > ADDRESSES:
                    self._known.popitem(last=False)
            elif self._known.pop(known, "unknown") == "unknown":
                self._throttle.fail(asking)


class Access:
    """Lets requests in; used on one event loop."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._watch = Watch()
        self._wrong = problems.Rarely(log)

    async def admit(
        self, request: requests.Request, scope: tokens.Scope, *, basic: bool = False
    ) -> tokens.Token:
        """The token of a request, which has this scope; with `basic` it may be a password, too. Raises Problem."""
        secret = presented(request.headers.get("authorization", ""), basic=basic)
        if secret is None:
            raise problems.Problem(
                401,
                "Give a token: Authorization: Bearer tg_...; `tidegate token create` makes one.",
                {"WWW-Authenticate": REALM},
            )
        token = await self._find(secret, address(request))
        if token is None:
            self._wrong.warn(
                "A request came with a token that is unknown, revoked or expired; it was refused."
            )
            raise problems.Problem(
                401,
                "This token is not valid; `tidegate token list` shows those that are.",
                {"WWW-Authenticate": f'{REALM}, error="invalid_token"'},
            )
        if not token.may(scope):
            raise problems.Problem(
                403,
                f"This needs a token with the scope {scope}; this one has {token.scope}.",
                {"WWW-Authenticate": f'{REALM}, error="insufficient_scope", scope="{scope}"'},
            )
        return token

    async def _find(self, secret: str, asking: str) -> tokens.Token | None:
        """The token, or None; raises Problem for an address that has presented too many wrong ones."""
        self._watch.look(secret, asking)
        token = None
        if TOKEN.fullmatch(secret):
            token = await self._turns.do(lambda store: tokens.find(store, secret))
        self._watch.note(secret, asking, right=token is not None)
        return token


def presented(header: str, *, basic: bool = False) -> str | None:
    """What an Authorization header presents: a bearer token, or with `basic` a password; None where it has none."""
    scheme, _, rest = header.partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip() or None
        case "basic" if basic:
            try:
                return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2] or None
            except (binascii.Error, UnicodeDecodeError):
                return None
    return None


def address(request: requests.Request) -> str:
    """Where a request comes from: an IPv4 address, or the network of 2^64 that an IPv6 one is of."""
    host = request.client.host if request.client is not None else ""
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, 64), strict=False))
