"""What is posted to the route of a connection: kept before it is answered 200, or refused without a word."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import select
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import delivering
import pytest
from delivering import SECRET, event, gone, held, kept, post, signed

from tidegate.engine import traffic
from tidegate.server import deliveries as received
from tidegate.store import database, deliveries
from tidegate.store import endpoints as stored
from tidegate.store import secrets as vaults

LIVE = f"{{api_key: sk_live_sandbox12345678, webhook_secret: {SECRET}}}"
ALL = f"{{api_key: sk_test_sandbox12345678, accounts: all, webhook_secret: {SECRET}}}"
LISTED = f"{{api_key: sk_test_sandbox12345678, accounts: [acct_1, acct_2], webhook_secret: {SECRET}}}"


def test_a_signed_event_is_kept_as_it_came(serve: Any, store: database.Database) -> None:
    body = event("evt_1", "customer.created", created=1_790_000_000)
    before = store.now()
    assert post(serve().url, signed(body))[0] == 200
    [row] = kept(store)
    told = {name: row[name] for name in ("connection", "account", "event", "type", "created")}
    assert told == {
        "connection": "acme",
        "account": "",
        "event": "evt_1",
        "type": "customer.created",
        "created": 1_790_000_000,
    }
    assert row["payload"].encode() == body
    assert before <= row["received_at"] <= store.now()


def test_text_of_every_kind_survives(serve: Any, store: database.Database) -> None:
    body = event("evt_1", data={"object": {"name": 'Zoë "😀" \u2028 \0'}})
    plain = body.replace(b"\\ud83d\\ude00", "😀".encode())
    assert b"\\u0000" in plain
    assert plain != body
    assert post(serve().url, signed(plain))[0] == 200
    assert kept(store)[0]["payload"].encode() == plain


def test_an_event_that_comes_again_is_kept_once(serve: Any, store: database.Database) -> None:
    url = serve().url
    for _ in range(3):
        assert post(url, signed(event("evt_1")))[0] == 200
    assert len(kept(store)) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Stripe-Signature": ""},
        {"Stripe-Signature": "t=1,v1=" + "0" * 64},
        {"Stripe-Signature": "nonsense"},
        {"Stripe-Signature": "t=1," * 1000},
    ],
)
def test_who_cannot_sign_is_refused_without_a_word(
    serve: Any, store: database.Database, headers: dict[str, str]
) -> None:
    status, body, told = post(serve().url, delivering.Post(event("evt_1"), headers))
    assert (status, body) == (400, b"")
    assert "server" not in {name.lower() for name in told}
    assert kept(store) == []


@pytest.mark.parametrize("ago", [400, 86_400, -400])
def test_a_signature_of_another_time_is_refused(serve: Any, store: database.Database, ago: float) -> None:
    assert post(serve().url, signed(event("evt_1"), ago=ago))[:2] == (400, b"")
    assert kept(store) == []


def test_another_secret_or_another_body_is_refused(
    serve: Any, store: database.Database, caplog: pytest.LogCaptureFixture
) -> None:
    url = serve().url
    true = signed(event("evt_1"))
    assert post(url, signed(event("evt_1"), "whsec_forged"))[0] == 400
    assert post(url, delivering.Post(event("evt_2"), true.headers))[0] == 400
    assert kept(store) == []
    assert [record.message for record in caplog.records if record.name.startswith("tidegate")] == [
        "webhooks of acme: A delivery was signed with another secret; if it came from Stripe, run "
        "`tidegate webhooks enable` again, or correct `webhook_secret`."
    ], "said once a minute, however often it comes"


def test_an_unknown_connection_is_like_any_unknown_address(serve: Any, store: database.Database) -> None:
    url = serve().url
    unknown = post(url, signed(event("evt_1")), "/webhooks/stripe/other")
    nowhere = post(url, signed(event("evt_1")), "/nowhere")
    assert unknown[:2] == nowhere[:2] == (404, b'{"detail":"Not Found"}')
    assert kept(store) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"id": "evt_1"',
        event("evt_1", object="v2.core.event"),
        event(""),
        event("evt\0"),
        event("evt_1", created=-1),
        event("evt_1", created=2**63),
        event("evt_1", account=7),
    ],
)
def test_what_is_signed_and_no_event_is_refused(serve: Any, store: database.Database, body: bytes) -> None:
    assert post(serve().url, signed(body))[:2] == (400, b"")
    assert kept(store) == []


def test_an_event_of_megabytes_is_kept_and_a_larger_one_is_not(serve: Any, store: database.Database) -> None:
    url = serve().url
    large = event("evt_1", data={"object": {"description": "x" * (3 * 2**20)}})
    assert post(url, signed(large))[0] == 200
    with talking(url, f"Content-Length: {received.LARGEST + 1}") as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 413"), "before anything of it was sent"
    assert [len(row["payload"]) for row in kept(store)] == [len(large)]


def test_a_body_of_unknown_length_is_not_read_beyond_the_limit(serve: Any, store: database.Database) -> None:
    chunk = b"10000\r\n%b\r\n" % (b"x" * 2**16)
    with talking(serve().url, "Transfer-Encoding: chunked") as connection:
        try:
            while not select.select([connection], [], [], 0)[0]:
                connection.sendall(chunk)
            assert connection.recv(100).startswith(b"HTTP/1.1 413")
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has hung up already
    assert kept(store) == []


def test_nobody_may_take_for_ever_to_send_a_body(
    serve: Any, store: database.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received, "READ", 0.2)
    with talking(serve().url, "Content-Length: 100") as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 503")
    assert kept(store) == []


@contextlib.contextmanager
def talking(url: str, header: str) -> Iterator[socket.socket]:
    """A connection on which the head of a delivery was sent, and nothing of its body."""
    parts = urllib.parse.urlsplit(url)
    head = f"POST {delivering.ROUTE} HTTP/1.1\r\nHost: {parts.netloc}\r\n{header}\r\n"
    head += f"Stripe-Signature: {signed(b'x').headers['Stripe-Signature']}\r\n\r\n"
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as connection:
        connection.sendall(head.encode())
        yield connection


def test_too_much_at_once_is_to_come_again(
    serve: Any, store: database.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve().url
    monkeypatch.setattr(received, "MOST_BYTES", 100)
    status, _, headers = post(url, signed(event("evt_1")))
    assert (status, headers["Retry-After"]) == (503, "10")
    monkeypatch.setattr(received, "MOST_BYTES", 2**20)
    assert post(url, signed(event("evt_1")))[0] == 200
    assert len(kept(store)) == 1


@pytest.mark.parametrize(
    ("connection", "more", "account"),
    [
        ("", {}, ""),
        ("", {"account": "acct_1"}, None),
        ("", {"livemode": True}, None),
        (LIVE, {"livemode": True}, ""),
        (LIVE, {"livemode": False}, None),
        (ALL, {"account": "acct_9"}, "acct_9"),
        (ALL, {}, ""),
        (LISTED, {"account": "acct_1"}, "acct_1"),
        (LISTED, {"account": "acct_9"}, None),
        (LISTED, {}, None),
    ],
)
def test_events_that_nobody_wants_are_answered_and_not_kept(
    serve: Any, store: database.Database, connection: str, more: dict[str, Any], account: str | None
) -> None:
    assert post(serve(connection).url, signed(event("evt_1", **more)))[0] == 200
    assert [row["account"] for row in kept(store)] == ([] if account is None else [account])


def test_one_of_several_secrets_will_do(serve: Any, store: database.Database) -> None:
    url = serve("{api_key: sk_test_x, webhook_secret: [whsec_a, whsec_b]}").url
    for secret, status in (("whsec_a", 200), ("whsec_b", 200), ("whsec_c", 400)):
        assert post(url, signed(event(f"evt_{secret}"), secret))[0] == status
    assert {row["event"] for row in kept(store)} == {"evt_whsec_a", "evt_whsec_b"}


@pytest.fixture
def vault(store: database.Database, monkeypatch: pytest.MonkeyPatch) -> vaults.Vault:
    monkeypatch.setenv(vaults.VARIABLE, vaults.new_key())
    return vaults.vault(store)


def remember(store: database.Database) -> None:
    store.execute(
        "INSERT INTO endpoints (connection, scope, id, url, version, made_at) "
        "VALUES ('acme', 'account', 'we_1', 'https://a.example', '2026-10-28.endive', {now})"
    )


def test_a_secret_that_is_made_while_the_server_runs_is_known_at_once(
    serve: Any, store: database.Database, vault: vaults.Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received, "AGAIN", 0.0)
    url = serve("{api_key: sk_test_x}").url
    assert post(url, signed(event("evt_1"), "whsec_new"))[0] == 400
    remember(store)
    vault.put("webhooks/acme/account/we_1", "whsec_new")
    assert post(url, signed(event("evt_1"), "whsec_new"))[0] == 200
    assert len(kept(store)) == 1


def test_the_secret_before_is_taken_for_a_day(
    serve: Any, store: database.Database, vault: vaults.Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received, "AGAIN", 0.0)
    url = serve("{api_key: sk_test_x}").url
    remember(store)
    vault.put("webhooks/acme/account/we_0", "whsec_old")
    vault.put("webhooks/acme/account/we_1", "whsec_new")
    assert post(url, signed(event("evt_1"), "whsec_old"))[0] == 200
    assert post(url, signed(event("evt_2"), "whsec_new"))[0] == 200
    store.execute("UPDATE endpoints SET made_at = made_at - :day", {"day": stored.PREVIOUS})
    assert post(url, signed(event("evt_3"), "whsec_forged"))[0] == 400, "and the secrets are read again"
    assert post(url, signed(event("evt_3"), "whsec_old"))[0] == 400
    assert post(url, signed(event("evt_4"), "whsec_new"))[0] == 200
    assert [row["event"] for row in kept(store)] == ["evt_1", "evt_2", "evt_4"]


def test_a_test_event_is_answered_and_not_kept(serve: Any, store: database.Database) -> None:
    assert post(serve().url, signed(event("evt_1", traffic.TEST)))[0] == 200
    assert kept(store) == []


def test_those_who_listen_are_told_once_it_is_kept(serve: Any, store: database.Database) -> None:
    served = serve()
    seen: list[int] = []
    told = threading.Event()

    def listen() -> None:
        seen.append(len(kept(store)))
        told.set()

    served.arrivals.listen(listen)
    assert post(served.url, signed(event("evt_1")))[0] == 200
    assert told.wait(60)
    assert seen == [1]
    assert post(served.url, signed(event("evt_1")))[0] == 200
    assert post(served.url, signed(event("evt_2")))[0] == 200
    while len(seen) < 2:
        time.sleep(0.01)
    assert seen == [1, 2], "nobody is told of what was there"


def test_ten_thousand_deliveries_doubled_shuffled_forged_and_late(
    serve: Any, store: database.Database
) -> None:
    """Just those are kept that Stripe signed, each once, whatever else comes."""
    url = serve(ALL).url
    chance = random.Random(5)
    true = [f"evt_{n}" for n in range(3_000)]
    posts = []
    for id in true:
        more = {"account": f"acct_{chance.randrange(5)}"} if chance.random() < 0.3 else {}
        body = event(id, chance.choice(["customer.created", "charge.succeeded"]), **more)
        posts += [signed(body, name=id), signed(body, name=id)]
    posts += [signed(event(f"evt_forged{n}"), "whsec_forged", name="forged") for n in range(2_000)]
    posts += [signed(event(f"evt_old{n}"), ago=301 + n, name="old") for n in range(1_000)]
    posts += [
        delivering.Post(event(f"evt_x{n}"), signed(event("evt_0")).headers, "swapped") for n in range(1_000)
    ]
    chance.shuffle(posts)
    answers = asyncio.run(delivering.deliver(url, posts, at_once=50))
    assert {name: {*answers.statuses[name]} for name in ("forged", "old", "swapped")} == {
        "forged": {400},
        "old": {400},
        "swapped": {400},
    }
    assert answers.of(200) == {*true}
    assert all(answers.statuses[id] == [200, 200] for id in true)
    rows = kept(store)
    assert sorted(row["event"] for row in rows) == sorted(true)
    assert all(json.loads(row["payload"]).get("account", "") == row["account"] for row in rows)


def test_deliveries_that_come_together_share_a_transaction(
    serve: Any, store: database.Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve()
    assert post(served.url, signed(event("evt_first")))[0] == 200
    asked: list[int] = []
    came: list[str] = []
    keep, wait = deliveries.keep, received.Keeper.keep

    def counted(store: database.Database, batch: Any) -> int:
        asked.append(len(batch))
        return keep(store, batch)

    async def noted(keeper: received.Keeper, delivery: deliveries.Delivery) -> None:
        came.append(delivery.event)
        await wait(keeper, delivery)

    def all_came() -> None:
        deadline = time.monotonic() + 60
        while len(came) < 100:
            assert time.monotonic() < deadline, "they did not come"
            time.sleep(0.01)

    monkeypatch.setattr(deliveries, "keep", counted)
    monkeypatch.setattr(received.Keeper, "keep", noted)
    posts = [signed(event(f"evt_{n}"), name=f"evt_{n}") for n in range(100)]

    async def work() -> delivering.Answers:
        with held(url):
            delivery = asyncio.create_task(delivering.deliver(served.url, posts, at_once=100))
            await asyncio.to_thread(all_came)
        return await delivery

    assert len(asyncio.run(work()).of(200)) == 100
    assert sum(asked) == 100
    assert len(asked) <= 2, "those that came while the first was being kept are kept together"
    assert len(kept(store)) == 101


def test_while_the_database_does_not_take_it_an_event_is_to_come_again(
    serve: Any, store: database.Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received, "ANSWERED", 0.3)
    served = serve()
    assert post(served.url, signed(event("evt_1")))[0] == 200
    with held(url):
        status, body, headers = post(served.url, signed(event("evt_2")))
        assert (status, body, headers["Retry-After"]) == (503, b"", "10")
    monkeypatch.setattr(received, "ANSWERED", 120.0)
    assert post(served.url, signed(event("evt_2")))[0] == 200
    assert {row["event"] for row in kept(store)} == {"evt_1", "evt_2"}


def test_a_database_that_lets_nobody_in_is_answered_503_until_it_does(
    serve: Any, store: database.Database, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What got 200 in between is there in the end; the rest is told to come again."""
    monkeypatch.setattr(received, "WAIT", 0.2)
    served = serve()
    assert post(served.url, signed(event("evt_before")))[0] == 200
    with gone(store, url):
        answers = asyncio.run(
            delivering.deliver(
                served.url, [signed(event(f"evt_{n}"), name=f"evt_{n}") for n in range(20)], at_once=4
            )
        )
        assert answers.of(503) == {f"evt_{n}" for n in range(20)}
    again = asyncio.run(
        delivering.deliver(served.url, [signed(event(f"evt_{n}"), name=f"evt_{n}") for n in range(20)])
    )
    assert len(again.of(200)) == 20
    assert {row["event"] for row in kept(store)} == {"evt_before", *(f"evt_{n}" for n in range(20))}
