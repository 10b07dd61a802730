"""Work that many rows want of the ledger at the same time, done in one transaction for all of them.

What comes while a transaction is under way waits for the next one, which has all of it: nobody waits for others to
come, and a slow disk or a database far away costs a commit for some rows and not for each. Every caller goes on
when its own part is committed, and hears what came of that part alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from tidegate import errors
from tidegate.push import steps

T = TypeVar("T")
R = TypeVar("R")

MOST = 100
"""Parts of one transaction at most."""


class Together(Generic[T, R]):
    """Does `work`, which blocks, in a thread; it answers with one result for each part, in their order.

    Used on one event loop. Where `work` raises StoreConflict, one part of several is wrong: each is done by itself
    then, so that the others do not suffer. Everything else that it raises, all of them get.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]], most: int = MOST) -> None:
        self._work, self._most = work, most
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._working: asyncio.Task[None] | None = None

    async def do(self, part: T) -> R:
        """Have a part done; a caller that is cancelled leaves it to be done, where that has begun."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((part, done))
        if self._working is None:
            self._working = asyncio.create_task(self._go())
        return await done

    async def _go(self) -> None:
        try:
            while wanted := [each for each in self._waiting if not each[1].done()]:
                some, self._waiting = wanted[: self._most], wanted[self._most :]
                await self._do(some)
        finally:
            self._working = None
            for _, done in self._waiting:
                done.cancel()
            self._waiting.clear()

    async def _do(self, some: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            steps.reached("to be committed")
            found = await asyncio.to_thread(self._work, [part for part, _ in some])
            steps.reached("committed")
        except errors.StoreConflict as error:
            if len(some) == 1:
                _fail(some, error)
                return
            for each in some:
                await self._do([each])
        except Exception as error:
            _fail(some, error)
        except BaseException:
            for _, done in some:
                done.cancel()
            raise
        else:
            for (_, done), result in zip(some, found, strict=True):
                if not done.done():
                    done.set_result(result)


def _fail(some: Sequence[tuple[object, asyncio.Future[R]]], error: Exception) -> None:
    for _, done in some:
        if not done.done():
            done.set_exception(error)
