"""A place whose pull has run once, from a sandbox into a DuckDB file: what audits and forgetting need."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import seen

from tidegate import sandbox
from tidegate.engine import place as places
from tidegate.engine import work
from tidegate.store import runs

SECRET = "sk_test_geheim123456789"
COUNTS = {"charges": 30, "customers": 12, "balance_transactions": 30}
PULL = """
  everything:
    from: acme
    to: local
    schedule: every 15m
    streams: {customers: {}, charges: {}, balance_transactions: {}}
"""


@contextlib.contextmanager
def stripe() -> Iterator[str]:
    """A small business; its address."""
    with sandbox.process(counts=COUNTS) as url:
        yield url


@contextlib.contextmanager
def place(folder: Path, url: str) -> Iterator[places.Place]:
    """It, known to a scheduler; the warehouse is `w.duckdb` of the folder."""
    file = seen.written(folder, url=url, key=SECRET)
    text = file.read_text().replace("api_base", 'rate_limit: "off", api_base')
    text = text.replace("path: w.duckdb", f"path: {folder}/w.duckdb")
    file.write_text(text[: text.index("pulls:")] + "pulls:" + PULL)
    with seen.place(file) as found:
        seen.ticking(found)
        run = runs.queue(found.store, runs.new_id(), "pull:everything", "manual")
        begun = runs.begin(found.store, run.id, found.worker)
        assert begun is not None
        assert asyncio.run(work.perform(found, begun)).state == "ok"
        yield found


def query(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask its warehouse, or change something there that no pull did."""
    with duckdb.connect(str(folder / "w.duckdb")) as opened:
        return opened.execute(sql).fetchall()


def spoiled(folder: Path) -> tuple[str, str]:
    """One customer is missing from the warehouse and one has another address; their ids."""
    [[gone], [other]] = query(folder, "select id from stripe.customers order by id limit 2")
    query(folder, f"delete from stripe.customers where id = '{gone}'")
    query(folder, f"update stripe.customers set email = 'x@example.com' where id = '{other}'")
    return gone, other
