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
    """A pipeline and how it stands; `age` in seconds, null where it never ran well. `filter` is in words.

    `held`: its guard held the last run, since more customers would have left than it lets go.
    """

    name: str
    description: str
    connection: str
    stream: str
    warehouse: str
    filter: str
    enabled: bool
    schedule: str
    running: shapes.Run | None
    last: shapes.Run | None
    next_at: base.Moment | None
    age: float | None
    quarantined: int
    held: bool


class TrialWish(base.Model):
    """What is to be tried: the newest rows, or the objects with these ids, by the pipeline as `body` says it."""

    body: Body = None
    limit: Annotated[int, fastapi.Body(ge=1, le=pipeline_trials.MOST, strict=True)] = 10
    ids: Annotated[tuple[Id, ...], fastapi.Body(max_length=pipeline_trials.MOST)] = ()


class Seen(base.Model):
    """A row as it was given, and what became of it: its properties, or why there are none."""

    id: str
    outcome: Annotated[str, fastapi.Body(description="matched, filtered or failed")]
    why: str
    given: dict[str, Any]
    properties: dict[str, Any] | None


class Suggested(base.Model):
    """A property that nothing is mapped to, and the field that it could come from."""

    property: str
    source: str
    why: str
    sure: bool


class Trial(base.Model):
    """What became of rows: read = filtered + failed + matched. `table` is where they are from, empty for Stripe."""

    rows: list[Seen]
    read: int
    filtered: int
    failed: int
    matched: int
    table: str
    printed: str
    suggestions: list[Suggested]


class PipelineDraft(base.Model):
    """A pipeline whose cases are to be tried."""

    body: Body = None


class Case(base.Model):
    """What became of a saved case."""

    name: str
    ok: bool
    came: dict[str, Any] | None
    why: str


class Cases(base.Model):
    """All saved cases, and what the function printed."""

    ok: bool
    cases: list[Case]
    printed: str


class Failure(base.Model):
    """A row that could not be shaped; `said` and `payload`, which tell of a customer, are for editors alone."""

    source_id: str
    account: str
    property: str
    why: str
    said: str | None
    payload: str | None
    line: int | None
    run: str
    attempts: int
    first_at: base.Moment
    last_at: base.Moment


class Retried(base.Model):
    """How many rows the next run reads again."""

    rows: int


class Version(base.Model):
    """A definition that the pipeline ran with."""

    number: int
    digest: str
    first_at: base.Moment
    body: dict[str, Any]


class Difference(base.Model):
    """A value that differs from the version before."""

    field: str
    before: str | None
    after: str | None


class Compared(base.Model):
    """A version, and how it differs from another."""

    version: Version
    against: int | None
    differences: list[Difference]


class Changed(base.Model):
    """The version of the part of the configuration that a change made."""

    name: str
    version: int


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
