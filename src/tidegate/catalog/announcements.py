"""Which event types speak of which stream: created, updated or deleted, or of none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from tidegate import catalog
from tidegate.catalog import facts, package

Strays = dict[str, dict[str, tuple[str, ...]]]


def announce(streams: Mapping[str, catalog.Stream]) -> tuple[dict[str, catalog.Stream], Strays]:
    """The streams with their events, and the event types that belong to none.

    v2 streams get none: their thin events are not among the snapshot events that `/v1/events` lists.
    """
    holders = _holders(streams.values())
    hints = {kind: package.object_name(name) for kind, name in package.event_objects().items()}
    found: dict[str, list[str]] = defaultdict(list)
    strays: Strays = {}
    for kind in package.event_types():
        names = [name for object in _objects(kind, hints) for name in holders.get(object, ())]
        for name in names:
            found[name].append(kind)
        if not names:
            strays[kind] = facts.STRAYS.get(kind, {})
    if unknown := set(facts.STRAYS) - set(strays):
        raise LookupError(f"facts.STRAYS names events that have a stream or do not exist: {sorted(unknown)}")
    if unknown := {*facts.EVENT_OBJECTS, *facts.STILL_THERE} - set(package.event_types()):
        raise LookupError(f"facts.py names event types that do not exist: {sorted(unknown)}")
    announced = {
        name: msgspec.structs.replace(stream, events=_events(name, found[name]))
        for name, stream in streams.items()
    }
    return announced, strays


def _objects(kind: str, hints: Mapping[str, str]) -> tuple[str, ...]:
    """The objects an event may carry: a fact, else the package's hint, else the type's words but the last."""
    if kind in facts.EVENT_OBJECTS:
        return facts.EVENT_OBJECTS[kind]
    return (hints.get(kind, kind.rpartition(".")[0]),)


def _holders(streams: Iterable[catalog.Stream]) -> dict[str, tuple[str, ...]]:
    holders: dict[str, list[str]] = defaultdict(list)
    for stream in streams:
        if stream.api == "v1":
            holders[stream.object].append(stream.name)
    return {object: facts.EVENT_STREAMS.get(object, tuple(names)) for object, names in holders.items()}


def _events(name: str, kinds: Iterable[str]) -> catalog.Events:
    first, last = facts.FIRST_EVENTS.get(name, ()), facts.LAST_EVENTS.get(name, ())
    created, updated, deleted = [], [], []
    for kind in kinds:
        if kind.endswith(".created") or kind in first:
            created.append(kind)
        elif (kind.endswith(".deleted") and kind not in facts.STILL_THERE) or kind in last:
            deleted.append(kind)
        else:
            updated.append(kind)
    missing = {*first, *last} - {*created, *deleted}
    if missing:
        raise LookupError(f"facts name events that {name} does not have: {sorted(missing)}")
    return catalog.Events(created=tuple(created), updated=tuple(updated), deleted=tuple(deleted))
