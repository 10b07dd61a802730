"""What changed since each row was acknowledged, and that every row of the source is counted once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import modelled
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modelled import batch

from tidegate import config
from tidegate.push import diff, mapping, workbook

Known = dict[str, tuple[str, dict[str, str]]]
"""Key -> hash and fields, as they were acknowledged."""

PLAN = modelled.push(fields={"metadata.plan": "plan", "name": {"from": "name", "null": "clear"}})


class Found:
    """What a run finds, and what it would acknowledge."""

    def __init__(
        self, book: workbook.Workbook, told: config.Push, known: Known, *batches: pa.RecordBatch
    ) -> None:
        taken, self.wanted = modelled.mapped(book, told, *batches)
        self.counts = diff.diff(book, taken, self.wanted, modelled.acknowledged(known))
        self.changed = [row for each in diff.changed(book, self.wanted) for row in each.to_pylist()]
        self.renewed = [row for each in diff.renewed(book, self.wanted) for row in each.to_pylist()]
        self.gone = {str(key): json.loads(str(was)) for key, was in book.rows("SELECT key, was FROM gone")}

    def dirty(self) -> dict[str, list[str]]:
        """Changed key -> the fields that differ."""
        return {row["key"]: row["dirty"] for row in self.changed}

    def acknowledge(self, known: Known) -> Known:
        """The state after all of it was sent."""
        now = {key: each for key, each in known.items() if key not in self.gone}
        for row in self.changed:
            was = json.loads(row["was"] or "{}")
            now[row["key"]] = (row["hash"], diff.told(self.wanted, was, json.loads(row["fields"])))
        now.update((row["key"], (row["hash"], json.loads(row["fields"]))) for row in self.renewed)
        return now


def find(folder: Path, known: Known, *batches: pa.RecordBatch, told: config.Push = PLAN) -> Found:
    with modelled.book(folder) as book:
        return Found(book, told, known, *batches)


def rows(*told: tuple[Any, Any, Any]) -> pa.RecordBatch:
    """Rows of id, plan and name."""
    columns = list(zip(*told, strict=True)) if told else [(), (), ()]
    id, plan, name = (pa.array(column, pa.string()) for column in columns)
    return batch(id=id, email=id, plan=plan, name=name)


ONE = rows(("1", "pro", "Ann"), ("2", "free", None), ("3", None, "Cy"))


def test_what_was_never_acknowledged_is_new(tmp_path: Path) -> None:
    found = find(tmp_path, {}, ONE)
    assert asdict(found.counts) == {
        "source": 3, "invalid": 0, "doubled": 0, "filtered": 0, "unchanged": 0, "changed": 0, "new": 3,
        "gone": 0, "renewed": 0,
    }  # fmt: skip
    assert [(row["key"], row["is_new"], row["was"], row["match"]) for row in found.changed] == [
        ("1", True, None, ["1"]),
        ("2", True, None, ["2"]),
        ("3", True, None, ["3"]),
    ]
    assert [json.loads(row["fields"]) for row in found.changed] == [
        {"metadata.plan": "pro", "name": "Ann"},
        {"metadata.plan": "free", "name": ""},
        {"name": "Cy"},
    ]
    assert found.dirty() == {"1": ["metadata.plan", "name"], "2": ["metadata.plan", "name"], "3": ["name"]}


def test_what_was_acknowledged_is_unchanged(tmp_path: Path) -> None:
    known = find(tmp_path, {}, ONE).acknowledge({})
    found = find(tmp_path, known, ONE)
    assert (found.counts.unchanged, found.changed, found.renewed, found.gone) == (3, [], [], {})


def test_a_row_that_changed_says_which_fields(tmp_path: Path) -> None:
    known = find(tmp_path, {}, ONE).acknowledge({})
    found = find(tmp_path, known, rows(("1", "team", "Ann"), ("2", "free", "Bo"), ("3", None, None)))
    assert found.dirty() == {"1": ["metadata.plan"], "2": ["name"], "3": ["name"]}
    assert (found.counts.changed, found.counts.new, found.counts.unchanged) == (3, 0, 0)
    [was] = [json.loads(row["was"]) for row in found.changed if row["key"] == "2"]
    assert was == {"metadata.plan": "free", "name": ""}
    assert not any(row["is_new"] for row in found.changed)


def test_null_that_leaves_a_field_needs_no_request_and_keeps_what_was_sent(tmp_path: Path) -> None:
    known = find(tmp_path, {}, ONE).acknowledge({})
    found = find(tmp_path, known, rows(("1", None, "Ann"), ("2", "free", None), ("3", None, "Cy")))
    assert (found.counts.unchanged, found.counts.renewed, found.changed) == (3, 1, [])
    after = found.acknowledge(known)
    assert after["1"][1] == {"metadata.plan": "pro", "name": "Ann"}
    assert find(tmp_path, after, ONE).changed == []


def test_rows_that_are_gone_are_told_with_what_was_sent(tmp_path: Path) -> None:
    known = find(tmp_path, {}, ONE).acknowledge({})
    found = find(tmp_path, known, rows(("1", "pro", "Ann")))
    assert found.gone == {"2": {"metadata.plan": "free", "name": ""}, "3": {"name": "Cy"}}
    assert (found.counts.source, found.counts.unchanged, found.counts.gone) == (1, 1, 2)


def test_an_empty_source_has_all_rows_gone(tmp_path: Path) -> None:
    known = find(tmp_path, {}, ONE).acknowledge({})
    found = find(tmp_path, known, rows())
    assert (found.counts.source, found.counts.gone) == (0, 3)


def test_filtered_refused_and_doubled_rows_are_not_gone(tmp_path: Path) -> None:
    told = modelled.push(
        fields={"metadata.plan": "plan", "name": {"from": "name", "null": "clear"}},
        filter={
            "any": [{"field": "plan", "op": "is null"}, {"field": "plan", "op": "is not", "value": "no"}]
        },
    )
    known = find(tmp_path, {}, ONE, told=told).acknowledge({})
    found = find(
        tmp_path,
        known,
        rows(("1", "no", "Ann"), ("2", "a\0", None), ("3", "a", "b"), ("3", "b", "b")),
        told=told,
    )
    counts = found.counts
    assert (counts.source, counts.filtered, counts.invalid, counts.doubled, counts.gone) == (4, 1, 1, 2, 0)
    assert (found.changed, found.gone) == ([], {})


def test_a_new_field_changes_every_row_and_only_in_that_field(tmp_path: Path) -> None:
    known = find(tmp_path, {}, ONE).acknowledge({})
    more = modelled.push(
        fields={**PLAN.model_dump(by_alias=True, exclude_unset=True)["fields"], "phone": "id"}
    )
    assert find(tmp_path, known, ONE, told=more).dirty() == {"1": ["phone"], "2": ["phone"], "3": ["phone"]}


def test_a_mapping_that_says_the_same_otherwise_needs_no_request(tmp_path: Path) -> None:
    known = find(tmp_path, {}, ONE).acknowledge({})
    other = modelled.push(
        fields={"metadata.plan": {"sql": "plan"}, "name": {"template": "{name}", "null": "clear"}}
    )
    found = find(tmp_path, known, ONE, told=other)
    assert (found.counts.unchanged, found.counts.renewed, found.changed) == (3, 3, [])
    after = found.acknowledge(known)
    assert {key: fields for key, (_, fields) in after.items()} == {
        key: fields for key, (_, fields) in known.items()
    }
    again = find(tmp_path, after, ONE, told=other)
    assert (again.counts.unchanged, again.counts.renewed) == (3, 0)


def test_a_field_that_left_the_mapping_is_forgotten(tmp_path: Path) -> None:
    """When it comes back nobody knows what became of it in Stripe meanwhile."""
    known = find(tmp_path, {}, ONE).acknowledge({})
    less = modelled.push(fields={"name": {"from": "name", "null": "clear"}})
    found = find(tmp_path, known, ONE, told=less)
    assert (found.changed, found.counts.renewed) == ([], 3)
    back = find(tmp_path, found.acknowledge(known), ONE)
    assert back.dirty() == {"1": ["metadata.plan"], "2": ["metadata.plan"]}


def test_a_field_that_was_held_back_is_found_once_its_owner_changes(tmp_path: Path) -> None:
    theirs = modelled.push(fields={"name": {"from": "name", "owner": "if_empty"}})
    first = find(tmp_path, {}, ONE, told=theirs)
    known: Known = {
        row["key"]: (row["hash"], diff.told(first.wanted, {}, json.loads(row["fields"]), held=["name"]))
        for row in first.changed
    }
    assert find(tmp_path, known, ONE, told=theirs).changed == []
    ours = modelled.push(fields={"name": "name"})
    assert find(tmp_path, known, ONE, told=ours).dirty() == {"1": ["name"], "3": ["name"]}


def test_names_with_dots_slashes_and_tildes_are_compared(tmp_path: Path) -> None:
    told = modelled.push(fields={"metadata.a.b": "plan", "metadata.a/b~c": "plan", "metadata.A.b": "name"})
    known = find(tmp_path, {}, ONE, told=told).acknowledge({})
    assert known["1"][1] == {"metadata.a.b": "pro", "metadata.a/b~c": "pro", "metadata.A.b": "Ann"}
    edited = modelled.push(
        fields={**told.model_dump(by_alias=True, exclude_unset=True)["fields"], "name": "name"}
    )
    found = find(tmp_path, known, ONE, told=edited)
    assert found.dirty() == {"1": ["name"], "3": ["name"]}
    assert found.counts.renewed == 1


def test_changed_rows_come_in_the_order_of_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diff, "SPAN", 7)
    ids = [str(n * 7919 % 1000) for n in range(100)]
    with modelled.book(tmp_path) as book:
        taken, wanted = modelled.mapped(book, PLAN, *(rows((id, "x", "y")) for id in ids))
        diff.diff(book, taken, wanted, [])
        found = list(diff.changed(book, wanted, 3))
    assert [key for each in found for key in each.column("key").to_pylist()] == ids
    assert max(map(len, found)) <= 3
    assert all(each.schema == diff.CHANGED for each in found)


def test_rows_are_compared_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff, "SLICE", 3)
    before = rows(*((str(n), f"plan {n}", "x") for n in range(20)))
    known = find(tmp_path, {}, before).acknowledge({})
    after = rows(*((str(n), f"plan {n if n % 2 else -n}", "x") for n in range(25)))
    found = find(tmp_path, known, after)
    assert found.dirty() == {
        **{str(n): ["metadata.plan"] for n in range(2, 20, 2)},
        **{str(n): ["metadata.plan", "name"] for n in range(20, 25)},
    }
    assert (found.counts.changed, found.counts.new, found.counts.unchanged) == (9, 5, 11)


def test_comparing_again_replaces_what_was_found(tmp_path: Path) -> None:
    with modelled.book(tmp_path) as book:
        first = Found(book, PLAN, {}, ONE)
        known = modelled.acknowledged(first.acknowledge({}))
        taken = modelled.models.Snapshot(3, ONE.schema, ("id",), 0.0, {}, 0, {})
        again = diff.diff(book, taken, first.wanted, known)
    assert (first.counts.new, again.new, again.unchanged) == (3, 0, 3)


def test_an_acknowledged_state_that_cannot_be_read_leaves_none(tmp_path: Path) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield from modelled.acknowledged({"1": ("x", {})})
        raise RuntimeError("the store went away")

    with modelled.book(tmp_path) as book:
        taken, wanted = modelled.mapped(book, PLAN, ONE)
        with pytest.raises(RuntimeError, match="went away"):
            diff.diff(book, taken, wanted, broken())
        assert book.rows("SELECT table_name FROM duckdb_tables() WHERE table_name = 'acknowledged'") == []
        assert diff.diff(book, taken, wanted, []).new == 3


VALUES = st.sampled_from(["", "a", "b", "ü", "\0", " a", None])
SOURCE = st.lists(st.tuples(st.sampled_from(["1", "2", "3", "4", "", None]), VALUES, VALUES), max_size=8)
FIELDS = st.dictionaries(
    st.sampled_from(["name", "metadata.a", "metadata.A", "description"]),
    st.builds(
        lambda source, null: {"from": source, "null": null},
        st.sampled_from(["plan", "name"]),
        st.sampled_from(["leave", "clear"]),
    ),
    min_size=1,
)


def expected(source: list[tuple[Any, Any, Any]], fields: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Key -> what is wanted, in Python."""
    keys = [id for id, *_ in source]
    found = {}
    for id, plan, name in source:
        wanted = {
            field: {"plan": plan, "name": name}[told["from"]] or ("" if told["null"] == "clear" else None)
            for field, told in fields.items()
        }
        if id and keys.count(id) == 1 and not any("\0" in (value or "") for value in wanted.values()):
            found[id] = {field: value for field, value in wanted.items() if value is not None}
    return found


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(SOURCE, FIELDS), min_size=1, max_size=4))
def test_after_any_runs_stripe_was_told_what_is_wanted(
    runs: list[tuple[list[tuple[Any, Any, Any]], dict[str, Any]]],
) -> None:
    """A second run without changes finds none, each changed field is found, and every row is counted once."""
    known: Known = {}
    stripe: dict[str, dict[str, str]] = {}
    with workbook.in_memory() as book:
        for source, fields in runs:
            told = modelled.push(fields=fields, match={"metadata.id": "id"})
            found = again(book, told, known, rows(*source))
            counts = found.counts
            assert (
                counts.source
                == len(source)
                == sum(
                    (
                        counts.invalid,
                        counts.doubled,
                        counts.filtered,
                        counts.unchanged,
                        counts.changed,
                        counts.new,
                    )
                )
            )
            assert set(found.gone) == set(known) - {id for id, *_ in source}
            for row in found.changed:
                values = json.loads(row["fields"])
                stripe.setdefault(row["key"], {}).update({field: values[field] for field in row["dirty"]})
                was = known.get(row["key"], ("", {}))[1]
                assert all(values[field] != was.get(field) for field in row["dirty"])
            known = found.acknowledge(known)
            for key, values in expected(source, fields).items():
                assert {field: stripe[key].get(field) for field in values} == values
            second = again(book, told, known, rows(*source))
            assert (second.changed, second.renewed, second.gone) == ([], [], {})


def again(book: workbook.Workbook, told: config.Push, known: Known, *batches: pa.RecordBatch) -> Found:
    """What another run finds, in the workbook of the one before."""
    for table in ("source", "doubled"):
        book.execute(f"DROP TABLE IF EXISTS {table}")
    return Found(book, told, known, *batches)


def test_the_fields_to_acknowledge_are_those_of_the_mapping() -> None:
    wanted = mapping.Wanted("p", ("a", "b", "c"), (), "f", 1, 0, 0)
    was = {"a": "1", "b": "2", "old": "3"}
    assert diff.told(wanted, was, {"a": "9", "c": ""}) == {"a": "9", "b": "2", "c": ""}
    assert diff.told(wanted, was, {"a": "9", "c": ""}, held=("a",)) == {"b": "2", "c": ""}


OURS = (
    "key", "row", "rows", "hash", "was", "why", "fields", "field", "field_0", "raw_0", "text_0", "match_0",
    "folded_0", "problem", "gone", "dirty", "is_new", "target", "a", "w", "d", "model", "source", "wanted",
)  # fmt: skip
"""What the workbook calls its own columns and tables."""


def test_columns_of_the_model_may_have_any_name(tmp_path: Path) -> None:
    """One that is called as a column of ours is never taken for it."""
    told = modelled.push(
        fields={f"metadata.{name}": name for name in OURS},
        filter={"field": "rows", "op": "is not", "value": "out"},
    )

    def ours(*ids: str, **more: str) -> pa.RecordBatch:
        values = {name: [more.get(f"{name}_{id}", f"{name} of {id}") for id in ids] for name in OURS}
        return batch(id=list(ids), email=list(ids), **values)

    first = find(tmp_path, {}, ours("1", "2", "3", "4"), told=told)
    known = first.acknowledge({})
    assert json.loads(first.changed[0]["fields"]) == {f"metadata.{name}": f"{name} of 1" for name in OURS}
    same = find(tmp_path, known, ours("1", "2", "3", "4"), told=told)
    assert (same.counts.unchanged, same.changed, same.gone) == (4, [], {})
    then = find(tmp_path, known, ours("1", "2", "2", "3", rows_3="out", key_1="1", row_1="x"), told=told)
    assert then.dirty() == {"1": ["metadata.key", "metadata.row"]}
    assert list(then.gone) == ["4"]
    assert (then.counts.doubled, then.counts.filtered) == (2, 1)
