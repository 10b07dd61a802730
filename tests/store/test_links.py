"""Which object a row is: one row an object, one object a row, and no object comes back from the dead."""

from __future__ import annotations

import pushing
import pytest

from tidegate.store import database, fences, ledger, links, operations, pushed, records


def link(key: str, target: str) -> links.Link:
    return links.Link(key, pushing.ACCOUNT, True, "customer", target)


def make(
    store: database.Database, fence: fences.Fence, *wanted: links.Link, chosen: bool = False
) -> list[str]:
    return [f"{each.state} {each.other}".strip() for each in links.link(store, fence, wanted, chosen=chosen)]


def test_a_row_is_linked_once(store: database.Database) -> None:
    fence = pushing.fence(store)
    assert make(store, fence, link("1", "cus_1")) == ["linked"]
    [first] = links.find(store, "accounts", ["1", "2"]).values()
    assert (first.target, first.created, first.operation, first.gone) == ("cus_1", False, "", "")
    assert make(store, fence, link("1", "cus_1")) == ["linked"]
    assert links.find(store, "accounts", ["1"]) == {"1": first}


def test_an_object_has_one_row_of_a_push(store: database.Database) -> None:
    fence = pushing.fence(store)
    given = [link("1", "cus_1"), link("2", "cus_1"), link("2", "cus_2")]
    assert make(store, fence, *given) == ["linked", "shared 1", "linked"]
    assert make(store, fence, link("2", "cus_1"), chosen=True) == ["shared 1"]


def test_a_row_moves_to_another_object_only_where_a_person_chose_it(store: database.Database) -> None:
    fence = pushing.fence(store)
    make(store, fence, link("1", "cus_1"))
    assert make(store, fence, link("1", "cus_2")) == ["kept cus_1"]
    [outcome] = ledger.begin(store, fence, [pushing.update("1", "cus_2")])
    assert (outcome.state, outcome.target) == ("linked", "cus_1")
    assert make(store, fence, link("1", "cus_2"), chosen=True) == ["linked"]
    assert pushing.begin(store, fence, pushing.update("1", "cus_2")) == ["begun"]


def test_several_pushes_may_write_to_one_object(store: database.Database) -> None:
    make(store, pushing.fence(store), link("1", "cus_1"))
    make(store, pushing.fence(store, "people"), link("ada", "cus_1"))
    found = links.by_target(store, pushing.ACCOUNT, True, "customer", "cus_1")
    assert [(push, each.key) for push, each in found] == [("accounts", "1"), ("people", "ada")]


def test_what_was_created_says_so_and_by_which_operation(store: database.Database) -> None:
    fence = pushing.fence(store)
    first = pushing.write(store, fence, pushing.create("1"), "cus_1")
    pushing.write(store, fence, pushing.update("1", "cus_1"))
    second = pushing.write(store, fence, pushing.update("2", "cus_2"))
    found = links.find(store, "accounts", ["1", "2"])
    assert (found["1"].created, found["1"].operation) == (True, first)
    assert (found["2"].created, found["2"].operation) == (False, second)


def test_what_is_missing_is_a_tombstone_and_its_row_creates_nothing(store: database.Database) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.create("1"), "cus_1")
    links.unlink(store, fence, ["1", "2"])
    links.unlink(store, fence, ["1"])
    found = links.find(store, "accounts", ["1"])["1"]
    assert found.gone == "missing"
    assert found.gone_at is not None
    assert pushed.find(store, "accounts", ["1"]) == {}
    [outcome] = ledger.begin(store, fence, [pushing.create("1")])
    assert (outcome.state, outcome.target) == ("gone", "cus_1")
    assert make(store, fence, link("1", "cus_1")) == ["gone"]
    assert make(store, fence, link("1", "cus_2")) == ["gone"]


def test_a_person_may_choose_another_object_for_a_tombstone_never_the_same(store: database.Database) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.create("1"), "cus_1")
    links.unlink(store, fence, ["1"])
    assert make(store, fence, link("1", "cus_1"), chosen=True) == ["gone"]
    assert make(store, fence, link("1", "cus_2"), chosen=True) == ["linked"]
    found = links.find(store, "accounts", ["1"])["1"]
    assert (found.target, found.created, found.gone, found.gone_at) == ("cus_2", False, "", None)


@pytest.mark.parametrize("gone", [True, False])
def test_what_a_person_chose_is_begun_in_the_place_of_what_there_was(
    store: database.Database, gone: bool
) -> None:
    fence = pushing.fence(store)
    for key in ("1", "2"):
        pushing.write(store, fence, pushing.create(key), f"cus_{key}")
    if gone:
        links.unlink(store, fence, ["1", "2"])
    pushing.write(store, fence, pushing.create("1", chosen=True), "cus_new")
    pushing.write(store, fence, pushing.update("2", "cus_other", chosen=True))
    found = links.find(store, "accounts", ["1", "2"])
    assert [(found[key].target, found[key].gone) for key in ("1", "2")] == [
        ("cus_new", ""),
        ("cus_other", ""),
    ]
    told = [each.text for key in ("1", "2") for each in records.timeline(store, "accounts", key)]
    assert "cus_new in the place of cus_1" in told
    assert "cus_other in the place of cus_2" in told


def test_what_somebody_deleted_is_not_written_to_though_a_person_chose_it(store: database.Database) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.create("1"), "cus_1")
    links.unlink(store, fence, ["1"])
    assert pushing.begin(store, fence, pushing.update("1", "cus_1", chosen=True)) == ["gone"]


def test_what_the_push_deleted_itself_may_come_back(store: database.Database) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.create("1"), "cus_1")
    pushing.write(store, fence, pushing.update("1", "cus_1", action="delete", hash=""))
    assert links.find(store, "accounts", ["1"])["1"].gone == "deleted"
    again = pushing.write(store, fence, pushing.create("1"), "cus_2")
    found = links.find(store, "accounts", ["1"])["1"]
    assert (found.target, found.created, found.operation, found.gone) == ("cus_2", True, again, "")


def test_a_row_with_an_object_creates_no_other_but_may_replace_it(store: database.Database) -> None:
    """A price cannot change its amount: another takes its place, and the old one is archived."""
    fence = pushing.fence(store)
    price = {"object": "price", "path": "/v1/prices"}
    pushing.write(store, fence, pushing.create("1", **price), "price_1")
    [outcome] = ledger.begin(store, fence, [pushing.create("1", **price)])
    assert (outcome.state, outcome.target) == ("linked", "price_1")
    new = pushing.write(store, fence, pushing.create("1", action="replace", hash="new", **price), "price_2")
    old = pushing.write(
        store, fence, pushing.update("1", "price_1", action="retire", hash="", object="price")
    )
    found = links.find(store, "accounts", ["1"])["1"]
    assert (found.target, found.created, found.operation) == ("price_2", True, new)
    assert pushed.find(store, "accounts", ["1"])["1"].hash == "new"
    assert pushing.status(store, old) == "done"


def test_an_object_that_was_only_matched_is_a_tombstone_too(store: database.Database) -> None:
    """Else its row would match nothing the next time, and create again who was erased."""
    fence = pushing.fence(store)
    pushing.begin(store, fence, intent := pushing.update("1", "cus_1"))
    ledger.sending(store, fence, intent.id)
    ledger.refuse(store, fence, [operations.Refused(intent.id, "resource_missing", 404, missing=True)])
    found = links.find(store, "accounts", ["1"])["1"]
    assert (found.target, found.gone, found.created) == ("cus_1", "missing", False)
    assert pushing.begin(store, fence, pushing.create("1"), pushing.update("1", "cus_2")) == ["gone", "gone"]


def test_what_is_deleted_while_a_write_is_on_its_way_stays_a_tombstone(store: database.Database) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.create("1"), "cus_1")
    pushing.begin(store, fence, intent := pushing.update("1", "cus_1"))
    ledger.sending(store, fence, intent.id)
    links.unlink(store, fence, ["1"])
    assert ledger.acknowledge(store, fence, [operations.Done(intent.id, "cus_1")]) == []
    assert pushing.status(store, intent.id) == "done"
    assert links.find(store, "accounts", ["1"])["1"].gone == "missing"
    assert pushed.count(store, "accounts") == 0


def test_who_is_outdated_links_and_unlinks_nothing(store: database.Database) -> None:
    old = pushing.fence(store)
    pushing.fence(store, holder="two")
    with pytest.raises(fences.Outdated):
        links.link(store, old, [link("1", "cus_1")])
    with pytest.raises(fences.Outdated):
        links.unlink(store, old, ["1"])
    assert links.counts(store, "accounts") == {}


def test_all_of_a_push_come_in_pages(store: database.Database) -> None:
    fence = pushing.fence(store)
    make(store, fence, *(link(f"{n:03}", f"cus_{n}") for n in range(250)))
    make(store, pushing.fence(store, "people"), link("x", "cus_x"))
    links.unlink(store, fence, ["007"])
    batches = list(links.each(store, "accounts", 100))
    assert [batch.num_rows for batch in batches] == [100, 100, 50]
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert [row["key"] for row in rows] == [f"{n:03}" for n in range(250)]
    assert rows[7] == {"key": "007", "target": "cus_7", "created": False, "gone": "missing"}
    assert links.counts(store, "accounts") == {"": 249, "missing": 1}
    assert len(links.find(store, "accounts", [f"{n:03}" for n in range(2000)])) == 250
    assert list(links.each(store, "nobody")) == []
