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
from typing import Any

import msgspec
from aiohttp import web
from isal import igzip

from tidegate import catalog
from tidegate.sandbox import (
    accounts,
    asking,
    control,
    effects,
    events,
    faults,
    forms,
    idempotency,
    keys,
    limits,
    measures,
    meddling,
    metering,
    objects,
    operations,
    prefixes,
    refusals,
    routes,
    signing,
    traffic,
    versions,
    webhooks,
    wire,
    writes,
)
from tidegate.sandbox import clock as clocks
from tidegate.sandbox import world as worlds

log = logging.getLogger(__name__)


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
        locks: bool = False,
        webhook_retries: tuple[float, ...] = webhooks.RETRIES,
    ) -> None:
        self.facts = catalog.load()
        self.world = world
        self.clock = clock or clocks.Clock()
        self.keys = keys.Keys(open=open_keys)
        self.gate = limits.Gate(limit)
        self.script = faults.Script(fault, seed)
        self.latency = measures.Latency(latency_ms, jitter_ms)
        self.gzip = gzip
        self.search_delay = search_delay
        self.locks = locks
        """Is an object locked while a write to it takes its time? Then another one gets 429 `lock_timeout`."""
        self._locked: set[tuple[str, str]] = set()
        self.stats = measures.Stats()
        self.ledger = idempotency.Ledger()
        self.grants = signing.Grants()
        self.names = prefixes.Names(seed)
        self.meddler = meddling.Meddler(self.names, seed)
        self.doing = effects.Doing(self.meddler, self.call)
        self.journal = events.Journal(self.facts.api_version, self.names, seed)
        self.journal.delay = event_delay
        self.journal.spread = event_spread
        if api_version:
            self.journal.begin(api_version)
        self.accounts = accounts.Accounts(
            world,
            self.clock,
            self.facts,
            record=record,
            shuffle=shuffle,
            lag=lambda: self.search_delay,
        )
        self.platform = self.accounts.platform
        self.postman = webhooks.Postman(
            self.clock, self.facts.api_version, lambda: self.platform, webhook_retries
        )
        self.journal.deliver = self.postman.deliver
        self._chance = random.Random(f"server {seed}")
        self.routes = _routes()
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
        self,
        account: str = "",
        request_id: str = "",
        idempotency_key: str | None = None,
        live: bool = False,
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
            live,
        )

    def application(self) -> dict[str, Any]:
        """The platform as those see it that are connected to it."""
        own = self.platform.account.removeprefix("acct_")
        return {"id": f"ca_{own}", "object": "application", "name": "Rocket Rides"}

    def disconnect(self, account: str) -> None:
        """Take a connected account away; the platform hears of it."""
        self.call(account).tell("account.application.deauthorized", self.application())
        self.platform.hide("accounts", account)

    def life(self, plan: traffic.Plan) -> traffic.Life:
        """The business of an account, for traffic."""
        return traffic.Life(
            lambda: self.book(plan.account), self.routes, lambda: self.call(plan.account), plan
        )

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request."""
        path = request.path
        if path.startswith("/_sandbox/"):
            return await control.handle(self, request)
        if path.startswith("/oauth/"):
            told = await signing.handle(self, request)
            if told is not None:
                return told
        asked = asking.Asked(
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

    async def _answer(self, request: web.BaseRequest, asked: asking.Asked) -> web.StreamResponse:
        drawn: list[faults.Fault] = []
        try:
            route, arguments, version = asking.admit(self, request, asked)
            if self.script:
                drawn = self.script.draw(asked.method, asked.path, asked.endpoint, asked.account)
                self._befall(drawn)
            wait = self._wait()
            slow = sum(fault.seconds for fault in drawn if fault.kind == "slow")
            params = await asking.params(request, asked)
            if any(fault.kind == "reset" and fault.when == "before" for fault in drawn):
                return wire.reset(request)
            if any(fault.kind == "unavailable" and fault.when == "before" for fault in drawn):
                self._count(asked, 503)
                return await self._send(request, asked, 503, b"", drawn)
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

    async def _execute(
        self,
        request: web.BaseRequest,
        asked: asking.Asked,
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
        key = (request.headers.get("Idempotency-Key") or None) if writes_once else None
        before = any(fault.kind == "error" and fault.when == "before" for fault in drawn)
        after = any(fault.kind == "error" and fault.when == "after" for fault in drawn)
        if key is None:
            await self._hold(asked, arguments, held)
            if before:
                raise refusals.fault()
            body = self._perform(asked, route, arguments, params, version, None)
            if after:
                raise refusals.fault()
            return 200, body
        asked.headers["Idempotency-Key"] = key
        print_of = hashlib.sha256(msgspec.json.encode(params, order="deterministic")).hexdigest()
        path = f"{asked.method} {asked.path}"
        scope = f"{asked.account} {'live' if asked.live else 'test'}"
        stored = self.ledger.begin(scope, key, path, print_of, self.clock.now())
        if stored is not None:
            asked.headers["Original-Request"] = stored.request_id
            asked.headers["Idempotent-Replayed"] = "true"
            if stored.status >= 500:
                asked.headers["Stripe-Should-Retry"] = "false"
            return stored.status, stored.body
        asked.headers["Original-Request"] = asked.id
        try:
            await self._hold(asked, arguments, held)
            if before:
                raise refusals.fault()
            status, body = 200, self._perform(asked, route, arguments, params, version, key)
            if after:
                raise refusals.fault()
        except refusals.Refusal as refusal:
            if not refusal.stored:
                self.ledger.forget(scope, key)
                raise
            status, body = refusal.status, refusal.body(asked.api, asked.id)
        except BaseException:
            self.ledger.forget(scope, key)
            raise
        self.ledger.finish(scope, key, idempotency.Answer(status, body, asked.id))
        return status, body

    async def _hold(self, asked: asking.Asked, arguments: Mapping[str, str], seconds: float) -> None:
        """Take some time before the request is evaluated; a write holds the object's lock meanwhile."""
        if not seconds:
            return
        if not self.locks or asked.method == "GET" or not arguments:
            await asyncio.sleep(seconds)
            return
        place = asked.account, list(arguments.values())[-1]
        if place in self._locked:
            raise refusals.locked()
        self._locked.add(place)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._locked.discard(place)

    def _perform(
        self,
        asked: asking.Asked,
        route: routes.Route,
        arguments: dict[str, str],
        params: forms.Tree,
        version: str,
        key: str | None,
    ) -> bytes:
        call = self.call(asked.account, asked.id, key, asked.live)
        if asked.method == "POST":
            params = versions.reworded(route.stream.name, params, version)
        wish = operations.Request(route, arguments, asked.path, params, call, asked.key)
        if asked.method == "GET":
            body = operations.perform(wish)
            if self.meddler:
                self.meddler.saw(asked.account, route, body)
        else:
            body = self.doing.write(wish, asked.method, live=asked.live)
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

    def _count(self, asked: asking.Asked, status: int) -> None:
        self.stats.requests[asked.endpoint or f"{asked.method} (no route)"] += 1
        self.stats.statuses[status] += 1
        self.stats.by_account[asked.account] += 1

    async def _send(
        self,
        request: web.BaseRequest,
        asked: asking.Asked,
        status: int,
        body: bytes,
        drawn: list[faults.Fault],
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
    facts = catalog.load()
    return routes.Tree([*routes.of_catalog(facts, actions), metering.route(facts)])
