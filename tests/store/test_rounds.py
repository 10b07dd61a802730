"""What was written to objects lately, as plans ask for it."""

from __future__ import annotations

import pushing

from tidegate.store import database, decisions, fences, holds, ledger, operations, rounds

PLACE = (pushing.ACCOUNT, True, "customer")


def write(store: database.Database, fence: fences.Fence, key: str, target: str, name: str) -> None:
    """Have an object say a name."""
    intent = pushing.update(key, target, body=f"name={name}", before={"name": "was"})
    assert pushing.begin(store, fence, intent) == ["begun"]
    ledger.sending(store, fence, intent.id)
    ledger.acknowledge(store, fence, [operations.Done(intent.id, target, after={"name": name})])


def later(store: database.Database, seconds: float) -> None:
    store.execute("UPDATE operations SET decided_at = decided_at - :s", {"s": seconds})


def names(found: dict[str, list[rounds.Write]]) -> dict[str, list[object]]:
    return {target: [each.after["name"] for each in some] for target, some in found.items()}


def test_the_last_write_of_an_object_counts_whatever_push_it_is_of(store: database.Database) -> None:
    accounts, people = pushing.fence(store), pushing.fence(store, "people")
    write(store, accounts, "1", "cus_1", "Ada")
    write(store, people, "ada", "cus_1", "Bea")
    write(store, accounts, "2", "cus_2", "Cleo")
    pushing.begin(store, accounts, pushing.update("1", "cus_1", body="name=Dora"))
    found = rounds.latest(store, PLACE, ["cus_1", "cus_2", "cus_3"], 60)
    assert {target: (each.push, each.after) for target, each in found.items()} == {
        "cus_1": ("people", {"name": "Bea"}),
        "cus_2": ("accounts", {"name": "Cleo"}),
    }
    assert rounds.latest(store, ("acct_2", True, "customer"), ["cus_1"], 60) == {}
    later(store, 61)
    assert rounds.latest(store, PLACE, ["cus_1"], 60) == {}


def test_what_was_written_often_comes_with_all_of_its_writes(store: database.Database) -> None:
    accounts, people = pushing.fence(store), pushing.fence(store, "people")
    write(store, accounts, "1", "cus_1", "old")
    later(store, 700)
    for name in "abc":
        write(store, accounts, "1", "cus_1", name)
    write(store, accounts, "2", "cus_2", "once")
    assert rounds.often(store, PLACE, 3, 600) == {}
    write(store, people, "ada", "cus_1", "d")
    assert names(rounds.often(store, PLACE, 3, 600)) == {"cus_1": ["a", "b", "c", "d"]}


def test_runs_are_counted_and_not_seconds(store: database.Database) -> None:
    for name in "abcd":
        write(store, taken := pushing.fence(store, holder=name), "1", "cus_1", name)
        write(store, taken, "1", "cus_1", f"{name} again")
        later(store, 86_400)
    pushing.fence(store, holder="plan")
    assert rounds.run(store, "accounts") == 5
    assert rounds.run(store, "people") == 0
    found = rounds.running(store, "accounts", PLACE, 3, 4)
    assert names(found) == {"cus_1": ["b", "b again", "c", "c again", "d", "d again"]}
    assert rounds.running(store, "accounts", PLACE, 4, 4) == {}
    assert rounds.running(store, "people", PLACE, 1, 4) == {}


def test_notes_are_found_by_what_they_say(store: database.Database) -> None:
    fence = pushing.fence(store)
    holds.open(
        store, fence, [holds.Opening("1", "looping", "It goes round."), holds.Opening("2", "gone", "")]
    )
    decisions.retry(store, "accounts", "1")
    found = rounds.noted(store, "accounts", "retried", ["1", "2"])
    assert {key: [note.what for note in some] for key, some in found.items()} == {"1": ["retried"]}
    assert rounds.noted(store, "accounts", "retried", []) == {}
