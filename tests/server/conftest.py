"""A metadata database, and a server over a connection of its own to it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import delivering
import pytest
import servers

from tidegate.engine import feed
from tidegate.engine import place as places
from tidegate.server import app, deliveries
from tidegate.store import database

FLOWS = """\
warehouses: {one: {type: duckdb, path: one.duckdb}}
pulls: {everything: {from: acme, to: one, streams: {customers: {}}}}
"""


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow machine things take their time."""
    monkeypatch.setattr(deliveries, "ANSWERED", 120.0)
    monkeypatch.setattr(deliveries, "READ", 120.0)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/tidegate.db" if request.param == "sqlite" else servers.new_postgres()


@pytest.fixture
def store(url: str) -> Iterator[database.Database]:
    """Another connection, as a worker has it."""
    with contextlib.closing(database.open_database(url)) as opened:
        yield opened


@dataclass(frozen=True)
class Served:
    """A server that runs, and what it tells to those who listen in its process."""

    url: str
    arrivals: feed.Arrivals


Serve = Callable[..., Served]


@pytest.fixture
def serve(url: str, store: database.Database, tmp_path: Path) -> Iterator[Serve]:  # noqa: ARG001, it is there first
    """Serves a connection until the test ends; its settings may be given."""
    with contextlib.ExitStack() as open_ones:

        def start(connection: str = "") -> Served:
            arrivals = feed.Arrivals()
            file = delivering.loaded(tmp_path, url, connection)
            return Served(open_ones.enter_context(app.serving(file, arrivals)), arrivals)

        yield start


@pytest.fixture
def place(tmp_path: Path) -> Iterator[places.Place]:
    """Where `signed`, `tokened` and `stranger` ask: a connection, a pull and a push, on a SQLite file."""
    file = delivering.loaded(tmp_path, f"sqlite:///{tmp_path}/desk.db", more=FLOWS)
    with contextlib.closing(database.open_database(file.database.get_secret_value())) as opened:
        yield places.Place(file, opened)
