"""What is left to do once a new object has taken the place of one that cannot change.

    replace: a new price, to which the row is linked -> its product names it -> the old price is archived

Each is an operation of its own, since Stripe takes one at a time. Killed in between, the ledger has a `replace`
that is done and no `retire` after it; the next run does the rest, by what Stripe has by then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tidegate.catalog import writes
from tidegate.push import compare, forms, intents
from tidegate.store import database, operations
from tidegate.stripe import client

MOST = 3
"""Operations that follow a replacement at most; what is left then waits for the next run."""


def unfinished(store: database.Database, push: str) -> list[operations.Operation]:
    """Replacements of a push whose old objects have not been retired yet, oldest first."""
    rows = store.execute(
        "SELECT id, key, action, target, status, response, before FROM operations "
        "WHERE push = :push AND action IN ('replace', 'retire') ORDER BY id",
        {"push": push},
    )
    # Something that is gone by itself need not be retired.
    retired = {
        (row["key"], row["target"]): row["id"]
        for row in rows
        if row["action"] == "retire"
        and (row["status"] == "done" or (row["status"], row["response"]) == ("refused", 404))
    }
    found = []
    for row in rows:
        if (row["action"], row["status"]) == ("replace", "done"):
            before = json.loads(row["before"] or "{}")
            if retired.get((row["key"], _old(before)), "") < row["id"]:
                found.append(operations.find(store, row["id"]))
    return [each for each in found if each is not None]


async def following(
    work: intents.Work, stripe: client.Client, replaced: operations.Operation
) -> operations.Intent:
    """The next thing to do after a replacement, as Stripe is now; the last one retires the old object."""
    of = work.of
    assert of.replacement is not None, "Others are never replaced."
    assert replaced.before is not None, "It was made from an old one."
    old, fields = _old(replaced.before), json.loads(replaced.fields)
    pointer = of.replacement.pointer
    above = replaced.before.get(pointer.via) if pointer is not None else None
    if pointer is not None and isinstance(above, str):
        other = writes.load()[pointer.object]
        path = other.operations["update"].on(above)
        live = await intents.retrieve(stripe, path)
        if live is not None and compare.shown(other, live, pointer.field) == old:
            return _intent(work, stripe, replaced, other, above, path, {pointer.field: replaced.target}, live)
    operation = of.operations[of.replacement.retire]
    path = operation.on(old, **{name: fields[name] for name in operation.placeholders[:-1]})
    seen: compare.Live = dict.fromkeys(operation.body, True) if operation.body else replaced.before
    return _intent(work, stripe, replaced, of, old, path, operation.body, seen)


def retires(work: intents.Work, intent: operations.Intent) -> bool:
    """Is it the last that follows a replacement?"""
    return intent.object == work.of.name


def _old(before: Mapping[str, Any]) -> str:
    return str(before.get("id", ""))


def _intent(
    work: intents.Work,
    stripe: client.Client,
    replaced: operations.Operation,
    of: writes.Object,
    target: str,
    path: str,
    fields: Mapping[str, str],
    live: compare.Live,
) -> operations.Intent:
    seen = {name: compare.shown(of, live, name) for name in fields or live}
    return operations.Intent(
        run=work.run,
        key=replaced.key,
        account=work.account,
        livemode=work.livemode,
        object=of.name,
        action="retire",
        method="POST" if fields else "DELETE",
        path=path,
        body=forms.encode(forms.tree(of, fields)).decode() if fields else "",
        api_version=stripe.api_version,
        target=target,
        version=work.version,
        before={name: value for name, value in seen.items() if value is not compare.UNSEEN},
    )
