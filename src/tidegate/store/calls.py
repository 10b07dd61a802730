"""Calls: runs that programs ask for from outside.

Who asks for a flow that has a queued run gets that one. Where the flow runs already, that run may have read before
the call what the caller wants to be read: so the flow is due again, right after it. All that ask meanwhile share
that next run, and so do ticks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from tidegate import errors
from tidegate.store import database, keyed, runs, trail

TURNS = 10
"""Looks at a flow whose runs begin and end meanwhile."""
LIMIT = "limit"
"""The option of a push that writes so many rows at most."""
Noting = Callable[[str], trail.Note]
"""What the audit log is to say of the run with an id."""


@dataclass(frozen=True, slots=True)
class Call:
    """What became of a call: `run`, or with `waits` the one after it; `new` if it was queued for this call."""

    run: runs.Run
    new: bool = False
    waits: bool = False


@dataclass(frozen=True, slots=True)
class _Place:
    """The same, of a run by its id."""

    run: str
    new: bool = False
    waits: bool = False


def begin(
    store: database.Database,
    flow: str,
    cause: runs.Cause,
    *,
    options: Mapping[str, Any] | None = None,
    note: Noting | None = None,
) -> Call:
    """Have a flow run once more; in a call with a key that is made again, once: see `keyed`.

    The `note` of a run that is queued for it stands in the audit log where the run does. Raises StoreConflict for
    a flow that cannot be due again.
    """
    run_id = runs.new_id()
    line = None if note is None else note(run_id)
    options = options or {}

    def work(session: database.Session) -> _Place:
        tick = session.one(
            "SELECT flow, options, waiting FROM ticks WHERE flow = :flow {lock}", {"flow": flow}
        )
        known = keyed.told(session, run_id)
        if known is not None:
            return _Place(**known)
        place = _place(session, flow, cause, options, run_id, tick)
        if place.new and line is not None:
            line.write(session)
        keyed.tell(session, run_id, asdict(place))
        return place

    found = store.transact(work)
    return Call(runs.get(store, found.run), found.new, found.waits)


def run(store: database.Database, run_id: str) -> runs.Run | None:
    """A run by its whole id."""
    row = store.one("SELECT id FROM runs WHERE id = :id", {"id": run_id})
    return None if row is None else runs.get(store, run_id)


def following(store: database.Database, run: runs.Run) -> tuple[runs.Run | None, bool]:
    """The run of the same flow after this one; and is the flow due, where there is none yet?"""

    def work(session: database.Session) -> tuple[str | None, bool]:
        # In the order of their locks: a run that is queued in between is then seen.
        tick = session.one("SELECT waiting FROM ticks WHERE flow = :flow", {"flow": run.flow})
        row = session.one(
            "SELECT id FROM runs WHERE flow = :flow AND (queued_at, id) > (:at, :id) "
            "ORDER BY queued_at, id LIMIT 1",
            {"flow": run.flow, "at": run.queued_at, "id": run.id},
        )
        return None if row is None else row["id"], tick is not None and tick["waiting"] != ""

    found, due = store.transact(work)
    return None if found is None else runs.get(store, found), due


def _place(
    session: database.Session,
    flow: str,
    cause: runs.Cause,
    options: Mapping[str, Any],
    run_id: str,
    tick: database.Row | None,
) -> _Place:
    """A new run; or the queued one, which does what was asked too; or the one after that which is under way."""
    for _ in range(TURNS):
        if runs.queued(session, run_id, flow, cause, options=options) is not None:
            return _Place(run_id, new=True)
        there = session.one(
            "SELECT id, state, cause, options FROM runs "
            "WHERE flow = :flow AND state IN ('queued', 'running')",
            {"flow": flow},
        )
        if there is None:
            continue  # it has ended in between
        if there["state"] == "queued":
            row = session.one(
                "UPDATE runs SET options = :options WHERE id = :id AND state = 'queued' RETURNING id",
                {"id": there["id"], "options": _with(there["options"], options)},
            )
            if row is not None:
                return _Place(there["id"])
            continue  # it has begun in between
        if cause == "continuous" and not options:
            return _Place(there["id"])  # whatever it is, the flow goes on for ever after it
        if cause == "continuous" or tick is None:
            raise errors.StoreConflict(
                f"{flow} has a run already ({there['id']}); wait until it is done, or `tidegate cancel` it."
            )
        own = msgspec.json.encode({**msgspec.json.decode(tick["options"]), **options}).decode()
        session.execute(
            "UPDATE ticks SET options = :options, waiting = CASE WHEN waiting = '' THEN :cause ELSE waiting END "
            "WHERE flow = :flow",
            {
                "flow": flow,
                "cause": cause,
                "options": _with(tick["options"], options) if tick["waiting"] else own,
            },
        )
        return _Place(there["id"], waits=True)
    raise errors.StoreUnreachable(f"Runs of {flow} come and go too fast to ask for one; try again.")


def _with(written: str, options: Mapping[str, Any]) -> str:
    """Options as they are kept, with more: a run that is shared has a limit where all who share it gave one."""
    there: dict[str, Any] = msgspec.json.decode(written)
    both = {**there, **options}
    if LIMIT in both:
        given = [each[LIMIT] for each in (there, options) if LIMIT in each]
        both[LIMIT] = max(given) if len(given) > 1 else None
    return msgspec.json.encode({name: each for name, each in both.items() if each is not None}).decode()
