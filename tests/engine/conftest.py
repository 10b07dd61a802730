"""A business, a configuration that pulls it into DuckDB files, and a metadata database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import servers
from flowing import written
from following import Merchant

from tidegate import config, sandbox
from tidegate.engine import place as places
from tidegate.store import database

Placed = Callable[[str], places.Place]


@pytest.fixture(scope="session")
def running() -> Iterator[Merchant]:
    with sandbox.process(objects=30) as url:
        yield Merchant(url)


@pytest.fixture
def shop(running: Merchant) -> Merchant:
    running.control("reset", {"objects": 30})
    return running


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/tidegate.db" if request.param == "sqlite" else servers.new_postgres()


@pytest.fixture
def store(url: str) -> Iterator[database.Database]:
    opened = database.open_database(url)
    yield opened
    opened.close()


@pytest.fixture
def placed(shop: Merchant, store: database.Database, tmp_path: Path) -> Placed:
    """A process with these pulls, on the metadata database."""

    def place(pulls: str) -> places.Place:
        return places.Place(config.load(written(tmp_path, shop.url, pulls)), store)

    return place
