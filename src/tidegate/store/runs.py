"""Runs: what ran, why, how far it is, how it ended.

A flow has at most one run that is queued or running, which a partial unique index holds: whoever comes second is
told so. A worker that runs one says again and again that it lives; of one that fell silent the run is
`interrupted`, its flow is due again, and the worker, if it wakes, is told that the run is not its own any more.

SQLite uses an index over some rows only where the statement repeats its condition word by word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from tidegate import errors
from tidegate.store import database, keyed, logs, trail

State = Literal["queued", "running", "ok", "partial", "failed", "cancelled", "interrupted"]
STATES: tuple[State, ...] = ("queued", "running", "ok", "partial", "failed", "cancelled", "interrupted")
ALIVE = ("queued", "running")
"""States in which a run keeps others of its flow out."""
Cause = Literal["schedule", "manual", "api", "trigger", "after", "retry", "continuous"]
CAUSES: tuple[Cause, ...] = ("schedule", "manual", "api", "trigger", "after", "retry", "continuous")

_LIVING = "state IN ('queued', 'running')"

COLUMNS = (
    "id, flow, state, cause, options, due_at, queued_at, started_at, finished_at, worker, seen_at, attempts, "
    "cancelled_by, claim, progress, totals, error"
)
"""What is read of a run."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run; times are unix seconds of the database's clock."""

    id: str
    flow: str
    state: State
    cause: Cause
    due_at: float
    queued_at: float
    options: Mapping[str, Any] = field(default_factory=dict)
    started_at: float | None = None
    finished_at: float | None = None
    worker: str = ""
    seen_at: float | None = None
    attempts: int = 0
    cancelled_by: str = ""
    claim: Mapping[str, Any] = field(default_factory=dict)
    """What it claimed in the warehouse, for the workers that have parts of it."""
    progress: Mapping[str, Any] = field(default_factory=dict)
    totals: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def alive(self) -> bool:
        """Does it keep others of its flow out?"""
        return self.state in ALIVE


def new_id() -> str:
    """An id for a run that is to be queued."""
    return f"run_{keyed.new_id('run')}"


def queue(
    store: database.Database,
    run_id: str,
    flow: str,
    cause: Cause,
    *,
    options: Mapping[str, Any] | None = None,
    due_at: float | None = None,
    note: trail.Note | None = None,
) -> Run:
    """Note a run that is to begin; raises StoreConflict where the flow has one that is queued or running.

    The `note` stands in the audit log where the run does.
    """

    def work(session: database.Session) -> Run | None:
        made = queued(session, run_id, flow, cause, options=options, due_at=due_at)
        if made is not None and note is not None:
            note.write(session)
        return made

    found = store.transact(work)
    if found is None:
        raise busy(store, flow)
    return found


def busy(store: database.Database, flow: str) -> errors.StoreConflict:
    """What to raise where a flow has a run already."""
    other = alive(store, flow)
    name = f" ({other.id})" if other else ""
    return errors.StoreConflict(
        f"{flow} has a run already{name}; wait until it is done, or `tidegate cancel` it."
    )


def queued(
    session: database.Session,
    run_id: str,
    flow: str,
    cause: Cause,
    *,
    options: Mapping[str, Any] | None = None,
    due_at: float | None = None,
) -> Run | None:
    """The same inside a transaction; None where the flow has a run."""
    found = session.one(f"SELECT {COLUMNS} FROM runs WHERE id = :id", {"id": run_id})
    if found is None:
        found = session.one(
            "INSERT INTO runs (id, flow, state, cause, options, due_at, queued_at) "
            "VALUES (:id, :flow, 'queued', :cause, :options, coalesce(:due_at, {now}), {now}) "
            f"ON CONFLICT DO NOTHING RETURNING {COLUMNS}",
            {
                "id": run_id,
                "flow": flow,
                "cause": cause,
                "options": _json(options or {}),
                "due_at": due_at,
            },
        )
    return None if found is None else of_row(found)


def begin(store: database.Database, run_id: str, worker: str) -> Run | None:
    """Make a queued run one's own; None where somebody else has, or where it was cancelled."""
    return store.transact(lambda session: begun(session, run_id, worker))


def begun(session: database.Session, run_id: str, worker: str) -> Run | None:
    """The same inside a transaction."""
    row = session.one(
        "UPDATE runs SET state = 'running', worker = :worker, started_at = coalesce(started_at, {now}), "
        "seen_at = {now}, attempts = attempts + CASE WHEN worker = :worker THEN 0 ELSE 1 END "
        "WHERE id = :id AND (state = 'queued' OR (state = 'running' AND worker = :worker)) "
        f"RETURNING {COLUMNS}",
        {"id": run_id, "worker": worker},
    )
    return None if row is None else of_row(row)


def beat(store: database.Database, run_id: str, worker: str, progress: Mapping[str, Any]) -> Run | None:
    """Say that the run lives and how far it is; None where it is not the worker's any more."""
    row = store.one(
        "UPDATE runs SET seen_at = {now}, progress = :progress "
        f"WHERE id = :id AND state = 'running' AND worker = :worker RETURNING {COLUMNS}",
        {"id": run_id, "worker": worker, "progress": _json(progress)},
    )
    return None if row is None else of_row(row)


def claimed(store: database.Database, run_id: str, worker: str, claim: Mapping[str, Any]) -> None:
    """Note what a run claimed in the warehouse."""
    store.execute(
        "UPDATE runs SET claim = :claim WHERE id = :id AND worker = :worker",
        {"id": run_id, "worker": worker, "claim": _json(claim)},
    )


def end(
    store: database.Database,
    run_id: str,
    worker: str,
    state: State,
    *,
    totals: Mapping[str, Any] | None = None,
    error: str = "",
    then: Sequence[str] = (),
) -> bool:
    """End a run; False where it is not the worker's any more. Ending it again the same way changes nothing.

    `then` are the flows that wait for it; each is due now, and so is its own that ends `interrupted`.
    """

    def work(session: database.Session) -> bool:
        found = session.one(
            "SELECT flow, state, cause, options, cancelled_by FROM runs WHERE id = :id AND worker = :worker",
            {"id": run_id, "worker": worker},
        )
        if found is None:
            return False
        for flow in sorted({found["flow"], *then}):
            session.execute("SELECT flow FROM ticks WHERE flow = :flow {lock}", {"flow": flow})
        ended = session.one(
            "UPDATE runs SET state = :state, finished_at = {now}, totals = :totals, error = :error "
            "WHERE id = :id AND worker = :worker AND state = 'running' RETURNING cancelled_by",
            {
                "id": run_id,
                "worker": worker,
                "state": state,
                "totals": _json(totals or {}),
                "error": logs.plain(error),
            },
        )
        if ended is None:
            now = session.one("SELECT state FROM runs WHERE id = :id", {"id": run_id})
            return now is not None and now["state"] == state
        if state == "interrupted" and not ended["cancelled_by"]:
            _resume(session, found)
        for flow in then:
            session.execute("UPDATE ticks SET waiting = 'after' WHERE flow = :flow", {"flow": flow})
        return True

    return store.transact(work)


def cancel(store: database.Database, run_id: str, by: str, note: trail.Note | None = None) -> Run:
    """End a queued run, ask a running one to end; raises ConfigError for one that is not there or has ended.

    The `note` stands in the audit log if nobody had asked it to end before.
    """

    def work(session: database.Session) -> Run | None:
        before = session.one("SELECT cancelled_by FROM runs WHERE id = :id {lock}", {"id": run_id})
        row = session.one(
            "UPDATE runs SET cancelled_by = :by, "
            "state = CASE WHEN state = 'queued' THEN 'cancelled' ELSE state END, "
            "finished_at = CASE WHEN state = 'queued' THEN {now} ELSE finished_at END "
            "WHERE id = :id AND (state IN ('queued', 'running') OR (state = 'cancelled' AND cancelled_by = :by)) "
            f"RETURNING {COLUMNS}",
            {"id": run_id, "by": by},
        )
        if row is not None and note is not None and before is not None and not before["cancelled_by"]:
            note.write(session)
        return None if row is None else of_row(row)

    found = store.transact(work)
    if found is None:
        there = get(store, run_id)
        raise errors.ConfigError(f"{run_id} has ended already: {there.state}.")
    return found


def interrupt(store: database.Database, silent: float) -> list[Run]:
    """End the runs of workers that said nothing for `silent` seconds; returns them.

    Their flows are due again, with the same options; but those that somebody has cancelled. After the clock was set
    back, every run is given its time anew.
    """
    rows = store.execute(
        f"SELECT id, flow, seen_at > {{now}} AS later FROM runs WHERE {_LIVING} AND state = 'running' "
        "AND (seen_at < {now} - :silent OR seen_at > {now})",
        {"silent": silent},
    )
    found = []
    for row in rows:
        if row["later"]:
            store.execute(
                "UPDATE runs SET seen_at = {now} WHERE id = :id AND state = 'running' AND seen_at > {now}",
                {"id": row["id"]},
            )
        else:
            found.append(_interrupted(store, row["id"], row["flow"], silent))
    return [run for run in found if run is not None]


def _interrupted(store: database.Database, run_id: str, flow: str, silent: float) -> Run | None:
    def work(session: database.Session) -> Run | None:
        session.execute("SELECT flow FROM ticks WHERE flow = :flow {lock}", {"flow": flow})
        row = session.one(
            "UPDATE runs SET state = CASE WHEN cancelled_by = '' THEN 'interrupted' ELSE 'cancelled' END, "
            "finished_at = {now}, error = 'The process that ran it is gone; what it committed stays"
            "' || CASE WHEN cancelled_by = '' THEN ', and the next run goes on from there.' ELSE '.' END "
            "WHERE id = :id AND state = 'running' AND seen_at < {now} - :silent "
            f"RETURNING {COLUMNS}",
            {"id": run_id, "silent": silent},
        )
        if row is not None and row["state"] == "interrupted":
            _resume(session, row)
        return None if row is None else of_row(row)

    return store.transact(work)


def _resume(session: database.Session, run: database.Row) -> None:
    """Have a run's flow due again; one that is continuous is begun by whoever sees that it does not run.

    What waits already, with more than the run was asked for, stays as it is.
    """
    if run["cause"] != "continuous":
        session.execute(
            "UPDATE ticks SET waiting = CASE WHEN waiting = '' THEN 'retry' ELSE waiting END, "
            "options = CASE WHEN options = '{}' THEN :options ELSE options END WHERE flow = :flow",
            {"flow": run["flow"], "options": run["options"]},
        )


def get(store: database.Database, run_id: str) -> Run:
    """A run by its id, or by the beginning of it where that is enough; raises ConfigError."""
    rows = store.execute(f"SELECT {COLUMNS} FROM runs WHERE id = :id", {"id": run_id})
    if not rows:
        # Ids are hexadecimal: whatever begins so stands before the same with a `z`.
        rows = store.execute(
            f"SELECT {COLUMNS} FROM runs WHERE id >= :id AND id < :end AND substr(id, 1, :length) = :id "
            "ORDER BY id LIMIT 2",
            {"id": run_id, "end": run_id + "z", "length": len(run_id)},
        )
    if len(rows) > 1:
        raise errors.ConfigError(f"Several runs begin with {run_id}; give more of the id.")
    if not rows:
        raise errors.ConfigError(f"There is no run {run_id}; `tidegate runs` lists them.")
    return of_row(rows[0])


def alive(store: database.Database, flow: str) -> Run | None:
    """The run of a flow that is queued or running."""
    row = store.one(f"SELECT {COLUMNS} FROM runs WHERE flow = :flow AND {_LIVING}", {"flow": flow})
    return None if row is None else of_row(row)


def listed(
    store: database.Database,
    *,
    flow: str | None = None,
    states: Sequence[str] = (),
    limit: int = 50,
    before: Run | None = None,
) -> list[Run]:
    """Runs, newest first; `before` is the last of the page before."""
    where = ["flow = :flow"] if flow is not None else []
    parameters: dict[str, object] = {"limit": limit, "flow": flow}
    if before is not None:
        where.append("(queued_at, id) < (:at, :id)")
        parameters |= {"at": before.queued_at, "id": before.id}
    found = []
    # One look for each state: then an index has them in their order, however many others there are.
    for state in dict.fromkeys(states) or [None]:
        assert state is None or state in STATES, f"There is no state {state} of a run."
        mine = [*where, f"state = '{state}'", *([_LIVING] if state in ALIVE else [])] if state else where
        text = f" WHERE {' AND '.join(mine)}" if mine else ""
        found += store.execute(
            f"SELECT {COLUMNS} FROM runs{text} ORDER BY queued_at DESC, id DESC LIMIT :limit", parameters
        )
    found.sort(key=lambda row: (row["queued_at"], row["id"]), reverse=True)
    return [of_row(row) for row in found[:limit]]


def of_row(row: database.Row) -> Run:
    """A run, of its `COLUMNS`."""
    found = dict(row)
    for name in ("options", "claim", "progress", "totals"):
        found[name] = msgspec.json.decode(found[name])
    return Run(**found)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
