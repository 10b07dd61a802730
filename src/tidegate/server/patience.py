"""How long a connection may take to say what it wants, and how many may wait: nobody who sends byte by byte, or
nothing at all, keeps others out.

uvicorn itself waits for the head of a request for ever, whatever its size. https://www.uvicorn.org/settings/#timeouts
"""

from __future__ import annotations

import asyncio

from starlette import types
from uvicorn.protocols.http import httptools_impl

from tidegate.server import problems

HEAD = 15.0
"""Seconds within which the head of a request must have come, the first as well as those that follow it."""
LARGEST = 64 * 2**10
"""Bytes of a head."""
BODY = 30.0
"""Seconds within which the first bytes of a body must have come, where a route says nothing else."""
RATE = 32 * 2**10
"""Bytes of a body for which there is one second more."""
CROWDED = 900
"""Connections beyond which the one that has said nothing for the longest time makes room for a new one."""


class Connection(httptools_impl.HttpToolsProtocol):
    """A connection that is ended when it says nothing, or goes on for too long."""

    _timer: asyncio.TimerHandle | None = None
    """Runs while a head is waited for."""
    _between = True
    """Is no request begun that has not come in full?"""
    _size = 0
    """Bytes of the head so far."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room where there are many, and wait for the first head."""
        if len(self.connections) >= CROWDED:
            idle = [each for each in self.connections if isinstance(each, Connection) and each.is_idle]
            if idle:
                min(idle, key=lambda each: each.since).drop()
        super().connection_made(transport)
        self.since = self.loop.time()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._came()
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Is nothing being done for it?"""
        return self.cycle is None or self.cycle.response_complete

    def drop(self) -> None:
        """End it, whatever it has to say; others know at once."""
        self.connections.discard(self)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read what has come; a head that never ends is refused."""
        if self._between:  # also where this is nothing but the ends of lines, which begin no request
            self._wait()
        super().data_received(data)
        self.since = self.loop.time()
        if self._timer is not None:
            self._size += len(data)
            if self._size > LARGEST:
                self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """A request begins, also one that follows another in the same bytes."""
        self._between = False
        self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head has come."""
        self._came()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request has come in full."""
        self._between = True
        super().on_message_complete()

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD, self._late)

    def _came(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._size = None, 0

    def _late(self) -> None:
        self._timer = None
        if self._size:
            self._refuse(b"408 Request Timeout")
        elif self.is_idle:
            self.drop()

    def _refuse(self, status: bytes) -> None:
        """Say why, where no other answer is under way, and end."""
        if self.transport.is_closing():
            return
        if self.is_idle:
            self.transport.write(
                b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
        self.transport.close()


class Body:
    """The time that a body may take: `BODY` seconds, and one more for each `RATE` bytes that have come."""

    def __init__(self) -> None:
        self._began, self._size, self._whole = asyncio.get_running_loop().time(), 0, False

    async def next(self, receive: types.Receive) -> types.Message:
        """The next piece of it, and what comes behind it whenever that does; raises Problem."""
        if self._whole:
            return await receive()
        try:
            async with asyncio.timeout_at(self._began + BODY + self._size / RATE):
                message = await receive()
        except TimeoutError:
            raise problems.Problem(
                408, f"The body did not come within {BODY:g} seconds.", {"Connection": "close"}
            ) from None
        self._size += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        return message
