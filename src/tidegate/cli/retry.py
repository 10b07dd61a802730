"""`tidegate retry`: run once more what a run was to do."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate import views
from tidegate.cli import connect, output
from tidegate.engine import place as places
from tidegate.views import flows, runs


def retry(
    run: str,
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
) -> int:
    """Run once more what a run was to do.

    With the same options, from where the tables stand now; what was approved then is not
    approved again. A push that was begun by hand is left to `tidegate push`, which plans it
    anew and asks.

    Parameters
    ----------
    run
        The run's id, or the beginning of it; `last` for the newest.
    config_file
        The configuration; tidegate.yaml by default.
    """
    file = connect.configuration(config_file)
    with contextlib.closing(connect.store(file)) as store:
        again = flows.again(places.Place(file, store), views.person(), runs.meant(store, run))
    output.say(f"{again.flow} is queued; `tidegate logs -f {again.id}` shows it")
    return 0
