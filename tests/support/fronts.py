"""A server whose only routes are those of a test, with a desk as `tidegate run` has it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import fastapi
from signing import UNHURRIED

from tidegate.engine import feed
from tidegate.engine import place as places
from tidegate.server import app, asking, limits
from tidegate.server import desk as desks
from tidegate.web import troubles


def routes() -> fastapi.APIRouter:
    """One route for each role, one that forgets to ask, and one for everybody."""
    made = fastapi.APIRouter()

    @made.get("/reads")
    def reads(asker: asking.Reader) -> dict[str, str]:
        return {"name": asker.name, "role": asker.role, "via": asker.via}

    @made.post("/runs")
    def runs(asker: asking.Operator) -> str:
        return asker.name

    @made.post("/edits")
    def edits(asker: asking.Editor) -> str:
        return asker.name

    @made.post("/rules")
    def rules(asker: asking.Admin) -> str:
        return asker.name

    @made.get("/api/v1/flow/{flow}")
    def flow(flow: str, asker: asking.FlowReader) -> bool:
        return asker.knows(flow)

    @made.get("/forgets")
    def forgets() -> str:
        return "done"

    @made.post("/forgets")
    def forgets_more() -> str:
        return "done"

    @made.post("/own")
    @asking.own
    def own() -> str:
        return "done"

    @made.api_route("/open", methods=["GET", "POST"])
    @asking.public
    def everybody(request: fastapi.Request) -> dict[str, str]:
        client = request.client.host if request.client else ""
        return {"scheme": request.url.scheme, "client": client}

    @made.post("/form")
    def form(asker: asking.Operator, text: str = fastapi.Form("")) -> str:
        return f"{asker.role}: {text}"

    @made.get("/breaks")
    @asking.public
    def breaks() -> str:
        raise RuntimeError("card number 4242424242424242")

    return made


@contextlib.contextmanager
def served(
    place: places.Place,
    *,
    host: str = "127.0.0.1",
    proxies: tuple[str, ...] = (),
    limit: limits.Limits = UNHURRIED,
) -> Iterator[tuple[str, desks.Desk]]:
    """Serve them until the block ends; the desk says `host`, which is listened on at this machine alone."""
    desk = desks.Desk(place, host, proxies, limit)
    front = app.Front(desk, [routes()], troubles.failed)
    with app.serving(place.file, feed.Arrivals(), front=front) as url:
        yield url, desk
