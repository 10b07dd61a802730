"""The right to write for a push: one has it, it is kept, and nobody believes in one that ran out."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import halting
import pytest
import writing

from tidegate import errors
from tidegate.push import lease
from tidegate.store import database, fences, operations

PUSH = writing.PUSH


@pytest.fixture
def store(tmp_path: Path) -> Iterator[database.Database]:
    opened = database.open_database(f"sqlite:///{tmp_path}/tidegate.db")
    yield opened
    opened.close()


def test_one_writes_for_a_push_and_the_next_has_a_greater_number(store: database.Database) -> None:
    with lease.held(store, PUSH) as first:
        assert first is not None
        first.mine()
        with lease.held(store, PUSH) as second:
            assert second is None
        with lease.held(store, "push:other") as other:
            assert other is not None
    with lease.held(store, PUSH) as third:
        assert third is not None
        assert third.fence.number > first.fence.number


def test_after_the_block_nothing_may_be_sent(store: database.Database) -> None:
    with lease.held(store, PUSH) as held:
        assert held is not None
    with pytest.raises(fences.Outdated, match="This run of push:accounts is over"):
        held.mine()
    assert fences.holder(store, PUSH) == ""


@pytest.mark.parametrize("clock", ["steady", "wall"])
def test_a_machine_that_slept_or_whose_clock_jumped_is_not_sure_any_more(
    store: database.Database, clock: str
) -> None:
    now = writing.Time()
    with lease.held(store, PUSH, seconds=60, clocks=now.clocks()) as held:
        assert held is not None
        setattr(now, clock, getattr(now, clock) + 47)
        held.mine()
        setattr(now, clock, getattr(now, clock) + 2)
        with pytest.raises(fences.Outdated, match="Nobody could be asked for 60 seconds"):
            held.mine()
        assert held.renew()  # nobody else came, and the database's time had not run out
        held.mine()


def test_a_wall_clock_that_is_set_back_gives_no_time(store: database.Database) -> None:
    now = writing.Time()
    with lease.held(store, PUSH, seconds=60, clocks=now.clocks()) as held:
        assert held is not None
        now.wall -= 3_600
        now.steady += 49
        with pytest.raises(fences.Outdated):
            held.mine()


def test_whoever_lost_it_never_has_it_again(store: database.Database) -> None:
    with lease.held(store, PUSH) as held:
        assert held is not None
        store.execute("UPDATE fences SET until = 0")
        assert fences.take(store, PUSH, "another", 60) is not None
        assert not held.renew()
        with pytest.raises(fences.Outdated, match="or another took it over"):
            held.mine()
        assert not held.renew()
    assert fences.holder(store, PUSH) == "another"


def test_it_is_kept_in_the_background(store: database.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, enough = 0, threading.Event()
    keep = fences.keep

    def counted(store: database.Database, fence: fences.Fence, seconds: float) -> bool:
        nonlocal kept
        kept += 1
        if kept == 3:
            enough.set()
        return keep(store, fence, seconds)

    monkeypatch.setattr(fences, "keep", counted)
    with lease.held(store, PUSH, seconds=2.0) as held:
        assert held is not None
        assert enough.wait(60)


def test_a_database_that_cannot_be_asked_does_not_end_it_at_once(
    store: database.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()
    keep = fences.keep

    def gone(store: database.Database, fence: fences.Fence, seconds: float) -> bool:
        if not failed.is_set():
            failed.set()
            raise errors.StoreUnreachable("The database is restarting; wait.")
        return keep(store, fence, seconds)

    monkeypatch.setattr(fences, "keep", gone)
    with lease.held(store, PUSH, seconds=600.0, clocks=writing.Time().clocks()) as held:
        assert held is not None
        with pytest.raises(errors.StoreUnreachable):
            held.renew()
        held.mine()
        assert held.renew()


def test_an_operation_is_young_for_23_hours_by_whichever_clock_went_further() -> None:
    now = writing.Time()
    age = lease.Age("op_1", 22 * 3600.0, now.clocks().since())
    age.young()
    now.steady += 3_599
    age.young()
    now.wall += 3_600
    with pytest.raises(
        operations.TooOld, match=r"op_1 was planned 23\.0 hours ago and may not be sent any more"
    ):
        age.young()


def test_the_steady_clock_of_this_machine_counts_while_it_sleeps() -> None:
    known = {"linux": "CLOCK_BOOTTIME", "darwin": "CLOCK_MONOTONIC"}
    clock = getattr(time, known.get(sys.platform, ""), None)

    def now() -> float:
        return time.monotonic() if clock is None else time.clock_gettime(clock)

    before, found, after = now(), lease.Clocks().steady(), now()
    assert before <= found <= after


STOPPED = """
import sys
from tidegate.push import lease
from tidegate.store import database, fences
store = database.open_database(sys.argv[1])
with lease.held(store, "push:accounts", seconds=1.0) as held:
    held.mine()
    print("mine", flush=True)
    sys.stdin.readline()
    try:
        held.mine()
    except fences.Outdated:
        print("outdated", flush=True)
    else:
        print("still mine", flush=True)
store.close()
"""


def test_a_process_that_was_stopped_while_another_took_over_knows_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tidegate.db"
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "mine\n"
        store = database.open_database(url)
        # Stopped in the middle of a transaction it would keep all others out of a SQLite file.
        store.transact(lambda _: halting.halt(child.pid))
        waited = threading.Event()
        while fences.take(store, PUSH, "another", 60) is None:
            waited.wait(0.05)
        child.send_signal(signal.SIGCONT)
        child.stdin.write("go on\n")
        child.stdin.flush()
        assert child.stdout.readline() == "outdated\n"
        store.close()
