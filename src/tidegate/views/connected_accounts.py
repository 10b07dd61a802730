"""Accounts that are connected to a Stripe account: those of which something was pulled, and those at Stripe."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

import msgspec

from tidegate import catalog, errors
from tidegate.engine import place as places
from tidegate.pull import permissions, scope, settings
from tidegate.store import database
from tidegate.stripe import pages
from tidegate.views import accounts, outside

_ACCOUNT = re.compile(r"acct_[A-Za-z0-9]+")


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
    accounts.named(place.file, name)
    flows = [f"pull:{each}" for each, it in place.file.pulls.items() if it.connection == name]
    if not flows:
        return Several((), 0, None)
    chosen, given = database.among(flows)
    given |= {"search": f"%{_escaped(search.strip().lower())}%", "after": after, "limit": limit}
    where = f"flow IN {chosen} AND lower(account) LIKE :search ESCAPE '!'"
    rows = place.store.execute(
        "SELECT account, count(*) AS streams, min(at) AS at, "
        "sum(CASE WHEN status = 'no_permission' THEN 1 ELSE 0 END) AS refused, "
        "sum(CASE WHEN status = 'failed' THEN 1 ELSE 0 END) AS failed "
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
    source = dataclasses.replace(settings.source(accounts.named(place.file, name)), purse=place.purse)
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


def _escaped(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
