"""What was touched of a stream, and its top-level objects in the order of lists, the world's and these together."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tidegate.sandbox import world as worlds

# Stripe appends these inside their parent; every other list begins with the newest.
APPENDED = frozenset({"subscription_items"})

# Fields by which the touched objects of a stream are found without looking at each of them.
INDEXED: Mapping[str, tuple[str, ...]] = {
    "customers": ("email",),
    "invoice_items": ("customer", "invoice"),
    "invoices": ("customer",),
    "payment_methods": ("customer",),
    "prices": ("lookup_key", "product"),
    "promotion_codes": ("code",),
    "subscriptions": ("customer",),
}


class Ref(NamedTuple):
    """Where an object stands: a base ordinal (of a parent), or one of the overlay."""

    created: int
    born: int
    """0 for base objects, 1 for the overlay's."""
    n: int
    id: str
    """Only of the overlay's; base objects have theirs computed."""
    parent: int | None = None


@dataclass
class Shelf:
    """What was touched of one stream."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    order: list[tuple[int, int, str]] = field(default_factory=list)
    born: dict[str, list[str]] = field(default_factory=dict)
    base: dict[tuple[int | None, int], str] = field(default_factory=dict)
    """Base objects that were changed or deleted, by parent's ordinal and ordinal."""
    gone: dict[str, dict[str, Any]] = field(default_factory=dict)
    gaps: set[tuple[int | None, int]] = field(default_factory=set)
    """The deleted ones among `base`."""
    index: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """Keys of `objects` by field and folded value, of the fields in `INDEXED`."""

    def store(self, stream: str, key: str, obj: dict[str, Any]) -> None:
        """Put an object under its key, and under what it is found by."""
        self.unindex(stream, key)
        self.objects[key] = obj
        for name in INDEXED.get(stream, ()):
            if isinstance(value := obj.get(name), str):
                self.index.setdefault((name, value.casefold()), set()).add(key)

    def unindex(self, stream: str, key: str) -> None:
        """The object under this key is not found by its fields any more."""
        known = self.objects.get(key, {})
        for name in INDEXED.get(stream, ()):
            if isinstance(value := known.get(name), str):
                self.index.get((name, value.casefold()), set()).discard(key)

    def having(self, stream: str, equal: Mapping[str, str]) -> Set[str] | None:
        """The keys of objects that may hold these values, whatever their case; None when any may."""
        known = [name for name in INDEXED.get(stream, ()) if name in equal]
        if not known:
            return None
        return set.intersection(*(self.index.get((name, equal[name].casefold()), set()) for name in known))

    def created(
        self, low: int | None, top: int | None, keys: Set[str] | None = None
    ) -> list[tuple[int, int, str]]:
        """What of `order` was created in [low, top); only of these keys, where they are given."""
        if keys is not None:
            born = sorted((*self.objects[key]["_born"], key) for key in keys if "_born" in self.objects[key])
            return [
                entry
                for entry in born
                if (low is None or entry[0] >= low) and (top is None or entry[0] < top)
            ]
        first = 0 if low is None else bisect.bisect_left(self.order, (low, -1, ""))
        last = len(self.order) if top is None else bisect.bisect_left(self.order, (top, -1, ""))
        return self.order[first:last]


def descending(
    world: worlds.World,
    stream: str,
    shelf: Shelf,
    high: Ref | None,
    low: int | None,
    top: int | None,
    chosen: Sequence[int] | None = None,
    keys: Set[str] | None = None,
) -> Iterator[Ref]:
    """Top-level refs newest first: older than `high`, created in [low, top).

    Where they are given, of the base only the `chosen` ones, and of the overlay only these `keys`.
    """
    bounds = _base_bounds(world, stream, low, top)
    if high is not None:
        last = high.n if high.born == 0 else _base_bounds(world, stream, None, high.created + 1)[1]
        bounds = (bounds[0], min(bounds[1], last))
    base = _ordinals(bounds, chosen)
    new = shelf.created(low, top, keys)
    if high is not None:
        ceiling = (high.created, high.n) if high.born else (high.created, -1)
        new = new[: bisect.bisect_left(new, (*ceiling, ""))]
    return _merge(world, stream, shelf, reversed(base), list(reversed(new)), newest_first=True)


def ascending(
    world: worlds.World,
    stream: str,
    shelf: Shelf,
    low: Ref,
    bottom: int | None,
    top: int | None,
    chosen: Sequence[int] | None = None,
    keys: Set[str] | None = None,
) -> Iterator[Ref]:
    """Top-level refs oldest first: newer than `low`, created in [bottom, top)."""
    bounds = _base_bounds(world, stream, bottom, top)
    first = low.n + 1 if low.born == 0 else _base_bounds(world, stream, None, low.created + 1)[1]
    base = _ordinals((max(bounds[0], first), bounds[1]), chosen)
    new = shelf.created(bottom, top, keys)
    floor = (low.created, low.n + 1) if low.born else (low.created, -1)
    new = new[bisect.bisect_left(new, (*floor, "")) :]
    return _merge(world, stream, shelf, iter(base), new, newest_first=False)


def children(
    world: worlds.World, stream: str, shelf: Shelf, number: int | None, parent: str
) -> Iterator[Ref]:
    """A parent's children in list order; the world knows the parent by its number, or does not."""
    new = (Ref(0, 1, n, key) for n, key in enumerate(shelf.born.get(parent, ())))
    if stream not in APPENDED:
        yield from new
    if number is not None:
        for ordinal in range(world.count(stream, number)):
            if (number, ordinal) not in shelf.gaps:
                yield Ref(0, 0, ordinal, "", number)
    if stream in APPENDED:
        yield from new


def _base_bounds(world: worlds.World, stream: str, low: int | None, top: int | None) -> tuple[int, int]:
    first = 0 if low is None else world.bisect(stream, low)
    last = world.count(stream) if top is None else world.bisect(stream, top)
    return first, last


def _ordinals(bounds: tuple[int, int], chosen: Sequence[int] | None) -> Sequence[int]:
    first, last = bounds
    if chosen is None:
        return range(first, max(first, last))
    return chosen[bisect.bisect_left(chosen, first) : bisect.bisect_left(chosen, last)]


def _merge(
    world: worlds.World,
    stream: str,
    shelf: Shelf,
    base: Iterable[int],
    new: Sequence[tuple[int, int, str]],
    *,
    newest_first: bool,
) -> Iterator[Ref]:
    """Base ordinals and the overlay's entries in one order; deleted base objects are left out."""
    position = 0
    for ordinal in base:
        if shelf.gaps and (None, ordinal) in shelf.gaps:
            continue
        created = world.created(stream, ordinal) if position < len(new) else 0
        while position < len(new) and (
            new[position][0] >= created if newest_first else new[position][0] < created
        ):
            if new[position][2] not in shelf.gone:
                yield Ref(new[position][0], 1, new[position][1], new[position][2])
            position += 1
        yield Ref(created, 0, ordinal, "")
    for entry in new[position:]:
        if entry[2] not in shelf.gone:
            yield Ref(entry[0], 1, entry[1], entry[2])


def copied(value: Any) -> Any:
    """A copy of JSON, nothing of it shared; ten times as fast as `copy.deepcopy`, which looks for cycles."""
    if isinstance(value, dict):
        return {name: copied(each) for name, each in value.items()}
    return [copied(each) for each in value] if isinstance(value, list) else value


def public(obj: dict[str, Any]) -> dict[str, Any]:
    """The object without the overlay's own marks (changed in place when it is a copy)."""
    return {name: value for name, value in obj.items() if name[0] != "_"}
