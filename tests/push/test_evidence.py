"""What events say of creates, also where a server knows less of them than Stripe does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tidegate import errors
from tidegate.push import evidence
from tidegate.stripe import client, pace

SINCE = 1_700_000_000.0
MADE, CHANGED = "customer.created", "customer.updated"


def event(id: str, kind: str) -> dict[str, Any]:
    return {"id": id, "type": kind, "created": int(SINCE) + 1, "data": {"object": {"object": "customer"}}}


ALL = [event("evt_3", MADE), event("evt_2", CHANGED), event("evt_1", MADE)]


@contextlib.asynccontextmanager
async def stripe(answer: Any) -> AsyncIterator[client.Client]:
    """A client of a Stripe that answers so."""
    server = web.ServerRunner(web.Server(answer))
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    try:
        url = "http://{}:{}".format(*server.addresses[0])
        quick = pace.Pace(pace.limits_for("test", "off"), budget=1.0)
        async with client.Client("sk_test_1", api_base=url, api_version="2026-01-01", pace=quick) as found:
            yield found
    finally:
        await server.cleanup()


def read(answer: Any, types: tuple[str, ...] = (MADE,)) -> list[str]:
    """The events that are read from such a Stripe."""

    async def reading() -> list[str]:
        async with stripe(answer) as found:
            return [each["id"] async for each in evidence.events(found, types, SINCE)]

    return asyncio.run(reading())


def page(events: list[dict[str, Any]], more: bool = False) -> web.Response:
    return web.json_response({"object": "list", "data": events, "has_more": more})


async def stripes_own(request: web.BaseRequest) -> web.Response:
    chosen = [each for each in ALL if each["type"] in request.query.getall("types[]")]
    after = request.query.get("starting_after")
    left = chosen if after is None else chosen[[each["id"] for each in chosen].index(after) + 1 :]
    assert request.query["created[gte]"] == str(int(SINCE))
    return page(left[:1], len(left) > 1)


async def heedless(_: web.BaseRequest) -> web.Response:
    return page(ALL)


async def refusing(request: web.BaseRequest) -> web.Response:
    if "types[]" in request.query:
        return web.json_response(
            {"error": {"type": "invalid_request_error", "message": "types?"}}, status=400
        )
    return page(ALL)


@pytest.mark.parametrize("answer", [stripes_own, heedless, refusing])
def test_the_types_that_were_asked_for_come_whoever_chooses_them(answer: Any) -> None:
    assert read(answer) == ["evt_3", "evt_1"]
    assert read(answer, (MADE, CHANGED)) == ["evt_3", "evt_2", "evt_1"]


def test_what_is_refused_altogether_or_midway_is_no_empty_answer() -> None:
    async def never(_: web.BaseRequest) -> web.Response:
        return web.json_response({"error": {"type": "invalid_request_error", "message": "no"}}, status=400)

    async def later(request: web.BaseRequest) -> web.Response:
        return await never(request) if "starting_after" in request.query else page(ALL[:1], more=True)

    for answer in (never, later):
        with pytest.raises(errors.InvalidRequest):
            read(answer)
