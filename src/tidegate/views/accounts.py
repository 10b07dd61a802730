"""Stripe accounts: the connections, what their keys may do, the accounts connected to them, and their webhooks."""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate import catalog, config, errors, views
from tidegate.catalog import writes
from tidegate.config import values
from tidegate.engine import editing, endpoints, readiness, traffic
from tidegate.engine import place as places
from tidegate.pull import permissions, scope, settings
from tidegate.store import database, trail
from tidegate.store import endpoints as kept
from tidegate.stripe import client, keys, pages
from tidegate.views import drafts, outside

DASHBOARD = "https://dashboard.stripe.com"
PATIENCE = 60.0
"""Seconds that a key is tried for: more than a hundred lists are asked for one row each, at its own pace."""
EVER = 10 * 366 * 86_400.0

_ACCOUNT = re.compile(r"acct_[A-Za-z0-9]+")


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
        'sum(CASE WHEN position LIKE \'%"status":"no_permission"%\' THEN 1 ELSE 0 END) AS refused '
        "FROM positions GROUP BY flow"
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


# --- connected accounts ---


@dataclass(frozen=True, slots=True)
class Connected:
    """One account of a connection; `streams` were pulled of it, the oldest of them at `noted_at`."""

    account: str
    streams: int
    refused: int
    failed: int
    noted_at: float


@dataclass(frozen=True, slots=True)
class Several:
    """A page of them, in the order of their ids."""

    items: tuple[Connected, ...]
    total: int
    next: str | None


def connected(
    place: places.Place, name: str, *, search: str = "", after: str = "", limit: int = 50
) -> Several:
    """The accounts of a connection of which something was pulled, page by page by their ids."""
    named(place.file, name)
    flows = [f"pull:{each}" for each, it in place.file.pulls.items() if it.connection == name]
    if not flows:
        return Several((), 0, None)
    chosen, given = database.among(flows)
    given |= {"search": f"%{_escaped(search.strip().lower())}%", "after": after, "limit": limit}
    where = f"flow IN {chosen} AND lower(account) LIKE :search ESCAPE '!'"
    rows = place.store.execute(
        "SELECT account, count(*) AS streams, min(at) AS at, "
        'sum(CASE WHEN position LIKE \'%"status":"no_permission"%\' THEN 1 ELSE 0 END) AS refused, '
        'sum(CASE WHEN position LIKE \'%"status":"failed"%\' THEN 1 ELSE 0 END) AS failed '
        f"FROM positions WHERE {where} AND account > :after GROUP BY account ORDER BY account LIMIT :limit",
        given,
    )
    total = place.store.one(f"SELECT count(DISTINCT account) AS n FROM positions WHERE {where}", given)
    items = tuple(
        Connected(row["account"], int(row["streams"]), int(row["refused"]), int(row["failed"]), row["at"])
        for row in rows
    )
    return Several(
        items, 0 if total is None else int(total["n"]), items[-1].account if len(items) == limit else None
    )


@dataclass(frozen=True, slots=True)
class AtStripe:
    """A connected account as Stripe has it; `name` is that of its business."""

    account: str
    name: str
    country: str
    enabled: bool
    """May it take charges?"""
    created: float | None


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of Stripe's own list, the newest first; `next` is given as `after`."""

    items: tuple[AtStripe, ...]
    next: str | None


class _Profile(msgspec.Struct):
    name: str | None = None


class _Account(msgspec.Struct):
    id: str
    business_profile: _Profile | None = None
    country: str | None = None
    charges_enabled: bool = False
    created: float | None = None


class _Accounts(msgspec.Struct):
    data: list[_Account]
    has_more: bool = False


def at_stripe(
    place: places.Place, name: str, *, search: str = "", after: str = "", limit: int = 50
) -> Listed:
    """The accounts that are connected to a connection's own, as Stripe lists them now; or the one of this id.

    Stripe can be asked for one id, and for nothing else: raises ConfigError for another search.
    """
    wanted = search.strip()
    if wanted and not _ACCOUNT.fullmatch(wanted):
        raise errors.ConfigError(
            "Stripe finds connected accounts by their whole id alone; give one such as acct_1AbCdEf."
        )
    source = dataclasses.replace(settings.source(named(place.file, name)), purse=place.purse)
    origin = catalog.load().streams["accounts"].origins[0]

    async def look() -> Listed:
        async with scope.connect(source) as stripe:
            if wanted:
                try:
                    answer = await stripe.get(f"{origin.path}/{wanted}", endpoint=f"{origin.path}/{{}}")
                except errors.StripeError as error:
                    if isinstance(error, errors.Missing) or error.code in permissions.UNKNOWN:
                        return Listed((), None)
                    raise
                return Listed((_told(msgspec.json.decode(answer.body, type=_Account)),), None)
            params = pages.list_params(origin, limit=min(limit, 100), after=after or None)
            answer = await stripe.get(origin.path, params)
            page = msgspec.json.decode(answer.body, type=_Accounts)
            items = tuple(map(_told, page.data))
            return Listed(items, items[-1].account if page.has_more and items else None)

    return outside.stripe(name, look)


def _told(found: _Account) -> AtStripe:
    called = found.business_profile.name if found.business_profile is not None else None
    return AtStripe(found.id, called or "", found.country or "", found.charges_enabled, found.created)


# --- webhooks ---


@dataclass(frozen=True, slots=True)
class Webhooks:
    """The endpoints of a connection, and what came through them."""

    endpoints: tuple[endpoints.Told, ...]
    traffic: traffic.Traffic


def webhooks(place: places.Place, name: str, *, ask: bool = False) -> Webhooks:
    """The endpoints of a connection; only with `ask` Stripe is asked what it says of them now."""
    named(place.file, name)
    rows = kept.kept(place.store, name)
    told = [endpoints.Told(row, "", None) for row in rows]
    if ask and rows:
        told = outside.stripe(name, lambda: endpoints.listed(place.file, place.store, name))
    return Webhooks(tuple(told), traffic.delivered(place.file, place.store, name))


def enable_webhooks(
    place: places.Place, who: views.Who, name: str, url: str, *, rotate: bool = False
) -> list[endpoints.Enabled]:
    """Have Stripe deliver to this server, at `url`; with `rotate` by other endpoints, with other secrets."""
    named(place.file, name)
    done = outside.stripe(
        name, lambda: endpoints.enable(place.file, place.store, name, url, rotate=rotate), patience=PATIENCE
    )
    said = [{"id": each.id, "url": each.url, "types": each.types, "made": each.made} for each in done]
    _note(place, who, "rotate" if rotate else "enable", name, said)
    return done


def disable_webhooks(place: places.Place, who: views.Who, name: str) -> int:
    """Have Stripe deliver nothing more; says how many endpoints are gone."""
    named(place.file, name)
    gone = outside.stripe(name, lambda: endpoints.disable(place.file, place.store, name), patience=PATIENCE)
    _note(place, who, "disable", name, {"removed": gone})
    return gone


def replay_webhooks(place: places.Place, who: views.Who, name: str, seconds: float = EVER) -> dict[str, int]:
    """Have every flow hear again what was delivered in so many last seconds; how many events, by flow."""
    named(place.file, name)
    found = traffic.replay(place.file, place.store, name, seconds)
    _note(place, who, "replay", name, found)
    return found


def prove_webhooks(place: places.Place, who: views.Who, name: str, url: str = "") -> str:
    """Deliver a signed event to ourselves, on the way that Stripe takes; the address that took it."""
    named(place.file, name)
    target = outside.stripe(name, lambda: traffic.prove(place.file, place.store, name, url), patience=25.0)
    _note(place, who, "test", name, {"url": target})
    return target


def since(text: str | None) -> float:
    """The seconds of a span such as 2h; without one, for ever. Raises ConfigError."""
    if not text:
        return EVER
    try:
        return values.duration(text).total_seconds()
    except (ValueError, OverflowError):
        raise errors.ConfigError(f"--since: {text!r} is no span of time; write it like 2h or 3d") from None


def _note(place: places.Place, who: views.Who, action: str, name: str, after: object) -> None:
    trail.note(place.store, who.name, action, f"webhooks.{name}", after=after, via=who.via)


def _escaped(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
