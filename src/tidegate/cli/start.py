"""`tidegate start`: have a flow run now, by whoever runs flows."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate import views
from tidegate.cli import connect, output
from tidegate.engine import place as places
from tidegate.views import flows


def start(
    flow: str,
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    full_refresh: bool = False,
    limit: int | None = None,
    json: bool = False,
) -> int:
    """Have a flow run now.

    It is queued; a `tidegate run` begins it. `tidegate pull` and `tidegate push` need
    none, and run it themselves. A push writes what no guard holds, without asking.

    Parameters
    ----------
    flow
        A flow, such as everything, pull:everything, pipeline:eu_customers or push:accounts.
    config_file
        The configuration; tidegate.yaml by default.
    full_refresh
        Of a pull: read everything again, and remove what Stripe no longer has; of a pipeline: read every row again.
    limit
        Of a push: write so many rows at most, to see a few at Stripe first.
    json
        Print a JSON object, last on stdout.
    """
    file = connect.configuration(config_file)
    with contextlib.closing(connect.store(file)) as store:
        place = places.Place(file, store)
        run = flows.begin(place, views.person(), flow, full_refresh=full_refresh, limit=limit)
    if json:
        output.print_json({"run_id": run.id, "flow": run.flow, "state": run.state})
    else:
        output.say(f"{run.flow} is queued; `tidegate logs -f {run.id}` shows it")
    return 0
