"""Alerts: what needs a person or did, who was told of it, and whether people are reached."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate import config, errors, views
from tidegate.config import channels
from tidegate.engine import matters, outbox
from tidegate.engine import place as places
from tidegate.store import notices, trail


@dataclass(frozen=True, slots=True)
class Alert:
    """One matter; `told` in the words of `tidegate alerts`."""

    notice: notices.Notice
    title: str
    told: str


@dataclass(frozen=True, slots=True)
class Alerts:
    """A page of them: `total` is how many there are on all pages."""

    items: tuple[Alert, ...]
    total: int
    next: int | None


@dataclass(frozen=True, slots=True)
class Target:
    """A channel on which people are told; `where` without anything that lets others tell on it, too."""

    name: str
    kind: str
    where: str
    open: int
    """Matters of which it told, or tries to."""
    error: str
    """Why the last message did not arrive; empty where it did."""


@dataclass(frozen=True, slots=True)
class Tested:
    """What came of a test message; `error` is empty where it arrived."""

    channel: str
    error: str


def listed(
    place: places.Place,
    *,
    ended: bool = False,
    search: str = "",
    kind: str = "",
    flow: str = "",
    after: int = 0,
    limit: int = 100,
) -> Alerts:
    """Open matters, oldest first; with those that have `ended`, which stand last. `after` counts those before."""
    wanted = search.strip().lower()
    found = [
        each
        for each in notices.listed(place.store, ended=ended)
        if (not wanted or wanted in f"{each.text} {each.matter}".lower())
        and (not kind or each.kind == kind)
        and (not flow or each.flow == flow)
    ]
    page = tuple(Alert(each, matters.title(each), told(each)) for each in found[after : after + limit])
    following = after + len(page)
    return Alerts(page, len(found), following if following < len(found) else None)


def described(notice: notices.Notice) -> dict[str, Any]:
    """A matter, as `tidegate alerts --json` prints it."""
    by_channel = {name: msgspec.to_builtins(each) for name, each in notice.told.items()}
    return {**dataclasses.asdict(dataclasses.replace(notice, told={})), "told": by_channel}


def told(notice: notices.Notice) -> str:
    """The channels that were told, and those that fail."""
    words = [
        f"{name} fails" if each.tries and each.error else name
        for name, each in sorted(notice.told.items())
        if each.opened == notice.opened_at or each.tries
    ]
    return ", ".join(words) or "nobody"


def test(file: config.Config) -> list[Tested]:
    """Send a message on every channel; raises ConfigError where there is none."""
    found = outbox.test(file)
    if not found:
        raise errors.ConfigError(
            "the configuration has no `alerts:`; add slack, email or webhook to it to be told"
        )
    return [Tested(name, said) for name, said in found.items()]


def test_as(place: places.Place, who: views.Who) -> list[Tested]:
    """The same, noted in the audit log."""
    found = test(place.file)
    said = {each.channel: each.error or "sent" for each in found}
    trail.note(place.store, who.name, "test", "alerts", after=said, via=who.via)
    return found


def targets(place: places.Place) -> list[Target]:
    """The channels of the configuration."""
    alerts = place.file.alerts
    if alerts is None:
        return []
    notes = notices.listed(place.store)
    found = []
    if alerts.email is not None:
        server = channels.server(alerts.email.smtp.get_secret_value())
        found.append(("email", f"{_people(alerts.email.to)} by {server.host}"))
    if alerts.slack is not None:
        found.append(("slack", _host(alerts.slack.webhook.get_secret_value())))
    if alerts.webhook is not None:
        found.append(("webhook", _host(alerts.webhook.url.get_secret_value())))
    return [_target(name, where, notes) for name, where in found]


def _target(name: str, where: str, notes: Sequence[notices.Notice]) -> Target:
    mine = [each.told[name] for each in notes if name in each.told]
    latest = max(mine, key=lambda each: max(each.at, each.tried), default=None)
    failing = latest is not None and latest.tries > 0
    return Target(name, name, where, len(mine), latest.error if latest is not None and failing else "")


def _people(addresses: Sequence[str]) -> str:
    more = len(addresses) - 1
    return addresses[0] + (f" and {more} more" if more else "")


def _host(url: str) -> str:
    """The host: whoever knows the path of such an address may tell on it, too."""
    return url.partition("://")[2].partition("/")[0]
