"""Settings that stand in several parts of the configuration: limits, retention; and what runs here."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from dataclasses import dataclass

import tidegate
from tidegate import catalog, config
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.store import database, records, retention, trail

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Limit:
    """How much of Stripe's rate limits one connection may take."""

    connection: str
    budget: float
    """The share of the rate limit."""
    rate: str
    """What was written in place of Stripe's own limits: `100/25`, `off`, or nothing."""
    reads_per_month: int | None
    locked: bool
    """Is it written in the file?"""


@dataclass(frozen=True, slots=True)
class Kept:
    """For how long one pull keeps things in its warehouse, in days; None is for ever."""

    pull: str
    warehouse: str
    events: float | None
    history: float | None
    deleted: float | None
    runs: float | None


@dataclass(frozen=True, slots=True)
class About:
    """What runs here."""

    version: str
    python: str
    system: str
    database: str
    """`sqlite` or `postgres`."""
    migrations: int
    """How many changes the metadata database has seen."""
    api_version: str
    """Stripe's version that tables follow."""
    streams: int
    packages: tuple[tuple[str, str, str], ...]
    """Name, version and licence of what it needs."""


def limits(place: places.Place) -> list[Limit]:
    """Those of every connection, by name."""
    stored = {
        each.name for each in editing.objects(place) if each.kind == "stripe" and each.origin == "store"
    }
    return [
        Limit(name, each.budget, _rate(each), each.reads_per_month, name not in stored)
        for name, each in sorted(place.file.stripe.items())
    ]


def kept(place: places.Place) -> list[Kept]:
    """What each pull keeps in its warehouse, by name."""
    found = []
    for name, pull in sorted(place.file.pulls.items()):
        given = pull.retention
        days = [
            None if each is None else each.total_seconds() / DAY
            for each in (given.events, given.history, given.deleted, given.runs)
        ]
        found.append(Kept(name, pull.warehouse, *days))
    return found


def kept_here() -> list[tuple[str, float, str]]:
    """What the metadata database keeps, for how many days, and what of it stays."""
    return [
        ("Runs with their logs and reports", retention.RUNS / DAY, "the newest run of every flow stays"),
        (
            "What Stripe delivered by webhooks",
            retention.DELIVERIES / DAY,
            "what a flow has not heard yet waits",
        ),
        ("What became of rows of syncs", records.KEPT / DAY, ""),
        ("The audit log", trail.KEPT / DAY, ""),
    ]


def about(place: places.Place) -> About:
    """What runs here."""
    known = catalog.load()
    return About(
        tidegate.__version__,
        platform.python_version(),
        platform.system(),
        place.store.kind,
        len(database.migrations()),
        known.api_version,
        len(known.streams),
        tuple(_packages()),
    )


def _rate(connection: config.Connection) -> str:
    found = connection.rate_limit
    if found is None:
        return ""
    return "off" if math.isinf(found.account) else f"{found.account:g}/{found.endpoint:g}"


def _packages() -> list[tuple[str, str, str]]:
    """The packages that are needed and installed, with what they say of their licence."""
    found = {}
    for line in importlib.metadata.requires("tidegate") or ():
        name = "".join(letter if letter.isalnum() or letter in "-_." else " " for letter in line).split()[0]
        try:
            data = importlib.metadata.metadata(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of an extra that is not installed
        found[data["Name"]] = (data["Name"], data["Version"], _licence(data))
    return sorted(found.values(), key=lambda each: each[0].lower())


def _licence(data: importlib.metadata.PackageMetadata) -> str:
    """What a package says of its licence: an expression, a short text, or a classifier."""
    said = data.get("License-Expression") or data.get("License") or ""  # type: ignore[attr-defined]
    if said and len(said) < 60 and "\n" not in said:
        return str(said)
    marks = [each for each in data.get_all("Classifier") or () if each.startswith("License ::")]
    return ", ".join(each.rpartition(" :: ")[2] for each in marks)
