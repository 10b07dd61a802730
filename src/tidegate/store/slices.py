"""The parts of a run that several workers share: some accounts each, taken one by one, done once.

Whoever takes a slice says every second that it lives. A slice whose worker fell silent is taken by another one,
with the next attempt's number: with that it claims the accounts in the warehouse, so that the first worker, should
it wake, commits nothing more, and what it reports here is not heard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from tidegate.store import database

State = Literal["queued", "running", "done", "failed"]
ATTEMPTS = 5
"""After so many failures for reasons that pass, a slice has failed."""
FIRST_WAIT, LONGEST_WAIT = 2.0, 60.0
"""Seconds before a slice that failed is tried again: at first, and at most."""

_COLUMNS = "run, number, accounts, state, attempts, worker, result"


@dataclass(frozen=True, slots=True)
class Slice:
    """Some accounts of a run; `attempts` counts how often it was taken."""

    run: str
    number: int
    accounts: tuple[str, ...]
    state: State
    attempts: int = 0
    worker: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)


def add(store: database.Database, run_id: str, number: int, accounts: Sequence[str]) -> None:
    """Add a slice to a run; adding it again changes nothing."""
    store.execute(
        "INSERT INTO slices (run, number, accounts, state) VALUES (:run, :number, :accounts, 'queued') "
        "ON CONFLICT (run, number) DO NOTHING",
        {"run": run_id, "number": number, "accounts": " ".join(accounts)},
    )


def take(store: database.Database, run_id: str, worker: str, silent: float) -> Slice | None:
    """Take a slice of a run that waits, or whose worker said nothing for `silent` seconds; None when there is none.

    Only while the run itself is running.
    """
    skip = " FOR UPDATE SKIP LOCKED" if store.kind == "postgres" else ""

    def work(session: database.Session) -> database.Row | None:
        _set_back(session, "run = :run", {"run": run_id})
        return session.one(
            "UPDATE slices SET state = 'running', worker = :worker, attempts = attempts + 1, seen_at = {now} "
            "WHERE run = :run AND number = (SELECT number FROM slices WHERE run = :run AND ("
            "(state = 'queued' AND not_before <= {now}) OR (state = 'running' AND seen_at < {now} - :silent)) "
            f"ORDER BY attempts, number LIMIT 1{skip}) "
            "AND EXISTS (SELECT 1 FROM runs WHERE runs.id = slices.run AND runs.state = 'running' "
            "AND runs.cancelled_by = '') "
            f"RETURNING {_COLUMNS}",
            {"run": run_id, "worker": worker, "silent": silent},
        )

    row = store.transact(work)
    return None if row is None else _slice(row)


def beat(store: database.Database, mine: Slice) -> bool:
    """Say that a slice is being worked on; False where it, or its run, is not this worker's any more."""
    row = store.one(
        "UPDATE slices SET seen_at = {now} WHERE run = :run AND number = :number AND state = 'running' "
        "AND worker = :worker AND attempts = :attempts AND EXISTS (SELECT 1 FROM runs "
        "WHERE runs.id = slices.run AND runs.state = 'running' AND runs.cancelled_by = '') RETURNING number",
        {"run": mine.run, "number": mine.number, "worker": mine.worker, "attempts": mine.attempts},
    )
    return row is not None


def end(store: database.Database, mine: Slice, state: State, result: Mapping[str, Any]) -> bool:
    """Note how a slice ended, or with `queued` that it is to be tried again; False where another one took it."""
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** max(0, mine.attempts - 1)) if state == "queued" else 0.0
    row = store.one(
        "UPDATE slices SET state = :state, result = :result, not_before = {now} + :wait "
        "WHERE run = :run AND number = :number AND worker = :worker AND attempts = :attempts "
        "AND state IN ('running', :state) RETURNING number",
        {
            "run": mine.run,
            "number": mine.number,
            "worker": mine.worker,
            "attempts": mine.attempts,
            "state": state,
            "result": msgspec.json.encode(result).decode(),
            "wait": wait,
        },
    )
    return row is not None


def counts(store: database.Database, run_id: str) -> dict[str, int]:
    """How many slices of a run are in each state."""
    rows = store.execute(
        "SELECT state, count(*) AS n FROM slices WHERE run = :run GROUP BY state", {"run": run_id}
    )
    return {row["state"]: int(row["n"]) for row in rows}


def results(store: database.Database, run_id: str) -> list[Mapping[str, Any]]:
    """What the slices of a run reported, in their order."""
    rows = store.execute("SELECT result FROM slices WHERE run = :run ORDER BY number", {"run": run_id})
    return [msgspec.json.decode(row["result"]) for row in rows]


def open_runs(store: database.Database, silent: float) -> list[str]:
    """The runs that have slices to be taken."""

    def work(session: database.Session) -> list[database.Row]:
        _set_back(session, "EXISTS (SELECT 1 FROM runs WHERE runs.id = run AND runs.state = 'running')", {})
        return session.execute(
            "SELECT DISTINCT slices.run FROM slices JOIN runs ON runs.id = slices.run "
            "WHERE runs.state = 'running' AND runs.cancelled_by = '' "
            "AND ((slices.state = 'queued' AND slices.not_before <= {now}) "
            "OR (slices.state = 'running' AND slices.seen_at < {now} - :silent)) ORDER BY slices.run",
            {"silent": silent},
        )

    return [row["run"] for row in store.transact(work)]


def _set_back(session: database.Session, where: str, parameters: database.Parameters) -> None:
    """Give slices that are ahead of the clock, which was set back, their time anew."""
    session.execute(
        "UPDATE slices SET seen_at = {now}, not_before = {now} + CASE WHEN state = 'queued' THEN :longest "
        f"ELSE 0 END WHERE {where} AND ((state = 'running' AND seen_at > {{now}}) "
        "OR (state = 'queued' AND not_before > {now} + :longest))",
        {**parameters, "longest": LONGEST_WAIT},
    )


def _slice(row: database.Row) -> Slice:
    return Slice(
        row["run"],
        row["number"],
        tuple(row["accounts"].split()),
        row["state"],
        row["attempts"],
        row["worker"],
        msgspec.json.decode(row["result"]),
    )
