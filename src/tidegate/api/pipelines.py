"""Pipelines over HTTP: how each stands, tried before they are kept, their quarantine, and what they ran with.

A pipeline is made, changed and removed as every part of the configuration: `/configuration/pipelines/{name}`.
"""

from __future__ import annotations

from typing import Annotated, Any

import fastapi

from tidegate import errors
from tidegate.api import base, shapes
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import pipeline_failures, pipeline_trials, pipeline_versions
from tidegate.views import pipelines as views

Name = Annotated[str, fastapi.Path(max_length=63, description="The pipeline's name.")]
Id = Annotated[str, fastapi.Body(min_length=1, max_length=200)]
Body = Annotated[
    dict[str, Any] | None,
    fastapi.Body(description="The pipeline as it would be written; as it is kept where nothing is said."),
]


class Pipeline(base.Model):
    """A pipeline and how it stands."""

    name: str
    """As the configuration calls it."""
    description: str
    """What its author says of it; empty where nothing."""
    connection: str
    """The connection whose rows it reads."""
    stream: str
    """What it reads, such as `customers`."""
    warehouse: str
    """Where the customer model is."""
    filter: str
    """Which rows it takes, in words; empty for all."""
    enabled: bool
    """Does it run at all?"""
    schedule: str
    """When it runs, in words."""
    running: shapes.Run | None
    """The run that is queued or running; null where there is none."""
    last: shapes.Run | None
    """The newest run that has ended; null where none has."""
    next_at: base.Moment | None
    """When it comes next; null where nothing says."""
    age: float | None
    """Seconds since its newest good run began; null where it never ran well."""
    quarantined: int
    """Rows that could not be shaped."""
    held: bool
    """Did its guard hold the last run, since more customers would have left than it lets go?"""


class TrialWish(base.Model):
    """What is to be tried."""

    body: Body = None
    limit: Annotated[int, fastapi.Body(ge=1, le=pipeline_trials.MOST, strict=True)] = 10
    """How many of the newest rows."""
    ids: Annotated[tuple[Id, ...], fastapi.Body(max_length=pipeline_trials.MOST)] = ()
    """The objects with these ids in place of the newest."""


class Seen(base.Model):
    """A row and what became of it."""

    id: str
    """At Stripe."""
    outcome: str
    """`matched`, `filtered` or `failed`."""
    why: str
    """What left it out or failed; empty where it matched."""
    given: dict[str, Any]
    """The row as the pipeline reads it."""
    properties: dict[str, Any] | None
    """What it says, by the model's properties; null where it says nothing."""


class Suggested(base.Model):
    """A property that nothing is mapped to, and where it could come from."""

    property: str
    """As the model calls it."""
    source: str
    """The field of the stream."""
    why: str
    """What speaks for it."""
    sure: bool
    """Does nobody need to look at it again?"""


class Trial(base.Model):
    """What became of rows: read = filtered + failed + matched."""

    rows: list[Seen]
    """One by one."""
    read: int
    """Rows that were tried."""
    filtered: int
    """Rows that the filter, or the function, leaves out."""
    failed: int
    """Rows that could not be shaped."""
    matched: int
    """Rows that got properties."""
    table: str
    """The table that they are from; empty where they are from Stripe."""
    printed: str
    """What the function printed."""
    suggestions: list[Suggested]
    """What could be mapped besides."""


class PipelineDraft(base.Model):
    """A pipeline whose cases are to be tried."""

    body: Body = None


class Case(base.Model):
    """What became of a saved case."""

    name: str
    """What it shows, as its author says."""
    ok: bool
    """Did it come out as it is written?"""
    came: dict[str, Any] | None
    """The properties that came of it; null where it failed or was left out."""
    why: str
    """What is wrong; empty where nothing is."""


class Cases(base.Model):
    """What became of all saved cases."""

    ok: bool
    """Did all of them come out as they are written?"""
    cases: list[Case]
    """One by one, in their order."""
    printed: str
    """What the function printed."""


class Failure(base.Model):
    """A row that could not be shaped; what tells of a customer is for editors alone."""

    source_id: str
    """Its id at Stripe."""
    account: str
    """The id of the account that it is of."""
    property: str
    """The property that it failed at; empty where it is none alone."""
    why: str
    """The reason, without personal data."""
    said: str | None
    """The error as it was raised; null for who may not see it."""
    payload: str | None
    """The row as it was given, as JSON; null for who may not see it."""
    line: int | None
    """Line of the function at which it failed; null where it is none."""
    run: str
    """The run that tried it last, by its id."""
    attempts: int
    """How often it was tried."""
    first_at: base.Moment
    """When it failed first."""
    last_at: base.Moment
    """When it failed last."""


class Retried(base.Model):
    """How many rows the next run reads again."""

    rows: int
    """Rows in quarantine that it reads."""


class Version(base.Model):
    """A definition that the pipeline ran with."""

    number: int
    """Counts from 1 for each pipeline."""
    digest: str
    """The same for the same definition."""
    first_at: base.Moment
    """When it ran first, or first again after another."""
    body: dict[str, Any]
    """The definition."""


class Difference(base.Model):
    """A value that differs."""

    field: str
    """Where it stands in the definition."""
    before: str | None
    """How it was; null where there was none."""
    after: str | None
    """How it is; null where there is none."""


class Compared(base.Model):
    """A version, and how it differs from another."""

    version: Version
    """The one that was asked for."""
    against: int | None
    """The number of the other; null where there is none."""
    differences: list[Difference]
    """Value by value."""


class Changed(base.Model):
    """The version of the part of the configuration that a change made."""

    name: str
    """The pipeline's."""
    version: int
    """Grows with every change."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("pipelines"), desk.place

    @made.get("/pipelines", operation_id="listPipelines", summary="List pipelines and how they stand")
    def listed(asker: asking.Reader, paging: base.Paging) -> base.Page[Pipeline]:
        del asker
        after = paging.place(str)
        found = sorted(views.listed(place), key=lambda each: each.name)
        later = [each for each in found if after is None or each.name > after[0]]
        shown = later[: paging.limit]
        return base.Page(
            items=[_pipeline(each) for each in shown],
            next=base.cursor(shown[-1].name) if len(later) > len(shown) else None,
        )

    @made.get("/pipelines/{name}", operation_id="getPipeline", summary="How a pipeline stands")
    def get(name: Name, asker: asking.Reader) -> Pipeline:
        del asker
        return _pipeline(views.one(place, name))

    @made.post(
        "/pipelines/{name}/trials", operation_id="tryPipeline", summary="See what becomes of some rows"
    )
    @base.looks
    def trial(name: Name, wanted: TrialWish, asker: asking.Editor) -> Trial:
        """Nothing is written. Rows come from the pulled table, or from Stripe where that is not there yet."""
        found = pipeline_trials.trial(
            place, name, draft(name, wanted.body, asker), limit=wanted.limit, ids=wanted.ids
        )
        seen = found.preview
        return Trial(
            rows=[
                Seen(
                    id=each.id,
                    outcome=each.outcome,
                    why=each.why,
                    given=base.exact(given),
                    properties=None if each.properties is None else base.exact(each.properties),
                )
                for each, given in zip(seen.rows, found.given, strict=True)
            ],
            read=seen.read,
            filtered=seen.filtered,
            failed=seen.failed,
            matched=seen.matched,
            table=seen.table,
            printed=seen.printed,
            suggestions=[Suggested.model_validate(each) for each in seen.suggestions],
        )

    @made.post(
        "/pipelines/{name}/cases", operation_id="tryPipelineCases", summary="See whether the cases come out"
    )
    @base.looks
    def cases(name: Name, wanted: PipelineDraft, asker: asking.Editor) -> Cases:
        found = pipeline_trials.tried(place, name, draft(name, wanted.body, asker))
        told = [
            Case(
                name=each.name,
                ok=each.ok,
                came=None if each.came is None else base.exact(each.came),
                why=each.why,
            )
            for each in found.each
        ]
        return Cases(ok=not found.wrong, cases=told, printed=found.printed)

    @made.get(
        "/pipelines/{name}/failures", operation_id="listPipelineFailures", summary="List rows in quarantine"
    )
    def failures(
        name: Name,
        asker: asking.Reader,
        paging: base.Paging,
        search: Annotated[
            str, fastapi.Query(max_length=200, description="An id, a property, or a part of the reason.")
        ] = "",
    ) -> base.Page[Failure]:
        before = paging.place(int)
        start = 0 if before is None else before[0]
        if not 0 <= start < 2**31:
            raise base.problem(
                422, "after is not a place in this list; give what `next` of the page before says."
            )
        found, total = pipeline_failures.failures(place, name, search=search, limit=paging.limit, after=start)
        end = start + len(found)
        items = [_failure(each, may_see=asker.may("write")) for each in found]
        return base.Page(items=items, next=base.cursor(end) if found and end < total else None)

    @made.post(
        "/pipelines/{name}/retries",
        operation_id="retryPipelineFailures",
        summary="Have failed rows read again",
    )
    def retry(name: Name, asker: asking.Operator) -> Retried:
        """The next run reads them, whether or not anything changed."""
        return Retried(rows=pipeline_failures.retry(place, asker, name))

    @made.post(
        "/pipelines/{name}/approve",
        operation_id="approvePipeline",
        status_code=202,
        summary="Have a run let customers leave that the guard held",
    )
    def approve(name: Name, asker: asking.Operator, response: fastapi.Response) -> shapes.Run:
        run = views.approve(place, asker, name)
        response.headers["Location"] = shapes.url(run.id)
        return shapes.run(run)

    @made.get(
        "/pipelines/{name}/versions", operation_id="listPipelineVersions", summary="What a pipeline ran with"
    )
    def versions(name: Name, asker: asking.Reader, paging: base.Paging) -> base.Page[Version]:
        del asker
        views.pipeline(place, name)
        after = paging.place(int)
        found = [
            each
            for each in pipeline_versions.versions(place.store, name)
            if after is None or each.number < after[0]
        ]
        shown = found[: paging.limit]
        return base.Page(
            items=[_version(each) for each in shown],
            next=base.cursor(shown[-1].number) if len(found) > len(shown) else None,
        )

    @made.get(
        "/pipelines/{name}/versions/{number}",
        operation_id="comparePipelineVersions",
        summary="How a version differs",
    )
    def version(
        name: Name,
        number: Annotated[int, fastapi.Path(ge=1, le=2**31 - 1)],
        asker: asking.Reader,
        against: Annotated[
            int | None, fastapi.Query(ge=1, le=2**31 - 1, description="The one before by default.")
        ] = None,
    ) -> Compared:
        del asker
        views.pipeline(place, name)
        found = pipeline_versions.version(place.store, name, number)
        other = against if against is not None else number - 1
        before = pipeline_versions.version(place.store, name, other) if other else None
        return Compared(
            version=_version(found),
            against=None if before is None else before.number,
            differences=[
                Difference.model_validate(each) for each in pipeline_versions.compared(before, found)
            ],
        )

    @made.post(
        "/pipelines/{name}/versions/{number}/restore",
        operation_id="restorePipelineVersion",
        summary="Have a pipeline be as it was",
    )
    def restore(
        name: Name, number: Annotated[int, fastapi.Path(ge=1, le=2**31 - 1)], asker: asking.Editor
    ) -> Changed:
        """Stream, filter, mapping, function and cases; its schedule and all else stay as they are."""
        found = pipeline_versions.restore(place, asker, name, number, admin=asker.may("admin"))
        return Changed(name=name, version=found.version)

    def draft(name: str, body: dict[str, Any] | None, asker: asking.Asker) -> Any:
        if body is None:
            return views.pipeline(place, name)
        try:
            return pipeline_trials.draft(place, name, body, admin=asker.may("admin"))
        except errors.ConfigError as error:
            raise base.problem(422, str(error), _faults(error)) from None

    return made


def _faults(error: errors.ConfigError) -> list[Any]:
    from tidegate.api import faults

    return [
        faults.Fault(f"body.{each.path}" if each.path else "body", each.sentence)
        for each in getattr(error, "problems", ())
    ]


def _pipeline(found: views.Line) -> Pipeline:
    return Pipeline(
        name=found.name,
        description=found.description,
        connection=found.connection,
        stream=found.stream,
        warehouse=found.warehouse,
        filter=found.filter,
        enabled=found.enabled,
        schedule=found.schedule,
        running=None if found.running is None else shapes.run(found.running),
        last=None if found.last is None else shapes.run(found.last),
        next_at=found.next_at,
        age=found.age,
        quarantined=found.quarantined,
        held=found.held,
    )


def _failure(found: Any, *, may_see: bool) -> Failure:
    return Failure(
        source_id=found.source_id,
        account=found.account,
        property=found.property,
        why=found.why,
        said=found.said if may_see else None,
        payload=found.payload if may_see else None,
        line=found.line,
        run=found.run,
        attempts=found.attempts,
        first_at=found.first_at,
        last_at=found.last_at,
    )


def _version(found: pipeline_versions.Version) -> Version:
    return Version(
        number=found.number, digest=found.digest, first_at=found.first_at, body=base.exact(found.body)
    )
