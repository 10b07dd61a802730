"""How a benchmark prints: one line per figure, beside the goal and whether it was reached."""

from __future__ import annotations

from dataclasses import dataclass

import rich.console
import rich.table


@dataclass(frozen=True, slots=True)
class Line:
    """One figure; `ok` is None where there is no goal."""

    what: str
    figure: str
    goal: str = ""
    ok: bool | None = None
    note: str = ""


def show(title: str, lines: list[Line]) -> None:
    """A section of the report."""
    table = rich.table.Table("what", "figure", "goal", "ok", "", title=title, title_justify="left")
    for line in lines:
        sign = "" if line.ok is None else "yes" if line.ok else "NO"
        table.add_row(line.what, line.figure, line.goal, sign, line.note)
    rich.console.Console(width=160).print(table)
