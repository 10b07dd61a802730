"""Rows of many pages to one Arrow table, column by column (see `columns`).

What the catalog does not know, and what does not fit its column, lands in `_extra` under its own name and exactly
as it was written.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.rows import columns, decode, layout

BATCH = 4096
"""Rows after which an Arrow record batch ends; keeps the text of a column far below Arrow's 2 GiB."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that share a version (unix seconds) and, for a child stream, a parent, or one parent each."""

    rows: decode.Rows
    version: int
    parent_id: str | Sequence[str | None] | None = None
    parent_type: str | None = None


def table(
    decoder: decode.Decoder, parts: Sequence[Part], *, account: str, synced_at: dt.datetime
) -> pa.Table:
    """One table of all parts, in their order and with exactly the decoder's schema.

    The stub of a deleted object becomes a tombstone: its `_deleted_at` is the time of its version.
    """
    batches = [
        _batch(decoder, chunk, account, synced_at)
        for _, alike in itertools.groupby(filter(_rows, parts), key=lambda part: id(part.rows.layout))
        for chunk in _chunks(alike)
    ]
    return pa.Table.from_batches(batches, decoder.schema)


def _rows(part: Part) -> bool:
    return len(part.rows) > 0


def _chunks(parts: Iterable[Part]) -> Iterator[list[Part]]:
    chunk: list[Part] = []
    size = 0
    for part in parts:
        chunk.append(part)
        size += len(part.rows)
        if size >= BATCH:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _batch(
    decoder: decode.Decoder, parts: Sequence[Part], account: str, synced_at: dt.datetime
) -> pa.RecordBatch:
    known = parts[0].rows.layout
    structs = itertools.chain.from_iterable(part.rows.structs for part in parts)
    values = dict(zip(known.types, zip(*map(msgspec.structs.astuple, structs), strict=True), strict=True))
    count = sum(len(part.rows) for part in parts)
    versions = pa.array(_each(parts, lambda part: part.version), pa.int64(), size=count)
    extras = _unknown(known, values, parts)
    made: dict[str, pa.Array] = {}
    for column in decoder.fields:
        made[column.name], misfits = columns.column(column.type, values[column.name])
        if column.name not in decoder.hidden:
            for row, raw in misfits.items():
                extras.setdefault(row, {})[column.name] = (
                    _digest(raw) if column.name in decoder.hashed else raw
                )
    made["_account_id"] = pa.repeat(account, count)
    if "_parent_id" in decoder.schema.names:
        made["_parent_id"] = pa.array(_parents(parts), pa.string(), size=count)
        made["_parent_type"] = pa.array(_each(parts, lambda part: part.parent_type), pa.string(), size=count)
    made["_extra"] = _objects(extras, count)
    made["_version"] = versions
    made["_synced_at"] = pa.repeat(pa.scalar(synced_at, columns.INSTANT), count)
    made["_deleted_at"] = _deletions(values["deleted"], versions)
    return pa.RecordBatch.from_arrays([made[name] for name in decoder.schema.names], schema=decoder.schema)


def _each(parts: Iterable[Part], of: Callable[[Part], object]) -> Iterator[object]:
    return itertools.chain.from_iterable(itertools.repeat(of(part), len(part.rows)) for part in parts)


def _deletions(stubs: Sequence[object], versions: pa.Array) -> pa.Array:
    if stubs.count(layout.ABSENT) + stubs.count(None) == len(stubs):
        return pa.nulls(len(stubs), columns.INSTANT)
    times = versions.cast(columns.SECOND).cast(columns.INSTANT)
    return pc.if_else(pa.array(map(decode.is_true, stubs), pa.bool_(), size=len(stubs)), times, None)


def _unknown(
    known: layout.Layout, values: Mapping[str, Sequence[Any]], parts: Sequence[Part]
) -> dict[int, dict[str, bytes]]:
    """Row number -> what the catalog does not know, as written."""
    extras: dict[int, dict[str, bytes]] = {}
    for key in known.types:
        if key not in known.learnt or values[key].count(layout.ABSENT) == len(values[key]):
            continue
        for row, value in enumerate(values[key]):
            if value and not (key == "deleted" and decode.is_true(value)):
                extras.setdefault(row, {})[key] = bytes(value)
    first = 0
    for part in parts:
        for row, members in part.rows.rest.items():
            extras.setdefault(first + row, {}).update(members)
        first += len(part.rows)
    return extras


def _digest(raw: bytes) -> bytes:
    """The SHA-256 of a value as it was written, as JSON."""
    return b'"' + hashlib.sha256(raw).hexdigest().encode() + b'"'


def _objects(extras: Mapping[int, Mapping[str, bytes]], count: int) -> pa.Array:
    if not extras:
        return pa.nulls(count, pa.string())
    return pa.array([_object(extras[row]) if row in extras else None for row in range(count)], pa.string())


def _object(members: Mapping[str, bytes]) -> bytes:
    return b"{" + b",".join([_label(key) + raw for key, raw in members.items()]) + b"}"


@functools.lru_cache(1024)
def _label(key: str) -> bytes:
    return json.dumps(key).encode() + b":"


def _parents(parts: Sequence[Part]) -> Iterator[str | None]:
    for part in parts:
        if part.parent_id is None or isinstance(part.parent_id, str):
            yield from itertools.repeat(part.parent_id, len(part.rows))
        else:
            assert len(part.parent_id) == len(part.rows), (
                "A part has one parent, or one for each of its rows."
            )
            yield from part.parent_id
