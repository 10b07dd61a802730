"""Looks at what goes on, once a second however many look.

Who asks the same question within a second gets the same answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

PAUSE = 1.0
"""Seconds between two looks."""


class Follower:
    """Asks a question once a second at the most, in a thread; used on one event loop."""

    def __init__(self, pause: float = PAUSE, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause, self._clock = pause, clock
        self._turn = -1
        self._answers: dict[Hashable, asyncio.Task[Any]] = {}
        self.asked = 0
        """Questions that were really asked, so far."""

    async def ask(self, question: Hashable, work: Callable[[], T]) -> T:
        """What `work` answers; whoever asks the same question in this turn shares it, also what it raises."""
        turn = int(self._clock() / self._pause)
        if turn != self._turn:
            # What is not answered yet is asked no second time.
            waiting = {question: task for question, task in self._answers.items() if not task.done()}
            self._turn, self._answers = turn, waiting
        task = self._answers.get(question)
        if task is None:
            self.asked += 1
            task = self._answers[question] = asyncio.create_task(asyncio.to_thread(work))
            task.add_done_callback(_seen)
        # Whoever goes away takes the answer from nobody.
        found: T = await asyncio.shield(task)
        return found

    async def turn(self) -> None:
        """Wait for the next turn."""
        now = self._clock()
        await asyncio.sleep((int(now / self._pause) + 1) * self._pause - now + 0.001)


def _seen(task: asyncio.Task[Any]) -> None:
    """What was raised, and nobody waits for any more, is no news."""
    if not task.cancelled():
        task.exception()
