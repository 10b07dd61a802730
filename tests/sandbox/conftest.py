"""A sandbox in a thread of its own, and the few words that a test needs to talk to it."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import stripe as sdk

from tidegate import sandbox
from tidegate.sandbox import clock, forms, world

NOW = 1_790_000_000
KEY = "sk_test_1234567890"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]

    @property
    def ids(self) -> list[str]:
        return [one["id"] for one in self.json["data"]]


class Stripe:
    """A sandbox on a port of the system's choice; its clock stands still until a test moves it.

    Events of one second come in the order in which they were made, so that tests can say what happened.
    """

    def __init__(self, business: world.World | None = None, **options: Any) -> None:
        business = business or world.build(objects=2_000, accounts=2, now=NOW)
        self.clock = options.pop("clock", None) or clock.Clock(NOW + 60)
        self.made = sandbox.Sandbox(business, clock=self.clock, **{"shuffle": False, **options})
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.url = self.run(self.made.start())

    def run(self, work: Any) -> Any:
        """Wait for a coroutine in the sandbox's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def close(self) -> None:
        self.run(self.made.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def ask(
        self,
        method: str,
        path: str,
        params: dict[str, Any] | None = None,
        *,
        key: str = KEY,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request; parameters go into the query of a GET and DELETE, into the form of a POST."""
        body = forms.encode_form(params or {})
        sent = {"Authorization": f"Bearer {key}", **(headers or {})}
        if method != "POST" and body:
            path, body = f"{path}{'&' if '?' in path else '?'}{body}", ""
        elif method == "POST":
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        host = self.url.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=30)
        try:
            connection.request(method, path, body.encode() if method == "POST" else None, sent)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.headers.items()), answer.read())
        finally:
            connection.close()

    def get(self, path: str, params: dict[str, Any] | None = None, **more: Any) -> Answer:
        return self.ask("GET", path, params, **more)

    def post(self, path: str, params: dict[str, Any] | None = None, **more: Any) -> Answer:
        return self.ask("POST", path, params, **more)

    def delete(self, path: str, params: dict[str, Any] | None = None, **more: Any) -> Answer:
        return self.ask("DELETE", path, params, **more)

    def make(self, path: str, **params: Any) -> dict[str, Any]:
        """Create something that must succeed."""
        answer = self.post(path, params)
        assert answer.status == 200, answer.body
        return answer.json  # type: ignore[no-any-return]  # JSON of an object

    def walk(self, path: str, **params: Any) -> list[dict[str, Any]]:
        """A list to its end, page by page."""
        found: list[dict[str, Any]] = []
        while True:
            cursor = {"starting_after": found[-1]["id"]} if found else {}
            answer = self.get(path, {"limit": 100, **params, **cursor})
            assert answer.status == 200, answer.body
            found += answer.json["data"]
            if not answer.json["has_more"]:
                return found

    def control(self, name: str, given: dict[str, Any] | None = None) -> Any:
        """`POST /_sandbox/name`."""
        host = self.url.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=30)
        try:
            connection.request("POST", f"/_sandbox/{name}", json.dumps(given or {}))
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, body
            return json.loads(body)
        finally:
            connection.close()

    def stats(self) -> Any:
        return self.get("/_sandbox/stats").json

    def truth(self, stream: str, account: str = "") -> list[dict[str, Any]]:
        """Every object of a stream, whatever the API shows."""
        lines = self.get(f"/_sandbox/truth/{stream}?account={account}").body.splitlines()
        return [json.loads(line) for line in lines]

    def writes(self, **wanted: str) -> list[dict[str, Any]]:
        """Every effect that a request had."""
        lines = self.get("/_sandbox/writes", wanted).body.splitlines()
        return [json.loads(line) for line in lines]

    def events(self, **params: Any) -> list[dict[str, Any]]:
        """The events since the sandbox started, oldest first."""
        found = self.walk("/v1/events", **{"created": {"gt": NOW}}, **params)
        return found[::-1]


def client(stripe: Stripe, key: str = KEY, **options: Any) -> sdk.StripeClient:
    """The official SDK, pointed at a sandbox; it tries once unless told otherwise."""
    return sdk.StripeClient(key, base_addresses={"api": stripe.url}, **{"max_network_retries": 0, **options})


@pytest.fixture
def start() -> Iterator[Callable[..., Stripe]]:
    """Start sandboxes; they end with the test."""
    running: list[Stripe] = []

    def begin(business: world.World | None = None, **options: Any) -> Stripe:
        running.append(Stripe(business, **options))
        return running[-1]

    yield begin
    for one in running:
        one.close()


@pytest.fixture
def stripe(start: Callable[..., Stripe]) -> Stripe:
    """A sandbox with a business of about 2,000 objects."""
    return start()
