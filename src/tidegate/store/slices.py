"""The parts of a run that several workers share: some accounts each, taken one by one, done once.

Whoever takes a slice says every second that it lives. A slice whose worker fell silent is taken by another one,
with the next attempt's number: with that it claims the accounts in the warehouse, so that the first worker, should
it wake, commits nothing more, and what it reports here is not heard.

How many workers fell silent with a slice is counted, since one that is too much for their memory takes a worker
with it each time: after `APART` of them it is cut into one slice for each account, which a worker does without
another such slice beside it, and after `LOST` it is not done again. The next run after one that was interrupted
goes on counting: the worker that began it may have been the one that was lost.
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
APART, LOST = 2, 5
"""After so many workers that fell silent with it, a slice is cut into its accounts, or has failed."""
CUT = 1_000_000
"""The numbers of slices that were cut from others begin here: a thousand for each of those."""
SILENT = 15.0
"""Seconds without a sign of life after which a slice is taken by another worker."""
FIRST_WAIT, LONGEST_WAIT = 2.0, 60.0
"""Seconds before a slice that failed is tried again: at first, and at most."""

_OPEN = "state IN ('queued', 'running')"
_COLUMNS = "run, number, accounts, state, attempts, lost, worker, result"


@dataclass(frozen=True, slots=True)
class Slice:
    """Some accounts of a run, taken `attempts` times; `lost` workers fell silent with it."""

    run: str
    number: int
    accounts: tuple[str, ...]
    state: State
    attempts: int = 0
    lost: int = 0
    worker: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)


def add(store: database.Database, run_id: str, number: int, accounts: Sequence[str]) -> None:
    """Add a slice to a run; adding it again changes nothing."""

    def work(session: database.Session) -> None:
        lost = _lost_before(session, run_id)
        _insert(session, run_id, number, accounts, max((lost.get(each, 0) for each in accounts), default=0))

    store.transact(work)


def take(
    store: database.Database, run_id: str, worker: str, silent: float = SILENT, *, patience: float = 0.0
) -> Slice | None:
    """Take a slice of a run that waits, or whose worker said nothing for `silent` seconds; None when there is none.

    Only while the run itself is running. One with which a worker fell silent is left to others for `patience`
    seconds; and who has one with which `APART` did takes no second such.
    """
    skip = " FOR UPDATE SKIP LOCKED" if store.kind == "postgres" else ""

    def work(session: database.Session) -> database.Row | None:
        _set_back(session, "run = :run", {"run": run_id})
        return session.one(
            "UPDATE slices SET lost = lost + CASE WHEN state = 'running' THEN 1 ELSE 0 END, state = 'running', "
            "worker = :worker, attempts = attempts + 1, seen_at = {now} "
            f"WHERE run = :run AND number = (SELECT number FROM slices WHERE run = :run AND {_OPEN} AND ("
            "(state = 'queued' AND not_before <= {now} - CASE WHEN lost > 0 THEN :patience ELSE 0 END) "
            "OR (state = 'running' AND seen_at < {now} - :silent - :patience)) "
            "AND (lost + CASE WHEN state = 'running' THEN 1 ELSE 0 END < :apart OR NOT EXISTS ("
            f"SELECT 1 FROM slices AS own WHERE own.run = :run AND own.{_OPEN} "
            "AND own.state = 'running' AND own.worker = :worker AND own.lost >= :apart)) "
            f"ORDER BY lost, attempts, number LIMIT 1{skip}) "
            "AND EXISTS (SELECT 1 FROM runs WHERE runs.id = slices.run AND runs.state = 'running' "
            "AND runs.cancelled_by = '') "
            f"RETURNING {_COLUMNS}",
            {"run": run_id, "worker": worker, "silent": silent, "patience": patience, "apart": APART},
        )

    row = store.transact(work)
    return None if row is None else _slice(row)


def cut(store: database.Database, mine: Slice) -> bool:
    """Have each account of a slice be a slice of its own; False where another worker took it.

    With each come the workers that were lost with it before, and those that were with the whole slice.
    """

    def work(session: database.Session) -> bool:
        before = _lost_before(session, mine.run)
        own = mine.lost - max(before.get(each, 0) for each in mine.accounts)
        row = session.one(
            "UPDATE slices SET state = 'done', result = '{}' WHERE run = :run AND number = :number "
            "AND worker = :worker AND attempts = :attempts AND state IN ('running', 'done') RETURNING number",
            {"run": mine.run, "number": mine.number, "worker": mine.worker, "attempts": mine.attempts},
        )
        if row is None:
            return False
        for number, account in enumerate(mine.accounts, CUT + 1_000 * mine.number):
            _insert(session, mine.run, number, [account], before.get(account, 0) + own)
        return True

    return store.transact(work)


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


def open_runs(store: database.Database, silent: float = SILENT) -> list[str]:
    """The runs that have slices to be taken."""

    def work(session: database.Session) -> list[database.Row]:
        _set_back(session, "run IN (SELECT id FROM runs WHERE state = 'running')", {})
        return session.execute(
            "SELECT DISTINCT slices.run FROM slices JOIN runs ON runs.id = slices.run "
            "WHERE runs.state = 'running' AND runs.cancelled_by = '' "
            f"AND slices.{_OPEN} AND ((slices.state = 'queued' AND slices.not_before <= {{now}}) "
            "OR (slices.state = 'running' AND slices.seen_at < {now} - :silent)) ORDER BY slices.run",
            {"silent": silent},
        )

    return [row["run"] for row in store.transact(work)]


def _set_back(session: database.Session, where: str, parameters: database.Parameters) -> None:
    """Give slices that are ahead of the clock, which was set back, their time anew."""
    session.execute(
        "UPDATE slices SET seen_at = {now}, not_before = {now} + CASE WHEN state = 'queued' THEN :longest "
        f"ELSE 0 END WHERE {where} AND {_OPEN} AND ((state = 'running' AND seen_at > {{now}}) "
        "OR (state = 'queued' AND not_before > {now} + :longest))",
        {**parameters, "longest": LONGEST_WAIT},
    )


def _insert(session: database.Session, run_id: str, number: int, accounts: Sequence[str], lost: int) -> None:
    session.execute(
        "INSERT INTO slices (run, number, accounts, state, lost, not_before) "
        "VALUES (:run, :number, :accounts, 'queued', :lost, CASE WHEN :lost > 0 THEN {now} ELSE 0 END) "
        "ON CONFLICT (run, number) DO NOTHING",
        {"run": run_id, "number": number, "accounts": " ".join(accounts), "lost": lost},
    )


def _lost_before(session: database.Session, run_id: str) -> dict[str, int]:
    """By account, how many workers fell silent with it in the run before, where that was interrupted."""
    before = session.one(
        "SELECT before.id, before.state, before.finished_at "
        "FROM runs AS before JOIN runs AS this ON this.id = :run "
        "WHERE before.flow = this.flow AND (before.queued_at, before.id) < (this.queued_at, this.id) "
        "ORDER BY before.queued_at DESC, before.id DESC LIMIT 1",
        {"run": run_id},
    )
    if before is None or before["state"] != "interrupted":
        return {}
    rows = session.execute(
        "SELECT accounts, lost, state = 'running' AND seen_at < :ended - :silent AS silent FROM slices "
        "WHERE run = :run AND state <> 'done' AND (lost > 0 OR state = 'running')",
        {"run": before["id"], "ended": before["finished_at"], "silent": SILENT},
    )
    lost: dict[str, int] = {}
    for row in rows:
        for account in row["accounts"].split():
            lost[account] = max(lost.get(account, 0), row["lost"] + bool(row["silent"]))
    return lost


def _slice(row: database.Row) -> Slice:
    return Slice(
        row["run"],
        row["number"],
        tuple(row["accounts"].split()),
        row["state"],
        row["attempts"],
        row["lost"],
        row["worker"],
        msgspec.json.decode(row["result"]),
    )
