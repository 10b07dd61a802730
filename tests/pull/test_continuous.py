"""What ends pulls that follow one another, and what is waited out."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from tidegate import errors
from tidegate.pull import continuous, report, run
from tidegate.stripe import client


@pytest.mark.parametrize(
    ("end", "final"),
    [
        (None, False),
        (errors.Unreachable("no answer"), False),
        (errors.RateLimited("still limited"), False),
        (errors.WarehouseBusy("somebody reads it"), False),
        (errors.WarehouseUnreachable("it is being restarted"), False),
        (errors.Unauthorized("the key was revoked"), True),
        (errors.Fenced("another run took over"), True),
        (errors.WarehouseFull("the disk is full"), True),
        (errors.ConfigError("the table has another's name"), True),
    ],
)
def test_what_may_pass_is_waited_out(end: errors.TidegateError | None, final: bool) -> None:
    now = dt.datetime.now(dt.UTC)
    result = report.Result("run_1", now, now, "ok" if end is None else "failed", (), client.Tally(), end)
    assert continuous.is_final(result) is final


class Deliveries:
    """A feed of two deliveries, of which the second comes before the first is settled."""

    def __init__(self) -> None:
        self.left = [b"first", b"second"]

    async def take(self, seconds: float) -> Mapping[str, Sequence[bytes]]:
        if self.left != [b"first", b"second"]:
            await asyncio.sleep(min(seconds, 0.8 * continuous.SETTLED) if self.left else seconds)
        return {"": [self.left.pop(0)]} if self.left else {}

    async def done(self) -> None:
        """All is committed."""

    async def pause(self) -> float | None:
        return None


class Listener:
    """Stands for a pull; notes what it is to hear, and when."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, Mapping[str, Sequence[bytes]]]] = []

    async def hear(self, delivered: Mapping[str, Sequence[bytes]]) -> report.Result:
        self.heard.append((asyncio.get_running_loop().time(), delivered))
        now = dt.datetime.now(dt.UTC)
        return report.Result("run_1", now, now, "ok", (), client.Tally(), None)


def test_the_last_delivery_of_a_burst_is_looked_at_again_when_it_is_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(continuous, "SETTLED", 0.2)
    listener, last = Listener(), dict[str, float]()
    watched = cast(run.Pull, cast(Any, listener))
    asyncio.run(continuous._listen(watched, Deliveries(), 1.5, lambda _: None, last))
    bodies = [list(delivered[""]) for _, delivered in listener.heard]
    assert bodies[:2] == [[b"first"], [b"second"]]
    assert bodies[2:] in ([[]], [[], []])
    assert listener.heard[-1][0] - listener.heard[1][0] >= 0.2
    assert last == {}


def test_what_came_during_a_pull_is_looked_at_when_it_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(continuous, "SETTLED", 0.2)
    listener, feed = Listener(), Deliveries()
    feed.left = []

    async def work() -> None:
        last = {"acct_1": asyncio.get_running_loop().time()}
        watched = cast(run.Pull, cast(Any, listener))
        await continuous._listen(watched, feed, 0.5, lambda _: None, last)

    asyncio.run(work())
    assert [delivered for _, delivered in listener.heard] == [{"acct_1": ()}]
