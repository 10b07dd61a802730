"""Jobs: what is done once in the background, such as an audit; how far each is, and what came of it.

    running --finish--> ok, or what it says of itself
       |--stop--------> cancelled, as soon as it notices
       |--leave-------> running, and to be taken up
       |--(silence)---> running, and to be taken up; failed after `ATTEMPTS`
       '--take--------> running, by somebody else

The same thing is done by one job at a time, which a partial unique index holds. Whoever does it, its worker, says
again and again that they live; where they fell silent, another one takes it up from its beginning. A worker that
wakes after that hears that the job is not its own any more, and what it found is not noted.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from tidegate import errors
from tidegate.store import database, keyed, trail

Kind = Literal["audit", "estimate", "forget", "rehearsal", "verification"]
KINDS: tuple[Kind, ...] = ("audit", "estimate", "forget", "rehearsal", "verification")
State = Literal["running", "ok", "partial", "failed", "cancelled"]
STATES: tuple[State, ...] = ("running", "ok", "partial", "failed", "cancelled")

SILENT = 30.0
"""Seconds without a sign of life after which whoever does a job is taken for gone."""
ATTEMPTS = 3
"""How often a job is begun, where whoever does it is gone before its end."""
KEPT = 90 * 86_400.0
"""Seconds for which a job is kept that has ended."""
MOST = 4
"""Jobs that go on at the same time: each may read as much as a pull."""
STEP = 500

_COLUMNS = (
    "id, kind, what, state, wish, result, shown, error, made_by, stop, begun_at, seen_at, ended_at, worker, "
    "attempts"
)
_SILENT = "(seen_at < {now} - :silent OR seen_at > {now} + :silent)"
"""Is nothing heard of who does it? Later than now is a moment from before the clock was set back."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job; times are unix seconds of the database's clock."""

    id: str
    kind: Kind
    what: str
    """What it is about, such as the name of a pull."""
    state: State
    wish: Mapping[str, Any]
    """What was asked for."""
    result: Any
    """What came of it; None before its end."""
    shown: Mapping[str, Any]
    """How far it is: `phase`, `rows`, `requests`."""
    error: str
    made_by: str
    stop: str
    """Who ended it."""
    begun_at: float
    seen_at: float
    ended_at: float | None
    worker: str = ""
    """Who does it, or did."""
    attempts: int = 1
    """How many began to do it, each from its beginning."""

    @property
    def alive(self) -> bool:
        """Does it go on?"""
        return self.state == "running"


def new_id() -> str:
    """An id for a job that is to begin."""
    return f"job_{keyed.new_id('job')}"


def begin(
    store: database.Database,
    job_id: str,
    kind: Kind,
    what: str,
    wish: Mapping[str, Any],
    by: str,
    worker: str = "",
    note: trail.Note | None = None,
) -> tuple[Job, bool]:
    """Note that a worker begins a job; and is it new, or was it noted by this id before?

    The `note` stands in the audit log where a new one does. Raises StoreConflict while the same is being done, or
    too much else.
    """

    def work(session: database.Session) -> bool | None:
        _settle(session)
        if _get(session, job_id) is not None:
            return False
        row = session.one("SELECT count(*) AS n FROM jobs WHERE state = 'running'")
        if row is not None and row["n"] >= MOST:
            return None
        made = session.one(
            "INSERT INTO jobs (id, kind, what, state, wish, made_by, worker, begun_at, seen_at) VALUES "
            "(:id, :kind, :what, 'running', :wish, :by, :worker, {now}, {now}) ON CONFLICT DO NOTHING RETURNING id",
            {"id": job_id, "kind": kind, "what": what, "wish": _json(wish), "by": by, "worker": worker},
        )
        if made is None:
            return None
        if note is not None:
            note.write(session)
        return True

    new = store.transact(work)
    if new is None:
        same = next((each for each in listed(store, kind=kind, state="running") if each.what == what), None)
        if same is None:
            raise errors.StoreConflict(
                f"{MOST} audits, estimates and the like go on already; wait until one of them has ended."
            )
        raise errors.StoreConflict(f"The same is being done already ({same.id}); wait until that has ended.")
    found = get(store, job_id)
    assert found is not None, "It was noted just now."
    return found, new


def take(store: database.Database, worker: str, besides: Collection[str] = ()) -> Job | None:
    """A job whose worker is gone, to be done from its beginning by this one; None where there is none.

    `besides` are ids of jobs, `MOST` at the most, whose worker is not gone, though nothing was heard of it.
    """
    alive = {f"alive_{letter}": each for letter, each in zip(string.ascii_lowercase, besides, strict=False)}
    gone = f"state = 'running' AND {_SILENT}" + "".join(f" AND id <> :{name}" for name in alive)
    given = {"worker": worker, "silent": SILENT, **alive}
    if store.one(f"SELECT id FROM jobs WHERE {gone} LIMIT 1", given) is None:
        return None  # which costs no write

    def work(session: database.Session) -> Job | None:
        _settle(session)
        row = session.one(
            "UPDATE jobs SET worker = :worker, attempts = attempts + 1, seen_at = {now}, shown = '{}' WHERE id IN "
            f"(SELECT id FROM jobs WHERE {gone} ORDER BY begun_at LIMIT 1) AND {gone} RETURNING id",
            given,
        )
        return None if row is None else _get(session, row["id"])

    return store.transact(work)


def leave(store: database.Database, job_id: str, worker: str) -> None:
    """Have another worker take a job up now, since this one is to end; that counts as no attempt."""
    store.execute(
        "UPDATE jobs SET worker = '', seen_at = 0, attempts = attempts - 1 "
        "WHERE id = :id AND state = 'running' AND worker = :worker",
        {"id": job_id, "worker": worker},
    )


def beat(store: database.Database, job_id: str, shown: Mapping[str, Any], worker: str = "") -> bool:
    """Say that a job goes on and how far it is; False where it is not wanted any more, or another worker's."""
    row = store.one(
        "UPDATE jobs SET seen_at = {now}, shown = :shown "
        "WHERE id = :id AND state = 'running' AND worker = :worker RETURNING stop",
        {"id": job_id, "shown": _json(shown), "worker": worker},
    )
    return row is not None and row["stop"] == ""


def finish(
    store: database.Database,
    job_id: str,
    state: State,
    result: object,
    error: str = "",
    rows: Iterable[tuple[bool, Mapping[str, Any]]] = (),
    worker: str = "",
) -> bool:
    """Note how a job ended and what it found, line by line, each with whether something is wrong there.

    All of it or nothing: False where it had ended before, or is another worker's by now.
    """
    lines: list[database.Parameters] = [
        {"job": job_id, "number": number, "wrong": int(wrong), "entry": _json(entry)}
        for number, (wrong, entry) in enumerate(rows, 1)
    ]

    def work(session: database.Session) -> bool:
        row = session.one(
            "UPDATE jobs SET state = :state, result = :result, error = :error, ended_at = {now} "
            "WHERE id = :id AND state = 'running' AND worker = :worker RETURNING id",
            {"id": job_id, "state": state, "result": _json(result), "error": error, "worker": worker},
        )
        if row is None:
            return False
        session.execute("DELETE FROM job_rows WHERE job = :job", {"job": job_id})  # of an earlier attempt
        if lines:
            session.each(
                "INSERT INTO job_rows (job, number, wrong, entry) VALUES (:job, :number, :wrong, :entry)",
                lines,
            )
        return True

    return store.transact(work)


def stop(store: database.Database, job_id: str, by: str, note: trail.Note | None = None) -> None:
    """Have a job end soon, where it goes on; the `note` stands in the audit log if nobody had asked that before."""

    def work(session: database.Session) -> None:
        asked = session.one(
            "UPDATE jobs SET stop = :by WHERE id = :id AND state = 'running' AND stop = '' RETURNING id",
            {"id": job_id, "by": by},
        )
        if asked is not None and note is not None:
            note.write(session)

    store.transact(work)


def get(store: database.Database, job_id: str) -> Job | None:
    """A job by its whole id."""

    def work(session: database.Session) -> Job | None:
        _settle(session)
        return _get(session, job_id)

    return store.transact(work)


def listed(
    store: database.Database,
    *,
    kind: Kind | None = None,
    state: State | None = None,
    without: Sequence[Kind] = (),
    before: tuple[float, str] | None = None,
    limit: int = 50,
) -> list[Job]:
    """Jobs, the newest first; `before` is when the last one seen began, and its id."""
    where, given = ["1 = 1"], dict[str, object](limit=limit)
    for name, value in (("kind", kind), ("state", state)):
        if value is not None:
            where.append(f"{name} = :{name}")
            given[name] = value
    if without:
        names, parameters = database.among(without)
        where.append(f"kind NOT IN {names}")
        given |= parameters
    if before is not None:
        where.append("(begun_at, id) < (:at, :id)")
        given |= {"at": before[0], "id": before[1]}

    def work(session: database.Session) -> list[Job]:
        _settle(session)
        rows = session.execute(
            f"SELECT {_COLUMNS} FROM jobs WHERE {' AND '.join(where)} ORDER BY begun_at DESC, id DESC LIMIT :limit",
            given,
        )
        return [_job(row) for row in rows]

    return store.transact(work)


def rows(
    store: database.Database, job_id: str, *, wrong: bool = False, after: int = 0, limit: int = 50
) -> list[tuple[int, dict[str, Any]]]:
    """Lines of what a job found in their order, each with its number; `after` is that of the last one seen."""
    only = " AND wrong = 1" if wrong else ""
    found = store.execute(
        f"SELECT number, entry FROM job_rows WHERE job = :job AND number > :after{only} "
        "ORDER BY number LIMIT :limit",
        {"job": job_id, "after": after, "limit": limit},
    )
    return [(row["number"], msgspec.json.decode(row["entry"])) for row in found]


def prune(store: database.Database, older: float = KEPT) -> int:
    """Remove jobs that ended so many seconds ago, with their lines; says how many."""

    def work(session: database.Session) -> int:
        found = session.execute(
            "DELETE FROM jobs WHERE ended_at < (SELECT {now}) - :older AND id IN "
            "(SELECT id FROM jobs WHERE ended_at < (SELECT {now}) - :older LIMIT :step) RETURNING id",
            {"older": older, "step": STEP},
        )
        for row in found:
            session.execute("DELETE FROM job_rows WHERE job = :id", {"id": row["id"]})
        return len(found)

    return store.transact(work)


def _settle(session: database.Session) -> None:
    """End the jobs of those who fell silent that nobody wants any more, or that came to no end too often."""
    session.execute(
        "UPDATE jobs SET state = CASE WHEN stop = '' THEN 'failed' ELSE 'cancelled' END, ended_at = {now}, "
        "error = CASE WHEN stop = '' THEN :failed ELSE :cancelled END "
        f"WHERE state = 'running' AND (stop <> '' OR attempts >= :attempts) AND {_SILENT}",
        {
            "silent": SILENT,
            "attempts": ATTEMPTS,
            "failed": f"The process that did it ended before it {ATTEMPTS} times; look into its log, then begin it "
            "again.",
            "cancelled": "It was cancelled; what it had done until then stays.",
        },
    )


def _get(session: database.Session, job_id: str) -> Job | None:
    row = session.one(f"SELECT {_COLUMNS} FROM jobs WHERE id = :id", {"id": job_id})
    return None if row is None else _job(row)


def _job(row: database.Row) -> Job:
    told = {name: msgspec.json.decode(row[name]) for name in ("wish", "result", "shown")}
    return Job(**{**row, **told})


def _json(document: object) -> str:
    return msgspec.json.encode(document).decode()
