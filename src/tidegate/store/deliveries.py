"""Events as Stripe delivered them: durable before Stripe is told so, each once, heard by every flow that follows.

A flow hears deliveries by their numbers, which several receivers may commit out of their order. So its mark stays
behind those of the last `SETTLED` seconds, and what it hears a second time after a restart changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from tidegate.store import database

SETTLED = 60.0
"""Seconds after which no delivery with a smaller number can still appear: twice `database.HELD`."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event; `account` is the connected account it is of, empty for the endpoint's own."""

    connection: str
    account: str
    event: str
    type: str
    created: int
    payload: str
    number: int = 0
    received_at: float = 0.0


def keep(store: database.Database, deliveries: Sequence[Delivery]) -> int:
    """Keep deliveries, durably when this returns; says how many of them are new.

    Of those that were kept before their connection was lost, it says that they are not.
    """
    # In one order, so that two who keep the same ones do not wait for each other.
    rows = [
        {
            "connection": each.connection,
            "account": each.account,
            "event": each.event,
            "type": each.type,
            "created": each.created,
            "payload": each.payload,
        }
        for each in sorted(deliveries, key=lambda each: (each.connection, each.account, each.event))
    ]

    def work(session: database.Session) -> int:
        return session.each(
            "INSERT INTO deliveries (connection, account, event, type, created, received_at, payload) "
            "VALUES (:connection, :account, :event, :type, :created, {now}, :payload) "
            "ON CONFLICT (connection, account, event) DO NOTHING",
            rows,
        )

    return store.transact(work) if rows else 0


def heard(store: database.Database, flow: str) -> int | None:
    """Up to which number a flow has heard everything; None for one that never listened."""
    row = store.one("SELECT number FROM hearings WHERE flow = :flow", {"flow": flow})
    return None if row is None else int(row["number"])


def begin(store: database.Database, flow: str, connection: str) -> int:
    """Where a flow listens from: its mark, or for a new one the last delivery, since a pull has read all before."""

    def work(session: database.Session) -> int:
        wanted = {"flow": flow, "connection": connection}
        find = "SELECT number FROM hearings WHERE flow = :flow AND connection = :connection"
        row = session.one(find, wanted)
        if row is None:
            # Numbers count over all connections, so the mark of a flow that has another one now holds.
            session.execute(
                "INSERT INTO hearings (flow, connection, number) "
                "SELECT :flow, :connection, coalesce(max(number), 0) FROM deliveries "
                "WHERE connection = :connection "
                "ON CONFLICT (flow) DO UPDATE SET connection = excluded.connection",
                wanted,
            )
            row = session.one(find, wanted)
        assert row is not None, "It was just made."
        return int(row["number"])

    return store.transact(work)


def after(
    store: database.Database, connection: str, number: int, but: Collection[int] = (), limit: int = 500
) -> list[Delivery]:
    """Deliveries after a number, without those that were heard already, in their order."""
    heard_already = [each for each in but if each > number]
    top = max(heard_already, default=number)
    columns = "number, connection, account, event, type, created, received_at, payload"

    def work(session: database.Session) -> list[Delivery]:
        rows: list[database.Row] = []
        between = {"connection": connection, "low": number, "high": top}
        where = "FROM deliveries WHERE connection = :connection AND number > :low AND number <= :high"
        # Those that came out of their order are few: that there are some, their count says.
        some = session.one(f"SELECT count(*) AS n {where}", between) if heard_already else None
        if some is not None and some["n"] > len(heard_already):
            known = set(heard_already)
            numbers = session.execute(f"SELECT number {where} ORDER BY number", between)
            late = [row["number"] for row in numbers if row["number"] not in known][:limit]
            for each in late:
                rows += session.execute(
                    f"SELECT {columns} FROM deliveries WHERE number = :number", {"number": each}
                )
        if len(rows) < limit:
            rows += session.execute(
                f"SELECT {columns} FROM deliveries WHERE connection = :connection AND number > :top "
                "ORDER BY number LIMIT :limit",
                {"connection": connection, "top": top, "limit": limit - len(rows)},
            )
        return [Delivery(**row) for row in rows]

    return store.transact(work)


def mark(store: database.Database, flow: str, connection: str, number: int, known: int = 0) -> int:
    """Note that a flow has heard everything up to `number`, as far as that is settled; returns the mark.

    A mark that lies before the `known` one stays: somebody has the flow hear again what comes after it.
    """

    def work(session: database.Session) -> int:
        row = session.one(
            "SELECT coalesce(max(number), 0) AS number FROM deliveries WHERE connection = :connection "
            "AND number <= :number AND received_at < {now} - :settled",
            {"connection": connection, "number": number, "settled": SETTLED},
        )
        settled = 0 if row is None else int(row["number"])
        session.execute(
            "UPDATE hearings SET number = :number "
            "WHERE flow = :flow AND number < :number AND number >= :known",
            {"flow": flow, "number": settled, "known": known},
        )
        found = session.one("SELECT number FROM hearings WHERE flow = :flow", {"flow": flow})
        return settled if found is None else int(found["number"])

    return store.transact(work)


def replay(
    store: database.Database,
    flows: Iterable[str],
    connection: str,
    since: float,
    beside: Callable[[database.Session, dict[str, int]], None] | None = None,
) -> dict[str, int]:
    """Have flows hear again what was received since a moment; says how many deliveries that are, by flow.

    `beside` is called in the same transaction, with what it says.
    """
    wanted = list(flows)

    def work(session: database.Session) -> dict[str, int]:
        row = session.one(
            "SELECT count(*) AS n, coalesce(min(number), 0) AS first FROM deliveries "
            "WHERE connection = :connection AND received_at >= :since",
            {"connection": connection, "since": since},
        )
        assert row is not None, "An aggregate has a row."
        for flow in sorted(wanted) if row["n"] else ():
            session.execute(
                "INSERT INTO hearings (flow, connection, number) VALUES (:flow, :connection, :number) "
                "ON CONFLICT (flow) DO UPDATE SET connection = excluded.connection, number = "
                "CASE WHEN hearings.number < excluded.number THEN hearings.number ELSE excluded.number END",
                {"flow": flow, "connection": connection, "number": row["first"] - 1},
            )
        found = dict.fromkeys(wanted, int(row["n"]))
        if beside is not None:
            beside(session, found)
        return found

    return store.transact(work)
