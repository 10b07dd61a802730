"""Who asks, what each may do, and that a session shows its CSRF token."""

from __future__ import annotations

import contextlib
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import delivering
import fronts
import pytest
import servers
import signing
from delivering import gone
from hypothesis import given
from hypothesis import strategies as st
from signing import Client

from tidegate.engine import place as places
from tidegate.server import asking, limits
from tidegate.server import desk as desks
from tidegate.store import database, people, sessions, tokens

CHANGES = {"/runs": "operator", "/edits": "editor", "/rules": "admin"}
Served = tuple[str, desks.Desk]


@pytest.fixture
def served(place: places.Place) -> Iterator[Served]:
    with fronts.served(place) as found:
        yield found


@pytest.mark.parametrize("role", people.ROLES)
def test_each_role_may_do_what_those_before_it_may(served: Served, role: people.Role) -> None:
    url, desk = served
    member = signing.session(desk, url, role)
    assert member.get("/reads").json == {"name": f"{role}@example.com", "role": role, "via": "session"}
    for path, needed in CHANGES.items():
        may = people.ROLES.index(role) >= people.ROLES.index(needed)  # type: ignore[arg-type]
        answer = member.post(path)
        assert answer.status == (200 if may else 403), path
        assert may or f"This needs the role {needed}; yours is {role}." in answer.text


@pytest.mark.parametrize("scope", tokens.SCOPES)
def test_tokens_have_the_same_steps(served: Served, scope: tokens.Scope) -> None:
    url, desk = served
    program = signing.program(desk, url, scope)
    assert program.get("/reads").json["via"] == "token"
    for path, needed in zip(CHANGES, tokens.SCOPES[1:], strict=True):
        may = tokens.SCOPES.index(scope) >= tokens.SCOPES.index(needed)
        answer = program.post(path)
        assert answer.status == (200 if may else 403)
        assert may or f'scope="{needed}"' in answer.headers["www-authenticate"]


def test_a_route_that_forgets_to_ask_is_guarded_all_the_same(served: Served) -> None:
    url, desk = served
    assert Client(url).get("/forgets").status == 303
    viewer, operator = signing.session(desk, url, "viewer"), signing.session(desk, url, "operator")
    assert viewer.get("/forgets").json == "done"
    assert viewer.post("/forgets").status == 403
    assert operator.post("/forgets").json == "done"
    assert viewer.post("/own").json == "done"
    assert signing.program(desk, url, "admin").post("/own").status == 403
    assert Client(url).get("/open").status == 200


def test_a_token_for_single_flows_is_for_nothing_else(served: Served) -> None:
    url, desk = served
    program = signing.program(desk, url, "admin", ["pull:everything"])
    assert program.get("/reads").status == 403
    assert program.post("/runs").status == 403
    assert program.get("/forgets").status == program.post("/forgets").status == 403
    assert program.get("/api/v1/flow/pull:everything").json is True
    assert program.get("/api/v1/flow/pull:other").json is False


def test_who_is_not_signed_in_goes_to_the_sign_in_page_and_back(served: Served) -> None:
    nobody = Client(served[0])
    answer = nobody.get("/reads?a=1&b=2")
    assert (answer.status, answer.headers["location"]) == (303, "/sign-in?next=%2Freads%3Fa%3D1%26b%3D2")
    assert nobody.post("/runs").headers["location"] == "/sign-in"
    part = nobody.get("/reads", HX_Request="true", HX_Current_URL=f"{served[0]}/reads?page=2")
    assert (part.status, part.headers["hx-redirect"]) == (401, "/sign-in?next=%2Freads%3Fpage%3D2")
    lost = nobody.get("/reads", HX_Request="true", HX_Current_URL="http://[")
    assert (lost.status, lost.headers["hx-redirect"]) == (401, "/sign-in")
    assert nobody.get("/reads", Accept="text/event-stream").status == 401


def test_a_program_is_told_why(served: Served) -> None:
    answer = Client(served[0]).get("/api/v1/flow/x")
    assert (answer.status, answer.headers["content-type"]) == (401, "application/problem+json")
    assert answer.headers["www-authenticate"] == 'Bearer realm="tidegate"'
    for header in ("Bearer tg_" + "x" * 43, "Bearer", "Basic eA==", "tg_x"):
        wrong = Client(served[0], headers={"Authorization": header}).get("/api/v1/flow/x")
        assert wrong.status == 401
        assert "not valid" in wrong.json["detail"]


def test_a_token_counts_alone_where_there_are_cookies_too(served: Served) -> None:
    url, desk = served
    both = signing.session(desk, url, "admin")
    both.headers = signing.program(desk, url, "read").headers
    assert both.post("/runs").status == 403
    both.headers = {"Authorization": "Bearer nothing"}
    assert both.get("/reads").status == 401


@pytest.mark.parametrize("shown", ["", "0" * 64, "é"])
def test_a_forged_or_missing_csrf_token_changes_nothing(served: Served, shown: str) -> None:
    url, desk = served
    admin = signing.session(desk, url)
    admin.csrf = ""
    answer = admin.post("/form", {"text": "hello", "_csrf": shown})
    assert answer.status == 403
    assert "load the page again" in answer.text
    assert admin.post("/form", {"text": "hello"}, X_CSRF_Token="0" * 64).status == 403
    other = signing.session(desk, url, "editor")
    assert admin.post("/form", {"text": "hello", "_csrf": other.csrf}).status == 403


def test_the_csrf_token_comes_in_the_form_or_in_a_header(served: Served) -> None:
    url, desk = served
    admin = signing.session(desk, url)
    token, admin.csrf = admin.csrf, ""
    assert admin.post("/form", {"text": "hello", "_csrf": token}).json == "admin: hello"
    assert admin.post("/form", {"text": "hello"}, X_CSRF_Token=token).json == "admin: hello"
    parts = f'--b\r\nContent-Disposition: form-data; name="_csrf"\r\n\r\n{token}\r\n--b\r\n'
    body = (parts + 'Content-Disposition: form-data; name="text"\r\n\r\nhello\r\n--b--\r\n').encode()
    answer = admin.ask("POST", "/form", body=body, Content_Type="multipart/form-data; boundary=b")
    assert answer.json == "admin: hello"


def test_the_csrf_token_tells_nothing_of_the_session() -> None:
    secret = sessions.new()
    assert secret not in asking.csrf(secret)
    assert asking.csrf(secret) not in (sessions.digest(secret), asking.csrf(sessions.digest(secret)))


def test_a_session_that_is_over_is_none(served: Served) -> None:
    url, desk = served
    member = signing.session(desk, url, "viewer")
    assert member.get("/reads").status == 200
    desk.place.store.execute("UPDATE members SET disabled = 1")
    assert member.get("/reads").status == 303


def test_whoever_asks_too_often_waits(place: places.Place) -> None:
    now = [0.0]
    limit = limits.Limits(limits.Rate(3, 1), limits.Rate(1, 0.1), clock=lambda: now[0])
    with fronts.served(place, limit=limit) as (url, desk):
        one, two = signing.session(desk, url, "operator"), signing.program(desk, url, "read")
        assert [one.get("/reads").status for _ in range(4)] == [200, 200, 200, 429]
        assert one.get("/reads").headers["retry-after"] == "2"
        assert two.get("/reads").status == 200
        assert one.post("/runs").status == 200
        assert one.post("/runs").status == 429
        now[0] = 10.0
        assert one.get("/reads").status == 200
        assert one.post("/runs").status == 200


def test_wrong_tokens_are_slowed_down_and_right_ones_are_not(served: Served) -> None:
    url, desk = served
    right = signing.program(desk, url)
    assert right.get("/reads").status == 200
    wrong = Client(url, headers={"Authorization": "Bearer tg_" + "w" * 43})
    statuses = [wrong.get("/reads").status for _ in range(12)]
    assert statuses[:10] == [401] * 10
    assert statuses[-1] == 429
    assert right.get("/reads").status == 200


def test_an_error_tells_nobody_what_it_was_about(served: Served, caplog: Any) -> None:
    answer = Client(served[0]).get("/breaks")
    assert answer.status == 500
    assert "4242" not in answer.text + caplog.text
    assert answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("/runs?page=2", "/runs?page=2"),
        ("", "/"),
        (None, "/"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("/\n/evil.example", "/"),
        ("/sign-in?next=/runs", "/"),
        ("javascript:alert(1)", "/"),
        ("/runs/a\\b", "/"),
    ],
)
def test_after_signing_in_one_stays_on_this_site(asked: str | None, shown: str) -> None:
    assert asking.onward(asked) == shown


@given(st.text(max_size=20) | st.text("/\\:.@?#a\t\n ", max_size=12))
def test_no_address_leads_to_another_site(asked: str) -> None:
    found = asking.onward(asked)
    assert re.fullmatch(r"/(?![/\\])[^\s\\]*", found)
    assert (
        urllib.parse.urlsplit(urllib.parse.urljoin("https://here.example/x/", found)).netloc == "here.example"
    )


def test_while_the_metadata_database_is_away_a_page_says_so(tmp_path: Path) -> None:
    url = servers.new_postgres()
    with (
        contextlib.closing(database.open_database(url)) as store,
        contextlib.closing(database.open_database(url, wait=0.1)) as own,
        fronts.served(places.Place(delivering.loaded(tmp_path, url), own)) as (address, desk),
    ):
        member = signing.session(desk, address, "viewer")
        with gone(store, url):
            for path in ("/reads", "/api/v1/flow/x"):
                answer = member.get(path)
                assert answer.status == 503
                assert "cannot be reached now" in answer.text
                assert "postgres" not in answer.text.lower()
                assert answer.headers["retry-after"]
        assert member.get("/reads").status == 200
