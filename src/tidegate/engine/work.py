"""The one function that does a run, whoever calls it: a thread of this process, or a worker's job.

What is committed is decided in the warehouse, by the fence that the run claims there; what stands in the metadata
database only tells of it. So a run that lost its worker, or its place in the database, does no harm: whoever comes
after it raises the fence, and it can commit nothing more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

from tidegate import errors
from tidegate.config import chains
from tidegate.engine import alerts, pulls, recorder
from tidegate.engine import place as places
from tidegate.pull import report
from tidegate.store import runs, ticks

log = logging.getLogger(__name__)

ROTATED = 86_400.0
"""Seconds after which a continuous run ends and the next one begins, so that no log grows for ever."""

Stop = Literal["", "cancelled", "stopping", "lost", "rotated"]
Doing = Callable[[recorder.Recorder], Coroutine[Any, Any, report.Result]]
"""What is done for a run; it tells the recorder."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended; `passing`: the same may go well soon."""

    state: runs.State
    error: str = ""
    result: report.Result | None = None
    passing: bool = False


async def perform(
    place: places.Place,
    begun: runs.Run,
    doing: Doing | None = None,
    *,
    stopped: Literal["interrupted", "cancelled"] = "interrupted",
) -> Ending:
    """Do a run that was begun, and note how it ended; never raises but for bugs and being cancelled.

    `doing` is what is done, by default what the configuration says of the flow. A run that is cancelled with the
    task that does it is `stopped`: one that is `interrupted` is due again, one that is `cancelled` is not.
    """
    record = recorder.Recorder(place.store, begun, place.worker)
    stop: list[Stop] = [""]
    work = asyncio.create_task(pulls.pull(place, begun, record) if doing is None else doing(record))
    keeper = asyncio.create_task(_keep(place, begun, record, work, stop))
    try:
        await asyncio.wait({work})
        ending = _ending(work, stop[0])
    except asyncio.CancelledError:
        work.cancel()
        await asyncio.wait({work})
        ending = Ending(stopped, "It was stopped with its process; what it committed stays.")
        raise
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        await asyncio.to_thread(_note, place, begun, record, ending)
    return ending


async def _keep(
    place: places.Place,
    begun: runs.Run,
    record: recorder.Recorder,
    work: asyncio.Task[report.Result],
    stop: list[Stop],
) -> None:
    """Say again and again that the run lives, and end it when it is to end."""
    deadline = asyncio.get_running_loop().time() + ROTATED
    away = False
    while True:
        await asyncio.sleep(places.BEAT)
        if place.stopping.is_set():
            stop[0] = "stopping"
        elif begun.cause == "continuous" and asyncio.get_running_loop().time() > deadline:
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


def _ending(work: asyncio.Task[report.Result], stop: Stop) -> Ending:
    """How the work ended, and what that is for the run."""
    if work.cancelled():
        if stop == "rotated":
            return Ending("ok")
        if stop == "cancelled":
            return Ending("cancelled", "It was cancelled; what it committed stays.")
        return Ending("interrupted", "It was stopped with its process; what it committed stays.")
    error = work.exception()
    if error is None:
        result = work.result()
        end = result.end
        if end is None:
            return Ending(result.status, _worst(result), result)
        return Ending("failed", str(end), result, isinstance(end, places.PASSING))
    known = errors.inside(error, errors.TidegateError)
    if known is None:
        log.error("A run failed with an internal error.", exc_info=error)
        return Ending("failed", f"internal error: {type(error).__name__}; please report it")
    return Ending("failed", str(known), passing=isinstance(known, places.PASSING))


def _worst(result: report.Result) -> str:
    """Why a run that went to its end is not all well."""
    wrong = [outcome for outcome in result.outcomes if outcome.error and outcome.status != "not_enabled"]
    if result.status == "ok" or not wrong:
        return ""
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return f"{wrong[0].stream}: {wrong[0].error}{more}"


def _note(place: places.Place, begun: runs.Run, record: recorder.Recorder, ending: Ending) -> None:
    """Write down how a run ended, and have those that wait for it begin."""
    record.say(ending.error or ending.state, level="error" if ending.state == "failed" else "info")
    then = chains.downstream(place.file).get(begun.flow, ()) if ending.state in ("ok", "partial") else ()
    try:
        record.close()
        outcomes = ending.result.outcomes if ending.result is not None else ()
        runs.report(place.store, begun.id, recorder.tables(outcomes))
        if ending.state in ("ok", "partial"):
            ticks.well(place.store, begun.flow)
        elif ending.state == "failed":
            ticks.fail(place.store, begun.flow, ending.passing)
        runs.end(
            place.store,
            begun.id,
            place.worker,
            ending.state,
            totals=record.totals() or _totals(ending.result),
            error=ending.error,
            then=then,
        )
        alerts.after_run(place.store, place.file, begun)
    except errors.StoreError as error:
        log.warning("%s How %s ended is not noted: %s.", error, begun.id, ending.state)


def _totals(result: report.Result | None) -> dict[str, object]:
    if result is None:
        return {}
    told = result.as_json()
    return {
        **{name: told[name] for name in ("requests", "retries", "rate_limited", "duration_s")},
        "read": sum(each.read for each in result.outcomes),
        "written": sum(each.written for each in result.outcomes),
        "deleted": sum(each.deleted for each in result.outcomes),
        "streams": len({each.stream for each in result.outcomes}),
        "accounts": len({each.account for each in result.outcomes}),
    }
