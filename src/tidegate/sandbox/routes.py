"""Which request is which operation: the catalog's paths as a tree, static words before placeholders."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from tidegate import catalog
from tidegate.sandbox import lists

Kind = Literal[
    "list", "retrieve", "create", "update", "delete", "search", "own", "action", "balance", "meter"
]


@dataclass(frozen=True)
class Route:
    """One endpoint, by method and path template; templates are what rate limits are counted by."""

    method: str
    template: str
    kind: Kind
    streams: tuple[catalog.Stream, ...] = ()
    listing: lists.Listing | None = None
    write: catalog.Write | None = None

    @property
    def stream(self) -> catalog.Stream:
        """The stream, or the first of a mixed route."""
        return self.streams[0]

    @functools.cached_property
    def endpoint(self) -> str:
        """What rate limits and statistics count it by."""
        return f"{self.method} {self.template}"

    @functools.cached_property
    def permission(self) -> str:
        """What a restricted key needs: read, or write for anything that changes."""
        if not self.streams:
            return ""
        if self.kind == "balance":
            return "rak_balance_read"
        read = self.streams[0].permission
        return read if self.method == "GET" else read.removesuffix("_read") + "_write"


@dataclass
class Node:
    """One word of a path."""

    words: dict[str, Node] = field(default_factory=dict)
    any: Node | None = None
    routes: dict[str, tuple[Route, tuple[str, ...]]] = field(default_factory=dict)
    """By method, with the names of the placeholders on the way."""


class Tree:
    """All routes."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = Node()
        for route in routes:
            self._add(route)

    def match(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route and the values of its placeholders."""
        words = path.strip("/").split("/")
        found = self._find(self._root, words, 0, method, ())
        if found is None:
            return None
        (route, names), values = found
        return route, dict(zip(names, values, strict=True))

    def _add(self, route: Route) -> None:
        node, names = self._root, []
        for word in route.template.strip("/").split("/"):
            if word.startswith("{"):
                names.append(word[1:-1])
                node.any = node.any or Node()
                node = node.any
            else:
                node = node.words.setdefault(word, Node())
        node.routes.setdefault(route.method, (route, tuple(names)))

    def _find(
        self, node: Node, words: list[str], at: int, method: str, values: tuple[str, ...]
    ) -> tuple[tuple[Route, tuple[str, ...]], tuple[str, ...]] | None:
        if at == len(words):
            route = node.routes.get(method)
            return (route, values) if route else None
        static = node.words.get(words[at])
        if static is not None and (found := self._find(static, words, at + 1, method, values)):
            return found
        if node.any is not None and words[at]:
            return self._find(node.any, words, at + 1, method, (*values, words[at]))
        return None


def of_catalog(facts: catalog.Catalog, actions: Iterable[tuple[str, str, str]]) -> list[Route]:
    """Every route of the catalog, and actions given as (method, template, stream)."""
    found: dict[tuple[str, str], Route] = {}

    def add(
        method: str, path: str, kind: Kind, stream: catalog.Stream, write: catalog.Write | None = None
    ) -> None:
        known = found.get((method, path))
        if known is None:
            found[method, path] = Route(method, path, kind, (stream,), None, write)
        elif stream not in known.streams:
            found[method, path] = Route(method, path, known.kind, (*known.streams, stream), None, known.write)

    pages: dict[str, list[tuple[catalog.Stream, catalog.Origin]]] = {}
    for stream in facts.streams.values():
        for origin in stream.origins:
            pages.setdefault(origin.path, []).append((stream, origin))
            if origin.retrieve:
                add("GET", origin.retrieve, "retrieve", stream)
        if stream.retrieve:
            add("GET", stream.retrieve, "retrieve", stream)
        if stream.search:
            add("GET", stream.search, "search", stream)
        if stream.own:
            add("GET", stream.own, "own", stream)
        writes: tuple[tuple[Kind, catalog.Write | None], ...] = (
            ("create", stream.create),
            ("update", stream.update),
            ("delete", stream.delete),
        )
        for kind, write in writes:
            if write is not None:
                add(write.method.upper(), write.path, kind, stream, write)
    routes = list(found.values())
    for path, sources in pages.items():
        streams = tuple({stream.name: stream for stream, _ in sources}.values())
        listing = lists.Listing(path, streams[0].api, tuple(sources))
        routes.append(Route("GET", path, "list", streams, listing))
    for method, template, name in actions:
        routes.append(Route(method, template, "action", (facts.streams[name],)))
    routes.append(Route("GET", "/v1/balance", "balance", (facts.streams["balance_transactions"],)))
    return routes
