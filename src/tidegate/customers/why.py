"""Why two records are one customer, and why two others are not, as of the last resolution."""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tidegate import errors
from tidegate.customers import decisions, parties
from tidegate.customers.names import Names
from tidegate.customers.parties import Party
from tidegate.warehouse import base, ddl, scripts

FEW = 50
"""Records whose values are told by their keys."""


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
class Answer:
    """Why two are one customer, or are not: a `path` for one, `reasons` for two; both are empty for one record.

    `decisions` are those that they name.
    """

    first: Party
    last: Party
    path: tuple[Step, ...] = ()
    reasons: tuple[Reason, ...] = ()
    decisions: tuple[decisions.Decision, ...] = ()

    @property
    def is_one(self) -> bool:
        """Are they one customer?"""
        return self.first.profile == self.last.profile


def explained(script: scripts.Script, names: Names, one: str, other: str) -> Answer:
    """Why two profiles, former profiles or records are one customer, or why they are not.

    Between profiles it is the shortest way, or what keeps them apart, from any record of one to any of the other.
    Raises ConfigError for an id that is nobody's.
    """
    first, last = parties.named(script, names, one), parties.named(script, names, other)
    path, reasons = tuple[Step, ...](), tuple[Reason, ...]()
    if first.profile != last.profile:
        reasons = _reasons(script, names, first, last)
    else:
        starts, ends = _distinct(first.records, last.records)
        if starts and ends:
            path = _path(script, names, first.profile, starts, ends, f"{one} and {other}")
    told = {each.decision for each in path} | {each.decision for each in reasons}
    known = decisions.listed(script, names) if told - {""} else []
    return Answer(first, last, path, reasons, tuple(each for each in known if each.decision in told))


def why(script: scripts.Script, names: Names, record: str, other: str) -> tuple[Step, ...]:
    """The shortest way from one record of a profile to another, and of those the one by stronger identifiers.

    Raises ConfigError where a record is not in the model, or they are in two profiles; ask `why_not` then.
    """
    first, last = parties.record(script, names, record), parties.record(script, names, other)
    if first.profile != last.profile:
        raise errors.ConfigError(
            f"{record} and {other} are two customers ({first.profile} and {last.profile}); ask why not instead."
        )
    if record == other:
        return ()
    return _path(script, names, first.profile, [record], [other], f"{record} and {other}")


def why_not(script: scripts.Script, names: Names, record: str, other: str) -> tuple[Reason, ...]:
    """What keeps two records apart, strongest identifiers first; raises ConfigError where they are one customer."""
    first, last = parties.record(script, names, record), parties.record(script, names, other)
    if first.profile == last.profile:
        raise errors.ConfigError(f"{record} and {other} are one customer, {first.profile}; ask why instead.")
    return _reasons(script, names, first, last)


def _distinct(first: Sequence[str], last: Sequence[str]) -> tuple[list[str], list[str]]:
    """Records to go from and to: who is on both sides counts for the smaller one."""
    mine, other = list(first), list(last)
    if len(mine) >= len(other):
        return [each for each in mine if each not in set(other)], other
    return mine, [each for each in other if each not in set(mine)]


def _path(
    script: scripts.Script, names: Names, profile: str, starts: Sequence[str], ends: Sequence[str], whom: str
) -> tuple[Step, ...]:
    path = _shortest(_links(script, names, profile), starts, frozenset(ends))
    if path is None:
        raise errors.ConfigError(
            f"What linked {whom} has changed since the last resolution; run a pipeline of the model, then "
            "ask again."
        )
    return path


def _reasons(script: scripts.Script, names: Names, first: Party, last: Party) -> tuple[Reason, ...]:
    reasons = [*_decided(script, names, first, last), *_unused(script, names, first, last)]
    return tuple(reasons) or (Reason("nothing"),)


def levels_of(script: scripts.Script, names: Names) -> dict[str, int]:
    """The identifiers of the last resolution with their levels, from 1 on."""
    rows = script.rows(
        f'SELECT "value" FROM {script.name(base.STATE)} WHERE "key" = {ddl.literal(names.state)}'
    )
    known = json.loads(str(rows[0][0]))["identifiers"] if rows else []
    return {kind: level for level, kind in enumerate(dict.fromkeys(known), start=1)}


def values_of(
    script: scripts.Script, names: Names, where: str, members: Collection[str] = ()
) -> list[tuple[str, str, str]]:
    """Live values (record, kind, value) of members (m); `members` are the records of all of them, where known.

    Few records are told by their keys, for which DuckDB reads that column and no other whole.
    """
    values = f"SELECT i.record, i.kind, i.value FROM {script.name(names.identifiers.name)} AS i"
    live = "i._deleted_at IS NULL AND i.value IS NOT NULL"
    if 0 < len(members) <= FEW:
        told = ", ".join(ddl.literal(each) for each in sorted(members))
        rows = script.rows(f"{values} WHERE i.record IN ({told}) AND {live}")
    else:
        rows = script.rows(
            f"{values} JOIN {script.name(names.members.name)} AS m ON m.record = i.record "
            f"WHERE m.left_at IS NULL AND {live} AND {where}"
        )
    return sorted({(str(record), str(kind), str(value)) for record, kind, value in rows})


def held_of(script: scripts.Script, names: Names, where: str) -> dict[tuple[str, str], tuple[str, str, int]]:
    """(record, kind) -> cause, cluster and records of what was ignored of members (m)."""
    rows = script.rows(
        f"SELECT h.record, h.kind, h.cause, h.cluster, h.records FROM {script.name(names.held.name)} AS h "
        f"JOIN {script.name(names.members.name)} AS m ON m.record = h.record WHERE m.left_at IS NULL AND {where}"
    )
    return {(record, kind): (cause, cluster, int(records)) for record, kind, cause, cluster, records in rows}


def shared_values(script: scripts.Script, names: Names) -> dict[tuple[str, str], int]:
    """(kind, value) -> how many records have it, of the values that link nothing."""
    rows = script.rows(f"SELECT kind, value, records FROM {script.name(names.shared.name)}")
    return {(kind, value): int(records) for kind, value, records in rows}


def _links(script: scripts.Script, names: Names, profile: str) -> dict[tuple[int, str, str], list[Step]]:
    """What holds a profile together: (level, identifier, value or decision) -> a step from each record to itself.

    Only what was used: no value that too many share, no identifier that was ignored for the record.
    """
    where = f"m.profile_id = {ddl.literal(profile)}"
    levels, shared, held = (
        levels_of(script, names),
        shared_values(script, names),
        held_of(script, names, where),
    )
    decided = decisions.listed(script, names)
    alone = {each.record for each in decided if each.kind == "alone"}
    links = defaultdict(list)
    for record, kind, value in values_of(script, names, where):
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
    links: Mapping[tuple[int, str, str], Iterable[Step]], starts: Iterable[str], ends: Collection[str]
) -> tuple[Step, ...] | None:
    """The path of the fewest steps, then of the strongest, then the first by name."""
    of_record = defaultdict(list)
    for link, steps in links.items():
        for step in steps:
            of_record[step.record].append((link, step))
    heap: list[tuple[int, int, tuple[str, ...], tuple[Step, ...]]] = [(0, 0, (each,), ()) for each in starts]
    heapq.heapify(heap)
    done, used = set[str](), set[tuple[int, str, str]]()
    while heap:
        length, weight, way, path = heapq.heappop(heap)
        record = way[-1]
        if record in ends:
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


def _decided(script: scripts.Script, names: Names, first: Party, last: Party) -> list[Reason]:
    """Decisions that keep apart the records, or others of their profiles."""
    told = ", ".join(ddl.literal(each.profile) for each in (first, last))
    rows = script.rows(
        f"SELECT record, profile_id FROM {script.name(names.members.name)} "
        f"WHERE profile_id IN ({told}) AND left_at IS NULL"
    )
    profile = {str(record): str(mine) for record, mine in rows}
    both, asked = {first.profile, last.profile}, {*first.records, *last.records}
    found = []
    for each in decisions.listed(script, names):
        if each.kind == "apart" and {profile.get(each.record), profile.get(each.other)} == both:
            found.append(Reason("apart", decision=each.decision))
        if each.kind == "alone" and each.record in asked:
            found.append(Reason("alone", decision=each.decision))
    return found


def _unused(script: scripts.Script, names: Names, first: Party, last: Party) -> list[Reason]:
    """Values that both have, and identifiers that were ignored for both."""
    where = f"m.profile_id IN ({ddl.literal(first.profile)}, {ddl.literal(last.profile)})"
    levels, shared, held = (
        levels_of(script, names),
        shared_values(script, names),
        held_of(script, names, where),
    )
    mine, others = frozenset(first.records), frozenset(last.records)
    having = defaultdict(set)
    for record, kind, value in values_of(script, names, where):
        if kind in levels and record in mine | others:
            having[kind, value].add(record)
    found = list[tuple[int, Reason]]()
    for (kind, value), records in having.items():
        if not (records & mine and records & others):
            continue
        sizes = [held[record, kind] for record in sorted(records & mine) if (record, kind) in held]
        large = next((size for cause, _, size in sizes if cause == "size"), None)
        if (kind, value) in shared:
            found.append((levels[kind], Reason("shared", kind, value, shared[kind, value])))
        elif large is not None:
            found.append((levels[kind], Reason("size", kind, value, large)))
    told_of = {reason.identifier for _, reason in found if reason.cause == "size"}
    for kind, level in levels.items():
        ignored = {held.get((record, kind)) for record in mine} & {
            held.get((record, kind)) for record in others
        }
        sizes = sorted(each for each in ignored if each is not None and each[0] == "size")
        if kind not in told_of and sizes:
            found.append((level, Reason("size", kind, records=sizes[0][2])))
    return [reason for _, reason in sorted(found, key=lambda each: (each[0], each[1].cause, each[1].value))]
