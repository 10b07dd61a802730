"""What a list no longer has: rows that are gone without an event, told from rows that the list only hides.

Only a reading of a list from end to end says which rows it does not have, and only of rows that are older than the
reading. Each of them is asked for by its id; what cannot be asked is taken for deleted where it is little, and held
where it is much: then nothing is deleted, and the user is asked.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from tidegate import catalog, errors
from tidegate.pull import load, plan, reading, relist, single, unpacking
from tidegate.stripe import client, pages
from tidegate.warehouse import base

BOUND = 1_000
"""Rows of one sweep that are asked for by id, at the most."""
ABREAST = 16
"""Rows asked for side by side."""
SHARE = 0.2
"""The share of a stream's rows that may go without being asked for one by one."""
HANDFUL = 5
"""As many rows may go from a small table, whatever their share, as long as the list still has others."""
CHUNK = 5_000
"""Rows taken from the warehouse at a time."""
FORGETFUL = frozenset({"event", "v2.core.event"})
"""Objects that Stripe forgets by itself, after 30 days (https://docs.stripe.com/api/events)."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a sweep came to: what is to be loaded, the state that goes with it, and what it holds back."""

    cargo: list[load.Cargo] = field(default_factory=list)
    state: dict[str, str | None] = field(default_factory=dict)
    held: str = ""
    """One sentence that says how much is held and what to do; empty when nothing is."""


class Held(msgspec.Struct, frozen=True):
    """Rows that are no longer listed and were not deleted here, kept under `held/<account>/<stream>`."""

    since: int
    """Stripe's clock when the list was read, unix seconds."""
    unlisted: int
    rows: int
    why: str


def key(account: str, stream: str) -> str:
    """Where it stands in the state that rows of a stream are held."""
    return f"held/{account}/{stream}"


def held(saved: str) -> Held | None:
    """Read it from the state; None for what this version cannot read."""
    try:
        return msgspec.json.decode(saved, type=Held)
    except msgspec.DecodeError:
        return None


async def whole(shared: reading.Reading, stream: catalog.Stream, entry: relist.Entry) -> Found:
    """Find the rows of a stream that its lists, read to their ends since `entry.since`, do not have.

    Rows that are newer than the reading are left alone, as are those outside of the entry's span and before the
    pull's start. Killed inside, it is done again as a whole: what went already is no candidate any more. What a
    child stream has no more is told by its parents' lists instead. Raises what Stripe answers to asking by id.
    """
    scope = _scope(shared, stream, entry)
    if scope is None:
        return Found()
    rows, unlisted = await asyncio.to_thread(_counts, scope)
    settled = {key(shared.account, stream.name): None} if entry.whole else {}
    if not unlisted:
        return Found([], dict(settled))
    accepted = stream.name in shared.accept
    lasting = stream.told.deleted == "never" and not accepted
    if unlisted > BOUND and not accepted and (lasting or not _is_little(unlisted, rows)):
        return _hold(scope, rows, unlisted, "")
    asked = await _ask(scope, await asyncio.to_thread(_candidates, scope))
    left = unlisted - len(asked.gone) - len(asked.alive)
    if lasting and left + len(asked.gone):
        why = " and Stripe cannot delete such objects: the account's test data may have been"
        return _hold(scope, rows, left + len(asked.gone), why, asked.cargo)
    cargo = [*asked.cargo, *_gone(scope, asked.gone)]
    if not left:
        return Found(cargo, dict(settled))
    if not accepted and (asked.alive or asked.unclear or not _is_little(left, rows)):
        count = len(asked.alive) + len(asked.gone)
        why = (
            f", and {len(asked.alive):,} of {count:,} that were asked for by id exist" if asked.alive else ""
        )
        return _hold(scope, rows, left, why, cargo)
    answered = {*asked.alive, *(row_id for row_id, _ in asked.gone)}
    after = ""
    while ids := await asyncio.to_thread(_following, scope, after):
        shared.sink.add(cargo)
        await shared.sink.room()
        cargo = _gone(scope, [(row_id, entry.since) for row_id in ids if row_id not in answered])
        after = ids[-1]
    return Found(cargo, dict(settled))


async def older(shared: reading.Reading, stream: catalog.Stream, entry: relist.Entry) -> None:
    """Read by their ids the rows from before the pull's start, which its list was not asked for.

    Only where something went wrong, and not as often as it takes its turn: it costs a request per row. Killed
    inside, it goes on with those that were not read yet. Raises what Stripe answers to asking by id.
    """
    start = shared.starts.get(stream.name)
    if (
        start is None
        or entry.regular
        or not entry.whole
        or not (stream.created_filter and stream.created_field)
    ):
        return
    past = msgspec.structs.replace(entry, high=start)
    scope = _scope(dataclasses.replace(shared, starts={}), stream, past)
    after = ""
    while scope is not None and (ids := await asyncio.to_thread(_following, scope, after)):
        asked = await _ask(scope, ids)
        shared.sink.add([*asked.cargo, *_gone(scope, asked.gone)])
        await shared.sink.room()
        after = ids[-1]


def orphaned(shared: reading.Reading, stream_name: str, ids: Sequence[str], version: int) -> list[load.Cargo]:
    """The children of rows that are gone since `version`, which are gone with them, and theirs in turn.

    Every stream that hangs on this one is told that these parents have no rows any more, whether this stream is
    kept or not. The children of children are found by what is stored.
    """
    found: list[load.Cargo] = []
    for child in shared.streams.values():
        if not any(origin.parents and origin.parents[0].stream == stream_name for origin in child.origins):
            continue
        target = shared.targets.get(child.name)
        if target is None:
            continue
        if any(shared.streams[name].parent == child.name for name in shared.targets):
            below = list(_stored_children(shared, target, ids))
            found += orphaned(shared, child.name, below, version) if below else []
        # A sweep spares rows of its own second, which may be younger than it; nothing follows a parent's end.
        found += [load.Swept(target, row_id, (), version + 1) for row_id in ids]
    return found


@dataclass(frozen=True, slots=True)
class _Scope:
    """The rows of one stream and account that the reading of its list can judge."""

    shared: reading.Reading
    target: load.Target
    warehouse: base.Warehouse
    since: int
    where: str
    parameters: tuple[object, ...]

    @property
    def table(self) -> str:
        return f"{base.quoted(self.warehouse.schema)}.{base.quoted(self.target.table.name)}"


def _scope(shared: reading.Reading, stream: catalog.Stream, entry: relist.Entry) -> _Scope | None:
    """What is to be judged; None where a list says nothing of rows that it does not have."""
    target = shared.targets.get(stream.name)
    nested = any(origin.parents for origin in stream.origins)
    if target is None or shared.warehouse is None or nested or stream.object in FORGETFUL:
        return None
    where, parameters = "_account_id = ? and _deleted_at is null", [shared.account]
    if stream.own:
        where += " and id <> ?"  # the row that no list holds
        parameters.append(shared.account)
    values: list[object] = list(parameters)
    if stream.created_filter and stream.created_field:
        lows = [low for low in (entry.low, shared.starts.get(stream.name)) if low is not None]
        low = max(lows, default=None)
        if (low, entry.high) != (None, None) and stream.created_field not in target.shape.readable:
            shared.screen.note(
                f"{stream.name}: what was deleted in Stripe cannot be told without the column "
                f"{stream.created_field}; add it to the stream's columns."
            )
            return None
        for bound, sign in ((low, ">="), (entry.high, "<")):
            if bound is not None:
                where += f" and {base.quoted(stream.created_field)} {sign} ?"
                values.append(dt.datetime.fromtimestamp(bound, dt.UTC))
    return _Scope(shared, target, shared.warehouse, entry.since, where, tuple(values))


def _counts(scope: _Scope) -> tuple[int, int]:
    """The live rows that the list should have, and how many of them it does not have."""
    batches = scope.warehouse.read(
        "select count(*) as stored, coalesce(sum(case when _version < ? then 1 else 0 end), 0) as unlisted "
        f"from {scope.table} where {scope.where}",
        (scope.since, *scope.parameters),
    )
    (row,) = [row for batch in batches for row in batch.to_pylist()]
    return int(row["stored"]), int(row["unlisted"])


def _is_little(unlisted: int, rows: int) -> bool:
    """Are these so few of all that they may go unasked? Never all of them: an empty list is rather a fault."""
    return unlisted < rows and (unlisted <= rows * SHARE or unlisted <= HANDFUL)


def _hold(scope: _Scope, rows: int, unlisted: int, why: str, cargo: Sequence[load.Cargo] = ()) -> Found:
    name = scope.target.stream.name
    sentence = (
        f"{unlisted:,} of {rows:,} rows of {name} are no longer listed by Stripe{why}; they were kept as they are. "
        f"If they are really gone, run `tidegate pull --accept-deletes {name}`."
    )
    kept = Held(scope.since, unlisted, rows, sentence)
    state: dict[str, str | None] = {key(scope.shared.account, name): msgspec.json.encode(kept).decode()}
    return Found(list(cargo), state, sentence)


@dataclass(slots=True)
class _Asked:
    """What asking by id brought: rows that are alive, loaded anew, and rows that are gone, with versions."""

    cargo: list[load.Cargo] = field(default_factory=list)
    alive: set[str] = field(default_factory=set)
    gone: list[tuple[str, int]] = field(default_factory=list)
    unclear: set[str] = field(default_factory=set)
    """Rows about which Stripe refused to answer."""


async def _ask(scope: _Scope, ids: Sequence[str]) -> _Asked:
    """Ask for rows by id, the first one first; nothing where this Stripe has no such route."""
    stream, asked = scope.target.stream, _Asked()
    way = _way(scope)
    if not stream.retrieve or way is None:
        return asked
    first, *others = ids
    await _one(scope, way, first, asked)
    if asked.unclear:
        return _Asked()
    gate = asyncio.Semaphore(ABREAST)

    async def one(row_id: str) -> None:
        async with gate:
            await _one(scope, way, row_id, asked)

    try:
        async with asyncio.TaskGroup() as group:
            for row_id in others:
                group.create_task(one(row_id))
    except* errors.TidegateError as failures:
        raise _first(failures) from None
    return asked


def _way(scope: _Scope) -> reading.Trip | None:
    """A trip along the stream's own list, on which nested lists are read to their ends."""
    shared, stream = scope.shared, scope.target.stream
    for walk in plan.plan(shared.streams, list(shared.targets)).walks:
        if walk.node.stream.name == stream.name:
            return reading.Trip(shared, walk, scope.target.outcome.tally, "", sweeps=True)
    return None


async def _one(scope: _Scope, way: reading.Trip, row_id: str, asked: _Asked) -> None:
    shared, stream, node = scope.shared, scope.target.stream, way.walk.node
    (name,) = [part[1:-1] for part in stream.retrieve.split("/") if part.startswith("{")]
    began = shared.client.clock.now()
    try:
        way, answer = await single.get(
            way, node, pages.path(stream.retrieve, {name: row_id}), stream.retrieve
        )
    except errors.Missing as error:
        if reading.is_elsewhere(error):
            asked.alive.add(row_id)
        else:
            asked.gone.append((row_id, began))
        return
    except (errors.NotEnabled, errors.InvalidRequest):
        asked.unclear.add(row_id)
        return
    except errors.Unauthorized as error:
        if error.code != "account_invalid" or client.account_in(str(error)) != row_id:
            raise
        asked.gone.append((row_id, began))  # a connected account that was cut off
        return
    rows = shared.decoder(stream).objects([answer.body])
    if rows.deleted[0]:
        asked.gone.append((row_id, answer.version))
        return
    asked.alive.add(row_id)
    asked.cargo += await unpacking.pieces(way, node, rows, answer.version, len(answer.body))


def _gone(scope: _Scope, found: Sequence[tuple[str, int]]) -> list[load.Cargo]:
    """Rows that are gone, with versions, and what hung on them."""
    versions: dict[int, list[str]] = {}
    for row_id, version in found:
        versions.setdefault(version, []).append(row_id)
    cargo: list[load.Cargo] = []
    for version, ids in versions.items():
        cargo += orphaned(scope.shared, scope.target.stream.name, ids, version)
        cargo.append(load.Gone(scope.target, [(row_id,) for row_id in ids], version))
    return cargo


def _candidates(scope: _Scope) -> list[str]:
    """The ids to ask for, those known longest first."""
    return _ids(
        scope.warehouse,
        f"select id from {scope.table} where {scope.where} and _version < ? order by _version, id limit {BOUND}",
        (*scope.parameters, scope.since),
    )


def _following(scope: _Scope, after: str) -> list[str]:
    """The ids of the next candidates in the order of their ids."""
    return _ids(
        scope.warehouse,
        f"select id from {scope.table} where {scope.where} and _version < ? and id > ? "
        f"order by id limit {CHUNK}",
        (*scope.parameters, scope.since, after),
    )


def _stored_children(shared: reading.Reading, target: load.Target, parents: Sequence[str]) -> Iterator[str]:
    """The ids of stored rows that hang on these parents."""
    if shared.warehouse is None:
        return
    table = f"{base.quoted(shared.warehouse.schema)}.{base.quoted(target.table.name)}"
    for start in range(0, len(parents), CHUNK):
        some = parents[start : start + CHUNK]
        marks = ", ".join("?" * len(some))
        yield from _ids(
            shared.warehouse,
            f"select id from {table} where _account_id = ? and _parent_id in ({marks})",
            (shared.account, *some),
        )


def _ids(warehouse: base.Warehouse, sql: str, parameters: Sequence[object]) -> list[str]:
    return [row_id for batch in warehouse.read(sql, parameters) for row_id in batch.column(0).to_pylist()]


def _first(failures: BaseExceptionGroup[errors.TidegateError]) -> errors.TidegateError:
    error = failures.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
