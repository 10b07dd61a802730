"""Looks at what goes on: one for all who ask the same within a turn."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tidegate.views import following


class Clock:
    """Stands until it is set."""

    def __init__(self) -> None:
        self.now = 100.2

    def __call__(self) -> float:
        return self.now


def test_who_asks_the_same_in_a_turn_shares_the_answer() -> None:
    clock = Clock()
    answers = iter("abcdef")

    async def work() -> list[list[str]]:
        follower = following.Follower(clock=clock)

        async def ask(*questions: str) -> list[str]:
            return await asyncio.gather(*(follower.ask(each, lambda: next(answers)) for each in questions))

        first = await ask("x", "x", "x")
        later = await ask("x")
        clock.now += 0.5
        same = await ask("x")
        other = await ask("y")
        clock.now += 0.5
        new = await ask("x")
        assert follower.asked == 3
        return [first, later, same, other, new]

    assert asyncio.run(work()) == [["a"] * 3, ["a"], ["a"], ["b"], ["c"]]


def test_what_is_not_answered_yet_is_asked_no_second_time() -> None:
    clock, go = Clock(), threading.Event()

    async def work() -> None:
        follower = following.Follower(clock=clock)

        def slow() -> str:
            go.wait(60)
            return "late"

        first = asyncio.create_task(follower.ask("x", slow))
        await asyncio.sleep(0)
        clock.now += 5.0
        second = asyncio.create_task(follower.ask("x", slow))
        await asyncio.sleep(0)
        go.set()
        assert await asyncio.gather(first, second) == ["late", "late"]
        assert follower.asked == 1

    asyncio.run(work())


def test_what_goes_wrong_is_told_to_all_and_asked_again_in_the_next_turn() -> None:
    clock = Clock()

    async def work() -> None:
        follower = following.Follower(clock=clock)

        def broken() -> str:
            raise ValueError("It is away.")

        for _ in range(2):
            with pytest.raises(ValueError, match="It is away"):
                await follower.ask("x", broken)
        clock.now += 1.0
        assert await follower.ask("x", lambda: "back") == "back"

    asyncio.run(work())


def test_who_goes_away_takes_the_answer_from_nobody() -> None:
    clock, go = Clock(), threading.Event()

    async def work() -> None:
        follower = following.Follower(clock=clock)

        def slow() -> str:
            go.wait(60)
            return "there"

        gone, stays = (asyncio.create_task(follower.ask("x", slow)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        go.set()
        assert await stays == "there"
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(work())


def test_the_next_turn_is_waited_for() -> None:
    async def work() -> None:
        follower = following.Follower(pause=0.02)
        for asked in range(1, 4):
            await follower.ask("x", lambda: None)
            await follower.turn()
            assert follower.asked == asked

    asyncio.run(work())
