"""What somebody else changed at Stripe of what a push wrote: seen, told, and brought back where that is wished."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pushed_people as people
import pytest
from following import Merchant
from undone_people import undo

from tidegate import config, sandbox
from tidegate.engine import drifts, preparing
from tidegate.push import drift
from tidegate.store import database, holds, operations, pushed, runs

FIRST = iter(range(1_000, 1_000_000, 100))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with sandbox.process(objects=30) as served:
        yield served


@pytest.fixture
def shop(url: str) -> Merchant:
    return Merchant(url)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[database.Database]:
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as opened:
        yield opened


def some(count: int) -> list[dict[str, str]]:
    """So many people whom no other test has."""
    first = next(FIRST)
    return [people.person(first + n) for n in range(count)]


def id(shop: Merchant, person: dict[str, str]) -> str:
    """The customer of a person."""
    [found] = [
        line["object"]["id"] for line in shop.truth("customers") if line["object"]["email"] == person["email"]
    ]
    return str(found)


def verify(folder: Path) -> tuple[drifts.Result, list[drift.Drift]]:
    """What drifted."""
    told: list[drift.Drift] = []
    file = config.load(folder / "tidegate.yaml")
    with contextlib.closing(database.open_database(f"sqlite:///{folder}/tidegate.db")) as store:
        job = preparing.job(file, people.NAME)
        going = drifts.run(
            job, store, folder / "state", runs.new_id(), seen=lambda _, rows: told.extend(rows())
        )
        return asyncio.run(going), told


def written(shop: Merchant, folder: Path, rows: list[dict[str, str]], push: str = people.USUAL) -> None:
    """These rows are pushed, and Stripe's events have told of it."""
    people.write(folder, shop.url, rows, push)
    people.push(folder)
    shop.later()


def test_nothing_drifts_by_itself(shop: Merchant, tmp_path: Path) -> None:
    written(shop, tmp_path, some(5))
    shop.counted()
    result, told = verify(tmp_path)
    assert (result.counts, told) == (drift.Counts(rows=5, equal=5), [])
    assert not [name for name in shop.counted() if name.startswith(("POST", "DELETE"))]


def test_our_own_writes_are_no_drift_before_their_events_come(shop: Merchant, tmp_path: Path) -> None:
    rows = some(3)
    written(shop, tmp_path, rows)
    people.rows(tmp_path, [{**each, "name": "New"} for each in rows])
    people.push(tmp_path)
    assert verify(tmp_path)[0].counts == drift.Counts(rows=3, equal=3)


def test_who_changed_what_is_told_field_by_field(shop: Merchant, tmp_path: Path) -> None:
    rows = some(4)
    written(shop, tmp_path, rows)
    shop.make(f"/v1/customers/{id(shop, rows[1])}", name="Theirs", metadata={"plan": ""}, phone="123")
    shop.later()
    result, told = verify(tmp_path)
    assert result.counts == drift.Counts(rows=4, equal=3, changed=1, fields=2)
    assert [(each.kind, each.field, each.before, each.now) for each in told] == [
        ("changed", "metadata.plan", "pro", None),
        ("changed", "name", rows[1]["name"], "Theirs"),
    ]
    assert {(each.key, each.target) for each in told} == {(rows[1]["id"], id(shop, rows[1]))}


def test_what_was_deleted_there_and_what_lost_its_object_are_told(shop: Merchant, tmp_path: Path) -> None:
    rows = some(4)
    written(shop, tmp_path, rows)
    first, second = id(shop, rows[0]), id(shop, rows[1])
    people.rows(tmp_path, [{**rows[0], "name": "New"}, *rows[1:]])
    assert people.push(tmp_path, seen=lambda: shop.delete(f"/v1/customers/{first}")).counts.held == 1
    shop.delete(f"/v1/customers/{second}")
    shop.later()
    result, told = verify(tmp_path)
    assert result.counts == drift.Counts(rows=4, equal=2, deleted=1, unlinked=1)
    assert {(each.kind, each.target) for each in told} == {("unlinked", first), ("deleted", second)}


def test_what_is_left_to_stripe_may_change_there(shop: Merchant, tmp_path: Path) -> None:
    rows = some(2)
    push = (
        "{model: people, to: acme, object: customer, match: {email: email}, fields: {"
        "name: {from: name, owner: three_way}, description: {from: plan, owner: stripe}, metadata.plan: plan}}"
    )
    written(shop, tmp_path, rows, push)
    shop.make(f"/v1/customers/{id(shop, rows[0])}", name="Theirs", description="theirs")
    shop.later()
    assert verify(tmp_path)[0].counts == drift.Counts(rows=2, equal=2)


def test_other_spellings_of_the_same_are_no_drift(shop: Merchant, tmp_path: Path) -> None:
    rows = some(2)
    push = (
        "{model: people, to: acme, object: promotion_code, match: {code: name}, fields: {"
        "promotion: {value: x}, expires_at: plan, max_redemptions: id}}"
    )
    coupon = shop.make("/v1/coupons", percent_off=10, duration="once")["id"]
    push = push.replace(
        "promotion: {value: x}", f"promotion.type: {{value: coupon}}, promotion.coupon: {{value: {coupon}}}"
    )
    rows = [
        {**each, "name": f"CODE{each['id']}", "plan": "2031-05-01T00:00:00Z", "id": each["id"]}
        for each in rows
    ]
    written(shop, tmp_path, rows, push)
    result, told = verify(tmp_path)
    assert (result.counts, told) == (drift.Counts(rows=2, equal=2), [])


def test_a_look_changes_nothing(shop: Merchant, tmp_path: Path, store: database.Database) -> None:
    rows = some(2)
    written(shop, tmp_path, rows)
    shop.make(f"/v1/customers/{id(shop, rows[0])}", name="Theirs")
    shop.later()
    before = pushed.find(store, people.NAME, [each["id"] for each in rows])
    verify(tmp_path)
    assert pushed.find(store, people.NAME, [each["id"] for each in rows]) == before
    assert len(operations.listed(store, push=people.NAME, limit=None)) == 2


def test_a_push_alone_does_not_see_it_and_a_repair_brings_it_back(shop: Merchant, tmp_path: Path) -> None:
    rows = some(3)
    written(shop, tmp_path, rows)
    customer = id(shop, rows[1])
    shop.make(f"/v1/customers/{customer}", name="Theirs", metadata={"plan": ""}, description="theirs")
    shop.later()
    assert people.push(tmp_path).counts.unchanged == 3
    planned = people.push(tmp_path, repair=True, write=False)
    assert (planned.counts.updated, planned.counts.unchanged) == (1, 2)
    done = people.push(tmp_path, repair=True)
    assert (done.counts.updated, done.counts.unchanged) == (1, 2)
    there = shop.get(f"/v1/customers/{customer}")
    assert (there["name"], there["metadata"]["plan"], there["description"]) == (
        rows[1]["name"],
        "pro",
        "theirs",
    )
    shop.later()
    assert verify(tmp_path)[0].counts == drift.Counts(rows=3, equal=3)
    again = people.push(tmp_path)
    assert (again.counts.unchanged, again.requests) == (3, 0)


def test_a_repair_makes_nothing_anew_that_somebody_deleted(
    shop: Merchant, tmp_path: Path, store: database.Database
) -> None:
    rows = some(2)
    written(shop, tmp_path, rows)
    shop.delete(f"/v1/customers/{id(shop, rows[0])}")
    shop.later()
    done = people.push(tmp_path, repair=True)
    assert (done.counts.held, done.counts.unchanged, done.counts.created) == (1, 1, 0)
    hold = holds.find(store, people.NAME, rows[0]["id"])
    assert hold is not None
    assert hold.kind == "gone"


def test_what_was_undone_is_no_drift(shop: Merchant, tmp_path: Path) -> None:

    rows = some(2)
    written(shop, tmp_path, rows)
    people.rows(tmp_path, [{**each, "name": "Wrong"} for each in rows])
    run = people.push(tmp_path).made.run
    shop.later()
    undo(tmp_path, run)
    shop.later()
    assert verify(tmp_path)[0].counts == drift.Counts(rows=2, equal=2)
    assert people.push(tmp_path, repair=True).counts.quarantined == 2


def test_its_document_is_what_programs_read(shop: Merchant, tmp_path: Path) -> None:
    rows = some(2)
    written(shop, tmp_path, rows)
    shop.make(f"/v1/customers/{id(shop, rows[0])}", name="Theirs")
    shop.later()
    document: dict[str, Any] = verify(tmp_path)[0].document()
    assert {name: document[name] for name in ("push", "status", "rows", "equal", "changed", "deleted")} == {
        "push": people.NAME,
        "status": "drifted",
        "rows": 2,
        "equal": 1,
        "changed": 1,
        "deleted": 0,
    }
