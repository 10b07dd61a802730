"""Writes on the wire: exactly these bytes, a check before every socket write, and what may have happened."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import errors
from tidegate.stripe import answers, client, pace, writes

T = TypeVar("T")
KEY = "sk_test_51NzufDB0DBR1HOyc9Zq8sWabcd"
CREATE = writes.Write(
    "POST",
    "/v1/customers",
    b"email=jenny%40example.com&metadata[plan]=gold&name=Jenny+Rosen",
    "2026-10-28.endive",
    "tidegate/accounts/op_1",
)
DELETE = writes.Write("DELETE", "/v1/customers/cus_1", b"", "2026-10-28.endive", "tidegate/accounts/op_2")
Answer = bytes | Callable[[asyncio.StreamWriter], None]


SILENCE = b""


class NotNow(Exception):
    """What a check raises here."""


def ok(body: object = None, **headers: str) -> bytes:
    return answer(200, body or {"id": "cus_1", "object": "customer"}, **headers)


def refuse(status: int, headers: dict[str, str] | None = None, **error: str) -> bytes:
    return answer(status, {"error": error}, **(headers or {}))


def answer(status: int, body: object, **headers: str) -> bytes:
    text = json.dumps(body).encode()
    named = {"Request-Id": "req_1", "Content-Type": "application/json", "Content-Length": str(len(text))}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in (named | headers).items())
    return f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + text


def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


class Wire:
    """A server that counts every byte; it gives each request the next answer, the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.got = b""
        self.requests: list[bytes] = []
        self.connections = 0
        self.base = ""
        self.arrived = asyncio.Event()
        self.tasks: set[asyncio.Task[Any] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.tasks.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await self._until(reader, b"\r\n\r\n")
                length = next(
                    (
                        int(line[15:])
                        for line in head.split(b"\r\n")
                        if line.lower().startswith(b"content-length:")
                    ),
                    0,
                )
                body = await reader.readexactly(length)
                self.got += body
                self.requests.append(head + body)
                self.arrived.set()
                said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if callable(said):
                    said(writer)
                    break
                writer.write(said)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def _until(self, reader: asyncio.StreamReader, end: bytes) -> bytes:
        found = b""
        while not found.endswith(end):
            byte = await reader.readexactly(1)
            found += byte
            self.got += byte
        return found


@contextlib.asynccontextmanager
async def serving(*said: Answer) -> AsyncIterator[Wire]:
    wire = Wire(*said)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield wire
        await asyncio.gather(*filter(None, wire.tasks))


def talk(
    work: Callable[[client.Client, Wire], Awaitable[T]],
    *said: Answer,
    base: Callable[[Wire], str] = lambda wire: wire.base,
    **options: Any,
) -> tuple[T, Wire]:
    """Run `work` with a client of a server that gives these answers; waits take no time."""

    async def main() -> tuple[T, Wire]:
        async with serving(*said) as wire:
            options.setdefault("sleep", lambda _: asyncio.sleep(0))
            pace_ = pace.Pace(pace.Limits(None, None))
            made = client.Client(KEY, api_base=base(wire), api_version="2020-08-27", pace=pace_, **options)
            async with made:
                found = await work(made, wire)
            return found, wire

    return asyncio.run(main())


def send(
    *said: Answer, write: writes.Write = CREATE, **options: Any
) -> tuple[writes.Reply | writes.Fault, Wire]:
    """What comes of a write that nothing checks."""
    return talk(lambda stripe, _: stripe.send(write, before=lambda: None), *said, **options)


def fault(*said: Answer, **options: Any) -> writes.Fault:
    found, _ = send(*said, **options)
    assert isinstance(found, writes.Fault)
    return found


def reply(*said: Answer, **options: Any) -> writes.Reply:
    found, _ = send(*said, **options)
    assert isinstance(found, writes.Reply)
    return found


def test_the_bytes_are_those_that_were_recorded() -> None:
    found, wire = send(ok())
    assert isinstance(found, writes.Reply)
    assert (found.status, found.request_id, found.replayed, found.attempts) == (200, "req_1", False, 1)
    assert json.loads(found.body)["id"] == "cus_1"
    [request] = wire.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/customers HTTP/1.1\r\n")
    assert body == CREATE.body
    lines = set(head.split(b"\r\n"))
    assert b"Stripe-Version: 2026-10-28.endive" in lines
    assert b"Idempotency-Key: tidegate/accounts/op_1" in lines
    assert b"Content-Type: application/x-www-form-urlencoded" in lines


@pytest.mark.parametrize(
    "trouble",
    [
        hang_up,
        refuse(500),
        refuse(503),
        refuse(409, code="lock_timeout"),
        refuse(429, code="rate_limit"),
        refuse(429, code="lock_timeout"),
        ok()[:-3] + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nha!",
    ],
)
def test_what_may_pass_is_sent_again_with_the_same_key_and_bytes(trouble: Answer) -> None:
    found, wire = send(trouble, trouble, ok())
    assert isinstance(found, writes.Reply)
    assert found.attempts == 3
    assert len(wire.requests) == 3
    assert len(set(wire.requests)) == 1


def test_a_first_request_that_stripe_is_still_at_is_waited_for() -> None:
    in_use = refuse(409, type="idempotency_error", code="idempotency_key_in_use")
    found, wire = send(SILENCE, in_use, in_use, ok(Idempotent_Replayed="true"), timeout=0.5)
    assert isinstance(found, writes.Reply)
    assert (found.replayed, len(set(wire.requests))) == (True, 1)


def test_the_answer_says_whether_it_was_replayed() -> None:
    assert reply(ok(Idempotent_Replayed="true")).replayed
    assert not reply(ok(Idempotent_Replayed="false")).replayed


@pytest.mark.parametrize("headers", [{}, {"Stripe-Should-Retry": "true"}])
def test_a_failure_that_stripe_keeps_is_asked_for_once(headers: dict[str, str]) -> None:
    found, wire = send(refuse(500, {"Idempotent-Replayed": "true", **headers}), ok())
    assert isinstance(found, writes.Fault)
    assert (found.status, found.replayed, found.effect) == (500, True, "maybe")
    assert len(wire.requests) == 1


def test_a_500_and_then_its_replay_is_two_requests_and_no_more() -> None:
    found, wire = send(refuse(500), refuse(500, {"Idempotent-Replayed": "true"}), ok())
    assert isinstance(found, writes.Fault)
    assert (found.replayed, found.effect, len(wire.requests)) == (True, "maybe", 2)


class Check:
    """Passes so many times, and refuses from then on."""

    def __init__(self, passes: int = 10**9) -> None:
        self.left = passes
        self.asked = 0

    def __call__(self) -> None:
        self.asked += 1
        self.left -= 1
        if self.left < 0:
            raise NotNow


@pytest.mark.parametrize("write", [CREATE, DELETE], ids=["POST", "DELETE"])
def test_whichever_check_of_an_attempt_refuses_not_a_byte_is_sent(write: writes.Write) -> None:
    counting = Check()
    found, wire = talk(lambda stripe, _: stripe.send(write, before=counting), ok())
    assert isinstance(found, writes.Reply)
    assert counting.asked >= 3  # before the attempt, with the connection there, before the bytes
    for passes in range(counting.asked):
        check = Check(passes)
        found, wire = talk(lambda stripe, _, check=check: stripe.send(write, before=check), ok())  # type: ignore[misc]  # mypy can't infer a lambda's default
        assert isinstance(found, writes.Fault)
        assert isinstance(found.error, NotNow)
        assert (found.stopped, found.effect, wire.got) == (True, "none", b"")


def test_a_connection_that_takes_half_a_minute_and_a_check_that_fails_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_000.0
    resolve = socket.getaddrinfo
    asked: Callable[[], object] = bool
    go_on = threading.Event()

    def slow(host: Any, *rest: Any, **more: Any) -> Any:
        if host == "localhost":
            asked()
            go_on.wait(60)
        return resolve(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    def young() -> None:
        if now > 1_020.0:
            raise NotNow

    async def work(stripe: client.Client, _: Wire) -> writes.Reply | writes.Fault:
        nonlocal now, asked
        resolving, loop = asyncio.Event(), asyncio.get_running_loop()
        asked = functools.partial(loop.call_soon_threadsafe, resolving.set)
        task = asyncio.create_task(stripe.send(CREATE, before=young))
        await resolving.wait()
        now += 30.0
        go_on.set()
        return await task

    found, wire = talk(work, ok(), base=lambda wire: wire.base.replace("127.0.0.1", "localhost"))
    assert isinstance(found, writes.Fault)
    assert (found.stopped, found.effect) == (True, "none")
    assert (wire.connections, wire.got) == (1, b"")


def test_a_check_that_fails_on_a_connection_that_stood_already() -> None:
    async def work(stripe: client.Client, wire: Wire) -> tuple[writes.Reply | writes.Fault, int]:
        await stripe.get("/v1/balance")
        before = len(wire.got)
        return await stripe.send(CREATE, before=Check(2)), before

    (found, before), wire = talk(work, ok())
    assert isinstance(found, writes.Fault)
    assert found.stopped
    assert len(wire.got) == before
    assert wire.connections == 1


def test_the_check_is_asked_again_for_every_retry() -> None:
    first = Check()
    talk(lambda stripe, _: stripe.send(CREATE, before=first), ok())
    again = Check(first.asked)
    found, wire = talk(lambda stripe, _: stripe.send(CREATE, before=again), hang_up, ok())
    assert isinstance(found, writes.Fault)
    assert (found.stopped, found.effect, found.attempts) == (True, "maybe", 1)
    assert len(wire.requests) == 1


def test_a_stop_after_a_limit_has_done_nothing() -> None:
    first = Check()
    talk(lambda stripe, _: stripe.send(CREATE, before=first), ok())
    found, wire = talk(
        lambda stripe, _: stripe.send(CREATE, before=Check(first.asked)), refuse(429, code="rate_limit"), ok()
    )
    assert isinstance(found, writes.Fault)
    assert (found.stopped, found.effect, len(wire.requests)) == (True, "none", 1)


def test_every_attempt_is_announced_and_one_that_may_not_be_is_not_sent() -> None:
    announced = 0

    async def attempting() -> None:
        nonlocal announced
        announced += 1
        if announced == 3:
            raise NotNow

    found, wire = talk(
        lambda stripe, _: stripe.send(CREATE, before=lambda: None, attempting=attempting),
        refuse(500),
        refuse(503),
        ok(),
    )
    assert isinstance(found, writes.Fault)
    assert (found.stopped, found.effect, found.attempts, len(wire.requests)) == (True, "maybe", 2, 2)


def test_what_is_announced_has_no_turn_yet_and_is_announced_anew_where_it_waited_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The turns of an endpoint are not spent on waiting for a disk, and a note in the ledger is never old."""
    under_way: list[int] = []

    async def work(stripe: client.Client, _: Wire) -> list[writes.Reply | writes.Fault]:
        async def attempting() -> None:
            under_way.append(stripe.pace.account.in_flight)

        first = await stripe.send(CREATE, before=lambda: None, attempting=attempting)
        monkeypatch.setattr(writes, "ANNOUNCED", 0.0)
        return [first, await stripe.send(CREATE, before=lambda: None, attempting=attempting)]

    found, wire = talk(work, ok(), ok())
    assert [type(each) for each in found] == [writes.Reply, writes.Reply]
    assert (under_way, len(wire.requests)) == ([0, 0, 1], 2)


def test_a_delete_over_a_dead_connection_is_not_sent_again_in_secret() -> None:
    announced = 0

    async def attempting() -> None:
        nonlocal announced
        announced += 1

    async def work(stripe: client.Client, _: Wire) -> writes.Reply | writes.Fault:
        await stripe.get("/v1/balance")
        return await stripe.send(DELETE, before=lambda: None, attempting=attempting)

    found, wire = talk(work, ok(), hang_up, hang_up, ok({"id": "cus_1", "deleted": True}))
    assert isinstance(found, writes.Reply)
    deletes = [request for request in wire.requests if request.startswith(b"DELETE /v1/customers/cus_1 ")]
    assert len(deletes) == announced == found.attempts == 3


def test_a_host_that_nobody_reaches_has_done_nothing() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"  # bound, and nobody listens
        found, wire = talk(
            lambda stripe, _: stripe.send(CREATE, before=lambda: None), ok(), base=lambda _: address
        )
    assert isinstance(found, writes.Fault)
    assert isinstance(found.error, errors.Unreachable)
    assert (found.effect, found.attempts, wire.got) == ("none", client.FIRST_ATTEMPTS, b"")


def test_a_refusal_carries_all_that_stripe_says() -> None:
    found = fault(
        refuse(
            402,
            type="card_error",
            code="card_declined",
            decline_code="insufficient_funds",
            param="source",
            message="Your card has insufficient funds.",
            request_log_url="https://dashboard.stripe.com/test/logs/req_1?t=1790000000",
        )
    )
    assert (found.status, found.type, found.code) == (402, "card_error", "card_declined")
    assert (found.decline_code, found.param, found.request_id) == ("insufficient_funds", "source", "req_1")
    assert found.log_url == "https://dashboard.stripe.com/test/logs/req_1?t=1790000000"
    assert found.message == "Your card has insufficient funds."
    assert (found.effect, found.replayed, found.stopped, found.attempts) == ("none", False, False, 1)
    assert isinstance(found.error, errors.InvalidRequest)


def test_a_request_without_a_link_of_stripes_is_found_by_its_name() -> None:
    assert fault(refuse(400)).log_url == "https://dashboard.stripe.com/test/logs/req_1"
    odd = fault(refuse(400, request_log_url="https://elsewhere.example/logs?jenny@example.com"))
    assert odd.log_url == "https://dashboard.stripe.com/test/logs/req_1"
    assert fault(refuse(400, {"Request-Id": ""})).log_url == ""


def test_a_missing_permission_is_named() -> None:
    found = fault(refuse(403, message="Having the 'rak_customer_write' permission would allow this."))
    assert (found.permission, found.effect) == ("rak_customer_write", "none")


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("Invalid string: 'jenny rosen'; must be short.", "Invalid string: '…'; must be short."),
        ("Invalid email address: jenny@example.com", "Invalid email address: <email>"),
        ("No such plan: 'gold'; a similar object exists.", "No such plan: '…'; a similar object exists."),
        ("The goldsmith is not meant.", "The goldsmith is not meant."),
    ],
)
def test_what_was_sent_is_not_told(message: str, kept: str) -> None:
    assert fault(refuse(400, message=message)).message == kept


def test_a_long_value_is_not_told_either_when_stripe_shortens_it() -> None:
    body = b"description=" + b"Knows+the+secret+of+the+old+mill+and+its+owner"
    said = "Invalid string: Knows the secret of t...wner; too long"
    assert writes.blanked(said, body) == "Invalid string: …"


LOST, STOPPED = hang_up, refuse(500)


@pytest.mark.parametrize(
    ("said", "effect"),
    [
        ([refuse(400, code="parameter_missing")], "none"),
        ([refuse(402, code="card_declined")], "none"),
        ([refuse(404, code="resource_missing")], "none"),
        ([refuse(401)], "none"),
        ([refuse(403)], "none"),
        ([LOST], "maybe"),
        ([refuse(500)], "maybe"),
        ([refuse(409, type="idempotency_error", code="idempotency_key_in_use")], "maybe"),
        ([refuse(400, type="idempotency_error")], "maybe"),
        ([b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"], "maybe"),
        ([b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"], "maybe"),
        # The lost one would have been replayed, had it begun to execute.
        ([LOST, refuse(400, code="parameter_missing")], "none"),
        ([LOST, refuse(402, {"Idempotent-Replayed": "true"})], "none"),
        ([LOST, refuse(404, code="resource_missing")], "none"),
        # These come before Stripe looks at the key.
        ([LOST, refuse(401)], "maybe"),
        ([LOST, refuse(403)], "maybe"),
    ],
)
def test_whether_anything_may_have_happened(said: list[Answer], effect: str) -> None:
    assert fault(*said).effect == effect


def test_a_lost_delete_may_be_why_nothing_is_there_now() -> None:
    gone = refuse(404, code="resource_missing")
    assert fault(gone, write=DELETE).effect == "none"
    assert fault(LOST, gone, write=DELETE).effect == "maybe"


def test_what_reached_somebody_stays_possible_whatever_connection_fails_later() -> None:
    refusal = answers.Refusal()
    assert writes.effect("maybe", "POST", None, refusal, False) == "maybe"
    assert writes.effect("none", "POST", None, refusal, False) == "none"
    assert writes.effect("none", "POST", None, refusal, True) == "maybe"


@pytest.mark.parametrize(
    "said", [refuse(401), refuse(403), refuse(429, {"Stripe-Should-Retry": "false"}, code="lock_timeout")]
)
def test_what_may_have_come_of_an_earlier_send_is_not_forgotten(said: bytes) -> None:
    found, _ = talk(lambda stripe, _: stripe.send(CREATE, before=lambda: None, earlier="maybe"), said)
    assert isinstance(found, writes.Fault)
    assert found.effect == "maybe"
    assert fault(said).effect == "none"


def test_the_error_tells_nothing_of_what_was_sent_either() -> None:
    found = fault(refuse(400, message="Invalid string: Jenny Rosen", param="name"))
    assert str(found.error) == (
        "Stripe refused POST /v1/customers (parameter name, req_1) with status 400: Invalid string: …; look the "
        "request up in Stripe's logs."
    )
    assert isinstance(found.error, errors.InvalidRequest)
    assert (found.error.param, found.error.request_id) == ("name", "req_1")


@dataclass
class Account:
    """Stripe, as far as one idempotency key goes: what it kept, and how often it acted."""

    verdict: str
    kept: bytes | None = None
    effects: int = 0

    def ask(self, door: int) -> bytes:
        """Answer a request that arrived; `door` is what comes before the key is looked at."""
        if door:
            return refuse(door)
        if self.kept is not None:
            return self.kept.replace(b"Said\r\n", b"Said\r\nIdempotent-Replayed: true\r\n")
        if self.verdict == "invalid":
            return refuse(400, code="parameter_missing")
        self.effects += self.verdict in ("done", "done and failed")
        self.kept = {
            "done": ok(),
            "done and failed": refuse(500),
            "failed": refuse(500),
            "declined": refuse(402, code="card_declined"),
        }[self.verdict]
        return self.kept


WAYS = ["lost", "arrived", "answered"]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["done", "invalid", "done and failed", "failed", "declined"]),
    st.lists(
        st.tuples(st.sampled_from(["lost", "arrived", "answered"]), st.sampled_from([0, 0, 401, 403, 429])),
        max_size=6,
    ),
)
def test_none_is_said_only_where_nothing_happened(verdict: str, attempts_: list[tuple[str, int]]) -> None:
    account = Account(verdict)
    effect: writes.Effect = "none"
    for way, door in attempts_:
        said = account.ask(door) if way != "lost" else b""
        if way != "answered":
            effect = writes.effect(effect, "POST", None, answers.Refusal(), passed=True)
        else:
            answer_ = parsed(said)
            if answer_.status < 300:
                assert account.effects == 1
                return
            effect = writes.effect(effect, "POST", answer_, answers.refusal(answer_), passed=True)
            if effect == "none":
                assert account.effects == 0
    assert account.effects <= 1


def parsed(said: bytes) -> answers.Answer:
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return answers.Answer(int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body)


def test_a_cancelled_write_gives_its_slot_back() -> None:
    async def work(stripe: client.Client, wire: Wire) -> int:
        task = asyncio.create_task(stripe.send(CREATE, before=lambda: None))
        await wire.arrived.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return stripe.pace.account.in_flight

    assert talk(work, SILENCE)[0] == 0


def test_a_client_for_another_account_writes_there() -> None:
    async def work(stripe: client.Client, _: Wire) -> object:
        other = stripe.acting_for("acct_9", pace.Pace(pace.Limits(None, None)))
        return await other.send(CREATE, before=lambda: None)

    found, wire = talk(work, ok())
    assert isinstance(found, writes.Reply)
    assert b"\r\nStripe-Account: acct_9\r\n" in wire.requests[0]
