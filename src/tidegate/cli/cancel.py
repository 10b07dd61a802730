"""`tidegate cancel`: end a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate import errors
from tidegate.cli import connect, output
from tidegate.store import runs


def cancel(
    run: str,
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
) -> int:
    """End a run; what it committed stays.

    Parameters
    ----------
    run
        The run's id, or the beginning of it; `last` for the newest.
    config_file
        The configuration; tidegate.yaml by default.
    """
    with connect.opened(config_file) as store:
        found = connect.run(store, run)
        if not found.alive:
            raise errors.ConfigError(f"{found.id} has ended already: {found.state}.")
        found = runs.cancel(store, found.id, "the command line")
    output.say(f"{found.id} is cancelled" if not found.alive else f"{found.id} ends within seconds")
    return 0
