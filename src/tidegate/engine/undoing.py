"""An undo from beginning to end: what a run of a push wrote is put back, as a run of its own.

What earlier runs left open is found out first, as before any push; what Stripe has is read, the way back is planned
and shown, and what is approved goes through the same ledger.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidegate import errors
from tidegate.engine import endings, mirrors, preparing, pushes, recorder, stopping
from tidegate.push import (
    apply,
    intents,
    lease,
    mapping,
    plan,
    recent,
    recover,
    sending,
    steps,
    targets,
    undo,
    workbook,
)
from tidegate.store import database, links, operations, pushed, records
from tidegate.stripe import client

SAID = 20
"""Reasons for which rows were not put back that a run's log names."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be undone: what a run did, or with `keys` what was done to these rows, by the last that did."""

    run: str | None
    keys: tuple[str, ...] = ()
    created: undo.Created = "leave"
    write: bool = False
    approve: bool = False
    limit: int | None = None
    approved: pushes.Approved | None = None
    """The writes of a plan that a person saw, by key: only these."""


@dataclass(slots=True)
class Result:
    """What an undo came to, in rows."""

    made: plan.Plan
    undone: str
    """The run whose writes these were; nothing where rows were named."""
    status: pushes.Status = "ok"
    rows: int = 0
    """Writes of the run."""
    restored: int = 0
    removed: int = 0
    """Created by the run, and archived or deleted."""
    equal: int = 0
    """As they were before already."""
    left: int = 0
    """Created by the run and left, or beyond a limit."""
    held: int = 0
    """Changed since."""
    impossible: int = 0
    failed: int = 0
    unknown: int = 0
    requests: int = 0
    why: Mapping[str, int] = field(default_factory=dict)
    error: str = ""

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        names = "rows restored removed equal left held impossible failed unknown requests"
        head = {"push": self.made.push, "run_id": self.made.run, "undone": self.undone, "status": self.status}
        counts = {name: getattr(self, name) for name in names.split()}
        return {**head, **counts, "guards": list(self.made.guards), "error": self.error}


def ended(record: recorder.Recorder, result: Result) -> endings.Ending:
    """How an undo ended that came to its end, told to its record as well."""
    for sentence, times in sorted(result.why.items(), key=lambda each: -each[1])[:SAID]:
        record.say(sentence if times == 1 else f"{sentence} ({times:,} rows)", level="warning")
    record.note(
        f"{result.undone or 'what was done to single rows'} was undone: {result.restored:,} put back, "
        f"{result.removed:,} archived or deleted, {result.held:,} changed since, {result.impossible:,} impossible"
    )
    names = ("restored", "removed", "held", "left", "impossible", "failed", "unknown", "requests")
    written = {"read": result.rows, "written": result.restored + result.removed}
    totals = {**written, **{name: getattr(result, name) for name in names}}
    if result.status == "held":
        error = " ".join(result.made.guards) or "Nobody approved it; nothing was put back."
        return endings.Ending("cancelled", error, leads=False, totals=totals)
    return endings.Ending(result.status, result.error, leads=False, totals=totals)


async def run(
    job: preparing.Job,
    store: database.Database,
    folder: Path,
    run_id: str,
    wish: Wish,
    *,
    shown: pushes.Shown = lambda _: None,
    seen: pushes.Seen = lambda _, __: True,
    progress: apply.Progress | None = None,
    listener: client.Listener | None = None,
) -> Result:
    """Plan the way back and, where that is wished and allowed, go it; `seen` is as for a push.

    Raises ConfigError where there is nothing to undo, and what `pushes.run` raises.
    """
    with lease.held(store, job.name) as held:
        if held is None:
            raise errors.StoreConflict(pushes.busy(store, job.name))
        with workbook.opened(folder, job.name, run_id) as book:
            async with pushes.acting(job, listener) as (stripe, account, livemode):
                pushes.same_place(job, store, account, livemode)
                sender = sending.Sender(stripe, held, times=job.push.retry.times)
                shown("reading what Stripe has")
                copy = mirrors.kept(
                    folder, job.push.connection, job.source, job.of, listener, account=account, said=shown
                )
                async with copy as mirror:
                    await recover.recover(stripe, held, sender, lambda _: mirror)
                    place = (account, livemode, job.of.name)
                    now = recent.Fresh(mirror, store, place, recent.asker(stripe, job.of))
                    await _plan(job, store, book, now, wish)
                result = await stopping.apart(
                    book, lambda: _counted(job, book, wish, run_id, account, livemode, mirror)
                )
                if not result.rows:
                    raise errors.ConfigError(_nothing(job.name, wish))
                await stopping.apart(book, lambda: _narrow(result, book, wish.approved))
                goes_on = await pushes.agreed(seen, result.made, book, wish.approved)
                if not wish.write:
                    return result
                if not goes_on or (result.made.guards and not wish.approve):
                    result.status = "held"
                    return result
                await _write(job, book, held, sender, stripe, result, wish, progress)
                return result


def _nothing(push: str, wish: Wish) -> str:
    what = f"of {wish.run} " if wish.run else ""
    rows = f" to {'this row' if len(wish.keys) == 1 else 'these rows'}" if wish.keys else ""
    return (
        f"nothing {what}was done{rows} by {push}; `tidegate undo {push}` lists the runs that wrote something"
    )


async def _plan(
    job: preparing.Job,
    store: database.Database,
    book: workbook.Workbook,
    mirror: targets.Mirror,
    wish: Wish,
) -> None:
    """Judge what was done, a page at a time, into the workbook."""
    await asyncio.to_thread(plan.begin, book)
    number = 1
    pages = records.done(store, job.name, wish.run, wish.keys)
    while some := await asyncio.to_thread(next, pages, None):
        known = await stopping.apart(book, functools.partial(_known, job, store, mirror, some))
        found = undo.judge(job.push, job.of, some, known, wish.created)
        number += await asyncio.to_thread(plan.note, book, found, number)
    steps.reached("undo planned")


def _known(
    job: preparing.Job,
    store: database.Database,
    mirror: targets.Mirror,
    done: Sequence[operations.Operation],
) -> undo.Known:
    keys = list({each.key for each in done})
    live = mirror.objects([each.target for each in done])
    return undo.Known(links.find(store, job.name, keys), pushed.find(store, job.name, keys), live)


def _counted(
    job: preparing.Job,
    book: workbook.Workbook,
    wish: Wish,
    run_id: str,
    account: str,
    livemode: bool,
    mirror: targets.Mirror,
) -> Result:
    """The plan, and how many rows it has of each kind."""
    rows = book.rows("SELECT verdict, count(*) FROM planned GROUP BY verdict")
    found = {str(verdict): int(str(count)) for verdict, count in rows}
    told = sum(found.values()) - found.get("remove", 0)
    counts = plan.Counts(
        source=told,
        unchanged=found.get("equal", 0) + found.get("over", 0),
        unmatched=found.get("unmatched", 0),
        held=found.get("held", 0),
        updated=found.get("update", 0),
        removed=found.get("remove", 0),
    )
    plan.balance(counts)
    guards = []
    if wish.created == "delete" and counts.removed > job.push.guard.max_removed:
        effect = job.of.operations["delete"].effect
        guards.append(
            f"{counts.removed:,} objects that were created would be deleted, and Stripe brings nothing back"
            f"{f': {effect}' if effect else ''}; {job.push.guard.max_removed:,} are allowed (guard.max_removed)."
        )
    writes = counts.updated + counts.removed
    rate = preparing.rate(job)
    made = plan.Plan(
        job.name,
        run_id,
        job.of.name,
        account,
        livemode,
        mapping.fingerprint(job.push, job.of),
        time.time(),
        mirror.caught_up_since,
        counts,
        tuple(guards),
        2 * writes,
        writes / rate if rate else 0.0,
    )
    return Result(
        made,
        wish.run or "",
        rows=sum(found.values()),
        equal=found.get("equal", 0),
        left=found.get("over", 0),
        held=found.get("held", 0),
        impossible=found.get("unmatched", 0),
    )


def _narrow(result: Result, book: workbook.Workbook, approved: pushes.Approved | None) -> None:
    """Of an approved plan only those writes are to be done that are the same still; the others are left."""
    if approved is None:
        return
    others = collections.Counter[str]()
    for each in plan.entries(book, *plan.WRITES):
        if not pushes.same(each, approved.get(each.key)):
            others[each.verdict] += 1
    if not others:
        return
    counts = result.made.counts
    fewer = dataclasses.replace(
        counts,
        updated=counts.updated - others["update"],
        removed=counts.removed - others["remove"],
        unchanged=counts.unchanged + others["update"],
    )
    result.made = dataclasses.replace(result.made, counts=fewer)
    result.left += others.total()
    result.why = {pushes.CHANGED: others.total()}


async def _write(
    job: preparing.Job,
    book: workbook.Workbook,
    held: lease.Lease,
    sender: sending.Sender,
    stripe: client.Client,
    result: Result,
    wish: Wish,
    progress: apply.Progress | None,
) -> None:
    made = result.made
    work = intents.Work(
        job.push, job.of, made.run, made.account, made.livemode, made.fingerprint, approved=True
    )
    applier = apply.Applier(work, stripe, held, sender)
    try:
        tally = await stopping.gently(
            applier.apply(pushes.only(plan.entries(book, *plan.WRITES), wish.approved), wish.limit, progress),
            sender.breaker,
        )
    finally:
        if progress is not None:
            progress(applier.tally)
    result.restored, result.removed = tally.updated, tally.removed
    result.equal += tally.equal
    result.left += tally.left + tally.not_begun
    result.held += tally.held + tally.quarantined
    result.failed, result.unknown = tally.failed + tally.not_removed, tally.unknown
    changed = bool(result.why)
    result.why = {**result.why, **tally.why}
    result.requests, result.error = tally.requests, sender.breaker.stopped
    done = tally.updated + tally.removed + tally.equal
    bad = result.failed + tally.unknown + tally.quarantined + tally.held
    if sender.breaker.stopped:
        result.status = "failed"
    elif bad:
        result.status = "partial" if done else "failed"
    elif changed:
        result.status = "partial"
