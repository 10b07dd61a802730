"""Tokens: what programs present that ask for something over HTTP.

A token is shown once, when it is made; what is kept is its SHA-256, which suffices for a secret of 256 random bits.
Its first characters are kept as they are, so that one that was found somewhere can be told by its name.

One that a member made may no more than the member may now: nothing while the member is disabled, and it ends with
the member. One that was made on the command line is nobody's.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from tidegate import errors
from tidegate.store import database, trail

Scope = Literal["read", "run", "write", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "run", "write", "admin")
"""What tokens may do; each includes those before it."""
Role = Literal["viewer", "operator", "editor", "admin"]
OF_ROLE: Mapping[Role, Scope] = {"viewer": "read", "operator": "run", "editor": "write", "admin": "admin"}
"""What members of each role may do; each includes those before it."""
PREFIX = "tg_"
"""What every token begins with, for those who scan for secrets."""
BYTES = 32
SHOWN = 8
"""Characters of a token that are kept."""
MINUTE = 60.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,127}")
_COLUMNS = (
    "tokens.name, tokens.start, tokens.scope, tokens.flows, tokens.made_at, tokens.used_at, tokens.expires_at, "
    "tokens.maker, members.name AS made_by, members.role, coalesce(members.disabled, 0) AS disabled"
)
_KNOWN = "tokens LEFT JOIN members ON members.id = tokens.maker"


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; times are unix seconds of the database's clock, `used_at` is of the minute."""

    name: str
    start: str
    scope: Scope
    flows: tuple[str, ...]
    """The only flows that it is for, by their full names; all where there are none."""
    made_at: float
    used_at: float | None = None
    expires_at: float | None = None
    given: Scope = "read"
    """The scope that it was made with; `scope` is what of that its maker may."""
    maker: str = ""
    """The id of the member who made it; empty for one of the command line."""
    made_by: str = ""
    """The member's name."""
    resting: bool = False
    """Is the member disabled, so that it is refused?"""

    def may(self, scope: Scope) -> bool:
        """May its bearer do what needs this scope?"""
        return SCOPES.index(self.scope) >= SCOPES.index(scope)

    def knows(self, flow: str) -> bool:
        """Is it for this flow?"""
        return not self.flows or flow in self.flows


def create(
    store: database.Database,
    name: str,
    scope: Scope,
    *,
    flows: Collection[str] = (),
    lasts: float | None = None,
    maker: str = "",
    who: str = "",
    via: str = "",
) -> str:
    """Make a token that lasts so many seconds, or until it is revoked, and return it; `who` is for the audit log.

    `maker` is the id of the member whose it is, nobody's where it is empty. Raises ConfigError for a name that is
    taken.
    """
    if not _NAME.fullmatch(name):
        raise errors.ConfigError(
            "A token's name is of letters, digits and _ . / - and begins with one of the first two."
        )
    secret = PREFIX + secrets.token_urlsafe(BYTES)
    parameters = {
        "name": name,
        "start": secret[:SHOWN],
        "hash": digest(secret),
        "scope": scope,
        "flows": msgspec.json.encode(sorted(set(flows))).decode(),
        "lasts": lasts,
        "maker": maker or None,
    }

    line = trail.new_id()

    def work(session: database.Session) -> bool:
        session.execute(
            "INSERT INTO tokens (name, start, hash, scope, flows, made_at, expires_at, maker) VALUES (:name, "
            ":start, :hash, :scope, :flows, {now}, {now} + :lasts, :maker) ON CONFLICT (name) DO NOTHING",
            parameters,
        )
        row = session.one("SELECT hash FROM tokens WHERE name = :name", {"name": name})
        made = row is not None and row["hash"] == parameters["hash"]
        if made and who:
            after = {"scope": scope, "flows": sorted(set(flows)), "lasts": lasts}
            trail.note(session, who, "create", f"tokens.{name}", None, after, via=via, line_id=line)
        return made

    if not store.transact(work):
        raise errors.ConfigError(f"There is a token {name} already; revoke it first, or take another name.")
    return secret


def find(store: database.Database, secret: str) -> Token | None:
    """The token that was presented, which is noted as used; None for one that is no good (any more)."""
    hashed = digest(secret)

    def work(session: database.Session) -> Token | None:
        rows = session.execute(
            f"SELECT {_COLUMNS}, hash, coalesce(expires_at <= {{now}}, false) AS ended, "
            f"coalesce(used_at > {{now}} - :minute AND used_at <= {{now}}, false) AS noted FROM {_KNOWN} "
            "WHERE start = :start",
            {"start": secret[:SHOWN], "minute": MINUTE},
        )
        row = next((each for each in rows if hmac.compare_digest(each["hash"], hashed)), None)
        if row is None or row["ended"] or row["disabled"]:
            return None
        if not row["noted"]:
            used = session.now() // MINUTE * MINUTE
            session.execute(
                "UPDATE tokens SET used_at = :used WHERE name = :name", {"name": row["name"], "used": used}
            )
            row["used_at"] = used
        return _token(row)

    return store.transact(work)


def named(store: database.Database, name: str) -> Token | None:
    """The token of a name, as long as it is good."""
    row = store.one(
        f"SELECT {_COLUMNS} FROM {_KNOWN} WHERE tokens.name = :name AND coalesce(members.disabled, 0) = 0 "
        "AND coalesce(tokens.expires_at > {now}, true)",
        {"name": name},
    )
    return None if row is None else _token(row)


def listed(store: database.Database) -> list[Token]:
    """All tokens by their names, also those that have expired."""
    return [_token(row) for row in store.execute(f"SELECT {_COLUMNS} FROM {_KNOWN} ORDER BY tokens.name")]


def of(store: database.Database | database.Session, maker: str) -> list[Token]:
    """Those of a member, by their names."""
    rows = store.execute(
        f"SELECT {_COLUMNS} FROM {_KNOWN} WHERE tokens.maker = :maker ORDER BY tokens.name", {"maker": maker}
    )
    return [_token(row) for row in rows]


def revoke(store: database.Database, name: str, *, who: str = "", via: str = "") -> bool:
    """Forget a token, which nobody can use from now on; was it there? `who` is for the audit log."""
    found = store.one("SELECT scope FROM tokens WHERE name = :name", {"name": name})
    line = trail.new_id()

    def work(session: database.Session) -> None:
        if found is not None and who:
            before = {"scope": found["scope"]}
            trail.note(session, who, "revoke", f"tokens.{name}", before, None, via=via, line_id=line)
        forget(session, name)

    store.transact(work)
    return found is not None


def forget(session: database.Session, name: str) -> None:
    """Forget a token within a transaction, with the calls that it has made."""
    session.execute("DELETE FROM tokens WHERE name = :name", {"name": name})
    session.execute("DELETE FROM keyed WHERE asker = :asker", {"asker": f"token:{name}"})


def digest(secret: str) -> str:
    """What is kept of a token, and what it is known by."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _token(row: database.Row) -> Token:
    flows = tuple(msgspec.json.decode(row["flows"], type=list[str]))
    most: Scope = "admin" if row["role"] is None else OF_ROLE[row["role"]]
    return Token(
        row["name"],
        row["start"],
        min(row["scope"], most, key=SCOPES.index),
        flows,
        row["made_at"],
        row["used_at"],
        row["expires_at"],
        row["scope"],
        row["maker"] or "",
        row["made_by"] or "",
        bool(row["disabled"]),
    )
