"""Alerts: what needs a person or did, who is told, and a test of whether that arrives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import fastapi
from starlette import requests, responses

from tidegate import config
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import alerts as views
from tidegate.views import forms
from tidegate.web import configured, frame, mending, prose, standings, tables

PATH = "/settings/alerts"
SIZE = 100
"""Alerts on a page."""
FIELDS = forms.fields(config.Alerts, without=("freshness",))
HEADINGS = ("opened_at", "resolved_at", "kind", "flow", "title", "text", "told")


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(PATH)
    def listed(request: requests.Request, asker: asking.Reader) -> responses.Response:
        asked = tables.asked(request, filters=("kind", "ended"))
        ended = asked.filters["ended"] == "yes"
        if asked.format == "csv":
            return tables.csv(request, "alerts", HEADINGS, _lines(place, asked, ended))
        page = max(1, asked.page)
        found = views.listed(
            place,
            ended=ended,
            search=asked.search,
            kind=asked.filters["kind"],
            after=(page - 1) * SIZE,
            limit=SIZE,
        )
        part = configured.written(place, "alerts", "")
        return frame.page(
            request,
            asker,
            "alerts.html",
            table=_table(place, asker, found, asked),
            targets=_targets(views.targets(place)),
            locked=configured.locked(part),
        )

    @made.post(f"{PATH}/test")
    def test(request: requests.Request, asker: asking.Operator) -> responses.Response:
        found = views.test_as(place, asker)
        said = "; ".join(f"{each.channel}: {each.error.rstrip('.') or 'sent'}" for each in found)
        wrong = any(each.error for each in found)
        return frame.done(request, PATH, f"{said}.", "warn" if wrong else "ok")

    @made.get(f"{PATH}/edit")
    def edit(request: requests.Request, asker: asking.Editor) -> responses.Response:
        part = configured.written(place, "alerts", "")
        return _form(request, asker, configured.filled(FIELDS, configured.body(place, part)), part)

    @made.post(f"{PATH}/edit")
    def change(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        part = configured.written(place, "alerts", "")
        configured.changeable(part)
        given, before = configured.texts(sent), configured.body(place, part)
        body = _whole(forms.body(FIELDS, given, before))
        try:
            configured.change(
                place, asker, "alerts", "", body or None, None if part is None else configured.version(sent)
            )
        except configured.REFUSED as error:
            form = configured.refused(FIELDS, given, before, error)
            return _form(request, asker, form, part)
        return frame.done(request, PATH, "Who is told is kept; send a test to see whether it arrives.")

    return made


def _whole(body: dict[str, Any]) -> dict[str, Any]:
    """Without the channels that have an address no more: what is left of them says nothing by itself."""
    needed = {"slack": "webhook", "webhook": "url", "email": "smtp"}
    return {
        name: value
        for name, value in body.items()
        if name not in needed
        or not isinstance(value, Mapping)
        or value.get(needed[name])
        or set(value) - {"secret"}
    }


def _form(
    request: requests.Request,
    asker: asking.Asker,
    form: configured.Filled,
    part: editing.Object | None,
) -> responses.Response:
    return frame.page(
        request,
        asker,
        "alerts_form.html",
        status=form.status,
        form=form,
        version=form.seen or (0 if part is None else part.version),
        locked=configured.locked(part),
    )


def _table(
    place: places.Place, asker: asking.Asker, found: views.Alerts, asked: tables.Asked
) -> tables.Table:
    columns = [
        tables.Column("title", "What"),
        tables.Column("state", "State"),
        tables.Column("text", "What to do", wide=True),
        tables.Column("told", "Told", hide=True),
        tables.Column("opened", "Since", align="right"),
        tables.Column("act", "", align="right"),
    ]
    if asked.filters["ended"] == "yes":
        columns.insert(5, tables.Column("over", "Over", align="right"))
    rows = [_row(place, asker, each) for each in found.items]
    empty = tables.Empty("Nothing needs you.", "What does stands here, and is told on the channels above.")
    filters = [
        tables.Choice("kind", "Kind", list(mending.KINDS.items())),
        tables.Choice("ended", "State", [("yes", "With those that ended")]),
    ]
    pages = -(-found.total // SIZE)
    return tables.Table(
        "alerts", columns, rows, found.total, None, asked, empty, filters, caption="Alerts", pages=pages
    )


def _row(place: places.Place, asker: asking.Asker, each: views.Alert) -> tables.Row:
    parts, it = frame.parts(), each.notice
    over = it.resolved_at is not None
    mend = mending.of(place.file, it.kind, it.matter, it.flow, it.text)
    leads = not over and asker.may(mend.scope)
    return tables.Row(
        {
            "title": prose.begun(each.title),
            "state": parts.chip("resolved" if over else "open"),
            "text": prose.cell(prose.alone(it.text, it.flow), flow=it.flow),
            "told": each.told,
            "opened": standings.when(it.opened_at),
            "over": standings.when(it.resolved_at),
            "act": parts.button(mend.label, href=mend.url) if leads else "",
        },
        mend.url if leads else "",
        kind="off" if over else "",
    )


def _targets(found: list[views.Target]) -> tables.Table:
    parts = frame.parts()
    rows = [
        tables.Row(
            {
                "name": each.name.capitalize(),
                "where": each.where,
                "state": parts.chip("failed", "Fails")
                if each.error
                else parts.chip("ok" if each.open else "off", "" if each.open else "Idle"),
                "error": each.error,
            }
        )
        for each in found
    ]
    columns = (
        tables.Column("name", "Channel"),
        tables.Column("where", "Where"),
        tables.Column("state", "State"),
        tables.Column("error", "Last error", wide=True),
    )
    empty = tables.Empty(
        "Nobody is told.", "Add e-mail, Slack or a webhook, so that people need not look here."
    )
    return tables.Table(
        "targets", columns, rows, empty=empty, searchable=False, csv=False, caption="Channels"
    )


def _lines(place: places.Place, asked: tables.Asked, ended: bool) -> Iterator[tuple[Any, ...]]:
    after: int | None = 0
    while after is not None:
        found = views.listed(
            place, ended=ended, search=asked.search, kind=asked.filters["kind"], after=after, limit=1000
        )
        for each in found.items:
            it = each.notice
            over = None if it.resolved_at is None else frame.iso(it.resolved_at)
            yield frame.iso(it.opened_at), over, it.kind, it.flow, each.title, it.text, each.told
        after = found.next
