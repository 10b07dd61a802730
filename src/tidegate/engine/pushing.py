"""A push as a run of its flow: what it may do without being asked, and what it tells of itself.

The engine writes whatever no guard holds, and never approves anything. What a person began by hand, and did not
end, is not gone on with in their place: what it left open is decided, and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Protocol

from tidegate.engine import endings, flows, preparing, pushes, recorder
from tidegate.engine import place as places
from tidegate.push import apply, lease, plan
from tidegate.store import fences, runs

BY_HAND = "by_hand"
"""The option of a run that a person does from the command line."""
PLAN = "plan"
"""The option of a run that does a plan which a person approved: the plan's id."""
SAID = 20
"""Reasons for which rows were not written that a run's log names."""
LOOKED = 0.5
"""Seconds between two looks whether a dead process' time to write has run out."""


class Screen(Protocol):
    """Whoever watches a push; called often, from the event loop; must not block."""

    def phase(self, text: str) -> None:
        """What is being done now."""

    def planned(self, made: plan.Plan) -> None:
        """What is to be written is known."""

    def wrote(self, tally: apply.Tally) -> None:
        """So much of it is done."""


async def follow(
    place: places.Place, flow: flows.Flow, begun: runs.Run, record: recorder.Recorder
) -> endings.Ending:
    """Do a run of a push that a schedule, another flow, a program or a person asked for."""
    if isinstance(approved := begun.options.get(PLAN), str):
        from tidegate.engine import approvals

        return await approvals.follow(place, flow.own, begun, record, approved)
    abandoned = bool(begun.options.get(BY_HAND)) and flow.schedule == "manual"
    limit = begun.options.get("limit")
    wish = pushes.Wish(write=not abandoned, limit=limit if isinstance(limit, int) else None)
    result = await push(place, flow.own, begun, record, wish)
    return ended(record, result, asked=wish.write)


async def push(
    place: places.Place,
    name: str,
    begun: runs.Run,
    record: recorder.Recorder,
    wish: pushes.Wish,
    *,
    screen: Screen | None = None,
    seen: pushes.Seen = lambda _, __: True,
) -> pushes.Result:
    """Do a run of a push, and tell of it; raises what `engine.pushes.run` does."""
    job = preparing.job(place.file, name, place.purse)
    told = _Told(record, screen, wish)
    await alone(place, name, told.phase)

    def planned(made: plan.Plan, rows: pushes.Rows) -> bool | Awaitable[bool]:
        told.planned(made)
        return seen(made, rows)

    return await pushes.run(
        job,
        place.store,
        place.folder,
        begun.id,
        wish,
        shown=told.phase,
        seen=planned,
        progress=told.wrote,
        listener=record.happened,
    )


def ended(record: recorder.Recorder, result: pushes.Result, *, asked: bool = True) -> endings.Ending:
    """How the run of a push ended that came to its end, told to its record as well."""
    for sentence, times in sorted(result.why.items(), key=lambda each: -each[1])[:SAID]:
        record.say(sentence if times == 1 else f"{sentence} ({times:,} rows)", level="warning")
    if len(result.why) > SAID:
        record.say(
            f"{len(result.why) - SAID:,} other reasons; `tidegate inbox {result.made.push}` lists rows."
        )
    if result.recovered:
        record.say(f"{result.recovered:,} operations of earlier runs were decided.")
    if result.undecided:
        record.say(f"{result.undecided:,} operations of earlier runs are undecided still.", level="warning")
    status = "failed" if result.status == "failed" else "ok" if result.status == "ok" else "partial"
    record.finished(result.made.object, status, "")
    found = table(result, written=asked and result.status != "held")
    record.pushed(found)
    return endings.of_push(result, found, asked=asked)


def table(result: pushes.Result, *, written: bool) -> dict[str, Any]:
    """What a push came to, as a row of its run's report; of one that was only planned nothing is `written`."""
    counts, left = replace(result.counts, held=result.counts.held - result.left), result.left
    if not written:
        left += counts.created + counts.updated
        counts = replace(counts, created=0, updated=0, removed=0)
    told = {"failed": result.failed, "unknown": result.unknown, "left": left, "requests": result.requests}
    return _row(result.made, counts, told, result.status, _trouble(result))


def _trouble(result: pushes.Result) -> str:
    """Why not all is well; nothing where it is."""
    if result.error or result.status == "ok" or not result.why:
        return result.error
    figures = {"failed": result.failed, "unknown": result.unknown}
    parts = ", ".join(f"{number:,} {what}" for what, number in figures.items() if number)
    others = len(result.why) - 1
    more = f" (and {others:,} other {'reason' if others == 1 else 'reasons'})" if others else ""
    first = max(result.why, key=lambda sentence: result.why[sentence])
    return f"Not every row was written{f' ({parts})' if parts else ''}: {first}{more}"


def _so_far(made: plan.Plan, tally: apply.Tally) -> dict[str, Any]:
    """A plan that is being done, as a row of its run's report; rows that are not written yet are `left`."""
    done = _ended(tally)
    left = made.counts.created + made.counts.updated - done
    told = {"failed": tally.failed, "unknown": tally.unknown, "left": left, "requests": tally.requests}
    counts = pushes.counted(made.counts, tally)
    return _row(made, counts, told, "partial", "It was stopped before its end.")


def _row(
    made: plan.Plan, counts: plan.Counts, told: Mapping[str, int], status: str, error: str
) -> dict[str, Any]:
    head = {"stream": made.object, "account": made.account, "status": status}
    return {**head, **asdict(counts), **told, "error": error}


def _ended(tally: apply.Tally) -> int:
    """Rows that were to be written and of which it is known how that ended."""
    well = tally.created + tally.updated + tally.equal
    return well + tally.held + tally.quarantined + tally.failed + tally.unknown


class _Told:
    """What a push tells its run's record, and a screen where there is one; used on one event loop."""

    def __init__(self, record: recorder.Recorder, screen: Screen | None, wish: pushes.Wish) -> None:
        self._record, self._screen, self._wish = record, screen, wish
        self._made: plan.Plan | None = None
        self._rows = self._requests = 0

    def phase(self, text: str) -> None:
        """What is being done now."""
        self._record.phase(text)
        self._record.note(text)
        if self._screen is not None:
            self._screen.phase(text)

    def planned(self, made: plan.Plan) -> None:
        """What is to be written is known."""
        self._made = made
        figures = asdict(made.counts)
        parts = ", ".join(f"{figures[name]:,} {what}" for name, what in _PLANNED.items() if figures[name])
        self._record.note(f"{made.counts.source:,} rows of the model: {parts or 'nothing to do'}")
        for guard in made.guards:
            how = "approved by --approve" if self._wish.approve else "waits for approval"
            if self._wish.approved is not None:
                how = "approved with the plan"
            self._record.say(f"{how}: {guard}", level="warning")
        self._record.started(made.object, made.account)
        self._record.advanced(made.object, estimate=_writes(made))
        self._record.phase("writing")
        if self._screen is not None:
            self._screen.planned(made)

    def wrote(self, tally: apply.Tally) -> None:
        """So much of it is done."""
        assert self._made is not None, "A plan is made before it is done."
        rows = _ended(tally) + tally.removed + tally.not_removed
        more = {"rows": rows - self._rows, "requests": tally.requests - self._requests}
        self._rows, self._requests = rows, tally.requests
        self._record.advanced(self._made.object, estimate=_writes(self._made) - rows, **more)
        self._record.pushed(_so_far(self._made, tally))
        if self._screen is not None:
            self._screen.wrote(tally)


_PLANNED: Mapping[str, str] = {
    "created": "to create",
    "updated": "to update",
    "removed": "whose rows are gone",
    "unchanged": "unchanged",
    "filtered": "filtered out",
    "unmatched": "unmatched",
    "held": "held",
    "quarantined": "in quarantine",
    "invalid": "invalid",
}


def _writes(made: plan.Plan) -> int:
    return made.counts.created + made.counts.updated + made.counts.removed


async def alone(place: places.Place, name: str, phase: Callable[[str], object]) -> None:
    """Wait until the time has run out for which a process could write that is gone: its run has ended."""
    said = False
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2 * lease.SECONDS):
            while await asyncio.to_thread(fences.holder, place.store, name):
                if not said:
                    phase("waiting until another process may write no more")
                said = True
                await asyncio.sleep(LOOKED)
