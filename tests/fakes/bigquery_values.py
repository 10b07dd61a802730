"""BigQuery's types, names, JSON and numbers as its API tells them; for the stand-in in `bigquery_api`."""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import re
from decimal import Decimal
from typing import Any

import pyarrow as pa

ARROW = {
    "STRING": pa.string(),
    "INT64": pa.int64(),
    "FLOAT64": pa.float64(),
    "BOOL": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us", "UTC"),
    "BIGNUMERIC": pa.decimal128(38, 12),
    "NUMERIC": pa.decimal128(38, 9),
    "DATE": pa.date32(),
    "BYTES": pa.binary(),
    "JSON": pa.string(),
}
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
ALIASES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
DUCKDB = {
    "STRING": "VARCHAR",
    "INT64": "BIGINT",
    "FLOAT64": "DOUBLE",
    "BOOL": "BOOLEAN",
    "TIMESTAMP": "TIMESTAMP WITH TIME ZONE",
    "BIGNUMERIC": "DECIMAL(38,12)",
    "NUMERIC": "DECIMAL(38,9)",
    "DATE": "DATE",
    "JSON": "JSON",
}
NATIVE = {kind: name for name, kind in DUCKDB.items()} | {"DECIMAL(38,12)": "BIGNUMERIC(38, 12)"}
WIRE = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}
WIDER = {
    "BIGINT": {"DECIMAL(38,9)", "DECIMAL(38,12)", "DOUBLE"},
    "DECIMAL(38,9)": {"DECIMAL(38,12)", "DOUBLE"},
    "DECIMAL(38,12)": {"DOUBLE"},
}
"""https://cloud.google.com/bigquery/docs/reference/standard-sql/data-definition-language#details_21"""

COLUMN = re.compile(r"[^\W\d][\w &%=+:'<>#|-]{0,299}")
"""https://cloud.google.com/bigquery/docs/schemas#column_names and #flexible-column-names"""
RESERVED = ("_TABLE_", "_FILE_", "_PARTITION", "_ROW_TIMESTAMP", "__ROOT__", "_COLIDENTIFIER")
DATASET = re.compile(r"\w{1,1024}", re.ASCII)
TABLE = re.compile(r"[\w -]{1,1024}")


class Refused(Exception):
    """An answer with an error."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


def parse_json(text: str | None) -> str | None:
    """PARSE_JSON in the mode `exact`: what it stores, or NULL where it would raise; for SAFE.PARSE_JSON."""
    try:
        return _exact_json(text) if text is not None else None
    except (ValueError, RecursionError):
        return None


def parse_json_strictly(text: str | None) -> str | None:
    """PARSE_JSON in the mode `exact`."""
    return None if text is None else _exact_json(text)


def _exact_json(text: str) -> str:
    def whole(number: str) -> int:
        if not -(2**63) <= int(number) < 2**64:
            raise ValueError("Input number: cannot round-trip through string representation")
        return int(number)

    def broken(number: str) -> float:
        found = float(number)
        if math.isinf(found) or Decimal(repr(found)) != Decimal(number):
            raise ValueError("Input number: cannot round-trip through string representation")
        return found

    def no(_: str) -> None:
        raise ValueError("no JSON")

    value = json.loads(text, parse_int=whole, parse_float=broken, parse_constant=no)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def json_type(text: str) -> str:
    """JSON_TYPE."""
    value = json.loads(text)
    kinds = {bool: "boolean", str: "string", dict: "object", list: "array", type(None): "null"}
    return kinds.get(type(value), "number")


def json_scalar(text: str) -> str | None:
    """JSON_VALUE of the whole document."""
    value = json.loads(text)
    if isinstance(value, str):
        return value
    return None if value is None or isinstance(value, (dict, list)) else text


def check_column(name: str) -> None:
    """Refuse a name that no column may have."""
    if not COLUMN.fullmatch(name) or name.upper().startswith(RESERVED):
        raise Refused(
            400, "invalid", f'Invalid field name "{name}". Fields must contain the allowed characters'
        )


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def wire(kind: str) -> str:
    return ALIASES.get(kind.upper(), kind.upper())


def cases() -> str:
    return " ".join(f"WHEN '{kind}' THEN '{name}'" for kind, name in NATIVE.items())


def scalar(kind: str, text: Any) -> Any:
    """A parameter's value, which travels as text."""
    if text is None or kind in ("STRING", "JSON"):
        return text
    if kind == "INT64":
        return int(text)
    if kind == "FLOAT64":
        return float(text)
    if kind == "BOOL":
        return text in (True, "true", "True")
    if kind in ("BIGNUMERIC", "NUMERIC"):
        return Decimal(text)
    if kind == "DATE":
        return dt.date.fromisoformat(text)
    found = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def rows(kind: dict[str, Any], value: dict[str, Any]) -> pa.Table:
    """An array parameter as a table."""
    element, values = kind["arrayType"], value.get("arrayValues", [])
    if element["type"] != "STRUCT":
        each = wire(element["type"])
        scalars = [scalar(each, one["value"]) for one in values]
        if None in scalars:
            raise Refused(400, "invalidQuery", "Array cannot have a null element")
        return pa.table({"element": pa.array(scalars, ARROW[each])})
    fields = [(each["name"], wire(each["type"]["type"])) for each in element["structTypes"]]
    for name, _ in fields:
        check_column(name)
    columns = {
        name: pa.array([scalar(each, one["structValues"][name].get("value")) for one in values], ARROW[each])
        for name, each in fields
    }
    return pa.table(columns)


def answered(table: pa.Table, kinds: list[str]) -> tuple[list[dict[str, Any]], list[Any]]:
    """Schema and rows as the API tells them: all values are text, timestamps are microseconds."""
    schema, columns = [], []
    for name, kind, column in zip(table.column_names, kinds, table.columns, strict=True):
        if isinstance(column.type, pa.BaseExtensionType):
            column = pa.chunked_array([each.storage for each in column.chunks], column.type.storage_type)
        native = "JSON" if kind == "JSON" else None
        schema.append(told := _told(name, column.type, native))
        columns.append([_cell(told, value) for value in column.to_pylist()])
    return schema, [{"f": [{"v": value} for value in row]} for row in zip(*columns, strict=True)]


def _told(name: str, kind: pa.DataType, native: str | None = None) -> dict[str, Any]:
    """A column as the API tells it."""
    if pa.types.is_list(kind):
        return _told(name, kind.value_type) | {"mode": "REPEATED"}
    if pa.types.is_struct(kind):
        fields = [_told(each.name, each.type) for each in kind]
        return {"name": name, "type": "RECORD", "mode": "NULLABLE", "fields": fields}
    native = native or next((each for each, arrow in ARROW.items() if arrow == kind), None)
    if native is None:
        is_whole = pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0)
        native = "INT64" if is_whole else "DATETIME" if pa.types.is_timestamp(kind) else "STRING"
    return {"name": name, "type": WIRE.get(native, native), "mode": "NULLABLE"}


def _cell(field: dict[str, Any], value: Any) -> Any:
    if field["mode"] == "REPEATED":
        one = field | {"mode": "NULLABLE"}
        return [{"v": _cell(one, each)} for each in value or ()]
    if value is None:
        return None
    if field["type"] == "RECORD":
        return {"f": [{"v": _cell(each, value[each["name"]])} for each in field["fields"]]}
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if field["type"] == "TIMESTAMP":
        return str((value - EPOCH) // dt.timedelta(microseconds=1))
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dt.date):
        return value.isoformat()
    return value if isinstance(value, str) else repr(value) if isinstance(value, float) else str(value)


def with_seconds(schema: list[dict[str, Any]], rows: list[Any]) -> list[Any]:
    """Rows with timestamps as seconds with a fraction, as who does not ask for integers gets them."""
    times = [field["type"] == "TIMESTAMP" for field in schema]
    return [
        {
            "f": [
                {"v": repr(int(cell["v"]) / 1e6)} if timed and cell["v"] is not None else cell
                for timed, cell in zip(times, row["f"], strict=True)
            ]
        }
        for row in rows
    ]
