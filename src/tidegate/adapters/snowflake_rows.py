"""Rows as Snowflake takes and gives them: names, types, and what a VARIANT keeps of a JSON text.

A VARIANT keeps numbers of up to 38 digits, and refuses objects that have a key twice. A document that it would
round or refuse is stored as a VARIANT string that holds the JSON text, and so is a string that could be taken for
one; reading undoes both. https://docs.snowflake.com/en/sql-reference/functions/parse_json
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from snowflake.connector import constants, cursor

from tidegate import errors
from tidegate.warehouse import base, ddl, sql

BATCH = 10_000
"""Rows per batch of a query."""

TYPES = {
    "BOOLEAN": "BOOLEAN",
    "BIGINT": "NUMBER(19,0)",
    "DOUBLE": "FLOAT",
    "DECIMAL(38,12)": "NUMBER(38,12)",
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP_TZ(6)",
    "JSON": "VARIANT",
    "VARCHAR": "VARCHAR",
}
"""Snowflake's type for each of ours."""

TEXT = "VARCHAR COLLATE ''"
"""What a column of texts is made as: there may be a DEFAULT_DDL_COLLATION in which two ids are one.
https://docs.snowflake.com/en/sql-reference/collation"""

OURS = {
    "BOOLEAN": "BOOLEAN",
    "FLOAT": "DOUBLE",
    "NUMBER(38,12)": "DECIMAL(38,12)",
    "TIMESTAMP_TZ": "TIMESTAMP WITH TIME ZONE",
    "VARIANT": "JSON",
}

ARROW: dict[str, pa.DataType] = {
    "REAL": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "DATE": pa.date32(),
    "TIMESTAMP_TZ": pa.timestamp("us", "UTC"),
    "TIMESTAMP_LTZ": pa.timestamp("us", "UTC"),
    "TIMESTAMP_NTZ": pa.timestamp("us"),
}
"""Types by the connector's names, but for numbers; all others come as text."""

DOCUMENTS = ("VARIANT", "OBJECT", "ARRAY")
"""Types that come as JSON text."""

TEXTS = tuple('{["-0123456789')
"""What JSON texts begin with that stand in a VARIANT as strings."""

SUSPECT = r"""^\s*"|(?:^|[\[:,\s])-?[0-9]+(?:\.[0-9]+)?[eE]|(?:^|[\[:,\s])-?[0-9.]{38}"""
"""Finds documents that a VARIANT may not keep, and a few more."""

Column = cursor.ResultMetadata


# Names


def folded(name: str) -> str:
    """Upper case for a name in lower case, where that can be turned back; other names stay, and need quotes."""
    upper = name.upper()
    return upper if upper.lower() == name else name


def unfolded(name: str) -> str:
    """The name that is stored under a folded one."""
    lower = name.lower()
    return lower if folded(lower) == name else name


DIALECT = sql.Dialect("snowflake", "?", folded)


def text(value: str) -> str:
    """A text as an SQL string; a backslash would begin an escape."""
    return ddl.literal(value.replace("\\", "\\\\"))


def canonical(native: str) -> str:
    """The type of ours; whole numbers of every size count as BIGINT."""
    if native.startswith("NUMBER("):
        return "BIGINT" if native.endswith(",0)") else OURS.get(native, "VARCHAR")
    return OURS.get(native.partition("(")[0], "VARCHAR")


# Out of Snowflake


def batches(found: cursor.SnowflakeCursor, field: Callable[[Column], pa.Field]) -> Iterator[pa.RecordBatch]:
    """The rows of a result, chunk by chunk; one batch without rows where there are none."""
    schema = pa.schema([field(column) for column in found.description])
    is_empty = True
    for table in found.fetch_arrow_batches(force_microsecond_precision=True):
        arrays = [_read(array, one) for array, one in zip(table.columns, schema, strict=True)]
        for batch in pa.table(arrays, schema=schema).to_batches(max_chunksize=BATCH):
            is_empty = False
            yield batch
    if is_empty:
        yield pa.RecordBatch.from_arrays([pa.array([], one.type) for one in schema], schema=schema)


def stored(column: Column) -> pa.Field:
    """A column of a table of ours."""
    name, scale = _named(column), column.scale
    if name == "FIXED":
        return pa.field(unfolded(column.name), pa.decimal128(38, max(12, scale)) if scale else pa.int64())
    if name in DOCUMENTS:
        return pa.field(unfolded(column.name), pa.string(), metadata=base.JSON)
    return pa.field(unfolded(column.name), ARROW.get(name, pa.string()))


def asked(column: Column) -> pa.Field:
    """A column of a user's query: numbers with all of their digits."""
    name, scale, precision = _named(column), column.scale or 0, column.precision or 38
    if name == "FIXED":
        is_small = scale == 0 and precision <= 18
        return pa.field(unfolded(column.name), pa.int64() if is_small else pa.decimal128(38, scale))
    if name == "BINARY":
        return pa.field(unfolded(column.name), pa.binary())
    return stored(column)


def _named(column: Column) -> str:
    return str(constants.FIELD_ID_TO_NAME[column.type_code])


def _read(array: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    """A column of a result in its Arrow type; of documents, the JSON text."""
    try:
        read = array.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        # Without the cause: its text quotes the value.
        raise errors.WarehouseError(
            f"A value of the column {field.name} is none that {field.type} can hold; cast it to text in the query."
        ) from None
    if ddl.is_json(field) and pc.any(pc.starts_with(read, '"')).as_py():
        return pa.chunked_array([[value and _document(value) for value in read.to_pylist()]], pa.string())
    return read


def _document(text: str) -> str:
    if not text.startswith('"'):
        return text
    string = str(json.loads(text))
    return string if string.startswith(TEXTS) else text


# Into Snowflake


def worded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """JSON texts that a VARIANT keeps as they are."""
    if not pc.any(pc.match_substring_regex(column, SUSPECT)).as_py():
        return column
    return pa.chunked_array([[value and _kept(value) for value in column.to_pylist()]], pa.string())


def write(rows: pa.Table, kinds: Sequence[str], path: Path) -> None:
    """Rows as a Parquet file of the columns C0, C1, ..., which `chosen` selects from."""
    arrays = [worded(rows.column(i)) if kind == "JSON" else rows.column(i) for i, kind in enumerate(kinds)]
    named = pa.table(arrays, names=[f"C{i}" for i in range(len(kinds))])
    pyarrow.parquet.write_table(named, path, compression="zstd")


def spelled(rows: pa.Table, kinds: Sequence[str]) -> str:
    """Rows as a JSON array of arrays of texts, which `inline` selects from."""
    columns = [
        (worded(rows.column(i)) if kind == "JSON" else rows.column(i)).to_pylist()
        for i, kind in enumerate(kinds)
    ]
    return json.dumps([[_text(value) for value in row] for row in zip(*columns, strict=True)])


def inline(names: Sequence[str], kinds: Sequence[str]) -> str:
    """A query of the rows in a JSON parameter."""
    values = []
    for i, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        text = f"f.value[{i}]::VARCHAR"
        value = variant(text) if kind == "JSON" else text if kind == "VARCHAR" else f"{text}::{TYPES[kind]}"
        values.append(f"{value} AS {sql.quoted(DIALECT, name)}")
    return f"SELECT {', '.join(values)} FROM TABLE(FLATTEN(INPUT => PARSE_JSON(?))) AS f"


def chosen(table: str, names: Sequence[str], kinds: Sequence[str]) -> str:
    """A query of the rows that stand in a table, their columns C0, C1, ..., JSON as text."""
    values = (
        f"{variant(f'C{i}') if kind == 'JSON' else f'C{i}'} AS {sql.quoted(DIALECT, name)}"
        for i, (name, kind) in enumerate(zip(names, kinds, strict=True))
    )
    return f"SELECT {', '.join(values)} FROM {table}"


def variant(text: str) -> str:
    """SQL for JSON text as a VARIANT, kept as a string where PARSE_JSON refuses it."""
    return f"COALESCE(TRY_PARSE_JSON({text}), TO_VARIANT({text}))"


def widened(name: str, there: str, kind: str) -> str:
    """SQL for a column's value, of the type `there`, in a wider type."""
    text = f"{name}::VARCHAR"
    if there == "DOUBLE":
        # As text, a FLOAT has 15 digits or so, where 17 may be needed.
        digits = f"TRIM(TO_VARCHAR({name}, 'MI9.9999999999999999EEEE'))"
        text = f"IFF({text}::FLOAT = {name}, {text}, {digits})"
    if there == "JSON":
        string = f"AS_VARCHAR({name})"
        first = ", ".join(map(ddl.literal, TEXTS))
        return f"IFF(LEFT({string}, 1) IN ({first}), {string}, TO_JSON({name}))"
    if kind == "VARCHAR":
        return text
    if kind == "JSON":
        if there == "TIMESTAMP WITH TIME ZONE":
            return f"TO_VARIANT({text})"
        return f"TO_VARIANT({name})" if there == "BOOLEAN" else f"PARSE_JSON({text})"
    return f"{name}::{TYPES[kind]}"


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value)


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?', re.DOTALL)


def _kept(text: str) -> str:
    text = text.strip()
    if text.startswith('"'):
        return json.dumps(text) if str(json.loads(text)).startswith(TEXTS) else text
    return text if all(map(_is_exact, _TOKEN.finditer(text))) else json.dumps(text)


def _is_exact(token: re.Match[str]) -> bool:
    """Does a VARIANT keep a number? As NUMBER(38, 37), or with an exponent as 16 digits of a double."""
    whole, fraction, exponent = token[1], token[2] or "", token[3]
    if whole is None:
        return True  # a string
    digits = len((whole + fraction).strip("0"))
    if exponent is not None:
        return digits <= 15 and len(exponent) <= 4 and abs(int(exponent)) + len(whole + fraction) < 300
    return len(whole.lstrip("0")) + len(fraction) <= 38 and len(fraction) <= 37
