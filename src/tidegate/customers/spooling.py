"""Rows in files for a while, so that no warehouse is read while it is written, and memory is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

BATCH = 10_000
"""Rows of a batch at most."""


def spool(file: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> int:
    """Write batches to a file, and say how many rows they are."""
    count = 0
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema, options=options) as writer:
        for batch in batches:
            rows = typed(batch, schema)
            count += rows.num_rows
            writer.write_table(rows, max_chunksize=BATCH)
    return count


def spooled(file: Path) -> Iterator[pa.Table]:
    """The rows of such a file, batch by batch."""
    with pa.OSFile(str(file), "rb") as source, pa.ipc.open_file(source) as reader:
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            if batch.num_rows:
                yield pa.Table.from_batches([batch])


def typed(batch: pa.RecordBatch | pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with those columns of a schema that they have, in its types, whatever the warehouse makes of them."""
    rows = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
    fields = [field for field in schema if field.name in rows.schema.names]
    return pa.table([_plain(rows[field.name]).cast(field.type) for field in fields], schema=pa.schema(fields))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """JSON of DuckDB's as text."""
    if not isinstance(column.type, pa.BaseExtensionType):
        return column
    kind = column.type.storage_type
    return pa.chunked_array([chunk.storage for chunk in column.chunks], kind)
