"""A pull of many accounts as slices that any number of workers take: listed once, claimed once, reported once.

The worker that began the run lists the accounts while others already pull the first of them, takes slices itself
like everybody, and ends the run when none is left. Who has another configuration of it than that worker takes none.
Should it be killed, the run is interrupted; the next one claims the tables anew, and pulls of accounts that were
done are a request each.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidegate import errors
from tidegate.engine import flows, losses, recorder
from tidegate.engine import place as places
from tidegate.pull import abreast, parts, report, run, scope, settings
from tidegate.store import logs, runs, slices
from tidegate.stripe import client
from tidegate.warehouse import base

log = logging.getLogger(__name__)

SLICE = 32
"""Accounts of one slice."""
SMALL = abreast.ABREAST
"""Accounts of one of the first slices, and of the last; one of fewer, read side by side, would take as long."""
FIRST = 8
"""Small slices at the beginning, so that all workers soon have something to do."""
KEPT = 128
"""Accounts that are kept back for small slices at the end, where workers wait for the last of them."""
LOOKED = 0.2
"""Seconds between two looks for slices."""
SILENT = slices.SILENT
"""Seconds without a sign of life after which a slice is taken by another worker; who leads the run waits twice as
long, since the run would be lost with it."""


def job(place: places.Place, name: str, begun: runs.Run) -> settings.Job:
    """The pull of a run, with what was asked for when it was queued; raises ConfigError."""
    full = bool(begun.options.get("full_refresh"))
    [found] = settings.jobs(place.file, [name], full_refresh=full)
    accept = frozenset(map(str, begun.options.get("accept_deletes", ())))
    return dataclasses.replace(
        found,
        options=dataclasses.replace(found.options, accept=accept),
        source=dataclasses.replace(found.source, purse=place.purse),
    )


def is_spread(place: places.Place, pull: settings.Job) -> bool:
    """Is a pull one for several workers? Only where there can be some, and several accounts."""
    chosen = pull.source.accounts
    several = chosen == "all" or (isinstance(chosen, tuple) and len(chosen) > 1)
    return place.store.kind == "postgres" and several


async def lead(
    place: places.Place,
    begun: runs.Run,
    pull: settings.Job,
    warehouse: base.Warehouse,
    record: recorder.Recorder,
) -> report.Result:
    """List the accounts as slices, take part in pulling them, and gather what came of it."""
    started = dt.datetime.now(dt.UTC)
    listing = asyncio.create_task(_list(place, begun, pull, warehouse, record))
    try:
        while True:
            worked = await once(place, begun.id, record)
            if listing.done():
                whole = await listing  # raises what ended it
                counts = await asyncio.to_thread(slices.counts, place.store, begun.id)
                if not counts.get("queued") and not counts.get("running"):
                    break
            if not worked:
                await asyncio.sleep(LOOKED)
    finally:
        listing.cancel()
        await asyncio.gather(listing, return_exceptions=True)
    result = gathered(
        begun.id, started, await asyncio.to_thread(slices.results, place.store, begun.id), whole.named
    )
    if result.end is None and whole.fence is not None:
        # Not the first account's rows: whoever had that slice took them over.
        parts.join(whole, parts.claim(whole))
        # The run's own connection did nothing for as long as the slices took, and its server may have restarted.
        whole.warehouse = await asyncio.to_thread(pull.open)
        try:
            await whole.prune()
        finally:
            await asyncio.to_thread(whole.warehouse.close)
    return result


async def _list(
    place: places.Place,
    begun: runs.Run,
    pull: settings.Job,
    warehouse: base.Warehouse,
    record: recorder.Recorder,
) -> run.Pull:
    """Claim the tables, then add slice after slice; returns the pull that claimed them."""
    number, rest = 0, list[str]()
    async with scope.connect(pull.source) as stripe:
        whole = run.Pull(pull.source, warehouse, pull.options, record, stripe, run_id=begun.id)
        async for path in parts.paths(whole):
            if whole.fence is None:
                await whole.begin(path.rpartition("/")[2])
                claim = {**parts.claim(whole), "digest": flows.digest(place.file, begun.flow)}
                await asyncio.to_thread(runs.claimed, place.store, begun.id, place.worker, claim)
            rest.append(path)
            while size := due(number, len(rest)):
                await asyncio.to_thread(slices.add, place.store, begun.id, number, rest[:size])
                number, rest = number + 1, rest[size:]
    for last in small(rest):
        await asyncio.to_thread(slices.add, place.store, begun.id, number, last)
        number += 1
    record.note(f"{number} slices of up to {SLICE} accounts each")
    return whole


def due(number: int, known: int) -> int:
    """Accounts of the next slice, when so many are known that have none; 0 while more are to be known first."""
    if number < FIRST:
        return SMALL if known >= SMALL else 0
    return SLICE if known >= SLICE + KEPT else 0


def small(rest: Sequence[str]) -> Iterator[Sequence[str]]:
    """The last accounts, as slices of about the same size."""
    count = -(-len(rest) // SMALL)
    for n in range(count):
        yield rest[n * len(rest) // count : (n + 1) * len(rest) // count]


async def once(place: places.Place, run_id: str, record: recorder.Recorder | None = None) -> bool:
    """Take a slice of a run and do it; False when there is none to take.

    Who leads the run has a record, and the configuration with which it began; others are to have the same.
    """
    if record is None:
        await asyncio.to_thread(place.look)
        place = place.still()
        if not await asyncio.to_thread(_agrees, place, run_id):
            return False
    patience = SILENT if record is not None else 0.0
    mine = await asyncio.to_thread(slices.take, place.store, run_id, place.worker, SILENT, patience=patience)
    if mine is None:
        return False
    begun = await asyncio.to_thread(runs.get, place.store, run_id)
    if await asyncio.to_thread(losses.settled, place, begun, mine):
        return True
    task = asyncio.create_task(_part(place, begun, mine, record))
    keeper = asyncio.create_task(_keep(place, mine, task))
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        raise
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        state, result = _came(mine, task)
        if not await asyncio.to_thread(slices.end, place.store, mine, state, result):
            log.warning(
                "Slice %d of %s is not this worker's any more; it is left to others.", mine.number, mine.run
            )
    return True


def _agrees(place: places.Place, run_id: str) -> bool:
    """Is the run's flow in this process what it was where the run began: its keys, accounts, streams, warehouse?"""
    try:
        begun = runs.get(place.store, run_id)
    except errors.ConfigError:
        return False  # it is forgotten already
    own = flows.digest(place.file, begun.flow)
    if begun.claim.get("digest", own) == own:
        return True
    text = f"{place.worker} has another configuration of {begun.flow} than this run began with, and takes no part."
    logs.write(
        place.store, run_id, f"{place.worker}/other", 0, [logs.Line(place.store.now(), "warning", text)]
    )
    return False


async def _keep(place: places.Place, mine: slices.Slice, task: asyncio.Task[report.Result]) -> None:
    """Say every second that the slice is being worked on; end it when it is another one's, or is to end."""
    while True:
        await asyncio.sleep(places.BEAT)
        if place.stopping.is_set():
            task.cancel()
            return
        try:
            if not await asyncio.to_thread(slices.beat, place.store, mine):
                task.cancel()
                return
        except errors.StoreError as error:
            log.warning("%s The slice goes on.", error)


async def _part(
    place: places.Place, begun: runs.Run, mine: slices.Slice, record: recorder.Recorder | None
) -> report.Result:
    """Pull the accounts of a slice."""
    flow = place.flows.get(begun.flow)
    if flow is None:
        raise errors.ConfigError(
            f"{begun.flow} is not in this worker's configuration; give all the same one."
        )
    mine_only = job(place, flow.own, begun)
    own = record or recorder.Recorder(place.store, begun, f"{place.worker}/{mine.number}/{mine.attempts}")
    warehouse = await asyncio.to_thread(mine_only.open)
    try:
        async with scope.connect(mine_only.source, own.happened) as stripe:
            pull = run.Pull(mine_only.source, warehouse, mine_only.options, own, stripe, run_id=begun.id)
            parts.join(pull, begun.claim)
            attempt = f"{begun.id}, slice {mine.number}, attempt {mine.attempts}"
            return await parts.part(pull, attempt, mine.accounts)
    finally:
        await asyncio.to_thread(warehouse.close)
        if record is None:
            await asyncio.to_thread(own.close)


def _came(mine: slices.Slice, task: asyncio.Task[report.Result]) -> tuple[slices.State, dict[str, Any]]:
    """How a slice ended, and what it reports."""
    if task.cancelled():
        return "queued", {}
    error = task.exception()
    result = None if error is not None else task.result()
    end = result.end if result is not None else None
    if error is not None:
        end = errors.inside(error, errors.TidegateError)
    if error is not None and end is None:
        log.error("A slice failed with an internal error.", exc_info=error)
        end = errors.TidegateError(f"internal error: {type(error).__name__}; please report it")
    if isinstance(end, errors.Fenced):
        log.warning("A commit of slice %d of %s was refused: %s", mine.number, mine.run, end)
    told = {} if result is None else result.as_json()
    if end is None:
        return "done", told
    again = isinstance(end, places.PASSING) and mine.attempts - mine.lost < slices.ATTEMPTS
    return ("queued" if again else "failed"), {**told, "error": str(end)}


def gathered(
    run_id: str, started: dt.datetime, results: list[Mapping[str, Any]], named: frozenset[str]
) -> report.Result:
    """One result from those of all slices; `named` are the streams that were asked for by name."""
    tally, outcomes, wrong = client.Tally(), list[report.Outcome](), list[str]()
    known = {each.name for each in dataclasses.fields(report.Outcome)} - {"tally"}
    for part in results:
        for name in ("requests", "retries", "rate_limited"):
            setattr(tally, name, getattr(tally, name) + int(part.get(name, 0)))
        if part.get("error"):
            wrong.append(str(part["error"]))
        for told in part.get("streams", ()):
            fields = {name: value for name, value in told.items() if name in known and value is not None}
            outcomes.append(report.Outcome(**fields, done=True))
    end = errors.TidegateError(_several(wrong)) if wrong else None
    status = report.judge(outcomes, named) if end is None else "failed"
    good = any(part.get("status") in ("ok", "partial") for part in results)
    if end is None and status == "failed" and good:  # accounts with nothing new have no outcomes
        status = "partial"
    return report.Result(run_id, started, dt.datetime.now(dt.UTC), status, tuple(outcomes), tally, end)


def _several(wrong: list[str]) -> str:
    return wrong[0] if len(wrong) == 1 else f"{wrong[0]} ({len(wrong)} slices failed)"
