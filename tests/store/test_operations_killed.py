"""A push that is killed by -9 again and again, between any two statements and in the middle of them.

What stands for Stripe is a file with a line for every effect, which obeys idempotency keys. In the end every row
was created once, every effect is known, and nothing is taken for done that was not.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pushing
import pytest

from tidegate.store import claims, database, fences, ledger, links, operations, pushed, records

Opened = Callable[[], database.Database]
ROOT = Path(__file__).parents[2]
ROWS, KILLS = 7, 50

PUSH = """
import faulthandler, os, signal, sys
sys.path.insert(0, sys.argv[3])
import pushing
from tidegate.store import database, fences, ledger, links, operations, pushed

url, stripe = sys.argv[1:3]
left = [0]


def counted(work):
    def statement(*given):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return work(*given)
    return statement


for kind in (database._SQLiteSession, database._PostgresSession):
    for name in ("execute", "each"):
        setattr(kind, name, counted(getattr(kind, name)))


def post(operation):
    with open(stripe, "a+") as file:
        file.seek(0)
        for line in file:
            if line.split()[0] == operation.id:
                return line.split()[3]
        target = operation.target or "cus_" + operation.id
        file.write(f"{operation.id} {operation.action} {operation.key} {target} {operation.hash}\\n")
        return target


def finish(store, fence, operation):
    ledger.sending(store, fence, operation.id)
    print("sends", operation.id, flush=True)
    return operations.Done(operation.id, post(operation))


def push(holder):
    store = database.open_database(url)
    fence = fences.take(store, "accounts", holder, 3600.0)
    for operation in operations.undecided(store, "accounts"):
        if operation.status == "intent":
            ledger.void(store, fence, [operation.id], "never sent")
        else:
            ledger.acknowledge(store, fence, [finish(store, fence, operation)])
    while True:
        there = pushed.find(store, "accounts", [f"{n}" for n in range(ROWS)])
        rounds = {f"{n}": int(there[f"{n}"].hash) if f"{n}" in there else 0 for n in range(ROWS)}
        keys = sorted(rounds, key=lambda key: (rounds[key], key))[:3]
        known = links.find(store, "accounts", keys)
        intents = []
        for key in keys:
            more = {"run": holder, "hash": f"{rounds[key] + 1}", "claims": (pushing.email(key),)}
            target = known[key].target if key in known else ""
            intents.append(pushing.update(key, target, **more) if target else pushing.create(key, **more))
        assert {each.state for each in ledger.begin(store, fence, intents)} == {"begun"}
        done = [finish(store, fence, operations.find(store, each.id)) for each in intents]
        ledger.acknowledge(store, fence, done)
        for each in done:
            print("done", each.id, flush=True)


for line in sys.stdin:
    holder, statements = line.split()
    child = os.fork()
    if child == 0:
        left[0] = int(statements)
        # Whoever is stuck says where, and ends.
        faulthandler.dump_traceback_later(60, exit=True, file=open(stripe + ".stuck", "w"))
        try:
            push(holder)
        finally:
            os._exit(1)
    print("began", child, flush=True)
    _, status = os.waitpid(child, 0)
    print("over", os.WTERMSIG(status), flush=True)
"""
"""Forks a push for every line that it reads: its name, and after how many statements it kills itself."""


@contextlib.contextmanager
def pushes(url: str, stripe: Path) -> Iterator[subprocess.Popen[str]]:
    program = PUSH.replace("ROWS", f"{ROWS}")
    command = [sys.executable, "-c", program, url, str(stripe), str(ROOT / "tests" / "support")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def killed(forker: subprocess.Popen[str], holder: str, statements: int, said: int, stuck: Path) -> list[str]:
    """Have a push killed after so many statements, or once it has said so many things; what it said.

    In `stuck` stands where one is that took a minute.
    """
    assert forker.stdin is not None
    assert forker.stdout is not None
    forker.stdin.write(f"{holder} {statements}\n")
    forker.stdin.flush()
    lines: list[str] = []
    child = 0
    for line in forker.stdout:
        word, _, what = line.strip().partition(" ")
        if word == "over":
            assert int(what) == signal.SIGKILL, stuck.read_text() if stuck.exists() else lines[-3:]
            return lines
        if word == "began":
            child = int(what)
        else:
            lines.append(f"{word} {what}")
        if child and len(lines) >= said:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
    raise AssertionError("The forker is gone.")


def recover(store: database.Database, fence: fences.Fence, stripe: Path) -> None:
    """What the next run does first: what Stripe has is acknowledged, the rest is void."""
    effects = {line.split()[0]: line.split()[3] for line in stripe.read_text().splitlines()}
    for each in operations.undecided(store, "accounts"):
        if each.id in effects:
            ledger.acknowledge(store, fence, [operations.Done(each.id, effects[each.id])])
        else:
            ledger.void(store, fence, [each.id], "no effect of it is known")


def test_killed_fifty_times_nothing_is_lost_and_nothing_twice(
    url: str, opened: Opened, tmp_path: Path
) -> None:
    store, stripe, rng = opened(), tmp_path / "stripe", random.Random(11)
    stuck = tmp_path / "stripe.stuck"
    stripe.touch()
    said: list[str] = []
    with pushes(url, stripe) as forker:
        for turn in range(KILLS):
            # Every second one by itself, before a statement; the others from outside, wherever they are then.
            by_itself = turn % 2 == 0
            statements = rng.randint(1, 90) if by_itself else 10**9
            said += killed(
                forker, f"push{turn}", statements, 10**9 if by_itself else rng.randint(1, 9), stuck
            )
            store.execute("UPDATE fences SET until = 0")
            states = collections.Counter(each.status for each in operations.undecided(store))
            assert sum(states.values()) <= 3, "more is open than one push has under way"
    recover(store, pushing.fence(store, holder="last"), stripe)

    effects = [line.split() for line in stripe.read_text().splitlines()]
    assert len({operation for operation, *_ in effects}) == len(effects) > KILLS
    created = collections.Counter(key for _, action, key, *_ in effects if action == "create")
    assert created == {f"{n}": 1 for n in range(ROWS)}
    ended = {each.id: each.status for each in operations.listed(store, limit=None)}
    assert {name for name, status in ended.items() if status == "done"} == {name for name, *_ in effects}
    assert set(ended.values()) <= {"done", "void"}
    assert all(ended[line.removeprefix("done ")] == "done" for line in said if line.startswith("done"))
    assert {line.partition(" ")[2] for line in said} <= set(ended)
    last = {key: (operation, target, round_) for operation, _, key, target, round_ in effects}
    found = pushed.find(store, "accounts", list(last))
    known = links.find(store, "accounts", list(last))
    assert {key: (row.operation, known[key].target, row.hash) for key, row in found.items()} == last
    assert all(link.created and not link.gone for link in known.values())
    assert claims.count(store, "accounts") == ROWS
    assert sum(records.counts(store, "accounts").values()) == len(ended)


@pytest.mark.parametrize("end", ["acknowledge", "refuse", "void"])
def test_cut_off_before_any_statement_all_of_it_is_done_or_nothing(
    store: database.Database, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails in between leaves no part of it behind, and may be done again."""
    fence = pushing.fence(store)
    kind = database._SQLiteSession if store.kind == "sqlite" else database._PostgresSession
    tables = ("operations", "links", "pushed", "holds", "claims", "row_notes")

    class Cut(Exception):
        pass

    def contents() -> list[object]:
        return [store.execute(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]

    def attempt(work: Callable[[], object], before: int) -> bool:
        """Do work, cut off before a statement; False where it has fewer."""
        count = 0

        def cut(name: str) -> Callable[..., object]:
            plain = getattr(kind, name)

            def statement(*given: object) -> object:
                nonlocal count
                count += 1
                if count == before:
                    raise Cut
                return plain(*given)

            return statement

        with monkeypatch.context() as patched:
            for name in ("execute", "each"):
                patched.setattr(kind, name, cut(name))
            try:
                work()
            except Cut:
                return True
        return False

    def each_way(work: Callable[[], object]) -> int:
        before, n = contents(), 1
        while attempt(work, n):
            assert contents() == before
            n += 1
        assert contents() != before
        return n

    first, second = pushing.create("1", "a@example.com"), pushing.update("2", "cus_2")
    assert each_way(lambda: ledger.begin(store, fence, [first, second])) > 8
    for intent in (first, second):
        ledger.sending(store, fence, intent.id)
    done = [operations.Done(first.id, "cus_1"), operations.Done(second.id, "cus_2")]
    refused = [operations.Refused(each.id, "no", missing=True) for each in (first, second)]
    work = {
        "acknowledge": lambda: ledger.acknowledge(store, fence, done),
        "refuse": lambda: ledger.refuse(store, fence, refused),
        "void": lambda: ledger.void(store, fence, [first.id, second.id], "never sent"),
    }[end]
    assert each_way(work) > 3
