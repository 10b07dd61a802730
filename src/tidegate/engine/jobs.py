"""Jobs that people and programs ask for, each done by a thread of this process, told of in the metadata database.

The thread says again and again that the job lives and how far it is, and ends it when it is not wanted any more.
Where the process is to end, or was killed, another one takes the same job up from its beginning (`keeping`), and
one worker alone notes its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tidegate import errors
from tidegate.engine import place as places
from tidegate.pull import report
from tidegate.store import jobs, trail

log = logging.getLogger(__name__)

LOOKED = 2.0
"""Seconds between two looks for jobs whose process is gone."""
LEAVING = 10.0
"""Seconds that jobs have to end in where their process is to end."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a job came to: its state, what is told of it, and line by line what it found, with what is wrong."""

    state: jobs.State
    result: Mapping[str, Any]
    rows: Iterable[tuple[bool, Mapping[str, Any]]] = ()
    error: str = ""


class Screen(report.Silent):
    """How far a job is, for whoever looks; a `pull.report.Screen`."""

    def __init__(self) -> None:
        self._phase, self._rows, self._requests = "", 0, 0

    def phase(self, text: str) -> None:
        """What is being done now."""
        self._phase = text

    def started(self, stream: str, account: str) -> None:
        """Reading of a stream began."""
        self._phase = f"{stream} of {account}" if account else stream

    def advanced(self, stream: str, *, rows: int = 0, requests: int = 0, estimate: int | None = None) -> None:
        """More rows came with more requests."""
        del stream, estimate
        self._rows += rows
        self._requests += requests

    def shown(self) -> dict[str, Any]:
        """It, as it is kept."""
        return {"phase": self._phase, "rows": self._rows, "requests": self._requests}


Doing = Callable[[places.Place, Screen], Coroutine[Any, Any, Done]]
"""What a job does, at a place whose configuration stays as it was when the job began."""
Work = Callable[[jobs.Job], Doing]
"""What a job does, by its kind and what was asked for; raises ConfigError for one that is not to be taken up."""


def begin(
    place: places.Place,
    by: str,
    kind: jobs.Kind,
    what: str,
    wish: Mapping[str, Any],
    doing: Doing,
    note: Callable[[str], trail.Note] | None = None,
) -> tuple[jobs.Job, bool]:
    """Have something done in the background; says how it begins, and whether this call began it.

    What `note` says of the job with an id stands in the audit log where the job does. Raises StoreConflict while
    the same is being done, or too much else.
    """
    still = place.still()
    job_id = jobs.new_id()
    line = None if note is None else note(job_id)
    begun, new = jobs.begin(place.store, job_id, kind, what, wish, by, _attempt(place), line)
    if new:
        _start(still, begun, doing)
    return begun, new


@contextlib.contextmanager
def keeping(place: places.Place, work: Work) -> Iterator[None]:
    """Take up jobs whose process is gone, from a thread, for as long as the block takes.

    Where the process is to end then, those that it does are left to others before.
    """
    over = threading.Event()
    thread = threading.Thread(target=_keeping, args=(place, work, over), name="jobs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        if place.stopping.is_set():
            _leave(place)


def _leave(place: places.Place) -> None:
    """Wait until nothing is done here any more, `LEAVING` seconds at the most."""
    until = time.monotonic() + LEAVING
    with contextlib.suppress(errors.StoreError):
        while time.monotonic() < until and any(
            each.worker.startswith(f"{place.worker}/") for each in jobs.listed(place.store, state="running")
        ):
            time.sleep(0.05)


def _keeping(place: places.Place, work: Work, over: threading.Event) -> None:
    while not (over.is_set() or place.stopping.is_set()):
        with contextlib.suppress(errors.StoreError):  # it is away, and asked in the next turn
            while take(place, work) is not None:
                pass
        over.wait(LOOKED)


def take(place: places.Place, work: Work) -> jobs.Job | None:
    """Take up one job whose process is gone, and do it in the background; None where there is none."""
    with _changing:
        alive = set(_alive)
    found = jobs.take(place.store, _attempt(place), alive)
    if found is None:
        return None
    log.warning("The job %s is taken up again, for whoever did it is gone.", found.id)
    try:
        doing = work(found)
    except errors.ConfigError as error:
        jobs.finish(place.store, found.id, "failed", None, str(error), worker=found.worker)
    else:
        _start(place.still(), found, doing)
    return found


_alive: set[str] = set()
"""The jobs that threads of this process do."""
_changing = threading.Lock()


def _attempt(place: places.Place) -> str:
    """Who does a job: this process, and no other attempt of its own."""
    return f"{place.worker}/{secrets.token_hex(4)}"


def _start(place: places.Place, begun: jobs.Job, doing: Doing) -> None:
    with _changing:
        _alive.add(begun.id)
    name = f"{begun.kind} {begun.what}"
    threading.Thread(target=_do, args=(place, begun, doing), name=name, daemon=True).start()


def _do(place: places.Place, begun: jobs.Job, doing: Doing) -> None:
    """Do a job to its end, and note how it ended."""
    try:
        try:
            done = asyncio.run(_done(place, begun, doing))
        except errors.TidegateError as error:
            done = Done("failed", {}, error=str(error))
        except Exception as error:
            if (known := errors.inside(error, errors.TidegateError)) is None:
                log.error("The job %s failed with an internal error.", begun.id, exc_info=error)
            said = str(known) if known else f"internal error: {type(error).__name__}; please report it"
            done = Done("failed", {}, error=said)
        if done is None:
            jobs.leave(place.store, begun.id, begun.worker)
        else:
            jobs.finish(
                *(place.store, begun.id, done.state, done.result, done.error, done.rows), worker=begun.worker
            )
    except Exception as error:  # the metadata database is away, or closed with the process
        log.warning(
            "How the job %s ended is not noted, so that it is taken up again: %s.",
            begun.id,
            type(error).__name__,
        )
    finally:
        with _changing:
            _alive.discard(begun.id)


async def _done(place: places.Place, begun: jobs.Job, doing: Doing) -> Done | None:
    """What a job came to; None where the process is to end before."""
    screen = Screen()
    work = asyncio.create_task(doing(place, screen))
    keeper = asyncio.create_task(_keep(place, begun, screen, work))
    try:
        return await work
    except asyncio.CancelledError:
        if place.stopping.is_set():
            return None
        return Done("cancelled", {}, error="It was cancelled; what it had done until then stays.")
    finally:
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper


async def _keep(place: places.Place, begun: jobs.Job, screen: Screen, work: asyncio.Task[Done]) -> None:
    """Say that a job is being done, and end it when it is not wanted any more; what cannot end at once goes on."""
    ending = False
    while True:
        wanted = True
        with contextlib.suppress(errors.StoreError):
            wanted = await asyncio.to_thread(jobs.beat, place.store, begun.id, screen.shown(), begun.worker)
        if not ending and (place.stopping.is_set() or not wanted):
            ending = True
            work.cancel()
        await asyncio.sleep(places.BEAT)
