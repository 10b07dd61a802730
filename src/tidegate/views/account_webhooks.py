"""What Stripe delivers for a connection: endpoints made and ended, events heard again, and a proof."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from tidegate import config, errors, views
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
    with enabling(place.store, who, name, url, rotate=rotate) as made:
        done = outside.stripe(
            name,
            lambda: endpoints.enable(place.file, place.store, name, url, rotate=rotate, intent=made.begin),
            patience=accounts.PATIENCE,
        )
        made.after = told(done)
    return done


def disable_webhooks(place: places.Place, who: views.Who, name: str) -> int:
    """Have Stripe deliver nothing more; says how many endpoints are gone."""
    accounts.named(place.file, name)
    with disabling(place.store, who, name) as made:
        gone = outside.stripe(
            name,
            lambda: endpoints.disable(place.file, place.store, name, intent=made.begin),
            patience=accounts.PATIENCE,
        )
        made.known["removed"] = gone
    return gone


def replay_webhooks(place: places.Place, who: views.Who, name: str, seconds: float = EVER) -> dict[str, int]:
    """Have every flow hear again what was delivered in so many last seconds; how many events, by flow."""
    accounts.named(place.file, name)
    return replayed(place.file, place.store, who, name, seconds)


def prove_webhooks(place: places.Place, who: views.Who, name: str, url: str = "") -> str:
    """Deliver a signed event to ourselves, on the way that Stripe takes; the address that took it."""
    accounts.named(place.file, name)
    target = outside.stripe(name, lambda: traffic.prove(place.file, place.store, name, url), patience=25.0)
    proved(place.store, who, name, target)
    return target


def since(text: str | None) -> float:
    """The seconds of a span such as 2h; without one, for ever. Raises ConfigError."""
    if not text:
        return EVER
    try:
        return values.duration(text).total_seconds()
    except (ValueError, OverflowError):
        raise errors.ConfigError(f"--since: {text!r} is no span of time; write it like 2h or 3d") from None


def enabling(
    store: database.Database, who: views.Who, name: str, url: str, *, rotate: bool = False
) -> contextlib.AbstractContextManager[trail.Elsewhere]:
    """Tell the audit log, before and after, of endpoints that Stripe delivers to from now on."""
    return trail.around(store, _line(who, "rotate" if rotate else "enable", name), url=url)


def told(done: Sequence[endpoints.Enabled]) -> list[dict[str, object]]:
    """The endpoints that Stripe delivers to now, as the audit log tells of them."""
    return [{"id": each.id, "url": each.url, "types": each.types, "made": each.made} for each in done]


def disabling(
    store: database.Database, who: views.Who, name: str
) -> contextlib.AbstractContextManager[trail.Elsewhere]:
    """Tell the audit log, before and after, that Stripe delivers nothing more."""
    return trail.around(store, _line(who, "disable", name))


def replayed(
    file: config.Config, store: database.Database, who: views.Who, name: str, seconds: float
) -> dict[str, int]:
    """Have every flow hear again what was delivered; the audit log tells of it in the same transaction."""
    line = _line(who, "replay", name)

    def noted(session: database.Session, found: dict[str, int]) -> None:
        dataclasses.replace(line, after=found).write(session)

    return traffic.replay(file, store, name, seconds, noted)


def proved(store: database.Database, who: views.Who, name: str, url: str) -> None:
    """Tell the audit log that an event was delivered to ourselves; nothing was changed by that."""
    dataclasses.replace(_line(who, "test", name), after={"url": url}).write(store)


def _line(who: views.Who, action: str, name: str) -> trail.Note:
    return trail.Note(who.name, action, f"webhooks.{name}", via=who.via)
