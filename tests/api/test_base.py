"""What all routes share: errors as problem details, bounded bodies, cursors, what no database takes, HEAD."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import socket
import urllib.parse
from collections.abc import Iterator
from typing import Annotated, Any

import fastapi
import pydantic
import pytest
import signing
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette import requests

from tidegate import errors, views
from tidegate.api import base, faults
from tidegate.engine import place as places
from tidegate.engine import revisions
from tidegate.server import app, asking, problems
from tidegate.server import desk as desks
from tidegate.store import tokens
from tidegate.web import troubles


class Thing(base.Model):
    """What is told of it."""

    name: str
    size: int = 1
    parts: tuple[Thing, ...] = ()


RAISED: dict[str, Exception] = {
    "own": base.problem(418, "It is a teapot."),
    "unknown": views.Unknown("There is no such run."),
    "refused": views.Refused("It has ended."),
    "conflict": errors.StoreConflict("It has a run already."),
    "config": errors.ConfigError("`to` is missing."),
    "away": errors.StoreUnreachable("postgres at db.internal cannot be reached."),
    "slow": TimeoutError(),
    "limited": errors.RateLimited("Stripe asks to wait."),
    "stripe": errors.Unauthorized("The key is revoked (req_1)."),
    "busy": errors.WarehouseBusy("Somebody holds it."),
    "warehouse": errors.WarehouseFull("The disk is full."),
    "bug": ValueError("sk_live_geheim1234 of ada@example.com"),
}


def router(_: desks.Desk) -> fastapi.APIRouter:
    made = base.router("things")

    @made.get("/raised/{name}")
    def raised(name: str, asker: asking.Reader) -> Thing:
        del asker
        raise RAISED[name]

    @made.get("/things")
    def listed(
        asker: asking.Reader,
        paging: base.Paging,
        word: str = "",
        only: Annotated[list[int], fastapi.Query()] = [],  # noqa: B006, it is read only
    ) -> base.Page[Thing]:
        del asker
        after = paging.place(int, str) or (0, "")
        size = int(after[0]) + 1
        more = base.cursor(size, "x") if size < 3 else None
        return base.Page(items=[Thing(name=word or f"{paging.limit} {only}", size=size)], next=more)

    @made.put("/things/{name}")
    def put(
        name: str,
        asker: asking.Editor,
        thing: Thing,
        version: base.IfMatch,
        response: fastapi.Response,
    ) -> Thing:
        del asker
        if version not in (None, "*", 3):
            raise base.problem(412, f"{name} is at version 3.")
        response.headers["ETag"] = base.etag(4)
        return thing

    @made.post("/large", max_body_size=5_000)
    def large(body: Annotated[Any, fastapi.Body()], asker: asking.Operator) -> None:
        del body, asker

    return made


@pytest.fixture
def served(place: places.Place) -> Iterator[tuple[str, desks.Desk]]:
    desk = desks.Desk(place, limits=signing.UNHURRIED)
    front = app.Front(desk, [router(desk)], troubles.failed)
    with app.serving(place.file, place.arrivals, front=front) as url:
        yield url, desk


@pytest.fixture
def program(served: tuple[str, desks.Desk]) -> signing.Client:
    url, desk = served
    return signing.program(desk, url, "admin")


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "status", "said"),
        [
            ("own", 418, "It is a teapot."),
            ("unknown", 404, "There is no such run."),
            ("refused", 409, "It has ended."),
            ("conflict", 409, "It has a run already."),
            ("config", 422, "`to` is missing."),
            ("away", 503, "The metadata database cannot be reached now; try again."),
            ("slow", 503, "The metadata database cannot be reached now; try again."),
            ("limited", 503, "Stripe asks to wait."),
            ("stripe", 502, "The key is revoked (req_1)."),
            ("busy", 503, "Somebody holds it."),
            ("warehouse", 502, "The disk is full."),
            ("bug", 500, "Something went wrong here, and the log says where; nothing may have been done."),
        ],
    )
    def test_whatever_is_raised_is_a_problem(
        self, program: signing.Client, name: str, status: int, said: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = program.get(f"/api/v1/raised/{name}")
        assert answer.status == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json["detail"] == said
        assert answer.json["status"] == status
        assert ("retry-after" in answer.headers) == (status == 503)
        assert "geheim" not in caplog.text + answer.text
        assert "ada@" not in caplog.text

    def test_what_went_wrong_inside_is_found_by_the_log(
        self, program: signing.Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        program.get("/api/v1/raised/bug")
        assert any(each.startswith("ValueError at ") for each in caplog.messages)

    def test_what_ends_a_process_is_no_answer(self) -> None:
        with pytest.raises(KeyboardInterrupt):
            faults.answer(KeyboardInterrupt())

    def test_a_problem_of_the_server_stays_as_it_is(self) -> None:
        problem = problems.Problem(409, "It is so.", {"X-Why": "y"})
        assert faults.made(problem) is problem

    def test_what_an_editor_finds_is_told_by_its_places(self) -> None:
        wrong = errors.ConfigError(
            "It is not valid.", [revisions.Problem(("streams", "charges"), "is no stream")]
        )
        told = json.loads(bytes(faults.answer(wrong).body))
        assert told["errors"] == [{"path": "streams.charges", "message": "is no stream"}]


class TestQueries:
    @pytest.mark.parametrize(
        ("query", "path", "message"),
        [
            ("wrod=x", "query", "has no parameter wrod; there are after, limit, only, word"),
            ("sk_live_12345=x", "query", "has no parameter of this name; there are after, limit, only, word"),
            ("limit=0", "query.limit", "should be greater than or equal to 1"),
            ("limit=501", "query.limit", "should be less than or equal to 500"),
            ("limit=x", "query.limit", "should be a valid integer, unable to parse string as an integer"),
            ("limit=1&limit=2", "query.limit", "is given twice"),
            ("word=%00", "query.word", "is not text"),
            ("word=%ff", "query.word", "is not text"),
            ("after=x", "query.after", "is not a place in this list"),
        ],
    )
    def test_what_is_not_there_or_makes_no_sense_is_refused(
        self, program: signing.Client, query: str, path: str, message: str
    ) -> None:
        answer = program.get(f"/api/v1/things?{query}")
        assert answer.status == 422
        assert answer.json["errors"] == [{"path": path, "message": message}]

    def test_of_a_list_there_may_be_several(self, program: signing.Client) -> None:
        assert program.get("/api/v1/things?only=1&only=2").json["items"][0]["name"] == "50 [1, 2]"

    def test_who_may_not_ask_is_not_told_what_there_is(self, served: tuple[str, desks.Desk]) -> None:
        answers = [
            signing.Client(served[0]).ask(method, path, body=b"{")
            for method, path in (("GET", "/api/v1/things?x=1"), ("PUT", "/api/v1/things/%00"))
        ]
        assert {answer.status for answer in answers} == {401}
        assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}

    def test_a_name_that_no_database_takes_is_of_nothing(self, program: signing.Client) -> None:
        for name in ("%00", "%ff"):
            assert program.get(f"/api/v1/raised/{name}").status == 404


class TestPages:
    def test_next_is_after_of_the_following(self, program: signing.Client) -> None:
        sizes, url = [], "/api/v1/things?word=a"
        while url:
            page = program.get(url).json
            sizes += [each["size"] for each in page["items"]]
            url = page["next"] and f"/api/v1/things?word=a&after={page['next']}"
        assert sizes == [1, 2, 3]

    @given(
        st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.text(), st.integers(-(2**60), 2**60))
    )
    def test_a_place_comes_back_exactly(self, place: tuple[float, str, int]) -> None:
        assert base.Asked(1, base.cursor(*place)).place(float, str, int) == place

    @given(st.text(max_size=60))
    def test_no_text_is_more_than_a_problem(self, text: str) -> None:
        with contextlib.suppress(faults.Problem):
            base.Asked(1, text).place(float, str)

    def test_a_place_of_another_list_is_none_of_this(self) -> None:
        for other in (base.cursor("x"), base.cursor(1.5, 2), base.cursor(1.5, "x", "y"), base.cursor()):
            with pytest.raises(faults.Problem, match="after is not a place in this list"):
                base.Asked(1, other).place(float, str)


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "path", "message"),
        [
            (b"", "body", "is missing"),
            (b"{", "body", "is not JSON"),
            (b'{"name": "\xff"}', "body", "is not JSON"),
            (b'{"name": "\\ud800"}', "body", "is not JSON"),
            (b'{"name": NaN}', "body", "is not JSON"),
            (b'{"name": "a\\u0000b"}', "body", "has a text with the character U+0000"),
            (b"[" * 100_000, "body", "is nested too deeply"),
            (b'{"name": 1}', "name", "should be a valid string"),
            (b'{"size": 1}', "name", "is missing"),
            (b"[]", "body", "should be an object"),
            (b'{"name": "a", "size": 1, "name": "b"}', "body", "has a field name twice"),
            (b'{"name": "a", "parts": [{"sk_live_1": 1, "sk_live_1": 2}]}', "body", "has a field twice"),
            (b'{"name": "a", "colour": 1}', "colour", "is no field that is known here"),
            (b'{"name": "a", "sk_live_1": 1}', "", "has a field that is not known here"),
            (
                b'{"name": "a", "parts": [{"name": "b"}, {"name": 2}]}',
                "parts[1].name",
                "should be a valid string",
            ),
        ],
    )
    def test_what_is_wrong_is_said_with_its_place(
        self, program: signing.Client, body: bytes, path: str, message: str
    ) -> None:
        answer = program.ask("PUT", "/api/v1/things/x", body=body)
        assert answer.status == 422
        assert answer.json["errors"] == [{"path": path, "message": message}]

    def test_a_text_may_speak_of_what_it_does_not_have(self, program: signing.Client) -> None:
        answer = program.ask("PUT", "/api/v1/things/x", body=rb'{"name": "\\u0000"}')
        assert answer.json["name"] == r"\u0000"

    def test_versions_are_compared_where_they_are_given(self, program: signing.Client) -> None:
        def put(**headers: str) -> signing.Answer:
            return program.ask("PUT", "/api/v1/things/x", json={"name": "a"}, **headers)

        fine = put(If_Match='"3"')
        assert (fine.status, fine.headers["etag"]) == (200, '"4"')
        assert put(If_Match="*").status == 200
        assert put().status == 200
        assert put(If_Match='"2"').status == 412
        assert put(If_Match="3").json["errors"] == [
            {"path": "header.if-match", "message": 'is an ETag such as "3", or *'}
        ]
        assert put(If_Match='W/"3"').status == 200, "a proxy that compresses answers makes it a weak one"
        assert put(If_Match='W/"2"').status == 412

    def test_a_large_one_is_refused_before_it_is_sent(
        self, served: tuple[str, desks.Desk], place: places.Place
    ) -> None:
        token = tokens.create(place.store, "large", "admin")
        parts = urllib.parse.urlsplit(served[0])
        for largest, path in ((base.LARGEST, "PUT /api/v1/things/x"), (5_000, "POST /api/v1/large")):
            head = f"{path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
            with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as line:
                line.sendall(f"{head}Content-Length: {largest + 1}\r\n\r\n".encode())
                assert line.recv(100).startswith(b"HTTP/1.1 413")
            with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as line:
                line.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    for _ in range(largest // 2**14 + 1):
                        line.sendall(b"4000\r\n%b\r\n" % (b" " * 2**14))
                    assert line.recv(100).startswith(b"HTTP/1.1 413")

    def test_nobody_may_take_for_ever_to_send_one(
        self, served: tuple[str, desks.Desk], place: places.Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(base, "READ", 0.1)
        token, parts = tokens.create(place.store, "slow", "admin"), urllib.parse.urlsplit(served[0])
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as slow:
            slow.sendall(
                f"PUT /api/v1/things/x HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
                "Content-Length: 10\r\n\r\n".encode()
            )
            assert slow.recv(100).startswith(b"HTTP/1.1 408")

    def test_a_session_shows_its_token_in_a_header(self, served: tuple[str, desks.Desk]) -> None:
        url, desk = served
        ann = signing.session(desk, url, "editor")
        assert ann.ask("PUT", "/api/v1/things/x", json={"name": "a"}).status == 200
        assert ann.ask("PUT", "/api/v1/things/x", json={"name": "a"}, X_CSRF_Token="").status == 403
        form = ann.ask("PUT", "/api/v1/things/x", {"_csrf": ann.csrf, "name": "a"}, X_CSRF_Token="")
        assert form.status == 403


class TestAnswers:
    def test_head_is_get_without_a_body(self, program: signing.Client) -> None:
        got, head = (program.ask(method, "/api/v1/things?word=a") for method in ("GET", "HEAD"))
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-length"] == str(len(got.body))

    @given(st.floats(min_value=0, max_value=253_402_300_799))
    @settings(max_examples=200)
    def test_moments_are_rfc_3339_in_utc_to_the_millisecond(self, seconds: float) -> None:
        class Told(base.Model):
            at: base.Moment

        text = json.loads(Told(at=seconds).model_dump_json())["at"]
        assert -0.000_1 <= seconds - dt.datetime.fromisoformat(text).timestamp() <= 0.001_1
        assert text.endswith("Z")

    def test_integers_beyond_what_javascript_holds_are_text(self) -> None:
        given_ = {
            "a": [2**53 - 1, 2**53, -(2**53)],
            "b": {"c": 2**63},
            "d": True,
            "e": None,
            "f": 0.5,
            "g": "x",
        }
        assert base.exact(given_) == {
            "a": [2**53 - 1, str(2**53), str(-(2**53))],
            "b": {"c": str(2**63)},
            "d": True,
            "e": None,
            "f": 0.5,
            "g": "x",
        }

    def test_nothing_is_told_that_the_model_does_not_have(self) -> None:
        with pytest.raises(pydantic.ValidationError):
            Thing.model_validate({"name": "a", "secret": "b"})


def test_a_client_that_goes_away_is_no_error() -> None:
    async def nobody() -> Any:
        return {"type": "http.disconnect"}

    async def work() -> None:
        asked = requests.Request({"type": "http", "headers": []}, nobody)
        with pytest.raises(faults.Problem, match="The request ended before its body did"):
            await base.read(asked, 10)

    import asyncio

    asyncio.run(work())


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1.001, "1970-01-01T00:00:01.001Z"),
        (1_763_819_033.3419, "2025-11-22T13:43:53.341Z"),  # what is asked from there on has it
        (-0.0004, "1969-12-31T23:59:59.999Z"),
    ],
)
def test_a_moment_is_never_told_later_than_it_was(seconds: float, told: str) -> None:
    assert pydantic.TypeAdapter(base.Moment).dump_json(seconds) == f'"{told}"'.encode()
