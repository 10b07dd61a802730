"""Temporary folders of servers: there as long as this process is, and gone with the next where it was killed."""

from __future__ import annotations

import atexit
import contextlib
from pathlib import Path

from tidegate import temporary


def folder(purpose: str) -> Path:
    """An empty folder; what is registered to be done at the end after this is done before it goes."""
    stack = contextlib.ExitStack()
    found = stack.enter_context(temporary.folder(purpose))
    atexit.register(stack.close)
    return found
