"""Webhook endpoints that we made: where they are and since when, and their secrets in the vault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tidegate.store import database
from tidegate.store import secrets as vaults

PREVIOUS = 86_400.0
"""Seconds for which what an earlier endpoint's secret signed is still taken, once another is there."""

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


def kept(store: database.Database, name: str = "") -> list[Kept]:
    """The endpoints of a connection, or of all."""
    rows = store.execute(
        "SELECT connection, scope, id, url, version, made_at FROM endpoints "
        "WHERE :name = '' OR connection = :name ORDER BY connection, scope",
        {"name": name},
    )
    return [Kept(**row) for row in rows]


def secrets(store: database.Database, name: str, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The secrets that a delivery to an endpoint of a connection may be signed with."""
    rows = kept(store, name)
    if not rows:
        return ()
    vault = vaults.vault(store, environ)
    names, now = vault.names(), store.now()
    found: list[str] = []
    for row in rows:
        start = secret(name, row.scope, "")
        chosen = [secret(name, row.scope, row.id)]
        if now - row.made_at < PREVIOUS:
            chosen += [each for each in names if each.startswith(start) and each not in chosen]
        found += [value for each in chosen if (value := vault.get(each)) is not None]
    return tuple(found)


def remember(store: database.Database, name: str, scope: Scope, id: str, url: str, version: str) -> None:
    """Note an endpoint as the one of its connection and scope; its age begins when it is another one."""
    store.execute(
        "INSERT INTO endpoints (connection, scope, id, url, version, made_at) "
        "VALUES (:name, :scope, :id, :url, :version, {now}) "
        "ON CONFLICT (connection, scope) DO UPDATE SET id = excluded.id, url = excluded.url, "
        "version = excluded.version, "
        "made_at = CASE WHEN endpoints.id = excluded.id THEN endpoints.made_at ELSE excluded.made_at END",
        {"name": name, "scope": scope, "id": id, "url": url, "version": version},
    )


def forget(store: database.Database, vault: vaults.Vault, name: str, scope: Scope) -> None:
    """Forget an endpoint that is gone, and its secrets."""
    clear(vault, name, scope)
    store.execute(
        "DELETE FROM endpoints WHERE connection = :name AND scope = :scope", {"name": name, "scope": scope}
    )


def clear(vault: vaults.Vault, name: str, scope: Scope, *, but: str = "") -> None:
    """Remove the secrets of a connection's endpoints, but that of the one that is there."""
    for each in vault.names():
        if each.startswith(secret(name, scope, "")) and each != secret(name, scope, but):
            vault.remove(each)


def secret(name: str, scope: Scope, id: str) -> str:
    """Where the secret of an endpoint stands; the id is in it, so that the two never come apart."""
    return f"webhooks/{name}/{scope}/{id}"
