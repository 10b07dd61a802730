"""Which lists a pull reads, and what each of them carries.

A walk reads one list from its newest row to its oldest. The nested lists of its rows (an invoice's lines) and
theirs ride along as branches, so one request serves a stream and its children; a list that needs a parent's id
is walked once per row of that parent, after the parent.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from tidegate import catalog, errors


@dataclass(frozen=True, slots=True)
class Node:
    """One stream as it is met on the way: kept or only passed through, with the nested lists to follow."""

    stream: catalog.Stream
    origin: catalog.Origin
    kept: bool
    branches: tuple[Branch, ...] = ()

    def streams(self) -> Iterator[str]:
        """The names of all streams kept here and below."""
        if self.kept:
            yield self.stream.name
        for branch in self.branches:
            for node in branch.nodes:
                yield from node.streams()

    def expand(self, prefix: str = "data") -> Iterator[str]:
        """What to ask for with `expand[]`, since Stripe leaves it out otherwise."""
        if self.kept:
            yield from (f"{prefix}.{name}" for name in self.stream.expand)
        for branch in self.branches:
            if not branch.nested.embedded:
                yield f"{prefix}.{branch.nested.path}"
            for node in branch.nodes:
                yield from node.expand(f"{prefix}.{branch.nested.path}.data")


@dataclass(frozen=True, slots=True)
class Branch:
    """A nested list to read to its end; more than one node when it mixes objects."""

    nested: catalog.NestedList
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Walk:
    """One list to read; `after` are the streams whose rows it needs to be complete first."""

    node: Node
    after: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Unique within a pull: the stream, or stream and list where a stream comes from several."""
        stream, origin = self.node.stream, self.node.origin
        if origin == stream.origins[0]:
            return stream.name
        return f"{stream.name}:{origin.path}?{urlencode(sorted(origin.params.items()))}"

    @property
    def kept(self) -> tuple[str, ...]:
        """The streams that it brings."""
        return tuple(self.node.streams())

    @property
    def sliced(self) -> bool:
        """Can it be cut by creation time?"""
        origin, stream = self.node.origin, self.node.stream
        return bool(origin.created and stream.created_field) and not origin.parents


@dataclass(frozen=True, slots=True)
class Plan:
    """All walks of a pull, parents before children; `named` are the streams the user asked for by name."""

    streams: tuple[catalog.Stream, ...]
    walks: tuple[Walk, ...]
    named: frozenset[str]


def choose(
    streams: Mapping[str, catalog.Stream], wanted: Collection[str]
) -> tuple[list[str], frozenset[str]]:
    """Resolve names and patterns (`*`, `issuing_*`) to stream names in catalog order.

    Returns them with those asked for by their own name. `*` leaves out the streams that cost a request per
    pair of rows. Raises ConfigError for a name or pattern that fits nothing, with the nearest name.
    """
    chosen: set[str] = set()
    named: set[str] = set()
    for name in wanted:
        if name in streams:
            chosen.add(name)
            named.add(name)
            continue
        found = [other for other in fnmatch.filter(streams, name) if streams[other].default]
        if not found:
            near = difflib.get_close_matches(name, streams, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "`tidegate streams` lists them all."
            raise errors.ConfigError(f"There is no stream {name!r}; {hint}")
        chosen.update(found)
    return [name for name in streams if name in chosen], frozenset(named)


def plan(streams: Mapping[str, catalog.Stream], wanted: Collection[str]) -> Plan:
    """Lay out the walks that bring the wanted streams, each list read once."""
    names, named = choose(streams, wanted)
    kept = set(names)
    walks: dict[str, Walk] = {}

    def add(stream: catalog.Stream, origin: catalog.Origin) -> None:
        if origin.route in ("embedded", "expanded"):
            parent = streams[origin.parents[0].stream]
            for above in parent.origins:
                add(parent, above)
            return
        walk = Walk(_node(streams, stream, origin, kept), _after(origin, kept))
        walks.setdefault(walk.name, walk)

    for name in names:
        for origin in streams[name].origins:
            if origin.kind != "computed":
                add(streams[name], origin)
    return Plan(tuple(streams[name] for name in names), tuple(_ordered(walks.values())), named)


def without(walk: Walk, permission: str) -> Walk | None:
    """The walk without the nested lists that the key may not read; None when it carries none of them.

    Stripe refuses a whole list when it is asked to expand what the key may not see. Where it does not name a
    permission that belongs to a branch, all branches that need to be expanded go.
    """

    def refused(branch: Branch, permission: str) -> bool:
        if permission:
            return any(node.stream.permission == permission for node in branch.nodes)
        return not branch.nested.embedded

    if permission == walk.node.stream.permission:
        return None
    branches = walk.node.branches
    left = tuple(branch for branch in branches if not refused(branch, permission))
    if len(left) == len(branches):
        left = tuple(branch for branch in branches if not refused(branch, ""))
    if len(left) == len(branches):
        return None
    return replace(walk, node=replace(walk.node, branches=left))


def leaving_out(walk: Walk, names: Collection[str]) -> Walk | None:
    """The walk without the nested lists of some streams; None when it keeps nothing then."""

    def less(node: Node) -> Node:
        branches = []
        for branch in node.branches:
            nodes = tuple(less(each) for each in branch.nodes if each.stream.name not in names)
            if any(True for each in nodes for _ in each.streams()):
                branches.append(replace(branch, nodes=nodes))
        return replace(node, branches=tuple(branches))

    if not names:
        return walk
    left = replace(walk, node=less(walk.node))
    return left if left.kept else None


def _node(
    streams: Mapping[str, catalog.Stream], stream: catalog.Stream, origin: catalog.Origin, kept: set[str]
) -> Node:
    branches = []
    for nested in stream.nested:
        below = []
        for child in (streams[name] for name in nested.streams):
            for route in child.origins:
                mine = route.parents and route.parents[0].stream == stream.name
                if not mine or route.route not in ("embedded", "expanded") or route.nested != nested.path:
                    continue
                node = _node(streams, child, route, kept)
                if any(True for _ in node.streams()):
                    below.append(node)
        if below:
            branches.append(Branch(nested, tuple(below)))
    return Node(stream, origin, stream.name in kept, tuple(branches))


def _after(origin: catalog.Origin, kept: set[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(parent.stream for parent in origin.parents if parent.stream in kept))


def _ordered(walks: Iterable[Walk]) -> Sequence[Walk]:
    """Parents before children; otherwise as they came."""
    return sorted(walks, key=lambda walk: len(walk.node.origin.parents))
