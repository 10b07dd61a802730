"""One push on its way to the sandbox: a ledger, the right to write, a client, and intents made by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from tidegate.push import forms, lease, sending
from tidegate.sandbox import faults, server, world
from tidegate.store import database, ledger, operations
from tidegate.stripe import client, pace

T = TypeVar("T")
KEY = "sk_test_51NzufDB0DBR1HOyc9Zq8sWabcd"
PUSH = "push:accounts"
ACCOUNT = "acct_push"
MARK = "tidegate_op"
JENNY = {"email": "jenny@example.com", "name": "Jenny Rosen"}


@dataclass
class Time:
    """Clocks that a test moves."""

    steady: float = 1_000.0
    wall: float = 1_790_000_000.0

    def clocks(self) -> lease.Clocks:
        return lease.Clocks(lambda: self.steady, lambda: self.wall)


@dataclass
class Scene:
    """Everything that sends one operation."""

    made: server.Sandbox
    stripe: client.Client
    store: database.Database
    held: lease.Lease
    sender: sending.Sender
    time: Time = field(default_factory=Time)

    def intend(
        self,
        values: Mapping[str, Any],
        *,
        key: str = "row 1",
        object: str = "customer",
        action: str = "",
        path: str = "/v1/customers",
        target: str = "",
        method: str = "POST",
        marked: bool = True,
    ) -> operations.Operation:
        """Commit an intent; a create says in its metadata which operation it is."""
        found = operations.Intent(
            "run_1",
            key,
            ACCOUNT,
            False,
            object,
            action or ("update" if target else "create"),
            method,
            f"{path}/{target}" if target else path,
            "",
            self.stripe.api_version,
            target,
            hash="h1",
            fields="{}",
            version="v1",
        )
        body = dict(values)
        if marked and not target:
            body["metadata"] = {**body.get("metadata", {}), MARK: found.id}
        found = replace(found, body=forms.encode(body).decode())
        [outcome] = ledger.begin(self.store, self.held.fence, [found])
        assert outcome.state == "begun", outcome
        return self.read(found.id)

    def read(self, operation: str) -> operations.Operation:
        """An operation as the ledger has it."""
        found = operations.find(self.store, operation)
        assert found is not None
        return found

    def status(self, operation: operations.Operation) -> str:
        """What the ledger says of it."""
        return self.read(operation.id).status

    def age(self, operation: operations.Operation, seconds: float) -> operations.Operation:
        """Make it older."""
        self.store.execute(
            "UPDATE operations SET created_at = created_at - :s, first_sent_at = first_sent_at - :s, "
            "last_sent_at = last_sent_at - :s WHERE id = :id",
            {"s": seconds, "id": operation.id},
        )
        return self.read(operation.id)

    def befall(self, *what: Mapping[str, Any]) -> None:
        """Put faults in force, in place of all others."""
        self.made.script.set([faults.Fault(**each) for each in what])

    def customers(self, **values: Any) -> list[dict[str, Any]]:
        """The customers that have these values."""
        book = self.made.book()
        found = [json.loads(book.render("customers", ref, frozenset())) for _, ref in book.every("customers")]
        return [each for each in found if all(each[name] == value for name, value in values.items())]

    def asked(self, method: str = "POST") -> int:
        """Requests of this method that came so far."""
        return sum(n for name, n in self.made.stats.requests.items() if name.startswith(f"{method} "))


@contextlib.asynccontextmanager
async def scene(
    store: database.Database, *, base: str = "", seconds: float = 60.0, **options: Any
) -> AsyncIterator[Scene]:
    """A push whose client waits for nothing between its attempts; `base` is another Stripe than the sandbox."""
    time = Time()
    made = server.Sandbox(world.build(objects=200, accounts=1), **options)
    url = await made.start()
    given: dict[str, Any] = {"sleep": _at_once, "max_attempts": 3}
    limits = pace.Pace(pace.Limits(None, None))
    try:
        with lease.held(store, PUSH, seconds=seconds, clocks=time.clocks()) as held:
            assert held is not None
            version = made.facts.api_version
            async with client.Client(
                KEY, api_base=base or url, api_version=version, pace=limits, **given
            ) as stripe:
                yield Scene(made, stripe, store, held, sending.Sender(stripe, held), time)
    finally:
        await made.stop()


def play(store: database.Database, act: Callable[[Scene], Awaitable[T]], **options: Any) -> T:
    """Do something on the scene."""

    async def main() -> T:
        async with scene(store, **options) as made:
            return await act(made)

    return asyncio.run(main())


async def existing(scene: Scene, key: str = "row 1", **values: Any) -> str:
    """A customer that a row of the push created."""
    outcome = await scene.sender.send(scene.intend({**JENNY, **values}, key=key))
    assert outcome.kind == "done"
    return outcome.target


async def _at_once(_: float) -> None:
    pass
