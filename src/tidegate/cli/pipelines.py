"""`tidegate pipelines`: the pipelines of the configuration, and how each is."""

from __future__ import annotations

import contextlib
import datetime as dt
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate.cli import connect, output
from tidegate.engine import flows
from tidegate.store import failed, runs


def pipelines(
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    json: bool = False,
) -> int:
    """List pipelines: what they read, and how their last runs were.

    Parameters
    ----------
    config_file
        The configuration; tidegate.yaml by default.
    json
        Print a JSON object, last on stdout.
    """

    file = connect.configuration(config_file)
    last: dict[str, runs.Run] = {}
    waiting: dict[str, int] = {}
    if connect.has_store(file):
        with contextlib.closing(connect.store(file)) as store:
            for name in file.pipelines:
                for found in runs.listed(store, flow=f"pipeline:{name}", limit=1):
                    last[name] = found
            waiting = failed.counts(store)
    told = [
        {
            "pipeline": name,
            "description": each.description,
            "from": each.connection,
            "to": each.warehouse,
            "stream": each.stream,
            "filtered": each.filter is not None,
            "enabled": each.enabled,
            "schedule": flows.text(each.schedule).strip('"'),
            "last_run": last[name].id if name in last else None,
            "state": last[name].state if name in last else None,
            "finished_at": last[name].finished_at if name in last else None,
            "quarantined": waiting.get(name, 0),
        }
        for name, each in file.pipelines.items()
    ]
    if json:
        output.print_json({"pipelines": told})
        return 0
    if not told:
        output.say("the configuration has no pipelines; describe one under `pipelines:`")
        return 0
    table = output.table(
        "pipeline", "reads", "filter", "enabled", "schedule", "last run", "quarantine", whole=2
    )
    for row in told:
        table.add_row(
            str(row["pipeline"]),
            f"{row['from']}.{row['stream']}",
            "yes" if row["filtered"] else "-",
            "yes" if row["enabled"] else "no",
            str(row["schedule"]),
            _when(row["state"], row["finished_at"]),
            f"{row['quarantined']:,}" if row["quarantined"] else "-",
        )
    output.console().print(table)
    return 0


def _when(state: object, finished: object) -> str:
    if state is None:
        return "-"
    if not isinstance(finished, float):
        return str(state)
    return f"{state}, {dt.datetime.fromtimestamp(finished, dt.UTC):%Y-%m-%d %H:%M}"
