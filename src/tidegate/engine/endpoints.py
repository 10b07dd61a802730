"""Webhook endpoints of the connections: made at Stripe, kept up to date, looked at, and removed.

Whatever is begun here may be killed anywhere and begun again: what Stripe has is looked up first, by the metadata
that our endpoints bear, and what is left over of an earlier attempt is removed at the end.
"""

from __future__ import annotations

import secrets as random
import urllib.parse
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tidegate import catalog, config, errors
from tidegate.pull import scope as scopes_of_pulls
from tidegate.pull import settings
from tidegate.store import database, leases
from tidegate.store import endpoints as stored
from tidegate.store import secrets as vaults
from tidegate.stripe import client, keys, webhooks

ROUTE = "/webhooks/stripe/"
HELD = 120.0
"""Seconds for which nobody else changes the endpoints of a connection."""


Intent = Callable[[], None]
"""Is told that something is about to be changed, once nothing is left that could be refused here."""


def _nobody() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Enabled:
    """What `enable` has done about an endpoint; `types` are those that Stripe took."""

    scope: stored.Scope
    id: str
    url: str
    version: str
    types: int
    left_out: tuple[str, ...]
    made: bool


@dataclass(frozen=True, slots=True)
class Told:
    """An endpoint as it stands; `status` and `types` are what Stripe says now, or why it says nothing."""

    kept: stored.Kept
    status: str
    types: int | None


def connection(file: config.Config, name: str) -> config.Connection:
    """A connection of the configuration; raises ConfigError."""
    found = file.stripe.get(name)
    if found is None:
        known = ", ".join(file.stripe) or "none"
        raise errors.ConfigError(f"there is no connection {name!r} under `stripe:`; it has {known}")
    return found


def scopes(found: config.Connection) -> tuple[stored.Scope, ...]:
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


def secrets(
    file: config.Config, store: database.Database, name: str, environ: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """The secrets that a delivery for a connection may be signed with."""
    return (*_written(file.stripe[name]), *stored.secrets(store, name, environ))


async def enable(
    file: config.Config,
    store: database.Database,
    name: str,
    url: str,
    *,
    rotate: bool = False,
    environ: Mapping[str, str] | None = None,
    intent: Intent = _nobody,
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
            rows = {each.scope: each for each in stored.kept(store, name)}
            intent()
            done = []
            for scope in scopes(found):
                row = rows.get(scope)
                ours = [each for each in there if _is_ours(each, name, scope, target, row)]
                done.append(
                    await _enable(stripe, store, vault, name, scope, target, wanted, row, ours, rotate)
                )
            for scope in rows.keys() - set(scopes(found)):
                await webhooks.delete(stripe, rows[scope].id)
                stored.forget(store, vault, name, scope)
    return done


async def disable(
    file: config.Config,
    store: database.Database,
    name: str,
    environ: Mapping[str, str] | None = None,
    intent: Intent = _nobody,
) -> int:
    """Have Stripe deliver nothing more for a connection; says how many endpoints it had."""
    found = connection(file, name)
    rows = stored.kept(store, name)
    if not rows:
        return 0
    vault = vaults.vault(store, environ)
    gone = 0
    with _Alone(store, name):
        async with scopes_of_pulls.connect(settings.source(found)) as stripe:
            there = await webhooks.listed(stripe)
            intent()
            for row in rows:
                for each in there:
                    if _is_ours(each, name, row.scope, row.url, row):
                        gone += await webhooks.delete(stripe, each.id)
                stored.forget(store, vault, name, row.scope)
    return gone


async def listed(file: config.Config, store: database.Database, name: str = "") -> list[Told]:
    """Our endpoints and what Stripe says of them; what cannot be asked now is said in `status`."""
    found: list[Told] = []
    for row in stored.kept(store, name):
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
    scope: stored.Scope,
    target: str,
    wanted: tuple[str, ...],
    row: stored.Kept | None,
    ours: list[webhooks.Endpoint],
    rotate: bool,
) -> Enabled:
    current = None
    if row is not None and not rotate and vault.get(stored.secret(name, scope, row.id)) is not None:
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
        vault.put(stored.secret(name, scope, found.id), found.secret)
    stored.remember(store, name, scope, found.id, target, stripe.api_version)
    for each in ours:
        if each.id != found.id:
            await webhooks.delete(stripe, each.id)
    if current is not None and row is not None and store.now() - row.made_at >= stored.PREVIOUS:
        stored.clear(vault, name, scope, but=found.id)
    taken = set(found.enabled_events)
    left_out = () if "*" in taken else tuple(type for type in wanted if type not in taken)
    return Enabled(
        scope, found.id, target, stripe.api_version, len(found.enabled_events), left_out, current is None
    )


def _is_ours(
    each: webhooks.Endpoint, name: str, scope: stored.Scope, url: str, row: stored.Kept | None
) -> bool:
    """The one that we remember, or one of ours at this address; another server of yours has another address."""
    if row is not None and each.id == row.id:
        return True
    return each.url == url and _metadata(name, scope).items() <= each.metadata.items()


def _metadata(name: str, scope: stored.Scope) -> dict[str, str]:
    return {"tidegate": name, "tidegate_hears": scope}


def _written(found: config.Connection) -> tuple[str, ...]:
    """The secrets that stand in the configuration."""
    given = found.webhook_secret
    return tuple(each.get_secret_value() for each in (given if isinstance(given, tuple) else (given,)))


def _is_private(host: str) -> bool:
    import ipaddress

    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False
