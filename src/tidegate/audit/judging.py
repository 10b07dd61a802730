"""Whether a difference between Stripe's lists and a table is one: told row by row, by Stripe's clock.

A difference is only a matter of time, and left out, where the warehouse has news that are younger than the reading
of that row; where an event says that the row changed after it was read, or so lately that the warehouse has not
heard of it; where the row was created after the moment up to which the warehouse must know; and where it should
have settled since. A row that no list shows is extra only where the list was read to its end and could have shown
it, and where asking for it by its id does not bring it back.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tidegate.audit import findings, news, scratch, sides
from tidegate.pull import load, reading, refresh, settling, sweep
from tidegate.rows import columns
from tidegate.warehouse import base

CHUNK = 5_000
"""Differences that are looked at together."""
AHEAD = 60
"""Seconds by which a version may be ahead of Stripe's clock as we know it."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sight:
    """One account, as it was read and as it is stored."""

    shared: reading.Reading
    scratch: scratch.Scratch
    warehouse: base.Warehouse
    ways: refresh.Ways
    news: news.News
    targets: Mapping[str, load.Target]
    """The tables of the warehouse."""
    lows: Mapping[str, int]
    """By stream: objects created before this were not listed."""
    place: int | None
    """How far the pulls followed the events, and saw to rows that should have settled."""
    now: int
    """Stripe's clock when everything was read."""


@dataclass(frozen=True, slots=True)
class Times:
    """Moments of one stream, by Stripe's clock."""

    begun: int
    """The newest version that was stored when the audit began: what is newer came while it ran."""
    since: int
    """When its first list was asked for."""
    due: int | None
    """What was created before this must be here; None for everything."""
    low: int | None
    """Its lists show nothing that was created before this."""


@dataclass(slots=True)
class Repairs:
    """Differences that can be repaired, by key with the version that is stored, if any."""

    rows: dict[bytes, int | None] = field(default_factory=dict)
    """To be loaded as Stripe has them."""
    gone: dict[bytes, int] = field(default_factory=dict)
    """No more at Stripe."""
    leaving: dict[bytes, int] = field(default_factory=dict)
    """At Stripe, but not wanted by `where`."""
    anew: set[bytes] = field(default_factory=set)
    """Those of them that are stored in a way that no version can mend: twice, or with a version still to come."""


class Judge:
    """Compares one stream of one account, part by part, and writes down what it finds."""

    def __init__(self, sight: Sight, found: findings.Stream, times: Times, *, complete: bool) -> None:
        self.sight, self.found, self.times, self.complete = sight, found, times, complete
        self.target = sight.targets[found.stream]
        self.measure = sides.measure(self.target.stream, self.target.shape)
        self.in_flight: list[bytes] = []
        """Keys that were left out, of streams that must add up to something."""
        self._asked = 0
        schema = self.target.table.schema
        self._json = {each.name for each in schema if each.metadata == columns.JSON}

    async def judge(self, met: sides.Met) -> Repairs:
        """Count a part of the rows, and say what is to be repaired of it."""
        repairs = Repairs()
        months = list(map(sides.month, met.there[sides.CREATED].to_pylist()))
        self.found.count(sides.totals(met.there, self.measure, months), 0)
        self.found.count(sides.totals(met.here, self.measure, months), 1)
        self.found.count(sides.totals(met.missing, self.measure), 0)
        self.found.count(sides.totals(met.extra, self.measure), 1)
        doubtful = met.doubtful(self.sight.now + AHEAD)
        for start in range(0, len(doubtful), CHUNK):
            some = doubtful.slice(start, CHUNK)
            await self._pairs(met.there.take(some), met.here.take(some), met.doubled, repairs)
        for start in range(0, met.missing.num_rows, CHUNK):
            await self._missing(met.missing.slice(start, CHUNK), repairs)
        for start in range(0, met.extra.num_rows, CHUNK):
            await self._extra(met.extra.slice(start, CHUNK), repairs)
        return repairs

    async def _pairs(
        self, there: pa.Table, here: pa.Table, doubled: Collection[bytes], repairs: Repairs
    ) -> None:
        keys = there[sides.KEY].to_pylist()
        listed = await self._content(self.sight.scratch, keys)
        stored = await self._content(self.sight.warehouse, keys)
        flying = []
        for i, (key, version, created) in enumerate(_each(there)):
            mine = stored.get(key)
            if mine is None or not mine["_stored"] or mine["_deleted_at"] is not None:
                flying.append(i)  # it was deleted a moment ago
                continue
            other = self._unlike(listed[key], mine)
            late = mine["_version"] is not None and mine["_version"] > self.sight.now + AHEAD
            if not (other or late or key in doubled):
                continue
            parent = mine.get("_parent_id")
            young = self._has_settled(listed[key], mine, other)
            if not late and (young or await self._is_young(key, version, mine["_version"], parent)):
                flying.append(i)
                continue
            named = [*other, *(["_version"] if late else []), *(["stored twice"] if key in doubled else [])]
            self.found.find("stale", sides.month(created), sides.name(key), ", ".join(named))
            repairs.rows[key] = mine["_version"]
            if late or key in doubled:
                repairs.anew.add(key)
        self._leave(there, here, flying)

    async def _missing(self, there: pa.Table, repairs: Repairs) -> None:
        keys = there[sides.KEY].to_pylist()
        stored = await self._find(self.sight.warehouse, keys)
        parents = await self._parents(self.sight.scratch, keys)
        flying = []
        for i, (key, version, created) in enumerate(_each(there)):
            mine = stored.get(key)
            came = mine is not None and mine["_stored"] and mine["_deleted_at"] is None
            due = self.times.due is None or created is None or created < self.times.due
            last = None if mine is None else mine["_version"]
            if came or not due or await self._is_young(key, version, last, parents.get(key)):
                flying.append(i)
                continue
            self.found.find("missing", sides.month(created), sides.name(key))
            repairs.rows[key] = last
            if last is not None and last > self.sight.now + AHEAD:
                repairs.anew.add(key)
        self._leave(there, None, flying)

    async def _extra(self, here: pa.Table, repairs: Repairs) -> None:
        """Rows that no list showed: those beyond the list's reach do not count, the others are asked for."""
        reached = await self._reached(here)
        beyond = [i for i in range(here.num_rows) if i not in reached]
        self._uncount(here, 1, beyond)
        parents = await self._parents(self.sight.warehouse, here[sides.KEY].to_pylist())
        flying, left, since = [], [], self.times.since
        for i, (key, version, created) in enumerate(_each(here)):
            if i not in reached:
                continue
            came = version is not None and version > self.times.begun and version >= since
            new = created is not None and created >= since
            if came or new or await self._is_told(key, since, parents.get(key)):
                flying.append(i)
            else:
                left.append((key, version, created))
        keys = [key for key, *_ in left]
        known = await self._find(self.sight.scratch, keys)
        await self._ask([key for key in keys if key not in known])
        listed = await self._content(self.sight.scratch, keys)
        stored = await self._content(self.sight.warehouse, list(listed))
        alive = []
        for key, version, created in left:
            theirs, mine = listed.get(key), stored.get(key)
            if theirs is not None and theirs["_stored"] and theirs["_deleted_at"] is None:
                alive.append(key)  # no list shows it, and it is there
                other = [] if mine is None else self._unlike(theirs, mine)
                if other:
                    self.found.find("stale", sides.month(created), sides.name(key), ", ".join(other))
                    repairs.rows[key] = version
                continue
            self.found.find("extra", sides.month(created), sides.name(key))
            leaving = theirs is not None and theirs["_deleted_at"] is None
            (repairs.leaving if leaving else repairs.gone)[key] = version or 0
            if version is not None and version > self.sight.now + AHEAD:
                repairs.anew.add(key)
        self._leave(None, here, flying)
        await self._count_alive(alive, here)

    async def _count_alive(self, keys: Sequence[bytes], here: pa.Table) -> None:
        """Rows that were asked for and are alive stand on Stripe's side too."""
        if not keys:
            return
        table = self.target.table
        found = await asyncio.to_thread(
            self.sight.scratch.find, table, self._keys(keys), list(self.measure.columns)
        )
        rows = sides.reduced(found, self.measure)
        months = dict(zip(here[sides.KEY].to_pylist(), here[sides.CREATED].to_pylist(), strict=True))
        named = [sides.month(months[key]) for key in rows[sides.KEY].to_pylist()]
        self.found.count(sides.totals(rows, self.measure, named), 0)

    async def _reached(self, here: pa.Table) -> set[int]:
        """Which rows here the lists would have shown."""
        stream = self.target.stream
        if not self.complete:
            return set()
        low = self.times.low
        if stream.object in sweep.FORGETFUL:
            low = max(low or 0, self.sight.now - 30 * 86_400 + AHEAD)
        own = self.sight.shared.account.encode() if stream.own else None
        reached = {
            i
            for i, (key, _, created) in enumerate(_each(here))
            if key != own and (low is None or (created is not None and created >= low))
        }
        lows = {
            above.stream: self.sight.lows[above.stream]
            for origin in stream.origins
            for above in origin.parents[:1]
            if above.stream in self.sight.lows
        }
        if lows and reached:
            reached &= await self._under(here, lows)
        return reached

    async def _under(self, here: pa.Table, lows: Mapping[str, int]) -> set[int]:
        """Children whose parents are old enough to tell that their list was read."""
        parents = await self._parents(self.sight.warehouse, here[sides.KEY].to_pylist())
        known: set[str] = set()
        for name, low in lows.items():
            target = self.sight.targets.get(name)
            if target is None or target.stream.created_field not in target.shape.readable:
                continue
            ids = sorted({each for each in parents.values() if each})
            keys = sides.keys(target.table, self.sight.shared.account, [each.encode() for each in ids])
            created = target.stream.created_field
            rows = await asyncio.to_thread(self.sight.warehouse.find, target.table, keys, [created])
            known |= {
                row["id"]
                for row in rows.to_pylist()
                if row[created] is not None and row[created].timestamp() >= low
            }
        return {i for i, key in enumerate(here[sides.KEY].to_pylist()) if parents.get(key) in known}

    async def _ask(self, keys: Sequence[bytes]) -> None:
        """Ask Stripe for rows by their ids, as far as is worth it; what comes is read like all the rest."""
        keys = keys[: max(0, sweep.BOUND - self._asked)]
        if not keys:
            return
        self._asked += len(keys)
        named = {"_parent_id", "_parent_type"} & set(self.target.table.schema.names)
        rows = await self._content(self.sight.warehouse, keys, sorted(named)) if named else {}
        dirty = [
            refresh.Dirty(
                self.target.stream.name,
                key.rpartition(b"\x00")[2].decode(),
                self.sight.now,
                parent=rows.get(key, {}).get("_parent_id") or "",
                parent_type=rows.get(key, {}).get("_parent_type") or "",
            )
            for key in keys
        ]
        await refresh.refresh(self.sight.shared, self.sight.ways, dirty)
        await self.sight.shared.sink.flush()
        await asyncio.to_thread(self.sight.scratch.scrub)

    async def _is_young(self, key: bytes, version: int, last: int | None, parent: str | None) -> bool:
        """Is a difference only a matter of time? `version` is that of the reading, `last` that of the row here."""
        if last is not None and self.times.begun < last <= self.sight.now + AHEAD and last >= version:
            return True
        return await self._is_told(key, version, parent)

    def _has_settled(self, theirs: Row, mine: Row, other: Sequence[str]) -> bool:
        """Did a row only settle, since the last pull or less than an hour after it was read in vain?"""
        settles, place = self.target.stream.settles, self.sight.place
        if settles is None or place is None or list(other) != [settles.field]:
            return False
        if mine[settles.field] not in settles.open or theirs[settles.field] in settles.open:
            return False
        when = mine.get(settling.WHEN)
        lately = mine["_version"] is not None and mine["_version"] >= place - settling.LATE
        return lately or (isinstance(when, dt.datetime) and when.timestamp() >= place)

    async def _is_told(self, key: bytes, since: int, parent: str | None) -> bool:
        row_id = key.rpartition(b"\x00")[2].decode()
        return await self.sight.news.of(self.target.stream, row_id, parent, since)

    async def _parents(self, side: base.Warehouse, keys: Sequence[bytes]) -> dict[bytes, str | None]:
        """The parents of children; nothing for rows that have none."""
        if "_parent_id" not in self.target.table.schema.names:
            return {}
        rows = await self._content(side, keys, ["_parent_id"])
        return {key: row["_parent_id"] for key, row in rows.items()}

    def _leave(self, there: pa.Table | None, here: pa.Table | None, flying: Sequence[int]) -> None:
        """Leave rows out of the counts that only time tells apart."""
        self.found.in_flight += len(flying)
        if there is not None:
            self._uncount(there, 0, flying)
        if here is not None:
            months = None if there is None else list(map(sides.month, there[sides.CREATED].to_pylist()))
            self._uncount(here, 1, flying, months)
        either = there if there is not None else here
        if flying and either is not None and self.target.stream.settles is not None:
            self.in_flight += either[sides.KEY].take(pa.array(flying)).to_pylist()

    def _uncount(
        self, rows: pa.Table, side: int, numbers: Sequence[int], months: Sequence[str] | None = None
    ) -> None:
        if numbers:
            named = None if months is None else [months[i] for i in numbers]
            some = rows.take(pa.array(numbers))
            self.found.count(sides.totals(some, self.measure, named), 1 if side else 0, -1)

    def _keys(self, keys: Sequence[bytes]) -> pa.Table:
        return sides.keys(self.target.table, self.sight.shared.account, keys)

    async def _find(self, side: base.Warehouse, keys: Sequence[bytes]) -> dict[bytes, Row]:
        return await self._content(side, keys, [])

    async def _content(
        self, side: base.Warehouse, keys: Sequence[bytes], names: Sequence[str] | None = None
    ) -> dict[bytes, Row]:
        """What one side has under keys, buried ones included."""
        if not keys:
            return {}
        table = self.target.table
        wanted = list(self.measure.content if names is None else names)
        rows = await asyncio.to_thread(side.find, table, self._keys(keys), wanted)
        made = {name: sides.plain(rows[name]).to_pylist() for name in rows.schema.names}
        listed = [dict(zip(made, values, strict=True)) for values in zip(*made.values(), strict=True)]
        return {b"\x00".join(row[name].encode() for name in table.key[1:]): row for row in listed}

    def _unlike(self, theirs: Row, mine: Row) -> list[str]:
        """The columns in which two rows are not the same, by value."""
        return [
            name
            for name in self.measure.content
            if not _same(theirs[name], mine[name])
            and not (name in self._json and _same_json(theirs[name], mine[name], name == "_extra"))
        ]


def _each(rows: pa.Table) -> Iterator[tuple[bytes, int, int | None]]:
    """Key, version and creation time of each row."""
    return zip(*(rows[name].to_pylist() for name in (sides.KEY, sides.VERSION, sides.CREATED)), strict=True)


def _same(one: object, other: object) -> bool:
    if one == other or one is None or other is None:
        return one == other
    return type(one) is not type(other) and _number(one) is not None and _number(one) == _number(other)


def _number(value: object) -> decimal.Decimal | None:
    try:
        return None if isinstance(value, bool) else decimal.Decimal(str(value))
    except decimal.InvalidOperation:
        return None


def _same_json(one: str | None, other: str | None, extra: bool) -> bool:
    """Do two JSON texts have the same value? In `_extra`, an object without members is as good as none."""
    try:
        values = [
            None if text is None else _comparable(json.loads(text, parse_float=decimal.Decimal))
            for text in (one, other)
        ]
    except (ValueError, RecursionError):
        return False
    return values[0] == values[1] or (extra and all(value is None or value == {} for value in values))


def _comparable(value: Any) -> Any:
    """A value that is equal to another one only when the JSON is; Python holds `true` and `1` for equal."""
    if isinstance(value, dict):
        return {key: _comparable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_comparable(inner) for inner in value]
    return ("bool", value) if isinstance(value, bool) else value
