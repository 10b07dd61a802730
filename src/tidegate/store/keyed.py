"""Calls that are named by a key, so that they may be made again: done once, and answered alike for a day.

    doing --answer--> done
      |  ^
      |  '--claim--.
      '--release--> open (it was refused, and the key may be used again)

Whoever does a call holds it, and says again and again that they live; where they fell silent, the next who makes
the call does it anew. Nothing is made twice then: the ids of what it makes follow from a seed that is kept with
the key (`new_id`), and a step that ids do not make once notes what it came to in its own transaction (`tell`).
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tidegate import errors
from tidegate.store import database

KEPT = 86_400.0
"""Seconds for which a call is remembered."""
SILENT = 30.0
"""Seconds without a sign of life after which whoever does a call is taken for gone."""
STEP = 100
"""Calls of which the time has passed that are forgotten at once."""


class KeyUsed(errors.StoreConflict):
    """A key names another call already."""


@dataclass(frozen=True, slots=True)
class Key:
    """What somebody names a call by; keys of others are other keys."""

    asker: str
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call was answered; `body` is None where that was told once and is not kept."""

    status: int
    headers: Mapping[str, str]
    body: str | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A call that is to be done now, by whoever holds this."""

    key: Key
    seed: str
    holder: str
    ids: collections.Counter[str] = field(default_factory=collections.Counter)
    """How many of each kind it has made."""

    @property
    def _named(self) -> dict[str, object]:
        return {"asker": self.key.asker, "key": self.key.text, "holder": self.holder}


_claim: contextvars.ContextVar[Claim | None] = contextvars.ContextVar("tidegate_claim", default=None)
_MINE = "asker = :asker AND key = :key AND holder = :holder AND state = 'doing'"


def claim(store: database.Database, key: Key, asked: str) -> Claim | Answer | None:
    """Begin a call; an Answer where it was done already, None while somebody else does it.

    `asked` is what the call is, as a digest. Raises KeyUsed where the key was used for another one.
    """
    _forget(store)
    found = Claim(key, secrets.token_hex(16), secrets.token_hex(16))

    def work(session: database.Session) -> Claim | Answer | None:
        given = {**found._named, "asked": asked, "seed": found.seed, "kept": KEPT, "silent": SILENT}
        fresh = session.one(
            "INSERT INTO keyed (asker, key, asked, seed, state, holder, at, seen_at) "
            "VALUES (:asker, :key, :asked, :seed, 'doing', :holder, {now}, {now}) "
            "ON CONFLICT (asker, key) DO UPDATE SET asked = excluded.asked, seed = excluded.seed, state = 'doing', "
            "holder = excluded.holder, made = '{}', status = 0, headers = '{}', answer = NULL, at = excluded.at, "
            "seen_at = excluded.seen_at WHERE keyed.holder = excluded.holder "
            "OR keyed.at < excluded.at - :kept OR (keyed.state = 'open' AND keyed.made = '{}' "
            "AND keyed.asked <> excluded.asked) RETURNING key",
            given,
        )
        if fresh is not None:
            return found
        row = session.one(
            "SELECT asked, seed, state, status, headers, answer FROM keyed WHERE asker = :asker AND key = :key",
            given,
        )
        assert row is not None, "It kept the new one out."
        if row["asked"] != asked:
            raise KeyUsed(
                "This key was used for another call within the last 24 hours; give each call a key of its own."
            )
        if row["state"] == "done":
            return Answer(row["status"], msgspec.json.decode(row["headers"]), row["answer"])
        taken = session.one(
            "UPDATE keyed SET state = 'doing', holder = :holder, seen_at = {now} "
            "WHERE asker = :asker AND key = :key "
            "AND (state = 'open' OR (state = 'doing' AND seen_at < {now} - :silent)) RETURNING seed",
            given,
        )
        return None if taken is None else Claim(key, taken["seed"], found.holder)

    return store.transact(work)


def beat(store: database.Database, claim: Claim) -> None:
    """Say that a call is still being done."""
    store.execute(f"UPDATE keyed SET seen_at = {{now}} WHERE {_MINE}", claim._named)


def answer(store: database.Database, claim: Claim, given: Answer) -> None:
    """Note what a call was answered, for those who make it again; what its steps came to is of no use any more."""
    store.execute(
        "UPDATE keyed SET state = 'done', made = '{}', status = :status, headers = :headers, answer = :answer "
        f"WHERE {_MINE}",
        {
            **claim._named,
            "status": given.status,
            "headers": msgspec.json.encode(given.headers).decode(),
            "answer": given.body,
        },
    )


def release(store: database.Database, claim: Claim) -> None:
    """Note that a call was refused: it may be made again, or another one where nothing came of it."""
    store.execute(f"UPDATE keyed SET state = 'open' WHERE {_MINE}", claim._named)


@contextlib.contextmanager
def under_way(claim: Claim) -> Iterator[None]:
    """Do a call in the block: the ids that are made there are always the same ones."""
    token = _claim.set(claim)
    try:
        yield
    finally:
        _claim.reset(token)


def new_id(kind: str, size: int = 8) -> str:
    """An id of so many bytes, hexadecimal: in a call that is done again the same as the first time."""
    claim = _claim.get()
    if claim is None:
        return secrets.token_hex(size)
    claim.ids[kind] += 1
    text = f"{claim.seed}/{kind}/{claim.ids[kind]}"
    return hashlib.sha256(text.encode()).hexdigest()[: 2 * size]


def told(session: database.Session, step: str) -> Any:
    """What a step of the call under way came to when it was done before; None where it was not."""
    claim = _claim.get()
    if claim is None:
        return None
    row = session.one(f"SELECT made FROM keyed WHERE {_MINE}", claim._named)
    return None if row is None else msgspec.json.decode(row["made"]).get(step)


def tell(session: database.Session, step: str, came: object) -> None:
    """Note what a step of the call under way came to, in the transaction that does it.

    Raises StoreConflict where somebody else does the call by now.
    """
    claim = _claim.get()
    if claim is None:
        return
    row = session.one(f"SELECT made FROM keyed WHERE {_MINE}", claim._named)
    made = None
    if row is not None:
        text = msgspec.json.encode({**msgspec.json.decode(row["made"]), step: came}).decode()
        made = session.one(
            f"UPDATE keyed SET made = :made WHERE {_MINE} RETURNING key", {**claim._named, "made": text}
        )
    if made is None:
        raise errors.StoreConflict(
            "This call is being made by another request; make it again to see its answer."
        )


def forget(store: database.Database, customers: Sequence[str]) -> None:
    """Keep no answer any more that names one of these customers."""
    for customer in customers:
        store.execute(
            "UPDATE keyed SET answer = NULL WHERE answer LIKE :named ESCAPE '!'",
            {"named": f"%{customer.replace('_', '!_')}%"},
        )


def _forget(store: database.Database) -> None:
    """Remove some calls that nobody may make again any more, unless one was made anew just now."""
    store.execute(
        "DELETE FROM keyed WHERE at < (SELECT {now}) - :kept AND (asker, key) IN "
        "(SELECT asker, key FROM keyed WHERE at < (SELECT {now}) - :kept LIMIT :step)",
        {"kept": KEPT, "step": STEP},
    )
