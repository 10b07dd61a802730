"""Pushes: how each stands, what one would write, having that done, and what is said of it in words."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pydantic

from tidegate import config, errors, views
from tidegate.catalog import writes
from tidegate.config import values
from tidegate.engine import approvals, editing, preparing, pushes, schedules
from tidegate.engine import place as places
from tidegate.push import mapping, plan
from tidegate.store import calls, database, holds, plans, records, runs, trail
from tidegate.stripe import keys as keys_of_stripe
from tidegate.views import flows
from tidegate.views import runs as known_runs

NOW = ("held", "waiting")
"""States of rows that are not written and that nobody has decided on."""
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
class Sync:
    """A push as the list of all shows it."""

    name: str
    push: config.Push
    standing: flows.Standing
    waiting: int
    """Rows that are not written."""
    plan: plans.Plan | None
    """The newest plan."""


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
        """Rows that would be written."""
        return sum(self.counts.get(name, 0) for name in ("created", "updated", "removed"))

    @property
    def ready(self) -> bool:
        """Can it be approved?"""
        return self.plan.state == "planned" and self.writes > 0


@dataclass(frozen=True, slots=True)
class Rows:
    """A page of a plan; `next` is the number of its last row where there are more."""

    items: tuple[tuple[int, plan.Entry], ...]
    next: int | None


@dataclass(frozen=True, slots=True)
class Figures:
    """What the newest run of a push came to, each row of the model once."""

    run: runs.Run | None
    funnel: tuple[known_runs.Bar, ...] = ()
    waiting: Mapping[str, int] = field(default_factory=dict)
    """Rows that are not written, by kind."""


def listed(place: places.Place) -> list[Sync]:
    """All pushes of the configuration, in its order."""
    standing = {each.name: each for each in flows.listed(place)}
    file, store = place.file, place.store
    found = []
    for name, push in file.pushes.items():
        if (stands := standing.get(f"push:{name}")) is None:  # it was added between the two looks
            continue
        found.append(Sync(name, push, stands, _waiting(store, name), plans.latest(store, name)))
    return found


def named(place: places.Place, name: str) -> config.Push:
    """A push of the configuration; raises Unknown."""
    known = place.file.pushes
    if name not in known:
        raise views.Unknown(f"There is no push {name!r}{values.suggestion(name, known) or '.'}")
    return known[name]


def one(place: places.Place, name: str) -> Sync:
    """One push; raises Unknown."""
    push = named(place, name)
    stands = flows.one(place, f"push:{name}")
    return Sync(name, push, stands, _waiting(place.store, name), plans.latest(place.store, name))


def figures_of(place: places.Place, sync: Sync) -> Figures:
    """What the newest run of a push that ended came to, and which of its rows wait."""
    waiting: dict[str, int] = {}
    for (kind, _), count in holds.counts(place.store, sync.name).items():
        waiting[kind] = waiting.get(kind, 0) + count
    waiting = dict(sorted(waiting.items(), key=lambda pair: -pair[1]))
    run = sync.standing.last
    funnel = () if run is None else known_runs.whole(place.store, run).funnel
    return Figures(run, funnel, waiting)


def schedule(push: config.Push) -> str:
    """When a push runs, in words."""
    return schedules.words(push.schedule)


def make(place: places.Place, who: views.Who, name: str, *, repair: bool = False) -> plans.Plan:
    """Have a plan made; raises Unknown, ConfigError, and StoreConflict while one is made or done."""
    named(place, name)
    made = approvals.make(place, who.name, name, "push", {"repair": repair})
    trail.note(place.store, who.name, "plan", f"push:{name}", after={"plan": made.id}, via=who.via)
    return made


def make_undo(
    place: places.Place,
    who: views.Who,
    name: str,
    *,
    run: str | None = None,
    keys: Sequence[str] = (),
    created: str = "leave",
) -> plans.Plan:
    """Have the undo of a run, or of what was done last to rows, planned; raises as `make`."""
    named(place, name)
    if created not in ("leave", "archive", "delete"):
        raise errors.ConfigError("created: choose leave, archive or delete")
    if run is None and not keys:
        raise errors.ConfigError("say what is to be undone: a run, or a row")
    found = None if run is None else written(place.store, name, run)
    wish = {"run": found, "keys": list(keys), "created": created}
    made = approvals.make(place, who.name, name, "undo", wish)
    said = {"plan": made.id, "undo": found or "rows"}
    trail.note(place.store, who.name, "plan", f"push:{name}", after=said, via=who.via)
    return made


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
    push = named(place, name)
    found = plans.latest(place.store, name)
    return None if found is None else _planned(place, push, found)


def plan_of(place: places.Place, name: str, plan_id: str) -> Planned:
    """One plan of a push; raises Unknown."""
    push = named(place, name)
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


def each_row(place: places.Place, found: plans.Plan, kind: str = "") -> Iterator[plan.Entry]:
    """All rows of a plan, for a file."""
    for text in plans.each(place.store, found.id, KINDS.get(kind, ())):
        yield plan.loaded(json.loads(text))


def approve(
    place: places.Place, who: views.Who, name: str, plan_id: str, digest: str, *, run_id: str | None = None
) -> runs.Run:
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
        run_id or runs.new_id(),
        approvals.options(found.plan),
        who=who.name,
        via=who.via,
    )


def discard(place: places.Place, who: views.Who, name: str, plan_id: str) -> None:
    """Remove a plan that nobody approved; one that is being made is ended. Raises Unknown and Refused."""
    found = plan_of(place, name, plan_id).plan
    if found.state in ("approved", "applied"):
        raise views.Refused(f"This plan is {found.state} already.")
    plans.discard(place.store, plan_id)
    trail.note(place.store, who.name, "discard", f"push:{name}", after={"plan": plan_id}, via=who.via)


def removals(place: places.Place, name: str) -> list[str]:
    """What an undo can do with the objects that were created: `archive`, `delete`."""
    of = writes.find(named(place, name).object)
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
    words = said(counts, int(told.get("requests", 0)), seconds) if counts else ""
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


def _waiting(store: database.Database, name: str) -> int:
    counts = holds.counts(store, name)
    return sum(count for (_, state), count in counts.items() if state in NOW)


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


def why(entry: plan.Entry) -> str:
    """Why a row is not written, and of which of its fields, said once."""
    if not entry.field or not entry.text:
        return entry.field or entry.text
    named = entry.text.startswith((f"{entry.field} ", f"{entry.field}:"))
    return entry.text if named else f"{entry.field}: {entry.text}"


def keys(found: plan.Plan) -> Iterator[str]:
    """Which rows of a model cannot be told apart, as far as they can be named."""
    return unclear(asdict(found))


def unclear(told: Mapping[str, Any]) -> Iterator[str]:
    """The same of a plan that was kept."""
    if told.get("doubles"):
        more = told["doubles"] - len(told["doubled"])
        others = f", and {more:,} more" if more else ""
        yield f"keys that stand on several rows: {', '.join(told['doubled'])}{others}"
    if told.get("keyless"):
        yield f"{counted(told['keyless'], 'row')} {'has' if told['keyless'] == 1 else 'have'} no usable key"


def effort(found: plan.Plan, limit: int | None = None) -> str:
    """What a plan takes, in a sentence."""
    return said(asdict(found.counts), found.requests, found.seconds, limit)


def said(counts: Mapping[str, int], requests: int, seconds: float, limit: int | None = None) -> str:
    """The same of its figures."""
    writes = counts["created"] + counts["updated"] + counts["removed"]
    if not writes:
        return "Nothing is to be written."
    if limit is not None and limit < writes:
        planned = "1 write is" if writes == 1 else f"{writes:,} writes are"
        return f"{planned} planned; {limit:,} of them now (--limit {limit})."
    whole = max(1, round(seconds))
    spent = (
        f"{whole} s" if whole < 120 else f"{whole / 60:.0f} min" if whole < 7200 else f"{whole / 3600:.1f} h"
    )
    return f"{counted(writes, 'write')}, {counted(requests, 'request')}, about {spent}."


def figures(result: pushes.Result, *, left: str = "left") -> dict[str, int]:
    """What came of the rows of a push, each row once; `left` names those that could have been written."""
    counts = result.counts
    return {
        "created": counts.created,
        "updated": counts.updated,
        "removed": counts.removed,
        "unchanged": counts.unchanged,
        "filtered out": counts.filtered,
        "unmatched": counts.unmatched,
        left: result.left,
        "held": counts.held - result.left,
        "in quarantine": counts.quarantined,
        "invalid": counts.invalid,
        "failed": result.failed,
        "unknown": result.unknown,
    }


def summed(figures: Mapping[str, int], requests: int) -> str:
    """What came of rows, without what came of none, and the requests: `1 created, 2 held; 3 requests`."""
    parts = ", ".join(f"{number:,} {what}" for what, number in figures.items() if number)
    spent = f"; {counted(requests, 'request')}" if requests else ""
    return f"{parts or 'no rows'}{spent}"


def counted(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def recap(place: places.Place, name: str, push: config.Push) -> str:
    """What a push does, in sentences, for whoever is about to keep it."""
    file = place.file
    connection = file.stripe.get(push.connection)
    secret = connection.api_key if connection is not None else None
    mode = "" if secret is None else f" ({keys_of_stripe.mode(secret.get_secret_value())} mode)"
    does = {
        "update_or_create": "updated, or created where there is none",
        "update_only": "updated, and never created",
        "create_only": "created where there is none, and never updated",
        "mirror": "updated, or created where there is none",
    }[push.behavior]
    found = " and ".join(push.match)
    gone = {
        "nothing": "nothing happens",
        "clear": "the fields that are sent are cleared",
        "flag": f"{push.flag} becomes true",
        "archive": "the object is archived",
        "delete": "the object is deleted",
    }[push.missing]
    names = list(push.fields)
    fields = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    when = "It runs when somebody starts it" if push.schedule == "manual" else f"It runs {schedule(push)}"
    return (
        f"Each row of {push.model} is a {push.object} of {push.connection}{mode}, found by {found}: it is {does}. "
        f"It gets {fields}. Where a row is gone, {gone}. {when}; make a plan first to see what {name} would write."
    )


def draft(place: places.Place, name: str, body: Mapping[str, Any], *, admin: bool = False) -> config.Push:
    """A push as this body says it, if it can work; raises ConfigError with its `problems`."""
    wrong = editing.check(place, "pushes", name, body, admin=admin)
    if wrong:
        raise errors.ConfigError("; ".join(f"{each.path} {each.sentence}".strip() for each in wrong), wrong)
    push = pydantic.TypeAdapter(config.Push).validate_python(dict(body))
    file = place.file
    preparing.job(file.model_copy(update={"pushes": {**file.pushes, name: push}}), name)
    return push


def objects() -> list[tuple[str, str]]:
    """What can be written, with a note where there is one."""
    return [(name, of.note) for name, of in sorted(writes.load().items())]


def targets(object: str) -> list[tuple[str, str]]:
    """The fields of an object that can be written, with their kinds; `metadata.` takes any key. Raises Unknown."""
    of = writes.find(object)
    if of is None:
        raise views.Unknown(f"{object} cannot be written{values.suggestion(object, writes.load()) or '.'}")
    found = [
        (path, each.kind)
        for path, each in of.fields.items()
        if each.writable("any") and each.kind != "hash" and path != "metadata"
    ]
    return [*found, *([("metadata.", "string")] if of.metadata else [])]


def matches(object: str) -> list[str]:
    """What finds an object, best first."""
    of = writes.find(object)
    return [] if of is None else ["metadata." if key == "metadata" else key for key in of.keys]
