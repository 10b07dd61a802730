"""Plans that people approve: made in the background, kept, and done by a run, exactly as they were shown.

A plan is made by a thread of this process, which says again and again that it lives; where it is killed, a new
one is to be made. Approving queues a run of the push that names the plan. That run plans anew and does only those
writes that are the same still; killed anywhere, the run that comes after it does the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from tidegate import errors
from tidegate.engine import endings, preparing, pushes, pushing, recorder, undoing
from tidegate.engine import place as places
from tidegate.push import apply, plan
from tidegate.store import database, plans, records, runs, trail

log = logging.getLogger(__name__)

OLD = 3_600.0
"""Seconds after which a plan says that it is old."""


def make(
    place: places.Place, by: str, name: str, kind: plans.Kind, wish: Mapping[str, Any], *, via: str = ""
) -> plans.Plan:
    """Have a plan of a push made, or of an undo, in the background; says how it begins.

    `wish` is `{"repair": bool}`; of an undo `{"run": id or None, "keys": [...], "created": "leave"}`; of both with
    a `limit` of rows that are written. Raises ConfigError for a push that can never work, StoreConflict while a
    plan of it is being made or done.
    """
    still = place.still()
    preparing.job(still.file, name)
    plan_id = plans.new_id()
    if (there := plans.get(place.store, plan_id)) is not None:
        return there  # of a call that is made again, whose first answer was lost
    said = {"plan": plan_id, **({"undo": wish.get("run") or "rows"} if kind == "undo" else {})}
    if wish.get("limit") is not None:
        said["limit"] = wish["limit"]
    line = trail.Note(by, "plan", f"push:{name}", after=said, via=via)
    begun = plans.begin(place.store, plan_id, name, kind, wish, by, line)
    threading.Thread(target=_make, args=(still, begun), name=f"plan {name}", daemon=True).start()
    return begun


def options(found: plans.Plan) -> dict[str, Any]:
    """The options of the run that does a plan."""
    return {pushing.PLAN: found.id}


async def follow(
    place: places.Place, name: str, begun: runs.Run, record: recorder.Recorder, plan_id: str
) -> endings.Ending:
    """Do a plan that was approved, as a run of its push; one that is done already is not done again."""
    found = await asyncio.to_thread(plans.taken_up, place.store, plan_id, begun.id)
    if found is None or found.push != name:
        said = "The plan that it was to do is done already, or is not there any more; nothing was written."
        return endings.Ending("cancelled", said, leads=False)
    try:
        approved = await asyncio.to_thread(_approved, place.store, found)
        if found.kind == "push":  # what is written until then counts for the limit
            await pushing.alone(place, name, record.phase)
        limit = await asyncio.to_thread(_limit, place.store, found)
        if found.kind == "undo":
            ending = await _undone(place, found, begun, record, approved, limit)
        else:
            repair = bool(found.wish.get("repair"))
            wish = pushes.Wish(write=True, approve=True, approved=approved, limit=limit, repair=repair)
            ending = pushing.ended(record, await pushing.push(place, name, begun, record, wish))
    except errors.TidegateError as error:
        await asyncio.to_thread(plans.applied, place.store, found.id, str(error))
        raise
    await asyncio.to_thread(plans.applied, place.store, found.id, ending.error)
    return ending


async def _undone(
    place: places.Place,
    found: plans.Plan,
    begun: runs.Run,
    record: recorder.Recorder,
    approved: pushes.Approved,
    limit: int | None,
) -> endings.Ending:
    record.phase("undoing")
    rows = 0

    def wrote(tally: apply.Tally) -> None:
        nonlocal rows
        done = tally.updated + tally.removed + tally.equal + tally.held + tally.failed + tally.unknown
        record.advanced(str(found.body.get("object", "")), rows=done - rows)
        rows = done

    def planned(made: plan.Plan, _: pushes.Rows) -> bool:
        record.started(made.object, made.account)
        return True

    job = preparing.job(place.file, found.push, place.purse)
    wish = replace(_undo(found), write=True, approve=True, approved=approved, limit=limit)
    result = await undoing.run(
        job,
        place.store,
        place.folder,
        begun.id,
        wish,
        shown=record.phase,
        seen=planned,
        progress=wrote,
        listener=record.happened,
    )
    record.finished(result.made.object, "failed" if result.status == "failed" else "ok", "")
    return undoing.ended(record, result)


def _undo(found: plans.Plan) -> undoing.Wish:
    told = found.wish
    return undoing.Wish(told.get("run"), tuple(told.get("keys", ())), told.get("created", "leave"))


def _limit(store: database.Database, found: plans.Plan) -> int | None:
    """How many rows may still be written: those that a run wrote before it was killed count, too."""
    limit: int | None = found.wish.get("limit")
    if limit is None or found.approved_at is None:
        return limit
    return max(0, limit - records.written_since(store, found.push, found.approved_at))


def _approved(store: database.Database, found: plans.Plan) -> pushes.Approved:
    """The writes of a plan by key; raises StoreError where it is not whole."""
    entries = (plan.loaded(json.loads(each)) for each in plans.whole(store, found))
    return {each.key: each for each in entries if each.verdict in plan.WRITES}


def _make(place: places.Place, begun: plans.Plan) -> None:
    """Make a plan, and keep it or why it could not be made."""
    try:
        try:
            asyncio.run(_made(place, begun))
        except asyncio.CancelledError:
            plans.fail(place.store, begun.id, "It was stopped; make a new one.")
        except errors.TidegateError as error:
            plans.fail(place.store, begun.id, str(error))
        except Exception as error:
            log.error("A plan failed with an internal error.", exc_info=error)
            said = f"internal error: {type(error).__name__}; please report it"
            plans.fail(place.store, begun.id, said)
    except Exception as error:  # the metadata database is away, or closed with the process
        log.warning("How the plan of %s ended is not noted: %s.", begun.push, type(error).__name__)


async def _made(place: places.Place, begun: plans.Plan) -> None:
    phase = ["reading the model"]
    kept: list[str] = []

    def shown(text: str) -> None:
        phase[0] = text

    async def seen(_: plan.Plan, rows: pushes.Rows) -> bool:
        phase[0] = "keeping the plan"
        kept.append(await asyncio.to_thread(plans.add, place.store, begun.id, _texts(rows)))
        return True

    job = preparing.job(place.file, begun.push, place.purse)
    if begun.kind == "undo":
        doing = asyncio.create_task(
            _body_of_undo(
                undoing.run(job, place.store, place.folder, begun.id, _undo(begun), shown=shown, seen=seen)
            )
        )
    else:
        wish = pushes.Wish(repair=bool(begun.wish.get("repair")))
        doing = asyncio.create_task(
            _body(pushes.run(job, place.store, place.folder, begun.id, wish, shown=shown, seen=seen))
        )
    keeper = asyncio.create_task(_keep(place, begun, phase, doing))
    try:
        body = await doing
    finally:
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper
    if not await asyncio.to_thread(plans.keep, place.store, begun.id, body, kept[0]):
        await asyncio.to_thread(plans.prune, place.store)  # it was discarded meanwhile


async def _body(run: Any) -> dict[str, Any]:
    result: pushes.Result = await run
    return {**asdict(result.made), "undecided": result.undecided}


async def _body_of_undo(run: Any) -> dict[str, Any]:
    result: undoing.Result = await run
    told = {"rows": result.rows, "equal": result.equal, "left": result.left, "impossible": result.impossible}
    return {**asdict(result.made), "undo": told}


async def _keep(
    place: places.Place, begun: plans.Plan, phase: list[str], doing: asyncio.Task[dict[str, Any]]
) -> None:
    """Say that the plan is being made, and end that when it is not wanted any more."""
    while True:
        await asyncio.sleep(places.BEAT)
        wanted = True
        with contextlib.suppress(errors.StoreError):
            wanted = await asyncio.to_thread(plans.beat, place.store, begun.id, phase[0])
        if place.stopping.is_set() or not wanted:
            doing.cancel()
            return


def _texts(rows: pushes.Rows) -> Iterator[tuple[str, str, str]]:
    for each in rows():
        text = json.dumps(plan.dumped(each), ensure_ascii=False, separators=(",", ":"))
        yield each.verdict, each.key, text
