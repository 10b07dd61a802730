"""Folders for what is needed for a while: gone when they are let go of, and after a kill when the next is made.

Who has a folder holds a lock (flock) on it, which the system takes back when the process ends, however it ends.
Other than the number of a process it is nobody else's later, and it counts between containers that share a disk.
What cleans temporary folders by their age, such as systemd-tmpfiles, leaves locked ones alone (tmpfiles.d(5)).
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "tidegate-"
SUFFIX = ".held"
"""What the names of folders begin and end with; between stand their purpose and the number of the process."""


@contextlib.contextmanager
def folder(purpose: str) -> Iterator[Path]:
    """An empty folder that only its owner can read, below the system's temporary one; gone when the block ends.

    What processes left that were killed is removed first.
    """
    sweep()
    path, handle = _made(purpose)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(handle)


def spilling() -> Path:
    """A folder of this process's own, until it ends, for what it has no room for in memory."""
    found = _spilling(os.getpid())
    if not found.exists():  # somebody cleaned up who looks at no locks
        _spilling.cache_clear()
        found = _spilling(os.getpid())
    return found


def sweep() -> None:
    """Remove the folders of this user that nobody holds any more."""
    with contextlib.suppress(OSError), os.scandir(tempfile.gettempdir()) as found:
        for entry in found:
            if entry.name.startswith(PREFIX) and entry.name.endswith(SUFFIX):
                _remove_unheld(entry.path)


@functools.cache
def _spilling(process: int) -> Path:
    """Each process, also a forked one, has its own; what holds it is closed by the system."""
    sweep()
    path, _ = _made("spill")
    atexit.register(_spilled, path, process)
    return path


def _spilled(path: Path, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(path, ignore_errors=True)


def _made(purpose: str) -> tuple[Path, int]:
    """A new folder, and what holds it until it is closed."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{purpose}-{os.getpid()}-", suffix=SUFFIX))
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(path, _FLAGS)
            with contextlib.suppress(OSError):  # a network file system without locks
                fcntl.flock(handle, fcntl.LOCK_SH)
            # Whoever swept before it was locked has taken it away.
            if path.exists():
                return path, handle
            os.close(handle)


def _remove_unheld(path: str) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(path, _FLAGS)
        try:
            if os.fstat(handle).st_uid != os.geteuid():
                return
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(handle)


_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
