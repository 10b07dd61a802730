"""The loading report of a pull on stdout: what each table got, as wide as the terminal lets it be."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tidegate.cli import output
from tidegate.stripe import happenings

if TYPE_CHECKING:
    from rich.table import Table

    from tidegate.pull import report

_FIGURES: dict[str, Callable[[report.Outcome], int]] = {
    "read": lambda each: each.read,
    "inserted": lambda each: each.inserted,
    "updated": lambda each: each.updated,
    "unchanged": lambda each: each.unchanged,
    "deleted": lambda each: each.deleted,
    "history": lambda each: each.versions,
}
_ALWAYS = ("read", "inserted")

Shown = Callable[[int], str]
"""Writes a version: a moment, in unix seconds."""


def show(result: report.Result) -> None:
    """A row for each table that anything came for, and their sum; figures that are all zero are left out.

    Where the terminal is too narrow for each one's versions, only the line below tells the first and the last.
    """
    told = [each for each in result.outcomes if each.read or each.written or each.deleted]
    out = output.console()
    if not told:
        out.print("No table got anything.")
        return
    told.sort(key=lambda each: (-each.written, -each.read, each.stream, each.account))
    versions = [each for one in told for each in (one.from_version, one.to_version) if each is not None]
    first, last = (_whole(min(versions)), _whole(max(versions))) if versions else ("", "")
    ways = (_whole, _time, None) if first[:10] == last[:10] else (_whole, None)
    drawn = (_drawn(told, shown) for shown in ways)
    out.print()
    out.print(next((table for table in drawn if output.fits(table, out)), _drawn(told, None)))
    if versions:
        written = f"from {first} to {last}" if first != last else f"of {first}"
        out.print(f"What was written has versions {written} UTC.", soft_wrap=True)


def _drawn(told: Sequence[report.Outcome], shown: Shown | None) -> Table:
    from rich import box, table, text

    figures = {
        name: count
        for name, count in _FIGURES.items()
        if name in _ALWAYS or any(count(each) for each in told)
    }
    several = len({each.account for each in told}) > 1
    grid = table.Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
        show_footer=len(told) > 1,
    )
    grid.add_column("table", overflow="fold", footer="in all")
    if several:
        grid.add_column("account", overflow="fold")
    for name, count in figures.items():
        grid.add_column(name, justify="right", no_wrap=True, footer=f"{sum(map(count, told)):,}")
    size = happenings.size(sum(each.bytes for each in told))
    grid.add_column("size", justify="right", no_wrap=True, footer=size)
    for heading in ("from", "to") if shown is not None else ():
        grid.add_column(heading, no_wrap=True)
    for each in told:
        versions = (each.from_version, each.to_version) if shown is not None else ()
        grid.add_row(
            text.Text(each.stream),
            *((text.Text(each.account),) if several else ()),
            *(f"{count(each):,}" for count in figures.values()),
            happenings.size(each.bytes),
            *("" if version is None or shown is None else shown(version) for version in versions),
        )
    return grid


def _whole(version: int) -> str:
    return f"{dt.datetime.fromtimestamp(version, dt.UTC):%Y-%m-%d %H:%M:%S}"


def _time(version: int) -> str:
    return f"{dt.datetime.fromtimestamp(version, dt.UTC):%H:%M:%S}"
