"""The two seams of these tests: a loop whose clock only moves when nothing else is left to do, and a server."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest
from aiohttp import web

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class VirtualLoop(asyncio.SelectorEventLoop):
    """Instead of waiting for a timer, it is at once as late as the timer says."""

    def __init__(self) -> None:
        super().__init__(selectors.DefaultSelector())
        self.now = 1000.0
        selector: Any = vars(self)["_selector"]
        select = selector.select

        def skip(timeout: float | None) -> object:
            self.now += timeout or 0.0
            return select(0)

        selector.select = skip

    def time(self) -> float:
        return self.now


class Stripe:
    """A server for one test: what it answers in turn (the last one for ever), and what it was asked."""

    def __init__(self, *answers: web.Response | Handler) -> None:
        self.answers = list(answers)
        self.asked: list[web.Request] = []
        self.bodies: list[str] = []
        self.base = ""

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        self.bodies.append(await request.text())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, web.Response):
            return web.Response(
                status=answer.status, body=answer.body, headers=answer.headers
            )  # a response object can be sent once only
        return await answer(request)

    async def __aenter__(self) -> Stripe:
        self._runner = web.ServerRunner(web.Server(self, access_log=None), shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


@pytest.fixture
def virtually() -> Callable[[Coroutine[Any, Any, T]], T]:
    """Run a coroutine in virtual time, with the same chances every time."""

    def run(main: Coroutine[Any, Any, T]) -> T:
        random.seed(1)
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(main)

    return run


@pytest.fixture
def stripe_server() -> type[Stripe]:
    """`async with stripe_server(answer, ...) as server`."""
    return Stripe
