"""What events say of rows on which Stripe and the warehouse differ: whether only time lies between them.

Events are read once, when the first difference is met, and a few seconds later, so that those of the last moments
can be seen. They are kept as keys and times, never as payloads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from tidegate import catalog, errors
from tidegate.pull import events, plan, reading, tail
from tidegate.stripe import client

WAIT = events.LAG + 1.0
"""Seconds after the reading of the lists before events are asked for."""


class News:
    """Events of one account since the warehouse's place in them, or since the lists were read.

    `saved` is the warehouse's state, `since` Stripe's clock when the first list was asked for. Where events cannot
    be read, there are none.
    """

    def __init__(
        self, shared: reading.Reading, saved: Mapping[str, str], since: int, tally: client.Tally
    ) -> None:
        self._shared, self._tally = shared, tally
        self._place = tail.place(saved, shared.account)
        self._low = (since if self._place is None else min(self._place, since)) - tail.OVERLAP
        prefix = f"seen/{shared.account}/"
        self._seen = {id for name, text in saved.items() if name.startswith(prefix) for id in text.split()}
        self._latest: dict[tuple[str, str], int] = {}
        self._unheard: set[tuple[str, str]] = set()
        self._read = False
        self._now = shared.client.clock.now()

    async def of(self, stream: catalog.Stream, row_id: str, parent: str | None, since: int) -> bool:
        """Does an event that the warehouse, or a reading at `since`, may lack speak of a row or of its list?"""
        if not self._read:
            self._read = True
            await self._listen()
        names = [(stream.name, row_id)]
        if parent is not None:
            names.append((f"@{stream.name}", parent))
            names += [(above.stream, parent) for origin in stream.origins for above in origin.parents]
        return any(name in self._unheard or self._latest.get(name, -1) >= since for name in names)

    async def _listen(self) -> None:
        left = self._now + WAIT - self._shared.client.clock.now()
        await asyncio.sleep(max(0.0, min(left, WAIT)))
        known = self._shared.streams["events"]
        trip = reading.Trip(
            self._shared, plan.Walk(plan.Node(known, known.origins[0], False)), self._tally, ""
        )
        try:
            async for window in events.windows(trip, self._low):
                for answer in window.answers:
                    for event in answer.events:
                        self._hear(event)
        except (errors.PermissionMissing, errors.NotEnabled):
            return

    def _hear(self, event: events.Event) -> None:
        unheard = (
            self._place is not None
            and event.created >= self._place - tail.OVERLAP
            and event.id not in self._seen
        )
        for change in events.changes(event, catalog.load(), self._shared.client.api_version):
            if isinstance(change, events.Touched):
                name = (f"@{change.stream}", change.parent)
            else:
                name = (change.stream, change.id)
            self._latest[name] = max(change.at, self._latest.get(name, 0))
            if unheard:
                self._unheard.add(name)
