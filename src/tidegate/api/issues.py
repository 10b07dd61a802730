"""Issues over HTTP: everything that waits for a person, and decisions on rows of pushes."""

from __future__ import annotations

import math
from typing import Annotated, Literal, cast

import fastapi
import pydantic

from tidegate.api import base
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.store import holds
from tidegate.views import deciding, undecided
from tidegate.views import issues as views

IssueKind = Literal[
    "ambiguous",
    "conflict",
    "gone",
    "unknown",
    "refused",
    "invalid",
    "doubled",
    "shared",
    "claimed",
    "immutable",
    "undone",
    "watched",
    "looping",
    "failed_row",
    "approval",
    "no_permission",
    "alert",
]
HoldState = Literal["held", "waiting", "skipped", "chosen"]
DECISIONS: dict[str, holds.State] = {"retry": "waiting", "skip": "skipped", "choose": "chosen"}


class Issue(base.Model):
    """One thing that waits: a row of a push or of a pipeline, a plan, or an alert."""

    source: Literal["alert", "pipeline", "plan", "push"]
    kind: str
    flow: str
    key: str
    account: str
    field: str
    text: str
    since: base.Moment
    state: str


class IssueCandidate(base.Model):
    """An object that a row may be, with what is known of it."""

    id: str
    facts: dict[str, str]
    dashboard: str | None


class HeldRow(base.Model):
    """A row of a push that is not written, and what can be chosen for it."""

    push: str
    key: str
    kind: str
    state: str
    text: str
    field: str
    code: str
    choice: str
    failures: int
    opened_at: base.Moment
    next_at: base.Moment | None
    request_id: str
    candidates: list[IssueCandidate]
    choices: list[str]
    any: bool
    """May the id of any object be chosen?"""
    advice: str


class Decision(base.Model):
    """What becomes of a row: it is tried again, left as it is, or the next run does with it what is chosen."""

    push: Annotated[str, pydantic.Field(min_length=1, max_length=100)]
    key: Annotated[str, pydantic.Field(min_length=1, max_length=500)]
    decision: Literal["retry", "skip", "choose"]
    choice: Annotated[str, pydantic.Field(max_length=300)] = ""


class BulkDecision(base.Model):
    """The same for all rows of a kind, a flow or a search. `count` is how many one expects to be decided on."""

    decision: Literal["retry", "skip", "choose"]
    choice: Literal["", "oldest", "newest", "create", "warehouse", "stripe"] = ""
    kind: IssueKind | None = None
    flow: Annotated[str, pydantic.Field(max_length=200)] = ""
    search: Annotated[str, pydantic.Field(max_length=200)] = ""
    count: Annotated[int, pydantic.Field(ge=0)]


class RowsDecided(base.Model):
    """On how many rows was decided, and how many stay as they are."""

    decided: int
    left: int


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("issues"), desk.place

    @made.get("/issues", operation_id="listIssues", summary="List what waits for a person, oldest first")
    def listed(
        asker: asking.Reader,
        paging: base.Paging,
        kind: IssueKind | None = None,
        flow: Annotated[str, fastapi.Query(max_length=200, description="Such as push:accounts.")] = "",
        state: HoldState | None = None,
        search: Annotated[str, fastapi.Query(max_length=200)] = "",
    ) -> base.Page[Issue]:
        del asker
        after = paging.place(float, str, str, str, str)
        if after is not None and not (
            math.isfinite(after[0]) and not any("\0" in each for each in after[1:])
        ):
            raise base.problem(
                422, "after is not a place in this list; give what `next` of the page before says."
            )
        only = views.Only(kind or "", flow, state or "", search)
        found = views.listed(place, only, limit=paging.limit, after=cast("views.Place | None", after))
        return base.Page(
            items=[Issue.model_validate(each) for each in found.items],
            next=None if found.next is None else base.cursor(*found.next),
        )

    @made.get("/issues/counts", operation_id="countIssues", summary="How many issues there are of each kind")
    def counts(asker: asking.Reader) -> dict[str, int]:
        del asker
        return views.counts(place)

    @made.get("/issues/row", operation_id="getHeldRow", summary="A row that is not written, and its choices")
    def one(
        asker: asking.Reader,
        push: Annotated[str, fastapi.Query(min_length=1, max_length=100)],
        key: Annotated[str, fastapi.Query(min_length=1, max_length=500)],
    ) -> HeldRow:
        del asker
        return _held(undecided.held(place, push, key))

    @made.post("/issues/decide", operation_id="decideRow", summary="Decide on a row; the next run does it")
    def decide(asker: asking.Operator, wish: Decision) -> HeldRow:
        deciding.decide(place, asker, wish.push, wish.key, DECISIONS[wish.decision], wish.choice)
        return _held(undecided.held(place, wish.push, wish.key))

    @made.post(
        "/issues/decide-all",
        operation_id="decideRows",
        summary="Decide on all rows of a kind, a flow or a search",
    )
    def decide_all(asker: asking.Operator, wish: BulkDecision) -> RowsDecided:
        only = views.Only(wish.kind or "", wish.flow, "", wish.search)
        there = views.decidable(place.store, only)
        if there != wish.count:
            raise base.problem(409, f"There are {there:,} such rows now, and not {wish.count:,}; look again.")
        told = deciding.decide_all(place, asker, only, DECISIONS[wish.decision], wish.choice)
        return RowsDecided(**told)

    return made


def _held(found: undecided.Held) -> HeldRow:
    hold = found.hold
    return HeldRow(
        push=hold.push,
        key=hold.key,
        kind=hold.kind,
        state=hold.state,
        text=hold.text,
        field=hold.field,
        code=hold.code,
        choice=hold.choice,
        failures=hold.failures,
        opened_at=hold.opened_at,
        next_at=hold.next_at,
        request_id=found.request_id,
        candidates=[
            IssueCandidate(id=each.id, facts=dict(each.facts), dashboard=each.page)
            for each in found.candidates
        ],
        choices=[choice for choice, _ in found.choices],
        any=found.any,
        advice=deciding.ADVICE[hold.kind],
    )
