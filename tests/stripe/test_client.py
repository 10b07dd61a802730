"""The client against a server that answers what each test says."""

from __future__ import annotations

import asyncio
import collections
import gzip
import json
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
from aiohttp import web

from tidegate import errors
from tidegate.stripe import attempts, client, pace

T = TypeVar("T")
KEY = "sk_test_51NzufDB0DBR1HOyc9Zq8sWabcd"
VERSION = "2026-10-28.endive"
PAGE = {"object": "list", "data": [{"id": "ch_1"}], "has_more": False}
Server = Callable[..., Any]


def ok(body: object = PAGE, **headers: str) -> web.Response:
    return web.json_response(body, headers={"Request-Id": "req_1", **headers})


def fault(status: int, headers: dict[str, str] | None = None, **error: str) -> web.Response:
    return web.json_response(
        {"error": error}, status=status, headers={"Request-Id": "req_1", **(headers or {})}
    )


class Waits:
    """Instead of sleeping, note for how long."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


def talk(
    server: Any, action: Callable[[client.Client], Awaitable[T]], *, api_key: str = KEY, **options: Any
) -> T:
    """Run `action` with a client of the server."""

    async def main() -> T:
        async with server:
            options.setdefault("pace", pace.Pace(pace.Limits(None, None)))
            options.setdefault("sleep", Waits())
            made = client.Client(api_key, api_base=server.base, api_version=VERSION, **options)
            async with made:
                return await action(made)

    return asyncio.run(main())


def failing(server: Any, path: str = "/v1/charges", **options: Any) -> errors.TidegateError:
    """The error that reading from the server ends with; it never tells the key."""
    with pytest.raises(errors.TidegateError) as caught:
        talk(server, lambda stripe: stripe.get(path), **options)
    assert KEY not in str(caught.value)
    assert KEY[8:] not in str(caught.value)
    return caught.value


def test_a_request_is_signed_pinned_and_named(stripe_server: Server) -> None:
    server = stripe_server(ok())
    response = talk(
        server, lambda stripe: stripe.get("/v1/charges", {"limit": 100, "expand[]": ["data.refunds"]})
    )
    assert json.loads(response.body) == PAGE
    assert (response.status, response.request_id) == (200, "req_1")
    [asked] = server.asked
    assert (asked.method, asked.path_qs) == ("GET", "/v1/charges?limit=100&expand[]=data.refunds")
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.headers["Stripe-Version"] == VERSION
    assert asked.headers["User-Agent"].startswith("Tidegate/")
    assert asked.headers["Accept-Encoding"] == "gzip"
    assert "Stripe-Account" not in asked.headers
    assert "Stripe-Context" not in asked.headers


def test_connected_accounts_and_organisations_are_named_in_headers(stripe_server: Server) -> None:
    server = stripe_server(ok())
    talk(server, lambda stripe: stripe.get("/v1/charges"), account="acct_1", context="org_1/acct_2")
    assert server.asked[0].headers["Stripe-Account"] == "acct_1"
    assert server.asked[0].headers["Stripe-Context"] == "org_1/acct_2"


def test_a_client_acts_for_another_account_over_the_same_connections(stripe_server: Server) -> None:
    server = stripe_server(ok())
    other = pace.Pace(pace.Limits(None, None))

    async def action(stripe: client.Client) -> tuple[int, int]:
        await stripe.acting_for("acct_9", other).get("/v1/charges")
        await stripe.get("/v1/charges")
        return other.reads, stripe.pace.reads

    assert talk(server, action) == (1, 1)
    assert [asked.headers.get("Stripe-Account") for asked in server.asked] == ["acct_9", None]


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_answers_are_unpacked(stripe_server: Server, encoding: str) -> None:
    body = json.dumps(PAGE).encode()
    packed = gzip.compress(body) if encoding == "gzip" else body
    server = stripe_server(web.Response(body=packed, headers={"Content-Encoding": encoding}))
    assert talk(server, lambda stripe: stripe.get("/v1/charges")).body == body


def test_ids_with_odd_characters_reach_stripe_as_they_are(stripe_server: Server) -> None:
    server = stripe_server(ok())
    talk(server, lambda stripe: stripe.get("/v1/coupons/50%25%20off%2Fnow"))
    talk(server, lambda stripe: stripe.get("/v1/coupons/été 50"))
    assert [asked.raw_path for asked in server.asked] == [
        "/v1/coupons/50%25%20off%2Fnow",
        "/v1/coupons/%C3%A9t%C3%A9%2050",
    ]


def test_the_version_is_stripes_clock_at_the_sending(stripe_server: Server) -> None:
    date = "Thu, 20 Nov 2025 23:13:29 GMT"
    response = talk(stripe_server(ok(Date=date)), lambda stripe: stripe.get("/v1/charges"))
    assert 1763680409 - 5 <= response.version <= 1763680409


def test_the_clock_of_a_gateway_is_not_stripes(stripe_server: Server) -> None:
    gateway = web.Response(status=503, text="no upstream", headers={"Date": "Sat, 20 Nov 2027 23:13:29 GMT"})
    stripes = ok(Date="Thu, 20 Nov 2025 23:13:29 GMT")
    response = talk(stripe_server(gateway, stripes), lambda stripe: stripe.get("/v1/charges"))
    assert 1763680409 - 5 <= response.version <= 1763680409


def test_what_was_sent_is_counted_per_stream_and_in_all(stripe_server: Server) -> None:
    limited = fault(429, {"Stripe-Rate-Limited-Reason": "endpoint-rate"}, code="rate_limit")
    server = stripe_server(ok(), fault(500), limited, ok())
    charges, refunds = client.Tally(), client.Tally()

    async def action(stripe: client.Client) -> client.Tally:
        await stripe.get("/v1/charges", tally=charges)
        await stripe.get("/v1/refunds", tally=refunds)
        assert stripe.pace.reads == 4
        return stripe.tally

    assert talk(server, action) == client.Tally(requests=4, retries=2, rate_limited=1, server_errors=1)
    assert charges == client.Tally(requests=1)
    assert refunds == client.Tally(requests=3, retries=2, rate_limited=1, server_errors=1)


@pytest.mark.parametrize("status", [409, 429, 500, 502, 503])
def test_what_may_pass_is_tried_again(stripe_server: Server, status: int) -> None:
    server = stripe_server(fault(status), ok())
    assert talk(server, lambda stripe: stripe.get("/v1/charges")).status == 200
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404])
def test_what_will_not_pass_is_not_tried_again(stripe_server: Server, status: int) -> None:
    server = stripe_server(fault(status), ok())
    assert isinstance(failing(server), errors.StripeError)
    assert len(server.asked) == 1


def test_stripe_orders_a_retry(stripe_server: Server) -> None:
    server = stripe_server(fault(400, {"Stripe-Should-Retry": "true"}), ok())
    assert talk(server, lambda stripe: stripe.get("/v1/charges")).status == 200


def test_a_limiter_is_waited_for_whatever_it_says(stripe_server: Server) -> None:
    server = stripe_server(fault(429, {"Stripe-Should-Retry": "false"}), ok())
    assert talk(server, lambda stripe: stripe.get("/v1/charges")).status == 200


@pytest.mark.parametrize("status", [409, 500])
def test_stripe_forbids_a_retry(stripe_server: Server, status: int) -> None:
    server = stripe_server(fault(status, {"Stripe-Should-Retry": "false"}), ok())
    assert isinstance(failing(server), errors.StripeError)
    assert len(server.asked) == 1


def test_waits_grow_and_are_jittered(stripe_server: Server) -> None:
    waits = Waits()
    assert isinstance(failing(stripe_server(fault(500)), sleep=waits), errors.ServerFault)
    assert len(waits.slept) == client.MAX_ATTEMPTS - 1
    bounds = [min(attempts.LONGEST_WAIT, attempts.FIRST_WAIT * 2**n) for n in range(len(waits.slept))]
    assert all(0 <= wait <= bound for wait, bound in zip(waits.slept, bounds, strict=True))
    assert len(set(waits.slept)) == len(waits.slept)


@pytest.mark.parametrize(
    ("headers", "least"),
    [
        ({"Retry-After": "33"}, 33),
        ({"Retry-After": "33.5"}, 33.5),
        ({"Date": "Thu, 20 Nov 2025 23:13:29 GMT", "Retry-After": "Thu, 20 Nov 2025 23:14:09 GMT"}, 40),
        ({"Retry-After": "99999"}, 60),
        ({"Retry-After": "soon"}, 0),
    ],
)
def test_retry_after_is_obeyed_up_to_a_minute(
    stripe_server: Server, headers: dict[str, str], least: float
) -> None:
    waits = Waits()
    talk(stripe_server(fault(503, headers), ok()), lambda stripe: stripe.get("/v1/charges"), sleep=waits)
    [slept] = waits.slept
    assert least <= slept <= max(least, attempts.FIRST_WAIT)


def test_a_storm_of_429_is_no_reason_to_fail(stripe_server: Server) -> None:
    storm = [fault(429, code="rate_limit") for _ in range(4 * client.MAX_ATTEMPTS)]
    tally = client.Tally()

    async def action(stripe: client.Client) -> client.Response:
        for limiter in (stripe.pace.account, stripe.pace._lane("GET /v1/charges")):
            limiter.streak = -1000  # the pauses of the pace have tests of their own
        return await stripe.get("/v1/charges", tally=tally)

    assert talk(stripe_server(*storm, ok()), action).status == 200
    assert tally.rate_limited == len(storm)


def test_a_limit_that_never_ends_is_told_at_last(stripe_server: Server) -> None:
    server = stripe_server(fault(429, code="rate_limit", message="Too many requests"))
    error = failing(server, rate_limit_patience=0.0)
    assert isinstance(error, errors.RateLimited)
    assert str(error).startswith(
        "Stripe still limits GET /v1/charges (rate_limit, req_1): Too many requests;"
    )


def test_a_lock_on_an_object_is_tried_again_and_slows_nothing_else(stripe_server: Server) -> None:
    locked = fault(429, code="lock_timeout", message="This object cannot be accessed right now")
    server = stripe_server(locked, ok())

    async def action(stripe: client.Client) -> float:
        await stripe.get("/v1/charges")
        return stripe.pace._lane("GET /v1/charges").factor

    assert talk(server, action, pace=pace.Pace(pace.Limits(1000, 1000))) == 1.0


def test_the_endpoint_that_is_limited_is_the_template(stripe_server: Server) -> None:
    server = stripe_server(fault(429), ok())

    async def action(stripe: client.Client) -> float:
        await stripe.get("/v1/invoices/in_1/lines", endpoint="/v1/invoices/{invoice}/lines")
        return stripe.pace._lane("GET /v1/invoices/{invoice}/lines").factor

    assert talk(server, action, pace=pace.Pace(pace.Limits(1000, 1000))) < 1.0


async def cut(request: web.Request) -> web.StreamResponse:
    """Announce a page, send a part of it, and hang up."""
    response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"object": "list", "data": [')
    assert request.transport is not None
    request.transport.close()
    return response


async def reset(request: web.Request) -> web.StreamResponse:
    """Hang up without a word."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def silent(_: web.Request) -> web.StreamResponse:
    """Never answer."""
    await asyncio.Event().wait()
    return web.Response()


@pytest.mark.parametrize("broken", [cut, reset])
def test_a_connection_that_breaks_is_tried_again(stripe_server: Server, broken: Any) -> None:
    server = stripe_server(ok(), broken, broken, broken, broken, ok())

    async def action(stripe: client.Client) -> client.Response:
        await stripe.get("/v1/charges")
        return await stripe.get("/v1/charges")

    assert json.loads(talk(server, action).body) == PAGE


@pytest.mark.parametrize(
    "damaged",
    [
        web.Response(body=json.dumps(PAGE).encode()[:-5], content_type="application/json"),
        web.Response(body=gzip.compress(b"{}" * 999)[:-9], headers={"Content-Encoding": "gzip"}),
        web.Response(body=b"", content_type="application/json"),
        web.Response(body=b"<html>maintenance</html>", content_type="text/html"),
    ],
)
def test_a_partial_page_is_never_handed_on(stripe_server: Server, damaged: web.Response) -> None:
    assert (
        json.loads(talk(stripe_server(damaged, ok()), lambda stripe: stripe.get("/v1/charges")).body) == PAGE
    )


def test_a_truncated_answer_beyond_the_last_retry(stripe_server: Server) -> None:
    error = failing(stripe_server(cut))
    assert isinstance(error, errors.BadPage)
    assert "to GET /v1/charges can't be read: it is cut; check that `api_base`" in str(error)


def test_a_web_page_points_at_api_base_soon(stripe_server: Server) -> None:
    server = stripe_server(web.Response(body=b"<html>hello</html>", content_type="text/html"))
    error = failing(server)
    assert isinstance(error, errors.BadPage)
    assert "it is a web page instead of JSON; check that `api_base` points at Stripe's API" in str(error)
    assert len(server.asked) == client.FIRST_ATTEMPTS


def test_a_redirect_is_not_followed_with_the_key(stripe_server: Server) -> None:
    server = stripe_server(web.Response(status=302, headers={"Location": "http://127.0.0.1:9/v1/charges"}))
    assert isinstance(failing(server), errors.BadPage)
    assert len(server.asked) == 1


def test_a_connection_that_stays_broken(stripe_server: Server) -> None:
    error = failing(stripe_server(reset))
    assert isinstance(error, errors.Unreachable)
    assert "broke during GET /v1/charges; check the network, and run again." in str(error)


def test_no_answer_in_time(stripe_server: Server) -> None:
    error = failing(stripe_server(silent), timeout=0.05)
    assert isinstance(error, errors.Unreachable)
    assert "gave no answer to GET /v1/charges within 0.05 seconds" in str(error)


def unreachable(api_base: str) -> errors.TidegateError:
    async def main() -> None:
        options: Any = {"pace": pace.Pace(pace.Limits(None, None)), "sleep": Waits()}
        async with client.Client(KEY, api_base=api_base, api_version=VERSION, **options) as stripe:
            await stripe.get("/v1/charges")

    with pytest.raises(errors.TidegateError) as caught:
        asyncio.run(main())
    assert KEY not in str(caught.value)
    return caught.value


def test_a_host_that_does_not_exist() -> None:
    error = unreachable("http://stripe.invalid")
    assert isinstance(error, errors.Unreachable)
    assert str(error) == (
        "The host stripe.invalid is unknown (DNS); check `api_base` and this machine's network."
    )


def test_a_port_where_nobody_listens() -> None:
    error = unreachable("http://127.0.0.1:1")
    assert isinstance(error, errors.Unreachable)
    assert str(error).startswith(
        "The host 127.0.0.1:1 can't be reached: connection refused; check `api_base`"
    )


def test_a_server_that_speaks_no_tls(stripe_server: Server) -> None:
    async def main() -> None:
        async with stripe_server(ok()) as server:
            options: Any = {"pace": pace.Pace(pace.Limits(None, None)), "sleep": Waits()}
            base = server.base.replace("http:", "https:")
            async with client.Client(KEY, api_base=base, api_version=VERSION, **options) as stripe:
                await stripe.get("/v1/charges")

    with pytest.raises(errors.Unreachable, match="no safe connection to 127") as caught:
        asyncio.run(main())
    assert isinstance(caught.value, errors.Unreachable)
    assert "CA certificates" in str(caught.value)


@pytest.mark.parametrize(
    ("api_base", "sentence"),
    [
        ("api.stripe.com", "is no address"),
        ("", "is no address"),
        ("ftp://api.stripe.com", "is no address"),
        ("http://", "is no address"),
        ("http://host:port", "is no address"),
        (f"https://{KEY}@api.stripe.com", "is no address"),
        ("https://api.stripe.com/v1", "has a path"),
        ("https://api.stripe.com?x=1", "has a path"),
    ],
)
def test_an_api_base_that_is_none(api_base: str, sentence: str) -> None:
    with pytest.raises(errors.ConfigError, match=sentence) as caught:
        client.Client(KEY, api_base=api_base, api_version=VERSION, pace=pace.Pace(pace.Limits(None, None)))
    assert "like https://api.stripe.com" in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_trailing_slash_of_api_base_is_forgiven() -> None:
    assert client._base("http://127.0.0.1:8080/") == ("http://127.0.0.1:8080", "127.0.0.1:8080")


def test_a_post_is_a_form_with_one_idempotency_key_through_all_retries(stripe_server: Server) -> None:
    server = stripe_server(fault(500), reset, ok({"id": "cus_1"}))
    talk(
        server,
        lambda stripe: stripe.post(
            "/v1/customers", {"name": "Jenny", "metadata": {"plan": "gold"}}, idempotency_key="op-1"
        ),
    )
    assert server.bodies == ["name=Jenny&metadata[plan]=gold"] * 3
    assert {asked.headers["Idempotency-Key"] for asked in server.asked} == {"op-1"}
    assert {asked.content_type for asked in server.asked} == {"application/x-www-form-urlencoded"}


def test_a_post_without_an_idempotency_key_is_given_one(stripe_server: Server) -> None:
    server = stripe_server(fault(503), ok({"id": "cus_1"}))
    talk(server, lambda stripe: stripe.post("/v1/customers", {"name": "Jenny"}))
    [key] = {asked.headers["Idempotency-Key"] for asked in server.asked}
    assert len(key) >= 32


def test_a_stored_failure_is_not_asked_for_again(stripe_server: Server) -> None:
    server = stripe_server(fault(500, {"Idempotent-Replayed": "true"}), ok())
    with pytest.raises(errors.ServerFault):
        talk(server, lambda stripe: stripe.post("/v1/customers", {}, idempotency_key="op-1"))
    assert len(server.asked) == 1


def test_a_post_to_v2_is_json(stripe_server: Server) -> None:
    server = stripe_server(ok({"id": "acct_1"}))
    talk(
        server, lambda stripe: stripe.post("/v2/core/accounts", {"include": ["identity"], "dashboard": None})
    )
    assert json.loads(server.bodies[0]) == {"include": ["identity"], "dashboard": None}
    assert server.asked[0].content_type == "application/json"


def test_a_delete(stripe_server: Server) -> None:
    server = stripe_server(ok({"id": "cus_1", "deleted": True}))
    response = talk(server, lambda stripe: stripe.delete("/v1/customers/cus_1", idempotency_key="op-2"))
    assert json.loads(response.body)["deleted"] is True
    assert (server.asked[0].method, server.asked[0].headers["Idempotency-Key"]) == ("DELETE", "op-2")


def test_writes_are_no_reads(stripe_server: Server) -> None:
    async def action(stripe: client.Client) -> int:
        await stripe.post("/v1/customers", {})
        await stripe.delete("/v1/customers/cus_1")
        await stripe.get("/v1/customers")
        return stripe.pace.reads

    assert talk(stripe_server(ok()), action) == 1


def test_a_cancelled_request_gives_its_slot_back(stripe_server: Server) -> None:
    asked = asyncio.Event()

    async def arrived(request: web.Request) -> web.StreamResponse:
        asked.set()
        return await silent(request)

    async def action(stripe: client.Client) -> tuple[int, int]:
        task = asyncio.create_task(stripe.get("/v1/charges"))
        await asked.wait()
        before = stripe.pace.account.in_flight
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return before, stripe.pace.account.in_flight

    assert talk(stripe_server(arrived), action) == (1, 0)


def test_all_tasks_of_a_pull_share_the_pace(stripe_server: Server) -> None:
    under_way = most = 0

    async def slow(_: web.Request) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.005)
        under_way -= 1
        return ok()

    async def action(stripe: client.Client) -> None:
        await asyncio.gather(*(stripe.get("/v1/charges") for _ in range(60)))

    talk(stripe_server(slow), action, pace=pace.Pace(pace.Limits(None, None), max_in_flight=6))
    assert 2 <= most <= 6


def test_a_strict_server_refuses_next_to_nothing_and_nothing_is_lost(stripe_server: Server) -> None:
    asked: dict[str, collections.deque[float]] = collections.defaultdict(collections.deque)

    async def strict(request: web.Request) -> web.StreamResponse:
        now = asyncio.get_running_loop().time()
        for name, limit, reason in (("", 100, "global-rate"), (request.path, 25, "endpoint-rate")):
            while asked[name] and asked[name][0] <= now - 1:
                asked[name].popleft()
            if len(asked[name]) >= limit:
                return fault(429, {"Stripe-Rate-Limited-Reason": reason}, code="rate_limit")
        asked[""].append(now)
        asked[request.path].append(now)
        return ok()

    async def action(stripe: client.Client) -> client.Tally:
        async def walk(path: str) -> None:
            for _ in range(10):
                await stripe.get(path)

        paths = [f"/v1/{name}" for name in ("charges", "refunds", "payouts", "disputes", "customers")]
        await asyncio.gather(*(walk(path) for path in paths for _ in range(4)))
        return stripe.tally

    tally = talk(stripe_server(strict), action, pace=pace.Pace(pace.Limits(100, 25), budget=1.0))
    assert tally.requests - tally.rate_limited == 200
    assert tally.rate_limited <= 20


@pytest.mark.parametrize(
    ("variables", "base", "proxy"),
    [
        ({}, "https://api.stripe.com", None),
        ({"https_proxy": "http://proxy.example:3128"}, "https://api.stripe.com", "http://proxy.example:3128"),
        ({"https_proxy": "proxy.example:3128"}, "https://api.stripe.com", "http://proxy.example:3128"),
        ({"https_proxy": "http://p:1", "no_proxy": "stripe.com"}, "https://api.stripe.com", None),
        ({"http_proxy": "http://p:1"}, "https://api.stripe.com", None),
        ({"http_proxy": "http://p:1"}, "http://127.0.0.1:8080", None),
        ({"http_proxy": "http://p:1"}, "http://localhost:8080", None),
    ],
)
def test_proxies_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], base: str, proxy: str | None
) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = client.proxy(base)
    assert (str(found).rstrip("/") if found else None) == proxy


def test_a_proxy_gets_its_own_sign_in_and_stripe_the_key(
    monkeypatch: pytest.MonkeyPatch, stripe_server: Server
) -> None:
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)

    async def main() -> Any:
        async with stripe_server(ok()) as proxy:
            monkeypatch.setenv("http_proxy", proxy.base.replace("//", "//me:secret@"))
            options: Any = {"api_base": "http://stripe.example", "api_version": VERSION}
            async with client.Client(KEY, pace=pace.Pace(pace.Limits(None, None)), **options) as stripe:
                await stripe.get("/v1/charges")
            return proxy.asked[0]

    asked = asyncio.run(main())
    assert asked.headers["Host"] == "stripe.example"
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.headers["Proxy-Authorization"] == "Basic bWU6c2VjcmV0"


def test_tls_without_a_known_authority_is_named() -> None:
    from tidegate.stripe import answers  # the error is made by hand: nothing here has a certificate

    call = answers.Call("GET /v1/charges", "api.stripe.com", "sk_test_…abcd")
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "unable to get local issuer certificate"
    found = answers.unreachable(error, call, 80)
    assert "TLS: unable to get local issuer certificate" in str(found)
