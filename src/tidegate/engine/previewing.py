"""What a pipeline makes of some rows, as its author wants to see it; nothing is written.

The rows come from the pulled table; where that is not there yet, or a chosen object not in it, from Stripe.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tidegate import config, warehouse
from tidegate.customers import cases, changes, shaping
from tidegate.engine import piping, proving
from tidegate.pull import look, settings
from tidegate.shape import profile, suggestions

PAGE = 100
"""Rows that Stripe shows at a time."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A row and what became of it: `matched` with its properties, `filtered`, or `failed` with the reason.

    `why` is for the author: it may quote values.
    """

    id: str
    outcome: str
    why: str
    properties: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Suggested:
    """A property of the model that nothing is mapped to, and the field that it could come from."""

    property: str
    source: str
    why: str
    sure: bool


@dataclass(frozen=True, slots=True)
class Preview:
    """What became of rows: read = filtered + failed + matched. `table` is where they are from, empty for Stripe."""

    rows: tuple[Seen, ...]
    read: int
    filtered: int
    failed: int
    matched: int
    table: str
    printed: str
    suggestions: tuple[Suggested, ...]


def preview(file: config.Config, name: str, *, limit: int = 10, ids: Sequence[str] = ()) -> Preview:
    """Shape the newest rows of a pipeline's stream, or the objects with these ids; blocks.

    Raises ConfigError for what can never work and for an id that is nowhere, and what Stripe says where it is
    asked.
    """
    found, table = rows(file, name, limit=limit, ids=ids)
    return of_rows(file, name, found, table)


def of_rows(file: config.Config, name: str, rows: pa.Table, table: str = "") -> Preview:
    """The same of rows that were read before, from `table`; raises TidegateError where its function hangs."""
    pipeline, of = file.pipelines[name], profile.of(piping.model(file, name))
    columns = pa.schema([field for field in rows.schema if field.name != "source_id"])
    now = dt.datetime.now(dt.UTC)
    with shaping.opened(name, pipeline, of, columns, now, restarts=proving.RESTARTS) as shaper:
        shaped = shaper.shape(rows)
        printed = shaper.printed
    why = {each.source_id: each.said for each in shaped.failed}
    made = cases.all_of(shaped)
    seen = tuple(
        Seen(row["source_id"], row["outcome"], why.get(row["source_id"], ""), made.get(row["source_id"]))
        for row in shaped.seen.to_pylist()
    )
    counts = (shaped.read, shaped.filtered, len(shaped.failed), shaped.rows.num_rows)
    unmapped = tuple(
        Suggested(each.name, each.best.source, each.best.reason, each.sure)
        for each in suggestions.suggest(of, columns, rows, stream=pipeline.stream)
        if pipeline.map and each.name not in pipeline.map and each.best is not None
    )
    return Preview(seen, *counts, table, printed, unmapped)


def rows(file: config.Config, name: str, *, limit: int = 10, ids: Sequence[str] = ()) -> tuple[pa.Table, str]:
    """Rows as a run reads them, and the table that they are from; raises as `preview` does."""
    ids = list(dict.fromkeys(ids))
    pipeline, table = file.pipelines[name], piping.stored(file, name)
    with contextlib.closing(warehouse.open_warehouse(file.warehouses[pipeline.warehouse])) as stored:
        if stored.columns(table.name):
            stream, accounts = changes.stream(stored, table), piping.accounts(file, name)
            if not ids:
                found = changes.sample(stream, limit, accounts)
            else:
                found = changes.chosen(stream, ids, accounts)
            if len(set(found["source_id"].to_pylist())) >= len(ids):
                return found, f"{stored.schema}.{table.name}"
    source = settings.source(file.stripe[pipeline.connection])
    stream_name = pipeline.stream
    few = min(limit, PAGE)
    asked = look.chosen(source, stream_name, ids) if ids else look.table(source, stream_name, few)
    return changes.as_read(asyncio.run(asked), table.key), ""
