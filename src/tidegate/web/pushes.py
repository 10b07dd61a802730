"""Syncs to Stripe: all of them, and one with its mapping, runs, records and alerts."""

from __future__ import annotations

from typing import Any

import fastapi
from starlette import requests, responses

from tidegate import config
from tidegate.api import base
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.store import database, history
from tidegate.store import records as stored
from tidegate.store import runs as known_states
from tidegate.views import alerts, flows, records
from tidegate.views import issues as known_issues
from tidegate.views import pushes as views
from tidegate.views import runs as known_runs
from tidegate.web import configured, frame, issues, prose, push_tables, run_tables, standings, tables

PATH = push_tables.PATH
SIZE = 50
WRITTEN = 50
"""Runs that can be undone, on a page."""
TABS = (
    ("Overview", ""),
    ("Plan", "/plan"),
    ("Mapping", "/mapping"),
    ("Runs", "/runs"),
    ("Records", "/records"),
    ("Alerts", "/alerts"),
    ("Schedule", "/schedule"),
)


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(PATH)
    def listed(request: requests.Request, asker: asking.Reader) -> responses.Response:
        asked = tables.asked(request, filters=("state",))
        wanted = asked.search.lower()
        found = [
            each
            for each in views.listed(place)
            if wanted in f"{each.name} {each.push.model} {each.push.object} {each.push.connection}".lower()
            and asked.filters["state"] in ("", push_tables.standing(each))
        ]
        if asked.format == "csv":
            return tables.csv(
                request, "syncs", push_tables.HEADINGS, (push_tables.line(each) for each in found)
            )
        pages = -(-len(found) // SIZE)
        shown = found[(asked.page - 1) * SIZE : asked.page * SIZE]
        table = tables.Table(
            "syncs",
            push_tables.COLUMNS,
            [push_tables.row(each) for each in shown],
            len(found),
            asked=asked,
            pages=pages,
            empty=tables.Empty(
                "No sync to Stripe yet.",
                "A sync writes the rows of a model into Stripe's objects, after you have seen what it would write.",
                *(("Add a sync", f"{PATH}/-/add") if asker.may("write") else ()),
            ),
            filters=(tables.Choice("state", "State", list(push_tables.STATE_WORDS.items())),),
            caption="Syncs to Stripe",
        )
        return frame.page(request, asker, "syncs.html", table=table)

    @made.get(f"{PATH}/{{push}}")
    def one(request: requests.Request, asker: asking.Reader, push: str) -> responses.Response:
        sync = views.one(place, push)
        found = views.figures_of(place, sync)
        stands = sync.standing
        now = place.store.now()
        facts = [
            ("State", push_tables.state(sync)),
            ("Model", frame.link(f"/models/{sync.push.model}", sync.push.model)),
            ("Object", sync.push.object),
            ("Stripe account", frame.link(f"/accounts/{sync.push.connection}", sync.push.connection)),
            ("How", push_tables.BEHAVIORS[sync.push.behavior]),
            ("Found by", " and ".join(sync.push.match)),
            ("When", stands.schedule),
            ("Next run", standings.upcoming(stands.next_at, sync.push.schedule)),
        ]
        kinds = [(known_issues.KINDS.get(kind, kind), kind, count) for kind, count in found.waiting.items()]
        funnel = [(bar.label, bar.rows, "" if bar.kind == "plain" else bar.kind) for bar in found.funnel]
        last = None if found.run is None else run_tables.facts(found.run, now)
        return page(
            request,
            asker,
            place,
            "sync.html",
            sync,
            "",
            facts=facts,
            funnel=funnel,
            kinds=kinds,
            last=last,
            run=found.run,
            error=prose.plain(found.run.error) if found.run is not None else "",
            unusable=found.unusable,
            waiting=sync.waits,
        )

    @made.post(f"{PATH}/{{push}}/run")
    def start(request: requests.Request, asker: asking.Operator, push: str) -> responses.Response:
        views.named(place, push)
        run = flows.begin(place, asker, f"push:{push}")
        return frame.done(request, f"/runs/{run.id}", f"{run.flow} is queued.")

    @made.get(f"{PATH}/{{push}}/mapping")
    def mapping(request: requests.Request, asker: asking.Reader, push: str) -> responses.Response:
        sync = views.one(place, push)
        table = _mapping(sync.push, tables.asked(request))
        if table.asked.format == "csv":
            names = [column.name for column in table.columns]
            return tables.csv(
                request, f"{push}-mapping", names, ([row.cells[name] for name in names] for row in table.rows)
            )
        return page(request, asker, place, "sync_mapping.html", sync, "/mapping", table=table)

    @made.get(f"{PATH}/{{push}}/runs")
    def runs(request: requests.Request, asker: asking.Reader, push: str) -> responses.Response:
        sync = views.one(place, push)
        asked = tables.asked(request, filters=("state",))
        state = asked.filters["state"]
        only = history.Filter(f"push:{push}", None, (state,) if state in known_states.STATES else ())
        if asked.format == "csv":
            return tables.csv(request, f"{push}-runs", run_tables.HEADINGS, run_tables.rows(place, only))
        now = place.store.now()
        after = base.Asked(SIZE, asked.after or None).place(float, str)
        found = known_runs.page(place, only, limit=SIZE, after=after)
        columns = [each for each in run_tables.COLUMNS if each.name != "flow"]
        columns.insert(0, tables.Column("run", "Run"))
        rows = []
        for each in found.runs:
            row = run_tables.row(each, now)
            rows.append(tables.Row({**row.cells, "run": each.id}, row.href, row.id, row.kind))
        table = tables.Table(
            "runs",
            columns,
            rows,
            next=None if found.next is None else base.cursor(*found.next),
            asked=asked,
            empty=tables.Empty(
                "It never ran.",
                "Make a plan to see what it would write.",
                "Make a plan",
                f"{PATH}/{push}/plan",
            ),
            filters=(tables.Choice("state", "State", run_tables.STATES),),
            searchable=False,
            caption="Runs, the newest first",
        )
        return page(
            request,
            asker,
            place,
            "sync_runs.html",
            sync,
            "/runs",
            table=table,
            written=_written(place.store, push, asker),
        )

    @made.get(f"{PATH}/{{push}}/records")
    def rows(request: requests.Request, asker: asking.Reader, push: str) -> responses.Response:
        sync = views.one(place, push)
        asked = tables.asked(request)
        if asked.format == "csv":
            lines = (
                (
                    each.key,
                    each.link.target if each.link else None,
                    each.hold.kind if each.hold else "written",
                    each.hold.text if each.hold else None,
                )
                for each in records.each(place.store, push, search=asked.search)
            )
            return tables.csv(request, f"{push}-records", ("key", "object", "state", "why"), lines)
        after = base.Asked(SIZE, asked.after or None).place(str)
        found = records.listed(
            place.store, push, search=asked.search, after="" if after is None else after[0], limit=SIZE
        )
        table = tables.Table(
            "records",
            (
                tables.Column("key", "Row"),
                tables.Column("object", "Object"),
                tables.Column("state", "State"),
                tables.Column("since", "Linked", hide=True),
                tables.Column("text", "Why", wide=True),
            ),
            [push_tables.record(push, each) for each in found.items],
            next=None if found.next is None else base.cursor(found.next),
            asked=asked,
            empty=tables.Empty(
                "Nothing was written yet.",
                "Make a plan to see what would be.",
                "Make a plan",
                f"{PATH}/{push}/plan",
            ),
            caption="Rows by their key",
        )
        return page(request, asker, place, "sync_records.html", sync, "/records", table=table)

    @made.get(f"{PATH}/{{push}}/records/row")
    def record(request: requests.Request, asker: asking.Reader, push: str, key: str) -> responses.Response:
        sync = views.one(place, push)
        found = records.one(place.store, push, key)
        linked = run_tables.linker_of(place, f"push:{push}")
        return frame.page(
            request,
            asker,
            "sync_record.html",
            sync=sync,
            found=found,
            where=None if found.link is None else records.page(found.link),
            events=push_tables.timeline(found, linked),
            issue=issues.row_url(push, key),
            kind=known_issues.KINDS[found.hold.kind] if found.hold is not None else "",
        )

    @made.get(f"{PATH}/{{push}}/alerts")
    def told(request: requests.Request, asker: asking.Reader, push: str) -> responses.Response:
        sync = views.one(place, push)
        asked = tables.asked(request, filters=("ended",))
        ended = asked.filters["ended"] == "yes"
        found = alerts.listed(place, ended=ended, search=asked.search, flow=f"push:{push}", limit=500)
        ui = frame.parts()
        rows = [
            tables.Row(
                {
                    "title": each.title,
                    "text": each.notice.text,
                    "state": ui.chip("open" if each.notice.resolved_at is None else "resolved"),
                    "since": ui.when(each.notice.opened_at),
                    "told": each.told,
                }
            )
            for each in found.items
        ]
        columns = (
            tables.Column("title", "What"),
            tables.Column("text", "Why", wide=True),
            tables.Column("state", "State"),
            tables.Column("since", "Since"),
            tables.Column("told", "Told", hide=True),
        )
        table = tables.Table(
            "alerts",
            columns,
            rows,
            found.total,
            asked=asked,
            empty=tables.Empty(
                "No open alerts.",
                "Who is told of them, and how, stands under Settings.",
                "Alert settings",
                "/settings/alerts",
            ),
            filters=(tables.Choice("ended", "Also what is over", [("yes", "Yes")]),),
            csv=False,
            caption="Alerts of this sync",
        )
        return page(request, asker, place, "sync_alerts.html", sync, "/alerts", table=table)

    return made


def about(place: places.Place, asker: asking.Asker, sync: views.Sync, tab: str) -> dict[str, Any]:
    """What stands above every page of a sync."""
    part = configured.written(place, "pushes", sync.name)
    at = f"{PATH}/{sync.name}"
    return {
        "sync": sync,
        "part": part,
        "locked": configured.locked(part),
        "tabs": [(label, f"{at}{end}", end == tab) for label, end in TABS],
        "tab": tab,
        "at": at,
        "behavior": push_tables.BEHAVIORS[sync.push.behavior],
        "may_edit": asker.may("write"),
    }


def page(
    request: requests.Request,
    asker: asking.Asker,
    place: places.Place,
    template: str,
    sync: views.Sync,
    tab: str,
    **context: Any,
) -> responses.Response:
    """A page of a sync, below what stands above all of them."""
    return frame.page(request, asker, template, **{**about(place, asker, sync, tab), **context})


def _mapping(push: config.Push, asked: tables.Asked) -> tables.Table:
    owners = {
        "warehouse": "The model",
        "stripe": "Stripe; only new objects get it",
        "if_empty": "The model, where Stripe has nothing",
        "three_way": "Whoever changed it; both: held",
    }
    rows = []
    for path, each in push.fields.items():
        if asked.search and asked.search.lower() not in f"{path} {each.source} {each.sql}".lower():
            continue
        origin, value = next(
            (label, str(given))
            for label, given in (
                ("Column", each.source),
                ("Template", each.template),
                ("SQL", each.sql),
                ("Constant", each.value),
            )
            if given is not None
        )
        rows.append(
            tables.Row(
                {
                    "field": path,
                    "value": value + (", as SHA-256" if each.hash else ""),
                    "origin": origin,
                    "null": "Clears it" if each.null == "clear" else "Leaves it",
                    "owner": owners[each.owner],
                }
            )
        )
    return tables.Table(
        "mapping",
        (
            tables.Column("field", "Field of Stripe"),
            tables.Column("value", "Gets", wide=True),
            tables.Column("origin", "From"),
            tables.Column("null", "Null and empty"),
            tables.Column("owner", "Whose value counts"),
        ),
        rows,
        len(rows),
        asked=asked,
        caption="Fields that are written",
    )


def _written(store: database.Database, push: str, asker: asking.Asker) -> tables.Table:
    found = stored.runs(store, push, limit=WRITTEN)
    return tables.Table(
        "written",
        (
            tables.Column("run", "Run"),
            tables.Column("at", "When"),
            tables.Column("did", "What it did", wide=True),
            tables.Column("act", "", align="right"),
        ),
        [push_tables.written(push, each, asker.may("run")) for each in found],
        searchable=False,
        csv=False,
        empty=tables.Empty("Nothing was written yet."),
        caption="Runs that wrote something",
    )
