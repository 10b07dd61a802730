"""Questions to the process that runs expressions of SQL, and its answers: tables in Arrow's stream format.

The metadata of a table says what is asked or answered: `EXPRESSION`, a text to be made ready for such rows; `MADE`,
the answer to that; `ASKED`, a JSON list of expressions to be answered for these rows.
"""

from __future__ import annotations

import msgspec
import pyarrow as pa

EXPRESSION, MADE, ASKED = b"expression", b"made", b"asked"


class Made(msgspec.Struct, frozen=True):
    """An expression that was checked, with the columns that it may name; `is_json`: it gives JSON."""

    sql: str
    is_json: bool
    columns: list[str]


def packed(table: pa.Table, key: bytes, told: bytes) -> bytes:
    """A table as bytes, with one entry of metadata."""
    table = table.replace_schema_metadata({key: told})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def unpacked(body: bytes) -> tuple[pa.Table, dict[bytes, bytes]]:
    """The table of `packed`, and its metadata."""
    with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
        table = reader.read_all()
    return table, table.schema.metadata
