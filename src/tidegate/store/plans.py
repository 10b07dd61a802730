"""Plans of pushes that wait for a person: kept whole as they were shown, approved once, done once.

    making --keep--> planned --approve--> approved --applied--> applied
       |                |
       '--fail--> failed '--another plan is made--> gone

A plan that is approved names the run that does it, noted in the same transaction; so killing anything in between
neither loses nor doubles it. `digest` is of all rows: what is done is what was shown.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from tidegate import errors
from tidegate.store import database, keyed, runs, trail

State = Literal["making", "planned", "failed", "approved", "applied"]
Kind = Literal["push", "undo"]

SILENT = 60.0
"""Seconds without a sign of life after which whoever makes a plan is taken for gone."""
KEPT = 7 * 86_400.0
"""Seconds for which a plan that nobody approved is kept, and the rows of one that was done."""
STEP = 500

_COLUMNS = (
    "id, push, kind, state, wish, body, digest, phase, error, made_by, begun_at, seen_at, planned_at, approved_by, "
    "approved_at, run, applied_at"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan; times are unix seconds of the database's clock."""

    id: str
    push: str
    kind: Kind
    state: State
    wish: Mapping[str, Any]
    """What was asked for: `repair`, `limit`, or what is to be undone."""
    body: Mapping[str, Any]
    """What was planned as a whole: counts, guards, requests, seconds."""
    digest: str
    phase: str
    """What is being done while it is made."""
    error: str
    made_by: str
    begun_at: float
    seen_at: float
    planned_at: float | None
    approved_by: str
    approved_at: float | None
    run: str
    applied_at: float | None


def new_id() -> str:
    """An id for a plan that is to be made."""
    return f"plan_{keyed.new_id('plan')}"


def begin(
    store: database.Database,
    plan_id: str,
    push: str,
    kind: Kind,
    wish: Mapping[str, Any],
    by: str,
    note: trail.Note | None = None,
) -> Plan:
    """Note that a plan is being made; raises StoreConflict while another one is, or is being done.

    Plans of the push that nobody approved go: they show what is not so any more.
    """

    def work(session: database.Session) -> bool:
        _settle(session, push)
        _drop(session, "push = :push AND state IN ('planned', 'failed')", {"push": push})
        made = session.one(
            "INSERT INTO plans (id, push, kind, state, wish, made_by, begun_at, seen_at) "
            "VALUES (:id, :push, :kind, 'making', :wish, :by, {now}, {now}) ON CONFLICT DO NOTHING RETURNING id",
            {"id": plan_id, "push": push, "kind": kind, "wish": _json(wish), "by": by},
        )
        if made is not None and note is not None:
            note.write(session)
        return made is not None or get(session, plan_id) is not None

    if not store.transact(work):
        there = alive(store, push)
        what = "is being done" if there is not None and there.state == "approved" else "is being made"
        raise errors.StoreConflict(f"A plan of {push} {what} already; wait until that has ended.")
    found = get(store, plan_id)
    assert found is not None, "It was noted just now."
    return found


def beat(store: database.Database, plan_id: str, phase: str) -> bool:
    """Say that a plan is still being made, and what is done for it; False where it is not wanted any more."""
    row = store.one(
        "UPDATE plans SET seen_at = {now}, phase = :phase WHERE id = :id AND state = 'making' RETURNING id",
        {"id": plan_id, "phase": phase},
    )
    return row is not None


def add(store: database.Database, plan_id: str, rows: Iterable[tuple[str, str, str]]) -> str:
    """Keep the rows of a plan that is being made: verdict, key and entry of each; says their digest."""
    digest, number = hashlib.sha256(), 0
    rest = iter(rows)
    while some := list(itertools.islice(rest, STEP)):
        numbered = []
        for verdict, key, entry in some:
            number += 1
            digest.update(entry.encode() + b"\n")
            numbered.append(
                {"plan": plan_id, "number": number, "verdict": verdict, "key": key, "entry": entry}
            )

        def work(session: database.Session, rows: Sequence[database.Parameters] = numbered) -> None:
            session.each(
                "INSERT INTO plan_rows (plan, number, verdict, key, entry) "
                "VALUES (:plan, :number, :verdict, :key, :entry) ON CONFLICT (plan, number) DO NOTHING",
                rows,
            )

        store.transact(work)
    return digest.hexdigest()


def keep(store: database.Database, plan_id: str, body: Mapping[str, Any], digest: str) -> bool:
    """Note that a plan is made, its rows being there; False where it is not wanted any more."""
    row = store.one(
        "UPDATE plans SET state = 'planned', body = :body, digest = :digest, planned_at = {now}, phase = '' "
        "WHERE id = :id AND (state = 'making' OR (state = 'planned' AND digest = :digest)) RETURNING id",
        {"id": plan_id, "body": _json(body), "digest": digest},
    )
    return row is not None


def fail(store: database.Database, plan_id: str, error: str) -> None:
    """Note why a plan could not be made."""
    store.execute(
        "UPDATE plans SET state = 'failed', error = :error, phase = '' WHERE id = :id AND state = 'making'",
        {"id": plan_id, "error": error},
    )


def approve(
    store: database.Database,
    plan_id: str,
    digest: str,
    run_id: str,
    options: Mapping[str, Any],
    *,
    who: str,
    via: str,
) -> runs.Run:
    """Have a plan done by a run that is queued in the same transaction, once for each `run_id`.

    Raises ConfigError for a plan that is not there, StoreConflict for one that is not as it was shown or is done
    already, and where the push has a run.
    """
    line = f"approve/{run_id}"

    def work(session: database.Session) -> runs.Run:
        found = get(session, plan_id)
        if found is None:
            raise errors.ConfigError("This plan is not there any more; make a new one.")
        flow = f"push:{found.push}"
        session.execute("SELECT flow FROM ticks WHERE flow = :flow {lock}", {"flow": flow})
        taken = session.one(
            "UPDATE plans SET state = 'approved', approved_by = :who, approved_at = {now}, run = :run "
            "WHERE id = :id AND digest = :digest AND (state = 'planned' OR (state = 'approved' AND (run = :run "
            "OR EXISTS (SELECT 1 FROM runs WHERE runs.id = plans.run AND runs.state = 'interrupted')))) "
            "RETURNING id",
            {"id": plan_id, "digest": digest, "who": who, "run": run_id},
        )
        if taken is None and found.digest != digest:
            raise errors.StoreConflict("This is not the plan that you were shown; look at it again.")
        if taken is None:
            said = f" by {found.approved_by}" if found.approved_by else ""
            raise errors.StoreConflict(f"This plan is {found.state} already{said}; make a new one.")
        made = runs.queued(session, run_id, flow, "manual", options=options)
        if made is None:
            raise errors.StoreConflict(f"{flow} has a run already; wait until it is done, or cancel it.")
        after = {"plan": plan_id, "digest": digest[:16], "run": run_id}
        trail.note(session, who, "approve", flow, after=after, via=via, line_id=line)
        return made

    return store.transact(work)


def taken_up(store: database.Database, plan_id: str, run_id: str) -> Plan | None:
    """A plan that was approved and is not done yet, for the run that does it; None where there is nothing to do.

    A run that comes after one that was killed takes its place.
    """
    store.execute(
        "UPDATE plans SET run = :run WHERE id = :id AND state = 'approved'", {"id": plan_id, "run": run_id}
    )
    found = get(store, plan_id)
    return found if found is not None and found.state == "approved" else None


def applied(store: database.Database, plan_id: str, error: str = "") -> None:
    """Note that a plan was done, as far as it could be."""
    store.execute(
        "UPDATE plans SET state = 'applied', applied_at = {now}, error = :error "
        "WHERE id = :id AND state = 'approved'",
        {"id": plan_id, "error": error},
    )


def discard(store: database.Database, plan_id: str, note: trail.Note | None = None) -> None:
    """Remove a plan, with a line in the audit log; raises StoreConflict for one that somebody approved."""

    def work(session: database.Session) -> None:
        found = session.one("SELECT state FROM plans WHERE id = :id {lock}", {"id": plan_id})
        if found is None:
            return
        if found["state"] not in ("making", "planned", "failed"):
            raise errors.StoreConflict(f"This plan is {found['state']} already.")
        _drop(session, "id = :id", {"id": plan_id})
        if note is not None:
            note.write(session)

    store.transact(work)


def get(store: database.Database | database.Session, plan_id: str) -> Plan | None:
    """A plan by its id."""
    row = store.one(f"SELECT {_COLUMNS} FROM plans WHERE id = :id", {"id": plan_id})
    return None if row is None else _plan(row)


def alive(store: database.Database, push: str) -> Plan | None:
    """The plan of a push that is being made, or done."""
    row = store.one(
        f"SELECT {_COLUMNS} FROM plans WHERE push = :push AND state IN ('making', 'approved')", {"push": push}
    )
    return None if row is None else _plan(row)


def latest(store: database.Database, push: str) -> Plan | None:
    """The newest plan of a push; one whose maker fell silent is `failed` by then."""
    store.transact(lambda session: _settle(session, push))
    row = store.one(
        f"SELECT {_COLUMNS} FROM plans WHERE push = :push ORDER BY begun_at DESC, id DESC LIMIT 1",
        {"push": push},
    )
    return None if row is None else _plan(row)


def waiting(store: database.Database) -> list[Plan]:
    """The plans that wait for a person, oldest first."""
    rows = store.execute(f"SELECT {_COLUMNS} FROM plans WHERE state = 'planned' ORDER BY planned_at, id")
    return [_plan(row) for row in rows]


def rows(
    store: database.Database,
    plan_id: str,
    *,
    verdicts: Sequence[str] = (),
    search: str = "",
    after: int = 0,
    limit: int = 50,
) -> list[tuple[int, str]]:
    """Rows of a plan in their order, each with its number; `after` is that of the last one seen.

    `search` is how the key begins.
    """
    where, given = (
        ["plan = :plan", "number > :after"],
        dict[str, object](plan=plan_id, after=after, limit=limit),
    )
    if verdicts:
        names, parameters = database.among(verdicts)
        where.append(f"verdict IN {names}")
        given |= parameters
    if search:
        where.append("substr(key, 1, :length) = :search")
        given |= {"search": search, "length": len(search)}
    found = store.execute(
        f"SELECT number, entry FROM plan_rows WHERE {' AND '.join(where)} ORDER BY number LIMIT :limit", given
    )
    return [(row["number"], row["entry"]) for row in found]


def each(
    store: database.Database, plan_id: str, verdicts: Sequence[str] = (), *, search: str = ""
) -> Iterator[str]:
    """All rows of a plan that `rows` finds, read page by page."""
    after = 0
    while some := rows(store, plan_id, verdicts=verdicts, search=search, after=after, limit=STEP):
        yield from (entry for _, entry in some)
        after = some[-1][0]


def whole(store: database.Database, plan: Plan) -> list[str]:
    """All rows of a plan; raises StoreError where they are not those that were approved."""
    digest, found = hashlib.sha256(), []
    for entry in each(store, plan.id):
        digest.update(entry.encode() + b"\n")
        found.append(entry)
    if digest.hexdigest() != plan.digest:
        raise errors.StoreError(
            f"The plan {plan.id} of {plan.push} is not whole any more, and nothing of it was done; make a new one."
        )
    return found


def forget(session: database.Session, push: str, key: str) -> None:
    """Remove the plans of a push that name a row of somebody who is forgotten, but for one that is being done."""
    _drop(
        session,
        "push = :push AND state <> 'approved' AND EXISTS "
        "(SELECT 1 FROM plan_rows WHERE plan_rows.plan = plans.id AND plan_rows.key = :key)",
        {"push": push, "key": key},
    )


def prune(store: database.Database, older: float = KEPT) -> int:
    """Remove plans that nobody approved in time, and those that were done so long ago; says how many."""

    def work(session: database.Session) -> int:
        # What was still being kept when its plan was discarded.
        session.execute(
            "DELETE FROM plan_rows WHERE NOT EXISTS (SELECT 1 FROM plans WHERE plans.id = plan_rows.plan)"
        )
        return _drop(
            session,
            "state IN ('planned', 'failed', 'applied') AND coalesce(applied_at, planned_at, begun_at) "
            "< (SELECT {now}) - :older",
            {"older": older},
        )

    return store.transact(work)


def _settle(session: database.Session, push: str) -> None:
    """End what is over: a plan whose maker fell silent, and one whose run ended without saying so.

    One whose run was interrupted waits for the run that goes on.
    """
    session.execute(
        "UPDATE plans SET state = 'failed', phase = '', "
        "error = 'The process that made it is gone; make a new one.' "
        "WHERE push = :push AND state = 'making' AND seen_at < (SELECT {now}) - :silent",
        {"push": push, "silent": SILENT},
    )
    session.execute(
        "UPDATE plans SET state = 'applied', applied_at = {now}, error = 'Its run ended before its end.' "
        "WHERE push = :push AND state = 'approved' AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = plans.run "
        "AND runs.state IN ('queued', 'running', 'interrupted'))",
        {"push": push},
    )


def _drop(session: database.Session, where: str, parameters: Mapping[str, object]) -> int:
    found = session.execute(f"DELETE FROM plans WHERE {where} RETURNING id", parameters)
    for row in found:
        session.execute("DELETE FROM plan_rows WHERE plan = :id", {"id": row["id"]})
    return len(found)


def _plan(row: database.Row) -> Plan:
    told = {**row, "wish": msgspec.json.decode(row["wish"]), "body": msgspec.json.decode(row["body"])}
    return Plan(**told)


def _json(document: object) -> str:
    return msgspec.json.encode(document).decode()
