"""Pushes over HTTP: how they stand, what they wrote, rows and their history."""

from __future__ import annotations

from typing import Annotated

import fastapi

from tidegate import errors
from tidegate.api import base, plans
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.store import records as stored
from tidegate.views import pushes as views
from tidegate.views import records

WRITTEN = 10_000
"""Runs that wrote something of which is told, the newest."""


class Push(base.Model):
    """A push and how it stands."""

    name: str
    """As the configuration calls it."""
    model: str
    """The model whose rows it sends."""
    connection: str
    """The connection over which it writes."""
    object: str
    """The kind of object that it writes, such as `customer`."""
    behavior: str
    """`update_or_create`, `update_only`, `create_only`, or `mirror`, which also acts on rows that are gone."""
    schedule: str
    """When it runs, in words."""
    state: str
    """`running` the first time, `fresh`, `behind`, `failed`, or `off` where it never ran."""
    waiting: int
    """Its rows that are not written for now."""
    plan: str | None
    """The id of its newest plan."""


class WrittenRun(base.Model):
    """A run that did something at Stripe and can be undone."""

    run: str
    """Its id."""
    at: base.Moment
    """When it began to write."""
    actions: dict[str, int]
    """How often each was done, such as `create` and `update`."""


class RecordRow(base.Model):
    """A row of a push."""

    key: str
    """The row's key, as the push has it."""
    target: str | None
    """The id of its object; null where it has none."""
    gone: str
    """`deleted` by this push, or `missing` since somebody else did it; empty where its object is there."""
    hold: str | None
    """Why it is not written, such as `ambiguous`; null where it is."""
    text: str
    """The same in a sentence; empty where it is written."""


class RecordEntry(base.Model):
    """One line of a row's history."""

    at: base.Moment
    """When it happened."""
    what: str
    """What happened, such as `planned`, `sent`, `done` or `refused`."""
    text: str
    """More of it, without personal data."""
    operation: str
    """The operation that it is of, by its id; empty where it is of none."""
    changes: list[plans.FieldChange]
    """What that one wrote, field by field."""


class Operation(base.Model):
    """What an operation is of."""

    push: str
    """Its name in the configuration."""
    key: str
    """The row's key."""


class PushRecord(base.Model):
    """A row with its whole history."""

    key: str
    """The row's key, as the push has it."""
    target: str | None
    """The id of its object; null where it has none."""
    dashboard: str | None
    """Where Stripe's dashboard shows that; null where it has none."""
    hold: str | None
    """Why it is not written, such as `ambiguous`; null where it is."""
    entries: list[RecordEntry]
    """What happened to it, oldest first."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("pushes"), desk.place

    @made.get("/pushes", operation_id="listPushes", summary="List pushes and how they stand")
    def listed(asker: asking.Reader, paging: base.Paging) -> base.Page[Push]:
        del asker
        shown, rest = base.part(views.listed(place), paging, lambda each: each.name)
        return base.Page(items=[_push(each) for each in shown], next=rest)

    @made.get("/pushes/{push}", operation_id="getPush", summary="How a push stands")
    def one(push: plans.Name, asker: asking.Reader) -> Push:
        del asker
        return _push(views.one(place, push))

    @made.get("/pushes/{push}/written", operation_id="listWritten", summary="The runs that wrote something")
    def written(push: plans.Name, asker: asking.Reader, paging: base.Paging) -> base.Page[WrittenRun]:
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
        push: plans.Name,
        asker: asking.Reader,
        paging: base.Paging,
        search: Annotated[
            plans.Some, fastapi.Query(description="How the key begins, or an object's id.")
        ] = "",
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
        push: plans.Name,
        asker: asking.Reader,
        key: Annotated[str, fastapi.Query(min_length=1, max_length=500)],
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
                        plans.FieldChange(field=path, before=before, after=after)
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


def _record_row(each: records.Row) -> RecordRow:
    return RecordRow(
        key=each.key,
        target=None if each.link is None else each.link.target,
        gone="" if each.link is None else each.link.gone,
        hold=None if each.hold is None else each.hold.kind,
        text="" if each.hold is None else each.hold.text,
    )
