"""Webhooks, as Stripe sees them: who signed a delivery, and the endpoints that it delivers to.

A delivery bears `Stripe-Signature: t=SECONDS,v1=HEX,...`, where v1 is HMAC-SHA256 over `SECONDS.BODY` with the
endpoint's secret, one for each secret while one is being rolled (https://docs.stripe.com/webhooks/signature).
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, TypeVar

import msgspec

from tidegate import catalog, errors
from tidegate.stripe import answers, client, pages

TOLERANCE = 300
"""Seconds by which a signature may be old, or ahead; the same as in Stripe's own packages."""
LONGEST_HEADER = 8192
MOST = 16
"""Endpoints that Stripe allows per account and mode."""
PATH = "/v1/webhook_endpoints"
ONE = "/v1/webhook_endpoints/{webhook_endpoint}"
PERMISSION = "rak_webhook_write"
DASHBOARD = "https://dashboard.stripe.com/webhooks"

T = TypeVar("T")
Reason = Literal["missing", "malformed", "too old", "too new", "no match"]

_SECONDS = re.compile(r"[0-9]{1,12}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAMED_TYPE = re.compile(r"enabled_events\[(\d+)\]")

_SENTENCES: Mapping[Reason, str] = {
    "missing": "A delivery bore no Stripe-Signature; it did not come from Stripe, or a proxy took the header out.",
    "malformed": "A delivery bore a Stripe-Signature that cannot be read; it did not come from Stripe.",
    "too old": "A delivery was signed too long ago; somebody sent it again, or this machine's clock is ahead.",
    "too new": "A delivery was signed in the future; look at this machine's clock.",
    "no match": "A delivery was signed with another secret; if it came from Stripe, run `tidegate webhooks enable` "
    "again, or correct `webhook_secret`.",
}


class Refused(Exception):
    """A delivery that Stripe did not sign for us, or not now."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(_SENTENCES[reason])
        self.reason: Reason = reason


class Endpoint(msgspec.Struct, frozen=True):
    """An endpoint at Stripe; `secret` is only told when it is made."""

    id: str
    url: str
    status: str = "enabled"
    api_version: str | None = None
    enabled_events: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    secret: str | None = None


class _Listed(msgspec.Struct):
    data: list[Endpoint]
    has_more: bool = False


def verify(
    header: str | None, body: bytes, secrets: Iterable[str], now: float, tolerance: float = TOLERANCE
) -> None:
    """Raise Refused unless one of the secrets signed the body at about this time.

    Every secret is compared with every signature, in constant time, so that how long it takes tells nothing.
    """
    seconds, signatures = signed(header, now, tolerance)
    found = False
    for secret in secrets:
        if secret.strip():
            ours = digest(secret, body, seconds).encode()
            for each in signatures:
                found |= hmac.compare_digest(ours, each.encode())
    if not found:
        raise Refused("no match")


def signed(header: str | None, now: float, tolerance: float = TOLERANCE) -> tuple[int, tuple[str, ...]]:
    """When a delivery claims to be signed, and the signatures; can be asked before the body is there.

    Raises Refused. The first `t` counts, schemes other than v1 are ignored, as Stripe's own packages do.
    """
    if not header or not header.strip():
        raise Refused("missing")
    if len(header) > LONGEST_HEADER or not header.isascii():
        raise Refused("malformed")
    parts = [each.split("=", 2) for each in header.split(",")]
    if any(len(part) < 2 for part in parts if part[0] in ("t", "v1")):
        raise Refused("malformed")
    stamps = [part[1] for part in parts if part[0] == "t"]
    signatures = tuple(part[1] for part in parts if part[0] == "v1" and _DIGEST.fullmatch(part[1]))
    if not stamps or not _SECONDS.fullmatch(stamps[0]) or not signatures:
        raise Refused("malformed")
    seconds = int(stamps[0])
    if seconds < now - tolerance:
        raise Refused("too old")
    if seconds > now + tolerance:
        raise Refused("too new")
    return seconds, signatures


def digest(secret: str, body: bytes, seconds: int) -> str:
    """The v1 signature of a body."""
    return hmac.new(secret.encode(), b"%d.%b" % (seconds, body), hashlib.sha256).hexdigest()


def signature(secret: str, body: bytes, seconds: int) -> str:
    """The `Stripe-Signature` header that Stripe would send."""
    return f"t={seconds},v1={digest(secret, body, seconds)}"


def types(streams: Collection[str]) -> tuple[str, ...]:
    """The event types that say something about rows of these streams, theirs or those of their relatives.

    With the stream `events` among them, all types: each is a row of it.
    """
    known = catalog.load()
    if "events" in streams:
        return known.event_types
    chosen = frozenset(streams)
    wanted: set[str] = set()
    for stream in known.streams.values():
        events = (*stream.events.created, *stream.events.updated, *stream.events.deleted)
        if events and not chosen.isdisjoint(_touched(stream.name)):
            wanted.update(events)
    for type, touched in known.strays.items():
        if any(not chosen.isdisjoint(_family(name)) for names in touched.values() for name in names):
            wanted.add(type)
    return tuple(type for type in known.event_types if type in wanted)


async def listed(stripe: client.Client) -> list[Endpoint]:
    """All endpoints of the account and mode."""
    found: list[Endpoint] = []
    while True:
        after = {"starting_after": found[-1].id} if found else {}
        answer = await stripe.get(PATH, {"limit": 100, **after})
        page = _read(answer, _Listed)
        found += page.data
        if not page.has_more or not page.data:
            return found


async def get(stripe: client.Client, id: str) -> Endpoint:
    """One endpoint; raises Missing where it is gone."""
    return _read(await stripe.get(f"{PATH}/{id}", endpoint=ONE), Endpoint)


async def make(
    stripe: client.Client,
    *,
    url: str,
    types: Sequence[str],
    connect: bool = False,
    metadata: Mapping[str, str],
    description: str = "",
    idempotency_key: str = "",
) -> Endpoint:
    """Make an endpoint at the client's API version; the answer bears its signing secret.

    `connect`: it hears the connected accounts instead of the key's own.
    """
    values: dict[str, object] = {
        "url": url,
        "api_version": stripe.api_version,
        "metadata": dict(metadata),
        "description": description,
    }
    if connect:
        values["connect"] = True
    return await _written(stripe, PATH, PATH, values, types, idempotency_key)


async def update(stripe: client.Client, id: str, *, url: str, types: Sequence[str]) -> Endpoint:
    """Have an endpoint hear these types at this address, and be enabled; Stripe never changes its version."""
    return await _written(stripe, f"{PATH}/{id}", ONE, {"url": url, "disabled": False}, types)


async def delete(stripe: client.Client, id: str) -> bool:
    """Remove an endpoint; was it there?"""
    try:
        await stripe.delete(f"{PATH}/{id}", endpoint=ONE)
    except errors.Missing:
        return False
    except errors.PermissionMissing as error:
        raise _named(error) from None
    return True


async def _written(
    stripe: client.Client,
    path: str,
    endpoint: str,
    values: Mapping[str, object],
    types: Sequence[str],
    idempotency_key: str = "",
) -> Endpoint:
    """Write an endpoint, without the types that this Stripe does not know: it names one in each refusal."""
    left = list(types)
    while True:
        # Another body needs another key: https://docs.stripe.com/api/idempotent_requests
        key = f"{idempotency_key}-{len(left)}" if idempotency_key else ""
        form: pages.Form = {**values, "enabled_events": left}
        try:
            answer = await stripe.post(path, form, endpoint=endpoint, idempotency_key=key)
        except errors.PermissionMissing as error:
            raise _named(error) from None
        except errors.InvalidRequest as error:
            unknown = _unknown(error, left)
            if unknown is None or len(left) == 1:
                raise _explained(error, str(values.get("url", ""))) from None
            left.remove(unknown)
        else:
            return _read(answer, Endpoint)


def _unknown(error: errors.InvalidRequest, types: Sequence[str]) -> str | None:
    """The event type that a refusal is about."""
    if not error.param.startswith("enabled_events"):
        return None
    if match := _NAMED_TYPE.match(error.param):
        number = int(match[1])
        return types[number] if number < len(types) else None
    named = [type for type in types if re.search(rf"(?<![\w.]){re.escape(type)}(?![\w.])", str(error))]
    return named[0] if len(named) == 1 else None


def _explained(error: errors.InvalidRequest, url: str) -> errors.TidegateError:
    said = str(error)
    if error.param == "url":
        return errors.ConfigError(
            f"Stripe does not deliver to {url}; give an address that the internet reaches, with https://. {said}"
        )
    if re.search(r"maximum (?:number )?of \d+ .*webhook", said, re.I):
        return errors.ConfigError(
            f"The account has as many webhook endpoints as Stripe allows ({MOST} per mode); remove one at "
            f"{DASHBOARD}, and run this again."
        )
    return error


def _named(error: errors.PermissionMissing) -> errors.PermissionMissing:
    """The refusal, with the permission by its name where Stripe has not said it."""
    if error.permission:
        return error
    return errors.PermissionMissing(
        f"The key lacks the permission {PERMISSION}, which makes webhook endpoints; grant it at "
        f"{answers.API_KEYS}, or make the endpoint at {DASHBOARD} and give its secret as `webhook_secret`.",
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        permission=PERMISSION,
    )


def _read(answer: client.Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except msgspec.DecodeError as error:
        raise errors.BadPage(f"{PATH} did not answer with webhook endpoints: {error}") from None


@functools.cache
def _touched(name: str) -> frozenset[str]:
    """The streams whose rows an event of a stream may change, itself and children included."""
    stream = catalog.load().streams[name]
    near = {name, *stream.dependents, *(each for names in stream.relatives.values() for each in names)}
    return frozenset().union(*map(_family, near))


@functools.cache
def _family(name: str) -> frozenset[str]:
    """A stream with the children of its rows, and theirs."""
    found, new = {name}, {name}
    children = _children()
    while new:
        new = {child for each in new for child in children.get(each, ())} - found
        found |= new
    return frozenset(found)


@functools.cache
def _children() -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for stream in catalog.load().streams.values():
        for nested in stream.nested:
            found.setdefault(stream.name, set()).update(nested.streams)
        for origin in stream.origins:
            for parent in origin.parents:
                found.setdefault(parent.stream, set()).add(stream.name)
    return {name: frozenset(names) for name, names in found.items()}
