"""Flows over HTTP: what there is to run, how each stands, and having one run."""

from __future__ import annotations

import logging
from typing import Annotated

import fastapi
import pydantic

from tidegate import errors
from tidegate.api import base, shapes
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.store import calls
from tidegate.store import runs as stored
from tidegate.views import flows as views

Name = Annotated[
    str,
    fastapi.Path(
        description="Its full name, or its own where one flow only has that.",
        max_length=300,
        examples=["pull:everything"],
    ),
]

log = logging.getLogger(__name__)


class Flow(base.Model):
    """A flow and how it stands."""

    name: str
    """Its full name, such as `pull:everything`."""
    kind: shapes.Kind
    """A `pull` reads Stripe, a `pipeline` makes customers of it, a `push` writes to Stripe."""
    connection: str
    """The connection to Stripe that it goes over."""
    schedule: str
    """When it runs, in words."""
    continuous: bool
    """Does it run all the time?"""
    state: views.State
    """`running` the first time, `stopped` where it is continuous and was cancelled, `off` where it never ran."""
    stopped_until: base.Moment | None
    """When a stopped one is begun again, unless somebody starts it; null where it is not stopped."""
    waiting: str
    """Why it is due without a tick of its schedule: `after`, `retry`, `api`, ...; empty where it is not."""
    next_at: base.Moment | None
    """When it comes next; null where nothing says."""
    running: shapes.Run | None
    """The run that is queued or running; null where there is none."""
    last: shapes.Run | None
    """The newest run that has ended; null where none has."""
    age: float | None
    """Seconds: how old its oldest table is; of a pipeline or push since its newest good run began."""
    bound: float | None
    """Seconds that `age` may be; null where nothing bounds it."""
    resting: str
    """Why it does not run by itself: Stripe refuses the key, or nobody is signed in."""


class Order(base.Model):
    """What a run is to do beside the usual."""

    full_refresh: Annotated[bool, fastapi.Body(strict=True, examples=[True])] = False
    """Read everything anew; of pulls and pipelines."""
    accept_deletes: Annotated[
        list[Annotated[str, pydantic.Field(max_length=100)]],
        pydantic.Field(max_length=500, default_factory=list, examples=[["customers"]]),
    ]
    """Streams of a pull of which even very many rows may go that Stripe no longer lists."""
    approve: Annotated[bool, fastapi.Body(strict=True)] = False
    """Let more customers leave than the guard lets go; of pipelines."""
    limit: Annotated[int | None, pydantic.Field(ge=1, le=2**31 - 1, strict=True, examples=[100])] = None
    """Rows that a push writes at most, where all who share the run gave a limit."""


class Queued(base.Model):
    """A run that was asked for."""

    id: str
    """Such as `run_2b58c3a1f0d94e67`."""
    flow: str
    """The full name of its flow, such as `pull:everything`."""
    state: shapes.State
    """`queued`, or already further."""
    cause: shapes.Cause
    """What began it first: `api` where it is this call."""
    url: str
    """Where it is asked for, under this server."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("flows"), desk.place

    @made.get("/flows", operation_id="listFlows", summary="List flows, in the configuration's order")
    def listed(
        asker: asking.FlowReader,
        paging: base.Paging,
        kind: shapes.Kind | None = None,
        search: Annotated[str, fastapi.Query(max_length=200, description="A part of the name.")] = "",
    ) -> base.Page[Flow]:
        found = [
            each
            for each in views.listed(place)
            if asker.knows(each.name) and kind in (None, each.kind) and search.lower() in each.name.lower()
        ]
        shown, rest = base.part(found, paging, lambda each: each.name)
        return base.Page(items=[_flow(each) for each in shown], next=rest)

    @made.get("/flows/{flow}", operation_id="getFlow", summary="How a flow stands")
    def get(flow: Name, asker: asking.FlowReader) -> Flow:
        return _flow(views.one(place, _chosen(desk, asker, flow)))

    @made.post(
        "/flows/{flow}/runs",
        operation_id="startFlow",
        status_code=202,
        summary="Have a flow run now",
        responses={
            200: {"model": Queued, "description": "The run that does what was asked was there already."}
        },
    )
    def start(
        flow: Name,
        asker: asking.FlowOperator,
        response: fastapi.Response,
        order: Order | None = None,
    ) -> Queued | shapes.Waiting:
        """A flow that has no run gets one; who asks while one is queued gets that; while one runs, the next.

        The queued run does what each has asked for. A push that is begun so writes what no guard holds.
        """
        name, order = _chosen(desk, asker, flow), order or Order(accept_deletes=[])
        call = views.ask(
            place,
            asker,
            name,
            full_refresh=order.full_refresh,
            accept_deletes=order.accept_deletes,
            approve=order.approve,
            limit=order.limit,
        )
        found: stored.Run | None = call.run
        if call.waits:
            found, _ = calls.following(place.store, call.run)
        response.status_code = 202 if call.new or found is None else 200
        if found is None:
            told: Queued | shapes.Waiting = shapes.waiting(call.run, "api")
        else:
            told = Queued(
                id=found.id, flow=found.flow, state=found.state, cause=found.cause, url=shapes.url(found.id)
            )
        response.headers["Location"] = told.url
        if call.new:
            log.info(
                "%s of %s was asked for by %s", call.run.id, name, asker.name, extra={"run": call.run.id}
            )
        return told

    return made


def _flow(it: views.Standing) -> Flow:
    fields = {name: getattr(it, name) for name in Flow.model_fields}
    runs = {name: each and shapes.run(each) for name, each in (("running", it.running), ("last", it.last))}
    return Flow.model_validate({**fields, **runs})


def _chosen(desk: desks.Desk, asker: asking.Asker, name: str) -> str:
    """The full name of the flow of an address; what a token is not for, it does not tell of either."""
    try:
        found: str | None = views.meant(desk.place, name)
        why = ""
    except errors.ConfigError as error:
        found, why = None, str(error)
    if asker.flows and (found is None or not asker.knows(found)):
        raise base.problem(403, "This token is not for this flow.")
    if found is None:
        raise base.problem(404, why)
    return found
