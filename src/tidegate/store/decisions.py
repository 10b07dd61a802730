"""What people decide about rows that a push holds: tried again, left as they are, or what is right of them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tidegate import errors
from tidegate.store import database, holds, notes, trail

CREATE = "create"
"""What a person chooses for a row that is a new object."""
NEW: tuple[holds.Kind, ...] = ("ambiguous", "gone", "unknown")
"""Kinds of holds of rows for which that may be chosen."""
ANY: tuple[holds.Kind, ...] = ("gone", "unknown")
"""Kinds for which any object may be chosen; of the others one of the candidates."""
CHOOSABLE: tuple[holds.Kind, ...] = ("ambiguous", "conflict", "immutable", *ANY)
"""Kinds for which anything may be chosen: the other rows are to be corrected."""
WORDS = ("warehouse", "stripe", "replace", "oldest", "newest")
"""What is chosen for rows of other kinds, and never an object's id."""
_ID = re.compile(r"[A-Za-z0-9]\S{0,254}")
"""An id of Stripe's making, or one that who created the object chose."""


def retry(store: database.Database, push: str, key: str, line: trail.Note | None = None) -> holds.Hold:
    """Have a row tried again at once, its failures forgotten; raises ConfigError where it is not held.

    The `line` stands in the audit log where that does.
    """
    return _decided(store, push, key, "waiting", "retried", "", line)


def skip(store: database.Database, push: str, key: str, line: trail.Note | None = None) -> holds.Hold:
    """Leave a row as it is until it or the mapping changes, with a `line`; raises ConfigError as `retry`."""
    return _decided(store, push, key, "skipped", "skipped", "", line)


def choose(
    store: database.Database, push: str, key: str, choice: str, line: trail.Note | None = None
) -> holds.Hold:
    """Have a row tried at once with what a person chose: an object's id, CREATE, or whose value is right.

    With a `line`, as `retry`. Raises ConfigError where it is not held, or where that is nothing that can be chosen
    for it.
    """
    return _decided(store, push, key, "chosen", "chosen", choice, line)


def refusal(hold: holds.Hold, choice: str) -> str:
    """Why this cannot be chosen for a row; empty where it can."""
    if hold.kind not in CHOOSABLE:
        return f"{choice} cannot be chosen for a row that is {hold.kind}; correct the row, or skip it."
    offered = (*hold.candidates, *((CREATE,) if hold.kind in NEW else ()))
    if choice in offered:
        return ""
    if hold.kind not in ANY or hold.candidates:
        return f"{choice} is none of its candidates; choose {' or '.join(offered)}."
    if choice in WORDS or not _ID.fullmatch(choice):
        return f"{choice} is no id of an object; choose one such as cus_9, or {CREATE}."
    return ""


def _decided(
    store: database.Database,
    push: str,
    key: str,
    state: holds.State,
    what: str,
    choice: str,
    line: trail.Note | None,
) -> holds.Hold:
    note = notes.new_id()

    def work(session: database.Session) -> holds.Hold:
        found = holds.stored(session, push, [key])
        if not found:
            raise errors.ConfigError(
                f"This row of {push} is not held; `tidegate inbox {push}` lists those that are."
            )
        hold = holds.of_row(found[0])
        if why := refusal(hold, choice) if choice else "":
            raise errors.ConfigError(why)
        [row] = session.execute(
            "UPDATE holds SET state = :state, choice = :choice, "
            "failures = CASE WHEN :state = 'waiting' THEN 0 ELSE failures END, "
            "next_at = CASE WHEN :state = 'skipped' THEN NULL ELSE {now} END "
            f"WHERE push = :push AND key = :key RETURNING {holds.COLUMNS}",
            {"push": push, "key": key, "state": state, "choice": choice},
        )
        notes.keep(session, [notes.Note(note, push, key, what, choice)])
        if line is not None:
            line.write(session)
        return holds.of_row(row)

    return store.transact(work)


def decide(store: database.Database, push: str, rows: Mapping[str, str], decision: holds.State) -> int:
    """Decide on rows of a push at once: `rows` says by key what was chosen, or nothing. Says on how many.

    Those that are not held any more, or for which that cannot be chosen, stay as they are.
    """
    assert len(rows) <= holds.STEP, f"{holds.STEP} rows at one go at most."
    what = {"waiting": "retried", "skipped": "skipped"}.get(decision, "chosen")
    named = {key: notes.new_id() for key in rows}

    def work(session: database.Session) -> int:
        found = [holds.of_row(row) for row in holds.stored(session, push, list(rows))]
        some = [each for each in found if not (rows[each.key] and refusal(each, rows[each.key]))]
        session.each(
            "UPDATE holds SET state = :state, choice = :choice, "
            "failures = CASE WHEN :state = 'waiting' THEN 0 ELSE failures END, "
            "next_at = CASE WHEN :state = 'skipped' THEN NULL ELSE {now} END "
            "WHERE push = :push AND key = :key",
            [
                {"push": push, "key": each.key, "state": decision, "choice": rows[each.key]}
                for each in sorted(some, key=lambda each: each.key)
            ],
        )
        notes.keep(
            session, [notes.Note(named[each.key], push, each.key, what, rows[each.key]) for each in some]
        )
        return len(some)

    return store.transact(work) if rows else 0
