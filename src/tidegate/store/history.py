"""Runs as people look for them: filtered, newest first, page by page; and how the flows of a moment stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.store import database, runs

Place = tuple[float, str]
"""Where a run stands in a list: when it was queued, and its id."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs are meant; empty is any."""

    flow: str | None = None
    """By its full name."""
    kind: str | None = None
    """pull, pipeline or push."""
    states: Sequence[str] = ()
    causes: Sequence[str] = ()
    since: float | None = None
    """Queued at this moment or later, unix seconds."""
    until: float | None = None
    """Queued before this moment."""
    search: str = ""
    """In the flow's name or the error, whatever its case; or the beginning of the id."""


def page(store: database.Database, only: Filter, *, limit: int, after: Place | None = None) -> list[runs.Run]:
    """Runs, newest first; `after` is the place of the last of the page before."""
    where, parameters = _where(only)
    parameters["limit"] = limit
    if after is not None:
        where.append("(queued_at, id) < (:at, :id)")
        parameters |= {"at": after[0], "id": after[1]}
    found = []
    # One look for each state: then an index has them in their order, however many others there are.
    for state in dict.fromkeys(only.states) or [""]:
        living = ["state IN ('queued', 'running')"] if state in runs.ALIVE else []
        mine = [*where, f"state IN ({_quoted([state], runs.STATES)})", *living] if state else where
        text = f" WHERE {' AND '.join(mine)}" if mine else ""
        found += store.execute(
            f"SELECT {runs.COLUMNS} FROM runs{text} ORDER BY queued_at DESC, id DESC LIMIT :limit", parameters
        )
    found.sort(key=lambda row: (row["queued_at"], row["id"]), reverse=True)
    return [runs.of_row(row) for row in found[:limit]]


def pulse(store: database.Database) -> tuple[str, tuple[tuple[str, str, str], ...]]:
    """What changes whenever a run comes, begins, is told to end, or ends: the newest, and those that go on.

    Two short statements, however many runs there are.
    """
    newest = store.one("SELECT id FROM runs ORDER BY queued_at DESC, id DESC LIMIT 1")
    rows = store.execute(
        "SELECT id, state, cancelled_by FROM runs WHERE state IN ('queued', 'running') ORDER BY id"
    )
    going = tuple((row["id"], row["state"], row["cancelled_by"]) for row in rows)
    return "" if newest is None else newest["id"], going


def counted(store: database.Database, only: Filter) -> int:
    """How many runs there are of these."""
    where, parameters = _where(only)
    if only.states:
        where.append(f"state IN ({_quoted(only.states, runs.STATES)})")
    text = f" WHERE {' AND '.join(where)}" if where else ""
    row = store.one(f"SELECT count(*) AS n FROM runs{text}", parameters)
    assert row is not None, "An aggregate has a row."
    return int(row["n"])


def _where(only: Filter) -> tuple[list[str], dict[str, object]]:
    """The conditions of a filter but for the states, and their parameters."""
    where, parameters = [], dict[str, object]()
    if only.flow is not None:
        where.append("flow = :flow")
        parameters["flow"] = only.flow
    if only.kind is not None:
        where.append("substr(flow, 1, :length) = :kind")
        parameters |= {"kind": f"{only.kind}:", "length": len(only.kind) + 1}
    if only.causes:
        where.append(f"cause IN ({_quoted(only.causes, runs.CAUSES)})")
    if only.since is not None:
        where.append("queued_at >= :since")
        parameters["since"] = only.since
    if only.until is not None:
        where.append("queued_at < :until")
        parameters["until"] = only.until
    if only.search:
        where.append(
            "(lower(flow) LIKE :part ESCAPE '!' OR lower(error) LIKE :part ESCAPE '!' "
            "OR id LIKE :beginning ESCAPE '!')"
        )
        text = only.search.lower().replace("!", "!!").replace("%", "!%").replace("_", "!_")
        parameters |= {"part": f"%{text}%", "beginning": f"{text}%"}
    return where, parameters


def _quoted(words: Sequence[str], known: Sequence[str]) -> str:
    assert set(words) <= set(known), f"One of {words} is none of {known}."
    return ", ".join(f"'{word}'" for word in words)


def going(session: database.Session) -> list[runs.Run]:
    """The runs that are queued or running."""
    rows = session.execute(f"SELECT {runs.COLUMNS} FROM runs WHERE state IN ('queued', 'running')")
    return [runs.of_row(row) for row in rows]


def last(session: database.Session, flow: str, state: runs.State | None = None) -> runs.Run | None:
    """The newest run of a flow that has ended, or that has ended so."""
    ended = (
        "state NOT IN ('queued', 'running')"
        if state is None
        else f"state IN ({_quoted([state], runs.STATES)})"
    )
    row = session.one(
        f"SELECT {runs.COLUMNS} FROM runs WHERE flow = :flow AND {ended} ORDER BY queued_at DESC, id DESC LIMIT 1",
        {"flow": flow},
    )
    return None if row is None else runs.of_row(row)
