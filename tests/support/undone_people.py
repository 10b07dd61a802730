"""What was pushed of people, taken back: in this process, or in a doomed one.

`undone_people.py FOLDER RUN STEP`: undo a run in a process that kills itself when it reaches a step of that name.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pushed_people as people

from tidegate import config
from tidegate.engine import preparing, undoing
from tidegate.push import steps
from tidegate.store import database, runs


def undo(folder: Path, run: str | None, *keys: str, **wish: Any) -> undoing.Result:
    """Undo a run, or what was done to some rows; only plan it with `write=False`."""
    seen = wish.pop("seen", lambda *_: True)
    wanted = undoing.Wish(run, keys, **{"write": True, **wish})
    file = config.load(folder / "tidegate.yaml")
    with contextlib.closing(database.open_database(f"sqlite:///{folder}/tidegate.db")) as store:
        job = preparing.job(file, people.NAME)
        return asyncio.run(undoing.run(job, store, folder / "state", runs.new_id(), wanted, seen=seen))


def main(folder: Path, run: str, name: str) -> None:
    """Undo a run, and be killed at the first step of that name."""

    def reached(step: str) -> None:
        if step == name:
            os.kill(os.getpid(), signal.SIGKILL)

    vars(steps)["listener"] = reached
    undo(folder, run)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
