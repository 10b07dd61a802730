"""Who signed a delivery, as Stripe's own package judges it; endpoints that are made, found, changed, removed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest
import stripe
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import catalog, errors, sandbox
from tidegate.sandbox import world
from tidegate.stripe import client, pace, webhooks

T = TypeVar("T")

SECRET = "whsec_current"
OLDER = "whsec_older"
BODY = b'{\n  "id": "evt_1",\n  "object": "event",\n  "type": "customer.created"\n}'
NOW = 1_790_000_000
DIGEST = webhooks.digest(SECRET, BODY, NOW)


def refused(header: str | None, body: bytes = BODY, *secrets: str, now: float = NOW) -> str:
    """Why a delivery is refused; nothing where it is not."""
    try:
        webhooks.verify(header, body, secrets or (SECRET,), now)
    except webhooks.Refused as error:
        return error.reason
    return ""


def test_what_stripes_own_package_signs_is_taken() -> None:
    sign: Any = stripe.WebhookSignature.generate_signature_header
    assert refused(sign(BODY.decode(), SECRET, NOW)) == ""
    assert refused(sign(BODY.decode(), OLDER, NOW), BODY, SECRET, OLDER) == ""
    assert webhooks.signature(SECRET, BODY, NOW) == sign(BODY.decode(), SECRET, NOW)


def test_what_we_sign_stripes_own_package_takes() -> None:
    now = int(time.time())
    event: Any = stripe.Webhook.construct_event(BODY, webhooks.signature(SECRET, BODY, now), SECRET)
    assert (event.id, event.type) == ("evt_1", "customer.created")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (f"t={NOW},v1={DIGEST}", ""),
        (f"v1={DIGEST},t={NOW}", ""),
        (f"t={NOW},v1={'0' * 64},v1={DIGEST}", ""),
        (f"t={NOW},v0={DIGEST},v1={DIGEST}", ""),
        (f"t={NOW},v1={DIGEST},t=1", ""),
        (f"t={NOW},v1={DIGEST},", ""),
        (f"t={NOW},v0={DIGEST}", "malformed"),
        (f"t={NOW},v1={DIGEST[:-1]}", "malformed"),
        (f"t={NOW},v1={DIGEST.upper()}", "malformed"),
        (f"t={NOW},v1=ü{DIGEST[1:]}", "malformed"),
        (f"t={NOW},v1=ü,v1={DIGEST}", "malformed"),
        (f"t={NOW}, v1={DIGEST}", "malformed"),
        (f"t={NOW},v1", "malformed"),
        (f"t=,v1={DIGEST}", "malformed"),
        (f"t=-5,v1={DIGEST}", "malformed"),
        (f"t=１２,v1={DIGEST}", "malformed"),
        (f"t={'9' * 5000},v1={DIGEST}", "malformed"),
        (f"v1={DIGEST}", "malformed"),
        ("t", "malformed"),
        (DIGEST, "malformed"),
        (f"t={NOW}," + ",".join([f"v1={DIGEST}"] * 200), "malformed"),
        (f"t={NOW},v1={'0' * 64}", "no match"),
        (f"t={NOW + 1},v1={DIGEST}", "no match"),
        (None, "missing"),
        ("", "missing"),
        ("  ", "missing"),
    ],
)
def test_a_header_in_every_shape(header: str | None, reason: str) -> None:
    assert refused(header) == reason


@pytest.mark.parametrize(
    ("ago", "reason"),
    [(0, ""), (300, ""), (301, "too old"), (1e9, "too old"), (-300, ""), (-301, "too new")],
)
def test_a_signature_holds_for_five_minutes_both_ways(ago: float, reason: str) -> None:
    assert refused(f"t={NOW},v1={DIGEST}", now=NOW + ago) == reason


def test_while_secrets_are_rolled_any_of_them_will_do() -> None:
    both = f"t={NOW},v1={webhooks.digest(OLDER, BODY, NOW)},v1={DIGEST}"
    assert refused(both, BODY, SECRET) == ""
    assert refused(both, BODY, OLDER) == ""
    assert refused(both, BODY, "whsec_other") == "no match"


def test_an_empty_secret_signs_nothing() -> None:
    forged = webhooks.signature("", BODY, NOW)
    assert refused(forged, BODY, "", "  ") == "no match"
    with pytest.raises(webhooks.Refused):
        webhooks.verify(forged, BODY, (), NOW)


def test_a_refusal_tells_neither_secret_nor_body_nor_signature() -> None:
    for header in (None, "t=1", f"t=1,v1={DIGEST}", f"t={NOW},v1={'0' * 64}", f"t={NOW * 2},v1={DIGEST}"):
        with pytest.raises(webhooks.Refused) as told:
            webhooks.verify(header, BODY, [SECRET], NOW)
        for word in (SECRET, "evt_1", DIGEST, "0" * 64):
            assert word not in str(told.value)


headers = st.one_of(
    st.text(max_size=120),
    st.lists(
        st.tuples(
            st.sampled_from(["t", "v1", "v0", " v1", "T", ""]),
            st.one_of(
                st.just(str(NOW)),
                st.just(DIGEST),
                st.just("0" * 64),
                st.text(max_size=8),
                st.just(f"{NOW}=x"),
            ),
        ).map("=".join),
        max_size=6,
    ).map(",".join),
)


@settings(max_examples=400, deadline=None)
@given(headers)
def test_what_stripes_own_package_takes_is_taken_and_nothing_else(header: str) -> None:
    verify: Any = stripe.WebhookSignature.verify_header
    try:
        theirs = bool(verify(BODY, header, SECRET))
    except (
        stripe.SignatureVerificationError,
        TypeError,
    ):  # a signature that is not ASCII is a TypeError there
        theirs = False
    assert (refused(header) == "") == (theirs and header.isascii())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 1599), st.sampled_from([SECRET, OLDER, "whsec_ü", "x" * 300]))
def test_one_changed_bit_is_noticed(body: bytes, bit: int, secret: str) -> None:
    header = webhooks.signature(secret, body, NOW)
    assert refused(header, body, SECRET, OLDER, "whsec_ü", "x" * 300) == ""
    changed = bytearray(body or b"x")
    if body:
        changed[bit // 8 % len(body)] ^= 1 << bit % 8
    assert refused(header, bytes(changed), secret) == "no match"


def test_the_types_of_a_stream_are_those_that_say_something_of_its_rows() -> None:
    assert webhooks.types(["products"]) == ("product.created", "product.deleted", "product.updated")
    charges = webhooks.types(["charges"])
    assert {"charge.succeeded", "charge.dispute.created", "charge.refund.updated", "refund.created"} <= {
        *charges
    }
    lines = webhooks.types(["invoice_line_items"])
    assert {"invoice.created", "invoice.updated", "invoice.deleted"} <= {*lines}
    assert "product.updated" not in lines


def test_the_stream_of_events_needs_all_types() -> None:
    assert webhooks.types(["events", "products"]) == catalog.load().event_types


def test_every_type_that_announces_a_stream_is_among_its_types() -> None:
    for stream in catalog.load().streams.values():
        if stream.name != "events":
            events = {*stream.events.created, *stream.events.updated, *stream.events.deleted}
            assert events <= {*webhooks.types([stream.name])}


def at(base: str, key: str = "sk_test_sandbox") -> client.Client:
    """A client of this Stripe, without limits."""
    limits = pace.limits_for("test", "off")
    return client.Client(key, api_base=base, api_version=catalog.load().api_version, pace=pace.Pace(limits))


def talk(base: str, work: Callable[[client.Client], Awaitable[T]], key: str = "sk_test_sandbox") -> T:
    """Do something with a client of this Stripe."""

    async def run() -> T:
        async with at(base, key) as stripe:
            return await work(stripe)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def url() -> Any:
    with sandbox.process(objects=10) as url:
        yield url


MARK = {"tidegate": "acme"}


def test_an_endpoint_is_made_found_changed_and_removed(url: str) -> None:
    async def work(stripe: client.Client) -> None:
        before = len(await webhooks.listed(stripe))
        made = await webhooks.make(
            stripe, url="https://a.example/hook", types=["customer.created"], metadata=MARK
        )
        assert (made.secret or "").startswith("whsec_")
        assert made.api_version == catalog.load().api_version
        [found] = [each for each in await webhooks.listed(stripe) if each.metadata == MARK]
        assert (found.id, found.secret, found.enabled_events) == (made.id, None, ("customer.created",))
        changed = await webhooks.update(stripe, made.id, url="https://b.example/hook", types=["*"])
        assert (changed.url, changed.enabled_events) == ("https://b.example/hook", ("*",))
        assert await webhooks.get(stripe, made.id) == changed
        assert await webhooks.delete(stripe, made.id)
        assert not await webhooks.delete(stripe, made.id)
        assert len(await webhooks.listed(stripe)) == before

    talk(url, work)


def test_more_endpoints_than_a_page_are_all_listed() -> None:
    async def work() -> int:
        async with sandbox.running(world.build(objects=5)) as base, at(base) as stripe:
            before = len(await webhooks.listed(stripe))
            for n in range(120):
                url = f"https://a.example/{n}"
                await webhooks.make(stripe, url=url, types=["customer.created"], metadata={})
            return len({each.id for each in await webhooks.listed(stripe)}) - before

    assert asyncio.run(work()) == 120


def test_types_that_this_stripe_does_not_know_are_left_out(url: str) -> None:
    async def work(stripe: client.Client) -> webhooks.Endpoint:
        asked = ["customer.created", "customer.invented", "charge.refunded", "moon.landed"]
        return await webhooks.make(
            stripe, url="https://a.example", types=asked, metadata=MARK, idempotency_key="one"
        )

    made = talk(url, work)
    assert made.enabled_events == ("customer.created", "charge.refunded")


def test_without_one_known_type_the_refusal_is_told(url: str) -> None:
    async def work(stripe: client.Client) -> None:
        await webhooks.make(stripe, url="https://a.example", types=["moon.landed"], metadata=MARK)

    with pytest.raises(errors.InvalidRequest, match="no such event type"):
        talk(url, work)


def test_a_key_without_the_permission_is_told_which_one() -> None:
    async def work(stripe: client.Client) -> None:
        await webhooks.make(stripe, url="https://a.example", types=["customer.created"], metadata=MARK)

    with (
        sandbox.process(objects=5, keys={"rk_test_reader1234": ("rak_webhook_read",)}) as base,
        pytest.raises(errors.PermissionMissing, match="rak_webhook_write") as told,
    ):
        talk(base, work, "rk_test_reader1234")
    assert told.value.permission == "rak_webhook_write"
    assert "reader1234" not in str(told.value)


def refusing(message: str, *, status: int = 400, param: str = "", code: str = "") -> web.Response:
    return web.json_response(
        {"error": {"message": message, "param": param, "code": code, "type": "invalid_request_error"}},
        status=status,
        headers={"Request-Id": "req_1"},
    )


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        (
            refusing("Invalid URL: URL must be publicly accessible", param="url", code="url_invalid"),
            errors.ConfigError,
            "Stripe does not deliver to https://a.example; give an address that the internet reaches",
        ),
        (
            refusing("You have reached the maximum of 16 test webhook endpoints."),
            errors.ConfigError,
            "as many webhook endpoints as Stripe allows",
        ),
        (
            refusing("This key may not.", status=403),
            errors.PermissionMissing,
            "lacks the permission rak_webhook_write",
        ),
    ],
)
def test_what_stripe_refuses_is_told_with_what_to_do(
    stripe_server: Any, answer: web.Response, kind: type[Exception], told: str
) -> None:
    async def work() -> None:
        async with stripe_server(answer) as server, at(server.base) as stripe:
            await webhooks.make(stripe, url="https://a.example", types=["customer.created"], metadata=MARK)

    with pytest.raises(kind, match=told):
        asyncio.run(work())


def test_an_unknown_type_may_be_named_in_words_only(stripe_server: Any) -> None:
    """A refusal that names no place in the list, but the type itself."""
    made = web.json_response({"id": "we_1", "url": "https://a.example", "secret": "whsec_1"})
    answers = (
        refusing("Invalid enabled_events: charge.gone is not a valid event type", param="enabled_events"),
        made,
    )

    async def work() -> list[str]:
        async with stripe_server(*answers) as server, at(server.base) as stripe:
            await webhooks.make(
                stripe,
                url="https://a.example",
                types=["charge.gone", "charge.captured"],
                metadata=MARK,
                idempotency_key="k",
            )
            keys = [request.headers["Idempotency-Key"] for request in server.asked]
            assert len(set(keys)) == 2, "another body is another request"
            return [str(body) for body in server.bodies]

    first, second = asyncio.run(work())
    assert "charge.gone" in first
    assert "charge.gone" not in second
    assert "charge.captured" in second


def test_an_answer_that_is_no_endpoint_is_told(stripe_server: Any) -> None:
    async def work() -> None:
        answer = web.json_response({"object": "else"})
        async with stripe_server(answer) as server, at(server.base) as stripe:
            await webhooks.get(stripe, "we_1")

    with pytest.raises(errors.BadPage, match="did not answer with webhook endpoints"):
        asyncio.run(work())
