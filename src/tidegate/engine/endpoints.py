"""Webhook endpoints of the connections: made at Stripe, remembered here, their secrets in the vault.

Whatever is begun here may be killed anywhere and begun again: what Stripe has is looked up first, by the metadata
that our endpoints bear, and what is left over of an earlier attempt is removed at the end.
"""

from __future__ import annotations

import secrets as random
import time
import urllib.parse
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import aiohttp
import msgspec

from tidegate import catalog, config, errors
from tidegate.engine import flows
from tidegate.pull import scope as scopes_of_pulls
from tidegate.pull import settings
from tidegate.store import database, deliveries, leases
from tidegate.store import secrets as vaults
from tidegate.stripe import client, keys, webhooks

PREVIOUS = 86_400.0
"""Seconds for which what an earlier endpoint's secret signed is still taken, once another is there."""
ROUTE = "/webhooks/stripe/"
TEST = "tidegate.test"
"""The type of an event that is made by `prove`, and never kept."""
HELD = 120.0
"""Seconds for which nobody else changes the endpoints of a connection."""

Scope = Literal["account", "connect"]
"""Whose events: the key's own account's, or those of the accounts that are connected to it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An endpoint of ours, as this database remembers it."""

    connection: str
    scope: Scope
    id: str
    url: str
    version: str
    made_at: float


@dataclass(frozen=True, slots=True)
class Enabled:
    """What `enable` has done about an endpoint; `types` are those that Stripe took."""

    scope: Scope
    id: str
    url: str
    version: str
    types: int
    left_out: tuple[str, ...]
    made: bool


@dataclass(frozen=True, slots=True)
class Told:
    """An endpoint as it stands; `status` and `types` are what Stripe says now, or why it says nothing."""

    kept: Kept
    status: str
    types: int | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was delivered for a connection and is kept; times are unix seconds of the database.

    `waiting` were delivered more than a minute ago, and some flow that listens has not committed them.
    """

    kept: int
    last: float | None
    waiting: int


def connection(file: config.Config, name: str) -> config.Connection:
    """A connection of the configuration; raises ConfigError."""
    found = file.stripe.get(name)
    if found is None:
        known = ", ".join(file.stripe) or "none"
        raise errors.ConfigError(f"there is no connection {name!r} under `stripe:`; it has {known}")
    return found


def scopes(found: config.Connection) -> tuple[Scope, ...]:
    """The endpoints that a connection needs."""
    if found.accounts == "own":
        return ("account",)
    return ("account", "connect") if found.accounts == "all" else ("connect",)


def types(file: config.Config, name: str) -> tuple[str, ...]:
    """The event types that the flows of a connection need; all, where it has none yet."""
    known = catalog.load().streams.values()
    chosen = {
        stream.name
        for pull in file.pulls.values()
        if pull.connection == name
        for stream in known
        if pull.takes(stream.name, default=stream.default)
    }
    chosen |= {each.stream for each in file.pipelines.values() if each.connection == name}
    return webhooks.types(chosen or {"events"})


def address(url: str, name: str, *, api_base: str = client.API_BASE) -> str:
    """Where Stripe shall deliver, from the address of this server; raises ConfigError for what it never reaches."""
    parts = urllib.parse.urlsplit(url.strip())
    host = parts.hostname or ""
    if (
        parts.scheme not in ("http", "https")
        or not host
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise errors.ConfigError(f"--url {url!r} is no address; write it like https://tidegate.example.com")
    stripe = (urllib.parse.urlsplit(api_base).hostname or "").endswith("stripe.com")
    local = host == "localhost" or host.endswith((".local", ".internal")) or _is_private(host)
    if stripe and (local or parts.scheme != "https"):
        raise errors.ConfigError(
            f"Stripe does not deliver to {parts.scheme}://{host}; give an address that the internet reaches, with "
            "https://, or use `stripe listen --forward-to` and give its secret as `webhook_secret`"
        )
    path = parts.path.rstrip("/")
    if not path.endswith(ROUTE + name):
        path += ROUTE + name
    return f"{parts.scheme}://{parts.netloc}{path}"


def kept(store: database.Database, name: str = "") -> list[Kept]:
    """The endpoints of a connection, or of all."""
    rows = store.execute(
        "SELECT connection, scope, id, url, version, made_at FROM endpoints "
        "WHERE :name = '' OR connection = :name ORDER BY connection, scope",
        {"name": name},
    )
    return [Kept(**row) for row in rows]


def secrets(
    file: config.Config, store: database.Database, name: str, environ: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """The secrets that a delivery for a connection may be signed with."""
    found = list(_written(file.stripe[name]))
    if rows := kept(store, name):
        vault = vaults.vault(store, environ)
        names, now = vault.names(), store.now()
        for row in rows:
            start = _secret(name, row.scope, "")
            chosen = [_secret(name, row.scope, row.id)]
            if now - row.made_at < PREVIOUS:
                chosen += [each for each in names if each.startswith(start) and each not in chosen]
            found += [secret for each in chosen if (secret := vault.get(each)) is not None]
    return tuple(found)


async def enable(
    file: config.Config,
    store: database.Database,
    name: str,
    url: str,
    *,
    rotate: bool = False,
    environ: Mapping[str, str] | None = None,
) -> list[Enabled]:
    """Have Stripe deliver the events of a connection to this server.

    An endpoint that is there is brought up to date. It is made anew with `rotate`, where its secret is lost, and
    where it has another API version, since Stripe changes neither; the old one goes when the new one is there.
    Killed inside: call it again.
    """
    found = connection(file, name)
    target = address(url, name, api_base=found.api_base)
    if found.api_key is not None and keys.is_organisation(found.api_key.get_secret_value()):
        raise errors.ConfigError(
            "An organisation's key makes no webhook endpoints; make them in Stripe's dashboard for each account, "
            f"at {target}, and give their secrets as `webhook_secret`."
        )
    vault = vaults.vault(store, environ)
    wanted = types(file, name)
    source = settings.source(found)
    with _Alone(store, name):
        async with scopes_of_pulls.connect(source) as stripe:
            there = await webhooks.listed(stripe)
            rows = {each.scope: each for each in kept(store, name)}
            done = []
            for scope in scopes(found):
                row = rows.get(scope)
                ours = [each for each in there if _is_ours(each, name, scope, target, row)]
                done.append(
                    await _enable(stripe, store, vault, name, scope, target, wanted, row, ours, rotate)
                )
            for scope in rows.keys() - set(scopes(found)):
                await webhooks.delete(stripe, rows[scope].id)
                _forget(store, vault, name, scope)
    return done


async def disable(
    file: config.Config, store: database.Database, name: str, environ: Mapping[str, str] | None = None
) -> int:
    """Have Stripe deliver nothing more for a connection; says how many endpoints it had."""
    found = connection(file, name)
    rows = kept(store, name)
    if not rows:
        return 0
    vault = vaults.vault(store, environ)
    gone = 0
    with _Alone(store, name):
        async with scopes_of_pulls.connect(settings.source(found)) as stripe:
            there = await webhooks.listed(stripe)
            for row in rows:
                for each in there:
                    if _is_ours(each, name, row.scope, row.url, row):
                        gone += await webhooks.delete(stripe, each.id)
                _forget(store, vault, name, row.scope)
    return gone


async def listed(file: config.Config, store: database.Database, name: str = "") -> list[Told]:
    """Our endpoints and what Stripe says of them; what cannot be asked now is said in `status`."""
    found: list[Told] = []
    for row in kept(store, name):
        if row.connection not in file.stripe:
            found.append(Told(row, "its connection is not in the configuration", None))
            continue
        try:
            async with scopes_of_pulls.connect(settings.source(file.stripe[row.connection])) as stripe:
                told = await webhooks.get(stripe, row.id)
        except errors.Missing:
            found.append(Told(row, "gone at Stripe; enable it again", None))
        except errors.TidegateError as error:
            found.append(Told(row, str(error), None))
        else:
            found.append(Told(row, told.status, len(told.enabled_events)))
    return found


def traffic(file: config.Config, store: database.Database, name: str) -> Traffic:
    """What was delivered for a connection."""
    row = store.one(
        "SELECT count(*) AS kept, max(received_at) AS last FROM deliveries WHERE connection = :name",
        {"name": name},
    )
    assert row is not None, "An aggregate has a row."
    # A mark stays behind what is not settled yet, whatever was heard.
    late = deliveries.SETTLED + 10.0
    waiting = 0
    for flow in _flows(file, name):
        mark = deliveries.heard(store, flow)
        if mark is None:
            continue
        left = store.one(
            "SELECT count(*) AS n FROM deliveries WHERE connection = :name AND number > :mark "
            "AND received_at < {now} - :late",
            {"name": name, "mark": mark, "late": late},
        )
        waiting = max(waiting, 0 if left is None else int(left["n"]))
    return Traffic(int(row["kept"]), row["last"], waiting)


def replay(file: config.Config, store: database.Database, name: str, seconds: float) -> dict[str, int]:
    """Have every flow of a connection hear again what was received in so many last seconds; how many, by flow."""
    connection(file, name)
    since = store.now() - seconds
    return {flow: deliveries.replay(store, flow, name, since) for flow in _flows(file, name)}


async def prove(
    file: config.Config,
    store: database.Database,
    name: str,
    url: str = "",
    environ: Mapping[str, str] | None = None,
) -> str:
    """Deliver a signed event to ourselves, on the way that Stripe takes; returns the address that took it.

    Raises ConfigError with what went wrong. The event is never kept.
    """
    found = connection(file, name)
    rows = kept(store, name)
    known = secrets(file, store, name, environ)
    if not known:
        raise errors.ConfigError(
            f"no endpoint of {name} is known; run `tidegate webhooks enable {name} --url https://...` first"
        )
    if not url and not rows:
        raise errors.ConfigError(
            "the endpoint was made by hand, so its address is not known; say it with --url"
        )
    target = address(url, name, api_base="http://here") if url else rows[0].url
    live = found.api_key is not None and keys.mode(found.api_key.get_secret_value()) == "live"
    body = msgspec.json.encode(
        {
            "id": f"evt_{random.token_hex(12)}",
            "object": "event",
            "type": TEST,
            "created": int(time.time()),
            "livemode": live,
        }
    )
    headers = {
        "Content-Type": "application/json",
        "Stripe-Signature": webhooks.signature(known[0], body, int(time.time())),
    }
    try:
        timeout = aiohttp.ClientTimeout(total=20)
        async with (
            aiohttp.ClientSession(
                timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            ) as session,
            session.post(target, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            status = answer.status
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise errors.ConfigError(
            f"{target} gave no answer ({type(error).__name__}); look at DNS, TLS and the proxy on the way, and "
            "that `tidegate run` is running"
        ) from None
    if status == 200:
        return target
    raise errors.ConfigError(f"{target} answered {status}: {_MEANING.get(status, _OTHER)}")


_OTHER = "something on the way is no Tidegate; look at the proxy and the address"
_MEANING = {
    400: "it does not know the signature; it may use another metadata database, or its clock is wrong",
    404: "there is no such connection; it may run with another configuration, or the address is another server's",
    413: "something on the way takes no body of that size",
    503: "its metadata database cannot be reached",
}


class _Alone:
    """Keeps others from changing the endpoints of a connection at the same time."""

    def __init__(self, store: database.Database, name: str) -> None:
        self._store, self._lease, self._name = store, f"webhooks/{name}", name
        self._holder = random.token_hex(8)

    def __enter__(self) -> None:
        if not leases.take(self._store, self._lease, self._holder, HELD):
            raise errors.ConfigError(
                f"somebody else is changing the webhooks of {self._name}; try again in two minutes"
            )

    def __exit__(self, *_: object) -> None:
        leases.leave(self._store, self._lease, self._holder)


async def _enable(
    stripe: client.Client,
    store: database.Database,
    vault: vaults.Vault,
    name: str,
    scope: Scope,
    target: str,
    wanted: tuple[str, ...],
    row: Kept | None,
    ours: list[webhooks.Endpoint],
    rotate: bool,
) -> Enabled:
    current = None
    if row is not None and not rotate and vault.get(_secret(name, scope, row.id)) is not None:
        current = next((e for e in ours if e.id == row.id and e.api_version == stripe.api_version), None)
    if current is not None:
        found = await webhooks.update(stripe, current.id, url=target, types=wanted)
    else:
        found = await webhooks.make(
            stripe,
            url=target,
            types=wanted,
            connect=scope == "connect",
            metadata=_metadata(name, scope),
            description="Tidegate: events for the warehouse",
            idempotency_key=str(uuid.uuid4()),
        )
        if not found.secret:
            raise errors.BadPage(
                "Stripe made an endpoint and did not tell its secret; run the same command again"
            )
        vault.put(_secret(name, scope, found.id), found.secret)
    _remember(store, name, scope, found.id, target, stripe.api_version)
    for each in ours:
        if each.id != found.id:
            await webhooks.delete(stripe, each.id)
    if current is not None and row is not None and store.now() - row.made_at >= PREVIOUS:
        _clear(vault, name, scope, but=found.id)
    taken = set(found.enabled_events)
    left_out = () if "*" in taken else tuple(type for type in wanted if type not in taken)
    return Enabled(
        scope, found.id, target, stripe.api_version, len(found.enabled_events), left_out, current is None
    )


def _is_ours(each: webhooks.Endpoint, name: str, scope: Scope, url: str, row: Kept | None) -> bool:
    """The one that we remember, or one of ours at this address; another server of yours has another address."""
    if row is not None and each.id == row.id:
        return True
    return each.url == url and _metadata(name, scope).items() <= each.metadata.items()


def _metadata(name: str, scope: Scope) -> dict[str, str]:
    return {"tidegate": name, "tidegate_hears": scope}


def _remember(store: database.Database, name: str, scope: Scope, id: str, url: str, version: str) -> None:
    store.execute(
        "INSERT INTO endpoints (connection, scope, id, url, version, made_at) "
        "VALUES (:name, :scope, :id, :url, :version, {now}) "
        "ON CONFLICT (connection, scope) DO UPDATE SET id = excluded.id, url = excluded.url, "
        "version = excluded.version, "
        "made_at = CASE WHEN endpoints.id = excluded.id THEN endpoints.made_at ELSE excluded.made_at END",
        {"name": name, "scope": scope, "id": id, "url": url, "version": version},
    )


def _forget(store: database.Database, vault: vaults.Vault, name: str, scope: Scope) -> None:
    _clear(vault, name, scope)
    store.execute(
        "DELETE FROM endpoints WHERE connection = :name AND scope = :scope", {"name": name, "scope": scope}
    )


def _clear(vault: vaults.Vault, name: str, scope: Scope, *, but: str = "") -> None:
    """Forget the secrets of endpoints that are gone."""
    for each in vault.names():
        if each.startswith(_secret(name, scope, "")) and each != _secret(name, scope, but):
            vault.remove(each)


def _secret(name: str, scope: Scope, id: str) -> str:
    """Where the secret of an endpoint stands; the id is in it, so that the two never come apart."""
    return f"webhooks/{name}/{scope}/{id}"


def _written(found: config.Connection) -> tuple[str, ...]:
    """The secrets that stand in the configuration."""
    given = found.webhook_secret
    return tuple(each.get_secret_value() for each in (given if isinstance(given, tuple) else (given,)))


def _flows(file: config.Config, name: str) -> list[str]:
    return [flow.name for flow in flows.flows(file).values() if flow.connection == name]


def _is_private(host: str) -> bool:
    import ipaddress

    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False
