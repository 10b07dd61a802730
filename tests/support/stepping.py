"""State machines over a metadata database that several processes use: the same steps in any order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import servers
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tidegate.store import database, runs, ticks


@contextlib.contextmanager
def opened(kind: str, folder: Path, count: int) -> Iterator[list[database.Database]]:
    """So many connections to a new database."""
    url = f"sqlite:///{folder}/t.db" if kind == "sqlite" else servers.new_postgres()
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(database.open_database(url))) for _ in range(count)]


def any_order(
    machine: type[RuleBasedStateMachine], stores: Sequence[database.Database], examples: int
) -> None:
    """Try so many orders of the steps of a machine."""
    run_state_machine_as_test(
        type("Steps", (machine,), {"stores": stores}),
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


def do_queued(
    store: database.Database,
    began: Callable[[runs.Run], object],
    after: Callable[[str], Sequence[str]] = lambda _: (),
) -> list[runs.Run]:
    """The one worker that is left does well what is queued; returns that. `began` hears of each run that begins."""
    queued = runs.listed(store, states=("queued",))
    for run in queued:
        assert runs.begin(store, run.id, "last") is not None
        began(run)
        ticks.well(store, run.flow)
        assert runs.end(store, run.id, "last", "ok", then=after(run.flow))
    return queued
