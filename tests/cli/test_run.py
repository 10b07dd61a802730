"""`tidegate run` as its user has it: a process that runs flows, is stopped, is killed, and goes on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flowing import KEY, written
from following import Merchant, agrees, ids

from tidegate import sandbox
from tidegate.store import database

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
PATIENCE = 120.0
STREAMS = ("customers", "products", "prices", "invoices", "invoice_line_items", "charges")
CHOSEN = ", ".join(f"{name}: {{}}" for name in STREAMS)
PULLS = (
    f"  steady: {{from: acme, to: one, schedule: continuous, streams: {{{CHOSEN}}}}}\n"
    "  often: {from: acme, to: two, schedule: every 10s, streams: {customers: {}}}"
)


@pytest.fixture
def shop() -> Iterator[Merchant]:
    with sandbox.process(objects=60) as url:
        yield Merchant(url)


def tidegate(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in a folder."""
    done = subprocess.run(
        [TIDEGATE, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert KEY[8:] not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def listed(folder: Path, *words: str) -> list[dict[str, Any]]:
    """What `tidegate runs` tells, newest first."""
    found: list[dict[str, Any]] = json.loads(tidegate(folder, "runs", *words, "--json").stdout)["runs"]
    return found


@contextlib.contextmanager
def serving(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A `tidegate run`, killed in the end unless it has ended before; what it logs goes to run.err."""
    with (folder / "run.err").open("a") as log:
        process = subprocess.Popen(
            [TIDEGATE, "run", "--port", "0", *words],
            cwd=folder,
            stderr=log,
            stdout=subprocess.DEVNULL,
            text=True,
            env=os.environ,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until(true: Callable[[], Any]) -> Any:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)
    return found


def test_it_runs_what_is_due_and_a_signal_ends_it_in_order(shop: Merchant, tmp_path: Path) -> None:
    written(tmp_path, shop.url, PULLS)
    with serving(tmp_path) as process:
        until(lambda: any(run["state"] == "ok" for run in listed(tmp_path, "often")))
        [steady] = listed(tmp_path, "steady")
        assert (steady["state"], steady["cause"]) == ("running", "continuous")
        made = shop.make("/v1/customers", name="Ada")["id"]
        shop.later()
        until(lambda: made in ids(tmp_path / "one.duckdb", "customers"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    said = (tmp_path / "run.err").read_text()
    assert "tidegate: pull:often: every 10 seconds" in said
    assert said.splitlines()[-1] == "tidegate: stopped; everything that was read is committed"
    assert "geheim" not in said
    assert "Traceback" not in said
    assert listed(tmp_path, "steady")[0]["state"] == "interrupted"
    assert [json.loads(line)["run"] for line in said.splitlines() if line.startswith("{")]


def test_killed_again_and_again_it_leaves_what_stripe_has(shop: Merchant, tmp_path: Path) -> None:
    written(tmp_path, shop.url, PULLS)
    dice = random.Random(5)
    for turn in range(8):
        with serving(tmp_path) as process:
            until((tmp_path / "tidegate.db").exists)
            shop.control("traffic", {"seed": turn, "steps": 20, "tick": 0.5})
            time.sleep(dice.uniform(0.2, 4.0))
            process.send_signal(signal.SIGKILL)
            process.wait()
    shop.later(30)
    written(tmp_path, shop.url, PULLS.replace("continuous", "manual").replace("every 10s", "manual"))
    with contextlib.closing(database.open_database(f"sqlite:///{tmp_path}/tidegate.db")) as store:
        store.execute("UPDATE runs SET seen_at = seen_at - 61")  # a minute later
    assert tidegate(tmp_path, "pull").returncode == 0
    agrees(shop, tmp_path / "one.duckdb", *STREAMS)
    agrees(shop, tmp_path / "two.duckdb", "customers")


def test_what_a_killed_process_ran_is_interrupted_and_goes_on(shop: Merchant, tmp_path: Path) -> None:
    written(tmp_path, shop.url, PULLS)
    with serving(tmp_path) as process:
        [first] = until(lambda: listed(tmp_path, "steady"))
        process.send_signal(signal.SIGKILL)
        process.wait()
    with serving(tmp_path):
        until(lambda: len(listed(tmp_path, "steady")) == 2)
        newest, oldest = listed(tmp_path, "steady")
        assert oldest["id"] == first["id"]
        assert oldest["state"] == "interrupted"
        assert newest["state"] == "running"


def test_runs_are_started_shown_cancelled_and_done_again(shop: Merchant, tmp_path: Path) -> None:
    written(tmp_path, shop.url, "  once: {from: acme, to: one, streams: {customers: {}}}")
    assert tidegate(tmp_path, "runs").stderr.startswith("tidegate: there are no runs yet")
    assert tidegate(tmp_path, "logs", "last").returncode == 2
    started = json.loads(tidegate(tmp_path, "start", "once", "--json").stdout)
    assert started["flow"] == "pull:once"
    again = tidegate(tmp_path, "start", "once")
    assert again.returncode == 1
    assert "pull:once has a run already" in again.stderr
    assert tidegate(tmp_path, "cancel", "last").stderr == f"tidegate: {started['run_id']} is cancelled\n"
    assert tidegate(tmp_path, "cancel", "last").returncode == 2
    assert tidegate(tmp_path, "retry", started["run_id"][:9]).returncode == 0
    with serving(tmp_path):
        shown = tidegate(tmp_path, "logs", "-f", "last")
    assert shown.returncode == 0
    assert "customers" in shown.stdout
    assert ": ok" in shown.stderr
    assert [run["state"] for run in listed(tmp_path)] == ["ok", "cancelled"]
    assert listed(tmp_path, "once", "--failed") == []
    whole = json.loads(tidegate(tmp_path, "logs", "last", "--json").stdout)
    assert [table["stream"] for table in whole["tables"]] == ["customers"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["start", "nothing"], "There is no flow 'nothing' in the configuration; it has pull:once."),
        (["logs", "run_nothing"], "There is no run run_nothing; `tidegate runs` lists them."),
        (["cancel", "run_nothing"], "There is no run run_nothing"),
        (["runs", "nothing"], "There is no flow 'nothing'"),
    ],
)
def test_what_is_not_there_is_said(words: list[str], sentence: str, tmp_path: Path) -> None:
    written(tmp_path, "http://127.0.0.1:1", "  once: {from: acme, to: one, streams: {customers: {}}}")
    done = tidegate(tmp_path, *words)
    assert done.returncode == 2
    assert sentence in done.stderr
