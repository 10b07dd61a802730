"""How everything is: in one sentence, then stream by stream, and what runs, comes next, waits and is used up.

All of it is what the metadata database knows, asked in a few statements however many streams and accounts there
are. `refresh` has a look into the warehouses.
"""

from __future__ import annotations

import collections
import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tidegate import config, errors
from tidegate.engine import alerts, matters
from tidegate.engine import place as places
from tidegate.pull import held, settings
from tidegate.store import positions as stored
from tidegate.views import flows as known_flows
from tidegate.views import outside, rate_budgets, standing, summary

SHOWN = 20
"""Streams whose freshness is shown, and flows that come next."""
PATIENCE = 45.0
"""Seconds after which `refresh` begins with no other warehouse."""


@dataclass(frozen=True, slots=True)
class Size:
    """What is known of a warehouse's size without opening it; `bytes` of a file on this machine."""

    warehouse: str
    type: str
    rows: int | None
    tables: int
    bytes: int | None
    noted_at: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """All of it; `freshness` are the worst streams, `streams` how many there are in each state."""

    at: float
    health: summary.Health
    sentence: str
    flows: tuple[known_flows.Standing, ...]
    freshness: tuple[standing.Table, ...]
    streams: Mapping[standing.State, int]
    issues: tuple[summary.Issue, ...]
    budgets: tuple[rate_budgets.Budget, ...]
    warehouses: tuple[Size, ...]

    @property
    def coming(self) -> list[known_flows.Standing]:
        """The flows that run by themselves, the soonest first; those that rest come last."""
        due = [each for each in self.flows if each.next_at is not None or each.waiting or each.resting]
        late = float("inf")
        return sorted(
            due, key=lambda each: (not each.waiting, late if each.resting else each.next_at or 0.0, each.name)
        )[:SHOWN]

    @property
    def running(self) -> list[known_flows.Standing]:
        """The flows that have a run."""
        return [each for each in self.flows if each.running is not None]


def look(place: places.Place) -> Overview:
    """Everything, as of now."""
    store, file = place.store, place.file
    groups = standing.grouped(place)
    known = known_flows.listed(place, groups=groups)
    issues = tuple(summary.issues(place))
    states = collections.Counter[standing.State]()
    for each in groups:
        states[each.state] += each.count
    health, sentence = summary.said(file, known, issues, states["failed"], valid=not place.problem)
    return Overview(
        store.now(),
        health,
        sentence,
        tuple(known),
        tuple(standing.worst(place, groups, SHOWN)),
        {state: states[state] for state in standing.STATES if states[state]},
        issues,
        tuple(rate_budgets.listed(place)),
        tuple(sizes(file, groups)),
    )


def sizes(file: config.Config, groups: Iterable[standing.Group]) -> list[Size]:
    """What is known of every warehouse's size, by what pulls noted of it."""
    mine: dict[str, list[standing.Group]] = collections.defaultdict(list)
    for each in groups:
        mine[file.pulls[each.flow.removeprefix("pull:")].warehouse].append(each)
    found = []
    for name, warehouse in file.warehouses.items():
        there = mine.get(name, [])
        size = None
        if isinstance(warehouse, config.DuckDB):
            with contextlib.suppress(OSError):
                size = os.path.getsize(warehouse.file)
        found.append(
            Size(
                name,
                warehouse.type,
                sum(each.rows + each.deleted for each in there) if there else None,
                len({each.stream for each in there}),
                size,
                max((each.noted_at for each in there), default=None),
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What came of a look into the warehouse of one pull: how many streams stand there, or why nobody knows."""

    pull: str
    streams: int = 0
    error: str = ""


def refresh(place: places.Place, names: Sequence[str] = ()) -> list[Refreshed]:
    """Look into the warehouses of these pulls, or of all, and note where their tables stand.

    Raises ConfigError for a pull that is not there; what goes wrong with one is told and keeps no other. After
    `PATIENCE` seconds no other is begun with.
    """
    if not place.file.pulls:
        return []
    found: list[Refreshed] = []
    end = time.monotonic() + PATIENCE
    for job in settings.jobs(place.file, names):
        if time.monotonic() > end:
            found.append(Refreshed(job.name, error="There was no time left to look; ask for it by its name."))
            continue

        def stand(job: settings.Job = job) -> list[held.Held]:
            with contextlib.closing(job.open()) as opened:
                return held.of_pull(opened, job)

        try:
            there = outside.warehouse(place.file.pulls[job.name].warehouse, stand)
            stored.replace(place.store, f"pull:{job.name}", matters.noted(there))
            alerts.judge(place.store, place.file, f"pull:{job.name}")
            found.append(Refreshed(job.name, len(there)))
        except errors.StoreError:
            raise
        except errors.TidegateError as error:
            found.append(Refreshed(job.name, error=str(error)))
    return found
