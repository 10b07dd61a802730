"""What `tidegate run` serves: the desk, with the pages and the API of every domain on it."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Sequence

import fastapi

from tidegate import api, errors, views, web
from tidegate.api import description
from tidegate.cli import demos
from tidegate.engine import place as places
from tidegate.server import app, limits, metrics
from tidegate.server import desk as desks
from tidegate.store import database
from tidegate.views import resuming, start
from tidegate.web import frame, troubles

log = logging.getLogger(__name__)

WAIT = 5.0
"""Seconds for which a page waits for the metadata database."""


@contextlib.contextmanager
def serving(
    place: places.Place,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    proxies: Sequence[str] = (),
    limit: limits.Limits | None = None,
) -> Iterator[tuple[str, desks.Desk]]:
    """Serve everything for as long as the block takes; the address, and the desk.

    The desk has a connection of its own to the metadata database, and stays with the configuration as it changes.
    """
    url = place.file.database.get_secret_value()
    with (
        contextlib.closing(database.open_database(url, wait=WAIT)) as store,
        contextlib.closing(demos.Demo(place.folder)) as demo,
    ):
        own = dataclasses.replace(place, store=store)
        desk = desks.Desk(own, host, tuple(proxies), limit or limits.Limits(), demo=demo.start)
        _resume(own, demo)
        counted = metrics.router(place.store)
        with (
            app.serving(
                place.file, place.arrivals, host=host, port=port, more=[counted], front=front(desk)
            ) as address,
            resuming.keeping(own),
        ):
            yield address, desk


def _resume(place: places.Place, demo: demos.Demo) -> None:
    """Have the generated data there again that the configuration has a connection to."""
    try:
        start.resume_demo(place, views.person(), demo.start)
    except (errors.TidegateError, RuntimeError) as error:
        log.warning("%s The generated data of the connection %s is not there.", error, start.DEMO)


def front(desk: desks.Desk) -> app.Front:
    """All that stands on a desk."""
    made = [router(desk) for router in (*web.ROUTERS, *api.ROUTERS)]
    return app.Front(desk, made, troubles.failed, _prepare)


def _prepare(application: fastapi.FastAPI) -> None:
    """Make the pages' templates and the API's description, so that no first reader waits for them."""
    frame.prepare()
    description.of(application)
