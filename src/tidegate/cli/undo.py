"""`tidegate undo`: what a run of a push wrote, put back; planned, shown and asked like a push."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import sys
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate import errors
from tidegate.cli import connect, meters, noting, output, pushing, signals
from tidegate.engine import place as places
from tidegate.engine import preparing, pushes, recorder, undoing
from tidegate.engine import pushing as engine
from tidegate.push import plan as plans
from tidegate.push import undo as undos
from tidegate.store import database, records, runs
from tidegate.views import push_plans, push_words

STOPPED = "what was put back is noted, and the same command goes on from there"
SHOWN = 20
"""Rows that are shown of each kind."""
TITLES: Mapping[plans.Verdict, str] = {
    "update": "To put back",
    "remove": "Created, and to archive or delete",
    "held": "Changed since, and left",
    "unmatched": "Cannot be undone",
    "over": "Created, and left",
    "equal": "As before already",
}


def undo(
    push: str | None = None,
    run: str | None = None,
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    key: Sequence[str] = (),
    created: undos.Created = "leave",
    out: Path | None = None,
    dry_run: bool = False,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"])] = False,
    approve: bool = False,
    limit: int | None = None,
    json: bool = False,
) -> int:
    """Put back what a run of a push wrote: plan, ask, do it once.

    Fields get the values that they had before, where nobody has changed them since.
    The rows are then held, until they change or `tidegate inbox --retry` says so.
    Without a run, the runs that wrote something are listed.

    Parameters
    ----------
    push
        A push of the configuration.
    run
        A run of it, the beginning of its id, or `last`.
    config_file
        The configuration; tidegate.yaml by default.
    key
        Only this row; may be given several times. Without a run, what the last run that
        wrote it did to it.
    created
        What becomes of objects that the run created: leave, archive or delete.
    out
        A file for the whole plan.
    dry_run
        Show what would be put back, and write nothing.
    yes
        Do not ask.
    approve
        Delete, though a guard says that a person should look first.
    limit
        Write so many rows at most.
    json
        Print a JSON object, last on stdout.
    """
    if limit is not None and limit < 1:
        raise errors.ConfigError("--limit is how many rows are written at most; give 1 or more")
    push = pushing.named(push, config_file)
    file = connect.configuration(config_file)
    preparing.job(file, push)  # what can never work is said before anything is begun
    with noting.placed(file, config_file) as place:
        if run is None and not key:
            return _list(place.store, push, as_json=json)
        if not (yes or dry_run or sys.stdin.isatty()):
            raise errors.ConfigError("nobody can be asked here; look with --dry-run, then give --yes")
        found = None if run is None else push_plans.written(place.store, push, run)

        def seen(made: plans.Plan, rows: pushes.Rows) -> bool | Awaitable[bool]:
            if out is not None:
                push_plans.save(out, made, rows)
            if not json:
                _show(made, rows, wish)
            writes = made.counts.updated + made.counts.removed
            if yes or dry_run or not writes or (made.guards and not approve):
                return True
            return pushing.asked("Put this back at Stripe? [y/N] ")

        wish = undoing.Wish(found, tuple(key), created, not dry_run, approve, limit)
        asking = pushing.Asking(seen)
        try:
            result = asyncio.run(signals.until_stopped(_perform(place, push, wish, asking)))
        except errors.StoreConflict as error:
            output.say(str(error))
            return pushing.BUSY
        except (asyncio.CancelledError, KeyboardInterrupt):
            stopped = STOPPED if wish.write and not asking.asks else pushing.UNWRITTEN
            raise KeyboardInterrupt(stopped) from None
    if json:
        output.print_json(result.document())
    else:
        _tell(push, result, wish)
    return {"ok": 0, "partial": 3, "failed": 1, "held": 3}[result.status]


async def _perform(place: places.Place, push: str, wish: undoing.Wish, seen: pushes.Seen) -> undoing.Result:
    """Do it as a run of the push's flow, or only look."""
    job = preparing.job(place.file, push, place.purse)
    if not wish.write:
        return await undoing.run(
            job, place.store, place.folder, runs.new_id(), wish, shown=output.say, seen=seen
        )
    options = {engine.BY_HAND: True, "undo": wish.run or list(wish.keys)}
    begun = await noting.take(place, f"push:{push}", options)

    async def doing(record: recorder.Recorder) -> undoing.Result:
        record.phase("undoing")
        with meters.Meter(limit=wish.limit) as meter:

            def planned(made: plans.Plan, rows: pushes.Rows) -> bool | Awaitable[bool]:
                meter.planned(made)
                return seen(made, rows)

            return await undoing.run(
                job,
                place.store,
                place.folder,
                begun.id,
                wish,
                shown=meter.phase,
                seen=planned,
                progress=meter.wrote,
                listener=record.happened,
            )

    return await noting.performed(place, begun, doing, undoing.ended)


def _list(store: database.Database, push: str, *, as_json: bool) -> int:
    found = records.runs(store, push)
    if as_json:
        listed = [{"run_id": each.run, "at": each.at, **each.actions} for each in found]
        output.print_json({"push": push, "runs": listed})
        return 0
    if not found:
        output.say(f"{push} has written nothing that the metadata database still has")
        return 0
    table = output.table("run", "when (UTC)", "what it did")
    for each in found:
        when = f"{dt.datetime.fromtimestamp(each.at, dt.UTC):%Y-%m-%d %H:%M:%S}"
        table.add_row(each.run, when, ", ".join(f"{n:,} {what}" for what, n in sorted(each.actions.items())))
    output.console().print(table)
    output.say(f"`tidegate undo {push} RUN --dry-run` shows what undoing one of them would do")
    return 0


def _show(made: plans.Plan, rows: pushes.Rows, wish: undoing.Wish) -> None:
    """The way back on the screen: the first rows of each kind, before and after."""
    screen = output.console()
    mode = "live mode" if made.livemode else "test mode"
    screen.print(f"{made.push}: what was written to {made.object} of {made.account}, {mode}")
    for verdict, title in TITLES.items():
        some = rows(verdict)
        shown = list(itertools.islice(some, SHOWN))
        if not shown:
            continue
        headings = pushing.WRITTEN if verdict in plans.WRITES else ("row", "object", "why")
        table = output.table(*headings, title=title)
        for each in shown:
            if verdict not in plans.WRITES:
                table.add_row(each.key, each.target, each.text)
                continue
            for line in pushing.lines(each):
                table.add_row(*line)
        screen.print(table)
        if left := sum(1 for _ in some):
            screen.print(f"... and {left:,} more; --out FILE writes them down")
    pushing.guarded(made, wish.approve)
    output.say(push_words.effort(made, wish.limit))


def _tell(push: str, result: undoing.Result, wish: undoing.Wish) -> None:
    for sentence, times in sorted(result.why.items(), key=lambda pair: -pair[1])[:10]:
        output.say(sentence if times == 1 else f"{sentence} ({times:,} rows)")
    if result.error:
        output.say(result.error)
    if not wish.write or result.status == "held":
        output.say(pushing.unwritten(result.made, wish.approve or not wish.write))
        return
    figures = {
        "put back": result.restored,
        "archived or deleted": result.removed,
        "as before already": result.equal,
        "left": result.left,
        "changed since": result.held,
        "that cannot be undone": result.impossible,
        "failed": result.failed,
        "unknown": result.unknown,
    }
    output.say(f"{push}: {push_words.summed(figures, result.requests)}.")
    if result.restored or result.removed:
        output.say(
            f"These rows are held until they change; `tidegate inbox {push} KEY --retry` writes one again."
        )
