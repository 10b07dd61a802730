"""Records of sources on their way into the customer model, and what each pipeline has seen of its stream.

A record is one row of a stream as one pipeline shaped it: `pipeline/account/id`. Of every batch that a pipeline
read, `step` makes the loads for one call of `Warehouse.load`, so that records, their identifiers and the progress
of the pipeline are committed together:

- a record whose properties are what they were is not written again and keeps its version;
- one that no longer matches, or is gone at the source, is marked as deleted;
- one that failed keeps its last good state.

The records that came, changed or left stand in the table of unresolved ones until whoever resolves them takes them
out (`settled`), so that a process that is killed in between leaves none unresolved.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from tidegate import errors
from tidegate.customers import names, normalising
from tidegate.rows import columns
from tidegate.shape import profile
from tidegate.warehouse import base, ddl, scripts, wire

Outcome = Literal["matched", "filtered", "failed"]
"""What became of a row: it is a record now, it does not match, or it could not be shaped."""

SEEN = pa.schema(
    [
        pa.field("_account_id", pa.string()),
        pa.field("source_id", pa.string()),
        pa.field("_version", pa.int64()),
        pa.field("_synced_at", names.MOMENT),
        pa.field("outcome", pa.string()),
    ]
)
"""The columns of `Batch.seen`: which row was read, in which state, and its `Outcome`."""

GONE = pa.schema([pa.field("_account_id", pa.string()), pa.field("source_id", pa.string())])
"""The columns of keys that are gone."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a pipeline made of some rows of its stream.

    `seen` has the columns SEEN, each row once. `rows` are those that matched: `_account_id`, `source_id`,
    `_version` and the model's properties. `gone` has the columns GONE: rows that the stream no longer has. `shape`
    tells the pipeline's filter, mapping and function from any others.
    """

    pipeline: str
    shape: str
    seen: pa.Table
    rows: pa.Table
    gone: pa.Table


@dataclass(frozen=True, slots=True)
class Step:
    """Loads for a batch, all for one call of `Warehouse.load`, and what they come to.

    `changed` are the records that came, changed or left: one column `record`.
    """

    loads: tuple[base.Load, ...]
    changed: pa.Table
    written: int
    unchanged: int
    removed: int


def table(named: names.Names, model: profile.Profile) -> base.Table:
    """The table of records: one row for each, live while `_deleted_at` is NULL.

    It has no version gate: what a pipeline read last counts, also where a mapping changed and the row did not.
    """
    fields = [
        *(pa.field(name, pa.string()) for name in ("record", "pipeline", "_account_id", "source_id")),
        *model.schema,
        pa.field("_version", pa.int64()),
        *(pa.field(name, names.MOMENT) for name in ("_synced_at", "_deleted_at")),
        pa.field("_row_hash", pa.string()),
    ]
    return base.Table(named.records().name, pa.schema(fields), ("record",), "")


def identifiers(named: names.Names) -> base.Table:
    """The table of identifiers: one row for each of a record, live while the record has a value of it."""
    return dataclasses.replace(named.identifiers, version="")


def progress(named: names.Names) -> base.Table:
    """What pipelines have seen: the state in which they read each row last, and what became of it."""
    fields = [pa.field("pipeline", pa.string()), *SEEN, pa.field("shape", pa.string())]
    key = ("pipeline", "_account_id", "source_id")
    return base.Table(f"{named.profiles}_progress", pa.schema(fields), key, "")


def unresolved(named: names.Names) -> base.Table:
    """Records that came, changed or left since their profiles were resolved."""
    fields = [pa.field("record", pa.string())]
    return base.Table(f"{named.profiles}_unresolved", pa.schema(fields), ("record",), "")


def tables(named: names.Names, model: profile.Profile) -> tuple[base.Table, ...]:
    """All tables that `step` writes, to be prepared."""
    return table(named, model), identifiers(named), progress(named), unresolved(named)


def keys(pipeline: str, accounts: pa.ChunkedArray, ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """The keys of records: `pipeline/account/id`, a digest where that is longer than an index takes."""
    found = pc.binary_join_element_wise(pa.scalar(pipeline), accounts, ids, "/")
    if (pc.max(pc.utf8_length(found)).as_py() or 0) <= names.LONGEST:
        return found
    short = [key if len(key) <= names.LONGEST else _digest(key) for key in found.to_pylist()]
    return pa.chunked_array([pa.array(short, pa.string())])


def step(
    warehouse: base.Warehouse, named: names.Names, model: profile.Profile, batch: Batch, now: dt.datetime
) -> Step:
    """The loads that bring a batch into the model, held against what is stored; the tables must be prepared.

    Idempotent: after its loads are committed, the same batch changes nothing.
    """
    records = table(named, model)
    rows = batch.rows.append_column(
        "record", keys(batch.pipeline, batch.rows["_account_id"], batch.rows["source_id"])
    )
    hashes = fingerprints(batch.rows.select(list(model.names)), ",".join(model.identifiers))
    rows = rows.append_column("_row_hash", hashes)
    filtered = batch.seen.filter(pc.equal(batch.seen["outcome"], "filtered")).select(GONE.names)
    leaving = pa.concat_tables([filtered, batch.gone.select(GONE.names)])
    left = keys(batch.pipeline, leaving["_account_id"], leaving["source_id"])
    asked = pa.table({"record": pa.chunked_array([*rows["record"].chunks, *left.chunks], pa.string())})
    stored = warehouse.find(records, asked, ["_row_hash"])
    stored = stored.filter(pc.is_null(stored["_deleted_at"]))
    rows, unchanged = _fresh(rows, stored)
    left = left.filter(pc.is_in(left, value_set=stored["record"].combine_chunks()))
    changed = pa.table({"record": pa.chunked_array([*rows["record"].chunks, *left.chunks], pa.string())})
    loads = [
        base.Load(records, _written(records, batch.pipeline, rows, now)),
        base.Load(records, _marked({"record": left}, now), "keep"),
        base.Load(identifiers(named), _identified(model, rows, now)),
        base.Load(identifiers(named), _unidentified(model, left, now), "keep"),
        base.Load(progress(named), _progressed(batch)),
        base.Load(progress(named), _forgotten(batch), "drop"),
        base.Load(unresolved(named), changed),
    ]
    return Step(
        tuple(load for load in loads if load.rows.num_rows), changed, rows.num_rows, unchanged, len(left)
    )


def settled(named: names.Names, changed: pa.Table) -> base.Load:
    """The load that takes records out of the unresolved ones; `changed` has a column `record`."""
    return base.Load(unresolved(named), changed.select(["record"]), "drop")


def again(script: scripts.Script, named: names.Names, pipeline: str, intent: Callable[[], None]) -> int:
    """Have the rows of a pipeline that failed read again by its next run; says how many.

    `intent` is told before.
    """
    if not script.has(progress(named).name):
        return 0
    table = script.name(progress(named).name)
    which = f"WHERE pipeline = {ddl.literal(pipeline)} AND outcome = 'failed'"
    ((count,),) = script.rows(f"SELECT count(*) AS n FROM {table} {which}")
    intent()
    with script.transaction():
        script.execute(f"UPDATE {table} SET shape = '' {which}")
    return int(count)


def check(warehouse: base.Warehouse, tables: Sequence[base.Table], model: profile.Profile) -> None:
    """Raises ConfigError for a property whose column cannot take its type; columns only ever become wider.

    A property that is new becomes a column, one that is left out stays as a column that is empty from now on.
    """
    for each in tables:
        there = {column.lower(): kind for column, kind in warehouse.columns(each.name).items()}
        for field in model.schema:
            native = there.get(field.name)
            if native is None:
                continue
            kind = warehouse.canonical(native) if isinstance(warehouse, wire.Wire) else native
            wanted = ddl.sql_type(field)
            if ddl.widest(kind, wanted) != wanted:
                raise errors.ConfigError(
                    f"The property {field.name} of the customer model has another type than before: its column in "
                    f"{warehouse.schema}.{each.name} is {native}, and columns only become wider; give the property "
                    "its old type or the type string, or take another name."
                )


def fingerprints(rows: pa.Table, salt: str = "") -> pa.Array:
    """A hash of each row's properties that have a value, so that a new property alone changes none.

    Other hashes come of another `salt`.
    """
    parts = [
        pc.binary_join_element_wise(name.encode(), columns.texts(rows[name]).cast(pa.binary()), b"\xfe")
        for name in sorted(rows.schema.names)
        if rows[name].null_count < rows.num_rows
    ]
    # Bytes that no text has tell names and values apart. All rows have the salt: Arrow 26 drops rows of nothing but
    # NULLs.
    parts = [pa.repeat(pa.scalar(salt.encode()), rows.num_rows), *parts]
    joined = pc.binary_join_element_wise(*parts, b"\xff", null_handling="skip").to_pylist()
    return pa.array([hashlib.blake2b(row, digest_size=16).hexdigest() for row in joined], pa.string())


def _digest(key: str) -> str:
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def _fresh(rows: pa.Table, stored: pa.Table) -> tuple[pa.Table, int]:
    """Rows that differ from what is stored of their records, and how many do not."""
    if not stored.num_rows:
        return rows, 0
    place = pc.index_in(rows["record"], value_set=stored["record"].combine_chunks())
    same = pc.equal(stored["_row_hash"].take(place), rows["_row_hash"])
    fresh = rows.filter(pc.invert(pc.fill_null(same, False)))
    return fresh, rows.num_rows - fresh.num_rows


def _written(records: base.Table, pipeline: str, rows: pa.Table, now: dt.datetime) -> pa.Table:
    """Rows as the table of records has them."""
    count = rows.num_rows
    own = {
        "pipeline": pa.repeat(pipeline, count),
        "_synced_at": _moments(now, count),
        "_deleted_at": pa.nulls(count, names.MOMENT),
    }
    arrays = [own[field.name] if field.name in own else rows[field.name] for field in records.schema]
    return pa.table(arrays, schema=records.schema)


def _identified(model: profile.Profile, rows: pa.Table, now: dt.datetime) -> pa.Table:
    """A row for every identifier of every record; where the record has none, the row is marked as deleted."""
    parts = []
    for kind in model.identifiers:
        values = normalised(kind, rows[kind])
        moment = pa.scalar(now, names.MOMENT)
        part = _of_kind(rows["record"], kind, now, pc.if_else(pc.is_null(values), moment, None))
        parts.append(part.append_column("value", values).append_column("_version", rows["_version"]))
    return pa.concat_tables(parts)


def normalised(kind: str, column: pa.ChunkedArray) -> pa.Array:
    """Values of an identifier as they are compared, numbers and times as text."""
    told = columns.texts(column).to_pylist()
    return pa.array(
        [None if each is None else normalising.normalised(kind, each) for each in told], pa.string()
    )


def _unidentified(model: profile.Profile, left: pa.ChunkedArray, now: dt.datetime) -> pa.Table:
    """Marks for every identifier of records that left."""
    return pa.concat_tables(
        [_of_kind(left, kind, now, _moments(now, len(left))) for kind in model.identifiers]
    )


def _of_kind(records: pa.ChunkedArray, kind: str, now: dt.datetime, deleted: pa.Array) -> pa.Table:
    count = len(records)
    return pa.table(
        {
            "record": records,
            "kind": pa.repeat(kind, count),
            "number": pa.repeat(pa.scalar(0, pa.int64()), count),
            "_deleted_at": deleted,
            "_synced_at": _moments(now, count),
        }
    )


def _marked(key: dict[str, pa.ChunkedArray], now: dt.datetime) -> pa.Table:
    count = len(next(iter(key.values())))
    return pa.table({**key, "_deleted_at": _moments(now, count), "_synced_at": _moments(now, count)})


def _progressed(batch: Batch) -> pa.Table:
    seen = batch.seen.select(SEEN.names)
    return seen.append_column("pipeline", pa.repeat(batch.pipeline, seen.num_rows)).append_column(
        "shape", pa.repeat(batch.shape, seen.num_rows)
    )


def _forgotten(batch: Batch) -> pa.Table:
    gone = batch.gone.select(GONE.names)
    return gone.append_column("pipeline", pa.repeat(batch.pipeline, gone.num_rows))


def _moments(now: dt.datetime, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(now, names.MOMENT), count)
