"""Traffic: a business that lives at random, and a sandbox that stays consistent while it does."""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tidegate import catalog
from tidegate.sandbox import operations, server, serving, traffic

from .conftest import NOW, Stripe

FACTS = catalog.load()
DAY = 86_400


def lived(seed: int, steps: int, **plan: Any) -> tuple[server.Sandbox, traffic.Life, traffic.Told]:
    """A business of 300 objects after some steps of traffic."""
    options = serving.Options(seed=seed, objects=300, accounts=2, now=NOW, clock=NOW + 60, record=True)
    made, told = serving.build(options), traffic.Told()
    given = traffic.Plan(seed=seed, steps=steps, **plan)
    life = made.life(given)
    for _ in traffic.run(life, given, told):
        pass
    return made, life, told


def everything(made: server.Sandbox) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every live object: stream, parent's id, object."""
    book = made.book()
    for stream in FACTS.streams:
        for parent, ref in book.every(stream):
            yield stream, parent, book.show(stream, ref)


def test_the_same_seed_is_the_same_life() -> None:
    def states(seed: int) -> list[tuple[str, str, dict[str, Any]]]:
        return list(everything(lived(seed, 120, tick=0.3)[0]))

    assert states(3) == states(3)
    assert states(3) != states(4)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_kind_of_step_comes_within_two_hundred(seed: int) -> None:
    _, _, told = lived(seed, 200, tick=0.5)

    dealt = told.steps.keys() | told.idle.keys()
    assert dealt == traffic.HABITS.keys()
    assert sum(told.idle.values()) <= 4
    assert {name.partition(": ")[2] for name in told.refused} == {"card_declined"}


def test_kinds_are_chosen_by_name_or_family() -> None:
    _, _, told = lived(1, 30, kinds=("coupons", "invoices.void"))

    assert {name for name in told.steps if not name.startswith("coupons.")} == {"invoices.void"}
    assert "coupons.again" in told.steps
    with pytest.raises(ValueError, match="unheard"):
        lived(1, 1, kinds=("unheard.of",))


def test_the_clock_moves_by_the_tick_or_not_at_all() -> None:
    still, _, _ = lived(1, 40)
    moving, _, _ = lived(1, 40, tick=0.25)

    assert still.clock.time() == NOW + 60
    assert moving.clock.time() == NOW + 60 + 10
    born = [one["created"] for stream, _, one in everything(still) if stream == "events"]
    assert born.count(NOW + 60) > 40


def test_a_burst_is_several_changes_of_one_object_in_one_second() -> None:
    made, _, _ = lived(1, 1, kinds=("subscriptions.burst",))
    events = [one for stream, _, one in everything(made) if stream == "events" and one["created"] == NOW + 60]
    told = [event for event in events if event["type"].startswith("customer.subscription.")]

    assert {event["data"]["object"]["id"] for event in told} == {told[0]["data"]["object"]["id"]}
    assert {event["type"].rpartition(".")[2] for event in told} == {"created", "updated", "deleted"}


@pytest.mark.parametrize("seed", range(3))
def test_an_object_by_its_id_is_what_its_list_and_the_truth_say(seed: int) -> None:
    """Otherwise no reader could be judged by either."""
    made, life, _ = lived(seed, 250, tick=0.4)
    book, read = made.book(), 0
    for stream, parent, obj in everything(made):
        path = FACTS.streams[stream].retrieve
        for origin in FACTS.streams[stream].origins:
            if origin.retrieve and origin.parents and book.exists(origin.parents[0].stream, parent):
                path = origin.retrieve
        if not path or stream == "events":
            continue
        holes = re.findall(r"\{\w+\}", path)
        for hole, value in zip(holes, [parent, obj["id"]][-len(holes) :], strict=True):
            path = path.replace(hole, value)
        assert life.ask("GET", path) == obj, path
        read += 1
    assert read > 800


def sums(made: server.Sandbox) -> dict[tuple[str, str], int]:
    found: collections.Counter[tuple[str, str]] = collections.Counter()
    book = made.book()
    for _, ref in book.every("balance_transactions"):
        moved = book.show("balance_transactions", ref)
        assert (moved["status"] == "available") == (moved["available_on"] <= made.clock.now())
        found[moved["status"], moved["currency"]] += moved["net"]
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_balance_is_always_what_the_balance_transactions_come_to(seed: int) -> None:
    money = ("charges", "disputes", "payouts", "refunds", "topups", "transfers", "payment_intents")
    made, _, _ = lived(seed, 150, tick=700, kinds=money)
    for days in (0, 1, 3):
        made.clock.advance(days * DAY)
        expected = sums(made)
        shown = json.loads(operations.balance(made.book()))
        for side in ("available", "pending"):
            amounts = {one["currency"]: one["amount"] for one in shown[side]}
            assert amounts == {currency: expected[side, currency] for currency in amounts}
            assert {currency for _, currency in expected} <= amounts.keys()
    assert not any(amount for (side, _), amount in sums(made).items() if side == "pending")


def named(event: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The rows that an event is about by the catalog: its object, and the object's relatives."""
    obj = event["data"]["object"]
    paths = dict(FACTS.strays.get(event["type"], {}))
    for stream in FACTS.streams.values():
        if stream.object == obj["object"]:
            yield stream.name, obj.get("id", "")
            paths |= stream.relatives
    for path, streams in paths.items():
        found: Any = obj
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if isinstance(found, str):
            for stream_name in streams:
                yield stream_name, found


@pytest.mark.parametrize("seed", range(4))
def test_evented_traffic_changes_nothing_behind_the_events(seed: int) -> None:
    """Every change of a row is told by an event of its second: its own, its parent's, or a relative's.

    Balance transactions are the exception: Stripe never announces them.
    """
    made, _, told = lived(seed, 250, tick=3, only_evented=True)
    book = made.book()
    assert book.history is not None
    known = {
        (stream, id, event["created"])
        for stream, _, event in everything(made)
        if stream == "events"
        for stream, id in named(event)
    }
    changes = 0
    for stream in FACTS.streams.values():
        for key, entry in book.history.of(stream.name):
            if entry.at is None or stream.name == "balance_transactions":
                continue
            changes += 1
            parent = key.parent or book.parent_of(stream.name, key.id)
            above = {
                (origin.parents[0].stream, parent, entry.at) for origin in stream.origins if origin.parents
            }
            assert (stream.name, key.id, entry.at) in known or above & known, (key, entry.at)
    assert changes > 500
    assert not any(traffic.HABITS[name].silent for name in told.steps)


def test_silent_traffic_leaves_no_event() -> None:
    silent = tuple(name for name, one in traffic.HABITS.items() if one.silent and name.endswith(".edit"))
    made, _, told = lived(1, 60, kinds=silent)
    events = [one for stream, _, one in everything(made) if stream == "events" and one["created"] > NOW]

    assert set(told.steps) == set(silent) >= {"payment_intents.edit", "topups.edit", "checkout.edit"}
    assert all(event["type"].endswith(".created") for event in events)


def test_a_chosen_id_is_used_again() -> None:
    made, _, _ = lived(1, 60, tick=2, kinds=("coupons.again", "products.again", "plans.again"))
    types = collections.Counter(
        (one["type"], one["data"]["object"]["id"])
        for stream, _, one in everything(made)
        if stream == "events"
    )

    for type, id in (("coupon", "SPRING"), ("product", "chosen_1"), ("plan", "gold_1"), ("price", "gold_1")):
        assert types[f"{type}.deleted", id] >= 2
        assert types[f"{type}.created", id] == types[f"{type}.deleted", id] + 1


def test_traffic_is_told_over_http_and_goes_on_in_a_connected_account(start: Callable[..., Stripe]) -> None:
    stripe = start()
    connected = stripe.get("/v1/accounts").ids[0]
    told = stripe.control("traffic", {"seed": 5, "steps": 40, "tick": 1, "account": connected})

    assert sum(told["steps"].values()) + sum(told["idle"].values()) == 40
    assert told["now"] == NOW + 100
    assert stripe.events() == []
    theirs = stripe.get("/v1/events", {"created": {"gt": NOW}}, headers={"Stripe-Account": connected})
    assert theirs.json["data"]
