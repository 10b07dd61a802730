"""A pull or a push from the command line as a run of its flow, noted in the metadata database.

So `tidegate runs` shows it, nobody else runs the flow meanwhile, and all share one rate budget. A pull that cannot
be noted is done all the same, and none makes a database; a push needs it, and is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tidegate import config, errors
from tidegate.cli import output
from tidegate.engine import alerts, endings, matters, recorder, work
from tidegate.engine import place as places
from tidegate.pull import held, report, settings
from tidegate.store import database, manual, positions, runs
from tidegate.stripe import purse
from tidegate.warehouse import base

WAIT = 5.0
"""Seconds for which a metadata database that does not answer is waited for."""
QUIET = 5.0
"""Seconds without a sign of life after which a run's process may be gone."""
LOOKED = 0.5
"""Seconds between two looks whether it is."""
STANDS = 300.0
"""Seconds for which it is known how far the tables are, while nothing of the flow is alerted."""


Came = TypeVar("Came")


@contextlib.contextmanager
def placed(file: config.Config, config_file: Path | None = None) -> Iterator[places.Place]:
    """The metadata database, and this process as one that does runs; raises StoreError where it cannot be used."""
    with contextlib.ExitStack() as opened:
        url = file.database.get_secret_value()
        store, budget = (
            opened.enter_context(contextlib.closing(database.open_database(url, wait=WAIT))) for _ in range(2)
        )
        shared = opened.enter_context(contextlib.closing(purse.Purse(budget)))
        opened.enter_context(_said())
        yield places.Place(file, store, purse=shared, folder=places.state(config_file))


@contextlib.contextmanager
def noted(file: config.Config) -> Iterator[places.Place | None]:
    """The same; None, and a line that says so, where it cannot be used."""
    with contextlib.ExitStack() as opened:
        place: places.Place | None = None
        try:
            place = opened.enter_context(placed(file))
        except errors.TidegateError as error:
            output.say(f"{error} The pull goes on and is not noted as a run.")
        yield place


async def take(place: places.Place, flow: str, options: Mapping[str, Any]) -> runs.Run:
    """Begin a run of a flow, to be `performed` at once: between the two nothing is awaited, so no Ctrl-C comes.

    Raises StoreConflict while somebody else runs it. One of a process that fell silent is waited for until it
    speaks again, or is taken for gone.
    """
    run_id, waited = runs.new_id(), False
    while True:
        begun = manual.begin(place.store, run_id, flow, place.worker, options)
        if begun is not None:
            return begun
        runs.interrupt(place.store, places.SILENT)
        other, now = runs.alive(place.store, flow), place.store.now()
        if other is None:
            continue
        quiet = now - (other.seen_at or now)
        if quiet < QUIET:
            raise errors.StoreConflict(_busy(other))
        if not waited:
            output.say(
                f"{other.id} of {flow} has said nothing for {quiet:.0f} s; this one begins once that is "
                f"{places.SILENT:.0f} s"
            )
        waited = True
        await asyncio.sleep(LOOKED)


async def begin(place: places.Place, job: settings.Job) -> runs.Run | None:
    """Begin a run of a pull, as `take`; None, and a line that says so, where the database went away.

    Raises StoreConflict.
    """
    try:
        return await take(place, f"pull:{job.name}", _options(job))
    except errors.StoreConflict:
        raise
    except errors.StoreError as error:
        output.say(f"{error} The pull goes on and is not noted as a run.")
        return None


@dataclass(frozen=True, slots=True)
class Both:
    """A screen for a person, and one for the database."""

    shown: report.Screen
    record: recorder.Recorder

    def started(self, stream: str, account: str) -> None:
        """Reading of a stream began."""
        self.shown.started(stream, account)
        self.record.started(stream, account)

    def advanced(self, stream: str, *, rows: int = 0, requests: int = 0, estimate: int | None = None) -> None:
        """More rows came with more requests."""
        self.shown.advanced(stream, rows=rows, requests=requests, estimate=estimate)
        self.record.advanced(stream, rows=rows, requests=requests, estimate=estimate)

    def finished(self, stream: str, status: str, error: str) -> None:
        """A stream ended, well or badly."""
        self.shown.finished(stream, status, error)
        self.record.finished(stream, status, error)

    def budget(self, used: float, limit: float) -> None:
        """Requests per second in use, and allowed."""
        self.shown.budget(used, limit)
        self.record.budget(used, limit)

    def note(self, text: str) -> None:
        """Something worth a line."""
        self.shown.note(text)
        self.record.note(text)


async def perform(
    place: places.Place, begun: runs.Run, doing: Callable[[recorder.Recorder], Awaitable[report.Result]]
) -> report.Result:
    """Do a run of a pull that was begun, as `performed`."""

    async def pulling(record: recorder.Recorder) -> report.Result:
        record.phase("pulling")
        return await doing(record)

    return await performed(place, begun, pulling, lambda _, result: endings.of_pull(result))


async def performed(
    place: places.Place,
    begun: runs.Run,
    doing: Callable[[recorder.Recorder], Awaitable[Came]],
    ended: Callable[[recorder.Recorder, Came], endings.Ending],
) -> Came:
    """Do a run that was begun, and note how it ended; raises what ended it, also where somebody else did.

    Cancelled, it is a run that was cancelled: nobody begins it again.
    """
    caught: list[Exception] = []
    came: list[Came] = []

    async def done(record: recorder.Recorder) -> endings.Ending:
        try:
            came.append(await doing(record))
        except Exception as error:
            caught.append(error)
            raise
        return ended(record, came[0])

    ending = await work.perform(place, begun, done, stopped="cancelled")
    if caught:
        raise caught[0]
    if not came:
        raise _ended(begun, ending.state)
    return came[0]


def stands(place: places.Place, job: settings.Job, warehouse: base.Warehouse) -> None:
    """Note now and then what the warehouse holds for those who only look; resolve what that ends; never raises."""
    flow = f"pull:{job.name}"
    with contextlib.suppress(errors.TidegateError):  # whoever looks next notes it
        known = place.store.one(
            "SELECT 1 AS known WHERE EXISTS (SELECT 1 FROM positions WHERE flow = :flow AND at > {now} - :stands) "
            "AND NOT EXISTS (SELECT 1 FROM alerts WHERE flow = :flow AND resolved_at IS NULL)",
            {"flow": flow, "stands": STANDS},
        )
        if known is not None:
            return
        positions.replace(place.store, flow, matters.noted(held.of_pull(warehouse, job)))
        alerts.judge(place.store, place.file, flow)


def _options(job: settings.Job) -> Mapping[str, Any]:
    """What was asked for, as one who does it again understands it."""
    full = {"full_refresh": True} if job.options.full_refresh else {}
    return {**full, **({"accept_deletes": sorted(job.options.accept)} if job.options.accept else {})}


def _busy(other: runs.Run) -> str:
    if other.state == "queued":
        return (
            f"{other.flow} is about to be run ({other.id}); `tidegate logs -f {other.id}` shows it, "
            f"`tidegate cancel {other.id}` ends it."
        )
    host, _, _ = other.worker.partition(":")
    return (
        f"{other.flow} is just being run on {host} ({other.id}); `tidegate logs -f {other.id}` shows it, "
        f"`tidegate cancel {other.id}` ends it."
    )


def _ended(begun: runs.Run, state: runs.State) -> errors.TidegateError:
    why = "was cancelled" if state == "cancelled" else "said nothing for a minute and was taken for gone"
    return errors.TidegateError(
        f"{begun.id} {why}; what was committed is safe, and the same command goes on from there."
    )


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """What the rooms below log of the database is a line to the person; of alerts they hear in the summary."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno == logging.WARNING and record.name != alerts.log.name:
                output.say(record.getMessage())

    log, lines = logging.getLogger("tidegate"), Lines()
    log.addHandler(lines)
    try:
        yield
    finally:
        log.removeHandler(lines)
