"""Jobs over HTTP: audits, estimates, forgetting, rehearsals and verifications, begun, followed and ended.

Each is done in the background: the call that begins it answers at once, with the address of the job.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated

import fastapi
import pydantic
from starlette import requests

from tidegate import errors
from tidegate.api import base, findings, streaming
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.store import jobs as stored
from tidegate.views import audits, estimates, following, forgets, rehearsals, verifications
from tidegate.views import jobs as views

JobId = Annotated[
    str, fastapi.Path(description="The job's id.", max_length=100, examples=["job_5d0c1b7e9a3f4268"])
]
OVER = "end"
"""The id of the last event of a job."""
Name = Annotated[str, pydantic.Field(min_length=1, max_length=63)]
Streams = Annotated[list[Annotated[str, pydantic.Field(max_length=100)]], pydantic.Field(max_length=500)]


class JobProgress(base.Model):
    """How far a job is."""

    phase: str = ""
    """What is being done just now, in words."""
    rows: int = 0
    """Rows that were read so far."""
    requests: int = 0
    """Requests to Stripe so far."""


class Job(base.Model):
    """What is done once in the background."""

    id: str
    """Such as `job_5d0c1b7e9a3f4268`."""
    kind: stored.Kind
    """What is done; `result` and rows are of the same kind."""
    what: str
    """What it is about, such as pull:everything."""
    state: stored.State
    """`running` until it ends; `partial` found differences, or did not come to all of it."""
    url: str
    """Where it is asked for, under this server."""
    made_by: str
    """Who had it begun."""
    begun_at: base.Moment
    """When it was asked for."""
    ended_at: base.Moment | None
    """When it ended; null while it goes on."""
    cancelled_by: str
    """Who ended it; empty where nobody did."""
    attempts: int
    """How often it was begun: more than once where a server that did it is gone."""
    progress: JobProgress
    """How far it is, or was at its end."""
    result: findings.Result | None
    """What it came to; null before its end, and where it failed."""
    error: str
    """Why it failed, in a sentence; empty where it did not."""


class AuditOrder(base.Model):
    """What is audited."""

    pull: Annotated[Name, pydantic.Field(examples=["everything"])]
    """Its name in the configuration."""
    streams: Annotated[Streams, pydantic.Field(default_factory=list, examples=[["customers"]])]
    """Only these of its streams; all where none is named."""
    since: Annotated[str, pydantic.Field(max_length=40, examples=["2026-01-31"])] = ""
    """Only rows that were created since, such as `2026-01-31`; all where it is empty."""
    repair: Annotated[bool, pydantic.Field(strict=True)] = False
    """Load what is missing or other than at Stripe, and mark as deleted what Stripe no longer has."""


class EstimateOrder(base.Model):
    """What is estimated."""

    pull: Annotated[Name, pydantic.Field(examples=["everything"])]
    """Its name in the configuration."""
    streams: Annotated[Streams, pydantic.Field(default_factory=list, examples=[["customers"]])]
    """Only these of its streams; all where none is named."""


class Confirmation(base.Model):
    """That somebody means it."""

    word: Annotated[str, pydantic.Field(max_length=20, examples=["forget"])]
    """The word `forget`."""
    customers: Annotated[int, pydantic.Field(ge=0, strict=True, examples=[1])]
    """How many customers are forgotten."""


class ForgetOrder(base.Model):
    """Whose personal data is erased."""

    customers: Annotated[
        list[Annotated[str, pydantic.Field(max_length=255)]],
        pydantic.Field(min_length=1, max_length=forgets.MOST, examples=[["cus_NffrFeUfNV2Hib"]]),
    ]
    """Their ids at Stripe."""
    account: Annotated[str, pydantic.Field(max_length=100, pattern=r"^(acct_\w+)?$")] = ""
    """Only this account's; of every account that knows them otherwise."""
    dry_run: Annotated[bool, pydantic.Field(strict=True)] = True
    """Only count what would be erased."""
    confirm: Confirmation | None = None
    """Needed where it is no dry run."""


class RehearsalOrder(base.Model):
    """Which push is rehearsed."""

    push: Annotated[Name, pydantic.Field(examples=["accounts"])]
    """Its name in the configuration."""
    connection: Annotated[str, pydantic.Field(max_length=63)] = ""
    """Another connection, which has a test key; empty for a sandbox."""
    limit: Annotated[int | None, pydantic.Field(ge=1, le=base.EXACT, strict=True)] = None
    """Rows that are written at the most."""


class VerificationOrder(base.Model):
    """Which push is verified."""

    push: Annotated[Name, pydantic.Field(examples=["accounts"])]
    """Its name in the configuration."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("jobs"), desk.place

    @made.post("/audits", operation_id="startAudit", status_code=202, summary="Have a pull audited")
    def audit(order: AuditOrder, asker: asking.Operator, response: fastapi.Response) -> Job:
        """Every list is read once more and compared with the tables; what changes meanwhile is no difference."""
        found = audits.begin(
            place, asker, order.pull, streams=order.streams, since=order.since, repair=order.repair
        )
        return _begun(found, response)

    @made.post(
        "/estimates",
        operation_id="startEstimate",
        status_code=202,
        summary="Have a pull estimated, beforehand",
    )
    def estimate(order: EstimateOrder, asker: asking.Operator, response: fastapi.Response) -> Job:
        """Which streams the key may read, and how many rows, requests and seconds they take."""
        return _begun(estimates.begin(place, asker, order.pull, streams=order.streams), response)

    @made.post(
        "/forgets", operation_id="startForget", status_code=202, summary="Have customers forgotten, for good"
    )
    def forget(order: ForgetOrder, asker: asking.Admin, response: fastapi.Response) -> Job:
        """Out of warehouses, customer models and what pushes keep; later pulls bring nothing of it back."""
        said = ("", 0) if order.confirm is None else (order.confirm.word, order.confirm.customers)
        found = forgets.begin(
            place, asker, order.customers, account=order.account, dry_run=order.dry_run, confirmed=said
        )
        return _begun(found, response)

    @made.post(
        "/rehearsals",
        operation_id="startRehearsal",
        status_code=202,
        summary="Have a push tried out elsewhere",
    )
    def rehearse(order: RehearsalOrder, asker: asking.Operator, response: fastapi.Response) -> Job:
        """In a sandbox that begins as the account is, or with a test key; nothing of the push itself is touched."""
        found = rehearsals.begin(place, asker, order.push, connection=order.connection, limit=order.limit)
        return _begun(found, response)

    @made.post(
        "/verifications",
        operation_id="startVerification",
        status_code=202,
        summary="Have looked what others changed of what a push wrote",
    )
    def verify(order: VerificationOrder, asker: asking.Operator, response: fastapi.Response) -> Job:
        """Nothing is written; a plan with `repair` shows the values, and brings them back once it is approved."""
        return _begun(verifications.begin(place, asker, order.push), response)

    @made.get("/jobs", operation_id="listJobs", summary="List jobs, newest first")
    def listed(
        asker: asking.Reader,
        paging: base.Paging,
        kind: stored.Kind | None = None,
        state: stored.State | None = None,
    ) -> base.Page[Job]:
        """Those that forget customers are for admins."""
        found = views.listed(
            place, asker.scope, kind=kind, state=state, after=paging.place(float, str), limit=paging.limit
        )
        after = None if found.next is None else base.cursor(*found.next)
        return base.Page(items=[_job(each) for each in found.items], next=after)

    @made.get("/jobs/{job}", operation_id="getJob", summary="How a job is, and what it came to")
    def one(job: JobId, asker: asking.Reader) -> Job:
        return _job(views.one(place, job, asker.scope))

    @made.get(
        "/jobs/{job}/rows",
        operation_id="listJobRows",
        summary="What a job found, line by line, the worst first",
    )
    def rows(
        job: JobId,
        asker: asking.Reader,
        paging: base.Paging,
        wrong: Annotated[bool, fastapi.Query(description="Only where something is wrong.")] = False,
    ) -> base.Page[findings.JobRow]:
        """Of audits and estimates the streams, of a rehearsal what was refused, of a verification what drifted."""
        it = views.one(place, job, asker.scope)
        after = paging.place(int)
        start = 0 if after is None else min(max(after[0], 0), base.EXACT)
        found = views.rows(place, it, wrong=wrong, after=start, limit=paging.limit)
        return base.Page(
            items=[findings.row(it.kind, each, audits.next_step(each)) for each in found.items]
            if it.kind == "audit"
            else [findings.row(it.kind, each) for each in found.items],
            next=None if found.next is None else base.cursor(found.next),
        )

    @made.get(
        "/jobs/{job}/events",
        operation_id="followJob",
        summary="Follow a job while it goes on",
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
        job: JobId,
        asker: asking.Reader,
        last_event_id: Annotated[str, fastapi.Header(max_length=4000)] = "",
    ) -> fastapi.Response:
        """Events: `progress` whenever the job is further, `end` when it has ended. Their data is the job."""
        it = await fastapi.concurrency.run_in_threadpool(views.one, place, job, asker.scope)
        if last_event_id == OVER:
            return fastapi.Response(status_code=204)  # which tells a browser to come no more
        return streaming.response(request, _events(streaming.follower(request), place, it.id))

    @made.post("/jobs/{job}/cancel", operation_id="cancelJob", summary="End a job; what it did stays")
    def cancel(job: JobId, asker: asking.Operator) -> Job:
        """It ends within seconds. Again, it changes nothing."""
        it = views.one(place, job, asker.scope)
        return _job(it if it.state == "cancelled" else views.cancel(place, asker, it))

    return made


async def _events(hub: following.Follower, place: places.Place, job_id: str) -> AsyncGenerator[bytes]:
    told = ""
    while True:
        try:
            job = await hub.ask(("job", job_id), lambda: stored.get(place.store, job_id))
        except errors.StoreError:
            yield b""  # it is away, and looked for in the next turn
            continue
        if job is None:
            return
        state = _job(job).model_dump_json()
        if not job.alive:
            yield streaming.event("end", state, OVER)
            return
        if state != told:
            told = state
            yield streaming.event("progress", state)
        yield b""


def _begun(job: stored.Job, response: fastapi.Response) -> Job:
    response.headers["Location"] = _url(job)
    return _job(job)


def _url(job: stored.Job) -> str:
    return f"{base.PREFIX}/jobs/{job.id}"


def _job(it: stored.Job) -> Job:
    return Job(
        id=it.id,
        kind=it.kind,
        what=it.what,
        state=it.state,
        url=_url(it),
        made_by=it.made_by,
        begun_at=it.begun_at,
        ended_at=it.ended_at,
        cancelled_by=it.stop,
        attempts=it.attempts,
        progress=JobProgress.model_validate(it.shown),
        result=findings.result(it.kind, it.result) if it.result else None,
        error=it.error,
    )
