"""Where tables stand, as the metadata database knows it: no warehouse is opened for it.

A pull notes it at its end, a continuous one every few minutes: so it may be some minutes old, and says how old.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec

from tidegate import config
from tidegate.engine import flows, matters
from tidegate.engine import place as places
from tidegate.store import database

State = Literal["fresh", "behind", "failed", "unfinished", "unbounded"]
STATES: tuple[State, ...] = ("failed", "behind", "unfinished", "fresh", "unbounded")
"""Worst first; at the end what may be of any age."""


class Stood(msgspec.Struct, frozen=True):
    """One stream of one account as it stood when its pull noted it; `as_of` on Stripe's clock."""

    stream: str
    account: str
    rows: int = 0
    deleted: int = 0
    complete: bool = False
    as_of: dt.datetime | None = None
    status: str = ""
    error: str | None = None
    staleness_s: int | None = None
    staleness: str = ""
    held: str | None = None
    listing: str | None = None
    waiting: int = 0
    unread: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """The table of one stream with the rows of one account; `age` and `bound` in seconds.

    `bound` is the age that it may have: what the configuration's `freshness` says of the stream, else what its own
    staleness and its flow's schedule explain; None where nothing bounds it.
    """

    flow: str
    noted_at: float
    stood: Stood
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


def positions(
    store: database.Database, flow: str = "", stream: str = "", account: str = ""
) -> Iterator[tuple[str, float, Stood]]:
    """What is noted of a flow, of one stream or account of it, or of everything, by flow, stream and account.

    What another version wrote and this one cannot read is left out.
    """
    given = {"flow": flow, "stream": stream, "account": account}
    where = " AND ".join(f"{name} = :{name}" for name, value in given.items() if value)
    rows = store.tuples(
        f"SELECT flow, at, position FROM positions{f' WHERE {where}' if where else ''} "
        "ORDER BY flow, stream, account",
        {name: value for name, value in given.items() if value},
    )
    for name, at, text in rows:
        try:
            yield name, float(at), _decoder.decode(text)
        except msgspec.DecodeError:
            continue


_decoder = msgspec.json.Decoder(Stood)


def tables(place: places.Place, flow: str = "", stream: str = "", account: str = "") -> list[Table]:
    """All that is noted, with its age; of flows that the configuration has."""
    known, now = place.flows, place.store.now()
    going = alive(place.store)
    bounds = matters.bounds(place.file)
    spacing = {name: matters.spacing(each, now) for name, each in known.items()}
    return [
        Table(name, at, stood, _age(known[name], stood, at, now, name in going), bound)
        for name, at, stood in positions(place.store, flow, stream, account)
        if name in known
        for bound in [matters.allowed(stood, bounds, spacing[name])]
    ]


def alive(store: database.Database) -> set[str]:
    """The flows that have a run which is queued or running."""
    rows = store.execute("SELECT flow FROM runs WHERE state IN ('queued', 'running')")
    return {row["flow"] for row in rows}


def pulls_into(file: config.Config, warehouse: str) -> list[str]:
    """The pulls that write into a warehouse, by their full names."""
    return [f"pull:{name}" for name, pull in file.pulls.items() if pull.warehouse == warehouse]


def _age(flow: flows.Flow, stood: Stood, noted_at: float, now: float, going: bool) -> float | None:
    """Of a continuous flow that goes on, the age that was known when it was noted."""
    if stood.as_of is None:
        return None
    return max(0.0, (noted_at if flow.continuous and going else now) - stood.as_of.timestamp())
