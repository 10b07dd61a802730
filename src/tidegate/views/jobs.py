"""Jobs: audits, estimates and the like, as they go on and as they ended. Each kind has a room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate import views
from tidegate.engine import jobs as doing
from tidegate.engine import place as places
from tidegate.store import jobs, tokens, trail

SCOPES: Mapping[jobs.Kind, tokens.Scope] = {
    "audit": "read",
    "estimate": "read",
    "forget": "admin",
    "rehearsal": "read",
    "verification": "read",
}
"""Who may look at jobs of a kind, and know of them at all."""


@dataclass(frozen=True, slots=True)
class Jobs:
    """A page of jobs, the newest first; `next` is the place of the last one where there are more."""

    items: tuple[jobs.Job, ...]
    next: tuple[float, str] | None


@dataclass(frozen=True, slots=True)
class Rows:
    """A page of what a job found; `next` is the number of the last line where there are more."""

    items: tuple[Mapping[str, Any], ...]
    next: int | None


def begin(
    place: places.Place,
    who: views.Who,
    kind: jobs.Kind,
    what: str,
    wish: Mapping[str, Any],
    do: doing.Doing,
) -> jobs.Job:
    """Have something done, and note who wanted it; raises StoreConflict while the same is being done."""
    said = {name: value for name, value in wish.items() if value not in (None, "", [])}

    def note(job_id: str) -> trail.Note:
        return trail.Note(who.name, kind, what, after={"job": job_id, **said}, via=who.via)

    begun, _ = doing.begin(place, who.name, kind, what, wish, do, note)
    return begun


def one(place: places.Place, job_id: str, scope: tokens.Scope) -> jobs.Job:
    """A job by its id; raises Unknown, also for one that this scope may not look at."""
    found = jobs.get(place.store, job_id)
    if found is None or not _may(scope, SCOPES[found.kind]):
        raise views.Unknown("There is no such job; those that ended are kept for 90 days.")
    return found


def listed(
    place: places.Place,
    scope: tokens.Scope,
    *,
    kind: jobs.Kind | None = None,
    state: jobs.State | None = None,
    after: tuple[float, str] | None = None,
    limit: int = 50,
) -> Jobs:
    """Jobs that this scope may look at, the newest first."""
    hidden = [each for each, needed in SCOPES.items() if not _may(scope, needed)]
    found = jobs.listed(place.store, kind=kind, state=state, without=hidden, before=after, limit=limit + 1)
    shown = tuple(found[:limit])
    return Jobs(shown, (shown[-1].begun_at, shown[-1].id) if len(found) > limit else None)


def rows(place: places.Place, job: jobs.Job, *, wrong: bool = False, after: int = 0, limit: int = 50) -> Rows:
    """What a job found, line by line; `wrong` leaves out where all is well."""
    found = jobs.rows(place.store, job.id, wrong=wrong, after=after, limit=limit + 1)
    shown = tuple(entry for _, entry in found[:limit])
    return Rows(shown, found[limit - 1][0] if len(found) > limit else None)


def cancel(place: places.Place, who: views.Who, job: jobs.Job) -> jobs.Job:
    """Have a job end within seconds; raises Refused for one that has ended."""
    if not job.alive and not job.stop:
        raise views.Refused(f"This job has ended already: {job.state}.")
    if job.alive and not job.stop:
        line = trail.Note(who.name, "cancel", job.what, after={"job": job.id}, via=who.via)
        jobs.stop(place.store, job.id, who.name, line)
    return jobs.get(place.store, job.id) or job


def _may(scope: tokens.Scope, needed: tokens.Scope) -> bool:
    return tokens.SCOPES.index(scope) >= tokens.SCOPES.index(needed)
