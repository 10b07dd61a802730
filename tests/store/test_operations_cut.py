"""A connection to Postgres that breaks at any statement, and processes that meet: all is done once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import clusters
import psycopg
import pushing
import pyarrow
import pytest

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

Opened = Callable[[], database.Database]
TABLES = ("fences", "operations", "links", "pushed", "holds", "claims", "row_notes")
STRIDE = 7
"""Every seventh statement is cut at, since all of them take minutes; those of the two tests are not the same."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[clusters.Cluster]:
    with clusters.postgres() as running:
        yield running


def work(url: str) -> None:
    """Two rows written, one refused and decided on, one given up, one gone."""
    first, second = pushing.create("1", "ada@example.com"), pushing.update("2", "cus_2")
    third, fourth = pushing.create("3", "bea@example.com"), pushing.create("4", "cem@example.com")
    with contextlib.closing(database.open_database(url)) as store:
        fence = fences.take(store, "accounts", "one", 3600.0)
        assert fence is not None
        assert fences.keep(store, fence, 3600.0)
        assert pushing.begin(store, fence, first, second, third, fourth) == ["begun"] * 4
        for intent in (first, first, second, third):
            ledger.sending(store, fence, intent.id)
        done = [operations.Done(first.id, "cus_1"), operations.Done(second.id, "cus_2")]
        assert ledger.acknowledge(store, fence, done) == []
        hold = holds.Opening("3", "refused", "Stripe refused it.", times=3)
        ledger.refuse(store, fence, [operations.Refused(third.id, "email_invalid", hold=hold)])
        ledger.void(store, fence, [fourth.id], "never sent")
        holds.open(store, fence, [holds.Opening("3", "unknown", "Nobody can tell.", times=3)])
        decisions.choose(store, "accounts", "3", "cus_3")
        assert holds.reopen(store, fence, {"3": ("newer", "v2")}) == ["3"]
        links.unlink(store, fence, ["2"])
        batch = pyarrow.RecordBatch.from_pylist([{"key": "1", "hash": "equal", "fields": "{}"}])
        assert pushed.replace_many(store, fence, "v2", [batch]) == 1


def assert_done_once(store: database.Database) -> None:
    found = {each.key: (each.status, each.attempts) for each in operations.listed(store)}
    assert found == {"1": ("done", 2), "2": ("done", 1), "3": ("refused", 1), "4": ("void", 0)}
    assert links.counts(store, "accounts") == {"": 1, "missing": 1}
    [hold] = holds.listed(store)
    assert (hold.key, hold.state, hold.failures, hold.choice) == ("3", "waiting", 0, "")
    [row] = pushed.find(store, "accounts", ["1", "2"]).values()
    assert (row.hash, row.version) == ("equal", "v2")
    assert [each.what for each in records.timeline(store, "accounts", "3")] == [
        "planned",
        "sent",
        "refused",
        "waiting",
        "waiting",
        "chosen",
        "changed",
    ]
    assert claims.count(store, "accounts") == 1
    [fence] = store.execute("SELECT number, holder FROM fences")
    assert (fence["number"], fence["holder"]) == (1, "one")


@pytest.mark.parametrize("answer", [False, True], ids=["lost", "unanswered"])
def test_cut_at_any_statement_everything_is_done_once(
    cluster: clusters.Cluster, answer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """COMMIT too: who lost its answer cannot know whether the work is there, and does it again."""
    monkeypatch.setattr(database, "FIRST_PAUSE", 0.001)
    name = f"cut_{'answer' if answer else 'statement'}"
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    place = cluster.url(name)
    with contextlib.closing(database.open_database(place)) as watcher:
        piece, cut = int(answer), clusters.Cut(0)
        while piece < 10 or cut.happened:
            for table in TABLES:
                watcher.execute(f"DELETE FROM {table}")
            cut = clusters.Cut(piece, answer=answer)
            with clusters.wire(cluster.port, [cut]) as wire:
                work(place.replace(f":{cluster.port}/", f":{wire}/"))
            assert_done_once(watcher)
            piece += STRIDE
    assert piece > 60  # statements are there


def test_of_many_pushes_one_gets_each_object(opened: Opened) -> None:
    stores = [opened() for _ in range(4)]
    taken = [pushing.fence(store, f"push{n}") for n, store in enumerate(stores)]
    begun: list[tuple[str, str]] = []

    def race(store: database.Database, fence: fences.Fence) -> None:
        intents = [pushing.update(f"{n}", f"cus_{n:02}") for n in range(30)]
        if fence.push in ("push1", "push3"):  # the other way round, so that they meet
            intents.reverse()
        for start in range(0, 30, 10):
            some = intents[start : start + 10]
            for intent, outcome in zip(some, ledger.begin(store, fence, some), strict=True):
                assert outcome.state in ("begun", "busy")
                if outcome.state == "begun":
                    begun.append((intent.target, fence.push))

    threads = [threading.Thread(target=race, args=pair) for pair in zip(stores, taken, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(target for target, _ in begun) == [f"cus_{n:02}" for n in range(30)]
    assert {(each.target, each.push) for each in operations.undecided(stores[0])} == set(begun)


def test_who_takes_over_waits_for_what_the_other_commits_or_keeps_it_out(opened: Opened) -> None:
    """A process that slept in the middle of a transaction has either committed, or finds itself outdated."""
    first, second = opened(), opened()
    old = pushing.fence(first)
    first.execute("UPDATE fences SET until = 0")
    inside, over = threading.Event(), threading.Event()
    taken: list[fences.Fence | None] = []

    def slow(session: database.Session) -> None:
        fences.check(session, old)
        inside.set()
        session.execute("UPDATE fences SET holder = holder WHERE push = 'accounts'")
        assert not over.is_set(), "somebody took the push in the middle of it"

    def takes() -> None:
        inside.wait()
        taken.append(fences.take(second, "accounts", "two", 60.0))
        over.set()

    thread = threading.Thread(target=takes)
    thread.start()
    first.transact(slow)
    thread.join()
    assert taken == [fences.Fence("accounts", 2, "two")]
    with pytest.raises(fences.Outdated):
        first.transact(lambda session: fences.check(session, old))
