"""The judge of what `pushing_model` did: every row has its object, once, and nothing else was touched.

It knows the rows, what others did at Stripe, and what the sandbox took down of every effect that a request had. It
reads the ledger only to hold it against that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pushing_kinds

if TYPE_CHECKING:
    import pushing_model

COUNTED = ("source", "invalid", "filtered", "unchanged", "unmatched", "held", "quarantined")


def balanced(found: Mapping[str, Any]) -> None:
    """Every row of the source is counted once."""
    parts = (*COUNTED[1:], "created", "updated", "failed", "unknown")
    assert found["source"] == sum(found[name] for name in parts), f"It does not add up: {found}"


def judge(business: pushing_model.Business) -> None:
    """Every row has its object, once, and nothing else was touched."""
    kind = business.kind
    effects = [
        each
        for each in business.lines("writes")
        if (each["idempotency_key"] or "").startswith(pushing_kinds.OURS)
    ]
    everything = {each["id"]: each for each in business.objects(deleted=True)}
    keys = Counter(each["idempotency_key"] for each in effects)
    assert not {key: n for key, n in keys.items() if n > 1}, "A key had two effects."
    marks = Counter(each["metadata"].get("tidegate_op") for each in effects if each["op"] == "create")
    assert all(n == 1 for mark, n in marks.items()), "An operation made two objects."

    made: defaultdict[str, list[str]] = defaultdict(list)
    deleted: Counter[str] = Counter()
    for id, obj in everything.items():
        deleted[kind.fold(kind.value(obj) or "")] += dead_by_others(business, {**obj, "id": id})
    for each in effects:
        value = kind.value(everything[each["id"]])
        assert value is not None, "Something was written to what no row can be."
        value = kind.fold(value)
        assert business.keys_of[value], f"{value} was never in the source, and was written to."
        if each["op"] == "create":
            made[value].append(each["id"])
        deleted[value] += each["op"] == "delete"
    alive: defaultdict[str, list[str]] = defaultdict(list)
    for id, obj in everything.items():
        if not obj["dead"]:
            alive[kind.fold(kind.value(obj) or "")].append(id)
    for value, ids in made.items():
        assert len(ids) <= 1 + deleted[value], f"{value} was made {len(ids)} times."

    written = {each["id"] for each in effects}
    for value, ids in business.theirs.items():
        if len(ids) > 1 and not any(dead_by_others(business, everything[id]) for id in ids):
            assert not written & set(ids), f"{value} is ambiguous, and was written to."
            assert not made[value], f"{value} is there twice, and was made once more."
    rows_have_theirs(business, everything, alive, made, effects)
    for id, text in business.edits.items():
        assert everything[id]["dead"] or everything[id]["description"] == text, "An edit of others is lost."
    ledger_tells_the_truth(business, effects)


def dead_by_others(business: pushing_model.Business, obj: Mapping[str, Any]) -> bool:
    """Did somebody else delete it?"""
    return f"delete {obj['id']}" in business.log


def rows_have_theirs(
    business: pushing_model.Business,
    everything: Mapping[str, Mapping[str, Any]],
    alive: Mapping[str, list[str]],
    made: Mapping[str, list[str]],
    effects: list[dict[str, Any]],
) -> None:
    """Each row that can have an object has one, and it says what the row says."""
    kind = business.kind
    keys = Counter(row["id"] for row in business.rows)
    values = Counter(kind.fold(row[kind.column]) for row in business.rows)
    unknown = business.store.execute("SELECT key FROM operations WHERE status = 'unknown'")
    for row in business.rows:
        if {"key": row["id"]} in unknown:
            continue
        value = kind.fold(row[kind.column])
        ids = alive.get(value, [])
        mine = [id for id in ids if id in made.get(value, [])]
        assert len(mine) <= 1, f"{row} has {mine}."
        some = [id for id, obj in everything.items() if kind.fold(kind.value(obj) or "") == value]
        if any(dead_by_others(business, everything[id]) for id in some):
            continue  # it is not made again, or was made because nothing was there
        if not row["id"] or not value or keys[row["id"]] > 1 or values[value] > 1:
            continue  # a person has to say what it is
        if len(business.keys_of[value]) > 1 and len(ids) <= 1:
            assert ids, f"{row} has no object."
            if not mine:
                continue  # others' object may have become another row's, which is gone
        if not mine and len(ids) > 1:
            continue  # ambiguous
        assert ids, f"{row} has no object."
        if kind.money:
            assert len(made.get(value, [])) + len(business.theirs[value]) == 1, f"{row} was billed twice."
            continue
        obj = everything[(mine or ids)[0]]
        if len(business.keys_of[value]) > 1:
            continue  # it may be the object of another row, which is gone
        wanted = {path: row[column] for path, column in kind.fields.items()}
        if business.beside and len(ids) == 1:
            wanted["metadata.score"] = row["score"]
        found = {path: pushing_kinds.shown(obj, path) for path in wanted}
        assert found == wanted, f"{row} says {wanted}, and {obj['id']} has {found}."
    if business.removes:
        gone_rows_left_nothing(alive, effects, values)


def gone_rows_left_nothing(
    alive: Mapping[str, list[str]],
    effects: list[dict[str, Any]],
    values: Mapping[str, int],
) -> None:
    """Objects that the first push made for rows that are gone are gone, too; the second removes nothing."""
    made = {
        each["id"]
        for each in effects
        if each["op"] == "create"
        and each["idempotency_key"].startswith(f"{pushing_kinds.OURS}{pushing_kinds.PUSHES[0]}/")
    }
    for value, ids in alive.items():
        assert values[value] or not made & set(ids), f"The row of {value} is gone, and {ids} is there."


def ledger_tells_the_truth(business: pushing_model.Business, effects: list[dict[str, Any]]) -> None:
    """What it says was done was done, and the other way round."""
    by_key = {each["idempotency_key"]: each for each in effects}
    there = business.store.execute("SELECT * FROM operations")
    known = {row["idempotency_key"] for row in there}
    assert set(by_key) <= known, "Something was done that the ledger does not know."
    for row in there:
        effect = by_key.get(row["idempotency_key"])
        status, creates = row["status"], row["action"] == "create"
        if status == "unknown" and creates and business.deaf:
            assert effect is None, f"{row['id']} is unknown, and what it made can be seen."
            continue
        assert status in ("done", "void", "refused"), f"{row['id']} is {status}: {row['error']}"
        if creates and status == "done":
            assert effect is not None, f"{row['id']} is done, and nothing was."
            assert effect["id"] == row["target"], f"{row['id']} made {effect['id']}, not {row['target']}."
        elif creates:
            assert effect is None, f"{row['id']} is {status}, and was done."
        elif status == "refused":
            assert effect is None or dead_by_others(business, {"id": row["target"]}), (
                "A refused update was done."
            )
