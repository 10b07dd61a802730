"""`tidegate export`: what was configured in the browser, as YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from tidegate import errors
from tidegate.cli import connect, output
from tidegate.engine import configuration as configuring
from tidegate.views import configuration


def export(
    *,
    to: Path | None = None,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
) -> int:
    """Write what was configured in the browser as YAML.

    That is what the metadata database keeps beside the file: connections, warehouses,
    pulls, pipelines and all else that was made in the browser or by the API. Secrets
    are named, as `${secret:NAME}`, and not told. `tidegate apply` takes it back.

    Parameters
    ----------
    to
        A file to write; stdout by default.
    config_file
        The configuration, beside which it is kept; tidegate.yaml by default.
    """
    if not configuring.exists(connect.database_url(config_file)):
        raise errors.ConfigError(
            "there is no metadata database yet, and so nothing in it; `tidegate run` makes one"
        )
    with connect.place(config_file, mending=True) as place:
        text = configuration.exported(place)
    if to is None:
        print(text, end="", flush=True)
    else:
        to.write_text(text, encoding="utf-8")
        output.say(f"written to {to}")
    return 0
