"""A write of which nobody can tell what became of it: it is said, it is not sent again, and a person decides."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pushed_people as people
import pushing_model
import pytest
from following import Merchant

from tidegate import sandbox
from tidegate.store import database, decisions, holds, links, operations, pushed
from tidegate.stripe import attempts

KEY = "sk_test_123456789"


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Merchant]:
    """A key that may not read events, which would tell."""
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.01)
    with sandbox.process(objects=0, keys={KEY: pushing_model.DEAF}) as url:
        yield Merchant(url)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[database.Database]:
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as opened:
        yield opened


def lost(shop: Merchant, store: database.Database, folder: Path) -> Any:
    """What a push comes to a day after one whose create found no way to Stripe."""
    people.write(folder, shop.url, [people.person(1)])
    shop.faults({"kind": "reset", "method": "POST"})
    first = people.push(folder)
    assert (first.unknown, first.counts.created) == (1, 0)
    shop.faults()
    shop.later(pushing_model.DAY)
    pushing_model.passed(store, pushing_model.DAY)
    return people.push(folder)


def there(shop: Merchant) -> dict[str, str]:
    """The people who are customers: their names by id."""
    found = [each["object"] for each in shop.truth("customers")]
    return {each["id"]: each["name"] for each in found if (each["email"] or "").endswith("@people.test")}


def test_it_is_held_and_not_sent_again(shop: Merchant, store: database.Database, tmp_path: Path) -> None:
    found = lost(shop, store, tmp_path)
    assert (found.undecided, found.counts.held, found.counts.created) == (1, 1, 0)
    hold = holds.find(store, people.NAME, "1")
    assert hold is not None
    [operation] = operations.undecided(store, people.NAME)
    assert (hold.kind, hold.state, hold.operation) == ("unknown", "held", operation.id)
    assert hold.text == (
        f"Nobody can tell whether Stripe did {operation.id} of people, since the events that would tell could not "
        "all be read; look for it in Stripe's dashboard, and decide in `tidegate inbox people`. It is not sent "
        "again."
    )
    again = people.push(tmp_path)
    assert (again.undecided, again.counts.held, there(shop)) == (1, 1, {})


def test_a_person_says_that_it_is_to_be_made(
    shop: Merchant, store: database.Database, tmp_path: Path
) -> None:
    lost(shop, store, tmp_path)
    decisions.choose(store, people.NAME, "1", decisions.CREATE)
    found = people.push(tmp_path)
    assert (found.undecided, found.counts.created, [*there(shop).values()]) == (0, 1, ["Person 1"])
    assert holds.find(store, people.NAME, "1") is None
    statuses = [each.status for each in operations.listed(store, push=people.NAME)]
    assert statuses == ["void", "done"]


def test_a_person_says_which_object_it_is(shop: Merchant, store: database.Database, tmp_path: Path) -> None:
    lost(shop, store, tmp_path)
    made = shop.make("/v1/customers", name="Somebody", email="other@people.test")
    shop.later(20)
    decisions.choose(store, people.NAME, "1", made["id"])
    found = people.push(tmp_path)
    assert (found.undecided, found.counts.updated) == (0, 1)
    assert links.find(store, people.NAME, ["1"])["1"].target == made["id"]
    assert there(shop) == {made["id"]: "Person 1"}


def test_what_is_open_still_waits_and_is_counted_as_unknown(
    shop: Merchant, store: database.Database, tmp_path: Path
) -> None:
    people.write(tmp_path, shop.url, [people.person(1)])
    shop.faults({"kind": "error", "when": "after", "method": "POST", "times": 1})
    people.push(tmp_path)
    shop.delete(f"/v1/customers/{next(iter(there(shop)))}")
    found = people.push(tmp_path)
    assert (found.unknown, found.undecided) == (1, 1)
    [operation] = operations.undecided(store, people.NAME)
    assert list(found.why) == [f"What became of its {operation.id} is not known yet; it waits until that is."]
    assert there(shop) == {}


def test_an_answer_that_is_cut_concerns_its_row_alone(shop: Merchant, tmp_path: Path) -> None:
    people.write(tmp_path, shop.url, map(people.person, range(2)))
    assert people.push(tmp_path).counts.created == 2
    people.rows(tmp_path, [people.person(each, plan="free") for each in range(2)])
    one = next(iter(there(shop)))
    shop.faults({"kind": "cut", "method": "GET", "path": f"/v1/customers/{one}"})
    found = people.push(tmp_path)
    assert (found.failed, found.counts.updated) == (1, 1)
    [why] = found.why
    assert why.startswith("It could not be looked at once more: ")


def test_an_object_that_became_another_rows_is_not_acknowledged_for_this_one(
    shop: Merchant, store: database.Database, tmp_path: Path
) -> None:
    made = shop.make("/v1/customers", email="p1@people.test")
    shop.later(20)
    people.write(tmp_path, shop.url, [people.person(1)])

    def meanwhile() -> None:
        shop.make(f"/v1/customers/{made['id']}", name="Person 1", metadata={"plan": "pro"})
        account = shop.control("health")["account"]
        other = links.Link("another", account, False, "customer", made["id"])
        store.transact(lambda session: links.put(session, people.NAME, [other]))

    found = people.push(tmp_path, seen=meanwhile)
    assert (found.counts.held, found.counts.unchanged) == (1, 0)
    assert list(found.why) == ["Its object is another row's, or is gone, by now; the next plan says which."]
    assert pushed.count(store, people.NAME) == 0
