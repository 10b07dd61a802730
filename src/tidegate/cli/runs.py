"""`tidegate runs`: what ran, when, and how it ended."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tidegate.cli import connect, output, progress
from tidegate.engine import place as places
from tidegate.store import history
from tidegate.store import runs as stored
from tidegate.views import flows
from tidegate.views import runs as views

if TYPE_CHECKING:
    from rich.table import Table

WHOLE, SHORT = "%Y-%m-%d %H:%M:%S", "%m-%d %H:%M"
"""When a run began, and where columns are few."""


def runs(
    flow: str | None = None,
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    failed: bool = False,
    limit: int = 20,
    json: bool = False,
) -> int:
    """List runs, newest first.

    Parameters
    ----------
    flow
        Only those of one flow, such as everything or pull:everything.
    config_file
        The configuration; tidegate.yaml by default.
    failed
        Only those that did not end well.
    limit
        How many, at the most.
    json
        Print a JSON object, last on stdout.
    """
    file = connect.configuration(config_file)
    states = ("partial", "failed", "interrupted") if failed else ()
    with contextlib.closing(connect.store(file)) as store:
        place = places.Place(file, store)
        name = None if flow is None else flows.meant(place, flow)
        found = list(views.page(place, history.Filter(name, states=states), limit=limit).runs)
        now = store.now()
    if json:
        output.print_json({"runs": [dataclasses.asdict(run) for run in found]})
    elif not found:
        output.say("there are no runs yet; `tidegate run` schedules them, `tidegate start` begins one")
    else:
        wrong = {run.id: run.error for run in found if run.error}
        output.draw(output.console(), functools.partial(_table, found, now), wrong)
    return 0


def _table(found: list[stored.Run], now: float, whole: bool) -> Table:
    """Runs with the seconds they began at and their errors; or what fits into 80 columns, names of flows folded."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD if whole else None, pad_edge=False, padding=(0, 1) if whole else (0, 2, 0, 0)
    )
    table.add_column("run", no_wrap=True, overflow="fold")
    table.add_column("flow", overflow="fold")
    for heading in ("state", "began (UTC)"):
        table.add_column(heading, no_wrap=True, overflow="fold")
    for heading in ("took", "rows"):
        table.add_column(heading, justify="right", no_wrap=True, overflow="fold")
    if whole:
        table.add_column("", overflow="fold")
    for run in found:
        began = run.started_at or run.queued_at
        took, rows = views.took(run, now), views.rows(run)
        table.add_row(
            run.id,
            Text(run.flow),
            run.state,
            f"{dt.datetime.fromtimestamp(began, dt.UTC):{WHOLE if whole else SHORT}}",
            "" if took is None else progress.duration(took),
            "" if rows is None else f"{rows:,}",
            *((Text(run.error),) if whole else ()),
        )
    return table
