"""Who looks at tables while another process writes them, and when it saw which row."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Fetch = Callable[[str], list[tuple[Any, ...]]]
"""Asks for rows; nothing where the tables are not made yet."""

POLL = 0.02
"""Seconds between two looks at the tables."""
PATIENCE = 60.0
"""Seconds for which a file that another process holds is waited for."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A row as the reader found it at a moment: its version, and the number of the change that it shows."""

    at: float
    version: int
    number: int


class Reader(threading.Thread):
    """Looks at the tables again and again, and notes when it saw which row in which state."""

    def __init__(self, streams: Sequence[str], fetch: Fetch) -> None:
        super().__init__(daemon=True)
        self.rows: dict[tuple[str, str], list[Seen]] = {}
        self.looks, self.error = 0, ""
        self._streams, self._fetch, self._ended, self._mark = streams, fetch, threading.Event(), ""

    def run(self) -> None:
        """Until it is told to stop."""
        while not self._ended.wait(POLL):
            try:
                self._look()
            except Exception as error:
                self.error = f"{type(error).__name__}: {error}"
                return

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()

    def _look(self) -> None:
        since = f"WHERE _synced_at > '{self._mark}'" if self._mark else ""
        parts = [
            f"SELECT '{name}', id, _version, CAST(metadata AS text), CAST(_synced_at AS text) "
            f"FROM stripe.{name} {since}"
            for name in self._streams
        ]
        found = self._fetch(" UNION ALL ".join(parts))
        now = time.monotonic()
        self.looks += 1
        for name, id, version, metadata, synced in found:
            told = json.loads(metadata) if metadata else {}
            self.rows.setdefault((name, id), []).append(Seen(now, version, int(told.get("number", -1))))
            self._mark = max(self._mark, synced)


@contextlib.contextmanager
def duckdb_reader(path: Path) -> Iterator[Fetch]:
    """Another program that opens the file to read, asks, and closes it; it tries again while the file is held."""
    import duckdb

    engine = duckdb.connect(":memory:", config={"threads": 1})
    engine.execute("SET TimeZone = 'UTC'")

    def fetch(sql: str) -> list[tuple[Any, ...]]:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                engine.execute(f"ATTACH '{path}' AS there (READ_ONLY)")
                break
            except duckdb.IOException:
                if time.monotonic() > end:
                    raise
                time.sleep(0.002)
        try:
            engine.execute("USE there")
            return engine.execute(sql).fetchall()
        except duckdb.CatalogException:  # the tables are not made yet
            return []
        finally:
            engine.execute("USE memory")
            engine.execute("DETACH there")

    try:
        yield fetch
    finally:
        engine.close()


@contextlib.contextmanager
def postgres_reader(url: str) -> Iterator[Fetch]:
    """One connection that asks."""
    import psycopg

    with psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as connection:

        def fetch(sql: str) -> list[tuple[Any, ...]]:
            try:
                return connection.execute(sql.encode()).fetchall()
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                return []

        yield fetch
