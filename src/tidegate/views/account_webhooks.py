"""What Stripe delivers for a connection: endpoints made and ended, events heard again, and a proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate import errors, views
from tidegate.config import values
from tidegate.engine import endpoints, traffic
from tidegate.engine import place as places
from tidegate.store import database, trail
from tidegate.store import endpoints as kept
from tidegate.views import accounts, outside

EVER = 10 * 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Webhooks:
    """The endpoints of a connection, and what came through them."""

    endpoints: tuple[endpoints.Told, ...]
    traffic: traffic.Traffic


def webhooks(place: places.Place, name: str, *, ask: bool = False) -> Webhooks:
    """The endpoints of a connection; only with `ask` Stripe is asked what it says of them now."""
    accounts.named(place.file, name)
    rows = kept.kept(place.store, name)
    told = [endpoints.Told(row, "", None) for row in rows]
    if ask and rows:
        told = outside.stripe(name, lambda: endpoints.listed(place.file, place.store, name))
    return Webhooks(tuple(told), traffic.delivered(place.file, place.store, name))


def enable_webhooks(
    place: places.Place, who: views.Who, name: str, url: str, *, rotate: bool = False
) -> list[endpoints.Enabled]:
    """Have Stripe deliver to this server, at `url`; with `rotate` by other endpoints, with other secrets."""
    accounts.named(place.file, name)
    done = outside.stripe(
        name,
        lambda: endpoints.enable(place.file, place.store, name, url, rotate=rotate),
        patience=accounts.PATIENCE,
    )
    enabled(place.store, who, name, done, rotate=rotate)
    return done


def disable_webhooks(place: places.Place, who: views.Who, name: str) -> int:
    """Have Stripe deliver nothing more; says how many endpoints are gone."""
    accounts.named(place.file, name)
    gone = outside.stripe(
        name, lambda: endpoints.disable(place.file, place.store, name), patience=accounts.PATIENCE
    )
    noted(place.store, who, "disable", name, {"removed": gone})
    return gone


def replay_webhooks(place: places.Place, who: views.Who, name: str, seconds: float = EVER) -> dict[str, int]:
    """Have every flow hear again what was delivered in so many last seconds; how many events, by flow."""
    accounts.named(place.file, name)
    found = traffic.replay(place.file, place.store, name, seconds)
    noted(place.store, who, "replay", name, found)
    return found


def prove_webhooks(place: places.Place, who: views.Who, name: str, url: str = "") -> str:
    """Deliver a signed event to ourselves, on the way that Stripe takes; the address that took it."""
    accounts.named(place.file, name)
    target = outside.stripe(name, lambda: traffic.prove(place.file, place.store, name, url), patience=25.0)
    noted(place.store, who, "test", name, {"url": target})
    return target


def since(text: str | None) -> float:
    """The seconds of a span such as 2h; without one, for ever. Raises ConfigError."""
    if not text:
        return EVER
    try:
        return values.duration(text).total_seconds()
    except (ValueError, OverflowError):
        raise errors.ConfigError(f"--since: {text!r} is no span of time; write it like 2h or 3d") from None


def enabled(
    store: database.Database,
    who: views.Who,
    name: str,
    done: Sequence[endpoints.Enabled],
    *,
    rotate: bool = False,
) -> None:
    """Tell the audit log of endpoints that Stripe delivers to from now on."""
    said = [{"id": each.id, "url": each.url, "types": each.types, "made": each.made} for each in done]
    noted(store, who, "rotate" if rotate else "enable", name, said)


def noted(store: database.Database, who: views.Who, action: str, name: str, after: object) -> None:
    """Tell the audit log what was done about the webhooks of a connection."""
    trail.note(store, who.name, action, f"webhooks.{name}", after=after, via=who.via)
