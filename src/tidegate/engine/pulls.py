"""How a pull is done: once, for ever, or as slices that several workers share.

What a pull that is stopped did until then is kept as its report.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import time
from collections.abc import Mapping, Sequence

from tidegate import errors
from tidegate.engine import alerts, feed, matters, recorder, spread
from tidegate.engine import place as places
from tidegate.pull import continuous, held, load, reading, report, run, scope, settings
from tidegate.store import positions, runs, slices
from tidegate.stripe import client
from tidegate.warehouse import base

log = logging.getLogger(__name__)

POLLED = 5.0
"""Seconds between two looks at the events of a continuous pull."""
SETTLED = 5.0
"""Seconds between two looks at what a continuous pull has to alert."""
LOOKED = 300.0
"""Seconds between two looks at what a warehouse holds."""
MANY = 1_000
"""Outcomes from which on those are let go that have nothing to tell."""

_looked: dict[str, float] = {}
"""When each flow's warehouse was looked at last, by this process."""


async def pull(place: places.Place, begun: runs.Run, record: recorder.Recorder) -> report.Result:
    """Do a run of a pull; raises what ended it before anything could be begun."""
    flow = place.flows.get(begun.flow)
    if flow is None:
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
        result = await once(job, warehouse, record, record, run_id=begun.id)
        await asyncio.to_thread(_look, place, flow.name, job)
        return result
    finally:
        await asyncio.to_thread(warehouse.close)


class Pull(run.Pull):
    """A pull that knows what it has done so far, also when it is ended before its end."""

    def __init__(
        self,
        source: scope.Source,
        warehouse: base.Warehouse,
        options: scope.Options,
        screen: report.Screen,
        stripe: client.Client,
        *,
        run_id: str,
    ) -> None:
        super().__init__(source, warehouse, options, screen, stripe, run_id=run_id)
        self._outcomes: list[report.Outcome] = []
        self._kept = 0

    def _reading(
        self,
        account: str,
        stripe: client.Client,
        targets: Mapping[str, load.Target],
        loader: load.Loader,
    ) -> reading.Reading:
        self._outcomes += (each.outcome for each in targets.values())
        if len(self._outcomes) > 2 * self._kept + MANY:
            self._outcomes = [each for each in self._outcomes if each.told or not each.done]
            self._kept = len(self._outcomes)
        return super()._reading(account, stripe, targets, loader)

    def so_far(self) -> list[report.Outcome]:
        """How every stream of every account fared that was begun; one that is not done is partial."""
        for each in self._outcomes:
            if not each.done:
                each.fail("partial", "not read to its end: the run was stopped")
        return [each for each in self._outcomes if each.told]


async def once(
    job: settings.Job,
    warehouse: base.Warehouse,
    screen: report.Screen,
    record: recorder.Recorder,
    *,
    run_id: str,
) -> report.Result:
    """One pull; where it is cancelled, what it did until then is kept. Raises as `pull.run.pull`."""
    started = dt.datetime.now(dt.UTC)
    async with scope.connect(job.source, record.happened) as stripe:
        own = Pull(job.source, warehouse, job.options, screen, stripe, run_id=run_id)
        try:
            return await own.once()
        except asyncio.CancelledError:
            outcomes = own.so_far()
            record.stopped(outcomes)
            await asyncio.to_thread(_leave, warehouse, run_id, started, outcomes)
            raise


def _leave(
    warehouse: base.Warehouse, run_id: str, started: dt.datetime, outcomes: Sequence[report.Outcome]
) -> None:
    """Leave beside the data what a run that was stopped did; never raises."""
    left = [each for each in outcomes if not each.noted]
    try:
        if left:
            report.note(warehouse, run_id, started, left)
    except errors.TidegateError as error:
        log.info("%s What %s did is not noted beside the data.", error, run_id)


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
            record.stopped(spread.gathered(begun.id, started, parts, frozenset()).outcomes)
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
    watch, started = alerts.Watch(place.store, begun.flow), dt.datetime.now(dt.UTC)

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
        )
    finally:
        beside.cancel()
        await asyncio.gather(beside, return_exceptions=True)
        await asyncio.to_thread(_leave, warehouse, begun.id, started, record.sums())


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
    names = {stream: choice.table or stream for stream, choice in job.options.choices.items()}
    try:
        with contextlib.closing(job.open()) as warehouse:
            found = held.held(warehouse, names)
        positions.replace(place.store, flow, matters.noted(found))
        alerts.judge(place.store, place.file, flow)
    except errors.TidegateError as error:
        log.info("%s How far the tables of %s are is noted later.", error, flow)
