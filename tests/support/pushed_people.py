"""People in a file who become customers: what tests of whole pushes begin with, in this process or in a doomed one.

`pushed_people.py FOLDER STEP`: push in a process of its own that kills itself when it reaches its STEPth step.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import itertools
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tidegate import config
from tidegate.engine import preparing, pushes
from tidegate.push import steps
from tidegate.store import database, runs

NAME = "people"
USUAL = (
    "{model: people, to: acme, object: customer, match: {email: email}, "
    "fields: {name: name, metadata.plan: plan}}"
)


def write(folder: Path, url: str, people: Iterable[Mapping[str, str]], push: str = USUAL) -> None:
    """The configuration, and the file of the model."""
    (folder / "tidegate.yaml").write_text(
        f'stripe: {{acme: {{api_key: sk_test_123456789, api_base: "{url}", rate_limit: "off"}}}}\n'
        f"models: {{people: {{file: people.csv, key: id}}}}\npushes: {{{NAME}: {push}}}\n"
    )
    rows(folder, people)


def rows(folder: Path, people: Iterable[Mapping[str, str]]) -> None:
    """The file of the model, anew."""
    with (folder / "people.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, ["id", "email", "name", "plan"])
        writer.writeheader()
        writer.writerows(people)


def person(number: int, **more: str) -> dict[str, str]:
    """A row."""
    usual = {"id": f"{number}", "email": f"p{number}@people.test", "name": f"Person {number}", "plan": "pro"}
    return {**usual, **more}


def push(folder: Path, **wish: Any) -> pushes.Result:
    """Push, or plan with `write=False`; `seen` is called between the plan and what it does."""
    seen = wish.pop("seen", lambda: None)

    def looked(*_: object) -> bool:
        seen()
        return True

    file = config.load(folder / "tidegate.yaml")
    with contextlib.closing(database.open_database(f"sqlite:///{folder}/tidegate.db")) as store:
        wanted = pushes.Wish(**{"write": True, **wish})
        job = preparing.job(file, NAME)
        return asyncio.run(pushes.run(job, store, folder / "state", runs.new_id(), wanted, seen=looked))


def main(folder: Path, step: int) -> None:
    """Push, and be killed at a step, if there are so many."""
    number = itertools.count(1)

    def reached(name: str) -> None:
        if next(number) == step:
            print(name, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    vars(steps)["listener"] = reached
    print(push(folder).status, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
