"""`tidegate schema`: the shape of the configuration file, or of a stream's table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts

from tidegate import catalog, config, errors
from tidegate.cli import connect, output
from tidegate.views import streams


def schema(
    stream: str | None = None,
    /,
    *,
    config_file: Annotated[Path | None, cyclopts.Parameter(name=["--config", "-c"])] = None,
    pull: str | None = None,
    to: Literal["arrow", "duckdb"] = "duckdb",
    as_json: Annotated[bool, cyclopts.Parameter(name="--json")] = False,
) -> int:
    """Print the JSON Schema of tidegate.yaml, or a stream's columns.

    Parameters
    ----------
    stream
        A stream, to print its columns; without one, the JSON Schema is printed.
    config_file
        The configuration whose derived columns are shown too; tidegate.yaml
        by default, where there is one.
    pull
        Only the derived columns of this pull; of all pulls by default.
    to
        Whose types to show.
    as_json
        Print a stream's columns as JSON.
    """
    if stream is None:
        output.print_json(config.json_schema(), pretty=True)
        return 0
    found = streams.named(stream)
    columns = streams.columns(found, to, _derived(found, config_file, pull))
    if as_json:
        output.print_json({"stream": stream, "key": ["_account_id", *found.key], "columns": columns})
    else:
        _table(found, columns)
    return 0


def _derived(stream: catalog.Stream, config_file: Path | None, pull: str | None) -> streams.Derived:
    """Those of the configuration; a file that was not asked for, and cannot be read, has none, which is said."""
    asked = config_file is not None or pull is not None
    if not asked and not Path(config.DEFAULT_FILE).exists():
        return []
    try:
        return streams.derived(connect.configuration(config_file), stream, pull)
    except errors.ConfigError as error:
        if asked:
            raise
        output.say(f"without the derived columns of {config.DEFAULT_FILE}, which cannot be read: {error}")
        return []


def _table(stream: catalog.Stream, columns: list[dict[str, Any]]) -> None:
    from rich import box, table, text

    grid = table.Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    grid.add_column("column", no_wrap=True)
    grid.add_column("type", no_wrap=True)
    grid.add_column("what it is")
    for column in columns:
        cells = (column["name"], column["type"], column["doc"])
        grid.add_row(*(text.Text(str(cell)) for cell in cells))
    out = output.console()
    out.print(grid)
    out.print(f"key: _account_id, {', '.join(stream.key)}", style="dim")
