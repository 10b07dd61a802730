"""A push from the file to Stripe and back again: each row once, whatever happens meanwhile."""

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

from tidegate import errors, sandbox
from tidegate.push import steps
from tidegate.store import database, decisions, holds, operations, records


@pytest.fixture
def shop() -> Iterator[Merchant]:
    with sandbox.process(objects=30) as url:
        yield Merchant(url)


def customers(shop: Merchant) -> dict[str, list[dict[str, Any]]]:
    """The customers of the people that live, by e-mail without its case."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in shop.truth("customers"):
        each = line["object"]
        if (each["email"] or "").lower().endswith("@people.test") and not each.get("deleted"):
            found.setdefault(each["email"].lower(), []).append(each)
    return found


def counted(result: Any) -> dict[str, int]:
    """The counters that are not zero."""
    document = result.document()
    return {
        name: value
        for name, value in document.items()
        if isinstance(value, int) and value and name != "requests"
    }


def test_everybody_is_created_once_and_then_there_is_nothing_to_do(shop: Merchant, tmp_path: Path) -> None:
    people.write(tmp_path, shop.url, map(people.person, range(30)))
    assert counted(people.push(tmp_path)) == {"source": 30, "created": 30}
    there = customers(shop)
    assert {email: len(some) for email, some in there.items()} == {f"p{n}@people.test": 1 for n in range(30)}
    assert there["p7@people.test"][0]["name"] == "Person 7"
    assert there["p7@people.test"][0]["metadata"]["plan"] == "pro"
    shop.later()
    shop.counted()
    again = people.push(tmp_path)
    assert counted(again) == {"source": 30, "unchanged": 30}
    assert again.requests == 0
    assert not [name for name in shop.counted() if name.startswith(("POST", "DELETE"))]


def test_only_what_changed_is_written(shop: Merchant, tmp_path: Path) -> None:
    people.write(tmp_path, shop.url, map(people.person, range(10)))
    people.push(tmp_path)
    people.rows(tmp_path, [people.person(n, **({"plan": "free"} if n == 3 else {})) for n in range(10)])
    shop.later()
    shop.counted()
    assert counted(people.push(tmp_path)) == {"source": 10, "unchanged": 9, "updated": 1}
    posts = {name: times for name, times in shop.counted().items() if name.startswith("POST")}
    assert posts == {"POST /v1/customers/{customer}": 1}
    assert customers(shop)["p3@people.test"][0]["metadata"]["plan"] == "free"


def test_who_is_there_already_is_not_created(shop: Merchant, tmp_path: Path) -> None:
    shop.make("/v1/customers", email="P1@People.test", name="Other", description="theirs")
    shop.later()
    people.write(tmp_path, shop.url, [people.person(1)])
    assert counted(people.push(tmp_path)) == {"source": 1, "updated": 1}
    [found] = customers(shop)["p1@people.test"]
    assert (found["name"], found["description"]) == ("Person 1", "theirs")


def test_who_appears_after_the_plan_is_not_created_either(shop: Merchant, tmp_path: Path) -> None:
    people.write(tmp_path, shop.url, [people.person(1), people.person(2)])

    def somebody() -> None:
        shop.make("/v1/customers", email="p1@people.test", name="Checkout")

    assert counted(people.push(tmp_path, seen=somebody)) == {"source": 2, "created": 1, "held": 1}
    assert len(customers(shop)["p1@people.test"]) == 1
    shop.later()
    assert counted(people.push(tmp_path)) == {"source": 2, "unchanged": 1, "updated": 1}


def test_what_is_deleted_after_the_plan_is_not_made_again(shop: Merchant, tmp_path: Path) -> None:
    made = shop.make("/v1/customers", email="p1@people.test")
    shop.later()
    people.write(tmp_path, shop.url, [people.person(1)])
    gone = people.push(tmp_path, seen=lambda: shop.delete(f"/v1/customers/{made['id']}"))
    assert counted(gone) == {"source": 1, "held": 1}
    shop.later()
    assert counted(people.push(tmp_path)) == {"source": 1, "held": 1}
    assert customers(shop) == {}


def test_two_of_one_e_mail_ask_a_person(shop: Merchant, tmp_path: Path) -> None:
    ids = [shop.make("/v1/customers", email="p1@people.test")["id"] for _ in range(2)]
    shop.later()
    people.write(tmp_path, shop.url, [people.person(1)])
    assert counted(people.push(tmp_path)) == {"source": 1, "held": 1}
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store:
        hold = holds.find(store, people.NAME, "1")
        assert hold is not None
        assert (hold.kind, sorted(hold.candidates)) == ("ambiguous", sorted(ids))
        decisions.choose(store, people.NAME, "1", ids[1])
    assert counted(people.push(tmp_path)) == {"source": 1, "updated": 1}
    assert [each["id"] for each in customers(shop)["p1@people.test"] if each["name"]] == [ids[1]]
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store:
        assert holds.find(store, people.NAME, "1") is None
        assert [each.what for each in records.timeline(store, people.NAME, "1")][-1] != "held"


def test_what_stripe_refuses_is_quarantined_until_it_changes(shop: Merchant, tmp_path: Path) -> None:
    people.write(tmp_path, shop.url, [people.person(1), people.person(2, email="nonsense")])
    first = people.push(tmp_path)
    assert counted(first)["created"] == 1
    assert counted(first).get("quarantined", 0) + counted(first).get("invalid", 0) == 1
    people.rows(tmp_path, [people.person(1), people.person(2)])
    shop.later()
    assert counted(people.push(tmp_path)) == {"source": 2, "unchanged": 1, "created": 1}


def test_a_few_at_a_time(shop: Merchant, tmp_path: Path) -> None:
    people.write(tmp_path, shop.url, map(people.person, range(5)))
    assert counted(people.push(tmp_path, limit=1)) == {"source": 5, "created": 1, "held": 4, "left": 4}
    shop.later()
    assert counted(people.push(tmp_path)) == {"source": 5, "created": 4, "unchanged": 1}


def test_rows_that_go_take_their_objects_along_when_somebody_approves(shop: Merchant, tmp_path: Path) -> None:
    people.write(
        tmp_path, shop.url, map(people.person, range(6)), people.USUAL[:-1] + ", on_missing: delete}"
    )
    theirs = shop.make("/v1/customers", email="other@people.test")
    people.push(tmp_path)
    people.rows(tmp_path, map(people.person, range(5)))
    shop.later()
    waits = people.push(tmp_path)
    assert (waits.status, len(customers(shop))) == ("held", 7)
    assert people.push(tmp_path, approve=True).counts.removed == 1
    assert "p5@people.test" not in customers(shop)
    assert [each["id"] for each in customers(shop)["other@people.test"]] == [theirs["id"]]


def test_objects_whose_rows_are_gone_go_a_few_at_a_time(shop: Merchant, tmp_path: Path) -> None:
    people.write(
        tmp_path, shop.url, map(people.person, range(6)), people.USUAL[:-1] + ", on_missing: delete}"
    )
    people.push(tmp_path)
    people.rows(tmp_path, map(people.person, range(4)))
    for _ in range(2):
        shop.later()
        found = people.push(tmp_path, approve=True, limit=1)
        assert (found.status, found.counts.removed) == ("ok", 1), "what is beyond the limit has not failed"
    assert len(customers(shop)) == 4


def test_what_is_not_removed_is_counted_apart_from_the_rows(shop: Merchant, tmp_path: Path) -> None:
    push = (
        "{model: people, to: acme, object: customer, match: {email: email}, on_missing: clear, "
        "fields: {name: {from: name, owner: three_way}}}"
    )
    people.write(tmp_path, shop.url, map(people.person, range(6)), push)
    people.push(tmp_path)
    people.rows(tmp_path, map(people.person, range(5)))
    shop.later()
    [gone] = customers(shop)["p5@people.test"]

    def edit() -> None:
        shop.make(f"/v1/customers/{gone['id']}", name="Theirs")

    found = people.push(tmp_path, approve=True, seen=edit)
    assert (found.status, counted(found)) == ("failed", {"source": 5, "unchanged": 5})
    assert customers(shop)["p5@people.test"][0]["name"] == "Theirs"


@pytest.mark.parametrize(
    ("push", "sentence"),
    [
        ("object: tax_id, match: {value: email}, fields: {type: plan}", "say which by the field customer"),
        (
            "object: tax_id, match: {value: email}, fields: {customer: id}, on_missing: archive",
            "cannot be archived",
        ),
    ],
)
def test_what_can_never_be_written_is_said_at_once(tmp_path: Path, push: str, sentence: str) -> None:
    people.write(tmp_path, "http://127.0.0.1:1", [], f"{{model: people, to: acme, {push}}}")
    with pytest.raises(errors.ConfigError, match=sentence):
        people.push(tmp_path)


def test_an_empty_model_writes_nothing(shop: Merchant, tmp_path: Path) -> None:
    people.write(
        tmp_path, shop.url, map(people.person, range(3)), people.USUAL[:-1] + ", on_missing: delete}"
    )
    people.push(tmp_path)
    people.rows(tmp_path, [])
    shop.later()
    assert people.push(tmp_path).status == "held"
    assert len(customers(shop)) == 3


def test_never_another_account(shop: Merchant, tmp_path: Path) -> None:
    people.write(tmp_path, shop.url, [people.person(1)])
    people.push(tmp_path)
    with sandbox.process(objects=10, seed=7) as other:
        people.write(tmp_path, other, [people.person(2)])
        with pytest.raises(errors.StoreError, match="writes to acct_"):
            people.push(tmp_path)


def test_a_plan_sends_nothing_again(shop: Merchant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people.write(tmp_path, shop.url, [people.person(1)])

    class Killed(BaseException):
        pass

    def kill(name: str) -> None:
        if name == "answered":
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(steps, "listener", kill)
        with pytest.raises((Killed, BaseExceptionGroup)):
            people.push(tmp_path)
    shop.counted()
    planned = people.push(tmp_path, write=False)
    assert (counted(planned), planned.undecided) == ({"source": 1, "held": 1}, 1)
    assert not [name for name in shop.counted() if name.startswith(("POST", "DELETE"))]
    done = people.push(tmp_path)
    assert (done.recovered, done.undecided) == (1, 0)
    assert len(customers(shop)["p1@people.test"]) == 1


def test_killed_at_every_step_each_is_there_once(shop: Merchant, tmp_path: Path) -> None:
    """The same rows are pushed by processes that are killed at one step after the other, until one survives."""
    chance = random.Random(4)
    wanted = [people.person(n) for n in range(8)]
    people.write(tmp_path, shop.url, wanted)
    step, names, survived = 1, list[str](), False
    while not survived:
        words = [sys.executable, people.__file__, str(tmp_path), str(step)]
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
        survived = done.returncode == 0
        assert survived or done.returncode == -9, done.stderr
        names += done.stdout.split("\n")[:1]
        step += chance.randrange(1, 4)
        with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store:
            store.execute("UPDATE fences SET until = 0")  # nobody waits for the time of a dead process
        shop.later()
    assert {"intent committed", "noted as sent", "before the socket write", "answered", "acknowledged"} & set(
        names
    )
    assert {email: len(some) for email, some in customers(shop).items()} == {
        each["email"]: 1 for each in wanted
    }
    shop.later()
    assert counted(people.push(tmp_path)) == {"source": 8, "unchanged": 8}
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store:
        assert operations.undecided(store, people.NAME) == []
