"""Pushes: how each stands, and what one does, for whoever is about to keep it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pydantic

from tidegate import config, errors, views
from tidegate.catalog import writes
from tidegate.config import values
from tidegate.engine import editing, preparing, schedules
from tidegate.engine import place as places
from tidegate.store import database, holds, plans, runs
from tidegate.stripe import keys as keys_of_stripe
from tidegate.views import flows, issues
from tidegate.views import runs as known_runs

NOW = ("held", "waiting")
"""States of rows that are not written and that nobody has decided on."""


@dataclass(frozen=True, slots=True)
class Sync:
    """A push as the list of all shows it."""

    name: str
    push: config.Push
    standing: flows.Standing
    waiting: int
    """Rows that are not written."""
    plan: plans.Plan | None
    """The newest plan."""

    @property
    def waits(self) -> bool:
        """Does a plan that would write something wait for approval?"""
        return self.plan is not None and self.plan.state == "planned" and issues.writes(self.plan) > 0


@dataclass(frozen=True, slots=True)
class Figures:
    """What the newest run of a push came to, each row of the model once."""

    run: runs.Run | None
    funnel: tuple[known_runs.Bar, ...] = ()
    waiting: Mapping[str, int] = field(default_factory=dict)
    """Rows that are not written, by kind."""

    @property
    def unusable(self) -> int:
        """Rows that the run left out for their key or their values, and that wait for no decision of their own."""
        if self.run is None:
            return 0
        lost = sum(int(self.run.totals.get(name) or 0) for name in ("invalid", "quarantined"))
        return max(0, lost - sum(self.waiting.get(kind, 0) for kind in ("invalid", "refused", "undone")))


def listed(place: places.Place) -> list[Sync]:
    """All pushes of the configuration, in its order."""
    standing = {each.name: each for each in flows.listed(place, kind="push")}
    file, store = place.file, place.store
    found = []
    for name, push in file.pushes.items():
        if (stands := standing.get(f"push:{name}")) is None:  # it was added between the two looks
            continue
        found.append(Sync(name, push, stands, _waiting(store, name), plans.latest(store, name)))
    return found


def named(place: places.Place, name: str) -> config.Push:
    """A push of the configuration; raises Unknown."""
    known = place.file.pushes
    if name not in known:
        raise views.Unknown(f"There is no push {name!r}{values.suggestion(name, known) or '.'}")
    return known[name]


def one(place: places.Place, name: str) -> Sync:
    """One push; raises Unknown."""
    push = named(place, name)
    stands = flows.one(place, f"push:{name}")
    return Sync(name, push, stands, _waiting(place.store, name), plans.latest(place.store, name))


def figures_of(place: places.Place, sync: Sync) -> Figures:
    """What the newest run of a push that ended came to, and which of its rows wait."""
    waiting: dict[str, int] = {}
    for (kind, _), count in holds.counts(place.store, sync.name).items():
        waiting[kind] = waiting.get(kind, 0) + count
    waiting = dict(sorted(waiting.items(), key=lambda pair: -pair[1]))
    run = sync.standing.last
    funnel = () if run is None else known_runs.whole(place.store, run).funnel
    return Figures(run, funnel, waiting)


def schedule(push: config.Push) -> str:
    """When a push runs, in words."""
    return schedules.words(push.schedule)


def _waiting(store: database.Database, name: str) -> int:
    counts = holds.counts(store, name)
    return sum(count for (_, state), count in counts.items() if state in NOW)


def recap(place: places.Place, name: str, push: config.Push) -> str:
    """What a push does, in sentences, for whoever is about to keep it."""
    file = place.file
    connection = file.stripe.get(push.connection)
    secret = connection.api_key if connection is not None else None
    mode = "" if secret is None else f" ({keys_of_stripe.mode(secret.get_secret_value())} mode)"
    does = {
        "update_or_create": "updated, or created where there is none",
        "update_only": "updated, and never created",
        "create_only": "created where there is none, and never updated",
        "mirror": "updated, or created where there is none",
    }[push.behavior]
    found = " and ".join(push.match)
    gone = {
        "nothing": "nothing happens",
        "clear": "the fields that are sent are cleared",
        "flag": f"{push.flag} becomes true",
        "archive": "the object is archived",
        "delete": "the object is deleted",
    }[push.missing]
    names = list(push.fields)
    fields = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    when = "It runs when somebody starts it" if push.schedule == "manual" else f"It runs {schedule(push)}"
    return (
        f"Each row of {push.model} is a {push.object} of {push.connection}{mode}, found by {found}: it is {does}. "
        f"It gets {fields}. Where a row is gone, {gone}. {when}; make a plan first to see what {name} would write."
    )


def draft(place: places.Place, name: str, body: Mapping[str, Any], *, admin: bool = False) -> config.Push:
    """A push as this body says it, if it can work; raises ConfigError with its `problems`."""
    wrong = editing.check(place, "pushes", name, body, admin=admin)
    if wrong:
        said = "; ".join(f"{each.path}: {each.sentence}".removeprefix(": ") for each in wrong)
        raise errors.ConfigError(said, wrong)
    push = pydantic.TypeAdapter(config.Push).validate_python(dict(body))
    file = place.file
    preparing.job(file.model_copy(update={"pushes": {**file.pushes, name: push}}), name)
    return push


def objects() -> list[tuple[str, str]]:
    """What can be written, with a note where there is one."""
    return [(name, of.note) for name, of in sorted(writes.load().items())]


def targets(object: str) -> list[tuple[str, str]]:
    """The fields of an object that can be written, with their kinds; `metadata.` takes any key. Raises Unknown."""
    of = writes.find(object)
    if of is None:
        raise views.Unknown(f"{object} cannot be written{values.suggestion(object, writes.load()) or '.'}")
    found = [
        (path, each.kind)
        for path, each in of.fields.items()
        if each.writable("any") and each.kind != "hash" and path != "metadata"
    ]
    return [*found, *([("metadata.", "string")] if of.metadata else [])]


def matches(object: str) -> list[str]:
    """What finds an object, best first."""
    of = writes.find(object)
    return [] if of is None else ["metadata." if key == "metadata" else key for key in of.keys]
