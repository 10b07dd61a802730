"""Pulls that stop in the middle: of the customers, a few pages come, and then none until somebody says so.

As a program, `stalled.py pull ...` does as `tidegate` does, and nobody ever says so; what a run has done so far is
reported at once there.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from tidegate import cli
from tidegate.engine import recorder
from tidegate.pull import doing
from tidegate.stripe import client

PAGES = 10


def stalled(opened: threading.Event) -> Callable[..., Awaitable[client.Response]]:
    """A `get` for clients, which asks for no more pages until it is opened."""
    asked, get = itertools.count(), client.Client.get

    async def waiting(stripe: client.Client, path: str, *given: Any, **more: Any) -> client.Response:
        if path == "/v1/customers" and next(asked) >= PAGES:
            while not opened.is_set():  # noqa: ASYNC110  # another thread sets it
                await asyncio.sleep(0.02)
        return await get(stripe, path, *given, **more)

    return waiting


if __name__ == "__main__":
    vars(doing)["SHOWN"], vars(recorder)["REPORTED"] = 0.05, 0.0
    setattr(client.Client, "get", stalled(threading.Event()))  # noqa: B010  # a method cannot be assigned to
    sys.exit(cli.main())
