"""Forgetting customers: looked at first, confirmed with a word and the count, then done, and reported."""

from __future__ import annotations

from typing import Any

import fastapi
from starlette import requests, responses

from tidegate import errors, views
from tidegate.api import streaming
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.store import jobs as stored
from tidegate.views import forgets
from tidegate.views import jobs as known
from tidegate.web import configured, frame, job_tables, jobs, tables

PATH = "/settings/forget"
KEPT = 20
"""Of those before, how many are shown."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(PATH)
    def form(request: requests.Request, asker: asking.Admin) -> responses.Response:
        return _page(request, asker, place, request.query_params.get("customers", "")[:10_000])

    @made.post(PATH)
    def look(request: requests.Request, asker: asking.Admin, sent: configured.Sent) -> responses.Response:
        text, account = configured.text(sent, "customers"), configured.text(sent, "account").strip()
        try:
            job = forgets.begin(place, asker, text.replace(",", " ").split(), account=account)
        except (errors.ConfigError, errors.StoreConflict) as error:
            return _page(request, asker, place, text, account, str(error))
        return frame.done(request, f"{PATH}/{job.id}", "Nothing is erased yet: it is looked what would be.")

    @made.get(f"{PATH}/{{job}}")
    def one(request: requests.Request, asker: asking.Admin, job: str) -> responses.Response:
        return frame.page(request, asker, "forget.html", **_told(place, _known(place, asker, job)))

    @made.get(f"{PATH}/{{job}}/live")
    def live(request: requests.Request, asker: asking.Admin, job: str) -> responses.Response:
        it = _known(place, asker, job)
        return streaming.response(
            request, jobs.events(request, asker, place, it.id, "part_forget.html", _told)
        )

    @made.post(f"{PATH}/{{job}}/confirm")
    def confirm(
        request: requests.Request, asker: asking.Admin, job: str, sent: configured.Sent
    ) -> responses.Response:
        configured.typed(sent, forgets.WORD)
        wish = _known(place, asker, job).wish
        done = forgets.begin(
            place,
            asker,
            wish["customers"],
            account=wish["account"],
            dry_run=False,
            confirmed=(forgets.WORD, len(wish["customers"])),
        )
        return frame.done(request, f"{PATH}/{done.id}", "They are being forgotten.")

    return made


def _known(place: places.Place, asker: asking.Asker, job: str) -> stored.Job:
    found = known.one(place, job, asker.scope)
    if found.kind != "forget":
        raise views.Unknown("There is no such report; they are kept for 90 days.")
    return found


def _page(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    customers: str,
    account: str = "",
    said: str = "",
) -> responses.Response:
    before = known.listed(place, asker.scope, kind="forget", limit=KEPT).items
    table = tables.Table(
        "forgets",
        (
            tables.Column("who", "Customers", wide=True),
            tables.Column("state", "State"),
            tables.Column("verdict", "What came of it", wide=True),
            tables.Column("by", "By"),
            tables.Column("begun", "When", align="right"),
        ),
        [
            tables.Row(
                {
                    "who": ", ".join(each.wish["customers"]),
                    "state": frame.parts().chip(each.state),
                    "verdict": job_tables.verdict(each),
                    "by": each.made_by,
                    "begun": frame.parts().when(each.begun_at),
                },
                href=f"{PATH}/{each.id}",
            )
            for each in before
        ],
        empty=tables.Empty("Nobody was forgotten from here yet."),
        searchable=False,
        csv=False,
        caption="Who was forgotten",
    )
    return frame.page(
        request,
        asker,
        "forgets.html",
        status=422 if said else 200,
        customers=customers,
        account=account,
        said=said,
        table=table,
    )


def _told(_: places.Place, it: stored.Job, __: tables.Asked | None = None) -> dict[str, Any]:
    """What the templates of a report need."""
    told = it.result or {}
    found = [(each["name"], each["tables"], each["blind"]) for each in told.get("warehouses", ())]
    if told.get("pushes"):
        found.append(("What syncs keep", told["pushes"]["tables"], []))
    if told.get("customer_model"):
        found.append(("The customer model", told["customer_model"], []))
    nowhere = [
        each["id"]
        for each in (told.get("warehouses") or [{"customers": []}])[0]["customers"]
        if not any(
            other["accounts"]
            for where in told["warehouses"]
            for other in where["customers"]
            if other["id"] == each["id"]
        )
    ]
    return {
        "job": it,
        "facts": [("Customers", ", ".join(it.wish["customers"])), *job_tables.facts(it)],
        "verdict": job_tables.verdict(it),
        "places": [(name, sorted(counts.items()), blind) for name, counts, blind in found if counts or blind],
        "nowhere": nowhere,
        "word": forgets.WORD,
    }
