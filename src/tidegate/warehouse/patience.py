"""Going on while a warehouse cannot be reached, or somebody else is in the way."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from tidegate import errors

log = logging.getLogger(__name__)

T = TypeVar("T")

LONGEST = 5.0
"""Seconds between two attempts, at the most."""
SAID = 0.5
"""Seconds between two attempts from which on it is said, once, that there are more."""


def patiently(work: Callable[[], T], wait: float, pause: float) -> T:
    """Do something that may be done again, until it is done or has failed for `wait` seconds.

    `pause` are the seconds before the second attempt. Raises what stopped the last one.
    """
    deadline, told = time.monotonic() + wait, False
    while True:
        try:
            return work()
        except (errors.WarehouseUnreachable, errors.WarehouseBusy) as error:
            left = deadline - time.monotonic()
            if left <= pause:
                raise
            if pause > SAID and not told:
                told = True
                log.warning("%s Trying again for up to %.0f s.", error, left)
        time.sleep(min(left, pause * random.uniform(0.75, 1.25)))
        pause = min(pause * 2, LONGEST)
