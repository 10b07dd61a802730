"""Pulls that follow one another, seconds apart, until somebody says stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tidegate import errors
from tidegate.pull import report, run, scope
from tidegate.warehouse import base

FINAL = (errors.Unauthorized, errors.WarehouseError, errors.ConfigError, errors.NotEnabled)
"""What ends pulls that follow one another, but for PASSING."""
PASSING = (errors.WarehouseBusy, errors.WarehouseUnreachable)
"""Somebody holds the warehouse, or it is being restarted: what is waited out."""


async def watch(
    source: scope.Source,
    warehouse: base.Warehouse,
    options: scope.Options,
    screen: report.Screen,
    *,
    every: float = 5.0,
    told: Callable[[report.Result], None] = lambda _: None,
) -> report.Result:
    """Pull again and again, every few seconds, until cancelled; `told` hears of each pull.

    Once something could be begun, what may pass is waited out: an unreachable Stripe, a file that somebody holds.
    Returns only with a result that ends everything. What holds for one pull only, a full refresh and deletions
    that are accepted, holds until it is done.
    """
    failures = 0
    async with scope.connect(source) as stripe:
        watched = run.Pull(source, warehouse, options, screen, stripe, patient=True, between=every)
        while True:
            result = await watched.once()
            told(result)
            if is_final(result):
                return result
            failures = 0 if result.end is None else failures + 1
            watched.settle(result)
            await asyncio.sleep(min(every * 2 ** min(failures, 6), 60.0) if failures else every)


def is_final(result: report.Result) -> bool:
    """Does it end pulls that follow one another? All else may pass."""
    return isinstance(result.end, FINAL) and not isinstance(result.end, PASSING)
