"""Webhooks: delivered with real signatures, retried, chosen by type, account and version."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import stripe as sdk
from aiohttp import web

from tidegate.sandbox import clock, webhooks

from .conftest import Stripe


@dataclass
class Receiver:
    """A merchant's server: keeps what it is sent; answers by its list of statuses, then 200."""

    statuses: list[int] = field(default_factory=list)
    got: list[tuple[bytes, str]] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.got.append((await request.read(), request.headers["Stripe-Signature"]))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)

    @property
    def types(self) -> list[str]:
        return sorted(json.loads(body)["type"] for body, _ in self.got)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    loop = asyncio.new_event_loop()

    async def begin() -> web.ServerRunner:
        runner = web.ServerRunner(web.Server(one.answer), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        return runner

    runner = loop.run_until_complete(begin())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield one
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def stripe(start: Callable[..., Stripe]) -> Stripe:
    return start(clock=clock.Clock(), webhook_retries=(0.01, 0.01))


def listen(stripe: Stripe, url: str, *types: str, **more: Any) -> dict[str, Any]:
    return stripe.make("/v1/webhook_endpoints", url=url, enabled_events=list(types or ("*",)), **more)


def settle(stripe: Stripe) -> None:
    stripe.control("webhooks/idle")


def test_an_event_is_delivered_and_its_signature_verified_by_the_sdk(
    stripe: Stripe, receiver: Receiver
) -> None:
    endpoint = listen(stripe, receiver.url)
    made = stripe.make("/v1/customers", name="Zoë")
    settle(stripe)
    body, signature = receiver.got[0]

    event = sdk.Webhook.construct_event(body, signature, endpoint["secret"])

    assert (event.type, event.data.object["id"]) == ("customer.created", made["id"])
    with pytest.raises(sdk.SignatureVerificationError):
        sdk.Webhook.construct_event(body, signature, "whsec_other")
    with pytest.raises(sdk.SignatureVerificationError):
        sdk.Webhook.construct_event(body.replace(b"Zo", b"Lo"), signature, endpoint["secret"])


def test_the_signature_is_an_hmac_over_time_and_payload() -> None:
    header = webhooks.signature("whsec_test", b'{"id":"evt_1"}', 1_700_000_000)

    assert header == "t=1700000000,v1=c89214b5b5da833daed6f0b8c5bb6bd58cea9022bd80ccc78230f3942d632925"
    assert sdk.WebhookSignature.verify_header('{"id":"evt_1"}', header, "whsec_test", tolerance=None)


def test_the_secret_is_shown_once(stripe: Stripe, receiver: Receiver) -> None:
    endpoint = listen(stripe, receiver.url)

    assert endpoint["secret"].startswith("whsec_")
    shown = stripe.get(f"/v1/webhook_endpoints/{endpoint['id']}").json
    assert not shown.get("secret")
    assert endpoint["id"] in stripe.get("/v1/webhook_endpoints").ids


def test_only_the_types_asked_for_are_delivered(stripe: Stripe, receiver: Receiver) -> None:
    listen(stripe, receiver.url, "product.created")
    stripe.make("/v1/customers")
    stripe.make("/v1/products", name="Tea")
    settle(stripe)

    assert receiver.types == ["product.created"]


def test_a_delivery_that_fails_is_retried_with_the_same_payload(stripe: Stripe, receiver: Receiver) -> None:
    receiver.statuses += [500, 404]
    listen(stripe, receiver.url)
    stripe.make("/v1/customers")
    settle(stripe)

    assert len(receiver.got) == 3
    assert len({body for body, _ in receiver.got}) == 1
    assert stripe.stats()["webhooks"] == {"delivered": 1, "failed": 0}


def test_pending_webhooks_count_down(stripe: Stripe, receiver: Receiver) -> None:
    listen(stripe, receiver.url)
    stripe.make("/v1/customers")
    settle(stripe)

    assert json.loads(receiver.got[0][0])["pending_webhooks"] == 1
    assert stripe.truth("events")[0]["object"]["pending_webhooks"] == 0


def test_after_the_last_retry_it_gives_up(stripe: Stripe) -> None:
    listen(stripe, "http://127.0.0.1:9/nobody")
    stripe.make("/v1/customers")
    settle(stripe)

    assert stripe.stats()["webhooks"] == {"delivered": 0, "failed": 1}
    assert stripe.truth("events")[0]["object"]["pending_webhooks"] == 1


def test_a_deleted_or_disabled_endpoint_hears_nothing(stripe: Stripe, receiver: Receiver) -> None:
    first, second = listen(stripe, receiver.url), listen(stripe, receiver.url)
    stripe.delete(f"/v1/webhook_endpoints/{first['id']}")
    stripe.make(f"/v1/webhook_endpoints/{second['id']}", disabled=True)
    stripe.make("/v1/customers")
    settle(stripe)

    assert receiver.got == []


def test_a_connect_endpoint_hears_the_connected_accounts(stripe: Stripe, receiver: Receiver) -> None:
    listen(stripe, receiver.url, connect=True)
    connected = stripe.get("/v1/accounts").ids[0]
    stripe.make("/v1/customers")
    stripe.post("/v1/customers", headers={"Stripe-Account": connected})
    settle(stripe)

    assert [json.loads(body).get("account") for body, _ in receiver.got] == [connected]


def test_an_endpoint_can_pin_a_version(stripe: Stripe, receiver: Receiver) -> None:
    listen(stripe, receiver.url, "charge.succeeded", api_version="2020-08-27")
    stripe.make("/v1/charges", amount=500, currency="usd", source="tok_visa")
    settle(stripe)
    event = json.loads(receiver.got[0][0])

    assert event["api_version"] == "2020-08-27"
    assert event["data"]["object"]["refunds"]["data"] == []
    assert stripe.truth("events")[0]["object"]["api_version"] == stripe.made.facts.api_version


def test_an_event_type_that_is_none_is_refused(stripe: Stripe) -> None:
    answer = stripe.post(
        "/v1/webhook_endpoints", {"url": "http://x", "enabled_events": ["customer.exploded"]}
    )

    assert answer.status == 400
