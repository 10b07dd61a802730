"""A place with a model in a file, a push of it into a sandbox, and runs of it, for tests of what shows them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pushed_people as people
import seen

from tidegate.engine import place as places
from tidegate.engine import work
from tidegate.store import plans, runs, ticks

NAME = people.NAME


@contextlib.contextmanager
def place(
    folder: Path, url: str, some: Iterable[Mapping[str, str]], push: str = people.USUAL
) -> Iterator[places.Place]:
    """It, known to a scheduler; the file of the model is `people.csv`."""
    people.write(folder, url, some, push)
    with seen.place(folder / "tidegate.yaml") as found:
        seen.ticking(found)
        yield found


def ran(at: places.Place) -> runs.Run:
    """Do the run that is queued, as a worker does; as it is afterwards."""
    [queued] = runs.listed(at.store, states=("queued",))
    begun = runs.begin(at.store, queued.id, at.worker)
    assert begun is not None
    asyncio.run(work.perform(at, begun))
    return runs.get(at.store, begun.id)


def pushed(at: places.Place) -> runs.Run:
    """A run of the push, from beginning to end."""
    runs.queue(at.store, runs.new_id(), f"push:{NAME}", "manual")
    return ran(at)


def planned(at: places.Place, push: str = NAME, state: plans.State = "planned") -> plans.Plan:
    """The newest plan, once it is made, or has failed where that is its `state`."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = plans.latest(at.store, push)
        if found is not None and found.state != "making":
            assert found.state == state, found.error
            return found
        time.sleep(0.05)
    raise AssertionError("the plan is not made")


def due(at: places.Place) -> runs.Run:
    """The run that is due after one that was interrupted, queued as a scheduler does."""
    found = ticks.release(at.store, f"push:{NAME}", runs.new_id())
    assert found is not None
    return found
