"""Plans over HTTP: what a push or an undo would write is made, looked at, approved or discarded."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import fastapi
import pydantic

from tidegate.api import base, shapes
from tidegate.engine import place as places
from tidegate.push import plan as push_plan
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.store import plans
from tidegate.views import push_plans, push_words

Name = Annotated[str, fastapi.Path(max_length=100, description="The push's name in the configuration.")]
PlanId = Annotated[str, fastapi.Path(max_length=100, description="The plan's id.")]
Some = Annotated[str, fastapi.Query(max_length=500)]
RowKind = Literal["create", "update", "remove", "held", "invalid", "unmatched", "unchanged"]


class PlanCounts(base.Model):
    """Where every row of the model goes."""

    source: int = 0
    """Rows of the model: the sum of all others but `removed`."""
    invalid: int = 0
    """Rows without a usable key, or with values that Stripe never takes."""
    filtered: int = 0
    """Rows that the push's filter leaves out."""
    unchanged: int = 0
    """Rows that Stripe has as they are."""
    unmatched: int = 0
    """Rows that find no object and make none, or whose object is to stay as it is."""
    held: int = 0
    """Rows that wait for a person."""
    quarantined: int = 0
    """Rows that Stripe refused before, that were undone, or that share a key; they wait until they change."""
    created: int = 0
    """Rows of which an object is to be made."""
    updated: int = 0
    """Rows whose object is to be changed."""
    removed: int = 0
    """Objects whose rows are gone, and that are handled as the push says."""


class Plan(base.Model):
    """A plan: what would be written, and nothing is before it is approved."""

    id: str
    """Such as `plan_1f6c0a9be2d34785`."""
    url: str
    """Where it is asked for, under this server."""
    push: str
    """Its name in the configuration."""
    kind: Literal["push", "undo"]
    """`push` writes rows, `undo` takes back what was written."""
    state: Literal["making", "planned", "failed", "approved", "applied"]
    """`making` goes on; `planned` can be approved; `applied` was done."""
    phase: str
    """What is being done while it is made; empty otherwise."""
    error: str
    """Why it could not be made; empty where it could."""
    digest: str
    """Stands for all that it would do; approving it takes this."""
    counts: PlanCounts | None
    """Where rows go; null until it is planned."""
    limit: int | None
    """Rows that are written at most once it is approved; null where all are."""
    guards: list[str]
    """Why somebody has to approve it first, in sentences."""
    notes: list[str]
    """Why it may not be what would be planned now, in sentences."""
    unclear: list[str]
    """Which rows of the model cannot be told apart, in sentences."""
    undecided: int
    """Operations of earlier runs of which nobody knows yet how they ended."""
    requests: int
    """Requests to Stripe that it takes, without its limit."""
    seconds: float
    """Seconds that these requests take at the budget's rate."""
    made_by: str
    """Who had it made."""
    begun_at: base.Moment
    """When it was asked for."""
    planned_at: base.Moment | None
    """When it was made; null while it is not."""
    approved_by: str
    """Who approved it; empty where nobody did."""
    approved_at: base.Moment | None
    """When it was approved; null while it is not."""
    run: str | None
    """The run that does it, by its id; null where there is none."""
    applied_at: base.Moment | None
    """When it was done; null while it is not."""


class FieldChange(base.Model):
    """What becomes of a field."""

    field: str
    """Such as `metadata.plan`."""
    before: str | None
    """What it has; null where it is empty or not shown."""
    after: str | None
    """What it is to have; null is nothing."""


class PlanRow(base.Model):
    """What is to become of a row, and why."""

    key: str
    """The row's key; empty where it has none that is usable."""
    verdict: str
    """`create`, `update` or `remove` is a write; `equal` and `over` need none; of the others see `text`."""
    action: str
    """Of a write: `create`, `update`, `replace`, `clear`, `flag`, `archive` or `delete`; empty otherwise."""
    target: str
    """The id of its object; empty where it has none."""
    changes: list[FieldChange]
    """What is written, field by field."""
    kind: str
    """Why it is not written, such as `ambiguous`; empty where it is."""
    field: str
    """The field that is wrong; empty where it is none alone."""
    text: str
    """Why, or what else the write does, without personal data."""
    candidates: list[str]
    """What a person may choose from, such as ids of objects."""


Limit = Annotated[int | None, pydantic.Field(ge=1, le=2**31 - 1, strict=True)]
"""Rows that are written at most, once a plan is approved."""


class PlanWish(base.Model):
    """What a plan is for."""

    repair: bool = False
    """Write also what others changed at Stripe."""
    limit: Limit = None
    """Of all that is planned so many rows are written at most, to see a few at Stripe first."""


class UndoWish(base.Model):
    """What is to be undone: what a run did, or what was done last to rows."""

    run: Annotated[str, pydantic.Field(min_length=1, max_length=100)] | None = None
    """The run, by its id."""
    keys: Annotated[
        tuple[Annotated[str, pydantic.Field(min_length=1, max_length=500)], ...],
        pydantic.Field(max_length=500),
    ] = ()
    """Only these rows; without `run`, what was done to them last."""
    created: Literal["leave", "archive", "delete"] = "leave"
    """What becomes of objects that were created: they stay, are archived, or are deleted."""
    limit: Limit = None
    """Of all that is planned so many rows are written at most."""


class Approval(base.Model):
    """Which plan is approved."""

    digest: Annotated[str, pydantic.Field(min_length=1, max_length=100)]
    """That of the plan that was shown."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("pushes"), desk.place

    @made.post(
        "/pushes/{push}/plans",
        operation_id="makePlan",
        status_code=202,
        summary="Have a plan made: what would be written, and nothing is",
    )
    def make(
        push: Name, asker: asking.Operator, response: fastapi.Response, wish: PlanWish | None = None
    ) -> Plan:
        """The plan is made in the background; ask for it again until its state is not `making`."""
        wish = wish or PlanWish()
        found = push_plans.make(place, asker, push, repair=wish.repair, limit=wish.limit)
        return _begun(_plan(place, push, found.id), response)

    @made.post(
        "/pushes/{push}/undo",
        operation_id="planUndo",
        status_code=202,
        summary="Have the undo of a run, or of single rows, planned",
    )
    def undo(push: Name, asker: asking.Operator, response: fastapi.Response, wish: UndoWish) -> Plan:
        found = push_plans.make_undo(
            place, asker, push, run=wish.run, keys=wish.keys, created=wish.created, limit=wish.limit
        )
        return _begun(_plan(place, push, found.id), response)

    @made.get("/pushes/{push}/plan", operation_id="getNewestPlan", summary="The newest plan of a push")
    def newest(push: Name, asker: asking.Reader) -> Plan:
        del asker
        found = push_plans.planned(place, push)
        if found is None:
            raise base.problem(404, "There is no plan of this push; make one.")
        return _shown(found)

    @made.get("/pushes/{push}/plans/{plan}", operation_id="getPlan", summary="A plan")
    def get(push: Name, plan: PlanId, asker: asking.Reader) -> Plan:
        del asker
        return _plan(place, push, plan)

    @made.get("/pushes/{push}/plans/{plan}/rows", operation_id="listPlanRows", summary="The rows of a plan")
    def rows(
        push: Name,
        plan: PlanId,
        asker: asking.Reader,
        paging: base.Paging,
        kind: RowKind | None = None,
        search: Annotated[Some, fastapi.Query(description="How the key begins.")] = "",
    ) -> base.Page[PlanRow]:
        del asker
        it = push_plans.plan_of(place, push, plan).plan
        after = paging.place(int)
        start = 0 if after is None else min(max(after[0], 0), base.EXACT)
        found = push_plans.rows(place, it, kind=kind or "", search=search, after=start, limit=paging.limit)
        return base.Page(
            items=[_row(each) for _, each in found.items],
            next=None if found.next is None else base.cursor(found.next),
        )

    @made.post(
        "/pushes/{push}/plans/{plan}/approve",
        operation_id="approvePlan",
        status_code=202,
        summary="Have exactly this plan done, once",
    )
    def approve(
        push: Name,
        plan: PlanId,
        asker: asking.Operator,
        approval: Approval,
        response: fastapi.Response,
    ) -> shapes.Run:
        """Guards count as approved, too."""
        run = push_plans.approve(place, asker, push, plan, approval.digest)
        response.headers["Location"] = shapes.url(run.id)
        return shapes.run(run)

    @made.delete(
        "/pushes/{push}/plans/{plan}",
        operation_id="discardPlan",
        status_code=204,
        summary="Remove a plan that nobody approved",
    )
    def discard(push: Name, plan: PlanId, asker: asking.Operator) -> None:
        push_plans.discard(place, asker, push, plan)

    return made


def _plan(place: places.Place, push: str, plan_id: str) -> Plan:
    return _shown(push_plans.plan_of(place, push, plan_id))


def _begun(made: Plan, response: fastapi.Response) -> Plan:
    response.headers["Location"] = made.url
    return made


def _shown(found: push_plans.Planned) -> Plan:
    it: plans.Plan = found.plan
    told: dict[str, Any] = dict(found.counts)
    return Plan(
        id=it.id,
        url=f"{base.PREFIX}/pushes/{it.push}/plans/{it.id}",
        push=it.push,
        kind=it.kind,
        state=it.state,
        phase=it.phase,
        error=it.error,
        digest=it.digest,
        counts=PlanCounts(**told) if told else None,
        limit=found.limit,
        guards=list(found.guards),
        notes=list(found.notes),
        unclear=list(push_words.unclear(found.told)),
        undecided=int(found.told.get("undecided", 0)),
        requests=int(found.told.get("requests", 0)),
        seconds=float(found.told.get("seconds", 0.0)),
        made_by=it.made_by,
        begun_at=it.begun_at,
        planned_at=it.planned_at,
        approved_by=it.approved_by,
        approved_at=it.approved_at,
        run=it.run or None,
        applied_at=it.applied_at,
    )


def _row(each: push_plan.Entry) -> PlanRow:
    return PlanRow(
        key=each.key or "",
        verdict=each.verdict,
        action=each.action,
        target=each.target,
        changes=[
            FieldChange(field=path, before=pair.before, after=pair.after)
            for path, pair in each.changes.items()
        ],
        kind=each.kind,
        field=each.field,
        text=each.text,
        candidates=list(each.candidates),
    )
