"""The one way to Stripe: signed, paced, retried, and every failure told in one sentence of `errors`."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import logging
import math
import re
import urllib.parse
import urllib.request
import uuid
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp
import msgspec
import yarl

import tidegate
from tidegate import errors
from tidegate.stripe import answers, attempts, happenings, keys, limiters, pages, writes
from tidegate.stripe import clock as clocks
from tidegate.stripe import pace as paces

API_BASE = "https://api.stripe.com"
TIMEOUT = 80.0
"""Seconds for one attempt; the same as in Stripe's own packages."""
CONNECT_TIMEOUT = 15.0
MAX_ATTEMPTS = 8
FIRST_ATTEMPTS = 3
"""Attempts at a host that never answered: it is rather named wrongly than down."""
RATE_LIMIT_PATIENCE = 600.0
"""Seconds of nothing but 429 from an endpoint before a request gives up."""

mode = keys.mode
masked = keys.masked
account_in = answers.account_in
Response = attempts.Response
Happening = happenings.Happening
Listener = happenings.Listener

EMPTY: pages.Form = {}
SAFE_PATH = re.compile(r"[A-Za-z0-9_./-]+")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """What was sent and how it went; one per stream, and one per client."""

    requests: int = 0
    """Attempts, retries included."""
    retries: int = 0
    rate_limited: int = 0
    server_errors: int = 0

    def add(self, more: Tally, sign: int = 1) -> None:
        """Count what another one counted, or take it out again."""
        self.requests += sign * more.requests
        self.retries += sign * more.retries
        self.rate_limited += sign * more.rate_limited
        self.server_errors += sign * more.server_errors


class Client:
    """Talks to one account with one key; an async context manager.

    Safe to use by many tasks of one event loop. Every attempt takes a slot of `pace`. `listener` is told what
    requests come to, the last of it when the client is left; clients for other accounts tell the same one.
    """

    def __init__(
        self,
        api_key: str,
        *,
        api_base: str = API_BASE,
        api_version: str,
        account: str | None = None,
        context: str | None = None,
        pace: paces.Pace,
        timeout: float = TIMEOUT,
        max_attempts: int = MAX_ATTEMPTS,
        rate_limit_patience: float = RATE_LIMIT_PATIENCE,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        listener: Listener | None = None,
    ) -> None:
        self._key = keys.checked(api_key)
        self._base, self._host = _base(api_base)
        self.api_version = api_version
        self.pace = pace
        self._paces = weakref.WeakSet([pace])
        self.clock = clocks.Clock()
        self.tally = Tally()
        self._log = None if listener is None else happenings.Log(listener, self.clock.monotonic)
        self._timeout = timeout
        self._max_attempts = max_attempts
        self._rate_limit_patience = rate_limit_patience
        self._sleep = sleep
        self._reached = False
        self._session: aiohttp.ClientSession | None = None
        self._writing: aiohttp.ClientSession | None = None
        self._account = account or ""
        self._headers = {
            "Authorization": f"Bearer {self._key}",
            "Stripe-Version": api_version,
            "User-Agent": f"Tidegate/{tidegate.__version__}",
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
        }
        if account:
            self._headers["Stripe-Account"] = account
        if context:
            self._headers["Stripe-Context"] = context

    def acting_for(self, account: str, pace: paces.Pace) -> Client:
        """A client for another account, over the same connections; usable as long as this one is open.

        A connected account, or one of the organisation that the key belongs to; `acct_1/acct_2` is the way to an
        account that is connected to one of the organisation's (https://docs.stripe.com/context).
        """
        other = copy.copy(self)
        named = "Stripe-Context" if keys.is_organisation(self._key) or "/" in account else "Stripe-Account"
        other._headers = self._headers | {named: account}
        other._account = account.rpartition("/")[2]
        other.pace = pace
        self._paces.add(pace)
        other.tally = Tally()
        return other

    async def __aenter__(self) -> Client:
        connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=300, keepalive_timeout=60)
        self._session = self._over(connector)
        # Traces cost every request something, and reads need none.
        self._writing = self._over(connector, trace_configs=[writes.tracing()], connector_owner=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None, "The client was left without having been entered."
        for pace in self._paces:
            pace.close()
        for session in filter(None, (self._writing, self._session)):
            await session.close()
        self._session = self._writing = None
        if self._log is not None:
            self._log.flush()

    def _over(self, connector: aiohttp.BaseConnector, **more: Any) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(self._timeout, sock_connect=min(CONNECT_TIMEOUT, self._timeout)),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=2**18,
            proxy=proxy(self._base),
            **more,
        )

    async def get(
        self,
        path: str,
        params: Mapping[str, str | int | Sequence[str]] = {},
        *,
        endpoint: str = "",
        tally: Tally | None = None,
    ) -> Response:
        """Read; `endpoint` is the path's template, under which Stripe limits it.

        Raises a StripeError, Unreachable or BadPage after the last retry; never answers other than 2xx.
        """
        query = pages.query(params, v2=pages.is_v2(path)) if params else ""
        return await self._call(attempts.Request("GET", path, _named("GET", path, endpoint), query), tally)

    async def post(
        self,
        path: str,
        values: pages.Form = EMPTY,
        *,
        idempotency_key: str = "",
        endpoint: str = "",
        tally: Tally | None = None,
    ) -> Response:
        """Create or update; a form body, JSON for v2.

        Every attempt carries the same idempotency key (a fresh one when none is given), so whatever happens
        on the way it is done once at most within Stripe's 24 hours.
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        if pages.is_v2(path):
            body = msgspec.json.encode(values)
            headers["Content-Type"] = "application/json"
        else:
            body = pages.form(values).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        request = attempts.Request("POST", path, _named("POST", path, endpoint), body=body, headers=headers)
        return await self._call(request, tally)

    async def delete(
        self,
        path: str,
        params: Mapping[str, str | int | Sequence[str]] = {},
        *,
        idempotency_key: str = "",
        endpoint: str = "",
        tally: Tally | None = None,
    ) -> Response:
        """Delete; Missing may mean that an earlier attempt did it and its answer was lost."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        query = pages.query(params, v2=pages.is_v2(path)) if params else ""
        request = attempts.Request("DELETE", path, _named("DELETE", path, endpoint), query, headers=headers)
        return await self._call(request, tally)

    async def send(
        self,
        write: writes.Write,
        *,
        before: Callable[[], object],
        attempting: Callable[[], Awaitable[object]] | None = None,
        earlier: writes.Effect = "none",
        tally: Tally | None = None,
    ) -> writes.Reply | writes.Fault:
        """Send exactly these bytes, again while that may help, and tell what came of it; raises nothing of that.

        `attempting` is awaited `writes.ANNOUNCED` seconds at most before an attempt leaves, and not while it has
        its turn, so that a slow disk costs no turns; `before` is called before every socket write, when the
        connection is there. What one of them raises ends it in a Fault, with nothing more sent. Nothing is
        ever sent by itself, outside of an attempt. `earlier`: what may have come of it before this call.
        """
        headers = {"Stripe-Version": write.api_version, "Idempotency-Key": write.idempotency_key}
        if write.method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        endpoint = _named(write.method, write.path, write.endpoint)
        request = attempts.Request(write.method, write.path, endpoint, "", write.body, headers)
        live = keys.mode(self._key) == "live"
        course = writes.Course(write, before, attempting, live=live, earlier=earlier)
        outcome = await self._settle(request, tally, course)
        return course.reply(outcome) if isinstance(outcome, Response) else course.fault(outcome)

    async def _call(self, request: attempts.Request, tally: Tally | None) -> Response:
        outcome = await self._settle(request, tally)
        if isinstance(outcome, attempts.Failure):
            raise outcome.error
        return outcome

    async def _settle(
        self, request: attempts.Request, tally: Tally | None, course: writes.Course | None = None
    ) -> Response | attempts.Failure:
        url = self._url(request)
        tallies = (self.tally,) if tally is None else (self.tally, tally)
        failures = limited = 0
        began = math.inf
        while True:
            again = failures + limited > 0
            if course is not None and not await course.announce():
                return attempts.STOPPED
            async with self.pace.slot(request.endpoint, again=again) as slot:
                began = min(began, slot.sent_at)
                if course is not None:
                    if not await course.begin():
                        return attempts.STOPPED
                    slot.now()
                for each in tallies:
                    each.requests += 1
                    each.retries += again
                if request.method == "GET":
                    self.pace.reads += 1
                outcome = await self._attempt(request, url, failures + 1, course)
                if isinstance(outcome, Response):
                    return outcome
                if outcome.limiter is not None:
                    slot.limited(outcome.limiter, outcome.retry_after)

            if course is not None:
                course.failed(outcome.answer)
                if course.stopped is not None:
                    return outcome
            for each in tallies:
                each.rate_limited += outcome.status == 429
                each.server_errors += outcome.status >= 500
            if not outcome.retriable:
                self._tell("refused", request, outcome, failures + 1)
                return outcome
            if outcome.limiter is not None:
                limited += 1
                self._tell("limited", request, outcome, limited, outcome.retry_after or 0.0)
                if self._out_of_patience(request.endpoint, began):
                    return outcome
                # The limiter waits for all; a request that is refused again steps back by itself, too.
                wait = attempts.jittered(limited - 1, limiters.LONGEST_PAUSE) if limited > 1 else 0.0
            else:
                failures += 1
                if failures >= self._attempts(outcome):
                    self._tell("refused", request, outcome, failures)
                    return outcome
                wait = max(
                    attempts.jittered(failures), min(outcome.retry_after or 0.0, limiters.LONGEST_ORDER)
                )
                self._tell("retry", request, outcome, failures, wait)
            log.debug("%s again in %.1f s: %s", request.endpoint, wait, type(outcome.error).__name__)
            if wait:
                await self._sleep(wait)

    async def _attempt(
        self, request: attempts.Request, url: yarl.URL, number: int, course: writes.Course | None
    ) -> Response | attempts.Failure:
        session = self._session if course is None else self._writing
        assert session is not None, "Use the client as `async with Client(...) as client`."
        line = attempts.Line(session, self.clock, self._timeout, self._reached)
        call = answers.Call(request.endpoint, self._host, masked(self._key), self._account)
        headers = {**self._headers, **request.headers} if request.headers else self._headers
        sent = self.clock.monotonic()
        outcome = await attempts.attempt(line, request, url, headers, call, number, course)
        if isinstance(outcome, Response):
            self._reached = True
            if self._log is not None:
                took = self.clock.monotonic() - sent
                self._log.answered(request.endpoint, self._account, len(outcome.body), took, outcome.status)
        return outcome

    def _tell(
        self,
        kind: happenings.Kind,
        request: attempts.Request,
        failure: attempts.Failure,
        attempt: int,
        seconds: float = 0.0,
    ) -> None:
        if self._log is None:
            return
        error = failure.error
        if failure.limiter is not None:
            reason = failure.limiter
        elif isinstance(error, errors.StripeError):
            reason = error.permission or error.code
        else:
            reason = type(error).__name__
        told = Happening(kind, request.endpoint, self._account, status=failure.status, reason=reason)
        self._log.tell(dataclasses.replace(told, seconds=seconds, attempt=attempt))

    def _attempts(self, failure: attempts.Failure) -> int:
        if self._reached or failure.status:
            return self._max_attempts
        return min(FIRST_ATTEMPTS, self._max_attempts)

    def _out_of_patience(self, endpoint: str, began: float) -> bool:
        """Has the endpoint only refused for long enough, or this request for three times as long?"""
        now = asyncio.get_running_loop().time()
        quiet_since = max(began, self.pace.answered_at(endpoint))
        patience = self._rate_limit_patience
        return now - quiet_since >= patience or now - began >= 3 * patience

    def _url(self, request: attempts.Request) -> yarl.URL:
        path = request.path
        assert path.startswith(("/v1/", "/v2/")), f"{path} is no path of Stripe's API."
        if not SAFE_PATH.fullmatch(path):
            path = urllib.parse.quote(path, safe="/%:@!$&'()*+,;=~")
        return yarl.URL(f"{self._base}{path}?{request.query}".rstrip("?"), encoded=True)


def _base(api_base: str) -> tuple[str, str]:
    """Scheme and host of the API, and the host alone."""
    shown = pages.keyless(api_base)
    parts = urllib.parse.urlsplit(api_base.strip())
    try:
        host = parts.hostname
        _ = parts.port
    except ValueError:
        host = None
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        raise errors.ConfigError(
            f"The api_base {shown!r} is no address; write it with its scheme and host alone, like {API_BASE}."
        )
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise errors.ConfigError(
            f"The api_base {shown!r} has a path; write scheme and host alone, like {API_BASE}."
        )
    return f"{parts.scheme}://{parts.netloc}", parts.netloc


def _named(method: str, path: str, endpoint: str) -> str:
    return f"{method} {endpoint or paces.template(path)}"


def proxy(base: str) -> yarl.URL | None:
    """The proxy that the environment names for this host; never one for this very machine.

    Not left to aiohttp's `trust_env`, which reads ~/.netrc on every request and lets it replace the key.
    """
    url = yarl.URL(base)
    host = url.host or ""
    if host == "localhost" or host.startswith("127.") or host == "::1" or urllib.request.proxy_bypass(host):
        return None
    named = urllib.request.getproxies().get(url.scheme)
    if not named:
        return None
    return yarl.URL(named if "://" in named else f"http://{named}")
