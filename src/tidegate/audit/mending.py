"""Repairs of what an audit found: rows loaded as Stripe was read to have them, others marked as deleted or removed.

Everything goes through the version gate under a claim of our own: whatever is newer stays, and a pull that ran
meanwhile is shut out.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tidegate.audit import judging, sides
from tidegate.pull import load, shaping
from tidegate.rows import columns
from tidegate.warehouse import base

CHUNK = 5_000
"""Rows that are repaired in one transaction."""


def mend(
    warehouse: base.Warehouse,
    fence: base.Fence,
    reading: base.Warehouse,
    target: load.Target,
    repairs: judging.Repairs,
    version: int,
) -> int:
    """Repair one part of a table from a reading, and say how many rows changed; `version` is when it began.

    Killed inside, the rows that were repaired stay so, and the next audit finds the rest.
    """
    done = 0
    for keys in _chunks(list(repairs.rows)):
        fitted = _fitted(reading, target, {key: repairs.rows[key] for key in keys}, repairs.anew)
        loads = [*_dropped(target, keys, repairs.anew), *shaping.again(target.shape, fitted)]
        results = warehouse.load(loads, {}, fence)
        made = (each for load, each in zip(loads, results, strict=True) if load.mode == "replace")
        done += sum(each.inserted + each.updated for each in made)
    for gone, deleted in ((repairs.gone, True), (repairs.leaving, False)):
        for keys in _chunks(list(gone)):
            marks = _marks(target, {key: max(version, gone[key]) for key in keys}, repairs.anew, version)
            if not deleted:
                marks = [dataclasses.replace(each, rows=_undated(each.rows), hard=True) for each in marks]
            dropped = _dropped(target, keys, repairs.anew)
            results = warehouse.load([*dropped, *marks], {}, fence)
            done += min(len(keys), sum(each.updated for each in results))
    return done


def _chunks(keys: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK)]


def _dropped(target: load.Target, keys: Sequence[bytes], anew: Collection[bytes]) -> list[base.Load]:
    """Those that no version can mend are taken out first."""
    some = [key for key in keys if key in anew]
    return [base.Load(target.table, sides.keys(target.table, target.account, some), "drop")] if some else []


def _fitted(
    reading: base.Warehouse, target: load.Target, stored: Mapping[bytes, int | None], anew: Collection[bytes]
) -> pa.Table:
    """Rows as they were read, with the columns of the table.

    The reading is the younger one, though its version may be a second or two short of the stored one's: Stripe's
    clock is never taken for later than it surely is.
    """
    table, schema = target.table, target.table.schema
    rows = reading.find(table, sides.keys(table, target.account, list(stored)), schema.names)
    rows = rows.filter(pc.and_(rows["_stored"], pc.is_null(rows["_deleted_at"])))
    made = {name: sides.plain(rows[name]).cast(schema.field(name).type) for name in schema.names}
    keys = zip(*(made[name].to_pylist() for name in table.key[1:]), strict=True)
    least = [
        0 if (key := b"\x00".join(part.encode() for part in parts)) in anew else stored[key] or 0
        for parts in keys
    ]
    made["_version"] = pc.max_element_wise(made["_version"], pa.array(least, pa.int64()))
    now = pa.scalar(dt.datetime.now(dt.UTC), columns.INSTANT)
    made["_synced_at"] = pa.repeat(now, rows.num_rows)
    return pa.table([made[name] for name in schema.names], schema=schema)


def _marks(
    target: load.Target, versions: Mapping[bytes, int], anew: Collection[bytes], version: int
) -> list[base.Load]:
    gone = [
        (version if key in anew else mine, tuple(part.decode() for part in key.split(b"\x00")))
        for key, mine in versions.items()
    ]
    return shaping.gone(target.shape, target.account, gone, dt.datetime.now(dt.UTC))


def _undated(marks: pa.Table) -> pa.Table:
    """Of rows that were not deleted, but do not belong into the table."""
    place = marks.schema.get_field_index("_deleted_at")
    return marks.set_column(place, marks.schema.field(place), pa.nulls(marks.num_rows, columns.INSTANT))
