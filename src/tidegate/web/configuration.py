"""The configuration as a whole: its parts and where each is written, as a file to keep, and from a file."""

from __future__ import annotations

import json
from typing import Any

import fastapi
from starlette import requests, responses

from tidegate import errors
from tidegate.engine import differences, editing
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import configuration as views
from tidegate.web import addresses, configured, frame, tables

PATH = "/settings/configuration"
FILE = "tidegate.yaml"
COLUMNS = (
    tables.Column("part", "Part"),
    tables.Column("where", "Written in"),
    tables.Column("by", "Last changed by"),
    tables.Column("at", "Changed", align="right"),
)


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(PATH)
    def listed(request: requests.Request, asker: asking.Admin) -> responses.Response:
        return _page(request, asker, place)

    @made.get(f"{PATH}/export")
    def export(asker: asking.Admin) -> responses.Response:
        del asker
        headers = {"Content-Disposition": f'attachment; filename="{FILE}"', "Cache-Control": "no-store"}
        return responses.PlainTextResponse(
            views.exported(place), headers=headers, media_type="application/yaml"
        )

    @made.get(f"{PATH}/look")
    @made.get(f"{PATH}/take")
    def again(request: requests.Request, asker: asking.Admin) -> responses.Response:
        """Whoever comes back to what was shown once, after signing in, finds the page."""
        del asker
        return frame.done(request, PATH)

    @made.post(f"{PATH}/look")
    def look(request: requests.Request, asker: asking.Admin, sent: configured.Sent) -> responses.Response:
        text, prune = configured.text(sent, "yaml"), configured.text(sent, "prune") == "on"
        try:
            found = views.proposed_text(place, text, prune=prune, admin=True)
        except errors.ConfigError as error:
            return _page(request, asker, place, text=text, prune=prune, wrong=str(error))
        return frame.page(
            request,
            asker,
            "configuration_recap.html",
            changes=[_change(each) for each in found.changes],
            found=found,
            gone=sum(each.after is None for each in found.changes),
            fields={"yaml": text, "prune": "on" if prune else "", "versions": json.dumps(found.versions)},
        )

    @made.post(f"{PATH}/take")
    def take(request: requests.Request, asker: asking.Admin, sent: configured.Sent) -> responses.Response:
        text, prune = configured.text(sent, "yaml"), configured.text(sent, "prune") == "on"
        seen = configured.document(sent, "versions", {})
        versions = seen if isinstance(seen, dict) else {}
        try:
            found = views.proposed_text(place, text, prune=prune, admin=True, versions=versions)
            if any(each.after is None for each in found.changes):
                configured.typed(sent, "remove")
            count = len(views.take(place, asker, found, admin=True))
        except configured.REFUSED as error:
            return _page(request, asker, place, text=text, prune=prune, wrong=str(error))
        place.look()
        return frame.done(
            request, PATH, f"{count:,} {'part is' if count == 1 else 'parts are'} as the file says now."
        )

    return made


def _page(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    *,
    text: str = "",
    prune: bool = False,
    wrong: str = "",
) -> responses.Response:
    parts = editing.objects(place)
    table = tables.Table(
        "parts",
        COLUMNS,
        [_row(each) for each in parts],
        len(parts),
        empty=tables.Empty(
            "Nothing is configured yet.", "Connect a Stripe account first.", "Begin", "/start"
        ),
        searchable=False,
        csv=False,
        caption="Parts of the configuration",
    )
    here = any(each.origin == "store" for each in parts)
    return frame.page(
        request,
        asker,
        "configuration.html",
        status=422 if wrong else 200,
        table=table,
        here=here,
        text=text,
        prune=prune,
        wrong=wrong,
    )


def _row(each: editing.Object) -> tables.Row:
    where = f"tidegate.yaml, line {each.line}" if each.origin == "file" else "these pages"
    if each.shadowed:
        where += "; does not count, since tidegate.yaml has one of its name"
    return tables.Row(
        {
            "part": _named(each.kind, each.name),
            "where": where,
            "by": each.changed_by,
            "at": frame.parts().when(each.changed_at) if each.changed_at else None,
        },
        addresses.part(each.kind, each.name),
        kind="off" if each.shadowed else "",
    )


def _change(each: editing.Change) -> dict[str, Any]:
    """What becomes of a part, field by field."""
    told = differences.between(each.before, each.after)
    return {
        "part": _named(each.kind, each.name),
        "action": each.action,
        "fields": [(one.field, one.before, one.after) for one in told],
    }


def _named(kind: str, name: str) -> str:
    return f"{kind}.{name}" if name else kind
