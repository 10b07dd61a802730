"""How members come, change and go. Every change is in the audit log, in the same transaction; passwords are not.

Whoever may do less from now on, or has another password, is signed out everywhere; links that an admin made for
others end with the role. One admin at least stays who may sign in. Raises StoreConflict for what may not be done,
and ConfigError for names that are none.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tidegate import errors
from tidegate.store import database, invitations, people, sessions, tokens, trail

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class By:
    """Who changes something, and how: `session`, `token` or `cli`."""

    who: str
    via: str


def add(
    store: database.Database,
    by: By,
    name: str,
    role: people.Role,
    *,
    password: str = "",
    issuer: str = "",
    subject: str = "",
) -> people.Member:
    """A new member, with the hash of a password or none, or with who that is for an OpenID provider."""
    name = people.named(name)
    row = {
        "id": f"member_{secrets.token_hex(8)}",
        "name": name,
        "role": role,
        "password": password,
        "issuer": issuer,
        "subject": subject,
        "who": by.who,
    }
    line = trail.new_id()

    def work(session: database.Session) -> bool:
        added = session.execute(
            "INSERT INTO members (id, name, role, password, issuer, subject, made_at, made_by) "
            "VALUES (:id, :name, :role, :password, :issuer, :subject, {now}, :who) "
            "ON CONFLICT DO NOTHING RETURNING id",
            row,
        )
        if added:
            _note(session, by, line, "add", name, None, {"role": role})
        return bool(added) or trail.noted(session, line)

    if not store.transact(work):
        raise errors.StoreConflict(f"There is a member {name} already.")
    return people.get(store, name)


def invite(store: database.Database, by: By, name: str) -> str:
    """A link with which a member signs in and chooses a password; returns its secret, which nobody sees again."""
    secret, line = invitations.new(), trail.new_id()

    def work(session: database.Session, member: people.Member) -> None:
        if member.state == "disabled":
            raise errors.StoreConflict(f"{member.name} is disabled; enable the member first.")
        kind: invitations.Kind = "invite" if member.state == "invited" else "reset"
        invitations.keep(session, secret, kind, member.id, by.who)
        _note(session, by, line, "link", member.name, None, {"kind": kind})

    _change(store, name, work)
    return secret


def first_link(store: database.Database, who: str) -> str:
    """A link that makes the first admin; returns its secret."""
    secret = invitations.new()
    store.transact(lambda session: invitations.keep(session, secret, "first", None, who))
    return secret


def accept(
    store: database.Database,
    link: str,
    *,
    password: str,
    session_secret: str,
    name: str = "",
    address: str = "",
    agent: str = "",
) -> people.Member | None:
    """Use a link: make the first admin, or give its member this password's hash; and sign in.

    None for a link that is unknown, used or over. Without a password, the member keeps the one there was, if any.
    """
    id_, line = f"member_{secrets.token_hex(8)}", trail.new_id()

    def work(session: database.Session) -> str | None:
        _lock(session)
        if trail.noted(session, line):
            row = session.one(
                "SELECT member FROM member_sessions WHERE digest = :digest",
                {"digest": sessions.digest(session_secret)},
            )
            return None if row is None else str(row["member"])
        found = invitations.look(session, link)
        if found is None or not invitations.use(session, link):
            return None
        if found.member is None:
            member = _admin(session, id_, people.named(name), password)
            by = By(people.named(name), "link")
            _note(session, by, line, "add", by.who, None, {"role": "admin"})
        else:
            member = found.member.id
            by = By(found.member.name, "link")
            _set_password(session, member, password)
            _note(session, by, line, "password" if password else "sign in", by.who, None, None)
        session.execute("DELETE FROM member_links WHERE member IS NULL OR member = :id", {"id": member})
        sessions.end_all(session, member)
        sessions.begin(session, member, session_secret, address=address, agent=agent)
        return member

    member_id = store.transact(work)
    if member_id is None:
        return None
    row = store.one(f"SELECT {people.COLUMNS} FROM members WHERE id = :id", {"id": member_id})
    return None if row is None else people.member(row)


def change_role(store: database.Database, by: By, name: str, role: people.Role) -> None:
    """Give a member another role, who has to sign in again."""
    line = trail.new_id()

    def work(session: database.Session, member: people.Member) -> None:
        if member.role == role:
            return
        if role != "admin":
            _another(session, member)
        session.execute("UPDATE members SET role = :role WHERE id = :id", {"id": member.id, "role": role})
        sessions.end_all(session, member.id)
        _unlink(session, member)
        _note(session, by, line, "role", member.name, {"role": member.role}, {"role": role})

    _change(store, name, work)


def disable(store: database.Database, by: By, name: str) -> None:
    """Keep a member out from now on; what the member did stays in the audit log under the name."""
    line = trail.new_id()

    def work(session: database.Session, member: people.Member) -> None:
        if member.state == "disabled":
            return
        _another(session, member)
        session.execute("UPDATE members SET disabled = 1 WHERE id = :id", {"id": member.id})
        session.execute("DELETE FROM member_links WHERE member = :id", {"id": member.id})
        sessions.end_all(session, member.id)
        _unlink(session, member)
        _note(session, by, line, "disable", member.name, {"disabled": False}, {"disabled": True})

    _change(store, name, work)


def enable(store: database.Database, by: By, name: str) -> None:
    """Let a member in again who was disabled."""
    line = trail.new_id()

    def work(session: database.Session, member: people.Member) -> None:
        if member.state == "disabled":
            session.execute("UPDATE members SET disabled = 0 WHERE id = :id", {"id": member.id})
            _note(session, by, line, "enable", member.name, {"disabled": True}, {"disabled": False})

    _change(store, name, work)


def remove(store: database.Database, by: By, name: str) -> tuple[str, ...]:
    """Forget a member, with the member's sessions, links and tokens, whose names are returned."""
    line = trail.new_id()

    def work(session: database.Session, member: people.Member) -> tuple[str, ...]:
        _another(session, member)
        ended = tokens.of(session, member.id)
        for n, each in enumerate(ended):
            tokens.forget(session, each.name)
            what, id_ = f"tokens.{each.name}", f"{line}.{n}"
            trail.note(session, by.who, "revoke", what, {"scope": each.given}, None, via=by.via, line_id=id_)
        _unlink(session, member)
        session.execute("DELETE FROM members WHERE id = :id", {"id": member.id})
        _note(session, by, line, "remove", member.name, {"role": member.role}, None)
        return tuple(each.name for each in ended)

    return _change(store, name, work)


def set_password(
    store: database.Database,
    by: By,
    name: str,
    password: str,
    *,
    session_secret: str = "",
    address: str = "",
    agent: str = "",
) -> None:
    """Give a member the hash of another password; who is signed in has to sign in again, but for a new session."""
    line = trail.new_id()

    def work(session: database.Session, member: people.Member) -> None:
        _set_password(session, member.id, password)
        session.execute("DELETE FROM member_links WHERE member = :id", {"id": member.id})
        sessions.end_all(session, member.id)
        if session_secret:
            sessions.begin(session, member.id, session_secret, address=address, agent=agent)
        _note(session, by, line, "password", member.name, None, None)

    _change(store, name, work)


def rehash(store: database.Database, member_id: str, old: str, new: str) -> None:
    """The same password under newer parameters, unless it was changed meanwhile."""
    store.execute(
        "UPDATE members SET password = :new WHERE id = :id AND password = :old",
        {"id": member_id, "old": old, "new": new},
    )


def link_subject(store: database.Database, by: By, name: str, issuer: str, subject: str) -> None:
    """Note who a member is for an OpenID provider."""
    line = trail.new_id()

    def work(session: database.Session, member: people.Member) -> None:
        session.execute(
            "UPDATE members SET issuer = :issuer, subject = :subject WHERE id = :id",
            {"id": member.id, "issuer": issuer, "subject": subject},
        )
        _note(session, by, line, "connect", member.name, None, {"issuer": issuer})

    _change(store, name, work)


def sign_in(
    store: database.Database,
    member: people.Member,
    session_secret: str,
    *,
    how: str,
    before: str = "",
    address: str = "",
    agent: str = "",
) -> None:
    """Begin a session of a member, in place of one that the same browser had; `how` is for the audit log."""
    line = trail.new_id()

    def work(session: database.Session) -> None:
        if before:
            session.execute(
                "DELETE FROM member_sessions WHERE digest = :digest", {"digest": sessions.digest(before)}
            )
        sessions.begin(session, member.id, session_secret, address=address, agent=agent)
        _note(session, By(member.name, how), line, "sign in", member.name, None, None)

    store.transact(work)


def sign_out(store: database.Database, by: By, member_id: str, session_id: str = "") -> int:
    """End one session of a member, or all of them; says how many there were."""
    line = trail.new_id()

    def work(session: database.Session) -> int:
        if session_id:
            ended = int(sessions.end(session, member_id, session_id))
            if ended:
                _note(session, by, line, "sign out", by.who, None, {"session": session_id})
        else:
            ended = sessions.end_all(session, member_id)
            _note(session, by, line, "sign out everywhere", by.who, None, {"sessions": ended})
        return ended

    return store.transact(work)


def _change(store: database.Database, name: str, work: Callable[[database.Session, people.Member], T]) -> T:
    """Do something with a member while nobody else changes members; raises ConfigError where there is none."""
    name = people.named(name)

    def alone(session: database.Session) -> T:
        _lock(session)
        row = session.one(f"SELECT {people.COLUMNS} FROM members WHERE name = :name", {"name": name})
        if row is None:
            raise errors.ConfigError(f"There is no member {name}; `tidegate user list` shows them.")
        return work(session, people.member(row))

    return store.transact(alone)


def _lock(session: database.Session) -> None:
    """Keep others from changing members until the transaction ends: two admins must not disable each other."""
    session.execute("SELECT id FROM members ORDER BY id {lock}")
    session.execute("SELECT digest FROM member_links WHERE member IS NULL ORDER BY digest {lock}")


def _another(session: database.Session, member: people.Member) -> None:
    """Raises StoreConflict where a member is the last admin who may sign in."""
    others = session.one(
        f"SELECT 1 AS one FROM members WHERE {people.ADMIN} AND id <> :id LIMIT 1", {"id": member.id}
    )
    if others is None and member.role == "admin" and member.state == "active":
        raise errors.StoreConflict(f"{member.name} is the last admin; make another member an admin first.")


def _unlink(session: database.Session, member: people.Member) -> None:
    """Forget the links that a member made for others."""
    session.execute("DELETE FROM member_links WHERE made_by = :name", {"name": member.name})


def _admin(session: database.Session, id_: str, name: str, password: str) -> str:
    """The first admin: a new member, or the one who has the name; returns the id."""
    row = session.one(
        "INSERT INTO members (id, name, role, password, made_at, made_by) "
        "VALUES (:id, :name, 'admin', :password, {now}, :name) ON CONFLICT (name) DO UPDATE SET "
        "role = 'admin', disabled = 0, password = excluded.password RETURNING id",
        {"id": id_, "name": name, "password": password},
    )
    assert row is not None, "One of the two was done."
    return str(row["id"])


def _set_password(session: database.Session, member_id: str, password: str) -> None:
    if password:
        session.execute(
            "UPDATE members SET password = :password WHERE id = :id", {"id": member_id, "password": password}
        )


def _note(
    session: database.Session, by: By, line: str, action: str, name: str, before: object, after: object
) -> None:
    trail.note(session, by.who, action, f"members.{name}", before, after, via=by.via, line_id=line)
