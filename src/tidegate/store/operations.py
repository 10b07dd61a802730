"""Every request that changes something at Stripe, from before it is sent until its end; `store.ledger` writes them.

    intent --sending--> sent --acknowledge--> done
       |                 |----refuse--------> refused   Stripe said no, and did nothing
       |                 |----unknown-------> unknown   nobody can tell; shown, and never sent again
       '-----void--------'                    void      never sent, or proven not done: planned again

A row has one open operation at most (`intent`, `sent`, `unknown`), and so has an object of Stripe, whatever pushes
write to it; unique indexes hold that. An intent has the exact bytes of its request, its idempotency key and what is
to be acknowledged of its row, so that who comes after a crash can send the same, or end it, without the source.
Whoever writes shows the push's fence, and is refused as a whole where somebody else has a newer one.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from tidegate import errors
from tidegate.store import claims, database, holds, notes

Status = Literal["intent", "sent", "done", "refused", "void", "unknown"]
STATUSES: tuple[Status, ...] = ("intent", "sent", "done", "refused", "void", "unknown")
OPEN: tuple[Status, ...] = ("intent", "sent", "unknown")
OLDEST = 23 * 3600.0
"""Seconds after which an intent is not sent any more: Stripe forgets a key after 24 hours, and then acts again."""

UNDONE = "undone "
"""What the hash of an operation begins with after which its row is held as undone; the row's own hash follows."""

IS_OPEN = "status IN ('intent', 'sent', 'unknown')"
COLUMNS = (
    "id, push, run, key, account, livemode, object, action, target, method, path, body, api_version, "
    "idempotency_key, hash, fields, version, claims, fence, status, attempts, created_at, first_sent_at, "
    "last_sent_at, decided_at, response, request_id, error, before, after"
)


class TooOld(errors.StoreError):
    """The intent is too old to be sent: Stripe may have forgotten its key."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A request that is to be sent for a row."""

    run: str
    key: str
    account: str
    """The id of the account that is written to."""
    livemode: bool
    object: str
    action: str
    """`create`, `update`, `delete`, ...; a row that has an object gets another by `replace` only.

    `retire` is what is done to the object that was replaced: its row stays as it is.
    """
    method: str
    path: str
    body: str
    """The exact bytes, which are ASCII."""
    api_version: str
    target: str = ""
    """The object's id; nothing where one is created."""
    hash: str = ""
    """What is acknowledged of the row with it; nothing where the row is gone from its source."""
    fields: str = "{}"
    """JSON."""
    version: str = ""
    before: Mapping[str, Any] | None = None
    """What the object had of what is written, for an undo."""
    claims: tuple[claims.Claim, ...] = ()
    chosen: bool = False
    """A person said so: the row may get another object than the one that it has, or that somebody deleted."""
    id: str = field(default_factory=lambda: notes.new_id("op"))


@dataclass(frozen=True, slots=True)
class Operation:
    """What became of an intent; times are unix seconds of the database's clock."""

    id: str
    push: str
    run: str
    key: str
    account: str
    livemode: bool
    object: str
    action: str
    target: str
    method: str
    path: str
    body: str
    api_version: str
    idempotency_key: str
    hash: str
    fields: str
    version: str
    claims: tuple[tuple[str, str], ...]
    """What it claims: field and digest."""
    fence: int
    status: Status
    attempts: int
    created_at: float
    first_sent_at: float | None
    last_sent_at: float | None
    decided_at: float | None
    response: int
    request_id: str
    error: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the wish to begin an intent, and who is in the way where that did not happen.

    `busy`: the row, or the object, has an open operation. `claimed`: another row is creating the object, or has.
    `shared`: the object is another row's of this push. `linked`: the row has an object, which is another one.
    `gone`: it had one, which somebody else deleted.
    """

    id: str
    state: Literal["begun", "busy", "claimed", "shared", "linked", "gone"]
    push: str = ""
    key: str = ""
    operation: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """Stripe did it: how it answered, and what the object has now of what was written."""

    id: str
    target: str
    response: int = 200
    request_id: str = ""
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Stripe refused it and did nothing; `error` has no personal data."""

    id: str
    error: str
    response: int = 400
    request_id: str = ""
    hold: holds.Opening | None = None
    """What is to become of the row."""
    missing: bool = False
    """Is the object gone? Then its link is a tombstone."""


@dataclass(frozen=True, slots=True)
class Echo:
    """Where a change at Stripe came from: one of our own operations."""

    push: str
    operation: str


def idempotency_key(push: str, operation: str) -> str:
    """What Stripe is told with every attempt; 255 characters of ASCII at most."""
    return f"tidegate/{urllib.parse.quote(push, safe='')[:200]}/{operation}"


_ECHO = re.compile(r"tidegate/([^/]+)/(op_[0-9a-z]{26})")


def echo(key: str | None) -> Echo | None:
    """Whose an idempotency key is, by its form; None where it is none of ours."""
    found = _ECHO.fullmatch(key or "")
    return None if found is None else Echo(urllib.parse.unquote(found[1], errors="replace"), found[2])


def undecided(
    store: database.Database, push: str | None = None, *, account: str | None = None, run: str | None = None
) -> list[Operation]:
    """What is open, of a push or of an account or of all, oldest first: `intent`, `sent` and `unknown`."""
    return listed(store, push=push, account=account, run=run, statuses=OPEN, limit=None)


def find(store: database.Database, operation: str) -> Operation | None:
    """An operation by its id."""
    row = store.one(f"SELECT {COLUMNS} FROM operations WHERE id = :id", {"id": operation})
    return None if row is None else _operation(row)


def listed(
    store: database.Database,
    *,
    push: str | None = None,
    account: str | None = None,
    run: str | None = None,
    key: str | None = None,
    statuses: Sequence[Status] = (),
    limit: int | None = 100,
    after: Operation | None = None,
) -> list[Operation]:
    """Operations, oldest first; `after` is the last of the page before."""
    named = {"push": push, "account": account, "run": run, "key": key}
    where = [f"{name} = :{name}" for name, value in named.items() if value is not None]
    parameters: dict[str, object] = {**named, "limit": limit}
    if statuses:
        assert set(statuses) <= set(STATUSES), f"There is no status {set(statuses) - set(STATUSES)}."
        if set(statuses) <= set(OPEN):
            # SQLite knows the index of what is open by its very words, and would take others, of all operations.
            where = [
                IS_OPEN,
                *(f"{name} || '' = :{name}" for name, value in named.items() if value is not None),
            ]
        where += [f"status IN ({', '.join(repr(each) for each in statuses)})"]
    if after is not None:
        where.append("(created_at, id) > (:at, :after)")
        parameters |= {"at": after.created_at, "after": after.id}
    rows = store.execute(
        f"SELECT {COLUMNS} FROM operations{' WHERE ' if where else ''}{' AND '.join(where)} "
        f"ORDER BY created_at, id{'' if limit is None else ' LIMIT :limit'}",
        parameters,
    )
    return [_operation(row) for row in rows]


def some(session: database.Session, push: str, ids: Sequence[str], *, lock: bool = False) -> list[Operation]:
    """Operations of a push inside a transaction, some hundred at most, in the order of their ids."""
    if not ids:
        return []
    names, parameters = database.among(ids)
    rows = session.execute(
        f"SELECT {COLUMNS} FROM operations WHERE push = :push AND id IN {names} ORDER BY id"
        f"{' {lock}' if lock else ''}",
        {"push": push, **parameters},
    )
    return [_operation(row) for row in rows]


def _operation(row: database.Row) -> Operation:
    found = dict(row)
    found["livemode"] = bool(row["livemode"])
    found["claims"] = tuple((name, digest) for name, digest in msgspec.json.decode(row["claims"]))
    for name in ("before", "after"):
        found[name] = None if row[name] is None else msgspec.json.decode(row[name])
    return Operation(**found)
