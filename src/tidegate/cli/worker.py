"""`tidegate worker`: do the work that some `tidegate run` schedules, on this machine too."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from tidegate import errors
from tidegate.cli import connect, lean, output, run
from tidegate.engine import journal
from tidegate.engine import place as places


def worker(
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    at_once: int = 4,
    log: Literal["auto", "text", "json"] = "auto",
) -> int:
    """Do runs that another machine schedules.

    Any number of workers share one Postgres database and the same configuration. A
    worker that is killed loses nothing: others take over what it did. SIGTERM and
    Ctrl-C end it when what was read is committed.

    Parameters
    ----------
    config_file
        The configuration; tidegate.yaml by default.
    at_once
        How many runs, or parts of runs, may go on at the same time.
    log
        `json` writes one object per line to stderr, `text` is for people; by default whichever fits.
    """
    lean.few_arenas()
    lean.prompt()
    journal.begin(log)
    with connect.place(config_file) as opened:
        if opened.store.kind != "postgres":
            raise errors.ConfigError(
                "workers share a Postgres database: write `database: postgresql://...` in the configuration; "
                "`tidegate run` needs none"
            )
        workers = run.distributed()
        with run.budget(opened.file) as shared:
            place = dataclasses.replace(opened, purse=shared, folder=places.state(config_file))
            run.obey(place.stopping)
            output.say(f"working on {opened.store.place}; Ctrl-C ends it")
            run.alerting(place)
            lean.tidying(place.stopping)
            workers.serve(place, size=at_once, schedule=False)
    output.say("stopped; everything that was read is committed")
    return 0
