"""Where tables stand, as the metadata database knows it: no warehouse is opened for it.

A pull notes it at its end, a continuous one every few minutes: so it may be some minutes old, and says how old.
"""

from __future__ import annotations

import collections
import datetime as dt
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tidegate import config
from tidegate.engine import flows, matters
from tidegate.engine import place as places
from tidegate.store import database
from tidegate.store import positions as stored

State = Literal["fresh", "behind", "failed", "unfinished", "unbounded"]
STATES: tuple[State, ...] = ("failed", "behind", "unfinished", "fresh", "unbounded")
"""Worst first; at the end what may be of any age."""


@dataclass(frozen=True, slots=True)
class Table:
    """The table of one stream with the rows of one account; `age` and `bound` in seconds.

    `bound` is the age that it may have: what the configuration's `freshness` says of the stream, else what its own
    staleness and its flow's schedule explain; None where nothing bounds it.
    """

    flow: str
    noted_at: float
    stood: stored.Stood
    age: float | None
    bound: float | None

    @property
    def state(self) -> State:
        """In a word; one that Stripe has no product for is fresh, since there is nothing to read."""
        if self.stood.status in ("failed", "no_permission", "partial"):
            return "failed"
        if self.stood.status == "not_enabled":
            return "fresh"
        if self.age is None or not self.stood.complete:
            return "unfinished"
        if self.bound is None:
            return "unbounded"
        return "behind" if self.age > self.bound else "fresh"

    @property
    def badness(self) -> tuple[int, float]:
        """For sorting, the worst first: by state, then by how much of its bound is used."""
        used = 0.0 if self.age is None else self.age / self.bound if self.bound else self.age / 1e9
        return STATES.index(self.state), -used


@dataclass(frozen=True, slots=True)
class Band:
    """Tables of one stream of a flow that differ in nothing but their age, or some of them, all in one state.

    `age` is that of the oldest in seconds; they are those from `since` on, where that is given: unix seconds of
    Stripe's clock, or for tables that `rest` how much earlier than they were noted that is.
    """

    flow: str
    stream: str
    status: str
    complete: int
    staleness: float | None
    dated: bool
    rest: bool
    since: float | None
    count: int
    rows: int
    deleted: int
    as_of: float | None
    noted_at: float
    state: State
    age: float | None
    badness: tuple[int, float]


@dataclass(frozen=True, slots=True)
class Group:
    """The tables of one stream of a flow that are in one state: how many, and what they come to together.

    `as_of` is that of the table that is furthest behind, in unix seconds; `age` the greatest.
    """

    flow: str
    stream: str
    state: State
    count: int
    rows: int
    deleted: int
    as_of: float | None
    age: float | None
    noted_at: float
    bands: tuple[Band, ...]

    @classmethod
    def of(cls, bands: Sequence[Band]) -> Group:
        """Bands of one stream of a flow in one state, together."""
        return cls(
            bands[0].flow,
            bands[0].stream,
            bands[0].state,
            sum(each.count for each in bands),
            sum(each.rows for each in bands),
            sum(each.deleted for each in bands),
            min((each.as_of for each in bands if each.as_of is not None), default=None),
            max((each.age for each in bands if each.age is not None), default=None),
            max(each.noted_at for each in bands),
            tuple(bands),
        )

    @property
    def badness(self) -> tuple[int, float]:
        """For sorting, as that of its worst table."""
        return min(each.badness for each in self.bands)


def tables(place: places.Place, flow: str = "", stream: str = "", account: str = "") -> list[Table]:
    """All that is noted, by flow, stream and account, with its age; of flows that the configuration has.

    What another version wrote and this one cannot read is left out.
    """
    given = {"flow": flow, "stream": stream, "account": account}
    where = " AND ".join(f"{name} = :{name}" for name, value in given.items() if value)
    known = _Known.of(place)
    rows = place.store.tuples(
        f"SELECT flow, at, position FROM positions{f' WHERE {where}' if where else ''} "
        "ORDER BY flow, stream, account",
        {name: value for name, value in given.items() if value},
    )
    return list(known.tables(rows))


def grouped(place: places.Place, flow: str = "", stream: str = "") -> list[Group]:
    """The same as `tables`, counted by the database: by flow, stream and state."""
    known = _Known.of(place)
    given = {"flow": flow, "stream": stream}
    where = "".join(f" AND {name} = :{name}" for name, value in given.items() if value)
    parameters = {name: value for name, value in given.items() if value}

    def work(session: database.Session) -> list[Band]:
        found = []
        for dated in (False, True):
            rows = session.tuples(
                "SELECT flow, stream, status, complete, staleness, count(*), CAST(sum(stored) AS BIGINT), "
                "CAST(sum(deleted) AS BIGINT), min(as_of), max(as_of), min(as_of - at), max(as_of - at), max(at) "
                f"FROM positions WHERE status IS NOT NULL AND as_of IS {'NOT ' if dated else ''}NULL{where} "
                "GROUP BY flow, stream, status, complete, staleness",
                parameters,
            )
            found += [
                band for row in rows if row[0] in known.flows for band in known.bands(session, row, dated)
            ]
        return found

    groups = collections.defaultdict(list)
    for band in place.store.transact(work):
        groups[band.flow, band.stream, band.state].append(band)
    return [Group.of(groups[name]) for name in sorted(groups)]


def worst(place: places.Place, groups: Iterable[Group], limit: int) -> list[Table]:
    """The worst of all tables of `grouped`, the worst first."""
    # Each band has a table that is as bad as the band: beyond so many no other has one among the worst.
    bands = heapq.nsmallest(
        limit, (band for each in groups for band in each.bands), key=lambda each: each.badness
    )
    known = _Known.of(place)
    found = [table for band in bands for table in known.oldest(place.store, band, limit)]
    return heapq.nsmallest(limit, found, key=lambda each: each.badness)


def worst_of_each(place: places.Place, groups: Iterable[Group]) -> list[Table]:
    """The worst table of each of these groups; where it was noted anew meanwhile, the worst of its stream."""
    known, found = _Known.of(place), []
    for each in groups:
        band = min(each.bands, key=lambda band: band.badness)
        there = known.oldest(place.store, band, 1) or tables(place, each.flow, each.stream)
        found += heapq.nsmallest(1, there, key=lambda table: table.badness)
    return found


@dataclass(frozen=True, slots=True)
class _Known:
    """What says how old tables may be, as of `now`."""

    flows: Mapping[str, flows.Flow]
    now: float
    going: frozenset[str]
    bounds: Mapping[str, dt.timedelta]
    spacing: Mapping[str, float | None]

    @classmethod
    def of(cls, place: places.Place) -> _Known:
        """What is known of a place now."""
        known = place.flows

        def work(session: database.Session) -> tuple[float, list[tuple[Any, ...]]]:
            going = session.tuples("SELECT flow FROM runs WHERE state IN ('queued', 'running')")
            return session.now(), going

        now, going = place.store.transact(work)
        return cls(
            known,
            now,
            frozenset(name for (name,) in going),
            matters.bounds(place.file),
            {name: matters.spacing(each, now) for name, each in known.items()},
        )

    def tables(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[Table]:
        """Tables of what is noted of them: flow, when, and the document."""
        for name, at, text in rows:
            stood = stored.stood(text) if name in self.flows else None
            if stood is not None:
                clock = at if self._rests(name) else self.now
                age = None if stood.as_of is None else clock - stood.as_of.timestamp()
                yield self._table(name, at, stood, age)

    def _table(self, flow: str, at: float, stood: stored.Stood, age: float | None) -> Table:
        bound = matters.allowed(stood, self.bounds, self.spacing[flow])
        return Table(flow, at, stood, None if age is None else max(0.0, age), bound)

    def _rests(self, name: str) -> bool:
        """Does a flow go on and on, so that its tables are as old as they were when that was noted?"""
        return self.flows[name].continuous and name in self.going

    def bands(self, session: database.Session, row: Sequence[Any], dated: bool) -> list[Band]:
        """What the database says of tables that differ in nothing but their age: one band, or two."""
        flow, stream, status, complete, staleness, count, rows, deleted, first, last, *rest, at = row
        rests = self._rests(flow)
        lowest, highest = rest if rests else (first, last)
        clock = 0.0 if rests else self.now
        stood = stored.Stood(stream, "", complete=bool(complete), status=status, staleness_s=staleness)

        def band(
            since: float | None, age: float | None, count: int, rows: int, deleted: int, as_of: float | None
        ) -> Band:
            table = self._table(flow, at, stood, age)
            return Band(
                flow,
                stream,
                status,
                complete,
                staleness,
                dated,
                rests,
                since,
                count,
                rows,
                deleted,
                as_of,
                at,
                table.state,
                table.age,
                table.badness,
            )

        if not dated:
            return [band(None, None, count, rows, deleted, None)]
        whole = band(None, clock - lowest, count, rows, deleted, first)
        newest = self._table(flow, at, stood, clock - highest)
        if whole.state == newest.state or newest.bound is None:
            return [whole]
        age, (where, parameters) = _clock(rests), _where(whole)
        parameters["since"] = since = clock - newest.bound
        [(late, late_rows, late_deleted)] = session.tuples(
            "SELECT count(*), CAST(coalesce(sum(stored), 0) AS BIGINT), "
            f"CAST(coalesce(sum(deleted), 0) AS BIGINT) FROM positions WHERE {where} AND {age} < :since",
            parameters,
        )
        [(oldest, begin)] = session.tuples(
            f"SELECT min({age}), min(as_of) FROM positions WHERE {where} AND {age} >= :since", parameters
        )
        if oldest is None or not 0 < late < count:  # somebody noted them anew between these questions
            return [whole]
        return [
            band(None, clock - lowest, late, late_rows, late_deleted, first),
            band(since, clock - oldest, count - late, rows - late_rows, deleted - late_deleted, begin),
        ]

    def oldest(self, store: database.Database, band: Band, limit: int) -> list[Table]:
        """The oldest tables of a band, the oldest first."""
        where, parameters = _where(band)
        age = _clock(band.rest)
        if band.since is not None:
            where += f" AND {age} >= :since"
            parameters["since"] = band.since
        rows = store.tuples(
            f"SELECT flow, at, position FROM positions WHERE {where} ORDER BY {age}, account LIMIT :limit",
            {**parameters, "limit": min(limit, band.count)},
        )
        return list(self.tables(rows))


def _clock(rest: bool) -> str:
    """What tables of a band are ordered by, the oldest first."""
    return "as_of - at" if rest else "as_of"


def _where(band: Band) -> tuple[str, dict[str, Any]]:
    """The condition for the tables of a band, but for `since`, and its parameters."""
    staleness = "IS NULL" if band.staleness is None else "= :staleness"
    where = (
        f"flow = :flow AND stream = :stream AND status = :status AND complete = :complete "
        f"AND staleness {staleness} AND as_of IS {'NOT ' if band.dated else ''}NULL"
    )
    given = {"flow": band.flow, "stream": band.stream, "status": band.status, "complete": band.complete}
    return where, given if band.staleness is None else {**given, "staleness": band.staleness}


def pulls_into(file: config.Config, warehouse: str) -> list[str]:
    """The pulls that write into a warehouse, by their full names."""
    return [f"pull:{name}" for name, pull in file.pulls.items() if pull.warehouse == warehouse]
