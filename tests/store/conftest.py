"""Every test of this folder runs on both databases: a SQLite file and a real Postgres."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import servers

from tidegate.store import database


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/tidegate.db" if request.param == "sqlite" else servers.new_postgres()


@pytest.fixture
def opened(url: str) -> Iterator[Callable[[], database.Database]]:
    """Opens the database, as one of several processes would."""
    made: list[database.Database] = []

    def another() -> database.Database:
        made.append(database.open_database(url))
        return made[-1]

    yield another
    for each in made:
        each.close()


@pytest.fixture
def store(opened: Callable[[], database.Database]) -> database.Database:
    return opened()
