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


def _several(kind: object) -> object:
    """One kind, or several, or none, as several."""
    return () if kind is None else (kind,) if isinstance(kind, str) else kind


Kinds = Annotated[
    tuple[IssueKind, ...],
    pydantic.Field(max_length=17),
    pydantic.BeforeValidator(_several, json_schema_input_type=IssueKind | tuple[IssueKind, ...] | None),
]
Flow = Annotated[str, fastapi.Query(max_length=200, description="Such as push:accounts.")]
DECISIONS: dict[str, holds.State] = {"retry": "waiting", "skip": "skipped", "choose": "chosen"}


class Issue(base.Model):
    """One thing that waits for a person."""

    source: Literal["alert", "pipeline", "plan", "push"]
    """What it is: an `alert`, a row of a `pipeline` or a `push`, or a `plan` to be approved."""
    kind: str
    """That of a held row; or a `failed_row` of a pipeline, an `approval`, a `no_permission`, another `alert`."""
    flow: str
    """The full name of its flow, such as `push:accounts`."""
    key: str
    """The row's key or id, the plan's id, or the alert's matter."""
    account: str
    """The account that the row is of; empty where that says nothing."""
    field: str
    """The field or property that is wrong; empty where it is none alone."""
    text: str
    """What is wrong, in a sentence."""
    since: base.Moment
    """Since when it waits."""
    state: str
    """`held`, `waiting`, `skipped` or `chosen` of a row of a push; `open` of everything else."""


class IssueCandidate(base.Model):
    """An object that a row may be, with what is known of it."""

    id: str
    """At Stripe."""
    facts: dict[str, str]
    """What objects are told apart by, such as name and e-mail, as far as it is known here."""
    dashboard: str | None
    """Where Stripe's dashboard shows it; null where that is not known."""


class HeldRow(base.Model):
    """A row of a push that is not written, and what can be chosen for it."""

    push: str
    """Its name in the configuration."""
    key: str
    """The row's key, as the push has it."""
    kind: str
    """Why it is not written.

    `invalid`: Stripe would refuse it. `refused`: Stripe did. `doubled`: several rows have its key or its match.
    `ambiguous`: several objects match it. `shared`: its object is another row's. `claimed`: another row makes it.
    `conflict`: row and object were changed both. `immutable`: a field changed that an object has for ever.
    `gone`: somebody deleted its object. `unknown`: nobody can tell whether that was made. `undone`: a person undid
    it. `watched`: it is left out of a few runs. `looping`: what is written comes back as another value.
    """
    state: str
    """`held` until a person decides; `waiting` is tried again; `skipped` stays; `chosen` is tried at once."""
    text: str
    """What is wrong, in a sentence without personal data."""
    field: str
    """The field that is wrong; empty where it is none alone."""
    code: str
    """Stripe's code for it; empty where it said none."""
    choice: str
    """What a person chose; empty where nobody has."""
    failures: int
    """How often it failed in a row."""
    opened_at: base.Moment
    """Since when it is not written."""
    next_at: base.Moment | None
    """When it is tried again; null where it is not."""
    request_id: str
    """The request that Stripe refused; empty where there is none."""
    candidates: list[IssueCandidate]
    """Objects that it may be."""
    choices: list[str]
    """What can be chosen: an id, or a word such as `create` or `oldest`."""
    any: bool
    """May the id of any object be chosen?"""
    advice: str
    """What to do about it."""


class Decision(base.Model):
    """What becomes of a row."""

    push: Annotated[str, pydantic.Field(min_length=1, max_length=100)]
    """Its name in the configuration."""
    key: Annotated[str, pydantic.Field(min_length=1, max_length=500)]
    """The row's key."""
    decision: Literal["retry", "skip", "choose"]
    """`retry` tries it again, `skip` leaves it until it changes, `choose` does what `choice` says."""
    choice: Annotated[str, pydantic.Field(max_length=300)] = ""
    """One of the row's `choices`, or an object's id; for `choose` alone."""


class BulkDecision(base.Model):
    """What becomes of all rows of some kinds, a flow or a search."""

    decision: Literal["retry", "skip", "choose"]
    """`retry` tries them again, `skip` leaves them until they change, `choose` does what `choice` says."""
    choice: Literal["", "oldest", "newest", "create", "warehouse", "stripe"] = ""
    """Which object, or whose value, counts; for `choose` alone."""
    kind: Kinds = ()
    """Only those of this kind, or of these."""
    flow: Annotated[str, pydantic.Field(max_length=200)] = ""
    """Only those of this push, such as `push:accounts`."""
    search: Annotated[str, pydantic.Field(max_length=200)] = ""
    """Only those with this in a key or a text."""
    count: Annotated[int, pydantic.Field(ge=0)]
    """How many rows one expects to decide on; where there are others by now, it is refused."""


class RowsDecided(base.Model):
    """On how many rows was decided, and how many stay as they are."""

    decided: int
    """Rows that were decided on."""
    left: int
    """Rows that were decided on before, or for which this cannot be chosen."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("issues"), desk.place

    @made.get("/issues", operation_id="listIssues", summary="List what waits for a person, oldest first")
    def listed(
        asker: asking.Reader,
        paging: base.Paging,
        kind: Annotated[
            list[IssueKind],
            fastapi.Query(
                default_factory=list,
                max_length=17,
                description="Only those of this kind; several times for several.",
            ),
        ],
        flow: Flow = "",
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
        only = views.Only(tuple(kind), flow, state or "", search)
        found = views.listed(place, only, limit=paging.limit, after=cast("views.Place | None", after))
        return base.Page(
            items=[Issue.model_validate(each) for each in found.items],
            next=None if found.next is None else base.cursor(*found.next),
        )

    @made.get("/issues/counts", operation_id="countIssues", summary="How many issues there are of each kind")
    def counts(asker: asking.Reader, flow: Flow = "") -> dict[str, int]:
        del asker
        return views.counts(place, flow)

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
        summary="Decide on all rows of some kinds, a flow or a search",
    )
    def decide_all(asker: asking.Operator, wish: BulkDecision) -> RowsDecided:
        only = views.Only(wish.kind, wish.flow, "", wish.search)
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
