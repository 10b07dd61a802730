"""Jobs whose process is gone, taken up by this one: what reads, and what erases, which is done again unharmed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from tidegate import errors
from tidegate.engine import jobs as doing
from tidegate.engine import place as places
from tidegate.store import jobs
from tidegate.views import audits, estimates, forgets, rehearsals, verifications

WORK: Mapping[jobs.Kind, Callable[[Mapping[str, Any]], doing.Doing]] = {
    "audit": audits.work,
    "estimate": estimates.work,
    "forget": forgets.work,
    "rehearsal": rehearsals.work,
    "verification": verifications.work,
}


def keeping(place: places.Place) -> contextlib.AbstractContextManager[None]:
    """Take them up for as long as the block takes, those of servers that share the metadata database as well."""
    return doing.keeping(place, work)


def work(job: jobs.Job) -> doing.Doing:
    """What a job does; raises ConfigError for a rehearsal that has written to an account of somebody's."""
    if job.kind == "rehearsal" and job.wish["connection"]:
        raise errors.ConfigError(
            f"The process that did it ended before it, and what it wrote over {job.wish['connection']} until then "
            "stays; begin it again."
        )
    return WORK[job.kind](job.wish)
