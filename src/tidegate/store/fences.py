"""Who writes to Stripe for a push: one at a time, under a number that grows.

A lease alone lets in whoever was asleep while it ran out and somebody else took it. So whoever takes it anew gets a
greater number, which every transaction of the ledger compares with the newest: what an older writer brings is
refused, whole. The number is never forgotten, nor is the account that a push wrote to first.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate import errors
from tidegate.store import database


class Outdated(errors.StoreError):
    """Another writer took the push over, or this one's time ran out; it may send and record nothing more."""


@dataclass(frozen=True, slots=True)
class Fence:
    """The right to write for a push, as long as no greater number was given to somebody."""

    push: str
    number: int
    holder: str


def take(store: database.Database, push: str, holder: str, seconds: float) -> Fence | None:
    """Take a push for some seconds; None while somebody else's time has not run out.

    Whoever has it still keeps the number. Every holder is one process: it takes a name that nobody had before.
    """
    wanted = {"push": push, "holder": holder, "seconds": seconds}

    def work(session: database.Session) -> Fence | None:
        # After the clock was set back, nobody's time is longer than that.
        session.execute(
            "UPDATE fences SET until = {now} + :seconds WHERE push = :push AND until > {now} + :seconds",
            wanted,
        )
        row = session.one(
            "INSERT INTO fences (push, number, holder, until) VALUES (:push, 1, :holder, {now} + :seconds) "
            "ON CONFLICT (push) DO UPDATE SET holder = excluded.holder, until = excluded.until, "
            "number = fences.number + CASE WHEN fences.holder = excluded.holder AND fences.until >= {now} "
            "THEN 0 ELSE 1 END "
            "WHERE fences.holder = excluded.holder OR fences.until < {now} RETURNING number",
            wanted,
        )
        return None if row is None else Fence(push, int(row["number"]), holder)

    return store.transact(work)


def keep(store: database.Database, fence: Fence, seconds: float) -> bool:
    """Have it for some seconds from now; False where it ran out or is somebody else's: then it is over."""
    row = store.one(
        "UPDATE fences SET until = {now} + :seconds WHERE push = :push AND number = :number "
        "AND holder = :holder AND until >= {now} RETURNING push",
        {"push": fence.push, "number": fence.number, "holder": fence.holder, "seconds": seconds},
    )
    return row is not None


def leave(store: database.Database, fence: Fence) -> None:
    """Give it back; the number stays, and the next who takes it gets a greater one."""
    store.execute(
        "UPDATE fences SET until = 0, holder = '' WHERE push = :push AND number = :number",
        {"push": fence.push, "number": fence.number},
    )


def left(store: database.Database, fence: Fence) -> float:
    """For how many seconds it is ours still; nothing where it is not."""
    row = store.one(
        "SELECT until - {now} AS seconds FROM fences WHERE push = :push AND number = :number",
        {"push": fence.push, "number": fence.number},
    )
    return 0.0 if row is None else max(0.0, float(row["seconds"]))


def holder(store: database.Database, push: str) -> str:
    """Who writes for a push now; nothing where nobody does."""
    row = store.one("SELECT holder FROM fences WHERE push = :push AND until >= {now}", {"push": push})
    return "" if row is None else str(row["holder"])


def place(store: database.Database, push: str) -> tuple[str, bool] | None:
    """The account that a push writes to, and whether in live mode; None before its first operation."""
    row = store.one(
        "SELECT account, livemode FROM fences WHERE push = :push AND account <> ''", {"push": push}
    )
    return None if row is None else (str(row["account"]), bool(row["livemode"]))


def check(session: database.Session, fence: Fence, *, lasting: bool = False) -> None:
    """See inside a transaction that a fence is the newest, and keep it so until the end; raises Outdated.

    `lasting`: its time must not have run out either, for what is to be done at Stripe. What was done there may be
    recorded later, as long as nobody else came.
    """
    row = session.one(
        "SELECT number, until, {now} AS now FROM fences WHERE push = :push {lock}", {"push": fence.push}
    )
    if row is None or row["number"] != fence.number:
        raise Outdated(
            f"Another process writes for {fence.push} now; this one stops, and what it left open the other decides."
        )
    if lasting and row["until"] < row["now"]:
        raise Outdated(
            f"The time of this process to write for {fence.push} ran out; it stops, and the next run goes on."
        )


def bind(session: database.Session, fence: Fence, account: str, livemode: bool) -> None:
    """Have a push write to this account and mode for ever; raises StoreError where it wrote elsewhere before."""
    wanted = {"push": fence.push, "account": account, "livemode": int(livemode)}
    session.execute(
        "UPDATE fences SET account = :account, livemode = :livemode WHERE push = :push AND account = ''",
        wanted,
    )
    row = session.one("SELECT account, livemode FROM fences WHERE push = :push", wanted)
    assert row is not None, "Who binds has checked the fence."
    if (row["account"], bool(row["livemode"])) != (account, livemode):
        mode = "live" if row["livemode"] else "test"
        raise errors.StoreError(
            f"{fence.push} writes to {row['account']} in {mode} mode, and this key is of {account} in "
            f"{'live' if livemode else 'test'} mode; use that account's key, or give the push another name."
        )


def bound(store: database.Database, fence: Fence, account: str, livemode: bool) -> None:
    """The same in a transaction of its own, before anything is acknowledged without a write."""

    def work(session: database.Session) -> None:
        check(session, fence)
        bind(session, fence, account, livemode)

    store.transact(work)
