"""One attempt at a request, and what its failure says: again or not, at once or later."""

from __future__ import annotations

import random
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypedDict

import aiohttp
import yarl

from tidegate import errors
from tidegate.stripe import answers
from tidegate.stripe import clock as clocks

FIRST_WAIT, LONGEST_WAIT = 0.5, 20.0


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked."""

    method: str
    path: str
    endpoint: str
    query: str = ""
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """A 2xx answer, its JSON body complete and unpacked."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    version: int
    """Stripe's clock, in whole unix seconds, when the request was sent: never later than it truly was."""
    request_id: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt came to nothing."""

    error: errors.TidegateError
    status: int = 0
    """0 when there was no answer, or none that could be read."""
    retriable: bool = True
    limiter: str | None = None
    """For a 429 of a limiter: its name, empty when Stripe gave none."""
    retry_after: float | None = None
    answer: answers.Answer | None = None


STOPPED = Failure(errors.TidegateError("The request was stopped before it was sent."), retriable=False)


@dataclass(frozen=True, slots=True)
class Line:
    """The way to Stripe."""

    session: aiohttp.ClientSession
    clock: clocks.Clock
    timeout: float
    reached: bool
    """Somebody there answered before: what fails now may pass."""


class Course(Protocol):
    """What the session's traces check before the socket is written to."""

    stopped: Exception | None
    """What the check raised."""


class _Watched(TypedDict, total=False):
    trace_request_ctx: object
    middlewares: Sequence[aiohttp.ClientMiddlewareType]


async def attempt(
    line: Line,
    request: Request,
    url: yarl.URL,
    headers: Mapping[str, str],
    call: answers.Call,
    number: int,
    course: Course | None = None,
) -> Response | Failure:
    """Send a request once; the `number` of the attempt is told in its error.

    With a `course`, aiohttp sends nothing again by itself.
    """
    clock = line.clock
    sent = clock.monotonic()
    watched: _Watched = {} if course is None else {"trace_request_ctx": course, "middlewares": (_once,)}
    try:
        async with line.session.request(
            request.method, url, data=request.body, headers=headers, allow_redirects=False, **watched
        ) as raw:
            received = clock.monotonic()
            body = await raw.read()
    except aiohttp.ClientPayloadError:
        return Failure(answers.bad_page("it is cut", call))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        tls = isinstance(error, aiohttp.ClientSSLError | ssl.SSLError)
        return Failure(answers.unreachable(error, call, line.timeout), retriable=line.reached or not tls)
    except Exception:
        if course is None or course.stopped is None:
            raise
        return STOPPED
    try:
        body, why = answers.unpacked(body, raw.headers.get("Content-Encoding", "")), ""
    except ValueError as error:
        body, why = b"", str(error)
    answer = answers.Answer(raw.status, raw.headers, body)
    date = clocks.seconds(raw.headers.get("Date", ""))
    if date is not None and (answer.request_id or answer.status < 500):
        clock.observe(date, sent, received)  # a gateway's own answer tells the gateway's time
    if answer.status >= 300:
        return Failure(
            answers.refused(answer, call, number),
            status=answer.status,
            retriable=retriable(answer),
            limiter=limiter(answer),
            retry_after=retry_after(answer),
            answer=answer,
        )
    why = why or answers.incomplete(answer)
    if why:
        return Failure(answers.bad_page(why, call, answer.request_id), answer=answer)
    return Response(answer.status, answer.headers, body, clock.version(sent), answer.request_id)


def limiter(answer: answers.Answer) -> str | None:
    """The limiter that refused, empty where Stripe does not name it; None where none did."""
    # An object's lock is a 429, too, and says nothing about the rate: https://docs.stripe.com/rate-limits
    if answer.status != 429 or answers.refusal(answer).code == "lock_timeout":
        return None
    return answer.headers.get("Stripe-Rate-Limited-Reason", "")


def retriable(answer: answers.Answer) -> bool:
    """May the same request fare better later?"""
    if limiter(answer) is not None:
        # Stripe may say "false" to a request beyond a limit, so that clients don't hurry: stripe-dotnet#1886.
        # The pace has slowed down, and the same request goes out again when its turn comes.
        return True
    if answer.replayed:
        # Stripe stores the answer to an idempotency key, failures included: it would be the same again.
        return False
    order = answer.headers.get("Stripe-Should-Retry", "").strip().lower()
    if order in ("true", "false"):
        return order == "true"
    return answer.status in (409, 429) or answer.status >= 500


def retry_after(answer: answers.Answer) -> float | None:
    """Seconds that `Retry-After` orders to wait, from a number or a date."""
    order = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", order):
        return float(order)
    until = clocks.seconds(order)
    if until is None:
        return None
    return max(0.0, until - (clocks.seconds(answer.headers.get("Date", "")) or time.time()))


def jittered(failures: int, longest: float = LONGEST_WAIT) -> float:
    """Seconds to wait after so many failures: exponential, with full jitter."""
    return random.uniform(0.0, min(longest, FIRST_WAIT * 2.0 ** min(failures - 1, 16)))


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    # aiohttp sends what HTTP calls idempotent (DELETE) again over another connection, after these two errors.
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError("The connection broke.") from error
