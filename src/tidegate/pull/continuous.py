"""Pulls that follow one another, seconds apart, until somebody says stop; between them, what Stripe delivers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tidegate import errors
from tidegate.pull import doing, report, run, scope, tail
from tidegate.stripe import client
from tidegate.warehouse import base

FINAL = (errors.Unauthorized, errors.WarehouseError, errors.ConfigError, errors.NotEnabled)
"""What ends pulls that follow one another, but for PASSING."""
PASSING = (errors.WarehouseBusy, errors.WarehouseUnreachable)
"""Somebody holds the warehouse, or it is being restarted: what is waited out."""
SETTLED = tail.SETTLED + 1.0
"""Seconds after a delivery at which what it left to be read again can be read."""
PUMPED = 60.0
"""Seconds for which deliveries are waited for at a time while a pull is under way."""


class Feed(Protocol):
    """Where events come from that Stripe delivers."""

    async def take(self, seconds: float) -> Mapping[str, Sequence[bytes]]:
        """What was delivered since, by account, the key's own under no name; waits so long for something."""

    async def done(self) -> None:
        """What was taken last is committed."""

    async def pause(self) -> float | None:
        """Seconds until the next pull, where this delivers; pulls then only prove that nothing was missed."""


async def watch(
    source: scope.Source,
    warehouse: base.Warehouse,
    options: scope.Options,
    screen: report.Screen,
    *,
    every: float = 5.0,
    told: Callable[[report.Result], None] = lambda _: None,
    heard: Callable[[report.Result], None] = lambda _: None,
    feed: Feed | None = None,
    run_id: str = "",
    listener: client.Listener | None = None,
    under_way: doing.Watcher = doing.nobody,
) -> report.Result:
    """Pull again and again, every few seconds, until cancelled; `told` hears of each pull.

    Between two pulls, what `feed` delivers is applied at once, and `heard` hears of that; `under_way` hears now and
    then what has been done that neither was told of. Once something could be begun, what may pass is waited out: an
    unreachable Stripe, a file that somebody holds. Returns only with a result that ends everything; what was done
    is left beside the data then, and also when something else ends it. What holds for one pull only, a full refresh
    and deletions that are accepted, holds until it is done.
    """
    async with scope.connect(source, listener) as stripe:
        watched = run.Pull(
            source, warehouse, options, screen, stripe, patient=True, between=every, run_id=run_id
        )
        async with watched.watched(under_way):
            result = await _follow(watched, every, told, heard, feed)
            await asyncio.to_thread(watched.doing.leave, warehouse)
            return result


async def _follow(
    watched: run.Pull,
    every: float,
    told: Callable[[report.Result], None],
    heard: Callable[[report.Result], None],
    feed: Feed | None,
) -> report.Result:
    """Pull after pull, until one has a result that ends everything."""
    failures = 0
    last: dict[str, float] = {}
    while True:
        result = await _once(watched, feed, last)
        told(result)
        if is_final(result):
            return result
        failures = 0 if result.end is None else failures + 1
        watched.settle(result)
        pause = min(every * 2 ** min(failures, 6), 60.0) if failures else every
        if feed is None or failures:
            await asyncio.sleep(pause)
            continue
        ended = await _listen(watched, feed, await feed.pause() or pause, heard, last)
        if ended is not None and is_final(ended):
            return ended


async def _once(watched: run.Pull, feed: Feed | None, last: dict[str, float]) -> report.Result:
    """One pull, which applies what is delivered meanwhile wherever it can; `last` is when, by account."""
    if feed is None:
        return await watched.once()

    async def pump() -> None:
        while True:
            delivered = await feed.take(PUMPED)
            watched.post(delivered)
            await watched.mail.empty()
            last.update(dict.fromkeys(delivered, asyncio.get_running_loop().time()))
            await feed.done()

    pumping = asyncio.create_task(pump())
    try:
        return await watched.once()
    finally:
        pumping.cancel()
        await asyncio.gather(pumping, return_exceptions=True)
        watched.mail.clear()  # taken again, since it was not said to be done


async def _listen(
    watched: run.Pull,
    feed: Feed,
    seconds: float,
    heard: Callable[[report.Result], None],
    last: dict[str, float],
) -> report.Result | None:
    """Apply what is delivered for so long; returns what ended it before. `last` is as for `_once`."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    unsettled = {account: at + SETTLED for account, at in last.items()}
    while (left := end - loop.time()) > 0:
        soonest = min(unsettled.values(), default=end)
        delivered = await feed.take(max(0.0, min(left, soonest - loop.time())))
        now = loop.time()
        ripe = [account for account, at in unsettled.items() if at <= now]
        if not delivered and not ripe:
            continue
        result = await watched.hear({**dict.fromkeys(ripe, ()), **delivered})
        heard(result)
        if result.end is not None:
            return result
        await feed.done()
        last.update(dict.fromkeys(delivered, loop.time()))
        for account in ripe:
            del unsettled[account]
        for account in {*ripe, *delivered}:
            if last[account] + SETTLED > now:
                unsettled.setdefault(account, last[account] + SETTLED)
            else:
                del last[account]
    return None


def is_final(result: report.Result) -> bool:
    """Does it end pulls that follow one another? All else may pass."""
    return isinstance(result.end, FINAL) and not isinstance(result.end, PASSING)
