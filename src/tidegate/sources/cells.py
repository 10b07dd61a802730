"""Cells of a spreadsheet: where they stand, in A1 notation, and what their values are as a column."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from tidegate import errors

ZERO = dt.datetime(1899, 12, 30)
"""Day 0 of the numbers that dates are. https://developers.google.com/workspace/sheets/api/guides/formats"""

EXACT = 2**53
"""Numbers of a sheet are doubles; from here on they are no longer whole numbers one by one."""

_RANGE = re.compile(r"\$?([A-Za-z]{1,3})?\$?(\d+)?(?::\$?([A-Za-z]{1,3})?\$?(\d+)?)?")


def place(title: str, cells: str | None) -> str:
    """A sheet, or cells of it, in A1 notation."""
    sheet = "'" + title.replace("'", "''") + "'"
    return f"{sheet}!{cells}" if cells else sheet


def start(cells: str | None) -> tuple[int, int]:
    """The first row and column of a range, both counted from 1; raises ConfigError when it is none."""
    found = _RANGE.fullmatch(cells.strip()) if cells else None
    if cells and found is None:
        raise errors.ConfigError(
            f"`range` is written as A1:F500 or B3:F, without the sheet's name: {cells!r}."
        )
    if found is None:
        return 1, 1
    # Google reads C5:A1 as A1:C5.
    rows = [int(row) for row in (found[2], found[4]) if row]
    columns = [number(letters) for letters in (found[1], found[3]) if letters]
    return min(rows, default=1), min(columns, default=1)


def number(letters: str) -> int:
    """The column of a name, counted from 1."""
    column = 0
    for letter in letters.upper():
        column = column * 26 + ord(letter) - 64
    return column


def letters(column: int) -> str:
    """The name of a column, counted from 1: A to Z, AA and on."""
    name = ""
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(65 + rest) + name
    return name


def column(found: Sequence[Any], shown: str) -> pa.Array:
    """Cells as the type that all of them have; text, where they have none in common."""
    kinds = {type(value) for value in found if value is not None}
    if kinds and kinds <= {int, float}:
        with contextlib.suppress(OverflowError):
            if shown == "DATE" and all(value is None or float(value).is_integer() for value in found):
                return pa.array([None if v is None else moment(v).date() for v in found], pa.date32())
            if shown in ("DATE", "DATE_TIME"):
                return pa.array([None if v is None else moment(v) for v in found], pa.timestamp("us"))
        if all(value is None or (float(value).is_integer() and abs(value) <= EXACT) for value in found):
            return pa.array([None if v is None else int(v) for v in found], pa.int64())
        return pa.array([None if v is None else float(v) for v in found], pa.float64())
    if kinds == {bool}:
        return pa.array(found, pa.bool_())
    return pa.array([None if value is None else text(value) for value in found], pa.string())


def is_number(cell: object) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def moment(days: float) -> dt.datetime:
    """The moment that a number of days means, to the millisecond: doubles hold no more."""
    return ZERO + dt.timedelta(milliseconds=round(days * 86_400_000))


def text(value: object) -> str:
    """A cell among cells of another type."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT:
        return str(int(value))
    return str(value)
