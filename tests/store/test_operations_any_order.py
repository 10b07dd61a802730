"""Two workers of one push and one of another, in any order of their steps, beside a model of what must come of it.

A worker that is killed between two transactions is one that does nothing more; one that was stopped comes back with
a fence from before, while others have gone on.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pushing
import pytest
import stepping
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from tidegate import errors
from tidegate.store import database, fences, ledger, links, operations

LEASE, PASSES = 200_000, 60_000
"""A worker keeps a push for three steps of the time, an intent may be sent after one; all far from their bounds."""
OPEN = ("intent", "sent", "unknown")
TABLES = ("fences", "operations", "links", "pushed", "holds", "claims", "row_notes")

WORKERS = st.sampled_from([("accounts", "one"), ("accounts", "two"), ("people", "two")])
ENDS = st.sampled_from(["done", "done", "cus_a", "refused", "missing", "void", "unknown", "killed"])
KEYS, MAILS, TARGETS = st.sampled_from("12"), st.sampled_from("abc"), st.sampled_from(["cus_a", "cus_b"])


@dataclass
class Known:
    """What the model knows of an operation."""

    intent: operations.Intent
    push: str
    made_at: int
    status: str = "intent"
    target: str = ""
    attempts: int = 0
    apart: bool = False
    """Its object turned out to be another row's."""


@dataclass
class Model:
    """What must stand in the database."""

    now: int = 0
    numbers: dict[str, int] = field(default_factory=dict)
    holders: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Who has a push, and until when."""
    known: dict[str, Known] = field(default_factory=dict)
    links: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    """The object of a row, and whether it is gone."""
    pushed: dict[tuple[str, str], str] = field(default_factory=dict)
    """The operation that wrote a row last."""
    claims: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """Who has a value: push, key, operation."""
    held: set[tuple[str, str]] = field(default_factory=set)

    def valid(self, fence: fences.Fence, *, lasting: bool = False) -> bool:
        mine = self.numbers.get(fence.push) == fence.number
        return mine and (not lasting or self.holders[fence.push][1] > self.now)

    def open(self) -> list[Known]:
        return [each for each in self.known.values() if each.status in OPEN]

    def owner(self, push: str, target: str) -> str:
        rows = [key for (of, key), link in self.links.items() if (of, *link) == (push, target, "")]
        return next(iter(rows), "")

    def barred(self, push: str, intent: operations.Intent) -> str:
        target, gone = self.links.get((push, intent.key), ("", ""))
        another = intent.target != target if intent.target else intent.action == "create"
        if gone == "missing":
            return "gone"
        if target and not gone and another:
            return "linked"
        if intent.target and self.owner(push, intent.target) not in ("", intent.key):
            return "shared"
        return ""

    def begin(self, push: str, intents: list[operations.Intent]) -> list[str]:
        states = {each.id: self.barred(push, each) for each in intents}
        for each in sorted(intents, key=lambda each: each.target):
            taken = any(
                (other.push, other.intent.key) == (push, each.key)
                or (each.target and other.target == each.target)
                for other in self.open()
            )
            if not states[each.id]:
                states[each.id] = "busy" if taken else "begun"
                if not taken:
                    self.known[each.id] = Known(each, push, self.now, target=each.target)
        begun = [each for each in intents if states[each.id] == "begun"]
        for each in begun:
            for claim in each.claims:
                self.claims.setdefault(claim.digest, (push, each.key, each.id))
        for each in begun:
            if any(self.claims[claim.digest][:2] != (push, each.key) for claim in each.claims):
                states[each.id] = "claimed"
        for each in begun:
            if states[each.id] == "claimed":
                del self.known[each.id]
                self.release(each.id)
        return [states[each.id] for each in intents]

    def release(self, operation: str) -> None:
        self.claims = {value: who for value, who in self.claims.items() if who[2] != operation}

    def bury(self, push: str, key: str, gone: str) -> None:
        self.links[push, key] = (self.links[push, key][0], gone)
        self.pushed.pop((push, key), None)
        self.claims = {value: who for value, who in self.claims.items() if who[:2] != (push, key)}

    def acknowledge(self, each: Known, target: str) -> None:
        """Note that Stripe did it."""
        push, intent = each.push, each.intent
        row = (push, intent.key)
        each.status, each.target = "done", target
        if self.owner(push, target) not in ("", intent.key):
            each.apart = True
            self.release(intent.id)
            self.held.add(row)
            return
        dead = self.links.get(row) == (target, "missing")
        if intent.action == "delete":
            if self.links.get(row) == (target, ""):
                self.bury(*row, "deleted")
            self.pushed.pop(row, None)
        elif not dead:
            self.links[row] = (target, "")
            self.pushed[row] = intent.id
            mine = {claim.digest for claim in intent.claims}
            if mine:
                self.claims = {
                    value: who for value, who in self.claims.items() if who[:2] != row or value in mine
                }
        if not dead:
            self.held.discard(row)

    def lose(self, each: Known) -> None:
        """Note that its object is gone."""
        row = (each.push, each.intent.key)
        if row not in self.links and each.target and self.owner(each.push, each.target) == "":
            self.links[row] = (each.target, "")
        if self.links.get(row) == (each.target, ""):
            self.bury(*row, "missing")


class Ledger(RuleBasedStateMachine):
    """What workers do, and what they are told."""

    stores: list[database.Database]
    taken = Bundle("taken")
    """Fences as workers got them, also those that are outdated by now."""
    begun = Bundle("begun")

    def __init__(self) -> None:
        super().__init__()
        for table in TABLES:
            self.stores[0].execute(f"DELETE FROM {table}")
        self.model = Model()
        self.numbers = itertools.count()
        self.mine: dict[tuple[str, str], fences.Fence] = {}
        """What each worker believes to have."""

    def fence(self, worker: tuple[str, str]) -> fences.Fence:
        return self.mine.get(worker, fences.Fence(worker[0], 0, worker[1]))

    def store(self, fence: fences.Fence) -> database.Database:
        return self.stores[0 if fence.holder == "one" else 1]

    def attempt(self, fence: fences.Fence, work: Any, *, lasting: bool = False) -> bool:
        """Do something for a push; it must be refused where the fence is outdated."""
        if self.model.valid(fence, lasting=lasting):
            work()
            return True
        with pytest.raises(fences.Outdated):
            work()
        return False

    @rule(target=taken, worker=WORKERS)
    def a_worker_takes_its_push(self, worker: tuple[str, str]) -> object:
        return self.take(worker) or multiple()

    def take(self, worker: tuple[str, str]) -> fences.Fence | None:
        model, (push, holder) = self.model, worker
        fence = fences.take(self.stores[0 if holder == "one" else 1], push, holder, LEASE)
        who, until = model.holders.get(push, ("", 0))
        if until > model.now and who != holder:
            assert fence is None
            return None
        number = model.numbers.get(push, 0) + (0 if until > model.now else 1)
        assert fence == fences.Fence(push, number, holder)
        model.numbers[push], model.holders[push] = number, (holder, model.now + LEASE)
        self.mine[worker] = fence
        return fence

    @rule(fence=taken)
    def a_worker_that_was_stopped_comes_back(self, fence: fences.Fence) -> None:
        self.mine[fence.push, fence.holder] = fence

    @rule(worker=WORKERS)
    def a_worker_leaves(self, worker: tuple[str, str]) -> None:
        fence = self.fence(worker)
        fences.leave(self.store(fence), fence)
        if self.model.valid(fence):
            self.model.holders[fence.push] = ("", 0)

    @rule()
    def time_passes(self) -> None:
        self.model.now += PASSES
        passed = {"s": PASSES}
        self.stores[0].execute("UPDATE fences SET until = until - :s", passed)
        self.stores[0].execute("UPDATE operations SET created_at = created_at - :s", passed)

    @rule(
        target=begun,
        worker=WORKERS,
        wanted=st.lists(
            st.tuples(st.sampled_from(["create", "update", "update", "delete"]), KEYS, MAILS, TARGETS),
            min_size=1,
            max_size=3,
        ),
    )
    def a_worker_begins(self, worker: tuple[str, str], wanted: list[tuple[str, str, str, str]]) -> object:
        return multiple(*self.begin(worker, wanted))

    def begin(self, worker: tuple[str, str], wanted: list[tuple[str, str, str, str]]) -> list[str]:
        if worker not in self.mine:
            self.take(worker)
        fence = self.fence(worker)
        intents = []
        for action, key, mail, target in wanted:
            claims = (pushing.email(mail),) if mail != "c" else ()
            linked, gone = self.model.links.get((fence.push, key), ("", ""))
            if action == "create":
                intents.append(pushing.create(key, claims=claims))
            elif action == "update":
                # Mostly the row's own object, as a plan would have it.
                mine = linked if linked and not gone and mail != "c" else target
                intents.append(pushing.update(key, mine, claims=claims))
            else:
                intents.append(pushing.update(key, linked or target, action="delete", hash=""))
        found: list[operations.Outcome] = []
        told = self.attempt(
            fence, lambda: found.extend(ledger.begin(self.store(fence), fence, intents)), lasting=True
        )
        if not told:
            return []
        assert [each.state for each in found] == self.model.begin(fence.push, intents)
        return [each.id for each in intents if each.id in self.model.known]

    @rule(worker=WORKERS, operation=begun)
    def a_worker_sends(self, worker: tuple[str, str], operation: str) -> None:
        self.send(worker, operation)

    def send(self, worker: tuple[str, str], operation: str) -> None:
        fence = self.fence(worker)
        each = self.model.known[operation]
        if each.push != fence.push:
            return

        def work() -> None:
            age = self.model.now - each.made_at
            if each.status not in ("intent", "sent"):
                with pytest.raises(errors.StoreConflict):
                    ledger.sending(self.store(fence), fence, operation)
            elif age > operations.OLDEST:
                with pytest.raises(operations.TooOld):
                    ledger.sending(self.store(fence), fence, operation)
            else:
                told = ledger.sending(self.store(fence), fence, operation)
                assert age <= told < age + PASSES / 3
                each.status, each.attempts = "sent", each.attempts + 1

        if self.model.valid(fence, lasting=True):
            work()
        else:
            with pytest.raises(fences.Outdated):
                ledger.sending(self.store(fence), fence, operation)

    @rule(worker=WORKERS, operation=begun, there=st.one_of(st.none(), st.none(), TARGETS))
    def stripe_did_it(self, worker: tuple[str, str], operation: str, there: str | None) -> None:
        self.acknowledge(worker, operation, there)

    def acknowledge(self, worker: tuple[str, str], operation: str, there: str | None) -> None:
        fence = self.fence(worker)
        each = self.model.known[operation]
        if each.push != fence.push:
            return
        made = each.target or there or f"cus_{next(self.numbers)}"
        found: list[str] = []

        def work() -> None:
            found.extend(ledger.acknowledge(self.store(fence), fence, [operations.Done(operation, made)]))

        if self.model.valid(fence) and each.status not in ("sent", "unknown", "done"):
            with pytest.raises(errors.StoreConflict):
                work()
        elif self.attempt(fence, work) and each.status != "done":
            self.model.acknowledge(each, made)
            assert found == ([operation] if each.apart else [])

    @rule(
        worker=WORKERS,
        operation=begun,
        end=st.sampled_from(["refused", "missing", "void", "unknown"]),
    )
    def it_ends_otherwise(self, worker: tuple[str, str], operation: str, end: str) -> None:
        self.end(worker, operation, end)

    def end(self, worker: tuple[str, str], operation: str, end: str) -> None:
        fence = self.fence(worker)
        each, store = self.model.known[operation], self.store(fence)
        if each.push != fence.push:
            return
        status = "refused" if end == "missing" else end

        def work() -> None:
            if status == "refused":
                refused = operations.Refused(operation, "no", missing=end == "missing")
                ledger.refuse(store, fence, [refused])
            elif end == "void":
                ledger.void(store, fence, [operation], "never sent")
            else:
                ledger.unknown(store, fence, [operation], "nobody can tell")

        may = {"refused": ("sent", "unknown"), "void": OPEN, "unknown": ("sent", "unknown")}[status]
        if self.model.valid(fence) and each.status not in (*may, status):
            with pytest.raises(errors.StoreConflict):
                work()
        elif self.attempt(fence, work) and each.status != status:
            each.status = status
            if status != "unknown":
                self.model.release(operation)
            if end == "missing":
                self.model.lose(each)

    @rule(target=begun, worker=WORKERS, key=KEYS, mail=MAILS, end=ENDS)
    def a_worker_writes(self, worker: tuple[str, str], key: str, mail: str, end: str) -> object:
        """One after the other, as it is when nothing is in the way; or until it is killed."""
        self.take(worker)
        there, gone = self.model.links.get((worker[0], key), ("", ""))
        action = "update" if there and not gone else "create"
        made = self.begin(worker, [(action, key, mail, there or "cus_a")])
        for operation in made:
            self.send(worker, operation)
            if end in ("done", "cus_a"):
                self.acknowledge(worker, operation, None if end == "done" else end)
            elif end != "killed":
                self.end(worker, operation, end)
        return multiple(*made)

    @rule(worker=WORKERS, key=KEYS)
    def somebody_deletes_an_object(self, worker: tuple[str, str], key: str) -> None:
        fence = self.fence(worker)
        told = self.attempt(fence, lambda: links.unlink(self.store(fence), fence, [key]))
        _, gone = self.model.links.get((fence.push, key), ("", "none"))
        if told and not gone:
            self.model.bury(fence.push, key, "missing")

    @rule(worker=WORKERS, key=KEYS, wanted=TARGETS, chosen=st.booleans())
    def a_worker_links(self, worker: tuple[str, str], key: str, wanted: str, chosen: bool) -> None:
        fence = self.fence(worker)
        found: list[links.Outcome] = []
        link = links.Link(key, pushing.ACCOUNT, True, "customer", wanted)
        if not self.attempt(
            fence, lambda: found.extend(links.link(self.store(fence), fence, [link], chosen=chosen))
        ):
            return
        there, gone = self.model.links.get((fence.push, key), ("", ""))
        if gone == "missing" and (there == wanted or not chosen):
            state = "gone"
        elif there and not gone and there != wanted and not chosen:
            state = "kept"
        elif self.model.owner(fence.push, wanted) not in ("", key):
            state = "shared"
        else:
            state = "linked"
            self.model.links[fence.push, key] = (wanted, "")
        assert [each.state for each in found] == [state]

    @invariant()
    def the_database_holds_what_the_model_does(self) -> None:
        store, model = self.stores[0], self.model
        rows = store.execute("SELECT id, push, key, target, status, attempts FROM operations")
        assert {row["id"]: (row["status"], row["target"], row["attempts"]) for row in rows} == {
            name: (each.status, each.target, each.attempts) for name, each in model.known.items()
        }
        rows = store.execute("SELECT push, key, target, gone FROM links")
        assert {(row["push"], row["key"]): (row["target"], row["gone"]) for row in rows} == model.links
        rows = store.execute("SELECT push, key, operation FROM pushed")
        assert {(row["push"], row["key"]): row["operation"] for row in rows} == model.pushed
        rows = store.execute("SELECT digest, push, key, operation FROM claims")
        assert {row["digest"]: (row["push"], row["key"], row["operation"]) for row in rows} == model.claims
        rows = store.execute("SELECT push, key FROM holds")
        assert {(row["push"], row["key"]) for row in rows} == model.held

    @invariant()
    def a_row_and_an_object_have_one_open_operation_at_most(self) -> None:
        open_ = operations.undecided(self.stores[0])
        rows = [(each.push, each.key) for each in open_]
        targets = [each.target for each in open_ if each.target]
        assert len(rows) == len(set(rows))
        assert len(targets) == len(set(targets))

    @invariant()
    def what_is_acknowledged_was_done_to_the_object_of_its_row(self) -> None:
        found = self.stores[0].execute(
            "SELECT pushed.push, pushed.key, operations.status, operations.key AS other, operations.hash, "
            "pushed.hash AS acknowledged FROM pushed LEFT JOIN operations ON operations.id = pushed.operation"
        )
        for row in found:
            assert (row["status"], row["other"], row["hash"]) == ("done", row["key"], row["acknowledged"])

    @invariant()
    def a_claim_has_an_open_operation_or_an_object_that_lives(self) -> None:
        for row in self.stores[0].execute(
            "SELECT claims.push, claims.key, operations.status, links.gone FROM claims "
            "LEFT JOIN operations ON operations.id = claims.operation "
            "LEFT JOIN links ON links.push = claims.push AND links.key = claims.key"
        ):
            assert row["status"] in OPEN or (row["status"], row["gone"]) == ("done", "")

    @invariant()
    def an_object_has_one_row_of_a_push(self) -> None:
        rows = self.stores[0].execute("SELECT push, target FROM links WHERE gone = ''")
        found = [(row["push"], row["target"]) for row in rows]
        assert len(found) == len(set(found))


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_any_order_of_steps(kind: str, tmp_path: Path) -> None:
    with stepping.opened(kind, tmp_path, 2) as stores:
        stepping.any_order(Ledger, stores, 60)
