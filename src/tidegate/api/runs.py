"""Runs over HTTP: listed, looked at, followed while they go on, ended, and done again."""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import AsyncGenerator
from typing import Annotated

import fastapi
import pydantic
from starlette import requests

from tidegate import errors
from tidegate.api import base, shapes, streaming
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.store import history, reports
from tidegate.store import runs as stored
from tidegate.views import flows, following
from tidegate.views import runs as views

RunId = Annotated[
    str, fastapi.Path(description="The run's whole id.", max_length=100, examples=["run_2b58c3a1f0d94e67"])
]
Some = Annotated[str, fastapi.Query(max_length=200)]
OVER = "."
"""What the place of the last event ends with: who comes again with it has seen all of the run."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("runs"), desk.place

    @made.get("/runs", operation_id="listRuns", summary="List runs, newest first")
    def listed(
        asker: asking.FlowReader,
        paging: base.Paging,
        flow: Annotated[str, fastapi.Query(max_length=200, description="Of one flow, by its name.")] = "",
        kind: shapes.Kind | None = None,
        state: Annotated[list[shapes.State], fastapi.Query(max_length=7)] = [],  # noqa: B006, read only
        cause: Annotated[list[shapes.Cause], fastapi.Query(max_length=7)] = [],  # noqa: B006
        since: Annotated[
            pydantic.AwareDatetime | None, fastapi.Query(description="Queued then or later.")
        ] = None,
        until: Annotated[pydantic.AwareDatetime | None, fastapi.Query(description="Queued before.")] = None,
        search: Annotated[
            str,
            fastapi.Query(
                max_length=200, description="In the flow's name or the error; or how the id begins."
            ),
        ] = "",
    ) -> base.Page[shapes.Run]:
        name = _flow(place, flow) if flow else None
        if asker.flows and (name is None or not asker.knows(name)):
            raise base.problem(
                403, f"This token is for single flows; give ?flow= one of {', '.join(asker.flows)}."
            )
        only = history.Filter(name, kind, state, cause, _seconds(since), _seconds(until), search)
        found = views.page(place, only, limit=paging.limit, after=paging.place(float, str))
        after = None if found.next is None else base.cursor(*found.next)
        return base.Page(items=[shapes.run(each) for each in found.runs], next=after)

    @made.get("/runs/{run}", operation_id="getRun", summary="How a run is")
    def get(run: RunId, asker: asking.FlowReader) -> shapes.Whole:
        return shapes.whole(views.whole(place.store, _seen(place, asker, run)))

    @made.get(
        "/runs/{run}/next", operation_id="getNextRun", summary="The run of the same flow that comes after it"
    )
    def after(run: RunId, asker: asking.FlowReader) -> shapes.Whole | shapes.Waiting:
        before = _seen(place, asker, run)
        found = flows.following(place, before)
        if found is None:
            return shapes.waiting(before, None)
        return shapes.whole(views.whole(place.store, found))

    @made.get(
        "/runs/{run}/tables", operation_id="listTables", summary="The loading report: what each table got"
    )
    def tables(
        run: RunId,
        asker: asking.FlowReader,
        paging: base.Paging,
        stream: Annotated[Some, fastapi.Query(description="A part of the stream's name.")] = "",
        account: Annotated[Some, fastapi.Query(description="A part of the account's id.")] = "",
        wrong: Annotated[bool, fastapi.Query(description="Only those that did not end well.")] = False,
    ) -> base.Page[shapes.Table]:
        found = reports.page(
            place.store,
            _seen(place, asker, run).id,
            limit=paging.limit + 1,
            after=paging.place(str, str),
            stream=stream,
            account=account,
            wrong=wrong,
        )
        shown = [shapes.table(each) for each in found[: paging.limit]]
        more = len(found) > paging.limit
        return base.Page(items=shown, next=base.cursor(shown[-1].stream, shown[-1].account) if more else None)

    @made.get("/runs/{run}/lines", operation_id="listLines", summary="The log, oldest line first")
    def lines(
        run: RunId,
        asker: asking.FlowReader,
        paging: base.Paging,
        level: Annotated[list[shapes.Level], fastapi.Query(max_length=3)] = [],  # noqa: B006, read only
    ) -> base.Page[shapes.Line]:
        it = _seen(place, asker, run)
        found = views.lines(place.store, it.id, after=paging.after or "", limit=paging.limit, levels=level)
        return base.Page(
            items=[shapes.line(each) for each in found.lines], next=found.place if found.more else None
        )

    @made.get(
        "/runs/{run}/events",
        operation_id="followRun",
        summary="Follow a run while it goes on",
        response_class=fastapi.responses.StreamingResponse,
        responses={
            200: {
                "content": {streaming.MEDIA: {"schema": streaming.EVENT}},
                "description": "Server-sent events.",
            },
            204: {"description": "What Last-Event-ID names was the end."},
        },
    )
    async def follow(
        request: requests.Request,
        run: RunId,
        asker: asking.FlowReader,
        last_event_id: Annotated[str, fastapi.Header(max_length=4000)] = "",
    ) -> fastapi.Response:
        """Events: `line` for each line of the log, `progress` whenever the run is further, `end` when it has ended.

        The data of `line` is a line, of the others the run, as JSON. Last-Event-ID goes on after an event.
        """
        it = await fastapi.concurrency.run_in_threadpool(_seen, place, asker, run)
        if last_event_id.endswith(OVER):
            return fastapi.Response(status_code=204)  # which tells a browser to come no more
        await fastapi.concurrency.run_in_threadpool(views.news, place.store, it.id, last_event_id)
        return streaming.response(request, _events(streaming.follower(request), place, it.id, last_event_id))

    @made.post("/runs/{run}/cancel", operation_id="cancelRun", summary="End a run; what it committed stays")
    def cancel(run: RunId, asker: asking.FlowOperator) -> shapes.Run:
        """A queued run is cancelled at once, a running one ends within seconds. Again, it changes nothing."""
        it = _seen(place, asker, run)
        return shapes.run(it if it.state == "cancelled" else views.cancel(place, asker, it))

    @made.post(
        "/runs/{run}/retry",
        operation_id="retryRun",
        status_code=202,
        summary="Do once more what a run was to do",
    )
    def retry(run: RunId, asker: asking.FlowOperator, response: fastapi.Response) -> shapes.Run:
        """With the same options, from where the tables stand now; what was approved then is not approved again."""
        made = flows.again(place, asker, _seen(place, asker, run))
        response.headers["Location"] = shapes.url(made.id)
        return shapes.run(made)

    return made


async def _events(
    hub: following.Follower, place: places.Place, run_id: str, begin: str
) -> AsyncGenerator[bytes]:
    """A run's events from a place in its log on; an empty one where there is nothing more for now."""
    seen, told = begin, ""
    while True:
        try:
            run, found = await hub.ask(
                ("news", run_id, seen), functools.partial(views.news, place.store, run_id, seen)
            )
        except errors.StoreError:
            yield b""  # it is away, and looked for in the next turn
            continue
        for seen, line in found:
            yield streaming.event("line", shapes.line(line).model_dump_json(), seen)
        if len(found) == views.NEWS:
            continue
        state = shapes.run(run).model_dump_json()
        if not run.alive:
            yield streaming.event("end", state, f"{seen}{OVER}")
            return
        if state != told:
            told = state
            yield streaming.event("progress", state)
        yield b""


def _seen(place: places.Place, asker: asking.Asker, run_id: str) -> stored.Run:
    """The run of an address, which a token for single flows may know of; raises Unknown and Problem."""
    found = views.get(place, run_id)
    if not asker.knows(found.flow):
        raise base.problem(403, "This token is not for the flow of this run.")
    return found


def _flow(place: places.Place, name: str) -> str:
    """The full name of a flow; as it was given where the configuration has none such."""
    try:
        return flows.meant(place, name)
    except errors.ConfigError:
        return name


def _seconds(moment: dt.datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
