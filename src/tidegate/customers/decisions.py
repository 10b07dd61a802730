"""What people decide about records: merged by hand, taken away from another, alone.

A merge by hand holds against whatever identifiers say; a record that was taken away holds against merges, too. What
contradicts a decision in force is refused with the sentence that says which.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal, NotRequired, TypedDict, Unpack

import pyarrow as pa

from tidegate import errors
from tidegate.customers import parties
from tidegate.customers import space as spaces
from tidegate.customers.names import Names
from tidegate.customers.space import NUMBER
from tidegate.warehouse import base, ddl, scripts

Kind = Literal["together", "apart", "alone"]

PREFIX = "_tidegate_decision_"
"""What work tables of a withdrawal begin with."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided: `record` and `other` are together, or `record` was taken away from it, or is alone.

    It is in force until `withdrawn_at`. `resolved_at` is None until it, or its withdrawal, shows in the profiles.
    """

    decision: str
    kind: Kind
    record: str
    other: str
    decided_at: dt.datetime
    decided_by: str = ""
    note: str = ""
    withdrawn_at: dt.datetime | None = None
    withdrawn_by: str | None = None
    resolved_at: dt.datetime | None = None


class Said(TypedDict):
    """What is noted of every decision."""

    now: dt.datetime
    by: NotRequired[str]
    note: NotRequired[str]
    fence: NotRequired[base.Fence | None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants decided; `other` is empty for `alone`."""

    kind: Kind
    record: str
    other: str = ""


Intent = Callable[[tuple[Decision, ...]], None]
"""Who is told of decisions before they are written, or are taken back."""


def _nobody(_: tuple[Decision, ...]) -> None:
    pass


def merge(script: scripts.Script, names: Names, record: str, other: str, **said: Unpack[Said]) -> Decision:
    """Two records are the same customer from the next resolution on, whatever their identifiers say.

    Raises ConfigError where one of them, or one that is merged with them by hand, was taken away from the other.
    """
    return decide(script, names, [Wish("together", record, other)], **said)[0]


def apart(script: scripts.Script, names: Names, record: str, other: str, **said: Unpack[Said]) -> Decision:
    """Two records are never the same customer; `record` is the one that leaves.

    Raises ConfigError where they are merged by hand, with each other or through others.
    """
    return decide(script, names, [Wish("apart", record, other)], **said)[0]


def split(script: scripts.Script, names: Names, record: str, **said: Unpack[Said]) -> Decision:
    """A record is a customer of its own: its identifiers link it to nobody any more, now and later.

    Raises ConfigError where it was merged by hand.
    """
    return decide(script, names, [Wish("alone", record)], **said)[0]


def decide(
    script: scripts.Script,
    names: Names,
    wanted: Sequence[Wish],
    *,
    now: dt.datetime,
    by: str = "",
    note: str = "",
    fence: base.Fence | None = None,
    intent: Intent = _nobody,
) -> tuple[Decision, ...]:
    """Note several decisions, all or none; one that is in force already is not noted again.

    `intent` is told what is about to be written, once all is well with it. Raises ConfigError for a record that is
    not in the model, and where decisions in force say otherwise.
    """
    script.create(names.decisions)
    _check_records(script, names, wanted)
    there, found, fresh = listed(script, names), list[Decision](), list[Decision]()
    for wish in wanted:
        known = next((each for each in there if _is_same(each, wish)), None)
        if known is None:
            _check_contradictions(wish, there)
            known = Decision(_name(), wish.kind, wish.record, wish.other, now, by, note)
            there.append(known)
            fresh.append(known)
        found.append(known)
    if fresh:
        intent(tuple(fresh))
        rows = pa.Table.from_pylist([asdict(each) for each in fresh], names.decisions.schema)
        with script.transaction(fence):
            script.append(script.name(names.decisions.name), rows)
    return tuple(found)


def withdraw(
    script: scripts.Script,
    names: Names,
    decision: str,
    *,
    now: dt.datetime,
    by: str = "",
    fence: base.Fence | None = None,
    intent: Intent = _nobody,
) -> Decision:
    """Take a decision back; raises ConfigError where there is none of the name in force.

    `intent` is told of it before.
    """
    there = {each.decision: each for each in listed(script, names)}
    found = there.get(decision)
    if found is None:
        near = parties.nearest(decision, list(there))
        hint = f"did you mean {near}?" if near else "list those that are, and give one of them."
        raise errors.ConfigError(f"There is no decision {decision} in force; {hint}")
    intent((found,))
    table = script.name(names.decisions.name)
    with spaces.opened(script, PREFIX) as space:
        told = at(now).append_column("who", pa.array([by]))
        clock = space.put("clock", told, {"moment": spaces.TIME, "who": spaces.TEXT}, ("moment",))
        with script.transaction(fence):
            script.execute(
                f"UPDATE {table} SET withdrawn_at = (SELECT max(moment) FROM {clock}), "
                f"withdrawn_by = (SELECT max(who) FROM {clock}), resolved_at = NULL "
                f"WHERE decision = {ddl.literal(decision)}"
            )
    return replace(found, withdrawn_at=now, withdrawn_by=by, resolved_at=None)


def listed(script: scripts.Script, names: Names, *, withdrawn: bool = False) -> list[Decision]:
    """The decisions in force, or with those that were withdrawn, the oldest first."""
    if not script.has(names.decisions.name):
        return []
    where = "" if withdrawn else "WHERE withdrawn_at IS NULL "
    columns = ", ".join(each.name for each in fields(Decision))
    rows = script.rows(
        f"SELECT {columns} FROM {script.name(names.decisions.name)} {where}ORDER BY decided_at, decision"
    )
    return [Decision(*row) for row in rows]


def numbered(space: spaces.Space, names: Names) -> frozenset[str]:
    """Make work tables of the decisions in force about records in scope, and say which there are.

    `together` (n, m), n < m; `apart` (n, m), n is taken away; `alone` (n).
    """
    table, scope = space.script.name(names.decisions.name), space["scope"]
    pairs = {"n": NUMBER, "m": NUMBER}
    where = "d.withdrawn_at IS NULL AND d.kind ="
    both = (
        f"FROM {table} AS d JOIN {scope} AS a ON a.record = d.record JOIN {scope} AS b ON b.record = d.other"
    )
    low, high = "least(a.n, b.n)", "greatest(a.n, b.n)"
    space.fill(
        "together",
        pairs,
        ("n", "m"),
        f"SELECT DISTINCT {low} AS n, {high} AS m {both} WHERE {where} 'together'",
    )
    space.fill("apart", pairs, ("n", "m"), f"SELECT DISTINCT a.n, b.n AS m {both} WHERE {where} 'apart'")
    space.fill(
        "alone",
        {"n": NUMBER},
        ("n",),
        f"SELECT DISTINCT a.n FROM {table} AS d JOIN {scope} AS a ON a.record = d.record WHERE {where} 'alone'",
    )
    made = ("together", "apart", "alone")
    empty = [name for name in made if not space.count(name)]
    space.drop(*empty)
    return frozenset(made) - frozenset(empty)


def at(now: dt.datetime) -> pa.Table:
    """A moment as a table of one row: no two warehouses write a moment alike."""
    return pa.table({"moment": pa.array([now], pa.timestamp("us", "UTC"))})


def _is_same(each: Decision, wish: Wish) -> bool:
    """Does a decision say this already? Two are together, whichever comes first."""
    if each.kind != wish.kind or {each.record, each.other} != {wish.record, wish.other}:
        return False
    return each.kind != "apart" or each.record == wish.record


def _check_records(script: scripts.Script, names: Names, wanted: Sequence[Wish]) -> None:
    """Raises ConfigError for records that are not there, or are one and the same."""
    for wish in wanted:
        if wish.record == wish.other:
            raise errors.ConfigError(
                f"{wish.record} is given twice; a decision about two records needs two different ones."
            )
    asked = list(dict.fromkeys(record for each in wanted for record in (each.record, each.other) if record))
    told = ", ".join(map(ddl.literal, asked)) or "NULL"
    there = set[str]()
    if script.has(names.records().name):
        rows = script.rows(
            f"SELECT record FROM {script.name(names.records().name)} "
            f"WHERE record IN ({told}) AND _deleted_at IS NULL"
        )
        there = {str(record) for (record,) in rows}
    for record in asked:
        if record not in there:
            raise errors.ConfigError(
                f"There is no record {record} in the customer model; give one as PIPELINE/ACCOUNT/ID, "
                "as its profile lists it."
            )


def _check_contradictions(wanted: Wish, there: Sequence[Decision]) -> None:
    """Raises ConfigError where a decision in force says otherwise."""
    merged = _merged([*there, wanted] if wanted.kind == "together" else there)
    if wanted.kind == "together":
        for each in there:
            if each.kind == "apart" and merged.get(each.record, "") == merged.get(each.other, " "):
                raise errors.ConfigError(
                    f"{wanted.record} and {wanted.other} cannot be merged: {each.record} was taken away from "
                    f"{each.other} by the decision {each.decision}; withdraw that first."
                )
    elif wanted.kind == "apart":
        if wanted.record in merged and merged[wanted.record] == merged.get(wanted.other):
            each = next(d for d in there if d.kind == "together" and wanted.record in (d.record, d.other))
            raise errors.ConfigError(
                f"{wanted.record} cannot be taken away from {wanted.other}: they are merged by hand, by the "
                f"decision {each.decision} among others; withdraw that first."
            )
    else:
        for each in there:
            if each.kind == "together" and wanted.record in (each.record, each.other):
                raise errors.ConfigError(
                    f"{wanted.record} cannot be split off: the decision {each.decision} merged it by hand; "
                    "withdraw that instead."
                )


def _merged(there: Sequence[Decision | Wish]) -> dict[str, str]:
    """Records that are merged by hand, with one that stands for all that are merged with it."""
    stands: dict[str, str] = {}

    def top(record: str) -> str:
        while stands.setdefault(record, record) != record:
            record = stands[record]
        return record

    for each in there:
        if each.kind == "together":
            first, second = top(each.record), top(each.other)
            stands[max(first, second)] = min(first, second)
    return {record: top(record) for record in list(stands)}


def _name() -> str:
    return f"dec_{uuid.uuid4().hex[:20]}"
