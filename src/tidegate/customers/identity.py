"""Customers out of records: which of them are one, and the id that their profile keeps.

Everything happens inside the warehouse. What takes long happens in work tables; what others see changes in one
transaction at the end, so that a kill leaves the old profiles, and the same call then makes the new ones.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from dataclasses import dataclass

import pyarrow as pa

from tidegate.customers import decisions, ids, linking, publishing, scope
from tidegate.customers import space as spaces
from tidegate.customers.names import Names
from tidegate.customers.rules import Rules
from tidegate.customers.space import NUMBER, TEXT, TIME
from tidegate.warehouse import base, ddl, scripts

PREFIX = "_tidegate_identity_"
"""What all work tables of a resolution begin with."""


@dataclass(frozen=True, slots=True)
class Held:
    """What was not used of an identifier, and why.

    `shared`: so many values (`clusters`) link nothing, since more than `max_cluster` records have each. `size`: so
    many clusters would have been larger than that. `apart`: somebody took a record away. `records` are those
    concerned, counted for each value where they have several.
    """

    identifier: str
    cause: str
    clusters: int
    records: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """What came of a resolution.

    `records` and `profiles` are all that live now, `looked` the records that were looked at. `merged`: profiles
    that went into another; `split`: parts that came off one; `born`: new ids; `gone`: profiles without records.
    `touched`: profiles, and former ones, that were added to those that wait in `Names.touched`.
    """

    records: int
    profiles: int
    looked: int
    merged: int
    split: int
    born: int
    gone: int
    touched: int
    held: tuple[Held, ...]


def resolve(
    script: scripts.Script,
    names: Names,
    rules: Rules,
    changed: pa.Table | str | None,
    now: dt.datetime,
    fence: base.Fence | None = None,
) -> Resolved:
    """Bring the profiles' members, aliases and ids up to date with the records and their identifiers.

    `changed` names in its column `record` all records that came, changed or left since the last time, as a table or
    as the name for statements of one; None for all. Other rules than the last time make it all, too. The outcome is
    the same either way. Decisions that were made since then are looked after in any case.

    Raises Fenced when the fence no longer holds; nothing has changed then.
    """
    for table in names.kept:
        script.create(table)
    if not (script.has(names.records().name) and script.has(names.identifiers.name)):
        return Resolved(0, 0, 0, 0, 0, 0, 0, 0, ())
    with spaces.opened(script, PREFIX) as space:
        _begin(space, names, rules, changed, now)
        whole = changed is None or _rules_before(script, names) != rules.text()
        if not whole and not space.count("changed"):
            return _told(script, names)
        _look(space, names, rules, whole=whole)
        linking.cluster(space, names, rules)
        ids.claim(space, names)
        ids.give(space, names, whole=whole)
        if changed is None:
            script.execute(f"DELETE FROM {space['changed']}")
            script.execute(f"INSERT INTO {space['changed']} (record) SELECT record FROM {space['scope']}")
        publishing.work_out(space, names)
        publishing.commit(space, names, rules, fence, whole=whole)
        merged, split = moves(space)
        return dataclasses.replace(
            _told(script, names),
            looked=space.count("scope"),
            merged=merged,
            split=split,
            born=space.count("born"),
            gone=space.count("dead"),
            touched=space.count("touch"),
        )


def cluster_all(space: spaces.Space, names: Names, rules: Rules, more: str = "") -> None:
    """Make `clusters` and all that `ids.claim` needs, of all live records, as other rules would have it.

    `more`: see `linking.read`.
    """
    space.put("rules", rules.table(), {"kind": TEXT, "lvl": NUMBER}, ("kind",))
    scope.everything(space, names, rules, more)
    linking.cluster(space, names, rules)
    ids.claim(space, names)


def moves(space: spaces.Space) -> tuple[int, int]:
    """How many profiles went into another, and how many parts came off one, from `votes`."""

    def beyond(one: str) -> int:
        return spaces.number(
            space.script,
            f"SELECT sum(q.parts - 1) AS n FROM (SELECT {one}, count(*) AS parts FROM {space['votes']} "
            f"WHERE held > 0 GROUP BY {one}) AS q",
        )

    return beyond("c"), beyond("id")


def _begin(
    space: spaces.Space, names: Names, rules: Rules, changed: pa.Table | str | None, now: dt.datetime
) -> None:
    """Make `rules`, `clock`, `seen` (decision, withdrawn) and `changed`."""
    space.put("rules", rules.table(), {"kind": TEXT, "lvl": NUMBER}, ("kind",))
    space.put("clock", decisions.at(now), {"moment": TIME}, ("moment",))
    space.fill(
        "seen",
        {"decision": TEXT, "withdrawn": NUMBER},
        ("decision",),
        "SELECT decision, CASE WHEN withdrawn_at IS NULL THEN 0 ELSE 1 END AS withdrawn "
        f"FROM {space.script.name(names.decisions.name)} WHERE resolved_at IS NULL",
    )
    if isinstance(changed, str):
        scope.add_decided(space, names, changed)
        return
    records = (
        pa.table({"record": pa.array([], pa.string())}) if changed is None else changed.select(["record"])
    )
    given = records.group_by("record", use_threads=False).aggregate([])
    scope.add_decided(space, names, space.put("given_records", given, scope.ONE, ("record",)))
    space.drop("given_records")


def _look(space: spaces.Space, names: Names, rules: Rules, *, whole: bool) -> None:
    if whole:
        scope.everything(space, names, rules)
    else:
        scope.changed(space, names, rules)


def _rules_before(script: scripts.Script, names: Names) -> str:
    rows = script.rows(
        f'SELECT "value" FROM {script.name(base.STATE)} WHERE "key" = {ddl.literal(names.state)}'
    )
    return str(rows[0][0]) if rows else ""


def _told(script: scripts.Script, names: Names) -> Resolved:
    """What there is, as if nothing had changed."""
    ((records, profiles),) = script.rows(
        "SELECT count(*) AS n, count(DISTINCT profile_id) AS p "
        f"FROM {script.name(names.members.name)} WHERE left_at IS NULL"
    )
    return Resolved(int(records), int(profiles), 0, 0, 0, 0, 0, 0, held(script, names))


def held(script: scripts.Script, names: Names) -> tuple[Held, ...]:
    """What the last resolution did not use, by identifier and cause."""
    rows = script.rows(
        "SELECT kind, cause, count(DISTINCT cluster) AS clusters, count(*) AS records "
        f"FROM {script.name(names.held.name)} GROUP BY kind, cause"
    ) + script.rows(
        "SELECT kind, 'shared' AS cause, count(*) AS clusters, sum(records) AS records "
        f"FROM {script.name(names.shared.name)} GROUP BY kind"
    )
    return tuple(
        Held(kind, cause, int(clusters), int(records)) for kind, cause, clusters, records in sorted(rows)
    )
