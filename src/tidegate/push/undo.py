"""The way back: what a run wrote, put back as the ledger noted it before each write; planned like everything else.

| what was done | what its undo does |
|---|---|
| a change of fields, or an archiving | what the fields had before, where the object still has what was written |
| a replacement, such as of a price | another replacement, which has the old values |
| a create | nothing, or an archiving or a delete, by choice; nothing where somebody may have been billed |
| a delete | nothing: Stripe brings nothing back |

What was changed since is held and left as it is, all of its row. An undo is an operation of the ledger like any
other: its bytes are committed before they are sent, it is recovered, and it has a before-image, so that it can be
undone itself. The hash of its row begins with `operations.UNDONE`: the row is then held until it changes or is
retried, so that the next run does not write at once what a person took back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from tidegate import config
from tidegate.catalog import writes
from tidegate.push import compare, forms, plan, recover, validity
from tidegate.store import links, operations, pushed

Created = Literal["leave", "archive", "delete"]
"""What becomes of objects that the run created."""
CREATED: tuple[Created, ...] = get_args(Created)
ACTION = "undo"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the rows of some operations, by key; objects by id, without those that are not there."""

    links: Mapping[str, links.Link]
    rows: Mapping[str, pushed.Row]
    live: Mapping[str, compare.Live]


def judge(
    push: config.Push,
    of: writes.Object,
    done: Iterable[operations.Operation],
    known: Known,
    created: Created = "leave",
) -> list[plan.Entry]:
    """What undoing these would do, an entry for each; `update` and `remove` are what is sent.

    `equal`: its fields are as they were already. `over`: it is left by choice. `held`: it was changed since.
    `unmatched`: it cannot be undone.
    """
    return [_judged(push, of, each, known, created) for each in done if each.action != "retire"]


def _judged(
    push: config.Push, of: writes.Object, done: operations.Operation, known: Known, created: Created
) -> plan.Entry:
    entry = plan.Entry(done.key, "", "held", target=done.target)
    link, row = known.links.get(done.key), known.rows.get(done.key)
    if done.object != of.name:
        text = f"It was a {done.object.replace('_', ' ')}, which {done.push} does not write any more."
        return replace(entry, verdict="unmatched", text=text)
    if done.action == "delete":
        return replace(entry, verdict="unmatched", text="It was deleted, and Stripe brings nothing back.")
    if done.action == "create":
        impossible = _never(of, created)
        if impossible is not None:
            return replace(entry, verdict=impossible[0], text=impossible[1])
    if link is None or link.target != done.target:
        text = "Its row is another object by now."
        return replace(entry, kind="shared", text=text)
    live = None if link.gone else known.live.get(done.target)
    if live is None:
        text = f"There is no {of.name.replace('_', ' ')} {done.target} any more."
        return replace(entry, kind="gone", text=text)
    told: dict[str, str] = json.loads(done.fields if row is None else row.fields)
    entry = replace(entry, hash=_hash(done, row), fields={**json.loads(done.fields), **told})
    if done.action == "create":
        return _uncreated(of, done, entry, live, created)
    return _put_back(push, of, done, entry, live)


def _never(of: writes.Object, created: Created) -> tuple[plan.Verdict, str] | None:
    """Why an object that was made stays; None where it goes."""
    name = of.name.replace("_", " ")
    if of.money:
        return "unmatched", f"Somebody may have been billed by it; see to the {name} in Stripe's dashboard."
    if created == "leave":
        return "over", f"This {name} was created; it stays (--created says otherwise)."
    ways = {"archive": of.archivable, "delete": of.deletable}
    if ways[created]:
        return None
    other = next((f"; --created {way} {way}s it" for way, possible in ways.items() if possible), "")
    return "unmatched", f"A {name} cannot be {created}d{other}."


def _uncreated(
    of: writes.Object, done: operations.Operation, entry: plan.Entry, live: compare.Live, created: Created
) -> plan.Entry:
    """Archive or delete what was made, where nobody has changed since what was written into it."""
    since, changes = [], {}
    for path, value in recover.leaves(forms.decode(done.body.encode())):
        field, there = of.field(path), compare.shown(of, live, path)
        if field is None or isinstance(there, compare.Seen):
            continue
        if not compare.same(field, value, there):
            since.append(path)
        elif there:
            changes[path] = compare.Change(there, "")
    if since:
        return _changed(entry, since)
    if created == "delete":
        effect = of.operations["delete"].effect
        return replace(entry, verdict="remove", action="delete", changes=changes, text=effect)
    there = compare.shown(of, live, "active")
    if there == "false":
        return replace(entry, verdict="equal", text="It is archived already.")
    return replace(
        entry, verdict="remove", action=ACTION, changes={"active": compare.Change("true", "false")}
    )


def _put_back(
    push: config.Push, of: writes.Object, done: operations.Operation, entry: plan.Entry, live: compare.Live
) -> plan.Entry:
    """The fields as they were before, all of them or none."""
    changes: dict[str, compare.Change] = {}
    since, stuck = [], []
    for path, before in _image(of, done).items():
        field, there = of.field(path), compare.shown(of, live, path)
        if field is None or isinstance(there, compare.Seen):
            stuck.append(path)
        elif compare.same(field, before, there):
            continue
        elif not compare.same(field, wrote(of, done, path), there):
            since.append(path)
        elif field.fields or (not before and not (field.clearable or field.whole)):
            stuck.append(path)
        else:
            changes[path] = compare.Change(there, before or "")
    if since:
        return _changed(entry, since)
    left = f"Stripe lets nobody put back {', '.join(stuck)}, which stays." if stuck else ""
    if not changes:
        return replace(
            entry, verdict="unmatched" if stuck or not done.before else "equal", text=left or _nothing(done)
        )
    fixed = any(of.fixed(path, change.before) for path, change in changes.items())
    way = "replace" if fixed and of.replacement is not None else ACTION
    if of.replacement is not None and way == "replace":
        problems = validity.check(of, "create", compare.replacement(of, changes, live))
        left = f"{entry.target} cannot change: a new one gets the old values, and it is {of.replacement.retire}d."
    else:
        problems = validity.check(of, "update", compare.sent(of, changes, live), live)
    if problems:
        return replace(entry, kind="invalid", field=problems[0].field, text=problems[0].sentence)
    fields = dict(entry.fields)
    for path, change in changes.items():
        if path in push.fields and (change.after or push.fields[path].null == "clear"):
            fields[path] = change.after
        else:
            fields.pop(path, None)
    return replace(entry, verdict="update", action=way, changes=changes, fields=fields, text=left)


def _image(of: writes.Object, done: operations.Operation) -> Mapping[str, str | None]:
    """What the fields had before, as text; None where they were empty. What is not known is left out."""
    before = done.before or {}
    if done.action != "replace":
        return before
    found = {path: compare.shown(of, before, path) for path in json.loads(done.fields)}
    return {path: there for path, there in found.items() if not isinstance(there, compare.Seen)}


def _nothing(done: operations.Operation) -> str:
    return "It is as it was already." if done.before else "What it had before is not known."


def _changed(entry: plan.Entry, since: list[str]) -> plan.Entry:
    text = f"Changed since: {', '.join(since)}; it stays as it is."
    return replace(entry, kind="conflict", field=since[0], text=text, changes={}, verdict="held")


def wrote(of: writes.Object, done: operations.Operation, path: str) -> str:
    """What an operation wrote into a field; the empty text where it cleared it."""
    value: object = forms.decode(done.body.encode())
    for step in forms.steps(of, path):
        value = value.get(step) if isinstance(value, Mapping) else None
    return compare.text(value) or ""


def _hash(done: operations.Operation, row: pushed.Row | None) -> str:
    """What is acknowledged of the row with the undo: held as undone, or no more where an undo is undone."""
    now = done.hash if row is None else row.hash
    if now.startswith(operations.UNDONE):
        redone = done.hash.startswith(operations.UNDONE)
        return now.removeprefix(operations.UNDONE) if redone else now
    return f"{operations.UNDONE}{now}" if now else ""
