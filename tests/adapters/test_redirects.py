"""A server of somebody's that sends us on to another, which it could not reach itself: nobody follows."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tidegate import errors
from tidegate import warehouse as warehouses
from tidegate.adapters import bigquery_wire
from tidegate.warehouse import remote

STATUSES = (301, 302, 303, 307, 308)


@dataclass
class Pair:
    """A server that answers everything with a redirect, and the one to which it leads."""

    status: int = 307
    here: int = 0
    there: int = 0
    reached: list[str] = field(default_factory=list)
    """The paths that were asked for where it leads."""


@pytest.fixture
def pair() -> Iterator[Pair]:
    found = Pair()

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.server.server_port == found.there:
                found.reached.append(self.path)
                self.send_response(200)
            else:
                self.send_response(found.status)
                self.send_header("Location", f"http://127.0.0.1:{found.there}/latest/meta-data")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)) for _ in range(2)
        ]
        for each in servers:
            threading.Thread(target=each.serve_forever, args=[0.01], daemon=True).start()
            stack.callback(each.shutdown)
        found.here, found.there = (each.server_port for each in servers)
        yield found


def opened(url: str) -> remote.Remote:
    """A warehouse, of which nothing was asked yet."""
    found = warehouses.open_url(url)
    assert isinstance(found, remote.Remote)
    found.wait = 0.0
    return found


@pytest.mark.parametrize("status", STATUSES)
def test_clickhouse(pair: Pair, status: int) -> None:
    pair.status = status
    warehouse = opened(f"clickhouse://u:p@127.0.0.1:{pair.here}/x?secure=false")
    with pytest.raises(errors.ConfigError, match="is no ClickHouse over HTTP"), warehouse._explained():
        warehouse.connect()
    assert pair.reached == []


@pytest.mark.parametrize("status", STATUSES)
def test_bigquery(pair: Pair, status: int) -> None:
    pair.status = status
    warehouse = opened(f"bigquery://my-project?api_base=http://127.0.0.1:{pair.here}")
    with pytest.raises(errors.TidegateError), warehouse._explained():
        warehouse._rows("SELECT 1 AS one")
    assert pair.reached == []


def test_where_a_service_account_asks_for_its_token(pair: Pair) -> None:
    session = bigquery_wire.Session(bigquery_wire._identity(_target(pair)))
    with pytest.raises(Exception, match="redirect"):
        session._auth_request(f"http://127.0.0.1:{pair.here}/token", "POST")
    assert pair.reached == []


def _target(pair: Pair) -> bigquery_wire.Target:
    """An emulator, to which nobody signs in."""
    url = f"bigquery://my-project?api_base=http://127.0.0.1:{pair.here}"
    target = opened(url)._target  # type: ignore[attr-defined]
    assert isinstance(target, bigquery_wire.Target)
    return target
