"""Who asks a server: browsers in which members are signed in, and programs with tokens.

def test_it(place, signed, tokened):
    ann = signed(place, "editor")
    assert ann.get("/runs").status == 200
    assert ann.post("/runs/run_1/cancel", {"reason": "slow"}).status == 303
    assert tokened(place, "read").post("/api/v1/flows/pull:x/runs", json={}).status == 403
"""

from __future__ import annotations

import contextlib
import http.client
import json as codec
import secrets
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidegate.cli import serving
from tidegate.engine import place as places
from tidegate.server import app, asking, limits
from tidegate.server import desk as desks
from tidegate.store import people, sessions, tokens

vars(app)["SOON"] = (
    3_600.0  # what is made beforehand costs half a second, and few of the tests' servers need it
)
UNHURRIED = limits.Limits(limits.Rate(1e9, 1e9), limits.Rate(1e9, 1e9))
"""Tests ask as often as they like."""


@dataclass(frozen=True)
class Answer:
    """What came back; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cookies: Sequence[str] = ()
    """Set-Cookie, one by one."""

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return codec.loads(self.body)


@dataclass
class Client:
    """A browser, or a program, that knows the way to a server; it follows no redirect."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    """What goes with every request."""
    jar: dict[str, str] = field(default_factory=dict)
    """Cookies."""
    csrf: str = ""
    """What goes as X-CSRF-Token with what changes something."""
    member: str = ""
    """Who is signed in, by name."""

    def get(self, path: str, **headers: str) -> Answer:
        """`client.get("/runs", HX_Request="true")`."""
        return self.ask("GET", path, **headers)

    def post(
        self, path: str, form: Mapping[str, Any] | None = None, *, json: Any = None, **headers: str
    ) -> Answer:
        """Send a form, or JSON; its values may be lists."""
        return self.ask("POST", path, form, json=json, **headers)

    def ask(
        self,
        method: str,
        path: str,
        form: Mapping[str, Any] | None = None,
        *,
        json: Any = None,
        body: bytes | None = None,
        **headers: str,
    ) -> Answer:
        """Any request; of a stream of events only the head is waited for.

        A browser says its origin and its CSRF token. A header that is given as "" is left out.
        """
        sent = {"Host": urllib.parse.urlsplit(self.url).netloc, **self.headers}
        if self.jar:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        if method not in asking.SAFE and "Authorization" not in self.headers:
            sent["Origin"] = self.url
            if self.csrf:
                sent["X-CSRF-Token"] = self.csrf
        if form is not None:
            body = urllib.parse.urlencode(form, doseq=True).encode()
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        elif json is not None:
            body, sent["Content-Type"] = codec.dumps(json).encode(), "application/json"
        for name, value in headers.items():
            name = name.replace("_", "-")
            sent = {each: text for each, text in sent.items() if each.lower() != name.lower()}
            if value:
                sent[name] = value
        parts = urllib.parse.urlsplit(self.url)
        with contextlib.closing(
            http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        ) as line:
            line.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                line.putheader(name, value)
            if body is not None:
                line.putheader("Content-Length", str(len(body)))
            elif method not in asking.SAFE:
                line.putheader("Content-Length", "0")
            line.endheaders(body)
            answer = line.getresponse()
            is_stream = (answer.getheader("Content-Type") or "").startswith("text/event-stream")
            found = b"" if is_stream else answer.read()
            set_cookies = answer.headers.get_all("Set-Cookie") or []
        for each in set_cookies:
            name, _, value = each.partition(";")[0].partition("=")
            self.jar[name] = value
            if not value or value == '""':
                del self.jar[name]
        told = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status, told, found, set_cookies)


def session(desk: desks.Desk, url: str, role: people.Role = "admin", name: str = "") -> Client:
    """A browser in which a member of this role is signed in."""
    store = desk.place.store
    name = name or f"{role}@example.com"
    secret = sessions.new()
    store.execute(
        "INSERT INTO members (id, name, role, made_at, made_by) VALUES (:id, :name, :role, {now}, 'the test') "
        "ON CONFLICT (name) DO NOTHING",
        {"id": f"member_{secrets.token_hex(6)}", "name": name, "role": role},
    )
    member = people.get(store, name)
    store.transact(lambda each: sessions.begin(each, member.id, secret, address="127.0.0.1", agent="a test"))
    return Client(url, jar={asking.cookie(False): secret}, csrf=asking.csrf(secret), member=name)


def program(desk: desks.Desk, url: str, scope: tokens.Scope = "read", flows: Sequence[str] = ()) -> Client:
    """A program with a token of this scope."""
    made = tokens.create(desk.place.store, f"test-{secrets.token_hex(4)}", scope, flows=flows)
    return Client(url, headers={"Authorization": f"Bearer {made}"})


@dataclass
class Servers:
    """A server for each place, until the test ends."""

    stack: contextlib.ExitStack
    running: dict[int, tuple[places.Place, str, desks.Desk]] = field(default_factory=dict)

    def of(self, place: places.Place) -> tuple[str, desks.Desk]:
        """Its address and its desk."""
        if id(place) not in self.running:
            served = serving.serving(place, limit=UNHURRIED)
            self.running[id(place)] = (place, *self.stack.enter_context(served))
        _, url, desk = self.running[id(place)]
        return url, desk


Signed = Callable[..., Client]
"""`signed`, `tokened` or `stranger`."""
