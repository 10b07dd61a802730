"""Estimates: what a pull would read, and how long that would take, found out with a few requests per list."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tidegate import errors, views
from tidegate.config import values
from tidegate.engine import jobs as doing
from tidegate.engine import place as places
from tidegate.pull import estimate, settings
from tidegate.store import jobs
from tidegate.views import jobs as known


def begin(place: places.Place, who: views.Who, pull: str, *, streams: Sequence[str] = ()) -> jobs.Job:
    """Have a pull estimated in the background; raises Unknown, ConfigError, and StoreConflict while one goes on."""
    if pull not in place.file.pulls:
        raise views.Unknown(f"There is no pull {pull!r}{values.suggestion(pull, place.file.pulls) or '.'}")
    _job(place, pull, streams)
    wish = {"pull": pull, "streams": list(streams)}
    return known.begin(place, who, "estimate", f"pull:{pull}", wish, work(wish))


def work(wish: Mapping[str, Any]) -> doing.Doing:
    """What an estimate does, by what was asked for."""

    async def look(still: places.Place, screen: doing.Screen) -> doing.Done:
        job = _job(still, wish["pull"], wish["streams"])
        screen.phase("asking each list for its newest page")
        found = await estimate.forecast(job.source, job.options)
        refused = [each for each in found.estimates if each.status in ("no_permission", "failed")]
        rows = sorted(found.estimates, key=lambda each: (-each.rows, each.stream))
        return doing.Done(
            "partial" if refused else "ok",
            {"unread": len(refused), **found.as_json(), "streams": len(found.estimates)},
            ((each in refused, each.as_json()) for each in rows),
        )

    return look


def _job(place: places.Place, pull: str, streams: Sequence[str]) -> settings.Job:
    [job] = settings.jobs(place.file, [pull])
    unknown = sorted(set(streams) - set(job.options.streams or ()))
    if unknown:
        raise errors.ConfigError(
            f"{pull} does not take the stream {unknown[0]}, so that it cannot be estimated."
        )
    options = dataclasses.replace(job.options, streams=list(streams)) if streams else job.options
    source = dataclasses.replace(job.source, purse=place.purse)
    return dataclasses.replace(job, options=options, source=source)
