"""What Stripe has by now against what was acknowledged, set by set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import planning
import pyarrow as pa
import pytest

from tidegate import config
from tidegate.catalog import writes
from tidegate.push import diff, drift, targets, workbook

PUSH = planning.push(fields={"name": "name", "metadata.plan": "plan", "address.city": "city"})


@pytest.fixture
def book() -> Iterator[workbook.Workbook]:
    with workbook.in_memory() as opened:
        yield opened


def look(
    book: workbook.Workbook,
    told: Mapping[str, Mapping[str, str]],
    objects: list[dict[str, Any]],
    push: config.Push = PUSH,
    **gone: str,
) -> tuple[drift.Counts, list[drift.Drift]]:
    """What drifted of rows whose object has their key after `cus_`; `gone` says of links how they ended."""
    of = writes.find(push.object)
    assert of is not None
    acknowledged = [
        {"key": key, "hash": f"h{key}", "fields": json.dumps(dict(each))} for key, each in told.items()
    ]
    tied = [
        {"key": key, "target": f"cus_{key}", "created": True, "gone": gone.get(f"cus_{key}", "")}
        for key in (*told, *(each.removeprefix("cus_") for each in gone if each[4:] not in told))
    ]
    batches = [pa.RecordBatch.from_pylist(acknowledged, diff.ACKNOWLEDGED)]
    linked = [pa.RecordBatch.from_pylist(tied, targets.LINKS)]
    counts = drift.find(book, push, of, planning.Objects(of, objects), batches, linked)
    return counts, list(drift.entries(book))


def restored(book: workbook.Workbook) -> dict[str, tuple[str, dict[str, str]]]:
    """The acknowledged state as a repair takes it: hash and fields by key."""
    rows = [row for batch in drift.restored(book) for row in batch.to_pylist()]
    return {row["key"]: (row["hash"], json.loads(row["fields"])) for row in rows}


def test_only_fields_that_differ_are_told(book: workbook.Workbook) -> None:
    told = {"1": {"name": "Ada", "metadata.plan": "pro"}, "2": {"name": "Ben", "metadata.plan": "pro"}}
    objects = [
        planning.customer("cus_1", name="Ada", metadata={"plan": "pro", "more": "x"}, phone="theirs"),
        planning.customer("cus_2", name="Benjamin", metadata={}),
    ]
    counts, found = look(book, told, objects)
    assert counts == drift.Counts(rows=2, equal=1, changed=1, fields=2)
    assert found == [
        drift.Drift("2", "cus_2", "changed", "metadata.plan", "pro", None),
        drift.Drift("2", "cus_2", "changed", "name", "Ben", "Benjamin"),
    ]


def test_what_a_row_never_said_is_not_compared(book: workbook.Workbook) -> None:
    counts, _ = look(
        book, {"1": {"name": "Ada"}}, [planning.customer("cus_1", name="Ada", metadata={"plan": "x"})]
    )
    assert counts == drift.Counts(rows=1, equal=1)


def test_what_was_cleared_and_is_empty_is_equal(book: workbook.Workbook) -> None:
    counts, _ = look(
        book, {"1": {"name": "", "address.city": ""}}, [planning.customer("cus_1", name=None, address=None)]
    )
    assert counts == drift.Counts(rows=1, equal=1)


def test_objects_that_are_gone_are_told_once(book: workbook.Workbook) -> None:
    told = {"1": {"name": "Ada", "metadata.plan": "pro"}, "2": {"name": "Ben"}}
    objects = [{**planning.customer("cus_1"), "deleted": True}]
    counts, found = look(book, told, objects, cus_3="missing", cus_4="deleted")
    assert counts == drift.Counts(rows=3, deleted=2, unlinked=1)
    assert {(each.key, each.kind) for each in found} == {
        ("1", "deleted"),
        ("2", "deleted"),
        ("3", "unlinked"),
    }
    assert counts.drifted == 2


def test_what_stripe_may_change_is_not_looked_at(book: workbook.Workbook) -> None:
    push = planning.push(
        fields={
            "name": {"from": "name", "owner": "three_way"},
            "phone": {"from": "phone", "owner": "if_empty"},
            "description": {"from": "d", "owner": "stripe"},
        }
    )
    counts, _ = look(
        book, {"1": {"name": "Ada", "phone": "1"}}, [planning.customer("cus_1", name="Eve")], push
    )
    assert counts == drift.Counts(rows=1, equal=1)


def test_a_repair_begins_with_what_stripe_has(book: workbook.Workbook) -> None:
    told = {
        "1": {"name": "Ada", "metadata.plan": "pro"},
        "2": {"name": "Ben", "metadata.plan": "pro"},
        "3": {"name": "Eve"},
    }
    objects = [
        planning.customer("cus_1", name="Ada", metadata={"plan": "pro"}),
        planning.customer("cus_2", name="Theirs", metadata={}),
    ]
    look(book, told, objects)
    assert restored(book) == {
        "1": ("h1", {"name": "Ada", "metadata.plan": "pro"}),
        "2": (drift.HASH, {"name": "Theirs"}),
        "3": (drift.HASH, {}),
    }


def test_many_rows_are_compared_slice_by_slice(
    book: workbook.Workbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "SLICE", 1)
    told = {str(n): {"name": f"Person {n}"} for n in range(40)}
    objects = [planning.customer(f"cus_{n}", name=f"Person {n}" if n % 8 else "Theirs") for n in range(40)]
    counts, found = look(book, told, objects)
    assert counts == drift.Counts(rows=40, equal=35, changed=5, fields=5)
    assert sorted(int(each.key) for each in found) == [0, 8, 16, 24, 32]


def test_numbers_and_moments_may_be_spelt_otherwise(book: workbook.Workbook) -> None:
    push = planning.push(
        object="coupon", match={"id": "id"}, fields={"percent_off": "p", "redeem_by": "r", "name": "name"}
    )
    live = {"id": "cus_1", "object": "coupon", "created": 1, "percent_off": 12.5, "redeem_by": 1_900_000_000}
    told = {"1": {"percent_off": "12.50", "redeem_by": "1900000000", "name": "A"}}
    counts, _ = look(book, told, [{**live, "name": "A", "metadata": {}}], push)
    assert counts == drift.Counts(rows=1, equal=1)
