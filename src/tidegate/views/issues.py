"""Everything that waits for a person, in one list: rows of pushes and of pipelines, plans, and alerts.

Rows of pushes can be decided on, see `deciding`; `undecided` tells of one what one decides by.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tidegate.engine import matters
from tidegate.engine import place as places
from tidegate.store import database, failed, holds, notices, plans

PAGE = 500
"""Issues that are read at a time where all are."""
ROWS = ["rows", "quarantine", "unknown"]
"""Kinds of alerts that only say that there are rows here."""
APPROVAL, FAILED = "approval", "failed_row"

KINDS: Mapping[str, str] = {
    "ambiguous": "Ambiguous match",
    "conflict": "Conflict",
    "gone": "Gone at Stripe",
    "unknown": "Unknown operation",
    "refused": "Refused by Stripe",
    "invalid": "Invalid",
    "doubled": "Two rows, one new object",
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
    title: str = ""
    """Of an alert: what it is in a few words, with which its text begins."""

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
    """What is looked for: of some kinds of `KINDS`, of a flow, in a state, and with a text in it."""

    kinds: tuple[str, ...] = ()
    flow: str = ""
    state: str = ""
    search: str = ""

    @property
    def holds(self) -> bool:
        """Are rows of pushes among them?"""
        return self.has(*holds.KINDS) and self.flow.partition(":")[0] in ("", "push")

    def has(self, *kinds: str) -> bool:
        """Is one of these kinds looked for?"""
        return not self.kinds or any(each in kinds for each in self.kinds)


@dataclass(frozen=True, slots=True)
class Page:
    """Some issues, the oldest first; `next` is the place of the last where there are more."""

    items: tuple[Issue, ...]
    next: Place | None


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


def counts(place: places.Place, flow: str = "") -> dict[str, int]:
    """How many of each kind of `KINDS`, of all flows or of one, the most first; those without any are left out."""
    of, _, own = flow.partition(":")
    found = dict[str, int]()
    if of in ("", "push"):
        found |= holds.totals(place.store, own or None)
    if of in ("", "pipeline"):
        rows = failed.counts(place.store)
        found[FAILED] = rows.get(own, 0) if own else sum(rows.values())
    planned = waiting(place)
    found[APPROVAL] = sum(flow in ("", f"push:{each.push}") for each in planned)
    for notice in _told(place, planned):
        if flow not in ("", notice.flow):
            continue
        kind = _of_alert(notice.kind)
        found[kind] = found.get(kind, 0) + 1
    return dict(sorted(((k, n) for k, n in found.items() if n), key=lambda pair: -pair[1]))


def waiting(place: places.Place) -> list[plans.Plan]:
    """The plans of syncs that would write something, and that somebody has to approve."""
    return [each for each in plans.waiting(place.store) if writes(each) and each.push in place.file.pushes]


def decidable(store: database.Database, only: Only) -> int:
    """How many rows of pushes a filter finds that can be decided on: not those that somebody did for already."""
    if not only.holds:
        return 0
    return holds.count(
        store,
        push=only.flow.partition(":")[2] or None,
        kinds=only.kinds,
        states=("held", "waiting") if not only.state else (only.state,),
        search=only.search,
    )


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
        kinds=only.kinds,
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
    if not only.has(FAILED) or only.state or kind not in ("", "pipeline"):
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
    if not only.has(APPROVAL) or only.state:
        return
    found = []
    for each in waiting(place):
        count = min(writes(each), each.wish.get("limit") or writes(each))
        what = "undo" if each.kind == "undo" else "plan"
        text = f"A {what} of {count:,} {'write' if count == 1 else 'writes'} waits for approval."
        text = " ".join([text, *each.body.get("guards", ())])
        at = each.planned_at or each.begun_at
        found.append(Issue("plan", APPROVAL, f"push:{each.push}", each.id, text, at, "open"))
    yield from _kept(found, only, after)


def _alerts(place: places.Place, only: Only, _: int, after: Place | None) -> Iterator[Issue]:
    if only.state or not only.has(APPROVAL, "no_permission", "alert"):
        return
    found = [
        Issue(
            "alert",
            _of_alert(each.kind),
            each.flow,
            each.matter,
            f"{(title := matters.title(each))}: {each.text}",
            each.opened_at,
            "open",
            title=title,
        )
        for each in _told(place, waiting(place))
        if only.has(_of_alert(each.kind))
    ]
    yield from _kept(found, only, after)


def _told(place: places.Place, planned: Sequence[plans.Plan]) -> list[notices.Notice]:
    """The alerts that say something which stands here by nothing else: no row, and no plan that waits."""
    known = {f"push:{each.push}" for each in planned}
    return [
        each
        for each in notices.listed(place.store)
        if not _of_rows(each) and not (each.kind == APPROVAL and each.flow in known)
    ]


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


def writes(found: plans.Plan) -> int:
    """How many writes a plan has."""
    told = found.body.get("counts", {})
    return sum(told.get(name, 0) for name in ("created", "updated", "removed"))
