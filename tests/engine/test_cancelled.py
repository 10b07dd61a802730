"""Whoever waits for deliveries can be told to stop at any moment, also when something comes in that very moment."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from tidegate.engine import feed
from tidegate.store import database


@pytest.mark.parametrize("turns", range(8))
def test_it_stops_though_something_comes_just_then(turns: int, tmp_path: Path) -> None:
    """`turns` of the event loop lie between the two; a lost cancellation had a continuous run hang for ever."""
    arrivals = feed.Arrivals()

    async def main(store: database.Database) -> None:
        own = feed.Deliveries(store, "pull:all", "acme", arrivals)
        listening = asyncio.create_task(own.take(600.0))
        await asyncio.sleep(0.2)  # it has looked once, and waits
        arrivals.tell()
        for _ in range(turns):
            await asyncio.sleep(0)
        listening.cancel()
        stopped, _ = await asyncio.wait({listening}, timeout=30)
        listening.cancel()
        assert stopped
        assert listening.cancelled()

    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store:
        asyncio.run(main(store))
