"""Attempts to sign in: for each name and each address a bucket that leaks, which a restart does not empty.

An attempt counts before it is made, so that many side by side count as many, and no longer when it was right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.store import database

STEP = 100
"""Buckets that are empty which are forgotten at once."""
OVER = 86_400.0
"""Seconds after which every bucket is empty."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """So many attempts at once, and one more every so many seconds; the database keeps a digest of the key."""

    key: str
    burst: int
    every: float

    @property
    def digest(self) -> str:
        """What it is kept by."""
        return hashlib.sha256(self.key.encode("utf-8", "replace")).hexdigest()


def take(store: database.Database, buckets: Sequence[Bucket]) -> float:
    """Count an attempt in all of them; or, where one is full, in none: then the seconds to wait."""
    # In one order, so that two that take the same ones do not wait for each other.
    ordered = sorted(buckets, key=lambda each: each.digest)

    def work(session: database.Session) -> float:
        session.execute(
            "DELETE FROM sign_in_attempts WHERE bucket IN "
            "(SELECT bucket FROM sign_in_attempts WHERE at < (SELECT {now}) - :over LIMIT :step) "
            "AND at < (SELECT {now}) - :over",
            {"over": OVER, "step": STEP},
        )
        now, wait = session.now(), 0.0
        levels = {}
        for each in ordered:
            session.execute(
                "INSERT INTO sign_in_attempts (bucket, level, at) VALUES (:bucket, 0, :now) "
                "ON CONFLICT (bucket) DO NOTHING",
                {"bucket": each.digest, "now": now},
            )
            row = session.one(
                "SELECT level, at FROM sign_in_attempts WHERE bucket = :bucket {lock}",
                {"bucket": each.digest},
            )
            assert row is not None, "It is there now."
            level = max(0.0, row["level"] - max(0.0, now - row["at"]) / each.every)
            levels[each.digest] = level
            wait = max(wait, (level + 1 - each.burst) * each.every)
        if wait > 0:
            return wait
        for digest, level in levels.items():
            session.execute(
                "UPDATE sign_in_attempts SET level = :level, at = :now WHERE bucket = :bucket",
                {"bucket": digest, "level": level + 1, "now": now},
            )
        return 0.0

    return store.transact(work)


def right(store: database.Database, buckets: Sequence[Bucket]) -> None:
    """An attempt that was counted was right: it counts no longer."""
    ordered = sorted(each.digest for each in buckets)

    def work(session: database.Session) -> None:
        for digest in ordered:
            session.execute(
                "UPDATE sign_in_attempts SET level = CASE WHEN level > 1 THEN level - 1 ELSE 0 END "
                "WHERE bucket = :bucket",
                {"bucket": digest},
            )

    store.transact(work)
