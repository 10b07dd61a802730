"""Calls: runs that programs ask for from outside, each once however often the same call is made.

Who asks for a flow that has a queued run gets that one. Where the flow runs already, that run may have read before
the call what the caller wants to be read: so the flow is due again, right after it. All that ask meanwhile share
that next run, and so do ticks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate import errors
from tidegate.store import database, runs

KEPT = 86_400.0
"""Seconds for which a call that has a key is remembered."""
STEP = 100
"""Calls of which the time has passed that are forgotten at once."""
TURNS = 10
"""Looks at a flow whose runs begin and end meanwhile."""


class KeyUsed(errors.StoreConflict):
    """A key names another call already."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a caller names a call by, so that it may be made again; keys of other tokens are other keys."""

    token: str
    text: str


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
    key: Key | None = None,
) -> Call:
    """Have a flow run once more; the same key within `KEPT` seconds is the same call.

    Raises KeyUsed for a key of another call, StoreConflict for a flow that cannot be due again.
    """
    run_id = runs.new_id()
    options = options or {}
    asked = hashlib.sha256(msgspec.json.encode([flow, options], order="deterministic")).hexdigest()

    def work(session: database.Session) -> _Place:
        tick = session.one("SELECT flow, options FROM ticks WHERE flow = :flow {lock}", {"flow": flow})
        known = None if key is None else _known(session, key, asked, run_id)
        if known is not None:
            return known
        place = _place(session, flow, cause, options, run_id, tick)
        if key is not None:
            session.execute(
                "UPDATE calls SET run = :run, waits = :waits WHERE token = :token AND key = :key",
                {"token": key.token, "key": key.text, "run": place.run, "waits": int(place.waits)},
            )
        return place

    if key is not None:
        _forget(store)
    found = store.transact(work)
    return Call(runs.get(store, found.run), found.new, found.waits)


def again(
    store: database.Database,
    run: runs.Run,
    cause: runs.Cause,
    *,
    options: Mapping[str, Any] | None = None,
    key: Key | None = None,
) -> Call:
    """Queue a run that does again what one was to do; the same key within `KEPT` seconds is the same call.

    Raises KeyUsed for a key of another call, StoreConflict where the flow has a run.
    """
    run_id = runs.new_id()
    asked = hashlib.sha256(msgspec.json.encode(["again", run.id])).hexdigest()

    def work(session: database.Session) -> _Place | None:
        known = None if key is None else _known(session, key, asked, run_id)
        if known is not None:
            return known
        made = runs.queued(session, run_id, run.flow, cause, options=options)
        if made is None and key is not None:
            named = {"token": key.token, "key": key.text}
            session.execute("DELETE FROM calls WHERE token = :token AND key = :key", named)
        return None if made is None else _Place(run_id, new=True)

    found = store.transact(work)
    if found is None:
        raise runs.busy(store, run.flow)
    return Call(runs.get(store, found.run), found.new)


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


def _known(session: database.Session, key: Key, asked: str, run_id: str) -> _Place | None:
    """What became of a call that was made before; None for a new one, which is noted."""
    named = {"token": key.token, "key": key.text}
    noted = session.one(
        "INSERT INTO calls (token, key, asked, run, waits, at) VALUES (:token, :key, :asked, :run, 0, {now}) "
        "ON CONFLICT (token, key) DO UPDATE SET asked = excluded.asked, run = excluded.run, "
        "waits = excluded.waits, at = excluded.at "
        "WHERE calls.at < excluded.at - :kept OR calls.run = excluded.run RETURNING run",
        {**named, "asked": asked, "run": run_id, "kept": KEPT},
    )
    if noted is not None:
        return None
    row = session.one("SELECT asked, run, waits FROM calls WHERE token = :token AND key = :key", named)
    assert row is not None, "It kept the new one out."
    if row["asked"] != asked:
        raise KeyUsed(
            "This key was used for another call within the last 24 hours; give each call a key of its own."
        )
    return _Place(row["run"], waits=bool(row["waits"]))


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
        session.execute(
            "UPDATE ticks SET options = :options, waiting = CASE WHEN waiting = '' THEN :cause ELSE waiting END "
            "WHERE flow = :flow",
            {"flow": flow, "cause": cause, "options": _with(tick["options"], options)},
        )
        return _Place(there["id"], waits=True)
    raise errors.StoreUnreachable(f"Runs of {flow} come and go too fast to ask for one; try again.")


def _with(written: str, options: Mapping[str, Any]) -> str:
    """Options as they are kept, with more."""
    return msgspec.json.encode({**msgspec.json.decode(written), **options}).decode()


def _forget(store: database.Database) -> None:
    """Remove some calls that nobody may make again any more, unless one was made anew just now."""
    store.execute(
        "DELETE FROM calls WHERE at < (SELECT {now}) - :kept AND (token, key) IN "
        "(SELECT token, key FROM calls WHERE at < (SELECT {now}) - :kept LIMIT :step)",
        {"kept": KEPT, "step": STEP},
    )
