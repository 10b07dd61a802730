"""What other rules would make of the records there are, before anybody uses them."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from tidegate import errors, temporary
from tidegate.customers import changes, identity, inside, records, run, spooling, why
from tidegate.customers import space as spaces
from tidegate.customers.names import Names
from tidegate.customers.rules import Rules
from tidegate.customers.space import TEXT
from tidegate.warehouse import base, ddl, scripts

PREFIX = "_tidegate_preview_"
"""What all work tables of a preview begin with; a resolution at the same time has others."""
MORE = pa.schema([(name, pa.string()) for name in ("record", "kind", "value")])
"""Values of identifiers, each record with one of a kind at most."""
SHOWN = 20
"""Records of a cluster that are named at most."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Records that would be one customer: how many, the first of them by name, and whose they are now."""

    records: int
    first: tuple[str, ...]
    profiles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """A profile that would come apart, and the first records of each of its parts."""

    profile: str
    parts: tuple[Cluster, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """What rules would make of all live records.

    `merges`: profiles that would go into another; `splits`: parts that would come off one. Records that wait to be
    resolved are among them. `largest` are the largest clusters; `merged` and `parted` are examples, largest first.
    `held` is what the rules would not use.
    """

    records: int
    profiles: int
    profiles_now: int
    merges: int
    splits: int
    largest: tuple[Cluster, ...]
    merged: tuple[Cluster, ...]
    parted: tuple[Split, ...]
    held: tuple[identity.Held, ...]


def previewed(model: run.Model, rules: Rules, *, examples: int = 5) -> Preview:
    """The same of a model, also by identifiers that it did not have until now: their values are in its records.

    Raises ConfigError for an identifier that is no property of the model, and for a warehouse without scripts.
    """
    for kind in rules.identifiers:
        if kind not in model.profile.names:
            near = next(iter(difflib.get_close_matches(kind, model.profile.names, n=1)), "")
            hint = f"did you mean {near}?" if near else f"it has {', '.join(model.profile.names)}."
            raise errors.ConfigError(f"{kind} is no property of the customer model; {hint}")
    with temporary.folder("preview") as folder:
        file, count = folder / "more", 0
        known = inside.scripted(model, lambda script: why.levels_of(script, model.names))
        new = [kind for kind in rules.identifiers if kind not in known]
        if known and new:
            count = spooling.spool(file, MORE, _values(model, new))

        def work(script: scripts.Script) -> Preview:
            more = spooling.spooled(file) if count else ()
            return preview(script, model.names, rules, examples=examples, more=more)

        return inside.scripted(model, work)


def preview(
    script: scripts.Script, names: Names, rules: Rules, *, examples: int = 5, more: Iterable[pa.Table] = ()
) -> Preview:
    """What a resolution by these rules would change; nothing that others see is written.

    `more` (MORE) are values of identifiers that the model did not have until now. Takes as long as a full
    resolution. Of two previews of one model at the same time in one warehouse, one fails.
    """
    for table in names.kept:
        script.create(table)
    if not (script.has(names.records().name) and script.has(names.identifiers.name)):
        return Preview(0, 0, 0, 0, 0, (), (), (), ())
    with spaces.opened(script, PREFIX) as space:
        added = ""
        for table in more:
            if not added:
                added = "more"
                space.make(added, {"record": TEXT, "kind": TEXT, "value": TEXT}, ("record", "kind"))
            script.append(space[added], table)
        identity.cluster_all(space, names, rules, added)
        merges, splits = identity.moves(space)
        members = script.name(names.members.name)
        return Preview(
            records=space.count("scope"),
            profiles=spaces.number(script, f"SELECT count(DISTINCT c) AS n FROM {space['clusters']}"),
            profiles_now=spaces.number(
                script, f"SELECT count(DISTINCT profile_id) AS n FROM {members} WHERE left_at IS NULL"
            ),
            merges=merges,
            splits=splits,
            largest=_clusters(space, _largest(space, examples)),
            merged=_clusters(space, _merged(space, examples)),
            parted=_parted(space, names, examples),
            held=_held(space),
        )


def _values(model: run.Model, kinds: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """What live records have of identifiers, as it is compared."""
    table = records.table(model.names, model.profile).name
    there = {column.lower() for column in model.warehouse.columns(table)}
    for kind in kinds:
        if kind not in there:
            continue
        own = f"r.{base.quoted(kind)}"
        for batch in model.warehouse.read(
            f"SELECT r.record AS record, {own} AS found FROM {changes.place(model.warehouse, table)} AS r "
            f"WHERE r._deleted_at IS NULL AND {own} IS NOT NULL"
        ):
            rows = pa.Table.from_batches([batch])
            values = records.normalised(kind, rows["found"])
            told = pa.table([rows["record"], pa.repeat(kind, len(values)), values], schema=MORE)
            yield from told.filter(pc.is_valid(told["value"])).to_batches()


def _largest(space: spaces.Space, most: int) -> list[int]:
    rows = space.script.rows(
        f"SELECT c, count(*) AS records FROM {space['clusters']} GROUP BY c HAVING count(*) > 1 "
        f"ORDER BY records DESC, c LIMIT {most}"
    )
    return [int(c) for c, _ in rows]


def _merged(space: spaces.Space, most: int) -> list[int]:
    rows = space.script.rows(
        f"SELECT c, count(*) AS parts FROM {space['votes']} WHERE held > 0 GROUP BY c HAVING count(*) > 1 "
        f"ORDER BY parts DESC, c LIMIT {most}"
    )
    return [int(c) for c, _ in rows]


def _parted(space: spaces.Space, names: Names, most: int) -> tuple[Split, ...]:
    rows = space.script.rows(
        f"SELECT id, count(*) AS parts FROM {space['votes']} WHERE held > 0 GROUP BY id HAVING count(*) > 1 "
        f"ORDER BY parts DESC, id LIMIT {most}"
    )
    found = []
    for profile, _ in rows:
        parts = space.script.rows(
            f"SELECT DISTINCT k.c FROM {space.script.name(names.members.name)} AS m "
            f"JOIN {space['scope']} AS s ON s.record = m.record JOIN {space['clusters']} AS k ON k.n = s.n "
            f"WHERE m.profile_id = {ddl.literal(str(profile))} AND m.left_at IS NULL"
        )
        found.append(Split(str(profile), _clusters(space, [int(c) for (c,) in parts])))
    return tuple(found)


def _clusters(space: spaces.Space, chosen: list[int]) -> tuple[Cluster, ...]:
    """Clusters with their first records, the largest first."""
    if not chosen:
        return ()
    told = ", ".join(map(str, chosen))
    rows = space.script.rows(
        f"SELECT k.c, q.records, y.record FROM {space['clusters']} AS k "
        f"JOIN (SELECT c, count(*) AS records FROM {space['clusters']} WHERE c IN ({told}) GROUP BY c) AS q "
        f"ON q.c = k.c JOIN {space['keys']} AS y ON y.n = k.n WHERE k.c IN ({told})"
    )
    profiles = defaultdict(set)
    for c, profile in space.script.rows(
        f"SELECT c, id FROM {space['votes']} WHERE held > 0 AND c IN ({told})"
    ):
        profiles[int(c)].add(str(profile))
    records, sizes = defaultdict(list), {}
    for c, size, record in rows:
        records[int(c)].append(str(record))
        sizes[int(c)] = int(size)
    return tuple(
        Cluster(sizes[c], tuple(sorted(records[c])[:SHOWN]), tuple(sorted(profiles[c])))
        for c in sorted(sizes, key=lambda c: (-sizes[c], c))
    )


def _held(space: spaces.Space) -> tuple[identity.Held, ...]:
    rows = space.script.rows(
        f"SELECT r.kind, h.cause, count(DISTINCT h.c) AS clusters, count(*) AS records FROM {space['held']} AS h "
        f"JOIN {space['rules']} AS r ON r.lvl = h.lvl GROUP BY r.kind, h.cause"
    ) + space.script.rows(
        "SELECT r.kind, 'shared' AS cause, count(*) AS clusters, sum(s.records) AS records "
        f"FROM {space['shared']} AS s JOIN {space['rules']} AS r ON r.lvl = s.lvl GROUP BY r.kind"
    )
    return tuple(
        identity.Held(str(kind), str(cause), int(clusters), int(records))
        for kind, cause, clusters, records in sorted(rows)
    )
