"""Who does what of which there may be one: taken for some seconds, kept by taking it again."""

from __future__ import annotations

from tidegate.store import database


def take(store: database.Database, name: str, holder: str, seconds: float) -> bool:
    """Take or keep a lease; False while somebody else's has not run out.

    All who want one take it for as long: after the clock was set back, nobody's holds longer than that.
    """
    wanted = {"name": name, "holder": holder, "seconds": seconds}

    def work(session: database.Session) -> bool:
        session.execute(
            "UPDATE leases SET until = {now} + :seconds WHERE name = :name AND until > {now} + :seconds",
            {"name": name, "seconds": seconds},
        )
        row = session.one(
            "INSERT INTO leases (name, holder, until) VALUES (:name, :holder, {now} + :seconds) "
            "ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until "
            "WHERE leases.holder = excluded.holder OR leases.until < {now} RETURNING holder",
            wanted,
        )
        return row is not None

    return store.transact(work)


def leave(store: database.Database, name: str, holder: str) -> None:
    """Give a lease back."""
    store.execute(
        "DELETE FROM leases WHERE name = :name AND holder = :holder", {"name": name, "holder": holder}
    )


def holder(store: database.Database, name: str) -> str:
    """Who holds a lease now; nothing where nobody does."""
    row = store.one("SELECT holder FROM leases WHERE name = :name AND until >= {now}", {"name": name})
    return "" if row is None else str(row["holder"])
