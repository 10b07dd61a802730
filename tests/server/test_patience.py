"""Those who send byte by byte, too much, or nothing: they are ended, and nobody else waits for them."""

from __future__ import annotations

import contextlib
import socket
import urllib.parse
from collections.abc import Iterator

import fastapi
import pytest
import signing
from starlette import requests

from tidegate.engine import feed
from tidegate.engine import place as places
from tidegate.server import app, asking, patience
from tidegate.server import desk as desks
from tidegate.web import troubles

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def served(place: places.Place) -> Iterator[tuple[str, desks.Desk]]:
    """A server with a form that anybody may send, and one for members."""
    desk, made = desks.Desk(place), fastapi.APIRouter()

    @made.post("/open")
    @asking.public
    async def everybody(request: requests.Request) -> dict[str, int]:
        return {"fields": len(await request.form())}

    front = app.Front(desk, [made], troubles.failed)
    with app.serving(place.file, feed.Arrivals(), front=front) as url:
        yield url, desk


@contextlib.contextmanager
def line(url: str) -> Iterator[socket.socket]:
    parts = urllib.parse.urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as opened:
        yield opened


def rest(opened: socket.socket) -> bytes:
    """All that comes until the other side hangs up."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := opened.recv(65_536):
            found += piece
    return found


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nHost: loc", b"HTTP/1.1 408 Request Timeout"),
        (b"\r\n", b"HTTP/1.1 408 Request Timeout"),
    ],
    ids=["nothing", "half a head", "ends of lines"],
)
def test_a_head_has_to_come(
    served: tuple[str, desks.Desk], monkeypatch: pytest.MonkeyPatch, sent: bytes, answer: bytes
) -> None:
    monkeypatch.setattr(patience, "HEAD", 0.2)
    with line(served[0]) as opened:
        opened.sendall(sent)
        assert rest(opened).startswith(answer)


def test_also_the_second_one(served: tuple[str, desks.Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "HEAD", 0.5)
    with line(served[0]) as opened:
        opened.sendall(GET)
        assert opened.recv(65_536).startswith(b"HTTP/1.1 200")
        opened.sendall(GET[:20])
        assert b"HTTP/1.1 408" in rest(opened)


def test_a_head_ends_somewhere(served: tuple[str, desks.Desk]) -> None:
    with line(served[0]) as opened:
        opened.sendall(b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for n in range(200):
                opened.sendall(b"X-%d: %b\r\n" % (n, b"x" * 1000))
        assert rest(opened)[:12] in (b"HTTP/1.1 431", b"")


def test_one_that_is_waited_for_is_not_the_last_ones(served: tuple[str, desks.Desk]) -> None:
    """The bytes of many requests on one connection are not those of one."""
    with line(served[0]) as opened:
        for _ in range(3):
            opened.sendall(GET[:-4] + b"\r\nX-Much: " + b"x" * 40_000 + b"\r\n\r\n")
            answer = b""
            while not answer.endswith(b"alive\n"):
                answer += opened.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("sent", [b"", b"a=1&b"])
def test_a_body_has_to_come(
    served: tuple[str, desks.Desk], monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(patience, "BODY", 0.2)
    url, _ = served
    head = f"POST /open HTTP/1.1\r\nHost: {urllib.parse.urlsplit(url).netloc}\r\nOrigin: {url}\r\n"
    form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n"
    with line(url) as opened:
        opened.sendall((head + form).encode() + sent)
        answer = rest(opened)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"did not come within" in answer


def test_there_is_room_for_who_has_something_to_say(
    served: tuple[str, desks.Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "CROWDED", 5)
    with contextlib.ExitStack() as open_ones:
        silent = [open_ones.enter_context(line(served[0])) for _ in range(5)]
        for _ in range(8):
            assert signing.Client(served[0]).get("/health").status == 200
        assert rest(silent[0]) == b""
