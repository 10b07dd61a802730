"""What the ledger says is left to do after something was replaced: until the old one is surely out of the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pushing
import pytest
import servers

from tidegate.push import replacing
from tidegate.store import database, fences, ledger, operations

PRICE = {"object": "price", "path": "/v1/prices"}


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[database.Database]:
    own = f"sqlite:///{tmp_path}/tidegate.db"
    made = database.open_database(own if request.param == "sqlite" else servers.new_postgres())
    yield made
    made.close()


def replaced(store: database.Database, fence: fences.Fence, old: str, new: str) -> str:
    """A price takes the place of another one, as far as its row is concerned."""
    intent = pushing.create("1", action="replace", before={"id": old}, **PRICE)
    return pushing.write(store, fence, intent, new)


def retiring(target: str) -> operations.Intent:
    return pushing.update("1", target, action="retire", hash="", object="price")


def left(store: database.Database) -> list[str]:
    """The old objects that are still to be retired."""
    found = replacing.unfinished(store, pushing.PUSH)
    assert all(each.status == "done" for each in found)
    return [str((each.before or {})["id"]) for each in found]


def test_the_old_one_is_left_to_do_until_it_is_retired(store: database.Database) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.create("1", **PRICE), "price_1")
    assert left(store) == []
    replaced(store, fence, "price_1", "price_2")
    assert left(store) == ["price_1"]
    replaced(store, fence, "price_2", "price_3")
    assert left(store) == ["price_1", "price_2"]
    pushing.write(store, fence, retiring("price_1"))
    assert left(store) == ["price_2"]
    pushing.write(store, fence, retiring("price_2"))
    assert left(store) == []


@pytest.mark.parametrize(
    ("response", "is_over"),
    [(404, True), (400, False)],  # it is gone by itself, and nothing is left to do; Stripe refused
)
def test_what_stripe_refused_is_left_unless_it_is_gone(
    store: database.Database, response: int, is_over: bool
) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.create("1", **PRICE), "price_1")
    replaced(store, fence, "price_1", "price_2")
    pushing.begin(store, fence, intent := retiring("price_1"))
    ledger.sending(store, fence, intent.id)
    ledger.refuse(store, fence, [operations.Refused(intent.id, "no", response)])
    assert left(store) == ([] if is_over else ["price_1"])


def test_what_came_to_nothing_is_left(store: database.Database) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.create("1", **PRICE), "price_1")
    replaced(store, fence, "price_1", "price_2")
    pushing.begin(store, fence, intent := retiring("price_1"))
    assert left(store) == ["price_1"]
    ledger.void(store, fence, [intent.id], "never sent")
    assert left(store) == ["price_1"]


def test_a_replacement_that_did_not_happen_leaves_nothing(store: database.Database) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.create("1", **PRICE), "price_1")
    pushing.begin(
        store, fence, intent := pushing.create("1", action="replace", before={"id": "price_1"}, **PRICE)
    )
    assert left(store) == []
    ledger.sending(store, fence, intent.id)
    ledger.refuse(store, fence, [operations.Refused(intent.id, "no")])
    assert left(store) == []


def test_one_that_comes_back_and_goes_again_is_retired_again(store: database.Database) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.create("1", **PRICE), "price_1")
    for old, new in (("price_1", "price_2"), ("price_2", "price_1")):
        replaced(store, fence, old, new)
        pushing.write(store, fence, retiring(old))
    assert left(store) == []
    replaced(store, fence, "price_1", "price_3")
    assert left(store) == ["price_1"]
