"""Where every table of a flow stands: a copy of what the warehouse's state says, for those who only look.

The position itself is committed in the warehouse, with the rows. This copy may be older, and may be lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tidegate.store import database


@dataclass(frozen=True, slots=True)
class Position:
    """Where one table of one account stands; `at` is when that was noted last."""

    stream: str
    account: str
    position: Mapping[str, Any] = field(default_factory=dict)
    at: float = 0.0


def replace(store: database.Database, flow: str, positions: Iterable[Position]) -> None:
    """Note all positions of a flow in place of those that are there, at once; the same again changes nothing.

    Only what differs is written: of ten thousand accounts few move at a time.
    """
    wanted = {
        (each.stream, each.account): msgspec.json.encode(each.position, order="sorted").decode()
        for each in positions
    }

    def work(session: database.Session) -> None:
        session.execute("SELECT flow FROM ticks WHERE flow = :flow {lock}", {"flow": flow})
        there = {
            (row["stream"], row["account"]): row["position"]
            for row in session.execute(
                "SELECT stream, account, position FROM positions WHERE flow = :flow", {"flow": flow}
            )
        }
        gone = [
            {"flow": flow, "stream": stream, "account": account}
            for stream, account in there.keys() - wanted.keys()
        ]
        moved = [
            {"flow": flow, "stream": stream, "account": account, "position": position}
            for (stream, account), position in wanted.items()
            if there.get((stream, account)) != position
        ]
        if gone:
            session.each(
                "DELETE FROM positions WHERE flow = :flow AND stream = :stream AND account = :account", gone
            )
        if moved:
            session.each(
                "INSERT INTO positions (flow, stream, account, position, at) "
                "VALUES (:flow, :stream, :account, :position, {now}) "
                "ON CONFLICT (flow, stream, account) DO UPDATE SET position = excluded.position, at = excluded.at",
                moved,
            )

    store.transact(work)


def read(store: database.Database, flow: str) -> list[Position]:
    """All positions of a flow, by stream and account."""
    rows = store.execute(
        "SELECT stream, account, position, at FROM positions WHERE flow = :flow ORDER BY stream, account",
        {"flow": flow},
    )
    return [
        Position(row["stream"], row["account"], msgspec.json.decode(row["position"]), row["at"])
        for row in rows
    ]
