"""Histories that were not kept for a while: the versions that they left open of rows that are gone since.

A deletion ends the open version of its row in the very commit, but only where the history is kept. When it is kept
again, its stream is listed again, which brings new versions of the rows that are there; the others end here.
"""

from __future__ import annotations

import asyncio

import pyarrow as pa

from tidegate import catalog
from tidegate.pull import load, reading, relist
from tidegate.warehouse import base

CHUNK = 5_000
"""Open versions taken from the warehouse at a time."""


async def left_open(shared: reading.Reading, stream: catalog.Stream, entry: relist.Entry) -> list[load.Cargo]:
    """The rows whose deletion is known, and is not known to their history; told once more at that same version."""
    target = shared.targets.get(stream.name)
    if target is None or target.shape.history is None or shared.warehouse is None:
        return []
    if entry.regular or not entry.whole:
        return []
    return await asyncio.to_thread(_left_open, shared.warehouse, target, target.shape.history)


def _left_open(warehouse: base.Warehouse, target: load.Target, history: base.Table) -> list[load.Cargo]:
    schema, key = base.quoted(warehouse.schema), target.table.key
    names = ", ".join(f"h.{base.quoted(column)}" for column in key)
    same = " and ".join(f"t.{base.quoted(column)} = h.{base.quoted(column)}" for column in key)
    batches = warehouse.read(
        f"select distinct {names} from {schema}.{base.quoted(history.name)} as h where h._account_id = ? "
        f"and h._valid_to is null and not exists (select 1 from {schema}.{base.quoted(target.table.name)} as t "
        f"where {same} and t._deleted_at is null)",
        (target.account,),
    )
    keys = [row for batch in batches for row in batch.to_pylist()]
    found: list[load.Cargo] = []
    for start in range(0, len(keys), CHUNK):
        some = pa.Table.from_pylist(keys[start : start + CHUNK], pa.schema([(c, pa.string()) for c in key]))
        for row in warehouse.find(target.table, some).to_pylist():
            if row["_deleted_at"] is not None:
                ended = tuple(row[column] for column in key[1:])
                found.append(load.Gone(target, [ended], row["_version"]))
    return found
