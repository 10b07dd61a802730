"""What one process removes since its time is over, while another one is just giving it new time."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable

import pytest

from tidegate.store import database, keyed, retention, ticks

Opened = Callable[[], database.Database]
LONG = 400 * 86_400.0

HELD = {
    "leases": "INSERT INTO leases (name, holder, until) VALUES ('it', 'me', {now} - :long)",
    "alerts": "INSERT INTO alerts (matter, kind, flow, text, opened_at, seen_at, resolved_at) "
    "VALUES ('it', 'failed', 'pull:a', 't', 1, 1, {now} - :long)",
    "keyed": "INSERT INTO keyed (asker, key, asked, seed, state, at, seen_at) "
    "VALUES ('it', 'k', 'a', 's', 'done', {now} - :long, {now} - :long)",
}
RENEWED = {
    "leases": "UPDATE leases SET until = {now} + 30",
    "alerts": "UPDATE alerts SET resolved_at = NULL",
    "keyed": "UPDATE keyed SET at = {now}",
}


def clean(store: database.Database) -> None:
    """Remove whatever is over."""
    retention.clean(store)
    keyed.claim(store, keyed.Key("other", "k"), "a")


def meanwhile(opened: Opened, first: str, second: Callable[[database.Database], None]) -> None:
    """Do the second thing while the first is done and not committed."""
    store, other, watcher = opened(), opened(), opened()
    done, go_on = threading.Event(), threading.Event()

    def work(session: database.Session) -> None:
        session.execute(first)
        done.set()
        assert go_on.wait(60)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        holding = pool.submit(store.transact, work)
        assert done.wait(60)
        waiting = pool.submit(second, other)
        while store.kind == "postgres" and not waits(
            watcher
        ):  # a transaction of SQLite begins when it is its turn
            time.sleep(0.01)
        go_on.set()
        holding.result()
        waiting.result()


def waits(store: database.Database) -> bool:
    """Does somebody wait for a row?"""
    return bool(
        store.execute(
            "SELECT 1 AS one FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )


@pytest.mark.parametrize("table", HELD)
def test_what_was_given_new_time_stays(opened: Opened, store: database.Database, table: str) -> None:
    ticks.sync(store, {"pull:a": "manual"}, lambda *_: None)
    store.execute(HELD[table], {"long": LONG})
    meanwhile(opened, RENEWED[table], clean)
    assert len(store.execute(f"SELECT 1 AS one FROM {table} WHERE 'it' IN ({named(table)})")) == 1


@pytest.mark.parametrize("table", HELD)
def test_what_was_not_goes(store: database.Database, table: str) -> None:
    ticks.sync(store, {"pull:a": "manual"}, lambda *_: None)
    store.execute(HELD[table], {"long": LONG})
    clean(store)
    assert store.execute(f"SELECT 1 AS one FROM {table} WHERE 'it' IN ({named(table)})") == []


def named(table: str) -> str:
    return {"leases": "name", "alerts": "matter", "keyed": "asker"}[table]
