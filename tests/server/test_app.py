"""The other routes, and the thread that serves them all."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import delivering
import fastapi
import pytest
import servers
from delivering import gone

from tidegate import config, errors
from tidegate.engine import feed
from tidegate.engine import place as places
from tidegate.server import app, limits
from tidegate.server import deliveries as received
from tidegate.server import desk as desks
from tidegate.store import database
from tidegate.web import troubles


def get(url: str, method: str = "GET") -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_health_and_readiness(serve: Any) -> None:
    url = serve().url
    assert get(f"{url}/health") == (200, b"alive\n")
    assert get(f"{url}/ready") == (200, b"ready\n")
    assert get(f"{url}/ready", "HEAD") == (200, b"")


def test_it_is_not_ready_while_nobody_may_connect_to_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "LOOKED", 0.0)
    monkeypatch.setattr(received, "WAIT", 0.1)
    url = servers.new_postgres()
    file = delivering.loaded(tmp_path, url)
    with (
        contextlib.closing(database.open_database(url)) as store,
        app.serving(file, feed.Arrivals()) as address,
    ):
        assert get(f"{address}/ready")[0] == 200
        with gone(store, url):
            assert get(f"{address}/ready") == (503, b"not ready\n")
            assert get(f"{address}/health")[0] == 200
        assert get(f"{address}/ready")[0] == 200


def test_it_is_not_ready_on_tables_of_another_version(
    serve: Any, store: database.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "LOOKED", 0.0)
    url = serve().url
    assert get(f"{url}/ready")[0] == 200
    store.execute("DELETE FROM migrations")
    assert get(f"{url}/ready")[0] == 503


def test_no_answer_waits_for_an_acknowledgement() -> None:
    with (
        app._bound("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as taken,
    ):
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_stranger_finds_nothing_else(serve: Any) -> None:
    url = serve().url
    for path in ("/", "/docs", "/redoc", "/openapi.json", "/webhooks", "/webhooks/stripe/"):
        assert get(url + path)[0] == 404, path
    assert get(f"{url}/webhooks/stripe/acme")[0] == 405


def test_others_add_routes(tmp_path: Path) -> None:
    more = fastapi.APIRouter()

    @more.get("/more")
    async def answer() -> dict[str, int]:
        return {"more": 1}

    file = delivering.loaded(tmp_path, f"sqlite:///{tmp_path}/t.db")
    with app.serving(file, feed.Arrivals(), more=[more]) as url:
        assert get(f"{url}/more") == (200, b'{"more":1}')


def test_an_address_that_is_taken_is_told(tmp_path: Path) -> None:
    file = delivering.loaded(tmp_path, f"sqlite:///{tmp_path}/t.db")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(errors.ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{port} .*--port"),
            app.serving(file, feed.Arrivals(), port=port),
        ):
            pytest.fail("it serves")


def test_a_server_that_ends_answers_nobody_any_more(tmp_path: Path) -> None:
    file = delivering.loaded(tmp_path, f"sqlite:///{tmp_path}/t.db")
    with app.serving(file, feed.Arrivals()) as url:
        parts = urllib.parse.urlsplit(url)
        assert get(f"{url}/health")[0] == 200
    with pytest.raises(ConnectionRefusedError), socket.create_connection((parts.hostname, parts.port or 0)):
        pytest.fail("somebody answers")


def test_an_idle_connection_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    file = delivering.loaded(tmp_path, f"sqlite:///{tmp_path}/t.db")
    with socket.socket() as idle:
        with app.serving(file, feed.Arrivals()) as url:
            parts = urllib.parse.urlsplit(url)
            idle.connect((parts.hostname, parts.port))
            idle.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert idle.recv(15) == b"HTTP/1.1 200 OK"
        while idle.recv(1000):
            pass


def fronted(tmp_path: Path, prepare: Callable[[fastapi.FastAPI], None]) -> tuple[config.Config, app.Front]:
    """A configuration, and a front of nothing that has something made."""
    file = delivering.loaded(tmp_path, f"sqlite:///{tmp_path}/tidegate.db")
    with contextlib.closing(database.open_database(file.database.get_secret_value())) as store:
        desk = desks.Desk(places.Place(file, store), "127.0.0.1", (), limits.Limits())
    return file, app.Front(desk, [], troubles.failed, prepare)


def test_what_is_made_once_is_made_beside_what_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "SOON", 0.0)
    made = queue.SimpleQueue[fastapi.FastAPI]()
    file, front = fronted(tmp_path, made.put)
    with app.serving(file, feed.Arrivals(), front=front) as url:
        assert made.get(timeout=60).state.desk == front.desk
        assert get(f"{url}/health") == (200, b"alive\n")


def test_a_server_that_stops_at_once_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "SOON", 3_600.0)
    made = threading.Event()
    file, front = fronted(tmp_path, lambda _: made.set())
    before = set(threading.enumerate())
    with app.serving(file, feed.Arrivals(), front=front):
        [waiting] = [each for each in threading.enumerate() if isinstance(each, threading.Timer)]
    waiting.join(60)
    assert not waiting.is_alive()
    assert set(threading.enumerate()) <= before
    assert not made.is_set()
