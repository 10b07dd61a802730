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
LEVELS = ("info", "warning", "error")
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
    store: database.Database,
    run_id: str,
    *,
    seen: Mapping[str, int] | None = None,
    limit: int = LINES,
    levels: Sequence[str] = (),
) -> tuple[list[Line], dict[str, int]]:
    """The next lines of a run in their order, after those that were `seen`: the last number of each writer.

    There are no more where none come. With `levels` only those of some of `LEVELS`.
    """
    found = numbered(store, run_id, seen=seen, limit=limit, levels=levels)
    return [line for line, _ in found], found[-1][1] if found else dict(seen or {})


def numbered(
    store: database.Database,
    run_id: str,
    *,
    seen: Mapping[str, int] | None = None,
    limit: int = LINES,
    levels: Sequence[str] = (),
) -> list[tuple[Line, dict[str, int]]]:
    """The same, each line with what is seen after it."""
    after = dict(seen or {})
    each = [
        store.execute(
            f"{_LINES} AND number > :number{_of(levels)} ORDER BY number LIMIT :limit",
            {"run": run_id, "writer": name, "number": after.get(name, -1), "limit": limit},
        )
        for name in _writers(store, run_id)
    ]
    found = []
    for row in itertools.islice(heapq.merge(*each, key=lambda row: row["at"]), limit):
        after = {**after, row["writer"]: row["number"]}
        found.append((_line(row), after))
    return found


def tail(
    store: database.Database,
    run_id: str,
    *,
    before: Mapping[str, int] | None = None,
    limit: int = LINES,
    levels: Sequence[str] = (),
) -> tuple[list[Line], dict[str, int]]:
    """The last lines of a run in their order, or those before others: the first number of each writer; likewise."""
    first = dict(before or {})
    each = [
        store.execute(
            f"{_LINES} AND number < :number{_of(levels)} ORDER BY number DESC LIMIT :limit",
            {"run": run_id, "writer": name, "number": first.get(name, 2**31 - 1), "limit": limit},
        )
        for name in _writers(store, run_id)
    ]
    rows = heapq.merge(*each, key=lambda row: row["at"], reverse=True)
    found = list(itertools.islice(rows, limit))
    first |= {row["writer"]: row["number"] for row in found}
    return [_line(row) for row in reversed(found)], first


_LINES = (
    "SELECT writer, number, at, level, stream, account, text FROM run_lines "
    "WHERE run = :run AND writer = :writer"
)


def _writers(store: database.Database, run_id: str) -> list[str]:
    """Who wrote lines of a run: each one's next by the primary key, without a look at the lines."""
    rows = store.execute(
        "WITH RECURSIVE writers (name) AS (SELECT min(writer) FROM run_lines WHERE run = :run UNION ALL "
        "SELECT (SELECT min(writer) FROM run_lines WHERE run = :run AND writer > writers.name) FROM writers "
        "WHERE writers.name IS NOT NULL) SELECT name FROM writers WHERE name IS NOT NULL",
        {"run": run_id},
    )
    return [row["name"] for row in rows]


def _of(levels: Sequence[str]) -> str:
    assert set(levels) <= set(LEVELS), f"One of {levels} is no level."
    return f" AND level IN ({', '.join(map(repr, levels))})" if levels else ""


def _line(row: database.Row) -> Line:
    return Line(row["at"], row["level"], row["text"], row["stream"], row["account"])


def plain(text: str) -> str:
    """What every database takes: no NUL, no half of a character, no megabytes."""
    text = text[:LONGEST].replace("\0", "\ufffd")
    return text.encode("utf-8", "replace").decode()
