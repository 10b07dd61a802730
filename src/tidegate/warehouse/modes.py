"""What becomes of a load, by its mode."""

from __future__ import annotations

from collections.abc import Callable

from tidegate.warehouse import base, deletions, history, merge, staging

MODES: dict[base.Mode, Callable[[staging.Place, staging.Staged], base.Loaded]] = {
    "replace": merge.merge,
    "keep": merge.merge,
    "mark": deletions.mark,
    "sweep": deletions.sweep,
    "drop": deletions.drop,
    "history": history.lay,
}


def apply(place: staging.Place, staged: staging.Staged) -> base.Loaded:
    """Apply a load to a DuckDB, in a file or in memory."""
    return MODES[staged.load.mode](place, staged)
