"""What earlier runs left undecided, each way of finding out, and when nobody can."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import servers
import writing

from tidegate import errors
from tidegate.catalog import writes
from tidegate.push import evidence, forms, recover
from tidegate.store import claims, database, ledger, links, operations

PUSH = writing.PUSH
DAY = 24 * 3600.0
HOUR = 3600.0


@dataclass
class Copy:
    """A mirror that knows these operations."""

    caught_up_since: float = 2e9
    made: dict[str, str] = field(default_factory=dict)

    def find_op(self, operation: str) -> str | None:
        return self.made.get(operation)


async def decide(
    scene: writing.Scene, mirror: evidence.Mirror | None = None, **more: Any
) -> recover.Decision:
    """Recover the one operation that is undecided."""
    decisions = await recover.recover(scene.stripe, scene.held, scene.sender, lambda _: mirror, **more)
    [found] = decisions
    return found


async def lost(
    scene: writing.Scene, values: dict[str, Any] = writing.JENNY, *, done: bool, **more: Any
) -> operations.Operation:
    """An operation of which nobody heard an answer, whether or not Stripe did it."""
    intent = scene.intend(values, **more)
    scene.befall({"kind": "reset", "when": "after" if done else "before"})
    outcome = await scene.sender.send(intent)
    assert outcome.kind == "undecided"
    scene.befall()
    return scene.read(intent.id)


def count(scene: writing.Scene) -> int:
    return len(scene.customers(email="jenny@example.com"))


def test_nothing_undecided_asks_nobody(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        assert await recover.recover(scene.stripe, scene.held, scene.sender, lambda _: None) == []
        assert scene.asked("GET") == 0

    writing.play(store, act)


def test_what_was_never_sent_is_planned_again(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        intent = scene.intend(writing.JENNY)
        decision = await decide(scene)
        assert (decision.kind, scene.status(intent)) == ("void", "void")
        assert (scene.asked(), scene.asked("GET")) == (0, 0)
        scene.intend(writing.JENNY)  # the row is free

    writing.play(store, act)


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("hours", [0, 22.9])
def test_a_young_create_gets_the_same_bytes_and_key(
    store: database.Database, done: bool, hours: float
) -> None:
    async def act(scene: writing.Scene) -> None:
        intent = scene.age(await lost(scene, done=done), hours * HOUR)
        decision = await decide(scene)
        assert (decision.kind, scene.status(intent), count(scene)) == ("done", "done", 1)
        assert links.find(store, PUSH, ["row 1"])["row 1"].target == decision.target

    writing.play(store, act)


def test_a_young_create_that_stripe_refuses_is_refused(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        intent = await lost(scene, {**writing.JENNY, "zzz": "1"}, done=False)
        decision = await decide(scene)
        assert (decision.kind, scene.status(intent)) == ("refused", "refused")
        assert "parameter zzz" in decision.sentence

    writing.play(store, act)


def test_a_young_create_while_nothing_can_be_reached_waits(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        intent = await lost(scene, done=True)
        scene.befall({"kind": "reset"})
        assert (await decide(scene)).kind == "waiting"
        assert scene.status(intent) == "sent"
        scene.befall()
        assert (await decide(scene)).kind == "done"
        assert count(scene) == 1

    writing.play(store, act)


@pytest.mark.parametrize("scopes", [None, ("rak_product_write", "rak_product_read")], ids=["401", "403"])
def test_a_create_that_was_sent_is_not_taken_for_undone_when_stripe_shuts_its_door(
    store: database.Database, scopes: tuple[str, ...] | None
) -> None:
    async def act(scene: writing.Scene) -> None:
        intent = await lost(scene, done=True)
        if scopes is None:
            scene.made.keys.revoke(writing.KEY)
        else:
            scene.made.keys.register(writing.KEY, scopes)
        assert (await decide(scene)).kind == "waiting"
        assert scene.status(intent) == "sent"

    writing.play(store, act)


def test_after_a_crash_of_its_own_a_sender_remembers_what_it_sent(
    store: database.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def act(scene: writing.Scene) -> None:
        intent = scene.intend(writing.JENNY)

        def gone(*_: Any) -> list[str]:
            raise errors.StoreUnreachable("The database is restarting; wait.")

        with monkeypatch.context() as patch:
            patch.setattr(ledger, "acknowledge", gone)
            with pytest.raises(errors.StoreUnreachable):
                await scene.sender.send(intent)
        scene.made.keys.register(writing.KEY, ())
        outcome = await scene.sender.send(intent)  # as it was read before it was sent
        assert (outcome.kind, scene.status(intent)) == ("undecided", "sent")

    writing.play(store, act)


async def old(scene: writing.Scene, *, done: bool, **more: Any) -> operations.Operation:
    """The same of yesterday; Stripe has forgotten its key, and would do it once more."""
    intent = scene.age(await lost(scene, done=done, **more), 25 * HOUR)
    scene.made.clock.advance(25 * HOUR)
    scene.made.ledger.prune(scene.made.clock.now())
    # Whatever the clocks say of each other: the events and lists of then are looked for by Stripe's.
    return intent


def sent_nothing(scene: writing.Scene, before: int) -> bool:
    return scene.asked() == before


def test_an_old_create_is_found_in_the_events_by_its_key(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        intent = await old(scene, done=True)
        before = scene.asked()
        decision = await decide(scene)
        assert (decision.kind, scene.status(intent), count(scene)) == ("done", "done", 1)
        assert sent_nothing(scene, before)
        found = scene.read(intent.id)
        assert found.after is not None
        assert found.after["name"] == "Jenny Rosen"

    writing.play(store, act)


def without_events(scene: writing.Scene, *more: str) -> None:
    """The key may not read events."""
    scopes = ("rak_customer_write", "rak_customer_read", *more)
    scene.made.keys.register(writing.KEY, scopes)


@pytest.mark.parametrize(
    ("request_", "key"),
    [({"id": "req_1", "idempotency_key": "k"}, "k"), ({"id": None}, None), ("req_1", None), (None, None)],
)
def test_events_of_every_api_version_tell_their_key_or_nothing(request_: Any, key: str | None) -> None:
    assert evidence.key_of({"id": "evt_1", "request": request_}) == key


def test_an_old_create_is_found_in_the_mirror_by_its_metadata(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        intent = await old(scene, done=True)
        without_events(scene)
        [customer] = scene.customers(email="jenny@example.com")
        before = scene.asked()
        decision = await decide(scene, Copy(made={intent.id: customer["id"]}))
        assert (decision.kind, decision.target, sent_nothing(scene, before)) == ("done", customer["id"], True)

    writing.play(store, act)


def test_an_old_create_is_found_by_search(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        intent = await old(scene, done=True)
        without_events(scene)
        scene.befall({"kind": "error", "path": "/v1/customers", "method": "GET"})
        decision = await decide(scene)
        assert (decision.kind, scene.status(intent), count(scene)) == ("done", "done", 1)

    writing.play(store, act)


def test_an_old_create_is_found_in_the_list_of_its_time_while_search_lags(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        intent = await old(scene, done=True)
        without_events(scene)
        scene.made.search_delay = 30 * DAY
        decision = await decide(scene)
        assert (decision.kind, scene.status(intent), count(scene)) == ("done", "done", 1)

    writing.play(store, act)


def test_an_old_create_of_which_nothing_tells_is_planned_again(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        intent = await old(scene, done=False)
        before = scene.asked()
        decision = await decide(scene, Copy())
        assert (decision.kind, scene.status(intent), count(scene)) == ("void", "void", 0)
        assert sent_nothing(scene, before)

    writing.play(store, act)


@pytest.mark.parametrize(
    ("doubt", "why"),
    [
        ("no events", "the events that would tell could not all be read"),
        ("no mirror", "no complete copy of the customer objects is as new as that"),
        ("an old mirror", "no complete copy of the customer objects is as new as that"),
        ("an old operation", "it is so old that Stripe no longer has its events"),
    ],
)
def test_absence_that_is_not_proven_stays_unknown_with_the_reason(
    store: database.Database, doubt: str, why: str
) -> None:
    async def act(scene: writing.Scene) -> None:
        intent = await old(scene, done=False)
        mirror: Copy | None = Copy()
        if doubt == "no events":
            without_events(scene)
        if doubt == "no mirror":
            mirror = None
        if doubt == "an old mirror":
            mirror = Copy(caught_up_since=scene.made.clock.time() - 25 * HOUR)
        if doubt == "an old operation":
            scene.age(intent, 29 * DAY)
        before = scene.asked()
        decision = await decide(scene, mirror)
        assert (decision.kind, scene.status(intent)) == ("unknown", "unknown")
        assert decision.sentence == (
            f"Nobody can tell whether Stripe did {intent.id} of push:accounts, since {why}; look for it in "
            "Stripe's dashboard, and decide in `tidegate inbox push:accounts`. It is not sent again."
        )
        again = await decide(scene, mirror)
        assert again.kind == "unknown"
        assert sent_nothing(scene, before)

    writing.play(store, act)


def test_what_was_unknown_is_decided_by_later_evidence(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        intent = await old(scene, done=False)
        assert (await decide(scene, None)).kind == "unknown"
        assert (await decide(scene, Copy())).kind == "void"
        assert scene.status(intent) == "void"

    writing.play(store, act)


def test_an_event_that_is_late_keeps_a_create_undecided_until_it_is_there(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        scene.made.journal.delay = scene.made.search_delay = 60.0
        scene.befall({"kind": "error", "when": "after", "method": "POST", "times": 1})
        intent = scene.intend(writing.JENNY)
        assert (await scene.sender.send(intent)).kind == "unknown"  # a 500 that Stripe replays
        scene.befall({"kind": "error", "path": "/v1/customers", "method": "GET"})
        decision = await decide(scene, Copy())
        assert decision.kind == "waiting"
        assert "It is too early to say" in decision.sentence
        scene.made.clock.advance(61.0)
        decision = await decide(scene, Copy())
        assert (decision.kind, scene.status(intent), count(scene)) == ("done", "done", 1)

    writing.play(store, act)


@pytest.mark.parametrize(("when", "status"), [("before", "void"), ("after", "done")])
def test_a_500_that_is_replayed_is_looked_for_and_not_sent_again(
    store: database.Database, when: str, status: str
) -> None:
    async def act(scene: writing.Scene) -> None:
        scene.befall({"kind": "error", "when": when, "method": "POST", "times": 1})
        intent = scene.intend(writing.JENNY)
        assert (await scene.sender.send(intent)).kind == "unknown"
        scene.age(intent, 400.0)
        before = scene.asked()
        decision = await decide(scene, Copy())
        assert (decision.kind, scene.status(intent), count(scene)) == (status, status, int(status == "done"))
        assert sent_nothing(scene, before)

    writing.play(store, act)


def test_an_id_that_the_create_chose_tells_without_events(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        scene.made.keys.register(writing.KEY, ("rak_product_write", "rak_product_read"))
        book = {"object": "product", "path": "/v1/products"}
        for done, status in ((True, "done"), (False, "void")):
            intent = await old(
                scene, done=done, values={"id": f"p_{done}", "name": "Gold"}, key=str(done), **book
            )
            assert (await decide(scene)).kind == status
            assert scene.status(intent) == status

    writing.play(store, act)


def test_an_id_that_somebody_else_took_is_planned_again_and_adopted_then(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        book = {"object": "product", "path": "/v1/products"}
        await old(scene, done=False, values={"id": "gold", "name": "Gold"}, **book)
        await scene.stripe.post("/v1/products", {"id": "gold", "name": "Theirs"})
        assert (await decide(scene)).kind == "void"

    writing.play(store, act)


@pytest.mark.parametrize(("done", "status"), [(True, "done"), (False, "void")])
@pytest.mark.parametrize("hours", [1, 25])
def test_an_update_is_compared_and_never_sent_late(
    store: database.Database, done: bool, status: str, hours: float
) -> None:
    async def act(scene: writing.Scene) -> None:
        target = await writing.existing(scene)
        change = {"name": "Jenny", "phone": "", "metadata": {"plan": "gold"}, "address": {"city": "Ulm"}}
        intent = scene.age(await lost(scene, change, done=done, target=target), hours * HOUR)
        before = scene.asked()
        assert (await decide(scene)).kind == status
        assert scene.status(intent) == status
        assert sent_nothing(scene, before)

    writing.play(store, act)


def test_an_update_that_stripe_may_still_be_at_keeps_its_object(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        target = await writing.existing(scene)
        intent = await lost(scene, {"name": "Jenny"}, done=False, target=target)
        decision = await decide(scene)
        assert (decision.kind, scene.status(intent)) == ("waiting", "sent")
        assert (await decide(scene, settled=0.0)).kind == "void"

    writing.play(store, act)


def test_an_update_of_what_somebody_deleted_since_leaves_a_tombstone(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        target = await writing.existing(scene)
        await lost(scene, {"name": "Jenny"}, done=False, target=target)
        await scene.stripe.delete(f"/v1/customers/{target}")
        decision = await decide(scene)
        assert decision.kind == "refused"
        assert f"Somebody deleted the customer {target}" in decision.sentence
        assert links.find(store, PUSH, ["row 1"])["row 1"].gone == "missing"

    writing.play(store, act)


@pytest.mark.parametrize(("done", "status"), [(True, "done"), (False, "void")])
def test_an_archiving_is_compared(store: database.Database, done: bool, status: str) -> None:
    async def act(scene: writing.Scene) -> None:
        book = {"object": "product", "path": "/v1/products"}
        outcome = await scene.sender.send(
            scene.intend({"name": "Gold"}, object="product", path="/v1/products")
        )
        intent = await lost(
            scene, {"active": "false"}, done=done, target=outcome.target, action="archive", **book
        )
        assert (await decide(scene, settled=0.0)).kind == status
        assert scene.status(intent) == status

    writing.play(store, act)


@pytest.mark.parametrize(("done", "status"), [(True, "done"), (False, "void")])
def test_a_delete_is_done_when_the_object_is_gone(store: database.Database, done: bool, status: str) -> None:
    async def act(scene: writing.Scene) -> None:
        target = await writing.existing(scene)
        intent = scene.intend({}, target=target, method="DELETE", action="delete")
        if done:
            scene.befall(
                {"kind": "reset", "when": "after", "method": "DELETE", "times": 1},
                {"kind": "reset", "skip": 1},
            )
        else:
            scene.befall({"kind": "reset", "method": "DELETE"})
        assert (await scene.sender.send(intent)).kind == "undecided"
        scene.befall()
        assert (await decide(scene, settled=0.0)).kind == status
        assert scene.status(intent) == status
        assert links.find(store, PUSH, ["row 1"])["row 1"].gone == ("deleted" if done else "")

    writing.play(store, act)


def test_a_claim_lasts_until_its_create_is_decided(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        intent = await old(scene, done=False)
        claim = claims.Claim(writing.ACCOUNT, False, "customer", "email", "jenny@example.com")
        store.transact(lambda session: claims.take(session, [claims.Wish(claim, PUSH, "row 1", intent.id)]))
        assert (await decide(scene, None)).kind == "unknown"
        assert claims.count(store, PUSH) == 1
        assert (await decide(scene, Copy())).kind == "void"
        assert claims.count(store, PUSH) == 0

    writing.play(store, act)


def test_a_wrong_key_ends_recovery(store: database.Database) -> None:
    async def act(scene: writing.Scene) -> None:
        target = await writing.existing(scene)
        await lost(scene, {"name": "Jenny"}, done=True, target=target)
        scene.made.keys.revoke(writing.KEY)
        with pytest.raises(errors.Unauthorized):
            await decide(scene)

    writing.play(store, act)


def test_on_postgres_too() -> None:
    store = database.open_database(servers.new_postgres())

    async def act(scene: writing.Scene) -> None:
        first = await old(scene, done=True)
        second = scene.age(await lost(scene, done=True, key="row 2"), HOUR)
        third = scene.intend(writing.JENNY, key="row 3")
        decisions = await recover.recover(scene.stripe, scene.held, scene.sender, lambda _: Copy())
        assert {each.operation.id: each.kind for each in decisions} == {
            first.id: "done",
            second.id: "done",
            third.id: "void",
        }
        assert count(scene) == 2

    writing.play(store, act)
    store.close()


@pytest.mark.parametrize(
    ("sent", "live", "same"),
    [
        ({"name": "J"}, {"name": "J", "phone": "1"}, True),
        ({"name": "J"}, {"name": "j"}, False),
        ({"phone": ""}, {"phone": None}, True),
        ({"phone": ""}, {"phone": "1"}, False),
        ({"metadata": {"a": "1", "b": ""}}, {"metadata": {"a": "1"}}, True),
        ({"metadata": {"a": "1"}}, {"metadata": {}}, False),
        ({"address": {"city": "Ulm"}}, {"address": {"city": "Ulm", "line1": None}}, True),
        ({"preferred_locales": ["de"]}, {"preferred_locales": ["de", "en"]}, False),
        ({"source": "tok_1"}, {"name": "J"}, False),  # a response does not show it
        ({"zzz": "1"}, {"zzz": "1"}, False),
    ],
)
def test_whether_an_object_has_all_that_was_sent(
    sent: dict[str, Any], live: dict[str, Any], same: bool
) -> None:
    of = writes.load()["customer"]
    assert recover.has(of, forms.decode(forms.encode(sent)), live) is same
