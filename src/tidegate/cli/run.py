"""`tidegate run`: everything in one process, until it is told to stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Annotated, Literal

from cyclopts import Parameter

from tidegate import config, errors
from tidegate.cli import connect, lean, output
from tidegate.engine import alerts, flows, journal, pool, schedules
from tidegate.engine import place as places
from tidegate.server import app, metrics
from tidegate.store import database
from tidegate.stripe import purse


def run(
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    host: str = "127.0.0.1",
    port: int = 8080,
    at_once: int = pool.SIZE,
    log: Literal["auto", "text", "json"] = "auto",
) -> int:
    """Run all flows by their schedules, until stopped.

    Pulls and pushes that are due run, continuous pulls go on, what Stripe delivers is
    applied at once. SIGTERM and Ctrl-C end it: what was read is committed, what was
    written is noted, and the next start goes on from there.

    Parameters
    ----------
    config_file
        The configuration; tidegate.yaml by default.
    host
        Where webhooks, health and metrics are served; 0.0.0.0 for other machines.
    port
        The port of that.
    at_once
        How many runs may go on at the same time, besides the continuous ones.
    log
        `json` writes one object per line to stderr, `text` is for people; by default whichever fits.
    """
    lean.few_arenas()
    lean.prompt()
    journal.begin(log)
    file = connect.configuration(config_file)
    with contextlib.closing(connect.store(file)) as store, budget(file) as shared:
        place = places.Place(file, store, purse=shared, folder=places.state(config_file))
        obey(place.stopping)
        for flow in flows.flows(file).values():
            output.say(f"{flow.name}: {schedules.words(flow.schedule)}")
        with app.serving(file, place.arrivals, host=host, port=port, more=[metrics.router(store)]) as url:
            output.say(f"serving {url}")
            alerting(place)
            lean.tidying(place.stopping)
            if store.kind == "postgres":
                distributed().serve(place, size=at_once)
            else:
                pool.serve(place, size=at_once)
    output.say("stopped; everything that was read is committed")
    return 0


@contextlib.contextmanager
def budget(file: config.Config) -> Iterator[purse.Purse]:
    """The rate budget that all processes share, over a connection of its own."""
    url = file.database.get_secret_value()
    with contextlib.closing(database.open_database(url, wait=5.0)) as store:
        shared = purse.Purse(store)
        try:
            yield shared
        finally:
            shared.close()


def alerting(place: places.Place) -> None:
    """Tell people, from a thread of its own, what needs one."""
    told = [place.store, place.file, place.stopping]
    threading.Thread(target=alerts.serve, args=told, name="alerts", daemon=True).start()


def distributed() -> ModuleType:
    """What works on Postgres; raises ConfigError where its packages are missing."""
    try:
        from tidegate.engine import workers
    except ImportError:
        raise errors.ConfigError(
            "`database` is Postgres, for which packages are missing; pip install 'tidegate[workers]'"
        ) from None
    return workers


def obey(stopping: threading.Event) -> None:
    """The first signal drains, the second ends at once."""

    def stop(number: int, _: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        output.say("stopping: what was read is being committed; once more ends it at once")
        stopping.set()
        del number

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
