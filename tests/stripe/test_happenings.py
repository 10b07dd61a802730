"""What a listener is told of requests: enough to understand a pull, seldom, and nobody's data."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from tidegate import errors
from tidegate.stripe import client, happenings, pace

KEY = "sk_test_51NzufDB0DBR1HOyc9Zq8sWabcd"
PAGE = {"object": "list", "data": [{"id": "ch_1"}], "has_more": False}
SIZE = len(json.dumps(PAGE))
CHARGES = "GET /v1/charges"
Server = Callable[..., Any]


class Clock:
    """Seconds, as a test says."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def answer(status: int = 200, headers: dict[str, str] | None = None, **error: str) -> web.Response:
    body = PAGE if status == 200 else {"error": error}
    return web.json_response(body, status=status, headers={"Request-Id": "req_1", **(headers or {})})


async def slept(_seconds: float) -> None:
    """Time that nobody waits for."""


def heard(
    server: Any, *actions: Callable[[client.Client], Awaitable[object]], **options: Any
) -> list[happenings.Happening]:
    """What a listener hears of some requests, whatever they end with."""
    found: list[happenings.Happening] = []

    async def main() -> None:
        options.setdefault("pace", pace.Pace(pace.Limits(None, None)))
        async with server:
            made = client.Client(
                KEY,
                api_base=server.base,
                api_version="2026-10-28.endive",
                sleep=slept,
                listener=found.append,
                **options,
            )
            async with made as stripe:
                for act in actions:
                    with contextlib.suppress(errors.TidegateError):
                        await act(stripe)

    asyncio.run(main())
    return found


def read(stripe: client.Client) -> Awaitable[object]:
    return stripe.get("/v1/charges", {"limit": 100})


# What the client tells


def test_answers_are_told_together_when_the_client_is_left(stripe_server: Server) -> None:
    [page] = heard(stripe_server(answer()), read, read, read)
    assert (page.kind, page.endpoint, page.count, page.bytes) == ("page", CHARGES, 3, 3 * SIZE)
    assert page.seconds > 0


def test_a_limiter_is_told_by_its_name_with_what_it_orders(stripe_server: Server) -> None:
    limited = answer(429, {"Stripe-Rate-Limited-Reason": "endpoint-rate", "Retry-After": "0.01"})
    first, page = heard(stripe_server(limited, answer()), read)
    assert first == client.Happening(
        "limited", CHARGES, seconds=0.01, status=429, reason="endpoint-rate", attempt=1
    )
    assert page.kind == "page"


def test_an_attempt_that_is_made_again_says_why_and_when(stripe_server: Server) -> None:
    first, _ = heard(stripe_server(answer(500, {"Retry-After": "7"}, code="api_error"), answer()), read)
    assert (first.kind, first.status, first.reason, first.attempt) == ("retry", 500, "api_error", 1)
    assert first.seconds >= 7
    cut = web.Response(body=b'{"object": "list", "da', content_type="application/json")
    first, _ = heard(stripe_server(cut, answer()), read)
    assert (first.kind, first.status, first.reason) == ("retry", 0, "BadPage")


def test_a_request_that_is_given_up_is_refused_after_all_its_attempts(stripe_server: Server) -> None:
    first, *more, last = heard(stripe_server(answer(503)), read, max_attempts=3)
    told = [*([first] if first.kind == "retry" else []), *more]
    assert sum(each.count for each in told if each.kind == "retry") == 2
    assert (last.kind, last.status, last.attempt) == ("refused", 503, 3)
    assert happenings.words(last) == "GET /v1/charges: refused, status 503 after 3 attempts"


def test_a_missing_permission_is_named(stripe_server: Server) -> None:
    text = f"The provided key '{KEY}' does not have the required permissions. Having 'rak_charge_read' would help."
    [told] = heard(stripe_server(answer(403, code="more_permissions_required", message=text)), read)
    assert (told.kind, told.status, told.reason) == ("refused", 403, "rak_charge_read")
    assert happenings.words(told) == "GET /v1/charges: refused, status 403, the key lacks rak_charge_read"


def test_neither_ids_nor_values_nor_stripes_sentences_are_told(stripe_server: Server) -> None:
    gone = answer(404, code="resource_missing", message="No such customer: 'cus_A1B2'", param="id")
    odd = answer(400, code="ada@example.com is no e-mail of cus_A1B2")

    def one(stripe: client.Client) -> Awaitable[object]:
        return stripe.get("/v1/customers/cus_A1B2")

    def mail(stripe: client.Client) -> Awaitable[object]:
        return stripe.get("/v1/customers", {"email": "ada@example.com"})

    told = heard(stripe_server(gone, odd), one, mail)
    assert [(each.endpoint, each.status, each.reason) for each in told] == [
        ("GET /v1/customers/{}", 404, "resource_missing"),
        ("GET /v1/customers", 400, ""),
    ]
    assert not [each for each in told if "A1B2" in repr(each) or "ada" in repr(each)]


def test_accounts_are_named_while_there_is_one(stripe_server: Server) -> None:
    def other(stripe: client.Client) -> Awaitable[object]:
        return stripe.acting_for("acct_9", stripe.pace).get("/v1/payouts")

    def both(stripe: client.Client) -> Awaitable[object]:
        return stripe.acting_for("acct_9", stripe.pace).get("/v1/charges")

    told = {each.endpoint: each for each in heard(stripe_server(answer()), read, both, other)}
    assert (told["GET /v1/payouts"].account, told["GET /v1/payouts"].count) == ("acct_9", 1)
    assert (told[CHARGES].account, told[CHARGES].count) == ("", 2)


# How often


def gathered() -> tuple[happenings.Log, Clock, list[happenings.Happening]]:
    clock, found = Clock(), list[happenings.Happening]()
    return happenings.Log(found.append, clock), clock, found


def test_every_ten_seconds_there_is_one_line_for_each_endpoint() -> None:
    log, clock, found = gathered()
    for _ in range(125):
        log.answered(CHARGES, "acct_1", 100, 0.2, 200)
        log.answered("GET /v1/events", "acct_1", 50, 0.1, 200)
        clock.now += 0.25
    log.flush()
    pages = [each for each in found if each.endpoint == CHARGES]
    assert sum(each.count for each in pages) == 125
    assert sum(each.bytes for each in found) == 125 * 150
    assert len(pages) == 4
    assert happenings.words(pages[0]) == "GET /v1/charges: 41 answers, 4.1 kB, 0.20 s each"


def test_a_storm_of_refusals_is_no_storm_of_lines() -> None:
    log, clock, found = gathered()
    for n in range(10_000):
        reason = ("endpoint-rate", "global-rate", "endpoint-concurrency")[n % 3]
        log.tell(happenings.Happening("limited", CHARGES, seconds=1.0, status=429, reason=reason, attempt=n))
        clock.now += 0.01
    log.flush()
    assert sum(each.count for each in found) == 10_000
    assert len(found) <= 1.5 * 100
    assert max(each.attempt for each in found) == 9_999


def test_the_first_trouble_is_told_at_once() -> None:
    log, _, found = gathered()
    log.tell(happenings.Happening("retry", CHARGES, seconds=0.5, reason="Unreachable", attempt=1))
    log.tell(happenings.Happening("retry", CHARGES, seconds=2.5, reason="Unreachable", attempt=2))
    assert list(map(happenings.words, found)) == ["GET /v1/charges: Unreachable at attempt 1, again in 0.5 s"]
    log.tell(happenings.Happening("retry", CHARGES, seconds=1.5, reason="Unreachable", attempt=3))
    log.flush()
    assert happenings.words(found[-1]) == "GET /v1/charges: Unreachable at attempt 3, 2 times, again in 2.5 s"


def test_a_slow_answer_is_told_beside_its_page() -> None:
    log, _, found = gathered()
    log.answered(CHARGES, "", 100, 31.0, 200)
    log.flush()
    assert [each.kind for each in found] == ["slow", "page"]
    assert happenings.words(found[0]) == "GET /v1/charges: 31 s until an answer came"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (41_200, "41 kB"), (999_700, "1.0 MB"),
     (34_100_000, "34 MB"), (1_234_000_000, "1.2 GB"), (5_000_000_000_000, "5,000.0 GB")],
)  # fmt: skip
def test_sizes_are_written_for_people(number: int, text: str) -> None:
    assert happenings.size(number) == text
