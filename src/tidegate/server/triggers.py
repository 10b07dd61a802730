"""Runs begun from outside: `POST /api/v1/flows/{flow}/runs`, and `POST /triggers/{flow}` for whoever can only call.

What is answered 202 is in the metadata database, queued or due after the run that is under way; the same as by
`tidegate start`. A token is presented in a header, and never in the address, which would be logged on the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Iterator
from typing import Any

import fastapi
import msgspec
from starlette import requests

from tidegate import config, errors
from tidegate.engine import flows
from tidegate.server import access, problems
from tidegate.store import calls, database, runs, tokens

READ = 10.0
"""Seconds within which a body must have come."""
LARGEST = 2**20
"""Bytes of what a trigger may be sent; nobody looks at them."""
LARGEST_ORDER = 2**16
"""Bytes of what the API may be told about a run."""
WAIT = 5.0
"""Seconds for which the metadata database is waited for."""
RUNS = "/api/v1/runs"

_KEY = re.compile(r"[!-~]{1,255}")

log = logging.getLogger(__name__)


class Order(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What may be said of a run that is asked for."""

    full_refresh: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The same, as runs keep it."""
        return {"full_refresh": True} if self.full_refresh else {}


class Caller:
    """Answers those who ask for runs, and how they are."""

    def __init__(self, file: config.Config, turns: access.Turns) -> None:
        self._flows = flows.flows(file)
        self._turns = turns
        self._access = access.Access(turns)

    async def start(self, flow: str, request: requests.Request) -> fastapi.Response:
        """`POST /api/v1/flows/{flow}/runs`."""
        token = await self._access.admit(request, "run")
        found = self._chosen(token, flow)
        key = request.headers.get("idempotency-key")
        if key is not None and not _KEY.fullmatch(key):
            raise problems.Problem(422, "An Idempotency-Key is 1 to 255 visible ASCII characters.")
        order = _order(await _body(request, LARGEST_ORDER))
        if order.full_refresh and found.kind == "push":
            raise problems.Problem(422, "A push reads its whole model each time; leave out full_refresh.")
        return await self._begin(token, found, "api", order, key)

    async def trigger(self, flow: str, request: requests.Request) -> fastapi.Response:
        """`POST /triggers/{flow}`."""
        token = await self._access.admit(request, "run", basic=True)
        found = self._chosen(token, flow)
        await _body(request, LARGEST, keep=False)
        return await self._begin(token, found, "trigger", Order(), None)

    async def run(self, run_id: str, request: requests.Request) -> fastapi.Response:
        """`GET /api/v1/runs/{run}`."""
        token = await self._access.admit(request, "read")
        return _answer(200, _told(await self._seen(token, run_id)))

    async def following(self, run_id: str, request: requests.Request) -> fastapi.Response:
        """`GET /api/v1/runs/{run}/next`: the run of the same flow that comes after it."""
        token = await self._access.admit(request, "read")
        before = await self._seen(token, run_id)
        found, due = await self._turns.do(lambda store: calls.following(store, before))
        if found is not None:
            return _answer(200, _told(found))
        if not due:
            raise problems.Problem(404, f"No run of {before.flow} is due after {before.id}.")
        return _answer(200, _waiting(before, None))

    async def _begin(
        self, token: tokens.Token, flow: flows.Flow, cause: runs.Cause, order: Order, key: str | None
    ) -> fastapi.Response:
        named = None if key is None else calls.Key(token.name, key)
        why: runs.Cause = "continuous" if flow.continuous else cause
        call = await self._turns.do(
            lambda store: calls.begin(store, flow.name, why, options=order.options, key=named)
        )
        if call.waits:
            found, _ = await self._turns.do(lambda store: calls.following(store, call.run))
            if found is None:
                return _answer(202, _waiting(call.run, cause), located=True)
            call = calls.Call(found)
        if call.new:
            log.info(
                "%s of %s was asked for with the token %s",
                call.run.id,
                flow.name,
                token.name,
                extra={"run": call.run.id},
            )
        told = {
            "id": call.run.id,
            "flow": call.run.flow,
            "state": call.run.state,
            "cause": call.run.cause,
            "url": f"{RUNS}/{call.run.id}",
        }
        return _answer(202 if call.new else 200, told, located=True)

    def _chosen(self, token: tokens.Token, name: str) -> flows.Flow:
        """The flow of an address; what a token is not for, it does not tell of either."""
        try:
            found: flows.Flow | None = flows.named(self._flows, name)
            why = ""
        except errors.ConfigError as error:
            found, why = None, str(error)
        if token.flows and (found is None or not token.knows(found.name)):
            raise problems.Problem(403, "This token is not for this flow.")
        if found is None:
            raise problems.Problem(404, why)
        return found

    async def _seen(self, token: tokens.Token, run_id: str) -> runs.Run:
        """The run of an address, by its whole id."""
        found = None
        if _KEY.fullmatch(run_id):
            found = await self._turns.do(lambda store: calls.run(store, run_id))
        if found is None:
            raise problems.Problem(404, "There is no run with this id.")
        if not token.knows(found.flow):
            raise problems.Problem(403, "This token is not for the flow of this run.")
        return found


def router(file: config.Config, turns: access.Turns) -> fastapi.APIRouter:
    """The routes."""
    caller, store = Caller(file, turns), problems.Rarely(log)
    made = fastapi.APIRouter()

    async def start(flow: str, request: requests.Request) -> fastapi.Response:
        return await problems.answered(caller.start(flow, request), store)

    async def trigger(flow: str, request: requests.Request) -> fastapi.Response:
        return await problems.answered(caller.trigger(flow, request), store)

    async def run(run_id: str, request: requests.Request) -> fastapi.Response:
        return await problems.answered(caller.run(run_id, request), store)

    async def following(run_id: str, request: requests.Request) -> fastapi.Response:
        return await problems.answered(caller.following(run_id, request), store)

    made.add_api_route("/api/v1/flows/{flow}/runs", start, methods=["POST"])
    made.add_api_route("/triggers/{flow}", trigger, methods=["POST"])
    made.add_api_route(RUNS + "/{run_id}", run, methods=["GET"])
    made.add_api_route(RUNS + "/{run_id}/next", following, methods=["GET"])
    return made


@contextlib.contextmanager
def routes(file: config.Config) -> Iterator[fastapi.APIRouter]:
    """The routes for as long as the block takes, with a connection of their own to the metadata database."""
    opened = database.open_database(file.database.get_secret_value(), wait=WAIT)
    with contextlib.closing(opened) as store, contextlib.closing(access.Turns(store)) as turns:
        yield router(file, turns)


async def _body(request: requests.Request, largest: int, *, keep: bool = True) -> bytes:
    """A body of so many bytes at the most; without `keep` it is only waited for."""
    too_large = problems.Problem(413, f"The body is larger than {largest:,} bytes.")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:12]) > largest:
        raise too_large
    size, parts = 0, []
    try:
        async with asyncio.timeout(READ):
            async for part in request.stream():
                size += len(part)
                if size > largest:
                    raise too_large
                if keep:
                    parts.append(part)
    except TimeoutError:
        raise problems.Problem(408, f"The body did not come within {READ:g} seconds.") from None
    return b"".join(parts)


def _order(body: bytes) -> Order:
    if not body.strip():
        return Order()
    try:
        return msgspec.json.decode(body, type=Order)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise problems.Problem(
            422,
            'The body is a JSON object such as {"full_refresh": true}, or empty; other keys are not known.',
        ) from None


def _told(run: runs.Run) -> dict[str, Any]:
    """A run, for those who ask how it is; times are unix seconds."""
    return {
        "id": run.id,
        "flow": run.flow,
        "state": run.state,
        "cause": run.cause,
        "url": f"{RUNS}/{run.id}",
        "options": run.options,
        "due_at": run.due_at,
        "queued_at": run.queued_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "progress": run.progress,
        "totals": run.totals,
        "error": run.error,
    }


def _waiting(before: runs.Run, cause: runs.Cause | None) -> dict[str, Any]:
    """A run that is not there yet: it comes after another."""
    told = {"id": None, "flow": before.flow, "state": "waiting", "cause": cause}
    return {**told, "url": f"{RUNS}/{before.id}/next"}


def _answer(status: int, told: dict[str, Any], *, located: bool = False) -> fastapi.Response:
    headers = {"Cache-Control": "no-store", **({"Location": told["url"]} if located else {})}
    return fastapi.Response(
        msgspec.json.encode(told), status_code=status, headers=headers, media_type="application/json"
    )
