"""A plan done: every write looked at once more, committed to the ledger, sent, and acknowledged.

    entry --look again--> still so? --intent, fsync--> ledger --send--> Stripe --acknowledge--> row, link, state

Nothing is sent that the plan does not have. Where Stripe has changed since, the row is left for the next plan. Rows
go side by side, so that the endpoint's rate is what limits them; intents that come together share a commit.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tidegate import errors
from tidegate.push import diff, intents, lease, plan, replacing, sending, steps, together, undo
from tidegate.store import holds, ledger, links, operations, pushed
from tidegate.stripe import client

ABREAST = 64
"""Rows under way at a time."""

log = logging.getLogger(__name__)

Progress = Callable[["Tally"], object]


@dataclass(slots=True)
class Tally:
    """What became of the writes of a plan, and what it took."""

    created: int = 0
    updated: int = 0
    removed: int = 0
    equal: int = 0
    """Stripe had it already when it was looked at once more."""
    held: int = 0
    quarantined: int = 0
    failed: int = 0
    """Surely not done; planned again the next time."""
    unknown: int = 0
    left: int = 0
    """Not begun: beyond a limit, or the run was stopped before."""
    not_removed: int = 0
    """Objects whose rows are gone, and to which that did not happen; the others count rows."""
    not_begun: int = 0
    """Such objects of which it was not begun, as rows are `left`."""
    requests: int = 0
    why: dict[str, int] = field(default_factory=lambda: collections.defaultdict(int))
    """Sentences about rows that were not written, and how often."""


class Applier:
    """Does the writes of one run; used on one event loop."""

    def __init__(
        self, work: intents.Work, stripe: client.Client, held: lease.Lease, sender: sending.Sender
    ) -> None:
        self._work, self._stripe, self._lease, self._sender = work, stripe, held, sender
        self._begun = together.Together(self._begin)
        self.tally = Tally()

    async def apply(
        self,
        entries: Iterable[plan.Entry],
        limit: int | None = None,
        progress: Progress | None = None,
        unfinished: Iterable[operations.Operation] = (),
    ) -> Tally:
        """Do these; `limit` is how many at most. Raises StoreError, and what ends everything.

        What `replacing.unfinished` replacements of earlier runs left to do comes first.
        """
        room = asyncio.Semaphore(ABREAST)
        begun = 0
        try:
            async with asyncio.TaskGroup() as group:
                for replaced in unfinished:
                    await self._follow(replaced)
                for entry in entries:
                    if self._sender.breaker.stopped or (limit is not None and begun >= limit):
                        self._missed(entry, "left")
                        continue
                    begun += 1
                    await room.acquire()
                    task = group.create_task(self._one(entry))
                    task.add_done_callback(lambda _: room.release())
                    if progress is not None:
                        progress(self.tally)
        except* errors.TidegateError as failures:
            raise _first(failures) from None
        return self.tally

    async def _one(self, entry: plan.Entry) -> None:
        """One row from the plan to what became of it."""
        try:
            seen = await intents.look(self._work, self._stripe, entry)
        except errors.Unauthorized as error:
            self._sender.breaker.stop(str(error))
            self._missed(entry, "left")
            return
        except (errors.StripeError, errors.BadPage, errors.Unreachable, errors.RateLimited) as error:
            self._say(entry, "failed", f"It could not be looked at once more: {error}")
            return
        steps.reached("looked once more")
        self.tally.requests += seen.requests
        match seen.what:
            case "held":
                self._say(entry, "held", seen.sentence)
            case "gone":
                await self._gone(entry, seen.sentence)
            case "equal":
                await self._equal(entry)
            case "intent":
                assert seen.intent is not None, "It says what is to be sent."
                await self._send(entry, seen.intent)

    async def _send(self, entry: plan.Entry, intent: operations.Intent) -> None:
        """Commit an intent, with others that come at the same time, and send it."""
        outcome, operation = await self._begun.do(intent)
        if operation is None:
            await self._hindered(entry, outcome)
            return
        steps.reached("intent committed")
        became = await self._sender.send(operation)
        self._count(entry, became)
        if entry.action == "replace" and became.kind == "done" and not became.shared:
            replaced = await asyncio.to_thread(operations.find, self._lease.store, intent.id)
            assert replaced is not None, "It was just done."
            await self._follow(replaced)

    async def _follow(self, replaced: operations.Operation) -> None:
        """Retire what was replaced; what cannot be done now is left to the next run."""
        said = ""
        for _ in range(replacing.MOST):
            if self._sender.breaker.stopped:
                said = self._sender.breaker.stopped
                break
            try:
                intent = await replacing.following(self._work, self._stripe, replaced)
            except (errors.StripeError, errors.BadPage, errors.Unreachable, errors.RateLimited) as error:
                said = str(error)
                break
            begun, operation = await self._begun.do(intent)
            if operation is None:
                said = f"another operation on {begun.target or intent.target} is under way."
                break
            steps.reached("intent committed")
            outcome = await self._sender.send(operation)
            self.tally.requests += outcome.requests + 1
            if outcome.kind != "done":
                said = outcome.sentence
                break
            if replacing.retires(self._work, intent):
                return
        self.tally.not_removed += 1
        self.tally.why[
            f"{replaced.before and replaced.before['id']} was replaced, and is still there: {said}"
        ] += 1

    def _count(self, entry: plan.Entry, outcome: sending.Outcome) -> None:
        self.tally.requests += outcome.requests
        match outcome.kind:
            case "done" if outcome.shared:
                self._say(entry, "held", "Its object turned out to be another row's.")
            case "done" if entry.verdict == "create":
                self.tally.created += 1
            case "done" if entry.verdict == "remove":
                self.tally.removed += 1
            case "done":
                self.tally.updated += 1
            case "quarantined":
                self._say(entry, "quarantined", outcome.sentence)
            case "gone" | "adopted":
                self._say(entry, "held", outcome.sentence)
            case "undecided" | "unknown":
                self._say(entry, "unknown", outcome.sentence)
            case "left":
                self._say(entry, "left", outcome.sentence)
            case _:
                self._say(entry, "failed", outcome.sentence)

    def _say(self, entry: plan.Entry, what: str, sentence: str) -> None:
        self._missed(entry, what)
        self.tally.why[sentence] += 1

    def _missed(self, entry: plan.Entry, what: str) -> None:
        """Count a row that was not written; an object whose row is gone has none to count."""
        counter = what
        if entry.verdict == "remove":
            counter = "not_begun" if what == "left" else "not_removed"
        setattr(self.tally, counter, getattr(self.tally, counter) + 1)

    async def _gone(self, entry: plan.Entry, said: str) -> None:
        """Its object is not there any more: it is not made again."""
        if entry.verdict == "remove":
            await self._record(links.unlink, [entry.key])
            self.tally.removed += 1
            return
        await self._record(links.link, [intents.link(self._work, entry)])
        await self._record(links.unlink, [entry.key])
        opening = holds.Opening(entry.key, "gone", said, entry.hash, self._work.version)
        await self._record(holds.open, [opening])
        self._sender.breaker.answered(self._lease.fence.push, gone=True)
        self._say(entry, "held", said)

    async def _equal(self, entry: plan.Entry) -> None:
        """Stripe has all of it by now; that is acknowledged, but for an undo, which the row knows nothing of."""
        if entry.action == undo.ACTION:
            self.tally.equal += 1
            return
        if entry.verdict == "remove":
            await self._record(pushed.forget, [entry.key])
            self.tally.removed += 1
            return
        mine, chosen = [intents.link(self._work, entry)], entry.key in self._work.chosen
        [linked] = await self._record(functools.partial(links.link, chosen=chosen), mine)
        if linked.state != "linked":
            self._say(
                entry, "held", "Its object is another row's, or is gone, by now; the next plan says which."
            )
            return
        row = {"key": [entry.key], "hash": [entry.hash], "fields": [json.dumps(dict(entry.fields))]}
        batch = pa.RecordBatch.from_pydict(row, diff.ACKNOWLEDGED)
        await self._record(pushed.replace_many, self._work.version, [batch])
        self.tally.equal += 1

    async def _hindered(self, entry: plan.Entry, outcome: operations.Outcome) -> None:
        """An intent that could not be begun: somebody else is at it."""
        kinds: dict[str, tuple[holds.Kind, str]] = {
            "claimed": (
                "claimed",
                f"Another row of {outcome.push or 'a push'} creates the same object, or has.",
            ),
            "shared": ("shared", f"{entry.target} belongs to another row already."),
            "gone": ("gone", f"{outcome.target} was deleted at Stripe; it is not made again."),
        }
        if outcome.state in kinds:
            kind, said = kinds[outcome.state]
            opening = holds.Opening(entry.key, kind, said, entry.hash, self._work.version)
            await self._record(holds.open, [opening])
            self._say(entry, "held", said)
        elif outcome.state == "busy" and (outcome.push, outcome.key) == (self._lease.fence.push, entry.key):
            said = f"What became of its {outcome.operation} is not known yet; it waits until that is."
            self._say(entry, "unknown", said)
        elif outcome.state == "linked":
            self._say(entry, "held", "It has an object by now; the next plan compares it with that.")
        else:
            self._say(
                entry, "failed", "It, or its object, is being written by another run; the next plan has it."
            )

    async def _record(self, work: Any, *what: Any) -> Any:
        steps.reached("to be recorded")
        return await asyncio.to_thread(work, self._lease.store, self._lease.fence, *what)

    def _begin(
        self, wanted: Sequence[operations.Intent]
    ) -> list[tuple[operations.Outcome, operations.Operation | None]]:
        """Commit some intents; what is begun comes with its operation. Blocks."""
        store, fence = self._lease.store, self._lease.fence
        outcomes = ledger.begin(store, fence, wanted)
        ids = [each.id for each in outcomes if each.state == "begun"]
        there = store.transact(lambda session: operations.some(session, fence.push, ids)) if ids else []
        begun = {each.id: each for each in there}
        assert len(begun) == len(ids), "They were just committed."
        return [(each, begun.get(each.id)) for each in outcomes]


def _first(failures: BaseExceptionGroup[errors.TidegateError]) -> errors.TidegateError:
    error = failures.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
