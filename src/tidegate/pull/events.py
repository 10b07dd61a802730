"""What Stripe's events say: read once for all streams, in windows that fit into memory, and told as changes.

An event names an object that changed, and what else changed with it: relatives (a refund's charge), the parent of
a child, the lists that hang on a row. Nothing here decides what is to be believed of its payload; see `tail`.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from tidegate import catalog, errors
from tidegate.pull import reading, unpacking
from tidegate.rows import decode, text
from tidegate.stripe import pages

LAG = 5
"""Seconds by which reading stays behind Stripe's clock: events of the last seconds are still being written."""
CROWD = 1_000
"""Events that one window is meant to hold."""
CROWDED = 5 * CROWD
"""Events at which a window is given up and cut."""


class _Data(msgspec.Struct):
    object: msgspec.Raw
    previous_attributes: msgspec.Raw = msgspec.Raw()


class Event(msgspec.Struct):
    """One event, as far as it matters here."""

    id: str
    type: str
    created: int
    data: _Data
    api_version: str | None = None


class _Page(msgspec.Struct):
    data: list[Event]
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """One page of events: the events, and the same as rows of their own stream."""

    events: tuple[Event, ...]
    rows: decode.Rows
    version: int
    weight: int
    listed: bool = True
    """Was it asked for, or delivered?"""


@dataclass(frozen=True, slots=True)
class Window:
    """All events that can be seen of `[low, high)`; `now` is Stripe's clock when the first was asked for."""

    low: int
    high: int
    now: int
    answers: tuple[Answer, ...]
    ahead: tuple[Answer, ...] = ()
    """Of the last window, the events from `high` on that could be seen already; more of these seconds may come."""


Kind = Literal["created", "updated", "deleted", "touched"]


@dataclass(frozen=True, slots=True)
class Change:
    """One row that an event speaks of; `touched`: it changed with another, and the event does not show it.

    `previous` are the top-level fields that the event says have changed; None where it does not say.
    """

    stream: str
    id: str
    kind: Kind
    at: int
    payload: bytes | None = None
    pinned: bool = False
    previous: frozenset[str] | None = None
    parent: unpacking.Owner | None = None
    created: int | None = None
    fields: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Touched:
    """A list under a parent that changed as a whole, of the child stream `stream`."""

    stream: str
    parent: str
    at: int


async def windows(trip: reading.Trip, low: int) -> AsyncIterator[Window]:
    """Everything from `low` on until a few seconds ago, oldest window first; the first one tells the clock.

    What little there is comes in one window; of much, each window holds about a thousand events. Nothing
    is told yet of what happened since a page was asked for that is still on its way: the page's rows may be from
    before, and would come after what is told here.
    """
    held = min(trip.reading.flying.values(), default=sys.maxsize)
    answers, cut = await _read(trip, low, None, CROWD)
    now = answers[0].version
    high = min(now - LAG, held)
    told = () if held <= now else tuple(_only(answer, high, sys.maxsize) for answer in answers)
    ahead = tuple(answer for answer in told if answer.events)
    if not cut:
        yield Window(low, high, now, tuple(_only(answer, low, high) for answer in answers), ahead)
        return
    found = [event for answer in answers for event in answer.events]
    spread = max(1, now - min(event.created for event in found))
    width = max(1, spread * CROWD // len(found))
    while low < high:
        top = min(low + width, high)
        answers, cut = await _read(trip, low, top, CROWDED)
        if cut and top - low > 1:
            oldest = min(event.created for answer in answers for event in answer.events)
            width = max(1, min((top - low) // 4, oldest - low))
            continue
        if cut:  # more in one second than a window should hold
            answers, _ = await _read(trip, low, top, sys.maxsize)
        count = sum(len(answer.events) for answer in answers)
        within = tuple(_only(answer, low, top) for answer in answers)
        yield Window(low, top, now, within, ahead if top == high else ())
        low = top
        width = width * 3 if count < CROWD // 4 else max(1, width // 2) if count > 2 * CROWD else width


def delivered(shared: reading.Reading, bodies: Sequence[bytes]) -> Answer:
    """Events as Stripe delivers them, each a body of its own; one that cannot be read is left to the lists."""
    decoder = shared.decoder(shared.streams["events"])
    try:
        found, rows = [_single(body) for body in bodies], decoder.objects(bodies)
    except errors.BadPage:
        good = [body for body in bodies if _is_readable(body, decoder)]
        found, rows = [_single(body) for body in good], decoder.objects(good)
    version = min((event.created for event in found), default=0)
    return Answer(tuple(found), rows, version, sum(map(len, bodies)), listed=False)


def _is_readable(body: bytes, decoder: decode.Decoder) -> bool:
    try:
        _single(body)
        decoder.objects([body])
    except errors.BadPage:
        return False
    return True


def _single(body: bytes) -> Event:
    try:
        try:
            return msgspec.json.decode(body, type=Event)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            return _event(text.members(text.compact(body)))
    except (msgspec.DecodeError, ValueError, KeyError) as error:
        raise errors.BadPage(f"What was delivered is no event: {error}.") from None


def changes(event: Event, known: catalog.Catalog, api_version: str) -> Iterator[Change | Touched]:
    """What an event says has changed, in streams that are pulled or not.

    Raises nothing for an object of an unknown kind: such an event says nothing.
    """
    try:
        fields = text.value(bytes(event.data.object))
        previous = _previous(event)
    except ValueError:
        return
    if not isinstance(fields, dict):
        return
    row_id, kind = fields.get("id"), fields.get("object")
    told = catalog.announced(event.type, kind if isinstance(kind, str) else "")
    for name, what in told:
        if isinstance(row_id, str):
            yield Change(
                name,
                row_id,
                what,
                event.created,
                bytes(event.data.object),
                event.api_version == api_version,
                None if previous is None else frozenset(previous),
                owner(known, known.streams[name], {**(previous or {}), **_set(fields)}),
                _moment(fields, known.streams[name].created_field),
                fields,
            )
    relatives = set(_pairs(known.strays.get(event.type, {})))
    for name, _ in told:
        relatives |= set(_pairs(known.streams[name].relatives))
    for path, name in sorted(relatives):
        named = {*catalog.references(fields, path), *catalog.references(previous or {}, path)}
        for found in sorted(named - {row_id}):
            yield from _touched(known, known.streams[name], found, fields, path, event.created)


def _pairs(relatives: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """Every path with every stream that it leads to."""
    return ((path, name) for path, streams in relatives.items() for name in streams)


def owner(
    known: catalog.Catalog, stream: catalog.Stream, fields: Mapping[str, Any]
) -> unpacking.Owner | None:
    """The parent row that a child says it belongs to."""
    for origin in stream.origins:
        for parent in origin.parents:
            above = known.streams[parent.stream].object
            for name in (parent.param, above.rpartition(".")[2], above.rpartition("_")[2]):
                if name != "id" and (found := catalog.references(fields, name)):
                    return unpacking.Owner(found[0], above)
    return None


def _touched(
    known: catalog.Catalog, stream: catalog.Stream, id: str, fields: Mapping[str, Any], path: str, at: int
) -> Iterator[Change | Touched]:
    """A relative: a row by its id, or of a child stream all rows of the parent that the field names."""
    parents = {known.streams[parent.stream].object for origin in stream.origins for parent in origin.parents}
    if not parents:
        yield Change(stream.name, id, "touched", at)
    elif path.rpartition(".")[2] in {name.rpartition(".")[2] for name in parents}:
        yield Touched(stream.name, id, at)
    elif above := owner(known, stream, fields):
        yield Change(stream.name, id, "touched", at, parent=above)


async def _read(trip: reading.Trip, low: int, high: int | None, most: int) -> tuple[list[Answer], bool]:
    """The pages of one span, newest first; it is cut, and the answer says so, where it has more than `most`."""
    stream = trip.reading.streams["events"]
    origin = stream.origins[0]
    found: list[Answer] = []
    after: str | None = None
    restarts = 0
    while True:
        params = pages.list_params(origin, after=after, limit=origin.max_limit, gte=low, lt=high)
        try:
            answer = await trip.get(origin.path, params, origin.path)
        except errors.Missing:
            if after is None or restarts >= reading.RESTARTS:
                raise
            found, after, restarts = [], None, restarts + 1
            continue
        page = _page(answer.body, origin.path)
        rows = trip.reading.decoder(stream).page(answer.body).rows
        whole = Answer(tuple(page.data), rows, answer.version, len(answer.body))
        found.append(_only(whole, low, sys.maxsize if high is None else high))
        last = page.data[-1].id if page.data else None
        if page.has_more and last in (None, after):
            raise reading.stuck(origin.path)
        # Newest first: a Stripe that ignores the filter has shown all that was asked for.
        passed = any(event.created < low for event in page.data) and _is_newest_first(page.data)
        if not page.has_more or passed:
            return found, False
        after = last
        if sum(len(each.events) for each in found) >= most:
            return found, True


def _page(body: bytes, path: str) -> _Page:
    """A page of events; of one that msgspec does not read, for half an emoji in it, each event by itself."""
    try:
        try:
            return msgspec.json.decode(body, type=_Page)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            members = text.members(text.compact(body))
            events = [_event(text.members(raw)) for raw in text.elements(members["data"])]
            return _Page(events, text.value(members.get("has_more", b"false")) is True)
    except (msgspec.DecodeError, ValueError, KeyError) as error:
        raise errors.BadPage(
            f"GET {path} did not answer with a list of events: {error}; nothing was skipped."
        ) from None


def _event(members: Mapping[str, bytes]) -> Event:
    data = text.members(members["data"])
    told = _Data(msgspec.Raw(data["object"]), msgspec.Raw(data.get("previous_attributes", b"")))
    named = {
        name: text.value(members[name])
        for name in ("id", "type", "created", "api_version")
        if name in members
    }
    return msgspec.convert({**named, "data": told}, Event)


def _is_newest_first(events: Sequence[Event]) -> bool:
    return all(a.created >= b.created for a, b in itertools.pairwise(events))


def _only(answer: Answer, low: int, high: int) -> Answer:
    """The events of `[low, high)`."""
    kept = [i for i, event in enumerate(answer.events) if low <= event.created < high]
    if len(kept) == len(answer.events):
        return answer
    events = tuple(answer.events[i] for i in kept)
    return dataclasses.replace(answer, events=events, rows=answer.rows.take(kept))


def _previous(event: Event) -> dict[str, Any] | None:
    raw = event.data.previous_attributes
    found = text.value(bytes(raw)) if raw else None
    return found if isinstance(found, dict) else None


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _moment(fields: Mapping[str, Any], name: str) -> int | None:
    found = fields.get(name) if name else None
    return found if isinstance(found, int) and not isinstance(found, bool) else None
