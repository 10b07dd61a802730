"""Creates, updates and recovery under all kinds of trouble: in the end every row has its object, and one."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import writing

from tidegate.push import recover, sending, steps
from tidegate.store import database, links, operations

PUSH = writing.PUSH
ROWS = [f"row {number}" for number in range(4)]
TROUBLE: list[dict[str, Any]] = [
    {"kind": "reset", "when": "before"},
    {"kind": "reset", "when": "after"},
    {"kind": "error", "when": "before"},
    {"kind": "error", "when": "after"},
    {"kind": "unavailable"},
    {"kind": "truncate"},
    {"kind": "cut"},
    {"kind": "html"},
    {"kind": "lock"},
    {"kind": "limit"},
]


class Crash(Exception):
    """The process ends here."""


@dataclass
class Copy:
    """A mirror that sees the truth of this moment."""

    scene: writing.Scene
    caught_up_since: float = 4e9

    def find_op(self, operation: str) -> str | None:
        found = (c["id"] for c in self.scene.customers() if c["metadata"].get(writing.MARK) == operation)
        return next(found, None)


async def run(scene: writing.Scene, values: dict[str, str]) -> None:
    """One run of the push, as a process that knows nothing but the ledger."""
    sender = sending.Sender(scene.stripe, scene.held)
    mirror = Copy(scene)
    await recover.recover(scene.stripe, scene.held, sender, lambda _: mirror, quiet=0.0, settled=0.0)
    open_rows = {each.key for each in operations.undecided(scene.store, PUSH)}
    there = links.find(scene.store, PUSH, ROWS)
    names = {each["id"]: each["name"] for each in scene.customers()}
    for key in ROWS:
        if key in open_rows:
            continue
        if key not in there:
            wanted = {"email": f"{key[-1]}@example.com", "name": values[key], "metadata": {"row": key}}
            await sender.send(scene.intend(wanted, key=key))
        elif names[there[key].target] != values[key]:
            await sender.send(scene.intend({"name": values[key]}, key=key, target=there[key].target))


@pytest.mark.parametrize("seed", range(40))
def test_every_row_has_one_object_that_says_what_the_row_says(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    store = database.open_database(f"sqlite:///{tmp_path}/tidegate.db")
    values = dict.fromkeys(ROWS, f"name {seed}")

    def crash(_: str) -> None:
        if chance.random() < 0.04:
            raise Crash

    async def main() -> None:
        async with writing.scene(store, seed=seed) as scene:
            for number in range(8):
                some = chance.sample(TROUBLE, 3)
                scene.befall(*({**each, "probability": 0.15} for each in some))
                if chance.random() < 0.3:  # a day later, and Stripe forgot its keys
                    for each in operations.undecided(store, PUSH):
                        scene.age(each, 25 * 3600.0)
                    scene.made.clock.advance(25 * 3600.0)
                    scene.made.ledger.prune(scene.made.clock.now())
                values.update({key: f"name {seed} {number}" for key in ROWS if chance.random() < 0.5})
                steps.listener = crash
                try:
                    await run(scene, values)
                except Crash:
                    pass
                finally:
                    steps.listener = None
            scene.befall()
            for _ in range(3):
                await run(scene, values)
            ours = [each for each in scene.customers() if "row" in each["metadata"]]
            assert Counter(each["metadata"]["row"] for each in ours) == Counter(ROWS)
            assert {each["metadata"]["row"]: each["name"] for each in ours} == values
            assert operations.undecided(store, PUSH) == []
            there = links.find(store, PUSH, ROWS)
            assert {key: each.target for key, each in there.items()} == {
                each["metadata"]["row"]: each["id"] for each in ours
            }
            effects = list(operations.listed(store, push=PUSH, statuses=("done",), limit=None))
            assert Counter(each.key for each in effects if each.action == "create") == Counter(ROWS)

    asyncio.run(main())
    store.close()
