"""A Stripe double with events and a clock that the test moves: the exact order of what is asked, done and answered.

It shares no code with the sandbox. Objects are what a test puts there; every answer is evaluated at once, then the
test may do something, and only then the answer leaves.
"""

from __future__ import annotations

import asyncio
import email.utils
import inspect
import json
from collections.abc import Callable
from typing import Any

import scripted
from aiohttp import web

from tidegate import catalog

NOW = 1_800_000_000
VERSION = catalog.load().api_version
OLD = "2022-08-01"

Object = dict[str, Any]


class Ledger(scripted.Script):
    """Lists by path (`/v1/coupons`), their objects by id, and the events of what happened to them."""

    def __init__(self, *paths: str) -> None:
        super().__init__()
        self.now = NOW
        self.objects: dict[str, dict[str, Object]] = {path: {} for path in paths}
        self.events: list[Object] = []
        self.instead: dict[str, scripted.Answer] = {}
        """By path: what is answered in place of the truth."""
        self._during: dict[str, list[Callable[[], object]]] = {}
        self._hidden: dict[str, int] = {}
        self._awaited: dict[tuple[str, int], asyncio.Event] = {}

    def put(self, path: str, id: str, type: str = "", **values: Any) -> Object:
        """Create or change an object, with an event of this type or in silence."""
        before = self.objects[path].get(id)
        kind = next(each.object for each in catalog.load().streams.values() if each.path == path)
        after = {"id": id, "object": kind, "created": self.now, **(before or {}), **values}
        self.objects[path][id] = after
        if type:
            previous = None if before is None else {name: before.get(name) for name in values}
            self.tell(type, after, previous)
        return after

    def remove(self, path: str, id: str, type: str = "") -> None:
        """Delete an object, with an event or in silence."""
        before = self.objects[path].pop(id)
        if type:
            self.tell(type, before)

    def tell(
        self,
        type: str,
        obj: Object,
        previous: Object | None = None,
        *,
        at: int | None = None,
        version: str = VERSION,
        late: int = 0,
    ) -> Object:
        """An event as of now; nobody sees it for the first `late` seconds."""
        data: Object = {"object": dict(obj)} | ({} if previous is None else {"previous_attributes": previous})
        event: Object = {
            "id": f"evt_{len(self.events):04d}",
            "object": "event",
            "api_version": version,
            "created": self.now if at is None else at,
            "data": data,
            "type": type,
        }
        self.events.insert(0, event)
        self._hidden[event["id"]] = self.now + late
        return event

    def during(self, path: str, *acts: Callable[[], object]) -> None:
        """Do (or await) something between the evaluation and the answer of a path's next answers, one each."""
        self._during.setdefault(path, []).extend(acts)

    def later(self, seconds: int = 10) -> None:
        """Let time pass."""
        self.now += seconds

    async def asked_again(self, path: str, times: int) -> None:
        """Wait until a path was asked for so many times more."""
        awaited = self._awaited[path, len(self.asked_for(path)) + times] = asyncio.Event()
        await awaited.wait()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Evaluate, let the test act, answer."""
        self.requests.append(request.path_qs)
        if awaited := self._awaited.get((request.path, len(self.asked_for(request.path)))):
            awaited.set()
        found = self._evaluate(request.path, dict(request.query))
        status, body = found if isinstance(found, tuple) else (200, found)
        text = json.dumps(body)
        if acts := self._during.get(request.path):
            done = acts.pop(0)()
            if inspect.isawaitable(done):
                await done
        headers = {"Date": email.utils.formatdate(self.now, usegmt=True)}
        return web.Response(text=text, status=status, headers=headers, content_type="application/json")

    def _evaluate(self, path: str, query: scripted.Query) -> scripted.Answer:
        if path in self.instead:
            return self.instead[path]
        if path == "/v1/account":
            return {"id": "acct_1", "object": "account"}
        if path == "/v1/events":
            seen = [each for each in self.events if self._hidden[each["id"]] <= self.now]
            return scripted.listed(sorted(seen, key=lambda each: -each["created"]), query, path)
        if path in self.objects:
            found = sorted(self.objects[path].values(), key=lambda each: each["created"], reverse=True)
            return scripted.listed(found, query, path)
        above, _, id = path.rpartition("/")
        if above in self.objects:
            return self.objects[above].get(id) or scripted.MISSING
        return 404, scripted.refusal(f"Unrecognized request URL (GET: {path}).")
