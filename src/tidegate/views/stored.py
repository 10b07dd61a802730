"""What a pull has stored: the newest rows of a stream, read from its warehouse, whichever that is."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate import config, sources
from tidegate.engine import place as places
from tidegate.sources import base
from tidegate.views import outside, warehouses

if TYPE_CHECKING:
    import pyarrow as pa

WAIT = 2.0
"""Seconds for which a DuckDB file is waited for that another process holds."""
DIALECTS = {"sqlserver": "tsql", "synapse": "tsql"}
"""How sqlglot calls the SQL of a warehouse where that is not its type; files are read by DuckDB."""
FILES = ("duckdb", "motherduck", "parquet", "delta", "iceberg")


def newest(place: places.Place, pull: str, stream: str, limit: int = 10) -> list[dict[str, Any]]:
    """The newest rows that a pull has stored of a stream and that are not deleted; none where there is no table.

    They are those with the latest `created` where the stream has it. Nothing is written, and it takes `outside`'s
    patience at the most. Raises WarehouseError and its kinds, and ConfigError where a driver is missing.
    """
    found = place.file.pulls[pull]
    name, table = found.warehouse, found.options(stream).table or stream
    target = warehouses.named(place.file, name)
    if isinstance(target, config.DuckDB) and not Path(target.file).exists():
        return []

    def read() -> list[dict[str, Any]]:
        with contextlib.closing(sources.open_source(target, timeout=outside.PATIENCE, wait=WAIT)) as source:
            return _read(source, target, table, limit)

    return outside.warehouse(name, read)


def _read(source: base.Source, target: config.Warehouse, table: str, limit: int) -> list[dict[str, Any]]:
    from sqlglot import exp

    dialect = "duckdb" if target.type in FILES else DIALECTS.get(target.type, target.type)
    wanted = [target.schema_name.lower(), table.lower()]
    for spelled in source.tables():
        tree = exp.to_table(spelled, dialect=dialect)
        if [tree.db.lower(), tree.name.lower()] == wanted:
            break
    else:
        return []
    known = {each.lower(): each for each in source.columns(base.Query(table=spelled)).names}
    query = exp.select("*").from_(tree)
    if (deleted := known.get("_deleted_at")) is not None:
        query = query.where(exp.column(deleted, quoted=True).is_(exp.null()))
    if (created := known.get("created")) is not None:
        query = query.order_by(exp.column(created, quoted=True).desc())
    rows: list[dict[str, Any]] = []
    with contextlib.closing(_rows(source, query.limit(limit).sql(dialect=dialect))) as batches:
        for batch in batches:
            rows += batch.to_pylist()
    return [{name.lower(): value for name, value in row.items()} for row in rows[:limit]]


def _rows(source: base.Source, text: str) -> Generator[pa.RecordBatch, None, None]:
    """The rows of a query; closing it ends that."""
    yield from source.read(text)
