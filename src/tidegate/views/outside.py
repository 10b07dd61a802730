"""Looks at Stripe, at warehouses and at functions for somebody who waits: bounded in time, few at once.

What is looked at is looked at in a thread of its own. One that comes to no end within its time is left to itself,
its place among the few taken until it does; whoever waited is told so in a sentence.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tidegate import errors

AT_ONCE = 4
"""Looks of this process that go on at the same time."""
PATIENCE = 20.0
"""Seconds that a look may take."""
QUEUED = 5.0
"""Seconds for which one waits for its turn."""

T = TypeVar("T")

_turns = threading.BoundedSemaphore(AT_ONCE)


def warehouse(name: str, look: Callable[[], T], *, patience: float = PATIENCE) -> T:
    """What a look into the warehouse `name` gives; raises WarehouseUnreachable where that takes too long."""
    return _looked(
        look,
        patience,
        errors.WarehouseUnreachable(
            f"The warehouse {name} has not answered for {patience:g} s; look whether it is up and not busy with "
            "something long, then try again."
        ),
        errors.WarehouseBusy(
            f"Others are looking into warehouses just now; look at {name} again in a moment."
        ),
    )


def function(name: str, look: Callable[[], T], *, patience: float = PATIENCE) -> T:
    """What the function of a pipeline makes of some rows; raises ConfigError where that takes too long."""
    return _looked(
        look,
        patience,
        errors.ConfigError(
            f"The function of {name} has not come to an end with these rows within {patience:g} s; look for a loop "
            "in it, let it take fewer seconds for one record, or test fewer rows."
        ),
        errors.WarehouseBusy("Others are testing pipelines just now; test again in a moment."),
    )


def stripe(name: str, look: Callable[[], Awaitable[T]], *, patience: float = PATIENCE) -> T:
    """What asking Stripe over the connection `name` gives; raises Unreachable where that takes too long."""

    async def bounded() -> T:
        async with asyncio.timeout(patience):
            return await look()

    late = errors.Unreachable(
        f"Stripe has not told everything that was asked over {name} within {patience:g} s; try again, and look at "
        "the connection's rate limit if it comes again."
    )

    def run() -> T:
        try:
            return asyncio.run(bounded())
        except TimeoutError:
            raise late from None

    # The thread ends by itself; beyond its time it is given a moment to close its connections.
    return _looked(
        run,
        patience + 2.0,
        late,
        errors.Unreachable(f"Others are asking Stripe just now; ask over {name} again in a moment."),
    )


def _looked(
    look: Callable[[], T], patience: float, late: errors.TidegateError, busy: errors.TidegateError
) -> T:
    turns = _turns
    if not turns.acquire(timeout=QUEUED):
        raise busy
    came: list[T] = []
    wrong: list[BaseException] = []

    def work() -> None:
        try:
            came.append(look())
        except BaseException as error:
            wrong.append(error)
        finally:
            turns.release()

    thread = threading.Thread(target=work, name="a look outside", daemon=True)
    thread.start()
    thread.join(patience)
    if wrong:
        raise wrong[0]
    if not came:
        raise late
    return came[0]
