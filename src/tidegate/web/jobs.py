"""Audits, estimates, rehearsals and verifications: begun here, seen while they go on, and what each found."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any

import fastapi
from starlette import concurrency, requests, responses

from tidegate import errors, views
from tidegate.api import base, streaming
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.store import jobs as stored
from tidegate.views import audits, estimates, rehearsals, verifications
from tidegate.views import jobs as known
from tidegate.web import configured, frame, job_tables, tables

PATH = "/audits"
SIZE = 50
"""Jobs on a page, and rows of one."""
SHOWN: tuple[stored.Kind, ...] = ("audit", "estimate", "rehearsal", "verification")
"""What stands here; who is forgotten has a page of its own."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(PATH)
    def listed(request: requests.Request, asker: asking.Reader) -> responses.Response:
        return _page(request, asker, place)

    @made.post(PATH)
    def begin(request: requests.Request, asker: asking.Operator, sent: configured.Sent) -> responses.Response:
        try:
            job = _begun(place, asker, configured.texts(sent))
        except (errors.ConfigError, errors.StoreConflict) as error:
            return _page(request, asker, place, configured.texts(sent), str(error))
        return frame.done(request, f"{PATH}/{job.id}", "It has begun; this page shows how far it is.")

    @made.get(f"{PATH}/{{job}}")
    def one(request: requests.Request, asker: asking.Reader, job: str) -> responses.Response:
        it = _known(place, asker, job)
        asked = tables.asked(request, filters=("wrong",))
        if asked.format == "csv":
            headings = job_tables.HEADINGS[it.kind]
            return tables.csv(request, it.id, headings, _lines(place, it, headings))
        return frame.page(request, asker, "audit.html", **_told(place, it, asked))

    @made.get(f"{PATH}/{{job}}/live")
    async def live(request: requests.Request, asker: asking.Reader, job: str) -> responses.Response:
        it = await concurrency.run_in_threadpool(_known, place, asker, job)
        return streaming.response(request, events(request, asker, place, it.id, "part_job.html", _told))

    @made.post(f"{PATH}/{{job}}/cancel")
    def cancel(request: requests.Request, asker: asking.Operator, job: str) -> responses.Response:
        it = known.cancel(place, asker, _known(place, asker, job))
        return frame.done(request, f"{PATH}/{it.id}", "It ends within seconds; what it did stays.")

    @made.post(f"{PATH}/{{job}}/repair")
    def repair(request: requests.Request, asker: asking.Operator, job: str) -> responses.Response:
        it = _known(place, asker, job)
        if it.kind != "audit":
            raise views.Refused("Only what an audit found can be repaired.")
        wish = it.wish
        again = audits.begin(
            place, asker, wish["pull"], streams=wish["streams"], since=wish["since"], repair=True
        )
        return frame.done(request, f"{PATH}/{again.id}", "It is compared once more, and repaired.")

    return made


async def events(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    job_id: str,
    template: str,
    told: Any,
) -> AsyncGenerator[bytes]:
    """The page of a job whenever it looks otherwise, until the job has ended."""
    hub, shown = streaming.follower(request), ""
    asked = tables.Asked(request.url.path.removesuffix("/live"))
    while True:
        try:
            job = await hub.ask(("job", job_id), functools.partial(stored.get, place.store, job_id))
        except errors.StoreError:
            yield b""  # it is away, and looked for in the next turn
            continue
        if job is None:
            return
        context = await concurrency.run_in_threadpool(told, place, job, asked)
        html = await concurrency.run_in_threadpool(frame.fragment, request, asker, template, **context)
        if not job.alive:
            yield streaming.event("end", html)
            return
        if html != shown:
            shown = html
            yield streaming.event("html", html)
        yield b""


def _known(place: places.Place, asker: asking.Asker, job: str) -> stored.Job:
    found = known.one(place, job, asker.scope)
    if found.kind not in SHOWN:
        raise views.Unknown("There is no such audit; those that ended are kept for 90 days.")
    return found


def _begun(place: places.Place, asker: asking.Asker, sent: Mapping[str, str]) -> stored.Job:
    """Begin what a form asks for; raises ConfigError and StoreConflict."""
    streams = [each.strip() for each in sent.get("streams", "").split(",") if each.strip()]
    match sent.get("kind"):
        case "audit":
            since, repair = sent.get("since", "").strip(), sent.get("repair") == "on"
            return audits.begin(
                place, asker, sent.get("pull", ""), streams=streams, since=since, repair=repair
            )
        case "estimate":
            return estimates.begin(place, asker, sent.get("pull", ""), streams=streams)
        case "rehearsal":
            return rehearsals.begin(place, asker, sent.get("push", ""))
        case "verification":
            return verifications.begin(place, asker, sent.get("push", ""))
    raise errors.ConfigError("Choose what is to be done.")


def _page(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    sent: Mapping[str, str] | None = None,
    said: str = "",
) -> responses.Response:
    asked = tables.asked(request, filters=("kind",))
    kind = next((each for each in SHOWN if each == asked.filters["kind"]), None)
    after = base.Asked(SIZE, asked.after or None).place(float, str)
    found = known.listed(place, "read", kind=kind, after=after, limit=SIZE)
    more = None if found.next is None else base.cursor(*found.next)
    shown = dict(sent or {"pull": request.query_params.get("pull", "")})
    return frame.page(
        request,
        asker,
        "audits.html",
        status=422 if said else 200,
        table=job_tables.listed(found.items, asked, more),
        pulls=[(name, name) for name in place.file.pulls],
        pushes=[(name, name) for name in place.file.pushes],
        shown=shown,
        said=said,
    )


def _told(place: places.Place, it: stored.Job, asked: tables.Asked) -> dict[str, Any]:
    """What the templates of a job's page need."""
    wrong = asked.filters.get("wrong") == "yes"
    cursor = base.Asked(SIZE, asked.after or None).place(int)
    start = 0 if cursor is None else min(max(cursor[0], 0), base.EXACT)
    found = known.rows(place, it, wrong=wrong, after=start, limit=SIZE)
    more = None if found.next is None else base.cursor(found.next)
    return {
        "job": it,
        "facts": job_tables.facts(it),
        "verdict": job_tables.verdict(it),
        "balances": job_tables.balances(it),
        "table": job_tables.rows(it.kind, found.items, asked, more),
        "details": [
            (each["stream"], audits.details(each))
            for each in (found.items if it.kind == "audit" else ())
            if audits.details(each)
        ],
        "repairable": it.kind == "audit"
        and it.state == "partial"
        and (it.result or {}).get("status") == "different",
    }


def _lines(place: places.Place, it: stored.Job, headings: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    after: int | None = 0
    while after is not None:
        found = known.rows(place, it, after=after, limit=500)
        for each in found.items:
            yield tuple(each.get(name) for name in headings)
        after = found.next
