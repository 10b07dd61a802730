"""The warehouses that the conformance suite runs against; one more adapter is one more line here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tidegate import warehouse as warehouses
from tidegate.warehouse import base

ADAPTERS = ["duckdb"]


def _url(adapter: str, folder: Path, number: int) -> str:
    return {"duckdb": f"duckdb:///{folder}/warehouse{number}.duckdb"}[adapter]


@pytest.fixture(params=ADAPTERS)
def new_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Makes URLs, each of a warehouse that does not exist yet."""
    folder = tmp_path_factory.mktemp(request.param)
    numbers = itertools.count()
    return lambda: _url(request.param, folder, next(numbers))


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    """A warehouse that does not exist yet."""
    return new_url()


@pytest.fixture
def warehouse(url: str) -> Iterator[base.Warehouse]:
    """The warehouse behind `url`."""
    opened = warehouses.open_url(url)
    yield opened
    opened.close()
