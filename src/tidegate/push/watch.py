"""What others make or change at Stripe while a push writes: who creates an object looks here first.

A plan is made of a copy that was current when it was made, and a long push goes on for hours. Where Stripe can be
asked for the very value (an exact e-mail, a lookup key, a code) each create asks. It cannot be asked so for a value
of metadata, nor for an e-mail in any case: its search lags behind. So the events since the plan are read, anew
every minute at most while something is created, and each create is compared with the objects that others touched
meanwhile. It costs some requests a minute, however many rows there are; no create waits but where the last look is
older than `FRESH`.

A key that may not read events lists what was created since; a change of an older object is not seen then. What
nobody sees is what happened after the last look, and events that Stripe shows late.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping

from tidegate import catalog, config, errors
from tidegate.catalog import writes
from tidegate.push import compare, evidence, targets
from tidegate.store import operations
from tidegate.stripe import client, pages

FRESH = 60.0
"""Seconds that the last look may be old when something is created."""
EARLY = 0.5
"""The part of it after which the next look begins, beside the creates."""
LATE = 60.0
"""Seconds that each look reads again, since events may become visible late."""
BEFORE = 600.0
"""Seconds before the plan that the first look reads: the copy it was made of may lack what became visible late."""

log = logging.getLogger(__name__)

Shown = Callable[[str], str | None]
"""The text of a field."""


def unseen(push: config.Push, of: writes.Object) -> list[str]:
    """The fields of a match of which Stripe cannot tell at once whether an object has a value."""
    found = []
    for field, match in push.match.items():
        exact = field in ("lookup_key", "code") or (field == "id" and of.settable_id)
        if not exact and (field != "email" or match.folded(field)):
            found.append(field)
    return found


def needed(push: config.Push, of: writes.Object) -> bool:
    """May a push create what somebody else makes meanwhile, without Stripe telling when it is asked for it?"""
    creates = of.creatable and push.behavior != "update_only"
    return bool(creates and of.stream and unseen(push, of))


class Watch:
    """The objects of one kind that others touched since a moment of Stripe's clock; used on one event loop."""

    def __init__(
        self, stripe: client.Client, push: config.Push, of: writes.Object, name: str, since: float
    ) -> None:
        self._stripe, self._of, self._name = stripe, of, name
        self._match = push.match
        self._since = since - BEFORE
        self._looked = -FRESH * 10
        """When the last look began, by this machine's steady clock."""
        self._turn = asyncio.Lock()
        self._ahead: asyncio.Task[None] | None = None
        self._told: dict[str, tuple[float, set[tuple[str, ...]]]] = {}
        """By object: the moment of the newest that is known of it, and what it may be matched by since."""
        self._blind = False

    async def appeared(self, fields: Mapping[str, str]) -> bool:
        """Has another object the values that these fields are matched by?

        Raises what kept it from looking: then nothing is proven absent.
        """
        age = time.monotonic() - self._looked
        if age > FRESH:
            async with self._turn:
                if time.monotonic() - self._looked > FRESH:
                    await self._look()
        elif age > FRESH * EARLY and (self._ahead is None or self._ahead.done()):
            self._ahead = asyncio.create_task(self._look_ahead())
        wanted = self._values(fields.get)
        return wanted is not None and any(wanted in values for _, values in self._told.values())

    async def close(self) -> None:
        """Look no more."""
        if self._ahead is not None:
            self._ahead.cancel()
            await asyncio.gather(self._ahead, return_exceptions=True)

    async def _look_ahead(self) -> None:
        async with self._turn:
            try:
                await self._look()
            except errors.TidegateError as error:  # whoever creates when that look is too old says so
                log.info("what others made meanwhile could not be read: %s", error)

    async def _look(self) -> None:
        """Read what was touched since the last time."""
        began, now = time.monotonic(), self._stripe.clock.now()
        if not self._blind:
            try:
                await self._hear()
            except (errors.PermissionMissing, errors.NotEnabled):
                self._blind = True
        if self._blind:
            await self._list()
        self._looked, self._since = began, max(self._since, now - LATE)

    async def _hear(self) -> None:
        types = [each for each in self._of.events if not each.endswith(".deleted")]
        gone = [each for each in self._of.events if each.endswith(".deleted")]
        async for event in evidence.events(self._stripe, [*types, *gone], self._since):
            subject = event["data"]["object"]
            if subject.get("object") == self._of.object:
                echo = operations.echo(evidence.key_of(event))
                ours = echo is not None and echo.push == self._name
                self._note(subject, float(event["created"]), gone=event["type"] in gone, ours=ours)

    async def _list(self) -> None:
        """What was created since; nobody knows that of what is listed for each of many others (tax ids)."""
        origin = catalog.load().streams[self._of.stream].origins[0]
        if origin.parents:
            return
        params = pages.list_params(origin, gte=int(self._since) if origin.created else None)
        async for subject in evidence.walk(self._stripe, origin.path, params):
            ours = targets.MARK in (subject.get("metadata") or {})
            self._note(subject, float(subject.get("created") or 0.0), gone=False, ours=ours)

    def _note(self, subject: evidence.Found, moment: float, *, gone: bool, ours: bool) -> None:
        """Keep the newest of an object; what we did to it ourselves is nothing that others did."""
        id, before = str(subject.get("id")), self._told.get(str(subject.get("id")))
        if ours and before is None:
            return
        if gone:
            self._told[id] = (math.inf, set())
            return
        values = self._values(self._shown(subject))
        found = set() if values is None else {values}
        if before is None or moment > before[0]:
            self._told[id] = (moment, found)
        elif moment == before[0]:  # of one second nobody can tell which was last
            before[1].update(found)

    def _shown(self, subject: evidence.Found) -> Shown:
        def shown(path: str) -> str | None:
            there = compare.shown(self._of, subject, path)
            return there if isinstance(there, str) else None

        return shown

    def _values(self, shown: Shown) -> tuple[str, ...] | None:
        """What an object or a row is matched by, folded where its case does not count; None where it lacks some."""
        found = []
        for field, match in self._match.items():
            value = shown(field)
            if not value:
                return None
            found.append(value.strip().lower() if match.folded(field) else value)
        return tuple(found)
