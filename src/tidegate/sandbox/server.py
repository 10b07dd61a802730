"""The stateful local Stripe: one aiohttp handler over the catalog's routes, with Stripe's headers and errors.

A request passes, in this order: key, account, version, route, permission, limits, faults, idempotency, effect.
All state changes happen between two awaits, so requests are atomic.
"""

from __future__ import annotations

import asyncio
import email.utils
import functools
import hashlib
import logging
import random
import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web
from isal import igzip

from tidegate import catalog
from tidegate.sandbox import (
    accounts,
    control,
    events,
    faults,
    forms,
    idempotency,
    keys,
    limits,
    objects,
    operations,
    prefixes,
    refusals,
    routes,
    traffic,
    versions,
    webhooks,
    wire,
    writes,
)
from tidegate.sandbox import clock as clocks
from tidegate.sandbox import world as worlds

log = logging.getLogger(__name__)


@dataclass
class Stats:
    """What was asked since the start or the last reset."""

    requests: Counter[str] = field(default_factory=Counter)
    """By "METHOD template"."""
    statuses: Counter[int] = field(default_factory=Counter)
    limited: Counter[str] = field(default_factory=Counter)
    """429 by the limiter's name."""
    by_account: Counter[str] = field(default_factory=Counter)
    under_way: Counter[str] = field(default_factory=Counter)
    """Admitted and not yet answered, by "METHOD template"."""
    running: int = 0
    max_running: int = 0
    bytes: int = 0

    def reset(self) -> None:
        """Begin to count anew."""
        running, under_way = self.running, self.under_way
        self.__init__()  # type: ignore[misc]  # a dataclass's __init__ is its definition of "new"
        self.running = self.max_running = running
        self.under_way = under_way


@dataclass
class Latency:
    """How long answers take: half of it before the request is evaluated, half after."""

    ms: float = 0.0
    jitter_ms: float = 0.0


@dataclass
class _Asked:
    """A request on its way: what is known about it so far."""

    id: str
    method: str
    path: str
    api: refusals.Api
    headers: dict[str, str]
    key: str = ""
    """As errors show it."""
    endpoint: str = ""
    account: str = ""
    gate: limits.Gate | None = None
    """That let it in, and waits for it to leave."""


class Sandbox:
    """One local Stripe: a platform, its connected accounts, and everything that can go wrong."""

    def __init__(
        self,
        world: worlds.World,
        *,
        limit: limits.Limits = limits.OFF,
        latency_ms: float = 0.0,
        jitter_ms: float = 0.0,
        fault: tuple[faults.Fault, ...] = (),
        seed: int = 1,
        gzip: bool = True,
        event_delay: float = 0.0,
        event_spread: bool = False,
        shuffle: bool = True,
        record: bool = False,
        search_delay: float = 0.0,
        api_version: str = "",
        clock: clocks.Clock | None = None,
        open_keys: bool = True,
        webhook_retries: tuple[float, ...] = webhooks.RETRIES,
    ) -> None:
        self.facts = catalog.load()
        self.world = world
        self.clock = clock or clocks.Clock()
        self.keys = keys.Keys(open=open_keys)
        self.gate = limits.Gate(limit)
        self.script = faults.Script(fault, seed)
        self.latency = Latency(latency_ms, jitter_ms)
        self.gzip = gzip
        self.search_delay = search_delay
        self.stats = Stats()
        self.ledger = idempotency.Ledger()
        self.names = prefixes.Names(seed)
        self.journal = events.Journal(self.facts.api_version, self.names, seed)
        self.journal.delay = event_delay
        self.journal.spread = event_spread
        if api_version:
            self.journal.begin(api_version)
        self.accounts = accounts.Accounts(world, self.clock, self.facts, record=record, shuffle=shuffle)
        self.platform = self.accounts.platform
        self.postman = webhooks.Postman(
            self.clock, self.facts.api_version, lambda: self.platform, webhook_retries
        )
        self.journal.deliver = self.postman.deliver
        self._chance = random.Random(f"server {seed}")
        self._routes = _routes()
        self._runner: web.ServerRunner | None = None
        self._date = (0, "")

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen; the base URL."""
        server = web.Server(self.handle, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        listener = socket.create_server((host, port), backlog=1024, family=_family(host))
        # A page of 100 objects fits into the buffer whole: one system call sends it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        await web.SockSite(self._runner, listener, backlog=1024).start()
        address = self._runner.addresses[0]
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        return f"http://{shown}:{address[1]}"

    async def stop(self) -> None:
        """Close the port, all connections and all deliveries."""
        await self.postman.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def become(self, other: Sandbox) -> None:
        """Be another sandbox from now on, on the same port; nothing stays of this one."""
        await self.postman.close()
        runner = self._runner
        self.__dict__.update(other.__dict__)
        self._runner = runner

    def book(self, account: str = "") -> objects.Book:
        """The objects of the platform, or of a connected account, settled up to now."""
        return self.accounts.book(account)

    def has_account(self, account: str) -> bool:
        """Is it the platform or connected to it?"""
        return self.accounts.has(account)

    def call(
        self, account: str = "", request_id: str = "", idempotency_key: str | None = None
    ) -> writes.Call:
        """A writer on an account's objects."""
        return writes.Call(
            self.book(account),
            self.journal,
            self.names,
            self.postman.secrets,
            self.postman.connect,
            request_id,
            idempotency_key,
        )

    def life(self, plan: traffic.Plan) -> traffic.Life:
        """The business of an account, for traffic."""
        return traffic.Life(
            lambda: self.book(plan.account), self._routes, lambda: self.call(plan.account), plan
        )

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request."""
        path = request.path
        if path.startswith("/_sandbox/"):
            return await control.handle(self, request)
        asked = _Asked(
            self.names.make("request"),
            request.method,
            path,
            "v2" if path.startswith("/v2/") else "v1",
            {},
        )
        asked.headers["Request-Id"] = asked.id
        stats = self.stats
        stats.running += 1
        stats.max_running = max(stats.max_running, stats.running)
        try:
            return await self._answer(request, asked)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("The sandbox itself failed on %s %s.", asked.method, asked.endpoint)
            refusal = refusals.fault()
            self._count(asked, 500)
            return await self._send(request, asked, 500, refusal.body(asked.api, asked.id), [])
        finally:
            stats.running -= 1
            if asked.gate is not None:
                asked.gate.leave(asked.account, asked.endpoint)
                stats.under_way -= Counter([asked.endpoint])

    async def _answer(self, request: web.BaseRequest, asked: _Asked) -> web.StreamResponse:
        drawn: list[faults.Fault] = []
        try:
            route, arguments, version = self._admit(request, asked)
            if self.script:
                drawn = self.script.draw(asked.method, asked.path, asked.endpoint, asked.account)
                self._befall(drawn)
            wait = self._wait()
            slow = sum(fault.seconds for fault in drawn if fault.kind == "slow")
            params = await self._params(request, asked)
            if any(fault.kind == "reset" and fault.when == "before" for fault in drawn):
                return wire.reset(request)
            status, body = await self._execute(
                request, asked, route, arguments, params, version, drawn, wait / 2 + slow
            )
            late = sum(fault.seconds for fault in drawn if fault.kind == "late")
            if wait or late:
                await asyncio.sleep(wait / 2 + late)
        except refusals.Refusal as refusal:
            status, body = refusal.status, refusal.body(asked.api, asked.id)
            asked.headers.update(refusal.headers)
            if status == 429:
                self.stats.limited[refusal.headers.get("Stripe-Rate-Limited-Reason", refusal.code)] += 1
        retry = next((fault.retry for fault in drawn if fault.retry is not None), None)
        if retry is not None:
            asked.headers["Stripe-Should-Retry"] = "true" if retry else "false"
        self._count(asked, status)
        return await self._send(request, asked, status, body, drawn)

    def _admit(self, request: web.BaseRequest, asked: _Asked) -> tuple[routes.Route, dict[str, str], str]:
        """Key, account, version, route, permission and limits."""
        headers = request.headers
        key = self.keys.authenticate(headers.get("Authorization"))
        asked.key = keys.masked(key.secret)
        account = self._scope(key, headers)
        if account:
            asked.headers["Stripe-Account"] = account
        asked.account = account or self.platform.account
        version = headers.get("Stripe-Version") or self.journal.version_of(asked.account)
        if not versions.known(version, self.facts.api_version):
            raise refusals.unknown_version(version[:40])
        asked.headers["Stripe-Version"] = version
        matched = self._routes.match(asked.method, asked.path)
        if matched is None:
            raise refusals.unknown_url(asked.method, asked.path)
        route, arguments = matched
        asked.endpoint = route.endpoint
        permission = route.permission
        if route.kind == "own" and key.scopes is not None and not key.may("rak_accounts_kyc_basic_read"):
            permission = "rak_accounts_kyc_basic_read"
        if not key.may(permission):
            raise refusals.no_permission(asked.key, asked.account, permission)
        self.gate.enter(
            asked.account,
            asked.endpoint,
            search=route.kind == "search",
            files=route.template.startswith("/v1/files"),
        )
        asked.gate = self.gate
        self.stats.under_way[asked.endpoint] += 1
        return route, arguments, version

    def _scope(self, key: keys.Key, headers: Mapping[str, str]) -> str:
        """The account that is asked; empty for the key's own. https://docs.stripe.com/context"""
        named, context = headers.get("Stripe-Account", ""), headers.get("Stripe-Context", "")
        path = [part for part in context.split("/") if part.startswith("acct_")]
        if key.organisation:
            if not path:
                raise refusals.no_context()
            if "Stripe-Version" not in headers:
                raise refusals.no_version()
            if path[0] != self.platform.account and path[0] not in key.members:
                raise refusals.no_account(keys.masked(key.secret), path[0])
        if named and path and named != path[-1]:
            raise refusals.two_accounts()
        account = path[-1] if path else named
        if account and not self.has_account(account):
            raise refusals.no_account(keys.masked(key.secret), account)
        return account

    def _befall(self, drawn: list[faults.Fault]) -> None:
        """Faults that answer at once."""
        for fault in drawn:
            if fault.kind == "storm":
                self.gate.storm(fault.seconds, reason=fault.reason, retry_after=fault.retry_after)
            if fault.kind in ("storm", "limit"):
                raise refusals.limited(fault.reason, fault.retry_after)
            if fault.kind == "lock":
                raise refusals.locked()

    def _wait(self) -> float:
        latency = self.latency
        if not latency.ms and not latency.jitter_ms:
            return 0.0
        return max(0.0, latency.ms + self._chance.uniform(-1, 1) * latency.jitter_ms) / 1000

    async def _params(self, request: web.BaseRequest, asked: _Asked) -> forms.Tree:
        params = forms.parse_form(request.rel_url.raw_query_string)
        if not request.can_read_body:
            return params
        kind = request.content_type
        if kind == "multipart/form-data":
            for name, value in (await request.post()).items():
                params[name] = value if isinstance(value, str) else getattr(value, "filename", "file")
            return params
        body = await request.read()
        if asked.api == "v2" or kind == "application/json":
            try:
                given = msgspec.json.decode(body) if body else {}
            except msgspec.DecodeError:
                raise refusals.invalid("", "Invalid request: the body is not JSON.") from None
            return {**params, **given} if isinstance(given, dict) else params
        return {**params, **forms.parse_form(body.decode("utf-8", "replace"))}

    async def _execute(
        self,
        request: web.BaseRequest,
        asked: _Asked,
        route: routes.Route,
        arguments: dict[str, str],
        params: forms.Tree,
        version: str,
        drawn: list[faults.Fault],
        held: float,
    ) -> tuple[int, bytes]:
        """Execute once per idempotency key, which is in flight meanwhile; a stored answer is replayed."""
        # On GET, and on DELETE at v1, keys have no effect: https://docs.stripe.com/api/idempotent_requests
        writes_once = asked.method == "POST" or (asked.method == "DELETE" and asked.api == "v2")
        key = request.headers.get("Idempotency-Key") if writes_once else None
        before = any(fault.kind == "error" and fault.when == "before" for fault in drawn)
        after = any(fault.kind == "error" and fault.when == "after" for fault in drawn)
        if key is None:
            if held:
                await asyncio.sleep(held)
            if before:
                raise refusals.fault()
            body = self._perform(asked, route, arguments, params, version, None)
            if after:
                raise refusals.fault()
            return 200, body
        asked.headers["Idempotency-Key"] = key
        print_of = hashlib.sha256(msgspec.json.encode(params, order="deterministic")).hexdigest()
        path = f"{asked.method} {asked.path}"
        stored = self.ledger.begin(asked.account, key, path, print_of, self.clock.now())
        if stored is not None:
            asked.headers["Original-Request"] = stored.request_id
            asked.headers["Idempotent-Replayed"] = "true"
            if stored.status >= 500:
                asked.headers["Stripe-Should-Retry"] = "false"
            return stored.status, stored.body
        asked.headers["Original-Request"] = asked.id
        try:
            if held:
                await asyncio.sleep(held)
            if before:
                raise refusals.fault()
            status, body = 200, self._perform(asked, route, arguments, params, version, key)
            if after:
                raise refusals.fault()
        except refusals.Refusal as refusal:
            if not refusal.stored:
                self.ledger.forget(asked.account, key)
                raise
            status, body = refusal.status, refusal.body(asked.api, asked.id)
        except BaseException:
            self.ledger.forget(asked.account, key)
            raise
        self.ledger.finish(asked.account, key, idempotency.Answer(status, body, asked.id))
        return status, body

    def _perform(
        self,
        asked: _Asked,
        route: routes.Route,
        arguments: dict[str, str],
        params: forms.Tree,
        version: str,
        key: str | None,
    ) -> bytes:
        call = self.call(asked.account, asked.id, key)
        body = operations.perform(
            operations.Request(route, arguments, asked.path, params, call, self.search_delay, asked.key)
        )
        current = self.facts.api_version
        if route.stream.name == "events":
            return self._aged(call.book, body)
        if version == current:
            return body
        shown: Any = msgspec.json.decode(body)
        return msgspec.json.encode(versions.render(call.book, shown, version, current))

    def _aged(self, book: objects.Book, body: bytes) -> bytes:
        if self.journal.first == self.journal.current:
            return body
        shown: Any = msgspec.json.decode(body)
        for event in shown.get("data", []) if shown["object"] == "list" else [shown]:
            self.journal.aged(book, event)
        return msgspec.json.encode(shown)

    def _count(self, asked: _Asked, status: int) -> None:
        self.stats.requests[asked.endpoint or f"{asked.method} (no route)"] += 1
        self.stats.statuses[status] += 1
        self.stats.by_account[asked.account] += 1

    async def _send(
        self, request: web.BaseRequest, asked: _Asked, status: int, body: bytes, drawn: list[faults.Fault]
    ) -> web.StreamResponse:
        kinds = {fault.kind for fault in drawn}
        if any(fault.kind == "reset" for fault in drawn):
            return wire.reset(request)
        if "unavailable" in kinds:
            return web.Response(status=503, text="upstream connect error", content_type="text/plain")
        headers = asked.headers
        headers["Date"] = self._now_header()
        headers["Content-Type"] = "application/json"
        headers["Server"] = "nginx"
        headers["Cache-Control"] = "no-cache, no-store"
        if "html" in kinds:
            body = b"<!DOCTYPE html><html><body>Stripe is down for maintenance.</body></html>"
            headers["Content-Type"] = "text/html"
        if self.gzip and len(body) > 1000 and "gzip" in request.headers.get("Accept-Encoding", ""):
            body = igzip.compress(body, 0)
            headers["Content-Encoding"] = "gzip"
        self.stats.bytes += len(body)
        if "cut" in kinds:
            body = body[: len(body) // 2]
        if "truncate" in kinds:
            return await wire.truncated(request, status, headers, body)
        return web.Response(body=body, status=status, headers=headers)

    def _now_header(self) -> str:
        now = self.clock.now()
        if self._date[0] != now:
            self._date = (now, email.utils.formatdate(now, usegmt=True))
        return self._date[1]


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@functools.cache
def _routes() -> routes.Tree:
    actions = [(*key, name) for key, (name, _) in writes.ACTIONS.items()]
    return routes.Tree(routes.of_catalog(catalog.load(), actions))
