"""Who went to an OpenID provider or to Stripe to sign in, and is to come back: what only we know of it meanwhile.

A journey belongs to the browser that began it, can be ended once, and is over after `LASTS`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.store import database, sessions

LASTS = 600.0
"""Seconds that somebody may take to sign in there."""


@dataclass(frozen=True, slots=True)
class Journey:
    """What is needed when somebody comes back; from Stripe, the connection and the scope are nonce and verifier."""

    nonce: str
    verifier: str
    next: str


def begin(store: database.Database, state: str, browser: str, journey: Journey) -> None:
    """Somebody goes there, with this state and from the browser that has this secret."""

    def work(session: database.Session) -> None:
        session.execute(
            "DELETE FROM sign_in_journeys WHERE made_at <= (SELECT {now}) - :lasts", {"lasts": LASTS}
        )
        session.execute(
            "INSERT INTO sign_in_journeys (state, browser, nonce, verifier, next, made_at) "
            "VALUES (:state, :browser, :nonce, :verifier, :next, {now}) ON CONFLICT (state) DO NOTHING",
            {
                "state": sessions.digest(state),
                "browser": sessions.digest(browser),
                "nonce": journey.nonce,
                "verifier": journey.verifier,
                "next": journey.next,
            },
        )

    store.transact(work)


def end(store: database.Database, state: str, browser: str) -> Journey | None:
    """Somebody comes back; None where nobody left with this state from this browser, or it was long ago."""
    row = store.one(
        "DELETE FROM sign_in_journeys WHERE state = :state AND browser = :browser "
        "AND made_at > {now} - :lasts RETURNING nonce, verifier, next",
        {"state": sessions.digest(state), "browser": sessions.digest(browser), "lasts": LASTS},
    )
    return None if row is None else Journey(row["nonce"], row["verifier"], row["next"])
