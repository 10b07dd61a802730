"""Every component on pages of its own, served as the product serves its pages: the same policy, the same frame."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastapi
from starlette import datastructures, responses
from starlette import types as asgi

from tidegate import config
from tidegate.server import app, asking, shield
from tidegate.web import assets, frame, tables

ANN = asking.Asker("ann@example.com", "admin", "session", "the-token-of-this-session")
PAGES = Path(__file__).parent / "gallery_pages"
FIELDS = [
    {"name": "email", "type": "string", "label": "E-mail"},
    ("created", "timestamp"),
    ("balance", "integer"),
    ("delinquent", "boolean"),
    ("metadata.plan", "json"),
    {"name": "currency", "type": "string", "values": ["eur", "usd"]},
]
FILTER = {
    "all": [
        {"field": "metadata.plan", "op": "is one of", "value": ["pro", "team"]},
        {"field": "created", "op": "is on or after", "value": "30 days ago"},
        {"any": [
            {"field": "email", "op": "ends with", "value": "@Example.com", "ignore_case": True},
            {"field": "delinquent", "op": "is true"},
            {"field": "balance", "op": "is between", "value": [-100, 2500]},
        ]},
    ]
}  # fmt: skip
MAP = {
    "customer_id": "id",
    "email": {"sql": "lower(trim(email))"},
    "region": {"value": "eu"},
    "signup": {"from": "metadata.signup", "type": "date"},
}
TARGETS = [
    ("customer_id", "string"),
    ("email", "string"),
    ("region", "string"),
    ("signup", "string"),
    ("city", "string"),
    ("seats", "integer"),
]
SUGGESTIONS = {
    "city": [{"path": "address.city", "why": "the same name"}, "shipping.address.city"],
    "seats": ["metadata.seats"],
}
PYTHON = '''\
def transform(customer: dict) -> dict:
    """One profile of one customer."""
    plan = customer["metadata"].get("plan", "free")
    return {"id": customer["id"], "plan": plan, "seats": 3}
'''

STATES = ("ok", "running", "queued", "partial", "failed", "cancelled", "interrupted", "held", "off", "warn")


@dataclass(slots=True)
class Gallery:
    """A gallery that is served, and what was posted to it."""

    url: str = ""
    posted: list[dict[str, str]] = field(default_factory=list)
    tested: list[dict[str, Any]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    """Server-sent events that every listener of `/events` is given; the last may end the stream."""
    listened: int = 0
    empty: bool = False


def table(request: fastapi.Request, gallery: Gallery) -> tables.Table:
    """A thousand runs, searched, filtered, sorted and paged."""
    asked = tables.asked(request, filters=("state",), sorts=("flow", "rows"), default="-rows")
    found = (
        []
        if gallery.empty
        else [(f"pulls.flow_{number:03}", number * 37, STATES[number % 5]) for number in range(1000)]
    )
    found = [row for row in found if asked.search in row[0] and asked.filters["state"] in ("", row[2])]
    found.sort(key=lambda row: row[1 if asked.sorted_by == "rows" else 0], reverse=asked.descending)
    start = int(asked.after or 0)
    rows = [
        tables.Row(
            {
                "flow": flow,
                "state": frame.parts().chip(state),
                "started": frame.parts().when(1767225600 + count),
                "rows": count,
                "note": None,
            },
            href=f"/runs/{flow}",
            kind="bad" if state == "failed" else "",
        )
        for flow, count, state in found[start : start + 25]
    ]
    return tables.Table(
        "runs",
        [
            tables.Column("flow", "Flow", sort=True),
            tables.Column("state", "State"),
            tables.Column("started", "Started"),
            tables.Column("rows", "Rows", sort=True, align="right"),
            tables.Column("note", "Note", hide=True),
        ],
        rows,
        total=len(found),
        next=str(start + 25) if len(found) > start + 25 else None,
        asked=asked,
        filters=[tables.Choice("state", "State", [(state, state) for state in STATES[:4]])],
        empty=tables.Empty(
            "No runs yet.", "A run begins when a flow is due, or now.", "Start a flow", "/streams"
        ),
        caption="Runs",
    )


def make(gallery: Gallery) -> fastapi.FastAPI:
    """The application."""
    made = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    key = {"acme": {"api_key": "sk_test_0123456789abcdef"}}
    place = types.SimpleNamespace(problem="", file=config.Config.model_validate({"stripe": key}))
    made.state.desk = types.SimpleNamespace(place=place)
    made.include_router(assets.router(made.state.desk))
    shown = {
        file.stem: frame.environment().from_string(file.read_text(encoding="utf-8"))
        for file in PAGES.glob("*.html")
    }

    def page(
        request: fastapi.Request, shows: str, asker: asking.Asker | None = ANN, **context: Any
    ) -> responses.Response:
        return frame.page(request, asker, shown[shows], **context)

    def editors(request: fastapi.Request, **more: Any) -> responses.Response:
        given = {
            "filter": FILTER,
            "fields": FIELDS,
            "map": MAP,
            "targets": TARGETS,
            "suggestions": SUGGESTIONS,
            "python": PYTHON,
        }
        return page(request, "editors", **{"draft": "gallery", "wrong": "", "name": "", **given, **more})

    @made.get("/")
    def overview(request: fastapi.Request, kind: str = "bars") -> responses.Response:
        return page(request, "overview", states=STATES, kind=kind)

    @made.get("/editors")
    def edit(request: fastapi.Request) -> responses.Response:
        return editors(request)

    @made.get("/runs")
    def runs(request: fastapi.Request) -> responses.Response:
        found = table(request, gallery)
        if found.asked.format == "csv":
            return tables.csv(request, "runs", ["Flow", "Rows"], [("=1+1", 3), ("pulls.x", None)])
        return page(request, "rows", table=found)

    @made.get("/live")
    def live(request: fastapi.Request) -> responses.Response:
        return page(request, "live")

    @made.get("/sign-in")
    def sign_in(request: fastapi.Request) -> responses.Response:
        return page(request, "sign_in", None)

    @made.get("/figures")
    def figures() -> dict[str, Any]:
        start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        times = [(start + dt.timedelta(hours=hour)).isoformat() for hour in range(48)]
        return {
            "times": times,
            "series": [
                {"label": "Rows read", "values": [(hour * 7919) % 5000 for hour in range(48)]},
                {"label": "Rows written", "values": [(hour * 104729) % 3000 for hour in range(48)]},
            ],
        }

    @made.get("/events")
    def events() -> responses.StreamingResponse:
        gallery.listened += 1
        return responses.StreamingResponse(iter(gallery.events), media_type="text/event-stream")

    @made.post("/tested")
    async def tested(request: fastapi.Request) -> dict[str, Any]:
        body = await request.json()
        gallery.tested.append({**body, "token": request.headers.get("x-csrf-token")})
        if "1 / 0" in body["code"]:
            return {
                "result": None,
                "printed": [],
                "error": {"message": "division by zero", "line": 3},
                "seconds": 0.002,
            }
        return {
            "result": {"id": json.loads(body["sample"])["id"]},
            "printed": ["so far"],
            "error": None,
            "seconds": 0.002,
        }

    @made.post("/{name}")
    async def change(request: fastapi.Request, name: str) -> responses.Response:
        form = {key: str(value) for key, value in (await request.form()).items()}
        if form.pop("_csrf", "") != ANN.csrf:
            return frame.failed(request, ANN, 403, "This form is not of your session; load the page again.")
        if form.get("name") == "taken":
            return editors(request, wrong="There is a pipeline of this name.", name="taken")
        gallery.posted.append({"to": name, **form})
        return frame.done(request, "/runs", f"Done: {name}.")

    @made.exception_handler(404)
    def missing(request: fastapi.Request, _: Exception) -> responses.Response:
        return frame.failed(request, ANN, 404, f"There is nothing at {request.url.path}.")

    made.add_middleware(_Headers)
    return made


class _Headers:
    """The headers that every answer of the product has."""

    def __init__(self, inner: asgi.ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        async def sent(message: asgi.Message) -> None:
            if message["type"] == "http.response.start":
                headers = datastructures.MutableHeaders(scope=message)
                for name, value in shield.HEADERS:
                    headers[name] = value
            await send(message)

        await self._inner(scope, receive, sent)


@contextlib.contextmanager
def serving(gallery: Gallery, port: int = 0) -> Iterator[Gallery]:
    """Serve it for as long as the block takes."""
    with app.serve(make(gallery), port=port) as gallery.url:
        yield gallery


def until(holds: Any, seconds: float = 10.0) -> None:
    """Wait until something holds that no page shows."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it never held"
        time.sleep(0.02)
