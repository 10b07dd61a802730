"""Runs begun by whoever can only call an address: who may, what is answered, and that nothing runs twice."""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import contextlib
import json
import logging
import socket
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import delivering
import pytest
from delivering import gone, held
from starlette import requests

from tidegate import config
from tidegate.engine import feed, flows
from tidegate.server import access, app, triggers
from tidegate.store import database, runs, ticks, tokens, trail

EVERYTHING = "/triggers/pull:everything"
PULLS = """\
warehouses: {one: {type: duckdb, path: one.duckdb}}
pulls:
  everything: {from: acme, to: one, streams: {customers: {}}}
  finance: {from: acme, to: one, streams: {payouts: {}}}
  steady: {from: acme, to: one, schedule: continuous, streams: {charges: {}}}
models: {accounts: {warehouse: one, table: accounts, key: id}}
pushes:
  accounts: {model: accounts, to: acme, object: customer, match: {email: email}, fields: {name: name}}
"""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def told(self) -> dict[str, Any]:
        """The body, of JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found


def ask(
    url: str,
    token: str | None = None,
    *,
    method: str = "POST",
    body: bytes | None = None,
    **headers: str,
) -> Answer:
    """Make one request; `Idempotency_Key=` is the header Idempotency-Key."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"

    async def work() -> Answer:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, data=body, headers=sent) as answer,
        ):
            return Answer(answer.status, dict(answer.headers), await answer.read())

    return asyncio.run(work())


@pytest.fixture(autouse=True)
def _patient_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow machine things take their time."""
    monkeypatch.setattr(access, "ANSWERED", 120.0)
    monkeypatch.setattr(triggers, "READ", 120.0)


@pytest.fixture
def file(url: str, tmp_path: Path) -> config.Config:
    return delivering.loaded(tmp_path, url, more=PULLS)


@pytest.fixture
def served(file: config.Config, store: database.Database) -> Iterator[str]:
    """The address of a server; a scheduler has made the flows known."""
    known = flows.flows(file)
    ticks.sync(store, {name: flows.text(flow.schedule) for name, flow in known.items()}, flows.clock(known))
    with app.serving(file, feed.Arrivals()) as address:
        yield address


@pytest.fixture
def token(store: database.Database) -> str:
    return tokens.create(store, "dbt", "run")


def finish(store: database.Database, run_id: str) -> None:
    assert runs.begin(store, run_id, "w") is not None
    assert runs.end(store, run_id, "w", "ok", totals={"read": 7})


class TestRuns:
    def test_a_run_is_queued_and_where_it_is_seen_is_told(
        self, served: str, store: database.Database, token: str
    ) -> None:
        answer = ask(served + EVERYTHING, token)
        [run] = runs.listed(store)
        assert answer.status == 202
        assert answer.told == {
            "id": run.id,
            "flow": "pull:everything",
            "state": "queued",
            "cause": "trigger",
            "url": f"/api/v1/runs/{run.id}",
        }
        assert answer.headers["Location"] == f"/api/v1/runs/{run.id}"
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"
        assert (run.cause, run.options, run.state) == ("trigger", {}, "queued")
        [line] = trail.listed(store, what="pull:everything")
        assert (line.who, line.via, line.action, line.after) == ("dbt", "token", "start", {"run": run.id})

    def test_the_queued_run_is_returned_to_whoever_asks_next(
        self, served: str, store: database.Database, token: str
    ) -> None:
        first = ask(served + EVERYTHING, token)
        again = ask(served + EVERYTHING, token)
        assert (again.status, again.told) == (200, first.told)
        assert len(trail.listed(store, what="pull:everything")) == 1
        assert len(runs.listed(store)) == 1
        finish(store, first.told["id"])
        assert ask(served + EVERYTHING, token).told["id"] != first.told["id"]

    def test_while_one_runs_the_next_is_promised(
        self, served: str, store: database.Database, token: str
    ) -> None:
        first = ask(served + EVERYTHING, token).told["id"]
        assert runs.begin(store, first, "w") is not None
        answer = ask(served + EVERYTHING, token)
        after = f"/api/v1/runs/{first}/next"
        assert answer.status == 202
        assert answer.told == {
            "id": None,
            "flow": "pull:everything",
            "state": "waiting",
            "cause": "trigger",
            "url": after,
        }
        assert answer.headers["Location"] == after

    def test_a_continuous_flow_is_begun_or_goes_on(
        self, served: str, store: database.Database, token: str
    ) -> None:
        first = ask(f"{served}/triggers/steady", token)
        assert (first.status, first.told["cause"]) == (202, "continuous")
        assert runs.begin(store, first.told["id"], "w") is not None
        again = ask(f"{served}/triggers/steady", token)
        assert (again.status, again.told["id"], again.told["state"]) == (200, first.told["id"], "running")

    def test_two_servers_many_at_once_one_run(
        self, served: str, file: config.Config, store: database.Database, token: str
    ) -> None:
        async def work(urls: list[str]) -> list[str]:
            async def one(session: aiohttp.ClientSession, url: str) -> str:
                async with session.post(
                    url + EVERYTHING, headers={"Authorization": f"Bearer {token}"}
                ) as answer:
                    return (await answer.json())["id"]

            async with aiohttp.ClientSession() as session:
                return await asyncio.gather(*(one(session, url) for url in urls * 20))

        with app.serving(file, feed.Arrivals()) as other:
            found = asyncio.run(work([served, other]))
        [run] = runs.listed(store)
        assert set(found) == {run.id}


class TestTriggers:
    @pytest.mark.parametrize("body", [b"", b'{"run": {"status": "Success"}}', b"\0\xff" * 1000, b"x" * 2**20])
    def test_any_body_begins_a_run(
        self, served: str, store: database.Database, token: str, body: bytes
    ) -> None:
        answer = ask(f"{served}/triggers/everything", token, body=body)
        [run] = runs.listed(store)
        assert (answer.status, answer.told["id"]) == (202, run.id)
        assert (run.flow, run.cause, run.options) == ("pull:everything", "trigger", {})

    def test_the_token_may_be_the_password_of_an_address(
        self, served: str, store: database.Database, token: str
    ) -> None:
        """As tools send it that only know an address: https://x:TOKEN@host/triggers/everything."""
        with_password = served.replace("http://", f"http://x:{token}@")
        assert ask(f"{with_password}/triggers/everything").status == 202
        assert [run.cause for run in runs.listed(store)] == ["trigger"]

    def test_a_token_in_the_address_is_not_looked_at(
        self, served: str, store: database.Database, token: str
    ) -> None:
        for query in (f"?token={token}", f"?access_token={token}", f"?api_key={token}"):
            assert ask(f"{served}/triggers/everything{query}").status == 401
        assert runs.listed(store) == []

    def test_more_than_a_megabyte_is_refused(self, served: str, store: database.Database, token: str) -> None:
        parts = urllib.parse.urlsplit(served)
        head = f"POST /triggers/everything HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as announced:
            announced.sendall(f"{head}Content-Length: {2**20 + 1}\r\n\r\n".encode())
            assert announced.recv(100).startswith(b"HTTP/1.1 413"), "before anything of it was sent"
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as unknown:
            unknown.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(17):
                    unknown.sendall(b"10000\r\n%b\r\n" % (b"x" * 2**16))
                assert unknown.recv(100).startswith(b"HTTP/1.1 413")
        assert runs.listed(store) == []

    def test_nobody_may_take_for_ever_to_send_a_body(
        self, served: str, store: database.Database, token: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(triggers, "READ", 0.1)
        parts = urllib.parse.urlsplit(served)
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as slow:
            slow.sendall(
                f"POST /triggers/everything HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
                "Content-Length: 10\r\n\r\n".encode()
            )
            assert slow.recv(100).startswith(b"HTTP/1.1 408")
        assert runs.listed(store) == []

    def test_what_comes_while_one_runs_is_one_more_run(
        self, served: str, store: database.Database, token: str
    ) -> None:
        url = f"{served}/triggers/everything"
        first = ask(url, token).told["id"]
        assert runs.begin(store, first, "w") is not None
        assert {ask(url, token).told["state"] for _ in range(3)} == {"waiting"}
        assert runs.end(store, first, "w", "ok")
        assert ticks.waiting(store) == ["pull:everything"]
        assert ticks.release(store, "pull:everything", runs.new_id()) is not None
        assert ticks.waiting(store) == []


class TestAccess:
    def test_unknown_revoked_and_expired_tokens_get_the_same_answer(
        self, served: str, store: database.Database
    ) -> None:
        revoked, expired = tokens.create(store, "a", "admin"), tokens.create(store, "b", "admin", lasts=60)
        assert ask(served + EVERYTHING, expired).status == 202
        tokens.revoke(store, "a")
        store.execute("UPDATE tokens SET expires_at = made_at")
        answers = [
            ask(served + path, each)
            for path in (EVERYTHING, "/triggers/nothing", "/triggers/everything")
            for each in (revoked, expired, "tg_" + "x" * 43)
        ]
        answers.append(ask(served + EVERYTHING, "nonsense"))
        assert {answer.status for answer in answers} == {401}
        assert len({answer.body for answer in answers}) == 1
        assert {answer.headers["WWW-Authenticate"] for answer in answers} == {
            'Bearer realm="tidegate", error="invalid_token"'
        }
        assert len(runs.listed(store)) == 1

    @pytest.mark.parametrize(
        "header",
        ["", "Bearer", "Bearer  ", "Basic", "Basic !", "Basic eA==", "Basic /w==", "Digest x", "tg_x"],
    )
    def test_without_a_token_there_is_a_challenge(self, served: str, header: str) -> None:
        for path in (EVERYTHING, "/triggers/everything"):
            answer = ask(served + path, Authorization=header)
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="tidegate"')
            assert answer.headers["Content-Type"] == "application/problem+json"

    def test_a_token_that_only_reads_begins_nothing(self, served: str, store: database.Database) -> None:
        reader = tokens.create(store, "reader", "read")
        for path in (EVERYTHING, "/triggers/everything"):
            answer = ask(served + path, reader)
            assert answer.status == 403
            assert answer.told["detail"] == "This needs a token with the scope run; this one has read."
        assert runs.listed(store) == []

    def test_a_token_for_one_flow_learns_nothing_of_others(
        self, served: str, store: database.Database
    ) -> None:
        own = tokens.create(store, "own", "run", flows=["pull:finance"])
        other = ask(served + EVERYTHING, own)
        none = ask(f"{served}/triggers/pull:none", own)
        assert (other.status, other.body) == (none.status, none.body)
        assert other.status == 403
        assert ask(f"{served}/triggers/finance", own).status == 202

    def test_an_unknown_flow_is_told_to_those_who_may_know_all(self, served: str, token: str) -> None:
        answer = ask(f"{served}/triggers/everythin", token)
        assert answer.status == 404
        assert answer.told["detail"].startswith("There is no flow 'everythin' in the configuration; it has ")

    def test_a_revoked_token_is_refused_at_once(
        self, served: str, store: database.Database, token: str
    ) -> None:
        assert ask(served + EVERYTHING, token).status == 202
        tokens.revoke(store, "dbt")
        assert ask(served + EVERYTHING, token).status == 401

    def test_wrong_tokens_are_slowed_down_and_right_ones_are_not(
        self, served: str, store: database.Database, token: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(access, "EVERY", 3600.0)
        assert ask(served + EVERYTHING, token).status == 202
        statuses = [ask(served + EVERYTHING, f"tg_{n:043}").status for n in range(access.BURST + 3)]
        assert statuses == [401] * access.BURST + [429] * 3
        slowed = ask(served + EVERYTHING, "tg_" + "y" * 43)
        assert slowed.headers["Content-Type"] == "application/problem+json"
        assert 0 < int(slowed.headers["Retry-After"]) <= 3601
        assert ask(served + EVERYTHING, token).status == 200, "it was right before"
        assert ask(served + EVERYTHING, tokens.create(store, "new", "run")).status == 429
        assert ask(served + EVERYTHING).status == 401

    def test_no_cookie_and_no_other_origin(self, served: str, token: str) -> None:
        answer = ask(served + EVERYTHING, token, Origin="https://evil.example")
        names = {name.lower() for name in answer.headers}
        assert not names & {"set-cookie", "server"}
        assert not any(name.startswith("access-control-") for name in names)
        preflight = ask(served + EVERYTHING, method="OPTIONS", Origin="https://evil.example")
        assert preflight.status == 405
        assert not any(name.lower().startswith("access-control-") for name in preflight.headers)

    def test_no_token_is_ever_logged(
        self, served: str, store: database.Database, token: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        wrong = "tg_" + "geheim" * 7 + "x"
        basic = base64.b64encode(f"x:{token}".encode()).decode()
        assert ask(served + EVERYTHING, token).status == 202
        assert ask(served + EVERYTHING, wrong).status == 401
        assert ask(f"{served}/triggers/everything?token={wrong}").status == 401
        assert ask(f"{served}/triggers/everything", Authorization=f"Basic {basic}").status == 200
        said = caplog.text
        [run] = runs.listed(store)
        assert f"{run.id} of pull:everything was asked for with the token dbt" in said
        assert said.count("A request came with a token that is unknown, revoked or expired") == 1
        for secret in (token, token[8:], wrong, "geheim", basic):
            assert secret not in said


def test_while_the_database_lets_nobody_in_callers_are_to_come_again(
    served: str,
    url: str,
    store: database.Database,
    token: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if store.kind == "sqlite":  # a file is away when it cannot be written
        holder = held(url)
        monkeypatch.setattr(access, "ANSWERED", 0.3)
    else:
        holder = gone(store, url)
    with holder:
        answer = ask(served + EVERYTHING, token)
        assert ask(served + EVERYTHING, token).status == 503
    [said] = [record.message for record in caplog.records if record.name == "tidegate.server.triggers"]
    assert said.endswith(" Whoever asked for a run, or how one is, is to ask again."), "said once a minute"
    assert (answer.status, answer.headers["Retry-After"]) == (503, "10")
    assert answer.told["detail"] == "The metadata database cannot be reached now; try again."
    monkeypatch.setattr(access, "ANSWERED", 120.0)
    assert ask(served + EVERYTHING, token).status == 202
    assert len(runs.listed(store)) == 1


class TestTurns:
    def test_whoever_comes_when_many_wait_is_to_come_again(
        self, store: database.Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(access, "WAITING", 2)

        async def work() -> list[Any]:
            with contextlib.closing(access.Turns(store)) as turns:
                go = concurrent.futures.Future[None]()
                asked = [asyncio.create_task(turns.do(lambda _: go.result())) for _ in range(2)]
                await asyncio.sleep(0)
                refused = await asyncio.gather(turns.do(database.Database.now), return_exceptions=True)
                go.set_result(None)
                return [*await asyncio.gather(*asked), *refused]

        found = asyncio.run(work())
        assert found[:2] == [None, None]
        assert str(found[2]) == "Too many ask at once; try again."


class TestThrottle:
    def test_a_bucket_that_leaks_for_each_address(self) -> None:
        now = [1000.0]
        throttle = access.Throttle(lambda: now[0])
        for _ in range(access.BURST):
            assert throttle.wait("a") == 0.0
            throttle.fail("a")
        assert throttle.wait("a") == access.EVERY
        throttle.fail("a")
        assert throttle.wait("a") == access.EVERY, "however many fail side by side"
        assert throttle.wait("b") == 0.0
        now[0] += access.EVERY / 2
        assert throttle.wait("a") == access.EVERY / 2
        now[0] += access.EVERY / 2
        assert throttle.wait("a") == 0.0
        throttle.fail("a")
        assert throttle.wait("a") == access.EVERY

    def test_it_remembers_so_many_addresses_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(access, "ADDRESSES", 3)
        monkeypatch.setattr(access, "BURST", 1)
        throttle = access.Throttle(lambda: 1000.0)
        for name in "abcad":
            throttle.fail(name)
        waits = {name: throttle.wait(name) > 0 for name in "abcd"}
        assert waits == {"a": True, "b": False, "c": True, "d": True}, "b is the one longest ago"

    @pytest.mark.parametrize(
        ("host", "counted"),
        [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("", ""),
        ],
    )
    def test_an_address_of_version_6_is_counted_with_its_network(self, host: str, counted: str) -> None:
        asking = requests.Request({"type": "http", "client": (host, 1), "headers": []})
        assert access.address(asking) == counted
