"""Where every table of a flow stands: a copy of what the warehouse's state says, for those who only look.

The position itself is committed in the warehouse, with the rows. This copy may be older, and may be lost. Of each
the figures by which lists count and sort stand beside the document, in columns.
"""

from __future__ import annotations

import datetime as dt
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


class Stood(msgspec.Struct, frozen=True):
    """One stream of one account as it stood when its pull noted it; `as_of` on Stripe's clock."""

    stream: str
    account: str
    rows: int = 0
    deleted: int = 0
    complete: bool = False
    as_of: dt.datetime | None = None
    status: str = ""
    error: str | None = None
    staleness_s: int | None = None
    staleness: str = ""
    held: str | None = None
    listing: str | None = None
    waiting: int = 0
    unread: int = 0


_decoder = msgspec.json.Decoder(Stood)


def stood(position: str) -> Stood | None:
    """What a document says; None for one that another version wrote and this one cannot read."""
    try:
        return _decoder.decode(position)
    except msgspec.DecodeError:
        return None


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
            {"flow": flow, "stream": stream, "account": account, "position": position, **_figures(position)}
            for (stream, account), position in wanted.items()
            if there.get((stream, account)) != position
        ]
        if gone:
            session.each(
                "DELETE FROM positions WHERE flow = :flow AND stream = :stream AND account = :account", gone
            )
        if moved:
            session.each(
                "INSERT INTO positions (flow, stream, account, position, at, status, complete, as_of, staleness, "
                "stored, deleted) VALUES (:flow, :stream, :account, :position, {now}, :status, :complete, :as_of, "
                ":staleness, :stored, :deleted) ON CONFLICT (flow, stream, account) DO UPDATE SET "
                "position = excluded.position, at = excluded.at, status = excluded.status, "
                "complete = excluded.complete, as_of = excluded.as_of, staleness = excluded.staleness, "
                "stored = excluded.stored, deleted = excluded.deleted",
                moved,
            )

    store.transact(work)


def _figures(position: str) -> dict[str, object]:
    """What lists ask of a document, by column; no status where it cannot be read."""
    found = stood(position)
    if found is None:
        return dict.fromkeys(("status", "as_of", "staleness")) | dict.fromkeys(
            ("complete", "stored", "deleted"), 0
        )
    return {
        "status": found.status,
        "complete": int(found.complete),
        "as_of": None if found.as_of is None else found.as_of.timestamp(),
        "staleness": found.staleness_s,
        "stored": found.rows,
        "deleted": found.deleted,
    }


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
