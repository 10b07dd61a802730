"""The one function that does a run, whoever calls it: a thread of this process, or a worker's job.

What is committed is decided in the warehouse, by the fence that the run claims there; what stands in the metadata
database only tells of it. So a run that lost its worker, or its place in the database, does no harm: whoever comes
after it raises the fence, and it can commit nothing more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from tidegate import errors
from tidegate.config import chains
from tidegate.engine import alerts, endings, flows, pulls, recorder, refusals
from tidegate.engine import place as places
from tidegate.store import reports, runs, ticks

log = logging.getLogger(__name__)

ROTATED = 86_400.0
"""Seconds after which a continuous run ends and the next one begins, so that no log grows for ever."""

Stop = Literal["", "cancelled", "stopping", "lost", "rotated"]
Doing = Callable[[recorder.Recorder], Coroutine[Any, Any, endings.Ending]]
"""What is done for a run; it tells the recorder."""


async def perform(
    place: places.Place,
    begun: runs.Run,
    doing: Doing | None = None,
    *,
    stopped: Literal["interrupted", "cancelled"] = "interrupted",
) -> endings.Ending:
    """Do a run that was begun, and note how it ended; never raises but for bugs and being cancelled.

    `doing` is what is done, by default what the configuration says of the flow. A run that is cancelled with the
    task that does it is `stopped`: one that is `interrupted` is due again, one that is `cancelled` is not.

    A run keeps the configuration with which it began. A continuous one, which would keep it for ever, ends when
    there is another for its flow, and the next begins with that.
    """
    now, place = place, place.still()
    record = recorder.Recorder(place.store, begun, place.worker)
    stop: list[Stop] = [""]
    work = asyncio.create_task(_do(place, begun, record) if doing is None else doing(record))
    keeper = asyncio.create_task(_keep(place, now, begun, record, work, stop))
    ending = endings.Ending(stopped, "It was stopped with its process; what it committed stays.")
    try:
        await asyncio.wait({work})
        ending = _ending(work, stop[0])
    except asyncio.CancelledError:
        work.cancel()
        await _to_its_end(work)
        raise
    finally:
        keeper.cancel()
        try:
            await _to_its_end(keeper)
        finally:
            await _to_its_end(asyncio.create_task(asyncio.to_thread(_note, place, begun, record, ending)))
    return ending


async def _to_its_end(task: asyncio.Task[Any]) -> None:
    """Wait until a task is over, also where this one is cancelled meanwhile; that is raised afterwards.

    What the task raises ends here; a bug is logged.
    """
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    failure = None if task.cancelled() else task.exception()
    if failure is not None and errors.inside(failure, errors.TidegateError) is None:
        log.error("A run came to its end with an internal error.", exc_info=failure)
    if cancelled is not None:
        raise cancelled


async def _do(place: places.Place, begun: runs.Run, record: recorder.Recorder) -> endings.Ending:
    """What the configuration says of the run's flow."""
    flow = place.flows.get(begun.flow)
    if flow is None or flow.kind == "pull":
        return endings.of_pull(await pulls.pull(place, begun, record))
    if flow.kind == "pipeline":
        from tidegate.engine import piping

        return await piping.follow(place, flow, begun, record)
    from tidegate.engine import pushing  # what only pulls needs none of it

    return await pushing.follow(place, flow, begun, record)


async def _keep(
    place: places.Place,
    now: places.Place,
    begun: runs.Run,
    record: recorder.Recorder,
    work: asyncio.Task[endings.Ending],
    stop: list[Stop],
) -> None:
    """Say again and again that the run lives, and end it when it is to end; `now` has the configuration of now."""
    deadline = asyncio.get_running_loop().time() + ROTATED
    with_it = flows.definition(place.file, begun.flow)
    away = False
    while True:
        await asyncio.sleep(places.BEAT)
        if place.stopping.is_set():
            stop[0] = "stopping"
        elif begun.cause == "continuous" and (
            asyncio.get_running_loop().time() > deadline or flows.definition(now.file, begun.flow) != with_it
        ):
            stop[0] = "rotated"
        else:
            try:
                seen = await asyncio.to_thread(record.write)
            except errors.StoreError as error:
                if not away:
                    log.warning("%s The run goes on.", error)
                away = True
                continue
            away = False
            if seen is None:
                stop[0] = "lost"
            elif seen.cancelled_by:
                stop[0] = "cancelled"
        if stop[0]:
            work.cancel()
            return


def _ending(work: asyncio.Task[endings.Ending], stop: Stop) -> endings.Ending:
    """How the work ended, and what that is for the run."""
    if work.cancelled():
        if stop == "rotated":
            return endings.Ending("ok")
        if stop == "cancelled":
            return endings.Ending("cancelled", "It was cancelled; what it committed stays.")
        return endings.Ending("interrupted", "It was stopped with its process; what it committed stays.")
    error = work.exception()
    if error is None:
        return work.result()
    known = errors.inside(error, errors.TidegateError)
    if known is None:
        log.error("A run failed with an internal error.", exc_info=error)
        return endings.Ending("failed", f"internal error: {type(error).__name__}; please report it")
    passing, refused = isinstance(known, places.PASSING), isinstance(known, errors.Unauthorized)
    return endings.Ending("failed", str(known), passing, refused)


def _note(place: places.Place, begun: runs.Run, record: recorder.Recorder, ending: endings.Ending) -> None:
    """Write down how a run ended, and have those that wait for it begin."""
    record.say(ending.error or ending.state, level="error" if ending.state == "failed" else "info")
    well = ending.state in ("ok", "partial")
    then = chains.downstream(place.file).get(begun.flow, ()) if well and ending.leads else ()
    try:
        record.close()
        reports.keep(place.store, begun.id, ending.tables)
        if well:
            ticks.well(place.store, begun.flow, begun)
        elif ending.state == "failed":
            ticks.fail(place.store, begun.flow, ending.passing, begun)
        runs.end(
            place.store,
            begun.id,
            place.worker,
            ending.state,
            totals={**ending.totals, **record.totals()},
            error=ending.error,
            then=then,
        )
        if ending.refused:
            refusals.refused(place.file, place.store, begun, ending.error)
        elif well:
            refusals.well(place.file, place.store, begun)
        alerts.after_run(place.store, place.file, begun)
    except errors.StoreError as error:
        log.warning("%s How %s ended is not noted: %s.", error, begun.id, ending.state)
