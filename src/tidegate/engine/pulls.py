"""How a pull is done: once, for ever, or as slices that several workers share.

What a pull that is stopped did until then is kept as its report.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import time

from tidegate import errors
from tidegate.engine import alerts, feed, flows, matters, recorder, spread
from tidegate.engine import place as places
from tidegate.pull import continuous, held, report, run, settings
from tidegate.store import positions, runs, slices
from tidegate.warehouse import base

log = logging.getLogger(__name__)

POLLED = 5.0
"""Seconds between two looks at the events of a continuous pull."""
SETTLED = 5.0
"""Seconds between two looks at what a continuous pull has to alert."""
LOOKED = 300.0
"""Seconds between two looks at what a warehouse holds."""

_looked: dict[str, float] = {}
"""When each flow's warehouse was looked at last, by this process."""


async def pull(place: places.Place, begun: runs.Run, record: recorder.Recorder) -> report.Result:
    """Do a run of a pull; raises what ended it before anything could be begun."""
    flow = place.flows.get(begun.flow)
    if flow is None:
        if off := flows.off(place.file, begun.flow):
            raise flows.disabled(off)
        raise errors.ConfigError(f"{begun.flow} is not in the configuration any more.")
    record.phase("connecting")
    job = spread.job(place, flow.own, begun)
    warehouse = await asyncio.to_thread(job.open)
    try:
        record.phase("pulling")
        if begun.cause == "continuous":
            source = feed.Deliveries(place.store, flow.name, flow.connection, place.arrivals)
            return await _follow(place, begun, job, warehouse, record, source)
        if spread.is_spread(place, job):
            return await _lead(place, begun, job, warehouse, record)
        result = await run.pull(
            job.source,
            warehouse,
            job.options,
            record,
            run_id=begun.id,
            listener=record.happened,
            under_way=record.under_way,
        )
        await asyncio.to_thread(_look, place, flow.name, job)
        return result
    finally:
        await asyncio.to_thread(warehouse.close)


async def _lead(
    place: places.Place,
    begun: runs.Run,
    job: settings.Job,
    warehouse: base.Warehouse,
    record: recorder.Recorder,
) -> report.Result:
    """A pull that several workers share; where it is stopped, what its slices did until then is kept."""
    started = dt.datetime.now(dt.UTC)
    try:
        result = await spread.lead(place, begun, job, warehouse, record)
    except asyncio.CancelledError:
        with contextlib.suppress(errors.StoreError):
            parts = await asyncio.to_thread(slices.results, place.store, begun.id)
            record.under_way(spread.gathered(begun.id, started, parts, frozenset()).outcomes)
        raise
    await asyncio.to_thread(_look, place, begun.flow, job)
    return result


async def _follow(
    place: places.Place,
    begun: runs.Run,
    job: settings.Job,
    warehouse: base.Warehouse,
    record: recorder.Recorder,
    source: feed.Deliveries,
) -> report.Result:
    """Pull after pull, and what Stripe delivers at once; ends only by being cancelled, or for good."""
    watch = alerts.Watch(place.store, begun.flow)

    def told(result: report.Result) -> None:
        watch.saw(result, whole=True)
        record.saw(result)

    def heard(result: report.Result) -> None:
        watch.saw(result, whole=False)
        record.saw(result)

    beside = asyncio.create_task(_watch(place, begun.flow, job, watch, record))
    try:
        return await continuous.watch(
            job.source,
            warehouse,
            job.options,
            record,
            every=POLLED,
            told=told,
            heard=heard,
            feed=source,
            run_id=begun.id,
            listener=record.happened,
            under_way=record.under_way,
        )
    finally:
        beside.cancel()
        await asyncio.gather(beside, return_exceptions=True)


async def _watch(
    place: places.Place, flow: str, job: settings.Job, watch: alerts.Watch, record: recorder.Recorder
) -> None:
    """Beside a continuous run: tell what changed, note what needs a person, and how far the tables are."""
    while True:
        await asyncio.sleep(SETTLED)
        record.tell()
        await asyncio.to_thread(watch.settle)
        await asyncio.to_thread(_look, place, flow, job)


def _look(place: places.Place, flow: str, job: settings.Job) -> None:
    """Copy what the warehouse holds for those who only look, every few minutes; never raises."""
    if time.monotonic() - _looked.get(flow, -LOOKED) < LOOKED:
        return
    _looked[flow] = time.monotonic()
    try:
        with contextlib.closing(job.open()) as warehouse:
            found = held.of_pull(warehouse, job)
        positions.replace(place.store, flow, matters.noted(found))
        alerts.judge(place.store, place.file, flow)
    except errors.TidegateError as error:
        log.info("%s How far the tables of %s are is noted later.", error, flow)
