"""How the parts of a push wait for their turn, and how they end when its run is to end at once.

A task of an event loop can be dropped anywhere; a thread that computes cannot, nor should a request to Stripe be
whose answer is under way. What is dropped all the same costs nothing but time: the ledger has it, and the next run
finds out.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from tidegate.push import sending, workbook

GRACE = 5.0
"""Seconds in which a push that is to end hears what became of the requests that are on their way."""
LOOKED = 0.2
"""Seconds between two looks whether it is one's turn, and whether something has ended."""

SAID = "The run was stopped."

Did = TypeVar("Did")


async def gently(doing: Coroutine[Any, Any, Did], breaker: sending.Breaker) -> Did:
    """Do it; cancelled, nothing more is sent, and what is on its way is heard of where that takes no longer."""
    task = asyncio.create_task(doing)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        breaker.stop(SAID)
        await asyncio.wait({task}, timeout=GRACE)
        raise
    finally:
        task.cancel()
        await asyncio.wait({task})
        _seen(task)


def unstopped(entries: Iterable[Did], breaker: sending.Breaker) -> Iterator[Did]:
    """These, until the run is stopped: nobody counts a million rows that are not begun."""
    for entry in entries:
        if breaker.stopped == SAID:
            return
        yield entry


async def apart(book: workbook.Workbook, work: Callable[[], Did]) -> Did:
    """Do in a thread what blocks; cancelled, its queries are ended, and it is waited for."""
    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    finally:
        while not task.done():
            book.connection.interrupt()
            await asyncio.wait({task}, timeout=LOOKED)
        _seen(task)


@contextlib.asynccontextmanager
async def turn(folder: Path, name: str) -> AsyncIterator[None]:
    """Of all processes of this machine one at a time does the block under a name; the others wait."""
    handle = await asyncio.to_thread(_opened, folder, name)
    try:
        while True:
            if _locked(handle):
                break
            await asyncio.sleep(LOOKED)
        yield
    finally:
        os.close(handle)


def _opened(folder: Path, name: str) -> int:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _seen(task: asyncio.Task[Did]) -> None:
    """Look at what a task raised, so that nobody complains that nobody did."""
    if not task.cancelled():
        task.exception()
