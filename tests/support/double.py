"""Another Stripe double, as plain as people write them: JSON over HTTP, a few lists, and nothing else.

It shares no code with the sandbox. It knows no `/v1/account`, no events, no versions, sends no `Request-Id` and no
gzip, and answers 404 for every list that it was not given. What else it cannot do is said when it is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiohttp import web

T = TypeVar("T")
Objects = Sequence[Mapping[str, Any]]


@dataclass
class Double:
    """Lists by path, newest first; `refusals` answers a path with a status and a message instead."""

    lists: Mapping[str, Objects]
    filters: bool = True
    """Does it honour `created[gte]` and `created[lt]`, or ignore them?"""
    expands: bool = True
    """Does it ignore `expand[]`, or refuse it?"""
    explains: bool = True
    """Does a list that it lacks get Stripe's JSON, or the bare 404 of a web framework?"""
    refusals: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """One page of a list."""
        self.asked.append(request.path)
        if request.path in self.refusals:
            status, message = self.refusals[request.path]
            return _error(status, message)
        if request.path not in self.lists and not self.explains:
            return web.Response(status=404, text="404: Not Found")
        if request.path not in self.lists:
            return _error(404, f"Unrecognized request URL ({request.method}: {request.path}).")
        query = request.query
        if not self.expands and "expand[]" in query:
            field = query.getall("expand[]")[0]
            return _error(400, f"This property cannot be expanded ({field}).", param="expand[0]")
        found = self.lists[request.path]
        if self.filters:
            low, high = int(query.get("created[gte]", 0)), int(query.get("created[lt]", 1 << 40))
            found = [each for each in found if low <= each["created"] < high]
        ids = [each["id"] for each in found]
        after = query.get("starting_after")
        if after is not None and after not in ids:
            return _error(400, f"No such object: '{after}'", code="resource_missing", param="starting_after")
        start = ids.index(after) + 1 if after is not None else 0
        page = found[start : start + int(query.get("limit", 10))]
        more = start + len(page) < len(found)
        return web.json_response({"object": "list", "url": request.path, "data": page, "has_more": more})


def _error(status: int, message: str, **more: str) -> web.Response:
    error = {"type": "invalid_request_error", "message": message, **more}
    return web.json_response({"error": error}, status=status)


@contextlib.contextmanager
def serving(double: Double) -> Iterator[str]:
    """Serve it from a thread of this process; the base URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> web.ServerRunner:
        runner = web.ServerRunner(web.Server(double.answer, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    def wait(work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    try:
        runner = wait(start())
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            wait(runner.cleanup())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


def customers(count: int, **more: Any) -> Objects:
    """Customers, three created in each second, with a field that no Stripe ever had."""
    return [
        {
            "id": f"cus_{n:06d}",
            "object": "customer",
            "created": 1_700_000_000 + n // 3,
            "email": f"c{n}@example.com",
            "livemode": False,
            "metadata": {},
            "loyalty_level": {"points": n},
            **more,
        }
        for n in reversed(range(count))
    ]


def charges(count: int) -> Objects:
    """Charges of those customers."""
    return [
        {
            "id": f"ch_{n:06d}",
            "object": "charge",
            "created": 1_700_000_000 + n,
            "amount": 100 + n,
            "currency": "usd",
            "customer": f"cus_{n:06d}",
            "paid": True,
            "metadata": {},
        }
        for n in reversed(range(count))
    ]
