"""Calls with an Idempotency-Key: done once, and answered alike for a day, whichever route they are of.

Every POST takes a key, but for those that only look (`looks`). Of what is told once (`told_once`), such as a token,
the answer is not kept: who asks again is told that it was given. An answer that is an error is not kept either, so
that the same call may be made again once its cause is mended.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import fastapi
import msgspec
from starlette import concurrency, requests

from tidegate import errors
from tidegate.api import faults
from tidegate.server import asking
from tidegate.store import database, keyed

Function = TypeVar("Function", bound=Callable[..., Any])

HEADER = "Idempotency-Key"
PATTERN = r"^[!-~]{1,255}$"
KEPT = ("location", "etag")
"""Headers that are kept with an answer."""
REPLAYED = "Idempotent-Replayed"
"""The header of an answer that was given before."""
PATIENCE = 10.0
"""Seconds for which one waits for whoever makes the same call just now."""
LOOKED = 0.1
BEAT = 5.0
"""Seconds between two signs of life of a call that is being done."""

_LOOKS, _TOLD_ONCE = "__tidegate_looks__", "__tidegate_told_once__"

log = logging.getLogger(__name__)


def looks(endpoint: Function) -> Function:
    """Mark a POST that only looks at something, and so takes no key."""
    setattr(endpoint, _LOOKS, True)
    return endpoint


def told_once(otherwise: str) -> Callable[[Function], Function]:
    """Mark a POST whose answer is told once and kept nowhere; `otherwise` says what to do where it was lost."""

    def mark(endpoint: Function) -> Function:
        setattr(endpoint, _TOLD_ONCE, otherwise)
        return endpoint

    return mark


def takes(endpoint: Callable[..., Any], methods: object) -> bool:
    """Does a route take a key?"""
    return "POST" in (methods if isinstance(methods, list | set | tuple) else ()) and not getattr(
        endpoint, _LOOKS, False
    )


def _key(
    idempotency_key: Annotated[
        str | None,
        fastapi.Header(
            max_length=255,
            pattern=PATTERN,
            description="For 24 hours the same call with the same key is done once, and answered alike.",
            examples=["nightly-2026-11-21"],
        ),
    ] = None,
) -> str | None:
    return idempotency_key


PARAMETER = fastapi.Depends(_key)
"""What has the header described, and refused where it is no key."""


async def answered(
    request: requests.Request,
    endpoint: Callable[..., Any],
    handle: Callable[[requests.Request], Awaitable[fastapi.Response]],
) -> fastapi.Response:
    """The answer to a call, which is done where no such call with its key was; the body is read already."""
    text = request.headers.get(HEADER)
    if text is None or not re.fullmatch(PATTERN, text):
        return await handle(request)
    store: database.Database = request.app.state.desk.place.store
    asker = await asking.who(request)
    await asking.guarded(request)
    key = keyed.Key(f"{asker.via}:{asker.name}", text)
    found = await _claimed(store, key, _digest(request, asker))
    secret: str = getattr(endpoint, _TOLD_ONCE, "")
    if isinstance(found, keyed.Answer):
        return _again(found, secret)
    beating = asyncio.create_task(_beating(store, found))
    try:
        # The ids of what is told once follow from nothing: what was lost of it is made anew, or is there already.
        with contextlib.nullcontext() if secret else keyed.under_way(found):
            response = await handle(request)
    except Exception:
        await _noted(keyed.release, store, found)
        raise
    finally:
        beating.cancel()
    if response.status_code >= 400:
        await _noted(keyed.release, store, found)
        return response
    headers = {name: response.headers[name] for name in KEPT if name in response.headers}
    body = None if secret else bytes(response.body).decode()
    await _noted(keyed.answer, store, found, keyed.Answer(response.status_code, headers, body))
    return response


def _digest(request: requests.Request, asker: asking.Asker) -> str:
    """What a call is: its address, its body, and the flows that its token is for."""
    body = (request._json if getattr(request, "_body", b"") else None) or None
    told = [request.method, request.url.path, sorted(request.query_params.multi_items()), body, asker.flows]
    return hashlib.sha256(msgspec.json.encode(told, order="deterministic")).hexdigest()


async def _claimed(store: database.Database, key: keyed.Key, asked: str) -> keyed.Claim | keyed.Answer:
    """The call, to be done now, or what it was answered; raises Problem where another one takes too long."""
    until = time.monotonic() + PATIENCE
    while True:
        found = await concurrency.run_in_threadpool(keyed.claim, store, key, asked)
        if found is not None:
            return found
        if time.monotonic() >= until:
            raise faults.problem(
                409,
                "The same call is just being made; ask again in a moment for its answer.",
                headers={"Retry-After": "5"},
            )
        await asyncio.sleep(LOOKED)


async def _beating(store: database.Database, claim: keyed.Claim) -> None:
    while True:
        await asyncio.sleep(BEAT)
        with contextlib.suppress(errors.StoreError):
            await concurrency.run_in_threadpool(keyed.beat, store, claim)


async def _noted(note: Callable[..., None], store: database.Database, *what: object) -> None:
    """Write down how a call ended; where that cannot be, it is done once all the same when it is made again."""
    try:
        await concurrency.run_in_threadpool(note, store, *what)
    except errors.StoreError as error:
        log.warning("%s What a call with a key was answered is not kept.", error)


def _again(found: keyed.Answer, secret: str) -> fastapi.Response:
    """What was answered before; of a secret, what to do where that answer was lost."""
    if found.body is None and secret:
        raise faults.problem(
            409,
            "This call was made, and its secret was told then and is kept nowhere; if that answer was lost, "
            f"{secret}.",
        )
    if found.body is None:
        raise faults.problem(409, "This call was made, and its answer is not kept any more.")
    headers = {**found.headers, REPLAYED: "true"}
    return fastapi.Response(found.body, found.status, headers, "application/json" if found.body else None)
