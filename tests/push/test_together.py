"""What many rows want of the ledger at the same time shares a transaction, and each hears of its own part."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from tidegate import errors
from tidegate.push import together


class Slow:
    """Work that waits until it is let go, and remembers what came together."""

    def __init__(self) -> None:
        self.came: list[list[int]] = []
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self, parts: Sequence[int]) -> list[int]:
        self.came.append(list(parts))
        self.began.set()
        assert self.go.wait(60), "Nobody let it go."
        return [part * 10 for part in parts]


async def begun(slow: Slow, first: together.Together[int, int]) -> asyncio.Task[int]:
    """A first part that is under way."""
    task = asyncio.create_task(first.do(1))
    await asyncio.to_thread(slow.began.wait, 60)
    return task


def test_what_comes_meanwhile_is_done_together() -> None:
    async def main() -> list[int]:
        shared = together.Together[int, int](slow, most=3)
        first = await begun(slow, shared)
        others = [asyncio.create_task(shared.do(part)) for part in (2, 3, 4, 5)]
        await asyncio.sleep(0)
        slow.go.set()
        return [await first, *await asyncio.gather(*others)]

    slow = Slow()
    assert asyncio.run(main()) == [10, 20, 30, 40, 50]
    assert slow.came == [[1], [2, 3, 4], [5]]


def test_it_goes_on_after_a_pause() -> None:
    async def main() -> list[int]:
        shared = together.Together[int, int](slow)
        return [await shared.do(1), await shared.do(2)]

    slow = Slow()
    slow.go.set()
    assert asyncio.run(main()) == [10, 20]
    assert slow.came == [[1], [2]]


def test_one_that_is_refused_does_not_harm_the_others() -> None:
    came: list[list[int]] = []

    def work(parts: Sequence[int]) -> list[int]:
        came.append(list(parts))
        if 2 in parts:
            raise errors.StoreConflict("2 is done already")
        return list(parts)

    async def main() -> list[int | BaseException]:
        shared = together.Together[int, int](work)
        return await asyncio.gather(*map(shared.do, (1, 2, 3)), return_exceptions=True)

    one, two, three = asyncio.run(main())
    assert (one, three) == (1, 3)
    assert isinstance(two, errors.StoreConflict)
    assert came == [[1, 2, 3], [1], [2], [3]]


def test_what_ends_everything_is_told_to_all() -> None:
    def work(_: Sequence[int]) -> list[int]:
        raise errors.StoreUnreachable("the database is gone")

    async def main() -> list[int | BaseException]:
        shared = together.Together[int, int](work)
        return await asyncio.gather(*map(shared.do, (1, 2)), return_exceptions=True)

    assert [type(each) for each in asyncio.run(main())] == [errors.StoreUnreachable] * 2


def test_a_caller_that_is_cancelled_takes_nobody_along() -> None:
    async def main() -> tuple[int, int]:
        shared = together.Together[int, int](slow)
        first = await begun(slow, shared)
        dropped, other = (asyncio.create_task(shared.do(part)) for part in (2, 3))
        await asyncio.sleep(0)
        dropped.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dropped
        slow.go.set()
        return await first, await other

    slow = Slow()
    assert asyncio.run(main()) == (10, 30)
    assert slow.came == [[1], [3]]
