"""Settings that stand in several parts of the configuration: limits and retention; and what runs here."""

from __future__ import annotations

import fastapi
from starlette import requests, responses

from tidegate import config
from tidegate.engine import editing
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import accounts, forms
from tidegate.views import settings as views
from tidegate.web import assets, configured, frame, tables

LIMITS, RETENTION, ABOUT = "/settings/limits", "/settings/retention", "/settings/about"
LICENCES = ABOUT + "/licences"
FIELDS = tuple(
    each
    for each in forms.fields(config.Connection)
    if each.name in ("budget", "rate_limit", "reads_per_month")
)


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(LIMITS)
    def limits(request: requests.Request, asker: asking.Reader) -> responses.Response:
        return frame.page(request, asker, "limits.html", table=_limits(place, asker))

    @made.get(LIMITS + "/{name}")
    def limit(request: requests.Request, asker: asking.Editor, name: str) -> responses.Response:
        known = configured.written(place, "stripe", accounts.one(place, name).name)
        form = configured.filled(FIELDS, configured.body(place, known))
        return _form(request, asker, name, form, known)

    @made.post(LIMITS + "/{name}")
    def change(
        request: requests.Request, asker: asking.Editor, name: str, sent: configured.Sent
    ) -> responses.Response:
        known = configured.written(place, "stripe", accounts.one(place, name).name)
        configured.changeable(known)
        given, before = configured.texts(sent), configured.body(place, known)
        try:
            body = forms.body(FIELDS, given, before)
            configured.change(place, asker, "stripe", name, body, configured.version(sent))
        except configured.REFUSED as error:
            form = configured.refused(FIELDS, given, before, error)
            return _form(request, asker, name, form, known)
        return frame.done(request, LIMITS, f"The limits of {name} are changed; its next run goes by them.")

    @made.get(RETENTION)
    def retention(request: requests.Request, asker: asking.Reader) -> responses.Response:
        return frame.page(
            request, asker, "retention.html", table=_kept(place, asker), here_kept=views.kept_here()
        )

    @made.get(ABOUT)
    def about(request: requests.Request, asker: asking.Reader) -> responses.Response:
        found = views.about(place)
        rows = [
            tables.Row({"name": name, "version": version, "licence": licence})
            for name, version, licence in found.packages
        ]
        columns = (
            tables.Column("name", "Package"),
            tables.Column("version", "Version"),
            tables.Column("licence", "Licence", wide=True),
        )
        table = tables.Table("packages", columns, rows, searchable=False, csv=False, caption="Packages")
        licences = LICENCES if (assets.FOLDER / "LICENSES.txt").exists() else ""
        return frame.page(request, asker, "about.html", found=found, table=table, licences=licences)

    @made.get(LICENCES)
    def licences(asker: asking.Reader) -> responses.Response:
        del asker
        try:
            text = (assets.FOLDER / "LICENSES.txt").read_text(encoding="utf-8")
        except FileNotFoundError:
            text = assets.MISSING + "\n"
        return responses.PlainTextResponse(text)

    return made


def _form(
    request: requests.Request,
    asker: asking.Asker,
    name: str,
    form: configured.Filled,
    known: editing.Object | None,
) -> responses.Response:
    return frame.page(
        request,
        asker,
        "limits_form.html",
        status=form.status,
        name=name,
        form=form,
        known=known,
        locked=configured.locked(known),
    )


def _limits(place: places.Place, asker: asking.Asker) -> tables.Table:
    may = asker.may("write")
    rows = [
        tables.Row(
            {
                "connection": each.connection,
                "budget": f"{each.budget:.0%}",
                "rate": each.rate or "Stripe's own",
                "reads": each.reads_per_month,
                "where": "tidegate.yaml" if each.locked else "these pages",
            },
            f"{LIMITS}/{each.connection}" if may else "",
        )
        for each in views.limits(place)
    ]
    columns = (
        tables.Column("connection", "Stripe account"),
        tables.Column("budget", "Budget", align="right", hint="The share of the rate limit that is used"),
        tables.Column("rate", "Rate limit", hint="Requests a second: of the account / of one endpoint"),
        tables.Column("reads", "Reads a month", align="right", hide=True),
        tables.Column("where", "Written in", hide=True),
    )
    empty = tables.Empty("No Stripe account yet.", "Connect one first.", "Begin", "/start")
    return tables.Table(
        "limits",
        columns,
        rows,
        len(rows),
        empty=empty,
        searchable=False,
        csv=False,
        caption="Limits of connections",
    )


def _kept(place: places.Place, asker: asking.Asker) -> tables.Table:
    rows = [
        tables.Row(
            {
                "pull": each.pull,
                "warehouse": each.warehouse,
                **{
                    name: days(value)
                    for name, value in (
                        ("events", each.events),
                        ("history", each.history),
                        ("deleted", each.deleted),
                        ("runs", each.runs),
                    )
                },
            },
            f"/streams/{each.pull}/-/settings" if asker.may("write") else f"/streams/{each.pull}",
        )
        for each in views.kept(place)
    ]
    columns = (
        tables.Column("pull", "Pull"),
        tables.Column("warehouse", "Warehouse", hide=True),
        tables.Column("events", "Events", align="right"),
        tables.Column("history", "Past versions", align="right"),
        tables.Column("deleted", "Deleted rows", align="right"),
        tables.Column("runs", "Runs", align="right"),
    )
    empty = tables.Empty("Nothing is pulled yet.", "Choose the streams to pull.", "Begin", "/start")
    return tables.Table(
        "kept",
        columns,
        rows,
        len(rows),
        empty=empty,
        searchable=False,
        csv=False,
        caption="What stays in warehouses",
    )


def days(found: float | None) -> str:
    """`90 days`; without a number for ever."""
    if found is None:
        return "for ever"
    return f"{found:g} {'day' if found == 1 else 'days'}"
