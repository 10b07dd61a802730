"""Histories in every warehouse: versions of rows laid one after the other, in whatever order they come.

Runs once per adapter (see conftest). A version is written here as (id, since which second, what it was).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import loads
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate import warehouse as warehouses
from tidegate.warehouse import base


def test_a_version_ends_where_the_next_one_begins(warehouse: base.Warehouse) -> None:
    assert warehouse.load([loads.versions(("a", 1, "x"), ("b", 2, "z"))], {}) == [
        base.Loaded("items_history", 2, 2, 0, 0)
    ]
    warehouse.load([loads.versions(("a", 5, "y"))], {})
    assert loads.history(warehouse) == [("a", "x", 1, 5), ("a", "y", 5, None), ("b", "z", 2, None)]


def test_a_history_has_no_view_of_what_is_live(warehouse: base.Warehouse) -> None:
    warehouse.prepare([loads.HISTORY])
    assert list(warehouse.columns("items_history")) == loads.HISTORY.schema.names
    views = "SELECT count(*) AS n FROM information_schema.tables WHERE table_schema = 'stripe_live'"
    assert loads.found(warehouse, views) == [(0,)]


def test_versions_may_come_in_any_order(warehouse: base.Warehouse) -> None:
    """Each id has an order of its own."""
    names = {1: "x", 3: "y", 5: "z"}
    orders = dict(zip("abcdef", itertools.permutations(names), strict=True))
    for turn in range(3):
        told = [(id, order[turn], names[order[turn]]) for id, order in orders.items()]
        warehouse.load([loads.versions(*told)], {})
    assert loads.history(warehouse) == [
        version for id in orders for version in ((id, "x", 1, 3), (id, "y", 3, 5), (id, "z", 5, None))
    ]


def test_what_has_not_changed_is_one_version(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.versions(("a", 3, "x"), ("a", 5, "x"), ("a", 7, "y"))], {})
    assert warehouse.load([loads.versions(("a", 9, "y"))], {}) == [base.Loaded("items_history", 1, 0, 0, 1)]
    assert loads.history(warehouse) == [("a", "x", 3, 7), ("a", "y", 7, None)]
    warehouse.load([loads.versions(("a", 1, "x"))], {})
    assert loads.history(warehouse) == [("a", "x", 1, 7), ("a", "y", 7, None)]


def test_a_late_version_parts_the_one_that_it_fell_into(warehouse: base.Warehouse) -> None:
    """Read as x, changed to y and back, read as x again: then the event that tells of y arrives."""
    warehouse.load([loads.versions(("a", 1, "x"))], {})
    warehouse.load([loads.versions(("a", 9, "x"))], {})
    assert loads.history(warehouse) == [("a", "x", 1, None)]
    warehouse.load([loads.versions(("a", 5, "y"))], {})
    assert loads.history(warehouse) == [("a", "x", 1, 5), ("a", "y", 5, 9), ("a", "x", 9, None)]
    warehouse.load([loads.versions(("a", 7, "x"))], {})
    assert loads.history(warehouse) == [("a", "x", 1, 5), ("a", "y", 5, 7), ("a", "x", 7, None)]


def test_a_history_says_until_when_a_version_was_seen(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.versions(("a", 1, "x"), ("a", 9, "x"))], {})
    sql = "SELECT _valid_from, _version FROM stripe.items_history ORDER BY 1"
    assert loads.found(warehouse, sql) == [(loads.at(1), 9)]
    warehouse.load([loads.versions(("a", 5, "y"))], {})
    assert loads.found(warehouse, sql) == [(loads.at(1), 1), (loads.at(5), 5), (loads.at(9), 9)]


def test_of_two_versions_of_one_second_the_later_stays_unless_it_is_strict(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.versions(("a", 1, "x"), ("a", 1, "y"), ("b", 1, "x"))], {})
    warehouse.load([loads.versions(("a", 1, "z"))], {})
    warehouse.load([loads.versions(("b", 1, "payload"), ("b", 2, "y"), strict=True)], {})
    assert loads.history(warehouse) == [("a", "z", 1, None), ("b", "x", 1, 2), ("b", "y", 2, None)]


def test_a_strict_version_gives_way_to_what_was_seen_in_its_second(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.versions(("a", 1, "x"), ("a", 5, "x"))], {})
    warehouse.load([loads.versions(("a", 5, "payload"), strict=True)], {})
    assert loads.history(warehouse) == [("a", "x", 1, None)]
    warehouse.load([loads.versions(("a", 5, "read"))], {})
    assert loads.history(warehouse) == [("a", "x", 1, 5), ("a", "read", 5, None)]


@pytest.mark.parametrize("hard", [False, True])
def test_a_deletion_ends_the_open_version(warehouse: base.Warehouse, hard: bool) -> None:
    warehouse.load(
        [loads.load(*(loads.row(id, 3) for id in "ab")), loads.versions(("a", 1, "x"), ("a", 3, "y"))], {}
    )
    warehouse.load([loads.mark(loads.dead("a", 5), hard=hard, history=loads.HISTORY)], {})
    assert loads.history(warehouse) == [("a", "x", 1, 3), ("a", "y", 3, 5)]


def test_only_deletions_that_pass_the_gate_end_anything(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.row("a", 6)), loads.versions(("a", 6, "x"))], {})
    warehouse.load([loads.mark(loads.dead("a", 5), history=loads.HISTORY)], {})
    assert loads.history(warehouse) == [("a", "x", 6, None)]


def test_a_second_deletion_moves_no_end(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.row("a", 1)), loads.versions(("a", 1, "x"))], {})
    for version in (5, 9, 5):
        warehouse.load([loads.mark(loads.dead("a", version), history=loads.HISTORY)], {})
    assert loads.history(warehouse) == [("a", "x", 1, 5)]


def test_a_second_deletion_ends_what_began_after_the_first(warehouse: base.Warehouse) -> None:
    """A list asked for at 5 and answered at 9 had the row no more; what it was at 7 is told later."""
    warehouse.load([loads.load(loads.row("a", 1)), loads.versions(("a", 1, "x"))], {})
    warehouse.load([loads.mark(loads.dead("a", 5), history=loads.HISTORY)], {})
    warehouse.load([loads.versions(("a", 7, "y")), loads.mark(loads.dead("a", 9), history=loads.HISTORY)], {})
    assert loads.history(warehouse) == [("a", "x", 1, 5), ("a", "y", 7, 9)]


def test_a_second_deletion_is_remembered_for_versions_that_come_late(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.row("a", 1)), loads.versions(("a", 1, "x"))], {})
    for version in (5, 9):
        warehouse.load([loads.mark(loads.dead("a", version), history=loads.HISTORY)], {})
    warehouse.load([loads.versions(("a", 7, "y"))], {})
    assert loads.history(warehouse) == [("a", "x", 1, 5), ("a", "y", 7, 9)]


def test_a_row_that_left_and_came_back_has_a_gap(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.load(loads.row("a", 1)), loads.versions(("a", 1, "x"))], {})
    warehouse.load([loads.mark(loads.left("a", 5), hard=True, history=loads.HISTORY)], {})
    warehouse.load([loads.load(loads.row("a", 7)), loads.versions(("a", 7, "x"))], {})
    assert loads.history(warehouse) == [("a", "x", 1, 5), ("a", "x", 7, None)]
    warehouse.load([loads.versions(("a", 3, "y"))], {})
    assert loads.history(warehouse) == [("a", "x", 1, 3), ("a", "y", 3, 5), ("a", "x", 7, None)]


def test_what_began_and_was_deleted_in_one_second_is_not_open(warehouse: base.Warehouse) -> None:
    born, died = loads.versions(("a", 5, "x")), loads.mark(loads.dead("a", 5), history=loads.HISTORY)
    warehouse.load([loads.load(loads.row("a", 5)), born], {})
    for call in ([died], [born], [died, born]):
        warehouse.load(call, {})
        assert loads.history(warehouse) == [("a", "x", 5, 5)]


def test_an_end_waits_for_versions_that_come_late(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.mark(loads.dead("a", 5), history=loads.HISTORY)], {})
    assert loads.graves(warehouse, "items_history") == [('["acct_1","a"]', 5, 5)]
    warehouse.load([loads.versions(("a", 3, "x"), ("b", 3, "x"))], {})
    assert loads.history(warehouse) == [("a", "x", 3, 5), ("b", "x", 3, None)]


def test_a_sweep_ends_the_versions_of_what_it_deletes(warehouse: base.Warehouse) -> None:
    warehouse.load(
        [
            loads.load(*(loads.row(id, 1) for id in "abc")),
            loads.versions(*((id, 1, "x") for id in "abc")),
            loads.sweep("p", 5, "b", history=loads.HISTORY),
        ],
        {},
    )
    assert loads.history(warehouse) == [("a", "x", 1, 5), ("b", "x", 1, None), ("c", "x", 1, 5)]


def test_single_versions_may_be_dropped(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.versions(("a", 1, "x"), ("a", 3, "y"), ("a", 5, "z"))], {})
    key = pa.table(
        {"_account_id": ["acct_1"], "id": ["a"], "_valid_from": pa.array([loads.at(1)], loads.TIME)}
    )
    assert warehouse.load([base.Load(loads.HISTORY, key, "drop")], {})[0].updated == 1
    assert loads.history(warehouse) == [("a", "y", 3, 5), ("a", "z", 5, None)]
    assert warehouse.find(loads.HISTORY, key).num_rows == 0


def test_all_columns_of_a_version_are_written_and_new_ones_added(warehouse: base.Warehouse) -> None:
    document = pa.field("notes", pa.string(), metadata=base.JSON)
    wider = base.Table("items_history", loads.HISTORY.schema.append(document), loads.HISTORY.key, "")
    warehouse.load([loads.versions(("a", 1, "x"), ("a", 9, "x"))], {})
    told = loads.versions(("a", 5, "y")).rows.append_column(document, [["[1]"]])
    warehouse.load([base.Load(wider, told, "history")], {})
    sql = "SELECT name, notes, _account_id, _row_hash FROM stripe.items_history ORDER BY _valid_from"
    assert loads.found(warehouse, sql) == [
        ("x", None, "acct_1", "hash of x"),
        ("y", "[1]", "acct_1", "hash of y"),
        ("x", None, "acct_1", "hash of x"),
    ]


def test_a_key_of_more_columns_is_laid_by_all_of_them(warehouse: base.Warehouse) -> None:
    fields = [pa.field("_parent_id", pa.string()), pa.field("row", pa.int64()), *loads.HISTORY.schema]
    table = base.Table("items_history", pa.schema(fields), ("_parent_id", "row", *loads.HISTORY.key), "")
    for second, name in ((1, "x"), (5, "y")):
        rows = [
            {"_parent_id": parent, "row": n, **loads.versions(("a", second, name)).rows.to_pylist()[0]}
            for parent in "pq"
            for n in (1, 2)
        ]
        warehouse.load([base.Load(table, pa.Table.from_pylist(rows, table.schema), "history")], {})
    assert loads.history(warehouse) == [("a", "x", 1, 5)] * 4 + [("a", "y", 5, None)] * 4


def test_the_versions_of_one_id_in_two_accounts_do_not_meet(warehouse: base.Warehouse) -> None:
    warehouse.load([loads.versions(("a", 1, "x"))], {})
    other = loads.versions(("a", 5, "y")).rows.set_column(0, "_account_id", [["acct_2"]])
    warehouse.load([base.Load(loads.HISTORY, other, "history")], {})
    assert loads.history(warehouse) == [("a", "x", 1, None), ("a", "y", 5, None)]


# Against a model


@dataclass
class Model:
    """One id's history: [since, seen, until, name], and ends that no version has."""

    versions: list[list[Any]] = field(default_factory=list)
    ends: set[int] = field(default_factory=set)

    def lay(self, told: Sequence[tuple[int, str]], ends: Sequence[int], strict: bool) -> None:
        points: dict[int, str] = {}
        for since, seen, _, name in self.versions:
            points[since] = name
            points.setdefault(seen, name)
        given = dict(told)
        points = given | points if strict else points | given
        begun = {since for since, *_ in self.versions}
        known = {u for s, _, u, _ in self.versions if u is not None and (u not in begun or u == s)}
        moments = sorted({(t, 0) for t in points} | {(t, 1) for t in {*ends, *self.ends, *known}})
        self.versions, last = [], None
        for moment, is_end in moments:
            open_version = self.versions[-1] if self.versions and self.versions[-1][2] is None else None
            if is_end:
                if open_version:
                    open_version[2] = moment
                elif moment not in self.ends:
                    self.ends.add(moment)
            elif open_version and last == points[moment]:
                open_version[1] = moment
            else:
                if open_version:
                    open_version[2] = moment
                self.versions.append([moment, moment, None, points[moment]])
            last = None if is_end else points[moment]


POINT = st.tuples(st.sampled_from("ab"), st.integers(1, 8), st.sampled_from("xy"))
LAID = st.tuples(st.just("lay"), st.lists(POINT, max_size=4), st.booleans())
ENDED = st.tuples(st.just("end"), st.tuples(st.sampled_from("ab"), st.integers(1, 8)), st.just(False))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(LAID | ENDED, min_size=1, max_size=7))
def test_any_sequence_of_versions_and_ends_is_as_the_model_says(
    new_url: Callable[[], str], steps: list[tuple[str, Any, bool]]
) -> None:
    warehouse = warehouses.open_url(new_url())
    warehouse.prepare([loads.ITEMS, loads.HISTORY])
    model = {"a": Model(), "b": Model()}
    for kind, what, strict in steps:
        if kind == "lay":
            call = [loads.versions(*what, strict=strict)]
            for id in "ab":
                model[id].lay([(second, name) for i, second, name in what if i == id], [], strict)
        else:
            # A row of its own each time, so that every end passes the gate.
            call = [loads.drop(what[0]), loads.load(loads.row(what[0], 0))]
            call.append(loads.mark(loads.dead(*what), history=loads.HISTORY))
            model[what[0]].lay([], [what[1]], False)
        warehouse.load(call, {})
        expected = [(id, name, s, u) for id in "ab" for s, _, u, name in model[id].versions]
        assert loads.history(warehouse) == expected
        assert loads.graves(warehouse, "items_history") == [
            (f'["acct_1","{id}"]', end, end) for id in "ab" for end in sorted(model[id].ends)
        ]
    warehouse.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moments=st.lists(st.integers(1, 30), min_size=1, max_size=6, unique=True).map(sorted),
    died=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_a_life_is_told_the_same_in_any_order_split_and_number_of_times(
    new_url: Callable[[], str], moments: list[int], died: bool, seed: int
) -> None:
    """Every state is another one; the last moment may be the deletion, before or after the versions come."""
    rng = random.Random(seed)
    lives = moments[:-1] if died else moments
    told: list[base.Load] = [loads.versions(("a", moment, f"state {moment}")) for moment in lives]
    if died:
        told.append(loads.mark(loads.dead("a", moments[-1]), history=loads.HISTORY))
    told += rng.choices(told, k=3)
    rng.shuffle(told)
    warehouse = warehouses.open_url(new_url())
    warehouse.prepare([loads.ITEMS, loads.HISTORY])
    while told:
        cut = rng.randrange(1, len(told) + 1)
        warehouse.load(told[:cut], {})
        told = told[cut:]
    ends: list[int | None] = [*moments[1:]] if died else [*moments[1:], None]
    assert loads.history(warehouse) == [
        ("a", f"state {since}", since, until) for since, until in zip(lives, ends, strict=True)
    ]
    warehouse.close()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    points=st.dictionaries(st.integers(1, 12), st.sampled_from("xyz"), min_size=1), seed=st.integers(0, 2**32)
)
def test_what_was_seen_last_is_the_open_version_and_states_that_return_in_order_are_all_there(
    new_url: Callable[[], str], points: dict[int, str], seed: int
) -> None:
    rng = random.Random(seed)
    in_order = [(second, points[second]) for second in sorted(points)]
    expected = [
        [next(group)[0], name] for name, group in itertools.groupby(in_order, key=lambda point: point[1])
    ]
    for shuffled in (False, True):
        warehouse = warehouses.open_url(new_url())
        left = rng.sample(in_order, len(in_order)) if shuffled else list(in_order)
        while left:
            cut = rng.randrange(1, len(left) + 1)
            for _ in range(rng.choice([1, 2])):
                warehouse.load([loads.versions(*(("a", *point) for point in left[:cut]))], {})
            left = left[cut:]
        laid = loads.history(warehouse)
        assert [until for *_, until in laid] == [*(since for _, _, since, _ in laid[1:]), None]
        assert laid[-1][1] == in_order[-1][1]
        if not shuffled:
            assert [[since, name] for _, name, since, _ in laid] == expected
        warehouse.close()
