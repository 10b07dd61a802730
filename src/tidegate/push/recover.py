"""What became of the operations that earlier runs left undecided: found out before anything is planned.

| undecided | decided by |
|---|---|
| never sent | void: its row is planned again |
| a create younger than 23 h | the same bytes under the same key: Stripe answers as it did, or does it now |
| a create that is older, or | the object under the id that it chose; the events, by its key; metadata, in |
| whose failure Stripe replays | the mirror and in search; the list of that time. Found: done. Not found: |
| | void, but only with a complete read of the events, a mirror that caught up, and |
| | minutes after the last attempt; else unknown |
| an update, an archiving | done if the object has all of it, else void: it is never sent late, but planned anew |
| a delete | done if the object is gone, else void |

Ages are by the database's clock alone. What is too young to be judged stays as it is for the next run, and keeps
its row and its object to itself until then; what is unknown is looked for again, and never sent. A person may say
which object its row is, or that it is to be made. Killed anywhere, all of this may be done again.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tidegate import errors
from tidegate.catalog import writes
from tidegate.push import compare, evidence, forms, lease, sending, steps, verdicts
from tidegate.store import holds, ledger, operations
from tidegate.stripe import client

QUIET = 300.0
"""Seconds after the last attempt from which on an absence is believed: events take their time."""
SETTLED = 90.0
"""Seconds after the last attempt in which Stripe may still be at work on it."""

Kind = Literal["done", "void", "refused", "unknown", "waiting"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of an undecided operation; the sentence says why, without personal data."""

    operation: operations.Operation
    kind: Kind
    sentence: str = ""
    target: str = ""


@dataclass
class _Case:
    """What is known while the operations of a push are decided."""

    stripe: client.Client
    held: lease.Lease
    sender: sending.Sender
    mirror: Callable[[writes.Object], evidence.Mirror | None]
    quiet: float
    settled: float
    now: float
    """By the database's clock."""
    ahead: float
    """Seconds by which Stripe's clock is ahead of the database's."""
    first: Mapping[str, float]
    """When the first create of each kind of object was sent."""
    heard: dict[str, evidence.Heard] = field(default_factory=dict)

    async def record(self, work: Any, *what: Any) -> Any:
        steps.reached("decided one")
        return await asyncio.to_thread(work, self.held.store, self.held.fence, *what)


async def recover(
    stripe: client.Client,
    held: lease.Lease,
    sender: sending.Sender,
    mirror: Callable[[writes.Object], evidence.Mirror | None],
    *,
    quiet: float = QUIET,
    settled: float = SETTLED,
) -> list[Decision]:
    """Decide all that is undecided of the push that is held, while nothing of it is being sent.

    `mirror` gives the copy of a kind of object, where one is kept. Raises Unauthorized, and StoreError where the
    push is somebody else's by now.
    """
    push = held.fence.push
    found = await asyncio.to_thread(operations.undecided, held.store, push)
    if not found:
        return []
    steps.reached("undecided found")
    now = await asyncio.to_thread(held.store.now)
    case = _Case(stripe, held, sender, mirror, quiet, settled, now, stripe.clock.now() - now, _first(found))
    decisions = []
    for each in found:
        try:
            decision = await _decide(case, each)
        except errors.Unauthorized:
            raise
        except (errors.StripeError, errors.BadPage, errors.Unreachable) as error:
            decision = Decision(
                each, "waiting", f"What became of {each.id} of {push} could not be found out: {error}"
            )
        log.info("%s of %s: %s", each.id, push, decision.kind)
        decisions.append(decision)
        steps.reached("recovered one")
    return decisions


async def _decide(case: _Case, operation: operations.Operation) -> Decision:
    of = writes.find(operation.object)
    if operation.status == "intent":
        return await _void(case, operation, "It was never sent.")
    if operation.status == "unknown" and await _said(case, operation):
        await case.record(ledger.void, [operation.id], "A person said which object its row is.")
        return Decision(operation, "void", "A person said which object its row is.")
    if of is None:
        return await _unknown(case, operation, f"this version knows no {operation.object}")
    if operation.target:
        return await _compared(case, of, operation)
    age = case.now - operation.created_at
    if operation.status == "sent" and 0 <= age < operations.OLDEST:
        outcome = await case.sender.send(operation)
        match outcome.kind:
            case "done" | "adopted":
                return Decision(operation, "done", outcome.sentence, outcome.target)
            case "again":
                return Decision(operation, "void", outcome.sentence)
            case "quarantined" | "gone":
                return Decision(operation, "refused", outcome.sentence)
            case "unknown" if not case.sender.breaker.stopped:
                pass  # its failure is kept: sending it once more would tell nothing
            case "unknown":
                return Decision(operation, "unknown", outcome.sentence)
            case _:
                return Decision(operation, "waiting", outcome.sentence)
    return await _looked_for(case, of, operation)


async def _compared(case: _Case, of: writes.Object, operation: operations.Operation) -> Decision:
    """A change of an object that exists: by what the object is now."""
    live = await evidence.retrieve(case.stripe, operation.path, sending.endpoint(operation))
    deleting = verdicts.deletes(operation)
    if live is None:
        if deleting:
            return await _done(case, operation, {"id": operation.target})
        said = (
            f"Somebody deleted the {of.name.replace('_', ' ')} {operation.target} that a row of {operation.push} "
            f"is; it is not made anew, choose another object for it in `tidegate inbox {operation.push}`."
        )
        hold = holds.Opening(
            operation.key, "gone", said, operation.hash, operation.version, operation=operation.id
        )
        refused = operations.Refused(operation.id, said, 404, hold=hold, missing=True)
        await case.record(ledger.refuse, [refused])
        return Decision(operation, "refused", said, operation.target)
    if not deleting and has(of, forms.decode(operation.body.encode()), live):
        return await _done(case, operation, live)
    if _since(case, operation) < case.settled:
        return Decision(
            operation, "waiting", f"Stripe may still be at work on {operation.id}; the next run decides."
        )
    return await _void(case, operation, "It was not done; what is to be done now is planned anew.")


async def _looked_for(case: _Case, of: writes.Object, operation: operations.Operation) -> Decision:
    """A create that may not be sent again: by the traces it left."""
    wanted = verdicts.existing(operation) if of.settable_id else ""
    if wanted:
        there = await evidence.chosen(case.stripe, of, operation)
        if there is not None and evidence.made_by(there, operation):
            return await _done(case, operation, there)
        if _since(case, operation) < case.quiet:
            return _early(operation)
        return await _void(case, operation, "Stripe has no object that it made under the id that it chose.")
    found = await _found(case, of, operation)
    if found is not None:
        return await _done(case, operation, found)
    if _since(case, operation) < case.quiet:
        return _early(operation)
    doubt = _doubt(case, of, operation)
    if doubt:
        return await _unknown(case, operation, doubt)
    return await _void(case, operation, "Neither an event nor an object tells of it: it was not done.")


async def _found(case: _Case, of: writes.Object, operation: operations.Operation) -> evidence.Found | None:
    """What a create made, wherever that is told."""
    told = await _heard(case, of)
    if operation.idempotency_key in told.made:
        return told.made[operation.idempotency_key]
    mirror = case.mirror(of)
    target = mirror.find_op(operation.id) if mirror is not None else None
    if target:
        update = of.operations.get("update")
        live = (
            await evidence.retrieve(case.stripe, update.on(target), update.path)
            if update is not None
            else None
        )
        return live or {"id": target}
    first, last = _sent(operation)
    begin, end = (moment + case.ahead for moment in (first - evidence.AROUND, last + evidence.AROUND))
    for look in (
        functools.partial(evidence.searched, case.stripe, of, operation),
        functools.partial(evidence.listed, case.stripe, of, operation, begin, end),
    ):
        try:
            found = await look()
        except errors.Unauthorized:
            raise
        except (errors.StripeError, errors.BadPage) as error:
            log.info("%s of %s was not looked for everywhere: %s", operation.id, operation.push, error)
            continue
        if found is not None:
            return found
    return None


def _doubt(case: _Case, of: writes.Object, operation: operations.Operation) -> str:
    """Why the absence of what a create made proves nothing; empty where it does."""
    first, last = _sent(operation)
    told, mirror = case.heard[of.name], case.mirror(of)
    if not told.complete:
        return "the events that would tell could not all be read"
    if told.since > first + case.ahead or case.now - first > evidence.EVENTS_KEPT:
        return "it is so old that Stripe no longer has its events"
    if mirror is None or mirror.caught_up_since < last + case.ahead + case.quiet:
        return f"no complete copy of the {of.name.replace('_', ' ')} objects is as new as that"
    return ""


async def _heard(case: _Case, of: writes.Object) -> evidence.Heard:
    """The events since the first create of this kind was sent; read once."""
    first = case.first[of.name]
    told = case.heard.get(of.name)
    # Stripe's clock is known only when it has answered, so that the first read may have begun too late.
    while told is None or told.since > first + case.ahead - evidence.AROUND / 2:
        begun = first + case.ahead - evidence.AROUND
        told = case.heard[of.name] = await evidence.hear(case.stripe, of, begun)
        case.ahead = case.stripe.clock.now() - case.now
    return told


def has(of: writes.Object, sent: Mapping[str, Any], live: compare.Live) -> bool:
    """Does an object show all that a request says? What a response does not show is not taken for granted."""
    for path, value in leaves(sent):
        field = of.field(path)
        if field is None:
            return False
        there = compare.shown(of, live, path)
        if isinstance(there, compare.Seen) or not compare.same(field, value, there):
            return False
    return True


def leaves(sent: Mapping[str, Any], above: str = "") -> list[tuple[str, str | None]]:
    """The fields of a request by their dotted path, as text; lists whole."""
    found: list[tuple[str, str | None]] = []
    for name, value in sent.items():
        path = f"{above}{name}"
        if isinstance(value, Mapping) and value:
            found += leaves(value, f"{path}.")
        else:
            found.append((path, compare.text(value)))
    return found


async def _done(case: _Case, operation: operations.Operation, live: evidence.Found) -> Decision:
    after = sending.picked(forms.decode(operation.body.encode()), live)
    target = operation.target or str(live["id"])
    await case.record(ledger.acknowledge, [operations.Done(operation.id, target, after=after or None)])
    return Decision(operation, "done", "Stripe had done it.", target)


async def _said(case: _Case, operation: operations.Operation) -> bool:
    """Has a person decided what nobody else can tell? The plan then does as is said in the hold."""
    hold = await asyncio.to_thread(holds.find, case.held.store, operation.push, operation.key)
    return hold is not None and (hold.kind, hold.state) == ("unknown", "chosen")


async def _void(case: _Case, operation: operations.Operation, why: str) -> Decision:
    if operation.status == "unknown":
        # Before the operation ends: no row may be held for what is decided.
        await case.record(holds.close, [operation.key], why)
    await case.record(ledger.void, [operation.id], why)
    return Decision(operation, "void", why)


async def _unknown(case: _Case, operation: operations.Operation, doubt: str) -> Decision:
    why = (
        f"Nobody can tell whether Stripe did {operation.id} of {operation.push}, since {doubt}; look for it in "
        f"Stripe's dashboard, and decide in `tidegate inbox {operation.push}`. It is not sent again."
    )
    await case.record(ledger.unknown, [operation.id], why)
    hold = holds.Opening(
        operation.key, "unknown", why, operation.hash, operation.version, operation=operation.id
    )
    await case.record(holds.open, [hold])
    return Decision(operation, "unknown", why)


def _early(operation: operations.Operation) -> Decision:
    return Decision(
        operation,
        "waiting",
        f"It is too early to say whether Stripe did {operation.id}; a later run decides.",
    )


def _first(found: Sequence[operations.Operation]) -> dict[str, float]:
    first: dict[str, float] = {}
    for each in found:
        of = writes.find(each.object)
        if of is not None:
            first[of.name] = min(_sent(each)[0], first.get(of.name, math.inf))
    return first


def _sent(operation: operations.Operation) -> tuple[float, float]:
    """When it was first and last sent."""
    first = operation.first_sent_at or operation.created_at
    return first, max(first, operation.last_sent_at or first)


def _since(case: _Case, operation: operations.Operation) -> float:
    """Seconds since the last attempt."""
    return case.now - _sent(operation)[1]
