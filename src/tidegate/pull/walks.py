"""All walks of one account, side by side, and what becomes of each: streams fail one by one, the others go on.

Only a rejected key and a warehouse that refuses end everything.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from tidegate import errors
from tidegate.pull import backfill, endings, orphans, parents, plan, reading, relist, report, sweep
from tidegate.stripe import client

ABSENT = 86_400
"""Seconds after which a list that the account does not have is asked for again, unless it was named."""
DENIED = 3_600
"""Seconds after which those who watch ask again for a list that the key may not read."""


async def read(
    shared: reading.Reading, wanted: Sequence[plan.Walk], saved: Mapping[str, str], entries: relist.Entries
) -> None:
    """Read every list that is due, each after the streams that it needs; the pace decides who is served when.

    `saved` is the state that earlier pulls left. A list that was read whole once is not read again, unless
    `entries` say so; those that are done with, rows that are gone included, are struck out. Raises Unauthorized
    or WarehouseError.
    """
    left = dict.fromkeys(shared.targets, 0)
    for walk in wanted:
        for name in walk.node.streams():
            left[name] += 1
    for name, count in left.items():
        shared.targets[name].outcome.lists = count
    ready = {name: asyncio.Event() for name, walks in left.items() if walks}
    awaited = {name for walk in wanted for name in walk.after}
    begun: dict[str, int] = {}
    asked: dict[str, int | None] = {}
    unread: dict[str, tuple[report.Status, str]] = {}
    before = _put_aside(shared)

    async def one(walk: plan.Walk) -> None:
        for name in walk.after:
            await ready[name].wait()
        names = list(walk.node.streams())
        for name in names:
            asked.setdefault(name, entries[name].since if name in entries else None)
        begun[walk.name] = await _attempt(shared, walk, saved, entries, unread)
        if awaited.intersection(names):
            await shared.sink.flush()  # children find their parents in the warehouse
        for name in names:
            left[name] -= 1
            if not left[name]:
                outcome = shared.targets[name].outcome
                if name in entries and entries[name].since == asked[name]:  # else it is out of date again
                    with shared.flight():
                        await _strike_out(shared, name, wanted, entries, begun)
                if outcome.status != "ok":
                    unread[name] = outcome.status, outcome.error
                outcome.status, outcome.error = before.pop(name, (outcome.status, outcome.error))
                ready[name].set()
                outcome.done = True
                shared.screen.finished(name, outcome.status, outcome.error)

    meter = asyncio.create_task(_meter(shared))
    try:
        async with asyncio.TaskGroup() as group:
            for walk in wanted:
                group.create_task(one(walk))
    except* errors.TidegateError as failures:
        raise first(failures) from None
    finally:
        meter.cancel()
        for name, (state, error) in before.items():
            shared.targets[name].outcome.status, shared.targets[name].outcome.error = state, error


def _put_aside(shared: reading.Reading) -> dict[str, tuple[report.Status, str]]:
    """What went wrong before the lists are read: an object that cannot be read keeps no list from being read."""
    found: dict[str, tuple[report.Status, str]] = {}
    for name, target in shared.targets.items():
        if target.outcome.status != "ok":
            found[name] = target.outcome.status, target.outcome.error
            target.outcome.status, target.outcome.error = "ok", ""
    return found


def status(error: errors.TidegateError) -> report.Status:
    """What an error makes of a stream."""
    if isinstance(error, errors.PermissionMissing):
        return "no_permission"
    return "not_enabled" if isinstance(error, errors.NotEnabled) else "failed"


def refuses_expand(error: errors.TidegateError, walk: plan.Walk) -> bool:
    """Is it what the list was asked to expand that is refused, not the list?"""
    if isinstance(error, errors.PermissionMissing):
        return error.permission not in {"", walk.node.stream.permission} and any(walk.node.expand())
    return reading.refuses_expand(error)


def first(failures: BaseExceptionGroup[errors.TidegateError]) -> errors.TidegateError:
    """The first error of a group, however deep."""
    error = failures.exceptions[0]
    return first(error) if isinstance(error, BaseExceptionGroup) else error


async def _meter(shared: reading.Reading) -> None:
    """Show the budget every second."""
    while True:
        pace = shared.client.pace
        shared.screen.budget(pace.rate(), pace.account.allowed or 0.0)
        await asyncio.sleep(1)


async def _strike_out(
    shared: reading.Reading,
    name: str,
    wanted: Sequence[plan.Walk],
    entries: relist.Entries,
    begun: Mapping[str, int],
) -> None:
    """A stream that had to be listed again was: what it has no more goes, and the entry with it.

    `begun` says when the reading of each list began: what is older than that and was not read is not there.
    """
    if name not in entries or shared.targets[name].outcome.status != "ok":
        return
    await shared.sink.flush()
    since = min((begun[walk.name] for walk in wanted if name in walk.node.streams()), default=0)
    entry = msgspec.structs.replace(entries[name], since=max(since, entries[name].since))
    try:
        gone = await sweep.whole(shared, shared.streams[name], entry)
        await sweep.older(shared, shared.streams[name], entry)
        below = await orphans.swept(shared, shared.streams[name], entry)
        below += await endings.left_open(shared, shared.streams[name], entry)
    except errors.Unauthorized:
        raise
    except (errors.StripeError, errors.BadPage, errors.Unreachable) as error:
        _fail([shared.targets[name].outcome], status(error), str(error))
        return
    if gone.held:
        shared.targets[name].outcome.fail("partial", gone.held)
    done = entries.pop(name)
    walks = (walk for walk in wanted if name in walk.kept and relist.of(entries, walk) is None)
    state: dict[str, str | None] = {backfill.key(shared.account, walk, again=True): None for walk in walks}
    state[relist.key(shared.account)] = relist.text(entries)
    state |= gone.state
    shared.done(name, done, state)
    shared.sink.add([*gone.cargo, *below], "", None, state=state)


async def _attempt(
    shared: reading.Reading,
    walk: plan.Walk,
    saved: Mapping[str, str],
    entries: relist.Entries,
    unread: Mapping[str, tuple[report.Status, str]],
) -> int:
    """Read one list, and say when that reading began; what Stripe refuses becomes the outcome of the streams.

    A walk goes on without the nested lists that the key may not see or that this Stripe does not have, and without
    `expand[]` where this Stripe refuses it. `unread` are the streams of which not every list was read.
    """
    now = shared.client.clock.now()
    left_out = _closed(shared, walk, now)
    plain, told, began, tries = False, False, 0, 0
    while (less := plan.leaving_out(walk, left_out)) is not None:
        outcomes = {name: shared.targets[name].outcome for name in less.node.streams()}
        job = _job(shared, less, saved, entry := relist.of(entries, less))
        if job is None:
            return 0 if entry is None else _begun(shared, less, saved)
        for name in less.after:
            if name in unread:
                cause, why = unread[name]
                state: report.Status = "failed" if cause == "partial" else cause
                _fail(outcomes.values(), state, f"needs {name} to be complete: {why}")
                return 0
        if not told:
            told = True
            for name in outcomes:
                shared.screen.started(name, shared.account)
            if (shut := _shut(shared, walk.name, set(outcomes), now)) is not None:
                _fail(outcomes.values(), shut.status, shut.error)
                return 0
        mark = job.unfinished(saved.get(backfill.key(shared.account, walk, again=job.apart)), now)
        key = backfill.key(shared.account, walk, again=job.apart)
        trip = reading.Trip(
            shared, job.walk, _tally(shared, job.walk), key, plain, sweeps=job.again or tries > 0
        )
        tries += 1
        began = shared.client.clock.now() if mark is None else mark.since
        _return(entries, outcomes)
        error = await _read(trip, job, mark)
        if error is None:
            _close(shared, walk, trip, now)
            return began
        refused = plan.without(less, getattr(error, "permission", ""))
        if isinstance(error, errors.PermissionMissing) and refused is not None:
            gone = set(less.kept) - set(refused.kept)
            _fail((outcomes[name] for name in gone), "no_permission", str(error))
            _deny(entries, gone)
            if shared.patient:
                closed = reading.Shut(now + DENIED, "no_permission", str(error))
                shared.shut.update({_below(walk, name): closed for name in gone})
            left_out |= gone
        elif refuses_expand(error, less) and not plain:
            shared.screen.note(f"{walk.name}: reading on without what is only told when asked for; {error}")
            plain = True
        else:
            _fail(outcomes.values(), status(error), str(error))
            if isinstance(error, errors.NotEnabled) and not set(outcomes) & shared.named:
                shared.shut[walk.name] = reading.Shut(now + ABSENT, "not_enabled", str(error))
            elif isinstance(error, errors.PermissionMissing):
                _deny(entries, outcomes)
                if shared.patient:
                    shared.shut[walk.name] = reading.Shut(now + DENIED, "no_permission", str(error))
            return 0
    return 0


def _return(entries: relist.Entries, names: Iterable[str]) -> None:
    """From here on the events of streams that could not be read count again: what they tell is read by itself."""
    for name in names:
        if name in entries and entries[name].reason == relist.DENIED:
            entries[name] = msgspec.structs.replace(entries[name], reason=relist.RETURNED)


def _deny(entries: relist.Entries, names: Iterable[str]) -> None:
    for name in names:
        if name in entries and entries[name].reason == relist.RETURNED:
            entries[name] = msgspec.structs.replace(entries[name], reason=relist.DENIED)


def _shut(shared: reading.Reading, walk: str, names: Collection[str], now: int) -> reading.Shut | None:
    """Is a list known to be refused? One that was named is asked for all the same, if it was only absent."""
    found = shared.shut.get(walk)
    if found is None or not now < found.until <= now + max(ABSENT, DENIED):
        shared.shut.pop(walk, None)
        return None
    return None if found.status == "not_enabled" and shared.named.intersection(names) else found


def _below(walk: plan.Walk, stream: str) -> str:
    """The name under which a nested list of a walk is noted as refused."""
    return f"{walk.name}+{stream}"


def _closed(shared: reading.Reading, walk: plan.Walk, now: int) -> set[str]:
    """The streams of nested lists that are known to be refused: asking anew would take the whole list."""
    closed: set[str] = set()
    for name in walk.node.streams():
        if (shut := _shut(shared, _below(walk, name), (), now)) is not None:
            _fail([shared.targets[name].outcome], shut.status, shut.error)
            closed.add(name)
    return closed


def _close(shared: reading.Reading, walk: plan.Walk, trip: reading.Trip, now: int) -> None:
    """Remember which nested lists this Stripe turned out not to have."""
    for name in trip.missing:
        outcome = shared.targets[name].outcome
        shared.shut[_below(walk, name)] = reading.Shut(now + ABSENT, outcome.status, outcome.error)


def _begun(shared: reading.Reading, walk: plan.Walk, saved: Mapping[str, str]) -> int:
    """When the reading of a list began that an earlier pull brought to its end."""
    keys = [backfill.key(shared.account, walk, again=again) for again in (True, False)]
    progress = backfill.progress(next((saved[key] for key in keys if key in saved), ""))
    return 0 if progress is None else progress.since


def _job(
    shared: reading.Reading, walk: plan.Walk, saved: Mapping[str, str], entry: relist.Entry | None
) -> backfill.Job | None:
    """What is to be read of a list: all of it the first time, then what an entry asks for, or nothing."""
    start, order = backfill.start(shared.starts, walk), parents.order(shared, walk)
    first = backfill.Job(walk, start, order=order)
    before = saved.get(backfill.key(shared.account, walk))
    if not first.finished(before):
        since = entry.since if entry is not None and entry.whole else 0
        return dataclasses.replace(first, since=since, again=entry is not None or before is not None)
    if entry is None:
        return None
    low, high = (entry.low, entry.high) if walk.sliced else (None, None)
    low = start if low is None else low if start is None else max(low, start)
    again = backfill.Job(walk, low, high, entry.since, True, order, apart=True)
    return None if again.finished(saved.get(backfill.key(shared.account, walk, again=True))) else again


async def _read(
    trip: reading.Trip, job: backfill.Job, mark: backfill.Progress | None
) -> errors.TidegateError | None:
    """Read a list to its end, or return what stopped it; raises what must stop the whole run."""
    error: errors.TidegateError | None = None
    try:
        await backfill.read(trip, job, mark)
    except* errors.TidegateError as failures:
        error = first(failures)
    if isinstance(error, errors.Unauthorized | errors.WarehouseError):
        raise error
    return error


def _fail(outcomes: Iterable[report.Outcome], status: report.Status, error: str) -> None:
    for outcome in outcomes:
        outcome.fail("partial" if status == "failed" and outcome.read else status, error)


def _tally(shared: reading.Reading, walk: plan.Walk) -> client.Tally:
    """Requests of a walk count for its own stream, or for the first that rides along."""
    name = walk.node.stream.name if walk.node.kept else walk.kept[0]
    return shared.targets[name].outcome.tally
