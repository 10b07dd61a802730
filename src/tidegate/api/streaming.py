"""Server-sent events: answers that go on while something goes on.

A source yields events as they come, and an empty one when there is nothing more for now; then the next turn of the
shared `following.Follower` is waited for. A stream ends with its source, with the session or the token of who
listens, when the server stops, and after ten minutes at the latest; browsers come again by themselves and say with
Last-Event-ID where they were.
"""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator

import fastapi
from starlette import concurrency, requests

from tidegate.api import faults
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import following

MEDIA = "text/event-stream"
EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "description": "What happened."},
        "data": {"type": "string", "description": "The line, the run or the job that it is of, as JSON."},
        "id": {"type": "string", "description": "What Last-Event-ID says to go on after it."},
    },
}
"""The schema of one event, for the description of the API."""
BEAT = 15.0
"""Seconds without an event after which a line says that the stream lives: proxies close those that say nothing."""
LOOKED = 15.0
"""Seconds between two looks at whether who listens still may."""
LONGEST = 600.0
"""Seconds after which a stream ends."""
MOST = 300
"""Streams at a time, of all that this process serves."""
EACH = 30
"""Of them for one member or token: nobody is to take the places of all others."""
AGAIN = 2_000
"""Milliseconds after which a browser that lost its stream comes again."""


class _State:
    """What the streams of an application share."""

    def __init__(self) -> None:
        self.follower = following.Follower()
        self.open = collections.Counter[str]()
        """By the name of who listens."""


def follower(request: requests.Request) -> following.Follower:
    """What all streams of this application ask by."""
    return _state(request).follower


def event(name: str, data: str, place: str = "") -> bytes:
    """One event; `data` may have several lines, `place` is what Last-Event-ID will say."""
    lines = [f"event: {name}", *(f"data: {line}" for line in data.splitlines() or [""])]
    if place:
        lines.insert(0, f"id: {place}")
    return ("\n".join(lines) + "\n\n").encode()


def response(request: requests.Request, source: AsyncGenerator[bytes]) -> fastapi.Response:
    """The answer that tells what a source yields; 503 where too many listen already, 429 where one asker does."""
    if request.method == "HEAD":
        return fastapi.Response(media_type=MEDIA, headers={"Cache-Control": "no-store"})
    state, desk = _state(request), request.app.state.desk
    asker = asking.maybe(request)
    who = "" if asker is None else f"{asker.via}:{asker.name}"
    if state.open[who] >= EACH:
        return faults.problem(
            429, "You follow too much at once; close some of it.", headers={"Retry-After": "10"}
        ).response()
    if state.open.total() >= MOST or desk.place.stopping.is_set():
        return faults.problem(
            503, "Too many follow something just now; try again.", headers={"Retry-After": "10"}
        ).response()
    return fastapi.responses.StreamingResponse(
        _told(state, desk, asker, who, source),
        media_type=MEDIA,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _told(
    state: _State, desk: desks.Desk, asker: asking.Asker | None, who: str, source: AsyncGenerator[bytes]
) -> AsyncIterator[bytes]:
    state.open[who] += 1
    began = last = looked = time.monotonic()
    try:
        yield f"retry: {AGAIN}\n\n".encode()
        async with contextlib.aclosing(source):
            async for each in source:
                now = time.monotonic()
                if asker is not None and now - looked >= LOOKED:
                    if not await concurrency.run_in_threadpool(asking.lasts, desk, asker):
                        return
                    looked = now
                if each:
                    yield each
                    last = now
                    continue
                if desk.place.stopping.is_set() or now - began >= LONGEST:
                    return
                if now - last >= BEAT:
                    yield b": alive\n\n"
                    last = now
                await state.follower.turn()
    finally:
        state.open[who] -= 1
        if not state.open[who]:
            del state.open[who]


def _state(request: requests.Request) -> _State:
    found: _State | None = getattr(request.app.state, "streams", None)
    if found is None:
        found = request.app.state.streams = _State()
    return found
