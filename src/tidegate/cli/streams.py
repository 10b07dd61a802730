"""`tidegate streams`: what Stripe has, and what it takes to read it."""

from __future__ import annotations

from typing import Annotated

import cyclopts

from tidegate import catalog, errors
from tidegate.cli import output
from tidegate.views import streams as views

ROOM = 140
"""Columns a terminal needs for the whole table; a narrower one gets the three columns that matter most."""


def streams(
    pattern: str = "*",
    /,
    *,
    as_json: Annotated[bool, cyclopts.Parameter(name="--json")] = False,
) -> int:
    """List every Stripe stream, its path and the permission it needs.

    Parameters
    ----------
    pattern
        Only streams whose name has this in it, or matches it: `invoice`, `issuing_*`.
    as_json
        Print a JSON array with every detail.
    """
    everything = catalog.load()
    chosen = views.select(everything.streams.values(), pattern)
    if not chosen:
        near = output.suggestion(pattern, everything.streams)
        raise errors.ConfigError(f"no stream matches {pattern}{near or '; `tidegate streams` lists all'}")
    if as_json:
        output.print_json([views.described(stream) for stream in chosen])
    else:
        _table(chosen, everything.api_version)
    return 0


def _table(chosen: list[catalog.Stream], version: str) -> None:
    from rich import box, table, text

    out = output.console()
    cells = [_cells(stream) for stream in chosen]
    headings = list(cells[0]) if out.width >= ROOM else ["stream", "path", "permission"]
    grid = table.Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in headings:
        grid.add_column(heading, overflow="fold")
    for each in cells:
        grid.add_row(*(text.Text(each[heading]) for heading in headings))
    out.print(grid)
    out.print(f"{len(chosen)} streams, Stripe API {version}", style="dim")
    for stream in chosen:
        if not stream.default:
            out.print(f"* {stream.name} is pulled only when named: {stream.why}", style="dim")


def _cells(stream: catalog.Stream) -> dict[str, str]:
    origin = stream.origins[0]
    told = [name for name in ("created", "updated", "deleted") if getattr(stream.events, name)]
    return {
        "stream": stream.name if stream.default else f"{stream.name} *",
        "path": stream.path,
        "parent": stream.parent,
        "kind": origin.route if origin.route in ("embedded", "expanded") else origin.kind,
        "created": "yes" if stream.created_filter else "no",
        "events": ", ".join(told) or "none",
        "permission": stream.permission,
    }
