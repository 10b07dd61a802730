"""The control API under `/_sandbox/`: no part of Stripe, but of tests, benchmarks and the demo.

| request | does |
|---|---|
| `GET stats`, `POST stats/reset` | requests per endpoint, those under way, answers by status, 429s |
| `POST limits` `{"limits": "100/25"}` | other rate limits; or the fields of `limits.Limits` |
| `POST faults` `{"faults": [{"kind": "error", ...}]}` | other faults, see `faults` |
| `POST keys` `{"key": "rk_...", "scopes": [...]}` | a (restricted) key; `{"open": false}`: no others |
| `POST keys` `{"key": "sk_org_...", "accounts": [...]}` | an organisation's key; its accounts beside the platform |
| `POST keys/revoke` `{"key"}`, `POST keys/drop` `{"key", "scope"}` | take a key or one scope away |
| `POST keys/grant` `{"key", "scope"}` | give a scope, or one back that was dropped |
| `POST accounts/disconnect`, `POST accounts/connect` `{"account"}` | take a connected account away, and back |
| `POST oauth` `{"client_id", "redirect_uris": [...]}` | an application to sign in with; then no other |
| `POST clock` `{"advance": s}`, `{"at": t}`, `{"stop": true}`, `{"start": true}` | move time |
| `POST latency` `{"ms", "jitter_ms"}` | slower answers |
| `POST locks` `{"on": true}` | two writes to one object at once: the second gets 429 `lock_timeout` |
| `POST delays` `{"events": s, "spread": true, "search": s}` | late visibility; `spread`: each event up to `s` |
| `POST version` `{"version", "account"}` | an account's default API version |
| `POST mutate` `{"stream", "id", "values", "account", "delete", "event"}` | a change; silent without `event` |
| `POST objects` `{"stream", "objects": [...], "account"}` | objects as they are, ids too; no event tells of them |
| `GET truth/STREAM?account=` | every object as NDJSON: `{"parent": id or null, "object": {...}}` |
| `GET truth/STREAM?deleted=1` | deleted ones too, as they last were, with `"deleted_at"`: seconds or null |
| `GET history/STREAM?account=` | `{"parent", "id", "at", "object"}` for each second in which an object changed, |
| | without nested lists; `at` null: as it was before; `object` null: deleted (option `record`) |
| `POST traffic` `{"seed", "steps", "tick", "account", "kinds", "only_evented"}` | see `traffic` |
| `POST prune` `{"older": s, "key"}` | forget idempotency keys older than a day, or than `older` seconds |
| `POST meddle` `{"meddles": [{"kind": "change", ...}]}` | others at work between read and write, see `meddling` |
| `GET meddle` | what they did |
| `POST doubles` `{"customers": n, "upper", "account"}` | second customers with the e-mails of the first `n` |
| `GET writes?stream=&id=&op=&idempotency_key=` | every effect of a request, as NDJSON, see `effects` |
| `GET writes/doubles?metadata=NAME` | idempotency keys with more than one effect, values with several objects |
| `POST writes/reset` | forget them |
| `POST tax_ids/verify` `{"id", "valid", "account"}` | the authorities answer |
| `GET meter_events?account=` | the meter events that were taken, as NDJSON, with `counted` |
| `POST reset` `{"seed", "objects", ...}` | another world, clock, keys and faults: the fields of `serving.Options` |
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from tidegate.sandbox import (
    agreements,
    dealings,
    faults,
    habits,
    idempotency,
    limits,
    meddling,
    outside,
    refusals,
    telling,
    traffic,
)

if TYPE_CHECKING:
    from tidegate.sandbox import server

Given = dict[str, Any]

HABITS = (habits, dealings, agreements)
"""Rooms that register kinds of traffic when they are imported."""


async def handle(sandbox: server.Sandbox, request: web.BaseRequest) -> web.StreamResponse:
    """Answer a control request."""
    name = request.path.removeprefix("/_sandbox/")
    try:
        told = await telling.tell(sandbox, request, name) if request.method == "GET" else None
        if told is not None:
            return told
        if request.method == "GET" and name == "writes/doubles":
            return web.json_response(sandbox.doing.log.doubles(request.query.get("metadata", "")))
        operation = OPERATIONS.get(f"{request.method} {name}")
        if operation is None:
            raise refusals.unknown_url(request.method, request.path)
        body = await request.read()
        given = msgspec.json.decode(body) if body else {}
        if unknown := set(given) - FIELDS.get(name, set(given)):
            raise refusals.invalid(min(unknown), f"{name} takes no {min(unknown)}.")
        answer = operation(sandbox, given)
        if asyncio.iscoroutine(answer):
            answer = await answer
    except refusals.Refusal as refusal:
        return web.json_response({"error": {"message": refusal.message}}, status=refusal.status)
    except (ValueError, KeyError, TypeError, msgspec.ValidationError) as error:
        return web.json_response({"error": {"message": f"{type(error).__name__}: {error}"}}, status=400)
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


def _stats(sandbox: server.Sandbox, _: Given) -> Given:
    stats = sandbox.stats
    return {
        "requests": sum(stats.requests.values()),
        "endpoints": dict(stats.requests),
        "under_way": dict(stats.under_way),
        "statuses": {str(status): count for status, count in stats.statuses.items()},
        "rate_limited": dict(stats.limited),
        "accounts": dict(stats.by_account),
        "max_concurrency": stats.max_running,
        "bytes": stats.bytes,
        "idempotency_keys": len(sandbox.ledger),
        "webhooks": {"delivered": sandbox.postman.delivered, "failed": sandbox.postman.failed},
    }


def _reset(sandbox: server.Sandbox, _: Given) -> Given:
    sandbox.stats.reset()
    return {}


def _limits(sandbox: server.Sandbox, given: Given) -> Given:
    if "limits" in given:
        sandbox.gate.limits = limits.parse(given["limits"])
    else:
        sandbox.gate.limits = limits.Limits(**given)
    return {}


def _faults(sandbox: server.Sandbox, given: Given) -> Given:
    asked = [
        {"probability" if name == "chance" else name: value for name, value in fault.items()}
        for fault in given.get("faults", [])
    ]
    sandbox.script.set(msgspec.convert(asked, list[faults.Fault]))
    return {}


def _keys(sandbox: server.Sandbox, given: Given) -> Given:
    if "open" in given:
        sandbox.keys.open = bool(given["open"])
    if "key" in given:
        sandbox.keys.register(given["key"], given.get("scopes"), given.get("accounts", ()))
    return {}


def _revoke(sandbox: server.Sandbox, given: Given) -> Given:
    sandbox.keys.revoke(given["key"])
    return {}


def _drop(sandbox: server.Sandbox, given: Given) -> Given:
    sandbox.keys.drop(given["key"], given["scope"])
    return {}


def _grant(sandbox: server.Sandbox, given: Given) -> Given:
    sandbox.keys.grant(given["key"], given["scope"])
    return {}


def _disconnect(sandbox: server.Sandbox, given: Given) -> Given:
    account = given["account"]
    if not sandbox.platform.exists("accounts", account):
        raise refusals.missing("account", account)
    sandbox.disconnect(account)
    return {}


def _connect(sandbox: server.Sandbox, given: Given) -> Given:
    account = given["account"]
    if sandbox.platform.tombstone("accounts", account) is None:
        raise refusals.missing("account", account)
    sandbox.platform.unhide("accounts", account)
    sandbox.call(account).tell("account.application.authorized", sandbox.application())
    return {}


def _oauth(sandbox: server.Sandbox, given: Given) -> Given:
    sandbox.grants.register(given["client_id"], tuple(given.get("redirect_uris", ())))
    return {}


def _clock(sandbox: server.Sandbox, given: Given) -> Given:
    if given.get("stop") or "at" in given:
        sandbox.clock.stop(given.get("at"))
    if given.get("start"):
        sandbox.clock.start()
    if "advance" in given:
        sandbox.clock.advance(given["advance"])
    return {"now": sandbox.clock.time(), "stopped": sandbox.clock.manual}


def _latency(sandbox: server.Sandbox, given: Given) -> Given:
    sandbox.latency.ms = float(given.get("ms", 0))
    sandbox.latency.jitter_ms = float(given.get("jitter_ms", 0))
    return {}


def _delays(sandbox: server.Sandbox, given: Given) -> Given:
    sandbox.journal.delay = float(given.get("events", sandbox.journal.delay))
    sandbox.journal.spread = bool(given.get("spread", sandbox.journal.spread))
    sandbox.search_delay = float(given.get("search", sandbox.search_delay))
    return {}


def _locks(sandbox: server.Sandbox, given: Given) -> Given:
    sandbox.locks = bool(given.get("on"))
    return {}


def _version(sandbox: server.Sandbox, given: Given) -> Given:
    sandbox.journal.set_version(given["version"], given.get("account", ""))
    return {}


def _mutate(sandbox: server.Sandbox, given: Given) -> Given:
    call = sandbox.call(given.get("account", ""))
    stream, id = given["stream"], given["id"]
    parent = given.get("parent", "")
    before = call.book.get(stream, id, parent)
    if given.get("delete"):
        if before is None:
            raise refusals.missing(stream, id)
        kind = call.book.stream(stream).object
        call.book.remove(stream, id, {"id": id, "object": kind, "deleted": True}, parent)
        if given.get("event"):
            call.tell(given["event"], before)
        return {}
    after = {**(before or {"id": id, "object": call.book.stream(stream).object}), **given.get("values", {})}
    call.book.put(stream, after, parent)
    if given.get("event"):
        previous = {name: before.get(name) for name in given.get("values", {})} if before else None
        call.delay = given.get("delay")
        call.announce(given["event"], stream, id, previous)
    return after


def _objects(sandbox: server.Sandbox, given: Given) -> Given:
    call = sandbox.call(given.get("account", ""))
    for each in given["objects"]:
        call.book.put(given["stream"], each, given.get("parent", ""))
    return {"objects": len(given["objects"])}


async def _traffic(sandbox: server.Sandbox, given: Given) -> Given:
    plan = msgspec.convert(given, traffic.Plan)
    told = traffic.Told()
    for _ in traffic.run(sandbox.life(plan), plan, told):
        await asyncio.sleep(0)
    return {
        "steps": dict(told.steps),
        "idle": dict(told.idle),
        "refused": dict(told.refused),
        "now": sandbox.clock.time(),
    }


def _prune(sandbox: server.Sandbox, given: Given) -> Given:
    older = float(given.get("older", idempotency.KEPT))
    return {"pruned": sandbox.ledger.prune(sandbox.clock.now(), older, given.get("key", ""))}


def _forget_writes(sandbox: server.Sandbox, _: Given) -> Given:
    sandbox.doing.log.clear()
    return {}


def _meddle(sandbox: server.Sandbox, given: Given) -> Given:
    sandbox.meddler.set(msgspec.convert(given.get("meddles", []), list[meddling.Meddle]))
    return {}


def _meddled(sandbox: server.Sandbox, _: Given) -> Given:
    return {"done": sandbox.meddler.done}


def _double(sandbox: server.Sandbox, given: Given) -> Given:
    call = sandbox.call(given.get("account", ""))
    made = meddling.double(call, int(given["customers"]), upper=bool(given.get("upper")))
    return {"doubled": made}


def _verify(sandbox: server.Sandbox, given: Given) -> Given:
    call = sandbox.call(given.get("account", ""))
    tax = call.get("customer_tax_ids", given["id"])
    outside.verify_tax_id(call, tax, valid=bool(given.get("valid", True)))
    return {}


async def _webhooks_idle(sandbox: server.Sandbox, _: Given) -> Given:
    await sandbox.postman.idle()
    return {}


def _health(sandbox: server.Sandbox, _: Given) -> Given:
    return {
        "account": sandbox.platform.account,
        "now": sandbox.clock.time(),
        "version": sandbox.facts.api_version,
    }


OPERATIONS: dict[str, Callable[[server.Sandbox, Given], Given | Awaitable[Given]]] = {
    "GET health": _health,
    "GET stats": _stats,
    "POST stats/reset": _reset,
    "POST limits": _limits,
    "POST faults": _faults,
    "POST keys": _keys,
    "POST keys/revoke": _revoke,
    "POST keys/drop": _drop,
    "POST keys/grant": _grant,
    "POST accounts/connect": _connect,
    "POST accounts/disconnect": _disconnect,
    "POST oauth": _oauth,
    "POST clock": _clock,
    "POST latency": _latency,
    "POST delays": _delays,
    "POST locks": _locks,
    "POST version": _version,
    "POST mutate": _mutate,
    "POST objects": _objects,
    "POST traffic": _traffic,
    "POST prune": _prune,
    "POST meddle": _meddle,
    "GET meddle": _meddled,
    "POST doubles": _double,
    "POST writes/reset": _forget_writes,
    "POST tax_ids/verify": _verify,
    "POST webhooks/idle": _webhooks_idle,
}
FIELDS = {
    "accounts/connect": {"account"},
    "accounts/disconnect": {"account"},
    "clock": {"advance", "at", "start", "stop"},
    "delays": {"events", "search", "spread"},
    "doubles": {"account", "customers", "upper"},
    "faults": {"faults"},
    "keys": {"accounts", "key", "open", "scopes"},
    "keys/drop": {"key", "scope"},
    "keys/grant": {"key", "scope"},
    "keys/revoke": {"key"},
    "latency": {"jitter_ms", "ms"},
    "locks": {"on"},
    "meddle": {"meddles"},
    "mutate": {"account", "delay", "delete", "event", "id", "parent", "stream", "values"},
    "oauth": {"client_id", "redirect_uris"},
    "prune": {"key", "older"},
    "objects": {"account", "objects", "parent", "stream"},
    "tax_ids/verify": {"account", "id", "valid"},
    "version": {"account", "version"},
}
"""The fields of what is asked; those of others are their values' own."""
