"""What others do at Stripe while a push writes, and pushes into connected accounts."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pushed_people as people
import pytest
from following import Merchant

from tidegate import sandbox
from tidegate.push import watch
from tidegate.store import database, operations, records
from tidegate.stripe import attempts

BY_KEY = (
    "{model: people, to: acme, object: customer, match: {metadata.person: id}, "
    "fields: {name: name, email: email}}"
)
BLIND = "rk_test_blind123456"


@pytest.fixture
def shop() -> Iterator[Merchant]:
    keys = {BLIND: ("rak_customer_write", "rak_balance_read")}
    with sandbox.process(objects=30, accounts=2, keys=keys) as url:
        yield Merchant(url)


def counted(result: Any) -> dict[str, int]:
    """The counters that are not zero."""
    document = result.document()
    names = ("source", "created", "updated", "unchanged", "held", "failed", "unknown")
    return {name: document[name] for name in names if document[name]}


def persons(shop: Merchant, account: str = "") -> dict[str, int]:
    """How many customers there are of each person."""
    found: dict[str, int] = {}
    for line in shop.truth(f"customers?account={account}" if account else "customers"):
        person = line["object"]["metadata"].get("person")
        if person is not None:
            found[person] = found.get(person, 0) + 1
    return found


def test_what_somebody_makes_after_the_plan_is_seen_by_its_metadata(shop: Merchant, tmp_path: Path) -> None:
    people.write(tmp_path, shop.url, map(people.person, range(4)), BY_KEY)
    older = shop.make("/v1/customers", email="p3@people.test")

    def somebody() -> None:
        shop.make("/v1/customers", metadata={"person": "1"})
        gone = shop.make("/v1/customers", metadata={"person": "2"})
        shop.delete(f"/v1/customers/{gone['id']}")
        shop.make(f"/v1/customers/{older['id']}", metadata={"person": "3"})
        shop.later()

    assert counted(people.push(tmp_path, seen=somebody)) == {"source": 4, "created": 2, "held": 2}
    assert persons(shop) == {"0": 1, "1": 1, "2": 1, "3": 1}
    shop.later()
    assert counted(people.push(tmp_path)) == {"source": 4, "updated": 2, "unchanged": 2}


def test_an_e_mail_in_another_case_is_seen_too(shop: Merchant, tmp_path: Path) -> None:
    people.write(tmp_path, shop.url, map(people.person, range(2)))

    def somebody() -> None:
        shop.make("/v1/customers", email="P1@People.TEST")
        shop.later()

    assert counted(people.push(tmp_path, seen=somebody)) == {"source": 2, "created": 1, "held": 1}


def test_who_shares_a_part_of_the_match_is_somebody_else(shop: Merchant, tmp_path: Path) -> None:
    """Of several fields all must agree, also in the look before a create."""
    push = BY_KEY.replace("match: {metadata.person: id}", "match: {email: email, metadata.person: id}")
    shop.make("/v1/customers", email="p1@people.test", metadata={"person": "another"})
    shop.later()
    people.write(tmp_path, shop.url, map(people.person, range(3)), push)

    def somebody() -> None:
        shop.make("/v1/customers", email="p0@people.test", metadata={"person": "another"})
        shop.make("/v1/customers", email="p2@people.test", metadata={"person": "2"})

    assert counted(people.push(tmp_path, seen=somebody)) == {"source": 3, "created": 2, "held": 1}
    assert persons(shop) == {"0": 1, "1": 1, "2": 1, "another": 2}


def test_a_key_without_events_lists_what_was_created(shop: Merchant, tmp_path: Path) -> None:
    people.write(tmp_path, shop.url, map(people.person, range(3)), BY_KEY)
    file = tmp_path / "tidegate.yaml"
    file.write_text(file.read_text().replace("sk_test_123456789", BLIND))
    found = people.push(tmp_path, seen=lambda: shop.make("/v1/customers", metadata={"person": "1"}))
    assert counted(found) == {"source": 3, "created": 2, "held": 1}
    assert persons(shop) == {"0": 1, "1": 1, "2": 1}


def test_a_long_push_looks_again_and_never_holds_its_own(
    shop: Merchant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each create looks here; what this very push made is nothing that others did."""
    monkeypatch.setattr(watch, "FRESH", 0.0)
    people.write(tmp_path, shop.url, map(people.person, range(40)), BY_KEY)
    assert counted(people.push(tmp_path)) == {"source": 40, "created": 40}
    assert set(persons(shop).values()) == {1}


def test_it_costs_some_requests_however_many_rows_there_are(shop: Merchant, tmp_path: Path) -> None:
    people.write(tmp_path, shop.url, map(people.person, range(150)), BY_KEY)
    assert counted(people.push(tmp_path, seen=shop.counted)) == {"source": 150, "created": 150}
    asked = shop.counted()
    assert asked.pop("GET /v1/events") <= 5
    assert asked == {"POST /v1/customers": 150}


def test_where_it_cannot_be_told_nothing_is_created(
    shop: Merchant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.02)
    people.write(tmp_path, shop.url, map(people.person, range(2)), BY_KEY)

    def trouble() -> None:
        shop.faults({"kind": "html", "path": "/v1/events"})

    found = people.push(tmp_path, seen=trouble)
    assert counted(found) == {"source": 2, "failed": 2}
    assert persons(shop) == {}


def connected(shop: Merchant) -> str:
    account: str = next(line["object"]["id"] for line in shop.truth("accounts"))
    return account


def into(account: str) -> str:
    return f"{BY_KEY[:-1]}, account: {account}}}"


def test_a_connected_account_is_pushed_into_and_nothing_else(shop: Merchant, tmp_path: Path) -> None:
    account = connected(shop)
    theirs = shop.make("/v1/customers", metadata={"person": "2"}, account=account)
    shop.make("/v1/customers", metadata={"person": "1"})  # the platform's own: somebody else
    shop.later()
    people.write(tmp_path, shop.url, map(people.person, range(3)), into(account))
    assert counted(people.push(tmp_path)) == {"source": 3, "created": 2, "updated": 1}
    assert persons(shop, account) == {"0": 1, "1": 1, "2": 1}
    assert persons(shop) == {"1": 1}
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store:
        told = operations.listed(store, push=people.NAME)
        assert {each.account for each in told} == {account}
        [linked] = [each for each in told if each.key == "2"]
        assert linked.target == theirs["id"]
        assert records.timeline(store, people.NAME, "2")
    shop.later()
    shop.counted()
    assert counted(people.push(tmp_path)) == {"source": 3, "unchanged": 3}
    assert shop.counted() == {}
    people.rows(tmp_path, [people.person(0, name="Other"), people.person(1), people.person(2)])
    assert counted(people.push(tmp_path)) == {"source": 3, "unchanged": 2, "updated": 1}


def test_a_push_into_a_connected_account_that_is_killed_comes_out_exact(
    shop: Merchant, tmp_path: Path
) -> None:
    """Its recovery asks the connected account, too: events, metadata, lists."""
    account, chance = connected(shop), random.Random(8)
    people.write(tmp_path, shop.url, map(people.person, range(4)), into(account))
    step, survived = 6, False
    while not survived:
        words = [sys.executable, people.__file__, str(tmp_path), str(step)]
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
        survived = done.returncode == 0
        assert survived or done.returncode == -9, done.stderr
        step += chance.randrange(12, 30)
        with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store:
            store.execute("UPDATE fences SET until = 0")  # nobody waits for the time of a dead process
        shop.later()
    assert persons(shop, account) == {f"{n}": 1 for n in range(4)}
    assert persons(shop) == {}
    assert counted(people.push(tmp_path)) == {"source": 4, "unchanged": 4}
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store:
        assert operations.undecided(store, people.NAME) == []


def test_where_nothing_has_changed_stripe_is_asked_nothing(shop: Merchant, tmp_path: Path) -> None:
    """Not even whose key it is: there is nothing to find out."""
    people.write(tmp_path, shop.url, map(people.person, range(3)))
    people.push(tmp_path)
    shop.later()
    shop.counted()
    for wish in ({"write": True}, {"write": False}):
        assert counted(people.push(tmp_path, **wish)) == {"source": 3, "unchanged": 3}
    assert shop.counted() == {}
    people.rows(tmp_path, [*map(people.person, range(3)), people.person(3)])
    assert counted(people.push(tmp_path)) == {"source": 4, "unchanged": 3, "created": 1}
