"""The rate budgets of accounts: what of them is used, what is free, and what refusals left."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tidegate import config
from tidegate.engine import place as places
from tidegate.store import database
from tidegate.stripe import keys, pace

NAMES = 500
"""Accounts that one statement names."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The rate budget of one account, in requests a second; `limit` is None where there is none.

    `used` is what those who send wanted a moment ago, `paused` for how many seconds nobody sends, `factor` what
    refusals left of the limit, `waited` for how long a request has waited.
    """

    connection: str
    account: str
    mode: keys.Mode
    limit: float | None
    used: float = 0.0
    paused: float = 0.0
    factor: float = 1.0
    waited: float = 0.0

    @property
    def free(self) -> float | None:
        """What is left of it."""
        return None if self.limit is None else max(0.0, self.limit * self.factor - self.used)


def listed(place: places.Place) -> list[Budget]:
    """The rate budget of every account to which something is sent, or was refused of late.

    A connection over which nobody sends has one line, of its whole budget.
    """
    store = place.store
    shares = store.execute(
        "SELECT account, sum(CASE WHEN wanted < rate THEN wanted ELSE rate END) AS used FROM shares "
        "WHERE until > {now} AND name = account GROUP BY account"
    )
    refused = store.execute(
        "SELECT account, paused_until - {now} AS paused, factor FROM budgets WHERE name = account "
        "AND (paused_until > {now} OR factor < 1)"
    )
    waited = store.execute("SELECT account, max(seconds) AS seconds FROM waits GROUP BY account")
    waits = {row["account"]: float(row["seconds"]) for row in waited}
    used = {row["account"]: float(row["used"]) for row in shares}
    cut = {row["account"]: (max(0.0, float(row["paused"])), float(row["factor"])) for row in refused}
    whose = _whose(place, {name.split("/", 2)[2] for name in (*used, *cut)})
    found: dict[str, list[Budget]] = {name: [] for name in place.file.stripe}
    for name in sorted({*used, *cut}):
        host, mode, account = name.split("/", 2)
        connection = _connection(place.file, host, mode, account, whose)
        if connection is not None:
            paused, factor = cut.get(name, (0.0, 1.0))
            empty = _budget(place.file, connection, account)
            found[connection].append(
                dataclasses.replace(
                    empty,
                    used=used.get(name, 0.0),
                    paused=paused,
                    factor=factor,
                    waited=waits.get(account, 0.0),
                )
            )
    return [
        each
        for name, mine in found.items()
        for each in mine or [_budget(place.file, name, place.file.stripe[name].account_id or "")]
    ]


def _budget(file: config.Config, name: str, account: str) -> Budget:
    """The budget of a connection of which nobody uses anything."""
    connection = file.stripe[name]
    mode = _mode(connection)
    rate = None if connection.rate_limit is None else str(connection.rate_limit)
    limit = pace.limits_for(mode, rate).per_account
    return Budget(name, account, mode, None if limit is None else limit * connection.budget)


def _mode(connection: config.Connection) -> keys.Mode:
    return keys.mode("" if connection.key is None else connection.key.get_secret_value())


def _whose(place: places.Place, accounts: Iterable[str]) -> dict[str, str]:
    """The connection over which an account is pulled."""
    known, found = place.flows, dict[str, str]()
    for some in _some(sorted(accounts), NAMES):
        names, parameters = database.among(some)
        rows = place.store.tuples(
            f"SELECT DISTINCT flow, account FROM positions WHERE account IN {names} ORDER BY flow", parameters
        )
        found |= {account: known[flow].connection for flow, account in rows if flow in known}
    return found


def _some(values: Sequence[str], count: int) -> Iterator[Sequence[str]]:
    return (values[start : start + count] for start in range(0, len(values), count))


def _connection(
    file: config.Config, host: str, mode: str, account: str, whose: Mapping[str, str]
) -> str | None:
    """The connection that a budget is of; None where the configuration has it no more."""
    fitting = [
        name
        for name, each in file.stripe.items()
        if _mode(each) == mode and each.api_base.partition("://")[2] == host
    ]
    own = [name for name in fitting if file.stripe[name].account_id == account]
    return next(iter((*(name for name in fitting if whose.get(account) == name), *own, *fitting)), None)
