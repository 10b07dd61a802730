"""Runs begun by those who can only call an address: `POST /triggers/{flow}`.

What is answered 202 is in the metadata database, queued or due after the run that is under way; the same as by
`POST /api/v1/flows/{flow}/runs`. A token is presented in a header, and never in the address, which would be logged
on the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping

import fastapi
import msgspec
from starlette import requests

from tidegate import config, errors
from tidegate.engine import flows
from tidegate.server import access, problems
from tidegate.store import calls, database, runs, tokens, trail

READ = 10.0
"""Seconds within which a body must have come."""
LARGEST = 2**20
"""Bytes of what a trigger may be sent; nobody looks at them."""
WAIT = 5.0
"""Seconds for which the metadata database is waited for."""
RUNS = "/api/v1/runs"

log = logging.getLogger(__name__)


class Caller:
    """Answers those who ask for runs."""

    def __init__(self, now: Callable[[], config.Config], turns: access.Turns) -> None:
        """`now` answers with the configuration as it is then."""
        self._now = now
        self._turns = turns
        self._access = access.Access(turns)

    async def trigger(self, flow: str, request: requests.Request) -> fastapi.Response:
        """`POST /triggers/{flow}`."""
        token = await self._access.admit(request, "run", basic=True)
        found = self._chosen(token, flow)
        await _read(request)
        return await self._begin(token, found)

    async def _begin(self, token: tokens.Token, flow: flows.Flow) -> fastapi.Response:
        why: runs.Cause = "continuous" if flow.continuous else "trigger"

        def note(run_id: str) -> trail.Note:
            return trail.Note(token.name, "start", flow.name, after={"run": run_id}, via="token")

        call = await self._turns.do(lambda store: calls.begin(store, flow.name, why, note=note))
        if call.waits:
            found, _ = await self._turns.do(lambda store: calls.following(store, call.run))
            if found is None:
                told = {"id": None, "flow": flow.name, "state": "waiting", "cause": "trigger"}
                return _answer(202, {**told, "url": f"{RUNS}/{call.run.id}/next"})
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
        return _answer(202 if call.new else 200, told)

    def _chosen(self, token: tokens.Token, name: str) -> flows.Flow:
        """The flow of an address; what a token is not for, it does not tell of either."""
        file, why = self._now(), ""
        if (off := flows.off(file, name)) and token.knows(off):
            raise problems.Problem(409, str(flows.disabled(off)))
        try:
            found: flows.Flow | None = flows.of(file, name)
        except errors.ConfigError as error:
            found, why = None, str(error)
        if token.flows and (found is None or not token.knows(found.name)):
            raise problems.Problem(403, "This token is not for this flow.")
        if found is None:
            raise problems.Problem(404, why)
        return found


def router(now: Callable[[], config.Config], turns: access.Turns) -> fastapi.APIRouter:
    """The routes."""
    caller, store = Caller(now, turns), problems.Rarely(log)
    made = fastapi.APIRouter()

    async def trigger(flow: str, request: requests.Request) -> fastapi.Response:
        return await problems.answered(caller.trigger(flow, request), store)

    made.add_api_route("/triggers/{flow}", trigger, methods=["POST"])
    return made


@contextlib.contextmanager
def routes(now: Callable[[], config.Config]) -> Iterator[fastapi.APIRouter]:
    """The routes for as long as the block takes, with a connection of their own to the metadata database."""
    opened = database.open_database(now().database.get_secret_value(), wait=WAIT)
    with contextlib.closing(opened) as store, contextlib.closing(access.Turns(store)) as turns:
        yield router(now, turns)


async def _read(request: requests.Request) -> None:
    """Wait for a body of `LARGEST` bytes at the most, at which nobody looks; raises Problem."""
    too_large = problems.Problem(413, f"The body is larger than {LARGEST:,} bytes.")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:12]) > LARGEST:
        raise too_large
    size = 0
    try:
        async with asyncio.timeout(READ):
            async for part in request.stream():
                size += len(part)
                if size > LARGEST:
                    raise too_large
    except TimeoutError:
        raise problems.Problem(408, f"The body did not come within {READ:g} seconds.") from None


def _answer(status: int, told: Mapping[str, object]) -> fastapi.Response:
    headers = {"Cache-Control": "no-store", "Location": str(told["url"])}
    return fastapi.Response(
        msgspec.json.encode(told), status_code=status, headers=headers, media_type="application/json"
    )
