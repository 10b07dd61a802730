"""What one answer of Stripe carries: the rows of a page, and the nested lists in them read to their ends.

Nothing here knows in which order a list is read, only how a page becomes pieces for the loader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec

from tidegate import catalog, errors
from tidegate.pull import load, plan, reading
from tidegate.rows import arrow, decode
from tidegate.stripe import pages


@dataclass(frozen=True, slots=True)
class Owner:
    """The row that a nested or per-parent list hangs on."""

    id: str
    object: str


async def pieces(
    trip: reading.Trip,
    node: plan.Node,
    rows: decode.Rows,
    version: int,
    weight: int,
    owner: Owner | None = None,
) -> list[load.Cargo]:
    """The rows of one page and of the nested lists in them, each nested list read to its end."""
    found: list[load.Cargo] = []
    if node.kept and len(rows):
        part = _part(rows, version, owner)
        found.append(load.Piece(trip.reading.targets[node.stream.name], part, weight))
    for branch in node.branches:
        for row_id, raw in rows.nested(branch.nested.path):
            parent, way = Owner(row_id, node.stream.object), trip.sweeping(row_id)
            if raw != b"null":
                found += await _nested(way, branch, parent, raw, version)
            elif way.sweeps:
                found += [swept(way, child, parent.id, (), version) for child in branch.nodes if child.kept]
    return found


def swept(trip: reading.Trip, node: plan.Node, parent: str, ids: Sequence[str], version: int) -> load.Swept:
    """The word that a parent has these children and no others."""
    return load.Swept(trip.reading.targets[node.stream.name], parent, ids, version)


def _part(rows: decode.Rows, version: int, owner: Owner | None) -> arrow.Part:
    return arrow.Part(rows, version, owner.id, owner.object) if owner else arrow.Part(rows, version)


async def _nested(
    trip: reading.Trip, branch: plan.Branch, owner: Owner, raw: bytes | None, version: int
) -> list[load.Cargo]:
    """The rows of one nested list; what Stripe cut off or left out is fetched and goes to the loader at once."""
    found: list[load.Cargo] = []
    seen: dict[str, list[str]] = {node.stream.name: [] for node in branch.nodes if node.kept}
    url, after, more = branch.nested.url, "", True
    if raw is not None:
        part = _split(trip, branch.nodes, raw)
        after, more = part.last_id, part.has_more
        if owner.id in part.url and urlsplit(part.url).path.startswith("/v1/"):
            url = part.url
        for node, rows in part.rows:
            found += await pieces(trip, node, rows, version, len(raw), owner)
            seen.get(node.stream.name, []).extend(rows.ids)
    path, query = _address(url, owner.id)
    restarts = 0
    while more and branch.nested.url not in trip.closed:
        params: pages.Params = {**query, "limit": 100, **({"starting_after": after} if after else {})}
        try:
            answer = await trip.get(path, params, branch.nested.url.partition("?")[0])
        except errors.Missing:
            if not after:
                break  # the parent itself is gone, and its children with it
            restarts += 1
            if restarts > reading.RESTARTS:
                raise reading.lost(path) from None
            after = ""
            continue
        except errors.NotEnabled as error:
            trip.close(branch, error, cut=raw is not None)
            return found
        part = _split(trip, branch.nodes, answer.body)
        for node, rows in part.rows:
            trip.add(await pieces(trip, node, rows, answer.version, len(answer.body), owner))
            seen.get(node.stream.name, []).extend(rows.ids)
        if part.has_more and part.last_id in {"", after}:
            raise reading.stuck(path)
        more, after = part.has_more, part.last_id
    if trip.sweeps and not (more and branch.nested.url in trip.closed):
        kept = (node for node in branch.nodes if node.kept)
        found += [swept(trip, node, owner.id, seen[node.stream.name], version) for node in kept]
    return found


class _List(msgspec.Struct):
    data: list[msgspec.Raw]
    has_more: bool | None = None
    url: str | None = None


class _Label(msgspec.Struct):
    id: str = ""
    object: str = ""


@dataclass(frozen=True, slots=True)
class _Part:
    rows: list[tuple[plan.Node, decode.Rows]]
    has_more: bool
    url: str
    last_id: str


def _split(trip: reading.Trip, nodes: Sequence[plan.Node], raw: bytes) -> _Part:
    """A list's rows by the node they belong to: one, or by `object` where a list mixes several."""
    decoder = trip.reading.decoder
    if len(nodes) == 1 and not nodes[0].origin.objects:
        page = decoder(nodes[0].stream).listing(raw)
        return _Part([(nodes[0], page.rows)], page.has_more, page.url, page.rows.last_id or "")
    try:
        answer = msgspec.json.decode(raw, type=_List)
        labels = [msgspec.json.decode(element, type=_Label) for element in answer.data]
    except msgspec.DecodeError as error:
        raise errors.BadPage(
            f"A list of {nodes[0].stream.name} is not the JSON it should be: {error}"
        ) from None
    rows = []
    strangers = _strangers(trip, nodes[0].origin, {label.object for label in labels})
    for node in nodes:
        kinds = {*node.origin.objects, *(strangers if len(node.origin.objects) > 1 else ())}
        mine = [
            bytes(element)
            for element, label in zip(answer.data, labels, strict=True)
            if label.object in kinds
        ]
        if mine:
            rows.append((node, decoder(node.stream).objects(mine)))
    return _Part(rows, answer.has_more is True, answer.url or "", labels[-1].id if labels else "")


def _strangers(trip: reading.Trip, origin: catalog.Origin, kinds: set[str]) -> set[str]:
    """Kinds of objects in a mixed list that the catalog has no stream for.

    They go where several kinds are together already (a customer's `sources`); a list without such a stream, or a
    pull without it, says that it leaves them out.
    """
    unknown = kinds - set(origin.objects)
    if unknown:
        origins = (each for stream in trip.reading.streams.values() for each in stream.origins)
        known = [each for each in origins if each.path == origin.path]
        unknown -= {kind for each in known for kind in each.objects}
        if unknown and not any(len(each.objects) > 1 for each in known):
            names = ", ".join(sorted(unknown))
            trip.reading.screen.note(f"GET {origin.path} lists {names}, which no stream holds; left out.")
    return unknown


def _address(url: str, owner: str) -> tuple[str, dict[str, str]]:
    """Path and query of a list's URL; a template's placeholder, in either, is the owner's id."""
    parts = urlsplit(url)
    path = parts.path
    if "{" in path:
        path = path[: path.index("{")] + quote(owner, safe="") + path[path.index("}") + 1 :]
    return path, {name: owner if value.startswith("{") else value for name, value in parse_qsl(parts.query)}
