"""A Stripe double whose answers a test writes path by path; what it does not write is answered as by `double`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import double
from aiohttp import web
from pulling import KEY

from tidegate import catalog
from tidegate.pull import load, plan, reading, report, scope

Query = Mapping[str, str]
Answer = Mapping[str, Any] | tuple[int, Mapping[str, Any]]
"""A body, or a status and a body."""
Route = Callable[[Query], Answer]


@dataclass
class Script(double.Double):
    """Routes by path; `requests` are what was asked of them, path and query."""

    lists: Mapping[str, double.Objects] = field(default_factory=dict)
    routes: Mapping[str, Route] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """What the test says of this path."""
        self.requests.append(request.path_qs)
        route = self.routes.get(request.path)
        if route is None:
            return await super().answer(request)
        found = route(request.query)
        status, body = found if isinstance(found, tuple) else (200, found)
        return web.json_response(body, status=status)

    def asked_for(self, path: str) -> list[str]:
        """The requests to a path."""
        return [each for each in self.requests if each.partition("?")[0] == path]


def refusal(message: str, code: str = "", **more: str) -> dict[str, Any]:
    """Stripe's error object."""
    return {"error": {"type": "invalid_request_error", "message": message, "code": code, **more}}


MISSING = (404, refusal("No such object: 'x'", "resource_missing"))
CURSOR_GONE = (400, refusal("No such object: 'x'", "resource_missing", param="starting_after"))
BROKEN = (500, refusal("Something went wrong on our end."))


def listed(objects: Sequence[Mapping[str, Any]], query: Query, url: str = "") -> dict[str, Any]:
    """One page of a v1 list, newest first as given: `limit`, `starting_after`, `created[gte]`, `created[lt]`."""
    low, high = int(query.get("created[gte]", 0)), int(query.get("created[lt]", 1 << 40))
    found = [each for each in objects if low <= each.get("created", 1) < high]
    after = query.get("starting_after")
    first = [each["id"] for each in found].index(after) + 1 if after else 0
    page = found[first : first + int(query.get("limit", 10))]
    return {"object": "list", "url": url, "data": page, "has_more": first + len(page) < len(found)}


def rows(prefix: str, count: int, **more: Any) -> list[dict[str, Any]]:
    """Objects with ids like `il_0007`, newest first, one created each second."""
    return [
        {"id": f"{prefix}_{n:04d}", "created": 1_700_000_000 + n, **more} for n in range(count - 1, -1, -1)
    ]


@dataclass
class Added:
    """A sink that remembers what came together: the rows' ids by stream, and the mark as it was then."""

    batches: list[tuple[dict[str, list[str]], str | None]] = field(default_factory=list)
    cargo: list[load.Cargo] = field(default_factory=list)
    state: dict[str, str | None] = field(default_factory=dict)

    def add(
        self,
        pieces: Sequence[load.Cargo],
        key: str = "",  # noqa: ARG002  # a sink's signature
        mark: load.Mark | None = None,
        *,
        state: Mapping[str, str | None] | None = None,
    ) -> None:
        ids: dict[str, list[str]] = {}
        for piece in pieces:
            if isinstance(piece, load.Piece):
                ids.setdefault(piece.target.stream.name, []).extend(piece.part.rows.ids)
        self.cargo += pieces
        self.state |= state or {}
        self.batches.append((ids, None if mark is None else mark()))

    async def room(self) -> None:
        await asyncio.sleep(0)

    async def flush(self) -> None: ...

    def ids(self, stream: str) -> list[str]:
        """All ids of a stream in the order in which they came."""
        return [id for ids, _ in self.batches for id in ids.get(stream, [])]


def walked(
    url: str,
    walk: plan.Walk,
    sink: reading.Sink,
    work: Callable[[reading.Trip], Any],
    starts: Mapping[str, int | None] = MappingProxyType({}),
) -> None:
    """Do something on a trip along one walk, without a warehouse."""

    async def go() -> None:
        source = scope.Source(KEY, url, rate_limit="off", budget=1.0)
        streams = {name: catalog.load().streams[name] for name in walk.kept}
        targets = {name: scope.target(each, "acct_1", scope.Options()) for name, each in streams.items()}
        async with scope.connect(source) as stripe:
            shared = scope.shared(stripe, targets, sink, account="acct_1", starts=starts)
            await work(reading.Trip(shared, walk, report.Outcome("", "").tally, "key"))

    asyncio.run(go())


def walk(*streams: str) -> plan.Walk:
    """The first walk of a pull of some streams."""
    return plan.plan(catalog.load().streams, streams).walks[0]
