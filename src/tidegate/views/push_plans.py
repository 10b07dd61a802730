"""Plans of a push: made, read, approved or discarded; and its undoing, which is one, too."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate import config, errors, views
from tidegate.catalog import writes
from tidegate.engine import approvals, preparing, pushes
from tidegate.engine import place as places
from tidegate.push import mapping, plan
from tidegate.store import calls, database, links, plans, records, runs, trail
from tidegate.views import flows, push_words
from tidegate.views import pushes as syncs

LAST = "last"
"""The name of the newest run that wrote something."""
KINDS: Mapping[str, tuple[plan.Verdict, ...]] = {
    "create": ("create",),
    "update": ("update",),
    "remove": ("remove",),
    "held": ("held", "quarantined"),
    "invalid": ("invalid",),
    "unmatched": ("unmatched",),
    "unchanged": ("equal", "over"),
}
"""What rows of a plan are filtered by."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with what it comes to; `told` has its counts, once it is made."""

    plan: plans.Plan
    told: Mapping[str, Any]
    counts: Mapping[str, int]
    guards: tuple[str, ...]
    effort: str
    notes: tuple[str, ...]
    """Why it may not be what would be planned now."""

    @property
    def writes(self) -> int:
        """Rows that would be written, no more than its limit."""
        return self._planned if self.limit is None else min(self._planned, self.limit)

    @property
    def limited(self) -> bool:
        """Are more rows planned than are written now?"""
        return self.writes < self._planned

    @property
    def _planned(self) -> int:
        return sum(self.counts.get(name, 0) for name in ("created", "updated", "removed"))

    @property
    def limit(self) -> int | None:
        """Rows that are written at most, where that was said."""
        return self.plan.wish.get("limit")

    @property
    def ready(self) -> bool:
        """Can it be approved?"""
        return self.plan.state == "planned" and self.writes > 0


@dataclass(frozen=True, slots=True)
class Rows:
    """A page of a plan; `next` is the number of its last row where there are more."""

    items: tuple[tuple[int, plan.Entry], ...]
    next: int | None


def make(
    place: places.Place, who: views.Who, name: str, *, repair: bool = False, limit: int | None = None
) -> plans.Plan:
    """Have a plan made, of which `limit` rows are written at most.

    Raises Unknown, ConfigError, and StoreConflict while one is made or done.
    """
    syncs.named(place, name)
    wish = {"repair": repair, "limit": limit}
    return approvals.make(place, who.name, name, "push", wish, via=who.via)


def make_undo(
    place: places.Place,
    who: views.Who,
    name: str,
    *,
    run: str | None = None,
    keys: Sequence[str] = (),
    created: str = "leave",
    limit: int | None = None,
) -> plans.Plan:
    """Have the undo of a run, or of what was done last to rows, planned; `limit` and what it raises as `make`."""
    syncs.named(place, name)
    if created not in ("leave", "archive", "delete"):
        raise errors.ConfigError("created: choose leave, archive or delete")
    if run is None and not keys:
        raise errors.ConfigError("say what is to be undone: a run, or a row")
    found = None if run is None else written(place.store, name, run)
    wish = {"run": found, "keys": list(keys), "created": created, "limit": limit}
    return approvals.make(place, who.name, name, "undo", wish, via=who.via)


def written(store: database.Database, push: str, name: str) -> str:
    """The run that is meant; raises ConfigError where there is none, or several begin so."""
    known = [each.run for each in records.runs(store, push, limit=10_000)]
    found = known[:1] if name == LAST else [each for each in known if each.startswith(name)]
    if name in found:
        return name
    if not found:
        raise errors.ConfigError(
            f"{push} has no run {name} that wrote anything; `tidegate undo {push}` lists those that did"
        )
    if len(found) > 1:
        raise errors.ConfigError(f"{len(found)} runs begin with {name}; give more of its id")
    return found[0]


def planned(place: places.Place, name: str) -> Planned | None:
    """The newest plan of a push; raises Unknown."""
    push = syncs.named(place, name)
    found = plans.latest(place.store, name)
    return None if found is None else _planned(place, push, found)


def plan_of(place: places.Place, name: str, plan_id: str) -> Planned:
    """One plan of a push; raises Unknown."""
    push = syncs.named(place, name)
    found = plans.get(place.store, plan_id)
    if found is None or found.push != name:
        raise views.Unknown("There is no such plan; a new one takes the place of those that nobody approved.")
    return _planned(place, push, found)


def rows(
    place: places.Place,
    found: plans.Plan,
    *,
    kind: str = "",
    search: str = "",
    after: int = 0,
    limit: int = 50,
) -> Rows:
    """Rows of a plan in its order, of a kind of `KINDS` and whose key begins so."""
    verdicts = KINDS.get(kind, ())
    some = plans.rows(place.store, found.id, verdicts=verdicts, search=search, after=after, limit=limit + 1)
    shown = tuple((number, plan.loaded(json.loads(text))) for number, text in some[:limit])
    return Rows(shown, shown[-1][0] if len(some) > limit else None)


def removal(place: places.Place, found: plans.Plan) -> str:
    """What a plan does to objects whose row is gone, or that are to go: an action of an entry; empty for none."""
    some = plans.rows(place.store, found.id, verdicts=("remove",), search="", after=0, limit=1)
    return plan.loaded(json.loads(some[0][1])).action if some else ""


def known(place: places.Place, found: plans.Plan, some: Rows) -> frozenset[str]:
    """Keys of a page of rows that have an object already, so that there is a history of them."""
    keys = [each.key for _, each in some.items if each.key]
    return frozenset(links.find(place.store, found.push, keys)) if keys else frozenset()


def each_row(
    place: places.Place, found: plans.Plan, kind: str = "", search: str = ""
) -> Iterator[plan.Entry]:
    """All rows of a plan that `rows` has page by page, for a file."""
    for text in plans.each(place.store, found.id, KINDS.get(kind, ()), search=search):
        yield plan.loaded(json.loads(text))


def approve(place: places.Place, who: views.Who, name: str, plan_id: str, digest: str) -> runs.Run:
    """Have exactly this plan done, once, by a run that is queued; `digest` is that of the plan that was shown.

    Raises Unknown, and StoreConflict where it is another one, is done already, or the push has a run.
    """
    found = plan_of(place, name, plan_id)
    if found.plan.state == "planned" and not found.writes:
        raise views.Refused("This plan writes nothing, so there is nothing to approve.")
    return plans.approve(
        place.store,
        plan_id,
        digest,
        runs.new_id(),
        approvals.options(found.plan),
        who=who.name,
        via=who.via,
    )


def discard(place: places.Place, who: views.Who, name: str, plan_id: str) -> None:
    """Remove a plan that nobody approved; one that is being made is ended. Raises Unknown and Refused."""
    found = plan_of(place, name, plan_id).plan
    if found.state in ("approved", "applied"):
        raise views.Refused(f"This plan is {found.state} already.")
    line = trail.Note(who.name, "discard", f"push:{name}", after={"plan": plan_id}, via=who.via)
    plans.discard(place.store, plan_id, line)


def removals(place: places.Place, name: str) -> list[str]:
    """What an undo can do with the objects that were created: `archive`, `delete`."""
    of = writes.find(syncs.named(place, name).object)
    return [] if of is None else [each for each in ("archive", "delete") if each in of.operations]


def stuck(place: places.Place, found: plans.Plan) -> bool:
    """Was a plan approved whose run was interrupted, and that no other run goes on with?"""
    if found.state != "approved":
        return False
    run = calls.run(place.store, found.run)
    if run is None or run.state != "interrupted" or runs.alive(place.store, run.flow) is not None:
        return False
    return not flows.one(place, run.flow).waiting


def _planned(place: places.Place, push: config.Push, found: plans.Plan) -> Planned:
    told = found.body
    counts: Mapping[str, int] = told.get("counts", {})
    seconds = float(told.get("seconds", 0.0))
    requests, limit = int(told.get("requests", 0)), found.wish.get("limit")
    words = push_words.said(counts, requests, seconds, limit) if counts else ""
    notes = tuple(_notes(place, push, found)) if found.state == "planned" else ()
    return Planned(found, told, counts, tuple(told.get("guards", ())), words, notes)


def _notes(place: places.Place, push: config.Push, found: plans.Plan) -> Iterator[str]:
    """Why a plan may not be what would be planned now."""
    now = place.store.now()
    if found.planned_at is not None and now - found.planned_at > approvals.OLD:
        yield (
            "This plan is old. What changed since in the model or at Stripe is left as it is; plan again to "
            "have it, too."
        )
    try:
        print_now = mapping.fingerprint(push, preparing.job(place.file, found.push).of)
    except errors.ConfigError as error:
        yield f"The sync cannot run as it is configured now: {error}"
    else:
        if print_now != found.body.get("fingerprint"):
            yield "The mapping of the sync was changed since; plan again to see what it writes now."
    newest = runs.listed(place.store, flow=f"push:{found.push}", limit=1)
    if newest and found.planned_at is not None and (newest[0].finished_at or 0.0) > found.planned_at:
        yield "A run has written since this was planned; what it did already is not done again."


def save(path: Path, found: plan.Plan, rows: pushes.Rows) -> None:
    """Write a plan to a file, whole or not at all; only its owner may read it."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            out.writelines(plan.document(found, rows()))
        draft.replace(path)
    except OSError as error:
        raise errors.ConfigError(f"{path} cannot be written: {error.strerror}; give another --out") from None


def read(path: Path, name: str) -> dict[str, plan.Entry]:
    """The writes of a plan that was written to a file, by the key of their rows."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        told, rows = found["push"], found["rows"]
        entries = {row["key"]: plan.loaded(row) for row in rows if row["verdict"] in plan.WRITES}
    except OSError as error:
        raise errors.ConfigError(
            f"{path} cannot be read: {error.strerror}; `tidegate plan {name} --out FILE` writes one."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise errors.ConfigError(
            f"{path} is no plan; `tidegate plan {name} --out FILE` writes one."
        ) from None
    if told != name:
        raise errors.ConfigError(f"{path} is a plan of the push {told}, not of {name}")
    return entries
