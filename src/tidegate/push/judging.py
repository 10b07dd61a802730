"""What is to become of every changed row: one verdict each, from what it says, what it is, and what Stripe has.

No request is made for it; the objects are those of the push's own mirror.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tidegate import config, errors
from tidegate.catalog import writes
from tidegate.push import compare, diff, loops, mapping, plan, steps, targets, validity, workbook

FOLLOWING = 2
"""Requests that follow a replacement: one to see what is next, and one to retire the old object."""
BATCH = 2_000
"""Rows that are judged at a time."""


def check(name: str, push: config.Push, of: writes.Object) -> None:
    """Raises ConfigError unless the object can do what the push would have it do."""
    called = f"a {of.name}" if of.name[0] not in "aeiou" else f"an {of.name}"
    if push.behavior == "create_only" and not of.creatable:
        raise errors.ConfigError(f"pushes.{name}.behavior: {called} is never created; write update_only.")
    if push.behavior == "update_only" and not (of.updatable or of.replacement):
        raise errors.ConfigError(f"pushes.{name}.behavior: {called} never changes; write create_only.")
    if push.on_immutable == "replace" and of.replacement is None:
        raise errors.ConfigError(f"pushes.{name}.on_immutable: {called} cannot be replaced; write hold.")
    if push.missing in ("clear", "flag") and not of.updatable:
        wanted = {"clear": "cleared", "flag": "flagged"}[push.missing]
        raise errors.ConfigError(f"pushes.{name}.on_missing: {called} never changes, so it is not {wanted}.")
    if push.missing == "flag" and (why := validity.refusal(of, "update", push.flag)):
        raise errors.ConfigError(f"pushes.{name}.on_missing.flag: {why}")


def judge(
    book: workbook.Workbook,
    wanted: mapping.Wanted,
    counts: diff.Counts,
    push: config.Push,
    of: writes.Object,
    mirror: targets.Mirror,
    paused: Mapping[str, plan.Paused] | None = None,
    chosen: Mapping[str, plan.Side] | None = None,
    rate: float = 20.0,
    watch: loops.Watch | None = None,
) -> tuple[plan.Counts, tuple[str, ...], int, float]:
    """Judge every changed row into `planned`; returns counts, guards, requests and seconds.

    `resolved` stands in the workbook. `chosen` is whose value counts for rows that changed on both sides, as far as
    a person said; `rate` is the requests a second of one endpoint.
    """
    plan.begin(book)
    number = 1
    for some in _judged(book, wanted, push, of, mirror, paused or {}, chosen or {}):
        number += plan.note(book, some, number)
    for some in _failed(book, wanted):
        number += plan.note(book, some, number)
    for some in _removals(book, push, of, mirror):
        number += plan.note(book, some, number)
    if watch is not None:
        loops.suspend(watch, book)
    steps.reached("plan made")
    rows = book.rows("SELECT verdict, count(*) FROM planned GROUP BY verdict")
    found = {str(verdict): int(str(count)) for verdict, count in rows}
    told = plan.Counts(
        source=counts.source,
        invalid=counts.invalid - wanted.failed + found.get("invalid", 0),
        filtered=counts.filtered,
        unchanged=counts.unchanged + found.get("equal", 0),
        unmatched=found.get("unmatched", 0),
        held=found.get("held", 0),
        quarantined=counts.doubled + found.get("quarantined", 0),
        created=found.get("create", 0),
        updated=found.get("update", 0),
        removed=found.get("remove", 0),
    )
    plan.balance(told)
    replaced = book.count("SELECT count(*) FROM planned WHERE action = 'replace' AND verdict = 'update'")
    requests = 2 * (told.created + told.updated + told.removed) + FOLLOWING * replaced
    longest = max(told.created, told.updated + told.removed)
    acknowledged = book.count("SELECT count(*) FROM acknowledged")
    changed = book.count(
        "SELECT count(*) FROM planned JOIN acknowledged USING (key) WHERE verdict IN ('update', 'remove')"
    )
    return (
        told,
        plan.guards(told, push.guard, acknowledged, changed),
        requests,
        longest / rate if rate else 0.0,
    )


def _judged(
    book: workbook.Workbook,
    wanted: mapping.Wanted,
    push: config.Push,
    of: writes.Object,
    mirror: targets.Mirror,
    paused: Mapping[str, plan.Paused],
    chosen: Mapping[str, plan.Side],
) -> Iterator[list[plan.Entry]]:
    """The verdicts of all changed rows, some at a time."""
    shown = (
        f"key, hash, found, target, candidates, {mapping.fields_json(wanted)} AS fields, was, "
        f"[{', '.join(f'match_{n}' for n in range(len(wanted.matches)))}]::VARCHAR[] AS match"
    )
    for batch in diff.in_order(book, "changed JOIN resolved USING (key)", shown, BATCH):
        rows = batch.to_pylist()
        live = mirror.objects([row["target"] for row in rows if row["found"] in ("linked", "matched")])
        found = []
        for row in rows:
            entry = _verdict(row, wanted, push, of, live, chosen.get(row["key"]))
            found.append(_again(entry, paused.get(entry.key), wanted.fingerprint))
        yield found


def _again(entry: plan.Entry, before: plan.Paused | None, version: str) -> plan.Entry:
    """A row that Stripe refused waits until it or its mapping changes, until it is due, or a person says so.

    What kept other rows from being written is looked at anew in each plan; one that a person skipped stays so.
    """
    if before is None or before.is_due or entry.verdict not in plan.WRITES:
        return entry
    if before.kind == plan.OPEN:
        return replace(
            entry, verdict="held", text="What became of its last write is found out by the next push."
        )
    if before.kind == "unknown":  # the hold stays as it is: it says of which operation
        return replace(entry, verdict="held", text="Nobody can tell whether its object was made.")
    same = (before.hash, before.version) == (entry.hash, version)
    if not same or (before.state != "skipped" and before.kind not in plan.REFUSED):
        return entry
    undone = "It was undone, and waits until it changes."
    text = undone if before.kind == "undone" else "It failed before, and waits."
    text = "It is skipped until it changes." if before.state == "skipped" else text
    verdict: plan.Verdict = "quarantined" if before.kind in plan.REFUSED else "held"
    return replace(entry, verdict=verdict, kind=before.kind, text=text)


def _verdict(
    row: Mapping[str, Any],
    wanted: mapping.Wanted,
    push: config.Push,
    of: writes.Object,
    live: Mapping[str, compare.Live],
    side: plan.Side | None,
) -> plan.Entry:
    fields = json.loads(row["fields"])
    entry = plan.Entry(
        row["key"], row["hash"], "held", target=row["target"], fields=diff.told(wanted, {}, fields)
    )
    match row["found"]:
        case "blank":
            text = f"A column that it is matched by ({', '.join(wanted.matches)}) is empty."
            return replace(entry, verdict="invalid", text=text)
        case "many":
            text = f"{len(row['candidates'])} objects match it; choose one, or have it create another."
            return replace(entry, kind="ambiguous", text=text, candidates=tuple(row["candidates"]))
        case "shared":
            text = f"{row['target']} belongs to another row, or matches several."
            return replace(entry, kind="shared", text=text)
        case "doubled":
            return replace(entry, kind="doubled", text="Another row would create the same object.")
        case "gone" | "vanished":
            text = f"{row['target']} was deleted at Stripe; it is not made again."
            return replace(entry, kind="gone", text=text)
        case "absent":
            return _create(entry, dict(zip(wanted.matches, row["match"], strict=True)), push, of)
    if of.money:
        return replace(entry, verdict="unmatched", text="It was billed; it is written once.")
    if push.behavior == "create_only" or not (of.updatable or of.replacement):
        return replace(
            entry, verdict="unmatched", text="There is such an object already, which stays as it is."
        )
    if row["target"] not in live:
        text = f"There is no {_called(of)} {row['target']} in this account."
        if row["found"] == "linked":
            text = f"{row['target']} is not there any more; it is not made again."
        return replace(entry, kind="gone", text=text)
    if row["found"] == "linked" and (moved := _moved(row, live[row["target"]], wanted, of)):
        text = f"The {moved} is another one's than {row['target']}'s by now; choose which one the row is."
        candidates = tuple(dict.fromkeys((row["target"], *row["candidates"])))
        return replace(entry, kind="ambiguous", field=moved, text=text, candidates=candidates)
    if row["found"] == "matched":
        entry = replace(entry, match=dict(zip(wanted.matches, row["match"], strict=True)))
    return _update(entry, row, live[row["target"]], wanted, push, of, side)


def _moved(row: Mapping[str, Any], live: compare.Live, wanted: mapping.Wanted, of: writes.Object) -> str:
    """The field by which a row is found, and that somebody gave to another object; empty where nobody did."""
    moving = of.replacement.moving if of.replacement is not None else {}
    for path, value in zip(wanted.matches, row["match"], strict=True):
        others = [each for each in row["candidates"] if each != row["target"]]
        if path in moving and others and compare.shown(of, live, path) != value:
            return path
    return ""


def _create(entry: plan.Entry, match: Mapping[str, str], push: config.Push, of: writes.Object) -> plan.Entry:
    if push.behavior == "update_only" or not of.creatable:
        return replace(entry, verdict="unmatched", text="No object matches it.")
    if "id" in match and not of.settable_id:
        text = f"There is no {of.name} of this id, and Stripe chooses the ids of new ones."
        return replace(entry, verdict="invalid", field="id", text=text)
    # What it was looked for by is what it is found by the next time.
    fields = compare.created(of, {**match, **entry.fields})
    marked = {**fields, f"metadata.{targets.MARK}": "op"} if of.metadata else fields
    problems = validity.check(of, "create", marked)
    if problems:
        return replace(entry, verdict="invalid", field=problems[0].field, text=problems[0].sentence)
    changes = {path: compare.Change(None, value) for path, value in fields.items()}
    return replace(entry, verdict="create", action="create", changes=changes)


def _update(
    entry: plan.Entry,
    row: Mapping[str, Any],
    live: compare.Live,
    wanted: mapping.Wanted,
    push: config.Push,
    of: writes.Object,
    side: plan.Side | None,
) -> plan.Entry:
    was = None if row["was"] is None else json.loads(row["was"])
    owners = {path: _owner(told.owner, side) for path, told in push.fields.items()}
    said = entry.fields if was is not None else {**entry.fields, **_back(row, push, of)}
    found = compare.compare(of, said, live, owners, was)
    if found.conflicts:
        text = f"It was changed here and at Stripe: {', '.join(found.conflicts)}. Say whose value counts."
        return replace(
            entry, kind="conflict", field=found.conflicts[0], text=text, candidates=("warehouse", "stripe")
        )
    # What a person left to Stripe is known from now on; what the mapping leaves to Stripe is not.
    held = [path for path in found.held if push.fields[path].owner != "three_way"]
    entry = replace(entry, fields=diff.told(wanted, was or {}, entry.fields, held))
    changes = dict(found.changes)
    fixed = [path for path, change in changes.items() if of.fixed(path, change.before)]
    if fixed and side == "stripe":
        changes = {path: change for path, change in changes.items() if path not in fixed}
    elif fixed and of.replacement and "replace" in (push.on_immutable, side):
        return _replacement(entry, changes, fixed, live, of)
    elif fixed:
        return _immutable(entry, fixed, of)
    if not changes:
        return replace(entry, verdict="equal")
    problems = validity.check(of, "update", compare.sent(of, changes, live), live)
    if problems:
        return replace(entry, verdict="invalid", field=problems[0].field, text=problems[0].sentence)
    return replace(entry, verdict="update", action="update", changes=changes)


def _back(row: Mapping[str, Any], push: config.Push, of: writes.Object) -> Mapping[str, str]:
    """What the object of a row says again that was gone and is there once more: it is active, and not marked."""
    path, value = {"archive": ("active", "true"), "flag": (push.flag, "")}.get(push.missing, ("", ""))
    if row["found"] != "linked" or not path or path in push.fields or of.field(path) is None:
        return {}
    return {path: value}


def _owner(owner: compare.Owner, side: plan.Side | None) -> compare.Owner:
    return side if side in ("warehouse", "stripe") and owner == "three_way" else owner


def _replacement(
    entry: plan.Entry,
    changes: Mapping[str, compare.Change],
    fixed: list[str],
    live: compare.Live,
    of: writes.Object,
) -> plan.Entry:
    """Another object in the place of one that cannot change."""
    assert of.replacement is not None, "Only what can be replaced comes here."
    problems = validity.check(of, "create", compare.replacement(of, changes, live))
    if problems:
        return replace(entry, verdict="invalid", field=problems[0].field, text=problems[0].sentence)
    if lost := compare.dropped(of, live):
        text = f"{entry.target} has {lost}, which a new one would lack; replace it in Stripe's dashboard."
        return replace(entry, verdict="invalid", field=lost, text=text)
    text = f"{_never(fixed, of)}: a new one is created, and {entry.target} is {of.replacement.retire}d."
    pointer = of.replacement.pointer
    if pointer is not None:
        text += f" Where it is the {pointer.field} of its {pointer.object}, the new one becomes that."
    return replace(entry, verdict="update", action="replace", changes=changes, text=text)


def _is_ours(push: config.Push, of: writes.Object, path: str, value: str | None, live: compare.Live) -> bool:
    """May a field be cleared? One of which Stripe's value counts as well, only while it has what was written."""
    owner = push.fields[path].owner if path in push.fields else "warehouse"
    field, there = of.field(path), compare.shown(of, live, path)
    if owner == "warehouse" or field is None or isinstance(there, compare.Seen):
        return True
    return compare.same(field, value, there)


def _immutable(entry: plan.Entry, fixed: list[str], of: writes.Object) -> plan.Entry:
    """Held until a person says what is to become of it."""
    choices: tuple[plan.Side, ...] = ("stripe",)
    text = f"{_never(fixed, of)}; correct the row, or choose `stripe` to leave the object as it is."
    if of.replacement is not None:
        choices = ("replace", "stripe")
        text = (
            f"{_never(fixed, of)}; choose `replace` to create a new one and {of.replacement.retire} "
            f"{entry.target}, or `stripe` to leave it as it is."
        )
    return replace(entry, kind="immutable", field=fixed[0], text=text, candidates=choices)


def _never(fixed: list[str], of: writes.Object) -> str:
    last = f" and {fixed[-1]}" if len(fixed) > 1 else ""
    return f"{', '.join(fixed[:-1] or fixed)}{last} of a {_called(of)} never changes"


def _called(of: writes.Object) -> str:
    return of.name.replace("_", " ")


def _failed(book: workbook.Workbook, wanted: mapping.Wanted) -> Iterator[list[plan.Entry]]:
    """The rows for which the push's function failed, with what it said."""
    if wanted.failed:
        for batch in book.batches("SELECT key, why FROM failed ORDER BY row", BATCH):
            yield [plan.Entry(row["key"], "", "invalid", text=row["why"]) for row in batch.to_pylist()]


def _removals(
    book: workbook.Workbook, push: config.Push, of: writes.Object, mirror: targets.Mirror
) -> Iterator[list[plan.Entry]]:
    """What becomes of objects whose rows are gone, where something does: of those alone that are linked."""
    if push.missing == "nothing":
        return
    sql = (
        "SELECT gone.key, linked.target, gone.was FROM gone JOIN linked USING (key) WHERE linked.gone = '' "
        "ORDER BY gone.key"
    )
    for batch in book.batches(sql, BATCH):
        rows = batch.to_pylist()
        live = mirror.objects([row["target"] for row in rows])
        yield [_removal(row, live[row["target"]], push, of) for row in rows if row["target"] in live]


def _removal(row: Mapping[str, Any], live: compare.Live, push: config.Push, of: writes.Object) -> plan.Entry:
    wanted: dict[str, str | None] = {}
    if push.missing == "clear":
        wanted = {
            path: ""
            for path, value in json.loads(row["was"] or "{}").items()
            if (told := of.field(path)) is not None and told.clearable and told.writable("update")
            if _is_ours(push, of, path, value, live)
        }
    elif push.missing == "flag":
        wanted = {push.flag: "true"}
    elif push.missing == "archive":
        wanted = {"active": "false"}
    changes = compare.compare(of, wanted, live, {}).changes
    if push.missing != "delete" and not changes:
        return plan.Entry(row["key"], "", "over", push.missing, row["target"])
    was = json.loads(row["was"] or "{}")  # an address may name what the object belongs to
    deletion = of.operations.get("delete")
    effect = deletion.effect if deletion is not None and push.missing == "delete" else ""
    return plan.Entry(row["key"], "", "remove", push.missing, row["target"], was, changes, text=effect)
