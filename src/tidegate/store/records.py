"""What is known of the rows and objects that pushes write: the history of each, in numbers and line by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tidegate.store import database, notes, operations, pushed

DAY = 86_400.0
KEPT = 90 * DAY
"""Seconds for which operations that have ended are kept, and notes about rows."""
STEP, STEPS = 500, 40
"""Rows that are removed in one transaction, and how many of these follow each other."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a row's history."""

    at: float
    what: str
    text: str = ""
    operation: str = ""


def counts(
    store: database.Database, push: str, run: str | None = None
) -> dict[tuple[str, operations.Status], int]:
    """How many operations of a push, or of one of its runs, by action and status."""
    more = "" if run is None else " AND run = :run"
    rows = store.execute(
        f"SELECT action, status, count(*) AS n FROM operations WHERE push = :push{more} GROUP BY action, status",
        {"push": push, "run": run},
    )
    return {(row["action"], row["status"]): int(row["n"]) for row in rows}


def timeline(store: database.Database, push: str, key: str) -> list[Entry]:
    """Everything that is known of a row, in its order: operations, holds, links, what persons decided."""
    found = []
    for operation in operations.listed(store, push=push, key=key, limit=None):
        found += [(operation.id, entry) for entry in _entries(operation)]
    for note in notes.listed(store, push, key):
        found.append((note.id, Entry(note.at, note.what, note.text, note.operation)))
    row = pushed.find(store, push, [key]).get(key)
    if row is not None and not row.operation:
        found.append(("", Entry(row.at, "equal", "Stripe had all of it")))
    # What a clock of milliseconds has at one time stands as its names were made.
    found.sort(key=lambda pair: (pair[1].at, pair[0].rpartition("_")[2]))
    return [entry for _, entry in found]


def _entries(operation: operations.Operation) -> list[Entry]:
    name = operation.id
    found = [Entry(operation.created_at, "planned", f"{operation.action} {operation.object}", name)]
    if operation.first_sent_at is not None:
        found.append(Entry(operation.first_sent_at, "sent", f"{operation.method} {operation.path}", name))
    if operation.attempts > 1 and operation.last_sent_at is not None:
        found.append(Entry(operation.last_sent_at, "sent again", f"{operation.attempts} times in all", name))
    if operation.decided_at is not None:
        parts = (operation.target if operation.status == "done" else operation.error, operation.request_id)
        text = ", ".join(part for part in parts if part)
        found.append(Entry(operation.decided_at, operation.status, text, name))
    return found


@dataclass(frozen=True, slots=True)
class Written:
    """What a run of a push did at Stripe: since when, and how often each action."""

    run: str
    at: float
    actions: Mapping[str, int]


def runs(store: database.Database, push: str, limit: int = 50) -> list[Written]:
    """The runs of a push that did something, newest first."""
    rows = store.execute(
        "SELECT run, action, count(*) AS n, min(created_at) AS at FROM operations "
        "WHERE push = :push AND status = 'done' GROUP BY run, action",
        {"push": push},
    )
    found: dict[str, dict[str, int]] = {}
    begun: dict[str, float] = {}
    for row in rows:
        found.setdefault(row["run"], {})[row["action"]] = int(row["n"])
        begun[row["run"]] = min(row["at"], begun.get(row["run"], row["at"]))
    listed = sorted(found, key=lambda run: (begun[run], run), reverse=True)[:limit]
    return [Written(run, begun[run], found[run]) for run in listed]


def written_since(store: database.Database, push: str, at: float) -> int:
    """How many rows a push has written since then, or may have."""
    row = store.one(
        "SELECT count(DISTINCT key) AS n FROM operations "
        "WHERE push = :push AND created_at >= :at AND status IN ('sent', 'done', 'unknown')",
        {"push": push, "at": at},
    )
    assert row is not None, "An aggregate has a row."
    return int(row["n"])


def done(
    store: database.Database, push: str, run: str | None, keys: Sequence[str] = (), page: int = STEP
) -> Iterator[list[operations.Operation]]:
    """What a run did, oldest first, a page at a time; with `keys` to these rows alone.

    Without a run it is what the last run that wrote it did to each row.
    """
    if not keys:
        after: operations.Operation | None = None
        while some := operations.listed(
            store, push=push, run=run, statuses=("done",), limit=page, after=after
        ):
            yield some
            after = some[-1]
    for key in dict.fromkeys(keys):
        found = operations.listed(store, push=push, run=run, key=key, statuses=("done",), limit=None)
        if found:
            yield [each for each in found if each.run == found[-1].run]


def keys(
    store: database.Database, push: str, *, search: str = "", after: str = "", limit: int = 50
) -> list[str]:
    """Rows of a push that have an object or are held, by key, after the one seen last; `search` is how
    a key begins, or an object's id."""
    found: set[str] = set()
    if search:  # an object's id is as good as the key of its row
        rows = store.execute(
            "SELECT key FROM links WHERE push = :push AND target = :target AND key > :after",
            {"push": push, "target": search, "after": after},
        )
        found |= {row["key"] for row in rows}
    for table in ("links", "holds"):
        rows = store.execute(
            f"SELECT key FROM {table} WHERE push = :push AND key > :after "
            "AND substr(key, 1, :length) = :search ORDER BY key LIMIT :limit",
            {"push": push, "after": after, "search": search, "length": len(search), "limit": limit},
        )
        found |= {row["key"] for row in rows}
    return sorted(found)[:limit]


def prune(store: database.Database, older: float = KEPT) -> int:
    """Remove operations that ended more than `older` seconds ago, and notes as old; says how many rows.

    What is open stays, and so do links, tombstones, claims, holds and what is acknowledged: without them a row
    would be created twice.
    """
    removed = 0
    for text in (
        "DELETE FROM operations WHERE id IN (SELECT id FROM operations WHERE status IN ('done', 'refused', 'void') "
        "AND decided_at < (SELECT {now}) - :older LIMIT :step) RETURNING 1",
        "DELETE FROM row_notes WHERE id IN (SELECT id FROM row_notes WHERE at < (SELECT {now}) - :older "
        "LIMIT :step) RETURNING 1",
    ):
        for _ in range(STEPS):
            some = len(store.execute(text, {"older": older, "step": STEP}))
            removed += some
            if some < STEP:
                break
    return removed
