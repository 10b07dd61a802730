"""`tidegate retry`: run once more what a run was to do."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate import errors
from tidegate.cli import connect, output
from tidegate.engine import flows
from tidegate.store import runs


def retry(
    run: str,
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
) -> int:
    """Run once more what a run was to do.

    With the same options, from where the tables stand now. What `--approve` let a
    pipeline do was meant for what stood then, and is not asked of it again. A push
    that was begun by hand is left to `tidegate push`, which plans it anew and asks.

    Parameters
    ----------
    run
        The run's id, or the beginning of it; `last` for the newest.
    config_file
        The configuration; tidegate.yaml by default.
    """
    from tidegate.engine import piping

    file = connect.configuration(config_file)
    with contextlib.closing(connect.store(file)) as store:
        found = connect.run(store, run)
        if found.alive:
            raise errors.ConfigError(f"{found.id} is {found.state}; `tidegate cancel` ends it.")
        flow = flows.flows(file).get(found.flow)
        if flow is None:
            raise errors.ConfigError(f"{found.flow} is not in the configuration any more.")
        if flow.kind == "push" and found.options.get("by_hand") and flow.schedule == "manual":
            raise errors.ConfigError(
                f"{found.id} was begun by hand; `tidegate push {flow.own}` plans it anew and asks."
            )
        cause: runs.Cause = "continuous" if found.cause == "continuous" else "retry"
        options = {name: value for name, value in found.options.items() if name != piping.APPROVE}
        again = runs.queue(store, runs.new_id(), found.flow, cause, options=options)
    output.say(f"{again.flow} is queued; `tidegate logs -f {again.id}` shows it")
    return 0
