"""Objects of any stream, from the catalog alone: fields by their types, references to objects that exist.

The core of the business has renderers of its own; this one serves the other hundred streams, so that every
catalogued list has something in it.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from tidegate import catalog
from tidegate.sandbox import business, ids, naming, templates


class Row(NamedTuple):
    """What a field's value may depend on."""

    chance: int
    """64 bits."""
    number: int
    parent: int | None
    created: int


Hole = Callable[[Row], object]
"""What `%s` is replaced with."""
Render = Callable[[int, int | None, int], str]
"""(number, parent, created) -> the object's text without nested lists and closing brace."""


def renderer(books: business.Books, stream: catalog.Stream) -> Render:
    """Compile the renderer of a stream; one object in four has every nullable field null."""
    salt = books.salt("generic/" + stream.name)
    whole = templates.whole_object(stream, books.reference)
    lists = templates.apart(stream)
    names: list[str] = []
    holes: list[Hole] = []
    full: list[str] = []
    sparse: list[str] = []
    for field in stream.fields:
        if field.name in lists:
            continue
        hole = _hole(books, stream, field)
        if hole is not None:
            names.append(f'"{field.name}":%s')
            holes.append(hole)
        else:
            text = f'"{field.name}":{templates.dump(whole.get(field.name))}'.replace("%", "%%")
            if field.name in whole:
                full.append(text)
            if not field.nullable:
                sparse.append(text)
            elif field.name in whole:
                sparse.append(f'"{field.name}":null')
    rich, poor = "{" + ",".join(names + full), "{" + ",".join(names + sparse)

    def render(number: int, parent: int | None, created: int) -> str:
        chance = ids.mix(number * 64 + 9 ^ salt)
        template = poor if chance & 3 == 3 else rich
        row = Row(chance, number, parent, created)
        return template % tuple([hole(row) for hole in holes])

    return render


def rfc3339(when: int) -> str:
    """v2's notation of a time."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(when))


def _hole(books: business.Books, stream: catalog.Stream, field: catalog.Field) -> Hole | None:
    """How the field changes from object to object; nothing when it is constant."""
    name, bit = field.name, zlib.crc32(field.name.encode()) % 23 + 3
    if name == "id":
        return lambda row: f'"{books.child_id(stream.name, row.number)}"'
    if name == "metadata":
        texts = tuple(templates.dump(dict(one)) for one in templates.METADATA)
        return lambda row: texts[(row.chance >> bit) % len(texts)]
    if field.type == "timestamp":
        later = 0 if name == "created" else zlib.crc32(name.encode()) % (30 * business.DAY)
        nullable = field.nullable
        if stream.api == "v2":
            return lambda row: f'"{rfc3339(row.created + later)}"'
        return lambda row: "null" if nullable and (row.chance >> bit) & 1 else row.created + later
    for child, sent in _children(books.catalog, stream):
        if sent.where == name:
            return _only_with(books, stream, child, field)
    above = stream.origins[0].parents
    for sent in above:
        if sent.field == name == sent.param and sent.field != "id":
            return lambda row: f'"{books.held_id(sent.stream, sent.field, row.parent or 0)}"'
    if (
        above
        and field.type in ("id", "string")
        and name in _names(books.catalog.streams[above[0].stream], above[0])
    ):
        return lambda row: f'"{books.parent_id(stream.name, row.parent)}"'
    if field.type == "id" or (field.type == "string" and not field.values and name in OBJECTS):
        return _reference(books, stream, field, bit)
    if len(field.values) > 1 and name not in ("object", "type"):
        choices = tuple(f'"{value}"' for value in field.values) + (("null",) if field.nullable else ())
        return lambda row: choices[(row.chance >> bit) % len(choices)]
    if field.type == "integer" and any(
        word in name for word in ("amount", "total", "count", "size", "balance")
    ):
        return lambda row: (row.chance >> bit) % 5000
    if field.type == "boolean" and name != "livemode":
        return lambda row: "true" if (row.chance >> bit) & 1 else "false"
    return None


OBJECTS: Mapping[str, str] = {
    "charge": "charge",
    "customer": "customer",
    "invoice": "invoice",
    "payment_intent": "payment_intent",
    "payment_method": "payment_method",
    "price": "price",
    "product": "product",
    "subscription": "subscription",
}
"""Strings that are ids all the same."""


def _names(parent: catalog.Stream, sent: catalog.Parent) -> set[str]:
    """Fields of a child that hold its parent's id."""
    return {parent.object.rpartition(".")[2], sent.param, sent.param.removesuffix("_id")} - {"id"}


def _reference(books: business.Books, stream: catalog.Stream, field: catalog.Field, bit: int) -> Hole:
    targets = field.expands or (OBJECTS[field.name],)
    found = next((name for one in targets for name in books.streams_of(one) if books.counts.get(name)), "")
    if found == stream.name or field.name in ("balance_transaction", "failure_balance_transaction"):
        found = found if not field.nullable else ""
    if not found and (sibling := _sibling(books, stream, targets)):
        nullable = field.nullable

        def refer_beside(row: Row) -> str:
            rows = 0 if row.parent is None else books.children(sibling, row.parent)
            if nullable and not rows:
                return "null"
            return f'"{books.row_id(sibling, row.number % naming.CHILD % max(1, rows), row.parent)}"'

        return refer_beside
    if not found:
        text = "null" if field.nullable else f'"{books.reference(targets[0]) or books.foreign(targets[0])}"'
        return lambda _: text
    count, name, nullable = books.counts[found], books.namer(found).name, field.nullable

    def refer(row: Row) -> str:
        if nullable and (row.chance >> bit) % 5 == 0:
            return "null"
        return f'"{name((row.chance >> bit) % count)}"'

    return refer


def _sibling(books: business.Books, stream: catalog.Stream, kinds: Collection[str]) -> str:
    """A child stream of the same parent that holds objects of these types: an entry's transaction."""
    if not stream.parent:
        return ""
    siblings = (one for one in books.catalog.streams.values() if one.parent == stream.parent)
    return next((one.name for one in siblings if one.object in kinds and one.name != stream.name), "")


def _children(
    known: catalog.Catalog, stream: catalog.Stream
) -> Iterator[tuple[catalog.Stream, catalog.Parent]]:
    """The streams that are listed by this one, each with how."""
    for child in known.streams.values():
        for origin in child.origins:
            if origin.parents and origin.parents[0].stream == stream.name:
                yield child, origin.parents[0]


def _only_with(
    books: business.Books, stream: catalog.Stream, child: catalog.Stream, field: catalog.Field
) -> Hole:
    """A field that is null when the object has no children: the latest of them, or what they are held under."""
    has, known = books.has(child.name), field.type == "string" or child.object in field.expands

    def only_with(row: Row) -> str:
        if not has or not books.children(child.name, row.number):
            return "null"
        if known:
            return f'"{books.row_id(child.name, 0, row.number)}"'
        return f'"{books.held_id(stream.name, field.name, row.number)}"'

    return only_with
