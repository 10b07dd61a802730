"""What became of a row of a push beside its operations: held, linked, decided on by a person."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from tidegate.store import database

_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's, in the order of their codes."""
_lock, _last = threading.Lock(), 0


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that happened to a row; its text has no personal data."""

    id: str
    push: str
    key: str
    what: str
    text: str = ""
    operation: str = ""
    at: float = 0.0
    """Unix seconds of the database's clock, set when it is kept."""


def new_id(prefix: str = "note") -> str:
    """A name of 26 characters after its prefix: ten for the millisecond, 16 at random.

    Names that one process makes sort as they were made.
    """
    global _last  # noqa: PLW0603  # the names of a process follow each other
    with _lock:
        _last = number = max(int(time.time() * 1000) << 80 | secrets.randbits(80), _last + 1)
    return f"{prefix}_{''.join(_LETTERS[number >> shift & 31] for shift in range(125, -5, -5))}"


def keep(session: database.Session, notes: Iterable[Note]) -> None:
    """Keep notes; the same again change nothing."""
    rows = [
        {
            "id": note.id,
            "push": note.push,
            "key": note.key,
            "what": note.what,
            "text": note.text,
            "operation": note.operation,
        }
        for note in notes
    ]
    if rows:
        session.each(
            "INSERT INTO row_notes (id, push, key, at, what, text, operation) "
            "VALUES (:id, :push, :key, {now}, :what, :text, :operation) ON CONFLICT (id) DO NOTHING",
            rows,
        )


def listed(store: database.Database, push: str, key: str) -> list[Note]:
    """What happened to a row, oldest first."""
    rows = store.execute(
        "SELECT id, push, key, what, text, operation, at FROM row_notes WHERE push = :push AND key = :key "
        "ORDER BY at, id",
        {"push": push, "key": key},
    )
    return [Note(**row) for row in rows]
