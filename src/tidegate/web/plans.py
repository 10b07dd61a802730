"""The plan of a sync: made, looked at while it is made and after, approved, discarded; and what undoes its runs."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator
from typing import Annotated, Any

import fastapi
from fastapi import Form
from starlette import concurrency, requests, responses

from tidegate import errors
from tidegate.api import base, streaming
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import push_plans, push_words, records
from tidegate.views import pushes as views
from tidegate.web import configured, frame, prose, push_tables, pushes, tables

PATH = push_tables.PATH
SIZE = 50
"""Rows of a plan on a page."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(f"{PATH}/{{push}}/plan")
    def plan(request: requests.Request, asker: asking.Reader, push: str) -> responses.Response:
        sync = views.one(place, push)
        asked = tables.asked(request, filters=("kind",))
        found = push_plans.planned(place, push)
        if asked.format == "csv" and found is not None:
            entries = push_plans.each_row(place, found.plan, asked.filters["kind"], asked.search)
            return tables.csv(
                request, f"{push}-plan", push_tables.PLAN_HEADINGS, push_tables.plan_lines(entries)
            )
        return pushes.page(
            request, asker, place, "sync_plan.html", sync, "/plan", **_planned(place, push, found, asked)
        )

    @made.post(f"{PATH}/{{push}}/plan")
    def make(
        request: requests.Request, asker: asking.Operator, push: str, repair: Annotated[str, Form()] = ""
    ) -> responses.Response:
        push_plans.make(place, asker, push, repair=repair == "on")
        return frame.done(request, f"{PATH}/{push}/plan")

    @made.post(f"{PATH}/{{push}}/undo")
    def undo(
        request: requests.Request, asker: asking.Operator, push: str, sent: configured.Sent
    ) -> responses.Response:
        run, key = configured.text(sent, "run") or None, configured.text(sent, "key")
        created = configured.text(sent, "created") or "leave"
        push_plans.make_undo(place, asker, push, run=run, keys=[key] if key else [], created=created)
        return frame.done(request, f"{PATH}/{push}/plan")

    @made.get(f"{PATH}/{{push}}/plan/live")
    async def live(request: requests.Request, asker: asking.Reader, push: str) -> responses.Response:
        await concurrency.run_in_threadpool(views.named, place, push)
        return streaming.response(request, _events(request, asker, place, push))

    @made.post(f"{PATH}/{{push}}/plan/approve")
    def approve(
        request: requests.Request, asker: asking.Operator, push: str, sent: configured.Sent
    ) -> responses.Response:
        plan_id, digest = configured.text(sent, "plan"), configured.text(sent, "digest")
        found = push_plans.plan_of(place, push, plan_id)
        if found.guards or found.counts.get("removed"):
            configured.typed(sent, push)
        run = push_plans.approve(place, asker, push, plan_id, digest)
        return frame.done(request, f"/runs/{run.id}", "Approved; exactly this plan is done now, once.")

    @made.post(f"{PATH}/{{push}}/plan/discard")
    def discard(
        request: requests.Request, asker: asking.Operator, push: str, plan: Annotated[str, Form()]
    ) -> responses.Response:
        push_plans.discard(place, asker, push, plan)
        return frame.done(request, f"{PATH}/{push}/plan", "The plan is gone; nothing was written.")

    return made


def _planned(
    place: places.Place, push: str, found: push_plans.Planned | None, asked: tables.Asked
) -> dict[str, Any]:
    """What the templates of a plan need."""
    told: dict[str, Any] = {
        "at": f"{PATH}/{push}",
        "push": push,
        "model": views.named(place, push).model,
        "found": found,
        "table": None,
        "funnel": [],
        "unclear": [],
        "stuck": False,
        "created": [],
        "doing": "",
        "gone": "",
        "deletes": False,
        "held": _held(place, push) if found is None else "",
    }
    if found is None or found.plan.state in ("making", "failed"):
        return told
    kind = asked.filters.get("kind", "")
    after = base.Asked(SIZE, asked.after or None).place(int)
    page = push_plans.rows(
        place, found.plan, kind=kind, search=asked.search, after=after[0] if after else 0, limit=SIZE
    )
    undo = found.plan.kind == "undo"
    object, account = views.named(place, push).object, str(found.told.get("account", ""))
    live = bool(found.told.get("livemode"))
    told["table"] = tables.Table(
        "rows",
        push_tables.PLAN,
        push_tables.planned(
            page.items,
            undo=undo,
            push=push,
            known=push_plans.known(place, found.plan, page),
            where=lambda target: records.shown(object, target, account, live),
        ),
        next=None if page.next is None else base.cursor(page.next),
        asked=asked,
        empty=tables.Empty("Every row is as Stripe has it.", "Rows that need nothing are not listed."),
        filters=(tables.Choice("kind", "What", [] if undo else list(push_tables.KIND_WORDS.items())),)
        if not undo
        else (),
        caption="Rows of the plan",
    )
    told["funnel"] = [] if undo else push_tables.funnel(dict(found.counts))
    told["unclear"] = list(push_words.unclear(found.told))
    removal = push_plans.removal(place, found.plan) if found.counts.get("removed") else ""
    told["doing"] = push_words.doing(found.counts, removal, undo=undo)
    told["deletes"] = removal == "delete"
    if removal and not undo:
        told["gone"] = push_words.gone(found.counts["removed"], object, removal)
    told["stuck"] = push_plans.stuck(place, found.plan)
    if undo and found.told["undo"]["left"]:
        told["created"] = push_plans.removals(place, push)
    return told


def _held(place: places.Place, push: str) -> str:
    """What the last run left to somebody's approval, as the overview of the sync says it; empty where nothing."""
    last = views.one(place, push).standing.last
    return prose.plain(last.error) if last is not None and last.state == "partial" else ""


async def _events(
    request: requests.Request, asker: asking.Asker, place: places.Place, push: str
) -> AsyncGenerator[bytes]:
    """The page of a plan while it is made, until it is there."""
    hub, shown = streaming.follower(request), ""

    def look() -> dict[str, Any]:
        asked = tables.Asked(f"{PATH}/{push}/plan", filters={"kind": ""})
        return _planned(place, push, push_plans.planned(place, push), asked)

    while True:
        try:
            told = await hub.ask(("plan", push), look)
        except errors.StoreError:
            yield b""  # it is away, and looked for in the next turn
            continue
        render = functools.partial(frame.fragment, request, asker, "part_plan.html", **told)
        html = await concurrency.run_in_threadpool(render)
        found = told["found"]
        if found is None or found.plan.state != "making":
            yield streaming.event("end", html)
            return
        if html != shown:
            shown = html
            yield streaming.event("html", html)
        yield b""
