"""One run of a push in a process that is killed, or stopped, at a step of it: what `pushing_model` starts.

It says on standard output at which step it ends or waits, and at last what the run came to, as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import dataclasses
import gc
import itertools
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import planning

from tidegate import catalog, config, errors, sources
from tidegate.catalog import writes
from tidegate.engine import mirrors, preparing, pushes
from tidegate.pull import scope
from tidegate.push import evidence, intents, lease, recover, sending, steps, targets
from tidegate.store import claims, database, fences, ledger, operations, runs
from tidegate.stripe import attempts

LOADED = (catalog.load(), writes.load())
"""Read by whoever imports this, and not again by each of its children."""


class Told(msgspec.Struct, frozen=True):
    """What such a process is told."""

    folder: str
    database: str
    push: str
    state: str
    """The name of its machine's state folder."""
    step: int = 0
    """The number of the step at which it ends; 0: at none."""
    at: str = ""
    """Only steps of this name are counted."""
    how: str = "killed"
    """`killed`; `soon`: killed some ms after it; `stopped`: it waits there for a line of its standard input."""
    light: bool = False
    """The objects are listed and the rows read by this room, which takes half as long as what a push has for it."""
    wrong: str = ""
    """One of WRONG: what it does not do as it should."""


def main(text: str) -> None:
    """Do the run that is told."""
    gc.disable()  # what came with the fork would be looked through, and so copied
    told = msgspec.json.decode(text, type=Told)
    folder = Path(told.folder)
    vars(attempts).update(FIRST_WAIT=0.001, LONGEST_WAIT=0.01)
    vars(steps)["listener"] = _Listener(told).reached
    if told.how == "stopped":
        moved = _clocks(Path(told.folder) / "passed")
        vars(lease)["Clocks"] = lambda: moved
    if told.light:
        vars(mirrors)["kept"] = _listed
        vars(sources)["of_model"] = lambda *_: _Source(folder / "rows.csv")
    if told.wrong:
        WRONG[told.wrong]()
    file = config.load(folder / "tidegate.yaml")
    job = preparing.job(file, told.push)
    try:
        with contextlib.closing(database.open_database(told.database)) as store:
            wish = pushes.Wish(write=True, approve=True)
            result = asyncio.run(pushes.run(job, store, folder / told.state, runs.new_id(), wish))
        found = {**result.document(), "undecided": result.undecided}
    except errors.TidegateError as error:
        found = {"status": "ended", "error": f"{type(error).__name__}: {error}"}
    print(msgspec.json.encode(found).decode(), flush=True)


class _Listener:
    """Hears the steps, and has the process end at one of them."""

    def __init__(self, told: Told) -> None:
        self._told, self._numbers = told, itertools.count(1)

    def reached(self, name: str) -> None:
        if self._told.at not in ("", name) or next(self._numbers) != self._told.step:
            return
        print(f"at {name}", flush=True)
        if self._told.how == "stopped":
            sys.stdin.readline()
        elif self._told.how == "soon":
            threading.Timer(self._told.step % 7 / 500, os.kill, (os.getpid(), signal.SIGKILL)).start()
        else:
            os.kill(os.getpid(), signal.SIGKILL)


def _clocks(file: Path) -> lease.Clocks:
    """Those of a machine on which so many seconds passed as a file says."""

    def passed() -> float:
        return float(file.read_text()) if file.exists() else 0.0

    return lease.Clocks(lambda: time.monotonic() + passed(), lambda: time.time() + passed())


class _Source(planning.Rows):
    """The rows of a file; a value that is empty is null."""

    def __init__(self, file: Path) -> None:
        with file.open(newline="") as told:
            super().__init__(
                [{name: value or None for name, value in row.items()} for row in csv.DictReader(told)]
            )

    def close(self) -> None:
        """Nothing is open."""


class _Mirror(planning.Objects):
    """All objects as they are at this moment."""


@contextlib.asynccontextmanager
async def _listed(
    _: Path, __: str, source: scope.Source, of: writes.Object, *___: object, **____: object
) -> AsyncIterator[_Mirror]:
    async with scope.connect(source, None) as stripe:
        first = await stripe.get(of.operations["create"].path, {"limit": 1})
        found = [each async for each in evidence.walk(stripe, of.operations["create"].path, {"limit": 100})]
    mirror = _Mirror(of, found)
    mirror.caught_up_since = float(first.version)
    yield mirror


# What is done wrong on purpose: each must be seen by the judge.


def _fresh_keys() -> None:
    right = sending.written
    vars(sending)["written"] = lambda operation: dataclasses.replace(
        right(operation), idempotency_key=f"tidegate/{uuid.uuid4()}"
    )


def _early() -> None:
    right = ledger.sending_all

    def noted(store: database.Database, fence: fences.Fence, wanted: Sequence[str], **more: Any) -> Any:
        ages = right(store, fence, wanted, **more)
        for each in wanted:
            there = operations.find(store, each)
            if there is not None and there.target:
                ledger.acknowledge(store, fence, [operations.Done(there.id, there.target)])
        return ages

    vars(ledger)["sending_all"] = noted


def _forgetful() -> None:
    async def nothing(_: object, held: lease.Lease, *__: object, **___: object) -> list[recover.Decision]:
        found = [each.id for each in operations.undecided(held.store, held.fence.push)]
        ledger.void(held.store, held.fence, found, "nobody looked")
        return []

    vars(recover)["recover"] = nothing


def _unclaimed() -> None:
    vars(claims)["take"] = lambda *_: {}


def _blind() -> None:
    right = intents._creating

    async def creating(work: intents.Work, stripe: Any, entry: Any) -> intents.Look:
        blind = dataclasses.replace(work, push=work.push.model_copy(update={"match": {}}))
        return await right(blind, stripe, entry)

    vars(intents)["_creating"] = creating
    for each in (mirrors.Objects, _Mirror):
        each.rows = lambda _, fields: targets.Nothing().rows(fields)  # type: ignore[method-assign]  # that is the mistake


def _late() -> None:
    vars(operations)["OLDEST"] = 1e9
    vars(lease)["YOUNG"] = 1e9
    kwdefaults = ledger.sending_all.__kwdefaults__
    assert kwdefaults is not None
    kwdefaults["oldest"] = 1e9


def _unfenced() -> None:
    vars(fences)["check"] = lambda *_, **__: None
    lease.Lease.mine = _nobody_asks  # type: ignore[method-assign]  # that is the mistake
    _late()


def _nobody_asks(self: lease.Lease) -> None:
    del self


WRONG: dict[str, Callable[[], None]] = {
    "fresh keys": _fresh_keys,
    "acknowledged before": _early,
    "nothing recovered": _forgetful,
    "nothing claimed": _unclaimed,
    "nothing looked up": _blind,
    "sent late": _late,
    "not fenced": _unfenced,
}
