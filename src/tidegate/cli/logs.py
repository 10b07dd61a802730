"""`tidegate logs`: what a run did, line by line, and what each table got."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate.cli import connect, output
from tidegate.engine import recorder
from tidegate.store import database, reports, runs
from tidegate.store import logs as stored
from tidegate.views import runs as views

PAUSE = 1.0
"""Seconds between two looks with --follow."""


def logs(
    run: str,
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"])] = False,
    json: bool = False,
) -> int:
    """Show what a run did, line by line.

    Parameters
    ----------
    run
        The run's id, or the beginning of it; `last` for the newest.
    config_file
        The configuration; tidegate.yaml by default.
    follow
        Go on until the run has ended.
    json
        Print the run, its lines and its loading report as one JSON object, last on stdout.
    """
    with connect.opened(config_file) as store:
        found = views.meant(store, run)
        lines, seen = _new(store, found.id, {})
        if json and not follow:
            report = reports.read(store, found.id)
            whole = {"run": dataclasses.asdict(found), "lines": list(map(dataclasses.asdict, lines))}
            output.print_json({**whole, "tables": report})
            return 0
        _show(lines)
        while follow and found.alive:
            time.sleep(PAUSE)
            found = runs.get(store, found.id)
            lines, seen = _new(store, found.id, seen)
            _show(lines)
        _report(reports.read(store, found.id))
        output.say(f"{found.id} of {found.flow}: {found.state}{f'; {found.error}' if found.error else ''}")
    return 0


def _new(
    store: database.Database, run_id: str, seen: dict[str, int]
) -> tuple[list[stored.Line], dict[str, int]]:
    """All lines that were not seen yet."""
    lines: list[stored.Line] = []
    while True:
        page, seen = stored.read(store, run_id, seen=seen)
        if not page:
            return lines, seen
        lines += page


def _show(lines: Sequence[stored.Line]) -> None:
    for line in lines:
        at = f"{dt.datetime.fromtimestamp(line.at, dt.UTC):%H:%M:%S}"
        about = " ".join(filter(None, (line.stream, line.account)))
        level = "" if line.level == "info" else f"{line.level}: "
        output.show(f"{at}  {f'{about}: ' if about else ''}{level}{line.text}")


_PUSHED = (*recorder.FIGURES, "requests")
_PIPED = (
    "read",
    "filtered",
    "failed",
    "matched",
    "written",
    "unchanged",
    "removed",
    "quarantined",
    "profiles",
    "profiles_created",
    "profiles_changed",
    "profiles_gone",
    "profiles_merged",
    "profiles_split",
)


def _report(tables: Sequence[dict[str, object]]) -> None:
    from rich import box
    from rich.table import Table

    if not tables:
        return
    if "source" in tables[0]:
        _pushed(tables, _PUSHED)
        return
    if "matched" in tables[0]:
        _pushed(tables, _PIPED)
        return
    several = len({row["account"] for row in tables}) > 1
    names = ("read", "inserted", "updated", "written", "deleted", "requests")
    figures = [name for name in names if name in tables[0]]
    if "inserted" in figures:
        figures.remove("written")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("stream", *(("account",) if several else ()), "status"):
        table.add_column(heading, no_wrap=True)
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    for row in tables:
        account = (str(row["account"]),) if several else ()
        table.add_row(
            str(row["stream"]), *account, str(row["status"]), *(f"{row[name]:,}" for name in figures)
        )
    output.console().print(table)


def _pushed(tables: Sequence[dict[str, object]], figures: Sequence[str]) -> None:
    """What a push or a pipeline did, a number a line, without those that are nothing."""
    from rich.table import Table

    for row in tables:
        told = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        told.add_column(overflow="fold")
        told.add_column(justify="right", overflow="fold")
        for name in figures:
            if number := row.get(name):
                told.add_row(name.replace("_", " "), f"{number:,}")
        whose = f" of {row['account']}" if row["account"] else ""
        output.console().print(f"{row['stream']}{whose}: {row['status']}")
        output.console().print(told)
