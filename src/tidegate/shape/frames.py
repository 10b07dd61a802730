"""Frames in the pipes between Tidegate and the process of a function: what they carry is in `wire`.

With the process of SQL expressions they carry what is in `wire_sql`, in parts, each with the number of parts left.

Both sides read and write them alike; Tidegate's own end, which never waits for the process, is in `bounded`.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

import msgspec

from tidegate.shape import wire

HEADER = struct.Struct("<cIQQ")
"""Of a frame: its kind, the number of results in it, the length of what follows, and the key.

The key is made up for each process and told in its settings, so that what a function itself writes into the pipe is
not taken for an answer.
"""
READY = b"R"
"""From the process: the function is loaded."""
REFUSED = b"E"
"""From the process: the function cannot be loaded; a JSON list of the reason and the line."""
RESULTS = b"A"
"""From the process: results, in the order of the records."""
PRINTED = b"P"
"""From the process: what the function printed; a JSON list of the text and the number of lines left out."""
RECORDS = b"B"
"""To the process: records."""
SETTINGS = b"S"
"""To the process: the function and its limits."""

OUT_OF_MEMORY = 91
"""The process ends with it when there was no memory for a record."""
WORN = 92
"""The process ends with it after a result, to be started anew: it may still hold what filled its memory."""

LARGEST_FRAME = 2 * wire.LARGEST_RESULT
"""Bytes of a frame from the process: it sends results when they are a megabyte, and the last may be the largest."""


def read(descriptor: int) -> tuple[bytes, int, bytes] | None:
    """The next frame for the process, without its key; None when the other side has closed the pipe."""
    head = _exactly(descriptor, HEADER.size)
    if head is None:
        return None
    kind, count, length, _ = HEADER.unpack(head)
    body = _exactly(descriptor, length)
    return None if body is None else (kind, count, body)


class Pipe(NamedTuple):
    """Where the process writes its frames."""

    descriptor: int
    key: int

    def write(self, kind: bytes, body: bytes, count: int = 0) -> None:
        """Write one frame, however long the other side takes to read it."""
        rest = memoryview(HEADER.pack(kind, count, len(body), self.key) + body)
        while rest:
            rest = rest[os.write(self.descriptor, rest) :]


def said(body: bytes | memoryview) -> tuple[str, int]:
    """A text and a number, of PRINTED and REFUSED; raises ValueError."""
    try:
        return msgspec.json.decode(body, type=tuple[str, int])
    except (msgspec.MsgspecError, RecursionError) as reason:
        raise ValueError(type(reason).__name__) from None


def saying(text: str, number: int) -> bytes:
    """A text and a number, for `said`."""
    return msgspec.json.encode((wire.cleaned(text), number))


def _exactly(descriptor: int, length: int) -> bytes | None:
    parts = []
    while length:
        part = os.read(descriptor, min(length, 1 << 20))
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
