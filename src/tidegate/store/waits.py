"""How long requests wait for the rate budget of their account, as every process that sends some tells.

Only long waits are noted, so that most of the time nothing is written.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.store import database

FRESH = 60.0
"""Seconds for which what a process told holds; it tells again before."""


def note(store: database.Database, holder: str, waits: Mapping[str, float]) -> None:
    """Note the long waits of a process, in seconds by account; those that it noted before are over."""

    def work(session: database.Session) -> None:
        session.execute("DELETE FROM waits WHERE holder = :holder OR at < {now} - :fresh", gone)
        session.each(
            "INSERT INTO waits (account, holder, seconds, at) VALUES (:account, :holder, :seconds, {now})",
            [
                {"account": account, "holder": holder, "seconds": seconds}
                for account, seconds in sorted(waits.items())
            ],
        )

    gone = {"holder": holder, "fresh": FRESH}
    store.transact(work)


def known(store: database.Database) -> dict[str, float]:
    """The longest wait of each account, in seconds; of processes that are gone nothing."""
    rows = store.execute(
        "SELECT account, max(seconds) AS seconds FROM waits WHERE at >= {now} - :fresh GROUP BY account",
        {"fresh": FRESH},
    )
    return {row["account"]: float(row["seconds"]) for row in rows}
