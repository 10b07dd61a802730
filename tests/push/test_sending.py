"""One operation from its intent to its outcome: every answer of Stripe, and the sentence that a person reads."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import writing

from tidegate import errors
from tidegate.push import sending, steps
from tidegate.store import database, fences, holds, ledger, links, operations, pushed

PUSH = writing.PUSH


def hold(store: database.Database, key: str = "row 1") -> holds.Hold:
    [found] = [each for each in holds.listed(store, PUSH) if each.key == key]
    return found


def test_a_create_is_sent_once_and_acknowledged_with_its_link_and_row(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        intent = scene.intend(writing.JENNY)
        outcome = await scene.sender.send(intent)
        [customer] = scene.customers(email="jenny@example.com")
        assert (outcome.kind, outcome.target, outcome.requests) == ("done", customer["id"], 1)
        found = scene.read(intent.id)
        assert (found.status, found.response, found.attempts) == ("done", 200, 1)
        assert found.request_id.startswith("req_")
        assert found.after is not None
        assert found.after["name"] == "Jenny Rosen"
        assert found.after["metadata"][writing.MARK] == intent.id
        link = links.find(store, PUSH, ["row 1"])["row 1"]
        assert (link.target, link.created, link.operation) == (customer["id"], True, intent.id)
        [batch] = pushed.each(store, PUSH, 10)
        assert batch.to_pylist()[0]["hash"] == "h1"

    writing.play(store, act)


def test_an_update_and_a_delete(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        target = await writing.existing(scene)
        update = scene.intend({"name": "Jenny", "phone": ""}, target=target)
        assert (await scene.sender.send(update)).kind == "done"
        assert [each["name"] for each in scene.customers(id=target)] == ["Jenny"]
        assert scene.read(update.id).after == {"name": "Jenny", "phone": None}
        delete = scene.intend({}, target=target, method="DELETE", action="delete")
        assert (await scene.sender.send(delete)).kind == "done"
        assert scene.customers(id=target) == []
        assert links.find(store, PUSH, ["row 1"])["row 1"].gone == "deleted"

    writing.play(store, act)


@pytest.mark.parametrize(
    "trouble",
    [
        {"kind": "reset", "when": "after"},
        {"kind": "truncate"},
        {"kind": "cut"},
        {"kind": "html"},
        {"kind": "unavailable"},
        {"kind": "lock"},
        {"kind": "limit"},
    ],
    ids=lambda trouble: str(trouble["kind"]),
)
def test_what_stripe_did_although_its_answer_was_lost_is_done_once(
    store: database.Database, trouble: dict[str, Any]
) -> None:
    async def act(scene: writing.Scene) -> None:
        scene.befall({**trouble, "method": "POST", "times": 2})
        intent = scene.intend(writing.JENNY)
        outcome = await scene.sender.send(intent)
        assert (outcome.kind, outcome.requests) == ("done", 3)
        assert scene.read(intent.id).attempts == 3
        assert len(scene.customers(email="jenny@example.com")) == 1

    writing.play(store, act)


def test_400_is_quarantined_with_parameter_code_and_address(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> sending.Outcome:
        outcome = await scene.sender.send(scene.intend({"zzz": "Jenny"}))
        assert outcome.requests == 1
        return outcome

    outcome = writing.play(store, act)
    assert outcome.kind == "quarantined"
    assert outcome.sentence == (
        "Stripe refused to create a customer for a row of push:accounts (parameter_unknown, parameter zzz, "
        f"{outcome.request_id}): Received unknown parameter: zzz; correct the row or the mapping, or see "
        f"https://dashboard.stripe.com/test/logs/{outcome.request_id}?t=1."
    )
    found = hold(store)
    assert (found.kind, found.state, found.field, found.code) == (
        "refused",
        "held",
        "zzz",
        "parameter_unknown",
    )
    assert (found.hash, found.version, found.text) == ("h1", "v1", outcome.sentence)


def test_resource_already_exists_is_adopted(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> sending.Outcome:
        intend = functools.partial(scene.intend, object="product", path="/v1/products")
        await scene.stripe.post("/v1/products", {"id": "gold", "name": "Gold"})
        outcome = await scene.sender.send(intend({"id": "gold", "name": "Golden"}))
        link = links.find(store, PUSH, ["row 1"])["row 1"]
        assert (link.target, link.created, link.gone) == ("gold", False, "")
        other = await scene.sender.send(intend({"id": "gold", "name": "Mine"}, key="row 2"))
        assert (other.kind, hold(store, "row 2").kind) == ("quarantined", "shared")
        return outcome

    outcome = writing.play(store, act)
    assert (outcome.kind, outcome.target) == ("adopted", "gold")
    assert "its row is linked to it and compared with it." in outcome.sentence
    assert pushed_rows(store) == 0


def pushed_rows(store: database.Database) -> int:
    return sum(len(batch) for batch in pushed.each(store, PUSH, 10))


def test_401_stops_the_run(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> sending.Outcome:
        first, second = scene.intend(writing.JENNY), scene.intend(writing.JENNY, key="row 2")
        scene.made.keys.revoke(writing.KEY)
        outcome = await scene.sender.send(first)
        assert scene.status(first) == "void"  # Stripe did not look at it
        left = await scene.sender.send(second)
        assert (left.kind, left.sentence) == ("left", outcome.sentence)
        assert scene.status(second) == "intent"
        assert scene.made.stats.statuses == {401: 1}
        return outcome

    outcome = writing.play(store, act)
    assert outcome.kind == "again"
    assert outcome.sentence.startswith("push:accounts stops: Stripe rejected the key sk_test_…abcd on POST")
    assert "look it up at https://dashboard.stripe.com/apikeys." in outcome.sentence


def test_402_is_quarantined_with_the_decline_code(store: database.Database) -> None:
    declined = answer(402, type="card_error", code="card_declined", decline_code="lost_card", message="No.")
    outcome, _ = answered(store, declined)
    assert outcome.kind == "quarantined"
    assert outcome.sentence == (
        "Stripe refused to create a customer for a row of push:accounts (card_declined, lost_card, req_1): No; "
        "correct the row or the mapping, or see https://dashboard.stripe.com/test/logs/req_1."
    )


def test_403_stops_this_kind_of_object_and_names_the_permission(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> sending.Outcome:
        scene.made.keys.register(writing.KEY, ("rak_product_write", "rak_product_read"))
        first, second = scene.intend(writing.JENNY), scene.intend(writing.JENNY, key="row 2")
        outcome = await scene.sender.send(first)
        assert (await scene.sender.send(second)).kind == "left"
        assert (scene.status(first), scene.status(second)) == ("void", "intent")
        product = scene.intend({"name": "Gold"}, key="row 3", object="product", path="/v1/products")
        assert (await scene.sender.send(product)).kind == "done"
        return outcome

    outcome = writing.play(store, act)
    assert outcome.kind == "again"
    assert outcome.sentence == (
        "The key lacks the permission rak_customer_write to create a customer for a row of push:accounts "
        f"({outcome.request_id}); grant it at https://dashboard.stripe.com/apikeys, and run push:accounts again."
    )


def test_404_unlinks_and_holds_and_nothing_is_made_anew(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> tuple[sending.Outcome, str]:
        target = await writing.existing(scene)
        await scene.stripe.delete(f"/v1/customers/{target}")
        outcome = await scene.sender.send(scene.intend({"name": "Jenny"}, target=target))
        assert links.find(store, PUSH, ["row 1"])["row 1"].gone == "missing"
        again = operations.Intent(
            "run_2", "row 1", writing.ACCOUNT, False, "customer", "create", "POST", "/v1/customers", "", "v"
        )
        [begun] = ledger.begin(store, scene.held.fence, [again])
        assert begun.state == "gone"
        return outcome, target

    outcome, target = writing.play(store, act)
    assert (outcome.kind, hold(store).kind) == ("gone", "gone")
    assert outcome.sentence == (
        f"Somebody deleted the customer {target} that a row of push:accounts is (resource_missing, parameter "
        f"customer, {outcome.request_id}); it is not made anew, choose another object for it in `tidegate inbox "
        "push:accounts`."
    )


def test_a_delete_of_what_somebody_else_deleted_leaves_a_tombstone(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        target = await writing.existing(scene)
        await scene.stripe.delete(f"/v1/customers/{target}")
        delete = scene.intend({}, target=target, method="DELETE", action="delete")
        outcome = await scene.sender.send(delete)
        assert outcome.kind == "gone"
        assert links.find(store, PUSH, ["row 1"])["row 1"].gone == "missing"

    writing.play(store, act)


def test_a_delete_whose_answer_was_lost_was_ours(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        target = await writing.existing(scene)
        scene.befall({"kind": "reset", "when": "after", "method": "DELETE", "times": 1})
        delete = scene.intend({}, target=target, method="DELETE", action="delete")
        outcome = await scene.sender.send(delete)
        assert (outcome.kind, outcome.requests) == ("done", 2)
        assert links.find(store, PUSH, ["row 1"])["row 1"].gone == "deleted"

    writing.play(store, act)


def test_more_than_a_twentieth_of_404s_stops_the_run(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        for number in range(18):
            assert (await scene.sender.send(scene.intend(writing.JENNY, key=f"row {number}"))).kind == "done"
        for number in (1, 2):
            target = f"cus_nobody{number}"
            assert scene.sender.breaker.stopped == ""
            missing = scene.intend({"name": "Jenny"}, key=f"gone {number}", target=target)
            assert (await scene.sender.send(missing)).kind == "gone"
        assert scene.sender.breaker.stopped == (
            "push:accounts stops: 2 of 20 objects are not there, so this is the wrong account, or the wrong mode; "
            "check the key before it runs again."
        )
        asked = scene.asked()
        assert (await scene.sender.send(scene.intend(writing.JENNY, key="later"))).kind == "left"
        assert scene.asked() == asked

    writing.play(store, act)


@pytest.mark.parametrize(
    ("fault", "effects"),
    [
        ({"kind": "lock"}, 0),
        ({"kind": "unavailable"}, 0),
        ({"kind": "reset", "when": "before"}, 0),
        ({"kind": "reset", "when": "after"}, 1),
        ({"kind": "truncate"}, 1),
    ],
    ids=lambda each: f"{each['kind']}-{each.get('when', '')}" if isinstance(each, dict) else "",
)
def test_trouble_that_lasts_is_left_to_the_next_run(
    store: database.Database, fault: dict[str, Any], effects: int
) -> None:
    async def act(scene: writing.Scene) -> None:
        scene.befall({**fault, "method": "POST"})
        intent = scene.intend(writing.JENNY)
        outcome = await scene.sender.send(intent)
        assert outcome.requests == 3
        if fault["kind"] == "lock":
            assert (outcome.kind, scene.status(intent)) == ("again", "void")
            assert "nothing was done, and the next run plans it again." in outcome.sentence
        else:
            assert (outcome.kind, scene.status(intent)) == ("undecided", "sent")
            assert outcome.sentence.startswith("Nobody knows yet whether Stripe did create a customer")
        assert len(scene.customers(email="jenny@example.com")) == effects

    writing.play(store, act)


def test_a_500_that_stripe_keeps_is_not_asked_for_in_a_loop(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> sending.Outcome:
        scene.befall({"kind": "error", "when": "after", "method": "POST", "times": 1})
        intent = scene.intend(writing.JENNY)
        outcome = await scene.sender.send(intent)
        assert (outcome.requests, scene.status(intent)) == (2, "unknown")
        assert scene.sender.breaker.stopped == ""
        return outcome

    outcome = writing.play(store, act)
    assert outcome.kind == "unknown"
    assert outcome.sentence == (
        "Stripe failed with status 500 to create a customer for a row of push:accounts "
        f"({outcome.request_id}), and keeps answering so; whether it was done is found out by the next run."
    )


def test_a_key_that_stripe_has_with_another_request_stops_the_run(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> sending.Outcome:
        intent = scene.intend(writing.JENNY)
        other = {"name": "Somebody"}
        await scene.stripe.post("/v1/customers", other, idempotency_key=intent.idempotency_key)
        outcome = await scene.sender.send(intent)
        assert scene.status(intent) == "unknown"
        assert scene.sender.breaker.stopped == outcome.sentence
        return outcome

    outcome = writing.play(store, act)
    assert outcome.kind == "unknown"
    assert "so the ledger and Stripe disagree, and push:accounts stops" in outcome.sentence


def test_an_id_that_looks_like_a_word_is_counted_with_its_endpoint(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        intent = scene.intend({"name": "Gold"}, object="product", path="/v1/products", target="gold")
        assert sending.written(intent).endpoint == "/v1/products/{id}"
        archive = dataclasses.replace(intent, action="archive")
        assert sending.written(archive).endpoint == "/v1/products/{id}"

    writing.play(store, act)


def test_no_sentence_tells_what_was_sent(store: database.Database) -> None:
    said = answer(
        400, code="email_invalid", param="email", message="Invalid email address: jenny@x (JENNY ROSEN)"
    )
    outcome, _ = answered(store, said, {"email": "jenny@x", "name": "Jenny Rosen"})
    assert outcome.kind == "quarantined"
    assert "Invalid email address: … (…); correct the row" in outcome.sentence
    assert hold(store).text == outcome.sentence


def answer(status: int, **error: str) -> bytes:
    text = json.dumps({"error": error} if status >= 300 else error).encode()
    head = f"HTTP/1.1 {status} Said\r\nRequest-Id: req_1\r\nContent-Length: {len(text)}\r\n\r\n"
    return head.encode() + text


class Wire:
    """A Stripe that gives one answer to everything, counts every byte, and may hold its answers back."""

    def __init__(self, said: bytes) -> None:
        self.said = said
        self.got = b""
        self.requests = 0
        self.open = asyncio.Event()
        self.open.set()
        self.tasks: set[asyncio.Task[Any] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(2**16):  # each request here fits into one piece
                self.got += piece
                self.requests += 1
                await self.open.wait()
                writer.write(self.said)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def wired(said: bytes) -> AsyncIterator[tuple[Wire, str]]:
    wire = Wire(said)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    async with server:
        yield wire, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        wire.open.set()
        await asyncio.gather(*filter(None, wire.tasks))


def answered(
    store: database.Database, said: bytes, values: dict[str, Any] | None = None
) -> tuple[sending.Outcome, Wire]:
    """What comes of a create to which Stripe says this."""

    async def main() -> tuple[sending.Outcome, Wire]:
        async with wired(said) as (wire, base), writing.scene(store, base=base) as scene:
            return await scene.sender.send(scene.intend(values or writing.JENNY)), wire

    return asyncio.run(main())


def test_success_without_an_object_decides_nothing(store: database.Database) -> None:
    outcome, _ = answered(store, b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"id": x}')
    assert outcome.kind == "undecided"
    [found] = operations.undecided(store, PUSH)
    assert found.status == "sent"


@pytest.mark.parametrize("clock", ["steady", "wall"])
@pytest.mark.parametrize(
    ("name", "time"),
    [("noted as sent", 1), *(("before the socket write", time) for time in (1, 2, 3))],
    ids=str,
)
def test_a_worker_that_was_stopped_for_25_hours_comes_back_and_sends_nothing(
    store: database.Database, clock: str, name: str, time: int
) -> None:
    async def main() -> None:
        async with wired(answer(200, id="cus_1")) as (wire, base), writing.scene(store, base=base) as scene:
            reached: list[str] = []

            def stop(step: str) -> None:
                reached.append(step)
                if step == name and reached.count(name) == time:
                    setattr(scene.time, clock, getattr(scene.time, clock) + 25 * 3600)

            steps.listener = stop
            try:
                intent = scene.intend(writing.JENNY)
                outcome = await scene.sender.send(intent)
            finally:
                steps.listener = None
            assert (outcome.kind, wire.got) == ("left", b"")
            assert scene.status(intent) == "sent"  # for the next run to decide
            assert (await scene.sender.send(scene.intend(writing.JENNY, key="row 2"))).kind == "left"
            assert wire.got == b""

    asyncio.run(main())


def test_a_push_that_is_still_ours_after_a_day_of_sleep_does_not_make_an_operation_young(
    store: database.Database,
) -> None:
    async def main() -> None:
        async with wired(answer(200, id="cus_1")) as (wire, base), writing.scene(store, base=base) as scene:

            def sleep(step: str) -> None:
                if step == "noted as sent":
                    scene.time.steady += 24 * 3600
                    assert scene.held.renew()
                    scene.held.mine()

            steps.listener = sleep
            try:
                outcome = await scene.sender.send(scene.intend(writing.JENNY))
            finally:
                steps.listener = None
            assert (outcome.kind, wire.got) == ("left", b"")
            assert "was planned 24.0 hours ago and may not be sent any more" in outcome.sentence
            assert scene.sender.breaker.stopped == ""  # others may be young

    asyncio.run(main())


def test_an_intent_of_yesterday_is_not_sent(store: database.Database) -> None:
    async def main() -> None:
        async with wired(answer(200, id="cus_1")) as (wire, base), writing.scene(store, base=base) as scene:
            intent = scene.age(scene.intend(writing.JENNY), 23 * 3600)
            outcome = await scene.sender.send(intent)
            assert (outcome.kind, wire.got) == ("left", b"")
            assert "was planned 23.0 hours ago and may not be sent any more" in outcome.sentence
            assert (scene.status(intent), scene.sender.breaker.stopped) == ("intent", "")

    asyncio.run(main())


def test_a_retry_is_not_sent_once_the_push_is_somebody_elses(store: database.Database) -> None:
    async def main() -> None:
        async with wired(answer(500)) as (wire, base), writing.scene(store, base=base) as scene:

            def taken(step: str) -> None:
                if step == "before the socket write":
                    store.execute("UPDATE fences SET until = 0")
                    fences.take(store, PUSH, "another", 60)

            steps.listener = taken
            try:
                intent = scene.intend(writing.JENNY)
                outcome = await scene.sender.send(intent)
            finally:
                steps.listener = None
            assert (outcome.kind, outcome.requests, wire.requests) == ("undecided", 1, 1)
            assert "Another process writes for push:accounts now" in outcome.sentence
            assert scene.sender.breaker.stopped == outcome.sentence

    asyncio.run(main())


def test_two_operations_on_one_object_wait_for_each_other(store: database.Database) -> None:
    async def main() -> None:
        ids = "/v1/customers/cus_1/tax_ids"
        async with wired(answer(200, id="txi_1")) as (wire, base), writing.scene(store, base=base) as scene:
            wire.open.clear()
            intents = [
                scene.intend({"type": "eu_vat", "value": f"DE{n}"}, key=f"row {n}", object="tax_id", path=ids)
                for n in range(3)
            ]
            other = scene.intend(writing.JENNY, key="other")
            begun = asyncio.Event()
            count = 0

            def heard(step: str) -> None:
                nonlocal count
                count += step == "noted as sent"
                if count == 2:
                    begun.set()

            steps.listener = heard
            try:
                tasks = [asyncio.create_task(scene.sender.send(each)) for each in [*intents, other]]
                await begun.wait()
                sent = [each for each in intents if scene.status(each) == "sent"]
                assert len(sent) == 1  # and the other customer beside it
                assert scene.status(other) == "sent"
                wire.open.set()
                await asyncio.gather(*tasks)
            finally:
                steps.listener = None
            assert wire.requests == 4

    asyncio.run(main())


def test_a_store_that_is_gone_is_told_and_the_operation_stays_undecided(
    store: database.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(scene: writing.Scene) -> None:
        intent = scene.intend(writing.JENNY)
        acknowledge = ledger.acknowledge

        def gone(*_: Any) -> list[str]:
            raise errors.StoreUnreachable("The database is restarting; wait.")

        monkeypatch.setattr(ledger, "acknowledge", gone)
        with pytest.raises(errors.StoreUnreachable):
            await scene.sender.send(intent)
        monkeypatch.setattr(ledger, "acknowledge", acknowledge)
        assert scene.status(intent) == "sent"
        outcome = await scene.sender.send(scene.read(intent.id))
        assert (outcome.kind, outcome.replayed) == ("done", True)
        assert len(scene.customers(email="jenny@example.com")) == 1

    writing.play(store, act)


def test_what_an_object_has_of_what_was_written() -> None:
    made = {"id": "cus_1", "name": "J", "metadata": {"a": "1", "b": "2"}, "address": None, "tax": [1, 2]}
    sent = {"name": "Jenny", "metadata": {"a": "1", "gone": ""}, "address": {"city": "Ulm"}, "tax": ["1"]}
    assert sending.picked(sent, made) == {"name": "J", "metadata": {"a": "1"}, "address": None, "tax": [1, 2]}
