"""The balance identity: all movements of an account together are its balance, to the last minor unit.

Stripe's balance is asked for before and after the newest balance transactions are read, until nothing moved in
between; so the reading and the balance are of one moment, and every difference is one of the warehouse.
"""

from __future__ import annotations

import asyncio
import collections
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from tidegate import errors
from tidegate.audit import findings, sides
from tidegate.pull import backfill, load, plan, reading, scope, settling
from tidegate.warehouse import base

STREAM = "balance_transactions"
PATH = "/v1/balance"
"""https://docs.stripe.com/api/balance/balance_object"""
TRIES = 3
"""How often the balance may move while its newest transactions are read."""
CHUNK = 5_000

Sums = collections.Counter[str]
"""Minor units by currency."""


class _Amount(msgspec.Struct):
    amount: int
    currency: str


class _Answer(msgspec.Struct):
    available: list[_Amount]
    pending: list[_Amount]


@dataclass(frozen=True, slots=True)
class Purse:
    """What Stripe says of an account's money at a moment, by its clock; `why` it says nothing."""

    at: int = 0
    available: Mapping[str, int] = field(default_factory=dict)
    pending: Mapping[str, int] = field(default_factory=dict)
    why: str = ""
    denied: bool = False


def obstacle(
    targets: Mapping[str, load.Target], starts: Mapping[str, int | None], options: scope.Options
) -> str:
    """Why the identity says nothing of what is kept; nothing when it does."""
    target = targets[STREAM]
    choice = options.choices.get(STREAM, scope.Choice())
    if choice.where is not None or starts.get(STREAM) is not None:
        return f"not all {STREAM} are kept: the pull has a filter or a start_date"
    if not {"net", "currency"} <= target.shape.readable:
        return f"the table {target.table.name} lacks net or currency, or has them hashed"
    return ""


async def read(shared: reading.Reading, walks: Sequence[plan.Walk], since: int) -> Purse:
    """The balance, at a moment of which every movement was read; the newest are read anew, from `since` on.

    Raises Unauthorized, Unreachable and RateLimited.
    """
    outcome = shared.targets[STREAM].outcome
    (walk,) = [walk for walk in walks if walk.node.stream.name == STREAM]
    try:
        before = await _ask(shared)
        for _ in range(TRIES):
            trip = reading.Trip(shared, walk, outcome.tally, f"newest/{shared.account}")
            try:
                await backfill.read(trip, backfill.Job(walk, since), None)
            except* errors.TidegateError as failures:
                raise failures.exceptions[0] from None
            await shared.sink.flush()
            after = await _ask(shared)
            if (after.available, after.pending) == (before.available, before.pending):
                return before
            before = after
    except errors.PermissionMissing as error:
        return Purse(why=str(error), denied=True)
    except (
        errors.BadPage,
        errors.InvalidRequest,
        errors.Missing,
        errors.NotEnabled,
        errors.ServerFault,
    ) as error:
        return Purse(why=str(error))
    return Purse(why="the balance moved all the time while it was compared; audit again when it is quieter")


async def compare(
    sight: tuple[base.Warehouse, base.Warehouse],
    target: load.Target,
    purse: Purse,
    in_flight: Sequence[bytes],
) -> findings.Balance:
    """Stripe's balance against the movements of the warehouse, the first of `sight`; the other is the reading.

    `in_flight` are keys of movements that the warehouse cannot know yet, or not in this state.
    """
    if purse.why:
        return findings.Balance(
            target.account, "no_permission" if purse.denied else "not_compared", error=purse.why
        )
    warehouse, read = sight
    total, pending = await asyncio.to_thread(_stored, warehouse, target, purse.at)
    flying, flying_pending = Sums(), Sums()
    for start in range(0, len(in_flight), CHUNK):
        keys = in_flight[start : start + CHUNK]
        for side, sign in ((read, 1), (warehouse, -1)):
            for currency, net, later in await asyncio.to_thread(_found, side, target, keys, purse.at):
                flying[currency] += sign * net
                flying_pending[currency] += sign * net * later
    told = settling.WHEN in target.shape.readable
    made = [
        findings.Money(
            currency=currency,
            balance=purse.available.get(currency, 0) + purse.pending.get(currency, 0),
            warehouse=total[currency],
            in_flight=flying[currency],
            pending=purse.pending.get(currency, 0),
            warehouse_pending=pending[currency] if told else None,
            in_flight_pending=flying_pending[currency],
        )
        for currency in sorted({*purse.available, *purse.pending, *total, *flying})
    ]
    equal = all(each.equal for each in made)
    return findings.Balance(target.account, "ok" if equal else "different", tuple(made))


async def _ask(shared: reading.Reading) -> Purse:
    tally = shared.targets[STREAM].outcome.tally
    answer = await shared.client.get(PATH, {}, endpoint=PATH, tally=tally)
    try:
        found = msgspec.json.decode(answer.body, type=_Answer)
    except msgspec.DecodeError as error:
        raise errors.BadPage(f"GET {PATH} did not answer with a balance: {error}") from None
    return Purse(answer.version, _sums(found.available), _sums(found.pending))


def _sums(amounts: Iterable[_Amount]) -> Sums:
    found = Sums()
    for each in amounts:
        found[each.currency] += each.amount
    return found


def _stored(warehouse: base.Warehouse, target: load.Target, at: int) -> tuple[Sums, Sums]:
    """The movements of the warehouse: all of them, and those that are not available at a moment."""
    total, pending = Sums(), Sums()
    there = warehouse.columns(target.table.name)
    if not there:
        return total, pending
    later = f"{settling.WHEN} > ?" if settling.WHEN in target.shape.readable else "? is null"
    batches = warehouse.read(
        f"select currency, cast(sum(net) as decimal(38, 0)) as net, cast(sum(case when {later} then net else 0 "
        f"end) as decimal(38, 0)) as pending from {base.quoted(warehouse.schema)}.{base.quoted(target.table.name)} "
        "where _account_id = ? and _deleted_at is null group by currency",
        (dt.datetime.fromtimestamp(at, dt.UTC), target.account),
    )
    for batch in batches:
        for row in batch.to_pylist():
            total[row["currency"] or ""] += int(row["net"] or 0)
            pending[row["currency"] or ""] += int(row["pending"] or 0)
    return total, pending


def _found(
    side: base.Warehouse, target: load.Target, keys: Sequence[bytes], at: int
) -> list[tuple[str, int, bool]]:
    """Currency and net amount of live rows, and whether they become available later."""
    named = ["currency", "net", *({settling.WHEN} & target.shape.readable)]
    rows = side.find(target.table, sides.keys(target.table, target.account, keys), named).to_pylist()
    moment = dt.datetime.fromtimestamp(at, dt.UTC)
    return [
        (row["currency"] or "", row["net"] or 0, (row.get(settling.WHEN) or moment) > moment)
        for row in rows
        if row["_stored"] and row["_deleted_at"] is None
    ]
