"""What of each row of a push is acknowledged: its hash and its fields as they stand in Stripe.

Rows come and go as Arrow, in pages by their keys: a million of them take flat memory, no transaction is open
between two pages, and a connection that is lost is found again. One process at a time writes for a push, so that
whoever has its fence sees one state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tidegate.store import database, fences, pages

if TYPE_CHECKING:
    import pyarrow

BATCH = 20_000
"""Rows of one page."""
STEP = 5_000
"""Rows that are written in one transaction, so that others get their turn."""
FEW = 500
"""Rows that are looked up or removed by one statement."""


@dataclass(frozen=True, slots=True)
class Row:
    """The acknowledged state of a row; `fields` is JSON, `version` tells which mapping made it."""

    key: str
    hash: str
    fields: str
    version: str
    operation: str
    """The last one that wrote it; nothing where Stripe had all of it when it was found."""
    at: float
    """Unix seconds of the database's clock."""


def each(
    store: database.Database, push: str, batch: int = BATCH, *, fields: bool = True
) -> Iterator[pyarrow.RecordBatch]:
    """All of a push as Arrow: key, hash, and fields where they are wanted; in the order of their keys."""
    import pyarrow

    names = ["key", "hash", "fields"] if fields else ["key", "hash"]
    for rows in pages.read(store, "pushed", names, push, batch):
        columns = [pyarrow.array(column, pyarrow.string()) for column in zip(*rows, strict=True)]
        yield pyarrow.RecordBatch.from_arrays(columns, names=names)


def find(store: database.Database, push: str, keys: Collection[str]) -> dict[str, Row]:
    """Some rows by their keys."""
    found: dict[str, Row] = {}
    wanted = list(keys)
    for start in range(0, len(wanted), FEW):
        names, parameters = database.among(wanted[start : start + FEW])
        rows = store.execute(
            "SELECT key, hash, fields, version, operation, at FROM pushed "
            f"WHERE push = :push AND key IN {names}",
            {"push": push, **parameters},
        )
        found |= {row["key"]: Row(**row) for row in rows}
    return found


def count(store: database.Database, push: str) -> int:
    """How many rows of a push are acknowledged."""
    row = store.one("SELECT count(*) AS n FROM pushed WHERE push = :push", {"push": push})
    assert row is not None, "An aggregate has a row."
    return int(row["n"])


def replace_many(
    store: database.Database, fence: fences.Fence, version: str, batches: Iterable[pyarrow.RecordBatch]
) -> int:
    """Acknowledge rows for which nothing had to be sent: batches of key, hash, fields. Says how many.

    Their last operations stay with them. Killed in between, the rows that were written are acknowledged, and the
    others the next time. Raises Outdated.
    """
    done = 0
    for batch in batches:
        columns = [batch.column(name).to_pylist() for name in ("key", "hash", "fields")]
        rows = list(zip(*columns, strict=True))
        for start in range(0, len(rows), STEP):
            _write(store, fence, version, rows[start : start + STEP])
        done += len(rows)
    return done


def _write(
    store: database.Database, fence: fences.Fence, version: str, rows: Sequence[tuple[str, str, str]]
) -> None:
    def work(session: database.Session) -> None:
        fences.check(session, fence)
        put(session, [(fence.push, *row, version, "") for row in rows])

    store.transact(work)


def put(session: database.Session, rows: Iterable[tuple[str, str, str, str, str, str]]) -> None:
    """Write rows inside a transaction that has seen that it may: push, key, hash, fields, version, operation."""
    names = ("push", "key", "hash", "fields", "version", "operation")
    session.each(
        "INSERT INTO pushed (push, key, hash, fields, version, operation, at) "
        "VALUES (:push, :key, :hash, :fields, :version, :operation, {now}) "
        "ON CONFLICT (push, key) DO UPDATE SET hash = excluded.hash, fields = excluded.fields, "
        "version = excluded.version, at = excluded.at, "
        "operation = CASE WHEN excluded.operation = '' THEN pushed.operation ELSE excluded.operation END",
        (dict(zip(names, row, strict=True)) for row in rows),
    )


def drop(session: database.Session, push: str, keys: Collection[str]) -> None:
    """Forget rows inside a transaction: they are gone from their source, and that is acknowledged."""
    if keys:
        names, parameters = database.among(keys)
        session.execute(
            f"DELETE FROM pushed WHERE push = :push AND key IN {names}", {"push": push, **parameters}
        )


def forget(store: database.Database, fence: fences.Fence, keys: Collection[str]) -> None:
    """Forget what is acknowledged of rows, so that they are compared with Stripe itself. Raises Outdated."""
    wanted = list(keys)
    for start in range(0, len(wanted), FEW):

        def work(session: database.Session, some: Sequence[str] = wanted[start : start + FEW]) -> None:
            fences.check(session, fence)
            drop(session, fence.push, some)

        store.transact(work)
