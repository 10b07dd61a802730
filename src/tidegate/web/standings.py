"""How states, ages and sizes look in tables: the same on every page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.views import standing
from tidegate.web import frame

CHIPS: Mapping[str, str] = {
    "fresh": "ok",
    "behind": "warn",
    "failed": "failed",
    "unfinished": "waiting",
    "unbounded": "off",
    "running": "running",
    "stopped": "held",
    "off": "off",
}
LABELS: Mapping[str, str] = {
    "fresh": "Fresh",
    "behind": "Behind",
    "failed": "Failed",
    "unfinished": "Not whole yet",
    "unbounded": "No bound",
    "running": "Running",
    "stopped": "Stopped",
    "off": "Never ran",
}


def chip(state: str) -> Any:
    """A state of a stream or of a flow."""
    return frame.parts().chip(CHIPS.get(state, "off"), LABELS.get(state, state)) if state else ""


def freshness(age: float | None, bound: float | None, never: str = "no data") -> Any:
    """How old something is beside how old it may be; `never` is said of what has no age."""
    return frame.parts().freshness(age, bound, never)


def when(at: float | None) -> Any:
    """A moment in the reader's zone; nothing where there is none."""
    return None if at is None else frame.parts().when(at)


def upcoming(at: float | None, schedule: object) -> Any:
    """When a flow of a schedule runs next, or what it waits for."""
    if at is not None:
        return frame.parts().when(at)
    return {"manual": "when somebody starts it", "continuous": "it runs all the time"}.get(str(schedule))


def size(count: int | None) -> str | None:
    """Bytes as people say them: `12.4 MB`."""
    if count is None:
        return None
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            return f"{value:,.0f} {unit}" if unit == "B" else f"{value:,.1f} {unit}"
        value /= 1000
    raise AssertionError("the last unit takes all")


def options() -> list[tuple[str, str]]:
    """The states of streams, for a filter."""
    return [(state, LABELS[state]) for state in standing.STATES]
