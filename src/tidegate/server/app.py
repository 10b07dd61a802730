"""The application: which routes there are, and the thread that serves them.

Anybody may ask `/health` (the process answers) and `/ready` (its metadata database does, too). What `triggers` has
needs a token. Pages and the API stand behind `shield` and `asking`, and are there where a desk is.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import fastapi
import uvicorn
from fastapi import exceptions, routing
from starlette import exceptions as http_exceptions
from starlette import requests, types

from tidegate import config, errors
from tidegate.engine import feed
from tidegate.server import asking, deliveries, patience, problems, shield, triggers
from tidegate.server import desk as desks
from tidegate.store import database

GRACE = 15
"""Seconds that requests in hand have when the server stops."""
LOOKED = 1.0
"""Seconds for which an answer about readiness holds."""
PATIENCE = 3.0
"""Seconds after which a metadata database that has not answered counts as unreachable."""
DELIVERED = "/webhooks/stripe/"
SOON = 1.0
"""Seconds after the start when what is made once is made."""
TURN = 0.0005
"""Seconds that this goes on while somebody else has something to do."""
MOST = 1000
"""Connections at a time; beyond, they are told to come again."""

Failed = Callable[[requests.Request, Exception], fastapi.Response]
"""What is answered to a request that ended with an error."""


@dataclasses.dataclass(frozen=True, slots=True)
class Front:
    """What people and programs see who sign in: its desk, its routes, and how errors look.

    `prepare` is done a moment after the start, beside what is asked: so that nobody waits for what is made once.
    """

    desk: desks.Desk
    routers: Sequence[fastapi.APIRouter]
    failed: Failed
    prepare: Callable[[fastapi.FastAPI], None] | None = None


def make(
    file: config.Config,
    store: database.Database,
    arrivals: feed.Arrivals,
    more: Sequence[fastapi.APIRouter] = (),
    front: Front | None = None,
) -> fastapi.FastAPI:
    """The application, with more routes where others have some: those of the front only for who is signed in.

    The database should be this application's own, opened with `wait=deliveries.WAIT`: whoever else waits for it
    would have Stripe wait.
    """
    receiver = deliveries.Receiver(_now(file, front), store, arrivals)
    readiness = _Readiness(store)

    @contextlib.asynccontextmanager
    async def life(_: fastapi.FastAPI) -> AsyncIterator[None]:
        async with receiver.serving():
            yield

    application = fastapi.FastAPI(lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)

    async def receive(connection: str, request: requests.Request) -> fastapi.Response:
        return await receiver.receive(connection, request)

    async def health() -> fastapi.Response:
        return fastapi.responses.PlainTextResponse("alive\n")

    async def ready() -> fastapi.Response:
        if await readiness.holds():
            return fastapi.responses.PlainTextResponse("ready\n")
        return fastapi.responses.PlainTextResponse("not ready\n", status_code=503)

    application.add_api_route(f"{DELIVERED}{{connection}}", receive, methods=["POST"])
    application.add_middleware(_Door, receiver=receiver)
    if front is not None:
        application.state.desk = front.desk
        application.add_middleware(shield.Shield, desk=front.desk, failed=front.failed)
        for kind in (problems.Problem, errors.TidegateError, *_REFUSED):
            application.add_exception_handler(kind, front.failed)
    application.add_api_route("/health", health, methods=["GET", "HEAD"])
    application.add_api_route("/ready", ready, methods=["GET", "HEAD"])
    for router in more:
        _answer_head(router)
        application.include_router(router)
    if front is not None:
        for router in front.routers:
            _answer_head(router)
            application.include_router(router, dependencies=[fastapi.Depends(asking.guarded)])
    return application


def _answer_head(router: fastapi.APIRouter) -> None:
    """Answer HEAD like GET, without the body."""
    for route in router.routes:
        if isinstance(route, routing.APIRoute) and "GET" in (route.methods or ()):
            route.methods = {*(route.methods or ()), "HEAD"}


@contextlib.contextmanager
def serve(application: fastapi.FastAPI, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve in a thread for as long as the block takes; the address, with the port that 0 has found.

    At its end nothing new is taken, and requests in hand are answered. Raises ConfigError for an address that is
    taken or not this machine's.
    """
    listening = _bound(host, port)
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            http=patience.Connection,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level="error",  # a line for whatever strangers send would be too many
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=GRACE,
        )
    )
    thread = threading.Thread(target=server.run, args=[[listening]], name="http", daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise errors.ConfigError("The server did not start; its log says why.")
            time.sleep(0.01)
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@contextlib.contextmanager
def serving(
    file: config.Config,
    arrivals: feed.Arrivals,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    more: Sequence[fastapi.APIRouter] = (),
    front: Front | None = None,
) -> Iterator[str]:
    """Make and serve the application, with connections of its own to the metadata database."""
    opened = database.open_database(file.database.get_secret_value(), wait=deliveries.WAIT)
    with (
        contextlib.closing(opened) as store,
        triggers.routes(_now(file, front)) as called,
    ):
        application = make(file, store, arrivals, [called, *more], front)
        with serve(application, host, port) as url, _prepared(front, application):
            yield url


@contextlib.contextmanager
def _prepared(front: Front | None, application: fastapi.FastAPI) -> Iterator[None]:
    """Have what a front wants to be ready made in a thread, unless the block is over before."""
    if front is None or front.prepare is None:
        yield
        return
    waiting = threading.Timer(SOON, _briefly, [front.prepare, application])
    waiting.daemon = True
    waiting.start()
    try:
        yield
    finally:
        waiting.cancel()


def _briefly(prepare: Callable[[fastapi.FastAPI], None], application: fastapi.FastAPI) -> None:
    """Do it in turns so short that who asks meanwhile hardly waits: of 5 ms a page of many steps takes a second."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(TURN)
    try:
        prepare(application)
    finally:
        sys.setswitchinterval(usual)


def _now(file: config.Config, front: Front | None) -> Callable[[], config.Config]:
    """What answers with the configuration as it is then; without a desk it is always the same."""
    return (lambda: file) if front is None else (lambda: front.desk.place.file)


_REFUSED = (http_exceptions.HTTPException, exceptions.RequestValidationError)
"""What routing, and the reading of a request, raise."""


class _Door:
    """Takes deliveries before they are routed, which costs as much as all that is done with them."""

    def __init__(self, app: types.ASGIApp, receiver: deliveries.Receiver) -> None:
        self._app, self._receiver = app, receiver

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        name = str(scope.get("path", "")).removeprefix(DELIVERED)
        direct = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == DELIVERED + name
        if not direct or not name or "/" in name:
            await self._app(scope, receive, send)
            return
        response = await self._receiver.receive(name, requests.Request(scope, receive))
        await response(scope, receive, send)


class _Readiness:
    """Asks the metadata database, one question at a time however many ask."""

    def __init__(self, store: database.Database) -> None:
        self._store = store
        self._asked: asyncio.Task[bool] | None = None
        self._answer, self._at = False, -LOOKED

    async def holds(self) -> bool:
        if time.monotonic() - self._at < LOOKED:
            return self._answer
        if self._asked is None:
            self._asked = asyncio.create_task(self._ask())
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(self._asked)
        except TimeoutError:
            return False

    async def _ask(self) -> bool:
        try:
            self._answer = await asyncio.to_thread(self._look)
        finally:
            self._at, self._asked = time.monotonic(), None
        return self._answer

    def _look(self) -> bool:
        try:
            row = self._store.one("SELECT max(number) AS last FROM migrations")
        except errors.TidegateError:
            return False
        return row is not None and row["last"] == len(database.migrations())


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=1024)
        # asyncio sets this for sockets that it opens itself only; without it a kept connection waits 40 ms for the
        # acknowledgement of each answer's head. What is accepted inherits it.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise errors.ConfigError(
            f"The server cannot listen on {host}:{port} ({error.strerror}); give another --host or --port."
        ) from None
