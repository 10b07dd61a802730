"""What a function makes of a record: `Made` with the properties, `Left` when it returned nothing, or `Failed`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from tidegate.shape import wire

Kind = Literal["record", "error", "result", "time", "memory", "ended", "garbled"]
"""Why a record failed: it is nested too deep, an exception, a result that holds no properties, a limit, or what it
did to its process."""

_LONGEST = 2000
"""Characters of a reason."""
_SAFE = re.compile(r"(line \d{1,9}: )?[\w ]{1,60}")
"""What an exception may be called in a log: its name is made up by the function, too."""


@dataclass(frozen=True, slots=True)
class Made:
    """Properties, of the types None, bool, int, float, str, Decimal, datetime in UTC, date, list and dict."""

    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Left:
    """The function returned nothing: the record is left out."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The record failed; `why` is for the author and may quote values, `safe` may be logged."""

    why: str
    safe: str
    line: int | None
    kind: Kind


LEFT = Left()
Outcome = Made | Left | Failed


def failed(fault: wire.Fault) -> Failed:
    """As the process tells it, as far as that is its to tell."""
    why = fault.why[:_LONGEST]
    if fault.kind == "result":
        return Failed(why, fault.safe[:_LONGEST], fault.line, "result")
    safe = fault.safe if _SAFE.fullmatch(fault.safe) else "an error"
    return Failed(why, safe, fault.line, "memory" if fault.kind == "memory" else "error")
