"""Runs and slices on any number of machines: jobs of Procrastinate, in the metadata database (Postgres).

A job only says that there is something to do; what is done, and by whom, stands in `runs` and `slices`, where it is
taken by compare and set. So a job that comes twice, or of a worker that was killed, or that is lost, does no harm:
whoever schedules defers anew what nobody does.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import threading
from collections.abc import Collection

import procrastinate
from procrastinate import exceptions

from tidegate import errors
from tidegate.engine import place as places
from tidegate.engine import scheduler, spread, work
from tidegate.store import database, runs, slices

log = logging.getLogger(__name__)

SIZE = 4
"""Runs and slices that one worker does at the same time, besides the continuous runs."""
CONNECTIONS = 3
"""Connections to the database for the jobs of one worker, besides the one for what they note."""
LOOKED = 1.0
"""Seconds between two looks of a worker at whether the configuration is another one."""
GRACE = 60.0
"""Seconds that are given to what is under way when a worker is told to stop."""
SCHEMA_TURN = 7_364_201_934
"""The advisory lock of those who make Procrastinate's tables."""
PRIORITIES = {
    "continuous": 40,
    "manual": 30,
    "api": 30,
    "trigger": 30,
    "after": 20,
    "schedule": 20,
    "retry": 20,
}
"""By cause: who looks at new events comes first, who reads everything last."""
WHOLE, PART = 5, 10
"""The priorities of a full refresh, and of a slice: small runs are not kept waiting by large ones."""


def application(place: places.Place, mine: set[str] | None = None) -> procrastinate.App:
    """The jobs there are, for a process that does them; `mine` are the runs that it has begun and not ended."""
    conninfo = place.file.database.get_secret_value()
    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=conninfo, min_size=1, max_size=CONNECTIONS)
    )
    under_way = set[str]() if mine is None else mine

    def alone(begun: runs.Run) -> None:
        try:
            _alone(place, begun)
        finally:
            under_way.discard(begun.id)

    @app.task(name="run", queue="tidegate")
    async def run(run_id: str) -> None:
        if run_id in under_way:
            return  # it was queued when somebody looked, and begun before its second job was deferred
        under_way.add(run_id)
        begun: runs.Run | None = None
        try:
            begun = await asyncio.to_thread(runs.begin, place.store, run_id, place.worker)
        finally:
            if begun is None:
                under_way.discard(run_id)
        if begun is None:
            return
        if begun.cause == "continuous":  # it never ends, and would keep a place for ever
            threading.Thread(target=alone, args=[begun], name=begun.id).start()
        else:
            await asyncio.to_thread(alone, begun)

    @app.task(name="slice", queue="tidegate")
    async def slice(run_id: str) -> None:
        await asyncio.to_thread(lambda: asyncio.run(spread.once(place, run_id)))

    return app


def _alone(place: places.Place, begun: runs.Run) -> None:
    """Do a run on an event loop of its own."""
    log.info("%s of %s began", begun.id, begun.flow, extra={"run": begun.id})
    ending = asyncio.run(work.perform(place, begun))
    more = f": {ending.error}" if ending.error else ""
    log.info("%s of %s ended %s%s", begun.id, begun.flow, ending.state, more, extra={"run": begun.id})


def prepare(place: places.Place) -> None:
    """Make Procrastinate's tables, where there are none; several may call this at once."""
    app = procrastinate.App(
        connector=procrastinate.SyncPsycopgConnector(
            conninfo=place.file.database.get_secret_value(), min_size=1, max_size=1
        )
    )

    def make(session: database.Session) -> None:
        session.execute("SELECT pg_advisory_xact_lock(:turn)", {"turn": SCHEMA_TURN})
        there = session.one("SELECT to_regclass('procrastinate_jobs') IS NOT NULL AS there")
        if there is not None and not there["there"]:
            with app.open():
                app.schema_manager.apply_schema()

    place.store.transact(make)


def defer(app: procrastinate.App, place: places.Place) -> int:
    """Defer a job for everything that waits and has none; returns how many were new."""
    new = 0
    # To be refused a job costs as much as to defer one, and this is done every second.
    rows = place.store.execute(
        "SELECT queueing_lock AS name FROM procrastinate_jobs WHERE status = 'todo' AND queueing_lock IS NOT NULL"
    )
    there = {row["name"] for row in rows}
    for queued in runs.listed(place.store, states=("queued",), limit=200):
        priority = WHOLE if queued.options.get("full_refresh") else PRIORITIES.get(queued.cause, 20)
        new += _deferred(app, there, "run", queued.id, priority)
    for run_id in slices.open_runs(place.store, spread.SILENT):
        open_ones = slices.counts(place.store, run_id)
        for number in range(min(200, open_ones.get("queued", 0) + open_ones.get("running", 0))):
            new += _deferred(app, there, "slice", run_id, PART, f"/{number}")
    return new


def _deferred(
    app: procrastinate.App, there: Collection[str], task: str, run_id: str, priority: int, more: str = ""
) -> int:
    lock = f"{task}/{run_id}{more}"
    if lock in there:
        return 0
    try:
        app.configure_task(task, queue="tidegate", queueing_lock=lock, priority=priority).defer(run_id=run_id)
    except exceptions.AlreadyEnqueued:
        return 0
    return 1


def serve(place: places.Place, *, size: int = SIZE, schedule: bool = True) -> None:
    """Do runs and slices, and schedule them, until `place.stopping` is set; what is under way commits, and ends."""
    # Rows come and go by the page and never form cycles: looking for garbage among them costs 6 % of a pull.
    gc.set_threshold(100_000, 50, 100)
    prepare(place)
    clock = threading.Thread(target=_scheduling, args=[place], name="schedule") if schedule else None
    if clock is not None:
        clock.start()
    else:
        threading.Thread(target=_looking, args=[place], name="configuration", daemon=True).start()
    try:
        asyncio.run(_working(place, size))
    finally:
        place.stopping.set()
        if clock is not None:
            clock.join()
        for thread in threading.enumerate():
            if thread.name.startswith("run_"):
                thread.join(GRACE)


async def _working(place: places.Place, size: int) -> None:
    told = False
    mine = set[str]()
    while not place.stopping.is_set():
        app = application(place, mine)
        try:
            async with app.open_async():
                jobs = asyncio.create_task(
                    app.run_worker_async(
                        queues=["tidegate"],
                        name=place.worker,
                        concurrency=size,
                        install_signal_handlers=False,
                        delete_jobs="always",
                        fetch_job_polling_interval=2.0,
                        shutdown_graceful_timeout=GRACE,
                    )
                )
                await _until(place.stopping, jobs)
            told = False
        except Exception as error:
            known = _is_away(error)
            if not known:
                raise
            if not told:
                log.error("%s cannot be reached; work goes on when it is back.", place.store.place)
            told = True
            await asyncio.sleep(1.0)


async def _until(stopping: threading.Event, jobs: asyncio.Task[None]) -> None:
    """Let jobs be done until the process is to stop, or they end by an error."""
    while not stopping.is_set() and not jobs.done():
        await asyncio.wait({jobs}, timeout=0.2)
    if jobs.done():
        await jobs
        return
    jobs.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await jobs


def _is_away(error: BaseException) -> bool:
    """Is it that the database cannot be reached now?"""
    import psycopg

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, psycopg.OperationalError | psycopg.InterfaceError | OSError):
            return True
        if isinstance(seen, BaseExceptionGroup):
            return all(map(_is_away, seen.exceptions))
        seen = seen.__cause__ or seen.__context__
    return isinstance(error, exceptions.ConnectorException)


def _looking(place: places.Place) -> None:
    """Notice another configuration, where no scheduler does, until the process is to stop."""
    while not place.stopping.wait(LOOKED):
        with contextlib.suppress(errors.StoreError):
            place.look()


def _scheduling(place: places.Place) -> None:
    """Look at what is due, and defer it, until the process is to stop."""
    clock = scheduler.Scheduler(place)
    begun, told = False, False
    app: procrastinate.App | None = None
    while not place.stopping.is_set():
        pause = 1.0
        try:
            if not begun:
                clock.begin()
                begun = True
            if app is None:
                app = procrastinate.App(
                    connector=procrastinate.SyncPsycopgConnector(
                        conninfo=place.file.database.get_secret_value(), min_size=1, max_size=1
                    )
                ).open()
            pause = min(clock.turn(), 1.0)
            defer(app, place)
            told = False
        except Exception as error:
            if not isinstance(error, errors.StoreError) and not _is_away(error):
                place.stopping.set()
                raise
            if not told:
                log.error("%s cannot be reached; nothing new begins until it is back.", place.store.place)
            told = True
            if app is not None:
                with contextlib.suppress(Exception):
                    app.close()
                app = None
        place.stopping.wait(pause)
    if app is not None:
        app.close()
