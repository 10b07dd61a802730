"""Objects that are known to have changed, read again: by id, from the top of their list, or with their parent.

What cannot be read stays in the durable dirty set, `dirty/<account>/<stream>/<id>`, with its reason and the number
of attempts, so that one poisoned object stalls itself only and is never forgotten.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import pyarrow as pa

from tidegate import errors
from tidegate.pull import load, parents, plan, reading, single, sweep, unpacking
from tidegate.stripe import client, pages

ABREAST = 32
"""Objects read side by side."""
SEVERAL = 2
"""New objects from which on their list is read instead of each of them."""
LIST = "@"
"""In the dirty set, an id behind this is that of a parent whose whole list is dirty."""


class Dirty(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something to be read again: the row `id`, or with `LIST` before it all rows of the parent `id`.

    `at` is the newest moment, unix seconds, at which it is known to have changed: a reading must be younger.
    """

    stream: str
    id: str
    at: int
    parent: str = ""
    parent_type: str = ""
    created: int | None = None
    """When the row was created, where that is known."""
    new: bool = False
    """It is not stored yet."""
    attempts: int = 0
    after: int = 0
    """Stripe's clock before which it is not tried again by those who can wait."""
    reason: str = ""

    @property
    def whole_list(self) -> bool:
        """Is it a parent's list?"""
        return self.id.startswith(LIST)


@dataclass(frozen=True, slots=True)
class Ways:
    """How each stream of a pull can be read other than by its list: its node, and lists under parents."""

    nodes: Mapping[str, tuple[plan.Node, ...]]
    lists: Mapping[str, tuple[plan.Walk, ...]]
    """By child stream: the lists that need one request per parent."""
    walks: Mapping[str, plan.Walk]
    """By stream: the list that holds all of it and can be read from its newest row."""


def ways(wanted: plan.Plan) -> Ways:
    """The ways to the streams of a plan."""
    nodes: dict[str, list[plan.Node]] = collections.defaultdict(list)
    lists: dict[str, list[plan.Walk]] = collections.defaultdict(list)
    walks: dict[str, plan.Walk] = {}

    def add(node: plan.Node) -> None:
        nodes[node.stream.name].append(node)
        for branch in node.branches:
            for below in branch.nodes:
                add(below)

    for walk in wanted.walks:
        add(walk.node)
        if walk.node.origin.parents:
            lists[walk.node.stream.name].append(walk)
        elif walk.sliced:
            walks.setdefault(walk.node.stream.name, walk)
    return Ways(
        {name: tuple(found) for name, found in nodes.items()},
        {name: tuple(found) for name, found in lists.items()},
        walks,
    )


def can(known: Ways, dirty: Dirty) -> bool:
    """Does this pull read the stream at all? What it does not waits for one that does."""
    return dirty.stream in (known.lists if dirty.whole_list else known.nodes)


@dataclass(frozen=True, slots=True)
class Failed:
    """What could not be read, and why."""

    dirty: Dirty
    error: errors.TidegateError


async def refresh(shared: reading.Reading, known: Ways, dirty: Sequence[Dirty]) -> list[Failed]:
    """Read all of it again, each object once, and hand it to the loader; what could not be read is returned.

    Raises Unauthorized, Unreachable, RateLimited and WarehouseError: then nothing can be read.
    """
    failed: list[Failed] = []
    # Of two readings of one object, the earlier must not come later: its children would be there again.
    readings: dict[tuple[str, str], tuple[Dirty, list[Dirty]]] = {}
    for each in await _from_lists(shared, known, dirty):
        if (what := _read_for(shared, known, each)) is not None:
            other, asked = readings.get((what.stream, what.id), (what, []))
            readings[what.stream, what.id] = (what if what is each else other, [*asked, each])
    gate = asyncio.Semaphore(ABREAST)

    async def one(what: Dirty, asked: Sequence[Dirty]) -> None:
        async with gate:
            try:
                await _one(shared, known, what)
            except (
                errors.BadPage,
                errors.InvalidRequest,
                errors.Missing,
                errors.NotEnabled,
                errors.PermissionMissing,
                errors.ServerFault,
            ) as error:
                failed.extend(Failed(each, error) for each in asked)

    try:
        async with asyncio.TaskGroup() as group:
            for what, asked in readings.values():
                group.create_task(one(what, asked))
    except* errors.TidegateError as failures:
        raise first(failures) from None
    return failed


def first(failures: BaseExceptionGroup[errors.TidegateError]) -> errors.TidegateError:
    """The first error of a group, however deep."""
    error = failures.exceptions[0]
    return first(error) if isinstance(error, BaseExceptionGroup) else error


def trip(shared: reading.Reading, node: plan.Node) -> reading.Trip:
    """A way to rows of a node, on which every list is read to its end and what it has no more goes."""
    kept = next(iter(node.streams()), "")
    tally = shared.targets[kept].outcome.tally if kept else client.Tally()
    return reading.Trip(shared, plan.Walk(node), tally, "", sweeps=True)


async def _one(shared: reading.Reading, known: Ways, dirty: Dirty) -> None:
    if dirty.whole_list:
        for walk in known.lists.get(dirty.stream, ()):
            above = shared.streams[walk.node.origin.parents[0].stream].object
            if dirty.parent_type in ("", above):
                await _list(shared, walk, dirty.id.removeprefix(LIST))
        return
    node = _node(shared, known, dirty)
    assert node is not None, "Only what can be read is."
    await _row(shared, node, dirty)


def _read_for(shared: reading.Reading, known: Ways, dirty: Dirty) -> Dirty | None:
    """What is to be read for it: itself, or the parent with which alone it can be had; None for nothing."""
    node = None if dirty.whole_list else _node(shared, known, dirty)
    if dirty.whole_list or node is None:
        return dirty if dirty.whole_list else None
    template, names = route(node)
    if template and (len(names) < 2 or dirty.parent):
        return dirty
    if not dirty.parent:
        return None  # an event that names neither a route nor a parent tells nothing that could be read
    if node.origin.route == "per parent":
        return Dirty(dirty.stream, LIST + dirty.parent, dirty.at)
    if not node.origin.parents:
        return None
    return _read_for(shared, known, Dirty(node.origin.parents[0].stream, dirty.parent, dirty.at))


def _node(shared: reading.Reading, known: Ways, dirty: Dirty) -> plan.Node | None:
    nodes = known.nodes.get(dirty.stream, ())
    return next((node for node in nodes if _fits(shared, node, dirty)), nodes[0] if nodes else None)


def route(node: plan.Node) -> tuple[str, list[str]]:
    """The template of the path of one row, and the names in it."""
    template = node.origin.retrieve or node.stream.retrieve
    return template, [part[1:-1] for part in template.split("/") if part.startswith("{")]


def _fits(shared: reading.Reading, node: plan.Node, dirty: Dirty) -> bool:
    above = {shared.streams[parent.stream].object for parent in node.origin.parents}
    return not above or dirty.parent_type in above


async def _row(shared: reading.Reading, node: plan.Node, dirty: Dirty) -> None:
    """One object by its id."""
    template, names = route(node)
    shared.told.add(dirty.id)
    filled = dict(zip(names, (dirty.parent, dirty.id) if len(names) > 1 else (dirty.id,), strict=True))
    way = trip(shared, node)
    began = shared.client.clock.now()
    try:
        way, answer = await single.get(way, node, pages.path(template, filled), template)
    except errors.Missing as error:
        if reading.is_elsewhere(error):
            raise
        shared.sink.add(gone(shared, node, [dirty.id], began, dirty.parent))
        return
    rows = shared.decoder(node.stream).objects([answer.body])
    if rows.deleted[0]:
        shared.sink.add(gone(shared, node, [dirty.id], answer.version, dirty.parent))
        return
    owner = None
    if node.origin.parents and dirty.parent:
        owner = unpacking.Owner(dirty.parent, dirty.parent_type)
    if node.origin.objects and rows.objects[0] not in node.origin.objects:
        return
    start, created = shared.starts.get(dirty.stream), rows.created[0]
    if shared.exclude_before and dirty.new and None not in (start, created) and (created or 0) < (start or 0):
        return
    way.add(await unpacking.pieces(way, node, rows, answer.version, len(answer.body), owner))


def gone(
    shared: reading.Reading, node: plan.Node, ids: Sequence[str], version: int, parent: str = ""
) -> list[load.Cargo]:
    """Rows that are no more, and what hung on them: children told of in that very second, too."""
    stream = node.stream
    cargo: list[load.Cargo] = list(sweep.orphaned(shared, stream.name, ids, version))
    if node.kept:
        keys = [(parent, row_id) if stream.key == ("_parent_id", "id") else (row_id,) for row_id in ids]
        cargo.append(load.Gone(shared.targets[stream.name], keys, version))
    return cargo


async def _list(shared: reading.Reading, walk: plan.Walk, parent_id: str) -> None:
    """All rows of one parent."""
    shared.told.add(parent_id)
    values = {each.param: parent_id for each in walk.node.origin.parents if each.field == "id"}
    others = [each for each in walk.node.origin.parents if each.field != "id"]
    if others:
        target = shared.targets.get(others[0].stream)
        if target is None or shared.warehouse is None:
            return  # told again when the list takes its turn
        keys = pa.table({"_account_id": [shared.account], "id": [parent_id]})
        columns = [each.field for each in others]
        rows = await asyncio.to_thread(shared.warehouse.find, target.table, keys, columns)
        if not rows.num_rows or None in (filled := rows.select(columns).to_pylist()[0]).values():
            return
        values |= {each.param: str(filled[each.field]) for each in others}
    way = dataclasses.replace(trip(shared, walk.node), walk=walk)
    await parents.one(way, parents.Parent(parent_id, values, parent_id))


async def _from_lists(shared: reading.Reading, known: Ways, dirty: Sequence[Dirty]) -> list[Dirty]:
    """Read new objects from the top of their lists, a hundred at a time; returns what was not found there.

    A list never costs more requests than asking for each object.
    """
    groups: dict[str, list[Dirty]] = collections.defaultdict(list)
    left: list[Dirty] = []
    for each in dirty:
        listed = each.new and not each.whole_list and each.stream in known.walks
        (groups[each.stream] if listed else left).append(each)
    for name, group in groups.items():
        if len(group) < SEVERAL:
            left += group
            continue
        found = await _newest(shared, known.walks[name], group)
        left += [each for each in group if each.id not in found]
    return left


async def _newest(shared: reading.Reading, walk: plan.Walk, group: Sequence[Dirty]) -> set[str]:
    """Read the span of creation time that new objects lie in, by as many pages as may be had for them."""
    node = walk.node
    way = trip(shared, node)
    wanted = {each.id for each in group}
    low = min(each.at if each.created is None else each.created for each in group)
    high = max(each.at if each.created is None else each.created for each in group) + 1
    found: set[str] = set()
    after: str | None = None
    for _ in range(max(1, len(group) // SEVERAL)):
        params = pages.list_params(
            node.origin, after=after, limit=node.origin.max_limit, gte=low, lt=high, expand=way.expand(node)
        )
        try:
            answer = await way.get(node.origin.path, params, node.origin.path)
            page = shared.decoder(node.stream).page(answer.body)
            # What was told by an event just now need not come twice in one commit, which costs time.
            known = [row_id not in wanted and row_id in shared.told for row_id in page.rows.ids]
            rows = page.rows.take([i for i, told in enumerate(known) if not told])
            shared.told.update(rows.ids)
            pieces = await unpacking.pieces(way, node, rows, answer.version, len(answer.body))
        except (errors.BadPage, errors.InvalidRequest, errors.Missing, errors.NotEnabled, errors.ServerFault):
            break  # each object by itself says what is wrong with it
        except errors.PermissionMissing:
            break
        way.add(pieces)
        found.update(rows.ids)
        after = page.rows.last_id
        if not page.has_more or wanted <= found:
            break
    return found & wanted


def key(account: str, dirty: Dirty) -> str:
    """Where it stands in the state."""
    return f"dirty/{account}/{dirty.stream}/{dirty.id}"


def text(dirty: Dirty, *, after: int) -> str:
    """The text that keeps something which is not to be read before `after`."""
    return msgspec.json.encode(msgspec.structs.replace(dirty, after=after)).decode()


def again(dirty: Dirty, reason: str, now: int) -> str:
    """The text that keeps something that could not be read; each failure doubles the wait, up to an hour."""
    wait = min(3_600, 5 << min(dirty.attempts, 10))
    kept = msgspec.structs.replace(dirty, attempts=dirty.attempts + 1, after=now + wait, reason=reason)
    return msgspec.json.encode(kept).decode()


def saved(state: Mapping[str, str], account: str) -> Iterable[Dirty]:
    """What earlier runs could not read."""
    for name, text in state.items():
        if name.startswith(f"dirty/{account}/"):
            try:
                yield msgspec.json.decode(text, type=Dirty)
            except msgspec.DecodeError:
                continue
