"""The definitions that a pipeline ran with: what changed between two, and going back to one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate import views
from tidegate.engine import differences, editing
from tidegate.engine import place as places
from tidegate.store import database, definitions
from tidegate.views import escaping, pipeline_trials, pipelines

DEFINED = ("stream", "filter", "map", "function", "cases")
"""What a definition says of a pipeline; all else of it stays as it is."""


@dataclass(frozen=True, slots=True)
class Version:
    """A definition that a pipeline ran with."""

    number: int
    digest: str
    first_at: float
    body: Mapping[str, Any]


def versions(store: database.Database, name: str) -> list[Version]:
    """The definitions that a pipeline ran with, the newest first."""
    return [_version(each) for each in definitions.listed(store, name)]


def version(store: database.Database, name: str, number: int) -> Version:
    """One of them; raises Unknown."""
    found = definitions.get(store, name, number) if 0 < number < 2**31 else None
    if found is None:
        raise views.Unknown(f"The pipeline {name} never ran with a version {number}.")
    return _version(found)


def compared(before: Version | None, after: Version) -> list[differences.Difference]:
    """What is different between two, value by value."""
    return differences.between({} if before is None else _plain(before.body), _plain(after.body))


def restored(body: Mapping[str, Any], found: Version) -> dict[str, Any]:
    """The body of a pipeline with what a version says in the place of what it says now."""
    told = {key: each for key, each in found.body.items() if key in DEFINED}
    if isinstance(of := told.get("function"), Mapping):
        [(language, lines)] = of.items()
        now = body.get("function")
        limits = (
            {key: now[key] for key in ("timeout", "memory") if key in now} if isinstance(now, Mapping) else {}
        )
        text = "".join(f"{line}\n" for line in lines)
        told["function"] = {"language": language, "code": escaping.escaped(text), **limits}
    if told.get("cases"):
        told["cases"] = escaping.deep_escaped(told["cases"])
    return {**{key: each for key, each in body.items() if key not in DEFINED}, **told}


def restore(
    place: places.Place, who: views.Who, name: str, number: int, *, admin: bool = False
) -> editing.Change:
    """Have a pipeline be as a version was, as a change of its own; raises Unknown, Refused, and as `keep` does."""
    part = pipelines.written(place, name)
    body = restored(part.body, version(place.store, name, number))
    return pipeline_trials.keep(place, who, name, body, part.version, admin=admin)


def _version(found: definitions.Definition) -> Version:
    return Version(found.number, found.digest, found.first_at, msgspec.json.decode(found.body))


def _plain(body: Mapping[str, Any]) -> dict[str, Any]:
    """A definition with its function line by line, so that lines are compared."""
    told = dict(body)
    if isinstance(of := told.get("function"), Mapping):
        told["function"] = {
            language: {f"line {n:03}": line for n, line in enumerate(lines, 1)}
            for language, lines in of.items()
        }
    return told
