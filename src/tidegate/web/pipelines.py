"""Pipelines: the table of them, and one with its last run, its quarantine and the definitions that it ran with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import fastapi
from fastapi import Form
from starlette import requests, responses

from tidegate import config
from tidegate.engine import differences
from tidegate.engine import place as places
from tidegate.server import asking
from tidegate.server import desk as desks
from tidegate.views import pipeline_failures, pipeline_versions, runs
from tidegate.views import pipelines as views
from tidegate.web import configured, frame, prose, standings, tables

PATH = "/pipelines"
SIZE = 50
"""Rows on a page."""
UNWELL = "never ran well"
"""Instead of the age of what has none: rows may have come, but not all of them."""
HEADINGS = (
    "pipeline", "description", "from", "stream", "to", "filter", "enabled", "schedule", "last_run", "state",
    "finished_at", "age_s", "quarantined",
)  # fmt: skip
COLUMNS = (
    tables.Column("name", "Pipeline", sort=True),
    tables.Column("filters", "Filters"),
    tables.Column("enable", "Enable"),
    tables.Column("run", "Run now"),
    tables.Column("schedule", "Schedule"),
    tables.Column("manage", "Manage"),
    tables.Column("more", "⋮ More"),
    tables.Column("last", "Last run", sort=True),
    tables.Column("freshness", "Freshness", sort=True),
)
FAILED = (
    tables.Column("id", "Record"),
    tables.Column("property", "Property"),
    tables.Column("why", "Why", wide=True),
    tables.Column("attempts", "Attempts", align="right", hide=True),
    tables.Column("account", "Account", hide=True),
    tables.Column("at", "Last tried", align="right"),
)
VERSIONS = (
    tables.Column("number", "Version"),
    tables.Column("at", "First ran"),
    tables.Column("changed", "What changed", wide=True),
)


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(PATH)
    def listed(request: requests.Request, asker: asking.Reader) -> responses.Response:
        asked = tables.asked(request, filters=("enabled", "state"), sorts=("name", "last", "freshness"))
        found = [each for each in views.listed(place) if _meant(each, asked)]
        if asked.sort:
            found.sort(key=_ORDERS[asked.sorted_by], reverse=asked.descending)
        if asked.format == "csv":
            return tables.csv(request, "pipelines", HEADINGS, map(_line, found))
        start = (asked.page - 1) * SIZE
        table = tables.Table(
            "pipelines",
            COLUMNS,
            [_row(each, asker) for each in found[start : start + SIZE]],
            len(found),
            None,
            asked,
            tables.Empty(
                "No pipeline yet.",
                "A pipeline takes chosen rows of a stream, shapes them, and brings them into the customer model.",
                *(("Add a pipeline", f"{PATH}/-/add") if asker.may("write") else ()),
            ),
            [
                tables.Choice("enabled", "Enabled", [("on", "Enabled"), ("off", "Off")]),
                tables.Choice(
                    "state", "Last run", [("ok", "Well"), ("wrong", "Not well"), ("none", "Never")]
                ),
            ],
            caption="Pipelines",
            pages=-(-len(found) // SIZE),
        )
        return frame.page(request, asker, "pipelines.html", table=table)

    @made.get(f"{PATH}/{{name}}")
    def one(request: requests.Request, asker: asking.Reader, name: str) -> responses.Response:
        about = _about(place, name, "")
        last = about["line"].last
        whole = None if last is None else runs.whole(place.store, last)
        funnel = [] if whole is None else whole.funnel
        return frame.page(
            request,
            asker,
            "pipeline.html",
            **about,
            error="" if last is None else prose.plain(last.error),
            facts=_facts(place, about["line"]),
            funnel=[(each.label, each.rows, "" if each.kind == "plain" else each.kind) for each in funnel],
        )

    @made.post(f"{PATH}/{{name}}/enable")
    def enable(
        request: requests.Request, asker: asking.Editor, name: str, enabled: Annotated[str, Form()]
    ) -> responses.Response:
        views.switch(place, asker, name, enabled == "on", admin=asker.may("admin"))
        said = "is enabled; it runs by its schedule." if enabled == "on" else "is off; it does not run."
        return frame.done(request, PATH, f"{name} {said}")

    @made.post(f"{PATH}/{{name}}/approve")
    def approve(
        request: requests.Request, asker: asking.Operator, name: str, sent: configured.Sent
    ) -> responses.Response:
        configured.typed(sent, name)
        run = views.approve(place, asker, name)
        return frame.done(request, f"/runs/{run.id}", f"{name} is queued; its guard holds nothing this time.")

    @made.post(f"{PATH}/{{name}}/remove")
    def remove(
        request: requests.Request, asker: asking.Editor, name: str, sent: configured.Sent
    ) -> responses.Response:
        configured.typed(sent, name)
        part = views.written(place, name)
        configured.change(place, asker, views.KIND, name, None, part.version)
        return frame.done(request, PATH, f"{name} is deleted; what it brought into the model stays there.")

    @made.get(f"{PATH}/{{name}}/failures")
    def failures(request: requests.Request, asker: asking.Reader, name: str) -> responses.Response:
        about = _about(place, name, "failures")
        asked = tables.asked(request)
        if asked.format == "csv":
            headings = ("source_id", "account", "property", "why", "attempts", "first_at", "last_at", "run")
            return tables.csv(request, f"{name}-failures", headings, _failed_lines(place, name, asked.search))
        start = (asked.page - 1) * SIZE
        found, total = pipeline_failures.failures(place, name, search=asked.search, limit=SIZE, after=start)
        table = tables.Table(
            "failures",
            FAILED,
            [
                tables.Row(
                    {
                        "id": each.source_id,
                        "property": each.property,
                        "why": each.why,
                        "attempts": each.attempts,
                        "account": each.account,
                        "at": standings.when(each.last_at),
                    },
                    f"{PATH}/{name}/failures/{each.account}/{each.source_id}" if asker.may("write") else "",
                )
                for each in found
            ],
            total,
            None,
            asked,
            tables.Empty(
                "No row is in quarantine.", "Rows that cannot be shaped would wait here, with the reason."
            ),
            caption="Rows in quarantine, the latest first",
            pages=-(-total // SIZE),
        )
        return frame.page(request, asker, "pipeline_failures.html", **about, table=table)

    @made.get(f"{PATH}/{{name}}/failures/{{account}}/{{source:path}}")
    def failure(
        request: requests.Request, asker: asking.Editor, name: str, account: str, source: str
    ) -> responses.Response:
        found = pipeline_failures.failure(place, name, account, source)
        return frame.page(
            request,
            asker,
            "pipeline_failure.html",
            **_about(place, name, "failures"),
            failed=found,
            payload=_pretty(found.payload),
        )

    @made.post(f"{PATH}/{{name}}/retry")
    def retry(request: requests.Request, asker: asking.Operator, name: str) -> responses.Response:
        count = pipeline_failures.retry(place, asker, name)
        rows = "1 row is" if count == 1 else f"{count:,} rows are"
        return frame.done(request, f"{PATH}/{name}/failures", f"{rows} read again by the next run.")

    @made.get(f"{PATH}/{{name}}/versions")
    def versions(
        request: requests.Request, asker: asking.Reader, name: str, of: str = "", to: str = ""
    ) -> responses.Response:
        about = _about(place, name, "versions")
        found = pipeline_versions.versions(place.store, name)
        numbers = [str(each.number) for each in found]
        known = dict(zip(numbers, found, strict=True))
        after = known.get(to) or (found[0] if found else None)
        before = known.get(of) or (known.get(str(after.number - 1)) if after else None)
        asked = tables.asked(request)
        rows = [
            tables.Row(
                {
                    "number": each.number,
                    "at": standings.when(each.first_at),
                    "changed": _changed(known.get(str(each.number - 1)), each),
                },
                f"{PATH}/{name}/versions?to={each.number}",
            )
            for each in found
        ]
        wanted = [row for row in rows if asked.search.lower() in str(row.cells["changed"]).lower()]
        if asked.format == "csv":
            shown = {row.cells["number"] for row in wanted}
            lines = (
                (each.number, frame.iso(each.first_at), _changed(known.get(str(each.number - 1)), each))
                for each in found
                if each.number in shown
            )
            return tables.csv(request, f"{name}-versions", ("version", "first_at", "changed"), lines)
        table = tables.Table(
            "versions",
            VERSIONS,
            wanted[(asked.page - 1) * SIZE : asked.page * SIZE],
            len(wanted),
            None,
            asked,
            tables.Empty("It has not run yet.", "Whatever it runs with is kept here, from its first run on."),
            caption="Versions, the newest first",
            pages=-(-len(wanted) // SIZE),
        )
        told = [] if after is None else pipeline_versions.compared(before, after)
        return frame.page(
            request,
            asker,
            "pipeline_versions.html",
            **about,
            table=table,
            numbers=numbers,
            before=before,
            after=after,
            diff=[(each.field, _code(each, each.before), _code(each, each.after)) for each in told],
        )

    @made.post(f"{PATH}/{{name}}/versions/{{number}}/restore")
    def restore(
        request: requests.Request, asker: asking.Editor, name: str, number: int
    ) -> responses.Response:
        pipeline_versions.restore(place, asker, name, number, admin=asker.may("admin"))
        return frame.done(
            request, f"{PATH}/{name}", f"{name} is as version {number} was; its next run goes by it."
        )

    return made


def _about(place: places.Place, name: str, tab: str) -> dict[str, Any]:
    """What every page of a pipeline says."""
    line = views.one(place, name)
    part = configured.written(place, views.KIND, name)
    here = f"{PATH}/{name}"
    waiting = f" ({line.quarantined:,})" if line.quarantined else ""
    return {
        "line": line,
        "part": part,
        "locked": configured.locked(part),
        "here_is": here,
        "tabs": [
            ("Overview", here, tab == ""),
            (f"Quarantine{waiting}", f"{here}/failures", tab == "failures"),
            ("Versions", f"{here}/versions", tab == "versions"),
        ],
    }


def _facts(place: places.Place, line: views.Line) -> list[tuple[str, Any]]:
    """What a pipeline does, each thing that has a page leading to it."""
    found = views.pipeline(place, line.name)
    return [
        ("Stripe account", frame.link(f"/accounts/{line.connection}", line.connection)),
        ("Stream", frame.link(f"/streams?search={line.stream}", line.stream)),
        ("Warehouse", frame.link(f"/warehouses/{line.warehouse}", line.warehouse)),
        ("Filter", line.filter or "none: every row is read"),
        ("Mapped", f"{len(found.map)} properties" if found.map else "each from its usual field"),
        ("Function", _language(found.function)),
        ("Schedule", line.schedule),
        ("Next run", standings.upcoming(line.next_at, found.schedule)),
        ("Freshness", standings.freshness(line.age, None, UNWELL)),
        ("In quarantine", frame.link(f"{PATH}/{line.name}/failures", frame.number(line.quarantined))),
    ]


def _language(function: config.Function | None) -> str:
    if function is None:
        return "none"
    if function.javascript is not None or (function.code is not None and function.language == "javascript"):
        return "JavaScript"
    return "Python"


def _meant(line: views.Line, asked: tables.Asked) -> bool:
    text = f"{line.name} {line.description} {line.stream} {line.connection}".lower()
    state = "none" if line.last is None else "ok" if line.last.state == "ok" else "wrong"
    return (
        asked.search.lower() in text
        and asked.filters["enabled"] in ("", "on" if line.enabled else "off")
        and asked.filters["state"] in ("", state)
    )


_ORDERS: dict[str, Callable[[views.Line], Any]] = {
    "name": lambda line: line.name.lower(),
    "last": lambda line: (line.last.finished_at or 0.0) if line.last is not None else 0.0,
    "freshness": lambda line: line.age if line.age is not None else -1.0,
}


def _row(line: views.Line, asker: asking.Asker) -> tables.Row:
    cell, here = _cells(), f"{PATH}/{line.name}"
    edits = asker.may("write")
    shown = line.running or line.last
    return tables.Row(
        {
            "name": cell.titled(line, here),
            "filters": line.filter or "-",
            "enable": frame.Later(lambda: cell.enabled(line, here, edits)),
            "run": frame.Later(lambda: cell.run(line, asker.may("run"))),
            "schedule": line.schedule,
            "manage": frame.parts().button(
                "Edit" if edits else "View", "plain", f"{here}/edit" if edits else here
            ),
            "more": frame.Later(lambda: cell.more(line, here)) if edits else "",
            "last": "" if shown is None else cell.last(shown),
            "freshness": standings.freshness(line.age, None, UNWELL),
        },
        kind="" if line.enabled else "off",
    )


def _cells() -> Any:
    """The macros for cells."""
    return frame.environment().get_template("part_pipeline_cells.html").module


def _line(line: views.Line) -> tuple[Any, ...]:
    last = line.last
    return (
        line.name, line.description, line.connection, line.stream, line.warehouse, line.filter, line.enabled,
        line.schedule, last and last.id, last and last.state,
        frame.iso(last.finished_at) if last and last.finished_at else None, line.age, line.quarantined,
    )  # fmt: skip


def _failed_lines(place: places.Place, name: str, search: str) -> Iterator[tuple[Any, ...]]:
    after = 0
    while True:
        some, _ = pipeline_failures.failures(place, name, search=search, limit=500, after=after)
        for each in some:
            yield (
                each.source_id, each.account, each.property, each.why, each.attempts, frame.iso(each.first_at),
                frame.iso(each.last_at), each.run,
            )  # fmt: skip
        if len(some) < 500:
            return
        after += len(some)


def _changed(before: pipeline_versions.Version | None, after: pipeline_versions.Version) -> str:
    """Which parts of a definition differ from the one before."""
    if before is None:
        return "its first definition"
    names = dict.fromkeys(
        each.field.split(".")[0].split("[")[0] for each in pipeline_versions.compared(before, after)
    )
    return ", ".join(names)


def _code(of: differences.Difference, value: str | None) -> str | None:
    """A line of a function as it was written, with what it begins with; any other value as it is told."""
    if value is None or ".line " not in of.field or not value.startswith('"'):
        return value
    try:
        line = json.loads(value)
    except ValueError:
        return value
    return line if differences.told(line) == value else value


def _pretty(payload: str) -> str:
    try:
        return json.dumps(json.loads(payload), indent=2, ensure_ascii=False)
    except ValueError:
        return payload
