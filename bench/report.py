"""How a benchmark prints: one line per figure, beside the goal and whether it was reached."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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


Sections = Mapping[str, tuple[str, Callable[[Path, int], list[Line]]]]
"""Parts of a benchmark by name: the title, and what measures it in a folder, at a size."""


def measure(
    about: str | None, sections: Sections, words: Sequence[str], *, option: str, size: int, what: str
) -> None:
    """Measure and show the chosen sections, or all of them, each at the size that `option` says."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(sections))
    parser.add_argument(option, dest="size", type=int, default=size, help=f"{what} ({size:,})")
    given = parser.parse_args(words)
    unknown = [name for name in given.sections if name not in sections]
    if unknown:
        parser.error(f"there is no section {unknown[0]}; there are {', '.join(sections)}")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.sections or sections:
            title, measured = sections[name]
            show(title, measured(Path(folder), given.size))
