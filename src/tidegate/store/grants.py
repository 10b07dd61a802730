"""The shared rate budget: everybody who sends to an account holds a share of its requests per second, for seconds.

A budget is an account's, `api.stripe.com/live/acct_1`, or that of one of its endpoints,
`api.stripe.com/live/acct_1/GET /v1/charges`; no key stands in a name. A share is a grant of so many requests per
second until its end, which comes `TERM` after the last renewal by the database's clock. The sum of the shares of a
budget that have not ended is never more than the budget, but for `OVER` while somebody new joins; so whatever the
number of senders, no more than rate * time * (1 + OVER) requests, and one more per sender, are sent in any time.
Who wants little gets it, the others get the rest in equal parts. Who disappears leaves its share to the others
when it ends. What Stripe refuses to one, all hear of when they renew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tidegate.store import database

Each = TypeVar("Each")

TERM = 5.0
"""Seconds for which a share is held unless it is renewed."""
OVER = 0.1
"""The part of a budget that may be held beyond it, until those who were there before have renewed."""
LEAST = 0.02
"""The part of a budget that a holder gets at once when there is none left, within `OVER`."""
LONGEST_PAUSE = 60.0
"""A pause that ends later than this is one of a clock that was set back."""
MEMORY = 10.0
"""Seconds for which somebody new is told of the last refusal."""
FORGOTTEN = 3600.0
"""Seconds after which a budget that nobody holds a share of is forgotten."""
CHUNK = 100
"""Rows of one statement, and accounts of one transaction."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a holder wants of a budget of `rate` requests per second; `endpoint` is empty for the account's own."""

    account: str
    endpoint: str
    holder: str
    rate: float
    wanted: float

    @property
    def name(self) -> str:
        """The budget's name."""
        return budget_name(self.account, self.endpoint)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Stripe answered 429: nobody sends for `pause` seconds, and then at `factor` of the rate."""

    account: str
    endpoint: str
    pause: float
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Share:
    """Requests per second of one holder for `TERM` seconds, from when it asked.

    `due` is what it has once all others have renewed. `refused` tells one refusal from another; 0 where there was
    none of late.
    """

    rate: float
    due: float = 0.0
    pause: float = 0.0
    factor: float = 1.0
    refused: float = 0.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """What one process has to say of all its accounts: asked, refused, and given back.

    `returned` are an account and a holder, and the endpoint, or None for all that the holder has there.
    """

    asks: Sequence[Ask] = ()
    refusals: Sequence[Refusal] = ()
    returned: Sequence[tuple[str, str, str | None]] = ()

    @property
    def accounts(self) -> list[str]:
        """Whose budgets it is about, sorted: so two exchanges never wait for each other."""
        asked, refused = {each.account for each in self.asks}, {each.account for each in self.refusals}
        return sorted(asked | refused | {account for account, _, _ in self.returned})


@dataclass(slots=True)
class _Held:
    rate: float
    wanted: float


def budget_name(account: str, endpoint: str = "") -> str:
    """The name of an account's budget, or of one of its endpoints'."""
    return f"{account}/{endpoint}" if endpoint else account


def fair(rate: float, wanted: float, others: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The part of `rate` for one holder now, and the one that it is due, where the `others` hold and want so much.

    Never more now than what the others leave, but for `OVER`; the first `LEAST` comes out of that.
    """
    known = list(others)
    held = sum(each for each, _ in known)
    wishes = sorted(min(each, rate) for each in (wanted, *(wish for _, wish in known)))
    left, target = rate, 0.0
    for number, wish in enumerate(wishes):
        level = left / (len(wishes) - number)
        if wish > level:
            target = min(wanted, level)
            break
        left -= wish
    else:  # all get what they want, and the rest in equal parts
        target = min(wanted, rate) + left / len(wishes)
    least = min(target, rate * LEAST, rate * (1 + OVER) - held)
    return max(min(target, rate - held), least, 0.0), target


def renew(store: database.Database, said: Exchange) -> dict[tuple[str, str], Share]:
    """Tell and ask, in one transaction; the new shares by (budget's name, holder).

    A few statements, whatever the number of endpoints and holders, for some hundred accounts at most; to be
    repeated at will.
    """
    accounts = said.accounts
    if not accounts:
        return {}
    return store.transact(lambda session: _renew(session, store.kind, accounts, said))


def held(store: database.Database, account: str, endpoint: str = "") -> dict[str, float]:
    """The shares of a budget that have not ended, by holder."""
    rows = store.execute(
        "SELECT holder, rate FROM shares WHERE account = :account AND name = :name AND until > {now}",
        {"account": account, "name": budget_name(account, endpoint)},
    )
    return {row["holder"]: float(row["rate"]) for row in rows}


def prune(store: database.Database) -> None:
    """Forget the budgets of accounts that nobody sends to any more."""

    def work(session: database.Session) -> None:
        since = {"seconds": FORGOTTEN}
        session.execute("DELETE FROM shares WHERE until < {now} - :seconds", since)
        session.execute(
            "DELETE FROM budgets WHERE touched_at < {now} - :seconds "
            "AND NOT EXISTS (SELECT 1 FROM shares WHERE shares.account = budgets.account)",
            since,
        )

    store.transact(work)


def _renew(
    session: database.Session, kind: str, accounts: Sequence[str], said: Exchange
) -> dict[tuple[str, str], Share]:
    listed, values = _listed(accounts)
    _lock(session, kind, accounts)
    now, shares = _shares(session, listed, values)
    gone = []
    for account, holder, endpoint in said.returned:
        for name, holders in shares.items():
            wide = endpoint is None and f"{name}/".startswith(f"{account}/")
            if (wide or name == budget_name(account, endpoint or "")) and holders.pop(
                holder, None
            ) is not None:
                gone.append((account, name, holder))
    _forget(session, gone)
    _refuse(session, said.refusals, now)
    told = _told(session, listed, values, now)
    given: dict[tuple[str, str], Share] = {}
    for ask in said.asks:
        holders = shares.setdefault(ask.name, {})
        others = [(each.rate, each.wanted) for holder, each in holders.items() if holder != ask.holder]
        wanted = min(max(ask.wanted, ask.rate * LEAST), ask.rate)
        rate, due = fair(ask.rate, wanted, others)
        holders[ask.holder] = _Held(rate, wanted)
        given[ask.name, ask.holder] = dataclasses.replace(told.get(ask.name, Share(0.0)), rate=rate, due=due)
    _hold(session, said.asks, shares, now)
    return given


def _lock(session: database.Session, kind: str, accounts: Sequence[str]) -> None:
    """Be the only one to change anything of the accounts, in their order, so that nobody waits in a circle."""
    if kind != "postgres":
        return  # a transaction of SQLite keeps all others out from its beginning
    listed, values = _listed(accounts)
    text = f"SELECT name FROM budgets WHERE name IN ({listed}) ORDER BY name FOR UPDATE"
    missing = set(accounts) - {row["name"] for row in session.execute(text, values)}
    while missing:
        for some in _chunks(sorted(missing)):
            slots, made = _placed([(account, account) for account in some])
            rows = ", ".join(f"({', '.join(slot)}, {{now}})" for slot in slots)
            session.execute(
                f"INSERT INTO budgets (name, account, touched_at) VALUES {rows} ON CONFLICT (name) DO NOTHING",
                made,
            )
        missing = set(accounts) - {row["name"] for row in session.execute(text, values)}


def _shares(
    session: database.Session, listed: str, values: Mapping[str, object]
) -> tuple[float, dict[str, dict[str, _Held]]]:
    """The database's clock, and the shares of the accounts that have not ended, by name and holder."""
    rows = session.execute(
        "SELECT {now} AS now, s.account, s.name, s.holder, s.rate, s.wanted, s.until "
        f"FROM (SELECT 1 AS one) AS o LEFT JOIN shares AS s ON s.account IN ({listed})",
        values,
    )
    now = float(rows[0]["now"])
    found: dict[str, dict[str, _Held]] = {}
    ended, late = False, False
    for row in rows:
        if row["name"] is None:
            continue
        if row["until"] <= now:
            ended = True
            continue
        late = late or row["until"] > now + TERM
        found.setdefault(row["name"], {})[row["holder"]] = _Held(float(row["rate"]), float(row["wanted"]))
    if ended:
        session.execute(
            f"DELETE FROM shares WHERE account IN ({listed}) AND until <= :now", {**values, "now": now}
        )
    if late:  # the clock was set back: nobody's share ends later than a new one
        session.execute(
            f"UPDATE shares SET until = :until WHERE account IN ({listed}) AND until > :until",
            {**values, "until": now + TERM},
        )
    return now, found


def _forget(session: database.Session, gone: Iterable[tuple[str, str, str]]) -> None:
    for some in _chunks(sorted(gone)):
        slots, values = _placed(some)
        where = " OR ".join(f"(account = {a} AND name = {n} AND holder = {h})" for a, n, h in slots)
        session.execute(f"DELETE FROM shares WHERE {where}", values)


def _refuse(session: database.Session, refusals: Iterable[Refusal], now: float) -> None:
    for each in refusals:
        session.execute(
            "INSERT INTO budgets (name, account, paused_until, factor, refused_at, touched_at) "
            "VALUES (:name, :account, :until, :factor, :now, :now) ON CONFLICT (name) DO UPDATE SET "
            "paused_until = CASE WHEN budgets.paused_until BETWEEN excluded.paused_until AND :last "
            "THEN budgets.paused_until ELSE excluded.paused_until END, "
            "factor = excluded.factor, refused_at = excluded.refused_at, touched_at = excluded.touched_at",
            {
                "name": budget_name(each.account, each.endpoint),
                "account": each.account,
                "until": now + min(each.pause, LONGEST_PAUSE),
                "last": now + LONGEST_PAUSE,
                "factor": each.factor,
                "now": now,
            },
        )


def _told(
    session: database.Session, listed: str, values: Mapping[str, object], now: float
) -> dict[str, Share]:
    """What Stripe refused of late, and until when it wants quiet."""
    rows = session.execute(
        "SELECT name, paused_until, factor, refused_at FROM budgets "
        f"WHERE account IN ({listed}) AND (paused_until > :now OR refused_at > :now - :memory)",
        {**values, "now": now, "memory": MEMORY},
    )
    found = {}
    for row in rows:
        pause = row["paused_until"] - now
        pause = pause if 0 < pause <= LONGEST_PAUSE else 0.0
        recent = 0 <= now - row["refused_at"] <= MEMORY
        factor, refused = (float(row["factor"]), float(row["refused_at"])) if recent else (1.0, 0.0)
        found[row["name"]] = Share(0.0, 0.0, pause, factor, refused)
    return found


def _hold(
    session: database.Session, asks: Sequence[Ask], shares: Mapping[str, Mapping[str, _Held]], now: float
) -> None:
    for some in _chunks(asks):
        mine = [shares[ask.name][ask.holder] for ask in some]
        slots, values = _placed(
            [
                (ask.account, ask.name, ask.holder, had.rate, had.wanted)
                for ask, had in zip(some, mine, strict=True)
            ]
        )
        rows = ", ".join(f"({', '.join(slot)}, :until)" for slot in slots)
        session.execute(
            f"INSERT INTO shares (account, name, holder, rate, wanted, until) VALUES {rows} "
            "ON CONFLICT (account, name, holder) DO UPDATE SET "
            "rate = excluded.rate, wanted = excluded.wanted, until = excluded.until",
            {**values, "until": now + TERM},
        )


def _placed(rows: Sequence[tuple[object, ...]]) -> tuple[list[list[str]], dict[str, object]]:
    """The placeholders of rows, and what they stand for; a placeholder's name has letters only."""
    values: dict[str, object] = {}
    slots: list[list[str]] = []
    for row in rows:
        slots.append([])
        for value in row:
            number = len(values)
            name = "v_" + "".join(chr(97 + number // 26**place % 26) for place in (2, 1, 0))
            values[name] = value
            slots[-1].append(f":{name}")
    return slots, values


def _listed(values: Sequence[str]) -> tuple[str, dict[str, object]]:
    """The placeholders of a list, and what they stand for."""
    slots, named = _placed([tuple(values)])
    return ", ".join(slots[0]), named


def _chunks(rows: Sequence[Each]) -> Iterable[Sequence[Each]]:
    return (rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK))
