"""Rows on their way into Postgres: as lines of COPY, and as arrays that a query unfolds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from tidegate.adapters import postgres_wire

BYTES = 64 * 1024 * 1024
"""Of a batch of COPY at most, but for a single row."""

ESCAPES = (("\0", ""), ("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))
"""What may not stand in a line of COPY, and what is written for it."""

_NUL = re.compile(r"\\(?:u0000|.)", re.DOTALL)


def lines(batch: pa.RecordBatch, documents: set[str]) -> Iterator[pa.Buffer]:
    """Rows as COPY reads them; `documents` are the columns of JSON.

    Arrow joins the columns to lines whose characters lie one after the other, as COPY wants them.
    """
    if batch.nbytes > BYTES and batch.num_rows > 1:
        half = batch.num_rows // 2
        yield from lines(batch.slice(0, half), documents)
        yield from lines(batch.slice(half), documents)
        return
    texts = [
        _text(column, document=name in documents)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    texts = [text.fill_null("\\N") if text.null_count else text for text in texts]
    texts[-1] = pc.binary_join_element_wise(texts[-1], "\n", "")
    yield _data(pc.binary_join_element_wise(*texts, "\t"))


def _text(column: pa.Array, *, document: bool) -> pa.Array:
    """Values as they stand in a line of COPY."""
    if pa.types.is_string(column.type):
        return _escaped(column, document=document)
    if pa.types.is_timestamp(column.type):
        return postgres_wire.moments(column)
    return column.cast(pa.string())


def _escaped(column: pa.Array, *, document: bool) -> pa.Array:
    """Texts as they stand in a line of COPY, without what Postgres cannot hold."""
    data = _characters(column)
    if document and b"\\" in data and b"\\u0000" in data:
        column = pa.array([v if v is None else _NUL.sub(_kept, v) for v in column.to_pylist()], pa.string())
        data = _characters(column)
    for found, written in ESCAPES:
        if found.encode() in data:
            column = pc.replace_substring(column, found, written)
    return column


def _characters(column: pa.Array) -> bytes:
    """The characters of all texts, one after the other."""
    return bytes(_data(column).to_pybytes())


def _data(column: pa.Array) -> pa.Buffer:
    _, offsets, data = column.buffers()
    if data is None:
        return pa.py_buffer(b"")
    ends = memoryview(offsets).cast("i")
    start, end = ends[column.offset], ends[column.offset + len(column)]
    return data.slice(start, end - start)


def bare(rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Rows whose texts in these columns, where there are any, have nothing that text cannot hold."""
    for i, field in enumerate(rows.schema):
        if field.name not in columns or not pa.types.is_string(field.type):
            continue
        if pc.any(pc.match_substring(rows.column(i), "\0")).as_py():
            rows = rows.set_column(i, field, pc.replace_substring(rows.column(i), "\0", ""))
    return rows


def array(column: pa.ChunkedArray) -> object:
    """Values as an array, without what text cannot hold; texts that need no escapes as the array's own text."""
    values = column.to_pylist()
    if not pa.types.is_string(column.type):
        return values
    joined = '","'.join("" if value is None else value for value in values)
    if (
        values
        and not column.null_count
        and "\\" not in joined
        and "\0" not in joined
        and joined.count('"') == 2 * (len(values) - 1)
    ):
        return '{"' + joined + '"}'
    return [value.replace("\0", "") if isinstance(value, str) else value for value in values]


def _kept(escape: re.Match[str]) -> str:
    return "" if escape.group() == "\\u0000" else escape.group()
