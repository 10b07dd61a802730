"""Everything that waits for a person, in one list: rows of pushes and of pipelines, plans, and alerts.

Rows of pushes can be decided on: tried again, left as they are, or one of several objects or values chosen. A
decision is carried out by the next run of the push.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tidegate import config, errors, views
from tidegate.engine import matters, mirrors, preparing
from tidegate.engine import place as places
from tidegate.push import compare
from tidegate.store import database, failed, holds, links, notices, operations, plans, pushed, trail
from tidegate.views import records

PAGE = 500
"""Rows that are read, and decided on, at a time where all are."""
FIRST, LAST = "oldest", "newest"
SIDES = ("warehouse", "stripe")
ROWS = ["rows", "quarantine", "unknown"]
"""Kinds of alerts that only say that there are rows here."""
APPROVAL, FAILED = "approval", "failed_row"

WORDS = {
    "waiting": "tried again by the next run",
    "skipped": "left as it is until it changes",
    "chosen": "the next run does what you chose",
    "held": "held until it changes, or somebody decides",
}
NEXT: Mapping[holds.Kind, str] = {
    "invalid": "correct the row or the mapping; it is looked at again by each run",
    "doubled": "give each row a key and a match of its own",
    "refused": "correct the row or the mapping, or --retry when the reason is gone at Stripe",
    "ambiguous": "--choose ID, oldest or newest says which object it is, --choose create makes a new one; "
    "`on_many` in the configuration decides for all",
    "shared": "correct the key or the match of one of the rows, or --skip it",
    "claimed": "correct the match of one of the rows, or --skip it",
    "conflict": "--choose warehouse or --choose stripe says whose value counts",
    "immutable": "put the old value back, have `on_immutable: replace` make another object, or --skip it",
    "gone": "--choose create makes it anew, --choose ID takes another one, --skip leaves it",
    "unknown": "look for it in Stripe's dashboard; --choose ID says which object it is, --choose create that "
    "it was not made",
    "undone": "--retry writes it again",
    "watched": "nothing: it is left out of a few runs, and then written once more",
    "looping": "correct the model so that it settles, then --retry",
}
"""What a person can do about each kind, as the command line says it."""
ADVICE: Mapping[holds.Kind, str] = {
    "invalid": "Correct the row or the mapping; each run looks at it again.",
    "doubled": "Give each row a key and a match of its own.",
    "refused": "Correct the row or the mapping, or retry when the reason is gone at Stripe.",
    "ambiguous": "Choose which object it is, or have a new one made. The sync can decide that for all such rows.",
    "shared": "Correct the key or the match of one of the rows, or skip it.",
    "claimed": "Correct the match of one of the rows, or skip it.",
    "conflict": "Choose whose value counts.",
    "immutable": "Put the old value back, have the sync make another object, or skip it.",
    "gone": "Have it made anew, name another object, or skip it.",
    "unknown": "Look for it in Stripe's dashboard; then name the object, or say that it was not made.",
    "undone": "Retry writes it again.",
    "watched": "Nothing: it is left out of a few runs, and then written once more.",
    "looping": "Correct the model so that it settles, then retry.",
}
"""The same for those who have buttons."""
KINDS: Mapping[str, str] = {
    "ambiguous": "Ambiguous match",
    "conflict": "Conflict",
    "gone": "Gone at Stripe",
    "unknown": "Unknown operation",
    "refused": "Refused by Stripe",
    "invalid": "Invalid",
    "doubled": "Key on several rows",
    "shared": "Two rows, one object",
    "claimed": "Claimed by another row",
    "immutable": "Cannot be changed",
    "undone": "Undone",
    "watched": "Watched",
    "looping": "Looping",
    FAILED: "Row of a pipeline",
    APPROVAL: "Waits for approval",
    "no_permission": "Missing permission",
    "alert": "Other alerts",
}
"""What the list is filtered by, in words."""

Source = Literal["alert", "pipeline", "plan", "push"]
Place = tuple[float, str, str, str, str]
"""Where an issue stands in the list: since when, its source, flow, account and key."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that waits; `since` is in unix seconds."""

    source: Source
    kind: str
    flow: str
    """Such as `push:accounts`."""
    key: str
    """The row's key or id, the alert's matter, or the plan's id."""
    text: str
    since: float
    state: str
    """`held`, `waiting`, `skipped` or `chosen` of a row of a push; `open` of everything else."""
    account: str = ""
    field: str = ""

    @property
    def place(self) -> Place:
        """Where it stands in the list."""
        return self.since, self.source, self.flow, self.account, self.key

    @property
    def own(self) -> str:
        """The name of its flow without the kind."""
        return self.flow.partition(":")[2]


@dataclass(frozen=True, slots=True)
class Only:
    """What is looked for: of a kind of `KINDS`, of a flow, in a state, and with a text in it."""

    kind: str = ""
    flow: str = ""
    state: str = ""
    search: str = ""

    @property
    def holds(self) -> bool:
        """Are rows of pushes among them?"""
        return (not self.kind or self.kind in holds.KINDS) and self.flow.partition(":")[0] in ("", "push")


@dataclass(frozen=True, slots=True)
class Page:
    """Some issues, the oldest first; `next` is the place of the last where there are more."""

    items: tuple[Issue, ...]
    next: Place | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An object that a row may be: what people tell objects apart by, as far as it is known here."""

    id: str
    facts: Mapping[str, str]
    page: str | None
    """Where the dashboard shows it."""


@dataclass(frozen=True, slots=True)
class Held:
    """A row that is not written, with what one decides by."""

    hold: holds.Hold
    link: links.Link | None
    candidates: tuple[Candidate, ...]
    conflict: tuple[tuple[str, str | None, str | None, str | None], ...]
    """Of a conflict: field, as both sides last had it, here by the newest plan, and at Stripe."""
    choices: tuple[tuple[str, str], ...]
    """What can be chosen, in words."""
    any: bool
    """Can the id of any object be given?"""
    request_id: str
    """Of the request that Stripe refused."""


def listed(place: places.Place, only: Only, *, limit: int = 50, after: Place | None = None) -> Page:
    """Issues of all sources in one order; what comes meanwhile stands at the end and moves nothing."""
    sources = [_holds, _failed, _plans, _alerts]
    ways = [source(place, only, limit + 1, after) for source in sources]
    found = list(itertools.islice(heapq.merge(*ways, key=lambda each: each.place), limit + 1))
    return Page(tuple(found[:limit]), found[limit - 1].place if len(found) > limit else None)


def each(place: places.Place, only: Only) -> Iterator[Issue]:
    """All of them, for a file."""
    after: Place | None = None
    while True:
        page = listed(place, only, limit=PAGE, after=after)
        yield from page.items
        if (after := page.next) is None:
            return


def counts(place: places.Place) -> dict[str, int]:
    """How many of each kind of `KINDS`, the most first; those without any are left out."""
    found: dict[str, int] = dict(holds.totals(place.store))
    found[FAILED] = sum(failed.counts(place.store).values())
    found[APPROVAL] = sum(1 for each in plans.waiting(place.store) if _writes(each))
    for notice in notices.listed(place.store):
        if not _of_rows(notice):
            kind = _of_alert(notice.kind)
            found[kind] = found.get(kind, 0) + 1
    return dict(sorted(((k, n) for k, n in found.items() if n), key=lambda pair: -pair[1]))


def decidable(store: database.Database, only: Only) -> int:
    """How many rows of pushes a filter finds that can be decided on: not those that somebody did for already."""
    if not only.holds:
        return 0
    return holds.count(
        store,
        push=only.flow.partition(":")[2] or None,
        kinds=(only.kind,) if only.kind else (),
        states=("held", "waiting") if not only.state else (only.state,),
        search=only.search,
    )


def held(place: places.Place, push: str, key: str) -> Held:
    """A row with what one decides by; raises Unknown."""
    hold = holds.find(place.store, push, key)
    if hold is None:
        raise views.Unknown(f"The row {key!r} of {push} is not held any more.")
    link = links.find(place.store, push, [key]).get(key)
    ids = [each for each in hold.candidates if each not in holds.WORDS]
    if not ids and link is not None:
        ids = [link.target]
    found = objects(place.file, place.folder, push, ids)
    candidates = tuple(_candidate(place, push, id, found.get(id), link) for id in ids)
    open_to_any = hold.kind in holds.ANY and not hold.candidates
    done = operations.find(place.store, hold.operation) if hold.operation else None
    return Held(
        hold,
        link,
        candidates,
        tuple(_conflict(place.store, hold, found, link)),
        tuple(_choices(hold)),
        open_to_any,
        done.request_id if done is not None else "",
    )


def decide(
    place: places.Place, who: views.Who, push: str, key: str, decision: holds.State, choice: str = ""
) -> holds.Hold:
    """Decide on one row; raises Unknown where it is not held, ConfigError for what cannot be chosen."""
    hold = holds.find(place.store, push, key)
    if hold is None:
        raise views.Unknown(f"The row {key!r} of {push} is not held any more.")
    if decision == "chosen" and not meant(hold, choice):
        what = choice or "Nothing"
        raise errors.ConfigError(
            f"{what} cannot be chosen for a row that is {hold.kind}. {ADVICE[hold.kind]}"
        )
    found = decided(place.store, hold, decision, meant(hold, choice))
    said = {"key": key, "decision": decision, **({"choice": choice} if choice else {})}
    trail.note(place.store, who.name, "decide", f"push:{push}", after=said, via=who.via)
    return found


def decide_all(
    place: places.Place, who: views.Who, only: Only, decision: holds.State, choice: str = ""
) -> dict[str, int]:
    """Decide on all rows that a filter finds and nobody has decided on; says on how many, and how many are left.

    Raises ConfigError for what cannot be chosen for many rows.
    """
    if not only.holds:
        raise errors.ConfigError("Only rows of syncs to Stripe can be decided on; choose one of their kinds.")
    if decision == "chosen":
        for_all(choice, (only.kind,) if only.kind else ())
    told = all_decided(
        place.store,
        only.flow.partition(":")[2] or None,
        (only.kind,) if only.kind else (),
        decision,
        choice,
        search=only.search,
    )
    said = {"decision": decision, "choice": choice, "kind": only.kind, "search": only.search, **told}
    trail.note(
        place.store,
        who.name,
        "decide",
        only.flow or "pushes",
        after={name: value for name, value in said.items() if value != ""},
        via=who.via,
    )
    return told


def for_all(choose: str, kinds: Sequence[str]) -> None:
    """Raises ConfigError for what cannot be chosen for many rows."""
    if choose not in (FIRST, LAST, holds.CREATE, *SIDES):
        raise errors.ConfigError(
            f"{choose} is one object, and not that of every row; choose {FIRST}, {LAST}, {holds.CREATE}, "
            f"{' or '.join(SIDES)} for all of them"
        )
    if not kinds:
        raise errors.ConfigError("say for which rows that is chosen: --kind ambiguous, gone or conflict")


def all_decided(
    store: database.Database,
    push: str | None,
    kinds: Sequence[str],
    decision: holds.State,
    choice: str,
    *,
    search: str = "",
) -> dict[str, int]:
    """Decide on all rows that can be; says on how many, and how many are left as they are."""
    done, left = 0, 0
    after: holds.Hold | None = None
    while page := holds.listed(store, push, kinds=kinds, limit=PAGE, after=after, search=search):
        after = page[-1]
        wanted: dict[str, dict[str, str]] = {}
        for each in page:
            choosing = meant(each, choice)
            if each.state in ("skipped", "chosen") or (decision == "chosen" and not choosing):
                left += 1
            else:
                wanted.setdefault(each.push, {})[each.key] = choosing if decision == "chosen" else ""
        for name, rows in wanted.items():
            done += holds.decide(store, name, rows, decision)
    return {"decided": done, "left": left}


def meant(hold: holds.Hold, choice: str) -> str:
    """What a choice is for a row; nothing where it is none."""
    if choice in (FIRST, LAST):
        several = hold.kind == "ambiguous" and hold.candidates
        return "" if not several else hold.candidates[0 if choice == FIRST else -1]
    if choice in SIDES:
        return choice if hold.kind == "conflict" else ""
    if choice == holds.CREATE:
        return choice if hold.kind in holds.NEW else ""
    return choice if hold.kind in holds.CHOOSABLE else ""


def decided(store: database.Database, hold: holds.Hold, decision: holds.State, choice: str) -> holds.Hold:
    """Decide on a row; raises ConfigError where it was written meanwhile, or that cannot be chosen."""
    match decision:
        case "waiting":
            return holds.retry(store, hold.push, hold.key)
        case "skipped":
            return holds.skip(store, hold.push, hold.key)
        case _:
            return holds.choose(store, hold.push, hold.key, choice)


def objects(file: config.Config, folder: Path, push: str, ids: Sequence[str]) -> Mapping[str, compare.Live]:
    """Objects as the last run of the push left them, on this machine; none where that is not to be had."""
    if ids and push in file.pushes:
        with contextlib.suppress(errors.TidegateError):
            job = preparing.job(file, push)
            return mirrors.glimpse(folder, job.push.connection, job.source, job.of, ids)
    return {}


def _holds(place: places.Place, only: Only, limit: int, after: Place | None) -> Iterator[Issue]:
    if not only.holds:
        return
    at = None
    if after is not None:
        # Those of the same moment that are of a source before this one were seen.
        flow, key = (after[2], after[4]) if after[1] == "push" else ("", "")
        if after[1] < "push":
            at = holds.at(after[0], "", "")
        else:
            at = holds.at(after[0], flow.partition(":")[2], key)
    found = holds.listed(
        place.store,
        only.flow.partition(":")[2] or None,
        kinds=(only.kind,) if only.kind else (),
        states=(only.state,) if only.state in holds.STATES else (),
        limit=limit,
        after=at,
        search=only.search,
    )
    if only.state and only.state not in holds.STATES:
        return
    for each in found:
        yield Issue(
            "push",
            each.kind,
            f"push:{each.push}",
            each.key,
            each.text,
            each.opened_at,
            each.state,
            field=each.field,
        )


def _failed(place: places.Place, only: Only, limit: int, after: Place | None) -> Iterator[Issue]:
    kind, _, own = only.flow.partition(":")
    if (only.kind and only.kind != FAILED) or only.state or kind not in ("", "pipeline"):
        return
    at = None
    if after is not None:
        at = (after[0], "", "", "")
        if after[1] == "pipeline":
            at = (after[0], after[2].partition(":")[2], after[3], after[4])
        elif after[1] > "pipeline":
            at = (after[0], chr(0x10FFFF), "", "")
    for each in failed.oldest(place.store, own, search=only.search, limit=limit, after=at):
        text = f"{each.property}: {each.why}" if each.property else each.why
        yield Issue(
            "pipeline",
            FAILED,
            f"pipeline:{each.pipeline}",
            each.source_id,
            text,
            each.first_at,
            "open",
            each.account,
            each.property,
        )


def _plans(place: places.Place, only: Only, _: int, after: Place | None) -> Iterator[Issue]:
    if only.kind not in ("", APPROVAL) or only.state:
        return
    found = []
    for each in plans.waiting(place.store):
        if not (writes := _writes(each)) or each.push not in place.file.pushes:
            continue
        what = "undo" if each.kind == "undo" else "plan"
        text = f"A {what} of {writes:,} {'write' if writes == 1 else 'writes'} waits for approval."
        text = " ".join([text, *each.body.get("guards", ())])
        at = each.planned_at or each.begun_at
        found.append(Issue("plan", APPROVAL, f"push:{each.push}", each.id, text, at, "open"))
    yield from _kept(found, only, after)


def _alerts(place: places.Place, only: Only, _: int, after: Place | None) -> Iterator[Issue]:
    if only.state or only.kind not in ("", APPROVAL, "no_permission", "alert"):
        return
    found = [
        Issue(
            "alert",
            _of_alert(each.kind),
            each.flow,
            each.matter,
            f"{matters.title(each)}: {each.text}",
            each.opened_at,
            "open",
        )
        for each in notices.listed(place.store)
        if not _of_rows(each) and only.kind in ("", _of_alert(each.kind))
    ]
    yield from _kept(found, only, after)


def _kept(found: Sequence[Issue], only: Only, after: Place | None) -> Iterator[Issue]:
    """Those of a few that a filter leaves, in order, after a place."""
    wanted = only.search.lower()
    for each in sorted(found, key=lambda each: each.place):
        if only.flow and each.flow != only.flow:
            continue
        if wanted and wanted not in f"{each.text} {each.key} {each.flow}".lower():
            continue
        if after is None or each.place > after:
            yield each


def _of_rows(notice: notices.Notice) -> bool:
    """Does an alert only say that there are rows, which stand here themselves?"""
    return notice.kind in ROWS or (notice.kind == "held" and notice.flow.startswith("push:"))


def _of_alert(kind: str) -> str:
    return kind if kind in (APPROVAL, "no_permission") else "alert"


def _writes(found: plans.Plan) -> int:
    told = found.body.get("counts", {})
    return sum(told.get(name, 0) for name in ("created", "updated", "removed"))


def _candidate(
    place: places.Place, push: str, id: str, live: compare.Live | None, link: links.Link | None
) -> Candidate:
    facts: dict[str, str] = {}
    for name, value in (live or {}).items():
        if value in (None, "", {}, []) or name.startswith("_") or name in ("id", "object"):
            continue
        text = compare.text(value)
        if text is not None:
            facts[name] = text if len(text) <= 200 else f"{text[:199]}…"
    first = ("created", "name", "email", "phone", "description", "nickname", "code", "lookup_key")
    facts = {name: facts[name] for name in [*first, *sorted(facts)] if name in facts}
    made = link
    if made is None or made.target != id:
        made = None
        if push in place.file.pushes:
            with contextlib.suppress(errors.TidegateError):
                job = preparing.job(place.file, push)
                live_mode = job.source.api_key.startswith(("sk_live", "rk_live"))
                made = links.Link("", job.push.account or "", live_mode, job.of.name, id)
    return Candidate(id, facts, None if made is None else records.page(made))


def _conflict(
    store: database.Database,
    hold: holds.Hold,
    found: Mapping[str, compare.Live],
    link: links.Link | None,
) -> Iterator[tuple[str, str | None, str | None, str | None]]:
    """The field of a conflict as far as it is known: as both sides last had it, here, and at Stripe."""
    if hold.kind != "conflict" or not hold.field:
        return
    row = pushed.find(store, hold.push, [hold.key]).get(hold.key)
    before: dict[str, str | None] = {} if row is None else json.loads(row.fields)
    newest = plans.latest(store, hold.push)
    kept = [] if newest is None else plans.rows(store, newest.id, search=hold.key, limit=1)
    entry = json.loads(kept[0][1]) if kept else {}
    here: dict[str, str | None] = entry.get("fields", {}) if entry.get("key") == hold.key else {}
    at: object = found.get(link.target) if link is not None else None
    for step in hold.field.split("."):
        at = at.get(step) if isinstance(at, Mapping) else None
    yield hold.field, before.get(hold.field), here.get(hold.field), compare.text(at)


def _choices(hold: holds.Hold) -> Iterator[tuple[str, str]]:
    match hold.kind:
        case "conflict":
            yield "warehouse", "Write the value from here"
            yield "stripe", "Keep the value at Stripe"
        case "immutable":
            if "replace" in hold.candidates:
                yield "replace", "Make another object"
        case "ambiguous":
            yield from ((id, f"It is {id}") for id in hold.candidates)
    if hold.kind in holds.NEW:
        yield holds.CREATE, "Make a new object"
