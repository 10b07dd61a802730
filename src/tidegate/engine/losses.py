"""Slices with which workers disappear without a word, as when the machine has no memory left for them.

Such a slice is cut into its accounts, so that one of them holds up no others; an account with which workers go on
disappearing is left out of this run, and told. The next run tries it again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from tidegate import catalog, errors
from tidegate.engine import place as places
from tidegate.pull import plan, report, settings
from tidegate.store import logs, runs, slices

log = logging.getLogger(__name__)


def settled(place: places.Place, begun: runs.Run, mine: slices.Slice) -> bool:
    """Cut a slice, or leave it out, where workers disappeared with it; False where it is to be done."""
    if mine.lost:
        log.warning(
            "%d workers disappeared with slice %d of %s.",
            mine.lost,
            mine.number,
            mine.run,
            extra={"run": mine.run},
        )
    if mine.lost < slices.APART:
        return False
    if len(mine.accounts) > 1:
        if slices.cut(place.store, mine):
            _say(place, mine, f"{_lost(mine)}; each of its {len(mine.accounts)} accounts is now tried alone.")
        return True
    if mine.lost < slices.LOST:
        return False
    told = _left_out(place, begun, mine)
    if slices.end(place.store, mine, "failed", told):
        _say(place, mine, f"{_lost(mine)}; it is left out of this run, and the next one tries it again.")
    return True


def _left_out(place: places.Place, begun: runs.Run, mine: slices.Slice) -> dict[str, Any]:
    """What a slice reports that is not done: every stream of its accounts has failed."""
    try:
        streams = _streams(place, begun)
    except errors.ConfigError as error:
        return {"error": str(error)}
    [account] = [path.rpartition("/")[2] for path in mine.accounts]
    why = (
        f"{account} was not pulled: {mine.lost} workers disappeared while they pulled it; give workers more memory "
        "or look at why they ended; the next run tries it again"
    )
    outcomes = [report.Outcome(stream, account, "failed", error=why) for stream in streams]
    return {"streams": [each.as_json() for each in outcomes]}


def _streams(place: places.Place, begun: runs.Run) -> Sequence[str]:
    """The streams of the pull of a run."""
    flow = place.flows.get(begun.flow)
    if flow is None:
        raise errors.ConfigError(
            f"{begun.flow} is not in this worker's configuration; give all the same one."
        )
    [job] = settings.jobs(place.file, [flow.own])
    return [stream.name for stream in plan.plan(catalog.load().streams, job.options.streams).streams]


def _lost(mine: slices.Slice) -> str:
    named = ", ".join(path.rpartition("/")[2] for path in mine.accounts)
    return f"{mine.lost} workers disappeared while they pulled {named}"


def _say(place: places.Place, mine: slices.Slice, text: str) -> None:
    """Say it in the run's log and in the process's own."""
    log.warning("%s", text, extra={"run": mine.run})
    line = logs.Line(place.store.now(), "warning", text)
    logs.write(place.store, mine.run, f"{mine.worker}/{mine.number}/{mine.attempts}/lost", 0, [line])
