"""`tidegate streams`: what Stripe has, and what it takes to read it."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from typing import Annotated

import cyclopts

from tidegate import catalog, errors
from tidegate.cli import output

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
    chosen = select(everything.streams.values(), pattern)
    if not chosen:
        near = output.suggestion(pattern, everything.streams)
        raise errors.ConfigError(f"no stream matches {pattern}{near or '; `tidegate streams` lists all'}")
    if as_json:
        output.print_json([described(stream) for stream in chosen])
    else:
        _table(chosen, everything.api_version)
    return 0


def select(streams: Iterable[catalog.Stream], pattern: str) -> list[catalog.Stream]:
    """The streams that a pattern means, by name."""
    wild = any(letter in pattern for letter in "*?[")
    found = [
        stream
        for stream in streams
        if (fnmatch.fnmatchcase(stream.name, pattern) if wild else pattern in stream.name)
    ]
    return sorted(found, key=lambda stream: stream.name)


def described(stream: catalog.Stream) -> dict[str, object]:
    """A stream as `--json` prints it."""
    origin = stream.origins[0]
    return {
        "name": stream.name,
        "object": stream.object,
        "api": stream.api,
        "path": stream.path,
        "paths": [each.path for each in stream.origins],
        "parent": stream.parent or None,
        "kind": origin.kind,
        "route": origin.route,
        "created_filter": stream.created_filter,
        "events": sorted({*stream.events.created, *stream.events.updated, *stream.events.deleted}),
        "key": list(stream.key),
        "permission": stream.permission,
        "columns": len(stream.fields),
        "default": stream.default,
        "why": stream.why or None,
    }


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
    out.print(f"{len(chosen)} streams, Stripe API {version}", style="dim", markup=False)
    for stream in chosen:
        if not stream.default:
            out.print(f"* {stream.name} is pulled only when named: {stream.why}", style="dim", markup=False)


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
