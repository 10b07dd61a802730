"""`tidegate preview STREAM`: a stream's newest rows as they would land, without a warehouse."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tidegate import errors
from tidegate.cli import connect, output
from tidegate.pull import look, scope
from tidegate.views import streams

if TYPE_CHECKING:
    from rich.table import Table


def preview(
    stream: str,
    *,
    config_file: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    connection: str | None = None,
    api_key: str | None = None,
    api_base: str | None = None,
    limit: int = 10,
    columns: str | None = None,
    json: bool = False,
) -> int:
    """Show a stream's newest rows, without a warehouse.

    Parameters
    ----------
    stream
        The stream: `charges`, `invoice_line_items`, ...
    config_file
        The configuration; tidegate.yaml by default.
    connection
        The connection of the configuration, where it has several.
    api_key
        Stripe key, instead of a configuration; also read from STRIPE_API_KEY
        where there is no tidegate.yaml, or with --api-base.
    api_base
        Where Stripe answers; another address for the sandbox.
    limit
        How many rows, 1 to 100.
    columns
        Columns to show, comma separated.
    json
        Print one JSON object per row, with every column.
    """
    if not 1 <= limit <= streams.NEWEST:
        raise errors.ConfigError(f"--limit {limit} is not possible; Stripe shows 1 to 100 rows at a time")
    source = _source(config_file, connection, api_key, api_base)
    rows = asyncio.run(look.newest(source, stream, limit))
    if json:
        for row in rows:
            output.print_json(row)
        return 0
    if not rows:
        output.say(f"{stream} has no rows")
        return 0
    wanted = [name.strip() for name in (columns or "").split(",") if name.strip()]
    for name in wanted:
        if name not in rows[0]:
            near = output.suggestion(name, rows[0])
            raise errors.ConfigError(
                f"{stream} has no column {name}{near or f'; `tidegate schema {stream}`'}"
            )
    _table(rows, wanted or streams.telling(rows), asked=bool(wanted))
    return 0


def _source(
    config_file: Path | None, connection: str | None, api_key: str | None, api_base: str | None
) -> scope.Source:
    if config_file is None and connection is None:
        given = (api_key or os.environ.get("STRIPE_API_KEY")) if api_base else connect.lone_key(api_key)
        if given:
            return scope.Source(given, api_base) if api_base else scope.Source(given)
    return streams.source(connect.configuration(config_file), connection)[1]


def _table(rows: list[dict[str, object]], columns: list[str], *, asked: bool) -> None:
    """The columns that were asked for, or as many of the telling ones as the terminal shows whole."""
    out = output.console()
    while not asked and len(columns) > 1 and not output.fits(_grid(rows, columns), out):
        columns = columns[:-1]
    out.print(_grid(rows, columns))
    out.print(f"{output.counted(len(rows), 'row')}; --json shows every column, --columns chooses.")


def _grid(rows: list[dict[str, object]], columns: list[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        numeric = all(isinstance(row[name], int | float | None) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in columns))
    return table


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    text = str(value)
    return text if len(text) <= streams.CELL else text[: streams.CELL - 1] + "…"
