"""What a plan found out without any request, recorded before its writes are done."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pyarrow as pa

from tidegate.push import diff, intents, lease, loops, mapping, plan, shaping, steps, workbook
from tidegate.store import holds, links, pushed


def settle(book: workbook.Workbook, wanted: mapping.Wanted, held: lease.Lease, work: intents.Work) -> None:
    """Record what a plan found out without any request: what is equal, over, held, and not held any more."""
    store, fence = held.store, held.fence
    pushed.replace_many(store, fence, wanted.fingerprint, diff.renewed(book, wanted))
    steps.reached("renewed rows settled")
    for some in _chunks(plan.entries(book, "equal")):
        fine = []
        for chosen in (True, False):
            mine = [each for each in some if (each.key in work.chosen) is chosen]
            linked = links.link(store, fence, [intents.link(work, each) for each in mine], chosen=chosen)
            fine += [each for each, outcome in zip(mine, linked, strict=True) if outcome.state == "linked"]
        rows = {
            "key": [each.key for each in fine],
            "hash": [each.hash for each in fine],
            "fields": [json.dumps(dict(each.fields)) for each in fine],
        }
        batch = pa.RecordBatch.from_pydict(rows, diff.ACKNOWLEDGED)
        pushed.replace_many(store, fence, wanted.fingerprint, [batch])
        holds.close(store, fence, [each.key for each in fine], "Stripe has all of it")
    steps.reached("equal rows settled")
    for some in _chunks(plan.entries(book, "over")):
        pushed.forget(store, fence, [each.key for each in some])
    for keys in book.batches("SELECT key FROM resolved WHERE found = 'vanished'", holds.STEP):
        links.unlink(store, fence, keys.column(0).to_pylist())
    for some in _chunks(plan.entries(book, "held", "invalid")):
        if wanted.failed:  # what a function says of a row may quote its values
            kept = shaping.safe(book, [each.key for each in some])
            some = [replace(each, text=kept.get(each.key, each.text)) for each in some]
        openings = [
            _opening(each, wanted.fingerprint) for each in some if each.kind or each.verdict == "invalid"
        ]
        holds.open(store, fence, [each for each in openings if each is not None])
    steps.reached("held rows settled")
    loops.settle(store, fence, book)
    for keys in _released(book, holds.each(store, fence.push)):
        holds.close(store, fence, keys, "nothing is to be written any more")
    steps.reached("plan settled")


def _released(book: workbook.Workbook, held: Iterable[pa.RecordBatch]) -> Iterable[list[str]]:
    """The rows that are held, and that a plan has nothing to say of."""
    book.execute("CREATE OR REPLACE TABLE held (key VARCHAR)")
    for batch in held:
        book.insert("held", batch, "key")
    for batch in book.batches("SELECT key FROM held WHERE key NOT IN (SELECT key FROM planned)", holds.STEP):
        yield batch.column(0).to_pylist()


def _opening(entry: plan.Entry, version: str) -> holds.Opening:
    kind: Any = entry.kind or "invalid"
    return holds.Opening(
        entry.key,
        kind,
        entry.text,
        entry.hash,
        version,
        field=entry.field,
        candidates=entry.candidates,
        times=loops.REST + 1 if kind == loops.WATCHED else 1,
    )


def _chunks(entries: Iterable[plan.Entry]) -> Iterable[list[plan.Entry]]:
    some: list[plan.Entry] = []
    for each in entries:
        some.append(each)
        if len(some) == holds.STEP:
            yield some
            some = []
    if some:
        yield some
