"""What a planned write is when its time has come: looked at once more, then put into the bytes of a request.

Nothing is sent from here; it asks Stripe for what it has by now. Where that is not what the plan was made of, the
row is left for the next plan.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tidegate import config, errors
from tidegate.catalog import writes
from tidegate.push import compare, evidence, forms, plan, targets, validity
from tidegate.store import claims, links, operations
from tidegate.stripe import client, pages

EXACT = {
    ("customer", "email"): "email",
    ("price", "lookup_key"): "lookup_keys[]",
    ("promotion_code", "code"): "code",
}
"""By which parameter a list is asked for an object that has a value: where Stripe tells exactly, and at once."""


@dataclass(frozen=True, slots=True)
class Work:
    """What the writes of one run share."""

    push: config.Push
    of: writes.Object
    run: str
    account: str
    livemode: bool
    version: str
    """The fingerprint of the mapping."""
    approved: bool
    """A person saw this very plan: what is different by now is not written."""
    chosen: frozenset[str] = frozenset()
    """The rows whose object a person chose."""
    appeared: Callable[[Mapping[str, str]], Awaitable[bool]] | None = None
    """Tells whether somebody else made an object with such values since the plan; see `push.watch`."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a planned write is by now; `requests` is what it took to see."""

    what: Literal["intent", "held", "gone", "equal"]
    """`held`: Stripe has changed since. `gone`: its object is. `equal`: Stripe has all of it already."""
    intent: operations.Intent | None = None
    sentence: str = ""
    requests: int = 0


async def look(work: Work, stripe: client.Client, entry: plan.Entry) -> Look:
    """What is to be sent for an entry of the plan, as Stripe is now; raises what kept it from looking."""
    if entry.verdict == "create":
        return await _creating(work, stripe, entry)
    replacement = work.of.replacement if entry.action == "replace" else None
    operation = work.of.operations[
        "delete" if entry.action == "delete" or not work.of.updatable else "update"
    ]
    above = {name: entry.fields[name] for name in operation.placeholders[:-1]}
    path = operation.on(entry.target, **above)
    live = await retrieve(stripe, path, () if replacement is None else replacement.expand)
    if live is None:
        return Look(
            "gone", sentence=f"{entry.target} was deleted at Stripe; it is not made again.", requests=1
        )
    found = entry.key in work.chosen or _agrees(work, entry.match, live)
    changes = _still(work, entry, live) if found else None
    if changes is None:
        said = "Its object was changed at Stripe since the plan; the next plan shows it."
        return Look("held", sentence=said, requests=1)
    if entry.action == "delete":
        before = _image(work.of, entry, live)
        return Look(
            "intent", _intended(work, stripe, entry, "delete", "DELETE", path, b"", before), requests=1
        )
    if not changes:
        return Look("equal", requests=1)
    if any(work.of.fixed(path, change.before) for path, change in changes.items()):
        return _replacing(work, stripe, entry, changes, live)
    fields = compare.sent(work.of, changes, live)
    return Look("intent", _written(work, stripe, entry, entry.action, fields, live), requests=1)


async def _creating(work: Work, stripe: client.Client, entry: plan.Entry) -> Look:
    """A create, unless there is an object by now that it would double; asked where Stripe can tell exactly."""
    asked = 0
    fields = {path: change.after for path, change in entry.changes.items() if change.after is not None}
    for match in work.push.match:
        name = EXACT.get((work.of.name, match))
        if name is None or match not in fields or entry.key in work.chosen:
            continue
        value: str | list[str] = [fields[match]] if name.endswith("[]") else fields[match]
        asked += 1
        answer = await stripe.get(work.of.operations["create"].path, {name: value, "limit": 100})
        page = evidence.decoded(answer)
        # A server that knows no such parameter answers with everything.
        obeyed = all(str(each.get(match)).lower() == fields[match].lower() for each in page["data"])
        more = page.get("has_more") and obeyed
        if more or any(_agrees(work, fields, each) for each in page["data"]):
            said = "An object that matches it appeared since the plan; the next plan has it."
            return Look("held", sentence=said, requests=asked)
    if work.appeared is not None and entry.key not in work.chosen and await work.appeared(fields):
        said = "An object that matches it appeared since the plan; the next plan has it."
        return Look("held", sentence=said, requests=asked)
    return Look("intent", _written(work, stripe, entry, "create", fields, None), requests=asked)


def _replacing(
    work: Work,
    stripe: client.Client,
    entry: plan.Entry,
    changes: Mapping[str, compare.Change],
    live: compare.Live,
) -> Look:
    """A new object in the place of one that cannot change, with all that this one has beside the changes."""
    fields = compare.replacement(work.of, changes, live)
    problems = validity.check(work.of, "create", fields)
    if entry.action != "replace" or problems:
        said = problems[0].sentence if problems else "It would be replaced, and the plan does not say so."
        return Look("held", sentence=said, requests=1)
    return Look("intent", _written(work, stripe, entry, "replace", fields, live), requests=1)


async def retrieve(stripe: client.Client, path: str, expand: Sequence[str] = ()) -> dict[str, Any] | None:
    """An object by its address; None where there is none, or no longer."""
    params: pages.Params = {"expand[]": list(expand)} if expand else {}
    try:
        found = evidence.decoded(await stripe.get(path, params))
    except errors.Missing:
        return None
    return None if found.get("deleted") else found


def _still(work: Work, entry: plan.Entry, live: compare.Live) -> dict[str, compare.Change] | None:
    """The changes that are left; None where Stripe has changed since and the row waits for another plan."""
    left = {}
    for path, change in entry.changes.items():
        told = work.of.field(path)
        there = compare.shown(work.of, live, path)
        if told is None or there is compare.UNSEEN:
            left[path] = change
            continue
        now = there if isinstance(there, str) else None
        if compare.same(told, change.after, now):
            continue
        owner = work.push.fields[path].owner if path in work.push.fields else "warehouse"
        if not compare.same(told, change.before, now) and (work.approved or owner != "warehouse"):
            return None
        left[path] = replace(change, before=now)
    return left


def _written(
    work: Work,
    stripe: client.Client,
    entry: plan.Entry,
    action: str,
    fields: Mapping[str, str],
    live: compare.Live | None,
) -> operations.Intent:
    of = work.of
    before = _image(of, entry, live)
    if action == "replace":
        pointer = of.replacement.pointer if of.replacement is not None else None
        via = {} if pointer is None else {pointer.via: compare.text((live or {}).get(pointer.via))}
        before = {"id": entry.target, **via, **(before or {})}
    intent = _intended(work, stripe, entry, action, "POST", "", b"", before)
    if action in ("create", "replace"):
        operation = of.operations["create"]
        path = operation.address(**{name: fields[name] for name in operation.placeholders})
        marked = {**fields, f"metadata.{targets.MARK}": intent.id} if of.metadata else fields
        tree = forms.tree(of, marked, creating=True)
    else:
        operation = of.operations["update"]
        path = operation.on(entry.target, **{name: fields[name] for name in operation.placeholders[:-1]})
        tree = forms.tree(of, fields)
        if of.name == "subscription":
            tree.setdefault("proration_behavior", work.push.proration)
    body = forms.encode({**tree, **operation.body}).decode()
    return replace(intent, path=path, body=body, claims=_claims(work, fields, live))


def _claims(work: Work, fields: Mapping[str, str], live: compare.Live | None) -> tuple[claims.Claim, ...]:
    """What the object is found by from now on, all of it as one; nothing where a write leaves that as it is."""
    if not any(path in fields for path in work.push.match):
        return ()
    values = []
    for path, told in sorted(work.push.match.items()):
        value = fields.get(path) if path in fields or live is None else compare.shown(work.of, live, path)
        if not isinstance(value, str) or not value:
            return ()
        values.append(_folded(told, path, value))
    value = values[0] if len(values) == 1 else json.dumps(values)
    return (
        claims.Claim(work.account, work.livemode, work.of.name, ",".join(sorted(work.push.match)), value),
    )


def _intended(
    work: Work,
    stripe: client.Client,
    entry: plan.Entry,
    action: str,
    method: str,
    path: str,
    body: bytes,
    before: Mapping[str, Any] | None,
) -> operations.Intent:
    return operations.Intent(
        run=work.run,
        key=entry.key,
        account=work.account,
        livemode=work.livemode,
        object=work.of.name,
        action=action,
        method=method,
        path=path,
        body=body.decode(),
        api_version=stripe.api_version,
        target="" if action == "replace" else entry.target,
        hash=entry.hash,
        fields=json.dumps(dict(entry.fields)),
        version=work.version,
        before=before,
        chosen=entry.key in work.chosen,
    )


def link(work: Work, entry: plan.Entry) -> links.Link:
    """The link of a row to the object that it was found to be."""
    return links.Link(entry.key, work.account, work.livemode, work.of.name, entry.target)


def _image(of: writes.Object, entry: plan.Entry, live: compare.Live | None) -> dict[str, Any] | None:
    """What an object has of what is written, for an undo; all of it where it is deleted.

    None is empty. What an answer does not show is left out.
    """
    if live is None:
        return None
    if entry.action == "delete":
        return dict(live)
    found = {}
    for path in entry.changes:
        there = compare.shown(of, live, path)
        if there is not compare.UNSEEN:
            found[path] = there
    return found


def _agrees(work: Work, fields: Mapping[str, str], live: compare.Live) -> bool:
    """Has an object all that a row is matched by, as far as it shows it?"""
    for path, match in work.push.match.items() if fields else ():
        there = compare.shown(work.of, live, path)
        if there is None or (isinstance(there, str) and path in fields):
            same = _folded(match, path, there or "") == _folded(match, path, fields.get(path, ""))
            if not same:
                return False
    return True


def _folded(match: config.Match, path: str, value: str) -> str:
    return value.strip().lower() if match.folded(path) else value
