"""Verifications of pushes: what others changed at Stripe of what was written; nothing is written."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from tidegate import views
from tidegate.config import values
from tidegate.engine import drifts, preparing
from tidegate.engine import jobs as doing
from tidegate.engine import place as places
from tidegate.push import drift
from tidegate.store import jobs, runs
from tidegate.views import jobs as known

TOLD = 10_000
"""Differences that are told one by one; all of them are counted."""


def begin(place: places.Place, who: views.Who, push: str) -> jobs.Job:
    """Have a push verified in the background.

    Raises Unknown, ConfigError for one that can never work, and StoreConflict while it is verified.
    """
    file = place.file
    if push not in file.pushes:
        raise views.Unknown(f"There is no push {push!r}{values.suggestion(push, file.pushes) or '.'}")
    preparing.job(file, push)
    wish = {"push": push}
    return known.begin(place, who, "verification", f"push:{push}", wish, work(wish))


def work(wish: Mapping[str, Any]) -> doing.Doing:
    """What a verification does, by what was asked for."""

    async def verify(still: places.Place, screen: doing.Screen) -> doing.Done:
        found: list[dict[str, Any]] = []

        def seen(_: drift.Counts, rows: drifts.Rows) -> None:
            # Not the values: they are somebody's, and a plan with `repair` shows them.
            for each in itertools.islice(rows(), TOLD):
                found.append({"key": each.key, "target": each.target, "kind": each.kind, "field": each.field})

        job = preparing.job(still.file, wish["push"], still.purse)
        run_id = runs.new_id()
        result = await drifts.run(job, still.store, still.folder, run_id, shown=screen.phase, seen=seen)
        state: jobs.State = "partial" if result.counts.drifted else "ok"
        return doing.Done(state, result.document(), ((True, each) for each in found))

    return verify
