"""Parts of the configuration that were given in the browser or by the API, as they would be written in the file.

Every change counts one generation on, also one of a secret, so that whoever runs notices it by one number. The
version of an object is the generation of its last change: no object ever has the version of another state, also
one that was removed and made again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate import errors
from tidegate.store import database


@dataclass(frozen=True, slots=True)
class Object:
    """One of them; `body` has its secrets as `${secret:NAME}`."""

    kind: str
    name: str
    body: Mapping[str, Any]
    version: int
    changed_at: float
    """Unix seconds."""
    changed_by: str


@dataclass(frozen=True, slots=True)
class State:
    """All objects at one moment, in the order of their kinds and names."""

    generation: int
    objects: tuple[Object, ...]

    def get(self, kind: str, name: str) -> Object | None:
        """One of them."""
        return next((each for each in self.objects if (each.kind, each.name) == (kind, name)), None)


def generation(store: database.Database | database.Session) -> int:
    """The number of the last change."""
    row = store.one("SELECT generation FROM configuration WHERE id = 1")
    return 0 if row is None else int(row["generation"])


def state(store: database.Database) -> State:
    """All objects, and the generation they are of."""

    def work(session: database.Session) -> State:
        # The number first: what is changed between the two statements is read again.
        number = generation(session)
        rows = session.execute("SELECT * FROM objects ORDER BY kind, name")
        return State(number, tuple(Object(**{**row, "body": json.loads(row["body"])}) for row in rows))

    return store.transact(work)


def bump(session: database.Session) -> int:
    """Count one change; nobody else counts one until the transaction ends."""
    rows = session.execute(
        "UPDATE configuration SET generation = generation + 1 WHERE id = 1 RETURNING generation"
    )
    return int(rows[0]["generation"])


def advance(session: database.Session, seen: int) -> int:
    """Count one change, the first after the generation that was seen; raises StoreConflict after any other."""
    number = bump(session)
    if number != seen + 1:
        raise errors.StoreConflict("The configuration was changed meanwhile; look at it again.")
    return number


def put(
    session: database.Session, kind: str, name: str, body: Mapping[str, Any], version: int, who: str
) -> float:
    """Keep an object, in place of what was there; when that was, in unix seconds."""
    rows = session.execute(
        "INSERT INTO objects (kind, name, body, version, changed_at, changed_by) "
        "VALUES (:kind, :name, :body, :version, {now}, :who) ON CONFLICT (kind, name) DO UPDATE SET "
        "body = excluded.body, version = excluded.version, changed_at = excluded.changed_at, "
        "changed_by = excluded.changed_by RETURNING changed_at",
        {"kind": kind, "name": name, "body": json.dumps(body), "version": version, "who": who},
    )
    return float(rows[0]["changed_at"])


def remove(session: database.Session, kind: str, name: str) -> None:
    """Remove an object."""
    session.execute("DELETE FROM objects WHERE kind = :kind AND name = :name", {"kind": kind, "name": name})
