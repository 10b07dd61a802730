"""Machines that share a pull over one Postgres: a folder each, with the configuration, and a process that works."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

Found = TypeVar("Found")

TIDEGATE = str(Path(sys.executable).parent / "tidegate")
PATIENCE = 240.0
"""Seconds after which something that did not happen never will."""
ALIVE = ("queued", "running")


def written(
    folder: Path, url: str, warehouse: str, database: str, *, key: str, streams: Sequence[str]
) -> Path:
    """A machine's folder with the configuration that all of them have."""
    folder.mkdir(exist_ok=True)
    chosen = ", ".join(f"{name}: {{}}" for name in streams)
    (folder / "tidegate.yaml").write_text(
        f'stripe: {{acme: {{api_key: {key}, api_base: "{url}", accounts: all, rate_limit: "off"}}}}\n'
        f'warehouses: {{prod: {{type: postgres, url: "{warehouse}"}}}}\n'
        f"pulls: {{all: {{from: acme, to: prod, streams: {{{chosen}}}}}}}\n"
        f'database: "{database}"\n'
    )
    return folder


def start(folder: Path, *, leads: bool, program: Sequence[str] = (TIDEGATE,)) -> subprocess.Popen[bytes]:
    """A process that works on one slice at a time, and schedules if it `leads`; what it logs goes to its folder."""
    words = [*(("run", "--port", "0") if leads else ("worker",)), "--at-once", "1"]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen([*program, *words], cwd=folder, stderr=log)


@contextlib.contextmanager
def working(
    homes: Sequence[Path],
    programs: Sequence[Sequence[str]] = (),
    patience: float = PATIENCE,
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A process in each folder, the first of which schedules; each by its own program, where there are some."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for number, folder in enumerate(homes):
            program = programs[number] if programs else (TIDEGATE,)
            started.append(start(folder, leads=not number, program=program))
        until(
            lambda: all(said(each, "serving", "working on") for each in homes), patience
        )  # they wait for work
        yield started
    finally:
        for process in started:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in started:
            try:
                process.wait(60.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def said(folder: Path, *words: str) -> list[str]:
    """Which of these words a machine's processes logged, as often as they did."""
    text = (folder / "log").read_text()
    return [word for word in words for _ in range(text.count(word))]


def until(true: Callable[[], Found], patience: float = PATIENCE, pause: float = 0.2) -> Found:
    """Wait until something is true, and return it."""
    deadline = time.monotonic() + patience
    while not (found := true()):
        assert time.monotonic() < deadline, f"it did not happen in time: {true.__code__.co_names}"
        time.sleep(pause)
    return found


def command(folder: Path, *words: str) -> Any:
    """What a command prints with --json."""
    done = subprocess.run([TIDEGATE, *words, "--json"], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def last(folder: Path) -> dict[str, Any]:
    """The newest run."""
    found: dict[str, Any] = command(folder, "runs")["runs"][0]
    return found


def ended(folder: Path, patience: float = PATIENCE) -> dict[str, Any]:
    """The newest run, once it has ended, whichever way."""
    return (
        until(lambda: found if (found := last(folder))["state"] not in ALIVE else None, patience, 0.5) or {}
    )
