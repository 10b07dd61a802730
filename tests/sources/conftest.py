"""Every database that models are read from, with a few rows in it."""

from __future__ import annotations

from collections.abc import Iterator

import fleet
import loads
import pytest

from tidegate import config, sources
from tidegate import warehouse as warehouses
from tidegate.sources import base


@pytest.fixture(scope="module", params=fleet.NAMES)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a warehouse with the table `items`, of which no test of a module changes anything."""
    url = fleet.url(request.param, tmp_path_factory.mktemp(request.param), 1)
    warehouse = warehouses.open_url(url)
    warehouse.prepare([loads.ITEMS])
    warehouse.load(
        [
            loads.load(
                loads.row("a", 1, "ü😀", notes='{"n": 9007199254740993}'),
                loads.row("b", 2),
                loads.row("c", 3, 'it\'s 100% "c"'),
            )
        ],
        {},
    )
    warehouse.close()
    return url


@pytest.fixture
def source(filled: str) -> Iterator[base.Source]:
    """A source on it."""
    opened = sources.open_source(config.warehouse(filled, "stripe"), timeout=60)
    yield opened
    opened.close()
