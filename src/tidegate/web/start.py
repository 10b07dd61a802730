"""The first run: a key, a warehouse, the streams, and the first rows as they come; it can be left at any time."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import fastapi
from starlette import concurrency, datastructures, requests, responses

from tidegate import catalog, config, errors
from tidegate.api import streaming
from tidegate.engine import place as places
from tidegate.server import asking, problems
from tidegate.server import desk as desks
from tidegate.views import accounts, forms, warehouses
from tidegate.views import runs as run_views
from tidegate.views import start as views
from tidegate.web import configured, frame, standings, tables

PATH = "/start"
LABELS: Mapping[views.Step, str] = {
    "key": "Stripe account",
    "warehouse": "Warehouse",
    "streams": "Streams",
    "rows": "First rows",
}
FIELDS = tuple(
    dataclasses.replace(each, required=True, hint="A restricted key, or a secret one. It is kept encrypted.")
    if each.name == "api_key"
    else each
    for each in forms.fields(config.Connection, without=("oauth",))
    if each.name in ("api_key", "api_base")
)
CELL = 40
"""Characters of a value that are short enough for a table."""
LOOKS = 3
"""Turns between two looks at what has come."""


def router(desk: desks.Desk) -> fastapi.APIRouter:
    """The routes."""
    made, place = fastapi.APIRouter(include_in_schema=False), desk.place

    @made.get(PATH)
    def where(
        request: requests.Request, asker: asking.Reader, step: str = "", type: str = "duckdb"
    ) -> responses.Response:
        if not asker.may("write"):
            return frame.done(request, "/")
        return _page(request, asker, desk, step=step, type=type)

    @made.post(f"{PATH}/key")
    def key(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        given = configured.texts(sent)
        name = views.free(place.file.stripe, "stripe")
        try:
            body = forms.body(FIELDS, given, {})
            _, found = accounts.keep(place, asker, name, body, None, admin=asker.may("admin"))
        except errors.StoreConflict as error:
            raise problems.Problem(409, str(error)) from None
        except errors.TidegateError as error:
            if isinstance(error, errors.StoreError):
                raise
            form = configured.refused(FIELDS, given, {}, error)
            return _page(request, asker, desk, step="key", form=form, status=configured.status(error))
        mode, count = found.mode.upper(), len(found.readable)
        lacks = (
            f" {len(found.missing)} permissions are missing; the page {name} lists them."
            if found.missing
            else ""
        )
        said = f"{found.account} ({mode}): {count} of {len(found.access)} streams can be read.{lacks}"
        return frame.done(request, PATH, said, "warn" if lacks else "ok")

    @made.post(f"{PATH}/demo")
    def demo(request: requests.Request, asker: asking.Editor) -> responses.Response:
        if desk.demo is None:
            raise problems.Problem(404, "This server has no generated data.")
        views.try_demo(place, asker, desk.demo)
        return frame.done(
            request, PATH, "A local Stripe with generated data is being read; nothing leaves this machine."
        )

    @made.post(f"{PATH}/demo/end")
    def end(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        configured.typed(sent, views.DEMO)
        views.end_demo(place, asker)
        return frame.done(
            request, PATH, "The generated data is gone from here; connect an account of your own."
        )

    @made.post(f"{PATH}/warehouse")
    def warehouse(
        request: requests.Request, asker: asking.Editor, sent: configured.Sent
    ) -> responses.Response:
        return _warehouse(request, asker, desk, sent)

    @made.post(f"{PATH}/estimate")
    def forecast(
        request: requests.Request, asker: asking.Editor, sent: configured.Sent
    ) -> responses.Response:
        taken = _taken(sent)
        try:
            found = views.forecast(place, views.stand(place).connection, taken)
        except errors.StoreError:
            raise
        except errors.TidegateError as error:
            said = str(error)
            return frame.placed(
                request,
                asker,
                "part_said.html",
                lambda _: _page(request, asker, desk, taken=taken, said=said, status=422),
                kind="bad",
                text=said,
            )
        return frame.placed(
            request,
            asker,
            "part_estimate.html",
            lambda html: _page(request, asker, desk, taken=taken, estimate=html),
            found=found,
        )

    @made.post(f"{PATH}/streams")
    def streams(request: requests.Request, asker: asking.Editor, sent: configured.Sent) -> responses.Response:
        now = views.stand(place)
        if now.step != "streams":
            return frame.done(request, PATH)
        chosen = _taken(sent)
        try:
            views.begin(place, asker, now.connection, now.warehouse, chosen, admin=asker.may("admin"))
        except errors.ConfigError as error:
            return _page(request, asker, desk, taken=chosen, said=str(error), status=configured.status(error))
        return frame.done(request, PATH)

    @made.post(f"{PATH}/run")
    def run(request: requests.Request, asker: asking.Editor) -> responses.Response:
        now = views.stand(place)
        if now.pull:
            views.start(place, asker, now.pull)
        return frame.done(request, PATH)

    @made.get(f"{PATH}/live")
    async def live(request: requests.Request, asker: asking.Editor) -> responses.Response:
        return streaming.response(request, _events(request, asker, place))

    return made


def _page(
    request: requests.Request,
    asker: asking.Asker,
    desk: desks.Desk,
    *,
    step: str = "",
    type: str = "duckdb",
    form: configured.Filled | None = None,
    steps: list[warehouses.Step] | None = None,
    taken: list[str] | None = None,
    said: str = "",
    estimate: str = "",
    status: int = 200,
) -> responses.Response:
    now = views.stand(desk.place)
    # A step that is done can be looked at again only while what follows from it is not there.
    shown: views.Step = now.step
    if step == "key" or (step == "warehouse" and now.connection):
        shown = "key" if step == "key" else "warehouse"
    kinds = {name: each for name, each in warehouses.kinds().items() if not each.readonly}
    kind = kinds.get(type, kinds["duckdb"])
    if form is None:
        filled = configured.filled(FIELDS if shown == "key" else kind.fields, {})
        local = {"path": f"{now.connection or 'stripe'}.duckdb"} if kind.type == "duckdb" else {}
        form = dataclasses.replace(
            filled, shown={**filled.shown, **local} if shown == "warehouse" else filled.shown
        )
    at = views.STEPS.index(now.step)
    return frame.page(
        request,
        asker,
        "start.html",
        status=status,
        step=shown,
        steps=[
            (LABELS[each], f"{PATH}?step={each}", number < at, each == shown)
            for number, each in enumerate(views.STEPS)
        ],
        form=form,
        kind=kind,
        kinds=[(each.type, each.label) for each in kinds.values()],
        checked=steps or [],
        groups=_groups() if shown == "streams" else [],
        taken=set(views.recommended() if taken is None else taken) if shown == "streams" else set(),
        said=said,
        estimate=estimate,
        demo=desk.demo is not None and not now.demo,
        waiting=[name for name, each in desk.place.file.stripe.items() if each.key is None],
        links=(accounts.reading_link(live=False), accounts.reading_link(live=True)),
        **(_told(desk.place, now, views.look(desk.place, now)) if shown == "rows" else {"stand": now}),
    )


def _warehouse(
    request: requests.Request, asker: asking.Asker, desk: desks.Desk, sent: datastructures.FormData
) -> responses.Response:
    """Check a warehouse step by step, and keep it where it works."""
    place, given = desk.place, configured.texts(sent)
    kinds = warehouses.kinds()
    kind = kinds.get(given.get("_type", ""), kinds["duckdb"])
    body = {"type": kind.type, **forms.body(kind.fields, given, {})}
    name = views.free(place.file.warehouses, "local" if kind.type == "duckdb" else kind.type)
    try:
        steps = warehouses.check_draft(place, name, body, admin=asker.may("admin"))
        if all(each.ok for each in steps):
            configured.change(place, asker, "warehouses", name, body, None)
            return frame.done(request, PATH, f"{name} works, and is kept.")
        form = configured.refused(
            kind.fields, given, {}, errors.ConfigError("It does not work yet; see below.")
        )
    except errors.ConfigError as error:
        steps, form = [], configured.refused(kind.fields, given, {}, error)
    return _page(
        request, asker, desk, step="warehouse", type=kind.type, form=form, steps=steps, status=form.status
    )


def _taken(sent: datastructures.FormData) -> list[str]:
    return [each for each in sent.getlist("take") if isinstance(each, str)]


def _groups() -> list[tuple[str, list[Any]]]:
    """The streams, those that are recommended first."""
    known = sorted(catalog.load().streams.values(), key=lambda each: each.name)
    return [
        ("Recommended", [each for each in known if each.default]),
        ("More", [each for each in known if not each.default]),
    ]


def _told(place: places.Place, now: views.Stand, look: views.Look | None) -> dict[str, Any]:
    """What the last step shows."""
    run = now.run
    told = [] if run is None else run_views.streams(run)
    return {
        "stand": now,
        "run": run,
        "took": None if run is None else run_views.took(run, place.store.now()),
        "done": sum(each.share == 1.0 for each in told),
        "streams": len(told),
        "look": look,
        "table": None if look is None else _table(look),
    }


def _table(look: views.Look) -> tables.Table:
    return tables.Table(
        "look",
        [
            tables.Column(
                name, name, align="right" if isinstance(look.rows[0][name], int | float) else "left"
            )
            for name in look.columns
        ],
        [tables.Row({name: _cell(value) for name, value in row.items()}) for row in look.rows],
        searchable=False,
        csv=False,
        caption=f"The newest rows of {look.stream}",
    )


def _cell(value: object) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case dt.datetime():
            return standings.when(value.replace(tzinfo=value.tzinfo or dt.UTC).timestamp())
    text = str(value)
    return text if len(text) <= CELL else text[: CELL - 1] + "…"


async def _events(
    request: requests.Request, asker: asking.Asker, place: places.Place
) -> AsyncGenerator[bytes]:
    """The last step whenever it looks otherwise; it ends with the run."""
    hub, shown, turn = streaming.follower(request), "", 0
    look: views.Look | None = None
    while True:
        try:
            now = await hub.ask(("start",), functools.partial(views.stand, place))
            if not views.tells(look) and now.rows and turn % LOOKS == 0:
                look = await concurrency.run_in_threadpool(views.look, place, now) or look
            turn += 1
            told = await concurrency.run_in_threadpool(_told, place, now, look)
        except errors.TidegateError:
            yield b""  # it is away, and looked for in the next turn
            continue
        render = functools.partial(frame.fragment, request, asker, "part_start.html", **told)
        html = await concurrency.run_in_threadpool(render)
        if now.run is not None and not now.run.alive:
            if not views.tells(look):
                look = await concurrency.run_in_threadpool(views.look, place, now) or look
                told = _told(place, now, look)
                html = await concurrency.run_in_threadpool(
                    functools.partial(frame.fragment, request, asker, "part_start.html", **told)
                )
            yield streaming.event("end", html)
            return
        if html != shown:
            shown = html
            yield streaming.event("html", html)
        yield b""
