"""Profiles made of records: for every property the newest value, or that of its primary source.

All rows stay in the warehouse. A merge ranks the records of every profile, takes each property from the first
record that has a value (`choosing`), compares what came out with the stored profile by its hash, and writes those
that differ in one transaction. Only arrays on which the records of one profile disagree are united here, since no
two warehouses take JSON apart in the same words.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import pyarrow as pa

from tidegate import errors
from tidegate.customers import choosing, records
from tidegate.customers import space as spaces
from tidegate.customers.names import MOMENT, Names
from tidegate.customers.space import NUMBER, TEXT, TIME
from tidegate.shape import profile
from tidegate.warehouse import base, scripts

PREFIX = "_tidegate_merging_"
"""What all work tables of a merge begin with."""

SLICE = 5_000
"""Profiles whose arrays are united at one go."""

_UNITED = pa.schema(
    [pa.field("profile_id", pa.string()), pa.field("united", pa.string(), metadata=base.JSON)]
)


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did: profiles written for the first time, changed, and gone as all their records left."""

    created: int
    changed: int
    gone: int

    @property
    def written(self) -> int:
        """Rows of the table of profiles that were written."""
        return self.created + self.changed + self.gone


def check(kind: str, named: str) -> None:
    """Raises ConfigError for a kind of warehouse that cannot hold a customer model; `named` is its name."""
    if kind not in choosing.KINDS:
        raise errors.ConfigError(
            f"The customer model cannot live in the warehouse {named}, whose type is {kind}, since nothing can be "
            f"merged inside it; keep the model in one of these: {', '.join(sorted(choosing.KINDS))}."
        )


def table(names: Names, model: profile.Profile) -> base.Table:
    """The table of profiles: one row for each customer, over all records that are one."""
    fields = [
        pa.field("profile_id", pa.string()),
        *model.schema,
        pa.field("sources", pa.int64()),
        pa.field("accounts", pa.int64()),
        pa.field("first_seen_at", MOMENT),
        pa.field("updated_at", MOMENT),
        pa.field("_version", pa.int64()),
        pa.field("_row_hash", pa.string()),
        pa.field("_deleted_at", MOMENT),
    ]
    return base.Table(names.profiles, pa.schema(fields), ("profile_id",), "")


def merge(
    script: scripts.Script,
    kind: str,
    names: Names,
    model: profile.Profile,
    now: dt.datetime,
    fence: base.Fence | None = None,
    *,
    primary_source: str | None = None,
    everything: bool = False,
) -> Merged:
    """Write the touched profiles anew, or `everything`, where they differ from what is stored.

    `kind` is the warehouse's. All tables must be there: `table`, those of `records`, and what a resolution keeps.
    What was touched (`Names.touched`) is taken out in the transaction that writes; a merge that was killed anywhere
    is done again by the next, and one that finds nothing to change writes nothing.

    Raises Fenced when the fence no longer holds; nothing has changed then.
    """
    with spaces.opened(script, PREFIX) as space:
        choice = choosing.Choice(model, primary_source, kind)
        return _Merge(space, names, model, choice, everything).run(now, fence)


def union(arrays: Sequence[str]) -> str:
    """The distinct elements of JSON arrays, in the order in which they first come."""
    elements = dict.fromkeys(
        bytes(element) for array in arrays for element in msgspec.json.decode(array, type=list[msgspec.Raw])
    )
    return (b"[" + b",".join(elements) + b"]").decode()


class _Merge:
    """One merge inside a warehouse."""

    def __init__(
        self,
        space: spaces.Space,
        names: Names,
        model: profile.Profile,
        choice: choosing.Choice,
        everything: bool,
    ) -> None:
        self._space, self._script, self._choice = space, space.script, choice
        self._everything = everything
        self._records = space.script.name(records.table(names, model).name)
        self._members = space.script.name(names.members.name)
        self._touched = space.script.name(names.touched.name)
        self._profiles = space.script.name(names.profiles)

    def run(self, now: dt.datetime, fence: base.Fence | None) -> Merged:
        """Compute, compare, write."""
        space = self._space
        space.put("clock", pa.table({"moment": pa.array([now], MOMENT)}), {"moment": TIME}, ("moment",))
        space.fill("wanted", {"profile_id": TEXT}, ("profile_id",), f"SELECT profile_id FROM {self._touched}")
        touched = space.count("wanted")
        if not touched and not self._everything:
            return Merged(0, 0, 0)
        self._place()
        self._make()
        self._compare()
        counts = dict(self._script.rows(f"SELECT what, count(*) AS n FROM {space['changed']} GROUP BY what"))
        merged = Merged(*(int(counts.get(what, 0)) for what in ("new", "changed", "gone")))
        with self._script.transaction(fence):
            if merged.written:
                self._write()
            if touched:
                self._script.execute(
                    f"DELETE FROM {self._touched} WHERE profile_id IN "
                    f"(SELECT profile_id FROM {space['wanted']})"
                )
        return merged

    def _only_wanted(self, alias: str) -> str:
        """Joins the touched profiles to a table, unless all are wanted."""
        if self._everything:
            return ""
        return f" JOIN {self._space['wanted']} AS w ON w.profile_id = {alias}.profile_id"

    def _place(self) -> None:
        """The live records of every profile, the newest first; of equal versions, by their keys."""
        self._space.fill(
            "placed",
            {"record": TEXT, "profile_id": TEXT, "place": NUMBER, "total": NUMBER},
            ("record",),
            "SELECT m.record, m.profile_id, "
            "row_number() OVER (PARTITION BY m.profile_id ORDER BY r._version DESC, m.record) AS place, "
            "count(*) OVER (PARTITION BY m.profile_id) AS total "
            f"FROM {self._members} AS m JOIN {self._records} AS r ON r.record = m.record"
            f"{self._only_wanted('m')} WHERE m.left_at IS NULL AND r._deleted_at IS NULL",
        )

    def _make(self) -> None:
        """What every profile is now: of one record that record, of several what is chosen from them."""
        choice, space = self._choice, self._space
        placed = f"{space['placed']} AS p JOIN {self._records} AS r ON r.record = p.record WHERE p.total"
        united = {each.name: self._unite(each, f"{placed} > 1") for each in choice.arrays}
        values = ", ".join(
            f"CASE WHEN {united[each.name]}.united IS NULL THEN c.{each.name} "
            f"ELSE {united[each.name]}.united END AS {each.name}"
            if each.name in united
            else f"c.{each.name}"
            for each in choice.properties
        )
        joined = "".join(
            f" LEFT JOIN {space[alias]} AS {alias} ON {alias}.profile_id = c.profile_id"
            for alias in united.values()
        )
        space.make("rows", {"profile_id": TEXT, **choice.types(), **choosing.OWN}, ("profile_id",))
        self._add_rows(
            f"SELECT p.profile_id, {choice.columns('r')}, 1, 1, r._version, {choice.hash('r')} FROM {placed} = 1"
        )
        self._add_rows(
            f"SELECT s.profile_id, {choice.columns('s')}, s.sources, s.accounts, s._version, {choice.hash('s')} "
            f"FROM (SELECT c.profile_id, {values}, c.sources, c.accounts, c._version "
            f"FROM ({choice.chosen(f'{placed} > 1')}) AS c{joined}) AS s"
        )

    def _add_rows(self, query: str) -> None:
        self._script.execute(
            f"INSERT INTO {self._space['rows']} "
            f"(profile_id, {self._choice.columns()}, {', '.join(choosing.OWN)}) {query}"
        )

    def _unite(self, array: choosing.Property, source: str) -> str:
        """Make a table of the profiles whose records disagree on an array, with the union; returns its name."""
        space, lists, united = self._space, f"lists{array.number}", f"united{array.number}"
        told = f"{self._choice.text(f'r.{array.name}', array.type)} AS told"
        space.fill(
            lists,
            {"profile_id": TEXT, "place": NUMBER, "number": NUMBER, "told": TEXT},
            ("profile_id", "place"),
            "SELECT b.profile_id, b.place, dense_rank() OVER (ORDER BY b.profile_id) AS number, b.told FROM ("
            f"SELECT a.profile_id, a.{array.rank} AS place, a.told, "
            "min(a.told) OVER (PARTITION BY a.profile_id) AS lowest, "
            "max(a.told) OVER (PARTITION BY a.profile_id) AS highest "
            f"FROM ({self._choice.ranked(f'{source} AND r.{array.name} IS NOT NULL', told)}) AS a) AS b "
            "WHERE b.lowest <> b.highest",
        )
        space.make(united, {"profile_id": TEXT, "united": "JSON"}, ("profile_id",))
        last = spaces.number(self._script, f"SELECT max(number) AS n FROM {space[lists]}")
        for start in range(1, last + 1, SLICE):
            found = self._script.rows(
                f"SELECT profile_id, place, told FROM {space[lists]} "
                f"WHERE number BETWEEN {start} AND {start + SLICE - 1}"
            )
            arrays: dict[str, list[str]] = {}
            for profile_id, _, text in sorted(found, key=lambda row: int(row[1])):
                arrays.setdefault(profile_id, []).append(text)
            columns = [pa.array(arrays, pa.string()), pa.array(map(union, arrays.values()), pa.string())]
            self._script.append(space[united], pa.table(columns, schema=_UNITED))
        space.drop(lists)
        return united

    def _compare(self) -> None:
        """Which profiles are not stored as they are now, and since when they are what they are."""
        space, choice = self._space, self._choice
        times = ("first_seen_at", "updated_at", "deleted_at")
        space.make(
            "changed", {"profile_id": TEXT, "what": TEXT} | dict.fromkeys(times, TIME), ("profile_id",)
        )
        self._script.execute(
            f"INSERT INTO {space['changed']} (profile_id, what, first_seen_at, updated_at) SELECT n.profile_id, "
            "CASE WHEN p.profile_id IS NULL THEN 'new' ELSE 'changed' END, "
            "CASE WHEN p.first_seen_at IS NULL THEN t.moment ELSE p.first_seen_at END, "
            "CASE WHEN p._row_hash = n._row_hash AND p._deleted_at IS NULL THEN p.updated_at "
            f"ELSE t.moment END FROM {space['rows']} AS n CROSS JOIN {space['clock']} AS t "
            f"LEFT JOIN {self._profiles} AS p ON p.profile_id = n.profile_id "
            "WHERE p._row_hash IS NULL OR p._row_hash <> n._row_hash OR p._deleted_at IS NOT NULL "
            "OR p.sources <> n.sources OR p.accounts <> n.accounts"
        )
        self._script.execute(
            f"INSERT INTO {space['changed']} (profile_id, what, first_seen_at, updated_at, deleted_at) "
            "SELECT p.profile_id, 'gone', p.first_seen_at, t.moment, t.moment "
            f"FROM {self._profiles} AS p{self._only_wanted('p')} CROSS JOIN {space['clock']} AS t "
            f"LEFT JOIN {space['rows']} AS n ON n.profile_id = p.profile_id "
            "WHERE p._deleted_at IS NULL AND n.profile_id IS NULL"
        )
        # A profile that is gone keeps what was known of it.
        self._add_rows(
            f"SELECT p.profile_id, {choice.columns('p')}, 0, 0, p._version, p._row_hash "
            f"FROM {self._profiles} AS p JOIN {space['changed']} AS c ON c.profile_id = p.profile_id "
            "WHERE c.what = 'gone'"
        )

    def _write(self) -> None:
        """Put the rows that differ in the place of what is stored."""
        changed = self._space["changed"]
        self._script.execute(
            f"DELETE FROM {self._profiles} WHERE profile_id IN (SELECT profile_id FROM {changed})"
        )
        self._script.execute(
            f"INSERT INTO {self._profiles} (profile_id, {self._choice.columns()}, sources, accounts, "
            "first_seen_at, updated_at, _version, _row_hash, _deleted_at) "
            f"SELECT n.profile_id, {self._choice.columns('n')}, n.sources, n.accounts, c.first_seen_at, "
            "c.updated_at, n._version, n._row_hash, c.deleted_at "
            f"FROM {self._space['rows']} AS n JOIN {changed} AS c ON c.profile_id = n.profile_id"
        )
