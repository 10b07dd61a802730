"""Links that sign somebody in, once: the first admin's, those that invite a member, and those that mend a password.

A link holds 256 random bits, of which the SHA-256 is kept. To look at it does not use it up, since mail programs
and chats look at links before people do.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tidegate.store import database, people, sessions

Kind = Literal["first", "invite", "reset"]
LASTS: Mapping[Kind, float] = {"first": 3600.0, "invite": 7 * 86_400.0, "reset": 86_400.0}
"""Seconds for which a link can be used."""
BYTES = 32


@dataclass(frozen=True, slots=True)
class Link:
    """What a link is for: a member, or the first admin."""

    kind: Kind
    member: people.Member | None
    expires_at: float


def new() -> str:
    """A secret for a new link."""
    return secrets.token_urlsafe(BYTES)


def keep(session: database.Session, secret: str, kind: Kind, member_id: str | None, who: str) -> None:
    """Have a link work from now on, within a transaction; older ones of the same member do not any more.

    Several first ones may be on their way: each process that is started without an admin prints one.
    """
    session.execute("DELETE FROM member_links WHERE expires_at <= {now}")
    if member_id is not None:
        session.execute("DELETE FROM member_links WHERE member = :member", {"member": member_id})
    session.execute(
        "INSERT INTO member_links (digest, kind, member, made_at, made_by, expires_at) "
        "VALUES (:digest, :kind, :member, {now}, :who, {now} + :lasts) ON CONFLICT (digest) DO NOTHING",
        {
            "digest": sessions.digest(secret),
            "kind": kind,
            "member": member_id,
            "who": who,
            "lasts": LASTS[kind],
        },
    )


def look(store: database.Database | database.Session, secret: str) -> Link | None:
    """What a link is for; None for one that is unknown, used or over, and for a member who may not sign in."""
    row = store.one(
        "SELECT kind, member, expires_at FROM member_links WHERE digest = :digest AND expires_at > {now}",
        {"digest": sessions.digest(secret)},
    )
    if row is None:
        return None
    if row["member"] is None:
        return None if store.one(f"SELECT 1 AS one FROM members WHERE {people.ADMIN}") else _link(row, None)
    found = store.one(
        f"SELECT {people.COLUMNS} FROM members WHERE id = :id AND disabled = 0", {"id": row["member"]}
    )
    return None if found is None else _link(row, people.member(found))


def use(session: database.Session, secret: str) -> bool:
    """Use a link up, within a transaction; False where somebody was faster."""
    gone = session.execute(
        "DELETE FROM member_links WHERE digest = :digest AND expires_at > {now} RETURNING member",
        {"digest": sessions.digest(secret)},
    )
    return bool(gone)


def _link(row: database.Row, member: people.Member | None) -> Link:
    return Link(row["kind"], member, row["expires_at"])
