"""`tidegate cancel`: end a run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate import views
from tidegate.cli import connect, output
from tidegate.engine import place as places
from tidegate.views import runs


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
    file = connect.configuration(config_file)
    with contextlib.closing(connect.store(file)) as store:
        place = places.Place(file, store)
        found = runs.cancel(place, views.person(), runs.meant(store, run))
    output.say(f"{found.id} is cancelled" if not found.alive else f"{found.id} ends within seconds")
    return 0
