"""Pushes that are planned, settled and written by layers, against a Stripe that is a dictionary.

Nothing is sent; what the plan would write is noted in the ledger as done, and stands in the dictionary.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import planning
import pushing

from tidegate import config
from tidegate.catalog import writes
from tidegate.push import diff, forms, intents, judging, lease, loops, mapping, models, plan, settle, targets
from tidegate.push import workbook as workbooks
from tidegate.store import database, holds, ledger, links, notes, operations, pushed

PLACE = (pushing.ACCOUNT, True, "customer")


class Circle:
    """Customers, and the pushes that write to them."""

    def __init__(
        self,
        store: database.Database,
        book: workbooks.Workbook,
        names: Mapping[str, str],
        is_fed: bool = True,
    ) -> None:
        self.store, self._book, self.is_fed = store, book, is_fed
        self.stripe = {
            id: planning.customer(id, f"{id}@example.com", name, metadata={}) for id, name in names.items()
        }

    @property
    def names(self) -> dict[str, str]:
        """What Stripe has."""
        return {id: each["name"] for id, each in self.stripe.items()}

    def run(
        self, names: Mapping[str, str], push: str = "accounts", *, write: bool = True, **told: Any
    ) -> dict[str, str]:
        """Push these names; what became of the rows that were planned, or the kind of their hold."""
        usual: dict[str, Any] = {"match": {"id": "id"}, "fields": {"name": "name"}, "behavior": "update_only"}
        wanted = planning.push(**{**usual, **told})
        book = self._book
        for table in ("source", "doubled"):
            book.execute(f"DROP TABLE IF EXISTS {table}")
        with lease.held(self.store, push) as held:
            assert held is not None
            made, work = self._planned(book, names, wanted, push)
            settle.settle(book, made, held, work)
            entries = list(plan.entries(book))
            for each in entries:
                if each.verdict == "update" and write:
                    self._write(held, work, each)
        return {each.key: each.kind or each.verdict for each in entries}

    def _planned(
        self, book: workbooks.Workbook, names: Mapping[str, str], push: config.Push, name: str
    ) -> tuple[mapping.Wanted, intents.Work]:
        of = writes.load()["customer"]
        rows = planning.Rows([{"id": id, "name": each} for id, each in names.items()])
        taken = models.snapshot(rows, "select", ["id"], book)  # type: ignore[arg-type]  # it only reads
        wanted = mapping.map_rows(book, taken, name, push, of)
        counts = diff.diff(book, taken, wanted, pushed.each(self.store, name))
        mirror = planning.Objects(of, list(self.stripe.values()))
        targets.resolve(book, wanted, push, mirror, links.each(self.store, name))
        watch = loops.Watch(self.store, name, PLACE, of, wanted.fingerprint, self.is_fed)
        judging.judge(book, wanted, counts, push, of, mirror, paused=self._paused(name), watch=watch)
        return wanted, intents.Work(push, of, "run", *PLACE[:2], wanted.fingerprint, False)

    def _paused(self, push: str) -> dict[str, plan.Paused]:
        return {
            each.key: plan.Paused(each.kind, each.state, each.hash, each.version, is_due=False)
            for each in holds.listed(self.store, push)
        }

    def _write(self, held: lease.Lease, work: intents.Work, entry: plan.Entry) -> None:
        """What `apply` does, without a request."""
        customer = self.stripe[entry.target]
        tree = forms.tree(work.of, {path: each.after for path, each in entry.changes.items()})
        intent = pushing.update(
            entry.key,
            entry.target,
            body=forms.encode(tree).decode(),
            hash=entry.hash,
            fields=json.dumps(dict(entry.fields)),
            version=work.version,
            before={path: customer[path] for path in entry.changes},
        )
        assert pushing.begin(self.store, held.fence, intent) == ["begun"]
        ledger.sending(self.store, held.fence, intent.id)
        customer.update(tree)
        ledger.acknowledge(self.store, held.fence, [operations.Done(intent.id, entry.target, after=tree)])

    def forget(self, key: str, push: str = "accounts") -> None:
        """Have a row compared with Stripe itself, as a repair does."""
        with lease.held(self.store, push) as held:
            assert held is not None
            pushed.forget(self.store, held.fence, [key])

    def later(self, seconds: float) -> None:
        """Let time pass: everything that was noted is that much older."""
        self.store.execute(
            "UPDATE operations SET created_at = created_at - :s, first_sent_at = first_sent_at - :s, "
            "last_sent_at = last_sent_at - :s, decided_at = decided_at - :s",
            {"s": seconds},
        )
        self.store.execute("UPDATE row_notes SET at = at - :s", {"s": seconds})

    def hold(self, key: str, push: str = "accounts") -> holds.Hold:
        """Why a row is not written."""
        found = holds.find(self.store, push, key)
        assert found is not None
        return found

    def noted(self, key: str, push: str = "accounts") -> list[str]:
        """What was noted of a row; of fields under no key."""
        return [note.what for note in notes.listed(self.store, push, key)]


@contextlib.contextmanager
def circle(folder: Path, names: Mapping[str, str], **told: Any) -> Iterator[Circle]:
    """Customers with these names, and a database of their own."""
    store = database.open_database(f"sqlite:///{folder}/ledger.db")
    with contextlib.closing(store), workbooks.in_memory() as book:
        yield Circle(store, book, names, **told)
