"""What only somebody who looks finds out: how long requests wait, and what Stripe says of our endpoints."""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

from tidegate import config, errors
from tidegate.engine import matters
from tidegate.pull import scope, settings
from tidegate.store import database, endpoints, waits
from tidegate.stripe import pace, webhooks

log = logging.getLogger(__name__)

PATIENCE = 20.0
"""Seconds for which Stripe is asked; what it has not answered by then is unknown."""

Status = Literal["enabled", "disabled", "missing", "unknown"]
_WORST: tuple[Status, ...] = ("missing", "disabled", "unknown", "enabled")


class Waits:
    """Tells of this process for how long its requests wait for the budget."""

    def __init__(self, store: database.Database, holder: str) -> None:
        self._store, self._holder, self._noted = store, holder, False

    def note(self) -> None:
        """Note the waits that are long, or that they are over."""
        self._note({name: seconds for name, seconds in pace.waits().items() if seconds >= matters.STARVED})

    def close(self) -> None:
        """Note that nothing waits any more."""
        self._note({})

    def _note(self, long: dict[str, float]) -> None:
        if long or self._noted:
            waits.note(self._store, self._holder, long)
        self._noted = bool(long)


def statuses(file: config.Config, store: database.Database) -> dict[str, Status]:
    """What Stripe says of the endpoints of each connection that has some, the worst of several; never of errors.

    Where the key may not ask, or Stripe gives no answer, it is `unknown`.
    """
    kept = [each for each in endpoints.kept(store) if each.connection in file.stripe]
    said = asyncio.run(_asked(file, kept)) if kept else []
    found: dict[str, Status] = {}
    for row, status in zip(kept, said, strict=True):
        found[row.connection] = min(status, found.get(row.connection, status), key=_WORST.index)
    return found


async def _asked(file: config.Config, kept: list[endpoints.Kept]) -> list[Status]:
    tasks = [asyncio.create_task(_status(file, each)) for each in kept]
    done, late = await asyncio.wait(tasks, timeout=PATIENCE)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    return [task.result() if task in done else "unknown" for task in tasks]


async def _status(file: config.Config, row: endpoints.Kept) -> Status:
    try:
        async with scope.connect(settings.source(file.stripe[row.connection])) as stripe:
            told = await webhooks.get(stripe, row.id)
    except errors.Missing:
        return "missing"
    except errors.TidegateError as error:
        log.info("%s Whether Stripe delivers to %s is looked for again later.", error, row.connection)
        return "unknown"
    return "enabled" if told.status == "enabled" else "disabled"
