"""The history of a row, line by line, and what of it goes after a while."""

from __future__ import annotations

import pushing
import pyarrow

from tidegate.store import (
    claims,
    database,
    decisions,
    fences,
    holds,
    ledger,
    links,
    operations,
    pushed,
    records,
)


def lines(store: database.Database, key: str = "1") -> list[str]:
    return [f"{entry.what}: {entry.text}" for entry in records.timeline(store, "accounts", key)]


def test_all_that_happened_to_a_row_stands_in_its_order(store: database.Database) -> None:
    fence = pushing.fence(store)
    first = pushing.create("1")
    pushing.begin(store, fence, first)
    ledger.sending(store, fence, first.id)
    ledger.sending(store, fence, first.id)
    sentence = "Stripe refused email (email_invalid); correct it."
    hold = holds.Opening("1", "refused", sentence, first.hash, "v1", operation=first.id)
    ledger.refuse(store, fence, [operations.Refused(first.id, "email_invalid", 400, "req_1", hold)])
    decisions.retry(store, "accounts", "1")
    pushing.write(store, fence, pushing.create("1"), "cus_1")
    links.unlink(store, fence, ["1"])
    assert lines(store) == [
        "planned: create customer",
        "sent: POST /v1/customers",
        "sent again: 2 times in all",
        "refused: email_invalid, req_1",
        f"held: {sentence}",
        "retried: ",
        "planned: create customer",
        "sent: POST /v1/customers",
        "done: cus_1, req_1",
        "released: written",
        "missing: cus_1",
    ]
    times = [entry.at for entry in records.timeline(store, "accounts", "1")]
    assert times == sorted(times)
    assert lines(store, "2") == []


def test_a_row_that_stripe_had_already_says_so(store: database.Database) -> None:
    fence = pushing.fence(store)
    links.link(store, fence, [links.Link("1", pushing.ACCOUNT, True, "customer", "cus_1")])
    batch = pyarrow.RecordBatch.from_pylist([{"key": "1", "hash": "h", "fields": "{}"}])
    pushed.replace_many(store, fence, "v1", [batch])
    assert lines(store) == ["linked: cus_1", "equal: Stripe had all of it"]


def test_an_update_that_links_its_row_says_so(store: database.Database) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.update("1", "cus_1"))
    pushing.write(store, fence, pushing.update("1", "cus_1"))
    assert [line for line in lines(store) if line.startswith("linked")] == ["linked: cus_1"]


def test_operations_are_counted_by_action_and_status(store: database.Database) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.create("1"), "cus_1")
    pushing.write(store, fence, pushing.create("2", run="run_2"), "cus_2")
    pushing.begin(store, fence, pushing.update("3", "cus_3"))
    assert records.counts(store, "accounts") == {("create", "done"): 2, ("update", "intent"): 1}
    assert records.counts(store, "accounts", "run_2") == {("create", "done"): 1}


class TestPrune:
    def old(self, store: database.Database) -> fences.Fence:
        """A row of each kind, all of last year."""
        fence = pushing.fence(store)
        pushing.write(store, fence, pushing.create("1", "ada@example.com"), "cus_1")
        pushing.write(store, fence, pushing.create("2"), "cus_2")
        links.unlink(store, fence, ["2"])
        for key in ("3", "4"):
            pushing.begin(store, fence, each := pushing.create(key))
            ledger.sending(store, fence, each.id)
            if key == "3":
                ledger.unknown(store, fence, [each.id], "its key is pruned")
        holds.open(store, fence, [holds.Opening("5", "ambiguous", "Several match it.")])
        for column in ("created_at", "decided_at"):
            store.execute(f"UPDATE operations SET {column} = {column} - 31536000")
        store.execute("UPDATE row_notes SET at = at - 31536000")
        return fence

    def test_what_has_ended_goes_and_what_protects_stays(self, store: database.Database) -> None:
        fence = self.old(store)
        assert (
            records.prune(store) == 4
        )  # two operations, the notes of an object that is missing and of a hold
        assert records.prune(store) == 0
        assert {each.key: each.status for each in operations.listed(store)} == {"3": "unknown", "4": "sent"}
        assert pushed.count(store, "accounts") == 1
        assert claims.count(store, "accounts") == 1
        assert links.counts(store, "accounts") == {"": 1, "missing": 1}
        assert len(holds.listed(store)) == 1
        assert pushing.begin(store, fence, *(pushing.create(key) for key in "1234")) == [
            "linked",
            "gone",
            "busy",
            "busy",
        ]

    def test_what_ended_lately_stays(self, store: database.Database) -> None:
        fence = self.old(store)
        pushing.write(store, fence, pushing.create("6"), "cus_6")
        records.prune(store, older=366 * records.DAY)
        assert len(operations.listed(store)) == 5
        records.prune(store)
        assert [each.key for each in operations.listed(store, statuses=["done"])] == ["6"]

    def test_more_than_one_step_goes(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        for start in range(0, 1200, 200):
            some = [pushing.create(f"{n}") for n in range(start, start + 200)]
            pushing.begin(store, fence, *some)
            ledger.void(store, fence, [each.id for each in some], "never sent")
        store.execute("UPDATE operations SET decided_at = decided_at - 31536000")
        assert records.prune(store) == 1200
        assert operations.listed(store) == []


def test_the_runs_that_did_something_are_told_newest_first(store: database.Database) -> None:
    fence = pushing.fence(store)
    for key in ("1", "2"):
        pushing.write(store, fence, pushing.create(key), f"cus_{key}")
    pushing.write(store, fence, pushing.update("1", "cus_1", run="run_2"))
    pushing.begin(store, fence, pushing.update("2", "cus_2", run="run_3"))  # and nothing came of it
    assert [(each.run, each.actions) for each in records.runs(store, pushing.PUSH)] == [
        ("run_2", {"update": 1}),
        ("run_1", {"create": 2}),
    ]


def test_what_a_run_did_is_read_page_by_page(store: database.Database) -> None:
    fence = pushing.fence(store)
    for key in "12345":
        pushing.write(store, fence, pushing.create(key), f"cus_{key}")
    pages = [[each.key for each in page] for page in records.done(store, pushing.PUSH, "run_1", page=2)]
    assert pages == [["1", "2"], ["3", "4"], ["5"]]


def test_what_was_done_to_a_row_last_is_told_without_a_run(store: database.Database) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.create("1"), "cus_1")
    for run in ("run_2", "run_3"):
        pushing.write(store, fence, pushing.update("1", "cus_1", run=run))
    [[last]] = records.done(store, pushing.PUSH, None, ["1"])
    [[second]] = records.done(store, pushing.PUSH, "run_2", ["1", "2"])
    assert (last.run, second.run) == ("run_3", "run_2")


def test_an_undo_holds_its_row_in_its_own_transaction_and_keeps_it_acknowledged_as_something_else(
    store: database.Database,
) -> None:
    fence = pushing.fence(store)
    pushing.write(store, fence, pushing.create("1"), "cus_1")
    hash = f"{operations.UNDONE}hash of 1"
    undo = pushing.write(store, fence, pushing.update("1", "cus_1", action="undo", hash=hash))
    hold = holds.find(store, pushing.PUSH, "1")
    assert hold is not None
    assert (hold.kind, hold.state, hold.hash, hold.operation) == ("undone", "held", "hash of 1", undo)
    assert pushed.find(store, pushing.PUSH, ["1"])["1"].hash == hash
    pushing.write(store, fence, pushing.update("1", "cus_1"))
    assert holds.find(store, pushing.PUSH, "1") is None
