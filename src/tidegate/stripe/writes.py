"""One write to Stripe as it was recorded, what came of it, and whether anything may have happened.

    POST /v1/customers, exact bytes, version, idempotency key  ->  Reply | Fault(effect: none | maybe)

Stripe keeps the first answer to an idempotency key once its request began to execute, and gives it again; what
failed validation, sign-in or a limit is not kept (https://docs.stripe.com/api/idempotent_requests). DELETE takes
no such key.
"""

from __future__ import annotations

import math
import re
import time
import urllib.parse
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import aiohttp

from tidegate import errors
from tidegate.stripe import answers, attempts

Effect = Literal["none", "maybe"]

LOGS = re.compile(r"https://dashboard\.stripe\.com/[\w/.-]+(?:\?t=\d+)?")
SHORTEST = 3
"""Characters of a value from which on it is taken out of a sentence."""
ANNOUNCED = 3.0
"""Seconds before its bytes leave that an attempt may have been announced."""
START = 16
"""So many of its first characters tell a value that Stripe shortened."""


@dataclass(frozen=True, slots=True)
class Write:
    """What is sent, byte for byte."""

    method: Literal["POST", "DELETE"]
    path: str
    body: bytes
    api_version: str
    idempotency_key: str
    endpoint: str = ""
    """The path's template, under which Stripe limits it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A 2xx answer: it is done."""

    status: int
    body: bytes
    request_id: str
    replayed: bool
    """Stripe gave the answer of an earlier request with this key."""
    version: int
    """Stripe's clock, in whole unix seconds, when the request was sent: never later than it truly was."""
    attempts: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Why it is not done, as far as anybody knows; no text in it has a value of what was sent."""

    error: Exception
    """A TidegateError, or what the check before a socket write raised."""
    effect: Effect
    """`none`: Stripe did nothing, and will not; `maybe`: nobody can say."""
    status: int = 0
    type: str = ""
    code: str = ""
    param: str = ""
    decline_code: str = ""
    permission: str = ""
    message: str = ""
    request_id: str = ""
    log_url: str = ""
    """The request in Stripe's dashboard."""
    replayed: bool = False
    stopped: bool = False
    """The check before a socket write stopped it."""
    attempts: int = 0


class Course:
    """One write on its way through its attempts.

    `before` is called when the connection is there, and again with nothing between it and the bytes. What it
    raises ends the write; not a byte of that attempt goes out.
    """

    def __init__(
        self,
        write: Write,
        before: Callable[[], object],
        attempting: Callable[[], Awaitable[object]] | None,
        *,
        live: bool,
        earlier: Effect = "none",
    ) -> None:
        self._write, self._before, self._attempting, self._live = write, before, attempting, live
        self.stopped: Exception | None = None
        self.attempts = 0
        self._announced = -math.inf
        self._passed = False
        self._effect = earlier
        self._found = answers.Refusal()

    async def announce(self) -> bool:
        """Announce an attempt, before it waits for its turn; False where that is refused."""
        try:
            if self._attempting is not None:
                await self._attempting()
        except Exception as error:
            self.stopped = error
            return False
        self._announced = time.monotonic()
        return True

    async def begin(self) -> bool:
        """Begin an attempt that has its turn, announced anew where it waited long; False where it is refused."""
        self._passed = False
        if time.monotonic() - self._announced > ANNOUNCED and not await self.announce():
            return False
        try:
            self._before()
        except Exception as error:
            self.stopped = error
            return False
        self.attempts += 1
        return True

    def check(self) -> None:
        """Call `before`; remembers what it raises, which aiohttp may wrap."""
        try:
            self._before()
        except Exception as error:
            self.stopped = error
            raise
        self._passed = True

    def failed(self, answer: answers.Answer | None) -> None:
        """An attempt came to nothing that is known."""
        if self.stopped is not None:
            return  # before anything of this attempt was sent
        self._found = answers.Refusal() if answer is None else answers.refusal(answer)
        self._effect = effect(self._effect, self._write.method, answer, self._found, self._passed)

    def reply(self, response: attempts.Response) -> Reply:
        """It is done."""
        return Reply(
            response.status,
            response.body,
            response.request_id,
            answers.replayed(response.headers),
            response.version,
            self.attempts,
        )

    def fault(self, failure: attempts.Failure) -> Fault:
        """It is not done."""
        answer, found, error = failure.answer, self._found, failure.error
        if self.stopped is not None:
            return Fault(self.stopped, self._effect, stopped=True, attempts=self.attempts)
        request_id = answer.request_id if answer is not None else ""
        return Fault(
            _blanked(error, self._write.body),
            self._effect,
            status=failure.status,
            type=found.type,
            code=found.code,
            param=found.param,
            decline_code=found.decline_code,
            permission=error.permission if isinstance(error, errors.StripeError) else "",
            message=blanked(found.message, self._write.body),
            request_id=request_id,
            log_url=log_url(found, request_id, live=self._live),
            replayed=answer is not None and answer.replayed,
            attempts=self.attempts,
        )


def tracing() -> aiohttp.TraceConfig:
    """Has the Course checked that a request carries as `trace_request_ctx`.

    When the connection is there, headers and body are put together, and leave in one piece: the last of these hooks
    is called by `aiohttp.http_writer` in the very step that writes to the socket. (What is raised when a connection
    has come up would leave it open for ever.)
    """

    async def look(_: aiohttp.ClientSession, context: object, __: object) -> None:
        course = getattr(context, "trace_request_ctx", None)
        assert isinstance(course, Course), "Nothing else goes through this session."
        course.check()

    config = aiohttp.TraceConfig()
    config.on_request_headers_sent.append(look)
    config.on_request_chunk_sent.append(look)
    return config


def effect(
    earlier: Effect, method: str, answer: answers.Answer | None, found: answers.Refusal, passed: bool
) -> Effect:
    """What may have happened after another attempt that failed, `earlier` being what was so before it.

    What Stripe keeps for a key and answers as a refusal has done nothing; a refusal that is not kept, after an
    attempt whose answer was lost, says that the lost one never began to execute. Only those that come before
    Stripe looks at the key (sign-in, permission, limits) say nothing of earlier attempts.
    """
    if answer is None:
        return "maybe" if passed else earlier
    if not found.is_json or not 400 <= answer.status < 500:
        return "maybe"
    if found.type == "idempotency_error" or found.code == "idempotency_key_in_use":
        return "maybe"
    if answer.status in (401, 403, 409, 429) and not answer.replayed:
        return earlier
    return earlier if method == "DELETE" else "none"


def log_url(found: answers.Refusal, request_id: str, *, live: bool) -> str:
    """Where Stripe's dashboard shows the request; empty where it has no name."""
    if LOGS.fullmatch(found.log_url):
        return found.log_url
    if not re.fullmatch(r"req_\w+", request_id):
        return ""
    return f"https://dashboard.stripe.com/{'' if live else 'test/'}logs/{request_id}"


def blanked(sentence: str, body: bytes) -> str:
    """Stripe's sentence without the values that were sent to it, whole or shortened."""
    values = {value for _, value in urllib.parse.parse_qsl(body.decode(), keep_blank_values=False)}
    for value in sorted((" ".join(value.split()) for value in values), key=len, reverse=True):
        if len(value) < SHORTEST:
            continue
        sentence = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "…", sentence, flags=re.IGNORECASE)
        if len(value) > START:
            start = re.escape(value[:START])
            sentence = re.sub(rf"{start}[^'\"`]*", "…", sentence, flags=re.IGNORECASE)
    return sentence


def _blanked(error: errors.TidegateError, body: bytes) -> errors.TidegateError:
    if not isinstance(error, errors.StripeError):
        return error
    return type(error)(
        blanked(str(error), body),
        status=error.status,
        code=error.code,
        param=error.param,
        request_id=error.request_id,
        permission=error.permission,
    )
