"""`expand[]`: references replaced by their objects, and lists that are absent unless asked for, up to 4 levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidegate import catalog
from tidegate.sandbox import nesting, objects, refusals

DEEPEST = 4


def split(
    stream: catalog.Stream, paths: Sequence[str], *, inside: str = ""
) -> tuple[frozenset[str], list[tuple[str, ...]]]:
    """Validate paths: those the object itself may carry (absent lists and fields), and those that go deeper.

    `inside` is `data` for a list's answer, whose paths all begin there.
    """
    own: set[str] = set()
    deep: list[tuple[str, ...]] = []
    carried = {nested.path for nested in stream.nested} | set(stream.expand)
    for path in paths:
        parts = tuple(path.split("."))
        if len(parts) > DEEPEST:
            raise refusals.invalid(
                "expand", f"You cannot expand more than {DEEPEST} levels of a property. Property: {path}"
            )
        if inside:
            if parts[0] != inside or len(parts) == 1:
                raise refusals.invalid(
                    "expand",
                    f"This property cannot be expanded ({path}). You may want to try expanding "
                    f"'{inside}.{path}' instead.",
                )
            parts = parts[1:]
        joined = ".".join(parts)
        listed = next((one for one in carried if joined == one or joined.startswith(one + ".")), "")
        if listed:
            own.add(listed)
            if joined != listed:
                deep.append(parts)
        elif not _expandable(stream, parts[0]):
            raise refusals.invalid("expand", f"This property cannot be expanded ({parts[0]}).")
        else:
            deep.append(parts)
    return frozenset(own), deep


def apply(book: objects.Book, obj: objects.Object, paths: Sequence[tuple[str, ...]]) -> objects.Object:
    """The object with the references at `paths` replaced (changed in place)."""
    for parts in paths:
        _walk(book, obj, parts, parts)
    return obj


def _expandable(stream: catalog.Stream, name: str) -> bool:
    return any(
        one.name == name and (one.type == "json" or (one.type == "id" and one.expands))
        for one in stream.fields
    )


def _walk(book: objects.Book, node: Any, parts: tuple[str, ...], path: tuple[str, ...]) -> None:
    if isinstance(node, list):
        for one in node:
            _walk(book, one, parts, path)
        return
    if not isinstance(node, dict) or not parts:
        return
    name, rest = parts[0], parts[1:]
    value = node.get(name)
    if value is None:
        _absent(book, node, name, rest, path)
        return
    if isinstance(value, str):
        node[name] = value = _referred(book, node, name, value, path)
    elif isinstance(value, list) and all(isinstance(one, str) for one in value):
        node[name] = value = [_referred(book, node, name, one, path) for one in value]
    _walk(book, value, rest, path)


def _absent(
    book: objects.Book, node: objects.Object, name: str, rest: tuple[str, ...], path: tuple[str, ...]
) -> None:
    """A list inside a referred object, absent there until asked for; a null stays null."""
    kind = node.get("object")
    if name in node or not isinstance(kind, str):
        return
    for stream in of_object(book.facts, kind):
        for nested in stream.nested:
            if nested.path == name:
                node[name] = nesting.nested_list(book, stream.name, node["id"], nested)
                _walk(book, node[name], rest, path)
                return
        if name in stream.expand and (ref := book.locate(stream.name, node["id"])) is not None:
            shown = book.show(stream.name, ref, frozenset({name}))
            if name in shown:
                node[name] = shown[name]
            return


def _referred(
    book: objects.Book, node: objects.Object, name: str, id: str, path: tuple[str, ...]
) -> objects.Object | str:
    kinds = _kinds(book.facts, node, name)
    candidates = [stream for kind in kinds for stream in of_object(book.facts, kind)]
    for stream in candidates:
        if book.exists(stream.name, id) and (ref := book.locate(stream.name, id)) is not None:
            return book.show(stream.name, ref)
        if (tombstone := book.tombstone(stream.name, id)) is not None:
            return tombstone
    if not candidates and not kinds:
        raise refusals.invalid("expand", f"This property cannot be expanded ({'.'.join(path)}).")
    return id


def _kinds(facts: catalog.Catalog, node: objects.Object, name: str) -> tuple[str, ...]:
    """The object types a reference may be: by the catalog, or inside nested objects by its name."""
    kind = node.get("object")
    if isinstance(kind, str):
        for stream in of_object(facts, kind):
            for one in stream.fields:
                if one.name == name and one.expands:
                    return one.expands
    for guess in (name, name.removeprefix("default_"), name.removesuffix("s")):
        if of_object(facts, guess):
            return (guess,)
    return ()


def of_object(facts: catalog.Catalog, kind: str) -> list[catalog.Stream]:
    """The streams that hold objects of a type."""
    index = _by_object.get(id(facts))
    if index is None:
        index = _by_object[id(facts)] = {}
        for stream in facts.streams.values():
            index.setdefault(stream.object, []).append(stream)
    return index.get(kind, [])


_by_object: dict[int, dict[str, list[catalog.Stream]]] = {}
