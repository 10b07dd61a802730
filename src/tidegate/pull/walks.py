"""All walks of one account, side by side, and what becomes of each: streams fail one by one, the others go on.

Only a rejected key and a warehouse that refuses end everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from tidegate import errors
from tidegate.pull import backfill, parents, plan, reading, report
from tidegate.stripe import client


async def read(
    shared: reading.Reading, wanted: Sequence[plan.Walk], saved: Mapping[str, str], since: int
) -> None:
    """Read every list, each after the streams that it needs; the pace decides who is served when.

    `saved` is the state that earlier pulls left; what one of them did at `since` or later is done. Raises
    Unauthorized or WarehouseError.
    """
    left = dict.fromkeys(shared.targets, 0)
    for walk in wanted:
        for name in walk.node.streams():
            left[name] += 1
    for name, count in left.items():
        shared.targets[name].outcome.lists = count
    ready = {name: asyncio.Event() for name, walks in left.items() if walks}
    awaited = {name for walk in wanted for name in walk.after}

    async def one(walk: plan.Walk) -> None:
        for name in walk.after:
            await ready[name].wait()
        names = list(walk.node.streams())
        await _attempt(shared, walk, saved, since)
        if awaited.intersection(names):
            await shared.sink.flush()  # children find their parents in the warehouse
        for name in names:
            left[name] -= 1
            if not left[name]:
                ready[name].set()
                outcome = shared.targets[name].outcome
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


def status(error: errors.TidegateError) -> report.Status:
    """What an error makes of a stream."""
    if isinstance(error, errors.PermissionMissing):
        return "no_permission"
    return "not_enabled" if isinstance(error, errors.NotEnabled) else "failed"


def refuses_expand(error: errors.TidegateError, walk: plan.Walk) -> bool:
    """Is it what the list was asked to expand that is refused, not the list?"""
    if isinstance(error, errors.PermissionMissing):
        return error.permission not in {"", walk.node.stream.permission} and any(walk.node.expand())
    return isinstance(error, errors.InvalidRequest) and "expand" in f"{error.param} {error}"


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


async def _attempt(shared: reading.Reading, walk: plan.Walk, saved: Mapping[str, str], since: int) -> None:
    """Read one list; what Stripe refuses becomes the outcome of the streams concerned.

    A walk goes on without the nested lists that the key may not see, and without `expand[]` where this Stripe
    refuses it.
    """
    outcomes = {name: shared.targets[name].outcome for name in walk.node.streams()}
    for name in walk.after:
        cause = shared.targets[name].outcome
        if cause.status != "ok":
            state: report.Status = "failed" if cause.status == "partial" else cause.status
            _fail(outcomes.values(), state, f"needs {name} to be complete: {cause.error}")
            return
    for name in outcomes:
        shared.screen.started(name, shared.account)
    key = backfill.key(shared.account, walk)
    start = backfill.start(shared.starts, walk)
    if backfill.finished(saved.get(key), walk, start, since):
        return
    now, order = shared.client.clock.now(), parents.order(shared, walk)
    mark = backfill.unfinished(saved.get(key), walk, start, now, order)
    plain = False
    while walk.kept:
        trip = reading.Trip(shared, walk, _tally(shared, walk), key, plain)
        error = await _read(trip, mark)
        if error is None:
            return
        less = plan.without(walk, getattr(error, "permission", ""))
        if isinstance(error, errors.PermissionMissing) and less is not None:
            gone = set(walk.kept) - set(less.kept)
            _fail((outcomes[name] for name in gone), "no_permission", str(error))
            walk, mark = less, None
        elif refuses_expand(error, walk) and not plain:
            shared.screen.note(f"{walk.name}: reading on without what is only told when asked for; {error}")
            plain = True
        else:
            _fail((outcomes[name] for name in walk.kept), status(error), str(error))
            return


async def _read(trip: reading.Trip, mark: backfill.Progress | None) -> errors.TidegateError | None:
    """Read a list to its end, or return what stopped it; raises what must stop the whole run."""
    error: errors.TidegateError | None = None
    try:
        await backfill.read(trip, mark)
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
