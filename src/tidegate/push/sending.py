"""One operation from its intent to its outcome: noted as sent, sent, understood, acknowledged.

    intent -> sending (again before every attempt) -> POST, watched at every socket write -> what Stripe says
      2xx                                   done: link and row acknowledged with it, in one transaction
      400, 402                              quarantined, with parameter, code and the request's address
      400 resource_already_exists           linked to what is there; the next plan compares the row with it
      404 of the object itself              its link becomes a tombstone, the row is held
      401, a disconnected account           the run stops
      403, a product that is not enabled    nothing more of this kind of object
      409, 429, 5xx, no answer              the same key and bytes again, with patience; then planned anew where
                                            surely nothing happened, else undecided, for the next run's recovery
      a replayed 500                        unknown at once, for recovery to look: it would be the same for ever
      idempotency_error                     the run stops: Stripe has this key with another request

Killed anywhere, the ledger says what may have been sent, and `recover` goes on from there.
"""

from __future__ import annotations

import asyncio
import functools
import re
import urllib.parse
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from tidegate import errors
from tidegate.catalog import writes as catalog
from tidegate.push import forms, lease, steps, together, verdicts
from tidegate.store import fences, holds, ledger, links, operations
from tidegate.stripe import client, writes

Kind = Literal["done", "adopted", "quarantined", "gone", "again", "undecided", "unknown", "left"]
"""`again`: surely nothing happened, it is planned anew. `left`: nothing was sent, the operation is as it was."""

GONE_SHARE, GONE_LEAST = 0.05, 20
"""Beyond this share of 404s among so many answers at least, it is the wrong account."""
ID = re.compile(r"[a-z]{2,12}_\w+")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an operation; `sentence` is for people and has no personal data."""

    kind: Kind
    sentence: str = ""
    target: str = ""
    """The object: made, written, or found there already."""
    request_id: str = ""
    replayed: bool = False
    shared: bool = False
    """Done, but the object turned out to be another row's, which is held."""
    requests: int = 0


class Breaker:
    """Ends a run that goes wrong as a whole; what it stopped for is said once and for all."""

    def __init__(self) -> None:
        self.stopped = ""
        self.forbidden: dict[str, str] = {}
        """Kinds of objects of which nothing more is sent, and why."""
        self._answers = self._gone = 0

    def stop(self, sentence: str) -> None:
        """Send nothing more in this run."""
        self.stopped = self.stopped or sentence

    def answered(self, push: str, *, gone: bool) -> None:
        """Count an answer; too many objects that are not there stop the run."""
        self._answers += 1
        self._gone += gone
        if self._answers >= GONE_LEAST and self._gone > GONE_SHARE * self._answers:
            self.stop(
                f"{push} stops: {self._gone} of {self._answers} objects are not there, so this is the wrong "
                "account, or the wrong mode; check the key before it runs again."
            )

    def check(self) -> None:
        """Raises StoppedRun when nothing may be sent any more."""
        if self.stopped:
            raise StoppedRun(self.stopped)


class StoppedRun(errors.TidegateError):
    """Something that concerns all operations of a run stopped it."""


class Sender:
    """Sends operations of one push to one account; many tasks of an event loop may use it.

    A row that Stripe refused is tried again, each time after longer, until it was so many `times`.
    """

    def __init__(
        self, stripe: client.Client, held: lease.Lease, breaker: Breaker | None = None, *, times: int = 1
    ) -> None:
        self._stripe, self._lease, self._times = stripe, held, times
        self.breaker = breaker or Breaker()
        self._open: set[str] = set()
        """Operations that may have been sent, and have not come to an end."""
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._sent = together.Together(functools.partial(ledger.sending_all, held.store, held.fence))
        self._done = together.Together(self._acknowledged)

    async def send(self, operation: operations.Operation) -> Outcome:
        """Send an operation that has its intent, one at a time for each object, and note what became of it.

        Raises StoreError where the ledger refuses or cannot be had; then it is undecided, if anything was sent.
        """
        name = _object(operation)
        if not name:
            return await self._send(operation)
        turn = self._turns.get(name)
        if turn is None:
            turn = self._turns[name] = asyncio.Lock()
        async with turn:
            return await self._send(operation)

    async def _send(self, operation: operations.Operation) -> Outcome:
        forbidden = self.breaker.forbidden.get(operation.object)
        if self.breaker.stopped or forbidden:
            return Outcome("left", self.breaker.stopped or forbidden or "")
        age: lease.Age | None = None

        async def attempting() -> None:
            nonlocal age
            self.breaker.check()
            since = self._lease.clocks.since()
            seconds = await self._sent.do(operation.id)
            if isinstance(seconds, operations.TooOld):
                raise seconds
            age = lease.Age(operation.id, seconds, since)
            steps.reached("noted as sent")

        def before() -> None:
            assert age is not None, "An attempt is announced before it is checked."
            steps.reached("before the socket write")
            self._lease.mine()
            age.young()
            self.breaker.check()

        earlier: writes.Effect = (
            "maybe" if operation.status != "intent" or operation.id in self._open else "none"
        )
        self._open.add(operation.id)
        found = await self._stripe.send(
            written(operation), before=before, attempting=attempting, earlier=earlier
        )
        steps.reached("answered")
        if isinstance(found, writes.Reply):
            self.breaker.answered(operation.push, gone=False)
            return await self._acknowledge(operation, found)
        if found.stopped:
            return await self._halted(operation, found)
        if 400 <= found.status < 500 and found.status not in (401, 409, 429):
            self.breaker.answered(operation.push, gone=found.status == 404)
        return await self._settle(operation, found)

    async def _acknowledge(self, operation: operations.Operation, reply: writes.Reply) -> Outcome:
        made = done(operation, reply.body, response=reply.status, request_id=reply.request_id)
        if made is None:
            said = (
                f"Stripe answered {operation.id} of {operation.push} with success, but not with an object"
                f"{f' ({reply.request_id})' if reply.request_id else ''}; the next run finds out."
            )
            return Outcome("undecided", said, request_id=reply.request_id, requests=reply.attempts)
        shared = await self._done.do(made)
        self._open.discard(operation.id)
        steps.reached("acknowledged")
        return Outcome(
            "done",
            target=made.target,
            request_id=reply.request_id,
            replayed=reply.replayed,
            shared=shared,
            requests=reply.attempts,
        )

    async def _halted(self, operation: operations.Operation, fault: writes.Fault) -> Outcome:
        """Our own check, or the ledger, stopped it; what was surely not sent by a run that ends is over."""
        if not isinstance(fault.error, errors.TidegateError):
            raise fault.error
        if isinstance(fault.error, fences.Outdated):
            self.breaker.stop(str(fault.error))
        elif not isinstance(fault.error, operations.TooOld | StoppedRun):
            raise fault.error
        kind: Kind = "left" if fault.effect == "none" else "undecided"
        if kind == "left" and isinstance(fault.error, StoppedRun):
            await self._record(ledger.void, [operation.id], "It was not sent: the run was stopped.")
        if kind == "left":
            self._open.discard(operation.id)
        return Outcome(kind, str(fault.error), requests=fault.attempts)

    async def _settle(self, operation: operations.Operation, fault: writes.Fault) -> Outcome:
        """Understand what Stripe, or the way to it, said instead of yes."""
        said = verdicts.sentence(operation, fault)
        kind = verdicts.verdict(operation, fault)
        if kind in ("stopped", "unknown"):
            self.breaker.stop(said)
        if kind == "forbidden":
            self.breaker.forbidden.setdefault(operation.object, said)
        match kind:
            case "deleted":
                gone = operations.Done(operation.id, operation.target, fault.status, fault.request_id)
                await self._record(ledger.acknowledge, [gone])
                outcome = Outcome("done", target=operation.target)
            case "adopted":
                outcome = await self._adopt(operation, fault, said)
            case "quarantined" | "gone":
                # Nobody waits for an object that was to be deleted, or retired.
                over = verdicts.deletes(operation) or operation.action == "retire"
                held = None if over else _hold(operation, fault, said, kind, self._times)
                refused = _refused(operation, fault, said, held, missing=kind == "gone")
                await self._record(ledger.refuse, [refused])
                outcome = Outcome(kind, said)
            case "unknown" | "replayed":
                await self._record(ledger.unknown, [operation.id], said)
                outcome = Outcome("unknown", said)
            case _ if fault.effect == "none":
                await self._record(ledger.void, [operation.id], said)
                outcome = Outcome("again", said)
            case _:
                outcome = Outcome("undecided", said)
        if outcome.kind != "undecided":
            self._open.discard(operation.id)
        steps.reached("settled")
        return Outcome(
            outcome.kind, outcome.sentence, outcome.target, fault.request_id, requests=fault.attempts
        )

    async def _adopt(self, operation: operations.Operation, fault: writes.Fault, said: str) -> Outcome:
        """Link a row to the object that has the id it chooses; killed in between, all of this is done again."""
        target = verdicts.existing(operation)
        await self._record(ledger.refuse, [_refused(operation, fault, said)])
        row = links.Link(
            operation.key,
            operation.account,
            operation.livemode,
            operation.object,
            target,
            operation=operation.id,
        )
        [linked] = await self._record(links.link, [row])
        if linked.state == "linked":
            return Outcome("adopted", said, target)
        said = (
            f"{target} belongs to another row of {operation.push} already; correct the key of one of them."
            if linked.state == "shared"
            else f"Somebody deleted the object of a row of {operation.push}, and {target} is another one; choose "
            f"one in `tidegate inbox {operation.push}`."
        )
        await self._record(holds.open, [_hold(operation, fault, said, linked.state)])
        return Outcome("quarantined", said)

    def _acknowledged(self, made: Sequence[operations.Done]) -> list[bool]:
        """Acknowledge some; says of each whether its object turned out to be another row's. Blocks."""
        shared = ledger.acknowledge(self._lease.store, self._lease.fence, made)
        return [each.id in shared for each in made]

    async def _record(self, work: Any, *what: Any) -> Any:
        steps.reached("to be noted")
        return await asyncio.to_thread(work, self._lease.store, self._lease.fence, *what)


def written(operation: operations.Operation) -> writes.Write:
    """The request of an operation, byte for byte."""
    return writes.Write(
        "DELETE" if verdicts.deletes(operation) else "POST",
        operation.path,
        operation.body.encode(),
        operation.api_version,
        operation.idempotency_key,
        endpoint(operation),
    )


def endpoint(operation: operations.Operation) -> str:
    """The template of its path, since an id that somebody chose may look like a word of the path."""
    of = catalog.find(operation.object)
    paths = {} if of is None else {str(name): each.path for name, each in of.operations.items()}
    if operation.action in ("clear", "flag", "replace", "retire"):
        wanted = "delete" if verdicts.deletes(operation) else "update" if operation.target else "create"
        return paths.get(wanted, "")
    return paths.get(operation.action, "")


def done(
    operation: operations.Operation, body: bytes, *, response: int = 200, request_id: str = ""
) -> operations.Done | None:
    """What is acknowledged of an object that Stripe answered with: its id, and what it has of what was written.

    None where that is no object.
    """
    try:
        made = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    # Meter events have no id; their identifier is what names them.
    target = operation.target or str(made.get("id") or made.get("identifier") or "")
    if not target:
        return None
    after = picked(forms.decode(operation.body.encode()), made)
    return operations.Done(operation.id, target, response, request_id, after or None)


def picked(sent: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """Those members of an object that a request names, lists whole."""
    found: dict[str, Any] = {}
    for name, value in sent.items():
        if name not in made:
            continue
        there = made[name]
        both = isinstance(value, Mapping) and isinstance(there, Mapping)
        found[name] = picked(value, there) if both else there
    return found


def _hold(
    operation: operations.Operation, fault: writes.Fault, said: str, why: str, times: int = 1
) -> holds.Opening:
    kinds: dict[str, holds.Kind] = {"gone": "gone", "shared": "shared"}
    return holds.Opening(
        operation.key,
        kinds.get(why, "refused"),
        said,
        operation.hash,
        operation.version,
        field=fault.param,
        code=fault.code,
        operation=operation.id,
        times=times if why == "quarantined" else 1,
    )


def _refused(
    operation: operations.Operation,
    fault: writes.Fault,
    said: str,
    hold: holds.Opening | None = None,
    *,
    missing: bool = False,
) -> operations.Refused:
    return operations.Refused(operation.id, said, fault.status, fault.request_id, hold, missing)


def _object(operation: operations.Operation) -> str:
    """What Stripe locks while it is at work: the object, or the one that it belongs to."""
    for part in operation.path.split("/")[3:]:
        if ID.fullmatch(part):
            return part
    return operation.target or str(dict(urllib.parse.parse_qsl(operation.body)).get("customer", ""))
