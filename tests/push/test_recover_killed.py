"""A process that is killed, or stopped, at any step of a create: the next one finds out, and nothing is doubled."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import halting
import pytest
import servers
import writing

from tidegate.push import lease, recover, sending
from tidegate.sandbox import faults, server, world
from tidegate.store import database, fences, operations
from tidegate.stripe import client, pace

CHILD = Path(__file__).parents[1] / "support" / "sending_child.py"
PUSH = writing.PUSH
EMAIL = "jenny@example.com"


class Stripe:
    """A sandbox in a thread of its own."""

    def __init__(self) -> None:
        self.made = server.Sandbox(world.build(objects=200, accounts=1))
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.url = self.run(self.made.start())

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def close(self) -> None:
        self.run(self.made.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def made_of_jenny(self) -> int:
        """Customers that there are of her."""
        book = self.made.book()
        found = [book.render("customers", ref, frozenset()) for _, ref in book.every("customers")]
        return sum(EMAIL.encode() in each for each in found)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/tidegate.db" if request.param == "sqlite" else servers.new_postgres()


@pytest.fixture
def stripe() -> Iterator[Stripe]:
    made = Stripe()
    yield made
    made.close()


@contextlib.contextmanager
def child(url: str, base: str, step: str, seconds: float = 60.0) -> Iterator[subprocess.Popen[str]]:
    """A process that reached a step and waits there."""
    command = [sys.executable, str(CHILD), url, base, step, str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"at {step}\n"
        try:
            yield process
        finally:
            process.kill()


def taken(store: database.Database) -> contextlib.AbstractContextManager[lease.Lease | None]:
    """The push, as soon as the time of whoever had it ran out."""
    pause = threading.Event()
    while fences.holder(store, PUSH):
        pause.wait(0.05)
    return lease.held(store, PUSH)


def expire(store: database.Database) -> None:
    """As if the time of whoever had the push had run out."""
    store.execute("UPDATE fences SET until = 0")


def recovered(store: database.Database, base: str) -> list[recover.Decision]:
    """What the next process finds out."""

    async def main(held: lease.Lease) -> list[recover.Decision]:
        version = "2026-10-28.endive"
        limits = pace.Pace(pace.Limits(None, None))
        async with client.Client(writing.KEY, api_base=base, api_version=version, pace=limits) as talking:
            return await recover.recover(talking, held, sending.Sender(talking, held), lambda _: None)

    with taken(store) as held:
        assert held is not None
        return asyncio.run(main(held))


STEPS = ("intent committed", "noted as sent", "before the socket write", "answered", "acknowledged")


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step_it_is_done_once(url: str, stripe: Stripe, step: str) -> None:
    with child(url, stripe.url, step) as process:
        process.kill()
    store = database.open_database(url)
    expire(store)
    decisions = recovered(store, stripe.url)
    [operation] = operations.listed(store, push=PUSH)
    expected = {"intent committed": ("void", 0), "acknowledged": ("done", 1)}.get(step, ("done", 1))
    assert (operation.status, stripe.made_of_jenny()) == expected
    assert [each.kind for each in decisions] == ([] if step == "acknowledged" else [expected[0]])
    store.close()


@pytest.mark.parametrize("trouble", ["reset", "error"])
def test_killed_after_stripe_did_it_and_did_not_say_so(url: str, stripe: Stripe, trouble: Any) -> None:
    stripe.made.script.set([faults.Fault(kind=trouble, when="after", method="POST", times=1)])
    with child(url, stripe.url, "answered") as process:
        process.kill()
    store = database.open_database(url)
    expire(store)
    [decision] = recovered(store, stripe.url)
    assert (decision.kind, stripe.made_of_jenny()) == ("done", 1)
    store.close()


def test_stopped_until_another_took_over_it_sends_nothing_when_it_goes_on(url: str, stripe: Stripe) -> None:
    with child(url, stripe.url, "noted as sent", 5.0) as process:
        store = database.open_database(url)
        stop_outside_of_a_transaction(store, process)
        before = stripe.made.stats.requests.total()
        with taken(store) as held:
            assert held is not None
            process.send_signal(signal.SIGCONT)
            out, _ = process.communicate("go on\n", timeout=60)
        assert out == "left\n"
        assert stripe.made.stats.requests.total() == before == 0
        [decision] = recovered(store, stripe.url)
        assert (decision.kind, stripe.made_of_jenny()) == ("done", 1)
        store.close()


def stop_outside_of_a_transaction(store: database.Database, process: subprocess.Popen[str]) -> None:
    """Stopped inside of one it would keep all others out of a SQLite file."""
    store.transact(lambda _: halting.halt(process.pid))
