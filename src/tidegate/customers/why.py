"""Why two records are one customer, and why two others are not, as of the last resolution."""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from tidegate import errors
from tidegate.customers import decisions
from tidegate.customers.names import Names
from tidegate.warehouse import base, ddl, scripts


@dataclass(frozen=True, slots=True)
class Step:
    """Two records next to each other: what they share, or the decision that merged them."""

    record: str
    other: str
    identifier: str = ""
    value: str = ""
    decision: str = ""


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that keeps two records apart.

    `apart`, `alone`: the decision in force that says so. `shared`: both have this value, but so many records have
    it that it links nothing. `size`: by this identifier so many records would be one customer that it was ignored
    for them; the value is what both have, empty where others lie between. `nothing`: no value links them, directly
    or through others.
    """

    cause: Literal["apart", "alone", "shared", "size", "nothing"]
    identifier: str = ""
    value: str = ""
    records: int = 0
    decision: str = ""


@dataclass(frozen=True, slots=True)
class _Customer:
    """A record as the last resolution left it."""

    record: str
    profile: str
    component: str


def why(script: scripts.Script, names: Names, record: str, other: str) -> tuple[Step, ...]:
    """The shortest way from one record of a profile to another, and of those the one by stronger identifiers.

    Raises ConfigError where a record is not in the model, or they are in two profiles; ask `why_not` then.
    """
    first, last = _found(script, names, record), _found(script, names, other)
    if first.profile != last.profile:
        raise errors.ConfigError(
            f"{record} and {other} are two customers ({first.profile} and {last.profile}); ask why not instead."
        )
    if record == other:
        return ()
    path = _shortest(_links(script, names, first.profile), record, other)
    if path is None:
        raise errors.ConfigError(
            f"What linked {record} and {other} has changed since the last resolution; run a pipeline of the model, "
            "then ask again."
        )
    return path


def why_not(script: scripts.Script, names: Names, record: str, other: str) -> tuple[Reason, ...]:
    """What keeps two records apart, strongest identifiers first; raises ConfigError where they are one customer."""
    first, last = _found(script, names, record), _found(script, names, other)
    if first.profile == last.profile:
        raise errors.ConfigError(f"{record} and {other} are one customer, {first.profile}; ask why instead.")
    reasons = [*_decided(script, names, first, last), *_unused(script, names, first, last)]
    return tuple(reasons) or (Reason("nothing"),)


def _found(script: scripts.Script, names: Names, record: str) -> _Customer:
    if script.has(names.members.name):
        rows = script.rows(
            f"SELECT profile_id, component FROM {script.name(names.members.name)} "
            f"WHERE record = {ddl.literal(record)} AND left_at IS NULL"
        )
        if rows:
            return _Customer(record, str(rows[0][0]), str(rows[0][1]))
    raise errors.ConfigError(
        f"There is no record {record} in the customer model; give one as PIPELINE/ACCOUNT/ID, as its profile lists "
        "it."
    )


def _levels(script: scripts.Script, names: Names) -> dict[str, int]:
    """The identifiers of the last resolution with their levels, from 1 on."""
    rows = script.rows(
        f'SELECT "value" FROM {script.name(base.STATE)} WHERE "key" = {ddl.literal(names.state)}'
    )
    known = json.loads(str(rows[0][0]))["identifiers"] if rows else []
    return {kind: level for level, kind in enumerate(dict.fromkeys(known), start=1)}


def _values(script: scripts.Script, names: Names, where: str) -> list[tuple[str, str, str]]:
    """Live values (record, kind, value) of members (m)."""
    rows = script.rows(
        f"SELECT i.record, i.kind, i.value FROM {script.name(names.identifiers.name)} AS i "
        f"JOIN {script.name(names.members.name)} AS m ON m.record = i.record "
        f"WHERE m.left_at IS NULL AND i._deleted_at IS NULL AND i.value IS NOT NULL AND {where}"
    )
    return sorted({(str(record), str(kind), str(value)) for record, kind, value in rows})


def _held(script: scripts.Script, names: Names, where: str) -> dict[tuple[str, str], tuple[str, str, int]]:
    """(record, kind) -> cause, cluster and records of what was ignored of members (m)."""
    rows = script.rows(
        f"SELECT h.record, h.kind, h.cause, h.cluster, h.records FROM {script.name(names.held.name)} AS h "
        f"JOIN {script.name(names.members.name)} AS m ON m.record = h.record WHERE m.left_at IS NULL AND {where}"
    )
    return {(record, kind): (cause, cluster, int(records)) for record, kind, cause, cluster, records in rows}


def _shared(script: scripts.Script, names: Names) -> dict[tuple[str, str], int]:
    rows = script.rows(f"SELECT kind, value, records FROM {script.name(names.shared.name)}")
    return {(kind, value): int(records) for kind, value, records in rows}


def _links(script: scripts.Script, names: Names, profile: str) -> dict[tuple[int, str, str], list[Step]]:
    """What holds a profile together: (level, identifier, value or decision) -> a step from each record to itself.

    Only what was used: no value that too many share, no identifier that was ignored for the record.
    """
    where = f"m.profile_id = {ddl.literal(profile)}"
    levels, shared, held = _levels(script, names), _shared(script, names), _held(script, names, where)
    decided = decisions.listed(script, names)
    alone = {each.record for each in decided if each.kind == "alone"}
    links = defaultdict(list)
    for record, kind, value in _values(script, names, where):
        if (
            kind in levels
            and (kind, value) not in shared
            and (record, kind) not in held
            and record not in alone
        ):
            links[levels[kind], kind, value].append(Step(record, record, kind, value))
    for each in decided:
        if each.kind == "together":
            for record in (each.record, each.other):
                links[0, "", each.decision].append(Step(record, record, decision=each.decision))
    return links


def _shortest(
    links: Mapping[tuple[int, str, str], Iterable[Step]], start: str, end: str
) -> tuple[Step, ...] | None:
    """The path of the fewest steps, then of the strongest, then the first by name."""
    of_record = defaultdict(list)
    for link, steps in links.items():
        for step in steps:
            of_record[step.record].append((link, step))
    heap: list[tuple[int, int, tuple[str, ...], tuple[Step, ...]]] = [(0, 0, (start,), ())]
    done, used = set[str](), set[tuple[int, str, str]]()
    while heap:
        length, weight, way, path = heapq.heappop(heap)
        record = way[-1]
        if record == end:
            return path
        if record in done:
            continue
        done.add(record)
        for link, step in sorted(of_record[record], key=lambda each: each[0]):
            if link in used:
                continue
            used.add(link)
            for near in links[link]:
                if near.record not in done:
                    taken = Step(record, near.record, step.identifier, step.value, step.decision)
                    heapq.heappush(heap, (length + 1, weight + link[0], (*way, near.record), (*path, taken)))
    return None


def _decided(script: scripts.Script, names: Names, first: _Customer, last: _Customer) -> list[Reason]:
    """Decisions that keep apart the records, or others of their profiles."""
    told = ", ".join(ddl.literal(each.profile) for each in (first, last))
    rows = script.rows(
        f"SELECT record, profile_id FROM {script.name(names.members.name)} "
        f"WHERE profile_id IN ({told}) AND left_at IS NULL"
    )
    profile = {str(record): str(mine) for record, mine in rows}
    both = {first.profile, last.profile}
    found = []
    for each in decisions.listed(script, names):
        if each.kind == "apart" and {profile.get(each.record), profile.get(each.other)} == both:
            found.append(Reason("apart", decision=each.decision))
        if each.kind == "alone" and each.record in (first.record, last.record):
            found.append(Reason("alone", decision=each.decision))
    return found


def _unused(script: scripts.Script, names: Names, first: _Customer, last: _Customer) -> list[Reason]:
    """Values that both have, and identifiers that were ignored for both."""
    told = ", ".join(ddl.literal(each.record) for each in (first, last))
    where = f"m.record IN ({told})"
    levels, shared, held = _levels(script, names), _shared(script, names), _held(script, names, where)
    having = defaultdict(set)
    for record, kind, value in _values(script, names, where):
        if kind in levels:
            having[kind, value].add(record)
    found = list[tuple[int, Reason]]()
    for (kind, value), records in having.items():
        if len(records) < 2:
            continue
        if (kind, value) in shared:
            found.append((levels[kind], Reason("shared", kind, value, shared[kind, value])))
        elif held.get((first.record, kind), ("",))[0] == "size":
            found.append((levels[kind], Reason("size", kind, value, held[first.record, kind][2])))
    told_of = {reason.identifier for _, reason in found if reason.cause == "size"}
    for kind, level in levels.items():
        mine, other = held.get((first.record, kind)), held.get((last.record, kind))
        if kind not in told_of and mine is not None and mine == other and mine[0] == "size":
            found.append((level, Reason("size", kind, records=mine[2])))
    return [reason for _, reason in sorted(found, key=lambda each: (each[0], each[1].cause, each[1].value))]
