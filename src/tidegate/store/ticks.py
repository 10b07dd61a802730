"""What is due: the next tick of every flow, fired once however many schedulers look.

A tick is taken by compare and set, and the run that it begins is queued in the same transaction. A tick that comes
while its flow has a run waits, and so do all that follow: together they become one run, right after that one.

A clock that was set back by more than the time between two ticks has them counted anew, so that no flow waits for
years; one that was set back by less has nothing fire twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from tidegate.store import database, runs

RETRIED = (60.0, 300.0, 900.0, 3600.0)
"""Seconds after which a flow that failed for something that passes is due again: the first time, the second, ..."""

_OWN = (
    "(:run = '' OR EXISTS (SELECT 1 FROM runs WHERE runs.id = :run AND runs.worker = :worker "
    "AND runs.state = 'running'))"
)
"""Nobody's run, or one that its worker still has."""
_ASTRAY = "(next_at > {now} AND 2 * coalesce(fired_at, since) - next_at > {now})"
"""The last tick is further ahead than the next one is from it: the clock was set back."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A flow that is due since `at`; `since` is when counting began."""

    flow: str
    schedule: str
    at: float
    since: float


Next = Callable[[str, str, float, float], float | None]
"""The tick of a flow with a schedule (as text) after a moment, counted since another; None where it knows none."""


def sync(store: database.Database, wanted: Mapping[str, str], following: Next) -> None:
    """Have a row for every flow with its schedule as text; one that was edited counts anew from now.

    A tick that had come before, and that nobody has fired, waits for its run, as long as a clock drives the flow.
    Of flows that are gone, what they have heard and where they stand goes too.
    """

    def work(session: database.Session) -> None:
        now = session.now()
        rows = session.execute("SELECT flow, schedule FROM ticks ORDER BY flow {lock}")
        there = {row["flow"]: row["schedule"] for row in rows}
        for flow in sorted(there.keys() - wanted.keys()):
            session.execute("DELETE FROM ticks WHERE flow = :flow", {"flow": flow})
        for flow, schedule in sorted(wanted.items()):
            if there.get(flow) != schedule:
                session.execute(
                    "INSERT INTO ticks (flow, schedule, since, next_at) VALUES (:flow, :schedule, :now, :next) "
                    "ON CONFLICT (flow) DO UPDATE SET schedule = excluded.schedule, since = excluded.since, "
                    "next_at = excluded.next_at, fired_at = NULL, waiting = CASE WHEN ticks.waiting = '' "
                    "AND ticks.next_at <= excluded.since AND excluded.next_at IS NOT NULL THEN 'schedule' "
                    "ELSE ticks.waiting END WHERE ticks.schedule <> excluded.schedule",
                    {
                        "flow": flow,
                        "schedule": schedule,
                        "now": now,
                        "next": following(flow, schedule, now, now),
                    },
                )
        for table in ("hearings", "positions"):
            session.execute(
                f"DELETE FROM {table} WHERE NOT EXISTS (SELECT 1 FROM ticks WHERE ticks.flow = {table}.flow)"
            )

    store.transact(work)


def due(store: database.Database) -> tuple[list[Tick], float]:
    """The ticks whose time has come, and how many seconds the next one, or a retry, is away (at most an hour).

    Those that a clock that was set back left far ahead are among them, to be counted anew by `fire`.
    """

    def work(session: database.Session) -> tuple[list[Tick], float]:
        rows = session.execute(
            f"SELECT flow, schedule, since, next_at FROM ticks WHERE next_at <= {{now}} OR {_ASTRAY} "
            "ORDER BY next_at, flow"
        )
        away = session.one(
            "SELECT min(at) - {now} AS pause FROM (SELECT next_at AS at FROM ticks "
            "UNION ALL SELECT retry_at AS at FROM ticks) AS all_of_them WHERE at > {now}"
        )
        pause = 3600.0 if away is None or away["pause"] is None else float(away["pause"])
        late = [Tick(row["flow"], row["schedule"], row["next_at"], row["since"]) for row in rows]
        return late, max(0.0, min(pause, 3600.0))

    return store.transact(work)


def fire(store: database.Database, tick: Tick, run_id: str, following: Next) -> runs.Run | None:
    """Take a tick and queue its run; None where another scheduler took it, or where the flow has a run.

    The next tick is the first one after now: those that were missed become this one. A schedule that `following`
    does not know is left alone: a scheduler with another configuration does.
    """

    def work(session: database.Session) -> runs.Run | None:
        row = session.one(
            f"SELECT {_ASTRAY} AS astray FROM ticks "
            "WHERE flow = :flow AND next_at = :at AND schedule = :schedule {lock}",
            {"flow": tick.flow, "at": tick.at, "schedule": tick.schedule},
        )
        if row is None:
            return _own(session, run_id)
        now = session.now()
        if row["astray"]:
            since = min(tick.since, now)
            if (next_at := following(tick.flow, tick.schedule, now, since)) is not None:
                session.execute(
                    "UPDATE ticks SET next_at = :next, since = :since, fired_at = NULL WHERE flow = :flow",
                    {"flow": tick.flow, "next": next_at, "since": since},
                )
            return None
        next_at = following(tick.flow, tick.schedule, max(now, tick.at), tick.since)
        if next_at is None or now < tick.at:
            return None
        session.execute(
            "UPDATE ticks SET next_at = :next, fired_at = :at, retry_at = NULL, "
            "waiting = CASE WHEN waiting = '' THEN 'schedule' ELSE waiting END WHERE flow = :flow",
            {"flow": tick.flow, "at": tick.at, "next": next_at},
        )
        return _released(session, tick.flow, run_id, due_at=tick.at)

    return store.transact(work)


def waiting(store: database.Database) -> list[str]:
    """The flows that are due, for a tick that waited or for a retry, and have no run."""
    rows = store.execute(
        "SELECT flow FROM ticks WHERE (waiting <> '' OR retry_at <= {now}) AND NOT EXISTS "
        "(SELECT 1 FROM runs WHERE runs.flow = ticks.flow AND runs.state IN ('queued', 'running')) "
        "ORDER BY flow"
    )
    return [row["flow"] for row in rows]


def release(store: database.Database, flow: str, run_id: str) -> runs.Run | None:
    """Queue the run for which a flow waits; None where another scheduler has, or where the flow has a run."""

    def work(session: database.Session) -> runs.Run | None:
        row = session.one(
            "SELECT flow FROM ticks WHERE flow = :flow AND (waiting <> '' OR retry_at <= {now}) {lock}",
            {"flow": flow},
        )
        return _own(session, run_id) if row is None else _released(session, flow, run_id)

    return store.transact(work)


def fail(store: database.Database, flow: str, passing: bool, run: runs.Run | None = None) -> None:
    """A flow failed; for something that passes, it is due again after 1, 5, 15 and 60 minutes, then as ever.

    To be said before its run is ended: whoever is killed between the two loses nothing. Of a run that its worker
    has lost it changes nothing, since another one may have failed, and wait, by now.
    """
    row = store.one("SELECT failures FROM ticks WHERE flow = :flow", {"flow": flow})
    if row is None:
        return
    before = int(row["failures"])
    wait = RETRIED[before] if passing and before < len(RETRIED) else None
    # Compare and set: said again after a lost connection, it is counted once.
    store.execute(
        "UPDATE ticks SET failures = failures + :passing, retry_at = {now} + :wait "
        f"WHERE flow = :flow AND failures = :before AND {_OWN}",
        {"flow": flow, "before": before, "passing": int(passing), "wait": wait, **_named(run)},
    )


def well(store: database.Database, flow: str, run: runs.Run | None = None) -> None:
    """A flow went well: what failed before counts no more; likewise."""
    store.execute(
        "UPDATE ticks SET failures = 0, retry_at = NULL "
        f"WHERE flow = :flow AND (failures <> 0 OR retry_at IS NOT NULL) AND {_OWN}",
        {"flow": flow, **_named(run)},
    )


def upcoming(store: database.Database) -> dict[str, float | None]:
    """By flow, when it is due next; None for one without a clock."""
    return {row["flow"]: row["next_at"] for row in store.execute("SELECT flow, next_at FROM ticks")}


def _named(run: runs.Run | None) -> dict[str, str]:
    return {"run": run.id if run else "", "worker": run.worker if run else ""}


def _own(session: database.Session, run_id: str) -> runs.Run | None:
    """The run that this same work queued before its connection was lost."""
    there = session.one("SELECT flow FROM runs WHERE id = :id", {"id": run_id})
    return None if there is None else runs.queued(session, run_id, there["flow"], "schedule")


def _released(
    session: database.Session, flow: str, run_id: str, due_at: float | None = None
) -> runs.Run | None:
    """Queue what a flow, whose row is locked, waits for; None, and it goes on waiting, where it has a run."""
    row = session.one("SELECT waiting, options FROM ticks WHERE flow = :flow", {"flow": flow})
    assert row is not None, "Its row is locked."
    causes: dict[str, runs.Cause] = {each: each for each in ("after", "schedule", "api", "trigger")}
    cause = causes.get(row["waiting"], "retry")
    begun = runs.queued(
        session, run_id, flow, cause, options=msgspec.json.decode(row["options"]), due_at=due_at
    )
    if begun is not None:
        session.execute(
            "UPDATE ticks SET waiting = '', options = '{}', retry_at = NULL WHERE flow = :flow",
            {"flow": flow},
        )
    return begun
