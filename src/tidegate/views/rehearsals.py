"""Rehearsals of pushes: all of it done in a sandbox or with a test key, and what would have been refused."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from tidegate import errors, views
from tidegate.config import values
from tidegate.engine import jobs as doing
from tidegate.engine import place as places
from tidegate.engine import preparing, rehearsals
from tidegate.store import jobs, runs
from tidegate.stripe import keys
from tidegate.views import jobs as known


def begin(
    place: places.Place, who: views.Who, push: str, *, connection: str = "", limit: int | None = None
) -> jobs.Job:
    """Have a push rehearsed in the background, in a sandbox or over a `connection` that has a test key.

    Raises Unknown, ConfigError for one that can never work, and StoreConflict while it is rehearsed.
    """
    file = place.file
    if push not in file.pushes:
        raise views.Unknown(f"There is no push {push!r}{values.suggestion(push, file.pushes) or '.'}")
    preparing.job(file, push)
    if connection:
        _check(place, push, connection)
    wish = {"push": push, "connection": connection, "limit": limit}
    return known.begin(place, who, "rehearsal", f"push:{push}", wish, work(wish))


def work(wish: Mapping[str, Any]) -> doing.Doing:
    """What a rehearsal does, by what was asked for."""
    connection: str = wish["connection"]

    async def rehearse(still: places.Place, screen: doing.Screen) -> doing.Done:
        job = preparing.job(still.file, wish["push"], still.purse)
        with contextlib.ExitStack() as opened:
            if connection:
                staged: Any = rehearsals.over(job, connection, still.folder)
            else:
                staged = rehearsals.in_sandbox(job, still.store, still.folder, shown=screen.phase)
            # In a thread: making a sandbox asks Stripe by an event loop of its own.
            stage = await asyncio.to_thread(opened.enter_context, staged)
            result = await rehearsals.run(stage, runs.new_id(), limit=wish["limit"], shown=screen.phase)
        told = result.document()
        refused = told.pop("refused")
        state: jobs.State = "ok" if result.push.status == "ok" else "partial"
        rows = ((True, {**each, "first": list(map(str, each["first"]))}) for each in refused)
        return doing.Done(state, {**told, "doubt": stage.doubt}, rows, result.push.error)

    return rehearse


def _check(place: places.Place, push: str, connection: str) -> None:
    """Raises ConfigError for a connection over which nothing can be rehearsed."""
    file = place.file
    if connection not in file.stripe:
        near = values.suggestion(connection, file.stripe)
        raise errors.ConfigError(f"connection: there is no {connection!r} under stripe{near or '.'}")
    if connection == file.pushes[push].connection:
        raise errors.ConfigError(
            f"connection: {connection} is where {push} writes to itself; choose another one"
        )
    key = file.stripe[connection].key
    if key is None or keys.mode(key.get_secret_value()) == "live":
        raise errors.ConfigError(f"connection: a rehearsal writes, and {connection} has no test key")
