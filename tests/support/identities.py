"""Records with identifiers in a warehouse, and what the rules make of them, found in the plainest way."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

import pyarrow as pa

from tidegate import warehouse as warehouses
from tidegate.customers import identity
from tidegate.customers.names import Names
from tidegate.customers.rules import Rules
from tidegate.warehouse import base, scripts

T = TypeVar("T")
Values = Mapping[str, Sequence[str]]
"""Kind -> values."""
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
NAMES = Names()
MOMENT = pa.timestamp("us", "UTC")


class Model:
    """A customer model in a warehouse, whose clock goes one second further with every step."""

    def __init__(self, url: str) -> None:
        self.warehouse = warehouses.open_url(url)
        self.steps = 0
        self.there: dict[str, Values] = {}

    def now(self) -> dt.datetime:
        return START + dt.timedelta(seconds=self.steps)

    def scripted(self, work: Callable[[scripts.Script], T]) -> T:
        assert isinstance(self.warehouse, scripts.Scripted)
        return self.warehouse.scripted(work)

    def write(self, records: Mapping[str, Values | None]) -> None:
        """Write what records say from now on; None for one that leaves."""
        self.steps += 1
        rows, identifiers, marks = [], [], []
        for record, values in records.items():
            pipeline, account, own = record.split("/")
            gone = self.now() if values is None else None
            rows.append((record, pipeline, account, own, self.steps, gone, self.now()))
            before = {
                (kind, n) for kind, held in self.there.get(record, {}).items() for n in range(len(held))
            }
            for kind, held in (values or {}).items():
                for n, value in enumerate(held):
                    identifiers.append((record, kind, n, value, self.steps, None, self.now()))
                    before.discard((kind, n))
            marks += [(record, kind, n, None, self.steps, self.now(), self.now()) for kind, n in before]
            if values is None:
                self.there.pop(record, None)
            else:
                self.there[record] = values
        books = NAMES.identifiers.schema
        table, kept = NAMES.records(), _table(identifiers, books)
        left = _table(marks, books).drop_columns(["value"])
        self.warehouse.load(
            [
                base.Load(table, _table(rows, table.schema)),
                base.Load(NAMES.identifiers, kept),
                base.Load(NAMES.identifiers, left, "mark"),
            ],
            {},
        )

    def resolve(
        self, rules: Rules, changed: Iterable[str] | None = None, fence: base.Fence | None = None
    ) -> identity.Resolved:
        self.steps += 1
        table = None if changed is None else pa.table({"record": pa.array(list(changed), pa.string())})
        return self.scripted(lambda script: identity.resolve(script, NAMES, rules, table, self.now(), fence))

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """The rows of a query over {members}, {aliases}, ..."""

        def work(script: scripts.Script) -> list[tuple[object, ...]]:
            tables = {
                "members": NAMES.members,
                "aliases": NAMES.aliases,
                "ids": NAMES.ids,
                "held": NAMES.held,
                "shared": NAMES.shared,
                "touched": NAMES.touched,
                "decisions": NAMES.decisions,
            }
            return script.rows(
                query.format(**{key: script.name(table.name) for key, table in tables.items()})
            )

        return self.scripted(work)

    def profiles(self) -> dict[str, frozenset[str]]:
        """Profile id -> its live records."""
        found = defaultdict(set)
        for record, profile in self.rows("SELECT record, profile_id FROM {members} WHERE left_at IS NULL"):
            found[str(profile)].add(str(record))
        return {profile: frozenset(records) for profile, records in found.items()}

    def clusters(self) -> set[frozenset[str]]:
        return set(self.profiles().values())

    def aliases(self) -> dict[str, str]:
        return {str(a): str(p) for a, p in self.rows("SELECT alias, profile_id FROM {aliases}")}

    def close(self) -> None:
        self.warehouse.close()


def _table(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    names = schema.names
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema)


def resolved(
    records: Mapping[str, Values],
    rules: Rules,
    together: Collection[tuple[str, str]] = (),
    apart: Collection[tuple[str, str]] = (),
    alone: Collection[str] = (),
) -> set[frozenset[str]]:
    """What `rules.Rules` says, word for word, record by record."""
    clusters = {record: frozenset([record]) for record in records}
    clusters = _level([(a, b) for a, b in together if a in records and b in records], clusters, apart)
    for kind in rules.identifiers:
        having = defaultdict(set)
        for record, values in records.items():
            for value in values.get(kind, ()):
                having[value].add(record)
        groups = [group - set(alone) for group in having.values() if len(group) <= rules.max_cluster]
        clusters = _level(groups, clusters, apart, rules.max_cluster)
    return set(clusters.values())


def _level(
    groups: Iterable[Collection[str]],
    clusters: Mapping[str, frozenset[str]],
    apart: Collection[tuple[str, str]],
    most: int = 2**31,
) -> dict[str, frozenset[str]]:
    joined = _union(groups, clusters)
    taken = {
        clusters[record]
        for record, other in apart
        if record in joined and other in joined and joined[record] == joined[other]
    }
    joined = _union([[r for r in group if clusters[r] not in taken] for group in groups], clusters)
    return {
        record: joined[record] if len(joined[record]) <= most else clusters[record] for record in clusters
    }


def _union(
    groups: Iterable[Collection[str]], clusters: Mapping[str, frozenset[str]]
) -> dict[str, frozenset[str]]:
    found = dict(clusters)
    for group in groups:
        both = frozenset().union(*(found[record] for record in group))
        found.update(dict.fromkeys(both, both))
    return found
