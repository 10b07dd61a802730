"""`tidegate push --rehearse`: a push tried out in a sandbox or with a test key, and what would be refused."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable
from pathlib import Path

from tidegate import config, errors
from tidegate.cli import connect, meters, noting, output, pushing, signals
from tidegate.engine import preparing, pushes, rehearsals
from tidegate.push import plan as plans
from tidegate.store import database, runs
from tidegate.views import push_words

TITLE = "What would not have been written"


def rehearse(
    push: str,
    config_file: Path | None,
    *,
    connection: str | None,
    limit: int | None,
    yes: bool,
    as_json: bool,
) -> int:
    """Do the push there; the exit code is that of the push."""
    if connection is not None and not (yes or sys.stdin.isatty()):
        raise errors.ConfigError(f"nobody can be asked here; give --yes to write into {connection}")
    file = connect.configuration(config_file)
    job = preparing.job(file, push)

    def seen(found: plans.Plan, rows: pushes.Rows) -> bool | Awaitable[bool]:
        if not as_json:
            pushing.show(found, rows)
            output.say(push_words.effort(found, limit))
        if connection is None or yes:
            return True
        return pushing.asked(f"Write this over {connection}? [y/N] ")

    with contextlib.ExitStack() as opened:
        folder = pushing.folder(config_file)
        if connection is not None:
            stage = opened.enter_context(rehearsals.over(job, connection, folder))
        else:
            store = _store(opened, file) if connect.has_store(file) else None
            stage = opened.enter_context(rehearsals.in_sandbox(job, store, folder, shown=output.say))
        output.say(_begins(stage))
        try:
            result = asyncio.run(signals.until_stopped(_rehearsed(stage, limit, seen)))
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise KeyboardInterrupt("nothing was written to the push's own account") from None
    if as_json:
        output.print_json(result.document())
    else:
        _tell(result)
    return {"ok": 0, "partial": 3, "failed": 1, "held": 3}[result.push.status]


async def _rehearsed(stage: rehearsals.Stage, limit: int | None, seen: pushes.Seen) -> rehearsals.Result:
    with meters.Meter() as meter:

        def planned(found: plans.Plan, rows: pushes.Rows) -> bool | Awaitable[bool]:
            meter.planned(found)
            return seen(found, rows)

        return await rehearsals.run(
            stage, runs.new_id(), limit=limit, shown=meter.phase, seen=planned, progress=meter.wrote
        )


def _store(opened: contextlib.ExitStack, file: config.Config) -> database.Database:
    return opened.enter_context(noting.placed(file)).store


def _begins(stage: rehearsals.Stage) -> str:
    if stage.doubt:
        return f"{stage.name} begins empty, so that nothing matches: {stage.doubt}"
    if not stage.seeded:
        return f"rehearsing in {stage.name}"
    there = ", ".join(f"{count:,} {name.replace('_', ' ')}s" for name, count in stage.seeded.items())
    return f"rehearsing in {stage.name}, which has what the account has: {there}; {stage.rows:,} rows known"


def _tell(result: rehearsals.Result) -> None:
    push = result.push
    if result.refused:
        table = output.table("rows", "what", "field", "first rows", "why", title=TITLE)
        for each in result.refused:
            what = ", ".join(part for part in (each.kind, each.code) if part)
            table.add_row(f"{each.rows:,}", what, each.field, ", ".join(each.keys), each.text)
        output.console().print(table)
    if push.error:
        output.say(push.error)
    came = push_words.summed(push_words.figures(push), push.requests)
    output.say(f"Rehearsed in {result.stage.name}: {came} in {result.seconds:.0f} s.")
    output.say("Nothing was written to the push's own account.")
