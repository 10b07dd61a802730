"""The process of a function, or of expressions, seen from Tidegate: started, fed, watched and killed.

    with bounded.Child(language, settings) as child:
        child.feed(frames.RECORDS, b"...", 2)
        for frame in child.exchange(timeout=5.0): ...

The process has no environment, no terminal, no folder (its own is removed as soon as it stands in it), no
descriptors but its pipes, and a session of its own; what it gives up besides is in `confined`. Which record it is
at stands in a word of memory that both sides see. Times are taken here.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import mmap
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from concurrent import futures
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import msgspec

from tidegate import temporary
from tidegate.shape import frames

Language = Literal["python", "javascript", "sql"]

_PIPE = 1 << 20
"""Bytes that a pipe holds where the system lets us say so; enough that both sides seldom wait for each other."""
_LOOK = 0.05
"""Seconds between two looks at a process that says nothing."""
_GRACE = 5.0
"""Seconds for what is no function: starting, reading a batch, sending results."""
_PACKAGES: dict[Language, tuple[str, ...]] = {
    "python": (),
    "javascript": ("py_mini_racer",),
    "sql": ("duckdb", "pyarrow", "numpy"),
}
"""What a process imports beside msgspec; DuckDB wants numpy where there is one."""
_F_SETPIPE_SZ = 1031
"""Of Linux; elsewhere there is no such thing, and no name for it either."""


class Frame(NamedTuple):
    """What the process said."""

    kind: bytes
    number: int
    body: bytes


class Stopped(Exception):
    """The process is no more, or must not go on: `late`, `garbled`, or `ended` by itself."""

    def __init__(self, kind: Literal["late", "garbled", "ended"]) -> None:
        super().__init__(kind)
        self.kind = kind


class Child:
    """One process; used by one thread at a time."""

    def __init__(self, language: Language, settings: dict[str, Any]) -> None:
        self._ours = contextlib.ExitStack()
        self._key = secrets.randbits(64)
        with contextlib.ExitStack() as failing, contextlib.ExitStack() as theirs:
            failing.push(self._ours)
            inward, self._to = _pipe(theirs, self._ours)
            self._from, outward = _pipe(self._ours, theirs)
            self._errors, errors = _pipe(self._ours, theirs)
            shared = theirs.enter_context(tempfile.TemporaryFile())
            shared.truncate(8)
            self._word = self._ours.enter_context(
                memoryview(self._ours.enter_context(mmap.mmap(shared.fileno(), 8))).cast("Q")
            )
            passed = (inward, outward, shared.fileno())
            self._process = _starter(os.getpid()).submit(_start, language, passed, errors).result()
            failing.pop_all()
        for descriptor in (self._to, self._from, self._errors):
            os.set_blocking(descriptor, False)
        self._unsent = bytearray()
        self._unread = bytearray()
        self._poll = select.poll()
        self._poll.register(self._from, select.POLLIN)
        self._writing = False
        self._seen = self._since = self._left = 0.0
        self.feed(frames.SETTINGS, msgspec.json.encode({**settings, "key": self._key}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Has it not ended?"""
        return self._process.poll() is None

    @property
    def begun(self) -> int:
        """The number of the record that it is at, from 1 on; 0 when it is at none. Only what the process says."""
        return int(self._word[0])

    def feed(self, kind: bytes, body: bytes, count: int = 0) -> None:
        """Queue a frame, to be written whenever the process reads."""
        self._unsent += frames.HEADER.pack(kind, count, len(body), 0)
        self._unsent += body
        self._write()

    def exchange(self, timeout: float) -> list[Frame]:
        """Write what can be written, wait until the process says something, and read it.

        Raises Stopped when it has been at one record for longer than the timeout, says nothing for longer than that
        and some, says what is no frame, or has ended. Between two calls no time passes: the process may have waited
        to be listened to.
        """
        quiet = time.monotonic()
        self._since += quiet - self._left
        try:
            while True:
                self._write()
                ready = self._poll.poll(_LOOK * 1000)
                if any(descriptor == self._from for descriptor, _ in ready):
                    if said := self._read():
                        return said
                    continue
                now, begun = time.monotonic(), self.begun
                if begun != self._seen:
                    self._seen, self._since = begun, now
                if (begun and now - self._since > timeout) or now - quiet > timeout + _GRACE:
                    raise Stopped("late")
        finally:
            self._left = time.monotonic()

    def ending(self) -> tuple[int, str]:
        """The status of a process that has ended, negative for a signal, and what it wrote on stderr."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        words = b""
        with contextlib.suppress(OSError):
            words = os.read(self._errors, 1 << 16)
        return self._process.poll() or 0, words.decode("utf-8", "replace")

    def close(self) -> None:
        """Kill the process with all that it might have started, and let go of everything."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
        self._process.wait()
        self._ours.close()

    def _write(self) -> None:
        """As much as the pipe takes."""
        try:
            while self._unsent:
                written = os.write(self._to, memoryview(self._unsent)[:_PIPE])
                del self._unsent[:written]
        except BlockingIOError:
            pass
        except BrokenPipeError:  # it has ended; reading tells
            self._unsent.clear()
        if bool(self._unsent) != self._writing:
            self._writing = not self._writing
            if self._writing:
                self._poll.register(self._to, select.POLLOUT)
            else:
                self._poll.unregister(self._to)

    def _read(self) -> list[Frame]:
        """The frames that are complete."""
        try:
            part = os.read(self._from, _PIPE)
        except BlockingIOError:
            return []
        if not part:
            raise Stopped("ended")
        self._unread += part
        complete = []
        at, head = 0, frames.HEADER.size
        while len(self._unread) - at >= head:
            kind, count, length, key = frames.HEADER.unpack_from(self._unread, at)
            if key != self._key or length > frames.LARGEST_FRAME:
                raise Stopped("garbled")
            if len(self._unread) - at < head + length:
                break
            complete.append(Frame(kind, count, bytes(self._unread[at + head : at + head + length])))
            at += head + length
        del self._unread[:at]
        return complete


@functools.cache
def _starter(_process: int) -> futures.ThreadPoolExecutor:
    """The thread that starts processes: on Linux they are killed when the thread that started them ends.

    Each process, also a forked one, has its own.
    """
    return futures.ThreadPoolExecutor(1, "tidegate-functions")


def _start(language: Language, passed: tuple[int, int, int], errors: int) -> subprocess.Popen[bytes]:
    with temporary.folder("function") as folder:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-X", "utf8", "-c", _program(language, passed)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd=folder,
            env={"TZ": "UTC"},
            pass_fds=passed,
            start_new_session=True,
        )


def _program(language: Language, passed: tuple[int, int, int]) -> str:
    """What the interpreter runs: nothing of the surrounding Python but the folders of a few packages."""
    folders = [str(Path(__file__).parents[2]), *_folders(language)]
    return (
        f"import sys; sys.path += {folders!r}; "
        f"from tidegate.shape import child_{language} as child; child.main{(*passed, os.getpid())}"
    )


@functools.cache
def _folders(language: Language) -> tuple[str, ...]:
    """Where the packages are that the process imports."""
    import importlib.util

    found = [importlib.util.find_spec(name) for name in ("msgspec", *_PACKAGES[language])]
    return tuple(dict.fromkeys(str(Path(spec.origin).parents[1]) for spec in found if spec and spec.origin))


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    """The two ends of a pipe, closed by those whom they belong to."""
    ends = os.pipe()
    reader.callback(os.close, ends[0])
    writer.callback(os.close, ends[1])
    with contextlib.suppress(OSError):  # not on macOS, and not beyond what an administrator allows
        fcntl.fcntl(ends[1], _F_SETPIPE_SZ, _PIPE)
    return ends
