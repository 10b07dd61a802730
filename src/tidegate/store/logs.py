"""The log of a run, line by line, as each of those who work on it wrote it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidegate.store import database

LINES = 20_000
"""Lines that are kept of each writer of a run; of more, the first half and the last."""
LONGEST = 10_000
"""Characters that are kept of a line, or of an error."""
STEP = 500
"""Lines that are written in one transaction, so that others get their turn."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a run's log."""

    at: float
    level: str
    text: str
    stream: str = ""
    account: str = ""


def write(store: database.Database, run_id: str, writer: str, first: int, lines: Sequence[Line]) -> None:
    """Add lines, numbered from `first` by their writer; the same lines again change nothing.

    A writer is somebody who counts from 0: one that begins anew, after a restart, needs another name.
    """
    for start in range(0, len(lines), STEP):
        _write(store, run_id, writer, first + start, lines[start : start + STEP])


def _write(store: database.Database, run_id: str, writer: str, first: int, lines: Sequence[Line]) -> None:
    rows = [
        {
            "run": run_id,
            "writer": writer,
            "number": number,
            "at": line.at,
            "level": line.level,
            "stream": line.stream,
            "account": line.account,
            "text": plain(line.text),
        }
        for number, line in enumerate(lines, first)
    ]
    end = first + len(lines)

    def work(session: database.Session) -> None:
        session.each(
            "INSERT INTO run_lines (run, writer, number, at, level, stream, account, text) "
            "VALUES (:run, :writer, :number, :at, :level, :stream, :account, :text) "
            "ON CONFLICT (run, writer, number) DO NOTHING",
            rows,
        )
        if end > LINES:
            session.execute(
                "DELETE FROM run_lines WHERE run = :run AND writer = :writer "
                "AND number >= :half AND number < :end - :half",
                {"run": run_id, "writer": writer, "half": LINES // 2, "end": end},
            )

    store.transact(work)


def read(
    store: database.Database, run_id: str, *, seen: Mapping[str, int] | None = None, limit: int = LINES
) -> tuple[list[Line], dict[str, int]]:
    """The next lines of a run in their order, after those that were `seen`: the last number of each writer.

    There are no more where none come.
    """
    after = dict(seen or {})
    # Each writer's next by the primary key, without a look at what was seen.
    writers = store.execute(
        "WITH RECURSIVE writers (name) AS (SELECT min(writer) FROM run_lines WHERE run = :run UNION ALL "
        "SELECT (SELECT min(writer) FROM run_lines WHERE run = :run AND writer > writers.name) FROM writers "
        "WHERE writers.name IS NOT NULL) SELECT name FROM writers WHERE name IS NOT NULL",
        {"run": run_id},
    )
    each = [
        store.execute(
            "SELECT writer, number, at, level, stream, account, text FROM run_lines "
            "WHERE run = :run AND writer = :writer AND number > :number ORDER BY number LIMIT :limit",
            {"run": run_id, "writer": row["name"], "number": after.get(row["name"], -1), "limit": limit},
        )
        for row in writers
    ]
    found = []
    for row in itertools.islice(heapq.merge(*each, key=lambda row: row["at"]), limit):
        found.append(Line(row["at"], row["level"], row["text"], row["stream"], row["account"]))
        after[row["writer"]] = row["number"]
    return found, after


def plain(text: str) -> str:
    """What every database takes: no NUL, no half of a character, no megabytes."""
    text = text[:LONGEST].replace("\0", "\ufffd")
    return text.encode("utf-8", "replace").decode()
