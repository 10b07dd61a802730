"""How a request came, whether it may come so, and what browsers are told with every answer."""

from __future__ import annotations

import contextlib
import http.cookies
import socket
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import delivering
import fronts
import pytest
import signing
from signing import Client

from tidegate.engine import place as places
from tidegate.server import desk as desks
from tidegate.server import shield
from tidegate.store import database

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
PUBLIC = "server: {public_url: 'https://tidegate.example.com'}\n"
Served = tuple[str, desks.Desk]


@pytest.fixture
def served(place: places.Place) -> Iterator[Served]:
    with fronts.served(place) as found:
        yield found


@contextlib.contextmanager
def placed(tmp_path: Path, more: str) -> Iterator[places.Place]:
    """The place of a configuration that has these lines, too."""
    file = delivering.loaded(tmp_path, f"sqlite:///{tmp_path}/more.db", more=more)
    with contextlib.closing(database.open_database(file.database.get_secret_value())) as opened:
        yield places.Place(file, opened)


def test_every_answer_forbids_what_is_not_ours(served: Served) -> None:
    for path in ("/open", "/reads", "/nowhere", "/health", "/api/v1/x", "/breaks", "/triggers/x"):
        told = Client(served[0]).get(path).headers
        assert told["content-security-policy"] == POLICY, path
        assert told["x-content-type-options"] == "nosniff"
        assert told["referrer-policy"] == "same-origin"
        assert told["cross-origin-opener-policy"] == "same-origin"
        assert told["x-frame-options"] == "DENY"
        assert "camera=()" in told["permissions-policy"]
        assert told["cache-control"] == "no-store", path
        assert "strict-transport-security" not in told


def test_a_name_that_was_turned_to_this_machine_is_refused(served: Served) -> None:
    browser = Client(served[0])
    for host in ("127.0.0.1:8484", "localhost:8484", "LOCALHOST", "[::1]:8484"):
        assert browser.get("/open", Host=host).status == 200, host
    for host in (
        "evil.example",
        "evil.example:8484",
        "localhost.evil.example",
        "192.168.1.5:8484",
        "127.0.0.1@evil.example",
        "[::1",
    ):
        assert browser.get("/open", Host=host).status == 421, host


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1/evil.example",
        "127.0.0.1#evil.example",
        "127.0.0.1?evil.example",
        "evil.example@127.0.0.1",
        "127.0.0.1:80@evil.example",
        "127.0.0.1:evil",
        "127.0.0.1\\evil.example",
        "127.0.0.1, evil.example",
        "[::1]evil.example",
    ],
)
def test_a_name_with_something_around_it_is_none(served: Served, host: str) -> None:
    """It would stand in addresses that are made of it, such as the one that a sign-in provider sends back to."""
    assert Client(served[0]).get("/open", Host=host).status == 421


def test_two_names_are_none(served: Served) -> None:
    """RFC 9112, 3.2: a proxy in front may have looked at the other one."""
    parts = urllib.parse.urlsplit(served[0])
    for hosts in (("127.0.0.1", "evil.example"), ("evil.example", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")):
        head = "".join(f"Host: {each}\r\n" for each in hosts)
        with socket.create_connection((parts.hostname, parts.port), 10) as line:
            line.sendall(f"GET /open HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode())
            assert line.recv(100).startswith(b"HTTP/1.1 421 "), hosts


def test_cookies_that_take_long_to_read_are_not_read(
    place: places.Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, unquote = list[str](), http.cookies._unquote  # type: ignore[attr-defined]

    def noting(text: str) -> str:
        read.append(text)
        found: str = unquote(text)
        return found

    monkeypatch.setattr(http.cookies, "_unquote", noting)
    with fronts.served(place) as (url, desk):
        browser = signing.session(desk, url, "viewer")
        ours = "; ".join(f"{name}={value}" for name, value in browser.jar.items())
        endless = 'a="' + "\\\\" * 1000 + '"'
        assert browser.get("/reads", Cookie=f"{endless}; {ours}; b=c").status == 200
    assert {"c", *browser.jar.values()} <= set(read)
    assert not [each for each in read if "\\" in each]


def test_a_request_without_a_name_is_refused(served: Served) -> None:
    parts = urllib.parse.urlsplit(served[0])
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as line:
        line.sendall(b"GET /open HTTP/1.0\r\n\r\n")
        assert line.recv(4096).split()[1] in (b"421", b"400")


def test_other_machines_use_an_address_in_digits_or_the_public_name(tmp_path: Path) -> None:
    with placed(tmp_path, PUBLIC) as place, fronts.served(place, host="0.0.0.0") as (url, _):
        browser = Client(url)
        for host in ("192.168.1.5:8484", "[fd00::7]:8484", "tidegate.example.com", "localhost"):
            assert browser.get("/open", Host=host).status == 200, host
        assert browser.get("/open", Host="evil.example").status == 421
    with placed(tmp_path, PUBLIC) as place, fronts.served(place, host="box.lan") as (url, _):
        assert Client(url).get("/open", Host="box.lan:8484").status == 200


def test_programs_come_under_whatever_name_they_know(served: Served) -> None:
    url, desk = served
    assert signing.program(desk, url).get("/reads", Host="tidegate:8484").status == 200
    for path in ("/health", "/ready"):
        assert Client(url).get(path, Host="10.1.2.3:8484").status == 200
    assert Client(url).post("/triggers/everything", Host="tidegate").status == 401
    assert Client(url).post("/webhooks/stripe/acme", Host="tidegate").status == 400


def test_a_header_does_not_open_what_is_public_to_a_name_that_was_turned_to_this_machine(
    served: Served,
) -> None:
    """A page of that name may send any Authorization to us; the sign-in is not to be guessed at from there."""
    page = Client(served[0], headers={"Host": "evil.example:8484"})
    for header in ("x", "Bearer x", "Bearer tg_" + "x" * 43):
        assert page.get("/open", Authorization=header).status == 421
        assert page.post("/open", Authorization=header).status == 421
        assert page.get("/open", Authorization=header, Host="localhost:8484").status == 200


def test_a_page_of_another_site_changes_nothing(served: Served) -> None:
    url, desk = served
    admin = signing.session(desk, url)
    of_ours: list[dict[str, str]] = [{}, {"Origin": "", "Sec_Fetch_Site": "same-origin"}]
    of_others = [
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Origin": ""},
    ]
    for headers in (*of_ours, *of_others):
        status = 200 if headers in of_ours else 403
        assert admin.post("/runs", **headers).status == status, headers
        assert Client(url).post("/open", **headers).status == status, headers
        assert admin.get("/reads", **headers).status == 200, headers


def test_a_program_has_no_site(served: Served) -> None:
    url, desk = served
    program = signing.program(desk, url, "run")
    assert program.post("/runs", Origin="https://app.example").status == 200


def test_no_proxy_is_believed_unless_it_is_named(served: Served) -> None:
    told = Client(served[0]).get("/open", X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="https").json
    assert told == {"scheme": "http", "client": "127.0.0.1"}


def test_a_proxy_that_is_named_tells_where_a_request_came_from(place: places.Place) -> None:
    with fronts.served(place, proxies=("127.0.0.0/8", "10.0.0.0/8")) as (url, desk):
        browser = Client(url)
        forwarded = {"X_Forwarded_Proto": "https", "X_Forwarded_For": "6.6.6.6, 203.0.113.9, 10.0.0.3"}
        answer = browser.get("/open", **forwarded)
        assert answer.json == {"scheme": "https", "client": "203.0.113.9"}
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert browser.get("/open", X_Forwarded_For="10.0.0.9, 10.0.0.3").json["client"] == "10.0.0.9"
        assert browser.get("/open", X_Forwarded_For="nonsense").json["client"] == "127.0.0.1"
        assert browser.get("/open", X_Forwarded_Proto="gopher").json["scheme"] == "http"
        admin = signing.session(desk, url)
        secret = admin.jar.pop("tidegate")
        admin.jar["__Host-tidegate"] = secret
        assert admin.get("/reads", **forwarded).status == 200
        assert admin.get("/reads").status == 303  # over plain HTTP this cookie counts for nothing
        own = "https://" + urllib.parse.urlsplit(url).netloc
        assert admin.post("/runs", Origin=own, **forwarded).status == 200


def test_the_public_address_is_https_with_or_without_word_of_the_proxy(tmp_path: Path) -> None:
    with placed(tmp_path, PUBLIC) as place, fronts.served(place) as (url, _):
        browser = Client(url)
        answer = browser.get("/open", Host="tidegate.example.com")
        assert answer.json["scheme"] == "https"
        assert "strict-transport-security" in answer.headers
        assert browser.get("/open").json["scheme"] == "http"
        posted = browser.post("/open", Host="tidegate.example.com", Origin="https://tidegate.example.com")
        assert posted.status == 200
        assert browser.post("/open", Origin="https://tidegate.example.com").status == 200
        assert browser.post("/open", Origin="http://tidegate.example.com").status == 403


def test_a_body_that_is_too_large_is_not_read(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shield, "LARGEST", 1000)
    url, desk = served
    admin = signing.session(desk, url)
    assert admin.post("/form", {"text": "x" * 100}).status == 200
    assert admin.post("/form", {"text": "x" * 2000}).status == 413
    parts = urllib.parse.urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as line:
        head = f"POST /form HTTP/1.1\r\nHost: {parts.netloc}\r\nOrigin: {url}\r\nConnection: close\r\n"
        cookies = f"Cookie: tidegate={admin.jar['tidegate']}\r\n"
        form = "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n"
        line.sendall(
            (head + cookies + form).encode() + (b"3e8\r\n" + b"x" * 1000 + b"\r\n") * 3 + b"0\r\n\r\n"
        )
        assert line.recv(4096).split()[1] in (b"400", b"413")


@pytest.mark.parametrize("path", ["/form", "/open", "/api/v1/x"])
def test_a_stranger_sends_little(served: Served, path: str) -> None:
    """Or else a few hundred of them, who never come to an end, fill the memory."""
    url, desk = served
    much, one = {"text": "x" * shield.STRANGE}, {"text": "x"}
    unknown = Client(url, jar={"tidegate": "A" * 43})
    assert unknown.post(path, much).status in (303, 401)  # to the sign-in, where it is a page
    assert unknown.post(path, much, Authorization="Bearer tg_" + "A" * 43).status == 401
    member = signing.session(desk, url)
    assert member.post(path, much).status == member.post(path, one).status


def test_a_stranger_sends_as_little_without_saying_how_much(served: Served) -> None:
    url, desk = served
    parts, piece = urllib.parse.urlsplit(url), b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
    pieces = shield.STRANGE // 0x1000 + 1
    for secret, status in (("A" * 43, b"400"), (signing.session(desk, url).jar["tidegate"], b"403")):
        head = (
            f"POST /form HTTP/1.1\r\nHost: {parts.netloc}\r\nOrigin: {url}\r\nCookie: tidegate={secret}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n"
            "Connection: close\r\n\r\n"
        )
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as line:
            line.sendall(head.encode() + piece * pieces)
            if status == b"403":  # nothing is wrong but the missing CSRF token, of which is told at the end
                line.sendall(b"0\r\n\r\n")
            assert line.recv(4096).split()[1] == status


@pytest.mark.parametrize(
    ("client", "host", "headers", "local"),
    [
        ("127.0.0.1", "localhost:8484", {}, True),
        ("::1", "[::1]:8484", {}, True),
        ("::ffff:127.0.0.1", "127.0.0.1:8484", {}, True),
        ("192.168.1.9", "127.0.0.1:8484", {}, False),
        ("127.0.0.1", "tidegate.example.com", {}, False),
        ("127.0.0.1", "localhost:8484", {"x-forwarded-for": "203.0.113.9"}, False),
        ("127.0.0.1", "localhost:8484", {"forwarded": "for=203.0.113.9"}, False),
        ("127.0.0.1", "localhost:8484", {"via": "1.1 nginx"}, False),
    ],
)
def test_who_sits_at_this_machine(
    place: places.Place, client: str, host: str, headers: dict[str, str], local: bool
) -> None:
    sent = [(name.encode(), value.encode()) for name, value in {"host": host, **headers}.items()]
    scope = {"type": "http", "headers": sent, "client": (client, 1), "scheme": "http", "path": "/"}
    assert shield.is_local(shield.came(scope, desks.Desk(place))) is local
    old = {
        **scope,
        "http_version": "1.0",
    }  # as nginx asks, which says nothing of whom for where it is not told to
    assert not shield.is_local(shield.came(old, desks.Desk(place)))
