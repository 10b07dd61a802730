"""Every warehouse that the conformance suite runs against, one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator
from typing import Any

import fleet
import hypothesis
import pytest

from tidegate import warehouse as warehouses
from tidegate.warehouse import base

SHARE = {
    "bigquery": 8,
    "clickhouse": 8,
    "databricks": 8,
    "delta": 8,
    "iceberg": 8,
    "motherduck": 8,
    "mysql": 4,
    "parquet": 8,
    "postgres": 3,
    "redshift": 8,
    "snowflake": 8,
    "sqlserver": 8,
    "synapse": 8,
}
"""Of the examples that hypothesis has for a test, one in so many where each takes its time: what is decided about
rows is decided by the same code for all, and tried with every example on DuckDB."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Function) -> Generator[None, Any, Any]:
    """Let hypothesis try fewer examples on slow stand-ins."""
    asked = getattr(item.obj, "_hypothesis_internal_use_settings", None)
    share = SHARE.get(item.callspec.params.get("new_url", "")) if hasattr(item, "callspec") else None
    if asked is None or share is None:
        return (yield)
    item.obj._hypothesis_internal_use_settings = hypothesis.settings(
        asked, max_examples=asked.max_examples // share
    )
    try:
        return (yield)
    finally:
        item.obj._hypothesis_internal_use_settings = asked


@pytest.fixture(params=fleet.NAMES)
def new_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Makes URLs, each of a warehouse that does not exist yet."""
    folder = tmp_path_factory.mktemp(request.param)
    numbers = itertools.count()
    return lambda: fleet.url(request.param, folder, next(numbers))


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
