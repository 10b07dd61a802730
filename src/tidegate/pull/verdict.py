"""What is to be believed of the events: what a payload proves, what is gone, and what must be read again.

A payload is used only where it provably is the newest state of its row: made at our version, alone in its second,
at least a second younger than what is stored, with no list cut or absent. Everything else is dirty. On equal
seconds nothing can be told, and the row is read.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import pyarrow as pa

from tidegate import catalog, errors
from tidegate.pull import events, load, plan, reading, refresh, relist, sweep, unpacking
from tidegate.rows import arrow, decode
from tidegate.warehouse import base


@dataclass(frozen=True, slots=True)
class Known:
    """What is known before an event is heard.

    `covered`: by stream, since when its rows were read, so that older events are old news.
    """

    ways: refresh.Ways
    entries: relist.Entries
    covered: Mapping[str, int]


@dataclass(slots=True)
class Verdict:
    """What becomes of the changes of one window."""

    cargo: list[load.Cargo] = field(default_factory=list)
    dirty: dict[str, refresh.Dirty] = field(default_factory=dict)
    past: dict[str, list[load.Cargo]] = field(default_factory=dict)
    """States that are over, by what is dirty with them: of a row that cannot be had there is no history either."""

    def add(self, account: str, dirty: refresh.Dirty) -> None:
        """Note something to be read again, once."""
        name = refresh.key(account, dirty)
        known = self.dirty.get(name)
        self.dirty[name] = dirty if known is None or known.at < dirty.at else known


def children(known: Known, stream: str) -> list[plan.Walk]:
    """The lists that hang on rows of a stream, one request each."""
    walks = (walk for found in known.ways.lists.values() for walk in found)
    return [walk for walk in walks if walk.node.origin.parents[0].stream == stream]


def touch(shared: reading.Reading, known: Known, verdict: Verdict, change: events.Touched) -> None:
    """A whole list under a parent changed: it is read again, or its parent is."""
    if change.stream in known.ways.lists:
        dirty = refresh.Dirty(change.stream, refresh.LIST + change.parent, change.at)
        verdict.add(shared.account, dirty)
    elif change.stream in shared.targets:
        for origin in shared.streams[change.stream].origins:
            verdict.add(shared.account, refresh.Dirty(origin.parents[0].stream, change.parent, change.at))


async def judge(
    shared: reading.Reading,
    known: Known,
    rows: Mapping[tuple[str, str], list[events.Change]],
    verdict: Verdict,
) -> None:
    """Decide for every changed row whether it is known, told by its payload, gone, or to be read again."""
    by_stream: dict[str, dict[str, list[events.Change]]] = collections.defaultdict(dict)
    for (stream, row_id), found in rows.items():
        by_stream[stream][row_id] = sorted(found, key=lambda change: change.at)
    gone = {
        (name, i)
        for name, each in by_stream.items()
        for i, found in each.items()
        if found[-1].kind == "deleted"
    }
    known_rows = await _stored(shared, by_stream)
    for name, changed in by_stream.items():
        stored = known_rows.get(name, {})
        orphans = await _orphans(shared, name, changed, gone) | await _unsure(shared, known, name, changed)
        for row_id, changes in changed.items():
            since = known.covered.get(name, 0)
            # A list that was read since has every row that is there, and says nothing of those that are gone.
            news = [change for change in changes if change.at >= since or change.kind == "deleted"]
            if not news or _is_before_start(shared, news, stored.get(row_id)):
                continue
            for change in news:
                _dirty_lists(shared, known, verdict, change)
                if change.kind == "deleted":
                    await _dirty_dependents(shared, verdict, change)
            entry = known.entries.get(name)
            if entry is not None and entry.reason == relist.DENIED:
                # Listed again as soon as the key may read it, and then not by a reading that began before this.
                since = max(entry.since, news[-1].at + 1)
                known.entries[name] = msgspec.structs.replace(entry, since=since)
            elif name in known.ways.nodes:
                orphan = row_id in orphans
                await _judge_row(shared, known, verdict, news, stored.get(row_id), orphan=orphan)
            elif news[-1].kind == "deleted":  # only its children are followed
                verdict.cargo += sweep.orphaned(shared, name, [row_id], news[-1].at)


@dataclass(frozen=True, slots=True)
class _Stored:
    version: int
    live: bool
    dead: bool


async def _stored(
    shared: reading.Reading, found: Mapping[str, Mapping[str, Sequence[events.Change]]]
) -> dict[str, dict[str, _Stored]]:
    """By stream, the versions in which rows are stored, tombstones and buried keys included."""
    kept = [name for name in found if name in shared.targets]
    if not kept or shared.warehouse is None:
        return {}
    wanted = [base.Wanted(shared.targets[name].table, _keys(shared, name, found[name])) for name in kept]
    tables = await asyncio.to_thread(shared.warehouse.find_all, wanted)
    return {
        name: {
            row["id"]: _Stored(
                row["_version"], row["_stored"] and row["_deleted_at"] is None, row["_deleted_at"] is not None
            )
            for row in rows.to_pylist()
            if row["_version"] is not None
        }
        for name, rows in zip(kept, tables, strict=True)
    }


def _keys(shared: reading.Reading, name: str, found: Mapping[str, Sequence[events.Change]]) -> pa.Table:
    key, ids = shared.targets[name].table.key, list(found)
    columns: dict[str, list[str | None]] = {"_account_id": [shared.account] * len(ids), "id": list(ids)}
    if "_parent_id" in key:
        columns["_parent_id"] = [_parent_of(found[row_id]) for row_id in ids]
    return pa.table({name: columns[name] for name in key}, pa.schema([(name, pa.string()) for name in key]))


async def _orphans(
    shared: reading.Reading,
    name: str,
    changed: Mapping[str, Sequence[events.Change]],
    gone: Collection[tuple[str, str]],
) -> set[str]:
    """Rows of a child stream whose parent is deleted, as is known or just heard: no payload of theirs counts."""
    above: dict[str, dict[str, list[str]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for origin in shared.streams[name].origins:
        for parent in origin.parents[:1]:
            kind = shared.streams[parent.stream].object
            for row_id, changes in changed.items():
                owner = next((change.parent for change in reversed(changes) if change.parent), None)
                if owner is not None and owner.object == kind:
                    above[parent.stream][owner.id].append(row_id)
    found: set[str] = set()
    for stream, families in above.items():
        stored = (await _stored(shared, {stream: dict.fromkeys(families, ())})).get(stream, {})
        for above_id, rows in families.items():
            if (stream, above_id) in gone or (above_id in stored and stored[above_id].dead):
                found.update(rows)
    return found


async def _unsure(
    shared: reading.Reading, known: Known, name: str, changed: Mapping[str, Sequence[events.Change]]
) -> set[str]:
    """Rows that are not kept themselves and of which a child was read in the second of the last event, or since.

    What their payload says of that child cannot be told apart from what was read.
    """
    if name in shared.targets or shared.warehouse is None:
        return set()
    found: set[str] = set()
    below = {child for node in known.ways.nodes.get(name, ()) for child in node.streams()}
    for child in sorted(below & set(shared.targets)):
        read = await asyncio.to_thread(_last_read, shared.warehouse, shared.targets[child], list(changed))
        found |= {row_id for row_id, version in read.items() if version >= changed[row_id][-1].at}
    return found


def _last_read(warehouse: base.Warehouse, target: load.Target, parents: Sequence[str]) -> dict[str, int]:
    """By parent, the newest version of its stored children."""
    table = f"{base.quoted(warehouse.schema)}.{base.quoted(target.table.name)}"
    batches = warehouse.read(
        f"select _parent_id, max(_version) as version from {table} where _account_id = ? "
        f"and _parent_id in ({', '.join('?' * len(parents))}) group by _parent_id",
        (target.account, *parents),
    )
    return {row["_parent_id"]: row["version"] for batch in batches for row in batch.to_pylist()}


def _parent_of(changes: Sequence[events.Change]) -> str | None:
    return next((change.parent.id for change in changes if change.parent), "")


def _is_before_start(
    shared: reading.Reading, changes: Sequence[events.Change], stored: _Stored | None
) -> bool:
    """Is it an object from before the start, which the user does not want?"""
    start = shared.starts.get(changes[0].stream)
    if not shared.exclude_before or start is None or stored is not None:
        return False
    return any(change.created is not None and change.created < start for change in changes)


def _dirty_lists(shared: reading.Reading, known: Known, verdict: Verdict, change: events.Change) -> None:
    """The lists under a row that an event of the row may have changed."""
    if change.kind == "deleted":
        return
    for walk in children(known, change.stream):
        origin = walk.node.origin
        stream = walk.node.stream.name
        if change.at >= known.covered.get(stream, 0) and _is_touched(origin, change):
            kind = shared.streams[change.stream].object
            verdict.add(
                shared.account, refresh.Dirty(stream, refresh.LIST + change.id, change.at, parent_type=kind)
            )


async def _dirty_dependents(shared: reading.Reading, verdict: Verdict, change: events.Change) -> None:
    """Rows that may have gone with a deleted one without events of their own, such as a test clock's customers."""
    for name, column in shared.streams[change.stream].dependents.items():
        target, warehouse = shared.targets.get(name), shared.warehouse
        if target is None or warehouse is None or column not in target.table.schema.names:
            continue
        found = await asyncio.to_thread(_naming, warehouse, target, column, change.id)
        for row_id in found:
            verdict.add(shared.account, refresh.Dirty(name, row_id, change.at))


def _naming(warehouse: base.Warehouse, target: load.Target, column: str, id: str) -> list[str]:
    table = f"{base.quoted(warehouse.schema)}.{base.quoted(target.table.name)}"
    batches = warehouse.read(
        f"select id from {table} where _account_id = ? and {base.quoted(column)} = ? and _deleted_at is null",
        (target.account, id),
    )
    return [row_id for batch in batches for row_id in batch.column(0).to_pylist()]


def _is_touched(origin: catalog.Origin, change: events.Change) -> bool:
    """May this event of a row have changed a list that hangs on it?"""
    kind = "updated" if change.kind == "touched" else change.kind
    return origin.is_touched(kind, change.fields or {}, change.previous)


async def _judge_row(
    shared: reading.Reading,
    known: Known,
    verdict: Verdict,
    changes: Sequence[events.Change],
    stored: _Stored | None,
    *,
    orphan: bool,
) -> None:
    """Decide about one row from all that was newly said of it, oldest first."""
    node = known.ways.nodes[changes[0].stream][0]
    _remember(shared, verdict, node, changes)
    last = changes[-1]
    version = stored.version if stored is not None else -1
    if last.at < version:
        return  # read, or told, after all of this
    latest = [change for change in changes if change.at == last.at]
    deleted = next((change for change in latest if change.kind == "deleted"), None)
    if deleted is not None and not any(change.kind == "created" for change in latest):
        if stored is not None and stored.version == last.at and stored.live:
            pass  # what was read in that very second may be what came after
        else:
            parent = deleted.parent.id if deleted.parent else ""
            verdict.cargo += refresh.gone(shared, node, [last.id], last.at, parent)
            return
    if len(latest) == 1 and last.at > version and not orphan and _tells_all(shared, node, last, stored):
        verdict.cargo += await _payload(shared, node, last)
        return
    above = next((change.parent for change in reversed(changes) if change.parent), None)
    created = next((change.created for change in changes if change.created is not None), None)
    verdict.add(
        shared.account,
        refresh.Dirty(
            last.stream,
            last.id,
            last.at,
            above.id if above else "",
            above.object if above else "",
            created,
            new=stored is None,
        ),
    )


def _tells_all(
    shared: reading.Reading, node: plan.Node, change: events.Change, stored: _Stored | None
) -> bool:
    """Is the payload, made at our version, provably all that a reading would tell?

    No list that is followed may be cut or absent, and no field that only comes when asked for may have changed.
    """
    if not change.pinned or change.payload is None or change.kind not in ("created", "updated"):
        return False
    if node.origin.parents and change.parent is None:
        return False
    target = shared.targets.get(change.stream)
    if target is not None and not target.shape.judges(target.shape.expanded):
        return False  # `where` asks for what payloads lack
    rows = _decoded(shared, node, change)
    if rows is None or not all(_is_whole(rows, branch, change) for branch in node.branches):
        return False
    carried = _carried(shared, node)
    if not carried:
        return True
    causes = shared.streams[change.stream].carried
    if stored is None or not stored.live or not change.previous or not carried <= set(causes):
        return False
    return not any(change.previous.intersection(causes[name]) for name in carried)


def _carried(shared: reading.Reading, node: plan.Node) -> frozenset[str]:
    """The columns of a stream that a payload lacks, since they come only when asked for."""
    if not node.kept:
        return frozenset()
    columns = shared.targets[node.stream.name].table.schema.names
    return frozenset(name.partition(".")[0] for name in node.stream.expand) & frozenset(columns)


def _decoded(shared: reading.Reading, node: plan.Node, change: events.Change) -> decode.Rows | None:
    try:
        return shared.decoder(node.stream).objects([change.payload or b""])
    except errors.BadPage:
        return None


def _is_whole(rows: decode.Rows, branch: plan.Branch, change: events.Change) -> bool:
    """Does the payload hold all of a nested list, or need none of it?"""
    if _is_apart(branch, change):
        return True
    ((_, raw),) = rows.nested(branch.nested.path)
    if raw is None:
        return False
    if raw == b"null":
        return True
    try:
        cut = raw.lstrip()[:1] != b"[" and msgspec.json.decode(raw, type=_Outline).has_more is not False
    except msgspec.DecodeError:
        return False
    return not cut and not any(node.branches for node in branch.nodes)


class _Outline(msgspec.Struct):
    has_more: bool | None = None


def _is_apart(branch: plan.Branch, change: events.Change) -> bool:
    """Is every stream of the list told of by other means than this event?"""
    return all(not _is_touched(node.origin, change) for node in branch.nodes)


async def _payload(shared: reading.Reading, node: plan.Node, change: events.Change) -> list[load.Cargo]:
    """The row, and its children, as the payload has them."""
    rows = _decoded(shared, node, change)
    assert rows is not None, "The payload was read before."
    branches = tuple(branch for branch in node.branches if not _is_apart(branch, change))
    whole = dataclasses.replace(node, branches=branches)
    shared.told.add(change.id)
    owner = change.parent if node.origin.parents else None
    carried = _carried(shared, node)
    found: list[load.Cargo] = []
    for piece in await unpacking.pieces(
        refresh.trip(shared, whole), whole, rows, change.at, len(change.payload or b""), owner
    ):
        if isinstance(piece, load.Piece):
            own = piece.target.stream == node.stream
            piece = dataclasses.replace(piece, payload=True, carried=carried if own else frozenset())
        found.append(piece)
    return found


def _remember(
    shared: reading.Reading, verdict: Verdict, node: plan.Node, changes: Sequence[events.Change]
) -> None:
    """Keep the states in between, for streams with a history: those alone in their second."""
    target = shared.targets.get(node.stream.name)
    if target is None or target.shape.history is None:
        return
    seconds = collections.Counter(change.at for change in changes)
    for change in changes:
        told = change.pinned and change.kind in ("created", "updated") and seconds[change.at] == 1
        rows = _decoded(shared, node, change) if told else None
        if rows is not None and change.payload is not None:
            parent = change.parent
            part = (
                arrow.Part(rows, change.at, parent.id, parent.object)
                if parent is not None and node.origin.parents
                else arrow.Part(rows, change.at)
            )
            name = refresh.key(shared.account, refresh.Dirty(change.stream, change.id, change.at))
            piece = load.Piece(target, part, len(change.payload), past=True)
            verdict.past.setdefault(name, []).append(piece)
