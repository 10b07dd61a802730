"""Flows that run after other flows: what `{after: NAME}` means, and what is wrong with it.

A flow is a pull, a pipeline or a push; its full name is `pull:NAME`, `pipeline:NAME` or `push:NAME`.
"""

from __future__ import annotations

import graphlib
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tidegate.config import document, values

if TYPE_CHECKING:
    from tidegate import config as configuration

SECTIONS = {"pull": "pulls", "pipeline": "pipelines", "push": "pushes"}
"""Kind of flow -> where the configuration has them."""


def downstream(config: configuration.Config) -> dict[str, tuple[str, ...]]:
    """Flow -> the flows that run whenever it has ended well, by their full names."""
    names = {kind: getattr(config, section) for kind, section in SECTIONS.items()}
    found: dict[str, list[str]] = {}
    for kind, flows in names.items():
        for name, flow in flows.items():
            others = flow.schedule.after if isinstance(flow.schedule, values.After) else ()
            for other in dict.fromkeys(_meant(each, names)[0] for each in others):
                found.setdefault(other, []).append(f"{kind}:{name}")
    return {flow: tuple(others) for flow, others in found.items()}


def problems(data: Mapping[str, Any]) -> list[tuple[document.Place, str]]:
    """References that lead nowhere or to several flows, to one that never ends, or round in a circle."""
    names = {kind: _mapping(data.get(section)) for kind, section in SECTIONS.items()}
    wrong: list[tuple[document.Place, str]] = []
    places: dict[tuple[str, str], document.Place] = {}
    for own, place, written in _references(names):
        found = _meant(written, names)
        if not found:
            others = [
                name if ":" not in written else f"{kind}:{name}"
                for kind, each in names.items()
                for name in each
                if f"{kind}:{name}" != own
            ]
            hint = values.suggestion(written, others)
            wrong.append((place, f"there is no pull, pipeline or push of this name{hint}"))
        elif len(found) > 1:
            wrong.append((place, f"several flows have this name; write {' or '.join(found)}"))
        elif _is_continuous(found[0], names):
            wrong.append(
                (place, "this one is continuous and never ends; write an interval, such as every 15m")
            )
        else:
            places.setdefault((own, found[0]), place)
    return wrong + _circles(places)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _meant(written: str, names: Mapping[str, Collection[str]]) -> list[str]:
    """The full names of the flows that a name can mean."""
    said, _, name = written.rpartition(":")
    return [f"{kind}:{name}" for kind in SECTIONS if said in ("", kind) and name in names[kind]]


def _references(names: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, document.Place, str]]:
    """Every name under an `after`: whose it is, where it stands, and the name as it is written."""
    for kind, section in SECTIONS.items():
        for name, flow in names[kind].items():
            place: document.Place = (section, name, "schedule", "after")
            after = _mapping(_mapping(flow).get("schedule")).get("after")
            if isinstance(after, str):
                yield f"{kind}:{name}", place, after
            for n, each in enumerate(after if isinstance(after, list) else ()):
                if isinstance(each, str):
                    yield f"{kind}:{name}", (*place, n), each


def _is_continuous(flow: str, names: Mapping[str, Mapping[str, Any]]) -> bool:
    kind, _, name = flow.partition(":")
    schedule = _mapping(names[kind][name]).get("schedule")
    return isinstance(schedule, str) and schedule.strip().lower() == "continuous"


def _circles(places: Mapping[tuple[str, str], document.Place]) -> list[tuple[document.Place, str]]:
    """Every circle once, at the reference of that of its flows that the file has first."""
    after: dict[str, list[str]] = {}
    for own, other in places:
        after.setdefault(own, []).append(other)
    order = list(after)
    wrong: list[tuple[document.Place, str]] = []
    while True:
        try:
            graphlib.TopologicalSorter(after).prepare()
        except graphlib.CycleError as error:
            # Each flow of it stands before the one that runs after it, and the first stands at the end again.
            way = list(reversed(error.args[1][1:]))
        else:
            return wrong
        first = min(range(len(way)), key=lambda n: order.index(way[n]))
        way = way[first:] + way[:first]
        other = way[1 % len(way)]
        after[way[0]].remove(other)
        what = (
            f"a circle: {' after '.join((*way, way[0]))}"
            if len(way) > 1
            else "a flow cannot run after itself"
        )
        wrong.append((places[way[0], other], f"{what}; give one an interval, such as every 15m"))
