"""Deletions in every warehouse: marks, burials, sweeps, removals, and what the gate makes of them.

Runs once per adapter (see conftest). Versions are whole seconds, so two things often have the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import loads
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate import errors
from tidegate import warehouse as warehouses
from tidegate.warehouse import base

GRAVE = '["acct_1","a"]'


# At equal versions


def test_a_deletion_beats_a_live_row_of_the_same_second(warehouse: base.Warehouse) -> None:
    for order in (
        [loads.row("a", 5, "live"), loads.dead("a", 5)],
        [loads.dead("b", 5), loads.row("b", 5, "x")],
    ):
        for each in order:
            warehouse.load([loads.load(each)], {})
    assert loads.items(warehouse) == [("a", None, 5, 5), ("b", None, 5, 5)]


def test_within_a_load_a_deletion_beats_a_live_row_of_the_same_second(warehouse: base.Warehouse) -> None:
    batch = loads.load(loads.dead("a", 5), loads.row("a", 5, "later row"), loads.row("a", 4, "older"))
    assert warehouse.load([batch], {}) == [base.Loaded("items", 3, 1, 0, 2)]
    assert loads.items(warehouse) == [("a", None, 5, 5)]


def test_of_two_live_rows_of_one_second_the_later_wins(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.row("a", 5, "first"))], {})
    warehouse.load([loads.load(loads.row("a", 5, "second"))], {})
    assert loads.items(warehouse) == [("a", "second", 5, None)]


def test_a_strict_row_gives_way_to_what_is_stored_of_its_second(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.row("a", 5, "read"), loads.row("b", 4, "read"))], {})
    payloads = loads.load(loads.row("a", 5, "payload"), loads.row("b", 5, "payload"), strict=True)
    assert warehouse.load([payloads], {}) == [base.Loaded("items", 2, 0, 1, 1)]
    assert loads.items(warehouse) == [("a", "read", 5, None), ("b", "payload", 5, None)]


def test_of_two_strict_rows_of_one_load_the_later_wins(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.row("a", 5, "first"), loads.row("a", 5, "second"), strict=True)], {})
    assert loads.items(warehouse) == [("a", "second", 5, None)]


def test_a_strict_deletion_still_beats_a_live_row(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.row("a", 5, "read"))], {})
    assert warehouse.load([loads.mark(loads.dead("a", 5), strict=True)], {})[0].updated == 1
    assert loads.items(warehouse) == [("a", "read", 5, 5)]


def test_a_table_that_knows_no_deletions_has_no_such_rule(warehouse: base.Warehouse) -> None:
    schema = pa.schema([("id", pa.string()), ("n", pa.int64()), ("_version", pa.int64())])
    plain = base.Table("plain", schema, ("id",))
    for n in (1, 2):
        warehouse.load([base.Load(plain, pa.table({"id": ["a"], "n": [n], "_version": [5]}))], {})
    assert loads.found(warehouse, "SELECT id, n FROM stripe.plain") == [("a", 2)]


# Marks


def test_a_mark_leaves_the_row_as_it_last_was(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "Ann", notes="[1]"), loads.row("b", 1, "Bob"))], {})
    assert warehouse.load([loads.mark(loads.dead("a", 5))], {}) == [base.Loaded("items", 1, 0, 1, 0)]
    assert loads.items(warehouse) == [("a", "Ann", 5, 5), ("b", "Bob", 1, None)]
    assert loads.found(warehouse, "SELECT notes FROM stripe.items WHERE id = 'a'") == [("[1]",)]
    assert loads.graves(warehouse) == []


def test_a_mark_older_than_the_row_does_nothing(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.row("a", 6, "Ann"))], {})
    assert warehouse.load([loads.mark(loads.dead("a", 5))], {}) == [base.Loaded("items", 1, 0, 0, 1)]
    assert loads.items(warehouse) == [("a", "Ann", 6, None)]


def test_marking_again_counts_nothing_and_the_first_deletion_stays(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "Ann"))], {})
    warehouse.load([loads.mark(loads.dead("a", 5))], {})
    for version in (5, 9, 7):
        assert warehouse.load([loads.mark(loads.dead("a", version))], {})[0].updated == 0
    assert loads.items(warehouse) == [("a", "Ann", 9, 5)]
    warehouse.load([loads.load(loads.row("a", 8, "older than the last deletion"))], {})
    assert loads.items(warehouse) == [("a", "Ann", 9, 5)]


def test_a_row_that_was_never_stored_is_buried(warehouse: base.Warehouse) -> None:
    assert warehouse.load([loads.mark(loads.dead("a", 5))], {}) == [base.Loaded("items", 1, 0, 0, 0)]
    assert (loads.items(warehouse), loads.graves(warehouse)) == ([], [(GRAVE, 5, 5)])


@pytest.mark.parametrize("mode", ["replace", "keep"])
@pytest.mark.parametrize(("version", "rises"), [(4, False), (5, False), (6, True)])
def test_nothing_older_raises_the_buried(
    warehouse: base.Warehouse, mode: base.Mode, version: int, rises: bool
) -> None:
    warehouse.load([loads.mark(loads.dead("a", 5))], {})
    [done] = warehouse.load([loads.load(loads.row("a", version, "Ann"), mode=mode)], {})
    assert (done.inserted, done.stale) == ((1, 0) if rises else (0, 1))
    assert loads.items(warehouse) == ([("a", "Ann", version, None)] if rises else [])
    assert loads.graves(warehouse) == ([] if rises else [(GRAVE, 5, 5)])


def test_burying_again_keeps_the_newest_version_and_the_first_deletion(warehouse: base.Warehouse) -> None:
    for version in (5, 9, 7, 9):
        warehouse.load([loads.mark(loads.dead("a", version))], {})
    assert loads.graves(warehouse) == [(GRAVE, 9, 5)]


def test_a_hard_mark_removes_the_row_and_buries_its_key(warehouse: base.Warehouse) -> None:
    warehouse.load(
        [loads.load(loads.row("a", 1, "Ann"), loads.row("b", 1, "Bob"), loads.row("c", 9, "Cy"))], {}
    )
    deaths = loads.mark(loads.dead("a", 5), loads.dead("c", 5), loads.dead("d", 5), hard=True)
    assert warehouse.load([deaths], {}) == [base.Loaded("items", 3, 0, 1, 1)]
    assert loads.items(warehouse) == [("b", "Bob", 1, None), ("c", "Cy", 9, None)]
    assert loads.graves(warehouse) == [(GRAVE, 5, 5), ('["acct_1","d"]', 5, 5)]
    warehouse.load([loads.load(loads.row("a", 5, "Ann"))], {})
    assert loads.items(warehouse) == [("b", "Bob", 1, None), ("c", "Cy", 9, None)]


def test_a_hard_mark_takes_a_tombstone_away_and_remembers_when_it_died(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.dead("a", 5))], {})
    assert warehouse.load([loads.mark(loads.dead("a", 5, deleted=7), hard=True)], {})[0].updated == 0
    assert (loads.items(warehouse), loads.graves(warehouse)) == ([], [(GRAVE, 5, 5)])


def test_rows_of_several_tables_come_back_in_one_load(warehouse: base.Warehouse) -> None:
    others = base.Table("others", loads.ITEMS.schema)

    def both(load: base.Load) -> list[base.Load]:
        return [load, dataclasses.replace(load, table=others)]

    warehouse.load(both(loads.mark(loads.dead("a", 5), hard=True)), {})
    assert loads.graves(warehouse) == loads.graves(warehouse, "others") == [(GRAVE, 5, 5)]
    warehouse.load(both(loads.load(loads.row("a", 6))), {})
    assert loads.graves(warehouse) == loads.graves(warehouse, "others") == []


def test_a_row_that_left_the_table_comes_back_within_the_second(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "Ann"))], {})
    assert warehouse.load([loads.mark(loads.left("a", 5), hard=True)], {})[0].updated == 1
    assert (loads.items(warehouse), loads.graves(warehouse)) == ([], [(GRAVE, 5, None)])
    assert warehouse.load([loads.load(loads.row("a", 4, "older"))], {})[0].stale == 1
    assert warehouse.load([loads.load(loads.row("a", 5, "payload"), strict=True)], {})[0].stale == 1
    assert warehouse.load([loads.load(loads.row("a", 5, "Ann"))], {})[0].inserted == 1
    assert (loads.items(warehouse), loads.graves(warehouse)) == ([("a", "Ann", 5, None)], [])


def test_who_left_and_then_died_is_dead(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.mark(loads.left("a", 5), hard=True)], {})
    warehouse.load([loads.mark(loads.dead("a", 5))], {})
    assert loads.graves(warehouse) == [(GRAVE, 5, 5)]
    warehouse.load([loads.mark(loads.left("a", 5), hard=True)], {})
    assert loads.graves(warehouse) == [(GRAVE, 5, 5)]


def test_leaving_in_the_second_of_a_deletion_is_no_news(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.dead("a", 5))], {})
    assert warehouse.load([loads.mark(loads.left("a", 5), hard=True)], {})[0].stale == 1
    assert loads.items(warehouse) == [("a", None, 5, 5)]


def test_burials_of_one_table_or_account_are_none_of_another(warehouse: base.Warehouse) -> None:
    other = base.Table("others", loads.ITEMS.schema)
    warehouse.load([loads.mark(loads.dead("a", 5))], {})
    elsewhere = loads.load(loads.row("a", 1, "Ann"))
    warehouse.load(
        [base.Load(other, elsewhere.rows), loads.load(loads.row("a", 1, "Al", _account_id="acct_2"))], {}
    )
    assert loads.found(warehouse, "SELECT name FROM stripe.others") == [("Ann",)]
    assert loads.items(warehouse) == [("a", "Al", 1, None)]


def test_a_key_of_three_columns_and_odd_letters_is_buried_whole(warehouse: base.Warehouse) -> None:
    table = base.Table("odd", loads.ITEMS.schema, ("_account_id", "_parent_id", "id"))
    for id in ('a","b', "ünï🐟\\", "a"):
        gone = loads.mark(loads.dead("x", 5)).rows
        rows = gone.set_column(1, "id", [[id]]).append_column("_parent_id", [["p"]])
        warehouse.load([base.Load(table, rows, "mark")], {})
        born = pa.Table.from_pylist(
            [loads.row(id, 5, "late"), loads.row(id, 5, "n", _parent_id="q")], table.schema
        )
        assert warehouse.load([base.Load(table, born)], {})[0].stale == 1
    assert loads.found(warehouse, "SELECT DISTINCT _parent_id FROM stripe.odd") == [("q",)]


def test_marks_that_the_gate_could_not_judge_are_refused(warehouse: base.Warehouse) -> None:
    unversioned = base.Table("u", loads.ITEMS.schema, version="")
    timed = loads.mark(loads.dead("a", 5))
    timed = base.Load(base.Table("t", timed.rows.schema, version="_synced_at"), timed.rows, "mark")
    for refused, says in (
        (base.Load(unversioned, loads.mark(loads.dead("a", 5)).rows, "mark"), "no version in whole seconds"),
        (timed, "no version in whole seconds"),
        (loads.mark(loads.left("a", 5)), "without a _deleted_at"),
        (loads.mark(loads.row("a", None), hard=True), "without a _version"),
        (
            base.Load(loads.ITEMS, loads.mark(loads.dead("a", 1)).rows, "sweep"),
            "without the column _parent_id",
        ),
        (
            base.Load(loads.ITEMS, loads.load(loads.row("a", 1)).rows, "history"),
            "without the column _valid_from",
        ),
    ):
        with pytest.raises(errors.WarehouseError, match=says):
            warehouse.load([loads.load(loads.row("z", 1)), refused], {})
    assert warehouse.columns("items") == {}


def test_the_table_of_burials_is_nobody_elses(warehouse: base.Warehouse) -> None:
    mine = base.Table(base.TOMBSTONES, loads.ITEMS.schema)
    with pytest.raises(errors.ConfigError, match="keeps for itself"):
        warehouse.prepare([mine])
    with pytest.raises(errors.ConfigError, match="keeps for itself"):
        warehouse.load([base.Load(mine, loads.load(loads.row("a", 1)).rows)], {})
    with pytest.raises(errors.ConfigError, match="keeps for itself"):
        warehouse.load([loads.mark(loads.dead("a", 5), history=mine)], {})


# Kept columns


def test_columns_that_a_kept_row_lacks_stay(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.row("a", 1, "Ann", notes="[1]"), loads.row("b", 1, "Bob"))], {})
    wider = pa.schema([*loads.ITEMS.schema, pa.field("surprise", pa.int64())])
    whole = pa.Table.from_pylist([loads.row("b", 2, "Bob", notes="[2]", surprise=7)], wider)
    warehouse.load([base.Load(loads.ITEMS, whole)], {})
    batch = [loads.row(id, 3, id.upper()) for id in "abc"]
    assert warehouse.load([loads.load(*batch, mode="keep", lacks=["notes"])], {}) == [
        base.Loaded("items", 3, 1, 2, 0)
    ]
    sql = "SELECT id, name, notes, surprise, _version FROM stripe.items ORDER BY id"
    assert loads.found(warehouse, sql) == [
        ("a", "A", "[1]", None, 3),
        ("b", "B", "[2]", 7, 3),
        ("c", "C", None, None, 3),
    ]


def test_a_kept_row_that_is_older_or_of_a_deletions_second_changes_nothing(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.row("a", 5, "Ann"), loads.dead("b", 5))], {})
    batch = [loads.row("a", 4, "older"), loads.row("b", 5, "alive?")]
    assert warehouse.load([loads.load(*batch, mode="keep", lacks=["notes"])], {})[0].stale == 2
    assert loads.items(warehouse) == [("a", "Ann", 5, None), ("b", None, 5, 5)]


def test_a_kept_row_that_says_nothing_of_deletion_is_live(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.dead("a", 5))], {})
    warehouse.load([loads.load(loads.row("a", 6, "Ann"), mode="keep", lacks=["_deleted_at", "notes"])], {})
    assert loads.items(warehouse) == [("a", "Ann", 6, None)]


# Sweeps


def test_a_sweep_marks_the_children_that_a_parent_has_no_more(warehouse: base.Warehouse) -> None:
    warehouse.load(
        [
            loads.load(
                loads.row("kept", 1),
                loads.row("gone", 1),
                loads.row("as new as the sweep", 5),
                loads.row("newer", 6),
                loads.dead("dead", 1),
                loads.row("of another", 1, _parent_id="q"),
                loads.row("of nobody", 1, _parent_id=None),
                loads.row("of another account", 1, _account_id="acct_2"),
            )
        ],
        {},
    )
    assert warehouse.load([loads.sweep("p", 5, "kept", "unheard of")], {}) == [
        base.Loaded("items", 2, 0, 1, 0)
    ]
    assert loads.items(warehouse) == [
        ("as new as the sweep", None, 5, None),
        ("dead", None, 1, 1),
        ("gone", None, 5, 5),
        ("kept", None, 1, None),
        ("newer", None, 6, None),
        ("of another", None, 1, None),
        ("of another account", None, 1, None),
        ("of nobody", None, 1, None),
    ]
    assert warehouse.load([loads.sweep("p", 5, "kept", "unheard of")], {})[0].updated == 0


def test_a_parent_may_have_no_children_at_all(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.row("a", 1), loads.row("b", 1), loads.row("c", 1, _parent_id="q"))], {})
    assert warehouse.load([loads.sweep("p", 5)], {})[0].updated == 2
    assert loads.items(warehouse) == [("a", None, 5, 5), ("b", None, 5, 5), ("c", None, 1, None)]


def test_a_hard_sweep_removes_and_buries(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.row("a", 1), loads.row("b", 1))], {})
    assert warehouse.load([loads.sweep("p", 5, "b", hard=True)], {})[0].updated == 1
    assert (loads.items(warehouse), loads.graves(warehouse)) == ([("b", None, 1, None)], [(GRAVE, 5, 5)])
    assert warehouse.load([loads.load(loads.row("a", 5))], {})[0].stale == 1


def test_sweeps_of_many_parents_and_several_times_in_one_load(warehouse: base.Warehouse) -> None:
    warehouse.load(
        [loads.load(*(loads.row(f"{p}{n}", n, _parent_id=p) for p in "pqr" for n in range(4)))], {}
    )
    first, second = loads.sweep("p", 2, "p0", "p1"), loads.sweep("p", 3, "p0", "p2")
    rows = pa.concat_tables([first.rows, second.rows, loads.sweep("q", 9).rows])
    assert warehouse.load([base.Load(loads.ITEMS, rows, "sweep")], {})[0].updated == 5
    deleted = [(id, version) for id, _, version, since in loads.items(warehouse) if since is not None]
    assert deleted == [("p1", 3), ("q0", 9), ("q1", 9), ("q2", 9), ("q3", 9)]


# Drops


def test_a_drop_forgets_rows_of_any_version_and_buries_nothing(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.row("a", 9, "Ann"), loads.row("b", 9), loads.dead("c", 9))], {})
    assert warehouse.load([loads.drop("a", "c", "a", "never there")], {}) == [
        base.Loaded("items", 4, 0, 1, 0)
    ]
    assert (loads.items(warehouse), loads.graves(warehouse)) == ([("b", None, 9, None)], [])
    warehouse.load([loads.load(loads.row("a", 1, "Ann again"))], {})
    assert loads.items(warehouse) == [("a", "Ann again", 1, None), ("b", None, 9, None)]


def test_a_drop_leaves_a_burial_in_peace(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.mark(loads.dead("a", 5)), loads.drop("a")], {})
    assert warehouse.load([loads.load(loads.row("a", 4))], {})[0].stale == 1


# Finding


def test_finding_tells_the_stored_from_the_buried(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.row("a", 5, "Ann", notes="[1]"), loads.dead("b", 6))], {})
    warehouse.load([loads.mark(loads.dead("c", 7), loads.left("d", 8), hard=True)], {})
    ids = ["d", "a", "nobody", "c", "a", "b", None]
    keys = pa.table({"id": ids, "_account_id": ["acct_1"] * len(ids)})
    found = warehouse.find(loads.ITEMS, keys, ["name", "notes", "unheard_of"])
    assert found.schema.names == [
        *("_account_id", "id", "_version", "_deleted_at", "_stored", "name", "notes", "unheard_of")
    ]
    assert [tuple(each.values())[1:] for each in found.to_pylist()] == [
        ("d", 8, None, False, None, None, None),
        ("a", 5, None, True, "Ann", "[1]", None),
        ("c", 7, loads.at(7), False, None, None, None),
        ("b", 6, loads.at(6), True, None, None, None),
    ]


def test_finding_where_nothing_is_finds_nothing(warehouse: base.Warehouse) -> None:
    keys = pa.table({"_account_id": ["acct_1"], "id": ["a"]})
    expected = ["_account_id", "id", "_version", "_deleted_at", "_stored", "name"]
    for _ in range(2):
        found = warehouse.find(loads.ITEMS, keys, ["name"])
        assert (found.num_rows, found.schema.names) == (0, expected)
        warehouse.load([], {"the file": "is there"})
    warehouse.prepare([loads.ITEMS])
    assert warehouse.find(loads.ITEMS, keys.slice(0, 0), ["name"]).schema.names == expected


def test_finding_in_a_table_without_versions_or_deletions(warehouse: base.Warehouse) -> None:
    runs = base.Table("runs", pa.schema([("run", pa.string()), ("n", pa.int64())]), ("run",), "")
    warehouse.load([base.Load(runs, pa.table({"run": ["r1"], "n": [1]}))], {})
    found = warehouse.find(runs, pa.table({"run": ["r1", "r2"]}), ["n"])
    assert found.to_pylist() == [{"run": "r1", "_deleted_at": None, "_stored": True, "n": 1}]


def test_what_is_found_has_the_type_that_the_column_has_become(warehouse: base.Warehouse) -> None:
    for kind, value in ((pa.int64(), 3), (pa.string(), "drei")):
        table = base.Table("t", pa.schema([("id", pa.string()), ("v", kind)]), ("id",), "")
        warehouse.load([base.Load(table, pa.table({"id": [str(value)], "v": [value]}))], {})
    declared = base.Table("t", pa.schema([("id", pa.string()), ("v", pa.int64())]), ("id",), "")
    found = warehouse.find(declared, pa.table({"id": ["3", "drei"]}), ["v"])
    assert found["v"].to_pylist() == ["3", "drei"]


# State


def test_state_under_several_prefixes_at_once(warehouse: base.Warehouse) -> None:
    warehouse.load([], {"tail/a": "1", "seen/a/5": "2", "dirty/a/x": "3", "seen_": "4"})
    assert warehouse.state("tail/", "dirty/") == {"dirty/a/x": "3", "tail/a": "1"}
    assert warehouse.state("seen/", "seen/a", "nothing/") == {"seen/a/5": "2"}
    assert len(warehouse.state()) == len(warehouse.state("")) == 4


# Everything at once, against a model


@dataclass
class Model:
    """What a warehouse must hold: id -> (name, notes, version, deleted), id -> (version, deleted)."""

    stored: dict[str, tuple[Any, Any, int, int | None]] = field(default_factory=dict)
    buried: dict[str, tuple[int, int | None]] = field(default_factory=dict)

    def passes(self, id: str, version: int, dies: bool, strict: bool) -> bool:
        known = [
            (v, d) for v, d in [self.stored.get(id, (0, 0, -1, None))[2:], self.buried.get(id, (-1, None))]
        ]
        for seen, deleted in known:
            if version < seen:
                return False
            if version == seen and not dies and (strict or deleted is not None):
                return False
            if version == seen and strict and deleted is not None:
                return False
        return True

    def put(self, id: str, version: int, name: str, dies: bool, strict: bool, keeps: bool) -> None:
        if self.passes(id, version, dies, strict):
            notes = self.stored.get(id, (None, None))[1] if keeps else f'"{name}"'
            self.stored[id] = (name, notes, version, version if dies else None)
            self.buried.pop(id, None)

    def mark(self, id: str, version: int, dies: bool, hard: bool) -> None:
        if not self.passes(id, version, dies, strict=False):
            return
        known = [d for d in (self.stored.get(id, (0, 0, 0, None))[3], self.buried.get(id, (0, None))[1]) if d]
        since = min([*known, version]) if dies else None
        if id in self.stored and not hard:
            self.stored[id] = (*self.stored[id][:2], version, since)
        else:
            self.stored.pop(id, None)
            self.buried[id] = (version, since)

    def sweep(self, parent: str, version: int, ids: Sequence[str], hard: bool) -> None:
        for id, (_, _, known, deleted) in list(self.stored.items()):
            if id[0] == parent and id not in ids and known < version and deleted is None:
                self.mark(id, version, dies=True, hard=hard)


IDS = st.sampled_from(["p1", "p2", "p3", "q1", "q2"])
ROWS = st.lists(st.tuples(IDS, st.integers(1, 6), st.sampled_from("xyz"), st.booleans()), max_size=5)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["replace", "keep"]), ROWS, st.booleans()),
    st.tuples(st.sampled_from(["mark", "hard", "leave"]), ROWS, st.none()),
    st.tuples(
        st.sampled_from(["sweep", "sweep hard"]),
        st.tuples(st.sampled_from("pq"), st.integers(1, 6), st.lists(IDS, max_size=3)),
        st.none(),
    ),
    st.tuples(st.just("drop"), st.lists(IDS, max_size=2), st.none()),
)


def winners(rows: Sequence[tuple[str, int, str, bool]]) -> list[tuple[str, int, str, bool]]:
    """Of each id the newest row; of equals a dead one, else the later."""
    best: dict[str, tuple[str, int, str, bool]] = {}
    for each in rows:
        if each[0] not in best or (each[1], each[3]) >= (best[each[0]][1], best[each[0]][3]):
            best[each[0]] = each
    return list(best.values())


def step(model: Model, kind: str, given: Any, strict: Any) -> base.Load:
    """Do one step to the model, and say what the warehouse is to do."""
    if kind in ("sweep", "sweep hard"):
        parent, version, ids = given
        model.sweep(parent, version, ids, kind == "sweep hard")
        return loads.sweep(parent, version, *ids, hard=kind == "sweep hard")
    if kind == "drop":
        for id in given:
            model.stored.pop(id, None)
        return loads.drop(*given)
    if kind in ("replace", "keep"):
        for id, version, name, dies in winners(given):
            model.put(id, version, name, dies, strict, kind == "keep")
        rows = [
            loads.row(
                id, n, name, _parent_id=id[0], notes=f'"{name}"', _deleted_at=loads.at(n) if dies else None
            )
            for id, n, name, dies in given
        ]
        mode: base.Mode = "keep" if kind == "keep" else "replace"
        return loads.load(*rows, mode=mode, strict=strict, lacks=["notes"] if kind == "keep" else [])
    dies = kind != "leave"
    for id, version, _, _ in winners([(id, version, name, dies) for id, version, name, _ in given]):
        model.mark(id, version, dies, kind != "mark")
    make = loads.dead if dies else loads.left
    return loads.mark(*(make(id, version) for id, version, _, _ in given), hard=kind != "mark")


def assert_same(warehouse: base.Warehouse, model: Model) -> None:
    sql = "SELECT id, name, notes, _version, _deleted_at FROM stripe.items ORDER BY id"
    stored = [(*each[:-1], loads.seconds(each[-1])) for each in loads.found(warehouse, sql)]
    assert stored == [(id, *model.stored[id]) for id in sorted(model.stored)]
    assert loads.graves(warehouse) == [
        (f'["acct_1","{id}"]', *model.buried[id]) for id in sorted(model.buried)
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(st.lists(STEPS, min_size=1, max_size=4), min_size=1, max_size=4))
def test_any_sequence_of_loads_ends_as_the_model_says(
    new_url: Callable[[], str], calls: list[list[tuple[str, Any, Any]]]
) -> None:
    warehouse = warehouses.open_url(new_url())
    warehouse.prepare([loads.ITEMS])
    model = Model()
    for steps in calls:
        live = {id for id, each in model.stored.items() if each[3] is None}
        done = warehouse.load([step(model, *each) for each in steps], {})
        after = {id for id, each in model.stored.items() if each[3] is None}
        if len(steps) == 1 and steps[0][0] not in ("replace", "keep"):
            assert done[0].updated == len(live - after)
        assert_same(warehouse, model)
    warehouse.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.booleans(), IDS, st.integers(1, 6), st.sampled_from("xyz"), st.booleans()), max_size=12
    ),
    cuts=st.lists(st.booleans(), min_size=12, max_size=12),
    hard=st.booleans(),
)
def test_it_does_not_matter_how_rows_are_split_into_loads_and_calls(
    new_url: Callable[[], str],
    steps: list[tuple[bool, str, int, str, bool]],
    cuts: list[bool],
    hard: bool,
) -> None:
    def one(marks: bool, group: Sequence[tuple[bool, str, int, str, bool]]) -> base.Load:
        if marks:
            return loads.mark(*(loads.dead(id, n, deleted=3) for _, id, n, _, _ in group), hard=hard)
        return loads.load(*(loads.row(id, n, name) for _, id, n, name, _ in group))

    outcomes = []
    for together in (False, True):
        warehouse = warehouses.open_url(new_url())
        warehouse.prepare([loads.ITEMS])
        calls: list[list[list[tuple[bool, str, int, str, bool]]]] = [[]]
        for each, cut in zip(steps, cuts, strict=False):
            if not together and cut:
                calls.append([])
            if calls[-1] and together and calls[-1][-1][-1][0] == each[0]:
                calls[-1][-1].append(each)
            else:
                calls[-1].append([each])
        for groups in calls:
            warehouse.load([one(group[0][0], group) for group in groups], {})
        outcomes.append((loads.items(warehouse), loads.graves(warehouse)))
        warehouse.close()
    assert outcomes[0] == outcomes[1]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=5))
def test_the_same_call_again_leaves_the_same_tables(
    new_url: Callable[[], str], steps: list[tuple[str, Any, Any]]
) -> None:
    warehouse = warehouses.open_url(new_url())
    warehouse.prepare([loads.ITEMS])
    for each in steps:
        call = [step(Model(), *each)]
        warehouse.load(call, {})
        before = (loads.items(warehouse), loads.graves(warehouse))
        warehouse.load(call, {})
        assert (loads.items(warehouse), loads.graves(warehouse)) == before
    warehouse.close()
