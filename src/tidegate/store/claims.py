"""Values of which Stripe shall hold one object only, such as an e-mail that rows are matched by.

Stripe itself lets any number of customers have one e-mail, so that between looking and creating somebody else could
create the same. Who creates claims the value in the transaction of the intent, under a constraint that all pushes
share. A claim ends when its operation is proven not done, and when the link of its row ends. Its SHA-256 is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec

from tidegate.store import database


@dataclass(frozen=True, slots=True)
class Claim:
    """A value of a field of an object of Stripe; folded by whoever makes it, so that equal ones are equal."""

    account: str
    livemode: bool
    object: str
    field: str
    value: str

    @property
    def digest(self) -> str:
        """What is kept of it."""
        parts = (self.account, self.livemode, self.object, self.field, self.value)
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


@dataclass(frozen=True, slots=True)
class Holder:
    """The row that has a claim, and the operation it took it with; `at` is of the database's clock."""

    push: str
    key: str
    operation: str
    at: float


@dataclass(frozen=True, slots=True)
class Wish:
    """A claim that a row's operation asks for."""

    claim: Claim
    push: str
    key: str
    operation: str


def find(store: database.Database, claims: Collection[Claim]) -> dict[Claim, Holder]:
    """Who has these, some hundred at most; without those that nobody has."""
    return store.transact(lambda session: found(session, claims))


def found(session: database.Session, claims: Collection[Claim]) -> dict[Claim, Holder]:
    """The same inside a transaction."""
    if not claims:
        return {}
    wanted = {claim.digest: claim for claim in claims}
    names, parameters = database.among(wanted)
    rows = session.execute(
        f"SELECT digest, push, key, operation, at FROM claims WHERE digest IN {names}", parameters
    )
    return {
        wanted[row["digest"]]: Holder(row["push"], row["key"], row["operation"], row["at"]) for row in rows
    }


def count(store: database.Database, push: str, key: str | None = None) -> int:
    """How many a push has, or one of its rows."""
    where = "" if key is None else " AND key = :key"
    row = store.one(
        f"SELECT count(*) AS n FROM claims WHERE push = :push{where}", {"push": push, "key": key or ""}
    )
    assert row is not None, "An aggregate has a row."
    return int(row["n"])


def take(session: database.Session, wishes: Sequence[Wish]) -> dict[str, Holder]:
    """Take claims; returns the operations that did not get all of theirs, and who is in the way.

    A row that has a claim already keeps it, with the operation that took it. Of two who wish for one, the first
    gets it.
    """
    # In one order, so that two who want several of the same do not wait for each other.
    ordered = sorted(wishes, key=lambda wish: wish.claim.digest)
    if not ordered:
        return {}
    session.each(
        "INSERT INTO claims (digest, account, livemode, object, field, push, key, operation, at) "
        "VALUES (:digest, :account, :livemode, :object, :field, :push, :key, :operation, {now}) "
        "ON CONFLICT (digest) DO NOTHING",
        [
            {
                "digest": wish.claim.digest,
                "account": wish.claim.account,
                "livemode": int(wish.claim.livemode),
                "object": wish.claim.object,
                "field": wish.claim.field,
                "push": wish.push,
                "key": wish.key,
                "operation": wish.operation,
            }
            for wish in ordered
        ],
    )
    there = found(session, {wish.claim for wish in ordered})
    losers: dict[str, Holder] = {}
    for wish in ordered:
        # One that went away between the two statements is nobody's; its wish may be made again.
        holder = there.get(wish.claim, Holder("", "", "", 0.0))
        if (holder.push, holder.key) != (wish.push, wish.key):
            losers.setdefault(wish.operation, holder)
    return losers


def release(session: database.Session, operations: Collection[str]) -> None:
    """Give up what these operations took."""
    if operations:
        names, parameters = database.among(operations)
        session.execute(f"DELETE FROM claims WHERE operation IN {names}", parameters)


def release_rows(session: database.Session, push: str, keys: Collection[str]) -> None:
    """Give up what these rows have."""
    if keys:
        names, parameters = database.among(keys)
        session.execute(
            f"DELETE FROM claims WHERE push = :push AND key IN {names}", {"push": push, **parameters}
        )


def replace(session: database.Session, push: str, key: str, taken: Sequence[tuple[str, str]]) -> None:
    """Have a row keep these only, of their fields: field and digest, which are acknowledged now."""
    for field in sorted({field for field, _ in taken}):
        names, parameters = database.among(digest for other, digest in taken if other == field)
        session.execute(
            f"DELETE FROM claims WHERE push = :push AND key = :key AND field = :field AND digest NOT IN {names}",
            {"push": push, "key": key, "field": field, **parameters},
        )


def dump(taken: Sequence[Claim]) -> str:
    """Claims as they stand with an operation: without their values."""
    return msgspec.json.encode([[claim.field, claim.digest] for claim in taken]).decode()
