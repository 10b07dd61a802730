"""Every route there is, found by itself: nobody asks without a sign-in, and a viewer changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from fastapi import routing
from signing import Client, Signed

from tidegate.cli import serving
from tidegate.engine import feed
from tidegate.engine import place as places
from tidegate.server import app, asking
from tidegate.server import desk as desks
from tidegate.store import database

PUBLIC = {
    "GET /health",
    "GET /ready",
    "GET /metrics",
    "GET /static/{name}",
    "GET /sign-in",
    "POST /sign-in",
    "GET /sign-in/oidc",
    "GET /sign-in/oidc/back",
    "GET /enter/{link}",
    "POST /enter",
}
"""What anybody may ask. Whoever adds to this shows what nobody else is to see."""
SIGNED = {"POST /webhooks/stripe/{connection}"}
"""What is proven by a signature instead."""
OWN = {
    "POST /sign-out",
    "POST /account/password",
    "POST /account/sessions/end",
    "POST /account/sessions/end-all",
}
"""What every member changes, since it is the member's own."""
FORWARD = ("/triggers/",)
"""What takes tokens alone."""


@dataclass(frozen=True)
class Route:
    """A method and the path it is for."""

    method: str
    path: str

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def address(self) -> str:
        """An address of it."""
        return re.sub(r"\{\w+(:\w+)?\}", "x1", self.path)


def routes(place: places.Place) -> Iterator[Route]:
    """All there are, HEAD and the catch-all of the API aside."""
    front = serving.front(desks.Desk(place))
    application = app.make(place.file, place.store, feed.Arrivals(), [], front)
    for each in routing.iter_route_contexts(application.routes):
        for method in sorted((each.methods or set()) - {"HEAD"}):
            yield Route(method, each.path or "")
    yield Route("POST", "/triggers/{flow}")
    yield Route("GET", "/metrics")


@pytest.fixture
def every(place: places.Place) -> list[Route]:
    found = list(dict.fromkeys(routes(place)))
    assert len(found) > 25
    return found


@pytest.fixture(autouse=True)
def somebody(place: places.Place, signed: Signed) -> Client:
    """There is an admin, so that nothing is open for the first one."""
    return signed(place, "admin")


def test_head_is_answered_like_get_without_the_body(every: list[Route], somebody: Client) -> None:
    once = ("GET /sign-in/oidc", "GET /sign-in/oidc/back")
    for each in every:
        if each.method == "GET" and each.name not in once and not each.path.startswith(FORWARD):
            answer = somebody.ask("HEAD", each.address)
            assert answer.status == somebody.get(each.address).status, each.name
            assert answer.body == b"", each.name


def test_what_is_public_is_known_here(every: list[Route]) -> None:
    names = {each.name for each in every}
    assert names >= PUBLIC | SIGNED | OWN


def test_without_a_sign_in_nothing_answers_but_what_is_public(
    place: places.Place, every: list[Route], stranger: Signed
) -> None:
    nobody = stranger(place)
    for each in every:
        if each.name in PUBLIC | SIGNED:
            continue
        answer = nobody.ask(each.method, each.address)
        if answer.status == 303:
            assert answer.headers["location"].startswith("/sign-in"), each.name
        else:
            assert answer.status == 401, each.name
            assert answer.headers["content-type"] == "application/problem+json", each.name


def test_a_wrong_session_and_a_wrong_token_are_none(
    place: places.Place, every: list[Route], stranger: Signed
) -> None:
    forged = stranger(place)
    forged.jar[asking.cookie(False)] = "A" * 43
    forged.csrf = asking.csrf("A" * 43)
    for each in every:
        if each.name not in PUBLIC | SIGNED:
            assert forged.ask(each.method, each.address).status in (303, 401), each.name


def test_a_viewer_and_a_token_that_reads_get_403_on_whatever_changes_something(
    place: places.Place, every: list[Route], signed: Signed, tokened: Signed
) -> None:
    viewer, reader = signed(place, "viewer"), tokened(place, "read")
    before = kept(place.store)
    for each in every:
        if each.method in asking.SAFE or each.name in PUBLIC | SIGNED:
            continue
        assert reader.ask(each.method, each.address).status == 403, each.name
        if each.name not in OWN:
            refused = 401 if each.path.startswith(FORWARD) else 403
            assert viewer.ask(each.method, each.address).status == refused, each.name
    assert kept(place.store) == before


def test_no_route_that_reads_changes_anything(
    place: places.Place, every: list[Route], somebody: Client
) -> None:
    before = kept(place.store)
    for each in every:
        if each.method == "GET" and each.name not in ("GET /sign-in/oidc", "GET /sign-in/oidc/back"):
            answer = somebody.get(each.address)
            assert answer.status < 500, (each.name, answer.text)
    assert kept(place.store) == before


def test_a_session_without_its_csrf_token_changes_nothing(
    place: places.Place, every: list[Route], somebody: Client
) -> None:
    before = kept(place.store)
    for each in every:
        if each.method in asking.SAFE or each.name in SIGNED or each.path.startswith(FORWARD):
            continue
        for token in ("", "0" * 64):
            answer = somebody.ask(each.method, each.address, X_CSRF_Token=token)
            assert answer.status == 403, each.name
        assert somebody.ask(each.method, each.address, Origin="https://evil.example").status == 403, each.name
    assert kept(place.store) == before


def kept(store: database.Database) -> dict[str, list[object]]:
    """All that stands in the metadata database, but for who was here when."""
    names = [row["name"] for row in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    own = ("member_sessions", "tokens", "sign_in_attempts", "sqlite_sequence")
    return {name: store.tuples(f"SELECT * FROM {name}") for name in names if name not in own}
