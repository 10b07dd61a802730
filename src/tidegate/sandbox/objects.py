"""One account's objects: the generated world, and over it what was created, changed or deleted through the API.

Base objects are never stored; the overlay holds only what somebody touched (see `shelves`). Nested lists are never
stored either (see `nesting`).
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

import msgspec

from tidegate import catalog
from tidegate.sandbox import clock as clocks
from tidegate.sandbox import history, ids, nesting, settling, shelves
from tidegate.sandbox import world as worlds

Object = dict[str, Any]


class Book:
    """All objects of one account."""

    def __init__(
        self,
        world: worlds.World,
        account: str,
        clock: clocks.Clock,
        facts: catalog.Catalog,
        *,
        record: bool = False,
        shuffle: bool = False,
        lag: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.world = world
        self.account = account
        self.clock = clock
        self.facts = facts
        self.dirty: set[tuple[str, str]] = set()
        """Parents (stream, id) whose nested lists differ from the world's."""
        self._dirty_streams: set[str] = set()
        self._lag = lag
        """Seconds until a search sees what was written."""
        self._unsettled: dict[tuple[str, str], list[tuple[float, Object | None]]] = {}
        """What searchable objects held before each of their last changes, and when these were."""
        self._shelves: dict[str, shelves.Shelf] = {}
        self.identifiers: dict[str, float] = {}
        """Of meter events, and when they came: the clock's seconds."""
        self.usage: list[Object] = []
        """The meter events that were taken."""
        self._sequence = itertools.count()
        self._shuffle = shuffle
        self.settling = settling.Settling(self)
        self.history = (
            history.History(lambda key: self.get(key.stream, key.id, key.parent)) if record else None
        )
        """What every touched object looked like; None unless asked for."""

    def stream(self, name: str) -> catalog.Stream:
        """The catalog's entry."""
        return self.facts.streams[name]

    def shelf(self, stream: str) -> shelves.Shelf:
        """The overlay of a stream."""
        return self._shelves.setdefault(stream, shelves.Shelf())

    def touched(self, stream: str) -> bool:
        """Was anything of the stream created, changed or deleted?"""
        return stream in self._shelves

    @property
    def changed(self) -> bool:
        """Was anything written here?"""
        return bool(self._shelves)

    def pristine(self, stream: str) -> bool:
        """Do all its objects stand as the world renders them?"""
        return stream not in self._shelves and stream not in self._dirty_streams

    def locate(self, stream: str, id: str, parent: str = "") -> shelves.Ref | None:
        """Where the object stands, deleted ones included; `parent` only matters where ids repeat."""
        shelf = self._shelves.get(stream)
        if shelf is not None:
            key = self._key(stream, id, parent)
            obj = shelf.objects.get(key) or shelf.gone.get(key)
            if obj is not None and (born := obj.get("_born")) is not None:
                return shelves.Ref(born[0], 1, born[1], key)
        found = self._find_base(stream, id, parent)
        if found is None:
            return None
        ordinal, above = found
        return shelves.Ref(
            0 if above is not None else self.world.created(stream, ordinal), 0, ordinal, "", above
        )

    def exists(self, stream: str, id: str, parent: str = "") -> bool:
        """Is there such an object, not deleted?"""
        shelf = self._shelves.get(stream)
        if shelf is not None:
            key = self._key(stream, id, parent)
            if key in shelf.gone:
                return False
            if key in shelf.objects:
                return not parent or not shelf.parents.get(key) or shelf.parents[key] == parent
        return self._find_base(stream, id, parent) is not None

    def tombstone(self, stream: str, id: str, parent: str = "") -> Object | None:
        """What a deleted object left behind."""
        shelf = self._shelves.get(stream)
        return (
            shelves.public(shelf.gone[key])
            if shelf and (key := self._key(stream, id, parent)) in shelf.gone
            else None
        )

    def get(self, stream: str, id: str, parent: str = "") -> Object | None:
        """A copy of the object without its nested lists; None when it is not there or deleted."""
        if not self.exists(stream, id, parent):
            return None
        shelf = self._shelves.get(stream)
        key = self._key(stream, id, parent)
        if shelf is not None and key in shelf.objects:
            return shelves.public(shelves.copied(shelf.objects[key]))
        found = self._find_base(stream, id, parent)
        assert found is not None, "an object that exists is in the overlay or in the world"
        return nesting.strip(self.stream(stream), msgspec.json.decode(self.world.render(stream, *found)))

    def parent_of(self, stream: str, id: str) -> str:
        """The parent's id of a child; empty for others."""
        shelf = self._shelves.get(stream)
        if shelf is not None and id in shelf.parents:
            return shelf.parents[id]
        found = self.world.find(stream, id)
        return "" if found is None or found[1] is None else self.above(stream, found[1])[1]

    def above(self, stream: str, number: int) -> tuple[str, str]:
        """Stream and id of the parent that the world numbers so: see `world.World`."""
        origins = self.stream(stream).origins
        name = origins[1 if number < 0 else 0].parents[0].stream
        number = ~number if number < 0 else number
        if self.stream(name).parent:
            further, ordinal = divmod(number, 1024)
            return name, self.world.id(name, ordinal, further)
        return name, self.world.id(name, number)

    def every(self, stream: str) -> Iterator[tuple[str, shelves.Ref]]:
        """All live objects with their parents' ids; of a child stream, parent by parent."""
        origins = {
            origin.parents[0].stream: origin for origin in self.stream(stream).origins if origin.parents
        }
        if not origins:
            for ref in self.descending(stream, None, None, None):
                yield "", ref
        for name in origins:
            for _, above in self.every(name):
                parent = self.id(name, above)
                for ref in self.children(stream, name, parent):
                    yield parent, ref

    def put(self, stream: str, obj: Object, parent: str = "", *, at: int | None = None) -> None:
        """Create or replace an object; a child of a known parent marks the parent's nested lists.

        What was deleted can be created again under its id, and is then as new as any other. `at` is the second of
        the change where that is not now.
        """
        shelf = self.shelf(stream)
        id = obj["id"]
        parent = parent or self.parent_of(stream, id)
        key = self._key(stream, id, parent)
        self._touch(stream, parent, id, at)
        self._unsettle(stream, id)
        obj = nesting.strip(self.stream(stream), dict(obj))
        again = shelf.gone.pop(key, None) is not None
        known = shelf.objects.get(key)
        if known is not None:
            if "_born" in known:
                obj["_born"] = known["_born"]
        elif not again and (found := self._find_base(stream, id, parent)) is not None:
            shelf.base[found[1], found[0]] = key
            shelf.gaps.discard((found[1], found[0]))
        else:
            number = next(self._sequence)
            # Within one second, Stripe's list of events is in no order that means anything.
            if self._shuffle and stream == "events":
                number = ids.mix(number)
            born = (_created(obj, self.clock.now()), number)
            obj["_born"] = born
            if parent:
                siblings = shelf.born.setdefault(parent, [])
                siblings.insert(len(siblings) if stream in shelves.APPENDED else 0, key)
            else:
                bisect.insort(shelf.order, (*born, key))
        shelf.store(stream, key, obj)
        if stream == settling.STREAM:
            self.settling.expect(obj)
        if parent:
            shelf.parents[key] = parent
        self._mark(stream, obj, parent)

    def remove(self, stream: str, id: str, tombstone: Object, parent: str = "") -> None:
        """Delete an object and its children; its place stays known."""
        for child in nesting.child_streams(self.facts, stream):
            for ref in list(self.children(child, stream, id)):
                below = self.id(child, ref)
                self.remove(
                    child, below, {"id": below, "object": self.stream(child).object, "deleted": True}, id
                )
        shelf = self.shelf(stream)
        parent = parent or self.parent_of(stream, id)
        key = self._key(stream, id, parent)
        self._touch(stream, parent, id, None)
        self._unsettle(stream, id)
        last = self.get(stream, id, parent)
        shelf.unindex(stream, key)
        known = shelf.objects.pop(key, None)
        tombstone = {**tombstone, "_last": last, "_deleted_at": self.clock.now(), "_parent": parent}
        if known is not None and "_born" in known:
            tombstone["_born"] = known["_born"]
            if parent:
                shelf.born[parent].remove(key)
            else:
                shelf.order.remove((*known["_born"], key))
        elif (found := self._find_base(stream, id, parent)) is not None:
            known = known or msgspec.json.decode(self.world.render(stream, *found))
            shelf.base[found[1], found[0]] = key
            shelf.gaps.add((found[1], found[0]))
        shelf.gone[key] = tombstone
        self._mark(stream, known or {}, parent)

    def hide(self, stream: str, id: str) -> None:
        """Make a top-level object and all below it unreachable, until it is shown again."""
        self._touch(stream, "", id, None)
        last, shelf = self.get(stream, id), self.shelf(stream)
        if (
            "_born" not in shelf.objects.get(id, {})
            and (found := self._find_base(stream, id, "")) is not None
        ):
            shelf.base[found[1], found[0]] = id
            shelf.gaps.add((found[1], found[0]))
        shelf.gone[id] = {"id": id, "_last": last, "_deleted_at": self.clock.now(), "_parent": ""}

    def unhide(self, stream: str, id: str) -> None:
        """Undo `hide`."""
        self._touch(stream, "", id, None)
        shelf = self.shelf(stream)
        del shelf.gone[id]
        if (
            "_born" not in shelf.objects.get(id, {})
            and (found := self._find_base(stream, id, "")) is not None
        ):
            shelf.gaps.discard((found[1], found[0]))
            if id not in shelf.objects:
                del shelf.base[found[1], found[0]]

    def gone(self, stream: str) -> Iterator[tuple[str, Object, int]]:
        """What was deleted: the parent's id, the object as it last was, and when."""
        shelf = self._shelves.get(stream)
        for tombstone in shelf.gone.values() if shelf else ():
            yield tombstone["_parent"], tombstone["_last"], tombstone["_deleted_at"]
        for above in {one.parents[0].stream for one in self.stream(stream).origins if one.parents}:
            for parent, last, when in self.gone(above):
                del parent
                for ref in self.children(stream, above, last["id"]):
                    yield last["id"], nesting.strip(self.stream(stream), self.show(stream, ref)), when

    def children(self, stream: str, parent_stream: str, parent: str) -> Iterator[shelves.Ref]:
        """The refs of a parent's children in list order."""
        shelf = self._shelves.get(stream) or shelves.Shelf()
        number = self._number(stream, parent_stream, parent)
        return shelves.children(self.world, stream, shelf, number, parent)

    def descending(
        self,
        stream: str,
        high: shelves.Ref | None,
        low: int | None,
        top: int | None,
        chosen: Sequence[int] | None = None,
        keys: Set[str] | None = None,
    ) -> Iterator[shelves.Ref]:
        """Top-level refs newest first: older than `high`, created in [low, top).

        Where they are given, of the base only the `chosen` ones, and of the overlay only these `keys`.
        """
        shelf = self._shelves.get(stream) or shelves.Shelf()
        return shelves.descending(self.world, stream, shelf, high, low, top, chosen, keys)

    def ascending(
        self,
        stream: str,
        low: shelves.Ref,
        bottom: int | None,
        top: int | None,
        chosen: Sequence[int] | None = None,
        keys: Set[str] | None = None,
    ) -> Iterator[shelves.Ref]:
        """Top-level refs oldest first: newer than `low`, created in [bottom, top)."""
        shelf = self._shelves.get(stream) or shelves.Shelf()
        return shelves.ascending(self.world, stream, shelf, low, bottom, top, chosen, keys)

    def id(self, stream: str, ref: shelves.Ref) -> str:
        """The id at a ref."""
        if ref.born:
            shown: str = self.shelf(stream).objects[ref.id]["id"]
            return shown
        return self.world.id(stream, ref.n, ref.parent)

    def stored(self, stream: str, ref: shelves.Ref) -> Object | None:
        """The overlay's object at a ref, or None when the world's stands."""
        shelf = self._shelves.get(stream)
        if shelf is None:
            return None
        key = ref.id or shelf.base.get((ref.parent, ref.n), "")
        return shelf.objects.get(key)

    def render(self, stream: str, ref: shelves.Ref, expand: frozenset[str] = frozenset()) -> bytes:
        """The object at a ref as JSON; `expand` holds nested lists and fields that are absent unless asked for."""
        if self._plain(stream, ref):
            return self.world.render(stream, ref.n, ref.parent, expand)
        return msgspec.json.encode(self.show(stream, ref, expand))

    def show(self, stream: str, ref: shelves.Ref, expand: frozenset[str] = frozenset()) -> Object:
        """The same, decoded."""
        stored = self.stored(stream, ref)
        if stored is None:
            obj: Object = msgspec.json.decode(self.world.render(stream, ref.n, ref.parent, expand))
            if self._plain(stream, ref):
                return obj
            obj = nesting.strip(self.stream(stream), obj)
        else:
            obj = shelves.public(shelves.copied(stored))
            if ref.born == 0 and (extra := expand & set(self.stream(stream).expand)):
                base = msgspec.json.decode(self.world.render(stream, ref.n, ref.parent, expand))
                obj.update({name: base[name] for name in extra if name in base and name not in obj})
        return nesting.complete(self, stream, obj, expand)

    def pointing(self, stream: str, pointer: str, id: str) -> Iterator[shelves.Ref]:
        """Top-level objects whose field holds an id, newest first."""
        chosen, keys = self.narrowed(stream, {pointer: id})
        for ref in self.descending(stream, None, None, None, chosen, keys):
            stored = self.stored(stream, ref)
            if stored is None and chosen is not None:
                yield ref
            else:
                obj = stored if stored is not None else self.show(stream, ref)
                if obj.get(pointer) == id:
                    yield ref

    def spelled(self, stream: str, field: str, text: str) -> Iterator[shelves.Ref]:
        """Top-level objects whose field holds a text, of what was touched in whatever case."""
        for ref in self.descending(stream, None, None, None, *self.narrowed(stream, {field: text})):
            if str(self.show(stream, ref).get(field)).casefold() == text.casefold():
                yield ref

    def narrowed(self, stream: str, equal: Mapping[str, str]) -> tuple[Sequence[int] | None, Set[str] | None]:
        """Where objects with these values can be: ordinals of the base, keys of the overlay; None for anywhere."""
        chosen = self.world.select(stream, equal) if equal else None
        shelf = self._shelves.get(stream)
        if shelf is None:
            return chosen, None
        keys = shelf.having(stream, equal)
        if chosen is None or not shelf.base:
            return chosen, keys
        if keys is None:
            moved = {ordinal for (above, ordinal) in shelf.base if above is None}
        else:
            places = [self.world.find(stream, key) for key in keys if "_born" not in shelf.objects[key]]
            moved = {place[0] for place in places if place is not None and place[1] is None}
        return (sorted(moved.union(chosen)) if moved else chosen), keys

    def count(self, stream: str) -> int:
        """Live top-level objects."""
        shelf = self._shelves.get(stream)
        base = self.world.count(stream)
        if shelf is None:
            return base
        return base - len(shelf.gaps) + sum(key not in shelf.gone for _, _, key in shelf.order)

    def decoded(self, stream: str, ordinal: int) -> Object:
        """A top-level object as the world has it, whatever became of it."""
        obj: Object = msgspec.json.decode(self.world.render(stream, ordinal))
        return obj

    def unsettled(self, stream: str) -> dict[str, Object | None]:
        """What a search still takes for the objects that were changed a moment ago; None: not there."""
        lag = self._lag()
        if not lag:
            return {}
        since = self.clock.time() - lag
        found: dict[str, Object | None] = {}
        for (kind, id), changes in list(self._unsettled.items()):
            left = [change for change in changes if change[0] > since]
            if not left:
                del self._unsettled[kind, id]
            elif kind == stream:
                found[id] = left[0][1]
        return found

    def _unsettle(self, stream: str, id: str) -> None:
        """Note what an object held before a change; what is new is noted even if searches do not lag yet."""
        if not self.stream(stream).search:
            return
        ref = self.locate(stream, id) if self.exists(stream, id) else None
        if ref is None or self._lag():
            before = None if ref is None else self.show(stream, ref)
            self._unsettled.setdefault((stream, id), []).append((self.clock.time(), before))

    def _touch(self, stream: str, parent: str, id: str, at: int | None) -> None:
        if self.history is not None and stream != "events":
            key = history.Key(stream, parent if "_parent_id" in self.stream(stream).key else "", id)
            self.history.touch(key, self.clock.now() if at is None else at)

    def _plain(self, stream: str, ref: shelves.Ref) -> bool:
        """Does the world's rendering stand as it is?"""
        if ref.born:
            return False
        shelf = self._shelves.get(stream)
        if shelf is not None and (ref.parent, ref.n) in shelf.base:
            return False
        return not self.dirty or (stream, self.world.id(stream, ref.n, ref.parent)) not in self.dirty

    def _mark(self, stream: str, obj: Object, parent: str) -> None:
        """Note whose nested lists this object belongs to."""
        child = self.stream(stream)
        if parent:
            for origin in child.origins:
                if origin.parents:
                    self._soil(origin.parents[0].stream, parent)
            return
        for above, pointer in nesting.pointed_parents(self.facts, stream):
            if isinstance(id := obj.get(pointer), str):
                self._soil(above, id)

    def _soil(self, stream: str, id: str) -> None:
        self.dirty.add((stream, id))
        self._dirty_streams.add(stream)

    def _find_base(self, stream: str, id: str, parent: str) -> tuple[int, int | None] | None:
        if parent and "_parent_id" in self.stream(stream).key:
            number = self._number(stream, self.stream(stream).parent, parent)
            if number is None:
                return None
            ids = (self.world.id(stream, i, number) for i in range(self.world.count(stream, number)))
            return next(((i, number) for i, one in enumerate(ids) if one == id), None)
        return self.world.find(stream, id)

    def _number(self, stream: str, parent_stream: str, parent: str) -> int | None:
        """The world's number of a parent: see `world.World`."""
        found = self.world.find(parent_stream, parent)
        if found is None:
            return None
        if found[1] is not None:
            return found[1] * 1024 + found[0]
        return found[0] if self.stream(stream).parent == parent_stream else ~found[0]

    def _key(self, stream: str, id: str, parent: str) -> str:
        return f"{parent}/{id}" if parent and "_parent_id" in self.stream(stream).key else id


def _created(obj: Object, otherwise: int) -> int:
    created = obj.get("created")
    return created if isinstance(created, int) else otherwise
