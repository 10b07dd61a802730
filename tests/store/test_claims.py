"""A value is one row's, over all pushes, from the intent on and as long as the row has its object."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pushing

from tidegate.store import claims, database, fences, ledger, links, operations

Opened = Callable[[], database.Database]
ADA = pushing.email("ada@example.com")


def holder(store: database.Database, claim: claims.Claim = ADA) -> str:
    found = claims.find(store, [claim]).get(claim)
    return "" if found is None else f"{found.push}/{found.key}"


def test_the_first_row_to_create_gets_it(store: database.Database) -> None:
    fence = pushing.fence(store)
    first, second = pushing.create("1", "Ada@example.com"), pushing.create("2", "ada@example.com")
    assert pushing.begin(store, fence, first, second) == ["begun", "claimed"]
    [outcome] = ledger.begin(store, fence, [pushing.create("3", "ADA@EXAMPLE.COM")])
    assert outcome.state == "claimed"
    assert (outcome.push, outcome.key, outcome.operation) == ("accounts", "1", first.id)
    assert operations.find(store, second.id) is None


def test_other_pushes_do_not_get_it_either(store: database.Database) -> None:
    pushing.begin(store, pushing.fence(store), pushing.create("1", "ada@example.com"))
    other = pushing.fence(store, "people")
    assert pushing.begin(store, other, pushing.create("1", "ada@example.com")) == ["claimed"]
    assert holder(store) == "accounts/1"


def test_another_mode_account_object_or_field_is_another_value() -> None:
    same = claims.Claim("acct_1", True, "customer", "email", "ada@example.com")
    others = [
        claims.Claim("acct_2", True, "customer", "email", "ada@example.com"),
        claims.Claim("acct_1", False, "customer", "email", "ada@example.com"),
        claims.Claim("acct_1", True, "product", "email", "ada@example.com"),
        claims.Claim("acct_1", True, "customer", "phone", "ada@example.com"),
        claims.Claim("acct_1", True, "customer", "email", "ada@example.org"),
        claims.Claim("acct_1", True, "customeremail", "", "ada@example.com"),
    ]
    assert same.digest == ADA.digest
    assert len({each.digest for each in [same, *others]}) == 7


def test_the_value_itself_is_not_kept(store: database.Database) -> None:
    pushing.begin(store, pushing.fence(store), pushing.create("1", "ada@example.com"))
    [row] = store.execute("SELECT * FROM claims")
    [operation] = store.execute("SELECT claims FROM operations")
    assert "ada" not in str(row)
    assert "ada" not in operation["claims"]


def test_what_loses_one_of_its_claims_leaves_none(store: database.Database) -> None:
    fence = pushing.fence(store)
    phone = claims.Claim(pushing.ACCOUNT, True, "customer", "phone", "+49")
    pushing.begin(store, fence, pushing.create("1", "ada@example.com"))
    assert pushing.begin(store, fence, pushing.create("2", claims=(phone, ADA))) == ["claimed"]
    assert holder(store, phone) == ""
    assert pushing.begin(store, fence, pushing.create("3", claims=(phone,))) == ["begun"]
    assert holder(store, phone) == "accounts/3"


def test_what_is_proven_not_done_gives_it_back(store: database.Database) -> None:
    fence = pushing.fence(store)
    for end in ("void", "refused"):
        first = pushing.create("1", "ada@example.com")
        assert pushing.begin(store, fence, first) == ["begun"]
        ledger.sending(store, fence, first.id)
        if end == "void":
            ledger.void(store, fence, [first.id], "no event names it")
        else:
            ledger.refuse(store, fence, [operations.Refused(first.id, "email_invalid")])
        assert holder(store) == ""
    assert pushing.begin(store, fence, pushing.create("2", "ada@example.com")) == ["begun"]


def test_what_nobody_can_tell_of_keeps_it(store: database.Database) -> None:
    fence = pushing.fence(store)
    first = pushing.create("1", "ada@example.com")
    pushing.begin(store, fence, first)
    ledger.sending(store, fence, first.id)
    ledger.unknown(store, fence, [first.id], "the key is pruned")
    assert pushing.begin(store, fence, pushing.create("2", "ada@example.com")) == ["claimed"]


def test_it_ends_with_the_link(store: database.Database) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.create("1", "ada@example.com"), "cus_1")
    assert holder(store) == "accounts/1"
    links.unlink(store, fence, ["1"])
    assert holder(store) == ""


def test_what_the_push_deletes_gives_it_back(store: database.Database) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.create("1", "ada@example.com"), "cus_1")
    pushing.write(store, fence, pushing.update("1", "cus_1", action="delete", hash=""))
    assert claims.count(store, "accounts") == 0


def test_a_row_that_gets_another_value_gives_the_old_one_back_once_that_is_written(
    store: database.Database,
) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.create("1", "ada@example.com"), "cus_1")
    change = pushing.update("1", "cus_1", claims=(pushing.email("ada@example.org"),))
    assert pushing.begin(store, fence, change) == ["begun"]
    assert claims.count(store, "accounts", "1") == 2
    ledger.sending(store, fence, change.id)
    ledger.acknowledge(store, fence, [operations.Done(change.id, "cus_1")])
    assert claims.count(store, "accounts", "1") == 1
    assert holder(store) == ""
    assert pushing.begin(store, fence, pushing.create("2", "ada@example.com")) == ["begun"]


def test_a_change_that_is_refused_leaves_the_row_what_it_had(store: database.Database) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.create("1", "ada@example.com"), "cus_1")
    change = pushing.update("1", "cus_1", claims=(ADA, pushing.email("ada@example.org")))
    pushing.begin(store, fence, change)
    ledger.sending(store, fence, change.id)
    ledger.refuse(store, fence, [operations.Refused(change.id, "email_invalid")])
    assert holder(store) == "accounts/1"
    assert holder(store, pushing.email("ada@example.org")) == ""


def test_of_many_processes_at_once_one_gets_each(opened: Opened) -> None:
    stores = [opened() for _ in range(4)]
    taken = [pushing.fence(store, f"push{n}") for n, store in enumerate(stores)]
    won: list[str] = []

    def race(store: database.Database, fence: fences.Fence) -> None:
        intents = [pushing.create(f"{n}", f"{n}@example.com") for n in range(20)]
        if fence.push in ("push1", "push3"):  # the other way round, so that they meet
            intents.reverse()
        for start in range(0, 20, 5):
            outcomes = ledger.begin(store, fence, intents[start : start + 5])
            won.extend(
                intent.key
                for intent, each in zip(intents[start:], outcomes, strict=False)
                if each.state == "begun"
            )

    threads = [threading.Thread(target=race, args=pair) for pair in zip(stores, taken, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won, key=int) == [f"{n}" for n in range(20)]
    assert sum(claims.count(stores[0], fence.push) for fence in taken) == 20
