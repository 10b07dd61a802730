"""What a flow that goes on for ever hears of what is delivered: each once, and again where somebody wants it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import servers

from tidegate.engine import feed
from tidegate.store import database, deliveries

FLOW = "pull:all"


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[database.Database]:
    url = f"sqlite:///{tmp_path}/tidegate.db" if request.param == "sqlite" else servers.new_postgres()
    with contextlib.closing(database.open_database(url)) as opened:
        deliveries.begin(opened, FLOW, "acme")
        yield opened


@pytest.fixture(autouse=True)
def _marked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MARKED", 0.0)


def delivered(store: database.Database, *events: str, ago: float = 1000.0) -> None:
    """Stripe delivers these; that was so many seconds ago."""
    deliveries.keep(store, [deliveries.Delivery("acme", "", each, "t", 1, each) for each in events])
    store.execute("UPDATE deliveries SET received_at = {now} - :ago", {"ago": ago})


async def taken(own: feed.Deliveries) -> list[str]:
    """What there is to hear now."""
    return [body.decode() for bodies in (await own.take(0.0)).values() for body in bodies]


def test_each_is_heard_once_however_late_it_is_settled(store: database.Database) -> None:
    async def main() -> None:
        own = feed.Deliveries(store, FLOW, "acme")
        for ago in (1000.0, 0.0):
            names = [f"{n}/{ago}" for n in range(3)]
            delivered(store, *names, ago=ago)
            assert await taken(own) == names
            assert await taken(own) == names  # they are not committed yet
            await own.done()
            assert await taken(own) == []

    asyncio.run(main())


@pytest.mark.parametrize("moment", ["between two looks", "while they are committed"])
def test_what_is_replayed_is_heard_again_whenever_that_is_asked_for(
    store: database.Database, moment: str
) -> None:
    async def main() -> None:
        own = feed.Deliveries(store, FLOW, "acme")
        delivered(store, "one", "two")
        assert await taken(own) == ["one", "two"]
        await own.done()
        assert await taken(own) == []
        delivered(store, "three")
        assert await taken(own) == ["three"]
        if moment == "between two looks":
            await own.done()
        assert deliveries.replay(store, [FLOW], "acme", 0.0) == {FLOW: 3}
        if moment == "while they are committed":
            await own.done()
        assert await taken(own) == ["one", "two", "three"]
        await own.done()
        assert await taken(own) == []

    asyncio.run(main())
