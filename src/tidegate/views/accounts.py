"""Stripe accounts: the connections, and what their keys may do."""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate import catalog, config, views
from tidegate.catalog import writes
from tidegate.config import values
from tidegate.engine import editing, readiness
from tidegate.engine import place as places
from tidegate.pull import permissions, scope, settings
from tidegate.store import endpoints as kept
from tidegate.stripe import client, keys
from tidegate.views import drafts, outside

DASHBOARD = "https://dashboard.stripe.com"
PATIENCE = 60.0
"""Seconds that a key is tried for: more than a hundred lists are asked for one row each, at its own pace."""


@dataclass(frozen=True, slots=True)
class Account:
    """One connection of the configuration, as far as it is known without asking Stripe."""

    name: str
    mode: keys.Mode
    key: str
    """Masked: `rk_test_…abcd`; empty while nobody has signed in."""
    last4: str
    oauth: bool
    """Is it by "Sign in with Stripe"?"""
    whose: str
    """`own`, `all`, or how many accounts are listed."""
    account_id: str
    api_base: str
    flows: tuple[str, ...]
    known: int
    """Accounts of which something was pulled."""
    endpoints: int
    """Webhook endpoints that we made."""
    refused: int
    """Tables that were not read for want of a permission."""


@dataclass(frozen=True, slots=True)
class Access:
    """Whether a key may read one stream."""

    stream: str
    permission: str
    status: str
    error: str


@dataclass(frozen=True, slots=True)
class Tested:
    """What a key may do, found out by trying: reading every list, and writing nothing."""

    key: str
    account: str
    mode: keys.Mode
    restricted: bool
    access: tuple[Access, ...]
    events: str
    """Why events cannot be read; empty where they can."""
    rights: tuple[readiness.Right, ...]
    """What may be written by pushes; of a secret key all of it."""

    @property
    def readable(self) -> list[Access]:
        """The streams that can be read."""
        return [each for each in self.access if each.status == "ok"]

    @property
    def absent(self) -> list[str]:
        """Streams of products that the account does not have."""
        return [each.stream for each in self.access if each.status == "not_enabled"]

    @property
    def broken(self) -> list[Access]:
        """Streams that failed for something else."""
        return [each for each in self.access if each.status not in ("ok", "not_enabled", "no_permission")]

    @property
    def missing(self) -> dict[str, list[str]]:
        """The permissions that are missing to read, and the streams that each is for."""
        found: dict[str, list[str]] = {}
        for each in self.access:
            if each.status == "no_permission":
                found.setdefault(each.permission, []).append(each.stream)
        return dict(sorted(found.items()))

    @property
    def edit_link(self) -> str:
        """Where the permissions of a key are changed."""
        return f"{DASHBOARD}/{'' if self.mode == 'live' else 'test/'}apikeys"

    @property
    def grant_link(self) -> str:
        """Where a key is made that may read what this one may and what it lacks, all of it ticked already."""
        wanted = [each.permission for each in self.access if each.status in ("ok", "no_permission")]
        return create_link(wanted, live=self.mode == "live")


def create_link(wanted: list[str], *, live: bool) -> str:
    """Where Stripe's dashboard makes a restricted key with these permissions ticked."""
    names = [name for name in dict.fromkeys(wanted) if name.startswith("rak_")]
    query = urllib.parse.urlencode([("name", "Tidegate"), *(("permissions[]", name) for name in names)])
    return f"{DASHBOARD}/{'' if live else 'test/'}apikeys/create?{query}"


def reading_link(*, live: bool) -> str:
    """The same for a key that may read every stream that is pulled unless one says otherwise."""
    streams = catalog.load().streams.values()
    return create_link(sorted({each.permission for each in streams if each.default}), live=live)


# --- the connections ---


def listed(place: places.Place) -> list[Account]:
    """All connections, by name."""
    file = place.file
    made = [each.connection for each in kept.kept(place.store)]
    counts = _counts(place)
    return [_account(file, name, made.count(name), counts.get(name, (0, 0))) for name in sorted(file.stripe)]


def one(place: places.Place, name: str) -> Account:
    """One of them; raises Unknown."""
    named(place.file, name)
    return next(each for each in listed(place) if each.name == name)


def named(file: config.Config, name: str) -> config.Connection:
    """A connection of the configuration; raises Unknown."""
    if name not in file.stripe:
        near = values.suggestion(name, file.stripe)
        raise views.Unknown(f"There is no connection {name!r} in the configuration{near or '.'}")
    return file.stripe[name]


def _account(file: config.Config, name: str, made: int, counts: tuple[int, int]) -> Account:
    found = file.stripe[name]
    key = "" if found.key is None else found.key.get_secret_value()
    flows = [f"pull:{each}" for each, it in file.pulls.items() if it.connection == name]
    flows += [f"pipeline:{each}" for each, it in file.pipelines.items() if it.connection == name]
    flows += [f"push:{each}" for each, it in file.pushes.items() if it.connection == name]
    given = found.accounts
    return Account(
        name,
        keys.mode(key),
        keys.masked(key) if key else "",
        key[-4:] if len(key) >= 12 else "",
        found.oauth is not None,
        given if isinstance(given, str) else f"{len(given):,} accounts",
        found.account_id or "",
        found.api_base,
        tuple(flows),
        counts[0],
        made,
        counts[1],
    )


def _counts(place: places.Place) -> dict[str, tuple[int, int]]:
    """By connection: accounts of which something was pulled, and tables that may not be read."""
    found: dict[str, tuple[int, int]] = {}
    rows = place.store.execute(
        "SELECT flow, count(DISTINCT account) AS accounts, "
        "sum(CASE WHEN status = 'no_permission' THEN 1 ELSE 0 END) AS refused FROM positions GROUP BY flow"
    )
    flows = place.flows
    for row in rows:
        if row["flow"] in flows:
            name = flows[row["flow"]].connection
            accounts, refused = found.get(name, (0, 0))
            found[name] = (max(accounts, int(row["accounts"])), refused + int(row["refused"]))
    return found


# --- what a key may do ---


def try_key(place: places.Place, name: str) -> Tested:
    """What the key of a connection may do now; raises what Stripe says against the key itself."""
    return _tested(place, name, named(place.file, name))


def try_draft(place: places.Place, name: str, body: Mapping[str, Any], *, admin: bool = False) -> Tested:
    """The same of a connection that is not kept yet; raises ConfigError where the body is none."""
    return _tested(place, name, drafts.connection(place, name, body, admin=admin))


def keep(
    place: places.Place,
    who: views.Who,
    name: str,
    body: Mapping[str, Any],
    version: int | None,
    *,
    admin: bool = False,
) -> tuple[editing.Change, Tested]:
    """Try a connection and keep it; one whose key does not work is not kept, one that lacks permissions is.

    Raises ConfigError with what is wrong by field, StoreConflict where somebody else changed it meanwhile, and what
    Stripe says against the key.
    """
    found = try_draft(place, name, body, admin=admin)
    made = editing.change(place, who.name, "stripe", name, body, version, via=who.via, admin=admin)
    place.look()
    return made, found


def _tested(place: places.Place, name: str, connection: config.Connection) -> Tested:
    source = dataclasses.replace(settings.source(connection), purse=place.purse)
    restricted = source.api_key.startswith("rk_")
    objects = list(writes.load().values())

    async def look() -> Tested:
        found = await permissions.check(source, scope.Options())
        rights = await readiness.key(source, objects) if restricted else None
        access = tuple(Access(a.stream, a.permission, a.status, a.error) for a in found.access)
        return Tested(
            keys.masked(source.api_key),
            found.account,
            client.mode(source.api_key),
            restricted,
            access,
            found.untold,
            () if rights is None else tuple(each for each in rights.rights if each.kind == "write"),
        )

    return outside.stripe(name, look, patience=PATIENCE)
