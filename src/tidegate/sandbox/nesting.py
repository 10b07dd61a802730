"""How objects nest: which list goes on where, which field of a child points to its parent, what an object shows.

Nested lists are never stored: they are assembled from their child streams whenever an object is rendered.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tidegate import catalog

if TYPE_CHECKING:
    from tidegate.sandbox import objects, shelves

EMBEDDED = 10
"""Nested lists are cut here."""


def nested_url(nested: catalog.NestedList, id: str) -> str:
    """The url of a parent's nested list."""
    head, brace, tail = nested.url.partition("{")
    return head + id + tail.partition("}")[2] if brace else nested.url


def pointing_field(child: catalog.Stream, parent: catalog.Stream) -> str:
    """The child's field that holds the parent's id (`charge` of a refund)."""
    plain = parent.object.rpartition(".")[2]
    names = [one.name for one in child.fields if parent.object in one.expands]
    if plain in names or not names:
        return plain if any(one.name == plain for one in child.fields) else ""
    return names[0]


def child_streams(facts: catalog.Catalog, stream: str) -> list[str]:
    """The streams whose rows are children of this one's."""
    found = _below.get((id(facts), stream))
    if found is None:
        found = _below[id(facts), stream] = [
            one.name
            for one in facts.streams.values()
            if any(origin.parents and origin.parents[0].stream == stream for origin in one.origins)
        ]
    return found


def pointed_parents(facts: catalog.Catalog, stream: str) -> list[tuple[str, str]]:
    """Streams that nest this top-level one, each with the field that points there."""
    found = _pointed.get((id(facts), stream))
    if found is None:
        child = facts.streams[stream]
        found = _pointed[id(facts), stream] = [
            (above.name, pointer)
            for above in facts.streams.values()
            for nested in above.nested
            if stream in nested.streams and (pointer := pointing_field(child, above))
        ]
    return found


def complete(
    book: objects.Book, stream: str, obj: objects.Object, expand: frozenset[str] = frozenset()
) -> objects.Object:
    """The object with its nested lists (changed in place): those embedded, and those expanded."""
    for nested in book.stream(stream).nested:
        if nested.embedded or nested.path in expand:
            *path, last = nested.path.split(".")
            holder: Any = obj
            for name in path:
                holder = holder.setdefault(name, {}) if isinstance(holder, dict) else None
            if isinstance(holder, dict):
                holder[last] = nested_list(book, stream, obj["id"], nested)
    return obj


def strip(stream: catalog.Stream, obj: objects.Object) -> objects.Object:
    """The object without its nested lists (changed in place)."""
    for nested in stream.nested:
        *path, last = nested.path.split(".")
        holder: Any = obj
        for name in path:
            holder = holder.get(name) if isinstance(holder, dict) else None
        if isinstance(holder, dict):
            holder.pop(last, None)
    return obj


def nested_list(book: objects.Book, stream: str, id: str, nested: catalog.NestedList) -> objects.Object:
    """The first ten of a nested list, with the url where it goes on."""
    page = list(itertools.islice(_elements(book, stream, id, nested), EMBEDDED + 1))
    return {
        "object": "list",
        "data": [book.show(child, ref) for child, ref in page[:EMBEDDED]],
        "has_more": len(page) > EMBEDDED,
        "url": nested_url(nested, id),
    }


def _elements(
    book: objects.Book, stream: str, id: str, nested: catalog.NestedList
) -> Iterator[tuple[str, shelves.Ref]]:
    """The elements of a nested list: the children of one or several streams."""
    for name in nested.streams:
        child = book.stream(name)
        if any(origin.parents and origin.parents[0].stream == stream for origin in child.origins):
            for ref in book.children(name, stream, id):
                yield name, ref
        elif pointer := pointing_field(child, book.stream(stream)):
            for ref in book.pointing(name, pointer, id):
                # A customer's subscriptions are those that are not canceled.
                if name != "subscriptions" or book.show(name, ref)["status"] != "canceled":
                    yield name, ref


_pointed: dict[tuple[int, str], list[tuple[str, str]]] = {}
_below: dict[tuple[int, str], list[str]] = {}
