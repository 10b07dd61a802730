"""A pull and a push on the same field: names of customers that are edited at Stripe, in a warehouse, or in both."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import following
from following import Merchant
from pulling import KEY

from tidegate import config
from tidegate.engine import preparing, pushes
from tidegate.store import database, decisions, holds, runs

NAMES = "names"
"""The push."""
NEWER = """
select id, coalesce(edits.name, customers.name) as name
from stripe.customers left join crm.edits using (id)
where customers._deleted_at is null and customers.email like '%@both.test'
"""
"""What a person wrote in the warehouse, else what Stripe has."""
ECHO = """
select id, name || '!' as name from stripe.customers
where _deleted_at is null and email like '%@both.test'
"""
"""A model that never settles: it answers each value with another one."""


@dataclass(frozen=True)
class Flow:
    """One warehouse file, one account, and everything between them."""

    folder: Path
    shop: Merchant

    @property
    def file(self) -> Path:
        """The warehouse."""
        return self.folder / "warehouse.duckdb"

    def configure(self, sql: str = NEWER, owner: str = "three_way", **more: str) -> None:
        """Write the configuration; `more` are other pushes than NAMES, by their models."""
        models = {NAMES: sql, **more}
        lines = [
            f'stripe: {{acme: {{api_key: {KEY}, api_base: "{self.shop.url}", rate_limit: "off"}}}}',
            "warehouses: {prod: {type: duckdb, path: warehouse.duckdb}}",
            "pulls: {all: {from: acme, to: prod}}",
            "models:",
            *(
                f'  {name}: {{warehouse: prod, sql: "{" ".join(told.split())}", key: id}}'
                for name, told in models.items()
            ),
            "pushes:",
            *(
                f"  {name}: {{model: {name}, to: acme, object: customer, behavior: update_only, match: {{id: id}}, "
                f"fields: {{name: {{from: name, owner: {owner}}}}}, guard: {{max_changed: 100%}}}}"
                for name in models
            ),
        ]
        (self.folder / "tidegate.yaml").write_text("\n".join(lines) + "\n")

    def pull(self) -> None:
        """Bring what Stripe has into the warehouse."""
        following.follow(self.shop, self.file, "customers")

    def push(self, name: str = NAMES) -> pushes.Result:
        """Bring what the warehouse says to Stripe."""
        file = config.load(self.folder / "tidegate.yaml")
        with self.store() as store:
            going = pushes.run(
                preparing.job(file, name),
                store,
                self.folder / "state",
                runs.new_id(),
                pushes.Wish(write=True),
            )
            return asyncio.run(going)

    def sql(self, text: str) -> None:
        """Change the warehouse, as somebody who works there does."""
        with duckdb.connect(os.fspath(self.file)) as connection:
            connection.execute(text)

    def edit(self, id: str, name: str | None) -> None:
        """Say in the warehouse what a customer is called; None leaves it to Stripe again."""
        value = "" if name is None else f"; insert into crm.edits values ('{id}', '{name}')"
        self.sql(f"delete from crm.edits where id = '{id}'{value}")

    def begin(self, customers: int) -> list[str]:
        """Make customers at Stripe, bring them here, and make room for edits; returns their ids."""
        made = [
            self.shop.make("/v1/customers", email=f"c{n}@both.test", name=f"Customer {n}")["id"]
            for n in range(customers)
        ]
        self.shop.later()
        self.pull()
        self.sql("create schema crm; create table crm.edits (id varchar, name varchar)")
        return made

    def names(self) -> Mapping[str, str]:
        """What Stripe has."""
        found = [line["object"] for line in self.shop.truth("customers")]
        return {each["id"]: each["name"] for each in found if (each["email"] or "").endswith("@both.test")}

    def writes(self) -> int:
        """Requests that changed a customer since the last time, the merchant's own not among them."""
        return self.shop.counted().get("POST /v1/customers/{customer}", 0)

    @contextlib.contextmanager
    def store(self) -> Iterator[database.Database]:
        """The metadata database."""
        with contextlib.closing(database.open_database(f"sqlite:///{self.folder}/tidegate.db")) as store:
            yield store

    def hold(self, key: str, push: str = NAMES) -> holds.Hold | None:
        """Why a row is not written."""
        with self.store() as store:
            return holds.find(store, push, key)

    def rest(self, seconds: float) -> None:
        """Let time pass, at Stripe and in what was noted of pushes."""
        self.shop.later(seconds)
        with self.store() as store:
            for table, names in (
                ("operations", ("created_at", "first_sent_at", "last_sent_at", "decided_at")),
                ("row_notes", ("at",)),
                ("holds", ("opened_at", "seen_at", "next_at")),
            ):
                told = ", ".join(f"{name} = {name} - :s" for name in names)
                store.execute(f"UPDATE {table} SET {told}", {"s": seconds})


@dataclass
class Expected:
    """What a flow of NEWER with an owner of three ways does to one customer, told without the push's code."""

    stripe: str
    edited: str | None = None
    acknowledged: str | None = None
    pulled: str = ""
    in_conflict: bool = False
    writes: int = 0

    def pull(self) -> None:
        """The warehouse has what Stripe has."""
        self.pulled = self.stripe

    def push(self, chosen: str = "") -> None:
        """The row of the model meets the object; `chosen` is whose value counts where both changed."""
        row = self.pulled if self.edited is None else self.edited
        self.in_conflict = False
        if row == self.acknowledged:
            return
        if self.stripe not in (row, self.acknowledged) and not chosen:
            self.in_conflict = True
            return
        if row != self.stripe and chosen != "stripe":
            self.stripe = row
            self.writes += 1
        self.acknowledged = row


@dataclass
class Cycles:
    """Random edits on both sides, and what they come to."""

    flow: Flow
    chance: random.Random
    customers: dict[str, Expected] = field(default_factory=dict)
    count: int = 0
    edits: int = 0
    writes: int = 0

    def begin(self, customers: int) -> None:
        """Some customers, pulled and pushed once."""
        ids = self.flow.begin(customers)
        self.flow.configure()
        self.customers = {id: Expected(name) for id, name in self.flow.names().items() if id in ids}
        self.cycle(edits=0)

    def cycle(self, edits: int | None = None) -> None:
        """Edits before the pull and after it, the pull, and the push; then both sides are as they should be."""
        self.count += 1
        number = self.chance.randrange(4) if edits is None else edits
        for _ in range(number):
            self._edit()
        self.flow.rest(300)
        self.flow.pull()
        for each in self.customers.values():
            each.pull()
        for _ in range(number and self.chance.randrange(2)):
            self._edit()
        self.flow.shop.later()  # an edit that no event tells of yet is held, and planned the next time
        chosen = self._choose()
        self.flow.shop.counted()
        result = self.flow.push()
        self.writes += self.flow.writes()
        for id, each in self.customers.items():
            each.push(chosen.get(id, ""))
        assert result.status == "ok", result
        assert dict(self.flow.names()) == {id: each.stripe for id, each in self.customers.items()}
        assert self.writes == sum(each.writes for each in self.customers.values())
        held = sorted(id for id, each in self.customers.items() if each.in_conflict)
        with self.flow.store() as store:
            assert sorted(each.key for each in holds.listed(store, NAMES)) == held

    def rest(self) -> int:
        """Nobody edits any more, and persons decide conflicts; in how many cycles something was written still."""
        busy = 0
        while any(each.in_conflict for each in self.customers.values()):
            before = self.writes
            self.cycle(edits=0)
            busy += self.writes > before
        before = self.writes
        self.cycle(edits=0)
        busy += self.writes > before
        before = self.writes
        for _ in range(2):
            self.cycle(edits=0)
        assert self.writes == before, "Nobody edits, and yet something is written."
        assert self.writes <= self.edits
        return busy

    def _edit(self) -> None:
        """Somebody gives a customer a name, here or there; or leaves it to Stripe again."""
        self.edits += 1
        id = self.chance.choice(sorted(self.customers))
        name = f"Name {self.chance.randrange(30)}"
        if self.chance.random() < 0.5:
            self.flow.shop.make(f"/v1/customers/{id}", name=name)
            self.customers[id].stripe = name
        else:
            wanted = None if self.chance.random() < 0.2 else name
            self.flow.edit(id, wanted)
            self.customers[id].edited = wanted

    def _choose(self) -> dict[str, str]:
        """A person decides some conflicts."""
        chosen = {}
        for id, each in self.customers.items():
            if each.in_conflict and self.chance.random() < 0.5:
                chosen[id] = self.chance.choice(["warehouse", "stripe"])
                self.edits += 1
                with self.flow.store() as store:
                    decisions.choose(store, NAMES, id, chosen[id])
        return chosen
