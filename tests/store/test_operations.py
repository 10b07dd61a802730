"""Every request that changes something at Stripe: committed before it is sent, one at a time, ended once."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import pushing
import pytest

from tidegate import errors
from tidegate.store import claims, database, fences, holds, ledger, links, notes, operations, pushed

Opened = Callable[[], database.Database]


def found(store: database.Database, operation: str) -> operations.Operation:
    there = operations.find(store, operation)
    assert there is not None
    return there


def sent(store: database.Database, fence: fences.Fence, intent: operations.Intent) -> str:
    assert pushing.begin(store, fence, intent) == ["begun"]
    ledger.sending(store, fence, intent.id)
    return intent.id


class TestBegin:
    def test_an_intent_is_kept_with_its_exact_bytes(self, store: database.Database) -> None:
        body = "email=ada%40example.com&metadata%5Bext%5D=%C3%A4%00%F0%9F%92%B6&name="
        intent = pushing.create("ä/1", body=body, before={"name": None, "amount": 2**60})
        assert pushing.begin(store, pushing.fence(store), intent) == ["begun"]
        kept = found(store, intent.id)
        assert (kept.status, kept.attempts, kept.first_sent_at) == ("intent", 0, None)
        assert (kept.body, kept.key, kept.livemode) == (body, "ä/1", True)
        assert kept.before == {"name": None, "amount": 2**60}
        assert (kept.hash, kept.fields, kept.version) == (intent.hash, intent.fields, "v1")
        assert kept.idempotency_key == f"tidegate/accounts/{intent.id}"
        assert abs(kept.created_at - store.now()) < 60

    def test_the_same_again_changes_nothing(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        some = [pushing.create("1", "ada@example.com"), pushing.update("2", "cus_2")]
        first = ledger.begin(store, fence, some)
        assert ledger.begin(store, fence, some) == first
        assert [each.state for each in first] == ["begun", "begun"]

    def test_a_row_has_one_open_operation(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        first = pushing.create("1")
        assert pushing.begin(store, fence, first, pushing.create("1")) == ["begun", "busy"]
        for step in (
            lambda: ledger.sending(store, fence, first.id),
            lambda: ledger.unknown(store, fence, [first.id], "its key is pruned"),
        ):
            step()
            [outcome] = ledger.begin(store, fence, [pushing.update("1", "cus_9")])
            assert (outcome.state, outcome.operation) == ("busy", first.id)
        ledger.void(store, fence, [first.id], "no event names it")
        assert pushing.begin(store, fence, pushing.create("1")) == ["begun"]

    def test_an_object_has_one_open_operation_over_all_pushes(self, store: database.Database) -> None:
        fence, other = pushing.fence(store), pushing.fence(store, "people")
        first = pushing.update("1", "cus_1")
        assert pushing.begin(store, fence, first, pushing.update("2", "cus_1")) == ["begun", "busy"]
        [outcome] = ledger.begin(store, other, [pushing.update("ada", "cus_1")])
        assert (outcome.state, outcome.push, outcome.key, outcome.operation) == (
            "busy",
            "accounts",
            "1",
            first.id,
        )
        ledger.sending(store, fence, first.id)
        ledger.acknowledge(store, fence, [operations.Done(first.id, "cus_1")])
        assert pushing.begin(store, other, pushing.update("ada", "cus_1")) == ["begun"]

    def test_the_same_id_elsewhere_is_another_object(self, store: database.Database) -> None:
        fence, other = pushing.fence(store), pushing.fence(store, "test")
        assert pushing.begin(
            store, fence, pushing.update("1", "x"), pushing.update("2", "x", object="coupon")
        ) == [
            "begun",
            "begun",
        ]
        assert pushing.begin(store, other, pushing.update("1", "x", livemode=False)) == ["begun"]

    def test_an_object_of_another_row_is_not_written(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        pushing.write(store, fence, pushing.create("1"), "cus_1")
        [outcome] = ledger.begin(store, fence, [pushing.update("2", "cus_1")])
        assert (outcome.state, outcome.key, outcome.target) == ("shared", "1", "cus_1")

    def test_another_account_than_before_is_refused_with_all_of_it(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        pushing.begin(store, fence, pushing.create("1"))
        with pytest.raises(
            errors.StoreError, match="accounts writes to acct_1 in live mode, and this key is of acct_2"
        ):
            ledger.begin(store, fence, [pushing.create("2"), pushing.create("3", account="acct_2")])
        assert len(operations.undecided(store)) == 1

    def test_who_is_outdated_begins_nothing(self, store: database.Database) -> None:
        old = pushing.fence(store)
        pushing.fence(store, holder="two")
        with pytest.raises(fences.Outdated, match="Another process writes for accounts now"):
            ledger.begin(store, old, [pushing.create("1")])
        assert operations.undecided(store) == []

    def test_nothing_is_begun_when_nothing_is_wished_for(self, store: database.Database) -> None:
        assert ledger.begin(store, pushing.fence(store), []) == []

    def test_a_whole_batch_is_one_transaction(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        some = [pushing.create(f"{n}", f"{n}@example.com") for n in range(ledger.BATCH)]
        assert set(pushing.begin(store, fence, *some)) == {"begun"}
        assert len(operations.undecided(store, "accounts")) == ledger.BATCH
        for each in some:
            ledger.sending(store, fence, each.id)
        done = [operations.Done(each.id, f"cus_{each.key}") for each in some]
        assert ledger.acknowledge(store, fence, done) == []
        assert pushed.count(store, "accounts") == ledger.BATCH
        assert links.counts(store, "accounts") == {"": ledger.BATCH}


class TestSending:
    def test_it_says_how_old_the_intent_is(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        intent = pushing.create("1")
        pushing.begin(store, fence, intent)
        assert 0 <= ledger.sending(store, fence, intent.id) < 60
        store.execute("UPDATE operations SET created_at = created_at - 7200")
        assert 7200 <= ledger.sending(store, fence, intent.id) < 7260
        kept = found(store, intent.id)
        assert (kept.status, kept.attempts) == ("sent", 2)
        assert kept.first_sent_at is not None
        assert kept.last_sent_at is not None
        assert kept.first_sent_at <= kept.last_sent_at

    @pytest.mark.parametrize(
        "passed", [23 * 3600, 25 * 3600, -60], ids=["23 h", "25 h", "the clock was set back"]
    )
    def test_what_stripe_may_have_forgotten_is_not_sent(self, store: database.Database, passed: int) -> None:
        fence = pushing.fence(store)
        intent = pushing.create("1")
        pushing.begin(store, fence, intent)
        store.execute("UPDATE operations SET created_at = created_at - :passed", {"passed": passed})
        with pytest.raises(operations.TooOld, match="may not be sent any more; the next run finds out"):
            ledger.sending(store, fence, intent.id)
        assert pushing.status(store, intent.id) == "intent"

    def test_a_caller_may_be_stricter(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        intent = pushing.create("1")
        pushing.begin(store, fence, intent)
        store.execute("UPDATE operations SET created_at = created_at - 100")
        with pytest.raises(operations.TooOld):
            ledger.sending(store, fence, intent.id, oldest=99.0)

    def test_of_several_each_that_is_young_is_noted_and_the_others_say_why(
        self, store: database.Database
    ) -> None:
        fence = pushing.fence(store)
        first, old, last = (pushing.create(key) for key in "123")
        pushing.begin(store, fence, first, old, last)
        store.execute("UPDATE operations SET created_at = created_at - 90000 WHERE id = :id", {"id": old.id})
        told = ledger.sending_all(store, fence, [last.id, old.id, first.id])
        assert [type(each) for each in told] == [float, operations.TooOld, float]
        kept = [found(store, each.id) for each in (first, old, last)]
        assert [(each.status, each.attempts) for each in kept] == [("sent", 1), ("intent", 0), ("sent", 1)]
        assert ledger.sending_all(store, fence, []) == []

    def test_who_slept_sends_nothing(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        intent = pushing.create("1")
        pushing.begin(store, fence, intent)
        store.execute("UPDATE fences SET until = until - 7200")  # nobody else came, and its time is over
        with pytest.raises(fences.Outdated, match="ran out"):
            ledger.sending(store, fence, intent.id)
        pushing.fence(store, holder="two")
        with pytest.raises(fences.Outdated, match="Another process"):
            ledger.sending(store, fence, intent.id)
        assert pushing.status(store, intent.id) == "intent"

    @pytest.mark.parametrize("end", ["done", "refused", "void", "unknown"])
    def test_what_has_ended_is_not_sent_again(self, store: database.Database, end: str) -> None:
        fence = pushing.fence(store)
        operation = sent(store, fence, pushing.create("1"))
        finish(store, fence, operation, end)
        with pytest.raises(errors.StoreConflict, match=f"{operation} of accounts is {end} already"):
            ledger.sending(store, fence, operation)

    def test_what_is_not_there_is_not_sent(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        with pytest.raises(errors.StoreConflict, match="There is no operation op_1 of accounts"):
            ledger.sending(store, fence, "op_1")
        other = pushing.fence(store, "people")
        theirs = sent(store, other, pushing.create("1"))
        with pytest.raises(errors.StoreConflict, match="no operation"):
            ledger.sending(store, fence, theirs)


def finish(store: database.Database, fence: fences.Fence, operation: str, end: str) -> None:
    """End an operation in one of the ways there are."""
    if end == "done":
        ledger.acknowledge(store, fence, [operations.Done(operation, "cus_1")])
    elif end == "refused":
        ledger.refuse(store, fence, [operations.Refused(operation, "email_invalid", 400, "req_9")])
    elif end == "void":
        ledger.void(store, fence, [operation], "never sent")
    else:
        ledger.unknown(store, fence, [operation], "its key is pruned")


class TestItsEnd:
    def test_a_create_is_linked_and_its_row_acknowledged(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        intent = pushing.create("1", "ada@example.com")
        sent(store, fence, intent)
        done = operations.Done(intent.id, "cus_1", 200, "req_1", {"name": "Ada"})
        assert ledger.acknowledge(store, fence, [done]) == []
        kept = found(store, intent.id)
        assert (kept.status, kept.target, kept.response, kept.request_id) == ("done", "cus_1", 200, "req_1")
        assert kept.after == {"name": "Ada"}
        assert kept.decided_at is not None
        row = pushed.find(store, "accounts", ["1"])["1"]
        assert (row.hash, row.fields, row.version, row.operation) == (
            intent.hash,
            intent.fields,
            "v1",
            intent.id,
        )
        assert links.find(store, "accounts", ["1"])["1"].target == "cus_1"

    def test_the_same_again_changes_nothing(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        operation = sent(store, fence, pushing.create("1"))
        done = operations.Done(operation, "cus_1")
        ledger.acknowledge(store, fence, [done])
        before = [
            store.execute(f"SELECT * FROM {table}")
            for table in ("operations", "links", "pushed", "row_notes")
        ]
        assert ledger.acknowledge(store, fence, [done]) == []
        after = [
            store.execute(f"SELECT * FROM {table}")
            for table in ("operations", "links", "pushed", "row_notes")
        ]
        assert after == before

    def test_a_later_write_is_not_undone_by_an_earlier_acknowledgement_told_again(
        self, store: database.Database
    ) -> None:
        fence = pushing.fence(store)
        first = operations.Done(pushing.write(store, fence, pushing.create("1"), "cus_1"), "cus_1")
        second = pushing.write(store, fence, pushing.update("1", "cus_1", hash="newer"))
        ledger.acknowledge(store, fence, [first])
        row = pushed.find(store, "accounts", ["1"])["1"]
        assert (row.hash, row.operation) == ("newer", second)

    def test_what_removes_a_row_forgets_what_was_acknowledged(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        pushing.write(store, fence, pushing.create("1"), "cus_1")
        pushing.write(store, fence, pushing.update("1", "cus_1", action="archive", hash=""))
        assert pushed.count(store, "accounts") == 0
        assert links.find(store, "accounts", ["1"])["1"].gone == ""

    def test_an_object_that_turns_out_to_be_another_rows_is_held(self, store: database.Database) -> None:
        """A product with this id was there already, and is somebody else's."""
        fence = pushing.fence(store)
        pushing.write(store, fence, pushing.create("1"), "prod_x")
        second, third = pushing.create("2", "b@example.com"), pushing.create("3")
        for each in (second, third):
            sent(store, fence, each)
        done = [operations.Done(second.id, "prod_x"), operations.Done(third.id, "prod_3")]
        assert ledger.acknowledge(store, fence, done) == [second.id]
        assert ledger.acknowledge(store, fence, done) == [second.id]
        assert pushing.status(store, second.id) == "done"
        [hold] = holds.listed(store, "accounts")
        assert (hold.key, hold.kind, hold.operation) == ("2", "shared", second.id)
        assert "prod_x belongs to another row of accounts already" in hold.text
        assert set(links.find(store, "accounts", ["1", "2", "3"])) == {"1", "3"}
        assert set(pushed.find(store, "accounts", ["1", "2", "3"])) == {"1", "3"}
        assert claims.count(store, "accounts") == 0

    def test_a_refusal_keeps_what_stripe_said(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        operation = sent(store, fence, pushing.update("1", "cus_1"))
        ledger.refuse(store, fence, [operations.Refused(operation, "x" * 5000, 402, "req_2")])
        kept = found(store, operation)
        assert (kept.status, kept.response, kept.request_id, len(kept.error)) == (
            "refused",
            402,
            "req_2",
            1000,
        )
        assert pushed.count(store, "accounts") == 0

    def test_an_object_that_is_gone_leaves_a_tombstone(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        pushing.write(store, fence, pushing.create("1", "ada@example.com"), "cus_1")
        operation = sent(store, fence, pushing.update("1", "cus_1", hash="newer"))
        hold = holds.Opening("1", "gone", "cus_1 was deleted; choose another object, or skip.", "newer", "v1")
        refused = operations.Refused(operation, "resource_missing", 404, hold=hold, missing=True)
        ledger.refuse(store, fence, [refused])
        assert links.find(store, "accounts", ["1"])["1"].gone == "missing"
        assert pushed.count(store, "accounts") == 0
        assert claims.count(store, "accounts") == 0
        assert [each.kind for each in holds.listed(store)] == ["gone"]
        assert pushing.begin(store, fence, pushing.create("1")) == ["gone"]

    def test_what_was_never_sent_cannot_be_done(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        intent = pushing.create("1")
        pushing.begin(store, fence, intent)
        for end in ("done", "refused", "unknown"):
            with pytest.raises(errors.StoreConflict, match="is intent already"):
                finish(store, fence, intent.id, end)
        finish(store, fence, intent.id, "void")
        assert pushing.status(store, intent.id) == "void"

    @pytest.mark.parametrize("first", ["done", "refused", "void"])
    @pytest.mark.parametrize("second", ["done", "refused", "void", "unknown"])
    def test_it_ends_once(self, store: database.Database, first: str, second: str) -> None:
        fence = pushing.fence(store)
        operation = sent(store, fence, pushing.create("1"))
        finish(store, fence, operation, first)
        before = found(store, operation)
        if first == second:
            finish(store, fence, operation, second)
        else:
            with pytest.raises(
                errors.StoreConflict, match=f"is {first} already, and cannot become anything else"
            ):
                finish(store, fence, operation, second)
        assert found(store, operation) == before

    @pytest.mark.parametrize("end", ["done", "refused", "void"])
    def test_what_nobody_could_tell_may_turn_out_later(self, store: database.Database, end: str) -> None:
        fence = pushing.fence(store)
        operation = sent(store, fence, pushing.create("1"))
        finish(store, fence, operation, "unknown")
        assert found(store, operation).error == "its key is pruned"
        assert [each.id for each in operations.undecided(store)] == [operation]
        finish(store, fence, operation, end)
        assert pushing.status(store, operation) == end
        assert operations.undecided(store) == []

    @pytest.mark.parametrize("end", ["done", "refused", "void", "unknown"])
    def test_who_is_outdated_ends_nothing(self, store: database.Database, end: str) -> None:
        old = pushing.fence(store)
        operation = sent(store, old, pushing.create("1"))
        pushing.fence(store, holder="two")
        with pytest.raises(fences.Outdated):
            finish(store, old, operation, end)
        assert pushing.status(store, operation) == "sent"

    def test_who_ran_out_of_time_may_still_tell_what_was_done(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        operation = sent(store, fence, pushing.create("1"))
        store.execute("UPDATE fences SET until = until - 7200")
        finish(store, fence, operation, "done")
        assert pushing.status(store, operation) == "done"

    def test_who_comes_next_ends_what_was_left_open(self, store: database.Database) -> None:
        old = pushing.fence(store)
        first, second = sent(store, old, pushing.create("1")), sent(store, old, pushing.create("2"))
        new = pushing.fence(store, holder="two")
        finish(store, new, first, "done")
        assert 0 <= ledger.sending(store, new, second) < 60
        assert pushed.find(store, "accounts", ["1"])["1"].operation == first

    def test_one_that_cannot_be_ended_leaves_all_as_they_are(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        first = sent(store, fence, pushing.create("1"))
        second = pushing.create("2")
        pushing.begin(store, fence, second)
        with pytest.raises(errors.StoreConflict):
            ledger.acknowledge(
                store, fence, [operations.Done(first, "cus_1"), operations.Done(second.id, "cus_2")]
            )
        assert pushing.status(store, first) == "sent"
        assert pushed.count(store, "accounts") == 0


class TestWhatIsOpen:
    def test_oldest_first_by_push_account_and_run(self, store: database.Database) -> None:
        fence, other = pushing.fence(store), pushing.fence(store, "people")
        first, second = pushing.create("1"), pushing.create("2", run="run_2")
        third = pushing.create("3", account="acct_2")
        pushing.begin(store, fence, first)
        pushing.begin(store, fence, second)
        pushing.begin(store, other, third)
        ledger.sending(store, fence, second.id)

        def ids(**wanted: str) -> list[str]:
            return [each.id for each in operations.undecided(store, **wanted)]

        assert ids() == [first.id, second.id, third.id]
        assert ids(push="accounts") == [first.id, second.id]
        assert ids(account="acct_2") == [third.id]
        assert ids(push="accounts", run="run_2") == [second.id]
        ledger.void(store, fence, [first.id], "never sent")
        assert ids(push="accounts") == [second.id]

    def test_pages_follow_each_other(self, store: database.Database) -> None:
        fence = pushing.fence(store)
        made = [pushing.create(f"{n}") for n in range(5)]
        for each in made:
            pushing.begin(store, fence, each)
        page = operations.listed(store, push="accounts", limit=3)
        rest = operations.listed(store, push="accounts", limit=3, after=page[-1])
        assert [each.id for each in page + rest] == [each.id for each in made]
        assert operations.listed(store, key="3", statuses=["intent"])[0].id == made[3].id
        assert operations.listed(store, statuses=["done", "void"]) == []


class TestNames:
    def test_ids_sort_by_their_time_and_are_never_the_same(self) -> None:
        made = [notes.new_id("op") for _ in range(1000)]
        assert len(set(made)) == 1000
        assert all(re.fullmatch(r"op_[0-9a-hjkmnp-tv-z]{26}", each) for each in made)
        assert made == sorted(made)

    def test_an_echo_is_known_by_its_key(self) -> None:
        operation = notes.new_id("op")
        for push in ("accounts", "Kunden: ä/ö %", "x" * 100):
            key = operations.idempotency_key(push, operation)
            assert key.isascii()
            assert operations.echo(key) == operations.Echo(push, operation)

    def test_a_key_is_never_longer_than_stripe_takes(self) -> None:
        operation = notes.new_id("op")
        for push in ("p" * 1000, "ä" * 1000):
            key = operations.idempotency_key(push, operation)
            assert len(key) <= 255
            echo = operations.echo(key)
            assert echo is not None
            assert echo.operation == operation

    @pytest.mark.parametrize(
        "key", [None, "", "b3b9e1b2-7d1c", "tidegate/accounts/op_1", "x/tidegate/accounts/op_" + "0" * 26]
    )
    def test_others_keys_are_no_echo(self, key: str | None) -> None:
        assert operations.echo(key) is None


def test_what_is_open_is_found_without_a_look_at_what_has_ended(tmp_path: Path) -> None:
    store = database.SQLite(tmp_path / "t.db")
    store.migrate()
    asked: list[str] = []
    with contextlib.closing(store), pytest.MonkeyPatch.context() as patched:
        plain = database.SQLite.execute

        def explained(
            self: database.SQLite, text: str, parameters: database.Parameters | None = None
        ) -> object:
            asked.extend(row["detail"] for row in plain(self, f"EXPLAIN QUERY PLAN {text}", parameters))
            return plain(self, text, parameters)

        patched.setattr(database.SQLite, "execute", explained)
        operations.undecided(store)
        operations.undecided(store, "accounts")
        operations.undecided(store, account="acct_1")
    indexes = [line.partition("INDEX ")[2].partition(" ")[0] for line in asked if "operations" in line]
    assert len(indexes) == 3
    assert set(indexes) <= {"operations_open", "operations_open_row"}
