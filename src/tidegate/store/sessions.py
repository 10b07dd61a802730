"""Sessions: the browsers that members are signed in with.

A browser holds a secret of 256 random bits in a cookie; what is kept is its SHA-256. A session ends when it was not
used for `IDLE`, and after `LONGEST` in any case; both are told by the database's clock.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from tidegate.store import database, people

IDLE = 12 * 3600.0
"""Seconds without a request after which a session is over."""
LONGEST = 14 * 86_400.0
"""Seconds after which it is over however much it is used."""
MINUTE = 60.0
"""Seconds of which `seen_at` is exact: not every request is a write."""
BYTES = 32
AGENT, ADDRESS = 200, 64
"""Characters of a browser's own description, and of an address, that are kept."""

_ALIVE = "member_sessions.seen_at > {now} - :idle AND member_sessions.made_at > {now} - :longest"
_COLUMNS = (
    "member_sessions.id AS session_id, member_sessions.made_at AS began_at, member_sessions.seen_at, "
    "member_sessions.address, member_sessions.agent"
)


@dataclass(frozen=True, slots=True)
class Session:
    """A browser in which a member is signed in; times are unix seconds, `seen_at` is of the minute."""

    id: str
    member: people.Member
    began_at: float
    seen_at: float
    address: str
    agent: str


def new() -> str:
    """A secret for a new session, which only the browser is to know."""
    return secrets.token_urlsafe(BYTES)


def digest(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def begin(
    session: database.Session, member_id: str, secret: str, *, address: str = "", agent: str = ""
) -> None:
    """Sign a member in, within a transaction; sessions that are over go."""
    session.execute(
        "DELETE FROM member_sessions WHERE made_at <= {now} - :longest OR "
        "(member = :member AND seen_at <= {now} - :idle)",
        {"member": member_id, "idle": IDLE, "longest": LONGEST},
    )
    session.execute(
        "INSERT INTO member_sessions (digest, id, member, made_at, seen_at, address, agent) "
        "VALUES (:digest, :id, :member, {now}, {now}, :address, :agent) ON CONFLICT (digest) DO NOTHING",
        {
            "digest": digest(secret),
            "id": f"session_{digest('id:' + secret)[:16]}",
            "member": member_id,
            "address": address[:ADDRESS],
            "agent": "".join(each if each.isprintable() else "?" for each in agent[:AGENT]),
        },
    )
    session.execute("UPDATE members SET signed_in_at = {now} WHERE id = :member", {"member": member_id})


def find(store: database.Database, secret: str) -> Session | None:
    """The session of a secret, which is noted as used; None for one that is unknown or over."""
    key = digest(secret)

    def work(session: database.Session) -> Session | None:
        row = session.one(
            f"SELECT {_COLUMNS}, {people.COLUMNS}, {{now}} AS asked_at FROM member_sessions "
            "JOIN members ON members.id = member_sessions.member "
            f"WHERE member_sessions.digest = :digest AND members.disabled = 0 AND {_ALIVE}",
            {"digest": key, "idle": IDLE, "longest": LONGEST},
        )
        if row is None:
            return None
        if row["asked_at"] - row["seen_at"] >= MINUTE:
            session.execute(
                "UPDATE member_sessions SET seen_at = {now} WHERE digest = :digest", {"digest": key}
            )
        return _session(row)

    return store.transact(work)


def lives(store: database.Database, session_id: str) -> bool:
    """Is a session not over? To ask does not count as using it."""
    text = f"SELECT 1 AS one FROM member_sessions WHERE id = :id AND {_ALIVE}"
    return store.one(text, {"id": session_id, "idle": IDLE, "longest": LONGEST}) is not None


def of(store: database.Database, member_id: str) -> list[Session]:
    """The sessions of a member that are not over, the one that was used last first."""
    rows = store.execute(
        f"SELECT {_COLUMNS}, {people.COLUMNS} FROM member_sessions "
        f"JOIN members ON members.id = member_sessions.member WHERE members.id = :member AND {_ALIVE} "
        "ORDER BY member_sessions.seen_at DESC, member_sessions.id",
        {"member": member_id, "idle": IDLE, "longest": LONGEST},
    )
    return [_session(row) for row in rows]


def end(session: database.Session, member_id: str, session_id: str) -> bool:
    """End one session of a member; was it there?"""
    parameters = {"member": member_id, "id": session_id}
    ended = session.execute(
        "DELETE FROM member_sessions WHERE member = :member AND id = :id RETURNING id", parameters
    )
    return bool(ended)


def end_all(session: database.Session, member_id: str) -> int:
    """End all sessions of a member; says how many."""
    ended = session.execute(
        "DELETE FROM member_sessions WHERE member = :member RETURNING id", {"member": member_id}
    )
    return len(ended)


def _session(row: database.Row) -> Session:
    return Session(
        row["session_id"],
        people.member(row),
        row["began_at"],
        row["seen_at"],
        row["address"],
        row["agent"],
    )
