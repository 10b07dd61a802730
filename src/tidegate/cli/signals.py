"""What ends a command: Ctrl-C, and SIGTERM like it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable
from typing import TypeVar

Came = TypeVar("Came")


async def until_stopped(work: Awaitable[Came]) -> Came:
    """Do it, as all that `asyncio.run` does; SIGTERM cancels it, as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(NotImplementedError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work
