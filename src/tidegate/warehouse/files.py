"""Files that appear whole or not at all, and stay after a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def place(draft: Path, target: Path) -> None:
    """Give a finished draft its name; raises FileExistsError where that is taken, never replaces."""
    try:
        os.link(draft, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # FAT and some network file systems have no links; there two processes could meet between these lines.
        if target.exists():
            raise FileExistsError(target) from None
        os.rename(draft, target)


def remove(path: Path) -> None:
    """Remove a file of ours if it is there and can be removed."""
    with contextlib.suppress(OSError):
        path.unlink()


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def alive(pid: int) -> bool:
    """Does a process of this machine have that id?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
