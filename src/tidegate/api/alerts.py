"""Alerts over HTTP: what needs a person or did, the channels, and whether they reach anybody."""

from __future__ import annotations

from typing import Annotated

import fastapi

from tidegate.api import base
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import alerts as views


class Telling(base.Model):
    """What one channel was told."""

    channel: str
    """`email`, `slack` or `webhook`."""
    at: base.Moment | None
    """When it was told something last; null where it never was."""
    tries: int
    """How often it was tried in vain since; 0 once it arrived."""
    error: str
    """Why it did not arrive; empty where it did."""


class Alert(base.Model):
    """A matter that needs a person, or did."""

    matter: str
    """What names it among all matters."""
    kind: str
    """What it is, such as `failed`, `no_permission`, `freshness` or `approval`."""
    flow: str
    """The full name of the flow that it is of; empty where it is of none."""
    title: str
    """What it is, in a few words."""
    text: str
    """What, where, and what to do next."""
    opened_at: base.Moment
    """Since when it is so."""
    seen_at: base.Moment
    """When it was seen to be so last."""
    resolved_at: base.Moment | None
    """Since when it is over and needs nobody any more; null while it does."""
    told: list[Telling]
    """Who was told, channel by channel."""


class AlertTarget(base.Model):
    """A channel on which people are told."""

    name: str
    """As `told` of an alert calls it."""
    kind: str
    """`email`, `slack` or `webhook`."""
    where: str
    """Where to, without anything that lets others tell on it, too."""
    open: int
    """Matters of which it told, or tries to."""
    error: str
    """Why its last message did not arrive; empty where it did."""


class AlertTested(base.Model):
    """What came of a test message."""

    channel: str
    """`email`, `slack` or `webhook`."""
    error: str
    """Why the message did not arrive; empty where it did."""


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
