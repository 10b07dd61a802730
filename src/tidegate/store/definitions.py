"""Every definition that a pipeline ran with, so that any two can be compared and an old one brought back."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.store import database


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition: `number` counts from 1 for each pipeline, `digest` stands for `body`, a document as text."""

    pipeline: str
    number: int
    digest: str
    body: str
    first_at: float
    """Unix seconds: when it ran first, or first again after another."""


def note(store: database.Database, pipeline: str, digest: str, body: str) -> int:
    """Note what a pipeline runs with, as a new version unless it is the last one; returns the number."""

    def work(session: database.Session) -> int:
        last = session.one(
            "SELECT number, digest FROM definitions WHERE pipeline = :pipeline ORDER BY number DESC LIMIT 1",
            {"pipeline": pipeline},
        )
        if last is not None and last["digest"] == digest:
            return int(last["number"])
        number = 1 if last is None else int(last["number"]) + 1
        session.execute(
            "INSERT INTO definitions (pipeline, number, digest, body, first_at) "
            "VALUES (:pipeline, :number, :digest, :body, {now})",
            {"pipeline": pipeline, "number": number, "digest": digest, "body": body},
        )
        return number

    return store.transact(work)


def listed(store: database.Database, pipeline: str) -> list[Definition]:
    """All versions, the newest first."""
    rows = store.execute(
        "SELECT * FROM definitions WHERE pipeline = :pipeline ORDER BY number DESC", {"pipeline": pipeline}
    )
    return [Definition(**row) for row in rows]


def get(store: database.Database, pipeline: str, number: int) -> Definition | None:
    """One version."""
    row = store.one(
        "SELECT * FROM definitions WHERE pipeline = :pipeline AND number = :number",
        {"pipeline": pipeline, "number": number},
    )
    return None if row is None else Definition(**row)
