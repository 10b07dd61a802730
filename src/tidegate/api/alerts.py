"""Alerts over HTTP: what needs a person or did, the channels, and whether they reach anybody."""

from __future__ import annotations

from typing import Annotated

import fastapi

from tidegate.api import base
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import alerts as views


class Telling(base.Model):
    """What one channel was told: when last, how often it was tried in vain since, and why."""

    channel: str
    at: base.Moment | None
    tries: int
    error: str


class Alert(base.Model):
    """A matter that needs a person; one that `resolved_at` says is over needs nobody any more."""

    matter: str
    kind: str
    flow: str
    title: str
    text: str
    opened_at: base.Moment
    seen_at: base.Moment
    resolved_at: base.Moment | None
    told: list[Telling]


class AlertTarget(base.Model):
    """A channel on which people are told; `error` says why its last message did not arrive."""

    name: str
    kind: str
    where: str
    open: int
    error: str


class AlertTested(base.Model):
    """What came of a test message; `error` is empty where it arrived."""

    channel: str
    error: str


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = base.router("alerts"), desk.place

    @made.get("/alerts", operation_id="listAlerts", summary="List what needs a person")
    def listed(
        asker: asking.Reader,
        paging: base.Paging,
        ended: Annotated[bool, fastapi.Query(description="Also what is over, which stands last.")] = False,
        search: Annotated[str, fastapi.Query(max_length=200)] = "",
        kind: Annotated[str, fastapi.Query(max_length=50)] = "",
        flow: Annotated[str, fastapi.Query(max_length=300)] = "",
    ) -> base.Page[Alert]:
        del asker
        after = paging.place(int)
        found = views.listed(
            place,
            ended=ended,
            search=search,
            kind=kind,
            flow=flow,
            after=max(0, after[0]) if after is not None else 0,
            limit=paging.limit,
        )
        return base.Page(
            items=[_alert(each) for each in found.items],
            next=None if found.next is None else base.cursor(found.next),
        )

    @made.get("/alerts/targets", operation_id="listAlertTargets", summary="List who is told, and how")
    def targets(asker: asking.Reader, paging: base.Paging) -> base.Page[AlertTarget]:
        del asker
        shown, rest = base.part(views.targets(place), paging, lambda each: each.name)
        return base.Page(items=[AlertTarget.model_validate(each) for each in shown], next=rest)

    @made.post("/alerts/test", operation_id="testAlerts", summary="Send a message on every channel")
    def test(asker: asking.Operator) -> list[AlertTested]:
        return [AlertTested.model_validate(each) for each in views.test_as(place, asker)]

    return made


def _alert(it: views.Alert) -> Alert:
    notice = it.notice
    return Alert(
        matter=notice.matter,
        kind=notice.kind,
        flow=notice.flow,
        title=it.title,
        text=notice.text,
        opened_at=notice.opened_at,
        seen_at=notice.seen_at,
        resolved_at=notice.resolved_at,
        told=[
            Telling(channel=name, at=each.at or None, tries=each.tries, error=each.error)
            for name, each in sorted(notice.told.items())
        ],
    )
