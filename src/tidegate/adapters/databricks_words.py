"""What Databricks calls things: names that Unity Catalog can hold, moments as text, values that CAST takes back."""

from __future__ import annotations

import datetime as dt
import re

import pyarrow as pa

FORBIDDEN = re.compile(r"[\x00-\x20./%\x7f]")
"""What Unity Catalog allows in no name, and the sign that stands for it.

https://docs.databricks.com/aws/en/sql/language-manual/sql-ref-names
"""


def folded(name: str) -> str:
    """A name as Unity Catalog can hold it."""
    return FORBIDDEN.sub(lambda found: f"%{ord(found.group()):02x}", name)


def unfolded(name: str) -> str:
    """The name that was folded."""
    return re.sub(r"%([0-9a-f]{2})", lambda found: chr(int(found.group(1), 16)), name)


def wider(name: str, there: str, native: str) -> str:
    """SQL for the value of a column in a wider type; a moment as text, as DuckDB writes it, in UTC.

    By arithmetic: whatever knows of the session's zone has no word for an hour that its summer time skips.
    """
    kind, _, is_json = native.partition(" ")
    if there != "TIMESTAMP WITH TIME ZONE":
        return f"CAST({name} AS {kind})"
    moment = f"unix_micros({name})"
    clock = f"pmod({moment}, 86400000000)"
    day = f"date_add(DATE '1970-01-01', CAST(({moment} - {clock}) DIV 86400000000 AS INT))"
    parts = [
        f"substr(CAST({day} AS STRING), 1, 10)",
        f"' ', lpad(CAST({clock} DIV 3600000000 AS STRING), 2, '0')",
        f"':', lpad(CAST(pmod({clock} DIV 60000000, 60) AS STRING), 2, '0')",
        f"':', lpad(CAST(pmod({clock} DIV 1000000, 60) AS STRING), 2, '0')",
        f"'.', lpad(CAST(pmod({clock}, 1000000) AS STRING), 6, '0')",
    ]
    text = f"concat(regexp_replace(concat({', '.join(parts)}), '[.]?0+$', ''), '+00')"
    return f"concat('\"', {text}, '\"')" if is_json else text


def numbered(rows: pa.Table) -> list[str]:
    """Names for the columns of rows on their way, whatever they are called in their table."""
    return [f"c{number}" for number in range(rows.num_columns)]


def texts(column: pa.ChunkedArray) -> list[str | None]:
    """Values as texts that CAST takes back."""
    if pa.types.is_timestamp(column.type):
        return [None if v is None else v.astimezone(dt.UTC).isoformat(" ") for v in column.to_pylist()]
    if pa.types.is_boolean(column.type):
        return [None if v is None else str(v).lower() for v in column.to_pylist()]
    if pa.types.is_floating(column.type):
        return [None if v is None else repr(v) for v in column.to_pylist()]
    if pa.types.is_decimal(column.type):
        return [None if v is None else f"{v:f}" for v in column.to_pylist()]
    return [None if v is None else str(v) for v in column.to_pylist()]


def keys(rows: pa.Table, gone: pa.Table) -> pa.Schema:
    """The columns of keys in the types that the rows have."""
    return pa.schema([pa.field(name, rows.schema.field(name).type) for name in gone.column_names])
