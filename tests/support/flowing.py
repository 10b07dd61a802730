"""Configurations with flows, and what runs them beside a test."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from tidegate.engine import place as places
from tidegate.engine import pool

KEY = "sk_test_geheim123456789"
PATIENCE = 120.0
"""Seconds after which something that did not happen never will."""

Found = TypeVar("Found")


def written(folder: Path, url: str, pulls: str, database: str = "") -> Path:
    """A configuration with one connection, two DuckDB files and some pulls."""
    file = folder / "tidegate.yaml"
    file.write_text(
        "stripe:\n"
        f'  acme: {{api_key: {KEY}, api_base: "{url}", rate_limit: "off"}}\n'
        "warehouses:\n"
        "  one: {type: duckdb, path: one.duckdb}\n"
        "  two: {type: duckdb, path: two.duckdb}\n"
        f"pulls:\n{pulls}\n" + (f"database: {database}\n" if database else "")
    )
    return file


def until(true: Callable[[], Found]) -> Found:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def alongside(place: places.Place, work: Callable[..., object], *given: object) -> Iterator[None]:
    """Something goes on in a thread, until the process is told to stop."""
    thread = threading.Thread(target=work, args=given)
    thread.start()
    try:
        yield
    finally:
        place.stopping.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def serving(place: places.Place) -> contextlib.AbstractContextManager[None]:
    """A process that schedules and runs."""
    return alongside(place, pool.serve, place)
