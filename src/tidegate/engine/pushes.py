"""A push from beginning to end: whose account it is, what was left open, the mirror, the plan, and what it does.

Planning writes nothing to Stripe. The plan of a run is made anew each time, also where one was approved before: of
that only those writes are done that are the same by now. Where nothing is open and nothing of the model has
changed, Stripe is asked nothing at all.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tidegate import catalog, errors
from tidegate.engine import mirrors, preparing, stopping
from tidegate.pull import accounts, scope
from tidegate.pull import plan as pull_plan
from tidegate.push import (
    apply,
    evidence,
    intents,
    lease,
    mapping,
    plan,
    recent,
    recover,
    replacing,
    sending,
    settle,
    targets,
    watch,
    workbook,
)
from tidegate.store import database, fences, operations, runs
from tidegate.stripe import client

Status = Literal["ok", "partial", "failed", "held"]
"""`held`: a guard keeps the plan from being done until somebody approves it."""
Approved = Mapping[str, plan.Entry]
CHANGED = "It changed since the plan was made, and is left; plan it again."


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of a run."""

    write: bool = False
    """Do it, not only plan it."""
    approve: bool = False
    """Whatever the guards say."""
    approved: Approved | None = None
    """The writes of a plan that a person saw, by key: only these."""
    limit: int | None = None
    """Writes at most."""
    repair: bool = False
    """Write also what somebody else has changed at Stripe since it was acknowledged."""


@dataclass(slots=True)
class Result:
    """What a run of a push came to."""

    made: plan.Plan
    status: Status
    counts: plan.Counts
    failed: int = 0
    unknown: int = 0
    requests: int = 0
    recovered: int = 0
    """Operations of earlier runs that were decided first."""
    undecided: int = 0
    """Those that still are not."""
    left: int = 0
    """Rows among the held that could be written: beyond a limit, changed since they were approved, not come to."""
    why: Mapping[str, int] = field(default_factory=dict)
    """Sentences about rows that were not written, and how often."""
    error: str = ""

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        counts = asdict(self.counts)
        told = {"failed": self.failed, "unknown": self.unknown, "requests": self.requests, "left": self.left}
        head = {"push": self.made.push, "run_id": self.made.run, "status": self.status}
        keys = {
            "doubled": list(self.made.doubled),
            "doubles": self.made.doubles,
            "keyless": self.made.keyless,
        }
        return {**head, **counts, **told, **keys, "guards": list(self.made.guards), "error": self.error}


Shown = Callable[[str], object]
Rows = Callable[..., Iterator[plan.Entry]]
"""Gives the rows of a plan, of the verdicts that it is called with."""
Seen = Callable[[plan.Plan, Rows], bool | Awaitable[bool]]


async def run(
    job: preparing.Job,
    store: database.Database,
    folder: Path,
    run_id: str,
    wish: Wish,
    *,
    shown: Shown = lambda _: None,
    seen: Seen = lambda _, __: True,
    progress: apply.Progress | None = None,
    listener: client.Listener | None = None,
) -> Result:
    """Plan a push and, where that is wished and allowed, do it.

    `seen` is given the plan and its rows before anything is done, and says whether to go on. Raises ConfigError,
    Unauthorized, Unreachable, WarehouseError and StoreError when nothing could be planned, and so nothing written.
    Cancelled, it sends nothing more, and ends within `stopping.GRACE` seconds.
    """
    with lease.held(store, job.name) as held:
        if held is None:
            raise errors.StoreConflict(busy(store, job.name))
        with workbook.opened(folder, job.name, run_id) as book:
            compared, place = None, None
            if not wish.repair and not await asyncio.to_thread(operations.undecided, store, job.name):
                shown("reading the model")
                compared = await stopping.apart(book, lambda: preparing.compared(job, store, book))
                place = await asyncio.to_thread(fences.place, store, job.name)
            unfinished = await asyncio.to_thread(replacing.unfinished, store, job.name)
            settled = compared is not None and not compared.asks(job.push) and not unfinished
            if compared is not None and place is not None and settled:
                planning = functools.partial(preparing.planned, job, store, book, compared, targets.Nothing())
                made = await stopping.apart(book, functools.partial(planning, run_id, *place))
                return await _done(
                    job, book, made, Result(made[0], "ok", made[0].counts), held, None, wish, seen
                )
            async with acting(job, listener) as (stripe, account, livemode):
                same_place(job, store, account, livemode)
                sender = sending.Sender(stripe, held, times=job.push.retry.times)
                shown("reading what Stripe has")
                copy = mirrors.kept(
                    folder, job.push.connection, job.source, job.of, listener, account=account, said=shown
                )
                async with copy as mirror:
                    decided: Sequence[recover.Decision] = ()
                    if wish.write:
                        decided = await recover.recover(stripe, held, sender, lambda _: mirror)
                    fresh = recent.Fresh(
                        mirror, store, (account, livemode, job.of.name), recent.asker(stripe, job.of)
                    )
                    if compared is None:
                        shown("reading the model")
                        drifted = fresh if wish.repair else None
                        compared = await stopping.apart(
                            book, lambda: preparing.compared(job, store, book, drifted)
                        )
                    planning = functools.partial(preparing.planned, job, store, book, compared, fresh)
                    made = await stopping.apart(book, functools.partial(planning, run_id, account, livemode))
                result = Result(made[0], "ok", made[0].counts)
                still = await asyncio.to_thread(operations.undecided, store, job.name)
                result.undecided = sum(each.status != "intent" for each in still)
                result.recovered = sum(each.kind in ("done", "void", "refused") for each in decided)
                return await _done(job, book, made, result, held, (stripe, sender), wish, seen, progress)


async def _done(
    job: preparing.Job,
    book: workbook.Workbook,
    made: tuple[plan.Plan, mapping.Wanted],
    result: Result,
    held: lease.Lease,
    ways: tuple[client.Client, sending.Sender] | None,
    wish: Wish,
    seen: Seen,
    progress: apply.Progress | None = None,
) -> Result:
    """Show a plan, and do it where that is wished and allowed; without `ways` to Stripe it has nothing to send."""
    _, wanted = made
    await stopping.apart(book, lambda: _narrow(result, book, wish.approved))
    found = result.made
    goes_on = await agreed(seen, found, book, wish.approved)
    if wish.write and goes_on:
        await _write(job, book, wanted, held, ways, result, wish, progress)
    elif found.guards or not goes_on:
        result.status = "held"
    return result


async def agreed(
    seen: Seen, found: plan.Plan, book: workbook.Workbook, approved: Approved | None = None
) -> bool:
    """Show a plan, or what is still so of an approved one, to whoever is to see it; does it go on?"""
    said = seen(found, lambda *verdicts: only(plan.entries(book, *verdicts), approved))
    return await said if inspect.isawaitable(said) else said


async def _write(
    job: preparing.Job,
    book: workbook.Workbook,
    wanted: mapping.Wanted,
    held: lease.Lease,
    ways: tuple[client.Client, sending.Sender] | None,
    result: Result,
    wish: Wish,
    progress: apply.Progress | None,
) -> None:
    made = result.made
    if made.guards and not wish.approve:
        result.status = "held"
        return
    _, chosen, _ = await asyncio.to_thread(preparing.held_rows, held.store, job.name)
    work = intents.Work(
        job.push,
        job.of,
        made.run,
        made.account,
        made.livemode,
        wanted.fingerprint,
        wish.approved is not None,
        frozenset(chosen),
    )
    await asyncio.to_thread(fences.bound, held.store, held.fence, made.account, made.livemode)
    await stopping.apart(book, lambda: settle.settle(book, wanted, held, work))
    if ways is None:
        return
    stripe, sender = ways
    unfinished = await asyncio.to_thread(replacing.unfinished, held.store, job.name)
    entries = only(plan.entries(book, *plan.WRITES), wish.approved)
    watching = watch.Watch(stripe, job.push, job.of, job.name, made.mirror_at)
    if watch.needed(job.push, job.of):
        work = replace(work, appeared=watching.appeared)
    applier = apply.Applier(work, stripe, held, sender)
    entries = stopping.unstopped(entries, sender.breaker)
    try:
        tally = await stopping.gently(
            applier.apply(entries, wish.limit, progress, unfinished), sender.breaker
        )
    finally:
        await watching.close()
        if progress is not None:
            progress(applier.tally)
    changed = bool(result.why)
    result.left += tally.left
    counts = counted(made.counts, tally)
    result.counts = replace(counts, held=counts.held + tally.left)
    result.failed, result.unknown, result.requests = tally.failed, tally.unknown, tally.requests
    result.why = {**result.why, **tally.why}
    result.error = sender.breaker.stopped
    done = tally.created + tally.updated + tally.removed + tally.equal
    bad = tally.failed + tally.unknown + tally.quarantined + tally.held + tally.not_removed
    plan.balance(result.counts, tally.failed + tally.unknown)
    if sender.breaker.stopped:
        result.status = "failed"
    elif bad:
        result.status = "partial" if done else "failed"
    elif changed:
        result.status = "partial"


def counted(rows: plan.Counts, tally: apply.Tally) -> plan.Counts:
    """Where rows went that were to be written, beside those for which there was nothing to do."""
    return replace(
        rows,
        created=tally.created,
        updated=tally.updated,
        removed=tally.removed,
        unchanged=rows.unchanged + tally.equal,
        held=rows.held + tally.held,
        quarantined=rows.quarantined + tally.quarantined,
    )


def busy(store: database.Database, name: str) -> str:
    """Who has a push that somebody else runs."""
    run = runs.alive(store, f"push:{name}")
    if run is None or run.state != "running":
        return f"{name} is just being run by another process; wait until that has ended."
    return (
        f"{name} is just being run ({run.id}); `tidegate logs -f {run.id}` shows it, `tidegate cancel {run.id}` "
        "ends it."
    )


def _narrow(result: Result, book: workbook.Workbook, approved: Approved | None) -> None:
    """Of an approved plan only those writes are to be done that are the same still; the others are left."""
    if approved is None:
        return
    made = result.made
    others = collections.Counter[str]()
    for each in plan.entries(book, *plan.WRITES):
        if not same(each, approved.get(each.key)):
            others[each.verdict] += 1
    if not others:
        return
    counts = made.counts
    result.left = others["create"] + others["update"]
    fewer = replace(
        counts,
        created=counts.created - others["create"],
        updated=counts.updated - others["update"],
        removed=counts.removed - others["remove"],
        held=counts.held + result.left,
    )
    writes = counts.created + counts.updated + counts.removed
    part = 1 - others.total() / writes
    result.why = {CHANGED: others.total()}
    result.counts = fewer
    result.made = replace(
        made, counts=fewer, requests=round(made.requests * part), seconds=made.seconds * part
    )


def only(entries: Iterable[plan.Entry], approved: Approved | None) -> Iterator[plan.Entry]:
    """A plan's rows without those writes that a person did not approve, or that are not the same any more."""
    for each in entries:
        if approved is None or each.verdict not in plan.WRITES or same(each, approved.get(each.key)):
            yield each


def same(entry: plan.Entry, approved: plan.Entry | None) -> bool:
    """Is a write the one that was approved: the same action on the same object, from and to the same values?"""
    told = [
        None if each is None else (each.verdict, each.action, each.target, dict(each.changes))
        for each in (entry, approved)
    ]
    return told[0] == told[1]


def same_place(job: preparing.Job, store: database.Database, account: str, livemode: bool) -> None:
    """Raises StoreError where the push wrote to another account, or in another mode, before."""
    before = fences.place(store, job.name)
    if before is not None and before != (account, livemode):
        mode = "live" if before[1] else "test"
        raise errors.StoreError(
            f"{job.name} writes to {before[0]} in {mode} mode, and this key is of {account} in "
            f"{'live' if livemode else 'test'} mode; use that account's key, or give the push another name."
        )


@contextlib.asynccontextmanager
async def acting(
    job: preparing.Job, listener: client.Listener | None
) -> AsyncIterator[tuple[client.Client, str, bool]]:
    """A client for the account that is written to, its id, and whether that is live."""
    async with scope.connect(job.source, listener) as stripe:
        acting = stripe
        if job.push.account:
            acting = accounts.acting(stripe, job.source, job.push.account)
        livemode = evidence.decoded(await acting.get("/v1/balance")).get("livemode") is True
        wanted = pull_plan.plan(catalog.load().streams, (job.of.stream,)) if job.of.stream else None
        nodes = [] if wanted is None else [walk.node for walk in wanted.walks]
        account = job.push.account or await accounts.identify(stripe, job.source, nodes)
        if not job.push.account:
            stripe.pace.belongs_to(account)
            stripe.pace.whose = account
        yield acting, account.rpartition("/")[2], livemode
