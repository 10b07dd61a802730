"""What is known of a push's rows, taken into another metadata database: a rehearsal begins where the push is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tidegate.store import database, pages

TABLES = {
    "links": (
        "key account livemode object target created operation linked_at gone gone_at",
        "account",
    ),
    "pushed": ("key hash fields version operation at", ""),
    "holds": (
        "key kind state text field code hash version candidates choice operation failures opening opened_at "
        "seen_at next_at",
        "",
    ),
}
"""Columns by table, and which of them says the account."""
STEP = 5_000
"""Rows of one transaction."""


def rows(store: database.Database, other: database.Database, push: str, account: str) -> int:
    """Take links, acknowledged state and holds of a push along, as of another account in test mode.

    Says of how many rows the objects are known.

    Operations stay: nothing of what is undecided is decided anywhere else. The other database has none of them yet.
    """
    taken = {table: _table(store, other, push, account, table) for table in TABLES}
    return taken["links"]


def _table(store: database.Database, other: database.Database, push: str, account: str, table: str) -> int:
    columns, placed = TABLES[table]
    names = columns.split()
    given = {"push": push, **({placed: account, "livemode": 0} if placed else {})}
    sql = (
        f"INSERT INTO {table} (push, {', '.join(names)}) VALUES (:push, {', '.join(f':{name}' for name in names)}) "
        "ON CONFLICT DO NOTHING"
    )
    taken = 0
    for page in pages.read(store, table, names, push, STEP):
        _put(other, sql, [{**dict(zip(names, row, strict=True)), **given} for row in page])
        taken += len(page)
    return taken


def _put(other: database.Database, sql: str, some: Sequence[dict[str, Any]]) -> None:
    other.transact(lambda session: session.each(sql, some))
