"""`tidegate push` as a run of its flow: noted, alone, asked before it writes, shown while it does, and stopped."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pushed_people as people
import pytest
from flowing import PATIENCE, until
from following import Merchant
from rich.console import Console

from tidegate import sandbox
from tidegate.cli import meters, output
from tidegate.push import apply, plan
from tidegate.store import database, logs, operations, reports, runs

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
FLOW = "push:people"


@pytest.fixture(scope="module")
def running() -> Iterator[Merchant]:
    with sandbox.process(objects=30) as url:
        yield Merchant(url)


@pytest.fixture
def shop(running: Merchant, tmp_path: Path) -> Merchant:
    """Three people to be pushed."""
    running.control("reset", {"objects": 30})
    people.write(tmp_path, running.url, map(people.person, range(3)))
    return running


@pytest.fixture
def store(tmp_path: Path) -> Iterator[database.Database]:
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as opened:
        yield opened


def checked(said: str) -> str:
    """What a command said: never the key, nobody's e-mail and never a traceback."""
    assert not any(word in said for word in ("123456789", "Traceback", "internal error")), said
    return said


def tidegate(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in a folder, with nobody to ask."""
    done = subprocess.run(
        [TIDEGATE, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )
    checked(done.stdout + done.stderr)
    return done


def there(shop: Merchant) -> Counter[str]:
    """How many customers live of each person's e-mail."""
    emails = [line["object"]["email"] or "" for line in shop.truth("customers")]
    return Counter(email for email in emails if email.endswith("@people.test"))


def test_a_push_is_a_run(shop: Merchant, tmp_path: Path, store: database.Database) -> None:
    done = tidegate(tmp_path, "push", "people", "--yes")
    assert done.returncode == 0, done.stderr
    [run] = runs.listed(store)
    assert (run.flow, run.cause, run.state, run.error) == (FLOW, "manual", "ok", "")
    assert (run.options, run.totals["created"]) == ({"by_hand": True}, 3)
    [table] = reports.read(store, run.id)
    assert (table["stream"], table["created"], table["left"]) == ("customer", 3, 0)
    assert [line.text for line in logs.read(store, run.id)[0]][-1] == "ok"
    listed = tidegate(tmp_path, "runs", "people")
    assert run.id in listed.stdout
    told = tidegate(tmp_path, "logs", "last")
    assert "3 rows of the model: 3 to create" in told.stdout
    [_, *report] = told.stdout.partition("customer of ")[2].splitlines()
    assert [line.split()[0] for line in report] == ["source", "created", "requests"]
    assert there(shop).total() == 3


def test_a_plan_is_none(shop: Merchant, tmp_path: Path, store: database.Database) -> None:
    assert tidegate(tmp_path, "plan", "people").returncode == 0
    assert runs.listed(store) == []
    assert there(shop).total() == 0


def test_who_runs_it_already_is_left_alone(shop: Merchant, tmp_path: Path, store: database.Database) -> None:
    run = runs.queue(store, runs.new_id(), FLOW, "schedule", options={"limit": 1})
    done = tidegate(tmp_path, "push", "people", "--yes")
    assert done.returncode == 3
    assert f"push:people is about to be run ({run.id})" in done.stderr
    assert there(shop).total() == 0
    runs.cancel(store, run.id, "a test")
    waits = runs.queue(store, runs.new_id(), FLOW, "schedule")
    assert tidegate(tmp_path, "push", "people", "--yes").returncode == 0
    instead = runs.get(store, waits.id)
    assert (instead.state, instead.cancelled_by) == ("cancelled", "tidegate push")


def test_what_was_begun_by_hand_is_done_again_by_hand(
    shop: Merchant, tmp_path: Path, store: database.Database
) -> None:
    assert tidegate(tmp_path, "push", "people", "--yes", "--limit", "1").returncode == 0
    [run] = runs.listed(store)
    assert {name: run.totals[name] for name in ("created", "left", "held")} == {
        "created": 1,
        "left": 2,
        "held": 0,
    }
    done = tidegate(tmp_path, "retry", "last")
    assert done.returncode == 2
    assert "`tidegate push people` plans it anew and asks." in done.stderr
    assert tidegate(tmp_path, "start", "people", "--full-refresh").returncode == 2
    assert tidegate(tmp_path, "start", "push:people").returncode == 0
    [queued] = runs.listed(store, states=("queued",))
    assert (queued.flow, queued.options) == (FLOW, {})
    assert tidegate(tmp_path, "cancel", queued.id).returncode == 0
    assert tidegate(tmp_path, "retry", queued.id).returncode == 0
    assert there(shop).total() == 1


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_nothing_is_lost_and_the_same_command_goes_on(
    way: signal.Signals, shop: Merchant, tmp_path: Path, store: database.Database
) -> None:
    """After forty creates Stripe does what it is asked at once, and answers a second later."""
    people.rows(tmp_path, map(people.person, range(300)))
    fault = {"kind": "late", "seconds": 1.0, "method": "POST", "path": "/v1/customers", "skip": 40}
    shop.control("faults", {"faults": [fault]})
    with (tmp_path / "said.txt").open("w") as said:
        process = subprocess.Popen(
            [TIDEGATE, "push", "people", "--yes"], cwd=tmp_path, stdout=said, stderr=said
        )
    try:
        until(lambda: there(shop).total() > 40)
        process.send_signal(way)
        assert process.wait(PATIENCE) == 130
    finally:
        process.kill()
        process.wait()
    last = checked((tmp_path / "said.txt").read_text()).splitlines()[-1]
    assert last == (
        "tidegate: interrupted; what was written is noted, and the same command goes on from there"
    )
    [run] = runs.listed(store)
    assert run.state == "cancelled"
    made = there(shop).total()
    undecided = len(operations.undecided(store, "people"))  # none that was sent, but on a slow machine
    assert run.totals["created"] <= made <= run.totals["created"] + undecided
    assert made < 300
    shop.control("faults", {"faults": []})
    shop.later()
    assert tidegate(tmp_path, "push", "people", "--yes").returncode == 0
    assert there(shop) == Counter(f"p{number}@people.test" for number in range(300))


@contextlib.contextmanager
def asked(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A command on a terminal, once it has asked; and the person's end of that."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [TIDEGATE, *words], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    said = b""
    try:
        while b"[y/N]" not in said:
            said += os.read(ours, 4096)
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def drained(process: subprocess.Popen[bytes], ours: int) -> tuple[int, str]:
    """How a command on a terminal ends, and its last words."""
    said = b""
    with contextlib.suppress(OSError):  # so it is told that nobody writes any more
        while select.select([ours], [], [], PATIENCE)[0] and (some := os.read(ours, 4096)):
            said += some
    return process.wait(PATIENCE), checked(said.decode())


@pytest.mark.parametrize(
    ("answer", "code", "state", "made"),
    [(b"y\n", 0, "ok", 3), (b"\n", 3, "cancelled", 0), (b"\x04", 3, "cancelled", 0)],
)
def test_a_person_answers(
    answer: bytes, code: int, state: str, made: int, shop: Merchant, tmp_path: Path, store: database.Database
) -> None:
    with asked(tmp_path, "push", "people") as (process, ours):
        [run] = runs.listed(store)
        seen = run.seen_at
        until(lambda: (runs.get(store, run.id).seen_at or 0.0) > (seen or 0.0))  # it lives while it waits
        assert there(shop).total() == 0
        os.write(ours, answer)
        ended, said = drained(process, ours)
    assert ended == code
    last = "people: 3 created; 6 requests." if made else "Nothing was written."
    assert said.splitlines()[-1].endswith(f"tidegate: {last}")
    assert runs.get(store, run.id).state == state
    assert there(shop).total() == made


def test_ctrl_c_at_the_question_ends_it(shop: Merchant, tmp_path: Path, store: database.Database) -> None:
    with asked(tmp_path, "push", "people") as (process, ours):
        process.send_signal(signal.SIGINT)
        ended, said = drained(process, ours)
    assert (ended, said.strip(" ")) == (130, "\r\ntidegate: interrupted; nothing was written\r\n")
    assert [run.state for run in runs.listed(store)] == ["cancelled"]
    assert there(shop).total() == 0


class Clock:
    """Seconds that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def planned(created: int, removed: int = 0) -> plan.Plan:
    counts = plan.Counts(source=created, created=created, removed=removed)
    return plan.Plan("people", "run_1", "customer", "acct_1", False, "", 0.0, 0.0, counts, (), 0, 0.0)


def test_a_line_says_how_far_it_is() -> None:
    clock, tally = Clock(), apply.Tally()
    with meters.Meter(live=False, clock=clock) as meter:
        meter.planned(planned(1_000, removed=200))
        meter.wrote(tally)
        assert meter.line() == "writing: 0 of 1,200, 0/s"
        clock.now, tally.created, tally.removed = 4.0, 90, 6
        assert meter.line() == "writing: 96 of 1,200, 24/s, 46 s left"
        clock.now, tally.failed, tally.held = 5.0, 3, 1
        assert meter.line() == "writing: 100 of 1,200, 20/s, 55 s left; 1 held, 3 failed"
        tally.created = 1_190
        assert meter.line().startswith("writing: 1,200 of 1,200, ")


def test_a_terminal_has_one_line_that_goes() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=60)
    with meters.Meter(live=True, console=console, clock=Clock()) as meter:
        meter.planned(planned(5))
        meter.wrote(apply.Tally(created=2))
    assert "writing: 2 of 5, 0/s" in out.getvalue()


def test_what_is_said_meanwhile_has_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    console = Console(stderr=True, force_terminal=True, width=60)
    with meters.Meter(live=True, console=console, clock=Clock()) as meter:
        meter.planned(planned(5))
        meter.wrote(apply.Tally(created=2))
        output.say("something to be known")
    assert "tidegate: something to be known\nwriting: 2 of 5" in out.getvalue()


def test_a_limit_is_as_far_as_it_goes() -> None:
    with meters.Meter(live=False, limit=3, clock=Clock()) as meter:
        meter.planned(planned(5))
        meter.wrote(apply.Tally(created=1))
        assert meter.line() == "writing: 1 of 3, 0/s"


def test_nothing_to_write_shows_nothing() -> None:
    out = io.StringIO()
    with meters.Meter(live=True, console=Console(file=out, force_terminal=True)) as meter:
        meter.planned(planned(0))
        meter.wrote(apply.Tally())
    assert out.getvalue() == ""
