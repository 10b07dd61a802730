"""A server in a process of its own, for tests that end it: `python serve_alone.py FOLDER`, stopped by SIGTERM.

It prints its address, `came` for each delivery that is in hand, and `stopping`.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from tidegate import config
from tidegate.engine import feed
from tidegate.server import app
from tidegate.server import deliveries as received
from tidegate.store import deliveries

keep = received.Keeper.keep


async def told(keeper: received.Keeper, delivery: deliveries.Delivery) -> None:
    print("came", flush=True)
    await keep(keeper, delivery)


received.ANSWERED = 120.0
stopping = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopping.set())
if sys.argv[2:] == ["told"]:
    received.Keeper.keep = told  # type: ignore[method-assign]  # to be seen from outside
with app.serving(config.load(Path(sys.argv[1]) / "tidegate.yaml"), feed.Arrivals()) as url:
    print(url, flush=True)
    stopping.wait()
    print("stopping", flush=True)
