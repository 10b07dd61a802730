"""The events of a generated business: one per object created within the 30 days that Stripe keeps them.

The only thing of a world that is held in memory: eight bytes per event, made when events are first asked for.
"""

from __future__ import annotations

import array
from collections.abc import Callable

from tidegate import catalog
from tidegate.sandbox import business, ids, naming, templates

KEPT = 30 * business.DAY
STREAM, ROW = 8, 34
"""Bits of an event after its seconds since the window began: the stream, and the object's number."""

BY_STATUS = {
    "charges": {"succeeded": "charge.succeeded", "failed": "charge.failed", "pending": "charge.pending"}
}


class Happenings:
    """The generated events, the oldest first."""

    def __init__(
        self,
        books: business.Books,
        chosen: frozenset[str],
        created: Callable[[str, int], int],
        count: Callable[[str, int | None], int],
    ) -> None:
        self._books = books
        self._begin = books.now - KEPT
        self._streams = [
            stream
            for stream in books.catalog.streams.values()
            if stream.api == "v1" and stream.name in chosen and event_type(stream, "")
        ]
        rows: list[int] = []
        spans: dict[str, range] = {}
        for at, stream in enumerate(self._streams):
            above = stream.parent or stream.name
            if books.catalog.streams[above].parent:
                continue
            if above not in spans:
                total = count(above, None)
                spans[above] = range(_first(created, above, total, self._begin), total)
            for row in spans[above]:
                when = created(above, row) - self._begin << STREAM | at
                if not stream.parent:
                    rows.append(when << ROW | row)
                else:
                    rows += [
                        (when << ROW) + row * naming.CHILD + child for child in range(count(stream.name, row))
                    ]
        rows.sort()
        self._rows = array.array("Q", rows)
        self._name = books.namer("events").name

    @property
    def count(self) -> int:
        """How many events there are."""
        return len(self._rows)

    def created(self, ordinal: int) -> int:
        """When it happened: when its object was created."""
        return (self._rows[ordinal] >> STREAM + ROW) + self._begin

    def source(self, ordinal: int) -> tuple[catalog.Stream, int, int | None]:
        """The object that an event is about: stream, ordinal, parent."""
        row = self._rows[ordinal]
        stream = self._streams[row >> ROW & (1 << STREAM) - 1]
        number = row & (1 << ROW) - 1
        return (
            (stream, number % naming.CHILD, number // naming.CHILD)
            if stream.parent
            else (stream, number, None)
        )

    def render(self, ordinal: int, render: Callable[[str, int, int | None], bytes]) -> bytes:
        """The event with its object as it was made."""
        stream, row, parent = self.source(ordinal)
        payload = render(stream.name, row, parent).decode()
        chance = ids.mix(ordinal * 4 + 2 ^ self._books.seed)
        by_hand = chance & 3 == 0
        request = (
            f'"req_{ids.ALPHABET[chance >> 8 & 31]}{chance >> 20 & 0xFFFFFFFFFF:013d}"' if by_hand else "null"
        )
        key = f'"{chance:032x}"' if by_hand and chance & 4 else "null"
        return (
            f'{{"id":"{self._name(ordinal)}","object":"event","api_version":"{self._books.catalog.api_version}",'
            f'"created":{self.created(ordinal)},"data":{{"object":{payload}}},"livemode":false,'
            f'"pending_webhooks":{chance >> 5 & 1},"request":{{"id":{request},"idempotency_key":{key}}},'
            f'"type":{templates.quote(event_type(stream, payload))}}}'
        ).encode()


def event_type(stream: catalog.Stream, payload: str) -> str:
    """The type of the event that tells of an object's creation; empty when Stripe sends none."""
    for status, kind in BY_STATUS.get(stream.name, {}).items():
        if f'"status":"{status}"' in payload:
            return kind
    made = stream.events.created
    if stream.name in ("bank_accounts", "cards", "sources"):
        return next((kind for kind in made if kind.startswith("customer.")), "")
    return next((kind for kind in made if kind.endswith(".created")), made[0] if made else "")


def _first(created: Callable[[str, int], int], stream: str, total: int, begin: int) -> int:
    low, high = 0, total
    while low < high:
        middle = (low + high) // 2
        if created(stream, middle) < begin:
            low = middle + 1
        else:
            high = middle
    return low
