"""Members: who may sign in to the pages, and what each may do there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tidegate import errors
from tidegate.store import database, tokens

Role = tokens.Role
SCOPES = tokens.OF_ROLE
"""What members of each role may do, in the words of tokens."""
ROLES: tuple[Role, ...] = tuple(SCOPES)
State = Literal["active", "invited", "disabled"]
LONGEST = 254
"""Characters of a name: an e-mail address has no more."""
COLUMNS = (
    "members.id AS member_id, members.name, members.role, members.password, members.issuer, members.subject, "
    "members.disabled, members.made_at AS member_at, members.made_by, members.signed_in_at"
)

_NAME = re.compile(r"[^\s@<>\"'&,;:\\/\x00-\x1f\x7f]+(@[^\s@<>\"'&,;:\\/\x00-\x1f\x7f]+)?")


@dataclass(frozen=True, slots=True)
class Member:
    """Who may sign in; times are unix seconds of the database's clock."""

    id: str
    name: str
    role: Role
    state: State
    """`invited` is who has not signed in yet; `disabled` who may not."""
    has_password: bool
    issuer: str
    """The OpenID provider that the member signed in with, or nothing."""
    made_at: float
    made_by: str
    signed_in_at: float | None = None

    @property
    def signs_in_by(self) -> str:
        """How: `password`, `provider` or `link`."""
        return "password" if self.has_password else "provider" if self.issuer else "link"

    @property
    def scope(self) -> tokens.Scope:
        """The same as the role, in the words of tokens."""
        return SCOPES[self.role]


def named(text: str) -> str:
    """A member's name as it is kept: an e-mail address, or a word, in lower case; raises ConfigError."""
    name = text.strip().lower()
    if len(name) > LONGEST or not _NAME.fullmatch(name):
        raise errors.ConfigError("A member is named by an e-mail address, such as ann@example.com.")
    return name


def listed(store: database.Database) -> list[Member]:
    """All members by their names."""
    return [member(row) for row in store.execute(f"SELECT {COLUMNS} FROM members ORDER BY name")]


def get(store: database.Database, name: str) -> Member:
    """A member by the name; raises ConfigError where there is none."""
    found = find(store, named(name))
    if found is None:
        raise errors.ConfigError(f"There is no member {named(name)}; `tidegate user list` shows them.")
    return found


def find(store: database.Database, name: str) -> Member | None:
    """A member by the name, or None."""
    row = store.one(f"SELECT {COLUMNS} FROM members WHERE name = :name", {"name": name.strip().lower()})
    return None if row is None else member(row)


def subject(store: database.Database, issuer: str, subject: str) -> Member | None:
    """The member who is this for an OpenID provider, or None."""
    row = store.one(
        f"SELECT {COLUMNS} FROM members WHERE issuer = :issuer AND subject = :subject AND subject <> ''",
        {"issuer": issuer, "subject": subject},
    )
    return None if row is None else member(row)


def password(store: database.Database, name: str) -> tuple[Member, str] | None:
    """A member who may sign in by password, and its hash; None for all others."""
    row = store.one(
        f"SELECT {COLUMNS} FROM members WHERE name = :name AND disabled = 0 AND password <> ''",
        {"name": name.strip().lower()},
    )
    return None if row is None else (member(row), row["password"])


def has_admin(store: database.Database) -> bool:
    """Is there an admin who may sign in?"""
    return store.one(f"SELECT 1 AS one FROM members WHERE {ADMIN} LIMIT 1") is not None


ADMIN = "role = 'admin' AND disabled = 0 AND (signed_in_at IS NOT NULL OR password <> '')"
"""Of admins that were invited nobody knows yet whether they will come."""


def member(row: database.Row) -> Member:
    """The member of a row with `COLUMNS`."""
    state: State = "active"
    if row["disabled"]:
        state = "disabled"
    elif row["signed_in_at"] is None and not row["password"]:
        state = "invited"
    return Member(
        row["member_id"],
        row["name"],
        row["role"],
        state,
        bool(row["password"]),
        row["issuer"],
        row["member_at"],
        row["made_by"],
        row["signed_in_at"],
    )
