"""Many rows of a push, page by page by their keys: no transaction is open between two pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tidegate.store import database


def read(
    store: database.Database, table: str, columns: Sequence[str], push: str, size: int
) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of a push in a table by their `key`, which is the first column; each page is read by itself."""
    text = f"SELECT {', '.join(columns)} FROM {table} WHERE push = :push"
    after: object = None
    while True:
        more = "" if after is None else " AND key > :after"
        wanted = {"push": push, "after": after, "size": size}
        page = store.tuples(f"{text}{more} ORDER BY key LIMIT :size", wanted)
        if page:
            yield page
        if len(page) < size:
            return
        after = page[-1][0]
