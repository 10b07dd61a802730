"""Rows as Redshift takes them and gives them back: texts, JSON as SUPER, what is too long for either, and files.

SUPER holds no text beyond 65,535 bytes, no number beyond 64 bits or 15 digits, and no `null` of its own. Such JSON
goes in by pieces of its text, `{"_tidegate_pieces": ["...", "..."]}`, and is put together again when it is read.
"""

from __future__ import annotations

import decimal
import gzip
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from tidegate import errors
from tidegate.adapters import postgres_rows, postgres_wire
from tidegate.warehouse import base

BATCH = 10_000
"""Rows that are texts at the same time."""
VARCHAR = 65_535
"""Bytes that a VARCHAR holds, and a text within SUPER."""
ROW = 4 * 1024 * 1024
"""Bytes of a row of COPY at most. https://docs.aws.amazon.com/redshift/latest/dg/r_COPY.html"""
FILE = 64 * 1024 * 1024
"""Bytes of a file before it is packed."""
PIECES = "_tidegate_pieces"
PIECE = VARCHAR // 4
"""Characters of a piece, none of which has more than four bytes."""
PARAMETER = postgres_wire.PARAMETER
SUPER, VARBYTE = 4000, 6551
"""Numbers of types in pg_type."""
LONG = "varbyte(16777216)"
"""The type of a column whose texts are too long for VARCHAR."""

_doubtful = re.compile(r"\d[\d.]{14,}|\d[eE][-+]?\d")
_nul = re.compile(r"\\(?:u0000|.)", re.DOTALL)


def kind(native: str) -> str:
    """The type of a column as its values are written, of what the catalog calls it."""
    lower = native.lower()
    return "varbyte" if lower.startswith(("binary varying", "varbyte")) else lower


def plain(parameters: Sequence[object]) -> list[object]:
    """Parameters without NUL, which no text holds there."""
    return [value.replace("\0", "") if isinstance(value, str) else value for value in parameters]


def longest(column: pa.ChunkedArray) -> int:
    """Bytes of the longest text."""
    return int(pc.max(pc.binary_length(column)).as_py() or 0)


def written(column: pa.ChunkedArray, kind: str) -> list[str | None]:
    """Values of a column of this type as INSERT and COPY take them."""
    is_moment = pa.types.is_timestamp(column.type)
    texts = postgres_wire.moments(column) if is_moment else column.cast(pa.string())
    values: list[str | None] = texts.to_pylist()
    if kind == "super":
        return [value if value is None else _document(value) for value in values]
    if pa.types.is_decimal(column.type):
        # Arrow writes 0.000000000001 as 1E-12, in which COPY finds an invalid digit.
        return [value if value is None else format(decimal.Decimal(value), "f") for value in values]
    if not pa.types.is_string(column.type):
        return values
    return [value if value is None else value.replace("\0", "") for value in values]


def values(rows: pa.Table, kinds: Sequence[str]) -> Iterator[tuple[str | None, ...]]:
    """Rows as texts, a batch at a time; `kinds` are the types of their columns."""
    for batch in rows.to_batches(max_chunksize=BATCH):
        part = pa.Table.from_batches([batch])
        texts = [written(column, kind) for column, kind in zip(part.columns, kinds, strict=True)]
        yield from zip(*texts, strict=True)


def place(kind: str, value: str | None) -> tuple[str, list[str | None]]:
    """What stands for a value of a column of this type in an INSERT, and its parameters.

    What is longer than a VARCHAR is put together from bytes.
    """
    if value is None or (kind not in ("super", "varbyte")):
        return f"{PARAMETER}::{LONG if kind == 'varbyte' else kind}", [value]
    if kind == "super" and len(value.encode()) <= VARCHAR:
        return f"JSON_PARSE({PARAMETER}::character varying({VARCHAR}))", [value]
    parts: list[str | None] = [value[start : start + PIECE] for start in range(0, len(value) or 1, PIECE)]
    put = " || ".join([f"TO_VARBYTE({PARAMETER}, 'utf8')"] * len(parts))
    return (f"JSON_PARSE({put})" if kind == "super" else put), parts


def files(kinds: Sequence[str], rows: Iterable[Sequence[str | None]], null: str) -> Iterator[bytes]:
    """Rows as CSV files, packed; raises WarehouseError for a row that no COPY takes.

    What is NULL has no quotes: in quotes it might be taken for a text.
    """
    file = io.StringIO()
    long = [i for i, kind in enumerate(kinds) if kind == "varbyte"]
    for values in rows:
        begin = file.tell()
        row = list(values)
        for i in long:
            value = row[i]
            row[i] = value if value is None else value.encode().hex()
        told = (null if value is None else '"' + value.replace('"', '""') + '"' for value in row)
        file.write(",".join(told) + "\n")
        if file.tell() - begin > ROW // 4 and len(file.getvalue()[begin:].encode()) > ROW:
            raise errors.WarehouseError(
                "A row is longer than the 4 MB that Redshift's COPY takes; exclude its longest column. "
                "Nothing of this load was written."
            )
        if file.tell() > FILE:
            yield gzip.compress(file.getvalue().encode(), 1)
            file.seek(0)
            file.truncate()
    if file.tell():
        yield gzip.compress(file.getvalue().encode(), 1)


def batch(
    description: Sequence[psycopg.Column], rows: Sequence[Sequence[Any]], schema: pa.Schema | None = None
) -> pa.RecordBatch:
    """Rows of a query of ours as Arrow; see `postgres_wire.batch`."""
    return postgres_wire.batch(description, _texts(description, rows), schema)


def exact(
    description: Sequence[psycopg.Column], rows: Sequence[Sequence[Any]], schema: pa.Schema | None = None
) -> pa.RecordBatch:
    """Rows of a user's query as Arrow that loses nothing; see `postgres_rows.batch`."""
    if schema is None:
        schema = postgres_rows.schema(description)
        for i, column in enumerate(description):
            if column.type_code == SUPER:
                schema = schema.set(i, pa.field(column.name, pa.string(), metadata=base.JSON))
    return postgres_rows.batch(schema, _texts(description, rows))


def _texts(description: Sequence[psycopg.Column], rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    """Rows with what went in by pieces or as bytes as the text that it was."""
    turns = {
        i: {SUPER: _whole, VARBYTE: _decoded}[column.type_code]
        for i, column in enumerate(description)
        if column.type_code in (SUPER, VARBYTE)
    }
    if not turns:
        return rows
    return [
        [turns[i](value) if i in turns and value is not None else value for i, value in enumerate(row)]
        for row in rows
    ]


def _whole(text: str) -> str:
    if not text.startswith('{"' + PIECES + '"'):
        return text
    return "".join(json.loads(text)[PIECES])


def _decoded(hexadecimal: str) -> str:
    """Bytes as text, or in hexadecimal digits where they are none."""
    try:
        return bytes.fromhex(hexadecimal).decode()
    except ValueError:
        return hexadecimal


def _document(text: str) -> str:
    """JSON that SUPER holds exactly."""
    if "\\u0000" in text:
        text = _nul.sub(lambda found: "" if found[0] == "\\u0000" else found[0], text)
    is_sure = len(text) <= PIECE and text.strip() != "null" and not _doubtful.search(text)
    if PIECES not in text and (is_sure or _is_held(text)):
        return text
    pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    return json.dumps({PIECES: pieces}, ensure_ascii=False)


class _Beyond(Exception):
    """SUPER may not hold a value."""


def _is_held(text: str) -> bool:
    def whole(digits: str) -> int:
        if not -(2**63) <= int(digits) < 2**63:
            raise _Beyond
        return 0

    def broken(digits: str) -> float:
        if "e" in digits.lower() or len(digits.strip("-").replace(".", "").strip("0")) > 15:
            raise _Beyond
        return 0.0

    try:
        value = json.loads(text, parse_int=whole, parse_float=broken)
    except _Beyond:
        return False
    return value is not None and not _has_long(value)


def _has_long(value: object) -> bool:
    if isinstance(value, str):
        return len(value) > PIECE and len(value.encode(errors="replace")) > VARCHAR
    if isinstance(value, dict):
        return any(_has_long(key) or _has_long(one) for key, one in value.items())
    return isinstance(value, list) and any(map(_has_long, value))
