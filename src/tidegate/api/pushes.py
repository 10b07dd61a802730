"""Pushes over HTTP: how they stand, plans that are made, looked at and approved, rows and their history."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import fastapi
import pydantic

from tidegate import errors
from tidegate.api import base, shapes
from tidegate.engine import place as places
from tidegate.push import plan as push_plan
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.store import plans
from tidegate.store import records as stored
from tidegate.views import push_plans, records
from tidegate.views import pushes as views

Name = Annotated[str, fastapi.Path(max_length=100, description="The push's name in the configuration.")]
PlanId = Annotated[str, fastapi.Path(max_length=100, description="The plan's id.")]
Some = Annotated[str, fastapi.Query(max_length=500)]
WRITTEN = 10_000
"""Runs that wrote something of which is told, the newest."""
RowKind = Literal["create", "update", "remove", "held", "invalid", "unmatched", "unchanged"]


class Push(base.Model):
    """A push and how it stands; `waiting` are its rows that are not written."""

    name: str
    model: str
    connection: str
    object: str
    behavior: str
    schedule: str
    state: str
    waiting: int
    plan: str | None
    """The id of its newest plan."""


class PlanCounts(base.Model):
    """Where every row of the model goes: `source` is the sum of all but `removed`."""

    source: int = 0
    invalid: int = 0
    filtered: int = 0
    unchanged: int = 0
    unmatched: int = 0
    held: int = 0
    quarantined: int = 0
    created: int = 0
    updated: int = 0
    removed: int = 0


class Plan(base.Model):
    """A plan; what it comes to is known once its state is `planned`. Approving it takes its `digest`."""

    id: str
    url: str
    push: str
    kind: Literal["push", "undo"]
    state: Literal["making", "planned", "failed", "approved", "applied"]
    phase: str
    error: str
    digest: str
    counts: PlanCounts | None
    guards: list[str]
    notes: list[str]
    requests: int
    seconds: float
    made_by: str
    begun_at: base.Moment
    planned_at: base.Moment | None
    approved_by: str
    approved_at: base.Moment | None
    run: str | None
    applied_at: base.Moment | None


class FieldChange(base.Model):
    """What a field has, and what it is to have; null is nothing."""

    field: str
    before: str | None
    after: str | None


class PlanRow(base.Model):
    """What is to become of a row, and why."""

    key: str
    verdict: str
    action: str
    target: str
    changes: list[FieldChange]
    kind: str
    field: str
    text: str
    candidates: list[str]


class PlanWish(base.Model):
    """What a plan is for: what the push would write, with `repair` also what others changed at Stripe."""

    repair: bool = False


class UndoWish(base.Model):
    """What is to be undone: what a run did, or what was done last to rows; and what becomes of what it created."""

    run: Annotated[str, pydantic.Field(min_length=1, max_length=100)] | None = None
    keys: Annotated[
        tuple[Annotated[str, pydantic.Field(min_length=1, max_length=500)], ...],
        pydantic.Field(max_length=500),
    ] = ()
    created: Literal["leave", "archive", "delete"] = "leave"


class Approval(base.Model):
    """Which plan is approved: the digest of the one that was shown."""

    digest: Annotated[str, pydantic.Field(min_length=1, max_length=100)]


class WrittenRun(base.Model):
    """A run that did something at Stripe, and how often each action; it can be undone."""

    run: str
    at: base.Moment
    actions: dict[str, int]


class RecordRow(base.Model):
    """A row of a push: its object, and why it is not written where it is not."""

    key: str
    target: str | None
    gone: str
    hold: str | None
    text: str


class RecordEntry(base.Model):
    """One line of a row's history, with what it changed."""

    at: base.Moment
    what: str
    text: str
    operation: str
    changes: list[FieldChange]


class Operation(base.Model):
    """The push and the row that an operation is of."""

    push: str
    key: str


class PushRecord(base.Model):
    """A row with its whole history, oldest first."""

    key: str
    target: str | None
    dashboard: str | None
    hold: str | None
    entries: list[RecordEntry]


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("pushes"), desk.place

    @made.get("/pushes", operation_id="listPushes", summary="List pushes and how they stand")
    def listed(asker: asking.Reader, paging: base.Paging) -> base.Page[Push]:
        del asker
        shown, rest = base.part(views.listed(place), paging, lambda each: each.name)
        return base.Page(items=[_push(each) for each in shown], next=rest)

    @made.get("/pushes/{push}", operation_id="getPush", summary="How a push stands")
    def one(push: Name, asker: asking.Reader) -> Push:
        del asker
        return _push(views.one(place, push))

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
        found = push_plans.make(place, asker, push, repair=wish is not None and wish.repair)
        return _begun(_plan(place, push, found.id), response)

    @made.post(
        "/pushes/{push}/undo",
        operation_id="planUndo",
        status_code=202,
        summary="Have the undo of a run, or of single rows, planned",
    )
    def undo(push: Name, asker: asking.Operator, response: fastapi.Response, wish: UndoWish) -> Plan:
        found = push_plans.make_undo(place, asker, push, run=wish.run, keys=wish.keys, created=wish.created)
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

    @made.get("/pushes/{push}/written", operation_id="listWritten", summary="The runs that wrote something")
    def written(push: Name, asker: asking.Reader, paging: base.Paging) -> base.Page[WrittenRun]:
        del asker
        views.named(place, push)
        found = stored.runs(place.store, push, limit=WRITTEN)
        shown, rest = base.part(found, paging, lambda each: each.run)
        items = [WrittenRun(run=each.run, at=each.at, actions=dict(each.actions)) for each in shown]
        return base.Page(items=items, next=rest)

    @made.get(
        "/pushes/{push}/records", operation_id="listRecords", summary="Rows that have an object or wait"
    )
    def all_records(
        push: Name,
        asker: asking.Reader,
        paging: base.Paging,
        search: Annotated[Some, fastapi.Query(description="How the key begins, or an object's id.")] = "",
    ) -> base.Page[RecordRow]:
        del asker
        views.named(place, push)
        after = paging.place(str)
        found = records.listed(
            place.store,
            push,
            search=search,
            after="" if after is None else after[0].replace("\0", ""),
            limit=paging.limit,
        )
        return base.Page(
            items=[_record_row(each) for each in found.items],
            next=None if found.next is None else base.cursor(found.next),
        )

    @made.get("/pushes/{push}/record", operation_id="getRecord", summary="The whole history of a row")
    def record(
        push: Name, asker: asking.Reader, key: Annotated[str, fastapi.Query(min_length=1, max_length=500)]
    ) -> PushRecord:
        del asker
        views.named(place, push)
        found = records.one(place.store, push, key)
        return PushRecord(
            key=found.key,
            target=None if found.link is None else found.link.target,
            dashboard=None if found.link is None else records.page(found.link),
            hold=None if found.hold is None else found.hold.kind,
            entries=[
                RecordEntry(
                    at=each.at,
                    what=each.what,
                    text=each.text,
                    operation=each.operation,
                    changes=[
                        FieldChange(field=path, before=before, after=after)
                        for path, (before, after) in found.told(each).items()
                    ],
                )
                for each in found.entries
            ],
        )

    @made.get(
        "/operations/{operation:path}", operation_id="findOperation", summary="Which row an operation is of"
    )
    def operation(
        operation: Annotated[
            str, fastapi.Path(max_length=300, description="Its id, or the idempotency key that Stripe shows.")
        ],
        asker: asking.Reader,
    ) -> Operation:
        del asker
        try:
            push, key = records.named(place.store, operation)
        except errors.ConfigError:
            said = "There is no operation of this id or key; one that ended is kept for 90 days."
            raise base.problem(404, said) from None
        return Operation(push=push, key=key)

    return made


def _push(each: views.Sync) -> Push:
    return Push(
        name=each.name,
        model=each.push.model,
        connection=each.push.connection,
        object=each.push.object,
        behavior=each.push.behavior,
        schedule=each.standing.schedule,
        state=each.standing.state,
        waiting=each.waiting,
        plan=None if each.plan is None else each.plan.id,
    )


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
        guards=list(found.guards),
        notes=list(found.notes),
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


def _record_row(each: records.Row) -> RecordRow:
    return RecordRow(
        key=each.key,
        target=None if each.link is None else each.link.target,
        gone="" if each.link is None else each.link.gone,
        hold=None if each.hold is None else each.hold.kind,
        text="" if each.hold is None else each.hold.text,
    )
