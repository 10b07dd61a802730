"""How objects nest: which list goes on where, and which field of a child points to its parent."""

from __future__ import annotations

from tidegate import catalog


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


_pointed: dict[tuple[int, str], list[tuple[str, str]]] = {}
_below: dict[tuple[int, str], list[str]] = {}
